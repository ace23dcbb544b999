//! From drafts of changes to steps: edges, waves, early and late deletions (rules 5 and 6).
//!
//! Invariants: an edge exists only towards what this plan writes or what is not healthy yet; a deletion comes after every
//! write, unless a write needs it gone; what depends on a deleted object goes before it.

mod hooks;

use super::change::Action;
use super::cycle::{consistent, effective_waves};
use super::edge::{Edge, Objects, Strength, gates_nothing, inferred};
use super::graph::{Graph, Raw, Reason, sort};
use super::order::{is_webhook, kind_rank};
use super::step::StepKind;
use crate::object::{ObjectKey, ObjectRef};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// One write of a draft.
#[derive(Debug, Clone, PartialEq)]
pub struct DraftStep {
    /// The action that it begins.
    pub action: Action,
    /// What it does.
    pub kind: StepKind,
    /// The object has to be healthy first (a rollout after a scaling).
    pub after_own_health: bool,
}

/// A desired object, or one that goes.
pub struct Node<'a> {
    /// Its key.
    pub key: &'a ObjectKey,
    /// Its content.
    pub object: &'a Value,
    /// With its version.
    pub reference: ObjectRef,
    /// Its wave.
    pub wave: i32,
    /// What it is to do; empty: nothing.
    pub steps: Vec<DraftStep>,
    /// Objects that it depends on by annotation.
    pub depends_on: Vec<ObjectKey>,
    /// Objects that hold what it needs (a node port, the right to set replicas): desired ones that change, or pruned ones.
    pub freed_by: Vec<ObjectKey>,
    /// It was rejected: what leans on it is not written either.
    pub rejected: bool,
}

/// Everything to be woven.
pub struct Weave<'a> {
    /// Desired objects.
    pub nodes: Vec<Node<'a>>,
    /// Objects to be deleted.
    pub doomed: Vec<Node<'a>>,
    /// Objects that are not healthy now.
    pub unhealthy: &'a BTreeSet<ObjectKey>,
    /// Hooks before everything else, in groups that run one after the other.
    pub before: Vec<Vec<Node<'a>>>,
    /// Hooks after everything else.
    pub after: Vec<Vec<Node<'a>>>,
}

/// How many objects a wave may have for each to be named in `waits_for`.
const NAMED: usize = 20;

/// Weaves the graph.
///
/// # Errors
/// Keys of objects that wait for each other.
pub fn weave(weave: &Weave<'_>) -> Result<Graph, Vec<ObjectKey>> {
    let objects = Objects::new(weave.nodes.iter().map(|node| (node.key, node.object)).collect());
    let edges = all_edges(weave, &objects);
    let waves: Vec<i32> = weave.nodes.iter().map(|node| node.wave).collect();
    let waves = effective_waves(&edges, &waves);
    let key = |i: &usize| Some(weave.nodes.get(*i)?.key.clone());
    let mut edges = consistent(&edges, &waves).map_err(|cycle| cycle.0.iter().filter_map(key).collect::<Vec<_>>())?;
    edges.extend(webhooks_last(weave, &edges, &waves));
    let mut loom = Loom::new(weave, edges, waves);
    loom.writes();
    loom.write_edges();
    loom.wave_gates();
    loom.hooks_before();
    loom.deletions();
    loom.hooks_after();
    loom.finish()
}

fn all_edges(weave: &Weave<'_>, objects: &Objects<'_>) -> Vec<Edge> {
    let mut out = inferred(objects);
    for (from, node) in weave.nodes.iter().enumerate() {
        let firm =
            |why: &'static str| move |to: usize| Edge { from, to, why, strength: Strength::Firm, while_written: false };
        out.extend(node.depends_on.iter().filter_map(|key| objects.position(key)).map(firm("depends-on")));
        let free = |to: usize| Edge { while_written: true, ..firm("it frees what it needs")(to) };
        out.extend(node.freed_by.iter().filter_map(|key| objects.position(key)).map(free));
    }
    out.sort();
    out.dedup_by_key(|edge| (edge.from, edge.to));
    out
}

/// A webhook configuration waits for everything in its wave and before, but for what waits for it.
fn webhooks_last(weave: &Weave<'_>, edges: &[Edge], waves: &[i32]) -> Vec<Edge> {
    let mut out = Vec::new();
    for (from, _) in weave.nodes.iter().enumerate().filter(|(_, node)| is_webhook(node.key)) {
        let mut waiting = BTreeSet::from([from]);
        let mut queue = vec![from];
        while let Some(at) = queue.pop() {
            queue
                .extend(edges.iter().filter(|edge| edge.to == at).map(|edge| edge.from).filter(|i| waiting.insert(*i)));
        }
        for (to, other) in weave.nodes.iter().enumerate() {
            let later = waves.get(to) > waves.get(from);
            if !is_webhook(other.key) && !later && !waiting.contains(&to) {
                let why = "webhook configurations come last";
                out.push(Edge { from, to, why, strength: Strength::Soft, while_written: true });
            }
        }
    }
    out
}

struct Loom<'w, 'a> {
    weave: &'w Weave<'a>,
    edges: Vec<Vec<Edge>>,
    waves: Vec<i32>,
    blocked: BTreeSet<usize>,
    raw: Vec<Raw>,
    /// First and last step of each node that is written.
    span: BTreeMap<usize, (usize, usize)>,
    /// Step of each deletion.
    deletion: BTreeMap<usize, usize>,
    /// What waits for the hooks before the sync needs this step.
    before: Option<usize>,
    reasons: BTreeMap<ObjectKey, BTreeSet<Reason>>,
}

impl<'w, 'a> Loom<'w, 'a> {
    fn new(weave: &'w Weave<'a>, edges: Vec<Edge>, waves: Vec<i32>) -> Self {
        let mut by_node = vec![Vec::new(); weave.nodes.len()];
        let blocked = blocked(weave, &edges);
        for edge in edges {
            if let Some(list) = by_node.get_mut(edge.from) {
                list.push(edge);
            }
        }
        let (raw, span, deletion, reasons) = (Vec::new(), BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { weave, edges: by_node, waves, blocked, raw, span, deletion, before: None, reasons }
    }

    fn wave(&self, node: usize) -> i64 {
        i64::from(self.waves.get(node).copied().unwrap_or_default())
    }

    /// The steps of everything that is written, each after the one before it on the same object.
    fn writes(&mut self) {
        for (i, node) in self.weave.nodes.iter().enumerate() {
            if node.steps.is_empty() || self.blocked.contains(&i) {
                continue;
            }
            let first = self.raw.len();
            for (seq, step) in node.steps.iter().enumerate() {
                let here = self.raw.len();
                let healthy = step.after_own_health.then(|| node.key.clone());
                self.raw.push(Raw {
                    object: Some(node.reference.clone()),
                    action: Some(step.action),
                    kind: step.kind.clone(),
                    needs: (here > first).then(|| here - 1).into_iter().collect(),
                    healthy: healthy.into_iter().collect(),
                    priority: (
                        0,
                        self.wave(i),
                        1 + step.action as usize,
                        kind_rank(node.key),
                        Some(node.key.clone()),
                        seq,
                    ),
                });
            }
            self.span.insert(i, (first, self.raw.len() - 1));
        }
    }

    /// Edges to what is written or not healthy; through what is neither, to what that depends on.
    fn write_edges(&mut self) {
        let spans: Vec<(usize, usize)> = self.span.iter().map(|(node, (first, _))| (*node, *first)).collect();
        for (node, first) in spans {
            let mut seen = BTreeSet::from([node]);
            let mut queue: Vec<(usize, &'static str)> = Vec::new();
            let written = |loom: &Self, edge: &Edge| loom.span.contains_key(&edge.to) || !edge.while_written;
            queue.extend(self.edges[node].iter().filter(|e| written(self, e)).map(|e| (e.to, e.why)));
            while let Some((to, why)) = queue.pop() {
                if !seen.insert(to) {
                    continue;
                }
                let key = self.weave.nodes[to].key;
                let last = self.span.get(&to).map(|(_, last)| *last);
                if last.is_none() && !self.weave.unhealthy.contains(key) {
                    queue.extend(self.edges[to].iter().filter(|e| written(self, e)).map(|e| (e.to, e.why)));
                    continue;
                }
                self.raw[first].needs.extend(last);
                if !gates_nothing(key) {
                    self.raw[first].healthy.insert(key.clone());
                }
                self.because(self.weave.nodes[node].key, Some(key), why);
            }
        }
    }

    fn because(&mut self, waiting: &ObjectKey, object: Option<&ObjectKey>, why: &str) {
        let reason = Reason { object: object.cloned(), why: why.to_owned() };
        self.reasons.entry(waiting.clone()).or_default().insert(reason);
    }

    /// Each wave waits for all of the one before: by way of one gate, not of an edge for each pair.
    fn wave_gates(&mut self) {
        let mut by_wave: BTreeMap<i64, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
        for (i, node) in self.weave.nodes.iter().enumerate() {
            let slot = by_wave.entry(self.wave(i)).or_default();
            if self.span.contains_key(&i) {
                slot.0.push(i);
            } else if self.weave.unhealthy.contains(node.key) && !gates_nothing(node.key) {
                slot.1.push(i);
            }
        }
        let mut before: Vec<usize> = Vec::new();
        let mut gate: Option<usize> = None;
        for (wave, (written, unhealthy)) in by_wave {
            if !written.is_empty() && !before.is_empty() {
                gate = Some(self.gate(wave, &before, gate));
                before.clear();
            }
            if let Some(gate) = gate {
                for node in &written {
                    let (first, _) = self.span[node];
                    self.raw[first].needs.insert(gate);
                    self.wave_reason(*node, wave, gate);
                }
            }
            before.extend(written.iter().chain(&unhealthy));
        }
    }

    fn gate(&mut self, wave: i64, before: &[usize], previous: Option<usize>) -> usize {
        let why = format!("the waves before {wave}");
        let priority = (0, wave, 0, 0, None, 0);
        let nodes = &self.weave.nodes;
        let healthy = before.iter().map(|i| nodes[*i].key).filter(|key| !gates_nothing(key)).cloned().collect();
        let mut needs: BTreeSet<usize> =
            before.iter().filter_map(|i| self.span.get(i)).map(|(_, last)| *last).collect();
        needs.extend(previous);
        self.raw.push(Raw { object: None, action: None, kind: StepKind::Gate { why }, needs, healthy, priority });
        self.raw.len() - 1
    }

    fn wave_reason(&mut self, node: usize, wave: i64, gate: usize) {
        let key = self.weave.nodes[node].key;
        let held: Vec<ObjectKey> = self.raw[gate].healthy.iter().cloned().collect();
        if held.len() > NAMED {
            self.because(key, None, &format!("all {} objects of the waves before {wave}", held.len()));
        } else {
            for object in &held {
                self.because(key, Some(object), "an earlier wave");
            }
        }
    }

    /// Deletions: last of all and in reverse order, but for those that a write needs.
    fn deletions(&mut self) {
        let doomed = &self.weave.doomed;
        if doomed.is_empty() {
            return;
        }
        let objects = Objects::new(doomed.iter().map(|node| (node.key, node.object)).collect());
        // `from` depends on `to`: it goes first. What deletes nothing wrong in any order never stops a sync: a circle
        // among live objects is left to their waves.
        let edges = inferred(&objects);
        let waves: Vec<i32> = doomed.iter().map(|node| node.wave).collect();
        let waves = effective_waves(&edges, &waves);
        let edges = consistent(&edges, &waves).unwrap_or_default();
        let early = self.early(&edges);
        let written: Vec<usize> = self.span.keys().copied().collect();
        let last_gate = (!written.is_empty() && early.len() < doomed.len()).then(|| self.final_gate(&written));
        for (i, node) in doomed.iter().enumerate() {
            let Some(step) = node.steps.first() else { continue };
            let is_early = early.contains(&i);
            let wave = if is_early { i64::MIN } else { -i64::from(waves.get(i).copied().unwrap_or_default()) };
            let rank = usize::MAX - kind_rank(node.key);
            self.deletion.insert(i, self.raw.len());
            self.raw.push(Raw {
                object: Some(node.reference.clone()),
                action: Some(step.action),
                kind: step.kind.clone(),
                needs: if is_early { self.before } else { last_gate.or(self.before) }.into_iter().collect(),
                healthy: BTreeSet::new(),
                priority: (u8::from(!is_early), wave, 1, rank, Some(node.key.clone()), 0),
            });
            if !is_early && last_gate.is_some() {
                self.because(node.key, None, "everything else to be written and healthy");
            }
        }
        for edge in &edges {
            self.delete_after(edge.to, edge.from, "it goes first, as it depends on it");
        }
        self.delete_waves(&early, &waves);
        self.free(&objects);
    }

    fn delete_after(&mut self, later: usize, sooner: usize, why: &str) {
        let (Some(a), Some(b)) = (self.deletion.get(&later).copied(), self.deletion.get(&sooner).copied()) else {
            return;
        };
        self.raw[a].needs.insert(b);
        let doomed = &self.weave.doomed;
        self.because(doomed[later].key, Some(doomed[sooner].key), why);
    }

    fn final_gate(&mut self, written: &[usize]) -> usize {
        let gate = self.gate(i64::MAX, written, None);
        self.raw[gate].kind = StepKind::Gate { why: "everything written to be healthy, before deletions".to_owned() };
        gate
    }

    /// Higher waves are deleted first.
    fn delete_waves(&mut self, early: &BTreeSet<usize>, waves: &[i32]) {
        let mut by_wave: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
        for (i, wave) in waves.iter().enumerate().filter(|(i, _)| !early.contains(i)) {
            by_wave.entry(*wave).or_default().extend(self.deletion.get(&i));
        }
        let mut before: Vec<usize> = Vec::new();
        for (wave, steps) in by_wave.into_iter().rev() {
            if !before.is_empty() {
                let why = format!("the deletion of waves after {wave}");
                let needs = before.drain(..).collect();
                let priority = (1, -i64::from(wave), 0, 0, None, 0);
                let gate = self.raw.len();
                let (kind, healthy) = (StepKind::Gate { why }, BTreeSet::new());
                self.raw.push(Raw { object: None, action: None, kind, needs, healthy, priority });
                for step in &steps {
                    self.raw[*step].needs.insert(gate);
                }
            }
            before.extend(steps);
        }
    }

    /// Which deletions cannot wait: what a write needs gone, and what has to go before that.
    fn early(&self, edges: &[Edge]) -> BTreeSet<usize> {
        let mut out = BTreeSet::new();
        for (i, doomed) in self.weave.doomed.iter().enumerate() {
            if self.span.keys().any(|node| self.needs_gone(*node, doomed.key)) {
                out.insert(i);
            }
        }
        let mut queue: Vec<usize> = out.iter().copied().collect();
        while let Some(at) = queue.pop() {
            queue.extend(edges.iter().filter(|edge| edge.to == at).map(|edge| edge.from).filter(|i| out.insert(*i)));
        }
        out
    }

    /// True if a write needs an object gone: it holds what the write needs, it may refuse the write, or it is the quota.
    fn needs_gone(&self, node: usize, doomed: &ObjectKey) -> bool {
        let node = &self.weave.nodes[node];
        node.freed_by.contains(doomed)
            || is_webhook(doomed)
            || (doomed.is("", "ResourceQuota") && doomed.namespace == node.key.namespace)
    }

    fn free(&mut self, objects: &Objects<'_>) {
        let spans: Vec<(usize, usize)> = self.span.iter().map(|(node, (first, _))| (*node, *first)).collect();
        for (node, first) in spans {
            for (key, _) in &objects.list {
                if !self.needs_gone(node, key) {
                    continue;
                }
                let Some(step) = objects.position(key).and_then(|i| self.deletion.get(&i).copied()) else { continue };
                self.raw[first].needs.insert(step);
                self.because(self.weave.nodes[node].key, Some(key), "it has to be gone first");
            }
        }
    }

    fn finish(self) -> Result<Graph, Vec<ObjectKey>> {
        let objects: Vec<Option<ObjectKey>> =
            self.raw.iter().map(|step| step.object.as_ref().map(ObjectRef::key)).collect();
        let steps = sort(self.raw).map_err(|stuck| {
            let keys: BTreeSet<ObjectKey> = stuck.iter().filter_map(|i| objects[*i].clone()).collect();
            keys.into_iter().collect::<Vec<_>>()
        })?;
        let reasons = self.reasons.into_iter().map(|(key, reasons)| (key, reasons.into_iter().collect())).collect();
        Ok(Graph { steps, reasons })
    }
}

/// Nodes that lean on a rejected one.
fn blocked(weave: &Weave<'_>, edges: &[Edge]) -> BTreeSet<usize> {
    let mut out: BTreeSet<usize> = (0..weave.nodes.len()).filter(|i| weave.nodes[*i].rejected).collect();
    let mut queue: Vec<usize> = out.iter().copied().collect();
    while let Some(at) = queue.pop() {
        queue.extend(edges.iter().filter(|edge| edge.to == at).map(|edge| edge.from).filter(|i| out.insert(*i)));
    }
    out
}
