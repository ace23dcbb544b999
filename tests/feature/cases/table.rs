//! One table for all cases: what each test saw, on which cluster, and which ones did not run.
//!
//! In: the tests named `case_NN_…`, which `on_every_cluster!` runs through [`case`]; [`seen`] says what one saw. Out: at
//! the end of the process, the table on standard output (past the capture of the test runner) and as `cases.md` in the
//! target's folder for tests. A test that fails or is skipped is a row too.
//!
//! Guarantees: a number without a test is a failure of [`every_number_has_a_test`], and a test that passes without having
//! said what it saw is a failure of its own: nothing leaves the table silently.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, Once, PoisonError};

/// The files that hold the cases: the table knows from them which tests there are.
const SOURCES: [&str; 8] = [
    include_str!("apply.rs"),
    include_str!("apply_fields.rs"),
    include_str!("apply_input.rs"),
    include_str!("prune.rs"),
    include_str!("ownership.rs"),
    include_str!("rollout.rs"),
    include_str!("drift.rs"),
    include_str!("reports.rs"),
];

/// How many cases there are.
const CASES: u32 = 41;

/// The clusters, in the order of the table's columns.
const CLUSTERS: [&str; 2] = ["embedded", "real"];

#[derive(Clone, Default)]
struct Cell {
    /// `passed`, `FAILED`, `skipped: …`.
    outcome: String,
    seen: Vec<String>,
}

/// By test and cluster.
static CELLS: Mutex<BTreeMap<(&str, &str), Cell>> = Mutex::new(BTreeMap::new());

thread_local! {
    /// What the case that runs on this thread has said so far.
    static SAID: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Says what the running case saw: a short fact, with figures where there are some.
pub fn seen(fact: impl Into<String>) {
    SAID.with_borrow_mut(|said| said.push(fact.into()));
}

/// Runs a test body for one cluster; `None` from it means that there is no such cluster. Only `case_…` is in the table.
pub fn case(name: &'static str, cluster: &'static str, body: impl FnOnce() -> Option<()>) {
    if !name.starts_with("case_") {
        body();
        return;
    }
    static AT_EXIT: Once = Once::new();
    AT_EXIT.call_once(print_at_exit);
    SAID.take();
    let ended = catch_unwind(AssertUnwindSafe(body));
    let said = SAID.take();
    let silent = matches!(ended, Ok(Some(()))) && said.is_empty();
    let outcome = match &ended {
        Err(_) => "FAILED",
        Ok(None) => "skipped: no control plane",
        Ok(Some(())) if silent => "FAILED: says nothing",
        Ok(Some(())) => "passed",
    };
    let cell = Cell { outcome: outcome.to_owned(), seen: said };
    CELLS.lock().unwrap_or_else(PoisonError::into_inner).insert((name, cluster), cell);
    if let Err(panic) = ended {
        resume_unwind(panic);
    }
    assert!(!silent, "{name} passed without saying what it saw");
}

/// The names of all case tests, as the sources have them.
fn names() -> Vec<&'static str> {
    let lines = SOURCES.iter().flat_map(|source| source.lines());
    let mut names: Vec<&str> = lines
        .filter_map(|line| line.trim_start().strip_prefix("fn "))
        .filter(|rest| rest.starts_with("case_"))
        .map(|rest| rest.split('(').next().unwrap_or_default())
        .collect();
    names.sort_unstable();
    names
}

/// The number of a case test.
fn number(name: &str) -> Option<u32> {
    name.strip_prefix("case_")?.get(..2)?.parse().ok()
}

/// The table as Markdown: a row for each test of which anything ran, and a word on those that did not.
fn table() -> String {
    let cells = CELLS.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut out = String::from("| case | embedded | real | what was seen |\n|---|---|---|---|\n");
    let mut left_out = 0;
    for name in names() {
        let [embedded, real] = CLUSTERS.map(|cluster| cells.get(&(name, cluster)));
        if embedded.or(real).is_none() {
            left_out += 1;
            continue;
        }
        let outcome = |cell: Option<&Cell>| cell.map_or("not run".to_owned(), |cell| cell.outcome.clone());
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} |",
            name.trim_start_matches("case_").replace('_', " "),
            outcome(embedded),
            outcome(real),
            both(embedded, real)
        );
    }
    let cells: Vec<&Cell> = cells.values().collect();
    let count = |outcome: &str| cells.iter().filter(|cell| cell.outcome.starts_with(outcome)).count();
    let (passed, failed, skipped) = (count("passed"), count("FAILED"), count("skipped"));
    let _ = writeln!(
        out,
        "\n{passed} passed, {failed} failed, {skipped} skipped; {left_out} of {} case tests were not run.",
        names().len()
    );
    out
}

/// What both saw, once where it is the same.
fn both(embedded: Option<&Cell>, real: Option<&Cell>) -> String {
    let text = |cell: Option<&Cell>| cell.map(|cell| cell.seen.join("; ")).unwrap_or_default().replace('|', "\\|");
    match (text(embedded), text(real)) {
        (same, other) if same == other || other.is_empty() => same,
        (none, other) if none.is_empty() => other,
        (embedded, real) => format!("embedded: {embedded}; real: {real}"),
    }
}

fn print_at_exit() {
    extern "C" fn print() {
        // Nothing may unwind into the C library.
        let _ = catch_unwind(|| {
            let text = table();
            // Not `println!`: the runner would keep it. The runner's own last line comes before this.
            let _ = writeln!(std::io::stdout(), "\n{text}");
            let _ = std::fs::write(concat!(env!("CARGO_TARGET_TMPDIR"), "/cases.md"), text);
        });
    }
    #[expect(unsafe_code, reason = "std has no hook for the end of a process; the function never unwinds")]
    unsafe {
        libc::atexit(print);
    }
}

#[test]
fn every_number_has_a_test() {
    let names = names();
    let numbers: BTreeSet<u32> = names.iter().filter_map(|name| number(name)).collect();
    let missing: Vec<u32> = (1..=CASES).filter(|number| !numbers.contains(number)).collect();
    assert!(missing.is_empty(), "no test for {missing:?}");
    let strange: Vec<&&str> = names.iter().filter(|name| number(name).is_none_or(|n| n == 0 || n > CASES)).collect();
    assert!(strange.is_empty(), "no such case: {strange:?}");
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "two tests have one name: the table would show one");
}
