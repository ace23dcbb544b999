//! What the API server refused, and when to try again.
//!
//! Controllers are pure and would ask for a refused write again at once, for ever. The driver records refusals here;
//! a write is then held back, longer each time, and controllers that report failures (a ReplicaSet over quota) find
//! the API server's words here.

use super::meta::{after, controller_uid, gk, name, namespace, text};
use crate::cluster::view::{Refusal, Write};
use jiff::Timestamp;
use std::collections::HashMap;

/// No write waits longer than this, in seconds. (The real controllers' limit is 1,000; people wait at this one.)
const LONGEST_WAIT: i64 = 60;

struct Entry {
    refusal: Refusal,
    times: u32,
    last: Timestamp,
    retry_at: Timestamp,
}

/// Refused writes, by what they were about.
#[derive(Default)]
pub struct Refusals {
    entries: HashMap<String, Entry>,
}

impl Refusals {
    /// Notes a refusal. Several at one moment (three pods of one ReplicaSet) count as one.
    pub fn record(&mut self, actor: &str, write: &Write, refusal: Refusal, now: Timestamp) {
        let entry = self.entries.entry(subject(actor, write)).or_insert_with(|| Entry {
            refusal: refusal.clone(),
            times: 0,
            last: Timestamp::MIN,
            retry_at: now,
        });
        if entry.last < now {
            entry.times = entry.times.saturating_add(1);
            entry.last = now;
            let wait = 1_i64.checked_shl(entry.times - 1).map_or(LONGEST_WAIT, |wait| wait.clamp(1, LONGEST_WAIT));
            entry.retry_at = after(now, if entry.times > 6 { LONGEST_WAIT } else { wait });
        }
        entry.refusal = refusal;
    }

    /// Notes a success: earlier refusals no longer count.
    pub fn forget(&mut self, actor: &str, write: &Write, now: Timestamp) {
        if self.entries.is_empty() {
            return;
        }
        let subject = subject(actor, write);
        if self.entries.get(&subject).is_some_and(|entry| entry.last < now) {
            self.entries.remove(&subject);
        }
    }

    /// True if nothing that was refused is remembered.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// When a write may be tried again; `None` if at once.
    pub fn held_until(&self, actor: &str, write: &Write, now: Timestamp) -> Option<Timestamp> {
        if self.entries.is_empty() {
            return None;
        }
        self.entries.get(&subject(actor, write)).map(|entry| entry.retry_at).filter(|at| *at > now)
    }

    /// Why an owner could not create an object of a kind.
    pub fn create(&self, actor: &str, kind: &str, owner_uid: &str) -> Option<&Refusal> {
        self.entries.get(&format!("{actor} create {kind} of {owner_uid}")).map(|entry| &entry.refusal)
    }

    /// Forgets what was refused longer ago than anybody waits.
    pub fn tidy(&mut self, now: Timestamp) {
        self.entries.retain(|_, entry| after(entry.retry_at, LONGEST_WAIT * 2) > now);
    }
}

fn subject(actor: &str, write: &Write) -> String {
    let of = |verb: &str, kind: &str, ns: Option<&str>, name: &str| {
        format!("{actor} {verb} {kind} {}/{name}", ns.unwrap_or_default())
    };
    let object_of =
        |verb: &str, object: &serde_json::Value| of(verb, &gk(object).kind, namespace(object), name(object));
    match write {
        Write::Create { object } => match controller_uid(object) {
            Some(uid) => format!("{actor} create {} of {uid}", text(&object["kind"])),
            None => object_of("create", object),
        },
        Write::Update { object } => object_of("update", object),
        Write::UpdateStatus { object } => object_of("status", object),
        Write::MergePatch { gk, namespace, name, subresource, .. } => {
            of(subresource.as_deref().unwrap_or("patch"), &gk.kind, namespace.as_deref(), name)
        }
        Write::Delete { gk, namespace, name, .. } => of("delete", &gk.kind, namespace.as_deref(), name),
        Write::Bind { namespace, pod, .. } => of("bind", "Pod", Some(namespace), pod),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn waits_grow_and_end_with_a_success() {
        let write = Write::Create {
            object: json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "a-",
            "namespace": "n", "ownerReferences": [{"uid": "u", "controller": true}]}}),
        };
        let refusal = Refusal { code: 403, reason: "Forbidden".into(), message: "no".into() };
        let (mut refusals, start) = (Refusals::default(), Timestamp::UNIX_EPOCH);
        let mut now = start;
        for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
            refusals.record("a", &write, refusal.clone(), now);
            refusals.record("a", &write, refusal.clone(), now);
            assert_eq!(refusals.held_until("a", &write, now), Some(after(now, wait)));
            now = after(now, wait);
            assert_eq!(refusals.held_until("a", &write, now), None);
        }
        assert_eq!(refusals.create("a", "Pod", "u").map(|r| r.code), Some(403));
        refusals.forget("a", &write, now);
        assert!(refusals.create("a", "Pod", "u").is_none());
    }
}
