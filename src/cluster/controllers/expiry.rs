//! The end of old Events: an hour after they happened last, as the API server's `--event-ttl` has it.

use super::index::Index;
use super::kind::EVENT;
use super::meta::{after, is_deleting, time};
use super::patch;
use crate::cluster::view::{API_SERVER, Step};

/// Seconds that an Event is kept.
const KEPT: i64 = 3600;
/// Seconds between two looks.
const INTERVAL: i64 = 600;

/// One step for every Event. Wakes only by itself: new Events are no reason to look for old ones.
pub fn run(index: &Index<'_>) -> Step {
    let mut step = Step::default();
    for event in index.all(&EVENT).iter() {
        let last = [&event["lastTimestamp"], &event["eventTime"], &event["metadata"]["creationTimestamp"]];
        let expired = last.into_iter().find_map(time).is_some_and(|last| after(last, KEPT) <= index.now);
        if expired && !is_deleting(event) {
            step.push(API_SERVER, patch::delete(&EVENT, event, None));
        }
    }
    step.wake(after(index.now, INTERVAL));
    step
}
