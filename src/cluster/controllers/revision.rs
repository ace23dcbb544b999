//! ControllerRevisions: the history of a StatefulSet's or DaemonSet's template.
//! Source: pkg/controller/history, `getStatefulSetRevisions`, `constructHistory`.

use super::deployment::safe_encode;
use super::index::Index;
use super::kind::CONTROLLER_REVISION;
use super::meta::{int, is_deleting, name, namespace, owner_reference, same, uid};
use super::patch;
use crate::cluster::view::{CONTROLLER_MANAGER, Step};
use crate::object::{Digest, Gk};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Arc;

/// The label of a pod that says which revision it was made from.
pub const POD_REVISION: &str = "controller-revision-hash";
/// The label of a StatefulSet's revision that holds its hash. A DaemonSet's has it where its pods do.
const HASH: &str = "controller.kubernetes.io/hash";

fn hash_label(owner: &Gk) -> &'static str {
    if owner.kind == "DaemonSet" { POD_REVISION } else { HASH }
}

/// All revisions of an owner, oldest first, and the one that its template has now.
pub struct History {
    /// Oldest first.
    pub all: Vec<Arc<Value>>,
    /// The revision of the present template: the last one.
    pub update: Arc<Value>,
}

impl History {
    /// A revision by its name.
    pub fn get(&self, wanted: &str) -> Option<&Arc<Value>> {
        self.all.iter().find(|revision| name(revision) == wanted)
    }

    /// Deletes the oldest revisions beyond the limit that no pod was made from.
    pub fn truncate(&self, limit: i64, live: &HashSet<&str>, step: &mut Step) {
        let unused: Vec<_> = self
            .all
            .iter()
            .filter(|revision| !live.contains(name(revision)) && name(revision) != name(&self.update))
            .filter(|revision| !is_deleting(revision))
            .collect();
        let excess = unused.len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
        for revision in unused.into_iter().take(excess) {
            step.push(CONTROLLER_MANAGER, patch::delete(&CONTROLLER_REVISION, revision, None));
        }
    }
}

/// The template that a revision recorded.
pub fn template(revision: &Value) -> Value {
    let mut template = revision["data"]["spec"]["template"].clone();
    if let Some(map) = template.as_object_mut() {
        map.shift_remove("$patch");
    }
    template
}

/// Looks up the history; `None` if a revision has to be made or renumbered first, which is added to `step`.
pub fn sync(index: &Index<'_>, kind: &Gk, owner: &Value, step: &mut Step) -> Option<History> {
    let mut all = index.owned(&CONTROLLER_REVISION, uid(owner));
    all.sort_by(|a, b| int(&a["revision"]).cmp(&int(&b["revision"])).then_with(|| name(a).cmp(name(b))));
    let mut recorded = owner["spec"]["template"].clone();
    if let Some(map) = recorded.as_object_mut() {
        map.insert("$patch".to_owned(), json!("replace"));
    }
    let data = json!({"spec": {"template": recorded}});
    let highest = all.last().map_or(0, |last| int(&last["revision"]));
    match all.iter().rposition(|revision| same(&revision["data"], &data)) {
        Some(at) if at + 1 == all.len() => {
            let update = Arc::clone(all.get(at)?);
            return Some(History { all, update });
        }
        // A roll-back: the old revision becomes the newest.
        Some(at) => {
            let body = json!({"revision": highest + 1});
            step.push(CONTROLLER_MANAGER, patch::patch(&CONTROLLER_REVISION, all.get(at)?, body, None));
        }
        None => {
            let object = revision(index, kind, owner, &data, highest + 1);
            step.push(CONTROLLER_MANAGER, patch::create(object));
        }
    }
    None
}

fn revision(index: &Index<'_>, kind: &Gk, owner: &Value, data: &Value, number: i64) -> Value {
    let collides = |name: &str| index.get(&CONTROLLER_REVISION, namespace(owner), name).is_some();
    let mut salt = int(&owner["status"]["collisionCount"]);
    let (revision_name, hash) = loop {
        let digest = Digest::of_value(&json!([data, salt]));
        let hash = safe_encode(&u32::from_str_radix(digest.short(8), 16).unwrap_or(0).to_string());
        let revision_name = format!("{}-{hash}", name(owner));
        if !collides(&revision_name) {
            break (revision_name, hash);
        }
        salt += 1;
    };
    let mut labels = owner["spec"]["template"]["metadata"]["labels"].clone();
    patch::apply_merge(&mut labels, &json!({hash_label(kind): hash}));
    json!({
        "apiVersion": "apps/v1", "kind": "ControllerRevision",
        "metadata": {"name": revision_name, "namespace": namespace(owner), "labels": labels,
            "ownerReferences": [owner_reference(kind, owner)]},
        "data": data, "revision": number,
    })
}
