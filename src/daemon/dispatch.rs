//! Who is to know: hands what changes in a cluster to the app that it concerns.
//!
//! In: events of the watch caches. Out: wakes, by ApplySet id (the label of members and of parents alike). An app that
//! nothing happens to is never woken.

use super::app::Wake;
use crate::engine::Engine;
use crate::inventory::identity::{ID, PART_OF};
use crate::live::cache::Event;
use crate::live::packed::Packed;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

/// Where each app of a cluster is reached, by ApplySet id.
#[derive(Clone, Default)]
pub struct Registry {
    apps: Arc<Mutex<HashMap<String, UnboundedSender<Wake>>>>,
}

impl Registry {
    /// Adds an app.
    pub fn add(&self, applyset_id: &str, to: UnboundedSender<Wake>) {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner).insert(applyset_id.to_owned(), to);
    }

    /// Removes an app.
    pub fn remove(&self, applyset_id: &str) {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner).remove(applyset_id);
    }

    fn wake(&self, applyset_id: &str, wake: Wake) {
        if let Some(to) = self.apps.lock().unwrap_or_else(PoisonError::into_inner).get(applyset_id) {
            let _ = to.send(wake);
        }
    }

    fn wake_all(&self) {
        for to in self.apps.lock().unwrap_or_else(PoisonError::into_inner).values() {
            let _ = to.send(Wake::Recheck);
        }
    }
}

/// Runs until `shutdown`.
pub async fn dispatch(engine: Engine, registry: Registry, shutdown: CancellationToken) {
    let mut members = engine.eyes.members.events();
    let mut parents = engine.memory.events();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            event = members.recv() => match event {
                Ok(event) => {
                    for id in ids(&event, PART_OF) {
                        registry.wake(&id, Wake::Changed(event.key.clone()));
                    }
                }
                Err(RecvError::Lagged(_)) => registry.wake_all(),
                Err(RecvError::Closed) => return,
            },
            event = parents.recv() => match event {
                Ok(event) => {
                    for id in ids(&event, ID) {
                        let version = event.after.as_ref().and_then(|live| live.resource_version().map(str::to_owned));
                        registry.wake(&id, Wake::Parent(version));
                    }
                }
                Err(RecvError::Lagged(_)) => registry.wake_all(),
                Err(RecvError::Closed) => return,
            },
        }
    }
}

/// Whose it is, and whose it was: an object whose label was changed concerns both.
fn ids(event: &Event, label: &str) -> Vec<String> {
    let of = |live: &Option<Arc<Packed>>| live.as_ref().and_then(|live| live.label(label).map(str::to_owned));
    let (before, after) = (of(&event.before), of(&event.after));
    let mut out: Vec<String> = before.into_iter().chain(after).collect();
    out.dedup();
    out
}
