//! HorizontalPodAutoscaler in its two versions: the one built-in kind that is served in more than one.
//! Source: k8s.io/kubernetes/pkg/apis/autoscaling/v1/conversion.go.

use serde_json::{Map, Value, json};

/// `autoscaling/v1` keeps here what it has no field for.
const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";

/// The versions that are served, the stored one first.
pub const VERSIONS: [&str; 2] = ["v2", "v1"];

/// The object in another of its versions, but for its `apiVersion`.
pub fn convert(object: &mut Value, from: &str, to: &str) {
    match (from, to) {
        ("v2", "v1") => to_v1(object),
        ("v1", "v2") => to_v2(object),
        _ => {}
    }
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

fn to_v1(object: &mut Value) {
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

fn to_v2(object: &mut Value) {
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
