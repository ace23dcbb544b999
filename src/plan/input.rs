//! What planning is told. Everything a plan depends on is in [`PlanInput`]; equal input, equal plan.

use super::hook::HookObject;
use super::question::Asked;
use crate::inventory::{HookRecord, Parent};
use crate::live::kinds::Kinds;
use crate::live::snapshot::LiveSnapshot;
use crate::object::{Desired, DryRun, Gk, ObjectKey, Problem};
use std::collections::{BTreeMap, BTreeSet};

/// Field manager of every apply (rule 1).
pub const MANAGER: &str = "driftless";
/// Field manager that keeps the live value of a field we stop applying (rule 9).
pub const HANDOVER_MANAGER: &str = "driftless-handover";
pub use crate::inventory::identity::PART_OF;
/// Annotation: `allowed` lets an immutable field be changed by deleting and creating.
pub const REPLACE: &str = "driftless.dev/replace";
/// Annotation: `disabled` keeps an object that is no longer in Git.
pub const PRUNE: &str = "driftless.dev/prune";
/// Helm's annotation: `keep` does the same.
pub const HELM_POLICY: &str = "helm.sh/resource-policy";
/// What `kubectl apply` remembers. It repeats the object, a Secret's values too.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Answers to questions, by object and question.
pub type Answers = BTreeMap<(ObjectKey, Asked), Result<DryRun, Problem>>;

/// Another app of the scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sibling {
    /// Its name.
    pub app: String,
    /// True if what it wants is known (it was rendered, and is neither held nor suspended). Only then is an object that
    /// it owns and does not want free to move to another app.
    pub settled: bool,
}

/// How much may be pruned without approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PruneLimit {
    /// Up to this share (in percent) of the app's objects; apps of up to 5 objects have no limit.
    Percent(u32),
    /// Up to this many objects.
    Count(usize),
    /// No limit.
    Off,
}

impl PruneLimit {
    /// True if pruning `count` of `members` objects needs an approval.
    pub fn exceeded(self, count: usize, members: usize) -> bool {
        match self {
            Self::Off => false,
            Self::Count(limit) => count > limit,
            Self::Percent(percent) => {
                members > 5 && count.saturating_mul(100) > members.saturating_mul(percent as usize)
            }
        }
    }
}

impl std::fmt::Display for PruneLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Count(count) => write!(f, "{count}"),
            Self::Off => f.write_str("off"),
        }
    }
}

/// Fields that are left alone on the objects it matches. An absent part matches everything; `*` in a name matches any text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IgnoreRule {
    /// API group (empty: core).
    pub group: Option<String>,
    /// Kind.
    pub kind: Option<String>,
    /// Namespace.
    pub namespace: Option<String>,
    /// Name.
    pub name: Option<String>,
    /// JSON pointers (RFC 6901), such as `/spec/replicas`.
    pub pointers: Vec<String>,
}

/// The app's settings that planning obeys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanOptions {
    /// False: what is no longer in Git stays, and is said.
    pub prune: bool,
    /// How much may be pruned without approval.
    pub prune_limit: PruneLimit,
    /// Fields to leave alone.
    pub ignore: Vec<IgnoreRule>,
    /// False: drift is planned and said, but no step repairs it.
    pub self_heal: bool,
    /// Missing namespaces of the app's objects are created.
    pub create_namespace: bool,
    /// True: an immutable field may be changed by replacement on every object, not only on annotated ones.
    pub replace: bool,
    /// `apply = "best-effort"`: a rejected object stops only what depends on it.
    pub best_effort: bool,
    /// The app is gone from a tree that was read whole and in which other apps remain: all of it is pruned.
    pub app_removed: bool,
    /// Why prunes have to wait, such as `app "db" does not render`. An object may be on its way to such an app.
    pub prunes_wait: Option<String>,
    /// False: no hook runs, as in a rollback.
    pub hooks: bool,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self {
            prune: true,
            prune_limit: PruneLimit::Percent(50),
            ignore: Vec::new(),
            self_heal: true,
            create_namespace: false,
            replace: false,
            best_effort: false,
            app_removed: false,
            prunes_wait: None,
            hooks: true,
        }
    }
}

/// Everything a plan is made from.
#[derive(Clone, Copy)]
pub struct PlanInput<'a> {
    /// App name.
    pub app: &'a str,
    /// Cluster name.
    pub cluster: &'a str,
    /// Revision planned; approvals are bound to it.
    pub revision: &'a str,
    /// Objects as rendered, with namespaces resolved.
    pub desired: &'a [Desired],
    /// What the cluster serves.
    pub kinds: &'a Kinds,
    /// Live state: every desired key, every inventory member, the desired objects' namespaces, every object with our
    /// label, and the autoscalers of those namespaces. A key that is not in it is unknown. Objects are in the version
    /// that Git uses, whole (managed fields too), with `apiVersion` and `kind`.
    pub snapshot: &'a LiveSnapshot,
    /// The app's inventory.
    pub parent: Option<&'a Parent>,
    /// Our value of [`PART_OF`].
    pub applyset_id: &'a str,
    /// What the scope's other apps want, with the app's name.
    pub other_apps: &'a BTreeMap<ObjectKey, String>,
    /// The scope's other apps by ApplySet id.
    pub siblings: &'a BTreeMap<String, Sibling>,
    /// Kinds that the scope's apps' CRDs define.
    pub defined_elsewhere: &'a BTreeSet<Gk>,
    /// Workloads that autoscalers of the scope's other apps scale.
    pub scaled_elsewhere: &'a BTreeSet<ObjectKey>,
    /// HMAC key for digests that cover a Secret.
    pub secret_key: &'a [u8],
    /// Answers to [`questions`](super::question::questions) so far.
    pub dry_runs: &'a Answers,
    /// Objects that are not healthy now.
    pub unhealthy: &'a BTreeSet<ObjectKey>,
    /// Contents of each Namespace, and instances of each CRD, that is to be pruned and that are not this app's. A
    /// Namespace or CRD without an entry counts as not looked into.
    pub foreign: &'a BTreeMap<ObjectKey, Vec<ObjectKey>>,
    /// Settings.
    pub options: &'a PlanOptions,
    /// The app's hooks.
    pub hooks: &'a [HookObject],
    /// False: no hook runs, since nothing new is brought about (drift is repaired, a rollback).
    pub hooks_due: bool,
    /// Hooks that have succeeded already in the sync that this plan goes on with.
    pub hooks_done: &'a [HookRecord],
}

/// Secrets are the one kind whose content is covered by keyed digests only.
pub fn is_secret(key: &ObjectKey) -> bool {
    key.is("", "Secret")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        for (limit, count, members, exceeded) in [
            (PruneLimit::Percent(50), 5, 5, false),
            (PruneLimit::Percent(50), 3, 6, false),
            (PruneLimit::Percent(50), 4, 6, true),
            (PruneLimit::Percent(0), 1, 6, true),
            (PruneLimit::Count(2), 2, 3, false),
            (PruneLimit::Count(2), 3, 3, true),
            (PruneLimit::Off, 100, 100, false),
        ] {
            assert_eq!(limit.exceeded(count, members), exceeded, "{limit} {count}/{members}");
        }
    }
}
