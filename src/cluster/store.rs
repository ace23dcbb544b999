//! The objects, their order of change, and the log that watches read. Pure: no clock, no I/O.
//!
//! In: writes that were decided elsewhere. Out: objects, lists as of a resourceVersion, and events after one.
//!
//! Invariants
//! - Each write takes the next resourceVersion and logs exactly one event: the log is contiguous.
//! - What is older than the log is answered with 410, never with a gap.
//! - The log is bounded twice: by events, and by the memory that their objects take.

use crate::object::Gk;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// Events that the log keeps.
const LOG_LENGTH: usize = 20_000;

/// Bytes that the objects of the log may take, roughly. A pod takes about 20 KB.
const LOG_BYTES: usize = 64 << 20;

/// What an event says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// Created.
    Added,
    /// Changed.
    Modified,
    /// Gone.
    Deleted,
}

/// One change.
#[derive(Debug, Clone)]
pub struct Event {
    /// The resourceVersion of the change.
    pub version: u64,
    /// Kind of the object.
    pub gk: Arc<Gk>,
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// What happened.
    pub kind: EventKind,
    /// The object after the change; for a deletion its last state, with the resourceVersion of the deletion.
    pub object: Arc<Value>,
    /// The object before.
    pub before: Option<Arc<Value>>,
    /// Memory of `object`; that of `before` is the event's before.
    bytes: usize,
}

type Names = BTreeMap<Arc<str>, Arc<Value>>;

#[derive(Debug)]
struct Table {
    gk: Arc<Gk>,
    namespaces: BTreeMap<Arc<str>, Names>,
    changed: u64,
    count: usize,
}

/// The store.
#[derive(Debug)]
pub struct Store {
    tables: HashMap<Gk, Table>,
    log: VecDeque<Event>,
    log_bytes: usize,
    most_bytes: usize,
    version: u64,
}

impl Default for Store {
    fn default() -> Self {
        // Zero means "any version" in requests, so that no object may have it.
        Self { tables: HashMap::new(), log: VecDeque::new(), log_bytes: 0, most_bytes: LOG_BYTES, version: 1 }
    }
}

/// The log does not reach back that far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooOld {
    /// What was asked for.
    pub asked: u64,
    /// The oldest version that can be asked for.
    pub oldest: u64,
}

impl Store {
    /// The newest resourceVersion.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The version of the last change to an object of a kind.
    pub fn changed(&self, gk: &Gk) -> u64 {
        self.tables.get(gk).map_or(0, |table| table.changed)
    }

    /// Kinds of which an object is stored, sorted.
    pub fn kinds(&self) -> Vec<Gk> {
        let mut out: Vec<Gk> = self.tables.iter().filter(|(_, t)| t.count > 0).map(|(gk, _)| gk.clone()).collect();
        out.sort_unstable();
        out
    }

    /// How many objects of a kind there are.
    pub fn count(&self, gk: &Gk) -> usize {
        self.tables.get(gk).map_or(0, |table| table.count)
    }

    /// An object.
    pub fn get(&self, gk: &Gk, namespace: &str, name: &str) -> Option<&Arc<Value>> {
        self.tables.get(gk)?.namespaces.get(namespace)?.get(name)
    }

    /// All objects of a kind in one namespace or in all, by namespace and name.
    pub fn list<'s>(&'s self, gk: &Gk, namespace: Option<&str>) -> Vec<&'s Arc<Value>> {
        let Some(table) = self.tables.get(gk) else { return Vec::new() };
        match namespace {
            Some(namespace) => table.namespaces.get(namespace).map(|n| n.values().collect()).unwrap_or_default(),
            None => table.namespaces.values().flat_map(BTreeMap::values).collect(),
        }
    }

    /// All objects of a kind as they were at a version, with their keys, in order.
    pub fn list_at(&self, gk: &Gk, namespace: Option<&str>, version: u64) -> Result<Vec<Arc<Value>>, TooOld> {
        if version >= self.version {
            return Ok(self.list(gk, namespace).into_iter().cloned().collect());
        }
        self.check(version)?;
        let mut objects: BTreeMap<(Arc<str>, Arc<str>), Arc<Value>> = BTreeMap::new();
        if let Some(table) = self.tables.get(gk) {
            for (ns, names) in table.namespaces.iter().filter(|(ns, _)| namespace.is_none_or(|want| want == &***ns)) {
                for (name, object) in names {
                    objects.insert((Arc::clone(ns), Arc::clone(name)), Arc::clone(object));
                }
            }
        }
        for event in self.log.iter().rev().take_while(|event| event.version > version) {
            if *event.gk != *gk || namespace.is_some_and(|want| want != &*event.namespace) {
                continue;
            }
            let key = (Arc::clone(&event.namespace), Arc::clone(&event.name));
            match &event.before {
                Some(before) => objects.insert(key, Arc::clone(before)),
                None => objects.remove(&key),
            };
        }
        Ok(objects.into_values().collect())
    }

    fn check(&self, version: u64) -> Result<(), TooOld> {
        // Events after `version` must all be in the log.
        let oldest = self.log.front().map_or(self.version, |event| event.version - 1);
        if version < oldest { Err(TooOld { asked: version, oldest }) } else { Ok(()) }
    }

    /// Events after a version, oldest first.
    pub fn events_after(&self, version: u64) -> Result<impl Iterator<Item = &Event>, TooOld> {
        self.check(version)?;
        let first = self.log.front().map_or(0, |event| event.version);
        let skip = usize::try_from(version.saturating_add(1).saturating_sub(first)).unwrap_or(usize::MAX);
        Ok(self.log.range(skip.min(self.log.len())..))
    }

    /// The resourceVersion that the next write takes.
    pub fn next_version(&self) -> u64 {
        self.version + 1
    }

    /// Stores an object; sets its resourceVersion. Out: the object as stored.
    pub fn put(&mut self, gk: &Gk, namespace: &str, name: &str, mut object: Value) -> Arc<Value> {
        self.version += 1;
        set_version(&mut object, self.version);
        let object = Arc::new(object);
        let table = self.tables.entry(gk.clone()).or_insert_with(|| Table {
            gk: Arc::new(gk.clone()),
            namespaces: BTreeMap::new(),
            changed: 0,
            count: 0,
        });
        table.changed = self.version;
        let (ns_key, names) = match table.namespaces.get_key_value(namespace) {
            Some((key, _)) => (Arc::clone(key), table.namespaces.entry(Arc::clone(key)).or_default()),
            None => {
                let key: Arc<str> = namespace.into();
                (Arc::clone(&key), table.namespaces.entry(key).or_default())
            }
        };
        let name_key: Arc<str> = names.get_key_value(name).map_or_else(|| name.into(), |(key, _)| Arc::clone(key));
        let before = names.insert(Arc::clone(&name_key), Arc::clone(&object));
        if before.is_none() {
            table.count += 1;
        }
        let event = Event {
            version: self.version,
            gk: Arc::clone(&table.gk),
            namespace: ns_key,
            name: name_key,
            kind: if before.is_some() { EventKind::Modified } else { EventKind::Added },
            bytes: memory(&object),
            object: Arc::clone(&object),
            before,
        };
        self.append(event);
        object
    }

    /// Removes an object. Out: its last state, with the resourceVersion of the deletion.
    pub fn remove(&mut self, gk: &Gk, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let table = self.tables.get_mut(gk)?;
        let names = table.namespaces.get_mut(namespace)?;
        let (name_key, before) = names.remove_entry(name)?;
        let empty = names.is_empty();
        let ns_key = table.namespaces.get_key_value(namespace).map(|(key, _)| Arc::clone(key))?;
        if empty {
            table.namespaces.remove(namespace);
        }
        table.count -= 1;
        self.version += 1;
        table.changed = self.version;
        let mut last = (*before).clone();
        set_version(&mut last, self.version);
        let object = Arc::new(last);
        let event = Event {
            version: self.version,
            gk: Arc::clone(&table.gk),
            namespace: ns_key,
            name: name_key,
            kind: EventKind::Deleted,
            bytes: memory(&object),
            object: Arc::clone(&object),
            before: Some(before),
        };
        self.append(event);
        Some(object)
    }

    fn append(&mut self, event: Event) {
        self.log_bytes += event.bytes;
        self.log.push_back(event);
        while self.log.len() > LOG_LENGTH || (self.log_bytes > self.most_bytes && self.log.len() > 1) {
            let oldest = self.log.pop_front();
            self.log_bytes -= oldest.map_or(0, |event| event.bytes);
        }
    }

    /// Forgets all events: what an API server does when its watch cache is restarted.
    pub fn compact(&mut self) {
        self.log.clear();
        self.log_bytes = 0;
    }
}

/// The heap that a value takes, roughly: an entry of a map also has its hash, its key and its place in the index.
fn memory(value: &Value) -> usize {
    const VALUE: usize = size_of::<Value>();
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(|item| VALUE + memory(item)).sum(),
        Value::Object(map) => map.iter().map(|(key, item)| VALUE + 64 + key.len() + memory(item)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

fn set_version(object: &mut Value, version: u64) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".into(), version.to_string().into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: u32) -> Value {
        json!({"metadata": {"name": "a"}, "value": value})
    }

    #[test]
    fn lists_of_the_past_are_exact_and_the_log_has_no_gaps() {
        let gk = Gk::new("", "ConfigMap");
        let mut store = Store::default();
        store.put(&gk, "x", "a", object(1));
        store.put(&gk, "x", "b", object(2));
        let past = store.version();
        store.put(&gk, "x", "a", object(3));
        store.remove(&gk, "x", "b");
        store.put(&gk, "y", "c", object(4));
        let values = |objects: &[Arc<Value>]| objects.iter().map(|o| o["value"].as_u64().unwrap()).collect::<Vec<_>>();
        assert_eq!(values(&store.list_at(&gk, None, past).unwrap()), [1, 2]);
        assert_eq!(values(&store.list_at(&gk, None, store.version()).unwrap()), [3, 4]);
        let kinds: Vec<EventKind> = store.events_after(past).unwrap().map(|e| e.kind).collect();
        assert_eq!(kinds, [EventKind::Modified, EventKind::Deleted, EventKind::Added]);
        let deleted = store.events_after(past).unwrap().nth(1).unwrap();
        assert_eq!(deleted.object["metadata"]["resourceVersion"], deleted.version.to_string());
        store.compact();
        assert!(store.events_after(past).is_err());
        assert_eq!(store.events_after(store.version()).unwrap().count(), 0);
    }

    #[test]
    fn the_log_takes_no_more_memory_than_it_may() {
        let gk = Gk::new("", "ConfigMap");
        let mut store = Store { most_bytes: 1 << 20, ..Store::default() };
        for i in 0..200 {
            store.put(&gk, "x", "a", json!({"metadata": {"name": "a"}, "data": {"k": "v".repeat(20_000), "i": i}}));
        }
        assert!(store.log.len() < 60, "{}", store.log.len());
        assert_eq!(store.log_bytes, store.log.iter().map(|event| event.bytes).sum::<usize>());
        assert!(store.events_after(1).is_err());
        // One object above the bound is still told of.
        store.put(&gk, "x", "a", json!({"metadata": {"name": "a"}, "data": "v".repeat(2 << 20)}));
        assert_eq!(store.events_after(store.version() - 1).unwrap().count(), 1);
    }
}
