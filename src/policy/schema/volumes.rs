//! Volumes, their mounts, and claims.

use super::faults::Faults;
use super::names::{self, Syntax};
use super::pod::quantity;
use serde_json::Value;
use std::collections::BTreeSet;

/// The names of a pod's volumes; `None` if they cannot be told, so that mounts are not judged by them.
pub(super) fn names(spec: &Value, path: &str, claims: &[&str], faults: &mut Faults<'_>) -> Option<BTreeSet<String>> {
    let at = format!("{path}.volumes");
    if spec.get("volumes").is_some_and(|volumes| !volumes.is_array() && !volumes.is_null()) {
        faults.list(spec.get("volumes"), &at);
        return None;
    }
    let mut found: BTreeSet<String> = claims.iter().map(|claim| (*claim).to_owned()).collect();
    let mut own = BTreeSet::new();
    for (index, volume) in faults.list(spec.get("volumes"), &at).iter().enumerate() {
        let at = format!("{at}[{index}]");
        let Some(name) = faults.required_text(volume.get("name"), &format!("{at}.name")) else { continue };
        if let Some(fault) = names::fault(name, Syntax::Label) {
            faults.add(&format!("{at}.name"), format!("{name:?} {fault}"), "Rename the volume and its mounts.");
        }
        if !own.insert(name.to_owned()) {
            faults.add(&at, format!("the volume name {name:?} is used twice"), "Give every volume its own name.");
        }
        let sources = volume
            .as_object()
            .map_or(0, |map| map.iter().filter(|(key, value)| *key != "name" && !value.is_null()).count());
        if sources > 1 {
            faults.add(&at, "has more than one source", "Keep one of emptyDir, configMap, secret, … in it.");
        }
        found.insert(name.to_owned());
    }
    Some(found)
}

/// Checks the mounts of a container.
pub(super) fn mounts(container: &Value, path: &str, volumes: Option<&BTreeSet<String>>, faults: &mut Faults<'_>) {
    let mut paths = BTreeSet::new();
    for (list, target) in [("volumeMounts", "mountPath"), ("volumeDevices", "devicePath")] {
        let at = format!("{path}.{list}");
        for (index, mount) in faults.list(container.get(list), &at).iter().enumerate() {
            let at = format!("{at}[{index}]");
            if let Some(name) = faults.required_text(mount.get("name"), &format!("{at}.name"))
                && volumes.is_some_and(|volumes| !volumes.contains(name))
            {
                faults.add(
                    &format!("{at}.name"),
                    format!("the pod has no volume named {name:?}"),
                    "Add the volume, or correct the name.",
                );
            }
            if let Some(place) = faults.required_text(mount.get(target), &format!("{at}.{target}"))
                && !paths.insert(place)
            {
                faults.add(&format!("{at}.{target}"), format!("{place:?} is mounted twice"), "Use another path.");
            }
        }
    }
}

/// Checks the spec of a PersistentVolumeClaim, or of a template of one.
pub(super) fn claim(spec: Option<&Value>, path: &str, faults: &mut Faults<'_>) {
    const MODES: [&str; 4] = ["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"];
    let at = format!("{path}.accessModes");
    let modes = faults.list(spec.and_then(|spec| spec.get("accessModes")), &at);
    if modes.is_empty() {
        faults.add(&at, "at least one access mode is required", format!("Use one of {}.", MODES.join(", ")));
    }
    for mode in modes {
        faults.one_of(Some(mode), &at, &MODES);
    }
    let at = format!("{path}.resources.requests.storage");
    match spec.and_then(|spec| spec.pointer("/resources/requests/storage")) {
        None | Some(Value::Null) => faults.add(&at, "is required", "Say how much storage is asked for, such as 1Gi."),
        Some(amount) => quantity(amount, &at, faults),
    }
}
