//! What a plan writes, as admission sees it: for policies, which judge writes and not manifests.
//!
//! In: the answers that the plan is made from. Out: a [`Write`] for each object, in the order of the manifests (before
//! them the namespaces that are made for them), then hooks, then deletions. An object that stays as it is counts as written as it is: what policies say of it is worth
//! knowing on every plan, and costs no request.
//!
//! Invariant: everything that the plan may write is among them, what waits (for an approval, for another app) too. What
//! is not: the deletion of a hook's object.

use super::adopt::Standing;
use super::analysis::{Analysis, Subject};
use super::input::PlanInput;
use super::judge::{Verdict, guess, judge};
use super::planner::new_namespace;
use super::question::Asked;
use crate::object::{Desired, Live, Manifest, ObjectRef, Source};
use serde_json::Value;
use std::borrow::Cow;

/// What is asked of the API server, in an admission plugin's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// The object is not there yet.
    Create,
    /// It is.
    Update,
    /// It goes.
    Delete,
}

impl Operation {
    /// As rules and `request.operation` spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// One write. It may be of a Secret: it has no `Debug`.
#[derive(Clone)]
pub struct Write<'a> {
    /// Which object, in the version that is written.
    pub object: ObjectRef,
    /// Where it stands in Git; `None` for what is no longer there.
    pub source: Option<&'a Source>,
    /// As it would be; `None` for a deletion.
    pub new: Option<Cow<'a, Value>>,
    /// As it is live; `None` for a creation.
    pub old: Option<&'a Value>,
    /// `new` stands in Git like this: no server has said what it makes of it.
    pub unread: bool,
}

impl<'a> Write<'a> {
    /// The creation of what Git has.
    pub fn create(desired: &'a Desired) -> Self {
        Self { unread: true, ..Self::create_as(desired, &desired.object) }
    }

    /// The same where it is known what the server makes of it.
    pub fn create_as(desired: &'a Desired, new: &'a Value) -> Self {
        let (object, source) = (desired.object_ref(), Some(&desired.source));
        Self { object, source, new: Some(Cow::Borrowed(new)), old: None, unread: false }
    }

    /// The deletion of a live object.
    pub fn delete(object: ObjectRef, source: Option<&'a Source>, live: &'a Live) -> Self {
        Self { object, source, new: None, old: Some(live.value()), unread: false }
    }

    /// An update.
    pub fn update(desired: &'a Desired, new: Cow<'a, Value>, live: &'a Live) -> Self {
        let (object, source) = (desired.object_ref(), Some(&desired.source));
        Self { object, source, new: Some(new), old: Some(live.value()), unread: false }
    }

    /// What is asked.
    pub fn operation(&self) -> Operation {
        match (&self.new, self.old) {
            (None, _) => Operation::Delete,
            (Some(_), None) => Operation::Create,
            (Some(_), Some(_)) => Operation::Update,
        }
    }
}

/// Everything that the plan writes, or could.
pub(super) fn writes<'a>(input: &PlanInput<'a>, analysis: &Analysis<'a>) -> Vec<Write<'a>> {
    let mut out = Vec::with_capacity(input.desired.len());
    out.extend(analysis.namespaces.iter().map(|key| Write {
        object: key.with_version("v1"),
        source: None,
        new: Some(Cow::Owned(new_namespace(key))),
        old: None,
        unread: true,
    }));
    for desired in input.desired {
        match analysis.get(&desired.key()).filter(|subject| std::ptr::eq(subject.desired, desired)) {
            Some(subject) => of_subject(input, analysis, subject, &mut out),
            // What is another app's, or unknown, is not written; a fault of it is worth knowing all the same.
            None => out.push(Write::create(desired)),
        }
    }
    out.extend(input.hooks.iter().map(|hook| Write::create(&hook.desired)));
    let doomed = analysis.prunes.doomed.iter();
    out.extend(doomed.map(|doomed| Write::delete(doomed.object.clone(), None, doomed.live)));
    out
}

fn of_subject<'a>(input: &PlanInput<'a>, analysis: &Analysis<'a>, subject: &Subject<'a>, out: &mut Vec<Write<'a>>) {
    let desired = subject.desired;
    let answered = |asked: Asked| match input.dry_runs.get(&(subject.key.clone(), asked)) {
        Some(Ok(answer)) => Write::create_as(desired, answer.value()),
        _ => Write::create(desired),
    };
    let live = match subject.standing {
        Standing::Ours(live) | Standing::Adoptable { live, .. } => live,
        Standing::Absent => return out.push(answered(Asked::Apply)),
        // What is being deleted is gone by the time that its successor is made.
        _ => return out.push(Write::create(desired)),
    };
    match judge(input, analysis, subject) {
        Verdict::Unchanged => out.push(Write::update(desired, Cow::Borrowed(live.value()), live)),
        Verdict::Change(changed) => out.push(Write::update(desired, Cow::Owned(changed.after), live)),
        Verdict::Replace { .. } => {
            out.push(Write::delete(desired.object_ref(), Some(&desired.source), live));
            out.push(answered(Asked::Replacement));
        }
        // Not answered, or refused by the server: it is judged by what it would probably be.
        Verdict::Open | Verdict::Rejected(_) | Verdict::Create { .. } => {
            let Verdict::Change(changed) = guess(subject) else { return };
            out.push(Write::update(desired, Cow::Owned(changed.after), live));
        }
    }
}
