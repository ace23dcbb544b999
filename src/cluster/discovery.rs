//! Discovery: which groups, versions and kinds there are, in the old form and the aggregated one; versions and health.
//! Source: k8s.io/api/apidiscovery/v2, and the answers of a real server.

use super::kinds::{Kind, Version};
use super::request::{ApiRequest, ApiResponse};
use super::schema::openapi;
use super::server::{ApiServer, GIT_VERSION};
use super::status::Status;
use crate::object::Gk;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::OnceLock;

const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// Answers what is no resource; `None` if the path may be one.
pub fn answer(server: &ApiServer, request: &ApiRequest, path: &str) -> Result<Option<ApiResponse>, Status> {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    let aggregated = request.accept.split(',').any(|c| {
        c.contains("apidiscovery.k8s.io") && c.contains("v=v2;")
            || c.contains("apidiscovery.k8s.io") && c.trim_end().ends_with("v=v2")
    });
    let response = match parts.as_slice() {
        [] => {
            json!({"paths": ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]})
        }
        ["healthz" | "livez" | "readyz", ..] => return Ok(Some(ApiResponse::text(200, "ok"))),
        ["version"] => version(),
        ["api"] if aggregated => return Ok(Some(aggregated_list(server, true))),
        ["apis"] if aggregated => return Ok(Some(aggregated_list(server, false))),
        ["api"] => json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}),
        ["apis"] => group_list(server),
        ["apis", group] => match groups(server).get(*group) {
            Some(versions) => group_of(group, versions, true),
            None => return Err(Status::no_such_path()),
        },
        ["api", version] => resources(server, "", version)?,
        ["apis", group, version] => resources(server, group, version)?,
        ["openapi", "v2"] => return openapi::v2(server, request).map(Some),
        ["openapi", "v3"] => openapi::v3_index(server),
        ["openapi", "v3", rest @ ..] => openapi::v3(server, rest)?,
        _ => return Ok(None),
    };
    if request.method != "GET" && request.method != "HEAD" {
        return Err(Status::method_not_allowed());
    }
    Ok(Some(ApiResponse::json(200, &response)))
}

fn version() -> Value {
    json!({"major": "1", "minor": "36", "emulationMajor": "1", "emulationMinor": "36",
        "minCompatibilityMajor": "1", "minCompatibilityMinor": "35", "gitVersion": GIT_VERSION,
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "", "goVersion": "", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH)})
}

/// Versions of each named group, preferred first, in the order in which the real server lists groups: by name.
pub fn groups(server: &ApiServer) -> BTreeMap<String, Vec<String>> {
    let mut out: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for kind in server.kinds().iter().filter(|k| !k.gk.group.is_empty()) {
        let versions = out.entry(kind.gk.group.clone()).or_default();
        for version in kind.versions.iter().filter(|v| v.served) {
            if !versions.contains(&version.name) {
                versions.push(version.name.clone());
            }
        }
    }
    for group in ["authentication.k8s.io", "authorization.k8s.io"] {
        out.insert(group.to_owned(), vec!["v1".to_owned()]);
    }
    for (group, version) in aggregated_versions(server) {
        let versions = out.entry(group).or_default();
        if !versions.contains(&version) {
            versions.push(version);
        }
    }
    out
}

/// Groups that an APIService says somebody else serves. They are listed though nobody answers: a real server lists them
/// as stale, so that a client tells what is broken from what is not there.
fn aggregated_versions(server: &ApiServer) -> Vec<(String, String)> {
    let services = server.store().list(&Gk::new("apiregistration.k8s.io", "APIService"), None);
    let text = |service: &Value, field: &str| service["spec"][field].as_str().unwrap_or_default().to_owned();
    let remote = services.into_iter().filter(|service| !service["spec"]["service"].is_null());
    remote.map(|service| (text(service, "group"), text(service, "version"))).collect()
}

fn group_of(group: &str, versions: &[String], alone: bool) -> Value {
    let entry = |v: &String| json!({"groupVersion": format!("{group}/{v}"), "version": v});
    let list: Vec<Value> = versions.iter().map(entry).collect();
    let mut out = json!({"name": group, "versions": list, "preferredVersion": list.first()});
    if alone {
        out["kind"] = "APIGroup".into();
        out["apiVersion"] = "v1".into();
    }
    out
}

fn group_list(server: &ApiServer) -> Value {
    let list: Vec<Value> = groups(server).iter().map(|(group, versions)| group_of(group, versions, false)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": list})
}

/// A resource that only takes a POST: reviews.
const REVIEWS: [(&str, &str, &str); 3] = [
    ("authorization.k8s.io", "selfsubjectaccessreviews", "SelfSubjectAccessReview"),
    ("authorization.k8s.io", "selfsubjectrulesreviews", "SelfSubjectRulesReview"),
    ("authentication.k8s.io", "selfsubjectreviews", "SelfSubjectReview"),
];

fn verbs(kind: &Kind) -> Vec<&'static str> {
    VERBS.into_iter().filter(|v| *v != "deletecollection" || !kind.is("", "Namespace")).collect()
}

struct Sub {
    name: &'static str,
    group: &'static str,
    version: &'static str,
    kind: String,
    verbs: &'static [&'static str],
}

fn subresources(kind: &Kind, version: &Version) -> Vec<Sub> {
    ["binding", "eviction", "finalize", "log", "scale", "status"]
        .into_iter()
        .filter(|name| kind.has_subresource(version, name))
        .map(|name| {
            let own = kind.gk.kind.clone();
            let (group, version, kind, verbs): (_, _, _, &[&str]) = match name {
                "scale" => ("autoscaling", "v1", "Scale".to_owned(), &["get", "patch", "update"]),
                "binding" => ("", "", "Binding".to_owned(), &["create"]),
                "eviction" => ("policy", "v1", "Eviction".to_owned(), &["create"]),
                "finalize" => ("", "", own, &["update"]),
                "log" => ("", "", own, &["get"]),
                _ => ("", "", own, &["get", "patch", "update"]),
            };
            Sub { name, group, version, kind, verbs }
        })
        .collect()
}

fn served<'s>(
    server: &'s ApiServer,
    group: &'s str,
    version: &'s str,
) -> impl Iterator<Item = (&'s Kind, &'s Version)> {
    server.kinds().iter().filter(move |k| k.gk.group == group).filter_map(move |kind| {
        let version = kind.version(version).filter(|v| v.served)?;
        Some((&**kind, version))
    })
}

fn resources(server: &ApiServer, group: &str, version: &str) -> Result<Value, Status> {
    let mut list = Vec::new();
    for (kind, of) in served(server, group, version) {
        let mut entry = json!({"name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced,
            "kind": kind.gk.kind, "verbs": verbs(kind)});
        if !kind.short_names.is_empty() {
            entry["shortNames"] = kind.short_names.clone().into();
        }
        if !kind.categories.is_empty() {
            entry["categories"] = kind.categories.clone().into();
        }
        list.push(entry);
        for sub in subresources(kind, of) {
            let mut entry = json!({"name": format!("{}/{}", kind.plural, sub.name), "singularName": "",
                "namespaced": kind.namespaced, "kind": sub.kind, "verbs": sub.verbs});
            if !sub.group.is_empty() {
                entry["group"] = sub.group.into();
                entry["version"] = sub.version.into();
            }
            list.push(entry);
        }
    }
    for (_, plural, kind) in REVIEWS.iter().filter(|(g, ..)| *g == group && version == "v1") {
        list.push(json!({"name": plural, "singularName": kind.to_lowercase(), "namespaced": false, "kind": kind,
            "verbs": ["create"]}));
    }
    if list.is_empty() {
        return Err(Status::no_such_path());
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Ok(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list}))
}

/// The aggregated document of the core group, or of the named ones. That of the built-in kinds alone is made once: each
/// client that starts asks for it, and it is most of what answering takes.
fn aggregated_list(server: &ApiServer, core: bool) -> ApiResponse {
    static BUILTIN: [OnceLock<Vec<u8>>; 2] = [OnceLock::new(), OnceLock::new()];
    let is_builtin = server.kinds().is_builtin() && (core || aggregated_versions(server).is_empty());
    let body = if is_builtin {
        BUILTIN[usize::from(core)].get_or_init(|| aggregated_body(server, core)).clone()
    } else {
        aggregated_body(server, core)
    };
    let content_type = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    ApiResponse { status: 200, content_type, warnings: Vec::new(), body }
}

fn aggregated_body(server: &ApiServer, core: bool) -> Vec<u8> {
    let groups: Vec<(String, Vec<String>)> =
        if core { vec![(String::new(), vec!["v1".into()])] } else { groups(server).into_iter().collect() };
    let items: Vec<Value> = groups
        .iter()
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|version| {
                    let resources = aggregated_resources(server, group, version);
                    let stale = resources.is_empty() && server.is_aggregated(group, version);
                    let freshness = if stale { "Stale" } else { "Current" };
                    json!({"version": version, "resources": resources, "freshness": freshness})
                })
                .collect();
            let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    let list = json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items});
    ApiResponse::json(200, &list).body
}

fn aggregated_resources(server: &ApiServer, group: &str, version: &str) -> Vec<Value> {
    let kind_of = |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    let mut list = Vec::new();
    for (kind, of) in served(server, group, version) {
        let scope = if kind.namespaced { "Namespaced" } else { "Cluster" };
        let mut entry = json!({"resource": kind.plural, "responseKind": kind_of(group, version, &kind.gk.kind),
            "scope": scope, "singularResource": kind.singular, "verbs": verbs(kind)});
        if !kind.short_names.is_empty() {
            entry["shortNames"] = kind.short_names.clone().into();
        }
        if !kind.categories.is_empty() {
            entry["categories"] = kind.categories.clone().into();
        }
        let subs: Vec<Value> = subresources(kind, of)
            .iter()
            .map(|sub| {
                let (g, v) = if sub.version.is_empty() { (group, version) } else { (sub.group, sub.version) };
                json!({"subresource": sub.name, "responseKind": kind_of(g, v, &sub.kind), "verbs": sub.verbs})
            })
            .collect();
        if !subs.is_empty() {
            entry["subresources"] = subs.into();
        }
        list.push(entry);
    }
    for (_, plural, kind) in REVIEWS.iter().filter(|(g, ..)| *g == group) {
        list.push(json!({"resource": plural, "responseKind": kind_of(group, version, kind), "scope": "Cluster",
            "singularResource": kind.to_lowercase(), "verbs": ["create"]}));
    }
    list
}
