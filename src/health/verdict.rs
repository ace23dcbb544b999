//! The verdict: one vocabulary of health, the reason in words, and when to look again.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Health of an object or an app, ordered from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Health {
    /// It does what it is meant to do.
    Healthy,
    /// Told to pause, and paused.
    Suspended,
    /// On its way; no verdict yet.
    Progressing,
    /// Not there.
    Missing,
    /// It failed, or cannot get on by itself.
    Degraded,
    /// It could not be judged.
    Unknown,
}

impl Health {
    /// The worst of several; `Healthy` when there are none.
    pub fn worst(all: impl IntoIterator<Item = Self>) -> Self {
        all.into_iter().max().unwrap_or(Self::Healthy)
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Healthy => "Healthy",
            Self::Suspended => "Suspended",
            Self::Progressing => "Progressing",
            Self::Missing => "Missing",
            Self::Degraded => "Degraded",
            Self::Unknown => "Unknown",
        })
    }
}

/// Health of one object with the reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectHealth {
    /// The verdict.
    pub health: Health,
    /// Why, for a person: `2 of 3 pods ready`, `web-abc: ImagePullBackOff: …`. Empty when healthy.
    pub message: String,
}

/// An [`ObjectHealth`] with what the caller needs besides: when to look again, and what follows from the verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assessment {
    /// The verdict.
    pub health: Health,
    /// Why, for a person, at most [`MESSAGE_LIMIT`] characters. Empty when healthy.
    pub message: String,
    /// When time alone may change the verdict, the object staying as it is. `None`: only an event can.
    pub recheck_at: Option<Timestamp>,
    /// False if nothing has to wait for this verdict: neither what depends on the object, nor the end of a sync.
    pub gates: bool,
    /// True if pods of an earlier revision are to blame: no reason to roll the new one back.
    pub old_pods: bool,
}

/// Longest message, in characters. Container runtimes write pages.
pub const MESSAGE_LIMIT: usize = 400;

impl Assessment {
    /// A verdict that gates and blames nobody.
    pub fn new(health: Health, message: impl Into<String>) -> Self {
        Self { health, message: shorten(&message.into()), recheck_at: None, gates: true, old_pods: false }
    }

    /// All is well.
    pub fn healthy() -> Self {
        Self::new(Health::Healthy, "")
    }

    /// On its way.
    pub fn progressing(message: impl Into<String>) -> Self {
        Self::new(Health::Progressing, message)
    }

    /// It failed, or cannot get on by itself.
    pub fn degraded(message: impl Into<String>) -> Self {
        Self::new(Health::Degraded, message)
    }

    /// Paused on purpose.
    pub fn suspended(message: impl Into<String>) -> Self {
        Self::new(Health::Suspended, message)
    }

    /// Progressing until `patience` after `since`, Degraded from then on. Without a known start it stays Progressing.
    pub fn patiently(
        since: Option<Timestamp>,
        patience: SignedDuration,
        now: Timestamp,
        message: impl Into<String>,
    ) -> Self {
        match since.and_then(|start| start.checked_add(patience).ok()) {
            Some(until) if until <= now => Self::degraded(message),
            until => Self { recheck_at: until, ..Self::progressing(message) },
        }
    }

    /// The same, and nothing has to wait for it.
    #[must_use]
    pub fn ungated(self) -> Self {
        Self { gates: false, ..self }
    }

    /// The same with another message in front: `front: message`.
    #[must_use]
    pub fn under(self, front: &str) -> Self {
        let message = if self.message.is_empty() { front.to_owned() } else { format!("{front}: {}", self.message) };
        Self { message: shorten(&message), ..self }
    }

    /// True if all is well.
    pub fn is_healthy(&self) -> bool {
        self.health == Health::Healthy
    }
}

impl From<Assessment> for ObjectHealth {
    fn from(assessment: Assessment) -> Self {
        Self { health: assessment.health, message: assessment.message }
    }
}

/// One line, at most [`MESSAGE_LIMIT`] characters, no control characters.
pub fn shorten(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut short: String = line.chars().filter(|c| !c.is_control()).take(MESSAGE_LIMIT).collect();
    if line.chars().count() > MESSAGE_LIMIT {
        short.pop();
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_counts() {
        use Health::{Degraded, Healthy, Missing, Progressing, Suspended, Unknown};
        for (all, worst) in [
            (vec![], Healthy),
            (vec![Healthy, Suspended], Suspended),
            (vec![Suspended, Progressing, Healthy], Progressing),
            (vec![Missing, Progressing], Missing),
            (vec![Degraded, Missing], Degraded),
            (vec![Unknown, Degraded], Unknown),
        ] {
            assert_eq!(Health::worst(all.clone()), worst, "{all:?}");
        }
    }

    #[test]
    fn patience_ends() {
        let at = |s: i64| Timestamp::from_second(s).unwrap();
        let minute = SignedDuration::from_mins(1);
        let early = Assessment::patiently(Some(at(0)), minute, at(59), "x");
        assert_eq!((early.health, early.recheck_at), (Health::Progressing, Some(at(60))));
        let late = Assessment::patiently(Some(at(0)), minute, at(60), "x");
        assert_eq!((late.health, late.recheck_at), (Health::Degraded, None));
        assert_eq!(Assessment::patiently(None, minute, at(60), "x").health, Health::Progressing);
    }

    #[test]
    fn messages_are_one_short_line() {
        assert_eq!(shorten("a\n  b\u{7}\tc"), "a b c");
        assert_eq!(shorten(&"é".repeat(1000)).chars().count(), MESSAGE_LIMIT);
    }
}
