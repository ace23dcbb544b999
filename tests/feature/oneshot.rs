//! One-shot `plan` and `sync`: what they do, with kubectl as witness.

use super::cluster::Cluster;
use super::scratch::{Ended, Scratch};
use crate::on_every_cluster;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The changes of a plan or sync as `Kind/name: actions`.
fn changes(report: &Value) -> Vec<String> {
    let apps = report["apps"].as_array().unwrap();
    let all = apps.iter().flat_map(|app| app["changes"].as_array().unwrap());
    let text = |change: &Value| {
        let actions: Vec<&str> =
            change["actions"].as_array().unwrap().iter().map(|action| action.as_str().unwrap()).collect();
        format!(
            "{}/{}: {}",
            change["object"]["kind"].as_str().unwrap(),
            change["object"]["name"].as_str().unwrap(),
            actions.join("+")
        )
    };
    let mut out: Vec<String> = all.map(text).collect();
    out.sort();
    out
}

/// `resourceVersion` and uid of every object with our label in a namespace.
fn versions(cluster: &Cluster, namespace: &str) -> BTreeMap<String, (String, String)> {
    let kinds = "configmaps,services,deployments,serviceaccounts";
    let line = format!("-n {namespace} get {kinds} -l applyset.kubernetes.io/part-of -o json");
    let list: Value = serde_json::from_str(&cluster.kubectl(&line)).unwrap();
    let text = |object: &Value, field: &str| object["metadata"][field].as_str().unwrap().to_owned();
    let entry = |object: &Value| {
        let key = format!("{}/{}", object["kind"].as_str().unwrap(), text(object, "name"));
        // A Deployment's status moves its version: its generation tells whether somebody wrote its spec.
        let version = match object["kind"].as_str() {
            Some("Deployment") => object["metadata"]["generation"].to_string(),
            _ => text(object, "resourceVersion"),
        };
        (key, (version, text(object, "uid")))
    };
    list["items"].as_array().unwrap().iter().map(entry).collect()
}

fn managers(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().unwrap().iter();
    let spec = entries.filter(|entry| entry.get("subresource").is_none());
    // The controller writes its revision annotation into the object itself.
    let name =
        |entry: &Value| format!("{} {}", entry["manager"].as_str().unwrap(), entry["operation"].as_str().unwrap());
    let mut out: Vec<String> = spec.map(name).filter(|m| !m.starts_with("kube-controller-manager")).collect();
    out.sort();
    out
}

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}, ports: [{name: http, port: 80}]}\n";

on_every_cluster! {
    /// Case 21: what moves is never deleted, what is gone leaves nothing, all gone is refused.
    fn moves_and_removals(cluster) {
        let app = Scratch::new(cluster, "moves");
        let ns = app.namespace.clone();
        for name in ["1", "2"] {
            app.config_map(&format!("a/{name}.yaml"), &format!("a{name}"), "x");
            app.config_map(&format!("b/{name}.yaml"), &format!("b{name}"), "x");
        }
        app.commit("one");
        app.run("sync").exits(0);
        let before = versions(cluster, &ns);
        let uids = |all: &BTreeMap<String, (String, String)>| -> Vec<String> { all.values().map(|v| v.1.clone()).collect() };
        app.git("mv a/1.yaml b/a1.yaml");
        app.commit("an object moves");
        app.run("sync").exits(0);
        assert_eq!(uids(&versions(cluster, &ns)), uids(&before));
        assert!(changes(&app.run("plan -o json").exits(0).json()).is_empty());
        app.git("mv b c");
        app.commit("an app is renamed");
        app.run("sync").exits(0);
        let moved = versions(cluster, &ns);
        assert_eq!(uids(&moved), uids(&before));
        app.run("sync").exits(0);
        assert_eq!(versions(cluster, &ns), moved);
        let parents = || cluster.kubectl("-n driftless get configmaps -o yaml");
        let root = app.path().canonicalize().unwrap().display().to_string();
        let parent_of = |name: &str| parents().lines().any(|line| line.contains(&root) && line.contains(&format!("\"app\":\"{name}\"")));
        assert!(parent_of("a") && parent_of("c") && !parent_of("b"), "an app that is gone leaves no inventory");
        app.remove("a").commit("an app is removed");
        app.run("sync").exits(0);
        assert!(!cluster.has(&ns, "configmap/a2") && cluster.has(&ns, "configmap/a1"));
        assert!(!parent_of("a"));
        app.remove("c").commit("all are removed");
        app.run("plan").exits(4);
        app.run("sync").exits(4).says("refused to delete them all");
        assert!(cluster.has(&ns, "configmap/b1"));
        assert_eq!(app.states().last().unwrap(), &("failure".to_owned(), Some(4)));
        app.run("sync --path nowhere").exits(1).says("nowhere");
    }

    fn refusals(cluster) {
        let app = Scratch::new(cluster, "refused");
        let ns = app.namespace.clone();
        app.deployment("a/web.yaml", "web", "web:latest", 1, "").config_map("b/b.yaml", "b", "1").commit("policy");
        app.run("check").exits(4);
        app.run("plan").exits(4);
        let report = app.run("sync -o json").exits(4).json();
        assert_eq!(report["apps"][0]["error"]["reason"], "PolicyDenied");
        assert!(!cluster.has(&ns, "deployment/web") && cluster.has(&ns, "configmap/b"));
        assert_eq!(app.states(), [("pending".into(), None), ("failure".into(), Some(4))]);
        app.run("log --wait").exits(4);

        app.deployment("a/web.yaml", "web", "web", 1, "").commit("no tag");
        let checked = app.run("check -o json").exits(0).json();
        assert_eq!(checked["apps"][0]["policy"][0]["action"], "warn");
        app.run("plan").exits(2).says("untagged-image");
        app.run("sync").exits(0).says("untagged-image");

        app.config_map("a/b.yaml", "b", "2").commit("the other app's object");
        app.run("plan").exits(4);
        app.run("sync").exits(4).says("app `b`");
        assert_eq!(cluster.object(&ns, "configmap/b")["data"]["v"], "1");
        app.remove("a/b.yaml").config_map("b/new.yaml", "new", "1").config_map("a/new.yaml", "new", "2").commit("both want one");
        app.run("sync").exits(4);
        assert!(app.run("plan -o json").json()["apps"].as_array().unwrap().iter().any(|app| app["error"].is_object()));
    }

    /// Case 19: over the limit, then approved. What is no prune goes on.
    fn approval(cluster) {
        let app = Scratch::new(cluster, "approve");
        let ns = app.namespace.clone();
        for i in 1..=6 {
            app.config_map(&format!("a/{i}.yaml"), &format!("c{i}"), "1");
        }
        app.commit("one");
        app.run("sync").exits(0);
        for i in 1..=5 {
            app.remove(&format!("a/{i}.yaml"));
        }
        app.config_map("a/6.yaml", "c6", "2").commit("two");
        app.run("plan").exits(4).says("driftless approve a");
        let report = app.run("sync -o json").exits(4).json();
        assert_eq!(report["apps"][0]["error"]["reason"], "PruneLimit");
        assert_eq!(cluster.object(&ns, "configmap/c6")["data"]["v"], "2");
        assert!(cluster.has(&ns, "configmap/c1"));
        app.run("log --wait").exits(4);
        app.run("approve a").exits(0);
        app.run("sync").exits(0);
        assert!(!cluster.has(&ns, "configmap/c1") && cluster.has(&ns, "configmap/c6"));
        let said: Vec<Option<u64>> = app.states().into_iter().filter(|s| s.0 != "pending").map(|s| s.1).collect();
        assert_eq!(said, [Some(4), Some(0)]);
    }

    fn hold_and_suspend(cluster) {
        let app = Scratch::new(cluster, "held");
        let ns = app.namespace.clone();
        app.config_map("a/a.yaml", "a", "1").commit("one");
        app.run("sync").exits(0);
        app.config_map("a/a.yaml", "a", "2").commit("two");
        app.run("hold a").exits(0);
        let report = app.run("sync -o json").exits(4).json();
        assert_eq!((&report["apps"][0]["sync"], &report["apps"][0]["error"]["reason"]), (&json!("Held"), &json!("Held")));
        app.write("README.md", "x").commit("unrelated");
        app.run("sync").exits(4);
        assert_eq!(cluster.object(&ns, "configmap/a")["data"]["v"], "1");
        assert_eq!(app.run("status -o json").exits(0).json()["apps"][0]["sync"], "Held");
        app.config_map("a/a.yaml", "a", "3").commit("a fix");
        app.run("sync").exits(0);
        assert_eq!(cluster.object(&ns, "configmap/a")["data"]["v"], "3");
        app.run("suspend a").exits(0);
        app.config_map("a/a.yaml", "a", "4").commit("four");
        assert_eq!(app.run("sync -o json").exits(4).json()["apps"][0]["sync"], "Suspended");
        app.run("resume a").exits(0);
        app.run("sync").exits(0);
        app.run("rollback a --to HEAD~1").exits(0);
        assert_eq!(cluster.object(&ns, "configmap/a")["data"]["v"], "3");
        app.run("sync").exits(4);
        app.run("resume a").exits(0);
        app.run("sync").exits(0);
        assert_eq!(cluster.object(&ns, "configmap/a")["data"]["v"], "4");
    }

}

/// Exit codes over several apps: 1 before 4 before 3 before 0; `plan`: 2 before 0.
#[test]
fn precedence_of_exit_codes() {
    let Some(cluster) = Cluster::real() else { return crate::support::control_plane::skip() };
    let app = Scratch::new(cluster, "exits");
    app.config_map("good/a.yaml", "good", "1").deployment("slow/web.yaml", "slow", "registry.invalid/x:1", 1, "");
    app.commit("one");
    app.run("sync --timeout 3s").exits(3);
    app.deployment("denied/web.yaml", "denied", "web:latest", 1, "").commit("two");
    app.run("sync --timeout 3s").exits(4);
    app.write("broken/x.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {\n").commit("three");
    app.run("sync --timeout 3s").exits(1);
    app.remove("broken").remove("denied").remove("slow").config_map("good/a.yaml", "good", "2").commit("four");
    app.run("plan").exits(2);
    let ended: Ended = app.run("sync --timeout 30s");
    ended.exits(0);
}
