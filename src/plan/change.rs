//! A plan as data, in the shape that `-o json` prints.

use crate::inventory::Phase;
use crate::object::{ObjectRef, Problem, Source};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// What is done to one object. A change has several, in the order they are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It does not exist yet.
    Create,
    /// It exists and becomes ours.
    Adopt,
    /// Fields change; no pod restarts, no count changes.
    Update,
    /// An immutable field changes and replacement is allowed: deleted and created.
    Replace,
    /// `spec.replicas` changes.
    Scale,
    /// A pod template changes: pods restart.
    Rollout,
    /// It is no longer in Git: deleted.
    Prune,
    /// Nothing.
    None,
}

/// One field that changes. An unset side is absent. Values of a Secret are keyed digests, never plain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    /// `.spec.template.spec.containers[name="main"].image`
    pub path: String,
    /// Live value.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from: Option<Value>,
    /// Desired value.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to: Option<Value>,
}

/// One object's change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Which object.
    pub object: ObjectRef,
    /// What is done, in order.
    pub actions: Vec<Action>,
    /// True if pods restart because of it.
    pub restarts: bool,
    /// Why, for a person: `not in the cluster yet`, `image changes`, `no longer in Git`.
    pub why: String,
    /// Where in the repository it comes from; null for a prune.
    pub source: Option<Source>,
    /// Explicit wave, 0 by default.
    pub wave: i32,
    /// What must be healthy (or gone) first, among this plan's changes.
    pub waits_for: Vec<ObjectRef>,
    /// Field by field.
    pub fields: Vec<FieldChange>,
    /// When it runs, if it is a hook: no member of the app, but run once for this sync.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hook: Option<Phase>,
    /// What its pods will do, where it has some.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub forecast: Option<Forecast>,
}

/// What a change's pods will do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Forecast {
    /// How many pods restart; absent where none does, or where nobody knows.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pods: Option<u64>,
    /// The fields for which they restart.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub because: Vec<String>,
    /// Why it cannot become what it is to be, as things stand now.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub impossible: Option<String>,
    /// True where nothing that this plan does could make it possible after all.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub certain: bool,
    /// What is worth knowing.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub notes: Vec<String>,
}

/// A policy finding, or a warning of the API server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyFinding {
    /// Name of the policy; `api-server` for a warning that is no policy's.
    pub policy: String,
    /// `deny`, `warn` or `audit`.
    pub action: String,
    /// What it says.
    pub message: String,
    /// The object.
    pub object: ObjectRef,
    /// File in the repository.
    pub file: String,
    /// Line in it. For an object that is no longer in Git, file and line are the policy's.
    pub line: u32,
    /// What it was judged as: `CREATE`, `UPDATE` or `DELETE`. Absent where the API server said it.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub operation: String,
    /// True where the API server said it when it was asked by a dry-run; absent for driftless's own policies.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub server: bool,
}

impl PolicyFinding {
    /// What it is about, for a person: the object, or its deletion.
    pub fn subject(&self) -> String {
        match self.operation.as_str() {
            "DELETE" => format!("deleting {}", self.object),
            _ => self.object.to_string(),
        }
    }
}

/// One app's plan.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AppPlan {
    /// App name.
    pub name: String,
    /// Cluster name.
    pub cluster: String,
    /// Apps that come before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
    /// What is wrong.
    pub error: Option<Problem>,
    /// True if nothing of it would be written because of the error: the changes are what would follow without it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub blocked: bool,
    /// Everything that is wrong, where that is more than `error`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Problem>,
    /// Changes in the order they are carried out.
    pub changes: Vec<Change>,
    /// How many objects need nothing.
    pub unchanged: usize,
    /// Policy findings.
    pub policy: Vec<PolicyFinding>,
    /// Why a sync would carry nothing of it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<PlanHold>,
}

/// What keeps a sync from carrying a plan out until a person says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanHold {
    /// True where it is in force; else the next sync meets it.
    pub held: bool,
    /// Why, for a person.
    pub reason: String,
    /// The command that lifts it.
    pub command: String,
    /// What would go without a reviewed plan (`require_plan`); empty for other holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreviewed: Vec<ObjectRef>,
}

impl PlanHold {
    /// One line for a person.
    pub fn sentence(&self) -> String {
        let verb = if self.held { "is" } else { "would be" };
        format!("a sync of this {verb} refused until `{}`: {}", self.command, self.reason)
    }
}

/// The whole answer of `driftless plan -o json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanReport {
    /// Revision planned.
    pub revision: Option<String>,
    /// One entry per app.
    pub apps: Vec<AppPlan>,
    /// How many objects per action over all apps but the blocked ones: what would be done.
    pub summary: BTreeMap<Action, usize>,
    /// An error that is no single app's.
    pub error: Option<Problem>,
}

impl PlanReport {
    /// What would be done: the changes of every app that is not blocked.
    pub fn pending(&self) -> impl Iterator<Item = &Change> {
        self.apps.iter().filter(|app| !app.blocked).flat_map(|app| &app.changes)
    }

    /// Counts what would be done into the summary.
    pub fn sum_up(&mut self) {
        let mut summary = BTreeMap::new();
        for action in self.pending().flat_map(|change| &change.actions) {
            *summary.entry(*action).or_insert(0) += 1;
        }
        self.summary = summary;
    }
}
