//! What null means: for a built-in kind the same as nothing at all, since the API server reads it into a Go struct.

use serde_json::Value;

/// Built-in groups have no dot, or end in `k8s.io`. A custom resource may mean something by null.
pub fn is_built_in(group: &str) -> bool {
    !group.contains('.') || group.ends_with(".k8s.io")
}

/// Removes every field whose value is null.
pub fn strip(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, child| !child.is_null());
            map.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// True if [`strip`] would remove something.
pub fn is_anywhere(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.values().any(|child| child.is_null() || is_anywhere(child)),
        Value::Array(items) => items.iter().any(is_anywhere),
        _ => false,
    }
}
