//! Hooks of Argo CD and Helm, and Helm charts by the real Helm.

use super::cluster::Cluster;
use super::scratch::Scratch;
use crate::on_every_cluster;
use crate::support::control_plane;
use serde_json::{Value, json};

/// A Job in a file of its own.
fn job(app: &Scratch, name: &str, annotations: &str, pods: &str) {
    let yaml = format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: {name}\n  annotations: {{{annotations}}}\nspec:\n  backoffLimit: 0\n  template:\n    metadata: {{annotations: {{{pods}}}}}\n    spec: {{restartPolicy: Never, containers: [{{name: main, image: \"job:1\", envFrom: [{{configMapRef: {{name: settings}}}}]}}]}}\n"
    );
    app.write(&format!("web/{name}.yaml"), &yaml);
}

/// `Kind/name` of what a sync wrote, in its order.
fn order(report: &Value) -> Vec<String> {
    let changes = report["apps"][0]["changes"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    changes.map(|c| format!("{}/{}", text(&c["object"]["kind"]), text(&c["object"]["name"]))).collect()
}

fn uid(cluster: &Cluster, namespace: &str, object: &str) -> String {
    cluster.object(namespace, object)["metadata"]["uid"].as_str().unwrap().to_owned()
}

const PRE: &str = "argocd.argoproj.io/hook: PreSync";
const POST: &str = "argocd.argoproj.io/hook: PostSync, argocd.argoproj.io/hook-delete-policy: HookSucceeded";

on_every_cluster! {
    /// Before, after, once per sync, and gone with the app.
    fn hooks_run_once_for_a_sync(cluster) {
        let app = Scratch::new(cluster, "hooks");
        let ns = app.namespace.clone();
        app.config_map("web/settings.yaml", "settings", "1").deployment("web/deploy.yaml", "web", "web:1", 1, "");
        app.config_map("other/a.yaml", "other", "1");
        job(&app, "migrate", PRE, "");
        job(&app, "notify", POST, "");
        job(&app, "smoke", "helm.sh/hook: test", "");
        job(&app, "farewell", "argocd.argoproj.io/hook: PreDelete", "");
        app.commit("one");
        let plan = app.run("plan web -o json").exits(2).json();
        assert_eq!(order(&plan), ["ConfigMap/settings", "Job/migrate", "Deployment/web", "Job/notify"]);
        assert_eq!((&plan["apps"][0]["changes"][1]["hook"], &plan["apps"][0]["changes"][3]["hook"]), (&json!("before"), &json!("after")));
        app.run("sync web").exits(0);
        let first = uid(cluster, &ns, "job/migrate");
        assert!(!cluster.has(&ns, "job/notify") && !cluster.has(&ns, "job/smoke") && !cluster.has(&ns, "job/farewell"));
        // The Job's finalizer is gone: its TTL could remove it.
        assert!(cluster.object(&ns, "job/migrate")["metadata"].get("finalizers").is_none());

        app.run("plan web").exits(0);
        app.run("sync web").exits(0);
        assert_eq!(uid(cluster, &ns, "job/migrate"), first, "nothing new: nothing runs");
        cluster.kubectl(&format!("-n {ns} delete deployment web"));
        assert_eq!(order(&app.run("sync web -o json").exits(0).json()), ["Deployment/web"], "a repair runs no hook");

        app.config_map("web/settings.yaml", "settings", "2").commit("two");
        app.run("sync web").exits(0);
        assert_ne!(uid(cluster, &ns, "job/migrate"), first);

        app.remove("web").commit("gone");
        let gone = app.run("sync -o json").exits(0).json();
        let removed = gone["apps"].as_array().unwrap().iter().find(|app| app["name"] == "web").unwrap();
        let names: Vec<&str> = removed["changes"].as_array().unwrap().iter().map(|c| c["object"]["name"].as_str().unwrap()).collect();
        assert_eq!(names[0], "farewell", "{names:?}");
        for object in ["job/farewell", "job/migrate", "deployment/web"] {
            assert!(!cluster.has(&ns, object), "{object}");
        }
    }

    /// A failed hook stops the sync, says why, and runs what is for that; `sync` tries it once more.
    fn a_failed_hook_stops_the_sync(cluster) {
        let app = Scratch::new(cluster, "hookfail");
        let ns = app.namespace.clone();
        app.config_map("web/settings.yaml", "settings", "1");
        job(&app, "migrate", PRE, "sim.driftless.dev/crash-after: 200ms");
        job(&app, "alarm", "argocd.argoproj.io/hook: SyncFail", "");
        app.commit("one");
        app.config_map("web/late.yaml", "late", "1").commit("two");
        let failed = app.run("sync").exits(3).says("the hook failed: BackoffLimitExceeded");
        assert!(failed.out.contains("Job") && !cluster.has(&ns, "configmap/late"));
        assert_eq!(cluster.object(&ns, "job/alarm")["status"]["succeeded"], 1);
        let first = uid(cluster, &ns, "job/migrate");
        app.run("sync").exits(3);
        assert_ne!(uid(cluster, &ns, "job/migrate"), first);
        job(&app, "migrate", PRE, "");
        app.commit("three");
        app.run("sync").exits(0);
        assert!(cluster.has(&ns, "configmap/late"));
    }

    /// A hook that cannot begin is named, with what its pod waits for.
    fn a_hook_that_never_begins(cluster) {
        let app = Scratch::new(cluster, "hookpull");
        app.config_map("web/settings.yaml", "settings", "1");
        job(&app, "migrate", PRE, "");
        app.replace("web/migrate.yaml", "job:1", "job:bad").commit("one");
        let failed = app.run("sync --timeout 5s").exits(3).says("did not end in time; pod migrate-");
        let text = failed.out + &failed.err;
        assert!(text.contains("ImagePullBackOff") || text.contains("ErrImagePull"), "{text}");
        assert!(!text.contains("unanswered"), "{text}");
    }

    /// Killed while a hook runs, or after it ended: it is the same run that is waited for, also if its TTL passed.
    fn killed_in_mid_hook(cluster) {
        let app = Scratch::new(cluster, "hookkill");
        let ns = app.namespace.clone();
        app.config_map("web/settings.yaml", "settings", "1");
        job(&app, "migrate", PRE, "sim.driftless.dev/complete-after: 2s");
        let path = app.path().join("web/migrate.yaml");
        let text = std::fs::read_to_string(&path).unwrap().replace("backoffLimit: 0", "backoffLimit: 0\n  ttlSecondsAfterFinished: 0");
        std::fs::write(path, text).unwrap();
        app.config_map("web/late.yaml", "late", "1").commit("one");
        let mut child = app.start("sync");
        cluster.eventually("the hook to run", || cluster.has(&ns, "job/migrate"));
        let first = uid(cluster, &ns, "job/migrate");
        child.kill().unwrap();
        child.wait().unwrap();
        // It ends, and its TTL passes, while nobody looks.
        cluster.eventually("its TTL to pass", || cluster.object(&ns, "job/migrate")["metadata"].get("deletionTimestamp").is_some());
        assert_eq!(uid(cluster, &ns, "job/migrate"), first);
        app.run("sync").exits(0);
        cluster.eventually("the Job to go", || !cluster.has(&ns, "job/migrate"));
        assert!(cluster.has(&ns, "configmap/late"));
    }

    /// A chart by the real Helm: values, hooks by weight, an upgrade, and what is random.
    fn a_chart(cluster) {
        if !control_plane::kubectl().is_some_and(|kubectl| kubectl.with_file_name("helm").exists()) {
            return control_plane::skip();
        }
        let app = Scratch::new(cluster, "chart");
        let ns = app.namespace.clone();
        app.write("chart/Chart.yaml", "apiVersion: v2\nname: shop\nversion: 1.0.0\n").write("chart/values.yaml", "size: small\n");
        app.write("chart/values-prod.yaml", "size: large\n");
        app.write("chart/templates/settings.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"{{ .Release.Name }}-settings\"}\ndata: {size: {{ .Values.size | quote }}}\n");
        let hook = |name: &str, on: &str, weight: &str| format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: {name}\n  annotations: {{helm.sh/hook: \"{on}\", helm.sh/hook-weight: \"{weight}\"}}\nspec: {{template: {{spec: {{restartPolicy: Never, containers: [{{name: a, image: \"a:1\"}}]}}}}}}\n"
        );
        app.write("chart/templates/install.yaml", &hook("install", "pre-install", "5"));
        app.write("chart/templates/first.yaml", &hook("first", "pre-install,pre-upgrade", "-5"));
        app.write("chart/templates/upgrade.yaml", &hook("upgrade", "post-upgrade", "0"));
        let kubeconfig = app.kubeconfig_with("chart", |_| {});
        app.write("driftless.toml", &format!(
            "[[cluster]]\nname = \"default\"\nkubeconfig = \"{kubeconfig}\"\n[[app]]\npath = \"chart\"\nhelm = {{ release = \"prod\", values = [\"values-prod.yaml\"] }}\n"
        ));
        app.commit("one");
        assert_eq!(order(&app.run("sync -o json").exits(0).json()), ["Job/first", "Job/install", "ConfigMap/prod-settings"]);
        assert_eq!(cluster.object(&ns, "configmap/prod-settings")["data"]["size"], "large");
        app.run("plan").exits(0);
        app.write("chart/values-prod.yaml", "size: huge\n").commit("two");
        assert_eq!(order(&app.run("sync -o json").exits(0).json()), ["Job/first", "ConfigMap/prod-settings", "Job/upgrade"]);
        app.write("chart/templates/secret.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: {{ randAlphaNum 20 | quote }}}\n");
        app.commit("three");
        app.run("sync").exits(1).says("the chart renders differently each time: Secret s at `.stringData.password`");
        app.write("chart/templates/secret.yaml", "{{ .Values.nothing.here }}\n").commit("four");
        app.run("check").exits(1).says("chart/templates/secret.yaml:1");
    }
}
