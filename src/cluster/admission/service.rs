//! Services: validation, and the addresses and node ports that the API server allocates.
//! Source: k8s.io/kubernetes/pkg/apis/core/validation/validation.go (`ValidateService`), pkg/registry/core/service/storage/alloc.go.
//!
//! Allocation is a function of what is stored: the lowest free value after a hash of the Service's name, so that it is
//! deterministic and needs no state of its own.

use super::pod::{list, one_of, port_name, text};
use crate::cluster::status::{FieldError, Status};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// The node ports that Services may have.
pub const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;

/// First address of the range for cluster addresses, 10.96.0.0/16.
const RANGE: u32 = 0x0A60_0000;

fn invalid(name: &str, errors: &[FieldError]) -> Status {
    Status::invalid("Service", "", name, errors)
}

fn spec_of(service: &mut Value) -> Option<&mut Map<String, Value>> {
    service.get_mut("spec").and_then(Value::as_object_mut)
}

/// Fields of the old Service that an update without them keeps (`patchAllocatedValues`, `dropTypeDependentFields`).
pub fn keep_allocated(new: &mut Value, old: &Value) {
    let (Some(old_spec), Some(spec)) = (old.get("spec"), spec_of(new)) else { return };
    let ty = spec.get("type").and_then(Value::as_str).unwrap_or("ClusterIP").to_owned();
    let old_type = text(old_spec, "type");
    let has_ip = ty != "ExternalName";
    if has_ip && old_type != "ExternalName" {
        for key in ["clusterIP", "clusterIPs"] {
            let unset = match spec.get(key) {
                None | Some(Value::Null) => true,
                Some(Value::String(s)) => s.is_empty(),
                Some(Value::Array(a)) => a.is_empty(),
                Some(_) => false,
            };
            // Both are two faces of one: a request that names either is taken at its word.
            let named =
                key == "clusterIPs" && spec.get("clusterIP").is_some_and(|ip| Some(ip) != old_spec.get("clusterIP"));
            if unset
                && !named
                && let Some(value) = old_spec.get(key)
            {
                spec.insert(key.into(), value.clone());
            }
        }
    }
    for key in ["ipFamilies", "ipFamilyPolicy"] {
        if has_ip
            && !spec.contains_key(key)
            && let Some(value) = old_spec.get(key)
        {
            spec.insert(key.into(), value.clone());
        }
    }
    let had_ports = matches!(old_type, "NodePort" | "LoadBalancer");
    if matches!(ty.as_str(), "NodePort" | "LoadBalancer") && had_ports {
        let old_ports = list(old_spec, "ports").to_vec();
        let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
            let matching = old_ports
                .iter()
                .find(|o| o.get("port") == port.get("port") && o.get("protocol") == port.get("protocol"));
            if !port.contains_key("nodePort")
                && let Some(number) = matching.and_then(|o| o.get("nodePort"))
            {
                port.insert("nodePort".into(), number.clone());
            }
        }
        if let Some(check) = old_spec.get("healthCheckNodePort")
            && spec.get("externalTrafficPolicy").and_then(Value::as_str) == Some("Local")
        {
            spec.entry("healthCheckNodePort").or_insert_with(|| check.clone());
        }
    }
    drop_dependent(spec, old_spec, &ty, old_type);
}

/// Fields that belong to the old type and were only carried along go with it.
fn drop_dependent(spec: &mut Map<String, Value>, old_spec: &Value, ty: &str, old_type: &str) {
    if ty == "ExternalName" && old_type != "ExternalName" {
        for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            if spec.get(key) == old_spec.get(key) {
                spec.shift_remove(key);
            }
        }
        spec.shift_remove("internalTrafficPolicy");
    }
    let ported = |ty: &str| matches!(ty, "NodePort" | "LoadBalancer");
    if ported(old_type) && !ported(ty) {
        let old_ports = list(old_spec, "ports");
        let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
            if old_ports.iter().any(|o| o.get("nodePort").is_some() && o.get("nodePort") == port.get("nodePort")) {
                port.shift_remove("nodePort");
            }
        }
        if spec.get("externalTrafficPolicy") == old_spec.get("externalTrafficPolicy") && list_empty(spec, "externalIPs")
        {
            spec.shift_remove("externalTrafficPolicy");
        }
        spec.shift_remove("healthCheckNodePort");
    }
    if old_type == "LoadBalancer" && ty != "LoadBalancer" {
        for key in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            spec.shift_remove(key);
        }
    }
}

fn list_empty(spec: &Map<String, Value>, key: &str) -> bool {
    spec.get(key).and_then(Value::as_array).is_none_or(Vec::is_empty)
}

/// Gives a Service its addresses and node ports. `others` are all other Services.
pub fn allocate(service: &mut Value, others: &[&Arc<Value>]) -> Result<(), Status> {
    let name = service.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let namespace = service.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default().to_owned();
    let seed = hash(&format!("{namespace}/{name}"));
    allocate_address(service, others, &name, seed)?;
    allocate_ports(service, others, &name, seed)
}

fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193))
}

fn allocate_address(service: &mut Value, others: &[&Arc<Value>], name: &str, seed: u32) -> Result<(), Status> {
    let Some(spec) = spec_of(service) else { return Ok(()) };
    if spec.get("type").and_then(Value::as_str) == Some("ExternalName") {
        return Ok(());
    }
    let first = |spec: &Map<String, Value>| {
        spec.get("clusterIPs").and_then(|ips| ips.get(0)).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let single = spec.get("clusterIP").and_then(Value::as_str).unwrap_or_default().to_owned();
    let wanted = if single.is_empty() { first(spec) } else { single };
    let families = spec.get("ipFamilies").and_then(Value::as_array).cloned().unwrap_or_default();
    if families.iter().any(|f| f.as_str() == Some("IPv6")) {
        let i = families.iter().position(|f| f.as_str() == Some("IPv6")).unwrap_or(0);
        let error =
            FieldError::invalid(format!("spec.ipFamilies[{i}]"), &"IPv6".into(), "not configured on this cluster");
        return Err(invalid(name, &[error]));
    }
    let headless_without_selector =
        wanted == "None" && spec.get("selector").and_then(Value::as_object).is_none_or(Map::is_empty);
    if !spec.contains_key("ipFamilyPolicy") {
        let policy = if headless_without_selector { "RequireDualStack" } else { "SingleStack" };
        spec.insert("ipFamilyPolicy".into(), policy.into());
    }
    if families.is_empty() {
        let families = if headless_without_selector { json!(["IPv4", "IPv6"]) } else { json!(["IPv4"]) };
        spec.insert("ipFamilies".into(), families);
    }
    let taken: BTreeSet<String> = others
        .iter()
        .flat_map(|other| list(&other["spec"], "clusterIPs").iter().filter_map(|ip| ip.as_str().map(str::to_owned)))
        .collect();
    let address = if wanted == "None" {
        wanted
    } else if wanted.is_empty() {
        free_address(&taken, seed).ok_or_else(|| {
            Status::internal(format!("failed to allocate a serviceIP for Service {name:?}: range is full"))
        })?
    } else {
        check_address(&wanted, &taken, name)?;
        wanted
    };
    spec.insert("clusterIP".into(), address.clone().into());
    spec.insert("clusterIPs".into(), json!([address]));
    Ok(())
}

fn free_address(taken: &BTreeSet<String>, seed: u32) -> Option<String> {
    // Network, broadcast, and the first address (the `kubernetes` Service's) are never given out.
    (0..65_533_u32)
        .map(|i| Ipv4Addr::from(RANGE + 2 + (seed % 65_533 + i) % 65_533).to_string())
        .find(|address| !taken.contains(address))
}

fn check_address(wanted: &str, taken: &BTreeSet<String>, name: &str) -> Result<(), Status> {
    let Ok(parsed) = wanted.parse::<IpAddr>() else {
        let text = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        return Err(invalid(name, &[FieldError::invalid("spec.clusterIPs[0]", &wanted.into(), text)]));
    };
    let inside = matches!(parsed, IpAddr::V4(v4) if u32::from(v4) & 0xFFFF_0000 == RANGE);
    let why = if !inside {
        "the provided network does not match the current range"
    } else if taken.contains(wanted) {
        "provided IP is already allocated"
    } else {
        return Ok(());
    };
    let text = format!("failed to allocate IP {wanted}: {why}");
    Err(invalid(name, &[FieldError::invalid("spec.clusterIPs", &json!([wanted]), &text)]))
}

fn allocate_ports(service: &mut Value, others: &[&Arc<Value>], name: &str, seed: u32) -> Result<(), Status> {
    let Some(spec) = spec_of(service) else { return Ok(()) };
    let ty = spec.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let wants = ty == "NodePort"
        || (ty == "LoadBalancer" && spec.get("allocateLoadBalancerNodePorts") != Some(&Value::Bool(false)));
    // Node ports belong to a Service whatever the protocol; two Services never share one.
    let mut taken: BTreeSet<i64> = others
        .iter()
        .flat_map(|other| {
            list(&other["spec"], "ports").iter().filter_map(|p| p.get("nodePort").and_then(Value::as_i64))
        })
        .collect();
    taken.extend(others.iter().filter_map(|other| other.pointer("/spec/healthCheckNodePort").and_then(Value::as_i64)));
    let local = spec.get("externalTrafficPolicy").and_then(Value::as_str) == Some("Local");
    let mut own: Vec<(i64, Value)> = Vec::new();
    let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
    let mut ports: Vec<&mut Value> = ports.into_iter().flatten().collect();
    for (i, port) in ports.iter().enumerate() {
        let Some(number) = port.get("nodePort").and_then(Value::as_i64).filter(|n| *n != 0) else { continue };
        let field = format!("spec.ports[{i}].nodePort");
        let valid = u16::try_from(number).is_ok_and(|n| NODE_PORTS.contains(&n));
        let why = if !valid {
            "provided port is not in the valid range. The range of valid ports is 30000-32767"
        } else if taken.contains(&number) {
            "provided port is already allocated"
        } else {
            own.push((number, port.get("protocol").cloned().unwrap_or_default()));
            continue;
        };
        return Err(invalid(name, &[FieldError::invalid(field, &number.into(), why)]));
    }
    taken.extend(own.iter().map(|(number, _)| *number));
    let free = |taken: &mut BTreeSet<i64>| {
        let size = u32::from(NODE_PORTS.end() - NODE_PORTS.start()) + 1;
        let found = (0..size)
            .map(|i| i64::from(*NODE_PORTS.start()) + i64::from((seed % size + i) % size))
            .find(|n| !taken.contains(n))?;
        taken.insert(found);
        Some(found)
    };
    if wants {
        for port in &mut ports {
            let Some(port) = port.as_object_mut() else { continue };
            if port.get("nodePort").and_then(Value::as_i64).unwrap_or(0) == 0 {
                let number =
                    free(&mut taken).ok_or_else(|| Status::internal("failed to allocate a nodePort: range is full"))?;
                port.insert("nodePort".into(), number.into());
            }
        }
    }
    if ty == "LoadBalancer" && local && !spec.contains_key("healthCheckNodePort") {
        let number =
            free(&mut taken).ok_or_else(|| Status::internal("failed to allocate a nodePort: range is full"))?;
        spec.insert("healthCheckNodePort".into(), number.into());
    }
    Ok(())
}

/// Checks a Service.
pub fn validate(service: &Value, errors: &mut Vec<FieldError>) {
    let Some(spec) = service.get("spec") else { return };
    let ty = text(spec, "type");
    let ports = list(spec, "ports");
    let headless = text(spec, "clusterIP") == "None";
    if ports.is_empty() && !headless && ty != "ExternalName" {
        errors.push(FieldError::required("spec.ports", ""));
    }
    if ty == "LoadBalancer" && headless {
        let text = "may not be set to 'None' for LoadBalancer services";
        errors.push(FieldError::invalid("spec.clusterIPs[0]", &"None".into(), text));
    }
    if ty == "NodePort" && headless {
        let text = "may not be set to 'None' for NodePort services";
        errors.push(FieldError::invalid("spec.clusterIPs[0]", &"None".into(), text));
    }
    if ty == "ExternalName" {
        if text(spec, "externalName").is_empty() {
            errors.push(FieldError::required("spec.externalName", ""));
        }
        if !text(spec, "clusterIP").is_empty() {
            let text = "may not be set for ExternalName services";
            errors.push(FieldError::forbidden("spec.clusterIPs[0]", text));
        }
    }
    let many = ports.len() > 1;
    let mut names: Vec<&str> = Vec::new();
    let mut seen: Vec<(i64, &str)> = Vec::new();
    let mut duplicates = Vec::new();
    for (i, port) in ports.iter().enumerate() {
        let at = format!("spec.ports[{i}]");
        let name = text(port, "name");
        if many && name.is_empty() {
            errors.push(FieldError::required(format!("{at}.name"), ""));
        } else if !name.is_empty() {
            let wrong = super::metadata::dns_label(name);
            errors.extend(wrong.iter().map(|e| FieldError::invalid(format!("{at}.name"), &name.into(), e)));
            if names.contains(&name) {
                errors.push(FieldError::duplicate(format!("{at}.name"), &name.into()));
            }
            names.push(name);
        }
        let number = port.get("port").and_then(Value::as_i64).unwrap_or(0);
        if !(1..=65_535).contains(&number) {
            let text = "must be between 1 and 65535, inclusive";
            errors.push(FieldError::invalid(format!("{at}.port"), &number.into(), text));
        }
        one_of(port, "protocol", &format!("{at}.protocol"), &["SCTP", "TCP", "UDP"], errors);
        match port.get("targetPort") {
            Some(Value::Number(n)) if !(1..=65_535).contains(&n.as_i64().unwrap_or(0)) => {
                let text = "must be between 1 and 65535, inclusive";
                errors.push(FieldError::invalid(format!("{at}.targetPort"), &port["targetPort"], text));
            }
            Some(Value::String(s)) => {
                let wrong = port_name(s);
                errors.extend(
                    wrong.iter().map(|e| FieldError::invalid(format!("{at}.targetPort"), &s.as_str().into(), e)),
                );
            }
            _ => {}
        }
        if matches!(ty, "ClusterIP" | "ExternalName") && port.get("nodePort").and_then(Value::as_i64).unwrap_or(0) != 0
        {
            let text = "may not be used when `type` is 'ClusterIP'";
            errors.push(FieldError::forbidden(format!("{at}.nodePort"), text));
        }
        let key = (number, text(port, "protocol"));
        if seen.contains(&key) {
            // Errors show the internal struct.
            let shown = json!({"Name": "", "Protocol": key.1, "AppProtocol": null, "Port": number, "TargetPort": 0, "NodePort": 0});
            duplicates.push(FieldError::duplicate(&at, &shown));
        }
        seen.push(key);
    }
    super::metadata::labels(spec.get("selector"), "spec.selector", errors);
    one_of(spec, "sessionAffinity", "spec.sessionAffinity", &["ClientIP", "None"], errors);
    one_of(spec, "type", "spec.type", &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"], errors);
    errors.extend(duplicates);
}

/// Checks an update of a Service.
pub fn validate_update(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let (Some(spec), Some(old_spec)) = (new.get("spec"), old.get("spec")) else { return };
    let external = |spec: &Value| text(spec, "type") == "ExternalName";
    if !external(old_spec) && !external(spec) {
        let (new_ips, old_ips) = (list(spec, "clusterIPs"), list(old_spec, "clusterIPs"));
        if !old_ips.is_empty() && new_ips.first() != old_ips.first() {
            let shown = Value::Array(new_ips.to_vec());
            errors.push(FieldError::invalid("spec.clusterIPs[0]", &shown, "may not change once set"));
        }
    }
    if text(spec, "type") == "LoadBalancer"
        && text(old_spec, "type") == "LoadBalancer"
        && spec.get("loadBalancerClass") != old_spec.get("loadBalancerClass")
    {
        let value = spec.get("loadBalancerClass").cloned().unwrap_or_default();
        errors.push(FieldError::invalid("spec.loadBalancerClass", &value, "may not change once set"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_ports_are_given_out_once() {
        let mut first = json!({"metadata": {"name": "a", "namespace": "x"},
            "spec": {"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}]}});
        allocate(&mut first, &[]).unwrap();
        assert!(first["spec"]["clusterIP"].as_str().unwrap().starts_with("10.96."));
        let stored = Arc::new(first);
        let mut second = json!({"metadata": {"name": "b", "namespace": "x"},
            "spec": {"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}]}});
        let error = allocate(&mut second, &[&stored]).unwrap_err();
        assert_eq!(
            error.message,
            "Service \"b\" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated"
        );
        second["spec"]["ports"][0].as_object_mut().unwrap().shift_remove("nodePort");
        allocate(&mut second, &[&stored]).unwrap();
        assert_ne!(second["spec"]["ports"][0]["nodePort"], json!(30080));
    }
}
