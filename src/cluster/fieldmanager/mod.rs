//! Field ownership as the real server keeps it: sigs.k8s.io/structured-merge-diff v6, and the managers that
//! k8s.io/apimachinery/pkg/util/managedfields wraps around it. Pure.

pub mod managed;
pub mod typed;
pub mod updater;

pub use managed::{ApplyOptions, FieldManager, ManagerError};
pub use updater::Versions;
