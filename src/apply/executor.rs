//! Carries out a plan's graph: starts each step the moment what it waits for is ready, in parallel where the graph lets it.
//!
//! In: steps, the engine, a deadline, a way to be stopped. Out: what became of each step, with what the server answered.
//! No polling: the loop sleeps until a write ends, the cluster's objects change, or time alone changes a verdict. It stops
//! at safe points only: a write that was begun is waited for. The caller holds the app's lock and has written the new
//! members ahead; [`Keeper::renew`] is called while this runs.

use super::machine::{Blocker, Gate, Machine, Node, StepState};
use super::step::{Hands, StepError};
use super::write::Written;
use crate::engine::Engine;
use crate::health::Health;
use crate::inventory::HookRecord;
use crate::object::{Live, Manifest, ObjectKey, Problem};
use crate::plan::{Step, StepKind};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Writes under way at once, per app.
const PARALLEL: usize = 8;
/// How often the lock is renewed while a sync runs.
const RENEW: Duration = Duration::from_secs(10);
/// How often an object is looked at whose kind cannot be watched.
const UNWATCHED: Duration = Duration::from_secs(2);
/// Said of steps that a stop kept from starting.
const STOPPED: &str = "not started: the sync was stopped";
/// The same, when another process may be at work.
const LOST: &str = "not started: the app's lock was lost";

/// Keeps the app's lock alive.
pub trait Keeper: Send {
    /// True until it runs out by this machine's clock.
    fn holds(&self) -> bool;

    /// Renews it.
    ///
    /// # Errors
    /// When it is lost: nothing may be written any more.
    fn renew(&mut self) -> impl Future<Output = Result<(), Problem>> + Send;

    /// Keeps what a hook came to, before its object may go.
    ///
    /// # Errors
    /// When it cannot be kept: the hook's object stays as it is.
    fn record(&mut self, hook: HookRecord) -> impl Future<Output = Result<(), Problem>> + Send;
}

/// What became of one step.
#[derive(Debug, Clone)]
pub struct StepResult {
    /// Its final state.
    pub state: StepState,
    /// What the server answered to its write.
    pub live: Option<Arc<Live>>,
    /// `Warning` headers.
    pub warnings: Vec<String>,
    /// How long the write took.
    pub took: Duration,
}

/// What became of a graph.
#[derive(Debug, Clone)]
pub struct Carried {
    /// One result per step.
    pub results: Vec<StepResult>,
    /// Why it ended early, if it did.
    pub stopped: Option<Stop>,
    /// When the last write was answered; what came after was waiting for health.
    pub wrote_at: Option<Instant>,
}

impl Carried {
    /// A graph of which nothing was begun: told to stop before.
    pub fn not_begun(steps: &[Step]) -> Self {
        let state = StepState::Skipped(STOPPED.to_owned());
        let skipped = StepResult { state, live: None, warnings: Vec::new(), took: Duration::ZERO };
        Self { results: vec![skipped; steps.len()], stopped: Some(Stop::Cancelled), wrote_at: None }
    }

    /// True if every step was carried out.
    pub fn is_complete(&self) -> bool {
        self.results.iter().all(|r| r.state == StepState::Written)
    }

    /// True if it ended because something did not become healthy in time.
    pub fn is_unhealthy(&self) -> bool {
        matches!(self.stopped, Some(Stop::NotHealthy(_)))
    }

    /// The first failure.
    pub fn failure(&self) -> Option<&Problem> {
        self.failures().next()
    }

    /// Every failure.
    pub fn failures(&self) -> impl Iterator<Item = &Problem> {
        self.results.iter().filter_map(|r| match &r.state {
            StepState::Failed(problem) => Some(problem),
            _ => None,
        })
    }
}

/// Why a sync ended early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// It was told to: superseded, or shutting down.
    Cancelled,
    /// Something did not become healthy in time: what was waited for, and why.
    NotHealthy(String),
    /// The lock was lost.
    LockLost(String),
}

/// How a graph is carried out.
#[derive(Clone, Copy)]
pub struct Orders<'a> {
    /// Which sync this is: hooks run once for it.
    pub run: &'a str,
    /// Whose sync it is: what has another ApplySet's label is not deleted.
    pub applyset: &'a str,
    /// The steps, in the graph's order.
    pub steps: &'a [Step],
    /// After a failure go on with what does not depend on it.
    pub best_effort: bool,
    /// When to give up waiting for health.
    pub deadline: Instant,
    /// Stops at the next safe point.
    pub cancel: &'a CancellationToken,
    /// Told whenever a step ends.
    pub on_step: &'a (dyn Fn(usize, &StepResult) + Send + Sync),
}

/// Carries the graph out.
pub async fn carry_out(engine: &Engine, orders: &Orders<'_>, keeper: &mut impl Keeper) -> Carried {
    let nodes = orders.steps.iter().map(|s| Node { needs: s.needs.iter().map(|id| id.0).collect() }).collect();
    let mut machine = Machine::new(nodes, orders.best_effort, PARALLEL);
    let hands = Hands::new(engine, orders.run, orders.applyset);
    let mut lives: Vec<Option<Arc<Live>>> = vec![None; orders.steps.len()];
    let mut warnings: Vec<Vec<String>> = vec![Vec::new(); orders.steps.len()];
    let mut took = vec![Duration::ZERO; orders.steps.len()];
    let mut running = FuturesUnordered::new();
    let mut pulse = engine.eyes.members.changes();
    let mut renewal = tokio::time::interval_at(tokio::time::Instant::now() + RENEW, RENEW);
    let mut stopped = None;
    let mut wrote_at = None;
    watch_what_is_waited_for(engine, orders.steps).await;

    while !machine.is_done() {
        pulse.borrow_and_update();
        if orders.cancel.is_cancelled() && stopped.is_none() {
            // Before anything is started: a stop that came with another event, or before the first step.
            machine.stop(STOPPED);
            stopped = Some(Stop::Cancelled);
        }
        // A process that stood still (stopped, a laptop's lid) wakes up here, and another may have the lock by now.
        if stopped.is_none()
            && !keeper.holds()
            && let Err(problem) = keeper.renew().await
        {
            machine.stop(LOST);
            stopped = Some(Stop::LockLost(problem.message));
        }
        let mut wake = Wake::new(orders.deadline);
        let starting = machine.start(|number| gate(engine, &orders.steps[number], &mut wake));
        for number in starting.iter().copied() {
            let step = &orders.steps[number];
            let hands = &hands;
            running.push(async move {
                let begun = Instant::now();
                let result = hands.perform(step, orders.deadline, orders.cancel).await;
                (number, result, begun.elapsed())
            });
        }
        if machine.is_done() {
            break;
        }
        tokio::select! {
            Some((number, result, elapsed)) = running.next() => {
                took[number] = elapsed;
                if orders.steps[number].object.is_some() {
                    wrote_at = Some(Instant::now());
                }
                let result = settle_hook(&hands, &orders.steps[number], keeper, result).await;
                let result = result.map(|written| {
                    if let Some(written) = written {
                        warnings[number] = written.warnings;
                        let live = Arc::new(written.live);
                        engine.eyes.members.absorb(&live);
                        lives[number] = Some(live);
                    }
                });
                let stop = matches!(result, Err(StepError::Cancelled));
                machine.finished(number, result.map_err(|error| error.problem(&orders.steps[number])));
                if stop { stopped.get_or_insert(Stop::Cancelled); }
                (orders.on_step)(number, &StepResult {
                    state: machine.states()[number].clone(), live: lives[number].clone(),
                    warnings: warnings[number].clone(), took: elapsed,
                });
            }
            _ = pulse.changed() => {}
            () = tokio::time::sleep_until(wake.at.into()), if stopped.is_none() => {
                if Instant::now() >= orders.deadline {
                    let why = waiting_for(engine, orders.steps, &machine);
                    machine.stop(&format!("not started: {why}"));
                    stopped = Some(Stop::NotHealthy(why));
                }
            }
            () = orders.cancel.cancelled(), if stopped.is_none() => {
                machine.stop(STOPPED);
                stopped = Some(Stop::Cancelled);
            }
            _ = renewal.tick() => {
                if let Err(problem) = keeper.renew().await {
                    machine.stop(LOST);
                    stopped.get_or_insert(Stop::LockLost(problem.message));
                }
            }
        }
    }
    drop(running);
    let results = machine.states().iter().cloned().zip(lives).zip(warnings).zip(took);
    let results = results.map(|(((state, live), warnings), took)| StepResult { state, live, warnings, took }).collect();
    Carried { results, stopped, wrote_at }
}

/// A hook's end: its result is recorded, and then its object may go.
async fn settle_hook(
    hands: &Hands<'_>,
    step: &Step,
    keeper: &mut impl Keeper,
    result: Result<Option<Written>, StepError>,
) -> Result<Option<Written>, StepError> {
    let (StepKind::Hook { phase, .. }, Some(object)) = (&step.kind, &step.object) else { return result };
    let (uid, message) = match &result {
        Ok(Some(written)) => (written.live.uid().map(str::to_owned), String::new()),
        Err(StepError::Hook { uid, message }) => (uid.clone(), message.clone()),
        _ => (None, String::new()),
    };
    let Some(uid) = uid else { return result };
    let (object, run, succeeded) = (object.clone(), hands.run.to_owned(), result.is_ok());
    let record = HookRecord { object, phase: *phase, run, uid: uid.clone(), succeeded, message };
    let ended = match keeper.record(record).await {
        Ok(()) => hands.end(step, &uid, succeeded).await,
        Err(problem) => {
            tracing::warn!(%problem, "a hook's result could not be recorded; its object stays");
            return result;
        }
    };
    if let Err(error) = ended {
        tracing::warn!(%error, "a hook's object is still there");
    }
    result
}

/// The next moment at which time alone may change something.
struct Wake {
    at: Instant,
}

impl Wake {
    fn new(deadline: Instant) -> Self {
        Self { at: deadline }
    }

    fn at_most(&mut self, recheck: Option<Timestamp>) {
        if let Some(recheck) = recheck {
            let left =
                Timestamp::now().until(recheck).ok().and_then(|s| Duration::try_from(s).ok()).unwrap_or_default();
            self.at = self.at.min(Instant::now() + left.max(Duration::from_millis(10)));
        }
    }

    fn soon(&mut self) {
        self.at = self.at.min(Instant::now() + UNWATCHED);
    }
}

/// Kinds of what is written are watched while the graph runs, so that their health is seen when it changes.
async fn watch_what_is_waited_for(engine: &Engine, steps: &[Step]) {
    let Ok(kinds) = engine.kinds().await else { return };
    let objects = steps.iter().filter_map(|step| step.object.as_ref());
    for object in objects {
        if let Some(kind) = kinds.get(&object.gvk().gk()).filter(|kind| kind.listable) {
            engine.eyes.members.watch(kind, kind.version_or_preferred(&object.version));
        }
    }
}

/// Is everything that this step waits for healthy?
fn gate(engine: &Engine, step: &Step, wake: &mut Wake) -> Gate {
    for key in &step.wait_for_health_of {
        let gate = health_gate(engine, key, wake);
        if gate != Gate::Open {
            return gate;
        }
    }
    Gate::Open
}

fn health_gate(engine: &Engine, key: &ObjectKey, wake: &mut Wake) -> Gate {
    let Some(live) = engine.eyes.members.find(key) else { return Gate::Open };
    if engine.eyes.members.error(&live.gvk()).is_some() {
        wake.soon();
    }
    let assessment = engine.doctor.assess(&live, Timestamp::now());
    wake.at_most(assessment.recheck_at);
    if !assessment.gates || matches!(assessment.health, Health::Healthy | Health::Suspended) {
        return Gate::Open;
    }
    Gate::Closed(format!("{key} is {}: {}", assessment.health, assessment.message))
}

/// What the sync waits for, in words.
fn waiting_for(engine: &Engine, steps: &[Step], machine: &Machine) -> String {
    let mut wake = Wake::new(Instant::now());
    let mut gate = |number: usize| gate(engine, &steps[number], &mut wake);
    let waiting = machine.states().iter().enumerate().filter(|(_, state)| **state == StepState::Waiting);
    let unhealthy = waiting.filter_map(|(number, _)| match machine.blocker(number, &mut gate) {
        Some(Blocker::Health(why)) => Some(why),
        _ => None,
    });
    unhealthy.into_iter().next().unwrap_or_else(|| {
        let running = machine.states().iter().zip(steps).find(|(state, _)| **state == StepState::Running);
        match running.and_then(|(_, step)| Some((&step.kind, step.object.as_ref()?))) {
            Some((StepKind::Hook { .. }, object)) => format!("hook {object} has not ended"),
            Some((StepKind::Delete { .. } | StepKind::AwaitGone { .. }, object)) => format!("{object} is not gone yet"),
            Some((_, object)) => format!("the cluster has not answered about {object} yet"),
            None => "nothing can go on".to_owned(),
        }
    })
}
