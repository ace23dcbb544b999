//! Jobs: by their conditions. A Job that its TTL removed after a recorded success is still well
//! (`assess_missing` in `assess.rs`).

use super::pod;
use super::related::Related;
use super::statefulset::CANNOT_CREATE;
use super::status::{Condition, condition, count, flag, int, plural};
use super::verdict::Assessment;
use crate::object::{Live, Manifest};
use jiff::{SignedDuration, Timestamp};

/// How a Job ended.
#[derive(Debug, Clone, Copy)]
pub enum End<'a> {
    /// Its pods did what they had to.
    Complete(Condition<'a>),
    /// It gave up.
    Failed(Condition<'a>),
}

/// How the Job ended, if it did.
pub fn end(live: &Live) -> Option<End<'_>> {
    let is = |kind| condition(live, kind).filter(|c| c.is_true());
    is("Failed").map(End::Failed).or_else(|| is("Complete").map(End::Complete))
}

/// A Job, by its status; where its pods were read, one that can never start speaks.
pub fn assess(live: &Live, related: &Related, now: Timestamp) -> Assessment {
    match end(live) {
        Some(End::Complete(_)) => return Assessment::healthy(),
        Some(End::Failed(why)) => return Assessment::degraded(with_pod(why.explain(), live, related, now)),
        None => {}
    }
    // FailureTarget: it has failed and waits for its pods to end (KEP-3329).
    if let Some(why) = condition(live, "FailureTarget").filter(|c| c.is_true()) {
        return Assessment::degraded(with_pod(why.explain(), live, related, now));
    }
    let active = count(live, "/status/active");
    if flag(live, "/spec/suspend") {
        return if active == 0 {
            Assessment::suspended("the job is suspended")
        } else {
            Assessment::progressing(format!("suspending: {} still running", plural(active, "pod")))
        };
    }
    running(live, active, related, now)
}

fn running(live: &Live, active: i64, related: &Related, now: Timestamp) -> Assessment {
    let pods: Vec<&Live> = related.owned_by(live, "", "Pod").unwrap_or_default();
    // A failed or crashing pod is tried again up to `backoffLimit`; one without image or configuration waits for ever.
    let stuck = pods.iter().copied().filter(|pod| pod::never_starts(pod));
    if let Some(stuck) = pod::worst_of(stuck, related, now, SignedDuration::MAX) {
        return stuck;
    }
    if active == 0
        && let Some((reason, message, _)) = related.warning(live, &CANNOT_CREATE)
    {
        return Assessment::degraded(format!("{reason}: {message}"));
    }
    let wanted = int(live, "/spec/completions").unwrap_or(1);
    let succeeded = count(live, "/status/succeeded");
    let failed = count(live, "/status/failed");
    let mut said = format!("running: {succeeded} of {} succeeded", plural(wanted, "pod"));
    if failed > 0 {
        said.push_str(&format!(", {failed} failed"));
    }
    Assessment::progressing(said)
}

/// The Job's reason, with that of its last failed pod where it was read.
fn with_pod(why: String, live: &Live, related: &Related, now: Timestamp) -> String {
    let pods = related.owned_by(live, "", "Pod").unwrap_or_default();
    match pod::worst_of(pods, related, now, SignedDuration::MAX) {
        Some(pod) => format!("{why}; {}", pod.message),
        None => why,
    }
}

/// When the Job ended.
pub fn ended_at(live: &Live) -> Option<Timestamp> {
    match end(live)? {
        End::Complete(condition) | End::Failed(condition) => condition.since(),
    }
}

/// True if `owner` made this Job.
pub fn is_of(live: &Live, owner: &Live) -> bool {
    owner.uid().is_some() && live.controller_uid() == owner.uid()
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::pod::tests::{bad_image, crashing, now, pod};
    use super::*;
    use crate::health::{Health, RelatedQuery};
    use serde_json::{Value, json};
    use std::sync::Arc;

    pub(in super::super) fn job(name: &str, spec: &Value, status: &Value) -> Live {
        Live(json!({"apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": name, "namespace": "shop", "uid": name, "generation": 1},
            "spec": spec, "status": status}))
    }

    pub(in super::super) fn failed(at: &str) -> Value {
        json!({"failed": 7, "conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded",
            "message": "Job has reached the specified backoff limit", "lastTransitionTime": at}]})
    }

    pub(in super::super) fn complete(at: &str) -> Value {
        json!({"succeeded": 1, "conditions": [
            {"type": "SuccessCriteriaMet", "status": "True", "reason": "CompletionsReached", "lastTransitionTime": at},
            {"type": "Complete", "status": "True", "reason": "CompletionsReached", "lastTransitionTime": at}]})
    }

    #[test]
    fn by_status_alone() {
        use Health::{Degraded, Healthy, Progressing, Suspended};
        let at = "2026-03-01T11:00:00Z";
        for (spec, status, health, message) in [
            (json!({"completions": 1}), json!({}), Progressing, "running: 0 of 1 pod succeeded"),
            (
                json!({"completions": 3}),
                json!({"active": 1, "succeeded": 1, "failed": 2}),
                Progressing,
                "running: 1 of 3 pods succeeded, 2 failed",
            ),
            (json!({}), complete(at), Healthy, ""),
            (json!({}), failed(at), Degraded, "BackoffLimitExceeded: Job has reached the specified backoff limit"),
            (
                json!({}),
                json!({"conditions": [{"type": "FailureTarget", "status": "True", "reason": "DeadlineExceeded",
                    "message": "Job was active longer than specified deadline"}]}),
                Degraded,
                "DeadlineExceeded: Job was active longer than specified deadline",
            ),
            (
                json!({"completions": 1}),
                json!({"active": 1, "conditions": [{"type": "SuccessCriteriaMet", "status": "True"}]}),
                Progressing,
                "running: 0 of 1 pod succeeded",
            ),
            (json!({"suspend": true}), json!({}), Suspended, "the job is suspended"),
            (json!({"suspend": true}), json!({"active": 1}), Progressing, "suspending: 1 pod still running"),
            (json!({"suspend": true}), complete(at), Healthy, ""),
        ] {
            let found = assess(&job("j", &spec, &status), &Related::default(), now());
            assert_eq!((found.health, found.message.as_str()), (health, message), "{spec} {status}");
        }
    }

    #[test]
    fn pods_that_can_be_tried_again_are_no_failure() {
        let live = job("j", &json!({"completions": 1}), &json!({"active": 1}));
        let ended = pod("j-x", "Failed", false, &json!({"state": {"terminated": {"exitCode": 2, "reason": "Error"}}}));
        for (mut pod, health) in
            [(crashing("j-a"), Health::Progressing), (ended, Health::Progressing), (bad_image("j-a"), Health::Degraded)]
        {
            pod.0["metadata"]["ownerReferences"] = json!([{"uid": "j", "controller": true}]);
            let mut related = Related::default();
            related.add(&RelatedQuery::pods_of(&live), vec![Arc::new(pod)]);
            assert_eq!(assess(&live, &related, now()).health, health);
        }
    }

    #[test]
    fn a_failure_names_its_pod() {
        let live = job("j", &json!({}), &failed("2026-03-01T11:00:00Z"));
        let mut pod =
            pod("j-x", "Failed", false, &json!({"state": {"terminated": {"exitCode": 2, "reason": "Error"}}}));
        pod.0["metadata"]["ownerReferences"] = json!([{"uid": "j", "controller": true}]);
        let mut related = Related::default();
        related.add(&RelatedQuery::pods_of(&live), vec![Arc::new(pod)]);
        assert_eq!(
            assess(&live, &related, now()).message,
            "BackoffLimitExceeded: Job has reached the specified backoff limit; j-x: exited with code 2 (Error)"
        );
    }
}
