//! One pod through time: all its containers at a moment, and when that changes next.
//!
//! In: the pod, when its kubelet began to start it, and now. Out: a [`Moment`]. Nothing else decides what a simulated
//! pod does, so that the same pod does the same every time.

use super::super::controllers::meta::{after_millis, items};
use super::behaviour::Behaviour;
use super::container::{self, At, Container, State};
use jiff::Timestamp;
use serde_json::Value;

/// Milliseconds until the first container can start: sandbox, volumes, network.
const SANDBOX: i64 = 40;
/// Milliseconds to pull an image and start it, without the jitter.
const START: i64 = 60;

/// A pod at a moment.
pub struct Moment {
    /// Its containers, init containers first.
    pub containers: Vec<Container>,
    /// True once all init containers are done and all sidecars started.
    pub initialized: bool,
    /// When it will have changed.
    pub next: Option<Timestamp>,
}

impl Moment {
    /// The main containers.
    pub fn main(&self) -> impl Iterator<Item = &Container> {
        self.containers.iter().filter(|container| !container.init)
    }

    /// `status.phase` (`getPhase` in pkg/kubelet/kubelet_pods.go).
    pub fn phase(&self, restart_policy: &str) -> &'static str {
        let ended = |c: &Container| matches!(&c.state, State::Terminated(_));
        let begun = |c: &Container| !matches!(&c.state, State::Waiting { .. }) || c.last.is_some();
        if !self.initialized || !self.main().all(begun) {
            "Pending"
        } else if restart_policy != "Always" && self.main().all(ended) {
            let failed = |c: &Container| matches!(&c.state, State::Terminated(end) if end.code != 0);
            if self.main().any(failed) { "Failed" } else { "Succeeded" }
        } else {
            "Running"
        }
    }
}

/// The pod at `now`, if its kubelet began at `begin`.
pub fn at(pod: &Value, begin: Timestamp, now: Timestamp) -> Moment {
    let behaviour = Behaviour::of(pod);
    let mut moment = Moment { containers: Vec::new(), initialized: true, next: None };
    let specs = items(&pod["spec"]["initContainers"]);
    // When what has to come before is done; `None` if that cannot be said yet.
    let mut ready = Some(after_millis(begin, SANDBOX));
    for spec in specs {
        let Some(start) = ready.map(|ready| after_millis(ready, START)) else {
            moment.wait(spec, true);
            continue;
        };
        let sidecar = spec["restartPolicy"] == "Always";
        let (at, done) = if sidecar {
            let at = container::main(pod, spec, true, &behaviour, start, "PodInitializing", now);
            let done = at.container.pull_error.is_none().then(|| after_millis(start, Behaviour::startup_delay(spec)));
            (at, done)
        } else {
            container::init(spec, start, now)
        };
        ready = done;
        moment.initialized &= done.is_some_and(|done| done <= now);
        moment.add(at);
    }
    let reason = if specs.is_empty() { "ContainerCreating" } else { "PodInitializing" };
    for spec in items(&pod["spec"]["containers"]) {
        match ready.map(|ready| after_millis(ready, START + behaviour.jitter)) {
            Some(start) => {
                moment.add(container::main(pod, spec, false, &behaviour, start, reason, now));
            }
            None => moment.wait(spec, false),
        }
    }
    moment
}

/// A pod that cannot start its containers yet: why. `reason` is that of its first container.
pub fn held(pod: &Value, reason: &'static str, message: &str) -> Moment {
    let mut moment = Moment { containers: Vec::new(), initialized: true, next: None };
    for spec in items(&pod["spec"]["initContainers"]) {
        moment.initialized = false;
        moment.wait(spec, true);
    }
    for spec in items(&pod["spec"]["containers"]) {
        moment.wait(spec, false);
    }
    if let Some(first) = moment.containers.first_mut() {
        first.state = State::Waiting { reason, message: message.to_owned() };
    }
    moment
}

impl Moment {
    fn add(&mut self, at: At) {
        self.next = [self.next, at.next].into_iter().flatten().min();
        self.containers.push(at.container);
    }

    fn wait(&mut self, spec: &Value, init: bool) {
        let reason = if init || !self.initialized { "PodInitializing" } else { "ContainerCreating" };
        self.containers.push(container::waiting(spec, init, reason, String::new()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn phases(spec: &Value, policy: &str) -> Vec<(&'static str, bool)> {
        let pod = json!({"metadata": {"uid": "u"}, "spec": spec});
        let start = Timestamp::UNIX_EPOCH;
        let (mut now, mut seen) = (start, Vec::new());
        loop {
            let moment = at(&pod, start, now);
            let this = (moment.phase(policy), moment.initialized);
            if seen.last() != Some(&this) {
                seen.push(this);
            }
            match moment.next {
                Some(next) => now = next,
                None => return seen,
            }
        }
    }

    #[test]
    fn init_containers_come_before_the_main_ones() {
        let spec = json!({"initContainers": [{"name": "a"}, {"name": "s", "restartPolicy": "Always"}],
            "containers": [{"name": "main"}]});
        assert_eq!(phases(&spec, "Always"), [("Pending", false), ("Pending", true), ("Running", true)]);
    }

    #[test]
    fn a_pod_that_may_end_ends_well() {
        let spec = json!({"restartPolicy": "Never", "containers": [{"name": "main"}]});
        assert_eq!(phases(&spec, "Never"), [("Pending", true), ("Running", true), ("Succeeded", true)]);
    }

    #[test]
    fn a_bad_init_image_holds_everything_up() {
        let spec = json!({"initContainers": [{"name": "a", "image": "x:bad"}], "containers": [{"name": "main"}]});
        assert_eq!(phases(&spec, "Always"), [("Pending", false)]);
    }

    #[test]
    fn starting_takes_a_fraction_of_a_second() {
        for uid in ["a", "b", "c", "d"] {
            let pod = json!({"metadata": {"uid": uid}, "spec": {"containers": [{"name": "main"}]}});
            let next = at(&pod, Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH).next.unwrap();
            assert!((100..=300).contains(&next.as_millisecond()), "{next}");
        }
    }
}
