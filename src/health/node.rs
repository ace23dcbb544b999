//! Nodes that are kept in Git (their labels and taints): Ready, cordoned, or not heard of.

use super::status::{condition, flag};
use super::verdict::Assessment;
use crate::object::Live;

/// A Node.
pub fn assess(live: &Live) -> Assessment {
    match condition(live, "Ready") {
        Some(ready) if ready.is_true() && flag(live, "/spec/unschedulable") => Assessment::suspended("cordoned"),
        Some(ready) if ready.is_true() => Assessment::healthy(),
        Some(lost) => Assessment::degraded(lost.explain()),
        None => Assessment::progressing("its kubelet has not reported yet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Health;
    use serde_json::json;

    #[test]
    fn verdicts() {
        for (spec, status, health) in [
            (json!({}), "True", Health::Healthy),
            (json!({"unschedulable": true}), "True", Health::Suspended),
            (json!({}), "Unknown", Health::Degraded),
        ] {
            let live = Live(json!({"spec": spec, "status": {"conditions": [{"type": "Ready", "status": status}]}}));
            assert_eq!(assess(&live).health, health);
        }
        assert_eq!(assess(&Live(json!({}))).health, Health::Progressing);
    }
}
