//! Health rules against objects as the real control plane writes them. The test plays the kubelet.

use crate::support::control_plane::{self, ControlPlane};
use driftless::health::{self, Assessment, Health, Related, RelatedQuery};
use driftless::object::{Live, Manifest};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn read(cluster: &ControlPlane, query: &RelatedQuery) -> Vec<Arc<Live>> {
    let mut args = vec!["get".to_owned(), format!("{}.{}", query.plural, query.gvk.group), "-o".into(), "json".into()];
    if query.gvk.group.is_empty() {
        args[1] = query.plural.to_owned();
    }
    args.extend(query.namespace.iter().flat_map(|ns| ["-n".to_owned(), ns.clone()]));
    args.extend(query.labels.iter().flat_map(|labels| ["-l".to_owned(), labels.clone()]));
    args.extend(query.fields.iter().map(|fields| format!("--field-selector={fields}")));
    args.extend(query.name.clone());
    let output = cluster.kubectl(&args);
    if !output.status.success() {
        assert!(query.name.is_some(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        return Vec::new();
    }
    let answer: Value = serde_json::from_slice(&output.stdout).expect("kubectl answers in JSON");
    match answer.get("items").and_then(Value::as_array) {
        Some(items) => items.iter().cloned().map(|item| Arc::new(Live(item))).collect(),
        None => vec![Arc::new(Live(answer))],
    }
}

/// As a caller does it: the object, what it needs, what that needs, the verdict.
fn assess(cluster: &ControlPlane, namespace: &str, what: &str) -> Assessment {
    let text = cluster.kubectl_ok(["-n", namespace, "get", what, "-o", "json"]);
    let live = Live(serde_json::from_str(&text).expect("kubectl answers in JSON"));
    let mut related = Related::default();
    for query in health::needs_related(&live) {
        related.add(&query, read(cluster, &query));
    }
    for query in health::needs_more(&live, &related, Timestamp::now()) {
        related.add(&query, read(cluster, &query));
    }
    health::assess(&live, &related, Timestamp::now())
}

/// Waits for a verdict whose message holds `part`; the last one seen is what a failure shows.
fn expect(cluster: &ControlPlane, namespace: &str, what: &str, wanted: Health, part: &str) -> Assessment {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let found = assess(cluster, namespace, what);
        if found.health == wanted && found.message.contains(part) {
            return found;
        }
        assert!(Instant::now() < end, "{what}: wanted {wanted} with {part:?}, got {found:?}");
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn apply(cluster: &ControlPlane, namespace: &str, objects: &[Value]) {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
    cluster.kubectl_input(["-n", namespace, "apply", "--server-side", "--force-conflicts"], &list);
}

/// A workload whose pods the scheduler places nowhere: they are this test's to report on.
fn workload(kind: &str, name: &str, image: &str, more: &Value) -> Value {
    let labels = json!({"app": name});
    let mut object = json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
            "spec": {"nodeSelector": {"no-such-label": "here"}, "containers": [{"name": "main", "image": image}]}}}});
    for (key, value) in more.as_object().expect("a map") {
        object["spec"][key] = value.clone();
    }
    object
}

/// Sets the status of every pod with a label that was made from `image`.
fn report(cluster: &ControlPlane, namespace: &str, app: &str, image: &str, ready: bool, container: &Value) {
    let text = cluster.kubectl_ok(["-n", namespace, "get", "pods", "-l", &format!("app={app}"), "-o", "json"]);
    let pods: Value = serde_json::from_str(&text).expect("kubectl answers in JSON");
    for pod in pods["items"].as_array().expect("a list") {
        if pod["spec"]["containers"][0]["image"] != image {
            continue;
        }
        let mut status = json!({"name": "main", "image": image, "imageID": "", "ready": ready, "restartCount": 0});
        for (key, value) in container.as_object().expect("a map") {
            status[key] = value.clone();
        }
        let (phase, is) = if ready { ("Running", "True") } else { ("Pending", "False") };
        let now = Timestamp::now().to_string();
        let patch = json!({"status": {"phase": phase, "containerStatuses": [status], "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": now},
            {"type": "Ready", "status": is, "lastTransitionTime": now}]}});
        let name = pod["metadata"]["name"].as_str().expect("a name");
        cluster.kubectl_ok(["-n", namespace, "patch", "pod", name, "--subresource=status", "-p", &patch.to_string()]);
    }
}

fn bad_image() -> Value {
    json!({"state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"web:bad\""}}})
}

fn started() -> Value {
    json!({"started": true, "state": {"running": {"startedAt": Timestamp::now().to_string()}}})
}

#[test]
fn a_deployment_from_nothing_to_bad_image_and_back() {
    let Some(cluster) = ControlPlane::shared() else { return control_plane::skip() };
    let namespace = cluster.namespace("health");
    let web = |image: &str| workload("Deployment", "web", image, &json!({"replicas": 2}));
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
    apply(cluster, &namespace, &[web("web:1"), service]);
    expect(cluster, &namespace, "deployment/web", Health::Progressing, "Unschedulable");
    let service = expect(cluster, &namespace, "service/web", Health::Progressing, "no endpoint is ready");
    assert!(!service.gates && service.recheck_at.is_some());

    report(cluster, &namespace, "web", "web:1", true, &started());
    expect(cluster, &namespace, "deployment/web", Health::Healthy, "");

    apply(cluster, &namespace, &[web("web:bad")]);
    expect(cluster, &namespace, "deployment/web", Health::Progressing, "Unschedulable");
    report(cluster, &namespace, "web", "web:bad", false, &bad_image());
    expect(
        cluster,
        &namespace,
        "deployment/web",
        Health::Degraded,
        ": ImagePullBackOff: Back-off pulling image \"web:bad\"",
    );

    apply(cluster, &namespace, &[web("web:1")]);
    let back = expect(cluster, &namespace, "deployment/web", Health::Healthy, "");
    assert!(back.message.is_empty());
}

#[test]
fn other_workloads_as_the_controllers_report_them() {
    let Some(cluster) = ControlPlane::shared() else { return control_plane::skip() };
    let namespace = cluster.namespace("health");
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"},
        "spec": {"hard": {"count/pods": "2"}}});
    let agent = workload("DaemonSet", "agent", "agent:1", &json!({}));
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "once"}, "spec": {"suspend": true,
        "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "job:1"}]}}}});
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "db"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "db"}}}});
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
        "spec": {"storageClassName": format!("late-{namespace}"), "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}});
    let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": format!("late-{namespace}")}, "provisioner": "example.org/none",
        "volumeBindingMode": "WaitForFirstConsumer"});
    let scaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "db"},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db"}, "maxReplicas": 3,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}]}});
    apply(cluster, &namespace, &[quota, class, claim, agent, job, budget, scaler]);
    apply(cluster, &namespace, &[workload("StatefulSet", "db", "db:1", &json!({"replicas": 1, "serviceName": "db"}))]);

    expect(cluster, &namespace, "daemonset/agent", Health::Healthy, "");
    expect(cluster, &namespace, "job/once", Health::Suspended, "suspended");
    expect(cluster, &namespace, "pvc/data", Health::Healthy, "");
    expect(cluster, &namespace, "pdb/db", Health::Progressing, "0 of 1 pod healthy");
    expect(cluster, &namespace, "hpa/db", Health::Progressing, "FailedGet");
    expect(cluster, &namespace, "statefulset/db", Health::Progressing, "db-0: Unschedulable");
    report(cluster, &namespace, "db", "db:1", true, &started());
    expect(cluster, &namespace, "statefulset/db", Health::Healthy, "");
    expect(cluster, &namespace, "pdb/db", Health::Healthy, "");

    apply(cluster, &namespace, &[workload("StatefulSet", "db", "db:2", &json!({"replicas": 1, "serviceName": "db"}))]);
    expect(cluster, &namespace, "statefulset/db", Health::Progressing, "0 of 1 pod");

    apply(cluster, &namespace, &[workload("Deployment", "many", "m:1", &json!({"replicas": 5}))]);
    expect(cluster, &namespace, "deployment/many", Health::Degraded, "exceeded quota");
    apply(cluster, &namespace, &[workload("Deployment", "many", "m:1", &json!({"replicas": 0}))]);
    expect(cluster, &namespace, "deployment/many", Health::Healthy, "");
    apply(cluster, &namespace, &[workload("Deployment", "many", "m:1", &json!({"replicas": 0, "paused": true}))]);
    expect(cluster, &namespace, "deployment/many", Health::Suspended, "paused");
}

#[test]
fn definitions_and_custom_resources() {
    let Some(cluster) = ControlPlane::shared() else { return control_plane::skip() };
    let namespace = cluster.namespace("health");
    let group = format!("{namespace}.example.org");
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("gizmos.{group}")}, "spec": {"group": group, "scope": "Namespaced",
            "names": {"plural": "gizmos", "kind": "Gizmo"}, "versions": [{"name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}});
    apply(cluster, &namespace, &[definition]);
    expect(cluster, &namespace, &format!("crd/gizmos.{group}"), Health::Healthy, "");
    let gizmo =
        json!({"apiVersion": format!("{group}/v1"), "kind": "Gizmo", "metadata": {"name": "g"}, "spec": {"n": 1}});
    apply(cluster, &namespace, &[gizmo]);
    let what = format!("gizmos.{group}/g");
    expect(cluster, &namespace, &what, Health::Healthy, "");
    for (ready, seen, wanted) in [
        ("Unknown", json!(1), Health::Progressing),
        ("False", json!(1), Health::Progressing),
        ("True", json!("0"), Health::Progressing),
        ("True", json!("1"), Health::Healthy),
    ] {
        let patch = json!({"status": {"observedGeneration": seen, "conditions": [{"type": "Ready", "status": ready,
            "reason": "R", "message": "m", "lastTransitionTime": Timestamp::now().to_string()}]}});
        cluster.kubectl_ok([
            "-n",
            &namespace,
            "patch",
            &what,
            "--subresource=status",
            "--type=merge",
            "-p",
            &patch.to_string(),
        ]);
        expect(cluster, &namespace, &what, wanted, "");
    }
    let live = Live(serde_json::from_str(&cluster.kubectl_ok(["get", "namespace", &namespace, "-o", "json"])).unwrap());
    assert_eq!(live.name(), namespace);
    expect(cluster, &namespace, &format!("namespace/{namespace}"), Health::Healthy, "");
}
