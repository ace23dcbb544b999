//! StatefulSets: partition and `OnDelete` respected; new pods are those of `status.updateRevision`.
//!
//! Corrected against kstatus: `OnDelete` is not blindly Current (its pods must still be ready), and an update with a
//! partition of 0 is judged like one without. A StatefulSet of policy `OrderedReady` does not replace a broken pod of
//! the old revision (documented as "forced rollback"): that is Degraded, and said, but not the new revision's fault.

use super::pod;
use super::related::Related;
use super::status::{self, count, int, plural, text};
use super::verdict::{Assessment, Health};
use crate::object::{Live, Manifest};
use jiff::Timestamp;

/// Reasons of events with which a workload's controller says that it cannot create pods (or their claims).
pub const CANNOT_CREATE: [&str; 2] = ["FailedCreate", "FailedCreatePodSandBox"];

/// A StatefulSet, by its status and by its pods where they were read.
pub fn assess(live: &Live, related: &Related, now: Timestamp) -> Assessment {
    if let Some(waits) = status::not_observed(live, true) {
        return waits;
    }
    let Some(missing) = missing(live) else { return Assessment::healthy() };
    let pods = related.owned_by(live, "", "Pod");
    let desired = int(live, "/spec/replicas").unwrap_or(1);
    if count(live, "/status/replicas") < desired
        && let Some((reason, message, _)) = related.warning(live, &CANNOT_CREATE)
    {
        return Assessment::degraded(format!("{reason}: {message}"));
    }
    let Some(pods) = pods else { return Assessment::progressing(missing) };
    by_pods(live, &pods, related, now, &missing)
}

/// What is still to do, if anything.
fn missing(live: &Live) -> Option<String> {
    let desired = int(live, "/spec/replicas").unwrap_or(1);
    let replicas = count(live, "/status/replicas");
    let ready = count(live, "/status/readyReplicas");
    let pods = plural(desired, "pod");
    if ready < desired {
        return Some(format!("{ready} of {pods} ready"));
    }
    if replicas > desired {
        return Some(format!("{} too many still running", plural(replicas - desired, "pod")));
    }
    let min_ready = count(live, "/spec/minReadySeconds");
    let available = count(live, "/status/availableReplicas");
    if min_ready > 0 && available < desired {
        return Some(format!(
            "{available} of {pods} available: ready ones count after {min_ready} s (minReadySeconds)"
        ));
    }
    if text(live, "/spec/updateStrategy/type") == Some("OnDelete") {
        return None;
    }
    let partition = count(live, "/spec/updateStrategy/rollingUpdate/partition");
    let to_update = (desired - partition).max(0);
    let updated = count(live, "/status/updatedReplicas");
    let at_one_revision = text(live, "/status/updateRevision") == text(live, "/status/currentRevision");
    (updated < to_update && !at_one_revision).then(|| format!("{updated} of {} updated", plural(to_update, "pod")))
}

fn by_pods(live: &Live, pods: &[&Live], related: &Related, now: Timestamp, missing: &str) -> Assessment {
    let hash = text(live, "/status/updateRevision").unwrap_or_default();
    let new = pod::of_revision(pods, hash);
    let worst = pod::worst_of(new.iter().copied(), related, now, pod::PATIENCE);
    if let Some(worst) = worst {
        let message = format!("{missing}; {}", worst.message);
        return if worst.health == Health::Degraded { worst } else { Assessment { message, ..worst } };
    }
    let old = pods.iter().copied().filter(|pod| !new.iter().any(|n| n.name() == pod.name()));
    let ordered = text(live, "/spec/podManagementPolicy").unwrap_or("OrderedReady") == "OrderedReady";
    match pod::worst_of(old, related, now, pod::PATIENCE) {
        Some(blocked) if ordered && blocked.health == Health::Degraded => Assessment {
            old_pods: true,
            ..Assessment::degraded(format!(
                "a pod of the previous revision blocks the update until it is deleted: {}",
                blocked.message
            ))
        },
        _ => Assessment::progressing(missing),
    }
}

#[cfg(test)]
mod tests {
    use super::super::pod::tests::{bad_image, crashing, now, running};
    use super::*;
    use crate::health::RelatedQuery;
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn set(spec: &Value, status: &Value) -> Live {
        let mut object = json!({"apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": {"name": "db", "namespace": "shop", "uid": "s1", "generation": 3},
            "spec": {"replicas": 3, "podManagementPolicy": "OrderedReady",
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}},
            "status": {"observedGeneration": 3, "replicas": 3, "readyReplicas": 3, "availableReplicas": 3,
                "currentReplicas": 3, "updatedReplicas": 3, "currentRevision": "db-1", "updateRevision": "db-1",
                "collisionCount": 0}});
        for (part, patch) in [("spec", spec), ("status", status)] {
            for (key, value) in patch.as_object().unwrap() {
                object[part][key] = value.clone();
            }
        }
        Live(object)
    }

    fn owned(mut pod: Live, hash: &str) -> Arc<Live> {
        pod.0["metadata"]["ownerReferences"] = json!([{"uid": "s1", "controller": true}]);
        pod.0["metadata"]["labels"]["controller-revision-hash"] = json!(hash);
        Arc::new(pod)
    }

    fn with_pods(live: &Live, pods: Vec<Arc<Live>>) -> Related {
        let mut related = Related::default();
        related.add(&RelatedQuery::pods_of(live), pods);
        related
    }

    #[test]
    fn by_status_alone() {
        use Health::{Healthy, Progressing};
        let none = json!({});
        let partition =
            |n: i64| json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": n}}});
        let rolling = |updated: i64| json!({"updateRevision": "db-2", "updatedReplicas": updated});
        for (spec, status, health, message) in [
            (none.clone(), none.clone(), Healthy, ""),
            (none.clone(), json!({"observedGeneration": null}), Progressing, "the controller has not looked at it yet"),
            (none.clone(), json!({"readyReplicas": 1}), Progressing, "1 of 3 pods ready"),
            (none.clone(), rolling(1), Progressing, "1 of 3 pods updated"),
            (none.clone(), rolling(3), Healthy, ""),
            (partition(2), rolling(0), Progressing, "0 of 1 pod updated"),
            (partition(2), rolling(1), Healthy, ""),
            (partition(9), rolling(0), Healthy, ""),
            (json!({"updateStrategy": {"type": "OnDelete"}}), rolling(0), Healthy, ""),
            (
                json!({"updateStrategy": {"type": "OnDelete"}}),
                json!({"readyReplicas": 2}),
                Progressing,
                "2 of 3 pods ready",
            ),
            (
                json!({"replicas": 0}),
                json!({"replicas": 0, "readyReplicas": null, "updatedReplicas": null}),
                Healthy,
                "",
            ),
            (json!({"replicas": 1}), none.clone(), Progressing, "2 pods too many still running"),
            (
                json!({"minReadySeconds": 20}),
                json!({"availableReplicas": 2}),
                Progressing,
                "2 of 3 pods available: ready ones count after 20 s (minReadySeconds)",
            ),
        ] {
            let found = assess(&set(&spec, &status), &Related::default(), now());
            assert_eq!((found.health, found.message.as_str()), (health, message), "{spec} {status}");
        }
    }

    #[test]
    fn pods_of_the_new_revision_decide() {
        let live = set(&json!({}), &json!({"readyReplicas": 2, "updateRevision": "db-2", "updatedReplicas": 1}));
        let related = with_pods(&live, vec![owned(running("db-0"), "db-1"), owned(bad_image("db-2"), "db-2")]);
        let found = assess(&live, &related, now());
        assert_eq!((found.health, found.old_pods), (Health::Degraded, false));
        assert_eq!(found.message, "db-2: ImagePullBackOff: Back-off pulling image \"x:bad\"");
    }

    #[test]
    fn a_broken_old_pod_blocks_and_is_not_the_new_revisions_fault() {
        let status = json!({"readyReplicas": 2, "updateRevision": "db-2", "updatedReplicas": 0});
        let live = set(&json!({}), &status);
        let related = with_pods(&live, vec![owned(running("db-0"), "db-1"), owned(crashing("db-2"), "db-1")]);
        let found = assess(&live, &related, now());
        assert_eq!((found.health, found.old_pods), (Health::Degraded, true));
        assert!(
            found
                .message
                .starts_with("a pod of the previous revision blocks the update until it is deleted: db-2: Crash")
        );
        let parallel = set(&json!({"podManagementPolicy": "Parallel"}), &status);
        assert_eq!(assess(&parallel, &related, now()).health, Health::Progressing);
    }

    #[test]
    fn a_quota_speaks_through_events() {
        let live = set(&json!({}), &json!({"replicas": 0, "readyReplicas": 0}));
        let mut related = with_pods(&live, vec![]);
        related.add(
            &RelatedQuery::warnings_about(&live),
            vec![Arc::new(Live(json!({"type": "Warning", "reason": "FailedCreate", "involvedObject": {"uid": "s1"},
                "message": "create Pod db-0 in StatefulSet db failed error: pods \"db-0\" is forbidden: exceeded quota"})))],
        );
        let found = assess(&live, &related, now());
        assert_eq!(found.health, Health::Degraded);
        assert!(found.message.starts_with("FailedCreate: create Pod db-0"));
    }
}
