//! The API server on a socket: requests in, answers and watch streams out. I/O; everything it decides, `server` decides.
//!
//! Guarantees
//! - Without the token there is nothing but 401 (and the health paths, which say nothing).
//! - One lock around the API server, held while one request is answered; never across an await.
//! - A watch ends at its time, at shutdown, or when its client goes; it costs nothing between changes.

use super::read::{self, Watch};
use super::request::{ApiRequest, ApiResponse, decode, parse_query};
use super::server::{Answer, ApiServer, MAX_BODY};
use super::status::Status;
use ::http::HeaderMap;
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use futures::stream;
use jiff::Timestamp;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch as channel;
use tokio_util::sync::CancellationToken;

/// Time between bookmarks of a watch that wants them.
const BOOKMARKS: Duration = Duration::from_secs(15);

/// A watch that names no time ends after this, as the real server's do after 30 to 60 minutes.
const LONGEST_WATCH: Duration = Duration::from_secs(45 * 60);

/// The API server shared by connections and the control loop.
#[derive(Clone)]
pub struct Shared {
    server: Arc<Mutex<ApiServer>>,
    changed: channel::Sender<u64>,
    token: Arc<str>,
    /// Ends everything.
    pub shutdown: CancellationToken,
}

impl Shared {
    /// Shares a server.
    pub fn new(server: ApiServer, token: &str) -> Self {
        let (changed, _) = channel::channel(server.store().version());
        Self { server: Arc::new(Mutex::new(server)), changed, token: token.into(), shutdown: CancellationToken::new() }
    }

    /// Works with the server; wakes watches and the control loop if something was written.
    pub fn with<T>(&self, work: impl FnOnce(&mut ApiServer) -> T) -> T {
        let mut server = self.lock();
        let before = server.store().version();
        let out = work(&mut server);
        let after = server.store().version();
        drop(server);
        if after != before {
            // Somebody else may have written, and told of it, since the lock was given back: an older number after a
            // newer one would hide that from the control loop until something else is written.
            self.changed.send_modify(|version| *version = after.max(*version));
        }
        out
    }

    fn lock(&self) -> MutexGuard<'_, ApiServer> {
        // A panic in one request leaves a store that is still whole: each write is one step.
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of every change.
    pub fn changes(&self) -> channel::Receiver<u64> {
        self.changed.subscribe()
    }
}

/// The router of a server.
pub fn router(shared: Shared) -> Router {
    Router::new().fallback(answer).with_state(shared)
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let header = |name: &str| {
        let value = parts.headers.get(name).and_then(|v| v.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let path = decode(parts.uri.path());
    let open = matches!(path.as_str(), "/healthz" | "/livez" | "/readyz");
    if !open && !authorized(&header("authorization"), &shared.token) {
        return respond(Status::new(401, "Unauthorized", "Unauthorized").into());
    }
    let Ok(body) = to_bytes(body, MAX_BODY + 1).await else {
        let message = format!("Request entity too large: limit is {MAX_BODY}");
        return respond(Status::new(413, "RequestEntityTooLarge", message).into());
    };
    let request = ApiRequest {
        method: parts.method.as_str().to_owned(),
        path,
        query: parse_query(parts.uri.query().unwrap_or_default()),
        content_type: header("content-type"),
        accept: header("accept"),
        user_agent: header("user-agent"),
        impersonated: impersonated(&parts.headers),
        body: body.to_vec(),
    };
    match shared.with(|server| server.handle(&request, Timestamp::now())) {
        Answer::Response(mut response) => {
            if parts.method == ::http::Method::HEAD {
                response.body.clear();
            }
            respond(response)
        }
        Answer::Watch(watch) => follow(shared, *watch),
    }
}

/// The headers by which a request asks to be answered as somebody else's.
fn impersonated(headers: &HeaderMap) -> Vec<(String, String)> {
    let asked = headers.iter().filter(|(name, _)| name.as_str().starts_with("impersonate-"));
    asked.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())).collect()
}

/// Compares in constant time for equal lengths: the token is the only secret here.
fn authorized(header: &str, token: &str) -> bool {
    let Some(given) = header.strip_prefix("Bearer ").or_else(|| header.strip_prefix("bearer ")) else { return false };
    let given = given.trim().as_bytes();
    given.len() == token.len() && given.iter().zip(token.as_bytes()).fold(0, |acc, (a, b)| acc | (a ^ b)) == 0
}

fn respond(response: ApiResponse) -> Response {
    let mut builder = Response::builder()
        .status(response.status)
        .header("content-type", response.content_type)
        .header("cache-control", "no-cache, private");
    for warning in &response.warnings {
        let text: String = warning.chars().filter(|c| !c.is_control()).collect();
        builder = builder.header("warning", format!("299 - {text:?}"));
    }
    if response.status == 429 || response.status == 504 {
        builder = builder.header("retry-after", "1");
    }
    builder.body(Body::from(response.body)).unwrap_or_else(|_| Response::new(Body::empty()))
}

struct Following {
    shared: Shared,
    watch: Watch,
    changes: channel::Receiver<u64>,
    end: Instant,
    bookmark: Instant,
    over: bool,
}

fn follow(shared: Shared, watch: Watch) -> Response {
    let now = Instant::now();
    let end = now + watch.timeout.unwrap_or(LONGEST_WATCH).min(LONGEST_WATCH * 2);
    let changes = shared.changes();
    let following = Following { shared, watch, changes, end, bookmark: now + BOOKMARKS, over: false };
    let body = Body::from_stream(stream::unfold(following, next));
    Response::builder()
        .status(200)
        .header("content-type", "application/json")
        .header("cache-control", "no-cache, private")
        .body(body)
        .unwrap_or_else(|_| Response::new(Body::empty()))
}

/// The next piece of a watch's stream.
async fn next(mut following: Following) -> Option<(Result<Bytes, std::io::Error>, Following)> {
    loop {
        if following.over || following.shared.shutdown.is_cancelled() {
            return None;
        }
        following.changes.borrow_and_update();
        let mut out = match following.shared.lock().poll(&mut following.watch, Timestamp::now()) {
            Ok(out) => out,
            Err(last) => {
                following.over = true;
                last
            }
        };
        let now = Instant::now();
        if now >= following.bookmark {
            following.bookmark = now + BOOKMARKS;
            read::bookmark_if_due(&mut following.watch, &mut out);
        }
        if !out.is_empty() {
            return Some((Ok(Bytes::from(out)), following));
        }
        if now >= following.end {
            return None;
        }
        let until =
            if following.watch.wants_bookmarks() { following.end.min(following.bookmark) } else { following.end };
        tokio::select! {
            changed = following.changes.changed() => {
                if changed.is_err() {
                    return None;
                }
            }
            () = tokio::time::sleep_until(until.into()) => {}
            () = following.shared.shutdown.cancelled() => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::view::Write;
    use jiff::Timestamp;
    use serde_json::json;
    use std::sync::Barrier;

    /// Whoever waits for changes knows of the newest one, however many write at once.
    #[test]
    fn no_change_is_hidden_by_an_older_one() {
        let now = Timestamp::UNIX_EPOCH;
        let shared = Shared::new(ApiServer::new(1, now), "t");
        let changes = shared.changes();
        let (writers, barrier) = (4, Barrier::new(4));
        std::thread::scope(|scope| {
            for writer in 0..writers {
                let (shared, changes, barrier) = (&shared, &changes, &barrier);
                scope.spawn(move || {
                    for round in 0..3000 {
                        let name = format!("{writer}-{round}");
                        let object = json!({"apiVersion": "v1", "kind": "ConfigMap",
                            "metadata": {"name": name, "namespace": "default"}});
                        barrier.wait();
                        shared.with(|server| server.carry_out(&Write::Create { object }, "test", now)).unwrap();
                        barrier.wait();
                        assert_eq!(*changes.borrow(), shared.with(|server| server.store().version()), "round {round}");
                    }
                });
            }
        });
    }
}
