//! Thousands of schedules of two daemons, and now and then a `driftless sync`, against the embedded cluster in virtual time.
//!
//! What runs is what a user runs: `daemon::app`, `leader` and `dispatch`, `workspace::members_on`, `reconcile::sync` and all
//! below, on `kube::Client`, against the embedded cluster's API server and controllers. Replaced are the network (a queue
//! whose order is the schedule's), the clock and chance (see `moment`), and Git (see `instance`). Not simulated, since it
//! needs Git: rollbacks (`on_failure` is `report`), and what is said on commits.
//!
//! A schedule is a history (see `history`; a value of proptest, so that one that fails is made smaller) and a seed for
//! everything that is left open: which request is carried out next, which watch tells, when controllers act. Perturbed as
//! in Sieve (Sun et al., OSDI '22): kills between any two writes, watches that lag, events that are never seen. Checked
//! for the property of Anvil (Sun et al., OSDI '24): once Git stands still live state becomes what Git says, and stays so;
//! a further sync, by a process that remembers nothing, writes nothing. And for the rules in `oracle` at every write.
//!
//! ```text
//! cargo test --test simulation                                          some schedules
//! cargo test --profile simulation --test simulation -- --schedules 10000 [--from N] [--all]
//! cargo test --profile simulation --test simulation -- --seconds 60     as many as fit; always the same ones first
//! DRIFTLESS_SIM_SEED=42 cargo test --test simulation                    one, told in full; the same each time
//! ```
//!
//! Can it fail? Mistakes that were made on purpose, and the first schedule of those numbered from 0 that found each:
//!
//! | mistake                                                          | found by                    |
//! |------------------------------------------------------------------|-----------------------------|
//! | the inventory is written after the members                       | 0                           |
//! | a deletion without a uid                                         | 1                           |
//! | a step does not wait for health                                  | 1                           |
//! | a process ignores the lock                                       | 66                          |
//! | a watch is trusted for absence                                   | not within 154              |
//!
//! The last one does no harm that is checked here: what is created at first contact takes nothing by force, so the API
//! server refuses it, and the next plan looks again. Mistakes that it found unasked are kept in `regressions`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod history;
mod instance;
mod moment;
mod oracle;
mod regressions;
mod wire;
mod world;

use history::{History, histories};
use instance::Setting;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;
use std::time::Instant;
use tokio::runtime::Builder;
use world::{Report, World};

/// A quarter of the time goes to small pieces of memory, each given back by the thread that took it.
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Schedules without an argument: what a build without optimisation runs in some seconds.
const FEW: u64 = 60;
/// Builders that are left to the histories of `regressions`: more than they need.
const RESERVED: u64 = 100;
/// Histories that are tried to find a smaller one.
const SHRINKING: usize = 200;

struct Args {
    schedules: u64,
    /// No schedule is begun after so long.
    seconds: Option<u64>,
    first: u64,
    /// One schedule, told in full.
    only: bool,
    /// Goes on after a failure, and tells no more than which seeds fail.
    all: bool,
}

/// The schedules that are left.
///
/// tokio draws the seed of each builder's chance from a number that counts within the process, and one more in each thread
/// that runs a runtime for the first time. Both are drawn in the order of the schedules, so that a schedule finds the same
/// numbers each time, however the threads interleave.
struct Turn {
    next: u64,
    end: u64,
}

/// A schedule that ran.
struct Ran {
    seed: u64,
    history: History,
    report: Report,
}

fn main() {
    let Some(args) = args() else { return };
    // What is filled at first use is filled before any clock is replaced.
    let simulation = Simulation {
        turn: Mutex::new(Turn { next: args.first, end: args.first.saturating_add(args.schedules) }),
        setting: Setting::new(),
    };
    let begun = Instant::now();
    let mut totals = Totals::default();
    if !args.only {
        for (what, history, seed) in regressions::all() {
            let ran = simulation.again(seed, &history);
            totals.add(&ran.report);
            if ran.report.failure.is_some() && !args.all {
                println!("\na mistake is back: {what}");
                ran.tell();
                std::process::exit(1);
            }
        }
    }
    // Whichever of them ran: a schedule's number means the same with one more known mistake.
    let made = if args.only { 0 } else { regressions::runs() };
    let unused = 2 * (RESERVED + args.first).saturating_sub(made);
    (0..unused).for_each(|_| drop(Builder::new_current_thread()));
    let totals = Mutex::new(totals);
    let failed = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                let begun = || args.seconds.is_none_or(|most| begun.elapsed().as_secs() < most);
                while let Some(ran) = begun().then(|| simulation.next()).flatten() {
                    totals.lock().unwrap().add(&ran.report);
                    if args.only {
                        ran.tell();
                    }
                    if let Some(failure) = ran.report.failure.as_ref().filter(|_| args.all) {
                        println!(
                            "seed {}: {}",
                            ran.seed,
                            failure.chars().take(200).collect::<String>().replace('\n', " ")
                        );
                    } else if ran.report.failure.is_some() {
                        simulation.turn.lock().unwrap().next = u64::MAX;
                        let mut failed = failed.lock().unwrap();
                        // The first one, whichever thread ends first.
                        if failed.as_ref().is_none_or(|other: &Ran| other.seed > ran.seed) {
                            *failed = Some(ran);
                        }
                    }
                }
            });
        }
    });
    totals.into_inner().unwrap().print(begun.elapsed().as_secs_f64());
    if let Some(failed) = failed.into_inner().unwrap() {
        if !args.only {
            failed.tell();
        }
        let small = simulation.shrink(&failed);
        println!("\nseed {}, made smaller:", failed.seed);
        small.tell();
        println!("\nagain: DRIFTLESS_SIM_SEED={} cargo test --test simulation", failed.seed);
        std::process::exit(1);
    }
}

struct Simulation {
    turn: Mutex<Turn>,
    setting: Setting,
}

impl Simulation {
    /// Runs the schedule whose turn it is.
    fn next(&self) -> Option<Ran> {
        let next = |turn: &mut Turn| {
            let seed = turn.next;
            turn.next = turn.next.saturating_add(1);
            (seed < turn.end).then_some(seed)
        };
        self.alone(next, None)
    }

    /// Runs a history.
    fn again(&self, seed: u64, history: &History) -> Ran {
        self.alone(|_| Some(seed), Some(history)).unwrap()
    }

    /// On a thread of its own: what is seeded once in a thread is seeded anew.
    fn alone(&self, choose: impl FnOnce(&mut Turn) -> Option<u64> + Send, history: Option<&History>) -> Option<Ran> {
        let run = || {
            let mut turn = self.turn.lock().unwrap();
            let seed = choose(&mut turn)?;
            moment::simulate(seed);
            let mut builder = Builder::new_current_thread();
            builder.enable_all();
            builder.build().unwrap().block_on(std::future::ready(()));
            drop(turn);
            let history = history.cloned().unwrap_or_else(|| tree(seed).current());
            let report = World::new(seed, builder, &self.setting).run(&history);
            Some(Ran { seed, history, report })
        };
        std::thread::scope(|scope| scope.spawn(run).join()).unwrap()
    }

    /// A smaller history that fails too.
    fn shrink(&self, failed: &Ran) -> Ran {
        let mut best = Ran { seed: failed.seed, history: failed.history.clone(), report: failed.report.clone() };
        let mut tree = tree(failed.seed);
        let mut tries = 0;
        while tries < SHRINKING && tree.simplify() {
            loop {
                tries += 1;
                let ran = self.again(failed.seed, &tree.current());
                if ran.report.failure.is_some() {
                    best = ran;
                    break;
                }
                if tries >= SHRINKING || !tree.complicate() {
                    return best;
                }
            }
        }
        best
    }
}

impl Ran {
    fn tell(&self) {
        println!("\n{:?}\n", self.history);
        self.report.trace.iter().for_each(|line| println!("{line}"));
        if let Some(failure) = &self.report.failure {
            println!("\nseed {}: {failure}", self.seed);
        }
    }
}

/// The history of a seed, as a value that can be made smaller.
fn tree(seed: u64) -> impl ValueTree<Value = History> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    histories().new_tree(&mut runner).unwrap()
}

#[derive(Default)]
struct Totals {
    schedules: u64,
    counts: BTreeMap<&'static str, u64>,
    traces: BTreeSet<u64>,
}

impl Totals {
    fn add(&mut self, report: &Report) {
        self.schedules += 1;
        for (what, number) in &report.counts {
            *self.counts.entry(what).or_default() += number;
        }
        let mut hasher = DefaultHasher::new();
        report.trace.hash(&mut hasher);
        self.traces.insert(hasher.finish());
    }

    fn print(&self, seconds: f64) {
        let rate = self.schedules as f64 / seconds;
        println!(
            "simulation: {} schedules in {seconds:.1} s ({rate:.0} a second), {} distinct traces",
            self.schedules,
            self.traces.len()
        );
        for (what, number) in &self.counts {
            println!("  {what}: {number}");
        }
        let mut hasher = DefaultHasher::new();
        self.traces.hash(&mut hasher);
        println!("  fingerprint: {:016x}", hasher.finish());
    }
}

/// What is asked for; `None` if another test is.
fn args() -> Option<Args> {
    let mut args = Args { schedules: FEW, seconds: None, first: 0, only: false, all: false };
    if let Ok(seed) = std::env::var("DRIFTLESS_SIM_SEED") {
        args = Args { schedules: 1, first: seed.parse().unwrap(), only: true, ..args };
    }
    let mut given = std::env::args().skip(1);
    while let Some(arg) = given.next() {
        match arg.as_str() {
            "--schedules" => args.schedules = given.next().unwrap().parse().unwrap(),
            "--seconds" => {
                args.seconds = Some(given.next().unwrap().parse().unwrap());
                args.schedules = u64::MAX;
            }
            "--from" => args.first = given.next().unwrap().parse().unwrap(),
            "--all" => args.all = true,
            "--list" => return None,
            filter if !filter.starts_with('-') && !"simulation".contains(filter) => return None,
            _ => {}
        }
    }
    Some(args)
}
