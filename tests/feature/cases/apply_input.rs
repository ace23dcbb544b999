//! Cases 13 to 17: objects that two want, kinds that are not served, servers that fail, and what YAML can be.

use super::facts::{app as of_app, changes, text, uid};
use super::proxy::{Fate, Proxy, failure};
use super::table::seen;
use crate::feature::running::Running;
use crate::feature::scratch::Scratch;
use crate::on_every_cluster;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

const QUIET: &str = "--timeout 30s";

/// A CRD of any content with these versions; the first one is stored.
fn definition(group: &str, versions: &[&str], conversion: &str) -> String {
    let version = |(i, name): (usize, &&str)| {
        format!(
            "{{name: {name}, served: true, storage: {}, schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}}}",
            i == 0
        )
    };
    let versions: Vec<String> = versions.iter().enumerate().map(version).collect();
    format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: gadgets.{group}}}\nspec:\n  group: {group}\n  scope: Namespaced\n  names: {{plural: gadgets, singular: gadget, kind: Gadget}}\n  versions: [{}]\n{conversion}",
        versions.join(", ")
    )
}

fn gadget(group: &str, version: &str) -> String {
    format!("apiVersion: {group}/{version}\nkind: Gadget\nmetadata: {{name: g}}\nspec: {{a: 1}}\n")
}

on_every_cluster! {
    /// Two apps claim one object: the second is refused and names the first, whoever was there before.
    fn case_13_two_apps_claim_one_object(cluster) {
        let app = Scratch::new(cluster, "claims");
        let ns = app.namespace.clone();
        app.config_map("a/a.yaml", "a", "1").config_map("b/b.yaml", "b", "1").commit("one");
        app.run("sync").exits(0);
        app.config_map("a/b.yaml", "b", "2").commit("the other app's object");
        app.run("plan").exits(4);
        app.run("sync").exits(4).says("app `b`");
        assert_eq!(cluster.object(&ns, "configmap/b")["data"]["v"], "1");
        // Both want one that is not there yet: nobody gets it, or one and the other says so.
        app.remove("a/b.yaml").config_map("b/new.yaml", "new", "1").config_map("a/new.yaml", "new", "2").commit("both want one");
        let report = app.run("sync -o json").exits(4).json();
        let refused: Vec<&Value> = report["apps"].as_array().unwrap().iter().filter(|app| app["error"].is_object()).collect();
        assert!(!refused.is_empty(), "{report:#}");
        let names_other = refused.iter().any(|app| {
            let other = if app["name"] == "a" { "`b`" } else { "`a`" };
            text(&app["error"]["message"]).contains(other)
        });
        assert!(names_other, "{refused:#?}");
        // Another repository's app wants it.
        let other = Scratch::new(cluster, "claimant");
        other.write("c/b.yaml", &format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: b, namespace: {ns}}}\ndata: {{v: \"3\"}}\n")).commit("one");
        let said = other.run("sync").exits(4);
        assert!(said.out.contains("app `b`") || said.out.contains("app b") || said.out.contains("another"), "{}", said.out);
        assert_eq!(cluster.object(&ns, "configmap/b")["data"]["v"], "1");
        seen("refused with exit 4, names app `b`; the object keeps the first app's value");
    }

    /// An API group that nothing answers for, and a conversion webhook that fails: only their objects suffer.
    fn case_14_a_a_broken_group_is_its_objects_trouble(cluster) {
        let app = Scratch::new(cluster, "broken");
        let ns = app.namespace.clone();
        let group = format!("{ns}.example.org");
        cluster.kubectl_input("apply", &format!("apiVersion: apiregistration.k8s.io/v1\nkind: APIService\nmetadata: {{name: v1.{group}}}\nspec: {{group: {group}, version: v1, groupPriorityMinimum: 100, versionPriority: 100, insecureSkipTLSVerify: true, service: {{name: nobody, namespace: {ns}}}}}\n"));
        app.write("bad/g.yaml", &gadget(&group, "v1")).config_map("bad/beside.yaml", "beside", "1").config_map("good/a.yaml", "good", "1").config_map("good/b.yaml", "gone", "1");
        app.commit("one");
        let report = app.run(&format!("sync -o json {QUIET}")).exits(1).json();
        let error = &of_app(&report, "bad")["error"];
        assert_eq!(text(&error["file"]), "bad/g.yaml", "{error}");
        assert!(text(&error["message"]).contains(&group), "{error}");
        assert_eq!(text(&error["reason"]), "GroupUnavailable", "it is there and broken, not a wrong kind: {error}");
        assert!(cluster.has(&ns, "configmap/good") && cluster.has(&ns, "configmap/beside"), "only its objects suffer");
        app.remove("good/b.yaml").commit("two");
        app.run(&format!("sync good {QUIET}")).exits(0);
        assert!(!cluster.has(&ns, "configmap/gone"), "another app prunes as ever");
        cluster.kubectl(&format!("delete apiservice v1.{group}"));
        seen(format!("APIService without endpoints: {:?}; the other app syncs and prunes", text(&error["reason"])));
    }

    /// A conversion webhook that fails hides the objects of its kind: their app waits, the others go on.
    fn case_14_b_a_failing_conversion_is_its_objects_trouble(cluster) {
        let app = Scratch::new(cluster, "convert");
        let ns = app.namespace.clone();
        let group = format!("{ns}.example.org");
        cluster.kubectl_input("apply", &definition(&group, &["v1", "v2"], ""));
        cluster.kubectl(&format!("wait --for=condition=Established crd/gadgets.{group} --timeout=60s"));
        app.write("bad/g.yaml", &gadget(&group, "v2")).config_map("bad/beside.yaml", "beside", "1").config_map("bad/gone.yaml", "gone", "1").config_map("good/a.yaml", "good", "1").commit("one");
        app.run("sync").exits(0);
        let proxy = Proxy::before(cluster);
        let with = format!("--kubeconfig {}", proxy.kubeconfig(&app));
        if cluster.plane.is_some() {
            let conversion = "  conversion: {strategy: Webhook, webhook: {conversionReviewVersions: [v1], clientConfig: {url: 'https://127.0.0.1:1/convert'}}}\n";
            cluster.kubectl_input("apply", &definition(&group, &["v1", "v2"], conversion));
            cluster.eventually("the conversion to fail", || !cluster.succeeds(&format!("-n {ns} get gadgets.v2.{group} g")));
        } else {
            // The embedded cluster calls no webhooks: what a real one answers, word for word.
            let (path, message) = (format!("/apis/{group}/v2"), format!("conversion webhook for {group}/v1, Kind=Gadget failed: Post \"https://127.0.0.1:1/convert?timeout=30s\": dial tcp 127.0.0.1:1: connect: connection refused"));
            proxy.rule(move |asked| {
                let about = asked.path.starts_with(&path) && asked.path.contains("/gadgets");
                about.then(|| Fate::Answer(500, "", failure(500, "InternalError", &message)))
            });
        }
        app.replace("bad/g.yaml", "a: 1", "a: 2").config_map("bad/beside.yaml", "beside", "2").config_map("good/a.yaml", "good", "2").remove("bad/gone.yaml").commit("two");
        let report = app.run(&format!("sync -o json --timeout 5s {with}")).exits(1).json();
        let error = of_app(&report, "bad")["error"].to_string();
        assert!(error.contains("conversion webhook") || error.contains("convert"), "{error}");
        assert_eq!(cluster.object(&ns, "configmap/good")["data"]["v"], "2");
        assert_eq!(cluster.object(&ns, "configmap/beside")["data"]["v"], "2", "only its objects suffer");
        assert!(cluster.has(&ns, "configmap/gone"), "nothing is pruned while a list fails");
        cluster.kubectl_input("apply", &definition(&group, &["v1", "v2"], "  conversion: {strategy: None}\n"));
        cluster.eventually("the conversion to work", || cluster.succeeds(&format!("-n {ns} get gadgets.v2.{group} g")));
        app.run(&format!("sync {QUIET}")).exits(0);
        assert!(!cluster.has(&ns, "configmap/gone"));
        assert_eq!(cluster.object(&ns, &format!("gadgets.v1.{group}/g"))["spec"]["a"], 2);
        seen("what cannot be converted waits, the rest is written, nothing of its app is pruned; all well once it converts");
    }

    /// A kind that is served late: an error that says so, and the daemon goes on when it is there.
    fn case_14_c_a_kind_that_is_served_late(cluster) {
        let app = Scratch::new(cluster, "late");
        let ns = app.namespace.clone();
        let group = format!("{ns}.example.org");
        app.write("bad/g.yaml", &gadget(&group, "v1")).config_map("good/a.yaml", "good", "1").commit("one");
        let daemon = Running::start(&app, "");
        let said = daemon.ended(&app, "HEAD");
        assert!(said.starts_with("error") && said.contains("Gadget"), "{said}");
        assert!(cluster.has(&ns, "configmap/good"));
        cluster.kubectl_input("apply", &definition(&group, &["v1"], ""));
        daemon.succeeds(&app, "HEAD");
        assert!(cluster.has(&ns, &format!("gadgets.{group}/g")));
        seen("not served: an error, the other app synced; served later: the daemon synced it by itself");
    }

    /// Too many requests, server errors, broken connections, conflicts: retried within bounds, ends converged.
    fn case_15_a_failures_are_retried_and_end_converged(cluster) {
        let app = Scratch::new(cluster, "flaky");
        let ns = app.namespace.clone();
        let proxy = Proxy::before(cluster);
        let names = ["c429", "c500", "c503", "c504", "creset", "clost", "c409"];
        for name in names {
            app.config_map(&format!("a/{name}.yaml"), name, "1");
        }
        app.commit("one");
        // The first two writes of each object meet the trouble that is its name.
        let tries: std::sync::Mutex<BTreeMap<String, usize>> = std::sync::Mutex::default();
        proxy.rule(move |asked| {
            let name = asked.path.split('?').next()?.rsplit('/').next()?.to_owned();
            let name = if asked.method == "POST" { text(&asked.body["metadata"]["name"]).to_owned() } else { name };
            if !asked.writes() || !names.contains(&name.as_str()) {
                return None;
            }
            let mut tries = tries.lock().unwrap();
            let count = tries.entry(name.clone()).or_default();
            *count += 1;
            if *count > 2 {
                return None;
            }
            Some(match name.as_str() {
                "c429" => Fate::Answer(429, "1", failure(429, "TooManyRequests", "too many requests, try again later")),
                "c500" => Fate::Answer(500, "", failure(500, "InternalError", "etcdserver: leader changed")),
                "c503" => Fate::Answer(503, "", failure(503, "ServiceUnavailable", "apiserver not ready")),
                "c504" => Fate::Answer(504, "", failure(504, "Timeout", "Timeout: request did not complete within the allotted timeout")),
                "creset" => Fate::Reset,
                "c409" => Fate::Answer(409, "", failure(409, "Conflict", "Operation cannot be fulfilled: the object has been modified; please apply your changes to the latest version")),
                _ => Fate::ResetAfter,
            })
        });
        for round in ["1", "2"] {
            for name in names {
                app.config_map(&format!("a/{name}.yaml"), name, round);
            }
            app.commit("round");
            app.run(&format!("sync {QUIET} --kubeconfig {}", proxy.kubeconfig(&app))).exits(0);
            for name in names {
                assert_eq!(cluster.object(&ns, &format!("configmap/{name}"))["data"]["v"], round, "{name}");
            }
        }
        let writes = |name: &str| proxy.asked().iter().filter(|asked| asked.writes() && (asked.path.contains(&format!("/configmaps/{name}?")) || asked.body["metadata"]["name"] == name)).count();
        let counts: Vec<String> = names.iter().map(|name| format!("{name} {}", writes(name))).collect();
        for name in names {
            assert!((3..=5).contains(&writes(name)), "{counts:?}");
        }
        app.run("plan").exits(0);
        assert_eq!(changes(&app.run("sync -o json").exits(0).json()), [""; 0]);
        seen(format!("two commits; writes asked for: {}", counts.join(", ")));
    }

    /// What the server refuses with 500 is a rejection, not a failure to be tried again; a server that never recovers is
    /// given up.
    fn case_15_b_a_rejection_is_not_resent(cluster) {
        let app = Scratch::new(cluster, "rejects");
        let ns = app.namespace.clone();
        let proxy = Proxy::before(cluster);
        let with = format!("--kubeconfig {}", proxy.kubeconfig(&app));
        // In the real server's own words, which it says for an unknown field, a wrong type and a duplicate key.
        for (file, yaml, words) in [
            ("unknown", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {nonsense: 1, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: 'a:1'}]}}}\n", "nonsense"),
            ("duplicate", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: 'a:1', env: [{name: X, value: a}, {name: X, value: b}]}]}}}\n", "X"),
        ] {
            app.write("a/d.yaml", yaml).commit(file);
            proxy.forget();
            app.run(&format!("sync {QUIET} {with}")).exits(1).says(words);
            let sent = proxy.asked().iter().filter(|asked| asked.method != "GET" && asked.path.contains("/deployments")).count();
            assert!(sent <= 2, "{file}: sent {sent} times");
            assert!(!cluster.has(&ns, "deployment/d"));
        }
        app.remove("a/d.yaml").config_map("a/c.yaml", "c", "1").commit("it never recovers");
        static SENT: AtomicUsize = AtomicUsize::new(0);
        proxy.rule(|asked| (asked.writes() && asked.path.contains("/configmaps") && asked.body["metadata"]["name"] == "c").then(|| {
            SENT.fetch_add(1, Ordering::Relaxed);
            Fate::Answer(503, "", failure(503, "ServiceUnavailable", "never"))
        }));
        SENT.store(0, Ordering::Relaxed);
        app.run(&format!("sync {QUIET} {with}")).exits(1).says("never");
        let bounded = SENT.load(Ordering::Relaxed);
        proxy.pass_everything();
        app.run(&format!("sync {QUIET} {with}")).exits(0);
        assert!(cluster.has(&ns, "configmap/c"));
        seen("an unknown field and a duplicate key: sent at most twice as a dry-run; a 503 without end: given up within bounds");
        assert!((2..=40).contains(&bounded), "{bounded}");
    }

    /// The whole API is gone in the middle of a sync and comes back.
    fn case_15_c_an_outage_in_mid_sync(cluster) {
        let app = Scratch::new(cluster, "midsync");
        let ns = app.namespace.clone();
        let proxy = Proxy::before(cluster);
        for i in 0..60 {
            app.config_map(&format!("a/{i}.yaml"), &format!("c{i}"), "1");
        }
        app.deployment("a/web.yaml", "web", "web:1", 2, "").commit("one");
        let written = std::sync::Arc::new(AtomicUsize::new(0));
        let counted = written.clone();
        proxy.rule(move |asked| {
            let count = counted.fetch_add(usize::from(asked.writes() && asked.path.contains("/configmaps")), Ordering::Relaxed);
            // From the 20th write on nothing answers, until the test says so.
            (count >= 20).then_some(Fate::Reset)
        });
        let child = app.start(&format!("sync -o json --timeout 60s --kubeconfig {}", proxy.kubeconfig(&app)));
        cluster.eventually("the outage is met", || written.load(Ordering::Relaxed) >= 24);
        proxy.pass_everything();
        let report = Scratch::ended(child).exits(0).json();
        assert_eq!(report["apps"][0]["sync"], "Synced");
        let names = cluster.kubectl(&format!("-n {ns} get configmaps -l applyset.kubernetes.io/part-of -o name"));
        assert_eq!(names.lines().count(), 60);
        assert_eq!(cluster.object(&ns, "deployment/web")["metadata"]["generation"], 1, "written once");
        app.run("plan").exits(0);
        seen("no answer after 20 of 61 writes, then back: one sync, exit 0, everything there once");
    }

    /// An API version that no server has any more: what to write instead, with file and line.
    fn case_16_a_removed_api_version_names_its_replacement(cluster) {
        let app = Scratch::new(cluster, "ancient");
        let ns = app.namespace.clone();
        app.config_map("good/a.yaml", "good", "1");
        for (kind, version, instead) in [
            ("PodDisruptionBudget", "policy/v1beta1", "policy/v1"),
            ("Ingress", "networking.k8s.io/v1beta1", "networking.k8s.io/v1"),
            ("Ingress", "extensions/v1beta1", "networking.k8s.io/v1"),
            ("CronJob", "batch/v1beta1", "batch/v1"),
            ("HorizontalPodAutoscaler", "autoscaling/v2beta2", "autoscaling/v2"),
            ("Deployment", "apps/v1beta2", "apps/v1"),
            ("CustomResourceDefinition", "apiextensions.k8s.io/v1beta1", "apiextensions.k8s.io/v1"),
        ] {
            app.write("bad/x.yaml", &format!("# what\napiVersion: {version}\nkind: {kind}\nmetadata: {{name: x}}\n")).commit("old");
            let words = [format!("bad/x.yaml:2: {kind} x"), format!("{version} {kind} was removed in Kubernetes 1."), format!("write {instead} instead")];
            for command in ["check", "sync"] {
                let ended = app.run(command).exits(1);
                words.iter().fold(ended, |ended, words| ended.says(words));
            }
        }
        assert!(cluster.has(&ns, "configmap/good"));
        seen("7 removed versions: file, version, when it was removed and what to write instead");
    }

    /// Everything that a YAML file may hold.
    fn case_17_a_what_yaml_may_hold(cluster) {
        let app = Scratch::new(cluster, "yaml");
        let ns = app.namespace.clone();
        // A BOM, CRLF, comments only, empty documents, a List, anchors and merge keys, booleans of YAML 1.1.
        app.write("a/bom.yaml", "\u{feff}apiVersion: v1\r\nkind: ConfigMap\r\nmetadata:\r\n  name: bom\r\ndata:\r\n  text: |\r\n    one\r\n    two\r\n");
        app.write("a/comments.yaml", "# nothing\n---\n# but comments\n---\n\n---\n");
        app.write("a/list.yaml", "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: l1}}\n- apiVersion: v1\n  kind: ConfigMapList\n  items: [{apiVersion: v1, kind: ConfigMap, metadata: {name: l2}}]\n");
        app.write("a/anchors.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: anchors, labels: &l {a: one, b: two}}\ndata:\n  <<: *l\n  b: three\n");
        app.write("a/booleans.yaml", "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: booleans}\nautomountServiceAccountToken: no\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: quoted}\ndata: {a: \"yes\", b: 'off', c: \"0o14\"}\nimmutable: off\n");
        app.commit("one");
        app.run("sync").exits(0);
        app.run("plan").exits(0);
        let data = |name: &str| cluster.object(&ns, &format!("configmap/{name}"))["data"].clone();
        assert_eq!(data("bom")["text"], "one\ntwo\n");
        assert!(cluster.has(&ns, "configmap/l1") && cluster.has(&ns, "configmap/l2"));
        assert_eq!(data("anchors"), json!({"a": "one", "b": "three"}));
        assert_eq!(data("quoted"), json!({"a": "yes", "b": "off", "c": "0o14"}));
        assert_eq!(cluster.object(&ns, "serviceaccount/booleans")["automountServiceAccountToken"], false);
        assert_eq!(cluster.object(&ns, "configmap/quoted")["immutable"], false);
        seen("BOM, CRLF, comments, empty documents, List, anchors, merge keys, YAML 1.1 booleans: as kubectl reads them");
    }

    /// What cannot be meant: generated names, a key that is there twice (both lines), a boolean for a text.
    fn case_17_b_what_yaml_may_not_hold(cluster) {
        let app = Scratch::new(cluster, "badyaml");
        let ns = app.namespace.clone();
        for (yaml, words) in [
            ("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  generateName: x-\n", vec!["a/x.yaml:4", "generateName"]),
            ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n  a: one\n  b: two\n  a: three\n", vec!["a/x.yaml:7", "5"]),
            ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n  a: yes\n", vec!["a/x.yaml", "Quote it"]),
            ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n", vec!["twice", "a/x.yaml:1"]),
        ] {
            app.write("a/x.yaml", yaml).commit("bad");
            let said = app.run("sync").exits(1);
            for word in words {
                assert!(said.out.contains(word), "{word:?} is not in {}", said.out);
            }
            assert!(!cluster.has(&ns, "configmap/x"));
        }
        seen("generateName, duplicate key (both lines), bare yes for a text, one object twice: errors with file:line");
    }

    /// Ten thousand documents in one file.
    fn case_17_c_ten_thousand_documents(cluster) {
        let app = Scratch::new(cluster, "many");
        let ns = app.namespace.clone();
        let mut file = String::new();
        for i in 0..10_000 {
            file.push_str(if i % 1000 == 0 { "---\n" } else { "---\n# nothing here\n" });
            if i % 1000 == 0 {
                file.push_str(&format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{i}}}\n"));
            }
        }
        app.write("a/all.yaml", &file);
        let many: String = (0..10_000).map(|i| format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m{i}}}\n")).collect();
        app.write("b/all.yaml", &many).commit("one");
        let begun = std::time::Instant::now();
        let rendered = app.run("render b").exits(0).out.matches("kind: ConfigMap").count();
        assert_eq!(rendered, 10_000);
        let took = begun.elapsed();
        app.run("sync a").exits(0);
        assert!(cluster.has(&ns, "configmap/c9000") && !cluster.has(&ns, "configmap/c1"));
        app.run("plan a").exits(0);
        assert!(!uid(cluster, &ns, "configmap/c0").is_empty());
        seen(format!("10,000 objects of one file rendered (in {:.1} s, a debug build); 10 of 10,000 documents synced", took.as_secs_f64()));
    }
}
