//! One app's task: syncs what it is told to, repairs what drifts, rolls back what does not become healthy.
//!
//! In: [`Wake`]s (a new target, a changed object, a person's wish). Out: [`Said`] to its scope. One thing at a time; a
//! newer target stops the sync of an older one at the next safe point, unless both render to the same.
//!
//! One state, one loop and what they decide: longer than other files, since the rounds share all of it.
//!
//! What is *meant to run* is the target, or after a rollback the content that was healthy: drift is repaired towards it.

mod back;
mod reviews;

pub use self::back::HeldBack;
use super::board::{AppName, Outcome};
use super::leader::{Leads, leads};
use super::vitals::Vitals;
use crate::app::App;
use crate::config::OnFailure;
use crate::engine::Engine;
use crate::health::Health;
use crate::inventory::StoredParent;
use crate::object::{Gk, Manifest as _, ObjectKey, ObjectRef};
use crate::outcome::{Ending, blames_new_pods, ending, message, report, sync_state};
use crate::plan::{PlanOptions, owned_digest};
use crate::policy::PolicySet;
use crate::reconcile::{Halt, Held, History, HowTo, Progress, Synced, Wanted, held, look, sync};
use crate::render::{Rendered, Tools};
use crate::report::host::wire::HostClient;
use crate::report::letters::Letter;
use crate::report::status_report::{DriftEntry, SyncState};
use crate::report::sync_report::AppSync;
use crate::report::{Context, State, Timings};
use crate::request::{self, Answer};
use crate::rollback::{Ground, after_failure, render_at};
use crate::scope::{Member, Neighbours};
use crate::server::Metrics;
use crate::source::{Backoff, Revision};
use crate::survey;
use crate::workspace::Origin;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio_util::sync::CancellationToken;

/// Events that come together are looked at together.
const TOGETHER: Duration = Duration::from_millis(10);
/// Health is looked at this long after something changed: much changes at once.
const GLANCE: Duration = Duration::from_millis(100);
/// After a failure.
const RETRY: Backoff = Backoff { first: Duration::from_secs(5), cap: Duration::from_secs(300) };
/// Repairs within [`FIGHT_WINDOW`] after which somebody else is at work on the same fields.
const FIGHT: usize = 4;
/// See [`FIGHT`].
const FIGHT_WINDOW: Duration = Duration::from_secs(60);

/// What an app is told.
pub enum Wake {
    /// Bring this about.
    Target(Box<Target>),
    /// Do not bring this about: what it depends on did not end well.
    HeldBack(Box<HeldBack>),
    /// An object that carries its label changed, appeared or went.
    Changed(ObjectKey),
    /// Its inventory changed; the resourceVersion it has now.
    Parent(Option<String>),
    /// Look at everything again.
    Recheck,
    /// The branch was looked at since somebody asked for a sync.
    Asked,
    /// A pull request may stand elsewhere: one may have been merged.
    Pulls,
}

/// What is to run.
#[derive(Clone)]
pub struct Target {
    /// The app with what it became.
    pub member: Member,
    /// From which commit.
    pub revision: Revision,
    /// When the commit was seen.
    pub seen: Instant,
    /// What every object must pass.
    pub policies: Arc<PolicySet>,
    /// The other apps.
    pub neighbours: Arc<Neighbours>,
    /// The host that says which pull requests were merged (`require_plan`).
    pub host: Option<Arc<HostClient>>,
}

impl Target {
    fn rendered(&self) -> Option<&Rendered> {
        self.member.rendered.as_ref().as_ref().ok()
    }

    fn same_content(&self, other: &Self) -> bool {
        let digest = |t: &Self| t.rendered().map(|r| r.digest.clone());
        digest(self).is_some() && digest(self) == digest(other) && self.member.app == other.member.app
    }
}

/// What an app says to its scope.
pub enum Said {
    /// Work on a revision ended.
    Ended(Revision, Outcome),
    /// Its health changed. `None`: the app is gone.
    Health(AppName, Option<(Health, String)>),
    /// Drift was found.
    Drift(AppName, String),
    /// Drift is gone.
    Repaired(AppName, String),
    /// Something is written for a revision: whatever was said of it before is not its end.
    Begun(Revision),
    /// The same revision again, and why: a failure passed, or a person wants it.
    Again(Revision, &'static str),
    /// It was let go while it was at work: it may own what nobody knew of.
    Left,
    /// The plan of a pull request, whose head is no head of the branch. `again`: it was told before, and is made anew.
    Plan {
        /// The pull request's head.
        revision: Revision,
        /// Its state.
        state: State,
        /// For a person.
        text: String,
        /// A new round.
        again: bool,
    },
    /// The comment of a pull request.
    Comment(Letter),
    /// It is not held or suspended any more: what waited for that may go on.
    Lifted,
    /// What a host says was said of a commit.
    Known(Revision, Vec<(Context, State)>),
    /// `driftless sync` asks for it: look where the branch is, then answer with [`Wake::Asked`].
    Asked(AppName),
}

/// An app's task.
pub struct AppTask {
    /// The cluster.
    pub engine: Engine,
    /// The repository.
    pub origin: Origin,
    /// Programs that rendering may run.
    pub tools: Tools,
    /// Numbers.
    pub metrics: Arc<Metrics>,
    /// Its health.
    pub vitals: Vitals,
    /// To the scope.
    pub scope: UnboundedSender<Said>,
    /// Ends it.
    pub shutdown: CancellationToken,
    /// Until when this process leads the scope: without it nothing is begun. `None` where nobody else can lead.
    pub leading: Option<tokio::sync::watch::Receiver<Leads>>,
}

/// What the task remembers.
#[derive(Default)]
struct Mind {
    target: Option<Target>,
    /// After a rollback, or while the target is held: what runs instead.
    meant: Option<Target>,
    stored: Option<StoredParent>,
    ending: Option<Ending>,
    /// The target waits for an app that it depends on: why.
    held_back: Option<Held>,
    /// Deletions wait for another app.
    waits: bool,
    /// The last round stopped before everything was written.
    unfinished: bool,
    drifted: bool,
    failures: u32,
    retry_at: Option<Instant>,
    recheck_at: Option<Instant>,
    /// Questions to the host about merges that would lift a hold.
    asking: reviews::Asking,
    /// When each field was repaired lately.
    repairs: BTreeMap<String, VecDeque<Instant>>,
    repair_not_before: Option<Instant>,
    /// The request for which the scope looks where the branch is.
    asked: Option<String>,
    /// A round is made because somebody asked, whether or not there is anything to do.
    forced: bool,
    /// What the last round came to, as `sync -o json` shows it.
    report: Option<AppSync>,
}

/// What a round was about.
enum Round {
    /// A target that was not brought about yet. The revisions that wait for the outcome.
    Bring(Vec<Target>),
    /// A target that is not to be brought about.
    HoldBack(Box<HeldBack>),
    /// Something may differ from what is meant to run.
    Mend,
}

impl AppTask {
    /// Runs until shutdown.
    pub async fn run(self, mut wakes: UnboundedReceiver<Wake>) {
        let mut mind = Mind::default();
        let mut waiting: VecDeque<Wake> = VecDeque::new();
        let mut pulse = self.engine.eyes.members.changes();
        loop {
            if waiting.is_empty() {
                let timer = [mind.retry_at, mind.recheck_at, mind.asking.at].into_iter().flatten().min();
                tokio::select! {
                    () = self.shutdown.cancelled() => return,
                    wake = wakes.recv() => match wake {
                        Some(wake) => waiting.push_back(wake),
                        None => return,
                    },
                    () = sleep_until(timer) => waiting.push_back(Wake::Recheck),
                    // Why something is not well is told by objects that are not the app's own: pods, events.
                    Ok(()) = pulse.changed(), if self.vitals.is_unwell() => {
                        tokio::time::sleep(GLANCE).await;
                        self.watch_health(&mut mind);
                        continue;
                    }
                }
                if !matches!(waiting.front(), Some(Wake::Target(_))) {
                    tokio::time::sleep(TOGETHER).await;
                }
            }
            while let Ok(wake) = wakes.try_recv() {
                waiting.push_back(wake);
            }
            let Some(round) = self.next_round(&mut mind, &mut waiting).await else { continue };
            if self.leading.as_ref().is_some_and(|until| !leads(*until.borrow())) {
                // A paused process wakes up: another daemon may be at work, and this one's targets may be old.
                continue;
            }
            let cancel = self.shutdown.child_token();
            let bringing = match &round {
                Round::Bring(targets) => targets.last().cloned(),
                Round::HoldBack(_) | Round::Mend => None,
            };
            let work = self.carry_out(&mut mind, round, &cancel);
            tokio::pin!(work);
            let mut glance_at: Option<Instant> = None;
            loop {
                tokio::select! {
                    () = &mut work => break,
                    Ok(()) = pulse.changed(), if bringing.is_some() && glance_at.is_none() => {
                        glance_at = Some(Instant::now() + GLANCE);
                    }
                    () = sleep_until(glance_at) => {
                        glance_at = None;
                        if let Some(target) = &bringing {
                            self.glance(target);
                        }
                    }
                    wake = wakes.recv() => match wake {
                        Some(Wake::Target(new)) => {
                            // A revision that renders to the same goes on with what is under way.
                            if bringing.as_ref().is_some_and(|old| !old.same_content(&new)) {
                                cancel.cancel();
                            }
                            waiting.push_back(Wake::Target(new));
                        }
                        Some(Wake::HeldBack(held)) => {
                            if held.back.is_some() && bringing.is_some() {
                                cancel.cancel();
                            }
                            waiting.push_back(Wake::HeldBack(held));
                        }
                        Some(wake) => waiting.push_back(wake),
                        None => {
                            cancel.cancel();
                            (&mut work).await;
                            let _ = self.scope.send(Said::Left);
                            return;
                        }
                    },
                }
            }
        }
    }

    /// Takes the wakes in and decides what to do.
    async fn next_round(&self, mind: &mut Mind, waiting: &mut VecDeque<Wake>) -> Option<Round> {
        let mut bring: Vec<Target> = Vec::new();
        let (mut look, mut asked) = (false, false);
        let mut held_back: Option<Box<HeldBack>> = None;
        for wake in waiting.drain(..) {
            match wake {
                Wake::Target(target) => {
                    // Content that is meant to run already, or runs, needs no round of its own but an outcome.
                    held_back = None;
                    mind.held_back = None;
                    bring.push(*target);
                }
                Wake::HeldBack(held) => {
                    // What came before it is superseded, or its own revision's, which is not to be brought about now.
                    bring.clear();
                    held_back = Some(held);
                }
                Wake::Changed(_) | Wake::Recheck => look = true,
                Wake::Asked => asked = true,
                Wake::Pulls => self.hurry(mind),
                Wake::Parent(version) => {
                    let known = mind.stored.as_ref().and_then(|s| s.resource_version.clone());
                    if is_news(version.as_deref(), known.as_deref()) {
                        self.hear_wishes(mind).await;
                        look = true;
                    }
                }
            }
        }
        if let Some(held) = held_back {
            return Some(Round::HoldBack(held));
        }
        self.ask_about_merges(mind).await;
        let now = Instant::now();
        if mind.retry_at.is_some_and(|at| at <= now) {
            mind.retry_at = None;
            if bring.is_empty()
                && let Some(target) = &mind.target
            {
                let again = Target { seen: now, ..target.clone() };
                let _ = self.scope.send(Said::Again(again.revision.clone(), "trying again"));
                bring.push(again);
            }
        }
        if asked {
            self.heed_request(mind, &mut bring).await;
        }
        if !bring.is_empty() {
            return Some(Round::Bring(bring));
        }
        look.then_some(Round::Mend)
    }

    /// The command line wrote something into the inventory: a hold was set or lifted, the app was suspended or rolled
    /// back, …
    async fn hear_wishes(&self, mind: &mut Mind) {
        let Some(target) = mind.target.clone() else { return };
        let app = &target.member.app;
        let namespace = crate::reconcile::default_namespace(&self.engine, app);
        let Ok(stored) = self.engine.parents.reload(&app.identity, &namespace).await else { return };
        let held_now = target.rendered().is_some_and(|r| held(&stored.parent, &r.digest, &target.revision).is_some());
        let runs_else = target.rendered().is_some_and(|r| stored.parent.digest.as_ref() != Some(&r.digest));
        let stopped = mind.ending == Some(Ending::Refused) || mind.meant.is_some();
        let suspended = stored.parent.suspended || mind.held_back.is_some();
        // A removed app's inventory goes with the last of what it owned: that is no wish.
        let over = stored.resource_version.is_none() && app.plan.app_removed;
        let halted = |stored: &StoredParent| {
            let held = target.rendered().is_some_and(|r| held(&stored.parent, &r.digest, &target.revision).is_some());
            held || stored.parent.suspended
        };
        let before = mind.stored.as_ref().map_or(mind.ending == Some(Ending::Refused), halted);
        if before && !halted(&stored) {
            let _ = self.scope.send(Said::Lifted);
        }
        mind.stored = Some(stored);
        self.hear_request(mind);
        if suspended || over {
            return;
        }
        if held_now {
            if runs_else {
                let runs = |mind: &Mind| mind.meant.as_ref().map(|meant| meant.revision.clone());
                let before = runs(mind);
                self.remember_what_runs(mind, &target).await;
                if let Some(back) = runs(mind).filter(|back| before.as_ref() != Some(back)) {
                    mind.ending = Some(Ending::Refused);
                    self.say_went_back(mind, &target, back);
                }
            }
        } else if stopped || (runs_else && matches!(mind.ending, Some(Ending::Done | Ending::Unhealthy))) {
            mind.meant = None;
            mind.retry_at = Some(Instant::now());
        }
    }

    /// Somebody asks for a sync: the scope looks first where the branch is.
    fn hear_request(&self, mind: &mut Mind) {
        let Some(id) = mind.stored.as_ref().and_then(request::open).map(|request| request.id.clone()) else { return };
        if mind.asked.as_ref() != Some(&id)
            && let Some(target) = &mind.target
        {
            let app = &target.member.app;
            let _ = self.scope.send(Said::Asked((app.name.clone(), app.cluster.clone())));
            mind.asked = Some(id);
        }
    }

    /// The branch was looked at: what was asked for is refused, or becomes a round.
    async fn heed_request(&self, mind: &mut Mind, bring: &mut Vec<Target>) {
        if bring.is_empty() && self.answer_held_back(mind).await {
            return;
        }
        let Some(newest) = bring.last().or(mind.target.as_ref()).cloned() else { return };
        let Some(request) = mind.stored.as_ref().and_then(request::open).cloned() else { return };
        if let Some(problem) = request::refusal(&request, &newest.revision) {
            let app = &newest.member.app;
            let sync = report(app, &Synced::halted(Halt::Refused(vec![problem])));
            self.give_answer(mind, &newest, Ending::Refused, sync).await;
            return;
        }
        mind.forced = true;
        if bring.is_empty() {
            if mind.ending.is_some_and(|ending| ending != Ending::Done) {
                let _ = self.scope.send(Said::Again(newest.revision.clone(), "asked to sync"));
            }
            mind.retry_at = None;
            bring.push(Target { seen: Instant::now(), ..newest });
        }
    }

    /// Answers the request that waits, if one does.
    async fn give_answer(&self, mind: &mut Mind, target: &Target, ending: Ending, sync: AppSync) {
        let Some(id) = mind.stored.as_ref().and_then(request::open).map(|request| request.id.clone()) else { return };
        let answer = Answer { revision: target.revision.to_string(), ending, sync };
        if let Err(error) = request::answer(&self.engine, &target.member.app, &id, answer).await {
            // Asked again at the next change of the inventory.
            mind.asked = None;
            tracing::warn!(app = target.member.app.name, %error, "a request could not be answered");
        }
    }

    async fn carry_out(&self, mind: &mut Mind, round: Round, cancel: &CancellationToken) {
        match round {
            Round::Bring(targets) => self.bring(mind, targets, cancel).await,
            Round::HoldBack(held) => self.hold_back(mind, *held, cancel).await,
            Round::Mend => self.mend(mind, cancel).await,
        }
        self.await_merge(mind);
        self.hear_request(mind);
        self.watch_health(mind);
        self.engine.doctor.tidy();
    }

    /// Brings the newest target about, and reports to every revision that waits for it.
    async fn bring(&self, mind: &mut Mind, mut targets: Vec<Target>, cancel: &CancellationToken) {
        let Some(target) = targets.pop() else { return };
        let name = (target.member.app.name.clone(), target.member.app.cluster.clone());
        let unchanged = mind.target.as_ref().is_some_and(|known| known.same_content(&target));
        let settled = matches!(mind.ending, Some(Ending::Done)) && mind.retry_at.is_none();
        let at_rest = match (&mind.stored, target.rendered()) {
            (Some(stored), Some(rendered)) => mind.meant.is_none() && in_sync(&self.engine, stored, rendered).await,
            _ => false,
        };
        // What kept it from being pruned may be over with this revision: another app wanted it, or did not render.
        let left = match (&mind.stored, target.rendered()) {
            (Some(stored), Some(rendered)) => has_leftovers(stored, rendered),
            _ => false,
        };
        mind.target = Some(target.clone());
        let forced = std::mem::take(&mut mind.forced);
        if unchanged && settled && at_rest && !left && !forced {
            // The commit changes nothing here: nothing is asked, nothing is written.
            self.say(&targets, &target, &Outcome::done(name));
            return;
        }
        // An older target's failure is not tried again beside this one: it would be a second ending of this one's.
        mind.retry_at = None;
        let started = Instant::now();
        let (end, text, timings) = self.bring_one(mind, &target, cancel).await;
        mind.ending = Some(end);
        let outcome = match end {
            Ending::Done => "applied",
            Ending::Unhealthy if mind.meant.is_some() => "rolled-back",
            Ending::Unhealthy | Ending::Failed => "failed",
            Ending::Refused => "refused",
            Ending::Superseded => "superseded",
        };
        self.metrics.sync_ended(&name.0, &name.1, outcome, started.elapsed());
        match end {
            Ending::Failed => {
                mind.failures += 1;
                mind.retry_at = Some(Instant::now() + RETRY.delay(mind.failures, rand::random()));
            }
            Ending::Unhealthy if mind.unfinished => {
                // What was waited for may become healthy, or be passed by in another plan.
                mind.failures += 1;
                mind.retry_at = Some(Instant::now() + RETRY.delay(mind.failures, rand::random()));
            }
            // Stopped on the way out or for a newer target: nothing is final about it.
            // Whoever asked gets the answer of the next round.
            Ending::Superseded => mind.forced |= forced,
            _ => mind.failures = 0,
        }
        let expected =
            |request: &crate::inventory::Request| forced || request.head.as_deref() == Some(target.revision.as_str());
        let asked = mind.stored.as_ref().and_then(request::open).is_some_and(expected);
        if let Some(report) = mind.report.take().filter(|_| asked && end != Ending::Superseded) {
            self.give_answer(mind, &target, end, report).await;
        }
        let back = mind.meant.as_ref().map(|meant| meant.revision.clone());
        let waits = mind.waits;
        let outcome = Outcome { app: name, ending: end, message: text, timings, back, waits, follows: false };
        self.say(&targets, &target, &outcome);
    }

    async fn bring_one(
        &self,
        mind: &mut Mind,
        target: &Target,
        cancel: &CancellationToken,
    ) -> (Ending, String, Timings) {
        let rendered = match target.member.rendered.as_ref() {
            Ok(rendered) => rendered,
            Err(problems) => {
                let first = problems.first().map(ToString::to_string).unwrap_or_default();
                mind.report = Some(report(&target.member.app, &Synced::halted(Halt::Failed(problems.clone()))));
                return (Ending::Failed, first, Timings::default());
            }
        };
        mind.meant = None;
        let follow = |progress: Progress<'_>| {
            if let Progress::Planned(planned) = progress {
                self.vitals.follow(planned.members.iter().map(|m| m.object.clone()).collect());
                if !planned.graph.steps.is_empty() {
                    let _ = self.scope.send(Said::Begun(target.revision.clone()));
                }
            }
        };
        let how = HowTo { progress: &follow, history: self.history(target), ..how_to(target, cancel, false) };
        let synced = sync(&self.engine, &wanted(target, rendered), &how).await;
        let mut timings = timings(target.seen, &synced);
        if synced.stored.is_some() {
            mind.stored.clone_from(&synced.stored);
        }
        let end = ending(&synced);
        mind.unfinished = !synced.is_applied();
        mind.waits = synced.planned.as_ref().is_some_and(|planned| planned.waits().is_some());
        let mut text = message(&target.member.app, &synced);
        let mut shown = report(&target.member.app, &synced);
        self.count(target, &synced);
        if end == Ending::Refused && sync_state(&synced) == SyncState::Held {
            self.remember_what_runs(mind, target).await;
            self.mend(mind, cancel).await;
        }
        if end == Ending::Unhealthy && target.member.app.on_failure != OnFailure::Report && blames_new_pods(&synced) {
            let ground = self.ground(target);
            let returned = after_failure(ground, &target.member, &text, &how_to(target, cancel, true)).await;
            text = format!("{}: {text}", returned.said);
            shown.message.clone_from(&text);
            if returned.held {
                shown.sync = SyncState::Held;
                mind.unfinished = false;
            }
            timings.applied_to_healthy_ms = None;
            if let Some((_, back)) = &returned.synced {
                mind.stored.clone_from(&back.stored);
            }
            if returned.held {
                self.remember_what_runs(mind, target).await;
            }
        }
        mind.report = Some(shown);
        (end, text, timings)
    }

    /// Held content does not run: what does is what was applied last, and drift is repaired towards that.
    async fn remember_what_runs(&self, mind: &mut Mind, target: &Target) {
        let app = &target.member.app;
        let namespace = crate::reconcile::default_namespace(&self.engine, app);
        let Ok(stored) = self.engine.parents.reload(&app.identity, &namespace).await else { return };
        let members: Vec<ObjectRef> = stored.parent.members.iter().map(|m| m.object.clone()).collect();
        if let Some(kinds) = self.engine.kinds().await.ok().filter(|_| !members.is_empty()) {
            let id = app.identity.applyset_id(self.engine.parents.namespace());
            self.engine.eyes.observe(&kinds, &members, (&id, &stored.parent.members)).await;
        }
        let applied = stored.parent.digest.clone();
        let record = stored.parent.syncs.iter().find(|s| Some(&s.digest) == applied.as_ref()).cloned();
        mind.stored = Some(stored);
        let Some(record) = record.filter(|r| target.rendered().is_none_or(|t| t.digest != r.digest)) else { return };
        match render_at(self.ground(target), app, &record).await {
            Ok((revision, rendered)) => {
                let member = Member { app: app.clone(), rendered: Arc::new(Ok(rendered)) };
                mind.meant = Some(Target { member, revision, ..target.clone() });
            }
            Err(problem) => {
                tracing::warn!(app = app.name, %problem, "what runs cannot be rendered; its drift is not repaired");
            }
        }
    }

    /// Looks whether live state is what is meant to run; if not, says so and repairs it.
    async fn mend(&self, mind: &mut Mind, cancel: &CancellationToken) {
        let Some(meant) = mind.meant.clone().or_else(|| mind.target.clone()) else { return };
        let (Some(rendered), Some(stored)) = (meant.rendered(), &mind.stored) else { return };
        let app = meant.member.app.clone();
        // A repair is no commit: what cannot be repaired keeps nothing else from it.
        let each = App { plan: PlanOptions { best_effort: true, ..app.plan.clone() }, ..(*app).clone() };
        let name = (app.name.clone(), app.cluster.clone());
        if stored.parent.suspended || stored.parent.digest.as_ref() != Some(&rendered.digest) {
            return;
        }
        if in_sync(&self.engine, stored, rendered).await {
            if std::mem::take(&mut mind.drifted) {
                let _ = self.scope.send(Said::Repaired(name, "the drift is gone".into()));
            }
            return;
        }
        let slowed = mind.repair_not_before.is_some_and(|at| at > Instant::now());
        if slowed && mind.drifted {
            mind.recheck_at = mind.repair_not_before;
            return;
        }
        let Ok(key) = self.engine.digest_key().await.map(<[u8]>::to_vec) else { return };
        let wanted = Wanted { app: &each, ..wanted(&meant, rendered) };
        let Ok(looked) = look(&self.engine, &wanted, &key).await else { return };
        let entries = survey::drift(&looked.planned, &looked);
        if let Some(found) = looked.planned.problems.first() {
            let text = format!("it differs from Git and cannot be repaired: {}", found.problem);
            let _ = self.scope.send(Said::Drift(name.clone(), text));
            mind.drifted = true;
        } else if entries.is_empty() && std::mem::take(&mut mind.drifted) {
            // Undone by whoever did it, though the fields may be owned by them now.
            let _ = self.scope.send(Said::Repaired(name.clone(), "the drift is gone".into()));
        }
        if !entries.is_empty() && !std::mem::replace(&mut mind.drifted, true) {
            self.metrics.drifted(&name.0, &name.1, u64::try_from(entries.len()).unwrap_or(u64::MAX));
        }
        if !entries.is_empty() {
            let _ = self.scope.send(Said::Drift(name.clone(), describe(&entries)));
        }
        if !app.self_heal && looked.planned.has_changes() {
            return;
        }
        if slowed {
            // Said, and left until the pause is over.
            mind.recheck_at = mind.repair_not_before;
            return;
        }
        let began = Instant::now();
        // Not despite a hold: while this waits for the app's lock, somebody may be rolling it back.
        let how = HowTo {
            wait: false,
            runs: Some(&rendered.digest),
            history: self.history(&meant),
            ..how_to(&meant, cancel, false)
        };
        let synced = sync(&self.engine, &wanted, &how).await;
        if matches!(synced.halt, Some(Halt::Held(_) | Halt::Suspended)) {
            // A wish that this repair met before its own event came: heard now, since that event brings no news then.
            self.hear_wishes(mind).await;
            return;
        }
        if synced.stored.is_some() {
            mind.stored.clone_from(&synced.stored);
        }
        let all = synced.planned.as_ref().is_none_or(|planned| planned.problems.is_empty());
        if synced.is_applied() && all && !entries.is_empty() {
            mind.drifted = false;
            self.metrics.repaired(&name.0, &name.1, u64::try_from(entries.len()).unwrap_or(u64::MAX));
            let took = began.elapsed().as_millis();
            let mut text = format!("repaired in {took}ms: {}", describe(&entries));
            if let Some(rival) = self.note_repair(mind, &entries) {
                text = format!("{rival} keeps changing it back, repairs are slowed down; {text}");
            }
            let _ = self.scope.send(Said::Repaired(name, text));
        }
    }

    /// Repairs of one field in quick succession are a fight: the next one waits, longer each time. Who fights, if it is one.
    fn note_repair(&self, mind: &mut Mind, entries: &[DriftEntry]) -> Option<String> {
        let now = Instant::now();
        let long_ago = FIGHT_WINDOW.saturating_mul(10);
        mind.repairs.retain(|_, times| times.back().is_some_and(|last| last.elapsed() <= long_ago));
        let mut worst: Option<(usize, &DriftEntry)> = None;
        for entry in entries {
            let field = format!("{} {}", entry.object, entry.path.as_deref().unwrap_or_default());
            let times = mind.repairs.entry(field).or_default();
            times.push_back(now);
            times.retain(|at| at.elapsed() <= long_ago);
            let lately = times.iter().filter(|at| at.elapsed() <= FIGHT_WINDOW).count();
            let fights = lately >= FIGHT || times.len() > FIGHT;
            if fights && worst.is_none_or(|(most, _)| times.len() > most) {
                worst = Some((times.len(), entry));
            }
        }
        let Some((times, entry)) = worst else {
            mind.repair_not_before = None;
            return None;
        };
        let over = u32::try_from(times.saturating_sub(FIGHT)).unwrap_or(u32::MAX);
        let pause = Duration::from_secs(2).saturating_mul(1 << over.min(7));
        mind.repair_not_before = Some(now + pause);
        mind.recheck_at = mind.repair_not_before;
        Some(entry.manager.clone().unwrap_or_else(|| "somebody".to_owned()))
    }

    /// Tells the scope when health changed, while a sync is under way.
    fn glance(&self, target: &Target) {
        let app = &target.member.app;
        if let Some(health) = self.vitals.look(&self.engine, true).news {
            let _ = self.scope.send(Said::Health((app.name.clone(), app.cluster.clone()), Some(health)));
        }
    }

    /// Tells the scope when health changed, after a round.
    fn watch_health(&self, mind: &mut Mind) {
        mind.recheck_at = mind.recheck_at.filter(|at| *at > Instant::now());
        let (Some(stored), Some(target)) = (&mind.stored, &mind.target) else { return };
        let app = &target.member.app;
        let name = (app.name.clone(), app.cluster.clone());
        let members: Vec<ObjectRef> = stored.parent.members.iter().map(|m| m.object.clone()).collect();
        self.vitals.follow(members.clone());
        // Where nothing was ever written, nothing is known: no objects are not all healthy.
        let nothing = members.is_empty() && matches!(mind.ending, Some(Ending::Failed | Ending::Refused));
        let look = self.vitals.look(&self.engine, nothing);
        if let Some(at) = look.again {
            mind.recheck_at = Some(mind.recheck_at.map_or(at, |known| known.min(at)));
        }
        let sync = match (&mind.meant, mind.ending) {
            (Some(_), _) => SyncState::Held,
            (_, Some(Ending::Done | Ending::Unhealthy)) if !mind.drifted => SyncState::Synced,
            (_, Some(Ending::Failed)) => SyncState::Failed,
            _ => SyncState::OutOfSync,
        };
        self.metrics.app(&name.0, &name.1, sync, look.health, survey::score(&self.engine, &members));
        if app.plan.app_removed && members.is_empty() {
            let _ = self.scope.send(Said::Health(name, None));
        } else if let Some(health) = look.news {
            let _ = self.scope.send(Said::Health(name, Some(health)));
        }
    }

    fn history<'a>(&'a self, target: &'a Target) -> Option<History<'a>> {
        Some(History { mirror: &self.origin.mirror, host: target.host.as_ref() })
    }

    fn ground<'a>(&'a self, target: &'a Target) -> Ground<'a> {
        Ground {
            origin: &self.origin,
            engine: &self.engine,
            policies: &target.policies,
            neighbours: &target.neighbours,
            tools: &self.tools,
            revision: &target.revision,
        }
    }

    fn count(&self, target: &Target, synced: &Synced) {
        if let Some(at) = synced.applied_at.filter(|_| synced.is_applied()) {
            self.metrics.applied(at.duration_since(target.seen));
            if let Some(healthy) = synced.healthy_at {
                self.metrics.healthy(healthy.duration_since(at));
            }
        }
    }

    fn say(&self, older: &[Target], newest: &Target, outcome: &Outcome) {
        for target in older.iter().chain([newest]) {
            let _ = self.scope.send(Said::Ended(target.revision.clone(), outcome.clone()));
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn wanted<'a>(target: &'a Target, rendered: &'a Rendered) -> Wanted<'a> {
    Wanted {
        app: &target.member.app,
        revision: &target.revision,
        rendered,
        policies: &target.policies,
        neighbours: &target.neighbours,
    }
}

fn quiet(_: Progress<'_>) {}

fn how_to<'a>(target: &Target, cancel: &'a CancellationToken, despite_hold: bool) -> HowTo<'a> {
    let timeout = target.member.app.timeout;
    HowTo { wait: true, timeout, cancel, progress: &quiet, despite_hold, runs: None, history: None }
}

fn timings(seen: Instant, synced: &Synced) -> Timings {
    let ms = |from: Instant, to: Instant| u64::try_from(to.duration_since(from).as_millis()).unwrap_or(u64::MAX);
    // Where nothing had to be written, nothing was applied: it was in sync.
    let applied = synced.applied_at.filter(|_| synced.wrote && synced.is_applied());
    Timings {
        seen_to_applied_ms: applied.map(|at| ms(seen, at)),
        applied_to_healthy_ms: applied.zip(synced.healthy_at).map(|(from, to)| ms(from, to)),
    }
}

/// True if live state is what was written at the last sync of this content, as far as the caches tell: no request.
async fn in_sync(engine: &Engine, stored: &StoredParent, rendered: &Rendered) -> bool {
    let Ok(key) = engine.digest_key().await else { return false };
    stored.parent.digest.as_ref() == Some(&rendered.digest)
        && stored.parent.members.iter().all(|member| {
            let object = member.object.key();
            match engine.eyes.members.peek(&object) {
                // A Job's TTL may remove it once it has succeeded.
                None => member.done || engine.eyes.members.finished(&object) == member.uid,
                Some(live) if member.done && live.is_terminating() => true,
                Some(live) => {
                    live.uid() == member.uid.as_deref()
                        && !live.is_terminating()
                        && member.owned.as_ref()
                            == Some(live.owned(&object, |live, object| owned_digest(live, object, key)))
                }
            }
        })
}

/// True if the inventory lists what Git does not have any more.
fn has_leftovers(stored: &StoredParent, rendered: &Rendered) -> bool {
    // A namespace that is not written is the app's.
    let wanted: BTreeSet<(Gk, &str)> = rendered.objects.iter().map(|o| (o.gvk().gk(), o.name())).collect();
    stored.parent.members.iter().any(|m| !wanted.contains(&(m.object.gvk().gk(), m.object.name.as_str())))
}

/// False for what we wrote ourselves: the version that is known, and older ones (KEP-5504: versions are ordered).
fn is_news(version: Option<&str>, known: Option<&str>) -> bool {
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok());
    match (number(version), number(known)) {
        (Some(version), Some(known)) => version > known,
        _ => version != known,
    }
}

/// Drift in words: `Deployment shop/web .spec.replicas changed by kubectl at 12:00:00Z`.
fn describe(entries: &[DriftEntry]) -> String {
    let Some(first) = entries.first() else { return String::new() };
    let what = match &first.path {
        None => format!("{} was deleted (the API records no author)", first.object),
        Some(path) => match (&first.manager, &first.since) {
            (Some(manager), Some(since)) => format!("{} {path} changed by {manager} at {since}", first.object),
            (Some(manager), None) => format!("{} {path} changed by {manager}", first.object),
            _ => format!("{} {path} was removed (the API records no author)", first.object),
        },
    };
    if entries.len() > 1 { format!("{what} (and {} more)", entries.len() - 1) } else { what }
}
