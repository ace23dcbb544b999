//! driftless makes a Kubernetes cluster equal to a Git repository, keeps it equal, and says so on every commit.
//!
//! Modules are declared in the order in which data meets them:
//!
//! ```text
//! git commit ─▶ source ─▶ render ─▶ plan ─▶ policy ─▶ apply ─▶ health ─▶ report ─▶ commit status
//!                                   ▲
//!                         live ─────┘
//! ```
//!
//! `reconcile` is that path in one file. `object`, `scheme`, `policy`, `scheduling`, `plan`, `inventory` and `health` are pure:
//! values in, values out, no clock and no I/O. `apply` is the only module that writes to a user's cluster. `cluster`
//! (the embedded cluster) and the engine never import each other; they meet over HTTP.

pub mod object;

pub mod scheme;

pub mod config;

pub mod source;

pub mod render;

pub mod policy;

pub mod live;

pub mod scheduling;

pub mod inventory;

pub mod plan;

pub mod apply;

pub mod health;

pub mod app;

pub mod scope;

pub mod engine;

pub mod reconcile;

pub mod workspace;

pub mod hosts;

pub mod outcome;

pub mod rollback;

pub mod dependants;

pub mod request;

pub mod survey;

pub mod merge_plan;

pub mod forecast;

pub mod report;

pub mod daemon;

pub mod server;

pub mod cluster;

pub mod cli;
