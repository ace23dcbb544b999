//! `first()` and `last()` of lists, `optional.unwrap()` and `unwrapOpt()` (cel-go's `OptionalTypes()`, version 2, which
//! Kubernetes enables); the rest of optionals is the interpreter's.

#![expect(clippy::needless_pass_by_value, reason = "the signature of a CEL function")]

use cel::common::types::{CelList, CelOptional, LIST_TYPE};
use cel::common::value::{CowVal, Val};
use cel::{DeclarationError, Env, ExecutionError};

/// Adds the functions.
pub(in crate::policy) fn register(env: &mut Env) -> Result<(), DeclarationError> {
    env.add_member_overload("first", "list_first", LIST_TYPE, vec![], first)?;
    env.add_member_overload("last", "list_last", LIST_TYPE, vec![], last)?;
    env.add_overload("optional.unwrap", "optional_unwrap", vec![LIST_TYPE], unwrap)?;
    env.add_member_overload("unwrapOpt", "optional_unwrapOpt", LIST_TYPE, vec![], unwrap)
}

fn list<'a, 'b, 'v>(args: &'a [CowVal<'b, 'v>]) -> Result<&'a CowVal<'b, 'v>, ExecutionError> {
    args.first().ok_or_else(|| ExecutionError::function_error("optional", "no list"))
}

fn copies<'v>(list: &(dyn Val + 'v)) -> Result<Vec<Box<dyn Val + 'v>>, ExecutionError> {
    let iterable = list.as_iterable().ok_or_else(|| ExecutionError::function_error("optional", "not a list"))?;
    let mut items = iterable.iter();
    let mut out = Vec::new();
    while let Some(item) = items.next() {
        out.push(item.clone_as_boxed());
    }
    Ok(out)
}

fn first<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let found = copies(list(&args)?.as_ref())?.into_iter().next();
    Ok(CowVal::owned(found.map_or_else(CelOptional::none, CelOptional::of)))
}

fn last<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let found = copies(list(&args)?.as_ref())?.pop();
    Ok(CowVal::owned(found.map_or_else(CelOptional::none, CelOptional::of)))
}

fn unwrap<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let mut out: Vec<Box<dyn Val + 'v>> = Vec::new();
    for item in copies(list(&args)?.as_ref())? {
        let optional = item
            .downcast_ref::<CelOptional>()
            .ok_or_else(|| ExecutionError::function_error("optional", "an element is no optional"))?;
        out.extend(optional.option().map(Val::clone_as_boxed));
    }
    Ok(CowVal::owned(CelList::from(out)))
}
