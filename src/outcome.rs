//! What a sync came to: in the JSON that scripts read, in the words of a commit status, and as one ending that exit codes
//! and states follow from. Pure.

use crate::app::App;
use crate::apply::executor::{Carried, Stop};
use crate::apply::machine::StepState;
use crate::apply::step::HOOK_FAILED;
use crate::health::Health;
use crate::health::wait::HealthReport;
use crate::object::{ObjectKey, ObjectRef, Problem, counted};
use crate::plan::Planned;
use crate::plan::change::{Action, AppPlan, PolicyFinding};
use crate::reconcile::{Halt, Lift, Synced, with_late_warnings};
use crate::report::State;
use crate::report::status_report::SyncState;
use crate::report::sync_report::{AppSync, Outcome, SyncedChange};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How a sync ended, from best to worst in the precedence of exit codes (1 before 4 before 3 before 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// In sync, and healthy as far as was waited for.
    #[default]
    Done,
    /// Applied, and not healthy in time.
    Unhealthy,
    /// Refused: policy, guard, hold, another app's object.
    Refused,
    /// An error.
    Failed,
    /// Stopped: a newer revision took over, or the process ends.
    Superseded,
}

impl Ending {
    /// The state of a commit status.
    pub fn state(self) -> State {
        match self {
            Self::Done => State::Success,
            Self::Unhealthy | Self::Refused => State::Failure,
            Self::Failed => State::Error,
            Self::Superseded => State::Superseded,
        }
    }
}

/// Only what this sync brought is a reason to roll back: not an old CronJob, not pods of an earlier revision.
pub fn blames_new_pods(synced: &Synced) -> bool {
    let Some(planned) = &synced.planned else { return false };
    let written: Vec<ObjectKey> =
        planned.graph.steps.iter().filter_map(|s| s.object.as_ref().map(ObjectRef::key)).collect();
    // A process that was killed brought it, and it never was healthy: this sync goes on with that one.
    let goes_on = synced.stored.as_ref().is_some_and(|stored| {
        let parent = &stored.parent;
        let record = parent.syncs.iter().find(|record| Some(&record.digest) == parent.digest.as_ref());
        record.is_some_and(|record| !record.healthy)
    });
    match &synced.health {
        Some(report) => report.objects.iter().any(|(object, a)| {
            let unwell = a.gates && !matches!(a.health, Health::Healthy | Health::Suspended);
            let key = object.key();
            unwell && !a.old_pods && crate::health::triggers_rollback(&key.gk()) && (goes_on || written.contains(&key))
        }),
        // It ended while a step waited for another one's health.
        None => !written.is_empty(),
    }
}

/// How a sync ended.
pub fn ending(synced: &Synced) -> Ending {
    match &synced.halt {
        Some(Halt::Failed(_)) => return Ending::Failed,
        Some(Halt::Denied(_) | Halt::Refused(_) | Halt::Held(_) | Halt::Suspended) => return Ending::Refused,
        None => {}
    }
    if synced.is_cancelled() {
        return Ending::Superseded;
    }
    if let Some(carried) = synced.carried.as_ref().filter(|c| !c.is_complete()) {
        return match (&carried.stopped, carried.failure()) {
            (Some(Stop::NotHealthy(_)), None) => Ending::Unhealthy,
            // What it brought does not work: as with pods that do not become ready.
            (_, Some(problem)) if problem.reason == HOOK_FAILED => Ending::Unhealthy,
            _ => Ending::Failed,
        };
    }
    let planned = synced.planned.as_ref();
    if planned.is_some_and(|p| !p.problems.is_empty()) {
        return Ending::Failed;
    }
    if planned.is_some_and(|p| !p.refusals.is_empty()) {
        return Ending::Refused;
    }
    match &synced.health {
        Some(health) if !health.is_healthy() => Ending::Unhealthy,
        // What is gone from Git is still there.
        _ if planned.is_some_and(|p| p.waits().is_some()) => Ending::Refused,
        _ => Ending::Done,
    }
}

/// One line for a person: what happened, or what is wrong and what to do.
pub fn message(app: &App, synced: &Synced) -> String {
    match &synced.halt {
        Some(Halt::Failed(problems) | Halt::Refused(problems)) => return first_of(problems),
        Some(Halt::Denied(findings)) => {
            let refusals: Vec<_> = findings.iter().filter(|f| f.action == "deny").collect();
            let more = if refusals.len() > 1 { format!(" (and {} more)", refusals.len() - 1) } else { String::new() };
            return refusals.first().map_or_else(String::new, |f| {
                format!("refused by policy {}: {}:{}: {}: {}{more}", f.policy, f.file, f.line, f.subject(), f.message)
            });
        }
        // One that waits for an approval says with which command.
        Some(Halt::Held(held)) if held.lift == Lift::Approve(app.name.clone()) => return undated(&held.why),
        Some(Halt::Held(held)) => return format!("{}; {}", undated(&held.why), held.lift.sentence()),
        Some(Halt::Suspended) => return format!("suspended; `driftless resume {}` syncs it again", app.name),
        None => {}
    }
    if let Some(carried) = synced.carried.as_ref().filter(|c| !c.is_complete()) {
        return unfinished(carried);
    }
    if let Some(planned) = &synced.planned {
        if let Some(found) = planned.problems.first() {
            return found.problem.to_string();
        }
        if let Some(refusal) = planned.refusals.first() {
            let problem = refusal.problem(&app.name);
            return format!("{problem}; {}", problem.hint.clone().unwrap_or_default());
        }
    }
    match &synced.health {
        Some(health) if health.cancelled => "stopped while health was waited for".to_owned(),
        Some(health) if !health.is_healthy() => health.message(),
        _ => synced.planned.as_ref().and_then(Planned::waits).unwrap_or_default(),
    }
}

/// `held: …` of `held since TIME: …`: hosts cut what is long, and date a status themselves.
fn undated(why: &str) -> String {
    let rest = why.strip_prefix("held since ").and_then(|rest| rest.split_once(": "));
    rest.map_or_else(|| why.to_owned(), |(_, reason)| format!("held: {reason}"))
}

fn unfinished(carried: &Carried) -> String {
    let written = carried.results.iter().filter(|r| r.state == StepState::Written).count();
    let steps = carried.results.len();
    match (carried.failure(), &carried.stopped) {
        (Some(problem), _) => format!("{problem} (before it, {written} of {} carried out)", counted(steps, "step")),
        (None, Some(Stop::NotHealthy(why))) => why.clone(),
        (None, Some(Stop::LockLost(why))) => format!("the app's lock was lost: {why}"),
        _ => format!("stopped after {written} of {}", counted(steps, "step")),
    }
}

fn first_of(problems: &[Problem]) -> String {
    let more = if problems.len() > 1 { format!(" (and {} more)", problems.len() - 1) } else { String::new() };
    problems.first().map_or_else(String::new, |p| format!("{p}{more}"))
}

/// The first refusal of policies as an error, with what the author of the commit can do about it.
pub fn denial(findings: &[PolicyFinding]) -> Option<Problem> {
    let first = findings.iter().find(|finding| finding.action == "deny")?;
    let hint = match first.operation.as_str() {
        // Of what is replaced, too: its manifest is there, and another one than the cluster has.
        "DELETE" => "keep the object in Git as the cluster has it, or ask the owner of the policies to let it go",
        _ => "change the manifest; policies are the owner's",
    };
    let problem = Problem::new("PolicyDenied", format!("policy {}: {}", first.policy, first.message));
    Some(problem.at(&first.file, first.line).about(first.object.clone()).hint(hint))
}

/// The first problem, as JSON shows it.
pub fn error(app: &App, synced: &Synced) -> Option<Problem> {
    match &synced.halt {
        Some(Halt::Failed(problems) | Halt::Refused(problems)) => return problems.first().cloned(),
        Some(Halt::Denied(findings)) => return denial(findings),
        Some(Halt::Held(_)) => return Some(Problem::new("Held", message(app, synced))),
        Some(Halt::Suspended) => return Some(Problem::new("Suspended", message(app, synced))),
        None => {}
    }
    if let Some(carried) = &synced.carried
        && !carried.is_complete()
    {
        return match carried.failure() {
            Some(problem) => Some(problem.clone()),
            None => Some(Problem::new("Stopped", unfinished(carried))),
        };
    }
    let planned = synced.planned.as_ref()?;
    let refused = planned.refusals.first().map(|refusal| refusal.problem(&app.name));
    planned.problems.first().map(|found| found.problem.clone()).or(refused)
}

/// Says how many more problems there are.
pub fn with_count(mut problem: Problem, all: usize) -> Problem {
    if all > 1 {
        problem.message = format!("{} (and {} more)", problem.message, all - 1);
    }
    problem
}

/// Everything that is wrong, where that is more than one thing.
fn errors(synced: &Synced) -> Vec<Problem> {
    let all: Vec<Problem> = match (&synced.halt, &synced.carried, &synced.planned) {
        (Some(Halt::Failed(problems) | Halt::Refused(problems)), ..) => problems.clone(),
        (None, Some(carried), _) if !carried.is_complete() => carried.failures().cloned().collect(),
        (None, _, Some(planned)) => planned.plan.errors.clone(),
        _ => Vec::new(),
    };
    if all.len() > 1 { all } else { Vec::new() }
}

/// The JSON of one app's sync.
pub fn report(app: &App, synced: &Synced) -> AppSync {
    let policy = match (&synced.planned, &synced.halt) {
        (_, Some(Halt::Denied(findings))) => findings.clone(),
        (Some(planned), _) => with_late_warnings(planned, synced.carried.as_ref()),
        _ => Vec::new(),
    };
    AppSync {
        name: app.name.clone(),
        cluster: app.cluster.clone(),
        error: error(app, synced),
        errors: errors(synced),
        changes: all_changes(synced),
        unchanged: synced.planned.as_ref().map_or(0, |p| p.plan.unchanged),
        policy,
        sync: sync_state(synced),
        health: synced.health.as_ref().map_or(Health::Unknown, HealthReport::gating),
        message: message(app, synced),
    }
}

/// Where the app stands against Git after the sync.
pub fn sync_state(synced: &Synced) -> SyncState {
    match (&synced.halt, ending(synced)) {
        (Some(Halt::Held(_)), _) => SyncState::Held,
        (Some(Halt::Suspended), _) => SyncState::Suspended,
        (_, Ending::Failed) => SyncState::Failed,
        (_, Ending::Refused | Ending::Superseded) => SyncState::OutOfSync,
        (_, Ending::Unhealthy) if !synced.is_applied() => SyncState::OutOfSync,
        (_, Ending::Done | Ending::Unhealthy) => SyncState::Synced,
    }
}

/// Changes of plans that met a conflict count as far as they were applied; what is left is in the last plan.
fn all_changes(synced: &Synced) -> Vec<SyncedChange> {
    let earlier = synced.earlier.iter().flat_map(|(planned, carried)| changes(planned, Some(carried), ""));
    let earlier = earlier.filter(|change| change.outcome == Outcome::Applied);
    let halted = match &synced.halt {
        Some(_) => "not tried: nothing of the app is written".to_owned(),
        None => String::new(),
    };
    let last = synced.planned.iter().flat_map(|planned| changes(planned, synced.carried.as_ref(), &halted));
    earlier.chain(last).collect()
}

fn changes(planned: &Planned, carried: Option<&Carried>, halted: &str) -> Vec<SyncedChange> {
    let AppPlan { changes, .. } = &planned.plan;
    let empty = Vec::new();
    let results = carried.map_or(&empty, |c| &c.results);
    let mut out = Vec::with_capacity(changes.len());
    for (index, change) in changes.iter().enumerate() {
        let steps = planned.graph.steps.iter().zip(results).filter(|(step, _)| step.change == Some(index));
        let (mut outcome, mut message, mut took, mut any) = (Outcome::Applied, String::new(), Duration::ZERO, false);
        for (_, result) in steps {
            any = true;
            took += result.took;
            match &result.state {
                StepState::Written => {}
                StepState::Failed(problem) => (outcome, message) = (Outcome::Failed, problem.message.clone()),
                StepState::Skipped(why) if outcome == Outcome::Applied => {
                    (outcome, message) = (Outcome::Skipped, why.clone());
                }
                _ => {}
            }
        }
        if !any {
            outcome = Outcome::Skipped;
            message = match planned.withheld.as_ref().filter(|_| change.actions.contains(&Action::Prune)) {
                Some(why) => why.clone(),
                None if change.actions == [Action::None] => change.why.clone(),
                None => halted.to_owned(),
            };
        }
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        out.push(SyncedChange { change: change.clone(), outcome, message, took_ms });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_what_is_held_before_anything_else() {
        let why =
            "held since 2026-11-25T14:28:29Z: ConfigMap shop/a would be deleted; waits for `driftless approve a`: x";
        assert_eq!(undated(why), "held: ConfigMap shop/a would be deleted; waits for `driftless approve a`: x");
        assert_eq!(undated("app `db` is held"), "app `db` is held");
    }
}
