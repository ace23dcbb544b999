//! Cases 1 to 17: what is written, what is not, and what is refused before anything is.

use super::facts::{app as of_app, changes, managers, pods, text, versions};
use super::proxy::Proxy;
use super::table::seen;
use crate::feature::running::Running;
use crate::feature::scratch::Scratch;
use crate::on_every_cluster;
use serde_json::{Value, json};

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}, ports: [{name: http, port: 80}]}\n";

/// One of most kinds, written in the opposite of the order that they need.
const EVERYTHING: &str = r#"apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {maxUnavailable: 1, selector: {matchLabels: {app: web}}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec: {rules: [{http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      serviceAccountName: web
      containers: [{name: main, image: "web:1", envFrom: [{configMapRef: {name: web}}, {secretRef: {name: web}}]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: web}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: web}
subjects: [{kind: ServiceAccount, name: web}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: web}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get]}]
---
apiVersion: v1
kind: Secret
metadata: {name: web}
stringData: {a: b}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: web}
data: {a: b}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: web}
"#;

/// A CRD with these properties of its spec.
fn definition(group: &str, plural: &str, fields: &str) -> String {
    let singular = plural.trim_end_matches('s');
    let kind = singular[..1].to_uppercase() + &singular[1..];
    format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: {plural}.{group}}}\nspec:\n  group: {group}\n  scope: Namespaced\n  names: {{plural: {plural}, singular: {singular}, kind: {kind}}}\n  versions: [{{name: v1, served: true, storage: true, schema: {{openAPIV3Schema: {{type: object, properties: {{spec: {{type: object, properties: {{{fields}}}}}}}}}}}}}]\n"
    )
}

/// The position of the first write to this resource.
fn place(written: &[String], resource: &str) -> usize {
    let found = written
        .iter()
        .position(|line| line.contains(&format!("/{resource}/")) || line.ends_with(&format!("/{resource}")));
    found.unwrap_or_else(|| panic!("nothing was written to {resource}: {written:#?}"))
}

on_every_cluster! {
    /// Objects are created in the documented order; the same revision again writes nothing and costs discovery and a list
    /// per kind.
    fn case_01_a_order_and_a_second_sync_writes_nothing(cluster) {
        let app = Scratch::new(cluster, "order");
        let proxy = Proxy::before(cluster);
        let sync = format!("sync -o json --kubeconfig {}", proxy.kubeconfig(&app));
        app.write("web/all.yaml", EVERYTHING).commit("one");
        app.run(&sync).exits(0);
        let written = proxy.written();
        let before = |first: &str, second: &str| {
            assert!(place(&written, first) < place(&written, second), "{first} before {second}: {written:#?}");
        };
        for first in ["serviceaccounts", "configmaps", "secrets", "rolebindings"] {
            before(first, "deployments");
        }
        for (first, second) in [("roles", "rolebindings"), ("services", "ingresses"), ("deployments", "poddisruptionbudgets")] {
            before(first, second);
        }
        let first = versions(cluster, &app.namespace);
        proxy.forget();
        let report = app.run(&sync).exits(0).json();
        assert!(changes(&report).is_empty());
        let asked = proxy.asked();
        let writes: Vec<String> = asked.iter().filter(|asked| asked.method != "GET").map(|a| format!("{} {}", a.method, a.path)).collect();
        assert!(writes.is_empty(), "{writes:#?}");
        assert_eq!(versions(cluster, &app.namespace), first);
        let discovery = asked.iter().filter(|a| ["/api", "/apis"].contains(&a.path.split('?').next().unwrap())).count();
        let lists = asked.iter().filter(|a| a.path.contains("part-of")).count();
        // Nine kinds and the namespaces; besides, its own records, the autoscalers, the namespace, a Service's endpoints.
        assert_eq!((discovery, lists), (2, 10), "{asked:#?}");
        assert!(asked.len() <= discovery + lists + 7, "{asked:#?}");
        seen(format!("9 objects in order; again: 0 writes, {} requests: {discovery} of discovery, {lists} lists", asked.len()));
    }

    /// In the daemon a commit that changes nothing costs no request about the app: only the scope's record and its lease.
    fn case_01_b_the_daemon_asks_nothing_for_what_did_not_change(cluster) {
        let app = Scratch::new(cluster, "quiet");
        let proxy = Proxy::before(cluster);
        app.write("web/all.yaml", EVERYTHING).config_map("other/a.yaml", "other", "1").commit("one");
        let daemon = Running::settled(&app, &format!("--kubeconfig {}", proxy.kubeconfig(&app)));
        let first = app.git("rev-parse HEAD");
        daemon.until("health is said", || app.states_of(&first, "health").contains(&"success".to_owned()));
        let before = versions(cluster, &app.namespace);
        proxy.forget();
        let mut about = Vec::new();
        for i in 0..3 {
            let revision = app.write("README.md", &format!("{i}\n")).commit("unrelated");
            daemon.succeeds(&app, &revision);
            about = proxy.asked().iter().map(super::proxy::Asked::brief).filter(|brief| !brief.contains("/leases")).collect();
        }
        let records = about.iter().filter(|brief| brief.contains("/namespaces/driftless/")).count();
        let apps: Vec<&String> = about.iter().filter(|brief| !brief.contains("/namespaces/driftless/")).collect();
        assert!(apps.is_empty(), "{apps:#?}");
        // The revision seen is kept once per scope: one write for each commit, whatever the number of apps.
        assert!(records <= 2 * 3, "{about:#?}");
        assert_eq!(versions(cluster, &app.namespace), before);
        seen(format!("3 unrelated commits: 0 requests about apps, {records} about the scope's record"));
    }

    /// Only what changed is written: the others keep their resourceVersion.
    fn case_02_only_changed_objects_are_written(cluster) {
        let app = Scratch::new(cluster, "first");
        let ns = app.namespace.clone();
        app.deployment("web/deploy.yaml", "web", "web:1", 2, ", env: [{name: A, value: a}, {name: B, value: b}]");
        app.write("web/service.yaml", SERVICE).config_map("web/a.yaml", "a", "1").config_map("web/b.yaml", "b", "1");
        app.commit("one");
        app.run("plan").exits(2);
        let synced = app.run("sync -o json").exits(0).json();
        assert_eq!(changes(&synced), ["ConfigMap/a: create", "ConfigMap/b: create", "Deployment/web: create", "Service/web: create"]);
        assert_eq!((&synced["apps"][0]["sync"], &synced["apps"][0]["health"]), (&json!("Synced"), &json!("Healthy")));
        assert_eq!(managers(&cluster.object(&ns, "service/web")), ["driftless Apply"]);
        assert_eq!(app.states(), [("pending".into(), None), ("success".into(), Some(0))]);
        let before = versions(cluster, &ns);
        app.deployment("web/deploy.yaml", "web", "web:2", 3, ", env: [{name: A, value: a}]").config_map("web/a.yaml", "a", "2");
        app.write("web/service.yaml", &SERVICE.replace("[{name: http, port: 80}]", "[{name: http, port: 80}, {name: admin, port: 81}]"));
        app.commit("two");
        let plan = app.run("plan -o json").exits(2).json();
        assert_eq!(changes(&plan), ["ConfigMap/a: update", "Deployment/web: scale+rollout", "Service/web: update"]);
        assert_eq!(plan["summary"], json!({"update": 2, "scale": 1, "rollout": 1}));
        app.run("sync").exits(0);
        let after = versions(cluster, &ns);
        assert_eq!(after["ConfigMap/b"], before["ConfigMap/b"]);
        for changed in ["ConfigMap/a", "Service/web", "Deployment/web"] {
            assert_ne!(after[changed].0, before[changed].0, "{changed}");
        }
        let live = cluster.object(&ns, "deployment/web");
        assert_eq!((&live["spec"]["replicas"], &live["status"]["readyReplicas"]), (&json!(3), &json!(3)));
        assert_eq!(cluster.object(&ns, "service/web")["spec"]["ports"].as_array().unwrap().len(), 2);
        app.remove("web/b.yaml").commit("three");
        assert_eq!(changes(&app.run("sync -o json").exits(0).json()), ["ConfigMap/b: prune"]);
        assert!(!cluster.has(&ns, "configmap/b"));
        seen("3 of 4 objects changed: 3 written, the fourth keeps its resourceVersion");
    }

    /// An unknown field, a wrong type, a policy's denial, broken YAML: the app writes nothing, others go on.
    fn case_03_what_is_rejected_changes_nothing(cluster) {
        let app = Scratch::new(cluster, "rejected");
        let ns = app.namespace.clone();
        cluster.kubectl_input("apply", &format!(
            "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata: {{name: {ns}}}\nspec:\n  matchConstraints: {{resourceRules: [{{apiGroups: [''], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [configmaps]}}]}}\n  validations: [{{expression: \"!has(object.data) || !has(object.data.bad)\", message: no bad data}}]\n---\napiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\nmetadata: {{name: {ns}}}\nspec:\n  policyName: {ns}\n  validationActions: [Deny]\n  matchResources: {{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {ns}}}}}}}\n"
        ));
        let denied = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: z, namespace: {ns}}}\ndata: {{bad: x}}\n");
        cluster.eventually("the policy", || !cluster.accepts("apply --dry-run=server -f -", &denied));
        app.config_map("bad/a.yaml", "beside", "1");
        let head = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: first\n---\n";
        let bad = [
            ("an unknown field", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: z\n  nonsense: 1\n".to_owned(), "nonsense"),
            ("a wrong type", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: z}\nspec: {replicas: many, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: 'a:1'}]}}}\n".to_owned(), "replicas"),
            ("a value out of range", "apiVersion: v1\nkind: Service\nmetadata: {name: z}\nspec: {ports: [{port: 99999}]}\n".to_owned(), "65535"),
            ("a denial", denied.clone(), "no bad data"),
        ];
        for (round, (what, yaml, words)) in bad.iter().enumerate() {
            app.config_map("good/a.yaml", "good", &round.to_string()).write("bad/z.yaml", &format!("{head}{yaml}")).commit("bad");
            app.run("plan").exits(1);
            let report = app.run("sync -o json").exits(1).json();
            let error = &of_app(&report, "bad")["error"];
            assert_eq!((&error["file"], &error["line"], &error["object"]["name"]), (&json!("bad/z.yaml"), &json!(6), &json!("z")), "{what}: {error}");
            assert!(text(&error["message"]).contains(words), "{what}: {error}");
            assert_eq!(cluster.object(&ns, "configmap/good")["data"]["v"], round.to_string(), "{what}: the other app goes on");
            assert!(!cluster.has(&ns, "configmap/beside") && !cluster.has(&ns, "configmap/first"), "{what}");
        }
        app.write("bad/z.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: [\n").commit("no YAML");
        app.run("sync").exits(1).says("bad/z.yaml:4");
        assert!(!cluster.has(&ns, "configmap/beside"));
        app.remove("bad/z.yaml").commit("without it");
        app.run("sync").exits(0);
        assert!(cluster.has(&ns, "configmap/beside"));
        cluster.kubectl(&format!("delete validatingadmissionpolicybinding/{ns} validatingadmissionpolicy/{ns}"));
        seen("unknown field, wrong type, bad value, admission denial, bad YAML: named by bad/z.yaml:6 and object, nothing written, the other app synced");
    }

    /// A definition and its resource in one commit, from nothing; an invalid resource of one that is there.
    fn case_04_a_a_definition_and_its_resource(cluster) {
        let app = Scratch::new(cluster, "crd");
        let ns = app.namespace.clone();
        let group = format!("{ns}.example.org");
        let widget = |name: &str, size: u32| format!("apiVersion: {group}/v1\nkind: Widget\nmetadata: {{name: {name}}}\nspec: {{size: {size}}}\n");
        app.write("a/crd.yaml", &definition(&group, "widgets", "size: {type: integer, maximum: 3}")).write("a/widget.yaml", &widget("w", 2));
        app.commit("one");
        let plan = app.run("plan -o json").exits(2).json();
        let waits = |plan: &Value, name: &str| {
            let found = of_app(plan, "a")["changes"].as_array().unwrap().iter().find(|c| c["object"]["name"] == name).unwrap();
            found["waits_for"].as_array().unwrap().iter().map(|o| text(&o["kind"]).to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(waits(&plan, "w"), ["CustomResourceDefinition"]);
        app.run("sync").exits(0);
        assert_eq!(cluster.object(&ns, &format!("widgets.{group}/w"))["spec"]["size"], 2);
        app.run("plan").exits(0);
        // The definition is there: nothing is waited for.
        app.write("a/second.yaml", &widget("second", 1)).commit("two");
        assert!(waits(&app.run("plan -o json").exits(2).json(), "second").is_empty());
        app.run("sync").exits(0);
        app.write("a/widget.yaml", &widget("w", 9)).config_map("a/b.yaml", "b", "1").commit("three");
        app.run("sync").exits(1).says("size");
        assert!(!cluster.has(&ns, "configmap/b"));
        seen("CRD and resource: one sync; CRD there: waits for nothing; invalid resource: nothing written");
    }

    /// A field that a CRD gains, and a resource that uses it, in one commit: one sync.
    fn case_04_b_a_definition_that_changes_with_its_resource(cluster) {
        let app = Scratch::new(cluster, "newfield");
        let ns = app.namespace.clone();
        let group = format!("{ns}.example.org");
        let resource = |fields: &str| format!("apiVersion: {group}/v1\nkind: Thing\nmetadata: {{name: t}}\nspec: {{{fields}}}\n");
        app.write("a/crd.yaml", &definition(&group, "things", "a: {type: string}")).write("a/t.yaml", &resource("a: x")).commit("one");
        app.run("sync").exits(0);
        app.write("a/crd.yaml", &definition(&group, "things", "a: {type: string}, b: {type: string}")).write("a/t.yaml", &resource("a: x, b: two"));
        app.commit("two");
        app.run("sync").exits(0);
        assert_eq!(cluster.object(&ns, &format!("things.{group}/t"))["spec"]["b"], "two");
        app.run("plan").exits(0);
        seen("new field and its use: one sync");
    }

    /// A definition too large for the `last-applied` annotation of client-side apply (256 KiB).
    fn case_04_c_a_large_definition(cluster) {
        let app = Scratch::new(cluster, "large");
        let ns = app.namespace.clone();
        let group = format!("{ns}.example.org");
        let words = "what this field is for, at some length, as generated definitions say it ".repeat(3);
        let fields: Vec<String> = (0..1500).map(|i| format!("f{i}: {{type: string, description: \"{words}\"}}")).collect();
        let crd = definition(&group, "giants", &fields.join(", "));
        assert!(crd.len() > 256 * 1024);
        app.write("a/crd.yaml", &crd).write("a/g.yaml", &format!("apiVersion: {group}/v1\nkind: Giant\nmetadata: {{name: g}}\nspec: {{f7: x}}\n")).commit("one");
        app.run("sync").exits(0);
        assert_eq!(cluster.object(&ns, &format!("giants.{group}/g"))["spec"]["f7"], "x");
        app.run("plan").exits(0);
        seen(format!("a CRD of {} KiB and its resource: one sync", crd.len() / 1024));
    }

    /// A missing namespace is an error with a way out, or created where the app says so; one in the commit comes first.
    fn case_05_namespaces(cluster) {
        let app = Scratch::new(cluster, "spaces");
        let (made, own) = (format!("{}-made", app.namespace), format!("{}-own", app.namespace));
        app.config_map("x/a.yaml", "a", "1");
        let config = |create: bool| {
            format!("[[repository]]\nname = \"r\"\nurl = \".\"\n\n[[app]]\npath = \"x\"\nname = \"x\"\nrepository = \"r\"\nnamespace = \"{made}\"\ncreate_namespace = {create}\n")
        };
        app.write("driftless.toml", &config(false)).commit("one");
        app.run("sync").exits(1).says("does not exist").says("create_namespace");
        app.write("driftless.toml", &config(true)).commit("two");
        app.run("sync").exits(0);
        assert!(cluster.has(&made, "configmap/a"));
        assert!(app.run("plan").exits(0).out.contains("Nothing to do"));
        app.write("x/own.yaml", &format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: in-own, namespace: {own}}}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {own}}}\n"));
        app.commit("three");
        app.run("sync").exits(0);
        assert!(cluster.has(&own, "configmap/in-own"));
        cluster.kubectl(&format!("delete namespace {own} {made} --wait=false"));
        seen("missing: an error that names create_namespace; with it: created; in the commit: one sync");
    }

    /// What kubectl applied, client side and server side: adopted, its managers removed, what Git does not have dropped.
    fn case_06_adoption(cluster) {
        let app = Scratch::new(cluster, "adopted");
        let ns = app.namespace.clone();
        let env = ", env: [{name: A, value: a}, {name: GONE, value: b}]";
        app.deployment("a/web.yaml", "web", "web:1", 1, env).write("a/service.yaml", SERVICE);
        let file = |name: &str| std::fs::read_to_string(app.path().join(name)).unwrap();
        let more = file("a/web.yaml").replace("{name: web}", "{name: web, annotations: {team: a}}").replace("replicas:", "revisionHistoryLimit: 3\n  replicas:");
        cluster.kubectl_input(&format!("-n {ns} apply"), &more);
        cluster.kubectl_input(&format!("-n {ns} apply --server-side"), &SERVICE.replace("port: 80}", "port: 80}, {name: old, port: 81}"));
        cluster.kubectl(&format!("-n {ns} rollout status deployment/web --timeout=60s"));
        let before = pods(cluster, &ns);
        app.commit("one");
        let plan = app.run("plan -o json").exits(2).json();
        assert_eq!(changes(&plan), ["Deployment/web: adopt+update", "Service/web: adopt+update"]);
        app.run("sync").exits(0);
        for object in ["deployment/web", "service/web"] {
            let live = cluster.object(&ns, object);
            assert_eq!(managers(&live), ["driftless Apply"], "{object}");
            assert!(live["metadata"]["annotations"].get("kubectl.kubernetes.io/last-applied-configuration").is_none());
        }
        let live = cluster.object(&ns, "deployment/web");
        assert!(live["metadata"]["annotations"].get("team").is_none(), "{live:#}");
        assert_eq!(live["spec"]["revisionHistoryLimit"], 10);
        assert_eq!(cluster.object(&ns, "service/web")["spec"]["ports"].as_array().unwrap().len(), 1);
        assert_eq!(pods(cluster, &ns), before, "no pod restarts");
        app.run("plan").exits(0);
        app.deployment("a/web.yaml", "web", "web:1", 1, ", env: [{name: A, value: a}]").commit("two");
        app.run("sync").exits(0);
        let env = &cluster.object(&ns, "deployment/web")["spec"]["template"]["spec"]["containers"][0]["env"];
        assert_eq!(env, &json!([{"name": "A", "value": "a"}]));
        seen("client-side and server-side: one manager left, annotation, port and limit dropped, 0 pods restarted");
    }
}
