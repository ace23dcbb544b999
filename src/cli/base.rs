//! `driftless plan --base REV`: what a revision adds to the base it is to be merged into.

use super::args::{Plan, PlanOutput};
use super::exit::Exit;
use super::output::{print_json, print_problems, print_text};
use super::setup::{Setup, one};
use crate::merge_plan::{Ground, MergePlan, Verdict, plan_merge};
use crate::object::Problem;
use crate::plan::change::PlanReport;
use crate::report::base_note::{BaseNote, MergeReport};
use crate::report::markdown::{MAX_LENGTH, merge_markdown};
use crate::report::object_diff::ObjectDiffs;
use crate::report::plan_text::merge_text;
use std::collections::BTreeMap;

impl From<Verdict> for Exit {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Nothing => Self::Done,
            Verdict::Changes => Self::Changes,
            Verdict::Refused => Self::Refused,
            Verdict::Wrong => Self::Error,
        }
    }
}

/// Runs it.
///
/// # Errors
/// What stops every app: no such commit, a conflict.
pub async fn run(args: &Plan, base: &str) -> Result<Exit, Vec<Problem>> {
    let plan = plan_all(args, base).await.unwrap_or_else(|problems| {
        let plan =
            PlanReport { revision: None, apps: Vec::new(), summary: BTreeMap::new(), error: problems.first().cloned() };
        let report = MergeReport { plan, base: None };
        MergePlan {
            report,
            diffs: ObjectDiffs::default(),
            verdict: Verdict::Wrong,
            problems,
            apps: Vec::new(),
            unplanned: None,
        }
    });
    let note = plan.note(base);
    let MergePlan { report, diffs, verdict, problems, .. } = plan;
    match args.output {
        PlanOutput::Json => print_json(&report),
        PlanOutput::Markdown => print_text(&merge_markdown(&report.plan, &diffs, &note, MAX_LENGTH)),
        PlanOutput::Text if problems.is_empty() => print_text(&merge_text(&report.plan, &diffs, &note)),
        PlanOutput::Text => return Err(problems),
    }
    print_problems(&problems);
    Ok(verdict.into())
}

/// Plans each repository; what several come to is one report.
async fn plan_all(args: &Plan, base: &str) -> Result<MergePlan, Vec<Problem>> {
    let mut setup = Setup::at_base(&args.common, base, args.revision.as_deref()).await?;
    let mut all: Option<MergePlan> = None;
    for origin in setup.origins.clone() {
        let head = origin.resolve(args.revision.as_deref()).await.map_err(one)?;
        let base = origin.resolve(Some(base)).await.map_err(one)?;
        let mut engines = Vec::new();
        for cluster in setup.clusters() {
            engines.push(setup.engine(&cluster, "cli").await.map_err(one)?);
        }
        let ground = Ground { config: &setup.config, origin: &origin, tools: &setup.tools };
        let mut plan = plan_merge(ground, &engines, (&base, &head), &args.apps).await;
        if let Some(note) = plan.report.base.as_mut().filter(|_| base == head) {
            let text = format!("{} is the base itself: name what is to be merged with --revision", head.short(7));
            note.notices.push(text);
        }
        all = Some(match all {
            None => plan,
            Some(before) => together(before, plan),
        });
    }
    all.ok_or_else(|| one(Problem::new("NoRepository", "there is no repository to plan")))
}

fn together(mut one: MergePlan, other: MergePlan) -> MergePlan {
    let MergePlan { report, diffs, verdict, problems, apps, unplanned } = other;
    one.unplanned = one.unplanned.or(unplanned);
    one.verdict = one.verdict.max(verdict);
    one.problems.extend(problems);
    one.diffs.extend(diffs);
    one.apps.extend(apps);
    for (action, n) in report.plan.summary {
        *one.report.plan.summary.entry(action).or_insert(0) += n;
    }
    one.report.plan.apps.extend(report.plan.apps);
    one.report.plan.revision = report.plan.revision;
    one.report.plan.error = one.report.plan.error.or(report.plan.error);
    if let Some(note) = report.base {
        let own = one.report.base.get_or_insert_with(|| BaseNote::new(&note.revision));
        own.revision = note.revision;
        for (action, n) in note.pending {
            *own.pending.entry(action).or_insert(0) += n;
        }
        own.drifted += note.drifted;
        own.conflicts.extend(note.conflicts);
        own.notices.extend(note.notices);
    }
    one
}
