//! One-shot `plan` and `sync`: what they do, with kubectl as witness.

use super::cluster::Cluster;
use super::scratch::{Ended, Scratch};
use crate::on_every_cluster;
use serde_json::json;

on_every_cluster! {
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
