//! No value of a Secret in anything a person or a log can see (rule 12): it is shown as a digest under a random key, so
//! that one sees that it changed, and cannot guess from what.

use super::change::FieldChange;
use super::diff::Delta;
use super::input::is_secret;
use crate::object::{Digest, FieldPath, ObjectKey, PathElement};
use serde_json::Value;

/// A differing field as it is shown.
pub fn field_change(key: &ObjectKey, delta: &Delta, secret_key: &[u8]) -> FieldChange {
    let show = |value: &Option<Value>| {
        let value = value.as_ref()?;
        Some(if is_hidden(key, &delta.path, value) { hide(value, secret_key) } else { value.clone() })
    };
    FieldChange { path: delta.path.to_string(), from: show(&delta.from), to: show(&delta.to) }
}

/// A whole object as it is shown.
pub fn object(key: &ObjectKey, value: &Value, secret_key: &[u8]) -> Value {
    let mut out = value.clone();
    if !is_secret(key) {
        return out;
    }
    let fields = out.as_object_mut().into_iter().flat_map(|fields| fields.iter_mut());
    for (_, value) in fields.filter(|(name, _)| !is_open_in_a_secret(name)) {
        *value = hide(value, secret_key);
    }
    if let Some(annotations) = out.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        for value in annotations.values_mut().filter(|value| may_repeat_the_secret(value)) {
            *value = hide(value, secret_key);
        }
    }
    out
}

fn is_hidden(key: &ObjectKey, path: &FieldPath, value: &Value) -> bool {
    if !is_secret(key) {
        return false;
    }
    let field = |i: usize| match path.0.get(i) {
        Some(PathElement::Field(name)) => Some(name.as_str()),
        _ => None,
    };
    match (field(0), field(1)) {
        (Some("metadata"), Some("annotations")) => may_repeat_the_secret(value),
        (Some(name), _) => !is_open_in_a_secret(name),
        _ => true,
    }
}

/// True for the fields at a Secret's root that hold no value of it. Any other may: `stringdata` is misspelt, and holds one.
pub fn is_open_in_a_secret(field: &str) -> bool {
    matches!(field, "metadata" | "type" | "immutable" | "apiVersion" | "kind")
}

/// Tools write copies of the object into annotations (`last-applied-configuration`, `objectset.rio.cattle.io/applied`,
/// `kapp.k14s.io/original`): anything that looks like data is hidden.
fn may_repeat_the_secret(value: &Value) -> bool {
    value.as_str().is_none_or(|text| text.len() > 64 || text.contains(['{', '[']))
}

/// The same shape with a digest for each value.
fn hide(value: &Value, secret_key: &[u8]) -> Value {
    match value {
        Value::Object(map) => {
            Value::Object(map.iter().map(|(name, value)| (name.clone(), hide(value, secret_key))).collect())
        }
        Value::Null => Value::Null,
        other => Value::String(format!("hmac:{}", Digest::of_value_keyed(other, secret_key).short(8))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::diff::diff;
    use super::*;
    use crate::object::Gk;
    use serde_json::json;

    #[test]
    fn a_secret_shows_that_it_changed_and_nothing_else() {
        let key = ObjectKey::new(&Gk::new("", "Secret"), Some("a"), "s");
        let of = |value: &str| {
            json!({"metadata": {"annotations": {"copy": format!("{{\"x\":\"{value}\"}}"), "note": "short"}},
            "data": {"p": value}, "stringData": {"q": value}, "type": "Opaque"})
        };
        let (before, after) = (of("hunter2"), of("hunter3"));
        for delta in diff(&before, &after) {
            let shown = serde_json::to_string(&field_change(&key, &delta, b"k")).unwrap();
            assert!(!shown.contains("hunter") && shown.contains("hmac:"), "{shown}");
        }
        let whole = object(&key, &after, b"k").to_string();
        assert!(!whole.contains("hunter") && whole.contains("short") && whole.contains("Opaque"), "{whole}");
        let map = ObjectKey::new(&Gk::new("", "ConfigMap"), Some("a"), "s");
        assert_eq!(object(&map, &after, b"k"), after);
    }
}
