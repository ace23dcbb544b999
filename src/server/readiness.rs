//! Is the daemon ready? Every part that is not says why.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// What is not ready yet, by part. Shared: clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    reasons: Arc<RwLock<BTreeMap<String, String>>>,
}

impl Readiness {
    /// Not ready, because `part` is starting. Without any part it would be ready from the first moment.
    pub fn waiting_for(part: &str) -> Self {
        let readiness = Self::default();
        readiness.not_ready(part, "starting");
        readiness
    }

    /// Says that a part is not ready, and why. No secrets: the reason is served to anyone who asks.
    pub fn not_ready(&self, part: &str, reason: &str) {
        self.reasons.write().unwrap_or_else(PoisonError::into_inner).insert(part.to_owned(), reason.to_owned());
    }

    /// Says that a part is ready.
    pub fn ready(&self, part: &str) {
        self.reasons.write().unwrap_or_else(PoisonError::into_inner).remove(part);
    }

    /// Why it is not ready: `part: reason`, sorted. Empty if it is.
    pub fn reasons(&self) -> Vec<String> {
        let reasons = self.reasons.read().unwrap_or_else(PoisonError::into_inner);
        reasons.iter().map(|(part, reason)| format!("{part}: {reason}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let readiness = Readiness::waiting_for("git");
        let same = readiness.clone();
        same.not_ready("cluster prod", "watches are not synced");
        assert_eq!(readiness.reasons(), ["cluster prod: watches are not synced", "git: starting"]);
        same.ready("git");
        same.ready("cluster prod");
        assert!(readiness.reasons().is_empty());
    }
}
