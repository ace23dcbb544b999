//! Reading objects as JSON: names, times, owners. Nothing here panics on odd JSON; what is missing is empty.

use crate::object::{Gk, Gvk};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// `metadata.name`.
pub fn name(object: &Value) -> &str {
    text(&object["metadata"]["name"])
}

/// `metadata.namespace`, if there is one.
pub fn namespace(object: &Value) -> Option<&str> {
    object["metadata"]["namespace"].as_str().filter(|ns| !ns.is_empty())
}

/// `metadata.uid`.
pub fn uid(object: &Value) -> &str {
    text(&object["metadata"]["uid"])
}

/// A string, or the empty one.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// An integer, 0 where there is none.
pub fn int(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

/// The items of a list; none where it is missing.
pub fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// An annotation.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["annotations"][key].as_str()
}

/// A label.
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["labels"][key].as_str()
}

/// `metadata.generation`.
pub fn generation(object: &Value) -> i64 {
    int(&object["metadata"]["generation"])
}

/// True once a deletion has been asked for.
pub fn is_deleting(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

/// When it was created, as the text that sorts by time.
pub fn created(object: &Value) -> &str {
    text(&object["metadata"]["creationTimestamp"])
}

/// True if the finalizer is set.
pub fn has_finalizer(object: &Value, finalizer: &str) -> bool {
    items(&object["metadata"]["finalizers"]).iter().any(|f| f == finalizer)
}

/// The finalizers without one.
pub fn finalizers_without(object: &Value, finalizer: &str) -> Value {
    items(&object["metadata"]["finalizers"]).iter().filter(|f| *f != finalizer).cloned().collect()
}

/// Group and kind from `apiVersion` and `kind`.
pub fn gk(object: &Value) -> Gk {
    Gvk::from_api_version(text(&object["apiVersion"]), text(&object["kind"])).gk()
}

/// The reference to the controlling owner, if there is one.
pub fn controller(object: &Value) -> Option<&Value> {
    items(&object["metadata"]["ownerReferences"]).iter().find(|owner| owner["controller"] == true)
}

/// The uid of the controlling owner.
pub fn controller_uid(object: &Value) -> Option<&str> {
    controller(object).map(|owner| text(&owner["uid"]))
}

/// The reference that a controller puts on what it creates (`metav1.NewControllerRef`).
pub fn owner_reference(kind: &Gk, owner: &Value) -> Value {
    json!({
        "apiVersion": super::kind::api_version(kind), "kind": kind.kind, "name": name(owner), "uid": uid(owner),
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// A time in an object.
pub fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// `metav1.Time`: whole seconds.
pub fn stamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `metav1.MicroTime`.
pub fn micro_stamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// A time so many seconds later; unchanged where that cannot be said.
pub fn after(time: Timestamp, seconds: i64) -> Timestamp {
    time.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(time)
}

/// A time so many milliseconds later; unchanged where that cannot be said.
pub fn after_millis(time: Timestamp, millis: i64) -> Timestamp {
    time.checked_add(SignedDuration::from_millis(millis)).unwrap_or(time)
}

/// Equality as Kubernetes means it (`equality.Semantic.DeepEqual`): null, absent and empty are one.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            x.iter().all(|(k, v)| same(v, y.get(k).unwrap_or(&Value::Null)))
                && y.iter().all(|(k, v)| x.contains_key(k) || is_empty(v))
        }
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(v, w)| same(v, w)),
        _ => a == b || (is_empty(a) && is_empty(b)),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(is_empty),
        _ => false,
    }
}

/// The object without null, zero, empty text and empty lists at its top level, as Go's `omitempty` writes it.
pub fn omit_empty(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter().filter(|(_, v)| !(is_empty(v) || *v == json!(0) || *v == json!(""))).collect(),
        ),
        other => other,
    }
}

/// A percentage or a number, scaled (`intstr.GetScaledValueFromIntOrPercent`).
pub fn scaled(value: &Value, total: i64, round_up: bool) -> Option<i64> {
    if let Some(number) = value.as_i64() {
        return Some(number);
    }
    let percent: i64 = value.as_str()?.strip_suffix('%')?.parse().ok()?;
    let product = percent.checked_mul(total)?;
    Some(if round_up {
        product.div_euclid(100) + i64::from(product.rem_euclid(100) != 0)
    } else {
        product.div_euclid(100)
    })
}

/// Go's `%q` for the plain texts that messages quote.
pub fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaling_rounds_as_asked() {
        assert_eq!(scaled(&json!("25%"), 10, true), Some(3));
        assert_eq!(scaled(&json!("25%"), 10, false), Some(2));
        assert_eq!(scaled(&json!(4), 10, false), Some(4));
        assert_eq!(scaled(&json!("x"), 10, false), None);
    }

    #[test]
    fn null_absent_and_empty_are_the_same() {
        assert!(same(&json!({"a": null, "b": [], "c": {"d": null}}), &json!({})));
        assert!(same(&json!({"a": 1, "b": 2}), &json!({"b": 2, "a": 1})));
        assert!(!same(&json!({"a": 1}), &json!({"a": 1, "b": ""})));
        assert!(!same(&json!([1]), &json!([1, 2])));
    }
}
