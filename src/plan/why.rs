//! What a set of differing fields means: which actions it takes, and how to say it in a few words.

use super::change::Action;
use super::diff::Delta;
use super::podspec::{partition, restart_held, restarting, rolls_pods};
use crate::object::{FieldPath, ObjectKey, PathElement};
use serde_json::Value;

/// What a set of differences comes to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meaning {
    /// Update, scale, rollout: in the order in which they are carried out.
    pub actions: Vec<Action>,
    /// Pods restart.
    pub restarts: bool,
    /// How many, where that is known.
    pub pods: Option<u64>,
    /// For a person.
    pub why: String,
}

/// Reads the differences of one object.
pub fn meaning(key: &ObjectKey, deltas: &[Delta], live: &Value, after: &Value) -> Meaning {
    let (scaling, rest): (Vec<&Delta>, Vec<&Delta>) = deltas.iter().partition(|delta| is_replicas(&delta.path));
    let (rolling, updating): (Vec<&Delta>, Vec<&Delta>) =
        rest.into_iter().partition(|delta| rolls_pods(key) && is_below(&delta.path, &["spec", "template"]));
    let mut out = Meaning::default();
    let mut parts = Vec::new();
    if !updating.is_empty() {
        out.actions.push(Action::Update);
        parts.push(changing(&updating));
    }
    if let Some(delta) = scaling.first() {
        out.actions.push(Action::Scale);
        parts.push(format!("replicas {} → {}", shown(delta.from.as_ref()), shown(delta.to.as_ref())));
    }
    if !rolling.is_empty() {
        out.actions.push(Action::Rollout);
        let held = restart_held(key, after);
        out.restarts = held.is_none();
        out.pods = restarting(key, live, after).filter(|_| out.restarts);
        parts.push(format!("{}: {}", changing(&rolling), held.unwrap_or_else(|| restart(out.pods, after))));
    }
    out.why = parts.join("; ");
    out
}

fn restart(pods: Option<u64>, after: &Value) -> String {
    let count = pods.map_or_else(String::new, |n| format!(" ({n})"));
    match partition(after) {
        0 => format!("pods restart{count}"),
        from => format!("pods restart{count}, those from ordinal {from} on"),
    }
}

fn is_replicas(path: &FieldPath) -> bool {
    path.0.len() == 2 && is_below(path, &["spec", "replicas"])
}

fn is_below(path: &FieldPath, names: &[&str]) -> bool {
    path.0.len() >= names.len()
        && path.0.iter().zip(names).all(|(element, name)| matches!(element, PathElement::Field(field) if field == name))
}

fn shown(value: Option<&Value>) -> String {
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    value.map_or_else(|| "unset".to_owned(), plain)
}

/// `image changes`, `image and label app change`, `5 fields change`.
fn changing(deltas: &[&Delta]) -> String {
    let mut names: Vec<String> = deltas.iter().map(|delta| label(&delta.path)).collect();
    names.dedup();
    match names.as_slice() {
        [] => "nothing changes".to_owned(),
        [one] => format!("{one} changes"),
        [one, two] => format!("{one} and {two} change"),
        many => format!("{} fields change", many.len()),
    }
}

/// The last words of a path: what a person calls the field.
fn label(path: &FieldPath) -> String {
    let word = |element: &PathElement| match element {
        PathElement::Field(name) => name.clone(),
        PathElement::Key(keys) => keys.first().map_or_else(String::new, |(_, v)| {
            v.to_value().as_str().map_or_else(|| v.to_value().to_string(), str::to_owned)
        }),
        PathElement::Value(v) => v.to_value().to_string(),
        PathElement::Index(i) => i.to_string(),
    };
    let field = |name: &str| path.0.contains(&PathElement::Field(name.to_owned()));
    match path.0.as_slice() {
        [
            ..,
            PathElement::Field(list),
            last @ (PathElement::Key(_) | PathElement::Index(_) | PathElement::Value(_)),
        ] => {
            format!("{list} {}", word(last))
        }
        [.., PathElement::Field(env), name @ PathElement::Key(_), _] if env == "env" => format!("env {}", word(name)),
        [.., PathElement::Field(map), last] if map == "labels" => format!("label {}", word(last)),
        [.., PathElement::Field(map), last] if map == "annotations" => format!("annotation {}", word(last)),
        [.., last] if field("data") => format!("data {}", word(last)),
        [.., last] => word(last),
        [] => "the object".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::diff::diff;
    use super::*;
    use crate::object::Gk;
    use serde_json::json;

    fn deployment() -> Value {
        json!({"metadata": {"labels": {"a": "1"}}, "spec": {"replicas": 3, "template": {"spec": {"containers":
            [{"name": "main", "image": "a:1", "env": [{"name": "X", "value": "1"}]}]}}}})
    }

    fn of(kind: &str, change: impl Fn(&mut Value)) -> (Vec<Action>, bool, String) {
        let key = ObjectKey::new(&Gk::new("apps", kind), Some("a"), "web");
        let (before, mut after) = (deployment(), deployment());
        change(&mut after);
        let meaning = meaning(&key, &diff(&before, &after), &before, &after);
        (meaning.actions, meaning.restarts, meaning.why)
    }

    #[test]
    fn meanings() {
        use Action::{Rollout, Scale, Update};
        let image = "/spec/template/spec/containers/0/image";
        let set = |value: &mut Value, pointer: &str, to: Value| *value.pointer_mut(pointer).unwrap() = to;
        let cases = [
            (of("Deployment", |v| set(v, image, json!("a:2"))), vec![Rollout], true, "image changes: pods restart (3)"),
            (of("Deployment", |v| set(v, "/spec/replicas", json!(5))), vec![Scale], false, "replicas 3 → 5"),
            (of("Deployment", |v| set(v, "/metadata/labels/a", json!("2"))), vec![Update], false, "label a changes"),
            (
                of("Deployment", |v| set(v, "/spec/template/spec/containers/0/env/0/value", json!("2"))),
                vec![Rollout],
                true,
                "env X changes: pods restart (3)",
            ),
            (
                of("Deployment", |v| {
                    set(v, image, json!("a:2"));
                    set(v, "/spec/replicas", json!(5));
                    set(v, "/metadata/labels/a", json!("2"));
                }),
                vec![Update, Scale, Rollout],
                true,
                "label a changes; replicas 3 → 5; image changes: pods restart (3)",
            ),
            (
                of("Deployment", |v| {
                    set(v, image, json!("a:2"));
                    set(v, "/spec/replicas", json!(2));
                }),
                vec![Scale, Rollout],
                true,
                "replicas 3 → 2; image changes: pods restart (2)",
            ),
            (
                of("StatefulSet", |v| {
                    set(v, image, json!("a:2"));
                    v["spec"]["updateStrategy"] = json!({"type": "OnDelete"});
                }),
                vec![Update, Rollout],
                false,
                "type changes; image changes: each pod changes when it is deleted (OnDelete)",
            ),
            (of("ReplicaSet", |v| set(v, image, json!("a:2"))), vec![Update], false, "image changes"),
        ];
        for ((actions, restarts, why), expected, restarts_expected, text) in cases {
            assert_eq!((actions, restarts, why.as_str()), (expected, restarts_expected, text));
        }
    }
}
