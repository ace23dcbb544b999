//! Live state at one moment, as planning reads it. Pure.

use crate::object::{Live, ObjectKey, Problem};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is known of one object. Unknown is not absent.
#[expect(clippy::large_enum_variant, reason = "the large one is the rare one")]
#[derive(Debug, Clone, PartialEq)]
pub enum Presence {
    /// It is there.
    Present(Arc<Live>),
    /// The server said that it is not there.
    Absent,
    /// It could not be asked: why.
    Unknown(Problem),
}

/// Live state of every object that a plan concerns.
#[derive(Debug, Clone, Default)]
pub struct LiveSnapshot {
    /// By key. A key that is not in the map was never asked for and counts as unknown.
    pub objects: BTreeMap<ObjectKey, Presence>,
}

impl LiveSnapshot {
    /// The object, if it is known to be there.
    pub fn present(&self, key: &ObjectKey) -> Option<&Arc<Live>> {
        match self.objects.get(key) {
            Some(Presence::Present(live)) => Some(live),
            _ => None,
        }
    }
}
