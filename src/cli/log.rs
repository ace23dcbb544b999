//! `driftless log`: commits with the statuses each one got; with `--wait`, a deployer's whole day.

use super::args::{Log as LogArgs, Output};
use super::exit::Exit;
use super::output::{print_json, print_text, stopped};
use super::setup::{Setup, one};
use crate::config::HumaneDuration;
use crate::object::Problem;
use crate::report::{ContextKind, GitNotes, Log, Note, State};
use crate::source::{Follower, Revision, Watched};
use crate::workspace::{Origin, off_thread};
use serde_json::json;
use std::time::{Duration, Instant};

/// A remote's notes are asked for so often while waiting; a local repository is watched.
const ASK_REMOTE: Duration = Duration::from_secs(2);
/// A watch can miss an event on some file systems.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

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
    let setup = Setup::new(&args.common).await?;
    let Some(origin) = setup.origins.first() else { return Ok(Exit::Done) };
    let revision = origin.resolve(args.revision.as_deref()).await.map_err(one)?;
    let exit = if args.wait {
        let patience = HumaneDuration::parse(&args.timeout)
            .map_err(|why| one(Problem::new("BadDuration", format!("--timeout: {why}"))))?;
        wait(&setup, origin, &revision, patience.0, args.output).await.map_err(one)?
    } else {
        Exit::Done
    };
    let number = if args.revision.is_some() || args.wait { 1 } else { args.number };
    let log = read(origin, &revision, number).await.map_err(one)?;
    match args.output {
        Output::Json => print_json(&log),
        Output::Text if !args.wait => print_text(&text(&log)),
        Output::Text => {}
    }
    Ok(exit)
}

async fn read(origin: &Origin, revision: &Revision, number: usize) -> Result<Log, Problem> {
    let (mirror, revision) = (origin.mirror.clone(), revision.clone());
    off_thread(move || {
        GitNotes::new(mirror.clone()).refresh()?;
        Ok(Log::read(&mirror, &revision, number)?)
    })
    .await
}

/// Prints statuses as they come, until the sync's final one.
async fn wait(
    setup: &Setup,
    origin: &Origin,
    revision: &Revision,
    patience: Duration,
    output: Output,
) -> Result<Exit, Problem> {
    let (wake, mut woken) = tokio::sync::mpsc::channel::<()>(1);
    let follower = origin.mirror.local_path().and_then(|path| {
        let wake = wake.clone();
        Follower::start(path, Watched::Notes, move || {
            let _ = wake.try_send(());
        })
        .ok()
    });
    let pause = if origin.mirror.local_path().is_some() { LOOK_AGAIN } else { ASK_REMOTE };
    let deadline = Instant::now() + patience;
    let mut shown = 0;
    loop {
        let log = read(origin, revision, 1).await?;
        let notes: Vec<Note> = log.commits.into_iter().flat_map(|c| c.statuses).collect();
        let ours: Vec<&Note> = notes.iter().filter(|n| n.context.instance == setup.config.instance.name).collect();
        for note in ours.iter().skip(shown) {
            if output == Output::Text {
                print_text(&line(note));
            }
        }
        shown = ours.len();
        // Rounds may repeat; what counts is whether the newest word of each context is final.
        let syncs: Vec<&&Note> = ours.iter().filter(|n| n.context.kind == ContextKind::Sync).collect();
        let mut last = std::collections::BTreeMap::new();
        for note in syncs {
            last.insert(note.context.clone(), *note);
        }
        if !last.is_empty() && last.values().all(|note| note.state.is_final()) {
            return Ok(last.values().map(|note| exit_of(note)).max().unwrap_or_default());
        }
        if Instant::now() >= deadline {
            let said = if shown == 0 { "no daemon has spoken of it yet" } else { "it is not finished" };
            return Err(Problem::new("Timeout", format!("{}: {said} after {patience:?}", revision.short(7)))
                .hint("is a daemon following this repository and branch? see `driftless status`"));
        }
        tokio::select! {
            _ = woken.recv(), if follower.is_some() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// As `sync` would end: the note says so, or where it was written by an older version, its words do.
fn exit_of(note: &Note) -> Exit {
    if let Some(exit) = note.exit.and_then(Exit::from_code).filter(|_| note.state.is_final()) {
        return exit;
    }
    match note.state {
        State::Success | State::Pending => Exit::Done,
        State::Failure if note.description.contains("refused") || note.description.contains("held since") => {
            Exit::Refused
        }
        State::Failure => Exit::Unhealthy,
        State::Error | State::Superseded => Exit::Error,
    }
}

fn line(note: &Note) -> String {
    let time = note.time.strftime("%H:%M:%S");
    format!("{time}  {:<18} {:<10} {}\n", note.context.to_string(), note.state.to_string(), note.description)
}

fn text(log: &Log) -> String {
    let mut out = String::new();
    for commit in &log.commits {
        out.push_str(&format!("{} {}\n", &commit.revision[..7.min(commit.revision.len())], commit.subject));
        for note in &commit.statuses {
            out.push_str("  ");
            out.push_str(&line(note));
        }
    }
    out
}
