//! What the simulated parts of the embedded cluster (controllers, scheduler, kubelets) see, and what they want done.
//!
//! In: a [`View`] of all stored objects and the time. Out: a [`Step`], the writes that each component would send to
//! the API server, in order, and when it wants to be asked again. Nothing here reads a clock or does I/O.
//!
//! Invariants
//! - Objects in a view are in the version that the store keeps (`apps/v1`, `autoscaling/v2`, `policy/v1`, …).
//! - A step over an unchanged view at the same time asks for no write, once every earlier write has been carried out.

use crate::object::Gk;
use jiff::Timestamp;
use serde_json::Value;
use std::sync::Arc;

/// Field manager of all controllers: the real ones live in one program.
pub const CONTROLLER_MANAGER: &str = "kube-controller-manager";
/// Field manager of the scheduler.
pub const SCHEDULER: &str = "kube-scheduler";
/// Field manager of the simulated nodes.
pub const KUBELET: &str = "kubelet";
/// What the API server itself keeps in order: system namespaces, the end of old Events.
pub const API_SERVER: &str = "kube-apiserver";

/// Read access to the stored objects, at one moment.
pub trait View {
    /// The object, if it is stored. `namespace` is `None` for cluster-scoped kinds.
    fn get(&self, gk: &Gk, namespace: Option<&str>, name: &str) -> Option<Arc<Value>>;

    /// All objects of a kind, in one namespace or in all, in any stable order.
    fn list(&self, gk: &Gk, namespace: Option<&str>) -> Vec<Arc<Value>>;

    /// Every kind of which an object is stored: the garbage collector and the end of a namespace concern them all.
    fn kinds(&self) -> Vec<Gk>;

    /// A number that differs after every change to an object of this kind; `None` if the view does not count.
    /// Controllers whose kinds have not changed are not run again.
    fn version(&self, gk: &Gk) -> Option<u64> {
        let _ = gk;
        None
    }
}

/// One request to the API server.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// POST. The object has a namespace where its kind has one, and a name or a `generateName`.
    Create {
        /// The object, with `apiVersion` and `kind`.
        object: Value,
    },
    /// PUT, with the object's resourceVersion where it has one.
    Update {
        /// The object.
        object: Value,
    },
    /// PUT to the status subresource: only `status` counts.
    UpdateStatus {
        /// The object.
        object: Value,
    },
    /// PATCH with `application/merge-patch+json` (RFC 7396). `metadata.uid` and `metadata.resourceVersion` in the
    /// patch are preconditions, as in the real API.
    MergePatch {
        /// Group and kind.
        gk: Gk,
        /// Namespace, where the kind has one.
        namespace: Option<String>,
        /// Name.
        name: String,
        /// The patch.
        patch: Value,
        /// `status`, or `finalize` (Namespaces: only `spec.finalizers` counts).
        subresource: Option<String>,
    },
    /// DELETE. A Pod on a node stays, with a deletionTimestamp, until its kubelet deletes it with grace 0; an object
    /// with finalizers stays until they are gone.
    Delete {
        /// Group and kind.
        gk: Gk,
        /// Namespace, where the kind has one.
        namespace: Option<String>,
        /// Name.
        name: String,
        /// Precondition: it must still be this object.
        uid: Option<String>,
        /// `Background`, `Foreground` or `Orphan`.
        propagation: Option<String>,
        /// `gracePeriodSeconds`; `Some(0)` is how a kubelet ends a deletion.
        grace_seconds: Option<i64>,
    },
    /// POST to `pods/NAME/binding`: sets `spec.nodeName` and the condition `PodScheduled=True`.
    Bind {
        /// Namespace of the pod.
        namespace: String,
        /// Name of the pod.
        pod: String,
        /// Name of the node.
        node: String,
    },
}

/// What one call wants done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Step {
    /// In order, each with the field manager under which it is made.
    pub writes: Vec<(&'static str, Write)>,
    /// When to be asked again if nothing changes before.
    pub wake_at: Option<Timestamp>,
}

impl Step {
    /// Adds a write.
    pub fn push(&mut self, actor: &'static str, write: Write) {
        self.writes.push((actor, write));
    }

    /// Asks to be called again at `at`, or earlier.
    pub fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |other| other.min(at)));
    }

    /// Adds another step's writes after this one's.
    pub fn append(&mut self, other: Self) {
        self.writes.extend(other.writes);
        if let Some(at) = other.wake_at {
            self.wake(at);
        }
    }
}

/// Why the API server refused a write, as its `Status` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status, such as 403.
    pub code: u16,
    /// `Forbidden`, `AlreadyExists`, `Conflict`, …
    pub reason: String,
    /// The API server's words.
    pub message: String,
}
