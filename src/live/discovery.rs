//! Which kinds a cluster serves: two requests where the server aggregates discovery (KEP-3352, since 1.26), a request
//! per group version elsewhere.
//!
//! A group whose discovery is stale or fails (an APIService without endpoints) is *broken*: its kinds are unknown, not
//! absent, and only its own objects suffer.

use super::client::{ApiError, Call, Client};
use super::kinds::{Kind, Kinds};
use crate::object::{Gk, Gvk};
use futures::future::join_all;
use serde_json::Value;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
     application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

/// Asks the cluster.
///
/// # Errors
/// When discovery as a whole cannot be read; a single broken group is no error but an entry in [`Kinds::broken`].
pub async fn discover(client: &Client) -> Result<Kinds, ApiError> {
    let core = Call { accept: AGGREGATED, ..Call::get("/api") };
    let groups = Call { accept: AGGREGATED, ..Call::get("/apis") };
    let (core, groups) = tokio::try_join!(client.send_patiently(&core), client.send_patiently(&groups))?;
    let mut kinds = Kinds::default();
    for answer in [&core.body, &groups.body] {
        if answer.get("kind").and_then(Value::as_str) == Some("APIGroupDiscoveryList") {
            read_aggregated(answer, &mut kinds);
        } else {
            read_one_by_one(client, answer, &mut kinds).await;
        }
    }
    Ok(kinds)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn items<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn read_aggregated(list: &Value, kinds: &mut Kinds) {
    for group in items(list, "items") {
        let name = group.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        for version in items(group, "versions") {
            if text(version, "freshness") == "Stale" {
                kinds.broken.insert(name.to_owned(), "its API server does not answer".to_owned());
            }
            for resource in items(version, "resources") {
                let kind = resource.get("responseKind").map_or("", |k| text(k, "kind"));
                add(
                    kinds,
                    name,
                    text(version, "version"),
                    kind,
                    text(resource, "resource"),
                    &Facts { namespaced: text(resource, "scope") == "Namespaced", verbs: items(resource, "verbs") },
                );
            }
        }
    }
}

struct Facts<'a> {
    namespaced: bool,
    verbs: &'a [Value],
}

fn add(kinds: &mut Kinds, group: &str, version: &str, kind: &str, plural: &str, facts: &Facts<'_>) {
    let can = |verb: &str| facts.verbs.iter().any(|v| v.as_str() == Some(verb));
    // Sub-resources (`pods/status`) and virtual kinds that only take creates (TokenReview) are no objects to manage.
    if kind.is_empty() || plural.is_empty() || plural.contains('/') || !can("get") {
        return;
    }
    let entry = kinds.by_gk.entry(Gk::new(group, kind)).or_insert_with(|| Kind {
        gvk: Gvk::new(group, version, kind),
        versions: Vec::new(),
        plural: plural.to_owned(),
        namespaced: facts.namespaced,
        listable: can("list") && can("watch"),
    });
    if !entry.versions.iter().any(|v| v == version) {
        entry.versions.push(version.to_owned());
    }
}

/// The way before aggregation: `/api` names versions, `/apis` names groups with theirs; each is asked for.
async fn read_one_by_one(client: &Client, answer: &Value, kinds: &mut Kinds) {
    let mut wanted: Vec<(String, String, String)> = items(answer, "versions")
        .iter()
        .filter_map(Value::as_str)
        .map(|v| (String::new(), v.to_owned(), format!("/api/{v}")))
        .collect();
    for group in items(answer, "groups") {
        let preferred = group.pointer("/preferredVersion/version").and_then(Value::as_str).unwrap_or_default();
        let mut versions: Vec<&str> = items(group, "versions").iter().map(|v| text(v, "version")).collect();
        versions.sort_by_key(|v| *v != preferred);
        let name = text(group, "name");
        wanted.extend(versions.iter().map(|v| (name.to_owned(), (*v).to_owned(), format!("/apis/{name}/{v}"))));
    }
    let calls: Vec<Call> = wanted.iter().map(|(_, _, path)| Call::get(path)).collect();
    let answers = join_all(calls.iter().map(|call| client.send_patiently(call)));
    for ((group, version, _), answer) in wanted.iter().zip(answers.await) {
        match answer {
            Ok(answer) => {
                for resource in items(&answer.body, "resources") {
                    add(
                        kinds,
                        group,
                        version,
                        text(resource, "kind"),
                        text(resource, "name"),
                        &Facts {
                            namespaced: resource.get("namespaced").and_then(Value::as_bool).unwrap_or(false),
                            verbs: items(resource, "verbs"),
                        },
                    );
                }
            }
            Err(error) => {
                kinds.broken.insert(group.clone(), error.to_string());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn aggregated_answers_are_read() {
        let mut kinds = Kinds::default();
        let verbs = json!(["get", "list", "watch", "patch"]);
        read_aggregated(
            &json!({"kind": "APIGroupDiscoveryList", "items": [
                {"metadata": {"name": "autoscaling"}, "versions": [
                    {"version": "v2", "freshness": "Current", "resources": [{"resource": "horizontalpodautoscalers",
                        "responseKind": {"kind": "HorizontalPodAutoscaler"}, "scope": "Namespaced", "verbs": verbs}]},
                    {"version": "v1", "freshness": "Current", "resources": [{"resource": "horizontalpodautoscalers",
                        "responseKind": {"kind": "HorizontalPodAutoscaler"}, "scope": "Namespaced", "verbs": verbs}]}]},
                {"metadata": {"name": "metrics.k8s.io"}, "versions": [{"version": "v1beta1", "freshness": "Stale"}]},
                {"metadata": {"name": "authentication.k8s.io"}, "versions": [{"version": "v1", "resources": [
                    {"resource": "tokenreviews", "responseKind": {"kind": "TokenReview"}, "verbs": ["create"]}]}]}
            ]}),
            &mut kinds,
        );
        let hpa = kinds.get(&Gk::new("autoscaling", "HorizontalPodAutoscaler")).unwrap();
        assert_eq!((hpa.gvk.version.as_str(), hpa.versions.len(), hpa.namespaced, hpa.listable), ("v2", 2, true, true));
        assert!(kinds.broken.contains_key("metrics.k8s.io"));
        assert_eq!(kinds.by_gk.len(), 1);
    }
}
