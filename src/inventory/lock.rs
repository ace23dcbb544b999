//! The app's lock as data: who writes now, and until when. Pure; the compare-and-swap is the API server's
//! (`resourceVersion` on the parent).

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How long a lock lasts without renewal.
pub const LIFETIME: SignedDuration = SignedDuration::from_secs(30);
/// How often a holder renews.
pub const RENEW_EVERY: SignedDuration = SignedDuration::from_secs(10);

/// A process that may write.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Holder {
    /// Unique for this process.
    pub id: String,
    /// Host name, so that a dead process on the same host is recognised at once.
    pub host: String,
    /// Process id on that host.
    pub pid: u32,
    /// `daemon` or `cli`.
    pub role: String,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} on {} (pid {})", self.role, self.host, self.pid)
    }
}

/// A lock, held or run out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Who.
    pub holder: Holder,
    /// Until when, unless renewed.
    pub expires: Timestamp,
}

/// What a process that wants to write may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// Take it: it is free, ours, run out, or its holder is dead.
    Take,
    /// Wait for this holder.
    Wait(Holder),
}

/// May `me` take the lock? `is_dead` tells whether a holder on this host has ended (a process killed with `kill -9`
/// leaves its lock behind; waiting for it to run out would delay the restart).
pub fn claim(lock: Option<&Lock>, me: &Holder, now: Timestamp, is_dead: impl Fn(&Holder) -> bool) -> Claim {
    match lock {
        Some(lock) if lock.holder.id != me.id && lock.expires > now && !is_dead(&lock.holder) => {
            Claim::Wait(lock.holder.clone())
        }
        _ => Claim::Take,
    }
}

/// A fresh lock for `me`.
pub fn taken(me: &Holder, now: Timestamp) -> Lock {
    Lock { holder: me.clone(), expires: now + LIFETIME }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(id: &str) -> Holder {
        Holder { id: id.into(), host: "h".into(), pid: 1, role: "cli".into() }
    }

    #[test]
    fn table() {
        let now = Timestamp::UNIX_EPOCH;
        let lock = taken(&holder("a"), now);
        let late = now + LIFETIME;
        assert_eq!(claim(None, &holder("b"), now, |_| false), Claim::Take);
        assert_eq!(claim(Some(&lock), &holder("a"), now, |_| false), Claim::Take);
        assert_eq!(claim(Some(&lock), &holder("b"), now, |_| false), Claim::Wait(holder("a")));
        assert_eq!(claim(Some(&lock), &holder("b"), now, |_| true), Claim::Take);
        assert_eq!(claim(Some(&lock), &holder("b"), late, |_| false), Claim::Take);
    }
}
