//! What the server's "no" means: wrong in Git, changed meanwhile, or not able to answer.
//!
//! In: the `Problem` of a dry-run, whose `reason` is the API's (`Invalid`, `Forbidden`, `InternalError`, …) and whose
//! message is the API's text. Out: how planning takes it.

use super::input::is_secret;
use crate::object::{ObjectKey, Problem};
use regex::Regex;
use std::sync::LazyLock;

/// How a "no" is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Git is wrong, or not allowed: the app changes nothing.
    Rejected,
    /// The object is not what it was when it was read: plan again.
    Stale,
    /// The server could not answer for this kind: only its objects suffer.
    Unanswered,
}

/// Sorts a "no". An API server says 500 to an unknown field in an apply (`failed to create typed patch object`), which is
/// no failure of its own.
pub fn kind(problem: &Problem) -> Kind {
    let text = &problem.message;
    if text.contains("failed to create typed patch object") || text.contains("failed to convert new object") {
        return Kind::Rejected;
    }
    match problem.reason.as_str() {
        "Conflict" => Kind::Stale,
        "InternalError" | "ServiceUnavailable" | "Timeout" | "ServerTimeout" | "TooManyRequests" => Kind::Unanswered,
        // Said by our own client: no answer, or none that can be read.
        "ClusterUnreachable" | "ClusterTimeout" | "BadAnswer" => Kind::Unanswered,
        reason if reason.starts_with("Http5") => Kind::Unanswered,
        _ => Kind::Rejected,
    }
}

/// The server's message as it may be shown: without a Secret's values, and without dumps of Go values.
pub fn message(key: &ObjectKey, problem: &Problem) -> String {
    if !is_secret(key) {
        return shorten(&problem.message);
    }
    let fields = fields(&problem.message);
    if fields.is_empty() {
        format!("the API server rejected it ({})", problem.reason)
    } else {
        format!("the API server rejected it ({}: {})", problem.reason, fields.join(", "))
    }
}

/// Longest message shown, in characters.
const LONGEST: usize = 600;

/// API machinery prints the offending value, which may be a whole pod template as a Go literal (`core.PodTemplateSpec{…}`).
fn shorten(text: &str) -> String {
    static LITERAL: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"Invalid value: (?:\w+\.\w+\{.*\}|\{.*\}|\[.*\]|map\[.*\]): ").ok());
    let short = match &*LITERAL {
        Some(literal) => literal.replace_all(text, "Invalid value: ").into_owned(),
        None => text.to_owned(),
    };
    match short.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &short[..end]),
        None => short,
    }
}

/// The fields that a message of the API's validation names, in order: `spec.selector: Invalid value: …`.
pub fn fields(text: &str) -> Vec<String> {
    let mut out: Vec<String> = causes(text).into_iter().map(|(_, field)| field).collect();
    out.dedup();
    out
}

/// Where in the text each cause begins, and its field.
pub fn causes(text: &str) -> Vec<(usize, String)> {
    static CAUSE: LazyLock<Option<Regex>> = LazyLock::new(|| {
        // The error types of k8s.io/apimachinery/pkg/util/validation/field/errors.go.
        Regex::new(
            r#"([A-Za-z][\w.\-/]*(?:\[[^\]\s]*\][\w.\-/]*)*): (?:Invalid value|Forbidden|Required value|Unsupported value|Duplicate value|Not found|Too long|Too many|Internal error)"#,
        )
        .ok()
    });
    let Some(cause) = &*CAUSE else { return Vec::new() };
    cause.captures_iter(text).filter_map(|c| c.get(1).map(|m| (m.start(), m.as_str().to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Gk;

    #[test]
    fn kinds() {
        for (reason, message, expected) in [
            ("Invalid", "x", Kind::Rejected),
            (
                "InternalError",
                "failed to create typed patch object (a/b): .spec.x: field not declared in schema",
                Kind::Rejected,
            ),
            ("InternalError", "failed calling webhook", Kind::Unanswered),
            ("Conflict", "uid mismatch", Kind::Stale),
            ("Forbidden", "admission webhook denied", Kind::Rejected),
        ] {
            assert_eq!(kind(&Problem::new(reason, message)), expected, "{reason}");
        }
    }

    #[test]
    fn messages_are_short_and_hold_no_secret() {
        let key = ObjectKey::new(&Gk::new("batch", "Job"), Some("a"), "j");
        let long = r#"Job.batch "j" is invalid: spec.template: Invalid value: core.PodTemplateSpec{ObjectMeta:v1.ObjectMeta{Name:""}}: field is immutable"#;
        let shown = message(&key, &Problem::new("Invalid", long));
        assert_eq!(shown, r#"Job.batch "j" is invalid: spec.template: Invalid value: field is immutable"#);
        assert_eq!(fields(long), ["spec.template"]);
        let secret = ObjectKey::new(&Gk::new("", "Secret"), Some("a"), "s");
        let text = r#"Secret "s" is invalid: data[p]: Invalid value: "hunter2": no"#;
        assert_eq!(message(&secret, &Problem::new("Invalid", text)), "the API server rejected it (Invalid: data[p])");
    }
}
