//! What keeps a report from being sent, and an outbox from being kept.

use crate::object::Problem;
use crate::source::Backoff;
use jiff::{SignedDuration, Timestamp};
use std::time::{Duration, Instant};

/// Waits between attempts: two seconds up to ten minutes.
const BACKOFF: Backoff = Backoff { first: Duration::from_secs(2), cap: Duration::from_secs(600) };

/// The moment of an answer in a pass that began at `now`, whatever was sent before in it: what a host asks for begins with
/// its answer. Whole milliseconds: none where time is virtual.
pub(super) fn answered(now: Timestamp, begun: Instant) -> Timestamp {
    let took = i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX);
    now.checked_add(SignedDuration::from_millis(took)).unwrap_or(now)
}

/// Why a note was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SendError {
    /// For a person; holds no credential.
    pub message: String,
    /// How long the host asks to be left alone.
    pub retry_after: Option<Duration>,
    /// True if the same note will never be taken (unknown commit, limit of the host reached).
    pub permanent: bool,
    /// True if nothing will be taken until a person does something: the token is not accepted, the repository not seen.
    pub denied: bool,
}

impl SendError {
    /// Worth another attempt.
    pub fn transient(message: impl Into<String>) -> Self {
        Self { message: message.into(), retry_after: None, permanent: false, denied: false }
    }

    /// Not worth another attempt.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self { message: message.into(), retry_after: None, permanent: true, denied: false }
    }

    /// A person has to do something first; then it is worth another attempt.
    #[must_use]
    pub fn denied(mut self) -> Self {
        self.denied = true;
        self
    }

    /// When to try again after so many failures, the last one at `now`. `chance` is a random number in 0..1.
    pub(super) fn again(&self, failures: u32, now: Timestamp, chance: f64) -> Timestamp {
        let wait = BACKOFF.delay(failures, chance).max(self.retry_after.unwrap_or_default());
        let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
        now.checked_add(wait).unwrap_or(Timestamp::MAX)
    }

    /// Adds how long the host asks to be left alone.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

/// An outbox that cannot be kept on disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutboxError {
    /// Another process has the directory.
    #[error("the outbox {0} is used by another process")]
    InUse(String),
    /// The file system says no.
    #[error("the outbox {path}: {message}")]
    Io {
        /// The directory.
        path: String,
        /// What happened.
        message: String,
    },
}

impl From<OutboxError> for Problem {
    fn from(error: OutboxError) -> Self {
        let hint = match &error {
            OutboxError::InUse(_) => {
                "one process reports for an instance: stop the other one, or give it its own directory"
            }
            OutboxError::Io { .. } => "check that the directory can be written and that the disk is not full",
        };
        Self::new("OutboxUnusable", error.to_string()).hint(hint)
    }
}
