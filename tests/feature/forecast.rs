//! What a plan foresees of pods, and whether it comes true.

use super::scratch::Scratch;
use crate::on_every_cluster;
use serde_json::Value;

fn quota(pods: u32) -> String {
    format!("apiVersion: v1\nkind: ResourceQuota\nmetadata: {{name: q}}\nspec: {{hard: {{pods: \"{pods}\"}}}}\n")
}

fn web(app: &Scratch, image: &str, rolling: &str) {
    app.write(
        "a/web.yaml",
        &format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  replicas: 2\n  strategy: {{rollingUpdate: {{{rolling}}}}}\n  selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    spec: {{containers: [{{name: main, image: \"{image}\"}}]}}\n"
        ),
    );
}

fn forecast(app: &Scratch, object: &str) -> Value {
    let plan = app.run("plan -o json").exits(2).json();
    let changes = plan["apps"][0]["changes"].as_array().cloned().unwrap_or_default();
    changes.into_iter().find(|change| change["object"]["name"] == object).unwrap_or_default()["forecast"].clone()
}

on_every_cluster! {
    /// A full quota and a rollout that may miss no pod: foreseen, and true. One that may miss a pod, or a quota that is
    /// raised by the same commit: no such forecast, and it ends well.
    fn a_rollout_without_room(cluster) {
        let app = Scratch::new(cluster, "room");
        let ns = app.namespace.clone();
        app.write("a/q.yaml", &quota(2));
        web(&app, "web:1", "maxSurge: 1, maxUnavailable: 0");
        app.commit("one");
        app.run("sync").exits(0);
        cluster.eventually("the quota to be counted", || cluster.object(&ns, "resourcequota/q")["status"]["used"]["pods"] == "2");
        web(&app, "web:2", "maxSurge: 1, maxUnavailable: 0");
        app.commit("two");
        let seen = forecast(&app, "web");
        assert!(seen["impossible"].as_str().unwrap_or_default().contains("exceeded quota: q"), "{seen:#}");
        assert_eq!((&seen["pods"], &seen["because"][0]), (&2.into(), &".spec.template.spec.containers[name=\"main\"].image".into()));
        app.run("plan").exits(2).says("cannot end well");
        app.run("plan -o markdown").exits(2).says("cannot end well");
        app.run("sync --timeout 5s").exits(3);
        web(&app, "web:3", "maxSurge: 0, maxUnavailable: 1");
        app.commit("three");
        assert_eq!(forecast(&app, "web")["impossible"], Value::Null);
        app.run("sync").exits(0);
        app.write("a/q.yaml", &quota(3));
        web(&app, "web:4", "maxSurge: 1, maxUnavailable: 0");
        app.commit("four");
        assert_eq!(forecast(&app, "web")["impossible"], Value::Null);
        app.run("sync").exits(0);
    }

    /// More pods than the quota holds, a budget that lets none go, and limits that round to nothing.
    fn what_is_worth_knowing(cluster) {
        let app = Scratch::new(cluster, "worth");
        let ns = app.namespace.clone();
        app.write("a/q.yaml", &quota(2));
        app.commit("one");
        app.run("sync").exits(0);
        cluster.eventually("the quota to be counted", || cluster.object(&ns, "resourcequota/q")["status"]["used"]["pods"] == "0");
        app.deployment("a/many.yaml", "many", "a:1", 4, "");
        app.write("a/b.yaml", "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: b}\nspec: {minAvailable: 4, selector: {matchLabels: {app: many}}}\n");
        app.commit("two");
        let seen = forecast(&app, "many");
        assert!(seen["impossible"].as_str().unwrap_or_default().starts_with("2 of its 4 pods fit into ResourceQuota q"), "{seen:#}");
        assert!(seen["notes"][0].as_str().unwrap_or_default().contains("lets none of 4 pods go"), "{seen:#}");
        app.run("sync --timeout 5s").exits(3);
        let ready = cluster.object(&ns, "deployment/many")["status"]["replicas"].clone();
        assert_eq!(ready, 2, "as foreseen");
        app.remove("a/many.yaml").remove("a/b.yaml").write("a/q.yaml", &quota(9));
        web(&app, "web:1", "maxSurge: 0, maxUnavailable: 40%");
        app.commit("three");
        app.run("sync").exits(0);
        web(&app, "web:2", "maxSurge: 0, maxUnavailable: 40%");
        app.commit("four");
        let seen = forecast(&app, "web");
        assert!(seen["notes"][0].as_str().unwrap_or_default().contains("both round to 0"), "{seen:#}");
    }

    /// What admission would say to the pods, which the workload itself does not show.
    fn pods_that_are_refused(cluster) {
        let app = Scratch::new(cluster, "refused");
        let ns = app.namespace.clone();
        app.write("a/sa.yaml", "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: own}\n");
        app.deployment("a/web.yaml", "web", "a:1", 1, "");
        let with = |sa: &str| {
            let text = std::fs::read_to_string(app.path().join("a/web.yaml")).unwrap();
            app.write("a/web.yaml", &text.replace("spec: {containers", &format!("spec: {{serviceAccountName: {sa}, containers")));
        };
        with("own");
        app.commit("one");
        assert_eq!(forecast(&app, "web")["impossible"], Value::Null, "it comes with the same commit");
        app.run("sync").exits(0);
        app.deployment("a/web.yaml", "web", "a:1", 1, "");
        with("nobody");
        app.commit("two");
        let seen = forecast(&app, "web");
        assert!(seen["impossible"].as_str().unwrap_or_default().contains("\"nobody\" not found"), "{seen:#}");
        if cluster.plane.is_some() {
            cluster.kubectl(&format!("label namespace {ns} pod-security.kubernetes.io/enforce=restricted"));
            app.deployment("a/web.yaml", "web", "a:2", 1, "");
            app.commit("three");
            let seen = forecast(&app, "web");
            assert!(seen["impossible"].as_str().unwrap_or_default().contains("violates PodSecurity"), "{seen:#}");
        }
    }
}
