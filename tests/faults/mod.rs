//! Daemons that are killed while the network and the API server misbehave, and what they leave when it is over.
//!
//! A seed makes a repository's history (`world`), the faults of the proxy between daemon and cluster, the moments at
//! which commits are pushed, and those at which the daemon is killed. Then the faults end, one more daemon runs, and
//! (`verdict`): live equals desired, nothing is orphaned, nothing was deleted that somebody wants, each revision that was
//! seen has its final state, and a second sync writes nothing.
//!
//! `DRIFTLESS_FAULT_SEED=123 cargo test --test tests faults` runs one seed, `DRIFTLESS_FAULT_RUNS=1000` so many of them.
//! What a seed decides is the same each time; how threads meet is not, so that a failure may take a few tries to be seen
//! again.

mod focused;
mod life;
mod verdict;
mod world;

use crate::feature;
use crate::support::control_plane;
use crate::support::fault_proxy::{Fault, FaultProxy, Upstream};
use driftless::cluster::embedded::{ClusterOptions, EmbeddedCluster};
use driftless::cluster::server::Random;
use driftless::live::client::{Call, Client, Target};
use http::Method;
use life::{Bench, End, Repo, Way, engine};
use serde_json::json;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use world::{Key, World, below};

/// Runs where nothing is said: a share of the 200 that the gate runs.
const RUNS: u64 = 60;
/// Runs that share a cluster, at the same time: each one's objects have the names of the others', in other namespaces.
const TOGETHER: usize = 10;
/// Clusters at a time.
const CLUSTERS: usize = 2;
/// Time for what remains once the faults are over.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time for what is only bookkeeping.
const SETTLES: Duration = Duration::from_secs(5);

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    })
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.trim().parse().ok()
}

/// The seeds to run: the one that was asked for, or so many.
fn seeds(count: u64) -> Vec<u64> {
    number("DRIFTLESS_FAULT_SEED").map_or_else(|| (1..=count).collect(), |seed| vec![seed])
}

/// What is known of a run when it is over.
struct Over {
    seed: u64,
    world: World,
    versions: BTreeMap<Key, serde_json::Value>,
    faults: BTreeMap<Fault, u32>,
    kills: usize,
}

#[derive(Default)]
struct Tally {
    wrong: Vec<String>,
    faults: BTreeMap<Fault, u32>,
    runs: usize,
    kills: usize,
}

impl Tally {
    fn take(&mut self, over: &Over) {
        for (fault, count) in &over.faults {
            *self.faults.entry(*fault).or_insert(0) += count;
        }
        self.runs += 1;
        self.kills += over.kills;
    }

    fn fails(&mut self, seed: u64, why: &str) {
        self.wrong.push(format!("DRIFTLESS_FAULT_SEED={seed} cargo test --test tests faults\n{why}"));
    }

    fn verdict(self, began: Instant) {
        let Self { wrong, faults, runs, kills } = self;
        println!("{runs} runs, {kills} kills, {faults:?} in {:?}", began.elapsed());
        assert!(wrong.is_empty(), "{} went wrong:\n{}", wrong.len(), wrong.join("\n\n"));
    }
}

/// Runs that share a cluster.
fn together(bench: &Bench, way: Way, seeds: &[u64], tally: &Mutex<Tally>) {
    let ended: Mutex<Vec<Over>> = Mutex::default();
    std::thread::scope(|scope| {
        for seed in seeds {
            let ended = &ended;
            scope.spawn(move || {
                let run = catch_unwind(AssertUnwindSafe(|| run(bench, way, *seed)));
                match run {
                    Ok(Ok(over)) => ended.lock().unwrap().push(over),
                    Ok(Err(wrong)) => tally.lock().unwrap().fails(*seed, &wrong.join("\n")),
                    Err(panic) => {
                        let text = panic.downcast_ref::<String>().cloned();
                        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                        tally.lock().unwrap().fails(*seed, &text.unwrap_or_default());
                    }
                }
            });
        }
    });
    // Others of the same names went on after this one: nobody touched it.
    let ended = ended.into_inner().unwrap();
    for over in &ended {
        let now = runtime().block_on(verdict::everything(&bench.client, &over.world));
        let mut tally = tally.lock().unwrap();
        tally.take(over);
        if verdict::versions(&now) != over.versions {
            tally.fails(over.seed, "another run touched what is this one's");
        }
    }
}

fn embedded() -> (EmbeddedCluster, Bench) {
    let cluster = runtime().block_on(EmbeddedCluster::start(ClusterOptions::default())).unwrap();
    let target = Target::Url { url: cluster.url(), token: cluster.token().to_owned() };
    let bench = Bench {
        upstream: Upstream::plain(cluster.url().trim_start_matches("http://").parse().unwrap()),
        token: cluster.token().to_owned(),
        client: runtime().block_on(Client::connect("straight", &target)).unwrap(),
    };
    (cluster, bench)
}

/// The real control plane, with nodes.
fn real() -> Option<Bench> {
    let cluster = feature::cluster::Cluster::real()?;
    let plane = cluster.plane?;
    let target = Target::Kubeconfig { file: Some(cluster.kubeconfig.clone()), context: None };
    Some(Bench {
        upstream: Upstream::tls(
            plane.url().trim_start_matches("https://").parse().unwrap(),
            &plane.certificate_authority(),
        ),
        token: plane.token().to_owned(),
        client: runtime().block_on(Client::connect("straight", &target)).unwrap(),
    })
}

#[test]
fn killed_daemons_and_broken_networks_converge() {
    let began = Instant::now();
    let seeds = seeds(number("DRIFTLESS_FAULT_RUNS").unwrap_or(RUNS));
    let tally = Mutex::new(Tally::default());
    let batches: Vec<&[u64]> = seeds.chunks(TOGETHER).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..CLUSTERS {
            scope.spawn(|| {
                while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (cluster, bench) = embedded();
                    together(&bench, Way::Inside, batch, &tally);
                    runtime().block_on(cluster.shutdown());
                }
            });
        }
    });
    tally.into_inner().unwrap().verdict(began);
}

/// The same with the program itself and `kill -9`; and with `driftless sync`, which is killed and run again.
#[test]
fn killed_processes_converge() {
    for way in [Way::Run, Way::Sync] {
        let (began, tally) = (Instant::now(), Mutex::new(Tally::default()));
        let (cluster, bench) = embedded();
        together(&bench, way, &[1001, 1002, 1003, 1004, 1005, 1006], &tally);
        runtime().block_on(cluster.shutdown());
        tally.into_inner().unwrap().verdict(began);
    }
}

#[test]
fn on_the_real_control_plane() {
    let Some(bench) = real() else { return control_plane::skip() };
    for (way, seeds) in [(Way::Inside, &seeds(6)[..]), (Way::Run, &[1001, 1002]), (Way::Sync, &[1003, 1004])] {
        let (began, tally) = (Instant::now(), Mutex::new(Tally::default()));
        together(&bench, way, seeds, &tally);
        tally.into_inner().unwrap().verdict(began);
    }
}

/// A stranger's object, created before anything else.
async fn create_bystander(client: &Client, world: &World) {
    let write = |path: &str, body: serde_json::Value| {
        let mut call = Call::get(path).with("fieldManager", "stranger");
        (call.method, call.body) = (Method::POST, Some(body));
        call
    };
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": world.namespace}});
    client.send_patiently(&write("/api/v1/namespaces", namespace)).await.unwrap();
    let bystander =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "bystander"}, "data": {"a": "b"}});
    let path = format!("/api/v1/namespaces/{}/configmaps", world.namespace);
    client.send_patiently(&write(&path, bystander)).await.unwrap();
}

/// One run of a seed.
fn run(bench: &Bench, way: Way, seed: u64) -> Result<Over, Vec<String>> {
    let world = World::of(seed);
    let mut random = Random::new(seed ^ 0x5eed);
    let repo = Repo::new(&world.namespace);
    let rate = [30, 80, 200][below(&mut random, 3)];
    let proxy = runtime().block_on(FaultProxy::start(bench.upstream.clone(), seed, rate)).unwrap();
    runtime().block_on(create_bystander(&bench.client, &world));
    let mut commits = vec![repo.push(&world.commits[0])];
    let mut rest = world.commits[1..].iter();
    let mut known: BTreeMap<Key, Vec<String>> = BTreeMap::new();
    let look = |known: &mut BTreeMap<Key, Vec<String>>| {
        let all = runtime().block_on(verdict::everything(&bench.client, &world));
        for (key, uid) in verdict::uids(&all) {
            let seen = known.entry(key).or_default();
            if seen.last() != Some(&uid) {
                seen.push(uid);
            }
        }
        all
    };
    let mut kills = 0;
    for _ in 0..1 + below(&mut random, 4) {
        let tripped = proxy.trip(random.bits() % 90);
        let limit = Duration::from_millis(500 + random.bits() % 1500);
        let mut pause = || Duration::from_millis(30 + random.bits() % 400);
        let killed = !pause().as_millis().is_multiple_of(5);
        way.live(bench, &repo, &proxy, async {
            let over = tokio::time::sleep(limit);
            tokio::pin!(over);
            loop {
                tokio::select! {
                    () = tripped.cancelled() => break,
                    () = &mut over => break,
                    () = tokio::time::sleep(pause()) => commits.extend(rest.next().map(|commit| repo.push(commit))),
                }
            }
            if killed { End::Killed } else { End::Stopped }
        });
        kills += usize::from(killed);
        commits.extend(rest.next().map(|commit| repo.push(commit)));
        look(&mut known);
    }
    commits.extend(rest.map(|commit| repo.push(commit)));
    proxy.calm();
    runtime().block_on(proxy.drained());

    let head = commits.last().unwrap().clone();
    let ended = Instant::now();
    let status = way.live(bench, &repo, &proxy, async {
        let over = || repo.states(&head).last().is_some_and(|(state, _)| state == "success");
        while (way == Way::Sync || !over()) && ended.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // An app that lost an object to another one hears of it, and takes it off its inventory.
        let (settled, engine) = (Instant::now(), engine(bench, &proxy, false).await);
        while settled.elapsed() < SETTLES && !verdict::inventories(&engine, &repo, &world).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        End::Stopped
    });
    let mut wrong = Vec::new();
    if repo.states(&head).last().is_none_or(|(state, _)| state != "success") {
        wrong.push(format!("not in sync after {PATIENCE:?}: {:?}", repo.states(&head)));
    }
    if way == Way::Sync && !status.is_some_and(|status| status.success()) {
        wrong.push(format!("the last sync: {status:?}\n{}", repo.log()));
    }
    wrong.extend(verdict::statuses(&repo, &commits, way == Way::Sync));
    let all = look(&mut known);
    wrong.extend(verdict::converged(&world, &all));
    let engine = runtime().block_on(engine(bench, &proxy, false));
    wrong.extend(runtime().block_on(verdict::inventories(&engine, &repo, &world)));
    let mut lasting = world.lasting();
    lasting
        .extend(["bystander", "kept"].map(|name| ("ConfigMap".to_owned(), world.namespace.clone(), name.to_owned())));
    for key in lasting {
        match known.get(&key).map_or(0, Vec::len) {
            1 if all.contains_key(&key) => {}
            // Nobody lived long enough to create it before it left Git again.
            0 if key.2 == "kept" => {}
            times => wrong.push(format!("{key:?} was there {times} times, now: {}", all.contains_key(&key))),
        }
    }
    let versions = verdict::versions(&all);
    wrong.extend(runtime().block_on(verdict::nothing_to_do(&engine, &repo)));
    let after = runtime().block_on(verdict::everything(&bench.client, &world));
    let after = verdict::versions(&after);
    if after != versions {
        let changed: Vec<_> = after.iter().filter(|(key, version)| versions.get(*key) != Some(version)).collect();
        wrong.push(format!("a second sync changed {changed:?}"));
    }
    if wrong.is_empty() { Ok(Over { seed, world, versions, faults: proxy.done(), kills }) } else { Err(wrong) }
}
