//! PodDisruptionBudgets: how many pods may be evicted now. Source: pkg/controller/disruption.

use super::condition::{Condition, Conditions};
use super::index::Index;
use super::kind::{DEPLOYMENT, POD, POD_DISRUPTION_BUDGET, REPLICA_SET, STATEFUL_SET};
use super::meta::{controller, generation, is_deleting, namespace, scaled, text};
use super::{patch, pods, selector};
use crate::cluster::view::{CONTROLLER_MANAGER, Step};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

/// One step for every budget.
pub fn run(index: &Index<'_>) -> Step {
    let mut step = Step::default();
    for budget in index.all(&POD_DISRUPTION_BUDGET).iter() {
        sync(index, budget, &mut step);
    }
    step
}

fn sync(index: &Index<'_>, budget: &Value, step: &mut Step) {
    let pods: Vec<Arc<Value>> = index
        .within(&POD, namespace(budget).unwrap_or_default())
        .into_iter()
        .filter(|pod| selector::selects(&budget["spec"]["selector"], &pod["metadata"]["labels"]))
        .collect();
    let healthy = pods.iter().filter(|pod| pods::is_active(pod) && pods::is_ready(pod)).count() as i64;
    let (expected, desired) = counts(index, budget, &pods);
    let allowed = if expected <= 0 { 0 } else { (healthy - desired).max(0) };
    let mut conditions = Conditions::of(budget);
    let (status, reason) = if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let condition = Condition { kind: "DisruptionAllowed", status, reason, message: "" };
    conditions.set(&condition, index.now, &[]);
    for condition in &mut conditions.0 {
        patch::apply_merge(condition, &json!({"observedGeneration": generation(budget)}));
        if let Some(map) = condition.as_object_mut() {
            // Required by metav1.Condition, if only empty.
            map.entry("message").or_insert_with(|| json!(""));
        }
    }
    let mut status = budget["status"].clone();
    patch::apply_merge(
        &mut status,
        &json!({
            "observedGeneration": generation(budget), "disruptionsAllowed": allowed, "currentHealthy": healthy,
            "desiredHealthy": desired, "expectedPods": expected, "conditions": conditions.into_value(),
        }),
    );
    if let Some(write) = patch::status(&POD_DISRUPTION_BUDGET, budget, &status) {
        step.push(CONTROLLER_MANAGER, write);
    }
}

/// (expected, desired healthy): `getExpectedPodCount`.
fn counts(index: &Index<'_>, budget: &Value, pods: &[Arc<Value>]) -> (i64, i64) {
    let (most, least) = (&budget["spec"]["maxUnavailable"], &budget["spec"]["minAvailable"]);
    if !most.is_null() {
        let expected = scale(index, pods);
        return (expected, (expected - scaled(most, expected, true).unwrap_or(0)).max(0));
    }
    if least.is_string() {
        let expected = scale(index, pods);
        return (expected, scaled(least, expected, true).unwrap_or(0));
    }
    let alive = pods.iter().filter(|pod| !is_deleting(pod) || !pods::is_finished(pod)).count() as i64;
    (alive, least.as_i64().unwrap_or(1))
}

/// The sum of the replicas of the pods' controllers, each once.
fn scale(index: &Index<'_>, pods: &[Arc<Value>]) -> i64 {
    let mut owners: HashMap<String, i64> = HashMap::new();
    for pod in pods {
        let Some(owner) = controller(pod) else { continue };
        let space = namespace(pod);
        let of = |kind, name: &str| index.get(kind, space, name);
        let owner = match text(&owner["kind"]) {
            "ReplicaSet" => of(&REPLICA_SET, text(&owner["name"])).map(|set| match controller(&set) {
                Some(above) if above["kind"] == "Deployment" => of(&DEPLOYMENT, text(&above["name"])).unwrap_or(set),
                _ => set,
            }),
            "StatefulSet" => of(&STATEFUL_SET, text(&owner["name"])),
            _ => None,
        };
        if let Some(owner) = owner {
            owners.insert(super::meta::uid(&owner).to_owned(), owner["spec"]["replicas"].as_i64().unwrap_or(1));
        }
    }
    owners.values().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::simulation::{Simulation, deployment};

    #[test]
    fn what_may_be_evicted_follows_the_pods() {
        for (spec, allowed, desired) in [
            (json!({"minAvailable": 2}), 1, 2),
            (json!({"maxUnavailable": "50%"}), 2, 1),
            (json!({"minAvailable": "100%"}), 0, 3),
        ] {
            let mut cluster = Simulation::new();
            let mut budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"},
                "spec": {"selector": {"matchLabels": {"app": "web"}}}});
            patch::apply_merge(&mut budget, &json!({"spec": spec}));
            cluster.create(budget);
            cluster.create(deployment(3, &json!(1), &json!(0)));
            cluster.run(3000);
            let status = cluster.get(&POD_DISRUPTION_BUDGET, "web").unwrap()["status"].clone();
            assert_eq!(
                (&status["disruptionsAllowed"], &status["desiredHealthy"]),
                (&json!(allowed), &json!(desired)),
                "{spec}"
            );
            assert_eq!((&status["currentHealthy"], &status["expectedPods"]), (&json!(3), &json!(3)));
        }
    }
}
