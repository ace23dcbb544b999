//! A cluster in memory and virtual time, for the tests of the simulated components: a store with the rules of the API
//! server that they rely on, and nothing else (no defaulting, no validation).

use super::control::{Control, Options, Store};
use super::controllers::kind::{self, POD};
use super::controllers::meta::{
    after_millis, gk, has_finalizer, int, is_deleting, items, name, namespace, same, stamp, text, uid,
};
use super::controllers::patch::{apply_merge, merge_diff};
use super::controllers::pods;
use super::view::{Refusal, View, Write};
use crate::object::Gk;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

type Key = (Gk, Option<String>, String);

/// The stored objects.
#[derive(Default)]
pub struct Objects {
    objects: RefCell<BTreeMap<Key, Arc<Value>>>,
    versions: RefCell<HashMap<Gk, u64>>,
    counter: Cell<u64>,
    /// At most so many pods in all: what a quota does.
    pub most_pods: Cell<usize>,
    /// How often anything was read.
    pub reads: Cell<usize>,
    /// The fewest available and the most living pods of `shop` after any single write, once a test has set them.
    pub extremes: Cell<Option<(i64, i64)>>,
    /// Every write that was carried out.
    pub log: RefCell<Vec<(&'static str, Write)>>,
}

impl View for Objects {
    fn get(&self, gk: &Gk, namespace: Option<&str>, name: &str) -> Option<Arc<Value>> {
        self.reads.set(self.reads.get() + 1);
        self.objects.borrow().get(&(gk.clone(), namespace.map(str::to_owned), name.to_owned())).cloned()
    }

    fn list(&self, gk: &Gk, namespace: Option<&str>) -> Vec<Arc<Value>> {
        self.reads.set(self.reads.get() + 1);
        let from = (gk.clone(), None, String::new());
        let objects = self.objects.borrow();
        let same_kind = objects.range(from..).take_while(|((kind, ..), _)| kind == gk);
        let wanted = same_kind.filter(|((_, space, _), _)| namespace.is_none() || space.as_deref() == namespace);
        wanted.map(|(_, object)| Arc::clone(object)).collect()
    }

    fn kinds(&self) -> Vec<Gk> {
        let mut kinds: Vec<Gk> = self.objects.borrow().keys().map(|(kind, ..)| kind.clone()).collect();
        kinds.dedup();
        kinds
    }

    fn version(&self, gk: &Gk) -> Option<u64> {
        Some(self.versions.borrow().get(gk).copied().unwrap_or(0))
    }
}

fn refuse(code: u16, reason: &str, message: String) -> Refusal {
    Refusal { code, reason: reason.to_owned(), message }
}

impl Objects {
    fn next(&self) -> u64 {
        self.counter.set(self.counter.get() + 1);
        self.counter.get()
    }

    fn key(object: &Value) -> Key {
        (gk(object), namespace(object).map(str::to_owned), name(object).to_owned())
    }

    fn put(&self, mut object: Value) {
        let version = self.next();
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        self.versions.borrow_mut().insert(gk(&object), version);
        let finalizers = items(&object["metadata"]["finalizers"]).len() + items(&object["spec"]["finalizers"]).len();
        let key = Self::key(&object);
        let graceful = key.0 == *POD && int(&object["metadata"]["deletionGracePeriodSeconds"]) > 0;
        if is_deleting(&object) && finalizers == 0 && !graceful {
            self.objects.borrow_mut().remove(&key);
        } else {
            self.objects.borrow_mut().insert(key, Arc::new(object));
        }
    }

    fn create(&self, object: &Value, now: Timestamp) -> Result<String, Refusal> {
        let mut object = object.clone();
        let number = self.next();
        if name(&object).is_empty() {
            let generated = format!("{}{number:05}", text(&object["metadata"]["generateName"]));
            object["metadata"]["name"] = json!(generated);
        }
        let key = Self::key(&object);
        if self.objects.borrow().contains_key(&key) {
            return Err(refuse(409, "AlreadyExists", format!("\"{}\" already exists", key.2)));
        }
        if let Some(space) = &key.1 {
            let home = self.get(&kind::NAMESPACE, None, space);
            if home.is_none_or(|home| is_deleting(&home)) {
                return Err(refuse(403, "Forbidden", format!("namespace {space} is not there to stay")));
            }
        }
        if key.0 == *POD && self.list(&POD, None).len() >= self.most_pods.get() {
            return Err(refuse(403, "Forbidden", "pods \"web-\" is forbidden: exceeded quota: small".to_owned()));
        }
        let metadata = &mut object["metadata"];
        metadata["uid"] = json!(format!("uid-{number}"));
        metadata["creationTimestamp"] = json!(stamp(now));
        metadata["generation"] = json!(1);
        let made = name(&object).to_owned();
        self.put(object);
        Ok(made)
    }

    /// Replaces an object: a new generation where the spec has changed.
    fn replace(&self, old: &Value, mut new: Value) {
        if !same(&old["spec"], &new["spec"]) && gk(old) != *kind::NAMESPACE {
            new["metadata"]["generation"] = json!(int(&old["metadata"]["generation"]) + 1);
        }
        if merge_diff(old, &new).is_some() {
            self.put(new);
        }
    }

    fn find(&self, gk: &Gk, space: Option<&str>, name: &str) -> Result<Arc<Value>, Refusal> {
        self.get(gk, space, name).ok_or_else(|| refuse(404, "NotFound", format!("{gk} \"{name}\" not found")))
    }

    fn patch(&self, old: &Value, patch: &Value, subresource: Option<&str>) -> Result<(), Refusal> {
        for field in ["uid", "resourceVersion"] {
            let wanted = &patch["metadata"][field];
            if !wanted.is_null() && *wanted != old["metadata"][field] {
                return Err(refuse(409, "Conflict", format!("Precondition failed: {field} of {}", name(old))));
            }
        }
        let mut new = old.clone();
        apply_merge(&mut new, patch);
        match subresource {
            Some("status") => new["spec"] = old["spec"].clone(),
            _ if !old["status"].is_null() || !new["status"].is_null() => new["status"] = old["status"].clone(),
            _ => {}
        }
        self.replace(old, new);
        Ok(())
    }

    fn delete(&self, old: &Value, propagation: Option<&str>, grace: Option<i64>, now: Timestamp) {
        let mut new = old.clone();
        let bound = !text(&old["spec"]["nodeName"]).is_empty() && !pods::is_finished(old);
        let default = if gk(old) == *POD && bound {
            old["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30)
        } else {
            0
        };
        let grace = grace.unwrap_or(default);
        if !is_deleting(old) || grace == 0 {
            new["metadata"]["deletionTimestamp"] = json!(stamp(after_millis(now, grace * 1000)));
            new["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        }
        let finalizer = match propagation {
            Some("Foreground") => Some("foregroundDeletion"),
            Some("Orphan") => Some("orphan"),
            _ => None,
        };
        if let Some(finalizer) = finalizer.filter(|f| !has_finalizer(old, f)) {
            let mut finalizers = items(&old["metadata"]["finalizers"]).to_vec();
            finalizers.push(json!(finalizer));
            new["metadata"]["finalizers"] = json!(finalizers);
        }
        if new != *old {
            self.put(new);
        }
    }
}

impl Store for Objects {
    fn write(&self, actor: &'static str, write: &Write, now: Timestamp) -> Result<String, Refusal> {
        let mut made = String::new();
        match write {
            Write::Create { object } => made = self.create(object, now)?,
            Write::Update { object } | Write::UpdateStatus { object } => {
                let old = self.find(&gk(object), namespace(object), name(object))?;
                let status = matches!(write, Write::UpdateStatus { .. });
                let diff = merge_diff(&old, object).unwrap_or(json!({}));
                self.patch(&old, &diff, status.then_some("status"))?;
            }
            Write::MergePatch { gk, namespace, name, patch, subresource } => {
                let old = self.find(gk, namespace.as_deref(), name)?;
                self.patch(&old, patch, subresource.as_deref())?;
            }
            Write::Delete { gk, namespace, name, uid: wanted, propagation, grace_seconds } => {
                let old = self.find(gk, namespace.as_deref(), name)?;
                if wanted.as_deref().is_some_and(|wanted| wanted != uid(&old)) {
                    return Err(refuse(409, "Conflict", "Precondition failed: uid".to_owned()));
                }
                self.delete(&old, propagation.as_deref(), *grace_seconds, now);
            }
            Write::Bind { namespace, pod, node } => {
                let old = self.find(&POD, Some(namespace), pod)?;
                let mut new = (*old).clone();
                new["spec"]["nodeName"] = json!(node);
                new["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "True",
                    "lastTransitionTime": stamp(now)}]);
                self.put(new);
            }
        }
        self.log.borrow_mut().push((actor, write.clone()));
        if let Some((fewest, most)) = self.extremes.get() {
            let living: Vec<_> = self.list(&POD, Some("shop")).into_iter().filter(|pod| !is_deleting(pod)).collect();
            let available = living.iter().filter(|pod| pods::is_ready(pod)).count() as i64;
            self.extremes.set(Some((fewest.min(available), most.max(living.len() as i64))));
        }
        Ok(made)
    }
}

/// A cluster: objects, components, a clock that only moves when told to.
pub struct Simulation {
    pub objects: Objects,
    pub control: Control,
    pub now: Timestamp,
    wake_at: Option<Timestamp>,
}

impl Simulation {
    /// Three nodes of 4 cores, bootstrapped and settled, with a namespace `shop`.
    pub fn new() -> Self {
        let options = Options::default();
        let control = Control::new(options);
        let objects = Objects::default();
        objects.most_pods.set(usize::MAX);
        let now = "2026-01-01T00:00:00.5Z".parse().unwrap();
        for (actor, write) in control.bootstrap() {
            objects.write(actor, &write, now).unwrap();
        }
        let mut simulation = Self { objects, control, now, wake_at: None };
        simulation.create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"},
            "spec": {"finalizers": ["kubernetes"]}}));
        simulation.settle();
        simulation
    }

    /// Creates an object as a user.
    pub fn create(&mut self, mut object: Value) {
        if namespace(&object).is_none()
            && !matches!(text(&object["kind"]), "Namespace" | "Node" | "StorageClass" | "PersistentVolume")
        {
            object["metadata"]["namespace"] = json!("shop");
        }
        self.objects.write("user", &Write::Create { object }, self.now).unwrap();
    }

    /// Merges a patch into an object of `shop` as a user.
    pub fn patch(&mut self, kind: &Gk, name: &str, patch: Value) {
        let namespace =
            if self.objects.get(kind, Some("shop"), name).is_some() { Some("shop".to_owned()) } else { None };
        let write = Write::MergePatch { gk: kind.clone(), namespace, name: name.to_owned(), patch, subresource: None };
        self.objects.write("user", &write, self.now).unwrap();
    }

    /// Deletes an object of `shop` (or one without a namespace) as a user.
    pub fn delete(&mut self, kind: &Gk, name: &str, propagation: &str) {
        let namespace =
            if self.objects.get(kind, Some("shop"), name).is_some() { Some("shop".to_owned()) } else { None };
        let write = Write::Delete {
            gk: kind.clone(),
            namespace,
            name: name.to_owned(),
            uid: None,
            propagation: Some(propagation.to_owned()),
            grace_seconds: None,
        };
        self.objects.write("user", &write, self.now).unwrap();
    }

    /// Runs everything that can be done now; afterwards nothing more is asked for.
    pub fn settle(&mut self) {
        self.wake_at = self.control.settle(&self.objects, self.now);
        let mut again = self.control.step_all(&self.objects, self.now).writes;
        // Old Events are looked for from time to time only.
        again.retain(|(actor, _)| *actor != super::view::API_SERVER);
        assert_eq!(again, [], "no fixpoint");
    }

    /// Lets time pass, stopping at each moment at which something is due.
    pub fn run(&mut self, millis: i64) {
        self.run_watching(millis, |_| ());
    }

    /// The same, looking at the cluster at each of those moments.
    pub fn run_watching(&mut self, millis: i64, mut look: impl FnMut(&Objects)) {
        let end = after_millis(self.now, millis);
        self.settle();
        look(&self.objects);
        while let Some(next) = self.wake_at.filter(|at| *at <= end) {
            assert!(next > self.now, "woken for the past");
            self.now = next;
            self.settle();
            look(&self.objects);
        }
        self.now = end;
        self.settle();
        look(&self.objects);
    }

    /// An object of `shop`, or one without a namespace.
    pub fn get(&self, kind: &Gk, name: &str) -> Option<Arc<Value>> {
        self.objects.get(kind, Some("shop"), name).or_else(|| self.objects.get(kind, None, name))
    }

    /// Objects of a kind in `shop`.
    pub fn list(&self, kind: &Gk) -> Vec<Arc<Value>> {
        self.objects.list(kind, Some("shop"))
    }

    /// `reason` of a condition.
    pub fn reason(&self, kind: &Gk, name: &str, condition: &str) -> String {
        let object = self.get(kind, name).unwrap_or_default();
        let found = items(&object["status"]["conditions"]).iter().find(|c| c["type"] == condition);
        found.map_or_else(String::new, |c| text(&c["reason"]).to_owned())
    }
}

/// A Deployment `web` in `shop`.
pub fn deployment(replicas: i64, surge: &Value, unavailable: &Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "progressDeadlineSeconds": 60,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}},
            "template": pod_template("web:1")}})
}

/// A template of pods labelled `app=web`.
pub fn pod_template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": image,
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}}]}})
}
