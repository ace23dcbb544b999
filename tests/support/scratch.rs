//! A repository to throw away: a bare one that a daemon follows, and a clone from which a test pushes with `git` itself.
//!
//! In: the quickstart of `examples/`. Out: commits, and the statuses that each one got. Names of namespace and instance
//! are unique, so that tests share a cluster.

#![allow(dead_code, reason = "a fixture offers more than the tests of any one day use")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tempfile::TempDir;

/// A bare repository with a working copy.
pub struct Scratch {
    directory: TempDir,
    /// Namespace of the apps.
    pub namespace: String,
    /// Name of the instance, and so the prefix of its statuses.
    pub instance: String,
}

impl Scratch {
    /// The quickstart, pushed to `main` with `driftless.toml` as [`Scratch::settings`] writes it.
    pub fn quickstart(name: &str, defaults: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let unique = format!("{name}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = tempfile::Builder::new().prefix("driftless-scratch-").tempdir().expect("a temporary directory");
        let scratch = Self { directory, namespace: unique.clone(), instance: unique };
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/quickstart"), &scratch.work());
        git(scratch.directory.path(), &["init", "--quiet", "--bare", "-b", "main", "repo.git"]);
        scratch.git(&["init", "--quiet", "-b", "main"]);
        scratch.git(&["remote", "add", "origin", &scratch.bare().display().to_string()]);
        scratch.settings(defaults);
        scratch.push("the shop");
        scratch
    }

    /// The bare repository.
    pub fn bare(&self) -> PathBuf {
        self.directory.path().join("repo.git")
    }

    /// A file beside the repositories.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn work(&self) -> PathBuf {
        self.directory.path().join("work")
    }

    /// Writes `driftless.toml` with these lines in `[defaults]`.
    pub fn settings(&self, defaults: &str) {
        self.write("driftless.toml", &self.settings_text(defaults));
    }

    /// What [`Scratch::settings`] writes.
    pub fn settings_text(&self, defaults: &str) -> String {
        let Self { instance, namespace, .. } = self;
        format!(
            "[defaults]\nnamespace = \"{namespace}\"\ncreate_namespace = true\n{defaults}\n\n\
             [instance]\nname = \"{instance}\"\nnamespace = \"{instance}-system\"\n"
        )
    }

    /// Writes a file of the working copy.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.work().join(path);
        fs::create_dir_all(path.parent().expect("it is below the working copy")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    /// Replaces text that is there.
    ///
    /// # Panics
    /// When it is not.
    pub fn replace(&self, path: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.work().join(path)).expect("a file");
        assert!(text.contains(from), "{path} holds no {from:?}:\n{text}");
        self.write(path, &text.replace(from, to));
    }

    /// Removes a directory or a file of the working copy.
    pub fn remove(&self, path: &str) {
        let path = self.work().join(path);
        let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        removed.expect("it is there");
    }

    /// Commits everything; the new commit.
    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// Commits everything and pushes; the new commit.
    pub fn push(&self, message: &str) -> String {
        let commit = self.commit(message);
        self.git(&["push", "--quiet", "origin", "HEAD:main"]);
        commit
    }

    /// Runs `git` in the working copy.
    ///
    /// # Panics
    /// When it fails.
    pub fn git(&self, args: &[&str]) -> String {
        git(&self.work(), args)
    }

    /// What was said of a commit, oldest first, as `(context without the instance, state, description)`.
    pub fn said(&self, commit: &str) -> Vec<(String, String, String)> {
        let output = run_git(&self.bare(), &["notes", "--ref=driftless", "show", commit]);
        let text = String::from_utf8_lossy(&output.stdout);
        let prefix = format!("{}/", self.instance);
        let field = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
        text.lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .map(|line| {
                let context = field(&line, "context");
                let kind = context.strip_prefix(&prefix).unwrap_or(&context).to_owned();
                (kind, field(&line, "state"), field(&line, "description"))
            })
            .collect()
    }

    /// The states of one context of a commit, oldest first.
    pub fn states(&self, commit: &str, kind: &str) -> Vec<String> {
        self.said(commit).into_iter().filter(|said| said.0 == kind).map(|said| said.1).collect()
    }

    /// The final state of the sync of a commit with its description, once there is one.
    pub fn ended(&self, commit: &str) -> Option<(String, String)> {
        let last = self.said(commit).into_iter().rfind(|said| said.0 == "sync")?;
        (last.1 != "pending").then_some((last.1, last.2))
    }

    /// Everything that was said of a context of a commit, as text.
    pub fn words(&self, commit: &str, kind: &str) -> Vec<String> {
        self.said(commit)
            .into_iter()
            .filter(|said| said.0 == kind)
            .map(|said| format!("{}: {}", said.1, said.2))
            .collect()
    }
}

fn git(directory: &Path, args: &[&str]) -> String {
    let output = run_git(directory, args);
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn run_git(directory: &Path, args: &[&str]) -> Output {
    let mut command = Command::new("git");
    command.current_dir(directory).args(args).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "Test").env(format!("GIT_{who}_EMAIL"), "test@example.com");
    }
    command.output().expect("git runs")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a file");
        }
    }
}
