//! The engine rules and the cases, one by one, against the model.

use super::change::Action::{self, Adopt, Create, None as Nothing, Prune, Replace, Rollout, Scale, Update};
use super::input::{PART_OF, PruneLimit, Sibling};
use super::model::{ID, Model, config_map, deployment, hpa, key_of, object};
use super::planned::Planned;
use super::question::{Asked, Verb};
use super::refusal::Refusal;
use super::step::{Part, StepKind};
use crate::inventory::parent::Approval;
use crate::object::{ObjectKey, Problem};
use serde_json::{Value, json};

fn summary(planned: &Planned) -> Vec<(String, Vec<Action>)> {
    planned
        .plan
        .changes
        .iter()
        .map(|change| (format!("{}/{}", change.object.kind, change.object.name), change.actions.clone()))
        .collect()
}

fn only(planned: &Planned) -> &super::change::Change {
    assert_eq!(planned.plan.changes.len(), 1, "{:?} {:?}", summary(planned), planned.plan.error);
    &planned.plan.changes[0]
}

fn steps(planned: &Planned) -> Vec<String> {
    let name = |kind: &StepKind| match kind {
        StepKind::AwaitGone { .. } => "await",
        StepKind::Migrate { .. } => "migrate",
        StepKind::Handover { .. } => "handover",
        StepKind::Apply { part: Part::Scale, .. } => "scale",
        StepKind::Apply { part: Part::Rollout, .. } => "rollout",
        StepKind::Apply { part: Part::Initial, .. } => "initial",
        StepKind::Apply { .. } => "apply",
        StepKind::Replace { .. } => "replace",
        StepKind::Delete { .. } => "delete",
        StepKind::Hook { .. } => "hook",
        StepKind::Gate { .. } => "gate",
    };
    planned
        .graph
        .steps
        .iter()
        .map(|step| match &step.object {
            Some(object) => format!("{} {}/{}", name(&step.kind), object.kind, object.name),
            None => name(&step.kind).to_owned(),
        })
        .collect()
}

fn live<'m>(model: &'m Model, value: &Value) -> &'m Value {
    &model.objects[&key_of(value)]
}

fn reasons(planned: &Planned) -> Vec<String> {
    let problems = planned.problems.iter().map(|found| found.problem.reason.clone());
    problems.chain(planned.refusals.iter().map(|refusal| refusal.problem("web").reason)).collect()
}

#[test]
fn create_then_nothing_and_no_question() {
    let mut model = Model::new();
    model.git(&[config_map("a", "1"), deployment("web", Some(2), "i:1")]);
    let planned = model.sync();
    assert_eq!(
        summary(&planned),
        [("ConfigMap/a".to_owned(), vec![Create]), ("Deployment/web".to_owned(), vec![Create])]
    );
    assert_eq!(only_label(&model), ID);
    assert!(planned.plan.changes[0].fields.is_empty() && planned.sides[0].after.is_some());
    let writes = model.writes;
    let again = model.sync();
    assert!(again.plan.changes.is_empty() && again.plan.unchanged == 2 && again.record.is_empty());
    assert!(!again.has_changes());
    assert_eq!((model.asked.len(), model.writes), (0, writes), "no-op is free");
}

fn only_label(model: &Model) -> String {
    live(model, &config_map("a", "")).pointer("/metadata/labels").unwrap()[PART_OF].as_str().unwrap().to_owned()
}

#[test]
fn forgotten_digests_are_asked_for_once() {
    let mut model = Model::new();
    model.git(&[config_map("a", "1")]);
    model.sync();
    for member in &mut model.parent.as_mut().unwrap().members {
        (member.desired, member.owned) = (None, None);
    }
    let planned = model.sync();
    assert_eq!((model.asked.len(), planned.record.len(), planned.plan.changes.len()), (1, 1, 0));
    model.sync();
    assert_eq!(model.asked.len(), 0);
}

#[test]
fn actions_of_a_deployment() {
    let mut model = Model::new();
    model.git(&[deployment("web", Some(2), "i:1")]);
    model.sync();
    model.git(&[deployment("web", Some(4), "i:1")]);
    let planned = model.sync();
    assert_eq!(only(&planned).actions, [Scale]);
    assert_eq!(only(&planned).why, "replicas 2 → 4");
    assert_eq!(only(&planned).fields[0].path, ".spec.replicas");
    model.git(&[deployment("web", Some(4), "i:2")]);
    let planned = model.sync();
    assert_eq!((only(&planned).actions.as_slice(), only(&planned).restarts), (&[Rollout][..], true));
    assert_eq!(only(&planned).fields[0].path, r#".spec.template.spec.containers[name="main"].image"#);
    assert_eq!(only(&planned).why, "image changes: pods restart (4)");
    model.git(&[deployment("web", Some(6), "i:3")]);
    let key = key_of(&deployment("web", None, ""));
    model.unhealthy.insert(key.clone());
    let broken = model.plan();
    assert_eq!(steps(&broken), ["apply Deployment/web"], "a fix must not wait for the broken");
    model.unhealthy.clear();
    let planned = model.plan();
    assert_eq!(only(&planned).actions, [Scale, Rollout]);
    assert_eq!(steps(&planned), ["scale Deployment/web", "rollout Deployment/web"]);
    assert_eq!(planned.graph.steps[1].wait_for_health_of, std::slice::from_ref(&key));
    let StepKind::Apply { body, .. } = &planned.graph.steps[0].kind else { panic!() };
    assert_eq!(body.0["spec"]["replicas"], json!(6));
    assert_eq!(body.0.pointer("/spec/template/spec/containers/0/image"), Some(&json!("i:2")));
    assert!(body.0["metadata"]["uid"].is_string());
    model.carry_out(&planned);
    assert!(model.plan().plan.changes.is_empty());
}

#[test]
fn removed_fields_disappear() {
    let mut model = Model::new();
    let mut with = deployment("web", Some(1), "i:1");
    with["metadata"]["labels"] = json!({"team": "a"});
    with["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{"name": "X", "value": "1"}]);
    model.git(&[with]);
    model.sync();
    model.git(&[deployment("web", Some(1), "i:1")]);
    let planned = model.sync();
    let paths: Vec<&str> = only(&planned).fields.iter().map(|field| field.path.as_str()).collect();
    assert_eq!(paths.len(), 2, "{paths:?}");
    let now = live(&model, &deployment("web", None, ""));
    assert!(now.pointer("/spec/template/spec/containers/0/env/0").is_none());
    assert!(now.pointer("/metadata/labels/team").is_none());
}

#[test]
fn kubectl_objects_are_adopted_and_dropped_fields_go() {
    let mut model = Model::new();
    let mut old = deployment("web", Some(3), "i:1");
    old["metadata"]["annotations"] = json!({"old": "x", super::input::LAST_APPLIED: "{}"});
    model.put(&old, "kubectl-client-side-apply");
    model.git(&[deployment("web", Some(3), "i:1")]);
    let planned = model.sync();
    assert_eq!(only(&planned).actions, [Adopt, Update]);
    assert!(!only(&planned).restarts);
    assert!(only(&planned).why.contains("kubectl-client-side-apply"), "{}", only(&planned).why);
    let paths: Vec<&str> = only(&planned).fields.iter().map(|field| field.path.as_str()).collect();
    assert_eq!(paths, [".metadata.annotations.old"], "defaults that kubectl owned are no change");
    assert_eq!(steps(&planned), ["migrate Deployment/web", "apply Deployment/web"]);
    let StepKind::Apply { force, .. } = planned.graph.steps[1].kind else { panic!() };
    assert!(!force, "first contact takes nothing by force");
    assert!(model.asked.iter().any(|question| question.verb == Verb::Update));
    let now = live(&model, &old);
    assert!(now.pointer("/metadata/annotations/old").is_none());
    assert!(now.pointer("/metadata/annotations").is_none_or(|a| a.get(super::input::LAST_APPLIED).is_none()));
    assert!(!now["metadata"]["managedFields"].to_string().contains("kubectl"));
    assert!(model.plan().plan.changes.is_empty());
}

#[test]
fn another_owners_objects_are_refused() {
    let mut model = Model::new();
    let mut theirs = config_map("a", "1");
    theirs["metadata"]["labels"] = json!({PART_OF: "applyset-db"});
    model.put(&theirs, "driftless");
    model.git(&[config_map("a", "2"), config_map("b", "1")]);
    let planned = model.plan();
    assert!(matches!(&planned.refusals[..], [Refusal::OwnedByAnother { owner, .. }] if owner.contains("applyset-db")));
    assert!(planned.graph.steps.is_empty() && planned.is_blocked());
    model.siblings.insert("applyset-db".into(), Sibling { app: "db".into(), settled: true });
    model.other_apps.insert(key_of(&theirs), "db".into());
    assert!(matches!(&model.plan().refusals[..], [Refusal::OwnedByAnother { owner, .. }] if owner == "app `db`"));
    // The other app lets it go: it moves.
    model.other_apps.clear();
    let planned = model.plan();
    assert_eq!(planned.change(&key_of(&theirs).with_version("v1")).unwrap().actions, [Adopt, Update]);
    // What an app that does not render wants is not known.
    model.siblings.insert("applyset-db".into(), Sibling { app: "db".into(), settled: false });
    assert_eq!(reasons(&model.plan()), ["OwnedByAnother"]);
}

#[test]
fn of_two_claims_on_a_new_object_the_first_by_name_wins() {
    let mut model = Model::new();
    model.git(&[config_map("a", "1")]);
    model.other_apps.insert(key_of(&config_map("a", "")), "api".into());
    assert_eq!(reasons(&model.plan()), ["OwnedByAnother"]);
    model.other_apps.insert(key_of(&config_map("a", "")), "zoo".into());
    assert_eq!(only(&model.plan()).actions, [Create]);
    model.sync();
    model.other_apps.insert(key_of(&config_map("a", "")), "api".into());
    assert!(model.plan().refusals.is_empty(), "who has it keeps it");
}

#[test]
fn drift_is_repaired_or_only_said() {
    let mut model = Model::new();
    model.git(&[config_map("a", "1"), config_map("b", "1")]);
    model.sync();
    let (a, b) = (key_of(&config_map("a", "")), key_of(&config_map("b", "")));
    model.edit(&a, "/data/v", json!("9"));
    model.objects.remove(&b);
    let planned = model.plan();
    assert_eq!(planned.drifted.iter().collect::<Vec<_>>(), [&a, &b]);
    let why: Vec<&str> = planned.plan.changes.iter().map(|change| change.why.as_str()).collect();
    assert!(why.iter().any(|w| w.starts_with("was deleted in the cluster")), "{why:?}");
    assert!(
        why.iter().any(|w| w.starts_with("changed in the cluster: data v") && w.contains("kubectl-edit")),
        "{why:?}"
    );
    assert_eq!(planned.taken_over.len(), 1);
    model.options.self_heal = false;
    let planned = model.plan();
    assert_eq!((planned.plan.changes.len(), planned.graph.steps.len()), (2, 0));
    model.options.self_heal = true;
    model.sync();
    assert!(model.plan().plan.changes.is_empty());
    assert_eq!(live(&model, &config_map("a", ""))["data"]["v"], json!("1"));
}

#[test]
fn fields_that_git_does_not_set_are_no_drift() {
    let mut model = Model::new();
    model.git(&[config_map("a", "1")]);
    model.sync();
    let mut edited = live(&model, &config_map("a", "")).clone();
    edited["data"]["theirs"] = json!("x");
    model.objects.insert(key_of(&edited), edited);
    assert!(model.plan().plan.changes.is_empty());
    assert!(model.asked.is_empty());
}

#[test]
fn replicas_belong_to_the_autoscaler() {
    for git_number in [Some(2), None] {
        let mut model = Model::new();
        model.git(&[deployment("web", Some(2), "i:1")]);
        model.sync();
        // An HPA arrives in Git.
        model.git(&[deployment("web", git_number, "i:1"), hpa("h", "web")]);
        let planned = model.plan();
        let web = planned.plan.changes.iter().find(|c| c.object.kind == "Deployment").unwrap();
        assert!(web.fields.is_empty() && web.actions == [Update], "{web:?}");
        assert!(steps(&planned).starts_with(&["handover Deployment/web".into(), "apply Deployment/web".into()]));
        model.carry_out(&planned);
        assert_eq!(live(&model, &deployment("web", None, ""))["spec"]["replicas"], json!(2), "no jump");
        let key = key_of(&deployment("web", None, ""));
        model.edit(&key, "/spec/replicas", json!(7));
        let planned = model.plan();
        assert!(planned.plan.changes.is_empty(), "{:?}", summary(&planned));
        // It goes: the number in Git counts again, after the HPA is gone.
        model.git(&[deployment("web", Some(3), "i:1")]);
        let planned = model.plan();
        assert_eq!(steps(&planned), ["delete HorizontalPodAutoscaler/h", "apply Deployment/web"]);
        assert!(planned.explain(1).contains("has to be gone first"), "{}", planned.explain(1));
        model.carry_out(&planned);
        assert_eq!(live(&model, &deployment("web", None, ""))["spec"]["replicas"], json!(3));
        assert!(model.plan().plan.changes.is_empty());
    }
}

#[test]
fn a_new_workload_under_an_autoscaler_starts_at_gits_number() {
    let mut model = Model::new();
    model.git(&[deployment("web", Some(4), "i:1"), hpa("h", "web")]);
    let planned = model.sync();
    assert_eq!(
        steps(&planned)[..3],
        ["initial Deployment/web", "handover Deployment/web", "apply Deployment/web"].map(str::to_owned)
    );
    assert_eq!(live(&model, &deployment("web", None, ""))["spec"]["replicas"], json!(4));
    assert!(model.plan().plan.changes.is_empty());
}

#[test]
fn immutable_fields() {
    let mut model = Model::new();
    let web = deployment("web", Some(1), "i:1");
    model.git(std::slice::from_ref(&web));
    model.sync();
    let mut changed = web.clone();
    changed["spec"]["selector"]["matchLabels"]["app"] = json!("other");
    model.git(std::slice::from_ref(&changed));
    let no = r#"Deployment.apps "web" is invalid: spec.selector: Invalid value: {"matchLabels":{"app":"other"}}: field is immutable"#;
    let key = key_of(&web);
    model.answers.insert((key.clone(), Asked::Apply), Err(Problem::new("Invalid", no)));
    let planned = model.plan();
    let error = planned.plan.error.clone().unwrap();
    assert_eq!((error.reason.as_str(), error.file.as_deref()), ("ImmutableField", Some("f0.yaml")));
    assert!(error.hint.unwrap().contains("driftless.dev/replace: allowed"));
    assert!(planned.graph.steps.is_empty());
    changed["metadata"]["annotations"] = json!({"driftless.dev/replace": "allowed"});
    model.git(&[changed]);
    let planned = model.plan();
    assert_eq!((only(&planned).actions.as_slice(), only(&planned).restarts), (&[Replace][..], true));
    assert_eq!(steps(&planned), ["replace Deployment/web"]);
    assert!(model.asked.iter().any(|question| question.asked == Asked::Replacement));
    // An invalid replacement leaves the old object alive.
    model.answers.insert((key, Asked::Replacement), Err(Problem::new("Invalid", "spec.x: Invalid value: 1: no")));
    let planned = model.plan();
    assert!(planned.graph.steps.is_empty());
    assert!(planned.plan.error.unwrap().message.contains("the old object stays"));
}

#[test]
fn one_rejected_object_stops_its_app() {
    let mut model = Model::new();
    let leaning = |name: &str| {
        let mut web = deployment(name, Some(1), "i:1");
        web["spec"]["template"]["spec"]["volumes"] = json!([{"name": "v", "configMap": {"name": "a"}}]);
        web
    };
    model.git(&[config_map("a", "1"), config_map("b", "1"), leaning("web")]);
    let a = key_of(&config_map("a", ""));
    model.answers.insert((a, Asked::Apply), Err(Problem::new("Invalid", "unknown field \"x\"")));
    let planned = model.plan();
    assert!(planned.graph.steps.is_empty());
    let error = planned.plan.error.unwrap();
    assert_eq!((error.file.as_deref(), error.object.unwrap().name.as_str()), (Some("f0.yaml"), "a"));
    assert!(planned.members.is_empty(), "nothing is announced");
    model.options.best_effort = true;
    assert_eq!(steps(&model.plan()), ["apply ConfigMap/b"], "what leans on it is not written either");
}

#[test]
fn what_cannot_answer_stops_only_its_objects() {
    let mut model = Model::new();
    model.git(&[config_map("a", "1"), config_map("b", "1")]);
    model.unknown.insert(key_of(&config_map("a", "")));
    let planned = model.plan();
    assert_eq!(steps(&planned), ["apply ConfigMap/b"]);
    assert_eq!(planned.plan.error.as_ref().unwrap().reason, "Unknown");
    assert!(!planned.is_blocked());
}

#[test]
fn prune_in_reverse_order_after_everything_else() {
    let mut model = Model::new();
    let mut web = deployment("web", Some(1), "i:1");
    web["spec"]["template"]["spec"]["volumes"] = json!([{"name": "v", "configMap": {"name": "a"}}]);
    model.git(&[config_map("a", "1"), web, config_map("keep", "1"), config_map("keep2", "1")]);
    model.sync();
    model.git(&[config_map("keep", "2"), config_map("keep2", "1")]);
    let planned = model.plan();
    assert_eq!(steps(&planned), ["apply ConfigMap/keep", "gate", "delete Deployment/web", "delete ConfigMap/a"]);
    let gate = &planned.graph.steps[1];
    assert_eq!(gate.wait_for_health_of, [key_of(&config_map("keep", ""))]);
    assert_eq!(planned.plan.changes[2].why, "no longer in Git");
    assert!(planned.explain(2).contains("Deployment shop/web"), "{}", planned.explain(2));
    model.carry_out(&planned);
    assert_eq!(model.parent.as_ref().unwrap().members.len(), 2);
    assert!(model.plan().plan.changes.is_empty());
}

#[test]
fn an_empty_source_is_refused() {
    let mut model = Model::new();
    model.git(&[config_map("a", "1")]);
    model.sync();
    model.git(&[]);
    let planned = model.plan();
    assert_eq!(reasons(&planned), ["EmptySource"]);
    assert!(planned.graph.steps.is_empty());
    model.options.app_removed = true;
    let planned = model.plan();
    assert_eq!(summary(&planned), [("ConfigMap/a".to_owned(), vec![Prune])]);
    assert_eq!(planned.graph.steps.len(), 1);
}

#[test]
fn the_prune_limit_needs_an_approval_of_exactly_this() {
    let mut model = Model::new();
    let all: Vec<Value> = (0..8).map(|i| config_map(&format!("c{i}"), "1")).collect();
    model.git(&all);
    model.sync();
    model.git(&all[..3]);
    let planned = model.plan();
    assert_eq!(reasons(&planned), ["PruneLimit"]);
    assert_eq!((planned.graph.steps.len(), planned.approval.len()), (0, 5));
    assert!(!planned.is_blocked(), "only the prunes wait");
    let approval = |uids: &[String], revision: &str| Approval { revision: revision.into(), uids: uids.to_vec() };
    let set = planned.approval.clone();
    for (given, deletions) in [(approval(&set, "r0"), 0), (approval(&set[..4], "r1"), 0), (approval(&set, "r1"), 5)] {
        model.parent.as_mut().unwrap().approvals = vec![given];
        assert_eq!(model.plan().graph.steps.len(), deletions);
    }
    model.parent.as_mut().unwrap().approvals.clear();
    model.options.prune_limit = PruneLimit::Off;
    assert_eq!(model.plan().graph.steps.len(), 5);
}

#[test]
fn data_and_foreign_contents_need_an_approval() {
    let mut model = Model::new();
    let claim = object("v1", "PersistentVolumeClaim", Some("shop"), "data", &json!({"spec": {"x": 1}}));
    let namespace = object("v1", "Namespace", None, "old", &json!({}));
    let keep = config_map("keep", "1");
    model.git(&[claim.clone(), namespace.clone(), keep.clone()]);
    model.sync();
    model.git(&[keep.clone(), namespace.clone()]);
    assert_eq!(reasons(&model.plan()), ["DataLoss"]);
    model.git(&[keep.clone(), claim.clone()]);
    assert_eq!(reasons(&model.plan()), ["ForeignContents"], "not looked into");
    let foreign = ObjectKey::new(&crate::object::Gk::new("", "ConfigMap"), Some("old"), "x");
    model.foreign.insert(key_of(&namespace), vec![foreign]);
    let planned = model.plan();
    assert!(planned.plan.error.unwrap().message.contains("ConfigMap old/x"));
    model.foreign.insert(key_of(&namespace), vec![]);
    assert_eq!(steps(&model.plan()), ["delete Namespace/old"]);
}

#[test]
fn what_is_kept_or_not_ours_any_more_stays() {
    let mut model = Model::new();
    let all: Vec<Value> = (0..6).map(|i| config_map(&format!("c{i}"), "1")).collect();
    model.git(&all);
    model.sync();
    let key = |i: usize| key_of(&all[i]);
    let set = |model: &mut Model, i: usize, field: &str, value: Value| {
        model.objects.get_mut(&key(i)).unwrap()["metadata"][field] = value;
    };
    set(&mut model, 0, "annotations", json!({"driftless.dev/prune": "disabled"}));
    set(&mut model, 1, "annotations", json!({"helm.sh/resource-policy": "keep"}));
    set(&mut model, 2, "labels", json!({PART_OF: "someone"}));
    set(&mut model, 3, "uid", json!("another"));
    model.other_apps.insert(key(4), "db".into());
    model.git(&all[5..]);
    let planned = model.plan();
    assert!(planned.plan.changes.iter().all(|change| change.actions == [Nothing]), "{:?}", summary(&planned));
    assert_eq!((planned.plan.changes.len(), planned.graph.steps.len(), planned.forget.len()), (5, 0, 2));
    assert_eq!(planned.leaving, std::collections::BTreeSet::from([key(4)]), "it is let go when it is the other app's");
    assert!(!planned.has_changes());
    let why = |i: usize| planned.change(&key(i).with_version("v1")).unwrap().why.clone();
    assert!(why(0).contains("prune: disabled") && why(1).contains("keep") && why(4).contains("app `db`"));
    assert!(why(2).contains("someone") && why(3).contains("someone else"));
}

#[test]
fn labels_that_controllers_copy_make_nothing_ours() {
    let mut model = Model::new();
    model.git(&[config_map("a", "1")]);
    model.sync();
    let mut slice = object("discovery.k8s.io/v1", "EndpointSlice", Some("shop"), "a-x", &json!({}));
    slice["metadata"]["labels"] = json!({PART_OF: ID});
    model.put(&slice, "kube-controller-manager");
    assert!(model.plan().plan.changes.is_empty());
}

#[test]
fn unknown_is_not_absent() {
    let mut model = Model::new();
    model.git(&[config_map("a", "1"), config_map("b", "1"), config_map("c", "1")]);
    model.sync();
    model.git(&[config_map("c", "1")]);
    model.unknown.insert(key_of(&config_map("a", "")));
    let planned = model.plan();
    assert_eq!(reasons(&planned), ["Unknown"]);
    assert!(planned.graph.steps.is_empty(), "nothing is pruned, neither a nor b");
    assert!(planned.withheld.is_some());
    model.unknown.clear();
    model.options.prunes_wait = Some("app `db` does not render".into());
    assert!(model.plan().graph.steps.is_empty());
}

#[test]
fn a_crash_after_the_announcement_orphans_nothing() {
    let mut model = Model::new();
    model.git(&[config_map("a", "1"), config_map("b", "1")]);
    let planned = model.plan();
    // The inventory was written, `a` was written, and then: a crash.
    let mut parent = super::model::empty_parent();
    parent.members = planned.members.clone();
    model.carry_out(&planned);
    model.objects.remove(&key_of(&config_map("b", "")));
    model.parent = Some(parent);
    model.git(&[config_map("b", "1")]);
    let planned = model.sync();
    assert_eq!(summary(&planned), [("ConfigMap/b".to_owned(), vec![Create]), ("ConfigMap/a".to_owned(), vec![Prune])]);
    assert!(!model.objects.contains_key(&key_of(&config_map("a", ""))));
    // Announced, never written, made by somebody else meanwhile: not ours.
    model.parent.as_mut().unwrap().members[0].uid = None;
    model.objects.insert(key_of(&config_map("b", "")), config_map("b", "theirs"));
    model.git(&[config_map("z", "1")]);
    assert_eq!(summary(&model.plan()), [("ConfigMap/z".to_owned(), vec![Create])]);
}

#[test]
fn a_terminating_object_is_waited_out() {
    let mut model = Model::new();
    model.git(&[config_map("a", "1")]);
    model.sync();
    model.objects.get_mut(&key_of(&config_map("a", ""))).unwrap()["metadata"]["deletionTimestamp"] = json!("now");
    let planned = model.plan();
    assert_eq!(only(&planned).actions, [Create]);
    assert_eq!(steps(&planned), ["await ConfigMap/a", "apply ConfigMap/a"]);
    assert!(model.asked.is_empty());
}

#[test]
fn namespaces_and_definitions_come_first_and_are_not_dry_run_before() {
    let mut model = Model::new();
    let crd = object(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        None,
        "ws.x.io",
        &json!({"spec": {"group": "x.io", "names": {"kind": "W"}, "versions": [{"name": "v1", "served": true}]}}),
    );
    let custom = object("x.io/v1", "W", Some("new"), "w", &json!({"spec": {"a": 1}}));
    let namespace = object("v1", "Namespace", None, "new", &json!({}));
    model.git(&[custom.clone(), crd.clone(), namespace]);
    let planned = model.plan();
    assert_eq!(steps(&planned), ["apply Namespace/new", "apply CustomResourceDefinition/ws.x.io", "apply W/w"]);
    assert_eq!(model.asked.len(), 2);
    let StepKind::Apply { preflight, .. } = planned.graph.steps[2].kind else { panic!() };
    assert!(preflight);
    assert_eq!(planned.plan.changes[2].waits_for.len(), 2);
    assert!(planned.explain(2).contains("it defines the kind"));
    // A custom resource whose CRD changes is not asked about before; one whose CRD stays is.
    model.kinds.by_gk.insert(
        crate::object::Gk::new("x.io", "W"),
        crate::live::kinds::Kind {
            gvk: crate::object::Gvk::new("x.io", "v1", "W"),
            versions: vec!["v1".into()],
            plural: "ws".into(),
            namespaced: true,
            listable: true,
        },
    );
    model.sync();
    let mut more = custom.clone();
    more["spec"]["b"] = json!(2);
    let mut wider = crd.clone();
    wider["spec"]["versions"][0]["schema"] = json!({"b": 1});
    let namespace = object("v1", "Namespace", None, "new", &json!({}));
    model.git(&[more.clone(), crd, namespace.clone()]);
    model.plan();
    assert_eq!(model.asked.iter().map(|q| q.object.kind.as_str()).collect::<Vec<_>>(), ["W"]);
    model.git(&[more, wider, namespace]);
    let planned = model.plan();
    assert_eq!(
        model.asked.iter().map(|q| q.object.kind.as_str()).collect::<Vec<_>>(),
        ["CustomResourceDefinition"],
        "{:?}",
        planned.plan.error
    );
    assert_eq!(planned.plan.changes[1].fields[0].path, ".spec.b");
}

#[test]
fn a_missing_namespace_is_an_error_or_made() {
    let mut model = Model::new();
    let mut a = config_map("a", "1");
    a["metadata"]["namespace"] = json!("nowhere");
    model.git(std::slice::from_ref(&a));
    assert_eq!(reasons(&model.plan()), ["NamespaceMissing"]);
    model.options.create_namespace = true;
    let planned = model.sync();
    assert_eq!(steps(&planned), ["apply Namespace/nowhere", "apply ConfigMap/a"]);
    assert_eq!(model.parent.as_ref().unwrap().members.len(), 1, "the namespace is not ours");
    assert!(model.plan().plan.changes.is_empty());
}

#[test]
fn kinds_and_versions_that_are_not_served() {
    let mut model = Model::new();
    model.git(&[object("apps/v1beta1", "Deployment", Some("shop"), "a", &json!({}))]);
    let error = model.plan().plan.error.unwrap();
    assert_eq!((error.reason.as_str(), error.hint.as_deref()), ("VersionNotServed", Some("use `apiVersion: apps/v1`")));
    model.git(&[object("m.io/v1", "M", Some("shop"), "a", &json!({})), config_map("b", "1")]);
    assert_eq!(reasons(&model.plan()), ["UnknownKind"]);
    model.kinds.broken.insert("m.io".into(), "no endpoints".into());
    let planned = model.plan();
    assert_eq!(
        (reasons(&planned), steps(&planned)),
        (vec!["GroupUnavailable".into()], vec!["apply ConfigMap/b".into()])
    );
    model.git(&[config_map("b", "1"), config_map("b", "2")]);
    assert_eq!(reasons(&model.plan()), ["DuplicateObject"]);
}

#[test]
fn waves_and_depends_on() {
    let annotated = |name: &str, annotations: Value| {
        let mut value = config_map(name, "1");
        value["metadata"]["annotations"] = annotations;
        value
    };
    let wave = |n: &str| json!({"argocd.argoproj.io/sync-wave": n});
    let mut model = Model::new();
    model.git(&[
        annotated("a", wave("2")),
        annotated("b", wave("-1")),
        config_map("c", "1"),
        annotated("d", json!({"config.kubernetes.io/depends-on": "/namespaces/shop/ConfigMap/e"})),
        config_map("e", "1"),
    ]);
    let planned = model.plan();
    assert_eq!(
        steps(&planned),
        [
            "apply ConfigMap/b",
            "gate",
            "apply ConfigMap/c",
            "apply ConfigMap/e",
            "apply ConfigMap/d",
            "gate",
            "apply ConfigMap/a"
        ]
    );
    assert_eq!(planned.plan.changes[0].wave, -1);
    let last = &planned.plan.changes[4];
    assert_eq!((last.object.name.as_str(), last.waits_for.len()), ("a", 3));
    model.carry_out(&planned);
    // A later wave waits for what is not healthy in an earlier one, changed or not.
    model.unhealthy.insert(key_of(&config_map("c", "")));
    let mut changed = annotated("a", wave("2"));
    changed["data"]["v"] = json!("2");
    model.git(&[
        changed,
        annotated("b", wave("-1")),
        config_map("c", "1"),
        config_map("e", "1"),
        annotated("d", json!({"config.kubernetes.io/depends-on": "/namespaces/shop/ConfigMap/e"})),
    ]);
    let planned = model.plan();
    assert_eq!(steps(&planned), ["gate", "apply ConfigMap/a"]);
    assert_eq!(planned.graph.steps[0].wait_for_health_of, [key_of(&config_map("c", ""))]);
}

#[test]
fn cycles_name_their_members() {
    let on = |name: &str, other: &str| {
        let mut value = config_map(name, "1");
        value["metadata"]["annotations"] =
            json!({"config.kubernetes.io/depends-on": format!("/namespaces/shop/ConfigMap/{other}")});
        value
    };
    let mut model = Model::new();
    model.git(&[on("a", "b"), on("b", "a")]);
    let error = model.plan().plan.error.unwrap();
    assert_eq!(error.reason, "DependencyCycle");
    assert!(error.message.contains("ConfigMap shop/a → ConfigMap shop/b → ConfigMap shop/a"), "{error}");
    model.git(&[on("a", "nothing")]);
    assert_eq!(reasons(&model.plan()), ["UnknownDependency"]);
    let mut bad = config_map("a", "1");
    bad["metadata"]["annotations"] = json!({"driftless.dev/wave": "soon"});
    model.git(&[bad]);
    let planned = model.plan();
    assert_eq!(reasons(&planned), ["InvalidWave"]);
    assert!(planned.graph.steps.is_empty());
}

#[test]
fn a_node_port_is_freed_first() {
    let service = |name: &str, port: Option<i64>| {
        let ports = port.map_or(json!([{"port": 80}]), |port| json!([{"port": 80, "nodePort": port}]));
        object("v1", "Service", Some("shop"), name, &json!({"spec": {"ports": ports}}))
    };
    let mut model = Model::new();
    model.git(&[service("old", Some(30080)), config_map("x", "1")]);
    model.sync();
    model.git(&[service("new", Some(30080)), config_map("x", "1")]);
    let key = key_of(&service("new", None));
    let no =
        Problem::new("Invalid", "spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated");
    model.answers.insert((key, Asked::Apply), Err(no.clone()));
    let planned = model.plan();
    assert_eq!(steps(&planned), ["delete Service/old", "apply Service/new"], "{:?}", planned.plan.error);
    let StepKind::Apply { preflight, .. } = planned.graph.steps[1].kind else { panic!() };
    assert!(preflight, "it is dry-run once the port is free");
    // Held by a Service that gives it up in the same commit.
    model.git(&[service("new", Some(30080)), service("old", None), config_map("x", "1")]);
    assert_eq!(steps(&model.plan()), ["apply Service/old", "apply Service/new"]);
    // Held by somebody else: an error.
    model.git(&[service("new", Some(30080)), service("old", Some(30080)), config_map("x", "1")]);
    assert_eq!(reasons(&model.plan()), ["Invalid"]);
}

#[test]
fn secrets_show_digests_only() {
    let secret = |text: &str| object("v1", "Secret", Some("shop"), "s", &json!({"stringData": {"password": text}}));
    let mut model = Model::new();
    model.git(&[secret("hunter2")]);
    let first = model.sync();
    model.git(&[secret("hunter3")]);
    let planned = model.plan();
    let change = only(&planned);
    assert_eq!(change.fields.len(), 1);
    assert_eq!(change.fields[0].path, ".data.password");
    assert_ne!(change.fields[0].from, change.fields[0].to);
    for shown in [
        format!("{:?}{:?}", planned.plan, planned.sides),
        format!("{:?}{:?}{:?}", first.sides, planned.graph, model.asked),
        format!("{:?}", planned.members),
    ] {
        for value in ["hunter", "aHVudGVyMg==", "aHVudGVyMw=="] {
            assert!(!shown.contains(value), "{shown}");
        }
    }
    model.carry_out(&planned);
    assert!(model.plan().plan.changes.is_empty());
}

#[test]
fn webhooks_are_last_and_go_first() {
    let hook = object(
        "admissionregistration.k8s.io/v1",
        "ValidatingWebhookConfiguration",
        None,
        "h",
        &json!({"webhooks": []}),
    );
    let mut model = Model::new();
    model.git(&[hook.clone(), config_map("z", "1"), deployment("web", Some(1), "i:1")]);
    let planned = model.plan();
    assert_eq!(steps(&planned).last().map(String::as_str), Some("apply ValidatingWebhookConfiguration/h"));
    assert_eq!(planned.graph.steps.last().unwrap().needs.len(), 2);
    model.carry_out(&planned);
    model.git(&[config_map("z", "2"), deployment("web", Some(1), "i:1")]);
    let planned = model.plan();
    assert_eq!(steps(&planned), ["delete ValidatingWebhookConfiguration/h", "apply ConfigMap/z"]);
}

/// What a hook before the sync cannot run without comes before it, with what that waits for itself; the rest comes after.
#[test]
fn a_hook_waits_for_what_it_uses_and_nothing_waits_in_a_circle() {
    let mut model = Model::new();
    let quota =
        |most: &str| object("v1", "ResourceQuota", Some("shop"), "q", &json!({"spec": {"hard": {"configmaps": most}}}));
    let space =
        |stage: &str| object("v1", "Namespace", None, "shop", &json!({"metadata": {"labels": {"stage": stage}}}));
    model.git(&[space("one"), quota("1"), config_map("late", "1")]).sync();
    model.git(&[space("two"), quota("2"), config_map("late", "2"), config_map("settings", "1")]);
    let job = object(
        "batch/v1",
        "Job",
        Some("shop"),
        "migrate",
        &json!({"metadata": {"annotations": {super::hook::ARGO: "PreSync"}}, "spec": {"template": {"spec": {
            "containers": [{"name": "a", "envFrom": [{"configMapRef": {"name": "settings"}}]}]}}}}),
    );
    let source = crate::object::Source { file: "hook.yaml".into(), line: 1 };
    let (_, hooks) = super::hook::split(vec![crate::object::Desired { object: job, source }], true).unwrap();
    model.hooks = hooks;
    let planned = model.plan();
    assert_eq!(reasons(&planned), Vec::<String>::new());
    let order: Vec<String> = steps(&planned).into_iter().filter(|step| step != "gate").collect();
    let place = |step: &str| order.iter().position(|known| known == step).unwrap();
    let hook = place("hook Job/migrate");
    for before in ["apply Namespace/shop", "apply ResourceQuota/q", "apply ConfigMap/settings"] {
        assert!(place(before) < hook, "{before}: {order:?}");
    }
    assert!(hook < place("apply ConfigMap/late"), "{order:?}");
}
