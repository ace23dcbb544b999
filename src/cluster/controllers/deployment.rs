//! Deployments: one ReplicaSet per pod template, moved from the old to the new without falling below the promise.
//! Source: pkg/controller/deployment (`syncDeployment`). The parts are in `deployment/`.
//!
//! A step makes the writes of one sync. Where the real controller goes on after a write with the object that came
//! back, this one ends, and goes on in the next step with the view that has it.

mod replica_sets;
mod revision;
mod rollout;
mod scaling;
mod status;

use super::claim::claim;
use super::condition::{Condition, Conditions};
use super::event::Event;
use super::index::Index;
use super::kind::{DEPLOYMENT, POD, REPLICA_SET};
use super::meta::{generation, is_deleting, namespace, scaled, text, uid};
use super::{patch, selector};
use crate::cluster::view::{CONTROLLER_MANAGER, Step, Write};
use jiff::Timestamp;
use replica_sets::{ReplicaSet, Sets};
pub(super) use revision::safe_encode;
use serde_json::{Value, json};

/// One step for every Deployment.
pub fn run(index: &Index<'_>) -> Step {
    let mut step = Step::default();
    for deployment in index.all(&DEPLOYMENT).iter() {
        let sets = index.owned(&REPLICA_SET, uid(deployment));
        let mut around = index.orphans(&REPLICA_SET, namespace(deployment));
        if deployment["spec"]["strategy"]["type"] == "Recreate" {
            around.extend(sets.iter().flat_map(|set| index.owned(&POD, uid(set))));
        }
        around.extend(sets);
        index.unless_settled("deployment", deployment, around, &mut step, |step| {
            let mut sync = Sync::new(index, deployment);
            sync.run();
            step.append(sync.step);
        });
    }
    step
}

/// One Deployment in one step.
struct Sync<'a> {
    index: &'a Index<'a>,
    deployment: &'a Value,
    now: Timestamp,
    replicas: i64,
    /// Conditions so far: what this step has to say is set here and written once.
    conditions: Conditions,
    /// `status.collisionCount`, counted up by a hash collision.
    collisions: i64,
    /// `deployment.kubernetes.io/revision`, if it has to be set.
    revision: Option<String>,
    sets: Sets,
    step: Step,
}

impl<'a> Sync<'a> {
    fn new(index: &'a Index<'a>, deployment: &'a Value) -> Self {
        let mut step = Step::default();
        let selector = &deployment["spec"]["selector"];
        let owned = claim(index, &REPLICA_SET, &DEPLOYMENT, deployment, selector, &mut step);
        Self {
            index,
            deployment,
            now: index.now,
            replicas: deployment["spec"]["replicas"].as_i64().unwrap_or(1),
            conditions: Conditions::of(deployment),
            collisions: deployment["status"]["collisionCount"].as_i64().unwrap_or(0),
            revision: None,
            sets: Sets::new(owned, &deployment["spec"]["template"]),
            step,
        }
    }

    fn run(&mut self) {
        if selector::selects(&self.deployment["spec"]["selector"], &Value::Null) {
            // A selector that selects everything is refused; only the generation is noted.
            let status = patch::merge_diff(
                &self.deployment["status"]["observedGeneration"],
                &json!(generation(self.deployment)),
            );
            if let Some(seen) = status {
                self.write_status_patch(json!({"status": {"observedGeneration": seen}}));
            }
        } else if is_deleting(self.deployment) {
            self.sync_status();
        } else {
            self.note_pause();
            if self.deployment["spec"]["paused"] == true {
                self.sync_revision();
                self.scale();
                self.clean_up();
                self.sync_status();
            } else if self.is_scaling_event() {
                self.sync_revision();
                self.scale();
                self.sync_status();
            } else if self.deployment["spec"]["strategy"]["type"] == "Recreate" {
                self.recreate();
            } else {
                self.roll();
            }
        }
    }

    /// `checkPausedConditions`: a pause must not count against the progress deadline.
    fn note_pause(&mut self) {
        if self.deadline().is_none() || self.conditions.reason("Progressing") == "ProgressDeadlineExceeded" {
            return;
        }
        let paused = self.deployment["spec"]["paused"] == true;
        let noted = self.conditions.reason("Progressing") == "DeploymentPaused";
        if paused && !noted {
            self.progressing("Unknown", "DeploymentPaused", "Deployment is paused");
        } else if !paused && noted {
            self.progressing("Unknown", "DeploymentResumed", "Deployment is resumed");
        }
    }

    fn progressing(&mut self, status: &str, reason: &str, message: &str) {
        let condition = Condition { kind: "Progressing", status, reason, message };
        self.conditions.set(&condition, self.now, &["lastUpdateTime"]);
    }

    /// `progressDeadlineSeconds`; `i32::MAX` means none.
    fn deadline(&self) -> Option<i64> {
        // The API server defaults it to 600.
        let seconds = self.deployment["spec"]["progressDeadlineSeconds"].as_i64().unwrap_or(600);
        (seconds != i64::from(i32::MAX)).then_some(seconds)
    }

    fn is_rolling(&self) -> bool {
        self.deployment["spec"]["strategy"]["type"] != "Recreate"
    }

    /// (surge, unavailable) in pods (`ResolveFenceposts`).
    fn fence_posts(&self) -> (i64, i64) {
        let bounds = &self.deployment["spec"]["strategy"]["rollingUpdate"];
        let quarter = json!("25%");
        let value = |field: &str, round_up| {
            let value = if bounds[field].is_null() { &quarter } else { &bounds[field] };
            scaled(value, self.replicas, round_up).unwrap_or(0).max(0)
        };
        let (surge, unavailable) = (value("maxSurge", true), value("maxUnavailable", false));
        if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
    }

    fn max_surge(&self) -> i64 {
        if self.is_rolling() { self.fence_posts().0 } else { 0 }
    }

    fn max_unavailable(&self) -> i64 {
        if !self.is_rolling() || self.replicas == 0 { 0 } else { self.fence_posts().1.min(self.replicas) }
    }

    /// Tells people what was done.
    fn event(&mut self, warning: bool, reason: &str, message: &str) {
        let event = Event { component: "deployment-controller", host: "", warning, reason, message, field_path: "" };
        let salt = format!("{}", self.now);
        self.step.push(CONTROLLER_MANAGER, event.create(&DEPLOYMENT, self.deployment, &salt, self.now));
    }

    fn write_status_patch(&mut self, body: Value) {
        self.step.push(CONTROLLER_MANAGER, patch::patch(&DEPLOYMENT, self.deployment, body, Some("status")));
    }

    /// Sets the number of pods of a ReplicaSet, and the annotations that say what it was computed from.
    fn scale_set(&mut self, at: usize, to: i64) -> bool {
        let (desired, most) = (self.replicas, self.replicas + self.max_surge());
        let Some(set) = self.sets.all.get_mut(at) else { return false };
        let from = set.replicas;
        let annotations_differ = set.needs_size_annotations(desired, most);
        if from == to && !annotations_differ {
            return false;
        }
        set.replicas = to;
        let body = json!({
            "metadata": {"annotations": ReplicaSet::size_annotations(desired, most)}, "spec": {"replicas": to},
        });
        let write = patch::patch(&REPLICA_SET, &set.object, body, None);
        let name = set.name.clone();
        self.step.push(CONTROLLER_MANAGER, write);
        if from != to {
            let direction = if to > from { "up" } else { "down" };
            let message = format!("Scaled {direction} replica set {name} from {from} to {to}");
            self.event(false, "ScalingReplicaSet", &message);
        }
        from != to
    }

    /// `cleanupDeployment`: old ReplicaSets beyond the history limit go, oldest revision first.
    fn clean_up(&mut self) {
        let limit = self.deployment["spec"]["revisionHistoryLimit"].as_i64().unwrap_or(10);
        let mut old: Vec<&ReplicaSet> =
            self.sets.old().filter_map(|at| self.sets.all.get(at)).filter(|s| !is_deleting(&s.object)).collect();
        let excess = old.len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
        old.sort_by_key(|set| set.revision());
        let unused = old.iter().take(excess).filter(|set| set.is_unused());
        let writes: Vec<Write> = unused.map(|set| patch::delete(&REPLICA_SET, &set.object, None)).collect();
        self.step.writes.extend(writes.into_iter().map(|write| (CONTROLLER_MANAGER, write)));
    }

    fn name(&self) -> &'a str {
        text(&self.deployment["metadata"]["name"])
    }
}

#[cfg(test)]
mod tests;
