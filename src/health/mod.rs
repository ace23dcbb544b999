//! Is it well? One file per kind, a pure `assess` each; the app's health is the worst of its objects.
//!
//! In: a live object, what was read about it besides ([`Related`]: its pods, its events), and the time.
//! Out: an [`Assessment`]: a verdict, the reason in words, and when time alone could change it.
//!
//! How a caller uses it: [`needs_related`] says what to read for an object that does not look healthy by itself,
//! [`needs_more`] what to read once that is known (events of a pod that hangs), [`assess`] gives the verdict.
//!
//! Invariants
//! - Pure: no clock, no I/O. The same input gives the same verdict.
//! - Nothing read is not the same as nothing there: without related objects the verdict rests on the status alone.
//! - A workload is judged by its new pods; a crashing pod of the previous revision is never blamed on the new one.
//! - A status older than the spec (`observedGeneration`) proves nothing.
//!
//! Source: kstatus (sigs.k8s.io/cli-utils/pkg/kstatus), `kubectl rollout status`, and the controllers themselves
//! (kubernetes/pkg/controller), with what their users reported as wrong corrected; each file names its own.

pub mod apiservice;
pub mod assess;
pub mod crd;
pub mod cronjob;
pub mod custom;
pub mod daemonset;
pub mod deployment;
pub mod hpa;
pub mod ingress;
pub mod job;
pub mod namespace;
pub mod node;
pub mod pdb;
pub mod pod;
pub mod pv;
pub mod pvc;
pub mod related;
pub mod replicaset;
pub mod score;
pub mod service;
pub mod statefulset;
pub mod status;
pub mod verdict;
pub mod wait;

pub use assess::{
    Rules, assess, assess_missing, assess_with, gates_others, needs_more, needs_related, triggers_rollback,
};
pub use related::{Related, RelatedQuery};
pub use score::ready_fraction;
pub use verdict::{Assessment, Health, ObjectHealth};
