//! `format()` of strings and `reverse()` of lists, as Kubernetes has them: cel-go's string library in version 2
//! (ext/formatting.go), where the interpreter's extension follows a later one. Lists and maps are written as CEL, doubles
//! as American English has them, and a text cannot be reversed.
//!
//! The interpreter's functions of these names cannot be replaced, so that macros turn the calls into calls of these here.

#![expect(clippy::needless_pass_by_value, reason = "the signature of a CEL function")]

use super::super::environment::environment;
use cel::common::ast::{CallExpr, Expr};
use cel::common::types::{CelBool, CelBytes, CelDouble, CelInt, CelList, CelString, CelType, CelUInt, Kind};
use cel::common::types::{LIST_TYPE, STRING_TYPE};
use cel::common::value::{CowVal, Val};
use cel::parser::Macro;
use cel::{DeclarationError, Env, ExecutionError};
use std::fmt::Write as _;

/// No expression can write the names.
pub(in crate::policy) const FORMAT: &str = "@format";
/// See [`FORMAT`].
pub(in crate::policy) const REVERSE: &str = "@reverse";

/// What a clause may end with.
const CLAUSES: &str = "sdfeboxX";

const PRECISION: usize = 6;
const MAX_PRECISION: usize = 100;

/// Adds the functions and the macros that lead to them.
pub(in crate::policy) fn register(env: &mut Env) -> Result<(), DeclarationError> {
    env.add_overload(FORMAT, "@format(string,list)", vec![STRING_TYPE, LIST_TYPE], format)?;
    env.add_overload(REVERSE, "@reverse(list)", vec![LIST_TYPE], reverse)?;
    for (name, ours, count) in [("format", FORMAT, 1), ("reverse", REVERSE, 0)] {
        env.add_macro(Macro::receiver(name, count, move |helper, target, args| {
            let args = target.take().into_iter().chain(std::mem::take(args)).collect();
            Ok(Some(helper.next_expr(Expr::Call(CallExpr { func_name: ours.to_owned(), target: None, args }))))
        }))?;
    }
    Ok(())
}

fn fault(message: impl Into<String>) -> ExecutionError {
    ExecutionError::function_error("format", message.into())
}

fn reverse<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let list = args.first().and_then(|list| list.as_iterable());
    let mut items = list.ok_or_else(|| ExecutionError::function_error("reverse", "not a list"))?.iter();
    let mut out: Vec<Box<dyn Val + 'v>> = Vec::new();
    while let Some(item) = items.next() {
        out.push(item.clone_as_boxed());
    }
    out.reverse();
    Ok(CowVal::owned(CelList::from(out)))
}

fn format<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [template, list] = args.as_slice() else { return Err(fault("a list is needed")) };
    let template = template.downcast_ref::<CelString>().ok_or_else(|| fault("a text is needed"))?;
    let mut values = list.as_iterable().ok_or_else(|| fault("a list is needed"))?.iter();
    let mut out = String::new();
    let mut rest = template.inner();
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let value = values.next().ok_or_else(|| fault("there are more clauses than values"))?;
        let (precision, clause) = precision(after)?;
        let mut letters = clause.chars();
        let letter = letters.next().ok_or_else(|| fault("unexpected end of string"))?;
        let text = clause_of(letter, precision, value)?;
        out.push_str(&text.ok_or_else(|| fault(format!("%{letter} cannot be used on {}", value.get_type().name())))?);
        rest = letters.as_str();
    }
    out.push_str(rest);
    Ok(CowVal::owned(CelString::from(out)))
}

/// The letters of a format's clauses, one for each value.
pub(in crate::policy) fn clauses(template: &str) -> Result<Vec<char>, ExecutionError> {
    let (mut rest, mut letters) = (template, Vec::new());
    while let Some((_, after)) = rest.split_once('%') {
        if let Some(after) = after.strip_prefix('%') {
            rest = after;
            continue;
        }
        let mut clause = precision(after)?.1.chars();
        let letter = clause.next().ok_or_else(|| fault("unexpected end of string"))?;
        if !CLAUSES.contains(letter) {
            return Err(unrecognized(letter));
        }
        letters.push(letter);
        rest = clause.as_str();
    }
    Ok(letters)
}

fn unrecognized(letter: char) -> ExecutionError {
    fault(format!("unrecognized formatting clause \"{letter}\""))
}

/// `.3` in front of a clause's letter.
fn precision(text: &str) -> Result<(usize, &str), ExecutionError> {
    let Some(text) = text.strip_prefix('.') else { return Ok((PRECISION, text)) };
    let end = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(|| fault("a precision without end"))?;
    let (digits, rest) = text.split_at(end);
    let precision = digits.parse().ok().filter(|precision| *precision <= MAX_PRECISION);
    Ok((precision.ok_or_else(|| fault("the precision is no number, or too large"))?, rest))
}

/// A value under a clause; `None` where the two do not fit.
fn clause_of(letter: char, precision: usize, value: &dyn Val) -> Result<Option<String>, ExecutionError> {
    let int = value.downcast_ref::<CelInt>().map(|int| *int.inner());
    let uint = value.downcast_ref::<CelUInt>().map(|uint| *uint.inner());
    let double = value.downcast_ref::<CelDouble>().map(|double| *double.inner());
    // Go writes a sign and the digits of the absolute value.
    let size = int.map(i64::unsigned_abs).or(uint);
    let sign = if int.is_some_and(i64::is_negative) { "-" } else { "" };
    Ok(match letter {
        's' => return shown(value).map(Some),
        'd' => int.map(|int| int.to_string()).or(uint.map(|uint| uint.to_string())),
        'f' => double.map(|double| fixed(double, precision)),
        'e' => double.map(|double| scientific(double, precision)),
        'b' => match value.downcast_ref::<CelBool>() {
            Some(bool) => Some(u8::from(*bool.inner()).to_string()),
            None => size.map(|size| format!("{sign}{size:b}")),
        },
        'o' => size.map(|size| format!("{sign}{size:o}")),
        'x' => size.map(|size| format!("{sign}{size:x}")).or_else(|| hex(value)),
        'X' => size.map(|size| format!("{sign}{size:X}")).or_else(|| hex(value).map(|text| text.to_uppercase())),
        other => return Err(unrecognized(other)),
    })
}

fn hex(value: &dyn Val) -> Option<String> {
    let text = value.downcast_ref::<CelString>().map(|text| text.inner().as_bytes());
    let bytes = text.or_else(|| value.downcast_ref::<CelBytes>().map(CelBytes::inner))?;
    Some(bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    }))
}

/// With commas between thousands.
fn fixed(double: f64, precision: usize) -> String {
    if !double.is_finite() {
        return not_finite(double);
    }
    let text = format!("{:.precision$}", double.abs());
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let mut out = if double.is_sign_negative() { "-".to_owned() } else { String::new() };
    for (position, digit) in whole.chars().enumerate() {
        if position > 0 && (whole.len() - position) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out.extend(fraction.into_iter().flat_map(|fraction| ['.'].into_iter().chain(fraction.chars())));
    out
}

fn not_finite(double: f64) -> String {
    if double.is_nan() {
        "NaN"
    } else if double > 0.0 {
        "∞"
    } else {
        "-∞"
    }
    .to_owned()
}

/// `1.5×10⁰³`.
fn scientific(double: f64, precision: usize) -> String {
    if !double.is_finite() {
        return not_finite(double);
    }
    let text = format!("{double:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let raised = |c: char| match c {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        '4' => '⁴',
        '5' => '⁵',
        '6' => '⁶',
        '7' => '⁷',
        '8' => '⁸',
        '9' => '⁹',
        _ => '⁰',
    };
    let (sign, digits) = exponent.strip_prefix('-').map_or(("", exponent), |digits| ("-", digits));
    let exponent: String = format!("{sign}{digits:0>2}").chars().map(raised).collect();
    format!("{mantissa}×10{exponent}")
}

/// `%s`.
fn shown(value: &dyn Val) -> Result<String, ExecutionError> {
    if value.get_type().kind() == Kind::NullType {
        return Ok("null".to_owned());
    }
    if let Some(of) = value.downcast_ref::<CelType>() {
        return Ok(of.name().to_owned());
    }
    match value.get_type().name() {
        "list" => list(value),
        "map" => map(value),
        "int" | "uint" | "double" | "bool" | "string" | "bytes" => string(value),
        "google.protobuf.Timestamp" | "google.protobuf.Duration" => string(value),
        other => Err(fault(format!("%s cannot be used on {other}"))),
    }
}

/// `string(value)`.
fn string(value: &dyn Val) -> Result<String, ExecutionError> {
    let args = vec![CowVal::Owned(value.clone_as_boxed())];
    let env = environment().ok_or_else(|| fault("no environment"))?;
    let convert = env.find_overload("string", &args).ok_or_else(|| fault("no conversion to a text"))?;
    let text = convert(args)?;
    text.downcast_ref::<CelString>().map(|text| text.inner().to_owned()).ok_or_else(|| fault("no text"))
}

/// A value inside of a list or map.
fn nested(value: &dyn Val) -> Result<String, ExecutionError> {
    let text = shown(value)?;
    Ok(match value.get_type().name() {
        "string" => quoted(&text),
        "bytes" => format!("b{}", quoted(&text)),
        "google.protobuf.Timestamp" => format!("timestamp({})", quoted(&text)),
        "google.protobuf.Duration" => format!("duration({})", quoted(&text)),
        "double" => match value.downcast_ref::<CelDouble>().map(|double| *double.inner()) {
            Some(double) if double.is_finite() => format!("{double:.PRECISION$}"),
            Some(double) if double.is_nan() => quoted("NaN"),
            Some(double) => quoted(if double > 0.0 { "+Inf" } else { "-Inf" }),
            None => text,
        },
        _ => text,
    })
}

/// Go's `%q`, for what is printable.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn list(value: &dyn Val) -> Result<String, ExecutionError> {
    let mut items = value.as_iterable().ok_or_else(|| fault("not a list"))?.iter();
    let mut out = Vec::new();
    while let Some(item) = items.next() {
        out.push(nested(item)?);
    }
    Ok(format!("[{}]", out.join(", ")))
}

fn map(value: &dyn Val) -> Result<String, ExecutionError> {
    let (Some(keys), Some(values)) = (value.as_iterable(), value.as_indexer()) else { return Err(fault("not a map")) };
    let mut keys = keys.iter();
    let mut out = Vec::new();
    while let Some(key) = keys.next() {
        out.push((nested(key)?, nested(values.get(key)?.as_ref())?));
    }
    out.sort();
    let out: Vec<String> = out.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
    Ok(format!("{{{}}}", out.join(", ")))
}
