//! Which object has to be there before which: inferred from what objects say of each other (rule 5).
//!
//! In: objects with their keys, desired or live. Out: edges by position, sorted and without duplicates. An edge leads
//! from the one that waits to the one it waits for.

use super::analysis::{Analysis, Subject, namespace_key};
use super::autoscaler::{is_autoscaler, target};
use super::order::is_webhook;
use super::podspec::{pod_spec, references, service_account};
use crate::object::{Gk, Gvk, Manifest, ObjectKey};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const RBAC: &str = "rbac.authorization.k8s.io";

/// One edge.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// Position of the object that waits.
    pub from: usize,
    /// Position of the object that it waits for.
    pub to: usize,
    /// Why, as the end of "waits for X: …".
    pub why: &'static str,
    /// How much it counts.
    pub strength: Strength,
    /// Holds only while the other is written by the same plan: one that is broken already does not hold it up.
    pub while_written: bool,
}

/// How much an edge counts against waves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strength {
    /// The one cannot exist without the other: a Namespace or CRD comes as early as what it is needed for.
    Hard,
    /// Said by a person, or a fact that no order can get around: against waves it is a cycle.
    Firm,
    /// A good guess: waves overrule it.
    Soft,
}

/// Objects by position, and where each key is.
pub struct Objects<'a> {
    /// Keys and content.
    pub list: Vec<(&'a ObjectKey, &'a Value)>,
    index: BTreeMap<&'a ObjectKey, usize>,
}

impl<'a> Objects<'a> {
    /// Indexes the objects.
    pub fn new(list: Vec<(&'a ObjectKey, &'a Value)>) -> Self {
        let index = list.iter().enumerate().map(|(i, (key, _))| (*key, i)).collect();
        Self { list, index }
    }

    /// Position of a key.
    pub fn position(&self, key: &ObjectKey) -> Option<usize> {
        self.index.get(key).copied()
    }
}

/// Every inferred edge but that of webhook configurations, which the graph adds.
pub fn inferred(objects: &Objects<'_>) -> Vec<Edge> {
    let mut out = BTreeSet::new();
    let definitions = definitions(objects);
    let services = api_services(objects);
    let bindings = bindings(objects);
    let workloads = workloads(objects);
    let quotas = quotas(objects);
    for (from, (key, object)) in objects.list.iter().enumerate() {
        let mut add = |to: Option<usize>, why: &'static str, strength: Strength, while_written: bool| {
            if let Some(to) = to.filter(|to| *to != from) {
                out.insert(Edge { from, to, why, strength, while_written });
            }
        };
        if let Some(namespace) = &key.namespace {
            add(objects.position(&namespace_key(namespace)), "it is the namespace", Strength::Hard, false);
        }
        for quota in key.namespace.as_deref().and_then(|name| quotas.get(name)).into_iter().flatten() {
            if !key.is("", "ResourceQuota") {
                add(Some(*quota), "it is the namespace's quota", Strength::Soft, true);
            }
        }
        add(definitions.get(&key.gk()).copied(), "it defines the kind", Strength::Hard, false);
        let version = object.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
        add(
            services.get(&Gvk::from_api_version(version, "").api_version()).copied(),
            "it serves the kind",
            Strength::Soft,
            false,
        );
        for reference in references(key, object) {
            add(objects.position(&reference), "its pods use it", Strength::Soft, false);
        }
        if let Some(account) = service_account(key, object) {
            for binding in bound_to(&bindings, &account) {
                add(Some(binding), "it gives its pods their rights", Strength::Soft, false);
            }
        }
        for named in named_by(key, object) {
            add(objects.position(&named), "it refers to it", Strength::Soft, false);
        }
        if let Some(workload) = target(key, object) {
            add(objects.position(&workload), "it scales it", Strength::Soft, true);
        }
        if key.is("policy", "PodDisruptionBudget") {
            for workload in selected(key, object, &workloads) {
                add(Some(workload), "it protects its pods", Strength::Soft, true);
            }
        }
    }
    out.into_iter().collect()
}

/// By namespace.
fn quotas<'a>(objects: &Objects<'a>) -> BTreeMap<&'a str, Vec<usize>> {
    let mut out: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, (key, _)) in objects.list.iter().enumerate().filter(|(_, (key, _))| key.is("", "ResourceQuota")) {
        out.entry(key.namespace.as_deref().unwrap_or_default()).or_default().push(i);
    }
    out
}

fn definitions(objects: &Objects<'_>) -> BTreeMap<Gk, usize> {
    let crds = objects.list.iter().enumerate().filter(|(_, (key, _))| key.kind == "CustomResourceDefinition");
    crds.filter_map(|(i, (_, object))| {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        Some((Gk::new(text("/spec/group")?, text("/spec/names/kind")?), i))
    })
    .collect()
}

/// By `group/version`.
fn api_services(objects: &Objects<'_>) -> BTreeMap<String, usize> {
    let services =
        objects.list.iter().enumerate().filter(|(_, (key, _))| key.is("apiregistration.k8s.io", "APIService"));
    services
        .filter_map(|(i, (_, object))| {
            let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
            Some((Gvk::new(text("/spec/group")?, text("/spec/version")?, "").api_version(), i))
        })
        .collect()
}

/// Who is bound by what: `(kind, namespace, name)` of the subject.
type Bindings = BTreeMap<(String, String, String), Vec<usize>>;

fn bindings(objects: &Objects<'_>) -> Bindings {
    let mut out = Bindings::new();
    for (i, (key, object)) in objects.list.iter().enumerate() {
        if key.group != RBAC || !key.kind.ends_with("Binding") {
            continue;
        }
        for subject in object.get("subjects").and_then(Value::as_array).into_iter().flatten() {
            let text = |name: &str| subject.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let namespace = match text("namespace") {
                none if none.is_empty() && text("kind") == "ServiceAccount" => {
                    key.namespace.clone().unwrap_or_default()
                }
                given => given,
            };
            out.entry((text("kind"), namespace, text("name"))).or_default().push(i);
        }
    }
    out
}

fn bound_to(bindings: &Bindings, account: &ObjectKey) -> Vec<usize> {
    let namespace = account.namespace.clone().unwrap_or_default();
    let group = |name: String| ("Group".to_owned(), String::new(), name);
    [
        ("ServiceAccount".to_owned(), namespace.clone(), account.name.clone()),
        group(format!("system:serviceaccounts:{namespace}")),
        group("system:serviceaccounts".to_owned()),
    ]
    .iter()
    .filter_map(|subject| bindings.get(subject))
    .flatten()
    .copied()
    .collect()
}

/// Workloads by namespace, with their pods' labels.
type Workloads<'a> = BTreeMap<&'a str, Vec<(usize, &'a Value)>>;

fn workloads<'a>(objects: &Objects<'a>) -> Workloads<'a> {
    let mut out = Workloads::new();
    for (i, (key, object)) in objects.list.iter().enumerate() {
        let labels = pod_spec(key, object).and_then(|(_, metadata)| object.pointer(metadata)?.get("labels"));
        if let (Some(namespace), Some(labels)) = (&key.namespace, labels) {
            out.entry(namespace).or_default().push((i, labels));
        }
    }
    out
}

fn selected(key: &ObjectKey, object: &Value, workloads: &Workloads<'_>) -> Vec<usize> {
    let labels = object.pointer("/spec/selector/matchLabels").and_then(Value::as_object);
    let Some(labels) = labels.filter(|labels| !labels.is_empty()) else { return Vec::new() };
    let all = workloads.get(key.namespace.as_deref().unwrap_or_default()).into_iter().flatten();
    all.filter(|(_, pods)| labels.iter().all(|(name, value)| pods.get(name) == Some(value))).map(|(i, _)| *i).collect()
}

/// The role that a binding binds.
pub fn role_of(key: &ObjectKey, object: &Value) -> Option<ObjectKey> {
    if key.group != RBAC || !key.kind.ends_with("Binding") {
        return None;
    }
    let kind = object.pointer("/roleRef/kind")?.as_str()?;
    let namespace = if kind == "Role" { key.namespace.as_deref() } else { None };
    Some(ObjectKey::new(&Gk::new(RBAC, kind), namespace, object.pointer("/roleRef/name")?.as_str()?))
}

/// What an object that is no workload names.
fn named_by(key: &ObjectKey, object: &Value) -> Vec<ObjectKey> {
    let namespace = key.namespace.as_deref();
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    let list = |pointer: &str| object.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    let mut out: Vec<ObjectKey> = role_of(key, object).into_iter().collect();
    let mut add = |group: &str, kind: &str, namespace: Option<&str>, name: Option<&str>| {
        out.extend(name.map(|name| ObjectKey::new(&Gk::new(group, kind), namespace, name)));
    };
    match (key.group.as_str(), key.kind.as_str()) {
        (RBAC, _) => {
            for subject in list("/subjects") {
                let field = |name: &str| subject.get(name).and_then(Value::as_str);
                if field("kind") == Some("ServiceAccount") {
                    add("", "ServiceAccount", field("namespace").or(namespace), field("name"));
                }
            }
        }
        ("networking.k8s.io", "Ingress") => {
            add("networking.k8s.io", "IngressClass", None, text("/spec/ingressClassName"));
            add("", "Service", namespace, text("/spec/defaultBackend/service/name"));
            for rule in list("/spec/rules") {
                for path in rule.pointer("/http/paths").and_then(Value::as_array).into_iter().flatten() {
                    add("", "Service", namespace, path.pointer("/backend/service/name").and_then(Value::as_str));
                }
            }
            for tls in list("/spec/tls") {
                add("", "Secret", namespace, tls.get("secretName").and_then(Value::as_str));
            }
        }
        ("apps", "StatefulSet") => add("", "Service", namespace, text("/spec/serviceName")),
        ("", "PersistentVolumeClaim") => {
            add("storage.k8s.io", "StorageClass", None, text("/spec/storageClassName"));
            add("", "PersistentVolume", None, text("/spec/volumeName"));
        }
        ("apiregistration.k8s.io", "APIService") => {
            add("", "Service", text("/spec/service/namespace"), text("/spec/service/name"));
        }
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding") => {
            add("admissionregistration.k8s.io", "ValidatingAdmissionPolicy", None, text("/spec/policyName"));
        }
        ("", "Secret") => {
            let account = object.pointer("/metadata/annotations/kubernetes.io~1service-account.name");
            add("", "ServiceAccount", namespace, account.and_then(Value::as_str));
        }
        _ => {}
    }
    out
}

/// True if nothing waits for this kind's health (an HPA's gates nothing else).
pub fn gates_nothing(key: &ObjectKey) -> bool {
    is_autoscaler(key) || is_webhook(key)
}

/// Node ports of a Service, with their protocols.
pub fn node_ports(object: &Value) -> BTreeSet<(i64, String)> {
    let ports = object.pointer("/spec/ports").and_then(Value::as_array).into_iter().flatten();
    let mut out: BTreeSet<(i64, String)> = ports
        .filter_map(|port| {
            let protocol = port.get("protocol").and_then(Value::as_str).unwrap_or("TCP");
            Some((port.get("nodePort")?.as_i64()?, protocol.to_owned()))
        })
        .collect();
    let health = object.pointer("/spec/healthCheckNodePort").and_then(Value::as_i64);
    out.extend(health.map(|port| (port, "TCP".to_owned())));
    out
}

/// Services of this plan that hold a node port which `subject` wants, and let it go: pruned ones, and ones that change.
pub fn port_holders(analysis: &Analysis<'_>, subject: &Subject<'_>) -> Vec<ObjectKey> {
    if !subject.key.is("", "Service") {
        return Vec::new();
    }
    let has = subject.standing.live().map(|live| node_ports(live.value())).unwrap_or_default();
    let wants: BTreeSet<(i64, String)> = node_ports(&subject.body.value).difference(&has).cloned().collect();
    if wants.is_empty() {
        return Vec::new();
    }
    let holds = |live: &Value| !node_ports(live).is_disjoint(&wants);
    let doomed = analysis.prunes.doomed.iter().filter(|_| analysis.prunes.withheld.is_none());
    let pruned = doomed.filter(|d| d.object.kind == "Service" && holds(d.live.value())).map(|d| d.object.key());
    let changed = analysis.subjects.iter().filter(|other| {
        other.key != subject.key
            && other.key.is("", "Service")
            && !other.remembered
            && other.standing.live().is_some_and(|live| holds(live.value()))
            && node_ports(&other.body.value).is_disjoint(&wants)
    });
    pruned.chain(changed.map(|other| other.key.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(api: &str, kind: &str, namespace: Option<&str>, name: &str, rest: &Value) -> (ObjectKey, Value) {
        let mut value = json!({"apiVersion": api, "kind": kind, "metadata": {"name": name}});
        for (field, content) in rest.as_object().unwrap() {
            value[field] = content.clone();
        }
        (ObjectKey::new(&Gvk::from_api_version(api, kind).gk(), namespace, name), value)
    }

    #[test]
    fn every_inferred_edge() {
        let a = Some("a");
        let pods = json!({"spec": {"template": {"metadata": {"labels": {"app": "web", "x": "1"}}, "spec": {"containers": [],
            "serviceAccountName": "sa", "volumes": [{"configMap": {"name": "c"}}]}}}});
        let all = [
            object("v1", "Namespace", None, "a", &json!({})),
            object("v1", "ServiceAccount", a, "sa", &json!({})),
            object(&format!("{RBAC}/v1"), "Role", a, "r", &json!({})),
            object(
                &format!("{RBAC}/v1"),
                "RoleBinding",
                a,
                "rb",
                &json!({"roleRef": {"kind": "Role", "name": "r"},
                "subjects": [{"kind": "ServiceAccount", "name": "sa"}]}),
            ),
            object("v1", "ConfigMap", a, "c", &json!({})),
            object("apps/v1", "Deployment", a, "web", &pods),
            object("v1", "Service", a, "web", &json!({})),
            object(
                "networking.k8s.io/v1",
                "Ingress",
                a,
                "i",
                &json!({"spec": {"rules": [{"http": {"paths": [
                {"backend": {"service": {"name": "web"}}}]}}]}}),
            ),
            object(
                "autoscaling/v2",
                "HorizontalPodAutoscaler",
                a,
                "h",
                &json!({"spec": {"scaleTargetRef":
                {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}}),
            ),
            object(
                "policy/v1",
                "PodDisruptionBudget",
                a,
                "p",
                &json!({"spec": {"selector": {"matchLabels": {"app": "web"}}}}),
            ),
            object(
                "apiextensions.k8s.io/v1",
                "CustomResourceDefinition",
                None,
                "ws.x.io",
                &json!({"spec": {"group": "x.io",
                "names": {"kind": "W"}}}),
            ),
            object("x.io/v1", "W", a, "w", &json!({})),
            object(
                "apiregistration.k8s.io/v1",
                "APIService",
                None,
                "v1.m.io",
                &json!({"spec": {"group": "m.io", "version": "v1",
                "service": {"namespace": "a", "name": "web"}}}),
            ),
            object("m.io/v1", "M", a, "m", &json!({})),
        ];
        let objects = Objects::new(all.iter().map(|(key, value)| (key, value)).collect());
        let found: BTreeSet<String> = inferred(&objects)
            .iter()
            .filter(|edge| edge.why != "it is the namespace")
            .map(|edge| format!("{} → {}", all[edge.from].0.kind, all[edge.to].0.kind))
            .collect();
        let expected = [
            "APIService → Service",
            "Deployment → ConfigMap",
            "Deployment → RoleBinding",
            "Deployment → ServiceAccount",
            "HorizontalPodAutoscaler → Deployment",
            "Ingress → Service",
            "M → APIService",
            "PodDisruptionBudget → Deployment",
            "RoleBinding → Role",
            "RoleBinding → ServiceAccount",
            "W → CustomResourceDefinition",
        ];
        assert_eq!(found, expected.iter().map(|s| (*s).to_owned()).collect());
        assert_eq!(
            inferred(&objects).iter().filter(|edge| edge.strength == Strength::Hard).count(),
            11 + 1,
            "contents of the namespace, and W"
        );
    }

    #[test]
    fn ports_with_their_protocols() {
        let service =
            json!({"spec": {"ports": [{"nodePort": 30000}, {"nodePort": 30000, "protocol": "UDP"}, {"port": 1}]}});
        assert_eq!(node_ports(&service).len(), 2);
    }
}
