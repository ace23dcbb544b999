//! What has to be true when the faults are over.

use super::life::{INSTANCE, Repo, tools};
use super::world::{Key, Thing, World};
use base64::Engine as _;
use driftless::engine::Engine;
use driftless::inventory::identity::{PART_OF, scope_name};
use driftless::live::client::{Call, Client};
use driftless::plan::Planned;
use driftless::reconcile::{HowTo, Wanted, sync};
use driftless::workspace::{members_on, policies_of};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const KINDS: [(&str, &str); 5] = [
    ("ConfigMap", "/api/v1/namespaces/{}/configmaps"),
    ("Secret", "/api/v1/namespaces/{}/secrets"),
    ("Service", "/api/v1/namespaces/{}/services"),
    ("ServiceAccount", "/api/v1/namespaces/{}/serviceaccounts"),
    ("Deployment", "/apis/apps/v1/namespaces/{}/deployments"),
];

/// Everything that lies in the namespaces of a world, whoever it belongs to.
pub async fn everything(client: &Client, world: &World) -> BTreeMap<Key, Value> {
    let mut out = BTreeMap::new();
    for namespace in [&world.namespace, &world.second] {
        for (kind, path) in KINDS {
            let call = Call::get(path.replace("{}", namespace));
            let answer = client.send_patiently(&call).await.expect("the cluster answers");
            for item in answer.body["items"].as_array().cloned().unwrap_or_default() {
                let name = item["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                out.insert((kind.to_owned(), namespace.clone(), name), item);
            }
        }
        if let Ok(answer) = client.send_patiently(&Call::get(format!("/api/v1/namespaces/{namespace}"))).await {
            out.insert(("Namespace".to_owned(), String::new(), namespace.clone()), answer.body);
        }
    }
    out
}

/// Uids by object.
pub fn uids(all: &BTreeMap<Key, Value>) -> BTreeMap<Key, String> {
    let uid = |item: &Value| item["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    all.iter().map(|(key, item)| (key.clone(), uid(item))).collect()
}

/// What nobody writes may not change in. Deployments have a status, which does.
pub fn versions(all: &BTreeMap<Key, Value>) -> BTreeMap<Key, Value> {
    let version = |(key, item): (&Key, &Value)| {
        let field = if key.0 == "Deployment" || key.0 == "Namespace" { "generation" } else { "resourceVersion" };
        let ours = item["metadata"]["managedFields"].as_array().into_iter().flatten();
        let times: Vec<Value> =
            ours.filter(|m| m["manager"].as_str().is_some_and(|m| m.starts_with("driftless"))).cloned().collect();
        (key.clone(), json!([item["metadata"][field], item["metadata"]["uid"], times]))
    };
    all.iter().map(version).collect()
}

/// Live equals desired, and nothing of ours is there that nobody wants.
pub fn converged(world: &World, all: &BTreeMap<Key, Value>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (key, thing) in world.end() {
        match all.get(key) {
            None => wrong.push(format!("{key:?} is missing")),
            Some(live) => {
                if let Some(difference) = difference(&key.0, &thing.manifest, live) {
                    wrong.push(format!("{key:?} {difference}"));
                }
            }
        }
    }
    for (key, live) in all {
        let ours = live["metadata"]["labels"][PART_OF].is_string()
            || live["metadata"]["managedFields"].as_array().into_iter().flatten().any(|m| m["manager"] == "driftless");
        let created = key.0 == "Namespace" && key.2 == world.namespace;
        if ours && !created && !world.end().contains_key(key) && key.2 != "kept" {
            wrong.push(format!("{key:?} is ours, and nobody wants it"));
        }
    }
    wrong
}

fn difference(kind: &str, wanted: &Value, live: &Value) -> Option<String> {
    if !live["metadata"]["labels"][PART_OF].is_string() {
        return Some("carries no label of ours".to_owned());
    }
    if live["metadata"]["deletionTimestamp"].is_string() {
        return Some("is being deleted".to_owned());
    }
    let pairs: Vec<(Value, &Value)> = match kind {
        "ConfigMap" => vec![(wanted["data"].clone(), &live["data"])],
        "Secret" => {
            let value = wanted["stringData"]["v"].as_str().unwrap_or_default();
            vec![(base64::engine::general_purpose::STANDARD.encode(value).into(), &live["data"]["v"])]
        }
        "Service" => vec![(wanted["spec"]["ports"][0]["port"].clone(), &live["spec"]["ports"][0]["port"])],
        "ServiceAccount" => {
            vec![(wanted["metadata"]["annotations"]["v"].clone(), &live["metadata"]["annotations"]["v"])]
        }
        "Deployment" => {
            let image = |object: &Value| object["spec"]["template"]["spec"]["containers"][0]["image"].clone();
            if image(wanted) != image(live) {
                return Some(format!("runs {} and not {}", image(live), image(wanted)));
            }
            vec![(wanted["spec"]["replicas"].clone(), &live["spec"]["replicas"])]
        }
        _ => vec![],
    };
    pairs
        .into_iter()
        .find(|(wanted, live)| wanted != *live)
        .map(|(wanted, live)| format!("has {live} and not {wanted}"))
}

/// Each inventory lists what its app wants, and nothing else; nobody holds a lock.
pub async fn inventories(engine: &Engine, repo: &Repo, world: &World) -> Vec<String> {
    let scope = scope_name(INSTANCE, &repo.origin().identity, "");
    let parents = engine.parents.load_scope(&scope).await.expect("inventories that can be read");
    let mut listed: BTreeMap<String, BTreeSet<Key>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for stored in &parents {
        let members = stored.parent.members.iter().map(|m| &m.object);
        let members = members.map(|o| (o.kind.clone(), o.namespace.clone().unwrap_or_default(), o.name.clone()));
        // The namespace that is created because the apps need it.
        let members = members.filter(|key| key.0 != "Namespace" || key.2 != world.namespace);
        listed.entry(stored.parent.identity.app.clone()).or_default().extend(members.filter(|key| key.2 != "kept"));
        if stored.lock.is_some() {
            wrong.push(format!("{} is still locked", stored.parent.identity.app));
        }
        if let Some(half) = stored.parent.members.iter().find(|m| m.uid.is_none() && m.object.name != "kept") {
            wrong.push(format!("{} has no uid in the inventory", half.object));
        }
    }
    let mut wanted: BTreeMap<String, BTreeSet<Key>> = BTreeMap::new();
    for (key, Thing { app, .. }) in world.end() {
        wanted.entry(app.clone()).or_default().insert(key.clone());
    }
    listed.retain(|app, members| !members.is_empty() || wanted.contains_key(app));
    if listed != wanted {
        wrong.push(format!("inventories list {listed:?} and not {wanted:?}"));
    }
    wrong
}

/// Each revision that was spoken of has its final state: `pending`, one end, and no more unless it was begun again. Where
/// it is a person who begins again, also what was stopped is.
pub fn statuses(repo: &Repo, commits: &[String], by_hand: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    for (number, commit) in commits.iter().enumerate() {
        let said = repo.states(commit);
        let pairs = said.chunks(2).all(|pair| match pair {
            [first, last] => first.0 == "pending" && last.0 != "pending",
            _ => false,
        });
        // One that was overtaken before anybody saw it was never spoken of.
        if !pairs || (said.is_empty() && number + 1 == commits.len()) {
            wrong.push(format!("commit {number} of {}: {said:?}", commits.len()));
        }
        let superseded = said.iter().filter(|said| said.0 == "superseded").count();
        if by_hand {
            continue;
        }
        if superseded > 1 || (superseded == 1 && said.last().is_some_and(|said| said.0 != "superseded")) {
            wrong.push(format!("commit {number} goes on after it was superseded: {said:?}"));
        }
    }
    wrong
}

/// One more sync of everything, as the command line does it: nothing is written.
pub async fn nothing_to_do(engine: &Engine, repo: &Repo) -> Vec<String> {
    let origin = repo.origin();
    let tip = origin.tip(&origin.fetch_head().await.unwrap()).await.unwrap();
    let apps = origin.apps(repo.config(), &tip.tree).unwrap();
    let tools = tools();
    let policies = policies_of(repo.config(), &tip.tree, &tools).await.unwrap();
    let key = engine.digest_key().await.unwrap().to_vec();
    let ground = (repo.config(), &origin, &tools);
    let (members, neighbours) = members_on(engine, ground, apps, &tip, &key, true).await.unwrap();
    let cancel = CancellationToken::new();
    let mut wrong = Vec::new();
    let scope = scope_name(INSTANCE, &origin.identity, "");
    let before = engine.parents.load_scope(&scope).await.expect("inventories that can be read");
    for member in &members {
        let Ok(rendered) = member.rendered.as_ref() else {
            wrong.push(format!("{} does not render", member.app.name));
            continue;
        };
        let wanted = Wanted {
            app: &member.app,
            revision: &tip.revision,
            rendered,
            policies: &policies,
            neighbours: &neighbours,
        };
        let how = HowTo {
            wait: true,
            timeout: Duration::from_secs(10),
            cancel: &cancel,
            progress: &|_| {},
            despite_hold: false,
            runs: None,
            history: None,
        };
        let synced = sync(engine, &wanted, &how).await;
        if synced.wrote || synced.halt.is_some() || synced.planned.as_ref().is_none_or(Planned::has_changes) {
            let changes = synced.planned.as_ref().map(|planned| &planned.plan.changes);
            wrong.push(format!("a second sync of {}: {changes:?} {:?}", member.app.name, synced.halt));
        }
    }
    match engine.client.counts().1 {
        0 => {}
        writes => {
            let after = engine.parents.load_scope(&scope).await.expect("inventories that can be read");
            let changed: Vec<_> = before.iter().zip(&after).filter(|(one, two)| one != two).collect();
            wrong.push(format!("a second sync wrote {writes} times: {changed:#?}"));
        }
    }
    wrong
}
