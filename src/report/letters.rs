//! Comments on their way to a host: kept until the host has taken them, the newest one of each pull request.
//!
//! In: comments. Out: calls that write them, and what became of them.
//!
//! Guarantees: a comment is on disk before it is first sent, and a process killed at any point leaves it whole or not at
//! all; a newer one of a pull request takes the place of an older one, also while that is being sent; a failure delays
//! (doubling, with a bound); what a host did not take for days is old by then, and given up. A comment whose sending was
//! not confirmed is sent again: whoever writes it finds its own and changes nothing.
//!
//! Time and chance are arguments, as with the [`Outbox`](super::Outbox), whose directory and lock it shares.

use super::outbox::SendError;
use super::outbox_error::answered;
use super::outbox_store::{read, remove, write};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What an earlier process left waits for this: most of it is about to be said anew.
const LEFT_WAITS: SignedDuration = SignedDuration::from_secs(5);
/// A comment that was not taken for so long is given up.
const OLD: SignedDuration = SignedDuration::from_hours(72);
/// Comments kept; the oldest is given up first.
const MOST: usize = 500;
/// Largest file that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A comment of a pull request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Number of the pull request.
    pub pull: u64,
    /// What tells our comment from others.
    pub mark: String,
    /// The whole text, the mark included.
    pub text: String,
    /// When it was written.
    pub written: Timestamp,
}

#[derive(Debug, Clone)]
struct Item {
    letter: Letter,
    failures: u32,
    due: Timestamp,
}

/// What one pass did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Comments that the host has now.
    pub sent: usize,
    /// First failures, by pull request: the later ones of the same comment are no news.
    pub failed: Vec<(u64, String)>,
    /// Comments that are given up, and why.
    pub given_up: Vec<(u64, String)>,
    /// When the next pass makes sense; `None` if nothing is left.
    pub next: Option<Timestamp>,
}

/// The comments that wait, by pull request.
#[derive(Debug, Default)]
pub struct Letters {
    items: Mutex<BTreeMap<u64, Item>>,
    dir: Option<PathBuf>,
}

impl Letters {
    /// In a directory, with what a former process left there; nobody else may use it.
    ///
    /// # Errors
    /// If it cannot be read and written.
    pub fn open(dir: &Path, now: Timestamp) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let mut items = BTreeMap::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let letter: Option<Letter> =
                path.extension().is_some_and(|e| e == "json").then(|| read(&path, MAX_FILE_BYTES)).flatten();
            match letter {
                Some(letter) => {
                    let due = now.checked_add(LEFT_WAITS).unwrap_or(now);
                    items.insert(letter.pull, Item { letter, failures: 0, due });
                }
                // Torn, or never finished.
                None if path.is_file() => fs::remove_file(&path)?,
                None => {}
            }
        }
        Ok(Self { items: Mutex::new(items), dir: Some(dir.to_owned()) })
    }

    /// As long as the process lives.
    pub fn in_memory() -> Self {
        Self::default()
    }

    fn items(&self) -> MutexGuard<'_, BTreeMap<u64, Item>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.items().len()
    }

    /// True if none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a comment, in the place of an older one of its pull request.
    ///
    /// # Errors
    /// If it cannot be kept on disk; it is sent all the same unless the process ends.
    pub fn put(&self, letter: Letter) -> io::Result<()> {
        let mut items = self.items();
        let kept = self.dir.as_ref().map_or(Ok(()), |dir| write(&path(dir, letter.pull), &letter));
        items.insert(letter.pull, Item { letter, failures: 0, due: Timestamp::MIN });
        if items.len() > MOST
            && let Some(oldest) = items.values().min_by_key(|item| item.letter.written).map(|item| item.letter.pull)
        {
            items.remove(&oldest);
            self.forget(oldest);
        }
        kept
    }

    fn forget(&self, pull: u64) {
        let Some(dir) = &self.dir else { return };
        if let Err(error) = remove(&path(dir, pull)) {
            tracing::warn!(%error, "a comment that was written stays in the outbox");
        }
    }

    /// Sends what is due. `chance` is a random number in 0..1 for the waits after failures.
    pub fn send_due(&self, send: &dyn Fn(&Letter) -> Result<(), SendError>, now: Timestamp, chance: f64) -> Delivery {
        let begun = Instant::now();
        let mut out = Delivery::default();
        let due: Vec<Letter> =
            self.items().values().filter(|item| item.due <= now).map(|item| item.letter.clone()).collect();
        for letter in due {
            let (pull, answer) = (letter.pull, send(&letter));
            let mut items = self.items();
            // What took its place meanwhile is not sent yet.
            let Some(item) = items.get_mut(&pull).filter(|item| item.letter == letter) else { continue };
            let old = now.duration_since(letter.written) > OLD;
            match answer {
                Ok(()) => {
                    out.sent += 1;
                    items.remove(&pull);
                    self.forget(pull);
                }
                Err(error) if error.permanent || old => {
                    items.remove(&pull);
                    self.forget(pull);
                    out.given_up.push((pull, error.message));
                }
                Err(error) => {
                    item.failures = item.failures.saturating_add(1);
                    item.due = error.again(item.failures, answered(now, begun), chance);
                    if item.failures == 1 {
                        out.failed.push((pull, error.message));
                    }
                }
            }
        }
        out.next = self.items().values().map(|item| item.due).min();
        out
    }
}

fn path(dir: &Path, pull: u64) -> PathBuf {
    dir.join(format!("{pull}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(pull: u64, text: &str) -> Letter {
        Letter { pull, mark: "<!-- m -->".into(), text: text.into(), written: Timestamp::UNIX_EPOCH }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Sends everything that is due; what the host got.
    fn take(letters: &Letters, now: i64) -> Vec<String> {
        let got = Mutex::new(Vec::new());
        letters.send_due(
            &|letter| {
                got.lock().unwrap().push(letter.text.clone());
                Ok(())
            },
            at(now),
            0.5,
        );
        got.into_inner().unwrap()
    }

    #[test]
    fn the_newest_of_a_pull_request_wins_across_a_crash() {
        let dir = tempfile::tempdir().unwrap();
        let letters = Letters::open(dir.path(), at(0)).unwrap();
        letters.put(letter(1, "old")).unwrap();
        letters.put(letter(2, "other")).unwrap();
        letters.put(letter(1, "new")).unwrap();
        // Killed amid writing: what is torn is gone, what was whole is there.
        drop(letters);
        fs::write(dir.path().join("3.tmp"), "{").unwrap();
        fs::write(dir.path().join("4.json"), "{").unwrap();
        let letters = Letters::open(dir.path(), at(0)).unwrap();
        assert_eq!(take(&letters, 0), Vec::<String>::new(), "what is left waits for what is said anew");
        letters.put(letter(2, "said anew")).unwrap();
        assert_eq!(take(&letters, 1), ["said anew"]);
        assert_eq!(take(&letters, 5), ["new"]);
        assert!(letters.is_empty());
        drop(letters);
        assert!(Letters::open(dir.path(), at(0)).unwrap().is_empty() && fs::read_dir(dir.path()).unwrap().count() == 0);
    }

    #[test]
    fn failures_delay_and_what_took_its_place_is_kept() {
        let letters = Letters::in_memory();
        letters.put(letter(1, "a")).unwrap();
        let down = |_: &Letter| Err(SendError::transient("connection refused"));
        let first = letters.send_due(&down, at(0), 1.0);
        assert_eq!((first.sent, first.failed.len()), (0, 1));
        let next = first.next.unwrap();
        assert!(next > at(0) && letters.send_due(&down, at(0), 1.0).failed.is_empty(), "not before its time");
        let second = letters.send_due(&down, next, 1.0);
        assert!(second.failed.is_empty() && second.next.unwrap().duration_since(next) > next.duration_since(at(0)));
        // A newer one is put while the older one is on its way.
        let while_sent = |_: &Letter| {
            letters.put(letter(1, "b")).unwrap();
            Ok(())
        };
        letters.send_due(&while_sent, second.next.unwrap(), 1.0);
        assert_eq!(take(&letters, 0), ["b"]);
    }

    #[test]
    fn what_nobody_takes_is_given_up_in_the_end() {
        let letters = Letters::in_memory();
        letters.put(letter(1, "a")).unwrap();
        let gone = |_: &Letter| Err(SendError::transient("no such pull request").denied());
        assert!(letters.send_due(&gone, at(0), 1.0).given_up.is_empty());
        assert_eq!(letters.send_due(&gone, at(4 * 86_400), 1.0).given_up.len(), 1);
        letters.put(letter(2, "b")).unwrap();
        let never = |_: &Letter| Err(SendError::permanent("too long"));
        assert_eq!(letters.send_due(&never, at(0), 1.0).given_up, [(2, "too long".to_owned())]);
        assert!(letters.is_empty());
    }
}
