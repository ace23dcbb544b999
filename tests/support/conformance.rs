//! Requests that the embedded API server and a real one must answer alike.
//!
//! In: `conformance.json`, cases of steps `[VERB, PATH, BODY, "loose"]`. `{ns}` stands for a namespace of the case's own.
//! VERB: an HTTP method; APPLY, MERGE, STRATEGIC, JSONPATCH (PATCH with that media type); RAW:TYPE (POST of text); WAIT and
//! GONE (GET until it answers 200, or no longer does; the answer is not compared).
//! Out: for each step, what differs, once what must differ (uids, versions, times, addresses) is put aside.
//!
//! Loose: the real server's text dumps Go structs or diffs of them; only code, reason and the causes' fields are compared.

use driftless::cluster::request::ApiRequest;
use driftless::cluster::server::{Answer, ApiServer};
use jiff::Timestamp;
use regex::Regex;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::sync::LazyLock;
use std::time::Duration;

/// One request.
#[derive(Debug, Clone)]
pub struct Step {
    pub verb: String,
    pub path: String,
    pub body: Option<Value>,
    pub loose: bool,
}

/// Requests that build on each other, in a namespace of their own.
#[derive(Debug, Clone)]
pub struct Case {
    pub name: String,
    pub steps: Vec<Step>,
}

/// All cases.
pub fn cases() -> Vec<Case> {
    let data: Value = serde_json::from_str(include_str!("conformance.json")).expect("conformance.json is JSON");
    let step = |step: &Value| Step {
        verb: step[0].as_str().expect("a verb").to_owned(),
        path: step[1].as_str().expect("a path").to_owned(),
        body: step.get(2).filter(|b| !b.is_null()).cloned(),
        loose: step.get(3).is_some(),
    };
    let case = |case: &Value| Case {
        name: case["case"].as_str().expect("a name").to_owned(),
        steps: case["steps"].as_array().expect("steps").iter().map(step).collect(),
    };
    data.as_array().expect("cases").iter().map(case).collect()
}

/// What a server answered.
#[derive(Debug, Clone)]
pub struct Reply {
    pub code: u16,
    pub body: Value,
}

/// A server that answers.
pub trait Server {
    fn send(&self, method: &str, path: &str, content_type: &str, body: Vec<u8>) -> Reply;
}

/// The embedded API server, without controllers.
pub struct Embedded(RefCell<ApiServer>);

impl Embedded {
    pub fn new() -> Self {
        Self(RefCell::new(ApiServer::new(1, Timestamp::now())))
    }
}

impl Server for Embedded {
    fn send(&self, method: &str, path: &str, content_type: &str, body: Vec<u8>) -> Reply {
        let mut request = ApiRequest::new(method, path, body);
        content_type.clone_into(&mut request.content_type);
        "conformance/1".clone_into(&mut request.user_agent);
        match self.0.borrow_mut().handle(&request, Timestamp::now()) {
            Answer::Response(response) => Reply { code: response.status, body: parsed(&response.body) },
            Answer::Watch(_) => Reply { code: 200, body: Value::Null },
        }
    }
}

/// A real API server.
pub struct Real {
    client: reqwest::blocking::Client,
    url: String,
    token: String,
}

impl Real {
    pub fn new(url: &str, token: &str, certificate: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let certificate = reqwest::Certificate::from_pem(certificate.as_bytes()).expect("a certificate");
        let client = reqwest::blocking::Client::builder()
            .tls_certs_only([certificate])
            .timeout(Duration::from_secs(30))
            .build()
            .expect("a client");
        Self { client, url: url.to_owned(), token: token.to_owned() }
    }
}

impl Server for Real {
    fn send(&self, method: &str, path: &str, content_type: &str, body: Vec<u8>) -> Reply {
        let method = method.parse().expect("a method");
        let request = self.client.request(method, format!("{}{path}", self.url));
        let request = request.bearer_auth(&self.token).header("content-type", content_type);
        let response = request.header("user-agent", "conformance/1").body(body).send().expect("an answer");
        let code = response.status().as_u16();
        Reply { code, body: parsed(&response.bytes().expect("a body")) }
    }
}

fn parsed(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
}

/// Makes the namespace of a case, with what a controller would put in it.
pub fn prepare(server: &dyn Server, namespace: &str) {
    let post =
        |path: &str, object: Value| server.send("POST", path, "application/json", object.to_string().into_bytes());
    post("/api/v1/namespaces", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}));
    post(
        &format!("/api/v1/namespaces/{namespace}/serviceaccounts"),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}),
    );
}

/// Carries a step out.
pub fn carry_out(server: &dyn Server, step: &Step, namespace: &str) -> Reply {
    let path = step.path.replace("{ns}", namespace);
    let json = step.body.as_ref().map(|b| b.to_string().replace("{ns}", namespace)).unwrap_or_default();
    let patch = |kind: &str| server.send("PATCH", &path, &format!("application/{kind}"), json.clone().into_bytes());
    match step.verb.as_str() {
        "APPLY" => patch("apply-patch+yaml"),
        "MERGE" => patch("merge-patch+json"),
        "STRATEGIC" => patch("strategic-merge-patch+json"),
        "JSONPATCH" => patch("json-patch+json"),
        "WAIT" | "GONE" => {
            let there = step.verb == "WAIT";
            for _ in 0..100 {
                let code = server.send("GET", &path, "application/json", Vec::new()).code;
                if (code == 200) == there {
                    break;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            Reply { code: 0, body: Value::Null }
        }
        verb => match verb.strip_prefix("RAW:") {
            Some(media) => {
                let text = step.body.as_ref().and_then(Value::as_str).unwrap_or_default();
                server.send("POST", &path, media, text.as_bytes().to_vec())
            }
            None => server.send(verb, &path, "application/json", json.into_bytes()),
        },
    }
}

/// What differs between two replies to a step.
pub fn difference(step: &Step, real: &Reply, embedded: &Reply, namespace: &str) -> Vec<String> {
    let mut out = Vec::new();
    if real.code != embedded.code {
        out.push(format!("code: {} is answered as {}", real.code, embedded.code));
    }
    let view = |body: &Value| {
        let body = normalised(body, namespace, "");
        if step.loose { essence(&body) } else { body }
    };
    compare(&view(&real.body), &view(&embedded.body), "", &mut out);
    out
}

/// Of a refusal: what it is and which fields it names.
fn essence(body: &Value) -> Value {
    let fields: Vec<&Value> =
        body["details"]["causes"].as_array().into_iter().flatten().map(|c| &c["field"]).take(1).collect();
    json!({"kind": body["kind"], "code": body["code"], "reason": body["reason"], "fields": fields})
}

static UID: LazyLock<Regex> = LazyLock::new(|| pattern("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"));
static TIME: LazyLock<Regex> = LazyLock::new(|| pattern(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"));
static ADDRESS: LazyLock<Regex> = LazyLock::new(|| pattern(r"10\.96\.\d+\.\d+"));
static RECORD: LazyLock<Regex> = LazyLock::new(|| pattern(r"in record \(\d+\)"));
static TOKEN: LazyLock<Regex> = LazyLock::new(|| pattern(r"kube-api-access-\w{5}"));

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a pattern")
}

/// A body without what no two servers share. Lists that Go writes in the order of a map are sorted.
fn normalised(value: &Value, namespace: &str, key: &str) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter().map(|(k, v)| (k.clone(), hidden(k, v).unwrap_or_else(|| normalised(v, namespace, k)))).collect(),
        ),
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(|v| normalised(v, namespace, "")).collect();
            match key {
                "managedFields" => items.sort_by_key(|e| {
                    let text = |k: &str| e.get(k).and_then(Value::as_str).unwrap_or_default().to_owned();
                    (text("manager"), text("operation"), text("subresource"))
                }),
                "causes" => items.sort_by_key(|e| format!("{}{}", e["field"], e["message"])),
                _ => {}
            }
            Value::Array(items)
        }
        Value::String(text) => {
            let text = text.replace(namespace, "NS");
            let text = UID.replace_all(&text, "UID");
            let text = TIME.replace_all(&text, "TIME");
            let text = RECORD.replace_all(&text, "in record (VERSION)");
            let text = ADDRESS.replace_all(&text, "ADDRESS");
            let text = TOKEN.replace_all(&text, "kube-api-access-xxxxx").into_owned();
            // Several errors come in the order of a Go map: the same words in any order.
            let many = key == "message" && (text.contains("is invalid: [") || text.contains('\n'));
            if many { Value::String(sorted_words(&text)) } else { Value::String(text) }
        }
        other => other.clone(),
    }
}

fn sorted_words(text: &str) -> String {
    let mut words: Vec<&str> = text.split([' ', '\n', ',', '[', ']']).filter(|w| !w.is_empty()).collect();
    words.sort_unstable();
    words.join(" ")
}

fn hidden(key: &str, value: &Value) -> Option<Value> {
    let times = ["creationTimestamp", "time", "deletionTimestamp", "lastTransitionTime", "lastPhaseTransitionTime"];
    let hide = match key {
        "resourceVersion" | "uid" => value.is_string(),
        "clusterIP" => value != "None",
        "clusterIPs" => *value != json!(["None"]),
        "nodePort" | "healthCheckNodePort" | "continue" | "remainingItemCount" => true,
        _ => times.contains(&key) && (value.is_string() || value.is_null()),
    };
    hide.then(|| Value::String(format!("<{key}>")))
}

fn compare(real: &Value, embedded: &Value, path: &str, out: &mut Vec<String>) {
    match (real, embedded) {
        (Value::Object(a), Value::Object(b)) => {
            let none = Value::Null;
            let keys = a.keys().chain(b.keys().filter(|k| !a.contains_key(*k)));
            for key in keys {
                let at = format!("{path}.{key}");
                match (a.get(key), b.get(key)) {
                    (Some(x), Some(y)) => compare(x, y, &at, out),
                    (x, y) => out.push(format!("{at}: {} is answered as {}", x.unwrap_or(&none), y.unwrap_or(&none))),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (x, y)) in a.iter().zip(b).enumerate() {
                compare(x, y, &format!("{path}[{i}]"), out);
            }
        }
        (a, b) if a == b => {}
        (a, b) => out.push(format!("{path}: {a} is answered as {b}")),
    }
}
