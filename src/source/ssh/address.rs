//! The address of a repository behind SSH, in both spellings: `ssh://git@host:22/path` and `git@host:path`.
//!
//! Invariant: no part of an address can be taken for an option by `ssh`, or for a command by the shell at the other end.

use super::super::url::{decode, hex_free};
use std::fmt;

/// Where a repository behind SSH is. It holds no credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SshAddress {
    user: Option<String>,
    /// Name or address, IPv6 without brackets.
    host: String,
    port: Option<u16>,
    /// As the host's shell gets it, before quoting.
    path: String,
    /// Written as `host:path`.
    short: bool,
}

impl SshAddress {
    /// Reads `ssh://[USER@]HOST[:PORT]/PATH`; `/~name/…` is below that user's home, as Git has it.
    pub(crate) fn from_url(text: &str) -> Result<Self, String> {
        let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
        let (authority, path) = rest.split_once('/').ok_or("it has no path")?;
        let (user, host, port) = authority_of(authority)?;
        let path = hex_free(path).then(|| decode(path)).ok_or("its path holds a `%` that means nothing")?;
        let path = if path.starts_with('~') { path } else { format!("/{path}") };
        Self { user, host, port, path, short: false }.checked()
    }

    /// Reads `[USER@]HOST:PATH`.
    pub(crate) fn from_short(text: &str) -> Result<Self, String> {
        // The colon of an IPv6 address stands in brackets.
        let start = text.find(']').unwrap_or(0);
        let colon = text[start..].find(':').map(|at| at + start).ok_or("it has no path")?;
        let (user, host, _) = authority_of(&text[..colon])?;
        let path = text[colon + 1..].to_owned();
        Self { user, host, port: None, path, short: true }.checked()
    }

    fn checked(mut self) -> Result<Self, String> {
        self.path.truncate(self.path.trim_end_matches('/').len());
        if self.path.is_empty() {
            return Err("it has no path".to_owned());
        }
        if self.path.starts_with('-') || self.path.chars().any(char::is_control) {
            return Err("its path begins with `-` or holds control characters".to_owned());
        }
        Ok(self)
    }

    /// What `ssh` connects to.
    pub(crate) fn target(&self) -> String {
        match &self.user {
            Some(user) => format!("{user}@{}", self.host),
            None => self.host.clone(),
        }
    }

    /// The port, where one is given.
    pub(crate) fn port(&self) -> Option<u16> {
        self.port
    }

    /// The path, quoted for the shell at the other end, as `git` does it.
    pub(crate) fn quoted_path(&self) -> String {
        format!("'{}'", self.path.replace('\'', "'\\''").replace('!', "'\\!'"))
    }

    /// The same repository by https: a Git host offers both, and it is one repository.
    pub(crate) fn web(&self) -> String {
        format!("https://{}/{}", bracketed(&self.host), self.path.trim_start_matches('/'))
    }
}

impl fmt::Display for SshAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.user.as_deref().map(|user| format!("{user}@")).unwrap_or_default();
        let host = bracketed(&self.host);
        if self.short {
            return write!(f, "{user}{host}:{}", self.path);
        }
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        let slash = if self.path.starts_with('/') { "" } else { "/" };
        write!(f, "ssh://{user}{host}{port}{slash}{}", self.path)
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// Checks the hosts to go through: `[USER@]HOST[:PORT]`, several with commas, the nearest first.
pub fn check_jump(text: &str) -> Result<(), String> {
    text.split(',').try_for_each(|hop| authority_of(hop.trim()).map(drop))
}

type Authority = (Option<String>, String, Option<u16>);

fn authority_of(text: &str) -> Result<Authority, String> {
    let (user, place) = match text.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, text),
    };
    if user.is_some_and(|user| user.contains(':')) {
        return Err("an ssh address holds no password: use a key".to_owned());
    }
    let (host, port) = match place.strip_prefix('[') {
        Some(inner) => {
            let (host, after) = inner.split_once(']').ok_or("a `]` is missing")?;
            (host, after.strip_prefix(':'))
        }
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let port = port.filter(|port| !port.is_empty());
    let port =
        port.map(|port| port.parse().ok().filter(|port| *port != 0).ok_or("its port is no number")).transpose()?;
    let plain = |text: &str, more: &str| {
        let good = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
        !text.is_empty() && !text.starts_with('-') && text.chars().all(good)
    };
    if !plain(host, ".-_:") {
        return Err("it has no host, or one that is no name".to_owned());
    }
    if user.is_some_and(|user| !plain(user, ".-_+@")) {
        return Err("its user name is none".to_owned());
    }
    Ok((user.map(str::to_owned), host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings() {
        let cases = [
            (
                "ssh://git@h.example:2222/a/b.git",
                "git@h.example",
                Some(2222),
                "'/a/b.git'",
                "https://h.example/a/b.git",
            ),
            ("ssh://h/a%20b/", "h", None, "'/a b'", "https://h/a b"),
            ("ssh://me@[::1]:22/~me/a", "me@::1", Some(22), "'~me/a'", "https://[::1]/~me/a"),
            ("git@h:team/it's!.git", "git@h", None, "'team/it'\\''s'\\!'.git'", "https://h/team/it's!.git"),
            ("[::1]:a", "::1", None, "'a'", "https://[::1]/a"),
        ];
        for (text, target, port, path, web) in cases {
            let address = if text.contains("://") { SshAddress::from_url(text) } else { SshAddress::from_short(text) };
            let address = address.unwrap_or_else(|why| panic!("{text}: {why}"));
            let found = (address.target(), address.port(), address.quoted_path(), address.web());
            assert_eq!(found, (target.into(), port, path.into(), web.into()), "{text}");
        }
        for text in ["ssh://git@h:2222/a/b.git", "ssh://[::1]/~me/a", "git@h:team/a"] {
            let read = if text.contains("://") { SshAddress::from_url(text) } else { SshAddress::from_short(text) };
            assert_eq!(read.unwrap().to_string(), text);
        }
    }

    #[test]
    fn nothing_is_taken_for_an_option_or_a_command() {
        for text in [
            "ssh://-oProxyCommand=x/a",
            "ssh://git@-oProxyCommand=x/a",
            "ssh://-lroot@host/a",
            "ssh://host:-1/a",
            "ssh://host:0/a",
            "ssh://host:99999/a",
            "ssh://host/",
            "ssh://host",
            "ssh:///a",
            "ssh://me:secret@host/a",
            "ssh://ho st/a",
            "ssh://host;id/a",
            "ssh://$(id)/a",
            "ssh://h/a%0Ab",
            "ssh://h/a%zz",
            "ssh://[::1/a",
        ] {
            let why = SshAddress::from_url(text).unwrap_err();
            assert!(!why.contains("secret"), "{text}: {why}");
        }
        for text in ["host:-x", "-x:a", "host:", "host:a\nb", "`id`:a"] {
            assert!(SshAddress::from_short(text).is_err(), "{text}");
        }
    }

    #[test]
    fn jumps() {
        for good in ["jump.example", "me@jump:22", "a,b@[::1]:2222"] {
            assert_eq!(check_jump(good), Ok(()), "{good}");
        }
        for bad in ["", "a,", "-x", "a b", "a:b", "a;id", "me:pw@a", "a\nProxyCommand id"] {
            assert!(check_jump(bad).is_err(), "{bad:?}");
        }
    }
}
