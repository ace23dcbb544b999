//! What planning says: the plan that people read, the graph that is carried out, and what the caller has to remember.

use super::change::{Action, AppPlan};
use super::graph::Graph;
use super::refusal::Refusal;
use super::step::{Payload, Step};
use crate::inventory::Member;
use crate::object::{Digest, ObjectKey, ObjectRef, Problem, counted};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A problem, and how far it reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What is wrong.
    pub problem: Problem,
    /// True if nothing of the app is written because of it (rule 3); false if only its object suffers.
    pub blocks: bool,
}

/// Digests to remember for an object that turned out to be unchanged, so that the next plan need not ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The object.
    pub key: ObjectKey,
    /// Its uid.
    pub uid: String,
    /// Digest of what is applied.
    pub desired: Digest,
    /// Digest of our owned fields as they are live.
    pub owned: Digest,
}

/// A field that another manager held and Git sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenOver {
    /// The object.
    pub key: ObjectKey,
    /// `.spec.replicas`
    pub path: String,
    /// Who held it.
    pub manager: String,
}

/// The whole of one object before and after, as it may be shown. An absent side does not exist.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sides {
    /// Live.
    pub before: Option<Value>,
    /// As it would become.
    pub after: Option<Value>,
}

/// The answer of planning.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// What people and scripts read.
    pub plan: AppPlan,
    /// What is carried out. Empty if anything blocks.
    pub graph: Graph,
    /// Before and after of each change, in the order of `plan.changes`.
    pub sides: Vec<Sides>,
    /// What is wrong.
    pub problems: Vec<Found>,
    /// What is refused (exit 4).
    pub refusals: Vec<Refusal>,
    /// Why the prunes among the changes are not carried out now.
    pub withheld: Option<String>,
    /// The uids that an approval of this plan's prunes is bound to, sorted.
    pub approval: Vec<String>,
    /// Unchanged objects whose digests are to be remembered.
    pub record: Vec<Recorded>,
    /// Members to take off the inventory now: gone, or no longer ours.
    pub forget: Vec<ObjectKey>,
    /// Members that another app of the scope takes over and has not taken yet: to look again after it was synced.
    pub leaving: BTreeSet<ObjectKey>,
    /// The inventory to write before the first step (write-ahead): all members, new ones without a uid.
    pub members: Vec<Member>,
    /// Digest to record with each object that is written.
    pub desired: BTreeMap<ObjectKey, Digest>,
    /// Hooks that run if the sync fails, in order.
    pub on_failure: Vec<Step>,
    /// Objects that are written without becoming ours (namespaces made by `create_namespace`).
    pub unowned: BTreeSet<ObjectKey>,
    /// Changes that the cluster made, not Git.
    pub drifted: BTreeSet<ObjectKey>,
    /// Fields that are taken from other managers.
    pub taken_over: Vec<TakenOver>,
    /// What Git has for the objects that are adopted, also where nothing is carried out.
    pub adopted: BTreeMap<ObjectKey, Payload>,
}

impl Planned {
    /// True if there is something to do (`plan` exits 2): a change other than `none`.
    pub fn has_changes(&self) -> bool {
        self.plan.changes.iter().any(|change| change.actions != [Action::None])
    }

    /// How many changes have each action.
    pub fn summary(&self) -> BTreeMap<Action, usize> {
        let mut out = BTreeMap::new();
        for action in self.plan.changes.iter().flat_map(|change| &change.actions) {
            *out.entry(*action).or_insert(0) += 1;
        }
        out
    }

    /// What is not deleted now since another app is not through, for a person: `2 deletions wait: app \`db\` is held`.
    /// `None` where nothing waits, or waits for an approval, which is a refusal of its own.
    pub fn waits(&self) -> Option<String> {
        let why = self.withheld.as_ref().filter(|_| self.refusals.is_empty() && self.problems.is_empty())?;
        let prunes = self.plan.changes.iter().filter(|change| change.actions == [Action::Prune]).count();
        let verb = if prunes == 1 { "waits" } else { "wait" };
        Some(format!("{} {verb}: {why}", counted(prunes, "deletion")))
    }

    /// True if nothing of the app may be written.
    pub fn is_blocked(&self) -> bool {
        self.problems.iter().any(|found| found.blocks) || self.refusals.iter().any(Refusal::blocks)
    }

    /// Why a change waits, for a person; the empty string if it does not.
    pub fn explain(&self, change: usize) -> String {
        let Some(change) = self.plan.changes.get(change) else { return String::new() };
        self.graph.explain(&change.object.key())
    }

    /// The change of an object.
    pub fn change(&self, object: &ObjectRef) -> Option<&super::change::Change> {
        self.plan.changes.iter().find(|change| change.object.key() == object.key())
    }
}
