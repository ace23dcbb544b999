//! What the API server itself does to objects: preparation, validation, allocation. Pure.
//!
//! In the order in which a write meets them, after its defaults ([`crate::scheme`]): `mutate` (what mutating admission
//! plugins add), `prepare` (strategies: status, generation), `validate` and `immutable`.

pub mod metadata;
pub mod mutate;
pub mod pod;
pub mod prepare;
pub mod quota;
pub mod service;
pub mod unsupported;
pub mod validate;
pub mod warn;
pub mod workload;
