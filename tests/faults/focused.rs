//! What the seeds found, or may find too rarely, each by itself.

use super::life::{End, Repo, Way};
use super::world::Commit;
use super::{embedded, runtime};
use crate::support::fault_proxy::FaultProxy;
use driftless::live::client::{Call, Client};
use http::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

fn commit(objects: &[Value]) -> Commit {
    let file = |object: &Value| {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        (format!("app/{name}.yaml"), object.to_string())
    };
    Commit { subject: "a commit".to_owned(), files: objects.iter().map(file).collect(), wants: None }
}

fn config_map(value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"v": value}})
}

async fn get(client: &Client, path: &str) -> Value {
    client.send(&Call::get(path)).await.map(|answer| answer.body).unwrap_or_default()
}

/// Looks until it is so.
async fn eventually(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !look().await {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Every watch freezes, without an end. What somebody changes then is repaired all the same, soon after the time at
/// which the server was to end the watches.
#[test]
fn watches_that_freeze_are_noticed() {
    let (_cluster, bench) = embedded();
    let repo = Repo::new("frozen");
    let proxy = runtime().block_on(FaultProxy::start(bench.upstream.clone(), 1, 0)).unwrap();
    let head = repo.push(&commit(&[config_map("git")]));
    let path = "/api/v1/namespaces/frozen/configmaps/settings";
    Way::Inside.live(&bench, &repo, &proxy, async {
        eventually("the first sync", async || repo.states(&head).last().is_some_and(|said| said.0 == "success")).await;
        proxy.freeze_watches();
        let mut edit = Call::get(path).with("fieldManager", "somebody");
        (edit.method, edit.content_type) = (Method::PATCH, "application/merge-patch+json");
        edit.body = Some(json!({"data": {"v": "by hand"}}));
        bench.client.send(&edit).await.unwrap();
        let edited = Instant::now();
        eventually("the repair", async || get(&bench.client, path).await["data"]["v"] == "git").await;
        assert!(edited.elapsed() < Duration::from_secs(8), "{:?}", edited.elapsed());
        End::Killed
    });
}

/// A newer commit stops a sync between the two writes that scale a Deployment and roll it out. The Deployment is the same
/// in both commits: the second one has to bring the image all the same.
#[test]
fn a_rollout_that_was_stopped_after_its_scale_is_made_up_for() {
    let (_cluster, bench) = embedded();
    let repo = Repo::new("halved");
    let proxy = runtime().block_on(FaultProxy::start(bench.upstream.clone(), 1, 0)).unwrap();
    let deployment = |image: &str, replicas: u32| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"},
                        "annotations": {"sim.driftless.dev/ready-after": "700ms"}},
                    "spec": {"containers": [{"name": "main", "image": image}]}}}})
    };
    let first = repo.push(&commit(&[deployment("registry.example/web:1", 1), config_map("1")]));
    let path = "/apis/apps/v1/namespaces/halved/deployments/web";
    let image = async || {
        let live = get(&bench.client, path).await;
        let image = live["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or_default().to_owned();
        (live["spec"]["replicas"].as_u64(), image)
    };
    Way::Inside.live(&bench, &repo, &proxy, async {
        let succeeds = async |commit: &str| repo.states(commit).last().is_some_and(|said| said.0 == "success");
        eventually("the first sync", async || succeeds(&first).await).await;
        let second = repo.push(&commit(&[deployment("registry.example/web:2", 2), config_map("1")]));
        eventually("the scale", async || image().await.0 == Some(2)).await;
        assert_eq!(image().await.1, "registry.example/web:1", "the rollout waits for the pods of the scale");
        let third = repo.push(&commit(&[deployment("registry.example/web:2", 2), config_map("2")]));
        eventually("the third sync", async || succeeds(&third).await).await;
        assert_eq!(image().await, (Some(2), "registry.example/web:2".to_owned()));
        let said: BTreeMap<_, _> = [&second, &third].map(|commit| (commit.clone(), repo.states(commit))).into();
        assert_eq!(said[&second].last().map(|said| said.0.as_str()), Some("superseded"), "{said:?}");
        End::Killed
    });
}
