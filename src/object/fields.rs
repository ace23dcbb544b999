//! Sets of fields: who owns what, in the tree form of `metadata.managedFields[].fieldsV1`.
//!
//! A set holds paths. A path may be a member and have members below it (`"."` in `fieldsV1`). The encoding is that of
//! structured-merge-diff (sigs.k8s.io/structured-merge-diff, `fieldpath/serialize.go`).

use super::path::{FieldPath, PathElement};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A set of field paths.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldSet {
    /// True if the path to this node is itself a member.
    pub member: bool,
    /// What lies below.
    pub children: BTreeMap<PathElement, FieldSet>,
}

impl FieldSet {
    /// Reads `fieldsV1`. Unknown keys are skipped: a newer server may write forms we do not know.
    pub fn parse(fields_v1: &Value) -> Self {
        let mut root = Self::read(fields_v1);
        root.member = false;
        root
    }

    fn read(value: &Value) -> Self {
        let Value::Object(map) = value else { return Self { member: true, children: BTreeMap::new() } };
        let children: BTreeMap<PathElement, Self> = map
            .iter()
            .filter(|(key, _)| *key != ".")
            .filter_map(|(key, child)| Some((PathElement::parse(key)?, Self::read(child))))
            .collect();
        Self { member: children.is_empty() || map.contains_key("."), children }
    }

    /// The `fieldsV1` form.
    pub fn to_fields_v1(&self) -> Value {
        let mut map = Map::new();
        if self.member && !self.children.is_empty() {
            map.insert(".".into(), Value::Object(Map::new()));
        }
        for (element, child) in &self.children {
            map.insert(element.to_fields_v1(), child.to_fields_v1());
        }
        Value::Object(map)
    }

    /// True if there is no path in it.
    pub fn is_empty(&self) -> bool {
        !self.member && self.children.values().all(Self::is_empty)
    }

    /// Adds a path.
    pub fn insert(&mut self, path: &[PathElement]) {
        match path.split_first() {
            None => self.member = true,
            Some((first, rest)) => self.children.entry(first.clone()).or_default().insert(rest),
        }
    }

    /// True if the path is a member.
    pub fn contains(&self, path: &[PathElement]) -> bool {
        match path.split_first() {
            None => self.member,
            Some((first, rest)) => self.children.get(first).is_some_and(|child| child.contains(rest)),
        }
    }

    /// Every member path, sorted.
    pub fn paths(&self) -> Vec<FieldPath> {
        let mut out = Vec::new();
        self.collect(&mut FieldPath::default(), &mut out);
        out
    }

    fn collect(&self, at: &mut FieldPath, out: &mut Vec<FieldPath>) {
        if self.member {
            out.push(at.clone());
        }
        for (element, child) in &self.children {
            at.0.push(element.clone());
            child.collect(at, out);
            at.0.pop();
        }
    }

    /// Paths in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut out = self.clone();
        out.member |= other.member;
        for (element, child) in &other.children {
            let merged = out.children.get(element).map_or_else(|| child.clone(), |own| own.union(child));
            out.children.insert(element.clone(), merged);
        }
        out
    }

    /// Paths in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let children = self
            .children
            .iter()
            .filter_map(|(element, child)| Some((element.clone(), child.intersection(other.children.get(element)?))))
            .filter(|(_, child)| !child.is_empty())
            .collect();
        Self { member: self.member && other.member, children }
    }

    /// Paths in `self` that are not in `other`.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let children = self
            .children
            .iter()
            .map(|(element, child)| {
                let rest = other.children.get(element).map_or_else(|| child.clone(), |o| child.difference(o));
                (element.clone(), rest)
            })
            .filter(|(_, child)| !child.is_empty())
            .collect();
        Self { member: self.member && !other.member, children }
    }

    /// The values of `object` at this set's leaves, as one JSON value with path texts for keys. Two objects whose
    /// projections are equal agree in every field of the set.
    pub fn project(&self, object: &Value) -> Value {
        let mut out = Map::new();
        self.project_into(object, &mut FieldPath::default(), &mut out);
        Value::Object(out)
    }

    fn project_into(&self, value: &Value, at: &mut FieldPath, out: &mut Map<String, Value>) {
        if self.member {
            // Of a struct or list that has owned fields below it, only the existence is owned, not the content.
            let shown = if self.children.is_empty() { value.clone() } else { Value::Bool(true) };
            out.insert(at.to_string(), shown);
        }
        for (element, child) in &self.children {
            if let Some(next) = element.step(value) {
                at.0.push(element.clone());
                child.project_into(next, at, out);
                at.0.pop();
            }
        }
    }
}

/// The fields that `manager` owns by `operation` (`Apply` or `Update`) in a live object, without subresources.
pub fn owned_by(managed_fields: &[Value], manager: &str, operation: &str) -> FieldSet {
    managed_fields
        .iter()
        .filter(|entry| {
            entry.get("manager").and_then(Value::as_str) == Some(manager)
                && entry.get("operation").and_then(Value::as_str) == Some(operation)
                && entry.get("subresource").and_then(Value::as_str).unwrap_or_default().is_empty()
        })
        .filter_map(|entry| entry.get("fieldsV1"))
        .fold(FieldSet::default(), |set, fields| set.union(&FieldSet::parse(fields)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sample() -> Value {
        json!({"f:metadata": {"f:labels": {".": {}, "f:app": {}}},
               "f:spec": {"f:replicas": {}, "f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:image": {}}},
                          "f:finalizers": {"v:\"x\"": {}}}})
    }

    #[test]
    fn round_trip() {
        let set = FieldSet::parse(&sample());
        assert_eq!(set.to_fields_v1(), sample());
        let paths: Vec<String> = set.paths().iter().map(ToString::to_string).collect();
        assert_eq!(
            paths,
            [
                ".metadata.labels",
                ".metadata.labels.app",
                ".spec.containers[name=\"a\"]",
                ".spec.containers[name=\"a\"].image",
                ".spec.finalizers[=\"x\"]",
                ".spec.replicas"
            ]
        );
    }

    #[test]
    fn algebra() {
        let set = FieldSet::parse(&sample());
        let small = FieldSet::parse(&json!({"f:spec": {"f:replicas": {}}}));
        assert!(
            !set.difference(&small)
                .contains(&[PathElement::Field("spec".into()), PathElement::Field("replicas".into())])
        );
        assert_eq!(set.intersection(&small), small);
        assert_eq!(set.difference(&small).union(&small), set);
        assert!(set.difference(&set).is_empty());
    }

    #[test]
    fn projection_ignores_what_is_not_owned() {
        let set = FieldSet::parse(&sample());
        let a = json!({"metadata": {"labels": {"app": "x", "other": "1"}}, "spec": {"replicas": 2,
            "containers": [{"name": "a", "image": "i:1", "tty": true}], "finalizers": ["x", "y"]}});
        let mut b = a.clone();
        b["metadata"]["labels"]["other"] = json!("2");
        b["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "sidecar"}));
        assert_eq!(set.project(&a), set.project(&b));
        b["spec"]["containers"][0]["image"] = json!("i:2");
        assert_ne!(set.project(&a), set.project(&b));
    }
}
