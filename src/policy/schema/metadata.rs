//! Name, namespace, labels and annotations of any object.

use super::faults::Faults;
use super::names::{self, Syntax};
use crate::object::Gk;
use crate::policy::builtin_resource;
use serde_json::Value;

/// All annotations of one object together, in bytes (`TotalAnnotationSizeLimitB`).
const MAX_ANNOTATIONS: usize = 256 * 1024;

/// Checks `metadata`.
pub(super) fn check(gk: &Gk, object: &Value, faults: &mut Faults<'_>) {
    let Some(metadata) = object.get("metadata").filter(|metadata| metadata.is_object()) else {
        faults.add(".metadata", "is required", "Set metadata.name.");
        return;
    };
    name(gk, metadata, faults);
    namespace(gk, metadata, faults);
    labels(metadata.get("labels"), ".metadata.labels", faults);
    annotations(metadata.get("annotations"), faults);
}

fn name(gk: &Gk, metadata: &Value, faults: &mut Faults<'_>) {
    if metadata.get("name").is_none() && metadata.get("generateName").is_some() {
        let hint = "Give it a fixed metadata.name: what is kept equal to Git has one identity.";
        faults.add(".metadata.generateName", "a generated name cannot be applied again", hint);
        return;
    }
    let Some(name) = faults.required_text(metadata.get("name"), ".metadata.name") else { return };
    if let Some(fault) = names::fault(name, syntax_of(gk)) {
        faults.add(".metadata.name", format!("{name:?} {fault}"), "Rename the object.");
    }
    if gk.is("batch", "CronJob") && name.len() > 52 {
        let message = "must have at most 52 characters, as the names of its jobs get 11 more";
        faults.add(".metadata.name", message, "Shorten the name.");
    }
}

/// How a kind's objects are named; where the rule is not known, the one that holds for every object.
fn syntax_of(gk: &Gk) -> Syntax {
    match gk.group.as_str() {
        "rbac.authorization.k8s.io" => Syntax::PathSegment,
        "" if gk.kind == "Namespace" || gk.kind == "Service" => Syntax::Label,
        _ if builtin_resource(gk).is_some() => Syntax::Subdomain,
        _ => Syntax::PathSegment,
    }
}

fn namespace(gk: &Gk, metadata: &Value, faults: &mut Faults<'_>) {
    let Some(namespace) = faults.text(metadata.get("namespace"), ".metadata.namespace") else { return };
    if namespace.is_empty() {
        return;
    }
    if builtin_resource(gk).is_some_and(|resource| !resource.namespaced) {
        let message = format!("{} is cluster-scoped and has no namespace", gk.kind);
        faults.add(".metadata.namespace", message, "Remove metadata.namespace.");
    } else if let Some(fault) = names::fault(namespace, Syntax::Label) {
        faults.add(".metadata.namespace", format!("{namespace:?} {fault}"), "Correct the namespace.");
    }
}

/// Checks a map of labels, wherever it is.
pub(super) fn labels(labels: Option<&Value>, path: &str, faults: &mut Faults<'_>) {
    for (key, value) in entries(labels, path, faults) {
        key_syntax(key, path, faults);
        let at = format!("{path}[{key:?}]");
        if let Some(value) = faults.text(Some(value), &at)
            && !names::is_label_value(value)
        {
            let message = format!(
                "{value:?} is no label value: at most 63 letters, digits, `-`, `_`, `.`, with a letter or digit at both ends"
            );
            faults.add(&at, message, "Put longer or freer texts into an annotation.");
        }
    }
}

fn annotations(annotations: Option<&Value>, faults: &mut Faults<'_>) {
    let path = ".metadata.annotations";
    let mut size = 0;
    for (key, value) in entries(annotations, path, faults) {
        // Keys of annotations may have upper-case prefixes: they are validated in lower case (objectmeta.go).
        key_syntax(&key.to_lowercase(), path, faults);
        let text = faults.text(Some(value), &format!("{path}[{key:?}]"));
        size += key.len() + text.map_or(0, str::len);
    }
    if size > MAX_ANNOTATIONS {
        faults.add(
            path,
            format!("have {size} bytes, the limit is {MAX_ANNOTATIONS}"),
            "Put the data into a ConfigMap.",
        );
    }
}

fn key_syntax(key: &str, path: &str, faults: &mut Faults<'_>) {
    if !names::is_qualified(key) {
        let message = format!(
            "{key:?} is no valid key: [DNS prefix/]name, the name of at most 63 letters, digits, `-`, `_`, `.`"
        );
        faults.add(path, message, "Rename the key.");
    }
}

/// The entries of a map; a fault if it is something else.
pub(super) fn entries<'v>(map: Option<&'v Value>, path: &str, faults: &mut Faults<'_>) -> Vec<(&'v String, &'v Value)> {
    match map {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Object(map)) => map.iter().collect(),
        Some(other) => {
            let message = format!("must be a map, not {}", super::faults::type_of(other));
            faults.add(path, message, "Write `key: value` lines.");
            Vec::new()
        }
    }
}
