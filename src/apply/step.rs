//! One step of a graph as requests to the API server.

use super::write::{self, ApplyMode, HANDOVER, MANAGER, Precondition, Propagation, Written};
use crate::engine::Engine;
use crate::inventory::identity::PART_OF;
use crate::live::client::ApiError;
use crate::live::kinds::Kind;
use crate::live::observe::get;
use crate::object::{Gk, Manifest, ObjectKey, ObjectRef, Problem};
use crate::plan::{Payload, Step, StepKind, migrate_managed_fields};
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How long a kind may take to be served after its CRD was established.
const SERVED_WITHIN: Duration = Duration::from_secs(30);
/// A watch may miss a deletion of an object that lost its label: it is asked for so often.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Looks at an object that keeps changing, before its deletion is left to the next plan.
const CHANGED: usize = 8;

/// How long what this sync has written may take to have its effect on other objects.
const TAKES_EFFECT: Duration = Duration::from_secs(10);
/// Between two questions whether it has.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// True for a "no" that what this plan did before turns into a "yes", once controllers have followed.
fn takes_effect_soon(error: &ApiError) -> bool {
    let ApiError::Status { code, message, .. } = error else { return false };
    let said = |words: &[&str]| words.iter().any(|words| message.contains(words));
    match code {
        404 => true,
        422 => said(&["provided port is already allocated"]),
        403 => said(&["exceeded quota", "status unknown for quota"]),
        400 | 500 => {
            said(&["field not declared in schema", "unknown field", "invalid object type", "no kind is registered"])
        }
        _ => false,
    }
}

/// Reason of a hook's failure.
pub const HOOK_FAILED: &str = "HookFailed";

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The API server said no, or nothing.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The cluster does not serve the kind.
    #[error("the cluster does not serve {0}")]
    NotServed(String),
    /// A deletion is stuck.
    #[error("it is still there: {0}")]
    Stuck(String),
    /// A hook failed, or did not end in time; the uid of the object that ran, if one did.
    #[error("the hook failed: {message}")]
    Hook {
        /// Its uid.
        uid: Option<String>,
        /// Why, with the last lines of its log.
        message: String,
    },
    /// Stopped while it waited.
    #[error("stopped while waiting")]
    Cancelled,
}

impl StepError {
    /// As it is told, about the step's object.
    pub fn problem(self, step: &Step) -> Problem {
        let problem = match self {
            Self::Api(error) if error.is_conflict() && !error.is_already_exists() => {
                error.problem().hint("it changed while it was being synced; the next sync plans anew")
            }
            Self::Api(error) => error.problem(),
            Self::NotServed(_) => Problem::new("KindNotServed", self.to_string())
                .hint("install its CustomResourceDefinition first, or add it to this app"),
            Self::Stuck(_) => Problem::new("DeletionStuck", self.to_string())
                .hint("see its finalizers, and whose controller removes them"),
            Self::Hook { .. } => Problem::new(HOOK_FAILED, self.to_string())
                .hint("see the hook's pods; push a fix, or `driftless sync` to run it once more (first `driftless resume` where the app is held)"),
            Self::Cancelled => Problem::new("Stopped", self.to_string()),
        };
        match &step.object {
            Some(object) => problem.about(object.clone()),
            None => problem,
        }
    }
}

/// Carries out steps.
pub struct Hands<'a> {
    pub(super) engine: &'a Engine,
    /// Which sync this is, for hooks.
    pub(super) run: &'a str,
    applyset: &'a str,
}

impl<'a> Hands<'a> {
    /// Hands on a cluster, for the sync called `run` of the app with this ApplySet id.
    pub fn new(engine: &'a Engine, run: &'a str, applyset: &'a str) -> Self {
        Self { engine, run, applyset }
    }

    /// Carries one step out. `None` where nothing is left (a delete) or nothing was written (a gate).
    ///
    /// # Errors
    /// As [`StepError`] says; a deletion that is waited for gives up at `deadline`.
    pub async fn perform(
        &self,
        step: &Step,
        deadline: Instant,
        cancel: &CancellationToken,
    ) -> Result<Option<Written>, StepError> {
        let Some(object) = &step.object else { return Ok(None) };
        if matches!(step.kind, StepKind::Gate { .. }) {
            return Ok(None);
        }
        let kind = self.kind(object).await?;
        let at = Place { kind: &kind, version: kind.version_or_preferred(&object.version), key: object.key() };
        let patience = Patience { deadline, cancel };
        match &step.kind {
            StepKind::Gate { .. } => Ok(None),
            StepKind::AwaitGone { uid } => self.await_gone(&at, uid, &patience).await.map(|()| None),
            StepKind::Migrate { patch, managers } => self.migrate(&at, patch, managers).await.map(Some),
            StepKind::Handover { body } => self.apply(&at, body, HANDOVER, false).await.map(Some),
            StepKind::Apply { body, force, preflight, .. } => {
                let written = match preflight {
                    true => self.apply_late(&at, body, *force, &patience).await?,
                    false => self.apply(&at, body, MANAGER, *force).await?,
                };
                self.learn_new_kinds(object).await;
                Ok(Some(written))
            }
            StepKind::Replace { uid, body } => {
                write::dry_run_create(&self.engine.client, at.kind, at.version, &body.0).await?;
                self.delete(&at, uid, &patience).await?;
                self.apply(&at, body, MANAGER, false).await.map(Some)
            }
            StepKind::Delete { uid } => self.delete(&at, uid, &patience).await.map(|()| None),
            StepKind::Hook { body, .. } => self.hook(&at, body, &patience).await.map(Some),
        }
    }

    /// After a hook's result was recorded: its object is let go, and deleted where its policy says so.
    ///
    /// # Errors
    /// As [`StepError`] says; the next sync does what was left.
    pub async fn end(&self, step: &Step, uid: &str, succeeded: bool) -> Result<(), StepError> {
        let (Some(object), StepKind::Hook { deletion, .. }) = (&step.object, &step.kind) else { return Ok(()) };
        let kind = self.kind(object).await?;
        let at = Place { kind: &kind, version: kind.version_or_preferred(&object.version), key: object.key() };
        self.end_hook(&at, uid, succeeded, *deletion).await
    }

    /// An apply that needs what this sync has just written, changed or deleted. A controller may take a moment to bring
    /// that about: a schema to be served, a node port or a quota to be free. Such a "no" is asked again for a while.
    async fn apply_late(
        &self,
        at: &Place<'_>,
        body: &Payload,
        force: bool,
        patience: &Patience<'_>,
    ) -> Result<Written, StepError> {
        let until = patience.deadline.min(Instant::now() + TAKES_EFFECT);
        loop {
            let result = match self.preflight(at, body, force).await {
                Ok(()) => self.apply(at, body, MANAGER, force).await,
                Err(error) => Err(error),
            };
            match result {
                Err(StepError::Api(error)) if takes_effect_soon(&error) && Instant::now() < until => {
                    tracing::debug!(object = %at.key, %error, "not accepted yet, asking again");
                    tokio::select! {
                        () = tokio::time::sleep(ASK_AGAIN) => {}
                        () = patience.cancel.cancelled() => return Err(StepError::Cancelled),
                    }
                }
                other => return other,
            }
        }
    }

    /// The dry-run that could not be made before the sync began: it needs what this sync has just written.
    async fn preflight(&self, at: &Place<'_>, body: &Payload, force: bool) -> Result<(), StepError> {
        let mode = ApplyMode { manager: MANAGER, force, dry_run: true };
        Ok(write::apply(&self.engine.client, at.kind, at.version, &at.key, &body.0, mode).await.map(drop)?)
    }

    async fn apply(
        &self,
        at: &Place<'_>,
        body: &Payload,
        manager: &'static str,
        force: bool,
    ) -> Result<Written, StepError> {
        let mode = ApplyMode { manager, force, dry_run: false };
        Ok(write::apply(&self.engine.client, at.kind, at.version, &at.key, &body.0, mode).await?)
    }

    /// Sends the patch; where the object changed meanwhile, one made from what it is now, a few times.
    async fn migrate(&self, at: &Place<'_>, patch: &Payload, managers: &[String]) -> Result<Written, StepError> {
        let client = &self.engine.client;
        let mut result = write::json_patch(client, at.kind, at.version, &at.key, &patch.0).await;
        for _ in 0..3 {
            match result {
                Err(ref error) if error.is_conflict() || error.code() == Some(422) => {}
                other => return Ok(other?),
            }
            let Some(live) = get(client, at.kind, at.version, &at.key).await? else { break };
            let Some(fresh) = migrate_managed_fields(&live, managers) else {
                return Ok(Written { live, warnings: Vec::new() });
            };
            result = write::json_patch(client, at.kind, at.version, &at.key, &fresh).await;
        }
        Ok(result?)
    }

    /// Deletes this very object. One that has become another app's in the meantime is left to it: a uid says that it is
    /// the same object, not whose it is, and what a plan knows of that may be what a slow watch said.
    pub(super) async fn delete(&self, at: &Place<'_>, uid: &str, patience: &Patience<'_>) -> Result<(), StepError> {
        let client = &self.engine.client;
        let mut tries = 0;
        loop {
            let found = get(client, at.kind, at.version, &at.key).await?;
            let Some(live) = found.filter(|live| live.uid() == Some(uid)) else {
                self.engine.eyes.members.forget(&at.key, Some(uid));
                return Ok(());
            };
            if live.label(PART_OF).is_some_and(|owner| owner != self.applyset) {
                // Its new app waits for its health, and finds it where it found it before.
                self.engine.eyes.members.absorb(&Arc::new(live));
                return Ok(());
            }
            let this = Precondition { uid, resource_version: live.resource_version() };
            match write::delete(client, at.kind, at.version, &at.key, this, Propagation::Foreground).await {
                Err(error) if error.is_conflict() && tries < CHANGED => tries += 1,
                other => break other?,
            }
        }
        self.await_gone(at, uid, patience).await
    }

    /// Waits until the object with this uid is gone: the watch says when to look.
    async fn await_gone(&self, at: &Place<'_>, uid: &str, patience: &Patience<'_>) -> Result<(), StepError> {
        let mut pulse = self.engine.eyes.members.changes();
        loop {
            pulse.borrow_and_update();
            let found = get(&self.engine.client, at.kind, at.version, &at.key).await?;
            let Some(live) = found.filter(|live| live.uid() == Some(uid)) else {
                self.engine.eyes.members.forget(&at.key, Some(uid));
                return Ok(());
            };
            if Instant::now() >= patience.deadline {
                return Err(StepError::Stuck(finalizers(live.value())));
            }
            let seen = || self.engine.eyes.members.find(&at.key).and_then(|l| l.uid().map(str::to_owned));
            loop {
                let limit = patience.deadline.min(Instant::now() + LOOK_AGAIN);
                tokio::select! {
                    changed = pulse.changed() => {
                        // Others' changes move the pulse too: only ours gone from the cache is worth a request.
                        if changed.is_err() || seen().as_deref() != Some(uid) { break; }
                    }
                    () = tokio::time::sleep_until(limit.into()) => break,
                    () = patience.cancel.cancelled() => return Err(StepError::Cancelled),
                }
            }
        }
    }

    /// The kind; one that a CRD of this sync brings may take a moment to be served.
    async fn kind(&self, object: &ObjectRef) -> Result<Kind, StepError> {
        let gk = object.gvk().gk();
        if let Some(kind) = self.engine.kinds().await?.get(&gk) {
            return Ok(kind.clone());
        }
        let until = Instant::now() + SERVED_WITHIN;
        let mut pause = Duration::from_millis(50);
        loop {
            if let Some(kind) = self.engine.rediscover().await?.get(&gk) {
                let kind = kind.clone();
                self.engine.eyes.members.watch(&kind, kind.version_or_preferred(&object.version));
                return Ok(kind);
            }
            if Instant::now() >= until {
                return Err(StepError::NotServed(object.gvk().to_string()));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    /// What was discovered is outdated once a CRD or an APIService changed.
    async fn learn_new_kinds(&self, object: &ObjectRef) {
        let gk: Gk = object.gvk().gk();
        let brings_kinds =
            gk.is("apiextensions.k8s.io", "CustomResourceDefinition") || gk.is("apiregistration.k8s.io", "APIService");
        if brings_kinds && let Err(error) = self.engine.rediscover().await {
            tracing::warn!(%error, "discovery failed after a new kind was installed");
        }
    }
}

pub(super) struct Place<'a> {
    pub(super) kind: &'a Kind,
    pub(super) version: &'a str,
    pub(super) key: ObjectKey,
}

pub(super) struct Patience<'a> {
    pub(super) deadline: Instant,
    pub(super) cancel: &'a CancellationToken,
}

fn finalizers(live: &Value) -> String {
    let names: Vec<&str> = live
        .pointer("/metadata/finalizers")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if names.is_empty() {
        "no finalizer is left; its dependants may be".to_owned()
    } else {
        format!("finalizers {}", names.join(", "))
    }
}
