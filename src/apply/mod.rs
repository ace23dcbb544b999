//! Server-side apply, the inventory's writes and the executor: the only writer to a user's cluster.

pub mod executor;
mod hook;
pub mod lease;
pub mod machine;
pub mod parents;
pub mod step;
pub mod write;
