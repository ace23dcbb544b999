//! Where a pod may run with regard to other pods: required (anti-)affinity, and even spread over a topology.
//! Source: pkg/scheduler/framework/plugins/{interpodaffinity,podtopologyspread}/filtering.go.

use super::super::controllers::kind::NAMESPACE;
use super::super::controllers::meta::{is_deleting, items, label, namespace, text};
use super::super::controllers::selector;
use super::filter::{Node, Unfit, tolerates};
use crate::cluster::view::View;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

/// A key of node labels, and a value of it.
type Domain = (String, String);

/// What other pods mean for one pod, before any node is looked at.
pub struct Topology {
    spread: Vec<Spread>,
    affinity: Vec<Value>,
    near: HashMap<Domain, usize>,
    /// The pod would be the company that it asks for.
    first: bool,
    anti: Vec<Value>,
    company: HashSet<Domain>,
    shunned: HashSet<Domain>,
}

/// One constraint that forbids uneven placement.
struct Spread {
    key: String,
    most: i64,
    /// The pod counts for itself.
    own: i64,
    fewest: i64,
    counts: HashMap<String, i64>,
}

fn terms(pod: &Value, kind: &str) -> Vec<Value> {
    items(&pod["spec"]["affinity"][kind][REQUIRED]).iter().map(|term| with_label_keys(pod, term)).collect()
}

/// The term's (or constraint's) selector with `matchLabelKeys` and `mismatchLabelKeys` as expressions.
fn with_label_keys(pod: &Value, term: &Value) -> Value {
    let mut term = term.clone();
    if term["labelSelector"].is_null() {
        return term;
    }
    let mut expressions = items(&term["labelSelector"]["matchExpressions"]).to_vec();
    for (list, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        let keys = items(&term[list]).iter().map(text);
        expressions.extend(
            keys.filter_map(|key| Some(json!({"key": key, "operator": operator, "values": [label(pod, key)?]}))),
        );
    }
    term["labelSelector"]["matchExpressions"] = Value::Array(expressions);
    term
}

/// True if the term, which stands in `owner`, means the pod.
fn concerns(view: &dyn View, owner: &Value, term: &Value, pod: &Value) -> bool {
    let space = namespace(pod).unwrap_or_default();
    let (listed, by_label) = (items(&term["namespaces"]), &term["namespaceSelector"]);
    let within = if listed.is_empty() && by_label.is_null() {
        namespace(owner).unwrap_or_default() == space
    } else {
        let home = || view.get(&NAMESPACE, None, space);
        listed.iter().any(|name| name == space)
            || (!by_label.is_null()
                && home().is_some_and(|home| selector::selects(by_label, &home["metadata"]["labels"])))
    };
    within && selector::selects(&term["labelSelector"], &pod["metadata"]["labels"])
}

fn domain(node: &Node, term: &Value) -> Option<Domain> {
    let key = text(&term["topologyKey"]);
    label(&node.object, key).map(|value| (key.to_owned(), value.to_owned()))
}

impl Topology {
    /// What the pods on the nodes mean for a pod.
    pub fn of(view: &dyn View, pod: &Value, nodes: &[Node]) -> Self {
        let (affinity, anti) = (terms(pod, "podAffinity"), terms(pod, "podAntiAffinity"));
        let matches_all = |other: &Value| affinity.iter().all(|term| concerns(view, pod, term, other));
        let (mut near, mut company, mut shunned) = (HashMap::new(), HashSet::new(), HashSet::new());
        for node in nodes {
            let concerned = if affinity.is_empty() && anti.is_empty() { &[][..] } else { &node.pods[..] };
            for other in concerned {
                if !affinity.is_empty() && matches_all(other) {
                    for at in affinity.iter().filter_map(|term| domain(node, term)) {
                        *near.entry(at).or_insert(0) += 1;
                    }
                }
                let disliked = anti.iter().filter(|term| concerns(view, pod, term, other));
                company.extend(disliked.filter_map(|term| domain(node, term)));
            }
            for other in &node.choosy {
                let dislikes = items(&other["spec"]["affinity"]["podAntiAffinity"][REQUIRED]);
                for term in dislikes.iter().map(|term| with_label_keys(other, term)) {
                    if concerns(view, other, &term, pod) {
                        shunned.extend(domain(node, &term));
                    }
                }
            }
        }
        let first = near.is_empty() && matches_all(pod);
        Self { spread: spreads(pod, nodes), affinity, near, first, anti, company, shunned }
    }

    /// Why the pod may not run on a node, if so.
    pub fn refuses(&self, node: &Node) -> Option<Unfit> {
        self.uneven(node).or_else(|| self.alone(node)).or_else(|| self.crowded(node))
    }

    fn uneven(&self, node: &Node) -> Option<Unfit> {
        for spread in &self.spread {
            let Some(value) = label(&node.object, &spread.key) else {
                let reason = "node(s) didn't match pod topology spread constraints (missing required label)";
                return Some(Unfit::never(reason));
            };
            let here = spread.counts.get(value).copied().unwrap_or(0);
            if here + spread.own - spread.fewest > spread.most {
                return Some(Unfit::now("node(s) didn't match pod topology spread constraints"));
            }
        }
        None
    }

    fn alone(&self, node: &Node) -> Option<Unfit> {
        let found = self.affinity.iter().map(|term| domain(node, term));
        let places: Option<Vec<Domain>> = found.collect();
        let accepted = places.is_some_and(|places| self.first || places.iter().all(|at| self.near.contains_key(at)));
        (!accepted).then(|| Unfit::never("node(s) didn't match pod affinity rules"))
    }

    fn crowded(&self, node: &Node) -> Option<Unfit> {
        if self.anti.iter().filter_map(|term| domain(node, term)).any(|at| self.company.contains(&at)) {
            return Some(Unfit::now("node(s) didn't match pod anti-affinity rules"));
        }
        let shunned = self.shunned.iter().any(|(key, value)| label(&node.object, key) == Some(value));
        shunned.then(|| Unfit::now("node(s) didn't satisfy existing pods anti-affinity rules"))
    }
}

fn spreads(pod: &Value, nodes: &[Node]) -> Vec<Spread> {
    let hard: Vec<Value> = items(&pod["spec"]["topologySpreadConstraints"])
        .iter()
        .filter(|constraint| constraint["whenUnsatisfiable"] != "ScheduleAnyway")
        .map(|constraint| with_label_keys(pod, constraint))
        .collect();
    let keys: Vec<&str> = hard.iter().map(|constraint| text(&constraint["topologyKey"])).collect();
    hard.iter()
        .map(|constraint| {
            let key = text(&constraint["topologyKey"]);
            let mut counts: HashMap<String, i64> = HashMap::new();
            for node in nodes.iter().filter(|node| counted(node, constraint, &keys, pod)) {
                let Some(value) = label(&node.object, key) else { continue };
                *counts.entry(value.to_owned()).or_default() += counted_pods(node, constraint, pod);
            }
            let domains = i64::try_from(counts.len()).unwrap_or(i64::MAX);
            let enough = domains >= constraint["minDomains"].as_i64().unwrap_or(1);
            let own = selector::selects(&constraint["labelSelector"], &pod["metadata"]["labels"]);
            Spread {
                key: key.to_owned(),
                most: constraint["maxSkew"].as_i64().unwrap_or(1),
                own: i64::from(own),
                fewest: if enough { counts.values().copied().min().unwrap_or(0) } else { 0 },
                counts,
            }
        })
        .collect()
}

/// Whether a node's domain counts (`nodeAffinityPolicy`, `nodeTaintsPolicy`; all keys must be there).
fn counted(node: &Node, constraint: &Value, keys: &[&str], pod: &Value) -> bool {
    let spec = &pod["spec"];
    let untolerated = |node: &Node| {
        let taints = items(&node.object["spec"]["taints"]).iter();
        taints.filter(|taint| taint["effect"] != "PreferNoSchedule").any(|taint| !tolerates(spec, taint))
    };
    keys.iter().all(|key| label(&node.object, key).is_some())
        && (constraint["nodeAffinityPolicy"] == "Ignore" || node.attracts(spec))
        && (constraint["nodeTaintsPolicy"] != "Honor" || !untolerated(node))
}

fn counted_pods(node: &Node, constraint: &Value, pod: &Value) -> i64 {
    let fits = |other: &&Arc<Value>| {
        !is_deleting(other)
            && namespace(other) == namespace(pod)
            && selector::selects(&constraint["labelSelector"], &other["metadata"]["labels"])
    };
    i64::try_from(node.pods.iter().filter(fits).count()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::controllers::kind::{NODE, POD};
    use crate::cluster::controllers::pods;
    use crate::cluster::simulation::Simulation;

    /// Three nodes in the zones a, a and b.
    fn zones() -> Simulation {
        let mut cluster = Simulation::new();
        for (node, zone) in [("node-1", "a"), ("node-2", "a"), ("node-3", "b")] {
            cluster.patch(&NODE, node, json!({"metadata": {"labels": {"zone": zone}}}));
        }
        cluster
    }

    fn add(cluster: &mut Simulation, name: &str, app: &str, more: &Value) {
        let mut spec = json!({"containers": [{"name": "main", "image": "web:1"}]});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        cluster.create(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": app}}, "spec": spec}));
        cluster.run(2000);
    }

    /// The node, or the first part of why there is none.
    fn ended(cluster: &Simulation, name: &str) -> String {
        let pod = cluster.get(&POD, name).unwrap();
        match pod["spec"]["nodeName"].as_str() {
            Some(node) => node.to_owned(),
            None => {
                let message = text(&pods::condition(&pod, "PodScheduled").unwrap()["message"]).to_owned();
                message.split(". no new claims").next().unwrap().to_owned()
            }
        }
    }

    fn term(kind: &str, key: &str, app: &str) -> Value {
        json!({"affinity": {kind: {REQUIRED: [{"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}}]}}})
    }

    #[test]
    fn anti_affinity_keeps_pods_apart_both_ways() {
        let mut cluster = zones();
        for name in ["a", "b", "c", "d"] {
            add(&mut cluster, name, "web", &term("podAntiAffinity", "kubernetes.io/hostname", "web"));
        }
        let mut nodes: Vec<String> = ["a", "b", "c"].iter().map(|name| ended(&cluster, name)).collect();
        nodes.sort();
        assert_eq!(nodes, ["node-1", "node-2", "node-3"]);
        assert_eq!(ended(&cluster, "d"), "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules");
        add(&mut cluster, "e", "web", &json!({}));
        assert_eq!(
            ended(&cluster, "e"),
            "0/3 nodes are available: 3 node(s) didn't satisfy existing pods anti-affinity rules"
        );
        cluster.delete(&POD, "b", "Background");
        cluster.run(40_000);
        assert!(ended(&cluster, "d").starts_with("node-"));
    }

    #[test]
    fn affinity_wants_company_or_is_its_own() {
        let mut cluster = zones();
        add(&mut cluster, "lonely", "x", &term("podAffinity", "zone", "web"));
        assert_eq!(ended(&cluster, "lonely"), "0/3 nodes are available: 3 node(s) didn't match pod affinity rules");
        add(&mut cluster, "web", "web", &json!({"nodeSelector": {"zone": "b"}}));
        assert_eq!(ended(&cluster, "lonely"), "node-3");
        add(&mut cluster, "own", "own", &term("podAffinity", "zone", "own"));
        assert!(ended(&cluster, "own").starts_with("node-"));
        add(&mut cluster, "nowhere", "n", &term("podAffinity", "rack", "n"));
        assert_eq!(ended(&cluster, "nowhere"), "0/3 nodes are available: 3 node(s) didn't match pod affinity rules");
    }

    #[test]
    fn spread_is_even() {
        let mut cluster = zones();
        let spread = |key: &str, more: Value| {
            let mut constraint = json!({"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"app": "web"}}});
            constraint.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"topologySpreadConstraints": [constraint]})
        };
        for name in ["a", "b", "c", "d", "e", "f"] {
            add(&mut cluster, name, "web", &spread("zone", json!({})));
        }
        let zone_b = ["a", "b", "c", "d", "e", "f"].iter().filter(|name| ended(&cluster, name) == "node-3").count();
        assert_eq!(zone_b, 3);
        let with = |mut spec: Value, zone: &str| {
            spec["nodeSelector"] = json!({"zone": zone});
            spec
        };
        add(&mut cluster, "g", "web", &with(spread("zone", json!({"nodeAffinityPolicy": "Ignore"})), "b"));
        assert_eq!(ended(&cluster, "g"), "node-3");
        add(&mut cluster, "h", "web", &with(spread("zone", json!({"nodeAffinityPolicy": "Ignore"})), "b"));
        let uneven = "0/3 nodes are available: 1 node(s) didn't match pod topology spread constraints, 2 node(s) didn't match Pod's node affinity/selector";
        assert_eq!(ended(&cluster, "h"), uneven);
        add(&mut cluster, "i", "web", &spread("rack", json!({})));
        let missing =
            "0/3 nodes are available: 3 node(s) didn't match pod topology spread constraints (missing required label)";
        assert_eq!(ended(&cluster, "i"), missing);
        add(&mut cluster, "j", "web", &spread("zone", json!({"minDomains": 5})));
        assert_eq!(
            ended(&cluster, "j"),
            "0/3 nodes are available: 3 node(s) didn't match pod topology spread constraints"
        );
    }

    #[test]
    fn what_would_need_another_pod_gone_is_not_said_to_have_none() {
        let mut cluster = zones();
        let cpu = |cpu: &str| json!({"containers": [{"name": "main", "image": "web:1", "resources": {"requests": {"cpu": cpu}}}]});
        for name in ["a", "b", "c"] {
            add(&mut cluster, name, "web", &cpu("3"));
        }
        let mut high = cpu("2");
        high["priority"] = json!(1000);
        add(&mut cluster, "high", "x", &high);
        let said = |cluster: &Simulation, name: &str| {
            let pod = cluster.get(&POD, name).unwrap();
            text(&pods::condition(&pod, "PodScheduled").unwrap()["message"]).to_owned()
        };
        let message = said(&cluster, "high");
        assert!(message.ends_with("preemption: the embedded cluster's scheduler preempts no pods."), "{message}");
        high["preemptionPolicy"] = json!("Never");
        add(&mut cluster, "never", "x", &high);
        let message = said(&cluster, "never");
        assert!(message.ends_with("preemption: not eligible due to preemptionPolicy=Never."), "{message}");
        add(&mut cluster, "low", "x", &cpu("2"));
        let message = said(&cluster, "low");
        assert!(message.ends_with("3 No preemption victims found for incoming pod."), "{message}");
    }
}
