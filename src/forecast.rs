//! Asks the server what a plan's workloads would meet: one dry-run of one pod for each, and the quotas and budgets of their
//! namespaces. For plans that people read; a sync asks none of it. Writes nothing.

use crate::engine::Engine;
use crate::live::client::{ApiError, Call};
use crate::object::ObjectKey;
use crate::plan::change::Action;
use crate::plan::forecast::{self, Around, PodAnswers, sample_pod};
use crate::plan::{Planned, podspec};
use futures::future::{join, join_all};
use http::Method;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Workloads of one plan that the server is asked about; one with more than that is a migration, which nobody reads pod by
/// pod.
const MOST: usize = 200;

/// Adds what is to be known about its pods to a plan's changes. What cannot be asked is left out: it is no error.
pub async fn foresee(engine: &Engine, planned: &mut Planned) {
    let comes: BTreeSet<ObjectKey> = planned
        .plan
        .changes
        .iter()
        .filter(|change| change.actions.contains(&Action::Create))
        .map(|change| change.object.key())
        .collect();
    // What pods have to obey changes first: the server would answer by the rules of today.
    let rules: BTreeSet<String> = planned
        .plan
        .changes
        .iter()
        .filter(|change| change.actions != [Action::None])
        .filter_map(|change| match (change.object.kind.as_str(), change.object.group.as_str()) {
            ("Namespace", "") => Some(change.object.name.clone()),
            ("LimitRange", "") => change.object.namespace.clone(),
            _ => None,
        })
        .collect();
    let pairs = planned.plan.changes.iter().zip(&planned.sides);
    let samples: Vec<(ObjectKey, Value)> = pairs
        .filter_map(|(change, sides)| {
            let (key, after) = (change.object.key(), sides.after.as_ref()?);
            // What it needs is not there yet: the server would say no to a pod of today.
            let early = podspec::references(&key, after).iter().any(|needed| {
                matches!(needed.kind.as_str(), "ServiceAccount" | "PriorityClass" | "RuntimeClass")
                    && comes.contains(needed)
            }) || key.namespace.as_ref().is_some_and(|space| rules.contains(space));
            Some((key, sample_pod(change, sides).filter(|_| !early)?))
        })
        .take(MOST)
        .collect();
    let spaces: BTreeSet<String> = samples.iter().filter_map(|(key, _)| key.namespace.clone()).collect();
    let asked =
        join_all(samples.iter().map(|(key, pod)| async move { Some((key.clone(), ask(engine, key, pod).await?)) }));
    let looked = join_all(spaces.iter().map(|space| async move { (space.clone(), look_around(engine, space).await) }));
    let (answers, around) = join(asked, looked).await;
    let answers: PodAnswers = answers.into_iter().flatten().collect();
    let around: BTreeMap<String, Around> = around.into_iter().collect();
    forecast::foresee(planned, &answers, &around);
}

/// The pod as it would be, or why there would be none; nothing where the server does not say.
async fn ask(engine: &Engine, key: &ObjectKey, pod: &Value) -> Option<Result<Value, String>> {
    let namespace = key.namespace.as_deref()?;
    let mut call = Call::get(format!("/api/v1/namespaces/{namespace}/pods")).with("dryRun", "All");
    call.method = Method::POST;
    call.body = Some(pod.clone());
    match engine.client.send(&call).await {
        Ok(answer) => Some(Ok(answer.body)),
        // Whoever plans may not create pods: that says nothing about the controllers, which may.
        Err(ApiError::Status { code: 403, message, .. }) if message.contains("cannot create resource") => None,
        Err(error @ ApiError::Status { .. }) if error.is_rejection() => {
            Some(Err(nameless(&error.problem().message, &key.name)))
        }
        Err(_) => None,
    }
}

/// The refusal without the name that the server made up for this one pod: the same plan says the same.
fn nameless(message: &str, workload: &str) -> String {
    let mut out = String::with_capacity(message.len());
    let mut rest = message;
    let start = format!("\"{workload}-");
    while let Some(at) = rest.find(&start) {
        let (before, after) = rest.split_at(at + start.len());
        out.push_str(before);
        let made =
            after.find('"').filter(|end| *end == 5 && after.as_bytes()[..5].iter().all(u8::is_ascii_alphanumeric));
        rest = &after[made.unwrap_or(0)..];
    }
    out + rest
}

async fn look_around(engine: &Engine, namespace: &str) -> Around {
    let list = async |path: String| match engine.client.send_patiently(&Call::get(path).with("limit", "500")).await {
        Ok(answer) => answer.body.get("items").and_then(Value::as_array).cloned().unwrap_or_default(),
        Err(_) => Vec::new(),
    };
    let (quotas, budgets) = join(
        list(format!("/api/v1/namespaces/{namespace}/resourcequotas")),
        list(format!("/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets")),
    )
    .await;
    Around { quotas, budgets }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_no_pod_of_the_moment() {
        let said = "Pod \"web-4qkht\" is invalid: pods \"web-\" is forbidden, \"web-config\" not found";
        assert_eq!(
            nameless(said, "web"),
            "Pod \"web-\" is invalid: pods \"web-\" is forbidden, \"web-config\" not found"
        );
    }
}
