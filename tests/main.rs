//! The one test runner. Every file below `tests/` is declared here.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "architecture.rs"]
mod architecture;
mod conformance;
mod faults;
mod feature;
mod health;
mod plan;
mod policies;
mod support;
