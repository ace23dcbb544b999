//! Everything without a rule of its own: by the standard conditions (Ready, Reconciling, Stalled), else Healthy.
//!
//! Corrected against kstatus: `observedGeneration` is also read from a string and from the single condition;
//! `Ready=Unknown` is Progressing; a `Ready=False` that stays is Degraded, not Progressing for ever; kinds whose
//! controllers always report are not Current before they did.

use super::status::{self, Condition, condition};
use super::verdict::Assessment;
use crate::object::{Live, Manifest};
use jiff::{SignedDuration, Timestamp};

/// `Ready=False` this long is no start-up any more (KEDA reports it for 30 s on every rollout, Crossplane while it
/// creates).
const PATIENCE: SignedDuration = SignedDuration::from_mins(5);

/// Kinds whose controllers report `Ready` on every object: no status means that nobody looked yet. A group that starts
/// with a dot stands for all below it.
const ALWAYS_REPORT: [(&str, &[&str]); 9] = [
    (
        ".toolkit.fluxcd.io",
        &["Kustomization", "HelmRelease", "GitRepository", "HelmRepository", "OCIRepository", "Bucket"],
    ),
    ("cert-manager.io", &["Certificate", "CertificateRequest", "Issuer", "ClusterIssuer"]),
    ("external-secrets.io", &["ExternalSecret", "SecretStore", "ClusterSecretStore"]),
    ("keda.sh", &["ScaledObject", "ScaledJob"]),
    ("serving.knative.dev", &["Service", "Route", "Configuration", "Revision"]),
    ("eventing.knative.dev", &["Broker", "Trigger"]),
    ("pkg.crossplane.io", &["Provider", "Function", "Configuration"]),
    ("kafka.strimzi.io", &["Kafka", "KafkaTopic", "KafkaUser", "KafkaConnect"]),
    ("postgresql.cnpg.io", &["Cluster"]),
];

/// An object of any other kind.
pub fn assess(live: &Live, now: Timestamp) -> Assessment {
    if let Some(waits) = status::not_observed(live, false) {
        return waits;
    }
    if let Some(stalled) = current(live, "Stalled").filter(|c| c.is_true()) {
        return Assessment::degraded(stalled.explain());
    }
    if let Some(busy) = current(live, "Reconciling").filter(|c| c.is_true()) {
        return Assessment::progressing(busy.explain());
    }
    match condition(live, "Ready") {
        Some(ready) if is_stale(ready, live) => {
            Assessment::progressing("the controller has not acted on the latest change yet")
        }
        Some(ready) if ready.is_true() => Assessment::healthy(),
        Some(ready) if ready.is_false() => Assessment::patiently(ready.since(), PATIENCE, now, ready.explain()),
        Some(unknown) => Assessment::progressing(unknown.explain()),
        None if always_reports(live) => Assessment::progressing("the controller has not reported yet"),
        None => Assessment::healthy(),
    }
}

fn current<'a>(live: &'a Live, kind: &str) -> Option<Condition<'a>> {
    condition(live, kind).filter(|c| !is_stale(*c, live))
}

fn is_stale(condition: Condition<'_>, live: &Live) -> bool {
    condition.generation().is_some_and(|seen| seen < live.generation())
}

fn always_reports(live: &Live) -> bool {
    let gvk = live.gvk();
    ALWAYS_REPORT.iter().any(|(group, kinds)| {
        let same = if group.starts_with('.') { gvk.group.ends_with(group) } else { gvk.group == *group };
        same && kinds.contains(&gvk.kind.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Health;
    use serde_json::json;

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn verdicts() {
        use Health::{Degraded, Healthy, Progressing};
        let is = |kind: &str, status: &str, at: &str| json!({"type": kind, "status": status, "reason": "R", "message": "m", "lastTransitionTime": at});
        let (recent, old) = ("2026-03-01T11:58:00Z", "2026-03-01T11:00:00Z");
        let ready = |status: &str| json!([is("Ready", status, recent)]);
        for (status, health) in [
            (json!(null), Healthy),
            (json!({}), Healthy),
            (json!({"phase": "Whatever"}), Healthy),
            (json!({"conditions": []}), Healthy),
            (json!({"conditions": ready("True")}), Healthy),
            (json!({"conditions": ready("Unknown")}), Progressing),
            (json!({"conditions": ready("False")}), Progressing),
            (json!({"conditions": [is("Ready", "False", old)]}), Degraded),
            (json!({"observedGeneration": 1, "conditions": ready("True")}), Progressing),
            (json!({"observedGeneration": "1", "conditions": ready("True")}), Progressing),
            (json!({"observedGeneration": "2", "conditions": ready("True")}), Healthy),
            (json!({"conditions": [{"type": "Ready", "status": "True", "observedGeneration": 1}]}), Progressing),
            (json!({"conditions": [is("Stalled", "True", old), is("Ready", "False", recent)]}), Degraded),
            (
                json!({"conditions": [{"type": "Stalled", "status": "True", "observedGeneration": 1}, is("Ready", "True", old)]}),
                Healthy,
            ),
            (json!({"conditions": [is("Reconciling", "True", old), is("Ready", "False", old)]}), Progressing),
            (json!({"conditions": [is("Synced", "False", old)]}), Healthy),
        ] {
            let live = Live(
                json!({"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"generation": 2}, "status": status}),
            );
            let found = assess(&live, now());
            assert_eq!(found.health, health, "{status}");
            assert_eq!(found.message.is_empty(), health == Healthy, "{status}");
        }
    }

    #[test]
    fn kinds_that_always_report() {
        for (api_version, kind, health) in [
            ("cert-manager.io/v1", "Certificate", Health::Progressing),
            ("source.toolkit.fluxcd.io/v1", "GitRepository", Health::Progressing),
            ("cert-manager.io/v1", "Other", Health::Healthy),
            ("example.org/v1", "Certificate", Health::Healthy),
        ] {
            let live = Live(json!({"apiVersion": api_version, "kind": kind, "metadata": {"generation": 1}}));
            assert_eq!(assess(&live, now()).health, health, "{api_version} {kind}");
        }
    }
}
