//! Applications that nobody here wrote, from the folder that `DRIFTLESS_REAL_APPS` names.

use super::cluster::{Cluster, real_apps};
use super::scratch::Scratch;
use crate::on_every_cluster;
use crate::support::control_plane;
use serde_json::json;
use std::path::Path;
use std::process::Command;

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap().success());
}

/// A repository with the application; `None`, counted as skipped, where there is no folder with applications.
pub fn prepared(cluster: &Cluster, name: &str, source: &str) -> Option<Scratch> {
    let Some(folder) = real_apps() else {
        control_plane::skip();
        return None;
    };
    let app = Scratch::new(cluster, name);
    copy(&folder.join(source), &app.path().join("app"));
    Some(app)
}

/// Everything is there, a second sync finds nothing, and a plan says the same.
pub fn settles(app: &Scratch, code: i32, timeout: &str, least: usize) {
    app.run("check").exits(0);
    app.run("plan").exits(2);
    let first = app.run(&format!("sync -o json --timeout {timeout}")).exits(code).json();
    let changes = first["apps"][0]["changes"].as_array().unwrap();
    assert!(changes.len() >= least, "{}", changes.len());
    assert!(changes.iter().all(|change| change["outcome"] == "applied"), "{first:#}");
    app.run("plan").exits(0);
    let second = app.run("sync -o json --timeout 2s").exits(code).json();
    assert_eq!(second["apps"][0]["changes"], json!([]));
}

on_every_cluster! {
    /// Plain manifests: first sync, nothing more to do, a new image.
    fn online_boutique(cluster) {
        let Some(app) = prepared(cluster, "boutique", "online-boutique/kubernetes-manifests") else { return };
        app.commit("one");
        settles(&app, 0, "120s", 33);
        let file = app.path().join("app/frontend.yaml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("image: frontend", "image: frontend:v2")).unwrap();
        app.commit("two");
        let plan = app.run("plan -o json").exits(2).json();
        assert_eq!(plan["summary"], json!({"rollout": 1}));
        app.run("sync --timeout 60s").exits(0);
        let live = cluster.object(&app.namespace, "deployment/frontend");
        assert_eq!(live["spec"]["template"]["spec"]["containers"][0]["image"], "frontend:v2");
    }

    /// The same by Kustomize.
    fn online_boutique_by_kustomize(cluster) {
        let Some(app) = prepared(cluster, "kustomized", "online-boutique/kustomize") else { return };
        app.commit("one");
        settles(&app, 0, "120s", 33);
    }
}
