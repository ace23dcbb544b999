//! Cases 18 to 20: what is removed from Git goes, in its order; what needs a person's word waits for it.

use super::facts::{change, changes, pods, text, uid};
use super::proxy::Proxy;
use super::table::seen;
use crate::feature::cluster::Cluster;
use crate::feature::scratch::Scratch;
use crate::on_every_cluster;
use serde_json::Value;

/// A Deployment with all around it: Ingress, Service, ServiceAccount and a ConfigMap that its pods read.
const OLD: &str = r#"apiVersion: apps/v1
kind: Deployment
metadata: {name: old}
spec:
  selector: {matchLabels: {app: old}}
  template:
    metadata: {labels: {app: old}}
    spec: {serviceAccountName: old, containers: [{name: main, image: "old:1", envFrom: [{configMapRef: {name: old}}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: old}
spec: {selector: {app: old}, ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: old}
spec: {rules: [{http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: old, port: {number: 80}}}}]}}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: old}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: old}
data: {a: b}
"#;

/// Adds or removes a finalizer.
pub fn finalizer(cluster: &Cluster, namespace: &str, object: &str, there: bool) {
    let patch = if there {
        r#"[{"op":"add","path":"/metadata/finalizers","value":["example.org/wait"]}]"#
    } else {
        r#"[{"op":"remove","path":"/metadata/finalizers"}]"#
    };
    cluster.kubectl(&format!("-n {namespace} patch {object} --type=json -p {patch}"));
}

/// True while an object is being deleted.
pub fn is_going(cluster: &Cluster, namespace: &str, object: &str) -> bool {
    cluster.has(namespace, object) && cluster.object(namespace, object)["metadata"].get("deletionTimestamp").is_some()
}

fn claim(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: {name}}}\nspec: {{accessModes: [ReadWriteOnce], storageClassName: none, resources: {{requests: {{storage: 1Gi}}}}}}\n"
    )
}

fn error(report: &Value) -> &str {
    text(&report["apps"][0]["error"]["reason"])
}

on_every_cluster! {
    /// After the rest is healthy, in reverse order, in the foreground, and finalizers are waited for.
    fn case_18_pruned_last_and_in_reverse(cluster) {
        let app = Scratch::new(cluster, "pruned");
        let ns = app.namespace.clone();
        let proxy = Proxy::before(cluster);
        app.write("a/old.yaml", OLD).deployment("a/web.yaml", "web", "web:1", 1, "").config_map("a/held.yaml", "held", "1");
        app.config_map("a/one.yaml", "one", "1").config_map("a/two.yaml", "two", "1").config_map("a/three.yaml", "three", "1").config_map("a/four.yaml", "four", "1").commit("one");
        app.run("sync").exits(0);
        finalizer(cluster, &ns, "configmap/held", true);
        // Its new pods take a while.
        app.deployment("a/web.yaml", "web", "web:2", 1, "").replace("a/web.yaml", "metadata: {labels: {app: web}}", "metadata: {labels: {app: web}, annotations: {sim.driftless.dev/ready-after: 2s}}");
        app.remove("a/old.yaml").remove("a/held.yaml").commit("two");
        app.run("approve a").exits(0);
        let mut child = app.start(&format!("sync --timeout 60s --kubeconfig {}", proxy.kubeconfig(&app)));
        let ready = || {
            let web = cluster.object(&ns, "deployment/web");
            web["spec"]["template"].to_string().contains("web:2") && web["status"]["observedGeneration"] == web["metadata"]["generation"]
                && web["status"]["updatedReplicas"] == 1 && web["status"]["readyReplicas"] == 1 && web["status"]["replicas"] == 1
        };
        cluster.eventually("the new pods are ready", || {
            let gone = !cluster.has(&ns, "ingress/old");
            let ready = ready();
            assert!(!gone || ready, "pruned before the rest is healthy");
            ready
        });
        cluster.eventually("the prune of what has a finalizer", || is_going(cluster, &ns, "configmap/held"));
        assert!(matches!(child.try_wait(), Ok(None)), "the finalizer is waited for");
        finalizer(cluster, &ns, "configmap/held", false);
        Scratch::ended(child).exits(0);
        assert!(!cluster.has(&ns, "configmap/held"));
        let deleted: Vec<_> = proxy.asked().into_iter().filter(|asked| asked.method == "DELETE" && asked.writes()).collect();
        // `held` has nothing to do with the others: it goes when it likes.
        let order = deleted.iter().map(super::proxy::Asked::brief).filter(|brief| !brief.ends_with("/held"));
        let order: Vec<String> = order.map(|brief| brief.rsplit('/').nth(1).unwrap().to_owned()).collect();
        let place = |resource: &str| order.iter().position(|found| found == resource).unwrap_or_else(|| panic!("{resource}: {order:?}"));
        for (first, second) in [("ingresses", "services"), ("deployments", "serviceaccounts"), ("deployments", "configmaps")] {
            assert!(place(first) < place(second), "{first} before {second}: {order:?}");
        }
        for asked in &deleted {
            assert_eq!(asked.body["propagationPolicy"], "Foreground", "{asked:?}");
            assert!(asked.body["preconditions"]["uid"].is_string(), "{asked:?}");
        }
        assert!(pods(cluster, &ns).iter().all(|pod| !pod.starts_with("old")));
        app.run("plan").exits(0);
        seen(format!("after the new pods: {}; foreground, with uid", order.join(", ")));
    }

    /// An empty source, a wrong path: refused. Over the limit: refused until approved; what is no prune goes on.
    fn case_19_nothing_is_pruned_by_mistake(cluster) {
        let app = Scratch::new(cluster, "approve");
        let ns = app.namespace.clone();
        for i in 1..=6 {
            app.config_map(&format!("a/{i}.yaml"), &format!("c{i}"), "1");
        }
        app.config_map("b/b.yaml", "b", "1").commit("one");
        app.run("sync").exits(0);
        app.run("sync --path nowhere").exits(1).says("nowhere");
        for i in 1..=5 {
            app.remove(&format!("a/{i}.yaml"));
        }
        app.config_map("a/6.yaml", "c6", "2").commit("two");
        app.run("plan").exits(4).says("driftless approve a");
        let report = app.run("sync -o json").exits(4).json();
        assert_eq!(error(&report), "PruneLimit");
        assert_eq!(cluster.object(&ns, "configmap/c6")["data"]["v"], "2");
        assert!(cluster.has(&ns, "configmap/c1"));
        app.run("log --wait").exits(4);
        app.run("approve a").exits(0);
        app.run("sync").exits(0);
        assert!(!cluster.has(&ns, "configmap/c1") && cluster.has(&ns, "configmap/c6"));
        let said: Vec<Option<u64>> = app.states().into_iter().filter(|s| s.0 != "pending").map(|s| s.1).collect();
        assert_eq!(said, [Some(4), Some(0)]);
        // An app whose files say nothing, then a tree without anything.
        app.write("a/6.yaml", "# nothing\n").commit("an empty app");
        app.run("sync").exits(4);
        app.remove("a").remove("b").commit("an empty tree");
        app.run("plan").exits(4);
        app.run("sync").exits(4).says("refused to delete it");
        assert!(cluster.has(&ns, "configmap/c6") && cluster.has(&ns, "configmap/b"));
        seen("5 of 6 removed: PruneLimit until approved; emptied app, empty tree, wrong path: refused, nothing pruned");
    }

    /// A Namespace with others' objects, a CRD with others' instances, a claim: a person's word first.
    fn case_20_a_what_holds_more_waits_for_approval(cluster) {
        let app = Scratch::new(cluster, "precious");
        let ns = app.namespace.clone();
        let (space, group) = (format!("{ns}-space"), format!("{ns}.example.org"));
        app.write("a/space.yaml", &format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {space}}}\n"));
        app.write("b/crd.yaml", &format!("apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: jewels.{group}}}\nspec:\n  group: {group}\n  scope: Namespaced\n  names: {{plural: jewels, singular: jewel, kind: Jewel}}\n  versions: [{{name: v1, served: true, storage: true, schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}}}]\n"));
        app.write("c/claim.yaml", &claim("data"));
        for name in ["a", "b", "c"] {
            app.config_map(&format!("{name}/c.yaml"), &format!("of-{name}"), "1");
        }
        app.commit("one");
        app.run("sync --no-wait").exits(0);
        cluster.kubectl(&format!("-n {space} create configmap foreign"));
        cluster.eventually("the definition is served", || cluster.succeeds(&format!("-n {ns} get jewels.{group}")));
        cluster.kubectl_input(&format!("-n {ns} apply"), &format!("apiVersion: {group}/v1\nkind: Jewel\nmetadata: {{name: foreign}}\n"));
        app.remove("a/space.yaml").remove("b/crd.yaml").remove("c/claim.yaml").commit("two");
        let report = app.run("sync -o json --no-wait").exits(4).json();
        let reasons: Vec<&str> = report["apps"].as_array().unwrap().iter().map(|app| text(&app["error"]["reason"])).collect();
        assert!(reasons.iter().all(|reason| !reason.is_empty()), "{reasons:?}");
        assert!(report.to_string().contains("foreign"), "{report:#}");
        for (space, object) in [(space.as_str(), "configmap/foreign"), (ns.as_str(), &format!("jewels.{group}/foreign")), (&ns, "pvc/data")] {
            assert!(cluster.has(space, object), "{object}");
        }
        for name in ["a", "b", "c"] {
            app.run(&format!("approve {name}")).exits(0);
        }
        app.run("sync --timeout 60s").exits(0);
        assert!(!cluster.succeeds(&format!("get namespace {space}")) && !cluster.succeeds(&format!("get crd jewels.{group}")) && !cluster.has(&ns, "pvc/data"));
        seen(format!("Namespace, CRD, PVC: {}; gone once approved", reasons.join(", ")));
    }

    /// A rollback asks as well.
    fn case_20_b_a_rollback_waits_for_approval_too(cluster) {
        let app = Scratch::new(cluster, "rollclaim");
        let ns = app.namespace.clone();
        app.write("driftless.toml", "[defaults]\ntimeout = \"5s\"\n").config_map("a/a.yaml", "a", "1").commit("one");
        app.run("sync").exits(0);
        app.write("a/claim.yaml", &claim("data")).config_map("a/a.yaml", "a", "2").commit("two");
        app.run("sync --no-wait").exits(0);
        let before = uid(cluster, &ns, "pvc/data");
        app.run("rollback a --to HEAD~1").exits(4).says("PersistentVolumeClaim");
        assert_eq!(uid(cluster, &ns, "pvc/data"), before);
        assert!(!is_going(cluster, &ns, "pvc/data"));
        seen("rollback to before the claim: exit 4, the claim stays");
    }

    /// What says so is kept; what is somebody else's by now is left alone. Both are said.
    fn case_20_c_kept_and_left_alone(cluster) {
        let app = Scratch::new(cluster, "kept");
        let ns = app.namespace.clone();
        let noted = |name: &str, note: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, annotations: {{{note}}}}}\n");
        app.write("a/disabled.yaml", &noted("disabled", "driftless.dev/prune: disabled")).write("a/keep.yaml", &noted("keep", "helm.sh/resource-policy: keep"));
        for name in ["stays", "relabelled", "recreated", "plain"] {
            app.config_map(&format!("a/{name}.yaml"), name, "1");
        }
        app.write("driftless.toml", "[defaults]\nprune_limit = \"100%\"\n").commit("one");
        app.run("sync").exits(0);
        cluster.kubectl(&format!("-n {ns} label configmap relabelled applyset.kubernetes.io/part-of=applyset-of-somebody-else --overwrite"));
        let part = text(&cluster.object(&ns, "configmap/recreated")["metadata"]["labels"]["applyset.kubernetes.io/part-of"]).to_owned();
        cluster.kubectl(&format!("-n {ns} delete configmap recreated"));
        cluster.kubectl(&format!("-n {ns} create configmap recreated"));
        cluster.kubectl(&format!("-n {ns} label configmap recreated applyset.kubernetes.io/part-of={part}"));
        let names = ["disabled", "keep", "relabelled", "recreated", "plain"];
        for name in names {
            app.remove(&format!("a/{name}.yaml"));
        }
        app.commit("two");
        let plan = app.run("plan").exits(2);
        for name in ["disabled", "keep"] {
            assert!(plan.out.contains(name) || plan.err.contains(name), "{name} is said to be kept:\n{}{}", plan.out, plan.err);
        }
        let report = app.run("sync -o json").exits(0).json();
        let deleted: Vec<String> = report["apps"][0]["changes"].as_array().unwrap().iter().map(change).filter(|change| change.ends_with("prune")).collect();
        assert_eq!(deleted, ["ConfigMap/plain: prune"], "{report:#}");
        for name in ["disabled", "keep", "relabelled", "recreated", "stays"] {
            assert!(cluster.has(&ns, &format!("configmap/{name}")), "{name}");
        }
        app.run("plan").exits(0);
        let again = changes(&app.run("sync -o json").exits(0).json());
        assert_eq!(again, ["ConfigMap/disabled: none", "ConfigMap/keep: none"], "said each time, and nothing is done");
        seen("prune: disabled and keep are said and stay; relabelled and recreated stay; 1 of 5 pruned");
    }
}
