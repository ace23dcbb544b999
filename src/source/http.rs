//! Git's smart protocol over HTTP, for libgit2, on the crate's own HTTP client.
//!
//! In: a [`Session`] (the call's limits) and a [`Remote`]: address, credentials. Out: bytes for libgit2's smart transport,
//! and on failure a [`GitError`] that says what the host did. Protocol: <https://git-scm.com/docs/http-protocol>.
//!
//! Invariants: credentials go to the configured scheme, host and port only; a redirect is followed only there, only for
//! the first request of an exchange, and only a few times; every wait and every size has a bound.

use super::error::{GitError, plain};
use super::session::Session;
use super::url::Auth;
use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream};
use reqwest::Url;
use reqwest::blocking::{Client, Response};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

const MAX_REDIRECTS: usize = 3;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Git hosts treat what does not begin with `git/` as a browser.
const USER_AGENT: &str = concat!("git/2.40 (driftless ", env!("CARGO_PKG_VERSION"), ")");
/// Largest request body: pushed notes are small, and so are lists of commits that we have.
const MAX_REQUEST_BYTES: usize = 64 * 1024 * 1024;

/// A repository behind HTTP.
pub(super) struct Remote {
    client: Client,
    /// The repository's address, as redirected.
    base: Mutex<Url>,
    auth: Option<Auth>,
}

impl Remote {
    /// The repository at this address.
    pub(super) fn new(client: Client, url: &Url, auth: Option<Auth>) -> Arc<Self> {
        Arc::new(Self { client, base: Mutex::new(url.clone()), auth })
    }
}

/// What libgit2 holds: makes exchanges for the session of the call that it was made in.
#[derive(Clone)]
pub(super) struct Subtransport {
    session: Arc<Session>,
    host: Arc<Remote>,
}

impl Subtransport {
    /// For libgit2's smart transport.
    pub(super) fn new(session: Arc<Session>, host: Arc<Remote>) -> Self {
        Self { session, host }
    }

    fn base(&self) -> Url {
        self.host.base.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends one request to `url`, which is on the session's own host.
    fn send(&self, url: &Url, post: Option<(Service, Vec<u8>)>) -> io::Result<Response> {
        self.session.check()?;
        let request = match post {
            None => self.host.client.get(url.clone()).header(ACCEPT, "*/*").header("Pragma", "no-cache"),
            Some((service, body)) => self
                .host
                .client
                .post(url.clone())
                .header(CONTENT_TYPE, format!("application/x-{}-request", name(service)))
                .header(ACCEPT, format!("application/x-{}-result", name(service)))
                .body(body),
        };
        let request = match &self.host.auth {
            None => request,
            Some(auth) => {
                let text = auth.header(url.host_str().unwrap_or_default());
                let value = HeaderValue::from_str(&text);
                let mut value =
                    value.map_err(|_| self.session.broken(false, "the token holds characters that no header can"))?;
                value.set_sensitive(true);
                request.header(AUTHORIZATION, value)
            }
        };
        request
            .timeout(self.session.bounds.idle.min(self.session.left()))
            .send()
            .map_err(|error| self.session.broken(error.is_timeout(), &chain(error)))
    }

    /// `GET …/info/refs`, following what redirects may be followed.
    fn advertisement(&self, service: Service) -> io::Result<Response> {
        let mut url = below(&self.base(), "info/refs");
        url.set_query(Some(&format!("service={}", name(service))));
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(&url, None)?;
            if !response.status().is_redirection() {
                let response = self.expect(response, &format!("application/x-{}-advertisement", name(service)))?;
                let root = url.path().trim_end_matches("/info/refs").to_owned();
                let mut base = url.clone();
                base.set_path(&root);
                base.set_query(None);
                *self.host.base.lock().unwrap_or_else(PoisonError::into_inner) = base;
                return Ok(response);
            }
            url = self.redirected(&url, &response)?;
        }
        Err(self.session.fail(GitError::Redirect {
            repository: self.session.shown.clone(),
            to: "itself, again and again".to_owned(),
        }))
    }

    /// Where a redirect leads, if it may be followed: same scheme, host and port, and still an `info/refs`, so that the
    /// repository's new address is known (git does the same, `http.followRedirects=initial`).
    fn redirected(&self, from: &Url, response: &Response) -> io::Result<Url> {
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let to = from.join(location).map_err(|_| self.refuse_redirect("an address that cannot be read"))?;
        if to.origin() != from.origin() || !to.origin().is_tuple() {
            let host = to.host_str().unwrap_or("no host");
            return Err(self.refuse_redirect(&format!("{}://{host}", to.scheme())));
        }
        if !to.path().ends_with("/info/refs") || to.query() != from.query() {
            return Err(self.refuse_redirect("a page that is no Git repository (a login page?)"));
        }
        Ok(to)
    }

    fn refuse_redirect(&self, to: &str) -> io::Error {
        self.session.fail(GitError::Redirect { repository: self.session.shown.clone(), to: plain(to) })
    }

    /// `POST …/git-upload-pack` or `…/git-receive-pack`. Redirects are not followed here.
    fn exchange(&self, service: Service, body: Vec<u8>) -> io::Result<Response> {
        let url = below(&self.base(), name(service));
        let response = self.send(&url, Some((service, body)))?;
        if response.status().is_redirection() {
            return Err(self.refuse_redirect("another place in mid-exchange"));
        }
        self.expect(response, &format!("application/x-{}-result", name(service)))
    }

    /// The response, if it is what was asked for.
    fn expect(&self, response: Response, content_type: &str) -> io::Result<Response> {
        let repository = self.session.shown.clone();
        let status = response.status().as_u16();
        let error = match status {
            200 => {
                let kind =
                    response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
                if kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(content_type)) {
                    return Ok(response);
                }
                GitError::NotGit { repository }
            }
            401 | 403 => GitError::Unauthorized { repository, status, sent: self.host.auth.is_some() },
            404 | 410 => GitError::RepositoryNotFound { repository },
            _ => {
                let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
                GitError::Http {
                    repository,
                    status,
                    retry_after: retry_after.and_then(|text| text.trim().parse().ok()),
                }
            }
        };
        Err(self.session.fail(error))
    }
}

fn name(service: Service) -> &'static str {
    match service {
        Service::UploadPackLs | Service::UploadPack => "git-upload-pack",
        Service::ReceivePackLs | Service::ReceivePack => "git-receive-pack",
    }
}

fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
    url
}

/// An error with its causes, without the address (the session shows its own).
fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

impl SmartSubtransport for Subtransport {
    fn action(&self, _url: &str, service: Service) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        Ok(Box::new(Exchange { transport: self.clone(), service, request: Vec::new(), response: None }))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

/// One request and its response: what is written is the request, the first read sends it.
struct Exchange {
    transport: Subtransport,
    service: Service,
    request: Vec<u8>,
    response: Option<Response>,
}

impl Write for Exchange {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.request.len() + bytes.len() > MAX_REQUEST_BYTES {
            let session = &self.transport.session;
            let (repository, limit) = (session.shown.clone(), MAX_REQUEST_BYTES as u64);
            return Err(session.fail(GitError::TooLarge { repository, limit }));
        }
        self.request.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Exchange {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.transport.session.check()?;
        if self.response.is_none() {
            let response = match self.service {
                Service::UploadPackLs | Service::ReceivePackLs => self.transport.advertisement(self.service),
                Service::UploadPack | Service::ReceivePack => {
                    self.transport.exchange(self.service, std::mem::take(&mut self.request))
                }
            };
            self.response = Some(response?);
        }
        let Some(response) = &mut self.response else { return Ok(0) };
        let count = response.read(buffer).map_err(|error| {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<reqwest::Error>());
            let timed_out = error.kind() == io::ErrorKind::TimedOut || inner.is_some_and(reqwest::Error::is_timeout);
            self.transport.session.broken(timed_out, "the connection broke in mid-answer")
        })?;
        self.transport.session.count(count)?;
        Ok(count)
    }
}

/// The HTTP client: rustls with the system's roots, and those of `ca_file` besides. Clients without a file of their own
/// are one per kind and process, so that connections are kept.
pub(super) fn client(url: &Url, ca_file: Option<&Path>) -> Result<Client, GitError> {
    static DIRECT: OnceLock<Client> = OnceLock::new();
    static PROXIED: OnceLock<Client> = OnceLock::new();
    let direct = is_loopback(url);
    match ca_file {
        Some(file) => build(direct, Some(file)),
        None => {
            let slot = if direct { &DIRECT } else { &PROXIED };
            if let Some(client) = slot.get() {
                return Ok(client.clone());
            }
            let client = build(direct, None)?;
            Ok(slot.get_or_init(|| client).clone())
        }
    }
}

fn build(direct: bool, ca_file: Option<&Path>) -> Result<Client, GitError> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Lost only to another thread that installs the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let mut builder = Client::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(Duration::from_secs(90))
        .redirect(reqwest::redirect::Policy::none());
    if direct {
        builder = builder.no_proxy();
    }
    if let Some(file) = ca_file {
        let unusable = |message: String| GitError::CaFile { path: file.display().to_string(), message };
        let pem = std::fs::read(file).map_err(|error| unusable(error.to_string()))?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| unusable(error.to_string()))?;
        builder = builder.tls_certs_merge(certificates);
    }
    let failed = |message: String| GitError::Git { repository: "HTTP client".to_owned(), message };
    // On a thread of its own: a blocking client must not be made where a runtime runs, and some who ask are there (built
    // with debug assertions, reqwest ends the process).
    let built = std::thread::scope(|scope| scope.spawn(|| builder.build()).join());
    built.map_err(|_| failed("it could not be made".to_owned()))?.map_err(|error| failed(chain(error)))
}

/// True for addresses of this machine, where plain http shows nothing to anyone.
pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
