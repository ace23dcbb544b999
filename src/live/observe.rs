//! Builds the snapshot that a plan is made from.
//!
//! In: what an app wants and owns. Out: every one of these objects as present, absent or unknown, besides whatever
//! carries the app's label, and the autoscalers. What the cache holds costs nothing; what it does not hold is asked
//! for by key, since absence from a label-filtered watch proves nothing.

use super::cache::Cache;
use super::client::{ApiError, Call, Client};
use super::kinds::{Kind, Kinds};
use super::snapshot::{LiveSnapshot, Presence};
use crate::inventory::Member;
use crate::inventory::identity::PART_OF;
use crate::object::{Gk, Gvk, Live, Manifest, ObjectKey, ObjectRef, Problem};
use futures::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Kinds that scale other objects: their targets' replicas are not Git's.
pub const AUTOSCALERS: [(&str, &str); 2] = [("autoscaling", "HorizontalPodAutoscaler"), ("keda.sh", "ScaledObject")];

/// What a snapshot is built from.
#[derive(Clone)]
pub struct Eyes {
    /// The cluster.
    pub client: Client,
    /// Objects that carry an ApplySet label.
    pub members: Cache,
    /// Autoscalers, unfiltered.
    pub autoscalers: Cache,
    /// True in the daemon: kinds once needed are watched from then on.
    pub keep_watching: bool,
}

impl Eyes {
    /// Looks at everything in `wanted` (desired objects and inventory members) and at what carries `applyset_id`, whose
    /// inventory lists `members`.
    pub async fn observe(
        &self,
        kinds: &Kinds,
        wanted: &[ObjectRef],
        (applyset_id, members): (&str, &[Member]),
    ) -> LiveSnapshot {
        let uids: BTreeMap<ObjectKey, &str> =
            members.iter().filter_map(|m| Some((m.object.key(), m.uid.as_deref()?))).collect();
        let by_gvk = group_by_served_version(kinds, wanted);
        join_all(by_gvk.keys().map(|gvk| self.make_known(kinds, gvk, &self.members))).await;
        if wanted.iter().any(|o| has_replicas(&o.gvk().gk())) {
            let scalers = AUTOSCALERS.iter().filter_map(|(g, k)| kinds.get(&Gk::new(*g, *k)));
            join_all(scalers.map(|kind| self.make_known(kinds, &kind.gvk, &self.autoscalers))).await;
        }

        let mut snapshot = LiveSnapshot::default();
        let mut unseen = Vec::new();
        for object in wanted {
            let key = object.key();
            // An object that is another app's now leaves the inventory: that is not decided by what a watch said last.
            let ours = |live: &Arc<Live>| live.label(PART_OF) == Some(applyset_id);
            // Nor is it by its word that somebody made an object anew: another process may have, and has written it down.
            let known = |live: &Arc<Live>| uids.get(&key).is_none_or(|uid| live.uid() == Some(*uid));
            match self.cached(kinds, object).filter(|live| ours(live) && known(live)) {
                Some(live) => {
                    snapshot.objects.insert(key, Presence::Present(live));
                }
                None if !snapshot.objects.contains_key(&key) => unseen.push(object),
                None => {}
            }
        }
        let asked = join_all(unseen.iter().map(|object| self.look_up(kinds, object))).await;
        snapshot.objects.extend(unseen.iter().map(|o| o.key()).zip(asked));

        for live in self.members.part_of(applyset_id).into_iter().chain(self.autoscalers.all()) {
            snapshot.objects.entry(live.key()).or_insert(Presence::Present(live));
        }
        snapshot
    }

    /// Asks for one object by key. A kind that is not served is absent, one of a broken group unknown.
    pub async fn look_up(&self, kinds: &Kinds, object: &ObjectRef) -> Presence {
        let gk = object.gvk().gk();
        let Some(kind) = kinds.get(&gk) else {
            return match kinds.broken.get(&gk.group) {
                Some(why) => Presence::Unknown(
                    Problem::new("ApiGroupBroken", format!("API group {} does not answer: {why}", gk.group))
                        .about(object.clone())
                        .hint("see `kubectl get apiservices`; other objects are not affected"),
                ),
                None => Presence::Absent,
            };
        };
        let version = kind.version_or_preferred(&object.version);
        match get(&self.client, kind, version, &object.key()).await {
            Ok(Some(live)) => {
                let live = Arc::new(live);
                if live.label(PART_OF).is_some() {
                    self.members.absorb(&live);
                }
                Presence::Present(live)
            }
            Ok(None) => Presence::Absent,
            Err(error) => Presence::Unknown(error.problem().about(object.clone())),
        }
    }

    fn cached(&self, kinds: &Kinds, object: &ObjectRef) -> Option<Arc<Live>> {
        let kind = kinds.get(&object.gvk().gk())?;
        let gvk = Gvk::new(&object.group, kind.version_or_preferred(&object.version), &object.kind);
        self.members.get(&gvk, &object.key()).filter(|_| self.members.is_synced(&gvk))
    }

    async fn make_known(&self, kinds: &Kinds, gvk: &Gvk, cache: &Cache) {
        let Some(kind) = kinds.get(&gvk.gk()).filter(|kind| kind.listable) else { return };
        if let Err(error) = cache.ensure_listed(kind, &gvk.version).await {
            // Not fatal: every object that the list would have shown is asked for by key.
            tracing::warn!(cluster = self.client.name(), kind = %gvk, %error, "list failed");
        }
        if self.keep_watching {
            cache.watch(kind, &gvk.version);
        }
    }
}

/// Kinds with a scale that an autoscaler may own: the built-in ones, and any custom resource.
fn has_replicas(gk: &Gk) -> bool {
    match gk.group.as_str() {
        "apps" => matches!(gk.kind.as_str(), "Deployment" | "StatefulSet" | "ReplicaSet"),
        group => group.contains('.') && !group.ends_with(".k8s.io"),
    }
}

fn group_by_served_version(kinds: &Kinds, wanted: &[ObjectRef]) -> BTreeMap<Gvk, BTreeSet<ObjectKey>> {
    let mut out: BTreeMap<Gvk, BTreeSet<ObjectKey>> = BTreeMap::new();
    for object in wanted {
        if let Some(kind) = kinds.get(&object.gvk().gk()) {
            let gvk = Gvk::new(&object.group, kind.version_or_preferred(&object.version), &object.kind);
            out.entry(gvk).or_default().insert(object.key());
        }
    }
    out
}

/// Reads one object; `Ok(None)` where the server says it is not there.
///
/// # Errors
/// Any other failure.
pub async fn get(client: &Client, kind: &Kind, version: &str, key: &ObjectKey) -> Result<Option<Live>, ApiError> {
    let call = Call::get(kind.object_path(version, key.namespace.as_deref(), &key.name));
    match client.send_patiently(&call).await {
        Ok(answer) => Ok(Some(Live(answer.body))),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
