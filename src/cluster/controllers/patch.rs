//! Writes as the smallest merge patch: a write that changes nothing is no write.

use super::meta::{items, name, namespace, same, uid};
use crate::cluster::view::Write;
use crate::object::Gk;
use serde_json::{Map, Value, json};

/// The RFC 7396 patch that makes `new` of `old`; `None` where they are equal. Null in `new` means absent. Inside a
/// list, null, absent and empty are the same: a server may have dropped them.
pub fn merge_diff(old: &Value, new: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        let equal = if old.is_array() && new.is_array() { same(old, new) } else { old == new };
        return (!equal).then(|| new.clone());
    };
    let mut patch = Map::new();
    for (key, value) in new {
        match old.get(key) {
            _ if value.is_null() => {
                if old.get(key).is_some_and(|v| !v.is_null()) {
                    patch.insert(key.clone(), Value::Null);
                }
            }
            Some(before) => {
                if let Some(diff) = merge_diff(before, value) {
                    patch.insert(key.clone(), diff);
                }
            }
            None => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    // A server that keeps a null has nothing there either.
    for (key, _) in old.iter().filter(|(key, value)| !value.is_null() && !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// Makes the object's status this one, if it is not so already.
pub fn status(kind: &Gk, object: &Value, new: &Value) -> Option<Write> {
    let empty = json!({});
    let old = if object["status"].is_object() { &object["status"] } else { &empty };
    merge_diff(old, new).map(|diff| patch(kind, object, json!({"status": diff}), Some("status")))
}

/// A merge patch of this very object.
pub fn patch(kind: &Gk, object: &Value, mut body: Value, subresource: Option<&str>) -> Write {
    if let Some(map) = body.as_object_mut()
        && !uid(object).is_empty()
    {
        let metadata = map.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("uid".to_owned(), json!(uid(object)));
        }
    }
    Write::MergePatch {
        gk: kind.clone(),
        namespace: namespace(object).map(str::to_owned),
        name: name(object).to_owned(),
        patch: body,
        subresource: subresource.map(str::to_owned),
    }
}

/// Creates an object.
pub fn create(object: Value) -> Write {
    Write::Create { object }
}

/// Deletes this very object.
pub fn delete(kind: &Gk, object: &Value, propagation: Option<&str>) -> Write {
    Write::Delete {
        gk: kind.clone(),
        namespace: namespace(object).map(str::to_owned),
        name: name(object).to_owned(),
        uid: Some(uid(object).to_owned()).filter(|uid| !uid.is_empty()),
        propagation: propagation.map(str::to_owned),
        grace_seconds: None,
    }
}

/// Sets the finalizers of an object.
pub fn finalizers(kind: &Gk, object: &Value, finalizers: &Value) -> Write {
    let value = if items(finalizers).is_empty() { Value::Null } else { finalizers.clone() };
    // The resource version: what someone else has added in between must not be lost.
    let version = object["metadata"]["resourceVersion"].clone();
    patch(kind, object, json!({"metadata": {"finalizers": value, "resourceVersion": version}}), None)
}

/// Sets the owner references of an object.
pub fn owners(kind: &Gk, object: &Value, owners: Vec<Value>) -> Write {
    let value = if owners.is_empty() { Value::Null } else { Value::Array(owners) };
    let version = object["metadata"]["resourceVersion"].clone();
    patch(kind, object, json!({"metadata": {"ownerReferences": value, "resourceVersion": version}}), None)
}

/// Carries out a merge patch (RFC 7396).
pub fn apply_merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Value::Object(map) = target else { return };
    for (key, change) in changes {
        if change.is_null() {
            map.shift_remove(key);
        } else {
            apply_merge(map.entry(key.clone()).or_insert(Value::Null), change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tree() -> impl Strategy<Value = Value> {
        let leaf =
            prop_oneof![any::<bool>().prop_map(Value::from), (0..4i64).prop_map(Value::from), Just(json!([1, 2]))];
        let leaf = leaf.prop_recursive(3, 16, 4, |inner| {
            prop::collection::btree_map("[a-c]", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect()))
        });
        prop::collection::btree_map("[a-c]", leaf, 0..4).prop_map(|map| Value::Object(map.into_iter().collect()))
    }

    proptest! {
        #[test]
        fn a_diff_applied_gives_the_new_value(old in tree(), new in tree()) {
            let mut value = old.clone();
            if let Some(patch) = merge_diff(&old, &new) {
                apply_merge(&mut value, &patch);
            } else {
                prop_assert_eq!(&old, &new);
            }
            prop_assert_eq!(value, new);
        }
    }
}
