//! `sync` beside a live daemon: the command line asks, the daemon does it, the command line tells.
//!
//! In the app's inventory there is room for one [`Request`]. The command line writes it ([`ask`]) and reads it until the
//! daemon has put its answer in ([`answer`]); then it takes it away. All writes are compare-and-swap.
//!
//! Guarantees: while a daemon leads the scope nobody else writes to the cluster; an answer is given once, to the request
//! it belongs to; no request outlives its asker for long: it is taken away when it was read, given up or cancelled, and
//! one that a killed process left is answered once and then overwritten by the next.

use crate::app::App;
use crate::apply::lease::ScopeLease;
use crate::apply::parents::ParentError;
use crate::engine::Engine;
use crate::health::Health;
use crate::inventory::{Holder, Request, StoredParent};
use crate::object::Problem;
use crate::outcome::Ending;
use crate::reconcile::default_namespace;
use crate::report::status_report::SyncState;
use crate::report::sync_report::AppSync;
use crate::rollback;
use crate::source::Revision;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How often the answer is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often the daemon's lease is looked at.
const LEASE_EVERY: Duration = Duration::from_secs(2);
/// An answer that its asker has not read in so long is nobody's.
const READ_WITHIN: Duration = Duration::from_secs(3);
/// Another's request that was not answered in so long is overwritten.
const STALE: Duration = Duration::from_secs(60);
/// What an answer may take besides the wait for health.
const GRACE: Duration = Duration::from_secs(30);
/// An answer of more bytes loses its fields, then its changes: annotations have room for 256 KiB together.
const MAX_ANSWER: usize = 64 * 1024;

/// What the daemon answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The revision that it synced.
    pub revision: String,
    /// How that ended.
    pub ending: Ending,
    /// The app, as `sync -o json` shows it.
    pub sync: AppSync,
}

/// What the command line wants from the daemon.
pub struct Asking<'a> {
    /// The cluster.
    pub engine: &'a Engine,
    /// The app.
    pub app: &'a App,
    /// The scope's lease.
    pub lease: &'a ScopeLease,
    /// The branch's head as it was seen.
    pub head: &'a Revision,
    /// True if a person named this revision; false if it is only the branch's head.
    pub named: bool,
    /// Time for health.
    pub timeout: Duration,
    /// Gives up.
    pub cancel: &'a CancellationToken,
}

/// Asks the daemon and waits for its answer. `Ok(None)`: no daemon leads the scope any more, so that the caller may write.
///
/// # Errors
/// When there is no answer in time, or the inventory cannot be written.
pub async fn ask(asking: &Asking<'_>) -> Result<Option<Answer>, Problem> {
    let id = format!("{}-{:016x}", asking.engine.parents.me().id, rand::random::<u64>());
    let deadline = Instant::now() + asking.timeout + GRACE;
    let mut leader = Leader { asking, looked: None, last: None };
    loop {
        if !place(asking, &id, &mut leader, deadline).await? {
            return Ok(None);
        }
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = asking.cancel.cancelled() => {}
            }
            // An API server that is away for a moment has said nothing about the request.
            let stored = load(asking).await.ok();
            match stored.as_ref().map(|stored| state_of(stored, &id)) {
                Some(State::Answered(answer)) => {
                    withdraw(asking, &id).await;
                    return Ok(Some(*answer));
                }
                Some(State::Gone) if asking.app.plan.app_removed => return Ok(Some(removed(asking))),
                Some(State::Gone) => break,
                Some(State::Waiting) | None => {}
            }
            if asking.cancel.is_cancelled() {
                withdraw(asking, &id).await;
                return Err(Problem::new("Stopped", "stopped before the daemon answered")
                    .hint("it may have begun already: see `driftless status`"));
            }
            if !leader.is_there().await {
                withdraw(asking, &id).await;
                return Ok(None);
            }
            if Instant::now() >= deadline {
                withdraw(asking, &id).await;
                return Err(leader.too_late());
            }
        }
    }
}

/// Puts the request down, as soon as there is room. False if no daemon leads any more.
async fn place(asking: &Asking<'_>, id: &str, leader: &mut Leader<'_, '_>, deadline: Instant) -> Result<bool, Problem> {
    let began = Instant::now();
    loop {
        let mut stored = load(asking).await?;
        let room = match &stored.request {
            None => true,
            Some(other) if other.answer.is_some() => began.elapsed() >= READ_WITHIN,
            Some(_) => began.elapsed() >= STALE,
        };
        if room {
            stored.request = Some(Request {
                id: id.to_owned(),
                revision: asking.named.then(|| asking.head.to_string()),
                answer: None,
                head: Some(asking.head.to_string()),
            });
            match asking.engine.parents.save(&mut stored).await {
                Ok(()) => return Ok(true),
                Err(ParentError::Conflict) => continue,
                Err(error) => return Err(error.into()),
            }
        }
        if asking.cancel.is_cancelled() {
            return Err(Problem::new("Stopped", "stopped before the daemon was asked"));
        }
        if Instant::now() >= deadline {
            return Err(leader.too_late());
        }
        if !leader.is_there().await {
            return Ok(false);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn load(asking: &Asking<'_>) -> Result<StoredParent, ParentError> {
    let namespace = default_namespace(asking.engine, asking.app);
    asking.engine.parents.reload(&asking.app.identity, &namespace).await
}

/// Takes the request away. Should that fail, the next asker overwrites it.
async fn withdraw(asking: &Asking<'_>, id: &str) {
    let ours = |stored: &mut StoredParent| {
        if stored.request.as_ref().is_some_and(|request| request.id == id) {
            stored.request = None;
        }
    };
    if let Err(error) = rollback::change(asking.engine, asking.app, ours).await {
        tracing::warn!(app = asking.app.name, %error, "the request to the daemon is left in the app's inventory");
    }
}

/// What became of a request.
#[derive(Debug, PartialEq)]
enum State {
    Waiting,
    Answered(Box<Answer>),
    /// It was overwritten, or its place is gone.
    Gone,
}

fn state_of(stored: &StoredParent, id: &str) -> State {
    let Some(request) = stored.request.as_ref().filter(|request| request.id == id) else { return State::Gone };
    let Some(answer) = request.answer.clone() else { return State::Waiting };
    match serde_json::from_value(answer) {
        Ok(answer) => State::Answered(Box::new(answer)),
        // One of another version: as good as none, and asked again.
        Err(_) => State::Gone,
    }
}

/// An app that was removed takes its inventory with it, and the request.
fn removed(asking: &Asking<'_>) -> Answer {
    let sync = AppSync {
        name: asking.app.name.clone(),
        cluster: asking.app.cluster.clone(),
        error: None,
        errors: Vec::new(),
        changes: Vec::new(),
        unchanged: 0,
        policy: Vec::new(),
        sync: SyncState::Synced,
        health: Health::Healthy,
        message: "removed by the daemon".into(),
    };
    Answer { revision: asking.head.to_string(), ending: Ending::Done, sync }
}

/// Who leads, looked at now and then.
struct Leader<'a, 'b> {
    asking: &'a Asking<'b>,
    looked: Option<Instant>,
    last: Option<Holder>,
}

impl Leader<'_, '_> {
    /// False once it is known that nobody does.
    async fn is_there(&mut self) -> bool {
        if self.looked.is_some_and(|at| at.elapsed() < LEASE_EVERY) {
            return true;
        }
        self.looked = Some(Instant::now());
        match self.asking.lease.other_holder().await {
            Ok(Some(holder)) => self.last = Some(holder),
            Ok(None) => return false,
            // Not known is not gone.
            Err(error) => tracing::debug!(%error, "the scope's lease cannot be read"),
        }
        true
    }

    fn too_late(&self) -> Problem {
        let who = self.last.as_ref().map_or_else(|| "the daemon".to_owned(), ToString::to_string);
        let seconds = (self.asking.timeout + GRACE).as_secs();
        let text = format!("{who} leads this scope and has not answered within {seconds}s; the request is withdrawn");
        Problem::new("NoAnswer", text).hint(
            "see `driftless status` and the daemon's log; give it longer with --timeout, or stop it to sync by hand",
        )
    }
}

/// The request that waits for an answer, if there is one.
pub fn open(stored: &StoredParent) -> Option<&Request> {
    stored.request.as_ref().filter(|request| request.answer.is_none())
}

/// Why the daemon does not do what is asked: it follows the branch, and going elsewhere is a rollback's business.
pub fn refusal(request: &Request, target: &Revision) -> Option<Problem> {
    let other = request.revision.as_deref().filter(|revision| *revision != target.as_str())?;
    let short: String = other.chars().take(7).collect();
    let text = format!("the daemon follows the branch, which is at {}; it does not sync {short}", target.short(7));
    Some(
        Problem::new("FollowsBranch", text).hint(
            "`driftless rollback APP --to REV` goes back to a revision and holds the newer one; to go forward, push",
        ),
    )
}

/// Writes the daemon's answer, if the request is still there.
///
/// # Errors
/// When the inventory cannot be written.
pub async fn answer(engine: &Engine, app: &App, id: &str, answer: Answer) -> Result<(), ParentError> {
    let value = serde_json::json!(shortened(answer));
    rollback::change(engine, app, |stored| {
        if let Some(request) = stored.request.as_mut().filter(|request| request.id == id && request.answer.is_none()) {
            request.answer = Some(value.clone());
        }
    })
    .await
}

/// What fits beside everything else in an annotation.
fn shortened(mut answer: Answer) -> Answer {
    let is_too_long = |answer: &Answer| serde_json::json!(answer).to_string().len() > MAX_ANSWER;
    if is_too_long(&answer) {
        for change in &mut answer.sync.changes {
            change.change.fields.clear();
            change.change.waits_for.clear();
        }
    }
    if is_too_long(&answer) {
        answer.sync.message =
            format!("{} ({} changes, too many to list)", answer.sync.message, answer.sync.changes.len());
        answer.sync.changes.clear();
        answer.sync.policy.clear();
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::{Identity, Parent};
    use crate::object::ObjectRef;
    use crate::plan::change::{Action, Change, FieldChange};
    use crate::report::sync_report::{Outcome, SyncedChange};

    fn request(id: &str, revision: Option<&str>) -> Request {
        Request { id: id.into(), revision: revision.map(str::to_owned), answer: None, head: None }
    }

    fn stored(request: Option<Request>) -> StoredParent {
        let (instance, repository, path_root, app) = ("i".into(), "r".into(), String::new(), "web".into());
        let parent = Parent::new(Identity { instance, repository, path_root, app }, "default");
        StoredParent { parent, lock: None, request, resource_version: None }
    }

    fn an_answer(changes: usize, value: &str) -> Answer {
        let object = ObjectRef {
            group: String::new(),
            version: "v1".into(),
            kind: "ConfigMap".into(),
            namespace: Some("a".into()),
            name: "b".into(),
        };
        let change = Change {
            object,
            actions: vec![Action::Update],
            restarts: false,
            why: "x".into(),
            source: None,
            wave: 0,
            waits_for: Vec::new(),
            fields: vec![FieldChange { path: ".data.a".into(), from: None, to: Some(value.into()) }],
            hook: None,
            forecast: None,
        };
        let synced = SyncedChange { change, outcome: Outcome::Applied, message: String::new(), took_ms: 1 };
        let sync = AppSync {
            name: "web".into(),
            cluster: "c".into(),
            error: None,
            errors: Vec::new(),
            changes: vec![synced; changes],
            unchanged: 0,
            policy: Vec::new(),
            sync: SyncState::Synced,
            health: Health::Healthy,
            message: String::new(),
        };
        Answer { revision: "0".repeat(40), ending: Ending::Done, sync }
    }

    #[test]
    fn an_answer_belongs_to_its_request() {
        assert_eq!(state_of(&stored(None), "a"), State::Gone);
        assert_eq!(state_of(&stored(Some(request("b", None))), "a"), State::Gone);
        assert_eq!(state_of(&stored(Some(request("a", None))), "a"), State::Waiting);
        let answered = Request { answer: Some(serde_json::json!(an_answer(1, "v"))), ..request("a", None) };
        assert!(open(&stored(Some(answered.clone()))).is_none());
        assert_eq!(state_of(&stored(Some(answered)), "a"), State::Answered(Box::new(an_answer(1, "v"))));
        let strange = Request { answer: Some(serde_json::json!({"x": 1})), ..request("a", None) };
        assert_eq!(state_of(&stored(Some(strange)), "a"), State::Gone);
    }

    #[test]
    fn the_daemon_follows_the_branch() {
        let head = Revision::parse(&"a".repeat(40)).unwrap();
        assert_eq!(refusal(&request("x", None), &head), None);
        assert_eq!(refusal(&request("x", Some(head.as_str())), &head), None);
        let refused = refusal(&request("x", Some(&"b".repeat(40))), &head).unwrap();
        assert!(refused.hint.unwrap().contains("rollback") && refused.message.contains("bbbbbbb"));
    }

    #[test]
    fn a_long_answer_is_shortened() {
        assert_eq!(shortened(an_answer(2, "v")), an_answer(2, "v"));
        let long = shortened(an_answer(2, &"v".repeat(MAX_ANSWER)));
        assert!(long.sync.changes.len() == 2 && long.sync.changes[0].change.fields.is_empty());
        let many = shortened(an_answer(2000, "v"));
        assert!(many.sync.changes.is_empty() && many.sync.message.contains("2000 changes"));
    }
}
