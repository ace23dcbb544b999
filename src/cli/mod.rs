//! Arguments, one file per command, and errors as message, hint and exit code.

pub mod approve;
pub mod args;
pub mod base;
pub mod check;
pub mod cluster;
pub mod demo;
pub mod exit;
mod fields;
pub mod log;
pub mod logging;
pub mod notes;
pub mod output;
pub mod panics;
pub mod plan;
pub mod render;
pub mod run;
pub mod setup;
pub mod status;
pub mod sync;
mod uncommitted;
pub mod wishes;

use args::{Cli, Command};
use clap::Parser as _;
use exit::Exit;
use std::process::ExitCode;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { Exit::Error } else { Exit::Done };
            // A closed pipe is nothing to complain about.
            let _ = error.print();
            return code.into();
        }
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    panics::install();
    logging::init(cli.verbose, matches!(cli.command, Command::Run(_)));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("driftless cannot start: {error}");
            return Exit::Error.into();
        }
    };
    let exit = runtime.block_on(run(cli.command));
    // Blocking Git calls that nobody waits for any more do not hold up the end.
    runtime.shutdown_timeout(std::time::Duration::from_millis(500));
    exit.into()
}

async fn run(command: Command) -> Exit {
    let result = match command {
        Command::Plan(args) => plan::run(&args).await,
        Command::Sync(args) => sync::run(&args).await,
        Command::Status(args) => status::run(&args).await,
        Command::Log(args) => log::run(&args).await,
        Command::Render(args) => render::render(&args).await,
        Command::Check(args) => check::check(&args).await,
        Command::Approve(args) => approve::run(&args).await,
        Command::Suspend(args) => wishes::suspend(&args, true).await,
        Command::Resume(args) => wishes::suspend(&args, false).await,
        Command::Hold(args) => wishes::hold(&args).await,
        Command::Rollback(args) => wishes::rollback(&args).await,
        Command::Cluster(args) => cluster::run(&args).await,
        Command::Run(args) => run::run(&args).await,
        Command::Demo(args) => demo::run(&args).await,
    };
    match result {
        Ok(exit) => exit,
        Err(problems) => {
            output::print_problems(&problems);
            Exit::Error
        }
    }
}

/// Waits for SIGINT or SIGTERM.
pub async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
