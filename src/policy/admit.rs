//! Admission: what policies let pass is carried out, and nothing else is.

use super::evaluate::judge_writes;
use super::resources::Facts;
use super::set::PolicySet;
use crate::object::Problem;
use crate::plan::Write;
use crate::plan::change::PolicyFinding;

/// Writes that a policy refuses: nothing of the app is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.summary())]
pub struct Denied {
    /// Everything that was found, refusals and warnings.
    pub findings: Vec<PolicyFinding>,
}

impl Denied {
    /// The findings that refuse.
    pub fn refusals(&self) -> impl Iterator<Item = &PolicyFinding> {
        self.findings.iter().filter(|finding| finding.action == "deny")
    }

    fn summary(&self) -> String {
        let Some(first) = self.refusals().next() else { return "refused by policy".into() };
        let more = match self.refusals().count() - 1 {
            0 => String::new(),
            n => format!(" (and {n} more)"),
        };
        format!("refused by policy {}: {}: {}{more}", first.policy, first.subject(), first.message)
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        let problem = Self::new("PolicyDenied", denied.summary())
            .hint("Change the manifest, or the policy on the tracked branch; `driftless check` shows all findings.");
        match denied.refusals().next() {
            Some(first) => problem.at(first.file.clone(), first.line).about(first.object.clone()),
            None => problem,
        }
    }
}

/// Judges what is about to be written for one app. One refusal refuses all: an app with a rejected object changes nothing.
///
/// # Errors
/// Everything that was found, where one of it refuses.
pub fn admit(writes: &[Write<'_>], policies: &PolicySet, facts: &Facts) -> Result<Vec<PolicyFinding>, Denied> {
    let findings = judge_writes(policies, writes, facts);
    if findings.iter().any(|finding| finding.action == "deny") {
        return Err(Denied { findings });
    }
    Ok(findings)
}
