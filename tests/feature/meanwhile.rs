//! What a person, a crash or a hand does while something else is under way.

use crate::support::daemon::{Cluster, Daemon, on_both_clusters};
use crate::support::scratch::Scratch;

on_both_clusters!(
    a_rollback_during_a_sync,
    a_rollback_beside_a_hold,
    killed_in_the_wait_of_a_bad_revision,
    a_part_that_cannot_be_repaired
);

/// One app `one` with a Deployment whose pods take a second.
fn one(name: &str) -> Scratch {
    let scratch = Scratch::quickstart(name, "timeout = \"12s\"\non_failure = \"rollback\"");
    for old in ["web", "motd", "api"] {
        scratch.remove(old);
    }
    image(&scratch, "one:1");
    scratch
}

fn image(scratch: &Scratch, image: &str) {
    scratch.write(
        "one/one.yaml",
        &format!("apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: one}}\nspec:\n  replicas: 2\n  selector: {{matchLabels: {{app: one}}}}\n  template:\n    metadata: {{labels: {{app: one}}, annotations: {{sim.driftless.dev/ready-after: 1s}}}}\n    spec: {{containers: [{{name: main, image: \"{image}\"}}]}}\n"),
    );
    scratch.write(
        "one/map.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: {name: one}\nspec: {selector: {app: one}, ports: [{port: 80}]}\n",
    );
}

fn running(cluster: &Cluster, scratch: &Scratch) -> String {
    let found = cluster.deployment(&scratch.namespace, "one").unwrap_or_default();
    found["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or_default().to_owned()
}

/// A person goes back while a sync waits for health: the hold stays, and the commit ends as held.
fn a_rollback_during_a_sync(cluster: &Cluster) {
    let scratch = one("during");
    let first = scratch.push("one");
    let daemon = Daemon::start(&scratch, cluster);
    daemon.succeeds(&scratch, &first);
    for round in 2..5 {
        image(&scratch, &format!("one:{round}"));
        let commit = scratch.push("next");
        daemon.eventually("it is applied", || (running(cluster, &scratch) == format!("one:{round}")).then_some(()));
        daemon.tell(&scratch, cluster, &["rollback", "one", "--to", &first]);
        daemon.eventually("the commit ends as held", || {
            scratch.ended(&commit).filter(|said| said.0 == "failure" && said.1.contains("held"))
        });
        assert_eq!(daemon.status(&scratch, cluster, "one")["sync"], "Held");
        assert_eq!(running(cluster, &scratch), "one:1");
        daemon.tell(&scratch, cluster, &["resume", "one"]);
        daemon.eventually("it comes again", || (running(cluster, &scratch) == format!("one:{round}")).then_some(()));
        daemon.eventually("and is well", || scratch.ended(&commit).filter(|said| said.0 == "success"));
    }
}

/// A person chooses another revision than the one that runs beside a hold: it stays; going back twice goes further back.
fn a_rollback_beside_a_hold(cluster: &Cluster) {
    let scratch = one("beside");
    let daemon_of = |scratch: &Scratch| Daemon::start(scratch, cluster);
    let first = scratch.push("one");
    let daemon = daemon_of(&scratch);
    daemon.succeeds(&scratch, &first);
    for round in 2..4 {
        image(&scratch, &format!("one:{round}"));
        let commit = scratch.push("next");
        daemon.succeeds(&scratch, &commit);
    }
    daemon.tell(&scratch, cluster, &["rollback", "one"]);
    assert_eq!(running(cluster, &scratch), "one:2");
    daemon.tell(&scratch, cluster, &["rollback", "one"]);
    assert_eq!(running(cluster, &scratch), "one:1", "further back, never to what is held");
    let held = daemon.command(&scratch, cluster, &["rollback", "one", "--to", "HEAD"]);
    assert_eq!(held.status.code(), Some(4), "{}", String::from_utf8_lossy(&held.stderr));
    // A change of the live object asks for a repair: towards what was chosen.
    cluster.kubectl(&["-n", &scratch.namespace, "scale", "deployment/one", "--replicas=1"]);
    daemon.eventually("it is repaired", || {
        let found = cluster.deployment(&scratch.namespace, "one").unwrap_or_default();
        (found["spec"]["replicas"] == 2).then_some(())
    });
    assert_eq!(running(cluster, &scratch), "one:1");
    assert_eq!(daemon.status(&scratch, cluster, "one")["sync"], "Held");
}

/// A daemon that is killed while it waits for a bad revision's health: the next one rolls it back.
fn killed_in_the_wait_of_a_bad_revision(cluster: &Cluster) {
    let scratch = one("killed");
    let first = scratch.push("one");
    let daemon = Daemon::start(&scratch, cluster);
    daemon.succeeds(&scratch, &first);
    image(&scratch, "one:bad");
    let bad = scratch.push("bad");
    daemon.eventually("it is applied", || (running(cluster, &scratch) == "one:bad").then_some(()));
    daemon.kill();
    let daemon = Daemon::start(&scratch, cluster);
    let (state, words) = daemon.eventually("its end", || scratch.ended(&bad));
    assert!(state == "failure" && words.contains("rolled back"), "{state}: {words}");
    assert_eq!(running(cluster, &scratch), "one:1");
}

/// What cannot be repaired is told on the commit, and keeps nothing else from being repaired.
fn a_part_that_cannot_be_repaired(cluster: &Cluster) {
    let scratch = one("part");
    let first = scratch.push("one");
    let daemon = Daemon::start(&scratch, cluster);
    daemon.succeeds(&scratch, &first);
    let patch = |object: &str, patch: &str| {
        cluster.kubectl(&["-n", &scratch.namespace, "patch", object, "--type=merge", "-p", patch])
    };
    patch("service/one", "{\"spec\":{\"ports\":[{\"port\":81}]}}");
    daemon.eventually("it is told", || {
        scratch.words(&first, "drift").iter().any(|said| said.contains("cannot be repaired")).then_some(())
    });
    patch("deployment/one", "{\"spec\":{\"replicas\":1}}");
    daemon.eventually("the rest is repaired", || {
        let found = cluster.deployment(&scratch.namespace, "one").unwrap_or_default();
        (found["spec"]["replicas"] == 2).then_some(())
    });
    patch("service/one", "{\"spec\":{\"ports\":[{\"port\":80}]}}");
    daemon.eventually("it is over", || {
        scratch.words(&first, "drift").last().filter(|said| said.starts_with("success")).map(drop)
    });
}
