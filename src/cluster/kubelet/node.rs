//! Simulated nodes: their Node objects and heartbeats. Names are `node-1` to `node-N`.
//!
//! A Node that is deleted stays deleted, as under a real kubelet that is not restarted; its pods stand still.

use super::super::controllers::condition::{Condition, Conditions};
use super::super::controllers::index::Index;
use super::super::controllers::kind::{LEASE, NODE, POD};
use super::super::controllers::meta::{after, items, micro_stamp, name, owner_reference, text, time, uid};
use super::super::controllers::patch;
use crate::cluster::view::{KUBELET, Step, Write};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Seconds between renewals of a node's Lease (`nodeLeaseRenewInterval`).
const RENEWAL: i64 = 10;
/// Seconds between writes of a status that has not changed (`nodeStatusReportFrequency`).
const REPORT: i64 = 300;
/// The namespace of the Leases.
pub const LEASES: &str = "kube-node-lease";
/// Pods that a node takes.
const PODS: u32 = 110;
/// Addresses of each node.
const BLOCK: u32 = 1024;
/// First address of all pods: 10.244.0.0.
const FIRST: u32 = 0x0AF4_0000;

/// The nodes of a simulation.
#[derive(Debug, Clone)]
pub struct Nodes {
    /// How many.
    pub count: u32,
    /// `cpu` of each, such as `4`.
    pub cpu: String,
    /// `memory` of each, such as `8Gi`.
    pub memory: String,
}

impl Nodes {
    /// `node-1`, …
    pub fn names(&self) -> impl Iterator<Item = String> + use<> {
        (1..=self.count).map(|number| format!("node-{number}"))
    }

    fn number(&self, node: &str) -> Option<u32> {
        node.strip_prefix("node-")?.parse().ok().filter(|n| (1..=self.count).contains(n))
    }

    /// The node's own address.
    pub fn address(&self, node: &str) -> Option<String> {
        // 172.18.0.2 and on, as kind has it.
        self.number(node).map(|n| Ipv4Addr::from(0xAC12_0001_u32.wrapping_add(n)).to_string())
    }

    /// True if the node's object is there.
    pub fn is_registered(&self, index: &Index<'_>, node: &str) -> bool {
        index.get(&NODE, None, node).is_some()
    }

    /// The lowest address of a node's block that no pod has. `taken` is filled at the first call of a step.
    pub fn free_address(&self, node: &str, index: &Index<'_>, taken: &mut Option<HashSet<u32>>) -> String {
        let taken = taken.get_or_insert_with(|| {
            let pods = index.all(&POD);
            let ips = pods.iter().filter_map(|pod| pod["status"]["podIP"].as_str()?.parse::<Ipv4Addr>().ok());
            ips.map(u32::from).collect()
        });
        let base = FIRST.wrapping_add(self.number(node).unwrap_or(0).wrapping_mul(BLOCK));
        // The first two are the network and its gateway.
        let free = (2..BLOCK).map(|at| base.wrapping_add(at)).find(|ip| !taken.contains(ip)).unwrap_or(base);
        taken.insert(free);
        Ipv4Addr::from(free).to_string()
    }

    /// What registers the nodes, once, when a simulation starts.
    pub fn register(&self) -> Vec<(&'static str, Write)> {
        self.names().map(|node| (KUBELET, patch::create(self.object(&node)))).collect()
    }

    fn object(&self, node: &str) -> Value {
        let number = self.number(node).unwrap_or(0);
        let block = Ipv4Addr::from(FIRST.wrapping_add(number.wrapping_mul(BLOCK)));
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {
                "name": node,
                "labels": {
                    "beta.kubernetes.io/arch": "amd64", "beta.kubernetes.io/os": "linux",
                    "kubernetes.io/arch": "amd64", "kubernetes.io/hostname": node, "kubernetes.io/os": "linux",
                },
            },
            "spec": {"podCIDR": format!("{block}/22"), "podCIDRs": [format!("{block}/22")],
                "providerID": format!("driftless://{node}")},
        })
    }

    /// One step for every node: status, Lease.
    pub fn run(&self, index: &Index<'_>) -> Step {
        let mut step = Step::default();
        for node_name in self.names() {
            if let Some(node) = index.get(&NODE, None, &node_name) {
                self.report(index, &node, &mut step);
                renew(index, &node, &mut step);
            }
        }
        step
    }

    fn report(&self, index: &Index<'_>, node: &Arc<Value>, step: &mut Step) {
        let conditions = Conditions::of(node);
        let reported = conditions.get("Ready").and_then(|ready| time(&ready["lastHeartbeatTime"]));
        let ready = conditions.is("Ready", "True");
        if let Some(next) = reported.map(|at| after(at, REPORT))
            && ready
            && next > index.now
            && !node["status"]["capacity"].is_null()
        {
            step.wake(next);
            return;
        }
        let mut status = node["status"].clone();
        patch::apply_merge(&mut status, &self.status(node, conditions, index.now));
        if let Some(write) = patch::status(&NODE, node, &status) {
            step.push(KUBELET, write);
        }
    }

    fn status(&self, node: &Value, mut conditions: Conditions, now: Timestamp) -> Value {
        for (kind, status, reason, message) in [
            ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
        ] {
            conditions.replace(&Condition { kind, status, reason, message }, now, &["lastHeartbeatTime"]);
        }
        let resources = json!({"cpu": self.cpu, "memory": self.memory, "pods": PODS.to_string(),
            "ephemeral-storage": "100Gi"});
        json!({
            "capacity": resources, "allocatable": resources, "conditions": conditions.into_value(),
            "addresses": [{"type": "InternalIP", "address": self.address(name(node))},
                {"type": "Hostname", "address": name(node)}],
            "nodeInfo": {
                "machineID": uid(node), "systemUUID": uid(node), "bootID": uid(node), "kernelVersion": "6.12.0-sim",
                "osImage": "driftless simulated node", "containerRuntimeVersion": "containerd://2.2.0-sim",
                "kubeletVersion": "v1.36.4", "kubeProxyVersion": "", "operatingSystem": "linux",
                "architecture": "amd64",
            },
        })
    }
}

fn renew(index: &Index<'_>, node: &Value, step: &mut Step) {
    let node_name = name(node);
    let Some(lease) = index.get(&LEASE, Some(LEASES), node_name) else {
        let object = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": node_name, "namespace": LEASES, "ownerReferences": [owner(node)]},
            "spec": {"holderIdentity": node_name, "leaseDurationSeconds": 40, "renewTime": micro_stamp(index.now)},
        });
        step.push(KUBELET, patch::create(object));
        return;
    };
    let next = time(&lease["spec"]["renewTime"]).map_or(index.now, |at| after(at, RENEWAL));
    if next > index.now {
        step.wake(next);
        return;
    }
    let mut body = json!({"spec": {"renewTime": micro_stamp(index.now), "holderIdentity": node_name}});
    // After the Node was recreated, its Lease must not be collected with the old one.
    if !items(&lease["metadata"]["ownerReferences"]).iter().any(|o| text(&o["uid"]) == uid(node)) {
        patch::apply_merge(&mut body, &json!({"metadata": {"ownerReferences": [owner(node)]}}));
    }
    step.push(KUBELET, patch::patch(&LEASE, &lease, body, None));
}

fn owner(node: &Value) -> Value {
    let mut owner = owner_reference(&NODE, node);
    if let Some(map) = owner.as_object_mut() {
        map.retain(|key, _| key != "controller" && key != "blockOwnerDeletion");
    }
    owner
}
