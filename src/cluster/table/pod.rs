//! The cells of pods: how many containers are ready, and what is wrong (`printPod`).

use super::render::age;
use super::value::{born, condition, count, list, number, or, text};
use jiff::Timestamp;
use serde_json::{Value, json};

/// How a container ended, as a reason.
fn ended(terminated: &Value) -> String {
    let reason = text(terminated, "/reason");
    match (reason, number(terminated, "/signal")) {
        ("", 0) => format!("ExitCode:{}", number(terminated, "/exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

struct PodSummary {
    ready: usize,
    total: usize,
    reason: String,
    restarts: i64,
    last_restart: String,
}

fn summary(o: &Value) -> PodSummary {
    let phase = text(o, "/status/phase");
    let mut out = PodSummary {
        ready: 0,
        total: count(o, "/spec/containers"),
        reason: or(text(o, "/status/reason"), phase).to_owned(),
        restarts: 0,
        last_restart: String::new(),
    };
    if condition(o, "PodScheduled").is_some_and(|c| text(c, "/reason") == "SchedulingGated") {
        out.reason = "SchedulingGated".to_owned();
    }
    let sidecar = |name: &str| {
        list(o, "/spec/initContainers")
            .iter()
            .any(|c| text(c, "/name") == name && text(c, "/restartPolicy") == "Always")
    };
    out.total += list(o, "/spec/initContainers").iter().filter(|c| text(c, "/restartPolicy") == "Always").count();
    let (mut initializing, mut sidecar_restarts) = (false, 0);
    for (i, status) in list(o, "/status/initContainerStatuses").iter().enumerate() {
        let restarts = number(status, "/restartCount");
        out.restarts += restarts;
        let own = sidecar(text(status, "/name"));
        if own {
            sidecar_restarts += restarts;
        }
        let terminated = status.pointer("/state/terminated");
        if terminated.is_some_and(|t| number(t, "/exitCode") == 0) {
            continue;
        }
        if own && status.get("started") == Some(&json!(true)) {
            out.ready += usize::from(status.get("ready") == Some(&json!(true)));
            continue;
        }
        let waiting = text(status, "/state/waiting/reason");
        out.reason = if let Some(terminated) = terminated {
            format!("Init:{}", ended(terminated))
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{i}/{}", count(o, "/spec/initContainers"))
        };
        initializing = true;
        break;
    }
    if !initializing || condition(o, "Initialized").is_some_and(|c| text(c, "/status") == "True") {
        out.restarts = sidecar_restarts;
        running_containers(o, &mut out);
    }
    out
}

fn running_containers(o: &Value, out: &mut PodSummary) {
    let (mut running, mut error) = (false, String::new());
    for status in list(o, "/status/containerStatuses").iter().rev() {
        out.restarts += number(status, "/restartCount");
        let last = text(status, "/lastState/terminated/finishedAt");
        if last > out.last_restart.as_str() {
            last.clone_into(&mut out.last_restart);
        }
        let waiting = text(status, "/state/waiting/reason");
        if !waiting.is_empty() {
            waiting.clone_into(&mut out.reason);
        } else if let Some(terminated) = status.pointer("/state/terminated") {
            out.reason = ended(terminated);
            if number(terminated, "/exitCode") != 0 {
                error.clone_from(&out.reason);
            }
        } else if status.get("ready") == Some(&json!(true)) && status.pointer("/state/running").is_some() {
            running = true;
            out.ready += 1;
        }
    }
    if out.reason == "Completed" {
        let ready = condition(o, "Ready").is_some_and(|c| text(c, "/status") == "True");
        if running && ready {
            out.reason = "Running".to_owned();
        } else if !error.is_empty() {
            out.reason = error;
        } else if running {
            out.reason = "NotReady".to_owned();
        }
    }
}

/// The cells of a pod.
pub fn pod(o: &Value, now: Timestamp) -> Vec<Value> {
    let mut found = summary(o);
    if o.pointer("/metadata/deletionTimestamp").is_some() {
        if text(o, "/status/reason") == "NodeLost" {
            found.reason = "Unknown".to_owned();
        } else if !matches!(text(o, "/status/phase"), "Succeeded" | "Failed") {
            found.reason = "Terminating".to_owned();
        }
    }
    let restarts = if found.restarts != 0 && !found.last_restart.is_empty() {
        format!("{} ({} ago)", found.restarts, age(&found.last_restart, now))
    } else {
        found.restarts.to_string()
    };
    let gates = list(o, "/spec/readinessGates");
    let passed = gates
        .iter()
        .filter(|g| condition(o, text(g, "/conditionType")).is_some_and(|c| text(c, "/status") == "True"))
        .count();
    let gates = if gates.is_empty() { "<none>".to_owned() } else { format!("{passed}/{}", gates.len()) };
    vec![
        json!(text(o, "/metadata/name")),
        json!(format!("{}/{}", found.ready, found.total)),
        json!(found.reason),
        json!(restarts),
        json!(born(o, now)),
        json!(or(text(o, "/status/podIPs/0/ip"), "<none>")),
        json!(or(text(o, "/spec/nodeName"), "<none>")),
        json!(or(text(o, "/status/nominatedNodeName"), "<none>")),
        json!(gates),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_say_what_is_wrong_with_them() {
        let waiting = json!({"metadata": {"name": "x"}, "spec": {"containers": [{"name": "a"}]}, "status": {"phase": "Pending",
            "containerStatuses": [{"name": "a", "restartCount": 0, "state": {"waiting": {"reason": "ImagePullBackOff"}}}]}});
        assert_eq!(pod(&waiting, Timestamp::UNIX_EPOCH)[1..4], [json!("0/1"), json!("ImagePullBackOff"), json!("0")]);
    }
}
