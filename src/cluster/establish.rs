//! What follows from writes to CustomResourceDefinitions: they come into force, and their remains go. Pure.
//! Source: k8s.io/apiextensions-apiserver/pkg/controller/{status,establish,finalizer}. There these are controllers; here
//! they are done before the write is answered, so that a definition that is stored is served.

use super::crd;
use super::server::ApiServer;
use super::view::{API_SERVER, Write};
use crate::object::Gk;
use crate::scheme::decode::time_text;
use jiff::Timestamp;
use serde_json::Value;
use std::sync::{Arc, OnceLock};

impl ApiServer {
    /// Keeps what follows from a write: definitions come into force, and their remains go.
    pub(super) fn after_write(&mut self, now: Timestamp) {
        static CRD: OnceLock<Gk> = OnceLock::new();
        let gk = CRD.get_or_init(|| Gk::new("apiextensions.k8s.io", "CustomResourceDefinition"));
        let changed = self.store.changed(gk);
        let terminating =
            self.store.list(gk, None).iter().any(|crd| crd.pointer("/metadata/deletionTimestamp").is_some());
        if changed == self.store.version() {
            self.establish(gk, now);
        } else if terminating {
            self.clean_up(gk, now);
        }
    }

    /// Serves what the definitions define, and nothing else.
    fn establish(&mut self, gk: &Gk, now: Timestamp) {
        let crds: Vec<Arc<Value>> = self.store.list(gk, None).into_iter().cloned().collect();
        let defined: Vec<(String, String)> = crds
            .iter()
            .map(|crd| {
                let text = |p: &str| crd.pointer(p).and_then(Value::as_str).unwrap_or_default().to_owned();
                (text("/spec/group"), text("/spec/names/plural"))
            })
            .collect();
        let gone: Vec<(String, String)> = self
            .kinds
            .iter()
            .filter(|k| k.custom)
            .map(|k| (k.gk.group.clone(), k.plural.clone()))
            .filter(|key| !defined.contains(key))
            .collect();
        for (group, plural) in gone {
            self.kinds.remove(&group, &plural);
        }
        for crd in crds {
            let conflict = crd::names_conflict(&crd, &self.kinds);
            if conflict.is_none()
                && let Some(kind) = crd::to_kind(&crd)
            {
                self.kinds.insert(kind);
            }
            let mut object = (*crd).clone();
            object["status"] = crd::established_status(&crd, conflict, &time_text(now, false));
            if object != *crd {
                // Through the status endpoint, so that the ownership of the status is recorded; it comes back here once.
                let _ = self.carry_out(&Write::UpdateStatus { object }, API_SERVER, now);
            }
        }
        self.clean_up(gk, now);
    }

    /// Deletes the objects of definitions that are being deleted, and lets the definitions go once none is left.
    fn clean_up(&mut self, gk: &Gk, now: Timestamp) {
        let terminating: Vec<Arc<Value>> = self
            .store
            .list(gk, None)
            .into_iter()
            .filter(|crd| crd.pointer("/metadata/deletionTimestamp").is_some())
            .cloned()
            .collect();
        for crd in terminating {
            let text = |p: &str| crd.pointer(p).and_then(Value::as_str).unwrap_or_default().to_owned();
            let custom = Gk::new(text("/spec/group"), text("/spec/names/kind"));
            let objects: Vec<Arc<Value>> = self.store.list(&custom, None).into_iter().cloned().collect();
            for object in objects {
                if object.pointer("/metadata/deletionTimestamp").is_some() {
                    continue;
                }
                let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str);
                let write = Write::Delete {
                    gk: custom.clone(),
                    namespace: namespace.map(str::to_owned),
                    name: object["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
                    uid: None,
                    propagation: None,
                    grace_seconds: None,
                };
                // What cannot be deleted now (finalizers) is looked at again after the next write.
                let _ = self.carry_out(&write, API_SERVER, now);
            }
            let name = text("/metadata/name");
            let Some(current) = self.store.get(gk, "", &name).cloned() else { continue };
            if self.store.count(&custom) > 0 {
                continue;
            }
            let mut object = (*current).clone();
            let Some(list) = object.pointer_mut("/metadata/finalizers").and_then(Value::as_array_mut) else { continue };
            let before = list.len();
            list.retain(|f| f != crd::CLEANUP);
            let (after, empty) = (list.len(), list.is_empty());
            if empty {
                self.store.remove(gk, "", &name);
                self.kinds.remove(&text("/spec/group"), &text("/spec/names/plural"));
            } else if after != before {
                self.store.put(gk, "", &name, object);
            }
        }
    }
}
