//! The places where a repository's statuses are heard, as the configuration names them.

use crate::config::{Config, GitHubApp, Report, ReportKind, SecretRef};
use crate::object::Problem;
use crate::report::host::github_app::{AppLogin, check_key};
use crate::report::host::wire::{Credentials, HostClient, ReadToken};
use crate::report::host::{Place, Said, api};
use crate::report::{GitNotes, Note, Reporter, SendError};
use crate::source::Revision;
use crate::workspace::{Origin, read_secret};
use jiff::Timestamp;
use std::sync::Arc;

/// Commits of which a Git host is asked at once: one request each.
pub const ASKED: usize = 5;

/// A place where statuses are heard. Cheap to clone.
#[derive(Clone)]
pub enum Host {
    /// Notes in the repository itself.
    Notes(GitNotes),
    /// A Git host.
    Remote(Arc<HostClient>),
}

/// The private keys of GitHub Apps that are not there or cannot be used: told at the start, not by the first report.
pub fn unusable_keys(config: &Config) -> Vec<Problem> {
    let wrong = |report: &Report| {
        let app = report.app.as_ref()?;
        let place = match &app.private_key {
            SecretRef::Env(name) => format!("in the environment variable {name}"),
            SecretRef::File(path) => format!("in {}", path.display()),
        };
        let (why, hint) = match read_secret(&app.private_key) {
            Ok(key) => (format!("the private key {place} {}", check_key(&key).err()?), None),
            Err(problem) => (format!("the private key is missing: {}", problem.message), problem.hint),
        };
        let text = format!("`app` of the [[report]] on {:?}: {why}", report.repository);
        let hint = hint.unwrap_or_else(|| "`private_key_file` or `private_key_env` of `app` names it".to_owned());
        Some(Problem::new("UnusableKey", text).hint(hint))
    };
    config.reports.iter().filter_map(wrong).collect()
}

/// Every place where a repository's statuses are to be heard; for each that cannot be, why.
pub fn hosts_of(config: &Config, origin: &Origin) -> Vec<Result<Host, Problem>> {
    let here = config.reports.iter().filter(|report| report.repository == origin.repository.name);
    here.map(|report| host(report, origin)).collect()
}

/// The Git host of a repository, which knows its pull requests.
pub fn remote_of(config: &Config, origin: &Origin) -> Option<Arc<HostClient>> {
    hosts_of(config, origin).into_iter().flatten().find_map(|host| match host {
        Host::Remote(client) => Some(client),
        Host::Notes(_) => None,
    })
}

fn host(report: &Report, origin: &Origin) -> Result<Host, Problem> {
    if report.kind == ReportKind::GitNotes {
        return Ok(Host::Notes(GitNotes::new(origin.mirror.clone())));
    }
    let place = place(report, &origin.mirror.url().web())?;
    let http = crate::source::http_client(&place.api, origin.repository.ca_file.as_deref())?;
    let base = place.api.clone();
    let credentials = credentials(report, &place);
    let Some(api) = api(report.kind, place) else { return Err(Problem::new("NoHost", "this kind has no API")) };
    Ok(Host::Remote(Arc::new(HostClient::new(api, &base, http, credentials?))))
}

fn credentials(report: &Report, place: &Place) -> Result<Credentials, Problem> {
    let read = |secret: SecretRef| -> ReadToken { Box::new(move || read_secret(&secret)) };
    match (&report.app, &report.token) {
        (Some(app), _) => {
            let GitHubApp { id, installation, private_key } = app.clone();
            let login = AppLogin::new(&id, installation, (&place.owner, &place.name), read(private_key));
            Ok(Credentials::App(Box::new(login)))
        }
        (None, Some(token)) => Ok(Credentials::Token(report.username.clone(), read(token.clone()))),
        (None, None) => Err(Problem::new("NoToken", "[[report]] names no token")),
    }
}

/// Where the repository is, as its host knows it.
///
/// # Errors
/// If its address is none of that kind of host.
pub fn place(report: &Report, url: &str) -> Result<Place, Problem> {
    Place::of(report.kind, url, report.url.as_deref()).map_err(|error| {
        Problem::new("NoPlace", format!("[[report]] of {:?}: {error}", report.repository))
            .hint("check the `kind`, and the repository's address")
    })
}

impl Host {
    /// What tells its outbox from others'.
    pub fn place(&self, identity: &str) -> String {
        match self {
            // As it was before there were hosts.
            Self::Notes(_) => identity.to_owned(),
            Self::Remote(client) => format!("{} {identity}", client.name()),
        }
    }

    /// What was said of these commits, oldest commit first; of the newest ones only where each costs a request.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn said(&self, commits: &[Revision]) -> Result<Vec<Note>, SendError> {
        match self {
            Self::Notes(notes) => {
                let read = || {
                    notes.refresh()?;
                    notes.read_many(commits)
                };
                let mut found =
                    read().map_err(|error: crate::source::GitError| SendError::transient(error.to_string()))?;
                Ok(commits.iter().filter_map(|revision| found.remove(revision)).flatten().collect())
            }
            Self::Remote(client) => {
                let mut out = Vec::new();
                for revision in commits.iter().skip(commits.len().saturating_sub(ASKED)) {
                    match client.said(revision) {
                        Ok(found) => out.extend(found.iter().map(|said| note(revision, said))),
                        // Commits that were not pushed, or are not this host's.
                        Err(error) if error.permanent => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(out)
            }
        }
    }
}

impl Host {
    /// Sends several notes at once: Git notes in one commit, to a host one after the other.
    ///
    /// # Errors
    /// The first one that was not taken.
    pub fn append(&self, notes: &[Note]) -> Result<(), SendError> {
        match self {
            Self::Notes(own) => own.append(notes).map_err(|error| SendError::transient(error.to_string())),
            Self::Remote(client) => notes.iter().try_for_each(|note| client.send(note)),
        }
    }
}

fn note(revision: &Revision, said: &Said) -> Note {
    let time = said.time.unwrap_or(Timestamp::UNIX_EPOCH);
    Note::new(time, revision, &said.context, said.state, &said.description)
}

impl Reporter for Host {
    fn name(&self) -> &str {
        match self {
            Self::Notes(notes) => notes.name(),
            Self::Remote(client) => client.name(),
        }
    }

    fn send(&self, note: &Note) -> Result<(), SendError> {
        match self {
            Self::Notes(notes) => notes.send(note),
            Self::Remote(client) => client.send(note),
        }
    }
}
