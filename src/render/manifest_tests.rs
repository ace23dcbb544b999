//! What an object must have, lists, server fields, duplicates.

use super::*;
use crate::render::yaml::{parse_json, parse_yaml};

fn read(text: &str) -> Manifests {
    let parsed = parse_yaml(text.as_bytes());
    let mut manifests = Manifests::default();
    manifests.read("a.yaml", parsed.documents, parsed.errors, Strangers::Refuse);
    manifests
}

fn object(body: &str) -> Manifests {
    read(&format!("apiVersion: v1\nkind: ConfigMap\n{body}"))
}

#[test]
fn faults_have_lines() {
    for (text, line, reason, part) in [
        ("- a\n", 1, "NotAnObject", "a list"),
        ("hello\n", 1, "NotAnObject", "text"),
        ("a: 1\n", 1, "NotAnObject", "neither"),
        ("# c\n\nkind: ConfigMap\nmetadata: {name: x}\n", 3, "InvalidObject", "apiVersion"),
        ("apiVersion: v1\nmetadata: {name: x}\n", 1, "InvalidObject", "kind"),
        ("apiVersion: 1\nkind: ConfigMap\nmetadata: {name: x}\n", 1, "InvalidObject", "a number"),
        ("apiVersion: a/b/c\nkind: X\nmetadata: {name: x}\n", 1, "InvalidObject", "a/b/c"),
        ("apiVersion: v1\nkind: ConfigMap\n", 1, "InvalidObject", "metadata.name"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  labels: {}\n", 3, "InvalidObject", "metadata.name"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: x\n", 3, "InvalidObject", "mapping"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: 12\n", 4, "InvalidObject", "metadata.name"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  generateName: x-\n", 4, "GenerateName", "Git"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: Up_Per\n", 4, "InvalidName", "lower-case"),
        ("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a.b\n", 4, "InvalidName", "63"),
        ("apiVersion: example.com/v1\nkind: X\nmetadata:\n  name: a/b\n", 4, "InvalidName", "`/`"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\n  namespace: A\n", 5, "InvalidName", "namespace"),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\n  annotations:\n    a: 1\n",
            6,
            "InvalidObject",
            "a number",
        ),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\n  labels:\n    a: yes\n",
            6,
            "InvalidObject",
            "a boolean",
        ),
        ("apiVersion: extensions/v1beta1\nkind: Ingress\nmetadata: {name: x}\n", 1, "RemovedApi", "1.22"),
        ("apiVersion: policy/v1beta1\nkind: PodSecurityPolicy\nmetadata: {name: x}\n", 1, "RemovedApi", "1.25"),
        (
            "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n",
            1,
            "NestedKustomization",
            "Kustomization",
        ),
    ] {
        let errors = read(text).errors;
        assert_eq!(errors.len(), 1, "{text}: {errors:?}");
        let problem = Problem::from(errors[0].clone());
        assert_eq!((problem.line, problem.reason.as_str()), (Some(line), reason), "{text}: {problem}");
        assert!(problem.message.contains(part), "{text}: {problem}");
        assert_eq!(problem.file.as_deref(), Some("a.yaml"));
    }
    let removed = read("apiVersion: batch/v1beta1\nkind: CronJob\nmetadata: {name: x}\n").errors.remove(0);
    assert_eq!(removed.object.as_ref().map(ToString::to_string).as_deref(), Some("CronJob x"));
    assert!(Problem::from(removed).hint.is_some_and(|hint| hint.contains("batch/v1 ")));
}

#[test]
fn good_names() {
    for text in [
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: \"system:x\"}\n",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a.b-c}\n",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"1\"}\n",
        "apiVersion: example.com/v1\nkind: User\nmetadata: {name: \"A:b\"}\n",
        "apiVersion: networking.k8s.io/v1\nkind: IPAddress\nmetadata: {name: \"fd00::1\"}\n",
        "apiVersion: flowcontrol.apiserver.k8s.io/v1beta3\nkind: FlowSchema\nmetadata: {name: x}\n",
    ] {
        let manifests = read(text);
        assert_eq!((manifests.errors.len(), manifests.objects.len()), (0, 1), "{text}: {:?}", manifests.errors);
    }
}

#[test]
fn lists_are_taken_apart() {
    let text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: a}\n\
                - apiVersion: v1\n  kind: List\n  items:\n  - {apiVersion: v1, kind: ConfigMap, metadata: {name: b}}\n\
                ---\napiVersion: v1\nkind: ConfigMapList\nitems:\n- metadata: {name: c}\n- metadata: {name: 3}\n\
                ---\napiVersion: v1\nkind: List\nitems: []\n\
                ---\napiVersion: example.com/v1\nkind: AllowList\nmetadata: {name: d}\nitems: [x]\n";
    let manifests = read(text);
    let found: Vec<_> = manifests.objects.iter().map(|o| (o.object_ref().to_string(), o.source.line)).collect();
    let expected = [("ConfigMap a", 4), ("ConfigMap b", 10), ("ConfigMap c", 15), ("AllowList d", 22)];
    assert_eq!(found, expected.map(|(name, line)| (name.to_owned(), line)));
    assert_eq!(manifests.errors.iter().map(|e| e.line).collect::<Vec<_>>(), [16]);
}

#[test]
fn server_fields_are_left_out() {
    let manifests = object(
        "metadata:\n  name: x\n  namespace: \"\"\n  uid: abc\n  creationTimestamp: null\n  annotations:\n    \
         kubectl.kubernetes.io/last-applied-configuration: '{\"data\":{\"p\":\"hunter2\"}}'\nstatus: {a: 1}\ndata: null\n",
    );
    assert_eq!(
        manifests.objects[0].object,
        serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "annotations": {}}, "data": null})
    );
    assert_eq!(manifests.warnings.len(), 1);
    let message = &manifests.warnings[0].message;
    assert!(message.contains("uid") && message.contains("status") && !message.contains("creation"), "{message}");
    assert!(!message.contains("hunter2"));
    let quiet = object("metadata: {name: x, creationTimestamp: null}\nstatus: {conditions: [], names: {kind: \"\"}}\n");
    assert!(quiet.warnings.is_empty() && quiet.objects[0].at("/status").is_none());
}

#[test]
fn duplicates_name_both_places() {
    let manifests = read(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: shop}\n\
         ---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: other}\n",
    );
    let errors = duplicates(&manifests.objects, "shop");
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].line, 5);
    assert!(errors[0].fault.to_string().contains("a.yaml:1"));
}

#[test]
fn strangers_in_json_are_skipped() {
    let mut manifests = Manifests::default();
    let parsed = parse_json(b"{\"name\": \"package\"}");
    manifests.read("package.json", parsed.documents, parsed.errors, Strangers::Skip);
    let parsed = parse_json(b"{\"kind\": \"ConfigMap\"}");
    manifests.read("broken.json", parsed.documents, parsed.errors, Strangers::Skip);
    assert_eq!((manifests.objects.len(), manifests.warnings.len(), manifests.errors.len()), (0, 1, 1));
}
