//! `require_plan`: what a merge takes away is what its plan showed, or it is held.

use super::gitea::Hosted;
use crate::support::daemon::{Cluster, Daemon};
use crate::support::gitea::OWNER;
use serde_json::{Value, json};

impl Hosted {
    /// Puts ConfigMaps of these names into the app `motd`.
    fn add(&self, names: &[&str]) {
        for name in names {
            let text = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n");
            self.scratch.write(&format!("motd/{name}.yaml"), &text);
        }
    }

    fn remove(&self, names: &[&str]) {
        for name in names {
            self.scratch.git(&["rm", "-q", &format!("motd/{name}.yaml")]);
        }
    }

    /// Merges a pull request on the host; the branch's new head.
    fn merge(&self, pull: u64, how: &str) -> String {
        let path = format!("/repos/{OWNER}/{}/pulls/{pull}", self.name);
        // The host answers "try again later" as long as it looks whether the branch merges.
        let ready = (0..200).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            self.host.ask("GET", &path, None)["mergeable"] == true
        });
        assert!(ready, "#{pull} does not become mergeable");
        self.host.ask("POST", &format!("{path}/merge"), Some(&json!({"Do": how})));
        self.scratch.git(&["checkout", "-q", "main"]);
        self.scratch.git(&["pull", "-q", "origin", "main"]);
        self.head()
    }

    /// The last thing that the host says of a commit's sync: state and words.
    fn said(&self, commit: &str) -> (String, String) {
        let path = format!("/repos/{OWNER}/{}/commits/{commit}/statuses?limit=50", self.name);
        let context = format!("{}/sync", self.scratch.instance);
        let all = self.host.ask("GET", &path, None);
        let ours = all.as_array().into_iter().flatten().filter(|status| status["context"] == context.as_str());
        let last = ours.max_by_key(|status| status["id"].as_u64()).cloned().unwrap_or_default();
        let text = |key: &str| last[key].as_str().unwrap_or_default().to_owned();
        (text("status"), text("description"))
    }

    fn is_there(&self, cluster: &Cluster, name: &str) -> bool {
        cluster.config_map(&self.scratch.namespace, name).is_some()
    }

    fn command(&self, daemon: &Daemon, cluster: &Cluster, args: &[&str]) -> (Option<i32>, String) {
        let file = self.scratch.path("daemon.toml").display().to_string();
        let output = daemon.beside(cluster, &[args, &["--config", &file]].concat());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    }

    fn status(&self, daemon: &Daemon, cluster: &Cluster, app: &str) -> Value {
        let (_, text) = self.command(daemon, cluster, &["status", "-o", "json"]);
        let report: Value = serde_json::from_str(text.lines().next().unwrap_or_default())
            .or_else(|_| serde_json::from_str(&text))
            .unwrap_or_default();
        report["apps"].as_array().into_iter().flatten().find(|found| found["name"] == app).cloned().unwrap_or_default()
    }
}

/// A squash leaves nothing but content, a merge nothing but history: either way the reviewed deletion is carried out, also
/// by a daemon that was killed in between, and nothing besides it is.
#[test]
fn what_is_deleted_was_in_the_plan() {
    let Some(hosted) = Hosted::with("review", "require_plan = true\nprune_limit = \"100%\"") else { return };
    let cluster = Cluster::embedded();
    let daemon = hosted.start(&cluster);
    hosted.add(&["a", "b", "c", "d"]);
    let first = hosted.scratch.push("four more");
    let synced = |daemon: &Daemon, commit: &str| {
        daemon.eventually("it is synced", || (hosted.said(commit).0 == "success").then_some(()));
    };
    synced(&daemon, &first);
    assert!(hosted.is_there(&cluster, "a"), "what only creates needs no plan");

    // Planned, forgotten by the process, squashed.
    hosted.scratch.git(&["checkout", "-q", "-b", "one"]);
    hosted.remove(&["a"]);
    let head = hosted.push_branch("one", "without a");
    let pull = hosted.open("one");
    let planned = |daemon: &Daemon, head: &str| {
        daemon.eventually("its plan", || (hosted.states(head, "plan").last()? == "success").then_some(()));
    };
    planned(&daemon, &head);
    daemon.kill();
    let squashed = hosted.merge(pull, "squash");
    assert!(!hosted.scratch.git(&["log", "--format=%H"]).contains(&head));
    let daemon = hosted.start(&cluster);
    synced(&daemon, &squashed);
    assert!(!hosted.is_there(&cluster, "a"));

    // Planned; then the base deletes something besides, which nobody sees before the merge.
    hosted.scratch.git(&["checkout", "-q", "-b", "two"]);
    hosted.remove(&["b"]);
    let head = hosted.push_branch("two", "without b");
    let pull = hosted.open("two");
    planned(&daemon, &head);
    daemon.kill();
    hosted.scratch.git(&["checkout", "-q", "main"]);
    hosted.remove(&["c"]);
    hosted.scratch.push("without c");
    let merged = hosted.merge(pull, "merge");
    let daemon = hosted.start(&cluster);
    let (state, words) = daemon
        .eventually("it ends", || Some(hosted.said(&merged)).filter(|said| said.0 != "pending" && !said.0.is_empty()));
    let namespace = &hosted.scratch.namespace;
    assert!(state == "failure" && words.contains("held"), "{state}: {words}");
    let status = hosted.status(&daemon, &cluster, "motd");
    assert_eq!(status["sync"], "Held", "{status:#}");
    let why = status["message"].as_str().unwrap_or_default();
    assert!(
        why.contains(&format!("unlike in the reviewed plan of #{pull} ConfigMap {namespace}/c would be deleted")),
        "{why}"
    );
    // Not cut off, however short the host wants it.
    assert!(words.contains("driftless approve motd"), "{words}");
    assert!(!why.contains(&format!("{namespace}/b")) && why.contains("driftless approve motd"), "{why}");
    assert!(hosted.is_there(&cluster, "b") && hosted.is_there(&cluster, "c"), "nothing of it is carried out");
    let (code, text) = hosted.command(&daemon, &cluster, &["approve", "motd"]);
    assert!(code == Some(0) && text.contains("1 deletion is approved"), "{code:?} {text}");
    synced(&daemon, &merged);
    assert!(!hosted.is_there(&cluster, "b") && !hosted.is_there(&cluster, "c"));

    // Pushed past any pull request: held, and `resume` is a word as well.
    hosted.remove(&["d"]);
    let pushed = hosted.scratch.push("without d");
    daemon.eventually("it is held", || (hosted.said(&pushed).0 == "failure").then_some(()));
    let status = hosted.status(&daemon, &cluster, "motd");
    let why = status["message"].as_str().unwrap_or_default();
    assert!(why.contains(&format!("without a reviewed plan ConfigMap {namespace}/d would be deleted")), "{why}");
    assert!(hosted.is_there(&cluster, "d"));
    let (code, text) = hosted.command(&daemon, &cluster, &["resume", "motd"]);
    assert!(code == Some(0), "{text}");
    synced(&daemon, &pushed);
    assert!(!hosted.is_there(&cluster, "d"));
}
