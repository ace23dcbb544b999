//! Placement and the scores f, g, h and i. Pure.
//!
//! - f: how much headroom a node would keep ([`score::node`])
//! - g: how much headroom a cluster would keep for an app ([`score::cluster`])
//! - h: how much of a supply is requested ([`score::allocation`])
//! - i: how ready an app is ([`score::monitoring`])

pub mod resources;
pub mod score;

pub use resources::{Resource, Resources};
