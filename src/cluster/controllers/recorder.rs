//! What controllers say about what they make: the Events of their creations, known only once the API server has answered
//! (it makes the names, and it refuses).
//! Source: `PodControl` in pkg/controller/controller_utils.go; pkg/controller/statefulset/stateful_pod_control.go;
//! pkg/controller/cronjob/cronjob_controllerv2.go.

use super::event::Event;
use super::kind::Kind;
use super::kind::{CRON_JOB, DAEMON_SET, JOB, PERSISTENT_VOLUME_CLAIM, REPLICA_SET, STATEFUL_SET};
use super::meta::{controller, items, name, namespace, text};
use crate::cluster::view::{Refusal, View, Write};
use crate::object::Gk;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::HashMap;

/// Controllers that tell, by the kind of what they control.
static TELL: [(&Kind, &str); 5] = [
    (&REPLICA_SET, "replicaset-controller"),
    (&DAEMON_SET, "daemonset-controller"),
    (&JOB, "job-controller"),
    (&STATEFUL_SET, "statefulset-controller"),
    (&CRON_JOB, "cronjob-controller"),
];

/// What was told lately.
#[derive(Default)]
pub struct Recorder {
    /// When an owner's failure was told, by the owner's uid.
    failed: HashMap<String, Timestamp>,
}

impl Recorder {
    /// The Event about a write, if it is one of those that are told. Out of what fails at one moment the first is told:
    /// a real recorder combines the rest.
    pub fn event(
        &mut self,
        view: &dyn View,
        write: &Write,
        outcome: Result<&str, &Refusal>,
        now: Timestamp,
    ) -> Option<Write> {
        let Write::Create { object } = write else { return None };
        if object["kind"] == PERSISTENT_VOLUME_CLAIM.kind {
            return outcome.ok().and_then(|_| claim(view, object, now));
        }
        let reference = controller(object)?;
        let (kind, component) = TELL.iter().find(|(kind, _)| reference["kind"] == kind.kind)?;
        let kind: &Gk = kind;
        let owner = view.get(kind, namespace(object), text(&reference["name"]))?;
        let made = text(&object["kind"]);
        if made != "Pod" && !(made == "Job" && *kind == *CRON_JOB) {
            return None;
        }
        if outcome.is_err() {
            self.failed.retain(|_, at| *at == now);
            if self.failed.insert(text(&reference["uid"]).to_owned(), now).is_some() {
                return None;
            }
        }
        let message = words(kind, name(&owner), object, outcome)?;
        let (warning, reason) = if outcome.is_ok() { (false, "SuccessfulCreate") } else { (true, "FailedCreate") };
        let event = Event { component, host: "", warning, reason, message: &message, field_path: "" };
        // A set's pods have the same name again.
        let salt = if *kind == *STATEFUL_SET || outcome.is_err() { now.to_string() } else { String::new() };
        Some(event.create(kind, &owner, &salt, now))
    }
}

/// A claim that a StatefulSet made: it does not own it, but the name tells (`getPersistentVolumeClaimName`).
fn claim(view: &dyn View, claim: &Value, now: Timestamp) -> Option<Write> {
    let sets = view.list(&STATEFUL_SET, namespace(claim));
    let (set, pod) = sets.iter().find_map(|set| {
        let templates = items(&set["spec"]["volumeClaimTemplates"]).iter();
        let mut pods = templates.filter_map(|template| name(claim).strip_prefix(name(template))?.strip_prefix('-'));
        let ours = |pod: &&str| {
            let ordinal = pod.strip_prefix(name(set)).and_then(|rest| rest.strip_prefix('-'));
            ordinal.is_some_and(|ordinal| ordinal.parse::<u64>().is_ok())
        };
        pods.find(ours).map(|pod| (set, pod))
    })?;
    let message = format!("Create Claim {} Pod {pod} in StatefulSet {} success", name(claim), name(set));
    let (component, reason) = ("statefulset-controller", "SuccessfulCreate");
    let event = Event { component, host: "", warning: false, reason, message: &message, field_path: "" };
    Some(event.create(&STATEFUL_SET, set, &now.to_string(), now))
}

fn words(kind: &Gk, owner: &str, object: &Value, outcome: Result<&str, &Refusal>) -> Option<String> {
    let own = name(object);
    Some(match outcome {
        // Somebody was faster.
        Err(refusal) if refusal.reason == "AlreadyExists" => return None,
        Ok(_) if *kind == *STATEFUL_SET => format!("Create Pod {own} in StatefulSet {owner} successful"),
        Err(refusal) if *kind == *STATEFUL_SET => {
            format!("create Pod {own} in StatefulSet {owner} failed error: {}", refusal.message)
        }
        Ok(made) if *kind == *CRON_JOB => format!("Created job {made}"),
        Err(refusal) if *kind == *CRON_JOB => format!("Error creating job: {}", refusal.message),
        Ok(made) => format!("Created pod: {made}"),
        Err(refusal) => format!("Error creating: {}", refusal.message),
    })
}

#[cfg(test)]
mod tests {
    use crate::cluster::controllers::kind::{EVENT, POD};
    use crate::cluster::controllers::meta::{name, text};
    use crate::cluster::simulation::{Simulation, deployment, pod_template};
    use serde_json::{Value, json};

    fn said(cluster: &Simulation, kind: &str) -> Vec<String> {
        let events = cluster.list(&EVENT);
        let about = events.iter().filter(|event| event["involvedObject"]["kind"] == kind);
        let mut said: Vec<String> = about
            .map(|event| {
                let part = |value: &Value| text(value).to_owned();
                [&event["source"]["component"], &event["type"], &event["reason"], &event["message"]].map(part).join(" ")
            })
            .collect();
        said.sort();
        said
    }

    fn task(policy: &str) -> Value {
        let mut template = pod_template("task:1");
        template["spec"]["restartPolicy"] = json!(policy);
        template
    }

    #[test]
    fn controllers_tell_what_they_made_and_what_was_refused() {
        let mut cluster = Simulation::new();
        cluster.objects.most_pods.set(1);
        cluster.create(deployment(3, &json!(1), &json!(0)));
        cluster.run(2500);
        let pod = name(&cluster.list(&POD)[0]).to_owned();
        let refused = "replicaset-controller Warning FailedCreate Error creating: pods \"web-\" is forbidden: exceeded quota: small";
        let made = format!("replicaset-controller Normal SuccessfulCreate Created pod: {pod}");
        let told = said(&cluster, "ReplicaSet");
        assert_eq!((told.first(), told.last().map(String::as_str)), (Some(&made), Some(refused)), "{told:?}");
        // Tried at once, after a second and after two more: each told once.
        assert!(told.len() <= 4, "{told:?}");
    }

    #[test]
    fn jobs_and_sets_tell_as_well() {
        let mut cluster = Simulation::new();
        let job = |name: &str, spec: Value| json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec});
        cluster.create(job("task", json!({"template": task("Never")})));
        let mut crashing = task("Never");
        crashing["metadata"]["annotations"] = json!({"sim.driftless.dev/crash-after": "1s"});
        cluster.create(job("broken", json!({"backoffLimit": 0, "template": crashing})));
        cluster.create(json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "cron"},
            "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": task("Never")}}}}));
        cluster.create(json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"},
            "spec": {"replicas": 1, "serviceName": "db", "selector": {"matchLabels": {"app": "web"}}, "template": pod_template("web:1"),
                "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
                    "storageClassName": "standard", "resources": {"requests": {"storage": "1Gi"}}}}]}}));
        cluster.run(90_000);
        let jobs = said(&cluster, "Job");
        for expected in [
            "job-controller Normal Completed Job completed",
            "job-controller Warning BackoffLimitExceeded Job has reached the specified backoff limit",
        ] {
            assert!(jobs.iter().any(|told| told == expected), "{expected}: {jobs:?}");
        }
        assert!(jobs.iter().any(|told| told.starts_with("job-controller Normal SuccessfulCreate Created pod: task-")));
        let cron = said(&cluster, "CronJob");
        assert!(cron[0].starts_with("cronjob-controller Normal SawCompletedJob Saw completed job: cron-"), "{cron:?}");
        assert!(cron[0].ends_with(", condition: Complete"), "{cron:?}");
        assert!(cron[1].starts_with("cronjob-controller Normal SuccessfulCreate Created job cron-"), "{cron:?}");
        assert_eq!(
            said(&cluster, "StatefulSet"),
            [
                "statefulset-controller Normal SuccessfulCreate Create Claim data-db-0 Pod db-0 in StatefulSet db success",
                "statefulset-controller Normal SuccessfulCreate Create Pod db-0 in StatefulSet db successful",
            ]
        );
    }
}
