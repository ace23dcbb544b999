//! Namespaces: what each one gets, and the orderly end of one.
//! Source: pkg/controller/namespace/deletion, pkg/controller/serviceaccount, pkg/controller/certificates/rootcacertpublisher.

use super::condition::{Condition, Conditions};
use super::index::Index;
use super::kind::{CONFIG_MAP, NAMESPACE, POD, SERVICE_ACCOUNT};
use super::meta::{is_deleting, items, name, text};
use super::patch;
use crate::cluster::view::{CONTROLLER_MANAGER, Step};
use crate::object::Gk;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The finalizer in `spec.finalizers` that stands for the contents.
const KUBERNETES: &str = "kubernetes";
const ROOT_CA: &str = "kube-root-ca.crt";

/// One step for every Namespace. `ca` is the API server's certificate authority, PEM.
pub fn run(index: &Index<'_>, ca: &str) -> Step {
    let mut step = Step::default();
    for namespace in index.all(&NAMESPACE).iter() {
        if is_deleting(namespace) {
            finalize(index, namespace, &mut step);
        } else {
            furnish(index, name(namespace), ca, &mut step);
        }
    }
    step
}

/// A ServiceAccount `default` and the root certificate, also when they were deleted or changed.
fn furnish(index: &Index<'_>, space: &str, ca: &str, step: &mut Step) {
    if index.get(&SERVICE_ACCOUNT, Some(space), "default").is_none() {
        step.push(
            CONTROLLER_MANAGER,
            patch::create(json!({
                "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": space},
            })),
        );
    }
    match index.get(&CONFIG_MAP, Some(space), ROOT_CA) {
        None => step.push(CONTROLLER_MANAGER, patch::create(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": ROOT_CA, "namespace": space, "annotations": {"kubernetes.io/description":
                "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such \
                 as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
                 distributions of Kubernetes clusters."}},
            "data": {"ca.crt": ca},
        }))),
        Some(map) if map["data"]["ca.crt"] != ca => {
            let body = json!({"data": {"ca.crt": ca}});
            step.push(CONTROLLER_MANAGER, patch::patch(&CONFIG_MAP, &map, body, None));
        }
        Some(_) => {}
    }
}

/// Deletes what is in it, pods first (KEP-5080); once nothing is left, lets go of it.
fn finalize(index: &Index<'_>, namespace: &Value, step: &mut Step) {
    let waits = items(&namespace["spec"]["finalizers"]).iter().any(|f| f == KUBERNETES);
    if !waits {
        return;
    }
    let space = name(namespace);
    let mut remaining: BTreeMap<String, usize> = BTreeMap::new();
    let mut finalizers: BTreeMap<String, usize> = BTreeMap::new();
    let pods_remain = !index.within(&POD, space).is_empty();
    for kind in index.view.kinds() {
        for object in index.within(&kind, space) {
            *remaining.entry(resource(&kind)).or_default() += 1;
            for finalizer in items(&object["metadata"]["finalizers"]) {
                *finalizers.entry(text(finalizer).to_owned()).or_default() += 1;
            }
            if !is_deleting(&object) && (kind == *POD || !pods_remain) {
                step.push(CONTROLLER_MANAGER, patch::delete(&kind, &object, Some("Background")));
            }
        }
    }
    if remaining.is_empty() {
        let kept: Value =
            items(&namespace["spec"]["finalizers"]).iter().filter(|f| *f != KUBERNETES).cloned().collect();
        let body = json!({"spec": {"finalizers": kept}});
        step.push(CONTROLLER_MANAGER, patch::patch(&NAMESPACE, namespace, body, Some("finalize")));
    } else {
        report(index, namespace, &remaining, &finalizers, step);
    }
}

/// The conditions by which people find out why a Namespace does not go away.
fn report(
    index: &Index<'_>,
    namespace: &Value,
    remaining: &BTreeMap<String, usize>,
    finalizers: &BTreeMap<String, usize>,
    step: &mut Step,
) {
    let mut conditions = Conditions::of(namespace);
    let list = |map: &BTreeMap<String, usize>, verb: &str| -> String {
        map.iter().map(|(what, n)| format!("{what}{verb}{n} resource instances")).collect::<Vec<_>>().join(", ")
    };
    let content = format!("Some resources are remaining: {}", list(remaining, " has "));
    let waiting = format!("Some content in the namespace has finalizers remaining: {}", list(finalizers, " in "));
    let no_finalizers = "All content-preserving finalizers finished";
    for (kind, status, reason, message) in [
        ("NamespaceDeletionDiscoveryFailure", "False", "ResourcesDiscovered", "All resources successfully discovered"),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            "False",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        (
            "NamespaceDeletionContentFailure",
            "False",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        ("NamespaceContentRemaining", "True", "SomeResourcesRemain", content.as_str()),
        if finalizers.is_empty() {
            ("NamespaceFinalizersRemaining", "False", "ContentHasNoFinalizers", no_finalizers)
        } else {
            ("NamespaceFinalizersRemaining", "True", "SomeFinalizersRemain", waiting.as_str())
        },
    ] {
        conditions.set_with_message(&Condition { kind, status, reason, message }, index.now, &[]);
    }
    let status = json!({"phase": "Terminating", "conditions": conditions.into_value()});
    if let Some(write) = patch::status(&NAMESPACE, namespace, &status) {
        step.push(CONTROLLER_MANAGER, write);
    }
}

/// `pods.`, `deployments.apps`: how these messages name a resource. The plural is guessed from the kind, as
/// `meta.UnsafeGuessKindToResource` does.
fn resource(kind: &Gk) -> String {
    let lower = kind.kind.to_lowercase();
    let plural = match lower.chars().last() {
        Some('s' | 'x') => format!("{lower}es"),
        Some('y') => format!("{}ies", lower.strip_suffix('y').unwrap_or(&lower)),
        _ if lower == "endpoints" => lower,
        _ => format!("{lower}s"),
    };
    format!("{plural}.{}", kind.group)
}
