//! What a person tells an app: `suspend`, `resume`, `hold`, `rollback`. Each is a wish in the app's inventory,
//! which a daemon obeys and a `sync` too.

use super::args::{Common, Hold, OneApp, Rollback};
use super::exit::Exit;
use super::output::{print_problems, print_text};
use super::setup::{Scene, Setup, one};
use super::sync::cancel_on_signal;
use crate::app::App;
use crate::apply::lease::ScopeLease;
use crate::dependants::standing_on;
use crate::inventory::identity::scope_name;
use crate::inventory::{Parent, SyncRecord};
use crate::object::Problem;
use crate::outcome::{Ending, ending, message};
use crate::reconcile::{HowTo, Progress, hold_on};
use crate::rollback::{self, Ground};
use crate::scope::Member;
use crate::source::Revision;

/// The scene in which an app lives: the first cluster that has it.
///
/// # Errors
/// When none has it, or one cannot be looked at.
pub async fn find(common: &Common, app: &str, revision: Option<&str>) -> Result<(Scene, Member), Vec<Problem>> {
    let mut setup = Setup::new(common).await?;
    let mut missing = Vec::new();
    for origin in setup.origins.clone() {
        for cluster in setup.clusters() {
            let scene = Scene::new(&mut setup, &origin, &cluster, revision, true).await?;
            match scene.chosen(&[app.to_owned()]) {
                Ok(mut found) => {
                    if let Some(member) = found.pop() {
                        return Ok((scene, member));
                    }
                }
                Err(mut problems) => missing.append(&mut problems),
            }
        }
    }
    Err(missing)
}

/// `driftless suspend APP` and `driftless resume APP`.
///
/// # Errors
/// When the inventory cannot be written.
pub async fn suspend(args: &OneApp, suspended: bool) -> Result<Exit, Vec<Problem>> {
    let (scene, member) = find(&args.common, &args.app, None).await?;
    let stays = |parent: &Parent| {
        let digest = &member.rendered.as_ref().as_ref().ok()?.digest;
        let unreviewed = hold_on(parent, digest, &scene.tip.revision).filter(|hold| hold.is_unreviewed());
        unreviewed.map(|hold| hold.reason.clone())
    };
    let before = scene.engine.parents.reload(&member.app.identity, "").await.map_err(|e| one(e.into()))?.parent;
    rollback::change(&scene.engine, &member.app, |stored| {
        stored.parent.suspended = suspended;
        // Whoever syncs again has not seen what nobody reviewed: that needs a word of its own.
        // Whichever content it is on: the host may be out of reach, and what is known here older than that.
        let unreviewed = stored.parent.hold.as_ref().is_some_and(crate::inventory::Hold::is_unreviewed);
        if !suspended && !unreviewed {
            stored.parent.hold = None;
        }
    })
    .await
    .map_err(|e| one(e.into()))?;
    let app = &args.app;
    if suspended {
        print_text(&format!("{app}: suspended. Nothing of it is written until `driftless resume {app}`.\n"));
        return Ok(Exit::Done);
    }
    let after = scene.engine.parents.reload(&member.app.identity, "").await.map_err(|e| one(e.into()))?.parent;
    let Some(why) = stays(&after) else {
        print_text(&format!("{app}: resumed; no hold is left. The next sync brings it to the branch's head.\n"));
        return Ok(Exit::Done);
    };
    if before.suspended {
        print_text(&format!("{app}: resumed.\n"));
    }
    let problem = Problem::new("Held", format!("{app} stays held, which `resume` does not lift: it {why}"));
    let hint =
        format!("`driftless approve {app}` lists and approves it; so does a merge of a pull request with this plan");
    print_problems(&[problem.hint(hint)]);
    Ok(Exit::Refused)
}

/// `driftless hold APP [--revision REV]`.
///
/// # Errors
/// When the revision is not there, or the inventory cannot be written.
pub async fn hold(args: &Hold) -> Result<Exit, Vec<Problem>> {
    let (scene, member) = find(&args.common, &args.app, args.revision.as_deref()).await?;
    let digest = member.rendered.as_ref().as_ref().ok().map(|rendered| rendered.digest.clone());
    let revision = &scene.tip.revision;
    rollback::hold(&scene.engine, &member.app, revision, digest, "held by hand").await.map_err(|e| one(e.into()))?;
    print_text(&format!(
        "{}: {} is held. It is not applied until the app renders to something else, or `driftless resume {}`.\n",
        args.app,
        revision.short(7),
        args.app
    ));
    Ok(Exit::Done)
}

/// `driftless rollback APP [--to REV]`.
///
/// # Errors
/// When there is nothing to go back to.
pub async fn rollback(args: &Rollback) -> Result<Exit, Vec<Problem>> {
    let (scene, member) = find(&args.common, &args.app, None).await?;
    let stored = scene.engine.parents.reload(&member.app.identity, "").await.map_err(|e| one(e.into()))?;
    let current = stored.parent.digest.clone();
    let held_content = stored.parent.hold.as_ref().and_then(|hold| hold.digest.clone());
    let to = match &args.to {
        Some(spec) => named(&scene, &member, spec).await?,
        None => {
            let better = |s: &&SyncRecord| {
                s.healthy && Some(&s.digest) != current.as_ref() && Some(&s.digest) != held_content.as_ref()
            };
            stored.parent.syncs.iter().find(better).cloned().ok_or_else(|| {
                one(Problem::new("NothingHealthy", format!("{} has no earlier healthy revision", args.app))
                    .hint("name one with --to REV"))
            })?
        }
    };
    if held_content.as_ref() == Some(&to.digest) {
        let problem = Problem::new(
            "Held",
            format!("{} is held: {}", args.app, stored.parent.hold.as_ref().map_or("", |hold| &hold.reason)),
        );
        let unreviewed = stored.parent.hold.as_ref().is_some_and(crate::inventory::Hold::is_unreviewed);
        let command = if unreviewed { "approve" } else { "resume" };
        print_problems(&[
            problem.hint(format!("`driftless {command} {}` lifts the hold and applies what Git has", args.app))
        ]);
        return Ok(Exit::Refused);
    }
    let rendered = member.rendered.as_ref().as_ref().ok().map(|r| r.digest.clone());
    if rendered.as_ref() != Some(&to.digest) {
        rollback::hold(&scene.engine, &member.app, &scene.tip.revision, rendered, "rolled back by hand")
            .await
            .map_err(|e| one(e.into()))?;
    }
    let cancel = cancel_on_signal();
    let how = HowTo {
        wait: true,
        timeout: member.app.timeout,
        cancel: &cancel,
        progress: &|_: Progress<'_>| {},
        despite_hold: true,
        runs: None,
        history: None,
    };
    let (revision, synced) = rollback::back_to(ground(&scene), &member.app, &to, &how).await.map_err(one)?;
    let end = ending(&synced);
    let text = match end {
        Ending::Done => {
            format!("{}: back at {}; {} is held.\n", args.app, revision.short(7), scene.tip.revision.short(7))
        }
        _ => format!("{}: {}\n", args.app, message(&member.app, &synced)),
    };
    print_text(&text);
    if end == Ending::Done && revision != scene.tip.revision {
        back_with_it(&scene, &member.app, &revision, &how).await?;
    }
    Ok(end.into())
}

/// What depends on an app that went back must not run on what is not there any more.
async fn back_with_it(scene: &Scene, first: &App, to: &Revision, how: &HowTo<'_>) -> Result<(), Vec<Problem>> {
    let (app, id) = (&first.name, &first.identity);
    let scope = scope_name(&id.instance, &id.repository, &id.path_root);
    let lease = ScopeLease::new(scene.engine.client.clone(), &scene.engine.parents, &scope);
    let leads = lease.other_holder().await.map_err(|e| one(e.problem()))?.is_some();
    for member in standing_on(&scene.members, app) {
        let name = &member.app.name;
        if leads {
            print_text(&format!("{name}: depends on {app}; the daemon holds it and takes it back where needed.\n"));
            continue;
        }
        let how = HowTo { timeout: member.app.timeout, ..*how };
        match rollback::go_along(ground(scene), &member.app, to, &how).await {
            Ok(None) => print_text(&format!("{name}: depends on {app}, is held with it, and runs what it ran.\n")),
            Ok(Some(synced)) if synced.is_applied() => {
                print_text(&format!("{name}: depends on {app}; back at {} with it.\n", to.short(7)));
            }
            Ok(Some(synced)) => {
                print_text(&format!(
                    "{name}: depends on {app}; going back failed: {}\n",
                    message(&member.app, &synced)
                ));
            }
            Err(problem) => print_text(&format!("{name}: depends on {app}, and cannot go back with it: {problem}\n")),
        }
    }
    Ok(())
}

fn ground(scene: &Scene) -> Ground<'_> {
    Ground {
        origin: &scene.origin,
        engine: &scene.engine,
        policies: &scene.policies,
        neighbours: &scene.neighbours,
        tools: &scene.tools,
        revision: &scene.tip.revision,
    }
}

/// A revision that a person names to go back to: it is taken at its word, healthy or not.
async fn named(scene: &Scene, member: &Member, spec: &str) -> Result<SyncRecord, Vec<Problem>> {
    let revision = scene.origin.resolve(Some(spec)).await.map_err(one)?;
    let tip = scene.origin.tip(&revision).await.map_err(one)?;
    let app = (*member.app).clone();
    let namespace = |app: &App| crate::reconcile::default_namespace(&scene.engine, app);
    let found = crate::workspace::render_apps(vec![app], &tip.tree, &scene.tools, namespace, &scene.key).await;
    let Some(rendered) = found.into_iter().next() else { return Err(Vec::new()) };
    let rendered = rendered.rendered.as_ref().as_ref().map_err(Clone::clone)?.clone();
    Ok(SyncRecord {
        revision: revision.to_string(),
        digest: rendered.digest,
        started: String::new(),
        finished: None,
        outcome: String::new(),
        message: String::new(),
        healthy: true,
    })
}
