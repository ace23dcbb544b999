//! Services. There once they are created; an address of a load balancer is waited for only where its class is opted in
//! (a cluster without a load balancer never assigns one). A Service without endpoints behind a workload that is meant to
//! run is not silently fine, but gates nothing: the fix of that workload must not wait for its Service.

use super::assess::Rules;
use super::pod;
use super::related::Related;
use super::status::{self, int, list, text};
use super::verdict::Assessment;
use crate::object::{Live, Manifest};
use jiff::Timestamp;
use serde_json::{Map, Value};

/// A Service; `related` holds the EndpointSlices and workloads of its namespace where they were read.
pub fn assess(live: &Live, related: &Related, rules: &Rules<'_>, now: Timestamp) -> Assessment {
    let class = text(live, "/spec/loadBalancerClass").unwrap_or_default();
    let balanced = text(live, "/spec/type") == Some("LoadBalancer");
    if balanced && rules.waits_for_address(class) && list(live, "/status/loadBalancer/ingress").is_empty() {
        return Assessment::progressing("waits for the address of its load balancer");
    }
    if !selects(live) || has_endpoints(live, related) != Some(false) {
        return Assessment::healthy();
    }
    let behind = behind(live, related);
    match behind.first() {
        Some(workload) => without_endpoints(live, workload, now).ungated(),
        None => Assessment::healthy(),
    }
}

/// True if the Service chooses pods by labels, so that endpoints can be expected.
pub fn selects(live: &Live) -> bool {
    text(live, "/spec/type") != Some("ExternalName") && selector(live).is_some()
}

fn selector(live: &Live) -> Option<&Map<String, Value>> {
    live.at("/spec/selector").and_then(Value::as_object).filter(|selector| !selector.is_empty())
}

/// True if any endpoint is ready; `None` if the slices were not read. An endpoint that does not say counts as ready
/// (discovery.k8s.io/v1, `EndpointConditions.Ready`).
pub fn has_endpoints(live: &Live, related: &Related) -> Option<bool> {
    let slices = related.of("discovery.k8s.io", "EndpointSlice")?;
    Some(
        slices
            .into_iter()
            .filter(|slice| slice.namespace() == live.namespace())
            .filter(|slice| slice.label("kubernetes.io/service-name") == Some(live.name()))
            .flat_map(|slice| list(slice, "/endpoints"))
            .any(|endpoint| endpoint.pointer("/conditions/ready").and_then(Value::as_bool).unwrap_or(true)),
    )
}

/// Workloads that are meant to run and whose pods the Service selects.
fn behind<'a>(live: &Live, related: &'a Related) -> Vec<&'a Live> {
    let Some(selector) = selector(live) else { return Vec::new() };
    ["Deployment", "StatefulSet"]
        .into_iter()
        .filter_map(|kind| related.of("apps", kind))
        .flatten()
        .filter(|workload| workload.namespace() == live.namespace() && !workload.is_terminating())
        .filter(|workload| int(workload, "/spec/replicas").unwrap_or(1) > 0)
        .filter(|workload| {
            let labels = workload.at("/spec/template/metadata/labels").and_then(Value::as_object);
            labels.is_some_and(|labels| selector.iter().all(|(key, value)| labels.get(key) == Some(value)))
        })
        .collect()
}

fn without_endpoints(live: &Live, workload: &Live, now: Timestamp) -> Assessment {
    // Items of a list carry no kind; a StatefulSet is the one with a service name.
    let kind = if workload.at("/spec/serviceName").is_some() { "StatefulSet" } else { "Deployment" };
    let ready = status::count(workload, "/status/readyReplicas");
    let desired = int(workload, "/spec/replicas").unwrap_or(1);
    let message = format!(
        "no endpoint is ready behind it; {kind} {} has {ready} of {} ready",
        workload.name(),
        status::plural(desired, "pod")
    );
    let since = status::created(live).max(status::created(workload));
    Assessment::patiently(since, pod::PATIENCE, now, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{Health, RelatedQuery};
    use serde_json::json;
    use std::sync::Arc;

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    fn service(spec: &Value, status: &Value) -> Live {
        Live(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop",
            "creationTimestamp": "2026-03-01T11:59:00Z"}, "spec": spec, "status": status}))
    }

    #[test]
    fn addresses_are_waited_for_where_opted_in() {
        let classes = ["nlb".to_owned()];
        let all = ["*".to_owned()];
        let with = |class: &str| json!({"type": "LoadBalancer", "loadBalancerClass": class});
        let none = json!({"loadBalancer": {}});
        let some = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
        for (spec, status, opted, health) in [
            (json!({"type": "LoadBalancer"}), &none, &[][..], Health::Healthy),
            (json!({"type": "LoadBalancer"}), &none, &classes[..], Health::Healthy),
            (json!({"type": "LoadBalancer"}), &none, &all[..], Health::Progressing),
            (with("nlb"), &none, &classes[..], Health::Progressing),
            (with("nlb"), &some, &classes[..], Health::Healthy),
            (json!({"type": "ClusterIP"}), &none, &all[..], Health::Healthy),
            (json!({"type": "ExternalName", "selector": {"a": "b"}}), &none, &all[..], Health::Healthy),
        ] {
            let rules = Rules { wait_for_address: opted, ..Rules::default() };
            let found = assess(&service(&spec, status), &Related::default(), &rules, now());
            assert_eq!(found.health, health, "{spec}");
        }
    }

    #[test]
    fn no_endpoints_behind_a_scaled_up_workload() {
        let live = service(&json!({"type": "ClusterIP", "selector": {"app": "web"}}), &json!({}));
        let slice = |ready: Value| {
            Arc::new(Live(json!({"metadata": {"namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
                "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}]})))
        };
        let deployment = |app: &str, replicas: i64| {
            Arc::new(Live(
                json!({"metadata": {"name": "web", "namespace": "shop", "creationTimestamp": "2026-03-01T11:58:00Z"},
                "spec": {"replicas": replicas, "template": {"metadata": {"labels": {"app": app, "v": "1"}}}}}),
            ))
        };
        for (slices, workloads, health) in [
            (vec![slice(json!(true))], vec![deployment("web", 2)], Health::Healthy),
            (vec![slice(json!(null))], vec![deployment("web", 2)], Health::Healthy),
            (vec![slice(json!(false))], vec![deployment("web", 2)], Health::Progressing),
            (vec![], vec![deployment("web", 2)], Health::Progressing),
            (vec![], vec![deployment("web", 0)], Health::Healthy),
            (vec![], vec![deployment("api", 2)], Health::Healthy),
        ] {
            let mut related = Related::default();
            related.add(&RelatedQuery::endpoint_slices_beside(&live), slices);
            related.add(&RelatedQuery::workloads_beside(&live)[0], workloads);
            let found = assess(&live, &related, &Rules::default(), now());
            assert_eq!(found.health, health, "{found:?}");
            assert_eq!(found.gates, health == Health::Healthy);
            if health == Health::Progressing {
                assert_eq!(found.message, "no endpoint is ready behind it; Deployment web has 0 of 2 pods ready");
                let later = assess(&live, &related, &Rules::default(), found.recheck_at.unwrap());
                assert_eq!(later.health, Health::Degraded);
            }
        }
    }
}
