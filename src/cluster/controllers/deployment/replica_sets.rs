//! The ReplicaSets of one Deployment: which is the new one, and what each has.

use super::super::meta::{annotation, created, generation, int, name, same};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(super) const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MOST: &str = "deployment.kubernetes.io/max-replicas";
pub(super) const TEMPLATE_HASH: &str = "pod-template-hash";

/// A ReplicaSet; `replicas` follows what this step does to it.
pub(super) struct ReplicaSet {
    pub object: Arc<Value>,
    pub name: String,
    /// `spec.replicas`.
    pub replicas: i64,
    /// `status.replicas`.
    pub actual: i64,
    pub ready: i64,
    pub available: i64,
    pub terminating: i64,
}

impl ReplicaSet {
    fn new(object: Arc<Value>) -> Self {
        let status = &object["status"];
        Self {
            name: name(&object).to_owned(),
            replicas: object["spec"]["replicas"].as_i64().unwrap_or(1),
            actual: int(&status["replicas"]),
            ready: int(&status["readyReplicas"]),
            available: int(&status["availableReplicas"]),
            terminating: int(&status["terminatingReplicas"]),
            object,
        }
    }

    pub fn revision(&self) -> i64 {
        annotation(&self.object, REVISION).and_then(|r| r.parse().ok()).unwrap_or(0)
    }

    fn number(&self, key: &str) -> Option<i64> {
        annotation(&self.object, key).and_then(|n| n.parse().ok())
    }

    /// The Deployment's replicas when this set was last sized.
    pub fn desired(&self) -> Option<i64> {
        self.number(DESIRED)
    }

    /// The Deployment's replicas and surge when this set was last sized.
    pub fn most(&self) -> Option<i64> {
        self.number(MOST)
    }

    pub fn needs_size_annotations(&self, desired: i64, most: i64) -> bool {
        self.desired() != Some(desired) || self.most() != Some(most)
    }

    pub fn size_annotations(desired: i64, most: i64) -> Value {
        json!({DESIRED: desired.to_string(), MOST: most.to_string()})
    }

    /// True if it has no pods, wants none, and its status is about its spec.
    pub fn is_unused(&self) -> bool {
        self.actual == 0
            && self.replicas == 0
            && generation(&self.object) <= int(&self.object["status"]["observedGeneration"])
    }
}

/// All of them, oldest first, and which one has the Deployment's template.
pub(super) struct Sets {
    pub all: Vec<ReplicaSet>,
    pub new: Option<usize>,
}

impl Sets {
    pub fn new(owned: Vec<Arc<Value>>, template: &Value) -> Self {
        let mut all: Vec<ReplicaSet> = owned.into_iter().map(ReplicaSet::new).collect();
        all.sort_by(|a, b| created(&a.object).cmp(created(&b.object)).then_with(|| a.name.cmp(&b.name)));
        // The oldest one that fits (`FindNewReplicaSet`): a roll-back finds its ReplicaSet again.
        let new = all.iter().position(|set| same_template(&set.object["spec"]["template"], template));
        Self { all, new }
    }

    /// Positions of all but the new one, oldest first.
    pub fn old(&self) -> impl Iterator<Item = usize> + use<> {
        let new = self.new;
        (0..self.all.len()).filter(move |at| Some(*at) != new)
    }

    /// Positions of old sets that want pods.
    pub fn active_old(&self) -> Vec<usize> {
        self.old().filter(|at| self.all.get(*at).is_some_and(|set| set.replicas > 0)).collect()
    }

    pub fn newest(&self) -> Option<&ReplicaSet> {
        self.new.and_then(|at| self.all.get(at))
    }

    pub fn sum(&self, of: impl Fn(&ReplicaSet) -> i64) -> i64 {
        self.all.iter().map(of).sum()
    }
}

/// `EqualIgnoreHash`.
fn same_template(a: &Value, b: &Value) -> bool {
    let parts = |template: &Value| {
        let mut metadata = template["metadata"].clone();
        if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
            labels.shift_remove(TEMPLATE_HASH);
        }
        metadata
    };
    same(&a["spec"], &b["spec"]) && same(&parts(a), &parts(b))
}
