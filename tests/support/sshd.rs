//! A real `sshd` for tests: a process of the test's own on a port of its own, with its own host key and one accepted key.
//!
//! In: OpenSSH's server, in `PATH` or where Debian has it. Out: addresses below which this machine's repositories are.
//! Without it tests are skipped and say so.

#![allow(dead_code, reason = "a fixture offers more than the tests of any one day use")]

use super::control_plane::spawn_bound_to_process;
use super::daemon::{Process, eventually};
use super::gitea::free_port;
use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A running `sshd`.
pub struct Sshd {
    directory: TempDir,
    port: u16,
    user: String,
    _process: Process,
}

/// Where OpenSSH's server is: it wants to be called by an absolute path.
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    dirs.filter(|dir| dir.is_absolute()).map(|dir| dir.join("sshd")).find(|file| file.is_file())
}

impl Sshd {
    /// One of the test's own; `None`, and said, where OpenSSH's server is not installed.
    pub fn start() -> Option<Self> {
        let Some(program) = program() else {
            let _ = writeln!(std::io::stderr(), "skipped: no sshd (install OpenSSH's server)");
            return None;
        };
        let directory = tempfile::Builder::new().prefix("driftless-sshd-").tempdir().expect("a directory");
        let (dir, port) = (directory.path(), free_port());
        for name in ["host", "client"] {
            keygen(&dir.join(name), "");
        }
        fs::copy(dir.join("client.pub"), dir.join("authorized")).expect("a file");
        let text = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {dir}/host\nAuthorizedKeysFile {dir}/authorized\n\
             StrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nLogLevel VERBOSE\nSetEnv GIT_CONFIG_GLOBAL=/dev/null\nMaxStartups 100\n",
            dir = dir.display()
        );
        fs::write(dir.join("sshd_config"), text).expect("a file");
        // As root it wants this directory; where it may not be made, it is not needed.
        let _ = fs::create_dir_all("/run/sshd");
        let mut command = Command::new(program);
        command.args(["-D", "-f"]).arg(dir.join("sshd_config")).arg("-E").arg(dir.join("log")).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let process = Process(spawn_bound_to_process(command).expect("sshd runs"));
        let user = Command::new("id").arg("-un").output().expect("id runs");
        let user = String::from_utf8_lossy(&user.stdout).trim().to_owned();
        eventually("sshd listens", || TcpStream::connect(("127.0.0.1", port)).ok().map(drop));
        let sshd = Self { directory, port, user, _process: process };
        fs::write(sshd.known_hosts(), sshd.known_line(&sshd.path("host"))).expect("a file");
        Some(sshd)
    }

    /// A file of its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The accepted private key.
    pub fn key(&self) -> PathBuf {
        self.path("client")
    }

    /// The file in which its host key is pinned.
    pub fn known_hosts(&self) -> PathBuf {
        self.path("known_hosts")
    }

    /// A line of such a file with this private key's public half, for this server.
    pub fn known_line(&self, key: &Path) -> String {
        let public = fs::read_to_string(key.with_extension("pub")).expect("a public key");
        format!("[127.0.0.1]:{} {public}", self.port)
    }

    /// `user@host:port`, as a jump host is named.
    pub fn place(&self) -> String {
        format!("{}@127.0.0.1:{}", self.user, self.port)
    }

    /// The address of a repository of this machine.
    pub fn url(&self, repository: &Path) -> String {
        format!("ssh://{}{}", self.place(), repository.display())
    }

    /// The accepted keys, as `authorized_keys` has them.
    pub fn authorize(&self, lines: &str) {
        fs::write(self.path("authorized"), lines).expect("a file");
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

/// Makes a key pair.
pub fn keygen(file: &Path, passphrase: &str) {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", "ed25519", "-N", passphrase, "-f"]).arg(file).stdin(Stdio::null());
    assert!(command.status().expect("ssh-keygen runs").success(), "ssh-keygen");
}

/// The processes whose command line holds this text.
pub fn processes_with(text: &str) -> Vec<String> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(text))
        .collect()
}
