//! The embedded development cluster: a Kubernetes API over HTTP with simulated nodes and pods.
//!
//! ```text
//! HTTP ─▶ http ─▶ server ─▶ write ─▶ fieldmanager, admission, patch ─▶ store ─▶ read (lists, watches, tables)
//!                   ▲                                                    │
//!                   └── carry_out ◀── controllers, scheduler, kubelet ◀── view
//! ```
//!
//! Everything but `http`, `tls` and `embedded` is pure: requests, objects and the time in; answers and objects out.

pub mod admission;
pub mod aim;
pub mod body;
mod carry_out;
pub mod control;
pub mod controllers;
pub mod convert;
pub mod crd;
pub mod custom;
mod delete;
pub mod discovery;
pub mod embedded;
mod establish;
pub mod fieldmanager;
pub mod form;
pub mod http;
pub mod kinds;
pub mod kubelet;
pub mod patch;
pub mod policies;
pub mod read;
pub mod request;
pub mod rules;
pub mod scheduler;
pub mod schema;
pub mod selectors;
pub mod server;
#[cfg(test)]
mod simulation;
pub mod status;
pub mod store;
pub mod strict;
pub mod subresource;
pub mod table;
pub mod tls;
pub mod view;
mod write;

pub use embedded::{ClusterError, ClusterOptions, EmbeddedCluster};
