//! One repository: follows its branch, hands its apps what they are to run, and speaks about its revisions.

use super::app::{AppTask, HeldBack, Said, Target, Wake};
use super::board::{AppName, Board, DriftBoard, HealthBoard, Outcome};
use super::dispatch::Registry;
use super::herald::Herald;
use super::leader::{Leads, lead, leads};
use super::line::{Blocked, Line, Moves};
use super::pulls::{Look, PullPlanner};
use super::vitals::Vitals;
use crate::app::App;
use crate::apply::lease::ScopeLease;
use crate::config::{Config, Report, ReportKind};
use crate::engine::Engine;
use crate::hosts::remote_of;
use crate::inventory::identity::scope_name;
use crate::object::Problem;
use crate::outcome::Ending;
use crate::render::Tools;
use crate::report::{ContextKind, Denials, State, Timings};
use crate::scope::{Member, Neighbours};
use crate::server::webhook::Change;
use crate::server::{Metrics, Readiness};
use crate::source::{Cadence, Follower, Interval, Revision, Schedule, Watched};
use crate::workspace::{Origin, Tip, members_on, policies_of};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;

/// A look that takes longer waits for a cluster: another push is told before it ends.
const SLOW: Duration = Duration::from_secs(1);
/// How long a new commit's announcement waits to learn what was said of it before this process began.
const RECALL: Duration = Duration::from_secs(5);

/// Where a scope gets its configuration from when the tree changes: `None` keeps what it has.
pub type ReadConfig = Arc<dyn Fn(&Tip) -> Option<Result<Config, Vec<Problem>>> + Send + Sync>;

/// What a scope is started with.
pub struct ScopeTask {
    /// The repository.
    pub origin: Origin,
    /// The configuration; the last good one.
    pub config: Config,
    /// How it changes with the tree.
    pub read_config: ReadConfig,
    /// Clusters by name, with the registry of each.
    pub clusters: BTreeMap<String, (Engine, Registry)>,
    /// Programs that rendering may run.
    pub tools: Tools,
    /// Numbers.
    pub metrics: Arc<Metrics>,
    /// What is not ready yet.
    pub readiness: Readiness,
    /// Its voice; silent until it leads.
    pub herald: Arc<Herald>,
    /// Where reports wait.
    pub outbox: PathBuf,
    /// Hosts that let none of them in.
    pub denials: Denials,
    /// What Git hosts notify of.
    pub hints: UnboundedReceiver<Change>,
    /// Ends it.
    pub shutdown: CancellationToken,
}

/// A running app.
struct Running {
    to: UnboundedSender<Wake>,
    task: tokio::task::JoinHandle<()>,
}

/// What a scope listens to.
struct Ears<'a> {
    said: &'a mut UnboundedReceiver<Said>,
    woken: &'a mut tokio::sync::mpsc::Receiver<()>,
    hints: &'a mut UnboundedReceiver<Change>,
    leading: &'a mut tokio::sync::watch::Receiver<Leads>,
    /// It leads, as far as it knows.
    led: bool,
    say: &'a UnboundedSender<Said>,
    term: Option<&'a CancellationToken>,
}

/// Why a revision is handed to no app.
struct Trouble {
    problems: Vec<Problem>,
    /// True if it may be over the next time: the cluster's, not the commit's.
    passes: bool,
}

impl Trouble {
    fn lasting(problems: Vec<Problem>) -> Self {
        Self { problems, passes: false }
    }

    fn passing(problems: Vec<Problem>) -> Self {
        Self { problems, passes: true }
    }
}

#[derive(Default)]
struct Mind {
    head: Option<Revision>,
    board: Board,
    line: Line,
    health: HealthBoard,
    drift: DriftBoard,
    apps: BTreeMap<AppName, Running>,
    failures: u32,
    looked: Option<Timestamp>,
    /// An app that is gone from Git stopped amid its sync: what it has written by then is to be pruned.
    left: bool,
    /// An app is not held or suspended any more, or works again, since its neighbours were looked at.
    lifted: bool,
    /// Apps that want what they delete reviewed by what counted before a commit, and the commit: as long as that is the
    /// head, however often it is looked at.
    guarded: Option<(Revision, BTreeSet<String>)>,
    /// Apps that were asked for a sync and want to know first where the branch is.
    asking: Vec<AppName>,
    /// Until when this process may write.
    leading: Option<tokio::sync::watch::Receiver<Leads>>,
    pulls: PullPlanner,
}

impl ScopeTask {
    /// Runs until shutdown, then waits for its apps to reach a safe point.
    pub async fn run(mut self) {
        let part = format!("repository {}", self.origin.repository.name);
        self.readiness.not_ready(&part, "its branch was not read yet");
        let (wake, mut woken) = tokio::sync::mpsc::channel::<()>(1);
        let mut hints = std::mem::replace(&mut self.hints, unbounded_channel().1);
        let _follower = self.follow(&wake);
        let (say, mut said) = unbounded_channel::<Said>();
        let (mut leading, leaders) = self.lead();
        let mut mind = Mind { leading: Some(leading.clone()), ..Mind::default() };
        let cadence = self.cadence();
        let mut term: Option<CancellationToken> = None;
        loop {
            let until: Leads = *leading.borrow_and_update();
            match (leads(until), &term) {
                (true, None) => {
                    term = Some(self.shutdown.child_token());
                    self.herald = Arc::new(
                        Herald::of(&self.config, &self.origin, &self.outbox, (&self.metrics, &self.denials)).await,
                    );
                }
                (false, Some(ended)) => {
                    // Somebody else's scope now: not one more write, not one more word.
                    tracing::warn!("another daemon may lead this scope by now; standing by");
                    ended.cancel();
                    self.rest(&mut mind).await;
                    while said.try_recv().is_ok() {}
                    mind = Mind { leading: mind.leading, ..Mind::default() };
                    self.herald = Arc::new(Herald::silent(&self.config.instance.name));
                    term = None;
                }
                _ => {}
            }
            if let Some(term) = &term {
                let waits = self.look_or_wake(&mut mind, (&say, term), &mut woken).await;
                if waits {
                    continue;
                }
                for app in std::mem::take(&mut mind.asking) {
                    if let Some(running) = mind.apps.get(&app) {
                        let _ = running.to.send(Wake::Asked);
                    }
                }
                if mind.failures == 0 {
                    self.readiness.ready(&part);
                }
                self.plan_pulls(&mind, &say, Some(term));
            } else {
                self.readiness.ready(&part);
            }
            let now = Timestamp::now();
            let due = cadence.next(now, mind.looked, mind.failures, rand::random());
            let pause = due.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
            let ears = Ears {
                said: &mut said,
                woken: &mut woken,
                hints: &mut hints,
                leading: &mut leading,
                led: term.is_some(),
                say: &say,
                term: term.as_ref(),
            };
            if !self.listen(&mut mind, ears, pause).await {
                break;
            }
        }
        self.rest(&mut mind).await;
        while let Ok(last) = said.try_recv() {
            self.take(&mut mind, last);
        }
        for leader in leaders {
            let _ = leader.await;
        }
    }

    /// Waits until every app is at a safe point.
    async fn rest(&self, mind: &mut Mind) {
        for (_, app) in std::mem::take(&mut mind.apps) {
            drop(app.to);
            let _ = app.task.await;
        }
    }

    /// Takes in what apps say until it is time to look at the repository, or another daemon may lead. False at shutdown.
    async fn listen(&self, mind: &mut Mind, ears: Ears<'_>, pause: Option<Duration>) -> bool {
        let timer = tokio::time::sleep(pause.unwrap_or(Duration::from_secs(3600)));
        tokio::pin!(timer);
        loop {
            let word = tokio::select! {
                () = self.shutdown.cancelled() => return false,
                Some(()) = ears.woken.recv() => return true,
                Some(first) = ears.hints.recv() => {
                    // A burst is looked at once.
                    let mut changes = vec![first];
                    while let Ok(more) = ears.hints.try_recv() {
                        changes.push(more);
                    }
                    if changes.contains(&Change::Push) {
                        return true;
                    }
                    self.plan_pulls(mind, ears.say, ears.term);
                    for app in mind.apps.values() {
                        let _ = app.to.send(Wake::Pulls);
                    }
                    continue;
                }
                changed = ears.leading.changed() => {
                    // Renewed: goes on as before.
                    let until: Leads = *ears.leading.borrow_and_update();
                    if changed.is_ok() && leads(until) == ears.led {
                        continue;
                    }
                    return changed.is_ok();
                }
                () = &mut timer => {
                    for app in mind.apps.values() {
                        let _ = app.to.send(Wake::Recheck);
                        let _ = app.to.send(Wake::Pulls);
                    }
                    return true;
                }
                Some(word) = ears.said.recv() => word,
            };
            if ears.led && !leads(*ears.leading.borrow()) {
                // A paused process wakes up: what its apps say is not its to tell any more.
                return true;
            }
            match word {
                Said::Asked(app) => {
                    mind.left |= mind.board.has_waiting();
                    mind.asking.push(app);
                    return true;
                }
                Said::Left => {
                    mind.left = true;
                    return true;
                }
                Said::Lifted => {
                    mind.lifted = true;
                    mind.left |= mind.board.has_waiting();
                    if mind.left {
                        return true;
                    }
                }
                word => {
                    self.take(mind, word);
                    if mind.left && ears.led {
                        return true;
                    }
                }
            }
        }
    }

    fn take(&self, mind: &mut Mind, word: Said) {
        let herald = &self.herald;
        let word = match word {
            Said::Comment(letter) => return herald.comment(letter),
            Said::Known(revision, said) => return herald.learn(&revision, &said),
            Said::Plan { revision, state, text, again } => {
                // What waits to be sent is not on the host, and may be the last word of an earlier process.
                let last = herald.last(ContextKind::Plan, &revision).filter(|last| last.is_final());
                if again || (state.is_final() && last.is_some_and(|last| last != state)) {
                    herald.plan_again(&revision, "planned again");
                }
                return herald.say(ContextKind::Plan, &revision, state, &text, Timings::default());
            }
            word => word,
        };
        let Some(head) = mind.head.clone() else { return };
        match word {
            Said::Ended(revision, outcome) => {
                // Stopped work is final for nobody: a newer revision closes it, or the next start goes on with it.
                if revision != head || outcome.ending == Ending::Superseded {
                    return;
                }
                // What waits for it looks again, by what is known of it now: whichever of the two ends first.
                let mended = mind.board.ending(&outcome.app).is_some_and(|before| before != Ending::Done);
                mind.lifted |= mended && outcome.ending == Ending::Done;
                let waiting = outcome.waits || mind.board.has_waiting_besides(&outcome.app);
                mind.left |= waiting && mind.lifted;
                let moves = mind.line.ended(&outcome.app, outcome.ending, outcome.back.as_ref());
                for app in &moves.again {
                    mind.board.await_again(app.clone());
                }
                let complete = mind.board.take(outcome);
                if !moves.again.is_empty() {
                    herald.begin_again(&head, "trying again");
                }
                let told = !moves.blocked.is_empty();
                self.advance(mind, moves);
                if complete || (told && mind.board.is_complete()) {
                    let (state, text, timings) = mind.board.verdict();
                    // An earlier process told of a failure that passed while nobody looked.
                    if herald.failed(&head).is_some_and(|last| last != state) {
                        herald.begin_again(&head, "syncing");
                    }
                    if timings.seen_to_applied_ms.is_some() && herald.last(ContextKind::Sync, &head) == Some(state) {
                        // The commit has its status already: a cluster that lost what it had.
                        tracing::info!(revision = head.short(7), "brought about once more: {text}");
                    }
                    herald.say(ContextKind::Sync, &head, state, &text, timings);
                    // Health is that of the newest revision: each one is told, though nothing changed.
                    self.say_health(mind, &head);
                }
            }
            Said::Again(revision, why) if revision == head => herald.begin_again(&head, why),
            Said::Begun(revision) if revision == head && herald.failed(&head).is_some() => {
                herald.begin_again(&head, "syncing");
            }
            Said::Again(..)
            | Said::Begun(_)
            | Said::Asked(_)
            | Said::Left
            | Said::Lifted
            | Said::Known(..)
            | Said::Comment(_)
            | Said::Plan { .. } => {}
            Said::Health(app, health) => {
                mind.health.set(app, health);
                self.say_health(mind, &head);
            }
            Said::Drift(app, text) => {
                let (state, text) = mind.drift.found(app, text);
                herald.say(ContextKind::Drift, &head, state, &text, Timings::default());
            }
            Said::Repaired(app, text) => {
                if let Some((state, text)) = mind.drift.gone(&app, &text) {
                    herald.say(ContextKind::Drift, &head, state, &text, Timings::default());
                }
            }
        }
    }

    /// Hands out what may begin now, and takes down what cannot.
    fn advance(&self, mind: &mut Mind, moves: Moves) {
        for Blocked { target, ending, why, on, back } in moves.blocked {
            let app = (target.member.app.name.clone(), target.member.app.cluster.clone());
            if let Some(running) = mind.apps.get(&app) {
                let _ = running.to.send(HeldBack { target, why: why.clone(), on, back: back.clone() }.into());
            }
            mind.board.take(Outcome { ending, message: why, follows: true, ..Outcome::done(app) });
        }
        for target in moves.go {
            let app = (target.member.app.name.clone(), target.member.app.cluster.clone());
            if let Some(running) = mind.apps.get(&app) {
                let _ = running.to.send(Wake::Target(Box::new(target)));
            }
        }
    }

    fn say_health(&self, mind: &Mind, head: &Revision) {
        if let Some((state, text)) = mind.health.verdict() {
            self.herald.say(ContextKind::Health, head, state, &text, Timings::default());
        }
    }

    /// Looks where the branch is. True if something newer was pushed while the cluster was waited for: that is announced at
    /// once, by another look.
    async fn look_or_wake(
        &mut self,
        mind: &mut Mind,
        (say, term): (&UnboundedSender<Said>, &CancellationToken),
        woken: &mut tokio::sync::mpsc::Receiver<()>,
    ) -> bool {
        {
            let look = self.look(mind, say, term);
            tokio::pin!(look);
            tokio::select! {
                () = &mut look => return false,
                () = tokio::time::sleep(SLOW) => {}
            }
            tokio::select! {
                () = &mut look => return false,
                Some(()) = woken.recv() => {}
            }
        }
        // Nothing was handed out yet: what was read so far is read again.
        mind.failures = mind.failures.max(1);
        true
    }

    /// Looks where the branch is, and hands out what is new.
    async fn look(&mut self, mind: &mut Mind, say: &UnboundedSender<Said>, term: &CancellationToken) {
        let began = Instant::now();
        let fetched = self.origin.fetch_head().await;
        self.metrics.fetched(&self.origin.repository.name, fetched.is_ok(), began.elapsed());
        mind.looked = Some(Timestamp::now());
        let head = match fetched {
            Ok(head) => head,
            Err(problem) => {
                mind.failures += 1;
                tracing::error!(repository = self.origin.repository.name, %problem, "the repository cannot be read; what runs is left as it is");
                self.readiness.not_ready(&format!("repository {}", self.origin.repository.name), &problem.message);
                return;
            }
        };
        self.recall(&head).await;
        if mind.head.as_ref() == Some(&head) && mind.failures == 0 && !mind.left {
            return;
        }
        // Announced before anything else is done: whoever pushed sees that it was seen.
        self.herald.announce(&head, "seen");
        // A branch that was set back, or a cluster that did not answer: a new round on a revision that had ended.
        let again = mind.head.is_some() && self.herald.last(ContextKind::Sync, &head).is_some_and(State::is_final);
        mind.head = Some(head.clone());
        mind.left = false;
        match self.hand_out(mind, &head, began, again, (say, term)).await {
            Ok(()) => mind.failures = 0,
            Err(Trouble { problems, passes }) => {
                let first = problems.first().map(ToString::to_string).unwrap_or_default();
                tracing::error!(revision = head.short(7), "{first}");
                mind.failures = if passes { mind.failures + 1 } else { 0 };
                self.herald.say(ContextKind::Sync, &head, State::Error, &first, Timings::default());
            }
        }
    }

    /// The apps that wanted their deletions reviewed before this commit: one that switches `require_plan` off is still
    /// judged by it.
    fn guarded(&self, mind: &mut Mind, tip: &Tip) -> BTreeSet<String> {
        if let Some((of, apps)) = &mind.guarded
            && *of == tip.revision
        {
            return apps.clone();
        }
        let before = self.origin.apps(&self.config, &tip.tree).unwrap_or_default();
        let apps: BTreeSet<String> = before.into_iter().filter(|app| app.require_plan).map(|app| app.name).collect();
        mind.guarded = Some((tip.revision.clone(), apps.clone()));
        apps
    }

    /// Learns what was said before this process began, where that is not known yet: at once where hosts answer soon, else
    /// whenever they do.
    async fn recall(&self, head: &Revision) {
        let Some(read) = self.herald.before(&self.origin.mirror, head) else { return };
        // Not kept alive by a host that is slow: the last words are said when the scope ends.
        let herald = Arc::downgrade(&self.herald);
        let recalled = tokio::spawn(async move {
            let before = tokio::task::spawn_blocking(read).await.unwrap_or_default();
            if let Some(herald) = herald.upgrade() {
                herald.take_in(before);
            }
        });
        let _ = tokio::time::timeout(RECALL, recalled).await;
    }

    async fn hand_out(
        &mut self,
        mind: &mut Mind,
        head: &Revision,
        seen: Instant,
        again: bool,
        (say, term): (&UnboundedSender<Said>, &CancellationToken),
    ) -> Result<(), Trouble> {
        let tip = self.origin.tip(head).await.map_err(|p| Trouble::lasting(vec![p]))?;
        // Whoever goes on from here is known by what is read below.
        mind.lifted = false;
        let guarded = self.guarded(mind, &tip);
        match (self.read_config)(&tip) {
            Some(Ok(config)) => self.config = config,
            Some(Err(problems)) => return Err(Trouble::lasting(problems)),
            None => {}
        }
        // A file that lies in the repository may call it by another name, or by none.
        let named = self.config.repositories.iter().find(|r| r.name == self.origin.repository.name);
        if let Some(own) = named.or(self.config.repositories.first()) {
            self.origin.repository = own.clone();
        }
        let mut apps = self.origin.apps(&self.config, &tip.tree).map_err(Trouble::lasting)?;
        for app in &mut apps {
            app.require_plan |= guarded.contains(&app.name);
        }
        let policies = policies_of(&self.config, &tip.tree, &self.tools).await.map_err(Trouble::lasting)?;
        policies.notes(false).iter().for_each(|note| tracing::warn!(%note, "policy"));
        let policies = Arc::new(policies);
        let host = apps.iter().any(|app| app.require_plan).then(|| remote_of(&self.config, &self.origin)).flatten();
        let mut targets: Vec<Target> = Vec::new();
        for (cluster, (engine, _)) in &self.clusters {
            let here: Vec<App> = apps.iter().filter(|app| app.cluster == *cluster).cloned().collect();
            let (members, neighbours) = self.scene(engine, here, &tip).await.map_err(Trouble::passing)?;
            let neighbours = Arc::new(neighbours);
            targets.extend(members.into_iter().map(|member| Target {
                member,
                revision: head.clone(),
                seen,
                policies: policies.clone(),
                neighbours: neighbours.clone(),
                host: host.clone(),
            }));
        }
        if again {
            self.herald.begin_again(head, "once more");
        }
        let name = |t: &Target| (t.member.app.name.clone(), t.member.app.cluster.clone());
        mind.board = Board::new(targets.iter().map(name));
        self.stop_unwanted(mind, &targets);
        if targets.is_empty() {
            let text = "no app was found: no directory holds manifests, a kustomization.yaml or a Chart.yaml";
            self.herald.say(ContextKind::Sync, head, State::Error, text, Timings::default());
        }
        for target in &targets {
            mind.health.expect(name(target));
        }
        for target in &targets {
            let app = name(target);
            if mind.apps.get(&app).is_some_and(|running| !running.task.is_finished()) {
                continue;
            }
            if let Some(running) = self.start(target, say, term, mind.leading.clone()) {
                mind.apps.insert(app, running);
            }
        }
        let (line, moves) = Line::of(targets);
        mind.line = line;
        self.advance(mind, moves);
        Ok(())
    }

    /// The apps of one cluster, those that are gone from Git included, and what they want from each other.
    async fn scene(
        &self,
        engine: &Engine,
        apps: Vec<App>,
        tip: &Tip,
    ) -> Result<(Vec<Member>, Neighbours), Vec<Problem>> {
        let key = engine.digest_key().await.map_err(|e| vec![e.problem()])?.to_vec();
        // What a killed process left of an app that is gone is taken away too, though it owns nothing any more.
        members_on(engine, (&self.config, &self.origin, &self.tools), apps, tip, &key, true).await
    }

    fn start(
        &self,
        target: &Target,
        say: &UnboundedSender<Said>,
        term: &CancellationToken,
        leading: Option<tokio::sync::watch::Receiver<Leads>>,
    ) -> Option<Running> {
        let app = &target.member.app;
        let (engine, registry) = self.clusters.get(&app.cluster)?;
        let (to, wakes) = unbounded_channel();
        registry.add(&app.identity.applyset_id(engine.parents.namespace()), to.clone());
        let task = AppTask {
            engine: engine.clone(),
            origin: self.origin.clone(),
            tools: self.tools.clone(),
            metrics: self.metrics.clone(),
            vitals: Vitals::default(),
            scope: say.clone(),
            shutdown: term.child_token(),
            leading,
        };
        Some(Running { to, task: tokio::spawn(task.run(wakes)) })
    }

    /// Apps that are gone from Git and own nothing any more need no task.
    fn stop_unwanted(&self, mind: &mut Mind, targets: &[Target]) {
        let wanted =
            |name: &AppName| targets.iter().any(|t| (&t.member.app.name, &t.member.app.cluster) == (&name.0, &name.1));
        let gone: Vec<AppName> = mind.apps.keys().filter(|name| !wanted(name)).cloned().collect();
        for name in gone {
            mind.apps.remove(&name);
            mind.health.set(name.clone(), None);
            self.metrics.forget(&name.0, &name.1);
            if let Some((engine, registry)) = self.clusters.get(&name.1) {
                let identity = crate::inventory::Identity {
                    instance: self.config.instance.name.clone(),
                    repository: self.origin.identity.clone(),
                    path_root: self.origin.repository.path.clone(),
                    app: name.0.clone(),
                };
                registry.remove(&identity.applyset_id(engine.parents.namespace()));
            }
        }
    }

    fn follow(&self, wake: &tokio::sync::mpsc::Sender<()>) -> Option<Follower> {
        let path = self.origin.mirror.local_path()?;
        let wake = wake.clone();
        let changed = move || {
            let _ = wake.try_send(());
        };
        match Follower::start(path, Watched::Branches, changed) {
            Ok(follower) => Some(follower),
            Err(error) => {
                tracing::warn!(%error, "the repository cannot be watched; it is looked at by interval");
                None
            }
        }
    }

    fn cadence(&self) -> Cadence {
        let repository = &self.origin.repository;
        let schedule = repository.schedule.as_ref();
        Cadence {
            interval: Interval::new(repository.interval).ok(),
            schedule: schedule.and_then(|s| Schedule::parse(&s.cron, Some(&s.time_zone)).ok()),
        }
    }

    /// Has the pull requests into the branch looked at, where the repository has a host.
    fn plan_pulls(&self, mind: &Mind, say: &UnboundedSender<Said>, term: Option<&CancellationToken>) {
        let (Some(head), Some(term)) = (&mind.head, term) else { return };
        let Some(branch) = self.branch() else { return };
        let report =
            |report: &&Report| report.kind != ReportKind::GitNotes && report.repository == self.origin.repository.name;
        let Some(report) = self.config.reports.iter().find(report) else { return };
        let Some(host) = remote_of(&self.config, &self.origin) else { return };
        mind.pulls.look(Look {
            config: self.config.clone(),
            origin: self.origin.clone(),
            engines: self.clusters.values().map(|(engine, _)| engine.clone()).collect(),
            tools: self.tools.clone(),
            host,
            forks: report.plan_forks,
            base: (head.clone(), branch),
            say: say.clone(),
            term: term.child_token(),
        });
    }

    /// The name of the branch that is followed.
    fn branch(&self) -> Option<String> {
        self.origin.repository.branch.clone().or_else(|| self.origin.mirror.default_branch())
    }

    /// Leads on every cluster of the scope, or on none.
    fn lead(&self) -> (tokio::sync::watch::Receiver<Leads>, Vec<tokio::task::JoinHandle<()>>) {
        let scope = scope_name(&self.config.instance.name, &self.origin.identity, &self.origin.repository.path);
        let (all, told) = tokio::sync::watch::channel(None);
        let mut tasks = Vec::new();
        let mut each = Vec::new();
        for (engine, _) in self.clusters.values() {
            let lease = ScopeLease::new(engine.client.clone(), &engine.parents, &scope).telling(self.denials.clone());
            let (ours, task) = lead(lease, self.shutdown.clone());
            each.push(ours);
            tasks.push(task);
        }
        let shutdown = self.shutdown.clone();
        tasks.push(tokio::spawn(async move {
            loop {
                // Until the first of them runs out; not at all where one is another's.
                let until: Option<Vec<Instant>> = each.iter().map(|one| *one.borrow()).collect();
                let until = until.and_then(|all| all.into_iter().min());
                all.send_if_modified(|known| std::mem::replace(known, until) != until);
                let changes = each.iter_mut().map(|one| Box::pin(one.changed()));
                if each_is_empty(&changes) {
                    return;
                }
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    (changed, ..) = futures::future::select_all(changes) => if changed.is_err() { return },
                }
            }
        }));
        (told, tasks)
    }
}

fn each_is_empty<T>(changes: &impl ExactSizeIterator<Item = T>) -> bool {
    changes.len() == 0
}
