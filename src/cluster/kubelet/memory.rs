//! What the simulated kubelets remember of their pods: a real one has its runtime to ask. Times in the API have
//! whole seconds, and a pod starts within one.
//!
//! Losing the memory (a restart) does no harm: a pod that runs goes on from the times in its status.

use super::super::controllers::meta::{items, time, uid};
use super::super::controllers::pods;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// One pod.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// When its containers could begin to start; `None` while something is missing.
    pub begin: Option<Timestamp>,
    /// When it will have stopped, once it has been told to.
    pub stop: Option<Timestamp>,
    /// Events told so far, with the count that was told.
    pub told: HashMap<String, u32>,
    /// The pod as it was when nothing was left to do about it, and until when that holds.
    pub settled: Option<(Arc<Value>, Option<Timestamp>)>,
}

impl Entry {
    /// True if nothing is to be done about the pod now: it has not changed, and its time has not come.
    pub fn is_settled(&self, pod: &Arc<Value>, now: Timestamp) -> bool {
        self.settled
            .as_ref()
            .is_some_and(|(known, until)| Arc::ptr_eq(known, pod) && until.is_none_or(|until| now < until))
    }
}

/// All pods, by uid, and when each node was last heard of.
#[derive(Debug, Default)]
pub struct Memory {
    pods: HashMap<String, Entry>,
}

impl Memory {
    /// What is known of a pod. A pod seen for the first time that already runs began when its status says.
    pub fn entry(&mut self, pod: &Value) -> &mut Entry {
        self.pods.entry(uid(pod).to_owned()).or_insert_with(|| {
            let running = pods::phase(pod) == "Running" || !items(&pod["status"]["containerStatuses"]).is_empty();
            Entry { begin: time(&pod["status"]["startTime"]).filter(|_| running), ..Entry::default() }
        })
    }

    /// Forgets pods that are gone.
    pub fn keep(&mut self, uids: &HashSet<&str>) {
        if self.pods.len() > uids.len() {
            self.pods.retain(|uid, _| uids.contains(uid.as_str()));
        }
    }
}
