//! Histories that once failed, shrunk, each with the mistake that it found. They run before all others, under several orders
//! of events.

use super::history::{Content, History, Step, Who};
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

fn history(first: &[(usize, bool, u8)], moments: &[(u32, Step)], last: &[(usize, bool, u8)]) -> History {
    History { first: content(first), moments: moments.to_vec(), last: content(last) }
}

fn known() -> Vec<(&'static str, History)> {
    let nothing = Step::Commit(content(&[]));
    vec![
        (
            "a process that stood still until its lock had run out went on writing",
            history(
                &[(2, true, 0), (3, true, 0)],
                &[(21, Step::Pause(Who::Writer, 30_000)), (1, nothing.clone()), (0, Step::Sync)],
                &[],
            ),
        ),
        (
            "an app waited for the health of what was another app's to delete",
            history(
                &[(0, true, 0), (1, true, 3), (4, false, 1), (6, false, 1)],
                &[(670, Step::Commit(content(&[(5, true, 2), (6, true, 3)]))), (220, Step::Stranger(0, 2))],
                &[(1, true, 2), (2, true, 0)],
            ),
        ),
        (
            "an app that left Git amid its first sync kept what it had written by then",
            history(&[(0, true, 2), (4, true, 1), (5, true, 1)], &[(20, Step::Lag(3000))], &[(0, false, 1)]),
        ),
        (
            "an inventory was tidied up, or written over by what was learned late, while another process had it locked",
            history(
                &[(0, false, 0), (5, true, 0)],
                &[(21_005, Step::Sync), (32, nothing.clone()), (8, Step::Faults(544, 17)), (543, nothing.clone())],
                &[],
            ),
        ),
        (
            "an object that another app had wanted, and wants no more, was pruned by nobody",
            history(&[(0, true, 0)], &[(21, Step::Commit(content(&[(0, false, 0)])))], &[]),
        ),
        (
            "a watch that lagged behind had an object deleted that another app had taken over",
            history(
                &[(2, false, 0), (5, true, 0)],
                &[(228, nothing.clone()), (3, Step::Commit(content(&[(2, true, 0)])))],
                &[],
            ),
        ),
        (
            "older content that another process wrote while health was waited for stayed",
            history(
                &[(0, true, 0), (1, true, 0)],
                &[(1032, Step::Sync)],
                &[(0, false, 0), (1, false, 0), (4, true, 0)],
            ),
        ),
        (
            "what another process had created again was let go as a stranger's",
            history(
                &[(0, true, 3), (1, true, 3), (3, false, 1), (5, false, 2)],
                &[(25, Step::Delete(0)), (1, Step::Lag(1108)), (450, Step::Sync), (35, nothing.clone())],
                &[],
            ),
        ),
        (
            "an object that had become another app's was forgotten: a rollout was not waited for before prunes",
            history(
                &[(4, true, 1), (2, false, 0)],
                &[
                    (1201, Step::Commit(content(&[(0, false, 0), (1, true, 0), (2, true, 0), (6, false, 1)]))),
                    (500, Step::Commit(content(&[(0, false, 1), (6, false, 1), (3, true, 0), (4, true, 0)]))),
                    (479, nothing.clone()),
                ],
                &[(6, true, 0)],
            ),
        ),
        (
            "an object that had become another app's was forgotten: its app waited for its health in vain",
            history(
                &[(1, false, 0), (2, true, 0), (3, true, 0), (6, true, 3)],
                &[
                    (656, Step::Commit(content(&[(1, false, 1), (2, false, 0), (6, false, 0)]))),
                    (307, Step::Commit(content(&[(5, false, 0)]))),
                    (13, Step::Kill(Who::Other, 0)),
                ],
                &[(1, true, 0), (2, false, 0), (3, false, 0)],
            ),
        ),
    ]
}
