//! Conversion between the versions of a kind: `autoscaling/v1` and `v2`, the two Event APIs, and custom resources (by name only).
//! Source: k8s.io/kubernetes/pkg/apis/events/v1/conversion.go.
//!
//! Invariant: from the stored version to another and back nothing is lost.

use super::kinds::Kind;
use crate::object::Gk;
use crate::scheme::autoscaler;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::sync::OnceLock;

/// The group and kind under which objects of a kind are stored.
pub fn stored_as(kind: &Kind) -> &Gk {
    static EVENT: OnceLock<Gk> = OnceLock::new();
    if kind.is("events.k8s.io", "Event") { EVENT.get_or_init(|| Gk::new("", "Event")) } else { &kind.gk }
}

/// The object as it is stored, from the form of a version.
pub fn to_storage(kind: &Kind, version: &str, object: Value) -> Value {
    if kind.is("events.k8s.io", "Event") {
        return event_to_core(&object);
    }
    let stored = kind.storage_version().name.clone();
    if version == stored { object } else { between(kind, &object, version, &stored).into_owned() }
}

/// The stored object in the form of a version.
pub fn from_storage<'v>(kind: &Kind, version: &str, object: &'v Value) -> Cow<'v, Value> {
    if kind.is("events.k8s.io", "Event") {
        return Cow::Owned(event_from_core(object));
    }
    between(kind, object, &kind.storage_version().name, version)
}

/// The object in another version of its kind.
pub fn between<'v>(kind: &Kind, object: &'v Value, from: &str, to: &str) -> Cow<'v, Value> {
    if from == to {
        return Cow::Borrowed(object);
    }
    let mut out = object.clone();
    if kind.is("autoscaling", "HorizontalPodAutoscaler") {
        autoscaler::convert(&mut out, from, to);
    }
    out["apiVersion"] = kind.api_version(to).into();
    Cow::Owned(out)
}

/// Fields of an Event: events.k8s.io/v1 and core/v1.
const EVENT_FIELDS: [(&str, &str); 8] = [
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("reportingInstance", "reportingInstance"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

fn renamed(object: &Value, api_version: &str, name: impl Fn(&str) -> Option<&'static str>) -> Value {
    let mut out = Map::new();
    for (key, value) in object.as_object().into_iter().flatten() {
        match name(key) {
            Some(other) => out.insert(other.to_owned(), value.clone()),
            None => out.insert(key.clone(), value.clone()),
        };
    }
    out.insert("apiVersion".into(), api_version.into());
    Value::Object(out)
}

fn event_to_core(object: &Value) -> Value {
    let mut out = renamed(object, "v1", |key| EVENT_FIELDS.iter().find(|(new, _)| *new == key).map(|(_, old)| *old));
    for key in ["source"] {
        if out.get(key).is_none() {
            out[key] = json!({});
        }
    }
    out
}

fn event_from_core(object: &Value) -> Value {
    let mut out = renamed(object, "events.k8s.io/v1", |key| {
        EVENT_FIELDS.iter().find(|(_, old)| *old == key).map(|(new, _)| *new)
    });
    if let Some(map) = out.as_object_mut() {
        for key in ["reportingController", "reportingInstance"] {
            if map.get(key).and_then(Value::as_str) == Some("") {
                map.shift_remove(key);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::kinds::Kinds;

    #[test]
    fn autoscalers_survive_the_way_through_v1() {
        let kinds = Kinds::builtin();
        let kind = kinds.by_plural("autoscaling", "horizontalpodautoscalers").unwrap();
        let v2 = json!({"apiVersion": "autoscaling/v2", "metadata": {"name": "a"}, "spec": {"metrics": [
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}},
            {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}}],
            "behavior": {"scaleDown": {"selectPolicy": "Min"}}}});
        let v1 = between(kind, &v2, "v2", "v1").into_owned();
        assert_eq!(v1["spec"]["targetCPUUtilizationPercentage"], json!(70));
        assert_eq!(between(kind, &v1, "v1", "v2").into_owned(), v2);
    }
}
