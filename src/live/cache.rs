//! A watch cache: the objects of some kinds, kept current by one list and one watch per kind.
//!
//! In: [`Cache::list`] and [`Cache::watch`] per kind; answers to our own writes ([`Cache::absorb`]), so that what was
//! written is read back at once. Out: [`Cache::get`], [`Cache::all`], a version that changes with the content, and
//! [`Event`]s. Guarantees: an object never goes back to an older `resourceVersion`; a relist after 410 reports what was
//! missed; a connection that hangs without closing is given up (see [`super::pace`]). Caveat: absence from a label-filtered
//! cache proves nothing.

use super::client::{ApiError, Call, Client};
use super::kinds::Kind;
use super::packed::Packed;
use crate::inventory::identity::PART_OF;
use crate::object::{Gvk, Live, Manifest, ObjectKey, Problem};
use futures::StreamExt;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{broadcast, watch};
use tokio::task::AbortHandle;

/// A server that ends watches sooner than this is given a pause before the next one.
const SHORTEST_WATCH: Duration = Duration::from_millis(500);
/// A server that asks for a longer pause than this is asked again all the same.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Whole objects that are kept at hand.
const RECENT: usize = 128;
/// Objects per list request.
const PAGE: &str = "500";
/// A watch line longer than this ends the watch (an object is limited to 1.5 MiB by etcd).
const MAX_LINE: usize = 16 << 20;

/// Which objects of a kind are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Namespace; `None` for all.
    pub namespace: Option<String>,
    /// Label selector; empty for all.
    pub labels: String,
    /// Field selector; empty for all.
    pub fields: String,
}

impl Selection {
    fn narrow(&self, mut call: Call) -> Call {
        if !self.labels.is_empty() {
            call = call.with("labelSelector", &self.labels);
        }
        if !self.fields.is_empty() {
            call = call.with("fieldSelector", &self.fields);
        }
        call
    }
}

/// A counter that moves whenever something changes; several caches can share one.
pub type Pulse = Arc<watch::Sender<u64>>;

/// Something changed in the cache, and not by our own write.
#[derive(Debug, Clone)]
pub struct Event {
    /// Which object.
    pub key: ObjectKey,
    /// As it was before, if it was known.
    pub before: Option<Arc<Packed>>,
    /// As it is now; `None` when it was deleted or left the selection.
    pub after: Option<Arc<Packed>>,
}

#[derive(Debug, Default)]
struct Collection {
    objects: BTreeMap<ObjectKey, Arc<Packed>>,
    /// Set once a list succeeded: the version to watch from.
    resource_version: Option<String>,
    /// True once any list succeeded: from then on differences are events.
    known: bool,
    error: Option<Problem>,
    watcher: Option<AbortHandle>,
    /// To list it again.
    kind: Option<Kind>,
}

/// A cache over several kinds with one selection. Cheap to clone; watches end when the last clone is dropped.
#[derive(Clone)]
pub struct Cache {
    client: Client,
    selection: Selection,
    shared: Arc<Shared>,
}

struct Shared {
    collections: Mutex<BTreeMap<Gvk, Collection>>,
    pulse: Pulse,
    /// Made when somebody listens: its room for what is not read yet is larger than most caches.
    events: OnceLock<broadcast::Sender<Event>>,
    /// Jobs that have succeeded, by uid: a TTL may remove one between two looks.
    finished: Mutex<BTreeMap<ObjectKey, String>>,
    /// Whole objects that were asked for lately: whoever looks at a few again and again does not unpack them each time.
    recent: Mutex<VecDeque<Arc<Live>>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        let collections = self.collections.get_mut().unwrap_or_else(PoisonError::into_inner);
        for watcher in collections.values().filter_map(|c| c.watcher.as_ref()) {
            watcher.abort();
        }
    }
}

impl Cache {
    /// An empty cache.
    pub fn new(client: Client, selection: Selection) -> Self {
        Self::with_pulse(client, selection, Arc::new(watch::channel(0).0))
    }

    /// An empty cache that moves the given pulse.
    pub fn with_pulse(client: Client, selection: Selection, pulse: Pulse) -> Self {
        let (collections, finished, recent) = Default::default();
        let shared = Shared { collections, pulse, events: OnceLock::new(), finished, recent };
        Self { client, selection, shared: Arc::new(shared) }
    }

    /// Lists a kind now and replaces what is known of it.
    ///
    /// # Errors
    /// The list's error, which is also kept until a list succeeds.
    pub async fn list(&self, kind: &Kind, version: &str) -> Result<(), ApiError> {
        let gvk = Gvk::new(&kind.gvk.group, version, &kind.gvk.kind);
        let listed = list(&self.client, kind, version, &self.selection).await;
        self.shared.with(|all| all.entry(gvk.clone()).or_default().kind = Some(kind.clone()));
        self.shared.take_in(&gvk, listed)
    }

    /// Lists a kind unless it is known already.
    ///
    /// # Errors
    /// As [`Cache::list`].
    pub async fn ensure_listed(&self, kind: &Kind, version: &str) -> Result<(), ApiError> {
        let gvk = Gvk::new(&kind.gvk.group, version, &kind.gvk.kind);
        if self.shared.with(|all| all.get(&gvk).is_some_and(|c| c.resource_version.is_some())) {
            return Ok(());
        }
        self.list(kind, version).await
    }

    /// Lists every kind that is known once more, for when a watch may lag behind (a 409 says so). A list that fails leaves
    /// its kind unknown.
    pub async fn relist(&self) {
        let known: Vec<(Gvk, Kind)> = self.shared.with(|all| {
            let kind = |(gvk, c): (&Gvk, &Collection)| c.kind.clone().map(|kind| (gvk.clone(), kind));
            all.iter().filter_map(kind).collect()
        });
        futures::future::join_all(known.iter().map(|(gvk, kind)| async move {
            if let Err(error) = self.list(kind, &gvk.version).await {
                tracing::warn!(cluster = self.client.name(), kind = %gvk, %error, "list failed");
            }
        }))
        .await;
    }

    /// Keeps a kind current from now on. Lists first if that has not been done.
    pub fn watch(&self, kind: &Kind, version: &str) {
        let gvk = Gvk::new(&kind.gvk.group, version, &kind.gvk.kind);
        let weak = Arc::downgrade(&self.shared);
        let (client, selection, kind) = (self.client.clone(), self.selection.clone(), kind.clone());
        self.shared.with(|all| {
            let collection = all.entry(gvk.clone()).or_default();
            if collection.watcher.as_ref().is_none_or(AbortHandle::is_finished) {
                let task = tokio::spawn(keep_current(weak, client, selection, kind, gvk));
                collection.watcher = Some(task.abort_handle());
            }
        });
    }

    /// True once the kind was listed and is still known.
    pub fn is_synced(&self, gvk: &Gvk) -> bool {
        self.shared.with(|all| all.get(gvk).is_some_and(|c| c.resource_version.is_some() && c.error.is_none()))
    }

    /// Why a kind is unknown, if it is.
    pub fn error(&self, gvk: &Gvk) -> Option<Problem> {
        self.shared.with(|all| all.get(gvk).and_then(|c| c.error.clone()))
    }

    /// One object, if it is known.
    pub fn get(&self, gvk: &Gvk, key: &ObjectKey) -> Option<Arc<Live>> {
        let packed = self.shared.with(|all| all.get(gvk)?.objects.get(key).cloned());
        packed.map(|packed| self.shared.whole(&packed))
    }

    /// One object of whatever version is known.
    pub fn find(&self, key: &ObjectKey) -> Option<Arc<Live>> {
        self.peek(key).map(|packed| self.shared.whole(&packed))
    }

    /// The same, packed: for whoever needs only what is at hand.
    pub fn peek(&self, key: &ObjectKey) -> Option<Arc<Packed>> {
        self.shared.with(|all| all.values().find_map(|c| c.objects.get(key).cloned()))
    }

    /// Every known object.
    pub fn all(&self) -> Vec<Arc<Live>> {
        self.chosen(|_| true)
    }

    /// Every known object of an ApplySet.
    pub fn part_of(&self, applyset_id: &str) -> Vec<Arc<Live>> {
        self.chosen(|packed| packed.label(PART_OF) == Some(applyset_id))
    }

    fn chosen(&self, choose: impl Fn(&Packed) -> bool) -> Vec<Arc<Live>> {
        let found: Vec<Arc<Packed>> = self.shared.with(|all| {
            all.values().flat_map(|c| c.objects.values()).filter(|packed| choose(packed)).cloned().collect()
        });
        found.into_iter().map(|packed| packed.whole().0).collect()
    }

    /// How many objects are known, and how many bytes they take.
    pub fn size(&self) -> (usize, usize) {
        self.shared.with(|all| {
            let objects = all.values().flat_map(|c| c.objects.iter());
            objects.fold((0, 0), |(count, bytes), (key, packed)| {
                let key = size_of::<ObjectKey>() + key.name.len() + key.namespace.as_deref().map_or(0, str::len);
                (count + 1, bytes + packed.size() + key)
            })
        })
    }

    /// Uid of a Job of this name that was seen to have succeeded (or is known to, see [`Cache::recall_finished`]), as long
    /// as no other one of that name appeared.
    pub fn finished(&self, key: &ObjectKey) -> Option<String> {
        self.shared.finished().get(key).cloned()
    }

    /// Takes in what was recorded of a Job that has succeeded before.
    pub fn recall_finished(&self, key: &ObjectKey, uid: &str) {
        self.shared.finished().entry(key.clone()).or_insert_with(|| uid.to_owned());
    }

    /// Takes in what the server answered to our own write. No event is sent for it, unless it takes an object over from
    /// another app of ours: that one has to hear of it.
    pub fn absorb(&self, live: &Arc<Live>) {
        let gvk = live.gvk();
        let (key, packed) = (live.key(), Arc::new(Packed::new(live)));
        self.shared.notice(&key, &packed);
        self.shared.keep(live.clone());
        let taken = self.shared.with(|all| {
            let collection = all.get_mut(&gvk)?;
            let known = collection.objects.get(&key);
            if known.is_some_and(|known| !is_newer(&packed, known)) {
                return None;
            }
            let before = collection.objects.insert(key.clone(), packed.clone())?;
            let moved = before.label(PART_OF) != packed.label(PART_OF);
            moved.then_some(Event { key, before: Some(before), after: Some(packed) })
        });
        self.shared.pulse.send_modify(|v| *v += 1);
        if let Some(taken) = taken {
            self.shared.tell(taken);
        }
    }

    /// Takes out what our own write deleted.
    pub fn forget(&self, key: &ObjectKey, uid: Option<&str>) {
        self.shared.with(|all| {
            for collection in all.values_mut() {
                if collection.objects.get(key).is_some_and(|live| uid.is_none() || live.uid() == uid) {
                    collection.objects.remove(key);
                }
            }
        });
        self.shared.pulse.send_modify(|v| *v += 1);
    }

    /// The counter that moves with the content.
    pub fn pulse(&self) -> Pulse {
        self.shared.pulse.clone()
    }

    /// A receiver that is marked changed whenever the content changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.pulse.subscribe()
    }

    /// Events from now on. A receiver that lags must look at everything anew.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events.get_or_init(|| broadcast::channel(4096).0).subscribe()
    }
}

fn is_newer(a: &Packed, b: &Packed) -> bool {
    // Comparable by KEP-5504; a server whose versions are no numbers gets the benefit of the doubt.
    match (number(a.resource_version()), number(b.resource_version())) {
        (Some(a), Some(b)) => a > b,
        _ => true,
    }
}

/// True where it is known: of versions that are no numbers nothing is.
fn is_after(a: Option<&str>, b: Option<&str>) -> bool {
    number(a).zip(number(b)).is_some_and(|(a, b)| a > b)
}

fn number(version: Option<&str>) -> Option<u128> {
    version.and_then(|version| version.parse().ok())
}

type Listed = Result<(Vec<(ObjectKey, Arc<Packed>)>, String), ApiError>;

impl Shared {
    fn with<T>(&self, act: impl FnOnce(&mut BTreeMap<Gvk, Collection>) -> T) -> T {
        act(&mut self.collections.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn finished(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, String>> {
        self.finished.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, event: Event) {
        if let Some(events) = self.events.get() {
            let _ = events.send(event);
        }
    }

    /// Remembers a Job that has succeeded, also as it is deleted; forgets it when another one has its name.
    fn notice(&self, key: &ObjectKey, live: &Packed) {
        let Some(uid) = live.uid().filter(|_| key.is("batch", "Job")) else { return };
        let mut finished = self.finished();
        if live.is_complete() {
            finished.insert(key.clone(), uid.to_owned());
        } else if finished.get(key).is_some_and(|known| known != uid) {
            finished.remove(key);
        }
    }

    fn whole(&self, packed: &Packed) -> Arc<Live> {
        let (live, unpacked) = packed.whole();
        if unpacked {
            self.keep(live.clone());
        }
        live
    }

    fn keep(&self, live: Arc<Live>) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.push_back(live);
        if recent.len() > RECENT {
            recent.pop_front();
        }
    }

    fn take_in(&self, gvk: &Gvk, listed: Listed) -> Result<(), ApiError> {
        let result = self.with(|all| {
            let collection = all.entry(gvk.clone()).or_default();
            let (objects, resource_version) = match listed {
                Ok(listed) => listed,
                Err(error) => {
                    collection.error = Some(error.problem());
                    return Err(error);
                }
            };
            // A watch that broke may come back to a server that counts from anew: then the list is right.
            let sound = collection.error.is_none();
            if sound && is_after(collection.resource_version.as_deref(), Some(&resource_version)) {
                // On its way while the watch went on: what that has told is not told again.
                return Ok(Vec::new());
            }
            let first = !std::mem::replace(&mut collection.known, true);
            let mut fresh: BTreeMap<ObjectKey, Arc<Packed>> = objects.into_iter().collect();
            // Written by ourselves while the list was on its way.
            let ahead = |known: &Packed| sound && is_after(known.resource_version(), Some(&resource_version));
            let written = collection.objects.iter().filter(|(_, known)| ahead(known));
            fresh.extend(written.map(|(key, known)| (key.clone(), known.clone())));
            let before = std::mem::replace(&mut collection.objects, fresh.clone());
            collection.resource_version = Some(resource_version);
            collection.error = None;
            Ok(if first { Vec::new() } else { differences(&before, &fresh) })
        });
        let missed = result?;
        let known = self.with(|all| all.get(gvk).filter(|_| gvk.kind == "Job").map(|c| c.objects.clone()));
        for (key, live) in known.iter().flatten() {
            self.notice(key, live);
        }
        self.pulse.send_modify(|v| *v += 1);
        for event in missed {
            self.tell(event);
        }
        Ok(())
    }

    fn apply_watch_event(&self, gvk: &Gvk, kind: &str, live: Live) {
        let key = live.key();
        let version = live.resource_version().map(str::to_owned);
        let live = Arc::new(live);
        let after = Arc::new(Packed::new(&live));
        self.notice(&key, &after);
        self.keep(live);
        let event = self.with(|all| {
            let collection = all.entry(gvk.clone()).or_default();
            if version.is_some() {
                collection.resource_version = version;
            }
            let before = collection.objects.get(&key).cloned();
            let newer = |known: &Packed| is_after(known.resource_version(), after.resource_version());
            match kind {
                "ADDED" | "MODIFIED" => {
                    if before.as_ref().is_some_and(|known| !is_newer(&after, known)) {
                        return None;
                    }
                    collection.objects.insert(key.clone(), after.clone());
                    Some(Event { key, before, after: Some(after) })
                }
                // Of one that was created again since, by ourselves, this is old news.
                "DELETED" if before.as_ref().is_some_and(|known| newer(known)) => None,
                "DELETED" => {
                    collection.objects.remove(&key)?;
                    Some(Event { key, before, after: None })
                }
                _ => None,
            }
        });
        if let Some(event) = event {
            self.pulse.send_modify(|v| *v += 1);
            self.tell(event);
        }
    }
}

fn differences(before: &BTreeMap<ObjectKey, Arc<Packed>>, after: &BTreeMap<ObjectKey, Arc<Packed>>) -> Vec<Event> {
    let changed = after.iter().filter_map(|(key, live)| {
        let known = before.get(key);
        let same = known.is_some_and(|known| known.resource_version() == live.resource_version());
        (!same).then(|| Event { key: key.clone(), before: known.cloned(), after: Some(live.clone()) })
    });
    let gone = before.iter().filter(|(key, _)| !after.contains_key(*key)).map(|(key, live)| Event {
        key: key.clone(),
        before: Some(live.clone()),
        after: None,
    });
    changed.chain(gone).collect()
}

/// Reads all pages of a list. A page token that ran out (410) starts over once.
async fn list(client: &Client, kind: &Kind, version: &str, selection: &Selection) -> Listed {
    let path = kind.collection_path(version, selection.namespace.as_deref());
    let mut objects = Vec::new();
    let mut token = String::new();
    let mut restarted = false;
    loop {
        let mut call = selection.narrow(Call::get(&path).with("limit", PAGE));
        if !token.is_empty() {
            call = call.with("continue", &token);
        }
        let mut page = match client.send_patiently(&call).await {
            Ok(answer) => answer.body,
            Err(error) if error.code() == Some(410) && !restarted => {
                (restarted, token) = (true, String::new());
                objects.clear();
                continue;
            }
            Err(error) => return Err(error),
        };
        let api_version = Gvk::new(&kind.gvk.group, version, "").api_version();
        if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
            objects.extend(items.into_iter().map(|item| {
                let live = Arc::new(typed(item, &api_version, &kind.gvk.kind));
                (live.key(), Arc::new(Packed::new(&live)))
            }));
        }
        let metadata = |key: &str| {
            page.pointer(&format!("/metadata/{key}")).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        token = metadata("continue");
        if token.is_empty() {
            return Ok((objects, metadata("resourceVersion")));
        }
    }
}

/// Items of a list lack `apiVersion` and `kind`.
fn typed(mut item: Value, api_version: &str, kind: &str) -> Live {
    if let Value::Object(map) = &mut item {
        map.entry("apiVersion").or_insert_with(|| api_version.into());
        map.entry("kind").or_insert_with(|| kind.into());
    }
    Live(item)
}

/// Watches until the cache is dropped: list where there is nothing to watch from, watch, and again.
async fn keep_current(shared: std::sync::Weak<Shared>, client: Client, selection: Selection, kind: Kind, gvk: Gvk) {
    let mut failures: u32 = 0;
    loop {
        let Some(strong) = shared.upgrade() else { return };
        let from = strong.with(|all| all.get(&gvk).and_then(|c| c.resource_version.clone()));
        let ended = match from {
            None => {
                let listed = list(&client, &kind, &gvk.version, &selection).await;
                strong.take_in(&gvk, listed)
            }
            Some(from) => {
                drop(strong);
                watch_once(&shared, &client, &selection, &kind, &gvk, &from).await
            }
        };
        match ended {
            Ok(()) => failures = 0,
            Err(error) => {
                let Some(strong) = shared.upgrade() else { return };
                let gone = error.code() == Some(410);
                strong.with(|all| {
                    if let Some(collection) = all.get_mut(&gvk) {
                        if gone || error.is_not_found() {
                            // Listed anew; what changed meanwhile is reported as events.
                            collection.resource_version = None;
                        }
                        if !gone {
                            collection.error = Some(error.problem());
                        }
                    }
                });
                if gone && failures == 0 {
                    failures = 1;
                    continue;
                }
                drop(strong);
                tracing::debug!(cluster = client.name(), kind = %gvk, %error, "watch ended, trying again");
                failures += 1;
                let pause = Duration::from_millis(100).saturating_mul(1 << failures.min(8));
                let pause = pause.mul_f64(0.5 + rand::random::<f64>() / 2.0);
                tokio::time::sleep(pause.max(error.retry_after().unwrap_or_default().min(LONGEST_PAUSE))).await;
            }
        }
    }
}

/// One watch request, until the server ends it (`Ok`) or something breaks.
async fn watch_once(
    shared: &std::sync::Weak<Shared>,
    client: &Client,
    selection: &Selection,
    kind: &Kind,
    gvk: &Gvk,
    from: &str,
) -> Result<(), ApiError> {
    let (seconds, grace) = client.watch_time();
    let lifetime = Duration::from_secs(seconds) + grace;
    let call = Call::get(kind.collection_path(&gvk.version, selection.namespace.as_deref()))
        .with("watch", "1")
        .with("allowWatchBookmarks", "true")
        .with("timeoutSeconds", seconds.to_string())
        .with("resourceVersion", from);
    let mut stream = std::pin::pin!(client.stream(&selection.narrow(call), lifetime).await?);
    let opened = Instant::now();
    if let Some(shared) = shared.upgrade() {
        shared.with(|all| all.entry(gvk.clone()).or_default().error = None);
    }
    let mut buffer: Vec<u8> = Vec::new();
    loop {
        let chunk = match tokio::time::timeout_at((opened + lifetime).into(), stream.next()).await {
            // Frozen: the server was to end it before. What it did not tell is told by the next one.
            Err(_) => return Err(ApiError::Timeout { cluster: client.name().into(), seconds: lifetime.as_secs() }),
            Ok(None) => {
                tokio::time::sleep_until((opened + SHORTEST_WATCH).into()).await;
                return Ok(());
            }
            Ok(Some(chunk)) => chunk?,
        };
        let Some(shared) = shared.upgrade() else { return Ok(()) };
        buffer.extend_from_slice(&chunk);
        while let Some(end) = buffer.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            take_line(&shared, client, gvk, &line)?;
        }
        if buffer.len() > MAX_LINE {
            return Err(ApiError::BadAnswer {
                cluster: client.name().into(),
                cause: "a watch event is too long".into(),
            });
        }
    }
}

fn take_line(shared: &Shared, client: &Client, gvk: &Gvk, line: &[u8]) -> Result<(), ApiError> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    let bad = |cause: String| ApiError::BadAnswer { cluster: client.name().into(), cause };
    let mut event: Value = serde_json::from_slice(line).map_err(|e| bad(e.to_string()))?;
    let object = event.get_mut("object").map(Value::take).unwrap_or_default();
    match event.get("type").and_then(Value::as_str).unwrap_or_default() {
        "BOOKMARK" => {
            let version = object.pointer("/metadata/resourceVersion").and_then(Value::as_str).map(str::to_owned);
            shared.with(|all| all.entry(gvk.clone()).or_default().resource_version = version);
            Ok(())
        }
        "ERROR" => {
            let code = object.get("code").and_then(Value::as_u64).and_then(|c| u16::try_from(c).ok()).unwrap_or(500);
            let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            Err(ApiError::Status {
                code,
                reason: text("reason"),
                message: text("message"),
                causes: Vec::new(),
                retry_after: None,
            })
        }
        kind => {
            let live = typed(object, &gvk.api_version(), &gvk.kind);
            if live.name().is_empty() {
                return Err(bad(format!("a {kind} event without an object")));
            }
            shared.apply_watch_event(gvk, kind, live);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(version: &str) -> Live {
        Live(json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "x", "namespace": "a", "uid": format!("u{version}"), "resourceVersion": version}}))
    }

    fn listed(versions: &[&str], at: &str) -> Listed {
        let packed = |version: &&str| {
            let live = Arc::new(object(version));
            (live.key(), Arc::new(Packed::new(&live)))
        };
        Ok((versions.iter().map(packed).collect(), at.to_owned()))
    }

    /// A cache that knows the object as of version 5, and how what is told next leaves it.
    fn after(tell: impl FnOnce(&Shared, &Gvk)) -> Option<String> {
        let gvk = Gvk::new("", "v1", "ConfigMap");
        let (collections, finished, recent) = Default::default();
        let pulse = Arc::new(watch::channel(0).0);
        let shared = Shared { collections, pulse, events: OnceLock::new(), finished, recent };
        assert!(shared.take_in(&gvk, listed(&["5"], "5")).is_ok());
        tell(&shared, &gvk);
        let key = object("5").key();
        shared.with(|all| all[&gvk].objects.get(&key).and_then(|known| known.resource_version().map(str::to_owned)))
    }

    #[test]
    fn what_arrives_late_undoes_nothing() {
        let modified = |shared: &Shared, gvk: &Gvk| shared.apply_watch_event(gvk, "MODIFIED", object("8"));
        let deleted = |shared: &Shared, gvk: &Gvk, version: &str| {
            shared.apply_watch_event(gvk, "DELETED", object(version));
        };
        let list = |shared: &Shared, gvk: &Gvk, versions: &[&str], at: &str| {
            assert!(shared.take_in(gvk, listed(versions, at)).is_ok());
        };
        assert_eq!(after(|s, g| deleted(s, g, "6")), None);
        assert_eq!(
            after(|s, g| {
                modified(s, g);
                deleted(s, g, "7");
            })
            .as_deref(),
            Some("8"),
            "created again since"
        );
        assert_eq!(
            after(|s, g| {
                modified(s, g);
                list(s, g, &["6"], "7");
            })
            .as_deref(),
            Some("8"),
            "the watch went on"
        );
        assert_eq!(
            after(|s, g| {
                deleted(s, g, "8");
                list(s, g, &["6"], "7");
            }),
            None,
            "the watch went on"
        );
        assert_eq!(after(|s, g| list(s, g, &[], "7")), None);
        let broken = |shared: &Shared, gvk: &Gvk| {
            modified(shared, gvk);
            shared.with(|all| all.get_mut(gvk).unwrap().error = Some(Problem::new("Gone", "another server")));
            list(shared, gvk, &["2"], "3");
        };
        assert_eq!(after(broken).as_deref(), Some("2"), "a server that counts from anew");
    }
}
