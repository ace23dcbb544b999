//! Reading values of objects for cells.

use super::render::age;
use jiff::Timestamp;
use serde_json::Value;

/// A text; empty where there is none.
pub fn text<'v>(object: &'v Value, pointer: &str) -> &'v str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A text, or another where it is empty.
pub fn or<'t>(text: &'t str, instead: &'t str) -> &'t str {
    if text.is_empty() { instead } else { text }
}

/// A number; 0 where there is none.
pub fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// A list; empty where there is none.
pub fn list<'v>(object: &'v Value, pointer: &str) -> &'v [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// How many items a list or map has.
pub fn count(object: &Value, pointer: &str) -> usize {
    match object.pointer(pointer) {
        Some(Value::Array(items)) => items.len(),
        Some(Value::Object(map)) => map.len(),
        _ => 0,
    }
}

/// A value without quotes.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        other => other.to_string(),
    }
}

/// How long ago an object was created.
pub fn born(object: &Value, now: Timestamp) -> String {
    age(text(object, "/metadata/creationTimestamp"), now)
}

/// Labels as `a=b,c=d`.
pub fn labels(map: Option<&Value>) -> String {
    let mut parts: Vec<String> =
        map.and_then(Value::as_object).into_iter().flatten().map(|(k, v)| format!("{k}={}", plain(v))).collect();
    parts.sort();
    or(&parts.join(","), "<none>").to_owned()
}

/// A condition by type.
pub fn condition<'v>(o: &'v Value, kind: &str) -> Option<&'v Value> {
    list(o, "/status/conditions").iter().find(|c| text(c, "/type") == kind)
}

/// The first few of many.
pub fn more(items: &[String], max: usize) -> String {
    match items.len() {
        0 => "<none>".to_owned(),
        n if n > max => format!("{} + {} more...", items[..max].join(","), n - max),
        _ => items.join(","),
    }
}
