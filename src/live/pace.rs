//! How long a watch lasts before it is opened anew. Pure.
//!
//! A connection can freeze without being closed: a proxy that lost its other side, a firewall that forgot the connection.
//! What happens to the objects meanwhile is then never heard of. A long watch has nothing to tell silence from death by:
//! servers send a bookmark once a minute. client-go pings its HTTP/2 connection (`ReadIdleTimeout`); a watch over HTTP/1.1
//! cannot be pinged, a ping is answered by a proxy whose other side is dead, and so is a TCP keepalive. So each watch is
//! short, by `timeoutSeconds`: the *server* promises its end, and one that has not ended shortly after that is dead. The
//! next watch goes on from the last version (the server sends a bookmark just before the end), so that nothing is listed
//! anew and nothing is missed. That is one cheap request per watch, over the connection that was just freed; with many
//! watches each one lasts longer, so that a cluster is asked about once a second at most, whatever the number of kinds.

use std::time::Duration;

/// How long watches last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchPace {
    /// Where there are few of them.
    pub lifetime: Duration,
    /// With many of them, at least this much for each.
    pub each: Duration,
    /// How much later than promised the server may end one.
    pub grace: Duration,
}

impl Default for WatchPace {
    fn default() -> Self {
        Self { lifetime: Duration::from_secs(20), each: Duration::from_secs(1), grace: Duration::from_secs(5) }
    }
}

impl WatchPace {
    /// What to ask for where `open` watches are open, in whole seconds as `timeoutSeconds` has them. `chance` in 0..1
    /// spreads them, so that they do not all end at once.
    pub fn seconds(&self, open: u32, chance: f64) -> u64 {
        let mean = self.lifetime.max(self.each.saturating_mul(open));
        mean.mul_f64(0.75 + chance.clamp(0.0, 1.0) / 2.0).as_secs().max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frozen_watch_is_noticed_within_half_a_minute_and_many_watches_ask_once_a_second() {
        let pace = WatchPace::default();
        assert_eq!([0.0, 0.5, 1.0].map(|chance| pace.seconds(12, chance)), [15, 20, 25]);
        assert!(pace.seconds(20, 1.0) + pace.grace.as_secs() <= 30);
        assert_eq!(pace.seconds(400, 0.5), 400);
        let quick = WatchPace { lifetime: Duration::from_millis(500), each: Duration::ZERO, ..pace };
        assert_eq!(quick.seconds(400, 0.0), 1);
    }
}
