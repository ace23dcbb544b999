//! One object's verdict: unchanged, created, changed, replaced, rejected, or still open.

use super::adopt::Standing;
use super::analysis::{Analysis, Definition, Subject};
use super::diff::{Delta, content, diff};
use super::immutable::{hint, immutable_fields};
use super::input::{HANDOVER_MANAGER, MANAGER, PART_OF, PlanInput};
use super::merge::{approximate, lay_over};
use super::order::is_webhook;
use super::owned::{entry_head, fields_where, managed_fields, ours};
use super::planned::{Found, TakenOver};
use super::question::{Asked, stripped, wants_replacement};
use super::rejection::{self, Kind};
use super::wave::problem;
use crate::object::{FieldPath, FieldSet, Live, Manifest, ObjectKey, PathElement, Problem};
use serde_json::Value;

/// What is to be done with one object.
#[derive(Clone)]
pub enum Verdict {
    /// Nothing.
    Unchanged,
    /// It is created. `preflight`: dry-run it just before.
    Create {
        /// It could not be dry-run yet.
        preflight: bool,
    },
    /// It is written.
    Change(Changed),
    /// It is deleted and created again.
    Replace {
        /// The immutable fields, as the server names them.
        fields: Vec<String>,
    },
    /// The server says no.
    Rejected(Found),
    /// The server has not been asked.
    Open,
}

/// A write to an object that exists.
#[derive(Clone)]
pub struct Changed {
    /// As it would become.
    pub after: Value,
    /// The fields that differ.
    pub deltas: Vec<Delta>,
    /// Fields taken from other managers.
    pub taken: Vec<TakenOver>,
    /// It could not be dry-run yet.
    pub preflight: bool,
}

/// Judges one object by the answers so far.
pub fn judge(input: &PlanInput<'_>, analysis: &Analysis<'_>, subject: &Subject<'_>) -> Verdict {
    if subject.remembered {
        return Verdict::Unchanged;
    }
    let Some(live) = subject.standing.live() else { return judge_new(input, analysis, subject) };
    if is_late(analysis, subject) {
        return Verdict::Change(guessed(subject, live));
    }
    match input.dry_runs.get(&(subject.key.clone(), Asked::Apply)) {
        None => Verdict::Open,
        Some(Err(no)) => judge_no(input, analysis, subject, no),
        Some(Ok(answer)) => {
            let adopted = stripped(subject, live, answer.value())
                .map(|_| input.dry_runs.get(&(subject.key.clone(), Asked::Adoption)));
            match adopted {
                None => compare(subject, live, answer.value(), answer.value()),
                Some(None) => Verdict::Open,
                Some(Some(Ok(after))) => compare(subject, live, answer.value(), after.value()),
                Some(Some(Err(no))) => judge_no(input, analysis, subject, no),
            }
        }
    }
}

/// True if the object cannot be dry-run before something else is written.
pub fn is_late(analysis: &Analysis<'_>, subject: &Subject<'_>) -> bool {
    let definition = subject.definition.as_ref().and_then(|key| analysis.definitions.get(key));
    subject.late.is_some() || definition == Some(&Definition::Changes) || leans_on_new(analysis, subject)
}

/// Admission looks these up: a binding's role, a bare pod's service account and priority class.
fn leans_on_new(analysis: &Analysis<'_>, subject: &Subject<'_>) -> bool {
    let is_new = |key: &ObjectKey| {
        analysis.get(key).is_some_and(|other| matches!(other.standing, Standing::Absent | Standing::Terminating(_)))
    };
    if subject.key.is("", "Pod") {
        return super::podspec::references(&subject.key, subject.desired.value()).iter().any(|key| {
            matches!(key.kind.as_str(), "ServiceAccount" | "PriorityClass" | "RuntimeClass") && is_new(key)
        });
    }
    super::edge::role_of(&subject.key, subject.desired.value()).is_some_and(|role| is_new(&role))
}

fn judge_new(input: &PlanInput<'_>, analysis: &Analysis<'_>, subject: &Subject<'_>) -> Verdict {
    if matches!(subject.standing, Standing::Terminating(_)) || is_late(analysis, subject) {
        return Verdict::Create { preflight: true };
    }
    match input.dry_runs.get(&(subject.key.clone(), Asked::Apply)) {
        None => Verdict::Open,
        Some(Ok(_)) => Verdict::Create { preflight: false },
        Some(Err(no)) if excused(analysis, subject, no) => Verdict::Create { preflight: true },
        Some(Err(no)) => Verdict::Rejected(rejected(subject, no)),
    }
}

fn judge_no(input: &PlanInput<'_>, analysis: &Analysis<'_>, subject: &Subject<'_>, no: &Problem) -> Verdict {
    if excused(analysis, subject, no)
        && let Some(live) = subject.standing.live()
    {
        return Verdict::Change(guessed(subject, live));
    }
    if !wants_replacement(input, subject, no) {
        return Verdict::Rejected(rejected(subject, no));
    }
    match input.dry_runs.get(&(subject.key.clone(), Asked::Replacement)) {
        None => Verdict::Open,
        Some(Err(no)) if no.reason != "AlreadyExists" => {
            let mut found = rejected(subject, no);
            found.problem.message =
                format!("its replacement is rejected, so the old object stays: {}", found.problem.message);
            Verdict::Rejected(found)
        }
        Some(_) => Verdict::Replace { fields: immutable_fields(no).unwrap_or_default() },
    }
}

/// A "no" that this plan may turn into a "yes": what stands in the way is to be changed or removed first.
fn excused(analysis: &Analysis<'_>, subject: &Subject<'_>, no: &Problem) -> bool {
    let going = analysis.prunes.deleted();
    let in_namespace = |key: &ObjectKey| key.namespace == subject.key.namespace;
    let moving = |wanted: &dyn Fn(&ObjectKey) -> bool| {
        going.iter().any(wanted) || analysis.subjects.iter().any(|other| !other.remembered && wanted(&other.key))
    };
    let text = &no.message;
    if text.contains("provided port is already allocated") {
        !super::edge::port_holders(analysis, subject).is_empty()
    } else if text.contains("exceeded quota") {
        moving(&|key| key.is("", "ResourceQuota") && in_namespace(key)) || going.iter().any(in_namespace)
    } else if text.contains("admission webhook \"") || text.contains("failed calling webhook \"") {
        moving(&is_webhook)
    } else if text.contains("ValidatingAdmissionPolicy '") && text.contains("denied request") {
        moving(&|key| key.kind.starts_with("ValidatingAdmissionPolicy") && *key != subject.key)
    } else {
        false
    }
}

fn rejected(subject: &Subject<'_>, no: &Problem) -> Found {
    let message = rejection::message(&subject.key, no);
    let mut found = problem(subject.desired, &no.reason, message);
    found.hint.clone_from(&no.hint);
    match rejection::kind(no) {
        Kind::Unanswered => return Found { problem: found, blocks: false },
        Kind::Stale => {
            "Conflict".clone_into(&mut found.reason);
            found.hint = Some("the object changed while it was planned: plan again".to_owned());
        }
        Kind::Rejected => {
            if let Some(fields) = immutable_fields(no) {
                "ImmutableField".clone_into(&mut found.reason);
                found.hint = Some(hint(&fields));
            }
        }
    }
    Found { problem: found, blocks: true }
}

/// A verdict without an answer: the server decides just before the write.
pub fn guess(subject: &Subject<'_>) -> Verdict {
    match subject.standing.live() {
        Some(live) => Verdict::Change(guessed(subject, live)),
        None => Verdict::Create { preflight: true },
    }
}

fn guessed(subject: &Subject<'_>, live: &Live) -> Changed {
    let before = ours(live.value()).union(&super::adopt::migrating(live, &subject.managers));
    let others = fields_where(live.value(), |manager, operation, main| {
        !(main && manager == MANAGER && operation == "Apply" || main && subject.managers.iter().any(|m| m == manager))
    });
    let after = kept(subject, &approximate(live.value(), &subject.body.value, &before, &others));
    let deltas = deltas(subject, live, &after);
    Changed { after, deltas, taken: Vec::new(), preflight: true }
}

/// What the handover keeps: the dry-run of the apply does not know that it comes first.
fn kept(subject: &Subject<'_>, after: &Value) -> Value {
    let mut out = after.clone();
    if let Some(handover) = &subject.handover {
        lay_over(&mut out, handover);
    }
    out
}

fn compare(subject: &Subject<'_>, live: &Live, answer: &Value, after: &Value) -> Verdict {
    let after = kept(subject, after);
    let deltas = deltas(subject, live, &after);
    let same_owner = ours(live.value()) == ours(answer) && subject.managers.is_empty();
    let is_ours = matches!(subject.standing, Standing::Ours(_));
    if is_ours && deltas.is_empty() && same_owner && subject.handover.is_none() {
        return Verdict::Unchanged;
    }
    let taken = taken_over(subject, live, answer);
    Verdict::Change(Changed { after, deltas, taken, preflight: false })
}

fn deltas(subject: &Subject<'_>, live: &Live, after: &Value) -> Vec<Delta> {
    let mut out = diff(&content(live.value()), &content(after));
    if matches!(subject.standing, Standing::Adoptable { .. }) {
        // That it becomes ours is what `adopt` says.
        let mark = FieldPath(["metadata", "labels", PART_OF].map(|name| PathElement::Field(name.to_owned())).to_vec());
        out.retain(|delta| delta.path != mark);
    }
    out
}

/// Fields that somebody holds live, and no longer would.
fn taken_over(subject: &Subject<'_>, live: &Live, answer: &Value) -> Vec<TakenOver> {
    let mine = ours(answer);
    let mut out = Vec::new();
    for entry in live.managed_fields() {
        let head @ (manager, ..) = entry_head(entry);
        let exempt =
            manager == HANDOVER_MANAGER || manager == MANAGER || subject.managers.iter().any(|name| name == manager);
        if exempt {
            continue;
        }
        let parse = |entry: &Value| entry.get("fieldsV1").map(FieldSet::parse).unwrap_or_default();
        let after = managed_fields(answer)
            .iter()
            .filter(|other| entry_head(other) == head && other.get("subresource") == entry.get("subresource"))
            .fold(FieldSet::default(), |set, other| set.union(&parse(other)));
        let lost = parse(entry).difference(&after).intersection(&mine);
        out.extend(lost.paths().iter().map(|path| TakenOver {
            key: subject.key.clone(),
            path: path.to_string(),
            manager: manager.to_owned(),
        }));
    }
    out
}
