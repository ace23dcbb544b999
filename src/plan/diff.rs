//! What differs between two JSON objects, field by field, named as people name fields.
//!
//! In: live, and what the server says it would become. Out: one entry per differing field. Lists whose elements have a
//! name (or a port, a mount path, a type) are compared element by element and addressed by it; others by position.

use super::input::LAST_APPLIED;
use crate::object::{FieldPath, PathElement, Scalar};
use serde_json::Value;

/// One difference. An unset side is `None`.
#[derive(Debug, Clone, PartialEq)]
pub struct Delta {
    /// Where.
    pub path: FieldPath,
    /// Before.
    pub from: Option<Value>,
    /// After.
    pub to: Option<Value>,
}

/// What names an element of a list, in the order in which it is tried (the `listMapKey`s of the built-in kinds, in
/// k8s.io/api; `name` first, as people say `ports[name="http"]`).
const LIST_KEYS: [&[&str]; 13] = [
    &["name"],
    &["containerPort"],
    &["containerPort", "protocol"],
    &["port"],
    &["port", "protocol"],
    &["mountPath"],
    &["devicePath"],
    &["type"],
    &["ip"],
    &["topologyKey"],
    &["topologyKey", "whenUnsatisfiable"],
    &["uid"],
    &["key"],
];

/// The fields that name the elements of a list in both of its states, if any do.
pub fn list_key(before: &[Value], after: &[Value]) -> Option<&'static [&'static str]> {
    if before.is_empty() && after.is_empty() {
        return None;
    }
    LIST_KEYS.into_iter().find(|names| names_all(names, before) && names_all(names, after))
}

fn names_all(names: &[&str], items: &[Value]) -> bool {
    let mut seen = std::collections::BTreeSet::new();
    items.iter().all(|item| {
        // Only the first field has to be there: a protocol defaults to TCP.
        let named = item.get(names[0]).is_some_and(|v| !v.is_object() && !v.is_array() && !v.is_null());
        named && seen.insert(element(names, item))
    })
}

fn element(names: &[&str], item: &Value) -> PathElement {
    let key = |name: &&str| {
        let scalar = item.get(name).map(Scalar::from);
        ((*name).to_owned(), scalar.unwrap_or_else(|| Scalar::Str("TCP".into())))
    };
    PathElement::Key(names.iter().map(key).collect())
}

/// The API server counts a DaemonSet's templates in it (k8s.io/kubernetes/pkg/registry/apps/daemonset/strategy.go): a
/// rollout of the pods is no change of the annotations besides.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// A copy without what is no content: status, and what the server keeps for itself.
pub fn content(object: &Value) -> Value {
    let mut out = object.clone();
    let Some(map) = out.as_object_mut() else { return out };
    map.shift_remove("status");
    let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) else { return out };
    for name in ["managedFields", "resourceVersion", "generation", "creationTimestamp", "selfLink", "uid"] {
        metadata.shift_remove(name);
    }
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.shift_remove(LAST_APPLIED);
        annotations.shift_remove(TEMPLATE_GENERATION);
    }
    for name in ["annotations", "labels"] {
        if metadata.get(name).and_then(Value::as_object).is_some_and(serde_json::Map::is_empty) {
            metadata.shift_remove(name);
        }
    }
    out
}

/// The differences, in the order of the objects' fields.
pub fn diff(from: &Value, to: &Value) -> Vec<Delta> {
    let mut out = Vec::new();
    compare(&mut FieldPath::default(), Some(from), Some(to), &mut out);
    out
}

fn compare(at: &mut FieldPath, from: Option<&Value>, to: Option<&Value>, out: &mut Vec<Delta>) {
    match (from, to) {
        (Some(a), Some(b)) if a == b => {}
        (Some(Value::Object(_)) | None, Some(Value::Object(b))) if !b.is_empty() || from.is_some() => {
            compare_maps(at, from, to, out);
        }
        (Some(Value::Object(a)), None) if !a.is_empty() => compare_maps(at, from, to, out),
        (Some(Value::Array(a)), Some(Value::Array(b))) => compare_lists(at, a, b, out),
        _ => out.push(Delta { path: at.clone(), from: from.cloned(), to: to.cloned() }),
    }
}

fn compare_maps(at: &mut FieldPath, from: Option<&Value>, to: Option<&Value>, out: &mut Vec<Delta>) {
    let (from, to) = (from.and_then(Value::as_object), to.and_then(Value::as_object));
    let added = to.into_iter().flat_map(|map| map.keys()).filter(|name| !from.is_some_and(|a| a.contains_key(*name)));
    let names: Vec<&String> = from.into_iter().flat_map(|map| map.keys()).chain(added).collect();
    for name in names {
        at.0.push(PathElement::Field(name.clone()));
        compare(at, from.and_then(|map| map.get(name)), to.and_then(|map| map.get(name)), out);
        at.0.pop();
    }
}

fn compare_lists(at: &mut FieldPath, from: &[Value], to: &[Value], out: &mut Vec<Delta>) {
    let Some(names) = list_key(from, to) else { return compare_positions(at, from, to, out) };
    let before: Vec<PathElement> = from.iter().map(|item| element(names, item)).collect();
    let after: Vec<PathElement> = to.iter().map(|item| element(names, item)).collect();
    let start = out.len();
    for (i, name) in before.iter().enumerate() {
        let other = after.iter().position(|candidate| candidate == name).and_then(|j| to.get(j));
        item(at, name, from.get(i), other, out);
    }
    for (j, name) in after.iter().enumerate().filter(|(_, name)| !before.contains(name)) {
        item(at, name, None, to.get(j), out);
    }
    if out.len() == start {
        // Only the order differs. It can matter (`$(VAR)` in env), and the pod template changes by it.
        let order = |list: &[PathElement]| Value::from(list.iter().map(label).collect::<Vec<_>>());
        out.push(Delta { path: at.clone(), from: Some(order(&before)), to: Some(order(&after)) });
    }
}

fn item(at: &mut FieldPath, name: &PathElement, from: Option<&Value>, to: Option<&Value>, out: &mut Vec<Delta>) {
    at.0.push(name.clone());
    if from.is_some() && to.is_some() {
        compare(at, from, to, out);
    } else {
        out.push(Delta { path: at.clone(), from: from.cloned(), to: to.cloned() });
    }
    at.0.pop();
}

fn label(element: &PathElement) -> String {
    match element {
        PathElement::Key(keys) => keys
            .iter()
            .map(|(_, v)| v.to_value().as_str().map_or_else(|| v.to_value().to_string(), str::to_owned))
            .collect::<Vec<_>>()
            .join("/"),
        other => FieldPath(vec![other.clone()]).to_string(),
    }
}

fn compare_positions(at: &mut FieldPath, from: &[Value], to: &[Value], out: &mut Vec<Delta>) {
    for i in 0..from.len().max(to.len()) {
        item(at, &PathElement::Index(i), from.get(i), to.get(i), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lines(from: &Value, to: &Value) -> Vec<String> {
        let show = |v: &Option<Value>| v.as_ref().map_or("-".to_owned(), ToString::to_string);
        diff(from, to).iter().map(|d| format!("{} {} {}", d.path, show(&d.from), show(&d.to))).collect()
    }

    #[test]
    fn fields_are_named_as_people_name_them() {
        let cases = [
            (json!({"a": {"b": 1}}), json!({"a": {"b": 2}}), vec![".a.b 1 2"]),
            (
                json!({}),
                json!({"labels": {"app": "x", "b.c/d": "y"}}),
                vec![".labels.app - \"x\"", ".labels[\"b.c/d\"] - \"y\""],
            ),
            (json!({"l": {"app": "x"}}), json!({}), vec![".l.app \"x\" -"]),
            (
                json!({"containers": [{"name": "a", "image": "1"}, {"name": "b"}]}),
                json!({"containers": [{"name": "a", "image": "2"}, {"name": "c"}]}),
                vec![
                    ".containers[name=\"a\"].image \"1\" \"2\"",
                    ".containers[name=\"b\"] {\"name\":\"b\"} -",
                    ".containers[name=\"c\"] - {\"name\":\"c\"}",
                ],
            ),
            (
                json!({"ports": [{"containerPort": 53, "protocol": "TCP"}, {"containerPort": 53, "protocol": "UDP"}]}),
                json!({"ports": [{"containerPort": 53}, {"containerPort": 53, "protocol": "UDP", "hostPort": 1}]}),
                vec![
                    ".ports[containerPort=53,protocol=\"TCP\"].protocol \"TCP\" -",
                    ".ports[containerPort=53,protocol=\"UDP\"].hostPort - 1",
                ],
            ),
            (
                json!({"args": ["a", "b"]}),
                json!({"args": ["a", "c", "d"]}),
                vec![".args[1] \"b\" \"c\"", ".args[2] - \"d\""],
            ),
            (
                json!({"env": [{"name": "A", "value": "1"}, {"name": "B"}]}),
                json!({"env": [{"name": "B"}, {"name": "A", "value": "1"}]}),
                vec![".env [\"A\",\"B\"] [\"B\",\"A\"]"],
            ),
            (json!({"a": {"b": 1}}), json!({"a": {}}), vec![".a.b 1 -"]),
            (json!({}), json!({"emptyDir": {}}), vec![".emptyDir - {}"]),
            (json!({"a": {}}), json!({}), vec![".a {} -"]),
            (json!({"a": [1]}), json!({"a": "x"}), vec![".a [1] \"x\""]),
            (json!({"a": {"b": 1}}), json!({"a": "x"}), vec![".a {\"b\":1} \"x\""]),
        ];
        for (from, to, expected) in cases {
            assert_eq!(lines(&from, &to), expected, "{from} → {to}");
            assert!(lines(&to, &to).is_empty());
        }
    }

    #[test]
    fn noise_is_no_content() {
        let noisy = json!({"metadata": {"name": "a", "uid": "u", "resourceVersion": "1", "managedFields": [],
            "annotations": {LAST_APPLIED: "{}", TEMPLATE_GENERATION: "2"}}, "status": {}, "spec": {}});
        assert_eq!(content(&noisy), json!({"metadata": {"name": "a"}, "spec": {}}));
    }
}
