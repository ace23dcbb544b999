//! `sets.contains`, `sets.equivalent`, `sets.intersects` (cel-go's `ext.Sets()`, which Kubernetes enables).

#![expect(clippy::needless_pass_by_value, reason = "the signature of a CEL function")]

use super::lists::elements;
use cel::common::types::{CelBool, LIST_TYPE};
use cel::common::value::{CowVal, Val};
use cel::{DeclarationError, Env, ExecutionError};

/// Adds the functions.
pub(in crate::policy) fn register(env: &mut Env) -> Result<(), DeclarationError> {
    env.add_overload("sets.contains", "list_sets_contains", vec![LIST_TYPE, LIST_TYPE], contains)?;
    env.add_overload("sets.equivalent", "list_sets_equivalent", vec![LIST_TYPE, LIST_TYPE], equivalent)?;
    env.add_overload("sets.intersects", "list_sets_intersects", vec![LIST_TYPE, LIST_TYPE], intersects)
}

fn has(list: &[&dyn Val], wanted: &dyn Val) -> bool {
    list.iter().any(|item| item.equals(wanted))
}

fn judge<'b, 'v>(
    function: &str,
    args: &[CowVal<'b, 'v>],
    rule: fn(&[&dyn Val], &[&dyn Val]) -> bool,
) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [a, b] = args else { return Err(ExecutionError::function_error(function, "two lists are needed")) };
    let (a, b) = (elements(function, a.as_ref())?, elements(function, b.as_ref())?);
    Ok(CowVal::owned(CelBool::from(rule(&a, &b))))
}

fn contains<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    judge("sets.contains", &args, |a, b| b.iter().all(|item| has(a, *item)))
}

fn equivalent<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    judge("sets.equivalent", &args, |a, b| b.iter().all(|item| has(a, *item)) && a.iter().all(|item| has(b, *item)))
}

fn intersects<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    judge("sets.intersects", &args, |a, b| b.iter().any(|item| has(a, *item)))
}
