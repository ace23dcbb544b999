//! A development tool: the real control plane with simulated nodes, for a person's `kubectl`: what the tests run against, to try things by
//! hand. It runs until Ctrl-C, and leaves nothing behind.
//!
//! ```sh
//! tests/envtest/build                              # once
//! cargo run --example control-plane -- KUBECONFIG  # writes an administrator's kubeconfig there
//! ```

#![expect(clippy::unwrap_used, reason = "a tool for developers: what fails is shown as it is")]

#[path = "../../tests/support/control_plane.rs"]
mod control_plane;

use control_plane::ControlPlane;
use driftless::cluster::kubelet::{Nodes, SimulatedNodes};

#[tokio::main]
async fn main() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let target = std::env::args().nth(1).unwrap_or_else(|| {
        eprintln!("usage: cargo run --example control-plane -- KUBECONFIG");
        std::process::exit(1);
    });
    let Some(plane) = ControlPlane::start() else {
        eprintln!("no control plane: run tests/envtest/build, or set KUBEBUILDER_ASSETS");
        std::process::exit(1);
    };
    let nodes = Nodes { count: 3, cpu: "8".into(), memory: "32Gi".into() };
    let _nodes = SimulatedNodes::start_with_kubeconfig(&plane.kubeconfig_path(), nodes).await.unwrap();
    std::fs::copy(plane.kubeconfig_path(), &target).unwrap();
    println!("{} with 3 simulated nodes; kubeconfig: {target}; {}", plane.url(), plane.binary("kubectl").display());
    tokio::signal::ctrl_c().await.unwrap();
}
