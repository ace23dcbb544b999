//! Lists of conditions as the built-in controllers keep them.
//!
//! Invariant: setting a condition that already says the same changes nothing, or there would be no fixpoint.

use super::meta::{items, stamp, text};
use jiff::Timestamp;
use serde_json::{Value, json};

/// What one condition says.
pub struct Condition<'a> {
    /// `type`.
    pub kind: &'a str,
    /// `True`, `False` or `Unknown`.
    pub status: &'a str,
    /// `reason`.
    pub reason: &'a str,
    /// `message`.
    pub message: &'a str,
}

/// The conditions of a status, to be changed and written back.
#[derive(Clone, Default)]
pub struct Conditions(pub Vec<Value>);

impl Conditions {
    /// The `status.conditions` of an object.
    pub fn of(object: &Value) -> Self {
        Self(items(&object["status"]["conditions"]).to_vec())
    }

    /// The condition of a type.
    pub fn get(&self, kind: &str) -> Option<&Value> {
        self.0.iter().find(|c| c["type"] == kind)
    }

    /// True if the condition of this type has this status.
    pub fn is(&self, kind: &str, status: &str) -> bool {
        self.get(kind).is_some_and(|c| c["status"] == status)
    }

    /// The reason of a condition; empty if it is not there.
    pub fn reason(&self, kind: &str) -> &str {
        self.get(kind).map_or("", |c| text(&c["reason"]))
    }

    /// Takes a condition away.
    pub fn remove(&mut self, kind: &str) {
        self.0.retain(|c| c["type"] != kind);
    }

    /// `SetDeploymentCondition`, `SetCondition` of ReplicaSets: nothing happens where status and reason are the same;
    /// the transition time stays where the status does.
    /// `times` are the fields to set: `lastUpdateTime`, `lastProbeTime`, … besides `lastTransitionTime`.
    pub fn set(&mut self, new: &Condition<'_>, now: Timestamp, times: &[&str]) {
        if self.get(new.kind).is_some_and(|old| old["status"] == new.status && old["reason"] == new.reason) {
            return;
        }
        self.replace(new, now, times);
    }

    /// The same, but the message counts too (`meta.SetStatusCondition`).
    pub fn set_with_message(&mut self, new: &Condition<'_>, now: Timestamp, times: &[&str]) {
        if self.get(new.kind).is_some_and(|old| text(&old["message"]) == new.message) {
            self.set(new, now, times);
        } else {
            self.replace(new, now, times);
        }
    }

    /// Puts a condition at the end, keeping the transition time where the status stays.
    pub fn replace(&mut self, new: &Condition<'_>, now: Timestamp, times: &[&str]) {
        let transition = match self.get(new.kind) {
            Some(old) if old["status"] == new.status => old["lastTransitionTime"].clone(),
            _ => json!(stamp(now)),
        };
        let mut condition = json!({"type": new.kind, "status": new.status});
        if let Some(map) = condition.as_object_mut() {
            for time in times {
                map.insert((*time).to_owned(), json!(stamp(now)));
            }
            map.insert("lastTransitionTime".to_owned(), transition);
            if !new.reason.is_empty() {
                map.insert("reason".to_owned(), json!(new.reason));
            }
            if !new.message.is_empty() {
                map.insert("message".to_owned(), json!(new.message));
            }
        }
        self.remove(new.kind);
        self.0.push(condition);
    }

    /// Back to JSON.
    pub fn into_value(self) -> Value {
        Value::Array(self.0)
    }
}
