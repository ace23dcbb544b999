//! Source tree to manifests: plain YAML, the App shorthand, Kustomize.
//!
//! `rendered` is the way through it; `discover` says which directories are apps; `namespaces` is the second step, once
//! a cluster has said what kinds it serves. All of it is pure but `kustomize`, which runs a process.

pub mod app;
pub mod discover;
pub mod fault;
pub mod glob;
pub mod kustomize;
pub mod manifest;
pub mod namespaces;
pub mod removed;
pub mod rendered;
pub mod yaml;

pub use discover::{AppDir, DiscoverError, discover_apps};
pub use kustomize::{Kustomizer, Limits, Tools};
pub use namespaces::{Resolved, resolve_namespaces};
pub use rendered::{AppSource, RenderError, Rendered, render};
