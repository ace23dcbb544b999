//! Work with sets of owned fields: cut an object down to a set, cut a set out of an object, and find the part of a set
//! that a JSON pointer names. The rules are those of server-side apply (structured-merge-diff, `typed/remove.go`).

use super::input::{HANDOVER_MANAGER, MANAGER};
use crate::object::fields::owned_by;
use crate::object::{FieldSet, PathElement};
use serde_json::{Map, Value};

/// The fields we apply.
pub fn ours(object: &Value) -> FieldSet {
    owned_by(managed_fields(object), MANAGER, "Apply")
}

/// The fields that were handed over.
pub fn handed_over(object: &Value) -> FieldSet {
    owned_by(managed_fields(object), HANDOVER_MANAGER, "Apply")
}

/// `metadata.managedFields`, of a live object or of an answer.
pub fn managed_fields(object: &Value) -> &[Value] {
    object.pointer("/metadata/managedFields").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A managed-fields entry's manager, operation and whether it is about the object itself (no subresource).
pub fn entry_head(entry: &Value) -> (&str, &str, bool) {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
    (text("manager"), text("operation"), text("subresource").is_empty())
}

/// The fields of every entry that `wanted` selects, subresources included.
pub fn fields_where(object: &Value, mut wanted: impl FnMut(&str, &str, bool) -> bool) -> FieldSet {
    managed_fields(object)
        .iter()
        .filter(|entry| {
            let (manager, operation, main) = entry_head(entry);
            wanted(manager, operation, main)
        })
        .filter_map(|entry| entry.get("fieldsV1"))
        .fold(FieldSet::default(), |set, fields| set.union(&FieldSet::parse(fields)))
}

/// The object cut down to the set: what one would apply to own exactly these fields at the values of `value`.
pub fn extract(set: &FieldSet, value: &Value) -> Option<Value> {
    if set.children.is_empty() {
        return set.member.then(|| value.clone());
    }
    match value {
        Value::Object(map) => {
            let out: Map<String, Value> = set
                .children
                .iter()
                .filter_map(|(element, child)| match element {
                    PathElement::Field(name) => Some((name.clone(), extract(child, map.get(name)?)?)),
                    _ => None,
                })
                .collect();
            (set.member || !out.is_empty()).then_some(Value::Object(out))
        }
        Value::Array(items) => {
            let mut out: Vec<(usize, Value)> =
                set.children.iter().filter_map(|(element, child)| extract_item(element, child, value, items)).collect();
            out.sort_by_key(|(position, _)| *position);
            let out: Vec<Value> = out.into_iter().map(|(_, item)| item).collect();
            (set.member || !out.is_empty()).then_some(Value::Array(out))
        }
        _ => None,
    }
}

fn extract_item(element: &PathElement, child: &FieldSet, list: &Value, items: &[Value]) -> Option<(usize, Value)> {
    let item = element.step(list)?;
    let position = position_of(items, item)?;
    let PathElement::Key(keys) = element else { return Some((position, item.clone())) };
    let mut out = match (child.children.is_empty(), extract(child, item)) {
        (false, Some(Value::Object(map))) => map,
        _ => Map::new(),
    };
    for (name, scalar) in keys {
        if !out.contains_key(name) {
            out.insert(name.clone(), scalar.to_value());
        }
    }
    Some((position, Value::Object(out)))
}

fn position_of(items: &[Value], item: &Value) -> Option<usize> {
    items.iter().position(|candidate| std::ptr::eq(candidate, item))
}

/// Cuts the set's fields out of an object, as server-side apply does with fields that nobody applies any more. A list
/// element goes as a whole unless `keep` (what others own) has something in it.
pub fn remove(set: &FieldSet, keep: &FieldSet, value: &mut Value) {
    let none = FieldSet::default();
    match value {
        Value::Object(map) => {
            for (element, child) in &set.children {
                let PathElement::Field(name) = element else { continue };
                let kept = keep.children.get(element).unwrap_or(&none);
                let gone = match map.get_mut(name) {
                    None => false,
                    Some(_) if child.children.is_empty() => child.member && kept.is_empty(),
                    Some(below) => {
                        remove(child, kept, below);
                        kept.is_empty() && is_empty(below)
                    }
                };
                if gone {
                    map.shift_remove(name);
                }
            }
        }
        Value::Array(_) => remove_items(set, keep, value),
        _ => {}
    }
}

fn remove_items(set: &FieldSet, keep: &FieldSet, list: &mut Value) {
    let none = FieldSet::default();
    for (element, child) in &set.children {
        let kept = keep.children.get(element).unwrap_or(&none);
        let found = match (element.step(list), list.as_array()) {
            (Some(item), Some(items)) => position_of(items, item),
            _ => None,
        };
        let (Some(position), Value::Array(items)) = (found, &mut *list) else { continue };
        if child.member && kept.is_empty() {
            items.remove(position);
        } else if let Some(item) = items.get_mut(position) {
            remove(child, kept, item);
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// The part of the set at or below a JSON pointer. `shapes` are objects in which positions of lists are looked up, the
/// first that has the position wins.
pub fn select(set: &FieldSet, shapes: &[&Value], tokens: &[String]) -> FieldSet {
    let Some((token, rest)) = tokens.split_first() else { return set.clone() };
    let Some((element, child, next)) = step(set, shapes, token) else { return FieldSet::default() };
    let below = select(child, &next, rest);
    let mut out = FieldSet::default();
    if !below.is_empty() {
        out.children.insert(element.clone(), below);
    }
    out
}

/// True if the pointer leads into a value that is owned as one (an atomic list or map).
pub fn inside_atomic(set: &FieldSet, shapes: &[&Value], tokens: &[String]) -> bool {
    let Some((token, rest)) = tokens.split_first() else { return false };
    if set.member && set.children.is_empty() {
        return true;
    }
    step(set, shapes, token).is_some_and(|(_, child, next)| inside_atomic(child, &next, rest))
}

type Stepped<'s, 'v> = (&'s PathElement, &'s FieldSet, Vec<&'v Value>);

fn step<'s, 'v>(set: &'s FieldSet, shapes: &[&'v Value], token: &str) -> Option<Stepped<'s, 'v>> {
    let field = PathElement::Field(token.to_owned());
    if let Some((element, child)) = set.children.get_key_value(&field) {
        return Some((element, child, shapes.iter().filter_map(|shape| shape.get(token)).collect()));
    }
    let position: usize = token.parse().ok()?;
    let item = shapes.iter().find_map(|shape| shape.as_array()?.get(position))?;
    let list = shapes.iter().find(|shape| shape.as_array().is_some_and(|items| position_of(items, item).is_some()))?;
    let (element, child) =
        set.children.iter().find(|(element, _)| element.step(list).is_some_and(|found| std::ptr::eq(found, item)))?;
    Some((element, child, shapes.iter().filter_map(|shape| element.step(shape)).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set() -> FieldSet {
        FieldSet::parse(&json!({"f:spec": {"f:replicas": {}, "f:template": {"f:containers": {
            "k:{\"name\":\"a\"}": {".": {}, "f:name": {}, "f:image": {}},
            "k:{\"name\":\"b\"}": {".": {}, "f:name": {}}}}}}))
    }

    fn object() -> Value {
        json!({"spec": {"replicas": 3, "paused": true, "template": {"containers": [
            {"name": "b", "image": "b:1"}, {"name": "a", "image": "a:1", "tty": true}]}}})
    }

    #[test]
    fn extract_keeps_owned_fields_keys_and_list_order() {
        assert_eq!(
            extract(&set(), &object()),
            Some(json!({"spec": {"replicas": 3, "template": {"containers": [
                {"name": "b"}, {"name": "a", "image": "a:1"}]}}}))
        );
    }

    #[test]
    fn remove_drops_elements_unless_someone_else_is_in_them() {
        let mut value = object();
        let keep = FieldSet::parse(&json!({"f:spec": {"f:template": {"f:containers": {
            "k:{\"name\":\"a\"}": {"f:tty": {}}}}}}));
        remove(&set(), &keep, &mut value);
        assert_eq!(
            value,
            json!({"spec": {"paused": true, "template": {"containers": [{"tty": true}]}}}),
            "the element stays, its owned fields go"
        );
    }

    #[test]
    fn pointers_select_parts_of_sets() {
        let live = object();
        let tokens = |p: &str| p.split('/').skip(1).map(str::to_owned).collect::<Vec<_>>();
        let paths = |p: &str| -> Vec<String> {
            select(&set(), &[&live], &tokens(p)).paths().iter().map(ToString::to_string).collect()
        };
        assert_eq!(paths("/spec/replicas"), [".spec.replicas"]);
        assert_eq!(paths("/spec/template/containers/1/image"), [".spec.template.containers[name=\"a\"].image"]);
        assert!(paths("/spec/nothing").is_empty());
        assert!(inside_atomic(&set(), &[&live], &tokens("/spec/replicas/x")));
        assert!(!inside_atomic(&set(), &[&live], &tokens("/spec/template/containers/1/image")));
    }
}
