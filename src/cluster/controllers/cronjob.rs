//! CronJobs: a Job at each time of a schedule. Source: pkg/controller/cronjob.

use super::event::Event;
use super::index::Index;
use super::job;
use super::kind::{CRON_JOB, JOB};
use super::meta::{after, created, is_deleting, items, name, namespace, owner_reference, stamp, text, time, uid};
use super::patch;
use crate::cluster::view::{CONTROLLER_MANAGER, Step};
use croner::Cron;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::str::FromStr;
use std::sync::Arc;

/// Missed times that are looked through, newest kept; more means that the clock jumped.
const MOST_MISSED: usize = 10_000;
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// One step for every CronJob.
pub fn run(index: &Index<'_>) -> Step {
    let mut step = Step::default();
    for cron in index.all(&CRON_JOB).iter() {
        sync(index, cron, &mut step);
    }
    step
}

fn sync(index: &Index<'_>, cron: &Value, step: &mut Step) {
    let jobs = index.owned(&JOB, uid(cron));
    let active: Vec<&Arc<Value>> = jobs.iter().filter(|job| !job::is_finished(job)).collect();
    let mut scheduled = cron["status"]["lastScheduleTime"].clone();
    let suspended = cron["spec"]["suspend"] == true;
    if !is_deleting(cron) {
        tidy(cron, &jobs, step);
        if !suspended && let Some(at) = due(index, cron, step) {
            let policy = text(&cron["spec"]["concurrencyPolicy"]);
            if policy != "Forbid" || active.is_empty() {
                if policy == "Replace" {
                    for job in &active {
                        step.push(CONTROLLER_MANAGER, patch::delete(&JOB, job, Some("Background")));
                    }
                }
                start(index, cron, at, step);
                scheduled = json!(stamp(at));
            }
        }
    }
    write_status(cron, &jobs, &active, &scheduled, index.now, step);
}

/// The last time of the schedule that has come and was not served; asks to be woken for the next.
fn due(index: &Index<'_>, cron: &Value, step: &mut Step) -> Option<Timestamp> {
    let schedule = Cron::from_str(text(&cron["spec"]["schedule"])).ok()?;
    let zone = match cron["spec"]["timeZone"].as_str() {
        Some(zone) => TimeZone::get(zone).ok()?,
        None => TimeZone::UTC,
    };
    let mut from =
        time(&cron["status"]["lastScheduleTime"]).or_else(|| time(&cron["metadata"]["creationTimestamp"]))?;
    if let Some(seconds) = cron["spec"]["startingDeadlineSeconds"].as_i64() {
        from = from.max(after(index.now, -seconds));
    }
    let mut last = None;
    for _ in 0..MOST_MISSED {
        let next = schedule.find_next_occurrence(&from.to_zoned(zone.clone()), false).ok()?.timestamp();
        if next > index.now {
            step.wake(next);
            break;
        }
        last = Some(next);
        from = next;
    }
    last
}

/// Makes the Job of a time. Its name has the minute in it, so that it is made once.
fn start(index: &Index<'_>, cron: &Value, at: Timestamp, step: &mut Step) {
    let job_name = format!("{}-{}", name(cron), at.as_second() / 60);
    if index.get(&JOB, namespace(cron), &job_name).is_some() {
        return;
    }
    let template = &cron["spec"]["jobTemplate"];
    let mut annotations = template["metadata"]["annotations"].clone();
    patch::apply_merge(&mut annotations, &json!({SCHEDULED: stamp(at)}));
    let mut metadata = json!({"name": job_name, "namespace": namespace(cron), "annotations": annotations,
        "ownerReferences": [owner_reference(&CRON_JOB, cron)]});
    if template["metadata"]["labels"].is_object() {
        patch::apply_merge(&mut metadata, &json!({"labels": template["metadata"]["labels"]}));
    }
    let object = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"]});
    step.push(CONTROLLER_MANAGER, patch::create(object));
}

/// Finished Jobs beyond the history limits go, oldest first.
fn tidy(cron: &Value, jobs: &[Arc<Value>], step: &mut Step) {
    let succeeded = |job: &Value| {
        items(&job["status"]["conditions"]).iter().any(|c| c["type"] == "Complete" && c["status"] == "True")
    };
    for (field, default, wanted) in [("successfulJobsHistoryLimit", 3, true), ("failedJobsHistoryLimit", 1, false)] {
        let limit = usize::try_from(cron["spec"][field].as_i64().unwrap_or(default)).unwrap_or(usize::MAX);
        let mut finished: Vec<&Arc<Value>> =
            jobs.iter().filter(|job| job::is_finished(job) && succeeded(job) == wanted && !is_deleting(job)).collect();
        finished.sort_by_key(|job| Reverse((created(job), name(job))));
        for job in finished.into_iter().skip(limit) {
            step.push(CONTROLLER_MANAGER, patch::delete(&JOB, job, Some("Background")));
        }
    }
}

/// Jobs that the status still calls active and that have ended.
fn tell_ended(cron: &Value, jobs: &[Arc<Value>], now: Timestamp, step: &mut Step) {
    for job in jobs.iter().filter(|job| job::is_finished(job)) {
        if !items(&cron["status"]["active"]).iter().any(|known| known["uid"] == uid(job)) {
            continue;
        }
        let ended = |c: &&Value| matches!(text(&c["type"]), "Complete" | "Failed") && c["status"] == "True";
        let condition = items(&job["status"]["conditions"]).iter().find(ended).map_or("", |c| text(&c["type"]));
        let message = format!("Saw completed job: {}, condition: {condition}", name(job));
        let (component, reason) = ("cronjob-controller", "SawCompletedJob");
        let event = Event { component, host: "", warning: false, reason, message: &message, field_path: "" };
        step.push(CONTROLLER_MANAGER, event.create(&CRON_JOB, cron, "", now));
    }
}

fn write_status(
    cron: &Value,
    jobs: &[Arc<Value>],
    active: &[&Arc<Value>],
    scheduled: &Value,
    now: Timestamp,
    step: &mut Step,
) {
    let succeeded = jobs.iter().filter_map(|job| job["status"]["completionTime"].as_str()).max();
    let known = cron["status"]["lastSuccessfulTime"].as_str();
    tell_ended(cron, jobs, now, step);
    let references: Vec<Value> = active
        .iter()
        .map(|job| {
            json!({"apiVersion": "batch/v1", "kind": "Job", "name": name(job), "namespace": namespace(job), "uid": uid(job)})
        })
        .collect();
    let active = if references.is_empty() { Value::Null } else { Value::Array(references) };
    let status = json!({"active": active, "lastScheduleTime": scheduled, "lastSuccessfulTime": succeeded.max(known)});
    if let Some(write) = patch::status(&CRON_JOB, cron, &status) {
        step.push(CONTROLLER_MANAGER, write);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::simulation::{Simulation, pod_template};

    #[test]
    fn jobs_are_made_at_their_times_and_a_few_are_kept() {
        let mut cluster = Simulation::new();
        let mut template = pod_template("task:1");
        patch::apply_merge(&mut template, &json!({"spec": {"restartPolicy": "Never"}}));
        cluster.create(json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly"},
            "spec": {"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": template}}}}));
        cluster.run(4 * 60_000);
        assert!(cluster.list(&JOB).is_empty());
        cluster.run(2 * 60_000);
        assert_eq!(cluster.list(&JOB).len(), 1);
        let cron = cluster.get(&CRON_JOB, "nightly").unwrap();
        assert_eq!(cron["status"]["lastScheduleTime"], "2026-01-01T00:05:00Z");
        assert!(cron["status"]["lastSuccessfulTime"].is_string() && cron["status"]["active"].is_null());
        cluster.run(30 * 60_000);
        assert_eq!(cluster.list(&JOB).len(), 3);
        cluster.patch(&CRON_JOB, "nightly", json!({"spec": {"suspend": true}}));
        let last = cluster.get(&CRON_JOB, "nightly").unwrap()["status"]["lastScheduleTime"].clone();
        cluster.run(30 * 60_000);
        assert_eq!(cluster.get(&CRON_JOB, "nightly").unwrap()["status"]["lastScheduleTime"], last);
    }
}
