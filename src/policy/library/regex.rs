//! `find` and `findAll`. Source: k8s.io/apiserver/pkg/cel/library/regex.go.
//!
//! Rust's `regex` is linear in time as Go's RE2 is; the compiled size is bounded here.

use cel::common::types::{CelInt, CelList, CelString};
use cel::common::value::Val;
use cel::{DeclarationError, Env, ExecutionError};

/// Compiled size of one expression, in bytes.
const SIZE_LIMIT: usize = 1 << 20;

/// Adds the functions.
pub(in crate::policy) fn register(env: &mut Env) -> Result<(), DeclarationError> {
    cel::add_member_overload!(env, fn find: (CelString, CelString) -> Result<CelString>)?;
    cel::add_member_overload!(env, fn find_all: (CelString, CelString) -> Result<CelList>)?;
    cel::add_member_overload!(env, fn find_some: (CelString, CelString, CelInt) -> Result<CelList>, name = "findAll")
}

fn compile(pattern: &str) -> Result<regex::Regex, ExecutionError> {
    regex::RegexBuilder::new(pattern)
        .size_limit(SIZE_LIMIT)
        .build()
        .map_err(|_| ExecutionError::function_error("find", "the pattern is no valid regular expression, or too large"))
}

fn find(text: &CelString<'_>, pattern: &CelString<'_>) -> Result<CelString<'static>, ExecutionError> {
    let found = compile(pattern.inner())?.find(text.inner()).map(|m| m.as_str().to_owned());
    Ok(CelString::from(found.unwrap_or_default()))
}

fn find_all(text: &CelString<'_>, pattern: &CelString<'_>) -> Result<CelList<'static>, ExecutionError> {
    take(text, pattern, usize::MAX)
}

fn find_some(text: &CelString<'_>, pattern: &CelString<'_>, n: &CelInt) -> Result<CelList<'static>, ExecutionError> {
    // Negative means all, as Go's FindAllString has it.
    take(text, pattern, usize::try_from(*n.inner()).unwrap_or(usize::MAX))
}

fn take(text: &CelString<'_>, pattern: &CelString<'_>, n: usize) -> Result<CelList<'static>, ExecutionError> {
    let found: Vec<Box<dyn Val>> = compile(pattern.inner())?
        .find_iter(text.inner())
        .take(n)
        .map(|m| Box::new(CelString::from(m.as_str().to_owned())) as Box<dyn Val>)
        .collect();
    Ok(CelList::from(found))
}
