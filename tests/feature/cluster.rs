//! A cluster that a test works with, whichever it is: a kubeconfig and a kubectl.
//!
//! The same test body runs against the real control plane (with simulated nodes, so that pods run) and against the
//! embedded cluster: where the two disagree, the embedded cluster is wrong.

use crate::support::control_plane::{self, ControlPlane};
use driftless::cluster::embedded::{ClusterOptions, EmbeddedCluster};
use driftless::cluster::kubelet::{Nodes, SimulatedNodes};
use serde_json::Value;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// A cluster with nodes on which pods run.
pub struct Cluster {
    /// An administrator's.
    pub kubeconfig: PathBuf,
    kubectl: PathBuf,
    /// The control plane, for what only a real one has: restarts and an audit log.
    pub plane: Option<&'static ControlPlane>,
}

/// The runtime of what the tests themselves serve and simulate.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    })
}

fn nodes() -> Nodes {
    Nodes { count: 3, cpu: "8".into(), memory: "32Gi".into() }
}

/// Adds simulated nodes to a control plane, for as long as the process lives.
fn populate(plane: &'static ControlPlane) -> Cluster {
    let kubeconfig = plane.kubeconfig_path();
    let started = SimulatedNodes::start_with_kubeconfig(&kubeconfig, nodes());
    std::mem::forget(runtime().block_on(started).unwrap());
    Cluster { kubeconfig, kubectl: plane.binary("kubectl"), plane: Some(plane) }
}

impl Cluster {
    /// The real control plane that these tests share. Not the one of [`ControlPlane::shared`]: its tests play kubelet
    /// themselves.
    pub fn real() -> Option<&'static Self> {
        static REAL: OnceLock<Option<Cluster>> = OnceLock::new();
        REAL.get_or_init(|| ControlPlane::start().map(|plane| populate(Box::leak(Box::new(plane))))).as_ref()
    }

    /// A real one of the test's own, which it may break.
    pub fn own() -> Option<Self> {
        ControlPlane::start().map(|plane| populate(Box::leak(Box::new(plane))))
    }

    /// The embedded cluster that these tests share.
    pub fn embedded() -> Option<&'static Self> {
        static EMBEDDED: OnceLock<Option<Cluster>> = OnceLock::new();
        EMBEDDED
            .get_or_init(|| {
                let kubectl = control_plane::kubectl()?;
                let options = ClusterOptions { cpu: nodes().cpu, memory: nodes().memory, ..ClusterOptions::default() };
                let cluster = runtime().block_on(EmbeddedCluster::start(options)).unwrap();
                let mut file = tempfile::Builder::new().prefix("driftless-embedded-").tempfile().unwrap();
                file.write_all(cluster.kubeconfig().as_bytes()).unwrap();
                let kubeconfig = file.into_temp_path().keep().unwrap();
                std::mem::forget(cluster);
                Some(Self { kubeconfig, kubectl, plane: None })
            })
            .as_ref()
    }

    /// A kubectl for this cluster.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.kubectl);
        let cache = self.kubeconfig.with_extension("kubectl-cache");
        command.env("KUBECONFIG", &self.kubeconfig).env("KUBECACHEDIR", cache).env("KUBERC", "off");
        command
    }

    /// Standard output of a `kubectl` that has to succeed.
    pub fn kubectl(&self, line: &str) -> String {
        let output = self.command().args(line.split_whitespace()).stdin(Stdio::null()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "kubectl {line}: {}{}", text(&output.stderr), text(&output.stdout));
        text(&output.stdout)
    }

    /// True if a `kubectl` succeeds.
    pub fn succeeds(&self, line: &str) -> bool {
        self.command().args(line.split_whitespace()).stdin(Stdio::null()).output().unwrap().status.success()
    }

    /// `kubectl LINE -f -` with `input` as the file.
    pub fn kubectl_input(&self, line: &str, input: &str) -> String {
        let mut command = self.command();
        command.args(line.split_whitespace()).args(["-f", "-"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "kubectl {line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// An object as JSON, managed fields included.
    pub fn object(&self, namespace: &str, object: &str) -> Value {
        let text = self.kubectl(&format!("-n {namespace} get {object} -o json --show-managed-fields"));
        serde_json::from_str(&text).unwrap()
    }

    /// True if there is such an object.
    pub fn has(&self, namespace: &str, object: &str) -> bool {
        self.succeeds(&format!("-n {namespace} get {object}"))
    }

    /// A new namespace in which pods can run.
    pub fn namespace(&self, prefix: &str) -> String {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let name = format!("{prefix}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.kubectl(&format!("create namespace {name}"));
        self.eventually("the default service account", || self.has(&name, "serviceaccount/default"));
        name
    }

    /// Waits until something is so.
    pub fn eventually(&self, what: &str, condition: impl Fn() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(start.elapsed() < Duration::from_secs(60), "{what}: not within a minute");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Runs a test body on both clusters. What is named `case_NN_…` is a row of the cases' table.
#[macro_export]
macro_rules! on_every_cluster {
    ($($(#[$meta:meta])* fn $name:ident($cluster:ident) $body:block)+) => {
        $( $(#[$meta])* fn $name($cluster: &$crate::feature::cluster::Cluster) $body )+
        mod real {
            $( #[test] fn $name() {
                $crate::feature::cases::table::case(stringify!($name), "real", || {
                    let cluster = $crate::feature::cluster::Cluster::real().or_else(|| { $crate::support::control_plane::skip(); None });
                    cluster.map(super::$name)
                });
            } )+
        }
        mod embedded {
            $( #[test] fn $name() {
                $crate::feature::cases::table::case(stringify!($name), "embedded", || {
                    let cluster = $crate::feature::cluster::Cluster::embedded().or_else(|| { $crate::support::control_plane::skip(); None });
                    cluster.map(super::$name)
                });
            } )+
        }
    };
}

/// The folder with applications that nobody here wrote, if it is there.
pub fn real_apps() -> Option<PathBuf> {
    let folder = std::env::var_os("DRIFTLESS_REAL_APPS").map(PathBuf::from);
    folder.filter(|folder| Path::new(folder).is_dir())
}
