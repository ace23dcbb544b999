//! What happens in a schedule: commits, people's edits, and what goes wrong. Values that proptest makes and shrinks.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;

/// Objects that a repository may hold.
pub const SLOTS: usize = 7;
/// Number of the Deployment whose pods are counted.
pub const WEB: usize = 4;

/// The content of a commit: by slot, whether it is app `front`'s (else `back`'s), and what is in it: 0 to 3. An image of
/// content 3 cannot be pulled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Content(pub BTreeMap<usize, (bool, u8)>);

/// Which process something happens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The one that wrote last.
    Writer,
    /// The other one.
    Other,
}

/// One thing that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The branch moves.
    Commit(Content),
    /// Somebody deletes an object.
    Delete(usize),
    /// Somebody changes a field that Git sets.
    Change(usize, u8),
    /// The same by a server-side apply that takes the field over.
    Seize(usize, u8),
    /// Somebody removes the label.
    Unlabel(usize),
    /// Somebody creates an object of that name, without a label.
    Stranger(usize, u8),
    /// Another ApplySet's object has that name; it goes in the end.
    Foreign(usize),
    /// A pod of the Deployment is deleted.
    LosePod,
    /// Somebody runs `driftless sync` beside the daemons.
    Sync,
    /// A process is killed, and started again after some milliseconds.
    Kill(Who, u32),
    /// The process that writes is killed as its n-th write from now on is carried out, before it hears of it.
    KillAt(u8, u32),
    /// A process stands still for some milliseconds.
    Pause(Who, u32),
    /// For some milliseconds, of a hundred requests so many fail.
    Faults(u32, u8),
    /// Every watch is cut, and what happened meanwhile is forgotten by the server.
    Forget,
    /// Every watch lags behind by some milliseconds.
    Lag(u32),
}

/// What happens, and how long after the one before, in milliseconds.
pub type Moment = (u32, Step);

/// A whole schedule, apart from the order in which requests are answered.
#[derive(Clone, PartialEq, Eq)]
pub struct History {
    /// The first commit.
    pub first: Content,
    /// What happens.
    pub moments: Vec<Moment>,
    /// The last commit: one that can become healthy.
    pub last: Content,
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "first {:?}", self.first.0)?;
        self.moments.iter().try_for_each(|(wait, step)| writeln!(f, "+{wait} ms {step:?}"))?;
        write!(f, "last {:?}", self.last.0)
    }
}

fn content() -> impl Strategy<Value = Content> {
    let item = (0..SLOTS, any::<bool>(), 0_u8..4);
    vec(item, 0..7)
        .prop_map(|items| Content(items.into_iter().map(|(slot, front, value)| (slot, (front, value))).collect()))
}

fn healthy(content: Content) -> Content {
    Content(content.0.into_iter().map(|(slot, (front, value))| (slot, (front, value % 3))).collect())
}

fn wait() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0_u32..60, 3 => 0_u32..1500, 1 => 0_u32..25_000]
}

fn step() -> impl Strategy<Value = Step> {
    let who = || prop_oneof![3 => Just(Who::Writer), 1 => Just(Who::Other)];
    let pause = || prop_oneof![2 => 0_u32..3000, 1 => 10_000_u32..60_000];
    prop_oneof![
        8 => content().prop_map(Step::Commit),
        2 => (0..SLOTS).prop_map(Step::Delete),
        2 => (0..SLOTS, 0_u8..3).prop_map(|(slot, value)| Step::Change(slot, value)),
        1 => (0..SLOTS, 0_u8..3).prop_map(|(slot, value)| Step::Seize(slot, value)),
        1 => (0..SLOTS).prop_map(Step::Unlabel),
        1 => (0..SLOTS, 0_u8..3).prop_map(|(slot, value)| Step::Stranger(slot, value)),
        1 => (0..SLOTS).prop_map(Step::Foreign),
        1 => Just(Step::LosePod),
        2 => Just(Step::Sync),
        2 => (who(), pause()).prop_map(|(who, wait)| Step::Kill(who, wait)),
        4 => (0_u8..8, pause()).prop_map(|(nth, wait)| Step::KillAt(nth, wait)),
        2 => (who(), pause()).prop_map(|(who, wait)| Step::Pause(who, wait)),
        3 => (0_u32..4000, 5_u8..60).prop_map(|(wait, percent)| Step::Faults(wait, percent)),
        2 => Just(Step::Forget),
        2 => (0_u32..4000).prop_map(Step::Lag),
    ]
}

/// Any history.
pub fn histories() -> impl Strategy<Value = History> {
    (content(), vec((wait(), step()), 1..7), content()).prop_map(|(first, moments, last)| History {
        first,
        moments,
        last: healthy(last),
    })
}

impl Content {
    /// The files of the repository. `back` is never empty: apps that are all gone are a mistake, and refused as one.
    pub fn files(&self) -> Vec<(String, String)> {
        let mut files: Vec<(String, String)> =
            self.objects().into_iter().map(|(front, object)| (path(front, &object), object.to_string())).collect();
        files.push(("README.md".to_owned(), "a shop".to_owned()));
        files
    }

    /// The objects, with their app.
    pub fn objects(&self) -> Vec<(bool, Value)> {
        let own = self.0.iter().map(|(slot, (front, value))| (*front, object(*slot, *value, self.0.contains_key(&0))));
        let keep = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "keep"}, "data": {"v": "0"}});
        own.chain([(false, keep)]).collect()
    }
}

fn path(front: bool, object: &Value) -> String {
    let (kind, name) = (object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
    format!("{}/{kind}-{name}.yaml", if front { "front" } else { "back" })
}

/// The collection and the name of a slot's object.
pub fn place(slot: usize) -> (&'static str, &'static str) {
    match slot {
        0 => ("/api/v1/namespaces/shop/configmaps", "c0"),
        1 => ("/api/v1/namespaces/shop/configmaps", "c1"),
        2 => ("/api/v1/namespaces/shop/secrets", "s"),
        3 => ("/api/v1/namespaces/shop/serviceaccounts", "sa"),
        WEB => ("/apis/apps/v1/namespaces/shop/deployments", "web"),
        5 => ("/api/v1/namespaces/shop/services", "web"),
        _ => ("/apis/apps/v1/namespaces/shop/deployments", "api"),
    }
}

/// A slot's object. `c0`: the ConfigMap that the Deployment uses is there.
pub fn object(slot: usize, value: u8, c0: bool) -> Value {
    let text = value.to_string();
    let (_, name) = place(slot);
    match slot {
        0 | 1 => json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"v": text}}),
        2 => {
            let encoded = ["MA==", "MQ==", "Mg==", "Mw=="][usize::from(value % 4)];
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "Opaque",
                "data": {"v": encoded}})
        }
        3 => json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name,
            "annotations": {"example.com/v": text}}}),
        5 => json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080 + u16::from(value)}]}}),
        _ => {
            let tag = if value == 3 { "bad".to_owned() } else { text };
            let mut container = json!({"name": "main", "image": format!("{name}:{tag}"),
                "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}});
            if c0 && slot == WEB {
                container["envFrom"] = json!([{"configMapRef": {"name": "c0"}}]);
            }
            let (replicas, spare) = if slot == WEB { (2 + value % 2, 0) } else { (1, 1) };
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
                "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}},
                    "progressDeadlineSeconds": 20,
                    "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": spare}},
                    "template": {"metadata": {"labels": {"app": name}},
                        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]}}}})
        }
    }
}
