//! Types of CEL expressions as they are known before anything is evaluated, and whether one fits another.
//!
//! As cel-go's checker has it (checker/types.go): `dyn` fits everything, null fits what can be absent, and a free type
//! becomes what it first meets. Types do not grow without bounds: what has more than [`MAX_SIZE`] parts is unknown, and
//! where comparing takes more than [`MAX_STEPS`], everything fits, since a checker has to end and must not refuse what it
//! does not understand.

use std::fmt;

const MAX_SIZE: usize = 200;
const MAX_STEPS: usize = 500_000;

/// A type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Type {
    /// A name, with the types of what is inside.
    Of(&'static str, Vec<Self>),
    /// Not yet known; the position among the free types.
    Free(usize),
}

/// What could be anything, and is known to the API server as that.
pub(super) const DYN: Type = Type::of("dyn");
/// What is not known here, though perhaps to the API server: never a reason to refuse anything.
pub(super) const UNKNOWN: Type = Type::of("?");
pub(super) const BOOL: Type = Type::of("bool");
pub(super) const INT: Type = Type::of("int");
pub(super) const STRING: Type = Type::of("string");

impl Type {
    /// A type without anything inside.
    pub(super) const fn of(name: &'static str) -> Self {
        Self::Of(name, Vec::new())
    }

    /// A list of something.
    pub(super) fn list(item: Self) -> Self {
        Self::Of("list", vec![item])
    }

    /// A map.
    pub(super) fn map(key: Self, value: Self) -> Self {
        Self::Of("map", vec![key, value])
    }

    /// Something that may be absent.
    pub(super) fn optional(item: Self) -> Self {
        Self::Of("optional_type", vec![item])
    }

    /// Its name, without what is inside.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Of(name, _) => name,
            Self::Free(_) => "dyn",
        }
    }

    /// True if nothing can be said of it.
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Of("dyn" | "?", _))
    }

    /// What is inside, where it is of a name.
    pub(super) fn inside(&self, name: &str) -> Option<&[Self]> {
        match self {
            Self::Of(own, inner) if *own == name => Some(inner),
            _ => None,
        }
    }

    /// As a policy's variable has it: the API server keeps scalars, lists and maps and forgets the rest
    /// (plugin/cel/composition.go).
    pub(super) fn stored(&self) -> Self {
        match self {
            Self::Of(name @ ("list" | "map"), inner) => Self::Of(name, inner.iter().map(Self::stored).collect()),
            Self::Of(
                "bool" | "bytes" | "double" | "duration" | "int" | "null_type" | "string" | "timestamp" | "uint" | "?",
                _,
            ) => self.clone(),
            _ => DYN,
        }
    }

    fn may_be_null(&self) -> bool {
        let name = self.name();
        matches!(name, "null_type" | "duration" | "timestamp" | "optional_type") || name.contains('.')
    }

    fn size(&self) -> usize {
        match self {
            Self::Of(_, inner) => inner.iter().map(Self::size).sum::<usize>() + 1,
            Self::Free(_) => 1,
        }
    }

    /// `list(A)` at the beginning of a text, and the rest of it.
    pub(super) fn read(text: &'static str) -> (Self, &'static str) {
        let end = text.find(['(', ')', ',', ' ']).unwrap_or(text.len());
        let (name, mut rest) = text.split_at(end);
        let mut inner = Vec::new();
        if rest.starts_with('(') {
            while let Some(more) = rest.strip_prefix('(').or_else(|| rest.strip_prefix(", ")) {
                let (item, after) = Self::read(more);
                inner.push(item);
                rest = after;
            }
            rest = rest.strip_prefix(')').unwrap_or(rest);
        }
        (Self::Of(name, inner), rest)
    }

    /// Every type of a name replaced.
    pub(super) fn with(&self, name: &str, by: &Self) -> Self {
        match self {
            Self::Of(own, _) if *own == name => by.clone(),
            Self::Of(own, inner) => Self::Of(own, inner.iter().map(|item| item.with(name, by)).collect()),
            Self::Free(_) => self.clone(),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Of(name, inner) = self else { return f.write_str("dyn") };
        f.write_str(if *name == "?" { "dyn" } else { name })?;
        if inner.is_empty() {
            return Ok(());
        }
        let inner: Vec<String> = inner.iter().map(ToString::to_string).collect();
        write!(f, "({})", inner.join(", "))
    }
}

/// The free types of an expression and what they have become.
#[derive(Debug, Default)]
pub(super) struct Unifier {
    found: Vec<Option<Type>>,
    /// What was there before, so that a failed attempt leaves nothing behind.
    undo: Vec<(usize, Option<Type>)>,
    steps: usize,
}

impl Unifier {
    /// A new free type.
    pub(super) fn free(&mut self) -> Type {
        self.found.push(None);
        Type::Free(self.found.len() - 1)
    }

    /// True if every type fits its counterpart, from left to right.
    pub(super) fn all_fit(&mut self, given: &[Type], wanted: &[Type]) -> bool {
        self.undo.clear();
        let fits = given.len() == wanted.len() && given.iter().zip(wanted).all(|(a, b)| self.matches(a, b));
        if !fits {
            for (index, before) in std::mem::take(&mut self.undo).into_iter().rev() {
                if let Some(slot) = self.found.get_mut(index) {
                    *slot = before;
                }
            }
        }
        fits
    }

    /// True if a type fits another.
    pub(super) fn fits(&mut self, given: &Type, wanted: &Type) -> bool {
        self.all_fit(std::slice::from_ref(given), std::slice::from_ref(wanted))
    }

    /// A type with what its free parts have become.
    pub(super) fn resolved(&self, of: &Type) -> Type {
        let mut budget = MAX_SIZE;
        let out = self.resolve(of, &mut budget);
        if budget == 0 || out.size() > MAX_SIZE { UNKNOWN } else { out }
    }

    /// The same; what is still free could be anything.
    pub(super) fn settled(&self, of: &Type) -> Type {
        fn settle(of: Type) -> Type {
            match of {
                Type::Of(name, inner) => Type::Of(name, inner.into_iter().map(settle).collect()),
                Type::Free(_) => DYN,
            }
        }
        settle(self.resolved(of))
    }

    fn resolve(&self, of: &Type, budget: &mut usize) -> Type {
        *budget = budget.saturating_sub(1);
        match of {
            _ if *budget == 0 => UNKNOWN,
            Type::Free(index) => match self.found.get(*index) {
                Some(Some(found)) => self.resolve(found, budget),
                _ => of.clone(),
            },
            Type::Of(name, inner) => Type::Of(name, inner.iter().map(|item| self.resolve(item, budget)).collect()),
        }
    }

    fn matches(&mut self, given: &Type, wanted: &Type) -> bool {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return true;
        }
        if let Type::Free(index) = wanted {
            match self.becomes(*index, given) {
                Outcome::Fits => return true,
                Outcome::Clashes => return false,
                Outcome::Occurs => {}
            }
        }
        if let Type::Free(index) = given {
            return self.becomes(*index, wanted) == Outcome::Fits;
        }
        let (Type::Of(a, inner_a), Type::Of(b, inner_b)) = (given, wanted) else { return false };
        if given.is_open() || wanted.is_open() {
            return true;
        }
        match (*a, *b) {
            ("null_type", _) => wanted.may_be_null(),
            (_, "null_type") => given.may_be_null(),
            ("type", "type") => true,
            _ => {
                a == b && inner_a.len() == inner_b.len() && inner_a.iter().zip(inner_b).all(|(a, b)| self.matches(a, b))
            }
        }
    }

    fn becomes(&mut self, index: usize, other: &Type) -> Outcome {
        if *other == Type::Free(index) {
            return Outcome::Fits;
        }
        let Some(known) = self.found.get(index).cloned().flatten() else {
            if self.occurs(index, other) {
                return Outcome::Occurs;
            }
            self.set(index, other.clone());
            return Outcome::Fits;
        };
        if *other == known {
            return Outcome::Fits;
        }
        if !self.matches(other, &known) {
            return Outcome::Clashes;
        }
        let general = if less_specific(other, &known) { other.clone() } else { known };
        if !self.occurs(index, &general) {
            self.set(index, general);
        }
        Outcome::Fits
    }

    fn set(&mut self, index: usize, to: Type) {
        if let Some(slot) = self.found.get_mut(index) {
            self.undo.push((index, slot.replace(to)));
        }
    }

    /// True if a free type is part of another type.
    fn occurs(&mut self, index: usize, within: &Type) -> bool {
        self.steps += 1;
        match within {
            _ if self.steps > MAX_STEPS => true,
            Type::Free(other) if *other == index => true,
            Type::Free(other) => match self.found.get(*other).cloned().flatten() {
                Some(found) => self.occurs(index, &found),
                None => false,
            },
            Type::Of(_, inner) => inner.iter().any(|item| self.occurs(index, item)),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Fits,
    Clashes,
    /// A type cannot be a part of itself.
    Occurs,
}

/// True if the first type says no more than the second.
fn less_specific(a: &Type, b: &Type) -> bool {
    match (a, b) {
        (Type::Free(_), _) => true,
        _ if a.is_open() => true,
        (_, Type::Free(_)) => false,
        _ if b.is_open() => false,
        (Type::Of(a, _), Type::Of(b, _)) if a != b => false,
        (Type::Of("type", _), _) => true,
        (Type::Of(_, a), Type::Of(_, b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| less_specific(a, b)),
    }
}
