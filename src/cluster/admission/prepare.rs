//! What a kind's strategy does to an object before it is validated: status, generation, fields that nobody may set.
//! Source: `PrepareForCreate` and `PrepareForUpdate` in k8s.io/kubernetes/pkg/registry/*/*/strategy.go.

use crate::cluster::kinds::{Generation, Kind};
use crate::object::quantity::Quantity;
use crate::scheme::defaults::TEMPLATE_GENERATION;
use serde_json::{Map, Value, json};

fn map(value: &mut Value) -> Option<&mut Map<String, Value>> {
    value.as_object_mut()
}

fn metadata(value: &mut Value) -> Option<&mut Map<String, Value>> {
    value.get_mut("metadata").and_then(Value::as_object_mut)
}

/// Before a create.
pub fn create(kind: &Kind, object: &mut Value, uid: &str, now: &str) {
    if kind.generation != Generation::None || kind.custom {
        if let Some(metadata) = metadata(object) {
            metadata.insert("generation".into(), 1.into());
        }
    } else if let Some(metadata) = metadata(object) {
        metadata.shift_remove("generation");
    }
    let keeps_status = kind.is("", "Node");
    if kind.subresources.contains(&"status") && !keeps_status && !kind.custom {
        if let Some(object) = map(object) {
            object.insert("status".into(), json!({}));
        }
    } else if kind.custom
        && kind.versions.iter().any(|v| v.status)
        && let Some(object) = map(object)
    {
        object.shift_remove("status");
    }
    match (kind.gk.group.as_str(), kind.gk.kind.as_str()) {
        ("", "Pod") => {
            object["status"] = json!({"phase": "Pending", "qosClass": quality_of_service(object)});
            if object.pointer("/spec/schedulingGates").and_then(Value::as_array).is_some_and(|g| !g.is_empty()) {
                object["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "False",
                    "reason": "SchedulingGated", "message": "Scheduling is blocked due to non-empty scheduling gates"}]);
            }
        }
        ("", "Namespace") => {
            object["status"] = json!({"phase": "Active"});
            let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
            if let Some(labels) = metadata(object).map(|m| m.entry("labels").or_insert_with(|| json!({}))) {
                labels["kubernetes.io/metadata.name"] = name.into();
            }
            let finalizers = object.pointer_mut("/spec/finalizers").and_then(Value::as_array_mut);
            match finalizers {
                Some(list) if list.iter().any(|f| f == "kubernetes") => {}
                Some(list) => list.push("kubernetes".into()),
                None => object["spec"] = json!({"finalizers": ["kubernetes"]}),
            }
        }
        ("", "Service") => object["status"] = json!({"loadBalancer": {}}),
        ("", "PersistentVolume") => object["status"] = json!({"phase": "Pending", "lastPhaseTransitionTime": now}),
        ("", "PersistentVolumeClaim") => object["status"] = json!({"phase": "Pending"}),
        ("apps", "StatefulSet") => object["status"] = json!({"replicas": 0}),
        ("apps", "ReplicaSet") => object["status"] = json!({"replicas": 0}),
        ("apps", "DaemonSet") => {
            object["metadata"]["annotations"][TEMPLATE_GENERATION] = "1".into();
            object["status"] = json!({"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0});
        }
        ("networking.k8s.io", "Ingress") => object["status"] = json!({"loadBalancer": {}}),
        ("autoscaling", _) => object["status"] = json!({"desiredReplicas": 0, "currentMetrics": null}),
        ("policy", "PodDisruptionBudget") => {
            object["status"] =
                json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0});
        }
        ("batch", "Job") => job(object, uid),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            let stored = crate::cluster::crd::storage_version_name(object);
            object["status"] =
                json!({"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": [stored]});
        }
        _ => {}
    }
}

/// A Job that does not select by hand gets labels and a selector of its own (`generateSelector`).
fn job(object: &mut Value, uid: &str) {
    if object.pointer("/spec/manualSelector") == Some(&Value::Bool(true)) {
        return;
    }
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let Some(template) = object.pointer_mut("/spec/template").and_then(Value::as_object_mut) else { return };
    let labels = template
        .entry("metadata")
        .or_insert_with(|| json!({}))
        .as_object_mut()
        .map(|m| m.entry("labels").or_insert_with(|| json!({})));
    if let Some(labels) = labels {
        if labels.is_null() {
            *labels = json!({});
        }
        for (key, value) in [
            ("batch.kubernetes.io/controller-uid", uid),
            ("batch.kubernetes.io/job-name", &name),
            ("controller-uid", uid),
            ("job-name", &name),
        ] {
            labels[key] = value.into();
        }
    }
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        let selector = spec.entry("selector").or_insert_with(|| json!({}));
        if selector.is_null() {
            *selector = json!({});
        }
        selector["matchLabels"]["batch.kubernetes.io/controller-uid"] = uid.into();
    }
}

/// Before an update of the main resource.
pub fn update(kind: &Kind, new: &mut Value, old: &Value) {
    let main_status =
        if kind.custom { kind.versions.iter().any(|v| v.status) } else { kind.subresources.contains(&"status") };
    if main_status {
        restore(new, old, "status");
    }
    if kind.is("", "Namespace") {
        restore(new, old, "spec");
    }
    if kind.is("batch", "Job")
        && let (Some(spec), Some(before)) = (new.get_mut("spec").and_then(Value::as_object_mut), old.get("spec"))
    {
        // A Job that was applied without the generated parts keeps them.
        if !spec.contains_key("selector")
            && let Some(selector) = before.get("selector")
        {
            spec.insert("selector".into(), selector.clone());
        }
        keep_generated_labels(spec, before);
    }
    if kind.is("apps", "DaemonSet") {
        let pointer = format!("/metadata/annotations/{TEMPLATE_GENERATION}");
        let before: i64 = old.pointer(&pointer).and_then(Value::as_str).and_then(|t| t.parse().ok()).unwrap_or(0);
        let changed = new.pointer("/spec/template") != old.pointer("/spec/template");
        new["metadata"]["annotations"][TEMPLATE_GENERATION] = (before + i64::from(changed)).to_string().into();
    }
    let generation = generation(old);
    let changed = match kind.generation {
        _ if kind.custom => content(new) != content(old),
        Generation::None => false,
        Generation::Spec => content(new) != content(old),
        Generation::SpecAndAnnotations => {
            let annotations = |v: &Value| {
                v.pointer("/metadata/annotations").cloned().filter(|a| a.as_object().is_none_or(|m| !m.is_empty()))
            };
            new.get("spec") != old.get("spec") || annotations(new) != annotations(old)
        }
    };
    set_generation(new, if changed { generation.map(|g| g + 1) } else { generation });
}

fn keep_generated_labels(spec: &mut Map<String, Value>, before: &Value) {
    let generated = before.pointer("/template/metadata/labels").and_then(Value::as_object).cloned().unwrap_or_default();
    let Some(template) = spec.get_mut("template").and_then(Value::as_object_mut) else { return };
    let Some(metadata) = template.entry("metadata").or_insert_with(|| json!({})).as_object_mut() else { return };
    let labels = metadata.entry("labels").or_insert_with(|| json!({}));
    if labels.is_null() {
        *labels = json!({});
    }
    for key in ["batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name", "controller-uid", "job-name"] {
        if let (Some(value), None) = (generated.get(key), labels.get(key)) {
            labels[key] = value.clone();
        }
    }
}

/// Everything but metadata, status and type.
fn content(object: &Value) -> Map<String, Value> {
    let mut out = object.as_object().cloned().unwrap_or_default();
    for key in ["apiVersion", "kind", "metadata", "status"] {
        out.shift_remove(key);
    }
    out
}

/// `metadata.generation`, where it is kept.
pub fn generation(object: &Value) -> Option<i64> {
    object.pointer("/metadata/generation").and_then(Value::as_i64)
}

/// Sets or removes `metadata.generation`.
pub fn set_generation(object: &mut Value, generation: Option<i64>) {
    if let Some(metadata) = metadata(object) {
        match generation {
            Some(generation) => metadata.insert("generation".into(), generation.into()),
            None => metadata.shift_remove("generation"),
        };
    }
}

fn restore(new: &mut Value, old: &Value, key: &str) {
    let Some(new) = map(new) else { return };
    match old.get(key) {
        Some(value) => new.insert(key.to_owned(), value.clone()),
        None => new.shift_remove(key),
    };
}

/// Before an update of the status: everything else stays, metadata as far as the kind resets it.
pub fn update_status(kind: &Kind, new: &mut Value, old: &Value) {
    let keys: Vec<String> = old
        .as_object()
        .into_iter()
        .chain(new.as_object())
        .flat_map(Map::keys)
        .filter(|key| !matches!(key.as_str(), "metadata" | "status" | "apiVersion" | "kind"))
        .cloned()
        .collect();
    for key in keys {
        restore(new, old, &key);
    }
    let resets_metadata = kind.custom
        || kind.is("apiextensions.k8s.io", "CustomResourceDefinition")
        || kind.is("apiregistration.k8s.io", "APIService");
    if resets_metadata {
        let managed = new.pointer("/metadata/managedFields").cloned();
        let version = new.pointer("/metadata/resourceVersion").cloned();
        restore(new, old, "metadata");
        if let Some(metadata) = metadata(new) {
            if let Some(managed) = managed {
                metadata.insert("managedFields".into(), managed);
            }
            if let Some(version) = version {
                metadata.insert("resourceVersion".into(), version);
            }
        }
    }
    let kept: &[&str] = match kind.gk.kind.as_str() {
        "Deployment" => &["labels"],
        "Pod" => &["ownerReferences"],
        _ => &[],
    };
    for key in kept {
        let before = old.get("metadata").and_then(|m| m.get(*key)).cloned();
        if let Some(metadata) = metadata(new) {
            match before {
                Some(value) => metadata.insert((*key).to_owned(), value),
                None => metadata.shift_remove(*key),
            };
        }
    }
    if kind.is("", "Pod")
        && new.pointer("/status/qosClass").is_none()
        && let Some(class) = old.pointer("/status/qosClass")
    {
        new["status"]["qosClass"] = class.clone();
    }
    set_generation(new, generation(old));
}

/// Before the finalizers of a Namespace's spec are written.
pub fn finalize(new: &mut Value, old: &Value) {
    restore(new, old, "status");
    set_generation(new, generation(old));
}

/// `Guaranteed`, `Burstable` or `BestEffort` (`qos.ComputePodQOS`).
pub fn quality_of_service(pod: &Value) -> &'static str {
    let containers = ["containers", "initContainers"]
        .into_iter()
        .filter_map(|key| pod.pointer(&format!("/spec/{key}")).and_then(Value::as_array))
        .flatten();
    let (mut any, mut guaranteed) = (false, true);
    for container in containers {
        let amount = |list: &str, name: &str| {
            let found = container.pointer(&format!("/resources/{list}/{name}")).and_then(Quantity::from_value);
            found.filter(|q| q.milli > 0)
        };
        for name in ["cpu", "memory"] {
            let (request, limit) = (amount("requests", name), amount("limits", name));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && (request.is_none() || request == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quality_of_service_classes() {
        for (resources, expected) in [
            (json!({}), "BestEffort"),
            (json!({"requests": {"cpu": "1"}}), "Burstable"),
            (json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}}), "Guaranteed"),
            (
                json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}}),
                "Burstable",
            ),
        ] {
            let pod = json!({"spec": {"containers": [{"resources": resources}]}});
            assert_eq!(quality_of_service(&pod), expected, "{pod}");
        }
    }
}
