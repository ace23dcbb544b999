//! How much of a workload is ready. The score of an app over its workloads is `scheduling::score::monitoring`.

use super::status::{count, int};
use crate::object::{Live, Manifest};

/// The ready fraction of a workload, 0 to 1. `None` for kinds that are no long-running workload, and for one that is
/// meant to have no pods: it counts neither for nor against an app.
pub fn ready_fraction(live: &Live) -> Option<f64> {
    let gvk = live.gvk();
    let (desired, ready) = match (gvk.group.as_str(), gvk.kind.as_str()) {
        ("apps", "Deployment" | "StatefulSet" | "ReplicaSet") | ("", "ReplicationController") => {
            (int(live, "/spec/replicas").unwrap_or(1), count(live, "/status/readyReplicas"))
        }
        ("apps", "DaemonSet") => (count(live, "/status/desiredNumberScheduled"), count(live, "/status/numberReady")),
        _ => return None,
    };
    (desired > 0).then(|| (ready.max(0) as f64 / desired as f64).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fractions() {
        let of = |api_version: &str, kind: &str, spec: i64, status: serde_json::Value| {
            ready_fraction(&Live(
                json!({"apiVersion": api_version, "kind": kind, "spec": {"replicas": spec}, "status": status}),
            ))
        };
        assert_eq!(of("apps/v1", "Deployment", 4, json!({"readyReplicas": 3})), Some(0.75));
        assert_eq!(of("apps/v1", "Deployment", 2, json!({"readyReplicas": 3})), Some(1.0));
        assert_eq!(of("apps/v1", "StatefulSet", 2, json!({})), Some(0.0));
        assert_eq!(of("apps/v1", "Deployment", 0, json!({})), None);
        assert_eq!(of("apps/v1", "DaemonSet", 0, json!({"desiredNumberScheduled": 4, "numberReady": 1})), Some(0.25));
        assert_eq!(of("apps/v1", "DaemonSet", 0, json!({"desiredNumberScheduled": 0, "numberReady": 0})), None);
        assert_eq!(of("batch/v1", "Job", 1, json!({})), None);
    }
}
