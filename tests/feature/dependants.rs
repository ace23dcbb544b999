//! Apps that depend on each other, when one of them goes back: what stands on it is held with it, and goes back too.

use crate::support::daemon::{Cluster, Daemon, on_both_clusters};
use crate::support::scratch::Scratch;
use serde_json::Value;

on_both_clusters!(a_failure_holds_what_depends_on_it, going_back_by_hand_takes_along);

/// An app `db` with a Deployment, and `api` and `web` with a ConfigMap each that depend on it in a row.
fn shop(name: &str) -> Scratch {
    let scratch = Scratch::quickstart(name, "");
    for old in ["web", "motd", "api"] {
        scratch.remove(old);
    }
    let settings = scratch.settings_text("timeout = \"12s\"\non_failure = \"rollback\"");
    let apps = "[[app]]\npath = \"api\"\ndepends_on = [\"db\"]\n[[app]]\npath = \"web\"\ndepends_on = [\"api\"]\n[[app]]\npath = \"db\"\n";
    scratch.write("driftless.toml", &format!("{settings}{apps}"));
    set(&scratch, "db:1", "one");
    scratch
}

fn set(scratch: &Scratch, image: &str, text: &str) {
    scratch.write(
        "db/db.yaml",
        &format!("apiVersion: driftless.dev/v1alpha1\nkind: App\nmetadata: {{name: db}}\nspec: {{image: \"{image}\", replicas: 1, probes: none}}\n"),
    );
    for app in ["api", "web"] {
        scratch.write(
            &format!("{app}/{app}.yaml"),
            &format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {app}}}\ndata: {{text: \"{text}\"}}\n"),
        );
    }
}

fn text(cluster: &Cluster, scratch: &Scratch, app: &str) -> String {
    cluster.config_map(&scratch.namespace, app).unwrap_or_default()["data"]["text"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

fn image(cluster: &Cluster, scratch: &Scratch) -> String {
    let db = cluster.deployment(&scratch.namespace, "db").unwrap_or_default();
    db["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or_default().to_owned()
}

fn sync_of(status: &Value) -> &str {
    status["sync"].as_str().unwrap_or_default()
}

/// What depends on an app that fails does not begin, is held as long as that one is, also by a daemon that starts anew, and
/// its drift is repaired meanwhile.
fn a_failure_holds_what_depends_on_it(cluster: &Cluster) {
    let scratch = shop("stands");
    let first = scratch.push("one");
    let daemon = Daemon::start(&scratch, cluster);
    daemon.succeeds(&scratch, &first);
    set(&scratch, "db:bad", "two");
    let bad = scratch.push("two");
    let (state, words) = daemon.ended(&scratch, &bad);
    assert_eq!(state, "failure", "{words}");
    assert!(words.starts_with("db: rolled back to "), "the cause is told: {words}");
    for daemon in [daemon, Daemon::start(&scratch, cluster)] {
        assert_eq!(image(cluster, &scratch), "db:1");
        for app in ["api", "web"] {
            assert_eq!(text(cluster, &scratch, app), "one");
            let status = daemon.status(&scratch, cluster, app);
            assert_eq!(sync_of(&status), "Held", "{status:#}");
            assert!(status["message"].as_str().unwrap_or_default().contains("app `db`"), "{status:#}");
        }
        daemon.eventually("the drift of a held app is repaired", || {
            cluster.kubectl(&[
                "-n",
                &scratch.namespace,
                "patch",
                "configmap",
                "web",
                "-p",
                "{\"data\":{\"text\":\"hand\"}}",
            ]);
            daemon.eventually("repaired", || (text(cluster, &scratch, "web") == "one").then_some(()));
            Some(())
        });
        // Asking changes nothing: refused, since it is held.
        let asked = daemon.command(&scratch, cluster, &["sync", "api"]);
        let told = String::from_utf8_lossy(&asked.stdout).into_owned() + &String::from_utf8_lossy(&asked.stderr);
        assert_eq!(asked.status.code(), Some(4), "{told}");
        assert!(told.contains("`driftless status db`"), "the app that it waits for is named, not its own: {told}");
        daemon.terminate();
        let mut daemon = daemon;
        daemon.wait(std::time::Duration::from_secs(20));
    }
    let daemon = Daemon::start(&scratch, cluster);
    set(&scratch, "db:2", "two");
    let fixed = scratch.push("three");
    daemon.succeeds(&scratch, &fixed);
    assert_eq!((image(cluster, &scratch).as_str(), text(cluster, &scratch, "web").as_str()), ("db:2", "two"));
}

/// A person sets one back beside a daemon: what depends on it goes back too, is held, and comes again with `resume`.
fn going_back_by_hand_takes_along(cluster: &Cluster) {
    let scratch = shop("along");
    let first = scratch.push("one");
    let daemon = Daemon::start(&scratch, cluster);
    daemon.succeeds(&scratch, &first);
    set(&scratch, "db:2", "two");
    let second = scratch.push("two");
    daemon.succeeds(&scratch, &second);
    daemon.tell(&scratch, cluster, &["rollback", "db"]);
    assert_eq!(image(cluster, &scratch), "db:1");
    for app in ["api", "web"] {
        daemon.eventually(&format!("{app} to go back"), || (text(cluster, &scratch, app) == "one").then_some(()));
        daemon.eventually(&format!("{app} to be held"), || {
            (sync_of(&daemon.status(&scratch, cluster, app)) == "Held").then_some(())
        });
    }
    daemon.eventually("the status of the commit to say so", || {
        scratch.ended(&second).filter(|(state, words)| state == "failure" && words.contains("is held"))
    });
    daemon.tell(&scratch, cluster, &["resume", "db"]);
    daemon.eventually("all to come again", || {
        (image(cluster, &scratch) == "db:2" && text(cluster, &scratch, "web") == "two").then_some(())
    });
    daemon.eventually("the status of the commit to be a success", || {
        scratch.ended(&second).filter(|(state, _)| state == "success")
    });
}

mod by_commands {
    use crate::feature::scratch::Scratch;
    use crate::on_every_cluster;

    on_every_cluster! {
        /// The same with the commands alone: a failure, and a person's wish.
        fn going_back_without_a_daemon(cluster) {
            let app = Scratch::new(cluster, "alone");
            let ns = app.namespace.clone();
            let kubeconfig = app.kubeconfig_with("own", |_| {});
            app.write("driftless.toml", &format!(
                "[[cluster]]\nname = \"default\"\nkubeconfig = \"{kubeconfig}\"\n[defaults]\non_failure = \"rollback\"\n[[app]]\npath = \"api\"\ndepends_on = [\"db\"]\n[[app]]\npath = \"web\"\ndepends_on = [\"api\"]\n[[app]]\npath = \"db\"\n"
            ));
            let set = |image: &str, text: &str| {
                app.deployment("db/db.yaml", "db", image, 1, "").config_map("api/x.yaml", "api", text).config_map("web/x.yaml", "web", text);
                app.commit(text);
            };
            let value = |name: &str| cluster.object(&ns, &format!("configmap/{name}"))["data"]["v"].clone();
            let states = || -> Vec<String> {
                let status = app.run("status -o json").exits(0).json();
                let apps = status["apps"].as_array().cloned().unwrap_or_default();
                apps.iter().map(|a| format!("{} {}", a["name"].as_str().unwrap(), a["sync"].as_str().unwrap())).collect()
            };
            set("db:1", "one");
            app.run("sync").exits(0);
            set("db:2", "two");
            app.run("sync").exits(0);
            app.run("rollback db").exits(0).says("api: depends on db; back at");
            assert_eq!((value("api"), value("web")), ("one".into(), "one".into()));
            assert_eq!(states(), ["api Held", "db Held", "web Held"]);
            app.run("sync api").exits(4).says("held with app `db`").says("`driftless resume db`");
            app.run("sync").exits(4);
            assert_eq!((value("api"), value("web")), ("one".into(), "one".into()));
            app.run("resume db").exits(0);
            app.run("sync").exits(0);
            assert_eq!((value("api"), value("web")), ("two".into(), "two".into()));
            // What was applied without waiting stands on what turns out not to work.
            set("db:bad", "three");
            app.run("sync --no-wait").exits(0);
            assert_eq!(value("web"), "three");
            app.deployment("db/db.yaml", "db", "db:bad-too", 1, "");
            app.commit("four");
            let ended = app.run("sync --timeout 8s -o json").exits(3).json();
            assert_eq!((value("api"), value("web")), ("two".into(), "two".into()), "{ended:#}");
            assert_eq!(states(), ["api Held", "db Held", "web Held"]);
            set("db:4", "five");
            app.run("sync").exits(0);
            assert_eq!(states(), ["api Synced", "db Synced", "web Synced"]);
        }
    }
}
