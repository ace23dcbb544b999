//! The driver's copy of the objects that its kubelets need: pods, their nodes, the nodes' Leases.
//!
//! Invariant: an older version never replaces a newer one, whichever of a watch and an answer comes first.

use super::super::controllers::kind::{LEASE, NODE, POD};
use super::super::controllers::meta::{name, namespace, uid};
use crate::cluster::view::View;
use crate::object::Gk;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

type Key = (Option<String>, String);

/// The objects, by kind.
#[derive(Default)]
pub struct Cache {
    pods: BTreeMap<Key, Arc<Value>>,
    nodes: BTreeMap<Key, Arc<Value>>,
    leases: BTreeMap<Key, Arc<Value>>,
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|v| v.parse().ok()).unwrap_or(0)
}

fn key(object: &Value) -> Key {
    (namespace(object).map(str::to_owned), name(object).to_owned())
}

impl Cache {
    fn of(&self, gk: &Gk) -> Option<&BTreeMap<Key, Arc<Value>>> {
        match gk {
            gk if *gk == *POD => Some(&self.pods),
            gk if *gk == *NODE => Some(&self.nodes),
            gk if *gk == *LEASE => Some(&self.leases),
            _ => None,
        }
    }

    fn of_mut(&mut self, gk: &Gk) -> Option<&mut BTreeMap<Key, Arc<Value>>> {
        match gk {
            gk if *gk == *POD => Some(&mut self.pods),
            gk if *gk == *NODE => Some(&mut self.nodes),
            gk if *gk == *LEASE => Some(&mut self.leases),
            _ => None,
        }
    }

    /// Takes an object as a watch or an answer has it. True if it is news.
    pub fn put(&mut self, gk: &Gk, object: Value) -> bool {
        let Some(objects) = self.of_mut(gk) else { return false };
        let key = key(&object);
        if objects.get(&key).is_some_and(|known| version(known) >= version(&object)) {
            return false;
        }
        objects.insert(key, Arc::new(object));
        true
    }

    /// Takes an object out, unless another of its name has come since.
    pub fn remove(&mut self, gk: &Gk, object: &Value) {
        if let Some(objects) = self.of_mut(gk) {
            let key = key(object);
            if objects.get(&key).is_some_and(|known| uid(known) == uid(object)) {
                objects.remove(&key);
            }
        }
    }

    /// Takes an object out that the API server does not have.
    pub fn forget(&mut self, gk: &Gk, namespace: Option<&str>, name: &str) {
        if let Some(objects) = self.of_mut(gk) {
            objects.remove(&(namespace.map(str::to_owned), name.to_owned()));
        }
    }

    /// Replaces all objects of a kind by a list as of `listed`; what is newer than the list stays.
    pub fn replace(&mut self, gk: &Gk, objects: Vec<Value>, listed: u64) {
        let keys: HashSet<Key> = objects.iter().map(key).collect();
        if let Some(known) = self.of_mut(gk) {
            known.retain(|key, object| keys.contains(key) || version(object) > listed);
        }
        for object in objects {
            self.put(gk, object);
        }
    }
}

impl View for Cache {
    fn get(&self, gk: &Gk, namespace: Option<&str>, name: &str) -> Option<Arc<Value>> {
        self.of(gk)?.get(&(namespace.map(str::to_owned), name.to_owned())).cloned()
    }

    fn list(&self, gk: &Gk, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let objects = self.of(gk).into_iter().flatten();
        let wanted = objects.filter(|((space, _), _)| namespace.is_none() || space.as_deref() == namespace);
        wanted.map(|(_, object)| Arc::clone(object)).collect()
    }

    fn kinds(&self) -> Vec<Gk> {
        vec![POD.clone(), NODE.clone(), LEASE.clone()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(uid: &str, version: &str) -> Value {
        json!({"metadata": {"name": "p", "namespace": "n", "uid": uid, "resourceVersion": version}})
    }

    #[test]
    fn older_versions_and_other_objects_change_nothing() {
        let mut cache = Cache::default();
        assert!(cache.put(&POD, pod("a", "9")));
        assert!(!cache.put(&POD, pod("a", "8")));
        assert!(cache.put(&POD, pod("b", "10")));
        cache.remove(&POD, &pod("a", "11"));
        assert_eq!(cache.get(&POD, Some("n"), "p").as_deref(), Some(&pod("b", "10")));
        cache.replace(&POD, vec![], 9);
        assert!(cache.get(&POD, Some("n"), "p").is_some());
        cache.replace(&POD, vec![], 10);
        assert!(cache.get(&POD, Some("n"), "p").is_none());
    }
}
