//! What the daemon serves over HTTP: liveness, readiness and metrics.
//!
//! In: [`Metrics`] and [`Readiness`], which the daemon's parts write to. Out: `/healthz`, `/readyz`, `/metrics`.
//! Invariants: no request waits for a cluster or a repository, none reads a body, and neither many connections nor slow
//! ones hold up the daemon.

mod http;
mod listener;
mod metrics;
mod readiness;
pub mod webhook;

pub use http::{Server, ServerError, routes};
pub use metrics::Metrics;
pub use readiness::Readiness;
