//! What a pod needs from other objects before its containers can start: ConfigMaps and Secrets.

use super::super::controllers::index::Index;
use super::super::controllers::kind::{CONFIG_MAP, SECRET};
use super::super::controllers::meta::{items, namespace, text};
use crate::object::Gk;
use serde_json::Value;

/// Something that is missing.
#[derive(Debug, PartialEq, Eq)]
pub enum Missing {
    /// A variable's source: the container says `CreateContainerConfigError`.
    Environment(String),
    /// A volume's source: the container stays in `ContainerCreating`, an Event `FailedMount` says why.
    Volume(String),
}

/// The first thing that is missing. Only asked where the view holds these kinds at all.
pub fn missing(index: &Index<'_>, pod: &Value) -> Option<Missing> {
    volume(index, pod).map(Missing::Volume).or_else(|| environment(index, pod).map(Missing::Environment))
}

fn find(index: &Index<'_>, pod: &Value, kind: &Gk, source: &Value, name_field: &str) -> Option<String> {
    let name = text(&source[name_field]);
    if source.is_null() || source["optional"] == true || name.is_empty() {
        return None;
    }
    let noun = if kind.kind == "Secret" { "secret" } else { "configmap" };
    index.get(kind, namespace(pod), name).is_none().then(|| format!("{noun} \"{name}\" not found"))
}

fn volume(index: &Index<'_>, pod: &Value) -> Option<String> {
    items(&pod["spec"]["volumes"]).iter().find_map(|volume| {
        let mut sources =
            vec![(&*CONFIG_MAP, &volume["configMap"], "name"), (&*SECRET, &volume["secret"], "secretName")];
        for source in items(&volume["projected"]["sources"]) {
            sources.push((&*CONFIG_MAP, &source["configMap"], "name"));
            sources.push((&*SECRET, &source["secret"], "name"));
        }
        let missing = sources.into_iter().find_map(|(kind, source, field)| find(index, pod, kind, source, field))?;
        Some(format!("MountVolume.SetUp failed for volume \"{}\" : {missing}", text(&volume["name"])))
    })
}

fn environment(index: &Index<'_>, pod: &Value) -> Option<String> {
    ["initContainers", "containers"].iter().flat_map(|field| items(&pod["spec"][field])).find_map(|container| {
        let whole = items(&container["envFrom"]).iter().find_map(|from| {
            find(index, pod, &CONFIG_MAP, &from["configMapRef"], "name")
                .or_else(|| find(index, pod, &SECRET, &from["secretRef"], "name"))
        });
        whole.or_else(|| {
            items(&container["env"]).iter().map(|variable| &variable["valueFrom"]).find_map(|from| {
                key(index, pod, &CONFIG_MAP, &from["configMapKeyRef"])
                    .or_else(|| key(index, pod, &SECRET, &from["secretKeyRef"]))
            })
        })
    })
}

fn key(index: &Index<'_>, pod: &Value, kind: &Gk, source: &Value) -> Option<String> {
    if let Some(missing) = find(index, pod, kind, source, "name") {
        return Some(missing);
    }
    let (name, key) = (text(&source["name"]), text(&source["key"]));
    if source.is_null() || source["optional"] == true || name.is_empty() {
        return None;
    }
    let object = index.get(kind, namespace(pod), name)?;
    let there = ["data", "binaryData"].iter().any(|field| object[field].get(key).is_some());
    (!there).then(|| format!("couldn't find key {key} in {} {}/{name}", kind.kind, namespace(pod).unwrap_or_default()))
}
