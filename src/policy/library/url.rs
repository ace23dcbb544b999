//! `url()`, `isURL()` and the parts of a URL. Source: k8s.io/apiserver/pkg/cel/library/urls.go, which goes by Go's
//! `url.ParseRequestURI`: an absolute URI or an absolute path.

use cel::common::types::{CelBool, CelList, CelMap, CelMapKey, CelString, Type};
use cel::common::value::{StaticVal, Val};
use cel::{DeclarationError, Env, ExecutionError};
use std::any::Any;
use std::collections::HashMap;

static TYPE: Type = Type::new_unspecified_type("kubernetes.URL");

/// The parts of a URL, each as written.
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
    fn parse(text: &str) -> Option<Self> {
        if text.is_empty() || text.chars().any(|c| c.is_control() || c == ' ') {
            return None;
        }
        let (rest, query) = text.split_once('?').unwrap_or((text, ""));
        let query = query.to_owned();
        if rest.starts_with('/') && !rest.starts_with("//") {
            return Some(Self { path: rest.into(), query, ..Self::default() });
        }
        let (scheme, rest) = rest.split_once(':')?;
        let valid_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        if !valid_scheme {
            return None;
        }
        let scheme = scheme.to_ascii_lowercase();
        let Some(rest) = rest.strip_prefix("//") else {
            return rest.starts_with('/').then(|| Self { scheme, path: rest.into(), query, ..Self::default() });
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let (_, port) = split_port(host)?;
        port.chars().all(|c| c.is_ascii_digit()).then(|| Self { scheme, host: host.into(), path: path.into(), query })
    }
}

/// Host name (without brackets) and port of an authority; `None` if the brackets do not match.
fn split_port(host: &str) -> Option<(&str, &str)> {
    if let Some(rest) = host.strip_prefix('[') {
        let (name, after) = rest.split_once(']')?;
        return match after.strip_prefix(':') {
            Some(port) => Some((name, port)),
            None => after.is_empty().then_some((name, "")),
        };
    }
    Some(host.split_once(':').unwrap_or((host, "")))
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
    for pair in url.query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        values.entry(unescape(key)).or_default().push(Box::new(CelString::from(unescape(value))));
    }
    let map: HashMap<CelMapKey<'static>, Box<dyn Val>> = values
        .into_iter()
        .map(|(key, values)| (CelMapKey::from(key), Box::new(CelList::from(values)) as Box<dyn Val>))
        .collect();
    CelMap::from(map)
}

/// Percent-decoding of a query, `+` being a space.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let decoded = (*first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match decoded {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(if *first == b'+' { b' ' } else { *first });
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
