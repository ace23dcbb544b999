//! What the API server answers when it refuses: a Kubernetes `Status` with the code, reason and text of the real server.
//! Source: k8s.io/apimachinery/pkg/api/errors/errors.go and pkg/util/validation/field/errors.go.

use serde_json::{Map, Value, json};

/// A refusal.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// `metav1.StatusReason`; empty where the real server gives none.
    pub reason: &'static str,
    /// For a person.
    pub message: String,
    /// `details`, if any.
    pub details: Option<Value>,
}

/// One thing wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// `FieldValueRequired` and the like.
    pub kind: &'static str,
    /// Path in Go's notation, such as `spec.template.spec.containers[0].name`.
    pub field: String,
    /// What is wrong, with the value where the kind of error shows it.
    pub text: String,
}

impl FieldError {
    fn new(kind: &'static str, field: impl Into<String>, text: String) -> Self {
        Self { kind, field: field.into(), text }
    }

    /// A value that must be given.
    pub fn required(field: impl Into<String>, detail: &str) -> Self {
        Self::new("FieldValueRequired", field, join("Required value", detail))
    }

    /// A value that is wrong.
    pub fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        Self::new("FieldValueInvalid", field, join(&format!("Invalid value: {}", shown(value)), detail))
    }

    /// A value that may not be given or changed.
    pub fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        Self::new("FieldValueForbidden", field, join("Forbidden", detail))
    }

    /// A value that exists already.
    pub fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self::new("FieldValueDuplicate", field, format!("Duplicate value: {}", shown(value)))
    }

    /// A reference to something that is not there.
    pub fn not_found(field: impl Into<String>, value: &Value) -> Self {
        Self::new("FieldValueNotFound", field, format!("Not found: {}", shown(value)))
    }

    /// A value outside an enumeration.
    pub fn not_supported(field: impl Into<String>, value: &Value, supported: &[&str]) -> Self {
        let list: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
        let text = format!("Unsupported value: {}: supported values: {}", shown(value), list.join(", "));
        Self::new("FieldValueNotSupported", field, text)
    }

    /// Text or a list that is too long.
    pub fn too_long(field: impl Into<String>, max: usize) -> Self {
        Self::new("FieldValueTooLong", field, format!("Too long: may not be more than {max} bytes"))
    }

    /// A value of the wrong type (custom resources).
    pub fn type_invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        Self::new("FieldValueTypeInvalid", field, join(&format!("Invalid value: {}", shown(value)), detail))
    }
}

fn join(head: &str, detail: &str) -> String {
    if detail.is_empty() { head.to_owned() } else { format!("{head}: {detail}") }
}

/// Values as `%v`/`%q` of Go print them in field errors.
fn shown(value: &Value) -> String {
    match value {
        Value::String(s) => format!("{s:?}"),
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        Value::Null => "null".to_owned(),
        other => other.to_string(),
    }
}

/// `deployments.apps`, `services`.
fn qualified(plural: &str, group: &str) -> String {
    if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") }
}

fn details(name: &str, group: &str, kind: &str) -> Option<Value> {
    let mut map = Map::new();
    for (key, text) in [("name", name), ("group", group), ("kind", kind)] {
        if !text.is_empty() {
            map.insert(key.into(), text.into());
        }
    }
    Some(Value::Object(map))
}

impl Status {
    /// A refusal without details.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None }
    }

    /// 404 for an object.
    pub fn not_found(plural: &str, group: &str, name: &str) -> Self {
        let message = format!("{} {name:?} not found", qualified(plural, group));
        Self { details: details(name, group, plural), ..Self::new(404, "NotFound", message) }
    }

    /// 404 for a path that nothing serves.
    pub fn no_such_path() -> Self {
        Self {
            details: Some(json!({})),
            ..Self::new(404, "NotFound", "the server could not find the requested resource")
        }
    }

    /// 409 for an object that is there already.
    pub fn already_exists(plural: &str, group: &str, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", qualified(plural, group));
        Self { details: details(name, group, plural), ..Self::new(409, "AlreadyExists", message) }
    }

    /// 409 with the text of the conflict.
    pub fn conflict(plural: &str, group: &str, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {why}", qualified(plural, group));
        Self { details: details(name, group, plural), ..Self::new(409, "Conflict", message) }
    }

    /// 409: somebody else wrote in between (`OptimisticLockErrorMsg`).
    pub fn modified(plural: &str, group: &str, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(plural, group, name, why)
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 403 about an object.
    pub fn forbidden(plural: &str, group: &str, name: &str, why: &str) -> Self {
        let message = if name.is_empty() {
            format!("{} is forbidden: {why}", qualified(plural, group))
        } else {
            format!("{} {name:?} is forbidden: {why}", qualified(plural, group))
        };
        Self { details: details(name, group, plural), ..Self::new(403, "Forbidden", message) }
    }

    /// 405.
    pub fn method_not_allowed() -> Self {
        Self {
            details: Some(json!({})),
            ..Self::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
        }
    }

    /// 500.
    pub fn internal(message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            details: Some(json!({"causes": [{"message": message}]})),
            ..Self::new(500, "InternalError", format!("Internal error occurred: {message}"))
        }
    }

    /// 500 without a reason: how an error that is no `Status` leaves the real server (`responsewriters.ErrorToAPIStatus`).
    pub fn plain_error(message: impl Into<String>) -> Self {
        Self::new(500, "", message)
    }

    /// 410: the resourceVersion is too old.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 422 with every field error.
    pub fn invalid(kind: &str, group: &str, name: &str, errors: &[FieldError]) -> Self {
        let texts: Vec<String> = errors.iter().map(|e| format!("{}: {}", e.field, e.text)).collect();
        let what = qualified(kind, group);
        let message = match texts.as_slice() {
            [] => format!("{what} {name:?} is invalid"),
            [one] => format!("{what} {name:?} is invalid: {one}"),
            // Aggregates drop repetitions (k8s.io/apimachinery/pkg/util/errors).
            many => {
                let mut seen: Vec<&String> = Vec::new();
                for text in many {
                    if !seen.contains(&text) {
                        seen.push(text);
                    }
                }
                let list: Vec<&str> = seen.iter().map(|s| s.as_str()).collect();
                if list.len() == 1 {
                    format!("{what} {name:?} is invalid: {}", list[0])
                } else {
                    format!("{what} {name:?} is invalid: [{}]", list.join(", "))
                }
            }
        };
        let causes: Vec<Value> =
            errors.iter().map(|e| json!({"reason": e.kind, "message": e.text, "field": e.field})).collect();
        let mut map = match details(name, group, kind) {
            Some(Value::Object(map)) => map,
            _ => Map::new(),
        };
        if !causes.is_empty() {
            map.insert("causes".into(), causes.into());
        }
        Self { details: Some(Value::Object(map)), ..Self::new(422, "Invalid", message) }
    }

    /// The `Status` object.
    pub fn to_value(&self) -> Value {
        let mut map = Map::new();
        map.insert("kind".into(), "Status".into());
        map.insert("apiVersion".into(), "v1".into());
        map.insert("metadata".into(), json!({}));
        map.insert("status".into(), "Failure".into());
        map.insert("message".into(), self.message.clone().into());
        if !self.reason.is_empty() {
            map.insert("reason".into(), self.reason.into());
        }
        if let Some(details) = &self.details {
            map.insert("details".into(), details.clone());
        }
        map.insert("code".into(), self.code.into());
        Value::Object(map)
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_of_the_real_server() {
        assert_eq!(Status::not_found("deployments", "apps", "web").message, "deployments.apps \"web\" not found");
        let errors =
            [FieldError::required("spec.selector", ""), FieldError::invalid("metadata.name", &"A".into(), "bad")];
        let status = Status::invalid("Deployment", "apps", "web", &errors);
        assert_eq!(
            status.message,
            "Deployment.apps \"web\" is invalid: [spec.selector: Required value, metadata.name: Invalid value: \"A\": bad]"
        );
        assert_eq!(status.to_value()["details"]["causes"][0]["reason"], "FieldValueRequired");
        assert_eq!(status.to_value()["code"], 422);
    }
}
