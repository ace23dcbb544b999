//! Going back: the last healthy content is applied again, and the bad one is held.
//!
//! A rollback needs the stored digest to be reproduced by rendering the old revision: what runs then is what ran before,
//! not what the old commit happens to render to today. Where it is not reproduced, or nothing was ever healthy, nothing
//! is rolled back. A hold is on content, so that an unrelated commit does not lift it and a fix does.

use crate::app::App;
use crate::apply::parents::ParentError;
use crate::config::OnFailure;
use crate::engine::Engine;
use crate::inventory::{Hold, StoredParent, SyncRecord};
use crate::object::{Digest, Problem};
use crate::plan::PlanOptions;
use crate::policy::PolicySet;
use crate::reconcile::{HowTo, Synced, Wanted, default_namespace, held, sync};
use crate::render::{Rendered, Tools};
use crate::scope::{Member, Neighbours};
use crate::source::Revision;
use crate::workspace::{Origin, off_thread, render_apps};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Writes to a parent are tried again so often when another process wrote it in between.
const RACES: usize = 8;

/// What going back stands on.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    /// The repository, for the old revision.
    pub origin: &'a Origin,
    /// The cluster.
    pub engine: &'a Engine,
    /// What every object must pass, today.
    pub policies: &'a PolicySet,
    /// The other apps.
    pub neighbours: &'a Neighbours,
    /// Programs that rendering may run.
    pub tools: &'a Tools,
    /// The revision that is bad.
    pub revision: &'a Revision,
}

/// What became of a failure.
pub struct Returned {
    /// For a person: `rolled back to 1a2b3c4, 5d6e7f8 is held`.
    pub said: String,
    /// True if the bad content is held now.
    pub held: bool,
    /// The sync of the old content, if there was one, with its revision.
    pub synced: Option<(Revision, Box<Synced>)>,
}

/// Does what the app's `on_failure` says.
pub async fn after_failure(ground: Ground<'_>, member: &Member, reason: &str, how: &HowTo<'_>) -> Returned {
    let app = &member.app;
    let nothing = |said: String| Returned { said, held: false, synced: None };
    let Ok(rendered) = member.rendered.as_ref() else { return nothing("it does not render".into()) };
    if app.on_failure == OnFailure::Report {
        return nothing("left as it is".into());
    }
    let healthy = match load(ground.engine, app).await {
        Ok(stored) => stored.parent.syncs.into_iter().find(|s| s.healthy && s.digest != rendered.digest),
        Err(error) => return nothing(format!("nothing was rolled back: {}", Problem::from(error))),
    };
    let Some(healthy) = healthy else {
        // Nothing better to run: a hold would only keep the same content from being tried again.
        return nothing("there is no earlier healthy revision to go back to".into());
    };
    let bad = ground.revision.short(7);
    if let Err(error) = hold(ground.engine, app, ground.revision, Some(rendered.digest.clone()), reason).await {
        return nothing(format!("nothing was rolled back: {}", Problem::from(error)));
    }
    if app.on_failure == OnFailure::Hold {
        return Returned { said: format!("{bad} is held"), held: true, synced: None };
    }
    match back_to(ground, app, &healthy, how).await {
        Ok((revision, synced)) => {
            let to = revision.short(7).to_owned();
            let end = if synced.is_applied() {
                format!("rolled back to {to}")
            } else {
                format!("the rollback to {to} failed")
            };
            Returned { said: format!("{end}, {bad} is held"), held: true, synced: Some((revision, synced)) }
        }
        Err(problem) => {
            Returned { said: format!("{bad} is held, not rolled back: {problem}"), held: true, synced: None }
        }
    }
}

/// Applies content that was healthy before.
///
/// # Errors
/// When the old revision cannot be read, or does not render to what it was.
pub async fn back_to(
    ground: Ground<'_>,
    app: &App,
    to: &SyncRecord,
    how: &HowTo<'_>,
) -> Result<(Revision, Box<Synced>), Problem> {
    let (revision, rendered) = render_at(ground, app, to).await?;
    // What ran once for that revision does not run again.
    let app = App { plan: PlanOptions { hooks: false, ..app.plan.clone() }, ..app.clone() };
    let wanted = Wanted {
        app: &app,
        revision: &revision,
        rendered: &rendered,
        policies: ground.policies,
        neighbours: ground.neighbours,
    };
    let how = HowTo { despite_hold: true, ..*how };
    let synced = sync(ground.engine, &wanted, &how).await;
    Ok((revision, Box::new(synced)))
}

/// Goes back with an app that this one depends on, which runs what it ran at `to`: the content that this app had there is
/// applied again, if it was healthy once and what runs is newer. `None`: there is nothing to do, or the app's
/// `on_failure` is not `rollback`.
///
/// # Errors
/// When what it had there cannot be read or never was healthy.
pub async fn go_along(
    ground: Ground<'_>,
    app: &App,
    to: &Revision,
    how: &HowTo<'_>,
) -> Result<Option<Box<Synced>>, Problem> {
    if app.on_failure != OnFailure::Rollback {
        return Ok(None);
    }
    let parent = load(ground.engine, app).await?.parent;
    let runs = parent.syncs.iter().find(|s| Some(&s.digest) == parent.digest.as_ref());
    let Some(runs) = runs.and_then(|record| Revision::parse(&record.revision).ok()) else { return Ok(None) };
    let (mirror, old) = (ground.origin.mirror.clone(), to.clone());
    let newer = off_thread(move || Ok(old != runs && mirror.is_ancestor(&old, &runs)?)).await?;
    if !newer || parent.suspended {
        return Ok(None);
    }
    let Some(rendered) = render_once(ground, app, to).await? else { return Ok(None) };
    if parent.digest.as_ref() == Some(&rendered.digest) || held(&parent, &rendered.digest, to).is_some() {
        return Ok(None);
    }
    let Some(record) = parent.syncs.into_iter().find(|s| s.healthy && s.digest == rendered.digest) else {
        let text = format!("{} was never healthy with what it has at {}", app.name, to.short(7));
        return Err(Problem::new("RollbackImpossible", text));
    };
    Ok(Some(back_to(ground, app, &record, how).await?.1))
}

/// What an app is at a revision; `None` if it is not there.
async fn render_once(ground: Ground<'_>, app: &App, at: &Revision) -> Result<Option<Rendered>, Problem> {
    let tip = ground.origin.tip(at).await?;
    let key = ground.engine.digest_key().await?.to_vec();
    let namespace = |app: &App| default_namespace(ground.engine, app);
    let member = render_apps(vec![app.clone()], &tip.tree, ground.tools, namespace, &key).await.into_iter().next();
    let rendered = member.map(|member| Arc::unwrap_or_clone(member.rendered)).transpose();
    rendered.map_err(|problems| {
        problems.into_iter().next().unwrap_or_else(|| Problem::new("NotRendered", "it does not render"))
    })
}

/// Renders what ran before, and proves that it is that.
///
/// # Errors
/// When the old revision cannot be read, or does not render to what it was.
pub async fn render_at(ground: Ground<'_>, app: &App, to: &SyncRecord) -> Result<(Revision, Rendered), Problem> {
    let revision = Revision::parse(&to.revision)
        .map_err(|_| Problem::new("UnreadableInventory", format!("{:?} is no revision", to.revision)))?;
    let impossible = |text: String| {
        Problem::new("RollbackImpossible", text).hint("fix forward, or name a revision: `driftless rollback --to`")
    };
    match render_once(ground, app, &revision).await {
        Ok(Some(rendered)) if rendered.digest == to.digest => Ok((revision, rendered)),
        Ok(Some(_)) => Err(impossible(format!("{} does not render to what it was when it ran", revision.short(7)))),
        Ok(None) => Err(impossible("the app is not in the old revision".into())),
        Err(problem) => Err(impossible(format!("{} does not render any more: {problem}", revision.short(7)))),
    }
}

/// Holds content of an app.
///
/// # Errors
/// When the inventory cannot be written.
pub async fn hold(
    engine: &Engine,
    app: &App,
    revision: &Revision,
    digest: Option<Digest>,
    reason: &str,
) -> Result<(), ParentError> {
    let held = Hold {
        revision: revision.to_string(),
        digest,
        reason: reason.chars().take(500).collect(),
        since: Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        waits: Vec::new(),
        asked: BTreeMap::new(),
    };
    change(engine, app, |stored| stored.parent.hold = Some(held.clone())).await
}

/// Changes an app's inventory by compare-and-swap, again where another process was faster.
///
/// # Errors
/// When it cannot be read or written.
pub async fn change(engine: &Engine, app: &App, act: impl Fn(&mut StoredParent)) -> Result<(), ParentError> {
    for _ in 0..RACES {
        let mut stored = engine.parents.reload(&app.identity, &default_namespace(engine, app)).await?;
        let before = stored.clone();
        act(&mut stored);
        if stored == before {
            return Ok(());
        }
        match engine.parents.save(&mut stored).await {
            Err(ParentError::Conflict) => {}
            other => return other,
        }
    }
    Err(ParentError::Conflict)
}

async fn load(engine: &Engine, app: &App) -> Result<StoredParent, ParentError> {
    engine.parents.reload(&app.identity, &default_namespace(engine, app)).await
}
