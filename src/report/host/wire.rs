//! Sends a host's requests: the one place that talks to Git hosts.
//!
//! Guarantees: the token is read anew for each request (a file that is replaced counts at once) and goes to the API's
//! origin only; no redirect is followed; answers are limited in size and time; errors hold no credential.

use super::github_app::AppLogin;
use super::{Comment, HostApi, Login, Pull, Reply, Request, Said, refusal};
use crate::inventory::Standing;
use crate::object::Problem;
use crate::report::outbox::{Reporter, SendError};
use crate::report::status::{Context, Note, State};
use crate::source::Revision;
use base64::Engine as _;
use jiff::Timestamp;
use reqwest::blocking::Client;
use serde_json::Value;
use std::io::Read as _;
use std::sync::Mutex;
use std::time::Duration;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Largest answer.
const MAX_ANSWER: u64 = 8 << 20;
/// Pages of comments that are looked through for our own.
const PAGES: u32 = 20;
/// Headers of an answer that mean something.
const HEADERS: [&str; 6] =
    ["date", "retry-after", "x-ratelimit-remaining", "x-ratelimit-reset", "ratelimit-remaining", "ratelimit-reset"];

/// Reads the token, each time it is needed.
pub type ReadToken = Box<dyn Fn() -> Result<String, Problem> + Send + Sync>;

/// Who asks.
pub enum Credentials {
    /// A token or password, and the user name beside it, if any.
    Token(Option<String>, ReadToken),
    /// A GitHub App.
    App(Box<AppLogin>),
}

/// One repository on a host.
pub struct HostClient {
    api: Box<dyn HostApi>,
    base: String,
    http: Client,
    credentials: Credentials,
    /// One request after the other: what hosts ask for (GitHub's secondary limits), and what keeps order.
    turn: Mutex<()>,
}

impl HostClient {
    /// A client for the API at `base`.
    pub fn new(api: Box<dyn HostApi>, base: &str, http: Client, credentials: Credentials) -> Self {
        Self { api, base: base.to_owned(), http, credentials, turn: Mutex::new(()) }
    }

    /// The host's API.
    pub fn api(&self) -> &dyn HostApi {
        self.api.as_ref()
    }

    /// Sends a request.
    ///
    /// # Errors
    /// What the host refused, or why it could not be asked.
    pub fn ask(&self, request: &Request) -> Result<Value, SendError> {
        let _turn = self.turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut reply = self.signed(request)?;
        if reply.code == 401
            && let Credentials::App(login) = &self.credentials
        {
            // Taken back before its time: when permissions of the app change, GitHub does that.
            login.forget();
            reply = self.signed(request)?;
        }
        if reply.is_success() {
            return Ok(reply.body);
        }
        if self.api.is_there_already(&reply) {
            return Ok(Value::Null);
        }
        Err(refusal(self.api.name(), request, &reply, Timestamp::now()))
    }

    /// Sends it as who asks.
    fn signed(&self, request: &Request) -> Result<Reply, SendError> {
        let name = self.api.name();
        let (user, token) = match &self.credentials {
            Credentials::Token(user, read) => {
                let token = read().map_err(|problem| SendError::transient(format!("{name}: {problem}")).denied())?;
                (user.as_deref(), token)
            }
            Credentials::App(login) => {
                (None, login.token(Timestamp::now(), &|request, jwt| self.exchange(request, None, jwt))?)
            }
        };
        self.exchange(request, user, &token)
    }

    fn exchange(&self, request: &Request, user: Option<&str>, token: &str) -> Result<Reply, SendError> {
        let name = self.api.name();
        let token = token.trim();
        let url =
            if request.path.starts_with('/') { format!("{}{}", self.base, request.path) } else { request.path.clone() };
        let method = reqwest::Method::from_bytes(request.method.as_bytes()).unwrap_or_default();
        let mut call = self.http.request(method, &url).timeout(PATIENCE).header("Accept", "application/json");
        call = match (self.api.login(), user) {
            (Login::Token, _) => call.header("Authorization", format!("token {token}")),
            (Login::PrivateToken, _) => call.header("PRIVATE-TOKEN", token),
            // A user name says that it is a password of an app rather than a token that stands for itself.
            (Login::Bearer | Login::Basic, Some(user)) => call.header("Authorization", basic(user, token)),
            (Login::Basic, None) if name == "azure-devops" => call.header("Authorization", basic("", token)),
            (Login::Bearer | Login::Basic, None) => call.header("Authorization", format!("Bearer {token}")),
        };
        if let Some(body) = &request.body {
            call = call.header("Content-Type", "application/json").body(body.to_string());
        }
        let unreachable = |error: reqwest::Error| {
            let error = error.without_url();
            let mut text = error.to_string();
            let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(&error);
            while let Some(inner) = cause {
                text = format!("{text}: {inner}");
                cause = inner.source();
            }
            SendError::transient(format!("{name} cannot be reached: {text}"))
        };
        let response = call.send().map_err(unreachable)?;
        let code = response.status().as_u16();
        let header =
            |header: &&str| Some(((*header).to_owned(), response.headers().get(*header)?.to_str().ok()?.to_owned()));
        let headers = HEADERS.iter().filter_map(header).collect();
        let mut bytes = Vec::new();
        response
            .take(MAX_ANSWER)
            .read_to_end(&mut bytes)
            .map_err(|error| SendError::transient(format!("{name} broke off its answer: {error}")))?;
        Ok(Reply { code, headers, body: serde_json::from_slice(&bytes).unwrap_or_default() })
    }

    /// The statuses of a commit that are ours, oldest first.
    ///
    /// # Errors
    /// As [`HostClient::ask`].
    pub fn said(&self, revision: &Revision) -> Result<Vec<Said>, SendError> {
        Ok(self.api.read_statuses(&self.ask(&self.api.statuses(revision))?))
    }

    /// The same, without when and in which words.
    ///
    /// # Errors
    /// As [`HostClient::ask`].
    pub fn statuses(&self, revision: &Revision) -> Result<Vec<(Context, State)>, SendError> {
        Ok(self.said(revision)?.into_iter().map(|said| (said.context, said.state)).collect())
    }

    /// Every open pull request.
    ///
    /// # Errors
    /// As [`HostClient::ask`].
    pub fn pulls(&self) -> Result<Vec<Pull>, SendError> {
        let mut out = Vec::new();
        for page in 1..=PAGES {
            let (pulls, more) = self.api.read_pulls(&self.ask(&self.api.pulls(page))?);
            out.extend(pulls);
            if !more {
                break;
            }
        }
        Ok(out)
    }

    /// Where a pull request stands.
    ///
    /// # Errors
    /// As [`HostClient::ask`], and where the answer does not say it.
    pub fn standing(&self, pull: u64) -> Result<Standing, SendError> {
        let answer = self.ask(&self.api.pull(pull))?;
        let unread = || SendError::transient(format!("{} does not say where #{pull} stands", self.api.name()));
        self.api.read_standing(&answer).ok_or_else(unread)
    }

    /// Makes the one comment that holds `mark` say `text`: written anew where it is there, else created. Nothing is sent
    /// where it says so already: false.
    ///
    /// # Errors
    /// As [`HostClient::ask`].
    pub fn comment(&self, pull: u64, mark: &str, text: &str) -> Result<bool, SendError> {
        let request = match self.find(pull, mark)? {
            Some(comment) if comment.body.trim() == text.trim() => return Ok(false),
            Some(comment) => self.api.update_comment(pull, &comment, text),
            None => self.api.create_comment(pull, text),
        };
        self.ask(&request).map(|_| true)
    }

    /// What the comment that holds `mark` says now, if there is one.
    ///
    /// # Errors
    /// As [`HostClient::ask`].
    pub fn shown(&self, pull: u64, mark: &str) -> Result<Option<String>, SendError> {
        Ok(self.find(pull, mark)?.map(|comment| comment.body))
    }

    fn find(&self, pull: u64, mark: &str) -> Result<Option<Comment>, SendError> {
        for page in 1..=PAGES {
            let (comments, more) = self.api.read_comments(&self.ask(&self.api.comments(pull, page))?);
            if let Some(found) = comments.into_iter().find(|comment| comment.body.contains(mark)) {
                return Ok(Some(found));
            }
            if !more {
                break;
            }
        }
        Ok(None)
    }
}

impl Reporter for HostClient {
    fn name(&self) -> &str {
        self.api.name()
    }

    fn send(&self, note: &Note) -> Result<(), SendError> {
        self.ask(&self.api.status(note)).map(drop)
    }
}

fn basic(user: &str, token: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{token}")))
}
