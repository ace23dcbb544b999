//! What the cluster holds: the snapshot that planning reads (pure), and discovery, lists and watches (I/O).

pub mod cache;
pub mod client;
pub mod discovery;
pub mod foreign;
pub mod kinds;
pub mod observe;
pub mod pace;
pub mod packed;
pub mod retry;
pub mod snapshot;
