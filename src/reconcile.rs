//! The main path, from rendered manifests to a healthy app:
//!
//! ```text
//! source ─▶ render ─▶ live ─▶ plan ─▶ admit ─▶ apply ─▶ health ─▶ (report)
//! ```
//!
//! [`look`] goes as far as the plan and writes nothing; [`sync`] goes all the way for one app. The command line and the
//! daemon call the same two; what they report, and what they do about a failure, is theirs.
//!
//! Guarantees: nothing is written before everything of the app was accepted (schema, policy, dry-run); members are in
//! the inventory before they exist; one writer per app; an interruption at any point leaves what the next sync converges
//! from. A sync that finds nothing to do writes nothing.

mod bookkeeping;
mod look;
mod merges;
mod reviewed;
mod said;

pub use self::merges::ask as ask_host;
pub use self::reviewed::{Unreviewed, foresee_hold};

use self::bookkeeping::{
    LockKeeper, announce, conclude, note_afterwards, note_finished, remember_unchanged, save_stubbornly,
    take_in_results,
};
use self::look::{
    Ready, ask, facts, foreign_contents, hooks_done, kinds_for, name_owners, objects_of_interest, ready, unhealthy,
    well_formed,
};
pub use self::said::with_late_warnings;
use crate::app::App;
use crate::apply::executor::{Carried, Orders, StepResult, Stop, carry_out};
use crate::apply::machine::StepState;
use crate::apply::parents::ParentError;
use crate::engine::Engine;
use crate::health::wait::{HealthReport, await_health};
use crate::inventory::{Hold, Parent, StoredParent};
use crate::live::client::ApiError;
use crate::live::kinds::Kinds;
use crate::live::snapshot::{LiveSnapshot, Presence};
use crate::object::{Digest, Manifest, ObjectKey, ObjectRef, Problem};
use crate::plan::change::PolicyFinding;
use crate::plan::{self, Answers, HookObject, Planned};
use crate::policy::{PolicySet, admit};
use crate::render::Rendered;
use crate::report::host::wire::HostClient;
use crate::scope::Neighbours;
use crate::source::{GitMirror, Revision};
use futures::future::join_all;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Questions follow from answers; more rounds than this mean that an answer is not understood.
const ROUNDS: usize = 6;
/// Plans made anew because another process wrote the inventory in between.
const RACES: usize = 5;
/// Plans made anew because an object changed under a write.
const CONFLICTS: usize = 3;
/// Time for the hooks that run after a failure.
const FAILURE_HOOKS: Duration = Duration::from_secs(60);
/// How often a foreign lock is looked at.
const LOCK_PAUSE: Duration = Duration::from_millis(300);

/// What is to run: an app at a revision, rendered.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// The app.
    pub app: &'a App,
    /// Revision it was rendered from.
    pub revision: &'a Revision,
    /// What it became.
    pub rendered: &'a Rendered,
    /// What every object must pass.
    pub policies: &'a PolicySet,
    /// The other apps of the scope.
    pub neighbours: &'a Neighbours,
}

/// A plan with what it was made from.
pub struct Looked {
    /// The plan.
    pub planned: Planned,
    /// Live state that it was made against.
    pub snapshot: LiveSnapshot,
    /// The inventory.
    pub stored: StoredParent,
    /// Things to know that stop nothing.
    pub warnings: Vec<Problem>,
    /// The app's hooks.
    pub hooks: Vec<HookObject>,
}

/// Why an app is not synced.
#[derive(Debug, Clone, PartialEq)]
pub enum Halt {
    /// Something is wrong: exit 1.
    Failed(Vec<Problem>),
    /// A policy refuses it: exit 4.
    Denied(Vec<PolicyFinding>),
    /// A guard refuses it: exit 4.
    Refused(Vec<Problem>),
    /// This content is held: exit 4.
    Held(Held),
    /// The app is suspended: exit 4.
    Suspended,
}

/// Why content is held, and what lifts that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// For a person.
    pub why: String,
    /// What lifts it.
    pub lift: Lift,
}

/// What lifts a hold, with the app that it is to be done to: the held one, or one that it depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lift {
    /// A person's word.
    Resume(String),
    /// An approval of deletions that nobody reviewed; nothing else does.
    Approve(String),
    /// The app's own success.
    Mend(String),
}

impl Lift {
    /// What to do, for a person.
    pub fn sentence(&self) -> String {
        match self {
            Self::Resume(app) => format!("push a fix, or `driftless resume {app}`"),
            Self::Approve(app) => format!("push a fix, or `driftless approve {app}`"),
            Self::Mend(app) => format!("`driftless status {app}` says what it waits for"),
        }
    }
}

/// Where it is told which pull requests a revision brings (`require_plan`).
#[derive(Clone, Copy)]
pub struct History<'a> {
    /// The commits.
    pub mirror: &'a GitMirror,
    /// The host that says what was merged.
    pub host: Option<&'a Arc<HostClient>>,
}

/// How a sync is run.
#[derive(Clone, Copy)]
pub struct HowTo<'a> {
    /// Wait for health once everything is applied.
    pub wait: bool,
    /// Time for health, from the first write.
    pub timeout: Duration,
    /// Stops at the next safe point.
    pub cancel: &'a CancellationToken,
    /// Told of the plan before it is carried out, and of each step's end.
    pub progress: &'a (dyn Fn(Progress<'_>) + Send + Sync),
    /// Sync content that is held, or an app that is suspended: what a rollback does.
    pub despite_hold: bool,
    /// Sync only as long as this content is what was applied last: a repair must not undo what somebody else brought about.
    pub runs: Option<&'a Digest>,
    /// Where it is told which pull requests a revision brings (`require_plan`).
    pub history: Option<History<'a>>,
}

/// What is told while a sync runs.
pub enum Progress<'a> {
    /// The plan is made.
    Planned(&'a Planned),
    /// A change's step ended.
    Step(&'a Planned, usize, &'a StepResult),
    /// Everything is applied; health is waited for.
    Applied,
}

/// What became of a sync.
pub struct Synced {
    /// The plan that was carried out.
    pub planned: Option<Planned>,
    /// What became of its steps.
    pub carried: Option<Carried>,
    /// Plans before this one that met a conflict, with what was carried out of them.
    pub earlier: Vec<(Planned, Carried)>,
    /// Why it did not begin.
    pub halt: Option<Halt>,
    /// Health at the end; `None` if nobody waited.
    pub health: Option<HealthReport>,
    /// True if anything was written.
    pub wrote: bool,
    /// When the last write ended.
    pub applied_at: Option<Instant>,
    /// When it was healthy.
    pub healthy_at: Option<Instant>,
    /// The inventory as it is now.
    pub stored: Option<StoredParent>,
    /// Things to know that stop nothing.
    pub warnings: Vec<Problem>,
}

impl Synced {
    /// One that did not begin.
    pub fn halted(halt: Halt) -> Self {
        Self {
            planned: None,
            carried: None,
            earlier: Vec::new(),
            halt: Some(halt),
            health: None,
            wrote: false,
            applied_at: None,
            healthy_at: None,
            stored: None,
            warnings: Vec::new(),
        }
    }

    /// True if everything was applied.
    pub fn is_applied(&self) -> bool {
        self.halt.is_none() && self.carried.as_ref().is_none_or(Carried::is_complete)
    }

    /// True if it was stopped from outside: superseded or shutting down.
    pub fn is_cancelled(&self) -> bool {
        self.carried.as_ref().is_some_and(|c| c.stopped == Some(Stop::Cancelled))
            || self.health.as_ref().is_some_and(|h| h.cancelled)
    }
}

/// Looks at the cluster and plans. Writes nothing.
///
/// # Errors
/// Why there is no plan.
pub async fn look(engine: &Engine, wanted: &Wanted<'_>, key: &[u8]) -> Result<Looked, Halt> {
    let app = wanted.app;
    let kinds = kinds_for(engine, &[wanted]).await?;
    let manifests = well_formed(engine, wanted, &kinds)?;
    let namespace = default_namespace(engine, app);
    let stored = engine.parents.load(&app.identity, &namespace).await.map_err(parent_halt)?;
    let applyset_id = app.identity.applyset_id(engine.parents.namespace());
    let ready = ready(wanted, manifests, &stored.parent)?;
    let objects = objects_of_interest(&[&ready], wanted.policies, &stored.parent);
    let snapshot = engine.eyes.observe(&kinds, &objects, (&applyset_id, &stored.parent.members)).await;
    look_at(engine, wanted, key, Seen { kinds, stored, snapshot }, ready).await
}

/// Plans two versions of one app against one look at the cluster: what differs between the plans is then the versions',
/// never the cluster's. Writes nothing. Answers in the order of `versions`; for each, why there is no plan.
///
/// # Errors
/// When the cluster or the inventory cannot be read.
pub async fn look_both(
    engine: &Engine,
    versions: [Option<&Wanted<'_>>; 2],
    key: &[u8],
) -> Result<[Option<Result<Looked, Halt>>; 2], Halt> {
    let Some(app) = versions.into_iter().flatten().next().map(|wanted| wanted.app) else { return Ok([None, None]) };
    let both: Vec<&Wanted<'_>> = versions.into_iter().flatten().collect();
    let kinds = kinds_for(engine, &both).await?;
    let formed = versions.map(|version| version.map(|wanted| (wanted, well_formed(engine, wanted, &kinds))));
    let namespace = default_namespace(engine, app);
    let stored = engine.parents.load(&app.identity, &namespace).await.map_err(parent_halt)?;
    let applyset_id = app.identity.applyset_id(engine.parents.namespace());
    let formed = formed.map(|version| {
        version.map(|(wanted, found)| (wanted, found.and_then(|found| ready(wanted, found, &stored.parent))))
    });
    let good: Vec<&Ready> = formed.iter().flatten().filter_map(|(_, found)| found.as_ref().ok()).collect();
    let objects = objects_of_interest(&good, both[0].policies, &stored.parent);
    let snapshot = engine.eyes.observe(&kinds, &objects, (&applyset_id, &stored.parent.members)).await;
    let seen = Seen { kinds, stored, snapshot };
    let mut out = [None, None];
    for (slot, version) in out.iter_mut().zip(formed) {
        *slot = match version {
            Some((wanted, Ok(ready))) => Some(look_at(engine, wanted, key, seen.clone(), ready).await),
            Some((_, Err(halt))) => Some(Err(halt)),
            None => None,
        };
    }
    Ok(out)
}

/// One look at a cluster.
#[derive(Clone)]
struct Seen {
    kinds: Arc<Kinds>,
    stored: StoredParent,
    snapshot: LiveSnapshot,
}

/// Plans, and puts what the plan writes to the policies: only what they let pass is a [`Looked`].
async fn look_at(engine: &Engine, wanted: &Wanted<'_>, key: &[u8], seen: Seen, ready: Ready) -> Result<Looked, Halt> {
    let Ready { objects: desired, hooks, mut warnings } = ready;
    let mut heard = Vec::new();
    for member in seen.stored.parent.members.iter().filter(|member| member.done) {
        engine.eyes.members.recall_finished(&member.object.key(), member.uid.as_deref().unwrap_or_default());
    }
    let Seen { kinds, stored, snapshot } = seen;
    let app = wanted.app;
    let applyset_id = app.identity.applyset_id(engine.parents.namespace());
    let unhealthy = unhealthy(&desired, &snapshot);
    let foreign = foreign_contents(engine, &kinds, &stored.parent, &desired, &applyset_id).await;
    let neighbours = wanted.neighbours.of(&app.name);
    let mut options = app.plan.clone();
    if options.prunes_wait.is_none() {
        options.prunes_wait = neighbours.prunes_wait.clone();
    }
    let done = hooks_done(&stored.parent, &wanted.rendered.digest);
    let mut answers = Answers::new();
    let input = plan::PlanInput {
        app: &app.name,
        cluster: &app.cluster,
        revision: wanted.revision.as_str(),
        desired: &desired,
        kinds: &kinds,
        snapshot: &snapshot,
        parent: Some(&stored.parent),
        applyset_id: &applyset_id,
        other_apps: &neighbours.wants,
        siblings: &neighbours.siblings,
        scaled_elsewhere: &neighbours.scaled,
        defined_elsewhere: &wanted.neighbours.definitions.keys().cloned().collect(),
        secret_key: key,
        dry_runs: &Answers::new(),
        unhealthy: &unhealthy,
        foreign: &foreign,
        options: &options,
        hooks: &hooks,
        hooks_due: app.plan.hooks && stored.parent.digest.as_ref() != Some(&wanted.rendered.digest),
        hooks_done: &done,
    };
    for _ in 0..ROUNDS {
        let questions = plan::questions(&plan::PlanInput { dry_runs: &answers, ..input });
        if questions.is_empty() {
            break;
        }
        let asked = join_all(questions.iter().map(|question| ask(engine, &kinds, question))).await;
        for (question, (answer, said)) in questions.iter().zip(asked) {
            let hooks = hooks.iter().map(|hook| &hook.desired);
            let source = desired.iter().chain(hooks).find(|d| d.key() == question.key).map(|desired| &desired.source);
            for text in said {
                match source {
                    Some(at) => heard.push(said::finding(&text, &question.object, at)),
                    None => warnings.push(Problem::new("ServerWarning", text).about(question.object.clone())),
                }
            }
            answers.insert((question.key.clone(), question.asked), answer);
        }
    }
    let known = facts(engine, wanted.policies, &kinds, &snapshot, (&desired, &wanted.neighbours.namespaces)).await?;
    let input = plan::PlanInput { dry_runs: &answers, ..input };
    let (mut planned, writes) =
        if wanted.policies.is_empty() { (plan::plan(&input), Vec::new()) } else { plan::plan_with_writes(&input) };
    let mut findings = admit(&writes, wanted.policies, &known).map_err(|denied| Halt::Denied(denied.findings))?;
    said::add(&mut findings, heard);
    planned.plan.policy = findings;
    name_owners(engine, &mut planned).await;
    Ok(Looked { planned, snapshot, stored, warnings, hooks })
}

/// Brings one app to what it renders to, and waits until it is healthy.
pub async fn sync(engine: &Engine, wanted: &Wanted<'_>, orders: &HowTo<'_>) -> Synced {
    let key = match engine.digest_key().await {
        Ok(key) => key.to_vec(),
        Err(error) => return Synced::halted(api_halt(error)),
    };
    let (mut races, mut earlier) = (0, Vec::new());
    loop {
        let looked = match look(engine, wanted, &key).await {
            Ok(looked) => looked,
            Err(halt) => return Synced { earlier, ..Synced::halted(halt) },
        };
        if orders.runs.is_some_and(|runs| looked.stored.parent.digest.as_ref() != Some(runs)) {
            let halt = Halt::Held(Held {
                why: "something else was applied meanwhile".to_owned(),
                lift: Lift::Mend(wanted.app.name.clone()),
            });
            return Synced { earlier, ..Synced::halted(halt) };
        }
        let ended = sync_once(engine, wanted, orders, looked).await;
        match ended {
            Ok(mut synced) => {
                if earlier.len() >= CONFLICTS || !met_a_conflict(&synced) || orders.cancel.is_cancelled() {
                    synced.wrote |= !earlier.is_empty();
                    synced.earlier = earlier;
                    return *synced;
                }
                earlier.extend(synced.planned.take().zip(synced.carried.take()));
            }
            Err(ParentError::Conflict) if races < RACES => races += 1,
            Err(ParentError::Locked(holder)) => {
                tracing::info!(app = wanted.app.name, %holder, "waiting for the app's lock");
                if let Err(error) = await_lock(engine, wanted, orders, holder).await {
                    return Synced { earlier, ..Synced::halted(parent_halt(error)) };
                }
            }
            Err(error) => return Synced { earlier, ..Synced::halted(parent_halt(error)) },
        }
        // What was read before is outdated: it is why there was a conflict, or what the other process changed.
        engine.eyes.members.relist().await;
    }
}

/// True if a write was refused because its object is not what was planned with (409): nothing is resent, a new plan is
/// made.
fn met_a_conflict(synced: &Synced) -> bool {
    let failure = synced.carried.as_ref().and_then(Carried::failure);
    !synced.is_cancelled() && failure.is_some_and(|problem| problem.reason == "Conflict")
}

/// Waits until another process's lock is given back or runs out, as long as this sync may take.
async fn await_lock(
    engine: &Engine,
    wanted: &Wanted<'_>,
    orders: &HowTo<'_>,
    mut holder: crate::inventory::Holder,
) -> Result<(), ParentError> {
    let deadline = Instant::now() + orders.timeout;
    let namespace = default_namespace(engine, wanted.app);
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOCK_PAUSE) => {}
            () = orders.cancel.cancelled() => return Err(ParentError::Locked(holder)),
        }
        let mut stored = engine.parents.reload(&wanted.app.identity, &namespace).await?;
        match engine.parents.claim(&mut stored) {
            Err(ParentError::Locked(other)) => holder = other,
            _ => return Ok(()),
        }
        if Instant::now() >= deadline {
            return Err(ParentError::Locked(holder));
        }
    }
}

async fn sync_once(
    engine: &Engine,
    wanted: &Wanted<'_>,
    orders: &HowTo<'_>,
    looked: Looked,
) -> Result<Box<Synced>, ParentError> {
    let Looked { planned, mut stored, warnings, snapshot, hooks } = looked;
    let mut synced = Synced { warnings, ..Synced::halted(Halt::Suspended) };
    synced.halt = halt(&planned, &stored.parent, wanted, orders.despite_hold);
    if synced.halt.is_some() {
        synced.planned = Some(planned);
        synced.stored = Some(stored);
        return Ok(Box::new(synced));
    }
    let before = stored.parent.clone();
    let unreviewed = reviewed::unreviewed(&planned, &mut stored.parent, wanted, orders).await;
    if unreviewed.is_some() || waits_for_review(&stored.parent, wanted, orders.despite_hold) {
        stored.parent.hold = unreviewed;
        if stored.parent != before {
            engine.parents.save(&mut stored).await?;
        }
    }
    if waits_for_review(&stored.parent, wanted, orders.despite_hold) {
        synced.halt = held(&stored.parent, &wanted.rendered.digest, wanted.revision).map(Halt::Held);
        synced.planned = Some(planned);
        synced.stored = Some(stored);
        return Ok(Box::new(synced));
    }
    (orders.progress)(Progress::Planned(&planned));
    if orders.cancel.is_cancelled() && !planned.graph.steps.is_empty() {
        // Nothing is announced that nobody may be there to bring about, or to prune, any more.
        synced.carried = Some(Carried::not_begun(&planned.graph.steps));
        synced.planned = Some(planned);
        synced.stored = Some(stored);
        return Ok(Box::new(synced));
    }
    let begun = Instant::now();
    let deadline = begun + orders.timeout;
    if planned.graph.steps.is_empty() {
        remember_unchanged(engine, &mut stored, &planned, wanted).await?;
    } else {
        announce(&engine.parents, &mut stored, &planned, (wanted, &hooks)).await?;
        let run = stored.parent.syncs.first().map(|sync| sync.started.clone()).unwrap_or_default();
        synced.wrote = true;
        let mut lock = LockKeeper { parents: engine.parents.clone(), stored };
        let on_step = |number: usize, result: &StepResult| {
            (orders.progress)(Progress::Step(&planned, number, result));
        };
        let applyset = wanted.app.identity.applyset_id(engine.parents.namespace());
        let executor = Orders {
            run: &run,
            applyset: &applyset,
            steps: &planned.graph.steps,
            best_effort: wanted.app.plan.best_effort,
            deadline,
            cancel: orders.cancel,
            on_step: &on_step,
        };
        let mut carried = carry_out(engine, &executor, &mut lock).await;
        place_failures(&mut carried, &planned);
        if carried.failure().is_some_and(|problem| problem.reason != "Conflict") || carried.is_unhealthy() {
            run_failure_hooks(engine, &planned, &executor, &mut lock).await;
        }
        stored = lock.stored;
        take_in_results(&mut stored.parent, &planned, &carried, wanted, engine.digest_key().await?);
        note_finished(engine, &mut stored.parent);
        conclude(&mut stored, &carried, wanted);
        save_stubbornly(&engine.parents, &mut stored).await?;
        synced.carried = Some(carried);
    }
    let wrote_at = synced.carried.as_ref().and_then(|carried| carried.wrote_at);
    synced.applied_at = Some(wrote_at.unwrap_or_else(Instant::now));
    let complete = synced.carried.as_ref().is_none_or(Carried::is_complete);
    if orders.wait && complete {
        (orders.progress)(Progress::Applied);
        // Drift that is only told is nothing that this sync can make healthy: waited for, it would end every later one.
        // What is about to be another app's is that app's to wait for: it may delete it meanwhile.
        let is_left = |object: &ObjectRef| {
            let key = object.key();
            planned.leaving.contains(&key) || (!wanted.app.plan.self_heal && planned.drifted.contains(&key))
        };
        let members = stored.parent.members.iter().map(|m| m.object.clone());
        let members: Vec<ObjectRef> = members.filter(|object| !is_left(object)).collect();
        let report = await_health(engine, &members, deadline, orders.cancel).await;
        if report.is_healthy() {
            synced.healthy_at = Some(Instant::now());
        }
        note_afterwards(engine, &mut stored, wanted, report.is_healthy()).await?;
        synced.health = Some(report);
        // Held while its health was waited for: what is healthy is what somebody went back to.
        if !orders.despite_hold {
            synced.halt = held(&stored.parent, &wanted.rendered.digest, wanted.revision).map(Halt::Held);
        }
    }
    let over = complete && wanted.app.plan.app_removed && owns_nothing(engine, &stored, &snapshot, wanted);
    if over && engine.parents.claim(&mut stored.clone()).is_ok() {
        engine.parents.delete(&stored).await?;
    }
    synced.planned = Some(planned);
    synced.stored = Some(stored);
    Ok(Box::new(synced))
}

/// Where in the repository what failed comes from.
fn place_failures(carried: &mut Carried, planned: &Planned) {
    for (result, step) in carried.results.iter_mut().zip(&planned.graph.steps) {
        let StepState::Failed(problem) = &mut result.state else { continue };
        let source = step.change.and_then(|change| planned.plan.changes.get(change)?.source.as_ref());
        if let Some(source) = source.filter(|_| problem.file.is_none()) {
            *problem = problem.clone().at(&source.file, source.line);
        }
    }
}

/// What runs if a sync fails. Its own failure is logged: the sync's is what is reported.
async fn run_failure_hooks(engine: &Engine, planned: &Planned, orders: &Orders<'_>, lock: &mut LockKeeper) {
    if planned.on_failure.is_empty() {
        return;
    }
    let deadline = Instant::now() + FAILURE_HOOKS;
    let orders = Orders { steps: &planned.on_failure, deadline, on_step: &|_, _| {}, ..*orders };
    let carried = carry_out(engine, &orders, lock).await;
    if let Some(problem) = carried.failure() {
        tracing::warn!(app = planned.plan.name, %problem, "a hook for a failed sync failed too");
    }
}

/// True if an app that is gone from Git has left nothing behind, so that its inventory can go too.
fn owns_nothing(engine: &Engine, stored: &StoredParent, snapshot: &LiveSnapshot, wanted: &Wanted<'_>) -> bool {
    let id = wanted.app.identity.applyset_id(engine.parents.namespace());
    let ours = |presence: &Presence| match presence {
        Presence::Present(live) => live.label(crate::inventory::identity::PART_OF) == Some(&id),
        Presence::Absent => false,
        Presence::Unknown(_) => true,
    };
    // What this sync deleted is still in the snapshot that it began with.
    let remains =
        |key: &ObjectKey| snapshot.objects.get(key).is_some_and(ours) && engine.eyes.members.find(key).is_some();
    stored.parent.members.is_empty() && !snapshot.objects.keys().any(remains)
}

/// Why nothing of this plan may be carried out, if so.
fn halt(planned: &Planned, parent: &Parent, wanted: &Wanted<'_>, despite_hold: bool) -> Option<Halt> {
    if !despite_hold {
        if parent.suspended {
            return Some(Halt::Suspended);
        }
        let held = held(parent, &wanted.rendered.digest, wanted.revision);
        // One that waits for a review is judged anew: a merge lifts it.
        if let Some(held) = held.filter(|held| !matches!(held.lift, Lift::Approve(_))) {
            return Some(Halt::Held(held));
        }
    }
    let blocking: Vec<Problem> =
        planned.problems.iter().filter(|found| found.blocks).map(|found| found.problem.clone()).collect();
    // With `apply = "best-effort"` what is accepted is carried out: the graph holds it.
    let some = wanted.app.plan.best_effort && !planned.graph.steps.is_empty();
    if !blocking.is_empty() && !some {
        return Some(Halt::Failed(blocking));
    }
    let refused = planned.refusals.iter().filter(|refusal| refusal.blocks());
    let refused: Vec<Problem> = refused.map(|refusal| refusal.problem(&wanted.app.name)).collect();
    (!refused.is_empty()).then_some(Halt::Refused(refused))
}

/// True for content that is held as nobody saw what it takes away.
fn waits_for_review(parent: &Parent, wanted: &Wanted<'_>, despite_hold: bool) -> bool {
    let hold = hold_on(parent, &wanted.rendered.digest, wanted.revision);
    !despite_hold && hold.is_some_and(Hold::is_unreviewed)
}

/// The hold on this content. A hold is on content: a revision that renders to the same is held too, one that renders to
/// something else is not.
pub fn hold_on<'p>(parent: &'p Parent, digest: &Digest, revision: &Revision) -> Option<&'p Hold> {
    parent.hold.as_ref().filter(|hold| match &hold.digest {
        Some(held) => held == digest,
        None => hold.revision == revision.as_str(),
    })
}

/// Why this content is held, if it is.
pub fn held(parent: &Parent, digest: &Digest, revision: &Revision) -> Option<Held> {
    let hold = hold_on(parent, digest, revision)?;
    let app = parent.identity.app.clone();
    let lift = if hold.is_unreviewed() { Lift::Approve(app) } else { Lift::Resume(app) };
    Some(Held { why: format!("held since {}: {}", hold.since, hold.reason), lift })
}

/// The namespace of objects that name none: the app's, else the kubeconfig context's.
pub fn default_namespace(engine: &Engine, app: &App) -> String {
    app.namespace.clone().unwrap_or_else(|| engine.client.default_namespace().to_owned())
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn api_halt(error: ApiError) -> Halt {
    Halt::Failed(vec![error.problem()])
}

fn parent_halt(error: ParentError) -> Halt {
    Halt::Failed(vec![error.into()])
}

/// Presence in a snapshot as the caller's words.
pub fn is_present(snapshot: &LiveSnapshot, key: &ObjectKey) -> bool {
    matches!(snapshot.objects.get(key), Some(Presence::Present(_)))
}
