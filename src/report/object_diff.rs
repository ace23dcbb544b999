//! What an object is and what it would become, for showing: the whole of it, which a plan's fields are not.
//!
//! Values must be redacted by whoever makes them: a Secret's values as keyed digests. As a second line of defence the
//! values of a Secret's `data` and `stringData` that are not digests are hidden here.

use super::yaml_text::yaml_text;
use crate::object::{ObjectKey, ObjectRef};
use crate::plan::planned::{Planned, Sides};
use serde_json::Value;
use similar::{ChangeTag, TextDiff};
use std::collections::BTreeMap;

/// Unchanged lines around a change.
const CONTEXT: usize = 3;

/// Lines of one side that are compared; a longer text is cut, as the comparison's time grows with it.
const MAX_LINES: usize = 20_000;

/// Both sides of the objects of a plan, by app, cluster and object.
#[derive(Debug, Clone, Default)]
pub struct ObjectDiffs {
    by_object: BTreeMap<(String, String, ObjectKey), Sides>,
}

/// A line of a unified diff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// `@@ -1,2 +1,3 @@`
    Hunk(String),
    /// On both sides.
    Same(String),
    /// Only before.
    Removed(String),
    /// Only after.
    Added(String),
}

impl Line {
    /// As it stands in a diff.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Hunk(text) => text.clone(),
            Self::Same(text) => format!(" {text}"),
            Self::Removed(text) => format!("-{text}"),
            Self::Added(text) => format!("+{text}"),
        }
    }
}

impl ObjectDiffs {
    /// Adds both sides of an object.
    pub fn insert(&mut self, app: &str, cluster: &str, object: &ObjectRef, sides: Sides) {
        self.by_object.insert((app.to_owned(), cluster.to_owned(), object.key()), sides);
    }

    /// Adds both sides of every change of a plan.
    pub fn add(&mut self, planned: &Planned) {
        for (change, sides) in planned.plan.changes.iter().zip(&planned.sides) {
            self.insert(&planned.plan.name, &planned.plan.cluster, &change.object, sides.clone());
        }
    }

    /// Adds another plan's objects.
    pub fn extend(&mut self, other: Self) {
        self.by_object.extend(other.by_object);
    }

    /// The unified diff of an object, if both sides are known.
    pub(super) fn lines(&self, app: &str, cluster: &str, object: &ObjectRef) -> Option<Vec<Line>> {
        self.get(app, cluster, object).map(lines)
    }

    /// How many pods run under an object now, if it says so.
    pub(super) fn pods(&self, app: &str, cluster: &str, object: &ObjectRef) -> Option<u64> {
        self.get(app, cluster, object)?.before.as_ref()?.pointer("/spec/replicas")?.as_u64()
    }

    /// Both sides of an object.
    pub fn get(&self, app: &str, cluster: &str, object: &ObjectRef) -> Option<&Sides> {
        self.by_object.get(&(app.to_owned(), cluster.to_owned(), object.key()))
    }
}

/// The unified diff of both sides as YAML.
fn lines(sides: &Sides) -> Vec<Line> {
    let side = |value: &Option<Value>| {
        let text = yaml_text(value.as_ref().map(hide_secret).as_ref());
        text.lines().take(MAX_LINES).map(|line| format!("{line}\n")).collect::<String>()
    };
    let (before, after) = (side(&sides.before), side(&sides.after));
    let diff = TextDiff::from_lines(before.as_str(), after.as_str());
    let mut lines = Vec::new();
    for hunk in diff.unified_diff().context_radius(CONTEXT).iter_hunks() {
        lines.push(Line::Hunk(hunk.header().to_string()));
        lines.extend(hunk.iter_changes().map(|change| {
            let text = change.value().trim_end_matches('\n').to_owned();
            match change.tag() {
                ChangeTag::Equal => Line::Same(text),
                ChangeTag::Delete => Line::Removed(text),
                ChangeTag::Insert => Line::Added(text),
            }
        }));
    }
    lines
}

/// The value, with what a Secret holds hidden unless it is a digest (`sha256:`, `hmac-sha256:` and the like).
fn hide_secret(value: &Value) -> Value {
    let mut shown = value.clone();
    let is_secret = value.get("kind").and_then(Value::as_str) == Some("Secret")
        && value.get("apiVersion").and_then(Value::as_str) == Some("v1");
    if is_secret {
        for field in ["data", "stringData"] {
            for held in shown.get_mut(field).and_then(Value::as_object_mut).into_iter().flat_map(|map| map.values_mut())
            {
                if !held.as_str().is_some_and(is_digest) {
                    *held = "(hidden)".into();
                }
            }
        }
    }
    shown
}

/// A word, a colon and hex digits, with or without brackets around.
fn is_digest(text: &str) -> bool {
    let inner = text.trim_start_matches(['(', '<']).trim_end_matches([')', '>']);
    inner.split_once(':').is_some_and(|(word, hex)| {
        (word == "hmac" || word == "digest" || word.ends_with("sha256"))
            && (4..=64).contains(&hex.trim_end_matches('…').len())
            && hex.trim_end_matches('…').bytes().all(|c| c.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_secret_is_hidden() {
        let secret = |value: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": value}});
        let sides = Sides { before: Some(secret("aHVudGVyMg==")), after: Some(secret("hmac-sha256:0123abcd")) };
        let text: String = lines(&sides).iter().map(|line| line.text() + "\n").collect();
        assert_eq!(
            text,
            "@@ -3,4 +3,4 @@\n metadata:\n   name: s\n data:\n-  k: \"(hidden)\"\n+  k: hmac-sha256:0123abcd\n"
        );
    }
}
