//! HorizontalPodAutoscalers in a cluster without metrics: they say so and scale nothing, except that the bounds hold.
//! Source: pkg/controller/podautoscaler.

use super::condition::{Condition, Conditions};
use super::index::Index;
use super::kind::HORIZONTAL_POD_AUTOSCALER;
use super::meta::{int, items, namespace, omit_empty, text};
use super::patch;
use crate::cluster::view::{CONTROLLER_MANAGER, Step};
use crate::object::Gvk;
use serde_json::{Value, json};

/// One step for every autoscaler.
pub fn run(index: &Index<'_>) -> Step {
    let mut step = Step::default();
    for autoscaler in index.all(&HORIZONTAL_POD_AUTOSCALER).iter() {
        sync(index, autoscaler, &mut step);
    }
    step
}

fn sync(index: &Index<'_>, autoscaler: &Value, step: &mut Step) {
    let reference = &autoscaler["spec"]["scaleTargetRef"];
    let gk = Gvk::from_api_version(text(&reference["apiVersion"]), text(&reference["kind"])).gk();
    let target_name = text(&reference["name"]);
    let target = index.get(&gk, namespace(autoscaler), target_name);
    let mut conditions = Conditions::of(autoscaler);
    let mut say = |kind: &str, status: &str, reason: &str, message: &str| {
        conditions.set_with_message(&Condition { kind, status, reason, message }, index.now, &[]);
    };
    let current = target.as_ref().map_or(0, |target| target["spec"]["replicas"].as_i64().unwrap_or(1));
    let mut desired = int(&autoscaler["status"]["desiredReplicas"]);
    match &target {
        None => {
            let plural = format!("{}s.{}", gk.kind.to_lowercase(), gk.group);
            let message = format!(
                "the HPA controller was unable to get the target's current scale: {plural} \"{target_name}\" not found"
            );
            say("AbleToScale", "False", "FailedGetScale", &message);
        }
        Some(_) if current == 0 => {
            say(
                "AbleToScale",
                "True",
                "SucceededGetScale",
                "the HPA controller was able to get the target's current scale",
            );
            say(
                "ScalingActive",
                "False",
                "ScalingDisabled",
                "scaling is disabled since the replica count of the target is zero",
            );
            desired = 0;
        }
        Some(target) => {
            let least = autoscaler["spec"]["minReplicas"].as_i64().unwrap_or(1);
            let most = int(&autoscaler["spec"]["maxReplicas"]);
            let bounded = current.clamp(least, most.max(least));
            if bounded == current {
                say(
                    "AbleToScale",
                    "True",
                    "SucceededGetScale",
                    "the HPA controller was able to get the target's current scale",
                );
                let (reason, message) = no_metrics(autoscaler);
                say("ScalingActive", "False", reason, &message);
            } else {
                // Bounds need no metrics.
                say(
                    "AbleToScale",
                    "True",
                    "SucceededRescale",
                    &format!("the HPA controller was able to update the target scale to {bounded}"),
                );
                let body = json!({"spec": {"replicas": bounded}});
                step.push(CONTROLLER_MANAGER, patch::patch(&gk, target, body, None));
                desired = bounded;
            }
        }
    }
    let mut status = omit_empty(json!({
        "currentReplicas": current, "lastScaleTime": autoscaler["status"]["lastScaleTime"],
        "currentMetrics": autoscaler["status"]["currentMetrics"], "conditions": conditions.into_value(),
    }));
    patch::apply_merge(&mut status, &json!({"desiredReplicas": desired}));
    if let Some(write) = patch::status(&HORIZONTAL_POD_AUTOSCALER, autoscaler, &status) {
        step.push(CONTROLLER_MANAGER, write);
    }
}

/// What the first metric says without a metrics server (`computeReplicasForMetrics`).
fn no_metrics(autoscaler: &Value) -> (&'static str, String) {
    let cpu = json!({"type": "Resource", "resource": {"name": "cpu"}});
    let metric = items(&autoscaler["spec"]["metrics"]).first().unwrap_or(&cpu);
    let unable = "the server could not find the requested resource";
    match text(&metric["type"]) {
        "Resource" | "ContainerResource" => {
            let field = if metric["type"] == "Resource" { "resource" } else { "containerResource" };
            let resource = text(&metric[field]["name"]);
            let message = format!(
                "the HPA was unable to compute the replica count: failed to get {resource} utilization: unable to get \
                 metrics for resource {resource}: unable to fetch metrics from resource metrics API: {unable} (get \
                 pods.metrics.k8s.io)"
            );
            ("FailedGetResourceMetric", message)
        }
        kind => {
            let reason = match kind {
                "Pods" => "FailedGetPodsMetric",
                "Object" => "FailedGetObjectMetric",
                _ => "FailedGetExternalMetric",
            };
            (reason, format!("the HPA was unable to compute the replica count: unable to fetch metrics: {unable}"))
        }
    }
}
