//! What a case looks at: the changes of a report, the versions of what lies in a namespace, who manages an object.

use crate::feature::cluster::Cluster;
use serde_json::Value;
use std::collections::BTreeMap;

/// The changes of a plan or sync as `Kind/name: actions`, sorted.
pub fn changes(report: &Value) -> Vec<String> {
    let apps = report["apps"].as_array().unwrap();
    let all = apps.iter().flat_map(|app| app["changes"].as_array().unwrap());
    let mut out: Vec<String> = all.map(change).collect();
    out.sort();
    out
}

/// One change as `Kind/name: actions`.
pub fn change(change: &Value) -> String {
    let actions: Vec<&str> = change["actions"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
    let text = |field: &str| change["object"][field].as_str().unwrap().to_owned();
    format!("{}/{}: {}", text("kind"), text("name"), actions.join("+"))
}

/// An app of a report.
pub fn app<'a>(report: &'a Value, name: &str) -> &'a Value {
    let apps = report["apps"].as_array().unwrap();
    apps.iter().find(|app| app["name"] == name).unwrap_or_else(|| panic!("no {name} in {report:#}"))
}

/// A text of a JSON value; empty where it is none.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// `resourceVersion` and uid of every object with our label in a namespace.
pub fn versions(cluster: &Cluster, namespace: &str) -> BTreeMap<String, (String, String)> {
    let kinds = "configmaps,services,deployments,serviceaccounts,secrets,statefulsets";
    let line = format!("-n {namespace} get {kinds} -l applyset.kubernetes.io/part-of -o json");
    let list: Value = serde_json::from_str(&cluster.kubectl(&line)).unwrap();
    let text = |object: &Value, field: &str| object["metadata"][field].as_str().unwrap().to_owned();
    let entry = |object: &Value| {
        let key = format!("{}/{}", object["kind"].as_str().unwrap(), text(object, "name"));
        // A workload's status moves its version: its generation tells whether somebody wrote its spec.
        let version = match object["kind"].as_str() {
            Some("Deployment" | "StatefulSet") => object["metadata"]["generation"].to_string(),
            _ => text(object, "resourceVersion"),
        };
        (key, (version, text(object, "uid")))
    };
    list["items"].as_array().unwrap().iter().map(entry).collect()
}

/// uids of the same.
pub fn uids(cluster: &Cluster, namespace: &str) -> Vec<String> {
    versions(cluster, namespace).into_values().map(|version| version.1).collect()
}

/// The uid of an object.
pub fn uid(cluster: &Cluster, namespace: &str, object: &str) -> String {
    text(&cluster.object(namespace, object)["metadata"]["uid"]).to_owned()
}

/// Who manages fields of an object, the controllers' own annotations aside.
pub fn managers(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().unwrap().iter();
    let spec = entries.filter(|entry| entry.get("subresource").is_none());
    let name = |entry: &Value| format!("{} {}", text(&entry["manager"]), text(&entry["operation"]));
    let mut out: Vec<String> = spec.map(name).filter(|m| !m.starts_with("kube-controller-manager")).collect();
    out.sort();
    out
}

/// Names of a namespace's pods, those that are going aside.
pub fn pods(cluster: &Cluster, namespace: &str) -> Vec<String> {
    let list: Value = serde_json::from_str(&cluster.kubectl(&format!("-n {namespace} get pods -o json"))).unwrap();
    let items = list["items"].as_array().unwrap().iter();
    let mut out: Vec<String> = items
        .filter(|pod| pod["metadata"].get("deletionTimestamp").is_none())
        .map(|pod| text(&pod["metadata"]["name"]).to_owned())
        .collect();
    out.sort();
    out
}
