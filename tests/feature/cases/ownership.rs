//! Cases 21 to 24: whose an object is, what a crash leaves behind, and prunes that something stands in the way of.

use super::facts::{changes, text, uid, uids, versions};
use super::proxy::{Fate, Proxy, failure};
use super::prune::{finalizer, is_going};
use super::table::seen;
use crate::feature::cluster::Cluster;
use crate::feature::scratch::Scratch;
use crate::on_every_cluster;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

fn quota(most: u32) -> String {
    format!("apiVersion: v1\nkind: ResourceQuota\nmetadata: {{name: q}}\nspec: {{hard: {{services: \"{most}\"}}}}\n")
}

fn service(name: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{selector: {{app: x}}, ports: [{{port: 80{more}}}]}}\n"
    )
}

/// Is there an inventory of this app of this repository?
fn has_inventory(cluster: &Cluster, app: &Scratch, name: &str) -> bool {
    let root = app.path().canonicalize().unwrap().display().to_string();
    let parents = cluster.kubectl("-n driftless get configmaps -o yaml");
    parents.lines().any(|line| line.contains(&root) && line.contains(&format!("\"app\":\"{name}\"")))
}

/// `name=value` of the ConfigMaps of a namespace that are ours.
fn contents(cluster: &Cluster, namespace: &str) -> Vec<String> {
    let text_of = cluster.kubectl(&format!("-n {namespace} get configmaps -l applyset.kubernetes.io/part-of -o json"));
    let list: Value = serde_json::from_str(&text_of).unwrap();
    let items = list["items"].as_array().unwrap().iter();
    let mut out: Vec<String> =
        items.map(|item| format!("{}={}", text(&item["metadata"]["name"]), text(&item["data"]["v"]))).collect();
    out.sort();
    out
}

on_every_cluster! {
    /// What moves is never deleted; what is gone leaves nothing; all gone is refused.
    fn case_21_a_moves_renames_and_removals(cluster) {
        let app = Scratch::new(cluster, "moves");
        let ns = app.namespace.clone();
        for name in ["1", "2"] {
            app.config_map(&format!("a/{name}.yaml"), &format!("a{name}"), "x");
            app.config_map(&format!("b/{name}.yaml"), &format!("b{name}"), "x");
        }
        app.commit("one");
        app.run("sync").exits(0);
        let before = uids(cluster, &ns);
        app.git("mv a/1.yaml b/a1.yaml");
        app.commit("an object moves");
        app.run("sync").exits(0);
        assert_eq!(uids(cluster, &ns), before);
        assert!(changes(&app.run("plan -o json").exits(0).json()).is_empty());
        app.git("mv b c");
        app.commit("an app is renamed");
        app.run("sync").exits(0);
        let moved = versions(cluster, &ns);
        assert_eq!(uids(cluster, &ns), before);
        app.run("sync").exits(0);
        assert_eq!(versions(cluster, &ns), moved);
        let known = ["a", "b", "c"].map(|name| has_inventory(cluster, &app, name));
        assert_eq!(known, [true, false, true], "an app that is gone leaves no inventory");
        app.remove("a").commit("an app is removed");
        app.run("sync").exits(0);
        assert!(!cluster.has(&ns, "configmap/a2") && cluster.has(&ns, "configmap/a1"));
        assert!(!has_inventory(cluster, &app, "a"));
        app.remove("c").commit("all are removed");
        app.run("plan").exits(4);
        app.run("sync").exits(4).says("refused to delete them all");
        assert!(cluster.has(&ns, "configmap/b1"));
        assert_eq!(app.states().last().unwrap(), &("failure".to_owned(), Some(4)));
        seen("moved and renamed: 4 of 4 uids kept; removed app: pruned, no inventory left; all removed: refused");
    }

    /// While an app of the scope does not render, is held or suspended, what nobody has claimed waits.
    fn case_21_b_unclaimed_prunes_wait_for_the_others(cluster) {
        let app = Scratch::new(cluster, "waits");
        let ns = app.namespace.clone();
        app.config_map("a/keep.yaml", "a", "1").config_map("b/keep.yaml", "b", "1");
        for name in ["broken", "held", "suspended"] {
            app.config_map(&format!("a/{name}.yaml"), name, "1");
        }
        app.write("driftless.toml", "[defaults]\nprune_limit = \"100%\"\n").commit("one");
        app.run("sync").exits(0);
        let before = |name: &str| uid(cluster, &ns, &format!("configmap/{name}"));
        let first = ["broken", "held", "suspended"].map(before);

        // It moves to an app that does not render.
        app.git("mv a/broken.yaml b/broken.yaml");
        app.write("b/nonsense.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: [\n").commit("moved, and broken");
        app.run("sync").exits(1);
        assert_eq!(before("broken"), first[0]);
        app.remove("b/nonsense.yaml").commit("repaired");
        app.run("sync").exits(0);

        app.git("mv a/held.yaml b/held.yaml");
        app.commit("moved, and held");
        app.run("hold b").exits(0);
        app.run("sync").exits(4);
        assert_eq!(before("held"), first[1]);
        app.run("resume b").exits(0);
        app.run("sync").exits(0);

        app.run("suspend b").exits(0);
        app.git("mv a/suspended.yaml b/suspended.yaml");
        app.commit("moved, and suspended");
        app.run("sync").exits(4);
        assert_eq!(before("suspended"), first[2]);
        app.run("resume b").exits(0);
        app.run("sync").exits(0);
        assert_eq!(["broken", "held", "suspended"].map(before), first, "nothing was deleted and made anew");
        assert!(changes(&app.run("plan -o json").exits(0).json()).is_empty());
        seen("moved to an app that is broken, held, suspended: kept each time, claimed afterwards with the same uid");
    }

    /// Objects that move to another namespace: the new ones come first.
    fn case_21_c_new_before_old(cluster) {
        let app = Scratch::new(cluster, "movens");
        let (ns, other) = (app.namespace.clone(), cluster.namespace("movens-to"));
        let proxy = Proxy::before(cluster);
        let config = |namespace: &str| format!("[defaults]\nnamespace = \"{namespace}\"\n");
        app.write("driftless.toml", &config(&ns)).config_map("a/a.yaml", "a", "1").config_map("a/b.yaml", "b", "1").commit("one");
        app.run("sync").exits(0);
        app.write("driftless.toml", &config(&other)).commit("two");
        app.run(&format!("sync --kubeconfig {}", proxy.kubeconfig(&app))).exits(0);
        assert!(cluster.has(&other, "configmap/a") && !cluster.has(&ns, "configmap/a"));
        let written = proxy.written();
        let place = |method: &str, namespace: &str| {
            let is_one = |line: &String| line.starts_with(method) && line.contains(&format!("/{namespace}/"));
            let first = written.iter().position(is_one).unwrap_or_else(|| panic!("{method} {namespace}: {written:#?}"));
            (first, written.iter().rposition(is_one).unwrap_or(first))
        };
        let created = if written.iter().any(|line| line.starts_with("POST")) { "POST" } else { "PATCH" };
        assert!(place(created, &other).1 < place("DELETE", &ns).0, "{written:#?}");
        app.run("plan").exits(0);
        seen(written.iter().map(|line| line.split(' ').next().unwrap()).collect::<Vec<_>>().join(", "));
    }

    /// Two repositories, each with an app `web`: nothing is shared, and one does not prune the other's.
    fn case_21_d_two_repositories_share_nothing(cluster) {
        let (one, two) = (Scratch::new(cluster, "repo-one"), Scratch::new(cluster, "repo-two"));
        let place = |app: &Scratch, name: &str| {
            app.write(&format!("web/{name}.yaml"), &format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: {}}}\n", one.namespace));
        };
        place(&one, "of-one");
        place(&one, "more-of-one");
        place(&two, "of-two");
        one.commit("one");
        two.commit("two");
        one.run("sync").exits(0);
        two.run("sync").exits(0);
        for app in [&one, &two] {
            assert!(changes(&app.run("plan -o json").exits(0).json()).is_empty());
        }
        one.remove("web/more-of-one.yaml").commit("fewer");
        one.run("sync").exits(0);
        let of = |name: &str| cluster.object(&one.namespace, name)["metadata"]["labels"]["applyset.kubernetes.io/part-of"].clone();
        assert_ne!(of("configmap/of-one"), of("configmap/of-two"));
        seen("two apps `web`: two inventories, one pruned, the other untouched");
    }

    /// Another controller copies our label onto its own object: not ours, never pruned.
    fn case_22_a_copied_label_makes_nothing_ours(cluster) {
        let app = Scratch::new(cluster, "copied");
        let ns = app.namespace.clone();
        app.deployment("a/web.yaml", "web", "web:1", 1, "").write("a/s.yaml", &service("web", "").replace("app: x", "app: web")).config_map("a/c.yaml", "c", "1").config_map("a/d.yaml", "d", "1").commit("one");
        app.run("sync").exits(0);
        let part = text(&cluster.object(&ns, "service/web")["metadata"]["labels"]["applyset.kubernetes.io/part-of"]).to_owned();
        // The endpoints controllers do so by themselves; an operator's object is made here.
        let slices = || cluster.kubectl(&format!("-n {ns} get endpointslices -l applyset.kubernetes.io/part-of={part} -o name"));
        cluster.eventually("the copied label", || !slices().is_empty());
        cluster.kubectl_input(&format!("-n {ns} create"), &format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: operators, labels: {{applyset.kubernetes.io/part-of: {part}}}}}\n"));
        app.run("plan").exits(0);
        assert!(changes(&app.run("sync -o json").exits(0).json()).is_empty());
        app.remove("a/d.yaml").commit("two");
        assert_eq!(changes(&app.run("sync -o json").exits(0).json()), ["ConfigMap/d: prune"]);
        assert!(cluster.has(&ns, "configmap/operators") && !slices().is_empty());
        let count = slices().lines().count();
        seen(format!("{count} EndpointSlice and an operator's ConfigMap carry our label: neither planned nor pruned"));
    }

    /// Killed between any two writes: the next run converges, nothing is orphaned, nothing extra is deleted.
    fn case_23_a_killed_between_any_two_writes(cluster) {
        let app = Scratch::new(cluster, "killed");
        let ns = app.namespace.clone();
        let proxy = Proxy::before(cluster);
        let with = proxy.kubeconfig(&app);
        cluster.kubectl(&format!("-n {ns} create configmap stranger"));
        app.config_map("a/stays.yaml", "stays", "0").config_map("a/old-0.yaml", "old-0", "0").commit("zero");
        app.run("sync").exits(0);
        let mut points = 0;
        for point in 0..40 {
            // A create, an update, a prune in each round.
            let (now, next) = (point.to_string(), point + 1);
            app.config_map("a/stays.yaml", "stays", &next.to_string()).config_map(&format!("a/old-{next}.yaml"), &format!("old-{next}"), &now);
            app.remove(&format!("a/old-{point}.yaml")).commit("round");
            let (count, held) = (AtomicUsize::new(0), Arc::new(AtomicBool::new(false)));
            let seen_held = held.clone();
            proxy.rule(move |asked| {
                let before = count.fetch_add(usize::from(asked.writes()), Ordering::SeqCst);
                (asked.writes() && before >= point || seen_held.load(Ordering::SeqCst)).then(|| {
                    seen_held.store(true, Ordering::SeqCst);
                    Fate::Hang
                })
            });
            let mut child = app.start(&format!("sync --timeout 30s --kubeconfig {with}"));
            let ended = loop {
                if held.load(Ordering::SeqCst) {
                    break false;
                }
                if child.try_wait().unwrap().is_some() {
                    break true;
                }
                std::thread::sleep(std::time::Duration::from_millis(5));
            };
            let _ = child.kill();
            child.wait().unwrap();
            proxy.pass_everything();
            app.run("sync --timeout 30s").exits(0);
            assert_eq!(contents(cluster, &ns), [format!("old-{next}={now}"), format!("stays={next}")], "after {point} writes");
            assert!(cluster.has(&ns, "configmap/stranger"));
            if ended {
                points = point;
                break;
            }
        }
        assert!(points >= 4, "{points}");
        app.run("plan").exits(0);
        for commit in app.run("log -n 10 -o json").json()["commits"].as_array().unwrap() {
            let last = commit["statuses"].as_array().unwrap().iter().rfind(|note| note["context"] == "driftless/sync").cloned();
            assert_ne!(last.unwrap()["state"], "pending", "{commit:#}");
        }
        seen(format!("killed before each of {points} writes: converged each time, nothing left over, no status left pending"));
    }

    /// A list that fails or is denied: nothing is pruned.
    fn case_24_a_a_list_that_fails_prunes_nothing(cluster) {
        let app = Scratch::new(cluster, "unlisted");
        let ns = app.namespace.clone();
        let proxy = Proxy::before(cluster);
        let sync = format!("sync -o json --timeout 3s --kubeconfig {}", proxy.kubeconfig(&app));
        app.config_map("a/a.yaml", "a", "1").write("a/s.yaml", &service("s", "")).config_map("a/b.yaml", "b", "1").write("a/t.yaml", &service("t", "")).commit("one");
        app.run("sync").exits(0);
        app.remove("a/b.yaml").remove("a/t.yaml").commit("two");
        let begun = std::time::Instant::now();
        for (code, reason) in [(403, "Forbidden"), (429, "TooManyRequests"), (503, "ServiceUnavailable")] {
            proxy.forget();
            proxy.rule(move |asked| {
                // What is known of ConfigMaps: neither by list nor by name.
                let about = asked.method == "GET" && asked.path.contains("/configmaps") && !asked.path.contains("/namespaces/driftless/");
                // A server that wants to be left alone for so long is not asked again.
                about.then(|| Fate::Answer(code, "60", failure(code, reason, "not now")))
            });
            app.run(&sync).exits(1);
            let deleted: Vec<String> = proxy.written().into_iter().filter(|line| line.starts_with("DELETE")).collect();
            assert!(deleted.is_empty(), "{code}: {deleted:?}");
            assert!(cluster.has(&ns, "configmap/b") && cluster.has(&ns, "service/t"), "{code}");
        }
        let took = begun.elapsed();
        proxy.pass_everything();
        app.run(&sync).exits(0);
        assert!(!cluster.has(&ns, "configmap/b") && !cluster.has(&ns, "service/t"));
        seen(format!("list answered 403, 429, 503: exit 1 ({} s for the three), 0 deletions; then both pruned", took.as_secs()));
    }

    /// A full quota: what goes makes room for what comes, and a quota that is raised is raised first.
    fn case_24_b_a_full_quota_does_not_deadlock(cluster) {
        let app = Scratch::new(cluster, "quota");
        let ns = app.namespace.clone();
        // The quota first: what is created before the server has counted anything is counted five minutes later.
        app.write("a/q.yaml", &quota(2)).commit("quota");
        app.run("sync").exits(0);
        cluster.eventually("the quota to count", || cluster.object(&ns, "resourcequota/q")["status"]["used"]["services"] == "0");
        app.write("a/a.yaml", &service("a", "")).write("a/b.yaml", &service("b", "")).commit("one");
        app.run("sync").exits(0);
        cluster.eventually("the quota to be counted", || cluster.object(&ns, "resourcequota/q")["status"]["used"]["services"] == "2");
        app.remove("a/b.yaml").write("a/c.yaml", &service("c", "")).commit("two");
        app.run("sync").exits(0);
        assert!(cluster.has(&ns, "service/c") && !cluster.has(&ns, "service/b"));
        cluster.eventually("the quota to be counted", || cluster.object(&ns, "resourcequota/q")["status"]["used"]["services"] == "2");
        app.write("a/q.yaml", &quota(3)).write("a/d.yaml", &service("d", "")).commit("three");
        app.run("sync").exits(0);
        assert!(cluster.has(&ns, "service/d"));
        seen("2 of 2 Services: one swapped for another in one sync; raised to 3 with a third in one sync");
    }

    /// A node port that goes from one Service to another in one commit, several times over.
    fn case_24_c_a_node_port_changes_hands(cluster) {
        let app = Scratch::new(cluster, "nodeport");
        let port = if cluster.plane.is_some() { 32_101 } else { 32_102 };
        let with_port = |name: &str| service(name, &format!(", nodePort: {port}")).replace("spec: {", "spec: {type: NodePort, ");
        app.write("a/s.yaml", &with_port("s0")).commit("one");
        app.run("sync").exits(0);
        for name in ["s1", "s2", "s3", "s4"] {
            app.write("a/s.yaml", &with_port(name)).commit("next");
            app.run("sync").exits(0);
            assert!(cluster.has(&app.namespace, &format!("service/{name}")));
        }
        seen("a node port moved 4 times, one sync each");
    }

    /// A webhook that refuses everything, removed in the commit that needs it gone. The embedded cluster calls no webhooks:
    /// before it, the requests are refused in the real server's words until the configuration is deleted.
    fn case_24_d_a_removed_webhook_does_not_deadlock(cluster) {
        let app = Scratch::new(cluster, "webhook");
        let ns = app.namespace.clone();
        let proxy = Proxy::before(cluster);
        let with = format!("--timeout 60s --kubeconfig {}", proxy.kubeconfig(&app));
        let rules = if cluster.plane.is_some() { "rules: [{apiGroups: [''], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [configmaps]}]" } else { "rules: []" };
        let hook = format!("apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {{name: {ns}}}\nwebhooks: [{{name: w.example.org, admissionReviewVersions: [v1], sideEffects: None, timeoutSeconds: 1, clientConfig: {{url: 'https://127.0.0.1:1/'}}, namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {ns}}}}}, {rules}}}]\n");
        app.write("a/hook.yaml", &hook).write("a/s.yaml", &service("s", "")).commit("one");
        app.run(&format!("sync {with}")).exits(0);
        if cluster.plane.is_some() {
            let probe = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: probe, namespace: {ns}}}\n");
            cluster.eventually("the webhook to be called", || !cluster.accepts("create --dry-run=server -f -", &probe));
        } else {
            let (gone, path) = (AtomicBool::new(false), format!("/namespaces/{ns}/configmaps"));
            proxy.rule(move |asked| {
                if asked.method == "DELETE" && asked.path.contains("validatingwebhookconfigurations") {
                    gone.store(true, Ordering::SeqCst);
                }
                let refused = asked.method != "GET" && asked.path.contains(&path) && !gone.load(Ordering::SeqCst);
                refused.then(|| Fate::Answer(500, "", failure(500, "InternalError", "Internal error occurred: failed calling webhook \"w.example.org\": failed to call webhook: Post \"https://127.0.0.1:1/?timeout=1s\": dial tcp 127.0.0.1:1: connect: connection refused")))
            });
        }
        app.remove("a/hook.yaml").config_map("a/c.yaml", "c", "1").commit("two");
        app.run(&format!("sync {with}")).exits(0);
        assert!(cluster.has(&ns, "configmap/c") && !cluster.succeeds(&format!("get validatingwebhookconfiguration {ns}")));
        seen("a webhook that refuses all ConfigMaps goes in the commit that brings one: one sync");
    }

    /// A finalizer that nobody removes ends at the time-out, named; an object that is going is waited out, not applied to.
    fn case_24_e_what_is_stuck_is_named(cluster) {
        let app = Scratch::new(cluster, "stuck");
        let ns = app.namespace.clone();
        app.config_map("a/a.yaml", "a", "1").config_map("a/b.yaml", "b", "1").commit("one");
        app.run("sync").exits(0);
        finalizer(cluster, &ns, "configmap/b", true);
        app.remove("a/b.yaml").commit("two");
        let report = app.run("sync -o json --timeout 3s").json();
        let said = report.to_string();
        assert!(said.contains("example.org/wait") && said.contains("\"b\""), "{report:#}");
        assert!(is_going(cluster, &ns, "configmap/b"));
        // It comes back to Git while the old one is still going.
        let old = uid(cluster, &ns, "configmap/b");
        app.config_map("a/b.yaml", "b", "2").commit("three");
        let mut child = app.start("sync --timeout 60s");
        let proxy = Proxy::before(cluster);
        drop(proxy);
        cluster.eventually("the sync waits", || app.said("HEAD", "sync") == ["pending: syncing"] || !app.notes("HEAD").is_empty());
        assert!(matches!(child.try_wait(), Ok(None)));
        let live = cluster.object(&ns, "configmap/b");
        assert_eq!((text(&live["metadata"]["uid"]), &live["data"]["v"]), (old.as_str(), &json!("1")), "nothing is applied to it");
        finalizer(cluster, &ns, "configmap/b", false);
        Scratch::ended(child).exits(0);
        assert_ne!(uid(cluster, &ns, "configmap/b"), old);
        assert_eq!(cluster.object(&ns, "configmap/b")["data"]["v"], "2");
        seen("stuck: ended at its 3 s time-out and named the finalizer; terminating: waited out, then created anew");
    }
}
