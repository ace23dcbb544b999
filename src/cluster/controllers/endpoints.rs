//! Endpoints and EndpointSlices of Services with a selector. Both copy the Service's labels, as the real ones do.
//! Source: pkg/controller/endpoint, staging/src/k8s.io/endpointslice.

use super::index::Index;
use super::kind::{ENDPOINT_SLICE, ENDPOINTS, SERVICE};
use super::meta::{int, is_deleting, items, label, name, namespace, owner_reference, same, text, uid};
use super::{patch, pods};
use crate::cluster::view::{CONTROLLER_MANAGER, Step, Write};
use crate::object::Gk;
use serde_json::{Map, Value, json};
use std::sync::Arc;

const SLICE_MANAGER: &str = "endpointslice.kubernetes.io/managed-by";
const SLICE_CONTROLLER: &str = "endpointslice-controller.k8s.io";
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const ENDPOINTS_MANAGER: &str = "endpoints.kubernetes.io/managed-by";
const ENDPOINTS_CONTROLLER: &str = "endpoint-controller";
const HEADLESS: &str = "service.kubernetes.io/headless";

/// An address that a Service leads to.
struct Target {
    pod: Arc<Value>,
    ip: String,
    ready: bool,
    serving: bool,
    terminating: bool,
}

/// One step for every Service, and for what a deleted one left.
pub fn run(index: &Index<'_>) -> Step {
    let mut step = Step::default();
    for service in index.all(&SERVICE).iter() {
        let selects = service["spec"]["selector"].as_object().is_some_and(|selector| !selector.is_empty());
        if !is_deleting(service) && selects && service["spec"]["type"] != "ExternalName" {
            let pods = index.selected_pods(namespace(service).unwrap_or_default(), &service["spec"]["selector"]);
            let around = pods.iter().cloned().chain(index.owned(&ENDPOINT_SLICE, uid(service))).chain(index.get(
                &ENDPOINTS,
                namespace(service),
                name(service),
            ));
            index.unless_settled("endpoints", service, around, &mut step, |step| {
                let targets = targets(service, &pods);
                sync_endpoints(index, service, &targets, step);
                sync_slice(index, service, &targets, step);
            });
        }
    }
    for endpoints in index.all(&ENDPOINTS).iter() {
        let ours = label(endpoints, ENDPOINTS_MANAGER) == Some(ENDPOINTS_CONTROLLER);
        if ours && index.get(&SERVICE, namespace(endpoints), name(endpoints)).is_none() {
            step.push(CONTROLLER_MANAGER, patch::delete(&ENDPOINTS, endpoints, None));
        }
    }
    step
}

fn targets(service: &Value, pods: &[Arc<Value>]) -> Vec<Target> {
    let publish_all = service["spec"]["publishNotReadyAddresses"] == true;
    let mut targets: Vec<Target> = pods
        .iter()
        .filter(|pod| !pods::is_finished(pod))
        .filter_map(|pod| {
            let ip = pod["status"]["podIP"].as_str()?.to_owned();
            let (serving, terminating) = (pods::is_ready(pod), is_deleting(pod));
            let ready = publish_all || (serving && !terminating);
            Some(Target { ready, serving, terminating, ip, pod: Arc::clone(pod) })
        })
        .collect();
    targets.sort_by(|a, b| a.ip.cmp(&b.ip).then_with(|| uid(&a.pod).cmp(uid(&b.pod))));
    targets
}

/// The port numbers of a Service on a pod; a port by a name that the pod lacks is left out (`FindPort`).
fn ports(service: &Value, pod: &Value) -> Vec<Value> {
    items(&service["spec"]["ports"])
        .iter()
        .filter_map(|port| {
            let protocol = port["protocol"].as_str().unwrap_or("TCP");
            let number = match &port["targetPort"] {
                Value::String(named) => match named.parse::<i64>() {
                    Ok(number) => number,
                    Err(_) => named_port(pod, named, protocol)?,
                },
                Value::Number(number) if number.as_i64().is_some_and(|n| n != 0) => number.as_i64()?,
                _ => int(&port["port"]),
            };
            let mut result = Map::new();
            if let Some(port_name) = port["name"].as_str() {
                result.insert("name".to_owned(), json!(port_name));
            }
            result.insert("port".to_owned(), json!(number));
            result.insert("protocol".to_owned(), json!(protocol));
            if let Some(application) = port["appProtocol"].as_str() {
                result.insert("appProtocol".to_owned(), json!(application));
            }
            Some(Value::Object(result))
        })
        .collect()
}

fn named_port(pod: &Value, wanted: &str, protocol: &str) -> Option<i64> {
    let containers = ["containers", "initContainers"].iter().flat_map(|field| items(&pod["spec"][field]));
    let mut all = containers.flat_map(|container| items(&container["ports"]));
    let found = all.find(|p| p["name"] == wanted && p["protocol"].as_str().unwrap_or("TCP") == protocol)?;
    found["containerPort"].as_i64()
}

fn target_reference(pod: &Value) -> Value {
    json!({"kind": "Pod", "namespace": namespace(pod), "name": name(pod), "uid": uid(pod)})
}

fn is_headless(service: &Value) -> bool {
    service["spec"]["clusterIP"] == "None"
}

fn labels(service: &Value, add: &[(&str, &str)]) -> Map<String, Value> {
    let mut labels = service["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    for (key, value) in add {
        labels.insert((*key).to_owned(), json!(value));
    }
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), json!(""));
    }
    labels
}

/// Subsets: targets grouped by the ports that they have (`RepackSubsets`).
fn subsets(service: &Value, targets: &[Target]) -> Value {
    let mut groups: Vec<(Vec<Value>, Vec<Value>, Vec<Value>)> = Vec::new();
    for target in targets.iter().filter(|target| !target.terminating || target.ready) {
        let ports = ports(service, &target.pod);
        let at = groups.iter().position(|(known, ..)| *known == ports).unwrap_or_else(|| {
            groups.push((ports, Vec::new(), Vec::new()));
            groups.len() - 1
        });
        let address = json!({"ip": target.ip, "nodeName": target.pod["spec"]["nodeName"], "targetRef": target_reference(&target.pod)});
        if let Some((_, ready, unready)) = groups.get_mut(at) {
            if target.ready { ready.push(address) } else { unready.push(address) }
        }
    }
    let subset = |(ports, ready, unready): (Vec<Value>, Vec<Value>, Vec<Value>)| {
        let mut subset = Map::new();
        for (key, list) in [("addresses", ready), ("notReadyAddresses", unready), ("ports", ports)] {
            if !list.is_empty() {
                subset.insert(key.to_owned(), Value::Array(list));
            }
        }
        Value::Object(subset)
    };
    groups.into_iter().map(subset).collect()
}

fn sync_endpoints(index: &Index<'_>, service: &Value, targets: &[Target], step: &mut Step) {
    let subsets = subsets(service, targets);
    let labels = Value::Object(labels(service, &[(ENDPOINTS_MANAGER, ENDPOINTS_CONTROLLER)]));
    match index.get(&ENDPOINTS, namespace(service), name(service)) {
        None => {
            let mut object = json!({
                "apiVersion": "v1", "kind": "Endpoints",
                "metadata": {"name": name(service), "namespace": namespace(service), "labels": labels},
            });
            if let (Some(map), false) = (object.as_object_mut(), items(&subsets).is_empty()) {
                map.insert("subsets".to_owned(), subsets);
            }
            step.push(CONTROLLER_MANAGER, patch::create(object));
        }
        Some(known) if is_deleting(&known) => {}
        Some(known) => update(&ENDPOINTS, &known, &labels, &[("subsets", subsets)], step),
    }
}

/// Writes labels and fields where they differ.
fn update(kind: &Gk, known: &Value, labels: &Value, fields: &[(&str, Value)], step: &mut Step) {
    let mut body = Map::new();
    if let Some(diff) = patch::merge_diff(&known["metadata"]["labels"], labels) {
        body.insert("metadata".to_owned(), json!({"labels": diff}));
    }
    for (field, value) in fields {
        if !same(&known[*field], value) {
            body.insert((*field).to_owned(), value.clone());
        }
    }
    if !body.is_empty() {
        step.push(CONTROLLER_MANAGER, patch::patch(kind, known, Value::Object(body), None));
    }
}

fn sync_slice(index: &Index<'_>, service: &Value, targets: &[Target], step: &mut Step) {
    let endpoints: Value = targets
        .iter()
        .map(|target| {
            json!({
                "addresses": [target.ip], "nodeName": target.pod["spec"]["nodeName"],
                "conditions": {"ready": target.ready, "serving": target.serving, "terminating": target.terminating},
                "targetRef": target_reference(&target.pod),
            })
        })
        .collect();
    // One slice for all: simulated pods differ in the number of a named port only where somebody makes them.
    let ports: Vec<Value> = targets.first().map_or_else(Vec::new, |target| ports(service, &target.pod));
    let ports: Value = ports.into_iter().map(with_empty_name).collect();
    let labels = Value::Object(labels(service, &[(SLICE_MANAGER, SLICE_CONTROLLER), (SERVICE_NAME, name(service))]));
    let mut known = index.owned(&ENDPOINT_SLICE, uid(service)).into_iter();
    match known.next() {
        None => step.push(
            CONTROLLER_MANAGER,
            patch::create(json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {"generateName": format!("{}-", name(service)), "namespace": namespace(service),
                    "labels": labels, "ownerReferences": [owner_reference(&SERVICE, service)]},
                "addressType": "IPv4", "endpoints": endpoints, "ports": ports,
            })),
        ),
        Some(slice) if is_deleting(&slice) => {}
        Some(slice) => {
            update(&ENDPOINT_SLICE, &slice, &labels, &[("endpoints", endpoints), ("ports", ports)], step);
        }
    }
    let more: Vec<Write> = known.map(|slice| patch::delete(&ENDPOINT_SLICE, &slice, None)).collect();
    step.writes.extend(more.into_iter().map(|write| (CONTROLLER_MANAGER, write)));
}

/// A slice's port always has a name, if an empty one.
fn with_empty_name(mut port: Value) -> Value {
    if let Some(map) = port.as_object_mut() {
        let port_name = text(&map.get("name").cloned().unwrap_or(Value::Null)).to_owned();
        map.insert("name".to_owned(), json!(port_name));
    }
    port
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::controllers::kind::DEPLOYMENT;
    use crate::cluster::simulation::{Simulation, deployment};

    #[test]
    fn a_service_leads_to_its_ready_pods() {
        let mut cluster = Simulation::new();
        cluster.create(json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "web", "labels": {"applyset.kubernetes.io/part-of": "x"}},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080, "protocol": "TCP"}]}}));
        cluster.run(100);
        let ready = |cluster: &Simulation| {
            let endpoints = cluster.get(&ENDPOINTS, "web").unwrap();
            items(&endpoints["subsets"][0]["addresses"]).len()
        };
        assert_eq!(ready(&cluster), 0);
        cluster.create(deployment(2, &json!(1), &json!(0)));
        cluster.run(3000);
        assert_eq!(ready(&cluster), 2);
        let endpoints = cluster.get(&ENDPOINTS, "web").unwrap();
        assert_eq!(endpoints["subsets"][0]["ports"][0]["port"], 8080);
        assert_eq!(label(&endpoints, "applyset.kubernetes.io/part-of"), Some("x"), "the Service's labels are copied");
        let slices = cluster.list(&ENDPOINT_SLICE);
        assert_eq!((slices.len(), items(&slices[0]["endpoints"]).len()), (1, 2));
        assert_eq!(label(&slices[0], "applyset.kubernetes.io/part-of"), Some("x"));
        cluster.patch(&DEPLOYMENT, "web", json!({"spec": {"replicas": 0}}));
        cluster.run(3000);
        assert_eq!(ready(&cluster), 0);
        cluster.delete(&SERVICE, "web", "Background");
        cluster.run(100);
        assert!(cluster.get(&ENDPOINTS, "web").is_none() && cluster.list(&ENDPOINT_SLICE).is_empty());
    }
}
