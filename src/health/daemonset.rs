//! DaemonSets: no matching node is Healthy; `OnDelete` is respected; new pods are those of the newest ControllerRevision.

use super::pod;
use super::related::Related;
use super::statefulset::CANNOT_CREATE;
use super::status::{self, count, int, plural, text};
use super::verdict::{Assessment, Health};
use crate::object::{Live, Manifest};
use jiff::Timestamp;

/// A DaemonSet, by its status and by its pods where they were read.
pub fn assess(live: &Live, related: &Related, now: Timestamp) -> Assessment {
    if let Some(waits) = status::not_observed(live, true) {
        return waits;
    }
    let Some(missing) = missing(live) else { return Assessment::healthy() };
    if count(live, "/status/currentNumberScheduled") < count(live, "/status/desiredNumberScheduled")
        && let Some((reason, message, _)) = related.warning(live, &CANNOT_CREATE)
    {
        return Assessment::degraded(format!("{reason}: {message}"));
    }
    let new = related.owned_by(live, "", "Pod").map(|pods| new_pods(live, &pods, related)).unwrap_or_default();
    match pod::worst_of(new, related, now, pod::PATIENCE) {
        Some(pods) if pods.health == Health::Degraded => pods,
        Some(pods) => Assessment { message: format!("{missing}; {}", pods.message), ..pods },
        None => Assessment::progressing(missing),
    }
}

fn missing(live: &Live) -> Option<String> {
    let desired = count(live, "/status/desiredNumberScheduled");
    let nodes = plural(desired, "node");
    let scheduled = count(live, "/status/currentNumberScheduled");
    if scheduled < desired {
        return Some(format!("on {scheduled} of {nodes}"));
    }
    let updated = count(live, "/status/updatedNumberScheduled");
    if updated < desired && text(live, "/spec/updateStrategy/type") != Some("OnDelete") {
        return Some(format!("updated on {updated} of {nodes}"));
    }
    let ready = count(live, "/status/numberReady");
    if ready < desired {
        return Some(format!("ready on {ready} of {nodes}"));
    }
    let available = count(live, "/status/numberAvailable");
    (available < desired).then(|| format!("available on {available} of {nodes}"))
}

/// Pods of the newest revision: by ControllerRevision, else by the template generation that the controller labels them
/// with; where neither is known all of them.
fn new_pods<'a>(live: &Live, pods: &[&'a Live], related: &Related) -> Vec<&'a Live> {
    let revisions = related.owned_by(live, "apps", "ControllerRevision").unwrap_or_default();
    let newest = revisions.into_iter().max_by_key(|revision| int(revision, "/revision"));
    if let Some(hash) = newest.and_then(|revision| revision.label("controller-revision-hash")) {
        return pod::of_revision(pods, hash);
    }
    match live.annotation("deprecated.daemonset.template.generation") {
        Some(generation) if pods.iter().any(|pod| pod.label("pod-template-generation").is_some()) => {
            pods.iter().copied().filter(|pod| pod.label("pod-template-generation") == Some(generation)).collect()
        }
        _ => pods.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::pod::tests::{bad_image, crashing, now};
    use super::*;
    use crate::health::RelatedQuery;
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn set(spec: &Value, status: &Value) -> Live {
        let mut object = json!({"apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": {"name": "agent", "namespace": "shop", "uid": "ds1", "generation": 2,
                "annotations": {"deprecated.daemonset.template.generation": "2"}},
            "spec": {"updateStrategy": {"type": "RollingUpdate"}},
            "status": {"observedGeneration": 2, "desiredNumberScheduled": 2, "currentNumberScheduled": 2,
                "updatedNumberScheduled": 2, "numberReady": 2, "numberAvailable": 2, "numberMisscheduled": 0}});
        for (part, patch) in [("spec", spec), ("status", status)] {
            for (key, value) in patch.as_object().unwrap() {
                object[part][key] = value.clone();
            }
        }
        Live(object)
    }

    #[test]
    fn by_status_alone() {
        use Health::{Healthy, Progressing};
        let none = json!({});
        let nowhere = json!({"desiredNumberScheduled": 0, "currentNumberScheduled": 0, "numberReady": 0,
            "updatedNumberScheduled": null, "numberAvailable": null});
        for (spec, status, health, message) in [
            (none.clone(), none.clone(), Healthy, ""),
            (none.clone(), nowhere, Healthy, ""),
            (none.clone(), json!({"observedGeneration": null}), Progressing, "the controller has not looked at it yet"),
            (none.clone(), json!({"currentNumberScheduled": 1}), Progressing, "on 1 of 2 nodes"),
            (none.clone(), json!({"updatedNumberScheduled": 1}), Progressing, "updated on 1 of 2 nodes"),
            (json!({"updateStrategy": {"type": "OnDelete"}}), json!({"updatedNumberScheduled": 0}), Healthy, ""),
            (none.clone(), json!({"numberReady": 1, "numberAvailable": 1}), Progressing, "ready on 1 of 2 nodes"),
            (none.clone(), json!({"numberAvailable": null}), Progressing, "available on 0 of 2 nodes"),
        ] {
            let found = assess(&set(&spec, &status), &Related::default(), now());
            assert_eq!((found.health, found.message.as_str()), (health, message), "{spec} {status}");
        }
    }

    #[test]
    fn only_new_pods_are_blamed() {
        let live = set(&json!({}), &json!({"updatedNumberScheduled": 1, "numberReady": 0}));
        let owned = |mut pod: Live, generation: &str, hash: &str| {
            pod.0["metadata"]["ownerReferences"] = json!([{"uid": "ds1", "controller": true}]);
            pod.0["metadata"]["labels"] =
                json!({"pod-template-generation": generation, "controller-revision-hash": hash});
            Arc::new(pod)
        };
        let revision = |hash: &str, number: i64| {
            Arc::new(Live(json!({"revision": number, "metadata": {"labels": {"controller-revision-hash": hash},
                "ownerReferences": [{"uid": "ds1", "controller": true}]}})))
        };
        for with_revisions in [false, true] {
            let mut related = Related::default();
            if with_revisions {
                related.add(&RelatedQuery::revisions_of(&live), vec![revision("h1", 1), revision("h2", 2)]);
            }
            let query = RelatedQuery::pods_of(&live);
            let mut old_only = related.clone();
            old_only.add(&query, vec![owned(crashing("a"), "1", "h1")]);
            assert_eq!(assess(&live, &old_only, now()).health, Health::Progressing);
            related.add(&query, vec![owned(crashing("a"), "1", "h1"), owned(bad_image("b"), "2", "h2")]);
            let found = assess(&live, &related, now());
            assert_eq!(found.health, Health::Degraded);
            assert_eq!(found.message, "b: ImagePullBackOff: Back-off pulling image \"x:bad\"");
        }
    }
}
