//! The shorthand's fields, checked.

use super::fields::{Faults, Reader};
use crate::object::quantity::Quantity;
use crate::object::{Gvk, ObjectKey};
use crate::render::fault::{ManifestError, ManifestFault};
use crate::render::manifest::is_dns_label;
use crate::render::yaml::{Content, Node};
use serde_json::Value;

const ROOT: [&str; 4] = ["apiVersion", "kind", "metadata", "spec"];
const METADATA: [&str; 4] = ["name", "namespace", "labels", "annotations"];
const SPEC: [&str; 8] = ["image", "replicas", "autoscale", "resources", "ports", "env", "probes", "rollout"];

/// Most replicas: a typing error must not fill a cluster.
const MAX_REPLICAS: i64 = 10_000;

/// A checked App.
pub(super) struct App {
    pub name: String,
    pub namespace: Option<String>,
    pub labels: Vec<(String, String)>,
    pub annotations: Vec<(String, String)>,
    pub image: String,
    pub scale: Scale,
    pub cpu: Option<String>,
    pub memory: Option<String>,
    pub ports: Vec<Port>,
    pub env: Vec<(String, String)>,
    pub liveness: Option<String>,
    pub readiness: Option<String>,
    pub max_surge: Value,
    pub max_unavailable: Value,
}

/// How many pods.
pub(super) enum Scale {
    Fixed(i64),
    Auto { min: i64, max: i64, cpu_percent: i64 },
}

pub(super) struct Port {
    pub name: String,
    pub port: i64,
}

impl App {
    pub fn read(file: &str, line: u32, gvk: &Gvk, root: &Node) -> Result<Self, Vec<ManifestError>> {
        let mut faults = Faults { file, errors: Vec::new() };
        let app = read(&mut faults, line, root);
        if faults.errors.is_empty()
            && let Some(app) = app
        {
            return Ok(app);
        }
        let name = root.get("metadata").and_then(|m| m.value.get("name")).and_then(|n| n.value.as_str());
        let about = name.map(|name| ObjectKey::new(&gvk.gk(), None, name).with_version(&gvk.version));
        let errors = faults.errors.into_iter().map(|error| match &about {
            Some(object) => error.about(object.clone()),
            None => error,
        });
        Err(errors.collect())
    }
}

/// `None` only with a fault.
fn read(faults: &mut Faults<'_>, line: u32, root: &Node) -> Option<App> {
    let top = Reader::new(faults, "", root, &ROOT);
    let missing = |faults: &mut Faults<'_>, line, field| {
        faults.push(line, ManifestFault::Missing(field));
        None::<App>
    };
    let Some((_, metadata)) = top.get("metadata") else { return missing(faults, line, "metadata.name") };
    let metadata = Reader::new(faults, "metadata", metadata, &METADATA);
    let Some((spec_line, spec)) = top.get("spec") else { return missing(faults, line, "spec") };
    let spec = Reader::new(faults, "spec", spec, &SPEC);

    let name = name(faults, &metadata);
    let namespace = namespace(faults, &metadata);
    let labels = labels(faults, &metadata);
    let annotations = owned(metadata.texts(faults, "annotations"));
    let image = image(faults, &spec, spec_line);
    let (cpu, memory) = resources(faults, &spec);
    let scale = scale(faults, &spec, cpu.is_some());
    let ports = ports(faults, &spec);
    let env = env(faults, &spec);
    let (liveness, readiness) = probes(faults, &spec, !ports.is_empty());
    let (max_surge, max_unavailable) = rollout(faults, &spec);
    Some(App {
        name: name?,
        namespace,
        labels,
        annotations,
        image: image?,
        scale,
        cpu,
        memory,
        ports,
        env,
        liveness,
        readiness,
        max_surge,
        max_unavailable,
    })
}

fn owned(texts: Vec<(u32, &str, &str)>) -> Vec<(String, String)> {
    texts.into_iter().map(|(_, key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn name(faults: &mut Faults<'_>, metadata: &Reader<'_>) -> Option<String> {
    let Some((line, name)) = metadata.text(faults, "name") else {
        if metadata.get("name").is_none() {
            faults.push(metadata.line(), ManifestFault::Missing("metadata.name"));
        }
        return None;
    };
    // A Service's name is the strictest: RFC 1035.
    if !is_dns_label(name) || name.starts_with(|c: char| c.is_ascii_digit()) {
        let why = "must be at most 63 lower-case letters, digits and `-`, start with a letter and not end with `-`";
        faults.bad(line, "metadata.name", why);
        return None;
    }
    Some(name.to_owned())
}

fn namespace(faults: &mut Faults<'_>, metadata: &Reader<'_>) -> Option<String> {
    let (line, namespace) = metadata.text(faults, "namespace")?;
    if !is_dns_label(namespace) {
        faults.bad(line, "metadata.namespace", "is not a namespace's name");
    }
    Some(namespace.to_owned())
}

fn labels(faults: &mut Faults<'_>, metadata: &Reader<'_>) -> Vec<(String, String)> {
    let labels = metadata.texts(faults, "labels");
    for (line, key, _) in &labels {
        if super::objects::OWN_LABELS.contains(key) {
            faults.bad(*line, &format!("metadata.labels[{key:?}]"), "is set by the App itself");
        }
    }
    owned(labels)
}

fn image(faults: &mut Faults<'_>, spec: &Reader<'_>, spec_line: u32) -> Option<String> {
    let Some((line, image)) = spec.text(faults, "image") else {
        if spec.get("image").is_none() {
            faults.push(spec_line, ManifestFault::Missing("spec.image"));
        }
        return None;
    };
    if image.is_empty() || image.contains(char::is_whitespace) {
        faults.bad(line, "spec.image", "must be an image's name, such as `nginx:1.29`");
        return None;
    }
    Some(image.to_owned())
}

fn resources(faults: &mut Faults<'_>, spec: &Reader<'_>) -> (Option<String>, Option<String>) {
    let Some((_, node)) = spec.get("resources") else { return (None, None) };
    let resources = Reader::new(faults, "spec.resources", node, &["cpu", "memory"]);
    let mut quantity = |key: &str, example: &str| {
        let (line, node) = resources.get(key)?;
        let text = match &node.content {
            Content::String(text) => text.clone(),
            Content::Number(n) => n.to_string(),
            _ => String::new(),
        };
        let valid = Quantity::parse(&text).is_some_and(|quantity| quantity.milli >= 0);
        if !valid {
            faults.bad(line, &resources.path_of(key), format!("must be a quantity, such as `{example}`"));
        }
        valid.then_some(text)
    };
    (quantity("cpu", "100m"), quantity("memory", "128Mi"))
}

fn scale(faults: &mut Faults<'_>, spec: &Reader<'_>, has_cpu: bool) -> Scale {
    let replicas = spec.integer(faults, "replicas", 0..=MAX_REPLICAS);
    let Some((line, node)) = spec.get("autoscale") else { return Scale::Fixed(replicas.unwrap_or(1)) };
    if spec.get("replicas").is_some() {
        faults.bad(line, "spec.autoscale", "cannot be together with `spec.replicas`: one of them decides the number");
    }
    if !has_cpu && spec.get("resources").is_none_or(|(_, resources)| resources.get("cpu").is_none()) {
        faults.bad(line, "spec.autoscale", "needs `spec.resources.cpu`: the percentage is of the requested CPU");
    }
    let auto = Reader::new(faults, "spec.autoscale", node, &["min", "max", "cpu"]);
    let min = auto.integer(faults, "min", 1..=MAX_REPLICAS).unwrap_or(1);
    let max = auto.integer(faults, "max", 1..=MAX_REPLICAS);
    match max {
        None if auto.get("max").is_none() => faults.push(line, ManifestFault::Missing("spec.autoscale.max")),
        Some(max) if max < min => {
            faults.bad(line, "spec.autoscale.max", format!("must be at least min, which is {min}"));
        }
        _ => {}
    }
    let cpu_percent = auto.get("cpu").map_or(Some(70), |(line, node)| {
        let percent = match &node.content {
            Content::String(text) => text.strip_suffix('%').and_then(|digits| digits.parse::<i64>().ok()),
            _ => None,
        };
        let percent = percent.filter(|percent| (1..=1000).contains(percent));
        if percent.is_none() {
            faults.bad(line, "spec.autoscale.cpu", "must be a percentage in quotes, such as \"70%\"");
        }
        percent
    });
    Scale::Auto { min, max: max.unwrap_or(min), cpu_percent: cpu_percent.unwrap_or(70) }
}

fn ports(faults: &mut Faults<'_>, spec: &Reader<'_>) -> Vec<Port> {
    let items = spec.list(faults, "ports");
    let mut ports: Vec<Port> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let path = format!("spec.ports[{index}]");
        let reader = Reader::new(faults, &path, item, &["name", "port"]);
        let name = match reader.text(faults, "name") {
            Some((line, name)) if !is_port_name(name) => {
                let why = "must be at most 15 lower-case letters, digits and `-`, with a letter among them";
                faults.bad(line, &reader.path_of("name"), why);
                continue;
            }
            Some((_, name)) => name.to_owned(),
            None if items.len() == 1 => "http".to_owned(),
            None => {
                faults.bad(item.line, &reader.path_of("name"), "is needed where there are several ports");
                continue;
            }
        };
        let Some(port) = reader.integer(faults, "port", 1..=65535) else {
            if reader.get("port").is_none() {
                faults.bad(item.line, &reader.path_of("port"), "is missing");
            }
            continue;
        };
        if ports.iter().any(|other| other.name == name || other.port == port) {
            faults.bad(item.line, &path, "has the name or number of another port");
            continue;
        }
        ports.push(Port { name, port });
    }
    ports
}

/// RFC 6335 service name, which a container port's name must be (`IsValidPortName` in apimachinery).
fn is_port_name(name: &str) -> bool {
    is_dns_label(name) && name.len() <= 15 && !name.contains("--") && name.bytes().any(|b| b.is_ascii_lowercase())
}

fn env(faults: &mut Faults<'_>, spec: &Reader<'_>) -> Vec<(String, String)> {
    let texts = spec.texts(faults, "env");
    for (line, name, _) in &texts {
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic() && b != b'=') {
            faults.bad(*line, "spec.env", "has a name that no environment variable can have");
        }
    }
    owned(texts)
}

fn probes(faults: &mut Faults<'_>, spec: &Reader<'_>, has_port: bool) -> (Option<String>, Option<String>) {
    let default = |path: &str| has_port.then(|| path.to_owned());
    let Some((line, node)) = spec.get("probes") else { return (default("/healthz"), default("/ready")) };
    if node.as_str() == Some("none") {
        return (None, None);
    }
    if let Some(text) = node.as_str() {
        let text: String = text.chars().take(40).collect();
        faults.bad(
            line,
            "spec.probes",
            format!("is {text:?}; it must be `none`, or a mapping of liveness and readiness"),
        );
        return (None, None);
    }
    if !has_port {
        faults.bad(line, "spec.probes", "needs a port in `spec.ports` to ask");
    }
    let probes = Reader::new(faults, "spec.probes", node, &["liveness", "readiness"]);
    let mut probe = |key: &str, otherwise: &str| match probes.text(faults, key) {
        None if probes.get(key).is_none() => default(otherwise),
        None | Some((_, "none")) => None,
        Some((line, path)) => {
            if !path.starts_with('/') || path.contains(char::is_whitespace) {
                faults.bad(line, &probes.path_of(key), "must be a path that starts with `/`, or `none`");
            }
            Some(path.to_owned())
        }
    };
    (probe("liveness", "/healthz"), probe("readiness", "/ready"))
}

fn rollout(faults: &mut Faults<'_>, spec: &Reader<'_>) -> (Value, Value) {
    let (mut surge, mut unavailable) = (Value::from(1), Value::from(0));
    let Some((line, node)) = spec.get("rollout") else { return (surge, unavailable) };
    let rollout = Reader::new(faults, "spec.rollout", node, &["maxSurge", "maxUnavailable"]);
    for (key, slot) in [("maxSurge", &mut surge), ("maxUnavailable", &mut unavailable)] {
        let Some((line, node)) = rollout.get(key) else { continue };
        match &node.content {
            Content::Number(n) if n.as_i64().is_some_and(|n| (0..=MAX_REPLICAS).contains(&n)) => {
                *slot = Value::Number(n.clone());
            }
            Content::String(text) if is_percent(text) => *slot = Value::String(text.clone()),
            _ => faults.bad(line, &rollout.path_of(key), "must be a whole number, or a percentage such as \"25%\""),
        }
    }
    let zero =
        |value: &Value| value.as_i64() == Some(0) || value.as_str().is_some_and(|text| text.trim_matches('0') == "%");
    if zero(&surge) && zero(&unavailable) {
        faults.bad(line, "spec.rollout", "allows no change: maxSurge and maxUnavailable cannot both be 0");
    }
    (surge, unavailable)
}

fn is_percent(text: &str) -> bool {
    text.strip_suffix('%').is_some_and(|digits| {
        !digits.is_empty()
            && digits.bytes().all(|b| b.is_ascii_digit())
            && digits.parse::<u32>().is_ok_and(|n| n <= 100)
    })
}
