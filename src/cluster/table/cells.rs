//! The cells of each built-in kind, in the order of its columns.

use super::core::{claim, endpoints, event, ingress, node, quota, service, slice, volume};
use super::pod::pod;
use super::render::age;
use super::value::{born, count, labels, list, number, or, plain, text};
use super::workload::{autoscaler, job};
use crate::cluster::subresource::selector_text;
use crate::object::Gk;
use jiff::Timestamp;
use serde_json::{Value, json};

/// The cells of an object.
pub fn cells(gk: &Gk, o: &Value, now: Timestamp) -> Vec<Value> {
    core_cells(gk, o, now)
        .or_else(|| workload_cells(gk, o, now))
        .or_else(|| network_cells(gk, o, now))
        .or_else(|| other_cells(gk, o, now))
        .unwrap_or_else(|| vec![json!(text(o, "/metadata/name")), json!(text(o, "/metadata/creationTimestamp"))])
}

/// Names and images of containers.
fn containers(o: &Value, at: &str) -> (Value, Value) {
    let items = list(o, at);
    let join = |key: &str| items.iter().map(|c| text(c, key)).collect::<Vec<_>>().join(",");
    (json!(join("/name")), json!(join("/image")))
}

fn selector(o: &Value, at: &str) -> Value {
    json!(o.pointer(at).map_or_else(|| "<none>".to_owned(), |s| or(&selector_text(s), "<none>").to_owned()))
}

/// Kinds of the core group.
fn core_cells(gk: &Gk, o: &Value, now: Timestamp) -> Option<Vec<Value>> {
    let name = || json!(text(o, "/metadata/name"));
    let old = || json!(born(o, now));
    Some(match (gk.group.as_str(), gk.kind.as_str()) {
        ("", "ConfigMap") => vec![name(), json!((count(o, "/data") + count(o, "/binaryData")).to_string()), old()],
        ("", "Endpoints") => vec![name(), json!(endpoints(o)), old()],
        ("" | "events.k8s.io", "Event") => event(o, now),
        ("", "Namespace") => vec![name(), json!(text(o, "/status/phase")), old()],
        ("", "Node") => node(o, now),
        ("", "Pod") => pod(o, now),
        ("", "PodTemplate") => {
            let (names, images) = containers(o, "/template/spec/containers");
            vec![name(), names, images, json!(labels(o.pointer("/template/metadata/labels")))]
        }
        ("", "PersistentVolumeClaim") => claim(o, now),
        ("", "PersistentVolume") => volume(o, now),
        ("", "ResourceQuota") => quota(o, now),
        ("", "Secret") => vec![name(), json!(text(o, "/type")), json!(count(o, "/data").to_string()), old()],
        ("", "ServiceAccount") => vec![name(), old()],
        ("", "Service") => service(o, now),
        _ => return None,
    })
}

/// Kinds that run pods, and what scales and guards them.
fn workload_cells(gk: &Gk, o: &Value, now: Timestamp) -> Option<Vec<Value>> {
    let name = || json!(text(o, "/metadata/name"));
    let old = || json!(born(o, now));
    let template = "/spec/template/spec/containers";
    Some(match (gk.group.as_str(), gk.kind.as_str()) {
        ("apps", "ControllerRevision") => {
            let owner = list(o, "/metadata/ownerReferences").iter().find(|r| r.get("controller") == Some(&json!(true)));
            let shown = owner.map_or_else(
                || "<none>".to_owned(),
                |r| {
                    let group = text(r, "/apiVersion").split_once('/').map_or("", |(g, _)| g);
                    let dot = if group.is_empty() { "" } else { "." };
                    format!("{}{dot}{group}/{}", text(r, "/kind").to_lowercase(), text(r, "/name"))
                },
            );
            vec![name(), json!(shown), json!(number(o, "/revision")), old()]
        }
        ("apps", "DaemonSet") => {
            let (names, images) = containers(o, template);
            let mut row = vec![name()];
            for key in [
                "desiredNumberScheduled",
                "currentNumberScheduled",
                "numberReady",
                "updatedNumberScheduled",
                "numberAvailable",
            ] {
                row.push(json!(number(o, &format!("/status/{key}"))));
            }
            row.extend([
                json!(labels(o.pointer("/spec/template/spec/nodeSelector"))),
                old(),
                names,
                images,
                selector(o, "/spec/selector"),
            ]);
            row
        }
        ("apps", "Deployment") => {
            let (names, images) = containers(o, template);
            let ready = format!("{}/{}", number(o, "/status/readyReplicas"), number(o, "/spec/replicas"));
            vec![
                name(),
                json!(ready),
                json!(number(o, "/status/updatedReplicas")),
                json!(number(o, "/status/availableReplicas")),
                old(),
                names,
                images,
                selector(o, "/spec/selector"),
            ]
        }
        ("apps", "ReplicaSet") | ("", "ReplicationController") => {
            let (names, images) = containers(o, template);
            vec![
                name(),
                json!(number(o, "/spec/replicas")),
                json!(number(o, "/status/replicas")),
                json!(number(o, "/status/readyReplicas")),
                old(),
                names,
                images,
                selector(o, "/spec/selector"),
            ]
        }
        ("apps", "StatefulSet") => {
            let (names, images) = containers(o, template);
            let ready = format!("{}/{}", number(o, "/status/readyReplicas"), number(o, "/spec/replicas"));
            vec![name(), json!(ready), old(), names, images]
        }
        ("autoscaling", _) => autoscaler(o, now),
        ("batch", "CronJob") => {
            let (names, images) = containers(o, "/spec/jobTemplate/spec/template/spec/containers");
            let last = text(o, "/status/lastScheduleTime");
            let last = if last.is_empty() { "<none>".to_owned() } else { age(last, now) };
            vec![
                name(),
                json!(text(o, "/spec/schedule")),
                json!(or(text(o, "/spec/timeZone"), "<none>")),
                json!(if o.pointer("/spec/suspend") == Some(&json!(true)) { "True" } else { "False" }),
                json!(count(o, "/status/active")),
                json!(last),
                old(),
                names,
                images,
                selector(o, "/spec/jobTemplate/spec/selector"),
            ]
        }
        ("batch", "Job") => {
            let (names, images) = containers(o, template);
            let mut row = job(o, now);
            row.extend([names, images, selector(o, "/spec/selector")]);
            row
        }
        ("policy", "PodDisruptionBudget") => {
            let shown = |key: &str| json!(o.pointer(&format!("/spec/{key}")).map_or_else(|| "N/A".to_owned(), plain));
            vec![
                name(),
                shown("minAvailable"),
                shown("maxUnavailable"),
                json!(number(o, "/status/disruptionsAllowed")),
                old(),
            ]
        }
        _ => return None,
    })
}

/// Kinds of networks, leases and permissions.
fn network_cells(gk: &Gk, o: &Value, now: Timestamp) -> Option<Vec<Value>> {
    let name = || json!(text(o, "/metadata/name"));
    let old = || json!(born(o, now));
    Some(match (gk.group.as_str(), gk.kind.as_str()) {
        ("coordination.k8s.io", "Lease") => vec![name(), json!(text(o, "/spec/holderIdentity")), old()],
        ("discovery.k8s.io", "EndpointSlice") => slice(o, now),
        ("networking.k8s.io", "IngressClass") => {
            let parameters = o.pointer("/spec/parameters").map_or_else(
                || "<none>".to_owned(),
                |p| {
                    let group = text(p, "/apiGroup");
                    let dot = if group.is_empty() { "" } else { "." };
                    format!("{}{dot}{group}/{}", text(p, "/kind"), text(p, "/name"))
                },
            );
            let default = text(o, "/metadata/annotations/ingressclass.kubernetes.io~1is-default-class") == "true";
            vec![json!(defaulted(o, default)), json!(text(o, "/spec/controller")), json!(parameters), old()]
        }
        ("networking.k8s.io", "Ingress") => ingress(o, now),
        ("networking.k8s.io", "NetworkPolicy") => vec![name(), selector(o, "/spec/podSelector"), old()],
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            let role = format!("{}/{}", text(o, "/roleRef/kind"), text(o, "/roleRef/name"));
            let of = |kind: &str| {
                let found = list(o, "/subjects").iter().filter(|s| text(s, "/kind") == kind);
                let names = found.map(|s| match kind {
                    "ServiceAccount" => format!("{}/{}", text(s, "/namespace"), text(s, "/name")),
                    _ => text(s, "/name").to_owned(),
                });
                json!(names.collect::<Vec<_>>().join(", "))
            };
            vec![name(), json!(role), old(), of("User"), of("Group"), of("ServiceAccount")]
        }
        _ => return None,
    })
}

/// The remaining kinds.
fn other_cells(gk: &Gk, o: &Value, now: Timestamp) -> Option<Vec<Value>> {
    let name = || json!(text(o, "/metadata/name"));
    let old = || json!(born(o, now));
    Some(match (gk.group.as_str(), gk.kind.as_str()) {
        ("scheduling.k8s.io", "PriorityClass") => vec![
            name(),
            json!(number(o, "/value")),
            json!(o.get("globalDefault") == Some(&json!(true))),
            old(),
            json!(text(o, "/preemptionPolicy")),
        ],
        ("storage.k8s.io", "StorageClass") => {
            let default = text(o, "/metadata/annotations/storageclass.kubernetes.io~1is-default-class") == "true";
            vec![
                json!(defaulted(o, default)),
                json!(text(o, "/provisioner")),
                json!(or(text(o, "/reclaimPolicy"), "Delete")),
                json!(or(text(o, "/volumeBindingMode"), "Immediate")),
                json!(o.get("allowVolumeExpansion") == Some(&json!(true))),
                old(),
            ]
        }
        ("storage.k8s.io", "CSIDriver") => {
            let flag = |key: &str, default: bool| {
                json!(o.pointer(&format!("/spec/{key}")).and_then(Value::as_bool).unwrap_or(default))
            };
            let modes = list(o, "/spec/volumeLifecycleModes").iter().map(plain).collect::<Vec<_>>().join(",");
            vec![
                name(),
                flag("attachRequired", true),
                flag("podInfoOnMount", false),
                flag("storageCapacity", false),
                json!("<unset>"),
                flag("requiresRepublish", false),
                json!(or(&modes, "<none>")),
                old(),
            ]
        }
        ("storage.k8s.io", "CSINode") => vec![name(), json!(count(o, "/spec/drivers")), old()],
        ("apiregistration.k8s.io", "APIService") => {
            let service = o
                .pointer("/spec/service")
                .map_or_else(|| "Local".to_owned(), |s| format!("{}/{}", text(s, "/namespace"), text(s, "/name")));
            let available = list(o, "/status/conditions").iter().find(|c| text(c, "/type") == "Available");
            let shown = available.map_or_else(
                || "Unknown".to_owned(),
                |c| match text(c, "/status") {
                    "True" => "True".to_owned(),
                    other => format!("{other} ({})", text(c, "/reason")),
                },
            );
            vec![name(), json!(service), json!(shown), old()]
        }
        ("admissionregistration.k8s.io", kind) => {
            let mut row = vec![name()];
            match kind {
                "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => {
                    row.push(json!(count(o, "/webhooks")));
                }
                "ValidatingAdmissionPolicy" | "MutatingAdmissionPolicy" => {
                    let key = if kind.starts_with('V') { "/spec/validations" } else { "/spec/mutations" };
                    let parameter = o.pointer("/spec/paramKind");
                    let shown = parameter.map_or_else(
                        || "<unset>".to_owned(),
                        |p| format!("{}/{}", text(p, "/apiVersion"), text(p, "/kind")),
                    );
                    row.extend([json!(count(o, key)), json!(shown)]);
                }
                _ => {
                    let reference = o.pointer("/spec/paramRef").map_or_else(
                        || "<unset>".to_owned(),
                        |p| {
                            let (namespace, name) = (text(p, "/namespace"), text(p, "/name"));
                            if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
                        },
                    );
                    row.extend([json!(text(o, "/spec/policyName")), json!(reference)]);
                }
            }
            row.push(old());
            row
        }
        _ => return None,
    })
}

fn defaulted(o: &Value, default: bool) -> String {
    format!("{}{}", text(o, "/metadata/name"), if default { " (default)" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::kinds::Kinds;
    use crate::cluster::table::columns::columns;

    #[test]
    fn every_kind_has_as_many_cells_as_columns() {
        for kind in Kinds::builtin().iter() {
            let row = cells(&kind.gk, &json!({"metadata": {"name": "x"}}), Timestamp::UNIX_EPOCH);
            assert_eq!(row.len(), columns(&kind.gk.group, &kind.gk.kind).len(), "{}", kind.gk);
        }
    }
}
