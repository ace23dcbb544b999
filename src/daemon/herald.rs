//! Says what happened: through the ledger (nothing twice, one final state) into the outbox, and from there to the notes.
//!
//! Guarantees: what is said is in the outbox before it is sent; a reporter that is down delays reports and nothing else;
//! what an earlier process left open is closed at the start.

use super::voice::Voice;
use crate::config::Config;
use crate::hosts::hosts_of;
use crate::report::letters::Letter;
use crate::report::recover::{closing, unfinished};
use crate::report::{Context, ContextKind, Ledger, Note, Reporter as _, State, Timings};
use crate::server::Metrics;
use crate::source::{GitMirror, Revision};
use crate::workspace::Origin;
use jiff::Timestamp;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Commits whose statuses are looked through at the start.
const LOOK_BACK: usize = 100;

/// The voice of one scope.
pub struct Herald {
    instance: String,
    ledger: Mutex<Ledger>,
    voices: Vec<Voice>,
}

impl Herald {
    /// One that says nothing: of a daemon that stands by.
    pub fn silent(instance: &str) -> Self {
        Self { instance: instance.to_owned(), ledger: Mutex::default(), voices: Vec::new() }
    }

    /// The voice of a scope, wherever its configuration says that it is to be heard. Only for who leads the scope: what is
    /// open is taken for an earlier process's.
    pub async fn of(config: &Config, origin: &Origin, outbox: &Path, metrics: &Arc<Metrics>) -> Self {
        let head = origin.fetch_head().await.ok();
        let (config, origin, outbox) = (config.clone(), origin.clone(), outbox.to_owned());
        let (instance, metrics) = (config.instance.name.clone(), metrics.clone());
        let started =
            tokio::task::spawn_blocking(move || Self::start(&config, &origin, head.as_ref(), &outbox, &metrics));
        started.await.unwrap_or_else(|_| Self::silent(&instance))
    }

    /// Opens the outboxes, reads what was said, and closes what was left open. Blocks on Git and on hosts.
    fn start(config: &Config, origin: &Origin, head: Option<&Revision>, dir: &Path, metrics: &Arc<Metrics>) -> Self {
        let instance = config.instance.name.as_str();
        let mut said: Vec<Note> = Vec::new();
        let mut voices = Vec::new();
        for host in hosts_of(config, origin) {
            let host = match host {
                Ok(host) => host,
                Err(problem) => {
                    tracing::error!(%problem, "statuses are not sent there");
                    continue;
                }
            };
            let commits = head.map(|head| lately(&origin.mirror, head)).unwrap_or_default();
            said.extend(host.said(&commits).unwrap_or_else(|error| {
                tracing::warn!(%error, host = host.name(), "what was said before cannot be read");
                Vec::new()
            }));
            let voice = Voice::open(host, &origin.repository.name, &origin.mirror.url().identity(), dir, metrics);
            said.extend(voice.waiting());
            voices.push(voice);
        }
        let herald =
            Self { instance: instance.to_owned(), ledger: Mutex::new(Ledger::from_notes(said.iter())), voices };
        if let Some(head) = head {
            for note in closing(&unfinished(&said, instance), std::slice::from_ref(head), Timestamp::now()) {
                let notes = herald.ledger().say(note);
                herald.send(notes);
            }
        }
        herald
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

    /// The same for the plan of a pull request, which is planned anew.
    pub fn plan_again(&self, revision: &Revision, text: &str) {
        let note = self.note(ContextKind::Plan, revision, State::Pending, text);
        let notes = self.ledger().reopen(note);
        self.send(notes);
    }

    /// Takes in what a host says was said of a commit, where nothing is known of it.
    pub fn learn(&self, revision: &Revision, said: &[(Context, State)]) {
        let mut ledger = self.ledger();
        for (context, state) in said {
            if ledger.state(revision, context).is_none_or(|known| known == State::Pending) {
                ledger.learn(&Note::new(Timestamp::UNIX_EPOCH, revision, context, *state, ""));
            }
        }
    }

    /// Writes a pull request's comment, where pull requests are planned.
    pub fn comment(&self, letter: Letter) {
        if let Some(voice) = self.voices.iter().find(|voice| voice.writes_comments()) {
            voice.write(letter);
        }
    }

    /// The last state said.
    pub fn last(&self, kind: ContextKind, revision: &Revision) -> Option<State> {
        self.ledger().state(revision, &Context::new(&self.instance, kind))
    }

    /// The last word on a sync, where it is that it did not end well.
    pub fn failed(&self, revision: &Revision) -> Option<State> {
        self.last(ContextKind::Sync, revision).filter(|state| matches!(state, State::Failure | State::Error))
    }

    /// Reports that wait to be sent.
    pub fn waiting(&self) -> usize {
        self.voices.iter().map(Voice::len).sum()
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
            for voice in &self.voices {
                voice.say(note.clone());
            }
        }
    }
}

/// The branch's last commits, oldest first.
fn lately(mirror: &GitMirror, head: &Revision) -> Vec<Revision> {
    let mut commits = mirror.commits(head, LOOK_BACK).unwrap_or_default();
    commits.reverse();
    commits.into_iter().map(|commit| commit.revision).collect()
}
