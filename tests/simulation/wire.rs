//! The connection between an engine and the simulated API server: requests wait in a queue until the schedule delivers
//! them, lost or late if it likes. In: what `kube::Client` sends. Out: [`Sent`].

use axum::body::{Body, Bytes};
use driftless::cluster::request::{ApiRequest, ApiResponse, decode, parse_query};
use futures::channel::{mpsc, oneshot};
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tower_service::Service;

/// What a broken connection says.
#[derive(Debug, thiserror::Error)]
#[error("the connection was reset")]
pub struct Reset;

/// A request on its way.
pub struct Sent {
    /// The request.
    pub request: ApiRequest,
    /// Where the answer goes. Dropped: the connection was reset.
    pub answer: oneshot::Sender<Response<Body>>,
}

/// One engine's connection.
#[derive(Clone, Default)]
pub struct Wire(Arc<Mutex<Vec<Sent>>>);

impl Wire {
    /// What was sent since the last time.
    pub fn take(&self) -> Vec<Sent> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Service<Request<kube::client::Body>> for Wire {
    type Response = Response<Body>;
    type Error = Reset;
    type Future = BoxFuture<'static, Result<Response<Body>, Reset>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Reset>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<kube::client::Body>) -> Self::Future {
        let wire = self.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map_err(|_| Reset)?.to_bytes();
            let header =
                |name: &str| head.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
            let request = ApiRequest {
                method: head.method.as_str().to_owned(),
                path: decode(head.uri.path()),
                query: parse_query(head.uri.query().unwrap_or_default()),
                content_type: header("content-type"),
                accept: header("accept"),
                user_agent: "driftless/simulated".to_owned(),
                impersonated: Vec::new(),
                body: body.to_vec(),
            };
            let (answer, answered) = oneshot::channel();
            wire.0.lock().unwrap().push(Sent { request, answer });
            answered.await.map_err(|_| Reset)
        })
    }
}

/// An answer in one piece.
pub fn whole(answer: ApiResponse) -> Response<Body> {
    let mut builder = Response::builder().status(answer.status).header("content-type", answer.content_type);
    for warning in &answer.warnings {
        builder = builder.header("warning", format!("299 - {warning:?}"));
    }
    builder.body(Body::from(answer.body)).unwrap()
}

/// An answer that goes on: a watch. Dropping the sender ends it well, an error ends it badly.
pub fn stream() -> (mpsc::UnboundedSender<Result<Bytes, Reset>>, Response<Body>) {
    let (sender, pieces) = mpsc::unbounded();
    (sender, Response::new(Body::from_stream(pieces)))
}
