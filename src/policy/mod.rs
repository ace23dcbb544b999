//! Verdicts on manifests before anything is written. Pure: values in, values out.
//!
//! Policies are written in Kubernetes' own format, `ValidatingAdmissionPolicy` with its binding
//! (`admissionregistration.k8s.io/v1`), so that one file serves a pull request here and the API server there.
//!
//! In: what is about to be written ([`crate::plan::Write`]), a [`PolicySet`], and [`Facts`] about the cluster. Out:
//! findings, or [`Denied`]. With a cluster a write is what the API server would be asked: a creation, an update with the
//! object as it is live, or a deletion. Without one ([`evaluate`]) every manifest counts as created.
//!
//! Invariants: what cannot be evaluated is a finding, never a silent pass (an unknown function is an error at load
//! time; a run-time error, a time-out and an oversized object follow `failurePolicy`, `Fail` by default); a Secret's
//! values reach no message.

mod admit;
mod compiler;
mod cost;
mod document;
mod environment;
mod error;
mod evaluate;
mod expression;
mod fields;
mod library;
mod lines;
mod literals;
mod matching;
mod message;
mod nothing;
mod params;
mod resources;
mod review;
pub mod schema;
mod selector;
mod set;
mod signatures;
mod types;
mod typing;
mod value;
mod worker;

pub use admit::{Denied, admit};
pub use error::PolicyError;
pub use evaluate::{evaluate, judge_writes};
pub use fields::{RESERVED, binding_faults};
pub use lines::FieldLines;
pub use matching::labels_of;
pub use resources::{Facts, Resource, assumed_user, builtin_resource};
pub use review::{Effect, Request, Verdict};
pub use set::PolicySet;
