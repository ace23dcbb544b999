//! What must hold: checked whenever a daemon sends a write, after each write that is carried out, and after each step of
//! the controllers.
//!
//! - Only who holds an app's lock sends writes for it, and nothing is carried out while another one holds it.
//! - What carries an app's label is in its inventory (write-ahead).
//! - A deletion names a uid, and that object is in an inventory: a stranger's or a recreated one is never deleted. Nor is
//!   what every commit so far wants.
//! - Nothing of another ApplySet is written, nor anything that no commit wants.
//! - An update of what exists names a uid, or does not take fields by force.
//! - Nothing is pruned before what the same sync rolled out is healthy.
//! - A Deployment without spare pods never has fewer available ones than it was promised, unless somebody disturbs it.
//! - In the end live state is what Git says, and a further sync writes nothing.

use super::history::{Content, SLOTS, WEB, place};
use super::instance::HOME;
use driftless::cluster::request::ApiRequest;
use driftless::cluster::server::ApiServer;
use driftless::inventory::codec::decode;
use driftless::inventory::identity::{ID, PART_OF};
use driftless::inventory::{Parent, StoredParent};
use driftless::object::{Gk, Live};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Kinds of the objects that a repository holds, by plural.
const KINDS: [(&str, &str, &str); 5] = [
    ("configmaps", "", "ConfigMap"),
    ("secrets", "", "Secret"),
    ("serviceaccounts", "", "ServiceAccount"),
    ("services", "", "Service"),
    ("deployments", "apps", "Deployment"),
];

/// What is known so far.
#[derive(Default)]
pub struct Oracle {
    /// The first thing that did not hold.
    pub failure: Option<String>,
    /// When a daemon wrote anything but its lease.
    pub last_write: u64,
    /// How often.
    pub writes: u64,
    /// Slots that any commit wanted, and that every one did.
    ever: BTreeSet<usize>,
    always: Option<BTreeSet<usize>>,
    /// Inventories as last read, by ApplySet id.
    parents: BTreeMap<String, StoredParent>,
    known: u64,
    /// The Deployment while nobody disturbs it: its uid, and how many pods were promised.
    steady: Option<(String, i64)>,
    /// Deployments that a sync under way has changed: by whom, of which ApplySet, and which.
    rolled: Vec<(String, String, String)>,
}

/// What was there before a write.
pub struct Before {
    place: Option<(Gk, String)>,
    object: Option<Arc<Value>>,
}

/// The object of the shop that a request is about.
fn about(request: &ApiRequest) -> Option<(Gk, String)> {
    let (_, rest) = request.path.split_once("/namespaces/shop/")?;
    let (plural, name) = rest.split_once('/')?;
    let (_, group, kind) = KINDS.iter().find(|(known, ..)| *known == plural)?;
    Some((Gk::new(*group, *kind), name.to_owned()))
}

fn slot_of(gk: &Gk, name: &str) -> Option<usize> {
    (0..SLOTS).find(|slot| {
        let (collection, known) = place(*slot);
        let plural = collection.rsplit('/').next();
        known == name && KINDS.iter().any(|(p, _, kind)| Some(*p) == plural && *kind == gk.kind)
    })
}

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
}

fn label(object: &Value) -> Option<&str> {
    object["metadata"]["labels"][PART_OF].as_str()
}

impl Oracle {
    /// A commit was made.
    pub fn committed(&mut self, content: &Content) {
        let wanted: BTreeSet<usize> = content.0.keys().copied().collect();
        self.ever.extend(&wanted);
        self.always = Some(self.always.take().map_or(wanted.clone(), |always| &always & &wanted));
    }

    /// Somebody does something that may cost pods.
    pub fn disturbed(&mut self) {
        self.steady = None;
        self.rolled.clear();
    }

    /// True for a write that is told of: anything but a lease.
    pub fn counted(&self, request: &ApiRequest) -> bool {
        !request.path.contains("/leases")
    }

    fn fail(&mut self, what: String) {
        self.failure.get_or_insert(what);
    }

    fn read_parents(&mut self, server: &ApiServer) {
        let gk = Gk::new("", "ConfigMap");
        let version = server.store().changed(&gk);
        if self.known == version {
            return;
        }
        self.known = version;
        let all = server.store().list(&gk, Some(HOME)).into_iter();
        self.parents = all
            .filter_map(|map| {
                let id = map["metadata"]["labels"][ID].as_str()?.to_owned();
                let mut map = (**map).clone();
                map["apiVersion"] = "v1".into();
                map["kind"] = "ConfigMap".into();
                Some((id, decode(&Live(map)).unwrap()))
            })
            .collect();
    }

    /// The app that a write is for, where that can be told: an object moves to the one that its new label names.
    fn owner(&self, request: &ApiRequest, body: &Value, stored: Option<&Value>) -> Option<String> {
        let stored = stored.filter(|_| request.method == "DELETE").and_then(label);
        label(body).or(stored).filter(|owner| self.parents.contains_key(*owner)).map(str::to_owned)
    }

    fn holders(&self, applyset: Option<&str>) -> Vec<&StoredParent> {
        self.parents.iter().filter(|(id, _)| applyset.is_none_or(|want| want == *id)).map(|(_, p)| p).collect()
    }

    /// A daemon sends a request.
    pub fn sent(&mut self, server: &ApiServer, id: &str, request: &ApiRequest, now: Timestamp) {
        let writes = request.method != "GET" && request.param("dryRun").is_none();
        let Some((gk, name)) = about(request).filter(|_| writes) else { return };
        self.read_parents(server);
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let stored = server.store().get(&gk, "shop", &name);
        let owner = self.owner(request, &body, stored.map(|object| &**object));
        let holds = |parent: &&StoredParent| {
            parent.lock.as_ref().is_some_and(|lock| lock.holder.id == id && lock.expires > now)
        };
        if !self.holders(owner.as_deref()).iter().any(holds) {
            let locks: Vec<String> =
                self.parents.values().map(|p| format!("{}: {:?}", p.parent.identity.app, p.lock)).collect();
            self.fail(format!(
                "{id} sends {} {} at {now} without the app's lock: {locks:#?}",
                request.method, request.path
            ));
        }
    }

    /// A write is about to be carried out.
    pub fn before(&mut self, server: &ApiServer, request: &ApiRequest) -> Before {
        let place = about(request);
        let object = place.as_ref().and_then(|(gk, name)| server.store().get(gk, "shop", name).cloned());
        self.read_parents(server);
        Before { place, object }
    }

    /// A write was carried out.
    pub fn after(
        &mut self,
        server: &ApiServer,
        (id, request, before): (&str, &ApiRequest, Before),
        status: u16,
        now: Timestamp,
    ) {
        if status >= 300 {
            return;
        }
        if self.counted(request) {
            self.writes += 1;
        }
        if let Some((gk, name)) = &before.place {
            self.judge(id, request, (gk, name, before.object.as_deref()), now);
            self.in_order(server, id, request, (gk, name, before.object.as_deref()));
        }
        self.read_parents(server);
        let locked: Vec<String> =
            self.parents.iter().filter(|(_, p)| p.lock.is_some()).map(|(id, _)| id.clone()).collect();
        self.rolled.retain(|(_, applyset, _)| locked.contains(applyset));
        self.all_in_inventory(server, request);
    }

    fn judge(
        &mut self,
        id: &str,
        request: &ApiRequest,
        (gk, name, before): (&Gk, &str, Option<&Value>),
        now: Timestamp,
    ) {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let what = format!("{id}: {} {gk} {name}", request.method);
        let owner = self.owner(request, &body, before);
        let others = |parent: &&StoredParent| {
            parent.lock.as_ref().is_some_and(|lock| lock.holder.id != id && lock.expires > now)
        };
        if owner.is_some() && self.holders(owner.as_deref()).iter().any(others) {
            self.fail(format!("{what} is carried out while another process holds the lock"));
        }
        let slot = slot_of(gk, name);
        if request.method == "DELETE" {
            let uid = text(&body, "/preconditions/uid");
            let known = self.parents.values().any(|p| remembers(&p.parent, gk, name, before));
            match uid {
                None => self.fail(format!("{what} without a uid")),
                Some(_) if !known => self.fail(format!("{what} deletes what is in no inventory: {before:?}")),
                Some(_) => {}
            }
            if slot.is_some_and(|slot| self.always.as_ref().is_some_and(|always| always.contains(&slot))) {
                self.fail(format!("{what} deletes what every commit wants"));
            }
            return;
        }
        if name != "keep" && slot.is_none_or(|slot| !self.ever.contains(&slot)) {
            self.fail(format!("{what} writes what no commit wants"));
        }
        if before.and_then(label).is_some_and(|label| !self.parents.contains_key(label)) {
            self.fail(format!("{what} writes another ApplySet's object"));
        }
        let apply = request.content_type.starts_with("application/apply-patch");
        if apply && before.is_some() && request.param("force") == Some("true") && text(&body, "/metadata/uid").is_none()
        {
            self.fail(format!("{what} takes fields by force without a uid: {body}"));
        }
    }

    /// Prunes come last.
    fn in_order(
        &mut self,
        server: &ApiServer,
        id: &str,
        request: &ApiRequest,
        (gk, name, before): (&Gk, &str, Option<&Value>),
    ) {
        let stored = server.store().get(gk, "shop", name);
        let deployments = Gk::new("apps", "Deployment");
        if request.method == "DELETE" {
            let Some(owner) = before.and_then(label) else { return };
            let rolled: Vec<&String> = self
                .rolled
                .iter()
                .filter(|(by, of, which)| by == id && of == owner && which != name)
                .map(|(.., which)| which)
                .collect();
            for which in rolled {
                let Some(live) = server.store().get(&deployments, "shop", which) else { continue };
                if !is_rolled_out(live) {
                    self.failure.get_or_insert(format!(
                        "{id} prunes {gk} {name} before {which} is healthy: {}",
                        live["status"]
                    ));
                }
            }
        } else if *gk == deployments
            && let Some(stored) = stored
            && let Some(owner) = label(stored)
            && before.is_none_or(|before| before["metadata"]["generation"] != stored["metadata"]["generation"])
        {
            self.rolled.push((id.to_owned(), owner.to_owned(), name.to_owned()));
        }
    }

    /// What carries our label is announced.
    fn all_in_inventory(&mut self, server: &ApiServer, request: &ApiRequest) {
        let mut lost = Vec::new();
        for (_, group, kind) in KINDS {
            let gk = Gk::new(group, kind);
            for object in server.store().list(&gk, Some("shop")) {
                let Some(id) = label(object).filter(|id| *id != "applyset-of-others-v1") else { continue };
                let name = text(object, "/metadata/name").unwrap_or_default();
                let announced = self.parents.get(id).is_some_and(|p| lists(&p.parent, &gk, name));
                if !announced {
                    lost.push(format!(
                        "after {} {} the inventory does not list {gk} {name}",
                        request.method, request.path
                    ));
                }
            }
        }
        if let Some(first) = lost.into_iter().next() {
            self.fail(first);
        }
    }

    /// The controllers acted.
    pub fn controlled(&mut self, server: &ApiServer) {
        let web = server.store().get(&Gk::new("apps", "Deployment"), "shop", place(WEB).1);
        let Some(web) = web.filter(|web| web["metadata"]["deletionTimestamp"].is_null()) else {
            self.steady = None;
            return;
        };
        let number = |pointer: &str| web.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
        let (wanted, available) = (number("/spec/replicas"), number("/status/availableReplicas"));
        let uid = text(web, "/metadata/uid").unwrap_or_default().to_owned();
        let current = number("/status/observedGeneration") == number("/metadata/generation");
        self.steady = match self.steady.take() {
            Some((known, promised)) if known == uid => {
                let promised = promised.min(wanted);
                if available < promised && current {
                    self.fail(format!("of {promised} promised pods {available} are available"));
                }
                Some((uid, if available >= wanted { wanted } else { promised }))
            }
            _ => (available >= wanted && current).then_some((uid, wanted)),
        };
    }

    /// Where live state is not what Git says.
    pub fn differences(&mut self, server: &ApiServer, content: &Content) -> Vec<String> {
        self.read_parents(server);
        let mut out = Vec::new();
        let mut wanted: BTreeSet<(String, String)> = BTreeSet::new();
        for (front, object) in content.objects() {
            let (kind, name) = (text(&object, "/kind").unwrap(), text(&object, "/metadata/name").unwrap());
            wanted.insert((kind.to_owned(), name.to_owned()));
            let group = if kind == "Deployment" { "apps" } else { "" };
            let app = if front { "front" } else { "back" };
            let id = self.parents.iter().find(|(_, p)| p.parent.identity.app == app).map(|(id, _)| id.clone());
            match server.store().get(&Gk::new(group, kind), "shop", name) {
                None => out.push(format!("{kind} {name} is not there")),
                Some(live) if label(live) != id.as_deref() => {
                    out.push(format!("{kind} {name} is not labelled as {app}'s"));
                }
                Some(live) => within(&object, live, &format!("{kind} {name}"), &mut out),
            }
        }
        for (_, group, kind) in KINDS {
            for object in server.store().list(&Gk::new(group, kind), Some("shop")) {
                let name = text(object, "/metadata/name").unwrap_or_default();
                let ours = label(object).is_some_and(|id| self.parents.contains_key(id));
                if ours && !wanted.contains(&(kind.to_owned(), name.to_owned())) {
                    out.push(format!("{kind} {name} is still there"));
                }
            }
        }
        for name in ["nobody", "theirs"] {
            let strange = server.store().get(&Gk::new("", "ConfigMap"), "shop", name);
            if strange.is_none_or(|found| found["data"]["v"] != "strange") {
                out.push(format!("the stranger's ConfigMap {name} was touched"));
            }
        }
        out
    }
}

fn is_rolled_out(live: &Value) -> bool {
    let number = |pointer: &str| live.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    let wanted = number("/spec/replicas");
    number("/status/observedGeneration") >= number("/metadata/generation")
        && number("/status/updatedReplicas") >= wanted
        && number("/status/availableReplicas") >= wanted
}

fn lists(parent: &Parent, gk: &Gk, name: &str) -> bool {
    parent.members.iter().any(|m| m.object.name == name && m.object.kind == gk.kind)
}

/// True if this very object is an inventory's: by uid, or announced by somebody who was killed before he could note it.
fn remembers(parent: &Parent, gk: &Gk, name: &str, object: Option<&Value>) -> bool {
    // Gone in the meantime.
    let Some(object) = object else { return true };
    let uid = text(object, "/metadata/uid");
    let mut members = parent.members.iter().filter(|m| m.object.name == name && m.object.kind == gk.kind);
    members.any(|m| m.uid.as_deref() == uid || (m.uid.is_none() && label(object).is_some()))
}

/// Everything that Git says is so.
fn within(desired: &Value, live: &Value, at: &str, out: &mut Vec<String>) {
    match (desired, live) {
        (Value::Object(desired), Value::Object(live)) => {
            for (name, value) in desired.iter().filter(|(name, _)| !matches!(name.as_str(), "apiVersion" | "kind")) {
                within(value, live.get(name).unwrap_or(&Value::Null), &format!("{at}.{name}"), out);
            }
        }
        (Value::Array(desired), Value::Array(live)) if desired.len() == live.len() => {
            for (number, (desired, live)) in desired.iter().zip(live).enumerate() {
                within(desired, live, &format!("{at}[{number}]"), out);
            }
        }
        (desired, live) if desired == live => {}
        (desired, live) => out.push(format!("{at} is {live}, not {desired}")),
    }
}
