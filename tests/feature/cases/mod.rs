//! Cases that an apply engine has to pass, by their numbers: what the peers test, and what their users suffered.
//! Each runs on the embedded cluster and on the real control plane, through the binary, with kubectl as witness.

mod apply;
mod apply_fields;
mod apply_input;
mod drift;
mod facts;
mod ownership;
mod proxy;
mod prune;
mod reports;
mod rollout;
pub mod table;
