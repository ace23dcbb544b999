//! ReplicaSets: as many pods as the spec says. Source: pkg/controller/replicaset.

use super::claim::claim;
use super::condition::{Condition, Conditions};
use super::index::Index;
use super::kind::{POD, REPLICA_SET};
use super::meta::{controller_uid, generation, int, is_deleting, name, namespace, omit_empty, uid};
use super::{patch, pods, selector};
use crate::cluster::view::{CONTROLLER_MANAGER, Step};
use serde_json::{Value, json};
use std::sync::Arc;

/// Pods created or deleted in one step at most (`BurstReplicas`).
const BURST: usize = 500;

/// One step for every ReplicaSet.
pub fn run(index: &Index<'_>) -> Step {
    let mut step = Step::default();
    for set in index.all(&REPLICA_SET).iter() {
        let around = index.owned(&POD, uid(set)).into_iter().chain(index.orphans(&POD, namespace(set)));
        index.unless_settled("replicaset", set, around, &mut step, |step| sync(index, set, step));
    }
    step
}

fn sync(index: &Index<'_>, set: &Value, step: &mut Step) {
    let owned = claim(index, &POD, &REPLICA_SET, set, &set["spec"]["selector"], step);
    let active: Vec<Arc<Value>> = owned.iter().filter(|pod| pods::is_active(pod)).cloned().collect();
    let terminating = owned.iter().filter(|pod| is_deleting(pod) && !pods::is_finished(pod)).count();
    if !is_deleting(set) {
        manage(index, set, &active, step);
    }
    let status = status(index, set, &active, terminating, step);
    if let Some(write) = patch::status(&REPLICA_SET, set, &status) {
        step.push(CONTROLLER_MANAGER, write);
    }
}

fn wanted(set: &Value) -> usize {
    usize::try_from(set["spec"]["replicas"].as_i64().unwrap_or(1)).unwrap_or(0)
}

fn manage(index: &Index<'_>, set: &Value, active: &[Arc<Value>], step: &mut Step) {
    let wanted = wanted(set);
    if active.len() < wanted {
        let mut pod = pods::from_template(&REPLICA_SET, set, &set["spec"]["template"]);
        pods::set_metadata(&mut pod, "generateName", json!(format!("{}-", name(set))));
        for _ in 0..(wanted - active.len()).min(BURST) {
            step.push(CONTROLLER_MANAGER, patch::create(pod.clone()));
        }
    } else if active.len() > wanted {
        let siblings = siblings(index, set, active);
        let order = pods::deletion_order(active.to_vec(), &siblings, index.now);
        for pod in order.iter().take((active.len() - wanted).min(BURST)) {
            step.push(CONTROLLER_MANAGER, patch::delete(&POD, pod, None));
        }
    }
}

/// Pods of every ReplicaSet that has the same owner (`getIndirectlyRelatedPods`).
fn siblings(index: &Index<'_>, set: &Value, own: &[Arc<Value>]) -> Vec<Arc<Value>> {
    match controller_uid(set) {
        Some(owner) => {
            index.owned(&REPLICA_SET, owner).iter().flat_map(|related| index.owned(&POD, uid(related))).collect()
        }
        None => own.to_vec(),
    }
}

fn status(index: &Index<'_>, set: &Value, active: &[Arc<Value>], terminating: usize, step: &mut Step) -> Value {
    let min_ready = int(&set["spec"]["minReadySeconds"]);
    let template_labels = &set["spec"]["template"]["metadata"]["labels"];
    let labelled = active.iter().filter(|p| selector::map_selects(template_labels, &p["metadata"]["labels"])).count();
    let available_at: Vec<_> = active.iter().filter_map(|pod| pods::available_at(pod, min_ready)).collect();
    let available = available_at.iter().filter(|at| **at <= index.now).count();
    for at in available_at.iter().filter(|at| **at > index.now) {
        step.wake(*at);
    }
    let mut status = omit_empty(json!({
        "fullyLabeledReplicas": labelled, "readyReplicas": available_at.len(), "availableReplicas": available,
        "observedGeneration": generation(set), "conditions": failure(index, set, active.len()),
    }));
    if let Some(map) = status.as_object_mut() {
        // Never omitted: the one has no `omitempty`, the other is a pointer.
        map.insert("replicas".to_owned(), json!(active.len()));
        map.insert("terminatingReplicas".to_owned(), json!(terminating));
    }
    status
}

/// `ReplicaFailure`, while the API server refuses pods.
fn failure(index: &Index<'_>, set: &Value, active: usize) -> Value {
    let mut conditions = Conditions::of(set);
    match index.refusals.create(CONTROLLER_MANAGER, "Pod", uid(set)) {
        Some(refusal) if active < wanted(set) && !is_deleting(set) => conditions.set(
            &Condition { kind: "ReplicaFailure", status: "True", reason: "FailedCreate", message: &refusal.message },
            index.now,
            &[],
        ),
        _ => conditions.remove("ReplicaFailure"),
    }
    conditions.into_value()
}
