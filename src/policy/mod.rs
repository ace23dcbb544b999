//! Verdicts on manifests before anything is written. Pure: values in, values out.
//!
//! Policies are written in Kubernetes' own format, `ValidatingAdmissionPolicy` with its binding
//! (`admissionregistration.k8s.io/v1`), so that one file serves a pull request here and the API server there.
//!
//! In: rendered objects ([`crate::object::Desired`]), a [`PolicySet`], and [`Facts`] about the cluster. Out: findings,
//! and [`Admitted`]: the only manifests that can be planned.
//!
//! Invariants: what cannot be evaluated is a finding, never a silent pass (an unknown function is an error at load
//! time; a run-time error, a time-out and an oversized object follow `failurePolicy`, `Fail` by default); a Secret's
//! values reach no message.

mod admit;
mod compiler;
mod document;
mod environment;
mod error;
mod evaluate;
mod expression;
mod library;
mod matching;
mod message;
mod params;
mod resources;
mod review;
pub mod schema;
mod selector;
mod set;
mod value;
mod worker;

pub use admit::{Admitted, Denied, admit};
pub use error::PolicyError;
pub use evaluate::evaluate;
pub use resources::{Facts, Resource, builtin_resource};
pub use review::{Effect, Request, Verdict};
pub use set::PolicySet;
