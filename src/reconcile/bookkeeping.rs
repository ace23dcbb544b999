//! What a sync writes into the app's inventory: ahead of the first write, while it runs, and at its end.

use super::{Wanted, held};
use crate::apply::executor::{Carried, Keeper, Stop};
use crate::apply::machine::StepState;
use crate::apply::parents::{ParentError, Parents};
use crate::engine::Engine;
use crate::inventory::{HookRecord, Member, Parent, StoredParent, SyncRecord};
use crate::object::{Manifest, ObjectKey, ObjectRef, Problem};
use crate::plan::hook::{HookObject, Phase};
use crate::plan::{self, Planned};
use jiff::Timestamp;
use std::collections::BTreeSet;

/// Inventories written anew because another process wrote in between.
const RACES: usize = 5;

/// Writes ahead: the lock, the members that are about to exist, and that a sync runs.
pub(super) async fn announce(
    parents: &Parents,
    stored: &mut StoredParent,
    planned: &Planned,
    (wanted, hooks): (&Wanted<'_>, &[HookObject]),
) -> Result<(), ParentError> {
    parents.claim(stored)?;
    stored.parent.members = planned.members.clone();
    lift_outdated_hold(&mut stored.parent, wanted);
    if !wanted.app.plan.app_removed {
        stored.parent.delete_hooks = delete_hooks(hooks);
        stored.parent.path = Some(wanted.app.path.clone());
    }
    let record = SyncRecord {
        revision: wanted.revision.to_string(),
        digest: wanted.rendered.digest.clone(),
        started: Timestamp::now().to_string(),
        finished: None,
        outcome: "running".into(),
        message: String::new(),
        healthy: false,
    };
    // A sync that goes on with the same content goes on in the same record: its hooks have run.
    match stored.parent.interrupted(&record.digest).map(|last| last.started.clone()) {
        Some(started) => stored.parent.syncs[0] = SyncRecord { started, ..record },
        None => stored.parent.syncs.insert(0, record),
    }
    stored.parent.syncs.truncate(crate::inventory::codec::HISTORY);
    parents.save(stored).await
}

/// What runs when the app goes is kept: Git does not have it then. A Secret's values do not belong into an inventory.
fn delete_hooks(hooks: &[HookObject]) -> Vec<serde_json::Value> {
    let last = |hook: &&HookObject| {
        [Phase::BeforeDelete, Phase::AfterDelete].iter().any(|phase| hook.hook.phases.contains(phase))
    };
    let kept = hooks.iter().filter(last).filter(|hook| !plan::input::is_secret(&hook.key));
    kept.map(|hook| hook.desired.value().clone()).collect()
}

/// A hold ends when the app renders to something else.
fn lift_outdated_hold(parent: &mut Parent, wanted: &Wanted<'_>) {
    if parent.hold.is_some()
        && held(parent, &wanted.rendered.digest, wanted.revision).is_none()
        && !is_rollback(parent, wanted)
    {
        parent.hold = None;
    }
}

/// Going back to content that was healthy before leaves the hold on the bad one.
fn is_rollback(parent: &Parent, wanted: &Wanted<'_>) -> bool {
    parent
        .syncs
        .iter()
        .any(|sync| sync.healthy && sync.digest == wanted.rendered.digest && sync.revision == wanted.revision.as_str())
}

/// Takes a deleted object off the inventory. One without a recorded uid was announced and created by a process that was
/// killed before it could record it: it was this one.
fn forget_deleted(parent: &mut Parent, key: &ObjectKey, uid: &str) {
    let gone = |m: &Member| m.object.key() == *key && m.uid.as_deref().is_none_or(|known| known == uid);
    parent.members.retain(|member| !gone(member));
}

/// Takes in what the server answered: uids and digests of what was written, and what is gone.
pub(super) fn take_in_results(
    parent: &mut Parent,
    planned: &Planned,
    carried: &Carried,
    wanted: &Wanted<'_>,
    key: &[u8],
) {
    let half_done = half_done(planned, carried);
    for (step, result) in planned.graph.steps.iter().zip(&carried.results) {
        let Some(object) = &step.object else { continue };
        let object_key = object.key();
        if result.state != StepState::Written {
            continue;
        }
        match (&step.kind, &result.live) {
            (plan::StepKind::Delete { uid }, _) => {
                parent.hooks.retain(|hook| hook.object.key() != object_key || hook.uid != *uid);
                forget_deleted(parent, &object_key, uid);
            }
            (plan::StepKind::Apply { .. } | plan::StepKind::Replace { .. }, Some(live)) => {
                if let Some(member) = parent.members.iter_mut().find(|m| m.object.key() == object_key) {
                    member.uid = live.uid().map(str::to_owned);
                    let whole = !half_done.contains(&object_key);
                    member.desired = planned.desired.get(&object_key).filter(|_| whole).cloned();
                    member.owned = whole.then(|| plan::owned_digest(live, &object_key, key));
                }
            }
            _ => {}
        }
    }
    take_in_unchanged(parent, planned);
    if carried.is_complete() {
        parent.digest = Some(wanted.rendered.digest.clone());
        parent.revision = Some(wanted.revision.to_string());
    }
}

/// Objects that are written in several steps (scaled, then rolled out), and were not written in all of them. They are not
/// as Git wants them, so that no digest may say so: the next plan has to look at them again.
fn half_done(planned: &Planned, carried: &Carried) -> BTreeSet<ObjectKey> {
    let writes = |step: &plan::Step| matches!(step.kind, plan::StepKind::Apply { .. } | plan::StepKind::Replace { .. });
    let steps = planned.graph.steps.iter().zip(&carried.results);
    let open = steps.filter(|(step, result)| writes(step) && result.state != StepState::Written);
    open.filter_map(|(step, _)| step.object.as_ref().map(ObjectRef::key)).collect()
}

/// Digests of objects that turned out to be unchanged. True if anything was new.
fn take_in_unchanged(parent: &mut Parent, planned: &Planned) -> bool {
    let before = parent.members.len();
    parent.members.retain(|m| !planned.forget.contains(&m.object.key()));
    let mut changed = parent.members.len() != before;
    for recorded in &planned.record {
        if let Some(member) = parent.members.iter_mut().find(|m| m.object.key() == recorded.key) {
            let fresh = (Some(recorded.uid.clone()), Some(recorded.desired.clone()), Some(recorded.owned.clone()));
            let known = (member.uid.clone(), member.desired.clone(), member.owned.clone());
            if fresh != known {
                (member.uid, member.desired, member.owned) = fresh;
                changed = true;
            }
        }
    }
    changed
}

/// Nothing to carry out: the inventory is written only if something about it is new.
pub(super) async fn remember_unchanged(
    engine: &Engine,
    stored: &mut StoredParent,
    planned: &Planned,
    wanted: &Wanted<'_>,
) -> Result<(), ParentError> {
    let before = (stored.parent.clone(), stored.lock.clone());
    close_interrupted(&engine.parents, stored, wanted);
    note_finished(engine, &mut stored.parent);
    take_in_unchanged(&mut stored.parent, planned);
    lift_outdated_hold(&mut stored.parent, wanted);
    if stored.parent.digest.as_ref() != Some(&wanted.rendered.digest) {
        stored.parent.digest = Some(wanted.rendered.digest.clone());
        stored.parent.revision = Some(wanted.revision.to_string());
    }
    if (&stored.parent, &stored.lock) == (&before.0, &before.1)
        || (stored.resource_version.is_none() && stored.parent.members.is_empty())
    {
        return Ok(());
    }
    // What looks unchanged to us another process may be changing: its announced members do not exist yet. The lock is not
    // kept, since one write is all there is; that nobody took it in between is the compare-and-swap's to see.
    engine.parents.claim(stored)?;
    stored.lock = None;
    engine.parents.save(stored).await
}

/// A process that was killed after its last write left its sync open, and its lock behind: all of it is there, so that it
/// is over. A lock whose holder lives is left alone.
fn close_interrupted(parents: &Parents, stored: &mut StoredParent, wanted: &Wanted<'_>) {
    if stored.lock.is_some() && parents.claim(stored).is_err() {
        return;
    }
    stored.lock = None;
    if stored.parent.interrupted(&wanted.rendered.digest).is_some()
        && let Some(record) = stored.parent.syncs.first_mut()
    {
        record.outcome = "applied".to_owned();
        record.message.clear();
        record.finished = Some(Timestamp::now().to_string());
    }
}

pub(super) fn conclude(stored: &mut StoredParent, carried: &Carried, wanted: &Wanted<'_>) {
    let (outcome, message) = match (carried.is_complete(), &carried.stopped, carried.failure()) {
        (true, ..) => ("applied", String::new()),
        // Planned anew at once: the same sync goes on.
        (_, _, Some(problem)) if problem.reason == "Conflict" => ("superseded", problem.to_string()),
        (_, _, Some(problem)) => ("failed", problem.to_string()),
        (_, Some(Stop::Cancelled), _) => ("superseded", "stopped".to_owned()),
        (_, Some(Stop::NotHealthy(why) | Stop::LockLost(why)), _) => ("failed", why.clone()),
        _ => ("failed", "not everything was applied".to_owned()),
    };
    if let Some(record) = stored.parent.syncs.first_mut().filter(|r| r.digest == wanted.rendered.digest) {
        record.outcome = outcome.to_owned();
        record.message = message;
        record.finished = Some(Timestamp::now().to_string());
    }
    stored.lock = None;
}

/// After a sync has given its lock back: what was seen of it since. Another process may have written the inventory in
/// between, and may be at work: what it wrote stays, and only what is news to it is added.
pub(super) async fn note_afterwards(
    engine: &Engine,
    stored: &mut StoredParent,
    wanted: &Wanted<'_>,
    healthy: bool,
) -> Result<(), ParentError> {
    for _ in 0..RACES {
        let mut news = note_finished(engine, &mut stored.parent);
        let last = stored.parent.syncs.first_mut().filter(|r| r.digest == wanted.rendered.digest && !r.healthy);
        if let Some(record) = last.filter(|_| healthy) {
            record.healthy = true;
            news = true;
        }
        if !news {
            return Ok(());
        }
        match engine.parents.save(stored).await {
            Err(ParentError::Conflict) => {
                *stored = engine.parents.reload(&stored.parent.identity, &stored.parent.namespace).await?;
            }
            other => return other,
        }
    }
    Err(ParentError::Conflict)
}

/// Saves results while the lock is ours. Another process may have written a request or a wish meanwhile: theirs is kept,
/// ours is put on top. Where the lock is not ours any more, everything else is not ours to write either.
pub(super) async fn save_stubbornly(parents: &Parents, stored: &mut StoredParent) -> Result<(), ParentError> {
    for _ in 0..RACES {
        match parents.save(stored).await {
            Err(ParentError::Conflict) => {
                let theirs = parents.reload(&stored.parent.identity, &stored.parent.namespace).await?;
                if theirs.lock.as_ref().is_none_or(|lock| lock.holder.id != parents.me().id) {
                    return Err(ParentError::Conflict);
                }
                keep_wishes(stored, theirs);
            }
            other => return other,
        }
    }
    Err(ParentError::Conflict)
}

/// What another process may write into an inventory that is locked: requests and a person's wishes.
fn keep_wishes(stored: &mut StoredParent, theirs: StoredParent) {
    stored.resource_version = theirs.resource_version;
    stored.request = theirs.request;
    stored.parent.suspended = theirs.parent.suspended;
    stored.parent.approvals = theirs.parent.approvals;
    stored.parent.hold = theirs.parent.hold;
    stored.parent.reviews = theirs.parent.reviews;
}

/// Renews the lock in the parent.
pub(super) struct LockKeeper {
    pub parents: Parents,
    pub stored: StoredParent,
}

impl Keeper for LockKeeper {
    fn holds(&self) -> bool {
        self.stored.lock.as_ref().is_some_and(|lock| lock.expires > Timestamp::now())
    }

    async fn renew(&mut self) -> Result<(), Problem> {
        self.parents.claim(&mut self.stored)?;
        Ok(save_stubbornly(&self.parents, &mut self.stored).await?)
    }

    async fn record(&mut self, hook: HookRecord) -> Result<(), Problem> {
        self.stored.parent.record_hook(hook);
        Ok(save_stubbornly(&self.parents, &mut self.stored).await?)
    }
}

/// Jobs that have succeeded are written down, so that nothing runs them again once their TTL has removed them. True if
/// that is news.
pub(super) fn note_finished(engine: &Engine, parent: &mut Parent) -> bool {
    let mut news = false;
    for member in parent.members.iter_mut().filter(|member| !member.done && member.uid.is_some()) {
        if engine.eyes.members.finished(&member.object.key()) == member.uid {
            member.done = true;
            news = true;
        }
    }
    news
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::Identity;
    use crate::object::Gk;

    #[test]
    fn what_was_deleted_leaves_the_inventory_whether_or_not_its_uid_was_recorded() {
        let text = String::new;
        let identity = Identity { instance: text(), repository: text(), path_root: text(), app: text() };
        let key = ObjectKey::new(&Gk::new("", "ConfigMap"), Some("a"), "x");
        for (recorded, left) in [(None, 0), (Some("u1"), 0), (Some("u2"), 1)] {
            let mut parent = Parent::new(identity.clone(), "a");
            let uid = recorded.map(str::to_owned);
            parent.members.push(Member {
                object: key.with_version("v1"),
                uid,
                desired: None,
                owned: None,
                done: false,
            });
            forget_deleted(&mut parent, &key, "u1");
            assert_eq!(parent.members.len(), left, "{recorded:?}");
        }
    }
}
