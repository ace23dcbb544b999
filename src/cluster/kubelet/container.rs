//! One container through time: where it stands at a moment, and when that changes next.

use super::super::controllers::meta::{after_millis, text};
use super::behaviour::{Behaviour, go_seconds, pull_error};
use jiff::Timestamp;
use serde_json::Value;

/// How long a pull is shown as failed before it is shown as backing off, in milliseconds.
const PULL_ERROR_SHOWN: i64 = 1000;
/// Longest wait between restarts, in milliseconds (`MaxContainerBackOff`).
const LONGEST_BACK_OFF: i64 = 300_000;
/// A container that ran this long starts again with the shortest wait.
const FORGIVEN_AFTER: i64 = 600_000;

/// The end of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Exit code.
    pub code: i64,
    /// `Completed` or `Error`.
    pub reason: &'static str,
    /// When the run began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
}

/// `state` of a container status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Not running yet, or not again.
    Waiting {
        /// `ContainerCreating`, `ImagePullBackOff`, …
        reason: &'static str,
        /// For people; may be empty.
        message: String,
    },
    /// Running since.
    Running(Timestamp),
    /// Over.
    Terminated(End),
}

/// A container at a moment.
#[derive(Debug, Clone)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its image as the spec has it.
    pub image: String,
    /// True for an init container, sidecars included.
    pub init: bool,
    /// Where it stands.
    pub state: State,
    /// How its previous run ended.
    pub last: Option<End>,
    /// Its readiness probe has succeeded.
    pub ready: bool,
    /// Its startup probe has succeeded.
    pub started: bool,
    /// How often it was started again.
    pub restarts: u32,
    /// The error of its image, if it cannot be pulled.
    pub pull_error: Option<String>,
}

/// A container, and when it will have changed.
pub struct At {
    /// Now.
    pub container: Container,
    /// The next change, if there will be one.
    pub next: Option<Timestamp>,
}

impl At {
    fn changes(mut self, times: &[Option<Timestamp>], now: Timestamp) -> Self {
        self.next = times.iter().flatten().copied().filter(|at| *at > now).min();
        self
    }
}

/// A container that waits for something before it.
pub fn waiting(spec: &Value, init: bool, reason: &'static str, message: String) -> Container {
    let image = text(&spec["image"]).to_owned();
    Container {
        name: text(&spec["name"]).to_owned(),
        pull_error: None,
        image,
        init,
        state: State::Waiting { reason, message },
        last: None,
        ready: false,
        started: false,
        restarts: 0,
    }
}

/// A container whose image cannot be pulled since `start`: `ErrImagePull`, then `ImagePullBackOff` for good. (A real
/// kubelet alternates between the two; the end of the alternation is what everybody waits for.)
fn unpullable(spec: &Value, init: bool, error: String, start: Timestamp, now: Timestamp) -> At {
    let shown = after_millis(start, PULL_ERROR_SHOWN);
    let (reason, message) = if now < shown {
        ("ErrImagePull", error.clone())
    } else {
        ("ImagePullBackOff", format!("Back-off pulling image \"{}\": ErrImagePull: {error}", text(&spec["image"])))
    };
    let mut container = waiting(spec, init, reason, message);
    container.pull_error = Some(error);
    At { container, next: None }.changes(&[Some(shown)], now)
}

/// A main container or a sidecar that starts at `start` (or later than now: then it waits with `reason`).
pub fn main(
    pod: &Value,
    spec: &Value,
    init: bool,
    behaviour: &Behaviour,
    start: Timestamp,
    reason: &'static str,
    now: Timestamp,
) -> At {
    if now < start {
        return At { container: waiting(spec, init, reason, String::new()), next: Some(start) };
    }
    if let Some(error) = pull_error(text(&spec["image"])) {
        return unpullable(spec, init, error, start, now);
    }
    match (behaviour.crash_after, behaviour.complete_after) {
        (Some(after), _) if !init => crashing(pod, spec, behaviour, start, after, now),
        (_, Some(after)) if !init => ending(spec, behaviour, start, after, now),
        _ => running(spec, init, behaviour, start, now),
    }
}

/// An init container that starts at `start` and ends by itself. Also when that is.
pub fn init(spec: &Value, start: Timestamp, now: Timestamp) -> (At, Option<Timestamp>) {
    if now < start {
        return (At { container: waiting(spec, true, "PodInitializing", String::new()), next: Some(start) }, None);
    }
    if let Some(error) = pull_error(text(&spec["image"])) {
        return (unpullable(spec, true, error, start, now), None);
    }
    let finished = after_millis(start, 100);
    let mut container = waiting(spec, true, "PodInitializing", String::new());
    if now < finished {
        container.state = State::Running(start);
    } else {
        container.state = State::Terminated(End { code: 0, reason: "Completed", started: start, finished });
        // An init container that is done counts as ready.
        container.ready = true;
    }
    (At { container, next: None }.changes(&[Some(finished)], now), Some(finished))
}

fn running(spec: &Value, init: bool, behaviour: &Behaviour, start: Timestamp, now: Timestamp) -> At {
    let started = after_millis(start, Behaviour::startup_delay(spec));
    let ready = behaviour.ready_delay(spec).map(|delay| after_millis(start, delay));
    let mut container = waiting(spec, init, "", String::new());
    container.state = State::Running(start);
    container.started = now >= started;
    container.ready = ready.is_some_and(|ready| now >= ready);
    At { container, next: None }.changes(&[Some(started), ready], now)
}

fn ending(spec: &Value, behaviour: &Behaviour, start: Timestamp, after: i64, now: Timestamp) -> At {
    let finished = after_millis(start, after);
    if now < finished {
        let at = running(spec, false, behaviour, start, now);
        let next = at.next;
        return at.changes(&[next, Some(finished)], now);
    }
    let mut container = waiting(spec, false, "", String::new());
    container.state = State::Terminated(End { code: 0, reason: "Completed", started: start, finished });
    At { container, next: None }
}

/// Runs, exits with 1, waits 10 s, 20 s, 40 s, … 5 min, and again.
fn crashing(pod: &Value, spec: &Value, behaviour: &Behaviour, start: Timestamp, after: i64, now: Timestamp) -> At {
    let never = pod["spec"]["restartPolicy"] == "Never";
    let (mut began, mut restarts, mut wait) = (start, 0_u32, 10_000_i64);
    let mut last = None;
    loop {
        let finished = after_millis(began, after);
        let end = End { code: 1, reason: "Error", started: began, finished };
        if now < finished {
            let mut at = running(spec, false, behaviour, began, now);
            at.container.restarts = restarts;
            at.container.last = last;
            let next = at.next;
            return at.changes(&[next, Some(finished)], now);
        }
        let mut container = waiting(spec, false, "", String::new());
        container.restarts = restarts;
        if never {
            container.state = State::Terminated(end);
            return At { container, next: None };
        }
        let again = after_millis(finished, wait);
        if now < again || again <= began {
            let message = format!(
                "back-off {} restarting failed container={} pod={}_{}({})",
                go_seconds(wait / 1000),
                container.name,
                text(&pod["metadata"]["name"]),
                text(&pod["metadata"]["namespace"]),
                text(&pod["metadata"]["uid"]),
            );
            container.state = State::Waiting { reason: "CrashLoopBackOff", message };
            container.last = Some(end);
            return At { container, next: None }.changes(&[Some(again)], now);
        }
        last = Some(end);
        began = again;
        restarts = restarts.saturating_add(1);
        wait = if after >= FORGIVEN_AFTER { 10_000 } else { (wait * 2).min(LONGEST_BACK_OFF) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_crash_loop_waits_longer_each_time() {
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u",
            "annotations": {"sim.driftless.dev/crash-after": "2s"}}});
        let (spec, start) = (json!({"name": "main", "image": "web:1"}), Timestamp::UNIX_EPOCH);
        let behaviour = Behaviour::of(&pod);
        let at = |millis| main(&pod, &spec, false, &behaviour, start, "ContainerCreating", after_millis(start, millis));
        assert_eq!(at(0).container.state, State::Running(start));
        assert_eq!(at(0).next, Some(after_millis(start, 2000)));
        let State::Waiting { reason, message } = at(2000).container.state else { panic!("not waiting") };
        assert_eq!(
            (reason, message.as_str()),
            ("CrashLoopBackOff", "back-off 10s restarting failed container=main pod=p_n(u)")
        );
        assert_eq!(at(12_000).container.restarts, 1);
        assert_eq!(at(12_000).container.state, State::Running(after_millis(start, 12_000)));
        assert_eq!(at(14_000).next, Some(after_millis(start, 34_000)));
        assert_eq!(at(34_000).container.restarts, 2);
    }

    #[test]
    fn a_bad_image_backs_off() {
        let spec = json!({"name": "main", "image": "web:bad"});
        let start = Timestamp::UNIX_EPOCH;
        let behaviour = Behaviour::of(&json!({}));
        let reason = |millis| {
            let now = after_millis(start, millis);
            match main(&json!({}), &spec, false, &behaviour, start, "ContainerCreating", now).container.state {
                State::Waiting { reason, .. } => reason,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(
            [reason(-1), reason(0), reason(1000), reason(999_999)],
            ["ContainerCreating", "ErrImagePull", "ImagePullBackOff", "ImagePullBackOff"]
        );
    }
}
