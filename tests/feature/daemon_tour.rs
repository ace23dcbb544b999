//! A day with the daemon: from the first commit through a bad image and a hand edit to an app's end.

use crate::support::daemon::{Cluster, Daemon, on_both_clusters};
use crate::support::scratch::Scratch;
use serde_json::Value;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Stdio;

on_both_clusters!(a_day);

/// Every state of a Deployment, as a watch shows it.
struct Watch {
    _kubectl: crate::support::daemon::Process,
    lines: PathBuf,
}

impl Watch {
    fn start(scratch: &Scratch, cluster: &Cluster, name: &str) -> Self {
        let lines = scratch.path("watch");
        let template = r#"-o=jsonpath={.status.observedGeneration}{" "}{.status.readyReplicas}{"\n"}"#;
        let mut command =
            cluster.kubectl_command(&["-n", &scratch.namespace, "get", "deployment", name, "--watch", template]);
        command.stdout(File::create(&lines).expect("a file")).stderr(Stdio::null());
        let kubectl = crate::support::control_plane::spawn_bound_to_process(command).expect("kubectl runs");
        Self { _kubectl: crate::support::daemon::Process(kubectl), lines }
    }

    /// Ready pods in every state so far.
    fn ready(&self) -> Vec<u32> {
        let text = fs::read_to_string(&self.lines).unwrap_or_default();
        text.lines().map(|line| line.split(' ').nth(1).and_then(|ready| ready.parse().ok()).unwrap_or(0)).collect()
    }
}

fn number(object: &Value, path: &str) -> u64 {
    object.pointer(path).and_then(Value::as_u64).unwrap_or(0)
}

fn image(object: &Value) -> String {
    let image = object.pointer("/spec/template/spec/containers/0/image").and_then(Value::as_str).unwrap_or_default();
    image.rsplit('/').next().unwrap_or_default().to_owned()
}

fn a_day(cluster: &Cluster) {
    let timeout = if cluster.is_real() { "12s" } else { "6s" };
    let scratch = Scratch::quickstart("tour", &format!("timeout = \"{timeout}\"\non_failure = \"rollback\""));
    let namespace = scratch.namespace.clone();
    let web = || cluster.deployment(&namespace, "web").unwrap_or_default();
    let first = scratch.git(&["rev-parse", "HEAD"]).trim().to_owned();
    let daemon = Daemon::start(&scratch, cluster);

    daemon.succeeds(&scratch, &first);
    assert_eq!(number(&web(), "/status/readyReplicas"), 1);
    assert!(cluster.config_map(&namespace, "motd").is_some());

    scratch.replace("web/app.yaml", "replicas: 1", "replicas: 3");
    let scaled = scratch.push("web: three of them");
    daemon.succeeds(&scratch, &scaled);
    assert_eq!(number(&web(), "/status/readyReplicas"), 3);

    // From here on there are never fewer than three.
    let watch = Watch::start(&scratch, cluster, "web");
    daemon.eventually("the watch shows something", || (!watch.ready().is_empty()).then_some(()));
    scratch.replace("web/app.yaml", "web:1.0", "web:1.1");
    let rolled = scratch.push("web: 1.1");
    daemon.succeeds(&scratch, &rolled);
    assert_eq!((image(&web()).as_str(), number(&web(), "/status/updatedReplicas")), ("web:1.1", 3));

    scratch.replace("web/app.yaml", "web:1.1", "web:1.2-bad");
    let bad = scratch.push("web: an image that is not there");
    let (state, text) = daemon.ended(&scratch, &bad);
    assert_eq!(state, "failure", "{text}");
    assert!(text.contains("rolled back") && text.contains("held"), "{text}");
    assert!(text.contains("ErrImagePull") || text.contains("ImagePullBackOff"), "{text}");
    assert_eq!(image(&web()), "web:1.1");
    let degraded = |said: &String| said.contains("Degraded") || said.contains("ImagePull");
    daemon.eventually("the bad revision is said to be unhealthy", || {
        scratch.words(&bad, "health").iter().any(|said| said.starts_with("failure") && degraded(said)).then_some(())
    });
    let status = daemon.status(&scratch, cluster, "web");
    assert_eq!((status["sync"].as_str(), status["health"].as_str()), (Some("Held"), Some("Healthy")), "{status}");

    scratch.replace("motd/motd.yaml", "Welcome", "Good evening, and welcome");
    let unrelated = scratch.push("motd: the evening");
    let (state, text) = daemon.ended(&scratch, &unrelated);
    assert!(state == "failure" && text.contains("held"), "{state}: {text}");
    let motd = cluster.config_map(&namespace, "motd").unwrap_or_default().to_string();
    assert!(motd.contains("Good evening"), "{motd}");
    assert_eq!(image(&web()), "web:1.1");

    scratch.replace("web/app.yaml", "web:1.2-bad", "web:1.2");
    let fixed = scratch.push("web: the image that was meant");
    daemon.succeeds(&scratch, &fixed);
    assert_eq!((image(&web()).as_str(), number(&web(), "/status/updatedReplicas")), ("web:1.2", 3));
    assert_eq!(daemon.status(&scratch, cluster, "web")["sync"], "Synced");
    let ready = watch.ready();
    assert!(ready.len() > 3 && ready.iter().all(|ready| *ready >= 3), "{ready:?}");

    hand_edits(cluster, &scratch, &daemon, &fixed);

    let uid = |name: &str| cluster.deployment(&namespace, name).unwrap_or_default()["metadata"]["uid"].clone();
    let before = (uid("web"), uid("api"));
    scratch.remove("motd");
    let last = scratch.push("motd: no more");
    daemon.succeeds(&scratch, &last);
    assert!(cluster.config_map(&namespace, "motd").is_none());
    assert_eq!((uid("web"), uid("api")), before);
    assert!(cluster.config_map(&namespace, "api").is_some());

    for (commit, state) in [
        (first, "success"),
        (scaled, "success"),
        (rolled, "success"),
        (bad, "failure"),
        (unrelated, "failure"),
        (fixed, "success"),
        (last, "success"),
    ] {
        assert_eq!(scratch.states(&commit, "sync"), ["pending", state], "{:?}", scratch.said(&commit));
    }
}

/// What is changed and deleted by hand is put right, and said on the revision that runs.
fn hand_edits(cluster: &Cluster, scratch: &Scratch, daemon: &Daemon, revision: &str) {
    let namespace = scratch.namespace.as_str();
    let replicas = || cluster.deployment(namespace, "web").map(|web| number(&web, "/spec/replicas"));
    cluster.kubectl(&["-n", namespace, "scale", "deployment/web", "--replicas=5"]);
    daemon.eventually("the hand edit is repaired", || {
        let said = scratch.words(revision, "drift");
        let found = said
            .iter()
            .any(|said| said.starts_with("failure") && said.contains(".spec.replicas") && said.contains("kubectl"));
        let repaired = said.last().is_some_and(|last| last.starts_with("success") && last.contains("repaired"));
        (found && repaired && replicas() == Some(3)).then_some(())
    });

    let service = || cluster.get(&format!("/api/v1/namespaces/{namespace}/services/api"));
    let uid = || service().map(|service| service["metadata"]["uid"].clone());
    let before = uid();
    cluster.kubectl(&["-n", namespace, "delete", "service", "api"]);
    daemon.eventually("the deletion is repaired", || {
        let said = scratch.words(revision, "drift");
        let found = said.iter().any(|said| said.starts_with("failure") && said.contains("deleted"));
        let repaired = said.last().is_some_and(|last| last.starts_with("success"));
        (found && repaired && uid().is_some() && uid() != before).then_some(())
    });
    assert_eq!(scratch.states(revision, "drift"), ["failure", "success", "failure", "success"]);
    assert_eq!(scratch.states(revision, "sync"), ["pending", "success"]);
}
