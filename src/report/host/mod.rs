//! Git hosts: one file each, as requests and what their answers mean. Pure but for [`wire`], which sends them.
//!
//! In: notes, comments, and a [`Place`] (the repository as the host knows it). Out: [`Request`]s, and the answers as
//! data. Each file names the published documentation that it was written from.
//!
//! What hosts have in common is decided here: which refusals are worth another attempt, how long a host asks to be left
//! alone, and that a word which a host does not have is told as the nearest one that it has.

mod azure;
mod bitbucket_cloud;
mod bitbucket_dc;
mod gitea;
mod github;
pub mod github_app;
mod gitlab;
mod place;
#[cfg(test)]
mod tests;
pub mod wire;

pub use place::{NoPlace, Place};

use super::outbox::SendError;
use super::status::{Context, Note, State};
use crate::config::ReportKind;
use crate::inventory::{Merge, Standing};
use crate::source::Revision;
use jiff::Timestamp;
use serde_json::Value;
use std::time::Duration;

/// How a host is told who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// `Authorization: Bearer TOKEN`
    Bearer,
    /// `Authorization: token TOKEN` (Gitea, Forgejo).
    Token,
    /// `PRIVATE-TOKEN: TOKEN` (GitLab).
    PrivateToken,
    /// `Authorization: Basic`, of a user name, which may be empty, and the token.
    Basic,
}

/// One request as data, without credentials.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// `GET`, `POST`, `PATCH`, `PUT`.
    pub method: &'static str,
    /// The address, below the API's.
    pub path: String,
    /// Body.
    pub body: Option<Value>,
}

impl Request {
    fn get(path: String) -> Self {
        Self { method: "GET", path, body: None }
    }

    fn send(method: &'static str, path: String, body: Value) -> Self {
        Self { method, path, body: Some(body) }
    }
}

/// What a host answered: code, the headers that matter, body.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reply {
    /// HTTP code.
    pub code: u16,
    /// Header names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body; null where it is no JSON.
    pub body: Value,
}

impl Reply {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// True where the host did what it was asked.
    pub fn is_success(&self) -> bool {
        // 203 is how Azure DevOps answers with its sign-in page.
        (200..300).contains(&self.code) && self.code != 203
    }
}

/// A comment of a pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    /// As the host names it; for Azure DevOps `THREAD/COMMENT`, for Bitbucket Data Center `ID/VERSION`.
    pub id: String,
    /// Its text.
    pub body: String,
}

/// A status that a host has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Which one.
    pub context: Context,
    /// What it says.
    pub state: State,
    /// When it was said, where the host tells.
    pub time: Option<Timestamp>,
    /// The words with it, on one line.
    pub description: String,
}

impl Said {
    /// The status `status`, with the first of `times` that it has, and its description.
    fn of(status: &Value, context: Context, state: State, times: &[&str]) -> Self {
        let time = |path: &&str| match status.pointer(path)? {
            Value::String(text) => text.parse().ok(),
            Value::Number(number) => Timestamp::from_millisecond(number.as_i64()?).ok(),
            _ => None,
        };
        // Others may write statuses too: nothing that would act on a terminal.
        let words = text(status, "/description").chars().filter(|c| !c.is_control()).collect();
        Self { context, state, time: times.iter().find_map(time), description: words }
    }
}

/// An open pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pull {
    /// Its number.
    pub number: u64,
    /// The commit at its head, as the host says it: for Bitbucket Cloud only its beginning.
    pub head: String,
    /// Branch that it is to be merged into, without `refs/heads/`.
    pub base: String,
    /// True where the head is not in the repository itself.
    pub fork: bool,
    /// The reference under which the repository has the head.
    pub fetch: String,
}

/// A host's API.
pub trait HostApi: Send + Sync {
    /// For logs: `github`.
    fn name(&self) -> &'static str;

    /// How it is told who asks.
    fn login(&self) -> Login;

    /// Longest text of a comment, in bytes (hosts count characters: never more than bytes).
    fn longest_comment(&self) -> usize;

    /// Longest description of a status, in characters.
    fn longest_description(&self) -> usize;

    /// Says a status.
    fn status(&self, note: &Note) -> Request;

    /// Asks for the statuses of a commit.
    fn statuses(&self, revision: &Revision) -> Request;

    /// The statuses that are ours, oldest first.
    fn read_statuses(&self, body: &Value) -> Vec<Said>;

    /// Asks for the open pull requests, page by page from 1.
    fn pulls(&self, page: u32) -> Request;

    /// The pull requests of one page, and whether there may be another.
    fn read_pulls(&self, body: &Value) -> (Vec<Pull>, bool);

    /// Asks for one pull request.
    fn pull(&self, pull: u64) -> Request;

    /// Where it stands, if the answer says it.
    fn read_standing(&self, body: &Value) -> Option<Standing>;

    /// Asks for the comments of a pull request, page by page from 1.
    fn comments(&self, pull: u64, page: u32) -> Request;

    /// The comments of one page, and whether there may be another.
    fn read_comments(&self, body: &Value) -> (Vec<Comment>, bool);

    /// Writes a comment.
    fn create_comment(&self, pull: u64, text: &str) -> Request;

    /// Writes it anew.
    fn update_comment(&self, pull: u64, comment: &Comment, text: &str) -> Request;

    /// True if a refusal says that the status is there already.
    fn is_there_already(&self, _reply: &Reply) -> bool {
        false
    }
}

/// The API of a host.
pub fn api(kind: ReportKind, place: Place) -> Option<Box<dyn HostApi>> {
    Some(match kind {
        ReportKind::GitHub => Box::new(github::GitHub(place)),
        ReportKind::GitLab => Box::new(gitlab::GitLab(place)),
        ReportKind::Gitea => Box::new(gitea::Gitea { place, skips: true }),
        ReportKind::Forgejo => Box::new(gitea::Gitea { place, skips: false }),
        ReportKind::BitbucketCloud => Box::new(bitbucket_cloud::BitbucketCloud(place)),
        ReportKind::BitbucketDataCenter => Box::new(bitbucket_dc::BitbucketDataCenter(place)),
        ReportKind::AzureDevOps => Box::new(azure::Azure(place)),
        ReportKind::GitNotes => return None,
    })
}

/// What a token may not do that was refused this request.
fn missing_right(request: &Request) -> &'static str {
    let path = request.path.split('?').next().unwrap_or_default();
    // The last words only: the others may be a repository's name.
    let ends = |words: &[&str]| path.rsplit('/').take(2).any(|part| words.contains(&part));
    if ends(&["comments", "notes", "threads", "activities"]) {
        "write comments on pull requests"
    } else if ends(&["pulls", "merge_requests", "pullrequests", "pull-requests"]) {
        "read pull requests"
    } else {
        "write statuses"
    }
}

/// What a refusal means: whether it makes sense to try again, and when.
pub fn refusal(host: &str, request: &Request, reply: &Reply, now: Timestamp) -> SendError {
    let said = said(&reply.body);
    let text = |what: &str| {
        format!(
            "{host} answered {}: {what}{}",
            reply.code,
            if said.is_empty() { String::new() } else { format!(" ({said})") }
        )
    };
    let wait = pause(reply, now);
    match reply.code {
        401 | 203 => {
            SendError::transient(text("the token is not accepted; statuses wait until it is renewed")).denied()
        }
        403 if wait.is_some() || said.to_lowercase().contains("rate limit") => {
            SendError::transient(text("the rate limit is reached")).after(wait.unwrap_or(Duration::from_secs(60)))
        }
        403 => {
            let what = missing_right(request);
            SendError::transient(text(&format!("the token may not {what} of this repository; grant it that"))).denied()
        }
        404 => SendError::transient(text("no such repository or commit, or the token may not see it")).denied(),
        429 => SendError::transient(text("the rate limit is reached")).after(wait.unwrap_or(Duration::from_secs(60))),
        400 | 409 | 413 | 422 => SendError::permanent(text("it does not take this")),
        code => {
            let error =
                SendError::transient(text(if code >= 500 { "it has a problem of its own" } else { "it was not done" }));
            match wait {
                Some(wait) => error.after(wait),
                None => error,
            }
        }
    }
}

/// How long the host asks to be left alone: `Retry-After` (RFC 9110: seconds or a date), GitHub's `x-ratelimit-reset`,
/// GitLab's `ratelimit-reset` (both seconds since 1970) where nothing is left.
fn pause(reply: &Reply, now: Timestamp) -> Option<Duration> {
    /// Nobody is believed who asks for more.
    const LONGEST: Duration = Duration::from_secs(6 * 3600);
    let until = |at: Timestamp| Duration::try_from(at.duration_since(now)).unwrap_or_default();
    let seconds = |name: &str| reply.header(name).and_then(|text| text.trim().parse::<i64>().ok());
    let wait = match reply.header("retry-after") {
        Some(text) => match text.trim().parse::<u64>() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => jiff::fmt::rfc2822::parse(text.trim()).ok().map(|at| until(at.timestamp())),
        },
        None => ["x-ratelimit", "ratelimit"].iter().find_map(|prefix| {
            seconds(&format!("{prefix}-remaining")).filter(|left| *left == 0)?;
            Timestamp::from_second(seconds(&format!("{prefix}-reset"))?).ok().map(until)
        }),
    };
    wait.map(|wait| wait.min(LONGEST))
}

/// What the host says of a refusal, short.
fn said(body: &Value) -> String {
    let text = ["/message", "/error/message", "/errors/0/message", "/error"]
        .iter()
        .find_map(|path| body.pointer(path).filter(|value| value.is_string() || value.is_object() || value.is_array()));
    let text = match text {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    super::status::describe(&text, 200)
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// The number or text that names something.
fn id(value: &Value, path: &str) -> String {
    match value.pointer(path) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

/// A list's items, below `path`.
fn items<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    value.pointer(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A merge as the commit at the first of these paths that holds one.
fn merged(value: &Value, paths: &[&str]) -> Standing {
    let commit = paths.iter().map(|path| text(value, path)).find(|commit| is_commit(commit));
    Standing::Merged(Merge { commit: commit.map(str::to_owned) })
}

/// At least the beginning of a commit id, as long as Git's own short ones: a shorter one would fit any commit.
fn is_commit(text: &str) -> bool {
    text.len() >= 7 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// One part of a path: everything but what is unreserved (RFC 3986) is encoded, slashes too.
fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}
