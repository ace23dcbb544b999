//! Plans of merges, and `sync` beside a daemon: the real binary on an embedded cluster and a repository to throw away.

use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const DRIFTLESS: &str = env!("CARGO_BIN_EXE_driftless");
const PATIENCE: Duration = Duration::from_secs(60);

/// A child that ends with the test.
struct Process(Child);

impl Process {
    fn signal(&self, signal: libc::c_int) {
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

/// A cluster, a repository, and a place for everything.
struct World {
    directory: TempDir,
    _cluster: Process,
}

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn config_map(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  value: {value}\n")
}

impl World {
    /// `main` holds the apps `web` (ConfigMaps one and two) and `old`, nothing is synced yet.
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let kubeconfig = directory.path().join("kubeconfig");
        let mut command = Command::new(DRIFTLESS);
        command.args(["cluster", "--write-kubeconfig"]).arg(&kubeconfig);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let cluster = Process(command.spawn().expect("the program runs"));
        let world = Self { directory, _cluster: cluster };
        world.git(&["init", "--quiet", "-b", "main"]);
        world.write("driftless.toml", "[defaults]\nnamespace = \"default\"\ntimeout = \"20s\"\n");
        world.write("web/one.yaml", &config_map("one", "first"));
        world.write("web/two.yaml", &config_map("two", "first"));
        world.write("old/old.yaml", &config_map("old", "first"));
        world.commit("everything");
        eventually("the cluster's kubeconfig", || kubeconfig.exists().then_some(()));
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn repo(&self) -> PathBuf {
        let repo = self.path("repo");
        fs::create_dir_all(&repo).expect("a directory");
        repo
    }

    fn write(&self, file: &str, text: &str) {
        let file = self.repo().join(file);
        fs::create_dir_all(file.parent().expect("below the repository")).expect("a directory");
        fs::write(file, text).expect("a file");
    }

    fn git(&self, args: &[&str]) -> String {
        let mut command = Command::new("git");
        command.current_dir(self.repo()).args(args).env("GIT_CONFIG_GLOBAL", "/dev/null");
        command.env("GIT_CONFIG_NOSYSTEM", "1");
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "Test").env(format!("GIT_{who}_EMAIL"), "test@example.com");
        }
        let output = command.output().expect("git runs");
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// A branch that begins at `from`, checked out.
    fn branch(&self, name: &str, from: &str) {
        self.git(&["checkout", "--quiet", "-b", name, from]);
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(DRIFTLESS);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("KUBECONFIG", self.path("kubeconfig")).env("HOME", self.directory.path());
        command.env("DRIFTLESS_CACHE", self.path("cache")).current_dir(self.directory.path());
        command.args(args).arg("--repo").arg(self.repo()).stdin(Stdio::null());
        // What branch is checked out says nothing about what is to run.
        command.args(["--branch", "main"]);
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the program runs")
    }

    /// Runs it, checks the exit code, gives what it printed.
    fn says(&self, code: i32, args: &[&str]) -> String {
        let output = self.run(args);
        let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{args:?}\n{said}\n{error}");
        said.into_owned()
    }

    fn json(&self, code: i32, args: &[&str]) -> Value {
        let said = self.says(code, &[args, &["-o", "json"]].concat());
        serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"))
    }

    fn kubectl(&self, args: &[&str]) -> String {
        let mut command = Command::new("kubectl");
        command.args(args).env("KUBECONFIG", self.path("kubeconfig")).env("HOME", self.directory.path());
        let output = command.output().expect("kubectl runs");
        assert!(output.status.success(), "kubectl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn value_of(&self, name: &str) -> String {
        self.kubectl(&["get", "configmap", name, "-o", "jsonpath={.data.value}"])
    }

    fn daemon(&self) -> Process {
        let log = fs::File::create(self.path("daemon.log")).expect("a log file");
        let mut command = self.command(&["run", "--listen", "127.0.0.1:0"]);
        command.stdout(Stdio::null()).stderr(log);
        Process(command.spawn().expect("the program runs"))
    }

    /// A daemon that has brought `main` about.
    fn settled_daemon(&self) -> Process {
        let daemon = self.daemon();
        eventually("the daemon's first sync", || self.is_synced("main").then_some(()));
        daemon
    }

    fn is_synced(&self, revision: &str) -> bool {
        let mut command = Command::new("git");
        command.current_dir(self.repo()).args(["notes", "--ref=driftless", "show", revision]);
        let notes = command.output().expect("git runs").stdout;
        let notes = String::from_utf8_lossy(&notes);
        notes.lines().any(|line| line.contains("/sync") && line.contains("\"success\""))
    }

    fn requests(&self) -> String {
        let parents = self.kubectl(&["get", "configmaps", "-n", "driftless", "-o", "yaml"]);
        parents.lines().filter(|line| line.contains("driftless.dev/request")).collect()
    }
}

/// `app/object: actions` of every change.
fn changes(report: &Value) -> Vec<String> {
    let apps = report["apps"].as_array().cloned().unwrap_or_default();
    let all = apps.iter().flat_map(|app| {
        let changes = app["changes"].as_array().cloned().unwrap_or_default();
        changes.into_iter().map(|change| {
            let actions: Vec<&str> =
                change["actions"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            format!("{}/{}: {}", text(&app["name"]), text(&change["object"]["name"]), actions.join(","))
        })
    });
    all.collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn case_37_only_what_the_revision_adds_is_shown() {
    let world = World::new();
    world.says(0, &["sync"]);
    let first = world.git(&["rev-parse", "main"]);
    // The base moves on and is not synced; somebody edits an object by hand.
    world.write("web/two.yaml", &config_map("two", "newer"));
    let base = world.commit("the base moves on");
    world.kubectl(&["patch", "configmap", "old", "-p", r#"{"data":{"value":"by hand"}}"#]);
    world.branch("feature", &first);
    world.write("web/one.yaml", &config_map("one", "better"));
    world.write("fresh/fresh.yaml", &config_map("fresh", "first"));
    let head = world.commit("a feature");
    let args = ["plan", "--revision", "feature", "--base", "main"];
    let report = world.json(2, &args);
    assert_eq!(changes(&report), ["fresh/fresh: create", "web/one: update"], "{report:#}");
    assert_eq!((text(&report["revision"]), text(&report["base"]["revision"])), (head.as_str(), base.as_str()));
    assert_eq!(
        (&report["base"]["pending"]["update"], &report["base"]["drifted"]),
        (&2.into(), &1.into()),
        "{report:#}"
    );
    assert!(report["error"].is_null() && report["summary"]["create"] == 1);
    for output in ["text", "markdown"] {
        let said = world.says(2, &[args.as_slice(), &["-o", output]].concat());
        assert!(said.contains("better") && !said.contains("by hand") && !said.contains("newer"), "{said}");
        assert!(said.contains("not fully applied yet"), "{said}");
    }
    // Nothing is left of the difference once it is merged.
    let report = world.json(0, &["plan", "--revision", &first, "--base", "main"]);
    assert_eq!(changes(&report), [""; 0], "{report:#}");
}

#[test]
fn case_37_a_conflict_names_its_files() {
    let world = World::new();
    let first = world.git(&["rev-parse", "main"]);
    world.write("web/one.yaml", &config_map("one", "base"));
    world.commit("the base");
    world.branch("feature", &first);
    world.write("web/one.yaml", &config_map("one", "feature"));
    world.commit("a feature");
    let report = world.json(1, &["plan", "--revision", "feature", "--base", "main"]);
    assert_eq!(report["error"]["reason"], "MergeConflict");
    assert_eq!(report["base"]["conflicts"][0], "web/one.yaml");
    let output = world.run(&["plan", "--revision", "feature", "--base", "main"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("web/one.yaml"));
}

#[test]
fn case_37_of_a_strangers_object_only_that_it_exists() {
    let world = World::new();
    world.says(0, &["sync"]);
    world.kubectl(&["create", "configmap", "stranger", "--from-literal=value=hidden", "--from-literal=other=hidden"]);
    world.branch("feature", "main");
    world.write("web/stranger.yaml", &config_map("stranger", "mine"));
    world.commit("claims it");
    let args = ["plan", "--revision", "feature", "--base", "main"];
    assert_eq!(changes(&world.json(2, &args)), ["web/stranger: adopt,update"]);
    for output in ["text", "json", "markdown"] {
        let said = world.says(2, &[args.as_slice(), &["-o", output]].concat());
        assert!(said.contains("stranger") && !said.contains("hidden"), "{said}");
    }
}

#[test]
fn an_app_that_the_revision_removes_is_pruned() {
    let world = World::new();
    world.says(0, &["sync"]);
    world.branch("feature", "main");
    fs::remove_dir_all(world.repo().join("old")).expect("it is there");
    world.commit("without old");
    let report = world.json(2, &["plan", "--revision", "feature", "--base", "main"]);
    assert_eq!(changes(&report), ["old/old: prune"], "{report:#}");
    assert_eq!(world.value_of("old"), "first");
}

#[test]
fn case_40_configuration_and_policies_are_the_bases() {
    let world = World::new();
    world.says(0, &["sync"]);
    world.branch("feature", "main");
    world.write("driftless.toml", "[defaults]\nnamespace = \"kube-system\"\n");
    world.write("web/one.yaml", &config_map("one", "better"));
    world.commit("moves itself");
    let report = world.json(2, &["plan", "--revision", "feature", "--base", "main"]);
    assert_eq!(changes(&report), ["web/one: update"], "{report:#}");
    assert_eq!(report["apps"][1]["changes"][0]["object"]["namespace"], "default");
    assert!(text(&report["base"]["notices"][0]).contains("driftless.toml"), "{report:#}");
    let said = world.says(2, &["plan", "--revision", "feature", "--base", "main"]);
    assert!(said.contains("it changes driftless.toml"), "{said}");
}

#[test]
fn case_41_sync_beside_a_daemon_is_done_by_the_daemon() {
    let world = World::new();
    let first = world.git(&["rev-parse", "main"]);
    let _daemon = world.settled_daemon();
    let report = world.json(0, &["sync"]);
    let states: Vec<&str> = report["apps"].as_array().expect("apps").iter().map(|app| text(&app["sync"])).collect();
    assert_eq!(states, ["Synced", "Synced"], "{report:#}");
    assert_eq!(world.requests(), "");
    // A new commit, asked for at once: whoever was faster, it is there afterwards.
    world.write("web/one.yaml", &config_map("one", "second"));
    world.write("new/new.yaml", &config_map("new", "first"));
    world.commit("something new");
    let report = world.json(0, &["sync"]);
    assert_eq!(report["apps"].as_array().map(Vec::len), Some(3), "{report:#}");
    assert_eq!((world.value_of("one").as_str(), world.value_of("new").as_str()), ("second", "first"));
    // Another revision than the branch's is a rollback's business.
    let report = world.json(4, &["sync", "web", "--revision", &first]);
    assert_eq!(report["apps"][0]["error"]["reason"], "FollowsBranch", "{report:#}");
    assert_eq!(world.value_of("one"), "second");
    assert_eq!(world.requests(), "");
}

#[test]
fn case_41_a_daemon_that_dies_leaves_the_sync_to_the_command_line() {
    let world = World::new();
    let daemon = world.settled_daemon();
    // Paused: it holds its lease and does nothing.
    daemon.signal(libc::SIGSTOP);
    world.write("web/one.yaml", &config_map("one", "second"));
    world.commit("something new");
    let mut command = world.command(&["sync", "-o", "json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program runs");
    eventually("the request", || world.requests().contains("id").then_some(()));
    assert!(matches!(child.try_wait(), Ok(None)), "it waits for the daemon");
    drop(daemon);
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("syncing without it"), "{said}");
    assert_eq!(world.value_of("one"), "second");
    assert_eq!(world.requests(), "");
}
