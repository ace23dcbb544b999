//! Events (`v1`), as the components' recorders write them.

use super::meta::{name, namespace, stamp, uid};
use crate::cluster::view::Write;
use crate::object::{Digest, Gk};
use jiff::Timestamp;
use serde_json::{Value, json};

/// What an Event says.
pub struct Event<'a> {
    /// `source.component`: who says it.
    pub component: &'a str,
    /// `source.host`: the node, for kubelets.
    pub host: &'a str,
    /// True for a `Warning`.
    pub warning: bool,
    /// `reason`.
    pub reason: &'a str,
    /// `message`.
    pub message: &'a str,
    /// `involvedObject.fieldPath`; empty for the whole object.
    pub field_path: &'a str,
}

impl Event<'_> {
    /// The name of this Event about an object: the same words about the same object have the same name.
    pub fn name(&self, about: &Value, salt: &str) -> String {
        let digest = Digest::of_value(&json!([uid(about), self.reason, self.message, self.field_path, salt]));
        let base: String = name(about).chars().take(230).collect();
        format!("{base}.{}", digest.short(16))
    }

    /// The write that records it for the first time. `salt` sets apart what happens twice in the same words.
    pub fn create(&self, kind: &Gk, about: &Value, salt: &str, now: Timestamp) -> Write {
        let space = namespace(about).unwrap_or("default");
        let mut involved = json!({
            "kind": kind.kind, "namespace": namespace(about), "name": name(about), "uid": uid(about),
            "apiVersion": super::kind::api_version(kind), "resourceVersion": about["metadata"]["resourceVersion"],
            "fieldPath": (!self.field_path.is_empty()).then_some(self.field_path),
        });
        if let Some(map) = involved.as_object_mut() {
            map.retain(|_, v| !v.is_null());
        }
        let mut source = json!({"component": self.component});
        if !self.host.is_empty() {
            source["host"] = json!(self.host);
        }
        Write::Create {
            object: json!({
                "apiVersion": "v1", "kind": "Event",
                "metadata": {"name": self.name(about, salt), "namespace": space},
                "involvedObject": involved, "reason": self.reason, "message": self.message, "source": source,
                "firstTimestamp": stamp(now), "lastTimestamp": stamp(now), "count": 1,
                "type": if self.warning { "Warning" } else { "Normal" },
                "reportingComponent": self.component, "reportingInstance": self.host,
            }),
        }
    }

    /// The write that says it happened again.
    pub fn repeat(&self, about: &Value, salt: &str, count: u32, now: Timestamp) -> Write {
        Write::MergePatch {
            gk: super::kind::EVENT.clone(),
            namespace: Some(namespace(about).unwrap_or("default").to_owned()),
            name: self.name(about, salt),
            patch: json!({"count": count, "lastTimestamp": stamp(now)}),
            subresource: None,
        }
    }
}
