//! Deletions wait while an app of the scope is held: they are told of, and carried out when it is not held any more.

use crate::support::daemon::{Cluster, Daemon, on_both_clusters};
use crate::support::scratch::Scratch;

on_both_clusters!(what_waits_is_told_and_done_afterwards, what_is_lifted_meanwhile_is_known_in_the_end);

fn config_map(scratch: &Scratch, app: &str, name: &str) {
    scratch.write(
        &format!("{app}/{name}.yaml"),
        &format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{a: b}}\n"),
    );
}

fn what_waits_is_told_and_done_afterwards(cluster: &Cluster) {
    let scratch = Scratch::quickstart("waiting", "timeout = \"40s\"");
    for app in ["web", "api", "motd"] {
        scratch.remove(app);
    }
    for name in ["one", "two", "three", "four"] {
        config_map(&scratch, "nn", name);
    }
    config_map(&scratch, "extra", "kept");
    let there = |name: &str| cluster.config_map(&scratch.namespace, name).is_some();
    let first = scratch.push("one");
    let daemon = Daemon::start(&scratch, cluster);
    daemon.succeeds(&scratch, &first);

    // Another app is held, and then suspended.
    for (halt, why, name) in [("hold", "app `extra` is held", "four"), ("suspend", "app `extra` is suspended", "three")]
    {
        daemon.tell(&scratch, cluster, &[halt, "extra"]);
        scratch.remove(&format!("nn/{name}.yaml"));
        let commit = scratch.push(&format!("{name} is gone"));
        let (state, words) = daemon.ended(&scratch, &commit);
        assert_eq!(state, "failure", "{words}");
        assert!(words.contains(&format!("nn: 1 deletion waits: {why}")) || halt == "suspend", "{words}");
        let status = daemon.status(&scratch, cluster, "nn");
        assert_eq!(status["sync"].as_str(), Some("OutOfSync"), "{status:#}");
        let words = status["message"].as_str().unwrap_or_default();
        assert!(words.contains(&format!("1 deletion waits: {why}")), "{status:#}");
        assert!(there(name));
        let asked = daemon.command(&scratch, cluster, &["sync", "nn"]);
        let told = String::from_utf8_lossy(&asked.stdout).into_owned();
        assert_eq!(asked.status.code(), Some(4), "{told}");
        assert!(told.contains(&format!("1 deletion waits: {why}")), "{told}");

        daemon.tell(&scratch, cluster, &["resume", "extra"]);
        daemon.eventually(&format!("{name} to be gone"), || (!there(name)).then_some(()));
        daemon.eventually("the commit to succeed", || {
            scratch.ended(&commit).filter(|(state, _)| state == "success").map(|_| ())
        });
    }
    assert!(there("one") && there("two") && there("kept"));
}

/// The other app is through before the one whose deletions wait for it knows that they do.
fn what_is_lifted_meanwhile_is_known_in_the_end(cluster: &Cluster) {
    let scratch = Scratch::quickstart("meantime", "timeout = \"40s\"");
    for app in ["web", "api", "motd"] {
        scratch.remove(app);
    }
    let slow = |image: &str| {
        let text = format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: slow}}\nspec:\n  selector: {{matchLabels: {{app: slow}}}}\n  \
             template:\n    metadata:\n      labels: {{app: slow}}\n      annotations: {{sim.driftless.dev/ready-after: 3s}}\n    \
             spec: {{containers: [{{name: main, image: \"registry.example/slow:{image}\"}}]}}\n"
        );
        scratch.write("nn/slow.yaml", &text);
    };
    slow("1");
    ["one", "two"].iter().for_each(|name| config_map(&scratch, "nn", name));
    config_map(&scratch, "extra", "kept");
    let first = scratch.push("one");
    let daemon = Daemon::start(&scratch, cluster);
    daemon.succeeds(&scratch, &first);
    daemon.tell(&scratch, cluster, &["suspend", "extra"]);
    slow("2");
    scratch.remove("nn/two.yaml");
    let second = scratch.push("slow, and without two");
    daemon.eventually("the rollout", || {
        let found = cluster.deployment(&scratch.namespace, "slow")?.to_string();
        found.contains("slow:2").then_some(())
    });
    daemon.tell(&scratch, cluster, &["resume", "extra"]);
    daemon.eventually("two is gone", || cluster.config_map(&scratch.namespace, "two").is_none().then_some(()));
    daemon.eventually("the commit to succeed", || {
        scratch.ended(&second).filter(|(state, _)| state == "success").map(|_| ())
    });
}
