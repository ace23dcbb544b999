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
        // The host answers "try again later" as long as it looks whether the branch merges.
        let (path, how) = (format!("{}/merge", self.pull_path(pull)), json!({"Do": how}));
        let mut refused = String::new();
        let merged = (0..200).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            self.host.try_ask("POST", &path, Some(&how)).map_err(|why| refused = why).is_ok()
        });
        assert!(merged, "#{pull} is not merged: {refused}");
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

impl Hosted {
    /// A daemon that has synced ConfigMaps of these names in the app `motd`.
    fn running(&self, cluster: &Cluster, names: &[&str]) -> Daemon {
        let daemon = self.start(cluster);
        self.add(names);
        let first = self.scratch.push("more");
        self.synced(&daemon, &first);
        daemon
    }

    fn synced(&self, daemon: &Daemon, commit: &str) {
        daemon.eventually("it is synced", || (self.said(commit).0 == "success").then_some(()));
    }

    /// Opens a pull request that removes these, and waits for its plan; its number, with `main` checked out again.
    fn planned(&self, daemon: &Daemon, branch: &str, names: &[&str]) -> (u64, String) {
        self.scratch.git(&["checkout", "-q", "-b", branch]);
        self.remove(names);
        let head = self.push_branch(branch, branch);
        let pull = self.open(branch);
        daemon.eventually("its plan", || (self.states(&head, "plan").last()? == "success").then_some(()));
        self.scratch.git(&["checkout", "-q", "main"]);
        (pull, head)
    }

    /// Removes these by a push past any pull request, which is held; the commit and why.
    fn pushed_past(&self, daemon: &Daemon, cluster: &Cluster, names: &[&str]) -> (String, String) {
        self.remove(names);
        let commit = self.scratch.push("past any pull request");
        daemon.eventually("it is held", || (self.said(&commit).0 == "failure").then_some(()));
        let status = self.status(daemon, cluster, "motd");
        assert_eq!(status["sync"], "Held", "{status:#}");
        assert!(names.iter().all(|name| self.is_there(cluster, name)), "nothing of it is carried out");
        (commit, status["message"].as_str().unwrap_or_default().to_owned())
    }

    fn pull_path(&self, pull: u64) -> String {
        format!("/repos/{OWNER}/{}/pulls/{pull}", self.name)
    }
}

/// A squash leaves nothing but content, a merge nothing but history: either way the reviewed deletion is carried out, also
/// by a daemon that was killed in between, and nothing besides it is.
#[test]
fn what_is_deleted_was_in_the_plan() {
    let Some(hosted) = Hosted::with("review", "require_plan = true\nprune_limit = \"100%\"") else { return };
    let cluster = Cluster::embedded();
    let daemon = hosted.running(&cluster, &["a", "b", "c", "d"]);
    assert!(hosted.is_there(&cluster, "a"), "what only creates needs no plan");

    // Planned, forgotten by the process, squashed.
    let (pull, head) = hosted.planned(&daemon, "one", &["a"]);
    daemon.kill();
    let squashed = hosted.merge(pull, "squash");
    assert!(!hosted.scratch.git(&["log", "--format=%H"]).contains(&head));
    let daemon = hosted.start(&cluster);
    hosted.synced(&daemon, &squashed);
    assert!(!hosted.is_there(&cluster, "a"));

    // Planned; then the base deletes something besides, which nobody sees before the merge.
    let (pull, _) = hosted.planned(&daemon, "two", &["b"]);
    daemon.kill();
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
        why.contains(&format!("`driftless approve motd`: unlike in the reviewed plan of #{pull}"))
            && why.contains("held since "),
        "{why}"
    );
    // What somebody has to know first: a host may cut the rest.
    let first = format!("motd: held: ConfigMap {namespace}/c would be deleted; waits for `driftless approve motd`: ");
    assert!(words.starts_with(&first), "{words}");
    assert!(!why.contains(&format!("{namespace}/b")) && why.contains("driftless approve motd"), "{why}");
    assert!(hosted.is_there(&cluster, "b") && hosted.is_there(&cluster, "c"), "nothing of it is carried out");
    let (code, text) = hosted.command(&daemon, &cluster, &["approve", "motd"]);
    assert!(code == Some(0) && text.contains("1 deletion is approved"), "{code:?} {text}");
    hosted.synced(&daemon, &merged);
    assert!(!hosted.is_there(&cluster, "b") && !hosted.is_there(&cluster, "c"));

    // Pushed past any pull request.
    let (pushed, why) = hosted.pushed_past(&daemon, &cluster, &["d"]);
    assert!(
        why.contains(&format!("ConfigMap {namespace}/d would be deleted")) && why.ends_with("without a reviewed plan"),
        "{why}"
    );

    // Brought back, and deleted again past the merge that had it: that plan is used up.
    hosted.add(&["a"]);
    hosted.scratch.git(&["add", "-A"]);
    let (code, text) = hosted.command(&daemon, &cluster, &["approve", "motd", "--revision", &pushed]);
    assert!(code == Some(0), "{text}");
    hosted.synced(&daemon, &pushed);
    let back = hosted.scratch.push("a is back");
    hosted.synced(&daemon, &back);
    let (_, why) = hosted.pushed_past(&daemon, &cluster, &["a"]);
    assert!(why.contains("which is not new here"), "{why}");
}

/// What an open pull request showed is no word of anybody who may merge: its content is held until it is merged, and then
/// goes by itself. `resume` is no such word either, nothing recommends it, and no plan recommends a sync.
#[test]
fn an_open_pull_request_allows_nothing() {
    let Some(hosted) = Hosted::with("open", "require_plan = true\nprune_limit = \"100%\"") else { return };
    let cluster = Cluster::embedded();
    hosted.host.ask(
        "PATCH",
        &format!("/repos/{OWNER}/{}", hosted.name),
        Some(&json!({"has_pull_requests": true, "allow_manual_merge": true})),
    );
    let daemon = hosted.running(&cluster, &["a"]);
    let (pull, _) = hosted.planned(&daemon, "one", &["a"]);
    let (pushed, why) = hosted.pushed_past(&daemon, &cluster, &["a"]);
    assert!(why.contains(&format!("pull request #{pull} has this plan but is not merged")), "{why}");

    let command = |args: &[&str]| hosted.command(&daemon, &cluster, args);
    let (code, text) = command(&["resume", "motd"]);
    assert!(
        code == Some(4) && text.contains("stays held") && text.contains("driftless approve motd"),
        "{code:?} {text}"
    );
    assert_eq!(hosted.status(&daemon, &cluster, "motd")["sync"], "Held", "nothing was lifted");
    for args in [&["sync", "motd"][..], &["status"], &["plan", "motd"]] {
        let (_, text) = command(args);
        assert!(text.contains("driftless approve motd") && !text.contains("driftless resume"), "{args:?}: {text}");
        assert!(!text.contains("Run `driftless sync`"), "{args:?}: {text}");
    }
    let (_, text) = command(&["plan", "motd", "-o", "json"]);
    let plan: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    let hold = &plan["apps"][0]["hold"];
    assert!(hold["held"] == true && hold["command"] == "driftless approve motd", "{hold:#}");
    assert_eq!(hold["unreviewed"][0]["name"], "a", "{hold:#}");
    let (_, text) = command(&["plan", "motd", "-o", "markdown"]);
    assert!(text.contains("is not merged"), "{text}");
    assert!(hosted.is_there(&cluster, "a"));

    // No push comes with it: the host's word alone.
    let merge = json!({"Do": "manually-merged", "MergeCommitID": pushed});
    hosted.host.ask("POST", &format!("{}/merge", hosted.pull_path(pull)), Some(&merge));
    hosted.synced(&daemon, &pushed);
    assert!(!hosted.is_there(&cluster, "a"));
    assert_eq!(hosted.status(&daemon, &cluster, "motd")["sync"], "Synced");
}

/// A pull request that was closed allows nothing. An approval is for what a person looked at: it names each object, and is
/// refused where something else was pushed meanwhile.
#[test]
fn a_closed_pull_request_allows_nothing() {
    let Some(hosted) = Hosted::with("closed", "require_plan = true\nprune_limit = \"100%\"") else { return };
    let cluster = Cluster::embedded();
    let daemon = hosted.running(&cluster, &["a", "b"]);
    let (pull, _) = hosted.planned(&daemon, "one", &["a"]);
    hosted.host.ask("PATCH", &hosted.pull_path(pull), Some(&json!({"state": "closed"})));
    let (looked_at, why) = hosted.pushed_past(&daemon, &cluster, &["a"]);
    assert!(why.contains(&format!("pull request #{pull} has this plan but was closed without a merge")), "{why}");

    let (pushed, _) = hosted.pushed_past(&daemon, &cluster, &["b"]);
    let command = |args: &[&str]| hosted.command(&daemon, &cluster, args);
    let (code, text) = command(&["approve", "motd", "--revision", &looked_at]);
    assert!(code == Some(1) && text.contains("nothing is approved") && text.contains(&pushed[..7]), "{code:?} {text}");
    assert!(hosted.is_there(&cluster, "a") && hosted.is_there(&cluster, "b"));
    let (code, text) = command(&["approve", "motd", "--revision", &pushed, "-o", "json"]);
    let said: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    let names: Vec<&str> =
        said["approved"].as_array().into_iter().flatten().filter_map(|one| one["object"]["name"].as_str()).collect();
    assert!(code == Some(0) && names == ["a", "b"] && said["revision"] == pushed.as_str(), "{said:#}");
    hosted.synced(&daemon, &pushed);
    assert!(!hosted.is_there(&cluster, "a") && !hosted.is_there(&cluster, "b"));
}

/// A squash onto a base that moved has neither the content nor the commit that was planned: the host names its commit.
#[test]
fn a_squash_onto_a_moved_base_brings_what_was_reviewed() {
    let Some(hosted) = Hosted::with("squash", "require_plan = true\nprune_limit = \"100%\"") else { return };
    let cluster = Cluster::embedded();
    let daemon = hosted.running(&cluster, &["a"]);
    let (pull, head) = hosted.planned(&daemon, "one", &["a"]);
    // Nobody plans it on the new base.
    daemon.kill();
    hosted.add(&["b"]);
    hosted.scratch.push("the base moves");
    let squashed = hosted.merge(pull, "squash");
    assert!(!hosted.scratch.git(&["log", "--format=%H"]).contains(&head));
    let daemon = hosted.start(&cluster);
    hosted.synced(&daemon, &squashed);
    assert!(!hosted.is_there(&cluster, "a") && hosted.is_there(&cluster, "b"));
}

/// A host that does not say whether it was merged keeps it held, and is named; once it answers, nobody has to do anything.
#[test]
fn a_host_that_does_not_answer_keeps_it_held() {
    let Some(hosted) = Hosted::with("silent", "require_plan = true\nprune_limit = \"100%\"") else { return };
    let cluster = Cluster::embedded();
    hosted.report_with(hosted.host.token());
    let daemon = hosted.running(&cluster, &["a"]);
    let (pull, _) = hosted.planned(&daemon, "one", &["a"]);
    std::fs::write(hosted.scratch.path("own-token"), "wrong").unwrap();
    let merged = hosted.merge(pull, "squash");
    let status = daemon.eventually("it is held", || {
        Some(hosted.status(&daemon, &cluster, "motd")).filter(|status| status["sync"] == "Held")
    });
    let why = status["message"].as_str().unwrap_or_default();
    assert!(why.contains("whether it is merged cannot be asked") && why.contains("401"), "{why}");
    assert!(hosted.is_there(&cluster, "a"));
    std::fs::write(hosted.scratch.path("own-token"), hosted.host.token()).unwrap();
    hosted.synced(&daemon, &merged);
    assert!(!hosted.is_there(&cluster, "a"));
}

/// Approved while no daemon runs: the next one carries it out, and the commit's status says so in the end.
#[test]
fn an_approval_waits_for_the_daemon() {
    let Some(hosted) = Hosted::with("down", "require_plan = true\nprune_limit = \"100%\"") else { return };
    let cluster = Cluster::embedded();
    let mut daemon = hosted.running(&cluster, &["a"]);
    let (pushed, _) = hosted.pushed_past(&daemon, &cluster, &["a"]);
    assert_eq!(hosted.states(&pushed, "sync"), ["pending", "failure"]);
    daemon.stop_dead();
    let (code, text) = hosted.command(&daemon, &cluster, &["approve", "motd"]);
    let (list, end) = text.split_once("1 deletion is approved").unwrap_or_else(|| panic!("{code:?} {text}"));
    assert!(list.contains(&format!("delete   ConfigMap {}/a", hosted.scratch.namespace)), "listed before: {text}");
    assert!(code == Some(0) && end.contains(&pushed[..7]), "{code:?} {text}");
    let daemon = hosted.start(&cluster);
    daemon.eventually("the status follows", || {
        (hosted.states(&pushed, "sync") == ["pending", "failure", "pending", "success"]).then_some(())
    });
    assert!(!hosted.is_there(&cluster, "a"));
}
