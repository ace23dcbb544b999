//! The new ReplicaSet, and the revision numbers (`getAllReplicaSetsAndSyncRevision`).

use super::super::kind::{DEPLOYMENT, REPLICA_SET};
use super::super::meta::{annotation, name, namespace, owner_reference, uid};
use super::super::{patch, pods};
use super::Sync;
use super::replica_sets::{REVISION, REVISION_HISTORY, ReplicaSet, TEMPLATE_HASH};
use crate::cluster::view::CONTROLLER_MANAGER;
use crate::object::Digest;
use serde_json::{Map, Value, json};

/// The revision history in an annotation is no longer than this (`maxRevHistoryLengthInChars`).
const HISTORY_LENGTH: usize = 2000;

/// Annotations of a Deployment that say nothing about its ReplicaSets (`annotationsToSkip`).
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    "deployment.kubernetes.io/desired-replicas",
    "deployment.kubernetes.io/max-replicas",
    "deprecated.deployment.rollback.to",
];

impl Sync<'_> {
    /// Brings the new ReplicaSet's annotations and the Deployment's revision up to date. False if that took a write
    /// to the ReplicaSet: the rest of the sync waits for it.
    pub(super) fn sync_revision(&mut self) -> bool {
        let next =
            self.sets.old().filter_map(|at| self.sets.all.get(at)).map(ReplicaSet::revision).max().unwrap_or(0) + 1;
        let Some(set) = self.sets.newest() else { return true };
        let mut annotations = self.copied_annotations(Some(&set.object));
        let old = annotation(&set.object, REVISION);
        let old_number = set.revision();
        let history = annotation(&set.object, REVISION_HISTORY);
        if old_number < next {
            annotations.insert(REVISION.to_owned(), json!(next.to_string()));
            if let Some(old) = old {
                annotations.insert(REVISION_HISTORY.to_owned(), json!(lengthen(history, old)));
            }
        }
        let min_ready = &self.deployment["spec"]["minReadySeconds"];
        let min_ready_differs =
            set.object["spec"]["minReadySeconds"].as_i64().unwrap_or(0) != min_ready.as_i64().unwrap_or(0);
        if !annotations.is_empty() || min_ready_differs {
            let mut body = json!({"metadata": {"annotations": annotations}});
            if min_ready_differs {
                body = json!({"metadata": {"annotations": annotations}, "spec": {"minReadySeconds": min_ready}});
            }
            let write = patch::patch(&REPLICA_SET, &set.object, body, None);
            self.step.push(CONTROLLER_MANAGER, write);
            return false;
        }
        let (revision, set_name) = (old.map(str::to_owned), set.name.clone());
        self.revision = revision.filter(|revision| annotation(self.deployment, REVISION) != Some(revision));
        if self.deadline().is_some() && self.conditions.get("Progressing").is_none() {
            self.progressing("True", "FoundNewReplicaSet", &format!("Found new replica set \"{set_name}\""));
        }
        true
    }

    /// Annotations that the ReplicaSet lacks and the Deployment has.
    fn copied_annotations(&self, set: Option<&Value>) -> Map<String, Value> {
        let theirs = self.deployment["metadata"]["annotations"].as_object();
        theirs
            .into_iter()
            .flatten()
            .filter(|(key, _)| !NOT_COPIED.contains(&key.as_str()))
            .filter(|(key, value)| set.is_none_or(|set| annotation(set, key) != value.as_str()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    /// Asks for the new ReplicaSet. The sync ends with that.
    pub(super) fn create_new_set(&mut self) {
        let hash = template_hash(&self.deployment["spec"]["template"], self.collisions);
        let set_name = format!("{}-{hash}", self.name());
        if self.index.get(&REPLICA_SET, namespace(self.deployment), &set_name).is_some() {
            // Ours and equal would have been found: this is another template with the same hash, or a foreign object.
            self.collisions += 1;
            return;
        }
        if let Some(refusal) = self.index.refusals.create(CONTROLLER_MANAGER, "ReplicaSet", uid(self.deployment)) {
            let message = format!("Failed to create new replica set \"{set_name}\": {}", refusal.message);
            if self.deadline().is_some() {
                self.progressing("False", "ReplicaSetCreateError", &message);
            }
        }
        let size = self.new_set_size(0);
        let revision = self.sets.all.iter().map(ReplicaSet::revision).max().unwrap_or(0) + 1;
        let object = self.new_set(&set_name, &hash, size, revision);
        self.step.push(CONTROLLER_MANAGER, patch::create(object));
        if self.index.refusals.create(CONTROLLER_MANAGER, "ReplicaSet", uid(self.deployment)).is_some() {
            return;
        }
        if size > 0 {
            self.event(false, "ScalingReplicaSet", &format!("Scaled up replica set {set_name} from 0 to {size}"));
        }
        self.revision = Some(revision.to_string());
        if self.deadline().is_some() {
            self.progressing("True", "NewReplicaSetCreated", &format!("Created new replica set \"{set_name}\""));
        }
    }

    fn new_set(&self, set_name: &str, hash: &str, size: i64, revision: i64) -> Value {
        let spec = &self.deployment["spec"];
        let mut template = spec["template"].clone();
        pods::set_label(&mut template, TEMPLATE_HASH, hash);
        let mut selector = spec["selector"].clone();
        if let Some(selector) = selector.as_object_mut() {
            let labels = selector.entry("matchLabels").or_insert_with(|| json!({}));
            if let Some(labels) = labels.as_object_mut() {
                labels.insert(TEMPLATE_HASH.to_owned(), json!(hash));
            }
        }
        let mut annotations = self.copied_annotations(None);
        annotations.insert(REVISION.to_owned(), json!(revision.to_string()));
        let sizes = ReplicaSet::size_annotations(self.replicas, self.replicas + self.max_surge());
        annotations.extend(sizes.as_object().cloned().unwrap_or_default());
        let mut object = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {
                "name": set_name, "namespace": namespace(self.deployment), "labels": template["metadata"]["labels"],
                "annotations": annotations, "ownerReferences": [owner_reference(&DEPLOYMENT, self.deployment)],
            },
            "spec": {"replicas": size, "selector": selector, "template": template},
        });
        if let Some(seconds) = spec["minReadySeconds"].as_i64().filter(|s| *s != 0) {
            object["spec"]["minReadySeconds"] = json!(seconds);
        }
        debug_assert_eq!(name(&object), set_name);
        object
    }
}

fn lengthen(history: Option<&str>, old: &str) -> String {
    let mut revisions: Vec<&str> = history.unwrap_or_default().split(',').filter(|r| !r.is_empty()).collect();
    revisions.push(old);
    let mut joined = revisions.join(",");
    while joined.len() > HISTORY_LENGTH && revisions.len() > 1 {
        revisions.remove(0);
        joined = revisions.join(",");
    }
    joined
}

/// A hash of the template, written with the letters that Kubernetes uses (`rand.SafeEncodeString`). It is not the one
/// of the real controller, which hashes a dump of Go structures.
pub(super) fn template_hash(template: &Value, collisions: i64) -> String {
    let digest = Digest::of_value(&json!([template, collisions]));
    let number = u32::from_str_radix(digest.short(8), 16).unwrap_or(0);
    safe_encode(&number.to_string())
}

pub(crate) fn safe_encode(text: &str) -> String {
    const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    text.bytes().map(|byte| char::from(LETTERS[usize::from(byte) % LETTERS.len()])).collect()
}
