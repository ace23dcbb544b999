//! What else has to be read to judge an object: its pods, their ReplicaSets, events.
//!
//! Out: queries as data, for the caller to carry out. In: what they found. An object that was not read (denied, failed)
//! is not added, and reads as unknown; an empty list reads as "there are none".

use super::status;
use crate::object::{Gk, Gvk, Live, Manifest};
use jiff::Timestamp;
use serde_json::Value;
use std::sync::Arc;

/// One list (or, with a name, one GET) to carry out. Equal queries of several objects can be answered once.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelatedQuery {
    /// What to read.
    pub gvk: Gvk,
    /// Its resource name in URLs.
    pub plural: &'static str,
    /// Namespace; `None` for cluster-scoped kinds.
    pub namespace: Option<String>,
    /// A single object by name; not found is an empty answer.
    pub name: Option<String>,
    /// Label selector.
    pub labels: Option<String>,
    /// Field selector.
    pub fields: Option<String>,
}

impl RelatedQuery {
    fn new(api_version: &str, kind: &str, plural: &'static str, namespace: Option<&str>) -> Self {
        Self {
            gvk: Gvk::from_api_version(api_version, kind),
            plural,
            namespace: namespace.map(str::to_owned),
            name: None,
            labels: None,
            fields: None,
        }
    }

    /// Pods of a workload, by its `spec.selector`.
    pub fn pods_of(workload: &Live) -> Self {
        Self { labels: selector_of(workload), ..Self::new("v1", "Pod", "pods", workload.namespace()) }
    }

    /// All pods of the object's namespace.
    pub fn pods_beside(live: &Live) -> Self {
        Self::new("v1", "Pod", "pods", live.namespace())
    }

    /// ReplicaSets of a Deployment.
    pub fn replica_sets_of(deployment: &Live) -> Self {
        let all = Self::new("apps/v1", "ReplicaSet", "replicasets", deployment.namespace());
        Self { labels: selector_of(deployment), ..all }
    }

    /// ControllerRevisions of a DaemonSet.
    pub fn revisions_of(workload: &Live) -> Self {
        let all = Self::new("apps/v1", "ControllerRevision", "controllerrevisions", workload.namespace());
        Self { labels: selector_of(workload), ..all }
    }

    /// All Jobs of the namespace: those of a CronJob carry no label of its.
    pub fn jobs_beside(live: &Live) -> Self {
        Self::new("batch/v1", "Job", "jobs", live.namespace())
    }

    /// All EndpointSlices of the namespace: one list serves all its Services.
    pub fn endpoint_slices_beside(live: &Live) -> Self {
        Self::new("discovery.k8s.io/v1", "EndpointSlice", "endpointslices", live.namespace())
    }

    /// All Deployments and StatefulSets of the namespace.
    pub fn workloads_beside(live: &Live) -> [Self; 2] {
        [
            Self::new("apps/v1", "Deployment", "deployments", live.namespace()),
            Self::new("apps/v1", "StatefulSet", "statefulsets", live.namespace()),
        ]
    }

    /// A StorageClass by name.
    pub fn storage_class(name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..Self::new("storage.k8s.io/v1", "StorageClass", "storageclasses", None) }
    }

    /// Warnings about an object.
    pub fn warnings_about(live: &Live) -> Self {
        let fields = live.uid().map(|uid| format!("involvedObject.uid={uid},type=Warning"));
        Self { fields, ..Self::new("v1", "Event", "events", live.namespace()) }
    }
}

/// `spec.selector` as a label selector's text. A ReplicationController's has no `matchLabels` level.
fn selector_of(workload: &Live) -> Option<String> {
    let selector = workload.at("/spec/selector")?.as_object()?;
    let flat = !selector.contains_key("matchLabels") && !selector.contains_key("matchExpressions");
    let labels = if flat { Some(selector) } else { selector.get("matchLabels").and_then(Value::as_object) };
    let equal = labels.into_iter().flatten().filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)));
    let expressions = selector.get("matchExpressions").and_then(Value::as_array);
    let rules = expressions.into_iter().flatten().filter_map(expression);
    Some(equal.chain(rules).collect::<Vec<_>>().join(",")).filter(|text| !text.is_empty())
}

fn expression(rule: &Value) -> Option<String> {
    let key = rule.get("key")?.as_str()?;
    let values: Vec<&str> =
        rule.get("values").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    match rule.get("operator")?.as_str()? {
        "In" => Some(format!("{key} in ({})", values.join(","))),
        "NotIn" => Some(format!("{key} notin ({})", values.join(","))),
        "Exists" => Some(key.to_owned()),
        "DoesNotExist" => Some(format!("!{key}")),
        _ => None,
    }
}

/// What was read about an object besides itself.
#[derive(Debug, Clone, Default)]
pub struct Related {
    lists: Vec<(Gk, Vec<Arc<Live>>)>,
}

impl Related {
    /// Adds the answer to a query. Leave a failed query out.
    pub fn add(&mut self, query: &RelatedQuery, found: Vec<Arc<Live>>) {
        self.lists.push((query.gvk.gk(), found));
    }

    /// Everything read of a kind; `None` if that kind was not read.
    pub fn of(&self, group: &str, kind: &str) -> Option<Vec<&Live>> {
        let mut answers = self.lists.iter().filter(|(gk, _)| gk.is(group, kind)).peekable();
        answers.peek()?;
        Some(answers.flat_map(|(_, found)| found.iter().map(Arc::as_ref)).collect())
    }

    /// Objects of a kind that `owner` controls; `None` if that kind was not read.
    pub fn owned_by(&self, owner: &Live, group: &str, kind: &str) -> Option<Vec<&Live>> {
        let uid = owner.uid();
        let all = self.of(group, kind)?;
        Some(all.into_iter().filter(|live| uid.is_some() && live.controller_uid() == uid).collect())
    }

    /// The newest warning about an object with one of these reasons (any reason if the list is empty): its reason,
    /// message and time.
    pub fn warning<'a>(&'a self, about: &Live, reasons: &[&str]) -> Option<(&'a str, &'a str, Option<Timestamp>)> {
        let uid = about.uid()?;
        self.of("", "Event")?
            .into_iter()
            .filter(|event| status::text(event, "/involvedObject/uid") == Some(uid))
            .filter(|event| status::text(event, "/type") == Some("Warning"))
            .filter_map(|event| {
                let reason = status::text(event, "/reason")?;
                let wanted = reasons.is_empty() || reasons.contains(&reason);
                wanted.then(|| (reason, status::text(event, "/message").unwrap_or_default(), event_time(event)))
            })
            .max_by_key(|(_, _, time)| *time)
    }
}

/// When an event last happened; the two event APIs and their series write it in different fields.
fn event_time(event: &Live) -> Option<Timestamp> {
    ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"]
        .into_iter()
        .find_map(|pointer| status::time(event, pointer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors() {
        for (selector, text) in [
            (json!({"matchLabels": {"app": "web", "tier": "front"}}), Some("app=web,tier=front")),
            (
                json!({"matchLabels": {"app": "web"}, "matchExpressions": [
                {"key": "t", "operator": "In", "values": ["a", "b"]}, {"key": "u", "operator": "NotIn", "values": ["c"]},
                {"key": "v", "operator": "Exists"}, {"key": "w", "operator": "DoesNotExist"}]}),
                Some("app=web,t in (a,b),u notin (c),v,!w"),
            ),
            (json!({"app": "rc"}), Some("app=rc")),
            (json!({}), None),
            (json!(null), None),
        ] {
            let live = Live(json!({"metadata": {"namespace": "shop"}, "spec": {"selector": selector}}));
            assert_eq!(RelatedQuery::pods_of(&live).labels.as_deref(), text);
        }
    }

    #[test]
    fn unread_is_not_empty() {
        let owner = Live(json!({"metadata": {"uid": "u1", "namespace": "shop"}}));
        let mut related = Related::default();
        assert!(related.owned_by(&owner, "", "Pod").is_none());
        related.add(&RelatedQuery::pods_of(&owner), vec![]);
        assert_eq!(related.owned_by(&owner, "", "Pod").map(|pods| pods.len()), Some(0));
    }

    #[test]
    fn the_newest_warning_speaks() {
        let about = Live(json!({"metadata": {"uid": "u1"}}));
        let event = |reason: &str, at: &str, uid: &str, kind: &str| {
            Arc::new(Live(json!({"type": kind, "reason": reason, "message": "m", "lastTimestamp": at,
                "involvedObject": {"uid": uid}})))
        };
        let mut related = Related::default();
        related.add(
            &RelatedQuery::warnings_about(&about),
            vec![
                event("FailedMount", "2026-01-01T00:00:00Z", "u1", "Warning"),
                event("FailedAttach", "2026-01-01T00:01:00Z", "u1", "Warning"),
                event("Pulled", "2026-01-01T00:02:00Z", "u1", "Normal"),
                event("Other", "2026-01-01T00:03:00Z", "u2", "Warning"),
            ],
        );
        assert_eq!(related.warning(&about, &[]).map(|w| w.0), Some("FailedAttach"));
        assert_eq!(related.warning(&about, &["FailedMount"]).map(|w| w.0), Some("FailedMount"));
    }
}
