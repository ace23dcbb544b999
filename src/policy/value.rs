//! JSON as CEL values.
//!
//! Integers become `int` (Kubernetes binds int64; a serde conversion would make them `uint`, and `3 - 5` would
//! overflow), other numbers `double`.

use super::nothing::Nothing;
use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelString};
use cel::common::value::Val;
use serde_json::Value;
use std::collections::HashMap;

/// Elements of one list or map that an expression may walk over. A Kubernetes object is at most 1.5 MiB (etcd's
/// request limit), which a longer list can only reach with nothing in it.
pub(super) const MAX_ELEMENTS: usize = 20_000;

/// Nesting of a value. JSON from the API server is at most 100 deep in practice, serde_json stops at 128.
const MAX_DEPTH: usize = 200;

/// Why a value is not bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum TooLarge {
    #[error("a list or map has more than {MAX_ELEMENTS} elements")]
    Elements,
    #[error("it is nested more than {MAX_DEPTH} deep")]
    Depth,
}

/// The CEL form of a JSON value.
pub(super) fn to_cel(value: &Value) -> Result<Box<dyn Val>, TooLarge> {
    convert(value, MAX_DEPTH)
}

fn convert(value: &Value, depth: usize) -> Result<Box<dyn Val>, TooLarge> {
    let below = depth.checked_sub(1).ok_or(TooLarge::Depth)?;
    Ok(match value {
        Value::Null => Box::new(Nothing),
        Value::Bool(b) => Box::new(CelBool::from(*b)),
        Value::Number(n) => match n.as_i64() {
            Some(int) => Box::new(CelInt::from(int)),
            None => Box::new(CelDouble::from(n.as_f64().unwrap_or(f64::NAN))),
        },
        Value::String(s) => Box::new(CelString::from(s.clone())),
        Value::Array(items) => {
            if items.len() > MAX_ELEMENTS {
                return Err(TooLarge::Elements);
            }
            let items: Result<Vec<_>, _> = items.iter().map(|item| convert(item, below)).collect();
            Box::new(CelList::from(items?))
        }
        Value::Object(map) => {
            if map.len() > MAX_ELEMENTS {
                return Err(TooLarge::Elements);
            }
            let entries: Result<HashMap<CelMapKey<'static>, Box<dyn Val>>, _> =
                map.iter().map(|(key, item)| Ok((CelMapKey::from(key.clone()), convert(item, below)?))).collect();
            Box::new(CelMap::from(entries?))
        }
    })
}
