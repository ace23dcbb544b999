//! `x-kubernetes-validations`: the CEL rules of custom resources, enforced in the real server's words. Pure.
//!
//! In: an object, its schema, and the object before. Out: what is wrong with it. Rules are judged by [`crate::policy`]:
//! `self` and `oldSelf` are bound by loops over lists of one element, so that its compiler checks names as always.
//! A rule that does not compile here, or needs types that JSON does not have, is not enforced, and whoever writes the
//! definition is told ([`warnings`]).
//! Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/validation.go.

use super::status::FieldError;
use crate::object::{Desired, Source};
use crate::policy::{PolicySet, RESERVED, Request};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

const RULES: &str = "x-kubernetes-validations";

/// Compiled rules, by what they are compiled from. The same definition is read again at every change of another one.
static COMPILED: LazyLock<Mutex<HashMap<String, Result<PolicySet, String>>>> = LazyLock::new(Mutex::default);

/// Compiled rules that are kept.
const MOST_COMPILED: usize = 20_000;

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

fn rules(schema: &Value) -> &[Value] {
    schema[RULES].as_array().map_or(&[], Vec::as_slice)
}

/// A rule about what was before.
fn is_transition(rule: &Value) -> bool {
    ["rule", "messageExpression"].iter().any(|key| text(rule, key).contains("oldSelf"))
}

/// The rule as a policy of its own, named by `name`.
fn compile(rule: &Value, name: &str) -> Result<PolicySet, String> {
    let optional = rule["optionalOldSelf"] == true;
    let key = json!([name, rule["rule"], rule["message"], rule["messageExpression"], optional]).to_string();
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = compiled.get(&key) {
        return known.clone();
    }
    let old = match optional {
        true => "oldObject == null ? optional.none() : optional.of(oldObject)",
        false => "oldObject",
    };
    let bound = |expression: &str, macro_: &str, end: &str| {
        let inner = if is_transition(rule) {
            format!("[{old}].{macro_}(oldSelf, ({expression}\n)){end}")
        } else {
            format!("({expression}\n)")
        };
        format!("[object].{macro_}(self, {inner}){end}")
    };
    let mut validation = json!({"expression": bound(text(rule, "rule"), "all", "")});
    if !text(rule, "message").is_empty() {
        validation["message"] = rule["message"].clone();
    }
    if !text(rule, "messageExpression").is_empty() {
        // What `self` is made of is not told to the policy, so that it cannot know that the message is a text.
        let message = bound(text(rule, "messageExpression"), "map", "[0]");
        validation["messageExpression"] = format!("string({message})").into();
    }
    let document = |kind: &str, spec: Value| Desired {
        object: json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}),
        source: Source { file: String::new(), line: 0 },
    };
    let everything = json!([{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}]);
    let set = PolicySet::load(&[
        document(
            "ValidatingAdmissionPolicy",
            json!({"matchConstraints": {"resourceRules": everything}, "validations": [validation]}),
        ),
        document("ValidatingAdmissionPolicyBinding", json!({"policyName": name, "validationActions": ["Deny"]})),
    ]);
    let set = set.map_err(|errors| {
        let told = errors.first().map(ToString::to_string).unwrap_or_default();
        told.splitn(3, ": ").last().unwrap_or_default().to_owned()
    });
    if compiled.len() >= MOST_COMPILED {
        compiled.clear();
    }
    compiled.insert(key, set.clone());
    set
}

/// The name of a field that a rule reads whose type in CEL has no JSON form here.
fn unsuitable(schema: &Value, rule: &Value) -> Option<String> {
    let odd = |schema: &Value| matches!(text(schema, "format"), "date-time" | "date" | "duration" | "byte");
    let below = |schema: &Value| [&schema["items"], &schema["additionalProperties"]].into_iter().any(odd);
    if odd(schema) || below(schema) {
        return Some("self".to_owned());
    }
    let mut todo = vec![schema];
    while let Some(schema) = todo.pop() {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            if (odd(property) || below(property)) && text(rule, "rule").contains(name.as_str()) {
                return Some(name.clone());
            }
            todo.push(property);
        }
        todo.extend([&schema["items"], &schema["additionalProperties"]].into_iter().filter(|s| s.is_object()));
    }
    None
}

/// Of the rules of a definition, those that are not enforced here.
pub fn warnings(definition: &Value) -> Vec<String> {
    let mut out = Vec::new();
    for (i, version) in definition["spec"]["versions"].as_array().into_iter().flatten().enumerate() {
        let schema = &version["schema"]["openAPIV3Schema"];
        unenforced(schema, &format!("spec.versions[{i}].schema.openAPIV3Schema"), &mut out);
    }
    out
}

fn unenforced(schema: &Value, at: &str, out: &mut Vec<String>) {
    for (i, rule) in rules(schema).iter().enumerate() {
        let why = match (unsuitable(schema, rule), compile(rule, &i.to_string())) {
            (Some(field), _) => format!("{field} has a type that this cluster does not evaluate"),
            (None, Err(why)) => why,
            (None, Ok(_)) => continue,
        };
        out.push(format!("{at}.{RULES}[{i}].rule: not enforced by the embedded cluster: {why}"));
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        unenforced(property, &format!("{at}.properties[{name}]"), out);
    }
    for key in ["items", "additionalProperties"] {
        if schema[key].is_object() {
            unenforced(&schema[key], &format!("{at}.{key}"), out);
        }
    }
}

fn has_rules(schema: &Value) -> bool {
    !rules(schema).is_empty()
        || schema["properties"].as_object().into_iter().flatten().any(|(_, property)| has_rules(property))
        || ["items", "additionalProperties"].iter().any(|key| schema[*key].is_object() && has_rules(&schema[*key]))
}

/// Adds what rules have against an object to what is wrong with it already.
pub fn validate(object: &Value, old: Option<&Value>, schema: &Value, errors: &mut Vec<FieldError>) {
    if !has_rules(schema) {
        return;
    }
    let blocking = [
        "FieldValueNotSupported",
        "FieldValueRequired",
        "FieldValueTooLong",
        "FieldValueTooMany",
        "FieldValueTypeInvalid",
    ];
    if errors.iter().any(|error| blocking.contains(&error.kind)) {
        let why = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
        errors.push(FieldError::invalid("<nil>", &Value::Null, why));
        return;
    }
    // Of the metadata a rule sees the name only.
    let resource = |object: &Value| {
        let mut seen = object.clone();
        let metadata = ["name", "generateName"]
            .into_iter()
            .filter_map(|key| object["metadata"].get(key).map(|value| (key.to_owned(), value.clone())));
        seen["metadata"] = Value::Object(metadata.collect());
        seen
    };
    walk(&resource(object), old.map(resource).as_ref(), schema, "", errors);
}

fn walk(value: &Value, old: Option<&Value>, schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if value.is_null() {
        return;
    }
    judge(value, old, schema, path, errors);
    match value {
        Value::Object(map) => {
            let named = schema["properties"].as_object();
            for (key, item) in map {
                let before = old.and_then(|old| old.get(key)).filter(|old| !old.is_null());
                if let Some(property) = named.and_then(|named| named.get(key)) {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    walk(item, before, property, &path, errors);
                } else if schema["additionalProperties"].is_object() {
                    walk(item, before, &schema["additionalProperties"], &format!("{path}[{key}]"), errors);
                }
            }
        }
        Value::Array(items) if schema["items"].is_object() => {
            for (i, item) in items.iter().enumerate() {
                let before = old.and_then(|old| counterpart(item, old, schema));
                walk(item, before, &schema["items"], &format!("{path}[{i}]"), errors);
            }
        }
        _ => {}
    }
}

/// The element of the list before that is the same one: lists by keys have such.
fn counterpart<'v>(item: &Value, old: &'v Value, schema: &Value) -> Option<&'v Value> {
    let keys = schema["x-kubernetes-list-map-keys"].as_array()?;
    old.as_array()?.iter().find(|other| {
        keys.iter().filter_map(Value::as_str).all(|key| {
            let default = &schema["items"]["properties"][key]["default"];
            other.get(key).unwrap_or(default) == item.get(key).unwrap_or(default)
        })
    })
}

fn judge(value: &Value, old: Option<&Value>, schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let mut set = PolicySet::default();
    for (i, rule) in rules(schema).iter().enumerate() {
        let skipped = if is_transition(rule) {
            old.is_none() && rule["optionalOldSelf"] != true
        } else {
            // What has not changed is not held against an update (CRDValidationRatcheting).
            old == Some(value)
        };
        if skipped || unsuitable(schema, rule).is_some() {
            continue;
        }
        if let Ok(one) = compile(rule, &i.to_string()) {
            set = set.and(one);
        }
    }
    if set.is_empty() {
        return;
    }
    let (value, old) = (typed(value, schema), old.map(|old| typed(old, schema)));
    let request = Request {
        operation: if old.is_some() { "UPDATE" } else { "CREATE" },
        object: Some(&value),
        old_object: old.as_ref(),
        ..Request::default()
    };
    for verdict in set.review(&request) {
        let Some(rule) = verdict.policy.parse::<usize>().ok().and_then(|i| rules(schema).get(i)) else { continue };
        errors.push(told(rule, &verdict.message, &value, path));
    }
}

fn told(rule: &Value, message: &str, value: &Value, path: &str) -> FieldError {
    let source = text(rule, "rule").trim();
    let at = if path.is_empty() { "<nil>" } else { path };
    if let Some(error) = message.strip_prefix("the policy could not be evaluated: ") {
        let kind = match value {
            Value::Object(_) => "object".into(),
            Value::Array(_) => "array".into(),
            other => other.clone(),
        };
        return FieldError::invalid(at, &kind, &format!("{error} evaluating rule: {source}"));
    }
    let failed = message.starts_with("failed expression: ");
    let message = if failed { format!("failed rule: {source}") } else { message.to_owned() };
    let field = match text(rule, "fieldPath") {
        "" => at.to_owned(),
        inner if path.is_empty() => inner.trim_start_matches('.').to_owned(),
        inner => format!("{path}{inner}"),
    };
    let error = |kind, head: &str| FieldError { kind, field: field.clone(), text: format!("{head}: {message}") };
    match text(rule, "reason") {
        "FieldValueForbidden" => error("FieldValueForbidden", "Forbidden"),
        "FieldValueRequired" => error("FieldValueRequired", "Required value"),
        "FieldValueDuplicate" => FieldError::duplicate(field, value),
        // Maps and lists are not shown.
        _ if value.is_object() || value.is_array() || field != at => error("FieldValueInvalid", "Invalid value"),
        _ => FieldError::invalid(field, value, &message),
    }
}

/// A value as CEL sees it by its schema: numbers are doubles, and names that are no identifiers are written otherwise.
fn typed(value: &Value, schema: &Value) -> Value {
    match value {
        Value::Number(number) if schema["type"] == "number" => {
            number.as_f64().and_then(serde_json::Number::from_f64).map_or_else(|| value.clone(), Value::Number)
        }
        Value::Array(items) => items.iter().map(|item| typed(item, &schema["items"])).collect(),
        Value::Object(map) => {
            let fields = map.iter().map(|(key, item)| match schema["properties"].get(key) {
                Some(property) => (escaped(key), typed(item, property)),
                None => (key.clone(), typed(item, &schema["additionalProperties"])),
            });
            Value::Object(fields.collect::<Map<String, Value>>())
        }
        other => other.clone(),
    }
}

/// `cel.Escape` of k8s.io/apiserver.
fn escaped(name: &str) -> String {
    if RESERVED.contains(&name) {
        return format!("__{name}__");
    }
    name.replace("__", "__underscores__").replace('.', "__dot__").replace('-', "__dash__").replace('/', "__slash__")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(rule: &Value, more: &Value, value: &Value, old: Option<&Value>) -> Vec<String> {
        let mut spec = more.clone();
        spec[RULES] = json!([rule]);
        let schema = json!({"type": "object", "properties": {"spec": spec}});
        let object = |value: &Value| json!({"metadata": {"name": "e"}, "spec": value});
        let mut errors = Vec::new();
        validate(&object(value), old.map(object).as_ref(), &schema, &mut errors);
        errors.into_iter().map(|error| format!("{}: {}", error.field, error.text)).collect()
    }

    #[test]
    fn rules_speak_as_those_of_the_real_server() {
        let object = json!({"type": "object", "properties": {"min": {"type": "integer"}, "max": {"type": "integer"},
            "ratio": {"type": "number"}, "namespace": {"type": "string"}, "a-b": {"type": "string"}}});
        let number = json!({"type": "integer"});
        let words = json!({"type": "string"});
        for (rule, schema, value, old, expected) in [
            (
                json!({"rule": "self.min <= self.max", "message": "min must not exceed max"}),
                &object,
                json!({"min": 3, "max": 2}),
                None,
                Some("spec: Invalid value: min must not exceed max"),
            ),
            (json!({"rule": "self.min <= self.max"}), &object, json!({"min": 2, "max": 3}), None, None),
            (
                json!({"rule": "self.max < 100 // small"}),
                &object,
                json!({"max": 200}),
                None,
                Some("spec: Invalid value: failed rule: self.max < 100 // small"),
            ),
            (
                json!({"rule": "self.max != 50", "messageExpression": "'max is ' + string(self.max)",
                    "reason": "FieldValueForbidden", "fieldPath": ".max"}),
                &object,
                json!({"max": 50}),
                None,
                Some("spec.max: Forbidden: max is 50"),
            ),
            (
                json!({"rule": "self.min > 0"}),
                &object,
                json!({}),
                None,
                Some("spec: Invalid value: \"object\": no such key: min evaluating rule: self.min > 0"),
            ),
            (
                json!({"rule": "self > 0"}),
                &number,
                json!(0),
                None,
                Some("spec: Invalid value: 0: failed rule: self > 0"),
            ),
            (json!({"rule": "self.ratio / 2.0 == 1.5"}), &object, json!({"ratio": 3}), None, None),
            (
                json!({"rule": "self.__namespace__ == 'x' && self.a__dash__b == 'y'"}),
                &object,
                json!({"namespace": "x", "a-b": "y"}),
                None,
                None,
            ),
            // Transitions, and what has not changed.
            (json!({"rule": "self == oldSelf"}), &words, json!("a"), None, None),
            (json!({"rule": "self == oldSelf"}), &words, json!("a"), Some(json!("a")), None),
            (
                json!({"rule": "self == oldSelf", "message": "name is immutable"}),
                &words,
                json!("two"),
                Some(json!("one")),
                Some("spec: Invalid value: \"two\": name is immutable"),
            ),
            (
                json!({"rule": "oldSelf.hasValue() || self == 'first'", "optionalOldSelf": true}),
                &words,
                json!("x"),
                None,
                Some("spec: Invalid value: \"x\": failed rule: oldSelf.hasValue() || self == 'first'"),
            ),
            (
                json!({"rule": "oldSelf.orValue('') == 'x'", "optionalOldSelf": true}),
                &words,
                json!("y"),
                Some(json!("x")),
                None,
            ),
            (json!({"rule": "self > 0"}), &number, json!(0), Some(json!(0)), None),
        ] {
            let said = found(&rule, schema, &value, old.as_ref());
            assert_eq!(said, expected.map(str::to_owned).into_iter().collect::<Vec<_>>(), "{rule}");
        }
    }

    #[test]
    fn rules_are_found_at_every_depth() {
        let pair = json!({"type": "object", RULES: [{"rule": "self.a != self.b", "message": "a and b must differ"},
            {"rule": "self.b == oldSelf.b", "message": "b stays"}]});
        let schema = json!({"type": "object", RULES: [{"rule": "self.metadata.name != 'x'", "message": "root rule"}], "properties": {
            "spec": {"type": "object", "properties": {
                "list": {"type": "array", "items": pair, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"]},
                "map": {"type": "object", "additionalProperties": {"type": "integer", RULES: [{"rule": "self > 0"}]}}}}}});
        let object = |name: &str, list: Value| {
            json!({"apiVersion": "e/v1", "kind": "E", "metadata": {"name": name, "uid": "u"},
            "spec": {"list": list, "map": {"k": 0}}})
        };
        let said = |object: &Value, old: Option<&Value>| -> Vec<String> {
            let mut errors = Vec::new();
            validate(object, old, &schema, &mut errors);
            errors.into_iter().map(|error| format!("{}: {}", error.field, error.text)).collect()
        };
        let before = object("x", json!([{"a": "x", "b": "y"}]));
        let expected = [
            "<nil>: Invalid value: root rule",
            "spec.list[1]: Invalid value: a and b must differ",
            "spec.map[k]: Invalid value: 0: failed rule: self > 0",
        ];
        assert_eq!(said(&object("x", json!([{"a": "x", "b": "y"}, {"a": "z", "b": "z"}])), None), expected);
        let changed = object("y", json!([{"a": "n", "b": "m"}, {"a": "x", "b": "z"}]));
        assert_eq!(said(&changed, Some(&before)), ["spec.list[1]: Invalid value: b stays"]);
        let mut errors = vec![FieldError::required("spec.a", "")];
        validate(&before, None, &schema, &mut errors);
        assert_eq!(errors.len(), 2);
        assert_eq!(errors[1].field, "<nil>");
    }

    #[test]
    fn what_is_not_enforced_is_told() {
        let schema = json!({"properties": {"at": {"type": "string", "format": "date-time"}, "n": {"type": "integer"}},
            RULES: [{"rule": "self.n.nope() == 1"}, {"rule": "self.at < timestamp('2026-01-01T00:00:00Z')"}, {"rule": "self.n > 1"}]});
        let definition = json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": schema}}]}});
        let at = "spec.versions[0].schema.openAPIV3Schema.x-kubernetes-validations";
        let said = warnings(&definition);
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(
            said[0].starts_with(&format!(
                "{at}[0].rule: not enforced by the embedded cluster: there is no function nope()"
            )),
            "{said:?}"
        );
        assert!(
            said[1].starts_with(&format!("{at}[1].rule: not enforced by the embedded cluster: at has a type")),
            "{said:?}"
        );
    }
}
