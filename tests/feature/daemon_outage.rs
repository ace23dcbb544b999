//! A cluster that goes away and comes back.

use crate::support::control_plane::{self, ControlPlane};
use crate::support::daemon::{Cluster, Daemon, nodes_for};
use crate::support::scratch::Scratch;

/// The API server is killed while a commit is synced and comes back; then again while somebody changes what runs.
#[test]
fn the_api_server_restarts() {
    let Some(plane) = ControlPlane::start() else { return control_plane::skip() };
    let _nodes = nodes_for(&plane);
    let cluster = Cluster::of(&plane);
    let scratch = Scratch::quickstart("outage", "timeout = \"60s\"");
    let namespace = scratch.namespace.clone();
    let replicas = || cluster.deployment(&namespace, "web")?.pointer("/spec/replicas")?.as_u64();
    let daemon = Daemon::start(&scratch, &cluster);
    let commit = scratch.git(&["rev-parse", "HEAD"]).trim().to_owned();
    daemon.succeeds(&scratch, &commit);

    scratch.replace("web/app.yaml", "replicas: 1", "replicas: 3");
    let commit = scratch.push("three");
    daemon.eventually("the commit is seen", || (!scratch.states(&commit, "sync").is_empty()).then_some(()));
    plane.kill_api_server();
    scratch.replace("motd/motd.yaml", "Welcome", "Welcome back");
    let later = scratch.push("motd: back");
    // Unless the lease has run out before: then nothing is said until the cluster tells again who leads.
    daemon.eventually("it is seen without a cluster, or nobody leads", || {
        (!scratch.states(&later, "sync").is_empty() || daemon.has_logged("standing by")).then_some(())
    });
    plane.start_api_server();
    daemon.eventually("the outage is over", || {
        let last = scratch.ended(&later).filter(|(state, _)| state == "success");
        (last.is_some() && replicas() == Some(3)).then_some(())
    });
    assert!(cluster.config_map(&namespace, "motd").unwrap_or_default().to_string().contains("Welcome back"));

    // What happens just before the end is missed by a watch, and noticed by the list that follows it.
    plane.restart_api_server();
    cluster.kubectl(&["-n", &namespace, "scale", "deployment/web", "--replicas=5"]);
    daemon.eventually("what was changed meanwhile is repaired", || {
        let repaired = scratch.words(&later, "drift").last().is_some_and(|said| said.starts_with("success"));
        (repaired && replicas() == Some(3)).then_some(())
    });
}
