//! Where desired state comes from: revisions and trees (pure), and Git itself (I/O).
//!
//! [`tree`] and [`cadence`] are pure. [`GitMirror`] is the one way to a repository, local or remote; it blocks, so that
//! async code calls it by `spawn_blocking`. [`follow`] says when a local repository's branches may have moved.

pub mod cadence;
pub mod error;
pub mod follow;
pub mod git;
mod http;
mod local;
mod merge;
mod mirror;
mod odb;
mod packs;
mod remote;
mod renames;
mod resolve;
mod session;
pub mod ssh;
#[cfg(test)]
pub(crate) mod testing;
pub mod tree;
pub mod upstream;
pub mod url;

/// The HTTP client that this crate has for Git and for Git hosts: no redirects, proxies of the environment except for
/// this machine's own addresses.
///
/// # Errors
/// Where the address is none, or the authority's file cannot be read.
pub fn http_client(url: &str, ca_file: Option<&std::path::Path>) -> Result<reqwest::blocking::Client, GitError> {
    let parsed = reqwest::Url::parse(url)
        .map_err(|error| GitError::InvalidUrl { url: url.to_owned(), why: error.to_string() })?;
    http::client(&parsed, ca_file)
}

pub use cadence::{Backoff, Cadence, Interval, Schedule};
pub use error::GitError;
pub use follow::{Follower, Watched};
pub use git::{CommitInfo, Fetched, GitMirror, GitOptions, Head};
pub use merge::{Merge, Merged};
pub use odb::is_lfs_pointer;
pub use ssh::SshOptions;
pub use tree::{Entry, Revision, SourceTree, TreeError};
pub use url::{Auth, Credentials, RepoUrl};
