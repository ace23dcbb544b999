//! Says what happened: through the ledger (nothing twice, one final state) into the outbox, and from there to the notes.
//!
//! Guarantees: what is said is in the outbox before it is sent; a reporter that is down delays reports and nothing else;
//! what an earlier process left open is closed at the start.

use crate::config::{Config, Report, ReportKind};
use crate::object::Digest;
use crate::report::recover::{closing, unfinished};
use crate::report::{Context, ContextKind, GitNotes, Ledger, Note, Outbox, State, Timings};
use crate::source::{GitMirror, Revision};
use crate::workspace::Origin;
use jiff::Timestamp;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Commits whose statuses are looked through at the start.
const LOOK_BACK: usize = 100;
/// Reports that may wait.
const CAPACITY: usize = 10_000;
/// How long a shutdown waits for reports to be sent.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The voice of one scope.
pub struct Herald {
    instance: String,
    ledger: Mutex<Ledger>,
    outbox: Option<Arc<Outbox>>,
    wake: Option<Sender<()>>,
    sender: Option<JoinHandle<()>>,
}

impl Herald {
    /// One that says nothing: of a daemon that stands by.
    pub fn silent(instance: &str) -> Self {
        Self { instance: instance.to_owned(), ledger: Mutex::default(), outbox: None, wake: None, sender: None }
    }

    /// The voice of a scope, where its configuration says that it is to be heard. Only for who leads the scope: what is
    /// open in the notes is taken for an earlier process's.
    pub async fn of(config: &Config, origin: &Origin, outbox: &Path) -> Self {
        let here = |report: &Report| report.kind == ReportKind::GitNotes && report.repository == origin.repository.name;
        let notes = config.reports.iter().any(here).then(|| GitNotes::new(origin.mirror.clone()));
        let head = origin.fetch_head().await.ok();
        let (instance, mirror, outbox) = (config.instance.name.clone(), origin.mirror.clone(), outbox.to_owned());
        let started =
            tokio::task::spawn_blocking(move || Self::start(&instance, &mirror, notes, head.as_ref(), &outbox));
        started.await.unwrap_or_else(|_| Self::silent(&config.instance.name))
    }

    /// A herald that writes notes into the repository, or none at all where `notes` is `None`. Blocks on Git.
    fn start(instance: &str, mirror: &GitMirror, notes: Option<GitNotes>, head: Option<&Revision>, dir: &Path) -> Self {
        let mut ledger = Ledger::default();
        let Some(notes) = notes else { return Self::silent(instance) };
        let place = dir.join(Digest::of_bytes(mirror.url().identity().as_bytes()).short(16));
        let outbox = Arc::new(Outbox::open(&place, CAPACITY).unwrap_or_else(|error| {
            tracing::warn!(%error, "reports are kept in memory only");
            Outbox::in_memory(CAPACITY)
        }));
        if let Some(head) = head {
            let said = said_lately(mirror, &notes, head);
            ledger = Ledger::from_notes(said.iter().chain(outbox.waiting().iter()));
            for note in closing(&unfinished(&said, instance), std::slice::from_ref(head), Timestamp::now()) {
                for note in ledger.say(note) {
                    let _ = outbox.enqueue(note);
                }
            }
        }
        let (wake, woken) = channel::<()>();
        let queue = outbox.clone();
        let sender = std::thread::spawn(move || {
            loop {
                let pass = queue.send_due(&notes, Timestamp::now(), rand::random());
                for failure in &pass.failed {
                    tracing::warn!(failure, "a status was not written; it is tried again");
                }
                let pause =
                    pass.next.map(|next| Duration::try_from(next.duration_since(Timestamp::now())).unwrap_or_default());
                match woken.recv_timeout(pause.unwrap_or(Duration::from_secs(3600))) {
                    Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => {
                        queue.flush(&notes, LAST_WORDS);
                        return;
                    }
                }
            }
        });
        let _ = wake.send(());
        Self {
            instance: instance.to_owned(),
            ledger: Mutex::new(ledger),
            outbox: Some(outbox),
            wake: Some(wake),
            sender: Some(sender),
        }
    }

    /// Says a state of a revision, unless it was said.
    pub fn say(&self, kind: ContextKind, revision: &Revision, state: State, text: &str, timings: Timings) {
        let note = self.note(kind, revision, state, text).with_timings(timings);
        let notes = self.ledger().say(note);
        self.send(notes);
    }

    /// Announces a revision: pending, and everything older that is still open is closed.
    pub fn announce(&self, revision: &Revision, text: &str) {
        let now = Timestamp::now();
        let mut notes = self.ledger().supersede(revision, &self.instance, ContextKind::Sync, now);
        let pending = self.note(ContextKind::Sync, revision, State::Pending, text);
        notes.extend(self.ledger().say(pending));
        self.send(notes);
    }

    /// A new round on a revision that had ended: after a failure that passed, or by a person's wish.
    pub fn begin_again(&self, revision: &Revision, text: &str) {
        let note = self.note(ContextKind::Sync, revision, State::Pending, text);
        let notes = self.ledger().reopen(note);
        self.send(notes);
    }

    /// The last state said.
    pub fn last(&self, kind: ContextKind, revision: &Revision) -> Option<State> {
        self.ledger().state(revision, &Context::new(&self.instance, kind))
    }

    /// Reports that wait to be sent.
    pub fn waiting(&self) -> usize {
        self.outbox.as_ref().map_or(0, |outbox| outbox.len())
    }

    fn note(&self, kind: ContextKind, revision: &Revision, state: State, text: &str) -> Note {
        Note::new(Timestamp::now(), revision, &Context::new(&self.instance, kind), state, text)
    }

    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, notes: Vec<Note>) {
        for note in notes {
            tracing::info!(revision = note.revision.short(7), context = %note.context, state = %note.state, "{}", note.description);
            if let Some(outbox) = &self.outbox
                && let Err(error) = outbox.enqueue(note)
            {
                tracing::error!(%error, "a status is lost");
            }
        }
        if let Some(wake) = &self.wake {
            let _ = wake.send(());
        }
    }
}

impl Drop for Herald {
    fn drop(&mut self) {
        drop(self.wake.take());
        if let Some(sender) = self.sender.take() {
            let _ = sender.join();
        }
    }
}

fn said_lately(mirror: &GitMirror, notes: &GitNotes, head: &Revision) -> Vec<Note> {
    let read = || {
        notes.refresh()?;
        let mut commits = mirror.commits(head, LOOK_BACK)?;
        commits.reverse();
        let revisions: Vec<Revision> = commits.into_iter().map(|c| c.revision).collect();
        let mut by_revision = notes.read_many(&revisions)?;
        Ok::<_, crate::source::GitError>(revisions.iter().filter_map(|r| by_revision.remove(r)).flatten().collect())
    };
    read().unwrap_or_else(|error| {
        tracing::warn!(%error, "what was said before cannot be read");
        Vec::new()
    })
}
