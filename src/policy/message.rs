//! What findings say: short, on one line, and never a Secret's value.

use super::typing::written;
use cel::ExecutionError;
use cel::parser::{ParseError, ParseErrors};
use serde_json::Value;

/// Longest message in characters.
const MAX_LENGTH: usize = 1000;

/// Longest result of a `messageExpression` in bytes (k8s.io/apiserver/pkg/apis/cel/config.go).
const MAX_EXPRESSION_RESULT: usize = 5 * 1024;

/// What stands for a hidden value.
const HIDDEN: &str = "(hidden)";

/// True if the result of a `messageExpression` can be shown: not blank, on one line, not too long.
pub(super) fn usable(text: &str) -> bool {
    !text.trim().is_empty() && !text.contains('\n') && text.len() <= MAX_EXPRESSION_RESULT
}

/// One line without control characters.
pub(super) fn one_line(text: &str) -> String {
    let clean: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_LENGTH).collect();
    clean
}

/// A run-time error in words. Errors that quote values are told without them: a message is no place for data.
pub(super) fn explain(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => one_line(&format!("no such key: {key}")),
        ExecutionError::FunctionError { function, message } if function != "policy" => {
            one_line(&format!("{function}(): {message}"))
        }
        other => explain_for_secret(other),
    }
}

/// The same for a Secret: keys of its data, and what functions quote, stay out as well.
pub(super) fn explain_for_secret(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(_) => "no such key".into(),
        ExecutionError::NoSuchOverload(overload) => as_written(&overload.to_string()),
        ExecutionError::UndeclaredReference(name) => one_line(&format!("{name} is not defined")),
        // Written in this module's neighbours, and without a value in it.
        ExecutionError::FunctionError { function, message } if function == "policy" => message.clone(),
        ExecutionError::FunctionError { function, .. } => format!("{function}() failed"),
        ExecutionError::InvalidArgumentCount { expected, actual } => {
            format!("{actual} arguments where {expected} are needed")
        }
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => "division by zero".into(),
        ExecutionError::Overflow(..) => "integer overflow".into(),
        ExecutionError::IndexOutOfBounds(_) => "index out of bounds".into(),
        ExecutionError::ValuesNotComparable(..) => "values that cannot be compared".into(),
        ExecutionError::UnsupportedBinaryOperator(..) => "no such overload".into(),
        _ => "a value of an unexpected type".into(),
    }
}

/// What the parser says: the first fault, which leads to those after it.
pub(super) fn parse_fault(errors: &ParseErrors) -> String {
    let deep = |error: &&ParseError| error.msg.contains("Recursion limit of ");
    if let Some(limit) = errors.errors.iter().find(deep) {
        let limit: String =
            limit.msg.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
        return format!("the expression is nested more than {limit} deep");
    }
    let Some(first) = errors.errors.first() else { return "the expression cannot be read".into() };
    let why = first.msg.trim_start_matches("Syntax error: ");
    match first.pos {
        (line, column) if line > 0 && column > 0 => one_line(&format!("at {line}:{column}: {why}")),
        _ => one_line(why),
    }
}

/// The words of an overload error with the function as the user wrote it.
fn as_written(error: &str) -> String {
    match error.split_once("'@").and_then(|(before, rest)| Some((before, rest.split_once('\'')?))) {
        Some((before, (name, after))) => format!("{before}'{}'{after}", written(&format!("@{name}"))),
        None => error.to_owned(),
    }
}

/// A Secret with every value hidden. Keys stay: policies judge and name them.
pub(super) fn without_secret_values(secret: &Value) -> Value {
    let mut copy = secret.clone();
    for field in ["data", "stringData"] {
        if let Some(map) = copy.get_mut(field).and_then(Value::as_object_mut) {
            map.values_mut().for_each(|value| *value = HIDDEN.into());
        } else if let Some(odd) = copy.get_mut(field) {
            *odd = HIDDEN.into();
        }
    }
    // kubectl's copy of the whole object.
    if let Some(annotations) = copy.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut)
        && let Some(applied) = annotations.get_mut("kubectl.kubernetes.io/last-applied-configuration")
    {
        *applied = HIDDEN.into();
    }
    copy
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hides() {
        let secret = json!({"data": {"a": "c2VjcmV0"}, "stringData": "odd-secret", "metadata": {"annotations":
            {"kubectl.kubernetes.io/last-applied-configuration": "{secret}", "x": "y"}}});
        let text = without_secret_values(&secret).to_string();
        assert!(!text.contains("secret}") && !text.contains("c2VjcmV0") && !text.contains("odd-secret"));
        assert!(text.contains("\"x\":\"y\"") && text.contains("\"a\""));
    }

    #[test]
    fn lines() {
        assert_eq!(one_line(" a\nb\u{1b}[31m "), "a b [31m");
        assert!(!usable(" ") && !usable("a\nb") && usable("a"));
    }
}
