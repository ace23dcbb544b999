//! Pod specs: containers, ports, environment, resources, probes.

use super::faults::Faults;
use super::names::{self, Syntax};
use super::volumes;
use crate::object::quantity::Quantity;
use serde_json::Value;
use std::collections::BTreeSet;

/// Lists of containers, with whether a pod needs one.
const CONTAINER_LISTS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// Checks a pod spec. `claims` are names of volume claim templates that may be mounted too.
pub(super) fn spec(spec: Option<&Value>, path: &str, claims: &[&str], faults: &mut Faults<'_>) {
    let Some(spec) = spec.filter(|spec| spec.is_object()) else {
        faults.add(path, "is required", "Add a pod spec with containers.");
        return;
    };
    faults.one_of(spec.get("restartPolicy"), &format!("{path}.restartPolicy"), &["Always", "OnFailure", "Never"]);
    let volumes = volumes::names(spec, path, claims, faults);
    let mut seen = BTreeSet::new();
    for list in CONTAINER_LISTS {
        let at = format!("{path}.{list}");
        let before = faults_marker(spec.get(list));
        let containers = faults.list(spec.get(list), &at);
        if list == "containers" && containers.is_empty() && !before {
            faults.add(&at, "at least one container is required", "Add a container with name and image.");
        }
        for (index, item) in containers.iter().enumerate() {
            let Some(name) = container(item, &format!("{at}[{index}]"), volumes.as_ref(), faults) else { continue };
            if !seen.insert(name.to_owned()) {
                faults.add(
                    &at,
                    format!("the container name {name:?} is used twice"),
                    "Give every container its own name.",
                );
            }
        }
    }
}

/// True if the value is something that `list` complains about by itself.
fn faults_marker(value: Option<&Value>) -> bool {
    value.is_some_and(|value| !value.is_array() && !value.is_null())
}

/// Checks one container; its name, if it has one.
fn container<'v>(
    item: &'v Value,
    path: &str,
    volumes: Option<&BTreeSet<String>>,
    faults: &mut Faults<'_>,
) -> Option<&'v str> {
    if !item.is_object() {
        faults.add(path, "must be a map", "Write name and image of the container.");
        return None;
    }
    let name = faults.required_text(item.get("name"), &format!("{path}.name"));
    // From here on messages name the container rather than its position.
    let at = name.map_or_else(|| path.to_owned(), |name| named(path, name));
    if let Some(fault) = name.and_then(|name| names::fault(name, Syntax::Label)) {
        faults.add(&format!("{at}.name"), fault, "Rename the container.");
    }
    faults.required_text(item.get("image"), &format!("{at}.image"));
    faults.one_of(item.get("imagePullPolicy"), &format!("{at}.imagePullPolicy"), &["Always", "IfNotPresent", "Never"]);
    let ports = ports(item.get("ports"), &format!("{at}.ports"), faults);
    environment(item.get("env"), &format!("{at}.env"), faults);
    resources(item.get("resources"), &format!("{at}.resources"), faults);
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        handler(item.get(probe), &format!("{at}.{probe}"), &ports, faults);
    }
    volumes::mounts(item, &at, volumes, faults);
    name
}

fn named(path: &str, name: &str) -> String {
    let list = path.rsplit_once('[').map_or(path, |(list, _)| list);
    format!("{list}[name={name:?}]")
}

/// Checks ports; their names.
fn ports<'v>(ports: Option<&'v Value>, path: &str, faults: &mut Faults<'_>) -> Vec<&'v str> {
    let mut found = Vec::new();
    for (index, port) in faults.list(ports, path).iter().enumerate() {
        let at = format!("{path}[{index}]");
        if port.get("containerPort").is_none_or(Value::is_null) {
            faults.add(&format!("{at}.containerPort"), "is required", "Set the port's number.");
        }
        faults.integer(port.get("containerPort"), &format!("{at}.containerPort"), 1, 65535);
        faults.integer(port.get("hostPort"), &format!("{at}.hostPort"), 0, 65535);
        faults.one_of(port.get("protocol"), &format!("{at}.protocol"), &["TCP", "UDP", "SCTP"]);
        let Some(name) = faults.text(port.get("name"), &format!("{at}.name")).filter(|name| !name.is_empty()) else {
            continue;
        };
        if !names::is_port_name(name) {
            port_name_fault(&format!("{at}.name"), name, faults);
        }
        if found.contains(&name) {
            faults.add(&at, format!("the port name {name:?} is used twice"), "Give every port its own name.");
        }
        found.push(name);
    }
    found
}

/// Tells that a port's name is none.
pub(super) fn port_name_fault(path: &str, name: &str, faults: &mut Faults<'_>) {
    let message =
        format!("{name:?} is no port name: at most 15 lower-case letters, digits and single `-`, at least one letter");
    faults.add(path, message, "Rename the port, and where it is referred to.");
}

fn environment(env: Option<&Value>, path: &str, faults: &mut Faults<'_>) {
    for (index, variable) in faults.list(env, path).iter().enumerate() {
        let at = format!("{path}[{index}]");
        let Some(name) = faults.required_text(variable.get("name"), &format!("{at}.name")) else { continue };
        let at = format!("{path}[name={name:?}]");
        if name.contains('=') || !name.bytes().all(|c| (b' '..=b'~').contains(&c)) {
            faults.add(&format!("{at}.name"), "must be printable ASCII without `=`", "Rename the variable.");
        }
        let value = faults.text(variable.get("value"), &format!("{at}.value"));
        let from = variable.get("valueFrom").is_some_and(|from| !from.is_null());
        if from && value.is_some_and(|value| !value.is_empty()) {
            faults.add(&at, "has both value and valueFrom", "Keep one of them.");
        }
    }
}

/// Checks requests and limits.
fn resources(resources: Option<&Value>, path: &str, faults: &mut Faults<'_>) {
    let Some(resources) = resources else { return };
    for side in ["requests", "limits"] {
        let at = format!("{path}.{side}");
        for (name, amount) in super::metadata::entries(resources.get(side), &at, faults) {
            let at = format!("{at}.{name}");
            quantity(amount, &at, faults);
        }
    }
    let both = [resources.get("requests"), resources.get("limits")].map(|side| side.and_then(Value::as_object));
    let [Some(requests), Some(limits)] = both else { return };
    for (name, request) in requests {
        let limit = limits.get(name).and_then(Quantity::from_value);
        if let (Some(request), Some(limit)) = (Quantity::from_value(request), limit)
            && request > limit
        {
            let message = format!("the request of {name} is more than the limit");
            faults.add(&format!("{path}.requests.{name}"), message, "Raise the limit or lower the request.");
        }
    }
}

/// Checks that a value is a quantity and not negative.
pub(super) fn quantity(value: &Value, path: &str, faults: &mut Faults<'_>) {
    match Quantity::from_value(value) {
        None => {
            let message = format!("{value} is no quantity");
            faults.add(path, message, "Write a number with a suffix such as m, k, M, G, Ki, Mi, Gi.");
        }
        Some(amount) if amount.milli < 0 => faults.add(path, "must not be negative", "Correct the amount."),
        Some(_) => {}
    }
}

/// Checks a probe.
fn handler(probe: Option<&Value>, path: &str, ports: &[&str], faults: &mut Faults<'_>) {
    const HANDLERS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "grpc"];
    let Some(probe) = probe.filter(|probe| !probe.is_null()) else { return };
    let set = HANDLERS.iter().filter(|name| probe.get(**name).is_some_and(|handler| !handler.is_null())).count();
    if set != 1 {
        faults.add(path, format!("needs exactly one of {}", HANDLERS.join(", ")), "Set one of them.");
        return;
    }
    for kind in ["httpGet", "tcpSocket"] {
        let Some(handler) = probe.get(kind) else { continue };
        let at = format!("{path}.{kind}.port");
        match handler.get("port") {
            None | Some(Value::Null) => faults.add(&at, "is required", "Set a port number or name."),
            Some(Value::String(name)) if !names::is_port_name(name) => port_name_fault(&at, name, faults),
            Some(Value::String(name)) if !ports.contains(&name.as_str()) => {
                faults.add(
                    &at,
                    format!("the container has no port named {name:?}"),
                    "Name a port of the same container.",
                );
            }
            Some(Value::String(_)) => {}
            number => {
                faults.integer(number, &at, 1, 65535);
            }
        }
    }
}
