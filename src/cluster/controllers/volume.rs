//! Persistent volumes: every claim of a class whose provisioner is simulated gets a volume of its own; claims that
//! name a volume, or match a free one, are bound to it. Source: pkg/controller/volume/persistentvolume.

use super::index::Index;
use super::kind::{PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, POD, STORAGE_CLASS};
use super::meta::{annotation, finalizers_without, has_finalizer, is_deleting, items, name, namespace, text, uid};
use super::{patch, pods, selector};
use crate::cluster::scheduler::volumes::{SELECTED_NODE, claim_names};
use crate::cluster::view::{CONTROLLER_MANAGER, Step};
use crate::object::quantity::Quantity;
use serde_json::{Value, json};
use std::sync::Arc;

/// The provisioner of the classes that a new cluster has.
pub const PROVISIONER: &str = "sim.driftless.dev/volume";
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";
/// Keeps a claim while a pod uses it.
const IN_USE: &str = "kubernetes.io/pvc-protection";

/// One step for every claim and volume.
pub fn run(index: &Index<'_>) -> Step {
    let mut step = Step::default();
    let volumes = index.all(&PERSISTENT_VOLUME);
    let mut taken: Vec<String> = Vec::new();
    for claim in index.all(&PERSISTENT_VOLUME_CLAIM).iter() {
        if is_deleting(claim) {
            release(index, claim, &mut step);
        } else if text(&claim["status"]["phase"]) == "Bound" {
            check(index, claim, &mut step);
        } else {
            bind(index, claim, &volumes, &mut taken, &mut step);
        }
    }
    for volume in volumes.iter() {
        reclaim(index, volume, &mut step);
    }
    step
}

fn set_phase(claim: &Value, phase: &str, step: &mut Step) {
    let mut status = claim["status"].clone();
    patch::apply_merge(&mut status, &json!({"phase": phase}));
    if let Some(write) = patch::status(&PERSISTENT_VOLUME_CLAIM, claim, &status) {
        step.push(CONTROLLER_MANAGER, write);
    }
}

/// A claim that is being deleted goes once no pod uses it.
fn release(index: &Index<'_>, claim: &Value, step: &mut Step) {
    let used = index
        .within(&POD, namespace(claim).unwrap_or_default())
        .iter()
        .any(|pod| !pods::is_finished(pod) && claim_names(pod).iter().any(|used| used == name(claim)));
    if !used && has_finalizer(claim, IN_USE) {
        let write = patch::finalizers(&PERSISTENT_VOLUME_CLAIM, claim, &finalizers_without(claim, IN_USE));
        step.push(CONTROLLER_MANAGER, write);
    }
}

/// A bound claim whose volume is gone is lost.
fn check(index: &Index<'_>, claim: &Value, step: &mut Step) {
    if index.get(&PERSISTENT_VOLUME, None, text(&claim["spec"]["volumeName"])).is_none() {
        set_phase(claim, "Lost", step);
    }
}

fn bind(index: &Index<'_>, claim: &Value, volumes: &[Arc<Value>], taken: &mut Vec<String>, step: &mut Step) {
    if text(&claim["status"]["phase"]) == "Lost" {
        return;
    }
    if let Some(class) = default_class(index, claim) {
        // Also for claims made before there was a default (KEP-3333).
        let body = json!({"spec": {"storageClassName": class}});
        step.push(CONTROLLER_MANAGER, patch::patch(&PERSISTENT_VOLUME_CLAIM, claim, body, None));
        return;
    }
    let bound_to_it = |v: &&Arc<Value>| v["spec"]["claimRef"]["uid"] == uid(claim);
    if let Some(volume) = volumes.iter().find(bound_to_it) {
        complete(claim, volume, step);
        return;
    }
    let class = index.get(&STORAGE_CLASS, None, text(&claim["spec"]["storageClassName"]));
    let waits = class.as_ref().is_some_and(|class| class["volumeBindingMode"] == "WaitForFirstConsumer");
    if waits && annotation(claim, SELECTED_NODE).is_none() {
        set_phase(claim, "Pending", step);
    } else if let Some(volume) = volumes.iter().find(|v| !taken.iter().any(|t| t == name(v)) && fits(claim, v)) {
        taken.push(name(volume).to_owned());
        let body = json!({"spec": {"claimRef": claim_reference(claim)}});
        step.push(CONTROLLER_MANAGER, patch::patch(&PERSISTENT_VOLUME, volume, body, None));
    } else if let Some(class) = class.filter(|class| class["provisioner"] == PROVISIONER) {
        if text(&claim["spec"]["volumeName"]).is_empty() {
            provision(claim, &class, step);
        }
    } else {
        set_phase(claim, "Pending", step);
    }
}

/// The default class, where the claim names none. The empty name means no class.
fn default_class(index: &Index<'_>, claim: &Value) -> Option<String> {
    if !claim["spec"]["storageClassName"].is_null() {
        return None;
    }
    let classes = index.all(&STORAGE_CLASS);
    classes.iter().find(|class| annotation(class, DEFAULT_CLASS) == Some("true")).map(|class| name(class).to_owned())
}

fn claim_reference(claim: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": name(claim), "namespace": namespace(claim),
        "uid": uid(claim)})
}

/// True if a free volume will do: the one asked for, or one that has the class, the room, the modes and the labels.
fn fits(claim: &Value, volume: &Value) -> bool {
    let (wanted, offered) = (&claim["spec"], &volume["spec"]);
    let reserved = &offered["claimRef"];
    let ours = reserved["name"] == name(claim) && reserved["namespace"].as_str() == namespace(claim);
    if is_deleting(volume) || !(reserved.is_null() || (ours && reserved["uid"].is_null())) {
        return false;
    }
    if let Some(named) = wanted["volumeName"].as_str().filter(|n| !n.is_empty()) {
        return named == name(volume);
    }
    let room = |value: &Value| Quantity::from_value(value).map_or(0, |q| q.milli);
    let modes = items(&offered["accessModes"]);
    text(&wanted["storageClassName"]) == text(&offered["storageClassName"])
        && room(&offered["capacity"]["storage"]) >= room(&wanted["resources"]["requests"]["storage"])
        && items(&wanted["accessModes"]).iter().all(|mode| modes.contains(mode))
        && (wanted["selector"].is_null() || selector::selects(&wanted["selector"], &volume["metadata"]["labels"]))
}

fn provision(claim: &Value, class: &Value, step: &mut Step) {
    let volume_name = format!("pvc-{}", uid(claim));
    let mode = claim["spec"]["volumeMode"].as_str().unwrap_or("Filesystem");
    let policy = class["reclaimPolicy"].as_str().unwrap_or("Delete");
    let object = json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": volume_name, "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER}},
        "spec": {
            "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
            "accessModes": claim["spec"]["accessModes"], "persistentVolumeReclaimPolicy": policy,
            "storageClassName": name(class), "volumeMode": mode, "claimRef": claim_reference(claim),
            "csi": {"driver": PROVISIONER, "volumeHandle": volume_name},
        },
    });
    step.push(CONTROLLER_MANAGER, patch::create(object));
}

fn complete(claim: &Value, volume: &Value, step: &mut Step) {
    if claim["spec"]["volumeName"] != name(volume) {
        let annotations =
            json!({"pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes"});
        let body = json!({"metadata": {"annotations": annotations}, "spec": {"volumeName": name(volume)}});
        step.push(CONTROLLER_MANAGER, patch::patch(&PERSISTENT_VOLUME_CLAIM, claim, body, None));
    }
    let status = json!({"phase": "Bound", "accessModes": volume["spec"]["accessModes"],
        "capacity": volume["spec"]["capacity"]});
    if let Some(write) = patch::status(&PERSISTENT_VOLUME_CLAIM, claim, &status) {
        step.push(CONTROLLER_MANAGER, write);
    }
}

/// A volume's phase; one whose claim is gone is deleted or kept, as its policy says.
fn reclaim(index: &Index<'_>, volume: &Value, step: &mut Step) {
    let reference = &volume["spec"]["claimRef"];
    let claim = index
        .get(&PERSISTENT_VOLUME_CLAIM, reference["namespace"].as_str(), text(&reference["name"]))
        .filter(|claim| reference["uid"].is_null() || uid(claim) == text(&reference["uid"]));
    let phase = match (reference.is_null() || reference["uid"].is_null(), claim) {
        (true, _) => "Available",
        (false, Some(_)) => "Bound",
        (false, None) => "Released",
    };
    let delete = volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete";
    if phase == "Released" && delete {
        if !is_deleting(volume) {
            step.push(CONTROLLER_MANAGER, patch::delete(&PERSISTENT_VOLUME, volume, None));
        }
        if has_finalizer(volume, "kubernetes.io/pv-protection") {
            let left = finalizers_without(volume, "kubernetes.io/pv-protection");
            step.push(CONTROLLER_MANAGER, patch::finalizers(&PERSISTENT_VOLUME, volume, &left));
        }
        return;
    }
    let mut status = volume["status"].clone();
    patch::apply_merge(&mut status, &json!({"phase": phase}));
    if let Some(write) = patch::status(&PERSISTENT_VOLUME, volume, &status) {
        step.push(CONTROLLER_MANAGER, write);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::simulation::{Simulation, pod_template};

    fn claim(class: &Value) -> Value {
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": class}})
    }

    fn phase(cluster: &Simulation) -> String {
        text(&cluster.get(&PERSISTENT_VOLUME_CLAIM, "data").unwrap()["status"]["phase"]).to_owned()
    }

    #[test]
    fn the_default_class_waits_for_a_pod() {
        let mut cluster = Simulation::new();
        cluster.create(claim(&Value::Null));
        cluster.run(1000);
        assert_eq!(phase(&cluster), "Pending");
        let mut pod = pod_template("web:1");
        patch::apply_merge(
            &mut pod,
            &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}}),
        );
        cluster.create(pod);
        cluster.run(2000);
        assert_eq!(phase(&cluster), "Bound");
        assert!(pods::is_ready(&cluster.get(&POD, "p").unwrap()));
        cluster.delete(&POD, "p", "Background");
        cluster.delete(&PERSISTENT_VOLUME_CLAIM, "data", "Background");
        cluster.run(2000);
        assert!(cluster.get(&PERSISTENT_VOLUME_CLAIM, "data").is_none());
        assert!(cluster.objects.kinds().iter().all(|kind| *kind != *PERSISTENT_VOLUME), "its volume went with it");
    }

    #[test]
    fn other_classes_bind_at_once_or_never() {
        for (class, expected) in [("standard-immediate", "Bound"), ("unknown", "Pending")] {
            let mut cluster = Simulation::new();
            cluster.create(claim(&json!(class)));
            cluster.run(1000);
            assert_eq!(phase(&cluster), expected, "{class}");
        }
    }

    use crate::cluster::view::View;
}
