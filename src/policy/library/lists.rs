//! `isSorted`, `sum`, `min`, `max`, `indexOf`, `lastIndexOf` of lists.
//! Source: k8s.io/apiserver/pkg/cel/library/lists.go.

#![expect(clippy::needless_pass_by_value, reason = "the signature of a CEL function")]

use cel::common::types::{CelBool, CelInt, DYN_TYPE, LIST_TYPE};
use cel::common::value::{CowVal, Val};
use cel::{DeclarationError, Env, ExecutionError};
use std::cmp::Ordering;

/// Adds the functions.
pub(in crate::policy) fn register(env: &mut Env) -> Result<(), DeclarationError> {
    env.add_member_overload("isSorted", "list_is_sorted", LIST_TYPE, vec![], is_sorted)?;
    env.add_member_overload("sum", "list_sum", LIST_TYPE, vec![], sum)?;
    env.add_member_overload("min", "list_min", LIST_TYPE, vec![], min)?;
    env.add_member_overload("max", "list_max", LIST_TYPE, vec![], max)?;
    env.add_member_overload("indexOf", "list_index_of", LIST_TYPE, vec![DYN_TYPE], index_of)?;
    env.add_member_overload("lastIndexOf", "list_last_index_of", LIST_TYPE, vec![DYN_TYPE], last_index_of)
}

/// The elements of a list.
pub(super) fn elements<'a>(function: &str, list: &'a dyn Val) -> Result<Vec<&'a dyn Val>, ExecutionError> {
    let iterable = list.as_iterable().ok_or_else(|| ExecutionError::function_error(function, "not a list"))?;
    let mut items = iterable.iter();
    let mut out = Vec::new();
    while let Some(item) = items.next() {
        out.push(item);
    }
    Ok(out)
}

fn first<'a, 'b, 'v>(function: &str, args: &'a [CowVal<'b, 'v>]) -> Result<&'a CowVal<'b, 'v>, ExecutionError> {
    args.first().ok_or_else(|| ExecutionError::function_error(function, "no list"))
}

fn compare(function: &str, a: &dyn Val, b: &dyn Val) -> Result<Ordering, ExecutionError> {
    a.as_comparer().ok_or_else(|| ExecutionError::function_error(function, "elements cannot be ordered"))?.compare(b)
}

fn is_sorted<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let list = first("isSorted", &args)?;
    let items = elements("isSorted", list.as_ref())?;
    for pair in items.windows(2) {
        if let [a, b] = pair
            && compare("isSorted", *a, *b)? == Ordering::Greater
        {
            return Ok(CowVal::owned(CelBool::from(false)));
        }
    }
    Ok(CowVal::owned(CelBool::from(true)))
}

fn sum<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let list = first("sum", &args)?;
    let mut total: Option<Box<dyn Val + 'v>> = None;
    let iterable = list.as_iterable().ok_or_else(|| ExecutionError::function_error("sum", "not a list"))?;
    let mut items = iterable.iter();
    while let Some(item) = items.next() {
        total = Some(match total {
            None => item.clone_as_boxed(),
            Some(so_far) => so_far
                .as_adder()
                .ok_or_else(|| ExecutionError::function_error("sum", "elements cannot be added"))?
                .add(item)?
                .into_owned(),
        });
    }
    Ok(total.map_or_else(|| CowVal::owned(CelInt::from(0)), CowVal::Owned))
}

fn extreme<'b, 'v>(
    function: &str,
    args: &[CowVal<'b, 'v>],
    wanted: Ordering,
) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let list = first(function, args)?;
    let iterable = list.as_iterable().ok_or_else(|| ExecutionError::function_error(function, "not a list"))?;
    let mut items = iterable.iter();
    let mut best: Option<Box<dyn Val + 'v>> = None;
    while let Some(item) = items.next() {
        let better = match &best {
            None => true,
            Some(so_far) => compare(function, item, so_far.as_ref())? == wanted,
        };
        if better {
            best = Some(item.clone_as_boxed());
        }
    }
    best.map(CowVal::Owned).ok_or_else(|| ExecutionError::function_error(function, "the list is empty"))
}

fn min<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    extreme("min", &args, Ordering::Less)
}

fn max<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    extreme("max", &args, Ordering::Greater)
}

fn position<'b, 'v>(function: &str, args: &[CowVal<'b, 'v>], last: bool) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [list, wanted] = args else { return Err(ExecutionError::function_error(function, "one argument is needed")) };
    let items = elements(function, list.as_ref())?;
    let equal = |item: &&dyn Val| item.equals(wanted.as_ref());
    let found = if last { items.iter().rposition(equal) } else { items.iter().position(equal) };
    let index = found.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1);
    Ok(CowVal::owned(CelInt::from(index)))
}

fn index_of<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    position("indexOf", &args, false)
}

fn last_index_of<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    position("lastIndexOf", &args, true)
}
