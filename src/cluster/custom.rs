//! Custom resources against their schema: pruning, defaults, validation. Pure.
//!
//! In: an object and the OpenAPI schema of its version. Out: the object without unknown fields and with defaults; what is
//! wrong with it, with the texts of the real server.
//! Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema/{pruning,defaulting} and kube-openapi/pkg/validation.

use super::admission::pod::{list, text};
use super::status::FieldError;
use serde_json::{Map, Value};

fn flag(schema: &Value, key: &str) -> bool {
    schema.get(key) == Some(&Value::Bool(true))
}

fn joined(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Removes fields that the schema does not know. Out: `unknown field "spec.foo"` for each.
pub fn prune(object: &mut Value, schema: &Value) -> Vec<String> {
    let mut unknown = Vec::new();
    prune_value(object, schema, "", true, &mut unknown);
    unknown
}

fn prune_value(value: &mut Value, schema: &Value, path: &str, resource: bool, unknown: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            let properties = schema.get("properties").and_then(Value::as_object);
            let additional = schema.get("additionalProperties");
            let free = flag(schema, "x-kubernetes-preserve-unknown-fields") || additional == Some(&Value::Bool(true));
            let resource = resource || flag(schema, "x-kubernetes-embedded-resource");
            map.retain(|key, value| {
                if resource && matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
                    return true;
                }
                let path = joined(path, key);
                if let Some(property) = properties.and_then(|p| p.get(key)) {
                    prune_value(value, property, &path, false, unknown);
                    return true;
                }
                if let Some(additional) = additional.filter(|a| a.is_object()) {
                    prune_value(value, additional, &path, false, unknown);
                    return true;
                }
                if !free {
                    unknown.push(format!("unknown field {path:?}"));
                }
                free
            });
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                for (i, item) in items.iter_mut().enumerate() {
                    prune_value(item, schema, &format!("{path}[{i}]"), false, unknown);
                }
            }
        }
        _ => {}
    }
}

/// Sets the defaults of the schema.
pub fn default(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(map) => {
            for (key, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
                let nullable = flag(property, "nullable");
                let missing = map.get(key).is_none_or(|v| v.is_null() && !nullable);
                if missing && let Some(default) = property.get("default") {
                    map.insert(key.clone(), default.clone());
                }
                if let Some(value) = map.get_mut(key) {
                    default(value, property);
                }
            }
            if let Some(additional) = schema.get("additionalProperties").filter(|a| a.is_object()) {
                let named = schema.get("properties").and_then(Value::as_object);
                for (_, value) in map.iter_mut().filter(|(key, _)| named.is_none_or(|n| !n.contains_key(*key))) {
                    default(value, additional);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                items.iter_mut().for_each(|item| default(item, schema));
            }
        }
        _ => {}
    }
}

/// Everything wrong with an object by its schema.
pub fn validate(object: &Value, schema: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    // Metadata has its own validation; the schema may only restrict its name.
    let mut schema = schema.clone();
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for key in ["apiVersion", "kind", "metadata"] {
            properties.shift_remove(key);
        }
    }
    check(object, &schema, "", &mut errors);
    duplicates(object, &schema, "", &mut errors);
    errors
}

/// Elements that occur twice in sets and list maps, anywhere: told after what is wrong with the values.
fn duplicates(value: &Value, schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    match value {
        Value::Object(map) => {
            let properties = schema.get("properties").and_then(Value::as_object);
            let additional = schema.get("additionalProperties").filter(|a| a.is_object());
            for (key, value) in map {
                if let Some(schema) = properties.and_then(|p| p.get(key)).or(additional) {
                    duplicates(value, schema, &joined(path, key), errors);
                }
            }
        }
        Value::Array(items) => {
            unique(items, schema, path, errors);
            if let Some(schema) = schema.get("items") {
                for (i, item) in items.iter().enumerate() {
                    duplicates(item, schema, &format!("{path}[{i}]"), errors);
                }
            }
        }
        _ => {}
    }
}

fn shown(path: &str) -> &str {
    if path.is_empty() { "<nil>" } else { path }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn check(value: &Value, schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if value.is_null() && flag(schema, "nullable") {
        return;
    }
    let found = type_name(value);
    let wanted = text(schema, "type");
    if flag(schema, "x-kubernetes-int-or-string") {
        if !matches!(found, "integer" | "string") {
            let text = format!("{} in body must be of type integer,string: {found:?}", shown(path));
            errors.push(FieldError::type_invalid(path, &found.into(), &text));
        }
    } else if !wanted.is_empty() && wanted != found && !(wanted == "number" && found == "integer") {
        let text = format!("{} in body must be of type {wanted}: {found:?}", shown(path));
        errors.push(FieldError::type_invalid(path, &found.into(), &text));
        return;
    }
    enumeration(value, schema, path, errors);
    match value {
        Value::Object(map) => object(map, schema, path, errors),
        Value::Array(items) => array(items, schema, path, errors),
        Value::String(found) => string(found, schema, path, errors),
        Value::Number(_) => number(value, schema, path, errors),
        _ => {}
    }
    combined(value, schema, path, errors);
}

fn enumeration(value: &Value, schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let allowed = list(schema, "enum");
    if !allowed.is_empty() && !allowed.contains(value) {
        let names: Vec<String> =
            allowed.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        errors.push(FieldError::not_supported(path, value, &names));
    }
}

fn object(map: &Map<String, Value>, schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for required in list(schema, "required").iter().filter_map(Value::as_str) {
        if !map.contains_key(required) {
            errors.push(FieldError::required(joined(path, required), ""));
        }
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    let additional = schema.get("additionalProperties").filter(|a| a.is_object());
    for (key, value) in map {
        let of_key = properties.and_then(|p| p.get(key)).or(additional);
        if let Some(schema) = of_key {
            check(value, schema, &joined(path, key), errors);
        }
    }
    let count = map.len() as u64;
    if let Some(max) = schema.get("maxProperties").and_then(Value::as_u64).filter(|max| count > *max) {
        let text = format!("Too many: {count}: must have at most {max} items");
        errors.push(FieldError { kind: "FieldValueTooMany", field: path.to_owned(), text });
    }
    if let Some(min) = schema.get("minProperties").and_then(Value::as_u64).filter(|min| count < *min) {
        let text = format!("{} in body should have at least {min} properties", shown(path));
        errors.push(FieldError::invalid(path, &count.into(), &text));
    }
}

fn array(items: &[Value], schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let count = items.len() as u64;
    if let Some(max) = schema.get("maxItems").and_then(Value::as_u64).filter(|max| count > *max) {
        let text = format!("Too many: {count}: must have at most {max} items");
        errors.push(FieldError { kind: "FieldValueTooMany", field: path.to_owned(), text });
    }
    if let Some(min) = schema.get("minItems").and_then(Value::as_u64).filter(|min| count < *min) {
        let text = format!("{} in body should have at least {min} items", shown(path));
        errors.push(FieldError::invalid(path, &count.into(), &text));
    }
    if let Some(schema) = schema.get("items") {
        for (i, item) in items.iter().enumerate() {
            check(item, schema, &format!("{path}[{i}]"), errors);
        }
    }
}

/// Sets and list maps hold no element twice.
fn unique(items: &[Value], schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let keys: Vec<&str> = list(schema, "x-kubernetes-list-map-keys").iter().filter_map(Value::as_str).collect();
    let identity = |item: &Value| match text(schema, "x-kubernetes-list-type") {
        "set" => Some(item.clone()),
        "map" => Some(keys.iter().map(|k| ((*k).to_owned(), item.get(*k).cloned().unwrap_or_default())).collect()),
        _ => None,
    };
    let mut seen: Vec<Value> = Vec::new();
    for (i, item) in items.iter().enumerate() {
        let Some(own) = identity(item) else { return };
        if seen.contains(&own) {
            errors.push(FieldError::duplicate(format!("{path}[{i}]"), &own));
        } else {
            seen.push(own);
        }
    }
}

fn string(found: &str, schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let length = found.chars().count() as u64;
    if let Some(max) = schema.get("maxLength").and_then(Value::as_u64).filter(|max| length > *max) {
        errors.push(FieldError::too_long(path, usize::try_from(max).unwrap_or(usize::MAX)));
        return; // the first mistake of a text is the only one told
    }
    if let Some(min) = schema.get("minLength").and_then(Value::as_u64).filter(|min| length < *min) {
        let text = format!("{} in body should be at least {min} chars long", shown(path));
        errors.push(FieldError::invalid(path, &found.into(), &text));
        return;
    }
    let pattern = text(schema, "pattern");
    if !pattern.is_empty() && regex::Regex::new(pattern).is_ok_and(|r| !r.is_match(found)) {
        let text = format!("{} in body should match '{pattern}'", shown(path));
        errors.push(FieldError::invalid(path, &found.into(), &text));
    }
    if text(schema, "format") == "date-time" && found.parse::<jiff::Timestamp>().is_err() {
        let text = format!("{} in body must be of type date-time: {found:?}", shown(path));
        errors.push(FieldError::invalid(path, &found.into(), &text));
    }
}

fn number(value: &Value, schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let Some(found) = value.as_f64() else { return };
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64).map(|b| (b, &schema[key]));
    if let Some((min, text)) = bound("minimum") {
        let exclusive = flag(schema, "exclusiveMinimum");
        if found < min || (exclusive && found <= min) {
            let or = if exclusive { "" } else { " or equal to" };
            let text = format!("{} in body should be greater than{or} {text}", shown(path));
            errors.push(FieldError::invalid(path, value, &text));
        }
    }
    if let Some((max, text)) = bound("maximum") {
        let exclusive = flag(schema, "exclusiveMaximum");
        if found > max || (exclusive && found >= max) {
            let or = if exclusive { "" } else { " or equal to" };
            let text = format!("{} in body should be less than{or} {text}", shown(path));
            errors.push(FieldError::invalid(path, value, &text));
        }
    }
    if let Some((multiple, text)) = bound("multipleOf")
        && multiple > 0.0
        && (found / multiple).fract().abs() > f64::EPSILON
    {
        let text = format!("{} in body should be a multiple of {text}", shown(path));
        errors.push(FieldError::invalid(path, value, &text));
    }
}

fn combined(value: &Value, schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let valid = |schema: &Value| {
        let mut inner = Vec::new();
        check(value, schema, path, &mut inner);
        inner.is_empty()
    };
    for part in list(schema, "allOf") {
        check(value, part, path, errors);
    }
    let any = list(schema, "anyOf");
    if !any.is_empty() && !any.iter().any(valid) {
        let text = format!("{:?} must validate at least one schema (anyOf)", shown(path));
        errors.push(FieldError::invalid(path, &"".into(), &text));
    }
    let one = list(schema, "oneOf");
    if !one.is_empty() {
        let count = one.iter().filter(|s| valid(s)).count();
        if count != 1 {
            let found =
                if count == 0 { "Found none valid".to_owned() } else { format!("Found {count} valid alternatives") };
            let text = format!("{:?} must validate one and only one schema (oneOf). {found}", shown(path));
            errors.push(FieldError::invalid(path, &"".into(), &text));
        }
    }
    if let Some(not) = schema.get("not")
        && valid(not)
    {
        let text = format!("{:?} must not validate the schema (not)", shown(path));
        errors.push(FieldError::invalid(path, &"".into(), &text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> Value {
        json!({"type": "object", "properties": {"spec": {"type": "object", "required": ["size"], "properties": {
            "size": {"type": "integer", "minimum": 1}, "mode": {"type": "string", "enum": ["a", "b"], "default": "a"},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}})
    }

    #[test]
    fn pruned_defaulted_validated() {
        let mut object = json!({"kind": "X", "spec": {"size": 1, "foo": 1, "free": {"x": 1}}});
        assert_eq!(prune(&mut object, &schema()), ["unknown field \"spec.foo\""]);
        default(&mut object, &schema());
        assert_eq!(object["spec"], json!({"size": 1, "free": {"x": 1}, "mode": "a"}));
        assert!(validate(&object, &schema()).is_empty());
        for (spec, expected) in [
            (json!({}), "spec.size: Required value"),
            (
                json!({"size": "x"}),
                "spec.size: Invalid value: \"string\": spec.size in body must be of type integer: \"string\"",
            ),
            (json!({"size": 0}), "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1"),
            (json!({"size": 1, "mode": "c"}), "spec.mode: Unsupported value: \"c\": supported values: \"a\", \"b\""),
        ] {
            let errors = validate(&json!({"spec": spec}), &schema());
            assert_eq!(format!("{}: {}", errors[0].field, errors[0].text), expected);
        }
    }
}
