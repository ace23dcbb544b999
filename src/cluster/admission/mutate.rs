//! What the mutating admission plugins of a default installation add to new objects.
//! Source: plugin/pkg/admission/{serviceaccount,defaulttolerationseconds,priority,limitranger} and storage/storageclass/setdefault.
//!
//! In: the object and what is stored. Out: the object with their additions, or the refusal.

use crate::cluster::kinds::Kind;
use crate::cluster::status::Status;
use crate::cluster::store::Store;
use crate::object::Gk;
use crate::object::quantity::Quantity;
use serde_json::{Map, Value, json};

/// Seconds that a pod stays on a node that is gone.
const TOLERATION_SECONDS: i64 = 300;

/// Adds to a new object. `suffix` is random text for the name of the token volume.
pub fn create(kind: &Kind, object: &mut Value, store: &Store, suffix: &str) -> Result<(), Status> {
    match (kind.gk.group.as_str(), kind.gk.kind.as_str()) {
        ("", "Pod") => pod(object, store, suffix),
        ("", "PersistentVolumeClaim") => {
            claim(object, store);
            protect(object, "kubernetes.io/pvc-protection");
            Ok(())
        }
        ("", "Node") => {
            taint(object);
            Ok(())
        }
        ("", "PersistentVolume") => {
            protect(object, "kubernetes.io/pv-protection");
            Ok(())
        }
        _ => Ok(()),
    }
}

fn text<'v>(object: &'v Value, pointer: &str) -> &'v str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn pod(object: &mut Value, store: &Store, suffix: &str) -> Result<(), Status> {
    limit_ranges(object, store)?;
    service_account(object, store, suffix)?;
    priority(object, store)?;
    tolerations(object);
    Ok(())
}

fn forbidden(object: &Value, why: &str) -> Status {
    Status::forbidden("pods", "", text(object, "/metadata/name"), why)
}

fn service_account(object: &mut Value, store: &Store, suffix: &str) -> Result<(), Status> {
    let mirror = object.pointer("/metadata/annotations/kubernetes.io~1config.mirror").is_some();
    if mirror {
        return Ok(());
    }
    let namespace = text(object, "/metadata/namespace").to_owned();
    let given = text(object, "/spec/serviceAccountName").to_owned();
    let name = if given.is_empty() { "default".to_owned() } else { given };
    let Some(account) = store.get(&Gk::new("", "ServiceAccount"), &namespace, &name).cloned() else {
        let why = format!("error looking up service account {namespace}/{name}: serviceaccount {name:?} not found");
        return Err(forbidden(object, &why));
    };
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return Ok(()) };
    spec.insert("serviceAccountName".into(), name.clone().into());
    spec.insert("serviceAccount".into(), name.into());
    let automount = spec
        .get("automountServiceAccountToken")
        .or_else(|| account.get("automountServiceAccountToken"))
        .and_then(Value::as_bool)
        .unwrap_or(true);
    if automount {
        mount_token(spec, suffix);
    }
    let none = spec.get("imagePullSecrets").and_then(Value::as_array).is_none_or(Vec::is_empty);
    if none && let Some(secrets) = account.get("imagePullSecrets").and_then(Value::as_array).filter(|s| !s.is_empty()) {
        spec.insert("imagePullSecrets".into(), Value::Array(secrets.clone()));
    }
    Ok(())
}

const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

fn mount_token(spec: &mut Map<String, Value>, suffix: &str) {
    let volumes = spec.get("volumes").and_then(Value::as_array).cloned().unwrap_or_default();
    let existing = volumes.iter().find_map(|v| {
        let name = v.get("name").and_then(Value::as_str)?;
        (name.starts_with("kube-api-access-") && v.get("projected").is_some()).then(|| name.to_owned())
    });
    let volume = existing.clone().unwrap_or_else(|| format!("kube-api-access-{suffix}"));
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(container) = container.as_object_mut() else { continue };
            let mounts = container.entry("volumeMounts").or_insert_with(|| json!([]));
            let Some(mounts) = mounts.as_array_mut() else { continue };
            if mounts.iter().any(|m| m.get("mountPath").and_then(Value::as_str) == Some(TOKEN_PATH)) {
                continue;
            }
            mounts.push(json!({"name": volume, "readOnly": true, "mountPath": TOKEN_PATH}));
            mounted = true;
        }
    }
    if mounted && existing.is_none() {
        let token = json!({"name": volume, "projected": {"sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace",
                "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}}
        ], "defaultMode": 420}});
        if let Some(volumes) = spec.entry("volumes").or_insert_with(|| json!([])).as_array_mut() {
            volumes.push(token);
        }
    }
}

fn priority(object: &mut Value, store: &Store) -> Result<(), Status> {
    let gk = Gk::new("scheduling.k8s.io", "PriorityClass");
    let name = text(object, "/spec/priorityClassName").to_owned();
    let builtin = match name.as_str() {
        "system-cluster-critical" => Some(2_000_000_000),
        "system-node-critical" => Some(2_000_001_000),
        _ => None,
    };
    let class = if name.is_empty() {
        let classes = store.list(&gk, None);
        classes.into_iter().find(|c| c.get("globalDefault") == Some(&Value::Bool(true))).cloned()
    } else {
        store.get(&gk, "", &name).cloned()
    };
    if !name.is_empty() && class.is_none() && builtin.is_none() {
        let why = format!("no PriorityClass with name {name} was found");
        return Err(forbidden(object, &why));
    }
    let value = class.as_ref().and_then(|c| c.get("value")).and_then(Value::as_i64).or(builtin).unwrap_or(0);
    let policy = class.as_ref().map_or("PreemptLowerPriority", |c| {
        c.get("preemptionPolicy").and_then(Value::as_str).unwrap_or("PreemptLowerPriority")
    });
    let given = object.pointer("/spec/priority").and_then(Value::as_i64);
    if let Some(given) = given
        && given != value
    {
        let why = format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
        );
        return Err(forbidden(object, &why));
    }
    let policy = policy.to_owned();
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        if let Some(class) = &class
            && name.is_empty()
        {
            spec.insert("priorityClassName".into(), class["metadata"]["name"].clone());
        }
        spec.insert("priority".into(), value.into());
        spec.entry("preemptionPolicy").or_insert_with(|| policy.into());
    }
    Ok(())
}

fn tolerations(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let Some(list) = spec.entry("tolerations").or_insert_with(|| json!([])).as_array_mut() else { return };
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerated = list.iter().any(|t| {
            let (own, effect) = (t.get("key").and_then(Value::as_str), t.get("effect").and_then(Value::as_str));
            matches!(own, None | Some(""))
                && t.get("operator").and_then(Value::as_str) == Some("Exists")
                && matches!(effect, None | Some("" | "NoExecute"))
                || own == Some(key) && matches!(effect, None | Some("" | "NoExecute"))
        });
        if !tolerated {
            list.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute",
                "tolerationSeconds": TOLERATION_SECONDS}));
        }
    }
}

/// Defaults, minima and maxima of the namespace's LimitRanges, for containers.
fn limit_ranges(object: &mut Value, store: &Store) -> Result<(), Status> {
    let namespace = text(object, "/metadata/namespace").to_owned();
    let ranges: Vec<_> = store.list(&Gk::new("", "LimitRange"), Some(&namespace)).into_iter().cloned().collect();
    let mut problems: Vec<String> = Vec::new();
    for range in ranges {
        for limit in range.pointer("/spec/limits").and_then(Value::as_array).into_iter().flatten() {
            if limit.get("type").and_then(Value::as_str) != Some("Container") {
                continue;
            }
            for list in ["initContainers", "containers"] {
                let containers = object.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut);
                for container in containers.into_iter().flatten() {
                    default_resources(container, limit);
                    check_resources(container, limit, &mut problems);
                }
            }
        }
    }
    match problems.as_slice() {
        [] => Ok(()),
        [one] => Err(forbidden(object, one)),
        many => Err(forbidden(object, &format!("[{}]", many.join(", ")))),
    }
}

fn default_resources(container: &mut Value, limit: &Value) {
    let Some(container) = container.as_object_mut() else { return };
    let resources = container.entry("resources").or_insert_with(|| json!({}));
    for (from, to) in [("default", "limits"), ("defaultRequest", "requests")] {
        for (name, amount) in limit.get(from).and_then(Value::as_object).into_iter().flatten() {
            let Some(map) = resources.as_object_mut() else { return };
            let list = map.entry(to).or_insert_with(|| json!({}));
            if list.get(name).is_none() {
                list[name.as_str()] = amount.clone();
            }
        }
    }
}

fn check_resources(container: &Value, limit: &Value, problems: &mut Vec<String>) {
    let amount = |list: &str, name: &str| container.pointer(&format!("/resources/{list}/{name}")).cloned();
    for (name, min) in limit.get("min").and_then(Value::as_object).into_iter().flatten() {
        let shown = min.as_str().unwrap_or_default();
        match amount("requests", name) {
            None => problems.push(format!("minimum {name} usage per Container is {shown}. No request is specified")),
            Some(asked) if Quantity::from_value(&asked) < Quantity::from_value(min) => problems.push(format!(
                "minimum {name} usage per Container is {shown}, but request is {}",
                asked.as_str().unwrap_or_default()
            )),
            Some(_) => {}
        }
    }
    for (name, max) in limit.get("max").and_then(Value::as_object).into_iter().flatten() {
        let shown = max.as_str().unwrap_or_default();
        match amount("limits", name) {
            None => problems.push(format!("maximum {name} usage per Container is {shown}. No limit is specified")),
            Some(asked) if Quantity::from_value(&asked) > Quantity::from_value(max) => problems.push(format!(
                "maximum {name} usage per Container is {shown}, but limit is {}",
                asked.as_str().unwrap_or_default()
            )),
            Some(_) => {}
        }
    }
}

/// A new node takes no pods until it is known to be ready (`TaintNodesByCondition`).
fn taint(node: &mut Value) {
    let Some(spec) = node.get_mut("spec").and_then(Value::as_object_mut) else { return };
    if let Some(list) = spec.entry("taints").or_insert_with(|| json!([])).as_array_mut()
        && !list.iter().any(|t| t["key"] == "node.kubernetes.io/not-ready" && t["effect"] == "NoSchedule")
    {
        list.push(json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}));
    }
}

/// Storage in use is not deleted (`StorageObjectInUseProtection`).
fn protect(object: &mut Value, finalizer: &str) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    if let Some(list) = metadata.entry("finalizers").or_insert_with(|| json!([])).as_array_mut()
        && !list.iter().any(|f| f == finalizer)
    {
        list.push(finalizer.into());
    }
}

fn claim(object: &mut Value, store: &Store) {
    if object.pointer("/spec/storageClassName").is_some() {
        return;
    }
    let classes = store.list(&Gk::new("storage.k8s.io", "StorageClass"), None);
    let default = classes.into_iter().find(|class| {
        class.pointer("/metadata/annotations/storageclass.kubernetes.io~1is-default-class").and_then(Value::as_str)
            == Some("true")
    });
    if let (Some(class), Some(spec)) = (default, object.get_mut("spec").and_then(Value::as_object_mut)) {
        spec.insert("storageClassName".into(), class["metadata"]["name"].clone());
    }
}
