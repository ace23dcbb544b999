//! What can be said of a manifest with no cluster at hand: the rules of the built-in kinds that people break most.
//!
//! In: rendered objects. Out: a [`Problem`](crate::object::Problem) per fault, with object, field, file, line and what
//! to do. `driftless check` tells them; a plan leaves the verdict to the API server's dry-run.
//!
//! Invariants: nothing that an API server accepts is a fault (a rule that depends on the server's version or on its
//! configuration is not checked; removed API versions are found while rendering); values of Secrets reach no message.
//!
//! Source of the rules, unless another is named: pkg/apis/*/validation in k8s.io/kubernetes, and
//! k8s.io/apimachinery/pkg/util/validation/validation.go for names.

mod check;
mod cluster_kinds;
mod faults;
mod metadata;
mod names;
mod network_kinds;
mod pod;
mod volumes;
mod workload_kinds;

pub use check::check;
pub use faults::type_of;
