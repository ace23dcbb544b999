//! Simulated nodes for a real API server: registers them, watches pods and nodes, and carries out over HTTP what the
//! pure kubelet asks for. The only I/O of this folder.
//!
//! ```ignore
//! let nodes = SimulatedNodes::start(client, Nodes { count: 3, cpu: "4".into(), memory: "8Gi".into() }).await?;
//! // … pods that the scheduler binds to node-1, node-2, node-3 run …
//! nodes.stop().await;
//! ```
//!
//! Guarantees
//! - It acts when an event arrives or a pod's time comes; nothing is polled.
//! - A watch that ends, fails or falls silent is opened again, with a list first where its version is too old.
//! - It outlives restarts of the API server: what fails is tried again, after 1 s, 2 s, … 60 s.
//! - It knows nothing about ConfigMaps and Secrets: pods start without them.

use super::super::controllers::index::Index;
use super::super::controllers::kind::{LEASE, NODE, POD, api_version};
use super::super::controllers::meta::{gk, items, name, namespace, text};
use super::super::controllers::refusal::Refusals;
use super::cache::Cache;
use super::{Memory, Nodes, pod};
use crate::cluster::view::{Refusal, Step, View, Write};
use crate::object::{Gk, Problem};
use futures::{StreamExt, TryStreamExt, stream};
use http::{Method, Request};
use jiff::Timestamp;
use kube::core::WatchEvent;
use kube::{Client, Config};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Requests under way at once.
const CONCURRENCY: usize = 16;
/// Seconds after which the API server ends a watch.
const WATCH_SECONDS: u64 = 240;
/// A watch this long without a byte is dead: bookmarks come about every minute.
const WATCH_SILENCE: Duration = Duration::from_secs(150);
/// Longest a write may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Why simulated nodes did not start.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The kubeconfig cannot be read or used.
    #[error("{path}: {message}")]
    Kubeconfig {
        /// Its path.
        path: String,
        /// What is wrong with it.
        message: String,
    },
    /// The API server refuses a node.
    #[error("the API server at hand refuses node {node}: {message}")]
    Registration {
        /// The node.
        node: String,
        /// The API server's words.
        message: String,
    },
}

impl From<DriverError> for Problem {
    fn from(error: DriverError) -> Self {
        let message = error.to_string();
        match error {
            DriverError::Kubeconfig { .. } => Self::new("InvalidKubeconfig", message)
                .hint("name a kubeconfig file whose current context works with kubectl"),
            DriverError::Registration { .. } => Self::new("NodeRefused", message).hint(
                "simulated nodes need the rights of an administrator: creating nodes, and changing pods' statuses",
            ),
        }
    }
}

/// Running simulated nodes. Dropping it stops them at once; their objects stay.
pub struct SimulatedNodes {
    tasks: JoinSet<()>,
}

impl SimulatedNodes {
    /// Registers the nodes (again) and lets them run. Call it within a tokio runtime.
    ///
    /// # Errors
    /// Where the API server refuses a node for another reason than that it is there already.
    pub async fn start(client: Client, nodes: Nodes) -> Result<Self, DriverError> {
        let driver = Arc::new(Driver { client, nodes, cache: Mutex::default(), changed: Notify::new() });
        for (_, write) in driver.nodes.register() {
            if let Err(refusal) = driver.send(&write).await
                && refusal.reason != "AlreadyExists"
            {
                let node = if let Write::Create { object } = &write { name(object) } else { "" };
                return Err(DriverError::Registration { node: node.to_owned(), message: refusal.message });
            }
        }
        let mut tasks = JoinSet::new();
        for (kind, path) in [(&*NODE, "/api/v1/nodes"), (&*POD, "/api/v1/pods")] {
            let driver = Arc::clone(&driver);
            tasks.spawn(async move { driver.watch(kind, path).await });
        }
        tasks.spawn(async move { driver.run().await });
        Ok(Self { tasks })
    }

    /// The same with the current context of a kubeconfig file.
    ///
    /// # Errors
    /// Where the file cannot be used, besides.
    pub async fn start_with_kubeconfig(path: &Path, nodes: Nodes) -> Result<Self, DriverError> {
        let failed = |message: String| DriverError::Kubeconfig { path: path.display().to_string(), message };
        let kubeconfig = kube::config::Kubeconfig::read_from(path).map_err(|e| failed(e.to_string()))?;
        let options = kube::config::KubeConfigOptions::default();
        let mut config =
            Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|e| failed(e.to_string()))?;
        // Retries are this module's own: it knows which writes are outdated by then.
        config.default_retry = false;
        let client = Client::try_from(config).map_err(|e| failed(e.to_string()))?;
        Self::start(client, nodes).await
    }

    /// Stops the nodes and waits until nothing of them runs.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

/// A write and how it ended.
type Outcome = (&'static str, Write, Result<Value, Refusal>);

struct Driver {
    client: Client,
    nodes: Nodes,
    cache: Mutex<Cache>,
    changed: Notify,
}

impl Driver {
    fn with_cache<T>(&self, f: impl FnOnce(&mut Cache) -> T) -> T {
        f(&mut self.cache.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Steps whenever something has changed or is due.
    async fn run(&self) {
        let (mut memory, mut refusals) = (Memory::default(), Refusals::default());
        loop {
            let now = Timestamp::now();
            let step = self.with_cache(|cache| self.step(cache, &mut memory, &mut refusals, now));
            if !step.writes.is_empty() {
                self.carry_out(step.writes, &mut refusals).await;
                continue;
            }
            let wait =
                step.wake_at.map(|at| Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default());
            tokio::select! {
                () = self.changed.notified() => {}
                // Without a time of its own it waits for a change: an hour is as good as for ever.
                () = tokio::time::sleep(wait.unwrap_or(Duration::from_secs(3600))) => {}
            }
        }
    }

    /// The pure part: what the kubelets want now, without what has to wait.
    fn step(&self, view: &dyn View, memory: &mut Memory, refusals: &mut Refusals, now: Timestamp) -> Step {
        refusals.tidy(now);
        let index = Index::new(view, refusals, now);
        let mut step = self.nodes.run(&index);
        step.append(pod::run(&self.nodes, memory, &index));
        let held = |(actor, write): &(&str, Write)| refusals.held_until(actor, write, now);
        if let Some(until) = step.writes.iter().filter_map(held).min() {
            step.wake(until);
        }
        step.writes.retain(|write| held(write).is_none());
        step
    }

    /// Carries out writes: about one object in order, about different ones at once.
    async fn carry_out(&self, writes: Vec<(&'static str, Write)>, refusals: &mut Refusals) {
        let mut groups: BTreeMap<String, Vec<(&'static str, Write)>> = BTreeMap::new();
        for (actor, write) in writes {
            groups.entry(subject(&write)).or_default().push((actor, write));
        }
        let requests: Vec<_> = groups.into_values().map(|group| self.send_in_order(group)).collect();
        let outcomes: Vec<Outcome> = stream::iter(requests).buffer_unordered(CONCURRENCY).concat().await;
        let now = Timestamp::now();
        for (actor, write, outcome) in outcomes {
            match outcome {
                Ok(answer) => {
                    refusals.forget(actor, &write, now);
                    self.with_cache(|cache| learn(cache, &write, answer));
                }
                Err(refusal) => {
                    self.with_cache(|cache| unlearn(cache, &write, &refusal));
                    self.adopt(&write, &refusal).await;
                    // Something that is gone, or an Event that is there already, is as it should be.
                    if !matches!(refusal.reason.as_str(), "NotFound" | "AlreadyExists") {
                        tracing::debug!(?refusal, "a simulated node's write was refused");
                        refusals.record(actor, &write, refusal, now);
                    }
                }
            }
        }
    }

    async fn send_in_order(&self, group: Vec<(&'static str, Write)>) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for (actor, write) in group {
            let outcome = self.send(&write).await;
            outcomes.push((actor, write, outcome));
        }
        outcomes
    }

    /// A Lease left by an earlier start is not watched: it is read when its creation says that it exists.
    async fn adopt(&self, write: &Write, refusal: &Refusal) {
        let Write::Create { object } = write else { return };
        let kind = gk(object);
        if refusal.reason != "AlreadyExists" || kind != *LEASE {
            return;
        }
        let path = format!("{}/{}", collection(&kind, namespace(object)), name(object));
        let Ok(request) = get(&path) else { return };
        if let Ok(Ok(known)) = tokio::time::timeout(WRITE_TIMEOUT, self.client.request::<Value>(request)).await {
            self.with_cache(|cache| cache.put(&kind, known));
        } else {
            // Not again at once.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn send(&self, write: &Write) -> Result<Value, Refusal> {
        let request = request(write)?;
        let answer = tokio::time::timeout(WRITE_TIMEOUT, self.client.request::<Value>(request)).await;
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kube::Error::Api(status))) => {
                Err(Refusal { code: status.code, reason: status.reason.clone(), message: status.message.clone() })
            }
            Ok(Err(error)) => Err(Refusal { code: 0, reason: "Unreachable".to_owned(), message: error.to_string() }),
            Err(_) => Err(Refusal { code: 0, reason: "Timeout".to_owned(), message: "no answer in time".to_owned() }),
        }
    }

    /// Keeps the cache of one kind up to date, for ever.
    async fn watch(&self, kind: &Gk, path: &str) {
        let mut wait = Duration::from_millis(100);
        loop {
            if let Err(error) = self.list_and_watch(kind, path, &mut wait).await {
                tracing::debug!(%error, kind = %kind, "the watch of simulated nodes failed");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(Duration::from_secs(5));
            }
        }
    }

    /// One list, and watches from there until one fails.
    async fn list_and_watch(&self, kind: &Gk, path: &str, wait: &mut Duration) -> Result<(), kube::Error> {
        let list: Value = self.client.request(get(path)?).await?;
        let mut version = text(&list["metadata"]["resourceVersion"]).to_owned();
        self.with_cache(|cache| cache.replace(kind, items(&list["items"]).to_vec(), version.parse().unwrap_or(0)));
        self.changed.notify_one();
        *wait = Duration::from_millis(100);
        loop {
            let query = format!(
                "{path}?watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={version}"
            );
            let mut events = std::pin::pin!(self.client.request_events::<Value>(get(&query)?).await?);
            // Silence ends this watch as an end does; the next one begins where it left off.
            while let Ok(Some(event)) = tokio::time::timeout(WATCH_SILENCE, events.try_next()).await.unwrap_or(Ok(None))
            {
                let news = match event {
                    WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                        text(&object["metadata"]["resourceVersion"]).clone_into(&mut version);
                        self.with_cache(|cache| cache.put(kind, object))
                    }
                    WatchEvent::Deleted(object) => {
                        text(&object["metadata"]["resourceVersion"]).clone_into(&mut version);
                        self.with_cache(|cache| cache.remove(kind, &object));
                        true
                    }
                    WatchEvent::Bookmark(bookmark) => {
                        version.clone_from(&bookmark.metadata.resource_version);
                        false
                    }
                    // 410 Gone, above all: list again.
                    WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
                };
                if news {
                    self.changed.notify_one();
                }
            }
        }
    }
}

/// What a write is about. An Event goes by itself: nothing waits for it.
fn subject(write: &Write) -> String {
    let of = |gk: &Gk, space: Option<&str>, name: &str| format!("{gk} {}/{name}", space.unwrap_or_default());
    match write {
        Write::Create { object } | Write::Update { object } | Write::UpdateStatus { object } => {
            of(&gk(object), namespace(object), name(object))
        }
        Write::MergePatch { gk, namespace, name, .. } | Write::Delete { gk, namespace, name, .. } => {
            of(gk, namespace.as_deref(), name)
        }
        Write::Bind { namespace, pod, .. } => of(&POD, Some(namespace), pod),
    }
}

/// Puts the answer of a write into the cache, so that the next step need not wait for the watch.
fn learn(cache: &mut Cache, write: &Write, mut answer: Value) {
    match write {
        Write::Create { object } => {
            cache.put(&gk(object), answer);
        }
        Write::MergePatch { gk, .. } => {
            cache.put(gk, answer);
        }
        Write::Delete { gk, namespace, name, .. } => {
            // What is left of it are finalizers, or nothing. Either way this deletion is not asked for again.
            if items(&answer["metadata"]["finalizers"]).is_empty() {
                cache.forget(gk, namespace.as_deref(), name);
            } else if let Some(metadata) = answer.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.insert("deletionGracePeriodSeconds".to_owned(), json!(0));
                cache.put(gk, answer);
            }
        }
        _ => {}
    }
}

/// An object that the API server does not have is not to be had here.
fn unlearn(cache: &mut Cache, write: &Write, refusal: &Refusal) {
    if refusal.reason != "NotFound" {
        return;
    }
    if let Write::MergePatch { gk, namespace, name, .. } | Write::Delete { gk, namespace, name, .. } = write {
        cache.forget(gk, namespace.as_deref(), name);
    }
}

fn get(path: &str) -> Result<Request<Vec<u8>>, kube::Error> {
    Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)
}

/// Where objects of a kind are, without the name.
fn collection(gk: &Gk, space: Option<&str>) -> String {
    let version = api_version(gk);
    let root = if gk.group.is_empty() { format!("/api/{version}") } else { format!("/apis/{version}") };
    let plural = format!("{}s", gk.kind.to_lowercase());
    match space {
        Some(space) => format!("{root}/namespaces/{space}/{plural}"),
        None => format!("{root}/{plural}"),
    }
}

/// The HTTP request for a write, as a kubelet makes it.
fn request(write: &Write) -> Result<Request<Vec<u8>>, Refusal> {
    let body = |value: &Value| value.to_string().into_bytes();
    let (method, path, content, bytes) = match write {
        Write::Create { object } => {
            let path = format!("{}?fieldManager=kubelet", collection(&gk(object), namespace(object)));
            (Method::POST, path, "application/json", body(object))
        }
        Write::MergePatch { gk, namespace, name, patch, subresource } => {
            let subresource = subresource.as_ref().map_or_else(String::new, |s| format!("/{s}"));
            let path = format!("{}/{name}{subresource}?fieldManager=kubelet", collection(gk, namespace.as_deref()));
            (Method::PATCH, path, "application/merge-patch+json", body(patch))
        }
        Write::Delete { gk, namespace, name, uid, propagation, grace_seconds } => {
            let mut options = json!({"apiVersion": "v1", "kind": "DeleteOptions"});
            if let Some(options) = options.as_object_mut() {
                let put = [
                    ("gracePeriodSeconds", grace_seconds.map(|grace| json!(grace))),
                    ("propagationPolicy", propagation.as_ref().map(|policy| json!(policy))),
                    ("preconditions", uid.as_ref().map(|uid| json!({"uid": uid}))),
                ];
                options.extend(put.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
            }
            let path = format!("{}/{name}", collection(gk, namespace.as_deref()));
            (Method::DELETE, path, "application/json", body(&options))
        }
        Write::Update { .. } | Write::UpdateStatus { .. } | Write::Bind { .. } => {
            let message = "kubelets make no such request".to_owned();
            return Err(Refusal { code: 0, reason: "Unsupported".to_owned(), message });
        }
    };
    let request = Request::builder().method(method).uri(path).header("content-type", content).body(bytes);
    request.map_err(|error| Refusal { code: 0, reason: "InvalidRequest".to_owned(), message: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_those_of_a_kubelet() {
        let nodes = Nodes { count: 1, cpu: "4".into(), memory: "8Gi".into() };
        let (_, create) = nodes.register().remove(0);
        assert_eq!(request(&create).unwrap().uri(), "/api/v1/nodes?fieldManager=kubelet");
        let delete = Write::Delete {
            gk: POD.clone(),
            namespace: Some("n".into()),
            name: "p".into(),
            uid: Some("u".into()),
            propagation: None,
            grace_seconds: Some(0),
        };
        let delete = request(&delete).unwrap();
        assert_eq!((delete.method(), delete.uri().path()), (&Method::DELETE, "/api/v1/namespaces/n/pods/p"));
        let options: Value = serde_json::from_slice(delete.body()).unwrap();
        assert_eq!(options["gracePeriodSeconds"], 0);
        assert_eq!(options["preconditions"]["uid"], "u");
    }
}
