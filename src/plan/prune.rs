//! What is no longer in Git: deleted, kept, or let go (rules 4 and 6).
//!
//! Only members of the inventory are ever candidates, and only while the live object has the recorded uid and our label.
//! An object that merely carries our label (the endpoints controllers copy a Service's labels) is nobody's candidate.

use super::input::{HELM_POLICY, MANAGER, PART_OF, PRUNE, PlanInput};
use super::owned::fields_where;
use super::refusal::Refusal;
use crate::inventory::Member;
use crate::live::snapshot::Presence;
use crate::object::{Live, Manifest, ObjectKey, ObjectRef, PathElement, Problem};
use std::collections::BTreeSet;

/// An object that is deleted.
#[derive(Clone)]
pub struct Doomed<'a> {
    /// The object.
    pub object: ObjectRef,
    /// As it is live.
    pub live: &'a Live,
    /// Its uid, the deletion's precondition.
    pub uid: String,
}

/// An object that is no longer in Git and stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spared {
    /// The object.
    pub object: ObjectRef,
    /// Why.
    pub why: String,
    /// True if it leaves the inventory: it is no longer ours.
    pub released: bool,
}

/// What happens to members that are no longer in Git.
#[derive(Clone, Default)]
pub struct Prunes<'a> {
    /// To be deleted, sorted by key. Empty of effect while `withheld`.
    pub doomed: Vec<Doomed<'a>>,
    /// To stay, and to be said.
    pub spared: Vec<Spared>,
    /// Members that do not exist any more.
    pub gone: Vec<ObjectKey>,
    /// Members whose presence is unknown.
    pub problems: Vec<Problem>,
    /// What needs a person's word.
    pub refusals: Vec<Refusal>,
    /// Why nothing is deleted now.
    pub withheld: Option<String>,
}

impl Prunes<'_> {
    /// Keys of what is deleted by this plan.
    pub fn deleted(&self) -> BTreeSet<ObjectKey> {
        if self.withheld.is_some() {
            return BTreeSet::new();
        }
        self.doomed.iter().map(|doomed| doomed.object.key()).collect()
    }

    /// The exact set that an approval is bound to: the uids, sorted.
    pub fn approval(&self) -> Vec<String> {
        let mut uids: Vec<String> = self.doomed.iter().map(|doomed| doomed.uid.clone()).collect();
        uids.sort();
        uids
    }
}

enum Fate<'a> {
    Delete(Doomed<'a>),
    Spare(Spared),
    Gone,
    Unknown(Problem),
}

/// Decides about every member that is not in `wanted`.
pub fn prunes<'a>(input: &PlanInput<'a>, wanted: &BTreeSet<ObjectKey>) -> Prunes<'a> {
    let mut out = Prunes::default();
    let Some(parent) = input.parent else { return out };
    let hooks = super::hook::keys(input.hooks);
    if wanted.is_empty() && hooks.is_empty() && !parent.members.is_empty() && !input.options.app_removed {
        out.refusals.push(Refusal::EmptySource { members: parent.members.len() });
        out.withheld = Some("nothing is desired".to_owned());
        return out;
    }
    let mut members: Vec<&Member> = parent.members.iter().filter(|m| !wanted.contains(&m.object.key())).collect();
    // What has become a hook is no member any more, and stays.
    members.retain(|member| !hooks.contains(&member.object.key()));
    members.sort_by_key(|member| member.object.key());
    members.dedup_by_key(|member| member.object.key());
    for member in members {
        match fate(input, member) {
            Fate::Delete(doomed) => out.doomed.push(doomed),
            Fate::Spare(spared) => out.spared.push(spared),
            Fate::Gone => out.gone.push(member.object.key()),
            Fate::Unknown(problem) => out.problems.push(problem),
        }
    }
    guard(input, parent.members.len(), wanted, &mut out);
    out
}

fn fate<'a>(input: &PlanInput<'a>, member: &Member) -> Fate<'a> {
    let key = member.object.key();
    let live: &'a Live = match input.snapshot.objects.get(&key) {
        Some(Presence::Present(live)) => live,
        Some(Presence::Absent) => return Fate::Gone,
        Some(Presence::Unknown(problem)) => return Fate::Unknown(unknown(&member.object, &problem.message)),
        None => return Fate::Unknown(unknown(&member.object, "it was not looked up")),
    };
    let spare = |why: String, released: bool| Fate::Spare(Spared { object: member.object.clone(), why, released });
    let label = live.label(PART_OF).filter(|id| !id.is_empty());
    if let Some(app) = input.other_apps.get(&key) {
        // It stays in the inventory until it is the other app's, so that nothing is ever nobody's.
        let moved = label != Some(input.applyset_id);
        let verb = if moved { "moved" } else { "moves" };
        return spare(format!("no longer in this app: {verb} to app `{app}`"), moved);
    }
    if label != Some(input.applyset_id) {
        // Announced but never written: somebody else's from the start.
        let why = match (label, &member.uid) {
            (Some(id), _) => {
                format!("no longer in Git, but labelled as another owner's ({}): left alone", owner(input, id))
            }
            (None, Some(_)) => "no longer in Git, but its label of ours was removed: left alone".to_owned(),
            (None, None) => return Fate::Gone,
        };
        return spare(why, true);
    }
    let Some(uid) = live.uid() else { return Fate::Unknown(unknown(&member.object, "it has no uid")) };
    match &member.uid {
        Some(recorded) if recorded != uid => {
            return spare("no longer in Git, but created again by someone else: left alone".to_owned(), true);
        }
        // A crash between the write and its record. That the label is our own apply shows that the object is ours.
        None if !applied_by_us(live) => {
            return spare("no longer in Git, but not created by driftless: left alone".to_owned(), true);
        }
        _ => {}
    }
    if let Some(why) = kept(input, live) {
        return spare(format!("no longer in Git, kept: {why}"), false);
    }
    Fate::Delete(Doomed { object: member.object.clone(), live, uid: uid.to_owned() })
}

fn unknown(object: &ObjectRef, why: &str) -> Problem {
    Problem::new("Unknown", format!("it is not known whether {object} still exists, so nothing is pruned: {why}"))
        .about(object.clone())
        .hint("prunes go on once the cluster answers for its kind")
}

fn owner(input: &PlanInput<'_>, id: &str) -> String {
    input.siblings.get(id).map_or_else(|| format!("ApplySet `{id}`"), |sibling| format!("app `{}`", sibling.app))
}

fn applied_by_us(live: &Live) -> bool {
    let label = ["metadata", "labels", PART_OF].map(|name| PathElement::Field(name.to_owned()));
    fields_where(live.value(), |manager, operation, main| main && manager == MANAGER && operation == "Apply")
        .contains(&label)
}

fn kept(input: &PlanInput<'_>, live: &Live) -> Option<String> {
    let helm_keeps = live.annotation(HELM_POLICY).is_some_and(|v| v.trim() == "keep");
    if live.annotation(PRUNE).is_some_and(|v| v.trim() == "disabled") {
        Some(format!("`{PRUNE}: disabled`"))
    } else if helm_keeps {
        Some(format!("`{HELM_POLICY}: keep`"))
    } else if input.options.prune {
        None
    } else {
        Some("the app has `prune = false`".to_owned())
    }
}

/// What stops the prunes: something unknown, an app that is not settled, or a missing approval. They wait as a whole, so
/// that no Namespace goes before the claim in it was approved.
fn guard(input: &PlanInput<'_>, members: usize, wanted: &BTreeSet<ObjectKey>, out: &mut Prunes<'_>) {
    if out.doomed.is_empty() {
        return;
    }
    let desired_unknown = wanted
        .iter()
        .any(|key| !matches!(input.snapshot.objects.get(key), Some(Presence::Present(_) | Presence::Absent)));
    if !out.problems.is_empty() || desired_unknown {
        out.withheld = Some("not every object of the app could be looked up".to_owned());
        return;
    }
    let refusals = needing_approval(input, members, wanted, &out.doomed);
    let set = out.approval();
    let approved = input
        .parent
        .is_some_and(|parent| parent.approvals.iter().any(|a| a.revision == input.revision && sorted(&a.uids) == set));
    if !refusals.is_empty() && !approved {
        // Asked for before anything else is waited for, so that it can be given at any time.
        out.refusals.extend(refusals);
        out.withheld = Some("waits for approval".to_owned());
        return;
    }
    out.withheld.clone_from(&input.options.prunes_wait);
}

fn sorted(uids: &[String]) -> Vec<String> {
    let mut uids = uids.to_vec();
    uids.sort();
    uids
}

fn needing_approval(
    input: &PlanInput<'_>,
    members: usize,
    wanted: &BTreeSet<ObjectKey>,
    doomed: &[Doomed<'_>],
) -> Vec<Refusal> {
    let mut out = Vec::new();
    let limit = input.options.prune_limit;
    if !input.options.app_removed && limit.exceeded(doomed.len(), members) {
        out.push(Refusal::PruneLimit { count: doomed.len(), members, limit });
    }
    let going: BTreeSet<ObjectKey> = doomed.iter().map(|doomed| doomed.object.key()).collect();
    for doomed in doomed {
        let key = doomed.object.key();
        if key.is("", "PersistentVolumeClaim") || key.is("", "PersistentVolume") {
            out.push(Refusal::Data { object: doomed.object.clone() });
        } else if key.is("", "Namespace") || key.is("apiextensions.k8s.io", "CustomResourceDefinition") {
            let listed = input.foreign.get(&key);
            let mut contents: Vec<ObjectKey> =
                listed.into_iter().flatten().filter(|content| !going.contains(*content)).cloned().collect();
            contents.extend(wanted.iter().filter(|object| holds(doomed, object)).cloned());
            contents.sort();
            contents.dedup();
            if listed.is_none() || !contents.is_empty() {
                out.push(Refusal::ForeignContents { object: doomed.object.clone(), contents });
            }
        }
    }
    out
}

/// True if deleting the Namespace or CRD deletes the object.
fn holds(doomed: &Doomed<'_>, object: &ObjectKey) -> bool {
    if doomed.object.kind == "Namespace" {
        return object.namespace.as_deref() == Some(doomed.object.name.as_str());
    }
    let text = |pointer: &str| doomed.live.at(pointer).and_then(serde_json::Value::as_str);
    text("/spec/group") == Some(object.group.as_str()) && text("/spec/names/kind") == Some(object.kind.as_str())
}
