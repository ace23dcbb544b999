//! Digests of values: equal content, equal digest, whatever the order of map keys.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::fmt;

/// A SHA-256 (or, where a Secret is covered, HMAC-SHA-256) in hex.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(String);

impl Digest {
    /// Digest of raw bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(hex(&Sha256::digest(bytes)))
    }

    /// Digest of a JSON value in canonical form (map keys sorted).
    pub fn of_value(value: &Value) -> Self {
        let mut hasher = Sha256::new();
        feed(value, &mut |bytes| hasher.update(bytes));
        Self(hex(&hasher.finalize()))
    }

    /// Keyed digest of a JSON value in canonical form. Use it wherever a Secret's content is covered: an unkeyed
    /// digest of a short value can be guessed.
    pub fn of_value_keyed(value: &Value, key: &[u8]) -> Self {
        use hmac::{Hmac, Mac};
        // HMAC takes a key of any length (RFC 2104), so that this constructor cannot fail.
        let Ok(mut mac) = <Hmac<Sha256> as Mac>::new_from_slice(key) else { unreachable!("HMAC takes any key length") };
        feed(value, &mut |bytes| mac.update(bytes));
        Self(hex(&mac.finalize().into_bytes()))
    }

    /// The hex text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first `n` hex digits.
    pub fn short(&self, n: usize) -> &str {
        &self.0[..n.min(self.0.len())]
    }

    /// Only the first `n` hex digits, for where many are kept.
    #[must_use]
    pub fn shortened(mut self, n: usize) -> Self {
        self.0.truncate(n);
        self
    }

    /// A digest read back from where it was stored (hex text; its content is not checked).
    pub fn from_stored(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

/// Feeds a canonical encoding: maps sorted by key, everything length-delimited by JSON's own syntax.
fn feed(value: &Value, sink: &mut dyn FnMut(&[u8])) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort_unstable();
            sink(b"{");
            for key in keys {
                sink(Value::String(key.clone()).to_string().as_bytes());
                sink(b":");
                feed(&map[key], sink);
                sink(b",");
            }
            sink(b"}");
        }
        Value::Array(items) => {
            sink(b"[");
            for item in items {
                feed(item, sink);
                sink(b",");
            }
            sink(b"]");
        }
        scalar => sink(scalar.to_string().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn key_order_does_not_matter_and_content_does() {
        let a: Value = serde_json::from_str(r#"{"a":1,"b":{"c":2,"d":3}}"#).unwrap();
        let b: Value = serde_json::from_str(r#"{"b":{"d":3,"c":2},"a":1}"#).unwrap();
        assert_eq!(Digest::of_value(&a), Digest::of_value(&b));
        assert_ne!(Digest::of_value(&a), Digest::of_value(&json!({"a":1})));
        assert_ne!(Digest::of_value_keyed(&a, b"k1"), Digest::of_value_keyed(&a, b"k2"));
        assert_ne!(Digest::of_value(&json!(["ab", "c"])), Digest::of_value(&json!(["a", "bc"])));
    }
}
