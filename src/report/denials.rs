//! Which hosts let no reports in. The daemon that leads a scope knows it, and writes it beside its lease, so that `status`,
//! a process of its own, can show it: a token that may read and not write is no fault that reading would meet.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// By host: what it said. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Denials(Arc<Mutex<BTreeMap<String, String>>>);

impl Denials {
    /// A host lets nothing in, in its words; or does again.
    pub fn set(&self, host: &str, message: Option<&str>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match message {
            Some(message) => all.insert(host.to_owned(), message.to_owned()),
            None => all.remove(host),
        };
    }

    /// Those that let nothing in now.
    pub fn all(&self) -> BTreeMap<String, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
