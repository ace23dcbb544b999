//! The built-in kinds as an API server reads them: the types of their fields, decoding by type, and defaults. Pure.
//!
//! In: objects as they are written. Out: the same as the server holds them before admission looks at them: with what Go
//! writes for a value that is zero, quantities in their canonical form, and defaults. The embedded cluster reads every
//! request with it, and policies judge by it what no server has answered yet.

pub mod autoscaler;
pub mod decode;
pub mod defaults;
pub mod quantity;
pub mod types;

pub use types::{Atom, Field, List, ListKind, Map, Scalar, TypeId, Types};

use crate::object::Gvk;
use base64::Engine as _;
use serde_json::{Value, json};

/// The package of a group's types in the type table.
pub fn package(group: &str) -> &str {
    match group {
        "" => "core",
        "rbac.authorization.k8s.io" => "rbac",
        other => other.split('.').next().unwrap_or(other),
    }
}

/// The type of a built-in kind; `None` for all others.
pub fn type_of(gvk: &Gvk) -> Option<TypeId> {
    // Groups of custom resources may begin with the word of a built-in one.
    let built_in = crate::object::null::is_built_in(&gvk.group);
    let named = || Types::builtin().named(&format!("{}.{}.{}", package(&gvk.group), gvk.version, gvk.kind));
    built_in.then(named).flatten()
}

/// An object as the server reads it; `None` for a kind that is not built in. Fields that the types do not have stay:
/// a newer server may know them.
///
/// # Errors
/// What does not fit the type, in the server's words.
pub fn read(gvk: &Gvk, object: &Value) -> Option<Result<Value, String>> {
    let decoded = decode::conform(Types::builtin(), type_of(gvk)?, object);
    Some(decoded.map(|decoded| {
        let mut object = if decoded.unknown.is_empty() { decoded.object } else { object.clone() };
        if gvk.group.is_empty() && gvk.kind == "Secret" {
            fold_string_data(&mut object);
        }
        defaults::apply(&gvk.gk(), &gvk.version, &mut object);
        object
    }))
}

/// `stringData` is write-only: it goes into `data` when the object is decoded.
pub fn fold_string_data(object: &mut Value) {
    let Some(object) = object.as_object_mut() else { return };
    let Some(Value::Object(texts)) = object.shift_remove("stringData") else { return };
    if texts.is_empty() {
        return;
    }
    let data = object.entry("data").or_insert_with(|| json!({}));
    if data.is_null() {
        *data = json!({});
    }
    if let Some(data) = data.as_object_mut() {
        for (key, text) in texts {
            let bytes = text.as_str().unwrap_or_default().as_bytes();
            data.insert(key, base64::engine::general_purpose::STANDARD.encode(bytes).into());
        }
    }
}
