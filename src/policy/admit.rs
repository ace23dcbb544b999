//! Admission: the only way to manifests that can be planned.

use super::evaluate::evaluate;
use super::resources::Facts;
use super::set::PolicySet;
use crate::object::{Desired, Problem};
use crate::plan::change::PolicyFinding;

/// Manifests that every policy lets pass. Only [`admit`] makes them.
#[derive(Debug, Clone, PartialEq)]
pub struct Admitted {
    objects: Vec<Desired>,
    findings: Vec<PolicyFinding>,
}

impl Admitted {
    /// The manifests, in the order they were rendered.
    pub fn objects(&self) -> &[Desired] {
        &self.objects
    }

    /// What policies warned of or recorded.
    pub fn findings(&self) -> &[PolicyFinding] {
        &self.findings
    }

    /// The manifests and the findings.
    pub fn into_parts(self) -> (Vec<Desired>, Vec<PolicyFinding>) {
        (self.objects, self.findings)
    }
}

/// Manifests that a policy refuses: none of the app is planned.
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
        format!("refused by policy {}: {}: {}{more}", first.policy, first.object, first.message)
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

/// Judges the manifests of one app. One refusal refuses all: an app with a rejected object changes nothing.
pub fn admit(objects: Vec<Desired>, policies: &PolicySet, facts: &Facts) -> Result<Admitted, Denied> {
    let findings = evaluate(policies, &objects, facts);
    if findings.iter().any(|finding| finding.action == "deny") {
        return Err(Denied { findings });
    }
    Ok(Admitted { objects, findings })
}
