//! What controllers do about nodes: taints for cordoned and silent ones, the eviction of pods that do not tolerate a
//! taint, and the end of pods whose node is gone.
//! Source: pkg/controller/nodelifecycle, pkg/controller/tainteviction, pkg/controller/podgc.

use super::condition::{Condition, Conditions};
use super::index::Index;
use super::kind::{NODE, POD};
use super::meta::{after, int, is_deleting, items, name, namespace, stamp, text, time, uid};
use super::{patch, pods};
use crate::cluster::scheduler::filter::tolerates;
use crate::cluster::view::{CONTROLLER_MANAGER, Step, Write};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Seconds between a node's absence and the end of its pods (`quarantineTime` of podgc): it may come back.
const QUARANTINE: i64 = 40;

/// Since when nodes that pods are bound to have been missing, by name.
pub type Missing = BTreeMap<String, Timestamp>;

/// Taints that follow from a node's state, and whether they hold: (key, effect).
const OURS: [(&str, &str); 4] = [
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
    ("node.kubernetes.io/not-ready", "NoSchedule"),
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
];

/// One step for every node and the pods on it.
pub fn run(index: &Index<'_>, missing: &mut Missing) -> Step {
    let mut step = Step::default();
    let nodes = index.all(&NODE);
    for node in nodes.iter() {
        taint(index, node, &mut step);
        evict(index, node, &mut step);
    }
    let bound = index.pods_by_node();
    missing.retain(|node, _| bound.contains_key(node) && !nodes.iter().any(|known| name(known) == node));
    for (node, pods) in bound.iter().filter(|(node, _)| !node.is_empty()) {
        if nodes.iter().any(|known| name(known) == node) {
            continue;
        }
        let end = after(*missing.entry(node.clone()).or_insert(index.now), QUARANTINE);
        if end > index.now {
            step.wake(end);
            continue;
        }
        // What is bound to it after this waits anew.
        missing.remove(node);
        for pod in pods {
            collect(index, pod, &mut step);
        }
    }
    step
}

fn taint(index: &Index<'_>, node: &Value, step: &mut Step) {
    let conditions = Conditions::of(node);
    // A node that has not reported yet is left to its kubelet: there is no grace period to wait for here.
    let ready = conditions.get("Ready").is_none() || conditions.is("Ready", "True");
    let wanted = |key: &str| match key {
        "node.kubernetes.io/unschedulable" => node["spec"]["unschedulable"] == true,
        "node.kubernetes.io/not-ready" => !ready,
        _ => conditions.is("MemoryPressure", "True"),
    };
    let present = items(&node["spec"]["taints"]);
    let is = |taint: &Value, (key, effect): (&str, &str)| taint["key"] == key && taint["effect"] == effect;
    let mut taints: Vec<Value> =
        present.iter().filter(|taint| OURS.iter().all(|ours| !is(taint, *ours) || wanted(ours.0))).cloned().collect();
    for (key, effect) in OURS.into_iter().filter(|(key, _)| wanted(key)) {
        if !present.iter().any(|taint| is(taint, (key, effect))) {
            taints.push(json!({"key": key, "effect": effect, "timeAdded": stamp(index.now)}));
        }
    }
    if taints.as_slice() != present {
        let value = if taints.is_empty() { Value::Null } else { Value::Array(taints) };
        step.push(CONTROLLER_MANAGER, patch::patch(&NODE, node, json!({"spec": {"taints": value}}), None));
    }
}

/// Deletes pods that do not tolerate a `NoExecute` taint, or no longer.
fn evict(index: &Index<'_>, node: &Value, step: &mut Step) {
    let executing: Vec<&Value> =
        items(&node["spec"]["taints"]).iter().filter(|taint| taint["effect"] == "NoExecute").collect();
    if executing.is_empty() {
        return;
    }
    for pod in index.pods_by_node().get(name(node)).into_iter().flatten() {
        if !pods::is_active(pod) {
            continue;
        }
        match executing.iter().map(|taint| stays_until(pod, taint)).min() {
            Some(Stay::Until(at)) if at > index.now => step.wake(at),
            Some(Stay::Until(_)) => step.push(CONTROLLER_MANAGER, patch::delete(&POD, pod, None)),
            Some(Stay::Forever) | None => {}
        }
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Stay {
    Until(Timestamp),
    Forever,
}

fn stays_until(pod: &Value, taint: &Value) -> Stay {
    let now_gone = Stay::Until(Timestamp::MIN);
    if !tolerates(&pod["spec"], taint) {
        return now_gone;
    }
    let matching = items(&pod["spec"]["tolerations"])
        .iter()
        .filter(|toleration| tolerates(&json!({"tolerations": [toleration]}), taint));
    let shortest = matching.filter_map(|toleration| toleration["tolerationSeconds"].as_i64()).min();
    match (shortest, time(&taint["timeAdded"])) {
        (None, _) => Stay::Forever,
        (Some(seconds), Some(since)) => Stay::Until(after(since, seconds)),
        (Some(seconds), None) if seconds <= 0 => now_gone,
        (Some(_), None) => Stay::Forever,
    }
}

/// A pod whose node is gone has no kubelet to end it (`gcOrphaned`).
fn collect(index: &Index<'_>, pod: &Arc<Value>, step: &mut Step) {
    let done = is_deleting(pod) && int(&pod["metadata"]["deletionGracePeriodSeconds"]) == 0;
    if done {
        return;
    }
    if !pods::is_finished(pod) {
        let mut conditions = Conditions::of(pod);
        let message = "PodGC: node no longer exists";
        let why = Condition { kind: "DisruptionTarget", status: "True", reason: "DeletionByPodGC", message };
        conditions.set(&why, index.now, &[]);
        let body = json!({"status": {"phase": "Failed", "conditions": conditions.into_value()}});
        step.push(CONTROLLER_MANAGER, patch::patch(&POD, pod, body, Some("status")));
    }
    step.push(
        CONTROLLER_MANAGER,
        Write::Delete {
            gk: POD.clone(),
            namespace: namespace(pod).map(str::to_owned),
            name: text(&pod["metadata"]["name"]).to_owned(),
            uid: Some(uid(pod).to_owned()),
            propagation: None,
            grace_seconds: Some(0),
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::controllers::kind::DEPLOYMENT;
    use crate::cluster::simulation::{Simulation, deployment};

    fn placed(cluster: &Simulation, node: &str) -> usize {
        cluster.list(&POD).iter().filter(|pod| pod["spec"]["nodeName"] == node).count()
    }

    #[test]
    fn a_cordoned_node_gets_nothing_new() {
        let mut cluster = Simulation::new();
        cluster.patch(&NODE, "node-1", json!({"spec": {"unschedulable": true}}));
        cluster.create(deployment(6, &json!(1), &json!(0)));
        cluster.run(3000);
        assert_eq!((placed(&cluster, "node-1"), placed(&cluster, "node-2")), (0, 3));
        let node = cluster.get(&NODE, "node-1").unwrap();
        assert_eq!(node["spec"]["taints"][0]["key"], "node.kubernetes.io/unschedulable");
        cluster.patch(&NODE, "node-1", json!({"spec": {"unschedulable": null}}));
        cluster.settle();
        assert!(cluster.get(&NODE, "node-1").unwrap()["spec"]["taints"].is_null());
    }

    #[test]
    fn pods_leave_a_node_that_is_gone_or_that_they_do_not_tolerate() {
        let mut cluster = Simulation::new();
        cluster.create(deployment(6, &json!(1), &json!(0)));
        cluster.run(3000);
        cluster.delete(&NODE, "node-1", "Background");
        cluster.patch(&NODE, "node-2", json!({"spec": {"taints": [{"key": "x", "effect": "NoExecute"}]}}));
        cluster.run(39_000);
        assert_eq!((placed(&cluster, "node-1"), placed(&cluster, "node-2"), placed(&cluster, "node-3")), (2, 0, 4));
        cluster.run(5000);
        assert_eq!((placed(&cluster, "node-1"), placed(&cluster, "node-2"), placed(&cluster, "node-3")), (0, 0, 6));
        assert_eq!(cluster.get(&DEPLOYMENT, "web").unwrap()["status"]["readyReplicas"], 6);
    }

    #[test]
    fn pods_for_a_node_that_does_not_exist_are_made_anew_once_per_quarantine() {
        let mut cluster = Simulation::new();
        let mut web = deployment(3, &json!(1), &json!(0));
        web["spec"]["template"]["spec"]["nodeName"] = json!("nowhere");
        cluster.create(web);
        cluster.run(600_000);
        let made =
            |(_, write): &&(&'static str, Write)| matches!(write, Write::Create { object } if object["kind"] == "Pod");
        assert_eq!(cluster.objects.log.borrow().iter().filter(made).count(), 3 * 16);
        assert_eq!(cluster.list(&POD).len(), 3);
    }

    #[test]
    fn what_fits_nowhere_says_why_and_the_nodes_say_how_full_they_are() {
        let mut cluster = Simulation::new();
        let mut web = deployment(4, &json!(1), &json!(0));
        web["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("3");
        cluster.create(web);
        cluster.run(3000);
        let pending: Vec<_> = cluster.list(&POD).into_iter().filter(|pod| pods::phase(pod) == "Pending").collect();
        assert_eq!(pending.len(), 1);
        let condition = pods::condition(&pending[0], "PodScheduled").unwrap();
        assert_eq!((&condition["status"], &condition["reason"]), (&json!("False"), &json!("Unschedulable")));
        assert_eq!(
            condition["message"],
            "0/3 nodes are available: 3 Insufficient cpu. no new claims to \
            deallocate, preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod."
        );
        let node = cluster.get(&NODE, "node-1").unwrap();
        assert_eq!(super::super::meta::annotation(&node, "sim.driftless.dev/allocation"), Some("cpu=0.75,memory=0.00"));
        cluster.patch(&DEPLOYMENT, "web", json!({"spec": {"replicas": 3}}));
        cluster.run(3000);
        assert!(cluster.list(&POD).iter().all(|pod| pods::phase(pod) == "Running"));
    }
}
