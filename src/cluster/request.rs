//! Requests and answers, before and after HTTP: paths, query parameters, media types.
//!
//! In: method, path, query, headers, body. Out: what is asked of which kind. Nothing here looks at objects.

use super::status::Status;
use serde_json::Value;

/// A request as the HTTP driver hands it over.
#[derive(Debug, Clone, Default)]
pub struct ApiRequest {
    /// `GET`, `POST`, `PUT`, `PATCH`, `DELETE`.
    pub method: String,
    /// Path, percent-decoded.
    pub path: String,
    /// Query parameters in order, decoded.
    pub query: Vec<(String, String)>,
    /// `Content-Type`, or empty.
    pub content_type: String,
    /// `Accept`, or empty.
    pub accept: String,
    /// `User-Agent`, or empty.
    pub user_agent: String,
    /// `Impersonate-User` and its like, each with its value.
    pub impersonated: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl ApiRequest {
    /// A request with a path that may hold a query.
    pub fn new(method: &str, path_and_query: &str, body: Vec<u8>) -> Self {
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        Self { method: method.to_owned(), path: decode(path), query: parse_query(query), body, ..Self::default() }
    }

    /// A query parameter; empty ones count as absent.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, v)| v.as_str()).filter(|v| !v.is_empty())
    }

    /// A boolean query parameter (`strconv.ParseBool`, and present-without-value means true).
    pub fn flag(&self, name: &str) -> bool {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .is_some_and(|(_, v)| matches!(v.as_str(), "" | "1" | "t" | "T" | "true" | "TRUE" | "True"))
    }

    /// The media type of the body without parameters.
    pub fn media_type(&self) -> &str {
        self.content_type.split(';').next().unwrap_or_default().trim()
    }

    /// The field manager: the parameter, else the user agent up to its slash (`managerOrUserAgent`).
    pub fn manager(&self) -> String {
        if let Some(manager) = self.param("fieldManager") {
            return manager.to_owned();
        }
        let prefix = self.user_agent.split('/').next().unwrap_or_default();
        let printable: String = prefix.chars().filter(|c| !c.is_control()).take(128).collect();
        if printable.is_empty() { "unknown".to_owned() } else { printable }
    }
}

/// Splits and decodes a query string.
pub fn parse_query(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            (decode(&key.replace('+', " ")), decode(&value.replace('+', " ")))
        })
        .collect()
}

/// Percent-decodes; bytes that are no UTF-8 are replaced.
pub fn decode(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = bytes.get(i + 1..i + 3).and_then(|h| std::str::from_utf8(h).ok());
        match (bytes[i], hex.and_then(|h| u8::from_str_radix(h, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                i += 3;
            }
            (byte, _) => {
                out.push(byte);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// An answer.
#[derive(Debug, Clone)]
pub struct ApiResponse {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// Texts of `Warning` headers.
    pub warnings: Vec<String>,
    /// Body.
    pub body: Vec<u8>,
}

impl ApiResponse {
    /// A JSON answer.
    pub fn json(status: u16, value: &Value) -> Self {
        let mut body = serde_json::to_vec(value).unwrap_or_default();
        body.push(b'\n');
        Self { status, content_type: "application/json", warnings: Vec::new(), body }
    }

    /// A text answer.
    pub fn text(status: u16, text: &str) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", warnings: Vec::new(), body: text.as_bytes().to_vec() }
    }

    /// The body as JSON; null if it is none.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

impl From<Status> for ApiResponse {
    fn from(status: Status) -> Self {
        Self::json(status.code, &status.to_value())
    }
}

/// What a resource path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Group; empty for the core group.
    pub group: String,
    /// Version.
    pub version: String,
    /// Namespace, if the path has one.
    pub namespace: Option<String>,
    /// Plural name.
    pub resource: String,
    /// Name, if the path has one.
    pub name: Option<String>,
    /// Subresource, or empty.
    pub subresource: String,
    /// The old `/watch/` prefix.
    pub watch: bool,
}

impl Target {
    /// Reads `/api/v1/…` and `/apis/GROUP/VERSION/…`. `None` for any other path and for discovery paths.
    pub fn parse(path: &str) -> Option<Self> {
        let mut parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
        let (group, rest) = match *parts.first()? {
            "api" => (String::new(), parts.split_off(1)),
            "apis" if parts.len() >= 2 => (parts[1].to_owned(), parts.split_off(2)),
            _ => return None,
        };
        let (version, mut rest) = rest.split_first()?;
        let watch = rest.first() == Some(&"watch");
        if watch {
            rest = &rest[1..];
        }
        let mut namespace = None;
        // `/namespaces/x/pods` lies in a namespace; `/namespaces/x` and its subresources are the Namespace itself.
        if rest.len() > 2 && rest[0] == "namespaces" && !matches!(rest[2], "status" | "finalize") {
            namespace = Some(rest[1].to_owned());
            rest = &rest[2..];
        }
        let resource = (*rest.first()?).to_owned();
        let name = rest.get(1).map(|n| (*n).to_owned());
        let subresource = rest.get(2).copied().unwrap_or_default().to_owned();
        if rest.len() > 3 {
            return None;
        }
        Some(Self { group, version: (*version).to_owned(), namespace, resource, name, subresource, watch })
    }
}

/// In which form objects are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As they are.
    Object,
    /// `Table` of meta.k8s.io/v1.
    Table,
    /// `PartialObjectMetadata` and its list.
    Metadata,
}

/// Chooses the form from the `Accept` header; 406 if none of the accepted types can be served.
pub fn negotiate(accept: &str) -> Result<Form, Status> {
    if accept.trim().is_empty() {
        return Ok(Form::Object);
    }
    for clause in accept.split(',') {
        let mut parts = clause.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        if !matches!(media, "application/json" | "*/*" | "application/*") {
            continue;
        }
        let parameters: Vec<(&str, &str)> = parts.filter_map(|p| p.split_once('=')).collect();
        let get = |name: &str| parameters.iter().find(|(k, _)| *k == name).map(|(_, v)| *v);
        let form = match (get("as"), get("g"), get("v")) {
            (None, ..) => Form::Object,
            (Some("Table"), Some("meta.k8s.io"), Some("v1" | "v1beta1")) => Form::Table,
            (
                Some("PartialObjectMetadata" | "PartialObjectMetadataList"),
                Some("meta.k8s.io"),
                Some("v1" | "v1beta1"),
            ) => Form::Metadata,
            _ => continue,
        };
        return Ok(form);
    }
    Err(Status::new(
        406,
        "NotAcceptable",
        "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf",
    ))
}

/// How unknown and duplicate fields are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldValidation {
    /// An error.
    Strict,
    /// A warning.
    Warn,
    /// Silence.
    Ignore,
}

/// Parameters of a write.
#[derive(Debug, Clone)]
pub struct WriteOptions {
    /// Nothing is stored.
    pub dry_run: bool,
    /// Field manager.
    pub manager: String,
    /// `fieldValidation`; the server's default is `Warn`.
    pub validation: FieldValidation,
    /// `force` of an apply.
    pub force: bool,
}

impl WriteOptions {
    /// Reads and checks the query (`ValidatePatchOptions` and its like).
    pub fn parse(request: &ApiRequest, kind: &str) -> Result<Self, Status> {
        use super::status::FieldError;
        let mut errors = Vec::new();
        let apply = kind == "PatchOptions" && request.media_type() == "application/apply-patch+yaml";
        if kind == "PatchOptions" {
            if apply && request.param("fieldManager").is_none() {
                errors.push(FieldError::required("fieldManager", "is required for apply patch"));
            }
            if !apply && request.query.iter().any(|(k, _)| k == "force") {
                errors.push(FieldError::forbidden("force", "may not be specified for non-apply patch"));
            }
        }
        let dry_run = match request.param("dryRun") {
            None => false,
            Some("All") => true,
            Some(other) => {
                errors.push(FieldError::not_supported("dryRun", &Value::from(vec![other]), &["All"]));
                false
            }
        };
        let validation = match request.param("fieldValidation") {
            Some("Strict") => FieldValidation::Strict,
            Some("Ignore") => FieldValidation::Ignore,
            None | Some("Warn") => FieldValidation::Warn,
            Some(other) => {
                errors.push(FieldError::not_supported("fieldValidation", &other.into(), &["Ignore", "Strict", "Warn"]));
                FieldValidation::Warn
            }
        };
        let manager = request.manager();
        if manager.len() > 128 {
            errors.push(FieldError::too_long("fieldManager", 128));
        }
        if !errors.is_empty() {
            return Err(Status::invalid(kind, "meta.k8s.io", "", &errors));
        }
        Ok(Self { dry_run, manager, validation, force: request.flag("force") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let target = Target::parse("/apis/apps/v1/namespaces/x/deployments/web/scale").unwrap();
        assert_eq!((target.group.as_str(), target.namespace.as_deref()), ("apps", Some("x")));
        assert_eq!((target.resource.as_str(), target.subresource.as_str()), ("deployments", "scale"));
        let target = Target::parse("/api/v1/namespaces/x").unwrap();
        assert_eq!(
            (target.resource.as_str(), target.name.as_deref(), target.namespace),
            ("namespaces", Some("x"), None)
        );
        let target = Target::parse("/api/v1/namespaces/x/finalize").unwrap();
        assert_eq!(target.subresource, "finalize");
        assert_eq!(Target::parse("/api/v1/pods").unwrap().namespace, None);
        assert_eq!(Target::parse("/api/v1"), None);
        assert_eq!(decode("a%20b%2Fc"), "a b/c");
    }

    #[test]
    fn forms() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(negotiate(table).unwrap(), Form::Table);
        assert_eq!(negotiate("application/vnd.kubernetes.protobuf,application/json").unwrap(), Form::Object);
        assert_eq!(negotiate("application/vnd.kubernetes.protobuf").unwrap_err().code, 406);
    }
}
