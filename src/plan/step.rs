//! What the executor does, one write (or wait) at a time.

use super::change::Action;
use super::hook::{Deletion, Phase};
use crate::object::{ObjectKey, ObjectRef};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// A step's place in the graph's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StepId(pub usize);

/// JSON that is sent to the API server. It may be a Secret: `Debug` shows its size only.
#[derive(Clone, PartialEq)]
pub struct Payload(pub Value);

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.to_string().len())
    }
}

/// Which part of a change an apply carries out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it (or all that is left).
    Whole,
    /// The creation, with Git's values for fields that are left alone afterwards.
    Initial,
    /// Only the replicas (and what is no pod template); the rollout follows.
    Scale,
    /// The pod template, after the scaling.
    Rollout,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub enum StepKind {
    /// Wait until the object with this uid, which is being deleted, is gone.
    AwaitGone {
        /// Its uid.
        uid: String,
    },
    /// Make other managers' fields ours: the patch, or after a 409 `migrate_managed_fields` of the object read again.
    Migrate {
        /// The managers.
        managers: Vec<String>,
        /// JSON patch (RFC 6902), tied to the resourceVersion that was planned with.
        patch: Payload,
    },
    /// Server-side apply under `driftless-handover`, `force=false`: keeps live values. After a 409 read the object again
    /// and plan anew.
    Handover {
        /// What to apply.
        body: Payload,
    },
    /// Server-side apply under `driftless`.
    Apply {
        /// What to apply.
        body: Payload,
        /// Take over fields of other managers.
        force: bool,
        /// Which part of the change it is.
        part: Part,
        /// It could not be dry-run yet (it needs something that this plan writes first): dry-run it just before.
        preflight: bool,
    },
    /// Delete in the foreground with the uid as precondition, wait until it is gone, create.
    Replace {
        /// Uid of the old object.
        uid: String,
        /// The new object.
        body: Payload,
    },
    /// Delete in the foreground with the uid as precondition, and wait until it is gone.
    Delete {
        /// Its uid.
        uid: String,
    },
    /// Run a hook to its end, once for this sync: create it (what an earlier sync left goes first), wait until it has
    /// succeeded or failed, record that.
    Hook {
        /// The hook.
        body: Payload,
        /// When it runs.
        phase: Phase,
        /// When its object goes.
        deletion: Deletion,
    },
    /// Nothing by itself: what needs it waits for all that it needs.
    Gate {
        /// What for.
        why: String,
    },
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Its place in the order.
    pub id: StepId,
    /// Index of its change in the plan; `None` for a gate.
    pub change: Option<usize>,
    /// Its object; `None` for a gate.
    pub object: Option<ObjectRef>,
    /// The action that it begins.
    pub action: Option<Action>,
    /// What it does.
    pub kind: StepKind,
    /// Steps that must have succeeded. They all have lower ids.
    pub needs: Vec<StepId>,
    /// Objects that must be healthy before it starts.
    pub wait_for_health_of: Vec<ObjectKey>,
}
