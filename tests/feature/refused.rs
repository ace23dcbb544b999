//! What a policy refuses, as it is told.

use super::scratch::Scratch;
use crate::on_every_cluster;

/// A policy on ConfigMaps with its binding.
fn rule(name: &str, operation: &str, expression: &str) -> String {
    format!(
        "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata: {{name: {name}}}\nspec:\n  matchConstraints: {{resourceRules: [{{apiGroups: [''], apiVersions: [v1], operations: [{operation}], resources: [configmaps]}}]}}\n  validations: [{{expression: \"{expression}\", message: not allowed}}]\n---\napiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\nmetadata: {{name: {name}}}\nspec: {{policyName: {name}, validationActions: [Deny]}}\n"
    )
}

on_every_cluster! {
    /// What a policy refuses comes with the words that fit: the same in a plan and in a sync, and others for a deletion,
    /// whose manifest is gone.
    fn a_refusals_hint_fits_what_is_refused(cluster) {
        let app = Scratch::new(cluster, "hints");
        app.write("driftless.toml", "[[repository]]\nname = \"app\"\nurl = \".\"\n[policy]\npaths = [\"rules\"]\n[[app]]\npath = \"a\"\n");
        app.write("rules/kept.yaml", &rule("kept", "DELETE", "oldObject.data.v != 'kept'"));
        app.write("rules/good.yaml", &rule("good", "CREATE, UPDATE", "object.data.v != 'bad'"));
        app.config_map("a/a.yaml", "a", "1").config_map("a/b.yaml", "b", "kept").commit("one");
        app.run("sync").exits(0);
        app.remove("a/b.yaml").commit("b goes");
        let hint = |line: &str| app.run(line).exits(4).json()["apps"][0]["error"]["hint"].clone();
        let keep = "keep the object in Git as the cluster has it, or ask the owner of the policies to let it go";
        assert_eq!((hint("plan -o json"), hint("sync -o json")), (keep.into(), keep.into()));
        app.config_map("a/b.yaml", "b", "bad").commit("b is bad");
        let change = "change the manifest; policies are the owner's";
        assert_eq!((hint("plan -o json"), hint("sync -o json")), (change.into(), change.into()));
    }
}
