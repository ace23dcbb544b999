//! `driftless log`: commits with the statuses each one got; with `--wait`, a deployer's whole day.

use super::args::{Log as LogArgs, Output};
use super::exit::Exit;
use super::output::{print_json, print_text, stopped};
use super::setup::{Setup, one};
use crate::config::HumaneDuration;
use crate::hosts::{ASKED, Host, hosts_of};
use crate::object::Problem;
use crate::report::{ContextKind, GitNotes, Log, LogCommit, Note, Reporter as _, State};
use crate::source::{Follower, GitMirror, Revision, Watched};
use crate::workspace::{CONFIG_FILE, Origin, default_cache_dir, off_thread};
use anstream::eprintln;
use jiff::Timestamp;
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};

/// A remote's notes are asked for so often while waiting; a local repository is watched.
const ASK_REMOTE: Duration = Duration::from_secs(2);
/// A watch can miss an event on some file systems.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Commits after the one that is waited for which are looked through for a status.
const LATER: usize = 100;
/// A newer commit took over: nothing is known of this one's own content.
const OVERTAKEN: Exit = Exit::Error;

/// Silence after which it is said what is waited for.
const QUIET: Duration = Duration::from_secs(1);

/// Runs it.
///
/// # Errors
/// When the repository or the commit is not there.
pub async fn run(args: &LogArgs) -> Result<Exit, Vec<Problem>> {
    match look(args).await {
        Ok(exit) => Ok(exit),
        Err(problems) => {
            let nothing = json!({"commits": [], "error": problems.first()});
            stopped(problems, args.output == Output::Json, &nothing)
        }
    }
}

async fn look(args: &LogArgs) -> Result<Exit, Vec<Problem>> {
    let mut common = args.common.clone();
    if common.repo.is_none() && common.config.is_none() && !Path::new(CONFIG_FILE).exists() {
        // Whoever has just pushed stands in the working copy.
        common.repo = working_copy();
    }
    let setup = Setup::new(&common).await?;
    let Some(origin) = setup.origins.first() else { return Ok(Exit::Done) };
    let revision = origin.resolve(args.revision.as_deref()).await.map_err(one)?;
    let places = Places::of(&setup, origin);
    let exit = if args.wait {
        let patience = HumaneDuration::parse(&args.timeout)
            .map_err(|why| one(Problem::new("BadDuration", format!("--timeout: {why}"))))?;
        let waiting = Waiting { setup: &setup, origin, places: &places, revision: &revision };
        waiting.wait(patience.0, args.output).await.map_err(one)?
    } else {
        Exit::Done
    };
    let number = if args.revision.is_some() || args.wait { 1 } else { args.number };
    let log = places.read(&revision, number).await.map_err(one)?;
    match args.output {
        Output::Json => print_json(&log),
        Output::Text if !args.wait => print_text(&text(&log)),
        Output::Text => {}
    }
    Ok(exit)
}

/// The root of the working copy that the current directory lies in.
fn working_copy() -> Option<String> {
    let here = std::env::current_dir().ok()?;
    let root = here.ancestors().find(|dir| dir.join(".git").exists())?;
    Some(root.display().to_string())
}

/// Where statuses are read: in the repository, in the one that it is a clone of, and where a commit has no notes, on the
/// hosts that the configuration names.
struct Places {
    mirror: GitMirror,
    upstream: Option<GitMirror>,
    hosts: Vec<Host>,
}

impl Places {
    fn of(setup: &Setup, origin: &Origin) -> Self {
        let upstream = origin.open_upstream(&default_cache_dir().join("git"));
        let hosts = hosts_of(&setup.config, origin).into_iter().filter_map(|host| match host {
            Ok(host) => matches!(host, Host::Remote(_)).then_some(host),
            Err(problem) => {
                tracing::warn!(%problem, "statuses are not read there");
                None
            }
        });
        Self { mirror: origin.mirror.clone(), upstream, hosts: hosts.collect() }
    }

    /// What the hosts have of commits without notes, as far as each of them tells: a time and words need not be there.
    fn ask_hosts(hosts: &[Host], log: &mut Log) {
        let bare = log.commits.iter_mut().filter(|commit| commit.statuses.is_empty()).take(ASKED);
        for commit in bare {
            let Ok(revision) = Revision::parse(&commit.revision) else { continue };
            for host in hosts {
                match host.said(std::slice::from_ref(&revision)) {
                    Ok(said) => commit.statuses.extend(said),
                    Err(error) => {
                        tracing::warn!(%error, "what the host has cannot be read");
                        return;
                    }
                }
            }
        }
    }

    /// Where statuses are looked for, for a person.
    fn named(&self) -> String {
        // Where there is a host, a remote repository's notes are mostly empty.
        let notes = self.all().filter(|place| self.hosts.is_empty() || place.local_path().is_some());
        let notes = notes.map(|place| format!("in the notes of {}", place.url()));
        let hosts = self.hosts.iter().map(|host| format!("on {}", host.name()));
        hosts.chain(notes).collect::<Vec<_>>().join(" and ")
    }

    fn all(&self) -> impl Iterator<Item = &GitMirror> {
        [&self.mirror].into_iter().chain(&self.upstream)
    }

    async fn read(&self, revision: &Revision, number: usize) -> Result<Log, Problem> {
        let (mirror, upstream, revision) = (self.mirror.clone(), self.upstream.clone(), revision.clone());
        let hosts = self.hosts.clone();
        off_thread(move || {
            GitNotes::new(mirror.clone()).refresh()?;
            if let Some(Err(error)) = upstream.as_ref().map(|upstream| GitNotes::new(upstream.clone()).refresh()) {
                tracing::debug!(%error, "the notes of the repository that this one is a clone of cannot be read");
            }
            let mut log = Log::read(&mirror, upstream.as_ref(), &revision, number)?;
            Self::ask_hosts(&hosts, &mut log);
            Ok(log)
        })
        .await
    }
}

/// A commit whose sync is waited for.
struct Waiting<'a> {
    setup: &'a Setup,
    origin: &'a Origin,
    places: &'a Places,
    revision: &'a Revision,
}

impl Waiting<'_> {
    /// Prints statuses as they come, until the sync's final one.
    async fn wait(&self, patience: Duration, output: Output) -> Result<Exit, Problem> {
        let (places, revision) = (self.places, self.revision);
        let (wake, mut woken) = tokio::sync::mpsc::channel::<()>(1);
        let watch = |path: &Path| {
            let wake = wake.clone();
            Follower::start(path, Watched::Notes, move || {
                let _ = wake.try_send(());
            })
            .ok()
        };
        let followers: Vec<Follower> = places.all().filter_map(GitMirror::local_path).filter_map(watch).collect();
        let all_local = places.all().all(|place| place.local_path().is_some());
        let pause = if all_local { LOOK_AGAIN } else { ASK_REMOTE };
        let begun = Instant::now();
        let mut asked_for_patience = false;
        let mut shown = 0;
        let mut named = false;
        loop {
            let log = places.read(revision, 1).await?;
            if output == Output::Text && !std::mem::replace(&mut named, true) {
                log.commits.first().into_iter().for_each(|commit| print_text(&title(commit)));
            }
            let notes: Vec<Note> = log.commits.into_iter().flat_map(|c| c.statuses).collect();
            let ours: Vec<&Note> = notes.iter().filter(|n| self.is_ours(n)).collect();
            for note in ours.iter().skip(shown).filter(|_| output == Output::Text) {
                print_text(&line(note));
            }
            shown = ours.len();
            if let Some(exit) = ended(&ours) {
                return Ok(exit);
            }
            if shown == 0
                && let Some(newer) = self.overtaken().await?
            {
                let short = newer.short(7);
                eprintln!("superseded by {short}: no daemon has seen {} as the branch's head", revision.short(7));
                return Ok(OVERTAKEN);
            }
            if shown == 0 && !asked_for_patience && begun.elapsed() >= QUIET {
                asked_for_patience = true;
                let (short, places) = (revision.short(7), places.named());
                eprintln!("waiting for a daemon to speak of {short} {places} (at most {patience:?})");
            }
            if begun.elapsed() >= patience {
                let said = if shown == 0 { "no daemon has spoken of it yet" } else { "it is not finished" };
                return Err(Problem::new("Timeout", format!("{}: {said} after {patience:?}", revision.short(7)))
                    .hint("is a daemon following this repository and branch? see `driftless status`"));
            }
            tokio::select! {
                _ = woken.recv(), if !followers.is_empty() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn is_ours(&self, note: &Note) -> bool {
        note.context.instance == self.setup.config.instance.name
    }

    /// The newer commit of the branch that was spoken of in this one's place: pushes in a row may be seen as one.
    async fn overtaken(&self) -> Result<Option<Revision>, Problem> {
        let head = self.origin.resolve(None).await?;
        if head == *self.revision {
            return Ok(None);
        }
        let (mirror, from, to) = (self.origin.mirror.clone(), self.revision.clone(), head.clone());
        let later = off_thread(move || {
            let follows = mirror.is_ancestor(&from, &to)?;
            Ok(if follows { mirror.since(Some(&from), &to, LATER)? } else { Vec::new() })
        });
        let later = later.await?;
        if later.is_empty() {
            return Ok(None);
        }
        let log = self.places.read(&head, later.len()).await?;
        let synced = |commit: &LogCommit| {
            let is_sync = |note: &Note| note.context.kind == ContextKind::Sync && self.is_ours(note);
            commit.statuses.iter().any(is_sync)
        };
        let spoken = log.commits.iter().filter(|commit| synced(commit));
        let mut spoken = spoken.filter_map(|commit| later.iter().find(|later| later.as_str() == commit.revision));
        Ok(spoken.next().cloned())
    }
}

/// How it ended, once the newest word of each context is final: rounds may repeat.
fn ended(notes: &[&Note]) -> Option<Exit> {
    let mut last = std::collections::BTreeMap::new();
    for note in notes.iter().filter(|note| note.context.kind == ContextKind::Sync) {
        last.insert(note.context.clone(), *note);
    }
    let done = !last.is_empty() && last.values().all(|note| note.state.is_final());
    done.then(|| last.values().map(|note| exit_of(note)).max().unwrap_or_default())
}

/// As `sync` would end: the note says so, or where it was written by an older version, its words do.
fn exit_of(note: &Note) -> Exit {
    if let Some(exit) = note.exit.and_then(Exit::from_code).filter(|_| note.state.is_final()) {
        return exit;
    }
    match note.state {
        State::Success | State::Pending => Exit::Done,
        State::Failure
            if ["refused", "held since", ": held: "].iter().any(|words| note.description.contains(words)) =>
        {
            Exit::Refused
        }
        State::Failure => Exit::Unhealthy,
        State::Error => Exit::Error,
        State::Superseded => OVERTAKEN,
    }
}

fn line(note: &Note) -> String {
    // A status of a host that does not say when.
    let known = note.time != Timestamp::UNIX_EPOCH;
    let time = if known { note.time.strftime("%H:%M:%S").to_string() } else { " ".repeat(8) };
    format!("{time}  {:<18} {:<10} {}\n", note.context.to_string(), note.state.to_string(), note.description)
}

fn title(commit: &LogCommit) -> String {
    format!("{} {}\n", &commit.revision[..7.min(commit.revision.len())], commit.subject)
}

fn text(log: &Log) -> String {
    let mut out = String::new();
    for commit in &log.commits {
        out.push_str(&title(commit));
        for note in &commit.statuses {
            out.push_str("  ");
            out.push_str(&line(note));
        }
    }
    out
}
