//! `semver()`, `isSemver()` and what can be asked of a version.
//! Source: k8s.io/apiserver/pkg/cel/library/semverlib.go, which goes by github.com/blang/semver.

use cel::common::types::{CelBool, CelInt, CelString, Type};
use cel::common::value::{StaticVal, Val};
use cel::{DeclarationError, Env, ExecutionError};
use std::any::Any;
use std::cmp::Ordering;

static TYPE: Type = Type::new_unspecified_type("kubernetes.Semver");

/// A semantic version; build metadata is checked and counts for nothing.
#[derive(Debug, Clone)]
struct Semver {
    numbers: [u64; 3],
    pre: Vec<Identifier>,
}

/// One part of a pre-release. Numbers come before names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier {
    Number(u64),
    Name(String),
}

impl Val for Semver {
    fn get_type(&self) -> &Type {
        &TYPE
    }
    fn cel_type() -> &'static Type {
        &TYPE
    }
    fn equals(&self, other: &dyn Val) -> bool {
        other.downcast_ref::<Self>().is_some_and(|other| self.compare(other) == Ordering::Equal)
    }
    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }
    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Semver {}

/// Adds the functions.
pub(in crate::policy) fn register(env: &mut Env) -> Result<(), DeclarationError> {
    cel::add_overload!(env, fn semver: (CelString) -> Result<Semver>)?;
    cel::add_overload!(env, fn semver_normalized: (CelString, CelBool) -> Result<Semver>, name = "semver")?;
    cel::add_overload!(env, fn is_semver: (CelString) -> CelBool)?;
    cel::add_overload!(env, fn is_semver_normalized: (CelString, CelBool) -> CelBool, name = "isSemver")?;
    cel::add_member_overload!(env, fn major: (Semver) -> CelInt)?;
    cel::add_member_overload!(env, fn minor: (Semver) -> CelInt)?;
    cel::add_member_overload!(env, fn patch: (Semver) -> CelInt)?;
    cel::add_member_overload!(env, fn is_less_than: (Semver, Semver) -> CelBool)?;
    cel::add_member_overload!(env, fn is_greater_than: (Semver, Semver) -> CelBool)?;
    cel::add_member_overload!(env, fn compare_to: (Semver, Semver) -> CelInt)
}

/// Digits without a leading zero.
fn number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

/// Letters, digits and hyphens, at least one.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

impl Semver {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '.');
        let (major, minor, rest) = (number(parts.next()?)?, number(parts.next()?)?, parts.next()?);
        let (rest, build) = rest.split_once('+').map_or((rest, None), |(rest, build)| (rest, Some(build)));
        let (patch, pre) = rest.split_once('-').map_or((rest, None), |(patch, pre)| (patch, Some(pre)));
        let patch = number(patch)?;
        if !build.into_iter().flat_map(|build| build.split('.')).all(is_name) {
            return None;
        }
        let identifier = |part: &str| {
            if !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) {
                return number(part).map(Identifier::Number);
            }
            is_name(part).then(|| Identifier::Name(part.to_owned()))
        };
        let pre: Option<Vec<_>> = pre.into_iter().flat_map(|pre| pre.split('.')).map(identifier).collect();
        Some(Self { numbers: [major, minor, patch], pre: pre? })
    }

    /// `v` in front, missing parts and leading zeros are put right first (`normalizeAndParse`).
    fn parse_normalized(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let mut parts: Vec<String> = text.splitn(3, '.').map(without_leading_zeros).collect();
        if parts.len() < 3 && parts.last().is_some_and(|last| last.contains(['+', '-'])) {
            return None;
        }
        parts.resize(3, "0".to_owned());
        Self::parse(&parts.join("."))
    }

    fn compare(&self, other: &Self) -> Ordering {
        // A release comes after its pre-releases.
        let pre = match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            _ => self.pre.cmp(&other.pre),
        };
        self.numbers.cmp(&other.numbers).then(pre)
    }
}

fn without_leading_zeros(part: &str) -> String {
    if part.len() < 2 {
        return part.to_owned();
    }
    let trimmed = part.trim_start_matches('0');
    let zero = if trimmed.starts_with(|c: char| c.is_ascii_digit()) { "" } else { "0" };
    format!("{zero}{trimmed}")
}

fn read(text: &CelString<'_>, normalize: bool) -> Option<Semver> {
    if normalize { Semver::parse_normalized(text.inner()) } else { Semver::parse(text.inner()) }
}

fn semver_normalized(text: &CelString<'_>, normalize: &CelBool) -> Result<Semver, ExecutionError> {
    read(text, *normalize.inner())
        .ok_or_else(|| ExecutionError::function_error("semver", "the text is no semantic version"))
}

fn semver(text: &CelString<'_>) -> Result<Semver, ExecutionError> {
    semver_normalized(text, &CelBool::from(false))
}

fn is_semver_normalized(text: &CelString<'_>, normalize: &CelBool) -> CelBool {
    CelBool::from(read(text, *normalize.inner()).is_some())
}

fn is_semver(text: &CelString<'_>) -> CelBool {
    CelBool::from(read(text, false).is_some())
}

fn major(version: &Semver) -> CelInt {
    CelInt::from(version.numbers[0].cast_signed())
}

fn minor(version: &Semver) -> CelInt {
    CelInt::from(version.numbers[1].cast_signed())
}

fn patch(version: &Semver) -> CelInt {
    CelInt::from(version.numbers[2].cast_signed())
}

fn is_less_than(a: &Semver, b: &Semver) -> CelBool {
    CelBool::from(a.compare(b) == Ordering::Less)
}

fn is_greater_than(a: &Semver, b: &Semver) -> CelBool {
    CelBool::from(a.compare(b) == Ordering::Greater)
}

fn compare_to(a: &Semver, b: &Semver) -> CelInt {
    CelInt::from(a.compare(b) as i64)
}
