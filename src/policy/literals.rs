//! Calls whose arguments are written out, so that they can only fail: an API server refuses them when it takes a policy,
//! by evaluating conversions and compiling patterns then, and by comparing a format with what it is given (cel-go's
//! cel/validator.go, interpreter/decorators.go and ext/formatting.go).

use super::environment::environment;
use super::library::{regex, text};
use super::message;
use super::types::Type;
use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue};
use cel::{Context, Value};

/// Functions that turn a value of one type into another.
const CONVERSIONS: [&str; 8] = ["bool", "bytes", "double", "duration", "int", "string", "timestamp", "uint"];

/// Functions that take a pattern.
const PATTERNS: [&str; 2] = ["find", "findAll"];

/// What is wrong with a call, if that is certain. `type_of` knows the type of a node inside a call of `format()`.
pub(super) fn fault(call: &CallExpr, type_of: &dyn Fn(u64) -> Option<Type>) -> Option<String> {
    let name = call.func_name.as_str();
    match (name, &call.target, call.args.as_slice()) {
        (text::FORMAT, None, [template, values]) => format_fault(template, values, type_of),
        (_, None, [argument]) if CONVERSIONS.contains(&name) => conversion_fault(name, argument),
        (regex::MATCHES, None, [_, pattern]) => pattern_fault(name, pattern),
        (_, Some(_), [pattern, ..]) if PATTERNS.contains(&name) => pattern_fault(name, pattern),
        _ => None,
    }
}

fn conversion_fault(name: &str, argument: &IdedExpr) -> Option<String> {
    let Expr::Literal(literal) = &argument.expr else { return None };
    // Of another type it is no conversion, which is told elsewhere.
    let converts = matches!(literal, LiteralValue::String(_) | LiteralValue::Double(_) | LiteralValue::Int(_));
    if let ("duration", LiteralValue::String(text)) = (name, literal)
        && text.inner().contains(char::is_whitespace)
    {
        return Some(format!("duration(): {:?} is no duration", text.inner()));
    }
    let call = CallExpr { func_name: name.to_owned(), target: None, args: vec![argument.clone()] };
    converts.then(|| evaluation_fault(call)).flatten()
}

fn pattern_fault(name: &str, pattern: &IdedExpr) -> Option<String> {
    if !matches!(&pattern.expr, Expr::Literal(LiteralValue::String(_))) {
        return None;
    }
    let empty = IdedExpr { id: 0, expr: Expr::Literal(LiteralValue::String("".into())) };
    let (func_name, pattern) = (name.to_owned(), pattern.clone());
    evaluation_fault(match name {
        regex::MATCHES => CallExpr { func_name, target: None, args: vec![empty, pattern] },
        _ => CallExpr { func_name, target: Some(Box::new(empty)), args: vec![pattern] },
    })
}

/// Why a call of literals fails.
fn evaluation_fault(call: CallExpr) -> Option<String> {
    let context = Context::with_env(environment()?);
    let call = IdedExpr { id: 0, expr: Expr::Call(call) };
    match Value::resolve_val(&call, &context) {
        Err(error) => Some(message::explain(&error)),
        Ok(_) => None,
    }
}

fn format_fault(template: &IdedExpr, values: &IdedExpr, type_of: &dyn Fn(u64) -> Option<Type>) -> Option<String> {
    let Expr::Literal(LiteralValue::String(template)) = &template.expr else { return None };
    let Expr::List(values) = &values.expr else { return None };
    let clauses = match text::clauses(template.inner()) {
        Ok(clauses) => clauses,
        Err(error) => return Some(message::explain(&error)),
    };
    let (wanted, given) = (clauses.len(), values.elements.len());
    if wanted != given {
        return Some(format!("format(): there are {wanted} clauses and {given} values"));
    }
    clauses.into_iter().zip(&values.elements).find_map(|(clause, value)| {
        let found = type_of(value.id)?;
        let takes = match clause {
            'd' | 'o' => &["int", "uint"][..],
            'f' | 'e' => &["double", "string"],
            'b' => &["int", "uint", "bool"],
            'x' | 'X' => &["int", "uint", "string", "bytes"],
            _ => &[
                "list",
                "map",
                "int",
                "uint",
                "double",
                "bool",
                "string",
                "timestamp",
                "bytes",
                "duration",
                "type",
                "null_type",
            ],
        };
        let unfit = !found.is_open() && !takes.contains(&found.name());
        unfit.then(|| format!("format(): %{clause} cannot be used on {}", found.name()))
    })
}
