//! The desk where Git hosts' notifications arrive, and the scopes that they are for.

use crate::server::Server;
use crate::server::webhook::{Change, Desk, MAX_BODY, Refused, read};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, EXPECT};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use bytes::BytesMut;
use http_body_util::BodyExt as _;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedSender;

/// What is read of a notification that is too large, before its sender is cut off.
const MAX_THROWN_AWAY: usize = 64 << 20;

/// A scope that wants to hear of its repository.
#[derive(Clone)]
pub struct Listener {
    /// `owner/name` in lower case, as the end of the repository's address has it.
    pub repository: String,
    /// Where hints go.
    pub to: UnboundedSender<Change>,
}

/// `owner/name` (or `group/sub/name`) of a repository's address, in lower case; for Azure DevOps and Bitbucket Data Center
/// without what their addresses have in between.
pub fn full_name(url: &str) -> String {
    let path = url.split_once("://").map_or(url, |(_, rest)| rest.split_once('/').map_or("", |(_, path)| path));
    let path = path.trim_matches('/').trim_end_matches(".git").replace("/_git/", "/").to_lowercase();
    path.strip_prefix("scm/").map_or(path.clone(), str::to_owned)
}

/// Serves `POST /webhook`. The secret is asked for at each notification: one that is replaced counts at once.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn listen(
    address: SocketAddr,
    secret: Arc<dyn Fn() -> Option<String> + Send + Sync>,
    listeners: Vec<Listener>,
) -> Result<Server, crate::server::ServerError> {
    let desk = Arc::new(Desk::default());
    let listeners = Arc::new(listeners);
    let take = move |request: Request| {
        let (desk, listeners, secret) = (desk.clone(), listeners.clone(), secret.clone());
        async move {
            let (parts, body) = request.into_parts();
            match whole(&parts.headers, body).await {
                Ok(body) => answer(&parts.headers, &body, secret().as_deref().unwrap_or_default(), &desk, &listeners),
                Err(refused) => refused,
            }
        }
    };
    let routes = Router::new()
        .route("/webhook", post(take))
        .fallback(|request| refused(request, StatusCode::NOT_FOUND))
        .method_not_allowed_fallback(|request| refused(request, StatusCode::METHOD_NOT_ALLOWED));
    Server::serve(address, routes).await
}

/// Refuses what is not for the desk, once its body is read.
async fn refused(request: Request, code: StatusCode) -> StatusCode {
    let (parts, body) = request.into_parts();
    let _ = whole(&parts.headers, body).await;
    code
}

/// A body to its end, or what to answer. What is too large is read on and thrown away, within [`MAX_THROWN_AWAY`]: an
/// answer to somebody who is still sending is lost when the connection is closed over unread bytes (RFC 9112, 9.6).
async fn whole(headers: &HeaderMap, mut body: Body) -> Result<Bytes, StatusCode> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    // Whoever asks first has sent nothing yet.
    if announced.is_some_and(|length| length > MAX_BODY) && headers.contains_key(EXPECT) {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let (mut bytes, mut length) = (BytesMut::new(), 0_usize);
    while let Some(frame) = body.frame().await {
        let data = frame.map_err(|_| StatusCode::BAD_REQUEST)?.into_data().unwrap_or_default();
        length = length.saturating_add(data.len());
        if length <= MAX_BODY {
            bytes.extend_from_slice(&data);
        } else {
            bytes = BytesMut::new();
        }
        if length > MAX_THROWN_AWAY {
            break;
        }
    }
    if length > MAX_BODY { Err(StatusCode::PAYLOAD_TOO_LARGE) } else { Ok(bytes.freeze()) }
}

fn answer(headers: &HeaderMap, body: &Bytes, secret: &str, desk: &Desk, listeners: &[Listener]) -> StatusCode {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let hint = match read(secret.trim(), &header, body) {
        Ok(hint) => hint,
        Err(Refused::Unsigned) => return StatusCode::UNAUTHORIZED,
        Err(Refused::Unknown) => return StatusCode::NOT_FOUND,
    };
    let is_it = |listener: &&Listener| {
        let (ours, theirs) = (listener.repository.as_str(), hint.repository.as_str());
        // The host may be installed below a path, which only one side names.
        !theirs.is_empty() && (ours == theirs || ours.strip_suffix(theirs).is_some_and(|rest| rest.ends_with('/')))
    };
    let mut found = listeners.iter().filter(is_it).peekable();
    if found.peek().is_none() {
        return StatusCode::NOT_FOUND;
    }
    if desk.is_new(&header) && hint.change != Change::Nothing {
        tracing::debug!(repository = hint.repository, change = ?hint.change, "a notification");
        for listener in found {
            let _ = listener.to.send(hint.change.clone());
        }
    }
    StatusCode::ACCEPTED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (url, name) in [
            ("https://github.com/Acme/Shop.git", "acme/shop"),
            ("https://gitlab.com/a/b/c", "a/b/c"),
            ("https://bb.acme.com/scm/PRJ/shop.git", "prj/shop"),
            ("https://dev.azure.com/acme/Web/_git/shop", "acme/web/shop"),
            ("http://127.0.0.1:3000/acme/shop", "acme/shop"),
        ] {
            assert_eq!(full_name(url), name);
        }
    }
}
