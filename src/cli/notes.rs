//! What a one-shot sync says of its commit: `pending`, then one final state, as notes in the repository where it takes
//! any.
//!
//! In: the notes that are there already, and how the sync goes. Out: notes to add. Guarantees: a sync that finds nothing to
//! do and ends as the last one did says nothing; one that works, or ends otherwise, opens a new round (`pending` and its
//! end); what an interrupted sync left `pending` on an older commit is closed as superseded. A status that cannot be
//! written stops no sync.

use super::exit::Exit;
use super::setup::Setup;
use crate::hosts::{Host, hosts_of};
use crate::object::Problem;
use crate::report::{Context, ContextKind, Ledger, Note, State, Timings};
use crate::source::{GitMirror, Revision};
use crate::workspace::{Origin, off_thread};
use jiff::Timestamp;
use std::sync::{Arc, Mutex, PoisonError};

/// Commits before the one that is synced in which something may have been left open.
const LOOK_BACK: usize = 20;

/// How a round ended.
#[derive(Debug, Clone)]
pub struct End {
    /// The state.
    pub state: State,
    /// The exit code that goes with it.
    pub exit: Exit,
    /// For a person.
    pub text: String,
    /// How long it took.
    pub timings: Timings,
}

struct Said {
    ledger: Ledger,
    /// The last word on this revision's sync.
    last: Option<Note>,
    /// True once this process has spoken: a round of its own is open.
    ours: bool,
}

/// The statuses of one commit under one set of contexts: an instance's, or one cluster's of it. Cheap to clone.
#[derive(Clone)]
pub struct Notes {
    to: Vec<Host>,
    sync: Context,
    health: Context,
    revision: Revision,
    said: Arc<Mutex<Said>>,
}

impl Notes {
    /// Reads what was said before. `cluster` where there are several.
    pub async fn read(setup: &Setup, origin: &Origin, cluster: Option<&str>, revision: &Revision) -> Self {
        let mut to = Vec::new();
        for host in hosts_of(&setup.config, origin) {
            match host {
                Ok(host) => to.push(host),
                Err(problem) => tracing::warn!(%problem, "statuses are not sent there"),
            }
        }
        let context = |kind| {
            let context = Context::new(&setup.config.instance.name, kind);
            cluster.map_or(context.clone(), |cluster| context.in_cluster(cluster))
        };
        let (sync, health) = (context(ContextKind::Sync), context(ContextKind::Health));
        let mut notes = Vec::new();
        for host in to.clone() {
            let (mirror, from) = (origin.mirror.clone(), revision.clone());
            match off_thread(move || earlier(&host, &mirror, &from)).await {
                Ok(found) => notes.extend(found),
                Err(problem) => tracing::warn!(%problem, "the statuses cannot be read"),
            }
        }
        let about = |note: &&Note| note.revision == *revision && note.context == sync;
        let last = notes.iter().rev().find(about).cloned();
        let said = Said { ledger: Ledger::from_notes(&notes), last, ours: false };
        Self { to, sync, health, revision: revision.clone(), said: Arc::new(Mutex::new(said)) }
    }

    /// A sync begins: `pending`, unless the commit has its end already. Older commits' open ends are closed.
    pub async fn begin(&self) {
        let now = Timestamp::now();
        let lines = self.with(|said| {
            let mut lines = said.ledger.supersede(&self.revision, &self.sync.instance, ContextKind::Sync, now);
            if said.ledger.state(&self.revision, &self.sync).is_none() {
                said.ours = true;
                lines.extend(said.ledger.say(self.pending(now)));
            }
            lines
        });
        self.append(lines).await;
    }

    /// There is something to do: a new round, if the last one has ended.
    pub async fn work(&self) {
        let lines = self.with(|said| {
            said.ours = true;
            said.ledger.reopen(self.pending(Timestamp::now()))
        });
        self.append(lines).await;
    }

    /// The sync ended.
    pub async fn end(&self, end: &End) {
        let now = Timestamp::now();
        let note = Note::new(now, &self.revision, &self.sync, end.state, &end.text)
            .with_timings(end.timings)
            .with_exit(end.exit.code());
        let lines = self.with(|said| {
            let known = said.last.as_ref().filter(|last| last.state.is_final() && !said.ours);
            let same =
                known.is_some_and(|last| last.state == note.state && (last.exit.is_none() || last.exit == note.exit));
            if same {
                return Vec::new();
            }
            let mut lines = match known {
                Some(_) => said.ledger.reopen(self.pending(now)),
                None => Vec::new(),
            };
            lines.extend(said.ledger.say(note.clone()));
            said.last = Some(note);
            lines
        });
        self.append(lines).await;
    }

    /// Health at the end of a sync that waited for it.
    pub async fn healthy(&self, healthy: bool, text: &str) {
        let state = if healthy { State::Success } else { State::Failure };
        let note = Note::new(Timestamp::now(), &self.revision, &self.health, state, text);
        let lines = self.with(|said| said.ledger.say(note));
        self.append(lines).await;
    }

    fn pending(&self, now: Timestamp) -> Note {
        Note::new(now, &self.revision, &self.sync, State::Pending, "syncing")
    }

    fn with<T>(&self, act: impl FnOnce(&mut Said) -> T) -> T {
        act(&mut self.said.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn append(&self, lines: Vec<Note>) {
        if lines.is_empty() {
            return;
        }
        for host in self.to.clone() {
            let lines = lines.clone();
            let sent =
                off_thread(move || host.append(&lines).map_err(|e| Problem::new("StatusNotWritten", e.to_string())));
            if let Err(problem) = sent.await {
                tracing::warn!(%problem, "the status was not written");
            }
        }
    }
}

/// What was said of a commit and those before it, oldest commit first.
fn earlier(host: &Host, mirror: &GitMirror, from: &Revision) -> Result<Vec<Note>, Problem> {
    let commits = mirror.commits(from, LOOK_BACK)?;
    let revisions: Vec<Revision> = commits.into_iter().rev().map(|commit| commit.revision).collect();
    host.said(&revisions).map_err(|error| Problem::new("StatusesNotRead", error.to_string()))
}
