//! Cases 32 to 34: what the cluster changes, seen, said and put right; and what is no drift.

use super::facts::{changes, text, uid};
use super::proxy::Proxy;
use super::table::seen;
use crate::feature::running::Running;
use crate::feature::scratch::Scratch;
use crate::on_every_cluster;
use serde_json::json;
use std::time::{Duration, Instant};

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web, labels: {team: a}}\nspec: {selector: {app: web}, ports: [{name: http, port: 80}]}\n";

/// An app with a Deployment and a Service, in one directory.
fn shop(app: &Scratch) -> String {
    app.deployment("a/web.yaml", "web", "web:1", 1, ", env: [{name: A, value: a}]")
        .write("a/s.yaml", SERVICE)
        .commit("one")
}

on_every_cluster! {
    /// An edit, a deletion, a removed label: seen when it happens, said on the current commit, put right, and cleared.
    fn case_32_a_drift_is_said_and_repaired(cluster) {
        let app = Scratch::new(cluster, "drifts");
        let ns = app.namespace.clone();
        let head = shop(&app);
        let daemon = Running::settled(&app, "");
        let said = |start: &str, words: &str| app.said(&head, "drift").into_iter().rfind(|said| said.starts_with(start) && said.contains(words));
        let cleared = |count: usize| app.states_of(&head, "drift") == ["failure", "success"].repeat(count);
        let mut facts = Vec::new();

        let begun = Instant::now();
        cluster.kubectl(&format!("-n {ns} scale deployment/web --replicas=3"));
        let edit = daemon.eventually("the edit is said", || said("failure", ".spec.replicas"));
        assert!(edit.contains("kubectl"), "the author is recorded: {edit}");
        daemon.until("the edit is repaired", || cluster.object(&ns, "deployment/web")["spec"]["replicas"] == 1 && cleared(1));
        facts.push(format!("edit repaired and cleared {} ms after it", begun.elapsed().as_millis()));

        let old = uid(cluster, &ns, "service/web");
        cluster.kubectl(&format!("-n {ns} delete service web"));
        let deletion = daemon.eventually("the deletion is said", || said("failure", "deleted"));
        assert!(!deletion.contains("kubectl") && deletion.contains("records no author"), "nobody knows by whom: {deletion}");
        daemon.until("it is there again", || cluster.has(&ns, "service/web") && uid(cluster, &ns, "service/web") != old && cleared(2));
        facts.push(format!("{deletion:?}"));

        cluster.kubectl(&format!("-n {ns} label service web team-"));
        let removal = daemon.eventually("the removal is said", || said("failure", "team"));
        assert!(removal.contains("records no author"), "nobody knows by whom: {removal}");
        daemon.until("the label is back", || cluster.object(&ns, "service/web")["metadata"]["labels"]["team"] == "a" && cleared(3));
        assert!(app.said(&head, "drift").last().unwrap().contains("repaired"));
        assert_eq!(app.states_of(&head, "sync"), ["pending", "success"], "the sync's status is not touched");
        facts.push(format!("{removal:?}"));
        seen(facts.join("; "));
    }

    /// `self_heal = false`: drift is said and left, until it is undone by hand.
    fn case_32_b_drift_is_only_reported(cluster) {
        let app = Scratch::new(cluster, "noheal");
        let ns = app.namespace.clone();
        app.write("driftless.toml", "[defaults]\nself_heal = false\n");
        let head = shop(&app);
        let daemon = Running::settled(&app, "");
        cluster.kubectl(&format!("-n {ns} scale deployment/web --replicas=2"));
        daemon.until("the drift is said", || app.said(&head, "drift").last().is_some_and(|said| said.starts_with("failure") && said.contains("kubectl")));
        let status = daemon.status(&app, "a");
        assert_eq!(status["drift"][0]["path"], ".spec.replicas", "{status}");
        assert_eq!(cluster.object(&ns, "deployment/web")["spec"]["replicas"], 2, "and not repaired");
        cluster.kubectl(&format!("-n {ns} scale deployment/web --replicas=1"));
        daemon.until("the drift is gone", || app.states_of(&head, "drift") == ["failure", "success"]);
        cluster.kubectl(&format!("-n {ns} delete service web"));
        daemon.until("the deletion is said", || app.said(&head, "drift").last().is_some_and(|said| said.starts_with("failure") && said.contains("deleted")));
        daemon.until("and that it is missing", || app.said(&head, "health").last().is_some_and(|said| said.contains("Missing")));
        // What is left as it is keeps no later commit from its success, and rolls none back.
        let next = app.replace("a/web.yaml", "web:1", "web:2").commit("two");
        daemon.until("the next commit ends", || app.states_of(&next, "sync") == ["pending", "success"]);
        assert!(!cluster.has(&ns, "service/web"), "still not repaired");
        seen("edit and deletion said with path and manager, left alone, cleared when undone; the next commit succeeds beside it");
    }

    /// A field that Git does not set is nobody's drift; of a list only the elements that Git sets.
    fn case_33_only_what_git_sets(cluster) {
        let app = Scratch::new(cluster, "others");
        let ns = app.namespace.clone();
        let head = shop(&app);
        let daemon = Running::settled(&app, "");
        cluster.kubectl(&format!("-n {ns} annotate deployment web note=mine"));
        cluster.kubectl(&format!("-n {ns} patch deployment web -p {{\"spec\":{{\"minReadySeconds\":1}}}}"));
        cluster.kubectl(&format!("-n {ns} set env deployment/web EXTRA=theirs"));
        app.run("plan").exits(0);
        // What it would have repaired, it would have said before this.
        cluster.kubectl(&format!("-n {ns} set env deployment/web A=changed"));
        let said = daemon.eventually("the element of ours is said", || app.said(&head, "drift").into_iter().find(|said| said.starts_with("failure")));
        daemon.until("and repaired", || app.states_of(&head, "drift") == ["failure", "success"]);
        let live = cluster.object(&ns, "deployment/web");
        let env = live["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap().clone();
        assert!(env.contains(&json!({"name": "A", "value": "a"})) && env.contains(&json!({"name": "EXTRA", "value": "theirs"})), "{env:?}");
        assert_eq!((&live["metadata"]["annotations"]["note"], &live["spec"]["minReadySeconds"]), (&json!("mine"), &json!(1)));
        assert!(said.contains("A") && !said.contains("EXTRA"), "{said}");
        let report = app.run("plan -o json").exits(0).json();
        assert!(changes(&report).is_empty());
        seen(format!("annotation, minReadySeconds, EXTRA left alone; said and repaired: {said:?}"));
    }

    /// A watch that ends with 410 Gone: listed anew, and what happened meanwhile is not missed.
    fn case_34_a_an_expired_watch_misses_nothing(cluster) {
        let app = Scratch::new(cluster, "gone");
        let ns = app.namespace.clone();
        let proxy = Proxy::before(cluster);
        let head = shop(&app);
        let daemon = Running::settled(&app, &format!("--kubeconfig {}", proxy.kubeconfig(&app)));
        proxy.silence_watches();
        cluster.kubectl(&format!("-n {ns} scale deployment/web --replicas=3"));
        cluster.kubectl(&format!("-n {ns} delete service web"));
        proxy.forget();
        proxy.expire_watches();
        daemon.until("what was missed is repaired", || cluster.has(&ns, "service/web") && cluster.object(&ns, "deployment/web")["spec"]["replicas"] == 1);
        daemon.until("and said", || app.said(&head, "drift").last().is_some_and(|said| said.starts_with("success")));
        let lists = proxy.asked().iter().filter(|asked| asked.method == "GET" && asked.path.contains("/deployments?")).count();
        assert!(lists >= 1, "it is listed anew");
        // And the new watch works.
        cluster.kubectl(&format!("-n {ns} scale deployment/web --replicas=2"));
        daemon.until("the next edit is seen", || app.states_of(&head, "drift").iter().filter(|state| *state == "failure").count() >= 2);
        seen("410: listed anew, an edit and a deletion that no event told were repaired");
    }

    /// A connection that hangs without closing is given up once even the bookmarks stay away (a server sends one every
    /// minute), and nothing is missed.
    fn case_34_b_a_silent_watch_misses_nothing(cluster) {
        let app = Scratch::new(cluster, "silent");
        let ns = app.namespace.clone();
        let proxy = Proxy::before(cluster);
        let head = shop(&app);
        let daemon = Running::settled(&app, &format!("--kubeconfig {}", proxy.kubeconfig(&app)));
        proxy.silence_watches();
        let begun = Instant::now();
        cluster.kubectl(&format!("-n {ns} scale deployment/web --replicas=3"));
        let repaired = || cluster.object(&ns, "deployment/web")["spec"]["replicas"] == 1;
        while !repaired() {
            assert!(begun.elapsed() < Duration::from_secs(180), "not repaired\n{}", daemon.log());
            std::thread::sleep(Duration::from_millis(500));
        }
        let took = begun.elapsed();
        daemon.until("it is said", || app.said(&head, "drift").last().is_some_and(|said| said.starts_with("success")));
        assert!(!text(&cluster.object(&ns, "service/web")["metadata"]["uid"]).is_empty());
        seen(format!("silent, not closed: re-established and repaired after {} s", took.as_secs()));
    }
}
