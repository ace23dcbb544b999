//! Who scales what: HorizontalPodAutoscalers and KEDA ScaledObjects, live or desired (rule 9).

use super::input::PlanInput;
use crate::live::snapshot::Presence;
use crate::object::{Gvk, Manifest, ObjectKey};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// True for a kind that sets another object's replicas.
pub fn is_autoscaler(key: &ObjectKey) -> bool {
    key.is("autoscaling", "HorizontalPodAutoscaler") || key.is("keda.sh", "ScaledObject")
}

/// The workload that an autoscaler scales.
pub fn target(key: &ObjectKey, object: &Value) -> Option<ObjectKey> {
    if !is_autoscaler(key) {
        return None;
    }
    let reference = object.pointer("/spec/scaleTargetRef")?;
    let text = |name: &str| reference.get(name).and_then(Value::as_str);
    // KEDA defaults to a Deployment (keda.sh/docs, ScaledObject specification).
    let (version, kind) = match key.group.as_str() {
        "keda.sh" => (text("apiVersion").unwrap_or("apps/v1"), text("kind").unwrap_or("Deployment")),
        _ => (text("apiVersion").unwrap_or_default(), text("kind")?),
    };
    let gvk = Gvk::from_api_version(version, kind);
    Some(ObjectKey::new(&gvk.gk(), key.namespace.as_deref(), text("name")?))
}

/// Which workloads are scaled, and by which autoscalers that this plan removes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Autoscaled {
    /// Workloads whose replicas are not Git's to set.
    pub workloads: BTreeSet<ObjectKey>,
    /// Workloads whose last autoscaler goes with this plan: by workload, the autoscalers to be pruned first.
    pub freed: BTreeMap<ObjectKey, Vec<ObjectKey>>,
}

/// Looks at desired and live autoscalers; those in `pruned` no longer count.
pub fn autoscaled(input: &PlanInput<'_>, pruned: &BTreeSet<ObjectKey>) -> Autoscaled {
    let wanted: BTreeSet<ObjectKey> = input.desired.iter().map(Manifest::key).filter(is_autoscaler).collect();
    let mut out = Autoscaled { workloads: input.scaled_elsewhere.clone(), freed: BTreeMap::new() };
    for desired in input.desired {
        out.workloads.extend(target(&desired.key(), &desired.object));
    }
    for (key, presence) in &input.snapshot.objects {
        let Presence::Present(live) = presence else { continue };
        let Some(workload) = target(key, live.value()) else { continue };
        if pruned.contains(key) || live.is_terminating() {
            out.freed.entry(workload).or_default().push(key.clone());
        } else if !wanted.contains(key) {
            // One that is desired counts with the target that Git gives it.
            out.workloads.insert(workload);
        }
    }
    out.freed.retain(|workload, _| !out.workloads.contains(workload));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Gk;
    use serde_json::json;

    #[test]
    fn targets() {
        let hpa = ObjectKey::new(&Gk::new("autoscaling", "HorizontalPodAutoscaler"), Some("a"), "h");
        let keda = ObjectKey::new(&Gk::new("keda.sh", "ScaledObject"), Some("a"), "k");
        let web = ObjectKey::new(&Gk::new("apps", "Deployment"), Some("a"), "web");
        let reference =
            json!({"spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}});
        assert_eq!(target(&hpa, &reference), Some(web.clone()));
        assert_eq!(target(&keda, &json!({"spec": {"scaleTargetRef": {"name": "web"}}})), Some(web.clone()));
        assert_eq!(target(&web, &reference), None);
        assert_eq!(target(&hpa, &json!({})), None);
    }
}
