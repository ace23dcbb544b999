//! The shorthand: what five lines give, what all fields give, and where faults are.

use crate::object::Manifest as _;
use crate::render::manifest::{Manifests, Strangers};
use crate::render::yaml::parse_yaml;
use serde_json::{Value, json};

fn expand(spec: &str) -> Manifests {
    let text = format!("apiVersion: driftless.dev/v1alpha1\nkind: App\nmetadata: {{name: web}}\nspec:\n{spec}");
    read(&text)
}

fn read(text: &str) -> Manifests {
    let parsed = parse_yaml(text.as_bytes());
    let mut manifests = Manifests::default();
    manifests.read("web.yaml", parsed.documents, parsed.errors, Strangers::Refuse);
    manifests
}

fn kinds(manifests: &Manifests) -> Vec<String> {
    manifests.objects.iter().map(|object| object.gvk().kind).collect()
}

fn object<'a>(manifests: &'a Manifests, kind: &str) -> &'a Value {
    &manifests.objects.iter().find(|object| object.gvk().kind == kind).unwrap().object
}

#[test]
fn five_lines_are_an_app() {
    let manifests = expand("  image: nginx:1.29\n");
    assert_eq!(manifests.errors, []);
    assert_eq!(kinds(&manifests), ["ServiceAccount", "Deployment"]);
    assert_eq!(manifests.objects[0].source.line, 1);
    assert_eq!(
        *object(&manifests, "Deployment"),
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web",
                "labels": {"app.kubernetes.io/name": "web", "app.kubernetes.io/managed-by": "driftless"}},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": {"app.kubernetes.io/name": "web"}},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
                "template": {"metadata": {"labels": {"app.kubernetes.io/name": "web"}}, "spec": {
                    "serviceAccountName": "web", "automountServiceAccountToken": false,
                    "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
                    "containers": [{"name": "web", "image": "nginx:1.29",
                        "securityContext": {"allowPrivilegeEscalation": false}}]}}
            }
        })
    );
}

#[test]
fn all_fields() {
    let manifests = read(
        r#"
apiVersion: driftless.dev/v1alpha1
kind: App
metadata:
  name: web
  namespace: shop
  labels: {team: a}
  annotations: {driftless.dev/wave: "2", sim.driftless.dev/ready-after: 1s}
spec:
  image: example.com/web:1
  autoscale: {min: 2, max: 5, cpu: "80%"}
  resources: {cpu: 0.5, memory: 128Mi}
  ports:
  - {name: web, port: 8080}
  - {name: metrics, port: 9090}
  env: {MODE: "on", EMPTY: ""}
  probes: {liveness: /live, readiness: none}
  rollout: {maxSurge: "25%", maxUnavailable: 1}
"#,
    );
    assert_eq!(manifests.errors, []);
    assert_eq!(
        kinds(&manifests),
        ["ServiceAccount", "Service", "Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget"]
    );
    assert!(manifests.objects.iter().all(|o| o.namespace() == Some("shop") && o.label("team") == Some("a")));
    let deployment = object(&manifests, "Deployment");
    assert!(deployment.pointer("/spec/replicas").is_none());
    assert_eq!(
        deployment.pointer("/spec/template/metadata/annotations"),
        Some(&json!({"sim.driftless.dev/ready-after": "1s"}))
    );
    assert_eq!(
        deployment.pointer("/spec/template/spec/containers/0"),
        Some(&json!({"name": "web", "image": "example.com/web:1",
            "ports": [{"name": "web", "containerPort": 8080, "protocol": "TCP"},
                      {"name": "metrics", "containerPort": 9090, "protocol": "TCP"}],
            "env": [{"name": "MODE", "value": "on"}, {"name": "EMPTY", "value": ""}],
            "resources": {"requests": {"cpu": "0.5", "memory": "128Mi"}},
            "livenessProbe": {"httpGet": {"path": "/live", "port": "web"}},
            "securityContext": {"allowPrivilegeEscalation": false}}))
    );
    assert_eq!(
        object(&manifests, "Service").pointer("/spec"),
        Some(&json!({"selector": {"app.kubernetes.io/name": "web"}, "ports": [
            {"name": "web", "port": 8080, "protocol": "TCP", "targetPort": "web"},
            {"name": "metrics", "port": 9090, "protocol": "TCP", "targetPort": "metrics"}]}))
    );
    let hpa = object(&manifests, "HorizontalPodAutoscaler");
    assert_eq!(hpa.pointer("/spec/metrics/0/resource/target/averageUtilization"), Some(&json!(80)));
    assert_eq!(object(&manifests, "PodDisruptionBudget").pointer("/spec/maxUnavailable"), Some(&json!(1)));
}

#[test]
fn probes_need_a_port() {
    let probe = |spec: &str, name: &str| {
        let manifests = expand(spec);
        assert_eq!(manifests.errors, [], "{spec}");
        let path = format!("/spec/template/spec/containers/0/{name}/httpGet/path");
        object(&manifests, "Deployment").pointer(&path).and_then(Value::as_str).map(str::to_owned)
    };
    let port = "  image: x\n  ports: [{port: 80}]\n";
    assert_eq!(probe("  image: x\n", "livenessProbe"), None);
    assert_eq!(probe(port, "livenessProbe").as_deref(), Some("/healthz"));
    assert_eq!(probe(port, "readinessProbe").as_deref(), Some("/ready"));
    assert_eq!(probe(&format!("{port}  probes: none\n"), "livenessProbe"), None);
    assert_eq!(probe(&format!("{port}  probes: {{liveness: none}}\n"), "readinessProbe").as_deref(), Some("/ready"));
}

#[test]
fn faults_have_lines() {
    for (spec, line, part) in [
        ("  replicas: 1\n", 4, "spec.image"),
        ("  image: x\n  imagee: y\n", 6, "imagee"),
        ("  image: x\n  replicas: two\n", 6, "spec.replicas"),
        ("  image: x\n  replicas: -1\n", 6, "spec.replicas"),
        ("  image: x\n  replicas: 1\n  autoscale: {max: 2}\n  resources: {cpu: 1}\n", 7, "spec.replicas"),
        ("  image: x\n  autoscale: {max: 2}\n", 6, "spec.resources.cpu"),
        ("  image: x\n  autoscale: {min: 3, max: 2}\n  resources: {cpu: 1}\n", 6, "at least min"),
        ("  image: x\n  autoscale: {min: 3}\n  resources: {cpu: 1}\n", 6, "spec.autoscale.max"),
        ("  image: x\n  autoscale: {max: 3, cpu: 70}\n  resources: {cpu: 1}\n", 6, "percentage"),
        ("  image: x\n  resources:\n    cpu: lots\n", 7, "quantity"),
        ("  image: x\n  ports:\n  - port: 80\n  - port: 81\n", 7, "name"),
        ("  image: x\n  ports:\n  - {name: a, port: 80}\n  - {name: a, port: 81}\n", 8, "another port"),
        ("  image: x\n  ports:\n  - {name: A, port: 80}\n", 7, "lower-case"),
        ("  image: x\n  ports:\n  - {port: 70000}\n", 7, "65535"),
        ("  image: x\n  env:\n    PORT: 8080\n", 7, "must be text"),
        ("  image: x\n  env:\n    \"A=B\": x\n", 7, "environment variable"),
        ("  image: x\n  probes: off\n", 6, "must be a mapping"),
        ("  image: x\n  probes: nope\n", 6, "`none`"),
        ("  image: x\n  probes: {liveness: /x}\n", 6, "port"),
        ("  image: x\n  ports: [{port: 80}]\n  probes: {liveness: x}\n", 7, "`/`"),
        ("  image: x\n  rollout: {maxSurge: 0}\n", 6, "both"),
        ("  image: x\n  rollout: {maxSurge: 1%x}\n", 6, "percentage"),
        ("  image: a b\n", 5, "image"),
        ("  - x\n", 5, "mapping"),
    ] {
        let manifests = expand(spec);
        let found: Vec<String> = manifests.errors.iter().map(ToString::to_string).collect();
        let hit = manifests.errors.iter().any(|e| e.line == line && e.fault.to_string().contains(part));
        assert!(hit, "{spec}\nexpected line {line} with {part:?}, got {found:?}");
        assert!(manifests.objects.is_empty());
    }
    let two = expand("  image: x\n  a: 1\n  b: 2\n");
    assert_eq!(two.errors.len(), 2);
    assert_eq!(two.errors[0].object.as_ref().map(|o| o.name.as_str()), Some("web"));
}

#[test]
fn other_kinds_and_bad_metadata() {
    for text in [
        "apiVersion: driftless.dev/v1\nkind: App\nmetadata: {name: x}\nspec: {image: x}\n",
        "apiVersion: driftless.dev/v1alpha1\nkind: Thing\nmetadata: {name: x}\n",
        "apiVersion: driftless.dev/v1alpha1\nkind: App\nmetadata: {name: 1x}\nspec: {image: x}\n",
        "apiVersion: driftless.dev/v1alpha1\nkind: App\nspec: {image: x}\n",
        "apiVersion: driftless.dev/v1alpha1\nkind: App\nmetadata: {name: x}\n",
        "apiVersion: driftless.dev/v1alpha1\nkind: App\nmetadata: {name: x, labels: {app.kubernetes.io/name: y}}\nspec: {image: x}\n",
        "apiVersion: driftless.dev/v1alpha1\nkind: App\nmetadata: {name: x, generation: 1}\nspec: {image: x}\n",
    ] {
        assert_eq!(read(text).errors.len(), 1, "{text}");
    }
}
