//! What a plan is made from, brought together: manifests that were accepted, the kinds that the cluster serves, answers
//! of the API server.

use super::{Halt, Wanted, api_halt, default_namespace};
use crate::apply::write::{self, ApplyMode};
use crate::engine::Engine;
use crate::inventory::{HookRecord, Identity, Parent};
use crate::live::kinds::Kinds;
use crate::live::snapshot::LiveSnapshot;
use crate::object::{Desired, Digest, Manifest, ObjectKey, ObjectRef, Problem, Source};
use crate::plan::{self, HookObject, Planned, Question, Verb};
use crate::policy::{Facts, PolicySet, Resource, schema};
use crate::render::namespaces::{asks_for_more, resolve_namespaces};
use crate::scope::Namespaces;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Pauses before discovery is asked again for a kind that is not served; all of them only where another app brings it.
const LATE_KINDS: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
    Duration::from_millis(1600),
];

/// The kinds that the cluster serves. Discovery is asked again where one is missing: somebody may have installed it since,
/// and an API server takes a moment to serve what a CRD that is established defines.
pub(super) async fn kinds_for(engine: &Engine, wanted: &[&Wanted<'_>]) -> Result<Arc<Kinds>, Halt> {
    let mut kinds = engine.kinds().await.map_err(api_halt)?;
    let depends = wanted.iter().any(|wanted| !wanted.app.depends_on.is_empty());
    for pause in if depends { &LATE_KINDS[..] } else { &LATE_KINDS[..1] } {
        if !wanted.iter().any(|wanted| asks_for_more(&wanted.rendered.objects, &kinds)) {
            break;
        }
        tokio::time::sleep(*pause).await;
        kinds = engine.rediscover().await.map_err(api_halt)?;
    }
    Ok(kinds)
}

/// An app's manifests, well formed: what is synced, and what is run once for a sync.
pub(super) struct Ready {
    pub objects: Vec<Desired>,
    pub hooks: Vec<HookObject>,
    pub warnings: Vec<Problem>,
}

pub(super) fn ready(
    wanted: &Wanted<'_>,
    (mut all, warnings): (Vec<Desired>, Vec<Problem>),
    parent: &Parent,
) -> Result<Ready, Halt> {
    if wanted.app.plan.app_removed {
        // Git has them no more: kept from when the app was applied.
        let source = Source { file: "(kept in the app's inventory)".to_owned(), line: 1 };
        all.extend(parent.delete_hooks.iter().map(|object| Desired { object: object.clone(), source: source.clone() }));
    }
    let (objects, hooks) = plan::hook::split(all, parent.digest.is_some()).map_err(Halt::Failed)?;
    Ok(Ready { objects, hooks, warnings })
}

/// Says whose an object is that another app has: by app and repository rather than by the id in its label.
pub(super) async fn name_owners(engine: &Engine, planned: &mut Planned) {
    let mut known: BTreeMap<String, Option<Identity>> = BTreeMap::new();
    for refusal in &mut planned.refusals {
        let plan::Refusal::OwnedByAnother { owner, .. } = refusal else { continue };
        let Some(id) = owner.strip_prefix("ApplySet `").and_then(|rest| rest.strip_suffix('`')) else { continue };
        // Asked once, however many of its objects are refused.
        if !known.contains_key(id) {
            known.insert(id.to_owned(), engine.parents.owner_of(id).await);
        }
        if let Some(identity) = known.get(id).and_then(Option::as_ref) {
            let at =
                if identity.path_root.is_empty() { String::new() } else { format!(", path `{}`", identity.path_root) };
            let instance = match identity.instance.as_str() {
                "driftless" => String::new(),
                name => format!(", instance `{name}`"),
            };
            *owner = format!("app `{}` of {}{at}{instance}", identity.app, identity.repository);
        }
    }
    if let Some(first) = planned.refusals.first().filter(|refusal| refusal.blocks()) {
        let named = first.problem(&planned.plan.name);
        if let Some(error) = planned.plan.error.as_mut().filter(|error| error.reason == named.reason) {
            error.message = named.message;
        }
    }
}

/// Hooks that have succeeded already in the sync of this content that was interrupted.
pub(super) fn hooks_done(parent: &Parent, digest: &Digest) -> Vec<HookRecord> {
    let Some(sync) = parent.interrupted(digest) else { return Vec::new() };
    parent.hooks.iter().filter(|hook| hook.succeeded && hook.run == sync.started).cloned().collect()
}

/// What policies may know of the cluster. Who asks is asked for where a policy reads it; a namespace that could not be
/// read keeps unknown labels, which exempt nothing.
pub(super) async fn facts(
    engine: &Engine,
    policies: &PolicySet,
    kinds: &Kinds,
    snapshot: &LiveSnapshot,
    (manifests, namespaces): (&[Desired], &Namespaces),
) -> Result<Facts, Halt> {
    let resources = kinds
        .by_gk
        .iter()
        .map(|(gk, kind)| (gk.clone(), Resource { plural: kind.plural.clone(), namespaced: kind.namespaced }));
    let user = if policies.reads_user() { Some(engine.user().await.map_err(api_halt)?.clone()) } else { None };
    let mut facts = Facts { resources: resources.collect(), namespaces: namespace_labels(snapshot), user };
    // What another app of the same commit makes comes before what uses it. One that is there has the labels that it has:
    // an app that may be refused, or held, must not take another one out of a policy's reach.
    for (name, labels) in namespaces {
        if !facts.namespaces.contains_key(name) {
            facts.namespaces.insert(name.clone(), labels.clone());
        }
    }
    Ok(facts.with_manifests(manifests))
}

/// Labels by namespace, of those that were looked at.
fn namespace_labels(snapshot: &LiveSnapshot) -> BTreeMap<String, BTreeMap<String, String>> {
    let namespaces = snapshot.objects.keys().filter(|key| key.is("", "Namespace"));
    let labels = |key: &ObjectKey| {
        let labels = snapshot.present(key)?.at("/metadata/labels").and_then(serde_json::Value::as_object);
        let text = |(key, value): (&String, &serde_json::Value)| Some((key.clone(), value.as_str()?.to_owned()));
        Some((key.name.clone(), labels.into_iter().flatten().filter_map(text).collect()))
    };
    namespaces.filter_map(labels).collect()
}

fn namespace_ref(name: String) -> ObjectRef {
    ObjectRef { group: String::new(), version: "v1".into(), kind: "Namespace".into(), namespace: None, name }
}

/// An app's manifests with their namespaces, of the right shape.
pub(super) fn well_formed(
    engine: &Engine,
    wanted: &Wanted<'_>,
    kinds: &Kinds,
) -> Result<(Vec<Desired>, Vec<Problem>), Halt> {
    let namespace = default_namespace(engine, wanted.app);
    let elsewhere = &wanted.neighbours.definitions;
    let resolved =
        resolve_namespaces(wanted.rendered.objects.clone(), kinds, &namespace, elsewhere).map_err(Halt::Failed)?;
    let mut warnings = wanted.rendered.warnings.clone();
    warnings.extend(resolved.warnings);
    // Objects of groups that do not answer stay among the desired ones: planning finds them unknown and leaves them be.
    let objects: Vec<Desired> =
        resolved.objects.into_iter().chain(resolved.unavailable.into_iter().map(|(desired, _)| desired)).collect();
    let faults = schema::check(&objects);
    if !faults.is_empty() {
        return Err(Halt::Failed(faults));
    }
    Ok((objects, warnings))
}

/// Everything a snapshot has to say something about.
pub(super) fn objects_of_interest(ready: &[&Ready], policies: &PolicySet, parent: &Parent) -> Vec<ObjectRef> {
    let mut out: BTreeMap<ObjectKey, ObjectRef> = BTreeMap::new();
    let desired = ready.iter().flat_map(|ready| &ready.objects);
    if policies.reads_namespaces() {
        let hooks = ready.iter().flat_map(|ready| &ready.hooks);
        let namespaces = hooks.filter_map(|hook| hook.desired.namespace()).map(|name| namespace_ref(name.to_owned()));
        out.extend(namespaces.map(|namespace| (namespace.key(), namespace)));
    }
    let ours = parent.members.iter().map(|m| &m.object).chain(parent.hooks.iter().map(|hook| &hook.object)).cloned();
    for object in desired.map(Manifest::object_ref).chain(ours) {
        if let Some(namespace) = &object.namespace {
            let namespace = namespace_ref(namespace.clone());
            out.entry(namespace.key()).or_insert(namespace);
        }
        out.entry(object.key()).or_insert(object);
    }
    out.into_values().collect()
}

pub(super) fn unhealthy(desired: &[Desired], snapshot: &LiveSnapshot) -> BTreeSet<ObjectKey> {
    let now = Timestamp::now();
    let live = desired.iter().filter_map(|d| snapshot.present(&d.key()));
    live.filter(|live| {
        // Judged by its own status alone: nothing is read for planning.
        let assessment = crate::health::assess(live, &crate::health::Related::default(), now);
        !assessment.is_healthy()
    })
    .map(|live| live.key())
    .collect()
}

/// What a Namespace or CRD that would be pruned holds besides this app's objects.
pub(super) async fn foreign_contents(
    engine: &Engine,
    kinds: &Kinds,
    parent: &Parent,
    desired: &[Desired],
    applyset_id: &str,
) -> BTreeMap<ObjectKey, Vec<ObjectKey>> {
    let wanted: BTreeSet<ObjectKey> = desired.iter().map(Manifest::key).collect();
    let doomed = parent.members.iter().map(|m| m.object.key()).filter(|key| !wanted.contains(key));
    let mut out = BTreeMap::new();
    for key in doomed {
        if key.is("", "Namespace") || key.is("apiextensions.k8s.io", "CustomResourceDefinition") {
            match crate::live::foreign::contents(&engine.client, kinds, &key, applyset_id).await {
                Ok(found) => {
                    out.insert(key, found);
                }
                Err(error) => tracing::warn!(object = %key, %error, "its contents cannot be listed"),
            }
        }
    }
    out
}

/// Sends one dry-run.
pub(super) async fn ask(
    engine: &Engine,
    kinds: &Kinds,
    question: &Question,
) -> (Result<crate::object::DryRun, Problem>, Vec<String>) {
    let Some(kind) = kinds.get(&question.key.gk()) else {
        let problem = Problem::new("KindNotServed", format!("the cluster does not serve {}", question.object.gvk()));
        return (Err(problem), Vec::new());
    };
    let version = kind.version_or_preferred(&question.object.version);
    let body = &question.body.0;
    let answer = match question.verb {
        Verb::Apply { force } => {
            let mode = ApplyMode { manager: write::MANAGER, force, dry_run: true };
            write::apply(&engine.client, kind, version, &question.key, body, mode).await
        }
        Verb::Update => write::dry_run_update(&engine.client, kind, version, &question.key, body).await,
        Verb::Create => write::dry_run_create(&engine.client, kind, version, body).await,
    };
    match answer {
        Ok(written) => (Ok(crate::object::DryRun(written.live.0)), written.warnings),
        Err(error) => (Err(error.problem().about(question.object.clone())), Vec::new()),
    }
}
