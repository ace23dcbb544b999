//! What an apply would probably give, without asking: for changes that cannot be dry-run yet, because something that the
//! same plan creates has to be there first. Shown to people only; the server decides, just before the write.

use super::diff::list_key;
use super::owned::remove;
use crate::object::FieldSet;
use serde_json::Value;

/// Live with `body` applied over it, and without the fields of `before` that `body` no longer has.
pub fn approximate(live: &Value, body: &Value, before: &FieldSet, others: &FieldSet) -> Value {
    let mut out = live.clone();
    remove(&before.difference(&present(before, body)), others, &mut out);
    lay_over(&mut out, body);
    out
}

/// The part of the set whose paths exist in `value`.
fn present(set: &FieldSet, value: &Value) -> FieldSet {
    let children = set
        .children
        .iter()
        .filter_map(|(element, child)| Some((element.clone(), present(child, element.step(value)?))))
        .collect();
    FieldSet { member: set.member, children }
}

/// Applies `over` to `base`: maps merge, named list elements merge, everything else is replaced.
pub fn lay_over(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (name, value) in over {
                match base.get_mut(name) {
                    Some(slot) => lay_over(slot, value),
                    None => drop(base.insert(name.clone(), value.clone())),
                }
            }
        }
        (Value::Array(base), Value::Array(over)) => {
            let Some(names) = list_key(base, over) else { return base.clone_from(over) };
            for item in over {
                let same = |other: &Value| names.iter().all(|name| other.get(name) == item.get(name));
                match base.iter_mut().find(|other| same(other)) {
                    Some(slot) => lay_over(slot, item),
                    None => base.push(item.clone()),
                }
            }
        }
        (base, over) => base.clone_from(over),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn maps_merge_named_elements_merge_dropped_fields_go() {
        let live =
            json!({"spec": {"a": 1, "old": 2, "theirs": 3, "c": [{"name": "x", "v": 1, "d": true}], "args": ["1"]}});
        let body = json!({"spec": {"a": 5, "c": [{"name": "x", "v": 2}, {"name": "y"}], "args": ["2", "3"]}});
        let before = FieldSet::parse(&json!({"f:spec": {"f:a": {}, "f:old": {}}}));
        assert_eq!(
            approximate(&live, &body, &before, &FieldSet::default()),
            json!({"spec": {"a": 5, "theirs": 3, "c": [{"name": "x", "v": 2, "d": true}, {"name": "y"}], "args": ["2", "3"]}})
        );
    }
}
