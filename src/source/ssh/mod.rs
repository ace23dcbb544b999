//! Git's smart protocol through OpenSSH: key, agent, known hosts and jump hosts are OpenSSH's own business.
//!
//! In: a [`super::session::Session`] (the call's limits) and a [`Remote`]. Out: bytes for libgit2's smart transport, and on
//! failure what `ssh` meant. [`settings`] says how `ssh` is run, [`process`] runs it, [`error`] understands what it says.

mod address;
pub mod error;
mod process;
mod settings;

pub(crate) use address::SshAddress;
pub use address::check_jump;
pub use error::SshError;
pub(super) use process::{Remote, Subtransport};
pub use settings::SshOptions;
