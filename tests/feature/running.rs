//! `driftless run` on a scratch repository, for tests that share a cluster.

use super::scratch::Scratch;
use crate::support::control_plane::spawn_bound_to_process;
use crate::support::daemon::{Process, eventually_or};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A daemon. It is killed when it goes out of scope.
pub struct Running {
    process: Process,
    log: PathBuf,
}

impl Running {
    /// Starts one with further flags, and waits until it serves.
    pub fn start(app: &Scratch, flags: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let log = app.path().with_extension(format!("{}.log", NEXT.fetch_add(1, Ordering::Relaxed)));
        let mut command = app.command(&format!("run --listen 127.0.0.1:0 {flags}"));
        command.stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        let mut process = Process(spawn_bound_to_process(command).unwrap());
        let mut serves = || {
            let text = fs::read_to_string(&log).unwrap_or_default();
            assert!(matches!(process.0.try_wait(), Ok(None)), "the daemon ended:\n{text}");
            text.contains("serving /healthz").then_some(())
        };
        eventually_or("the daemon serves", &mut serves, String::new);
        Self { process, log }
    }

    /// One that has brought the newest commit about.
    pub fn settled(app: &Scratch, flags: &str) -> Self {
        let daemon = Self::start(app, flags);
        daemon.succeeds(app, "HEAD");
        daemon
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The body of `GET path` from it.
    pub fn get(&self, path: &str) -> Option<String> {
        let log = self.log();
        let line = log.lines().find(|line| line.contains("serving /healthz"))?;
        let line: Value = serde_json::from_str(line).ok()?;
        let address = line["fields"]["address"].as_str()?.to_owned();
        let mut stream = TcpStream::connect(&address).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text.split_once("\r\n\r\n")?.1.to_owned())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: libc::c_int) {
        self.process.signal(signal);
    }

    /// Waits for what `look` finds; a failure shows the log.
    pub fn eventually<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        eventually_or(what, look, || {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            lines[lines.len().saturating_sub(60)..].join("\n")
        })
    }

    /// Waits until something is so.
    pub fn until(&self, what: &str, mut so: impl FnMut() -> bool) {
        self.eventually(what, || so().then_some(()));
    }

    /// Waits for the final state of a revision's sync: `state: description`.
    pub fn ended(&self, app: &Scratch, revision: &str) -> String {
        self.eventually(&format!("a final state of {revision}"), || {
            app.said(revision, "sync").pop().filter(|said| !said.starts_with("pending"))
        })
    }

    /// Waits until a revision's sync is a success.
    pub fn succeeds(&self, app: &Scratch, revision: &str) {
        self.eventually(&format!("success of {revision}"), || {
            app.said(revision, "sync").pop().filter(|said| said.starts_with("success"))
        });
    }

    /// An app as `driftless status` shows it.
    pub fn status(&self, app: &Scratch, name: &str) -> Value {
        let report = app.run("status -o json").exits(0).json();
        let apps = report["apps"].as_array().cloned().unwrap_or_default();
        apps.into_iter().find(|found| found["name"] == name).unwrap_or_else(|| panic!("no {name} in {report}"))
    }
}
