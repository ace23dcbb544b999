//! The executor's state machine: which steps may start now, and how a sync ends. Pure: events in, step numbers out.
//!
//! Invariants: a step starts only when every step it needs is carried out (a deletion: the object is gone) *and* its own
//! gate is open (the objects it waits for are healthy); after a failure or a stop nothing new starts (with `best_effort`: nothing that depends on the failure);
//! every step ends in exactly one final state.

use crate::object::Problem;

/// Number of a step in the plan's graph.
pub type StepNumber = usize;

/// What the machine has to know of a step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// Steps that have to be carried out before.
    pub needs: Vec<StepNumber>,
}

/// Where a step is.
#[derive(Debug, Clone, PartialEq)]
pub enum StepState {
    /// Not started.
    Waiting,
    /// Its write is under way.
    Running,
    /// Carried out.
    Written,
    /// Refused or given up.
    Failed(Problem),
    /// Never started, and why.
    Skipped(String),
}

/// May a step start, as far as health is concerned?
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// Yes.
    Open,
    /// Not yet: why.
    Closed(String),
}

/// What keeps a step from starting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocker {
    /// Another step, by number.
    Step(StepNumber),
    /// An object that is not healthy: which, and why.
    Health(String),
}

/// The machine.
#[derive(Debug, Clone)]
pub struct Machine {
    nodes: Vec<Node>,
    states: Vec<StepState>,
    best_effort: bool,
    stopped: Option<String>,
    limit: usize,
}

impl Machine {
    /// All steps waiting; at most `limit` writes at once.
    pub fn new(nodes: Vec<Node>, best_effort: bool, limit: usize) -> Self {
        let states = vec![StepState::Waiting; nodes.len()];
        Self { nodes, states, best_effort, stopped: None, limit: limit.max(1) }
    }

    /// Where each step is.
    pub fn states(&self) -> &[StepState] {
        &self.states
    }

    /// Starts what may start now, and says which. `gate` tells of a waiting step whether what it waits for is
    /// healthy.
    pub fn start(&mut self, mut gate: impl FnMut(StepNumber) -> Gate) -> Vec<StepNumber> {
        self.skip_what_cannot_start();
        let mut running = self.states.iter().filter(|s| matches!(s, StepState::Running)).count();
        let mut started = Vec::new();
        for number in 0..self.nodes.len() {
            if running >= self.limit {
                break;
            }
            if self.states[number] == StepState::Waiting && self.blocker(number, &mut gate).is_none() {
                self.states[number] = StepState::Running;
                running += 1;
                started.push(number);
            }
        }
        started
    }

    /// A write ended.
    pub fn finished(&mut self, number: StepNumber, result: Result<(), Problem>) {
        let Some(state) = self.states.get_mut(number) else { return };
        match result {
            Ok(()) => *state = StepState::Written,
            Err(problem) => {
                if !self.best_effort {
                    let what = problem.object.as_ref().map_or_else(String::new, |o| format!("{o}: "));
                    self.stopped
                        .get_or_insert(format!("not started, since this failed before: {what}{}", problem.message));
                }
                *state = StepState::Failed(problem);
            }
        }
        self.skip_what_cannot_start();
    }

    /// Stops at the next safe point: writes under way end, nothing new starts.
    pub fn stop(&mut self, why: &str) {
        self.stopped.get_or_insert(why.to_owned());
        self.skip_what_cannot_start();
    }

    /// True when every step has its final state.
    pub fn is_done(&self) -> bool {
        !self.states.iter().any(|s| matches!(s, StepState::Waiting | StepState::Running))
    }

    /// True while a write is under way.
    pub fn is_writing(&self) -> bool {
        self.states.contains(&StepState::Running)
    }

    /// True if every step was written.
    pub fn all_written(&self) -> bool {
        self.states.iter().all(|s| *s == StepState::Written)
    }

    /// What a waiting step waits for; `None` if it may start.
    pub fn blocker(&self, number: StepNumber, gate: &mut impl FnMut(StepNumber) -> Gate) -> Option<Blocker> {
        let unwritten =
            self.nodes.get(number)?.needs.iter().find(|n| self.states.get(**n) != Some(&StepState::Written));
        match (unwritten, unwritten.is_none().then(|| gate(number))) {
            (Some(need), _) => Some(Blocker::Step(*need)),
            (None, Some(Gate::Closed(why))) => Some(Blocker::Health(why)),
            _ => None,
        }
    }

    fn skip_what_cannot_start(&mut self) {
        // In graph order a step's needs come before it, but the graph is not trusted: repeat until nothing changes.
        loop {
            let mut changed = false;
            for number in 0..self.nodes.len() {
                if self.states[number] != StepState::Waiting {
                    continue;
                }
                let dead = self.nodes[number]
                    .needs
                    .iter()
                    .any(|need| matches!(self.states.get(*need), Some(StepState::Failed(_) | StepState::Skipped(_))));
                let why = match &self.stopped {
                    Some(why) => Some(why.clone()),
                    None if dead => Some("not started, since something it needs failed".to_owned()),
                    None => None,
                };
                if let Some(why) = why {
                    self.states[number] = StepState::Skipped(why);
                    changed = true;
                }
            }
            if !changed {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain() -> Vec<Node> {
        vec![Node::default(), Node { needs: vec![0] }, Node { needs: vec![1] }, Node::default()]
    }

    #[test]
    fn a_step_waits_for_others_and_for_health_and_independent_ones_do_not() {
        let mut machine = Machine::new(chain(), false, 8);
        assert_eq!(machine.start(|_| Gate::Open), [0, 3]);
        assert_eq!(machine.blocker(1, &mut |_| Gate::Open), Some(Blocker::Step(0)));
        machine.finished(0, Ok(()));
        assert!(machine.start(|_| Gate::Closed("1 of 3 pods ready".into())).is_empty());
        assert_eq!(machine.blocker(1, &mut |_| Gate::Closed("x".into())), Some(Blocker::Health("x".into())));
        assert_eq!(machine.start(|_| Gate::Open), [1]);
        machine.finished(1, Ok(()));
        machine.finished(3, Ok(()));
        assert_eq!(machine.start(|_| Gate::Open), [2]);
        assert!(!machine.is_done());
        machine.finished(2, Ok(()));
        assert!(machine.is_done() && machine.all_written());
    }

    #[test]
    fn a_failure_stops_everything_or_with_best_effort_what_depends_on_it() {
        for (best_effort, third) in [(false, false), (true, true)] {
            let mut nodes = chain();
            nodes.push(Node { needs: vec![3] });
            let mut machine = Machine::new(nodes, best_effort, 8);
            assert_eq!(machine.start(|_| Gate::Open), [0, 3]);
            machine.finished(0, Err(Problem::new("Invalid", "no")));
            machine.finished(3, Ok(()));
            assert_eq!(machine.start(|_| Gate::Open) == [4], third);
            assert!(matches!(machine.states()[2], StepState::Skipped(_)));
        }
    }

    #[test]
    fn a_stop_lets_running_writes_end() {
        let mut machine = Machine::new(chain(), false, 1);
        assert_eq!(machine.start(|_| Gate::Open), [0]);
        machine.stop("superseded");
        assert!(machine.is_writing() && !machine.is_done());
        machine.finished(0, Ok(()));
        assert!(machine.is_done() && !machine.all_written());
    }
}
