//! What an API server says of a dry-run, or of a write, beside its answer: `Warning` headers. Pure.
//!
//! In: the header's text and the object that was asked about. Out: a finding at the object's line, beside those of
//! driftless's own policies. A warning of a ValidatingAdmissionPolicy is told under that policy's name.
//!
//! Invariant: of a Secret only the policy is told. The text is the server's, and may quote what the Secret holds.

use crate::apply::executor::Carried;
use crate::object::{ObjectRef, Source};
use crate::plan::Planned;
use crate::plan::change::PolicyFinding;

/// Under which name warnings are told that are no policy's: of fields that are deprecated, unknown or set twice.
const SERVER: &str = "api-server";

/// The finding that a warning is.
pub(super) fn finding(text: &str, object: &ObjectRef, at: &Source) -> PolicyFinding {
    let (policy, said) = by_policy(text).unwrap_or((SERVER, text));
    let secret = object.group.is_empty() && object.kind == "Secret";
    let message = if secret { "the API server warns; its words are not shown for a Secret" } else { said };
    PolicyFinding {
        policy: policy.to_owned(),
        action: "warn".to_owned(),
        message: message.to_owned(),
        object: object.clone(),
        file: at.file.clone(),
        line: at.line,
        operation: String::new(),
        server: true,
    }
}

/// Policy and message of `Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': message`.
fn by_policy(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix("Validation failed for ValidatingAdmissionPolicy '")?;
    let (policy, rest) = rest.split_once("' with binding '")?;
    let (_, message) = rest.split_once("': ")?;
    Some((policy, message))
}

/// Adds what was said and is not told yet: a policy of the repository may be installed in the cluster as well.
pub(super) fn add(findings: &mut Vec<PolicyFinding>, said: Vec<PolicyFinding>) {
    for new in said {
        let told = |old: &PolicyFinding| {
            (&old.policy, &old.message, old.object.key()) == (&new.policy, &new.message, new.object.key())
        };
        if !findings.iter().any(told) {
            findings.push(new);
        }
    }
}

/// The plan's findings, and what the server said when it was written: of what was not asked about before, because it
/// depends on something that the same plan makes, nothing was known.
pub fn with_late_warnings(planned: &Planned, carried: Option<&Carried>) -> Vec<PolicyFinding> {
    let mut findings = planned.plan.policy.clone();
    let results = carried.map_or(&[][..], |carried| carried.results.as_slice());
    for (step, result) in planned.graph.steps.iter().zip(results).filter(|(_, result)| !result.warnings.is_empty()) {
        let Some(change) = step.change.and_then(|index| planned.plan.changes.get(index)) else { continue };
        let Some(source) = &change.source else { continue };
        let said = result.warnings.iter().map(|text| finding(text, &change.object, source)).collect();
        add(&mut findings, said);
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(kind: &str, text: &str) -> (String, String) {
        let (group, version) = (String::new(), "v1".to_owned());
        let object = ObjectRef { group, version, kind: kind.into(), namespace: None, name: "x".into() };
        let found = finding(text, &object, &Source { file: "a.yaml".into(), line: 3 });
        assert_eq!((found.action.as_str(), found.file.as_str(), found.line, found.server), ("warn", "a.yaml", 3, true));
        let mut all = vec![found.clone()];
        add(&mut all, vec![found.clone()]);
        assert_eq!(all.len(), 1);
        (found.policy, found.message)
    }

    #[test]
    fn a_policy_is_told_by_its_name_and_a_secret_not_at_all() {
        let by_policy = "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': it's 'x': no";
        let own = |policy: &str, message: &str| (policy.to_owned(), message.to_owned());
        assert_eq!(said("ConfigMap", by_policy), own("p", "it's 'x': no"));
        assert_eq!(said("ConfigMap", "spec.x: deprecated"), own("api-server", "spec.x: deprecated"));
        let (policy, message) = said("Secret", "hunter2");
        assert!(policy == "api-server" && !message.contains("hunter2"));
    }
}
