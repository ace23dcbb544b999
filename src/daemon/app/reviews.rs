//! An app that is held until a pull request is merged asks again whether it is: when the host notifies of one, at the
//! repository's interval, and by itself, less often each time. Only a changed answer makes a round, which judges anew.

use super::{AppTask, Mind, RETRY};
use crate::inventory::Standing;
use crate::reconcile::{ask_host, hold_on};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Notifications that come closer together are answered by one question.
const APART: Duration = Duration::from_secs(2);

/// When the host is asked about pull requests.
#[derive(Default)]
pub(super) struct Asking {
    /// The next time; `None` where nothing waits for an answer.
    pub(super) at: Option<Instant>,
    last: Option<Instant>,
    /// Answers in a row that brought nothing new.
    vain: u32,
}

impl AppTask {
    /// Has the host asked soon, where something waits for that.
    pub(super) fn hurry(&self, mind: &mut Mind) {
        if mind.asking.at.is_some() {
            let now = Instant::now();
            mind.asking.at = Some(mind.asking.last.map_or(now, |last| now.max(last + APART)));
        }
    }

    /// After a round: whether something waits for a pull request's merge now.
    pub(super) fn await_merge(&self, mind: &mut Mind) {
        match open_pulls(mind).is_empty() {
            true => mind.asking = Asking::default(),
            false if mind.asking.at.is_none() => {
                mind.asking.at = Some(Instant::now() + RETRY.delay(mind.asking.vain + 1, rand::random()));
            }
            false => {}
        }
    }

    /// Asks where it is time to; the next round comes at once if the answers are others.
    pub(super) async fn ask_about_merges(&self, mind: &mut Mind) {
        if mind.asking.at.is_none_or(|at| at > Instant::now()) {
            return;
        }
        let before = open_pulls(mind);
        let host = mind.target.as_ref().and_then(|target| target.host.clone());
        // The newest first: only so many are asked about.
        let pulls: Vec<u64> = before.keys().rev().copied().collect();
        let answers = tokio::select! {
            answers = ask_host(host.as_ref(), &pulls) => answers,
            () = self.shutdown.cancelled() => return,
        };
        mind.asking.last = Some(Instant::now());
        mind.asking.at = None;
        if answers.standings == before {
            mind.asking.vain += 1;
            self.await_merge(mind);
        } else {
            mind.asking.vain = 0;
            mind.retry_at = mind.asking.last;
        }
    }
}

/// The pull requests whose merge would lift the hold on the target, as the host told of them last.
fn open_pulls(mind: &Mind) -> BTreeMap<u64, Standing> {
    let found = mind.target.as_ref().zip(mind.stored.as_ref()).and_then(|(target, stored)| {
        hold_on(&stored.parent, &target.rendered()?.digest, &target.revision).filter(|hold| hold.is_unreviewed())
    });
    let asked = found.map(|hold| hold.asked.clone()).unwrap_or_default();
    asked.into_iter().filter(|(_, standing)| !matches!(standing, Standing::Merged(_))).collect()
}
