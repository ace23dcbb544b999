//! The parent's content.

use crate::object::{Digest, ObjectKey, ObjectRef};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Whose app this is. Two apps that differ in any of these share nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Instance name, `driftless` by default.
    pub instance: String,
    /// Repository, as configured (credentials removed).
    pub repository: String,
    /// Path root of the scope inside the repository; empty for the root.
    pub path_root: String,
    /// App name.
    pub app: String,
}

/// One object of the inventory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The object.
    pub object: ObjectRef,
    /// Its uid as last seen; `None` while it was announced but not yet written (write-ahead).
    pub uid: Option<String>,
    /// Digest of the desired object at the last write (keyed for a Secret).
    pub desired: Option<Digest>,
    /// Digest of our owned fields as the server answered them at the last write (keyed for a Secret).
    pub owned: Option<Digest>,
    /// A Job that has succeeded: its TTL may remove it, and it does not run again for the same content.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub done: bool,
}

/// A revision's content that must not be applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The revision that was bad, or that a person held.
    pub revision: String,
    /// Rendered digest that is held: another digest lifts the hold.
    pub digest: Option<Digest>,
    /// Why.
    pub reason: String,
    /// RFC 3339 time.
    pub since: String,
    /// What it waits with for a person's word, by uid: deletions that no reviewed plan has. Empty for other holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<String>,
    /// What the host said of the pull requests whose plans have some of these deletions, when it was asked last.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub asked: BTreeMap<u64, Standing>,
}

impl Hold {
    /// True if it waits with deletions that no reviewed plan has: an approval lifts it, or a merge, and nothing else.
    pub fn is_unreviewed(&self) -> bool {
        !self.waits.is_empty()
    }
}

/// Where a pull request stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It can be merged.
    Open,
    /// It was closed without being merged.
    Closed,
    /// It was merged.
    Merged(Merge),
    /// The host did not say.
    Unknown,
}

/// A pull request's merge.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merge {
    /// The commit that it became in the branch, where the host says it; for Bitbucket Cloud only its beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// The plan that a pull request was shown with: what its merge takes away from one app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// Number of the pull request.
    pub pull: u64,
    /// The commit at its head that was planned.
    pub head: String,
    /// Rendered digest of the app in the merge that was planned.
    pub digest: Digest,
    /// What is deleted, and what is replaced, which is deleted too.
    pub removes: Vec<Removal>,
    /// The merge, once the host has said that there was one. Only then does the plan allow anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged: Option<Merge>,
}

/// An object that goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Removal {
    /// The object.
    pub object: ObjectRef,
    /// True if it is created anew.
    pub replaced: bool,
}

/// Reviews that an inventory keeps, the newest ones.
const REVIEWS: usize = 40;
/// Removals that these may hold together, so that an inventory stays below what a ConfigMap holds.
const REMOVALS: usize = 1_000;

/// One sync in the history, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncRecord {
    /// Revision.
    pub revision: String,
    /// Rendered digest.
    pub digest: Digest,
    /// RFC 3339 start.
    pub started: String,
    /// RFC 3339 end; `None` while it runs.
    pub finished: Option<String>,
    /// `applied`, `failed`, `superseded`, `rolled-back`.
    pub outcome: String,
    /// For a person.
    pub message: String,
    /// True once the app was healthy at this content.
    pub healthy: bool,
}

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Before anything else of the sync is written.
    Before,
    /// In its wave, like any object.
    During,
    /// After everything was written, healthy and pruned.
    After,
    /// When the sync failed.
    OnFailure,
    /// Before the app's objects are deleted, as it is gone from Git.
    BeforeDelete,
    /// After they are.
    AfterDelete,
}

impl Phase {
    /// For a person: `runs before the sync`.
    pub fn words(self) -> &'static str {
        match self {
            Self::Before => "runs before the sync",
            Self::During => "runs in its wave of the sync",
            Self::After => "runs after the sync",
            Self::OnFailure => "runs if the sync fails",
            Self::BeforeDelete => "runs before the app is deleted",
            Self::AfterDelete => "runs after the app is deleted",
        }
    }
}

/// What one run of a hook came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookRecord {
    /// The hook.
    pub object: ObjectRef,
    /// In which phase it ran.
    pub phase: Phase,
    /// For which sync: the `started` of its record.
    pub run: String,
    /// Uid of the object that ran.
    pub uid: String,
    /// How it ended.
    pub succeeded: bool,
    /// For a person; empty after a success.
    pub message: String,
}

impl HookRecord {
    /// True for a run of this hook in this phase.
    pub fn is_of(&self, key: &ObjectKey, phase: Phase) -> bool {
        self.phase == phase && self.object.key() == *key
    }
}

/// Everything the parent holds, without the lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Whose it is.
    pub identity: Identity,
    /// Default namespace of the app.
    pub namespace: String,
    /// Directory of the app when it was last synced, relative to the repository's root.
    pub path: Option<String>,
    /// Members.
    pub members: Vec<Member>,
    /// Digest of what was last applied in whole.
    pub digest: Option<Digest>,
    /// Revision last applied in whole.
    pub revision: Option<String>,
    /// Hold, if any.
    pub hold: Option<Hold>,
    /// True while a person has suspended the app.
    pub suspended: bool,
    /// Last 10 syncs, newest first.
    pub syncs: Vec<SyncRecord>,
    /// Approved prunes: revision and the exact set of uids.
    pub approvals: Vec<Approval>,
    /// The last run of each hook and phase.
    pub hooks: Vec<HookRecord>,
    /// Hooks that run when the app goes: Git no longer has them then.
    pub delete_hooks: Vec<Value>,
    /// Plans that pull requests were shown with, newest first; kept where the app wants one (`require_plan`).
    pub reviews: Vec<Review>,
}

/// A person's approval of one prune.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Revision it was given for.
    pub revision: String,
    /// Exactly these objects by uid, sorted.
    pub uids: Vec<String>,
}

impl Parent {
    /// A parent that owns nothing yet.
    pub fn new(identity: Identity, namespace: &str) -> Self {
        Self {
            identity,
            namespace: namespace.to_owned(),
            path: None,
            members: Vec::new(),
            digest: None,
            revision: None,
            hold: None,
            suspended: false,
            syncs: Vec::new(),
            approvals: Vec::new(),
            hooks: Vec::new(),
            delete_hooks: Vec::new(),
            reviews: Vec::new(),
        }
    }

    /// Keeps the plan that a pull request is shown with now; `None`: there is none any more. A pull request has one, and
    /// once it is merged that stays: what a host lists as open still was planned too late to be what was merged.
    pub fn review(&mut self, pull: u64, review: Option<Review>) {
        let known = self.reviews.iter().find(|known| known.pull == pull);
        if known.is_some_and(|known| known.merged.is_some() || Some(known) == review.as_ref()) {
            return;
        }
        self.reviews.retain(|known| known.pull != pull);
        self.reviews.splice(0..0, review);
        let mut room = REMOVALS;
        self.reviews.truncate(REVIEWS);
        self.reviews.retain(|known| {
            let fits = known.removes.len() <= room;
            room = if fits { room - known.removes.len() } else { 0 };
            fits
        });
    }

    /// A person's word that these may go at this revision.
    pub fn approve(&mut self, approval: Approval) {
        if !self.approvals.contains(&approval) {
            self.approvals.insert(0, approval);
            self.approvals.truncate(10);
        }
    }

    /// The sync that a sync of this content goes on with: one that was interrupted.
    pub fn interrupted(&self, digest: &Digest) -> Option<&SyncRecord> {
        let open =
            |sync: &&SyncRecord| sync.digest == *digest && matches!(sync.outcome.as_str(), "running" | "superseded");
        self.syncs.first().filter(open)
    }

    /// Keeps what a hook came to.
    pub fn record_hook(&mut self, record: HookRecord) {
        self.hooks.retain(|known| !known.is_of(&record.object.key(), record.phase));
        self.hooks.push(record);
    }

    /// The newest content that was healthy.
    pub fn last_healthy(&self) -> Option<&SyncRecord> {
        self.syncs.iter().find(|sync| sync.healthy)
    }
}
