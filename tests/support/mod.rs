//! What the tests stand on.

pub mod conformance;
pub mod control_plane;
pub mod daemon;
pub mod fault_proxy;
pub mod gitea;
pub mod scratch;
pub mod sshd;
pub mod web_server;
