//! Namespaces: there, or on their way out; then the conditions say what is left in them.

use super::status::{Condition, conditions, list, text};
use super::verdict::Assessment;
use crate::object::Live;

/// A Namespace.
pub fn assess(live: &Live) -> Assessment {
    if !live.is_terminating() && text(live, "/status/phase") != Some("Terminating") {
        return Assessment::healthy();
    }
    let left: Vec<String> = conditions(list(live, "/status/conditions"))
        .filter(|c| c.is_true() && c.kind().starts_with("Namespace"))
        .map(Condition::message)
        .collect();
    Assessment::progressing(if left.is_empty() {
        "being deleted with all that is in it".to_owned()
    } else {
        format!("being deleted: {}", left.join("; "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Health;
    use serde_json::json;

    #[test]
    fn verdicts() {
        assert_eq!(assess(&Live(json!({"status": {"phase": "Active"}}))).health, Health::Healthy);
        assert_eq!(assess(&Live(json!({}))).health, Health::Healthy);
        let found = assess(&Live(json!({"metadata": {"deletionTimestamp": "2026-03-01T12:00:00Z"},
            "status": {"phase": "Terminating", "conditions": [
                {"type": "NamespaceDeletionDiscoveryFailure", "status": "False", "message": "fine"},
                {"type": "NamespaceContentRemaining", "status": "True",
                 "message": "Some resources are remaining: pods. has 1 resource instances"}]}})));
        assert_eq!(found.health, Health::Progressing);
        assert_eq!(found.message, "being deleted: Some resources are remaining: pods. has 1 resource instances");
    }
}
