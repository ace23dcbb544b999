//! Repositories behind SSH: a real `sshd`, the real `ssh`, and what becomes of each way to fail.

use crate::support::control_plane::spawn_bound_to_process;
use crate::support::daemon::{Cluster, DRIFTLESS, Daemon, Process, eventually};
use crate::support::scratch::Scratch;
use crate::support::sshd::{Sshd, keygen, processes_with};
use driftless::object::Problem;
use driftless::source::{GitError, GitMirror, GitOptions, RepoUrl, SshOptions};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A repository behind an `sshd`, and a cache.
struct Remote {
    sshd: Sshd,
    scratch: Scratch,
}

impl Remote {
    fn new(name: &str) -> Option<Self> {
        let sshd = Sshd::start()?;
        Some(Self { sshd, scratch: Scratch::quickstart(name, "") })
    }

    fn url(&self) -> String {
        self.sshd.url(&self.scratch.bare())
    }

    /// The settings that work.
    fn ssh(&self) -> SshOptions {
        SshOptions { key_file: Some(self.sshd.key()), known_hosts: Some(self.sshd.known_hosts()), jump: None }
    }

    fn cache(&self) -> PathBuf {
        self.scratch.path("cache")
    }

    fn open(&self, url: &str, ssh: SshOptions) -> GitMirror {
        self.open_with(url, GitOptions { ssh: Some(ssh), ..GitOptions::default() })
    }

    fn open_with(&self, url: &str, options: GitOptions) -> GitMirror {
        GitMirror::open_with(&RepoUrl::parse(url).unwrap(), &self.cache(), options).unwrap()
    }

    fn fails(&self, ssh: SshOptions) -> Problem {
        Problem::from(self.open(&self.url(), ssh).fetch(None).unwrap_err())
    }

    /// No `ssh` that was started for this repository is left, nor one for its jump host. Ours has been waited for; one that
    /// it started takes a moment to be gone, and would live for longer than our patience if it were not ended.
    fn nothing_is_left(&self) {
        let file = format!("{}/ssh-", self.cache().display());
        let of_ours = || processes_with(&file).into_iter().filter(|line| !line.contains(" -W ")).collect::<Vec<_>>();
        assert_eq!(of_ours(), Vec::<String>::new());
        eventually("nothing is left", || processes_with(&file).is_empty().then_some(()));
    }
}

fn has(problem: &Problem, reason: &str, message: &str, hint: &str) {
    let told = problem.hint.clone().unwrap_or_default();
    let right = problem.reason == reason && problem.message.contains(message) && told.contains(hint);
    assert!(right, "{problem:#?}");
}

/// Listing, clone, fetch, a commit by name: over a key from a file and a pinned host, by both spellings of the address.
#[test]
fn a_repository_is_read() {
    let Some(remote) = Remote::new("ssh-read") else { return };
    let head = remote.scratch.git(&["rev-parse", "HEAD"]).trim().to_owned();
    let mirror = remote.open(&remote.url(), remote.ssh());
    assert_eq!(mirror.ls_remote_head(None).unwrap().revision.as_str(), head);
    let fetched = mirror.fetch(None).unwrap();
    assert_eq!((fetched.branch.as_deref(), fetched.revision.as_str()), (Some("main"), head.as_str()));
    assert!(mirror.tree(&fetched.revision, Some("web")).is_ok());
    remote.scratch.write("big.bin", &"0123456789abcdef\n".repeat(200_000));
    let next = remote.scratch.push("more");
    assert_eq!(mirror.resolve("main").unwrap().as_str(), next);
    assert!(mirror.is_ancestor(&fetched.revision, &mirror.fetch(Some("main")).unwrap().revision).unwrap());
    let missing = mirror.fetch(Some("nothing")).unwrap_err();
    assert!(matches!(missing, GitError::BranchNotFound { .. }), "{missing}");
    remote.nothing_is_left();
    let known = fs::read_to_string(remote.sshd.known_hosts()).unwrap();
    assert_eq!(known.lines().count(), 1, "nothing is added to it: {known}");
}

/// The daemon follows the repository and pushes its notes back.
#[test]
fn a_daemon_follows_and_says_so() {
    let Some(remote) = Remote::new("ssh-daemon") else { return };
    let (key, known) = (remote.sshd.key(), remote.sshd.known_hosts());
    let config = format!(
        "{}\n[[repository]]\nname = \"shop\"\nurl = \"{}\"\ninterval = \"1s\"\n\
         ssh = {{ key_file = \"{}\", known_hosts = \"{}\" }}\n[[report]]\nkind = \"git-notes\"\n",
        remote.scratch.settings_text(""),
        remote.url(),
        key.display(),
        known.display()
    );
    let file = remote.scratch.path("daemon.toml");
    fs::write(&file, config).unwrap();
    let cluster = Cluster::embedded();
    let daemon = Daemon::start_with(&remote.scratch, &cluster, &["--config", &file.display().to_string()], "cache");
    let first = remote.scratch.git(&["rev-parse", "HEAD"]).trim().to_owned();
    daemon.succeeds(&remote.scratch, &first);
    remote.scratch.replace("web/app.yaml", "web:1.0", "web:1.1");
    let second = remote.scratch.push("next");
    daemon.succeeds(&remote.scratch, &second);
    assert_eq!(remote.scratch.states(&second, "sync"), ["pending", "success"]);
    // A host that is another one from now on: told, nothing is taken from it, and the daemon goes on.
    let right = fs::read_to_string(&known).unwrap();
    keygen(&remote.sshd.path("other"), "");
    fs::write(&known, remote.sshd.known_line(&remote.sshd.path("other"))).unwrap();
    daemon.eventually("it is told", || daemon.has_logged("shows another host key").then_some(()));
    remote.scratch.replace("web/app.yaml", "web:1.1", "web:1.2");
    let third = remote.scratch.push("meanwhile");
    fs::write(&known, right).unwrap();
    daemon.succeeds(&remote.scratch, &third);
    drop(daemon);
}

/// A key that only the agent has.
#[test]
fn a_key_of_the_agent() {
    let Some(remote) = Remote::new("ssh-agent") else { return };
    let socket = remote.sshd.path("agent");
    let mut command = Command::new("ssh-agent");
    command.arg("-D").arg("-a").arg(&socket).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _agent = Process(spawn_bound_to_process(command).expect("ssh-agent runs"));
    eventually("the agent listens", || socket.exists().then_some(()));
    let render = |with_agent: bool| {
        let file = remote.scratch.path("agent.toml");
        let known = remote.sshd.known_hosts();
        let key = remote.sshd.path("client.pub");
        let config = format!(
            "[[repository]]\nname = \"shop\"\nurl = \"{}\"\nssh = {{ known_hosts = \"{}\", key_file = \"{}\" }}\n",
            remote.url(),
            known.display(),
            key.display()
        );
        fs::write(&file, config).unwrap();
        let mut command = Command::new(DRIFTLESS);
        command
            .arg("render")
            .arg("--config")
            .arg(&file)
            .env("DRIFTLESS_CACHE", remote.cache())
            .env_remove("SSH_AUTH_SOCK");
        if with_agent {
            command.env("SSH_AUTH_SOCK", &socket);
        }
        let output = command.stdin(Stdio::null()).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let mut add = Command::new("ssh-add");
    add.arg("-q").arg(remote.sshd.key()).env("SSH_AUTH_SOCK", &socket).stdin(Stdio::null());
    assert!(add.status().unwrap().success());
    fs::remove_file(remote.sshd.key()).unwrap();
    let (worked, said) = render(false);
    assert!(!worked && said.contains("no key was accepted") && said.contains("agent"), "{said}");
    let (worked, said) = render(true);
    assert!(worked, "{said}");
    remote.nothing_is_left();
}

/// Host keys are pinned: another one is refused, an unknown one too, and both are told with what to do.
#[test]
fn host_keys_are_pinned() {
    let Some(remote) = Remote::new("ssh-pinned") else { return };
    let (known, port) = (remote.sshd.known_hosts(), remote.url());
    let port = port.rsplit_once(':').unwrap().1.split('/').next().unwrap();
    fs::write(&known, "").unwrap();
    let unknown = remote.fails(remote.ssh());
    has(&unknown, "HostKeyUnknown", "is not known", &format!("ssh-keyscan -p {port} 127.0.0.1"));
    assert_eq!(fs::read_to_string(&known).unwrap(), "", "it is not pinned by itself");
    keygen(&remote.sshd.path("other"), "");
    fs::write(&known, remote.sshd.known_line(&remote.sshd.path("other"))).unwrap();
    let changed = remote.fails(remote.ssh());
    has(&changed, "HostKeyChanged", "shows another host key", "someone may be in between");
    assert!(changed.message.contains("SHA256:"), "{changed:#?}");
    assert!(!remote.sshd.log().contains("Accepted"), "no key was shown to it");
    // What the hint says works.
    let scan = Command::new("ssh-keyscan").args(["-p", port, "127.0.0.1"]).stderr(Stdio::null()).output().unwrap();
    fs::write(&known, scan.stdout).unwrap();
    assert!(remote.open(&remote.url(), remote.ssh()).fetch(None).is_ok());
    let gone = SshOptions { known_hosts: Some("/nonexistent/known_hosts".into()), ..remote.ssh() };
    has(&remote.fails(gone), "SshFileUnusable", "/nonexistent/known_hosts", "check the path");
    remote.nothing_is_left();
}

/// Keys that do not work, and repositories that are not there, each told as what it is.
#[test]
fn keys_and_repositories_that_do_not_work() {
    let Some(remote) = Remote::new("ssh-denied") else { return };
    let with = |key: &Path| SshOptions { key_file: Some(key.to_owned()), ..remote.ssh() };
    let (wrong, locked, open) = (remote.sshd.path("wrong"), remote.sshd.path("locked"), remote.sshd.path("open"));
    keygen(&wrong, "");
    has(&remote.fails(with(&wrong)), "RepositoryUnauthorized", "Permission denied", "deploy key");
    keygen(&locked, "secret");
    has(&remote.fails(with(&locked)), "RepositoryUnauthorized", "no key was accepted", "passphrase");
    fs::copy(remote.sshd.key(), &open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    has(&remote.fails(with(&open)), "SshFileUnusable", "(0644) are too open", "chmod 600");
    has(&remote.fails(with(Path::new("/nonexistent/key"))), "SshFileUnusable", "/nonexistent/key", "check the path");
    let problem = |url: &str| Problem::from(remote.open(url, remote.ssh()).fetch(None).unwrap_err());
    has(&problem(&remote.sshd.url(Path::new("/nonexistent"))), "RepositoryNotFound", "", "check the address");
    let public = fs::read_to_string(remote.sshd.path("client.pub")).unwrap();
    remote.sshd.authorize(&format!("command=\"echo Welcome to this machine\" {public}"));
    has(&problem(&remote.url()), "RepositoryAnswer", "says \"Welcome to this machine\"", "check the address");
    remote.sshd.authorize(&format!("command=\"echo this key may not >&2; exit 1\" {public}"));
    has(&problem(&remote.url()), "RepositoryAnswer", "this key may not", "");
    let nobody = "ssh://git@127.0.0.1:1/a";
    has(&problem(nobody), "RepositoryUnreachable", "Connection refused", "");
    has(&problem("git@nowhere.invalid:a"), "RepositoryUnreachable", "Could not resolve hostname", "");
    let program =
        GitOptions { ssh: Some(remote.ssh()), ssh_program: "/nonexistent/ssh".into(), ..GitOptions::default() };
    let missing = remote.open_with(&remote.url(), program).fetch(None).unwrap_err();
    has(&missing.into(), "SshMissing", "/nonexistent/ssh", "openssh-client");
    remote.nothing_is_left();
}

/// A path is a path: what a shell would do with it is not done.
#[test]
fn nothing_of_an_address_is_executed() {
    let Some(remote) = Remote::new("ssh-quoted") else { return };
    let mark = remote.scratch.path("mark");
    let odd = remote.scratch.path(&format!("it's; touch {}; $(true) `true` !x", mark.file_name().unwrap().display()));
    fs::create_dir(&odd).unwrap();
    let bare = odd.join("a.git");
    remote.scratch.git(&["clone", "--quiet", "--bare", ".", &bare.display().to_string()]);
    let mirror = remote.open(&remote.sshd.url(&bare), remote.ssh());
    assert!(mirror.fetch(None).is_ok());
    assert!(!mark.exists());
}

/// Through another host, which is held to the same rules.
#[test]
fn through_a_jump_host() {
    let (Some(remote), Some(jump)) = (Remote::new("ssh-jump"), Sshd::start()) else { return };
    let known = remote.sshd.known_hosts();
    let own = fs::read_to_string(&known).unwrap();
    let both = format!("{own}{}", jump.known_line(&jump.path("host")));
    jump.authorize(&fs::read_to_string(remote.sshd.path("client.pub")).unwrap());
    let ssh = SshOptions { jump: Some(jump.place()), ..remote.ssh() };
    has(&remote.fails(ssh.clone()), "HostKeyUnknown", "127.0.0.1", "ssh-keyscan");
    fs::write(&known, &both).unwrap();
    assert!(remote.open(&remote.url(), ssh.clone()).fetch(None).is_ok());
    assert!(jump.log().contains("Accepted publickey"), "{}", jump.log());
    jump.authorize("");
    has(&remote.fails(ssh), "RepositoryUnauthorized", "Permission denied", "key");
    remote.nothing_is_left();
}

/// Hosts that say nothing are given up in time, at every stage, and no process stays.
#[test]
fn a_host_that_hangs_is_given_up() {
    let Some(remote) = Remote::new("ssh-hang") else { return };
    let jump = Sshd::start().expect("it was there a moment ago");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = format!("ssh://git@127.0.0.1:{}/a", silent.local_addr().unwrap().port());
    let both =
        format!("{}{}", fs::read_to_string(remote.sshd.known_hosts()).unwrap(), jump.known_line(&jump.path("host")));
    fs::write(remote.sshd.known_hosts(), both).unwrap();
    let public = fs::read_to_string(remote.sshd.path("client.pub")).unwrap();
    jump.authorize(&public);
    // What is asked for is not run: the conversation is open, and silent.
    remote.sshd.authorize(&format!("command=\"exec sleep 100\" {public}"));
    let jumped = SshOptions { jump: Some(jump.place()), ..remote.ssh() };
    let cases = [(nowhere, remote.ssh()), (remote.url(), remote.ssh()), (remote.url(), jumped)];
    for (url, ssh) in cases {
        let limits =
            GitOptions { ssh: Some(ssh.clone()), idle_timeout: Duration::from_secs(1), ..GitOptions::default() };
        let start = Instant::now();
        let late = remote.open_with(&url, limits).fetch(None).unwrap_err();
        assert!(matches!(late, GitError::TimedOut { .. }), "{late}");
        assert!(start.elapsed() < Duration::from_secs(40), "{:?}", start.elapsed());
        remote.nothing_is_left();
        let cancel = Arc::new(AtomicBool::new(false));
        let limits = GitOptions { ssh: Some(ssh), cancel: Arc::clone(&cancel), ..GitOptions::default() };
        let mirror = remote.open_with(&url, limits);
        let call = std::thread::spawn(move || mirror.ls_remote_head(None));
        eventually("ssh runs", || (!processes_with(&remote.cache().display().to_string()).is_empty()).then_some(()));
        cancel.store(true, Ordering::Relaxed);
        let cancelled = call.join().unwrap().unwrap_err();
        assert!(matches!(cancelled, GitError::Cancelled { .. }), "{cancelled}");
        remote.nothing_is_left();
    }
    // Also where nobody is left to give it up.
    let config = format!(
        "[[repository]]\nname = \"shop\"\nurl = \"{}\"\nssh = {{ key_file = \"{}\", known_hosts = \"{}\", jump = \"{}\" }}\n",
        remote.url(),
        remote.sshd.key().display(),
        remote.sshd.known_hosts().display(),
        jump.place(),
    );
    let file = remote.scratch.path("hang.toml");
    fs::write(&file, config).unwrap();
    let mut command = Command::new(DRIFTLESS);
    command.arg("render").arg("--config").arg(&file).env("DRIFTLESS_CACHE", remote.cache()).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let process = Process(spawn_bound_to_process(command).unwrap());
    let running = || processes_with(&remote.cache().join("git/ssh-").display().to_string()).len();
    eventually("both ssh run", || (running() >= 2).then_some(()));
    drop(process);
    eventually("none is left", || (running() == 0).then_some(()));
}
