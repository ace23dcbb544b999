//! What only the server can tell: which dry-runs a plan needs, and what exactly to send.
//!
//! Ask, answer, ask again until nothing is asked: some questions follow from answers. An object that is remembered as
//! unchanged asks nothing; one that leans on something this plan writes first is dry-run just before its own write.

use super::adopt::{Standing, migrating};
use super::analysis::{Analysis, Definition, Subject, analyse};
use super::body::with_uid;
use super::immutable::immutable_fields;
use super::input::{PlanInput, REPLACE};
use super::judge::{Verdict, judge};
use super::owned::{fields_where, ours, remove};
use super::step::Payload;
use crate::object::{FieldSet, Live, Manifest, ObjectKey, ObjectRef};
use serde_json::Value;

/// Which of an object's questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Asked {
    /// What would the apply give?
    Apply,
    /// What is left once the fields of the managers that it is adopted from, and that Git does not have, are gone?
    /// (Only an update can tell: a dry-run cannot follow a migration that was not written.)
    Adoption,
    /// An immutable field changes and replacement is allowed: would the new object be accepted? `AlreadyExists` comes
    /// after validation and means yes.
    Replacement,
}

/// How to ask. Every question is a dry-run (`dryRun=All`) with strict field validation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Server-side apply as manager `driftless`.
    Apply {
        /// With `force`.
        force: bool,
    },
    /// PUT.
    Update,
    /// POST.
    Create,
}

/// One dry-run.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The object's identity: with `asked`, the key of the answer.
    pub key: ObjectKey,
    /// With the version to ask in.
    pub object: ObjectRef,
    /// Which question.
    pub asked: Asked,
    /// How to ask.
    pub verb: Verb,
    /// What to send.
    pub body: Payload,
}

/// The questions that the answers so far leave open. Empty: the plan can be made.
pub fn questions(input: &PlanInput<'_>) -> Vec<Question> {
    let analysis = analyse(input);
    analysis.subjects.iter().filter_map(|subject| question(input, &analysis, subject)).collect()
}

fn question(input: &PlanInput<'_>, analysis: &Analysis<'_>, subject: &Subject<'_>) -> Option<Question> {
    if !matches!(judge(input, analysis, subject), Verdict::Open) {
        return None;
    }
    if waits_for_definition(analysis, subject) {
        return None;
    }
    let ask = |asked, verb, body| {
        let (key, object) = (subject.key.clone(), subject.desired.object_ref());
        Some(Question { key, object, asked, verb, body: Payload(body) })
    };
    let first = input.dry_runs.get(&(subject.key.clone(), Asked::Apply));
    let new = || subject.body.initial.as_ref().unwrap_or(&subject.body.value).clone();
    match (&subject.standing, first) {
        (Standing::Absent, None) => ask(Asked::Apply, Verb::Apply { force: false }, new()),
        (Standing::Ours(live) | Standing::Adoptable { live, .. }, None) => {
            ask(Asked::Apply, Verb::Apply { force: true }, subject.body.observed(live))
        }
        (Standing::Ours(live) | Standing::Adoptable { live, .. }, Some(Ok(answer))) => {
            let body = stripped(subject, live, answer.value())?;
            ask(Asked::Adoption, Verb::Update, with_uid(&body, live))
        }
        (_, Some(Err(_))) => ask(Asked::Replacement, Verb::Create, new()),
        _ => None,
    }
}

/// A custom resource's question waits until it is known whether its CRD changes.
fn waits_for_definition(analysis: &Analysis<'_>, subject: &Subject<'_>) -> bool {
    let definition = subject.definition.as_ref().and_then(|key| analysis.definitions.get(key));
    definition == Some(&Definition::Open)
}

/// True if an immutable field may be changed by replacing the object.
pub fn may_replace(input: &PlanInput<'_>, subject: &Subject<'_>) -> bool {
    match subject.desired.annotation(REPLACE) {
        Some(text) => text.trim() == "allowed",
        None => input.options.replace,
    }
}

/// True if the answer is about an immutable field and the object may be replaced.
pub fn wants_replacement(input: &PlanInput<'_>, subject: &Subject<'_>, problem: &crate::object::Problem) -> bool {
    immutable_fields(problem).is_some() && may_replace(input, subject)
}

/// The answer of the apply without the fields that go once they are ours alone. `None` if there are none.
pub fn stripped(subject: &Subject<'_>, live: &Live, answer: &Value) -> Option<Value> {
    let coming = migrating(live, &subject.managers);
    if coming.is_empty() {
        return None;
    }
    let others = fields_where(answer, |manager, operation, main| {
        let taken = main && subject.managers.iter().any(|name| name == manager);
        !(taken || main && manager == super::input::MANAGER && operation == "Apply")
    });
    let kept_back = subject.handover.as_ref().map_or_else(FieldSet::default, shape);
    let keep = ours(answer).union(&others).union(&kept_back);
    let going = coming.difference(&keep);
    let mut out = answer.clone();
    remove(&going, &keep, &mut out);
    if out == *answer {
        return None;
    }
    if let Some(metadata) = out.get_mut("metadata").and_then(Value::as_object_mut) {
        // Absent means untouched in an update.
        metadata.shift_remove("managedFields");
    }
    Some(out)
}

/// Every path of a small object, as far as maps go.
fn shape(value: &Value) -> FieldSet {
    let mut out = FieldSet::default();
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (name, child) in map {
                out.children.insert(crate::object::PathElement::Field(name.clone()), shape(child));
            }
        }
        _ => out.member = true,
    }
    out
}
