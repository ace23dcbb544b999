//! Evaluation that can be given up.
//!
//! CEL always ends, and `cost` stops the loops of one expression; what it does not count, long texts and many
//! expressions, may still take long, and the interpreter has no budget to stop it by. So a thread evaluates, and whoever
//! waits stops waiting: the thread is abandoned (it ends when its expression does), its policy is not evaluated again in
//! this run, and the answer is an error, which `failurePolicy` turns into a refusal unless it says otherwise. A panic in
//! the interpreter ends the same way.

use super::params::Param;
use super::review::{Judgement, Subject};
use super::set::Policy;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// How long one policy may take for one object. A usual one takes microseconds.
pub(super) const TIME_LIMIT: Duration = Duration::from_secs(5);

/// Stack of the thread: evaluation recurses as deep as an expression is nested, which `expression` bounds.
const STACK: usize = 32 << 20;

/// One policy to be evaluated against one subject.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub policy: Arc<Policy>,
    /// Position of the policy in its set: names may repeat.
    pub index: usize,
    pub subject: Arc<Subject>,
    /// `params`; null where it is `None`.
    pub params: Option<Arc<Param>>,
}

/// Evaluates every job; one judgement each, in the same order.
pub(super) fn judge_all(jobs: Vec<Job>, limit: Duration) -> Vec<Judgement> {
    let jobs = Arc::new(jobs);
    let mut judged: Vec<Judgement> = Vec::with_capacity(jobs.len());
    let mut given_up: BTreeSet<usize> = BTreeSet::new();
    while let Some(job) = jobs.get(judged.len()) {
        if given_up.contains(&job.index) {
            judged.push(Judgement::failed("it was given up on another object, where it took too long"));
            continue;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let answers = start(&jobs, judged.len(), given_up.clone(), &stop);
        let Some(answers) = answers else {
            judged.push(Judgement::failed("no thread could be started to evaluate it"));
            continue;
        };
        while let Ok(judgement) = answers.recv_timeout(limit) {
            judged.push(judgement);
        }
        stop.store(true, Ordering::Relaxed);
        if let Some(stuck) = jobs.get(judged.len()).filter(|job| !given_up.contains(&job.index)) {
            given_up.insert(stuck.index);
            judged.push(Judgement::failed(format!(
                "it took longer than {} s, or failed inside the interpreter",
                limit.as_secs()
            )));
        }
    }
    judged
}

fn start(
    jobs: &Arc<Vec<Job>>,
    from: usize,
    skip: BTreeSet<usize>,
    stop: &Arc<AtomicBool>,
) -> Option<Receiver<Judgement>> {
    let (sender, receiver) = channel();
    let (jobs, stop) = (Arc::clone(jobs), Arc::clone(stop));
    std::thread::Builder::new()
        .name("policy".into())
        .stack_size(STACK)
        .spawn(move || work(&jobs, from, &skip, &stop, &sender))
        .ok()
        .map(|_| receiver)
}

/// Judges until the end, a job to be skipped, or nobody listens.
fn work(jobs: &[Job], from: usize, skip: &BTreeSet<usize>, stop: &AtomicBool, sender: &Sender<Judgement>) {
    for job in jobs.iter().skip(from) {
        if skip.contains(&job.index) || stop.load(Ordering::Relaxed) {
            return;
        }
        if sender.send(job.policy.judge(&job.subject, job.params.as_deref())).is_err() {
            return;
        }
    }
}
