//! A checked App to its objects.

use super::spec::{App, Scale};
use serde_json::{Map, Value, json};

/// Labels that the App sets itself.
pub(super) const OWN_LABELS: [&str; 2] = ["app.kubernetes.io/name", "app.kubernetes.io/managed-by"];

/// Annotations with this prefix go to the pods too: the embedded cluster's simulated pods obey them.
const SIMULATION: &str = "sim.driftless.dev/";

/// The objects, in the order in which they need each other.
pub(super) fn objects(app: &App) -> Vec<Value> {
    let mut objects = vec![service_account(app)];
    if !app.ports.is_empty() {
        objects.push(service(app));
    }
    objects.push(deployment(app));
    let least = match app.scale {
        Scale::Fixed(replicas) => replicas,
        Scale::Auto { min, max, cpu_percent } => {
            objects.push(autoscaler(app, min, max, cpu_percent));
            min
        }
    };
    if least >= 2 {
        objects.push(disruption_budget(app));
    }
    objects
}

fn object(app: &App, api_version: &str, kind: &str) -> Map<String, Value> {
    let mut metadata = Map::new();
    metadata.insert("name".into(), app.name.as_str().into());
    if let Some(namespace) = &app.namespace {
        metadata.insert("namespace".into(), namespace.as_str().into());
    }
    let mut labels = pod_labels(app);
    labels.insert("app.kubernetes.io/managed-by".into(), "driftless".into());
    metadata.insert("labels".into(), labels.into());
    if !app.annotations.is_empty() {
        metadata.insert("annotations".into(), texts(app.annotations.iter()).into());
    }
    let mut object = Map::new();
    object.insert("apiVersion".into(), api_version.into());
    object.insert("kind".into(), kind.into());
    object.insert("metadata".into(), metadata.into());
    object
}

fn with_spec(mut object: Map<String, Value>, spec: Value) -> Value {
    object.insert("spec".into(), spec);
    Value::Object(object)
}

fn texts<'a>(pairs: impl Iterator<Item = &'a (String, String)>) -> Map<String, Value> {
    pairs.map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect()
}

/// Few on purpose: what changes here restarts pods.
fn pod_labels(app: &App) -> Map<String, Value> {
    let mut labels = selector(app);
    labels.extend(texts(app.labels.iter()));
    labels
}

fn selector(app: &App) -> Map<String, Value> {
    Map::from_iter([("app.kubernetes.io/name".to_owned(), Value::from(app.name.as_str()))])
}

fn service_account(app: &App) -> Value {
    let mut account = object(app, "v1", "ServiceAccount");
    account.insert("automountServiceAccountToken".into(), false.into());
    Value::Object(account)
}

fn service(app: &App) -> Value {
    let port = |port: &super::spec::Port| json!({"name": port.name, "port": port.port, "protocol": "TCP", "targetPort": port.name});
    let ports: Vec<Value> = app.ports.iter().map(port).collect();
    with_spec(object(app, "v1", "Service"), json!({"selector": selector(app), "ports": ports}))
}

fn deployment(app: &App) -> Value {
    let mut spec = Map::new();
    // Under an autoscaler the number is its own: Git says nothing.
    if let Scale::Fixed(replicas) = app.scale {
        spec.insert("replicas".into(), replicas.into());
    }
    spec.insert("selector".into(), json!({"matchLabels": selector(app)}));
    spec.insert(
        "strategy".into(),
        json!({"type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": app.max_surge, "maxUnavailable": app.max_unavailable}}),
    );
    let mut metadata = Map::new();
    metadata.insert("labels".into(), pod_labels(app).into());
    let simulation = texts(app.annotations.iter().filter(|(key, _)| key.starts_with(SIMULATION)));
    if !simulation.is_empty() {
        metadata.insert("annotations".into(), simulation.into());
    }
    let pod = json!({
        "serviceAccountName": app.name,
        "automountServiceAccountToken": false,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container(app)],
    });
    spec.insert("template".into(), json!({"metadata": metadata, "spec": pod}));
    with_spec(object(app, "apps/v1", "Deployment"), Value::Object(spec))
}

fn container(app: &App) -> Value {
    let mut container = Map::new();
    container.insert("name".into(), app.name.as_str().into());
    container.insert("image".into(), app.image.as_str().into());
    if !app.ports.is_empty() {
        let port = |port: &super::spec::Port| json!({"name": port.name, "containerPort": port.port, "protocol": "TCP"});
        container.insert("ports".into(), app.ports.iter().map(port).collect::<Vec<_>>().into());
    }
    if !app.env.is_empty() {
        let env: Vec<Value> = app.env.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        container.insert("env".into(), env.into());
    }
    let mut requests = Map::new();
    for (name, quantity) in [("cpu", &app.cpu), ("memory", &app.memory)] {
        if let Some(quantity) = quantity {
            requests.insert(name.into(), quantity.as_str().into());
        }
    }
    if !requests.is_empty() {
        container.insert("resources".into(), json!({"requests": requests}));
    }
    if let Some(port) = app.ports.first() {
        for (name, path) in [("livenessProbe", &app.liveness), ("readinessProbe", &app.readiness)] {
            if let Some(path) = path {
                container.insert(name.into(), json!({"httpGet": {"path": path, "port": port.name}}));
            }
        }
    }
    container.insert("securityContext".into(), json!({"allowPrivilegeEscalation": false}));
    Value::Object(container)
}

fn autoscaler(app: &App, min: i64, max: i64, cpu_percent: i64) -> Value {
    let spec = json!({
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": app.name},
        "minReplicas": min,
        "maxReplicas": max,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": cpu_percent}}}],
    });
    with_spec(object(app, "autoscaling/v2", "HorizontalPodAutoscaler"), spec)
}

fn disruption_budget(app: &App) -> Value {
    let spec = json!({"maxUnavailable": 1, "selector": {"matchLabels": selector(app)}});
    with_spec(object(app, "policy/v1", "PodDisruptionBudget"), spec)
}
