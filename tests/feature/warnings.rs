//! What the API server warns of is a finding at the object's line, and a repository's own policies judge with what the
//! cluster knows.

use super::cluster::Cluster;
use super::scratch::Scratch;
use crate::on_every_cluster;
use serde_json::{Value, json};

const API: &str = "admissionregistration.k8s.io/v1";

/// A policy of the cluster that warns of ConfigMaps and Secrets in a namespace, and in another one to see it work.
fn warning_policy(cluster: &Cluster, namespace: &str, probe: &str) {
    let document = |kind: &str, spec: Value| json!({"apiVersion": API, "kind": kind, "metadata": {"name": namespace}, "spec": spec});
    let rules = json!({"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
        "resources": ["configmaps", "secrets"]}]});
    let policy = json!({"matchConstraints": rules, "validations": [{"expression": "object.?data.?v.orValue('') == 'fine'",
        "messageExpression": "'v is ' + object.?data.?v.orValue('unset')"}]});
    let selector = json!({"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "In", "values": [namespace, probe]}]});
    let binding = json!({"policyName": namespace, "validationActions": ["Warn"], "matchResources": {"namespaceSelector": selector}});
    let items = [document("ValidatingAdmissionPolicy", policy), document("ValidatingAdmissionPolicyBinding", binding)];
    cluster.kubectl_input("create", &json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string());
}

on_every_cluster! {
    fn warnings_of_the_api_server_are_findings(cluster) {
        let app = Scratch::new(cluster, "warned");
        let policy = app.namespace.clone();
        warning_policy(cluster, &policy, &policy);
        let map = |name: &str, value: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{v: {value}}}\n");
        app.write("a/maps.yaml", &format!("{}---\n{}", map("good", "fine"), map("bad", "odd")));
        app.write("a/secret.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: token}\ndata: {v: aHVudGVyMg==}\n");
        app.deployment("a/web.yaml", "web", "web:1", 1, "");
        app.replace("a/web.yaml", "spec: {containers", "spec: {nodeSelector: {beta.kubernetes.io/os: linux}, containers");
        app.commit("one");
        cluster.eventually("the policy to be in effect", || app.run("plan -o json").out.contains("v is odd"));
        let report = app.run("plan -o json").exits(2).json();
        let findings = report["apps"][0]["policy"].as_array().unwrap().clone();
        let about = |name: &str| findings.iter().filter(|f| f["object"]["name"] == name).cloned().collect::<Vec<_>>();
        let bad = about("bad");
        assert_eq!(bad.len(), 1, "{findings:?}");
        let told = json!([bad[0]["policy"], bad[0]["action"], bad[0]["message"], bad[0]["file"], bad[0]["line"], bad[0]["server"]]);
        assert_eq!(told, json!([policy, "warn", "v is odd", "a/maps.yaml", 6, true]));
        assert_eq!(about("good"), Vec::<Value>::new());
        app.run("plan").exits(2).says("a/maps.yaml:6").says("v is odd");
        app.run("plan -o markdown").exits(2).says("a/maps.yaml:6").says("v is odd");
        // The server's words about a Secret may quote it: only that and where.
        assert_eq!((about("token").len(), &about("token")[0]["file"]), (1, &json!("a/secret.yaml")));
        for output in ["text", "json", "markdown"] {
            let said = app.run(&format!("plan -o {output}")).exits(2).out;
            assert!(!said.contains("aHVudGVyMg") && !said.contains("hunter2"), "{said}");
        }
        // A warning that is no policy's: a label that has another name now.
        if cluster.plane.is_some() {
            let web = about("web");
            assert!(web.len() == 1 && web[0]["policy"] == "api-server" && web[0]["message"].to_string().contains("deprecated"), "{web:?}");
            app.run("plan -o markdown").exits(2).says("the API server");
        }
        // It stops nothing.
        app.run("sync --no-wait").exits(0).says("v is odd");
        assert!(cluster.has(&app.namespace, "configmap/bad"));
    }

    /// What depends on something that the sync itself makes is not asked about before: what the server says of it when it
    /// is written is told all the same.
    fn warnings_of_late_writes_are_told(cluster) {
        let app = Scratch::new(cluster, "late");
        let (policy, late) = (app.namespace.clone(), format!("{}-made", app.namespace));
        // Another namespace than the one that is made: the deletion of one takes as long as any API of the cluster is away.
        let probe = format!("{}-probe", app.namespace);
        warning_policy(cluster, &late, &probe);
        cluster.kubectl(&format!("create namespace {probe}"));
        let asks = format!("-n {probe} create configmap probe --from-literal=v=odd --dry-run=server");
        cluster.eventually("the policy to be in effect", || {
            let said = cluster.command().args(asks.split_whitespace()).output().unwrap();
            String::from_utf8_lossy(&said.stderr).contains("v is odd")
        });
        cluster.kubectl(&format!("delete namespace {probe} --wait=false"));
        app.write("a/ns.yaml", &format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {late}}}\n"));
        app.write("a/map.yaml", &format!("# late\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m, namespace: {late}}}\ndata: {{v: odd}}\n"));
        app.commit("one");
        assert!(!app.run("plan -o json").exits(2).out.contains("v is odd"), "nobody can be asked before");
        let report = app.run("sync -o json --no-wait").exits(0).json();
        let found = report["apps"][0]["policy"].as_array().unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        let told = json!([found[0]["policy"], found[0]["action"], found[0]["message"], found[0]["file"], found[0]["line"], found[0]["server"]]);
        assert_eq!(told, json!([late, "warn", "v is odd", "a/map.yaml", 2, true]), "{policy}");
    }

    fn a_repositorys_own_policies_judge_with_the_namespaces_labels(cluster) {
        let app = Scratch::new(cluster, "own-rules");
        let shipped = |name: &str| {
            let folder = format!("{}/policies/{name}", env!("CARGO_MANIFEST_DIR"));
            let read = |file: &str| std::fs::read_to_string(format!("{folder}/{file}")).unwrap();
            app.write(&format!("rules/{name}/policy.yaml"), &read("policy.yaml"));
            app.write(&format!("rules/{name}/testdata/case.yaml"), "apiVersion: v1\nkind: Pod\nmetadata: {name: a-case}\n");
        };
        ["production-replicas", "allowed-registries"].into_iter().for_each(shipped);
        app.write("driftless.toml", "[[repository]]\nname = \"app\"\nurl = \".\"\n\n[policy]\npaths = [\"rules\"]\n\n[[app]]\npath = \"a\"\n");
        app.deployment("a/web.yaml", "web", "docker.io/library/web:1", 1, "").commit("one");
        app.run("plan").exits(2);
        cluster.kubectl(&format!("label namespace {} environment=production", app.namespace));
        app.run("plan").exits(4).says("a/web.yaml:1").says("in production at least 2 replicas are needed, not 1");
        app.deployment("a/web.yaml", "web", "evil.example.com/web:1", 2, "").commit("two");
        app.run("plan").exits(4).says("not from an allowed registry: evil.example.com/web:1");
        app.run("check").exits(4).says("allowed-registries");
        app.deployment("a/web.yaml", "web", "docker.io/library/web:1", 2, "").commit("three");
        app.run("plan").exits(2);
        // A policy that cannot be judged stops everything: nothing passes unseen.
        app.write("rules/broken.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: stray}\n").commit("four");
        app.run("plan").exits(1).says("rules/broken.yaml:1");
    }
}
