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
    let said = said_of_fields(&problem.message);
    if said.is_empty() {
        format!("the API server rejected it ({})", problem.reason)
    } else {
        format!("the API server rejected it: {}", said.join(", "))
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
    let short = in_words(&short);
    match short.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &short[..end]),
        None => short,
    }
}

/// Values of structured-merge-diff as its errors print them: `&value.valueUnstructured{Value:true}`.
fn in_words(text: &str) -> String {
    static VALUE: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"&value\.valueUnstructured\{Value:([^{}]*)\}").ok());
    let Some(value) = &*VALUE else { return text.to_owned() };
    let word = |found: &regex::Captures<'_>| match found.get(1).map_or("", |value| value.as_str()) {
        word @ ("true" | "false") => format!("the boolean {word} (put it in quotes)"),
        word if word.parse::<f64>().is_ok() => format!("the number {word} (put it in quotes)"),
        word => word.to_owned(),
    };
    value.replace_all(text, word).into_owned()
}

/// What API servers say word for word, whatever the value is: nothing of a Secret is in it.
const CONSTANT: [&str; 2] = ["field is immutable when `immutable` is set", "field is immutable"];

/// What a message of the API says of each field it names, in order, without any value.
fn said_of_fields(text: &str) -> Vec<String> {
    // A path in the typed errors may end in a list's key, which is a value: it ends before that.
    static TYPED: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"(\.[A-Za-z][\w.\-]*)[^\s:]*: (field not declared in schema|expected \w+|duplicate entries)").ok()
    });
    static DECODED: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r#"(unknown|duplicate) field "([\w.\-\[\]]+)"|illegal base64"#).ok());
    static VERDICT: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"^[^:]*: ([A-Z][a-z]+(?: [a-z]+){0,2})").ok());
    let verdict = |at: usize| VERDICT.as_ref()?.captures(text.get(at..)?)?.get(1).map(|m| m.as_str());
    let causes = causes(text);
    // The words that end a cause, which the next one or the end of the list follows.
    let constant = |at: usize, next: Option<usize>| {
        let cause = text.get(at..next.unwrap_or(text.len()))?.trim_end_matches([' ', ',', ']']);
        CONSTANT.into_iter().find(|words| cause.strip_suffix(words).is_some_and(|before| before.ends_with(": ")))
    };
    let ends = causes.iter().skip(1).map(|(at, _)| Some(*at)).chain([None]);
    let mut out: Vec<String> = causes
        .iter()
        .zip(ends)
        .map(|((at, field), next)| match (constant(*at, next), verdict(*at)) {
            (Some(words), _) => format!("{field}: {words}"),
            (None, Some(verdict)) => format!("{field} ({verdict})"),
            (None, None) => field.clone(),
        })
        .collect();
    if let Some(typed) = &*TYPED {
        out.extend(typed.captures_iter(text).map(|found| match &found[2] {
            "field not declared in schema" => format!("unknown field {}", &found[1]),
            "duplicate entries" => format!("{} holds one key twice", &found[1]),
            expected => format!("{}: {expected}", &found[1]),
        }));
    }
    if let Some(decoded) = &*DECODED {
        out.extend(decoded.captures_iter(text).map(|found| match (found.get(1), found.get(2)) {
            (Some(what), Some(field)) => format!("{} field .{}", what.as_str(), field.as_str()),
            _ => "a value of .data is no base64".to_owned(),
        }));
    }
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
        let secret = ObjectKey::new(&Gk::new("", "Secret"), Some("a"), "s");
        for (reason, text, expected) in [
            ("Invalid", r#"Secret "s" is invalid: data[p]: Invalid value: "hunter2": no"#, ": data[p] (Invalid value)"),
            (
                "Http500",
                "failed to create typed patch object (a/s; v1, Kind=Secret): .stringdata: field not declared in schema",
                ": unknown field .stringdata",
            ),
            (
                "Http500",
                "failed to create typed patch object (a/s; v1, Kind=Secret): .stringData.p: expected string, got &value.valueUnstructured{Value:hunter2}",
                ": .stringData.p: expected string",
            ),
            ("BadRequest", r#"strict decoding error: unknown field "stringdata""#, ": unknown field .stringdata"),
            ("BadRequest", "illegal base64 data at input byte 7: hunter2", ": a value of .data is no base64"),
            ("Forbidden", "hunter2", " (Forbidden)"),
            (
                "Invalid",
                r#"Secret "s" is invalid: data: Forbidden: field is immutable when `immutable` is set"#,
                ": data: field is immutable when `immutable` is set",
            ),
            (
                "Invalid",
                r#"Secret "s" is invalid: [type: Invalid value: "hunter2": field is immutable, data: Forbidden: field is immutable when `immutable` is set]"#,
                ": type: field is immutable, data: field is immutable when `immutable` is set",
            ),
            ("Invalid", r#"data[p]: Invalid value: "hunter2 field is immutable": no"#, ": data[p] (Invalid value)"),
        ] {
            let expected = format!("the API server rejected it{expected}");
            assert_eq!(message(&secret, &Problem::new(reason, text)), expected);
        }
    }
}
