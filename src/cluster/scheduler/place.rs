//! Places pods that have no node yet, and says why where it cannot.
//!
//! Among the nodes that fit, the one with the highest harmonic headroom f wins ([`crate::scheduling::score::node`]); among
//! equals the one with fewer pods of the same controller, then the first by name. Each node carries its allocation
//! ratios h in an annotation, written only when they change.

use super::super::controllers::condition::{Condition, Conditions};
use super::super::controllers::event::Event;
use super::super::controllers::index::Index;
use super::super::controllers::kind::{NODE, POD};
use super::super::controllers::meta::{annotation, controller_uid, created, is_deleting, items, name, namespace, text};
use super::super::controllers::{patch, pods};
use super::filter::{Node, Unfit};
use super::topology::Topology;
use super::volumes::{self, Claims};
use crate::cluster::view::{SCHEDULER, Step, Write};
use crate::scheduling::{Resource, Resources, score};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The allocation ratios of a node: `cpu=0.42,memory=0.10`.
pub const ALLOCATION: &str = "sim.driftless.dev/allocation";

/// What the plugin for dynamic resources adds, since Kubernetes 1.34.
const NO_CLAIMS: &str = "no new claims to deallocate";

/// One step for every pod without a node, highest priority first, then oldest.
pub fn run(index: &Index<'_>) -> Step {
    let mut step = Step::default();
    let mut nodes = nodes(index);
    let by_node = index.pods_by_node();
    let unbound = by_node.get("").map_or(&[][..], Vec::as_slice);
    let mut waiting: Vec<&Arc<Value>> = unbound.iter().filter(|pod| is_ours(pod)).collect();
    waiting.sort_by(|a, b| {
        let priority = |pod: &Value| pod["spec"]["priority"].as_i64().unwrap_or(0);
        priority(b).cmp(&priority(a)).then_with(|| created(a).cmp(created(b))).then_with(|| name(a).cmp(name(b)))
    });
    for pod in waiting {
        place(index, pod, &mut nodes, &mut step);
    }
    for node in &nodes {
        note_allocation(node, &mut step);
    }
    step
}

fn is_ours(pod: &Value) -> bool {
    let scheduler = pod["spec"]["schedulerName"].as_str().unwrap_or("default-scheduler");
    pods::is_active(pod) && scheduler == "default-scheduler" && items(&pod["spec"]["schedulingGates"]).is_empty()
}

fn nodes(index: &Index<'_>) -> Vec<Node> {
    let by_node = index.pods_by_node();
    let mut nodes: Vec<Node> = index
        .all(&NODE)
        .iter()
        .filter(|node| !is_deleting(node))
        .map(|object| {
            let mut node = Node::empty(Arc::clone(object));
            node.supply = Resources::from_list(&object["status"]["allocatable"]);
            let placed = by_node.get(name(object)).into_iter().flatten();
            for pod in placed.filter(|pod| !pods::is_finished(pod)) {
                node.take(pod, &Resources::of_pod(&pod["spec"]));
            }
            node
        })
        .collect();
    nodes.sort_by(|a, b| name(&a.object).cmp(name(&b.object)));
    nodes
}

fn place(index: &Index<'_>, pod: &Arc<Value>, nodes: &mut [Node], step: &mut Step) {
    let claims = match volumes::claims(index, pod) {
        Claims::Missing(message) => return reject(index, pod, &before_filters(nodes.len(), &message), step),
        Claims::Bound => Vec::new(),
        Claims::WaitForNode(claims) => claims,
    };
    let requests = Resources::of_pod(&pod["spec"]);
    let topology = Topology::of(index.view, pod, nodes);
    let mut refusals = Vec::new();
    let mut best: Option<(f64, usize, usize)> = None;
    for (at, node) in nodes.iter().enumerate() {
        if let Some(unfit) = node.refuses(pod, &requests).or_else(|| topology.refuses(node)) {
            refusals.push(unfit);
            continue;
        }
        let headroom = score::node(&node.used.plus(&requests).free_fractions(&node.supply));
        let siblings = controller_uid(pod).map_or(0, |owner| node.owners.iter().filter(|o| *o == owner).count());
        let better = best.is_none_or(|(most, fewest, _)| {
            headroom > most + 1e-9 || ((headroom - most).abs() <= 1e-9 && siblings < fewest)
        });
        if better {
            best = Some((headroom, siblings, at));
        }
    }
    let Some(node) = best.and_then(|(_, _, at)| nodes.get_mut(at)) else {
        let eligible = preempts(pod, nodes);
        return reject(index, pod, &nowhere(nodes.len(), &refusals, eligible), step);
    };
    node.take(pod, &requests);
    let node_name = name(&node.object).to_owned();
    if claims.is_empty() {
        bind(index, pod, &node_name, step);
    } else {
        step.writes.extend(volumes::select_node(&claims, &node_name).into_iter().map(|write| (SCHEDULER, write)));
    }
}

fn bind(index: &Index<'_>, pod: &Value, node: &str, step: &mut Step) {
    let space = namespace(pod).unwrap_or_default();
    let write = Write::Bind { namespace: space.to_owned(), pod: name(pod).to_owned(), node: node.to_owned() };
    step.push(SCHEDULER, write);
    let message = format!("Successfully assigned {space}/{} to {node}", name(pod));
    step.push(SCHEDULER, event(false, "Scheduled", &message).create(&POD, pod, "", index.now));
}

fn event<'a>(warning: bool, reason: &'a str, message: &'a str) -> Event<'a> {
    Event { component: "default-scheduler", host: "", warning, reason, message, field_path: "" }
}

/// Sets `PodScheduled=False`, and says it in an Event, where that is news.
fn reject(index: &Index<'_>, pod: &Value, message: &str, step: &mut Step) {
    let mut conditions = Conditions::of(pod);
    let condition = Condition { kind: "PodScheduled", status: "False", reason: "Unschedulable", message };
    conditions.set_with_message(&condition, index.now, &[]);
    if let Some(told) = conditions.0.iter_mut().find(|c| c["type"] == "PodScheduled") {
        // As the pod's own generation is counted (KEP-5067).
        patch::apply_merge(told, &json!({"lastProbeTime": null, "observedGeneration": pod["metadata"]["generation"]}));
    }
    let mut status = pod["status"].clone();
    patch::apply_merge(&mut status, &json!({"phase": "Pending", "conditions": conditions.into_value()}));
    if let Some(write) = patch::status(&POD, pod, &status) {
        step.push(SCHEDULER, write);
        step.push(SCHEDULER, event(true, "FailedScheduling", message).create(&POD, pod, "", index.now));
    }
}

/// What fails before any node is looked at is said once for all (`PreFilter`).
fn before_filters(total: usize, message: &str) -> String {
    if total == 0 {
        return "no nodes available to schedule pods".to_owned();
    }
    format!(
        "0/{total} nodes are available: {message}. {NO_CLAIMS}, preemption: 0/{total} nodes are available: {total} \
         Preemption is not helpful for scheduling."
    )
}

/// `FitError.Error()`: how many nodes each reason excludes, and whether taking pods away would help.
fn nowhere(total: usize, refusals: &[Unfit], preempts: Preempts) -> String {
    if total == 0 {
        return "no nodes available to schedule pods".to_owned();
    }
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in refusals.iter().flat_map(|unfit| &unfit.reasons) {
        *reasons.entry(reason).or_default() += 1;
    }
    let reasons = histogram(&reasons);
    let head = format!("0/{total} nodes are available: {reasons}. {NO_CLAIMS}, preemption: ");
    let helpful = refusals.iter().any(|unfit| !unfit.final_);
    match preempts {
        Preempts::Never => return head + "not eligible due to preemptionPolicy=Never.",
        Preempts::Might if helpful => return head + "the embedded cluster's scheduler preempts no pods.",
        Preempts::Might | Preempts::Nobody => {}
    }
    let mut preemption: BTreeMap<&str, usize> = BTreeMap::new();
    for unfit in refusals {
        let words = if unfit.final_ {
            "Preemption is not helpful for scheduling"
        } else {
            "No preemption victims found for incoming pod"
        };
        *preemption.entry(words).or_default() += 1;
    }
    let preemption = histogram(&preemption);
    format!("{head}0/{total} nodes are available: {preemption}.")
}

/// Whom a real scheduler could take away for a pod.
#[derive(Clone, Copy, PartialEq)]
enum Preempts {
    /// No pod has a lower priority.
    Nobody,
    /// Some have.
    Might,
    /// The pod says so.
    Never,
}

fn preempts(pod: &Value, nodes: &[Node]) -> Preempts {
    let priority = |pod: &Value| pod["spec"]["priority"].as_i64().unwrap_or(0);
    if pod["spec"]["preemptionPolicy"] == "Never" {
        return Preempts::Never;
    }
    let lower = nodes.iter().flat_map(|node| &node.pods).any(|other| priority(other) < priority(pod));
    if lower { Preempts::Might } else { Preempts::Nobody }
}

fn histogram(reasons: &BTreeMap<&str, usize>) -> String {
    let mut parts: Vec<String> = reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    parts.sort();
    parts.join(", ")
}

fn note_allocation(node: &Node, step: &mut Step) {
    let ratio = |resource: Resource| node.used.allocation(&node.supply, resource);
    let text_ = format!("cpu={:.2},memory={:.2}", ratio(Resource::Cpu), ratio(Resource::Memory));
    let known = annotation(&node.object, ALLOCATION).unwrap_or_default();
    if known != text_ && !text(&node.object["metadata"]["name"]).is_empty() {
        let body = json!({"metadata": {"annotations": {ALLOCATION: text_}}});
        step.push(SCHEDULER, patch::patch(&NODE, &node.object, body, None));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_real_scheduler() {
        let cpu = || Unfit { reasons: vec!["Insufficient cpu".into()], final_: false };
        assert_eq!(
            nowhere(3, &[cpu(), cpu(), cpu()], Preempts::Nobody),
            "0/3 nodes are available: 3 Insufficient cpu. no new claims to deallocate, preemption: 0/3 nodes are \
             available: 3 No preemption victims found for incoming pod."
        );
        let cordoned = Unfit { reasons: vec!["node(s) were unschedulable".into()], final_: true };
        assert_eq!(
            nowhere(3, &[cpu(), cordoned, cpu()], Preempts::Nobody),
            "0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient cpu. no new claims to deallocate, \
             preemption: 0/3 nodes are available: 1 Preemption is not helpful for scheduling, 2 No preemption victims found for incoming pod."
        );
        assert_eq!(nowhere(0, &[], Preempts::Nobody), "no nodes available to schedule pods");
    }
}
