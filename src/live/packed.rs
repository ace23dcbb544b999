//! A live object as the cache keeps it: what decides whether it is in sync, at hand; the rest packed.
//!
//! Whether a member is as it was left is told by its uid, by whether it is being deleted, and by the digest of our owned
//! fields: these are kept, the digest once somebody has asked for it. Everything else (the before side of a diff, what
//! health reads) is needed while something is going on with the object: it is kept as deflated JSON and read when asked.
//!
//! A Deployment of 3.6 KB of JSON takes 1.6 KB (the test below measures it); parsed it would take a multiple of its text.
//! `/metrics` tells the sum as `driftless_cached_objects_bytes`.

use crate::inventory::identity::{ID, PART_OF};
use crate::object::{Digest, Live, Manifest, ObjectKey};
use flate2::read::DeflateDecoder;
use flate2::{Compress, Compression, FlushCompress, Status};
use serde_json::Value;
use std::cell::RefCell;
use std::io::Read;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

/// Labels that are read of every object: whose it is.
const MARKS: [&str; 2] = [PART_OF, ID];

/// A live object, packed.
#[derive(Debug)]
pub struct Packed {
    uid: Option<Box<str>>,
    version: Option<Box<str>>,
    marks: [Option<Box<str>>; 2],
    terminating: bool,
    /// A Job that has succeeded.
    complete: bool,
    bytes: Box<[u8]>,
    /// The whole object, as long as somebody has it.
    whole: Mutex<Weak<Live>>,
    owned: OnceLock<Digest>,
}

impl Packed {
    /// Packs an object. `live` is handed out as long as somebody holds it.
    pub fn new(live: &Arc<Live>) -> Self {
        let conditions = live.at("/status/conditions").and_then(Value::as_array).into_iter().flatten();
        let is_job = live.key().is("batch", "Job");
        Self {
            uid: live.uid().map(Into::into),
            version: live.resource_version().map(Into::into),
            marks: MARKS.map(|mark| live.label(mark).map(Into::into)),
            terminating: live.is_terminating(),
            complete: is_job && conditions.into_iter().any(|c| c["type"] == "Complete" && c["status"] == "True"),
            bytes: deflate(live.value()),
            whole: Mutex::new(Arc::downgrade(live)),
            owned: OnceLock::new(),
        }
    }

    /// The whole object, and whether it had to be unpacked for this.
    pub fn whole(&self) -> (Arc<Live>, bool) {
        let mut known = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(live) = known.upgrade() {
            return (live, false);
        }
        let live = Arc::new(Live(inflate(&self.bytes)));
        *known = Arc::downgrade(&live);
        (live, true)
    }

    /// `metadata.uid`.
    pub fn uid(&self) -> Option<&str> {
        self.uid.as_deref()
    }

    /// `metadata.resourceVersion`.
    pub fn resource_version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// One of the labels that say whose it is; `None` for any other.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.marks[MARKS.iter().position(|mark| *mark == name)?].as_deref()
    }

    /// True once it is being deleted.
    pub fn is_terminating(&self) -> bool {
        self.terminating
    }

    /// True for a Job that has succeeded.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// The digest of our owned fields; `digest` is asked once in the life of this version of the object.
    pub fn owned(&self, key: &ObjectKey, digest: impl Fn(&Live, &ObjectKey) -> Digest) -> &Digest {
        self.owned.get_or_init(|| digest(&self.whole().0, key))
    }

    /// Bytes that it takes, roughly: itself and what it points to.
    pub fn size(&self) -> usize {
        let texts = [&self.uid, &self.version, &self.marks[0], &self.marks[1]];
        let texts: usize = texts.into_iter().flatten().map(|text| text.len()).sum();
        size_of::<Self>() + self.bytes.len() + texts + self.owned.get().map_or(0, |digest| digest.as_str().len())
    }
}

thread_local! {
    /// Its tables are a quarter of a megabyte: made once for a thread, not once for an object.
    static COMPRESSOR: RefCell<Compress> = RefCell::new(Compress::new(Compression::fast(), false));
}

fn deflate(value: &Value) -> Box<[u8]> {
    // A `Value` has no key that JSON does not allow.
    let text = serde_json::to_vec(value).unwrap_or_default();
    COMPRESSOR.with_borrow_mut(|compressor| {
        compressor.reset();
        // More than deflate ever makes of it: five bytes a block of what does not get smaller.
        let mut packed = Vec::with_capacity(text.len() + text.len() / 1000 + 64);
        let done = compressor.compress_vec(&text, &mut packed, FlushCompress::Finish);
        debug_assert!(matches!(done, Ok(Status::StreamEnd)), "the room is enough");
        packed.into_boxed_slice()
    })
}

/// What [`deflate`] packed.
fn inflate(bytes: &[u8]) -> Value {
    let mut text = Vec::with_capacity(bytes.len() * 6);
    let read = DeflateDecoder::new(bytes).read_to_end(&mut text);
    debug_assert!(read.is_ok(), "it was packed here");
    serde_json::from_slice(&text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// As an API server answers it: a Deployment with three managers.
    fn deployment() -> Value {
        let container = json!({"name": "main", "image": "registry.example.org/shop/web:1.2.3", "imagePullPolicy": "IfNotPresent",
            "env": (0..6).map(|n| json!({"name": format!("SETTING_{n}"), "value": format!("value-{n}")})).collect::<Vec<_>>(),
            "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
            "readinessProbe": {"httpGet": {"path": "/ready", "port": "http", "scheme": "HTTP"}, "periodSeconds": 10, "timeoutSeconds": 1,
                "successThreshold": 1, "failureThreshold": 3},
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"});
        let fields = |container: &Value| {
            fn of(value: &Value) -> Value {
                match value {
                    Value::Object(map) => map.iter().map(|(k, v)| (format!("f:{k}"), of(v))).collect(),
                    Value::Array(items) => {
                        items.iter().map(|v| (format!("k:{{\"name\":{}}}", v["name"]), of(v))).collect()
                    }
                    _ => json!({}),
                }
            }
            json!({"f:spec": {"f:replicas": {}, "f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"main\"}": of(container)}}}}})
        };
        let condition = |kind: &str, reason: &str| {
            json!({"type": kind, "status": "True", "reason": reason,
            "message": "ReplicaSet \"web-6d4cf56db6\" has successfully progressed.",
            "lastUpdateTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"})
        };
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop", "uid": "7a1c0a0e-6f0e-4d61-9b61-0d9d1c9e6a55", "resourceVersion": "123456",
                "generation": 3, "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"app.kubernetes.io/name": "web", PART_OF: "applyset-1sT3rMQ0BmHrPlHxAaFnSDEiuPhnjEjTvfrx_VMmRHc-v1"},
                "annotations": {"deployment.kubernetes.io/revision": "3"},
                "managedFields": [
                    {"manager": "driftless", "operation": "Apply", "apiVersion": "apps/v1", "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": fields(&container)},
                    {"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "apps/v1", "subresource": "status", "time": "2026-01-01T00:00:00Z",
                        "fieldsType": "FieldsV1", "fieldsV1": {"f:status": {"f:availableReplicas": {}, "f:conditions": {".": {}, "k:{\"type\":\"Available\"}": {".": {}, "f:status": {}, "f:reason": {}},
                        "k:{\"type\":\"Progressing\"}": {".": {}, "f:status": {}, "f:reason": {}}}, "f:readyReplicas": {}, "f:replicas": {}}}}]},
            "spec": {"replicas": 3, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600, "selector": {"matchLabels": {"app": "web"}},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container], "restartPolicy": "Always",
                    "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler", "securityContext": {}, "terminationGracePeriodSeconds": 30}}},
            "status": {"observedGeneration": 3, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 3,
                "conditions": [condition("Available", "MinimumReplicasAvailable"), condition("Progressing", "NewReplicaSetAvailable")]}})
    }

    #[test]
    fn nothing_is_lost_and_little_is_taken() {
        let live = Arc::new(Live(deployment()));
        let packed = Packed::new(&live);
        let (shared, unpacked) = packed.whole();
        assert!(Arc::ptr_eq(&shared, &live) && !unpacked);
        drop((shared, live));
        let (again, unpacked) = packed.whole();
        assert!(unpacked && again.value() == &deployment());
        assert!(!packed.whole().1, "as long as somebody has it");
        assert_eq!(
            (packed.uid(), packed.resource_version(), packed.label("app")),
            (again.uid(), again.resource_version(), None)
        );
        assert_eq!(packed.label(PART_OF), again.label(PART_OF));
        let (text, size) = (deployment().to_string().len(), packed.size());
        println!("a Deployment of {text} bytes of JSON takes {size} bytes");
        assert!(size < 2048 && size * 2 < text, "{size} of {text}");
    }
}
