//! Which rule judges which kind, what has to be read for it, and what follows from the verdict.

use super::related::{Related, RelatedQuery};
use super::verdict::{Assessment, Health, ObjectHealth};
use super::{
    apiservice, crd, cronjob, custom, daemonset, deployment, hpa, ingress, job, namespace, node, pdb, pod, pv, pvc,
    replicaset, service, statefulset, status,
};
use crate::object::{Gk, Live, Manifest, ObjectKey};
use jiff::Timestamp;

/// A verdict from outside the built-in rules; `None` leaves the object to them.
pub type CustomRule<'a> = dyn Fn(&Live) -> Option<ObjectHealth> + Send + Sync + 'a;

/// What the configuration says about health.
#[derive(Default, Clone, Copy)]
pub struct Rules<'a> {
    /// Load balancer and Ingress classes whose address is waited for; `*` for all, also those that name no class.
    pub wait_for_address: &'a [String],
    /// Rules of the configuration, asked before the built-in ones (not about objects that are being deleted).
    pub custom: Option<&'a CustomRule<'a>>,
}

impl std::fmt::Debug for Rules<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules")
            .field("wait_for_address", &self.wait_for_address)
            .field("custom", &self.custom.is_some())
            .finish()
    }
}

impl Rules<'_> {
    /// True if an address is waited for in this class; `class` is empty where the object names none.
    pub fn waits_for_address(&self, class: &str) -> bool {
        self.wait_for_address.iter().any(|opted| opted == "*" || (opted == class && !class.is_empty()))
    }
}

/// Health of a live object by the built-in rules.
pub fn assess(live: &Live, related: &Related, now: Timestamp) -> Assessment {
    assess_with(live, related, &Rules::default(), now)
}

/// Health of a live object, with what the configuration says.
pub fn assess_with(live: &Live, related: &Related, rules: &Rules<'_>, now: Timestamp) -> Assessment {
    let gk = live.gvk().gk();
    if gk.is("", "Namespace") {
        return namespace::assess(live);
    }
    if let Some(leaving) = status::terminating(live) {
        return leaving;
    }
    if let Some(said) = rules.custom.and_then(|rule| rule(live)) {
        return Assessment::new(said.health, said.message);
    }
    match (gk.group.as_str(), gk.kind.as_str()) {
        ("apps" | "extensions", "Deployment") => deployment::assess(live, related, now),
        ("apps", "StatefulSet") => statefulset::assess(live, related, now),
        ("apps" | "extensions", "DaemonSet") => daemonset::assess(live, related, now),
        ("apps" | "extensions", "ReplicaSet") | ("", "ReplicationController") => replicaset::assess(live, related, now),
        ("", "Pod") => pod::assess(live, related, now),
        ("batch", "Job") => job::assess(live, related, now),
        ("batch", "CronJob") => cronjob::assess(live, related),
        ("", "PersistentVolumeClaim") => pvc::assess(live, related),
        ("", "PersistentVolume") => pv::assess(live),
        ("", "Service") => service::assess(live, related, rules, now),
        ("networking.k8s.io" | "extensions", "Ingress") => ingress::assess(live, rules),
        ("autoscaling", "HorizontalPodAutoscaler") => hpa::assess(live, now),
        ("policy", "PodDisruptionBudget") => pdb::assess(live),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => crd::assess(live),
        ("apiregistration.k8s.io", "APIService") => apiservice::assess(live, now),
        ("", "Node") => node::assess(live),
        _ => custom::assess(live, now),
    }
}

/// Health of an object that is not there. A Job whose success is recorded has been removed by its TTL
/// (`ttlSecondsAfterFinished`), and is well.
pub fn assess_missing(key: &ObjectKey, recorded_success: bool) -> Assessment {
    if key.is("batch", "Job") && recorded_success {
        return Assessment::healthy();
    }
    Assessment::new(Health::Missing, "it is not in the cluster")
}

/// What to read about an object before it is judged: nothing while its own status shows that it is well. Services and
/// CronJobs say too little about themselves, and are always read about.
pub fn needs_related(live: &Live) -> Vec<RelatedQuery> {
    if live.is_terminating() {
        return Vec::new();
    }
    let gk = live.gvk().gk();
    match (gk.group.as_str(), gk.kind.as_str()) {
        ("", "Service") if service::selects(live) => return vec![RelatedQuery::endpoint_slices_beside(live)],
        ("batch", "CronJob") if !cronjob::is_settled(live) => return vec![RelatedQuery::jobs_beside(live)],
        _ => {}
    }
    // The time decides between Progressing and Degraded at most, never about Healthy.
    let verdict = assess(live, &Related::default(), Timestamp::UNIX_EPOCH);
    if matches!(verdict.health, Health::Healthy | Health::Suspended) {
        return Vec::new();
    }
    match (gk.group.as_str(), gk.kind.as_str()) {
        ("apps", "Deployment") => vec![RelatedQuery::replica_sets_of(live), RelatedQuery::pods_of(live)],
        ("apps", "StatefulSet") | ("batch", "Job") => {
            vec![RelatedQuery::pods_of(live), RelatedQuery::warnings_about(live)]
        }
        ("apps", "DaemonSet") => {
            vec![RelatedQuery::pods_of(live), RelatedQuery::revisions_of(live), RelatedQuery::warnings_about(live)]
        }
        ("apps", "ReplicaSet") | ("", "ReplicationController") => vec![RelatedQuery::pods_of(live)],
        ("", "Pod") if pod::is_unexplained(live, &verdict) => vec![RelatedQuery::warnings_about(live)],
        ("", "PersistentVolumeClaim") => {
            let class = pvc::class(live).map(RelatedQuery::storage_class);
            let rest = [RelatedQuery::pods_beside(live), RelatedQuery::warnings_about(live)];
            class.into_iter().chain(rest).collect()
        }
        _ => Vec::new(),
    }
}

/// How many hanging pods are asked for their events.
const PODS_ASKED: usize = 2;

/// What to read besides, once the answers to [`needs_related`] are known: the events of pods that hang without a
/// reason, the workloads behind a Service without endpoints.
pub fn needs_more(live: &Live, related: &Related, now: Timestamp) -> Vec<RelatedQuery> {
    let gk = live.gvk().gk();
    match (gk.group.as_str(), gk.kind.as_str()) {
        ("", "Service") if service::has_endpoints(live, related) == Some(false) => {
            RelatedQuery::workloads_beside(live).into()
        }
        ("apps" | "batch", _) => {
            let pods = related.of("", "Pod").unwrap_or_default();
            pods.into_iter()
                .filter(|one| !one.is_terminating())
                .filter(|one| pod::is_unexplained(one, &pod::assess(one, &Related::default(), now)))
                .take(PODS_ASKED)
                .map(RelatedQuery::warnings_about)
                .collect()
        }
        _ => Vec::new(),
    }
}

/// False for kinds whose health nothing waits for, neither a dependent object nor the end of a sync: they follow other
/// objects (an autoscaler its metrics, a budget its pods) or tell of the past (a CronJob's last run).
/// [`Assessment::gates`] says it for one verdict.
pub fn gates_others(kind: &Gk) -> bool {
    !(kind.is("autoscaling", "HorizontalPodAutoscaler")
        || kind.is("policy", "PodDisruptionBudget")
        || kind.is("batch", "CronJob"))
}

/// True if an object of this kind, written by a sync and failing after the deadline, is a reason to roll back. A
/// rollback downgrades no CRD and removes no Namespace, so that these are none.
pub fn triggers_rollback(kind: &Gk) -> bool {
    gates_others(kind)
        && !kind.is("apiextensions.k8s.io", "CustomResourceDefinition")
        && !kind.is("", "Namespace")
        && !kind.is("", "Service")
        && !kind.is("", "Node")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    fn object(api_version: &str, kind: &str, rest: &Value) -> Live {
        let mut object = json!({"apiVersion": api_version, "kind": kind,
            "metadata": {"name": "x", "namespace": "shop", "uid": "u1", "generation": 1}});
        for (key, value) in rest.as_object().unwrap() {
            object[key] = value.clone();
        }
        Live(object)
    }

    #[test]
    fn plain_kinds_are_healthy() {
        for (api_version, kind) in [
            ("v1", "ConfigMap"),
            ("v1", "Secret"),
            ("v1", "ServiceAccount"),
            ("v1", "ResourceQuota"),
            ("rbac.authorization.k8s.io/v1", "ClusterRole"),
            ("networking.k8s.io/v1", "NetworkPolicy"),
            ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"),
            ("scheduling.k8s.io/v1", "PriorityClass"),
            ("example.org/v1", "Widget"),
        ] {
            let found = assess(&object(api_version, kind, &json!({})), &Related::default(), now());
            assert_eq!(found, Assessment::healthy(), "{kind}");
        }
    }

    #[test]
    fn nothing_on_its_way_out_is_healthy() {
        for (api_version, kind) in [("v1", "ConfigMap"), ("apps/v1", "Deployment"), ("v1", "Namespace")] {
            let mut live = object(api_version, kind, &json!({}));
            live.0["metadata"]["deletionTimestamp"] = json!("2026-03-01T11:59:59Z");
            assert_eq!(assess(&live, &Related::default(), now()).health, Health::Progressing, "{kind}");
            assert!(needs_related(&live).is_empty());
        }
    }

    #[test]
    fn odd_objects_never_panic() {
        for kind in [
            "Deployment",
            "StatefulSet",
            "DaemonSet",
            "ReplicaSet",
            "Pod",
            "Job",
            "CronJob",
            "Service",
            "Node",
            "PersistentVolumeClaim",
            "Ingress",
            "HorizontalPodAutoscaler",
            "CustomResourceDefinition",
            "APIService",
        ] {
            for group in ["apps/v1", "v1", "batch/v1", "networking.k8s.io/v1", "autoscaling/v2"] {
                for odd in [json!(null), json!([]), json!("x"), json!({"conditions": 3, "replicas": "many"})] {
                    let live = object(group, kind, &json!({"spec": odd, "status": odd}));
                    assess(&live, &Related::default(), now());
                    needs_related(&live);
                    needs_more(&live, &Related::default(), now());
                }
            }
        }
        assess(&Live(json!(null)), &Related::default(), now());
    }

    #[test]
    fn only_the_unwell_are_read_about() {
        let done = json!({"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1});
        let spec = json!({"replicas": 1, "selector": {"matchLabels": {"app": "x"}}});
        let well = object("apps/v1", "Deployment", &json!({"spec": spec, "status": done}));
        assert!(needs_related(&well).is_empty());
        let unwell = object("apps/v1", "Deployment", &json!({"spec": spec, "status": {"observedGeneration": 1}}));
        let asked: Vec<_> = needs_related(&unwell).iter().map(|q| (q.plural, q.labels.clone())).collect();
        assert_eq!(asked, [("replicasets", Some("app=x".to_owned())), ("pods", Some("app=x".to_owned()))]);
        assert!(needs_related(&object("v1", "ConfigMap", &json!({}))).is_empty());
        assert!(needs_related(&object("v1", "Service", &json!({"spec": {}}))).is_empty());
        let claim = object(
            "v1",
            "PersistentVolumeClaim",
            &json!({"spec": {"storageClassName": "fast"}, "status": {"phase": "Pending"}}),
        );
        let asked: Vec<_> = needs_related(&claim).iter().map(|q| q.plural).collect();
        assert_eq!(asked, ["storageclasses", "pods", "events"]);
    }

    #[test]
    fn configured_rules_come_first() {
        let rule = |live: &Live| {
            live.at("/status/state").map(|state| ObjectHealth { health: Health::Degraded, message: state.to_string() })
        };
        let rules = Rules { custom: Some(&rule), ..Rules::default() };
        let live = object("example.org/v1", "Widget", &json!({"status": {"state": "bad"}}));
        assert_eq!(assess_with(&live, &Related::default(), &rules, now()).health, Health::Degraded);
        let other = object("example.org/v1", "Widget", &json!({}));
        assert_eq!(assess_with(&other, &Related::default(), &rules, now()).health, Health::Healthy);
    }

    #[test]
    fn missing_objects() {
        let job = ObjectKey::new(&Gk::new("batch", "Job"), Some("shop"), "migrate");
        assert_eq!(assess_missing(&job, true).health, Health::Healthy);
        assert_eq!(assess_missing(&job, false).health, Health::Missing);
        let map = ObjectKey::new(&Gk::new("", "ConfigMap"), Some("shop"), "m");
        assert_eq!(assess_missing(&map, true).health, Health::Missing);
    }

    #[test]
    fn what_gates_and_what_rolls_back() {
        for (group, kind, gates, rolls_back) in [
            ("apps", "Deployment", true, true),
            ("autoscaling", "HorizontalPodAutoscaler", false, false),
            ("batch", "CronJob", false, false),
            ("policy", "PodDisruptionBudget", false, false),
            ("apiextensions.k8s.io", "CustomResourceDefinition", true, false),
            ("batch", "Job", true, true),
        ] {
            let gk = Gk::new(group, kind);
            assert_eq!((gates_others(&gk), triggers_rollback(&gk)), (gates, rolls_back), "{kind}");
        }
    }
}
