//! Tables: what `kubectl get` shows, column by column as the real server does. Pure.
//! Source: k8s.io/kubernetes/pkg/printers/internalversion/printers.go, and the column definitions of a real server.

mod cells;
mod columns;
mod core;
mod custom;
mod pod;
mod render;
mod value;
mod workload;

pub use render::{View, table};
