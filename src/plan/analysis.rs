//! Everything that can be said before the server is asked: whose each object is, what would be applied, whether it is
//! known to be unchanged, and what cannot be dry-run yet. Questions and plan are both made from it.

use super::adopt::{Standing, deployers, migrating, standing};
use super::autoscaler::{Autoscaled, autoscaled};
use super::body::{Body, build, desired_digest, owned_digest};
use super::input::PlanInput;
use super::judge::{Verdict, judge};
use super::owned::ours;
use super::planned::Found;
use super::prune::{Prunes, prunes};
use super::refusal::Refusal;
use super::wave::problem;
use crate::inventory::Member;
use crate::live::snapshot::Presence;
use crate::object::{Desired, Digest, Gk, Manifest, ObjectKey};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// One desired object.
#[derive(Clone)]
pub struct Subject<'a> {
    /// As Git has it.
    pub desired: &'a Desired,
    /// Its key.
    pub key: ObjectKey,
    /// Its record in the inventory.
    pub member: Option<&'a Member>,
    /// How it stands in the cluster.
    pub standing: Standing<'a>,
    /// Managers whose fields are taken over.
    pub managers: Vec<String>,
    /// What is applied.
    pub body: Body,
    /// Digest of it.
    pub digest: Digest,
    /// The apply that keeps live values of fields we stop applying.
    pub handover: Option<Value>,
    /// Recorded and live agree: unchanged, and nothing needs to be asked.
    pub remembered: bool,
    /// Why it cannot be dry-run before something else is written.
    pub late: Option<String>,
    /// Its CRD, if that is an object of this app too: a change of it makes this late.
    pub definition: Option<ObjectKey>,
}

/// The outcome.
#[derive(Clone)]
pub struct Analysis<'a> {
    /// Desired objects, sorted by key.
    pub subjects: Vec<Subject<'a>>,
    /// Where each is.
    pub index: BTreeMap<ObjectKey, usize>,
    /// What is no longer desired.
    pub prunes: Prunes<'a>,
    /// Who is scaled by whom.
    pub autoscaled: Autoscaled,
    /// What is wrong.
    pub found: Vec<Found>,
    /// What is refused.
    pub refusals: Vec<Refusal>,
    /// Namespaces to be created because `create_namespace` is set.
    pub namespaces: BTreeSet<ObjectKey>,
    /// What becomes of the CRDs of this app's custom resources.
    pub definitions: BTreeMap<ObjectKey, Definition>,
}

/// What is known of a CRD that this app's custom resources need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Definition {
    /// It stays as it is.
    Same,
    /// It is written by this plan.
    Changes,
    /// The server has not been asked yet.
    Open,
}

impl<'a> Analysis<'a> {
    /// The subject with this key.
    pub fn get(&self, key: &ObjectKey) -> Option<&Subject<'a>> {
        self.subjects.get(*self.index.get(key)?)
    }
}

/// Key of a Namespace.
pub fn namespace_key(name: &str) -> ObjectKey {
    ObjectKey::new(&Gk::new("", "Namespace"), None, name)
}

/// Looks at everything.
pub fn analyse<'a>(input: &PlanInput<'a>) -> Analysis<'a> {
    let wanted: BTreeSet<ObjectKey> = input.desired.iter().map(Manifest::key).collect();
    let mut prunes = prunes(input, &wanted);
    let autoscaled = autoscaled(input, &prunes.deleted());
    let found = prunes.problems.drain(..).map(|problem| Found { problem, blocks: false }).collect();
    let refusals = std::mem::take(&mut prunes.refusals);
    let mut out = Analysis {
        subjects: Vec::with_capacity(input.desired.len()),
        index: BTreeMap::new(),
        prunes,
        autoscaled,
        found,
        refusals,
        namespaces: BTreeSet::new(),
        definitions: BTreeMap::new(),
    };
    let members: BTreeMap<ObjectKey, &'a Member> =
        input.parent.into_iter().flat_map(|p| &p.members).map(|member| (member.object.key(), member)).collect();
    let scope =
        Scope { wanted: &wanted, definitions: definitions(input.desired), services: api_services(input.desired) };
    let mut sorted: Vec<&'a Desired> = input.desired.iter().collect();
    sorted.sort_by_cached_key(|desired| (desired.key(), desired.source.clone()));
    for desired in sorted {
        let key = desired.key();
        if let Some(first) = out.get(&key).map(|subject| subject.desired) {
            let found = duplicate(first, desired);
            out.found.push(found);
            continue;
        }
        let member = members.get(&key).copied();
        if let Some(subject) = scope.subject(input, desired, key, member, &mut out) {
            out.index.insert(subject.key.clone(), out.subjects.len());
            out.subjects.push(subject);
        }
    }
    out.definitions = judged_definitions(input, &out);
    out
}

fn judged_definitions(input: &PlanInput<'_>, analysis: &Analysis<'_>) -> BTreeMap<ObjectKey, Definition> {
    let needed: BTreeSet<&ObjectKey> = analysis.subjects.iter().filter_map(|s| s.definition.as_ref()).collect();
    let judged = |key: &&ObjectKey| match judge(input, analysis, analysis.get(key)?) {
        Verdict::Unchanged => Some(Definition::Same),
        Verdict::Open => Some(Definition::Open),
        _ => Some(Definition::Changes),
    };
    needed.iter().filter_map(|key| Some(((*key).clone(), judged(key)?))).collect()
}

fn duplicate(first: &Desired, second: &Desired) -> Found {
    let text = format!("{} is already in {}:{}", second.key(), first.source.file, first.source.line);
    Found { problem: problem(second, "DuplicateObject", text).hint("remove one of the two"), blocks: true }
}

/// CRDs among the desired objects, by the kind that they define, with the versions that they serve.
fn definitions(desired: &[Desired]) -> BTreeMap<Gk, (ObjectKey, Vec<String>)> {
    let mut out = BTreeMap::new();
    for object in desired.iter().filter(|d| d.key().is("apiextensions.k8s.io", "CustomResourceDefinition")) {
        let text = |pointer: &str| object.at(pointer).and_then(Value::as_str);
        let (Some(group), Some(kind)) = (text("/spec/group"), text("/spec/names/kind")) else { continue };
        let versions = object.at("/spec/versions").and_then(Value::as_array).into_iter().flatten();
        let served = versions.filter(|v| v.get("served").and_then(Value::as_bool) != Some(false));
        let names = served.filter_map(|v| Some(v.get("name")?.as_str()?.to_owned())).collect();
        out.insert(Gk::new(group, kind), (object.key(), names));
    }
    out
}

/// `group/version` of the APIServices among the desired objects.
fn api_services(desired: &[Desired]) -> BTreeSet<(String, String)> {
    let text = |object: &Desired, pointer: &str| object.at(pointer).and_then(Value::as_str).map(str::to_owned);
    desired
        .iter()
        .filter(|d| d.key().is("apiregistration.k8s.io", "APIService"))
        .filter_map(|d| Some((text(d, "/spec/group")?, text(d, "/spec/version")?)))
        .collect()
}

struct Scope<'s> {
    wanted: &'s BTreeSet<ObjectKey>,
    definitions: BTreeMap<Gk, (ObjectKey, Vec<String>)>,
    services: BTreeSet<(String, String)>,
}

impl Scope<'_> {
    fn subject<'a>(
        &self,
        input: &PlanInput<'a>,
        desired: &'a Desired,
        key: ObjectKey,
        member: Option<&'a Member>,
        out: &mut Analysis<'a>,
    ) -> Option<Subject<'a>> {
        let served = match self.served(input, desired, &key) {
            Ok(served) => served,
            Err(found) => {
                out.found.push(found);
                return None;
            }
        };
        let mut late = (!served).then(|| "its kind is made by this plan".to_owned());
        let standing = match standing(input, &key, member) {
            Standing::Unknown(_) if !served => Standing::Absent,
            Standing::Unknown(why) => {
                let text = format!("the state of {key} is unknown: {}", why.message);
                out.found.push(Found { problem: problem(desired, "Unknown", text), blocks: false });
                return None;
            }
            Standing::Theirs(owner) => {
                let (object, source) = (desired.object_ref(), desired.source.clone());
                out.refusals.push(Refusal::OwnedByAnother { object, owner, source });
                return None;
            }
            standing => standing,
        };
        match self.namespace_late(input, desired, &key, out) {
            Ok(why) => late = late.or(why),
            Err(found) => {
                out.found.push(found);
                return None;
            }
        }
        if matches!(standing, Standing::Terminating(_)) {
            late = late.or_else(|| Some("the old object is still being deleted".to_owned()));
        }
        let definition = self.definitions.get(&key.gk()).map(|(key, _)| key.clone());
        let scaled = out.autoscaled.workloads.contains(&key);
        Some(with_body(input, Known { desired, key, member, standing, late, definition, scaled }))
    }

    /// True if the cluster serves the object's kind and version, false if this plan makes it so.
    fn served(&self, input: &PlanInput<'_>, desired: &Desired, key: &ObjectKey) -> Result<bool, Found> {
        let gvk = desired.gvk();
        let kind = input.kinds.get(&gvk.gk());
        if kind.is_some_and(|kind| kind.versions.contains(&gvk.version) || kind.gvk.version == gvk.version) {
            return Ok(true);
        }
        let defined = self.definitions.get(&gvk.gk()).is_some_and(|(_, versions)| versions.contains(&gvk.version));
        let defined = defined || (kind.is_none() && input.defined_elsewhere.contains(&gvk.gk()));
        if defined || self.services.contains(&(gvk.group.clone(), gvk.version.clone())) {
            return Ok(false);
        }
        if let (None, Some(why)) = (kind, input.kinds.broken.get(&key.group)) {
            let text = format!("the API group `{}` does not answer: {why}", key.group);
            return Err(Found { problem: problem(desired, "GroupUnavailable", text), blocks: false });
        }
        let api_version = gvk.api_version();
        let found = match kind {
            Some(kind) => {
                let text = format!("the cluster does not serve {} in `{api_version}`", gvk.kind);
                problem(desired, "VersionNotServed", text).hint(format!("use `apiVersion: {}`", kind.gvk.api_version()))
            }
            None => problem(desired, "UnknownKind", format!("the cluster has no kind {} in `{api_version}`", gvk.kind))
                .hint(
                    "check apiVersion and kind; for a custom resource, its CRD has to be in the cluster or in this app",
                ),
        };
        Err(Found { problem: found, blocks: true })
    }

    /// Why an object cannot be dry-run for its namespace's sake.
    fn namespace_late(
        &self,
        input: &PlanInput<'_>,
        desired: &Desired,
        key: &ObjectKey,
        out: &mut Analysis<'_>,
    ) -> Result<Option<String>, Found> {
        let Some(name) = &key.namespace else { return Ok(None) };
        let namespace = namespace_key(name);
        let desired_too = self.wanted.contains(&namespace);
        let gone = match input.snapshot.objects.get(&namespace) {
            Some(Presence::Absent) => true,
            Some(Presence::Present(live)) => desired_too && live.is_terminating(),
            _ => false,
        };
        if !gone {
            return Ok(None);
        }
        if !desired_too && let Some(app) = input.other_apps.get(&namespace) {
            return Ok(Some(format!("its namespace `{name}` is made by app `{app}`")));
        }
        if !desired_too && !input.options.create_namespace {
            let found = problem(desired, "NamespaceMissing", format!("the namespace `{name}` does not exist"))
                .hint(format!("add a Namespace `{name}` to the app, or set `create_namespace = true`"));
            return Err(Found { problem: found, blocks: true });
        }
        if !desired_too {
            out.namespaces.insert(namespace);
        }
        Ok(Some(format!("its namespace `{name}` is made by this plan")))
    }
}

/// What is known of an object before its body is built.
struct Known<'a> {
    desired: &'a Desired,
    key: ObjectKey,
    member: Option<&'a Member>,
    standing: Standing<'a>,
    late: Option<String>,
    definition: Option<ObjectKey>,
    scaled: bool,
}

fn with_body<'a>(input: &PlanInput<'a>, known: Known<'a>) -> Subject<'a> {
    let Known { desired, key, member, standing, late, definition, scaled } = known;
    let live = standing.live();
    let managers = match &standing {
        Standing::Adoptable { live, .. } => deployers(live),
        // Server-side apply makes this manager when the object had no managed fields at first contact.
        Standing::Ours(live) => deployers(live).into_iter().filter(|name| name == "before-first-apply").collect(),
        _ => Vec::new(),
    };
    let owned = live.map(|live| ours(live.value()).union(&migrating(live, &managers))).unwrap_or_default();
    let rules = &input.options.ignore;
    let body = build(desired, &key, live.map(|live| (live, &owned)), scaled, rules, input.applyset_id);
    let digest = desired_digest(&body.value, &key, input.secret_key);
    let handover = live.and_then(|live| body.handover(live, &managers));
    // A Job that has succeeded and was removed by its TTL is not made once more for the same content.
    let done = matches!(standing, Standing::Absent)
        && desired.at("/spec/ttlSecondsAfterFinished").is_some_and(Value::is_number)
        && member.is_some_and(|member| member.done && member.desired.as_ref() == Some(&digest));
    let remembered = done
        || matches!(standing, Standing::Ours(_))
            && managers.is_empty()
            && handover.is_none()
            && member.zip(live).is_some_and(|(member, live)| {
                member.uid.as_deref() == live.uid()
                    && member.desired.as_ref() == Some(&digest)
                    && member.owned.as_ref() == Some(&owned_digest(live, &key, input.secret_key))
            });
    Subject { desired, key, member, standing, managers, body, digest, handover, remembered, late, definition }
}
