//! HorizontalPodAutoscalers, by their conditions (pkg/controller/podautoscaler/horizontal.go). They gate nothing: an
//! autoscaler without metrics must neither hold up a sync nor roll anything back, and right after a rollout it has none.

use super::status::{self, Condition, condition, conditions};
use super::verdict::Assessment;
use crate::object::{Live, Manifest};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// New pods report no metrics at first: trouble that young is on its way.
const PATIENCE: SignedDuration = SignedDuration::from_mins(5);

/// An autoscaler.
pub fn assess(live: &Live, now: Timestamp) -> Assessment {
    let verdict = match status::not_observed(live, false) {
        Some(waits) => waits,
        None => by_conditions(live, now),
    };
    verdict.ungated()
}

fn by_conditions(live: &Live, now: Timestamp) -> Assessment {
    let old = version_1(live);
    let find = |kind: &str| match &old {
        Some(entries) => conditions(entries).find(|c| c.kind() == kind),
        None => condition(live, kind),
    };
    let trouble = [find("AbleToScale"), find("ScalingActive")].into_iter().flatten().find(|c| {
        c.is_false() && !matches!(c.reason(), "ScalingDisabled" | "BackoffBoth" | "BackoffDownscale" | "BackoffUpscale")
    });
    match trouble {
        Some(trouble) => {
            let since = trouble.since().max(status::created(live));
            Assessment::patiently(since, PATIENCE, now, Condition::explain(trouble))
        }
        None if find("AbleToScale").is_none() => Assessment::progressing("the controller has not looked at it yet"),
        None => Assessment::healthy(),
    }
}

/// `autoscaling/v1` has no conditions; the API server keeps them in an annotation.
fn version_1(live: &Live) -> Option<Vec<Value>> {
    let text = live.annotation("autoscaling.alpha.kubernetes.io/conditions")?;
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Health;
    use serde_json::json;

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn verdicts() {
        let able = json!({"type": "AbleToScale", "status": "True", "reason": "SucceededGetScale"});
        let active = |reason: &str, at: &str| json!({"type": "ScalingActive", "status": "False", "reason": reason, "message": "m", "lastTransitionTime": at});
        let (recent, old) = ("2026-03-01T11:58:00Z", "2026-03-01T11:00:00Z");
        for (all, health) in [
            (json!([]), Health::Progressing),
            (json!([able, {"type": "ScalingActive", "status": "True", "reason": "ValidMetricFound"}]), Health::Healthy),
            (json!([able, active("FailedGetResourceMetric", recent)]), Health::Progressing),
            (json!([able, active("FailedGetResourceMetric", old)]), Health::Degraded),
            (json!([able, active("FailedGetExternalMetric", old)]), Health::Degraded),
            (json!([able, active("ScalingDisabled", old)]), Health::Healthy),
            (
                json!([{"type": "AbleToScale", "status": "False", "reason": "FailedGetScale", "lastTransitionTime": old}]),
                Health::Degraded,
            ),
            (json!([able, {"type": "ScalingLimited", "status": "True", "reason": "TooFewReplicas"}]), Health::Healthy),
        ] {
            let v2 = Live(json!({"metadata": {"creationTimestamp": old}, "status": {"conditions": all}}));
            let v1 = Live(json!({"metadata": {"creationTimestamp": old,
                "annotations": {"autoscaling.alpha.kubernetes.io/conditions": all.to_string()}}}));
            for live in [v2, v1] {
                let found = assess(&live, now());
                assert_eq!((found.health, found.gates), (health, false), "{live:?}");
            }
        }
    }
}
