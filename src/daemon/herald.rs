//! Says what happened: through the ledger (nothing twice, one final state) into the outbox, and from there to the notes.
//!
//! Guarantees: what is said is in the outbox before it is sent; a reporter that is down delays reports and nothing else;
//! what an earlier process left open is closed as soon as a host can be asked what was said.

use super::voice::Voice;
use crate::config::Config;
use crate::hosts::hosts_of;
use crate::report::letters::Letter;
use crate::report::recover::{closing, unfinished};
use crate::report::{Context, ContextKind, Denials, Ledger, Note, Reporter as _, State, Timings};
use crate::server::Metrics;
use crate::source::{GitMirror, Revision};
use crate::workspace::Origin;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Commits whose statuses are looked through at the start.
const LOOK_BACK: usize = 100;
/// After how long a host that did not say what was said before is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// The voice of one scope.
pub struct Herald {
    instance: String,
    ledger: Mutex<Ledger>,
    voices: Vec<Voice>,
    /// What is known of the time before this process.
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    /// The voices of which it is not known yet what they said before.
    unread: BTreeSet<usize>,
    /// What an earlier process left unsent.
    left: Vec<Note>,
    /// Somebody is reading.
    reading: bool,
    /// When to ask again those that did not answer.
    next: Option<Instant>,
    /// The branch's head, as far as it is known.
    head: Option<Revision>,
}

/// What voices said before this process began, as far as they can be read.
#[derive(Default)]
pub struct Before {
    said: Vec<(usize, Vec<Note>)>,
}

impl Herald {
    /// One that says nothing: of a daemon that stands by.
    pub fn silent(instance: &str) -> Self {
        Self { instance: instance.to_owned(), ledger: Mutex::default(), voices: Vec::new(), memory: Mutex::default() }
    }

    /// The voice of a scope, wherever its configuration says that it is to be heard. Only for who leads the scope: what is
    /// open is taken for an earlier process's.
    pub async fn of(config: &Config, origin: &Origin, outbox: &Path, told: (&Arc<Metrics>, &Denials)) -> Self {
        let (config, origin, outbox) = (config.clone(), origin.clone(), outbox.to_owned());
        let (instance, metrics, denials) = (config.instance.name.clone(), told.0.clone(), told.1.clone());
        let opened = tokio::task::spawn_blocking(move || Self::open(&config, &origin, &outbox, (&metrics, &denials)));
        opened.await.unwrap_or_else(|_| Self::silent(&instance))
    }

    /// Opens the outboxes. Asks nobody anything.
    fn open(config: &Config, origin: &Origin, dir: &Path, told: (&Arc<Metrics>, &Denials)) -> Self {
        let mut voices = Vec::new();
        for host in hosts_of(config, origin) {
            match host {
                Ok(host) => {
                    let (repository, identity) = (&origin.repository.name, origin.mirror.url().identity());
                    voices.push(Voice::open(host, repository, &identity, dir, told));
                }
                Err(problem) => tracing::error!(%problem, "statuses are not sent there"),
            }
        }
        let waiting: Vec<Note> = voices.iter().flat_map(Voice::waiting).collect();
        let ledger = Mutex::new(Ledger::from_notes(waiting.iter()));
        let memory = Memory { unread: (0..voices.len()).collect(), left: waiting, ..Memory::default() };
        Self { instance: config.instance.name.clone(), ledger, voices, memory: Mutex::new(memory) }
    }

    /// What reads what was said before of the branch's last commits, where that is not known yet and nobody is at it. It
    /// blocks on Git and on hosts; what it finds is for [`Herald::take_in`].
    pub fn before(
        &self,
        mirror: &GitMirror,
        head: &Revision,
    ) -> Option<impl FnOnce() -> Before + Send + 'static + use<>> {
        let mut memory = self.memory();
        memory.head = Some(head.clone());
        self.close(&std::mem::take(&mut memory.left), head);
        if memory.unread.is_empty() || memory.reading || memory.next.is_some_and(|next| Instant::now() < next) {
            return None;
        }
        memory.reading = true;
        let hosts: Vec<_> = memory.unread.iter().map(|&at| (at, self.voices[at].host().clone())).collect();
        let (mirror, head) = (mirror.clone(), head.clone());
        Some(move || {
            let commits = lately(&mirror, &head);
            let mut before = Before::default();
            for (at, host) in hosts {
                match host.said(&commits) {
                    Ok(said) => before.said.push((at, said)),
                    Err(error) => {
                        tracing::warn!(%error, host = host.name(), "what was said before cannot be read; it is asked again");
                    }
                }
            }
            before
        })
    }

    /// Takes in what was said before, and closes what was left open on other commits than the branch's head.
    pub fn take_in(&self, before: Before) {
        let head = {
            let mut memory = self.memory();
            memory.reading = false;
            memory.next = Some(Instant::now() + ASK_AGAIN);
            for (at, _) in &before.said {
                memory.unread.remove(at);
            }
            memory.head.clone()
        };
        let said: Vec<Note> = {
            let mut ledger = self.ledger();
            // What this process has said is newer than what it reads.
            let unknown = |note: &Note| ledger.state(&note.revision, &note.context).is_none();
            let said: Vec<Note> = before.said.into_iter().flat_map(|(_, said)| said).filter(unknown).collect();
            said.iter().for_each(|note| ledger.learn(note));
            said
        };
        if let Some(head) = head {
            self.close(&said, &head);
        }
    }

    /// Closes what these notes leave open on other commits than the branch's head: nobody works on it any more.
    fn close(&self, said: &[Note], head: &Revision) {
        for note in closing(&unfinished(said, &self.instance), std::slice::from_ref(head), Timestamp::now()) {
            let notes = self.ledger().say(note);
            self.send(notes);
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

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
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
