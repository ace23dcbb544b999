//! Typed values: merge, compare, field sets, removal and validation by type.
//!
//! In: values and the types they have. Out: values and sets of field paths. A port of structured-merge-diff `typed/`
//! (`merge.go`, `compare.go`, `tofieldset.go`, `remove.go`, `validate.go`): names and order of cases are kept, so that the
//! two can be read side by side. `None` stands for Go's nil value (absent), `Value::Null` for an explicit null.

use crate::object::{FieldSet, PathElement, Scalar as ScalarValue};
use crate::scheme::{Atom, List, ListKind, Map as MapType, Scalar, TypeId, Types};
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};

/// Which form of an atom applies to a value (`deduceAtom` and `handleAtom`).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Map,
    Scalar,
    List,
}

fn form(atom: &Atom, value: Option<&Value>) -> Form {
    let fits = match value {
        Some(Value::Number(_) | Value::String(_) | Value::Bool(_)) if atom.scalar.is_some() => Some(Form::Scalar),
        Some(Value::Array(_)) if atom.list.is_some() => Some(Form::List),
        Some(Value::Object(_)) if atom.map.is_some() => Some(Form::Map),
        _ => None,
    };
    fits.unwrap_or(if atom.map.is_some() {
        Form::Map
    } else if atom.scalar.is_some() {
        Form::Scalar
    } else {
        Form::List
    })
}

fn object(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value.and_then(Value::as_object)
}

fn items(value: Option<&Value>) -> Option<&[Value]> {
    value.and_then(Value::as_array).map(Vec::as_slice)
}

/// The path element of a list item (`listItemToPathElement`).
fn item_path(types: &Types, list: &List, item: &Value) -> Result<PathElement, String> {
    match (&list.kind, item) {
        (ListKind::Map(keys), Value::Object(fields)) => {
            let element = types.atom(list.element).map.as_ref();
            let mut found: Vec<(String, ScalarValue)> = Vec::with_capacity(keys.len());
            for key in keys {
                if let Some(value) = fields.get(key) {
                    found.push((key.clone(), value.into()));
                } else if let Some(default) = element.and_then(|m| m.field(key)).and_then(|f| f.default.as_ref()) {
                    found.push((key.clone(), default.into()));
                }
            }
            if found.is_empty() {
                let names: Vec<String> = keys.iter().map(|k| format!("{k:?}")).collect();
                return Err(format!(
                    "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
                    names.join(" ")
                ));
            }
            found.sort();
            Ok(PathElement::Key(found))
        }
        (ListKind::Map(_), Value::Null) => Err("associative list with keys may not have a null element".into()),
        (ListKind::Map(_), _) => Err("associative list with keys may not have non-map elements".into()),
        (ListKind::Set, Value::Object(_)) => {
            Err("associative list without keys has an element that's a map type".into())
        }
        (ListKind::Set, Value::Array(_)) => Err("not supported: associative list with lists as elements".into()),
        (ListKind::Set, Value::Null) => {
            Err("associative list without keys has an element that's an explicit null".into())
        }
        (ListKind::Set, scalar) => Ok(PathElement::Value(scalar.into())),
        (ListKind::Atomic, _) => Err("invalid indexing of non-associative list".into()),
    }
}

/// A path element in Go's notation, which error messages use.
pub fn go_element(element: &PathElement) -> String {
    match element {
        PathElement::Field(name) => format!(".{name}"),
        PathElement::Key(keys) => {
            let parts: Vec<String> = keys.iter().map(|(k, v)| format!("{k}={}", go_scalar(&v.to_value()))).collect();
            format!("[{}]", parts.join(","))
        }
        PathElement::Value(value) => format!("[={}]", go_scalar(&value.to_value())),
        PathElement::Index(i) => format!("[{i}]"),
    }
}

fn go_scalar(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        other => other.to_string(),
    }
}

/// A path in Go's notation.
pub fn go_path(path: &[PathElement]) -> String {
    path.iter().map(go_element).collect()
}

// ---------------------------------------------------------------------------------------------------------- validate

/// Errors of `validate`, as `path: message`.
pub fn validate(types: &Types, id: TypeId, value: &Value, allow_duplicates: bool) -> Result<(), String> {
    let mut errors = Vec::new();
    let mut walk = Validator { types, allow_duplicates, errors: &mut errors, path: String::new() };
    walk.value(id, value);
    match errors.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        many => Err(format!("errors:\n  {}", many.join("\n  "))),
    }
}

struct Validator<'a> {
    types: &'a Types,
    allow_duplicates: bool,
    errors: &'a mut Vec<String>,
    path: String,
}

impl Validator<'_> {
    fn error(&mut self, message: &str) {
        self.errors.push(if self.path.is_empty() { message.to_owned() } else { format!("{}: {message}", self.path) });
    }

    fn under(&mut self, step: &str, check: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        self.path.push_str(step);
        check(self);
        self.path.truncate(length);
    }

    fn value(&mut self, id: TypeId, value: &Value) {
        let types = self.types;
        let atom = types.atom(id);
        match (form(atom, Some(value)), &atom.map, &atom.list, atom.scalar) {
            (Form::Map, Some(map), _, _) => self.map(map, value),
            (Form::List, _, Some(list), _) => self.list(list, value),
            (Form::Scalar, _, _, Some(scalar)) => self.scalar(scalar, value),
            _ => self.error("schema error: invalid atom"),
        }
    }

    fn scalar(&mut self, scalar: Scalar, value: &Value) {
        let go = |v: &Value| match v {
            Value::Object(_) => format!("&value.valueUnstructured{{Value:{}}}", go_map(v)),
            other => go_scalar(other),
        };
        match (scalar, value) {
            (_, Value::Null)
            | (Scalar::Int32 | Scalar::Int64 | Scalar::Number, Value::Number(_))
            | (Scalar::String | Scalar::Bytes, Value::String(_))
            | (Scalar::Bool, Value::Bool(_)) => {}
            (Scalar::Int32 | Scalar::Int64 | Scalar::Number, v) => {
                let found = match v {
                    Value::String(_) => "string",
                    Value::Bool(_) => "bool",
                    Value::Array(_) => "[]interface {}",
                    _ => "map[string]interface {}",
                };
                self.error(&format!("expected numeric (int or float), got {found}"));
            }
            (Scalar::String | Scalar::Bytes, v) => {
                self.error(&format!("expected string, got &value.valueUnstructured{{Value:{}}}", go_map(v)));
            }
            (Scalar::Bool, v) => self.error(&format!("expected boolean, got {}", go(v))),
            (_, Value::Number(_) | Value::String(_) | Value::Bool(_)) => {}
            (_, v) => self.error(&format!("expected any scalar, got {}", go(v))),
        }
    }

    fn list(&mut self, list: &List, value: &Value) {
        let items = match value {
            Value::Null => return,
            Value::Array(items) => items,
            other => {
                let text = format!("expected list, got {}", go_map_value(other));
                return self.error(&text);
            }
        };
        let mut seen = HashSet::with_capacity(items.len());
        for (i, item) in items.iter().enumerate() {
            let element = if list.kind == ListKind::Atomic {
                PathElement::Index(i)
            } else {
                match item_path(self.types, list, item) {
                    Ok(element) => element,
                    Err(why) => return self.error(&format!("element {i}: {why}")),
                }
            };
            let text = go_element(&element);
            if !seen.insert(element) && !self.allow_duplicates {
                self.error(&format!("duplicate entries for key {text}"));
            }
            self.under(&text, |v| v.value(list.element, item));
        }
    }

    fn map(&mut self, map: &MapType, value: &Value) {
        let fields = match value {
            Value::Null => return,
            Value::Object(fields) => fields,
            other => {
                let text = format!("expected map, got {}", go_map_value(other));
                return self.error(&text);
            }
        };
        for (key, value) in fields {
            match map.value_type(key) {
                Some(ty) => self.under(&format!(".{key}"), |v| v.value(ty, value)),
                None => {
                    // Go stops at the first unknown field of a map.
                    return self.under(&format!(".{key}"), |v| v.error("field not declared in schema"));
                }
            }
        }
    }
}

fn go_map(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let parts: Vec<String> = map.iter().map(|(k, v)| format!("{k:?}:{}", go_map(v))).collect();
            format!("map[string]interface {{}}{{{}}}", parts.join(", "))
        }
        Value::Array(items) => {
            format!("[]interface {{}}{{{}}}", items.iter().map(go_map).collect::<Vec<_>>().join(", "))
        }
        other => go_scalar(other),
    }
}

fn go_map_value(value: &Value) -> String {
    format!(
        "&{{{}}}",
        match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    )
}

// ------------------------------------------------------------------------------------------------------------- merge

/// Merges `rhs` over `lhs`: scalars and atomic values from the right, lists and maps item by item.
pub fn merge(types: &Types, id: TypeId, lhs: &Value, rhs: &Value) -> Result<Value, String> {
    Ok(merge_value(types, id, Some(lhs), Some(rhs))?.unwrap_or(Value::Null))
}

fn keep_rhs(lhs: Option<&Value>, rhs: Option<&Value>) -> Option<Value> {
    rhs.or(lhs).cloned()
}

fn merge_value(types: &Types, id: TypeId, lhs: Option<&Value>, rhs: Option<&Value>) -> Result<Option<Value>, String> {
    let atom = types.atom(id);
    let form = if rhs.is_none() { form(atom, lhs) } else { form(atom, rhs) };
    match (form, &atom.map, &atom.list) {
        (Form::Map, Some(map), _) => merge_map(types, map, lhs, rhs),
        (Form::List, _, Some(list)) => merge_list(types, list, lhs, rhs),
        _ => Ok(keep_rhs(lhs, rhs)),
    }
}

fn merge_map(types: &Types, map: &MapType, lhs: Option<&Value>, rhs: Option<&Value>) -> Result<Option<Value>, String> {
    let (l, r) = (object(lhs), object(rhs));
    // Both empty or null: a leaf, which keeps the difference between the two.
    let empty = l.is_none_or(Map::is_empty) && r.is_none_or(Map::is_empty);
    if map.atomic || empty {
        return Ok(keep_rhs(lhs, rhs));
    }
    let mut out = Map::new();
    let empty_map = Map::new();
    let (l, r) = (l.unwrap_or(&empty_map), r.unwrap_or(&empty_map));
    let rest = r.keys().filter(|key| !l.contains_key(*key));
    for key in l.keys().chain(rest) {
        let (left, right) = (l.get(key), r.get(key));
        let merged = match map.value_type(key) {
            Some(ty) => merge_value(types, ty, left, right)?,
            None => keep_rhs(left, right),
        };
        if let Some(value) = merged {
            out.insert(key.clone(), value);
        }
    }
    Ok((!out.is_empty()).then_some(Value::Object(out)))
}

fn index<'v>(
    types: &Types,
    list: &List,
    items: &'v [Value],
    allow_duplicates: bool,
) -> Result<(Vec<PathElement>, HashMap<PathElement, &'v Value>), String> {
    let mut observed: HashMap<PathElement, &Value> = HashMap::with_capacity(items.len());
    let mut elements = Vec::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        let element = item_path(types, list, item).map_err(|why| format!("element {i}: {why}"))?;
        let seen = observed.contains_key(&element);
        if seen && !allow_duplicates {
            return Err(format!("duplicate entries for key {}", go_element(&element)));
        }
        // Items that occur twice on the left are not merged with what is new.
        observed.insert(element.clone(), if seen { &Value::Null } else { item });
        elements.push(element);
    }
    Ok((elements, observed))
}

/// `visitListItems`: the right order wins among shared items; items only on the left keep their place before the next
/// shared one.
fn merge_list(types: &Types, list: &List, lhs: Option<&Value>, rhs: Option<&Value>) -> Result<Option<Value>, String> {
    let (l, r) = (items(lhs).unwrap_or_default(), items(rhs).unwrap_or_default());
    if list.kind == ListKind::Atomic || (l.is_empty() && r.is_empty()) {
        return Ok(keep_rhs(lhs, rhs));
    }
    let (right, in_right) = index(types, list, r, false)?;
    let (left, in_left) = index(types, list, l, true)?;
    let mut shared = right.iter().filter(|e| in_left.contains_key(*e));
    let mut next_shared = shared.next();
    let mut merged: HashSet<&PathElement> = HashSet::new();
    let mut out = Vec::with_capacity(left.len().max(right.len()));
    let mut push = |left: Option<&Value>, right: Option<&Value>| -> Result<(), String> {
        out.extend(merge_value(types, list.element, left, right)?);
        Ok(())
    };
    let (mut li, mut ri) = (0, 0);
    while li < left.len() || ri < right.len() {
        if li < left.len() && ri < right.len() {
            let element = &left[li];
            if *element == right[ri] {
                merged.insert(element);
                push(in_left.get(element).copied(), in_right.get(element).copied())?;
                li += 1;
                ri += 1;
                next_shared = shared.next();
                continue;
            }
            if in_right.contains_key(element) && next_shared.is_some_and(|next| next != element) {
                li += 1;
                continue;
            }
        }
        if li < left.len() {
            let element = &left[li];
            if !in_right.contains_key(element) {
                push(Some(&l[li]), None)?;
                li += 1;
                continue;
            }
            if merged.contains(element) {
                li += 1;
            }
        }
        if ri < right.len() {
            let element = &right[ri];
            merged.insert(element);
            push(in_left.get(element).copied(), in_right.get(element).copied())?;
            ri += 1;
            if next_shared == Some(element) {
                next_shared = shared.next();
            }
        }
    }
    Ok((!out.is_empty()).then_some(Value::Array(out)))
}

// ----------------------------------------------------------------------------------------------------------- compare

/// What differs between two values of one type.
#[derive(Debug, Clone, Default)]
pub struct Comparison {
    /// Only in the second.
    pub added: FieldSet,
    /// In both, and different.
    pub modified: FieldSet,
    /// Only in the first.
    pub removed: FieldSet,
}

impl Comparison {
    fn is_empty(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    /// Leaves out fields that the strategy resets.
    #[must_use]
    pub fn without(&self, ignored: &FieldSet) -> Self {
        if ignored.is_empty() {
            return self.clone();
        }
        Self {
            added: recursive_difference(&self.added, ignored),
            modified: recursive_difference(&self.modified, ignored),
            removed: recursive_difference(&self.removed, ignored),
        }
    }

    fn attach(&mut self, element: &PathElement, child: Self) {
        for (set, part) in
            [(&mut self.added, child.added), (&mut self.modified, child.modified), (&mut self.removed, child.removed)]
        {
            if !part.is_empty() {
                set.children.insert(element.clone(), part);
            }
        }
    }
}

/// `RecursiveDifference`: a member of `ignored` takes everything below it along.
pub fn recursive_difference(set: &FieldSet, ignored: &FieldSet) -> FieldSet {
    let mut out = FieldSet { member: set.member, ..FieldSet::default() };
    for (element, child) in &set.children {
        let rest = match ignored.children.get(element) {
            Some(hit) if hit.member => continue,
            Some(deeper) => recursive_difference(child, deeper),
            None => child.clone(),
        };
        if !rest.is_empty() {
            out.children.insert(element.clone(), rest);
        }
    }
    out
}

/// Compares two values of a type.
pub fn compare(types: &Types, id: TypeId, lhs: &Value, rhs: &Value) -> Comparison {
    compare_value(types, id, Some(lhs), Some(rhs))
}

fn leaf(lhs: Option<&Value>, rhs: Option<&Value>) -> Comparison {
    let mut out = Comparison::default();
    match (lhs, rhs) {
        (None, _) => out.added.member = true,
        (_, None) => out.removed.member = true,
        (Some(l), Some(r)) if l != r => out.modified.member = true,
        _ => {}
    }
    out
}

fn compare_value(types: &Types, id: TypeId, lhs: Option<&Value>, rhs: Option<&Value>) -> Comparison {
    if let (Some(l), Some(r)) = (lhs, rhs)
        && l == r
    {
        return Comparison::default();
    }
    let atom = types.atom(id);
    let by = |form: Form| match (form, &atom.map, &atom.list) {
        (Form::Map, Some(map), _) => compare_map(types, map, lhs, rhs),
        (Form::List, _, Some(list)) => compare_list(types, list, lhs, rhs),
        _ => (leaf(lhs, rhs), true),
    };
    let (left_form, right_form) = (form(atom, lhs), form(atom, rhs));
    let (mut out, was_leaf) = if rhs.is_none() {
        by(left_form)
    } else if lhs.is_none() || left_form == right_form {
        by(right_form)
    } else {
        // Two forms of one deduced type: what the left had and what the right has, both count.
        let (first, _) = by(left_form);
        let (mut second, was_leaf) = by(right_form);
        second.added = second.added.union(&first.added);
        second.modified = second.modified.union(&first.modified);
        second.removed = second.removed.union(&first.removed);
        (second, was_leaf)
    };
    if !was_leaf {
        if lhs.is_none() {
            out.added.member = true;
        } else if rhs.is_none() {
            out.removed.member = true;
        }
    }
    out
}

fn compare_map(types: &Types, map: &MapType, lhs: Option<&Value>, rhs: Option<&Value>) -> (Comparison, bool) {
    let (l, r) = (object(lhs), object(rhs));
    if map.atomic || (l.is_none_or(Map::is_empty) && r.is_none_or(Map::is_empty)) {
        return (leaf(lhs, rhs), true);
    }
    let empty = Map::new();
    let (l, r) = (l.unwrap_or(&empty), r.unwrap_or(&empty));
    let mut out = Comparison::default();
    for key in l.keys().chain(r.keys().filter(|key| !l.contains_key(*key))) {
        let (left, right) = (l.get(key), r.get(key));
        let child = match map.value_type(key) {
            Some(ty) => compare_value(types, ty, left, right),
            None => leaf(left, right),
        };
        if !child.is_empty() {
            out.attach(&PathElement::Field(key.clone()), child);
        }
    }
    (out, false)
}

fn compare_list(types: &Types, list: &List, lhs: Option<&Value>, rhs: Option<&Value>) -> (Comparison, bool) {
    let (l, r) = (items(lhs).unwrap_or_default(), items(rhs).unwrap_or_default());
    if list.kind == ListKind::Atomic || (l.is_empty() && r.is_empty()) {
        return (leaf(lhs, rhs), true);
    }
    let mut order: Vec<PathElement> = Vec::with_capacity(l.len().max(r.len()));
    let mut pairs: HashMap<PathElement, (Vec<&Value>, Vec<&Value>)> = HashMap::new();
    for (side, list_items) in [(0, l), (1, r)] {
        for item in list_items {
            let Ok(element) = item_path(types, list, item) else { continue };
            let pair = pairs.entry(element.clone()).or_insert_with(|| {
                order.push(element);
                (Vec::new(), Vec::new())
            });
            if side == 0 { pair.0.push(item) } else { pair.1.push(item) }
        }
    }
    let mut out = Comparison::default();
    for element in order {
        let Some((left, right)) = pairs.remove(&element) else { continue };
        let mut child = Comparison::default();
        match (left.len(), right.len()) {
            (0 | 1, 0 | 1) => {
                child = compare_value(types, list.element, left.first().copied(), right.first().copied());
            }
            (2.., 2..) => child.modified.member = left != right,
            (2.., _) => {
                if let Some(first) = right.first() {
                    child = compare_value(types, list.element, None, Some(first));
                }
                child.removed.member = true;
            }
            _ => {
                if let Some(first) = left.first() {
                    child = compare_value(types, list.element, Some(first), None);
                }
                child.added.member = true;
            }
        }
        out.attach(&element, child);
    }
    (out, false)
}

// -------------------------------------------------------------------------------------------------------- field sets

/// Every field that a value sets.
pub fn to_field_set(types: &Types, id: TypeId, value: &Value) -> FieldSet {
    let atom = types.atom(id);
    let mut out = FieldSet::default();
    match (form(atom, Some(value)), &atom.map, &atom.list) {
        (Form::Map, Some(map), _) => {
            if map.atomic {
                out.member = true;
            } else if let Value::Object(fields) = value {
                for (key, value) in fields {
                    let mut child = match map.value_type(key) {
                        Some(ty) => to_field_set(types, ty, value),
                        None => FieldSet { member: true, ..FieldSet::default() },
                    };
                    let empty_map = value.as_object().is_some_and(Map::is_empty);
                    child.member |= value.is_null() || empty_map || map.field(key).is_none();
                    if !child.is_empty() {
                        out.children.insert(PathElement::Field(key.clone()), child);
                    }
                }
            }
        }
        (Form::List, _, Some(list)) => {
            if list.kind == ListKind::Atomic {
                out.member = true;
            } else if let Value::Array(items) = value {
                let mut seen: HashSet<PathElement> = HashSet::with_capacity(items.len());
                for item in items {
                    let Ok(element) = item_path(types, list, item) else { continue };
                    let duplicate = !seen.insert(element.clone());
                    let mut child =
                        if duplicate { FieldSet::default() } else { to_field_set(types, list.element, item) };
                    child.member = true;
                    out.children.insert(element, child);
                }
            }
        }
        _ => out.member = true,
    }
    out
}

/// Named fields (not keys of maps) that have members below them become members themselves.
pub fn ensure_named_fields_are_members(types: &Types, id: Option<TypeId>, set: &FieldSet) -> FieldSet {
    let atom = id.map(|id| types.atom(id));
    let map = atom.and_then(|a| a.map.as_ref());
    let list = atom.and_then(|a| a.list.as_ref());
    let mut out = FieldSet { member: set.member, ..FieldSet::default() };
    for (element, child) in &set.children {
        let (ty, named) = match element {
            PathElement::Field(name) => {
                (map.and_then(|m| m.value_type(name)), map.is_some_and(|m| m.field(name).is_some()))
            }
            PathElement::Key(_) => (list.map(|l| l.element), false),
            PathElement::Value(_) | PathElement::Index(_) => (None, false),
        };
        let mut below = ensure_named_fields_are_members(types, ty, child);
        below.member |= named && !child.children.is_empty();
        out.children.insert(element.clone(), below);
    }
    out
}

/// The value without the items of a set (`removeItemsWithSchema`).
pub fn remove_items(types: &Types, id: TypeId, value: &Value, remove: &FieldSet) -> Value {
    let atom = types.atom(id);
    match (form(atom, Some(value)), &atom.map, &atom.list, value) {
        (Form::Map, Some(map), _, Value::Object(fields)) => {
            if map.atomic || fields.is_empty() {
                return Value::Null;
            }
            let mut out = Map::with_capacity(fields.len());
            for (key, value) in fields {
                match remove.children.get(&PathElement::Field(key.clone())) {
                    Some(hit) if hit.member => {}
                    Some(below) if !below.is_empty() => {
                        let value = map.value_type(key).map_or(Value::Null, |ty| remove_items(types, ty, value, below));
                        out.insert(key.clone(), value);
                    }
                    _ => {
                        out.insert(key.clone(), value.clone());
                    }
                }
            }
            if out.is_empty() { Value::Null } else { Value::Object(out) }
        }
        (Form::List, _, Some(list), Value::Array(items)) => {
            if list.kind == ListKind::Atomic || items.is_empty() {
                return Value::Null;
            }
            let mut out = Vec::with_capacity(items.len());
            for item in items {
                let hit = item_path(types, list, item).ok().and_then(|element| remove.children.get(&element));
                match hit {
                    Some(hit) if hit.member => {}
                    Some(below) if !below.is_empty() => out.push(remove_items(types, list.element, item, below)),
                    _ => out.push(item.clone()),
                }
            }
            if out.is_empty() { Value::Null } else { Value::Array(out) }
        }
        (Form::Scalar, _, _, value) => value.clone(),
        _ => Value::Null,
    }
}
