//! The daemon's own ends and beginnings: killed, told to stop, and two of them.

use crate::support::daemon::{Cluster, Daemon, on_both_clusters};
use crate::support::scratch::Scratch;
use serde_json::Value;
use std::time::{Duration, Instant};

on_both_clusters!(killed_in_mid_sync, told_to_stop, two_of_them);

/// An app in three waves, each of which takes a while to become ready: a sync can be met in its middle.
fn slow(waves: &[(&str, &str)], extra: &str) -> String {
    let mut out = extra.to_owned();
    for (wave, (name, image)) in waves.iter().enumerate() {
        out.push_str(&format!(
            r#"---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {name}
  annotations: {{driftless.dev/wave: "{wave}"}}
data: {{image: "{image}"}}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  annotations: {{driftless.dev/wave: "{wave}"}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata:
      labels: {{app: {name}}}
      annotations: {{sim.driftless.dev/ready-after: 1500ms}}
    spec:
      containers:
      - name: main
        image: registry.example/slow/{name}:{image}
"#
        ));
    }
    out
}

fn configmap(name: &str) -> String {
    format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata: {{a: b}}\n")
}

fn ready(cluster: &Cluster, namespace: &str, name: &str, image: &str) -> bool {
    let Some(found) = cluster.deployment(namespace, name) else { return false };
    let count = |path: &str| found.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let current = count("/status/observedGeneration") >= count("/metadata/generation");
    current && found.to_string().contains(&format!("{name}:{image}")) && count("/status/readyReplicas") == 1
}

fn written(cluster: &Cluster, namespace: &str, name: &str, image: &str) -> bool {
    cluster.deployment(namespace, name).is_some_and(|found| found.to_string().contains(&format!("{name}:{image}")))
}

/// No object without an owner, and no owner without an object: what lies in the namespace is what Git has.
fn config_maps(cluster: &Cluster, namespace: &str) -> Vec<String> {
    let list = cluster.get(&format!("/api/v1/namespaces/{namespace}/configmaps")).unwrap_or_default();
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let names =
        items.iter().filter_map(|item| item["metadata"]["name"].as_str()).filter(|name| *name != "kube-root-ca.crt");
    names.map(str::to_owned).collect()
}

fn killed_in_mid_sync(cluster: &Cluster) {
    let scratch = Scratch::quickstart("killed", "timeout = \"40s\"");
    let namespace = scratch.namespace.clone();
    for app in ["web", "api", "motd"] {
        scratch.remove(app);
    }
    scratch.write("slow/slow.yaml", &slow(&[("one", "1"), ("two", "1"), ("three", "1")], &configmap("first")));
    let first = scratch.push("slow");

    // In the first wave, then in the second: the next daemon goes on.
    let daemon = Daemon::start(&scratch, cluster);
    daemon.eventually("the first wave", || written(cluster, &namespace, "one", "1").then_some(()));
    daemon.kill();
    let daemon = Daemon::start(&scratch, cluster);
    daemon.eventually("the second wave", || written(cluster, &namespace, "two", "1").then_some(()));
    assert!(!written(cluster, &namespace, "three", "1"), "waves wait for each other");
    daemon.kill();

    // While it is dead, a newer commit drops one object and brings another.
    scratch.write("slow/slow.yaml", &slow(&[("one", "2"), ("two", "1"), ("three", "1")], &configmap("second")));
    let second = scratch.push("slow: first is gone, second is new");
    let daemon = Daemon::start(&scratch, cluster);
    daemon.eventually("what the newer commit brings", || written(cluster, &namespace, "one", "2").then_some(()));
    daemon.kill();

    // At the very end: everything is written, and health is waited for.
    let daemon = Daemon::start(&scratch, cluster);
    daemon.eventually("the last wave", || written(cluster, &namespace, "three", "1").then_some(()));
    daemon.kill();
    let daemon = Daemon::start(&scratch, cluster);
    daemon.succeeds(&scratch, &second);
    for (name, image) in [("one", "2"), ("two", "1"), ("three", "1")] {
        assert!(ready(cluster, &namespace, name, image), "{name}");
    }
    assert_eq!(config_maps(cluster, &namespace), ["one", "second", "three", "two"]);
    daemon.eventually("the older commit is closed", || scratch.ended(&first).map(|_| ()));
    assert_eq!(scratch.states(&first, "sync"), ["pending", "superseded"]);
    assert_eq!(scratch.states(&second, "sync"), ["pending", "success"]);
    let status = daemon.status(&scratch, cluster, "slow");
    assert_eq!((status["sync"].as_str(), status["health"].as_str()), (Some("Synced"), Some("Healthy")), "{status}");
}

fn lease_holder(cluster: &Cluster, scratch: &Scratch) -> Option<String> {
    let leases = cluster.get(&format!("/apis/coordination.k8s.io/v1/namespaces/{}-system/leases", scratch.instance))?;
    let holder = leases["items"].as_array()?.first()?.pointer("/spec/holderIdentity")?;
    holder.as_str().filter(|holder| !holder.is_empty()).map(str::to_owned)
}

fn told_to_stop(cluster: &Cluster) {
    let scratch = Scratch::quickstart("stop", "timeout = \"40s\"");
    let namespace = scratch.namespace.clone();
    scratch.write("slow/slow.yaml", &slow(&[("one", "1"), ("two", "1")], ""));
    let commit = scratch.push("slow");
    let mut daemon = Daemon::start(&scratch, cluster);
    daemon.eventually("the first wave", || written(cluster, &namespace, "one", "1").then_some(()));
    assert!(lease_holder(cluster, &scratch).is_some());
    let asked = Instant::now();
    daemon.terminate();
    let status = daemon.wait(Duration::from_secs(10));
    assert_eq!(status.and_then(|status| status.code()), Some(0), "after {:?}\n{}", asked.elapsed(), daemon.log());
    assert_eq!(lease_holder(cluster, &scratch), None, "the lease is given back");
    assert_eq!(
        scratch.states(&commit, "sync"),
        ["pending"],
        "it is not through yet, and the next daemon goes on with it"
    );

    let next = Daemon::start(&scratch, cluster);
    next.succeeds(&scratch, &commit);
    assert!(ready(cluster, &namespace, "two", "1"));
    assert_eq!(scratch.states(&commit, "sync"), ["pending", "success"]);
}

/// The second one stands by, and takes over at once when the first one is gone.
fn two_of_them(cluster: &Cluster) {
    let scratch = Scratch::quickstart("two", "timeout = \"40s\"");
    let repo = scratch.bare().display().to_string();
    let commit = scratch.git(&["rev-parse", "HEAD"]).trim().to_owned();
    let first = Daemon::start(&scratch, cluster);
    first.succeeds(&scratch, &commit);
    let leader = lease_holder(cluster, &scratch);
    let second = Daemon::start_with(&scratch, cluster, &["--repo", &repo], "other-cache");
    second.eventually("the second stands by", || second.has_logged("standing by").then_some(()));
    scratch.replace("web/app.yaml", "replicas: 1", "replicas: 2");
    let next = scratch.push("two");
    first.succeeds(&scratch, &next);
    assert_eq!(lease_holder(cluster, &scratch), leader);

    first.kill();
    let asked = Instant::now();
    scratch.replace("web/app.yaml", "replicas: 2", "replicas: 3");
    let last = scratch.push("three");
    second.succeeds(&scratch, &last);
    assert!(asked.elapsed() < Duration::from_secs(12), "before the lease ran out, not after {:?}", asked.elapsed());
    assert_ne!(lease_holder(cluster, &scratch), leader);
    for commit in [&commit, &next, &last] {
        assert_eq!(scratch.states(commit, "sync"), ["pending", "success"], "{:?}", scratch.said(commit));
    }
}

/// An API server that says nothing must not keep the daemon: the first signal is patient, the second one is not.
#[test]
fn told_twice_to_stop() {
    let cluster = Cluster::embedded();
    let scratch = Scratch::quickstart("twice", "timeout = \"40s\"");
    let commit = scratch.git(&["rev-parse", "HEAD"]).trim().to_owned();
    let mut daemon = Daemon::start(&scratch, &cluster);
    daemon.succeeds(&scratch, &commit);
    let process = cluster.process.as_ref().expect("it is a process");
    process.signal(libc::SIGSTOP);
    daemon.terminate();
    daemon.eventually("it heard", || daemon.has_logged("stopping at the next safe point").then_some(()));
    daemon.terminate();
    assert!(daemon.wait(Duration::from_secs(3)).is_some(), "the second signal ends it at once\n{}", daemon.log());
    process.signal(libc::SIGCONT);
    // What it could not give back is no obstacle: its process is gone.
    let next = Daemon::start(&scratch, &cluster);
    scratch.replace("web/app.yaml", "replicas: 1", "replicas: 2");
    let commit = scratch.push("two");
    next.succeeds(&scratch, &commit);
}

/// The second one takes over while the repository cannot be read: what the first one left open is closed all the same, as
/// soon as it can.
#[test]
fn what_was_left_open_is_closed_though_the_repository_could_not_be_read_then() {
    let cluster = Cluster::embedded();
    let scratch = Scratch::quickstart("unread", "timeout = \"40s\"");
    let repo = scratch.bare().display().to_string();
    scratch.write("slow/slow.yaml", &slow(&[("one", "1"), ("two", "1")], ""));
    let first = scratch.push("slow");
    let leader = Daemon::start(&scratch, &cluster);
    leader.eventually("the first commit is told of", || {
        (scratch.states(&first, "sync") == ["pending"] && written(&cluster, &scratch.namespace, "one", "1"))
            .then_some(())
    });
    let next = Daemon::start_with(&scratch, &cluster, &["--repo", &repo], "other-cache");
    next.eventually("the second stands by", || next.has_logged("standing by").then_some(()));
    leader.kill();
    scratch.replace("web/app.yaml", "replicas: 1", "replicas: 2");
    let second = scratch.push("two");
    let branch = scratch.bare().join("refs/heads/main");
    let head = std::fs::read(&branch).expect("the branch is a file");
    std::fs::write(&branch, "cut off").expect("it can be written");
    next.eventually("it cannot read", || next.has_logged("the repository cannot be read").then_some(()));
    std::fs::write(&branch, head).expect("it can be written");
    next.succeeds(&scratch, &second);
    next.eventually("the older commit is closed", || scratch.ended(&first).map(|_| ()));
    assert_eq!(scratch.states(&first, "sync"), ["pending", "superseded"]);
    assert_eq!(scratch.states(&second, "sync"), ["pending", "success"]);
}
