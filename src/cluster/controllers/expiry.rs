//! The end of old Events: an hour after they happened last, as the API server's `--event-ttl` has it; and of the oldest
//! where there are too many, which a real cluster's recorders prevent by dropping them (client-go `EventCorrelator`).

use super::index::Index;
use super::kind::EVENT;
use super::meta::{after, is_deleting, time};
use super::patch;
use crate::cluster::view::{API_SERVER, Step};
use jiff::Timestamp;
use serde_json::Value;

/// Seconds that an Event is kept.
const KEPT: i64 = 3600;
/// Seconds between two looks.
const INTERVAL: i64 = 60;
/// Events that are kept.
const MOST: usize = 5_000;

/// One step for every Event. Wakes only by itself: new Events are no reason to look for old ones.
pub fn run(index: &Index<'_>) -> Step {
    let mut step = Step::default();
    let events = index.all(&EVENT);
    let mut last: Vec<(Timestamp, &Value)> = events
        .iter()
        .filter(|event| !is_deleting(event))
        .map(|event| (happened(event).unwrap_or(Timestamp::MAX), &**event))
        .collect();
    last.sort_by_key(|(at, _)| *at);
    let surplus = last.len().saturating_sub(MOST);
    for (position, (at, event)) in last.into_iter().enumerate() {
        if position < surplus || after(at, KEPT) <= index.now {
            step.push(API_SERVER, patch::delete(&EVENT, event, None));
        }
    }
    step.wake(after(index.now, INTERVAL));
    step
}

fn happened(event: &Value) -> Option<Timestamp> {
    let times = [&event["lastTimestamp"], &event["eventTime"], &event["metadata"]["creationTimestamp"]];
    times.into_iter().find_map(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::simulation::Simulation;
    use serde_json::json;

    #[test]
    fn old_events_go_and_of_too_many_the_oldest() {
        let mut cluster = Simulation::new();
        let event = |name: &str, last: &str| json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": name}, "lastTimestamp": last});
        cluster.create(event("old", "2025-12-31T22:00:00Z"));
        cluster.create(event("oldest-of-many", "2025-12-31T23:59:00Z"));
        for i in 0..MOST {
            cluster.create(event(&format!("e{i}"), "2025-12-31T23:59:30Z"));
        }
        cluster.run(60_000);
        assert_eq!(cluster.list(&EVENT).len(), MOST);
        assert!(cluster.get(&EVENT, "old").is_none() && cluster.get(&EVENT, "oldest-of-many").is_none());
    }
}
