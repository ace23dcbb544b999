//! `driftless sync`: makes the cluster equal to the repository once.

use super::args::{Output, Sync};
use super::exit::Exit;
use super::notes::{End, Notes};
use super::output::{print_json, print_text, print_warnings, stopped};
use super::setup::{Scene, Setup, levels, no_apps};
use crate::apply::lease::ScopeLease;
use crate::config::{HumaneDuration, OnFailure};
use crate::dependants::held_with;
use crate::inventory::identity::scope_name;
use crate::object::{Problem, counted};
use crate::outcome::{Ending, blames_new_pods, ending, message, report};
use crate::plan::change::PlanReport;
use crate::reconcile::{Halt, HowTo, Progress, Synced, Wanted, sync};
use crate::render::Rendered;
use crate::report::plan_text::sync_text;
use crate::report::status_report::SyncState;
use crate::report::sync_report::{AppSync, SyncReport};
use crate::report::{State, Timings};
use crate::request::{Asking, ask};
use crate::rollback::go_along;
use crate::scope::Member;
use crate::source::Revision;
use crate::workspace::Origin;
use anstream::eprintln;
use futures::future::join_all;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

impl From<Ending> for Exit {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Done => Self::Done,
            Ending::Unhealthy => Self::Unhealthy,
            Ending::Refused => Self::Refused,
            Ending::Failed | Ending::Superseded => Self::Error,
        }
    }
}

/// Runs it.
///
/// # Errors
/// What stops every app.
pub async fn run(args: &Sync) -> Result<Exit, Vec<Problem>> {
    let nothing = PlanReport { revision: None, apps: Vec::new(), summary: BTreeMap::new(), error: None };
    let mut report = SyncReport::from_plan(nothing);
    match sync_all(args, &mut report).await {
        Ok(exit) => {
            match args.output {
                Output::Json => print_json(&report),
                Output::Text => print_text(&sync_text(&report)),
            }
            Ok(exit)
        }
        Err(problems) => {
            report.error = problems.first().cloned();
            if args.output == Output::Text && !report.apps.is_empty() {
                print_text(&sync_text(&report));
            }
            stopped(problems, args.output == Output::Json, &report)
        }
    }
}

async fn sync_all(args: &Sync, report: &mut SyncReport) -> Result<Exit, Vec<Problem>> {
    let timeout = match args.timeout.as_deref().map(HumaneDuration::parse).transpose() {
        Ok(timeout) => timeout.map(|d| d.0),
        Err(why) => return Err(vec![Problem::new("BadDuration", format!("--timeout: {why}"))]),
    };
    let mut setup = Setup::strict(&args.common).await?;
    let mut problems = Vec::new();
    let mut exit = Exit::Done;
    let cancel = cancel_on_signal();
    for origin in setup.origins.clone() {
        let seen = Instant::now();
        let revision = origin.resolve(args.revision.as_deref()).await.map_err(|p| vec![p])?;
        report.revision = Some(revision.to_string());
        let clusters = setup.clusters();
        // Several clusters: each has its own statuses, besides the instance's.
        let whole = Notes::read(&setup, &origin, None, &revision).await;
        let mut all = Vec::new();
        let mut stopped = Vec::new();
        for cluster in &clusters {
            let own = match clusters.len() {
                1 => whole.clone(),
                _ => Notes::read(&setup, &origin, Some(cluster), &revision).await,
            };
            let order = Order { args, timeout, cancel: &cancel, seen, whole: &whole, own: &own };
            match order.carry_out(&mut setup, &origin, cluster, &revision).await {
                Ok(done) => all.extend(done),
                Err(mut found) => stopped.append(&mut found),
            }
        }
        if clusters.len() > 1 && (all.is_empty() || !all.iter().all(|done: &Done| done.asked)) {
            say_end(&whole, &all, &stopped).await;
        }
        exit = all.iter().map(|done| done.ending.into()).fold(exit, Exit::max);
        for change in all.iter().flat_map(|done| &done.report.changes) {
            for action in &change.change.actions {
                *report.summary.entry(*action).or_insert(0) += 1;
            }
        }
        report.apps.extend(all.into_iter().map(|done| done.report));
        problems.append(&mut stopped);
    }
    if problems.is_empty() { Ok(exit) } else { Err(problems) }
}

/// One repository's sync to one cluster.
struct Order<'a> {
    args: &'a Sync,
    timeout: Option<Duration>,
    cancel: &'a CancellationToken,
    seen: Instant,
    /// Statuses of the instance.
    whole: &'a Notes,
    /// Statuses of this cluster; the same where it is the only one.
    own: &'a Notes,
}

impl Order<'_> {
    async fn carry_out(
        &self,
        setup: &mut Setup,
        origin: &Origin,
        cluster: &str,
        revision: &Revision,
    ) -> Result<Vec<Done>, Vec<Problem>> {
        let from_file = setup.from_file;
        let ready = match Scene::at(setup, origin, cluster, revision, true).await {
            Ok(scene) if scene.members.is_empty() && setup.clusters().len() == 1 => return Err(vec![no_apps(setup)]),
            Ok(scene) => scene.chosen(&self.args.apps).map(|chosen| (scene, chosen)),
            Err(problems) => Err(problems),
        };
        let (scene, chosen) = match ready {
            Ok(ready) => ready,
            Err(problems) => {
                // A word that was mistyped on this command line says nothing about the commit.
                let usage = |p: &Problem| {
                    p.reason == "NoSuchApp" || (!from_file && matches!(p.reason.as_str(), "PathNotFound" | "NoCluster"))
                };
                if !problems.iter().all(usage) {
                    self.begin().await;
                    say_end(self.own, &[], &problems).await;
                }
                return Err(problems);
            }
        };
        let scope = scope_name(&setup.config.instance.name, &origin.identity, &origin.repository.path);
        let lease = ScopeLease::new(scene.engine.client.clone(), &scene.engine.parents, &scope);
        // A daemon that leads the scope writes, and speaks, instead of this process.
        let daemon = lease.other_holder().await.map_err(|e| vec![e.problem()])?;
        match &daemon {
            Some(holder) => tracing::info!(%holder, "it leads this scope and is asked to sync"),
            None => self.begin().await,
        }
        let job = Job { scene: &scene, order: self, on_failure: from_file, lease: daemon.map(|_| lease) };
        let done = job.run(&chosen).await;
        if !done.iter().all(|done| done.asked) {
            say_end(self.own, &done, &[]).await;
        }
        Ok(done)
    }

    async fn begin(&self) {
        self.whole.begin().await;
        self.own.begin().await;
    }

    /// There is something to do. Called from a callback that cannot wait: it is a moment's work, once per app.
    fn work(&self) {
        let (whole, own) = (self.whole, self.own);
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                whole.work().await;
                own.work().await;
            });
        });
    }
}

/// Says how it ended: the worst app's words, or those of what stopped all.
async fn say_end(notes: &Notes, done: &[Done], stopped: &[Problem]) {
    if let Some(problem) = stopped.first() {
        let timings = Timings::default();
        return notes.end(&End { state: State::Error, exit: Exit::Error, text: problem.to_string(), timings }).await;
    }
    let worst = done.iter().map(|d| d.ending).max().unwrap_or_default();
    let timings = Timings {
        seen_to_applied_ms: done.iter().filter_map(|d| d.timings.seen_to_applied_ms).max(),
        applied_to_healthy_ms: done.iter().filter_map(|d| d.timings.applied_to_healthy_ms).max(),
    };
    let bad = done.iter().filter(|d| d.ending == worst && worst != Ending::Done);
    let text = match bad.min_by_key(|d| d.follows) {
        Some(bad) => format!("{}: {}", bad.report.name, bad.report.message),
        None => {
            let all = match done {
                [one] => one.report.name.clone(),
                _ => counted(done.len(), "app"),
            };
            let written = done.iter().filter(|d| d.timings.seen_to_applied_ms.is_some()).count();
            let apps = if written == done.len() { all.clone() } else { format!("{written} of {all}") };
            timings.sentence().map_or_else(|| format!("{all} in sync, nothing to do"), |said| format!("{apps} {said}"))
        }
    };
    notes.end(&End { state: worst.state(), exit: worst.into(), text, timings }).await;
    if let Some(healthy) = done.iter().map(|d| d.healthy).reduce(|a, b| Some(a? && b?)).flatten() {
        let unwell = done.iter().find(|d| d.healthy == Some(false));
        let text = unwell.map_or_else(|| "healthy".to_owned(), |d| format!("{}: {}", d.report.name, d.report.message));
        notes.healthy(healthy, &text).await;
    }
}

/// One app's end.
pub struct Done {
    report: AppSync,
    ending: Ending,
    timings: Timings,
    healthy: Option<bool>,
    /// Objects are about to become another app's.
    leaving: bool,
    /// A daemon did it.
    asked: bool,
    /// It runs what it ran at this revision: it was rolled back, or is held.
    back: Option<Revision>,
    /// It was not begun, since an app that it depends on did not end well: that one's words matter more.
    follows: bool,
}

struct Job<'a> {
    scene: &'a Scene,
    order: &'a Order<'a>,
    on_failure: bool,
    /// The scope's lease, where a daemon holds it.
    lease: Option<ScopeLease>,
}

impl Job<'_> {
    /// Syncs level by level: an app that others depend on comes first, and when it fails they are not begun.
    async fn run(&self, members: &[Member]) -> Vec<Done> {
        let mut out: Vec<Done> = Vec::new();
        for level in levels(members) {
            let before = &out;
            let done = join_all(level.iter().map(|member| async move {
                let stands_on = |d: &&Done| d.ending != Ending::Done && member.app.depends_on.contains(&d.report.name);
                match before.iter().find(stands_on) {
                    Some(first) => self.held_back(member, first).await,
                    None => self.one(member).await,
                }
            }))
            .await;
            out.extend(done);
        }
        self.let_go(members, &out).await;
        out.sort_by(|a, b| a.report.name.cmp(&b.report.name));
        out
    }

    /// An app that is not begun, since one that it depends on did not end well; where that one went back, so does this.
    async fn held_back(&self, member: &Member, first: &Done) -> Done {
        let app = &member.app;
        let why = |name: &str| match &first.back {
            Some(back) => format!("held: app `{name}`, which it depends on, runs {} again", back.short(7)),
            None => format!("not begun, since app `{name}`, which it depends on, is not in sync and healthy"),
        };
        let problem = Problem::new("DependencyFailed", why(&first.report.name));
        let mut done = self.halted(member, Halt::Failed(vec![problem]));
        // It ends as the one that it waits for.
        done.ending = first.ending;
        done.follows = true;
        if let Some(back) = &first.back {
            done.back = Some(back.clone());
            done.report.sync = SyncState::Held;
            let how = HowTo {
                wait: true,
                timeout: self.order.timeout.unwrap_or(app.timeout),
                cancel: self.order.cancel,
                progress: &|_: Progress<'_>| {},
                despite_hold: true,
                runs: None,
                history: None,
            };
            let text = match go_along(self.ground(), app, back, &how).await {
                Ok(None) => None,
                Ok(Some(synced)) if synced.is_applied() => Some("rolled back with it".to_owned()),
                Ok(Some(synced)) => Some(format!("going back with it failed: {}", message(app, &synced))),
                Err(problem) => Some(format!("it cannot go back with it: {problem}")),
            };
            if let Some(text) = text {
                done.report.message = format!("{}; {text}", done.report.message);
            }
        }
        done
    }

    /// Apps that lost objects to others take them off their inventories, now that the others have them. What is left is
    /// the next sync's.
    async fn let_go(&self, members: &[Member], done: &[Done]) {
        for member in members.iter().filter(|m| done.iter().any(|d| d.leaving && d.report.name == m.app.name)) {
            let Ok(rendered) = member.rendered.as_ref() else { continue };
            let how = HowTo {
                wait: false,
                timeout: member.app.timeout,
                cancel: self.order.cancel,
                progress: &|_: Progress<'_>| {},
                despite_hold: false,
                runs: None,
                history: Some(self.scene.history()),
            };
            sync(&self.scene.engine, &self.wanted(member, rendered), &how).await;
        }
    }

    fn wanted<'w>(&'w self, member: &'w Member, rendered: &'w Rendered) -> Wanted<'w> {
        Wanted {
            app: &member.app,
            revision: &self.scene.tip.revision,
            rendered,
            policies: &self.scene.policies,
            neighbours: &self.scene.neighbours,
        }
    }

    fn halted(&self, member: &Member, halt: Halt) -> Done {
        self.done(member, &Synced::halted(halt))
    }

    /// Has the daemon do it. `None`: there is none any more.
    async fn by_daemon(&self, member: &Member, lease: &ScopeLease) -> Option<Done> {
        let order = self.order;
        let asking = Asking {
            engine: &self.scene.engine,
            app: &member.app,
            lease,
            head: &self.scene.tip.revision,
            named: order.args.revision.is_some(),
            timeout: order.timeout.unwrap_or(member.app.timeout),
            cancel: order.cancel,
        };
        match ask(&asking).await {
            Ok(None) => {
                eprintln!("{}: the daemon is gone; syncing without it", member.app.name);
                None
            }
            Ok(Some(answer)) => {
                if answer.revision != self.scene.tip.revision.as_str() && answer.ending != Ending::Refused {
                    let synced: String = answer.revision.chars().take(7).collect();
                    eprintln!("{}: the daemon is at {synced} already", member.app.name);
                }
                let (ending, timings) = (answer.ending, Timings::default());
                let report = answer.sync;
                let (healthy, leaving, back, follows) = (None, false, None, false);
                Some(Done { report, ending, timings, healthy, leaving, asked: true, back, follows })
            }
            Err(problem) => Some(Done { asked: true, ..self.halted(member, Halt::Failed(vec![problem])) }),
        }
    }

    async fn one(&self, member: &Member) -> Done {
        if let Some(lease) = &self.lease
            && let Some(done) = self.by_daemon(member, lease).await
        {
            return done;
        }
        let app = &member.app;
        let rendered = match member.rendered.as_ref() {
            Ok(rendered) => rendered,
            Err(problems) => return self.halted(member, Halt::Failed(problems.clone())),
        };
        match held_with(&self.scene.engine, &self.scene.members, app, &self.scene.tip.revision).await {
            Ok(None) => {}
            Ok(Some(held)) => return self.halted(member, Halt::Held(held)),
            Err(error) => return self.halted(member, Halt::Failed(vec![error.into()])),
        }
        let wanted = self.wanted(member, rendered);
        let text = self.order.args.output == Output::Text;
        let began = AtomicBool::new(false);
        let progress = |progress: Progress<'_>| {
            let works = matches!(&progress, Progress::Planned(planned) if !planned.graph.steps.is_empty());
            if works && !began.swap(true, Ordering::Relaxed) {
                self.order.work();
            }
            if text && began.load(Ordering::Relaxed) {
                tell(&app.name, &progress);
            }
        };
        let how = HowTo {
            wait: !self.order.args.no_wait,
            timeout: self.order.timeout.unwrap_or(app.timeout),
            cancel: self.order.cancel,
            progress: &progress,
            despite_hold: false,
            runs: None,
            history: Some(self.scene.history()),
        };
        let synced = sync(&self.scene.engine, &wanted, &how).await;
        print_warnings(&app.name, &synced.warnings);
        let mut done = self.done(member, &synced);
        let unhealthy = done.ending == Ending::Unhealthy;
        let blamed = unhealthy && blames_new_pods(&synced);
        if blamed && self.on_failure && app.on_failure != OnFailure::Report && !self.order.args.no_wait {
            let reason = done.report.message.clone();
            let returned = crate::rollback::after_failure(self.ground(), member, &reason, &how).await;
            done.report.message = format!("{}: {reason}", returned.said);
            if returned.held {
                done.report.sync = SyncState::Held;
            }
            done.back = returned.synced.map(|(revision, _)| revision);
        }
        done
    }

    fn ground(&self) -> crate::rollback::Ground<'_> {
        crate::rollback::Ground {
            origin: &self.scene.origin,
            engine: &self.scene.engine,
            policies: &self.scene.policies,
            neighbours: &self.scene.neighbours,
            tools: &self.scene.tools,
            revision: &self.scene.tip.revision,
        }
    }

    fn done(&self, member: &Member, synced: &Synced) -> Done {
        let ms = |from: Instant, to: Instant| u64::try_from(to.duration_since(from).as_millis()).unwrap_or(u64::MAX);
        // Where nothing had to be written, nothing was applied: it was in sync.
        let applied = synced.applied_at.filter(|_| synced.wrote && synced.is_applied());
        let timings = Timings {
            seen_to_applied_ms: applied.map(|at| ms(self.order.seen, at)),
            applied_to_healthy_ms: applied.zip(synced.healthy_at).map(|(from, to)| ms(from, to)),
        };
        let ending = ending(synced);
        let mut report = report(&member.app, synced);
        if report.message.is_empty() && ending != Ending::Done {
            report.message = message(&member.app, synced);
        }
        let leaving = synced.planned.as_ref().is_some_and(|planned| !planned.leaving.is_empty());
        let healthy = synced.health.as_ref().map(crate::health::wait::HealthReport::is_healthy);
        let held = matches!(synced.halt, Some(Halt::Held(_)));
        let runs = synced.stored.as_ref().filter(|_| held).and_then(|stored| stored.parent.revision.as_deref());
        let back = runs.and_then(|revision| Revision::parse(revision).ok());
        Done { report, ending, timings, leaving, healthy, asked: false, back, follows: false }
    }
}

/// Progress on standard error, a line per event.
fn tell(app: &str, progress: &Progress<'_>) {
    match progress {
        Progress::Planned(planned) => {
            let steps = planned.graph.steps.len();
            if steps > 0 {
                eprintln!("{app}: {}", counted(steps, "step"));
            }
        }
        Progress::Step(planned, number, result) => {
            let Some(step) = planned.graph.steps.get(*number) else { return };
            let Some(object) = &step.object else { return };
            let action = step.action.map_or_else(String::new, |a| format!("{a:?} ").to_lowercase());
            match &result.state {
                crate::apply::machine::StepState::Failed(problem) => {
                    eprintln!("{app}: {action}{object}: {}", problem.message);
                }
                _ => eprintln!("{app}: {action}{object} ({} ms)", result.took.as_millis()),
            }
        }
        Progress::Applied => eprintln!("{app}: applied, waiting until it is healthy"),
    }
}

/// Stops at the next safe point on SIGINT or SIGTERM; a second one ends the process at once.
pub fn cancel_on_signal() -> CancellationToken {
    let token = CancellationToken::new();
    let cancel = token.clone();
    tokio::spawn(async move {
        crate::cli::signal().await;
        eprintln!("stopping after the write under way; once more to stop at once");
        cancel.cancel();
        crate::cli::signal().await;
        std::process::exit(130);
    });
    token
}
