//! What goes wrong around a one-shot `sync`: pods that do not start, and clusters that do not answer.

use super::cluster::Cluster;
use super::scratch::Scratch;
use crate::on_every_cluster;
use crate::support::control_plane;
use serde_json::json;
use std::time::{Duration, Instant};

fn config(on_failure: &str) -> String {
    format!(
        "[[repository]]\nname = \"r\"\nurl = \".\"\n\n[defaults]\ntimeout = \"6s\"\non_failure = \"{on_failure}\"\n\n[[app]]\npath = \"a\"\nname = \"a\"\nrepository = \"r\"\n"
    )
}

on_every_cluster! {
    fn hold_and_report_on_failure(cluster) {
        let app = Scratch::new(cluster, "onfailure");
        let ns = app.namespace.clone();
        app.write("driftless.toml", &config("hold")).deployment("a/web.yaml", "web", "web:1", 1, "").commit("one");
        app.run("sync").exits(0);
        app.deployment("a/web.yaml", "web", "web:bad", 1, "").commit("two");
        assert_eq!(app.run("sync -o json").exits(3).json()["apps"][0]["sync"], "Held");
        app.run("sync").exits(4);
        app.run("resume a").exits(0);
        app.write("driftless.toml", &config("report")).commit("three");
        assert_eq!(app.run("sync -o json").exits(3).json()["apps"][0]["sync"], "Synced");
        let live = cluster.object(&ns, "deployment/web");
        assert_eq!(live["spec"]["template"]["spec"]["containers"][0]["image"], "web:bad");
    }

    fn what_cannot_be_reached_says_so(cluster) {
        let app = Scratch::new(cluster, "reach");
        app.config_map("a/a.yaml", "a", "1").commit("one");
        let elsewhere = app.kubeconfig_with("elsewhere", |config| config["clusters"][0]["cluster"]["server"] = json!("https://127.0.0.1:1"));
        let begun = Instant::now();
        let report = app.run(&format!("sync -o json --kubeconfig {elsewhere}")).exits(1).json();
        assert_eq!((&report["error"]["reason"], &report["apps"]), (&json!("Unreachable"), &json!([])));
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
        let stranger = app.kubeconfig_with("stranger", |config| config["users"][0]["user"] = json!({"token": "wrong"}));
        let report = app.run(&format!("plan -o json --kubeconfig {stranger}")).exits(1).json();
        assert_eq!(report["error"]["reason"], "Unauthorized");
        app.run("plan --kubeconfig nowhere").exits(1).says("nowhere");
        std::fs::write(app.path().join("garbage"), "garbage").unwrap();
        app.run("plan --kubeconfig garbage").exits(1).says("garbage");
        app.run("plan --context nowhere").exits(1).says("nowhere");
        app.run("sync --revision nowhere").exits(1).says("nowhere");
        app.run("sync nowhere").exits(1).says("its apps are: a");
    }

}

/// A reader may not write, and is told which right is missing.
#[test]
fn no_permission() {
    let Some(cluster) = Cluster::real() else { return control_plane::skip() };
    let app = Scratch::new(cluster, "viewer");
    let ns = app.namespace.clone();
    app.config_map("a/a.yaml", "a", "1").commit("one");
    app.run("sync").exits(0);
    cluster.kubectl(&format!("-n {ns} create serviceaccount reader"));
    cluster.kubectl(&format!("create clusterrolebinding {ns} --clusterrole=view --serviceaccount={ns}:reader"));
    let token = cluster.kubectl(&format!("-n {ns} create token reader"));
    let reader = app.kubeconfig_with("reader", |config| config["users"][0]["user"] = json!({"token": token.trim()}));
    app.config_map("a/a.yaml", "a", "2").commit("two");
    let report = app.run(&format!("sync -o json --kubeconfig {reader}")).exits(1).json();
    let error = &report["error"];
    assert_eq!(error["reason"], "Forbidden");
    assert!(error["hint"].as_str().unwrap().contains("grant"), "{error}");
    assert_eq!(cluster.object(&ns, "configmap/a")["data"]["v"], "1");
}

/// Case 15: the API server dies in the middle of a sync and comes back.
#[test]
fn the_api_server_restarts() {
    let Some(cluster) = Cluster::own() else { return control_plane::skip() };
    let Some(plane) = cluster.plane else { return };
    let app = Scratch::new(&cluster, "restart");
    let ns = app.namespace.clone();
    for i in 0..200 {
        app.config_map(&format!("a/{i}.yaml"), &format!("c{i}"), "1");
    }
    app.deployment("a/web.yaml", "web", "web:1", 2, "").commit("one");
    let child = app.start("sync -o json --timeout 120s");
    cluster.eventually("the sync has begun", || cluster.has(&ns, "configmap/c0"));
    plane.kill_api_server();
    std::thread::sleep(Duration::from_millis(1500));
    plane.start_api_server();
    let report = Scratch::ended(child).exits(0).json();
    assert_eq!(report["apps"][0]["sync"], "Synced");
    let names = cluster.kubectl(&format!("-n {ns} get configmaps -l applyset.kubernetes.io/part-of -o name"));
    assert_eq!(names.lines().count(), 200);
    app.run("plan").exits(0);
}
