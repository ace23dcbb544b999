//! A pod's status from a moment of its timeline. Source: pkg/kubelet/status/generate.go, kubelet_pods.go.

use super::super::controllers::condition::{Condition, Conditions};
use super::super::controllers::meta::{generation, is_deleting, items, stamp, text, uid};
use super::super::controllers::patch;
use super::container::{Container, End, State};
use super::timeline::Moment;
use crate::object::Digest;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Addresses of a pod.
pub struct Addresses {
    /// Of its node.
    pub host: String,
    /// Its own, once it runs.
    pub pod: Option<String>,
}

/// The whole status, keeping what others have written (`nominatedNodeName`, conditions of other components).
pub fn of(pod: &Value, moment: &Moment, addresses: &Addresses, now: Timestamp) -> Value {
    let phase = moment.phase(pod["spec"]["restartPolicy"].as_str().unwrap_or("Always"));
    let mut status = pod["status"].clone();
    let statuses = |init: bool| -> Value {
        moment.containers.iter().filter(|c| c.init == init).map(|c| container_status(pod, c)).collect()
    };
    let start_time = pod["status"]["startTime"].as_str().map_or_else(|| stamp(now), str::to_owned);
    let mut new = json!({
        "phase": phase, "hostIP": addresses.host, "hostIPs": [{"ip": addresses.host}], "startTime": start_time,
        "conditions": conditions(pod, moment, phase, now), "containerStatuses": statuses(false),
    });
    if let Some(map) = new.as_object_mut() {
        if !items(&pod["spec"]["initContainers"]).is_empty() {
            map.insert("initContainerStatuses".to_owned(), statuses(true));
        }
        if let Some(ip) = &addresses.pod {
            map.insert("podIP".to_owned(), json!(ip));
            map.insert("podIPs".to_owned(), json!([{"ip": ip}]));
        }
        if pod["status"]["qosClass"].is_null() {
            map.insert("qosClass".to_owned(), json!(quality(&pod["spec"])));
        }
        if generation(pod) > 0 {
            map.insert("observedGeneration".to_owned(), json!(generation(pod)));
        }
    }
    patch::apply_merge(&mut status, &new);
    status
}

/// The status of a pod that has stopped because it was told to: its containers ended with SIGTERM.
pub fn stopped(pod: &Value, now: Timestamp) -> Value {
    let mut status = pod["status"].clone();
    let ended = |container: &Value| {
        let mut container = container.clone();
        let running = container["state"]["running"]["startedAt"].clone();
        if container["state"]["terminated"].is_null() {
            let end = json!({"exitCode": 143, "reason": "Error", "startedAt": running, "finishedAt": stamp(now),
                "containerID": container["containerID"]});
            let state = json!({"ready": false, "started": false, "state": {"terminated": end, "running": null, "waiting": null}});
            patch::apply_merge(&mut container, &state);
        }
        container
    };
    let statuses: Value = items(&pod["status"]["containerStatuses"]).iter().map(ended).collect();
    let mut conditions = Conditions::of(pod);
    for kind in ["Ready", "ContainersReady"] {
        let condition = Condition { kind, status: "False", reason: "PodFailed", message: "" };
        conditions.set(&condition, now, &[]);
    }
    let new = json!({"phase": "Failed", "containerStatuses": statuses, "conditions": conditions.into_value()});
    patch::apply_merge(&mut status, &new);
    status
}

fn conditions(pod: &Value, moment: &Moment, phase: &str, now: Timestamp) -> Value {
    let mut conditions = Conditions::of(pod);
    let names = |wanted: &dyn Fn(&Container) -> bool| -> String {
        moment.containers.iter().filter(|c| wanted(c)).map(|c| c.name.as_str()).collect::<Vec<_>>().join(" ")
    };
    let unready = names(&|c| !c.ready && (!c.init || is_sidecar(pod, &c.name)));
    let incomplete = names(&|c| c.init && !c.ready && !matches!(c.state, State::Terminated(_)));
    let succeeded = phase == "Succeeded";
    let done = if succeeded { "PodCompleted" } else { "ContainersNotReady" };
    let unready_message = format!("containers with unready status: [{unready}]");
    let incomplete_message = format!("containers with incomplete status: [{incomplete}]");
    let ready = unready.is_empty() && matches!(phase, "Running");
    let not_ready = |ready: bool| -> (&str, &str, &str) {
        match ready {
            true => ("True", "", ""),
            false if succeeded => ("False", done, ""),
            false => ("False", done, &unready_message),
        }
    };
    let gates = ungated(pod);
    let mut set = |kind: &str, (status, reason, message): (&str, &str, &str)| {
        conditions.set_with_message(&Condition { kind, status, reason, message }, now, &["lastProbeTime"]);
    };
    set(
        "PodReadyToStartContainers",
        if phase == "Succeeded" || phase == "Failed" { ("False", "", "") } else { ("True", "", "") },
    );
    set(
        "Initialized",
        match (moment.initialized, succeeded) {
            (true, true) => ("True", "PodCompleted", ""),
            (true, false) => ("True", "", ""),
            (false, _) => ("False", "ContainersNotInitialized", &incomplete_message),
        },
    );
    set(
        "Ready",
        match gates {
            Some(ref message) if ready => ("False", "ReadinessGatesNotReady", message),
            _ => not_ready(ready),
        },
    );
    set("ContainersReady", not_ready(ready));
    if conditions.get("PodScheduled").is_none() {
        let scheduled = Condition { kind: "PodScheduled", status: "True", reason: "", message: "" };
        conditions.set(&scheduled, now, &["lastProbeTime"]);
    }
    let observed = generation(pod);
    for condition in &mut conditions.0 {
        if let Some(map) = condition.as_object_mut() {
            // A pod's condition has a probe time, and it is never set.
            map.insert("lastProbeTime".to_owned(), Value::Null);
            if observed > 0 && !is_deleting(pod) {
                map.insert("observedGeneration".to_owned(), json!(observed));
            }
        }
    }
    conditions.into_value()
}

fn is_sidecar(pod: &Value, name: &str) -> bool {
    items(&pod["spec"]["initContainers"]).iter().any(|c| c["name"] == name && c["restartPolicy"] == "Always")
}

/// What the readiness gates of a pod say against it.
fn ungated(pod: &Value) -> Option<String> {
    let conditions = Conditions::of(pod);
    let open = items(&pod["spec"]["readinessGates"])
        .iter()
        .map(|gate| text(&gate["conditionType"]))
        .filter(|kind| !conditions.is(kind, "True"))
        .map(|kind| match conditions.get(kind) {
            None => format!("corresponding condition of pod readiness gate \"{kind}\" does not exist."),
            Some(_) => format!("the status of pod readiness gate \"{kind}\" is not \"True\", but False"),
        })
        .collect::<Vec<_>>();
    (!open.is_empty()).then(|| open.join(", "))
}

fn container_status(pod: &Value, container: &Container) -> Value {
    let ran = !matches!(container.state, State::Waiting { .. }) || container.last.is_some();
    let id = container_id(pod, container, container.restarts);
    let mut status = Map::new();
    let mut put = |key: &str, value: Value| status.insert(key.to_owned(), value);
    put("name", json!(container.name));
    put(
        "state",
        match &container.state {
            State::Waiting { reason, message } if message.is_empty() => json!({"waiting": {"reason": reason}}),
            State::Waiting { reason, message } => json!({"waiting": {"reason": reason, "message": message}}),
            State::Running(since) => json!({"running": {"startedAt": stamp(*since)}}),
            State::Terminated(end) => terminated(end, &id),
        },
    );
    let waits = matches!(container.state, State::Waiting { .. });
    let last_id =
        container_id(pod, container, if waits { container.restarts } else { container.restarts.saturating_sub(1) });
    put("lastState", container.last.as_ref().map_or_else(|| json!({}), |end| terminated(end, &last_id)));
    put("ready", json!(container.ready));
    put("restartCount", json!(container.restarts));
    put("image", json!(container.image));
    let digest = Digest::of_bytes(container.image.as_bytes());
    put("imageID", json!(if ran { format!("sim.driftless.dev/image@sha256:{digest}") } else { String::new() }));
    if ran {
        put("containerID", json!(if waits { &last_id } else { &id }));
    }
    put("started", json!(container.started));
    Value::Object(status)
}

fn container_id(pod: &Value, container: &Container, restarts: u32) -> String {
    format!("containerd://{}", Digest::of_value(&json!([uid(pod), container.name, restarts])))
}

fn terminated(end: &End, id: &str) -> Value {
    json!({"terminated": {"exitCode": end.code, "reason": end.reason, "startedAt": stamp(end.started),
        "finishedAt": stamp(end.finished), "containerID": id}})
}

/// `GetPodQOS`.
pub fn quality(spec: &Value) -> &'static str {
    let resources: Vec<&Value> = ["initContainers", "containers"]
        .iter()
        .flat_map(|field| items(&spec[field]))
        .map(|container| &container["resources"])
        .collect();
    let named = |r: &Value, side: &str, what: &str| r[side][what].clone();
    let any = resources.iter().any(|r| {
        ["requests", "limits"].iter().any(|side| ["cpu", "memory"].iter().any(|what| !named(r, side, what).is_null()))
    });
    let guaranteed = resources.iter().all(|r| {
        ["cpu", "memory"].iter().all(|what| {
            let (request, limit) = (named(r, "requests", what), named(r, "limits", what));
            !limit.is_null() && (request.is_null() || request == limit)
        })
    });
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_service() {
        let spec = |resources: Value| json!({"containers": [{"resources": resources}]});
        assert_eq!(quality(&spec(json!({}))), "BestEffort");
        assert_eq!(quality(&spec(json!({"requests": {"cpu": "1"}}))), "Burstable");
        assert_eq!(quality(&spec(json!({"limits": {"cpu": "1", "memory": "1Gi"}}))), "Guaranteed");
    }
}
