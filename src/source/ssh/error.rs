//! What `ssh` says when it fails, in our words, with what a person does about it.
//!
//! In: its standard error and its exit code (255 is its own failure, anything else the remote command's). Out: a
//! [`GitError`]. The words are those of OpenSSH's sources in the C locale, which have been the same for decades.

use super::super::error::{GitError, plain};

/// A failure that only SSH has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SshError {
    /// The host shows another key than the pinned one.
    #[error("{repository}: {host} shows another host key than the one that is pinned{}, and was refused", shows(.fingerprint))]
    HostKeyChanged {
        /// The repository.
        repository: String,
        /// The host, with its port where that is not 22.
        host: String,
        /// The key that it shows.
        fingerprint: Option<String>,
        /// The file and line of the pinned one.
        pinned: Option<String>,
    },
    /// The host's key is not pinned.
    #[error("{repository}: the host key of {host} is not known, and nobody is here to be asked")]
    HostKeyUnknown {
        /// The repository.
        repository: String,
        /// The host, with its port where that is not 22.
        host: String,
    },
    /// No key was accepted.
    #[error("{repository}: no key was accepted ({message})")]
    Denied {
        /// The repository.
        repository: String,
        /// What `ssh` said.
        message: String,
    },
    /// A key or known-hosts file that cannot be used.
    #[error("{path} cannot be used: {message}")]
    File {
        /// The file.
        path: String,
        /// What is wrong.
        message: String,
    },
    /// A directory where a file is wanted.
    #[error("{path} is a directory")]
    Directory {
        /// The directory.
        path: String,
        /// The setting that names it.
        setting: String,
    },
    /// A key file that holds something else.
    #[error("{path} cannot be used as a key: {message}")]
    NotAKey {
        /// The file.
        path: String,
        /// What it is.
        message: String,
    },
    /// OpenSSH's client is not there.
    #[error("{program} cannot be started: {message}")]
    Missing {
        /// The program.
        program: String,
        /// What happened.
        message: String,
    },
    /// Anything else that the host says.
    #[error("{repository}: {message}")]
    Refused {
        /// The repository.
        repository: String,
        /// What the host says.
        message: String,
    },
}

fn shows(fingerprint: &Option<String>) -> String {
    fingerprint.as_ref().map(|fingerprint| format!(" ({fingerprint})")).unwrap_or_default()
}

impl SshError {
    /// A stable word for scripts.
    pub(in super::super) fn reason(&self) -> &'static str {
        match self {
            Self::HostKeyChanged { .. } => "HostKeyChanged",
            Self::HostKeyUnknown { .. } => "HostKeyUnknown",
            Self::Denied { .. } => "RepositoryUnauthorized",
            Self::File { .. } | Self::Directory { .. } | Self::NotAKey { .. } => "SshFileUnusable",
            Self::Missing { .. } => "SshMissing",
            Self::Refused { .. } => "RepositoryAnswer",
        }
    }

    pub(in super::super) fn hint(&self) -> Option<String> {
        let text = match self {
            Self::HostKeyChanged { host, pinned, .. } => {
                let place = pinned.as_ref().map(|place| format!(" in {place}")).unwrap_or_default();
                return Some(format!(
                    "someone may be in between. Only if whoever runs the host says that its key was changed: replace the \
                     line{place} by that of `{}`",
                    keyscan(host)
                ));
            }
            Self::HostKeyUnknown { host, .. } => {
                return Some(format!(
                    "pin it: `{} >> known_hosts`, compare `ssh-keygen -lf known_hosts` with the fingerprint that the host \
                     publishes, and name the file: ssh = {{ known_hosts = \"…/known_hosts\" }}",
                    keyscan(host)
                ));
            }
            Self::Denied { message, .. } if message.contains(".pub\"") => {
                "the private half of that key is not in the agent: see `ssh-add -l`, and that SSH_AUTH_SOCK is set here"
            }
            Self::Denied { message, .. } if message.contains("Load key") => {
                "the key file cannot be read as a private key without a passphrase: check it with `ssh-keygen -yf FILE`"
            }
            Self::Denied { .. } => {
                "add the public key to the host (a deploy key), name the private one: ssh = { key_file = \"…\" }, or load \
                 it into the agent; a key with a passphrase works by the agent only"
            }
            Self::File { message, .. } if message.contains("too open") => "chmod 600 it: only its owner may read a key",
            Self::File { .. } => "check the path, and that this user may read it",
            Self::Directory { setting, .. } if setting == "known_hosts" => {
                "`known_hosts` names a file, with host keys as `ssh-keyscan` prints them"
            }
            Self::Directory { .. } => {
                "`key_file` names a file: the private key, or the public one of a key in the agent"
            }
            Self::NotAKey { .. } => {
                "name a private key as `ssh-keygen` makes it, or the public one of a key in the agent; \
                 `ssh-keygen -lf FILE` tells whether it is one"
            }
            Self::Missing { .. } => "install OpenSSH's client (`openssh-client`), or use the https:// address",
            Self::Refused { message, .. } if message.contains("instead of speaking Git") => {
                "check the address, and that the account's shell prints nothing and runs `git-upload-pack`"
            }
            Self::Refused { .. } => return None,
        };
        Some(text.to_owned())
    }
}

/// The command that prints a host's keys; `host` as known-hosts files have it.
fn keyscan(host: &str) -> String {
    match host.strip_prefix('[').and_then(|rest| rest.split_once("]:")) {
        Some((host, port)) => format!("ssh-keyscan -p {port} {host}"),
        None => format!("ssh-keyscan {host}"),
    }
}

/// The word between two texts.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let rest = text.split_once(before)?.1;
    Some(rest.split_once(after)?.0).filter(|word| word.len() < 300 && !word.contains('\n'))
}

/// What `ssh` meant.
pub(super) fn understood(repository: &str, said: &str, code: Option<i32>) -> GitError {
    let repository = repository.to_owned();
    // It ends its lines with both characters.
    let said = &said.replace('\r', "");
    let message = || gist(said);
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if code == Some(255) || code.is_none() {
        if let Some(host) = between(said, "Host key for ", " has changed") {
            return SshError::HostKeyChanged {
                repository,
                host: plain(host),
                fingerprint: between(said, "sent by the remote host is\n", ".\n").map(plain),
                pinned: between(said, "Offending ", "\n").and_then(|line| Some(plain(line.split_once(" key in ")?.1))),
            }
            .into();
        }
        if let Some(host) = between(said, "host key is known for ", " and you have requested") {
            return SshError::HostKeyUnknown { repository, host: plain(host) }.into();
        }
        // A public key stands for one that the agent should have had: its permissions are not what is wrong.
        let open = between(said, "Permissions ", " are too open").and_then(|text| text.split_once(" for "));
        if let Some(path) = open.filter(|(_, path)| !path.ends_with(".pub'")) {
            let message = format!("its permissions ({}) are too open for a private key", path.0);
            return SshError::File { path: plain(path.1.trim_matches('\'')), message }.into();
        }
        if has(&["Permission denied (", "Too many authentication failures", "no more authentication methods"]) {
            return SshError::Denied { repository, message: message() }.into();
        }
        return GitError::Unreachable { repository, message: message() };
    }
    if has(&["does not appear to be a git repository", "Repository not found", "could not be found", "does not exist"])
    {
        return GitError::RepositoryNotFound { repository };
    }
    SshError::Refused { repository, message: message() }.into()
}

/// The last things said, on one line: what comes first is a banner.
fn gist(said: &str) -> String {
    let worth = |line: &&str| !line.is_empty() && !line.starts_with("@@@") && !line.starts_with("Please make sure");
    let lines: Vec<&str> = said.lines().map(str::trim).filter(worth).collect();
    let last = &lines[lines.len().saturating_sub(3)..];
    if last.is_empty() { "the connection was closed without a word".to_owned() } else { plain(&last.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Problem;

    /// What OpenSSH 9.2 prints, taken down from it.
    #[test]
    fn what_openssh_says() {
        let changed = "@@@@@@@\r\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n@@@@@@@\n\
            The fingerprint for the ED25519 key sent by the remote host is\r\nSHA256:dFgN+CeF.\r\n\
            Add correct host key in /etc/kh to get rid of this message.\r\nOffending ED25519 key in /etc/kh:1\r\n\
            Host key for [127.0.0.1]:22951 has changed and you have requested strict checking.\nHost key verification failed.\n";
        let unknown = "No ED25519 host key is known for h.example and you have requested strict checking.\n\
            Host key verification failed.\nkex_exchange_identification: Connection closed by remote host\n";
        let open = "Permissions 0644 for '/k/key' are too open.\nThis private key will be ignored.\n\
            Load key \"/k/key\": bad permissions\ngit@h: Permission denied (publickey).\n";
        let cases = [
            (changed, 255, "HostKeyChanged", "(SHA256:dFgN+CeF)", "ssh-keyscan -p 22951 127.0.0.1"),
            (changed, 255, "HostKeyChanged", "[127.0.0.1]:22951", "in /etc/kh:1"),
            (unknown, 255, "HostKeyUnknown", "h.example", "ssh-keyscan h.example >> known_hosts"),
            (open, 255, "SshFileUnusable", "/k/key cannot be used: its permissions (0644)", "chmod 600"),
            (
                "Welcome\ngit@h: Permission denied (publickey).\n",
                255,
                "RepositoryUnauthorized",
                "publickey",
                "deploy key",
            ),
            (
                "ssh: Could not resolve hostname h: Name or service not known\n",
                255,
                "RepositoryUnreachable",
                "resolve",
                "",
            ),
            ("", 255, "RepositoryUnreachable", "without a word", ""),
            ("fatal: '/x' does not appear to be a git repository\n", 128, "RepositoryNotFound", "does not exist", ""),
            ("ERROR: the key is \u{1b}[31mread only\n", 1, "RepositoryAnswer", "[31mread only", ""),
        ];
        for (said, code, reason, message, hint) in cases {
            let problem = Problem::from(understood("git@h:a", said, Some(code)));
            assert_eq!(problem.reason, reason, "{said}");
            assert!(problem.message.contains(message), "{}", problem.message);
            assert!(problem.hint.unwrap_or_default().contains(hint), "{said}");
        }
    }
}
