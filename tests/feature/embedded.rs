//! What the embedded cluster says to kubectl where it must be what a real server makes kubectl say.

use super::cluster::Cluster;
use crate::on_every_cluster;
use crate::support::control_plane;
use std::process::Command;

const CONFIG_MAP: &str = "apiVersion: v1\nkind: ConfigMap\n";

on_every_cluster! {
    fn a_kind_that_is_not_served_is_not_found(cluster) {
        let said = cluster.refused("apply -f -", "apiVersion: nope.example.com/v1\nkind: Nope\nmetadata: {name: x, namespace: default}\n");
        assert!(said.contains("resource mapping not found for name: \"x\" namespace: \"default\""), "{said}");
        assert!(said.contains("ensure CRDs are installed first"), "{said}");
    }

    fn apply_prunes(cluster) {
        let namespace = cluster.namespace("prune");
        let line = format!("-n {namespace} apply --prune -l app=pruned");
        let one = |name: &str| format!("{CONFIG_MAP}metadata: {{name: {name}, labels: {{app: pruned}}}}\n");
        cluster.kubectl_input(&line, &one("a"));
        cluster.kubectl_input(&line, &one("b"));
        assert!(!cluster.has(&namespace, "configmap/a") && cluster.has(&namespace, "configmap/b"));
        assert!(cluster.kubectl("get rc -A -o name").is_empty());
    }

    fn namespaces_of_the_system_are_not_deleted(cluster) {
        for name in ["default", "kube-system", "kube-public"] {
            let said = cluster.refused(&format!("delete namespace {name}"), "");
            let words = format!("namespaces \"{name}\" is forbidden: this namespace may not be deleted");
            assert!(said.contains(&words), "{said}");
        }
    }

    fn policies_are_enforced(cluster) {
        let namespace = cluster.namespace("policies");
        let meta = format!("metadata: {{name: {namespace}}}");
        cluster.kubectl_input("apply", &format!(
            "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\n{meta}\nspec:\n  \
             matchConstraints: {{resourceRules: [{{apiGroups: [''], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [configmaps]}}]}}\n  \
             validations: [{{expression: \"!has(object.data) || !has(object.data.bad)\", message: no bad data}}]\n---\n\
             apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\n{meta}\nspec:\n  policyName: {namespace}\n  \
             validationActions: [Deny]\n  matchResources: {{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}}}\n"
        ));
        let bad = format!("{CONFIG_MAP}metadata: {{name: c, namespace: {namespace}}}\ndata: {{bad: x}}\n");
        let words = format!(
            "ValidatingAdmissionPolicy '{namespace}' with binding '{namespace}' denied request: no bad data"
        );
        // A real server takes a moment to put a policy into effect.
        cluster.eventually("the policy", || !cluster.accepts("apply --dry-run=server -f -", &bad));
        for line in ["apply --server-side -f -", "apply --dry-run=server -f -", "create -f -"] {
            let said = cluster.refused(line, &bad);
            assert!(said.contains(&words), "{line}: {said}");
        }
        cluster.kubectl(&format!("delete validatingadmissionpolicybinding/{namespace} validatingadmissionpolicy/{namespace}"));
    }

    fn the_scheduler_keeps_pods_apart_and_says_so(cluster) {
        let namespace = cluster.namespace("apart");
        let anti = "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: apart}}}]}}";
        let near = "affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: nobody}}}]}}";
        let spread = "topologySpreadConstraints: [{maxSkew: 1, topologyKey: rack, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: spread}}}]";
        let pod = |name: &str, more: &str| {
            format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{app: apart}}}}\n\
                     spec:\n  containers: [{{name: main, image: 'web:1'}}]\n  {more}\n---\n")
        };
        let first: String = ["a", "b", "c"].iter().map(|name| pod(name, anti)).collect();
        cluster.kubectl_input("apply", &first);
        let said = |name: &str| cluster.object(&namespace, &format!("pod/{name}"))["status"]["conditions"][0]["message"].to_string();
        cluster.eventually("three pods", || {
            ["a", "b", "c"].iter().all(|name| cluster.object(&namespace, &format!("pod/{name}"))["spec"]["nodeName"].is_string())
        });
        cluster.kubectl_input("apply", &[pod("d", anti), pod("e", ""), pod("f", near), pod("g", spread)].concat());
        for (name, words) in [
            ("d", "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules. no new claims to deallocate, preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod."),
            ("e", "0/3 nodes are available: 3 node(s) didn't satisfy existing pods anti-affinity rules."),
            ("f", "0/3 nodes are available: 3 node(s) didn't match pod affinity rules. no new claims to deallocate, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."),
            ("g", "0/3 nodes are available: 3 node(s) didn't match pod topology spread constraints (missing required label)."),
        ] {
            cluster.eventually(name, || said(name).contains(words));
        }
        cluster.kubectl(&format!("delete namespace {namespace} --wait=false"));
    }

    fn controllers_tell_what_they_did(cluster) {
        let namespace = cluster.namespace("events");
        cluster.kubectl(&format!("-n {namespace} create quota q --hard=pods=1"));
        cluster.kubectl(&format!("-n {namespace} create job task --image=task:1"));
        let events = |about: &str| cluster.kubectl(&format!(
            "-n {namespace} get events --field-selector involvedObject.name={about} -o jsonpath={{range.items[*]}}{{.source.component}}:{{.type}}:{{.reason}}:{{.message}}|{{end}}"
        ));
        cluster.eventually("the Job's pod", || events("task").contains("job-controller:Normal:SuccessfulCreate:Created pod: task-"));
        cluster.kubectl(&format!("-n {namespace} create deployment web --image=web:1 --replicas=3"));
        let set = || cluster.kubectl(&format!("-n {namespace} get replicasets -o jsonpath={{.items[*].metadata.name}}"));
        cluster.eventually("a refusal", || {
            let name = set();
            !name.is_empty() && events(&name).contains("replicaset-controller:Warning:FailedCreate:Error creating: pods \"web-")
        });
        cluster.kubectl(&format!("delete namespace {namespace} --wait=false"));
    }

    fn rules_of_custom_resources_are_enforced(cluster) {
        let namespace = cluster.namespace("rules");
        let group = format!("{namespace}.example.com");
        cluster.kubectl_input("apply", &format!(
            "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: things.{group}}}\nspec:\n  \
             group: {group}\n  scope: Namespaced\n  names: {{plural: things, singular: thing, kind: Thing}}\n  versions:\n  \
             - name: v1\n    served: true\n    storage: true\n    schema:\n      openAPIV3Schema:\n        type: object\n        properties:\n          \
             spec:\n            type: object\n            x-kubernetes-validations:\n            \
             - {{rule: 'self.min <= self.max', message: min must not exceed max}}\n            \
             - {{rule: 'self.max < 100'}}\n            \
             properties:\n              min: {{type: integer}}\n              max: {{type: integer}}\n              \
             name: {{type: string, maxLength: 9, x-kubernetes-validations: [{{rule: self == oldSelf, message: name stays}}]}}\n"
        ));
        let thing = |spec: &str| format!("apiVersion: {group}/v1\nkind: Thing\nmetadata: {{name: t, namespace: {namespace}}}\nspec: {spec}\n");
        cluster.eventually("the definition", || cluster.accepts("apply -f -", &thing("{min: 1, max: 2, name: a}")));
        for (spec, words) in [
            ("{min: 3, max: 2, name: a}", "spec: Invalid value: min must not exceed max"),
            ("{min: 3, max: 200, name: a}", "spec: Invalid value: failed rule: self.max < 100"),
            ("{min: 1, name: a}", "spec: Invalid value: \"object\": no such key: max evaluating rule: self.m"),
            ("{min: 1, max: 2, name: b}", "spec.name: Invalid value: \"b\": name stays"),
        ] {
            let said = cluster.refused("replace -f -", &thing(spec));
            assert!(said.contains(words), "{spec}: {said}");
        }
        cluster.kubectl(&format!("delete crd things.{group}"));
    }
}

/// Its pods are simulated, its user is one, its webhooks are none.
#[test]
fn what_the_embedded_cluster_does_not_have_it_refuses() {
    let Some(cluster) = Cluster::embedded() else { return control_plane::skip() };
    let said = cluster.refused("--as=jane get pods", "");
    assert!(said.contains("cannot impersonate"), "{said}");
    let hook = "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {name: h}\nwebhooks:\n\
        - {name: a.b.c, clientConfig: {url: 'https://x/'}, sideEffects: None, admissionReviewVersions: [v1],\n   \
        rules: [{apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [pods]}]}\n";
    let said = cluster.refused("apply -f -", hook);
    assert!(said.contains("calls no webhooks"), "{said}");
}

#[test]
fn a_cluster_of_nodes_without_a_size_does_not_start() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_driftless"));
    let output = command.args(["cluster", "--cpu", "x", "--memory", "y"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("--cpu \"x\"") && said.contains("--memory \"y\""), "{said}");
}

/// Its APIService stands for pods that answer nothing.
#[test]
fn an_api_service_is_accepted_and_not_available() {
    let Some(cluster) = Cluster::embedded() else { return control_plane::skip() };
    cluster.kubectl_input(
        "apply",
        "apiVersion: apiregistration.k8s.io/v1\nkind: APIService\nmetadata: {name: v1.nobody.example.com}\nspec:\n  \
         {group: nobody.example.com, version: v1, groupPriorityMinimum: 100, versionPriority: 100, service: {name: nobody, namespace: default}}\n",
    );
    cluster.eventually("its status", || {
        cluster.kubectl("get apiservice v1.nobody.example.com").contains("False (ServiceNotFound)")
    });
    cluster.kubectl("delete apiservice v1.nobody.example.com");
}

impl Cluster {
    fn run(&self, line: &str, input: &str) -> (bool, String) {
        use std::io::Write as _;
        use std::process::Stdio;
        let mut command = Command::new(control_plane::kubectl().unwrap());
        let cache = self.kubeconfig.with_extension("kubectl-cache");
        command.env("KUBECONFIG", &self.kubeconfig).env("KUBECACHEDIR", cache).env("KUBERC", "off");
        command.args(line.split_whitespace()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// What a `kubectl` says that has to fail.
    pub fn refused(&self, line: &str, input: &str) -> String {
        let (succeeded, said) = self.run(line, input);
        assert!(!succeeded, "kubectl {line} succeeded");
        said
    }

    /// True if a `kubectl` with an input succeeds.
    pub fn accepts(&self, line: &str, input: &str) -> bool {
        self.run(line, input).0
    }
}
