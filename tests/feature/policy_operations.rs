//! A repository's own policies judge what would be written: creations, updates with the object as it is live, and
//! deletions; on `plan` and on `sync`, of what changes and of what stays.

use super::scratch::Scratch;
use crate::on_every_cluster;
use serde_json::json;

const CONFIG: &str =
    "[[repository]]\nname = \"app\"\nurl = \".\"\n\n[policy]\npaths = [\"rules\"]\n\n[[app]]\npath = \"a\"\n";

/// A policy on ConfigMaps with its binding, from line 1.
fn rule(name: &str, operations: &str, action: &str, validation: &str) -> String {
    format!(
        "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata: {{name: {name}}}\nspec:\n  \
         matchConstraints:\n    resourceRules:\n    - {{apiGroups: [''], apiVersions: [v1], operations: [{operations}], resources: [configmaps]}}\n  \
         validations:\n  - {validation}\n---\n\
         apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\nmetadata: {{name: {name}}}\nspec:\n  \
         policyName: {name}\n  validationActions: [{action}]\n"
    )
}

on_every_cluster! {
    fn an_update_is_judged_with_the_live_object(cluster) {
        let app = Scratch::new(cluster, "immutable");
        let ns = app.namespace.clone();
        let fixed = "expression: \"object.data.v == oldObject.data.v\"\n    messageExpression: \"'v was ' + oldObject.data.v + ', not ' + object.data.v\"";
        app.write("rules/fixed.yaml", &rule("v-is-fixed", "UPDATE", "Deny", fixed));
        let told = "expression: \"request.operation != 'UPDATE' || !object.data.v.startsWith('odd')\"\n    message: v is odd";
        app.write("rules/told.yaml", &rule("told", "'*'", "Warn", told));
        app.write("driftless.toml", CONFIG).config_map("a/a.yaml", "a", "odd").commit("one");
        // Without a cluster everything is created.
        app.run("check").exits(0);
        let created = app.run("plan -o json").exits(2).json();
        assert_eq!(created["apps"][0]["policy"], json!([]));
        app.run("sync").exits(0);
        // What stays as it is, is judged all the same.
        let stays = app.run("plan -o json").exits(0).json();
        let found = &stays["apps"][0]["policy"];
        assert_eq!((found.as_array().unwrap().len(), &found[0]["message"], &found[0]["operation"]), (1, &json!("v is odd"), &json!("UPDATE")));
        assert_eq!(stays["apps"][0]["unchanged"], 1);
        app.write("a/b.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndata: {v: new}\n");
        app.replace("a/a.yaml", "\ndata: {", "\ndata: {w: more, ").commit("w is free");
        app.run("sync").exits(0);
        app.config_map("a/a.yaml", "a", "even").commit("v is not");
        app.run("check").exits(0);
        app.run("plan").exits(4).says("a/a.yaml:1").says("v was odd, not even");
        let report = app.run("sync -o json").exits(4).json();
        assert_eq!(report["apps"][0]["error"]["reason"], "PolicyDenied");
        assert_eq!(cluster.object(&ns, "configmap/a")["data"]["v"], "odd");
        // Nor does drift decide: what would be written is compared with what is there.
        app.replace("a/a.yaml", "even", "odd").commit("back");
        app.run("sync").exits(0);
        cluster.kubectl(&format!("-n {ns} patch configmap/a --type=merge -p {{\"data\":{{\"v\":\"by-hand\"}}}}"));
        app.run("plan").exits(4).says("v was by-hand, not odd");
        assert_eq!(cluster.object(&ns, "configmap/a")["data"]["v"], "by-hand");
    }

    fn a_prune_is_judged_as_a_deletion(cluster) {
        let app = Scratch::new(cluster, "kept");
        let ns = app.namespace.clone();
        let kept = "expression: \"object == null && oldObject.data.v != 'kept'\"\n    messageExpression: \"oldObject.metadata.name + ' is kept'\"";
        app.write("rules/kept.yaml", &rule("kept", "DELETE", "Deny", kept)).write("driftless.toml", CONFIG);
        for (name, value) in [("a", "1"), ("b", "kept"), ("c", "free")] {
            app.config_map(&format!("a/{name}.yaml"), name, value);
        }
        app.commit("one");
        app.run("sync").exits(0);
        app.remove("a/c.yaml").commit("c goes");
        app.run("sync").exits(0);
        assert!(!cluster.has(&ns, "configmap/c"));
        app.remove("a/b.yaml").config_map("a/a.yaml", "a", "2").commit("b goes");
        let planned = app.run("plan -o json").exits(4).json();
        let found = &planned["apps"][0]["policy"][0];
        assert_eq!((&found["message"], &found["operation"], &found["file"]), (&json!("b is kept"), &json!("DELETE"), &json!("rules/kept.yaml")));
        app.run("plan").exits(4).says("deleting ConfigMap");
        app.run("sync").exits(4).says("b is kept");
        assert!(cluster.has(&ns, "configmap/b") && cluster.object(&ns, "configmap/a")["data"]["v"] == "1");
        app.remove("rules/kept.yaml").write("rules/x.yaml", &rule("x", "CREATE", "Deny", "expression: 'true'")).commit("no rule");
        app.run("sync").exits(0);
        assert!(!cluster.has(&ns, "configmap/b"));
    }

    fn a_replacement_is_judged_as_both(cluster) {
        let app = Scratch::new(cluster, "replaced");
        let ns = app.namespace.clone();
        let map = |value: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a, annotations: {{driftless.dev/replace: allowed}}}}\nimmutable: true\ndata: {{v: '{value}'}}\n");
        let seen = "expression: 'false'\n    messageExpression: \"request.operation + (object == null ? '' : ' ' + object.data.v) + (oldObject == null ? '' : ' of ' + oldObject.data.v)\"";
        app.write("driftless.toml", CONFIG).write("rules/seen.yaml", &rule("seen", "'*'", "Warn", seen));
        app.write("a/a.yaml", &map("1")).commit("one");
        app.run("sync").exits(0);
        app.write("a/a.yaml", &map("2")).commit("two");
        let planned = app.run("plan -o json").exits(2).json();
        assert_eq!(planned["apps"][0]["changes"][0]["actions"], json!(["replace"]));
        let said: Vec<&str> = planned["apps"][0]["policy"].as_array().unwrap().iter().map(|f| f["message"].as_str().unwrap()).collect();
        assert_eq!(said, ["DELETE of 1", "CREATE 2"]);
        app.write("rules/seen.yaml", &rule("seen", "DELETE", "Deny", "expression: 'false'\n    message: nothing goes")).commit("three");
        app.run("sync").exits(4).says("nothing goes");
        assert_eq!(cluster.object(&ns, "configmap/a")["data"]["v"], "1");
    }

    fn who_asks_is_known_where_there_is_a_cluster(cluster) {
        let app = Scratch::new(cluster, "who");
        let who = "expression: 'false'\n    messageExpression: \"'as ' + request.userInfo.username\"";
        app.write("driftless.toml", CONFIG).write("rules/who.yaml", &rule("who", "'*'", "Warn", who));
        app.config_map("a/a.yaml", "a", "1").commit("one");
        app.run("check").exits(0).says("judged as system:serviceaccount:driftless:driftless");
        let me: serde_json::Value = serde_json::from_str(&cluster.kubectl("auth whoami -o json")).unwrap();
        let name = me["status"]["userInfo"]["username"].as_str().unwrap().to_owned();
        app.run("plan").exits(2).says(&format!("as {name}"));
    }

    fn faults_of_a_policy_are_told_at_their_line(cluster) {
        let app = Scratch::new(cluster, "faults");
        app.write("driftless.toml", CONFIG).config_map("a/a.yaml", "a", "1");
        app.write("rules/r.yaml", &rule("r", "CREATE", "Deny", "expression: 'nope()'")).commit("a function");
        app.run("check").exits(1).says("rules/r.yaml:9");
        app.write("rules/r.yaml", &rule("r", "CREATE", "Deny, Warn", "expression: 'true'")).commit("both");
        app.run("check").exits(1).says("rules/r.yaml:16").says("may not be used together");
        app.write("rules/r.yaml", &rule("r", "CREATE, CRAETE", "Deny", "expression: 'true'")).commit("a typo");
        app.run("check").exits(1).says("rules/r.yaml:7").says("CRAETE");
        app.write("rules/r.yaml", &rule("r", "CREATE", "Deny", "message: m\n    expression: 'object.data.nope == 1'")).commit("a key");
        app.run("check").exits(4).says("a/a.yaml:1").says("no such key: nope; see rules/r.yaml:10");
    }

    /// Namespaces are judged too, also those that nobody wrote; and their labels count wherever they come from.
    fn namespaces_are_judged_and_read(cluster) {
        let app = Scratch::new(cluster, "spaces");
        let ns = app.namespace.clone();
        let owned = rule("owned", "CREATE", "Deny", "{expression: \"has(object.metadata.labels.owner)\", message: no owner}").replace("configmaps", "namespaces");
        app.write("rules/owned.yaml", &owned);
        let config = CONFIG.replace("[[app]]\npath = \"a\"\n", "[[app]]\nglob = \"apps/*\"\n[defaults]\ncreate_namespace = true\n");
        let text = |space: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a, namespace: {space}}}\ndata: {{v: one}}\n");
        app.write("driftless.toml", &config).write("apps/a/a.yaml", &text(&format!("{ns}-made"))).commit("one");
        app.run("plan").exits(4).says(&format!("Namespace {ns}-made: ")).says("no owner");
        app.run("sync").exits(4);
        assert!(!cluster.succeeds(&format!("get namespace {ns}-made")));

        // In another app of the same commit.
        let space = format!("{ns}-prod");
        app.write("apps/n/n.yaml", &format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {space}\n  labels: {{owner: me, environment: production}}\n"));
        let two = "{expression: \"namespaceObject.metadata.?labels[?'environment'].orValue('') != 'production' || object.data.v != 'one'\", message: not one in production}";
        app.write("rules/two.yaml", &rule("two", "CREATE, UPDATE", "Deny", two)).write("apps/a/a.yaml", &text(&space)).commit("two");
        for command in ["check", "plan", "sync"] {
            app.run(command).exits(4).says("not one in production");
        }
        assert!(!cluster.succeeds(&format!("-n {space} get configmap a")));
    }

    /// A policy that no server takes is no excuse for itself.
    fn a_policy_among_the_objects_is_planned_as_the_server_takes_it(cluster) {
        let app = Scratch::new(cluster, "installed");
        let broken = rule("broken", "CREATE", "Deny", "{expression: \"object.data.v ==\", message: no}");
        app.write("driftless.toml", &CONFIG.replace("[policy]\npaths = [\"rules\"]\n", ""));
        app.write("a/p.yaml", &broken.replace("{name: broken}", &format!("{{name: {}-broken}}", app.namespace))).commit("one");
        app.run("plan").exits(1).says("a/p.yaml:1");
        app.run("sync").exits(1);
    }
}
