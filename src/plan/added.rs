//! What one revision adds to another: two plans against one snapshot in, their difference out. Pure.
//!
//! In: live → base and live → merge. Out: the changes that only the second has, and where both change an object, what
//! the second makes of it that the first does not. Drift, and what the base itself has not brought about yet, is in both
//! plans alike and so in the difference not at all.
//!
//! Invariant: of an object that is not the app's yet nothing is shown but that it exists, whose it is, and what Git has for
//! it (see [`super::stranger`]); otherwise a pull request could read any object of the cluster by claiming it.

use super::change::{Action, AppPlan, Change, FieldChange, Forecast, PolicyFinding};
use super::diff::diff;
use super::planned::{Planned, Sides};
use super::refusal::Refusal;
use super::stranger::claimed;
use super::why::{Meaning, meaning};
use crate::object::{ObjectKey, ObjectRef, Problem};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What a revision adds to an app.
#[derive(Debug, Clone, PartialEq)]
pub struct Added {
    /// Its changes; problems and policy findings that the base has too are left out.
    pub plan: AppPlan,
    /// Before (with the base) and after (with the revision) of each change.
    pub sides: Vec<Sides>,
    /// True if something is wrong that is not wrong with the base.
    pub is_wrong: bool,
    /// True if something is refused that is not refused with the base.
    pub is_refused: bool,
    /// What is wrong or refused with the base already.
    pub of_base: Option<Problem>,
    /// What the base itself has not brought about yet, by action.
    pub pending: BTreeMap<Action, usize>,
    /// How many of these the cluster made, not Git.
    pub drifted: usize,
}

impl Added {
    /// True if there is something to do besides what the base does.
    pub fn has_changes(&self) -> bool {
        self.plan.changes.iter().any(|change| change.actions != [Action::None])
    }
}

/// The difference of two plans of the app `name` on `cluster`. `None`: the app is not in that tree and owns nothing.
pub fn added(name: &str, cluster: &str, base: Option<&Planned>, merged: Option<&Planned>) -> Added {
    let (of_base, of_merge) = (changes(base), changes(merged));
    let mut plan = AppPlan {
        name: name.to_owned(),
        cluster: cluster.to_owned(),
        unchanged: merged.map_or(0, |planned| planned.plan.unchanged),
        policy: new_findings(base, merged),
        ..AppPlan::default()
    };
    let mut sides = Vec::new();
    let adopted = |key: &ObjectKey| merged.and_then(|planned| planned.adopted.get(key)).map(|body| &body.0);
    let order = merged.into_iter().flat_map(|planned| planned.plan.changes.iter().map(|change| change.object.key()));
    for key in order {
        let Some(after) = of_merge.get(&key) else { continue };
        match step(of_base.get(&key), after, adopted(&key)) {
            Some((change, side)) => {
                plan.changes.push(change);
                sides.push(side);
            }
            None => plan.unchanged += 1,
        }
    }
    for (key, before) in of_base.iter().filter(|(key, _)| !of_merge.contains_key(key)) {
        if let Some((change, side)) = taken_back(key, before) {
            plan.unchanged = plan.unchanged.saturating_sub(usize::from(side.after.is_some()));
            plan.changes.push(change);
            sides.push(side);
        }
    }
    let shown: BTreeSet<ObjectKey> = plan.changes.iter().map(|change| change.object.key()).collect();
    for change in &mut plan.changes {
        change.waits_for.retain(|object| shown.contains(&object.key()));
    }
    let problems = new_problems(base, merged);
    let refusals = new_refusals(base, merged, name);
    let (is_wrong, is_refused) = (!problems.is_empty(), !refusals.is_empty());
    plan.error = problems.into_iter().chain(refusals).next();
    plan.blocked = plan.error.is_some() && merged.is_some_and(|planned| planned.plan.blocked);
    let drifted = base.map_or(0, |planned| planned.drifted.len());
    let pending = base.map(Planned::summary).unwrap_or_default();
    let pending = pending.into_iter().filter(|(action, _)| *action != Action::None).collect();
    let of_base = base.and_then(|planned| planned.plan.error.clone());
    Added { plan, sides, is_wrong, is_refused, of_base, pending, drifted }
}

type Both<'a> = (&'a Change, &'a Sides);

fn changes(planned: Option<&Planned>) -> BTreeMap<ObjectKey, Both<'_>> {
    let pairs = planned.into_iter().flat_map(|planned| planned.plan.changes.iter().zip(&planned.sides));
    pairs.map(|(change, sides)| (change.object.key(), (change, sides))).collect()
}

/// What the merge does to an object beyond what the base does to it.
fn step(base: Option<&Both<'_>>, (change, sides): &Both<'_>, written: Option<&Value>) -> Option<(Change, Sides)> {
    if change.actions.contains(&Action::Adopt) {
        let same = base.is_some_and(|(known, before)| known.actions == change.actions && before.after == sides.after);
        return (!same).then(|| claimed(change, sides, written));
    }
    let Some((known, before)) = base else { return Some(((*change).clone(), (*sides).clone())) };
    if known.actions == change.actions && before.after == sides.after && known.fields == change.fields {
        return None;
    }
    let replaced = |change: &Change| change.actions.contains(&Action::Replace);
    match (&before.after, &sides.after) {
        (Some(from), Some(to)) if replaced(known) == replaced(change) => {
            between(change, sides.before.as_ref().unwrap_or(from), from, to)
        }
        _ => Some(((*change).clone(), Sides { before: before.after.clone(), after: sides.after.clone() })),
    }
}

/// Both write the object, differently. It is the live object's pods that restart.
fn between(change: &Change, live: &Value, from: &Value, to: &Value) -> Option<(Change, Sides)> {
    let deltas = diff(from, to);
    if deltas.is_empty() {
        return None;
    }
    let meant = meaning(&change.object.key(), &deltas, live, to);
    // Values of a Secret are digests on both sides already.
    let fields: Vec<FieldChange> = deltas
        .into_iter()
        .map(|delta| FieldChange { path: delta.path.to_string(), from: delta.from, to: delta.to })
        .collect();
    let mut forecast = change.forecast.clone().unwrap_or_default();
    forecast.pods = meant.pods;
    forecast.because.retain(|path| meant.restarts && fields.iter().any(|field| field.path == *path));
    let forecast = Some(forecast).filter(|forecast| *forecast != Forecast::default());
    let Meaning { actions, restarts, why, .. } = meant;
    let change = Change { actions, restarts, why, fields, forecast, ..change.clone() };
    Some((change, Sides { before: Some(from.clone()), after: Some(to.clone()) }))
}

/// The base would change an object, the merge leaves it as it is: the revision takes the base's change back.
fn taken_back(key: &ObjectKey, (known, before): &Both<'_>) -> Option<(Change, Sides)> {
    if known.actions == [Action::None] || known.actions.contains(&Action::Adopt) {
        return None;
    }
    match (&before.before, &before.after) {
        (None, Some(new)) => {
            let why = "the base would create it, the revision removes it".to_owned();
            let change = bare(known.object.clone(), Action::Prune, why);
            Some((change, Sides { before: Some(new.clone()), after: None }))
        }
        (Some(old), None) => {
            let why = "the base would delete it, with the revision it stays".to_owned();
            let change = bare(known.object.clone(), Action::Create, why);
            Some((change, Sides { before: None, after: Some(old.clone()) }))
        }
        (Some(old), Some(new)) => {
            let asked = bare(key.with_version(&known.object.version), Action::Update, String::new());
            let (change, sides) = between(&Change { source: known.source.clone(), ..asked }, old, new, old)?;
            let why = format!("takes back a change of the base that is not applied yet: {}", change.why);
            Some((Change { why, ..change }, sides))
        }
        (None, None) => None,
    }
}

fn bare(object: ObjectRef, action: Action, why: String) -> Change {
    let (restarts, source, waits_for, fields) = (false, None, Vec::new(), Vec::new());
    Change {
        object,
        actions: vec![action],
        restarts,
        why,
        source,
        wave: 0,
        waits_for,
        fields,
        hook: None,
        forecast: None,
    }
}

fn new_findings(base: Option<&Planned>, merged: Option<&Planned>) -> Vec<PolicyFinding> {
    let of = |planned: Option<&Planned>| planned.map(|p| p.plan.policy.clone()).unwrap_or_default();
    let known = of(base);
    // Of an object that is not the app's yet the server's words may quote what is in it.
    let ours: BTreeSet<ObjectKey> = merged
        .into_iter()
        .flat_map(|planned| &planned.plan.changes)
        .filter(|change| !change.actions.contains(&Action::Adopt))
        .map(|change| change.object.key())
        .collect();
    let shown = |finding: &PolicyFinding| !finding.server || ours.contains(&finding.object.key());
    // The line may move; the finding is the same.
    let same = |a: &PolicyFinding, b: &PolicyFinding| {
        (&a.policy, &a.action, &a.message, a.object.key()) == (&b.policy, &b.action, &b.message, b.object.key())
    };
    let new = |finding: &PolicyFinding| shown(finding) && !known.iter().any(|old| same(old, finding));
    of(merged).into_iter().filter(new).collect()
}

fn new_problems(base: Option<&Planned>, merged: Option<&Planned>) -> Vec<Problem> {
    let of = |planned: Option<&Planned>| -> Vec<Problem> {
        planned.into_iter().flat_map(|p| p.problems.iter().map(|found| found.problem.clone())).collect()
    };
    let known = of(base);
    let same = |a: &Problem, b: &Problem| (&a.reason, &a.message, &a.object) == (&b.reason, &b.message, &b.object);
    of(merged).into_iter().filter(|problem| !known.iter().any(|old| same(old, problem))).collect()
}

fn new_refusals(base: Option<&Planned>, merged: Option<&Planned>, app: &str) -> Vec<Problem> {
    let known: &[Refusal] = base.map(|planned| planned.refusals.as_slice()).unwrap_or_default();
    let found = merged.into_iter().flat_map(|planned| &planned.refusals);
    found.filter(|refusal| !known.contains(refusal)).map(|refusal| refusal.problem(app)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Gk;
    use crate::plan::graph::Graph;
    use serde_json::json;

    fn planned(changes: Vec<(Change, Sides)>) -> Planned {
        let (changes, sides) = changes.into_iter().unzip();
        let (name, cluster) = ("web".to_owned(), "c".to_owned());
        Planned {
            plan: AppPlan { name, cluster, changes, unchanged: 3, ..AppPlan::default() },
            graph: Graph::default(),
            sides,
            problems: Vec::new(),
            refusals: Vec::new(),
            withheld: None,
            approval: Vec::new(),
            record: Vec::new(),
            forget: Vec::new(),
            leaving: BTreeSet::new(),
            members: Vec::new(),
            desired: BTreeMap::new(),
            on_failure: Vec::new(),
            unowned: BTreeSet::new(),
            drifted: BTreeSet::new(),
            taken_over: Vec::new(),
            adopted: BTreeMap::new(),
        }
    }

    fn deployment(image: &str, replicas: u32) -> Value {
        json!({"spec": {"replicas": replicas, "template": {"spec": {"containers": [{"name": "web", "image": image}]}}}})
    }

    fn change(action: Action, before: Option<Value>, after: Option<Value>) -> (Change, Sides) {
        let object = ObjectKey::new(&Gk::new("apps", "Deployment"), Some("shop"), "web").with_version("v1");
        let mut made = bare(object, action, "as planned".into());
        if let (Some(from), Some(to)) = (&before, &after) {
            let deltas = diff(from, to);
            made.fields =
                deltas.into_iter().map(|d| FieldChange { path: d.path.to_string(), from: d.from, to: d.to }).collect();
        }
        (made, Sides { before, after })
    }

    #[test]
    fn what_the_base_does_too_is_not_the_revisions() {
        let base = planned(vec![change(Action::Rollout, Some(deployment("a:1", 2)), Some(deployment("a:2", 2)))]);
        let out = added("web", "c", Some(&base), Some(&base));
        assert!(!out.has_changes() && out.plan.unchanged == 4, "{out:?}");
        assert_eq!(out.pending.get(&Action::Rollout), Some(&1));
    }

    #[test]
    fn a_newer_commit_of_the_base_is_never_reverted() {
        // Live runs a:1, the base has moved on to a:2, the revision only scales.
        let live = || Some(deployment("a:1", 2));
        let base = planned(vec![change(Action::Rollout, live(), Some(deployment("a:2", 2)))]);
        let merged = planned(vec![change(Action::Rollout, live(), Some(deployment("a:2", 5)))]);
        let out = added("web", "c", Some(&base), Some(&merged));
        let shown = &out.plan.changes[0];
        assert_eq!((shown.actions.as_slice(), shown.fields.len()), ([Action::Scale].as_slice(), 1));
        assert_eq!(shown.fields[0].path, ".spec.replicas");
        assert_eq!(out.sides[0].before, Some(deployment("a:2", 2)));
    }

    #[test]
    fn new_taken_back_and_removed() {
        let create = || change(Action::Create, None, Some(deployment("a:1", 1)));
        let only = planned(vec![create()]);
        let actions = |base: Option<&Planned>, merged: Option<&Planned>| {
            added("web", "c", base, merged).plan.changes.first().map(|change| change.actions.clone())
        };
        assert_eq!(actions(None, Some(&only)), Some(vec![Action::Create]));
        assert_eq!(actions(Some(&only), Some(&planned(vec![]))), Some(vec![Action::Prune]));
        assert_eq!(actions(Some(&only), None), Some(vec![Action::Prune]));
        let prune = planned(vec![change(Action::Prune, Some(deployment("a:1", 1)), None)]);
        assert_eq!(actions(Some(&planned(vec![])), Some(&prune)), Some(vec![Action::Prune]));
        assert_eq!(actions(Some(&prune), Some(&planned(vec![]))), Some(vec![Action::Create]));
        let rolled = planned(vec![change(Action::Rollout, Some(deployment("a:1", 1)), Some(deployment("a:2", 1)))]);
        assert_eq!(actions(Some(&rolled), Some(&planned(vec![]))), Some(vec![Action::Rollout]));
    }

    #[test]
    fn of_a_strangers_object_nothing_is_shown() {
        let adopt = planned(vec![change(Action::Adopt, Some(json!({"data": {"k": "private"}})), Some(json!({})))]);
        let out = added("web", "c", Some(&planned(vec![])), Some(&adopt));
        assert!(out.has_changes() && !format!("{out:?}").contains("private"));
        // Nor what the API server says of it; of the app's own objects it is shown.
        for (action, shown) in [(Action::Adopt, 0), (Action::Update, 1)] {
            let mut merged = planned(vec![change(action, Some(json!({})), Some(json!({"a": 1})))]);
            let object = merged.plan.changes[0].object.clone();
            let (policy, file, message) = ("p".to_owned(), "a.yaml".to_owned(), "private".to_owned());
            merged.plan.policy = vec![PolicyFinding {
                policy,
                action: "warn".into(),
                message,
                object,
                file,
                line: 1,
                operation: String::new(),
                server: true,
            }];
            assert_eq!(added("web", "c", Some(&planned(vec![])), Some(&merged)).plan.policy.len(), shown);
        }
    }
}
