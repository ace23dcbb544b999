//! Source tree to manifests: plain YAML, the App shorthand, Kustomize, Helm.
//!
//! `rendered` is the way through it; `discover` says which directories are apps; `namespaces` is the second step, once
//! a cluster has said what kinds it serves. All of it is pure but `kustomize` and `helm`, which run a process.

pub mod app;
pub mod discover;
pub mod fault;
pub mod glob;
mod helm;
pub mod kustomize;
pub mod manifest;
pub mod namespaces;
mod process;
pub mod removed;
pub mod rendered;
mod stderr;
mod workdir;
pub mod yaml;

pub use discover::{AppDir, DiscoverError, discover_apps};
pub use helm::HelmSource;
pub use namespaces::{Resolved, resolve_namespaces};
pub use process::{Kustomizer, Limits, Tools};
pub use rendered::{AppSource, RenderError, Rendered, render};
