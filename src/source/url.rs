//! Which repository: its address as typed by a person, and the credentials that belong to it.
//!
//! In: text from the command line or the configuration. Out: a [`RepoUrl`] that can be shown anywhere, because it never
//! holds a credential, and an [`Auth`] that can be shown nowhere.

use super::error::GitError;
use super::ssh::SshAddress;
use reqwest::Url;
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// Longest address that is accepted, in bytes.
const MAX_URL_BYTES: usize = 4096;

/// How a token is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    /// `Authorization: Basic`, the token as password (every host understands it).
    Basic,
    /// `Authorization: Bearer` (Bitbucket Data Center's HTTP access tokens, OAuth proxies).
    Bearer,
}

/// Credentials for one repository. Neither `Debug` nor an error ever shows the token.
#[derive(Clone, PartialEq, Eq)]
pub struct Auth {
    username: Option<String>,
    token: String,
    scheme: Scheme,
}

impl Auth {
    /// Basic authentication. Without a user name the one that token logins of the host expect is used. White space
    /// around the token (a file's last line break) is dropped.
    pub fn basic(username: Option<&str>, token: &str) -> Self {
        let username = username.map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned);
        Self { username, token: token.trim().to_owned(), scheme: Scheme::Basic }
    }

    /// A bearer token.
    pub fn bearer(token: &str) -> Self {
        Self { username: None, token: token.trim().to_owned(), scheme: Scheme::Bearer }
    }

    /// The value of the `Authorization` header for this host.
    ///
    /// User names that hosts expect beside a token: GitHub `x-access-token`, GitLab any, Bitbucket Cloud `x-token-auth`.
    pub(crate) fn header(&self, host: &str) -> String {
        use base64::Engine as _;
        match self.scheme {
            Scheme::Bearer => format!("Bearer {}", self.token),
            Scheme::Basic => {
                let fallback = if host == "bitbucket.org" { "x-token-auth" } else { "x-access-token" };
                let user = self.username.as_deref().unwrap_or(fallback);
                let pair = format!("{user}:{}", self.token);
                format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
            }
        }
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Auth({:?}, {:?}, token withheld)", self.scheme, self.username)
    }
}

/// Where credentials come from. They are asked for at every call, so that a token can be changed while a daemon runs.
#[derive(Clone)]
pub struct Credentials(Arc<Read>);

type Read = dyn Fn() -> Result<Auth, String> + Send + Sync;

impl Credentials {
    /// Credentials that are read anew each time; the error says what is missing.
    pub fn reading(read: impl Fn() -> Result<Auth, String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// What they are now.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub fn read(&self) -> Result<Auth, String> {
        (self.0)()
    }
}

impl From<Auth> for Credentials {
    fn from(auth: Auth) -> Self {
        Self::reading(move || Ok(auth.clone()))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(withheld)")
    }
}

/// Where a repository is.
#[derive(Clone, PartialEq, Eq)]
enum Address {
    /// A directory of this machine.
    Local(PathBuf),
    /// Smart HTTP. No user information, query or fragment; no `/` at the end.
    Http(Box<Url>),
    /// Behind SSH.
    Ssh(Box<SshAddress>),
}

/// A repository's address, without credentials: what is shown, compared and hashed.
#[derive(Clone, PartialEq, Eq)]
pub struct RepoUrl {
    address: Address,
    embedded: Option<Auth>,
}

impl RepoUrl {
    /// Reads an address: a path (made absolute against the working directory), `file://`, `https://`, `http://`, `ssh://`
    /// or `user@host:path`.
    /// Credentials in it are set apart ([`RepoUrl::embedded_auth`]) and never shown.
    ///
    /// # Errors
    /// For unknown schemes and malformed text. The error never quotes a credential.
    pub fn parse(text: &str) -> Result<Self, GitError> {
        let text = text.trim();
        let invalid = |why: &str| GitError::InvalidUrl { url: shown(text), why: why.to_owned() };
        if text.is_empty() {
            return Err(invalid("it is empty"));
        }
        if text.len() > MAX_URL_BYTES || text.contains('\0') {
            return Err(invalid("it is too long, or holds a zero byte"));
        }
        match text.split_once("://") {
            Some((scheme, _)) => match scheme.to_ascii_lowercase().as_str() {
                "file" => Self::from_file_url(text).ok_or_else(|| invalid("a file:// address needs an absolute path")),
                "http" | "https" => Self::from_http(text).map_err(|why| invalid(&why)),
                "ssh" | "git+ssh" | "ssh+git" => SshAddress::from_url(text).map(Self::ssh).map_err(|why| invalid(&why)),
                _ => Err(invalid("only https://, ssh://, user@host:path, file:// and paths are understood")),
            },
            None if is_scp_like(text) => SshAddress::from_short(text).map(Self::ssh).map_err(|why| invalid(&why)),
            None => Self::local(Path::new(text)),
        }
    }

    /// A directory of this machine.
    ///
    /// # Errors
    /// If the working directory is needed and cannot be read.
    pub fn local(path: &Path) -> Result<Self, GitError> {
        let path = std::path::absolute(path)
            .map_err(|error| GitError::InvalidUrl { url: path.display().to_string(), why: error.to_string() })?;
        Ok(Self { address: Address::Local(without_dots(&path)), embedded: None })
    }

    fn ssh(address: SshAddress) -> Self {
        Self { address: Address::Ssh(Box::new(address)), embedded: None }
    }

    fn from_file_url(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let here = matches!(url.host_str(), None | Some("" | "localhost"));
        let path = url.to_file_path().ok().filter(|_| here)?;
        Some(Self { address: Address::Local(without_dots(&path)), embedded: None })
    }

    fn from_http(text: &str) -> Result<Self, String> {
        let mut url = Url::parse(text).map_err(|error| error.to_string())?;
        // The URL standard skips extra slashes: `https:///a` would be the host `a`.
        if text.contains(":///") || url.host_str().is_none_or(str::is_empty) {
            return Err("it has no host".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("a repository's address has neither `?` nor `#`".to_owned());
        }
        let user = decode(url.username());
        let embedded = match url.password() {
            Some(password) => Some(Auth::basic(Some(&user), &decode(password))),
            None if user.is_empty() => None,
            // `https://TOKEN@host/…` is how a token alone is written; a plain user name needs no secret treatment, and
            // gets it all the same.
            None => Some(Auth::basic(Some(&user), "")),
        };
        // Neither fails on an address that has a host.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(Self { address: Address::Http(Box::new(url)), embedded })
    }

    /// Credentials that were written in the address.
    pub fn embedded_auth(&self) -> Option<&Auth> {
        self.embedded.as_ref()
    }

    /// The directory, for a repository of this machine.
    pub fn as_path(&self) -> Option<&Path> {
        match &self.address {
            Address::Local(path) => Some(path),
            Address::Http(_) | Address::Ssh(_) => None,
        }
    }

    /// The address, for a repository behind HTTP.
    pub(crate) fn as_http(&self) -> Option<&Url> {
        match &self.address {
            Address::Local(_) | Address::Ssh(_) => None,
            Address::Http(url) => Some(url),
        }
    }

    /// The address, for a repository behind SSH.
    pub(crate) fn as_ssh(&self) -> Option<&SshAddress> {
        match &self.address {
            Address::Local(_) | Address::Http(_) => None,
            Address::Ssh(address) => Some(address),
        }
    }

    /// The address by HTTP, also of a repository that is reached by SSH: the host's own, where it offers both.
    pub fn web(&self) -> String {
        match &self.address {
            Address::Ssh(address) => address.web(),
            Address::Local(_) | Address::Http(_) => self.to_string(),
        }
    }

    /// True if the repository is a directory of this machine.
    pub fn is_local(&self) -> bool {
        self.as_path().is_some()
    }

    /// What two spellings of one repository have in common: no credentials, no `.git` at the end. Paths are taken as
    /// written; pass a canonical one where links matter. By https and by ssh it is one repository.
    pub fn identity(&self) -> String {
        let text = self.as_ssh().and_then(|ssh| Url::parse(&ssh.web()).ok()).map_or_else(|| self.web(), String::from);
        let trimmed = text.trim_end_matches('/');
        let trimmed = trimmed.strip_suffix("/.git").or_else(|| trimmed.strip_suffix(".git")).unwrap_or(trimmed);
        trimmed.trim_end_matches('/').to_owned()
    }

    /// The repository's own name: the last part of its address, without `.git`.
    pub fn name(&self) -> String {
        let identity = self.identity();
        let last = identity.rsplit('/').next().unwrap_or_default();
        if last.is_empty() { "repository".to_owned() } else { decode(last) }
    }
}

/// The address without credentials.
impl fmt::Display for RepoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Local(path) => write!(f, "{}", path.display()),
            Address::Ssh(address) => write!(f, "{address}"),
            Address::Http(url) => f.write_str(url.as_str().trim_end_matches('/')),
        }
    }
}

impl fmt::Debug for RepoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RepoUrl({self})")
    }
}

/// An address as it may be quoted in an error: nothing before an `@`, and not too long.
fn shown(text: &str) -> String {
    let (scheme, rest) = text.split_once("://").map_or(("", text), |(scheme, rest)| (scheme, rest));
    let authority_end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let separator = if scheme.is_empty() { "" } else { "://" };
    let all = format!("{scheme}{separator}{host}{path}");
    all.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// `host:path` and `user@host:path`, as git's `url_is_local_not_ssh` tells them from paths: a colon before any slash.
pub(super) fn is_scp_like(text: &str) -> bool {
    let colon = text.find(':');
    let slash = text.find('/');
    match (colon, slash) {
        (Some(colon), Some(slash)) => colon < slash,
        (Some(_), None) => true,
        (None, _) => false,
    }
}

/// Removes `.` and, textually, `..`: `a/../b` is `b`. Good enough to name a place; links are the kernel's business.
fn without_dots(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut out, component| {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
        out
    })
}

/// True if every `%` begins the number of a byte.
pub(super) fn hex_free(text: &str) -> bool {
    text.split('%').skip(1).all(|part| part.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2)
}

pub(super) fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let pair = (byte == b'%').then(|| Some((hex(ahead.next()?)?, hex(ahead.next()?)?))).flatten();
        match pair {
            Some((high, low)) => {
                out.push(high << 4 | low);
                bytes = ahead;
            }
            None => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let cases = [
            ("https://git.example.com/a/b.git", "https://git.example.com/a/b.git", "https://git.example.com/a/b", "b"),
            (
                "https://git.example.com:8443/a/b/",
                "https://git.example.com:8443/a/b",
                "https://git.example.com:8443/a/b",
                "b",
            ),
            ("HTTPS://Git.Example.com/a", "https://git.example.com/a", "https://git.example.com/a", "a"),
            ("/srv/shop", "/srv/shop", "/srv/shop", "shop"),
            ("/srv/shop/.git", "/srv/shop/.git", "/srv/shop", "shop"),
            ("/srv/x/../shop.git/", "/srv/shop.git", "/srv/shop", "shop"),
            ("git@git.example.com:a/b.git", "git@git.example.com:a/b.git", "https://git.example.com/a/b", "b"),
            (
                "ssh://git@git.example.com:22/a/b/",
                "ssh://git@git.example.com:22/a/b",
                "https://git.example.com/a/b",
                "b",
            ),
            ("git+ssh://h/~me/my%20shop", "ssh://h/~me/my shop", "https://h/~me/my%20shop", "my shop"),
            ("host:path", "host:path", "https://host/path", "path"),
            ("file:///srv/my%20shop", "/srv/my shop", "/srv/my shop", "my shop"),
            ("file://localhost/srv/shop", "/srv/shop", "/srv/shop", "shop"),
        ];
        for (text, shown, identity, name) in cases {
            let url = RepoUrl::parse(text).unwrap();
            assert_eq!(
                (url.to_string(), url.identity(), url.name()),
                (shown.into(), identity.into(), name.into()),
                "{text}"
            );
        }
    }

    #[test]
    fn paths_with_colons_are_paths() {
        for text in ["./odd:name", "/srv/odd:name"] {
            assert!(RepoUrl::parse(text).unwrap().is_local(), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in
            ["", "git://host/a", "ftp://host/a", "https:///a", "https://h/a?x=1", "https://h/a#f", "file://other/a"]
        {
            assert!(matches!(RepoUrl::parse(text), Err(GitError::InvalidUrl { .. })), "{text}");
        }
    }

    #[test]
    fn credentials_are_kept_out_of_sight() {
        let url = RepoUrl::parse("https://me:s3cr%40t@host/a").unwrap();
        assert_eq!(url.to_string(), "https://host/a");
        let auth = url.embedded_auth().unwrap();
        assert_eq!(auth.header("host"), Auth::basic(Some("me"), "s3cr@t").header("host"));
        assert!(!format!("{url:?} {auth:?}").contains("s3cr"));
        for bad in
            ["https://me:s3cret@host/a?b", "ftp://me:s3cret@host/", "ssh://me:s3cret@host/x", "https://me:s3cret@/x"]
        {
            let error = RepoUrl::parse(bad).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn headers() {
        assert_eq!(Auth::bearer("t\n").header("h"), "Bearer t");
        assert_eq!(Auth::basic(Some("u"), "p").header("h"), "Basic dTpw");
        assert_ne!(Auth::basic(None, "p").header("bitbucket.org"), Auth::basic(None, "p").header("github.com"));
    }
}
