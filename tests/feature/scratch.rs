//! A scratch repository, and the binary run on it.

use super::cluster::Cluster;
use crate::support::control_plane;
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

/// A repository whose apps belong into a namespace of their own.
pub struct Scratch {
    folder: TempDir,
    kubeconfig: PathBuf,
    /// The namespace of objects that name none.
    pub namespace: String,
}

/// How a command ended.
pub struct Ended {
    /// Exit code; -1 where it was killed.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Ended {
    pub fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// The JSON that was printed.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}\n{}\n{}", self.out, self.err))
    }

    /// Fails unless it ended like this.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// Fails unless a text was printed somewhere.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.out.contains(text) || self.err.contains(text), "{text:?} is not in\n{}\n{}", self.out, self.err);
        self
    }
}

impl Scratch {
    /// A repository for `cluster` with a namespace whose name begins with `name`.
    pub fn new(cluster: &Cluster, name: &str) -> Self {
        let namespace = cluster.namespace(name);
        let folder = tempfile::Builder::new().prefix(&format!("driftless-{name}-")).tempdir().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        let view = cluster.kubectl("config view --raw -o json");
        let mut config: Value = serde_json::from_str(&view).unwrap();
        config["contexts"][0]["context"]["namespace"] = namespace.clone().into();
        std::fs::write(&kubeconfig, config.to_string()).unwrap();
        Self { folder, kubeconfig, namespace }.initialised()
    }

    /// A repository for what needs no cluster, or the embedded one of each command's own (`--embedded`).
    pub fn alone(name: &str) -> Self {
        let folder = tempfile::Builder::new().prefix(&format!("driftless-{name}-")).tempdir().unwrap();
        let kubeconfig = folder.path().join("no-kubeconfig");
        Self { folder, kubeconfig, namespace: "default".to_owned() }.initialised()
    }

    fn initialised(self) -> Self {
        std::fs::create_dir(self.path()).unwrap();
        for line in ["init -q -b main", "config user.email test@example.org", "config user.name test"] {
            self.git(line);
        }
        self
    }

    /// The repository.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("repo")
    }

    /// Another kubeconfig, changed.
    pub fn kubeconfig_with(&self, name: &str, change: impl FnOnce(&mut Value)) -> String {
        let mut config: Value = serde_json::from_slice(&std::fs::read(&self.kubeconfig).unwrap()).unwrap();
        change(&mut config);
        let path = self.folder.path().join(name);
        std::fs::write(&path, config.to_string()).unwrap();
        path.display().to_string()
    }

    /// Runs git.
    pub fn git(&self, line: &str) -> String {
        let output = Command::new("git").args(line.split_whitespace()).current_dir(self.path()).output().unwrap();
        assert!(output.status.success(), "git {line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Writes a file.
    pub fn write(&self, file: &str, text: &str) -> &Self {
        let path = self.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    /// Removes a file or a directory.
    pub fn remove(&self, file: &str) -> &Self {
        let path = self.path().join(file);
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
        self
    }

    /// A ConfigMap in a file of its own.
    pub fn config_map(&self, file: &str, name: &str, value: &str) -> &Self {
        let yaml = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{v: \"{value}\"}}\n");
        self.write(file, &yaml)
    }

    /// A Deployment in a file of its own; `more` goes into its container.
    pub fn deployment(&self, file: &str, name: &str, image: &str, replicas: u32, more: &str) -> &Self {
        self.write(
            file,
            &format!(
                "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec:\n  replicas: {replicas}\n  selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}}}}}\n    spec: {{containers: [{{name: main, image: \"{image}\"{more}}}]}}\n"
            ),
        )
    }

    /// Commits everything.
    pub fn commit(&self, subject: &str) -> String {
        self.git("add -A");
        self.git(&format!("commit -q --allow-empty -m {}", subject.replace(' ', "-")));
        self.git("rev-parse HEAD")
    }

    /// The command `driftless LINE` on this repository and cluster.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_driftless"));
        command.args(line.split_whitespace()).current_dir(self.path());
        if !line.contains("--repo") && !self.path().join("driftless.toml").exists() {
            command.args(["--repo", "."]);
        }
        let needs_no_cluster = ["check", "render", "log"].iter().any(|name| line.starts_with(name));
        if !line.contains("--kubeconfig") && !needs_no_cluster && self.kubeconfig.exists() {
            command.arg("--kubeconfig").arg(&self.kubeconfig);
        }
        // The kubectl and helm of the control plane's folder, where there is one, come first.
        let tools = control_plane::kubectl().and_then(|kubectl| Some(kubectl.parent()?.to_owned()));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(tools.into_iter().chain(std::env::split_paths(&path))).unwrap();
        command
            .env("PATH", path)
            .env("DRIFTLESS_CACHE", self.folder.path().join("cache"))
            .env("NO_COLOR", "1")
            .env_remove("DRIFTLESS_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs `driftless LINE` on this repository and cluster.
    pub fn run(&self, line: &str) -> Ended {
        Ended::of(&self.command(line).output().unwrap())
    }

    /// Starts it and goes on.
    pub fn start(&self, line: &str) -> Child {
        self.command(line).spawn().unwrap()
    }

    /// Waits for what was started.
    pub fn ended(child: Child) -> Ended {
        Ended::of(&child.wait_with_output().unwrap())
    }

    /// Replaces text of a file that is there.
    #[track_caller]
    pub fn replace(&self, file: &str, from: &str, to: &str) -> &Self {
        let text = std::fs::read_to_string(self.path().join(file)).unwrap();
        assert!(text.contains(from), "{file} holds no {from:?}:\n{text}");
        self.write(file, &text.replace(from, to))
    }

    /// What was said of a revision, oldest first: notes with `context`, `state`, `description`.
    pub fn notes(&self, revision: &str) -> Vec<Value> {
        let args = ["notes", "--ref=driftless", "show", revision];
        let output = Command::new("git").args(args).current_dir(self.path()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// `state: description` of what was said of a revision in one context (`sync`, `health`, `drift`).
    pub fn said(&self, revision: &str, context: &str) -> Vec<String> {
        let context = format!("driftless/{context}");
        let of = self.notes(revision).into_iter().filter(|note| note["context"] == context.as_str());
        of.map(|note| {
            format!("{}: {}", note["state"].as_str().unwrap(), note["description"].as_str().unwrap_or_default())
        })
        .collect()
    }

    /// Their states alone.
    pub fn states_of(&self, revision: &str, context: &str) -> Vec<String> {
        let state = |said: String| said.split(':').next().unwrap_or_default().to_owned();
        self.said(revision, context).into_iter().map(state).collect()
    }

    /// States of `driftless/sync` on the newest commit, with their exit codes.
    pub fn states(&self) -> Vec<(String, Option<u64>)> {
        let log = self.run("log -n 1 -o json").exits(0).json();
        let notes = log["commits"][0]["statuses"].as_array().cloned().unwrap_or_default();
        let sync = notes.into_iter().filter(|note| note["context"] == "driftless/sync");
        sync.map(|note| (note["state"].as_str().unwrap().to_owned(), note["exit"].as_u64())).collect()
    }
}
