//! `driftless plan`: what a sync would change, without changing anything.

use super::args::{Plan, PlanOutput};
use super::exit::Exit;
use super::output::{print_json, print_text, print_warnings, stopped};
use super::setup::{Scene, Setup, no_apps};
use super::uncommitted;
use crate::forecast::foresee;
use crate::object::Problem;
use crate::outcome::{denial, with_count};
use crate::plan::change::{AppPlan, PlanHold, PlanReport};
use crate::reconcile::{Halt, Looked, Wanted, foresee_hold, hold_on, look};
use crate::report::markdown::{MAX_LENGTH, plan_markdown};
use crate::report::object_diff::ObjectDiffs;
use crate::report::plan_text::plan_text;
use crate::scope::Member;
use futures::future::join_all;
use std::collections::BTreeMap;

/// Runs it.
///
/// # Errors
/// What stops every app.
pub async fn run(args: &Plan) -> Result<Exit, Vec<Problem>> {
    if let Some(base) = &args.base {
        return super::base::run(args, base).await;
    }
    let mut report = PlanReport { revision: None, apps: Vec::new(), summary: BTreeMap::new(), error: None };
    let mut diffs = ObjectDiffs::default();
    let ended = plan_all(args, &mut report, &mut diffs).await;
    report.sum_up();
    match ended {
        Ok(exit) => {
            match args.output {
                PlanOutput::Json => print_json(&report),
                PlanOutput::Markdown => print_text(&plan_markdown(&report, &diffs, MAX_LENGTH)),
                PlanOutput::Text => print_text(&plan_text(&report, &diffs)),
            }
            Ok(exit)
        }
        Err(problems) => {
            report.error = problems.first().cloned();
            if args.output == PlanOutput::Text && !report.apps.is_empty() {
                print_text(&plan_text(&report, &diffs));
            }
            stopped(problems, args.output == PlanOutput::Json, &report)
        }
    }
}

/// Plans every repository on every cluster; one that cannot be reached hides no other.
async fn plan_all(args: &Plan, report: &mut PlanReport, diffs: &mut ObjectDiffs) -> Result<Exit, Vec<Problem>> {
    let mut setup = Setup::new(&args.common).await?;
    let mut exit = Exit::Done;
    let mut stopped = Vec::new();
    for origin in setup.origins.clone() {
        if args.output == PlanOutput::Text {
            uncommitted::tell(&origin, args.revision.as_deref()).await;
        }
        for cluster in setup.clusters() {
            let scene = Scene::new(&mut setup, &origin, &cluster, args.revision.as_deref(), false).await;
            let ready = scene.and_then(|scene| scene.chosen(&args.apps).map(|chosen| (scene, chosen)));
            let (scene, chosen) = match ready {
                Ok(ready) => ready,
                Err(mut problems) => {
                    stopped.append(&mut problems);
                    continue;
                }
            };
            report.revision = Some(scene.tip.revision.to_string());
            for (plan, code) in join_all(chosen.iter().map(|member| plan_app(&scene, member))).await {
                exit = exit.max(code);
                if let Some(planned) = plan.planned {
                    diffs.add(&planned);
                }
                report.apps.push(plan.shown);
            }
        }
    }
    if stopped.is_empty() && report.apps.is_empty() {
        stopped.push(no_apps(&setup));
    }
    if stopped.is_empty() { Ok(exit) } else { Err(stopped) }
}

struct PlannedApp {
    shown: AppPlan,
    planned: Option<crate::plan::Planned>,
}

/// Every problem, where there are several.
fn several(problems: &[Problem]) -> Vec<Problem> {
    if problems.len() > 1 { problems.to_vec() } else { Vec::new() }
}

/// What a sync of this plan would be refused for until a person says otherwise.
async fn hold(scene: &Scene, wanted: &Wanted<'_>, looked: &Looked) -> Option<PlanHold> {
    let (app, parent) = (&wanted.app.name, &looked.stored.parent);
    let by_hand = |reason: String| {
        Some(PlanHold { held: true, reason, command: format!("driftless resume {app}"), unreviewed: Vec::new() })
    };
    if parent.suspended {
        return by_hand("suspended by hand".to_owned());
    }
    let hold = hold_on(parent, &wanted.rendered.digest, wanted.revision);
    if let Some(hold) = hold.filter(|hold| !hold.is_unreviewed()) {
        return by_hand(format!("held since {}: {}", hold.since, hold.reason));
    }
    let found = foresee_hold(&looked.planned, parent, wanted, scene.history()).await?;
    Some(PlanHold {
        held: hold.is_some(),
        reason: found.why,
        command: format!("driftless approve {app}"),
        unreviewed: found.removals.into_keys().map(|removal| removal.object).collect(),
    })
}

async fn plan_app(scene: &Scene, member: &Member) -> (PlannedApp, Exit) {
    let app = &member.app;
    let failed = |problem: Option<Problem>, policy| AppPlan {
        name: app.name.clone(),
        cluster: app.cluster.clone(),
        depends_on: app.depends_on.clone(),
        error: problem,
        blocked: true,
        policy,
        ..AppPlan::default()
    };
    let rendered = match member.rendered.as_ref() {
        Ok(rendered) => rendered,
        Err(problems) => {
            let shown = failed(problems.first().cloned().map(|p| with_count(p, problems.len())), Vec::new());
            let shown = AppPlan { errors: several(problems), ..shown };
            return (PlannedApp { shown, planned: None }, Exit::Error);
        }
    };
    let wanted = Wanted {
        app,
        revision: &scene.tip.revision,
        rendered,
        policies: &scene.policies,
        neighbours: &scene.neighbours,
    };
    match look(&scene.engine, &wanted, &scene.key).await {
        Ok(looked) => {
            print_warnings(&app.name, &looked.warnings);
            let hold = hold(scene, &wanted, &looked).await;
            let mut planned = looked.planned;
            foresee(&scene.engine, &mut planned).await;
            let mut shown = planned.plan.clone();
            shown.depends_on.clone_from(&app.depends_on);
            let blocked = planned.problems.iter().find(|f| f.blocks).or(planned.problems.first());
            let refused = planned.refusals.first().map(|refusal| refusal.problem(&app.name));
            shown.hold = hold;
            shown.error = shown.error.or(blocked.map(|f| f.problem.clone())).or(refused);
            let code = match () {
                () if !planned.problems.is_empty() => Exit::Error,
                () if !planned.refusals.is_empty() => Exit::Refused,
                () if planned.has_changes() => Exit::Changes,
                () => Exit::Done,
            };
            (PlannedApp { shown, planned: Some(planned) }, code)
        }
        Err(Halt::Failed(problems)) => {
            let shown = failed(problems.first().cloned().map(|p| with_count(p, problems.len())), Vec::new());
            let shown = AppPlan { errors: several(&problems), ..shown };
            (PlannedApp { shown, planned: None }, Exit::Error)
        }
        Err(Halt::Refused(problems)) => {
            (PlannedApp { shown: failed(problems.into_iter().next(), Vec::new()), planned: None }, Exit::Refused)
        }
        Err(Halt::Denied(findings)) => {
            (PlannedApp { shown: failed(denial(&findings), findings), planned: None }, Exit::Refused)
        }
        Err(Halt::Held(held)) => (
            PlannedApp {
                shown: failed(Some(Problem::new("Held", held.why).hint(held.lift.sentence())), Vec::new()),
                planned: None,
            },
            Exit::Refused,
        ),
        Err(Halt::Suspended) => {
            let problem = Problem::new("Suspended", "the app is suspended");
            (PlannedApp { shown: failed(Some(problem), Vec::new()), planned: None }, Exit::Refused)
        }
    }
}
