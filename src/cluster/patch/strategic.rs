//! Strategic merge patch: a merge patch that knows the merge keys of lists and obeys directives.
//!
//! In: an object, a patch and the object's type. Out: the patched object. A port of
//! k8s.io/apimachinery/pkg/util/strategicpatch/patch.go (`mergeMap` with `MergeParallelList` and `IgnoreUnmatchedNulls`).

use crate::scheme::{TypeId, Types};
use serde_json::{Map, Value};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ELEMENT_ORDER: &str = "$setElementOrder/";

/// What is known of a field: the type of its value (of its elements, for a list), and how lists merge.
#[derive(Clone, Default)]
struct Meta {
    ty: Option<TypeId>,
    merge: bool,
    replace: bool,
    merge_key: String,
}

/// Applies a patch to an object of a type.
pub fn apply(types: &Types, root: TypeId, object: &Value, patch: &Value) -> Result<Value, String> {
    let (Value::Object(original), Value::Object(patch)) = (object, patch) else {
        return Err("expected a map".into());
    };
    let merged = merge_map(types, Some(root), original.clone(), patch.clone())?;
    Ok(Value::Object(merged))
}

fn meta(types: &Types, owner: Option<TypeId>, key: &str) -> Meta {
    let Some(map) = owner.and_then(|id| types.atom(id).map.as_ref()) else { return Meta::default() };
    let Some(field) = map.field(key) else {
        return Meta { ty: map.element, ..Meta::default() };
    };
    let ty = types.atom(field.ty).list.as_ref().map_or(field.ty, |list| list.element);
    let strategy = field.patch.as_deref().unwrap_or_default();
    Meta {
        ty: Some(ty),
        merge: strategy.split('+').any(|s| s == "merge"),
        replace: strategy.split('+').any(|s| s == "replace"),
        merge_key: field.merge_key.clone().unwrap_or_default(),
    }
}

/// A value as Go's `%v` prints it.
pub fn go_text(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(&String, &Value)> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            let parts: Vec<String> = entries.iter().map(|(key, value)| format!("{key}:{}", go_text(value))).collect();
            format!("map[{}]", parts.join(" "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(go_text).collect::<Vec<_>>().join(" ")),
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".to_owned(),
        other => other.to_string(),
    }
}

type Object = Map<String, Value>;

fn merge_map(types: &Types, ty: Option<TypeId>, mut original: Object, mut patch: Object) -> Result<Object, String> {
    if let Some(directive) = patch.get(DIRECTIVE).cloned() {
        return match directive.as_str() {
            Some("replace") => {
                patch.shift_remove(DIRECTIVE);
                Ok(patch)
            }
            Some("delete") => Ok(Object::new()),
            Some("merge") => {
                patch.shift_remove(DIRECTIVE);
                merge_map(types, ty, original, patch)
            }
            _ => Err(format!("unknown patch type found: {directive}")),
        };
    }
    retain_keys(&mut original, &mut patch)?;
    element_orders(types, ty, &mut original, &mut patch)?;
    for (key, value) in patch {
        let (key, delete_list) = match key.strip_prefix(DELETE_FROM) {
            Some(name) => (name.to_owned(), true),
            None => (key, false),
        };
        if value.is_null() {
            original.shift_remove(&key);
            continue;
        }
        let Some(present) = original.get_mut(&key) else {
            if !delete_list && let Some(clean) = without_directives(value) {
                original.insert(key, clean);
            }
            continue;
        };
        match (present, value) {
            (Value::Object(own), Value::Object(theirs)) => {
                let meta = meta(types, ty, &key);
                *own = if meta.replace { theirs } else { merge_map(types, meta.ty, std::mem::take(own), theirs)? };
            }
            (Value::Array(own), Value::Array(theirs)) => {
                let meta = meta(types, ty, &key);
                let own_items = std::mem::take(own);
                *own = if delete_list {
                    own_items.into_iter().filter(|item| !theirs.contains(item)).collect()
                } else if meta.merge {
                    merge_list(types, &meta, own_items, theirs)?
                } else {
                    theirs
                };
            }
            (place, value) => {
                if !delete_list {
                    match without_directives(value) {
                        Some(clean) => *place = clean,
                        None => {
                            original.shift_remove(&key);
                        }
                    }
                }
            }
        }
    }
    Ok(original)
}

fn retain_keys(original: &mut Object, patch: &mut Object) -> Result<(), String> {
    let Some(keys) = patch.shift_remove(RETAIN_KEYS) else { return Ok(()) };
    let bad = || "Bad patch format: $retainKeys".to_owned();
    let keys = keys.as_array().cloned().ok_or_else(bad)?;
    let kept = |key: &str| keys.iter().any(|k| k.as_str() == Some(key));
    let covered = patch.iter().all(|(key, value)| {
        value.is_null() || key.starts_with(DELETE_FROM) || key.starts_with(ELEMENT_ORDER) || kept(key)
    });
    if !covered {
        return Err(bad());
    }
    original.retain(|key, _| kept(key));
    Ok(())
}

/// `$setElementOrder/KEY`: the patched list has this order, with what only the server has in between.
fn element_orders(types: &Types, ty: Option<TypeId>, original: &mut Object, patch: &mut Object) -> Result<(), String> {
    let directives: Vec<String> = patch.keys().filter(|key| key.starts_with(ELEMENT_ORDER)).cloned().collect();
    for directive in directives {
        let Some(Value::Array(order)) = patch.shift_remove(&directive) else {
            return Err("Bad patch format: $setElementOrder".into());
        };
        let key = directive[ELEMENT_ORDER.len()..].to_owned();
        let own = original.get(&key).and_then(Value::as_array).cloned();
        let theirs = match patch.shift_remove(&key) {
            Some(Value::Array(items)) => Some(items),
            Some(Value::Null) => {
                original.shift_remove(&key);
                continue;
            }
            _ => None,
        };
        let meta = meta(types, ty, &key);
        let merged = match (&own, theirs) {
            (Some(own), None) => own.clone(),
            (None, Some(items)) => items.into_iter().filter_map(without_directives).collect(),
            (Some(own), Some(items)) if meta.merge => merge_list(types, &meta, own.clone(), items)?,
            (Some(_), Some(items)) => items,
            (None, None) => continue,
        };
        let ordered = ordered(merged, &order, own.as_deref().unwrap_or_default(), &meta.merge_key);
        original.insert(key, Value::Array(ordered));
    }
    Ok(())
}

fn merge_list(types: &Types, meta: &Meta, original: Vec<Value>, patch: Vec<Value>) -> Result<Vec<Value>, String> {
    if original.is_empty() && patch.is_empty() {
        return Ok(original);
    }
    let maps = original.iter().chain(&patch).any(Value::is_object);
    if !maps {
        let mut merged: Vec<Value> = Vec::with_capacity(original.len() + patch.len());
        for item in original.iter().chain(&patch) {
            if !merged.contains(item) {
                merged.push(item.clone());
            }
        }
        return Ok(ordered(merged, &patch, &original, ""));
    }
    if meta.merge_key.is_empty() {
        return Err("cannot merge lists without merge key".into());
    }
    let key = meta.merge_key.as_str();
    let (original, patch) = special_elements(original, patch, key)?;
    let mut merged = original.clone();
    for item in &patch {
        let Some(wanted) = item.get(key) else {
            return Err(format!("map: {} does not contain declared merge key: {key}", go_text(item)));
        };
        let position = merged.iter().position(|own| own.get(key) == Some(wanted));
        match (position, item) {
            (Some(i), Value::Object(fields)) => {
                let own = merged[i].as_object().cloned().unwrap_or_default();
                merged[i] = Value::Object(merge_map(types, meta.ty, own, fields.clone())?);
            }
            _ => merged.extend(without_directives(item.clone())),
        }
    }
    Ok(ordered(merged, &patch, &original, key))
}

/// Takes `$patch: delete` and `$patch: replace` elements out of a list of maps.
fn special_elements(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), String> {
    let mut rest = Vec::with_capacity(patch.len());
    let mut replace = false;
    for item in patch {
        match item.get(DIRECTIVE).and_then(Value::as_str) {
            None => rest.push(item),
            Some("delete") => {
                let Some(wanted) = item.get(key) else {
                    return Err(format!("map: {} does not contain declared merge key: {key}", go_text(&item)));
                };
                original.retain(|own| own.get(key) != Some(wanted));
            }
            Some("replace") => replace = true,
            Some("merge") => return Err("merging lists cannot yet be specified in the patch".into()),
            Some(other) => return Err(format!("unknown patch type found: {other}")),
        }
    }
    Ok(if replace { (rest, Vec::new()) } else { (original, rest) })
}

fn same(left: &Value, right: &Value, key: &str) -> bool {
    if key.is_empty() { left == right } else { left.get(key).is_some() && left.get(key) == right.get(key) }
}

/// `normalizeElementOrder`: items of the patch in the patch's order, items of the server between them in its own.
fn ordered(merged: Vec<Value>, patch_order: &[Value], server_order: &[Value], key: &str) -> Vec<Value> {
    let index = |list: &[Value], item: &Value| list.iter().position(|other| same(other, item, key));
    let (mut patched, mut server): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|item| index(patch_order, item).is_some());
    patched.sort_by_key(|item| index(patch_order, item));
    server.sort_by_key(|item| index(server_order, item).unwrap_or(usize::MAX));
    let mut out = Vec::with_capacity(patched.len() + server.len());
    let (mut left, mut right) = (server.into_iter().peekable(), patched.into_iter().peekable());
    loop {
        let take_left = match (left.peek(), right.peek()) {
            (None, None) => return out,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(l), Some(r)) => match (index(server_order, l), index(server_order, r)) {
                (Some(li), Some(ri)) => li < ri,
                _ => false,
            },
        };
        out.extend(if take_left { left.next() } else { right.next() });
    }
}

/// A patch value where there was none: directives and nulls are dropped. `None` if nothing is left to keep.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) => {
            if map.get(DIRECTIVE).and_then(Value::as_str) == Some("delete") {
                return None;
            }
            let kept = map
                .into_iter()
                .filter(|(key, value)| {
                    let directive = key == DIRECTIVE
                        || key == RETAIN_KEYS
                        || key.starts_with(DELETE_FROM)
                        || key.starts_with(ELEMENT_ORDER);
                    !directive && !value.is_null()
                })
                .filter_map(|(key, value)| Some((key, without_directives(value)?)));
            Some(Value::Object(kept.collect()))
        }
        Value::Array(items) => Some(Value::Array(items.into_iter().filter_map(without_directives).collect())),
        other => Some(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patched(object: &Value, patch: &Value) -> Value {
        let types = Types::builtin();
        apply(types, types.named("apps.v1.Deployment").unwrap(), object, patch).unwrap()
    }

    fn deployment(containers: &Value) -> Value {
        json!({"spec": {"template": {"spec": {"containers": containers}}}})
    }

    #[test]
    fn lists_merge_by_their_keys() {
        let live =
            deployment(&json!([{"name": "a", "image": "a:1", "env": [{"name": "X", "value": "1"}]}, {"name": "b"}]));
        for (patch, expected) in [
            (
                json!([{"name": "a", "image": "a:2"}]),
                json!([{"name": "a", "image": "a:2", "env": [{"name": "X", "value": "1"}]}, {"name": "b"}]),
            ),
            (json!([{"name": "a", "$patch": "delete"}]), json!([{"name": "b"}])),
            (json!([{"$patch": "replace"}, {"name": "c"}]), json!([{"name": "c"}])),
            (
                json!([{"name": "a", "env": [{"name": "Y", "value": "2"}]}]),
                json!([{"name": "a", "image": "a:1",
                        "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "1"}]}, {"name": "b"}]),
            ),
        ] {
            assert_eq!(patched(&live, &deployment(&patch)), deployment(&expected), "{patch}");
        }
    }

    #[test]
    fn directives() {
        let live = json!({"metadata": {"finalizers": ["a", "b"]},
            "spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
        assert_eq!(
            patched(&live, &json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}))["spec"],
            json!({"strategy": {"type": "Recreate"}})
        );
        assert_eq!(
            patched(&live, &json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}))["metadata"],
            json!({"finalizers": ["b"]})
        );
        let live = deployment(&json!([{"name": "a"}, {"name": "b"}, {"name": "c"}]));
        let patch = json!({"spec": {"template": {"spec": {
            "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}], "containers": [{"name": "a", "image": "x"}]}}}});
        let names: Vec<Value> = patched(&live, &patch)["spec"]["template"]["spec"]["containers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c["name"].clone())
            .collect();
        assert_eq!(names, ["b", "c", "a"]);
    }
}
