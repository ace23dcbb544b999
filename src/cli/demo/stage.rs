//! What the tour plays on: the cluster, the repository and the daemon.

use super::repository::SampleRepository;
use super::watcher::Watcher;
use crate::cli::cluster::write_kubeconfig;
use crate::cli::output::print_text;
use crate::cli::setup::in_tree;
use crate::cluster::{ClusterOptions, EmbeddedCluster};
use crate::config::{Config, Flags};
use crate::daemon::run::Daemon;
use crate::live::client::{Client, Target};
use crate::object::Problem;
use crate::render::Tools;
use crate::server::{Metrics, Readiness};
use crate::source::{GitMirror, RepoUrl};
use crate::workspace::{Origin, connect};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tokio_util::sync::CancellationToken;

/// Simulated nodes.
const NODES: u32 = 3;

/// Everything that runs during the demo.
pub struct Stage {
    /// The repository.
    pub repository: Mutex<SampleRepository>,
    /// The tour's own eyes.
    pub watcher: Watcher,
    /// The tour's own hands: a person with kubectl.
    pub client: Client,
    /// True where a person reads along.
    pub text: bool,
    cluster: EmbeddedCluster,
    directory: PathBuf,
    kubeconfig: PathBuf,
    shutdown: CancellationToken,
    daemon: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Stage {
    /// Starts the cluster and prepares the repository; the daemon starts with [`Stage::curtain`].
    ///
    /// # Errors
    /// When the port is taken, or the temporary directory cannot be written.
    pub async fn set(port: u16, text: bool) -> Result<Self, Problem> {
        let options = ClusterOptions { nodes: NODES, port, ..ClusterOptions::default() };
        let cluster = EmbeddedCluster::start(options).await?;
        let directory = std::env::temp_dir().join(format!("driftless-demo-{}", std::process::id()));
        std::fs::create_dir_all(&directory)
            .map_err(|e| Problem::new("Directory", format!("{} cannot be created: {e}", directory.display())))?;
        let kubeconfig = write_kubeconfig(&cluster, Some(&directory.join("kubeconfig")))?;
        let repository = SampleRepository::create(&directory.join("shop.git"))?;
        let target = Target::Url { url: cluster.url(), token: cluster.token().to_owned() };
        let client = Client::connect("demo", &target).await?;
        let mirror = GitMirror::open(&RepoUrl::local(repository.path())?, &directory)?;
        if text {
            print_text(&format!(
                "driftless demo: a Kubernetes API in memory with {NODES} simulated nodes, a Git repository, and the daemon.\n  cluster     {}\n  repository  {}\n\n",
                cluster.url(),
                repository.path().display()
            ));
        }
        Ok(Self {
            watcher: Watcher::start(client.clone(), mirror),
            repository: Mutex::new(repository),
            client,
            text,
            cluster,
            directory,
            kubeconfig,
            shutdown: CancellationToken::new(),
            daemon: Mutex::new(None),
        })
    }

    /// Starts the daemon on the repository, as `driftless run --repo` would. The first commit has to be there.
    ///
    /// # Errors
    /// When the repository cannot be read, or the cluster not reached.
    pub async fn curtain(&self) -> Result<(), Problem> {
        let repo = match self.repository.lock() {
            Ok(repository) => repository.path().display().to_string(),
            Err(_) => return Err(Problem::new("InternalError", "the sample repository is lost")),
        };
        let flags = Config::from_flags(&Flags { repo, ..Flags::default() })?;
        let mut origins = Vec::new();
        for repository in &flags.repositories {
            origins.push(Origin::open(repository, &self.directory, &self.directory)?);
        }
        let target = Target::Url { url: self.cluster.url(), token: self.cluster.token().to_owned() };
        let mut engines = BTreeMap::new();
        for cluster in &flags.clusters {
            engines.insert(cluster.name.clone(), connect(&flags, &cluster.name, &target, "daemon").await?);
        }
        let config = flags.clone();
        let daemon = Daemon {
            config: flags.clone(),
            read_config: Arc::new(move |tip| {
                in_tree(&flags, None, tip).map(|parsed| {
                    parsed.map(|mut read| {
                        read.clusters.clone_from(&config.clusters);
                        read
                    })
                })
            }),
            origins,
            engines,
            tools: Tools::find(std::env::var_os("PATH").as_deref()),
            outbox: self.directory.join("outbox"),
        };
        let (metrics, readiness) = (Arc::new(Metrics::new()), Readiness::waiting_for("daemon"));
        let task = tokio::spawn(daemon.run(metrics, readiness, self.shutdown.clone()));
        if let Ok(mut running) = self.daemon.lock() {
            *running = Some(task);
        }
        Ok(())
    }

    /// The apps as a table, by the cluster's own words.
    pub async fn apps(&self) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_header(["APP", "KIND", "READY", "IMAGE"]);
        for name in ["api", "web"] {
            if let Some(live) = self.watcher.deployment(name).await {
                let ready = super::watcher::number(&live, "/status/readyReplicas");
                let wanted = super::watcher::number(&live, "/spec/replicas");
                table.add_row([name.to_owned(), "Deployment".into(), format!("{ready}/{wanted}"), image(&live)]);
            }
        }
        format!("\n{table}\n")
    }

    /// How to go on by oneself.
    pub fn invitation(&self) -> String {
        let directory = self.directory.display();
        format!(
            "\nThe cluster and the daemon stay up. Try them:\n\n  export KUBECONFIG={}\n  kubectl -n shop get pods --watch\n  kubectl -n shop scale deployment web --replicas=1      # is repaired, and named\n  git clone {directory}/shop.git && cd shop              # edit, commit, push\n  driftless log --repo {directory}/shop.git --wait       # and read what became of it\n\nCtrl-C ends everything.\n",
            self.kubeconfig.display()
        )
    }

    /// Ends everything and leaves nothing behind.
    pub async fn strike(self) {
        self.shutdown.cancel();
        let task = self.daemon.lock().ok().and_then(|mut running| running.take());
        if let Some(task) = task {
            let _ = tokio::time::timeout(std::time::Duration::from_secs(10), task).await;
        }
        self.cluster.shutdown().await;
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// The first container's image.
pub fn image(live: &crate::object::Live) -> String {
    use crate::object::Manifest as _;
    let image = live.at("/spec/template/spec/containers/0/image").and_then(serde_json::Value::as_str);
    image.unwrap_or_default().to_owned()
}
