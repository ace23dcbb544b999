//! CronJobs: by their last finished run. Its status does not tell whether that run failed, its Jobs do
//! (Argo CD reads the status, and flaps to Healthy whenever a new run starts).
//!
//! A CronJob gates nothing: a run that failed last night says nothing about this commit.

use super::job::{self, End};
use super::related::Related;
use super::status::{flag, time};
use super::verdict::Assessment;
use crate::object::{Live, Manifest};

/// A CronJob; `related` holds the Jobs of its namespace where they were read.
pub fn assess(live: &Live, related: &Related) -> Assessment {
    if flag(live, "/spec/suspend") {
        return Assessment::suspended("the schedule is suspended").ungated();
    }
    let jobs = related.of("batch", "Job").unwrap_or_default();
    let finished = jobs.into_iter().filter(|job| job::is_of(job, live) && job::end(job).is_some());
    match finished.max_by_key(|job| (job::ended_at(job), job.name().to_owned())) {
        Some(last) => match job::end(last) {
            Some(End::Failed(why)) => {
                Assessment::degraded(format!("the last run {} failed: {}", last.name(), why.explain()))
            }
            _ => Assessment::healthy(),
        },
        None => Assessment::healthy(),
    }
    .ungated()
}

/// True if its status alone shows that the last run was a success, or that there was none yet.
pub fn is_settled(live: &Live) -> bool {
    match (time(live, "/status/lastScheduleTime"), time(live, "/status/lastSuccessfulTime")) {
        (None, _) => true,
        (Some(started), Some(succeeded)) => succeeded >= started,
        (Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::job::tests::{complete, failed, job};
    use super::*;
    use crate::health::{Health, RelatedQuery};
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn cron(spec: &Value, status: &Value) -> Live {
        Live(json!({"apiVersion": "batch/v1", "kind": "CronJob",
            "metadata": {"name": "backup", "namespace": "shop", "uid": "c1"}, "spec": spec, "status": status}))
    }

    fn run(name: &str, status: &Value) -> Arc<Live> {
        let mut live = job(name, &json!({}), status);
        live.0["metadata"]["ownerReferences"] = json!([{"uid": "c1", "controller": true}]);
        Arc::new(live)
    }

    #[test]
    fn the_last_finished_run_decides() {
        let (early, late) = ("2026-03-01T01:00:00Z", "2026-03-01T02:00:00Z");
        let foreign = Arc::new(job("other", &json!({}), &failed("2026-03-01T09:00:00Z")));
        for (jobs, health) in [
            (vec![], Health::Healthy),
            (vec![run("b-1", &complete(early)), run("b-2", &failed(late))], Health::Degraded),
            (vec![run("b-2", &failed(early)), run("b-1", &complete(late)), foreign], Health::Healthy),
            // A new run does not hide the failure of the last one.
            (vec![run("b-1", &failed(early)), run("b-2", &json!({"active": 1}))], Health::Degraded),
            (vec![run("b-2", &json!({"active": 1}))], Health::Healthy),
        ] {
            let live = cron(&json!({}), &json!({"lastScheduleTime": late}));
            let mut related = Related::default();
            related.add(&RelatedQuery::jobs_beside(&live), jobs);
            let found = assess(&live, &related);
            assert_eq!((found.health, found.gates), (health, false));
        }
    }

    #[test]
    fn suspension_and_what_the_status_tells() {
        let found = assess(&cron(&json!({"suspend": true}), &json!({})), &Related::default());
        assert_eq!(found.health, Health::Suspended);
        let (early, late) = ("2026-03-01T01:00:00Z", "2026-03-01T02:00:00Z");
        for (status, settled) in [
            (json!({}), true),
            (json!({"lastScheduleTime": early, "lastSuccessfulTime": late}), true),
            (json!({"lastScheduleTime": late, "lastSuccessfulTime": early}), false),
            (json!({"lastScheduleTime": late}), false),
        ] {
            assert_eq!(is_settled(&cron(&json!({}), &status)), settled, "{status}");
        }
    }
}
