//! Pods: one alone, and the pods of a workload, where the most telling one speaks.
//!
//! Reasons are those of the kubelet (kubernetes/pkg/kubelet/images/types.go, container/sync_result.go).

use super::related::Related;
use super::status::{self, Condition, condition, list, text};
use super::verdict::{Assessment, Health};
use crate::object::{Live, Manifest};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// How long a pod may stay unready before it counts as stuck where nothing else sets a deadline: what the API server
/// gives a Deployment by default (`progressDeadlineSeconds: 600`).
pub const PATIENCE: SignedDuration = SignedDuration::from_mins(10);

/// A container that restarted this often and is not ready is crashing, also between two back-offs.
const RESTARTS: i64 = 2;

/// A pod by itself.
pub fn assess(pod: &Live, related: &Related, now: Timestamp) -> Assessment {
    assess_within(pod, related, now, PATIENCE)
}

/// The same with another patience for a pod that is merely not ready.
fn assess_within(pod: &Live, related: &Related, now: Timestamp, patience: SignedDuration) -> Assessment {
    let verdict = judge(pod, now, patience);
    match related.warning(pod, &[]) {
        Some((reason, message, _)) if is_unexplained(pod, &verdict) => {
            Assessment { message: super::verdict::shorten(&format!("{reason}: {message}")), ..verdict }
        }
        _ => verdict,
    }
}

/// True if the pod waits and its status does not say for what: events do (a missing volume, a sandbox that fails).
pub fn is_unexplained(pod: &Live, verdict: &Assessment) -> bool {
    let scheduled = condition(pod, "PodScheduled").is_some_and(Condition::is_true);
    let starting = text(pod, "/status/phase") == Some("Pending") && scheduled;
    verdict.health != Health::Healthy && starting && containers(pod).all(|c| c.waiting().is_none_or(is_start))
}

fn is_start(waiting: (&str, &str)) -> bool {
    matches!(waiting.0, "" | "ContainerCreating" | "PodInitializing")
}

fn judge(pod: &Live, now: Timestamp, patience: SignedDuration) -> Assessment {
    match text(pod, "/status/phase") {
        Some("Succeeded") => return Assessment::healthy(),
        Some("Failed") => return Assessment::degraded(failure(pod)),
        _ => {}
    }
    if let Some(crash) = containers(pod).find_map(|c| c.broken(now)) {
        return Assessment::degraded(crash);
    }
    let ready = condition(pod, "Ready");
    if text(pod, "/status/phase") == Some("Running") && ready.is_some_and(Condition::is_true) {
        return Assessment::healthy();
    }
    if let Some(gates) = condition(pod, "PodScheduled").filter(|c| c.is_false() && c.reason() == "SchedulingGated") {
        return Assessment::progressing(gates.explain());
    }
    let since = ready.and_then(Condition::since).max(status::created(pod));
    Assessment::patiently(since, patience, now, waiting_for(pod))
}

/// Why a pod that failed did: its own reason (`Evicted`, `DeadlineExceeded`), or its container's exit.
fn failure(pod: &Live) -> String {
    match (text(pod, "/status/reason"), text(pod, "/status/message")) {
        (Some(reason), Some(message)) => format!("{reason}: {message}"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => containers(pod).find_map(|c| c.exit("state")).unwrap_or_else(|| "failed".to_owned()),
    }
}

fn waiting_for(pod: &Live) -> String {
    if let Some(unscheduled) = condition(pod, "PodScheduled").filter(|c| c.is_false()) {
        return unscheduled.explain();
    }
    let said = containers(pod).find_map(|c| match c.waiting() {
        Some((reason, "")) if !reason.is_empty() => Some(reason.to_owned()),
        Some((reason, message)) if !reason.is_empty() => Some(format!("{reason}: {message}")),
        _ => c.exit("state").filter(|_| !c.init).map(|exit| format!("container {} {exit}", c.name())),
    });
    said.unwrap_or_else(|| match condition(pod, "Ready").filter(|c| c.is_false()) {
        Some(ready) if text(pod, "/status/phase") == Some("Running") => {
            format!("running, not ready: {}", ready.message())
        }
        _ => "waits to be scheduled and started".to_owned(),
    })
}

/// One entry of the pod's container statuses.
struct Container<'a> {
    status: &'a Value,
    init: bool,
}

fn containers(pod: &Live) -> impl Iterator<Item = Container<'_>> {
    let of = |pointer, init| list(pod, pointer).iter().map(move |status| Container { status, init });
    of("/status/initContainerStatuses", true).chain(of("/status/containerStatuses", false))
}

impl<'a> Container<'a> {
    fn text(&self, pointer: &str) -> &'a str {
        self.status.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    fn name(&self) -> &'a str {
        self.text("/name")
    }

    fn waiting(&self) -> Option<(&'a str, &'a str)> {
        self.status.pointer("/state/waiting")?;
        Some((self.text("/state/waiting/reason"), self.text("/state/waiting/message")))
    }

    fn restarts(&self) -> i64 {
        self.status.get("restartCount").and_then(Value::as_i64).unwrap_or(0)
    }

    /// `exited with code 1 (Error)`, from `state` or `lastState`. The termination message stays out: with
    /// `FallbackToLogsOnError` it is the application's log, which may hold anything.
    fn exit(&self, state: &str) -> Option<String> {
        let ended = self.status.get(state)?.get("terminated")?;
        let code = ended.get("exitCode").and_then(Value::as_i64).filter(|code| *code != 0)?;
        Some(match ended.get("reason").and_then(Value::as_str) {
            Some(reason) if !reason.is_empty() => format!("exited with code {code} ({reason})"),
            _ => format!("exited with code {code}"),
        })
    }

    /// Why this container cannot get on by itself, if so.
    fn broken(&self, now: Timestamp) -> Option<String> {
        if let Some((reason, message)) = self.waiting().filter(|(reason, _)| is_failure(reason)) {
            let said = if message.is_empty() { reason.to_owned() } else { format!("{reason}: {message}") };
            let last = self.exit("lastState").filter(|_| reason == "CrashLoopBackOff");
            return Some(match last {
                Some(exit) => format!("{said}; container {} {exit}", self.name()),
                None => said,
            });
        }
        self.crashing(now)
    }

    /// Restarted again and again, and not ready: between two back-offs a crashing container runs for a moment, and
    /// health must not flap with it. Past [`PATIENCE`] (the kubelet forgets its back-off then, too) it does not count.
    fn crashing(&self, now: Timestamp) -> Option<String> {
        let ready = self.status.get("ready").and_then(Value::as_bool).unwrap_or(false);
        if ready || self.restarts() < RESTARTS {
            return None;
        }
        let state = if self.status.pointer("/state/terminated").is_some() { "state" } else { "lastState" };
        let exit = self.exit(state)?;
        let finished: Timestamp = self.text(&format!("/{state}/terminated/finishedAt")).parse().ok()?;
        (now.duration_since(finished) < PATIENCE)
            .then(|| format!("container {} restarted {}, {exit}", self.name(), times(self.restarts())))
    }
}

fn times(n: i64) -> String {
    if n == 1 { "once".to_owned() } else { format!("{n} times") }
}

/// Waiting reasons that do not pass by waiting.
fn is_failure(reason: &str) -> bool {
    reason.ends_with("BackOff")
        || reason.ends_with("Error")
        || reason.starts_with("Err")
        || matches!(reason, "InvalidImageName" | "RegistryUnavailable" | "SignatureValidationFailed")
}

/// True if the pod waits for an image or a configuration that is not there: a Job's pod, too, waits for ever then.
pub fn never_starts(pod: &Live) -> bool {
    containers(pod).filter_map(|c| c.waiting()).any(|(reason, _)| is_failure(reason) && reason != "CrashLoopBackOff")
}

/// The verdict over a workload's pods: the worst one speaks, under its name; further ones of that health are counted.
/// Pods on their way out say nothing. `None` if all are well or there are none. `patience`: how long a pod may be unready
/// for no stated reason; `SignedDuration::MAX` where the workload has a deadline of its own.
pub fn worst_of<'a>(
    pods: impl IntoIterator<Item = &'a Live>,
    related: &Related,
    now: Timestamp,
    patience: SignedDuration,
) -> Option<Assessment> {
    let mut troubled: Vec<(&Live, Assessment)> = pods
        .into_iter()
        .filter(|pod| !pod.is_terminating())
        .map(|pod| (pod, assess_within(pod, related, now, patience)))
        .filter(|(_, verdict)| !verdict.is_healthy())
        .collect();
    troubled.sort_by(|(a, x), (b, y)| y.health.cmp(&x.health).then_with(|| a.name().cmp(b.name())));
    let recheck_at = troubled.iter().filter_map(|(_, verdict)| verdict.recheck_at).min();
    let (pod, first) = troubled.first()?;
    let alike = troubled.iter().filter(|(_, verdict)| verdict.health == first.health).count() - 1;
    let mut said = first.clone().under(pod.name());
    if alike > 0 {
        said.message.push_str(&format!(" (and {alike} more)"));
    }
    Some(Assessment { recheck_at, ..said })
}

/// Pods of a set whose label `controller-revision-hash` is `hash`.
pub fn of_revision<'a>(pods: &[&'a Live], hash: &str) -> Vec<&'a Live> {
    pods.iter().copied().filter(|pod| pod.label("controller-revision-hash") == Some(hash)).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::health::RelatedQuery;
    use serde_json::json;
    use std::sync::Arc;

    pub(in super::super) fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    /// A pod as a kubelet reports it: `state` of its only container.
    pub(in super::super) fn pod(name: &str, phase: &str, ready: bool, container: &Value) -> Live {
        let mut status = json!({"name": "main", "image": "x:1", "ready": ready, "restartCount": 0});
        for (key, value) in container.as_object().unwrap() {
            status[key] = value.clone();
        }
        let ready = if ready { "True" } else { "False" };
        Live(json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "shop", "uid": name, "creationTimestamp": "2026-03-01T11:59:00Z",
                "labels": {}},
            "spec": {"containers": [{"name": "main", "image": "x:1"}]},
            "status": {"phase": phase, "conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-03-01T11:59:00Z"},
                {"type": "Ready", "status": ready, "reason": "ContainersNotReady",
                 "message": "containers with unready status: [main]", "lastTransitionTime": "2026-03-01T11:59:00Z"}],
                "containerStatuses": [status]}}))
    }

    pub(in super::super) fn running(name: &str) -> Live {
        pod(name, "Running", true, &json!({"state": {"running": {"startedAt": "2026-03-01T11:59:05Z"}}}))
    }

    pub(in super::super) fn bad_image(name: &str) -> Live {
        let waiting = json!({"reason": "ImagePullBackOff", "message": "Back-off pulling image \"x:bad\""});
        pod(name, "Pending", false, &json!({"state": {"waiting": waiting}}))
    }

    pub(in super::super) fn crashing(name: &str) -> Live {
        let waiting = json!({"reason": "CrashLoopBackOff",
            "message": "back-off 40s restarting failed container=main pod=web_shop(1)"});
        pod(
            name,
            "Running",
            false,
            &json!({"restartCount": 3, "state": {"waiting": waiting},
            "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "message": "password=hunter2",
                "finishedAt": "2026-03-01T11:59:40Z"}}}),
        )
    }

    fn verdict(pod: &Live) -> (Health, String) {
        let found = assess(pod, &Related::default(), now());
        (found.health, found.message)
    }

    #[test]
    fn reasons() {
        use Health::{Degraded, Healthy, Progressing};
        let waiting = |reason: &str| json!({"state": {"waiting": {"reason": reason, "message": "m"}}});
        for (pod, health, message) in [
            (running("a"), Healthy, ""),
            (bad_image("a"), Degraded, "ImagePullBackOff: Back-off pulling image \"x:bad\""),
            (
                crashing("a"),
                Degraded,
                "CrashLoopBackOff: back-off 40s restarting failed container=main pod=web_shop(1); \
                 container main exited with code 1 (Error)",
            ),
            (pod("a", "Pending", false, &waiting("ErrImagePull")), Degraded, "ErrImagePull: m"),
            (pod("a", "Pending", false, &waiting("InvalidImageName")), Degraded, "InvalidImageName: m"),
            (
                pod("a", "Pending", false, &waiting("CreateContainerConfigError")),
                Degraded,
                "CreateContainerConfigError: m",
            ),
            (pod("a", "Pending", false, &waiting("RunContainerError")), Degraded, "RunContainerError: m"),
            (pod("a", "Pending", false, &waiting("ContainerCreating")), Progressing, "ContainerCreating: m"),
            (
                pod("a", "Running", false, &json!({"state": {"running": {}}})),
                Progressing,
                "running, not ready: containers with unready status: [main]",
            ),
            (pod("a", "Succeeded", false, &json!({"state": {"terminated": {"exitCode": 0}}})), Healthy, ""),
            (
                pod("a", "Failed", false, &json!({"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}})),
                Degraded,
                "exited with code 137 (OOMKilled)",
            ),
        ] {
            assert_eq!(verdict(&pod), (health, message.to_owned()), "{pod:?}");
        }
    }

    #[test]
    fn a_crash_does_not_flap_between_back_offs() {
        let last = json!({"terminated": {"exitCode": 1, "reason": "Error", "finishedAt": "2026-03-01T11:59:40Z"}});
        let mut between = pod("a", "Running", false, &json!({"restartCount": 4, "state": {"running": {}}}));
        between.0["status"]["containerStatuses"][0]["lastState"] = last;
        assert_eq!(
            verdict(&between),
            (Health::Degraded, "container main restarted 4 times, exited with code 1 (Error)".into())
        );
        between.0["status"]["containerStatuses"][0]["restartCount"] = json!(1);
        assert_eq!(verdict(&between).0, Health::Progressing);
    }

    #[test]
    fn stuck_pods_are_given_up_in_time() {
        let mut stuck = pod("a", "Pending", false, &json!({}));
        stuck.0["status"]["containerStatuses"] = json!([]);
        stuck.0["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/3 nodes are available: 3 Insufficient cpu."}]);
        let early = assess(&stuck, &Related::default(), now());
        assert_eq!(early.health, Health::Progressing);
        assert_eq!(early.message, "Unschedulable: 0/3 nodes are available: 3 Insufficient cpu.");
        let until = early.recheck_at.unwrap();
        assert_eq!(until.to_string(), "2026-03-01T12:09:00Z");
        assert_eq!(assess(&stuck, &Related::default(), until).health, Health::Degraded);
    }

    #[test]
    fn init_containers_and_evictions_speak() {
        let mut init = pod("a", "Pending", false, &json!({"state": {"waiting": {"reason": "PodInitializing"}}}));
        init.0["status"]["initContainerStatuses"] = json!([{"name": "db", "ready": false, "restartCount": 1,
            "state": {"waiting": {"reason": "ErrImagePull", "message": "no such host"}}}]);
        assert_eq!(verdict(&init), (Health::Degraded, "ErrImagePull: no such host".into()));
        let mut evicted = pod("a", "Failed", false, &json!({}));
        evicted.0["status"]["reason"] = json!("Evicted");
        evicted.0["status"]["message"] = json!("The node was low on resource: memory.");
        assert_eq!(verdict(&evicted), (Health::Degraded, "Evicted: The node was low on resource: memory.".into()));
    }

    #[test]
    fn events_explain_a_pod_that_hangs() {
        let creating = pod("a", "Pending", false, &json!({"state": {"waiting": {"reason": "ContainerCreating"}}}));
        let mut related = Related::default();
        let event = json!({"type": "Warning", "reason": "FailedMount", "involvedObject": {"uid": "a"},
            "message": "MountVolume.SetUp failed for volume \"tls\" : secret \"web-tls\" not found",
            "lastTimestamp": "2026-03-01T11:59:30Z"});
        related.add(&RelatedQuery::warnings_about(&creating), vec![Arc::new(Live(event))]);
        let found = assess(&creating, &related, now());
        assert_eq!(found.health, Health::Progressing);
        assert!(found.message.starts_with("FailedMount: MountVolume.SetUp failed"), "{}", found.message);
    }

    #[test]
    fn the_worst_pod_speaks_for_all() {
        let pods = [running("a"), crashing("c"), bad_image("b"), pod("d", "Pending", false, &json!({}))];
        let found = worst_of(&pods, &Related::default(), now(), PATIENCE).unwrap();
        assert_eq!(found.health, Health::Degraded);
        assert_eq!(found.message, "b: ImagePullBackOff: Back-off pulling image \"x:bad\" (and 1 more)");
        assert!(!found.message.contains("hunter2"));
        assert_eq!(worst_of(&[running("a")], &Related::default(), now(), PATIENCE), None);
    }
}
