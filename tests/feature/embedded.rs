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
    fn refused(&self, line: &str, input: &str) -> String {
        let (succeeded, said) = self.run(line, input);
        assert!(!succeeded, "kubectl {line} succeeded");
        said
    }

    /// True if a `kubectl` with an input succeeds.
    fn accepts(&self, line: &str, input: &str) -> bool {
        self.run(line, input).0
    }
}
