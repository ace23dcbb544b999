//! The server and its routes.

use super::listener::LimitedListener;
use super::metrics::Metrics;
use super::readiness::Readiness;
use crate::object::Problem;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Time for one answer.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Time for open requests to end at shutdown.
const GRACE: Duration = Duration::from_secs(5);

/// The longest body that a route may read, in bytes. The routes here read none; a webhook raises it for itself.
const MAX_BODY: usize = 64 * 1024;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

impl From<ServerError> for Problem {
    fn from(error: ServerError) -> Self {
        Self::new("CannotListen", error.to_string())
            .hint("Choose another port, or stop what listens there already (often a second daemon).")
    }
}

/// A running server. Dropping it stops it at once; [`Server::shutdown`] lets open requests end.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Server {
    /// Listens on `address` (port 0: any free one) and serves health, readiness and metrics.
    pub async fn bind(address: SocketAddr, metrics: Arc<Metrics>, readiness: Readiness) -> Result<Self, ServerError> {
        Self::serve(address, routes(metrics, readiness)).await
    }

    /// Listens on `address` and serves `routes`, within the limits of time, size and connections.
    pub async fn serve(address: SocketAddr, routes: Router) -> Result<Self, ServerError> {
        Self::serve_within(address, routes, TIME_LIMIT).await
    }

    async fn serve_within(address: SocketAddr, routes: Router, limit: Duration) -> Result<Self, ServerError> {
        let bind = |source| ServerError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let routes = routes
            .layer(from_fn(move |request, next| in_time(limit, request, next)))
            .layer(DefaultBodyLimit::max(MAX_BODY));
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = axum::serve(LimitedListener::new(listener), routes).with_graceful_shutdown(async move {
            // A dropped sender stops it as well.
            let _ = stopped.await;
        });
        let task = tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the HTTP server ended");
            }
        });
        Ok(Self { address, stop: Some(stop), task })
    }

    /// The address that is listened on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts nothing more, and waits until open requests have ended, for five seconds at most.
    pub async fn shutdown(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if tokio::time::timeout(GRACE, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// `/healthz`, `/readyz`, `/metrics`.
pub fn routes(metrics: Arc<Metrics>, readiness: Readiness) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(move || async move { readyz(&readiness) }))
        .route("/metrics", get(move || async move { ([(header::CONTENT_TYPE, OPENMETRICS)], metrics.text()) }))
}

/// 200, or 503 with a reason per line.
fn readyz(readiness: &Readiness) -> Response {
    let reasons = readiness.reasons();
    if reasons.is_empty() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n").into_response()
}

async fn in_time(limit: Duration, request: Request, next: Next) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "took too long\n").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn serves_and_stops() {
        let readiness = Readiness::waiting_for("git");
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::bind(local, Arc::new(Metrics::new()), readiness.clone()).await.unwrap();
        let address = server.address();
        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        let answer = get(address, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("git: starting\n"), "{answer}");
        readiness.ready("git");
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        let answer = get(address, "/metrics").await;
        assert!(answer.contains("application/openmetrics-text") && answer.ends_with("# EOF\n"), "{answer}");
        assert!(get(address, "/secret").await.starts_with("HTTP/1.1 404"));

        let taken = Server::bind(address, Arc::new(Metrics::new()), Readiness::default()).await;
        assert!(matches!(taken, Err(ServerError::Bind { .. })));
        server.shutdown().await;
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn a_slow_answer_is_cut() {
        let slow = Router::new().route("/slow", axum::routing::get(|| async { std::future::pending::<()>().await }));
        let server =
            Server::serve_within(SocketAddr::from(([127, 0, 0, 1], 0)), slow, Duration::from_millis(1)).await.unwrap();
        assert!(get(server.address(), "/slow").await.starts_with("HTTP/1.1 503"));
    }
}
