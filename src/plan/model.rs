//! A cluster for the planner's tests: server-side apply in its essentials, as data. It answers dry-runs and carries out
//! graphs. What it knows of Kubernetes is what the tests need; the truth is tested against the real API server.

use super::adopt::migrate_managed_fields;
use super::body::owned_digest;
use super::diff::list_key;
use super::hook::HookObject;
use super::input::{Answers, MANAGER, PlanInput, PlanOptions, Sibling};
use super::owned::{entry_head, managed_fields, remove};
use super::planned::Planned;
use super::question::{Question, Verb, questions};
use super::step::StepKind;
use crate::inventory::{Identity, Parent};
use crate::live::kinds::{Kind, Kinds};
use crate::live::snapshot::{LiveSnapshot, Presence};
use crate::object::{Desired, DryRun, FieldSet, Gvk, Live, Manifest, ObjectKey, PathElement, Problem, Scalar, Source};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub const ID: &str = "applyset-ours";

/// The cluster, the app's inventory, and everything else that a plan is made from.
pub struct Model {
    pub objects: BTreeMap<ObjectKey, Value>,
    pub desired: Vec<Desired>,
    pub parent: Option<Parent>,
    pub options: PlanOptions,
    pub hooks: Vec<HookObject>,
    pub elsewhere: BTreeSet<crate::object::Gk>,
    pub scaled_elsewhere: BTreeSet<ObjectKey>,
    pub unhealthy: BTreeSet<ObjectKey>,
    pub foreign: BTreeMap<ObjectKey, Vec<ObjectKey>>,
    pub other_apps: BTreeMap<ObjectKey, String>,
    pub siblings: BTreeMap<String, Sibling>,
    /// Keys that cannot be looked up.
    pub unknown: BTreeSet<ObjectKey>,
    /// Answers that override the model's.
    pub answers: Answers,
    pub kinds: Kinds,
    /// Questions asked by the last plan.
    pub asked: Vec<Question>,
    uids: usize,
    pub writes: usize,
}

pub fn object(api: &str, kind: &str, namespace: Option<&str>, name: &str, rest: &Value) -> Value {
    let mut value = json!({"apiVersion": api, "kind": kind, "metadata": {"name": name}});
    if let Some(namespace) = namespace {
        value["metadata"]["namespace"] = json!(namespace);
    }
    merge(&mut value, rest);
    value
}

fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (name, value) in over {
                merge(base.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over.clone(),
    }
}

pub fn config_map(name: &str, value: &str) -> Value {
    object("v1", "ConfigMap", Some("shop"), name, &json!({"data": {"v": value}}))
}

pub fn deployment(name: &str, replicas: Option<i64>, image: &str) -> Value {
    let mut value = object(
        "apps/v1",
        "Deployment",
        Some("shop"),
        name,
        &json!({"spec": {"selector": {"matchLabels": {"app": name}}, "template": {"metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "main", "image": image}]}}}}),
    );
    if let Some(replicas) = replicas {
        value["spec"]["replicas"] = json!(replicas);
    }
    value
}

pub fn hpa(name: &str, target: &str) -> Value {
    object(
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        Some("shop"),
        name,
        &json!({"spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target}, "maxReplicas": 9}}),
    )
}

pub fn key_of(value: &Value) -> ObjectKey {
    Live(value.clone()).key()
}

impl Model {
    pub fn new() -> Self {
        let mut kinds = Kinds::default();
        for (api, kind, namespaced) in [
            ("v1", "ConfigMap", true),
            ("v1", "Secret", true),
            ("v1", "Service", true),
            ("v1", "ServiceAccount", true),
            ("v1", "PersistentVolumeClaim", true),
            ("v1", "ResourceQuota", true),
            ("v1", "Namespace", false),
            ("apps/v1", "Deployment", true),
            ("apps/v1", "StatefulSet", true),
            ("autoscaling/v2", "HorizontalPodAutoscaler", true),
            ("networking.k8s.io/v1", "Ingress", true),
            ("apiextensions.k8s.io/v1", "CustomResourceDefinition", false),
            ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", false),
        ] {
            let gvk = Gvk::from_api_version(api, kind);
            let versions = vec![gvk.version.clone()];
            let plural = format!("{}s", kind.to_lowercase());
            kinds.by_gk.insert(gvk.gk(), Kind { gvk, versions, plural, namespaced, listable: true });
        }
        let mut model = Self {
            objects: BTreeMap::new(),
            desired: Vec::new(),
            parent: None,
            options: PlanOptions::default(),
            hooks: Vec::new(),
            elsewhere: BTreeSet::new(),
            scaled_elsewhere: BTreeSet::new(),
            unhealthy: BTreeSet::new(),
            foreign: BTreeMap::new(),
            other_apps: BTreeMap::new(),
            siblings: BTreeMap::new(),
            unknown: BTreeSet::new(),
            answers: Answers::new(),
            kinds,
            asked: Vec::new(),
            uids: 0,
            writes: 0,
        };
        model.put(&object("v1", "Namespace", None, "shop", &json!({})), "kubelet");
        model.writes = 0;
        model
    }

    /// Sets what Git has, one file per object, in this order.
    pub fn git(&mut self, objects: &[Value]) -> &mut Self {
        let place = |i: usize| Source { file: format!("f{i}.yaml"), line: 1 };
        self.desired = objects
            .iter()
            .enumerate()
            .map(|(i, object)| Desired { object: object.clone(), source: place(i) })
            .collect();
        self
    }

    /// Creates or overwrites an object as `manager` by an update.
    pub fn put(&mut self, value: &Value, manager: &str) {
        let key = key_of(value);
        let mut value = value.clone();
        default(&mut value);
        let (uid, before) = match self.objects.get(&key) {
            Some(old) => (old["metadata"]["uid"].clone(), managed_fields(old).to_vec()),
            None => (json!(self.next_uid()), Vec::new()),
        };
        let set = fields_of(&value);
        let mut entries: Vec<Value> = before
            .into_iter()
            .filter(|entry| entry_head(entry).0 != manager)
            .filter_map(|entry| without(&entry, &set))
            .collect();
        entries.push(entry(manager, "Update", &value, &set));
        value["metadata"]["uid"] = uid;
        value["metadata"]["resourceVersion"] = json!(self.writes.to_string());
        value["metadata"]["managedFields"] = Value::Array(entries);
        self.objects.insert(key, value);
    }

    /// Changes one field by hand.
    pub fn edit(&mut self, key: &ObjectKey, pointer: &str, to: Value) {
        let object = self.objects.get_mut(key).unwrap();
        *object.pointer_mut(pointer).unwrap() = to;
        let path: Vec<PathElement> =
            pointer.split('/').skip(1).map(|name| PathElement::Field(name.replace("~1", "/"))).collect();
        let mut set = FieldSet::default();
        set.insert(&path);
        let mut entries: Vec<Value> = managed_fields(object).iter().filter_map(|entry| without(entry, &set)).collect();
        entries.push(entry("kubectl-edit", "Update", object, &set));
        object["metadata"]["managedFields"] = Value::Array(entries);
    }

    fn next_uid(&mut self) -> String {
        self.uids += 1;
        format!("uid-{:04}", self.uids)
    }

    fn snapshot(&self) -> LiveSnapshot {
        let mut out = LiveSnapshot::default();
        for desired in &self.desired {
            out.objects.insert(desired.key(), Presence::Absent);
            if let Some(namespace) = desired.namespace() {
                out.objects.insert(super::analysis::namespace_key(namespace), Presence::Absent);
            }
        }
        for member in self.parent.iter().flat_map(|parent| &parent.members) {
            out.objects.insert(member.object.key(), Presence::Absent);
        }
        for (key, value) in &self.objects {
            out.objects.insert(key.clone(), Presence::Present(Arc::new(Live(value.clone()))));
        }
        for key in &self.unknown {
            out.objects.insert(key.clone(), Presence::Unknown(Problem::new("Forbidden", "no")));
        }
        out
    }

    /// Plans, answering every question.
    pub fn plan(&mut self) -> Planned {
        let snapshot = self.snapshot();
        let mut answers = self.answers.clone();
        self.asked.clear();
        for round in 0.. {
            assert!(round < 6, "questions must end");
            let asked = questions(&self.input(&snapshot, &answers));
            if asked.is_empty() {
                break;
            }
            for question in asked {
                let answer = self.answer(&question);
                let old = answers.insert((question.key.clone(), question.asked), answer);
                assert!(old.is_none(), "asked twice: {question:?}");
                self.asked.push(question);
            }
        }
        super::planner::plan(&self.input(&snapshot, &answers))
    }

    fn input<'a>(&'a self, snapshot: &'a LiveSnapshot, answers: &'a Answers) -> PlanInput<'a> {
        PlanInput {
            app: "web",
            cluster: "dev",
            revision: "r1",
            desired: &self.desired,
            kinds: &self.kinds,
            snapshot,
            parent: self.parent.as_ref(),
            applyset_id: ID,
            other_apps: &self.other_apps,
            siblings: &self.siblings,
            defined_elsewhere: &self.elsewhere,
            scaled_elsewhere: &self.scaled_elsewhere,
            secret_key: b"key",
            dry_runs: answers,
            unhealthy: &self.unhealthy,
            foreign: &self.foreign,
            options: &self.options,
            hooks: &self.hooks,
            hooks_due: !self.hooks.is_empty(),
            hooks_done: &[],
        }
    }

    fn answer(&self, question: &Question) -> Result<DryRun, Problem> {
        let live = self.objects.get(&question.key);
        match question.verb {
            Verb::Apply { .. } => Ok(DryRun(applied(live, &question.body.0, MANAGER))),
            Verb::Update => {
                let mut out = question.body.0.clone();
                default(&mut out);
                Ok(DryRun(out))
            }
            Verb::Create if live.is_some() => Err(Problem::new("AlreadyExists", "exists")),
            Verb::Create => Ok(DryRun(question.body.0.clone())),
        }
    }

    /// Carries a plan out and remembers what the caller would.
    pub fn carry_out(&mut self, planned: &Planned) {
        let mut members = planned.members.clone();
        for step in planned.graph.steps.clone() {
            let Some(reference) = &step.object else { continue };
            let key = reference.key();
            match &step.kind {
                StepKind::AwaitGone { .. } => drop(self.objects.remove(&key)),
                StepKind::Gate { .. } | StepKind::Hook { .. } => continue,
                StepKind::Migrate { managers, .. } => {
                    let live = Live(self.objects[&key].clone());
                    let patch = migrate_managed_fields(&live, managers).unwrap();
                    self.objects.get_mut(&key).unwrap()["metadata"]["managedFields"] = patch[0]["value"].clone();
                }
                StepKind::Handover { body } => self.write(&key, &body.0, super::input::HANDOVER_MANAGER),
                StepKind::Apply { body, .. } => self.write(&key, &body.0, MANAGER),
                StepKind::Replace { body, uid } => {
                    assert_eq!(self.objects[&key]["metadata"]["uid"], json!(uid));
                    self.objects.remove(&key);
                    self.write(&key, &body.0, MANAGER);
                }
                StepKind::Delete { uid } => {
                    assert_eq!(self.objects[&key]["metadata"]["uid"], json!(uid));
                    self.objects.remove(&key);
                    members.retain(|member| member.object.key() != key);
                }
            }
            self.writes += 1;
        }
        for member in &mut members {
            let key = member.object.key();
            if let (Some(digest), Some(live)) = (planned.desired.get(&key), self.objects.get(&key)) {
                let live = Live(live.clone());
                member.uid = live.uid().map(str::to_owned);
                member.desired = Some(digest.clone());
                member.owned = Some(owned_digest(&live, &key, b"key"));
            }
        }
        let parent = self.parent.get_or_insert_with(empty_parent);
        parent.members = members;
    }

    /// Plans and carries out.
    pub fn sync(&mut self) -> Planned {
        let planned = self.plan();
        self.carry_out(&planned);
        planned
    }

    fn write(&mut self, key: &ObjectKey, body: &Value, manager: &str) {
        let mut out = applied(self.objects.get(key), body, manager);
        if out["metadata"].get("uid").is_none() {
            out["metadata"]["uid"] = json!(self.next_uid());
        }
        out["metadata"]["resourceVersion"] = json!((self.writes + 1).to_string());
        self.objects.insert(key.clone(), out);
    }
}

pub fn empty_parent() -> Parent {
    let text = String::new;
    Parent {
        identity: Identity { instance: text(), repository: text(), path_root: text(), app: "web".into() },
        namespace: "shop".into(),
        path: None,
        members: Vec::new(),
        digest: None,
        revision: None,
        hold: None,
        suspended: false,
        syncs: Vec::new(),
        approvals: Vec::new(),
        hooks: Vec::new(),
        delete_hooks: Vec::new(),
        reviews: Vec::new(),
    }
}

fn entry(manager: &str, operation: &str, value: &Value, set: &FieldSet) -> Value {
    json!({"manager": manager, "operation": operation, "apiVersion": value["apiVersion"], "fieldsType": "FieldsV1",
        "fieldsV1": set.to_fields_v1()})
}

fn without(entry: &Value, set: &FieldSet) -> Option<Value> {
    let rest = FieldSet::parse(&entry["fieldsV1"]).difference(set);
    let mut out = entry.clone();
    out["fieldsV1"] = rest.to_fields_v1();
    (!rest.is_empty()).then_some(out)
}

/// Server-side apply with force.
fn applied(live: Option<&Value>, body: &Value, manager: &str) -> Value {
    let set = fields_of(body);
    let Some(live) = live else {
        let mut out = body.clone();
        default(&mut out);
        out["metadata"]["managedFields"] = json!([entry(manager, "Apply", body, &set)]);
        return out;
    };
    let is_ours = |entry: &&Value| entry_head(entry) == (manager, "Apply", true);
    let parse = |entry: &Value| FieldSet::parse(&entry["fieldsV1"]);
    let join = |set: FieldSet, entry: &Value| set.union(&parse(entry));
    let before = managed_fields(live).iter().filter(is_ours).fold(FieldSet::default(), join);
    let others = managed_fields(live).iter().filter(|e| !is_ours(e)).fold(FieldSet::default(), join);
    let mut out = live.clone();
    remove(&before.difference(&set), &set.union(&others), &mut out);
    lay_over(&mut out, body);
    default(&mut out);
    // Who holds a field at another value loses it.
    let (old, new) = (set.project(live), set.project(&out));
    let changed = set.paths().into_iter().filter(|path| old.get(path.to_string()) != new.get(path.to_string()));
    let mut lost = FieldSet::default();
    changed.for_each(|path| lost.insert(&path.0));
    let mut entries: Vec<Value> =
        managed_fields(live).iter().filter(|e| !is_ours(e)).filter_map(|entry| without(entry, &lost)).collect();
    entries.push(entry(manager, "Apply", body, &set));
    out["metadata"]["managedFields"] = Value::Array(entries);
    out
}

fn lay_over(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (name, value) in over {
                match base.get_mut(name) {
                    Some(slot) => lay_over(slot, value),
                    None => drop(base.insert(name.clone(), value.clone())),
                }
            }
        }
        (Value::Array(base), Value::Array(over)) if list_key(base, over).is_some() => {
            let names = list_key(base, over).unwrap();
            for item in over {
                match base.iter_mut().find(|other| names.iter().all(|name| other.get(name) == item.get(name))) {
                    Some(slot) => lay_over(slot, item),
                    None => base.push(item.clone()),
                }
            }
        }
        (base, over) => base.clone_from(over),
    }
}

fn default(value: &mut Value) {
    if value["kind"] == json!("Deployment") {
        let spec = value["spec"].as_object_mut().unwrap();
        spec.entry("replicas").or_insert(json!(1));
        spec.entry("progressDeadlineSeconds").or_insert(json!(600));
    }
}

/// The fields of an apply.
pub fn fields_of(value: &Value) -> FieldSet {
    let mut copy = value.clone();
    let map = copy.as_object_mut().unwrap();
    map.shift_remove("apiVersion");
    map.shift_remove("kind");
    map.shift_remove("status");
    if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|name, _| name == "labels" || name == "annotations");
        if metadata.is_empty() {
            map.shift_remove("metadata");
        }
    }
    let mut set = tree(&copy);
    set.member = false;
    set
}

fn tree(value: &Value) -> FieldSet {
    let mut out = FieldSet::default();
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.children = map.iter().map(|(name, child)| (PathElement::Field(name.clone()), tree(child))).collect();
        }
        Value::Array(items) if list_key(items, items).is_some() => {
            let names = list_key(items, items).unwrap();
            for item in items {
                let keys = names.iter().map(|n| ((*n).to_owned(), Scalar::from(item.get(n).unwrap_or(&Value::Null))));
                let mut child = tree(item);
                child.member = true;
                out.children.insert(PathElement::Key(keys.collect()), child);
            }
        }
        _ => out.member = true,
    }
    out
}
