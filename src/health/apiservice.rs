//! APIServices: by the Available condition. An extension server takes a while to start; one that stays away is Degraded.

use super::status::{self, condition};
use super::verdict::Assessment;
use crate::object::Live;
use jiff::{SignedDuration, Timestamp};

const PATIENCE: SignedDuration = SignedDuration::from_mins(5);

/// An APIService.
pub fn assess(live: &Live, now: Timestamp) -> Assessment {
    match condition(live, "Available") {
        Some(available) if available.is_true() => Assessment::healthy(),
        Some(missing) => {
            let since = missing.since().max(status::created(live));
            Assessment::patiently(since, PATIENCE, now, missing.explain())
        }
        None => Assessment::progressing("not available yet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Health;
    use serde_json::json;

    #[test]
    fn verdicts() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let is = |status: &str, at: &str| {
            json!([{"type": "Available", "status": status, "reason": "MissingEndpoints",
                "message": "endpoints for service/metrics in \"kube-system\" have no addresses", "lastTransitionTime": at}])
        };
        for (all, health) in [
            (json!([]), Health::Progressing),
            (is("True", "2026-03-01T11:00:00Z"), Health::Healthy),
            (is("False", "2026-03-01T11:58:00Z"), Health::Progressing),
            (is("False", "2026-03-01T11:00:00Z"), Health::Degraded),
        ] {
            assert_eq!(assess(&Live(json!({"status": {"conditions": all}})), now).health, health, "{all}");
        }
    }
}
