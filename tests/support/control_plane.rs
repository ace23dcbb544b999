//! The real Kubernetes control plane, for tests that must not be answered by our own idea of Kubernetes.
//!
//! In: a folder with `etcd`, `kube-apiserver`, `kube-controller-manager`, `kube-scheduler`, `kubectl` and `keygen`.
//! It is `KUBEBUILDER_ASSETS` where that is set, else the newest that `tests/envtest/build` made. Nothing is built here.
//! Out: a cluster on 127.0.0.1 with an administrator's kubeconfig, a `kubectl` of the same version, and the list of
//! requests that the API server got. Without binaries: `None`, and `skip()` says so.
//!
//! ```ignore
//! let Some(cluster) = ControlPlane::shared() else { return control_plane::skip() };
//! let namespace = cluster.namespace("rollout");
//! cluster.kubectl_ok(["-n", &namespace, "create", "deployment", "web", "--image=web:1"]);
//! ```
//!
//! Guarantees
//! - What starts is the release: RBAC, default admission, garbage collection, service accounts, aggregation.
//! - Nothing outlives the test process, however it ends: children die with it (Linux), and a directory left behind by
//!   a killed process is removed by the next start.
//! - It starts in about 4 s and takes 0.6 GB, once per test binary: tests share it, and keep apart by namespace. What has
//!   none (nodes, CRDs, webhooks, cluster roles) needs a unique name. A test that kills the API server uses `start()`: a
//!   cluster of its own.
//!
//! What it lacks, and what a test does about it
//! - Kubelets. Nodes and pods exist as objects only, until a test or the simulated kubelet plays their part:
//!   - Register: create a Node, then set `Ready=True` in its status, with `capacity` and `allocatable`. Admission taints
//!     every new node `node.kubernetes.io/not-ready`; the controller manager lifts that once it has seen `Ready=True`.
//!   - Stay alive: renew the Lease `kube-node-lease/<node>` (owner: the Node), as kubelets do every 10 s, or touch the
//!     node's status. The patience is `NODE_GRACE` here (50 s in a release), so that a busy machine evicts nothing; after
//!     it the node becomes `Ready=Unknown` and is tainted, and its pods are evicted 5 minutes later. Deleting the Node loses
//!     its pods 40 s later. To test a node's death: `Flags` with `--node-monitor-grace-period=10s`.
//!   - Pods with `spec.nodeName`: report their status, and end their deletion (`--grace-period=0 --force` does it by hand).
//! - A network. Service addresses are assigned and lead nowhere. A webhook in the test process is reached by
//!   `clientConfig.url: https://127.0.0.1:PORT`; an extension API server by a Service of `type: ExternalName`,
//!   `externalName: localhost`, whose APIService names the port. The `kubernetes` Service has no endpoints.
//! - Cloud load balancers, volume provisioners, and resource metrics (HPAs say `FailedGetResourceMetric`).

#![allow(dead_code, reason = "a fixture offers more than the tests of any one day use")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// How long a node may be silent before it counts as lost, as the controller manager's flag.
pub const NODE_GRACE: &str = "5m0s";

/// Without any of these a folder is no control plane.
const BINARIES: [&str; 6] =
    ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "keygen"];

const DIRECTORY_PREFIX: &str = "driftless-control-plane-";

/// Far above the few seconds it takes, for machines that are compiling something at the same time.
const START_TIMEOUT: Duration = Duration::from_secs(90);

static SHARED: OnceLock<Result<Option<ControlPlane>, String>> = OnceLock::new();
static SKIPPED: AtomicUsize = AtomicUsize::new(0);

/// Says that a test was skipped for want of a control plane, where a passing test's output is not swallowed, and counts it.
pub fn skip() {
    SKIPPED.fetch_add(1, Ordering::Relaxed);
    // Not `eprintln!`: the test runner would keep it to itself.
    let _ = writeln!(io::stderr(), "skipped: no control plane (set KUBEBUILDER_ASSETS)");
}

/// The `kubectl` of the control plane's folder, else the one on the `PATH`, if there is one.
pub fn kubectl() -> Option<PathBuf> {
    let own = find_binaries().ok().flatten().map(|folder| folder.join("kubectl"));
    own.or_else(|| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join("kubectl")).find(|file| file.is_file())
    })
}

/// How many tests of this binary called `skip()`.
pub fn skipped() -> usize {
    SKIPPED.load(Ordering::Relaxed)
}

/// Further flags for each program. The last one wins, so they can replace the fixture's own.
#[derive(Clone, Copy, Default)]
pub struct Flags<'a> {
    pub api_server: &'a [&'a str],
    pub controller_manager: &'a [&'a str],
    pub scheduler: &'a [&'a str],
}

/// A running control plane. Dropping it ends it.
pub struct ControlPlane {
    binaries: PathBuf,
    directory: TempDir,
    etcd: SocketAddr,
    api: SocketAddr,
    url: String,
    token: String,
    flags: BTreeMap<&'static str, Vec<String>>,
    children: Mutex<BTreeMap<&'static str, Child>>,
}

impl ControlPlane {
    /// The control plane that all tests of this binary share: started by the first, ended with the process.
    ///
    /// # Panics
    /// When there are binaries and they do not start.
    pub fn shared() -> Option<&'static Self> {
        // A failure is remembered: each test repeating it would take a minute each.
        let shared = SHARED.get_or_init(|| {
            let started = Self::try_start(&Flags::default());
            if matches!(started, Ok(Some(_))) {
                end_shared_at_exit();
            }
            started
        });
        shared.as_ref().unwrap_or_else(|message| panic!("{message}")).as_ref()
    }

    /// A control plane of the test's own.
    ///
    /// # Panics
    /// When there are binaries and they do not start.
    pub fn start() -> Option<Self> {
        Self::start_with(&Flags::default())
    }

    /// The same with further flags.
    ///
    /// # Panics
    /// When there are binaries and they do not start.
    pub fn start_with(flags: &Flags<'_>) -> Option<Self> {
        Self::try_start(flags).unwrap_or_else(|message| panic!("{message}"))
    }

    pub fn kubeconfig_path(&self) -> PathBuf {
        self.path("kubeconfig")
    }

    /// `https://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The bearer token of an administrator (`system:masters`).
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The certificate authority of the API server, PEM.
    pub fn certificate_authority(&self) -> String {
        fs::read_to_string(self.ca_path()).expect("the API server's certificate was read when it started")
    }

    /// Where a program of this control plane is, for tests that run `kubectl` or `kustomize` themselves.
    pub fn binary(&self, name: &str) -> PathBuf {
        self.binaries.join(name)
    }

    /// A `kubectl` command that is already set up for this cluster.
    pub fn kubectl_command(&self) -> Command {
        let mut command = Command::new(self.binary("kubectl"));
        command
            .env("KUBECONFIG", self.kubeconfig_path())
            // Neither read nor leave anything in the home directory of whoever runs the tests.
            .env("KUBECACHEDIR", self.path("kubectl-cache"))
            .env("KUBERC", "off");
        command
    }

    pub fn kubectl<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> Output {
        self.kubectl_command().args(args).stdin(Stdio::null()).output().expect("kubectl runs")
    }

    /// Standard output of a `kubectl` that has to succeed.
    ///
    /// # Panics
    /// When it fails, with its message.
    pub fn kubectl_ok<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> String {
        success(&self.kubectl(args))
    }

    /// `kubectl ARGS -f -` with `input` as the file. Has to succeed.
    ///
    /// # Panics
    /// When it fails, with its message.
    pub fn kubectl_input<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I, input: &str) -> String {
        let mut command = self.kubectl_command();
        command.args(args).args(["-f", "-"]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kubectl runs");
        // Ignored: a kubectl that does not read its input has said why on its standard error.
        let _ = child.stdin.take().expect("stdin is piped").write_all(input.as_bytes());
        success(&child.wait_with_output().expect("kubectl ends"))
    }

    /// The answer of `GET path` as JSON, for instance `/api/v1/nodes`.
    ///
    /// # Panics
    /// When the API server refuses.
    pub fn get(&self, path: &str) -> Value {
        serde_json::from_str(&self.kubectl_ok(["get", "--raw", path])).expect("the API server answers in JSON")
    }

    /// A new namespace whose name starts with `prefix`, in which pods can be created.
    pub fn namespace(&self, prefix: &str) -> String {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let name = format!("{prefix}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.kubectl_ok(["create", "namespace", &name]);
        self.wait_for_service_account(&name).unwrap_or_else(|message| panic!("{message}"));
        name
    }

    /// Ends the API server at once, as a crash would. etcd and the controllers go on.
    pub fn kill_api_server(&self) {
        if let Some(mut child) = self.children().remove("kube-apiserver") {
            end(&mut child);
        }
    }

    /// Starts it again on the same port, with the same data, certificate and token, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn start_api_server(&self) {
        self.launch("kube-apiserver")
            .and_then(|()| self.wait_until_ready())
            .unwrap_or_else(|message| panic!("{message}"));
    }

    pub fn restart_api_server(&self) {
        self.kill_api_server();
        self.start_api_server();
    }

    /// Stops the API server from answering while its connections stay open: a hung server, or a silent network.
    pub fn pause_api_server(&self) {
        self.signal("kube-apiserver", libc::SIGSTOP);
    }

    pub fn resume_api_server(&self) {
        self.signal("kube-apiserver", libc::SIGCONT);
    }

    /// The requests so far that `of_interest` picks, oldest first, as audit events (`verb`, `requestURI`, `userAgent`,
    /// `user`, `objectRef`, `responseStatus`): what a sync costs is counted, not guessed. The controllers' requests and
    /// kubectl's are among them; a client is told by its User-Agent, if it sends one, or by the namespace it works in.
    pub fn requests(&self, of_interest: impl Fn(&Value) -> bool) -> Vec<Value> {
        let log = fs::read_to_string(self.path("audit.log")).unwrap_or_default();
        let mut seen = BTreeSet::new();
        log.lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(of_interest)
            // A watch is logged twice, when it starts and when it ends.
            .filter(|event| seen.insert(event["auditID"].as_str().unwrap_or_default().to_owned()))
            .collect()
    }

    /// What a program (`kube-apiserver`, …) wrote so far, to explain a failure.
    pub fn log(&self, program: &str) -> String {
        let bytes = fs::read(self.path(&format!("{program}.log"))).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn try_start(flags: &Flags<'_>) -> Result<Option<Self>, String> {
        let Some(binaries) = find_binaries()? else { return Ok(None) };
        remove_abandoned_directories();
        let mut attempt = 1;
        loop {
            match Self::start_once(&binaries, flags) {
                // A port was free when it was chosen, and taken when it was used.
                Err(message) if message.contains("address already in use") && attempt < 3 => attempt += 1,
                result => return result.map(Some),
            }
        }
    }

    fn start_once(binaries: &Path, flags: &Flags<'_>) -> Result<Self, String> {
        let directory = tempfile::Builder::new()
            .prefix(&format!("{DIRECTORY_PREFIX}{}-", std::process::id()))
            .tempdir()
            .map_err(|error| format!("no temporary directory: {error}"))?;
        let owned = |flags: &[&str]| flags.iter().map(|&flag| flag.to_owned()).collect::<Vec<_>>();
        let api = free_address()?;
        let plane = Self {
            binaries: binaries.to_owned(),
            directory,
            etcd: free_address()?,
            api,
            url: format!("https://{api}"),
            token: format!("{:016x}{:016x}", random(), random()),
            flags: BTreeMap::from([
                ("kube-apiserver", owned(flags.api_server)),
                ("kube-controller-manager", owned(flags.controller_manager)),
                ("kube-scheduler", owned(flags.scheduler)),
            ]),
            children: Mutex::default(),
        };
        plane.write_files()?;
        plane.launch("etcd")?;
        plane.wait("etcd", "accept connections", || TcpStream::connect(plane.etcd).is_ok())?;
        plane.launch("kube-apiserver")?;
        // Earlier than this the others would give up waiting for it on a slow machine.
        plane.wait("kube-apiserver", "accept connections", || TcpStream::connect(plane.api).is_ok())?;
        plane.launch("kube-controller-manager")?;
        plane.launch("kube-scheduler")?;
        plane.wait_until_ready()?;
        plane.wait_for_service_account("default")?;
        Ok(plane)
    }

    /// Everything that the programs read when they start.
    fn write_files(&self) -> Result<(), String> {
        let keygen = Command::new(self.binary("keygen")).arg(self.directory.path()).output();
        match keygen {
            Ok(output) if output.status.success() => {}
            Ok(output) => return Err(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => return Err(format!("keygen: {error}")),
        }
        let audit_policy = serde_json::json!({
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived"],
            "rules": [{"level": "Metadata"}],
        });
        let files = [
            ("tokens.csv", format!("{},admin,admin,system:masters\n", self.token)),
            ("audit-policy.json", audit_policy.to_string()),
            ("kubeconfig", self.kubeconfig()),
        ];
        for (name, content) in files {
            fs::write(self.path(name), content).map_err(|error| format!("{name}: {error}"))?;
        }
        Ok(())
    }

    fn kubeconfig(&self) -> String {
        // JSON, which is YAML too: paths need no thought about quoting.
        let config = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
            "clusters": [{"name": "test", "cluster": {"server": self.url, "certificate-authority": self.ca_path()}}],
            "users": [{"name": "admin", "user": {"token": self.token}}],
        });
        format!("{config:#}\n")
    }

    fn arguments(&self, program: &str) -> Vec<String> {
        let path = |name: &str| self.path(name).display().to_string();
        let mut arguments = match program {
            "etcd" => vec![
                format!("--data-dir={}", path("etcd")),
                format!("--listen-client-urls=http://{}", self.etcd),
                format!("--advertise-client-urls=http://{}", self.etcd),
                // One member has no peers: any port will do, and none has to be known.
                "--listen-peer-urls=http://127.0.0.1:0".to_owned(),
                // The data need not survive a power failure, and waiting for disks is most of a start.
                "--unsafe-no-fsync=true".to_owned(),
            ],
            "kube-apiserver" => vec![
                format!("--etcd-servers=http://{}", self.etcd),
                "--bind-address=127.0.0.1".to_owned(),
                format!("--secure-port={}", self.api.port()),
                // Without it, a machine that has no default route cannot start it.
                "--advertise-address=127.0.0.1".to_owned(),
                // A loopback address is refused as an endpoint: do not try every ten seconds.
                "--endpoint-reconciler-type=none".to_owned(),
                format!("--cert-dir={}", path("certificates")),
                format!("--token-auth-file={}", path("tokens.csv")),
                "--authorization-mode=RBAC".to_owned(),
                "--allow-privileged=true".to_owned(),
                "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
                "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
                format!("--service-account-key-file={}", path("sa.key")),
                format!("--service-account-signing-key-file={}", path("sa.key")),
                format!("--requestheader-client-ca-file={}", path("front-proxy-ca.crt")),
                "--requestheader-allowed-names=front-proxy-client".to_owned(),
                "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
                "--requestheader-group-headers=X-Remote-Group".to_owned(),
                "--requestheader-username-headers=X-Remote-User".to_owned(),
                format!("--proxy-client-cert-file={}", path("front-proxy-client.crt")),
                format!("--proxy-client-key-file={}", path("front-proxy-client.key")),
                format!("--audit-policy-file={}", path("audit-policy.json")),
                format!("--audit-log-path={}", path("audit.log")),
            ],
            "kube-controller-manager" => vec![
                format!("--service-account-private-key-file={}", path("sa.key")),
                format!("--root-ca-file={}", self.ca_path().display()),
                format!("--node-monitor-grace-period={NODE_GRACE}"),
            ],
            _ => vec![],
        };
        if matches!(program, "kube-controller-manager" | "kube-scheduler") {
            arguments.extend([
                format!("--kubeconfig={}", path("kubeconfig")),
                // One of each: no lease to wait for after a restart.
                "--leader-elect=false".to_owned(),
                "--secure-port=0".to_owned(),
                // The defaults (20 a second) spread the clean-up of a namespace over seconds.
                "--kube-api-qps=1000".to_owned(),
                "--kube-api-burst=2000".to_owned(),
            ]);
        }
        arguments.extend(self.flags.get(program).into_iter().flatten().cloned());
        arguments
    }

    fn launch(&self, program: &'static str) -> Result<(), String> {
        let mut children = self.children();
        if children.contains_key(program) {
            return Ok(());
        }
        let log = OpenOptions::new().create(true).append(true).open(self.path(&format!("{program}.log")));
        let open = |log: io::Result<File>| Ok::<_, io::Error>((log?, self.binary(program)));
        let child = open(log).and_then(|(log, binary)| {
            let mut command = Command::new(binary);
            command.args(self.arguments(program)).current_dir(self.directory.path());
            command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
            spawn_bound_to_process(command)
        });
        children.insert(program, child.map_err(|error| format!("{program}: {error}"))?);
        Ok(())
    }

    fn wait_until_ready(&self) -> Result<(), String> {
        self.wait("kube-apiserver", "be ready", || self.kubectl(["get", "--raw", "/readyz"]).status.success())
    }

    /// Admission refuses pods before the controller manager has made it.
    fn wait_for_service_account(&self, namespace: &str) -> Result<(), String> {
        self.wait("kube-controller-manager", "make a service account", || {
            self.kubectl(["-n", namespace, "get", "serviceaccount", "default"]).status.success()
        })
    }

    /// Waits for `condition`, and no longer than `program` lives.
    fn wait(&self, program: &str, what: &str, condition: impl Fn() -> bool) -> Result<(), String> {
        let start = Instant::now();
        while !condition() {
            let ended = match self.children().get_mut(program).map(Child::try_wait) {
                Some(Ok(Some(status))) => Some(status.to_string()),
                _ if start.elapsed() > START_TIMEOUT => Some(format!("not within {} s", START_TIMEOUT.as_secs())),
                _ => None,
            };
            if let Some(ended) = ended {
                let log = self.log(program);
                let tail =
                    log.lines().rev().take(25).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n");
                return Err(format!("{program} did not {what}: {ended}\n{tail}"));
            }
            thread::sleep(Duration::from_millis(25));
        }
        Ok(())
    }

    fn signal(&self, program: &str, signal: libc::c_int) {
        if let Some(child) = self.children().get(program) {
            #[expect(unsafe_code, reason = "std sends no signal but SIGKILL; the child is ours and not yet waited for")]
            unsafe {
                libc::kill(child.id().cast_signed(), signal);
            }
        }
    }

    fn children(&self) -> MutexGuard<'_, BTreeMap<&'static str, Child>> {
        // A test that panicked while it held the lock must not leave processes behind.
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Made by the API server itself: its certificate, followed by the authority that signed it.
    fn ca_path(&self) -> PathBuf {
        self.path("certificates/apiserver.crt")
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        for child in self.children().values_mut() {
            end(child);
        }
    }
}

fn success(output: &Output) -> String {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "kubectl: {}\n{stderr}{stdout}", output.status);
    stdout.into_owned()
}

/// At once: nothing here is kept, and a paused process would not hear anything gentler.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn find_binaries() -> Result<Option<PathBuf>, String> {
    if let Some(folder) = variable("KUBEBUILDER_ASSETS") {
        // Asked for by name: a folder that will not do is a mistake to be told, not a reason to skip.
        return match BINARIES.iter().find(|name| !folder.join(name).is_file()) {
            Some(missing) => Err(format!("KUBEBUILDER_ASSETS: {} has no {missing}", folder.display())),
            None => Ok(Some(folder)),
        };
    }
    // The same rule as in tests/envtest/build.
    let cache = variable("DRIFTLESS_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("driftless")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/driftless")));
    let entries = cache.and_then(|cache| fs::read_dir(cache.join("control-plane")).ok());
    Ok(entries
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        // A folder that is still being built has another name.
        .filter(|entry| entry.file_name().to_string_lossy().starts_with('v'))
        .filter(|entry| BINARIES.iter().all(|name| entry.path().join("bin").join(name).is_file()))
        .max_by_key(|entry| entry.metadata().and_then(|metadata| metadata.modified()).ok())
        .map(|entry| entry.path().join("bin")))
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn random() -> u64 {
    RandomState::new().hash_one(())
}

/// A port nobody listens on, below those that the kernel gives to outgoing connections: an API server that is restarted
/// finds its own still free.
fn free_address() -> Result<SocketAddr, String> {
    let random_address = || SocketAddr::from(([127, 0, 0, 1], 15_000 + (random() % 15_000) as u16));
    (0..100)
        .map(|_| random_address())
        .find(|address| TcpListener::bind(address).is_ok())
        .ok_or_else(|| "no free port on 127.0.0.1".to_owned())
}

/// Spawns a child that dies with this process, however it dies.
///
/// Linux ties a child to the *thread* that started it. Test threads come and go, so that one thread which stays starts them all.
pub fn spawn_bound_to_process(command: Command) -> io::Result<Child> {
    type Request = (Command, Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<Sender<Request>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, requests) = channel::<Request>();
        thread::spawn(move || {
            for (mut command, answer) in requests {
                bind_to_thread(&mut command);
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let (answer, child) = channel();
    let gone = |_| io::Error::other("the thread that starts processes is gone");
    spawner.send((command, answer)).map_err(|_| gone(()))?;
    child.recv().map_err(|_| gone(()))?
}

#[cfg(target_os = "linux")]
fn bind_to_thread(command: &mut Command) {
    use std::os::unix::process::CommandExt;

    let parent = std::process::id();
    #[expect(
        unsafe_code,
        reason = "between fork and exec; both calls are async-signal-safe and touch no memory of ours"
    )]
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            // The parent may have died before the line above: then nobody will ever send the signal.
            if libc::getppid().cast_unsigned() != parent {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            Ok(())
        });
    }
}

/// Elsewhere a killed test process leaves its children; one that ends by itself does not.
#[cfg(not(target_os = "linux"))]
fn bind_to_thread(_: &mut Command) {}

/// A static is never dropped: the shared control plane and its directory need this.
fn end_shared_at_exit() {
    extern "C" fn end_shared() {
        let Some(Ok(Some(plane))) = SHARED.get() else { return };
        // Not `lock`: a thread that holds it may be one that the exiting process no longer runs.
        if let Ok(mut children) = plane.children.try_lock() {
            children.values_mut().for_each(end);
            let _ = fs::remove_dir_all(plane.directory.path());
        }
    }
    #[expect(unsafe_code, reason = "std has no hook for the end of a process; the function never unwinds")]
    unsafe {
        libc::atexit(end_shared);
    }
}

/// Removes what control planes left behind whose test process was killed.
fn remove_abandoned_directories() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().filter_map(Result::ok) {
        let name = entry.file_name();
        let process = name
            .to_string_lossy()
            .strip_prefix(DIRECTORY_PREFIX)
            .map(|rest| rest.split('-').next().unwrap_or_default().to_owned());
        if process.is_some_and(|id| Path::new("/proc/self").exists() && !Path::new("/proc").join(id).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ControlPlane, Value, skip};

    fn node_ready(plane: &ControlPlane, name: &str) {
        let node = serde_json::json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
        plane.kubectl_input(["create"], &node.to_string());
        let status = serde_json::json!({"status": {
            "capacity": {"cpu": "4", "memory": "8Gi", "pods": "110"},
            "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
        }});
        plane.kubectl_ok(["patch", "node", name, "--subresource=status", "--type=merge", "-p", &status.to_string()]);
    }

    /// The parts work together: controllers make pods, the scheduler places them on a node that says it is ready.
    #[test]
    fn a_deployment_gets_scheduled_pods() {
        let Some(plane) = ControlPlane::shared() else { return skip() };
        let namespace = plane.namespace("scheduled");
        node_ready(plane, "scheduled-node");
        plane.kubectl_ok(["-n", &namespace, "create", "deployment", "web", "--image=web:1", "--replicas=2"]);
        plane.kubectl_ok(["-n", &namespace, "wait", "--for=create", "--timeout=60s", "pod", "-l", "app=web"]);
        plane.kubectl_ok([
            "-n",
            &namespace,
            "wait",
            "--for=condition=PodScheduled",
            "--timeout=60s",
            "pod",
            "-l",
            "app=web",
        ]);
        let pods = plane.get(&format!("/api/v1/namespaces/{namespace}/pods"));
        assert_eq!(pods["items"].as_array().map(Vec::len), Some(2));
        let creates = |event: &Value| event["verb"] == "create" && event["objectRef"]["resource"] == "deployments";
        let ours = |event: &Value| event["objectRef"]["namespace"] == namespace.as_str();
        assert_eq!(plane.requests(|event| creates(event) && ours(event)).len(), 1);
    }

    /// What the tests of restarts rely on: the same address and data afterwards, refused connections in between.
    #[test]
    fn the_api_server_comes_back_with_its_data() {
        let Some(plane) = ControlPlane::start() else { return skip() };
        plane.kubectl_ok(["create", "configmap", "kept", "--from-literal=a=b"]);
        plane.kill_api_server();
        assert!(!plane.kubectl(["get", "configmap", "kept"]).status.success());
        plane.start_api_server();
        plane.restart_api_server();
        assert_eq!(plane.kubectl_ok(["get", "configmap", "kept", "-o", "jsonpath={.data.a}"]), "b");

        plane.pause_api_server();
        assert!(!plane.kubectl(["get", "configmap", "kept", "--request-timeout=200ms"]).status.success());
        plane.resume_api_server();
        plane.kubectl_ok(["get", "configmap", "kept"]);
    }
}
