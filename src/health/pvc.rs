//! PersistentVolumeClaims. Pending is no trouble while nobody uses the claim and its class binds on first use
//! (`volumeBindingMode: WaitForFirstConsumer`): waiting for it would be a deadlock, as the pod may come later.

use super::related::Related;
use super::status::{condition, list, text};
use super::verdict::Assessment;
use crate::object::{Live, Manifest};
use serde_json::Value;

/// A claim; `related` holds its StorageClass and the pods of its namespace where they were read.
pub fn assess(live: &Live, related: &Related) -> Assessment {
    match text(live, "/status/phase") {
        Some("Bound") => resizing(live),
        Some("Lost") => Assessment::degraded("the volume it was bound to no longer exists"),
        _ if !binds_on_first_use(live, related) => Assessment::progressing(pending(live, related)),
        _ if !has_consumer(live, related) => Assessment::healthy(),
        // Bound by its pod: nothing may wait for it, least of all the fix of a pod that cannot be scheduled.
        _ => Assessment::progressing(pending(live, related)).ungated(),
    }
}

fn resizing(live: &Live) -> Assessment {
    let infeasible = live
        .at("/status/allocatedResourceStatuses/storage")
        .and_then(Value::as_str)
        .is_some_and(|state| state.ends_with("Infeasible"));
    if infeasible {
        return Assessment::degraded("it cannot grow to the size asked for");
    }
    match condition(live, "Resizing").filter(|c| c.is_true()) {
        Some(resizing) => Assessment::progressing(format!("growing: {}", resizing.message())),
        None => Assessment::healthy(),
    }
}

fn binds_on_first_use(live: &Live, related: &Related) -> bool {
    let Some(class) = class(live) else { return false };
    related.of("storage.k8s.io", "StorageClass").is_some_and(|classes| {
        classes
            .iter()
            .any(|found| found.name() == class && text(found, "/volumeBindingMode") == Some("WaitForFirstConsumer"))
    })
}

/// The class of the claim; the annotation is what preceded the field, and still counts.
pub fn class(live: &Live) -> Option<&str> {
    live.annotation("volume.beta.kubernetes.io/storage-class").or_else(|| text(live, "/spec/storageClassName"))
}

/// True if a pod that still runs or wants to run mounts the claim. Unknown pods count as one.
fn has_consumer(live: &Live, related: &Related) -> bool {
    let Some(pods) = related.of("", "Pod") else { return true };
    pods.into_iter()
        .filter(|pod| pod.namespace() == live.namespace())
        .filter(|pod| !matches!(text(pod, "/status/phase"), Some("Succeeded" | "Failed")))
        .any(|pod| {
            list(pod, "/spec/volumes").iter().any(|volume| claim_of(pod, volume).as_deref() == Some(live.name()))
        })
}

/// The claim that a volume mounts; that of an ephemeral volume is named after pod and volume.
fn claim_of(pod: &Live, volume: &Value) -> Option<String> {
    if let Some(name) = volume.pointer("/persistentVolumeClaim/claimName").and_then(Value::as_str) {
        return Some(name.to_owned());
    }
    volume.get("ephemeral")?;
    Some(format!("{}-{}", pod.name(), volume.get("name")?.as_str()?))
}

fn pending(live: &Live, related: &Related) -> String {
    if let Some((reason, message, _)) = related.warning(live, &[]) {
        return format!("not bound: {reason}: {message}");
    }
    let missing = class(live).filter(|class| {
        related.of("storage.k8s.io", "StorageClass").is_some_and(|all| !all.iter().any(|found| found.name() == *class))
    });
    match missing {
        Some(class) => format!("not bound: there is no StorageClass {class}"),
        None => "not bound to a volume yet".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{Health, RelatedQuery};
    use serde_json::json;
    use std::sync::Arc;

    fn claim(status: &Value) -> Live {
        Live(json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data", "namespace": "shop", "uid": "p1"},
            "spec": {"storageClassName": "local"}, "status": status}))
    }

    fn class(mode: &str) -> Arc<Live> {
        Arc::new(Live(json!({"metadata": {"name": "local"}, "volumeBindingMode": mode})))
    }

    fn user(phase: &str, volume: &Value) -> Arc<Live> {
        Arc::new(Live(json!({"metadata": {"name": "db-0", "namespace": "shop"}, "spec": {"volumes": [volume]},
            "status": {"phase": phase}})))
    }

    #[test]
    fn phases() {
        for (status, health) in [
            (json!({"phase": "Bound"}), Health::Healthy),
            (json!({"phase": "Lost"}), Health::Degraded),
            (json!({"phase": "Pending"}), Health::Progressing),
            (json!({}), Health::Progressing),
            (json!({"phase": "Bound", "conditions": [{"type": "Resizing", "status": "True"}]}), Health::Progressing),
            (
                json!({"phase": "Bound", "allocatedResourceStatuses": {"storage": "ControllerResizeInfeasible"}}),
                Health::Degraded,
            ),
        ] {
            assert_eq!(assess(&claim(&status), &Related::default()).health, health, "{status}");
        }
    }

    #[test]
    fn the_first_consumer() {
        let mount = json!({"name": "data", "persistentVolumeClaim": {"claimName": "data"}});
        let other = json!({"name": "data", "persistentVolumeClaim": {"claimName": "other"}});
        for (mode, pods, health) in [
            ("WaitForFirstConsumer", Some(vec![]), Health::Healthy),
            ("WaitForFirstConsumer", Some(vec![user("Pending", &mount)]), Health::Progressing),
            ("WaitForFirstConsumer", Some(vec![user("Succeeded", &mount)]), Health::Healthy),
            ("WaitForFirstConsumer", Some(vec![user("Running", &other)]), Health::Healthy),
            ("WaitForFirstConsumer", None, Health::Progressing),
            ("Immediate", Some(vec![]), Health::Progressing),
        ] {
            let live = claim(&json!({"phase": "Pending"}));
            let mut related = Related::default();
            related.add(&RelatedQuery::storage_class("local"), vec![class(mode)]);
            if let Some(pods) = pods {
                related.add(&RelatedQuery::pods_beside(&live), pods);
            }
            let found = assess(&live, &related);
            assert_eq!(found.health, health, "{mode}");
            assert_eq!(found.gates, found.is_healthy() || mode == "Immediate", "{mode}");
        }
    }

    #[test]
    fn why_it_is_pending() {
        let live = claim(&json!({"phase": "Pending"}));
        let mut related = Related::default();
        related.add(&RelatedQuery::storage_class("local"), vec![]);
        assert_eq!(assess(&live, &related).message, "not bound: there is no StorageClass local");
        let event = json!({"type": "Warning", "reason": "ProvisioningFailed", "message": "quota", "involvedObject": {"uid": "p1"}});
        related.add(&RelatedQuery::warnings_about(&live), vec![Arc::new(Live(event))]);
        assert_eq!(assess(&live, &related).message, "not bound: ProvisioningFailed: quota");
    }
}
