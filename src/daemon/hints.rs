//! The desk where Git hosts' notifications arrive, and the scopes that they are for.

use crate::server::Server;
use crate::server::webhook::{Change, Desk, MAX_BODY, Refused, read};
use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedSender;

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
    let take = move |headers: HeaderMap, body: Bytes| {
        let (desk, listeners, secret) = (desk.clone(), listeners.clone(), secret());
        async move { answer(&headers, &body, secret.as_deref().unwrap_or_default(), &desk, &listeners) }
    };
    let routes = Router::new().route("/webhook", post(take)).layer(DefaultBodyLimit::max(MAX_BODY));
    Server::serve(address, routes).await
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
