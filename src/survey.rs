//! One app's status: where it stands against Git, its health, its score, and its drift with who made it. Writes nothing.

use crate::apply::parents::is_dead;
use crate::engine::Engine;
use crate::health::wait::look_at;
use crate::health::{Health, ready_fraction};
use crate::object::{FieldSet, Live, ObjectRef};
use crate::plan::Planned;
use crate::plan::change::{Action, Change};
use crate::policy::PolicySet;
use crate::reconcile::{Halt, Looked, Wanted, held, look};
use crate::report::status_report::{AppStatus, DriftEntry, ObjectStatus, SyncState};
use crate::scheduling::score::monitoring;
use crate::scope::{Member, Neighbours};
use crate::source::Revision;
use jiff::Timestamp;
use serde_json::Value;

/// Looks at one app.
pub async fn survey(
    engine: &Engine,
    member: &Member,
    revision: &Revision,
    policies: &PolicySet,
    neighbours: &Neighbours,
    key: &[u8],
) -> AppStatus {
    let app = &member.app;
    let mut status = AppStatus {
        name: app.name.clone(),
        cluster: app.cluster.clone(),
        revision: Some(revision.to_string()),
        applied_revision: None,
        sync: SyncState::Failed,
        health: Health::Unknown,
        score: None,
        message: String::new(),
        drift: Vec::new(),
        objects: Vec::new(),
    };
    let rendered = match member.rendered.as_ref() {
        Ok(rendered) => rendered,
        Err(problems) => {
            status.message = problems.first().map(ToString::to_string).unwrap_or_default();
            // What was applied before goes on running.
            let namespace = crate::reconcile::default_namespace(engine, app);
            if let Ok(stored) = engine.parents.load(&app.identity, &namespace).await {
                status.applied_revision.clone_from(&stored.parent.revision);
                let members: Vec<ObjectRef> = stored.parent.members.iter().map(|m| m.object.clone()).collect();
                if let Some(kinds) = engine.kinds().await.ok().filter(|_| !members.is_empty()) {
                    let id = app.identity.applyset_id(engine.parents.namespace());
                    engine.eyes.observe(&kinds, &members, (&id, &stored.parent.members)).await;
                    look_at_members(engine, &members, &mut status).await;
                }
            }
            return status;
        }
    };
    let wanted = Wanted { app, revision, rendered, policies, neighbours };
    let looked = match look(engine, &wanted, key).await {
        Ok(looked) => looked,
        Err(halt) => {
            status.message = match halt {
                Halt::Failed(problems) | Halt::Refused(problems) => {
                    problems.first().map(ToString::to_string).unwrap_or_default()
                }
                Halt::Denied(findings) => findings.first().map(|f| f.message.clone()).unwrap_or_default(),
                Halt::Held(held) => held.why,
                Halt::Suspended => "suspended".into(),
            };
            return status;
        }
    };
    let parent = &looked.stored.parent;
    status.applied_revision = parent.revision.clone();
    (status.sync, status.message) = sync_state(&looked, rendered, revision);
    status.drift = drift(&looked.planned, &looked);
    let members: Vec<ObjectRef> = parent.members.iter().map(|m| m.object.clone()).collect();
    look_at_members(engine, &members, &mut status).await;
    if members.is_empty() {
        status.health = Health::Missing;
    }
    status
}

/// Health and score of the objects that are the app's.
async fn look_at_members(engine: &Engine, members: &[ObjectRef], status: &mut AppStatus) {
    let report = look_at(engine, members).await;
    status.health = report.gating();
    status.score = score(engine, members);
    if status.message.is_empty() && !report.is_healthy() {
        status.message = report.message();
    }
    let object = |(object, a): (ObjectRef, crate::health::Assessment)| ObjectStatus {
        object,
        health: a.health,
        message: a.message,
    };
    status.objects = report.objects.into_iter().map(object).collect();
}

/// The monitoring score over the app's workloads.
pub fn score(engine: &Engine, members: &[ObjectRef]) -> Option<f64> {
    let fractions: Vec<f64> = members
        .iter()
        .filter_map(|object| engine.eyes.members.find(&object.key()))
        .filter_map(|live| ready_fraction(&live))
        .collect();
    (!fractions.is_empty()).then(|| monitoring(&fractions))
}

fn sync_state(looked: &Looked, rendered: &crate::render::Rendered, revision: &Revision) -> (SyncState, String) {
    let stored = &looked.stored;
    if stored.parent.suspended {
        let waits =
            if looked.planned.has_changes() { format!("; waits: {}", counts(&looked.planned)) } else { String::new() };
        return (SyncState::Suspended, format!("suspended by hand{waits}"));
    }
    let now = Timestamp::now();
    if stored.lock.as_ref().is_some_and(|lock| lock.expires > now && !is_dead(&lock.holder)) {
        return (SyncState::Syncing, String::new());
    }
    if let Some(held) = held(&stored.parent, &rendered.digest, revision) {
        return (SyncState::Held, held.why);
    }
    let planned = &looked.planned;
    if let Some(found) = planned.problems.first() {
        return (SyncState::Failed, found.problem.to_string());
    }
    if let Some(refusal) = planned.refusals.first() {
        let state = if refusal.blocks() { SyncState::Failed } else { SyncState::OutOfSync };
        return (state, refusal.problem(&stored.parent.identity.app).to_string());
    }
    let last = stored.parent.syncs.first();
    if let Some(last) = last.filter(|s| s.outcome == "failed" && s.digest == rendered.digest && planned.has_changes()) {
        return (SyncState::Failed, last.message.clone());
    }
    if planned.has_changes() {
        let waits = planned.waits().map_or_else(String::new, |waits| format!("; {waits}"));
        return (SyncState::OutOfSync, format!("{}{waits}", counts(planned)));
    }
    (SyncState::Synced, String::new())
}

fn counts(planned: &Planned) -> String {
    crate::report::counts(&planned.summary(), None)
}

/// Drift with its author, as far as Kubernetes records one.
pub fn drift(planned: &Planned, looked: &Looked) -> Vec<DriftEntry> {
    let drifted = |change: &&Change| planned.drifted.contains(&change.object.key()) && change.actions != [Action::None];
    let mut out = Vec::new();
    for change in planned.plan.changes.iter().filter(drifted) {
        match looked.snapshot.present(&change.object.key()) {
            None => out.push(DriftEntry { object: change.object.clone(), path: None, manager: None, since: None }),
            Some(live) => {
                for field in &change.fields {
                    let (manager, since) = author(live, &field.path).unzip();
                    out.push(DriftEntry {
                        object: change.object.clone(),
                        path: Some(field.path.clone()),
                        manager,
                        since: since.flatten(),
                    });
                }
            }
        }
    }
    out
}

/// Who last set a field, other than us, and when. A removed field has no owner: nobody is named then.
pub fn author(live: &Live, path: &str) -> Option<(String, Option<String>)> {
    let entries = live.managed_fields().iter().filter(|entry| {
        let manager = entry.get("manager").and_then(Value::as_str).unwrap_or_default();
        manager != crate::apply::write::MANAGER && manager != crate::apply::write::HANDOVER
    });
    let owning = entries.filter(|entry| {
        let fields = entry.get("fieldsV1").map(FieldSet::parse).unwrap_or_default();
        fields.paths().iter().any(|owned| {
            let owned = owned.to_string();
            owned == path || path.strip_prefix(owned.as_str()).is_some_and(|rest| rest.starts_with(['.', '[']))
        })
    });
    let newest = owning.max_by_key(|entry| entry.get("time").and_then(Value::as_str).unwrap_or_default().to_owned())?;
    let text = |key: &str| newest.get(key).and_then(Value::as_str).map(str::to_owned);
    Some((text("manager")?, text("time")))
}
