//! What a plain or tagged scalar means: Go's YAML 1.1 reading, which is kubectl's.
//!
//! Source: `resolve` in go.yaml.in/yaml/v2 `resolve.go`; then `encoding/json` and apimachinery's `util/json`, through
//! which kubectl sends it (a float without a fraction becomes an integer there).

use super::{Content, Fault};
use base64::Engine as _;
use serde_json::Number;

/// A scalar before it becomes JSON: keys need to know integers from floats.
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    String(String),
}

/// A tag as far as it matters for scalars.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum ScalarTag {
    /// No tag, plain style: the text decides.
    Implicit,
    /// Text, whatever it looks like: quoted, `!!str`, or a tag of the application's own.
    Str,
    Bool,
    Int,
    Float,
    Null,
    Timestamp,
    Binary,
}

/// Resolves a scalar.
pub(super) fn resolve(tag: ScalarTag, text: &str) -> Result<Scalar, Fault> {
    let resolved = match tag {
        ScalarTag::Str => return Ok(Scalar::String(text.to_owned())),
        ScalarTag::Binary => return binary(text),
        _ => implicit(text),
    };
    match (tag, resolved) {
        (ScalarTag::Implicit, resolved) => Ok(resolved),
        (ScalarTag::Bool, value @ Scalar::Bool(_))
        | (ScalarTag::Null, value @ Scalar::Null)
        | (ScalarTag::Int, value @ (Scalar::Int(_) | Scalar::Uint(_)))
        | (ScalarTag::Float, value @ Scalar::Float(_))
        | (ScalarTag::Timestamp, value @ Scalar::String(_)) => Ok(value),
        #[expect(clippy::cast_precision_loss, reason = "Go converts the same way: float64(v)")]
        (ScalarTag::Float, Scalar::Int(n)) => Ok(Scalar::Float(n as f64)),
        (ScalarTag::Bool, _) => Err(Fault::BadTag("!!bool")),
        (ScalarTag::Null, _) => Err(Fault::BadTag("!!null")),
        (ScalarTag::Int, _) => Err(Fault::BadTag("!!int")),
        (ScalarTag::Float, _) => Err(Fault::BadTag("!!float")),
        (_, _) => Err(Fault::BadTag("!!timestamp")),
    }
}

fn implicit(text: &str) -> Scalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Scalar::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Scalar::Bool(false);
        }
        ".nan" | ".NaN" | ".NAN" => return Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Scalar::Float(f64::NEG_INFINITY),
        _ => {}
    }
    let number = match text.as_bytes().first() {
        Some(b'0'..=b'9' | b'+' | b'-') => number(&text.replace('_', "")),
        Some(b'.') => float(text),
        _ => None,
    };
    number.unwrap_or_else(|| Scalar::String(text.to_owned()))
}

fn number(plain: &str) -> Option<Scalar> {
    integer(plain).or_else(|| float(plain))
}

/// Go's `strconv.ParseInt(s, 0, 64)`, then `ParseUint`: `0x`, `0o`, `0b`, and a leading 0 is octal.
fn integer(plain: &str) -> Option<Scalar> {
    let (negative, unsigned) = match plain.as_bytes().first()? {
        b'-' => (true, &plain[1..]),
        b'+' => (false, &plain[1..]),
        _ => (false, plain),
    };
    let lower = unsigned.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    let signed = if negative { 0_i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() };
    match signed {
        Some(n) => Some(Scalar::Int(n)),
        // ParseUint takes no sign.
        None if !negative && !plain.starts_with('+') => Some(Scalar::Uint(magnitude)),
        None => None,
    }
}

/// `^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`, and finite.
fn float(plain: &str) -> Option<Scalar> {
    let unsigned = plain.strip_prefix(['-', '+']).unwrap_or(plain);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let some = !whole.is_empty() || !fraction.is_empty();
    let exponent_ok = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['-', '+']).unwrap_or(e);
        !e.is_empty() && digits(e)
    });
    if !(some && digits(whole) && digits(fraction) && exponent_ok) {
        return None;
    }
    plain.parse::<f64>().ok().filter(|f| f.is_finite()).map(Scalar::Float)
}

fn binary(text: &str) -> Result<Scalar, Fault> {
    // Go's decoder skips line ends, and nothing else.
    let packed: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let bytes = base64::engine::general_purpose::STANDARD.decode(packed).map_err(|_| Fault::BadTag("!!binary"))?;
    String::from_utf8(bytes).map(Scalar::String).map_err(|_| Fault::BinaryNotText)
}

impl Scalar {
    /// As a value.
    pub(super) fn into_content(self) -> Result<Content, Fault> {
        Ok(match self {
            Self::Null => Content::Null,
            Self::Bool(b) => Content::Bool(b),
            Self::Int(n) => Content::Number(n.into()),
            #[expect(
                clippy::cast_precision_loss,
                reason = "apimachinery's util/json reads what is no int64 as float64"
            )]
            Self::Uint(n) => float_content(n as f64)?,
            Self::Float(f) => float_content(f)?,
            Self::String(s) => Content::String(s),
        })
    }

    /// As a mapping's key: `convertToJSONableObject` in sigs.k8s.io/yaml.
    pub(super) fn into_key(self) -> Result<String, Fault> {
        Ok(match self {
            Self::Null => return Err(Fault::BadKey("null")),
            Self::Bool(b) => b.to_string(),
            Self::Int(n) => n.to_string(),
            Self::Uint(_) => return Err(Fault::BadKey("an integer of more than 63 bits")),
            Self::Float(f) => float_key(f),
            Self::String(s) => s,
        })
    }
}

/// A float as Go's `encoding/json` writes it and apimachinery reads it back: an integer where it has no fraction.
pub(super) fn float_content(f: f64) -> Result<Content, Fault> {
    if f.abs() < 1e21
        && let Ok(n) = f.to_string().parse::<i64>()
    {
        return Ok(Content::Number(n.into()));
    }
    Number::from_f64(f).map(Content::Number).ok_or(Fault::NotFinite)
}

/// `strconv.FormatFloat(f, 'g', -1, 32)`.
fn float_key(f: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "the original rounds to 32 bits")]
    let f = f as f32;
    if f.is_nan() {
        return ".nan".into();
    }
    if f.is_infinite() {
        return if f > 0.0 { ".inf".into() } else { "-.inf".into() };
    }
    let scientific = format!("{f:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return f.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}
