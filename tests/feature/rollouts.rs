//! What happens to a rollout that is under way: another change, another number, the way back. `kubectl get -w` is the
//! witness that never fewer pods are available than the strategy promises.

use super::cluster::Cluster;
use super::scratch::Scratch;
use crate::on_every_cluster;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

/// A Deployment whose pods take a second to be ready; none may be missing.
fn web(app: &Scratch, image: &str, replicas: u32) {
    app.write(
        "a/web.yaml",
        &format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  replicas: {replicas}\n  strategy: {{rollingUpdate: {{maxSurge: 1, maxUnavailable: 0}}}}\n  selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}, annotations: {{sim.driftless.dev/ready-after: 1s}}}}\n    spec: {{containers: [{{name: main, image: \"{image}\"}}]}}\n"
        ),
    );
}

/// Watches a Deployment with kubectl.
struct Witness {
    kubectl: Child,
    fewest: Arc<AtomicI64>,
    updated: Arc<Mutex<i64>>,
}

impl Witness {
    fn of(cluster: &Cluster, namespace: &str) -> Self {
        let mut command: Command = cluster.command();
        command.args(["-n", namespace, "get", "deployment/web", "-w", "-o"]);
        command.arg("jsonpath={.status.availableReplicas},{.status.updatedReplicas}{'\\n'}");
        let mut kubectl = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (fewest, updated) = (Arc::new(AtomicI64::new(i64::MAX)), Arc::new(Mutex::new(0)));
        let (low, new) = (fewest.clone(), updated.clone());
        let lines = BufReader::new(kubectl.stdout.take().unwrap()).lines();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let (available, rolled) = line.split_once(',').unwrap_or_default();
                low.fetch_min(available.parse().unwrap_or(0), Ordering::Relaxed);
                *new.lock().unwrap() = rolled.parse().unwrap_or(0);
            }
        });
        Self { kubectl, fewest, updated }
    }

    /// The fewest available pods of any event.
    fn fewest(&self) -> i64 {
        self.fewest.load(Ordering::Relaxed)
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.kubectl.kill();
        let _ = self.kubectl.wait();
    }
}

/// `web:1` with four pods is up, and the rollout to `web:2` has made its first pod.
fn under_way(cluster: &Cluster, app: &Scratch) -> Witness {
    web(app, "web:1", 4);
    app.commit("one");
    app.run("sync").exits(0);
    let witness = Witness::of(cluster, &app.namespace);
    web(app, "web:2", 4);
    app.commit("two");
    app.run("sync --no-wait").exits(0);
    cluster.eventually("the rollout to be under way", || (1..4).contains(&*witness.updated.lock().unwrap()));
    witness
}

fn images(cluster: &Cluster, app: &Scratch) -> Vec<String> {
    let pods = cluster.kubectl(&format!(
        "-n {} get pods -l app=web --field-selector status.phase=Running -o jsonpath={{.items[*].spec.containers[0].image}}",
        app.namespace
    ));
    let mut images: Vec<String> = pods.split_whitespace().map(str::to_owned).collect();
    images.sort();
    images
}

fn settled(cluster: &Cluster, app: &Scratch, image: &str, count: usize) {
    let all = vec![image.to_owned(); count];
    cluster.eventually(&format!("{count} pods of {image}"), || images(cluster, app) == all);
    app.run("plan").exits(0);
}

on_every_cluster! {
    /// The next image comes while the last one is rolled out.
    fn a_change_during_a_rollout(cluster) {
        let app = Scratch::new(cluster, "twice");
        let witness = under_way(cluster, &app);
        web(&app, "web:3", 4);
        app.commit("three");
        app.run("sync").exits(0);
        settled(cluster, &app, "web:3", 4);
        assert!(witness.fewest() >= 4, "{} were available", witness.fewest());
    }

    /// More pods, then fewer, while an image is rolled out.
    fn a_scale_during_a_rollout(cluster) {
        let app = Scratch::new(cluster, "scaled");
        let witness = under_way(cluster, &app);
        web(&app, "web:2", 6);
        app.commit("three");
        let planned = app.run("plan -o json").exits(2).json();
        assert_eq!(planned["apps"][0]["changes"][0]["actions"], serde_json::json!(["scale"]));
        app.run("sync").exits(0);
        settled(cluster, &app, "web:2", 6);
        assert!(witness.fewest() >= 4, "{} were available", witness.fewest());
        web(&app, "web:3", 3);
        app.commit("four");
        app.run("sync").exits(0);
        settled(cluster, &app, "web:3", 3);
        assert!(witness.fewest() >= 3, "{} were available", witness.fewest());
    }

    /// The way back while an image is rolled out: by the owner's word, and because it does not work.
    fn going_back_during_a_rollout(cluster) {
        let app = Scratch::new(cluster, "back");
        let witness = under_way(cluster, &app);
        app.run("rollback a --to HEAD~1").exits(0);
        settled_back(cluster, &app, "web:1");
        assert!(witness.fewest() >= 4, "{} were available", witness.fewest());
        app.run("resume a").exits(0);
        app.run("sync").exits(0);
        settled(cluster, &app, "web:2", 4);
        let kubeconfig = app.kubeconfig_with("own", |_| {});
        app.write("driftless.toml", &format!(
            "[[cluster]]\nname = \"default\"\nkubeconfig = \"{kubeconfig}\"\n[[app]]\npath = \"a\"\non_failure = \"rollback\"\n"
        ));
        web(&app, "web:bad", 4);
        app.commit("bad");
        app.run("sync --timeout 4s").exits(3).says("rolled back to");
        settled_back(cluster, &app, "web:2");
        assert!(witness.fewest() >= 4, "{} were available", witness.fewest());
    }
}

/// The pods of what was before; Git says something else, which is held.
fn settled_back(cluster: &Cluster, app: &Scratch, image: &str) {
    let all = vec![image.to_owned(); 4];
    cluster.eventually(&format!("4 pods of {image}"), || images(cluster, app) == all);
    assert_eq!(app.run("status -o json").exits(0).json()["apps"][0]["sync"], "Held");
}
