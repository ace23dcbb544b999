//! One daemon: its own runtime, engine and holder's name on a simulated connection.
//!
//! It is put together from the daemon's own parts (`leader`, `dispatch`, `app`, `members_on`). What stands here in the place
//! of `daemon::scope`, which is bound to Git, is the order in which these are called: a new revision is rendered and handed
//! out while this process leads; who leads no more stops at the next safe point. No statuses are written.

use super::moment;
use super::wire::Wire;
use driftless::apply::lease::ScopeLease;
use driftless::config::Config;
use driftless::daemon::app::{AppTask, Said, Target, Wake};
use driftless::daemon::dispatch::{Registry, dispatch};
use driftless::daemon::leader::{Leads, lead, leads};
use driftless::daemon::vitals::Vitals;
use driftless::engine::Engine;
use driftless::inventory::Holder;
use driftless::inventory::identity::scope_name;
use driftless::live::client::Client;
use driftless::object::{Gk, Problem};
use driftless::policy::PolicySet;
use driftless::reconcile::{HowTo, Synced, Wanted, sync};
use driftless::render::Tools;
use driftless::scope::{Member, Neighbours};
use driftless::server::Metrics;
use driftless::workspace::{Origin, Tip, members_on};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Namespace of inventories.
pub const HOME: &str = "driftless";
/// How often a daemon looks at its repository and at everything else again.
const INTERVAL: Duration = Duration::from_secs(30);
/// After a look that failed.
const AGAIN: Duration = Duration::from_secs(2);

const CONFIG: &str = r#"
[[repository]]
name = "shop"
url = "https://git.example/shop.git"
[[cluster]]
name = "sim"
embedded = true
[defaults]
prune_limit = "100%"
on_failure = "report"
timeout = "40s"
namespace = "shop"
[[app]]
glob = "*"
"#;

/// What every daemon of a simulation has in common.
#[derive(Clone)]
pub struct Setting {
    /// The configuration.
    pub config: Config,
    /// The repository; never fetched from.
    pub origin: Origin,
    /// Programs that rendering may run: none.
    pub tools: Tools,
}

impl Setting {
    /// Two apps, `front` and `back`, in namespace `shop`.
    pub fn new() -> Self {
        let config = Config::parse(CONFIG, "driftless.toml").unwrap();
        let origin = Origin::open(&config.repositories[0], Path::new("/"), Path::new("/nowhere")).unwrap();
        Self { config, origin, tools: Tools::new(None, None, Default::default()) }
    }

    fn scope(&self) -> String {
        scope_name(&self.config.instance.name, &self.origin.identity, &self.origin.repository.path)
    }

    async fn members(&self, engine: &Engine, tip: &Tip) -> Result<(Vec<Member>, Neighbours), Vec<Problem>> {
        let apps = self.origin.apps(&self.config, &tip.tree)?;
        let key = engine.digest_key().await.map_err(|e| vec![e.problem()])?.to_vec();
        members_on(engine, (&self.config, &self.origin, &self.tools), apps, tip, &key, false).await
    }
}

/// A daemon that lives.
pub struct Instance {
    /// Its connection.
    pub wire: Wire,
    /// Its holder's id: in locks and leases.
    pub id: String,
    /// When it has something to do without being told.
    pub next: Option<u64>,
    /// What it said.
    pub said: Arc<Mutex<Vec<String>>>,
    git: watch::Sender<Option<Tip>>,
    runtime: Option<Runtime>,
    over: Arc<AtomicBool>,
}

impl Instance {
    /// Starts a daemon.
    pub fn start(builder: &mut Builder, setting: &Setting, id: String, head: Option<Tip>) -> Self {
        let runtime = builder.build().unwrap();
        let (git, follow) = watch::channel(head);
        let (wire, said) = (Wire::default(), Arc::default());
        let daemon = Daemon { setting: setting.clone(), id: id.clone(), said: Arc::clone(&said) };
        runtime.spawn(daemon.run(wire.clone(), follow));
        Self { wire, id, next: Some(moment::BEGIN), said, git, runtime: Some(runtime), over: Arc::default() }
    }

    /// Syncs everything once, as `driftless sync` does, and ends. Out: what became of each app.
    pub fn once(builder: &mut Builder, setting: &Setting, id: String, tip: Tip) -> (Self, Arc<Mutex<Option<Once>>>) {
        let runtime = builder.build().unwrap();
        let (wire, out) = (Wire::default(), Arc::new(Mutex::new(None)));
        let (setting, result) = (setting.clone(), Arc::clone(&out));
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let (other, me) = (wire.clone(), id.clone());
        runtime.spawn(async move {
            let synced = sync_once(&setting, other, &me, &tip).await;
            *result.lock().unwrap() = Some(synced);
            ended.store(true, Ordering::Relaxed);
        });
        let (git, _) = watch::channel(None);
        (Self { wire, id, next: Some(moment::BEGIN), said: Arc::default(), git, runtime: Some(runtime), over }, out)
    }

    /// True once a one-shot sync has ended.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Tells it of a new revision.
    pub fn tell(&self, tip: &Tip) {
        self.git.send_replace(Some(tip.clone()));
    }

    /// Lets it do what it can do now.
    pub fn run(&mut self) {
        if let Some(runtime) = &self.runtime {
            self.next = moment::run_until_idle(runtime);
        }
    }
}

impl Drop for Instance {
    /// A kill: every task ends where it is.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn connect(wire: Wire, id: &str, role: &str, watch: bool) -> Engine {
    let client = Client::over("sim", kube::Client::new(wire, "default"));
    let me = Holder { id: id.to_owned(), host: format!("host-of-{id}"), pid: 1, role: role.to_owned() };
    Engine::over(client, HOME, me, watch)
}

/// What became of a one-shot sync: of each app, or why there is none.
pub type Once = Result<Vec<(String, Synced)>, Vec<Problem>>;

async fn sync_once(setting: &Setting, wire: Wire, id: &str, tip: &Tip) -> Once {
    let engine = connect(wire, id, "cli", false);
    let (members, neighbours) = setting.members(&engine, tip).await?;
    let mut out = Vec::new();
    for member in members {
        let rendered = member.rendered.as_ref().as_ref().map_err(Clone::clone)?;
        let wanted = Wanted {
            app: &member.app,
            revision: &tip.revision,
            rendered,
            policies: &PolicySet::default(),
            neighbours: &neighbours,
        };
        let cancel = CancellationToken::new();
        let timeout = Duration::from_secs(60);
        let how = HowTo {
            wait: false,
            timeout,
            cancel: &cancel,
            progress: &|_| {},
            despite_hold: false,
            runs: None,
            history: None,
        };
        out.push((member.app.name.clone(), sync(&engine, &wanted, &how).await));
    }
    Ok(out)
}

struct Daemon {
    setting: Setting,
    id: String,
    said: Arc<Mutex<Vec<String>>>,
}

/// An app's task and how it is reached.
struct Running {
    applyset: String,
    to: UnboundedSender<Wake>,
    task: tokio::task::JoinHandle<()>,
}

impl Daemon {
    async fn run(self, wire: Wire, mut git: watch::Receiver<Option<Tip>>) {
        let engine = connect(wire, &self.id, "daemon", true);
        let registry = Registry::default();
        let shutdown = CancellationToken::new();
        tokio::spawn(watch_parents(engine.clone()));
        tokio::spawn(dispatch(engine.clone(), registry.clone(), shutdown.clone()));
        let lease = ScopeLease::new(engine.client.clone(), &engine.parents, &self.setting.scope());
        let (mut leading, _lead) = lead(lease, shutdown.clone());
        let (say, mut said) = unbounded_channel::<Said>();
        let mut apps: BTreeMap<String, Running> = BTreeMap::new();
        let mut term: Option<CancellationToken> = None;
        let (mut head, mut failed) = (None, false);
        loop {
            let until: Leads = *leading.borrow_and_update();
            match (leads(until), term.take()) {
                (true, None) => term = Some(shutdown.child_token()),
                (false, Some(ended)) => {
                    ended.cancel();
                    for (_, app) in std::mem::take(&mut apps) {
                        drop(app.to);
                        let _ = app.task.await;
                    }
                    (head, failed) = (None, false);
                }
                (_, same) => term = same,
            }
            if let Some(term) = &term {
                let tip = git.borrow_and_update().clone();
                if let Some(tip) = tip.filter(|tip| failed || head.as_ref() != Some(&tip.revision)) {
                    head = Some(tip.revision.clone());
                    let place = Place { engine: &engine, registry: &registry, say: &say, term, leading: &leading };
                    failed = self.hand_out(&tip, &mut apps, &place).await.is_err();
                }
            }
            let pause = if failed { AGAIN } else { INTERVAL };
            let led = term.is_some();
            failed |= self.listen(&mut leading, &mut git, &mut said, &apps, (pause, led)).await;
        }
    }

    /// Until there is something to look at. True where the same revision has to be looked at again.
    async fn listen(
        &self,
        leading: &mut watch::Receiver<Leads>,
        git: &mut watch::Receiver<Option<Tip>>,
        said: &mut tokio::sync::mpsc::UnboundedReceiver<Said>,
        apps: &BTreeMap<String, Running>,
        (pause, led): (Duration, bool),
    ) -> bool {
        let timer = tokio::time::sleep(pause);
        tokio::pin!(timer);
        loop {
            tokio::select! {
                _ = leading.changed() => {
                    let until: Leads = *leading.borrow_and_update();
                    if leads(until) != led { return false; }
                }
                Ok(()) = git.changed(), if led => return false,
                () = &mut timer => {
                    apps.values().for_each(|app| drop(app.to.send(Wake::Recheck)));
                    return false;
                }
                Some(word) = said.recv() => {
                    if matches!(word, Said::Left) { return true; }
                    if let Said::Ended(revision, outcome) = word {
                        let line = format!("{} at {}: {:?} {}", outcome.app.0, revision.short(4), outcome.ending, outcome.message);
                        self.said.lock().unwrap().push(line);
                    }
                    if led && !leads(*leading.borrow()) { return false; }
                }
            }
        }
    }

    async fn hand_out(
        &self,
        tip: &Tip,
        apps: &mut BTreeMap<String, Running>,
        place: &Place<'_>,
    ) -> Result<(), Vec<Problem>> {
        let (members, neighbours) = self.setting.members(place.engine, tip).await?;
        let neighbours = Arc::new(neighbours);
        let wanted: Vec<String> = members.iter().map(|member| member.app.name.clone()).collect();
        let left: Vec<String> = apps.keys().filter(|name| !wanted.contains(name)).cloned().collect();
        for gone in left.iter().filter_map(|name| apps.remove(name)) {
            place.registry.remove(&gone.applyset);
        }
        for member in members {
            let app = member.app.clone();
            let running = apps.entry(app.name.clone()).or_insert_with(|| {
                let (to, wakes) = unbounded_channel();
                let applyset = app.identity.applyset_id(HOME);
                place.registry.add(&applyset, to.clone());
                Running { applyset, to, task: tokio::spawn(self.task(place).run(wakes)) }
            });
            let target = Target {
                member,
                revision: tip.revision.clone(),
                seen: Instant::now(),
                policies: Arc::default(),
                neighbours: neighbours.clone(),
                host: None,
            };
            let _ = running.to.send(Wake::Target(Box::new(target)));
        }
        Ok(())
    }

    fn task(&self, place: &Place<'_>) -> AppTask {
        AppTask {
            engine: place.engine.clone(),
            origin: self.setting.origin.clone(),
            tools: self.setting.tools.clone(),
            metrics: Arc::new(Metrics::new()),
            vitals: Vitals::default(),
            scope: place.say.clone(),
            shutdown: place.term.child_token(),
            leading: Some(place.leading.clone()),
        }
    }
}

struct Place<'a> {
    engine: &'a Engine,
    registry: &'a Registry,
    say: &'a UnboundedSender<Said>,
    term: &'a CancellationToken,
    leading: &'a watch::Receiver<Leads>,
}

/// As the daemon does: inventories are watched from the moment that the cluster answers.
async fn watch_parents(engine: Engine) {
    loop {
        if let Ok(kinds) = engine.kinds().await
            && let Some(kind) = kinds.get(&Gk::new("", "ConfigMap"))
        {
            engine.memory.watch(kind, "v1");
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}
