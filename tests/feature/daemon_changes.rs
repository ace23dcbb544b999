//! What a commit costs, what it supersedes, and what is counted.

use crate::support::daemon::{Cluster, Daemon, on_both_clusters};
use crate::support::scratch::Scratch;
use std::collections::BTreeMap;

on_both_clusters!(a_burst, only_what_changed, force_push, numbers);

const QUIET: &str = "timeout = \"40s\"";

fn head(scratch: &Scratch) -> String {
    scratch.git(&["rev-parse", "HEAD"]).trim().to_owned()
}

/// Five pushes while the first is not through: the newest wins, and no other one stays open.
fn a_burst(cluster: &Cluster) {
    let scratch = Scratch::quickstart("burst", QUIET);
    let daemon = Daemon::start(&scratch, cluster);
    let mut commits = vec![head(&scratch)];
    for number in 1..=5 {
        scratch.replace("web/app.yaml", &format!("web:1.{}", number - 1), &format!("web:1.{number}"));
        scratch.write("motd/motd.yaml", &motd(&format!("number {number}")));
        commits.push(scratch.push(&format!("number {number}")));
    }
    let newest = commits.pop().expect("there are six");
    daemon.succeeds(&scratch, &newest);
    let web = cluster.deployment(&scratch.namespace, "web").unwrap_or_default().to_string();
    assert!(web.contains("web:1.5"), "{web}");
    assert!(cluster.config_map(&scratch.namespace, "motd").unwrap_or_default().to_string().contains("number 5"));
    for commit in &commits {
        // One that was never the head when the daemon looked is not spoken of.
        let states = scratch.states(commit, "sync");
        let closed =
            states.len() == 2 && states[0] == "pending" && ["success", "superseded"].contains(&states[1].as_str());
        assert!(states.is_empty() || closed, "{states:?}");
    }
    assert_eq!(scratch.states(&newest, "sync"), ["pending", "success"]);
}

fn motd(text: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: motd\ndata:\n  message: {text}\n")
}

/// resourceVersions of what driftless wrote: the apps' objects and its own records, leases aside.
fn versions(cluster: &Cluster, scratch: &Scratch) -> BTreeMap<String, String> {
    let (namespace, own) = (scratch.namespace.as_str(), format!("{}-system", scratch.instance));
    let mut out = BTreeMap::new();
    for path in [
        format!("/api/v1/namespaces/{namespace}/configmaps"),
        format!("/api/v1/namespaces/{namespace}/services"),
        format!("/api/v1/namespaces/{namespace}/serviceaccounts"),
        format!("/apis/apps/v1/namespaces/{namespace}/deployments"),
        format!("/api/v1/namespaces/{own}/configmaps"),
        format!("/api/v1/namespaces/{own}/secrets"),
        "/api/v1/namespaces".to_owned(),
    ] {
        let list = cluster.get(&path).unwrap_or_default();
        for item in list["items"].as_array().into_iter().flatten() {
            let name = item["metadata"]["name"].as_str().unwrap_or_default();
            if path == "/api/v1/namespaces" && name != namespace && name != own {
                continue;
            }
            let version = item["metadata"]["resourceVersion"].as_str().unwrap_or_default();
            out.insert(format!("{path}/{name}"), version.to_owned());
        }
    }
    out
}

fn only_what_changed(cluster: &Cluster) {
    let scratch = Scratch::quickstart("only", QUIET);
    let daemon = Daemon::start(&scratch, cluster);
    daemon.succeeds(&scratch, &head(&scratch));
    // The daemon's last words about the first commit are the health of what runs.
    daemon.eventually("healthy", || {
        scratch.states(&head(&scratch), "health").contains(&"success".to_owned()).then_some(())
    });
    let before = versions(cluster, &scratch);

    scratch.write("README.md", "# The shop\n");
    let readme = scratch.push("a word about the shop");
    daemon.succeeds(&scratch, &readme);
    assert_eq!(versions(cluster, &scratch), before, "nothing that is rendered changed");

    scratch.write("motd/motd.yaml", &motd("hello"));
    let changed = scratch.push("motd: shorter");
    daemon.succeeds(&scratch, &changed);
    let after = versions(cluster, &scratch);
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    let differ: Vec<&String> =
        before.iter().filter(|(key, version)| after.get(*key) != Some(*version)).map(|(k, _)| k).collect();
    let (objects, records): (Vec<&String>, Vec<&String>) =
        differ.into_iter().partition(|key| key.contains(&format!("/{}/", scratch.namespace)));
    assert_eq!(objects, [&format!("/api/v1/namespaces/{}/configmaps/motd", scratch.namespace)]);
    assert_eq!(records.len(), 1, "the inventory of one app: {records:?}");
    let record = cluster.get(records[0]).unwrap_or_default();
    assert!(record.to_string().contains("motd"), "{record}");
}

/// A branch that is set back is followed back.
fn force_push(cluster: &Cluster) {
    let scratch = Scratch::quickstart("force", QUIET);
    let daemon = Daemon::start(&scratch, cluster);
    let old = head(&scratch);
    daemon.succeeds(&scratch, &old);
    scratch.replace("web/app.yaml", "replicas: 1", "replicas: 2");
    scratch.write("extra/extra.yaml", &motd("extra").replace("motd", "extra"));
    let new = scratch.push("two, and an extra app");
    daemon.succeeds(&scratch, &new);
    assert!(cluster.config_map(&scratch.namespace, "extra").is_some());

    scratch.git(&["reset", "--quiet", "--hard", &old]);
    scratch.git(&["push", "--quiet", "--force", "origin", "HEAD:main"]);
    daemon.eventually("the older content runs", || {
        let replicas = cluster.deployment(&scratch.namespace, "web")?["spec"]["replicas"].as_u64()?;
        (replicas == 1 && cluster.config_map(&scratch.namespace, "extra").is_none()).then_some(())
    });
    assert_eq!(scratch.states(&new, "sync"), ["pending", "success"]);
    daemon.eventually("the older revision has a final status again", || {
        (scratch.states(&old, "sync").last().map(String::as_str) == Some("success")).then_some(())
    });
}

fn numbers(cluster: &Cluster) {
    let scratch = Scratch::quickstart("numbers", QUIET);
    let daemon = Daemon::start(&scratch, cluster);
    assert_eq!(daemon.get("/healthz").map(|answer| answer.0), Some(200));
    daemon.succeeds(&scratch, &head(&scratch));
    daemon.eventually("ready", || (daemon.get("/readyz")?.0 == 200).then_some(()));
    let name = "driftless_app_score{app=\"web\"";
    daemon.eventually("the app's score", || (daemon.metric(name)? >= 1.0).then_some(()));
    let applied = |app: &str| {
        let (_, text) = daemon.get("/metrics").unwrap_or_default();
        let line = text.lines().find(|line| {
            line.starts_with("driftless_syncs_total{")
                && line.contains(&format!("app=\"{app}\""))
                && line.contains("\"applied\"")
        });
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or(0.0)
    };
    assert!((applied("web") - 1.0).abs() < f64::EPSILON, "{}", applied("web"));

    scratch.replace("web/app.yaml", "replicas: 1", "replicas: 2");
    let next = scratch.push("two");
    daemon.succeeds(&scratch, &next);
    daemon.eventually("the sync is counted", || (applied("web") >= 2.0).then_some(()));
    assert!((applied("motd") - 1.0).abs() < f64::EPSILON, "an app that did not change: {}", applied("motd"));
    let state: BTreeMap<&str, Option<f64>> =
        ["Synced", "OutOfSync"].map(|state| (state, app_state(&daemon, state))).into();
    assert_eq!(state, BTreeMap::from([("Synced", Some(1.0)), ("OutOfSync", Some(0.0))]));
}

fn app_state(daemon: &Daemon, state: &str) -> Option<f64> {
    let (_, text) = daemon.get("/metrics")?;
    let mut lines =
        text.lines().filter(|line| line.starts_with("driftless_app_sync_state{") && line.contains("app=\"web\""));
    lines.find(|line| line.contains(&format!("state=\"{state}\"")))?.rsplit(' ').next()?.parse().ok()
}
