//! Decoding: text into values, and values into the form that Go's types give them.
//!
//! In: the bytes of a request. Out: a value in which unknown fields are gone (and named), nulls are dropped, zero values
//! are written or not as Go would, quantities and times are canonical. The object that a client reads back from the real
//! server went through Go structs; this module is what stands for them here.
//! Source of the texts: sigs.k8s.io/json, and `k8s.io/apimachinery/pkg/runtime/serializer/json`.

use super::types::{Scalar, TypeId, Types};
use base64::Engine as _;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::cell::RefCell;
use std::fmt;

/// Deepest nesting that is read.
const MAX_DEPTH: usize = 200;

/// Reads JSON; names every duplicate key as `duplicate field "spec.replicas"`. The last one wins, as in Go.
pub fn parse_json(bytes: &[u8]) -> Result<(Value, Vec<String>), String> {
    let duplicates = RefCell::new(Vec::new());
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let seed = Seed { path: "", duplicates: &duplicates, depth: 0 };
    let value = seed.deserialize(&mut deserializer).map_err(|e| e.to_string())?;
    deserializer.end().map_err(|e| e.to_string())?;
    Ok((value, duplicates.into_inner()))
}

/// Reads JSON or YAML (one document). JSON goes through the exact reader first: it is what clients send.
pub fn parse_yaml(bytes: &[u8]) -> Result<(Value, Vec<String>), String> {
    let first = bytes.iter().find(|b| !b.is_ascii_whitespace());
    if first == Some(&b'{')
        && let Ok(read) = parse_json(bytes)
    {
        return Ok(read);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "yaml: control characters are not allowed".to_owned())?;
    let options = serde_saphyr::options! { legacy_octal_numbers: true, with_snippet: false };
    let value: Value = serde_saphyr::from_str_with_options(text, options).map_err(|e| format!("yaml: {e}"))?;
    Ok((value, Vec::new()))
}

#[derive(Clone, Copy)]
struct Seed<'a> {
    path: &'a str,
    duplicates: &'a RefCell<Vec<String>>,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.depth > MAX_DEPTH {
            return Err(serde::de::Error::custom("exceeded max depth"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::from(v))
    }
    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::from(v))
    }
    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(Number::from_f64(v).map_or(Value::Null, Value::Number))
    }
    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }
    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::String(v))
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            let path = format!("{}[{}]", self.path, items.len());
            let seed = Seed { path: &path, duplicates: self.duplicates, depth: self.depth + 1 };
            match seq.next_element_seed(seed)? {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }
    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let path = joined(self.path, &key);
            let seed = Seed { path: &path, duplicates: self.duplicates, depth: self.depth + 1 };
            let value = access.next_value_seed(seed)?;
            if map.insert(key, value).is_some() {
                self.duplicates.borrow_mut().push(format!("duplicate field {path:?}"));
            }
        }
        Ok(Value::Object(map))
    }
}

fn joined(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// What was read, and what was dropped.
#[derive(Debug)]
pub struct Decoded {
    /// The object in Go's form.
    pub object: Value,
    /// `unknown field "spec.foo"`, in the order of the document.
    pub unknown: Vec<String>,
}

/// Gives a value the form of its type. The error is the text of Go's decoder.
pub fn conform(types: &Types, root: TypeId, value: &Value) -> Result<Decoded, String> {
    let mut walk = Walk { types, unknown: Vec::new(), path: Vec::new(), owner: "" };
    let object = walk.value(root, value)?.unwrap_or_else(|| Value::Object(Map::new()));
    Ok(Decoded { object, unknown: walk.unknown })
}

/// The empty object of a type: what `New()` gives in Go, with the structs that are always there.
pub fn empty(types: &Types, root: TypeId) -> Value {
    conform(types, root, &Value::Object(Map::new())).map_or_else(|_| Value::Object(Map::new()), |d| d.object)
}

enum Step<'a> {
    Field(&'a str),
    Index(usize),
}

struct Walk<'a> {
    types: &'a Types,
    unknown: Vec<String>,
    path: Vec<Step<'a>>,
    /// The struct that holds the value, for Go's error text.
    owner: &'a str,
}

impl<'a> Walk<'a> {
    fn value(&mut self, id: TypeId, value: &'a Value) -> Result<Option<Value>, String> {
        let atom = self.types.atom(id);
        if atom.scalar == Some(Scalar::Untyped) {
            return Ok(Some(value.clone()));
        }
        if let Some(scalar) = atom.scalar {
            return self.scalar(scalar, value);
        }
        match (value, &atom.map, &atom.list) {
            (Value::Null, _, _) => Ok(None),
            (Value::Object(object), Some(map), _) => {
                if let Some(name) = &atom.name {
                    self.owner = name;
                }
                self.object(map, object).map(Some)
            }
            (Value::Array(items), _, Some(list)) => {
                let mut out = Vec::with_capacity(items.len());
                for (i, item) in items.iter().enumerate() {
                    self.path.push(Step::Index(i));
                    let owner = self.owner;
                    let item = self.value(list.element, item)?;
                    self.owner = owner;
                    self.path.pop();
                    out.push(item.unwrap_or_else(|| zero(self.types, list.element)));
                }
                Ok(Some(Value::Array(out)))
            }
            (_, Some(_), _) => {
                let name = atom.name.as_deref().map_or_else(|| "map[string]string".to_owned(), go_type_name);
                Err(self.mismatch(value, &name))
            }
            (_, _, Some(list)) => {
                let name = go_element_name(self.types, list.element);
                Err(self.mismatch(value, &format!("[]{name}")))
            }
            _ => Ok(Some(value.clone())),
        }
    }

    fn object(&mut self, map: &'a super::types::Map, object: &'a Map<String, Value>) -> Result<Value, String> {
        let mut out = Map::with_capacity(object.len() + 2);
        let owner = self.owner;
        for (key, value) in object {
            self.path.push(Step::Field(key));
            if let Some(field) = map.field(key) {
                if let Some(value) = self.value(field.ty, value)?
                    && !self.omitted(field, &value)
                {
                    out.insert(key.clone(), value);
                }
            } else if let Some(element) = map.element {
                let read = self.value(element, value)?;
                out.insert(key.clone(), read.unwrap_or_else(|| zero(self.types, element)));
            } else {
                let text = format!("unknown field {:?}", self.path_text(true));
                self.unknown.push(text);
            }
            self.owner = owner;
            self.path.pop();
        }
        for field in &map.fields {
            if !out.contains_key(&field.name) {
                if let Some(Value::Object(_)) = field.default {
                    out.insert(field.name.clone(), empty(self.types, field.ty));
                } else if let Some(default) = field.default.as_ref().filter(|d| !is_zero(d)) {
                    // `+default=` in Go: a port's protocol.
                    out.insert(field.name.clone(), default.clone());
                } else if field.always {
                    out.insert(field.name.clone(), zero(self.types, field.ty));
                }
            }
        }
        Ok(Value::Object(out))
    }

    fn omitted(&self, field: &super::types::Field, value: &Value) -> bool {
        if field.always {
            return false;
        }
        match value {
            Value::Array(items) => items.is_empty(),
            // An empty map is dropped; an empty struct behind a pointer is kept, also one without fields.
            Value::Object(map) => {
                let atom = self.types.atom(field.ty);
                let element = atom.map.as_ref().and_then(|m| m.element);
                map.is_empty() && atom.name.is_none() && element.is_some_and(|e| e != self.types.deduced())
            }
            Value::String(text) => field.omit_zero && text.is_empty(),
            Value::Number(n) => field.omit_zero && n.as_i64() == Some(0),
            Value::Bool(b) => field.omit_zero && !b,
            Value::Null => false,
        }
    }

    fn scalar(&self, scalar: Scalar, value: &Value) -> Result<Option<Value>, String> {
        let wrong = |name: &str| Err(self.mismatch(value, name));
        Ok(match (scalar, value) {
            (_, Value::Null) => None,
            (Scalar::String, Value::String(_)) | (Scalar::Bool, Value::Bool(_)) => Some(value.clone()),
            (Scalar::Bytes, Value::String(text)) => {
                let clean: String = text.chars().filter(|c| *c != '\n' && *c != '\r').collect();
                if let Err(at) = base64::engine::general_purpose::STANDARD.decode(&clean) {
                    let byte = match at {
                        base64::DecodeError::InvalidByte(i, _) | base64::DecodeError::InvalidLastSymbol(i, _) => i,
                        _ => clean.len().saturating_sub(clean.len() % 4),
                    };
                    return Err(format!("illegal base64 data at input byte {byte}"));
                }
                Some(Value::String(clean))
            }
            (Scalar::Int32, Value::Number(n)) => match n.as_i64() {
                Some(i) if i32::try_from(i).is_ok() => Some(value.clone()),
                _ => return wrong("int32"),
            },
            (Scalar::Int64, Value::Number(n)) if n.is_i64() => Some(value.clone()),
            (Scalar::Number, Value::Number(_)) => Some(value.clone()),
            (Scalar::IntOrString, Value::String(_)) => Some(value.clone()),
            (Scalar::IntOrString, Value::Number(n)) if n.is_i64() => Some(value.clone()),
            (Scalar::Quantity, Value::String(text)) => match super::quantity::canonical(text) {
                Some(text) => Some(Value::String(text)),
                None => return Err(super::quantity::ERROR.to_owned()),
            },
            (Scalar::Quantity, Value::Number(n)) => match super::quantity::canonical(&n.to_string()) {
                Some(text) => Some(Value::String(text)),
                None => return Err(super::quantity::ERROR.to_owned()),
            },
            (Scalar::Time | Scalar::MicroTime, Value::String(text)) if text.is_empty() => None,
            (Scalar::Time | Scalar::MicroTime, Value::String(text)) => match text.parse::<jiff::Timestamp>() {
                // Most times are in the canonical form already.
                Ok(_)
                    if scalar == Scalar::Time
                        && text.len() == 20
                        && text.as_bytes()[10] == b'T'
                        && text.ends_with('Z') =>
                {
                    Some(value.clone())
                }
                Ok(time) => Some(Value::String(time_text(time, scalar == Scalar::MicroTime))),
                Err(_) => {
                    return Err(format!(
                        "parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {text:?} as \"2006\""
                    ));
                }
            },
            (Scalar::Untyped, _) => Some(value.clone()),
            (Scalar::String | Scalar::Bytes | Scalar::Time | Scalar::MicroTime, _) => return wrong("string"),
            (Scalar::Int32, _) => return wrong("int32"),
            (Scalar::Int64, _) => return wrong("int64"),
            (Scalar::Bool, _) => return wrong("bool"),
            (Scalar::Number, _) => return wrong("float64"),
            (Scalar::IntOrString, _) => return wrong("intstr.IntOrString"),
            (Scalar::Quantity, _) => return Err(super::quantity::ERROR.to_owned()),
        })
    }

    fn mismatch(&self, value: &Value, go_type: &str) -> String {
        let found = match value {
            Value::Null => "null".to_owned(),
            Value::Bool(_) => "bool".to_owned(),
            Value::Number(n) if n.is_f64() || go_type == "int32" => format!("number {n}"),
            Value::Number(_) => "number".to_owned(),
            Value::String(_) => "string".to_owned(),
            Value::Array(_) => "array".to_owned(),
            Value::Object(_) => "object".to_owned(),
        };
        let owner = self.owner.rsplit('.').next().unwrap_or_default();
        format!(
            "json: cannot unmarshal {found} into Go struct field {owner}.{} of type {go_type}",
            self.path_text(false)
        )
    }

    fn path_text(&self, indices: bool) -> String {
        use fmt::Write as _;
        let mut out = String::new();
        for step in &self.path {
            match step {
                Step::Field(name) if out.is_empty() => out.push_str(name),
                Step::Field(name) => {
                    out.push('.');
                    out.push_str(name);
                }
                Step::Index(i) if indices => {
                    let _ = write!(out, "[{i}]");
                }
                Step::Index(_) => {}
            }
        }
        out
    }
}

/// A time as Go's `metav1.Time` (seconds) or `metav1.MicroTime` writes it.
pub fn time_text(time: jiff::Timestamp, micro: bool) -> String {
    if micro {
        time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
    } else {
        time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }
}

fn go_type_name(name: &str) -> String {
    let mut parts = name.rsplit('.');
    let (ty, version, group) = (parts.next(), parts.next(), parts.next());
    let package = if matches!(group, Some("meta")) { "v1" } else { version.unwrap_or("v1") };
    format!("{package}.{}", ty.unwrap_or_default())
}

fn go_element_name(types: &Types, id: TypeId) -> String {
    let atom = types.atom(id);
    match (&atom.name, atom.scalar) {
        (Some(name), _) => go_type_name(name),
        (_, Some(Scalar::Int32)) => "int32".into(),
        (_, Some(Scalar::Int64)) => "int64".into(),
        _ => "string".into(),
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(_) | Value::Object(_) => false,
    }
}

/// The zero value of a type as JSON: `""`, `0`, `false`, an empty struct, or null for lists and maps.
fn zero(types: &Types, id: TypeId) -> Value {
    let atom = types.atom(id);
    match atom.scalar {
        Some(Scalar::String) => return Value::String(String::new()),
        Some(Scalar::Int32 | Scalar::Int64 | Scalar::Number | Scalar::IntOrString) => return Value::from(0),
        Some(Scalar::Bool) => return Value::Bool(false),
        Some(Scalar::Quantity) => return Value::String("0".into()),
        _ => {}
    }
    match (&atom.name, &atom.map) {
        (Some(_), Some(_)) => empty(types, id),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn decode(ty: &str, value: &Value) -> Result<Decoded, String> {
        let types = Types::builtin();
        conform(types, types.named(ty).unwrap(), value)
    }

    #[test]
    fn unknown_duplicate_and_mistyped_fields_are_named() {
        let (value, duplicates) = parse_json(br#"{"spec":{"replicas":1,"replicas":2}}"#).unwrap();
        assert_eq!(
            (duplicates, &value["spec"]["replicas"]),
            (vec!["duplicate field \"spec.replicas\"".into()], &json!(2))
        );
        let pod = json!({"spec": {"foo": 1, "containers": [{"name": "a", "bar": 2}]}});
        assert_eq!(
            decode("core.v1.Pod", &pod).unwrap().unknown,
            ["unknown field \"spec.foo\"", "unknown field \"spec.containers[0].bar\""]
        );
        let error = decode("apps.v1.Deployment", &json!({"spec": {"replicas": "3"}})).unwrap_err();
        assert_eq!(
            error,
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"
        );
        let env = json!({"spec": {"containers": [{"name": "a", "env": [{"name": "A", "value": true}]}]}});
        let error = decode("core.v1.Pod", &env).unwrap_err();
        assert_eq!(
            error,
            "json: cannot unmarshal bool into Go struct field EnvVar.spec.containers.env.value of type string"
        );
    }

    #[test]
    fn values_get_the_form_that_go_gives_them() {
        let object = decode(
            "core.v1.Pod",
            &json!({"metadata": {"labels": {}, "annotations": null, "creationTimestamp": null},
                    "spec": {"hostNetwork": false, "containers": [{"name": "a", "args": [],
                        "resources": {"limits": {"cpu": "1000m", "memory": 1024}},
                        "securityContext": {}}]}}),
        )
        .unwrap()
        .object;
        assert_eq!(
            object,
            json!({"metadata": {}, "status": {}, "spec": {"containers": [{"name": "a",
                "resources": {"limits": {"cpu": "1", "memory": "1024"}}, "securityContext": {}}]}})
        );
    }
}
