//! Reports that the tests of several outputs show.

use super::object_diff::ObjectDiffs;
use super::status_report::{AppStatus, DriftEntry, ObjectStatus, StatusReport, SyncState};
use super::sync_report::{Outcome, SyncReport};
use crate::health::Health;
use crate::object::{Gk, ObjectKey, ObjectRef, Problem, Source};
use crate::plan::change::{Action, AppPlan, Change, FieldChange, PlanReport, PolicyFinding};
use crate::plan::planned::Sides;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const REVISION: &str = "3f2c1a9d0b8e7f6a5c4d3e2f1a0b9c8d7e6f5a4b";

fn object(group: &str, kind: &str, namespace: Option<&str>, name: &str) -> ObjectRef {
    ObjectKey::new(&Gk::new(group, kind), namespace, name).with_version("v1")
}

fn change(object: ObjectRef, actions: &[Action], why: &str, source: Option<(&str, u32)>) -> Change {
    Change {
        object,
        actions: actions.to_vec(),
        restarts: actions.contains(&Action::Rollout),
        why: why.into(),
        source: source.map(|(file, line)| Source { file: file.into(), line }),
        wave: 0,
        waits_for: vec![],
        fields: vec![],
        hook: None,
        forecast: None,
    }
}

fn report(apps: Vec<AppPlan>) -> PlanReport {
    let mut report = PlanReport { revision: Some(REVISION.into()), apps, summary: BTreeMap::new(), error: None };
    report.sum_up();
    report
}

fn app(name: &str, changes: Vec<Change>) -> AppPlan {
    AppPlan { name: name.into(), cluster: "prod".into(), changes, unchanged: 4, ..AppPlan::default() }
}

fn deployment(replicas: u32, image: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": image}]}}}})
}

pub(super) fn plan() -> (PlanReport, ObjectDiffs) {
    let namespace = object("", "Namespace", None, "shop");
    let deploy = object("apps", "Deployment", Some("shop"), "web");
    let secret = object("", "Secret", Some("shop"), "token");
    let mut settings = change(
        object("", "ConfigMap", Some("shop"), "settings"),
        &[Action::Create],
        "not in the cluster yet",
        Some(("web/config.yaml", 1)),
    );
    settings.waits_for = vec![namespace.clone()];
    let mut rollout = change(
        deploy.clone(),
        &[Action::Scale, Action::Rollout],
        "replicas 3 → 5; image changes",
        Some(("web/deploy.yaml", 3)),
    );
    rollout.waits_for = vec![settings.object.clone(), namespace.clone()];
    rollout.fields = vec![
        FieldChange { path: ".spec.replicas".into(), from: Some(json!(3)), to: Some(json!(5)) },
        FieldChange {
            path: ".spec.template.spec.containers[name=\"main\"].image".into(),
            from: Some(json!("web:1")),
            to: Some(json!("web:2")),
        },
    ];
    let mut web = app(
        "web",
        vec![
            change(namespace, &[Action::Create], "not in the cluster yet", Some(("web/ns.yaml", 1))),
            settings,
            change(secret.clone(), &[Action::Update], "data changes", Some(("web/secret.yaml", 1))),
            rollout,
            change(object("", "Service", Some("shop"), "old"), &[Action::Prune], "no longer in Git", None),
        ],
    );
    web.policy = vec![PolicyFinding {
        policy: "requests-set".into(),
        action: "warn".into(),
        message: "container main has no memory request".into(),
        object: deploy.clone(),
        file: "web/deploy.yaml".into(),
        line: 3,
        operation: "CREATE".into(),
        server: false,
    }];
    let mut broken = app("api", vec![]);
    broken.unchanged = 0;
    broken.blocked = true;
    broken.error = Some(
        Problem::new(
            "PolicyDenied",
            "refused by policy no-latest-image: Deployment api/api: the tag latest: main (api:latest)",
        )
        .at("api/deploy.yaml", 1)
        .hint("Change the manifest, or the policy on the tracked branch."),
    );
    let mut diffs = ObjectDiffs::default();
    diffs.insert(
        "web",
        "prod",
        &deploy,
        Sides { before: Some(deployment(3, "web:1")), after: Some(deployment(5, "web:2")) },
    );
    let data = |value: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token"}, "data": {"token": value}});
    diffs.insert(
        "web",
        "prod",
        &secret,
        Sides { before: Some(data("hmac:1111aaaa")), after: Some(data("hmac:2222bbbb")) },
    );
    (report(vec![web, broken]), diffs)
}

pub(super) fn empty_plan() -> PlanReport {
    report(vec![app("web", vec![])])
}

pub(super) fn long_plan(objects: usize) -> (PlanReport, ObjectDiffs) {
    let mut diffs = ObjectDiffs::default();
    let mut changes = Vec::new();
    for n in 0..objects {
        let map = object("", "ConfigMap", Some("shop"), &format!("map-{n:03}"));
        let lines: String = (0..8).map(|line| format!("line {line} ```` of a longer text\n")).collect();
        let after =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": map.name}, "data": {"text": lines}});
        diffs.insert("web", "prod", &map, Sides { before: None, after: Some(after) });
        changes.push(change(map, &[Action::Create], "not in the cluster yet", Some(("web/maps.yaml", 1))));
    }
    (report(vec![app("web", changes)]), diffs)
}

pub(super) fn hostile_plan() -> (PlanReport, ObjectDiffs) {
    let evil = "</summary></details><img src=x onerror=alert(1)> @everyone [x](https://evil) ```\nFORGED `code` <script>\u{1b}[2J\u{202e}\u{7}";
    let mut target = object("", "ConfigMap", Some("shop"), evil);
    target.kind = "Config```Map".into();
    let mut first = change(target.clone(), &[Action::Update], evil, Some((evil, 1)));
    first.waits_for = vec![target.clone()];
    let mut web = app(evil, vec![first]);
    web.cluster = evil.into();
    web.error = Some(Problem::new("X", evil).at(evil, 1).hint(evil));
    web.policy = vec![PolicyFinding {
        policy: evil.into(),
        action: "deny".into(),
        message: evil.into(),
        object: target.clone(),
        file: evil.into(),
        line: 1,
        operation: "CREATE".into(),
        server: false,
    }];
    let mut diffs = ObjectDiffs::default();
    let after = json!({"data": {"a": format!("`````\n{evil}\n"), (evil): evil, "b": "```\n</details>\n@everyone\n"}});
    diffs.insert(evil, evil, &target, Sides { before: None, after: Some(after) });
    (report(vec![web]), diffs)
}

pub(super) fn sync() -> SyncReport {
    let (plan, _) = plan();
    let mut report = SyncReport::from_plan(plan);
    let web = &mut report.apps[0];
    let outcomes = [
        (Outcome::Applied, "", 42),
        (Outcome::Applied, "", 12),
        (Outcome::Applied, "", 9),
        (Outcome::Failed, "web-6c5d8-x2x: ImagePullBackOff: no such image web:2", 61_500),
        (Outcome::Skipped, "Deployment shop/web is not healthy", 0),
    ];
    for (change, (outcome, message, took_ms)) in web.changes.iter_mut().zip(outcomes) {
        (change.outcome, change.message, change.took_ms) = (outcome, message.into(), took_ms);
    }
    (web.sync, web.health, web.message) = (SyncState::Failed, Health::Degraded, "1 of 5 changes failed".into());
    report
}

pub(super) fn status() -> StatusReport {
    let status = |name: &str, sync, health, score, message: &str| AppStatus {
        name: name.into(),
        cluster: "prod".into(),
        revision: Some(REVISION.into()),
        applied_revision: Some(REVISION.into()),
        sync,
        health,
        score,
        message: message.into(),
        drift: vec![],
        objects: vec![],
    };
    let web = object("apps", "Deployment", Some("shop"), "web");
    let mut drifted = status("web", SyncState::OutOfSync, Health::Progressing, Some(0.6), "2 of 3 pods ready");
    drifted.applied_revision = Some("aaaaaaaabbbbbbbb".into());
    drifted.drift = vec![
        DriftEntry {
            object: web.clone(),
            path: Some(".spec.replicas".into()),
            manager: Some("kubectl-edit".into()),
            since: Some("2026-11-02T10:00:00Z".into()),
        },
        DriftEntry { object: object("", "Service", Some("shop"), "web"), path: None, manager: None, since: None },
    ];
    drifted.objects = vec![
        ObjectStatus { object: web, health: Health::Progressing, message: "2 of 3 pods ready".into() },
        ObjectStatus {
            object: object("", "Service", Some("shop"), "web"),
            health: Health::Missing,
            message: String::new(),
        },
    ];
    let long = "a message that is longer than what a table should hold in one of its cells, so that it is cut there";
    StatusReport {
        reports: Vec::new(),
        error: None,
        apps: vec![
            status("api", SyncState::Synced, Health::Healthy, Some(1.0), ""),
            status("jobs", SyncState::Held, Health::Degraded, None, long),
            drifted,
        ],
    }
}
