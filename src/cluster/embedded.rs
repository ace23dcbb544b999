//! The embedded cluster as a whole: the API server on a loopback port, and the simulated components behind it. I/O.
//!
//! In: [`ClusterOptions`]. Out: a running cluster with its address, token and kubeconfig. It lives in memory and ends
//! with [`EmbeddedCluster::shutdown`] or with the process.

use super::control::{Control, Options, Store};
use super::http::{self, Shared};
use super::kubelet::Nodes;
use super::server::ApiServer;
use super::tls::{self, Identity};
use super::view::{Refusal, View, Write};
use crate::object::{Gk, Problem};
use base64::Engine as _;
use jiff::Timestamp;
use serde_json::Value;
use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What the cluster should be like.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// Number of simulated nodes.
    pub nodes: u32,
    /// Cores of each node, as a quantity.
    pub cpu: String,
    /// Memory of each node, as a quantity.
    pub memory: String,
    /// Port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// Bearer token; a random one if absent.
    pub token: Option<String>,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self { nodes: 3, cpu: "4".into(), memory: "8Gi".into(), port: 0, token: None }
    }
}

/// Why the cluster did not start.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The port cannot be had.
    #[error("cannot listen on 127.0.0.1:{port}: {source}")]
    Port {
        /// The port.
        port: u16,
        /// Why.
        source: std::io::Error,
    },
    /// No certificate could be made.
    #[error("cannot make a certificate for 127.0.0.1: {0}")]
    Certificate(String),
}

impl From<ClusterError> for Problem {
    fn from(error: ClusterError) -> Self {
        match error {
            ClusterError::Port { .. } => Self::new("PortUnavailable", error.to_string())
                .hint("choose another port with --port, or --port 0 for any free one"),
            ClusterError::Certificate(_) => Self::new("NoCertificate", error.to_string()),
        }
    }
}

/// A running cluster.
pub struct EmbeddedCluster {
    address: SocketAddr,
    token: String,
    ca_certificate: String,
    shared: Shared,
    tasks: Vec<JoinHandle<()>>,
}

impl EmbeddedCluster {
    /// Starts a cluster; it answers when this returns, and its nodes are ready soon after.
    ///
    /// # Errors
    /// The port is taken.
    pub async fn start(options: ClusterOptions) -> Result<Self, ClusterError> {
        let port = options.port;
        let failed = |source| ClusterError::Port { port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let token = options.token.clone().unwrap_or_else(random_token);
        let server = ApiServer::new(rand::random(), Timestamp::now());
        let shared = Shared::new(server, &token);
        let identity = Identity::new().map_err(ClusterError::Certificate)?;
        let ca_certificate = identity.ca_certificate.clone();
        let nodes = Nodes { count: options.nodes, cpu: options.cpu, memory: options.memory };
        let control = Control::new(Options { nodes, ca_certificate: ca_certificate.clone() });
        let shutdown = shared.shutdown.clone();
        let router = http::router(shared.clone());
        let listener = tls::Listener::new(listener, identity.acceptor);
        let serving = tokio::spawn(async move {
            let served = axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await;
            if let Err(error) = served {
                tracing::error!(%error, "the embedded API server stopped");
            }
        });
        let running = tokio::spawn(run(shared.clone(), control));
        Ok(Self { address, token, ca_certificate, shared, tasks: vec![serving, running] })
    }

    /// `http://127.0.0.1:PORT`. The same port speaks TLS, which clients that send tokens over TLS only (kubectl) need;
    /// [`EmbeddedCluster::kubeconfig`] says `https`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The certificate (PEM) of the authority that signed the server's.
    pub fn ca_certificate(&self) -> &str {
        &self.ca_certificate
    }

    /// The bearer token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// A kubeconfig (YAML) with the cluster as its only context, `driftless`.
    pub fn kubeconfig(&self) -> String {
        let (address, token) = (self.address, &self.token);
        let ca = base64::engine::general_purpose::STANDARD.encode(&self.ca_certificate);
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: driftless\nclusters:\n- name: driftless\n  cluster:\n    server: https://{address}\n    certificate-authority-data: {ca}\ncontexts:\n- name: driftless\n  context:\n    cluster: driftless\n    user: driftless\n    namespace: default\nusers:\n- name: driftless\n  user:\n    token: {token}\n"
        )
    }

    /// The API server itself, for tests that look behind the API or change what it does.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Ends watches, closes connections, stops the components.
    pub async fn shutdown(mut self) {
        self.shared.shutdown.cancel();
        for mut task in self.tasks.drain(..) {
            if tokio::time::timeout(Duration::from_secs(2), &mut task).await.is_err() {
                task.abort();
            }
        }
    }
}

impl Drop for EmbeddedCluster {
    fn drop(&mut self) {
        self.shared.shutdown.cancel();
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn random_token() -> String {
    format!("{:016x}{:016x}", rand::random::<u64>(), rand::random::<u64>())
}

/// The control loop: settles, then sleeps until something changes or a component's time comes.
async fn run(shared: Shared, mut control: Control) {
    let mut changes = shared.changes();
    shared.with(|server| {
        for (actor, write) in control.bootstrap() {
            // The API server begins with some of these itself.
            let _ = server.carry_out(&write, actor, Timestamp::now());
        }
    });
    loop {
        changes.borrow_and_update();
        let now = Timestamp::now();
        let (wake, settled) = shared.with(|server| {
            let wake = control.settle(&Held(RefCell::new(server)), now);
            (wake, server.store().version())
        });
        // Its own writes are no news to it; anything after them is.
        if *changes.borrow_and_update() != settled {
            continue;
        }
        let pause = wake.map_or(Duration::from_secs(60), |at| {
            Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO)
        });
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(pause.max(Duration::from_millis(1))) => {}
            () = shared.shutdown.cancelled() => return,
        }
    }
}

/// The server while the components work on it.
pub struct Held<'a>(pub RefCell<&'a mut ApiServer>);

impl View for Held<'_> {
    fn get(&self, gk: &Gk, namespace: Option<&str>, name: &str) -> Option<Arc<Value>> {
        self.0.borrow().get(gk, namespace, name)
    }

    fn list(&self, gk: &Gk, namespace: Option<&str>) -> Vec<Arc<Value>> {
        self.0.borrow().list(gk, namespace)
    }

    fn kinds(&self) -> Vec<Gk> {
        View::kinds(&**self.0.borrow())
    }

    fn version(&self, gk: &Gk) -> Option<u64> {
        self.0.borrow().version(gk)
    }
}

impl Store for Held<'_> {
    fn write(&self, actor: &'static str, write: &Write, now: Timestamp) -> Result<String, Refusal> {
        self.0.borrow_mut().carry_out(write, actor, now)
    }
}
