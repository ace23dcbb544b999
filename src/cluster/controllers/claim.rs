//! Which objects belong to a controller: owned ones are kept or let go, ownerless ones that match are adopted.
//! Source: pkg/controller/controller_ref_manager.go.

use super::index::Index;
use super::meta::{is_deleting, items, namespace, owner_reference, uid};
use super::{patch, pods, selector};
use crate::cluster::view::{CONTROLLER_MANAGER, Step};
use crate::object::Gk;
use serde_json::Value;
use std::sync::Arc;

/// The objects of a kind that belong to `owner`. Adoptions and releases are added to `step` and seen in the next one.
pub fn claim(
    index: &Index<'_>,
    kind: &Gk,
    owner_kind: &Gk,
    owner: &Value,
    labels: &Value,
    step: &mut Step,
) -> Vec<Arc<Value>> {
    let mut claimed = Vec::new();
    for object in index.owned(kind, uid(owner)) {
        if selector::selects(labels, &object["metadata"]["labels"]) || is_deleting(owner) {
            claimed.push(object);
        } else if !is_deleting(&object) {
            let others = items(&object["metadata"]["ownerReferences"]).iter().filter(|o| o["uid"] != uid(owner));
            step.push(CONTROLLER_MANAGER, patch::owners(kind, &object, others.cloned().collect()));
        }
    }
    if is_deleting(owner) {
        return claimed;
    }
    for object in index.orphans(kind, namespace(owner)) {
        let wanted = selector::selects(labels, &object["metadata"]["labels"]);
        if wanted && !is_deleting(&object) && !pods::is_finished(&object) {
            let mut owners = items(&object["metadata"]["ownerReferences"]).to_vec();
            owners.push(owner_reference(owner_kind, owner));
            step.push(CONTROLLER_MANAGER, patch::owners(kind, &object, owners));
        }
    }
    claimed
}
