//! Deployments. Complete by the counts that `kubectl rollout status` uses; what is wrong by the new ReplicaSet's pods.
//!
//! Corrected against kstatus: no `Progressing` condition (no deadline set) is no obstacle; zero replicas are healthy;
//! `ProgressDeadlineExceeded` that outlived its cause does not fail a rollout whose new pods are all available; a
//! rolled-out Deployment that loses its pods is not Progressing for ever (the controller sets no deadline then:
//! pkg/controller/deployment/progress.go, `isCompleteDeployment`).

use super::pod;
use super::related::Related;
use super::status::{self, Condition, condition, count, flag, int, plural};
use super::verdict::{Assessment, Health};
use crate::object::{Live, Manifest};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// A Deployment, by its status and by the pods of its newest ReplicaSet where they were read.
pub fn assess(live: &Live, related: &Related, now: Timestamp) -> Assessment {
    if let Some(waits) = status::not_observed(live, true) {
        return waits;
    }
    if flag(live, "/spec/paused") {
        return Assessment::suspended("the rollout is paused");
    }
    let counts = Counts::of(live);
    if counts.complete() {
        return Assessment::healthy();
    }
    let newest = newest_replica_set(live, related);
    let verdict = by_status(live, &counts, newest, now);
    let pods = newest.and_then(|set| related.owned_by(set, "", "Pod"));
    // A pod that is merely slow is a matter of the Deployment's own deadline.
    match pods.and_then(|pods| pod::worst_of(pods, related, now, SignedDuration::MAX)) {
        Some(pods) if pods.health == Health::Degraded => pods,
        Some(pods) => Assessment {
            message: super::verdict::shorten(&format!("{}; {}", verdict.message, pods.message)),
            ..verdict
        },
        None => verdict,
    }
}

fn by_status(live: &Live, counts: &Counts, newest: Option<&Live>, now: Timestamp) -> Assessment {
    let new_is_up = newest.is_some_and(|set| count(set, "/status/availableReplicas") >= counts.desired);
    let progress = condition(live, "Progressing");
    if let Some(late) = progress.filter(|c| c.reason() == "ProgressDeadlineExceeded" && !new_is_up) {
        return Assessment::degraded(format!("{} ({})", late.explain(), counts.missing()));
    }
    if let Some(failure) = condition(live, "ReplicaFailure").filter(|c| c.is_true()) {
        return Assessment::degraded(failure.explain());
    }
    let rolled_out = progress.is_none_or(|c| c.reason() == "NewReplicaSetAvailable");
    let down_since = condition(live, "Available").filter(|c| c.is_false()).and_then(Condition::since);
    if rolled_out && down_since.is_some() {
        return Assessment::patiently(down_since, deadline(live), now, counts.missing());
    }
    Assessment::progressing(counts.missing())
}

/// `progressDeadlineSeconds`; the largest 32-bit number stands for none (pkg/controller/deployment/util,
/// `HasProgressDeadline`), which is no reason to wait for ever for pods that were lost.
fn deadline(live: &Live) -> SignedDuration {
    match int(live, "/spec/progressDeadlineSeconds") {
        Some(seconds) if seconds < i64::from(i32::MAX) => SignedDuration::from_secs(seconds),
        _ => pod::PATIENCE,
    }
}

struct Counts {
    desired: i64,
    replicas: i64,
    updated: i64,
    ready: i64,
    available: i64,
    min_ready_seconds: i64,
}

impl Counts {
    fn of(live: &Live) -> Self {
        Self {
            // The API server defaults it to 1.
            desired: int(live, "/spec/replicas").unwrap_or(1),
            replicas: count(live, "/status/replicas"),
            updated: count(live, "/status/updatedReplicas"),
            ready: count(live, "/status/readyReplicas"),
            available: count(live, "/status/availableReplicas"),
            min_ready_seconds: count(live, "/spec/minReadySeconds"),
        }
    }

    /// pkg/controller/deployment/util, `DeploymentComplete`.
    fn complete(&self) -> bool {
        self.updated == self.desired && self.replicas == self.desired && self.available >= self.desired
    }

    fn missing(&self) -> String {
        let Self { desired, replicas, updated, ready, available, .. } = *self;
        if updated < desired {
            let pods = plural(desired, "pod");
            return format!("{updated} of {pods} updated, {available} available");
        }
        if available < desired {
            let pods = plural(desired, "pod");
            return if ready >= desired && self.min_ready_seconds > 0 {
                format!(
                    "{available} of {pods} available: ready ones count after {} s (minReadySeconds)",
                    self.min_ready_seconds
                )
            } else {
                format!("{ready} of {pods} ready")
            };
        }
        if replicas > updated {
            return format!("{} still running", plural(replicas - updated, "old pod"));
        }
        format!("{} too many still running", plural(replicas - desired, "pod"))
    }
}

/// The ReplicaSet of this very template, as the controller finds it (pkg/controller/deployment/util, `FindNewReplicaSet`:
/// equal but for the hash label). The highest revision number would be the *previous* ReplicaSet where the new one
/// cannot be created.
fn newest_replica_set<'a>(live: &Live, related: &'a Related) -> Option<&'a Live> {
    let template = bare_template(live)?;
    let sets = related.owned_by(live, "apps", "ReplicaSet")?;
    sets.into_iter()
        .filter(|set| bare_template(set).as_ref() == Some(&template))
        // Of several equal ones the oldest is in use.
        .min_by_key(|set| (status::created(set), set.name().to_owned()))
}

fn bare_template(live: &Live) -> Option<Value> {
    let mut template = live.at("/spec/template")?.clone();
    if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("creationTimestamp");
        if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
            labels.shift_remove("pod-template-hash");
        }
    }
    Some(template)
}

#[cfg(test)]
mod tests {
    use super::super::pod::tests::{bad_image, crashing, now, running};
    use super::*;
    use crate::health::RelatedQuery;
    use serde_json::json;
    use std::sync::Arc;

    fn deployment(spec: &Value, status: &Value) -> Live {
        let mut object = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop", "uid": "d1", "generation": 2},
            "spec": {"replicas": 3, "progressDeadlineSeconds": 600, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": "x:2"}]}}},
            "status": {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3,
                "availableReplicas": 3, "conditions": [
                {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable",
                 "message": "Deployment has minimum availability.", "lastTransitionTime": "2026-03-01T11:00:00Z"},
                {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable",
                 "message": "ReplicaSet \"web-7d9f\" has successfully progressed."}]}});
        for (part, patch) in [("spec", spec), ("status", status)] {
            for (key, value) in patch.as_object().unwrap() {
                object[part][key] = value.clone();
            }
        }
        Live(object)
    }

    fn replica_set(name: &str, image: &str, available: i64) -> Arc<Live> {
        Arc::new(Live(json!({"metadata": {"name": name, "uid": name,
                "ownerReferences": [{"uid": "d1", "controller": true}]},
            "spec": {"template": {"metadata": {"creationTimestamp": null, "labels": {"app": "web", "pod-template-hash": name}},
                "spec": {"containers": [{"name": "main", "image": image}]}}},
            "status": {"availableReplicas": available}})))
    }

    fn owned(mut pod: Live, set: &str) -> Arc<Live> {
        pod.0["metadata"]["ownerReferences"] = json!([{"uid": set, "controller": true}]);
        Arc::new(pod)
    }

    fn related(live: &Live, sets: Vec<Arc<Live>>, pods: Vec<Arc<Live>>) -> Related {
        let mut related = Related::default();
        related.add(&RelatedQuery::replica_sets_of(live), sets);
        related.add(&RelatedQuery::pods_of(live), pods);
        related
    }

    fn late() -> Value {
        json!([{"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"},
            {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
             "message": "ReplicaSet \"web-new\" has timed out progressing."}])
    }

    #[test]
    fn by_status_alone() {
        use Health::{Degraded, Healthy, Progressing, Suspended};
        let none = json!({});
        for (spec, status, health, message) in [
            (none.clone(), none.clone(), Healthy, ""),
            (none.clone(), json!({"conditions": []}), Healthy, ""),
            (
                none.clone(),
                json!({"observedGeneration": 1}),
                Progressing,
                "the controller has not acted on the latest change yet (generation 2, seen 1)",
            ),
            (none.clone(), json!({"observedGeneration": null}), Progressing, "the controller has not looked at it yet"),
            (json!({"paused": true}), none.clone(), Suspended, "the rollout is paused"),
            (
                json!({"replicas": 0}),
                json!({"replicas": 0, "updatedReplicas": null, "readyReplicas": null, "availableReplicas": null}),
                Healthy,
                "",
            ),
            (
                none.clone(),
                json!({"updatedReplicas": 1, "replicas": 4}),
                Progressing,
                "1 of 3 pods updated, 3 available",
            ),
            (none.clone(), json!({"replicas": 4}), Progressing, "1 old pod still running"),
            (none.clone(), json!({"readyReplicas": 2, "availableReplicas": 2}), Progressing, "2 of 3 pods ready"),
            (
                json!({"minReadySeconds": 30}),
                json!({"availableReplicas": 1}),
                Progressing,
                "1 of 3 pods available: ready ones count after 30 s (minReadySeconds)",
            ),
            (
                none.clone(),
                json!({"updatedReplicas": 1, "replicas": 4, "conditions": late()}),
                Degraded,
                "ProgressDeadlineExceeded: ReplicaSet \"web-new\" has timed out progressing. (1 of 3 pods updated, 3 available)",
            ),
            (
                none.clone(),
                json!({"replicas": 0, "updatedReplicas": 0, "availableReplicas": 0, "conditions": [
                    {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
                     "message": "pods \"web-7d9f-\" is forbidden: exceeded quota: compute"}]}),
                Degraded,
                "FailedCreate: pods \"web-7d9f-\" is forbidden: exceeded quota: compute",
            ),
        ] {
            let found = assess(&deployment(&spec, &status), &Related::default(), now());
            assert_eq!((found.health, found.message.as_str()), (health, message), "{spec} {status}");
        }
    }

    #[test]
    fn new_pods_name_the_reason() {
        let live = deployment(&json!({}), &json!({"updatedReplicas": 1, "replicas": 4}));
        let sets = vec![replica_set("web-old", "x:1", 3), replica_set("web-new", "x:2", 0)];
        let pods = vec![owned(running("web-old-a"), "web-old"), owned(bad_image("web-new-b"), "web-new")];
        let found = assess(&live, &related(&live, sets, pods), now());
        assert_eq!(found.health, Health::Degraded);
        assert_eq!(found.message, "web-new-b: ImagePullBackOff: Back-off pulling image \"x:bad\"");
    }

    #[test]
    fn an_old_crashing_pod_is_not_blamed_on_the_new_revision() {
        let live = deployment(&json!({}), &json!({"updatedReplicas": 1, "replicas": 4, "availableReplicas": 0}));
        let sets = vec![replica_set("web-old", "x:1", 0), replica_set("web-new", "x:2", 1)];
        let pods = vec![owned(crashing("web-old-a"), "web-old"), owned(running("web-new-b"), "web-new")];
        let found = assess(&live, &related(&live, sets.clone(), pods), now());
        assert_eq!(found.health, Health::Progressing, "{found:?}");
        // The new ReplicaSet could not be created at all: the old one is not taken for it.
        let pods = vec![owned(crashing("web-old-a"), "web-old")];
        let found = assess(&live, &related(&live, sets[..1].to_vec(), pods), now());
        assert_eq!(found.health, Health::Progressing, "{found:?}");
    }

    #[test]
    fn a_deadline_that_outlived_its_cause_is_no_failure() {
        let live = deployment(&json!({}), &json!({"replicas": 4, "conditions": late()}));
        let sets = vec![replica_set("web-bad", "x:3", 0), replica_set("web-new", "x:2", 3)];
        let found = assess(&live, &related(&live, sets, vec![]), now());
        assert_eq!((found.health, found.message.as_str()), (Health::Progressing, "1 old pod still running"));
    }

    #[test]
    fn lost_pods_are_given_up_after_the_deadline() {
        let live = deployment(
            &json!({}),
            &json!({"readyReplicas": 0, "availableReplicas": 0, "conditions": [
                {"type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable",
                 "lastTransitionTime": "2026-03-01T11:55:00Z"},
                {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}]}),
        );
        let early = assess(&live, &Related::default(), now());
        assert_eq!((early.health, early.message.as_str()), (Health::Progressing, "0 of 3 pods ready"));
        let until = early.recheck_at.unwrap();
        assert_eq!(until.to_string(), "2026-03-01T12:05:00Z");
        assert_eq!(assess(&live, &Related::default(), until).health, Health::Degraded);
    }
}
