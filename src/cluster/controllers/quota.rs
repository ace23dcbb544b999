//! ResourceQuotas: what is used of them. Whether a new object still fits is for admission to say.
//! Source: pkg/controller/resourcequota, pkg/quota/v1/evaluator/core.

use super::index::Index;
use super::kind::{PERSISTENT_VOLUME_CLAIM, POD, RESOURCE_QUOTA, SERVICE};
use super::meta::{items, namespace, same};
use super::{patch, pods};
use crate::cluster::view::{CONTROLLER_MANAGER, Step};
use crate::object::Gk;
use crate::object::quantity::Quantity;
use serde_json::{Map, Value, json};

/// One step for every quota.
pub fn run(index: &Index<'_>) -> Step {
    let mut step = Step::default();
    for quota in index.all(&RESOURCE_QUOTA).iter() {
        let hard = quota["spec"]["hard"].as_object().cloned().unwrap_or_default();
        let used: Map<String, Value> =
            hard.keys().filter_map(|key| Some((key.clone(), json!(used(index, quota, key)?.to_string())))).collect();
        let current = &quota["status"]["used"];
        // Other spellings of the same amounts are no change.
        let equal = |key: &String, value: &Value| {
            Quantity::from_value(value).is_some() && Quantity::from_value(&current[key]) == Quantity::from_value(value)
        };
        let unchanged =
            same(&quota["status"]["hard"], &json!(hard)) && used.iter().all(|(key, value)| equal(key, value));
        if unchanged {
            continue;
        }
        let status = json!({"hard": hard, "used": used});
        if let Some(write) = patch::status(&RESOURCE_QUOTA, quota, &status) {
            step.push(CONTROLLER_MANAGER, write);
        }
    }
    step
}

/// How much of one resource is used; `None` for what is not counted here.
fn used(index: &Index<'_>, quota: &Value, key: &str) -> Option<Quantity> {
    let space = namespace(quota).unwrap_or_default();
    let count = |kind: &Gk| index.within(kind, space).len();
    let number = |count: usize| Some(Quantity { milli: i128::try_from(count).ok()?.checked_mul(1000)? });
    if let Some(resource) = key.strip_prefix("count/") {
        let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
        let kind = index.view.kinds().into_iter().find(|k| k.group == group && is_plural(&k.kind, plural));
        return number(kind.map_or(0, |kind| count(&kind)));
    }
    let services = |wanted: &str| index.within(&SERVICE, space).iter().filter(|s| s["spec"]["type"] == wanted).count();
    match key {
        "pods" => number(index.within(&POD, space).iter().filter(|pod| !pods::is_finished(pod)).count()),
        "services"
        | "secrets"
        | "configmaps"
        | "persistentvolumeclaims"
        | "replicationcontrollers"
        | "resourcequotas" => {
            let kind = index.view.kinds().into_iter().find(|k| k.group.is_empty() && is_plural(&k.kind, key));
            number(kind.map_or(0, |kind| count(&kind)))
        }
        "services.nodeports" => {
            let ports = index.within(&SERVICE, space);
            number(ports.iter().flat_map(|s| items(&s["spec"]["ports"])).filter(|p| p["nodePort"].is_number()).count())
        }
        "services.loadbalancers" => number(services("LoadBalancer")),
        "requests.storage" => Some(sum(index
            .within(&PERSISTENT_VOLUME_CLAIM, space)
            .iter()
            .map(|c| &c["spec"]["resources"]["requests"]["storage"]))),
        _ => compute(index, space, key),
    }
}

/// `requests.cpu`, `limits.memory`, `cpu`: over the containers of pods that are not finished.
fn compute(index: &Index<'_>, space: &str, key: &str) -> Option<Quantity> {
    let (side, resource) = match key.split_once('.') {
        Some((side @ ("requests" | "limits"), resource)) => (side, resource),
        _ => ("requests", key),
    };
    if !matches!(resource, "cpu" | "memory" | "ephemeral-storage") {
        return None;
    }
    let pods = index.within(&POD, space);
    let running = pods.iter().filter(|pod| !pods::is_finished(pod));
    Some(sum(running.flat_map(|pod| items(&pod["spec"]["containers"])).map(|c| &c["resources"][side][resource])))
}

fn sum<'a>(amounts: impl Iterator<Item = &'a Value>) -> Quantity {
    let milli = amounts.filter_map(Quantity::from_value).fold(0_i128, |sum, q| sum.saturating_add(q.milli));
    Quantity { milli }
}

fn is_plural(kind: &str, plural: &str) -> bool {
    let lower = kind.to_lowercase();
    plural == lower
        || plural.strip_suffix('s') == Some(&lower)
        || plural.strip_suffix("es") == Some(&lower)
        || (plural.strip_suffix("ies").is_some() && plural.strip_suffix("ies") == lower.strip_suffix('y'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::controllers::kind::HORIZONTAL_POD_AUTOSCALER;
    use crate::cluster::simulation::{Simulation, deployment};

    #[test]
    fn usage_is_counted_and_an_autoscaler_has_no_metrics() {
        let mut cluster = Simulation::new();
        cluster.create(json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard":
            {"pods": "10", "requests.cpu": "1", "count/deployments.apps": "5", "configmaps": "9", "odd": "1"}}}));
        cluster.create(json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"},
            "spec": {"minReplicas": 3, "maxReplicas": 5, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}}));
        cluster.create(deployment(2, &json!(1), &json!(0)));
        cluster.run(3000);
        let used = cluster.get(&RESOURCE_QUOTA, "q").unwrap()["status"]["used"].clone();
        assert_eq!(used, json!({"pods": "3", "requests.cpu": "30m", "count/deployments.apps": "1", "configmaps": "1"}));
        assert_eq!(cluster.reason(&HORIZONTAL_POD_AUTOSCALER, "web", "ScalingActive"), "FailedGetResourceMetric");
        let status = cluster.get(&HORIZONTAL_POD_AUTOSCALER, "web").unwrap()["status"].clone();
        assert_eq!((&status["currentReplicas"], &status["desiredReplicas"]), (&json!(3), &json!(3)));
    }
}
