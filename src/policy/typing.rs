//! Of which type an expression is, found before anything is evaluated.
//!
//! In: the syntax tree of an expression whose names are known to exist, and what its roots and variables are. Out: the
//! type of its value, and what an API server refuses in it: a call that no function takes, a list of unlike items, a field
//! that is not declared. As cel-go's checker (checker/checker.go), with the macros as this interpreter expands them.
//! Nothing is refused that is not understood: its type is unknown, and fits everything.

use super::environment::TYPE_NAMES;
use super::expression::{Names, VARIABLES, qualified_name};
use super::library::{loops, regex, text};
use super::literals;
use super::signatures::{Overload, fields, overloads};
use super::types::{BOOL, DYN, INT, STRING, Type, UNKNOWN, Unifier};
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators};
use std::collections::HashMap;

/// What the interpreter takes as the key of a map. The API server takes anything, such as null.
const KEYS: [&str; 4] = ["string", "int", "uint", "bool"];

/// How many faults of one expression are told.
const MOST_FAULTS: usize = 3;

/// How many ways to call a function are told where none fits.
const MOST_TOLD: usize = 4;

/// The type of an expression's value.
///
/// # Errors
/// Everything that an API server refuses in it.
pub(super) fn type_of(expr: &IdedExpr, names: Names<'_>) -> Result<Type, String> {
    let mut checker = Checker { names, ..Checker::default() };
    let found = checker.check(expr);
    checker.aggregates();
    let found = checker.unifier.settled(&found);
    checker.faults.dedup();
    // One leads to the next.
    checker.faults.truncate(MOST_FAULTS);
    if checker.faults.is_empty() { Ok(found) } else { Err(checker.faults.join("; ")) }
}

#[derive(Default)]
struct Checker<'a> {
    names: Names<'a>,
    /// What loops have named, innermost last.
    scopes: Vec<(&'a str, Type)>,
    unifier: Unifier,
    /// Types that have to be the same in the end.
    alike: Vec<Vec<Type>>,
    /// Inside a call of `format()`, which takes unlike items.
    formatting: bool,
    /// What was found of the nodes inside a call of `format()`.
    known: HashMap<u64, Type>,
    faults: Vec<String>,
}

impl<'a> Checker<'a> {
    fn check(&mut self, node: &'a IdedExpr) -> Type {
        let found = self.node(node);
        if self.formatting {
            self.known.insert(node.id, found.clone());
        }
        found
    }

    fn node(&mut self, node: &'a IdedExpr) -> Type {
        match &node.expr {
            Expr::Literal(literal) => of_literal(literal),
            Expr::Ident(name) => self.ident(name),
            Expr::Select(select) => self.select(select),
            Expr::Call(call) => self.call(call),
            Expr::List(list) => {
                let mut items = Vec::new();
                for (index, item) in list.elements.iter().enumerate() {
                    let found = self.check(item);
                    items.push(if list.optional_indices.contains(&index) { self.unwrapped(&found) } else { found });
                }
                let item = self.common(items);
                Type::list(item)
            }
            Expr::Map(map) => {
                let (mut keys, mut values) = (Vec::new(), Vec::new());
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else { continue };
                    keys.push(self.check(&entry.key));
                    let value = self.check(&entry.value);
                    values.push(if entry.optional { self.unwrapped(&value) } else { value });
                }
                for key in &keys {
                    let key = self.unifier.settled(key);
                    if !key.is_open() && !KEYS.contains(&key.name()) {
                        self.fault(format!(
                            "a key of type {key} is not supported here; use a text, a number or a bool"
                        ));
                    }
                }
                let (key, value) = (self.common(keys), self.common(values));
                Type::map(key, value)
            }
            Expr::Comprehension(walk) => self.comprehension(walk),
            Expr::Struct(_) | Expr::Unspecified => UNKNOWN,
        }
    }

    fn fault(&mut self, message: String) -> Type {
        self.faults.push(message);
        UNKNOWN
    }

    fn mismatch(&mut self, wanted: &Type, found: &Type) -> Type {
        let found = self.unifier.settled(found);
        self.fault(format!("expected type '{wanted}' but found '{found}'"))
    }

    /// What an optional item of a list or a map holds.
    fn unwrapped(&mut self, found: &Type) -> Type {
        let found = self.unifier.resolved(found);
        match found.inside("optional_type") {
            Some([inner]) => inner.clone(),
            _ if found.is_open() => found,
            _ => self.mismatch(&Type::optional(found.clone()), &found),
        }
    }

    /// The type of the items of a list, which the API server wants to be the same.
    fn common(&mut self, items: Vec<Type>) -> Type {
        let mut all = items.iter();
        let Some(mut common) = all.next().cloned() else { return self.unifier.free() };
        for item in all {
            common = match self.unifier.fits(&common, item) {
                true if item.is_open() => item.clone(),
                true => common,
                false => DYN,
            };
        }
        if !self.formatting && items.len() > 1 {
            self.alike.push(items);
        }
        common
    }

    /// Refuses lists and maps of unlike items, all that is free having been found.
    fn aggregates(&mut self) {
        for items in std::mem::take(&mut self.alike) {
            let items: Vec<Type> = items.iter().map(|item| self.unifier.settled(item)).collect();
            let Some(first) = items.first() else { continue };
            if let Some(other) = items.iter().find(|item| !alike(first, item)) {
                self.mismatch(first, other);
            }
        }
    }

    fn ident(&mut self, name: &str) -> Type {
        if let Some((_, found)) = self.scopes.iter().rev().find(|(known, _)| *known == name) {
            return found.clone();
        }
        match name {
            "object" | "oldObject" | "params" => DYN,
            "request" => Type::of("kubernetes.AdmissionRequest"),
            "namespaceObject" => Type::of("kubernetes.Namespace"),
            "list" => Type::Of("type", vec![Type::list(DYN)]),
            "map" => Type::Of("type", vec![Type::map(DYN, DYN)]),
            "bool" | "bytes" | "double" | "int" | "null_type" | "optional_type" | "string" | "type" | "uint" => {
                let known = TYPE_NAMES.iter().find(|known| **known == name);
                known.map_or(UNKNOWN, |known| Type::Of("type", vec![Type::of(known)]))
            }
            _ => UNKNOWN,
        }
    }

    fn select(&mut self, select: &'a SelectExpr) -> Type {
        if let Expr::Ident(root) = &select.operand.expr
            && root == VARIABLES
            && !self.scopes.iter().any(|(known, _)| known == root)
        {
            let known = self.names.variables.into_iter().flatten().find(|known| known.name == select.field);
            let found = known.map_or(UNKNOWN, |known| known.kind.clone());
            return if select.test { BOOL } else { found };
        }
        let found = self.field(&select.operand, &select.field);
        if select.test { BOOL } else { found }
    }

    /// The type of a field; optional where that is what it is a field of.
    fn field(&mut self, operand: &'a IdedExpr, field: &str) -> Type {
        let of = self.check(operand);
        let of = self.unifier.resolved(&of);
        let (of, optional) = match of.inside("optional_type") {
            Some([inner]) => (inner.clone(), true),
            _ => (of, false),
        };
        let found = match &of {
            Type::Of("map", inner) => inner.get(1).cloned().unwrap_or(UNKNOWN),
            Type::Free(_) => {
                self.unifier.fits(&DYN, &of);
                DYN
            }
            _ if of.is_open() => of.clone(),
            Type::Of(name, _) => match fields(name) {
                Some(declared) => match declared.iter().find(|(known, _)| *known == field) {
                    Some((_, kind)) => Type::read(kind).0,
                    None => self.fault(format!("undefined field '{field}'")),
                },
                None => self.fault(format!("type '{of}' does not support field selection")),
            },
        };
        if optional { Type::optional(found) } else { found }
    }

    fn call(&mut self, call: &'a CallExpr) -> Type {
        let name = call.func_name.as_str();
        match (name, call.args.as_slice()) {
            (operators::OPT_SELECT, [operand, field]) => {
                let Expr::Literal(LiteralValue::String(field)) = &field.expr else { return UNKNOWN };
                let found = self.field(operand, field.inner());
                return if found.inside("optional_type").is_some() { found } else { Type::optional(found) };
            }
            (operators::INDEX, [of, at]) if matches!(&of.expr, Expr::Ident(name) if name == loops::ENTRY) => {
                return self.entry(at);
            }
            _ => {}
        }
        let formatting = self.formatting;
        self.formatting |= name == text::FORMAT;
        let target = call.target.as_deref();
        let qualified = target.and_then(|target| qualified_name(&target.expr)).map(|prefix| format!("{prefix}.{name}"));
        let qualified = qualified.filter(|name| !overloads(name, false).is_empty());
        let target = target.filter(|_| qualified.is_none());
        let given: Vec<Type> = target.into_iter().chain(&call.args).map(|arg| self.check(arg)).collect();
        self.formatting = formatting;
        let found = self.resolve(qualified.as_deref().unwrap_or(name), target.is_some(), &given);
        if let Some(fault) = literals::fault(call, &|id| self.known.get(&id).map(|found| self.unifier.settled(found))) {
            self.fault(fault);
        }
        found
    }

    /// A key or a value of what a loop with two variables goes over.
    fn entry(&self, at: &IdedExpr) -> Type {
        let pair = self.scopes.iter().rev().find(|(known, _)| *known == loops::ENTRY);
        let Some((_, Type::Of(_, pair))) = pair else { return UNKNOWN };
        let at = match &at.expr {
            Expr::Literal(LiteralValue::Int(at)) => usize::try_from(*at.inner()).ok(),
            _ => None,
        };
        at.and_then(|at| pair.get(at)).cloned().unwrap_or(UNKNOWN)
    }

    fn resolve(&mut self, name: &str, on_value: bool, given: &[Type]) -> Type {
        if [operators::LOGICAL_AND, operators::LOGICAL_OR].contains(&name) {
            for found in given {
                if !self.unifier.fits(found, &BOOL) {
                    self.mismatch(&BOOL, found);
                }
            }
            return BOOL;
        }
        let known = overloads(name, on_value);
        let mut found: Option<Type> = None;
        for overload in known {
            let Overload { takes, gives } = self.instance(overload);
            if self.unifier.all_fit(given, &takes) {
                let gives = self.unifier.resolved(&gives);
                found = Some(match found {
                    None => gives,
                    Some(found) if found.is_open() || found == gives => found,
                    Some(_) => DYN,
                });
            }
        }
        match found {
            Some(found) if found == DYN && given.iter().any(is_unknown) => UNKNOWN,
            Some(found) => found,
            None if known.is_empty() => UNKNOWN,
            None => {
                let given: Vec<Type> = given.iter().map(|given| self.unifier.settled(given)).collect();
                self.fault(no_overload(name, on_value, &given, known))
            }
        }
    }

    /// An overload with free types in the place of its letters.
    fn instance(&mut self, overload: &Overload) -> Overload {
        let mut instance = overload.clone();
        for letter in ["A", "B"] {
            let mentions = |of: &Type| of.with(letter, &DYN) != *of;
            if instance.takes.iter().chain([&instance.gives]).any(mentions) {
                let free = self.unifier.free();
                instance.takes.iter_mut().for_each(|taken| *taken = taken.with(letter, &free));
                instance.gives = instance.gives.with(letter, &free);
            }
        }
        instance
    }

    fn comprehension(&mut self, walk: &'a ComprehensionExpr) -> Type {
        let item = match &walk.iter_range.expr {
            Expr::Call(CallExpr { func_name, args, .. }) if func_name == loops::ENTRIES => {
                let of = args.first().map_or(UNKNOWN, |range| self.check(range));
                let (key, value) = self.range(&of, INT);
                Type::Of("@entry", vec![key, value])
            }
            _ => {
                let of = self.check(&walk.iter_range);
                let (key, value) = self.range(&of, UNKNOWN);
                if key == UNKNOWN { value } else { key }
            }
        };
        let accumulated = self.check(&walk.accu_init);
        let outside = self.scopes.len();
        self.scopes.push((&walk.accu_var, accumulated.clone()));
        let inside = self.scopes.len();
        self.scopes.push((&walk.iter_var, item));
        self.scopes.extend(walk.iter_var2.as_deref().map(|name| (name, UNKNOWN)));
        for (part, wanted) in [(&walk.loop_cond, &BOOL), (&walk.loop_step, &accumulated)] {
            let found = self.check(part);
            if !self.unifier.fits(wanted, &found) {
                self.mismatch(wanted, &found);
            }
        }
        self.scopes.truncate(inside);
        let result = self.check(&walk.result);
        self.scopes.truncate(outside);
        self.unifier.resolved(&result)
    }

    /// The keys and the values of what a loop goes over; `index` is what a list has as keys.
    fn range(&mut self, of: &Type, index: Type) -> (Type, Type) {
        let of = self.unifier.resolved(of);
        match &of {
            Type::Of("list", inner) => (index, inner.first().cloned().unwrap_or(UNKNOWN)),
            Type::Of("map", inner) => match inner.as_slice() {
                [key, value] => (key.clone(), value.clone()),
                _ => (UNKNOWN, UNKNOWN),
            },
            Type::Free(_) => {
                self.unifier.fits(&DYN, &of);
                (DYN, DYN)
            }
            _ if of.is_open() => (of.clone(), of),
            Type::Of(..) => {
                self.fault(format!("a value of type '{of}' cannot be gone over: a list or a map is needed"));
                (UNKNOWN, UNKNOWN)
            }
        }
    }
}

fn of_literal(literal: &LiteralValue) -> Type {
    match literal {
        LiteralValue::Boolean(_) => BOOL,
        LiteralValue::Bytes(_) => Type::of("bytes"),
        LiteralValue::Double(_) => Type::of("double"),
        LiteralValue::Int(_) => INT,
        LiteralValue::Null => Type::of("null_type"),
        LiteralValue::String(_) => STRING,
        LiteralValue::UInt(_) => Type::of("uint"),
    }
}

/// True if two settled types are one, as far as they are known.
fn alike(a: &Type, b: &Type) -> bool {
    match (a, b) {
        (Type::Of("?", _), _) | (_, Type::Of("?", _)) => true,
        (Type::Of(a, inner_a), Type::Of(b, inner_b)) => {
            a == b && inner_a.len() == inner_b.len() && inner_a.iter().zip(inner_b).all(|(a, b)| alike(a, b))
        }
        _ => true,
    }
}

fn is_unknown(of: &Type) -> bool {
    match of {
        Type::Of("?", _) => true,
        Type::Of(_, inner) => inner.iter().any(is_unknown),
        Type::Free(_) => false,
    }
}

/// A function as the user wrote it: what macros turn a call into has a name that begins with `@`.
pub(super) fn written(name: &str) -> &str {
    match name {
        loops::INSERT => "transformMap",
        "@sortByAssociatedKeys" => "sortBy",
        _ => name.trim_start_matches('@'),
    }
}

fn no_overload(name: &str, on_value: bool, given: &[Type], known: &[Overload]) -> String {
    let on_value = on_value || [text::FORMAT, text::REVERSE, regex::MATCHES].contains(&name);
    let call = |types: &[Type]| {
        let all: Vec<String> = types.iter().map(ToString::to_string).collect();
        match all.split_first() {
            Some((first, rest)) if on_value => format!("{first}.({})", rest.join(", ")),
            _ => format!("({})", all.join(", ")),
        }
    };
    let told: Vec<String> = known.iter().map(|overload| call(&overload.takes)).collect();
    let needed = match given {
        [_, _] if [operators::EQUALS, operators::NOT_EQUALS].contains(&name) => {
            "only values of one type can be compared".to_owned()
        }
        [_, _] if told.len() > MOST_TOLD && name.starts_with('_') => {
            "both sides must be of one type, and of one that it takes".to_owned()
        }
        _ if told.len() <= MOST_TOLD => format!("it takes {}", told.join(" or ")),
        _ => "it does not take these".to_owned(),
    };
    format!("found no matching overload for '{}' applied to '{}'; {needed}", written(name), call(given))
}
