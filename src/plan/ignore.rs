//! Fields that are not ours to set (rule 9): which ones, and how they are taken out of what is applied.

use super::input::IgnoreRule;
use crate::object::ObjectKey;
use serde_json::Value;

/// A field that is left out of what is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// Reference tokens of its JSON pointer.
    pub tokens: Vec<String>,
    /// True if Git's value is still used to create the object.
    pub initial: bool,
}

impl Left {
    /// A field by JSON pointer.
    pub fn at(pointer: &str, initial: bool) -> Self {
        Self { tokens: tokens(pointer), initial }
    }
}

/// Splits a JSON pointer (RFC 6901). A missing first slash is forgiven.
pub fn tokens(pointer: &str) -> Vec<String> {
    let rest = pointer.strip_prefix('/').unwrap_or(pointer);
    if rest.is_empty() {
        return Vec::new();
    }
    rest.split('/').map(|token| token.replace("~1", "/").replace("~0", "~")).collect()
}

/// The fields of an object that are left alone.
pub fn left_alone(object: &Value, key: &ObjectKey, autoscaled: bool, rules: &[IgnoreRule]) -> Vec<Left> {
    let mut out = Vec::new();
    if autoscaled {
        out.push(Left::at("/spec/replicas", true));
    }
    out.extend(injected_bundles(object, key));
    out.extend(allocated(object, key));
    // The controller fills in the rules of an aggregated role, and overwrites any others.
    if key.is("rbac.authorization.k8s.io", "ClusterRole") && object.get("aggregationRule").is_some_and(Value::is_object)
    {
        out.push(Left::at("/rules", false));
    }
    for rule in rules.iter().filter(|rule| matches(rule, key)) {
        out.extend(rule.pointers.iter().map(|pointer| Left::at(pointer, true)).filter(|left| !left.tokens.is_empty()));
    }
    out
}

/// True if the rule is about this object.
pub fn matches(rule: &IgnoreRule, key: &ObjectKey) -> bool {
    let same = |pattern: &Option<String>, text: &str| pattern.as_deref().is_none_or(|pattern| glob(pattern, text));
    same(&rule.group, &key.group)
        && same(&rule.kind, &key.kind)
        && same(&rule.namespace, key.namespace.as_deref().unwrap_or_default())
        && same(&rule.name, &key.name)
}

/// `*` matches any text; everything else itself.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(first) = parts.next() else { return text.is_empty() };
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

/// Values that the API server allocates: where Git does not name one, the live one stays.
fn allocated(object: &Value, key: &ObjectKey) -> Vec<Left> {
    let pointers: &[&str] = if key.is("", "Service") {
        &["/spec/clusterIP", "/spec/clusterIPs", "/spec/ipFamilies", "/spec/ipFamilyPolicy"]
    } else if key.is("", "PersistentVolumeClaim") {
        &["/spec/volumeName"]
    } else {
        &[]
    };
    let unset = |pointer: &&&str| matches!(object.pointer(pointer), None | Some(Value::Null));
    pointers.iter().filter(unset).map(|pointer| Left::at(pointer, false)).collect()
}

/// CA bundles that someone injects (cert-manager, the admission controllers' own bootstrap): empty in Git means so.
/// `Cg==` (a line break) is the customary stand-in, since an empty one was once invalid.
fn injected_bundles(object: &Value, key: &ObjectKey) -> Vec<Left> {
    let is_empty = |pointer: &str| {
        let text = object.pointer(pointer).and_then(Value::as_str);
        matches!(object.pointer(pointer), None | Some(Value::Null)) || matches!(text, Some("" | "Cg=="))
    };
    let mut pointers = Vec::new();
    if key.group == "admissionregistration.k8s.io" {
        let webhooks = object.get("webhooks").and_then(Value::as_array).map_or(0, Vec::len);
        pointers.extend((0..webhooks).map(|i| format!("/webhooks/{i}/clientConfig/caBundle")));
    } else if key.is("apiextensions.k8s.io", "CustomResourceDefinition") {
        pointers.push("/spec/conversion/webhook/clientConfig/caBundle".to_owned());
    } else if key.is("apiregistration.k8s.io", "APIService") {
        pointers.push("/spec/caBundle".to_owned());
    }
    pointers.iter().filter(|pointer| is_empty(pointer)).map(|pointer| Left::at(pointer, false)).collect()
}

/// Takes a field out. Maps that this leaves empty go too, except top-level ones.
pub fn take_out(value: &mut Value, tokens: &[String]) -> Option<Value> {
    take_below(value, tokens, 0)
}

fn take_below(value: &mut Value, tokens: &[String], depth: usize) -> Option<Value> {
    let (token, rest) = tokens.split_first()?;
    match value {
        Value::Object(map) if rest.is_empty() => map.shift_remove(token),
        Value::Object(map) => {
            let below = map.get_mut(token)?;
            let taken = take_below(below, rest, depth + 1);
            if taken.is_some() && depth > 0 && below.as_object().is_some_and(serde_json::Map::is_empty) {
                map.shift_remove(token);
            }
            taken
        }
        Value::Array(items) => {
            let position: usize = token.parse().ok()?;
            if rest.is_empty() {
                return (position < items.len()).then(|| items.remove(position));
            }
            take_below(items.get_mut(position)?, rest, depth + 1)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Gk;
    use serde_json::json;

    #[test]
    fn globs() {
        for (pattern, text, expected) in [
            ("web", "web", true),
            ("web", "web2", false),
            ("*", "", true),
            ("web-*", "web-1", true),
            ("*-web", "a-web", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxc", false),
            ("aa*aa", "aaa", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn take_out_removes_what_it_empties() {
        let mut value = json!({"metadata": {"annotations": {"a/b": "1"}}, "spec": {"replicas": 1}});
        assert_eq!(take_out(&mut value, &tokens("/metadata/annotations/a~1b")), Some(json!("1")));
        assert_eq!(take_out(&mut value, &tokens("/spec/replicas")), Some(json!(1)));
        assert_eq!(value, json!({"metadata": {}, "spec": {}}));
        assert_eq!(take_out(&mut value, &tokens("/spec/x/0/y")), None);
    }

    #[test]
    fn cluster_owned_fields() {
        let service = ObjectKey::new(&Gk::new("", "Service"), Some("a"), "s");
        let of = |object: &Value, key: &ObjectKey| -> Vec<String> {
            left_alone(object, key, false, &[]).iter().map(|left| left.tokens.join("/")).collect()
        };
        assert!(of(&json!({"spec": {}}), &service).contains(&"spec/clusterIP".to_owned()));
        assert!(!of(&json!({"spec": {"clusterIP": "None"}}), &service).contains(&"spec/clusterIP".to_owned()));
        let hook =
            ObjectKey::new(&Gk::new("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"), None, "h");
        let object = json!({"webhooks": [{"clientConfig": {"caBundle": ""}}, {"clientConfig": {"caBundle": "QQ=="}}]});
        assert_eq!(of(&object, &hook), ["webhooks/0/clientConfig/caBundle"]);
    }
}
