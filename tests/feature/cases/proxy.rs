//! What stands between driftless and an API server in some cases: it counts the requests, and answers some of them itself.
//!
//! In: a cluster. Out: a kubeconfig whose server is the proxy, the requests so far in their order, and whatever the rule
//! of the test does to the next ones. The same for both clusters: neither knows that it is there.

use crate::feature::cluster::{Cluster, runtime};
use crate::feature::scratch::Scratch;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use futures::stream;
use serde_json::{Value, json};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Fate {
    /// This answer; the server never sees the request.
    Answer(u16, &'static str, Value),
    /// The connection breaks before there is an answer.
    Reset,
    /// The server gets it, and the connection breaks before its answer arrives.
    ResetAfter,
    /// No answer, ever.
    Hang,
    /// The server gets another body, as if a mutating webhook stood in its way.
    Rewrite(Value),
}

/// A request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// HTTP method.
    pub method: String,
    /// Path with query.
    pub path: String,
    /// Body, where it is JSON.
    pub body: Value,
}

impl Asked {
    /// True if it changes something: no read and no dry-run.
    pub fn writes(&self) -> bool {
        self.method != "GET" && !self.path.contains("dryRun=All")
    }

    /// True if it is a list.
    pub fn watches(&self) -> bool {
        self.path.contains("watch=1") || self.path.contains("watch=true")
    }

    /// `METHOD path` without the query.
    pub fn brief(&self) -> String {
        format!("{} {}", self.method, self.path.split('?').next().unwrap_or_default())
    }
}

type Rule = Box<dyn Fn(&Asked) -> Option<Fate> + Send + Sync>;

struct Shared {
    client: reqwest::Client,
    server: String,
    asked: Mutex<Vec<Asked>>,
    rule: Mutex<Option<Rule>>,
    /// What is done to the watches that were open when it was said.
    watches: watch::Sender<(u64, Interruption)>,
}

/// What happens to open watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interruption {
    /// Nothing.
    None,
    /// They carry nothing any more, and stay open.
    Silence,
    /// They end with 410 Gone.
    Gone,
}

/// A running proxy. It ends with the process.
pub struct Proxy {
    address: String,
    shared: Arc<Shared>,
}

impl Proxy {
    /// One before a cluster.
    pub fn before(cluster: &Cluster) -> Self {
        let config: Value = serde_json::from_str(&cluster.kubectl("config view --raw --flatten -o json")).unwrap();
        let of = &config["clusters"][0]["cluster"];
        let authority = of["certificate-authority-data"].as_str().unwrap();
        let authority = base64_decoded(authority);
        let authority = reqwest::Certificate::from_pem(&authority).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([authority]).build().unwrap();
        let shared = Arc::new(Shared {
            client,
            server: of["server"].as_str().unwrap().to_owned(),
            asked: Mutex::default(),
            rule: Mutex::default(),
            watches: watch::channel((0, Interruption::None)).0,
        });
        let listener = runtime().block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let router = Router::new().fallback(pass).with_state(shared.clone());
        runtime().spawn(async move { axum::serve(listener, router).await });
        Self { address, shared }
    }

    /// A kubeconfig for `app` that leads here.
    pub fn kubeconfig(&self, app: &Scratch) -> String {
        app.kubeconfig_with("proxied", |config| {
            config["clusters"][0]["cluster"] = json!({"server": format!("http://{}", self.address)});
        })
    }

    /// What was asked so far, oldest first, watches aside.
    pub fn asked(&self) -> Vec<Asked> {
        let asked = self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().filter(|asked| !asked.watches()).cloned().collect()
    }

    /// What was written so far, oldest first, as `METHOD path`; records of driftless itself aside.
    pub fn written(&self) -> Vec<String> {
        self.asked()
            .iter()
            .filter(|asked| asked.writes() && !asked.path.contains("/namespaces/driftless/"))
            .map(Asked::brief)
            .collect()
    }

    /// Forgets what was asked so far.
    pub fn forget(&self) {
        self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Decides what becomes of the requests from now on.
    pub fn rule(&self, rule: impl Fn(&Asked) -> Option<Fate> + Send + Sync + 'static) {
        *self.shared.rule.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(rule));
    }

    /// Everything passes again.
    pub fn pass_everything(&self) {
        *self.shared.rule.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The watches that are open now carry nothing any more, and stay open.
    pub fn silence_watches(&self) {
        self.shared.watches.send_modify(|state| *state = (state.0 + 1, Interruption::Silence));
    }

    /// The watches that are open now, or were silenced, end with 410 Gone.
    pub fn expire_watches(&self) {
        self.shared.watches.send_modify(|state| *state = (state.0 + 1, Interruption::Gone));
    }
}

/// A Kubernetes Status as an error's body.
pub fn failure(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "reason": reason, "message": message})
}

fn base64_decoded(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

/// A body that breaks at once: the connection is closed before the answer is whole.
fn broken() -> Response {
    Response::new(Body::from_stream(stream::once(async { Err::<Bytes, _>(io::Error::other("broken by the test")) })))
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let Ok(mut body) = axum::body::to_bytes(body, usize::MAX).await else { return broken() };
    let json = serde_json::from_slice(&body).unwrap_or_default();
    let asked = Asked { method: parts.method.to_string(), path: path.clone(), body: json };
    let watching = asked.watches();
    let fate = shared.rule.lock().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(|rule| rule(&asked));
    shared.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
    match &fate {
        Some(Fate::Answer(code, retry_after, answer)) => {
            let mut response = Response::builder().status(*code).header("content-type", "application/json");
            if !retry_after.is_empty() {
                response = response.header("retry-after", *retry_after);
            }
            return response.body(Body::from(answer.to_string())).unwrap();
        }
        Some(Fate::Reset) => return broken(),
        Some(Fate::Hang) => std::future::pending().await,
        Some(Fate::Rewrite(other)) => body = other.to_string().into(),
        Some(Fate::ResetAfter) | None => {}
    }
    let mut call = shared.client.request(parts.method, format!("{}{path}", shared.server)).body(body);
    for name in ["authorization", "content-type", "accept", "accept-encoding", "user-agent"] {
        if let Some(value) = parts.headers.get(name) {
            call = call.header(name, value);
        }
    }
    let interruptions = shared.watches.subscribe();
    let Ok(answer) = call.send().await else { return broken() };
    if matches!(fate, Some(Fate::ResetAfter)) {
        return broken();
    }
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        if !["transfer-encoding", "connection", "content-length"].contains(&name.as_str()) {
            response = response.header(name, value);
        }
    }
    response.body(if watching { watched(answer, interruptions) } else { plain(answer) }).unwrap()
}

fn plain(answer: reqwest::Response) -> Body {
    Body::from_stream(stream::unfold(answer, |mut answer| async move {
        let chunk = answer.chunk().await.transpose()?;
        Some((chunk.map_err(io::Error::other), answer))
    }))
}

/// The answer to a watch, until the test interrupts it.
fn watched(answer: reqwest::Response, mut interruptions: watch::Receiver<(u64, Interruption)>) -> Body {
    interruptions.mark_unchanged();
    Body::from_stream(stream::unfold(Some((answer, interruptions)), |state| async move {
        let (mut answer, mut interruptions) = state?;
        let chunk = tokio::select! {
            chunk = answer.chunk() => chunk.transpose()?,
            _ = interruptions.changed() => {
                loop {
                    let now = interruptions.borrow_and_update().1;
                    if now == Interruption::Gone {
                        let status = failure(410, "Expired", "too old resource version");
                        let event = json!({"type": "ERROR", "object": status}).to_string() + "\n";
                        return Some((Ok(event.into()), None));
                    }
                    if interruptions.changed().await.is_err() {
                        return None;
                    }
                }
            }
        };
        Some((chunk.map_err(io::Error::other), Some((answer, interruptions))))
    }))
}
