//! One step for the pods of the simulated nodes: statuses, Events, and the end of deletions.

use super::super::controllers::event::Event;
use super::super::controllers::index::Index;
use super::super::controllers::kind::{CONFIG_MAP, POD};
use super::super::controllers::meta::{after_millis, int, is_deleting, items, name, namespace, time, uid};
use super::super::controllers::{patch, pods};
use super::behaviour::Behaviour;
use super::container::{Container, State};
use super::memory::{Entry, Memory};
use super::node::Nodes;
use super::requirements::{self, Missing};
use super::status::{self, Addresses};
use super::timeline::{self, Moment};
use crate::cluster::view::{KUBELET, Step, Write};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::HashSet;
use std::sync::Arc;

/// One step for every pod on a simulated node.
pub fn run(nodes: &Nodes, memory: &mut Memory, index: &Index<'_>) -> Step {
    let mut step = Step::default();
    // A view with ConfigMaps is a whole cluster's; the driver's holds pods and nodes only.
    let whole = index.view.kinds().contains(&CONFIG_MAP);
    let by_node = index.pods_by_node();
    let mut taken: Option<HashSet<u32>> = None;
    let mut uids = HashSet::new();
    for node in nodes.names() {
        let Some(host) = nodes.address(&node).filter(|_| nodes.is_registered(index, &node)) else { continue };
        for pod in by_node.get(&node).into_iter().flatten() {
            uids.insert(uid(pod));
            let entry = memory.entry(pod);
            if entry.is_settled(pod, index.now) {
                if let Some((_, Some(until))) = entry.settled {
                    step.wake(until);
                }
                continue;
            }
            let mut own = Step::default();
            let mut kubelet = Pod { index, pod, node: &node, entry, step: &mut own };
            if is_deleting(pod) {
                kubelet.stop();
            } else if !pods::is_finished(pod) {
                let addresses = &mut || nodes.free_address(&node, index, &mut taken);
                kubelet.go_on(whole, &host, addresses);
            }
            // A pod that waits for another object is looked at again whenever something changes.
            let waits = entry.begin.is_none() && !is_deleting(pod) && !pods::is_finished(pod);
            entry.settled = (own.writes.is_empty() && !waits).then(|| (Arc::clone(pod), own.wake_at));
            step.append(own);
        }
    }
    memory.keep(&uids);
    step
}

struct Pod<'a> {
    index: &'a Index<'a>,
    pod: &'a Arc<Value>,
    node: &'a str,
    entry: &'a mut Entry,
    step: &'a mut Step,
}

impl Pod<'_> {
    fn now(&self) -> Timestamp {
        self.index.now
    }

    fn go_on(&mut self, whole: bool, host: &str, address: &mut dyn FnMut() -> String) {
        let moment = match self.entry.begin {
            Some(begin) => timeline::at(self.pod, begin, self.now()),
            None => self.begin(whole),
        };
        let host_network = self.pod["spec"]["hostNetwork"] == true;
        let own = match self.pod["status"]["podIP"].as_str() {
            Some(ip) => Some(ip.to_owned()),
            None if host_network => Some(host.to_owned()),
            None if moment.containers.iter().any(|c| matches!(c.state, State::Running(_))) => Some(address()),
            None => None,
        };
        let addresses = Addresses { host: host.to_owned(), pod: own };
        let status = status::of(self.pod, &moment, &addresses, self.now());
        if let Some(write) = patch::status(&POD, self.pod, &status) {
            self.step.push(KUBELET, write);
        }
        for container in &moment.containers {
            self.tell(container);
        }
        if let Some(next) = moment.next {
            self.step.wake(next);
        }
    }

    /// Starts the pod, if nothing that it needs is missing.
    fn begin(&mut self, whole: bool) -> Moment {
        match requirements::missing(self.index, self.pod).filter(|_| whole) {
            None => {
                let now = self.now();
                self.entry.begin = Some(now);
                timeline::at(self.pod, now, now)
            }
            Some(Missing::Volume(message)) => {
                self.say(true, "FailedMount", &message, "", 1);
                let initialising = !items(&self.pod["spec"]["initContainers"]).is_empty();
                timeline::held(self.pod, if initialising { "PodInitializing" } else { "ContainerCreating" }, "")
            }
            Some(Missing::Environment(message)) => {
                self.say(true, "Failed", &format!("Error: {message}"), "", 1);
                timeline::held(self.pod, "CreateContainerConfigError", &message)
            }
        }
    }

    /// Events about a container, as often as things happened.
    fn tell(&mut self, container: &Container) {
        let field = if container.init { "initContainers" } else { "containers" };
        let path = format!("spec.{field}{{{}}}", container.name);
        let image = &container.image;
        if let Some(error) = &container.pull_error {
            self.say(true, "Failed", &format!("Failed to pull image \"{image}\": {error}"), &path, 1);
            if matches!(&container.state, State::Waiting { reason: "ImagePullBackOff", .. }) {
                self.say(false, "BackOff", &format!("Back-off pulling image \"{image}\""), &path, 1);
            }
            return;
        }
        let waits = matches!(container.state, State::Waiting { .. });
        if !waits || container.last.is_some() {
            let runs = container.restarts + 1;
            let present = format!("Container image \"{image}\" already present on machine");
            self.say(false, "Pulled", &present, &path, runs);
            self.say(false, "Created", "Container created", &path, runs);
            self.say(false, "Started", "Container started", &path, runs);
        }
        if waits && container.last.is_some() {
            let (pod, space) = (name(self.pod), namespace(self.pod).unwrap_or_default());
            let message = format!(
                "Back-off restarting failed container {} in pod {pod}_{space}({})",
                container.name,
                uid(self.pod)
            );
            self.say(true, "BackOff", &message, &path, container.restarts + 1);
        }
        if matches!(container.state, State::Running(_)) && Behaviour::of(self.pod).never_ready && !container.init {
            let message = "Readiness probe failed: HTTP probe failed with statuscode: 503";
            self.say(true, "Unhealthy", message, &path, 1);
        }
    }

    /// Says something, if it has not been said so often yet.
    fn say(&mut self, warning: bool, reason: &str, message: &str, path: &str, count: u32) {
        let event = Event { component: "kubelet", host: self.node, warning, reason, message, field_path: path };
        let key = event.name(self.pod, "");
        let told = self.entry.told.get(&key).copied().unwrap_or(0);
        if told >= count {
            return;
        }
        let write = if told == 0 {
            event.create(&POD, self.pod, "", self.index.now)
        } else {
            event.repeat(self.pod, "", count, self.index.now)
        };
        self.entry.told.insert(key, count);
        self.step.push(KUBELET, write);
    }

    /// Ends a deletion: once the containers have stopped, the kubelet deletes the pod with grace 0.
    fn stop(&mut self) {
        let metadata = &self.pod["metadata"];
        if !metadata["deletionGracePeriodSeconds"].is_null() && int(&metadata["deletionGracePeriodSeconds"]) == 0 {
            // Done: what keeps it are finalizers.
            if !pods::is_finished(self.pod) {
                self.report_stopped();
            }
            return;
        }
        let now = self.now();
        let stop = *self.entry.stop.get_or_insert_with(|| {
            let soon = after_millis(now, Behaviour::of(self.pod).stop_after);
            let never_ran = pods::is_finished(self.pod) || self.pod["status"]["podIP"].is_null();
            if never_ran { now } else { time(&metadata["deletionTimestamp"]).map_or(soon, |end| soon.min(end)) }
        });
        if now < stop {
            self.step.wake(stop);
            return;
        }
        if !items(&metadata["finalizers"]).is_empty() && !pods::is_finished(self.pod) {
            self.report_stopped();
        }
        self.step.push(
            KUBELET,
            Write::Delete {
                gk: POD.clone(),
                namespace: namespace(self.pod).map(str::to_owned),
                name: name(self.pod).to_owned(),
                uid: Some(uid(self.pod).to_owned()),
                propagation: None,
                grace_seconds: Some(0),
            },
        );
    }

    fn report_stopped(&mut self) {
        let status = status::stopped(self.pod, self.now());
        if let Some(write) = patch::status(&POD, self.pod, &status) {
            self.step.push(KUBELET, write);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::controllers::kind::EVENT;
    use crate::cluster::simulation::{Simulation, pod_template};
    use serde_json::json;

    fn pod(cluster: &mut Simulation, annotations: &Value, spec: &Value) {
        let mut pod = pod_template("web:1");
        let more = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "annotations": annotations}, "spec": spec});
        patch::apply_merge(&mut pod, &more);
        cluster.create(pod);
    }

    fn reasons(cluster: &Simulation) -> Vec<String> {
        let mut reasons: Vec<String> =
            cluster.list(&EVENT).iter().map(|e| e["reason"].as_str().unwrap_or_default().to_owned()).collect();
        reasons.sort();
        reasons
    }

    #[test]
    fn a_pod_starts_step_by_step_and_stops_within_its_grace() {
        let mut cluster = Simulation::new();
        pod(&mut cluster, &json!({}), &json!({}));
        let mut phases = Vec::new();
        cluster.run_watching(2000, |objects| {
            let pod = crate::cluster::view::View::get(objects, &POD, Some("shop"), "p").unwrap();
            let waiting = pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].clone();
            phases.push((pods::phase(&pod).to_owned(), waiting));
        });
        phases.dedup();
        assert_eq!(phases, [("Pending".to_owned(), json!("ContainerCreating")), ("Running".to_owned(), Value::Null)]);
        assert_eq!(reasons(&cluster), ["Created", "Pulled", "Scheduled", "Started"]);
        let running = cluster.get(&POD, "p").unwrap();
        assert!(running["status"]["podIP"].as_str().unwrap().starts_with("10.244."));
        for condition in ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"] {
            assert_eq!(pods::condition(&running, condition).unwrap()["status"], "True", "{condition}");
        }
        cluster.delete(&POD, "p", "Background");
        cluster.settle();
        assert!(is_deleting(&cluster.get(&POD, "p").unwrap()));
        cluster.run(1000);
        assert!(cluster.get(&POD, "p").is_none());
    }

    #[test]
    fn annotations_decide_what_it_does() {
        let mut cluster = Simulation::new();
        pod(&mut cluster, &json!({"sim.driftless.dev/ready-after": "10s"}), &json!({}));
        cluster.run(9000);
        assert!(!pods::is_ready(&cluster.get(&POD, "p").unwrap()));
        cluster.run(3000);
        assert!(pods::is_ready(&cluster.get(&POD, "p").unwrap()));

        let mut cluster = Simulation::new();
        pod(&mut cluster, &json!({"sim.driftless.dev/never-ready": "true"}), &json!({}));
        cluster.run(60_000);
        assert_eq!(cluster.reason(&POD, "p", "Ready"), "ContainersNotReady");
        assert!(reasons(&cluster).contains(&"Unhealthy".to_owned()));

        let mut cluster = Simulation::new();
        pod(&mut cluster, &json!({"sim.driftless.dev/crash-after": "1s"}), &json!({}));
        cluster.run(60_000);
        let status = cluster.get(&POD, "p").unwrap()["status"]["containerStatuses"][0].clone();
        assert_eq!(
            (&status["restartCount"], &status["state"]["waiting"]["reason"]),
            (&json!(2), &json!("CrashLoopBackOff"))
        );
        assert_eq!(status["lastState"]["terminated"]["exitCode"], 1);
        assert!(cluster.list(&EVENT).len() < 8, "Events are counted, not repeated");
    }

    #[test]
    fn what_it_needs_has_to_be_there() {
        let mut cluster = Simulation::new();
        let from = json!([{"configMapRef": {"name": "settings"}}]);
        pod(&mut cluster, &json!({}), &json!({"containers": [{"name": "main", "image": "web:1", "envFrom": from}]}));
        cluster.run(5000);
        let waiting = cluster.get(&POD, "p").unwrap()["status"]["containerStatuses"][0]["state"]["waiting"].clone();
        assert_eq!(
            waiting,
            json!({"reason": "CreateContainerConfigError", "message": "configmap \"settings\" not found"})
        );
        cluster.create(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}}));
        cluster.run(2000);
        assert!(pods::is_ready(&cluster.get(&POD, "p").unwrap()));
    }

    #[test]
    fn a_kubelet_that_forgot_everything_changes_nothing() {
        let mut cluster = Simulation::new();
        pod(&mut cluster, &json!({}), &json!({}));
        cluster.run(2000);
        let before = cluster.get(&POD, "p");
        cluster.control = crate::cluster::control::Control::new(crate::cluster::control::Options::default());
        cluster.run(5000);
        assert_eq!(cluster.get(&POD, "p").map(|p| p["status"].clone()), before.map(|p| p["status"].clone()));
    }
}
