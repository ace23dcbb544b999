//! What is to be said beside the plan of a merge: what it was merged into, and what of that is not the revision's. Pure.

use super::wording::{counts, plural, short_revision};
use crate::plan::change::{Action, PlanReport};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The base of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseNote {
    /// Its commit.
    pub revision: String,
    /// What the base itself has not brought about yet, by action: not the revision's, and not shown.
    pub pending: BTreeMap<Action, usize>,
    /// How many of these objects the cluster changed, not Git.
    pub drifted: usize,
    /// Paths that both sides changed in ways that do not go together.
    pub conflicts: Vec<String>,
    /// Other things to know, a sentence each.
    pub notices: Vec<String>,
}

/// The answer of `driftless plan --base -o json`: a plan with its base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MergeReport {
    /// What the revision adds.
    #[serde(flatten)]
    pub plan: PlanReport,
    /// To what; absent where it was not found.
    pub base: Option<BaseNote>,
}

impl BaseNote {
    /// A note on a base of which nothing is to be said yet.
    pub fn new(revision: &str) -> Self {
        let (pending, conflicts, notices) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { revision: revision.to_owned(), pending, drifted: 0, conflicts, notices }
    }

    /// What people are told, a line each.
    pub fn lines(&self) -> Vec<String> {
        let mut out = self.notices.clone();
        if !self.pending.is_empty() {
            let drift = match self.drifted {
                0 => String::new(),
                n => format!("; {} by drift", plural(n, "object")),
            };
            let (base, what) = (short_revision(Some(&self.revision)), counts(&self.pending, None));
            out.push(format!("the base {base} itself is not fully applied yet and not shown here: {what}{drift}"));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_base_still_has_is_said_shortly() {
        let mut note = BaseNote::new("0123456789");
        assert!(note.lines().is_empty());
        note.pending.insert(Action::Rollout, 2);
        note.drifted = 1;
        note.notices.push("it changes driftless.toml".into());
        let lines = note.lines();
        assert_eq!(lines[0], "it changes driftless.toml");
        assert_eq!(
            lines[1],
            "the base 0123456 itself is not fully applied yet and not shown here: 2 to roll out; 1 object by drift"
        );
    }
}
