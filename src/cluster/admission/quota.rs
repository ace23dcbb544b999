//! ResourceQuotas: a create that would exceed one is refused.
//! Source: k8s.io/apiserver/pkg/admission/plugin/resourcequota/controller.go; usage is that of pkg/quota/v1/evaluator/core.
//!
//! Usage is counted from what is stored, each time: there is no counter that could drift.

use crate::cluster::kinds::Kind;
use crate::cluster::status::Status;
use crate::cluster::store::Store;
use crate::object::Gk;
use crate::object::quantity::Quantity;
use crate::scheme::quantity::canonical;
use serde_json::Value;
use std::collections::BTreeMap;

type Usage = BTreeMap<String, i128>;

/// Refuses a new object that some quota of its namespace has no room for.
pub fn check(kind: &Kind, object: &Value, store: &Store) -> Result<(), Status> {
    let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
    let quotas = store.list(&Gk::new("", "ResourceQuota"), Some(namespace));
    if quotas.is_empty() {
        return Ok(());
    }
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let asked = usage(kind, object);
    for quota in quotas {
        let hard = quota.pointer("/spec/hard").and_then(Value::as_object).cloned().unwrap_or_default();
        let scoped = quota.pointer("/spec/scopes").is_some() || quota.pointer("/spec/scopeSelector").is_some();
        if scoped {
            continue;
        }
        let title = quota.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        if let Some(missing) = missing(kind, object, hard.keys()) {
            let why = format!("failed quota: {title}: must specify {missing}");
            return Err(Status::forbidden(&kind.plural, &kind.gk.group, name, &why));
        }
        let relevant: Vec<&String> = hard.keys().filter(|key| asked.contains_key(*key)).collect();
        if relevant.is_empty() {
            continue;
        }
        let mut used = Usage::new();
        for other in store.list(&kind.gk, Some(namespace)) {
            for (key, amount) in usage(kind, other) {
                *used.entry(key).or_default() += amount;
            }
        }
        let over: Vec<&&String> = relevant
            .iter()
            .filter(|key| {
                let limit = Quantity::from_value(&hard[key.as_str()]).map_or(0, |q| q.milli);
                used.get(**key).copied().unwrap_or(0) + asked[key.as_str()] > limit
            })
            .collect();
        if over.is_empty() {
            continue;
        }
        let list = |amount: &dyn Fn(&str) -> String| {
            over.iter().map(|key| format!("{key}={}", amount(key))).collect::<Vec<_>>().join(",")
        };
        let why = format!(
            "exceeded quota: {title}, requested: {}, used: {}, limited: {}",
            list(&|key| shown(asked[key])),
            list(&|key| shown(used.get(key).copied().unwrap_or(0))),
            list(&|key| hard[key].as_str().unwrap_or_default().to_owned()),
        );
        return Err(Status::forbidden(&kind.plural, &kind.gk.group, name, &why));
    }
    Ok(())
}

fn shown(milli: i128) -> String {
    let text = format!("{milli}m");
    canonical(&text).unwrap_or(text)
}

/// Compute resources that a quota limits must be given by every container.
fn missing<'k>(kind: &Kind, pod: &Value, hard: impl Iterator<Item = &'k String>) -> Option<String> {
    if !kind.is("", "Pod") {
        return None;
    }
    let mut needed: Vec<(&str, &str, &str)> = Vec::new();
    for key in hard {
        match key.as_str() {
            "cpu" | "requests.cpu" => needed.push((key, "requests", "cpu")),
            "memory" | "requests.memory" => needed.push((key, "requests", "memory")),
            "limits.cpu" => needed.push((key, "limits", "cpu")),
            "limits.memory" => needed.push((key, "limits", "memory")),
            _ => {}
        }
    }
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array)?;
    let mut parts = Vec::new();
    for (key, list, name) in needed {
        let lacking: Vec<&str> = containers
            .iter()
            .filter(|c| c.pointer(&format!("/resources/{list}/{name}")).is_none())
            .filter_map(|c| c.get("name").and_then(Value::as_str))
            .collect();
        if !lacking.is_empty() {
            parts.push(format!("{key} for: {}", lacking.join(",")));
        }
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// What an object uses, in thousandths, by the names that quotas use.
fn usage(kind: &Kind, object: &Value) -> Usage {
    let mut out = Usage::new();
    let count = if kind.gk.group.is_empty() {
        format!("count/{}", kind.plural)
    } else {
        format!("count/{}.{}", kind.plural, kind.gk.group)
    };
    out.insert(count, 1000);
    let plain =
        ["services", "secrets", "configmaps", "persistentvolumeclaims", "resourcequotas", "replicationcontrollers"];
    if kind.gk.group.is_empty() && plain.contains(&kind.plural.as_str()) {
        out.insert(kind.plural.clone(), 1000);
    }
    match kind.gk.kind.as_str() {
        "Pod" if kind.gk.group.is_empty() => pod_usage(object, &mut out),
        "Service" if kind.gk.group.is_empty() => {
            let ty = object.pointer("/spec/type").and_then(Value::as_str).unwrap_or_default();
            let ports = object.pointer("/spec/ports").and_then(Value::as_array).map_or(0, Vec::len);
            if matches!(ty, "NodePort" | "LoadBalancer") {
                out.insert("services.nodeports".into(), i128::try_from(ports).unwrap_or(0) * 1000);
            }
            if ty == "LoadBalancer" {
                out.insert("services.loadbalancers".into(), 1000);
            }
        }
        "PersistentVolumeClaim" => {
            let storage = object.pointer("/spec/resources/requests/storage").and_then(Quantity::from_value);
            out.insert("requests.storage".into(), storage.map_or(0, |q| q.milli));
        }
        _ => {}
    }
    out
}

fn pod_usage(pod: &Value, out: &mut Usage) {
    let phase = pod.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
    if matches!(phase, "Succeeded" | "Failed") {
        return;
    }
    out.insert("pods".into(), 1000);
    for (list, prefixes) in [("requests", &["", "requests."][..]), ("limits", &["limits."][..])] {
        let sum = |containers: &str, name: &str, max: bool| {
            let amounts = pod
                .pointer(&format!("/spec/{containers}"))
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(|c| c.pointer(&format!("/resources/{list}/{name}")).and_then(Quantity::from_value))
                .map(|q| q.milli);
            if max { amounts.max().unwrap_or(0) } else { amounts.sum() }
        };
        for name in ["cpu", "memory"] {
            let total = sum("containers", name, false).max(sum("initContainers", name, true));
            for prefix in prefixes {
                out.insert(format!("{prefix}{name}"), total);
            }
        }
    }
}
