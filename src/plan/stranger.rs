//! An object that is not the app's yet, as a pull request may see it: which fields Git would change, and to what.
//!
//! Whoever opens a pull request can claim any object of the cluster, and reads the plan. In: the change, both sides, and
//! what would be applied. Out: the change as it may be shown.
//!
//! Invariants: every value shown stands in Git; a live value is `(not shown)`, whether or not there is one; fields that only
//! the live object has are counted, not named; how many pods run is not said. Of a Secret nothing is shown but whose it is:
//! a guess at its value that is right would show, as a field that does not change.

use super::change::{Change, FieldChange, Forecast};
use super::diff::{Delta, content, diff};
use super::input::is_secret;
use super::planned::Sides;
use super::why::meaning;
use crate::object::{FieldPath, PathElement, Scalar, counted};
use serde_json::Value;

/// In the place of a live value, and of none.
const NOT_SHOWN: &str = "(not shown)";

/// The adoption as a pull request may see it. `written`: what is applied, if that is known.
pub(super) fn claimed(change: &Change, sides: &Sides, written: Option<&Value>) -> (Change, Sides) {
    let key = change.object.key();
    let whose = change.why.split_once("; ").map_or(change.why.as_str(), |(whose, _)| whose).to_owned();
    let nothing = Change { fields: Vec::new(), forecast: None, why: whose.clone(), ..change.clone() };
    let both = sides.before.as_ref().zip(sides.after.as_ref());
    let Some(((before, after), git)) = both.zip(written.map(content)).filter(|_| !is_secret(&key)) else {
        return (nothing, Sides::default());
    };
    let (shown, others) = split(change, &diff(before, after), &git);
    let mut hidden = git.clone();
    for delta in &shown {
        if let Some(value) = find_mut(&mut hidden, &delta.path.0) {
            *value = NOT_SHOWN.into();
        }
    }
    // Not the live object: it says how many pods run.
    let mut parts = vec![whose, meaning(&key, &shown, &Value::Null, after).why];
    if others > 0 {
        let verb = if others == 1 { "changes" } else { "change" };
        parts.push(format!("{} that Git does not set {verb} too", counted(others, "field")));
    }
    parts.retain(|part| !part.is_empty());
    let field =
        |delta: &Delta| FieldChange { path: delta.path.to_string(), from: delta.from.clone(), to: delta.to.clone() };
    let fields: Vec<FieldChange> = shown.iter().map(field).collect();
    let forecast = change.forecast.as_ref().and_then(|forecast| open_forecast(forecast, &fields, &git));
    let sides = if shown.is_empty() { Sides::default() } else { Sides { before: Some(hidden), after: Some(git) } };
    (Change { why: parts.join("; "), fields, forecast, ..nothing }, sides)
}

/// The differences that Git makes, in Git's words, and how many there are besides.
fn split(change: &Change, deltas: &[Delta], git: &Value) -> (Vec<Delta>, usize) {
    let mut shown: Vec<Delta> = Vec::new();
    let mut others = 0;
    for delta in deltas {
        if !change.fields.iter().any(|field| field.path == delta.path.to_string()) {
            continue;
        }
        // A list whose elements have no names is one value: a position in it may hold what others put there.
        let named = |element: &&PathElement| matches!(element, PathElement::Field(_) | PathElement::Key(_));
        let path = FieldPath(delta.path.0.iter().take_while(named).cloned().collect());
        if shown.iter().any(|known| known.path == path) {
            continue;
        }
        match find(git, &path.0) {
            Some(value) => shown.push(Delta { path, from: Some(NOT_SHOWN.into()), to: Some(value.clone()) }),
            None => others += 1,
        }
    }
    (shown, others)
}

/// What is foreseen, as far as it follows from Git: not how many pods run, and not the words of the API server, which may
/// quote what is in the object.
fn open_forecast(forecast: &Forecast, fields: &[FieldChange], git: &Value) -> Option<Forecast> {
    // Its number of pods is the live object's where Git does not say it.
    let counts = git.pointer("/spec/replicas").is_some();
    let plain = |text: &String| text.split(": ").next().map(str::to_owned);
    let out = Forecast {
        pods: None,
        because: forecast.because.iter().filter(|path| fields.iter().any(|f| f.path == **path)).cloned().collect(),
        impossible: forecast.impossible.as_ref().filter(|_| counts).and_then(plain),
        certain: forecast.certain && counts,
        notes: forecast.notes.iter().filter(|_| counts).cloned().collect(),
    };
    (out != Forecast::default()).then_some(out)
}

fn find<'v>(value: &'v Value, path: &[PathElement]) -> Option<&'v Value> {
    path.iter().try_fold(value, |at, element| match element {
        PathElement::Field(name) => at.get(name),
        PathElement::Key(keys) => at.as_array()?.iter().find(|item| is_named(item, keys)),
        PathElement::Value(_) | PathElement::Index(_) => None,
    })
}

fn find_mut<'v>(value: &'v mut Value, path: &[PathElement]) -> Option<&'v mut Value> {
    path.iter().try_fold(value, |at, element| match element {
        PathElement::Field(name) => at.get_mut(name),
        PathElement::Key(keys) => at.as_array_mut()?.iter_mut().find(|item| is_named(item, keys)),
        PathElement::Value(_) | PathElement::Index(_) => None,
    })
}

/// True for the element of a list that these keys name; a protocol defaults to TCP, as in the comparison.
fn is_named(item: &Value, keys: &[(String, Scalar)]) -> bool {
    keys.iter().all(|(name, wanted)| match item.get(name) {
        Some(value) => Scalar::from(value) == *wanted,
        None => name == "protocol" && *wanted == Scalar::Str("TCP".into()),
    })
}

#[cfg(test)]
mod tests {
    use super::super::change::Action;
    use super::*;
    use crate::object::{Gk, ObjectKey};
    use serde_json::json;

    fn adopted(kind: (&str, &str), live: &Value, after: &Value, git: Option<&Value>) -> (Change, Sides) {
        let fields = diff(live, after)
            .into_iter()
            .map(|delta| FieldChange { path: delta.path.to_string(), from: delta.from, to: delta.to })
            .collect();
        let forecast = Forecast {
            pods: Some(77),
            impossible: Some("3 of its 9 pods fit into ResourceQuota q: each takes 1, others use private".into()),
            ..Forecast::default()
        };
        let change = Change {
            object: ObjectKey::new(&Gk::new(kind.0, kind.1), Some("shop"), "web").with_version("v1"),
            actions: vec![Action::Adopt, Action::Update],
            restarts: false,
            why: "exists already (made by kubectl-create) and becomes ours; data private changes".into(),
            source: None,
            wave: 0,
            waits_for: Vec::new(),
            fields,
            hook: None,
            forecast: Some(forecast),
        };
        claimed(&change, &Sides { before: Some(live.clone()), after: Some(after.clone()) }, git)
    }

    #[test]
    fn what_git_would_change_is_shown_and_what_is_live_is_not() {
        let live = json!({"data": {"a": "private", "private": "x", "same": "1"}});
        let git = json!({"metadata": {"uid": "private"}, "data": {"a": "new", "b": "more", "same": "1"}});
        let after = json!({"data": {"a": "new", "b": "more", "same": "1"}});
        let (change, sides) = adopted(("", "ConfigMap"), &live, &after, Some(&git));
        let shown = format!("{change:?} {sides:?}");
        assert!(!shown.contains("private") && !shown.contains("77"), "{shown}");
        assert_eq!(
            change.why,
            "exists already (made by kubectl-create) and becomes ours; data a and data b change; 1 field that Git does not set changes too"
        );
        let fields: Vec<_> = change.fields.iter().map(|f| (f.path.as_str(), f.from.clone(), f.to.clone())).collect();
        let hidden = || Some(json!("(not shown)"));
        assert_eq!(
            fields,
            [(".data.a", hidden(), Some(json!("new"))), (".data.b", hidden(), Some(json!("more")))],
            "nobody sees whether there was one"
        );
        assert_eq!(sides.before.unwrap()["data"], json!({"a": "(not shown)", "b": "(not shown)", "same": "1"}));
    }

    #[test]
    fn a_workload_shows_its_new_size_and_template_and_not_the_live_one() {
        let pod = |args: &[&str], replicas: u32, containers: &[&str]| {
            let containers: Vec<Value> =
                containers.iter().map(|name| json!({"name": name, "image": "a:1", "args": args})).collect();
            json!({"spec": {"replicas": replicas, "template": {"spec": {"containers": containers}}}})
        };
        let (live, after) = (pod(&["private"], 777, &["main", "private"]), pod(&["new"], 2, &["main"]));
        let (change, _) = adopted(("apps", "Deployment"), &live, &after, Some(&after));
        let shown = format!("{change:?}");
        assert!(!shown.contains("private") && !shown.contains("77"), "{shown}");
        assert!(change.why.contains("replicas (not shown) → 2; args changes: pods restart"), "{}", change.why);
        let args = change.fields.iter().find(|field| field.path.ends_with("[name=\"main\"].args")).unwrap();
        assert_eq!(args.to, Some(json!(["new"])), "a list without names is one value");
        let impossible = change.forecast.unwrap().impossible.unwrap();
        assert_eq!(impossible, "3 of its 9 pods fit into ResourceQuota q");
    }

    #[test]
    fn of_a_secret_and_of_what_is_not_written_nothing_is_shown() {
        let (live, after) = (json!({"data": {"k": "private"}}), json!({"data": {"k": "guess"}}));
        for (kind, git) in [("Secret", Some(&after)), ("ConfigMap", None)] {
            let (change, sides) = adopted(("", kind), &live, &after, git);
            assert!(change.fields.is_empty() && sides == Sides::default() && change.forecast.is_none());
            assert_eq!(change.why, "exists already (made by kubectl-create) and becomes ours");
        }
    }
}
