//! What a pod's claims have to say before it gets a node. Source: plugins/volumebinding.

use super::super::controllers::index::Index;
use super::super::controllers::kind::{PERSISTENT_VOLUME_CLAIM, STORAGE_CLASS};
use super::super::controllers::meta::{annotation, is_deleting, items, name, namespace, text};
use super::super::controllers::patch;
use crate::cluster::view::Write;
use serde_json::{Value, json};
use std::sync::Arc;

/// The annotation by which the scheduler tells the provisioner where the first consumer runs.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// The claims of a pod.
pub enum Claims {
    /// All are bound, or there are none.
    Bound,
    /// These wait for a node to be chosen.
    WaitForNode(Vec<Arc<Value>>),
    /// The pod cannot be placed: why.
    Missing(String),
}

/// Names of the claims that a pod mounts, those of its ephemeral volumes included.
pub fn claim_names(pod: &Value) -> Vec<String> {
    items(&pod["spec"]["volumes"])
        .iter()
        .filter_map(|volume| {
            if let Some(claim) = volume["persistentVolumeClaim"]["claimName"].as_str() {
                Some(claim.to_owned())
            } else if volume["ephemeral"].is_object() {
                Some(format!("{}-{}", name(pod), text(&volume["name"])))
            } else {
                None
            }
        })
        .collect()
}

/// Looks at a pod's claims.
pub fn claims(index: &Index<'_>, pod: &Value) -> Claims {
    let mut waiting = Vec::new();
    for claim_name in claim_names(pod) {
        let Some(claim) = index.get(&PERSISTENT_VOLUME_CLAIM, namespace(pod), &claim_name) else {
            return Claims::Missing(format!("persistentvolumeclaim \"{claim_name}\" not found"));
        };
        if is_deleting(&claim) {
            return Claims::Missing(format!("persistentvolumeclaim \"{claim_name}\" is being deleted"));
        }
        if claim["status"]["phase"] == "Bound" {
            continue;
        }
        if waits_for_consumer(index, &claim) {
            waiting.push(claim);
        } else {
            return Claims::Missing("pod has unbound immediate PersistentVolumeClaims".to_owned());
        }
    }
    if waiting.is_empty() { Claims::Bound } else { Claims::WaitForNode(waiting) }
}

/// True if the claim's class binds only once a pod needs it.
pub fn waits_for_consumer(index: &Index<'_>, claim: &Value) -> bool {
    let class = text(&claim["spec"]["storageClassName"]);
    index.get(&STORAGE_CLASS, None, class).is_some_and(|class| class["volumeBindingMode"] == "WaitForFirstConsumer")
}

/// Tells the provisioner of claims which node was chosen.
pub fn select_node(claims: &[Arc<Value>], node: &str) -> Vec<Write> {
    claims
        .iter()
        .filter(|claim| annotation(claim, SELECTED_NODE).is_none())
        .map(|claim| {
            let body = json!({"metadata": {"annotations": {SELECTED_NODE: node}}});
            patch::patch(&PERSISTENT_VOLUME_CLAIM, claim, body, None)
        })
        .collect()
}
