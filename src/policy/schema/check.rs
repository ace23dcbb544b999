//! Which checks an object gets.

use super::faults::Faults;
use super::{cluster_kinds, metadata, network_kinds, workload_kinds};
use crate::object::{Desired, Gvk, Manifest, Problem};

/// Every fault that can be found without a cluster, in the order of the objects.
pub fn check(objects: &[Desired]) -> Vec<Problem> {
    objects.iter().flat_map(check_one).collect()
}

fn check_one(object: &Desired) -> Vec<Problem> {
    let mut faults = Faults::of(object);
    let gvk = object.gvk();
    if gvk.kind.is_empty() || gvk.version.is_empty() {
        faults.add(".", "apiVersion and kind are required", "Add both, or take the file out of the app.");
        return faults.into_problems();
    }
    metadata::check(&gvk.gk(), &object.object, &mut faults);
    of_kind(&gvk, object, &mut faults);
    faults.into_problems()
}

/// Checks by kind. Only served versions are known here: fields of removed ones differ.
fn of_kind(gvk: &Gvk, object: &Desired, faults: &mut Faults<'_>) {
    let value = &object.object;
    match (gvk.group.as_str(), gvk.version.as_str(), gvk.kind.as_str()) {
        ("", "v1", "Pod") => workload_kinds::pod(value, faults),
        ("apps", "v1", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet") => {
            workload_kinds::controller(&gvk.kind, value, faults);
        }
        ("batch", "v1", "Job") => workload_kinds::job(value.get("spec"), ".spec", faults),
        ("batch", "v1", "CronJob") => workload_kinds::cron_job(value, faults),
        ("autoscaling", "v1" | "v2", "HorizontalPodAutoscaler") => workload_kinds::autoscaler(value, faults),
        ("policy", "v1", "PodDisruptionBudget") => workload_kinds::disruption_budget(value, faults),
        ("", "v1", "Service") => network_kinds::service(value, faults),
        ("networking.k8s.io", "v1", "Ingress") => network_kinds::ingress(value, faults),
        ("", "v1", "ConfigMap") => cluster_kinds::config_map(value, faults),
        ("", "v1", "Secret") => cluster_kinds::secret(value, faults),
        ("", "v1", "PersistentVolumeClaim") => super::volumes::claim(value.get("spec"), ".spec", faults),
        ("rbac.authorization.k8s.io", "v1", "Role" | "ClusterRole") => cluster_kinds::role(value, faults),
        ("rbac.authorization.k8s.io", "v1", "RoleBinding" | "ClusterRoleBinding") => {
            cluster_kinds::role_binding(&gvk.kind, value, faults);
        }
        ("apiextensions.k8s.io", "v1", "CustomResourceDefinition") => cluster_kinds::definition(value, faults),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Source;
    use serde_json::{Value, json};

    fn faults(object: Value) -> Vec<String> {
        let object = Desired { object, source: Source { file: "a.yaml".into(), line: 3 } };
        check(&[object]).into_iter().map(|problem| problem.message).collect()
    }

    fn deployment(change: impl FnOnce(&mut Value)) -> Value {
        let mut value = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": {
                "metadata": {"labels": {"app": "web"}}, "spec": {
                    "containers": [{"name": "main", "image": "web:1", "ports": [{"containerPort": 80, "name": "http"}],
                        "env": [{"name": "A", "value": "1"}], "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                        "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": 1, "memory": "1Gi"}},
                        "livenessProbe": {"httpGet": {"path": "/", "port": "http"}}}],
                    "volumes": [{"name": "tmp", "emptyDir": {}}]}}}});
        change(&mut value);
        value
    }

    type Change = fn(&mut Value);

    fn deployment_faults() -> Vec<(&'static str, Change)> {
        vec![
            ("RFC 1123 subdomain", |v| v["metadata"]["name"] = json!("Web_1")),
            (".metadata.name: is required", |v| v["metadata"] = json!({})),
            ("generated name", |v| v["metadata"] = json!({"generateName": "a-"})),
            ("must be a text, not a boolean", |v| v["metadata"]["labels"] = json!({"a": true})),
            ("no valid key", |v| v["metadata"]["annotations"] = json!({"a b": "x"})),
            ("is no label value", |v| v["metadata"]["labels"] = json!({"a": "x y"})),
            ("does not match the template's labels", |v| {
                v["spec"]["template"]["metadata"]["labels"] = json!({"app": "x"});
            }),
            (".spec.selector: is required", |v| {
                v["spec"].as_object_mut().unwrap().remove("selector");
            }),
            ("at least one container", |v| v["spec"]["template"]["spec"]["containers"] = json!([])),
            ("RFC 1123 label", |v| v["spec"]["template"]["spec"]["containers"][0]["name"] = json!("a.b")),
            (".image: is required", |v| {
                v["spec"]["template"]["spec"]["containers"][0].as_object_mut().unwrap().remove("image");
            }),
            ("between 1 and 65535", |v| {
                v["spec"]["template"]["spec"]["containers"][0]["ports"][0]["containerPort"] = json!(70000);
            }),
            ("must be a number, not a text", |v| {
                v["spec"]["template"]["spec"]["containers"][0]["ports"][0]["containerPort"] = json!("80");
            }),
            ("value: must be a text, not a number", |v| {
                v["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] = json!(1);
            }),
            ("no volume named", |v| v["spec"]["template"]["spec"]["volumes"] = json!([])),
            ("is no quantity", |v| {
                v["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"] = json!("1GB");
            }),
            ("is more than the limit", |v| {
                v["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("2");
            }),
            ("exactly one of", |v| {
                v["spec"]["template"]["spec"]["containers"][0]["livenessProbe"] = json!({"periodSeconds": 1});
            }),
            ("is not one of", |v| v["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = json!("always")),
            ("only Always", |v| v["spec"]["template"]["spec"]["restartPolicy"] = json!("Never")),
            ("is used twice", |v| {
                let first = v["spec"]["template"]["spec"]["containers"][0].clone();
                v["spec"]["template"]["spec"]["initContainers"] = json!([first]);
            }),
            ("must be a number, not a text", |v| v["spec"]["replicas"] = json!("2")),
            ("no port named", |v| {
                v["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]["httpGet"]["port"] = json!("web");
            }),
        ]
    }

    #[test]
    fn good_objects_have_no_faults() {
        for good in [
            deployment(|_| {}),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"selector": {"a": "b"}, "ports": [{"port": 80, "targetPort": "http"}]}}),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"type": "ExternalName", "externalName": "a.b"}}),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"clusterIP": "None", "selector": {"a": "b"}}}),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x.y": "1"}, "binaryData": {"b": "AA=="}}),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "data": {"x": "AA=="}, "stringData": {"y": "z"}}),
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "system:a:b"}, "rules": [{"nonResourceURLs": ["/x"], "verbs": ["get"]}, {"apiGroups": [""], "resources": ["pods"], "verbs": ["*"]}]}),
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "a"}, "aggregationRule": {}, "rules": null}),
            json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}, "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "b"}]}}}}),
            json!({"apiVersion": "x.io/v1", "kind": "Foo", "metadata": {"name": "A_b"}}),
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "a"}, "spec": {"rules": [{"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "a", "port": {"number": 80}}}}]}}]}}),
            json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "a"}, "spec": {"schedule": "@daily", "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "OnFailure", "containers": [{"name": "a", "image": "b"}]}}}}}}),
        ] {
            assert_eq!(faults(good.clone()), Vec::<String>::new(), "{good}");
        }
    }

    #[test]
    fn faults_of_a_deployment() {
        for (part, change) in deployment_faults() {
            let found = faults(deployment(change));
            assert!(found.iter().any(|message| message.contains(part)), "{part}: {found:?}");
            assert_eq!(found.len(), 1, "{part}: {found:?}");
        }
    }

    #[test]
    fn faults_of_other_kinds() {
        for (part, object) in [
            (
                "cluster-scoped",
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a", "namespace": "b"}}),
            ),
            (
                "is not valid base64",
                json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "data": {"x": "hunter2!"}}),
            ),
            (
                "must be a text",
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": 1}}),
            ),
            (
                "both in data and binaryData",
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "1"}, "binaryData": {"x": "AA=="}}),
            ),
            (
                "roleRef.name: is required",
                json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "a"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role"}, "subjects": []}),
            ),
            (
                "a ClusterRoleBinding grants a ClusterRole",
                json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "a"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "x"}}),
            ),
            (
                "subjects[0].namespace: is required",
                json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "a"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "x"}, "subjects": [{"kind": "ServiceAccount", "name": "a"}]}),
            ),
            (
                "more than one port",
                json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}, {"port": 81, "name": "b"}]}}),
            ),
            (
                "pathType: is required",
                json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "a"}, "spec": {"rules": [{"http": {"paths": [{"path": "/", "backend": {"service": {"name": "a", "port": {"number": 80}}}}]}}]}}),
            ),
            (
                "needs Never or OnFailure",
                json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}, "spec": {"template": {"spec": {"containers": [{"name": "a", "image": "b"}]}}}}),
            ),
            (
                "five fields",
                json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "a"}, "spec": {"schedule": "* * *", "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "OnFailure", "containers": [{"name": "a", "image": "b"}]}}}}}}),
            ),
            (
                "must be `foos.x.io`",
                json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "a"}, "spec": {"group": "x.io", "scope": "Namespaced", "names": {"plural": "foos", "kind": "Foo"}, "versions": [{"name": "v1", "served": true, "storage": true, "schema": {}}]}}),
            ),
            (
                "minReplicas",
                json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"}, "spec": {"minReplicas": 5, "maxReplicas": 2, "scaleTargetRef": {"kind": "Deployment", "name": "a"}}}),
            ),
            (
                "only one of",
                json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "a"}, "spec": {"minAvailable": 1, "maxUnavailable": 1}}),
            ),
            (
                "storage: is required",
                json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "a"}, "spec": {"accessModes": ["ReadWriteOnce"]}}),
            ),
        ] {
            let object = Desired { object, source: Source { file: "a.yaml".into(), line: 3 } };
            let found = check(std::slice::from_ref(&object));
            let text: Vec<String> =
                found.iter().map(|p| format!("{} {}", p.message, p.hint.clone().unwrap_or_default())).collect();
            assert!(text.iter().any(|message| message.contains(part)), "{part}: {text:?}");
            assert_eq!(found.len(), 1, "{part}: {text:?}");
            assert!(!text.concat().contains("hunter2"), "a Secret's value is told");
        }
    }

    #[test]
    fn odd_shapes_do_not_panic() {
        for kind in ["Deployment", "StatefulSet"] {
            for odd in [
                json!(null),
                json!(1),
                json!("x"),
                json!([]),
                json!({"template": [], "selector": 1}),
                json!({"template": {"spec": {"containers": [1, null, {"ports": 1, "env": {}, "resources": []}], "volumes": {}}}}),
            ] {
                faults(
                    json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "a", "labels": []}, "spec": odd}),
                );
            }
        }
    }
}
