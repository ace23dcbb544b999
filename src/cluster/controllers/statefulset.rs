//! StatefulSets: pods with names that stay, made and replaced in order. Source: pkg/controller/statefulset.

use super::claim::claim;
use super::index::Index;
use super::kind::{PERSISTENT_VOLUME_CLAIM, POD, STATEFUL_SET};
use super::meta::{generation, int, is_deleting, items, label, name, namespace, omit_empty, text};
use super::revision::{self, History, POD_REVISION};
use super::{patch, pods};
use crate::cluster::view::{CONTROLLER_MANAGER, Step};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// One step for every StatefulSet.
pub fn run(index: &Index<'_>) -> Step {
    let mut step = Step::default();
    for set in index.all(&STATEFUL_SET).iter() {
        let owned = claim(index, &POD, &STATEFUL_SET, set, &set["spec"]["selector"], &mut step);
        if let Some(history) = revision::sync(index, &STATEFUL_SET, set, &mut step) {
            let mut sync = Sync::new(index, set, history, owned);
            sync.run();
            step.append(sync.step);
        }
    }
    step
}

struct Sync<'a> {
    index: &'a Index<'a>,
    set: &'a Value,
    history: History,
    /// The revision that pods below the partition are made from.
    current: Arc<Value>,
    pods: BTreeMap<i64, Arc<Value>>,
    start: i64,
    replicas: i64,
    min_ready: i64,
    monotonic: bool,
    step: Step,
}

impl<'a> Sync<'a> {
    fn new(index: &'a Index<'a>, set: &'a Value, history: History, owned: Vec<Arc<Value>>) -> Self {
        let prefix = format!("{}-", name(set));
        let ordinal = |pod: &Value| name(pod).strip_prefix(&prefix)?.parse::<i64>().ok();
        let current = history.get(text(&set["status"]["currentRevision"])).unwrap_or(&history.update);
        Self {
            index,
            set,
            current: Arc::clone(current),
            pods: owned.into_iter().filter_map(|pod| Some((ordinal(&pod)?, pod))).collect(),
            history,
            start: int(&set["spec"]["ordinals"]["start"]),
            replicas: set["spec"]["replicas"].as_i64().unwrap_or(1),
            min_ready: int(&set["spec"]["minReadySeconds"]),
            monotonic: set["spec"]["podManagementPolicy"] != "Parallel",
            step: Step::default(),
        }
    }

    fn run(&mut self) {
        let status = self.status();
        if !is_deleting(self.set) {
            if self.replace_or_create() && self.condemn() {
                self.update();
            }
            self.truncate();
        }
        if let Some(write) = patch::status(&STATEFUL_SET, self.set, &status) {
            self.step.push(CONTROLLER_MANAGER, write);
        }
    }

    fn partition(&self) -> i64 {
        int(&self.set["spec"]["updateStrategy"]["rollingUpdate"]["partition"])
    }

    fn is_rolling(&self) -> bool {
        self.set["spec"]["updateStrategy"]["type"] != "OnDelete"
    }

    fn is_ready(pod: &Value) -> bool {
        pods::phase(pod) == "Running" && pods::is_ready(pod)
    }

    fn is_available(&mut self, pod: &Value) -> bool {
        match pods::available_at(pod, self.min_ready).filter(|_| Self::is_ready(pod)) {
            Some(at) if at <= self.index.now => true,
            Some(at) => {
                self.step.wake(at);
                false
            }
            None => false,
        }
    }

    /// The wanted ordinals in order. False where something has to be waited for.
    fn replace_or_create(&mut self) -> bool {
        for ordinal in self.start..self.start.saturating_add(self.replicas) {
            let Some(pod) = self.pods.get(&ordinal).map(Arc::clone) else {
                self.create(ordinal);
                if self.monotonic {
                    return false;
                }
                continue;
            };
            if pods::is_finished(&pod) {
                if !is_deleting(&pod) {
                    self.step.push(CONTROLLER_MANAGER, patch::delete(&POD, &pod, None));
                }
                return false;
            }
            if pods::phase(&pod) == "Pending" {
                self.create_claims(name(&pod));
            }
            if self.monotonic && (is_deleting(&pod) || !self.is_available(&pod)) {
                return false;
            }
        }
        true
    }

    /// Pods beyond the wanted ones, highest first. False where something has to be waited for.
    fn condemn(&mut self) -> bool {
        let end = self.start.saturating_add(self.replicas);
        let wanted = self.start..end;
        let condemned: Vec<Arc<Value>> =
            self.pods.iter().rev().filter(|(o, _)| !wanted.contains(o)).map(|(_, pod)| Arc::clone(pod)).collect();
        let healthy = |pod: &Value| Self::is_ready(pod) && !is_deleting(pod);
        // Only the first unhealthy one may be deleted although it is unhealthy.
        let first_unhealthy = self.pods.values().find(|pod| !healthy(pod)).map(|pod| name(pod).to_owned());
        for pod in condemned {
            if is_deleting(&pod) {
                if self.monotonic {
                    return false;
                }
                continue;
            }
            if self.monotonic && !Self::is_ready(&pod) && first_unhealthy.as_deref() != Some(name(&pod)) {
                return false;
            }
            self.step.push(CONTROLLER_MANAGER, patch::delete(&POD, &pod, None));
            if self.monotonic {
                return false;
            }
        }
        true
    }

    /// `updateStatefulSetAfterInvariantEstablished`: one pod of an old revision, highest ordinal first, while no pod
    /// is unavailable.
    fn update(&mut self) {
        if !self.is_rolling() {
            return;
        }
        let end = self.start.saturating_add(self.replicas);
        let wanted: Vec<(i64, Arc<Value>)> =
            self.pods.range(self.start..end).map(|(o, pod)| (*o, Arc::clone(pod))).collect();
        let missing = self.replicas > i64::try_from(wanted.len()).unwrap_or(i64::MAX);
        let unavailable = wanted.iter().filter(|(_, pod)| is_deleting(pod) || !self.is_available(pod)).count();
        if missing || unavailable > 0 {
            return;
        }
        // The partition counts from the first replica, not from ordinal 0.
        let least = self.start.saturating_add(self.partition());
        let update = name(&self.history.update);
        let old = wanted.iter().rev().find(|(o, pod)| *o >= least && label(pod, POD_REVISION) != Some(update));
        if let Some((_, pod)) = old {
            self.step.push(CONTROLLER_MANAGER, patch::delete(&POD, pod, None));
        }
    }

    fn claim_name(template: &Value, pod: &str) -> String {
        format!("{}-{pod}", name(template))
    }

    fn create_claims(&mut self, pod: &str) {
        for template in items(&self.set["spec"]["volumeClaimTemplates"]) {
            let claim_name = Self::claim_name(template, pod);
            if self.index.get(&PERSISTENT_VOLUME_CLAIM, namespace(self.set), &claim_name).is_some() {
                continue;
            }
            let mut labels = template["metadata"]["labels"].clone();
            let selector = &self.set["spec"]["selector"]["matchLabels"];
            patch::apply_merge(&mut labels, if selector.is_object() { selector } else { &Value::Null });
            let mut metadata = Map::new();
            metadata.insert("name".to_owned(), json!(claim_name));
            metadata.insert("namespace".to_owned(), json!(namespace(self.set)));
            for (key, value) in [("labels", &labels), ("annotations", &template["metadata"]["annotations"])] {
                if !value.is_null() {
                    metadata.insert(key.to_owned(), value.clone());
                }
            }
            let object = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata,
                "spec": template["spec"]});
            self.step.push(CONTROLLER_MANAGER, patch::create(object));
        }
    }

    /// `newVersionedStatefulSetPod`.
    fn create(&mut self, ordinal: i64) {
        let below = self.is_rolling() && ordinal < self.start.saturating_add(self.partition());
        let revision = if below { &self.current } else { &self.history.update };
        let template = revision::template(revision);
        let pod_name = format!("{}-{ordinal}", name(self.set));
        let mut pod = pods::from_template(&STATEFUL_SET, self.set, &template);
        pods::set_metadata(&mut pod, "name", json!(pod_name));
        pods::set_metadata(&mut pod, "generateName", json!(format!("{}-", name(self.set))));
        pods::set_label(&mut pod, POD_REVISION, name(revision));
        pods::set_label(&mut pod, "statefulset.kubernetes.io/pod-name", &pod_name);
        pods::set_label(&mut pod, "apps.kubernetes.io/pod-index", &ordinal.to_string());
        let claims = items(&self.set["spec"]["volumeClaimTemplates"]);
        let replaced: HashSet<&str> = claims.iter().map(name).collect();
        let kept =
            items(&template["spec"]["volumes"]).iter().filter(|volume| !replaced.contains(text(&volume["name"])));
        let own = claims.iter().map(|claim| {
            json!({"name": name(claim), "persistentVolumeClaim": {"claimName": Self::claim_name(claim, &pod_name)}})
        });
        let volumes: Vec<Value> = own.chain(kept.cloned()).collect();
        let mut spec = json!({"hostname": pod_name});
        if let Some(map) = spec.as_object_mut() {
            let subdomain = text(&self.set["spec"]["serviceName"]);
            if !subdomain.is_empty() {
                map.insert("subdomain".to_owned(), json!(subdomain));
            }
            if !volumes.is_empty() {
                map.insert("volumes".to_owned(), Value::Array(volumes));
            }
        }
        patch::apply_merge(&mut pod, &json!({"spec": spec}));
        self.create_claims(&pod_name);
        self.step.push(CONTROLLER_MANAGER, patch::create(pod));
    }

    fn status(&mut self) -> Value {
        let pods: Vec<Arc<Value>> = self.pods.values().cloned().collect();
        let count = |wanted: &dyn Fn(&Value) -> bool| pods.iter().filter(|pod| wanted(pod)).count() as i64;
        let (current, update) = (name(&self.current).to_owned(), name(&self.history.update).to_owned());
        let of = |revision: &str| count(&|pod| !is_deleting(pod) && label(pod, POD_REVISION) == Some(revision));
        let (ready, updated) = (count(&Self::is_ready), of(&update));
        let total = count(&|_| true);
        let available = pods.iter().filter(|pod| self.is_available(pod)).count() as i64;
        let complete =
            self.is_rolling() && updated == self.replicas && ready == self.replicas && total == self.replicas;
        let (current_name, current_count) = if complete { (&update, updated) } else { (&current, of(&current)) };
        let mut status = omit_empty(json!({
            "observedGeneration": generation(self.set), "readyReplicas": ready, "currentReplicas": current_count,
            "updatedReplicas": updated, "currentRevision": current_name, "updateRevision": update,
            "conditions": self.set["status"]["conditions"],
        }));
        patch::apply_merge(
            &mut status,
            &json!({
                // None of these is omitted when it is 0.
                "replicas": total, "availableReplicas": available,
                "collisionCount": int(&self.set["status"]["collisionCount"]),
            }),
        );
        status
    }

    fn truncate(&mut self) {
        let mut live: HashSet<&str> = self.pods.values().filter_map(|pod| label(pod, POD_REVISION)).collect();
        live.insert(name(&self.current));
        let limit = self.set["spec"]["revisionHistoryLimit"].as_i64().unwrap_or(10);
        self.history.truncate(limit, &live, &mut self.step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::simulation::{Simulation, pod_template};

    fn database(spec: &Value) -> Simulation {
        let mut cluster = Simulation::new();
        let mut set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"},
            "spec": {"replicas": 3, "serviceName": "db", "selector": {"matchLabels": {"app": "web"}}, "template": pod_template("db:1")}});
        patch::apply_merge(&mut set, &json!({"spec": spec}));
        cluster.create(set);
        cluster
    }

    fn image(cluster: &mut Simulation, image: &str) {
        cluster.patch(&STATEFUL_SET, "db", json!({"spec": {"template": pod_template(image)}}));
    }

    fn images(cluster: &Simulation) -> Vec<String> {
        cluster.list(&POD).iter().map(|pod| text(&pod["spec"]["containers"][0]["image"]).to_owned()).collect()
    }

    #[test]
    fn pods_come_and_go_in_order() {
        let mut cluster = database(&json!({}));
        let mut most = 0;
        cluster.run_watching(5000, |objects| {
            let pods = crate::cluster::view::View::list(objects, &POD, Some("shop"));
            assert!(pods.iter().rev().skip(1).all(|pod| pods::is_ready(pod)), "one at a time");
            most = most.max(pods.len());
        });
        assert_eq!(most, 3);
        let set = cluster.get(&STATEFUL_SET, "db").unwrap();
        for field in ["replicas", "readyReplicas", "availableReplicas", "currentReplicas", "updatedReplicas"] {
            assert_eq!(set["status"][field], 3, "{field}");
        }
        assert_eq!(set["status"]["currentRevision"], set["status"]["updateRevision"]);
        cluster.patch(&STATEFUL_SET, "db", json!({"spec": {"replicas": 1}}));
        cluster.run(5000);
        assert_eq!(cluster.list(&POD).iter().map(|p| name(p).to_owned()).collect::<Vec<_>>(), ["db-0"]);
    }

    #[test]
    fn a_partition_holds_the_lower_ones_back() {
        let mut cluster =
            database(&json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}}));
        cluster.run(5000);
        image(&mut cluster, "db:2");
        cluster.run(5000);
        assert_eq!(images(&cluster), ["db:1", "db:1", "db:2"]);
        let status = cluster.get(&STATEFUL_SET, "db").unwrap()["status"].clone();
        assert_eq!((&status["currentReplicas"], &status["updatedReplicas"]), (&json!(2), &json!(1)));
        assert_ne!(status["currentRevision"], status["updateRevision"]);
        // A pod below the partition comes back as it was.
        cluster.delete(&POD, "db-0", "Background");
        cluster.run(5000);
        assert_eq!(images(&cluster), ["db:1", "db:1", "db:2"]);
        cluster.patch(&STATEFUL_SET, "db", json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}}));
        cluster.run(9000);
        assert_eq!(images(&cluster), ["db:2", "db:2", "db:2"]);
        let status = cluster.get(&STATEFUL_SET, "db").unwrap()["status"].clone();
        assert_eq!(status["currentRevision"], status["updateRevision"]);
    }

    #[test]
    fn on_delete_waits_for_a_hand() {
        let mut cluster = database(&json!({"updateStrategy": {"type": "OnDelete"}}));
        cluster.run(5000);
        image(&mut cluster, "db:2");
        cluster.run(5000);
        assert_eq!(images(&cluster), ["db:1"; 3]);
        cluster.delete(&POD, "db-1", "Background");
        cluster.run(5000);
        assert_eq!(images(&cluster), ["db:1", "db:2", "db:1"]);
    }

    #[test]
    fn each_pod_has_its_claims_and_they_stay() {
        let claim = json!([{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}}]);
        let mut cluster = database(&json!({"volumeClaimTemplates": claim, "replicas": 2}));
        cluster.run(9000);
        assert_eq!(cluster.get(&STATEFUL_SET, "db").unwrap()["status"]["readyReplicas"], 2);
        let claims = cluster.list(&PERSISTENT_VOLUME_CLAIM);
        assert_eq!(claims.iter().map(|c| name(c)).collect::<Vec<_>>(), ["data-db-0", "data-db-1"]);
        assert!(claims.iter().all(|c| c["status"]["phase"] == "Bound"));
        cluster.delete(&STATEFUL_SET, "db", "Background");
        cluster.run(5000);
        assert_eq!((cluster.list(&POD).len(), cluster.list(&PERSISTENT_VOLUME_CLAIM).len()), (0, 2));
    }
}
