//! `url()`, `isURL()` and the parts of a URL. Source: k8s.io/apiserver/pkg/cel/library/urls.go, which goes by Go's
//! `url.ParseRequestURI`: an absolute URI or an absolute path.

use cel::common::types::{CelBool, CelList, CelMap, CelMapKey, CelString, Type};
use cel::common::value::{StaticVal, Val};
use cel::{DeclarationError, Env, ExecutionError};
use std::any::Any;
use std::collections::HashMap;

static TYPE: Type = Type::new_unspecified_type("kubernetes.URL");

/// The parts of a URL.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Url {
    scheme: String,
    host: String,
    path: String,
    query: String,
}

impl Val for Url {
    fn get_type(&self) -> &Type {
        &TYPE
    }
    fn cel_type() -> &'static Type {
        &TYPE
    }
    fn equals(&self, other: &dyn Val) -> bool {
        other.downcast_ref::<Self>().is_some_and(|other| other == self)
    }
    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }
    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Url {}

/// Adds the functions.
pub(in crate::policy) fn register(env: &mut Env) -> Result<(), DeclarationError> {
    cel::add_overload!(env, fn url: (CelString) -> Result<Url>)?;
    cel::add_overload!(env, fn is_url: (CelString) -> CelBool, name = "isURL")?;
    cel::add_member_overload!(env, fn get_scheme: (Url) -> CelString)?;
    cel::add_member_overload!(env, fn get_host: (Url) -> CelString)?;
    cel::add_member_overload!(env, fn get_hostname: (Url) -> CelString)?;
    cel::add_member_overload!(env, fn get_port: (Url) -> CelString)?;
    cel::add_member_overload!(env, fn get_escaped_path: (Url) -> CelString)?;
    cel::add_member_overload!(env, fn get_query: (Url) -> CelMap)
}

impl Url {
    /// `url.ParseRequestURI` (Go's net/url/url.go).
    fn parse(text: &str) -> Option<Self> {
        if text.is_empty() || text.bytes().any(|b| b < b' ' || b == 0x7f) {
            return None;
        }
        if text == "*" {
            return Some(Self { path: text.into(), ..Self::default() });
        }
        let (scheme, rest) = split_scheme(text)?;
        let scheme = scheme.to_ascii_lowercase();
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let query = query.to_owned();
        if !rest.starts_with('/') {
            // `mailto:a@b`: what follows the scheme is taken as it is.
            return (!scheme.is_empty()).then_some(Self { scheme, query, ..Self::default() });
        }
        let Some(beyond) = rest.strip_prefix("//").filter(|_| !scheme.is_empty()) else {
            return Some(Self { scheme, path: escaped_path(rest)?, query, ..Self::default() });
        };
        let (authority, path) = beyond.find('/').map_or((beyond, ""), |at| beyond.split_at(at));
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let plain_user = user.chars().all(|c| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c));
        if !plain_user || unescape(user, false).is_none() {
            return None;
        }
        Some(Self { scheme, host: host_of(host)?, path: escaped_path(path)?, query })
    }
}

/// Scheme (empty if there is none) and rest; `None` if the colon comes first.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    match text.find(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c)) {
        Some(0) if text.starts_with(':') => None,
        Some(at) if text.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            let (scheme, rest) = text.split_at(at);
            Some(rest.strip_prefix(':').map_or(("", text), |rest| (scheme, rest)))
        }
        _ => Some(("", text)),
    }
}

/// A path in its escaped form, as it was written if that is one.
fn escaped_path(path: &str) -> Option<String> {
    let plain = unescape(path, false)?;
    let valid = |b: u8| b.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:@[]%/".contains(&b);
    if path.bytes().all(valid) {
        return Some(path.to_owned());
    }
    let kept = |b: u8| b.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&b);
    Some(plain.bytes().map(|b| if kept(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect())
}

/// A host with its port, unescaped.
fn host_of(host: &str) -> Option<String> {
    let (_, port) = split_port(host)?;
    let in_brackets = host.starts_with('[');
    let allowed = |b: u8| b >= 0x80 || b.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"%".contains(&b);
    let fine = port.bytes().all(|b| b.is_ascii_digit()) && host.bytes().all(allowed);
    if !fine {
        return None;
    }
    // Only bytes beyond ASCII may be escaped, and the sign in front of a zone.
    for (at, _) in host.match_indices('%') {
        let hex = host.get(at + 1..at + 3)?;
        let byte = u8::from_str_radix(hex, 16).ok()?;
        if byte < 0x80 && !(in_brackets && hex == "25") {
            return None;
        }
    }
    unescape(host, false)
}

/// Host name (without brackets) and port of an authority; `None` if the brackets do not match.
fn split_port(host: &str) -> Option<(&str, &str)> {
    if let Some(rest) = host.strip_prefix('[') {
        let (name, after) = rest.rsplit_once(']')?;
        return match after.strip_prefix(':') {
            Some(port) => Some((name, port)),
            None => after.is_empty().then_some((name, "")),
        };
    }
    Some(host.rsplit_once(':').unwrap_or((host, "")))
}

fn url(text: &CelString<'_>) -> Result<Url, ExecutionError> {
    Url::parse(text.inner()).ok_or_else(|| ExecutionError::function_error("url", "the text is no URL"))
}

/// True if `url()` takes the text.
pub(super) fn is_valid(text: &str) -> bool {
    Url::parse(text).is_some()
}

fn is_url(text: &CelString<'_>) -> CelBool {
    CelBool::from(is_valid(text.inner()))
}

fn text(value: &str) -> CelString<'static> {
    CelString::from(value.to_owned())
}

fn get_scheme(url: &Url) -> CelString<'static> {
    text(&url.scheme)
}

fn get_host(url: &Url) -> CelString<'static> {
    text(&url.host)
}

fn get_hostname(url: &Url) -> CelString<'static> {
    text(split_port(&url.host).unwrap_or_default().0)
}

fn get_port(url: &Url) -> CelString<'static> {
    text(split_port(&url.host).unwrap_or_default().1)
}

fn get_escaped_path(url: &Url) -> CelString<'static> {
    text(&url.path)
}

fn get_query(url: &Url) -> CelMap<'static> {
    let mut values: HashMap<String, Vec<Box<dyn Val>>> = HashMap::new();
    // A pair with a semicolon or a broken escape is left out, as Go does.
    for pair in url.query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if let (Some(key), Some(value)) = (unescape(key, true), unescape(value, true)) {
            values.entry(key).or_default().push(Box::new(CelString::from(value)));
        }
    }
    let map: HashMap<CelMapKey<'static>, Box<dyn Val>> = values
        .into_iter()
        .map(|(key, values)| (CelMapKey::from(key), Box::new(CelList::from(values)) as Box<dyn Val>))
        .collect();
    CelMap::from(map)
}

/// Percent-decoding, in a query with `+` as a space; `None` if an escape is broken.
fn unescape(text: &str, query: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first == b'%' {
            let hex = tail.get(..2).filter(|hex| hex.iter().all(u8::is_ascii_hexdigit))?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?);
            rest = tail.get(2..)?;
        } else {
            bytes.push(if query && *first == b'+' { b' ' } else { *first });
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
