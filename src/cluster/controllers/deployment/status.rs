//! What a Deployment says of itself (`calculateStatus`, `syncRolloutStatus` in `progress.go`).

use super::super::condition::{Condition, Conditions};
use super::super::kind::DEPLOYMENT;
use super::super::meta::{after, annotation, generation, int, items, omit_empty, text, time};
use super::super::patch;
use super::Sync;
use super::replica_sets::REVISION;
use crate::cluster::view::{CONTROLLER_MANAGER, Write};
use serde_json::{Value, json};

/// The counts that progress is judged by.
struct Counts {
    replicas: i64,
    updated: i64,
    ready: i64,
    available: i64,
}

impl Counts {
    fn stored(deployment: &Value) -> Self {
        let status = &deployment["status"];
        Self {
            replicas: int(&status["replicas"]),
            updated: int(&status["updatedReplicas"]),
            ready: int(&status["readyReplicas"]),
            available: int(&status["availableReplicas"]),
        }
    }

    fn is_complete(&self, wanted: i64) -> bool {
        self.updated == wanted && self.replicas == wanted && self.available == wanted
    }

    /// `DeploymentProgressing`.
    fn is_ahead_of(&self, before: &Self) -> bool {
        self.updated > before.updated
            || self.replicas - self.updated < before.replicas - before.updated
            || self.ready > before.ready
            || self.available > before.available
    }
}

impl Sync<'_> {
    /// `DeploymentComplete` by the stored status.
    pub(super) fn is_complete_as_stored(&self) -> bool {
        Counts::stored(self.deployment).is_complete(self.replicas)
            && int(&self.deployment["status"]["observedGeneration"]) >= generation(self.deployment)
    }

    fn counts(&self) -> Counts {
        Counts {
            replicas: self.sets.sum(|set| set.actual),
            updated: self.sets.newest().map_or(0, |new| new.actual),
            ready: self.sets.sum(|set| set.ready),
            available: self.sets.sum(|set| set.available),
        }
    }

    /// `syncDeploymentStatus`: the counts, and whether there are enough.
    pub(super) fn sync_status(&mut self) {
        let counts = self.counts();
        self.judge_availability(&counts);
        self.write_status(&counts);
    }

    /// `syncRolloutStatus`: besides, whether it gets on.
    pub(super) fn sync_rollout_status(&mut self) {
        let counts = self.counts();
        self.judge_availability(&counts);
        match self.deadline() {
            None => self.conditions.remove("Progressing"),
            Some(seconds) => self.judge_progress(&counts, seconds),
        }
        self.copy_replica_failure();
        self.write_status(&counts);
    }

    fn judge_availability(&mut self, counts: &Counts) {
        let (status, reason, message) = if counts.available >= self.replicas - self.max_unavailable() {
            ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
        } else {
            ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
        };
        let condition = Condition { kind: "Available", status, reason, message };
        self.conditions.set(&condition, self.now, &["lastUpdateTime"]);
    }

    fn judge_progress(&mut self, counts: &Counts, seconds: i64) {
        let reason = self.conditions.reason("Progressing").to_owned();
        if counts.replicas == counts.updated && reason == "NewReplicaSetAvailable" {
            return;
        }
        let subject = match self.sets.newest() {
            Some(new) => format!("ReplicaSet \"{}\"", new.name),
            None => format!("Deployment \"{}\"", self.name()),
        };
        if counts.is_complete(self.replicas) {
            self.progressing("True", "NewReplicaSetAvailable", &format!("{subject} has successfully progressed."));
        } else if counts.is_ahead_of(&Counts::stored(self.deployment)) {
            let message = format!("{subject} is progressing.");
            let condition =
                Condition { kind: "Progressing", status: "True", reason: "ReplicaSetUpdated", message: &message };
            // The same reason again: only here does it move `lastUpdateTime`, and with it the deadline.
            self.conditions.replace(&condition, self.now, &["lastUpdateTime"]);
            self.await_deadline(seconds);
        } else if reason != "ProgressDeadlineExceeded" && self.await_deadline(seconds) {
            self.progressing("False", "ProgressDeadlineExceeded", &format!("{subject} has timed out progressing."));
        }
    }

    /// True once the deadline has passed (`DeploymentTimedOut`); until then it asks to be woken.
    fn await_deadline(&mut self, seconds: i64) -> bool {
        let Some(condition) = self.conditions.get("Progressing") else { return false };
        // A complete rollout has no deadline: it is not about to fail because a pod fell over.
        if text(&condition["reason"]) == "NewReplicaSetAvailable" {
            return false;
        }
        let Some(since) = time(&condition["lastUpdateTime"]) else { return false };
        let deadline = after(since, seconds);
        if deadline < self.now {
            return true;
        }
        // `lastUpdateTime` has lost its fraction of a second, hence one more (as the real one does).
        self.step.wake(after(deadline, 1));
        false
    }

    /// `getReplicaFailures`: the new set's own, else any.
    fn copy_replica_failure(&mut self) {
        let failure_of = |object: &Value| {
            items(&object["status"]["conditions"]).iter().find(|c| c["type"] == "ReplicaFailure").cloned()
        };
        let newest = self.sets.newest().and_then(|new| failure_of(&new.object));
        let failure = newest.or_else(|| self.sets.all.iter().find_map(|set| failure_of(&set.object)));
        match failure {
            None => self.conditions.remove("ReplicaFailure"),
            Some(failure) => {
                let same = self
                    .conditions
                    .get("ReplicaFailure")
                    .is_some_and(|old| old["status"] == failure["status"] && old["reason"] == failure["reason"]);
                if !same {
                    self.conditions.remove("ReplicaFailure");
                    self.conditions.0.push(json!({
                        "type": "ReplicaFailure", "status": failure["status"],
                        "lastUpdateTime": failure["lastTransitionTime"],
                        "lastTransitionTime": failure["lastTransitionTime"],
                        "reason": failure["reason"], "message": failure["message"],
                    }));
                }
            }
        }
    }

    /// One write for status and revision, if there is anything new. The real controller sets the revision annotation
    /// through the status subresource too: metadata other than labels can be changed there.
    fn write_status(&mut self, counts: &Counts) {
        let unavailable = (self.sets.sum(|set| set.replicas) - counts.available).max(0);
        let conditions = std::mem::take(&mut self.conditions);
        self.conditions = Conditions(conditions.0.clone());
        let mut status = omit_empty(json!({
            "observedGeneration": generation(self.deployment), "replicas": counts.replicas,
            "updatedReplicas": counts.updated, "readyReplicas": counts.ready, "availableReplicas": counts.available,
            "unavailableReplicas": unavailable, "collisionCount": self.collisions,
            "conditions": conditions.into_value(),
        }));
        if let Some(map) = status.as_object_mut()
            && !self.sets.all.is_empty()
        {
            map.insert("terminatingReplicas".to_owned(), json!(self.sets.sum(|set| set.terminating)));
        }
        let mut write = patch::status(&DEPLOYMENT, self.deployment, &status);
        if let Some(revision) = self.revision.take().filter(|r| annotation(self.deployment, REVISION) != Some(r)) {
            let annotations = json!({"annotations": {REVISION: revision}});
            match &mut write {
                Some(Write::MergePatch { patch: body, .. }) => {
                    patch::apply_merge(body, &json!({"metadata": annotations}));
                }
                _ => {
                    let body = json!({"metadata": annotations});
                    write = Some(patch::patch(&DEPLOYMENT, self.deployment, body, Some("status")));
                }
            }
        }
        if let Some(write) = write {
            self.step.push(CONTROLLER_MANAGER, write);
        }
    }
}
