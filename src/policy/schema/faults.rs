//! Collects what is wrong with one object.

use crate::object::{Desired, Manifest, Problem};
use serde_json::Value;

/// The faults of one object so far.
pub(super) struct Faults<'a> {
    object: &'a Desired,
    found: Vec<Problem>,
}

/// Faults told of one object; more would hide the first.
const MAX_FAULTS: usize = 20;

impl<'a> Faults<'a> {
    /// No faults yet.
    pub(super) fn of(object: &'a Desired) -> Self {
        Self { object, found: Vec::new() }
    }

    /// A fault in a field.
    pub(super) fn add(&mut self, path: &str, message: impl AsRef<str>, hint: impl Into<String>) {
        if self.found.len() >= MAX_FAULTS {
            return;
        }
        let source = &self.object.source;
        self.found.push(
            Problem::new("InvalidObject", format!("{path}: {}", message.as_ref()))
                .at(source.file.clone(), source.line)
                .about(self.object.object_ref())
                .hint(hint),
        );
    }

    /// What was found.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.found
    }

    /// The text at `path`, a fault if it is there and no text.
    pub(super) fn text<'v>(&mut self, value: Option<&'v Value>, path: &str) -> Option<&'v str> {
        match value {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text),
            Some(other) => {
                let hint = match other {
                    Value::Bool(_) | Value::Number(_) => "Quote it: YAML reads it as another type.",
                    _ => "Write a text.",
                };
                self.add(path, format!("must be a text, not {}", type_of(other)), hint);
                None
            }
        }
    }

    /// The text at `path`, a fault if it is missing or empty.
    pub(super) fn required_text<'v>(&mut self, value: Option<&'v Value>, path: &str) -> Option<&'v str> {
        if matches!(value, None | Some(Value::Null)) {
            self.add(path, "is required", format!("Set {path}."));
            return None;
        }
        let text = self.text(value, path)?;
        if text.is_empty() {
            self.add(path, "must not be empty", format!("Set {path}."));
            return None;
        }
        Some(text)
    }

    /// A whole number within bounds; absent is fine.
    pub(super) fn integer(&mut self, value: Option<&Value>, path: &str, min: i64, max: i64) -> Option<i64> {
        match value {
            None | Some(Value::Null) => None,
            Some(Value::Number(n)) if n.as_i64().is_some_and(|n| (min..=max).contains(&n)) => n.as_i64(),
            Some(Value::Number(_)) => {
                self.add(path, bounds(min, max), "Correct the number.");
                None
            }
            Some(Value::String(_)) => {
                self.add(path, "must be a number, not a text", "Remove the quotes.");
                None
            }
            Some(other) => {
                self.add(path, format!("must be a number, not {}", type_of(other)), "Write a number.");
                None
            }
        }
    }

    /// A list; absent is empty.
    pub(super) fn list<'v>(&mut self, value: Option<&'v Value>, path: &str) -> &'v [Value] {
        match value {
            None | Some(Value::Null) => &[],
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.add(path, format!("must be a list, not {}", type_of(other)), "Start each element with `- `.");
                &[]
            }
        }
    }

    /// One of some words; absent is fine.
    pub(super) fn one_of(&mut self, value: Option<&Value>, path: &str, words: &[&str]) {
        if let Some(text) = self.text(value, path)
            && !words.contains(&text)
        {
            self.add(path, format!("{text:?} is not one of {}", words.join(", ")), "Upper and lower case matter.");
        }
    }
}

fn bounds(min: i64, max: i64) -> String {
    match (min, max) {
        (min, i64::MAX) => format!("must be a whole number of at least {min}"),
        (min, max) => format!("must be a whole number between {min} and {max}"),
    }
}

/// The type of a value, in words.
pub fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}
