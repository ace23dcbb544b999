//! APIServices: whether what stands behind them answers. A local one does; a service's pods are simulated and never do.
//! Source: kube-aggregator/pkg/controllers/status/remote/remote_available_controller.go.

use super::condition::{Condition, Conditions};
use super::index::Index;
use super::kind::{API_SERVICE, ENDPOINT_SLICE, SERVICE};
use super::meta::{int, items, label, text};
use super::patch;
use crate::cluster::view::{API_SERVER, Step};
use serde_json::{Value, json};

/// One step for every APIService.
pub fn run(index: &Index<'_>) -> Step {
    let mut step = Step::default();
    for service in index.all(&API_SERVICE).iter() {
        let (status, reason, message) = availability(index, service);
        let mut conditions = Conditions::of(service);
        let condition = Condition { kind: "Available", status, reason, message: &message };
        conditions.set_with_message(&condition, index.now, &[]);
        if let Some(write) = patch::status(&API_SERVICE, service, &json!({"conditions": conditions.into_value()})) {
            step.push(API_SERVER, write);
        }
    }
    step
}

fn availability(index: &Index<'_>, service: &Value) -> (&'static str, &'static str, String) {
    let behind = &service["spec"]["service"];
    if behind.is_null() {
        return ("True", "Local", "Local APIServices are always available".to_owned());
    }
    let (space, name) = (text(&behind["namespace"]), text(&behind["name"]));
    let port = behind["port"].as_i64().unwrap_or(443);
    let whose = format!("service/{name} in {space:?}");
    let Some(found) = index.get(&SERVICE, Some(space), name) else {
        return ("False", "ServiceNotFound", format!("{whose} is not present"));
    };
    let Some(listening) = items(&found["spec"]["ports"]).iter().find(|p| int(&p["port"]) == port) else {
        return ("False", "ServicePortError", format!("{whose} is not listening on port {port}"));
    };
    let port_name = text(&listening["name"]);
    let slices = index.within(&ENDPOINT_SLICE, space);
    let answers = slices.iter().filter(|slice| label(slice, "kubernetes.io/service-name") == Some(name)).any(|slice| {
        items(&slice["ports"]).iter().any(|p| text(&p["name"]) == port_name)
            && items(&slice["endpoints"]).iter().any(|e| e["conditions"]["ready"] != false)
    });
    if !answers {
        let message = format!("endpointslices for {whose} have no addresses with port name {port_name:?}");
        return ("False", "MissingEndpoints", message);
    }
    let (group, version) = (text(&service["spec"]["group"]), text(&service["spec"]["version"]));
    let address = text(&found["spec"]["clusterIP"]);
    let message = format!(
        "failing or missing response from https://{address}:{port}/apis/{group}/{version}: the pods of this cluster are \
         simulated and answer nothing"
    );
    ("False", "FailedDiscoveryCheck", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::simulation::{Simulation, deployment};

    #[test]
    fn what_a_service_stands_for_is_not_available() {
        let mut cluster = Simulation::new();
        let api = |name: &str, service: Value| {
            json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": name, "namespace": "shop"},
                "spec": {"group": "m.io", "version": "v1", "service": service}})
        };
        cluster.create(api("v1.l.io", Value::Null));
        cluster.create(api("v1.m.io", json!({"name": "web", "namespace": "shop", "port": 443})));
        let said = |cluster: &Simulation, name: &str| {
            let found = cluster.get(&API_SERVICE, name).unwrap()["status"]["conditions"][0].clone();
            format!("{} {}: {}", text(&found["status"]), text(&found["reason"]), text(&found["message"]))
        };
        cluster.run(1000);
        assert_eq!(said(&cluster, "v1.l.io"), "True Local: Local APIServices are always available");
        assert_eq!(said(&cluster, "v1.m.io"), "False ServiceNotFound: service/web in \"shop\" is not present");
        cluster.create(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
            "spec": {"clusterIP": "10.96.0.9", "selector": {"app": "web"}, "ports": [{"port": 443, "targetPort": 443}]}}));
        cluster.run(1000);
        let missing =
            "False MissingEndpoints: endpointslices for service/web in \"shop\" have no addresses with port name \"\"";
        assert_eq!(said(&cluster, "v1.m.io"), missing);
        cluster.create(deployment(1, &json!(1), &json!(0)));
        cluster.run(5000);
        let failing =
            "False FailedDiscoveryCheck: failing or missing response from https://10.96.0.9:443/apis/m.io/v1: ";
        assert!(said(&cluster, "v1.m.io").starts_with(failing), "{}", said(&cluster, "v1.m.io"));
    }
}
