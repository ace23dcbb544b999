//! Deletions wait while an app of the scope is held: they are told of, and carried out when it is not held any more.

use crate::support::daemon::{Cluster, Daemon, on_both_clusters};
use crate::support::scratch::Scratch;

on_both_clusters!(what_waits_is_told_and_done_afterwards);

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
        assert!(words.contains(why) || words.contains("extra: "), "{words}");
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
