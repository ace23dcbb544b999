//! Validation of names and metadata, with the texts of the real server.
//! Source: k8s.io/apimachinery/pkg/util/validation/validation.go and pkg/api/validation/objectmeta.go.

use crate::cluster::kinds::Kind;
use crate::cluster::status::FieldError;
use serde_json::Value;

const LABEL_TEXT: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_TEXT: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_1035_TEXT: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED_TEXT: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE_TEXT: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// The most that all annotations of an object may hold together, in bytes.
const MAX_ANNOTATIONS: usize = 256 * 1024;

fn is_label_text(text: &str) -> bool {
    let alnum = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    !text.is_empty() && text.chars().all(|c| alnum(c) || c == '-') && text.starts_with(alnum) && text.ends_with(alnum)
}

/// What is wrong with a text as a DNS label (RFC 1123).
pub fn dns_label(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > 63 {
        out.push("must be no more than 63 bytes".to_owned());
    }
    if !is_label_text(text) {
        out.push(LABEL_TEXT.to_owned());
    }
    out
}

/// What is wrong with a text as a DNS subdomain (RFC 1123).
pub fn dns_subdomain(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > 253 {
        out.push("must be no more than 253 bytes".to_owned());
    }
    if !text.split('.').all(is_label_text) {
        out.push(SUBDOMAIN_TEXT.to_owned());
    }
    out
}

/// What is wrong with a text as a DNS label (RFC 1035).
pub fn dns_1035(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > 63 {
        out.push("must be no more than 63 bytes".to_owned());
    }
    if !is_label_text(text) || !text.starts_with(|c: char| c.is_ascii_lowercase()) {
        out.push(LABEL_1035_TEXT.to_owned());
    }
    out
}

/// What is wrong with a text as part of a URL path.
pub fn path_segment(text: &str) -> Vec<String> {
    if matches!(text, "." | "..") {
        return vec![format!("may not be '{text}'")];
    }
    ['/', '%'].iter().filter(|c| text.contains(**c)).map(|c| format!("may not contain '{c}'")).collect()
}

fn is_name_part(text: &str) -> bool {
    let alnum = |c: char| c.is_ascii_alphanumeric();
    !text.is_empty()
        && text.chars().all(|c| alnum(c) || matches!(c, '-' | '_' | '.'))
        && text.starts_with(alnum)
        && text.ends_with(alnum)
}

/// What is wrong with a label or annotation key.
pub fn qualified_name(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let parts: Vec<&str> = text.split('/').collect();
    let name = match parts.as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                out.push("prefix part must be non-empty".to_owned());
            } else {
                out.extend(dns_subdomain(prefix).into_iter().map(|e| format!("prefix part {e}")));
            }
            *name
        }
        _ => {
            return vec![
                "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')".to_owned(),
            ];
        }
    };
    if name.is_empty() {
        out.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        out.push("name part must be no more than 63 bytes".to_owned());
    }
    if !is_name_part(name) {
        out.push(QUALIFIED_TEXT.to_owned());
    }
    out
}

/// What is wrong with a label's value.
pub fn label_value(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > 63 {
        out.push("must be no more than 63 bytes".to_owned());
    }
    if !text.is_empty() && !is_name_part(text) {
        out.push(LABEL_VALUE_TEXT.to_owned());
    }
    out
}

/// Checks a map of labels.
pub fn labels(map: Option<&Value>, field: &str, errors: &mut Vec<FieldError>) {
    for (key, value) in map.and_then(Value::as_object).into_iter().flatten() {
        errors.extend(qualified_name(key).iter().map(|e| FieldError::invalid(field, &key.as_str().into(), e)));
        let text = value.as_str().unwrap_or_default();
        errors.extend(label_value(text).iter().map(|e| FieldError::invalid(field, value, e)));
    }
}

/// Checks a `metav1.LabelSelector`.
pub fn label_selector(selector: &Value, field: &str, errors: &mut Vec<FieldError>) {
    labels(selector.get("matchLabels"), &format!("{field}.matchLabels"), errors);
    let expressions = selector.get("matchExpressions").and_then(Value::as_array);
    for (i, expression) in expressions.into_iter().flatten().enumerate() {
        let at = format!("{field}.matchExpressions[{i}]");
        let count = expression.get("values").and_then(Value::as_array).map_or(0, Vec::len);
        match expression.get("operator").and_then(Value::as_str).unwrap_or_default() {
            "In" | "NotIn" if count == 0 => errors.push(FieldError::required(
                format!("{at}.values"),
                "must be specified when `operator` is 'In' or 'NotIn'",
            )),
            "Exists" | "DoesNotExist" if count > 0 => errors.push(FieldError::forbidden(
                format!("{at}.values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.push(FieldError::invalid(
                format!("{at}.operator"),
                &other.into(),
                "not a valid selector operator",
            )),
        }
        let key = expression.get("key").and_then(Value::as_str).unwrap_or_default();
        errors.extend(qualified_name(key).iter().map(|e| FieldError::invalid(format!("{at}.key"), &key.into(), e)));
    }
}

/// The rule for names of a kind.
fn name_rule(kind: &Kind) -> fn(&str) -> Vec<String> {
    match (kind.gk.group.as_str(), kind.gk.kind.as_str()) {
        ("", "Namespace" | "Service") | ("apps", "StatefulSet") => dns_label,
        ("rbac.authorization.k8s.io", _) => path_segment,
        _ => dns_subdomain,
    }
}

/// Checks `metadata.name` by the rule of the kind.
pub fn name(kind: &Kind, object: &Value, errors: &mut Vec<FieldError>) {
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    if name.is_empty() {
        errors.push(FieldError::required("metadata.name", "name or generateName is required"));
        return;
    }
    errors.extend(name_rule(kind)(name).iter().map(|e| FieldError::invalid("metadata.name", &name.into(), e)));
}

/// Checks what all objects have: labels, annotations, owners, finalizers.
pub fn common(object: &Value, errors: &mut Vec<FieldError>) {
    labels(object.pointer("/metadata/labels"), "metadata.labels", errors);
    let mut size = 0;
    for (key, value) in object.pointer("/metadata/annotations").and_then(Value::as_object).into_iter().flatten() {
        let lower = key.to_lowercase();
        let wrong = qualified_name(&lower);
        errors.extend(wrong.iter().map(|e| FieldError::invalid("metadata.annotations", &key.as_str().into(), e)));
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > MAX_ANNOTATIONS {
        errors.push(FieldError::too_long("metadata.annotations", MAX_ANNOTATIONS));
    }
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let mut controllers = 0;
    for (i, owner) in owners.into_iter().flatten().enumerate() {
        for (key, detail) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            let value = owner.get(key).and_then(Value::as_str).unwrap_or_default();
            if value.is_empty() {
                errors.push(FieldError::invalid(format!("metadata.ownerReferences[{i}].{key}"), &value.into(), detail));
            }
        }
        controllers += u32::from(owner.get("controller") == Some(&Value::Bool(true)));
    }
    if controllers > 1 {
        errors.push(FieldError::invalid(
            "metadata.ownerReferences",
            &owners.cloned().unwrap_or_default().into(),
            "Only one reference can have Controller set to true",
        ));
    }
    let finalizers = object.pointer("/metadata/finalizers").and_then(Value::as_array);
    for (i, finalizer) in finalizers.into_iter().flatten().enumerate() {
        let text = finalizer.as_str().unwrap_or_default();
        errors.extend(qualified_name(text).iter().map(|e| FieldError::invalid("metadata.finalizers", finalizer, e)));
        if !text.contains('/') && !matches!(text, "kubernetes" | "orphan" | "foregroundDeletion") {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(FieldError::invalid(format!("metadata.finalizers[{i}]"), finalizer, why));
        }
    }
}

/// Checks what no update may change. The real server does so twice for built-in kinds, in the strategy and for all, and
/// names each mistake twice among the causes.
pub fn update(kind: &Kind, new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    unchanged(new, old, errors);
    if !kind.custom {
        unchanged(new, old, errors);
    }
}

/// `ValidateObjectMetaAccessorUpdate`.
fn unchanged(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let terminating = old.pointer("/metadata/deletionTimestamp").is_some();
    if terminating {
        let list = |v: &Value| v.pointer("/metadata/finalizers").and_then(Value::as_array).cloned().unwrap_or_default();
        let before = list(old);
        let added: Vec<Value> = list(new).into_iter().filter(|f| !before.contains(f)).collect();
        if !added.is_empty() {
            let names: Vec<String> = added.iter().map(|f| f.as_str().unwrap_or_default().to_owned()).collect();
            errors.push(FieldError::forbidden(
                "metadata.finalizers",
                &format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                    names.iter().map(|n| format!("{n:?}")).collect::<Vec<_>>().join(", ")
                ),
            ));
        }
    }
    for field in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let pointer = format!("/metadata/{field}");
        let (now, before) = (new.pointer(&pointer), old.pointer(&pointer));
        if now.unwrap_or(&Value::Null) != before.unwrap_or(&Value::Null) {
            errors.push(FieldError::invalid(
                format!("metadata.{field}"),
                now.unwrap_or(&Value::Null),
                "field is immutable",
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (text, ok) in
            [("web", true), ("web-1.x", true), ("Web", false), ("-web", false), ("a..b", false), ("", false)]
        {
            assert_eq!(dns_subdomain(text).is_empty(), ok, "{text}");
        }
        assert!(dns_1035("1web").len() == 1 && dns_label("1web").is_empty());
        for (key, ok) in [("app", true), ("a.b/c", true), ("/x", false), ("a/b/c", false), ("a b", false)] {
            assert_eq!(qualified_name(key).is_empty(), ok, "{key}");
        }
    }
}
