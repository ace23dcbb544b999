//! The text of one commit's note: one JSON note per line, in the order they were said. Pure.
//!
//! Lines that are no notes of ours (someone ran `git notes --ref=driftless append`) are kept as they are. Growth is
//! bounded: above [`MAX_LINES`] lines, what flapped in health and drift is thinned, first and last ones kept.

use super::status::{Context, Note};
use std::collections::{BTreeMap, HashSet};

/// Above this many lines a note is thinned.
pub const MAX_LINES: usize = 200;
/// What a thinned note keeps of each health or drift context, at the beginning and at the end.
const KEEP_FIRST: usize = 5;
const KEEP_LAST: usize = 20;
/// Above this many lines only the newest are kept, whatever they are.
const HARD_LINES: usize = 1000;
/// Longest line that is read as a note.
const MAX_LINE_BYTES: usize = 16 * 1024;

/// The notes in a text, in order; lines that are none are skipped.
pub fn parse(text: &str) -> Vec<Note> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Note> {
    let line = line.trim();
    if line.len() > MAX_LINE_BYTES || !line.starts_with('{') { None } else { serde_json::from_str(line).ok() }
}

/// One note as its line, without a line break.
pub fn line(note: &Note) -> String {
    // A note has string keys only and no floats: it always has a JSON form.
    serde_json::to_string(note).unwrap_or_default()
}

/// The text with these notes at its end. A note that is there already is not added again, so that sending twice does
/// no harm.
pub fn append(text: &str, notes: &[Note]) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for note in notes {
        let line = line(note);
        if !line.is_empty() && !lines.contains(&line) {
            lines.push(line);
        }
    }
    join(&thin(lines))
}

/// Both texts as one: every line of either, once. Lines of `ours` keep their order; what only `theirs` has goes where
/// its time puts it.
pub fn union(ours: &str, theirs: &str) -> String {
    let mut lines: Vec<String> = ours.lines().map(str::to_owned).collect();
    let known: HashSet<String> = lines.iter().cloned().collect();
    let mut added = HashSet::new();
    for line in theirs.lines().filter(|line| !known.contains(*line)) {
        if !added.insert(line) {
            continue;
        }
        let at = parse_line(line).and_then(|note| {
            lines.iter().position(|other| parse_line(other).is_some_and(|other| other.time > note.time))
        });
        lines.insert(at.unwrap_or(lines.len()), line.to_owned());
    }
    join(&thin(lines))
}

fn join(lines: &[String]) -> String {
    lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}

fn thin(lines: Vec<String>) -> Vec<String> {
    if lines.len() <= MAX_LINES {
        return lines;
    }
    let contexts: Vec<Option<Context>> = lines.iter().map(|line| Some(parse_line(line)?.context)).collect();
    let mut count: BTreeMap<&Context, usize> = BTreeMap::new();
    for context in contexts.iter().flatten() {
        *count.entry(context).or_default() += 1;
    }
    let mut seen: BTreeMap<&Context, usize> = BTreeMap::new();
    let kept: Vec<String> = lines
        .into_iter()
        .zip(&contexts)
        .filter(|(_, context)| {
            let Some(context) = context.as_ref().filter(|context| !context.kind.ends()) else { return true };
            let nth = seen.entry(context).or_default();
            *nth += 1;
            *nth <= KEEP_FIRST || *nth + KEEP_LAST > count.get(context).copied().unwrap_or(0)
        })
        .map(|(line, _)| line)
        .collect();
    let drop = kept.len().saturating_sub(HARD_LINES);
    kept.into_iter().skip(drop).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::status::{ContextKind, State};
    use crate::source::Revision;
    use jiff::Timestamp;
    use proptest::prelude::*;

    fn note(second: i64, kind: ContextKind, state: State) -> Note {
        let revision = Revision::parse(&"a".repeat(40)).unwrap();
        let time = Timestamp::from_second(second).unwrap();
        Note::new(time, &revision, &Context::new("driftless", kind), state, &format!("at {second}"))
    }

    #[test]
    fn appended_read_and_never_doubled() {
        let pending = note(1, ContextKind::Sync, State::Pending);
        let success = note(2, ContextKind::Sync, State::Success);
        let text = append("", std::slice::from_ref(&pending));
        assert_eq!(text.lines().count(), 1);
        let text = append(&text, &[pending.clone(), success.clone()]);
        assert_eq!(parse(&text), [pending, success]);
    }

    #[test]
    fn foreign_lines_stay() {
        let text = append("reviewed by Ann\n{\"not\": \"ours\"}\n", &[note(1, ContextKind::Sync, State::Pending)]);
        assert!(text.starts_with("reviewed by Ann\n{\"not\": \"ours\"}\n{\"time\""));
        assert_eq!(parse(&text).len(), 1);
    }

    #[test]
    fn flapping_is_thinned_and_syncs_are_not() {
        let mut text = append("", &[note(0, ContextKind::Sync, State::Pending)]);
        for i in 1..=500 {
            let state = if i % 2 == 0 { State::Success } else { State::Failure };
            text = append(&text, &[note(i, ContextKind::Health, state)]);
        }
        text = append(&text, &[note(501, ContextKind::Sync, State::Success)]);
        let notes = parse(&text);
        assert!(notes.len() <= MAX_LINES);
        let health: Vec<&Note> = notes.iter().filter(|note| note.context.kind == ContextKind::Health).collect();
        assert_eq!(health.first().map(|note| note.time.as_second()), Some(1));
        assert_eq!(health.last().map(|note| note.time.as_second()), Some(500));
        assert_eq!(notes.iter().filter(|note| note.context.kind == ContextKind::Sync).count(), 2);
    }

    #[test]
    fn never_more_than_the_hard_bound() {
        let notes: Vec<Note> = (0..3000).map(|i| note(i, ContextKind::Sync, State::Pending)).collect();
        assert_eq!(parse(&append("", &notes)).len(), HARD_LINES);
    }

    proptest! {
        #[test]
        fn a_union_has_every_line_once(ours in prop::collection::btree_set(0_i64..40, 0..20),
                                       theirs in prop::collection::btree_set(0_i64..40, 0..20)) {
            let text = |seconds: &std::collections::BTreeSet<i64>| {
                let notes: Vec<Note> = seconds.iter().map(|s| note(*s, ContextKind::Health, State::Success)).collect();
                append("", &notes)
            };
            let merged = union(&text(&ours), &text(&theirs));
            let times: Vec<i64> = parse(&merged).iter().map(|note| note.time.as_second()).collect();
            let expected: Vec<i64> = ours.union(&theirs).copied().collect();
            prop_assert_eq!(times, expected);
            prop_assert_eq!(union(&merged, &text(&theirs)), merged);
        }
    }
}
