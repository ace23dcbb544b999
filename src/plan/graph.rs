//! The order of a plan's steps: total, deterministic, and explained.

use super::change::Action;
use super::step::{Step, StepId, StepKind};
use crate::object::{ObjectKey, ObjectRef};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

/// Why a change waits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reason {
    /// The object that it waits for; `None`: more than is worth listing.
    pub object: Option<ObjectKey>,
    /// Why.
    pub why: String,
}

/// Steps in an order in which they can be carried out one by one. Whatever does not need each other may run at once.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Graph {
    /// In order: `steps[i].id` is `i`, and a step needs only earlier ones.
    pub steps: Vec<Step>,
    /// Why each object's change waits.
    pub reasons: BTreeMap<ObjectKey, Vec<Reason>>,
}

impl Graph {
    /// Why an object's change waits, for a person; empty if it does not.
    pub fn explain(&self, key: &ObjectKey) -> String {
        let Some(reasons) = self.reasons.get(key).filter(|reasons| !reasons.is_empty()) else { return String::new() };
        let parts: Vec<String> = reasons
            .iter()
            .take(5)
            .map(|reason| match &reason.object {
                Some(object) => format!("{object} ({})", reason.why),
                None => reason.why.clone(),
            })
            .collect();
        let more = reasons.len().saturating_sub(parts.len());
        let tail = if more == 0 { String::new() } else { format!(" and {more} more") };
        format!("waits for {}{tail}", parts.join(", "))
    }

    /// The steps of a change.
    pub fn of_change(&self, change: usize) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(move |step| step.change == Some(change))
    }
}

/// What decides among steps that could come next: earlier part, wave, kind of step, kind of object, name.
pub type Priority = (u8, i64, usize, usize, Option<ObjectKey>, usize);

/// A step before its place is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Raw {
    /// Its object.
    pub object: Option<ObjectRef>,
    /// The action that it begins.
    pub action: Option<Action>,
    /// What it does.
    pub kind: StepKind,
    /// Positions of the steps that it needs.
    pub needs: BTreeSet<usize>,
    /// Objects whose health it needs.
    pub healthy: BTreeSet<ObjectKey>,
    /// Its place among equals.
    pub priority: Priority,
}

/// Puts steps in order (Kahn's algorithm with a priority queue).
///
/// # Errors
/// Positions of steps that wait for each other.
pub fn sort(raw: Vec<Raw>) -> Result<Vec<Step>, Vec<usize>> {
    let mut open: Vec<usize> = raw.iter().map(|step| step.needs.len()).collect();
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); raw.len()];
    for (i, step) in raw.iter().enumerate() {
        for need in &step.needs {
            if let Some(list) = after.get_mut(*need) {
                list.push(i);
            }
        }
    }
    let ready = open.iter().enumerate().filter(|(_, count)| **count == 0);
    let mut queue: BinaryHeap<Reverse<(&Priority, usize)>> =
        ready.filter_map(|(i, _)| Some(Reverse((&raw.get(i)?.priority, i)))).collect();
    let mut order = Vec::with_capacity(raw.len());
    while let Some(Reverse((_, i))) = queue.pop() {
        order.push(i);
        for next in &after[i] {
            open[*next] -= 1;
            if open[*next] == 0 {
                queue.push(Reverse((&raw[*next].priority, *next)));
            }
        }
    }
    if order.len() < raw.len() {
        return Err((0..raw.len()).filter(|i| open[*i] > 0).collect());
    }
    Ok(numbered(raw, &order))
}

fn numbered(raw: Vec<Raw>, order: &[usize]) -> Vec<Step> {
    let mut place = vec![0; raw.len()];
    for (position, i) in order.iter().enumerate() {
        place[*i] = position;
    }
    let mut steps: Vec<Step> = raw
        .into_iter()
        .enumerate()
        .map(|(i, raw)| {
            let mut needs: Vec<StepId> = raw.needs.iter().map(|need| StepId(place[*need])).collect();
            needs.sort();
            Step {
                id: StepId(place[i]),
                change: None,
                object: raw.object,
                action: raw.action,
                kind: raw.kind,
                needs,
                wait_for_health_of: raw.healthy.into_iter().collect(),
            }
        })
        .collect();
    steps.sort_by_key(|step| step.id);
    steps
}
