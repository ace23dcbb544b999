//! PodDisruptionBudgets: too few healthy pods is on its way, a budget that cannot be computed is Degraded. One that
//! allows no disruption on purpose (`maxUnavailable: 0`) is Healthy. They gate nothing: they follow their pods.

use super::status::{self, condition, count, plural};
use super::verdict::Assessment;
use crate::object::Live;

/// A budget.
pub fn assess(live: &Live) -> Assessment {
    if let Some(waits) = status::not_observed(live, true) {
        return waits.ungated();
    }
    if let Some(failed) = condition(live, "DisruptionAllowed").filter(|c| c.reason() == "SyncFailed") {
        return Assessment::degraded(failed.explain()).ungated();
    }
    let (healthy, desired) = (count(live, "/status/currentHealthy"), count(live, "/status/desiredHealthy"));
    if healthy < desired {
        return Assessment::progressing(format!("{healthy} of {} healthy", plural(desired, "pod"))).ungated();
    }
    Assessment::healthy().ungated()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Health;
    use serde_json::json;

    #[test]
    fn verdicts() {
        for (status, health) in [
            (json!({}), Health::Progressing),
            (
                json!({"observedGeneration": 1, "currentHealthy": 2, "desiredHealthy": 2, "disruptionsAllowed": 0}),
                Health::Healthy,
            ),
            (json!({"observedGeneration": 1, "currentHealthy": 1, "desiredHealthy": 2}), Health::Progressing),
            (
                json!({"observedGeneration": 1, "conditions": [{"type": "DisruptionAllowed", "status": "False",
                    "reason": "SyncFailed", "message": "found no controllers"}]}),
                Health::Degraded,
            ),
        ] {
            let found = assess(&Live(json!({"metadata": {"generation": 1}, "status": status})));
            assert_eq!((found.health, found.gates), (health, false), "{status}");
        }
    }
}
