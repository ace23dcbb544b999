//! What was already said, and so what is still to be said. Pure.
//!
//! In: notes that someone wants said, in order. Out: the notes to send.
//!
//! Guarantees, per (revision, context): no state twice in a row; in contexts that end (plan, sync) `pending` comes
//! first, and after it exactly one final state, until a new round is opened on purpose; a revision that was superseded
//! stays so. Rebuilt from the host's own notes after a restart, it gives the same answers.

use super::status::{Context, ContextKind, Note, State};
use crate::source::Revision;
use jiff::Timestamp;
use std::collections::{BTreeMap, VecDeque};

/// Most revisions that are remembered; the oldest ones with nothing open are forgotten first.
const MAX_REVISIONS: usize = 1000;

/// What was said, by revision and context.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    said: BTreeMap<Revision, BTreeMap<Context, State>>,
    /// Revisions in the order in which they were first spoken of.
    order: VecDeque<Revision>,
}

impl Ledger {
    /// From what a host (or the notes in the repository) says was said; notes of one key in the order they were sent.
    pub fn from_notes<'a>(notes: impl IntoIterator<Item = &'a Note>) -> Self {
        let mut ledger = Self::default();
        for note in notes {
            ledger.record(note);
        }
        ledger
    }

    /// The last state under this key.
    pub fn state(&self, revision: &Revision, context: &Context) -> Option<State> {
        self.said.get(revision)?.get(context).copied()
    }

    /// What to send so that this is said: nothing if it was said or is over, the note, or `pending` and the note where
    /// the `pending` that must come first was never sent.
    pub fn say(&mut self, note: Note) -> Vec<Note> {
        let before = self.state(&note.revision, &note.context);
        let ends = note.context.kind.ends();
        let over = ends && before.is_some_and(State::is_final);
        if before == Some(note.state) || before == Some(State::Superseded) || over {
            return Vec::new();
        }
        let opening = (ends && before.is_none() && note.state.is_final()).then(|| Note {
            state: State::Pending,
            description: "seen".to_owned(),
            timings: Default::default(),
            exit: None,
            ..note.clone()
        });
        self.record(&note);
        opening.into_iter().chain([note]).collect()
    }

    /// As [`Ledger::say`], for a revision that is worked on once more on purpose (a sync that a person asked for, a
    /// rollback to it): a context that ended begins again with `pending`.
    pub fn reopen(&mut self, note: Note) -> Vec<Note> {
        if note.state == State::Pending && self.state(&note.revision, &note.context).is_some_and(State::is_final) {
            self.record(&note);
            return vec![note];
        }
        self.say(note)
    }

    /// Closes what is still open on other revisions than `newest`, under the contexts of this instance and kind.
    pub fn supersede(&mut self, newest: &Revision, instance: &str, kind: ContextKind, now: Timestamp) -> Vec<Note> {
        let text = format!("superseded by {}", newest.short(7));
        let notes: Vec<Note> = self
            .open()
            .filter(|(revision, context)| *revision != newest && context.instance == instance && context.kind == kind)
            .map(|(revision, context)| Note::new(now, revision, context, State::Superseded, &text))
            .collect();
        for note in &notes {
            self.record(note);
        }
        notes
    }

    /// Every key of a context that ends whose last state is `pending`, oldest revision first.
    pub fn open(&self) -> impl Iterator<Item = (&Revision, &Context)> {
        self.order.iter().filter_map(|revision| Some((revision, self.said.get(revision)?))).flat_map(
            |(revision, said)| {
                let open = said.iter().filter(|(context, state)| context.kind.ends() && !state.is_final());
                open.map(move |(context, _)| (revision, context))
            },
        )
    }

    /// Takes in what was said before, by whoever it was.
    pub fn learn(&mut self, note: &Note) {
        self.record(note);
    }

    fn record(&mut self, note: &Note) {
        if !self.said.contains_key(&note.revision) {
            self.order.push_back(note.revision.clone());
        }
        self.said.entry(note.revision.clone()).or_default().insert(note.context.clone(), note.state);
        if self.order.len() > MAX_REVISIONS {
            self.forget_one();
        }
    }

    /// Forgets the oldest revision that has nothing open; if all have, the oldest one.
    fn forget_one(&mut self) {
        let closed = |revision: &Revision| {
            let said = self.said.get(revision);
            !said.is_some_and(|said| said.iter().any(|(context, state)| context.kind.ends() && !state.is_final()))
        };
        let at = self.order.iter().position(closed).unwrap_or(0);
        if let Some(revision) = self.order.remove(at) {
            self.said.remove(&revision);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn revision(n: usize) -> Revision {
        Revision::parse(&format!("{n:040x}")).unwrap()
    }

    fn note(n: usize, kind: ContextKind, state: State) -> Note {
        Note::new(Timestamp::UNIX_EPOCH, &revision(n), &Context::new("driftless", kind), state, "x")
    }

    fn states(notes: &[Note]) -> Vec<State> {
        notes.iter().map(|note| note.state).collect()
    }

    #[test]
    fn a_sync_from_pending_to_one_end() {
        use State::{Error, Failure, Pending, Success};
        let mut ledger = Ledger::default();
        let mut say = |state| states(&ledger.say(note(1, ContextKind::Sync, state)));
        assert_eq!(say(Pending), [Pending]);
        assert_eq!(say(Pending), []);
        assert_eq!(say(Success), [Success]);
        for state in [Success, Failure, Error, Pending] {
            assert_eq!(say(state), [], "{state}");
        }
        assert_eq!(states(&ledger.reopen(note(1, ContextKind::Sync, Pending))), [Pending]);
        assert_eq!(states(&ledger.say(note(1, ContextKind::Sync, Failure))), [Failure]);
        // Never announced: the announcement is made up for.
        assert_eq!(states(&ledger.say(note(2, ContextKind::Plan, Success))), [Pending, Success]);
    }

    #[test]
    fn health_follows_live_state() {
        use State::{Failure, Success};
        let mut ledger = Ledger::default();
        let mut say = |state| states(&ledger.say(note(1, ContextKind::Health, state)));
        assert_eq!(
            [say(Success), say(Success), say(Failure), say(Success)],
            [vec![Success], vec![], vec![Failure], vec![Success]]
        );
    }

    #[test]
    fn superseded_once_and_for_all() {
        let mut ledger = Ledger::default();
        for n in 1..=3 {
            ledger.say(note(n, ContextKind::Sync, State::Pending));
        }
        ledger.say(note(1, ContextKind::Sync, State::Failure));
        ledger.say(note(2, ContextKind::Health, State::Failure));
        let closed = ledger.supersede(&revision(3), "driftless", ContextKind::Sync, Timestamp::UNIX_EPOCH);
        assert_eq!(closed.len(), 1);
        assert_eq!((&closed[0].revision, closed[0].state), (&revision(2), State::Superseded));
        assert!(ledger.supersede(&revision(3), "driftless", ContextKind::Sync, Timestamp::UNIX_EPOCH).is_empty());
        assert!(ledger.say(note(2, ContextKind::Sync, State::Success)).is_empty());
        assert_eq!(ledger.open().count(), 1);
    }

    #[test]
    fn memory_is_bounded_and_keeps_what_is_open() {
        let mut ledger = Ledger::default();
        ledger.say(note(0, ContextKind::Sync, State::Pending));
        for n in 1..=2 * MAX_REVISIONS {
            ledger.say(note(n, ContextKind::Sync, State::Success));
        }
        assert_eq!(ledger.order.len(), MAX_REVISIONS);
        assert_eq!(ledger.open().next().map(|(revision, _)| revision.clone()), Some(revision(0)));
    }

    fn any_note() -> impl Strategy<Value = Note> {
        let kinds = prop_oneof![Just(ContextKind::Sync), Just(ContextKind::Health)];
        let states = prop_oneof![
            Just(State::Pending),
            Just(State::Success),
            Just(State::Failure),
            Just(State::Error),
            Just(State::Superseded)
        ];
        (0_usize..3, kinds, states).prop_map(|(n, kind, state)| note(n, kind, state))
    }

    proptest! {
        #[test]
        fn the_promises_hold_also_across_restarts(notes in prop::collection::vec(any_note(), 0..60), restart in 0_usize..60) {
            let mut ledger = Ledger::default();
            let mut sent: Vec<Note> = Vec::new();
            for (i, note) in notes.into_iter().enumerate() {
                if i == restart {
                    ledger = Ledger::from_notes(&sent);
                }
                sent.extend(ledger.say(note));
            }
            for n in 0..3 {
                for kind in [ContextKind::Sync, ContextKind::Health] {
                    let said: Vec<State> =
                        sent.iter().filter(|s| s.revision == revision(n) && s.context.kind == kind).map(|s| s.state).collect();
                    prop_assert!(said.windows(2).all(|pair| pair[0] != pair[1]));
                    if kind.ends() {
                        prop_assert!(said.len() <= 2);
                        prop_assert!(said.first().is_none_or(|first| *first == State::Pending));
                        prop_assert!(said.get(1).is_none_or(|second| second.is_final()));
                    }
                }
            }
        }
    }
}
