//! The form of objects: decoded by type, with defaults, and what was dropped on the way. Pure.
//!
//! In: the body of a request, or a patched object. Out: the object as Go would hold it, in the version of the request or
//! of the store, and the names of unknown fields.

use super::aim::Aim;
use super::custom;
use super::kinds::{Kind, Version};
use super::request::FieldValidation;
use super::status::Status;
use crate::scheme::{TypeId, Types};
use crate::scheme::{decode, defaults};
use serde_json::{Map, Value, json};

/// A text at a JSON pointer; empty where there is none.
pub fn text<'v>(object: &'v Value, pointer: &str) -> &'v str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The metadata, made where there is none.
pub fn metadata_of(object: &mut Value) -> Option<&mut Map<String, Value>> {
    let map = object.as_object_mut()?;
    let metadata = map.entry("metadata").or_insert_with(|| json!({}));
    if metadata.is_null() {
        *metadata = json!({});
    }
    metadata.as_object_mut()
}

/// Sets a text of the metadata; an empty one is removed.
pub fn set_text(object: &mut Value, key: &str, value: &str) {
    if let Some(metadata) = metadata_of(object) {
        if value.is_empty() {
            metadata.shift_remove(key);
        } else {
            metadata.insert(key.to_owned(), value.into());
        }
    }
}

/// Gives a decoded request body the form of its kind and sets the defaults. Unknown fields are dropped; the returned
/// list names them.
pub fn conform(kind: &Kind, version: &Version, object: &Value) -> Result<(Value, Vec<String>), String> {
    let (mut object, unknown) = match (&version.schema, version.root) {
        (Some(schema), _) => {
            let mut object = object.clone();
            let unknown = custom::prune(&mut object, schema);
            custom::default(&mut object, schema);
            if let (Some(meta), Some(given)) = (Types::builtin().named("meta.v1.ObjectMeta"), object.get("metadata")) {
                let decoded = decode::conform(Types::builtin(), meta, given)?;
                object["metadata"] = decoded.object;
            }
            (object, unknown)
        }
        (None, Some(root)) => {
            let decoded = decode::conform(kind.types.get(), root, object)?;
            (decoded.object, decoded.unknown)
        }
        (None, None) => (object.clone(), Vec::new()),
    };
    if kind.is("", "Secret") {
        crate::scheme::fold_string_data(&mut object);
    }
    defaults::apply(&kind.gk, &version.name, &mut object);
    Ok((head_first(object), unknown))
}

/// The same for an object that was made from a stored one: what did not change has its form already.
pub fn conform_changed(
    kind: &Kind,
    version: &Version,
    object: Value,
    live: &Value,
) -> Result<(Value, Vec<String>), (Value, String)> {
    let whole = kind.custom || kind.is("", "Secret") || !object.is_object();
    if whole {
        return conform(kind, version, &object).map_err(|e| (object, e));
    }
    let Value::Object(map) = &object else { return Ok((object, Vec::new())) };
    let fresh = |key: &str, value: &Value| live.get(key) != Some(value);
    let changed: Map<String, Value> =
        map.iter().filter(|(key, value)| fresh(key, value)).map(|(k, v)| (k.clone(), v.clone())).collect();
    let Some(root) = version.root else { return Ok((object, Vec::new())) };
    let decoded = decode::conform(kind.types.get(), root, &Value::Object(changed));
    let decoded = match decoded {
        Ok(decoded) => decoded,
        Err(error) => return Err((object, error)),
    };
    let Value::Object(mut formed) = decoded.object else { return Ok((object, decoded.unknown)) };
    let mut out = Map::with_capacity(map.len() + 1);
    let Value::Object(map) = object else { return Ok((Value::Null, decoded.unknown)) };
    for (key, value) in map {
        if live.get(&key) == Some(&value) {
            out.insert(key, value);
        } else if let Some(value) = formed.shift_remove(&key) {
            out.insert(key, value);
        }
    }
    // What is always there, and was not in the object.
    for (key, value) in formed {
        out.entry(key).or_insert(value);
    }
    let mut object = Value::Object(out);
    defaults::apply(&kind.gk, &version.name, &mut object);
    Ok((head_first(object), decoded.unknown))
}

/// What an object is comes first, as in everything that Go writes.
fn head_first(object: Value) -> Value {
    let Value::Object(mut map) = object else { return object };
    let head = ["kind", "apiVersion", "metadata"];
    if map.keys().zip(head).all(|(a, b)| a == b) {
        return Value::Object(map);
    }
    let mut out = Map::with_capacity(map.len() + 2);
    for key in head {
        if let Some(value) = map.shift_remove(key) {
            out.insert(key.to_owned(), value);
        }
    }
    out.extend(map);
    Value::Object(out)
}

/// Decodes the object of a create or update (`Decode` with strictness as asked).
pub fn decoded(
    aim: &Aim,
    object: &Value,
    duplicates: Vec<String>,
    warnings: &mut Vec<String>,
) -> Result<Value, Status> {
    let (kind, version) = (&aim.kind.gk.kind, &aim.version().name);
    let head = format!("{kind} in version {version:?} cannot be handled as a {kind}: ");
    if !object.is_object() {
        let what = "couldn't get version/kind; json parse error: json: cannot unmarshal into Go value of type struct";
        return Err(Status::bad_request(what));
    }
    let (api_version, found) = (text(object, "/apiVersion"), text(object, "/kind"));
    if !found.is_empty() && found != kind {
        let gv = api_version.rsplit('/').next().unwrap_or_default();
        let package = crate::scheme::package(&aim.kind.gk.group);
        let message = format!(
            "{found} in version {gv:?} cannot be handled as a {kind}: converting ({gv}.{found}) to ({package}.{kind}): unknown conversion"
        );
        return Err(Status::bad_request(message));
    }
    if !api_version.is_empty() && api_version != aim.api_version() {
        let message = format!(
            "the API version in the data ({api_version}) does not match the expected API version ({})",
            aim.api_version()
        );
        return Err(Status::bad_request(message));
    }
    let (mut out, unknown) =
        conform(&aim.kind, aim.version(), object).map_err(|e| Status::bad_request(format!("{head}{e}")))?;
    let problems: Vec<String> = duplicates.into_iter().chain(unknown).collect();
    if !problems.is_empty() {
        match aim.options.validation {
            FieldValidation::Strict => {
                let message = format!("{head}strict decoding error: {}", problems.join(", "));
                return Err(Status::bad_request(message));
            }
            FieldValidation::Warn => warnings.extend(problems),
            FieldValidation::Ignore => {}
        }
    }
    out["apiVersion"] = aim.api_version().into();
    out["kind"] = kind.as_str().into();
    Ok(head_first(out))
}

/// The stored form once more through the types: what strategies wrote gets Go's form too.
pub fn settled(aim: &Aim, object: Value) -> Result<Value, Status> {
    let stored = stored_version(&aim.kind);
    match (&stored.schema, stored_root(&aim.kind)) {
        (None, Some((types, root))) => {
            let mut out = decode::conform(types, root, &object).map_err(Status::internal)?.object;
            for key in ["apiVersion", "kind"] {
                if let Some(value) = object.get(key) {
                    out[key] = value.clone();
                }
            }
            Ok(out)
        }
        _ => Ok(object),
    }
}

/// The version in which a kind is stored.
pub fn stored_version(kind: &Kind) -> &Version {
    kind.storage_version()
}

fn stored_root(kind: &Kind) -> Option<(&Types, TypeId)> {
    if kind.is("events.k8s.io", "Event") {
        let types = Types::builtin();
        return types.named("core.v1.Event").map(|id| (types, id));
    }
    kind.storage_version().root.map(|id| (kind.types.get(), id))
}
