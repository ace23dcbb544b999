//! CustomResourceDefinitions: what a definition must be, and the kind that is served because of it. Pure.
//!
//! In: CRD objects. Out: [`Kind`]s with types for the field manager, names accepted or not, conditions.
//! Structural schemas only (KEP-1693); conversion by webhook is refused, because nothing here could carry it out.
//! Source: k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation, pkg/controller/{status,establish,finalizer}.

use super::admission::metadata;
use super::admission::pod::{list, text};
use super::kinds::{Generation, Kind, Kinds, TypesRef, Version, field_set};
use super::status::FieldError;
use crate::object::{FieldSet, Gk};
use crate::scheme::{Atom, Field, List, ListKind, Map as MapType, Scalar, TypeId, Types};
use serde_json::{Value, json};
use std::sync::Arc;

/// Keeps a definition until its objects are gone.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Deepest nesting of a schema.
const MAX_DEPTH: usize = 60;

/// The name of the version that is stored; empty if there is none.
pub fn storage_version_name(crd: &Value) -> String {
    let versions = crd.pointer("/spec/versions").and_then(Value::as_array);
    let stored = versions.into_iter().flatten().find(|v| v.get("storage") == Some(&Value::Bool(true)));
    stored.map(|v| text(v, "name").to_owned()).unwrap_or_default()
}

/// Everything wrong with a definition.
pub fn validate(crd: &Value, errors: &mut Vec<FieldError>) {
    let Some(spec) = crd.get("spec") else { return };
    let names = spec.get("names").cloned().unwrap_or_default();
    let (group, plural, name) = (text(spec, "group"), text(&names, "plural"), crd.pointer("/metadata/name"));
    let expected = format!("{plural}.{group}");
    if name.and_then(Value::as_str) != Some(&expected) {
        let shown = name.cloned().unwrap_or_default();
        errors.push(FieldError::invalid("metadata.name", &shown, "must be spec.names.plural+\".\"+spec.group"));
    }
    if group.is_empty() {
        errors.push(FieldError::required("spec.group", ""));
    } else if !group.contains('.') {
        errors.push(FieldError::invalid("spec.group", &group.into(), "should be a domain with at least one dot"));
    }
    if !matches!(text(spec, "scope"), "Namespaced" | "Cluster") {
        let allowed = ["Cluster", "Namespaced"];
        errors.push(FieldError::not_supported("spec.scope", &text(spec, "scope").into(), &allowed));
    }
    for (key, value) in [("plural", plural), ("singular", text(&names, "singular")), ("kind", text(&names, "kind"))] {
        if value.is_empty() {
            errors.push(FieldError::required(format!("spec.names.{key}"), ""));
            continue;
        }
        let wrong = metadata::dns_1035(&value.to_lowercase());
        errors.extend(wrong.iter().map(|e| FieldError::invalid(format!("spec.names.{key}"), &value.into(), e)));
    }
    versions(spec, errors);
    let strategy = spec.pointer("/conversion/strategy").and_then(Value::as_str).unwrap_or("None");
    if strategy != "None" {
        let field = "spec.conversion.strategy";
        errors.push(FieldError::not_supported(field, &strategy.into(), &["None"]));
    }
}

fn versions(spec: &Value, errors: &mut Vec<FieldError>) {
    let versions = list(spec, "versions");
    let mut stored = 0;
    for (i, version) in versions.iter().enumerate() {
        let at = format!("spec.versions[{i}]");
        let wrong = metadata::dns_1035(text(version, "name"));
        errors.extend(wrong.iter().map(|e| FieldError::invalid(format!("{at}.name"), &version["name"], e)));
        stored += usize::from(version.get("storage") == Some(&Value::Bool(true)));
        match version.pointer("/schema/openAPIV3Schema") {
            None => {
                errors.push(FieldError::required(format!("{at}.schema.openAPIV3Schema"), ""));
            }
            Some(schema) => {
                // A schema that all versions share is the internal type's `spec.validation`.
                let shared = versions.iter().all(|v| v.get("schema") == version.get("schema"));
                let at = if shared { "spec.validation".to_owned() } else { format!("{at}.schema") };
                let at = format!("{at}.openAPIV3Schema");
                if text(schema, "type") != "object" {
                    let text = "must be object at the root";
                    errors.push(FieldError::invalid(format!("{at}.type"), &text_value(schema, "type"), text));
                }
                structural(schema, &at, 0, errors);
            }
        }
    }
    if stored != 1 {
        let text = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid("spec.versions", &Value::Array(versions.to_vec()), text));
    }
}

fn text_value(value: &Value, key: &str) -> Value {
    text(value, key).into()
}

/// The rules that make a schema structural, as far as they are broken by hand: a type everywhere, and map keys that exist.
fn structural(schema: &Value, at: &str, depth: usize, errors: &mut Vec<FieldError>) {
    if depth > MAX_DEPTH {
        errors.push(FieldError::forbidden(at, "nested too deeply"));
        return;
    }
    let flag = |key: &str| schema.get(key) == Some(&Value::Bool(true));
    let untyped = flag("x-kubernetes-int-or-string") || flag("x-kubernetes-preserve-unknown-fields");
    if text(schema, "type").is_empty() && !untyped {
        errors.push(FieldError::required(format!("{at}.type"), "must not be empty for specified object fields"));
    }
    for key in ["$ref", "definitions", "dependencies", "patternProperties", "additionalItems"] {
        if schema.get(key).is_some() {
            errors.push(FieldError::forbidden(format!("{at}.{key}"), &format!("{key} is not supported")));
        }
    }
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        structural(property, &format!("{at}.properties[{name}]"), depth + 1, errors);
    }
    if let Some(items) = schema.get("items").filter(|i| i.is_object()) {
        structural(items, &format!("{at}.items"), depth + 1, errors);
    } else if text(schema, "type") == "array" {
        errors.push(FieldError::required(format!("{at}.items"), "must be specified"));
    }
    if let Some(additional) = schema.get("additionalProperties").filter(|a| a.is_object()) {
        structural(additional, &format!("{at}.additionalProperties"), depth + 1, errors);
    }
    if text(schema, "x-kubernetes-list-type") == "map" && list(schema, "x-kubernetes-list-map-keys").is_empty() {
        let field = format!("{at}.x-kubernetes-list-map-keys");
        errors.push(FieldError::required(field, "must not be empty if x-kubernetes-list-type is map"));
    }
}

/// The names and the condition that a definition gets beside the kinds that are served already.
pub fn names_conflict(crd: &Value, kinds: &Kinds) -> Option<(&'static str, String)> {
    let spec = crd.get("spec")?;
    let names = spec.get("names")?;
    let group = text(spec, "group");
    let own = text(names, "plural");
    for kind in kinds.iter().filter(|k| k.gk.group == group && k.plural != own) {
        if kind.gk.kind == text(names, "kind") {
            return Some(("KindConflict", format!("{:?} is already in use", kind.gk.kind)));
        }
        if kind.singular == text(names, "singular") {
            return Some(("SingularConflict", format!("{:?} is already in use", kind.singular)));
        }
        let taken = list(names, "shortNames")
            .iter()
            .filter_map(Value::as_str)
            .find(|s| kind.short_names.iter().any(|k| k == s));
        if let Some(short) = taken {
            return Some(("ShortNamesConflict", format!("{short:?} is already in use")));
        }
    }
    None
}

/// The status of a definition that is accepted (or not) now.
pub fn established_status(crd: &Value, conflict: Option<(&str, String)>, now: &str) -> Value {
    let mut status = crd.get("status").cloned().unwrap_or_else(|| json!({}));
    let previous = status.get("conditions").cloned().unwrap_or_default();
    let condition = |kind: &str, ok: bool, reason: &str, message: &str| {
        let value = if ok { "True" } else { "False" };
        let before =
            previous.as_array().into_iter().flatten().find(|c| text(c, "type") == kind && text(c, "status") == value);
        let since = before.map_or(now, |c| text(c, "lastTransitionTime"));
        json!({"type": kind, "status": value, "lastTransitionTime": since, "reason": reason, "message": message})
    };
    let conditions = match conflict {
        None => {
            let terminating =
                previous.as_array().into_iter().flatten().find(|c| text(c, "type") == "Terminating").cloned();
            status["acceptedNames"] = crd.pointer("/spec/names").cloned().unwrap_or_default();
            vec![
                condition("NamesAccepted", true, "NoConflicts", "no conflicts found"),
                condition("Established", true, "InitialNamesAccepted", "the initial names have been accepted"),
            ]
            .into_iter()
            .chain(terminating)
            .collect()
        }
        Some((reason, message)) => vec![
            condition("NamesAccepted", false, reason, &message),
            condition("Established", false, "NotAccepted", "not all names are accepted"),
        ],
    };
    status["conditions"] = conditions.into();
    let stored = storage_version_name(crd);
    let mut versions = status.get("storedVersions").and_then(Value::as_array).cloned().unwrap_or_default();
    if !versions.iter().any(|v| v.as_str() == Some(&stored)) {
        versions.push(stored.into());
    }
    status["storedVersions"] = versions.into();
    status
}

/// Marks a definition for deletion: its objects go first (`customResourceDefinitionStorage.Delete`).
pub fn mark_deleting(crd: &mut Value, now: &str) {
    let condition = json!({"type": "Terminating", "status": "True", "lastTransitionTime": now,
        "reason": "InstanceDeletionPending",
        "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"});
    crd["metadata"]["deletionTimestamp"] = now.into();
    if let Some(list) = ensure_list(&mut crd["metadata"]["finalizers"])
        && !list.iter().any(|f| f == CLEANUP)
    {
        list.push(CLEANUP.into());
    }
    if let Some(list) = ensure_list(&mut crd["status"]["conditions"]) {
        list.retain(|c| text(c, "type") != "Terminating");
        list.push(condition);
    }
}

fn ensure_list(place: &mut Value) -> Option<&mut Vec<Value>> {
    if place.is_null() {
        *place = json!([]);
    }
    place.as_array_mut()
}

/// The kind that a definition makes.
pub fn to_kind(crd: &Value) -> Option<Kind> {
    let spec = crd.get("spec")?;
    let names = spec.get("names")?;
    let strings = |key: &str| list(names, key).iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let mut types = Types::extending_builtin();
    let mut versions = Vec::new();
    for version in list(spec, "versions") {
        let schema = version.pointer("/schema/openAPIV3Schema").cloned().unwrap_or_else(|| json!({"type": "object"}));
        let root = root_type(&mut types, &schema);
        versions.push(Version {
            name: text(version, "name").to_owned(),
            root: Some(root),
            served: version.get("served") != Some(&Value::Bool(false)),
            columns: list(version, "additionalPrinterColumns").to_vec(),
            schema: Some(Arc::new(schema)),
            scale: version.pointer("/subresources/scale").cloned(),
            status: version.pointer("/subresources/status").is_some(),
        });
    }
    let stored = storage_version_name(crd);
    // Preferred first: stable before beta before alpha, higher before lower (`version.CompareKubeAwareVersionStrings`).
    versions.sort_by_key(|v| std::cmp::Reverse(version_rank(&v.name)));
    let storage = versions.iter().position(|v| v.name == stored)?;
    let has_status = versions.iter().any(|v| v.status);
    let kind = text(names, "kind");
    let singular = text(names, "singular");
    Some(Kind {
        gk: Gk::new(text(spec, "group"), kind),
        plural: text(names, "plural").to_owned(),
        singular: if singular.is_empty() { kind.to_lowercase() } else { singular.to_owned() },
        namespaced: text(spec, "scope") == "Namespaced",
        short_names: strings("shortNames"),
        categories: strings("categories"),
        versions,
        storage,
        subresources: Vec::new(),
        generation: Generation::Spec,
        unconditional_update: false,
        create_on_update: false,
        types: TypesRef::Custom(Arc::new(types)),
        custom: true,
        reset_main: if has_status { field_set(&["status"]) } else { FieldSet::default() },
        reset_status: field_set(&["metadata", "spec"]),
    })
}

fn version_rank(name: &str) -> (u8, u32, u32) {
    let digits = |text: &str| -> (u32, usize) {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        (text[..end].parse().unwrap_or(0), end)
    };
    let Some(rest) = name.strip_prefix('v') else { return (0, 0, 0) };
    let (major, end) = digits(rest);
    match &rest[end..] {
        "" if end > 0 => (3, major, 0),
        tail if tail.starts_with("beta") => (2, major, digits(&tail[4..]).0),
        tail if tail.starts_with("alpha") => (1, major, digits(&tail[5..]).0),
        _ => (0, 0, 0),
    }
}

fn root_type(types: &mut Types, schema: &Value) -> TypeId {
    let id = build(types, schema, false, 0);
    let mut atom = types.atom(id).clone();
    let mut map = atom.map.take().unwrap_or_default();
    add_type_meta(types, &mut map);
    types.add(Atom { map: Some(map), ..Atom::default() })
}

fn add_type_meta(types: &mut Types, map: &mut MapType) {
    map.fields.retain(|f| !matches!(f.name.as_str(), "apiVersion" | "kind" | "metadata"));
    let text = types.scalar(Scalar::String);
    let meta = types.named("meta.v1.ObjectMeta").unwrap_or_else(|| types.deduced());
    for (name, ty) in [("apiVersion", text), ("kind", text), ("metadata", meta)] {
        map.fields.push(plain_field(name, ty));
    }
    map.fields.sort_by(|a, b| a.name.cmp(&b.name));
}

fn plain_field(name: &str, ty: TypeId) -> Field {
    Field {
        name: name.to_owned(),
        ty,
        always: false,
        omit_zero: false,
        required: false,
        default: None,
        patch: None,
        merge_key: None,
        number: Vec::new(),
    }
}

/// The type of a schema, as kube-openapi's `schemaconv` makes it.
fn build(types: &mut Types, schema: &Value, preserve: bool, depth: usize) -> TypeId {
    if depth > MAX_DEPTH {
        return types.deduced();
    }
    let flag = |key: &str| schema.get(key) == Some(&Value::Bool(true));
    let preserve = preserve || flag("x-kubernetes-preserve-unknown-fields");
    if flag("x-kubernetes-int-or-string") {
        return types.scalar(Scalar::Untyped);
    }
    match text(schema, "type") {
        "object" => {
            let map = build_map(types, schema, preserve, depth);
            types.add(Atom { map: Some(map), ..Atom::default() })
        }
        "array" => {
            let items = schema.get("items").cloned().unwrap_or_default();
            let element = build(types, &items, preserve, depth + 1);
            let kind = match text(schema, "x-kubernetes-list-type") {
                "set" => ListKind::Set,
                "map" => {
                    let keys = list(schema, "x-kubernetes-list-map-keys").iter().filter_map(Value::as_str);
                    ListKind::Map(keys.map(str::to_owned).collect())
                }
                _ => ListKind::Atomic,
            };
            types.add(Atom { list: Some(List { element, kind }), ..Atom::default() })
        }
        "string" => types.scalar(Scalar::String),
        "integer" => types.scalar(Scalar::Int64),
        "number" => types.scalar(Scalar::Number),
        "boolean" => types.scalar(Scalar::Bool),
        _ => types.deduced(),
    }
}

fn build_map(types: &mut Types, schema: &Value, preserve: bool, depth: usize) -> MapType {
    let mut map = MapType { atomic: text(schema, "x-kubernetes-map-type") == "atomic", ..MapType::default() };
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, property) in properties.into_iter().flatten() {
        let ty = build(types, property, preserve, depth + 1);
        let mut field = plain_field(name, ty);
        field.default = property.get("default").cloned();
        map.fields.push(field);
    }
    if schema.get("x-kubernetes-embedded-resource") == Some(&Value::Bool(true)) {
        add_type_meta(types, &mut map);
    }
    map.fields.sort_by(|a, b| a.name.cmp(&b.name));
    map.element = match schema.get("additionalProperties") {
        Some(additional @ Value::Object(_)) => Some(build(types, additional, preserve, depth + 1)),
        Some(Value::Bool(true)) => Some(types.deduced()),
        _ if preserve || map.fields.is_empty() => Some(types.deduced()),
        _ => None,
    };
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ranked_as_kubernetes_does() {
        let mut names = vec!["v1beta1", "v2", "v1", "foo", "v1alpha2", "v1beta2"];
        names.sort_by_key(|n| std::cmp::Reverse(version_rank(n)));
        assert_eq!(names, ["v2", "v1", "v1beta2", "v1beta1", "v1alpha2", "foo"]);
    }
}
