//! Histories that once failed, shrunk, each with the mistake that it found. They run before all others, under several orders
//! of events.

use super::history::{Content, History, Step};
use std::collections::BTreeMap;

/// Orders of events that each history is run under.
const ORDERS: u64 = 4;

/// What once went wrong, the history, and a seed.
pub fn all() -> impl Iterator<Item = (&'static str, History, u64)> {
    known().into_iter().flat_map(|(what, history)| (0..ORDERS).map(move |seed| (what, history.clone(), seed)))
}

/// How many runs [`all`] asks for.
pub fn runs() -> u64 {
    all().count() as u64
}

fn content(items: &[(usize, bool, u8)]) -> Content {
    Content(items.iter().map(|(slot, front, value)| (*slot, (*front, *value))).collect::<BTreeMap<_, _>>())
}

fn known() -> Vec<(&'static str, History)> {
    vec![(
        "an app that left Git amid its first sync kept what it had written by then",
        History {
            first: content(&[(0, true, 2), (4, true, 1), (5, true, 1)]),
            moments: vec![(20, Step::Lag(3000))],
            last: content(&[(0, false, 1)]),
        },
    )]
}
