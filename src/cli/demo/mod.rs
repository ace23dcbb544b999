//! `driftless demo`: an embedded cluster, a sample repository and the daemon, with a tour of what they do.
//!
//! Nothing is staged: the daemon is the one of `driftless run`, the cluster is reached over HTTP, the commits are Git
//! commits, and a step is done when the cluster's API and the commit's notes say so.

mod repository;
mod stage;
mod tour;
mod watcher;

use super::args::{Demo, Output};
use super::exit::Exit;
use super::output::{print_json, print_text};
use super::setup::one;
use crate::object::Problem;
use serde::Serialize;
use stage::Stage;

/// One step as it was observed.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// Its name.
    pub name: &'static str,
    /// The commit it is about.
    pub revision: String,
    /// What should happen.
    pub expected: &'static str,
    /// What was seen in the cluster and in the notes.
    pub observed: String,
    /// True if that is what should happen.
    pub ok: bool,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// The summary.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Steps in order.
    pub steps: Vec<Step>,
    /// True if every step was observed.
    pub ok: bool,
}

/// Runs it.
///
/// # Errors
/// When the cluster, the repository or the daemon cannot be started.
pub async fn run(args: &Demo) -> Result<Exit, Vec<Problem>> {
    let text = args.output == Output::Text;
    let stage = Stage::set(args.port, text).await.map_err(one)?;
    let steps = tokio::select! {
        steps = tour::tour(&stage) => steps,
        () = crate::cli::signal() => {
            stage.strike().await;
            return Ok(Exit::Error);
        }
    };
    let summary = Summary { ok: steps.iter().all(|step| step.ok), steps };
    let exit = if summary.ok { Exit::Done } else { Exit::Error };
    if text {
        print_text(&tour::summary_text(&summary));
        print_text(&stage.apps().await);
    } else {
        print_json(&summary);
    }
    if !args.once {
        print_text(&stage.invitation());
        crate::cli::signal().await;
    }
    stage.strike().await;
    Ok(exit)
}
