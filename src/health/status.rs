//! Reading what controllers write into `status`: conditions, counts, times, and whether it is about this spec at all.
//!
//! Everything is tolerant: a field of the wrong type reads as absent, never as a panic.

use super::verdict::Assessment;
use crate::object::{Live, Manifest};
use jiff::Timestamp;
use serde_json::Value;

/// A number at a JSON pointer.
pub fn int(live: &Live, pointer: &str) -> Option<i64> {
    live.at(pointer)?.as_i64()
}

/// A count at a JSON pointer; controllers leave out a zero.
pub fn count(live: &Live, pointer: &str) -> i64 {
    int(live, pointer).unwrap_or(0)
}

/// A text at a JSON pointer; an empty one reads as absent.
pub fn text<'a>(live: &'a Live, pointer: &str) -> Option<&'a str> {
    live.at(pointer)?.as_str().filter(|text| !text.is_empty())
}

/// A flag at a JSON pointer.
pub fn flag(live: &Live, pointer: &str) -> bool {
    live.at(pointer).and_then(Value::as_bool).unwrap_or(false)
}

/// A list at a JSON pointer; empty where there is none.
pub fn list<'a>(live: &'a Live, pointer: &str) -> &'a [Value] {
    live.at(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// An RFC 3339 time at a JSON pointer.
pub fn time(live: &Live, pointer: &str) -> Option<Timestamp> {
    live.at(pointer)?.as_str()?.parse().ok()
}

/// When the object was created.
pub fn created(live: &Live) -> Option<Timestamp> {
    time(live, "/metadata/creationTimestamp")
}

/// `1 pod`, `3 pods`.
pub fn plural(count: i64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// One entry of `status.conditions`.
#[derive(Debug, Clone, Copy)]
pub struct Condition<'a>(&'a Value);

impl<'a> Condition<'a> {
    fn field(self, name: &str) -> &'a str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// `type`.
    pub fn kind(self) -> &'a str {
        self.field("type")
    }

    /// True if its status is `True`.
    pub fn is_true(self) -> bool {
        self.field("status").eq_ignore_ascii_case("true")
    }

    /// True if its status is `False`.
    pub fn is_false(self) -> bool {
        self.field("status").eq_ignore_ascii_case("false")
    }

    /// `reason`.
    pub fn reason(self) -> &'a str {
        self.field("reason")
    }

    /// When its status last changed.
    pub fn since(self) -> Option<Timestamp> {
        self.field("lastTransitionTime").parse().ok()
    }

    /// The generation it speaks of, where it says so.
    pub fn generation(self) -> Option<i64> {
        number(self.0.get("observedGeneration")?)
    }

    /// `reason: message`, or whichever of the two there is, or the bare type and status.
    pub fn explain(self) -> String {
        match (self.reason(), self.field("message")) {
            ("", "") => format!("{} is {}", self.kind(), self.field("status")),
            (reason, "") => reason.to_owned(),
            ("", message) => message.to_owned(),
            (reason, message) => format!("{reason}: {message}"),
        }
    }

    /// `message`, else `reason`, else the bare type and status.
    pub fn message(self) -> String {
        match self.field("message") {
            "" => self.explain(),
            message => message.to_owned(),
        }
    }
}

/// Wraps the entries of a list of conditions.
pub fn conditions(entries: &[Value]) -> impl Iterator<Item = Condition<'_>> {
    entries.iter().filter(|entry| entry.is_object()).map(Condition)
}

/// The condition of a type in `status.conditions`.
pub fn condition<'a>(live: &'a Live, kind: &str) -> Option<Condition<'a>> {
    conditions(list(live, "/status/conditions")).find(|condition| condition.kind() == kind)
}

/// A whole number; some controllers write it as a string (Argo Rollouts' `observedGeneration`).
fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// `status.observedGeneration` as a number, also where it is written as a string.
pub fn observed_generation(live: &Live) -> Option<i64> {
    number(live.at("/status/observedGeneration")?)
}

/// Progressing while the controller has not looked at this spec. `always`: the kind's controller always sets
/// `observedGeneration`, so that its absence means that nobody looked yet (kstatus says Current there, wrongly).
///
/// A generation that is *ahead* of the object's counts as current: it is left over from a restored backup.
pub fn not_observed(live: &Live, always: bool) -> Option<Assessment> {
    match observed_generation(live) {
        Some(observed) if observed < live.generation() => Some(Assessment::progressing(format!(
            "the controller has not acted on the latest change yet (generation {}, seen {observed})",
            live.generation()
        ))),
        None if always => Some(Assessment::progressing("the controller has not looked at it yet")),
        _ => None,
    }
}

/// Progressing while a deletion is under way; the message names what holds it up.
pub fn terminating(live: &Live) -> Option<Assessment> {
    if !live.is_terminating() {
        return None;
    }
    let finalizers: Vec<&str> = list(live, "/metadata/finalizers").iter().filter_map(Value::as_str).collect();
    Some(Assessment::progressing(if finalizers.is_empty() {
        "being deleted".to_owned()
    } else {
        format!("being deleted; waits for {}", finalizers.join(", "))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Health;
    use serde_json::json;

    #[test]
    fn generations() {
        for (generation, observed, always, waits) in [
            (json!(2), json!(1), false, true),
            (json!(2), json!("1"), false, true),
            (json!(2), json!("2"), true, false),
            (json!(2), json!(3), true, false),
            (json!(2), json!(null), false, false),
            (json!(2), json!(null), true, true),
            (json!(2), json!({}), true, true),
            (json!(null), json!(null), true, true),
            (json!(null), json!(0), true, false),
        ] {
            let live =
                Live(json!({"metadata": {"generation": generation}, "status": {"observedGeneration": observed}}));
            assert_eq!(not_observed(&live, always).is_some(), waits, "{live:?} {always}");
        }
    }

    #[test]
    fn deletion_names_its_finalizers() {
        let live = Live(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a/b"]}}));
        let found = terminating(&live).unwrap();
        assert_eq!((found.health, found.message.as_str()), (Health::Progressing, "being deleted; waits for a/b"));
        assert_eq!(terminating(&Live(json!({"metadata": {}}))), None);
    }

    #[test]
    fn odd_json_is_absent() {
        let live = Live(json!({"status": {"conditions": ["x", 1, {"type": 3}], "n": "x"}}));
        assert!(condition(&live, "Ready").is_none());
        assert_eq!(count(&live, "/status/n"), 0);
        assert!(list(&live, "/status/n").is_empty());
    }
}
