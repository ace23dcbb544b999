//! `driftless approve`: what is approved, as JSON and as text for a terminal.

use super::wording::{clean, short_revision};
use crate::object::{ObjectRef, Problem};
use crate::plan::change::Action;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// An object that may go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovedRemoval {
    /// The object.
    pub object: ObjectRef,
    /// `prune`, or `replace`: deleted, and created anew.
    pub action: Action,
    /// Exactly this one: what is created in its place later is another object.
    pub uid: String,
}

/// The answer of `driftless approve -o json`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ApprovalReport {
    /// App name.
    pub app: String,
    /// Cluster name.
    pub cluster: Option<String>,
    /// Revision that it is approved for.
    pub revision: Option<String>,
    /// What is approved; empty where nothing waited.
    pub approved: Vec<ApprovedRemoval>,
    /// Why nothing is.
    pub error: Option<Problem>,
}

/// What is about to be approved, a line for each object.
pub fn list_text(report: &ApprovalReport) -> String {
    let revision = short_revision(report.revision.as_deref());
    let mut out = format!("{}: to be approved for {revision}:\n", clean(&report.app));
    for removal in &report.approved {
        let (sign, word) = match removal.action {
            Action::Replace => ("±", "replace"),
            _ => ("-", "delete "),
        };
        let _ = writeln!(out, "  {sign} {word}  {}", clean(&removal.object.to_string()));
    }
    out
}

/// How it ended.
pub fn approval_text(report: &ApprovalReport) -> String {
    let (app, revision) = (clean(&report.app), short_revision(report.revision.as_deref()));
    match report.approved.len() {
        0 => format!("{app}: nothing waits for an approval at {revision}.\n"),
        n => {
            let what = if n == 1 { "1 deletion is".to_owned() } else { format!("{n} deletions are") };
            format!("{app}: {what} approved for {revision}, and no others. The next sync carries them out.\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{Gk, ObjectKey};
    use serde_json::json;

    #[test]
    fn every_object_is_named() {
        let removal = |kind: &str, action: Action| ApprovedRemoval {
            object: ObjectKey::new(&Gk::new("", kind), Some("shop"), "a").with_version("v1"),
            action,
            uid: "1".into(),
        };
        let mut report = ApprovalReport {
            app: "web".into(),
            cluster: Some("prod".into()),
            revision: Some("1a2b3c4d".repeat(5)),
            approved: vec![removal("ConfigMap", Action::Prune), removal("Job", Action::Replace)],
            error: None,
        };
        let text = list_text(&report) + &approval_text(&report);
        let revision = short_revision(report.revision.as_deref());
        assert_eq!(
            text,
            format!(
                "web: to be approved for {revision}:\n  - delete   ConfigMap shop/a\n  ± replace  Job shop/a\n\
                 web: 2 deletions are approved for {revision}, and no others. The next sync carries them out.\n"
            )
        );
        let shape = serde_json::to_value(&report).unwrap();
        assert_eq!(shape["approved"][1]["action"], json!("replace"));
        assert_eq!((&shape["app"], &shape["error"]), (&json!("web"), &json!(null)));
        report.approved.clear();
        assert!(approval_text(&report).contains("nothing waits"));
    }
}
