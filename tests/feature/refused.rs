//! What a policy refuses, as it is told.

use super::scratch::Scratch;
use crate::on_every_cluster;

/// A refusal is told once, where it is and with what to do; scripts find it where they always did.
#[test]
fn a_refusal_of_a_policy_is_told_once() {
    let app = Scratch::alone("once");
    app.deployment("a/web.yaml", "web", "web:latest", 1, "").commit("latest");
    for (line, place) in [
        ("plan --embedded", "✗ deny a/web.yaml:1 "),
        ("sync --embedded", "✗ deny a/web.yaml:1 "),
        ("plan --embedded -o markdown", "- ❌ `a/web.yaml:1` "),
    ] {
        let ended = app.run(line).exits(4).says(place).says("→ change the manifest; policies are the owner");
        let lines: Vec<&str> = ended.out.lines().filter(|line| line.contains("no-latest-image")).collect();
        assert_eq!(lines.len(), 1, "{line}: {}", ended.out);
    }
    app.run("sync --embedded").exits(4).says(": refused by policy\n");
    for line in ["plan --embedded -o json", "sync --embedded -o json"] {
        let told = &app.run(line).exits(4).json()["apps"][0];
        assert_eq!((&told["error"]["reason"], &told["policy"][0]["action"]), (&"PolicyDenied".into(), &"deny".into()));
    }
}

/// A policy on ConfigMaps with its binding.
fn rule(name: &str, operation: &str, expression: &str) -> String {
    format!(
        "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata: {{name: {name}}}\nspec:\n  matchConstraints: {{resourceRules: [{{apiGroups: [''], apiVersions: [v1], operations: [{operation}], resources: [configmaps]}}]}}\n  validations: [{{expression: \"{expression}\", message: not allowed}}]\n---\napiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\nmetadata: {{name: {name}}}\nspec: {{policyName: {name}, validationActions: [Deny]}}\n"
    )
}

on_every_cluster! {
    /// That a Secret is immutable is no secret.
    fn an_immutable_secret_says_that_it_is(cluster) {
        let app = Scratch::new(cluster, "fixed");
        let secret = |value: &str| format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nimmutable: true\nstringData: {{p: {value}}}\n");
        app.write("a/s.yaml", &secret("canary-one")).commit("one");
        app.run("sync").exits(0);
        app.write("a/s.yaml", &secret("canary-two")).commit("two");
        for line in ["plan", "plan -o json", "plan -o markdown", "sync", "sync -o json"] {
            let ended = app.run(line).exits(1).says("field is immutable when");
            assert!(!format!("{}{}", ended.out, ended.err).contains("canary"), "{line}");
        }
    }

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
