//! What a server with strict field validation refuses by an object's type alone: fields that are not there, values of
//! another type, elements of a list that share their key, and what the schema of a custom resource asks for besides. Pure,
//! and without a server: `driftless check` asks it.
//!
//! In: objects as they are written, and the CustomResourceDefinitions that stand beside them. Out: [`Fault`]s.
//! Invariant: what is not known here (a kind, a schema that leaves its fields open) is never a fault.

use super::crd;
use super::custom;
use super::kinds::{Kind, Kinds};
use super::status::FieldError;
use crate::object::{FieldPath, Gk, Gvk, PathElement};
use crate::policy::schema::type_of;
use crate::scheme::decode;
use crate::scheme::{List, ListKind, Map as MapType, Scalar, TypeId, Types};
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::sync::Arc;

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The type has no such field.
    Unknown {
        /// Where, with the field.
        path: FieldPath,
        /// The field that was probably meant.
        near: Option<String>,
    },
    /// A value that cannot be read as the field's type.
    WrongType {
        /// The field.
        path: FieldPath,
        /// What the type takes, in words.
        wanted: &'static str,
        /// What is there; never the value, which may be a Secret's.
        found: &'static str,
    },
    /// A list's element whose key an earlier one has.
    Duplicate {
        /// The element.
        path: FieldPath,
        /// Its key, as `name="A"`.
        key: String,
        /// Position of the first element with that key.
        first: usize,
    },
    /// What the schema of a custom resource refuses: a field that is missing, a value outside its bounds.
    Rule {
        /// The field.
        path: FieldPath,
        /// What it must be; never the value.
        wanted: String,
    },
    /// A version that the kind's definition does not serve.
    NotServed {
        /// `.apiVersion`.
        path: FieldPath,
        /// The versions that it serves, the preferred one first.
        served: Vec<String>,
    },
}

impl Fault {
    /// Where it is.
    pub fn path(&self) -> &FieldPath {
        match self {
            Self::Unknown { path, .. }
            | Self::WrongType { path, .. }
            | Self::Duplicate { path, .. }
            | Self::Rule { path, .. }
            | Self::NotServed { path, .. } => path,
        }
    }
}

/// The built-in kinds, and those of some definitions.
pub struct Strict {
    builtin: Kinds,
    defined: Vec<Kind>,
}

impl Strict {
    /// The built-in kinds and those that the CustomResourceDefinitions among `objects` make.
    pub fn with_definitions<'a>(objects: impl IntoIterator<Item = &'a Value>) -> Self {
        let is_definition = |object: &&Value| {
            object.get("kind").and_then(Value::as_str) == Some("CustomResourceDefinition")
                && object.get("apiVersion").and_then(Value::as_str) == Some("apiextensions.k8s.io/v1")
        };
        let defined = objects.into_iter().filter(is_definition).filter_map(crd::to_kind).collect();
        Self { builtin: Kinds::builtin(), defined }
    }

    /// What is wrong with an object; `None` where its kind is not known. Two definitions of one kind may belong to two
    /// clusters: the kinder one counts.
    pub fn faults(&self, gvk: &Gvk, object: &Value) -> Option<Vec<Fault>> {
        let gk = gvk.gk();
        let found = self.kinds(&gk).filter_map(|kind| {
            let Some(version) = kind.version(&gvk.version).filter(|version| version.served) else {
                // A cluster may serve more versions of a built-in kind than are known here.
                return kind.custom.then(|| vec![not_served(kind)]);
            };
            let mut walk = Walk { types: kind.types.get(), path: Vec::new(), faults: Vec::new() };
            walk.value(version.root?, object);
            let mut faults = walk.faults;
            if let Some(schema) = &version.schema {
                rules(object, schema, &mut faults);
            }
            Some(faults)
        });
        let strange = |faults: &Vec<Fault>| matches!(faults[..], [Fault::NotServed { .. }]);
        found.min_by_key(|faults| (strange(faults), faults.len()))
    }

    /// True if the kind is known and its objects lie in no namespace.
    pub fn is_cluster_scoped(&self, gk: &Gk) -> bool {
        let mut kinds = self.kinds(gk).peekable();
        kinds.peek().is_some() && kinds.all(|kind| !kind.namespaced)
    }

    fn kinds<'a>(&'a self, gk: &'a Gk) -> impl Iterator<Item = &'a Kind> {
        let builtin = self.builtin.by_gk(gk).map(Arc::as_ref);
        builtin.into_iter().chain(self.defined.iter().filter(move |kind| kind.gk == *gk))
    }
}

/// Adds what a schema refuses and the types did not.
fn rules(object: &Value, schema: &Value, faults: &mut Vec<Fault>) {
    let mut defaulted = object.clone();
    custom::default(&mut defaulted, schema);
    for error in custom::validate(&defaulted, schema) {
        let path = path_of(&error.field, &defaulted);
        // Of what is wrong with one field, the first is enough: an `anyOf` after a type says it again.
        let known = faults.iter().any(|fault| *fault.path() == path);
        if let Some(wanted) = wanted(&error).filter(|_| !known) {
            faults.push(Fault::Rule { path, wanted });
        }
    }
}

/// What an error of the schema's validation asks for, without the value that is there; `None` for what the types tell.
fn wanted(error: &FieldError) -> Option<String> {
    let text = error.text.as_str();
    let after = |mark: &str| text.rsplit_once(mark).map(|(_, after)| after);
    match error.kind {
        "FieldValueRequired" => Some("is required".to_owned()),
        "FieldValueNotSupported" => after("supported values: ").map(|values| format!("must be one of {values}")),
        // Null means nothing in one place and something in another: a server says which.
        "FieldValueTypeInvalid" => {
            let (ty, found) = after("must be of type ")?.split_once(": ")?;
            (found != "\"null\"")
                .then(|| format!("must be of type {}, not {}", ty.replace(',', " or "), found.trim_matches('"')))
        }
        "FieldValueInvalid" if text.contains("must be of type date-time") => {
            Some(format!("must be {}", words(Scalar::Time)))
        }
        "FieldValueInvalid" => match after(" in body ") {
            Some(rule) => Some(rule.to_owned()),
            None => Some(format!("must {}", after("\" must ")?)),
        },
        "FieldValueTooLong" | "FieldValueTooMany" => Some(format!(
            "must {}",
            after("may not ").map(|rest| format!("not {rest}")).or_else(|| after("must ").map(str::to_owned))?
        )),
        _ => None,
    }
}

/// A path in Go's notation (`spec.rules[1].id`), read beside its object: names of a map may hold dots.
fn path_of(field: &str, object: &Value) -> FieldPath {
    let (mut rest, mut at) = (field, Some(object));
    let mut path = Vec::new();
    while !rest.is_empty() {
        if let Some((index, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'))
            && let Ok(index) = index.parse::<usize>()
        {
            at = at.and_then(|value| value.get(index));
            path.push(PathElement::Index(index));
            rest = after.strip_prefix('.').unwrap_or(after);
            continue;
        }
        let ends = |name: &&String| {
            rest.strip_prefix(name.as_str()).is_some_and(|r| r.is_empty() || r.starts_with(['.', '[']))
        };
        let known = at.and_then(Value::as_object).and_then(|map| map.keys().filter(ends).max_by_key(|name| name.len()));
        let name = known.cloned().unwrap_or_else(|| {
            let end = rest.find(['.', '[']).filter(|end| *end > 0).unwrap_or(rest.len());
            rest.get(..end).unwrap_or(rest).to_owned()
        });
        rest = rest.get(name.len()..).unwrap_or_default();
        rest = rest.strip_prefix('.').unwrap_or(rest);
        at = at.and_then(|value| value.get(&name));
        path.push(PathElement::Field(name));
    }
    FieldPath(path)
}

fn not_served(kind: &Kind) -> Fault {
    let served = kind.versions.iter().filter(|version| version.served);
    Fault::NotServed {
        path: FieldPath(vec![PathElement::Field("apiVersion".to_owned())]),
        served: served.map(|version| kind.api_version(&version.name)).collect(),
    }
}

struct Walk<'a> {
    types: &'a Types,
    path: Vec<PathElement>,
    faults: Vec<Fault>,
}

impl Walk<'_> {
    fn under(&mut self, step: PathElement, id: TypeId, value: &Value) {
        self.path.push(step);
        self.value(id, value);
        self.path.pop();
    }

    fn here(&self, step: PathElement) -> FieldPath {
        FieldPath(self.path.clone()).child(step)
    }

    fn value(&mut self, id: TypeId, value: &Value) {
        let types = self.types;
        let atom = types.atom(id);
        if value.is_null() || atom.scalar == Some(Scalar::Untyped) {
            return;
        }
        let wanted = match (atom.scalar, value, &atom.map, &atom.list) {
            (Some(scalar), ..) if decode::conform(types, id, value).is_err() => words(scalar),
            (Some(_), ..) => return,
            (_, Value::Object(fields), Some(map), _) => return self.map(map, fields),
            (_, Value::Array(items), _, Some(list)) => return self.list(list, items),
            (_, _, Some(_), _) => "a map",
            (_, _, _, Some(_)) => "a list",
            _ => return,
        };
        self.faults.push(Fault::WrongType { path: FieldPath(self.path.clone()), wanted, found: type_of(value) });
    }

    fn map(&mut self, map: &MapType, fields: &Map<String, Value>) {
        for (name, value) in fields {
            let step = PathElement::Field(name.clone());
            match map.value_type(name) {
                Some(ty) => self.under(step, ty, value),
                None => {
                    let near = nearest(name, map.fields.iter().map(|field| field.name.as_str()));
                    self.faults.push(Fault::Unknown { path: self.here(step), near });
                }
            }
        }
    }

    fn list(&mut self, list: &List, items: &[Value]) {
        let keys: Vec<Option<String>> = items.iter().map(|item| key_of(self.types, list, item)).collect();
        let mut seen = HashSet::new();
        for (i, (item, key)) in items.iter().zip(&keys).enumerate() {
            if let Some(key) = key
                && !seen.insert(key)
            {
                let first = keys.iter().position(|other| other.as_ref() == Some(key)).unwrap_or_default();
                let path = self.here(PathElement::Index(i));
                self.faults.push(Fault::Duplicate { path, key: key.clone(), first });
            }
            self.under(PathElement::Index(i), list.element, item);
        }
    }
}

/// What a scalar takes.
fn words(scalar: Scalar) -> &'static str {
    match scalar {
        Scalar::String => "a text",
        Scalar::Bytes => "base64 text",
        Scalar::Int32 => "a whole number of 32 bits",
        Scalar::Int64 => "a whole number",
        Scalar::Number => "a number",
        Scalar::Bool => "true or false",
        Scalar::Quantity => "a quantity, as in `500m` or `1Gi`",
        Scalar::IntOrString => "a whole number or a text",
        Scalar::Time | Scalar::MicroTime => "a time, as in `2006-01-02T15:04:05Z`",
        Scalar::Untyped => "anything",
    }
}

/// What tells an element from the others of its list; `None` where nothing does, or it has no key.
fn key_of(types: &Types, list: &List, item: &Value) -> Option<String> {
    match (&list.kind, item) {
        (ListKind::Set, Value::String(_) | Value::Number(_) | Value::Bool(_)) => Some(item.to_string()),
        (ListKind::Map(keys), Value::Object(fields)) => {
            let element = types.atom(list.element).map.as_ref();
            let default = |key: &str| element.and_then(|map| map.field(key)).and_then(|field| field.default.as_ref());
            let part = |key: &String| {
                let value = fields.get(key).or_else(|| default(key))?;
                Some(format!("{key}={value}"))
            };
            let parts: Vec<String> = keys.iter().filter_map(part).collect();
            (!parts.is_empty()).then(|| parts.join(", "))
        }
        _ => None,
    }
}

/// The name that was probably meant: the same but for case and separators, or a slip or two away.
fn nearest<'a>(written: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['_', '-'], "");
    let written = plain(written);
    // Of three letters, two slips make anything.
    let most = (written.len() / 3).min(2);
    names
        .map(|name| (strsim::damerau_levenshtein(&written, &plain(name)), name))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn faults(definitions: &[Value], object: &Value) -> Option<Vec<String>> {
        let text = |key: &str| object[key].as_str().unwrap();
        let gvk = Gvk::from_api_version(text("apiVersion"), text("kind"));
        let found = Strict::with_definitions(definitions).faults(&gvk, object)?;
        Some(
            found
                .into_iter()
                .map(|fault| match fault {
                    Fault::Unknown { path, near } => format!("{path} {}", near.unwrap_or_default()),
                    Fault::WrongType { path, wanted, found } => format!("{path}: {wanted}, not {found}"),
                    Fault::Duplicate { path, key, first } => format!("{path} {key} {first}"),
                    Fault::Rule { path, wanted } => format!("{path} {wanted}"),
                    Fault::NotServed { path, served } => format!("{path}: {served:?}"),
                })
                .collect(),
        )
    }

    #[test]
    fn fields_that_are_not_there_and_keys_that_are_there_twice() {
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "a", "labels": {"any": "thing"}, "lables": {}},
            "spec": {"replcas": 1, "template": {"spec": {"containers": [{"name": "c", "image": "i", "wrongThing": 1,
                "env": [{"name": "A", "value": "1"}, {"name": "B"}, {"name": "A", "value": "2"}],
                "ports": [{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 53}, {"containerPort": 53, "protocol": "TCP"}],
                "args": ["a", "a"]}]}}}});
        assert_eq!(
            faults(&[], &deployment).unwrap(),
            [
                ".metadata.lables labels",
                ".spec.replcas replicas",
                ".spec.template.spec.containers[0].wrongThing ",
                ".spec.template.spec.containers[0].env[2] name=\"A\" 0",
                ".spec.template.spec.containers[0].ports[2] containerPort=53, protocol=\"TCP\" 1",
            ]
        );
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "stringdata": {"p": "x"}, "data": {"anything": "eA=="}});
        assert_eq!(faults(&[], &secret).unwrap(), [".stringdata stringData"]);
    }

    #[test]
    fn values_of_another_type() {
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "annotations": {"n": 1}},
            "spec": {"replicas": null, "paused": "false", "template": {"spec": {
                "securityContext": {"runAsUser": "0"}, "volumes": {},
                "containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": 0.5, "memory": "1 Gi"}}, "args": [1],
                    "livenessProbe": {"httpGet": {"port": "http"}, "periodSeconds": 1.5}}]}}}});
        assert_eq!(
            faults(&[], &deployment).unwrap(),
            [
                ".metadata.annotations.n: a text, not a number",
                ".spec.paused: true or false, not a text",
                ".spec.template.spec.securityContext.runAsUser: a whole number, not a text",
                ".spec.template.spec.volumes: a list, not a map",
                ".spec.template.spec.containers[0].resources.limits.memory: a quantity, as in `500m` or `1Gi`, not a text",
                ".spec.template.spec.containers[0].args[0]: a text, not a number",
                ".spec.template.spec.containers[0].livenessProbe.periodSeconds: a whole number of 32 bits, not a number",
            ]
        );
        let secret =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "data": {"p": "hunter2!"}});
        assert_eq!(faults(&[], &secret).unwrap(), [".data.p: base64 text, not a text"]);
    }

    #[test]
    fn what_a_definition_asks_for() {
        let text = |more: Value| {
            let mut schema = json!({"type": "string"});
            schema.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            schema
        };
        let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "foos.x.io"}, "spec": {"group": "x.io", "scope": "Namespaced",
            "names": {"plural": "foos", "kind": "Foo"}, "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "required": ["spec"], "properties": {"spec": {
                    "type": "object", "required": ["size", "mode"], "properties": {
                        "size": {"type": "integer", "minimum": 1}, "mode": text(json!({"enum": ["a", "b"], "default": "a"})),
                        "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
                        "short": text(json!({"maxLength": 3})), "since": text(json!({"format": "date-time"})),
                        "form": text(json!({"pattern": "^x"})), "none": {"type": "integer"},
                        "byName": {"type": "object", "additionalProperties": {"type": "object", "required": ["id"],
                            "properties": {"id": text(json!({}))}}},
                        "list": {"type": "array", "maxItems": 1, "items": {"type": "object", "required": ["id"],
                            "properties": {"id": text(json!({}))}}}}}}}}}]}});
        let of = |spec: Value| {
            let foo = json!({"apiVersion": "x.io/v1", "kind": "Foo", "metadata": {"name": "a"}, "spec": spec});
            faults(std::slice::from_ref(&definition), &foo).unwrap()
        };
        assert_eq!(of(json!({"size": 1, "port": "http", "none": null, "byName": {"a.b": {"id": "x"}}})), [""; 0]);
        assert_eq!(of(json!({})), [".spec.size is required"], "a default is given");
        assert_eq!(
            of(
                json!({"size": 0, "mode": "hunter2", "port": {}, "short": "hunter2", "since": "hunter2", "form": "hunter2",
                "byName": {"a.b": {}}, "list": [{"id": "x"}, {}]})
            ),
            [
                ".spec.size should be greater than or equal to 1",
                ".spec.mode must be one of \"a\", \"b\"",
                ".spec.port must be of type integer or string, not object",
                ".spec.short must not be more than 3 bytes",
                ".spec.since must be a time, as in `2006-01-02T15:04:05Z`",
                ".spec.form should match '^x'",
                ".spec.byName[\"a.b\"].id is required",
                ".spec.list must have at most 1 items",
                ".spec.list[1].id is required",
            ]
        );
        assert_eq!(of(json!({"size": "1"})), [".spec.size: a whole number, not a text"], "told once");
        let empty = json!({"apiVersion": "x.io/v1", "kind": "Foo", "metadata": {"name": "a"}});
        assert_eq!(faults(std::slice::from_ref(&definition), &empty).unwrap(), [".spec is required"]);
    }

    #[test]
    fn custom_kinds_by_their_definitions_and_others_not_at_all() {
        let definition = |properties: Value| {
            json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": "foos.x.io"}, "spec": {"group": "x.io", "scope": "Namespaced",
                "names": {"plural": "foos", "kind": "Foo"}, "versions": [{"name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}}}]}})
        };
        let spec = json!({"spec": {"type": "object", "properties": {
            "size": {"type": "integer"}, "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "rules": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
                "items": {"type": "object", "properties": {"id": {"type": "string"}}}}}}});
        let foo = json!({"apiVersion": "x.io/v1", "kind": "Foo", "metadata": {"name": "a"},
            "spec": {"sise": 1, "free": {"any": 1}, "rules": [{"id": "a"}, {"id": "a"}]}});
        let narrow = definition(spec);
        let expected = [".spec.sise size", ".spec.rules[1] id=\"a\" 0"];
        assert_eq!(faults(std::slice::from_ref(&narrow), &foo).unwrap(), expected);
        assert_eq!(faults(&[], &foo), None);
        let open = definition(json!({"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}));
        let later = json!({"apiVersion": "x.io/v2", "kind": "Foo"});
        assert_eq!(faults(std::slice::from_ref(&narrow), &later).unwrap(), [".apiVersion: [\"x.io/v1\"]"]);
        let gk = Gk::new("x.io", "Foo");
        let scoped = |definitions: &[Value], gk: &Gk| Strict::with_definitions(definitions).is_cluster_scoped(gk);
        assert!(!scoped(std::slice::from_ref(&narrow), &gk) && !scoped(&[], &gk));
        assert!(scoped(&[], &Gk::new("", "Namespace")) && !scoped(&[], &Gk::new("", "Pod")));
        assert_eq!(faults(&[narrow, open], &foo).unwrap(), [""; 0], "another cluster's definition takes it");
        assert_eq!(faults(&[], &json!({"apiVersion": "apps/v1beta9", "kind": "Deployment"})), None);
    }
}
