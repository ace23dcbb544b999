//! `driftless approve APP`: the exact deletions that the plan waits with now, by uid, at one revision.

use super::args::{Approve, Output};
use super::exit::Exit;
use super::output::{print_json, print_text, stopped};
use super::setup::{Scene, one};
use super::wishes::find;
use crate::inventory::Approval;
use crate::object::{Manifest as _, Problem};
use crate::outcome::message;
use crate::plan::change::Action;
use crate::reconcile::{Looked, Synced, Wanted, foresee_hold, hold_on, look};
use crate::render::Rendered;
use crate::report::approval::{ApprovalReport, ApprovedRemoval, approval_text, list_text};
use crate::rollback;
use crate::scope::Member;
use std::collections::BTreeSet;

/// Runs it.
///
/// # Errors
/// When there is no plan, or what waits is another revision's than the one that is named.
pub async fn run(args: &Approve) -> Result<Exit, Vec<Problem>> {
    let mut report = ApprovalReport { app: args.app.clone(), ..ApprovalReport::default() };
    match approve(args, &mut report).await {
        Ok(()) => {
            match args.output {
                Output::Json => print_json(&report),
                Output::Text => print_text(&approval_text(&report)),
            }
            Ok(Exit::Done)
        }
        Err(problems) => {
            report.approved.clear();
            report.error = problems.first().cloned();
            stopped(problems, args.output == Output::Json, &report)
        }
    }
}

async fn approve(args: &Approve, report: &mut ApprovalReport) -> Result<(), Vec<Problem>> {
    let (scene, member) = find(&args.common, &args.app, None).await?;
    let rendered = member.rendered.as_ref().as_ref().map_err(Clone::clone)?;
    let wanted = Wanted {
        app: &member.app,
        revision: &scene.tip.revision,
        rendered,
        policies: &scene.policies,
        neighbours: &scene.neighbours,
    };
    let revision = scene.tip.revision.to_string();
    (report.cluster, report.revision) = (Some(member.app.cluster.clone()), Some(revision.clone()));
    let looked = look(&scene.engine, &wanted, &scene.key).await.map_err(|halt| {
        let said = Synced::halted(halt);
        one(Problem::new("NoPlan", format!("there is no plan to approve: {}", message(&member.app, &said))))
    })?;
    if let Some(spec) = &args.revision {
        is_what_waits(&scene, &member, (rendered, &looked), spec).await?;
    }
    let guarded = looked.planned.refusals.iter().any(|refusal| !refusal.blocks());
    let guarded = guarded.then(|| looked.planned.approval.clone());
    // Judged anew rather than read from the hold: an object may be another one since, and a daemon may be down.
    let unseen = foresee_hold(&looked.planned, &looked.stored.parent, &wanted, scene.history()).await;
    let unseen = unseen.map(|found| found.hold.waits);
    let approvals: Vec<Approval> =
        guarded.into_iter().chain(unseen).map(|uids| Approval { revision: revision.clone(), uids }).collect();
    report.approved = listed(&looked, &approvals);
    if args.output == Output::Text && !report.approved.is_empty() {
        print_text(&list_text(report));
    }
    rollback::change(&scene.engine, &member.app, |stored| {
        approvals.iter().cloned().for_each(|approval| stored.parent.approve(approval));
        // What it waited for was given, or is not needed any more. Another hold stays.
        let hold = hold_on(&stored.parent, &rendered.digest, &scene.tip.revision);
        if hold.is_some_and(crate::inventory::Hold::is_unreviewed) {
            stored.parent.hold = None;
        }
    })
    .await
    .map_err(|e| one(e.into()))
}

/// Refuses to approve what somebody pushed since the revision that a person looked at.
async fn is_what_waits(
    scene: &Scene,
    member: &Member,
    (rendered, looked): (&Rendered, &Looked),
    spec: &str,
) -> Result<(), Vec<Problem>> {
    let named = scene.origin.resolve(Some(spec)).await.map_err(one)?;
    let head = &scene.tip.revision;
    // The same content, which is held since an earlier commit.
    let hold = hold_on(&looked.stored.parent, &rendered.digest, head);
    if named == *head || hold.is_some_and(|hold| hold.revision == named.as_str()) {
        return Ok(());
    }
    let (app, head) = (&member.app.name, head.short(7));
    let text = format!("what waits of {app} is {head}, not {}: nothing is approved", named.short(7));
    let hint =
        format!("`driftless plan {app}` shows what it deletes; then `driftless approve {app} --revision {head}`");
    Err(one(Problem::new("OtherRevision", text).hint(hint)))
}

/// The objects that these approvals name.
fn listed(looked: &Looked, approvals: &[Approval]) -> Vec<ApprovedRemoval> {
    let uids: BTreeSet<&str> = approvals.iter().flat_map(|approval| &approval.uids).map(String::as_str).collect();
    let removal = |change: &crate::plan::change::Change| {
        let action = *change.actions.iter().find(|action| matches!(action, Action::Prune | Action::Replace))?;
        let uid = looked.snapshot.present(&change.object.key())?.uid()?.to_owned();
        uids.contains(uid.as_str()).then(|| ApprovedRemoval { object: change.object.clone(), action, uid })
    };
    looked.planned.plan.changes.iter().filter_map(removal).collect()
}
