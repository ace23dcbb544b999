//! Jobs: pods until enough of them have succeeded. Source: pkg/controller/job (`syncJob`), and for the clean-up
//! pkg/controller/ttlafterfinished.
//!
//! Pods are counted once, when their finalizer `batch.kubernetes.io/job-tracking` is taken off; status and finalizers
//! are written in one step, the status first. Left out: pod failure policies, back-off limits per index, success
//! policies.

use super::condition::{Condition, Conditions};
use super::event::Event;
use super::index::Index;
use super::kind::{JOB, POD};
use super::meta::{
    after, annotation, finalizers_without, has_finalizer, int, is_deleting, items, name, omit_empty, stamp,
};
use super::meta::{text, time, uid};
use super::{patch, pods};
use crate::cluster::view::{CONTROLLER_MANAGER, Step};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

const TRACKING: &str = "batch.kubernetes.io/job-tracking";
const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// Longest wait between failures, in seconds (`MaxJobPodFailureBackOff`).
const LONGEST_WAIT: i64 = 600;

/// One step for every Job.
pub fn run(index: &Index<'_>) -> Step {
    let mut step = Step::default();
    for job in index.all(&JOB).iter() {
        let mut sync = Sync::new(index, job);
        sync.run();
        step.append(sync.step);
    }
    step
}

/// True once a Job is complete or failed.
pub fn is_finished(job: &Value) -> bool {
    finished_at(job).is_some()
}

/// When it ended, by its condition.
pub fn finished_at(job: &Value) -> Option<&Value> {
    let ended = |c: &&Value| matches!(text(&c["type"]), "Complete" | "Failed") && c["status"] == "True";
    items(&job["status"]["conditions"]).iter().find(ended).map(|c| &c["lastTransitionTime"])
}

struct Sync<'a> {
    job: &'a Value,
    now: Timestamp,
    pods: Vec<Arc<Value>>,
    conditions: Conditions,
    succeeded: i64,
    failed: i64,
    indexes: BTreeSet<i64>,
    start_time: Value,
    step: Step,
}

impl<'a> Sync<'a> {
    fn new(index: &Index<'_>, job: &'a Value) -> Self {
        Self {
            job,
            now: index.now,
            pods: pods::of_owner(index, job),
            conditions: Conditions::of(job),
            succeeded: int(&job["status"]["succeeded"]),
            failed: int(&job["status"]["failed"]),
            indexes: parse_indexes(text(&job["status"]["completedIndexes"])),
            start_time: job["status"]["startTime"].clone(),
            step: Step::default(),
        }
    }

    fn run(&mut self) {
        if !self.job["spec"]["managedBy"].is_null() && self.job["spec"]["managedBy"] != "kubernetes.io/job-controller" {
            return;
        }
        if is_finished(self.job) {
            self.release_all();
            self.collect();
            return;
        }
        let counted = self.count();
        if self.start_time.is_null() && !self.is_suspended() {
            self.start_time = json!(stamp(self.now));
        }
        let (ending, status_only) = (self.judge(), is_deleting(self.job));
        let removed = if ending { self.remove_active(usize::MAX) } else { Vec::new() };
        let mut created = 0;
        let mut also_removed = Vec::new();
        if !ending && !status_only {
            (created, also_removed) = self.manage();
            self.note_suspension();
            if self.is_complete(created) {
                self.set("SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods");
            }
        }
        let gone: Vec<String> = removed.iter().chain(&also_removed).cloned().collect();
        self.finish(&gone, created);
        self.write_status(&gone, created);
        self.release(&counted);
    }

    fn is_suspended(&self) -> bool {
        self.job["spec"]["suspend"] == true
    }

    fn is_indexed(&self) -> bool {
        self.job["spec"]["completionMode"] == "Indexed"
    }

    fn completions(&self) -> Option<i64> {
        let (completions, parallelism) = (&self.job["spec"]["completions"], &self.job["spec"]["parallelism"]);
        // Neither given means one of one (the API server's defaulting).
        completions.as_i64().or_else(|| parallelism.is_null().then_some(1))
    }

    fn set(&mut self, kind: &str, reason: &str, message: &str) {
        let condition = Condition { kind, status: "True", reason, message };
        self.conditions.set(&condition, self.now, &["lastProbeTime"]);
    }

    /// Adds pods that have ended since the last step to the counts. They are released once that is written.
    fn count(&mut self) -> Vec<Arc<Value>> {
        let ended: Vec<Arc<Value>> = self
            .pods
            .iter()
            .filter(|pod| has_finalizer(pod, TRACKING) && (pods::is_finished(pod) || is_lost(pod)))
            .cloned()
            .collect();
        for pod in &ended {
            if pods::phase(pod) == "Succeeded" {
                match completion_index(pod).filter(|_| self.is_indexed()) {
                    Some(at) => {
                        self.indexes.insert(at);
                    }
                    None => self.succeeded += 1,
                }
            } else {
                self.failed += 1;
            }
        }
        if self.is_indexed() {
            self.succeeded = i64::try_from(self.indexes.len()).unwrap_or(i64::MAX);
        }
        ended
    }

    fn active(&self) -> impl Iterator<Item = &Arc<Value>> {
        self.pods.iter().filter(|pod| pods::is_active(pod))
    }

    /// True once it is decided how this ends: then the rest of the pods go.
    fn judge(&mut self) -> bool {
        if self.conditions.is("SuccessCriteriaMet", "True") || self.conditions.is("FailureTarget", "True") {
            return true;
        }
        let limit = self.job["spec"]["backoffLimit"].as_i64().unwrap_or(6);
        if self.failed > limit || self.restarts_exceed(limit) {
            self.set("FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit");
            return true;
        }
        let deadline = self.job["spec"]["activeDeadlineSeconds"].as_i64().zip(time(&self.start_time));
        if let Some((seconds, start)) = deadline.filter(|_| !self.is_suspended()) {
            let deadline = after(start, seconds);
            if deadline <= self.now {
                self.set("FailureTarget", "DeadlineExceeded", "Job was active longer than specified deadline");
                return true;
            }
            self.step.wake(deadline);
        }
        false
    }

    /// `pastBackoffLimitOnFailure`: containers that are started again count too.
    fn restarts_exceed(&self, limit: i64) -> bool {
        if self.job["spec"]["template"]["spec"]["restartPolicy"] != "OnFailure" {
            return false;
        }
        let restarts: i64 = self.active().map(|pod| pods::restart_sum(pod)).sum();
        if limit == 0 { restarts > 0 } else { restarts >= limit }
    }

    fn is_complete(&self, created: usize) -> bool {
        let active = self.active().count() + created;
        match self.completions() {
            None => self.succeeded > 0 && active == 0,
            Some(completions) => self.succeeded >= completions && active == 0,
        }
    }

    /// Makes or takes away pods. How many were made, and the uids of those taken away.
    fn manage(&mut self) -> (usize, Vec<String>) {
        if self.is_suspended() {
            return (0, self.remove_active(usize::MAX));
        }
        let parallelism = self.job["spec"]["parallelism"].as_i64().unwrap_or(1);
        let active = i64::try_from(self.active().count()).unwrap_or(i64::MAX);
        let wanted = match self.completions() {
            // A work queue: once one has succeeded no more are started.
            None if self.succeeded > 0 => active,
            None => parallelism,
            Some(completions) => (completions - self.succeeded).max(0).min(parallelism),
        };
        if active > wanted {
            return (0, self.remove_active(usize::try_from(active - wanted).unwrap_or(0)));
        }
        let missing = usize::try_from(wanted - active).unwrap_or(0).min(500);
        match self.back_off().filter(|until| missing > 0 && *until > self.now) {
            Some(until) => {
                self.step.wake(until);
                (0, Vec::new())
            }
            None => (self.create(missing), Vec::new()),
        }
    }

    /// When the next pod may be made after failures: 10 s after the last, doubled with each that came before.
    fn back_off(&self) -> Option<Timestamp> {
        let end = |pod: &Value| {
            let statuses = items(&pod["status"]["containerStatuses"]).iter();
            statuses.filter_map(|c| time(&c["state"]["terminated"]["finishedAt"])).max()
        };
        let mut ends: Vec<(Timestamp, bool)> = self
            .pods
            .iter()
            .filter(|pod| pods::is_finished(pod))
            .filter_map(|pod| Some((end(pod)?, pods::phase(pod) == "Failed")))
            .collect();
        ends.sort_unstable();
        let failures = ends.iter().rev().take_while(|(_, failed)| *failed).count();
        let last = ends.last().filter(|_| failures > 0)?.0;
        let wait =
            10_i64.checked_shl(u32::try_from(failures - 1).ok()?).unwrap_or(LONGEST_WAIT).clamp(10, LONGEST_WAIT);
        Some(after(last, wait))
    }

    fn create(&mut self, count: usize) -> usize {
        let taken: BTreeSet<i64> = self.active().filter_map(|pod| completion_index(pod)).collect();
        let free: Vec<i64> = (0..self.completions().unwrap_or(0))
            .filter(|at| !self.indexes.contains(at) && !taken.contains(at))
            .take(count)
            .collect();
        let count = if self.is_indexed() { free.len() } else { count };
        for number in 0..count {
            let at = free.get(number).copied().filter(|_| self.is_indexed());
            self.step.push(CONTROLLER_MANAGER, patch::create(self.pod(at)));
        }
        count
    }

    fn pod(&self, at: Option<i64>) -> Value {
        let mut pod = pods::from_template(&JOB, self.job, &self.job["spec"]["template"]);
        let base = at.map_or_else(|| name(self.job).to_owned(), |at| format!("{}-{at}", name(self.job)));
        pods::set_metadata(&mut pod, "generateName", json!(format!("{base}-")));
        pods::set_metadata(&mut pod, "finalizers", json!([TRACKING]));
        // The API server puts these into the template of a Job that has no selector of its own.
        for prefix in ["", "batch.kubernetes.io/"] {
            pods::set_label(&mut pod, &format!("{prefix}controller-uid"), uid(self.job));
            pods::set_label(&mut pod, &format!("{prefix}job-name"), name(self.job));
        }
        if let Some(at) = at {
            pods::set_label(&mut pod, INDEX, &at.to_string());
            patch::apply_merge(
                &mut pod,
                &json!({"metadata": {"annotations": {INDEX: at.to_string()}}, "spec": {"hostname": base}}),
            );
        }
        pod
    }

    /// Takes active pods away, newest and least ready first, uncounted: their finalizer goes first.
    fn remove_active(&mut self, count: usize) -> Vec<String> {
        let active: Vec<Arc<Value>> = self.active().cloned().collect();
        let order = pods::deletion_order(active.clone(), &active, self.now);
        let doomed: Vec<Arc<Value>> = order.into_iter().take(count).collect();
        for pod in &doomed {
            if has_finalizer(pod, TRACKING) {
                self.step.push(CONTROLLER_MANAGER, release(pod));
            }
            self.step.push(CONTROLLER_MANAGER, patch::delete(&POD, pod, None));
        }
        doomed.iter().map(|pod| uid(pod).to_owned()).collect()
    }

    fn note_suspension(&mut self) {
        let known = self.conditions.get("Suspended").is_some();
        if self.is_suspended() && !self.conditions.is("Suspended", "True") {
            let condition =
                Condition { kind: "Suspended", status: "True", reason: "JobSuspended", message: "Job suspended" };
            self.conditions.set(&condition, self.now, &["lastProbeTime"]);
            self.tell(false, "Suspended", "Job suspended");
            self.start_time = Value::Null;
        } else if !self.is_suspended() && known && !self.conditions.is("Suspended", "False") {
            let condition =
                Condition { kind: "Suspended", status: "False", reason: "JobResumed", message: "Job resumed" };
            self.conditions.set(&condition, self.now, &["lastProbeTime"]);
            self.tell(false, "Resumed", "Job resumed");
            self.start_time = json!(stamp(self.now));
        }
    }

    /// Declares the end, once no pod is left that runs (KEP-3329, KEP-4368: the interim conditions come first).
    fn finish(&mut self, gone: &[String], created: usize) {
        let running = self.pods.iter().any(|pod| !pods::is_finished(pod) && !gone.iter().any(|uid_| uid_ == uid(pod)));
        let stopping = self.pods.iter().any(|pod| is_deleting(pod) && !pods::is_finished(pod));
        if running || stopping || created > 0 || !gone.is_empty() {
            return;
        }
        if self.conditions.is("SuccessCriteriaMet", "True") {
            self.set("Complete", "CompletionsReached", "Reached expected number of succeeded pods");
            self.tell(false, "Completed", "Job completed");
        } else if let Some(target) = self.conditions.get("FailureTarget").filter(|c| c["status"] == "True") {
            let (reason, message) = (text(&target["reason"]).to_owned(), text(&target["message"]).to_owned());
            self.set("Failed", &reason, &message);
            self.tell(true, &reason, &message);
        }
    }

    fn tell(&mut self, warning: bool, reason: &str, message: &str) {
        let event = Event { component: "job-controller", host: "", warning, reason, message, field_path: "" };
        self.step.push(CONTROLLER_MANAGER, event.create(&JOB, self.job, &stamp(self.now), self.now));
    }

    fn write_status(&mut self, gone: &[String], created: usize) {
        let left: Vec<&Arc<Value>> = self.active().filter(|pod| !gone.iter().any(|uid_| uid_ == uid(pod))).collect();
        let ready = left.iter().filter(|pod| pods::is_ready(pod)).count();
        let terminating =
            self.pods.iter().filter(|pod| is_deleting(pod) && !pods::is_finished(pod)).count() + gone.len();
        let complete = self.conditions.get("Complete").map(|c| c["lastTransitionTime"].clone());
        let mut status = omit_empty(json!({
            "active": left.len() + created, "succeeded": self.succeeded, "failed": self.failed,
            "startTime": self.start_time, "completionTime": complete,
            "completedIndexes": write_indexes(&self.indexes), "conditions": self.conditions.clone().into_value(),
        }));
        patch::apply_merge(
            &mut status,
            &json!({
                "ready": ready, "terminating": terminating, "uncountedTerminatedPods": {},
            }),
        );
        if let Some(write) = patch::status(&JOB, self.job, &status) {
            self.step.push(CONTROLLER_MANAGER, write);
        }
    }

    fn release(&mut self, counted: &[Arc<Value>]) {
        for pod in counted {
            self.step.push(CONTROLLER_MANAGER, release(pod));
        }
    }

    fn release_all(&mut self) {
        let held: Vec<Arc<Value>> = self.pods.iter().filter(|pod| has_finalizer(pod, TRACKING)).cloned().collect();
        self.release(&held);
    }

    /// KEP-592: `ttlSecondsAfterFinished`.
    fn collect(&mut self) {
        let ttl = self.job["spec"]["ttlSecondsAfterFinished"].as_i64();
        let Some((ttl, end)) = ttl.zip(finished_at(self.job).and_then(time)) else { return };
        let due = after(end, ttl);
        if is_deleting(self.job) {
            return;
        }
        if due <= self.now {
            self.step.push(CONTROLLER_MANAGER, patch::delete(&JOB, self.job, Some("Foreground")));
        } else {
            self.step.wake(due);
        }
    }
}

fn release(pod: &Value) -> crate::cluster::view::Write {
    patch::finalizers(&POD, pod, &finalizers_without(pod, TRACKING))
}

/// A pod deleted before it ever ran will not report its end (`isPodFailed`).
fn is_lost(pod: &Value) -> bool {
    is_deleting(pod) && pods::phase(pod) == "Pending"
}

fn completion_index(pod: &Value) -> Option<i64> {
    annotation(pod, INDEX)?.parse().ok()
}

/// `1,3-5`.
fn parse_indexes(list: &str) -> BTreeSet<i64> {
    let range = |part: &str| -> Option<(i64, i64)> {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<i64>().ok()?, last.parse::<i64>().ok()?);
        (last - first < 100_000).then_some((first, last))
    };
    list.split(',').filter_map(range).flat_map(|(first, last)| first..=last).collect()
}

fn write_indexes(indexes: &BTreeSet<i64>) -> String {
    let mut runs: Vec<(i64, i64)> = Vec::new();
    for at in indexes {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *at => *last = *at,
            _ => runs.push((*at, *at)),
        }
    }
    let run = |(first, last): &(i64, i64)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    };
    runs.iter().map(run).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::simulation::{Simulation, pod_template};

    fn run(spec: &Value, annotations: &Value, millis: i64) -> Simulation {
        let mut cluster = Simulation::new();
        let mut template = pod_template("task:1");
        patch::apply_merge(
            &mut template,
            &json!({"metadata": {"annotations": annotations}, "spec": {"restartPolicy": "Never"}}),
        );
        let mut job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "task"}, "spec": {"template": template}});
        patch::apply_merge(&mut job, &json!({"spec": spec}));
        cluster.create(job);
        cluster.run(millis);
        cluster
    }

    fn conditions(cluster: &Simulation) -> Vec<String> {
        let job = cluster.get(&JOB, "task").unwrap();
        items(&job["status"]["conditions"])
            .iter()
            .filter(|c| c["status"] == "True")
            .map(|c| text(&c["type"]).to_owned())
            .collect()
    }

    #[test]
    fn it_completes_once_enough_pods_have_succeeded() {
        let cluster = run(&json!({"completions": 3, "parallelism": 2}), &json!({}), 10_000);
        let job = cluster.get(&JOB, "task").unwrap();
        assert_eq!(conditions(&cluster), ["SuccessCriteriaMet", "Complete"]);
        assert_eq!((&job["status"]["succeeded"], &job["status"]["ready"]), (&json!(3), &json!(0)));
        assert!(job["status"]["completionTime"].is_string() && job["status"]["active"].is_null());
        assert!(cluster.list(&POD).iter().all(|pod| items(&pod["metadata"]["finalizers"]).is_empty()));
    }

    #[test]
    fn failures_beyond_the_limit_fail_it() {
        let crash = json!({"sim.driftless.dev/crash-after": "1s"});
        let cluster = run(&json!({"backoffLimit": 1}), &crash, 5000);
        assert_eq!(conditions(&cluster), Vec::<String>::new(), "the second try waits for ten seconds");
        let mut cluster = cluster;
        cluster.run(20_000);
        assert_eq!(conditions(&cluster), ["FailureTarget", "Failed"]);
        assert_eq!(cluster.reason(&JOB, "task", "Failed"), "BackoffLimitExceeded");
        assert_eq!(cluster.get(&JOB, "task").unwrap()["status"]["failed"], 2);
        let cluster =
            run(&json!({"backoffLimit": 0, "template": {"spec": {"restartPolicy": "OnFailure"}}}), &crash, 20_000);
        assert_eq!(cluster.reason(&JOB, "task", "Failed"), "BackoffLimitExceeded");
    }

    #[test]
    fn a_deadline_ends_it() {
        let long = json!({"sim.driftless.dev/complete-after": "1h"});
        let cluster = run(&json!({"activeDeadlineSeconds": 5}), &long, 10_000);
        assert_eq!(cluster.reason(&JOB, "task", "Failed"), "DeadlineExceeded");
        assert!(cluster.list(&POD).is_empty());
    }

    #[test]
    fn suspended_it_has_no_pods_and_resumed_it_ends() {
        let mut cluster = run(&json!({"suspend": true}), &json!({}), 5000);
        assert_eq!(conditions(&cluster), ["Suspended"]);
        assert!(cluster.list(&POD).is_empty());
        cluster.patch(&JOB, "task", json!({"spec": {"suspend": false}}));
        cluster.run(5000);
        assert_eq!(conditions(&cluster), ["SuccessCriteriaMet", "Complete"]);
        assert_eq!(cluster.reason(&JOB, "task", "Suspended"), "JobResumed");
    }

    #[test]
    fn after_its_time_it_goes_with_its_pods() {
        let mut cluster = run(&json!({"ttlSecondsAfterFinished": 10}), &json!({}), 5000);
        assert_eq!(cluster.list(&POD).len(), 1);
        cluster.run(10_000);
        assert!(cluster.get(&JOB, "task").is_none() && cluster.list(&POD).is_empty());
    }

    #[test]
    fn each_index_succeeds_once() {
        let cluster = run(&json!({"completionMode": "Indexed", "completions": 3, "parallelism": 3}), &json!({}), 5000);
        let job = cluster.get(&JOB, "task").unwrap();
        assert_eq!((&job["status"]["completedIndexes"], &job["status"]["succeeded"]), (&json!("0-2"), &json!(3)));
    }

    #[test]
    fn indexes_are_written_as_runs() {
        let indexes: BTreeSet<i64> = [0, 2, 3, 5, 6, 7].into();
        assert_eq!(write_indexes(&indexes), "0,2,3,5-7");
        assert_eq!(parse_indexes("0,2,3,5-7"), indexes);
        assert_eq!(parse_indexes(""), BTreeSet::new());
    }
}
