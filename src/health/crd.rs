//! CustomResourceDefinitions: usable once Established; names taken by another one are an error
//! (kubernetes/staging/src/k8s.io/apiextensions-apiserver/pkg/controller/status/naming_controller.go).

use super::status::condition;
use super::verdict::Assessment;
use crate::object::Live;

/// A definition.
pub fn assess(live: &Live) -> Assessment {
    if let Some(refused) = condition(live, "NamesAccepted").filter(|c| c.is_false()) {
        return Assessment::degraded(refused.explain());
    }
    match condition(live, "Established") {
        Some(established) if established.is_true() => Assessment::healthy(),
        Some(waits) => Assessment::progressing(format!("not served yet: {}", waits.explain())),
        None => Assessment::progressing("not served yet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Health;
    use serde_json::json;

    #[test]
    fn verdicts() {
        let names = |status: &str| {
            json!({"type": "NamesAccepted", "status": status, "reason": "ListKindConflict",
                "message": "\"CronTabList\" is already in use"})
        };
        let established = |status: &str| json!({"type": "Established", "status": status, "reason": "Installing"});
        for (all, health) in [
            (json!([]), Health::Progressing),
            (json!([names("True"), established("False")]), Health::Progressing),
            (json!([names("True"), established("True")]), Health::Healthy),
            (json!([names("False"), established("False")]), Health::Degraded),
        ] {
            assert_eq!(assess(&Live(json!({"status": {"conditions": all}}))).health, health, "{all}");
        }
    }
}
