//! A daemon's life in this process: started, killed at any await point or told to stop, as often as a test likes.

use super::world::Commit;
use crate::support::control_plane::spawn_bound_to_process;
use crate::support::daemon::{DRIFTLESS, Process};
use crate::support::fault_proxy::{FaultProxy, Upstream};
use driftless::apply::parents::this_process;
use driftless::config::Config;
use driftless::daemon::run::Daemon;
use driftless::engine::Engine;
use driftless::inventory::Holder;
use driftless::live::client::{Client, Target};
use driftless::live::pace::WatchPace;
use driftless::render::{Limits, Tools};
use driftless::server::{Metrics, Readiness};
use driftless::workspace::Origin;
use git2::{Oid, Repository, Signature};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Name of the instance, and so of the cluster's namespace for inventories.
pub const INSTANCE: &str = "faults";

/// Frozen watches are to be noticed while a run lasts.
const PACE: WatchPace =
    WatchPace { lifetime: Duration::from_secs(2), each: Duration::ZERO, grace: Duration::from_millis(500) };

const NOTES: &str = "refs/notes/driftless";
const BRANCH: &str = "refs/heads/main";

/// A cluster as these tests use it: where it is, and a way past every fault.
pub struct Bench {
    /// For proxies.
    pub upstream: Upstream,
    /// Bearer token.
    pub token: String,
    /// Straight to it.
    pub client: Client,
}

/// A bare repository, with what a daemon keeps beside it.
pub struct Repo {
    folder: TempDir,
    text: String,
    config: Config,
}

/// What is on disk at the moment of a kill.
struct Frozen {
    outbox: BTreeMap<PathBuf, Vec<u8>>,
    notes: Option<Oid>,
}

impl Repo {
    /// An empty one whose apps go to `namespace`.
    pub fn new(namespace: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("driftless-faults-").tempdir().unwrap();
        let bare = folder.path().join("repo.git");
        let mut options = git2::RepositoryInitOptions::new();
        Repository::init_opts(&bare, options.bare(true).initial_head("main")).unwrap();
        let text = format!(
            "[instance]\nname = \"{INSTANCE}\"\nnamespace = \"{INSTANCE}-system\"\n\
             [[repository]]\nname = \"repo\"\nurl = \"{}\"\n[[cluster]]\nname = \"default\"\nembedded = true\n\
             [defaults]\nnamespace = \"{namespace}\"\ncreate_namespace = true\nprune_limit = \"100%\"\ntimeout = \"30s\"\n",
            bare.display()
        );
        let config = Config::parse(&text, "driftless.toml").unwrap();
        Self { folder, text, config }
    }

    /// Its configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where it is.
    pub fn bare(&self) -> PathBuf {
        self.folder.path().join("repo.git")
    }

    /// What processes logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn git(&self) -> Repository {
        Repository::open(self.bare()).unwrap()
    }

    fn outbox(&self) -> PathBuf {
        self.folder.path().join("outbox")
    }

    /// Opens it as driftless does.
    pub fn origin(&self) -> Origin {
        Origin::open(&self.config.repositories[0], Path::new("."), &self.folder.path().join("cache")).unwrap()
    }

    /// Pushes a commit to its branch.
    pub fn push(&self, commit: &Commit) -> String {
        let git = self.git();
        let mut index = git2::Index::new().unwrap();
        for (path, text) in &commit.files {
            let id = git.blob(text.as_bytes()).unwrap();
            let time = git2::IndexTime::new(0, 0);
            index
                .add(&git2::IndexEntry {
                    ctime: time,
                    mtime: time,
                    dev: 0,
                    ino: 0,
                    mode: 0o100_644,
                    uid: 0,
                    gid: 0,
                    file_size: 0,
                    id,
                    flags: 0,
                    flags_extended: 0,
                    path: path.clone().into_bytes(),
                })
                .unwrap();
        }
        let tree = git.find_tree(index.write_tree_to(&git).unwrap()).unwrap();
        let parent = git.refname_to_id(BRANCH).ok().map(|id| git.find_commit(id).unwrap());
        let who = Signature::now("Test", "test@example.com").unwrap();
        let parents: Vec<&git2::Commit<'_>> = parent.iter().collect();
        git.commit(Some(BRANCH), &who, &who, &commit.subject, &tree, &parents).unwrap().to_string()
    }

    /// The states of the sync of a commit, oldest first, with what was said.
    pub fn states(&self, commit: &str) -> Vec<(String, String)> {
        let git = self.git();
        let Ok(note) = git.find_note(Some(NOTES), Oid::from_str(commit).unwrap()) else { return Vec::new() };
        let lines = note.message().unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>();
        let parsed = lines.iter().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let text = |note: &serde_json::Value, key: &str| note[key].as_str().unwrap_or_default().to_owned();
        parsed
            .filter(|note| note["context"] == format!("{INSTANCE}/sync"))
            .map(|note| (text(&note, "state"), text(&note, "description")))
            .collect()
    }

    fn freeze(&self) -> Frozen {
        // What is sent after this was read is in both, never in neither.
        let mut outbox = BTreeMap::new();
        let mut todo = vec![self.outbox()];
        while let Some(folder) = todo.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                match path.is_dir() {
                    true => todo.push(path),
                    false => drop(std::fs::read(&path).map(|bytes| outbox.insert(path, bytes))),
                }
            }
        }
        Frozen { outbox, notes: self.git().refname_to_id(NOTES).ok() }
    }

    fn restore(&self, frozen: &Frozen) {
        let _ = std::fs::remove_dir_all(self.outbox());
        for (path, bytes) in &frozen.outbox {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let git = self.git();
        match frozen.notes {
            Some(notes) => drop(git.reference(NOTES, notes, true, "killed").unwrap()),
            None => drop(git.find_reference(NOTES).map(|mut reference| reference.delete())),
        }
    }
}

/// How a life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// As `kill -9` ends it.
    Killed,
    /// As SIGTERM does.
    Stopped,
}

/// Who a life is: a process that nobody finds alive when it has ended.
fn somebody() -> Holder {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Above the highest pid that Linux gives.
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Holder { id: format!("daemon-{number}"), pid: 4_194_305 + number, ..this_process("daemon") }
}

/// An engine that reaches the cluster through a proxy.
pub async fn engine(bench: &Bench, proxy: &FaultProxy, keep_watching: bool) -> Engine {
    let target = Target::Url { url: proxy.url(), token: bench.token.clone() };
    let client = Client::connect("default", &target).await.unwrap().with_watch_pace(PACE);
    Engine::over(client, &format!("{INSTANCE}-system"), somebody(), keep_watching)
}

/// No program is run while rendering.
pub fn tools() -> Tools {
    Tools::new(None, None, Limits::default())
}

/// What lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A daemon in this process.
    Inside,
    /// `driftless run`.
    Run,
    /// `driftless sync`, which ends by itself.
    Sync,
}

impl Way {
    /// One life, until `until` is over, which says how it ends. How it ended by itself, if it did: a daemon may not.
    pub fn live(
        self,
        bench: &Bench,
        repo: &Repo,
        proxy: &FaultProxy,
        until: impl Future<Output = End>,
    ) -> Option<ExitStatus> {
        match self {
            Self::Inside => live(bench, repo, proxy, until),
            Self::Run => {
                let ended = live_as_process(&["run", "--listen", "127.0.0.1:0"], bench, repo, proxy, until);
                assert!(ended.is_none(), "the daemon ended by itself: {ended:?}\n{}", repo.log());
            }
            Self::Sync => return live_as_process(&["sync"], bench, repo, proxy, until),
        }
        None
    }
}

/// The same as a process of its own.
fn live_as_process(
    args: &[&str],
    bench: &Bench,
    repo: &Repo,
    proxy: &FaultProxy,
    until: impl Future<Output = End>,
) -> Option<ExitStatus> {
    let place = |name: &str| repo.folder.path().join(name);
    let kubeconfig = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": proxy.url()}}],
        "users": [{"name": "c", "user": {"token": bench.token}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}]});
    std::fs::write(place("kubeconfig"), kubeconfig.to_string()).unwrap();
    let cluster = format!("kubeconfig = \"{}\"", place("kubeconfig").display());
    std::fs::write(place("driftless.toml"), repo.text.replace("embedded = true", &cluster)).unwrap();
    let mut command = Command::new(DRIFTLESS);
    command.args(args).arg("--config").arg(place("driftless.toml"));
    command.env_clear().env("DRIFTLESS_CACHE", place("cache")).env("HOME", repo.folder.path());
    let log = File::options().create(true).append(true).open(place("log")).unwrap();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let mut process = Process(spawn_bound_to_process(command).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let end = runtime.block_on(async {
        let ended = async {
            loop {
                if let Some(status) = process.0.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            end = until => Ok(end),
            status = ended => Err(status),
        }
    });
    match end {
        Err(status) => return Some(status),
        // Dropping it kills it.
        Ok(End::Killed) => {}
        Ok(End::Stopped) => {
            process.signal(libc::SIGTERM);
            process.0.wait().unwrap();
        }
    }
    None
}

/// One life of a daemon, until `until` is over, which says how it ends.
///
/// A kill drops everything where it is. What threads of their own still finish then (notes under way) is undone: on disk
/// is what was there at that moment.
fn live(bench: &Bench, repo: &Repo, proxy: &FaultProxy, until: impl Future<Output = End>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let frozen = runtime.block_on(async {
        let daemon = Daemon {
            config: repo.config.clone(),
            read_config: Arc::new(|_| None),
            origins: vec![repo.origin()],
            engines: BTreeMap::from([("default".to_owned(), engine(bench, proxy, true).await)]),
            tools: tools(),
            outbox: repo.outbox(),
        };
        let shutdown = CancellationToken::new();
        let running = daemon.run(Arc::new(Metrics::new()), Readiness::waiting_for("daemon"), shutdown.clone());
        tokio::pin!(running);
        let end = tokio::select! {
            () = &mut running => panic!("the daemon ended by itself"),
            end = until => end,
        };
        match end {
            End::Killed => Some(repo.freeze()),
            End::Stopped => {
                shutdown.cancel();
                let stopped = tokio::time::timeout(Duration::from_secs(60), running).await;
                assert!(stopped.is_ok(), "it does not stop");
                None
            }
        }
    });
    drop(runtime);
    if let Some(frozen) = frozen {
        repo.restore(&frozen);
    }
}
