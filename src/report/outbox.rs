//! Statuses on their way to a host: kept until the host has taken them, in order, across failures and restarts.
//!
//! In: notes. Out: calls of a [`Reporter`], and what became of them.
//!
//! Guarantees: a note is on disk before it is first sent; notes of one (revision, context) are sent in order, one after
//! the other; a note that stands unsent behind its equal is not queued again; a transient failure delays (doubling, with
//! a bound) and loses nothing; the queue is bounded, and what is given up first is what something newer says better. A
//! note whose sending was not confirmed is sent again after a crash: reporters must bear that.
//!
//! Time and chance are arguments, so that the schedule is tested without waiting; only [`Outbox::flush`] looks at the
//! clock.

use super::outbox_error::answered;
pub use super::outbox_error::{OutboxError, SendError};
use super::outbox_store::{Store, Unusable};
use super::status::{Context, Note, State};
use crate::source::Revision;
use jiff::Timestamp;
use std::collections::{HashSet, VecDeque};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Failures of different keys in a row that mean that the host is down: the others are not even tried.
const HOST_DOWN: usize = 2;
/// Notes kept by default.
pub const DEFAULT_CAPACITY: usize = 10_000;

/// Something that takes statuses: a host's API, Git notes.
pub trait Reporter: Send + Sync {
    /// For logs: `github`, `git-notes`.
    fn name(&self) -> &str;

    /// Sends one note and returns once the host has it. May be called again with a note that it has already.
    ///
    /// # Errors
    /// With how the host refused, and whether trying again makes sense.
    fn send(&self, note: &Note) -> Result<(), SendError>;
}

#[derive(Debug, Clone)]
struct Item {
    number: u64,
    note: Note,
    failures: u32,
    due: Timestamp,
}

impl Item {
    fn same_key(&self, note: &Note) -> bool {
        self.note.key() == note.key()
    }
}

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<Item>,
    next_number: u64,
    /// The host asked to be left alone, or is down.
    paused_until: Option<Timestamp>,
    given_up: u64,
}

/// What one pass did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pass {
    /// Notes that the host took.
    pub sent: usize,
    /// Failures worth another attempt, with their messages.
    pub failed: Vec<String>,
    /// Notes that the host will never take.
    pub refused: Vec<(Note, SendError)>,
    /// The host lets nothing in until a person does something.
    pub denied: bool,
    /// When the next pass makes sense; `None` if nothing is left.
    pub next: Option<Timestamp>,
}

/// A queue of notes for one reporter. Shared by reference: notes can be queued while others are sent.
#[derive(Debug)]
pub struct Outbox {
    queue: Mutex<Queue>,
    store: Option<Store>,
    capacity: usize,
    /// One sender at a time, or order would be lost.
    sending: Mutex<()>,
}

impl Outbox {
    /// An outbox in a directory, with what a former process left there. Files that are torn are skipped, and counted as
    /// given up.
    ///
    /// # Errors
    /// If another process uses the directory, or if it cannot be read and written.
    pub fn open(dir: &Path, capacity: usize) -> Result<Self, OutboxError> {
        let path = dir.display().to_string();
        let (store, found) = Store::open(dir).map_err(|error| match error {
            Unusable::InUse => OutboxError::InUse(path.clone()),
            Unusable::Io(error) => OutboxError::Io { path: path.clone(), message: error.to_string() },
        })?;
        let next_number = found.notes.last().map_or(0, |(number, _)| number + 1);
        let item = |(number, note)| Item { number, note, failures: 0, due: Timestamp::MIN };
        let queue = Queue {
            items: found.notes.into_iter().map(item).collect(),
            next_number,
            paused_until: None,
            given_up: found.damaged as u64,
        };
        Ok(Self { queue: Mutex::new(queue), store: Some(store), capacity: capacity.max(1), sending: Mutex::new(()) })
    }

    /// An outbox that lives as long as the process. See [`recover`](super::recover) for what a restart then does.
    pub fn in_memory(capacity: usize) -> Self {
        Self { queue: Mutex::default(), store: None, capacity: capacity.max(1), sending: Mutex::new(()) }
    }

    /// True if it survives the process.
    pub fn is_durable(&self) -> bool {
        self.store.is_some()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that wait.
    pub fn len(&self) -> usize {
        self.queue().items.len()
    }

    /// True if nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Notes that were lost: torn on disk, or pushed out of a full queue.
    pub fn given_up(&self) -> u64 {
        self.queue().given_up
    }

    /// The notes that wait, in order.
    pub fn waiting(&self) -> Vec<Note> {
        self.queue().items.iter().map(|item| item.note.clone()).collect()
    }

    /// The revisions that something waits for.
    pub fn revisions(&self) -> HashSet<Revision> {
        self.queue().items.iter().map(|item| item.note.revision.clone()).collect()
    }

    /// Queues a note. `Ok(false)` if the last one queued under its key says the same.
    ///
    /// # Errors
    /// If it cannot be kept on disk; it is queued in memory all the same, so that it is sent unless the process ends.
    pub fn enqueue(&self, note: Note) -> Result<bool, OutboxError> {
        let mut queue = self.queue();
        let last = queue.items.iter().rev().find(|item| item.same_key(&note));
        if last.is_some_and(|last| last.note.state == note.state && last.note.description == note.description) {
            return Ok(false);
        }
        let number = queue.next_number;
        queue.next_number += 1;
        let kept = self.store.as_ref().map_or(Ok(()), |store| store.put(number, &note));
        queue.items.push_back(Item { number, note, failures: 0, due: Timestamp::MIN });
        while queue.items.len() > self.capacity {
            self.make_room(&mut queue);
        }
        kept.map(|()| true).map_err(|error| OutboxError::Io { path: "queue".to_owned(), message: error.to_string() })
    }

    /// Takes off what another process has said meanwhile, where `said` tells what the host has under a key that ends. A
    /// new round, which begins with `pending`, stays, unless it comes to the same. How many went.
    pub fn drop_said(&self, said: &dyn Fn(&Revision, &Context) -> Option<State>) -> usize {
        let mut queue = self.queue();
        let mut keys: Vec<(Revision, Context)> = Vec::new();
        for item in &queue.items {
            let key = (item.note.revision.clone(), item.note.context.clone());
            if key.1.kind.ends() && !keys.contains(&key) {
                keys.push(key);
            }
        }
        let mut gone: Vec<u64> = Vec::new();
        for (revision, context) in keys {
            let Some(state) = said(&revision, &context).filter(|state| state.is_final()) else { continue };
            let of_key = |item: &&Item| item.note.revision == revision && item.note.context == context;
            let waiting: Vec<(u64, State)> =
                queue.items.iter().filter(of_key).map(|item| (item.number, item.note.state)).collect();
            let over = state == State::Superseded || waiting.last().is_some_and(|(_, last)| *last == state);
            let old = waiting.iter().take_while(|(_, waits)| over || waits.is_final());
            gone.extend(old.map(|(number, _)| *number));
        }
        queue.items.retain(|item| !gone.contains(&item.number));
        gone.iter().for_each(|number| self.forget(*number));
        gone.len()
    }

    /// Gives up one note: one that a later note of its key overtakes, first of health and drift; else the oldest.
    fn make_room(&self, queue: &mut Queue) {
        let overtaken =
            |at: usize, item: &Item| queue.items.iter().skip(at + 1).any(|later| later.same_key(&item.note));
        let live =
            queue.items.iter().enumerate().position(|(at, item)| !item.note.context.kind.ends() && overtaken(at, item));
        let any = || queue.items.iter().enumerate().position(|(at, item)| overtaken(at, item));
        let at = live.or_else(any).unwrap_or(0);
        if let Some(item) = queue.items.remove(at) {
            queue.given_up += 1;
            self.forget(item.number);
        }
    }

    /// A file that cannot be removed is sent once more after a restart, which reporters bear.
    fn forget(&self, number: u64) {
        if let Some(store) = &self.store
            && let Err(error) = store.remove(number)
        {
            tracing::warn!(%error, "a note that was sent stays in the outbox");
        }
    }

    /// Sends what is due. `chance` is a random number in 0..1 for the waits after failures. Blocks on the reporter.
    pub fn send_due(&self, reporter: &dyn Reporter, now: Timestamp, chance: f64) -> Pass {
        self.pass(reporter, now, chance, false)
    }

    fn pass(&self, reporter: &dyn Reporter, now: Timestamp, chance: f64, at_once: bool) -> Pass {
        let begun = Instant::now();
        let _one = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        let mut pass = Pass::default();
        let mut blocked: HashSet<(Revision, String)> = HashSet::new();
        let mut failures_in_a_row = 0;
        let numbers: Vec<u64> = self.queue().items.iter().map(|item| item.number).collect();
        for number in numbers {
            let Some(item) = self.next_item(number, now, at_once, &mut blocked) else { continue };
            let answer = reporter.send(&item.note);
            let now = answered(now, begun);
            match answer {
                Ok(()) => {
                    self.done(number);
                    pass.sent += 1;
                    failures_in_a_row = 0;
                }
                Err(error) if error.permanent => {
                    self.done(number);
                    pass.refused.push((item.note, error));
                }
                Err(error) => {
                    failures_in_a_row += 1;
                    pass.denied |= error.denied;
                    let whole_host = error.retry_after.is_some() || failures_in_a_row >= HOST_DOWN;
                    self.delay(number, &error, now, chance, whole_host);
                    blocked.insert(key(&item.note));
                    pass.failed.push(error.message);
                    if whole_host {
                        break;
                    }
                }
            }
        }
        pass.next = self.next_due();
        pass
    }

    /// The item, if it may be sent now.
    fn next_item(
        &self,
        number: u64,
        now: Timestamp,
        at_once: bool,
        blocked: &mut HashSet<(Revision, String)>,
    ) -> Option<Item> {
        let queue = self.queue();
        let item = queue.items.iter().find(|item| item.number == number)?;
        let waits = !at_once && (item.due > now || queue.paused_until.is_some_and(|until| until > now));
        if blocked.contains(&key(&item.note)) {
            return None;
        }
        if waits {
            blocked.insert(key(&item.note));
            return None;
        }
        Some(item.clone())
    }

    fn done(&self, number: u64) {
        let mut queue = self.queue();
        queue.items.retain(|item| item.number != number);
        queue.paused_until = None;
        self.forget(number);
    }

    fn delay(&self, number: u64, error: &SendError, now: Timestamp, chance: f64, whole_host: bool) {
        let mut queue = self.queue();
        let Some(item) = queue.items.iter_mut().find(|item| item.number == number) else { return };
        item.failures = item.failures.saturating_add(1);
        let due = error.again(item.failures, now, chance);
        item.due = due;
        if whole_host {
            queue.paused_until = Some(due);
        }
    }

    /// When the first note under any key is due.
    fn next_due(&self) -> Option<Timestamp> {
        let queue = self.queue();
        let mut seen = HashSet::new();
        let heads = queue.items.iter().filter(|item| seen.insert(item.note.key()));
        let first = heads.map(|item| item.due).min()?;
        Some(queue.paused_until.map_or(first, |until| first.max(until)))
    }

    /// Sends as much as it can until the time is over: for a shutdown. Waits for no one's turn at first, then as
    /// [`Outbox::send_due`]. What is left stays, if the outbox is durable.
    pub fn flush(&self, reporter: &dyn Reporter, patience: Duration) -> Pass {
        let deadline = Instant::now() + patience;
        let mut all = self.pass(reporter, Timestamp::now(), rand::random(), true);
        while let Some(next) = all.next {
            let wait = Duration::try_from(next.duration_since(Timestamp::now())).unwrap_or_default();
            if Instant::now() + wait >= deadline {
                break;
            }
            std::thread::sleep(wait);
            let pass = self.send_due(reporter, Timestamp::now(), rand::random());
            all.sent += pass.sent;
            all.failed.extend(pass.failed);
            all.refused.extend(pass.refused);
            all.next = pass.next;
        }
        all
    }
}

fn key(note: &Note) -> (Revision, String) {
    (note.revision.clone(), note.context.to_string())
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
