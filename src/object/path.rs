//! Paths to fields, as server-side apply names them and as people read them.

use serde_json::Value;
use std::fmt;

/// A scalar with a total order, so that paths can be sorted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scalar {
    /// JSON null.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// Any other value, as canonical JSON text.
    Json(String),
    /// A string.
    Str(String),
}

impl From<&Value> for Scalar {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(b) => Self::Bool(*b),
            Value::Number(n) => n.as_i64().map_or_else(|| Self::Json(n.to_string()), Self::Int),
            Value::String(s) => Self::Str(s.clone()),
            other => Self::Json(other.to_string()),
        }
    }
}

impl Scalar {
    /// Back to JSON.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(b) => Value::Bool(*b),
            Self::Int(i) => Value::from(*i),
            Self::Json(text) => serde_json::from_str(text).unwrap_or(Value::Null),
            Self::Str(s) => Value::String(s.clone()),
        }
    }
}

/// One step of a path (`f:`, `k:`, `v:` and `i:` in `fieldsV1`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PathElement {
    /// A field of a struct or a key of a map.
    Field(String),
    /// An element of a list with map keys: the values of its keys, sorted by key name.
    Key(Vec<(String, Scalar)>),
    /// An element of a set: the value itself.
    Value(Scalar),
    /// A position in a list.
    Index(usize),
}

impl PathElement {
    /// Reads the `fieldsV1` form: `f:spec`, `k:{"name":"a"}`, `v:"x"`, `i:0`.
    pub fn parse(text: &str) -> Option<Self> {
        let (tag, rest) = text.split_once(':')?;
        match tag {
            "f" => Some(Self::Field(rest.to_owned())),
            "k" => {
                let Value::Object(map) = serde_json::from_str(rest).ok()? else { return None };
                let mut keys: Vec<(String, Scalar)> = map.iter().map(|(k, v)| (k.clone(), v.into())).collect();
                keys.sort();
                Some(Self::Key(keys))
            }
            "v" => Some(Self::Value((&serde_json::from_str::<Value>(rest).ok()?).into())),
            "i" => rest.parse().ok().map(Self::Index),
            _ => None,
        }
    }

    /// The `fieldsV1` form.
    pub fn to_fields_v1(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(keys) => {
                let map: serde_json::Map<String, Value> = keys.iter().map(|(k, v)| (k.clone(), v.to_value())).collect();
                format!("k:{}", Value::Object(map))
            }
            Self::Value(v) => format!("v:{}", v.to_value()),
            Self::Index(i) => format!("i:{i}"),
        }
    }

    /// The child of `value` that this element names.
    pub fn step<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        match (self, value) {
            (Self::Field(name), Value::Object(map)) => map.get(name),
            (Self::Key(keys), Value::Array(items)) => items.iter().find(|item| {
                keys.iter().all(|(k, v)| match item.get(k) {
                    Some(found) => Scalar::from(found) == *v,
                    // A defaulted key may be absent in what was applied: containerPort's protocol (TCP) is one.
                    None => k == "protocol" && *v == Scalar::Str("TCP".into()),
                })
            }),
            (Self::Value(v), Value::Array(items)) => items.iter().find(|item| Scalar::from(*item) == *v),
            (Self::Index(i), Value::Array(items)) => items.get(*i),
            _ => None,
        }
    }
}

/// A path from an object's root.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct FieldPath(pub Vec<PathElement>);

impl FieldPath {
    /// The path one element further.
    #[must_use]
    pub fn child(&self, element: PathElement) -> Self {
        let mut elements = self.0.clone();
        elements.push(element);
        Self(elements)
    }

    /// The value at this path.
    pub fn get<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(value, |value, element| element.step(value))
    }

    /// True if this path is `prefix` or lies below it.
    pub fn starts_with(&self, prefix: &Self) -> bool {
        self.0.starts_with(&prefix.0)
    }
}

/// `.spec.template.spec.containers[name="main"].image`; a field that is no plain word is quoted: `.data["a.b"]`.
impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for element in &self.0 {
            match element {
                PathElement::Field(name) if is_word(name) => write!(f, ".{name}")?,
                PathElement::Field(name) => write!(f, "[{}]", Value::String(name.clone()))?,
                PathElement::Key(keys) => {
                    let parts: Vec<String> = keys.iter().map(|(k, v)| format!("{k}={}", v.to_value())).collect();
                    write!(f, "[{}]", parts.join(","))?;
                }
                PathElement::Value(v) => write!(f, "[={}]", v.to_value())?,
                PathElement::Index(i) => write!(f, "[{i}]")?,
            }
        }
        Ok(())
    }
}

fn is_word(name: &str) -> bool {
    !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        && !name.starts_with(|c: char| c.is_ascii_digit())
}
