//! The planner against the real API server: what a plan says is what its steps do, and nothing is left to do after them.
//! The steps are carried out here in the simplest way, without waiting for health.

use crate::support::control_plane::{self, ControlPlane};
use driftless::inventory::{Identity, Parent};
use driftless::live::client::{Call, Client, Target};
use driftless::live::discovery::discover;
use driftless::live::kinds::Kinds;
use driftless::live::observe::get;
use driftless::live::snapshot::{LiveSnapshot, Presence};
use driftless::object::{Desired, DryRun, Live, Manifest, ObjectKey, Problem, Source};
use driftless::plan::change::Action;
use driftless::plan::{
    Answers, PlanInput, PlanOptions, Planned, StepKind, Verb, migrate_managed_fields, owned_digest, plan, questions,
};
use http::Method;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

struct App {
    client: Client,
    kinds: Kinds,
    parent: Parent,
    desired: Vec<Desired>,
    options: PlanOptions,
    asked: usize,
    runtime: tokio::runtime::Runtime,
}

impl App {
    fn new(cluster: &ControlPlane) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let target = Target::Kubeconfig { file: Some(cluster.kubeconfig_path()), context: None };
        let client = runtime.block_on(Client::connect("dev", &target)).unwrap();
        let kinds = runtime.block_on(discover(&client)).unwrap();
        let text = String::new;
        let identity = Identity { instance: text(), repository: text(), path_root: text(), app: "web".into() };
        let parent = Parent::new(identity, "default");
        Self { client, kinds, parent, desired: Vec::new(), options: PlanOptions::default(), asked: 0, runtime }
    }

    fn git(&mut self, objects: &[Value]) {
        let source = Source { file: "a.yaml".into(), line: 1 };
        self.desired = objects.iter().map(|o| Desired { object: o.clone(), source: source.clone() }).collect();
    }

    fn read(&self, key: &ObjectKey, version: &str) -> Presence {
        let Some(kind) = self.kinds.get(&key.gk()) else { return Presence::Absent };
        let version = kind.version_or_preferred(version);
        match self.runtime.block_on(get(&self.client, kind, version, key)) {
            Ok(Some(live)) => Presence::Present(Arc::new(live)),
            Ok(None) => Presence::Absent,
            Err(error) => panic!("{error}"),
        }
    }

    fn live(&self, object: &Value) -> Value {
        let live = Live(object.clone());
        match self.read(&live.key(), &live.gvk().version) {
            Presence::Present(live) => live.0.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn snapshot(&self) -> LiveSnapshot {
        let mut out = LiveSnapshot::default();
        for desired in &self.desired {
            out.objects.insert(desired.key(), self.read(&desired.key(), &desired.gvk().version));
            if let Some(namespace) = desired.namespace() {
                let key = driftless::plan::analysis::namespace_key(namespace);
                out.objects.insert(key.clone(), self.read(&key, "v1"));
            }
        }
        for member in &self.parent.members {
            let key = member.object.key();
            let presence = self.read(&key, &member.object.version);
            out.objects.entry(key).or_insert(presence);
        }
        out
    }

    fn send(&self, method: Method, object: &Value, query: &[(&'static str, &str)]) -> Result<Value, Problem> {
        let live = Live(object.clone());
        let kind = self.kinds.get(&live.gvk().gk()).unwrap();
        let version = live.gvk().version;
        let path = match method {
            Method::POST => kind.collection_path(&version, live.namespace()),
            _ => kind.object_path(&version, live.namespace(), live.name()),
        };
        let mut call = Call::get(path);
        if method == Method::PATCH {
            call.content_type = "application/apply-patch+yaml";
        }
        call.method = method;
        call.body = Some(object.clone());
        let call = query.iter().fold(call, |call, (name, value)| call.with(name, *value));
        self.runtime.block_on(self.client.send(&call)).map(|answer| answer.body).map_err(Problem::from)
    }

    fn plan(&mut self) -> Planned {
        let snapshot = self.snapshot();
        let (others, siblings, foreign) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut answers = Answers::new();
        self.asked = 0;
        loop {
            let input = self.input(&snapshot, &answers, &others, &siblings, &foreign);
            let asked = questions(&input);
            if asked.is_empty() {
                return plan(&input);
            }
            let mut more = Answers::new();
            for question in asked {
                self.asked += 1;
                let common = [("dryRun", "All"), ("fieldManager", "driftless"), ("fieldValidation", "Strict")];
                let forced = [common[0], common[1], common[2], ("force", "true")];
                let answer = match question.verb {
                    Verb::Apply { force: true } => self.send(Method::PATCH, &question.body.0, &forced),
                    Verb::Apply { force: false } => self.send(Method::PATCH, &question.body.0, &common),
                    Verb::Update => self.send(Method::PUT, &question.body.0, &common),
                    Verb::Create => self.send(Method::POST, &question.body.0, &common),
                };
                more.insert((question.key, question.asked), answer.map(DryRun));
            }
            answers.extend(more);
        }
    }

    fn input<'a>(
        &'a self,
        snapshot: &'a LiveSnapshot,
        dry_runs: &'a Answers,
        other_apps: &'a BTreeMap<ObjectKey, String>,
        siblings: &'a BTreeMap<String, driftless::plan::Sibling>,
        foreign: &'a BTreeMap<ObjectKey, Vec<ObjectKey>>,
    ) -> PlanInput<'a> {
        static NONE: BTreeSet<ObjectKey> = BTreeSet::new();
        static EMPTY_KINDS: BTreeSet<driftless::object::Gk> = BTreeSet::new();
        PlanInput {
            app: "web",
            cluster: "dev",
            revision: "r1",
            desired: &self.desired,
            kinds: &self.kinds,
            snapshot,
            parent: Some(&self.parent),
            applyset_id: "applyset-test-v1",
            other_apps,
            siblings,
            secret_key: b"key",
            dry_runs,
            unhealthy: &NONE,
            foreign,
            options: &self.options,
            defined_elsewhere: &EMPTY_KINDS,
            scaled_elsewhere: &NONE,
            hooks: &[],
            hooks_due: false,
            hooks_done: &[],
        }
    }

    fn sync(&mut self) -> Planned {
        let planned = self.plan();
        assert!(!planned.is_blocked(), "{:?}", planned.plan.error);
        let mut members = planned.members.clone();
        for step in &planned.graph.steps {
            let Some(object) = &step.object else { continue };
            let forced = |manager| [("fieldManager", manager), ("force", "true"), ("fieldValidation", "Strict")];
            match &step.kind {
                StepKind::Apply { body, force, .. } => {
                    let query = forced("driftless");
                    let query = if *force { &query[..] } else { &query[..1] };
                    self.send(Method::PATCH, &body.0, query).unwrap();
                }
                StepKind::Handover { body } => {
                    self.send(Method::PATCH, &body.0, &forced("driftless-handover")[..1]).unwrap();
                }
                StepKind::Migrate { managers, .. } => self.migrate(&object.key(), &object.version, managers),
                StepKind::Delete { .. } => {
                    let kind = self.kinds.get(&object.gvk().gk()).unwrap();
                    let mut call =
                        Call::get(kind.object_path(&object.version, object.namespace.as_deref(), &object.name));
                    call.method = Method::DELETE;
                    self.runtime.block_on(self.client.send(&call)).unwrap();
                    members.retain(|member| member.object.key() != object.key());
                }
                other => panic!("{other:?}"),
            }
        }
        for member in &mut members {
            let key = member.object.key();
            if let (Some(digest), Presence::Present(live)) =
                (planned.desired.get(&key), self.read(&key, &member.object.version))
            {
                member.uid = live.uid().map(str::to_owned);
                member.owned = Some(owned_digest(&live, &key, b"key"));
                member.desired = Some(digest.clone());
            }
        }
        self.parent.members = members;
        planned
    }

    fn migrate(&self, key: &ObjectKey, version: &str, managers: &[String]) {
        let kind = self.kinds.get(&key.gk()).unwrap();
        for _ in 0..5 {
            let Presence::Present(live) = self.read(key, version) else { panic!("{key}") };
            let mut call = Call::get(kind.object_path(version, key.namespace.as_deref(), &key.name));
            call.method = Method::PATCH;
            call.content_type = "application/json-patch+json";
            call.body = migrate_managed_fields(&live, managers);
            match self.runtime.block_on(self.client.send(&call)) {
                Err(error) if error.is_conflict() => {}
                other => return drop(other.unwrap()),
            }
        }
        panic!("{key} is written all the time");
    }

    /// Nothing is left to do, whether digests are remembered or the server is asked.
    fn settled(&mut self) {
        let planned = self.plan();
        assert!(planned.plan.changes.is_empty(), "{:#?}", planned.plan.changes);
        assert_eq!(self.asked, 0, "remembered");
        let members = self.parent.members.clone();
        for member in &mut self.parent.members {
            (member.desired, member.owned) = (None, None);
        }
        let planned = self.plan();
        assert!(planned.plan.changes.is_empty(), "{:#?}", planned.plan.changes);
        assert_eq!(planned.record.len(), members.len());
        self.parent.members = members;
    }
}

fn deployment(namespace: &str, replicas: Option<i64>, image: &str) -> Value {
    let mut out = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": namespace},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "main", "image": image,
                "resources": {"requests": {"cpu": "1000m", "memory": "0.5Gi"}},
                "ports": [{"containerPort": 53, "protocol": "TCP"}, {"containerPort": 53, "protocol": "UDP"}]}]}}}});
    if let Some(replicas) = replicas {
        out["spec"]["replicas"] = json!(replicas);
    }
    out
}

fn everything(namespace: &str) -> Vec<Value> {
    vec![
        deployment(namespace, Some(2), "web:1"),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": namespace},
            "spec": {"selector": {"app": "web"}, "ports": [{"name": "a", "port": 53, "targetPort": "dns", "protocol": "TCP"},
                {"name": "b", "port": 53, "protocol": "UDP"}]}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": namespace},
            "stringData": {"a": "1"}, "data": {"b": "Mg=="}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": namespace,
            "creationTimestamp": null, "labels": {}, "annotations": null}, "data": {"x": "1", "y": "2"}}),
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "p", "namespace": namespace},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "i", "namespace": namespace},
            "spec": {"rules": [{"host": "a.b", "http": {"paths": [{"path": "/", "pathType": "Prefix",
                "backend": {"service": {"name": "web", "port": {"number": 53}}}}]}}]}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "sa", "namespace": namespace}}),
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db", "namespace": namespace},
            "spec": {"serviceName": "db", "selector": {"matchLabels": {"app": "db"}}, "template": {"metadata":
                {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "db", "image": "db:1", "env": []}]}},
                "volumeClaimTemplates": [{"metadata": {"name": "d"}, "spec": {"accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": "1Gi"}}}}]}}),
    ]
}

#[test]
fn what_was_applied_is_in_sync_and_a_removed_field_goes() {
    let Some(cluster) = ControlPlane::shared() else { return control_plane::skip() };
    let namespace = cluster.namespace("plan-sync");
    let mut app = App::new(cluster);
    let mut all = everything(&namespace);
    app.git(&all);
    let planned = app.sync();
    assert_eq!(planned.plan.changes.len(), 8, "{:?}", planned.plan.error);
    app.settled();
    all[3]["data"].as_object_mut().unwrap().remove("y");
    all[2]["stringData"] = json!({"c": "3"});
    all[0] = deployment(&namespace, Some(3), "web:2");
    app.git(&all);
    let planned = app.sync();
    let actions: Vec<_> = planned.plan.changes.iter().map(|c| (c.object.kind.as_str(), c.actions.clone())).collect();
    assert_eq!(
        actions,
        [
            ("Secret", vec![Action::Update]),
            ("ConfigMap", vec![Action::Update]),
            ("Deployment", vec![Action::Scale, Action::Rollout])
        ]
    );
    assert_eq!(app.live(&all[3])["data"], json!({"x": "1"}));
    let secret = app.live(&all[2]);
    assert_eq!(secret["data"].as_object().unwrap().keys().collect::<Vec<_>>(), ["b", "c"]);
    app.settled();
}

#[test]
fn adoption_from_kubectl_drops_what_git_dropped_and_restarts_nothing() {
    let Some(cluster) = ControlPlane::shared() else { return control_plane::skip() };
    for server_side in [false, true] {
        let namespace = cluster.namespace("plan-adopt");
        let mut old = everything(&namespace);
        old[0]["metadata"]["annotations"] = json!({"team": "a"});
        old[0]["spec"]["revisionHistoryLimit"] = json!(3);
        old[3]["data"]["z"] = json!("gone");
        let list = json!({"apiVersion": "v1", "kind": "List", "items": old}).to_string();
        let mut args = vec!["apply"];
        args.extend(server_side.then_some("--server-side"));
        cluster.kubectl_input(args, &list);
        let before =
            cluster.kubectl_ok(["-n", &namespace, "get", "deployment", "web", "-o", "jsonpath={.metadata.generation}"]);
        let mut app = App::new(cluster);
        let mut all = everything(&namespace);
        // Git has no number, as it should be under an autoscaler that somebody made by hand.
        all[0] = deployment(&namespace, None, "web:1");
        all.push(json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "h", "namespace": namespace}, "spec": {"maxReplicas": 5, "scaleTargetRef":
                {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}}));
        app.git(&all);
        let planned = app.plan();
        for change in planned.plan.changes.iter().filter(|change| change.object.kind != "HorizontalPodAutoscaler") {
            let paths: Vec<&str> = change.fields.iter().map(|field| field.path.as_str()).collect();
            let expected: &[&str] = match change.object.kind.as_str() {
                "Deployment" => &[".metadata.annotations.team", ".spec.revisionHistoryLimit"],
                "ConfigMap" => &[".data.z"],
                _ => &[],
            };
            assert_eq!(paths, expected, "{} {}", change.object, change.why);
            assert_eq!((change.actions[0], change.restarts), (Action::Adopt, false));
        }
        app.sync();
        let web = app.live(&all[0]);
        assert_eq!(web["spec"]["replicas"], json!(2), "no jump");
        assert_eq!(web["spec"]["revisionHistoryLimit"], json!(10));
        assert!(web.pointer("/metadata/annotations/team").is_none());
        assert!(
            !web["metadata"]["managedFields"].to_string().contains("kubectl"),
            "{}",
            web["metadata"]["managedFields"]
        );
        assert!(app.live(&all[3])["data"].get("z").is_none());
        let after = web["metadata"]["generation"].as_i64().unwrap() - before.parse::<i64>().unwrap();
        assert_eq!(after, 1, "one change of the spec, and it is not the template");
        app.settled();
    }
}

#[test]
fn immutable_fields_are_named_by_the_real_server() {
    let Some(cluster) = ControlPlane::shared() else { return control_plane::skip() };
    let namespace = cluster.namespace("plan-immutable");
    let mut app = App::new(cluster);
    let mut all = everything(&namespace);
    all.push(json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": namespace},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "a:1"}]}}}}));
    all.push(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "fixed", "namespace": namespace},
        "data": {"a": "1"}, "immutable": true}));
    all.push(json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "rb",
        "namespace": namespace}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}}));
    app.git(&all);
    app.sync();
    app.settled();
    let changes: [(usize, &str, Value); 6] = [
        (0, "/spec/selector/matchLabels/app", json!("x")),
        (1, "/spec/clusterIP", json!("10.96.200.201")),
        (7, "/spec/volumeClaimTemplates/0/spec/resources/requests/storage", json!("2Gi")),
        (8, "/spec/template/spec/containers/0/image", json!("a:2")),
        (9, "/data/a", json!("2")),
        (10, "/roleRef/name", json!("edit")),
    ];
    for (i, pointer, to) in changes {
        let mut changed = all.clone();
        if pointer == "/spec/clusterIP" {
            changed[i]["spec"]["clusterIP"] = to;
        } else {
            *changed[i].pointer_mut(pointer).unwrap() = to;
        }
        if i == 0 {
            changed[0]["spec"]["template"]["metadata"]["labels"]["app"] = json!("x");
        }
        app.git(&changed);
        let planned = app.plan();
        let error = planned.plan.error.clone().unwrap();
        assert!(planned.is_blocked() && planned.graph.steps.is_empty());
        assert_eq!(error.reason, "ImmutableField", "{error}");
        println!("{error} — {}", error.hint.clone().unwrap_or_default());
        app.options.replace = true;
        let planned = app.plan();
        app.options.replace = false;
        assert_eq!(planned.plan.changes.len(), 1, "{:?}", planned.plan.error);
        assert_eq!(planned.plan.changes[0].actions, [Action::Replace], "{pointer}");
    }
}
