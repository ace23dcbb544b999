//! Pods as controllers see them: active, ready, available; made from a template, ranked for deletion.
//! Source: pkg/controller/controller_utils.go, pkg/api/v1/pod/util.go.

use super::index::Index;
use super::meta::{
    after, annotation, controller_uid, created, int, is_deleting, items, name, namespace, owner_reference,
};
use super::meta::{text, time, uid};
use crate::object::Gk;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

/// `status.phase`; `Pending` before anybody has said anything.
pub fn phase(pod: &Value) -> &str {
    pod["status"]["phase"].as_str().unwrap_or("Pending")
}

/// True once all its containers have ended for good.
pub fn is_finished(pod: &Value) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Neither finished nor being deleted (`IsPodActive`).
pub fn is_active(pod: &Value) -> bool {
    !is_finished(pod) && !is_deleting(pod)
}

/// A condition of a pod.
pub fn condition<'a>(pod: &'a Value, kind: &str) -> Option<&'a Value> {
    items(&pod["status"]["conditions"]).iter().find(|c| c["type"] == kind)
}

/// True if the condition `Ready` says so.
pub fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|c| c["status"] == "True")
}

/// When a ready pod counts as available; `None` if it is not ready (`IsPodAvailable`).
pub fn available_at(pod: &Value, min_ready_seconds: i64) -> Option<Timestamp> {
    let ready = condition(pod, "Ready").filter(|c| c["status"] == "True")?;
    if min_ready_seconds == 0 {
        return Some(Timestamp::MIN);
    }
    time(&ready["lastTransitionTime"]).map(|since| after(since, min_ready_seconds))
}

/// The pod that a template gives, owned by its controller. The name, or the `generateName`, is the caller's to set.
pub fn from_template(kind: &Gk, owner: &Value, template: &Value) -> Value {
    let mut metadata = Map::new();
    if let Some(space) = namespace(owner) {
        metadata.insert("namespace".to_owned(), json!(space));
    }
    for field in ["labels", "annotations", "finalizers"] {
        let value = &template["metadata"][field];
        if !value.is_null() {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    metadata.insert("ownerReferences".to_owned(), json!([owner_reference(kind, owner)]));
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
}

/// Sets a text in an object's `metadata`.
pub fn set_metadata(object: &mut Value, field: &str, value: Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert(field.to_owned(), value);
    }
}

/// Sets one label, leaving the others.
pub fn set_label(object: &mut Value, key: &str, value: &str) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        let labels = metadata.entry("labels").or_insert_with(|| json!({}));
        if let Some(labels) = labels.as_object_mut() {
            labels.insert(key.to_owned(), json!(value));
        }
    }
}

/// The active pods in the order in which a controller deletes them (`ActivePodsWithRanks`, with
/// LogarithmicScaleDown): first those whose loss costs least. `siblings` are the active pods of all ReplicaSets of the
/// same owner: pods that share a node with many of them go first.
pub fn deletion_order(mut pods: Vec<Arc<Value>>, siblings: &[Arc<Value>], now: Timestamp) -> Vec<Arc<Value>> {
    let mut on_node: HashMap<&str, i64> = HashMap::new();
    for pod in siblings.iter().filter(|pod| is_active(pod)) {
        *on_node.entry(text(&pod["spec"]["nodeName"])).or_default() += 1;
    }
    let rank = |pod: &Value| on_node.get(text(&pod["spec"]["nodeName"])).copied().unwrap_or(0);
    pods.sort_by(|a, b| {
        assigned(a)
            .cmp(&assigned(b))
            .then_with(|| phase_rank(a).cmp(&phase_rank(b)))
            .then_with(|| is_ready(a).cmp(&is_ready(b)))
            .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
            .then_with(|| rank(b).cmp(&rank(a)))
            .then_with(|| newer_first(a, b, now, ready_since))
            .then_with(|| restarts(b).cmp(&restarts(a)))
            .then_with(|| newer_first(a, b, now, |pod| time(&pod["metadata"]["creationTimestamp"])))
            .then_with(|| uid(a).cmp(uid(b)))
    });
    pods
}

fn assigned(pod: &Value) -> bool {
    !text(&pod["spec"]["nodeName"]).is_empty()
}

fn phase_rank(pod: &Value) -> u8 {
    match phase(pod) {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    }
}

/// KEP-2255: `controller.kubernetes.io/pod-deletion-cost`.
fn deletion_cost(pod: &Value) -> i64 {
    annotation(pod, "controller.kubernetes.io/pod-deletion-cost").and_then(|c| c.parse().ok()).unwrap_or(0)
}

fn ready_since(pod: &Value) -> Option<Timestamp> {
    condition(pod, "Ready").filter(|c| c["status"] == "True").and_then(|c| time(&c["lastTransitionTime"]))
}

fn restarts(pod: &Value) -> i64 {
    items(&pod["status"]["containerStatuses"]).iter().map(|c| int(&c["restartCount"])).max().unwrap_or(0)
}

/// KEP-2185: ages are compared by powers of two, so that the loss is spread.
fn newer_first(a: &Value, b: &Value, now: Timestamp, since: fn(&Value) -> Option<Timestamp>) -> Ordering {
    let bucket = |pod: &Value| {
        let age = since(pod).map_or(0, |t| now.as_nanosecond().saturating_sub(t.as_nanosecond()));
        if age > 0 { i64::from(127 - age.leading_zeros()) } else { -1 }
    };
    bucket(a).cmp(&bucket(b))
}

/// Sum of the restarts of all containers.
pub fn restart_sum(pod: &Value) -> i64 {
    ["initContainerStatuses", "containerStatuses"]
        .iter()
        .flat_map(|field| items(&pod["status"][field]))
        .map(|c| int(&c["restartCount"]))
        .sum()
}

/// Pods of a controller, oldest first.
pub fn of_owner(index: &Index<'_>, owner: &Value) -> Vec<Arc<Value>> {
    let mut pods = index.owned(&super::kind::POD, uid(owner));
    pods.sort_by(|a, b| created(a).cmp(created(b)).then_with(|| name(a).cmp(name(b))));
    pods
}

/// True if the object is controlled by the owner.
pub fn is_controlled_by(object: &Value, owner: &Value) -> bool {
    controller_uid(object) == Some(uid(owner))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, ready: bool, node: &str) -> Arc<Value> {
        Arc::new(json!({"metadata": {"name": name, "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"nodeName": node},
            "status": {"phase": if node.is_empty() { "Pending" } else { "Running" }, "conditions": [
                {"type": "Ready", "status": if ready { "True" } else { "False" }, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}))
    }

    #[test]
    fn the_cheapest_loss_comes_first() {
        let pods = vec![pod("d", true, "n1"), pod("c", true, "n2"), pod("b", false, "n1"), pod("a", false, "")];
        let mut siblings = pods.clone();
        siblings.push(pod("x", true, "n2"));
        siblings.push(pod("y", true, "n2"));
        let order = deletion_order(pods, &siblings, "2026-01-01T00:01:00Z".parse().unwrap());
        assert_eq!(order.iter().map(|p| name(p)).collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    }
}
