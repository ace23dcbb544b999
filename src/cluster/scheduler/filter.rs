//! Whether a pod may run on a node, in the words of the real scheduler's plugins.
//! Source: pkg/scheduler/framework/plugins of Kubernetes 1.36.

use super::super::controllers::meta::{int, items, text};
use super::super::controllers::selector;
use crate::scheduling::{Resource, Resources};
use serde_json::Value;
use std::sync::Arc;

/// A node with what is used of it.
pub struct Node {
    /// The Node.
    pub object: Arc<Value>,
    /// `status.allocatable`.
    pub supply: Resources,
    /// Requests of the pods on it.
    pub used: Resources,
    /// Host ports taken: (protocol, address, port).
    pub ports: Vec<(String, String, i64)>,
    /// How many pods of each controller it has, by uid.
    pub owners: Vec<String>,
    /// The pods on it that have not ended.
    pub pods: Vec<Arc<Value>>,
    /// Those of them that want other pods elsewhere.
    pub choosy: Vec<Arc<Value>>,
}

/// Why a node will not do.
#[derive(Debug, PartialEq, Eq)]
pub struct Unfit {
    /// The plugin's words, one for each thing that is lacking.
    pub reasons: Vec<String>,
    /// True if taking other pods away would not help.
    pub final_: bool,
}

impl Unfit {
    /// No pod taken away would help.
    pub fn never(reason: impl Into<String>) -> Self {
        Self { reasons: vec![reason.into()], final_: true }
    }

    /// With other pods on the node it might do.
    pub fn now(reason: &str) -> Self {
        Self { reasons: vec![reason.to_owned()], final_: false }
    }
}

impl Node {
    /// A node of which only the object matters.
    pub fn empty(object: Arc<Value>) -> Self {
        let (supply, used) = (Resources::default(), Resources::default());
        Self { object, supply, used, ports: Vec::new(), owners: Vec::new(), pods: Vec::new(), choosy: Vec::new() }
    }

    /// True if the pod's node selector and required affinity allow this node.
    pub fn attracts(&self, spec: &Value) -> bool {
        self.affinity(spec).is_none()
    }

    /// Runs the filters in the scheduler's order; the first that refuses is the answer.
    pub fn refuses(&self, pod: &Value, requests: &Resources) -> Option<Unfit> {
        let spec = &pod["spec"];
        self.unschedulable(spec)
            .or_else(|| self.taint(spec))
            .or_else(|| self.affinity(spec))
            .or_else(|| self.port(spec))
            .or_else(|| self.resources(requests))
    }

    fn unschedulable(&self, spec: &Value) -> Option<Unfit> {
        let cordoned = self.object["spec"]["unschedulable"] == true;
        let taint = serde_json::json!({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"});
        (cordoned && !tolerates(spec, &taint)).then(|| Unfit::never("node(s) were unschedulable"))
    }

    fn taint(&self, spec: &Value) -> Option<Unfit> {
        let untolerated = items(&self.object["spec"]["taints"])
            .iter()
            .any(|taint| taint["effect"] != "PreferNoSchedule" && !tolerates(spec, taint));
        untolerated.then(|| Unfit::never("node(s) had untolerated taint(s)"))
    }

    fn affinity(&self, spec: &Value) -> Option<Unfit> {
        let labels = &self.object["metadata"]["labels"];
        let terms =
            &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
        let selected = selector::map_selects(&spec["nodeSelector"], labels)
            && (terms.is_null() || items(terms).iter().any(|term| self.matches(term, labels)));
        (!selected).then(|| Unfit::never("node(s) didn't match Pod's node affinity/selector"))
    }

    /// A node selector term; an empty one matches nothing.
    fn matches(&self, term: &Value, labels: &Value) -> bool {
        let (expressions, fields) = (items(&term["matchExpressions"]), items(&term["matchFields"]));
        let name = serde_json::json!({"metadata.name": self.object["metadata"]["name"]});
        !(expressions.is_empty() && fields.is_empty())
            && expressions.iter().all(|e| selector::expression(e, labels))
            && fields.iter().all(|f| selector::expression(f, &name))
    }

    fn port(&self, spec: &Value) -> Option<Unfit> {
        let clash = host_ports(spec).iter().any(|(protocol, address, port)| {
            self.ports
                .iter()
                .any(|(p, a, n)| p == protocol && n == port && (a == address || a == "0.0.0.0" || address == "0.0.0.0"))
        });
        clash.then(|| Unfit::now("node(s) didn't have free ports for the requested pod ports"))
    }

    fn resources(&self, requests: &Resources) -> Option<Unfit> {
        let lacking = requests.lacking(&self.used, &self.supply);
        let reasons = lacking.iter().map(|resource| match resource {
            Resource::Pods => "Too many pods".to_owned(),
            other => format!("Insufficient {}", other.name()),
        });
        // More than the whole node has: no pod taken away would help.
        let final_ = lacking.iter().any(|r| *r != Resource::Pods && requests.get(*r) > self.supply.get(*r));
        (!lacking.is_empty()).then(|| Unfit { reasons: reasons.collect(), final_ })
    }

    /// Counts a pod as running here.
    pub fn take(&mut self, pod: &Arc<Value>, requests: &Resources) {
        self.pods.push(Arc::clone(pod));
        if !pod["spec"]["affinity"]["podAntiAffinity"].is_null() {
            self.choosy.push(Arc::clone(pod));
        }
        self.used = self.used.plus(requests);
        self.ports.extend(host_ports(&pod["spec"]));
        if let Some(owner) = super::super::controllers::meta::controller_uid(pod) {
            self.owners.push(owner.to_owned());
        }
    }
}

/// The host ports that a pod asks for.
fn host_ports(spec: &Value) -> Vec<(String, String, i64)> {
    let ports = items(&spec["containers"]).iter().flat_map(|container| items(&container["ports"]));
    ports
        .filter_map(|port| {
            let number = if spec["hostNetwork"] == true && port["hostPort"].is_null() {
                int(&port["containerPort"])
            } else {
                int(&port["hostPort"])
            };
            let or =
                |value: &Value, default: &str| value.as_str().filter(|v| !v.is_empty()).unwrap_or(default).to_owned();
            (number > 0).then(|| (or(&port["protocol"], "TCP"), or(&port["hostIP"], "0.0.0.0"), number))
        })
        .collect()
}

/// True if the pod tolerates the taint (`Toleration.ToleratesTaint`).
pub fn tolerates(spec: &Value, taint: &Value) -> bool {
    items(&spec["tolerations"]).iter().any(|toleration| {
        let effect = text(&toleration["effect"]);
        let key = text(&toleration["key"]);
        (effect.is_empty() || toleration["effect"] == taint["effect"])
            && (key.is_empty() || toleration["key"] == taint["key"])
            && match text(&toleration["operator"]) {
                "Exists" => true,
                "" | "Equal" => !key.is_empty() && text(&toleration["value"]) == text(&taint["value"]),
                _ => false,
            }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(spec: &Value) -> Node {
        Node {
            object: Arc::new(json!({"metadata": {"name": "n", "labels": {"zone": "a"}}, "spec": spec})),
            supply: Resources::from_list(&json!({"cpu": "1", "memory": "1Gi", "pods": "1"})),
            used: Resources::default(),
            ports: vec![("TCP".into(), "0.0.0.0".into(), 80)],
            owners: vec![],
            pods: vec![],
            choosy: vec![],
        }
    }

    fn refusal(node_spec: &Value, pod_spec: &Value) -> Option<String> {
        let pod = json!({"spec": pod_spec});
        node(node_spec).refuses(&pod, &Resources::of_pod(&pod["spec"])).map(|unfit| unfit.reasons.join(", "))
    }

    #[test]
    fn reasons() {
        let tainted = json!({"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]});
        let affinity = |zone: &str| {
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]}]}}}})
        };
        for (node, pod, expected) in [
            (json!({}), json!({}), None),
            (json!({"unschedulable": true}), json!({}), Some("node(s) were unschedulable")),
            (tainted.clone(), json!({}), Some("node(s) had untolerated taint(s)")),
            (tainted.clone(), json!({"tolerations": [{"operator": "Exists"}]}), None),
            (tainted.clone(), json!({"tolerations": [{"key": "gpu", "value": "yes"}]}), None),
            (
                tainted,
                json!({"tolerations": [{"key": "gpu", "value": "no"}]}),
                Some("node(s) had untolerated taint(s)"),
            ),
            (
                json!({}),
                json!({"nodeSelector": {"zone": "b"}}),
                Some("node(s) didn't match Pod's node affinity/selector"),
            ),
            (json!({}), affinity("b"), Some("node(s) didn't match Pod's node affinity/selector")),
            (json!({}), affinity("a"), None),
            (
                json!({}),
                json!({"containers": [{"ports": [{"hostPort": 80}]}]}),
                Some("node(s) didn't have free ports for the requested pod ports"),
            ),
            (json!({}), json!({"containers": [{"ports": [{"hostPort": 80, "protocol": "UDP"}]}]}), None),
            (
                json!({}),
                json!({"containers": [{"resources": {"requests": {"cpu": "2", "memory": "2Gi"}}}]}),
                Some("Insufficient cpu, Insufficient memory"),
            ),
        ] {
            assert_eq!(refusal(&node, &pod).as_deref(), expected, "{node} {pod}");
        }
    }
}
