//! What a plan's workloads will do once they are written: which pods restart, because of which fields, and whether the
//! rollout can end at all.
//!
//! In: a plan, the server's answers about one pod of each workload (a dry-run, so that admission, quotas, defaults of
//! LimitRanges and Pod Security are the server's own), and the quotas and budgets around. Out: one [`Forecast`] per
//! change that has pods. Pure.
//!
//! Rules and where they come from:
//! - A rolling update needs room for one more pod where no pod may be missing (`ResolveFenceposts`,
//!   k8s.io/kubernetes/pkg/controller/deployment/util): with `maxUnavailable` 0 it starts with a new pod.
//! - Where both limits round to 0 (`maxSurge: 0`, `maxUnavailable: 20%` of 4), one pod goes down first, whatever was meant.
//! - A PodDisruptionBudget stops no rollout ("workload resources are not limited by PDBs when doing rolling upgrades",
//!   kubernetes.io/docs/tasks/run-application/configure-pdb); one that lets no pod go stops every drain.

use super::change::{Action, Change, Forecast};
use super::planned::{Planned, Sides};
use super::podspec::{pods, restarting, rolls_pods};
use crate::object::quantity::Quantity;
use crate::object::{ObjectKey, ObjectRef, counted};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What the server says of one new pod of a workload: the pod as it would be, or why there would be none.
pub type PodAnswers = BTreeMap<ObjectKey, Result<Value, String>>;

/// What stands around a namespace's pods.
#[derive(Debug, Clone, Default)]
pub struct Around {
    /// ResourceQuotas, live.
    pub quotas: Vec<Value>,
    /// PodDisruptionBudgets, live.
    pub budgets: Vec<Value>,
}

/// Amounts in thousandths, by the names that quotas have for them.
type Usage = BTreeMap<String, i128>;

/// The pod that a change's workload would make, to ask the server about; `None` where the change makes none.
pub fn sample_pod(change: &Change, sides: &Sides) -> Option<Value> {
    let key = change.object.key();
    let makes = [Action::Create, Action::Scale, Action::Rollout, Action::Replace];
    let after = sides.after.as_ref()?;
    if !has_pods(&key) || !change.actions.iter().any(|action| makes.contains(action)) || replicas(after) == 0 {
        return None;
    }
    let mut pod = after.pointer("/spec/template")?.clone();
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    let metadata = pod.as_object_mut()?.entry("metadata").or_insert_with(|| serde_json::json!({})).as_object_mut()?;
    metadata.remove("name");
    metadata.insert("generateName".into(), format!("{}-", key.name).into());
    metadata.insert("namespace".into(), key.namespace.clone()?.into());
    Some(pod)
}

/// Adds the forecasts to a plan's changes.
pub fn foresee(planned: &mut Planned, answers: &PodAnswers, around: &BTreeMap<String, Around>) {
    let mut spent: BTreeMap<String, Usage> = BTreeMap::new();
    let brought: Vec<Value> =
        planned.plan.changes.iter().zip(&planned.sides).filter_map(|(change, sides)| brought(change, sides)).collect();
    // What the plan takes away before anything needs its room.
    let gone: BTreeSet<ObjectKey> = planned
        .plan
        .changes
        .iter()
        .filter(|change| change.actions.contains(&Action::Prune) && change.object.kind == "ResourceQuota")
        .map(|change| change.object.key())
        .collect();
    // Pods that go with this plan make room later, which nobody can count on, nor rule out.
    let makes_room: BTreeSet<String> = planned
        .plan
        .changes
        .iter()
        .filter(|change| change.actions.contains(&Action::Prune) && holds_pods(&change.object.key()))
        .filter_map(|change| change.object.namespace.clone())
        .collect();
    let nothing = Around::default();
    for (change, sides) in planned.plan.changes.iter_mut().zip(&planned.sides) {
        let key = change.object.key();
        let Some(namespace) = key.namespace.clone().filter(|_| has_pods(&key)) else { continue };
        let around = around.get(&namespace).unwrap_or(&nothing);
        let mut forecast = change.forecast.take().unwrap_or_default();
        if change.restarts {
            let both = sides.before.as_ref().zip(sides.after.as_ref());
            forecast.pods = forecast.pods.or_else(|| both.and_then(|(before, after)| restarting(&key, before, after)));
            let below = |path: &&String| path.starts_with(".spec.template.") || path.starts_with(".spec.template[");
            forecast.because = change.fields.iter().map(|field| &field.path).filter(below).cloned().collect();
        }
        if let Some(answer) = answers.get(&key) {
            let spent = spent.entry(namespace.clone()).or_default();
            let stays = |quota: &&Value| {
                !gone.iter().any(|key| key.name == name(quota) && key.namespace.as_deref() == Some(&namespace))
            };
            let left: Vec<Value> = around.quotas.iter().filter(stays).cloned().collect();
            let lifted = left.len() < around.quotas.len();
            let around = Around { quotas: left, budgets: Vec::new() };
            let quotas = quotas(&around, &brought, &namespace);
            // The server answered for a quota that is about to go.
            let refused = answer.as_ref().is_err_and(|text| text.contains("exceeded quota"));
            if !(lifted && refused && quotas.is_empty()) {
                forecast.impossible = impossible(change, sides, answer, &quotas, spent);
                forecast.certain = forecast.impossible.is_some() && !makes_room.contains(&namespace);
            }
        }
        if change.restarts {
            forecast.notes.extend(both_round_to_nothing(&key, sides));
        }
        if change.actions != [Action::Prune] && change.actions != [Action::None] {
            forecast.notes.extend(stubborn_budget(sides, &budgets(around, &brought, &namespace)));
        }
        if forecast != Forecast::default() {
            change.forecast = Some(forecast);
        }
    }
}

/// True for what makes pods at once.
fn has_pods(key: &ObjectKey) -> bool {
    rolls_pods(key) || key.is("batch", "Job")
}

/// True for what has pods as long as it is there.
fn holds_pods(key: &ObjectKey) -> bool {
    has_pods(key) || key.is("", "Pod") || key.is("apps", "ReplicaSet") || key.is("batch", "CronJob")
}

/// A quota or budget as it will be.
fn brought(change: &Change, sides: &Sides) -> Option<Value> {
    let key = change.object.key();
    let ours = key.is("", "ResourceQuota") || key.is("policy", "PodDisruptionBudget");
    let mut object = sides.after.clone().filter(|_| ours)?;
    object["metadata"]["namespace"] = key.namespace.clone()?.into();
    Some(object)
}

fn name(object: &Value) -> &str {
    object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
}

/// Live objects, those that the plan brings in their place or besides.
fn as_they_will_be<'a>(
    live: &'a [Value],
    brought: &'a [Value],
    kind: &str,
    namespace: &str,
) -> Vec<(&'a Value, Option<&'a Value>)> {
    let ours: Vec<&Value> =
        brought.iter().filter(|b| b["kind"] == kind && b["metadata"]["namespace"] == namespace).collect();
    let mut out: Vec<(&Value, Option<&Value>)> =
        live.iter().map(|l| (l, ours.iter().find(|o| name(o) == name(l)).copied())).collect();
    out.extend(ours.iter().filter(|o| !live.iter().any(|l| name(l) == name(o))).map(|o| (*o, Some(*o))));
    out
}

/// One quota: its name, what it allows once the plan is carried out, and what is used of it.
struct Quota<'a> {
    name: &'a str,
    scoped: bool,
    /// This plan changes it first.
    changes: bool,
    hard: BTreeMap<&'a str, i128>,
    used: BTreeMap<&'a str, i128>,
}

fn amounts(list: Option<&Value>) -> BTreeMap<&str, i128> {
    let list = list.and_then(Value::as_object).into_iter().flatten();
    list.filter_map(|(name, value)| Some((name.as_str(), Quantity::from_value(value)?.milli))).collect()
}

fn quotas<'a>(around: &'a Around, brought: &'a [Value], namespace: &str) -> Vec<Quota<'a>> {
    let all = as_they_will_be(&around.quotas, brought, "ResourceQuota", namespace);
    all.into_iter()
        .map(|(live, after)| Quota {
            name: name(live),
            // Which pods a scope takes in is the server's to say: its answer about one pod is.
            scoped: live.pointer("/spec/scopes").is_some() || live.pointer("/spec/scopeSelector").is_some(),
            changes: after.is_some(),
            hard: amounts(after.unwrap_or(live).pointer("/spec/hard")),
            used: amounts(live.pointer("/status/used")),
        })
        .collect()
}

fn budgets<'a>(around: &'a Around, brought: &'a [Value], namespace: &str) -> Vec<&'a Value> {
    let all = as_they_will_be(&around.budgets, brought, "PodDisruptionBudget", namespace);
    all.into_iter().map(|(live, after)| after.unwrap_or(live)).collect()
}

/// Why a workload cannot become what it is to be; takes what it needs of the namespace's quotas into account for the
/// next one.
fn impossible(
    change: &Change,
    sides: &Sides,
    answer: &Result<Value, String>,
    quotas: &[Quota<'_>],
    spent: &mut Usage,
) -> Option<String> {
    let after = sides.after.as_ref()?;
    let rolls = change.restarts && sides.before.is_some();
    let pod = match answer {
        Ok(pod) => pod,
        Err(text) if !text.contains("exceeded quota") => return Some(format!("no pod of it can be created: {text}")),
        Err(text) if rolls && needs_one_more(&change.object, after) && !has_room(after, quotas, spent) => {
            return Some(format!(
                "no pod may be missing (maxUnavailable is 0), so that the rollout begins with a new one, and there is no room for it: {text}"
            ));
        }
        // What is used is about to change: below is counted whether all fit in the end.
        Err(_) => after.pointer("/spec/template")?,
    };
    let each = usage(pod.get("spec")?);
    let before = sides.before.as_ref().filter(|_| !change.actions.contains(&Action::Create));
    let (old_count, old_each) = match before {
        Some(before) => {
            let count = pods(&change.object.key(), before).unwrap_or(0);
            // Where neither says how much, both have the same default.
            let mut own = before.pointer("/spec/template/spec").map(usage).unwrap_or_default();
            let said = after.pointer("/spec/template/spec").map(usage).unwrap_or_default();
            for (name, amount) in &each {
                if !said.contains_key(name) {
                    own.entry(name.clone()).or_insert(*amount);
                }
            }
            (i128::from(count), own)
        }
        None => (0, Usage::new()),
    };
    // How many pods a DaemonSet has is the nodes' to say.
    let count = if change.object.kind == "DaemonSet" { old_count } else { i128::from(replicas(after)) };
    let one_more = rolls && needs_one_more(&change.object, after);
    // The smallest of all limits counts.
    let mut least: Option<(i128, String)> = None;
    for quota in quotas.iter().filter(|quota| !quota.scoped) {
        for (resource, hard) in &quota.hard {
            let Some(one) = each.get(*resource).filter(|one| **one > 0) else { continue };
            let used = quota.used.get(resource).copied().unwrap_or(0) + spent.get(*resource).copied().unwrap_or(0);
            let others = used - old_count * old_each.get(*resource).copied().unwrap_or(0);
            let fit = ((hard - others.max(0)) / one).clamp(0, count);
            if fit < count && least.as_ref().is_none_or(|(known, _)| fit < *known) {
                let shown = |milli: i128| Quantity { milli }.to_string();
                let why = format!(
                    "{fit} of its {} {} into ResourceQuota {}: each takes {} of {resource}, others use {} of {}",
                    how_many(count),
                    if fit == 1 { "fits" } else { "fit" },
                    quota.name,
                    shown(*one),
                    shown(others.max(0)),
                    shown(*hard)
                );
                least = Some((fit, why));
            }
            // Scaled first, then rolled out: the first new pod comes beside all of the old ones.
            let old = old_each.get(*resource).copied().unwrap_or(*one);
            if fit == count && one_more && others.max(0) + count * old + one > *hard && least.is_none() {
                let why = format!(
                    "no pod may be missing (maxUnavailable is 0), so that the rollout begins with a new one, and ResourceQuota {} has no room for {}",
                    quota.name,
                    how_many(count + 1)
                );
                least = Some((count, why));
            }
        }
    }
    for (name, one) in each {
        let more = count * one - old_count * old_each.get(&name).copied().unwrap_or(0);
        *spent.entry(name).or_default() += more;
    }
    least.map(|(_, why)| why)
}

/// True if the plan changes the quotas first so that one more pod fits: the server answered for those of today.
fn has_room(after: &Value, quotas: &[Quota<'_>], spent: &Usage) -> bool {
    let one = after.pointer("/spec/template/spec").map(usage).unwrap_or_default();
    let taken = |quota: &Quota<'_>, resource: &str| {
        quota.used.get(resource).copied().unwrap_or(0) + spent.get(resource).copied().unwrap_or(0)
    };
    quotas.iter().any(|quota| quota.changes)
        && quotas.iter().filter(|quota| !quota.scoped).all(|quota| {
            let fits = |(resource, hard): (&&str, &i128)| {
                one.get(*resource).is_none_or(|one| taken(quota, resource) + one <= *hard)
            };
            quota.hard.iter().all(fits)
        })
}

/// True if the rollout makes a new pod before an old one goes.
fn needs_one_more(object: &ObjectRef, after: &Value) -> bool {
    match object.kind.as_str() {
        "Deployment" => {
            after.pointer("/spec/strategy/type").is_none_or(|t| t == "RollingUpdate") && fenceposts(after).1 == 0
        }
        // A DaemonSet that surges has no pod missing on a node (KEP-1591).
        "DaemonSet" => {
            let surge = after.pointer("/spec/updateStrategy/rollingUpdate/maxSurge");
            surge.is_some_and(|surge| resolve(surge, 100, true) > 0)
        }
        _ => false,
    }
}

/// `maxSurge` and `maxUnavailable` of a Deployment in pods, as the controller resolves them.
fn fenceposts(deployment: &Value) -> (u64, u64) {
    let count = replicas(deployment);
    let limit = |name: &str, up: bool| {
        let value = deployment.pointer(&format!("/spec/strategy/rollingUpdate/{name}"));
        value.map_or_else(|| resolve(&Value::from("25%"), count, up), |value| resolve(value, count, up))
    };
    match (limit("maxSurge", true), limit("maxUnavailable", false)) {
        (0, 0) => (0, 1),
        both => both,
    }
}

/// A number or a share of pods.
fn resolve(value: &Value, count: u64, up: bool) -> u64 {
    if let Some(n) = value.as_u64() {
        return n;
    }
    let Some(percent) = value.as_str().and_then(|text| text.strip_suffix('%')?.parse::<u64>().ok()) else { return 0 };
    let all = count.saturating_mul(percent);
    if up { all.div_ceil(100) } else { all / 100 }
}

fn both_round_to_nothing(key: &ObjectKey, sides: &Sides) -> Option<String> {
    let after = sides.after.as_ref().filter(|_| key.is("apps", "Deployment"))?;
    let rolling = after.pointer("/spec/strategy/rollingUpdate")?;
    let count = replicas(after);
    let none = |name: &str, up: bool| rolling.get(name).is_some_and(|value| resolve(value, count, up) == 0);
    let text = "maxSurge and maxUnavailable both round to 0 pods; Kubernetes takes one pod down first then";
    (count > 0 && none("maxSurge", true) && none("maxUnavailable", false)).then(|| match count {
        1 => format!("{text}: none is ready until the new one is"),
        _ => text.to_owned(),
    })
}

/// A budget that lets no pod of this workload go.
fn stubborn_budget(sides: &Sides, budgets: &[&Value]) -> Option<String> {
    let after = sides.after.as_ref()?;
    let count = replicas(after);
    let labels = after.pointer("/spec/template/metadata/labels");
    let budget = budgets.iter().find(|budget| {
        let selects = selects(budget.pointer("/spec/selector"), labels);
        let at_least = budget.pointer("/spec/minAvailable").is_some_and(|least| resolve(least, count, true) >= count);
        let at_most = budget.pointer("/spec/maxUnavailable").is_some_and(|most| resolve(most, count, true) == 0);
        selects && count > 0 && (at_least || at_most)
    })?;
    let said = ["minAvailable", "maxUnavailable"]
        .iter()
        .find_map(|field| Some(format!("{field} {}", budget["spec"].get(field)?.to_string().trim_matches('"'))))?;
    Some(format!(
        "PodDisruptionBudget {} lets none of {} go ({said}): the rollout does not ask it, but a drain of their nodes waits for ever",
        name(budget),
        how_many(i128::from(count))
    ))
}

/// `1 pod`, `3 pods`.
fn how_many(count: i128) -> String {
    counted(usize::try_from(count).unwrap_or_default(), "pod")
}

/// A label selector; an empty one of a budget selects all (policy/v1).
fn selects(selector: Option<&Value>, labels: Option<&Value>) -> bool {
    let Some(selector) = selector.filter(|selector| selector.is_object()) else { return false };
    let value = |key: &str| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
    let wanted = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
    let rules = selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten();
    wanted.into_iter().all(|(key, wanted)| value(key) == wanted.as_str())
        && rules.into_iter().all(|rule| {
            let found = value(rule["key"].as_str().unwrap_or_default());
            let listed =
                found.is_some_and(|found| rule["values"].as_array().is_some_and(|all| all.iter().any(|v| v == found)));
            match rule["operator"].as_str().unwrap_or_default() {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => false,
            }
        })
}

fn replicas(workload: &Value) -> u64 {
    match workload.pointer("/spec/replicas") {
        Some(n) => n.as_u64().unwrap_or(0),
        // A DaemonSet's number is the nodes'.
        None if workload["kind"] == "DaemonSet" => {
            workload.pointer("/status/desiredNumberScheduled").and_then(Value::as_u64).unwrap_or(1)
        }
        None if workload["kind"] == "Job" => workload.pointer("/spec/parallelism").and_then(Value::as_u64).unwrap_or(1),
        None => 1,
    }
}

/// What a pod takes of a quota (pkg/quota/v1/evaluator/core/pods.go): the sum of its containers and sidecars, or what its
/// largest init container takes while it runs if that is more.
fn usage(spec: &Value) -> Usage {
    let mut out = Usage::from([("pods".to_owned(), 1000), ("count/pods".to_owned(), 1000)]);
    let list = |name: &str| spec.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for side in ["requests", "limits"] {
        let mut running = Usage::new();
        let of = |container: &Value| -> Usage {
            let all = container.pointer(&format!("/resources/{side}")).and_then(Value::as_object).into_iter().flatten();
            all.filter_map(|(name, value)| Some((name.clone(), Quantity::from_value(value)?.milli))).collect()
        };
        let (sidecars, initial): (Vec<&Value>, Vec<&Value>) =
            list("initContainers").iter().partition(|container| container["restartPolicy"] == "Always");
        for (name, amount) in list("containers").iter().chain(sidecars).flat_map(of) {
            *running.entry(name).or_default() += amount;
        }
        for (name, amount) in initial.into_iter().flat_map(of) {
            let entry = running.entry(name).or_default();
            *entry = (*entry).max(amount);
        }
        for (name, amount) in running {
            out.insert(format!("{side}.{name}"), amount);
            if side == "requests" {
                out.insert(name, amount);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn workload(count: u64, surge: &Value, unavailable: &Value, image: &str) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"replicas": count, "selector": {"matchLabels": {"app": "web"}},
                "strategy": {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": image,
                    "resources": {"requests": {"cpu": "500m"}}}]}}}})
    }

    fn change(actions: &[Action]) -> Change {
        Change {
            object: ObjectKey::new(&crate::object::Gk::new("apps", "Deployment"), Some("shop"), "web")
                .with_version("v1"),
            actions: actions.to_vec(),
            restarts: actions.contains(&Action::Rollout),
            why: String::new(),
            source: None,
            wave: 0,
            waits_for: Vec::new(),
            fields: Vec::new(),
            hook: None,
            forecast: None,
        }
    }

    fn quota(hard: &Value, used: &Value) -> Value {
        json!({"kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": hard}, "status": {"used": used}})
    }

    fn verdict(
        actions: &[Action],
        before: Option<Value>,
        after: Value,
        quotas: Vec<Value>,
        refused: Option<&str>,
    ) -> Option<String> {
        let answer = match refused {
            Some(text) => Err(text.to_owned()),
            None => Ok(after["spec"]["template"].clone()),
        };
        let around = Around { quotas, budgets: Vec::new() };
        let sides = Sides { before, after: Some(after) };
        impossible(&change(actions), &sides, &answer, &super::quotas(&around, &[], "shop"), &mut Usage::new())
    }

    #[test]
    fn a_rollout_that_needs_one_more_pod_than_the_quota_has() {
        let full = "pods \"web-x\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=3, limited: pods=3";
        let quotas = || vec![quota(&json!({"pods": "3"}), &json!({"pods": "3"}))];
        let (zero, one) = (json!(0), json!(1));
        let roll = |surge: &Value, unavailable: &Value| {
            let side = |image: &str| workload(3, surge, unavailable, image);
            verdict(&[Action::Rollout], Some(side("a:1")), side("a:2"), quotas(), Some(full))
        };
        assert!(roll(&one, &zero).is_some_and(|why| why.contains("no room for it") && why.contains("limited: pods=3")));
        assert_eq!(roll(&one, &one), None, "an old pod goes first");
        assert_eq!(roll(&json!("25%"), &json!("34%")), None);
        assert!(roll(&json!("25%"), &json!("25%")).is_some(), "25% of 3 pods is no pod");
    }

    #[test]
    fn more_pods_than_a_quota_holds() {
        let (zero, one) = (json!(0), json!(1));
        let side = |count: u64| workload(count, &one, &zero, "a:1");
        let quotas = |used: &str| vec![quota(&json!({"requests.cpu": "2"}), &json!({"requests.cpu": used}))];
        assert_eq!(verdict(&[Action::Scale], Some(side(2)), side(4), quotas("1"), None), None);
        let why = verdict(&[Action::Scale], Some(side(2)), side(5), quotas("1500m"), None).unwrap();
        assert_eq!(
            why,
            "3 of its 5 pods fit into ResourceQuota q: each takes 500m of requests.cpu, others use 500m of 2"
        );
        assert!(verdict(&[Action::Create], None, side(5), quotas("0"), None).is_some());
        // By pods 4 fit, by CPU 3: the smaller one counts, whichever comes first.
        let both =
            vec![quota(&json!({"pods": "4", "requests.cpu": "1500m"}), &json!({"pods": "0", "requests.cpu": "0"}))];
        let why = verdict(&[Action::Create], None, side(9), both, None).unwrap();
        assert!(why.starts_with("3 of its 9 pods fit into ResourceQuota q: each takes 500m of requests.cpu"), "{why}");
        let why =
            verdict(&[Action::Create], None, side(1), Vec::new(), Some("violates PodSecurity \"restricted\"")).unwrap();
        assert!(why.starts_with("no pod of it can be created: violates PodSecurity"));
    }

    #[test]
    fn limits_that_round_to_nothing_and_budgets_that_let_no_pod_go() {
        let sides = |count: u64| Sides { before: None, after: Some(workload(count, &json!(0), &json!("20%"), "a:1")) };
        let key = change(&[]).object.key();
        assert!(both_round_to_nothing(&key, &sides(1)).is_some_and(|text| text.contains("none is ready")));
        assert!(both_round_to_nothing(&key, &sides(4)).is_some());
        assert_eq!(both_round_to_nothing(&key, &sides(5)), None);
        let budget = |spec: &Value| {
            let mut budget = json!({"kind": "PodDisruptionBudget", "metadata": {"name": "b"}, "spec": spec});
            budget["spec"]["selector"] =
                json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]});
            budget
        };
        for (spec, count, stubborn) in [
            (json!({"minAvailable": 1}), 1, true),
            (json!({"minAvailable": 1}), 2, false),
            (json!({"minAvailable": "60%"}), 2, true),
            (json!({"maxUnavailable": 0}), 3, true),
            (json!({"maxUnavailable": "10%"}), 3, false),
        ] {
            assert_eq!(stubborn_budget(&sides(count), &[&budget(&spec)]).is_some(), stubborn, "{spec} {count}");
        }
    }

    #[test]
    fn what_a_pod_takes() {
        let spec = json!({"containers": [{"resources": {"requests": {"cpu": "1", "nvidia.com/gpu": "2"}}}],
            "initContainers": [{"resources": {"requests": {"cpu": "3"}}}, {"restartPolicy": "Always", "resources": {"requests": {"cpu": "500m"}}}]});
        let usage = usage(&spec);
        assert_eq!((usage["cpu"], usage["requests.cpu"], usage["requests.nvidia.com/gpu"]), (3000, 3000, 2000));
        assert!(!usage.contains_key("limits.cpu"));
    }
}
