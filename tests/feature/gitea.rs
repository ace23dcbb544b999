//! The daemon beside a real Git host: notified of a push, it says on the host how that went.

use crate::support::daemon::{Cluster, Daemon};
use crate::support::gitea::{Gitea, OWNER, free_port};
use crate::support::scratch::Scratch;
use serde_json::json;
use std::time::Duration;

/// A repository on the host with the quickstart, and a daemon that hears of it by webhook alone.
pub struct Hosted {
    pub host: &'static Gitea,
    pub name: String,
    pub scratch: Scratch,
    hook: String,
}

impl Hosted {
    pub fn new(name: &str) -> Option<Self> {
        Self::with(name, "")
    }

    /// With these lines in `[defaults]`.
    pub fn with(name: &str, defaults: &str) -> Option<Self> {
        let host = Gitea::shared()?;
        let scratch = Scratch::quickstart(name, "");
        let name = scratch.instance.clone();
        host.create(&name);
        scratch.git(&["remote", "set-url", "origin", &host.push_url(&name)]);
        let port = free_port();
        let hook = format!("http://127.0.0.1:{port}/webhook");
        host.hook(&name, &hook, "hook-secret");
        std::fs::write(scratch.path("token"), host.token()).ok()?;
        std::fs::write(scratch.path("secret"), "hook-secret\n").ok()?;
        let (token, secret) = (scratch.path("token"), scratch.path("secret"));
        let settings = scratch.settings_text(defaults);
        let (url, token, secret) = (host.url(&name), token.display(), secret.display());
        let config = format!(
            "{settings}\n[[repository]]\nname = \"shop\"\nurl = \"{url}\"\ninterval = \"1h\"\nauth = {{ token_file = \"{token}\" }}\n\
             [[report]]\nkind = \"gitea\"\ntoken_file = \"{token}\"\n[webhook]\nlisten = \"127.0.0.1:{port}\"\nsecret_file = \"{secret}\"\n"
        );
        std::fs::write(scratch.path("daemon.toml"), config).ok()?;
        let hosted = Self { host, name, scratch, hook };
        hosted.scratch.git(&["push", "--quiet", "origin", "HEAD:main"]);
        Some(hosted)
    }

    /// Has the daemon report with a token of its own, in the file `own-token`.
    pub fn report_with(&self, token: &str) {
        let (file, own) = (self.scratch.path("daemon.toml"), self.scratch.path("own-token"));
        std::fs::write(&own, token).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let report = format!("kind = \"gitea\"\ntoken_file = \"{}\"", self.scratch.path("token").display());
        let other = format!("kind = \"gitea\"\ntoken_file = \"{}\"", own.display());
        std::fs::write(&file, text.replace(&report, &other)).unwrap();
    }

    pub fn start(&self, cluster: &Cluster) -> Daemon {
        self.start_with(cluster, &[])
    }

    /// With more flags.
    pub fn start_with(&self, cluster: &Cluster, flags: &[&str]) -> Daemon {
        let file = self.scratch.path("daemon.toml").display().to_string();
        Daemon::start_with(&self.scratch, cluster, &[flags, &["--config", &file]].concat(), "cache")
    }

    pub fn states(&self, commit: &str, kind: &str) -> Vec<String> {
        self.host.states(&self.name, commit, &format!("{}/{kind}", self.scratch.instance))
    }

    pub fn head(&self) -> String {
        self.scratch.git(&["rev-parse", "HEAD"]).trim().to_owned()
    }
}

/// Push, notification, sync, and the status read back from the host; a superseded commit is `skipped`; a daemon that was
/// killed closes what it left open, and says nothing twice.
#[test]
fn a_push_gets_its_status() {
    let Some(hosted) = Hosted::new("gitea") else { return };
    let cluster = Cluster::embedded();
    let daemon = hosted.start(&cluster);
    let first = hosted.head();
    daemon.eventually("the first status", || (hosted.states(&first, "sync") == ["pending", "success"]).then_some(()));
    hosted.scratch.replace("web/app.yaml", "web:1.0", "web:1.1");
    let second = hosted.scratch.push("next");
    daemon.eventually("the second status", || (hosted.states(&second, "sync") == ["pending", "success"]).then_some(()));
    daemon.eventually("its health", || hosted.states(&second, "health").contains(&"success".to_owned()).then_some(()));

    hosted.scratch.replace("web/app.yaml", "web:1.1", "web:bad");
    let bad = hosted.scratch.push("bad");
    daemon.eventually("it is begun", || (!hosted.states(&bad, "sync").is_empty()).then_some(()));
    hosted.scratch.replace("web/app.yaml", "web:bad", "web:1.2");
    let good = hosted.scratch.push("good");
    daemon.eventually("the good one", || (hosted.states(&good, "sync") == ["pending", "success"]).then_some(()));
    daemon
        .eventually("the bad one is closed", || (hosted.states(&bad, "sync") == ["pending", "skipped"]).then_some(()));
    daemon.kill();
    let daemon = hosted.start(&cluster);
    hosted.scratch.replace("web/app.yaml", "web:1.2", "web:1.3");
    let last = hosted.scratch.push("last");
    daemon.eventually("the last one", || (hosted.states(&last, "sync") == ["pending", "success"]).then_some(()));
    for commit in [&first, &second, &good] {
        let said = hosted.host.ask("GET", &format!("/repos/{OWNER}/{}/commits/{commit}/statuses", hosted.name), None);
        assert_eq!(hosted.states(commit, "sync"), ["pending", "success"], "nothing is said twice: {said:#}");
    }
}

/// A host that does not let statuses in stops no sync, is told once, and gets all of them later, in order.
#[test]
fn statuses_wait_for_a_token() {
    let Some(hosted) = Hosted::new("token") else { return };
    let cluster = Cluster::embedded();
    let own = hosted.scratch.path("own-token");
    hosted.report_with("wrong");
    let daemon = hosted.start(&cluster);
    let commit = hosted.head();
    daemon.eventually("the sync", || {
        daemon.has_logged("2 apps applied").then_some(()).or(daemon.has_logged("3 apps applied").then_some(()))
    });
    daemon.eventually("it is told", || daemon.has_logged("the token is not accepted").then_some(()));
    assert_eq!(daemon.metric("driftless_reports_denied{repository=\"shop\",host=\"gitea\"}"), Some(1.0));
    assert!(hosted.states(&commit, "sync").is_empty());
    let file = hosted.scratch.path("daemon.toml").display().to_string();
    let output = |args: &[&str]| {
        let output = daemon.beside(&cluster, &[args, &["--config", &file]].concat());
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let status = output(&["status"]);
    assert!(status.contains("Reports on shop do not reach their host (gitea): ") && status.contains("401"), "{status}");
    std::fs::write(&own, hosted.host.token()).unwrap();
    daemon.eventually("they come later", || (hosted.states(&commit, "sync") == ["pending", "success"]).then_some(()));
    daemon.eventually("status says no more of it", || (!output(&["status"]).contains("do not reach")).then_some(()));

    // One that may read, and not write: only whoever writes meets that.
    std::fs::write(&own, hosted.host.token_for("reads-only", "read:repository")).unwrap();
    hosted.scratch.replace("web/app.yaml", "web:1.0", "web:1.1");
    let next = hosted.scratch.push("next");
    let told = daemon.eventually("status tells of it", || {
        Some(output(&["status"])).filter(|status| status.contains("Reports on shop do not reach their host (gitea): "))
    });
    assert_eq!(told.matches("do not reach").count(), 1, "{told}");
    std::fs::write(&own, hosted.host.token()).unwrap();
    daemon.eventually("they come, too", || (hosted.states(&next, "sync") == ["pending", "success"]).then_some(()));
    // No notes in a repository that reports to its host: the host is asked.
    let log = output(&["log", "--revision", &commit]);
    assert!(log.contains(&format!("{}/sync", hosted.scratch.instance)) && log.contains("success"), "{log}");
    assert_eq!(daemon.log().matches("statuses wait until somebody mends this").count(), 2);
    assert!(!daemon.log().contains(hosted.host.token()) && !daemon.log().contains("\"wrong\""));
}

/// What is not signed does nothing and learns nothing.
#[test]
fn forged_notifications_are_refused() {
    let Some(hosted) = Hosted::new("forged") else { return };
    let cluster = Cluster::embedded();
    let daemon = hosted.start(&cluster);
    daemon.eventually("the desk is open", || daemon.has_logged("notifications are taken").then_some(()));
    let http = reqwest::blocking::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap();
    let body = json!({"repository": {"full_name": format!("{OWNER}/{}", hosted.name)}}).to_string();
    let post = |headers: &[(&str, &str)], body: String| {
        let call = headers.iter().fold(http.post(&hosted.hook), |call, (name, value)| call.header(*name, *value));
        let answer = call.body(body).send().unwrap();
        (answer.status().as_u16(), answer.text().unwrap_or_default())
    };
    let nothing = String::new;
    assert_eq!(post(&[], body.clone()), (401, nothing()));
    assert_eq!(
        post(&[("x-gitea-event", "push"), ("x-gitea-signature", &"0".repeat(64))], body.clone()),
        (401, nothing())
    );
    assert_eq!(
        post(
            &[("x-gitlab-event", "Push Hook"), ("x-gitlab-token", "hook-secret")],
            json!({"project": {"path_with_namespace": "a/b"}}).to_string()
        ),
        (404, nothing())
    );
    assert_eq!(post(&[("x-gitlab-event", "Push Hook"), ("x-gitlab-token", "hook-secret")], "x".repeat(5 << 20)).0, 413);
    // Whoever is refused hears so, however much it sends: nothing is cut off in the middle.
    for path in ["webhook", "elsewhere"] {
        let there = hosted.hook.replace("webhook", path);
        for round in 0..10 {
            let answer = http.post(&there).body("x".repeat(20 << 20)).send().unwrap_or_else(|e| panic!("{round}: {e}"));
            assert_eq!(answer.status().as_u16(), if path == "webhook" { 413 } else { 404 });
        }
    }
    assert_eq!(http.get(&hosted.hook).send().unwrap().status().as_u16(), 405);
    let ours = json!({"project": {"path_with_namespace": format!("{OWNER}/{}", hosted.name)}}).to_string();
    assert_eq!(post(&[("x-gitlab-event", "Push Hook"), ("x-gitlab-token", "hook-secret")], ours).0, 202);
}

impl Hosted {
    /// The comments of a pull request that are the daemon's: id and text.
    pub fn comments(&self, pull: u64) -> Vec<(u64, String)> {
        let all = self.host.ask("GET", &format!("/repos/{OWNER}/{}/issues/{pull}/comments", self.name), None);
        let comment =
            |c: &serde_json::Value| (c["id"].as_u64().unwrap_or(0), c["body"].as_str().unwrap_or_default().to_owned());
        all.as_array().into_iter().flatten().map(comment).collect()
    }

    /// Opens a pull request from a branch into `main`; its number.
    pub fn open(&self, branch: &str) -> u64 {
        let body = json!({"title": branch, "head": branch, "base": "main"});
        self.host.ask("POST", &format!("/repos/{OWNER}/{}/pulls", self.name), Some(&body))["number"].as_u64().unwrap()
    }

    /// Commits and pushes the branch that is checked out.
    pub fn push_branch(&self, branch: &str, message: &str) -> String {
        let commit = self.scratch.commit(message);
        self.scratch.git(&["push", "--quiet", "origin", &format!("HEAD:{branch}")]);
        commit
    }
}

/// A pull request gets its plan as a status and as one comment, which is written anew with each push and as the base moves;
/// a restart says nothing again; what it changes of Secrets is not readable.
#[test]
fn a_pull_request_gets_its_plan() {
    let Some(hosted) = Hosted::new("pulls") else { return };
    let cluster = Cluster::embedded();
    let daemon = hosted.start(&cluster);
    let first = hosted.head();
    daemon
        .eventually("the branch is synced", || (hosted.states(&first, "sync") == ["pending", "success"]).then_some(()));
    hosted.scratch.git(&["checkout", "-q", "-b", "feature"]);
    hosted.scratch.replace("web/app.yaml", "web:1.0", "web:2.0");
    hosted.scratch.write(
        "web/secret.yaml",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: canary-hunter2}\n",
    );
    let head = hosted.push_branch("feature", "a new web");
    let pull = hosted.open("feature");
    daemon.eventually("its plan", || (hosted.states(&head, "plan") == ["pending", "success"]).then_some(()));
    let about = |daemon: &Daemon, pull: u64, text: &str| {
        daemon.eventually("its comment", || {
            Some(hosted.comments(pull)).filter(|all| all.iter().any(|c| c.1.contains(text)))
        })
    };
    let comments = about(&daemon, pull, &head[..7]);
    assert_eq!(comments.len(), 1, "{comments:?}");
    let (id, text) = comments[0].clone();
    assert!(text.matches("<!--").count() == 1 && text.contains("\n#### `web`: "), "{text}");
    assert!(
        text.contains("1 to create, 1 to roll out") && text.contains(&head[..7]) && text.contains(&first[..7]),
        "{text}"
    );
    assert!(!text.contains("canary") && !daemon.log().contains("canary"), "{text}");
    let planned = |commit: &str| {
        daemon.eventually("another plan", || (hosted.states(commit, "plan") == ["pending", "success"]).then_some(()));
    };

    // A push: the same comment, of the new head.
    hosted.scratch.write("web/secret.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: s}\n");
    let head = hosted.push_branch("feature", "no secret");
    planned(&head);
    let comments = about(&daemon, pull, &head[..7]);
    assert!(comments.len() == 1 && comments[0].0 == id && comments[0].1.contains(&head[..7]), "{comments:?}");

    // The base moves: planned anew, and nothing of the base is the pull request's.
    hosted.scratch.git(&["checkout", "-q", "main"]);
    hosted.scratch.write("motd/more.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: only-of-the-base}\n");
    let base = hosted.scratch.push("the base moves");
    daemon.eventually("a plan on the new base", || hosted.comments(pull)[0].1.contains(&base[..7]).then_some(()));
    assert!(!hosted.comments(pull)[0].1.contains("only-of-the-base"));

    // The base moves in what is no app's, and then there is a restart: nothing is said anew.
    let before = (hosted.states(&head, "plan"), hosted.comments(pull));
    assert_eq!(before.0, ["pending", "success"], "the same outcome is the same status");
    daemon.eventually("the base is synced", || (hosted.states(&base, "sync").len() == 2).then_some(()));
    hosted.scratch.write("README.md", "words\n");
    hosted.scratch.push("only words");
    hosted.scratch.git(&["checkout", "-q", "-b", "second", "main"]);
    hosted.scratch.write("motd/second.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: second}\n");
    let second = hosted.push_branch("second", "second");
    hosted.open("second");
    // Pull requests are looked at in turn: the older one was planned on the new base by then.
    planned(&second);
    assert_eq!((hosted.states(&head, "plan"), hosted.comments(pull)), before, "nothing has changed for it");
    daemon.kill();
    let daemon = hosted.start(&cluster);
    hosted.scratch.git(&["checkout", "-q", "-b", "broken", "main"]);
    hosted.scratch.write("web/app.yaml", "kind: [\n");
    let broken = hosted.push_branch("broken", "broken");
    let other = hosted.open("broken");
    daemon.eventually("a failure", || (hosted.states(&broken, "plan") == ["pending", "failure"]).then_some(()));
    about(&daemon, other, "web/app.yaml:");
    assert_eq!((hosted.states(&head, "plan"), hosted.comments(pull)), before, "nothing is said twice");
    assert_eq!(hosted.states(&base, "sync"), ["pending", "success"]);
}

/// A comment that the host does not take waits on disk, through a crash and beyond the end of its pull request.
#[test]
fn a_comment_waits_through_a_crash() {
    let Some(hosted) = Hosted::new("letter") else { return };
    let cluster = Cluster::embedded();
    hosted.report_with(&hosted.host.token_for(&hosted.name, "read:repository"));
    let daemon = hosted.start(&cluster);
    hosted.scratch.git(&["checkout", "-q", "-b", "feature"]);
    hosted.scratch.replace("web/app.yaml", "web:1.0", "web:2.0");
    let head = hosted.push_branch("feature", "a new web");
    let pull = hosted.open("feature");
    daemon.eventually("it is planned", || daemon.has_logged("a comment was not written").then_some(()));
    assert!(hosted.comments(pull).is_empty() && hosted.states(&head, "plan").is_empty());
    daemon.kill();
    hosted.host.ask(
        "PATCH",
        &format!("/repos/{OWNER}/{}/pulls/{pull}", hosted.name),
        Some(&json!({"state": "closed"})),
    );
    std::fs::write(hosted.scratch.path("own-token"), hosted.host.token()).unwrap();
    let daemon = hosted.start(&cluster);
    let comment = daemon.eventually("the comment", || hosted.comments(pull).pop());
    assert!(comment.1.contains("1 to roll out") && comment.1.contains(&head[..7]), "{}", comment.1);
    daemon.eventually("its status", || (hosted.states(&head, "plan") == ["pending", "success"]).then_some(()));
    assert_eq!(hosted.comments(pull).len(), 1);
}
