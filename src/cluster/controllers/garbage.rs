//! The garbage collector: objects whose owners are gone go too; foreground and orphaning deletions are completed.
//! Source: pkg/controller/garbagecollector (`attemptToDeleteItem`, `processDeletingDependentsItem`, `attemptToOrphan`).

use super::index::{Index, Objects};
use super::kind::EVENT;
use super::meta::{finalizers_without, has_finalizer, is_deleting, items, namespace, text, uid};
use super::patch;
use crate::cluster::view::{CONTROLLER_MANAGER, Step};
use crate::object::{Gk, Gvk};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// An object and its kind.
type Item<'a> = (&'a Gk, &'a Arc<Value>);

/// One step for every object.
pub fn run(index: &Index<'_>) -> Step {
    let mut step = Step::default();
    // Nothing owns Events, and there are more of them than of anything else.
    let kinds = index.view.kinds().into_iter().filter(|kind| *kind != *EVENT);
    let lists: Vec<(Gk, Objects)> = kinds.map(|kind| (kind.clone(), index.referencing(&kind))).collect();
    let all = || lists.iter().flat_map(|(kind, objects)| objects.iter().map(move |object| (kind, object)));
    let mut dependents: HashMap<&str, Vec<Item<'_>>> = HashMap::new();
    for (kind, object) in all() {
        for owner in items(&object["metadata"]["ownerReferences"]) {
            dependents.entry(text(&owner["uid"])).or_default().push((kind, object));
        }
    }
    for (kind, owner) in all().filter(|(_, object)| is_deleting(object)) {
        if has_finalizer(owner, FOREGROUND) || has_finalizer(owner, ORPHAN) {
            let owned = dependents.get(uid(owner)).map_or(&[][..], Vec::as_slice);
            complete(kind, owner, owned, &mut step);
        }
    }
    let mut collector = Collector { index, dependents: &dependents, owners: HashMap::new(), step: &mut step };
    for (kind, object) in all() {
        collector.judge(kind, object);
    }
    step
}

/// Ends a foreground or orphaning deletion once its condition holds.
fn complete(kind: &Gk, owner: &Value, owned: &[Item<'_>], step: &mut Step) {
    if has_finalizer(owner, ORPHAN) {
        for (dependent_kind, dependent) in owned {
            let others = items(&dependent["metadata"]["ownerReferences"]).iter().filter(|o| o["uid"] != uid(owner));
            step.push(CONTROLLER_MANAGER, patch::owners(dependent_kind, dependent, others.cloned().collect()));
        }
        if owned.is_empty() {
            step.push(CONTROLLER_MANAGER, patch::finalizers(kind, owner, &finalizers_without(owner, ORPHAN)));
        }
        return;
    }
    let blocked = owned.iter().any(|(_, dependent)| {
        items(&dependent["metadata"]["ownerReferences"])
            .iter()
            .any(|o| o["uid"] == uid(owner) && o["blockOwnerDeletion"] == true)
    });
    if !blocked {
        step.push(CONTROLLER_MANAGER, patch::finalizers(kind, owner, &finalizers_without(owner, FOREGROUND)));
    }
}

/// What an owner reference points to.
#[derive(Clone, Copy, PartialEq)]
enum Owner {
    /// It is there.
    Solid,
    /// It is gone.
    Dangling,
    /// It waits for its dependents to go.
    Waiting,
}

struct Collector<'a, 'i> {
    index: &'a Index<'i>,
    dependents: &'a HashMap<&'a str, Vec<Item<'a>>>,
    owners: HashMap<&'a str, Owner>,
    step: &'a mut Step,
}

impl<'a> Collector<'a, '_> {
    fn judge(&mut self, kind: &Gk, object: &'a Value) {
        // A deletion that is under way needs no other, except that it may become a foreground one: the owner above
        // waits for it either way.
        if is_deleting(object) {
            return;
        }
        let references = items(&object["metadata"]["ownerReferences"]);
        let judged: Vec<(&Value, Owner)> = references.iter().map(|o| (o, self.owner(namespace(object), o))).collect();
        let of = |wanted: Owner| judged.iter().filter(move |(_, owner)| *owner == wanted).count();
        if of(Owner::Solid) == judged.len() {
            return;
        }
        if of(Owner::Solid) > 0 {
            let solid = judged.iter().filter(|(_, owner)| *owner == Owner::Solid).map(|(o, _)| (*o).clone());
            self.step.push(CONTROLLER_MANAGER, patch::owners(kind, object, solid.collect()));
            return;
        }
        let has_dependents = self.dependents.contains_key(uid(object));
        let propagation = if has_finalizer(object, ORPHAN) {
            "Orphan"
        } else if has_finalizer(object, FOREGROUND) || (of(Owner::Waiting) > 0 && has_dependents) {
            "Foreground"
        } else {
            "Background"
        };
        self.step.push(CONTROLLER_MANAGER, patch::delete(kind, object, Some(propagation)));
    }

    /// An owner is of the same namespace, or of none.
    fn owner(&mut self, space: Option<&str>, reference: &'a Value) -> Owner {
        let wanted = text(&reference["uid"]);
        if let Some(known) = self.owners.get(wanted) {
            return *known;
        }
        let gk = Gvk::from_api_version(text(&reference["apiVersion"]), text(&reference["kind"])).gk();
        let find = |space: Option<&str>| {
            self.index.get(&gk, space, text(&reference["name"])).filter(|owner| uid(owner) == wanted)
        };
        let owner = find(space).or_else(|| find(None).filter(|_| space.is_some()));
        let verdict = match owner {
            None => Owner::Dangling,
            Some(owner) if is_deleting(&owner) && has_finalizer(&owner, FOREGROUND) => Owner::Waiting,
            Some(_) => Owner::Solid,
        };
        self.owners.insert(wanted, verdict);
        verdict
    }
}
