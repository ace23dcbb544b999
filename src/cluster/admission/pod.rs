//! Validation of pods and pod templates: the mistakes that people make, with the texts of the real server.
//! Source: k8s.io/kubernetes/pkg/apis/core/validation/validation.go (`ValidatePodSpec`, `ValidateContainers`, `ValidateVolumes`).

use super::metadata;
use crate::cluster::status::FieldError;
use crate::object::quantity::Quantity;
use serde_json::{Map, Value};

const PORT_RANGE: &str = "must be between 1 and 65535, inclusive";

/// A list under a key; empty where there is none.
pub fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A text under a key; empty where there is none.
pub fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// An enumeration: empty is required, anything else must be in the list.
pub fn one_of(value: &Value, key: &str, field: &str, allowed: &[&str], errors: &mut Vec<FieldError>) {
    let found = text(value, key);
    if !allowed.contains(&found) {
        errors.push(if found.is_empty() {
            FieldError::required(field, "")
        } else {
            FieldError::not_supported(field, &found.into(), allowed)
        });
    }
}

/// An integer that may not be negative.
pub fn non_negative(value: &Value, key: &str, at: &str, errors: &mut Vec<FieldError>) {
    if let Some(n) = value.get(key)
        && n.as_i64().is_some_and(|n| n < 0)
    {
        errors.push(FieldError::invalid(format!("{at}.{key}"), n, "must be greater than or equal to 0"));
    }
}

/// Checks a pod template: its labels, annotations and spec.
pub fn template(template: &Value, at: &str, errors: &mut Vec<FieldError>) {
    metadata::labels(template.pointer("/metadata/labels"), &format!("{at}.labels"), errors);
    let empty = Value::Object(Map::new());
    spec(template.get("spec").unwrap_or(&empty), &format!("{at}.spec"), errors);
}

/// Checks a pod spec.
pub fn spec(spec: &Value, at: &str, errors: &mut Vec<FieldError>) {
    let volumes = volumes(spec, at, errors);
    let init = list(spec, "initContainers");
    containers(spec, "containers", at, &volumes, errors);
    if !init.is_empty() {
        containers(spec, "initContainers", at, &volumes, errors);
        for (i, container) in init.iter().enumerate() {
            if list(spec, "containers")
                .iter()
                .any(|c| text(c, "name") == text(container, "name") && c.get("name").is_some())
            {
                let field = format!("{at}.initContainers[{i}].name");
                errors.push(FieldError::duplicate(field, &text(container, "name").into()));
            }
        }
    }
    one_of(spec, "restartPolicy", &format!("{at}.restartPolicy"), &["Always", "OnFailure", "Never"], errors);
    one_of(
        spec,
        "dnsPolicy",
        &format!("{at}.dnsPolicy"),
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
        errors,
    );
    non_negative(spec, "terminationGracePeriodSeconds", at, errors);
    if let Some(seconds) = spec.get("activeDeadlineSeconds")
        && seconds.as_i64().is_some_and(|n| n < 1)
    {
        let field = format!("{at}.activeDeadlineSeconds");
        errors.push(FieldError::invalid(field, seconds, "must be between 1 and 2147483647, inclusive"));
    }
    metadata::labels(spec.get("nodeSelector"), &format!("{at}.nodeSelector"), errors);
    for (key, check) in [
        ("serviceAccountName", metadata::dns_subdomain as fn(&str) -> Vec<String>),
        ("nodeName", metadata::dns_subdomain),
    ] {
        let found = text(spec, key);
        if !found.is_empty() {
            errors.extend(check(found).iter().map(|e| FieldError::invalid(format!("{at}.{key}"), &found.into(), e)));
        }
    }
    tolerations(spec, at, errors);
    spread(spec, at, errors);
}

fn tolerations(spec: &Value, at: &str, errors: &mut Vec<FieldError>) {
    for (i, toleration) in list(spec, "tolerations").iter().enumerate() {
        let field = format!("{at}.tolerations[{i}]");
        let (key, operator) = (text(toleration, "key"), text(toleration, "operator"));
        if key.is_empty() && operator != "Exists" {
            let text = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(FieldError::invalid(format!("{field}.operator"), &operator.into(), text));
        }
        if !matches!(operator, "" | "Equal" | "Exists" | "Lt" | "Gt") {
            let field = format!("{field}.operator");
            errors.push(FieldError::not_supported(field, &operator.into(), &["Equal", "Exists"]));
        }
        if operator == "Exists" && !text(toleration, "value").is_empty() {
            let text = "value must be empty when `operator` is 'Exists'";
            errors.push(FieldError::invalid(format!("{field}.operator"), toleration, text));
        }
        let effect = text(toleration, "effect");
        if !matches!(effect, "" | "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
            let allowed = ["NoExecute", "NoSchedule", "PreferNoSchedule"];
            errors.push(FieldError::not_supported(format!("{field}.effect"), &effect.into(), &allowed));
        }
    }
}

fn spread(spec: &Value, at: &str, errors: &mut Vec<FieldError>) {
    for (i, constraint) in list(spec, "topologySpreadConstraints").iter().enumerate() {
        let field = format!("{at}.topologySpreadConstraints[{i}]");
        if constraint.get("maxSkew").and_then(Value::as_i64).unwrap_or(0) <= 0 {
            let skew = constraint.get("maxSkew").cloned().unwrap_or_else(|| 0.into());
            errors.push(FieldError::invalid(format!("{field}.maxSkew"), &skew, "must be greater than zero"));
        }
        if text(constraint, "topologyKey").is_empty() {
            errors.push(FieldError::required(format!("{field}.topologyKey"), "can not be empty"));
        }
        let action = text(constraint, "whenUnsatisfiable");
        if !matches!(action, "DoNotSchedule" | "ScheduleAnyway") {
            let field = format!("{field}.whenUnsatisfiable");
            errors.push(FieldError::not_supported(field, &action.into(), &["DoNotSchedule", "ScheduleAnyway"]));
        }
    }
}

/// Checks the volumes. Out: their names.
fn volumes(spec: &Value, at: &str, errors: &mut Vec<FieldError>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (i, volume) in list(spec, "volumes").iter().enumerate() {
        let field = format!("{at}.volumes[{i}]");
        let name = text(volume, "name");
        if name.is_empty() {
            errors.push(FieldError::required(format!("{field}.name"), ""));
        } else {
            let wrong = metadata::dns_label(name);
            errors.extend(wrong.iter().map(|e| FieldError::invalid(format!("{field}.name"), &name.into(), e)));
            if names.iter().any(|n| n == name) {
                errors.push(FieldError::duplicate(format!("{field}.name"), &name.into()));
            }
        }
        let mut sources = volume.as_object().into_iter().flatten().map(|(k, _)| k.as_str()).filter(|k| *k != "name");
        if let Some(first) = sources.next() {
            for extra in sources {
                let field = format!("{field}.{extra}");
                errors.push(FieldError::forbidden(field, "may not specify more than 1 volume type"));
            }
            let reference = match first {
                "secret" => Some("secretName"),
                "persistentVolumeClaim" => Some("claimName"),
                "configMap" => Some("name"),
                _ => None,
            };
            if let Some(key) = reference
                && text(&volume[first], key).is_empty()
            {
                errors.push(FieldError::required(format!("{field}.{first}.{key}"), ""));
            }
        }
        names.push(name.to_owned());
    }
    names
}

fn containers(spec: &Value, key: &str, at: &str, volumes: &[String], errors: &mut Vec<FieldError>) {
    let containers = list(spec, key);
    if containers.is_empty() {
        errors.push(FieldError::required(format!("{at}.{key}"), ""));
        return;
    }
    let mut names: Vec<&str> = Vec::new();
    for (i, container) in containers.iter().enumerate() {
        let field = format!("{at}.{key}[{i}]");
        let name = text(container, "name");
        if name.is_empty() {
            errors.push(FieldError::required(format!("{field}.name"), ""));
        } else {
            let wrong = metadata::dns_label(name);
            errors.extend(wrong.iter().map(|e| FieldError::invalid(format!("{field}.name"), &name.into(), e)));
        }
        if names.contains(&name) && !name.is_empty() {
            errors.push(FieldError::duplicate(format!("{field}.name"), &name.into()));
        }
        names.push(name);
        self::container(container, &field, volumes, errors);
    }
}

fn container(container: &Value, at: &str, volumes: &[String], errors: &mut Vec<FieldError>) {
    let image = text(container, "image");
    if image.is_empty() {
        errors.push(FieldError::required(format!("{at}.image"), ""));
    } else if image.trim() != image {
        let field = format!("{at}.image");
        errors.push(FieldError::invalid(field, &image.into(), "must not have leading or trailing whitespace"));
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(value) = container.get(probe) {
            self::probe(value, probe, &format!("{at}.{probe}"), errors);
        }
    }
    ports(container, at, errors);
    env(container, at, errors);
    for (i, source) in list(container, "envFrom").iter().enumerate() {
        let count = usize::from(source.get("configMapRef").is_some()) + usize::from(source.get("secretRef").is_some());
        if count != 1 {
            let text = if count == 0 {
                "must specify one of: `configMapRef` or `secretRef`"
            } else {
                "may not have more than one field specified at a time"
            };
            errors.push(FieldError::invalid(format!("{at}.envFrom[{i}]"), &"".into(), text));
        }
    }
    mounts(container, at, volumes, errors);
    one_of(
        container,
        "imagePullPolicy",
        &format!("{at}.imagePullPolicy"),
        &["Always", "IfNotPresent", "Never"],
        errors,
    );
    resources(container, at, errors);
}

fn probe(probe: &Value, name: &str, at: &str, errors: &mut Vec<FieldError>) {
    let handlers: Vec<&str> =
        ["exec", "httpGet", "tcpSocket", "grpc"].into_iter().filter(|h| probe.get(*h).is_some()).collect();
    match handlers.as_slice() {
        [] => errors.push(FieldError::required(at, "must specify a handler type")),
        [_] => {}
        [_, rest @ ..] => {
            for extra in rest {
                errors.push(FieldError::forbidden(format!("{at}.{extra}"), "may not specify more than 1 handler type"));
            }
        }
    }
    for handler in handlers {
        if matches!(handler, "httpGet" | "tcpSocket" | "grpc") {
            port_reference(&probe[handler], &format!("{at}.{handler}.port"), errors);
        }
        if handler == "exec" && list(&probe["exec"], "command").is_empty() {
            errors.push(FieldError::required(format!("{at}.exec.command"), ""));
        }
    }
    for key in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        non_negative(probe, key, at, errors);
    }
    if name != "readinessProbe" && probe.get("successThreshold").and_then(Value::as_i64).is_some_and(|n| n != 1) {
        let field = format!("{at}.successThreshold");
        errors.push(FieldError::invalid(field, &probe["successThreshold"], "must be 1"));
    }
}

fn port_reference(handler: &Value, field: &str, errors: &mut Vec<FieldError>) {
    match handler.get("port") {
        Some(Value::Number(n)) if !(1..=65_535).contains(&n.as_i64().unwrap_or(0)) => {
            errors.push(FieldError::invalid(field, &handler["port"], PORT_RANGE));
        }
        Some(Value::String(name)) => {
            errors.extend(port_name(name).iter().map(|e| FieldError::invalid(field, &name.as_str().into(), e)));
        }
        Some(_) => {}
        None => errors.push(FieldError::invalid(field, &0.into(), PORT_RANGE)),
    }
}

/// What is wrong with the name of a port (IANA_SVC_NAME, RFC 6335).
pub fn port_name(name: &str) -> Vec<String> {
    let mut out = Vec::new();
    if name.len() > 15 {
        out.push("must be no more than 15 characters".to_owned());
    }
    if !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-') || name.is_empty() {
        out.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !name.chars().any(|c| c.is_ascii_lowercase()) {
        out.push("must contain at least one letter (a-z)".to_owned());
    }
    if name.contains("--") {
        out.push("must not contain consecutive hyphens".to_owned());
    }
    if name.starts_with('-') || name.ends_with('-') {
        out.push("must not begin or end with a hyphen".to_owned());
    }
    out
}

fn ports(container: &Value, at: &str, errors: &mut Vec<FieldError>) {
    let mut names: Vec<&str> = Vec::new();
    for (i, port) in list(container, "ports").iter().enumerate() {
        let field = format!("{at}.ports[{i}]");
        let name = text(port, "name");
        if !name.is_empty() {
            let wrong = port_name(name);
            errors.extend(wrong.iter().map(|e| FieldError::invalid(format!("{field}.name"), &name.into(), e)));
            if names.contains(&name) {
                errors.push(FieldError::duplicate(format!("{field}.name"), &name.into()));
            }
            names.push(name);
        }
        match port.get("containerPort").and_then(Value::as_i64).unwrap_or(0) {
            0 => errors.push(FieldError::required(format!("{field}.containerPort"), "")),
            1..=65_535 => {}
            n => errors.push(FieldError::invalid(format!("{field}.containerPort"), &n.into(), PORT_RANGE)),
        }
        if let Some(host) = port.get("hostPort").and_then(Value::as_i64)
            && !(1..=65_535).contains(&host)
        {
            errors.push(FieldError::invalid(format!("{field}.hostPort"), &host.into(), PORT_RANGE));
        }
        one_of(port, "protocol", &format!("{field}.protocol"), &["SCTP", "TCP", "UDP"], errors);
    }
}

fn env(container: &Value, at: &str, errors: &mut Vec<FieldError>) {
    for (i, env) in list(container, "env").iter().enumerate() {
        let field = format!("{at}.env[{i}]");
        let name = text(env, "name");
        if name.is_empty() {
            errors.push(FieldError::required(format!("{field}.name"), ""));
        } else if name.contains('=') || name.chars().any(|c| !(' '..='~').contains(&c)) {
            let text =
                "a valid environment variable name must consist only of printable ASCII characters other than '='";
            errors.push(FieldError::invalid(format!("{field}.name"), &name.into(), text));
        }
        let Some(from) = env.get("valueFrom") else { continue };
        let field = format!("{field}.valueFrom");
        if !text(env, "value").is_empty() {
            errors.push(FieldError::invalid(&field, &"".into(), "may not be specified when `value` is not empty"));
        }
        let sources = from.as_object().map_or(0, Map::len);
        if sources == 0 {
            let text = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
            errors.push(FieldError::invalid(&field, &"".into(), text));
        } else if sources > 1 {
            errors.push(FieldError::invalid(
                &field,
                &"".into(),
                "may not have more than one field specified at a time",
            ));
        }
        for key in ["configMapKeyRef", "secretKeyRef"] {
            let Some(reference) = from.get(key) else { continue };
            if text(reference, "name").is_empty() {
                errors.push(FieldError::required(format!("{field}.{key}.name"), ""));
            }
            if text(reference, "key").is_empty() {
                errors.push(FieldError::required(format!("{field}.{key}.key"), ""));
            }
        }
    }
}

fn mounts(container: &Value, at: &str, volumes: &[String], errors: &mut Vec<FieldError>) {
    let mut paths: Vec<&str> = Vec::new();
    for (i, mount) in list(container, "volumeMounts").iter().enumerate() {
        let field = format!("{at}.volumeMounts[{i}]");
        let (name, path) = (text(mount, "name"), text(mount, "mountPath"));
        if name.is_empty() {
            errors.push(FieldError::required(format!("{field}.name"), ""));
        }
        if !volumes.iter().any(|v| v == name) {
            errors.push(FieldError::not_found(format!("{field}.name"), &name.into()));
        }
        if path.is_empty() {
            errors.push(FieldError::required(format!("{field}.mountPath"), ""));
        }
        if paths.contains(&path) {
            errors.push(FieldError::invalid(format!("{field}.mountPath"), &path.into(), "must be unique"));
        }
        paths.push(path);
    }
}

fn resources(container: &Value, at: &str, errors: &mut Vec<FieldError>) {
    let Some(resources) = container.get("resources") else { return };
    let map = |key: &str| resources.get(key).and_then(Value::as_object);
    for key in ["limits", "requests"] {
        for (name, amount) in map(key).into_iter().flatten() {
            let field = format!("{at}.resources.{key}");
            let standard =
                matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
            if !standard && !name.contains('/') {
                let text = "must be a standard resource type or fully qualified";
                errors.push(FieldError::invalid(&field, &name.as_str().into(), text));
                errors.push(FieldError::invalid(
                    &field,
                    &name.as_str().into(),
                    "must be a standard resource for containers",
                ));
            }
            if Quantity::from_value(amount).is_some_and(|q| q.milli < 0) {
                let field = format!("{field}.{name}");
                errors.push(FieldError::invalid(field, amount, "must be greater than or equal to 0"));
            }
        }
    }
    for (name, request) in map("requests").into_iter().flatten() {
        let Some(limit) = map("limits").and_then(|m| m.get(name)) else { continue };
        if let (Some(asked), Some(most)) = (Quantity::from_value(request), Quantity::from_value(limit))
            && asked > most
        {
            let text = format!("must be less than or equal to {name} limit of {}", limit.as_str().unwrap_or_default());
            errors.push(FieldError::invalid(format!("{at}.resources.requests"), request, &text));
        }
    }
}

/// Checks an update of a pod: only a few fields may change (`ValidatePodUpdate`).
pub fn update(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let mut allowed = old.get("spec").cloned().unwrap_or_default();
    let Some(spec) = new.get("spec") else { return };
    for list_name in ["containers", "initContainers"] {
        let (before, after) = (list(&allowed, list_name).to_vec(), list(spec, list_name));
        if before.len() != after.len() {
            let text = "pod updates may not add or remove containers";
            errors.push(FieldError::forbidden(format!("spec.{list_name}"), text));
            return;
        }
        for (i, container) in after.iter().enumerate() {
            if let (Some(image), Some(place)) =
                (container.get("image"), allowed[list_name].get_mut(i).and_then(Value::as_object_mut))
            {
                place.insert("image".into(), image.clone());
            }
        }
    }
    if let Some(allowed) = allowed.as_object_mut() {
        for key in [
            "activeDeadlineSeconds",
            "tolerations",
            "terminationGracePeriodSeconds",
            "schedulingGates",
            "ephemeralContainers",
        ] {
            match spec.get(key) {
                Some(value) => allowed.insert(key.into(), value.clone()),
                None => allowed.shift_remove(key),
            };
        }
    }
    if allowed != *spec {
        errors.push(FieldError::forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        ));
    }
}
