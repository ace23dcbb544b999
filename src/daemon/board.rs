//! What is known of a revision's apps, and what is to be said of it. Pure: outcomes in, one final state out.

use crate::health::Health;
use crate::object::counted;
use crate::outcome::Ending;
use crate::report::{State, Timings};
use crate::source::Revision;
use std::collections::{BTreeMap, BTreeSet};

/// An app on a cluster.
pub type AppName = (String, String);

/// How an app's work on a revision ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Which app, on which cluster.
    pub app: AppName,
    /// How it ended.
    pub ending: Ending,
    /// For a person; empty when all is well.
    pub message: String,
    /// How long it took.
    pub timings: Timings,
    /// It runs what it ran at this revision: it was rolled back, or is held.
    pub back: Option<Revision>,
    /// Deletions of it wait for another app.
    pub waits: bool,
    /// It could not begin, since an app that it depends on did not end well: that one's words matter more.
    pub follows: bool,
}

impl Outcome {
    /// All is well, and there was nothing to do.
    pub fn done(app: AppName) -> Self {
        Self {
            app,
            ending: Ending::Done,
            message: String::new(),
            timings: Timings::default(),
            back: None,
            waits: false,
            follows: false,
        }
    }
}

/// One revision's apps.
#[derive(Debug, Clone, Default)]
pub struct Board {
    waiting: BTreeSet<AppName>,
    ended: BTreeMap<AppName, Outcome>,
}

impl Board {
    /// Waits for these apps.
    pub fn new(apps: impl IntoIterator<Item = AppName>) -> Self {
        Self { waiting: apps.into_iter().collect(), ended: BTreeMap::new() }
    }

    /// Takes an outcome in. True if none is missing now; an app that was tried again changes what is to be said.
    pub fn take(&mut self, outcome: Outcome) -> bool {
        self.waiting.remove(&outcome.app);
        self.ended.insert(outcome.app.clone(), outcome);
        self.waiting.is_empty()
    }

    /// An app whose end was told begins once more.
    pub fn await_again(&mut self, app: AppName) {
        self.ended.remove(&app);
        self.waiting.insert(app);
    }

    /// How an app's work ended, where it did.
    pub fn ending(&self, app: &AppName) -> Option<Ending> {
        self.ended.get(app).map(|outcome| outcome.ending)
    }

    /// True if deletions of an app other than this one wait.
    pub fn has_waiting_besides(&self, app: &AppName) -> bool {
        self.ended.iter().any(|(name, outcome)| outcome.waits && name != app)
    }

    /// True if an app's deletions wait for another one.
    pub fn has_waiting(&self) -> bool {
        self.ended.values().any(|outcome| outcome.waits)
    }

    /// True if no app is waited for.
    pub fn is_complete(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The final state with its words and times.
    pub fn verdict(&self) -> (State, String, Timings) {
        let worst = self.ended.values().map(|o| o.ending).max().unwrap_or_default();
        let latest = |of: fn(&Timings) -> Option<u64>| self.ended.values().filter_map(|o| of(&o.timings)).max();
        let timings = Timings {
            seen_to_applied_ms: latest(|t| t.seen_to_applied_ms),
            applied_to_healthy_ms: latest(|t| t.applied_to_healthy_ms),
        };
        let bad = self.ended.values().filter(|o| o.ending == worst && worst != Ending::Done);
        let text = match bad.min_by_key(|o| o.follows) {
            Some(bad) => {
                let others = self.ended.values().filter(|o| o.ending != Ending::Done && !o.follows && o.app != bad.app);
                let more = others.count();
                let more = if more == 0 { String::new() } else { format!(" and {more} more") };
                format!("{}{more}: {}", bad.app.0, bad.message)
            }
            None => {
                let changed = self.ended.values().filter(|o| o.timings.seen_to_applied_ms.is_some()).count();
                let all = count(self.ended.len());
                let apps = if changed == self.ended.len() { all.clone() } else { format!("{changed} of {all}") };
                timings
                    .sentence()
                    .map_or_else(|| format!("{all} in sync, nothing to do"), |said| format!("{apps} {said}"))
            }
        };
        (worst.state(), text, timings)
    }
}

/// Health of a scope's apps, as one state.
#[derive(Debug, Clone, Default)]
pub struct HealthBoard {
    apps: BTreeMap<AppName, (Health, String)>,
}

impl HealthBoard {
    /// Takes in an app's health; `None` forgets the app.
    pub fn set(&mut self, app: AppName, health: Option<(Health, String)>) {
        match health {
            Some(health) => self.apps.insert(app, health),
            None => self.apps.remove(&app),
        };
    }

    /// An app whose health is not known yet is on its way.
    pub fn expect(&mut self, app: AppName) {
        self.apps.entry(app).or_insert((Health::Progressing, String::new()));
    }

    /// What to say: nothing while something is only on its way.
    pub fn verdict(&self) -> Option<(State, String)> {
        let worst = self.apps.iter().max_by_key(|(_, (health, _))| *health)?;
        let (app, (health, message)) = worst;
        match health {
            Health::Healthy | Health::Suspended => {
                Some((State::Success, format!("{} healthy", count(self.apps.len()))))
            }
            Health::Progressing => None,
            Health::Missing | Health::Degraded | Health::Unknown => {
                Some((State::Failure, format!("{}: {health}: {message}", app.0)))
            }
        }
    }
}

/// Drift of a scope's apps, as one state.
#[derive(Debug, Clone, Default)]
pub struct DriftBoard {
    apps: BTreeMap<AppName, String>,
    said: bool,
}

impl DriftBoard {
    /// Drift was found. What to say.
    pub fn found(&mut self, app: AppName, text: String) -> (State, String) {
        self.said = true;
        let out = format!("{}: {text}", app.0);
        self.apps.insert(app, text);
        (State::Failure, out)
    }

    /// An app's drift is gone. What to say, if drift was spoken of and none is left.
    pub fn gone(&mut self, app: &AppName, text: &str) -> Option<(State, String)> {
        self.apps.remove(app)?;
        match self.apps.iter().next() {
            Some((other, left)) => Some((State::Failure, format!("{}: {left}", other.0))),
            None if self.said => {
                self.said = false;
                Some((State::Success, format!("{}: {text}", app.0)))
            }
            None => None,
        }
    }
}

fn count(apps: usize) -> String {
    counted(apps, "app")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(app: &str) -> AppName {
        (app.to_owned(), "c".to_owned())
    }

    fn outcome(app: &str, ending: Ending, applied: u64) -> Outcome {
        Outcome {
            ending,
            message: "why".into(),
            timings: Timings { seen_to_applied_ms: Some(applied), applied_to_healthy_ms: None },
            ..Outcome::done(name(app))
        }
    }

    #[test]
    fn the_cause_is_told_and_not_what_follows_from_it() {
        let mut board = Board::new([name("api"), name("db")]);
        board.take(Outcome { follows: true, ..outcome("api", Ending::Unhealthy, 5) });
        board.take(outcome("db", Ending::Unhealthy, 5));
        assert_eq!(board.verdict().1, "db: why");
    }

    #[test]
    fn the_others_that_did_not_end_well_are_counted() {
        let mut board = Board::new(["a", "b", "c", "d"].map(name));
        for (app, ending) in
            [("a", Ending::Done), ("b", Ending::Refused), ("c", Ending::Refused), ("d", Ending::Unhealthy)]
        {
            board.take(outcome(app, ending, 5));
        }
        let (_, words, _) = board.verdict();
        assert!(words.ends_with(" and 2 more: why"), "{words}");
    }

    #[test]
    fn one_final_state_when_all_have_ended() {
        let mut board = Board::new([name("a"), name("b")]);
        assert!(!board.take(outcome("a", Ending::Done, 5)));
        assert!(!board.take(outcome("a", Ending::Done, 5)));
        assert!(board.take(outcome("b", Ending::Unhealthy, 7)));
        let (state, text, timings) = board.verdict();
        assert_eq!((state, text.as_str(), timings.seen_to_applied_ms), (State::Failure, "b: why", Some(7)));
        assert!(Board::new([]).is_complete());
    }

    #[test]
    fn health_is_the_worst_and_progress_is_not_spoken_of() {
        let mut board = HealthBoard::default();
        assert_eq!(board.verdict(), None);
        board.set(name("a"), Some((Health::Healthy, String::new())));
        assert_eq!(board.verdict().map(|v| v.0), Some(State::Success));
        board.set(name("b"), Some((Health::Progressing, String::new())));
        assert_eq!(board.verdict(), None);
        board.set(name("b"), Some((Health::Degraded, "x".into())));
        assert_eq!(board.verdict(), Some((State::Failure, "b: Degraded: x".into())));
    }

    #[test]
    fn drift_clears_once() {
        let mut board = DriftBoard::default();
        assert_eq!(board.gone(&name("a"), "repaired"), None);
        assert_eq!(board.found(name("a"), "x".into()).0, State::Failure);
        board.found(name("b"), "y".into());
        assert_eq!(board.gone(&name("a"), "repaired").map(|v| v.0), Some(State::Failure));
        assert_eq!(board.gone(&name("b"), "repaired").map(|v| v.0), Some(State::Success));
        assert_eq!(board.gone(&name("b"), "repaired"), None);
    }
}
