//! `driftless.toml`: strict, documented, with a JSON Schema generated from the types.
//!
//! In: the text of the file (or the flags that stand for one). Out: a [`Config`] in which every default is filled in and
//! every reference resolves; or *all* that is wrong, each with its line.
//!
//! How: the types in [`file`] are the file, and their doc comments its documentation. Their JSON Schema is what an
//! editor reads, and what [`walk`] checks the text against, so that no key can be accepted and undocumented.
//! [`resolve`] then fills in defaults and checks what concerns several entries.
//!
//! Invariants
//! - An unknown key is an error: a misspelt option must not silently be the default.
//! - No secret stands in the file; one that does is refused without being repeated.
//! - Pure: nothing is read here; paths and variables are only named.

pub mod apps;
pub mod error;
pub mod file;
pub mod format;
pub mod lines;
pub mod model;
pub mod parse;
pub mod resolve;
pub mod walk;

pub use error::{ConfigError, Fault};
pub use format::HumaneDuration;
pub use model::{
    App, AppPaths, AppRef, ApplyMode, Auth, Cluster, ClusterAccess, Config, Flags, GitHubApp, IgnoreRule, Instance,
    OnFailure, Policy, PruneLimit, Report, ReportKind, Repository, Schedule, SecretRef, Ssh, Verify, Webhook,
};
pub use parse::schema;
