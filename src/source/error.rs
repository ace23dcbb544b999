//! What can go wrong between a repository's address and its content, and what a person does about it.

use super::ssh::SshError;
use super::tree::TreeError;
use crate::object::Problem;

/// Most branches named in a hint.
const MAX_NAMED: usize = 10;

/// A failure of the Git side. No variant ever holds a credential: addresses are shown without them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GitError {
    /// The address cannot be read.
    #[error("{url:?} is not a repository's address: {why}")]
    InvalidUrl {
        /// The address, credentials removed.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// Plain http to another machine.
    #[error("{repository}: plain http would show the token and let anyone change what is deployed")]
    PlainHttp {
        /// The repository.
        repository: String,
    },
    /// No repository in this directory.
    #[error("{path} is not a Git repository")]
    NotARepository {
        /// The directory.
        path: String,
        /// The repository that it lies in, if any.
        inside: Option<String>,
    },
    /// The repository's directory belongs to another user (git's `safe.directory`, CVE-2022-24765).
    #[error("{path} belongs to another user, so that Git does not trust it")]
    Ownership {
        /// The directory.
        path: String,
    },
    /// A repository format that libgit2 cannot read (SHA-256, reftable, partial clones).
    #[error("{repository} has a format that cannot be read: {message}")]
    UnsupportedFormat {
        /// The repository.
        repository: String,
        /// What libgit2 says.
        message: String,
    },
    /// No commit at all.
    #[error("{repository} has no commits yet")]
    EmptyRepository {
        /// The repository.
        repository: String,
    },
    /// No such branch.
    #[error("{repository} has no branch {branch:?}")]
    BranchNotFound {
        /// The repository.
        repository: String,
        /// The branch.
        branch: String,
        /// Branches that it has.
        existing: Vec<String>,
    },
    /// Nothing by that name.
    #[error("{repository} has no commit, branch or tag {spec:?}")]
    RevisionNotFound {
        /// The repository.
        repository: String,
        /// What was asked for.
        spec: String,
    },
    /// An abbreviated id of several commits.
    #[error("{spec:?} is the beginning of more than one commit id in {repository}")]
    Ambiguous {
        /// The repository.
        repository: String,
        /// What was asked for.
        spec: String,
    },
    /// The path root is not there.
    #[error("{path:?} is not a directory at {revision}")]
    PathNotFound {
        /// The path.
        path: String,
        /// The commit, abbreviated.
        revision: String,
        /// Directories at the root.
        existing: Vec<String>,
    },
    /// 401 or 403.
    #[error("{repository} answered {status}: {}", if *sent { "the credentials were refused" } else { "it needs credentials" })]
    Unauthorized {
        /// The repository.
        repository: String,
        /// HTTP status.
        status: u16,
        /// True if credentials were sent.
        sent: bool,
    },
    /// The credentials are not where they should be.
    #[error("{repository}: its credentials cannot be read: {message}")]
    Credentials {
        /// The repository.
        repository: String,
        /// What is missing.
        message: String,
    },
    /// The host's certificate is signed by nobody who is trusted here.
    #[error("{repository}: the host's certificate is not trusted: {message}")]
    Untrusted {
        /// The repository.
        repository: String,
        /// What is wrong with it.
        message: String,
    },
    /// 404.
    #[error("{repository} does not exist, or these credentials may not see it")]
    RepositoryNotFound {
        /// The repository.
        repository: String,
    },
    /// Another HTTP status.
    #[error("{repository} answered {status}")]
    Http {
        /// The repository.
        repository: String,
        /// HTTP status.
        status: u16,
        /// Seconds to wait, if the host said so.
        retry_after: Option<u64>,
    },
    /// An answer that is not Git's smart protocol.
    #[error("{repository} did not answer as a Git server")]
    NotGit {
        /// The repository.
        repository: String,
    },
    /// A redirect that is not followed.
    #[error("{repository} redirects to {to}, which is not followed")]
    Redirect {
        /// The repository.
        repository: String,
        /// Where to: scheme and host only.
        to: String,
    },
    /// No connection, or a broken one.
    #[error("{repository} could not be reached: {message}")]
    Unreachable {
        /// The repository.
        repository: String,
        /// What happened.
        message: String,
    },
    /// Too slow.
    #[error("{repository} did not answer in time")]
    TimedOut {
        /// The repository.
        repository: String,
    },
    /// More bytes than allowed.
    #[error("{repository} sent more than {limit} bytes")]
    TooLarge {
        /// The repository.
        repository: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// Stopped because the process is shutting down.
    #[error("stopped while reading {repository}")]
    Cancelled {
        /// The repository.
        repository: String,
    },
    /// A manifest that Git LFS keeps elsewhere.
    #[error("{path} is a Git LFS pointer, not its content")]
    LfsPointer {
        /// The file.
        path: String,
    },
    /// The tree breaks a rule or a limit.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// What only SSH has.
    #[error(transparent)]
    Ssh(#[from] SshError),
    /// The cache directory cannot be used.
    #[error("the cache at {path} cannot be used: {message}")]
    Cache {
        /// The directory or file.
        path: String,
        /// What happened.
        message: String,
    },
    /// The file of trusted roots cannot be used.
    #[error("the certificates in {path} cannot be used: {message}")]
    CaFile {
        /// The file.
        path: String,
        /// What happened.
        message: String,
    },
    /// An object that should be there is not, or is damaged.
    #[error("{repository} is damaged or was cleaned up while it was read: {message}")]
    Damaged {
        /// The repository.
        repository: String,
        /// What libgit2 says.
        message: String,
    },
    /// A push was refused.
    #[error("{repository} refused the push: {message}")]
    PushRefused {
        /// The repository.
        repository: String,
        /// What the host says.
        message: String,
    },
    /// Anything else that libgit2 says.
    #[error("{repository}: {message}")]
    Git {
        /// The repository.
        repository: String,
        /// What libgit2 says.
        message: String,
    },
}

impl GitError {
    /// True if the same call may well succeed later without anyone doing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Http { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::Credentials { .. }
            | Self::Damaged { .. }
            | Self::Cache { .. } => true,
            _ => false,
        }
    }

    /// A stable word for scripts.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::InvalidUrl { .. } => "InvalidRepository",
            Self::PlainHttp { .. } => "PlainHttp",
            Self::NotARepository { .. } => "NotARepository",
            Self::Ownership { .. } => "RepositoryOwnership",
            Self::UnsupportedFormat { .. } => "UnsupportedRepositoryFormat",
            Self::EmptyRepository { .. } => "EmptyRepository",
            Self::BranchNotFound { .. } => "BranchNotFound",
            Self::RevisionNotFound { .. } => "RevisionNotFound",
            Self::Ambiguous { .. } => "AmbiguousRevision",
            Self::PathNotFound { .. } => "PathNotFound",
            Self::Unauthorized { .. } => "RepositoryUnauthorized",
            Self::Credentials { .. } => "SecretMissing",
            Self::Untrusted { .. } => "CertificateUntrusted",
            Self::RepositoryNotFound { .. } => "RepositoryNotFound",
            Self::Http { .. } | Self::NotGit { .. } => "RepositoryAnswer",
            Self::Redirect { .. } => "RedirectRefused",
            Self::Unreachable { .. } => "RepositoryUnreachable",
            Self::TimedOut { .. } => "RepositoryTimeout",
            Self::TooLarge { .. } => "RepositoryTooLarge",
            Self::Cancelled { .. } => "Cancelled",
            Self::LfsPointer { .. } => "LfsPointer",
            Self::Tree(_) => "InvalidTree",
            Self::Ssh(error) => error.reason(),
            Self::Cache { .. } => "CacheUnusable",
            Self::CaFile { .. } => "InvalidCertificates",
            Self::Damaged { .. } => "RepositoryDamaged",
            Self::PushRefused { .. } => "PushRefused",
            Self::Git { .. } => "Git",
        }
    }

    /// A libgit2 error about this repository, in our words.
    pub(crate) fn from_git2(repository: &str, error: &git2::Error) -> Self {
        use git2::{ErrorClass, ErrorCode};
        let repository = repository.to_owned();
        let message = plain(error.message());
        let format = [
            "unsupported extension",
            "object format",
            "unsupported repository version",
            "repositoryformatversion",
            "reftable",
        ];
        if format.iter().any(|word| message.contains(word)) {
            return Self::UnsupportedFormat { repository, message };
        }
        match (error.code(), error.class()) {
            (ErrorCode::Owner, _) => Self::Ownership { path: repository },
            (ErrorCode::NotFound, ErrorClass::Odb | ErrorClass::Object | ErrorClass::Os)
            | (_, ErrorClass::Odb | ErrorClass::Zlib | ErrorClass::Object | ErrorClass::Indexer) => {
                Self::Damaged { repository, message }
            }
            (_, ErrorClass::Net | ErrorClass::Http) => Self::Unreachable { repository, message },
            _ => Self::Git { repository, message },
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::PlainHttp { .. } => "use https://, or set `insecure_http` for a server of your own network",
            Self::NotARepository { inside: Some(root), .. } => {
                return Some(format!("it lies in the repository {root}: use that, and --path for the directory"));
            }
            Self::NotARepository { .. } => "check the path; `git init` makes a repository",
            Self::Ownership { path } => {
                return Some(format!("if you trust it: git config --global --add safe.directory {path}"));
            }
            Self::UnsupportedFormat { .. } => {
                "SHA-256 repositories, reftables and partial clones are not read: use a full clone in the default format"
            }
            Self::EmptyRepository { .. } => "push a first commit",
            Self::BranchNotFound { existing, .. } if existing.is_empty() => "push the branch, or name another one",
            Self::BranchNotFound { existing, .. } => return Some(named("it has the branches", existing)),
            Self::RevisionNotFound { .. } => "check the spelling, and that it was pushed",
            Self::Ambiguous { .. } => "give more digits",
            Self::PathNotFound { existing, .. } => return Some(named("at the root are", existing)),
            Self::Unauthorized { sent: false, .. } => {
                "set the repository's `auth` to a token from the environment or a file"
            }
            Self::Unauthorized { .. } => "check that the token is valid, not expired, and may read this repository",
            Self::Credentials { .. } => "put the token where the repository's `auth` says that it is",
            Self::Untrusted { .. } => {
                "for a host with a private authority, name its certificate: ca_file = \"/etc/ssl/company-ca.pem\""
            }
            Self::RepositoryNotFound { repository } if !repository.starts_with("http") => {
                "check the address, and that the key may read the repository: a deploy key is for one alone"
            }
            Self::RepositoryNotFound { .. } => "check the address, and that the token may read the repository",
            Self::NotGit { .. } => "check the address: it must be the one that `git clone` takes",
            Self::Redirect { .. } => "use the new address in the configuration if you trust it",
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Http { .. } => {
                "check the network and the host's status; a daemon tries again by itself"
            }
            Self::LfsPointer { .. } => {
                "manifests must be in Git itself: `git lfs untrack` the file and commit it again"
            }
            Self::Cache { .. } => "check that the directory exists and can be written, or choose another one",
            Self::CaFile { .. } => "it must hold certificates in PEM (`-----BEGIN CERTIFICATE-----`)",
            Self::Damaged { .. } => "run `git fsck` in it if this persists",
            Self::TooLarge { .. } => "use a smaller repository",
            Self::Ssh(error) => return error.hint(),
            Self::InvalidUrl { .. }
            | Self::Cancelled { .. }
            | Self::Tree(_)
            | Self::PushRefused { .. }
            | Self::Git { .. } => return None,
        };
        Some(text.to_owned())
    }
}

fn named(lead: &str, names: &[String]) -> String {
    if names.is_empty() {
        return format!("{lead}: none");
    }
    let shown: Vec<String> = names.iter().take(MAX_NAMED).map(|name| plain(name)).collect();
    let more = if names.len() > MAX_NAMED { format!(" and {} more", names.len() - MAX_NAMED) } else { String::new() };
    format!("{lead}: {}{more}", shown.join(", "))
}

/// Text of a remote as it may be shown on a terminal: no control characters, not too long.
pub(crate) fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

impl From<GitError> for Problem {
    fn from(error: GitError) -> Self {
        let mut problem = Self::new(error.reason(), error.to_string());
        problem.hint = error.hint();
        if let GitError::LfsPointer { path } = &error {
            problem.file = Some(path.clone());
        }
        problem
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_branch_names_those_that_exist() {
        let existing = (0..12).map(|i| format!("b{i}")).collect();
        let error = GitError::BranchNotFound { repository: "r".into(), branch: "mian".into(), existing };
        let problem = Problem::from(error);
        assert_eq!(problem.reason, "BranchNotFound");
        assert_eq!(problem.hint.unwrap(), "it has the branches: b0, b1, b2, b3, b4, b5, b6, b7, b8, b9 and 2 more");
    }

    #[test]
    fn control_characters_of_a_remote_are_dropped() {
        assert_eq!(plain("a\u{1b}[31mb\n"), "a[31mb");
    }
}
