//! DaemonSets: a pod on every node that will have it. Source: pkg/controller/daemon.
//! Left out: `maxSurge`; an update always takes the old pod away first.

use super::claim::claim;
use super::index::Index;
use super::kind::{DAEMON_SET, NODE, POD};
use super::meta::{annotation, generation, int, is_deleting, items, label, name, omit_empty, scaled, text};
use super::revision::{self, History, POD_REVISION};
use super::{patch, pods};
use crate::cluster::scheduler::filter;
use crate::cluster::view::{CONTROLLER_MANAGER, Step};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// Counted up by the API server with each change of the template.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// One step for every DaemonSet.
pub fn run(index: &Index<'_>) -> Step {
    let mut step = Step::default();
    for set in index.all(&DAEMON_SET).iter() {
        let owned = claim(index, &POD, &DAEMON_SET, set, &set["spec"]["selector"], &mut step);
        if let Some(history) = revision::sync(index, &DAEMON_SET, set, &mut step) {
            Sync { index, set, owned, history, step: &mut step }.run();
        }
    }
    step
}

struct Sync<'a> {
    index: &'a Index<'a>,
    set: &'a Value,
    owned: Vec<Arc<Value>>,
    history: History,
    step: &'a mut Step,
}

/// The node that a daemon pod is for, before it is bound too (`GetTargetNodeName`).
fn target(pod: &Value) -> &str {
    if let Some(node) = pod["spec"]["nodeName"].as_str().filter(|node| !node.is_empty()) {
        return node;
    }
    let terms =
        &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
    let fields = items(terms).iter().flat_map(|term| items(&term["matchFields"]));
    let named = fields.filter(|field| field["key"] == "metadata.name").find_map(|field| field["values"][0].as_str());
    named.unwrap_or_default()
}

impl Sync<'_> {
    fn run(&mut self) {
        let nodes = self.index.all(&NODE);
        let mut by_node: BTreeMap<&str, Vec<&Arc<Value>>> = BTreeMap::new();
        let owned = std::mem::take(&mut self.owned);
        for pod in &owned {
            by_node.entry(target(pod)).or_default().push(pod);
        }
        let mut status = Status { min_ready: int(&self.set["spec"]["minReadySeconds"]), ..Status::default() };
        let mut wanted = Vec::new();
        for node in nodes.iter() {
            let here = by_node.get(name(node)).map_or(&[][..], Vec::as_slice);
            let (run, stay) = self.should_run(node);
            status.count(self, here, run);
            self.manage(node, here, run, stay);
            if run {
                wanted.push(here.to_vec());
            }
        }
        if !is_deleting(self.set) {
            // Pods of nodes that are gone are the pod collector's.
            self.update(&wanted, &status);
            self.truncate(&owned);
        }
        let status = status.into_value(self.set);
        if let Some(write) = patch::status(&DAEMON_SET, self.set, &status) {
            self.step.push(CONTROLLER_MANAGER, write);
        }
    }

    /// (a pod should be made here, a pod that is here may stay): `NodeShouldRunDaemonPod`.
    fn should_run(&self, node: &Arc<Value>) -> (bool, bool) {
        let spec = self.pod(name(node))["spec"].clone();
        let named = text(&self.set["spec"]["template"]["spec"]["nodeName"]);
        let place = filter::Node::empty(Arc::clone(node));
        if !(named.is_empty() || named == name(node)) || !place.attracts(&spec) {
            return (false, false);
        }
        let untolerated = |effects: &[&str]| {
            items(&node["spec"]["taints"])
                .iter()
                .any(|taint| effects.contains(&text(&taint["effect"])) && !filter::tolerates(&spec, taint))
        };
        if untolerated(&["NoSchedule", "NoExecute"]) { (false, !untolerated(&["NoExecute"])) } else { (true, true) }
    }

    fn revision_hash(&self) -> &str {
        label(&self.history.update, POD_REVISION).unwrap_or_default()
    }

    fn pod(&self, node: &str) -> Value {
        let mut pod = pods::from_template(&DAEMON_SET, self.set, &self.set["spec"]["template"]);
        pods::set_metadata(&mut pod, "generateName", json!(format!("{}-", name(self.set))));
        pods::set_label(&mut pod, POD_REVISION, self.revision_hash());
        let generation =
            annotation(self.set, TEMPLATE_GENERATION).map_or_else(|| generation(self.set).to_string(), str::to_owned);
        pods::set_label(&mut pod, "pod-template-generation", &generation);
        let field = json!({"key": "metadata.name", "operator": "In", "values": [node]});
        let required = &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
        let mut terms = items(&required["nodeSelectorTerms"]).to_vec();
        for term in &mut terms {
            // A pod's own field selectors give way: the node is chosen here.
            patch::apply_merge(term, &json!({"matchFields": [field]}));
        }
        if terms.is_empty() {
            terms.push(json!({"matchFields": [field]}));
        }
        let mut tolerations = items(&pod["spec"]["tolerations"]).to_vec();
        let mut taints = vec![
            ("not-ready", "NoExecute"),
            ("unreachable", "NoExecute"),
            ("disk-pressure", "NoSchedule"),
            ("memory-pressure", "NoSchedule"),
            ("pid-pressure", "NoSchedule"),
            ("unschedulable", "NoSchedule"),
        ];
        if pod["spec"]["hostNetwork"] == true {
            taints.push(("network-unavailable", "NoSchedule"));
        }
        tolerations.extend(taints.into_iter().map(
            |(key, effect)| json!({"key": format!("node.kubernetes.io/{key}"), "operator": "Exists", "effect": effect}),
        ));
        let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
        patch::apply_merge(
            &mut pod,
            &json!({"spec": {"affinity": {"nodeAffinity": required}, "tolerations": tolerations}}),
        );
        pod
    }

    /// `podsShouldBeOnNode`: one pod where one should be; the oldest stays.
    fn manage(&mut self, node: &Value, here: &[&Arc<Value>], run: bool, stay: bool) {
        if is_deleting(self.set) {
            return;
        }
        let alive: Vec<&&Arc<Value>> = here.iter().filter(|pod| !is_deleting(pod)).collect();
        if run && here.is_empty() {
            self.step.push(CONTROLLER_MANAGER, patch::create(self.pod(name(node))));
        }
        let mut kept = false;
        for pod in alive {
            let finished = pods::is_finished(pod);
            if !stay || finished || kept {
                self.step.push(CONTROLLER_MANAGER, patch::delete(&POD, pod, None));
            } else {
                kept = true;
            }
        }
    }

    fn is_current(&self, pod: &Value) -> bool {
        label(pod, POD_REVISION) == Some(self.revision_hash())
    }

    /// `rollingUpdate` without a surge: old pods that are not available go at once, others while the limit allows.
    fn update(&mut self, nodes: &[Vec<&Arc<Value>>], status: &Status) {
        if self.set["spec"]["updateStrategy"]["type"] == "OnDelete" {
            return;
        }
        let bound = &self.set["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"];
        let desired = status.desired;
        let most = if bound.is_null() { 1 } else { scaled(bound, desired, true).unwrap_or(1) };
        let (mut unavailable, mut candidates, mut doomed) = (0, Vec::new(), Vec::new());
        for here in nodes {
            let alive: Vec<&&Arc<Value>> = here.iter().filter(|pod| !is_deleting(pod)).collect();
            match alive.as_slice() {
                [pod] => {
                    let available = status.is_available(self, pod);
                    match (self.is_current(pod), available) {
                        (true, true) => {}
                        (true, false) => unavailable += 1,
                        (false, false) => {
                            unavailable += 1;
                            doomed.push(Arc::clone(pod));
                        }
                        (false, true) => candidates.push(Arc::clone(pod)),
                    }
                }
                _ => unavailable += 1,
            }
        }
        let room = usize::try_from(most - unavailable).unwrap_or(0);
        doomed.extend(candidates.into_iter().take(room));
        for pod in doomed {
            self.step.push(CONTROLLER_MANAGER, patch::delete(&POD, &pod, None));
        }
    }

    fn truncate(&mut self, owned: &[Arc<Value>]) {
        let hashes: HashSet<&str> = owned.iter().filter_map(|pod| label(pod, POD_REVISION)).collect();
        let all = self.history.all.iter();
        let live =
            all.filter(|r| label(r, POD_REVISION).is_some_and(|hash| hashes.contains(hash))).map(|r| name(r)).collect();
        let limit = self.set["spec"]["revisionHistoryLimit"].as_i64().unwrap_or(10);
        self.history.truncate(limit, &live, self.step);
    }
}

#[derive(Default)]
struct Status {
    min_ready: i64,
    desired: i64,
    current: i64,
    misscheduled: i64,
    ready: i64,
    available: i64,
    updated: i64,
}

impl Status {
    fn is_available(&self, sync: &Sync<'_>, pod: &Value) -> bool {
        pods::available_at(pod, self.min_ready).is_some_and(|at| at <= sync.index.now)
    }

    fn count(&mut self, sync: &mut Sync<'_>, here: &[&Arc<Value>], run: bool) {
        if !run {
            self.misscheduled += i64::from(!here.is_empty());
            return;
        }
        self.desired += 1;
        // The oldest pod of a node speaks for it.
        let Some(pod) = here.iter().min_by_key(|pod| super::meta::created(pod)) else { return };
        self.current += 1;
        self.ready += i64::from(pods::is_ready(pod));
        self.available += i64::from(self.is_available(sync, pod));
        self.updated += i64::from(sync.is_current(pod));
        if let Some(at) = pods::available_at(pod, self.min_ready).filter(|at| *at > sync.index.now) {
            sync.step.wake(at);
        }
    }

    fn into_value(self, set: &Value) -> Value {
        let mut status = omit_empty(json!({
            "observedGeneration": generation(set), "updatedNumberScheduled": self.updated,
            "numberAvailable": self.available, "numberUnavailable": self.desired - self.available,
            "collisionCount": set["status"]["collisionCount"], "conditions": set["status"]["conditions"],
        }));
        patch::apply_merge(
            &mut status,
            &json!({
                "currentNumberScheduled": self.current, "desiredNumberScheduled": self.desired,
                "numberMisscheduled": self.misscheduled, "numberReady": self.ready,
            }),
        );
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::simulation::{Simulation, pod_template};

    fn agents(spec: &Value) -> Simulation {
        let mut cluster = Simulation::new();
        let mut set = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent"},
            "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": pod_template("agent:1")}});
        patch::apply_merge(&mut set, &json!({"spec": spec}));
        cluster.create(set);
        cluster.run(3000);
        cluster
    }

    fn status(cluster: &Simulation) -> Value {
        cluster.get(&DAEMON_SET, "agent").unwrap()["status"].clone()
    }

    #[test]
    fn one_on_every_node_and_updated_one_by_one() {
        let mut cluster = agents(&json!({}));
        assert_eq!(
            (&status(&cluster)["desiredNumberScheduled"], &status(&cluster)["numberReady"]),
            (&json!(3), &json!(3))
        );
        cluster.patch(&DAEMON_SET, "agent", json!({"spec": {"template": pod_template("agent:2")}}));
        cluster.run_watching(9000, |objects| {
            let pods = crate::cluster::view::View::list(objects, &POD, Some("shop"));
            assert!(pods.iter().filter(|pod| pods::is_ready(pod)).count() >= 2);
        });
        assert_eq!(
            (&status(&cluster)["updatedNumberScheduled"], &status(&cluster)["numberAvailable"]),
            (&json!(3), &json!(3))
        );
    }

    #[test]
    fn no_node_matches_and_nothing_is_missing() {
        let mut cluster = agents(&json!({"template": {"spec": {"nodeSelector": {"disk": "ssd"}}}}));
        assert_eq!(
            (&status(&cluster)["desiredNumberScheduled"], &status(&cluster)["observedGeneration"]),
            (&json!(0), &json!(1))
        );
        cluster.patch(&NODE, "node-2", json!({"metadata": {"labels": {"disk": "ssd"}}}));
        cluster.run(3000);
        assert_eq!(status(&cluster)["numberReady"], 1);
        assert_eq!(cluster.list(&POD)[0]["spec"]["nodeName"], "node-2");
    }

    #[test]
    fn on_delete_waits_for_a_hand() {
        let mut cluster = agents(&json!({"updateStrategy": {"type": "OnDelete"}}));
        cluster.patch(&DAEMON_SET, "agent", json!({"spec": {"template": pod_template("agent:2")}}));
        cluster.run(5000);
        assert!(status(&cluster)["updatedNumberScheduled"].is_null());
    }
}
