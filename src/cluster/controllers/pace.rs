//! How often one controller object may make things: a ReplicaSet whose pods are taken away at once (a template that no
//! node tolerates) makes new ones for ever, and nothing here takes the time that it takes in a real cluster.
//!
//! A bucket of rounds for each owner, as the real controllers' clients have one for all (`--kube-api-qps`). Several
//! objects in one step are one round: what grows, grows at once.

use super::meta::{after_millis, controller_uid};
use crate::cluster::view::Write;
use jiff::Timestamp;
use std::collections::{HashMap, HashSet};

/// Rounds that an owner may make at once. The largest rollouts need a few dozen.
const ROUNDS: i64 = 200;
/// Milliseconds in which an owner gains a round.
const GAIN: i64 = 200;

struct Bucket {
    left: i64,
    since: Timestamp,
}

/// The buckets of owners that have made something lately, by uid.
#[derive(Default)]
pub struct Pace {
    buckets: HashMap<String, Bucket>,
    /// Owners that make something in this step.
    making: HashSet<String>,
}

impl Pace {
    /// Begins a step.
    pub fn begin(&mut self, now: Timestamp) {
        self.making.clear();
        if self.buckets.len() > 1000 {
            self.buckets.retain(|_, bucket| gained(bucket, now) + bucket.left < ROUNDS);
        }
    }

    /// When a write may be made; `None` if now.
    pub fn held_until(&mut self, write: &Write, now: Timestamp) -> Option<Timestamp> {
        let Write::Create { object } = write else { return None };
        let owner = controller_uid(object)?;
        if self.making.contains(owner) {
            return None;
        }
        let bucket = self.buckets.entry(owner.to_owned()).or_insert(Bucket { left: ROUNDS, since: now });
        let gain = gained(bucket, now);
        if gain > 0 {
            bucket.left = (bucket.left + gain).min(ROUNDS);
            bucket.since = now;
        }
        if bucket.left == 0 {
            return Some(after_millis(bucket.since, GAIN));
        }
        bucket.left -= 1;
        self.making.insert(owner.to_owned());
        None
    }
}

fn gained(bucket: &Bucket, now: Timestamp) -> i64 {
    i64::try_from(now.duration_since(bucket.since).as_millis()).unwrap_or(i64::MAX).max(0) / GAIN
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_owner_makes_so_many_rounds_and_then_five_a_second() {
        let write = Write::Create {
            object: json!({"kind": "Pod", "metadata": {"ownerReferences": [{"uid": "u", "controller": true}]}}),
        };
        let (mut pace, start) = (Pace::default(), Timestamp::UNIX_EPOCH);
        let mut made = 0;
        for millis in 0..10_000 {
            let now = after_millis(start, millis);
            pace.begin(now);
            if pace.held_until(&write, now).is_none() {
                made += 1;
                // The same step may make more.
                assert_eq!(pace.held_until(&write, now), None);
            }
        }
        assert_eq!(made, ROUNDS + 9_999 / GAIN);
        let free = Write::Create { object: json!({"kind": "Pod", "metadata": {}}) };
        assert!((0..1000).all(|_| pace.held_until(&free, start).is_none()));
    }
}
