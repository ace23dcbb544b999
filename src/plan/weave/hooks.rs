//! Hooks in the graph: the ones before the sync, and the ones after it.
//!
//! A hook before the sync comes before every write, but for what it cannot run without and that is not there yet: its
//! namespace, its kind, the ServiceAccount, ConfigMaps and Secrets that its pods use. What is there already is what it
//! sees, as with Helm and Argo CD.

use super::{Loom, Node};
use crate::object::ObjectKey;
use crate::plan::change::Action;
use crate::plan::edge::{Objects, gates_nothing, inferred};
use crate::plan::graph::{Priority, Raw};
use crate::plan::order::kind_rank;
use crate::plan::step::StepKind;
use std::collections::BTreeSet;

impl Loom<'_, '_> {
    /// Every write but what the hooks need waits for the hooks.
    pub(super) fn hooks_before(&mut self) {
        let groups = &self.weave.before;
        if groups.is_empty() {
            return;
        }
        let first: BTreeSet<usize> = self.prerequisites();
        let healthy: BTreeSet<ObjectKey> =
            first.iter().map(|i| self.weave.nodes[*i].key).filter(|key| !gates_nothing(key)).cloned().collect();
        let needs: BTreeSet<usize> = first.iter().filter_map(|i| Some(self.span.get(i)?.1)).collect();
        let last = self.chain(groups, needs, &healthy, (0, i64::MIN, 0));
        self.before = Some(last);
        let waiting: Vec<(usize, usize)> =
            self.span.iter().filter(|(i, _)| !first.contains(i)).map(|(i, (step, _))| (*i, *step)).collect();
        for (i, step) in waiting {
            self.raw[step].needs.insert(last);
            for hook in groups.iter().flatten() {
                self.because(self.weave.nodes[i].key, Some(hook.key), "a hook before the sync");
            }
        }
    }

    /// After everything is written, healthy and pruned.
    pub(super) fn hooks_after(&mut self) {
        let groups = &self.weave.after;
        if groups.is_empty() {
            return;
        }
        let needs: BTreeSet<usize> = (0..self.raw.len()).collect();
        let nodes = self.weave.nodes.iter().enumerate();
        let healthy: BTreeSet<ObjectKey> = nodes
            .filter(|(i, node)| self.span.contains_key(i) || self.weave.unhealthy.contains(node.key))
            .map(|(_, node)| node.key)
            .filter(|key| !gates_nothing(key))
            .cloned()
            .collect();
        for hook in groups.iter().flatten() {
            self.because(hook.key, None, "everything else to be written and healthy");
        }
        self.chain(groups, needs, &healthy, (2, 0, 0));
    }

    /// Groups one after the other; the gate after the last one.
    fn chain(
        &mut self,
        groups: &[Vec<Node<'_>>],
        mut needs: BTreeSet<usize>,
        healthy: &BTreeSet<ObjectKey>,
        (part, wave, rank): (u8, i64, usize),
    ) -> usize {
        let mut place = rank;
        for group in groups {
            place += 1;
            let mut ends = BTreeSet::new();
            for node in group {
                let Some(step) = node.steps.first() else { continue };
                let priority: Priority = (part, wave, place, kind_rank(node.key), Some(node.key.clone()), 0);
                ends.insert(self.raw.len());
                self.raw.push(Raw {
                    object: Some(node.reference.clone()),
                    action: Some(step.action),
                    kind: step.kind.clone(),
                    needs: needs.clone(),
                    healthy: healthy.clone(),
                    priority,
                });
            }
            needs = ends;
        }
        let why = "the hooks to end".to_owned();
        let priority = (part, wave, place + 1, 0, None, 0);
        let (kind, healthy) = (StepKind::Gate { why }, BTreeSet::new());
        self.raw.push(Raw { object: None, action: None, kind, needs, healthy, priority });
        self.raw.len() - 1
    }

    /// What the hooks before the sync cannot run without and this plan creates, with whatever that itself waits for: what
    /// a hook waits for must not wait for the hook. Only of the first wave, and nothing that waits for a deletion: both
    /// wait for objects that wait for the hooks.
    fn prerequisites(&self) -> BTreeSet<usize> {
        let hooks = self.weave.before.iter().flatten();
        let own = self.weave.nodes.iter().map(|node| (node.key, node.object));
        let objects = Objects::new(own.chain(hooks.map(|hook| (hook.key, hook.object))).collect());
        let count = self.weave.nodes.len();
        let first_wave = self.span.keys().map(|i| self.wave(*i)).min().unwrap_or_default();
        let created = |i: &usize| {
            let steps = self.weave.nodes.get(*i).filter(|_| self.span.contains_key(i)).map(|node| &node.steps);
            steps.and_then(|steps| steps.first()).is_some_and(|step| step.action == Action::Create)
        };
        let used = inferred(&objects).into_iter().filter(|edge| edge.from >= count).map(|edge| edge.to);
        let mut out = BTreeSet::new();
        for root in used.filter(created) {
            let all = self.with_what_it_needs(root);
            let free = |i: &usize| {
                self.wave(*i) == first_wave && !self.weave.doomed.iter().any(|doomed| self.needs_gone(*i, doomed.key))
            };
            if all.iter().all(free) {
                out.extend(all);
            }
        }
        out
    }

    /// A written node, and every written one that it waits for by any edge.
    fn with_what_it_needs(&self, root: usize) -> BTreeSet<usize> {
        let (mut seen, mut open) = (BTreeSet::from([root]), vec![root]);
        while let Some(at) = open.pop() {
            open.extend(self.edges[at].iter().map(|edge| edge.to).filter(|to| seen.insert(*to)));
        }
        seen.retain(|i| self.span.contains_key(i));
        seen
    }
}
