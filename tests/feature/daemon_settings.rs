//! Configuration that changes while the daemon runs, branches that vanish, and what people tell it.

use crate::support::daemon::{Cluster, Daemon, on_both_clusters};
use crate::support::scratch::Scratch;
use serde_json::Value;
use std::fs;

on_both_clusters!(
    bad_settings_in_the_repository,
    a_file_beside_it,
    a_branch_that_vanishes,
    no_repairs,
    wishes,
    a_guard_is_not_lifted_by_what_it_guards_against,
    a_file_that_is_gone_changes_nothing,
);

const QUIET: &str = "timeout = \"40s\"";

fn head(scratch: &Scratch) -> String {
    scratch.git(&["rev-parse", "HEAD"]).trim().to_owned()
}

fn replicas(cluster: &Cluster, scratch: &Scratch) -> Option<u64> {
    cluster.deployment(&scratch.namespace, "web")?.pointer("/spec/replicas").and_then(Value::as_u64)
}

fn bad_settings_in_the_repository(cluster: &Cluster) {
    let scratch = Scratch::quickstart("settings", QUIET);
    let daemon = Daemon::start(&scratch, cluster);
    daemon.succeeds(&scratch, &head(&scratch));

    let good = scratch.settings_text(QUIET);
    scratch.write("driftless.toml", &good.replace("timeout =", "tiemout ="));
    scratch.replace("web/app.yaml", "replicas: 1", "replicas: 2");
    let bad = scratch.push("a typo");
    let (state, text) = daemon.ended(&scratch, &bad);
    assert!(state == "error" && text.contains("driftless.toml:4") && text.contains("tiemout"), "{state}: {text}");
    assert_eq!(replicas(cluster, &scratch), Some(1), "what runs is left as it is");

    scratch.write("driftless.toml", &good);
    let fixed = scratch.push("without the typo");
    daemon.succeeds(&scratch, &fixed);
    assert_eq!(replicas(cluster, &scratch), Some(2));
    assert_eq!(scratch.states(&bad, "sync"), ["pending", "error"]);
    assert_eq!(scratch.states(&fixed, "sync"), ["pending", "success"]);
}

/// `--config FILE`: a good edit takes over without a restart, a bad one is reported and changes nothing.
fn a_file_beside_it(cluster: &Cluster) {
    let scratch = Scratch::quickstart("file", QUIET);
    let file = scratch.path("driftless.toml");
    let text = |defaults: &str| {
        let repository = format!("[[repository]]\nname = \"shop\"\nurl = \"{}\"\n\n", scratch.bare().display());
        repository + &scratch.settings_text(defaults)
    };
    fs::write(&file, text(QUIET)).expect("a file");
    let name = file.display().to_string();
    let daemon = Daemon::start_with(&scratch, cluster, &["--config", &name], "cache");
    let first = head(&scratch);
    daemon.succeeds(&scratch, &first);

    // Repairs are switched off, by the file alone.
    fs::write(&file, text("timeout = \"40s\"\nself_heal = false")).expect("a file");
    daemon.eventually("the change is seen", || daemon.has_logged("the configuration changed").then_some(()));
    daemon.eventually("it follows the repository again", || (daemon.get("/readyz")?.0 == 200).then_some(()));
    cluster.kubectl(&["-n", &scratch.namespace, "scale", "deployment/web", "--replicas=2"]);
    daemon.eventually("the drift is said", || {
        scratch.states(&first, "drift").contains(&"failure".to_owned()).then_some(())
    });

    fs::write(&file, text("timeout = \"soon\"")).expect("a file");
    daemon.eventually("the bad one is reported", || {
        daemon.has_logged("the last good configuration is kept").then_some(())
    });
    scratch.write("motd/motd.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: motd\ndata: {message: hi}\n");
    let next = scratch.push("motd: shorter");
    daemon.succeeds(&scratch, &next);

    fs::write(&file, text(QUIET)).expect("a file");
    daemon.eventually("repairs are on again", || (replicas(cluster, &scratch) == Some(1)).then_some(()));
    assert_eq!(scratch.states(&next, "sync"), ["pending", "success"]);
    let reloads = daemon.log().matches("the configuration changed").count();
    assert_eq!(reloads, 2, "two good edits\n{}", daemon.log());
}

fn a_branch_that_vanishes(cluster: &Cluster) {
    let scratch = Scratch::quickstart("branch", QUIET);
    let daemon = Daemon::start(&scratch, cluster);
    let first = head(&scratch);
    daemon.succeeds(&scratch, &first);
    let uid = || cluster.deployment(&scratch.namespace, "web").map(|web| web["metadata"]["uid"].clone());
    let before = uid();
    scratch.git(&["push", "--quiet", "origin", "HEAD:refs/heads/other"]);
    let deleted = std::process::Command::new("git")
        .arg("--git-dir")
        .arg(scratch.bare())
        .args(["update-ref", "-d", "refs/heads/main"])
        .status();
    assert!(deleted.is_ok_and(|status| status.success()));
    daemon.eventually("the error is logged", || {
        daemon.has_logged("the repository cannot be read; what runs is left as it is").then_some(())
    });
    daemon.eventually("it is not ready", || (daemon.get("/readyz")?.0 != 200).then_some(()));
    assert_eq!(uid(), before, "nothing is pruned");

    scratch.replace("web/app.yaml", "replicas: 1", "replicas: 2");
    let back = scratch.push("the branch is back");
    daemon.succeeds(&scratch, &back);
    assert_eq!((uid(), replicas(cluster, &scratch)), (before, Some(2)));
    daemon.eventually("it is ready again", || (daemon.get("/readyz")?.0 == 200).then_some(()));
}

/// `self_heal = false`: drift is said and left, until it is undone by hand.
fn no_repairs(cluster: &Cluster) {
    let scratch = Scratch::quickstart("noheal", "timeout = \"40s\"\nself_heal = false");
    let daemon = Daemon::start(&scratch, cluster);
    let first = head(&scratch);
    daemon.succeeds(&scratch, &first);
    let scale = |to: &str| cluster.kubectl(&["-n", &scratch.namespace, "scale", "deployment/web", "--replicas", to]);
    scale("2");
    daemon.eventually("the drift is said", || {
        let said = scratch.words(&first, "drift");
        said.iter().any(|said| said.starts_with("failure") && said.contains("kubectl")).then_some(())
    });
    let status = daemon.status(&scratch, cluster, "web");
    assert_eq!(status["drift"][0]["path"], ".spec.replicas", "{status}");
    assert_eq!(replicas(cluster, &scratch), Some(2), "and not repaired");
    scale("1");
    daemon.eventually("the drift is gone", || {
        scratch.words(&first, "drift").last().is_some_and(|said| said.starts_with("success")).then_some(())
    });
    assert_eq!(scratch.states(&first, "drift"), ["failure", "success"]);
}

/// What a person tells an app is obeyed at once.
fn wishes(cluster: &Cluster) {
    let scratch = Scratch::quickstart("wishes", QUIET);
    let daemon = Daemon::start(&scratch, cluster);
    let first = head(&scratch);
    daemon.succeeds(&scratch, &first);
    let tell = |args: &[&str]| daemon.tell(&scratch, cluster, args);
    let scaled = |to: u64| {
        daemon.eventually(&format!("{to} replicas"), || (replicas(cluster, &scratch) == Some(to)).then_some(()));
    };

    // Suspended: neither a commit nor a repair.
    tell(&["suspend", "web"]);
    scratch.replace("web/app.yaml", "replicas: 1", "replicas: 2");
    let second = scratch.push("two");
    let (state, text) = daemon.ended(&scratch, &second);
    assert!(state == "failure" && text.contains("suspend"), "{state}: {text}");
    assert_eq!(replicas(cluster, &scratch), Some(1));
    assert_eq!(daemon.status(&scratch, cluster, "web")["sync"], "Suspended");
    tell(&["resume", "web"]);
    scaled(2);
    daemon.eventually("the commit succeeds after all", || {
        scratch.ended(&second).filter(|(state, _)| state == "success").map(|_| ())
    });

    // Back by hand: the older content runs, and what drifts is repaired towards it.
    tell(&["rollback", "web"]);
    scaled(1);
    assert_eq!(daemon.status(&scratch, cluster, "web")["sync"], "Held");
    cluster.kubectl(&["-n", &scratch.namespace, "scale", "deployment/web", "--replicas=4"]);
    scaled(1);
    tell(&["resume", "web"]);
    scaled(2);

    // A revision that is held is not applied; the next one is.
    scratch.replace("web/app.yaml", "replicas: 2", "replicas: 3");
    let third = scratch.commit("three");
    scratch.git(&["push", "--quiet", "origin", "HEAD:refs/heads/next"]);
    tell(&["hold", "web", "--revision", &third]);
    scratch.git(&["push", "--quiet", "origin", "HEAD:main"]);
    let (state, text) = daemon.ended(&scratch, &third);
    assert!(state == "failure" && text.contains("held"), "{state}: {text}");
    assert_eq!(replicas(cluster, &scratch), Some(2));
    scratch.replace("web/app.yaml", "replicas: 3", "replicas: 4");
    let fourth = scratch.push("four");
    daemon.succeeds(&scratch, &fourth);
    scaled(4);
}

/// A commit that switches `require_plan` off is judged by it; the next one is not.
fn a_guard_is_not_lifted_by_what_it_guards_against(cluster: &Cluster) {
    let guard = "require_plan = true\n";
    let scratch = Scratch::quickstart("guard", &format!("{QUIET}\nprune_limit = \"100%\"\n{guard}"));
    let extra = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: extra}\n";
    scratch.write("motd/extra.yaml", extra);
    let daemon = Daemon::start(&scratch, cluster);
    let first = scratch.push("extra");
    daemon.succeeds(&scratch, &first);
    let there = || cluster.config_map(&scratch.namespace, "extra").is_some();

    scratch.remove("motd/extra.yaml");
    scratch.replace("driftless.toml", guard, "");
    let second = scratch.push("without it, and without its guard");
    let (state, words) = daemon.ended(&scratch, &second);
    assert!(state == "failure" && words.contains("driftless approve motd"), "{state}: {words}");
    assert!(there());
    daemon.tell(&scratch, cluster, &["approve", "motd"]);
    daemon.eventually("it is gone", || (!there()).then_some(()));

    scratch.write("motd/extra.yaml", extra);
    daemon.succeeds(&scratch, &scratch.push("back"));
    scratch.remove("motd/extra.yaml");
    daemon.succeeds(&scratch, &scratch.push("gone, unguarded"));
    assert!(!there());
}

/// Without its settings every app would be another one, elsewhere: neither a commit nor a restart brings that about.
fn a_file_that_is_gone_changes_nothing(cluster: &Cluster) {
    let scratch = Scratch::quickstart("gone", QUIET);
    let daemon = Daemon::start(&scratch, cluster);
    daemon.succeeds(&scratch, &head(&scratch));
    let settings = fs::read_to_string(scratch.path("work/driftless.toml")).unwrap();
    scratch.remove("driftless.toml");
    scratch.replace("web/app.yaml", "replicas: 1", "replicas: 2");
    let gone = scratch.push("no settings");
    let (state, words) = daemon.ended(&scratch, &gone);
    assert!(state == "error" && words.contains("driftless.toml is gone from the branch"), "{state}: {words}");
    assert_eq!(replicas(cluster, &scratch), Some(1));
    let asked = daemon.command(&scratch, cluster, &["sync"]);
    let told = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert!(asked.status.code() == Some(1) && told.contains("gone from the branch since"), "{told}");
    daemon.kill();
    scratch.write("driftless.toml", &settings);
    let back = scratch.push("settings");
    let daemon = Daemon::start(&scratch, cluster);
    daemon.succeeds(&scratch, &back);
    assert_eq!(replicas(cluster, &scratch), Some(2));
}
