//! Fields that cannot change: how the server says so, and what a person can do.

use super::rejection::causes;
use crate::object::Problem;

/// How the validation of built-in kinds, and of custom resources by CEL, words it (k8s.io/kubernetes/pkg/apis/*/validation;
/// `ValidateImmutableField` and its relatives).
const WORDINGS: [&str; 13] = [
    "field is immutable",
    "is immutable",
    "may not change once set",
    "may not be changed",
    "cannot change roleRef",
    "updates to statefulset spec for fields other than",
    "pod updates may not change fields other than",
    "updates to provisioner are forbidden",
    "updates to parameters are forbidden",
    "updates to reclaimPolicy are forbidden",
    "field is not allowed to be changed",
    "field cannot be changed",
    "Value is immutable",
];

/// The immutable fields that an answer names; `None` if it is about something else. Fields whose names the server does
/// not say are an empty list.
pub fn immutable_fields(problem: &Problem) -> Option<Vec<String>> {
    let text = &problem.message;
    let causes = causes(text);
    let mut fields = Vec::new();
    let mut found = false;
    for wording in WORDINGS {
        for (at, _) in text.match_indices(wording) {
            found = true;
            if let Some((_, field)) = causes.iter().rev().find(|(start, _)| *start < at)
                && !fields.contains(field)
            {
                fields.push(field.clone());
            }
        }
    }
    found.then_some(fields)
}

/// The hint for a person.
pub fn hint(fields: &[String]) -> String {
    let what = if fields.is_empty() { "the field".to_owned() } else { format!("`{}`", fields.join("`, `")) };
    format!(
        "change {what} back, or allow the object to be deleted and created again with the annotation `driftless.dev/replace: allowed`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wordings_of_the_api() {
        for (message, fields) in [
            (
                r#"Deployment.apps "web" is invalid: spec.selector: Invalid value: {"matchLabels":{"app":"b"}}: field is immutable"#,
                Some(vec!["spec.selector"]),
            ),
            (
                r#"Service "a" is invalid: [spec.clusterIPs[0]: Invalid value: ["10.0.0.9"]: may not change once set, spec.clusterIP: Invalid value: "10.0.0.9": may not change once set]"#,
                Some(vec!["spec.clusterIPs[0]", "spec.clusterIP"]),
            ),
            (
                r#"StatefulSet.apps "db" is invalid: spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template' are forbidden"#,
                Some(vec!["spec"]),
            ),
            (
                r#"ConfigMap "c" is invalid: data: Forbidden: field is immutable when `immutable` is set"#,
                Some(vec!["data"]),
            ),
            (
                r#"PersistentVolumeClaim "p" is invalid: spec: Forbidden: spec is immutable after creation except resources.requests"#,
                Some(vec!["spec"]),
            ),
            (r#"RoleBinding "r" is invalid: roleRef: Invalid value: {}: cannot change roleRef"#, Some(vec!["roleRef"])),
            (
                r#"Deployment.apps "web" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"#,
                None,
            ),
        ] {
            let expected = fields.map(|list| list.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(immutable_fields(&Problem::new("Invalid", message)), expected, "{message}");
        }
    }
}
