//! `driftless sync -o json`: a plan's shape with what came of it.

use super::status_report::SyncState;
use crate::health::Health;
use crate::object::Problem;
use crate::plan::change::{Action, AppPlan, Change, PlanReport, PolicyFinding};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What came of one change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Written.
    Applied,
    /// Tried, and refused or lost.
    Failed,
    /// Not tried: something before it failed, or the sync ended.
    Skipped,
}

/// One change with its outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SyncedChange {
    /// The change as planned.
    #[serde(flatten)]
    pub change: Change,
    /// What came of it.
    pub outcome: Outcome,
    /// For a person; empty if there is nothing to say.
    pub message: String,
    /// How long it took, its wait for health included, in milliseconds.
    pub took_ms: u64,
}

/// One app's sync.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AppSync {
    /// App name.
    pub name: String,
    /// Cluster name.
    pub cluster: String,
    /// Why it was not, or not wholly, carried out.
    pub error: Option<Problem>,
    /// Everything that is wrong, where that is more than `error`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Problem>,
    /// Changes in the order they were carried out.
    pub changes: Vec<SyncedChange>,
    /// How many objects needed nothing.
    pub unchanged: usize,
    /// Policy findings.
    pub policy: Vec<PolicyFinding>,
    /// Where the app stands against Git now.
    pub sync: SyncState,
    /// Its health now.
    pub health: Health,
    /// For a person.
    pub message: String,
}

/// The whole answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SyncReport {
    /// Revision synced.
    pub revision: Option<String>,
    /// One entry per app.
    pub apps: Vec<AppSync>,
    /// How many objects per action over all apps, as planned.
    pub summary: BTreeMap<Action, usize>,
    /// An error that is no single app's.
    pub error: Option<Problem>,
}

impl SyncReport {
    /// The report of a plan of which nothing was carried out yet: every change skipped. The executor fills it in.
    pub fn from_plan(plan: PlanReport) -> Self {
        let apps = plan.apps.into_iter().map(AppSync::from_plan).collect();
        Self { revision: plan.revision, apps, summary: plan.summary, error: plan.error }
    }
}

impl AppSync {
    /// One app of which nothing was carried out yet.
    pub fn from_plan(plan: AppPlan) -> Self {
        let changes = plan
            .changes
            .into_iter()
            .map(|change| SyncedChange { change, outcome: Outcome::Skipped, message: String::new(), took_ms: 0 })
            .collect();
        let sync = if plan.error.is_some() { SyncState::Failed } else { SyncState::OutOfSync };
        Self {
            name: plan.name,
            cluster: plan.cluster,
            error: plan.error,
            errors: plan.errors,
            changes,
            unchanged: plan.unchanged,
            policy: plan.policy,
            sync,
            health: Health::Unknown,
            message: String::new(),
        }
    }
}
