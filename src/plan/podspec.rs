//! Pod templates: where kinds keep them, and what pods refer to.

use crate::object::{Gk, ObjectKey};
use serde_json::Value;

/// The pod spec of an object, and the JSON pointer to its template's metadata.
pub fn pod_spec<'a>(key: &ObjectKey, object: &'a Value) -> Option<(&'a Value, &'static str)> {
    if key.is("", "Pod") {
        return Some((object.get("spec")?, "/metadata"));
    }
    [
        ("/spec/template/spec", "/spec/template/metadata"),
        ("/spec/jobTemplate/spec/template/spec", "/spec/jobTemplate/spec/template/metadata"),
    ]
    .into_iter()
    .find_map(|(spec, metadata)| Some((object.pointer(spec).filter(|s| s.get("containers").is_some())?, metadata)))
}

/// The service account that an object's pods run as.
pub fn service_account(key: &ObjectKey, object: &Value) -> Option<ObjectKey> {
    let (spec, _) = pod_spec(key, object)?;
    let name = ["serviceAccountName", "serviceAccount"]
        .into_iter()
        .find_map(|field| spec.get(field)?.as_str().filter(|name| !name.is_empty()))
        .unwrap_or("default");
    Some(ObjectKey::new(&Gk::new("", "ServiceAccount"), key.namespace.as_deref(), name))
}

/// Everything that an object's pods name: ConfigMaps, Secrets, claims, the service account, priority and runtime class.
pub fn references(key: &ObjectKey, object: &Value) -> Vec<ObjectKey> {
    let Some((spec, _)) = pod_spec(key, object) else { return Vec::new() };
    let namespace = key.namespace.as_deref();
    let mut out: Vec<ObjectKey> = service_account(key, object).into_iter().collect();
    let mut add = |kind: &str, name: Option<&Value>| {
        if let Some(name) = name.and_then(Value::as_str).filter(|name| !name.is_empty()) {
            out.push(ObjectKey::new(&Gk::new("", kind), namespace, name));
        }
    };
    for volume in list(spec, "volumes") {
        add("ConfigMap", volume.pointer("/configMap/name"));
        add("Secret", volume.pointer("/secret/secretName"));
        add("PersistentVolumeClaim", volume.pointer("/persistentVolumeClaim/claimName"));
        add("Secret", volume.pointer("/csi/nodePublishSecretRef/name"));
        for source in volume.pointer("/projected/sources").and_then(Value::as_array).into_iter().flatten() {
            add("ConfigMap", source.pointer("/configMap/name"));
            add("Secret", source.pointer("/secret/name"));
        }
    }
    for container in list(spec, "initContainers").chain(list(spec, "containers")) {
        for env in list(container, "env") {
            add("ConfigMap", env.pointer("/valueFrom/configMapKeyRef/name"));
            add("Secret", env.pointer("/valueFrom/secretKeyRef/name"));
        }
        for from in list(container, "envFrom") {
            add("ConfigMap", from.pointer("/configMapRef/name"));
            add("Secret", from.pointer("/secretRef/name"));
        }
    }
    for secret in list(spec, "imagePullSecrets") {
        add("Secret", secret.get("name"));
    }
    for (group, kind, field) in [
        ("scheduling.k8s.io", "PriorityClass", "priorityClassName"),
        ("node.k8s.io", "RuntimeClass", "runtimeClassName"),
    ] {
        if let Some(name) = spec.get(field).and_then(Value::as_str).filter(|name| !name.is_empty()) {
            out.push(ObjectKey::new(&Gk::new(group, kind), None, name));
        }
    }
    out
}

fn list<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value.get(field).and_then(Value::as_array).into_iter().flatten()
}

/// True for kinds whose controllers replace pods when the template changes.
pub fn rolls_pods(key: &ObjectKey) -> bool {
    key.group == "apps" && matches!(key.kind.as_str(), "Deployment" | "StatefulSet" | "DaemonSet")
}

/// How many pods an object runs now, as far as it says.
pub fn pods(key: &ObjectKey, live: &Value) -> Option<u64> {
    let number = |pointer: &str| live.pointer(pointer).and_then(Value::as_u64);
    if key.kind == "DaemonSet" {
        return number("/status/desiredNumberScheduled");
    }
    number("/status/replicas").or_else(|| number("/spec/replicas"))
}

/// How many pods restart when the template changes: of those that exist, as many as a change of their number (which comes
/// first) leaves, from a StatefulSet's partition on. Those that are new then start, and restart nothing.
pub fn restarting(key: &ObjectKey, live: &Value, after: &Value) -> Option<u64> {
    let exist = pods(key, live)?;
    let wanted = after.pointer("/spec/replicas").and_then(Value::as_u64).filter(|_| key.kind != "DaemonSet");
    Some(exist.min(wanted.unwrap_or(exist)).saturating_sub(partition(after)))
}

/// Why a changed template restarts no pods by itself, if so.
pub fn restart_held(key: &ObjectKey, object: &Value) -> Option<String> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    if key.kind == "Deployment" {
        let paused = object.pointer("/spec/paused").and_then(Value::as_bool) == Some(true);
        return paused.then(|| "pods restart when it is no longer paused".to_owned());
    }
    if text("/spec/updateStrategy/type") == Some("OnDelete") {
        return Some("each pod changes when it is deleted (OnDelete)".to_owned());
    }
    let count = object.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1);
    let from = partition(object);
    (key.kind == "StatefulSet" && from > 0 && from >= count)
        .then(|| format!("no pod restarts while the partition is {from}"))
}

/// The ordinal from which on a StatefulSet's pods are updated; 0 for all.
pub fn partition(object: &Value) -> u64 {
    object.pointer("/spec/updateStrategy/rollingUpdate/partition").and_then(Value::as_u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_kind_of_reference() {
        let key = ObjectKey::new(&Gk::new("batch", "CronJob"), Some("a"), "j");
        let object = json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": {
            "serviceAccountName": "sa", "priorityClassName": "high", "imagePullSecrets": [{"name": "pull"}],
            "volumes": [{"configMap": {"name": "c1"}}, {"secret": {"secretName": "s1"}},
                {"persistentVolumeClaim": {"claimName": "p"}},
                {"projected": {"sources": [{"configMap": {"name": "c2"}}, {"secret": {"name": "s2"}}]}}],
            "initContainers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "s3"}}}]}],
            "containers": [{"envFrom": [{"configMapRef": {"name": "c3"}}]}]}}}}}});
        let names: Vec<String> = references(&key, &object).iter().map(|k| format!("{}/{}", k.kind, k.name)).collect();
        assert_eq!(
            names,
            [
                "ServiceAccount/sa",
                "ConfigMap/c1",
                "Secret/s1",
                "PersistentVolumeClaim/p",
                "ConfigMap/c2",
                "Secret/s2",
                "Secret/s3",
                "ConfigMap/c3",
                "Secret/pull",
                "PriorityClass/high"
            ]
        );
        assert!(references(&ObjectKey::new(&Gk::new("", "ConfigMap"), None, "x"), &json!({})).is_empty());
    }
}
