//! Which checks a kind gets, at creation and at update, and what may not change.

use super::{metadata, pod, service, workload};
use crate::cluster::kinds::Kind;
use crate::cluster::status::FieldError;
use base64::Engine as _;
use serde_json::{Value, json};

/// The most that a ConfigMap or Secret may hold, in bytes.
const MAX_DATA: usize = 1024 * 1024;

/// Everything wrong with a new object.
pub fn create(kind: &Kind, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    metadata::name(kind, object, &mut errors);
    metadata::common(object, &mut errors);
    content(kind, object, &mut errors);
    errors
}

/// Everything wrong with an updated object.
pub fn update(kind: &Kind, new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    metadata::update(kind, new, old, &mut errors);
    metadata::common(new, &mut errors);
    if new.get("spec") != old.get("spec") || new.get("data") != old.get("data") || new.get("rules") != old.get("rules")
    {
        if kind.is("", "Pod") {
            pod::update(new, old, &mut errors);
        } else {
            content(kind, new, &mut errors);
        }
    }
    immutable(kind, new, old, &mut errors);
    errors
}

fn content(kind: &Kind, object: &Value, errors: &mut Vec<FieldError>) {
    match (kind.gk.group.as_str(), kind.gk.kind.as_str()) {
        ("", "Pod") => {
            if let Some(spec) = object.get("spec") {
                pod::spec(spec, "spec", errors);
            }
        }
        ("", "Service") => service::validate(object, errors),
        ("", "ConfigMap") => data(object, &["data", "binaryData"], errors),
        ("", "Secret") => secret(object, errors),
        ("", "PersistentVolumeClaim") => claim(object, errors),
        ("", "PersistentVolume") => volume(object, errors),
        ("apps", "Deployment") => workload::deployment(object, errors),
        ("apps", "ReplicaSet") => workload::selected_template("ReplicaSet", object, errors),
        ("apps", "StatefulSet") => workload::stateful_set(object, errors),
        ("apps", "DaemonSet") => workload::daemon_set(object, errors),
        ("batch", "Job") => workload::job(object, errors),
        ("batch", "CronJob") => workload::cron_job(object, errors),
        ("autoscaling", _) => workload::autoscaler(object, errors),
        ("policy", "PodDisruptionBudget") => workload::disruption_budget(object, errors),
        ("networking.k8s.io", "Ingress") => workload::ingress(object, errors),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => role_binding(kind, object, errors),
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => rules(object, errors),
        ("storage.k8s.io", "StorageClass") if pod::text(object, "provisioner").is_empty() => {
            errors.push(FieldError::required("provisioner", ""));
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => crate::cluster::crd::validate(object, errors),
        _ => {}
    }
}

fn data(object: &Value, maps: &[&str], errors: &mut Vec<FieldError>) {
    let mut size = 0;
    for map in maps {
        for (key, value) in object.get(*map).and_then(Value::as_object).into_iter().flatten() {
            let ok = !key.is_empty()
                && key.len() <= 253
                && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
            if !ok {
                let text = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
                errors.push(FieldError::invalid(format!("{map}[{key}]"), &key.as_str().into(), text));
            }
            size += value.as_str().map_or(0, str::len);
        }
    }
    if let (Some(data), Some(binary)) = (object.get("data"), object.get("binaryData")) {
        for key in data.as_object().into_iter().flatten().map(|(k, _)| k) {
            if binary.get(key).is_some() {
                let text = "duplicate of key present in binaryData";
                errors.push(FieldError::invalid(format!("data[{key}]"), &key.as_str().into(), text));
            }
        }
    }
    if size > MAX_DATA {
        errors.push(FieldError::too_long("", MAX_DATA));
    }
}

fn secret(object: &Value, errors: &mut Vec<FieldError>) {
    data(object, &["data"], errors);
    let has = |key: &str| object.get("data").is_some_and(|d| d.get(key).is_some());
    let needed: &[&str] = match pod::text(object, "type") {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        _ => &[],
    };
    for key in needed {
        if !has(key) {
            errors.push(FieldError::required(format!("data[{key}]"), ""));
        }
    }
    if pod::text(object, "type") == "kubernetes.io/dockerconfigjson"
        && let Some(text) = object.pointer("/data/.dockerconfigjson").and_then(Value::as_str)
    {
        let decoded = base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default();
        if serde_json::from_slice::<Value>(&decoded).is_err() {
            let text = "<secret contents redacted>";
            errors.push(FieldError::invalid("data[.dockerconfigjson]", &text.into(), "invalid character"));
        }
    }
}

fn claim(object: &Value, errors: &mut Vec<FieldError>) {
    let Some(spec) = object.get("spec") else { return };
    if pod::list(spec, "accessModes").is_empty() {
        errors.push(FieldError::required("spec.accessModes", "at least 1 access mode is required"));
    }
    for (i, mode) in pod::list(spec, "accessModes").iter().enumerate() {
        let allowed = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
        if !allowed.contains(&mode.as_str().unwrap_or_default()) {
            errors.push(FieldError::not_supported(format!("spec.accessModes[{i}]"), mode, &allowed));
        }
    }
    if spec.pointer("/resources/requests/storage").is_none() {
        errors.push(FieldError::required("spec.resources[storage]", ""));
    }
}

fn volume(object: &Value, errors: &mut Vec<FieldError>) {
    let Some(spec) = object.get("spec") else { return };
    if pod::list(spec, "accessModes").is_empty() {
        errors.push(FieldError::required("spec.accessModes", ""));
    }
    if spec.get("capacity").and_then(Value::as_object).is_none_or(serde_json::Map::is_empty) {
        errors.push(FieldError::required("spec.capacity", ""));
    }
}

fn role_binding(kind: &Kind, object: &Value, errors: &mut Vec<FieldError>) {
    let role = object.get("roleRef").cloned().unwrap_or_default();
    let group = pod::text(&role, "apiGroup");
    if group != "rbac.authorization.k8s.io" {
        let allowed = ["rbac.authorization.k8s.io"];
        errors.push(FieldError::not_supported("roleRef.apiGroup", &group.into(), &allowed));
    }
    let allowed: &[&str] = if kind.gk.kind == "RoleBinding" { &["ClusterRole", "Role"] } else { &["ClusterRole"] };
    let found = pod::text(&role, "kind");
    if !allowed.contains(&found) {
        errors.push(FieldError::not_supported("roleRef.kind", &found.into(), allowed));
    }
    if pod::text(&role, "name").is_empty() {
        errors.push(FieldError::required("roleRef.name", ""));
    }
    for (i, subject) in pod::list(object, "subjects").iter().enumerate() {
        let at = format!("subjects[{i}]");
        if pod::text(subject, "name").is_empty() {
            errors.push(FieldError::required(format!("{at}.name"), ""));
        }
        match pod::text(subject, "kind") {
            "ServiceAccount" => {
                if kind.gk.kind == "ClusterRoleBinding" && pod::text(subject, "namespace").is_empty() {
                    errors.push(FieldError::required(format!("{at}.namespace"), ""));
                }
            }
            "User" | "Group" => {}
            other => {
                let allowed = ["Group", "ServiceAccount", "User"];
                errors.push(FieldError::not_supported(format!("{at}.kind"), &other.into(), &allowed));
            }
        }
    }
}

fn rules(object: &Value, errors: &mut Vec<FieldError>) {
    for (i, rule) in pod::list(object, "rules").iter().enumerate() {
        let at = format!("rules[{i}]");
        if pod::list(rule, "verbs").is_empty() {
            errors.push(FieldError::required(format!("{at}.verbs"), "verbs must contain at least one value"));
        }
        if pod::list(rule, "nonResourceURLs").is_empty() {
            if pod::list(rule, "apiGroups").is_empty() {
                let text = "resource rules must supply at least one api group";
                errors.push(FieldError::required(format!("{at}.apiGroups"), text));
            }
            if pod::list(rule, "resources").is_empty() {
                let text = "resource rules must supply at least one resource";
                errors.push(FieldError::required(format!("{at}.resources"), text));
            }
        }
    }
}

/// `ValidateImmutableField`.
fn fixed(new: &Value, old: &Value, pointer: &str, field: &str, errors: &mut Vec<FieldError>) {
    let (now, before) = (new.pointer(pointer).unwrap_or(&Value::Null), old.pointer(pointer).unwrap_or(&Value::Null));
    if now != before {
        errors.push(FieldError::invalid(field, now, "field is immutable"));
    }
}

fn immutable(kind: &Kind, new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    match (kind.gk.group.as_str(), kind.gk.kind.as_str()) {
        ("apps", "Deployment" | "ReplicaSet" | "DaemonSet") => {
            fixed(new, old, "/spec/selector", "spec.selector", errors);
        }
        ("apps", "StatefulSet") => stateful_set_update(new, old, errors),
        ("batch", "Job") => job_update(new, old, errors),
        ("", "Service") => service::validate_update(new, old, errors),
        ("", "ConfigMap" | "Secret") => data_update(kind, new, old, errors),
        ("", "PersistentVolumeClaim") => claim_update(new, old, errors),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding")
            if new.get("roleRef") != old.get("roleRef") =>
        {
            let role = new.get("roleRef").cloned().unwrap_or_default();
            let shown = json!({"APIGroup": role.get("apiGroup"), "Kind": role.get("kind"), "Name": role.get("name")});
            errors.push(FieldError::invalid("roleRef", &shown, "cannot change roleRef"));
        }
        ("scheduling.k8s.io", "PriorityClass") => {
            if new.get("value").unwrap_or(&json!(0)) != old.get("value").unwrap_or(&json!(0)) {
                errors.push(FieldError::forbidden("value", "may not be changed in an update."));
            }
            fixed(new, old, "/preemptionPolicy", "preemptionPolicy", errors);
        }
        ("storage.k8s.io", "StorageClass") => {
            for key in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
                fixed(new, old, &format!("/{key}"), key, errors);
            }
        }
        ("discovery.k8s.io", "EndpointSlice") => fixed(new, old, "/addressType", "addressType", errors),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            for (pointer, field) in [
                ("/spec/group", "spec.group"),
                ("/spec/names/plural", "spec.names.plural"),
                ("/spec/names/kind", "spec.names.kind"),
                ("/spec/scope", "spec.scope"),
            ] {
                fixed(new, old, pointer, field, errors);
            }
        }
        _ => {}
    }
}

fn stateful_set_update(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let rest = |value: &Value| {
        let mut spec = value.get("spec").cloned().unwrap_or_default();
        if let Some(map) = spec.as_object_mut() {
            for key in [
                "replicas",
                "ordinals",
                "template",
                "updateStrategy",
                "revisionHistoryLimit",
                "persistentVolumeClaimRetentionPolicy",
                "minReadySeconds",
            ] {
                map.shift_remove(key);
            }
        }
        spec
    };
    if rest(new) != rest(old) {
        errors.push(FieldError::forbidden(
            "spec",
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        ));
    }
}

fn job_update(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let indexed = new.pointer("/spec/completionMode").and_then(Value::as_str) == Some("Indexed");
    if !indexed {
        fixed(new, old, "/spec/completions", "spec.completions", errors);
    }
    fixed(new, old, "/spec/selector", "spec.selector", errors);
    // A suspended Job that never started may still change where its pods go.
    let flexible =
        old.pointer("/spec/suspend") == Some(&Value::Bool(true)) && old.pointer("/status/startTime").is_none();
    let template = |value: &Value| {
        let mut template = value.pointer("/spec/template").cloned().unwrap_or_default();
        if flexible {
            for pointer in [
                "/metadata/labels",
                "/metadata/annotations",
                "/spec/nodeSelector",
                "/spec/tolerations",
                "/spec/schedulingGates",
            ] {
                if let Some(place) = template.pointer_mut(pointer) {
                    *place = Value::Null;
                }
            }
        }
        template
    };
    if template(new) != template(old) {
        let shown = new.pointer("/spec/template").cloned().unwrap_or_default();
        errors.push(FieldError::invalid("spec.template", &shown, "field is immutable"));
    }
    for key in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"] {
        fixed(new, old, &format!("/spec/{key}"), &format!("spec.{key}"), errors);
    }
}

fn data_update(kind: &Kind, new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    if kind.gk.kind == "Secret" {
        fixed(new, old, "/type", "type", errors);
    }
    if old.get("immutable") != Some(&Value::Bool(true)) {
        return;
    }
    let text = "field is immutable when `immutable` is set";
    if new.get("immutable") != Some(&Value::Bool(true)) {
        errors.push(FieldError::forbidden("immutable", text));
    }
    for key in ["data", "binaryData"] {
        if new.get(key) != old.get(key) {
            errors.push(FieldError::forbidden(key, text));
        }
    }
}

fn claim_update(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let bound = new.pointer("/status/phase").and_then(Value::as_str) == Some("Bound");
    let rest = |value: &Value, other: &Value| {
        let mut spec = value.get("spec").cloned().unwrap_or_default();
        if let Some(map) = spec.as_object_mut() {
            if other.pointer("/spec/volumeName").is_none() || value.pointer("/spec/volumeName").is_none() {
                // The volume's name is set once, by the volume controller.
                if old.pointer("/spec/volumeName").is_none() {
                    map.shift_remove("volumeName");
                }
            }
            if bound {
                map.shift_remove("volumeAttributesClassName");
                if let Some(requests) =
                    map.get_mut("resources").and_then(|r| r.get_mut("requests")).and_then(Value::as_object_mut)
                {
                    requests.shift_remove("storage");
                }
            }
        }
        spec
    };
    if rest(new, old) != rest(old, new) {
        errors.push(FieldError::forbidden(
            "spec",
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
        ));
    }
}
