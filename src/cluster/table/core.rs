//! The cells of nodes, networks, storage and events.

use super::render::age;
use super::value::{born, condition, labels, list, more, number, or, plain, text};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Longest text of load balancer addresses.
const ADDRESS_WIDTH: usize = 16;

/// Addresses of an Endpoints object.
pub fn endpoints(o: &Value) -> String {
    let mut found = Vec::new();
    for subset in list(o, "/subsets") {
        let addresses = list(subset, "/addresses");
        if list(subset, "/ports").is_empty() {
            found.extend(addresses.iter().map(|a| text(a, "/ip").to_owned()));
        }
        for port in list(subset, "/ports") {
            found.extend(addresses.iter().map(|a| format!("{}:{}", text(a, "/ip"), number(port, "/port"))));
        }
    }
    more(&found, 3)
}

/// The cells of an EndpointSlice.
pub fn slice(o: &Value, now: Timestamp) -> Vec<Value> {
    let ports: Vec<String> = list(o, "/ports")
        .iter()
        .map(|p| p.get("port").map_or_else(|| or(text(p, "/name"), "*").to_owned(), plain))
        .collect();
    let addresses: Vec<String> =
        list(o, "/endpoints").iter().flat_map(|e| list(e, "/addresses").iter().map(plain)).collect();
    let shown = |items: &[String]| json!(if items.is_empty() { "<unset>".to_owned() } else { more(items, 3) });
    vec![
        json!(text(o, "/metadata/name")),
        json!(text(o, "/addressType")),
        shown(&ports),
        shown(&addresses),
        json!(born(o, now)),
    ]
}

/// The cells of an Event.
pub fn event(o: &Value, now: Timestamp) -> Vec<Value> {
    let either = |a: &str, b: &str| or(text(o, a), text(o, b)).to_owned();
    let since = |time: &str| if time.is_empty() { "<unknown>".to_owned() } else { age(time, now) };
    let first = since(&either("/firstTimestamp", "/deprecatedFirstTimestamp"));
    let first = if first == "<unknown>" { since(text(o, "/eventTime")) } else { first };
    let last = since(&either("/lastTimestamp", "/deprecatedLastTimestamp"));
    let mut last = if last == "<unknown>" { first.clone() } else { last };
    let mut times = number(o, "/count").max(number(o, "/deprecatedCount")).max(1);
    if o.get("series").is_some() {
        last = since(text(o, "/series/lastObservedTime"));
        times = number(o, "/series/count");
    }
    let (kind, name) =
        (either("/involvedObject/kind", "/regarding/kind"), either("/involvedObject/name", "/regarding/name"));
    let target = if name.is_empty() { kind.to_lowercase() } else { format!("{}/{name}", kind.to_lowercase()) };
    let component = either("/source/component", "/reportingComponent");
    let host = either("/source/host", "/reportingInstance");
    let source = if host.is_empty() { component } else { format!("{component}, {host}") };
    vec![
        json!(last),
        json!(text(o, "/type")),
        json!(text(o, "/reason")),
        json!(target),
        json!(either("/involvedObject/fieldPath", "/regarding/fieldPath")),
        json!(source),
        json!(either("/message", "/note").trim()),
        json!(first),
        json!(times),
        json!(text(o, "/metadata/name")),
    ]
}

/// The cells of a Node.
pub fn node(o: &Value, now: Timestamp) -> Vec<Value> {
    let mut status = match condition(o, "Ready").map(|c| text(c, "/status")) {
        Some("True") => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if o.pointer("/spec/unschedulable") == Some(&json!(true)) {
        status.push_str(",SchedulingDisabled");
    }
    let mut roles: Vec<String> = Vec::new();
    for (key, value) in o.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten() {
        if let Some(role) = key.strip_prefix("node-role.kubernetes.io/").filter(|r| !r.is_empty()) {
            roles.push(role.to_owned());
        } else if key == "kubernetes.io/role" {
            roles.push(plain(value));
        }
    }
    roles.sort();
    let address = |kind: &str| {
        let found = list(o, "/status/addresses").iter().find(|a| text(a, "/type") == kind);
        json!(found.map_or("<none>", |a| text(a, "/address")))
    };
    let info = |key: &str| or(text(o, &format!("/status/nodeInfo/{key}")), "<unknown>").to_owned();
    let mut kernel = info("kernelVersion");
    let architecture = text(o, "/status/nodeInfo/architecture");
    if !architecture.is_empty() {
        kernel = format!("{kernel} ({architecture})");
    }
    vec![
        json!(text(o, "/metadata/name")),
        json!(status),
        json!(or(&roles.join(","), "<none>")),
        json!(born(o, now)),
        json!(text(o, "/status/nodeInfo/kubeletVersion")),
        address("InternalIP"),
        address("ExternalIP"),
        json!(info("osImage")),
        json!(kernel),
        json!(info("containerRuntimeVersion")),
    ]
}

fn addresses(o: &Value) -> String {
    let mut found: Vec<&str> = list(o, "/status/loadBalancer/ingress")
        .iter()
        .map(|i| or(text(i, "/ip"), text(i, "/hostname")))
        .filter(|t| !t.is_empty())
        .collect();
    found.sort_unstable();
    found.dedup();
    found.join(",")
}

fn cut(text: String) -> String {
    if text.len() > ADDRESS_WIDTH {
        format!("{}...", text.chars().take(ADDRESS_WIDTH - 3).collect::<String>())
    } else {
        text
    }
}

/// The cells of a Service.
pub fn service(o: &Value, now: Timestamp) -> Vec<Value> {
    let external: Vec<String> = list(o, "/spec/externalIPs").iter().map(plain).collect();
    let ty = text(o, "/spec/type");
    let shown = match ty {
        "ClusterIP" | "NodePort" => or(&external.join(","), "<none>").to_owned(),
        "LoadBalancer" => {
            let balanced = cut(addresses(o));
            let all: Vec<String> = Some(balanced).filter(|b| !b.is_empty()).into_iter().chain(external).collect();
            or(&all.join(","), "<pending>").to_owned()
        }
        "ExternalName" => text(o, "/spec/externalName").to_owned(),
        _ => "<unknown>".to_owned(),
    };
    let ports: Vec<String> = list(o, "/spec/ports")
        .iter()
        .map(|p| {
            let (port, protocol) = (number(p, "/port"), text(p, "/protocol"));
            match number(p, "/nodePort") {
                0 => format!("{port}/{protocol}"),
                node => format!("{port}:{node}/{protocol}"),
            }
        })
        .collect();
    vec![
        json!(text(o, "/metadata/name")),
        json!(ty),
        json!(or(text(o, "/spec/clusterIPs/0"), "<none>")),
        json!(shown),
        json!(or(&ports.join(","), "<none>")),
        json!(born(o, now)),
        json!(labels(o.pointer("/spec/selector"))),
    ]
}

/// The cells of an Ingress.
pub fn ingress(o: &Value, now: Timestamp) -> Vec<Value> {
    let rules = list(o, "/spec/rules");
    let hosts: Vec<&str> = rules.iter().map(|r| text(r, "/host")).filter(|h| !h.is_empty()).take(3).collect();
    let mut shown = or(&hosts.join(","), "*").to_owned();
    if hosts.len() == 3 && rules.len() > 3 {
        shown = format!("{shown} + {} more...", rules.len() - 3);
    }
    let ports = if list(o, "/spec/tls").is_empty() { "80" } else { "80, 443" };
    vec![
        json!(text(o, "/metadata/name")),
        json!(or(text(o, "/spec/ingressClassName"), "<none>")),
        json!(shown),
        json!(cut(addresses(o))),
        json!(ports),
        json!(born(o, now)),
    ]
}

fn modes(o: &Value, pointer: &str) -> String {
    let short = |mode: &Value| match mode.as_str().unwrap_or_default() {
        "ReadWriteOnce" => "RWO",
        "ReadOnlyMany" => "ROX",
        "ReadWriteMany" => "RWX",
        "ReadWriteOncePod" => "RWOP",
        _ => "",
    };
    let mut found: Vec<&str> = Vec::new();
    for mode in list(o, pointer).iter().map(short) {
        if !found.contains(&mode) {
            found.push(mode);
        }
    }
    found.join(",")
}

fn terminating_or<'v>(o: &'v Value, pointer: &str) -> &'v str {
    if o.pointer("/metadata/deletionTimestamp").is_some() { "Terminating" } else { text(o, pointer) }
}

/// The cells of a PersistentVolumeClaim.
pub fn claim(o: &Value, now: Timestamp) -> Vec<Value> {
    let volume = text(o, "/spec/volumeName");
    let (capacity, access) = if volume.is_empty() {
        (String::new(), String::new())
    } else {
        (or(text(o, "/status/capacity/storage"), "0").to_owned(), modes(o, "/status/accessModes"))
    };
    vec![
        json!(text(o, "/metadata/name")),
        json!(terminating_or(o, "/status/phase")),
        json!(volume),
        json!(capacity),
        json!(access),
        json!(text(o, "/spec/storageClassName")),
        json!(or(text(o, "/spec/volumeAttributesClassName"), "<unset>")),
        json!(born(o, now)),
        json!(or(text(o, "/spec/volumeMode"), "<unset>")),
    ]
}

/// The cells of a PersistentVolume.
pub fn volume(o: &Value, now: Timestamp) -> Vec<Value> {
    let claim = o
        .pointer("/spec/claimRef")
        .map_or_else(String::new, |c| format!("{}/{}", text(c, "/namespace"), text(c, "/name")));
    vec![
        json!(text(o, "/metadata/name")),
        json!(or(text(o, "/spec/capacity/storage"), "0")),
        json!(modes(o, "/spec/accessModes")),
        json!(text(o, "/spec/persistentVolumeReclaimPolicy")),
        json!(terminating_or(o, "/status/phase")),
        json!(claim),
        json!(text(o, "/spec/storageClassName")),
        json!(or(text(o, "/spec/volumeAttributesClassName"), "<unset>")),
        json!(text(o, "/status/reason")),
        json!(born(o, now)),
        json!(or(text(o, "/spec/volumeMode"), "<unset>")),
    ]
}

/// The cells of a ResourceQuota.
pub fn quota(o: &Value, now: Timestamp) -> Vec<Value> {
    let empty = Map::new();
    let hard = o.pointer("/status/hard").and_then(Value::as_object).unwrap_or(&empty);
    let mut names: Vec<&String> = hard.keys().collect();
    names.sort_unstable();
    let of = |limits: bool| {
        let parts = names.iter().filter(|n| n.starts_with("limits.") == limits).map(|n| {
            let used = o.pointer("/status/used").and_then(|u| u.get(n.as_str())).map_or_else(|| "0".to_owned(), plain);
            format!("{n}: {used}/{}", plain(&hard[n.as_str()]))
        });
        json!(parts.collect::<Vec<_>>().join(", "))
    };
    vec![json!(text(o, "/metadata/name")), of(false), of(true), json!(born(o, now))]
}
