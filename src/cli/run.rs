//! `driftless run`: the daemon.

use super::args::Run;
use super::exit::Exit;
use super::setup::{Setup, in_tree, one, parse};
use crate::daemon::run::{Daemon, serve};
use crate::daemon::scope::ReadConfig;
use crate::hosts::unusable_keys;
use crate::object::Problem;
use crate::server::{Metrics, Readiness};
use crate::workspace::{self, CONFIG_FILE};
use notify::{RecursiveMode, Watcher};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;

/// Runs it until SIGTERM or SIGINT. A configuration file that changes is read again: a good one takes over, a bad one is
/// reported and the last good one stays.
///
/// # Errors
/// What keeps it from starting.
pub async fn run(args: &Run) -> Result<Exit, Vec<Problem>> {
    let metrics = Arc::new(Metrics::new());
    let readiness = Readiness::waiting_for("daemon");
    let mut reload = args.common.config.as_deref().and_then(Reload::of);
    let mut setup = with_keys(Setup::strict(&args.common).await?)?;
    let server = serve(args.listen, metrics.clone(), readiness.clone()).await.map_err(one)?;
    tracing::info!(address = %server.address(), "serving /healthz, /readyz and /metrics");
    let shutdown = CancellationToken::new();
    on_signal(&shutdown);
    loop {
        let round = shutdown.child_token();
        let daemon = daemon(&mut setup, args).await.map_err(one)?;
        let running = tokio::spawn(daemon.run(metrics.clone(), readiness.clone(), round.clone()));
        let changed = next_config(reload.as_mut(), &round).await;
        round.cancel();
        let _ = running.await;
        match changed {
            true if !shutdown.is_cancelled() => match Setup::strict(&args.common).await.and_then(with_keys) {
                Ok(fresh) => setup = setup.replaced_by(fresh),
                Err(problems) => tracing::error!("the configuration is kept: {}", said(&problems)),
            },
            _ => break,
        }
    }
    server.shutdown().await;
    Ok(Exit::Done)
}

/// The setup, if the keys that its reports need can be used.
fn with_keys(setup: Setup) -> Result<Setup, Vec<Problem>> {
    let wrong = unusable_keys(&setup.config);
    if wrong.is_empty() { Ok(setup) } else { Err(wrong) }
}

async fn daemon(setup: &mut Setup, args: &Run) -> Result<Daemon, Problem> {
    let mut engines = BTreeMap::new();
    for cluster in setup.clusters() {
        engines.insert(cluster.clone(), setup.engine(&cluster, "daemon").await?);
    }
    let cache = args.cache_dir.clone().unwrap_or_else(workspace::default_cache_dir);
    let flags = setup.config.clone();
    // The file at the root of the tracked branch is read anew with each commit, unless a file was named.
    let from_tree = args.common.config.is_none() && args.common.repo.is_some();
    let path = args.common.path.clone();
    let seen = AtomicBool::new(setup.from_file);
    let read_config: ReadConfig = Arc::new(move |tip| {
        let read = if from_tree { in_tree(&flags, path.as_deref(), tip) } else { None };
        // Without it every app would be another one, elsewhere, under no policy: nobody means that by a deletion.
        if from_tree && read.is_none() && seen.load(Ordering::Relaxed) {
            let text = format!("{CONFIG_FILE} is gone from the branch; what runs stays as it is");
            let hint = "bring it back, or give the daemon a file with --config FILE";
            return Some(Err(one(Problem::new("SettingsGone", text).hint(hint))));
        }
        seen.fetch_or(read.is_some(), Ordering::Relaxed);
        read.map(|parsed| {
            parsed.map(|mut config| {
                // Where clusters are is said at the start: a commit does not move the daemon to another one.
                config.clusters.clone_from(&flags.clusters);
                config
            })
        })
    });
    Ok(Daemon {
        config: setup.config.clone(),
        read_config,
        origins: setup.origins.clone(),
        engines,
        tools: setup.tools.clone(),
        outbox: cache.join("outbox"),
    })
}

/// SIGTERM ends it at the next safe points; a second one at once.
fn on_signal(shutdown: &CancellationToken) {
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        crate::cli::signal().await;
        tracing::info!("stopping at the next safe point");
        shutdown.cancel();
        crate::cli::signal().await;
        std::process::exit(1);
    });
}

/// A configuration file that is watched.
struct Reload {
    file: PathBuf,
    /// What it held when it was last looked at, good or bad.
    known: String,
    changes: Receiver<()>,
    _watcher: notify::RecommendedWatcher,
}

impl Reload {
    fn of(file: &Path) -> Option<Self> {
        let (tell, changes) = tokio::sync::mpsc::channel(8);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading it is an event too.
            if event.is_ok_and(|event| !event.kind.is_access()) {
                let _ = tell.try_send(());
            }
        })
        .ok()?;
        // The directory is watched: a file that is replaced (as ConfigMap mounts are) has a new inode.
        let directory = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        watcher.watch(directory, RecursiveMode::NonRecursive).ok()?;
        let known = std::fs::read_to_string(file).unwrap_or_default();
        Some(Self { file: file.to_owned(), known, changes, _watcher: watcher })
    }
}

/// Waits until the file holds another good configuration. False at shutdown.
async fn next_config(reload: Option<&mut Reload>, shutdown: &CancellationToken) -> bool {
    let Some(reload) = reload else {
        shutdown.cancelled().await;
        return false;
    };
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return false,
            changed = reload.changes.recv() => if changed.is_none() {
                shutdown.cancelled().await;
                return false;
            },
        }
        // Editors write in several steps.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        while reload.changes.try_recv().is_ok() {}
        let Ok(text) = std::fs::read_to_string(&reload.file) else { continue };
        if text == reload.known {
            continue;
        }
        reload.known.clone_from(&text);
        match parse(&text, &reload.file.display().to_string()) {
            Ok(_) => {
                tracing::info!(file = %reload.file.display(), "the configuration changed");
                return true;
            }
            Err(problems) => tracing::error!("the last good configuration is kept: {}", said(&problems)),
        }
    }
}

fn said(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
