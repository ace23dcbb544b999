//! Rolling and recreating (`rolling.go`, `recreate.go`).

use super::super::kind::POD;
use super::super::meta::uid;
use super::super::pods;
use super::Sync;

impl Sync<'_> {
    /// `rolloutRolling`.
    pub(super) fn roll(&mut self) {
        if !self.sync_revision() {
            return;
        }
        if self.sets.new.is_none() {
            self.create_new_set();
        } else if !self.reconcile_new() && !self.reconcile_old() && self.is_complete_as_stored() {
            self.clean_up();
        }
        self.sync_rollout_status();
    }

    /// `NewRSNewReplicas`: how big the new set may be, so that all sets together stay within the surge.
    pub(super) fn new_set_size(&self, current: i64) -> i64 {
        if !self.is_rolling() {
            return self.replicas;
        }
        let total = self.sets.sum(|set| set.replicas);
        let most = self.replicas + self.max_surge();
        if total >= most { current } else { current + (most - total).min(self.replicas - current) }
    }

    fn reconcile_new(&mut self) -> bool {
        let Some((at, size)) = self.sets.new.and_then(|at| Some((at, self.sets.all.get(at)?.replicas))) else {
            return false;
        };
        if size == self.replicas {
            false
        } else if size > self.replicas {
            self.scale_set(at, self.replicas)
        } else {
            let to = self.new_set_size(size);
            self.scale_set(at, to)
        }
    }

    /// `reconcileOldReplicaSets`: pods of the new set that are not available yet count as lost, so that a broken new
    /// set cannot take the old one down with it.
    fn reconcile_old(&mut self) -> bool {
        if self.sets.active_old().is_empty() {
            return false;
        }
        let least = self.replicas - self.max_unavailable();
        let unavailable = self.sets.newest().map_or(0, |new| new.replicas - new.available);
        let spare = self.sets.sum(|set| set.replicas) - least - unavailable;
        if spare <= 0 {
            return false;
        }
        let cleaned = self.remove_unhealthy(spare);
        let removed = self.remove_available(least);
        cleaned + removed > 0
    }

    /// `cleanupUnhealthyReplicas`: what is not available is no loss.
    fn remove_unhealthy(&mut self, most: i64) -> i64 {
        let mut removed = 0;
        for at in self.sets.active_old() {
            let Some(set) = self.sets.all.get(at) else { continue };
            let count = (most - removed).min(set.replicas - set.available);
            if removed >= most || count <= 0 {
                continue;
            }
            let to = set.replicas - count;
            self.scale_set(at, to);
            removed += count;
        }
        removed
    }

    /// `scaleDownOldReplicaSetsForRollingUpdate`.
    fn remove_available(&mut self, least: i64) -> i64 {
        let spare = self.sets.sum(|set| set.available) - least;
        let mut removed = 0;
        for at in self.sets.active_old() {
            let Some(set) = self.sets.all.get(at) else { continue };
            if removed >= spare {
                break;
            }
            let count = set.replicas.min(spare - removed);
            let to = set.replicas - count;
            self.scale_set(at, to);
            removed += count;
        }
        removed
    }

    /// `rolloutRecreate`: nothing new before everything old is gone.
    pub(super) fn recreate(&mut self) {
        if !self.sync_revision() {
            return;
        }
        let active = self.sets.active_old();
        if !active.is_empty() {
            for at in active {
                self.scale_set(at, 0);
            }
        } else if !self.old_pods_exist() {
            match self.sets.new {
                None => self.create_new_set(),
                Some(at) => {
                    let scaled = self.scale_set(at, self.replicas);
                    if !scaled && self.is_complete_as_stored() {
                        self.clean_up();
                    }
                }
            }
        }
        self.sync_rollout_status();
    }

    /// `oldPodsRunning`: also those that are still terminating.
    fn old_pods_exist(&self) -> bool {
        self.sets
            .old()
            .filter_map(|at| self.sets.all.get(at))
            .flat_map(|set| self.index.owned(&POD, uid(&set.object)))
            .any(|pod| !pods::is_finished(&pod))
    }
}
