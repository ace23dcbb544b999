//! JSON patch (RFC 6902) and merge patch (RFC 7396), with the error texts of github.com/evanphx/json-patch, which the
//! real server uses.

use serde_json::{Map, Value};

/// Operations that one JSON patch may hold (`maxJSONPatchOperations`).
pub const MAX_OPERATIONS: usize = 10_000;

/// Bytes that the copies of one JSON patch may add: without it a few operations fill the memory.
const MAX_COPIED: usize = 3 * 1024 * 1024;

/// Applies a merge patch: null removes, objects merge, all else replaces.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(map) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            map.shift_remove(key);
        } else {
            merge(map.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Applies a JSON patch. The error is for the person; the object is unchanged in meaning only on success.
pub fn apply(object: &mut Value, patch: &[Value]) -> Result<(), String> {
    let mut copied = 0;
    for operation in patch {
        let text = |key: &str| operation.get(key).and_then(Value::as_str);
        let op = text("op").unwrap_or("unknown");
        let path = text("path").ok_or("Unable to parse path")?;
        let missing =
            |op: &str, path: &str| format!("{op} operation does not apply: doc is missing key: {path}: missing value");
        match op {
            "add" => add(object, path, operation.get("value").cloned().unwrap_or(Value::Null))
                .map_err(|why| format!("add operation does not apply: doc is missing path: {path:?}: {why}"))?,
            "remove" => {
                remove(object, path).ok_or_else(|| {
                    format!("remove operation does not apply: doc is missing path: {path:?}: missing value")
                })?;
            }
            "replace" => {
                let place = object.pointer_mut(path).ok_or_else(|| {
                    format!("replace operation does not apply: doc is missing key: {path}: missing value")
                })?;
                *place = operation.get("value").cloned().unwrap_or(Value::Null);
            }
            "move" => {
                let from = text("from").unwrap_or_default();
                let value = remove(object, from).ok_or_else(|| missing("move", from))?;
                add(object, path, value).map_err(|why| format!("move operation does not apply: {why}"))?;
            }
            "copy" => {
                let from = text("from").unwrap_or_default();
                let value = object.pointer(from).cloned().ok_or_else(|| missing("copy", from))?;
                copied += value.to_string().len();
                if copied > MAX_COPIED {
                    return Err(format!(
                        "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {MAX_COPIED}"
                    ));
                }
                add(object, path, value).map_err(|why| format!("copy operation does not apply: {why}"))?;
            }
            "test" => {
                let expected = operation.get("value").unwrap_or(&Value::Null);
                if object.pointer(path).unwrap_or(&Value::Null) != expected {
                    return Err(format!("testing value {path} failed: test failed"));
                }
            }
            other => return Err(format!("Unexpected kind: {other}")),
        }
    }
    Ok(())
}

fn split(path: &str) -> Option<(&str, String)> {
    let (parent, last) = path.rsplit_once('/')?;
    Some((parent, last.replace("~1", "/").replace("~0", "~")))
}

fn add(object: &mut Value, path: &str, value: Value) -> Result<(), String> {
    let Some((parent, key)) = split(path) else {
        *object = value;
        return Ok(());
    };
    match object.pointer_mut(parent) {
        Some(Value::Object(map)) => {
            map.insert(key, value);
            Ok(())
        }
        Some(Value::Array(items)) => {
            let index = if key == "-" { Some(items.len()) } else { key.parse().ok() };
            match index.filter(|i| *i <= items.len()) {
                Some(index) => {
                    items.insert(index, value);
                    Ok(())
                }
                None => Err(format!("Unable to access invalid index: {key}: invalid index referenced")),
            }
        }
        _ => Err("missing value".into()),
    }
}

fn remove(object: &mut Value, path: &str) -> Option<Value> {
    let (parent, key) = split(path)?;
    match object.pointer_mut(parent)? {
        Value::Object(map) => map.shift_remove(&key),
        Value::Array(items) => {
            let index: usize = key.parse().ok()?;
            (index < items.len()).then(|| items.remove(index))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rfc_7396() {
        for (target, patch, expected) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": [1]}), json!({"a": {"b": 1, "c": null}}), json!({"a": {"b": 1}})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            let mut value = target;
            merge(&mut value, &patch);
            assert_eq!(value, expected);
        }
    }

    #[test]
    fn rfc_6902() {
        let mut object = json!({"a": [1, 2], "b": {"x/y": 1}});
        let patch = json!([{"op": "add", "path": "/a/-", "value": 3}, {"op": "remove", "path": "/b/x~1y"},
            {"op": "replace", "path": "/a/0", "value": 9}, {"op": "copy", "from": "/a/0", "path": "/c"},
            {"op": "move", "from": "/c", "path": "/d"}, {"op": "test", "path": "/d", "value": 9}]);
        apply(&mut object, patch.as_array().unwrap()).unwrap();
        assert_eq!(object, json!({"a": [9, 2, 3], "b": {}, "d": 9}));
        let test = json!([{"op": "test", "path": "/d", "value": 1}]);
        assert_eq!(apply(&mut object, test.as_array().unwrap()).unwrap_err(), "testing value /d failed: test failed");
    }
}
