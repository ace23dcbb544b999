//! Conversion between the versions of a kind: `autoscaling/v1` and `v2`, the two Event APIs, and custom resources (by name only).
//! Source: k8s.io/kubernetes/pkg/apis/autoscaling/v1/conversion.go and pkg/apis/events/v1/conversion.go.
//!
//! Invariant: from the stored version to another and back nothing is lost.

use super::kinds::Kind;
use crate::object::Gk;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::sync::OnceLock;

/// `autoscaling/v1` keeps here what it has no field for.
const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";

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
        match (from, to) {
            ("v2", "v1") => autoscaler_to_v1(&mut out),
            ("v1", "v2") => autoscaler_to_v2(&mut out),
            _ => {}
        }
    }
    out["apiVersion"] = kind.api_version(to).into();
    Cow::Owned(out)
}

fn annotations(object: &mut Value) -> Option<&mut Map<String, Value>> {
    let metadata = object.get_mut("metadata")?.as_object_mut()?;
    metadata.entry("annotations").or_insert_with(|| json!({})).as_object_mut()
}

fn drop_empty_annotations(object: &mut Value) {
    let empty = object.pointer("/metadata/annotations").and_then(Value::as_object).is_some_and(Map::is_empty);
    if empty && let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("annotations");
    }
}

fn is_cpu_utilization(metric: &Value) -> bool {
    metric.pointer("/resource/name").and_then(Value::as_str) == Some("cpu")
        && metric.pointer("/resource/target/averageUtilization").is_some()
}

fn autoscaler_to_v1(object: &mut Value) {
    let mut noted: Vec<(&str, Value)> = Vec::new();
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        let metrics = spec.shift_remove("metrics").and_then(|m| m.as_array().cloned()).unwrap_or_default();
        let (cpu, others): (Vec<Value>, Vec<Value>) = metrics.into_iter().partition(is_cpu_utilization);
        if let Some(target) = cpu.first().and_then(|m| m.pointer("/resource/target/averageUtilization")) {
            spec.insert("targetCPUUtilizationPercentage".into(), target.clone());
        }
        let rest: Vec<Value> = cpu.into_iter().skip(1).chain(others).collect();
        if !rest.is_empty() {
            noted.push((METRICS, rest.into()));
        }
        if let Some(behavior) = spec.shift_remove("behavior") {
            noted.push((BEHAVIOR, behavior_noted(&behavior)));
        }
    }
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
        let current = status.shift_remove("currentMetrics").and_then(|m| m.as_array().cloned()).unwrap_or_default();
        let cpu = |m: &&Value| m.pointer("/resource/name").and_then(Value::as_str) == Some("cpu");
        if let Some(now) = current.iter().find(cpu).and_then(|m| m.pointer("/resource/current/averageUtilization")) {
            status.insert("currentCPUUtilizationPercentage".into(), now.clone());
        }
        if !current.is_empty() {
            noted.push((CURRENT_METRICS, current.into()));
        }
        if let Some(conditions) =
            status.shift_remove("conditions").filter(|c| c.as_array().is_some_and(|c| !c.is_empty()))
        {
            noted.push((CONDITIONS, conditions));
        }
        status.entry("currentReplicas").or_insert_with(|| 0.into());
    }
    if let Some(annotations) = annotations(object) {
        for (key, value) in noted {
            annotations.insert(key.into(), value.to_string().into());
        }
    }
    drop_empty_annotations(object);
}

/// The annotation holds the internal type, whose names begin with capitals and whose fields are all written.
fn behavior_noted(behavior: &Value) -> Value {
    let rules = |key: &str| {
        let Some(rules) = behavior.get(key) else { return Value::Null };
        let policies: Option<Vec<Value>> = rules.get("policies").and_then(Value::as_array).map(|list| {
            let shown = |p: &Value| json!({"Type": p.get("type"), "Value": p.get("value"), "PeriodSeconds": p.get("periodSeconds")});
            list.iter().map(shown).collect()
        });
        json!({"StabilizationWindowSeconds": rules.get("stabilizationWindowSeconds"),
            "SelectPolicy": rules.get("selectPolicy"), "Policies": policies, "Tolerance": rules.get("tolerance")})
    };
    json!({"ScaleUp": rules("scaleUp"), "ScaleDown": rules("scaleDown")})
}

fn behavior_read(noted: &Value) -> Value {
    match noted {
        Value::Object(map) => {
            let lower = |key: &str| {
                let mut chars = key.chars();
                chars.next().map(|c| c.to_ascii_lowercase().to_string() + chars.as_str()).unwrap_or_default()
            };
            let kept = map.iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (lower(key), behavior_read(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(behavior_read).collect()),
        other => other.clone(),
    }
}

fn autoscaler_to_v2(object: &mut Value) {
    let mut noted: Map<String, Value> = Map::new();
    if let Some(annotations) = annotations(object) {
        for key in [METRICS, BEHAVIOR, CURRENT_METRICS, CONDITIONS] {
            let text = annotations.shift_remove(key);
            let parsed = text.as_ref().and_then(Value::as_str).and_then(|t| serde_json::from_str(t).ok());
            if let Some(value) = parsed {
                noted.insert(key.to_owned(), value);
            }
        }
    }
    drop_empty_annotations(object);
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        let mut metrics = noted.get(METRICS).and_then(Value::as_array).cloned().unwrap_or_default();
        if let Some(target) = spec.shift_remove("targetCPUUtilizationPercentage") {
            let cpu = json!({"type": "Resource", "resource": {"name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": target}}});
            metrics.insert(0, cpu);
        }
        if !metrics.is_empty() {
            spec.insert("metrics".into(), metrics.into());
        }
        if let Some(behavior) = noted.get(BEHAVIOR) {
            spec.insert("behavior".into(), behavior_read(behavior));
        }
    }
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
        status.shift_remove("currentCPUUtilizationPercentage");
        let current = noted.get(CURRENT_METRICS).cloned().unwrap_or(Value::Null);
        status.insert("currentMetrics".into(), current);
        if let Some(conditions) = noted.get(CONDITIONS) {
            status.insert("conditions".into(), conditions.clone());
        }
    }
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
