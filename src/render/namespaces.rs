//! Namespaces, once a cluster has said which kinds have one. Pure.
//!
//! In: rendered objects, the kinds that the cluster serves, the app's namespace. Out: the same objects with their
//! namespace set or left out; objects whose group does not answer, apart (unknown is not absent); or every object whose
//! kind the cluster does not serve and no CRD of this app defines.

use super::fault::ManifestError;
use super::manifest::duplicates;
use super::removed::removed;
use crate::live::kinds::Kinds;
use crate::object::{Desired, Gk, Gvk, Manifest, Problem};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Objects with their namespaces.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resolved {
    /// Ready to be compared with a cluster.
    pub objects: Vec<Desired>,
    /// Kinds that the cluster does not serve yet and that a CRD of this app defines: their objects can only be checked
    /// once it is established.
    pub deferred: BTreeSet<Gk>,
    /// Objects of groups whose discovery failed, each with why. Nothing is known about them; nothing of theirs may be
    /// written or pruned.
    pub unavailable: Vec<(Desired, Problem)>,
    /// Things to know that stop nothing.
    pub warnings: Vec<Problem>,
}

/// What a CRD says of its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defined {
    /// Its objects have a namespace.
    pub namespaced: bool,
    /// Versions that are served.
    pub versions: BTreeSet<String>,
}

/// Kinds by the CRDs that define them.
pub type Definitions = BTreeMap<Gk, Defined>;

/// Sets or leaves out every object's namespace. `elsewhere` has what other apps' CRDs are about to define.
///
/// # Errors
/// All objects whose kind or version is neither served nor defined here, and all that turn out to be the same object.
pub fn resolve_namespaces(
    objects: Vec<Desired>,
    kinds: &Kinds,
    default_namespace: &str,
    elsewhere: &Definitions,
) -> Result<Resolved, Vec<Problem>> {
    let mut defined = elsewhere.clone();
    defined.extend(defined_here(&objects));
    let mut resolved = Resolved::default();
    let mut problems = Vec::new();
    for mut object in objects {
        let gvk = object.gvk();
        match scope(&gvk, kinds, &defined) {
            Scope::Known { namespaced, deferred } => {
                if deferred {
                    resolved.deferred.insert(gvk.gk());
                }
                resolved.warnings.extend(set_namespace(&mut object, namespaced, default_namespace));
                resolved.objects.push(object);
            }
            Scope::Broken(why) => {
                let message = format!("the API group {:?} does not answer: {why}", gvk.group);
                let hint = "`kubectl get apiservices` shows what serves it and why it is not available";
                let problem = place(Problem::new("GroupUnavailable", message).hint(hint), &object);
                resolved.unavailable.push((object, problem));
            }
            Scope::Wrong(problem) => problems.push(place(*problem, &object)),
        }
    }
    problems.extend(duplicates(&resolved.objects, "").into_iter().map(|error: ManifestError| Problem::from(error)));
    if problems.is_empty() { Ok(resolved) } else { Err(problems) }
}

/// True if an object's kind or version is neither served nor defined by another one of them, as far as `kinds` tells.
pub fn asks_for_more(objects: &[Desired], kinds: &Kinds) -> bool {
    let defined = defined_here(objects);
    let missing = |object: &Desired| match scope(&object.gvk(), kinds, &defined) {
        Scope::Known { .. } => false,
        Scope::Broken(_) | Scope::Wrong(_) => true,
    };
    objects.iter().any(missing)
}

enum Scope {
    Known { namespaced: bool, deferred: bool },
    Broken(String),
    Wrong(Box<Problem>),
}

fn scope(gvk: &Gvk, kinds: &Kinds, defined: &Definitions) -> Scope {
    let gk = gvk.gk();
    let here = defined.get(&gk);
    let defines_version = here.is_some_and(|crd| crd.versions.contains(&gvk.version));
    match (kinds.get(&gk), here) {
        (Some(kind), _) if kind.versions.contains(&gvk.version) || kind.gvk.version == gvk.version => {
            Scope::Known { namespaced: kind.namespaced, deferred: false }
        }
        (_, Some(crd)) if defines_version => Scope::Known { namespaced: crd.namespaced, deferred: true },
        (Some(kind), _) => {
            let message = format!(
                "the cluster does not serve {gvk}; it serves {} in {}",
                gvk.kind,
                kind.versions.iter().map(|v| Gvk::new(&gvk.group, v, "").api_version()).collect::<Vec<_>>().join(", ")
            );
            let hint = format!("write apiVersion: {}", kind.gvk.api_version());
            Scope::Wrong(Box::new(Problem::new("VersionNotServed", message).hint(hint)))
        }
        (None, Some(_)) => {
            let message = format!("the CustomResourceDefinition in this app does not serve version {}", gvk.version);
            Scope::Wrong(Box::new(Problem::new("VersionNotServed", message).hint("write a version that it serves")))
        }
        (None, None) => match kinds.broken.get(&gvk.group) {
            Some(why) => Scope::Broken(why.clone()),
            None => Scope::Wrong(Box::new(unknown_kind(gvk))),
        },
    }
}

fn unknown_kind(gvk: &Gvk) -> Problem {
    let problem = Problem::new("UnknownKind", format!("the cluster does not serve {gvk}"));
    problem.hint(match removed(&gvk.api_version(), &gvk.kind) {
        Some(found) => format!("it was removed in Kubernetes 1.{}: write {} instead", found.in_minor, found.instead),
        None if gvk.group.contains('.') && !gvk.group.ends_with(".k8s.io") => "its CustomResourceDefinition is not \
            installed: add it to this app, or let this app depend on the one that installs it (depends_on)"
            .to_owned(),
        None => "check apiVersion and kind; `kubectl api-resources` lists what there is".to_owned(),
    })
}

fn place(problem: Problem, object: &Desired) -> Problem {
    problem.at(&object.source.file, object.source.line).about(object.object_ref())
}

/// Leaves out the namespace of an object that has none. Out: the warning, if one is written.
pub fn leave_out_namespace(object: &mut Desired) -> Option<Problem> {
    set_namespace(object, false, "")
}

/// The warning, if a written namespace was left out.
fn set_namespace(object: &mut Desired, namespaced: bool, default_namespace: &str) -> Option<Problem> {
    let written = object.namespace().map(str::to_owned);
    let before = object.object_ref();
    let metadata = object.object.get_mut("metadata")?.as_object_mut()?;
    match (namespaced, written) {
        (true, Some(_)) => None,
        (true, None) => {
            metadata.insert("namespace".into(), Value::from(default_namespace));
            None
        }
        (false, written) => {
            metadata.shift_remove("namespace");
            let message = format!("{} has no namespace: {:?} is ignored", before.kind, written?);
            Some(place(Problem::new("NamespaceIgnored", message).hint("remove metadata.namespace"), object))
        }
    }
}

/// What the CRDs among the objects define.
pub fn defined_here(objects: &[Desired]) -> Definitions {
    let crd = |object: &Desired| {
        if !object.gvk().gk().is("apiextensions.k8s.io", "CustomResourceDefinition") {
            return None;
        }
        let text = |pointer: &str| object.at(pointer).and_then(Value::as_str);
        let gk = Gk::new(text("/spec/group")?, text("/spec/names/kind")?);
        let served = |version: &Value| {
            let served = version.get("served").and_then(Value::as_bool) != Some(false);
            version.get("name").and_then(Value::as_str).filter(|_| served).map(str::to_owned)
        };
        let versions = object.at("/spec/versions")?.as_array()?.iter().filter_map(served).collect();
        Some((gk, Defined { namespaced: text("/spec/scope") != Some("Cluster"), versions }))
    };
    objects.iter().filter_map(crd).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::kinds::Kind;
    use crate::object::Source;
    use serde_json::json;

    fn kinds() -> Kinds {
        let mut kinds = Kinds::default();
        for (group, version, kind, plural, namespaced) in [
            ("", "v1", "ConfigMap", "configmaps", true),
            ("", "v1", "Namespace", "namespaces", false),
            ("apps", "v1", "Deployment", "deployments", true),
            ("example.com", "v1", "Old", "olds", true),
        ] {
            let gvk = Gvk::new(group, version, kind);
            let versions = vec![version.to_owned()];
            kinds.by_gk.insert(gvk.gk(), Kind { gvk, versions, plural: plural.into(), namespaced, listable: true });
        }
        kinds.broken.insert("metrics.example.com".into(), "503 Service Unavailable".into());
        kinds
    }

    fn desired(object: Value) -> Desired {
        Desired { object, source: Source { file: "a.yaml".into(), line: 3 } }
    }

    fn object(api_version: &str, kind: &str, namespace: Option<&str>) -> Desired {
        let mut metadata = json!({"name": "x"});
        if let Some(namespace) = namespace {
            metadata["namespace"] = namespace.into();
        }
        desired(json!({"apiVersion": api_version, "kind": kind, "metadata": metadata}))
    }

    fn crd(scope: &str) -> Desired {
        desired(json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com", "scope": scope,
            "names": {"kind": "Widget"}, "versions": [{"name": "v1", "served": true}, {"name": "v0", "served": false}]}}))
    }

    fn with_crd_kind() -> Kinds {
        let mut kinds = kinds();
        let gvk = Gvk::new("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
        let versions = vec!["v1".into()];
        kinds.by_gk.insert(gvk.gk(), Kind { gvk, versions, plural: "c".into(), namespaced: false, listable: true });
        kinds
    }

    #[test]
    fn namespaces_are_set_and_left_out() {
        let objects = vec![
            object("v1", "ConfigMap", None),
            object("v1", "ConfigMap", Some("other")),
            object("v1", "Namespace", Some("other")),
        ];
        let resolved = resolve_namespaces(objects, &kinds(), "shop", &Definitions::new()).unwrap();
        let namespaces: Vec<_> = resolved.objects.iter().map(|o| o.namespace()).collect();
        assert_eq!(namespaces, [Some("shop"), Some("other"), None]);
        assert_eq!(resolved.warnings.len(), 1);
        assert!(resolved.objects[2].at("/metadata/namespace").is_none());
    }

    #[test]
    fn kinds_defined_by_the_same_app_wait() {
        for (scope, namespace) in [("Namespaced", Some("shop")), ("Cluster", None)] {
            let objects = vec![object("example.com/v1", "Widget", None), crd(scope)];
            let resolved = resolve_namespaces(objects, &with_crd_kind(), "shop", &Definitions::new()).unwrap();
            assert_eq!(resolved.objects[0].namespace(), namespace);
            assert_eq!(resolved.deferred.len(), 1);
        }
        let objects = vec![object("example.com/v0", "Widget", None), crd("Cluster")];
        let problems = resolve_namespaces(objects, &with_crd_kind(), "shop", &Definitions::new()).unwrap_err();
        assert_eq!(problems[0].reason, "VersionNotServed");
    }

    #[test]
    fn unknown_is_not_absent() {
        let objects = vec![object("metrics.example.com/v1", "Thing", None), object("v1", "ConfigMap", None)];
        let resolved = resolve_namespaces(objects, &kinds(), "shop", &Definitions::new()).unwrap();
        assert_eq!(resolved.objects.len(), 1);
        assert_eq!(resolved.unavailable[0].1.reason, "GroupUnavailable");
    }

    #[test]
    fn every_unknown_kind_is_named() {
        let objects = vec![
            object("example.org/v1", "Thing", None),
            object("example.com/v2", "Old", None),
            object("flowcontrol.apiserver.k8s.io/v1beta3", "FlowSchema", None),
        ];
        let problems = resolve_namespaces(objects, &kinds(), "shop", &Definitions::new()).unwrap_err();
        let reasons: Vec<_> = problems.iter().map(|p| p.reason.as_str()).collect();
        assert_eq!(reasons, ["UnknownKind", "VersionNotServed", "UnknownKind"]);
        assert!(problems[0].hint.as_ref().unwrap().contains("depends_on"));
        assert!(problems[1].hint.as_ref().unwrap().contains("example.com/v1"));
        assert!(problems[2].hint.as_ref().unwrap().contains("flowcontrol.apiserver.k8s.io/v1 "));
        assert_eq!(problems[0].line, Some(3));
    }

    #[test]
    fn the_same_object_by_default_namespace() {
        let objects = vec![object("v1", "ConfigMap", None), object("v1", "ConfigMap", Some("shop"))];
        let problems = resolve_namespaces(objects, &kinds(), "shop", &Definitions::new()).unwrap_err();
        assert_eq!(problems[0].reason, "DuplicateObject");
        assert!(problems[0].message.contains("a.yaml:3"));
    }
}
