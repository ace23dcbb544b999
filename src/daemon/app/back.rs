//! An app that others went back without: it is held while one that it depends on is, and goes back with it.

use super::{AppTask, Mind, Said, Target, Wake, how_to, quiet};
use crate::daemon::board::Outcome;
use crate::outcome::{Ending, report};
use crate::reconcile::{Halt, Held, HowTo, Lift, Synced};
use crate::rollback::go_along;
use crate::source::Revision;
use tokio_util::sync::CancellationToken;

/// What an app is told when one that it depends on did not end well.
#[derive(Clone)]
pub struct HeldBack {
    /// What it would run.
    pub target: Target,
    /// For a person.
    pub why: String,
    /// The app that it depends on.
    pub on: String,
    /// What it depends on runs what it ran at this revision.
    pub back: Option<Revision>,
}

impl From<HeldBack> for Wake {
    fn from(held: HeldBack) -> Self {
        Self::HeldBack(Box::new(held))
    }
}

impl AppTask {
    /// Takes the target in without bringing it about; goes back where what runs is newer than what it stands on. What
    /// runs then is what drift is repaired towards.
    pub(super) async fn hold_back(&self, mind: &mut Mind, held: HeldBack, cancel: &CancellationToken) {
        let HeldBack { target, why, on, back } = held;
        let app = target.member.app.clone();
        if let Some(to) = &back {
            let how = HowTo { progress: &quiet, ..how_to(&target, cancel, true) };
            match go_along(self.ground(&target), &app, to, &how).await {
                Ok(None) => {}
                Ok(Some(synced)) => tracing::warn!(
                    app = app.name,
                    applied = synced.is_applied(),
                    "{why}: back at {} with it",
                    to.short(7)
                ),
                Err(problem) => tracing::error!(app = app.name, %problem, "{why}, and this app cannot go back with it"),
            }
        }
        mind.meant = None;
        mind.retry_at = None;
        mind.failures = 0;
        mind.ending = Some(Ending::Refused);
        mind.target = Some(target.clone());
        self.remember_what_runs(mind, &target).await;
        mind.held_back = Some(Held { why, lift: Lift::Mend(on) });
        self.answer_held_back(mind).await;
        self.mend(mind, cancel).await;
    }

    /// Whoever asks for a sync is told that the app is held, and why. False if it is not.
    pub(super) async fn answer_held_back(&self, mind: &mut Mind) -> bool {
        let (Some(held), Some(target)) = (mind.held_back.clone(), mind.target.clone()) else { return false };
        let sync = report(&target.member.app, &Synced::halted(Halt::Held(held)));
        self.give_answer(mind, &target, Ending::Refused, sync).await;
        true
    }

    /// A person set the app back: what was said of the revision is not true any more.
    pub(super) fn say_went_back(&self, mind: &Mind, target: &Target, back: Revision) {
        let app = &target.member.app;
        let hold = mind.stored.as_ref().and_then(|stored| stored.parent.hold.as_ref());
        let why = hold.map_or_else(String::new, |hold| format!(": {}", hold.reason));
        let outcome = Outcome {
            ending: Ending::Refused,
            message: format!("runs {} again, {} is held{why}", back.short(7), target.revision.short(7)),
            back: Some(back),
            ..Outcome::done((app.name.clone(), app.cluster.clone()))
        };
        let _ = self.scope.send(Said::Again(target.revision.clone(), "set back by hand"));
        let _ = self.scope.send(Said::Ended(target.revision.clone(), outcome));
    }
}
