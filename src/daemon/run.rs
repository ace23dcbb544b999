//! Starts everything, and ends it cleanly.

use super::dispatch::{Registry, dispatch};
use super::herald::Herald;
use super::hints::{self, Listener, full_name};
use super::scope::{ReadConfig, ScopeTask};
use crate::config::{Config, Webhook};
use crate::engine::Engine;
use crate::object::{Gk, Problem};
use crate::render::Tools;
use crate::report::Denials;
use crate::server::{Metrics, Readiness, Server};
use crate::workspace::{Origin, read_secret};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A cluster that does not answer at the start is asked again after this.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// What a daemon is started with.
pub struct Daemon {
    /// The configuration.
    pub config: Config,
    /// How it changes with a repository's tree.
    pub read_config: ReadConfig,
    /// The repositories.
    pub origins: Vec<Origin>,
    /// The clusters, connected.
    pub engines: BTreeMap<String, Engine>,
    /// Programs that rendering may run.
    pub tools: Tools,
    /// Where reports wait.
    pub outbox: PathBuf,
}

impl Daemon {
    /// Runs until `shutdown`; returns once every app is at a safe point and reports were sent.
    pub async fn run(self, metrics: Arc<Metrics>, readiness: Readiness, shutdown: CancellationToken) {
        let mut clusters = BTreeMap::new();
        let mut helpers = JoinSet::new();
        for (name, engine) in self.engines {
            helpers.spawn(watch_parents(engine.clone()));
            let (members, counted) = (engine.eyes.members.clone(), metrics.clone());
            metrics.measure(&name, move || members.size());
            engine.client.tell(Box::new(move |verb, code| counted.api_request(verb, code)));
            let registry = Registry::default();
            helpers.spawn(dispatch(engine.clone(), registry.clone(), shutdown.clone()));
            clusters.insert(name, (engine, registry));
        }
        let mut scopes = JoinSet::new();
        let mut listeners = Vec::new();
        for origin in self.origins {
            let (to, hints) = unbounded_channel();
            listeners.push(Listener { repository: full_name(&origin.mirror.url().to_string()), to });
            scopes.spawn(
                ScopeTask {
                    origin,
                    config: self.config.clone(),
                    read_config: self.read_config.clone(),
                    clusters: clusters.clone(),
                    tools: self.tools.clone(),
                    metrics: metrics.clone(),
                    readiness: readiness.clone(),
                    herald: Herald::silent(&self.config.instance.name).into(),
                    outbox: self.outbox.clone(),
                    denials: Denials::default(),
                    hints,
                    shutdown: shutdown.clone(),
                }
                .run(),
            );
        }
        let desk = match &self.config.webhook {
            Some(webhook) => open_desk(webhook, listeners).await,
            None => None,
        };
        readiness.ready("daemon");
        while scopes.join_next().await.is_some() {}
        helpers.abort_all();
        if let Some(desk) = desk {
            desk.shutdown().await;
        }
    }
}

/// Where Git hosts' notifications arrive. One that cannot be opened delays nothing but the notice: the interval still counts.
async fn open_desk(webhook: &Webhook, listeners: Vec<Listener>) -> Option<Server> {
    let secret = webhook.secret.clone();
    let read = Arc::new(move || {
        read_secret(&secret).inspect_err(|problem| tracing::error!(%problem, "no notification is taken")).ok()
    });
    match hints::listen(webhook.listen, read, listeners).await {
        Ok(server) => {
            tracing::info!(address = %server.address(), "notifications are taken at /webhook");
            Some(server)
        }
        Err(error) => {
            tracing::error!(%error, "no notification is taken; repositories are looked at by interval");
            None
        }
    }
}

/// Wishes that the command line writes into inventories are heard at once; from the moment that the cluster answers.
async fn watch_parents(engine: Engine) {
    loop {
        if let Ok(kinds) = engine.kinds().await
            && let Some(kind) = kinds.get(&Gk::new("", "ConfigMap"))
        {
            engine.memory.watch(kind, "v1");
            return;
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// Serves health, readiness and metrics.
///
/// # Errors
/// When the address is taken.
pub async fn serve(address: SocketAddr, metrics: Arc<Metrics>, readiness: Readiness) -> Result<Server, Problem> {
    Server::bind(address, metrics, readiness).await.map_err(|error| {
        Problem::new("AddressInUse", format!("{address} cannot be listened on: {error}"))
            .hint("choose another with --listen ADDR, or DRIFTLESS_LISTEN")
    })
}
