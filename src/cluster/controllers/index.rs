//! The view of one step, indexed once and shared by everything that runs in that step; and what is remembered from
//! step to step so that nothing is looked at twice: groups of kinds that have not changed, and objects about which
//! nothing is left to do.

use super::kind::POD;
use super::meta::{controller_uid, has_finalizer, is_deleting, items, namespace, uid};
use super::refusal::Refusals;
use super::selector::map_selects;
use crate::cluster::view::{Step, View};
use crate::object::Gk;
use jiff::Timestamp;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// Objects of one kind.
pub type Objects = Arc<Vec<Arc<Value>>>;
/// Objects by some text of theirs.
pub type Groups = Arc<HashMap<String, Vec<Arc<Value>>>>;

/// One kind: its objects, grouped as far as anybody has asked.
#[derive(Default)]
struct Kept {
    version: Option<u64>,
    list: Option<Objects>,
    by_controller: Option<Groups>,
    by_namespace: Option<Groups>,
    by_node: Option<Groups>,
    by_label: Option<Groups>,
    referencing: Option<Objects>,
}

/// What is left to do about an object, as it and the objects around it were: nothing, until a time.
struct Settled {
    inputs: Vec<Arc<Value>>,
    until: Option<Timestamp>,
}

/// Below so many settled objects nobody looks for those that are gone.
const FEW_SETTLED: usize = 1000;

/// What is kept between steps. Empty is always right, only slower.
#[derive(Default)]
pub struct Kinds {
    kinds: RefCell<HashMap<Gk, Kept>>,
    settled: RefCell<HashMap<(&'static str, String), Settled>>,
    /// How many settled objects there may be before those that are gone are looked for.
    tidy_above: usize,
}

impl Kinds {
    /// Forgets settled objects that nobody else holds: they are gone, or have changed.
    fn tidy(&mut self) {
        let settled = self.settled.get_mut();
        if settled.len() <= self.tidy_above.max(FEW_SETTLED) {
            return;
        }
        // Kinds keep lists of their own until they are asked again.
        self.kinds.get_mut().clear();
        settled.retain(|_, entry| entry.inputs.first().is_some_and(|subject| Arc::strong_count(subject) > 1));
        self.tidy_above = settled.len() * 2;
    }
}

/// A view with the time, and the lists that several controllers want.
pub struct Index<'a> {
    /// The time of this step.
    pub now: Timestamp,
    /// The objects.
    pub view: &'a dyn View,
    /// What was refused before.
    pub refusals: &'a Refusals,
    kept: Kinds,
}

impl<'a> Index<'a> {
    /// An index over a view at a time. Costs nothing until it is asked.
    pub fn new(view: &'a dyn View, refusals: &'a Refusals, now: Timestamp) -> Self {
        Self { now, view, refusals, kept: Kinds::default() }
    }

    /// The same with what earlier steps over the same store left. Kinds that the view does not count are read again.
    pub fn with(view: &'a dyn View, refusals: &'a Refusals, now: Timestamp, mut kept: Kinds) -> Self {
        kept.kinds.get_mut().retain(|_, kind| kind.version.is_some());
        kept.tidy();
        Self { now, view, refusals, kept }
    }

    /// What a later step over the same store can begin with.
    pub fn into_kept(self) -> Kinds {
        self.kept
    }

    /// All objects of a kind.
    pub fn all(&self, kind: &Gk) -> Objects {
        self.kept(kind, |kept| Arc::clone(kept.list.get_or_insert_with(|| Arc::new(self.view.list(kind, None)))))
    }

    /// One object.
    pub fn get(&self, kind: &Gk, namespace: Option<&str>, name: &str) -> Option<Arc<Value>> {
        self.view.get(kind, namespace, name)
    }

    /// Objects of a kind whose controller has this uid.
    pub fn owned(&self, kind: &Gk, owner_uid: &str) -> Vec<Arc<Value>> {
        self.by_controller(kind).get(owner_uid).cloned().unwrap_or_default()
    }

    /// Objects of a kind in a namespace that have no controller: candidates for adoption.
    pub fn orphans(&self, kind: &Gk, ns: Option<&str>) -> Vec<Arc<Value>> {
        let groups = self.by_controller(kind);
        groups.get("").into_iter().flatten().filter(|object| namespace(object) == ns).cloned().collect()
    }

    /// Objects of a kind in a namespace.
    pub fn within(&self, kind: &Gk, ns: &str) -> Vec<Arc<Value>> {
        let all = self.all(kind);
        let groups =
            self.kept(kind, |kept| Arc::clone(kept.by_namespace.get_or_insert_with(|| group(&all, namespace))));
        groups.get(ns).cloned().unwrap_or_default()
    }

    /// Objects of a kind that the garbage collector has to look at: those with owners, and those whose deletion waits
    /// for their dependents.
    pub fn referencing(&self, kind: &Gk) -> Objects {
        let all = self.all(kind);
        let concerns = |object: &Value| {
            !items(&object["metadata"]["ownerReferences"]).is_empty()
                || (is_deleting(object)
                    && (has_finalizer(object, "foregroundDeletion") || has_finalizer(object, "orphan")))
        };
        let find = || Arc::new(all.iter().filter(|object| concerns(object)).cloned().collect());
        self.kept(kind, |kept| Arc::clone(kept.referencing.get_or_insert_with(find)))
    }

    /// Pods of a namespace that a Service's selector (a plain map) selects.
    pub fn selected_pods(&self, space: &str, selector: &Value) -> Vec<Arc<Value>> {
        let all = self.all(&POD);
        let labels = self.kept(&POD, |kept| Arc::clone(kept.by_label.get_or_insert_with(|| group_by_label(&all))));
        // The pair that fewest pods have leaves the least to look at.
        let pairs = selector.as_object().into_iter().flatten();
        let candidates =
            pairs.map(|(key, value)| labels.get(&label_key(space, key, value)).map_or(&[][..], Vec::as_slice));
        let fewest = candidates.min_by_key(|pods| pods.len()).unwrap_or_default();
        fewest.iter().filter(|pod| map_selects(selector, &pod["metadata"]["labels"])).cloned().collect()
    }

    /// Pods by the node that they are bound to; those not bound under the empty name.
    pub fn pods_by_node(&self) -> Groups {
        let all = self.all(&POD);
        let find = || group(&all, |pod| pod["spec"]["nodeName"].as_str());
        self.kept(&POD, |kept| Arc::clone(kept.by_node.get_or_insert_with(find)))
    }

    /// Runs `sync` about `subject`, unless nothing was left to do about it before and neither it nor the `others` that
    /// `sync` reads have changed since, nor its time has come.
    pub fn unless_settled(
        &self,
        who: &'static str,
        subject: &Arc<Value>,
        others: impl IntoIterator<Item = Arc<Value>>,
        step: &mut Step,
        sync: impl FnOnce(&mut Step),
    ) {
        let mut inputs = vec![Arc::clone(subject)];
        inputs.extend(others);
        let key = (who, uid(subject).to_owned());
        if let Some(settled) = self.kept.settled.borrow().get(&key) {
            let same = settled.inputs.len() == inputs.len()
                && settled.inputs.iter().zip(&inputs).all(|(known, now)| Arc::ptr_eq(known, now));
            if same && settled.until.is_none_or(|until| self.now < until) {
                if let Some(until) = settled.until {
                    step.wake(until);
                }
                return;
            }
        }
        let mut own = Step::default();
        sync(&mut own);
        // What was refused may be reported in a status, and is tried again at a time that only the driver knows.
        if own.writes.is_empty() && self.refusals.is_empty() {
            self.kept.settled.borrow_mut().insert(key, Settled { inputs, until: own.wake_at });
        } else {
            self.kept.settled.borrow_mut().remove(&key);
        }
        step.append(own);
    }

    fn by_controller(&self, kind: &Gk) -> Groups {
        let all = self.all(kind);
        self.kept(kind, |kept| Arc::clone(kept.by_controller.get_or_insert_with(|| group(&all, controller_uid))))
    }

    /// What is kept of a kind, emptied if the kind has changed.
    fn kept<T>(&self, kind: &Gk, f: impl FnOnce(&mut Kept) -> T) -> T {
        let version = self.view.version(kind);
        let mut kinds = self.kept.kinds.borrow_mut();
        match kinds.get_mut(kind) {
            Some(kept) if kept.version == version => f(kept),
            _ => f(kinds.entry(kind.clone()).insert_entry(Kept { version, ..Kept::default() }).get_mut()),
        }
    }
}

fn label_key(space: &str, key: &str, value: &Value) -> String {
    [space, key, value.as_str().unwrap_or_default()].join("\0")
}

fn group_by_label(pods: &[Arc<Value>]) -> Groups {
    let mut labels: HashMap<String, Vec<Arc<Value>>> = HashMap::new();
    for pod in pods {
        let space = namespace(pod).unwrap_or_default();
        for (key, value) in pod["metadata"]["labels"].as_object().into_iter().flatten() {
            labels.entry(label_key(space, key, value)).or_default().push(Arc::clone(pod));
        }
    }
    Arc::new(labels)
}

fn group(objects: &[Arc<Value>], key: impl Fn(&Value) -> Option<&str>) -> Groups {
    let mut groups: HashMap<String, Vec<Arc<Value>>> = HashMap::new();
    for object in objects {
        let key = key(object).unwrap_or_default();
        match groups.get_mut(key) {
            Some(group) => group.push(Arc::clone(object)),
            None => {
                groups.insert(key.to_owned(), vec![Arc::clone(object)]);
            }
        }
    }
    Arc::new(groups)
}
