//! After a restart without a durable outbox: what is still announced as `pending` and must get its one final state.
//! Pure; in: the notes of recent revisions as the host has them.

use super::ledger::Ledger;
use super::status::{Context, Note, State};
use crate::source::Revision;
use jiff::Timestamp;

/// A status that was left open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// The commit.
    pub revision: Revision,
    /// The context.
    pub context: Context,
}

/// What is open among these notes, for one instance; oldest revision (in the order given) first.
pub fn unfinished<'a>(notes: impl IntoIterator<Item = &'a Note>, instance: &str) -> Vec<Unfinished> {
    let ledger = Ledger::from_notes(notes);
    let open = ledger.open().filter(|(_, context)| context.instance == instance);
    open.map(|(revision, context)| Unfinished { revision: revision.clone(), context: context.clone() }).collect()
}

/// The notes that close what nobody works on any more: everything open but that on revisions in `current` (the branch
/// heads, which are synced and planned again and so get their final state).
pub fn closing(open: &[Unfinished], current: &[Revision], now: Timestamp) -> Vec<Note> {
    let newest = current.first().map(|revision| format!("superseded by {}", revision.short(7)));
    let text = newest.unwrap_or_else(|| "superseded while the daemon was down".to_owned());
    let stale = open.iter().filter(|unfinished| !current.contains(&unfinished.revision));
    stale.map(|item| Note::new(now, &item.revision, &item.context, State::Superseded, &text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::status::ContextKind;

    #[test]
    fn what_a_crash_left_open_is_closed_but_for_the_head() {
        let revision = |n: usize| Revision::parse(&format!("{n:040x}")).unwrap();
        let note = |n, instance: &str, kind, state| {
            Note::new(Timestamp::UNIX_EPOCH, &revision(n), &Context::new(instance, kind), state, "")
        };
        let notes = [
            note(1, "driftless", ContextKind::Sync, State::Pending),
            note(1, "driftless", ContextKind::Sync, State::Success),
            note(2, "driftless", ContextKind::Sync, State::Pending),
            note(2, "other", ContextKind::Sync, State::Pending),
            note(3, "driftless", ContextKind::Sync, State::Pending),
            note(3, "driftless", ContextKind::Health, State::Pending),
        ];
        let open = unfinished(&notes, "driftless");
        assert_eq!(open.iter().map(|item| item.revision.clone()).collect::<Vec<_>>(), [revision(2), revision(3)]);
        let closing = closing(&open, &[revision(3)], Timestamp::UNIX_EPOCH);
        assert_eq!(closing.len(), 1);
        assert_eq!((&closing[0].revision, closing[0].state), (&revision(2), State::Superseded));
    }
}
