//! `driftless status -o json`.

use crate::health::Health;
use crate::object::{ObjectRef, Problem};
use serde::{Deserialize, Serialize};

/// Where an app stands against Git.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SyncState {
    /// The cluster has what Git has.
    Synced,
    /// Git has something that was not applied yet, or the cluster has drifted.
    OutOfSync,
    /// A sync runs.
    Syncing,
    /// The last sync failed.
    Failed,
    /// The revision is held: it was bad, or a person or a guard holds it.
    Held,
    /// A person has suspended the app.
    Suspended,
}

impl SyncState {
    /// As JSON spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Synced => "Synced",
            Self::OutOfSync => "OutOfSync",
            Self::Syncing => "Syncing",
            Self::Failed => "Failed",
            Self::Held => "Held",
            Self::Suspended => "Suspended",
        }
    }
}

/// One field or object that differs from Git because the cluster changed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriftEntry {
    /// The object.
    pub object: ObjectRef,
    /// The field; null if the object itself is gone.
    pub path: Option<String>,
    /// Who changed it; null where Kubernetes records no author (removals, deletions).
    pub manager: Option<String>,
    /// When, RFC 3339; null where it is not recorded.
    pub since: Option<String>,
}

/// One object's health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectStatus {
    /// The object.
    pub object: ObjectRef,
    /// The verdict.
    pub health: Health,
    /// Why; empty when healthy.
    pub message: String,
}

/// One app on one cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AppStatus {
    /// App name.
    pub name: String,
    /// Cluster name.
    pub cluster: String,
    /// Revision of the tracked branch that was seen last.
    pub revision: Option<String>,
    /// Revision that was applied last.
    pub applied_revision: Option<String>,
    /// Against Git.
    pub sync: SyncState,
    /// The worst of its objects.
    pub health: Health,
    /// Monitoring score: 1 means that everything is ready; null if the app has no workloads.
    pub score: Option<f64>,
    /// For a person.
    pub message: String,
    /// Drift that stands.
    pub drift: Vec<DriftEntry>,
    /// Its objects.
    pub objects: Vec<ObjectStatus>,
}

/// The whole answer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StatusReport {
    /// Apps, by name and cluster.
    pub apps: Vec<AppStatus>,
    /// An error that is no single app's.
    #[serde(default)]
    pub error: Option<Problem>,
    /// Git hosts that do not take what is reported; absent where all is well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reports: Vec<ReportStatus>,
}

/// A Git host that cannot be reported to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportStatus {
    /// Name of the repository.
    pub repository: String,
    /// The host: `github`.
    pub host: String,
    /// What it refuses, and what to do.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn shape() {
        let report = StatusReport {
            apps: vec![AppStatus {
                name: "web".into(),
                cluster: "c".into(),
                revision: None,
                applied_revision: Some("abc".into()),
                sync: SyncState::OutOfSync,
                health: Health::Healthy,
                score: Some(1.0),
                message: String::new(),
                drift: vec![],
                objects: vec![],
            }],
            error: None,
            reports: Vec::new(),
        };
        let expected = json!({"apps": [{"name": "web", "cluster": "c", "revision": null, "applied_revision": "abc", "sync": "OutOfSync",
            "health": "Healthy", "score": 1.0, "message": "", "drift": [], "objects": []}], "error": null});
        assert_eq!(serde_json::to_value(&report).unwrap(), expected);
    }
}
