//! PersistentVolumes, by their phase.

use super::status::text;
use super::verdict::Assessment;
use crate::object::Live;

/// A volume. Available, Bound and Released are all as they should be.
pub fn assess(live: &Live) -> Assessment {
    match text(live, "/status/phase") {
        Some("Failed") => Assessment::degraded(text(live, "/status/message").unwrap_or("the volume failed")),
        Some("Available" | "Bound" | "Released") => Assessment::healthy(),
        _ => Assessment::progressing("not available yet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Health;
    use serde_json::json;

    #[test]
    fn phases() {
        for (status, health) in [
            (json!({"phase": "Available"}), Health::Healthy),
            (json!({"phase": "Bound"}), Health::Healthy),
            (json!({"phase": "Released"}), Health::Healthy),
            (json!({"phase": "Pending"}), Health::Progressing),
            (json!({}), Health::Progressing),
            (json!({"phase": "Failed", "message": "no deleter"}), Health::Degraded),
        ] {
            assert_eq!(assess(&Live(json!({"status": status}))).health, health);
        }
    }
}
