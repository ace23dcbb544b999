//! The tour's eyes: what the cluster's API and the notes say, apart from everything the daemon believes.

use crate::live::cache::{Cache, Selection};
use crate::live::client::{Call, Client};
use crate::live::kinds::Kind;
use crate::object::{Gvk, Live, Manifest};
use crate::report::{ContextKind, GitNotes, Note};
use crate::source::{GitMirror, Revision};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

/// How often notes are read and a condition is looked at.
const TICK: Duration = Duration::from_millis(25);

/// Watches the namespace `shop` and the notes.
pub struct Watcher {
    client: Client,
    notes: GitNotes,
    deployments: Cache,
    /// Fewest ready pods of `web` since it was reset.
    fewest: Arc<AtomicI64>,
}

impl Watcher {
    /// Starts to watch.
    pub fn start(client: Client, mirror: GitMirror) -> Self {
        let selection = Selection { namespace: Some("shop".into()), ..Selection::default() };
        let deployments = Cache::new(client.clone(), selection);
        let kind = Kind {
            gvk: Gvk::new("apps", "v1", "Deployment"),
            versions: vec!["v1".into()],
            plural: "deployments".into(),
            namespaced: true,
            listable: true,
        };
        deployments.watch(&kind, "v1");
        let fewest = Arc::new(AtomicI64::new(i64::MAX));
        let (mut events, lowest) = (deployments.events(), fewest.clone());
        tokio::spawn(async move {
            while let Ok(event) = events.recv().await {
                if event.key.name == "web"
                    && let Some(live) = event.after
                {
                    lowest.fetch_min(number(&live.whole().0, "/status/readyReplicas"), Ordering::Relaxed);
                }
            }
        });
        Self { client, notes: GitNotes::new(mirror), deployments, fewest }
    }

    /// Counts the fewest ready pods of `web` from now on.
    pub fn reset_fewest(&self) {
        self.fewest.store(i64::MAX, Ordering::Relaxed);
    }

    /// The fewest ready pods of `web` that any event showed.
    pub fn fewest(&self) -> i64 {
        self.fewest.load(Ordering::Relaxed)
    }

    /// Reads an object from the API.
    pub async fn get(&self, path: &str) -> Option<Live> {
        self.client.send(&Call::get(path)).await.ok().map(|answer| Live(answer.body))
    }

    /// Lists objects.
    pub async fn list(&self, path: &str, labels: &str) -> Vec<Value> {
        let answer = self.client.send(&Call::get(path).with("labelSelector", labels)).await.ok();
        answer.and_then(|a| a.body.get("items").and_then(Value::as_array).cloned()).unwrap_or_default()
    }

    /// A Deployment of the namespace `shop`.
    pub async fn deployment(&self, name: &str) -> Option<Live> {
        self.get(&format!("/apis/apps/v1/namespaces/shop/deployments/{name}")).await
    }

    /// Statuses of a commit in one context.
    pub fn said(&self, revision: &Revision, kind: ContextKind) -> Vec<Note> {
        let notes = self.notes.read(revision).unwrap_or_default();
        notes.into_iter().filter(|note| note.context.kind == kind).collect()
    }

    /// Waits until `look` finds something, for at most `patience`.
    pub async fn until<T, F: Future<Output = Option<T>>>(&self, patience: Duration, look: impl Fn() -> F) -> Option<T> {
        let deadline = Instant::now() + patience;
        let mut changes = self.deployments.changes();
        loop {
            if let Some(found) = look().await {
                return Some(found);
            }
            if Instant::now() >= deadline {
                return None;
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }
}

/// A number in an object, 0 where it is absent.
pub fn number(live: &Live, pointer: &str) -> i64 {
    live.at(pointer).and_then(Value::as_i64).unwrap_or(0)
}
