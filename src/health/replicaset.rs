//! ReplicaSets and ReplicationControllers that stand alone.

use super::pod;
use super::related::Related;
use super::status::{self, condition, count, int, plural};
use super::verdict::{Assessment, Health};
use crate::object::Live;
use jiff::Timestamp;

/// A ReplicaSet or ReplicationController, by its status and by its pods where they were read.
pub fn assess(live: &Live, related: &Related, now: Timestamp) -> Assessment {
    if let Some(waits) = status::not_observed(live, true) {
        return waits;
    }
    let desired = int(live, "/spec/replicas").unwrap_or(1);
    let replicas = count(live, "/status/replicas");
    let available = count(live, "/status/availableReplicas");
    if replicas == desired && available >= desired {
        return Assessment::healthy();
    }
    if let Some(failure) = condition(live, "ReplicaFailure").filter(|c| c.is_true()) {
        return Assessment::degraded(failure.explain());
    }
    let missing = if replicas > desired {
        format!("{} too many still running", plural(replicas - desired, "pod"))
    } else {
        format!("{available} of {} available", plural(desired, "pod"))
    };
    let pods = related.owned_by(live, "", "Pod").unwrap_or_default();
    match pod::worst_of(pods, related, now, pod::PATIENCE) {
        Some(pods) if pods.health == Health::Degraded => pods,
        Some(pods) => Assessment { message: format!("{missing}; {}", pods.message), ..pods },
        None => Assessment::progressing(missing),
    }
}

#[cfg(test)]
mod tests {
    use super::super::pod::tests::{crashing, now};
    use super::*;
    use crate::health::RelatedQuery;
    use serde_json::json;
    use std::sync::Arc;

    #[test]
    fn verdicts() {
        use Health::{Degraded, Healthy, Progressing};
        for (replicas, status, health, message) in [
            (2, json!({"observedGeneration": 1, "replicas": 2, "availableReplicas": 2}), Healthy, ""),
            (0, json!({"observedGeneration": 1, "replicas": 0}), Healthy, ""),
            (2, json!({"replicas": 0}), Progressing, "the controller has not looked at it yet"),
            (2, json!({"observedGeneration": 1, "replicas": 2}), Progressing, "0 of 2 pods available"),
            (1, json!({"observedGeneration": 1, "replicas": 2}), Progressing, "1 pod too many still running"),
            (
                2,
                json!({"observedGeneration": 1, "replicas": 0, "conditions": [{"type": "ReplicaFailure", "status": "True",
                    "reason": "FailedCreate", "message": "forbidden"}]}),
                Degraded,
                "FailedCreate: forbidden",
            ),
        ] {
            let live = Live(
                json!({"metadata": {"uid": "r1", "generation": 1}, "spec": {"replicas": replicas}, "status": status}),
            );
            let found = assess(&live, &Related::default(), now());
            assert_eq!((found.health, found.message.as_str()), (health, message), "{live:?}");
        }
    }

    #[test]
    fn its_pods_speak() {
        let live = Live(json!({"metadata": {"uid": "r1", "generation": 1}, "spec": {"replicas": 1},
            "status": {"observedGeneration": 1, "replicas": 1}}));
        let mut pod = crashing("r-a");
        pod.0["metadata"]["ownerReferences"] = json!([{"uid": "r1", "controller": true}]);
        let mut related = Related::default();
        related.add(&RelatedQuery::pods_of(&live), vec![Arc::new(pod)]);
        let found = assess(&live, &related, now());
        assert_eq!(found.health, Health::Degraded);
        assert!(found.message.starts_with("r-a: CrashLoopBackOff"));
    }
}
