//! Kubernetes objects as data. Pure: no I/O, no clock, no client.
//!
//! Everything else in the crate speaks in these types. [`Desired`], [`Live`] and [`DryRun`] hold the same JSON but
//! mean different things, and no function takes one where it means another.

pub mod count;
pub mod digest;
pub mod fields;
pub mod gvk;
pub mod key;
pub mod null;
pub mod path;
pub mod problem;
pub mod quantity;
pub mod roles;

pub use count::counted;
pub use digest::Digest;
pub use fields::FieldSet;
pub use gvk::{Gk, Gvk};
pub use key::{ObjectKey, ObjectRef};
pub use path::{FieldPath, PathElement, Scalar};
pub use problem::Problem;
pub use roles::{Desired, DryRun, Live, Manifest, Source};
