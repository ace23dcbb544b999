//! What a seed stands for: a repository's history, commit by commit, and what each commit wants from the cluster. Pure.

use driftless::cluster::server::Random;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Kind, namespace and name.
pub type Key = (String, String, String);

/// One object of a commit.
#[derive(Clone, PartialEq)]
pub struct Thing {
    /// Whose it is.
    pub app: String,
    /// As it is written.
    pub manifest: Value,
}

/// One commit.
#[derive(Clone)]
pub struct Commit {
    /// Its subject.
    pub subject: String,
    /// Its files.
    pub files: BTreeMap<String, String>,
    /// What it wants; `None` for a bad one, which wants nothing that could be had.
    pub wants: Option<BTreeMap<Key, Thing>>,
}

/// A history that ends with a good commit.
pub struct World {
    /// Namespace of objects that name none.
    pub namespace: String,
    /// The other one.
    pub second: String,
    /// Oldest first.
    pub commits: Vec<Commit>,
}

/// Number in `0..below`.
pub fn below(random: &mut Random, below: usize) -> usize {
    usize::try_from(random.bits() % u64::try_from(below.max(1)).unwrap()).unwrap()
}

const APPS: [&str; 3] = ["base", "shop", "tools"];

struct Maker {
    random: Random,
    namespace: String,
    second: String,
    things: BTreeMap<Key, Thing>,
    counter: usize,
}

impl World {
    /// The history of a seed.
    pub fn of(seed: u64) -> Self {
        let (namespace, second) = (format!("f{seed}"), format!("f{seed}-two"));
        let mut maker = Maker {
            random: Random::new(seed),
            namespace: namespace.clone(),
            second: second.clone(),
            things: BTreeMap::new(),
            counter: 0,
        };
        maker.begin();
        let mut commits = vec![maker.commit("the beginning")];
        for _ in 0..3 + below(&mut maker.random, 5) {
            let commit = maker.next();
            commits.push(commit);
        }
        // Whatever the history came to, the last word is a good one, and it takes the kept object out of Git.
        maker.things.remove(&maker.key("ConfigMap", "kept"));
        maker.change("config map", |thing| thing["data"]["v"] = json!("the end"));
        commits.push(maker.commit("the end"));
        Self { namespace, second, commits }
    }

    /// What the last commit wants.
    pub fn end(&self) -> &BTreeMap<Key, Thing> {
        self.commits.last().and_then(|commit| commit.wants.as_ref()).unwrap()
    }

    /// Objects that, once there, every good commit wants: they may move between apps, and are never to be recreated.
    pub fn lasting(&self) -> BTreeSet<Key> {
        let good: Vec<_> = self.commits.iter().filter_map(|commit| commit.wants.as_ref()).collect();
        let lasts =
            |key: &&Key| good.iter().skip_while(|wants| !wants.contains_key(*key)).all(|w| w.contains_key(*key));
        self.end().keys().filter(lasts).cloned().collect()
    }
}

impl Maker {
    fn key(&self, kind: &str, name: &str) -> Key {
        (kind.to_owned(), self.namespace.clone(), name.to_owned())
    }

    fn begin(&mut self) {
        let second = self.second.clone();
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": second}});
        self.things
            .insert(("Namespace".into(), String::new(), second), Thing { app: "base".into(), manifest: namespace });
        self.put("base", config_map(&self.namespace, "lasting", "1"));
        let mut kept = config_map(&self.namespace, "kept", "1");
        kept["metadata"]["annotations"] = json!({"driftless.dev/prune": "disabled"});
        self.put("base", kept);
        self.put("shop", deployment(&self.namespace, "web", 1));
        for _ in 0..3 {
            self.create();
        }
    }

    fn put(&mut self, app: &str, manifest: Value) {
        let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let key = (text("/kind"), text("/metadata/namespace"), text("/metadata/name"));
        self.things.insert(key, Thing { app: app.to_owned(), manifest });
    }

    fn app(&mut self) -> String {
        APPS[below(&mut self.random, APPS.len())].to_owned()
    }

    fn create(&mut self) {
        let app = self.app();
        let name = format!("o{}", below(&mut self.random, 9));
        let namespace = if below(&mut self.random, 5) == 0 { self.second.clone() } else { self.namespace.clone() };
        self.counter += 1;
        let value = self.counter.to_string();
        let manifest = match below(&mut self.random, 8) {
            0..=3 => config_map(&namespace, &name, &value),
            4 => json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace},
                "stringData": {"v": value}}),
            5 => json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace},
                "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80 + self.counter}]}}),
            6 => json!({"apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": {"name": name, "namespace": namespace, "annotations": {"v": value}}}),
            _ => deployment(&namespace, &name, 1),
        };
        let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let key = (text("/kind"), namespace, name);
        self.things.entry(key).or_insert(Thing { app, manifest });
    }

    /// One of the things that are no namespace; `lasting` and `web` included.
    fn some_key(&mut self, of: impl Fn(&Key) -> bool) -> Option<Key> {
        let keys: Vec<Key> = self.things.keys().filter(|key| key.0 != "Namespace" && of(key)).cloned().collect();
        let at = below(&mut self.random, keys.len());
        keys.get(at).cloned()
    }

    fn change(&mut self, what: &str, edit: impl FnOnce(&mut Value)) {
        let key = match what {
            "deployment" => self.some_key(|key| key.0 == "Deployment"),
            _ => self.some_key(|key| key.0 == "ConfigMap" && key.2 != "kept"),
        };
        if let Some(thing) = key.and_then(|key| self.things.get_mut(&key)) {
            edit(&mut thing.manifest);
        }
    }

    fn next(&mut self) -> Commit {
        self.counter += 1;
        let value = self.counter;
        match below(&mut self.random, 20) {
            0..=3 => {
                self.create();
                self.create();
                self.commit("something new")
            }
            4..=6 => {
                self.change("config map", |thing| thing["data"]["v"] = json!(value.to_string()));
                self.commit("a change")
            }
            7 | 8 => {
                self.change("deployment", |thing| thing["spec"]["replicas"] = json!(1 + value % 3));
                self.commit("a scale")
            }
            9 => {
                let image = format!("registry.example/app:{value}");
                self.change("deployment", |thing| {
                    thing["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
                });
                self.commit("an image")
            }
            10..=12 => {
                for _ in 0..2 {
                    let key = self.some_key(|key| !matches!(key.2.as_str(), "lasting" | "kept"));
                    key.and_then(|key| self.things.remove(&key));
                }
                self.commit("something goes")
            }
            13..=15 => {
                for _ in 0..2 {
                    let app = self.app();
                    if let Some(thing) = self.some_key(|_| true).and_then(|key| self.things.get_mut(&key)) {
                        thing.app = app;
                    }
                }
                self.commit("something moves to another app")
            }
            16 => {
                let key = self.some_key(|key| key.0 == "ConfigMap" && !matches!(key.2.as_str(), "lasting" | "kept"));
                if let Some(mut thing) = key.and_then(|key| self.things.remove(&key)) {
                    let to = if thing.manifest["metadata"]["namespace"] == self.second.as_str() {
                        self.namespace.clone()
                    } else {
                        self.second.clone()
                    };
                    thing.manifest["metadata"]["namespace"] = json!(to);
                    let app = thing.app.clone();
                    self.put(&app, thing.manifest);
                }
                self.commit("something moves to another namespace")
            }
            17 => {
                self.things.retain(|_, thing| thing.app != "tools");
                self.commit("an app goes")
            }
            _ => self.bad(),
        }
    }

    fn files(&self) -> BTreeMap<String, String> {
        let file = |((kind, namespace, name), thing): (&Key, &Thing)| {
            let place = if *namespace == self.second { "-two" } else { "" };
            (format!("{}/{}-{name}{place}.yaml", thing.app, kind.to_lowercase()), thing.manifest.to_string())
        };
        self.things.iter().map(file).collect()
    }

    fn commit(&self, subject: &str) -> Commit {
        Commit { subject: subject.to_owned(), files: self.files(), wants: Some(self.things.clone()) }
    }

    fn bad(&mut self) -> Commit {
        let mut files = self.files();
        let text = match below(&mut self.random, 3) {
            0 => "apiVersion: v1\nkind: ConfigMap\n  metadata: {".to_owned(),
            1 => json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "bad"}, "dataa": {}}).to_string(),
            _ => config_map(&self.namespace, "lasting", "twice").to_string(),
        };
        files.insert("shop/bad.yaml".to_owned(), text);
        Commit { subject: "a bad one".to_owned(), files, wants: None }
    }
}

fn config_map(namespace: &str, name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace},
        "data": {"v": value}})
}

fn deployment(namespace: &str, name: &str, replicas: u32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}},
                "spec": {"terminationGracePeriodSeconds": 0,
                    "containers": [{"name": "main", "image": "registry.example/app:1"}]}}}})
}
