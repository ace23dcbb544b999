//! The real binary as a daemon, and the clusters that it works on: the embedded one, as a process of its own, and the
//! real control plane with simulated nodes.
//!
//! Everything ends with the test, however it ends. Nothing sleeps for a fixed time: [`eventually`] looks until it sees.

#![allow(dead_code, reason = "a fixture offers more than the tests of any one day use")]

use super::control_plane::{ControlPlane, spawn_bound_to_process};
use super::scratch::Scratch;
use driftless::cluster::kubelet::{Nodes, SimulatedNodes};
use driftless::live::client::{Call, Client, Target};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// The program under test.
pub const DRIFTLESS: &str = env!("CARGO_BIN_EXE_driftless");

/// Far above what anything takes, for machines that compile something at the same time.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Looks every few milliseconds until there is an answer.
///
/// # Panics
/// When there is none in time, with what `explain` says.
pub fn eventually_or<T>(what: &str, mut look: impl FnMut() -> Option<T>, explain: impl Fn() -> String) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "not within {} s: {what}\n{}", PATIENCE.as_secs(), explain());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The same without an explanation.
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    eventually_or(what, look, String::new)
}

/// A process that is killed when it goes out of scope.
pub struct Process(pub Child);

impl Process {
    pub fn signal(&self, signal: libc::c_int) {
        #[expect(unsafe_code, reason = "std sends no signal but SIGKILL; the child is ours and not yet waited for")]
        unsafe {
            libc::kill(self.0.id().cast_signed(), signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A cluster to work on.
pub struct Cluster {
    kubeconfig: PathBuf,
    client: Client,
    kubectl: PathBuf,
    /// The process of the embedded cluster.
    pub process: Option<Process>,
    _directory: TempDir,
}

impl Cluster {
    /// An embedded cluster of the test's own.
    pub fn embedded() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let kubeconfig = directory.path().join("kubeconfig");
        let mut command = Command::new(DRIFTLESS);
        command.args(["cluster", "--write-kubeconfig"]).arg(&kubeconfig);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = Process(spawn_bound_to_process(command).expect("the program runs"));
        eventually("the embedded cluster's kubeconfig", || kubeconfig.exists().then_some(()));
        Self::new(kubeconfig, "kubectl".into(), Some(process), directory)
    }

    /// The real control plane that the tests of the daemon share, apart from other tests: its nodes run pods.
    pub fn real() -> Option<Self> {
        static PLANE: OnceLock<Option<(ControlPlane, SimulatedNodes)>> = OnceLock::new();
        let plane =
            PLANE.get_or_init(|| ControlPlane::start().map(|plane| (nodes_for(&plane), plane)).map(|(n, p)| (p, n)));
        plane.as_ref().map(|(plane, _)| Self::of(plane))
    }

    /// A control plane that somebody else holds.
    pub fn of(plane: &ControlPlane) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self::new(plane.kubeconfig_path(), plane.binary("kubectl"), None, directory)
    }

    fn new(kubeconfig: PathBuf, kubectl: PathBuf, process: Option<Process>, directory: TempDir) -> Self {
        let target = Target::Kubeconfig { file: Some(kubeconfig.clone()), context: None };
        let client = runtime().block_on(Client::connect("test", &target)).expect("a kubeconfig that can be used");
        Self { kubeconfig, client, kubectl, process, _directory: directory }
    }

    pub fn is_real(&self) -> bool {
        self.process.is_none()
    }

    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// `GET path`; `None` where there is nothing, or no answer.
    pub fn get(&self, path: &str) -> Option<Value> {
        runtime().block_on(self.client.send(&Call::get(path))).ok().map(|answer| answer.body)
    }

    /// A Deployment.
    pub fn deployment(&self, namespace: &str, name: &str) -> Option<Value> {
        self.get(&format!("/apis/apps/v1/namespaces/{namespace}/deployments/{name}"))
    }

    /// A ConfigMap.
    pub fn config_map(&self, namespace: &str, name: &str) -> Option<Value> {
        self.get(&format!("/api/v1/namespaces/{namespace}/configmaps/{name}"))
    }

    /// `kubectl ARGS`, as a person would.
    ///
    /// # Panics
    /// When it fails.
    pub fn kubectl(&self, args: &[&str]) -> String {
        let output = self.kubectl_command(args).output().expect("kubectl runs");
        assert!(output.status.success(), "kubectl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The command, for what runs in the background.
    pub fn kubectl_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.env("KUBECONFIG", &self.kubeconfig).env("KUBERC", "off");
        command.env("KUBECACHEDIR", self._directory.path().join("kubectl"));
        command.args(args).stdin(Stdio::null());
        command
    }
}

/// Nodes that run pods.
pub fn nodes_for(plane: &ControlPlane) -> SimulatedNodes {
    let nodes = Nodes { count: 3, cpu: "16".into(), memory: "32Gi".into() };
    runtime()
        .block_on(SimulatedNodes::start_with_kubeconfig(&plane.kubeconfig_path(), nodes))
        .expect("an administrator's kubeconfig")
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
    })
}

/// `driftless run`.
pub struct Daemon {
    process: Process,
    log: PathBuf,
    cache: PathBuf,
    address: String,
}

impl Daemon {
    /// Starts one that follows the repository by `--repo`, and waits until it serves.
    pub fn start(scratch: &Scratch, cluster: &Cluster) -> Self {
        let repo = scratch.bare().display().to_string();
        Self::start_with(scratch, cluster, &["--repo", &repo], "cache")
    }

    /// Starts one with these flags, and with a cache of this name, of its own.
    pub fn start_with(scratch: &Scratch, cluster: &Cluster, flags: &[&str], cache: &str) -> Self {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(1);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (log, cache) = (scratch.path(&format!("daemon-{number}.log")), scratch.path(cache));
        let mut command = driftless(cluster, &cache);
        if flags.contains(&"-vv") {
            // Also what the libraries say; but for who watches the directory that the log grows in.
            command.env("DRIFTLESS_LOG", "trace,notify=off");
        }
        command.arg("run").args(flags).args(["--listen", "127.0.0.1:0"]);
        command.stdout(Stdio::null()).stderr(File::create(&log).expect("a log file"));
        let mut process = Process(spawn_bound_to_process(command).expect("the program runs"));
        let served = || {
            let log = fs::read_to_string(&log).unwrap_or_default();
            assert!(matches!(process.0.try_wait(), Ok(None)), "the daemon ended:\n{log}");
            let line = log.lines().find(|line| line.contains("serving /healthz"))?;
            let line: Value = serde_json::from_str(line).ok()?;
            line["fields"]["address"].as_str().map(str::to_owned)
        };
        let address = eventually("the daemon serves", served);
        Self { process, log, cache, address }
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn has_logged(&self, text: &str) -> bool {
        self.log().contains(text)
    }

    /// As a crash of the machine would end it.
    pub fn kill(self) {}

    /// The same, for what its cache is needed for afterwards.
    pub fn stop_dead(&mut self) {
        self.process.signal(libc::SIGKILL);
        let _ = self.process.0.wait();
    }

    pub fn terminate(&self) {
        self.process.signal(libc::SIGTERM);
    }

    /// Its end, within `patience`.
    pub fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        while start.elapsed() < patience {
            if let Ok(Some(status)) = self.process.0.try_wait() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }

    /// `GET path` from it: status code and body.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let code = text.split(' ').nth(1)?.parse().ok()?;
        Some((code, text.split_once("\r\n\r\n")?.1.to_owned()))
    }

    /// The value of a metric with labels, such as `driftless_app_score{app="web"`.
    pub fn metric(&self, start: &str) -> Option<f64> {
        let (_, text) = self.get("/metrics")?;
        let line = text.lines().find(|line| line.starts_with(start))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// Another command of the program beside it, on the same repository and cluster.
    ///
    /// # Panics
    /// When it does not run.
    pub fn command(&self, scratch: &Scratch, cluster: &Cluster, args: &[&str]) -> Output {
        let mut command = driftless(cluster, &self.cache.with_extension("cli"));
        command.args(args).arg("--repo").arg(scratch.bare());
        command.output().expect("the program runs")
    }

    /// Another command beside it, with the repository and all else as the arguments say.
    ///
    /// # Panics
    /// When it does not run.
    pub fn beside(&self, cluster: &Cluster, args: &[&str]) -> Output {
        driftless(cluster, &self.cache.with_extension("cli")).args(args).output().expect("the program runs")
    }

    /// The same, which has to end with 0; its standard output.
    ///
    /// # Panics
    /// When it does not.
    pub fn tell(&self, scratch: &Scratch, cluster: &Cluster, args: &[&str]) -> String {
        let output = self.command(scratch, cluster, args);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{args:?}: {}\n{said}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        said
    }

    /// An app as `driftless status` shows it.
    ///
    /// # Panics
    /// When there is no such app.
    pub fn status(&self, scratch: &Scratch, cluster: &Cluster, app: &str) -> Value {
        let report: Value =
            serde_json::from_str(&self.tell(scratch, cluster, &["status", "-o", "json"])).expect("status is JSON");
        let apps = report["apps"].as_array().cloned().unwrap_or_default();
        apps.into_iter().find(|found| found["name"] == app).unwrap_or_else(|| panic!("no {app} in {report}"))
    }

    /// Waits for what `look` finds; a failure shows the log.
    pub fn eventually<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        eventually_or(what, look, || self.tail())
    }

    fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// Waits for the final state of a commit's sync.
    pub fn ended(&self, scratch: &Scratch, commit: &str) -> (String, String) {
        self.eventually(&format!("a final state of {commit}"), || scratch.ended(commit))
    }

    /// Waits until a commit's sync is a success.
    ///
    /// # Panics
    /// When it ends otherwise.
    pub fn succeeds(&self, scratch: &Scratch, commit: &str) {
        let (state, text) = self.ended(scratch, commit);
        assert_eq!(state, "success", "{text}\n{}", self.tail());
    }
}

fn driftless(cluster: &Cluster, cache: &Path) -> Command {
    let mut command = Command::new(DRIFTLESS);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("DRIFTLESS_CACHE", cache).env("KUBECONFIG", cluster.kubeconfig()).env("HOME", cache);
    command.stdin(Stdio::null());
    command
}

/// Runs each of these tests on the embedded cluster and on the real control plane, with the same body.
macro_rules! on_both_clusters {
    ($($test:ident),+ $(,)?) => {
        mod embedded {
            $(#[test] fn $test() { super::$test(&$crate::support::daemon::Cluster::embedded()); })+
        }
        mod real {
            $(#[test] fn $test() {
                match $crate::support::daemon::Cluster::real() {
                    Some(cluster) => super::$test(&cluster),
                    None => $crate::support::control_plane::skip(),
                }
            })+
        }
    };
}
pub(crate) use on_both_clusters;
