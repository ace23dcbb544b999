//! Cases 7 to 12: fields that cannot change, fields that go, fields that look different and are not, and fields of others.

use super::facts::{change, changes, pods, text, uid, versions};
use super::proxy::{Fate, Proxy};
use super::table::seen;
use crate::feature::cluster::Cluster;
use crate::feature::running::Running;
use crate::feature::scratch::Scratch;
use crate::on_every_cluster;
use serde_json::{Value, json};

/// An object with an annotation that allows to replace it, or with another one.
fn fixed(kind: &str, replace: bool) -> String {
    let note = if replace { "driftless.dev/replace: allowed" } else { "note: none" };
    format!("{kind}\nmetadata: {{name: x, annotations: {{{note}}}}}\n")
}

/// Objects with a field that cannot change, before and after: file, resource, text before, text after.
fn immutable(replace: bool) -> [(&'static str, &'static str, String, String); 5] {
    let two = |name, resource, kind: &str, from: &str, to: &str| {
        let head = fixed(kind, replace);
        (name, resource, format!("{head}{from}\n"), format!("{head}{to}\n"))
    };
    let deployment = |label: &str| {
        format!(
            "spec: {{selector: {{matchLabels: {{app: {label}}}}}, template: {{metadata: {{labels: {{app: {label}}}}}, spec: {{containers: [{{name: a, image: 'a:1'}}]}}}}}}"
        )
    };
    let job = |image: &str| {
        format!("spec: {{template: {{spec: {{restartPolicy: Never, containers: [{{name: a, image: '{image}'}}]}}}}}}")
    };
    let set = |size: &str| {
        format!(
            "spec: {{serviceName: x, replicas: 0, selector: {{matchLabels: {{app: s}}}}, template: {{metadata: {{labels: {{app: s}}}}, spec: {{containers: [{{name: a, image: 'a:1'}}]}}}}, volumeClaimTemplates: [{{metadata: {{name: d}}, spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: {size}}}}}}}}}]}}"
        )
    };
    [
        two(
            "a/deployment.yaml",
            "deployment/x",
            "apiVersion: apps/v1\nkind: Deployment",
            &deployment("one"),
            &deployment("two"),
        ),
        two(
            "a/service.yaml",
            "service/x",
            "apiVersion: v1\nkind: Service",
            "spec: {selector: {app: one}, ports: [{port: 80}]}",
            "spec: {clusterIP: None, selector: {app: two}, ports: [{port: 80}]}",
        ),
        two("a/job.yaml", "job/x", "apiVersion: batch/v1\nkind: Job", &job("a:1"), &job("a:2")),
        two(
            "a/config.yaml",
            "configmap/x",
            "apiVersion: v1\nkind: ConfigMap",
            "immutable: true\ndata: {a: one}",
            "immutable: true\ndata: {a: two}",
        ),
        two("a/set.yaml", "statefulset/x", "apiVersion: apps/v1\nkind: StatefulSet", &set("1Gi"), &set("2Gi")),
    ]
}

fn hpa(min: u32) -> String {
    format!(
        "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {{name: web}}\nspec: {{scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: web}}, minReplicas: {min}, maxReplicas: 6}}\n"
    )
}

/// A Deployment `web` with this number, or with none.
fn web(app: &Scratch, replicas: Option<u32>) {
    app.deployment("a/web.yaml", "web", "web:1", replicas.unwrap_or(77), "");
    if replicas.is_none() {
        app.replace("a/web.yaml", "  replicas: 77\n", "");
    }
}

fn replicas(cluster: &Cluster, namespace: &str) -> Value {
    cluster.object(namespace, "deployment/web")["spec"]["replicas"].clone()
}

/// The number is somebody else's: nothing is planned, nothing is written, nothing jumps.
fn left_alone(cluster: &Cluster, app: &Scratch, number: u32) {
    app.run("plan").exits(0);
    let before = versions(cluster, &app.namespace);
    assert!(changes(&app.run("sync --no-wait -o json").exits(0).json()).is_empty());
    assert_eq!(versions(cluster, &app.namespace), before);
    assert_eq!(replicas(cluster, &app.namespace), number);
}

on_every_cluster! {
    /// A field that cannot change: an error that names it, and the live object as it was.
    fn case_07_a_an_immutable_field_is_an_error(cluster) {
        let app = Scratch::new(cluster, "immutable");
        let ns = app.namespace.clone();
        let objects = immutable(false);
        for (file, _, before, _) in &objects {
            app.write(file, before);
        }
        app.config_map("a/beside.yaml", "beside", "0").commit("one");
        app.run("sync").exits(0);
        for (round, (file, object, before, after)) in objects.iter().enumerate() {
            let live = cluster.object(&ns, object)["spec"].clone();
            let old = uid(cluster, &ns, object);
            app.write(file, after).config_map("a/beside.yaml", "beside", &(round + 1).to_string()).commit("changed");
            let report = app.run("sync -o json").exits(1).json();
            let error = &report["apps"][0]["error"];
            assert_eq!((text(&error["reason"]), text(&error["file"])), ("ImmutableField", *file), "{object}: {error}");
            assert!(text(&error["hint"]).contains("driftless.dev/replace"), "{error}");
            assert_eq!((uid(cluster, &ns, object), &cluster.object(&ns, object)["spec"]), (old, &live), "{object}");
            assert_eq!(cluster.object(&ns, "configmap/beside")["data"]["v"], "0", "nothing of the app is written");
            app.write(file, before);
        }
        seen("selector, clusterIP, Job template, immutable ConfigMap, volumeClaimTemplates: ImmutableField by file, live objects untouched");
    }

    /// Where it is allowed, the object is replaced: everything new, and finalizers of the old one are waited for.
    fn case_07_b_what_may_be_replaced_is(cluster) {
        let app = Scratch::new(cluster, "replaced");
        let ns = app.namespace.clone();
        let objects = immutable(true);
        for (file, _, before, _) in &objects {
            app.write(file, before);
        }
        app.commit("one");
        app.run("sync").exits(0);
        let old: Vec<String> = objects.iter().map(|(_, object, ..)| uid(cluster, &ns, object)).collect();
        cluster.kubectl(&format!("-n {ns} patch configmap x --type=json -p [{{\"op\":\"add\",\"path\":\"/metadata/finalizers\",\"value\":[\"example.org/wait\"]}}]"));
        for (file, _, _, after) in &objects {
            app.write(file, after);
        }
        app.commit("two");
        let plan = app.run("plan -o json").exits(2).json();
        assert_eq!(plan["summary"], json!({"replace": 5}), "{plan:#}");
        let mut child = app.start("sync --timeout 60s");
        cluster.eventually("the ConfigMap is being deleted", || cluster.object(&ns, "configmap/x")["metadata"].get("deletionTimestamp").is_some());
        assert_eq!(uid(cluster, &ns, "configmap/x"), old[3]);
        assert!(matches!(child.try_wait(), Ok(None)), "the finalizer is waited for");
        cluster.kubectl(&format!("-n {ns} patch configmap x --type=json -p [{{\"op\":\"remove\",\"path\":\"/metadata/finalizers\"}}]"));
        Scratch::ended(child).exits(0);
        for ((_, object, ..), old) in objects.iter().zip(&old) {
            assert_ne!(&uid(cluster, &ns, object), old, "{object}");
        }
        assert_eq!(cluster.object(&ns, "configmap/x")["data"]["a"], "two");
        app.run("plan").exits(0);
        seen("5 objects replaced, a finalizer waited for");
    }

    /// A replacement that would not be accepted leaves the old object alive.
    fn case_07_c_an_invalid_replacement_leaves_the_old_object(cluster) {
        let app = Scratch::new(cluster, "unreplaced");
        let ns = app.namespace.clone();
        let objects = immutable(true);
        let (file, object, before, after) = &objects[2];
        app.write(file, before).commit("one");
        app.run("sync").exits(0);
        let old = uid(cluster, &ns, object);
        app.write(file, &after.replace("restartPolicy: Never", "restartPolicy: Always")).commit("two");
        app.run("sync").exits(1).says("restartPolicy");
        assert_eq!(uid(cluster, &ns, object), old);
        assert!(cluster.object(&ns, object)["metadata"].get("deletionTimestamp").is_none());
        seen("restartPolicy: Always is refused for a Job; the old one lives, same uid");
    }

    /// A removed field disappears; one that cannot be removed is an error.
    fn case_08_a_removed_field_disappears(cluster) {
        let app = Scratch::new(cluster, "removed");
        let ns = app.namespace.clone();
        let deployment = |meta: &str, containers: &str, volumes: &str| format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web{meta}}}\nspec:\n  selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    spec: {{{volumes}containers: [{containers}]}}\n"
        );
        let full = "{name: main, image: 'web:1', env: [{name: A, value: a}, {name: B, value: b}], ports: [{containerPort: 80}, {containerPort: 81}], command: [a, b], args: [c]}, {name: side, image: 'side:1'}";
        app.write("a/web.yaml", &deployment(", labels: {one: a, two: b}, annotations: {a: b}", full, "volumes: [{name: v, emptyDir: {}}], "));
        app.write("a/c.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: b}\nimmutable: true\n");
        app.write("a/s.yaml", "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: s}\nspec: {serviceName: s, podManagementPolicy: Parallel, replicas: 0, selector: {matchLabels: {app: s}}, template: {metadata: {labels: {app: s}}, spec: {containers: [{name: a, image: 'a:1'}]}}}\n");
        app.commit("one");
        app.run("sync").exits(0);
        let lean = "{name: main, image: 'web:1', env: [{name: A, value: a}], args: [c]}";
        app.write("a/web.yaml", &deployment(", labels: {one: a}", lean, "")).commit("two");
        app.run("sync").exits(0);
        let live = cluster.object(&ns, "deployment/web");
        let pod = &live["spec"]["template"]["spec"];
        let main = &pod["containers"][0];
        assert_eq!(pod["containers"].as_array().unwrap().len(), 1, "a container");
        assert_eq!(main["env"], json!([{"name": "A", "value": "a"}]), "an item of a list");
        assert_eq!(main["args"], json!(["c"]));
        for (of, field) in [(main, "ports"), (main, "command"), (pod, "volumes")] {
            assert!(of.get(field).is_none(), "a whole list: {field} in {of}");
        }
        assert_eq!((&live["metadata"]["labels"]["one"], live["metadata"]["labels"].get("two")), (&json!("a"), None));
        assert!(live["metadata"]["annotations"].get("a").is_none());
        app.run("plan").exits(0);

        for (file, line, object, path) in [
            ("a/c.yaml", "immutable: true\n", "configmap/c", "/immutable"),
            ("a/s.yaml", "podManagementPolicy: Parallel, ", "statefulset/s", "/spec/podManagementPolicy"),
        ] {
            let before = std::fs::read_to_string(app.path().join(file)).unwrap();
            let live = cluster.object(&ns, object).pointer(path).cloned();
            app.replace(file, line, "").commit("without it");
            let report = app.run("sync -o json").exits(1).json();
            assert_eq!(text(&report["apps"][0]["error"]["reason"]), "ImmutableField", "{report:#}");
            assert_eq!(cluster.object(&ns, object).pointer(path).cloned(), live, "{object}");
            assert!(live.is_some());
            app.write(file, &before);
        }
        seen("env, ports, volumes, command, container, label, annotation gone; immutable, podManagementPolicy: ImmutableField");
    }

    /// What the server writes differently than Git is no difference.
    fn case_09_no_perpetual_difference(cluster) {
        let app = Scratch::new(cluster, "equal");
        let ns = app.namespace.clone();
        app.write("a/all.yaml", r#"apiVersion: v1
kind: Secret
metadata: {name: s}
stringData: {a: "1"}
data: {b: Mg==}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c, labels: {}, annotations: null, creationTimestamp: null}
data: {x: "1", empty: ""}
binaryData: {}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports:
  - {name: dns-tcp, port: 53, targetPort: dns, protocol: TCP}
  - {name: dns-udp, port: 53, targetPort: 5353, protocol: UDP}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  strategy: {rollingUpdate: {maxSurge: "25%", maxUnavailable: 0}}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}, annotations: {}}
    spec:
      nodeSelector: {}
      volumes: []
      initContainers: null
      containers:
      - name: main
        image: web:1
        command: []
        env: []
        resources: {requests: {cpu: 1000m, memory: 1024Mi}, limits: {cpu: "1", memory: 1Gi}}
        ports: [{containerPort: 53, protocol: TCP}, {containerPort: 53, protocol: UDP}]
        securityContext: {}
        readinessProbe: null
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: p}
spec: {minAvailable: "50%", selector: {matchLabels: {app: web}}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: net}
spec: {podSelector: {}, ingress: [], policyTypes: [Ingress]}
"#).commit("one");
        app.run("sync").exits(0);
        let before = versions(cluster, &ns);
        app.run("plan").exits(0);
        assert!(changes(&app.run("sync -o json").exits(0).json()).is_empty());
        assert_eq!(versions(cluster, &ns), before);
        assert_eq!(cluster.object(&ns, "secret/s")["data"], json!({"a": "MQ==", "b": "Mg=="}));
        // The same content written in another way is no change either.
        app.replace("a/all.yaml", "cpu: 1000m, memory: 1024Mi", "cpu: 1, memory: 1Gi").replace("a/all.yaml", "data: {b: Mg==}", "data: {b: \"Mg==\"}");
        app.commit("written differently");
        let plan = app.run("plan -o json").json();
        assert!(changes(&plan).is_empty(), "{plan:#}");
        seen("stringData, quantities, int-or-string, TCP and UDP on one port, null, empty lists and maps: plan finds nothing");
    }

    /// An autoscaler owns the number: arriving, live, and until it goes.
    fn case_10_a_an_autoscaler_owns_the_number(cluster) {
        let app = Scratch::new(cluster, "scaled");
        let ns = app.namespace.clone();
        web(&app, Some(2));
        app.commit("one");
        app.run("sync").exits(0);
        // Git has a number, the live one differs, and the autoscaler arrives: no jump.
        cluster.kubectl(&format!("-n {ns} scale deployment/web --replicas=4"));
        app.write("a/hpa.yaml", &hpa(2)).commit("an autoscaler arrives");
        let plan = app.run("plan -o json").exits(2).json();
        assert_eq!(changes(&plan), ["HorizontalPodAutoscaler/web: create"]);
        app.run("sync").exits(0);
        left_alone(cluster, &app, 4);
        // It scales.
        cluster.kubectl(&format!("-n {ns} scale deployment/web --replicas=5"));
        cluster.kubectl(&format!("-n {ns} rollout status deployment/web --timeout=60s"));
        left_alone(cluster, &app, 5);
        let running = pods(cluster, &ns);
        // Git drops the number, and has it again: nothing moves.
        for number in [None, Some(3)] {
            web(&app, number);
            app.commit("the number in Git");
            app.run("sync").exits(0);
            left_alone(cluster, &app, 5);
            assert_eq!(pods(cluster, &ns), running);
        }
        // It goes: its prune comes first, then the number in Git counts.
        let proxy = Proxy::before(cluster);
        app.remove("a/hpa.yaml").commit("no autoscaler");
        app.run(&format!("sync --kubeconfig {}", proxy.kubeconfig(&app))).exits(0);
        assert_eq!(replicas(cluster, &ns), 3);
        let written = proxy.written();
        let at = |what: &str| written.iter().position(|line| line.contains(what)).unwrap_or_else(|| panic!("{what}: {written:#?}"));
        assert!(at("/horizontalpodautoscalers/web") < at("/deployments/web"), "{written:#?}");
        seen("arrives at 4 while Git says 2: stays 4; scaled to 5: no diff; goes: pruned first, then 3");
    }

    /// The same for KEDA, which scales by a ScaledObject.
    fn case_10_b_keda_owns_the_number(cluster) {
        let app = Scratch::new(cluster, "keda");
        let ns = app.namespace.clone();
        cluster.kubectl_input("apply --server-side", "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: scaledobjects.keda.sh}\nspec:\n  group: keda.sh\n  scope: Namespaced\n  names: {plural: scaledobjects, singular: scaledobject, kind: ScaledObject}\n  versions: [{name: v1alpha1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]\n");
        cluster.kubectl("wait --for=condition=Established crd/scaledobjects.keda.sh --timeout=60s");
        web(&app, Some(2));
        app.commit("one");
        app.run("sync").exits(0);
        cluster.kubectl(&format!("-n {ns} scale deployment/web --replicas=4"));
        app.write("a/keda.yaml", "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: web}\nspec: {scaleTargetRef: {name: web}, maxReplicaCount: 6}\n");
        app.commit("two");
        assert_eq!(changes(&app.run("plan -o json").exits(2).json()), ["ScaledObject/web: create"]);
        // Nobody runs KEDA here: its object never says that it is ready.
        app.run("sync --no-wait").exits(0);
        left_alone(cluster, &app, 4);
        app.remove("a/keda.yaml").commit("three");
        app.run("sync").exits(0);
        assert_eq!(replicas(cluster, &ns), 2);
        seen("a ScaledObject arrives at 4 while Git says 2: stays 4; goes: 2");
    }

    /// What others add is theirs: labels, annotations, sidecars.
    fn case_11_a_additions_of_others_are_not_drift(cluster) {
        let app = Scratch::new(cluster, "added");
        let ns = app.namespace.clone();
        app.deployment("a/web.yaml", "web", "web:1", 1, "").write("a/s.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}, ports: [{name: http, port: 80}]}\n");
        app.commit("one");
        app.run("sync").exits(0);
        let mesh = r#"{"metadata":{"labels":{"mesh":"on"},"annotations":{"mesh.example.org/at":"now"}},"spec":{"minReadySeconds":1,"template":{"metadata":{"annotations":{"mesh.example.org/injected":"true"}},"spec":{"containers":[{"name":"proxy","image":"proxy:1"}]}}}}"#;
        cluster.kubectl(&format!("-n {ns} patch deployment web --field-manager=mesh -p {mesh}"));
        cluster.kubectl(&format!("-n {ns} patch service web --field-manager=mesh -p {{\"metadata\":{{\"labels\":{{\"mesh\":\"on\"}}}},\"spec\":{{\"sessionAffinity\":\"ClientIP\"}}}}"));
        cluster.kubectl(&format!("-n {ns} rollout status deployment/web --timeout=60s"));
        app.run("plan").exits(0);
        let before = versions(cluster, &ns);
        assert!(changes(&app.run("sync -o json").exits(0).json()).is_empty());
        assert_eq!(versions(cluster, &ns), before);
        // A change of ours leaves theirs.
        app.deployment("a/web.yaml", "web", "web:2", 1, "").commit("two");
        app.run("sync").exits(0);
        let live = cluster.object(&ns, "deployment/web");
        let names: Vec<&str> = live["spec"]["template"]["spec"]["containers"].as_array().unwrap().iter().map(|c| text(&c["name"])).collect();
        assert!(names.contains(&"proxy") && names.contains(&"main"), "{names:?}");
        assert_eq!((&live["metadata"]["labels"]["mesh"], &live["spec"]["minReadySeconds"]), (&json!("on"), &json!(1)));
        seen("sidecar, label, annotation, default of another manager: no diff, kept through a rollout");
    }

    /// A value of ours that admission rewrites is judged by what the server answered, not by the YAML. The real server
    /// carries out a mutating policy; before the embedded one, which has none, something rewrites the requests.
    fn case_11_b_a_rewritten_value_is_not_drift(cluster) {
        let app = Scratch::new(cluster, "mutated");
        let ns = app.namespace.clone();
        let proxy = Proxy::before(cluster);
        let with = format!("--kubeconfig {}", proxy.kubeconfig(&app));
        if cluster.plane.is_some() {
            cluster.kubectl_input("apply", &format!(
                "apiVersion: admissionregistration.k8s.io/v1\nkind: MutatingAdmissionPolicy\nmetadata: {{name: {ns}}}\nspec:\n  failurePolicy: Fail\n  reinvocationPolicy: Never\n  matchConstraints: {{resourceRules: [{{apiGroups: [''], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [configmaps]}}]}}\n  matchConditions: [{{name: ours, expression: \"object.metadata.name == 'c'\"}}]\n  mutations: [{{patchType: JSONPatch, jsonPatch: {{expression: \"[JSONPatch{{op: 'replace', path: '/data/v', value: 'rewritten'}}]\"}}}}]\n---\napiVersion: admissionregistration.k8s.io/v1\nkind: MutatingAdmissionPolicyBinding\nmetadata: {{name: {ns}}}\nspec:\n  policyName: {ns}\n  matchResources: {{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {ns}}}}}}}\n"
            ));
            let probe = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c, namespace: {ns}}}\ndata: {{v: probe}}\n");
            cluster.eventually("the policy", || cluster.kubectl_input("create --dry-run=server -o yaml", &probe).contains("rewritten"));
        } else {
            proxy.rule(|asked| {
                (asked.method != "GET" && asked.body["kind"] == "ConfigMap" && asked.body["metadata"]["name"] == "c").then(|| {
                    let mut body = asked.body.clone();
                    body["data"]["v"] = json!("rewritten");
                    Fate::Rewrite(body)
                })
            });
        }
        app.config_map("a/c.yaml", "c", "written").commit("one");
        app.run(&format!("sync {with}")).exits(0);
        assert_eq!(cluster.object(&ns, "configmap/c")["data"]["v"], "rewritten");
        let before = versions(cluster, &ns);
        app.run(&format!("plan {with}")).exits(0);
        assert!(changes(&app.run(&format!("sync -o json {with}")).exits(0).json()).is_empty());
        assert_eq!(versions(cluster, &ns), before);
        app.config_map("a/c.yaml", "c", "written anew").config_map("a/d.yaml", "d", "x").commit("two");
        app.run(&format!("sync {with}")).exits(0);
        app.run(&format!("plan {with}")).exits(0);
        seen("our value rewritten by admission: no diff, no write");
    }

    /// Another manager that took a field is named when it is taken back.
    fn case_12_a_a_field_is_taken_over_and_reported(cluster) {
        let app = Scratch::new(cluster, "taken");
        let ns = app.namespace.clone();
        app.config_map("a/c.yaml", "c", "git").commit("one");
        app.run("sync").exits(0);
        let theirs = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c, namespace: {ns}}}\ndata: {{v: theirs}}\n");
        cluster.kubectl_input("apply --server-side --force-conflicts --field-manager=rival", &theirs);
        let report = app.run("sync -o json").exits(0).json();
        let found = &report["apps"][0]["changes"][0];
        assert_eq!(change(found), "ConfigMap/c: update");
        assert!(text(&found["why"]).contains("rival"), "{found}");
        let live = cluster.object(&ns, "configmap/c");
        assert_eq!(live["data"]["v"], "git");
        assert!(changes(&app.run("sync -o json").exits(0).json()).is_empty(), "once");
        seen(format!("taken over once: {:?}", text(&found["why"])));
    }

    /// A field that is taken back again and again: the fight is named, and slowed.
    fn case_12_b_a_fight_is_named_and_slowed(cluster) {
        let app = Scratch::new(cluster, "fight");
        let ns = app.namespace.clone();
        app.config_map("a/c.yaml", "c", "git").commit("one");
        let daemon = Running::settled(&app, "");
        let head = app.git("rev-parse HEAD");
        let value = || text(&cluster.object(&ns, "configmap/c")["data"]["v"]).to_owned();
        let mut rounds = 0;
        let slowed = || app.said(&head, "drift").into_iter().rev().find(|said| said.contains("slowed down"));
        while slowed().is_none() {
            rounds += 1;
            assert!(rounds < 10, "no fight after {rounds} rounds: {:#?}", app.said(&head, "drift"));
            cluster.kubectl(&format!("-n {ns} patch configmap c --field-manager=rival -p {{\"data\":{{\"v\":\"theirs-{rounds}\"}}}}"));
            daemon.until("it is repaired", || value() == "git");
            daemon.until("and said", || app.said(&head, "drift").iter().filter(|said| said.starts_with("success")).count() >= rounds || slowed().is_some());
        }
        let said = slowed().unwrap();
        assert!(said.contains("rival keeps changing it back"), "{said}");
        // Now it is left alone for a while: the next change stands, and is said.
        cluster.kubectl(&format!("-n {ns} patch configmap c --field-manager=rival -p {{\"data\":{{\"v\":\"theirs-still\"}}}}"));
        daemon.until("the change is said", || app.said(&head, "drift").last().is_some_and(|said| said.starts_with("failure")));
        assert_eq!(value(), "theirs-still", "the repair waits");
        daemon.until("it is repaired after all", || value() == "git");
        seen(format!("named after {rounds} rounds: {:?}", said.split(';').next().unwrap_or_default()));
    }
}
