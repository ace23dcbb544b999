//! A change of `spec.replicas`, spread over the ReplicaSets (`isScalingEvent`, `scale` in `sync.go`).

use super::super::meta::int;
use super::Sync;
use std::cmp::Reverse;

impl Sync<'_> {
    /// True if a set was sized for another number of replicas.
    pub(super) fn is_scaling_event(&self) -> bool {
        self.sets
            .all
            .iter()
            .filter(|set| set.replicas > 0)
            .any(|set| set.desired().is_some_and(|desired| desired != self.replicas))
    }

    pub(super) fn scale(&mut self) {
        if let Some(only) = self.active_or_latest() {
            if self.sets.all.get(only).is_some_and(|set| set.replicas != self.replicas) {
                self.scale_set(only, self.replicas);
            } else if self.is_scaling_event() {
                // Same size, other annotations: without this the event would never end.
                self.scale_set(only, self.replicas);
            }
        } else if self.is_saturated() {
            for at in self.sets.active_old() {
                self.scale_set(at, 0);
            }
        } else if self.is_rolling() {
            self.scale_in_proportion();
        }
    }

    /// `FindActiveOrLatest`: the only set with pods, or the newest if none has any.
    fn active_or_latest(&self) -> Option<usize> {
        let active: Vec<usize> =
            (0..self.sets.all.len()).filter(|at| self.sets.all.get(*at).is_some_and(|set| set.replicas > 0)).collect();
        match active.as_slice() {
            [] => self.sets.new.or_else(|| self.sets.all.len().checked_sub(1)),
            [only] => Some(*only),
            _ => None,
        }
    }

    /// `IsSaturated`: the new set has every pod, and all are available.
    fn is_saturated(&self) -> bool {
        self.sets.newest().is_some_and(|new| {
            new.replicas == self.replicas && new.desired() == Some(self.replicas) && new.available == self.replicas
        })
    }

    fn scale_in_proportion(&mut self) {
        let mut active: Vec<usize> =
            (0..self.sets.all.len()).filter(|at| self.sets.all.get(*at).is_some_and(|set| set.replicas > 0)).collect();
        let size = |at: &usize| self.sets.all.get(*at).map_or(0, |set| set.replicas);
        let allowed = if self.replicas > 0 { self.replicas + self.max_surge() } else { 0 };
        let to_add = allowed - active.iter().map(size).sum::<i64>();
        // The biggest first; among equals the newer one grows first and the older one shrinks first. `all` is oldest first.
        if to_add > 0 {
            active.sort_by_key(|at| (Reverse(size(at)), Reverse(*at)));
        } else if to_add < 0 {
            active.sort_by_key(|at| (Reverse(size(at)), *at));
        }
        let mut added = 0;
        let mut sizes: Vec<(usize, i64)> = Vec::new();
        for at in &active {
            let share = self.share(*at, to_add, added);
            added += share;
            sizes.push((*at, size(at) + share));
        }
        if let Some((_, first)) = sizes.first_mut() {
            *first = (*first + to_add - added).max(0);
        }
        for (at, to) in sizes {
            self.scale_set(at, to);
        }
    }

    /// `GetReplicaSetProportion`.
    fn share(&self, at: usize, to_add: i64, added: i64) -> i64 {
        let Some(set) = self.sets.all.get(at) else { return 0 };
        if set.replicas == 0 || to_add == 0 || to_add == added {
            return 0;
        }
        let left = to_add - added;
        let fraction = self.fraction(set.replicas, set.most());
        if to_add > 0 { fraction.min(left) } else { fraction.max(left) }
    }

    /// `getReplicaSetFraction`.
    fn fraction(&self, size: i64, most_before: Option<i64>) -> i64 {
        if self.replicas == 0 {
            return -size;
        }
        let most = self.replicas + self.max_surge();
        let before = most_before.filter(|n| *n != 0).unwrap_or_else(|| int(&self.deployment["status"]["replicas"]));
        if before == 0 {
            return 0;
        }
        let scaled = (size * most) as f64 / before as f64;
        scaled.round() as i64 - size
    }
}
