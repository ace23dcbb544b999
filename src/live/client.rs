//! One cluster's API over HTTP: requests as data, answers as JSON, errors by what can be done about them.
//!
//! Built on `kube::Client` for configuration, authentication and TLS. kube's own retries are turned off
//! (`Config.default_retry` repeats any method 15 times on 429, 503 and 504): the engine retries here, within a bound.
//! This module sends whatever call it is given; only [`crate::apply`] makes calls that write.

use super::pace::WatchPace;
use super::retry;
use crate::object::Problem;
use futures::{Stream, TryStreamExt};
use http::{Method, Request};
use http_body_util::BodyExt;
use kube::client::Body;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Semaphore;

/// How long one request may take. A dry-run through a slow admission webhook takes up to 30 s on the server's side.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(40);
/// Requests in flight to one cluster. kube throttles nothing by itself.
const IN_FLIGHT: usize = 24;
/// Bytes of a text answer that are read.
const MAX_TEXT: usize = 1 << 20;
/// A larger answer than this is refused (a list of 500 objects of 1.5 MiB each would be 750 MiB).
const MAX_ANSWER: usize = 512 << 20;

/// Tries after the first one for a server that never answered.
const FIRST_ATTEMPTS: u32 = 3;

/// How audit logs see us.
const USER_AGENT: &str = concat!("driftless/", env!("CARGO_PKG_VERSION"));

/// Where a cluster is.
#[derive(Debug, Clone)]
pub enum Target {
    /// A kubeconfig file (`None`: `KUBECONFIG`, then `~/.kube/config`, then in-cluster) and a context in it.
    Kubeconfig {
        /// File.
        file: Option<PathBuf>,
        /// Context; `None` for the current one.
        context: Option<String>,
    },
    /// The service account of the pod this runs in.
    InCluster,
    /// A URL with a bearer token: the embedded cluster.
    Url {
        /// `http://127.0.0.1:…`
        url: String,
        /// Bearer token.
        token: String,
    },
}

/// Why a request failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ApiError {
    /// The server answered with a failure.
    #[error("{message}")]
    Status {
        /// HTTP code.
        code: u16,
        /// Kubernetes reason, such as `NotFound`.
        reason: String,
        /// The server's words.
        message: String,
        /// Fields that were named as causes, with what was said of each.
        causes: Vec<(String, String)>,
        /// `Retry-After`, if it was sent.
        retry_after: Option<Duration>,
    },
    /// No answer: refused, reset, name not found, TLS.
    #[error("the API server of cluster {cluster} cannot be reached: {cause}")]
    Unreachable {
        /// Cluster name.
        cluster: String,
        /// What the connection said.
        cause: String,
    },
    /// No answer in time.
    #[error("the API server of cluster {cluster} did not answer within {seconds} s")]
    Timeout {
        /// Cluster name.
        cluster: String,
        /// How long was waited.
        seconds: u64,
    },
    /// The answer was not what the API promises.
    #[error("the API server of cluster {cluster} sent an answer that cannot be read: {cause}")]
    BadAnswer {
        /// Cluster name.
        cluster: String,
        /// What was wrong.
        cause: String,
    },
    /// The configuration names no usable cluster.
    #[error("{0}")]
    Config(String),
}

impl ApiError {
    /// The HTTP code, if the server answered.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Status { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// How long the server asks to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// True for 404.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// True for 409, whatever the reason.
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// True for a 409 that says the object is there already.
    pub fn is_already_exists(&self) -> bool {
        matches!(self, Self::Status { code: 409, reason, .. } if reason == "AlreadyExists")
    }

    /// True where the server looked at the object and refused it: sending it again cannot help.
    pub fn is_rejection(&self) -> bool {
        match self {
            Self::Status { code: 400 | 403 | 405 | 413 | 415 | 422, .. } => true,
            // A server-side apply with an unknown field, a wrong type or a duplicate list key is answered with 500.
            Self::Status { code: 500, message, .. } => retry::is_typed_patch_rejection(message),
            _ => false,
        }
    }

    /// The problem as it is told; `hint` where the cause is known.
    pub fn problem(&self) -> Problem {
        match self {
            Self::Status { code, reason, message, .. } => {
                let reason = if reason.is_empty() { format!("Http{code}") } else { reason.clone() };
                let problem = Problem::new(reason, message.clone());
                match code {
                    401 => problem.hint("the credentials of this kubeconfig context are not accepted: log in again"),
                    403 if message.contains("exceeded quota") => {
                        problem.hint("raise the namespace's ResourceQuota, or ask for less")
                    }
                    403 => problem.hint("grant the verb named above to the user or service account driftless runs as"),
                    _ => problem,
                }
            }
            Self::Unreachable { .. } => Problem::new("Unreachable", self.to_string())
                .hint("check the server's address in the kubeconfig, and `kubectl get --raw /readyz`"),
            Self::Timeout { .. } => Problem::new("Timeout", self.to_string()),
            Self::BadAnswer { .. } => Problem::new("Unknown", self.to_string()),
            Self::Config(message) => Problem::new("NoCluster", message.clone())
                .hint("name one with --kubeconfig FILE [--context C], or use --embedded for one in memory"),
        }
    }
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        error.problem()
    }
}

/// One request as data.
#[derive(Debug, Clone)]
pub struct Call {
    /// Method.
    pub method: Method,
    /// Path, such as `/api/v1/namespaces/default/services/web`.
    pub path: String,
    /// Query parameters, not yet encoded.
    pub query: Vec<(&'static str, String)>,
    /// Content type of the body.
    pub content_type: &'static str,
    /// `Accept`.
    pub accept: &'static str,
    /// Body.
    pub body: Option<Value>,
}

impl Call {
    /// A GET.
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            query: Vec::new(),
            content_type: "application/json",
            accept: "application/json",
            body: None,
        }
    }

    /// Adds a query parameter.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    fn request(&self) -> Result<Request<Body>, http::Error> {
        let mut uri = self.path.clone();
        for (i, (name, value)) in self.query.iter().enumerate() {
            uri.push(if i == 0 { '?' } else { '&' });
            uri.push_str(name);
            uri.push('=');
            percent_encode(value, &mut uri);
        }
        let mut request = Request::builder().method(self.method.clone()).uri(uri).header("Accept", self.accept);
        let body = match &self.body {
            Some(value) => {
                request = request.header("Content-Type", self.content_type);
                Body::from(value.to_string().into_bytes())
            }
            None => Body::empty(),
        };
        request.body(body)
    }
}

fn percent_encode(text: &str, out: &mut String) {
    use std::fmt::Write as _;
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
}

/// A successful answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP code: 200, or 201 where something was created.
    pub code: u16,
    /// Body.
    pub body: Value,
    /// `Warning` headers' texts: deprecations and policy warnings.
    pub warnings: Vec<String>,
}

/// A cluster's API. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    inner: kube::Client,
    name: Arc<str>,
    default_namespace: Arc<str>,
    in_flight: Arc<Semaphore>,
    calls: Arc<AtomicU64>,
    writes: Arc<AtomicU64>,
    /// True once the server answered anything.
    answered: Arc<AtomicBool>,
    pace: WatchPace,
    /// Watches that are open.
    open: Arc<AtomicU32>,
    witness: Arc<OnceLock<Witness>>,
}

/// A request that ends with whoever waits for it.
struct Aborting(tokio::task::JoinHandle<Result<Answer, ApiError>>);

impl Drop for Aborting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Told of every request that ended: its method, and the HTTP code, 0 without an answer.
pub type Witness = Box<dyn Fn(&str, u16) + Send + Sync>;

/// Counts an open watch as long as it lives.
struct OpenWatch(Arc<AtomicU32>);

impl Drop for OpenWatch {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Client {
    /// Prepares a client. Reads the kubeconfig; sends nothing yet.
    ///
    /// # Errors
    /// [`ApiError::Config`] with what is wrong about the configuration.
    pub async fn connect(name: &str, target: &Target) -> Result<Self, ApiError> {
        let mut config = match target {
            Target::Kubeconfig { file, context } => from_kubeconfig(file.as_deref(), context.clone()).await?,
            Target::InCluster => {
                kube::Config::incluster().map_err(|e| ApiError::Config(format!("not running in a cluster: {e}")))?
            }
            Target::Url { url, token } => {
                let uri = url.parse().map_err(|e| ApiError::Config(format!("{url} is no URL: {e}")))?;
                let mut config = kube::Config::new(uri);
                config.auth_info = AuthInfo { token: Some(token.clone().into()), ..AuthInfo::default() };
                config
            }
        };
        if config.cluster_url.scheme_str() == Some("http") && config.proxy_url.is_none() {
            // Without TLS nobody's certificates are needed: reading the system's takes longer than a small app's sync.
            config.root_cert.get_or_insert_default();
        }
        config.default_retry = false;
        config.connect_timeout = Some(Duration::from_secs(10));
        config.headers.push((http::header::USER_AGENT, http::HeaderValue::from_static(USER_AGENT)));
        let inner = kube::Client::try_from(config)
            .map_err(|e| ApiError::Config(format!("cluster {name}: the client cannot be set up: {}", chain(&e))))?;
        Ok(Self::over(name, inner))
    }

    /// A client on a connection that is there already: what a simulation has in the place of a network.
    pub fn over(name: &str, inner: kube::Client) -> Self {
        Self {
            default_namespace: inner.default_namespace().into(),
            inner,
            name: name.into(),
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT)),
            calls: Arc::default(),
            writes: Arc::default(),
            answered: Arc::default(),
            pace: WatchPace::default(),
            open: Arc::default(),
            witness: Arc::default(),
        }
    }

    /// The same with watches that last otherwise.
    #[must_use]
    pub fn with_watch_pace(self, pace: WatchPace) -> Self {
        Self { pace, ..self }
    }

    /// For how many seconds a watch that is opened now should ask, and how much later it may end.
    pub fn watch_time(&self) -> (u64, Duration) {
        (self.pace.seconds(self.open.load(Ordering::Relaxed), rand::random()), self.pace.grace)
    }

    /// The cluster's name in driftless's configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kubeconfig context's namespace, else `default`.
    pub fn default_namespace(&self) -> &str {
        &self.default_namespace
    }

    /// Requests sent so far, and how many of them write (dry-runs do not).
    pub fn counts(&self) -> (u64, u64) {
        (self.calls.load(Ordering::Relaxed), self.writes.load(Ordering::Relaxed))
    }

    /// The kube client underneath, for those who need its typed interfaces.
    pub fn kube(&self) -> &kube::Client {
        &self.inner
    }

    /// Has somebody told of every request from now on; the first one who asks.
    pub fn tell(&self, witness: Witness) {
        let _ = self.witness.set(witness);
    }

    /// Sends one request once.
    ///
    /// # Errors
    /// Any [`ApiError`]; nothing is retried here.
    pub async fn send(&self, call: &Call) -> Result<Answer, ApiError> {
        let (client, call) = (self.clone(), call.clone());
        // On a task of its own. A caller may stop polling what it began (while it renews a lock, say): a request that
        // waited within it would keep its place in flight, and with it everybody else's, for ever.
        let mut task = Aborting(tokio::spawn(async move { client.send_here(&call).await }));
        match (&mut task.0).await {
            Ok(ended) => ended,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(self.unreachable("the program ends")),
            },
        }
    }

    async fn send_here(&self, call: &Call) -> Result<Answer, ApiError> {
        let _permit = self.in_flight.acquire().await.map_err(|_| self.unreachable("the client is closed"))?;
        self.count(call);
        tracing::trace!(cluster = %self.name, method = %call.method, path = %call.path, "request");
        let limit = REQUEST_TIMEOUT;
        let ended = match tokio::time::timeout(limit, self.send_unbounded(call)).await {
            Ok(answer) => answer,
            Err(_) => Err(ApiError::Timeout { cluster: self.name.to_string(), seconds: limit.as_secs() }),
        };
        if let Some(witness) = self.witness.get() {
            let code = ended.as_ref().map_or_else(|error| error.code().unwrap_or(0), |answer| answer.code);
            witness(call.method.as_str(), code);
        }
        ended
    }

    /// Sends a request, again where that can help (see [`retry`]): resets, time-outs, 429 and 5xx, with growing pauses
    /// and jitter, `Retry-After` obeyed, at most [`retry::ATTEMPTS`] times.
    ///
    /// # Errors
    /// The last [`ApiError`].
    pub async fn send_patiently(&self, call: &Call) -> Result<Answer, ApiError> {
        let mut attempt = 0;
        loop {
            let error = match self.send(call).await {
                Ok(answer) => {
                    self.answered.store(true, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(error) => error,
            };
            // A server that never answered is a wrong address rather than one that restarts.
            let unknown = !self.answered.load(Ordering::Relaxed);
            if unknown && attempt >= FIRST_ATTEMPTS && matches!(error, ApiError::Unreachable { .. }) {
                return Err(error);
            }
            let Some(pause) = retry::pause_after(&error, attempt, rand::random()) else { return Err(error) };
            tracing::debug!(cluster = %self.name, path = %call.path, %error, ?pause, "request failed, trying again");
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    /// Opens a stream of lines: a watch. `patience` is for the answer's head only.
    ///
    /// # Errors
    /// Any [`ApiError`]; items are the lines' JSON or the error that ended the stream.
    pub async fn stream(
        &self,
        call: &Call,
        patience: Duration,
    ) -> Result<impl Stream<Item = Result<bytes::Bytes, ApiError>> + Send + use<>, ApiError> {
        self.count(call);
        self.open.fetch_add(1, Ordering::Relaxed);
        let open = OpenWatch(self.open.clone());
        let request = call.request().map_err(|e| self.bad_answer(&e))?;
        let response = tokio::time::timeout(patience, self.inner.send(request))
            .await
            .map_err(|_| ApiError::Timeout { cluster: self.name.to_string(), seconds: patience.as_secs() })?
            .map_err(|e| self.unreachable(&chain(&e)))?;
        let (head, body) = response.into_parts();
        if !head.status.is_success() {
            let read = tokio::time::timeout(patience, http_body_util::Limited::new(body, MAX_TEXT).collect()).await;
            let bytes = match read {
                Ok(Ok(bytes)) => bytes.to_bytes(),
                // The code says enough.
                Ok(Err(_)) | Err(_) => bytes::Bytes::new(),
            };
            return Err(failure(head.status.as_u16(), retry_after(&head.headers), &bytes));
        }
        let cluster = self.name.to_string();
        Ok(body.into_data_stream().map_err(move |e| {
            let _ = &open;
            ApiError::Unreachable { cluster: cluster.clone(), cause: chain(&e) }
        }))
    }

    /// Reads an answer that is text: a log. Sent once.
    ///
    /// # Errors
    /// Any [`ApiError`].
    pub async fn text(&self, call: &Call) -> Result<String, ApiError> {
        self.count(call);
        let request = call.request().map_err(|e| self.bad_answer(&e))?;
        let read = async {
            let response = self.inner.send(request).await.map_err(|e| self.unreachable(&chain(&e)))?;
            let (head, body) = response.into_parts();
            let body = http_body_util::Limited::new(body, MAX_TEXT).collect().await;
            let bytes = body.map_err(|e| self.unreachable(&chain(e.as_ref())))?.to_bytes();
            match head.status.is_success() {
                true => Ok(String::from_utf8_lossy(&bytes).into_owned()),
                false => Err(failure(head.status.as_u16(), retry_after(&head.headers), &bytes)),
            }
        };
        let late = |_| ApiError::Timeout { cluster: self.name.to_string(), seconds: REQUEST_TIMEOUT.as_secs() };
        tokio::time::timeout(REQUEST_TIMEOUT, read).await.map_err(late)?
    }

    async fn send_unbounded(&self, call: &Call) -> Result<Answer, ApiError> {
        let request = call.request().map_err(|e| self.bad_answer(&e))?;
        let response = self.inner.send(request).await.map_err(|e| self.unreachable(&chain(&e)))?;
        let (head, body) = response.into_parts();
        let bytes = http_body_util::Limited::new(body, MAX_ANSWER)
            .collect()
            .await
            .map_err(|e| self.unreachable(&chain(e.as_ref())))?
            .to_bytes();
        let code = head.status.as_u16();
        if !head.status.is_success() {
            return Err(failure(code, retry_after(&head.headers), &bytes));
        }
        let body = serde_json::from_slice(&bytes).map_err(|e| self.bad_answer(&e))?;
        let warnings = head.headers.get_all("warning").iter().filter_map(|v| warning_text(v.to_str().ok()?)).collect();
        Ok(Answer { code, body, warnings })
    }

    fn count(&self, call: &Call) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let dry = call.query.iter().any(|(name, _)| *name == "dryRun");
        if call.method != Method::GET && !dry {
            self.writes.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn unreachable(&self, cause: &str) -> ApiError {
        ApiError::Unreachable { cluster: self.name.to_string(), cause: cause.to_owned() }
    }

    fn bad_answer(&self, cause: &dyn std::fmt::Display) -> ApiError {
        ApiError::BadAnswer { cluster: self.name.to_string(), cause: cause.to_string() }
    }
}

async fn from_kubeconfig(file: Option<&Path>, context: Option<String>) -> Result<kube::Config, ApiError> {
    let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
    let result = match file {
        Some(file) => {
            let parsed = Kubeconfig::read_from(file)
                .map_err(|e| ApiError::Config(format!("kubeconfig {}: {}", file.display(), chain(&e))))?;
            kube::Config::from_custom_kubeconfig(parsed, &options).await
        }
        None => kube::Config::from_kubeconfig(&options).await,
    };
    match result {
        Ok(config) => Ok(config),
        Err(error) if file.is_none() && options.context.is_none() => {
            kube::Config::incluster().map_err(|_| ApiError::Config(format!("no cluster to talk to: {}", chain(&error))))
        }
        Err(error) => {
            let file = file.map_or_else(|| "kubeconfig".to_owned(), |f| format!("kubeconfig {}", f.display()));
            Err(ApiError::Config(format!("{file}: {}", chain(&error))))
        }
    }
}

/// An error with its causes, each said once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    // kube's own wrapper says nothing.
    let mut text = error.to_string().trim_start_matches("ServiceError: ").to_owned();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    text
}

fn retry_after(headers: &http::HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// `299 - "policy/v1beta1 is deprecated"` → the text between the quotes (RFC 7234, section 5.5).
fn warning_text(header: &str) -> Option<String> {
    let start = header.find('"')? + 1;
    let end = header.rfind('"').filter(|end| *end > start)?;
    Some(header[start..end].replace("\\\"", "\""))
}

fn failure(code: u16, retry_after: Option<Duration>, bytes: &[u8]) -> ApiError {
    let status: Value = serde_json::from_slice(bytes).unwrap_or(Value::Null);
    let text = |key: &str| status.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut message = text("message");
    if message.is_empty() {
        let body: String = String::from_utf8_lossy(bytes).chars().take(200).collect();
        message = format!("HTTP {code}: {}", body.trim());
    }
    let causes = status
        .pointer("/details/causes")
        .and_then(Value::as_array)
        .map(|causes| {
            causes
                .iter()
                .map(|c| {
                    let part = |key: &str| c.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
                    (part("field"), part("message"))
                })
                .collect()
        })
        .unwrap_or_default();
    let told = status.pointer("/details/retryAfterSeconds").and_then(Value::as_u64).filter(|s| *s > 0);
    let retry_after = retry_after.or(told.map(Duration::from_secs));
    ApiError::Status { code, reason: text("reason"), message, causes, retry_after }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_encoded() {
        let call = Call::get("/api/v1/pods").with("labelSelector", "a/b in (c,d)").with("limit", "5");
        let request = call.request().unwrap();
        assert_eq!(request.uri().to_string(), "/api/v1/pods?labelSelector=a%2Fb%20in%20%28c%2Cd%29&limit=5");
    }

    #[test]
    fn failures_are_read() {
        let body = br#"{"kind":"Status","status":"Failure","message":"conflict","reason":"Conflict","code":409,
            "details":{"causes":[{"field":".spec.replicas","message":"conflict with \"kubectl\""}]}}"#;
        let error = failure(409, None, body);
        assert!(error.is_conflict() && !error.is_already_exists() && !error.is_rejection());
        assert!(matches!(error, ApiError::Status { causes, .. } if causes[0].0 == ".spec.replicas"));
        assert!(failure(502, None, b"<html>bad gateway</html>").to_string().contains("bad gateway"));
    }

    #[test]
    fn warnings_are_read() {
        assert_eq!(warning_text(r#"299 - "a \"b\" c""#).as_deref(), Some("a \"b\" c"));
        assert_eq!(warning_text("299 -"), None);
    }
}
