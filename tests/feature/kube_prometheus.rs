//! kube-prometheus as its authors ship it, and a day's work on it: definitions of up to 800 KB and resources of them in
//! one commit, then changes one by one. Each is planned, synced, and looked at from outside: what was planned happened,
//! objects that the plan does not name were not touched, and pods restarted only where the plan says so.

use super::real_apps::{prepared, settles};
use super::scratch::Scratch;
use crate::on_every_cluster;
use driftless::inventory::identity::PART_OF;
use driftless::live::client::{Call, Client, Target};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Instant;
use tokio::runtime::Runtime;

const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

const COLLECTIONS: [(&str, &str); 19] = [
    ("Namespace", "/api/v1/namespaces"),
    ("ConfigMap", "/api/v1/configmaps"),
    ("Secret", "/api/v1/secrets"),
    ("Service", "/api/v1/services"),
    ("ServiceAccount", "/api/v1/serviceaccounts"),
    ("Deployment", "/apis/apps/v1/deployments"),
    ("DaemonSet", "/apis/apps/v1/daemonsets"),
    ("NetworkPolicy", "/apis/networking.k8s.io/v1/networkpolicies"),
    ("PodDisruptionBudget", "/apis/policy/v1/poddisruptionbudgets"),
    ("Role", "/apis/rbac.authorization.k8s.io/v1/roles"),
    ("RoleBinding", "/apis/rbac.authorization.k8s.io/v1/rolebindings"),
    ("ClusterRole", "/apis/rbac.authorization.k8s.io/v1/clusterroles"),
    ("ClusterRoleBinding", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"),
    ("CustomResourceDefinition", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"),
    ("APIService", "/apis/apiregistration.k8s.io/v1/apiservices"),
    ("Prometheus", "/apis/monitoring.coreos.com/v1/prometheuses"),
    ("Alertmanager", "/apis/monitoring.coreos.com/v1/alertmanagers"),
    ("PrometheusRule", "/apis/monitoring.coreos.com/v1/prometheusrules"),
    ("ServiceMonitor", "/apis/monitoring.coreos.com/v1/servicemonitors"),
];

/// Kinds with a status that controllers write at any time: their generation and what we wrote are compared instead.
const WITH_STATUS: [&str; 6] =
    ["Namespace", "Deployment", "DaemonSet", "PodDisruptionBudget", "CustomResourceDefinition", "APIService"];

/// The app on a cluster.
struct Day<'a> {
    app: &'a Scratch,
    client: Client,
    runtime: Runtime,
    id: String,
    /// What the last step left.
    left: RefCell<Versions>,
}

type Versions = BTreeMap<String, Value>;

impl Day<'_> {
    fn get(&self, path: &str, accept: &'static str) -> Value {
        let mut call = Call::get(path);
        call.accept = accept;
        self.runtime.block_on(self.client.send_patiently(&call)).unwrap().body
    }

    /// Every object of the app, with what changes when it is written: `Kind/name`, with its namespace where that is
    /// another one.
    fn versions(&self) -> Versions {
        let mut out = BTreeMap::new();
        for (kind, path) in COLLECTIONS {
            let list = self.get(&format!("{path}?labelSelector={PART_OF}%3D{}", self.id), METADATA);
            for item in list["items"].as_array().unwrap() {
                let metadata = &item["metadata"];
                let name = name(kind, metadata["namespace"].as_str(), metadata["name"].as_str().unwrap());
                let fields = metadata["managedFields"].as_array().into_iter().flatten();
                let ours: Vec<&Value> = fields.filter(|entry| entry["manager"] == "driftless").collect();
                let version = match WITH_STATUS.contains(&kind) {
                    true => json!([metadata["uid"], metadata["generation"], ours]),
                    false => json!([metadata["uid"], metadata["resourceVersion"]]),
                };
                out.insert(name, version);
            }
        }
        out
    }

    /// Uids of the pods that are not on their way out, by what they are pods of.
    fn pods(&self) -> BTreeMap<String, BTreeSet<String>> {
        let list = self.get("/api/v1/namespaces/monitoring/pods", "application/json");
        let mut out: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for pod in list["items"].as_array().unwrap() {
            let metadata = &pod["metadata"];
            if metadata["deletionTimestamp"].is_null() {
                let of = metadata["labels"]["app.kubernetes.io/name"].as_str().unwrap_or_default().to_owned();
                out.entry(of).or_default().insert(metadata["uid"].as_str().unwrap().to_owned());
            }
        }
        out
    }

    /// True if every workload has the pods that it wants, and no others.
    fn rolled_out(&self) -> bool {
        let items = |plural: &str| {
            let list = self.get(&format!("/apis/apps/v1/namespaces/monitoring/{plural}"), "application/json");
            list["items"].as_array().cloned().unwrap_or_default()
        };
        let number = |object: &Value, pointer: &str| object.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        let all_are = |object: &Value, wanted: &str, counts: &[&str]| {
            number(object, "/status/observedGeneration") == number(object, "/metadata/generation")
                && counts.iter().all(|count| number(object, &format!("/status/{count}")) == number(object, wanted))
        };
        let replicas = ["replicas", "updatedReplicas", "availableReplicas"];
        let scheduled = ["updatedNumberScheduled", "numberAvailable"];
        items("deployments").iter().all(|object| all_are(object, "/spec/replicas", &replicas))
            && items("daemonsets").iter().all(|object| all_are(object, "/status/desiredNumberScheduled", &scheduled))
    }

    fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.app.path().join("app").join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} holds no {from:?}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
    }

    /// One commit with these changes, `Kind/name` and actions; those marked with `restarts` have new pods afterwards.
    #[track_caller]
    fn brings(&self, what: &str, edit: impl FnOnce(), expected: &[(&str, &[&str])], restarts: &[&str]) -> Value {
        edit();
        self.app.commit(what);
        let (before, pods) = (self.left.borrow().clone(), self.pods());
        let expected: BTreeMap<String, Vec<String>> = expected
            .iter()
            .map(|(name, actions)| ((*name).to_owned(), actions.iter().map(|a| (*a).to_owned()).collect()))
            .collect();
        let code = if expected.is_empty() { 0 } else { 2 };
        let plan = self.app.run("plan -o json").exits(code).json();
        assert_eq!(actions(&plan), expected, "{what}: {:#}", plan["apps"][0]["changes"]);
        let said: BTreeSet<&str> = changes(&plan)
            .filter(|change| change["restarts"] == true)
            .map(|change| change["object"]["name"].as_str().unwrap())
            .collect();
        assert_eq!(said, restarts.iter().copied().collect(), "{what}");

        let synced = self.app.run("sync -o json --no-wait --timeout 60s").exits(0).json();
        assert_eq!(actions(&synced), expected, "{what}");
        assert!(changes(&synced).all(|change| change["outcome"] == "applied"), "{what}: {synced:#}");

        let after = self.versions();
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let touched: BTreeSet<String> =
            names.into_iter().filter(|name| before.get(*name) != after.get(*name)).cloned().collect();
        assert_eq!(touched, expected.keys().cloned().collect(), "{what}");
        self.left.replace(after);
        let restarted = || {
            let now = self.pods();
            let of = |name: &&String| pods.get(*name) != now.get(*name);
            now.keys().filter(of).cloned().collect::<BTreeSet<String>>()
        };
        let synced = Instant::now();
        while !restarts.iter().all(|name| restarted().contains(*name)) {
            assert!(synced.elapsed().as_secs() < 60, "{what}: no pod of {restarts:?} restarted");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        while !restarts.is_empty() && !self.rolled_out() {
            assert!(synced.elapsed().as_secs() < 60, "{what}: the rollout of {restarts:?} does not end");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        assert_eq!(restarted(), restarts.iter().map(|name| (*name).to_owned()).collect(), "{what}");
        plan
    }

    /// One commit that is refused, with words of the reason: plan and sync say the same, and nothing is touched.
    #[track_caller]
    fn refused(&self, what: &str, edit: impl FnOnce(), words: &[&str]) {
        edit();
        self.app.commit(what);
        let (before, pods) = (self.left.borrow().clone(), self.pods());
        for command in ["plan", "sync --no-wait"] {
            let ended = self.app.run(command).exits(1);
            let said = format!("{}{}", ended.out, ended.err);
            for word in words {
                assert!(said.contains(word), "{what}: {command} does not say {word:?}:\n{said}");
            }
        }
        assert_eq!(self.versions(), before, "{what}");
        assert_eq!(self.pods(), pods, "{what}");
        // The next step's plan would show what is left of it.
        self.app.git("revert --no-edit HEAD");
    }
}

fn name(kind: &str, namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(other) if other != "monitoring" => format!("{kind}/{other}/{name}"),
        _ => format!("{kind}/{name}"),
    }
}

fn changes(report: &Value) -> impl Iterator<Item = &Value> {
    report["apps"][0]["changes"].as_array().unwrap().iter()
}

fn actions(report: &Value) -> BTreeMap<String, Vec<String>> {
    let action = |change: &Value| {
        let object = &change["object"];
        let text = |key: &str| object[key].as_str();
        let all = change["actions"].as_array().unwrap().iter().map(|action| action.as_str().unwrap().to_owned());
        (name(text("kind").unwrap(), text("namespace"), text("name").unwrap()), all.collect())
    };
    changes(report).map(action).collect()
}

/// Nothing is unwell but the metrics API, for which nothing answers here; budgets of what an operator would bring gate
/// nothing.
fn unwell_is_the_metrics_api_alone(app: &Scratch) {
    let status = app.run("status -o json").exits(0).json();
    let unwell: Vec<&str> = status["apps"][0]["objects"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|object| !matches!(object["health"].as_str(), Some("Healthy" | "Suspended")))
        .map(|object| object["object"]["kind"].as_str().unwrap())
        .collect();
    assert!(unwell.contains(&"APIService"));
    assert!(unwell.iter().all(|kind| matches!(*kind, "APIService" | "PodDisruptionBudget")), "{unwell:?}");
    let message = status["apps"][0]["message"].as_str().unwrap();
    assert!(message.contains("v1beta1.metrics.k8s.io"), "{message}");
}

on_every_cluster! {
    fn a_days_work(cluster) {
        let Some(app) = prepared(cluster, "prometheus", "kube-prometheus/manifests") else { return };
        app.commit("one");
        settles(&app, 3, "45s", 131);
        unwell_is_the_metrics_api_alone(&app);
        let target = Target::Kubeconfig { file: Some(cluster.kubeconfig.clone()), context: None };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = runtime.block_on(Client::connect("test", &target)).unwrap();
        let id = cluster.object("monitoring", "deployment/grafana")["metadata"]["labels"][PART_OF].clone();
        let day = Day { app: &app, client, runtime, id: id.as_str().unwrap().to_owned(), left: RefCell::default() };
        assert_eq!(day.versions().len(), 131);
        let before = day.versions();
        app.run("sync --no-wait").exits(0);
        assert_eq!(day.versions(), before, "a second sync writes nothing");
        day.left.replace(before);
        morning(&day);
        // The rest of the day costs minutes; the real control plane sees it.
        if cluster.plane.is_some() {
            afternoon(&day);
        }
    }
}

fn morning(day: &Day<'_>) {
    let file = |name: &str| day.app.path().join("app").join(name);
    day.brings(
        "an image",
        || day.edit("grafana-deployment.yaml", "image: grafana/grafana:13.1.3", "image: grafana/grafana:13.1.4"),
        &[("Deployment/grafana", &["rollout"])],
        &["grafana"],
    );
    day.brings(
        "replicas of a custom resource",
        || day.edit("prometheus-prometheus.yaml", "replicas: 2", "replicas: 3"),
        &[("Prometheus/k8s", &["scale"])],
        &[],
    );
    day.brings(
        "an expression of a rule",
        || day.edit("kubePrometheus-prometheusRule.yaml", "expr: vector(1)", "expr: vector(2)"),
        &[("PrometheusRule/kube-prometheus-rules", &["update"])],
        &[],
    );
    let monitor = fs::read_to_string(file("grafana-serviceMonitor.yaml")).unwrap();
    day.brings(
        "one more monitor",
        || fs::write(file("more.yaml"), monitor.replace("\n  name: grafana", "\n  name: more")).unwrap(),
        &[("ServiceMonitor/more", &["create"])],
        &[],
    );
    day.brings(
        "the monitor goes",
        || fs::remove_file(file("more.yaml")).unwrap(),
        &[("ServiceMonitor/more", &["prune"])],
        &[],
    );
    day.brings(
        "a ConfigMap",
        || day.edit("blackboxExporter-configuration.yaml", "NICK prober", "NICK prober2"),
        &[("ConfigMap/blackbox-exporter-configuration", &["update"])],
        &[],
    );
    let plan = day.brings(
        "a Secret",
        || day.edit("grafana-config.yaml", "default_timezone = UTC", "default_timezone = Antarctica/Troll"),
        &[("Secret/grafana-config", &["update"])],
        &[],
    );
    assert!(!plan.to_string().contains("Troll") && !plan.to_string().contains("VHJvbGw"), "{plan:#}");
    day.brings(
        "a policy goes",
        || fs::remove_file(file("grafana-networkPolicy.yaml")).unwrap(),
        &[("NetworkPolicy/grafana", &["prune"])],
        &[],
    );
    day.brings(
        "an annotation",
        || day.edit("grafana-service.yaml", "metadata:", "metadata:\n  annotations: {example.org/team: metrics}"),
        &[("Service/grafana", &["update"])],
        &[],
    );
    day.brings(
        "a rule of a role",
        || day.edit("kubeStateMetrics-clusterRole.yaml", "  - replicationcontrollers\n", ""),
        &[("ClusterRole/kube-state-metrics", &["update"])],
        &[],
    );
    day.brings(
        "an object moves to another file, with a comment",
        || {
            let text = fs::read_to_string(file("grafana-service.yaml")).unwrap();
            fs::remove_file(file("grafana-service.yaml")).unwrap();
            fs::create_dir_all(file("grafana")).unwrap();
            fs::write(file("grafana/service.yaml"), format!("# The service.\n{text}")).unwrap();
        },
        &[],
        &[],
    );
}

fn afternoon(day: &Day<'_>) {
    day.brings(
        "a ConfigMap by another name, and who reads it",
        || {
            day.edit("prometheusAdapter-configMap.yaml", "name: adapter-config", "name: adapter-settings");
            day.edit("prometheusAdapter-deployment.yaml", "name: adapter-config", "name: adapter-settings");
        },
        &[
            ("ConfigMap/adapter-config", &["prune"]),
            ("ConfigMap/adapter-settings", &["create"]),
            ("Deployment/prometheus-adapter", &["rollout"]),
        ],
        &["prometheus-adapter"],
    );
    day.brings(
        "words in a definition",
        || day.edit("setup/0podmonitorCustomResourceDefinition.yaml", "(CRD) defines how", "(CRD) says how"),
        &[("CustomResourceDefinition/podmonitors.monitoring.coreos.com", &["update"])],
        &[],
    );
    day.brings(
        "a label of the namespace",
        || day.edit("setup/namespace.yaml", "  labels:\n", "  labels:\n    team: metrics\n"),
        &[("Namespace/monitoring", &["update"])],
        &[],
    );
    day.refused(
        "a field that cannot be changed",
        || {
            let label = "      app.kubernetes.io/name: grafana\n";
            let more = format!("{label}      more: \"1\"\n");
            day.edit("grafana-deployment.yaml", label, &more);
            let label = "        app.kubernetes.io/name: grafana\n";
            day.edit("grafana-deployment.yaml", label, &format!("{label}        more: \"1\"\n"));
        },
        &["grafana", "immutable", "grafana-deployment.yaml"],
    );
    day.refused(
        "text that is no YAML",
        || day.edit("grafana-serviceMonitor.yaml", "spec:\n", "spec: [\n"),
        &["grafana-serviceMonitor.yaml"],
    );
    day.refused(
        "a field that is not known",
        || day.edit("grafana-deployment.yaml", "  replicas: 1\n", "  replicas: 1\n  replicaz: 1\n"),
        &["replicaz", "grafana-deployment.yaml"],
    );
    day.brings(
        "an image and a scale at once",
        || {
            day.edit("kubeStateMetrics-deployment.yaml", "kube-state-metrics:v2.19.1", "kube-state-metrics:v2.19.2");
            day.edit("kubeStateMetrics-deployment.yaml", "replicas: 1", "replicas: 2");
        },
        &[("Deployment/kube-state-metrics", &["scale", "rollout"])],
        &["kube-state-metrics"],
    );
    day.brings(
        "an image of a DaemonSet",
        || day.edit("nodeExporter-daemonset.yaml", "node-exporter:v1.12.1", "node-exporter:v1.12.2"),
        &[("DaemonSet/node-exporter", &["rollout"])],
        &["node-exporter"],
    );
    day.brings(
        "a port of a service",
        || day.edit("blackboxExporter-service.yaml", "port: 19115", "port: 19116"),
        &[("Service/blackbox-exporter", &["update"])],
        &[],
    );
    day.brings(
        "the first image again",
        || day.edit("grafana-deployment.yaml", "image: grafana/grafana:13.1.4", "image: grafana/grafana:13.1.3"),
        &[("Deployment/grafana", &["rollout"])],
        &["grafana"],
    );
}
