//! Services and Ingresses.

use super::faults::Faults;
use super::{metadata, names, pod};
use serde_json::Value;
use std::collections::BTreeSet;

/// Checks a Service.
pub(super) fn service(value: &Value, faults: &mut Faults<'_>) {
    let spec = value.get("spec").unwrap_or(&Value::Null);
    faults.one_of(spec.get("type"), ".spec.type", &["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]);
    metadata::labels(spec.get("selector"), ".spec.selector", faults);
    let external = spec.get("type").and_then(Value::as_str) == Some("ExternalName");
    let headless = spec.get("clusterIP").and_then(Value::as_str) == Some("None");
    if external {
        faults.required_text(spec.get("externalName"), ".spec.externalName");
    }
    let ports = faults.list(spec.get("ports"), ".spec.ports");
    if ports.is_empty() && !external && !headless && spec.get("ports").is_none_or(Value::is_array) {
        faults.add(".spec.ports", "at least one port is required", "Add a port.");
    }
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        service_port(port, &format!(".spec.ports[{index}]"), ports.len() > 1, &mut seen, faults);
    }
}

fn service_port<'v>(
    port: &'v Value,
    at: &str,
    name_needed: bool,
    seen: &mut BTreeSet<&'v str>,
    faults: &mut Faults<'_>,
) {
    if port.get("port").is_none_or(Value::is_null) {
        faults.add(&format!("{at}.port"), "is required", "Set the port's number.");
    }
    faults.integer(port.get("port"), &format!("{at}.port"), 1, 65535);
    faults.integer(port.get("nodePort"), &format!("{at}.nodePort"), 0, 65535);
    faults.one_of(port.get("protocol"), &format!("{at}.protocol"), &["TCP", "UDP", "SCTP"]);
    let target = format!("{at}.targetPort");
    match port.get("targetPort") {
        Some(Value::String(name)) if !names::is_port_name(name) => pod::port_name_fault(&target, name, faults),
        Some(Value::String(_)) => {}
        number => {
            faults.integer(number, &target, 1, 65535);
        }
    }
    match faults.text(port.get("name"), &format!("{at}.name")).filter(|name| !name.is_empty()) {
        None if name_needed => {
            faults.add(&format!("{at}.name"), "is required where there is more than one port", "Name every port.");
        }
        Some(name) if !names::is_label(name) => {
            faults.add(&format!("{at}.name"), format!("{name:?} must be an RFC 1123 label"), "Rename the port.");
        }
        Some(name) if !seen.insert(name) => {
            faults.add(at, format!("the port name {name:?} is used twice"), "Give every port its own name.");
        }
        _ => {}
    }
}

/// Checks an Ingress.
pub(super) fn ingress(value: &Value, faults: &mut Faults<'_>) {
    let spec = value.get("spec").unwrap_or(&Value::Null);
    let rules = faults.list(spec.get("rules"), ".spec.rules");
    if rules.is_empty() && spec.get("defaultBackend").is_none_or(Value::is_null) {
        faults.add(".spec", "needs rules or a defaultBackend", "Add one of them.");
    }
    if let Some(backend) = spec.get("defaultBackend").filter(|backend| !backend.is_null()) {
        ingress_backend(backend, ".spec.defaultBackend", faults);
    }
    for (index, rule) in rules.iter().enumerate() {
        let list = format!(".spec.rules[{index}].http.paths");
        for (index, path) in faults.list(rule.pointer("/http/paths"), &list).iter().enumerate() {
            let at = format!("{list}[{index}]");
            const TYPES: [&str; 3] = ["Exact", "Prefix", "ImplementationSpecific"];
            if faults.required_text(path.get("pathType"), &format!("{at}.pathType")).is_some() {
                faults.one_of(path.get("pathType"), &format!("{at}.pathType"), &TYPES);
            }
            if let Some(text) = faults.text(path.get("path"), &format!("{at}.path"))
                && !text.is_empty()
                && !text.starts_with('/')
            {
                faults.add(&format!("{at}.path"), format!("{text:?} must begin with `/`"), "Begin the path with `/`.");
            }
            match path.get("backend").filter(|backend| !backend.is_null()) {
                Some(backend) => ingress_backend(backend, &format!("{at}.backend"), faults),
                None => faults.add(&format!("{at}.backend"), "is required", "Name a service and its port."),
            }
        }
    }
}

fn ingress_backend(backend: &Value, at: &str, faults: &mut Faults<'_>) {
    let service = backend.get("service").filter(|service| !service.is_null());
    let resource = backend.get("resource").filter(|resource| !resource.is_null());
    let service = match (service, resource) {
        (Some(service), None) => service,
        (None, Some(_)) => return,
        _ => {
            faults.add(at, "needs either service or resource", "Set service.name and service.port.");
            return;
        }
    };
    faults.required_text(service.get("name"), &format!("{at}.service.name"));
    let set = |field: &str| service.pointer(field).is_some_and(|value| !value.is_null());
    if set("/port/number") == set("/port/name") {
        faults.add(&format!("{at}.service.port"), "needs either a number or a name", "Set one of them.");
    }
    faults.integer(service.pointer("/port/number"), &format!("{at}.service.port.number"), 1, 65535);
}
