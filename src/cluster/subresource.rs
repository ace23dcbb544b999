//! Subresources that are no plain part of their object: scale, binding, eviction, log; and reviews, which are no objects at all.

use super::aim::{Aim, DeleteOptions, Patch};
use super::body::{body, patch_body};
use super::convert;
use super::request::{ApiRequest, ApiResponse, Target};
use super::selectors::LabelSelector;
use super::server::ApiServer;
use super::status::{FieldError, Status};
use crate::object::Gk;
use serde_json::{Value, json};
use std::sync::Arc;

/// GET of a subresource.
pub fn get(server: &ApiServer, aim: &Aim, name: &str, request: &ApiRequest) -> Result<ApiResponse, Status> {
    let object = stored(server, aim, name)?;
    match aim.subresource.as_str() {
        "scale" => Ok(ApiResponse::json(200, &scale(aim, &object)?)),
        "log" => log(&object, request),
        _ => Err(Status::method_not_allowed()),
    }
}

fn stored(server: &ApiServer, aim: &Aim, name: &str) -> Result<Arc<Value>, Status> {
    let found = server.store().get(convert::stored_as(&aim.kind), &aim.namespace, name).cloned();
    found.ok_or_else(|| Status::not_found(&aim.kind.plural, &aim.kind.gk.group, name))
}

fn text<'v>(object: &'v Value, pointer: &str) -> &'v str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A simulated pod writes no log: says so.
fn log(pod: &Value, request: &ApiRequest) -> Result<ApiResponse, Status> {
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array).cloned().unwrap_or_default();
    let names: Vec<&str> = containers.iter().map(|c| text(c, "/name")).collect();
    let name = text(pod, "/metadata/name");
    let container = match (request.param("container"), names.as_slice()) {
        (Some(wanted), _) if names.contains(&wanted) => wanted,
        (Some(wanted), _) => {
            return Err(Status::bad_request(format!("container {wanted} is not valid for pod {name}")));
        }
        (None, [one]) => one,
        (None, _) => {
            return Err(Status::bad_request(format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                names.join(" ")
            )));
        }
    };
    if text(pod, "/spec/nodeName").is_empty() {
        return Err(Status::bad_request(format!("pod {name} does not have a host assigned")));
    }
    Ok(ApiResponse::text(200, &format!("container {container} of pod {name} is simulated and writes no log\n")))
}

/// JSON pointer of a `.spec.replicas` path.
fn pointer(path: &str) -> String {
    path.replace('.', "/")
}

struct ScalePaths {
    spec: String,
    status: String,
    selector: Option<String>,
}

fn paths(aim: &Aim) -> ScalePaths {
    match &aim.version().scale {
        Some(scale) => ScalePaths {
            spec: pointer(text(scale, "/specReplicasPath")),
            status: pointer(text(scale, "/statusReplicasPath")),
            selector: scale.get("labelSelectorPath").and_then(Value::as_str).map(pointer),
        },
        None => ScalePaths { spec: "/spec/replicas".into(), status: "/status/replicas".into(), selector: None },
    }
}

fn scale(aim: &Aim, object: &Value) -> Result<Value, Status> {
    let paths = paths(aim);
    let selector = match (&paths.selector, object.pointer("/spec/selector")) {
        (Some(path), _) => object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned(),
        (None, Some(selector)) if !aim.kind.custom => selector_text(selector),
        _ => String::new(),
    };
    let replicas = object.pointer(&paths.spec).and_then(Value::as_i64);
    if aim.kind.custom && replicas.is_none() {
        let path = text(aim.version().scale.as_ref().unwrap_or(&Value::Null), "/specReplicasPath");
        return Err(Status::internal(format!("the spec replicas field {path:?} does not exist")));
    }
    let mut metadata = json!({});
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object["metadata"].get(key) {
            metadata[key] = value.clone();
        }
    }
    let mut spec = json!({});
    if let Some(replicas) = replicas.filter(|n| *n != 0) {
        spec["replicas"] = replicas.into();
    }
    let mut status = json!({"replicas": object.pointer(&paths.status).and_then(Value::as_i64).unwrap_or(0)});
    if !selector.is_empty() {
        status["selector"] = selector.into();
    }
    Ok(json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status}))
}

/// A label selector in text form, its parts sorted by key.
pub fn selector_text(selector: &Value) -> String {
    let mut parts: Vec<(String, String)> = Vec::new();
    for (key, value) in selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
        parts.push((key.clone(), format!("{key}={}", value.as_str().unwrap_or_default())));
    }
    for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
        let key = text(expression, "/key");
        let values = expression.get("values").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut values: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let part = match text(expression, "/operator") {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        };
        parts.push((key.to_owned(), part));
    }
    parts.sort();
    parts.into_iter().map(|(_, part)| part).collect::<Vec<_>>().join(",")
}

/// PUT and PATCH of the scale subresource: only the number of replicas counts.
pub fn write_scale(server: &mut ApiServer, aim: &Aim, name: &str, request: &ApiRequest) -> Result<ApiResponse, Status> {
    let object = stored(server, aim, name)?;
    let current = scale(aim, &object)?;
    let mut applied = false;
    let wanted = if request.method == "PUT" {
        body(request)?.0
    } else {
        match patch_body(&aim.kind, request)?.0 {
            Patch::Merge(patch) | Patch::Strategic(patch) => {
                let mut out = current.clone();
                super::patch::json::merge(&mut out, &patch);
                out
            }
            Patch::Json(operations) => {
                let mut out = current.clone();
                super::patch::json::apply(&mut out, &operations).map_err(|_| super::write::rejected_patch())?;
                out
            }
            Patch::Apply(config) => {
                applied = true;
                config
            }
        }
    };
    let own = text(&wanted, "/metadata/name");
    if !own.is_empty() && own != name {
        let message = format!("the name of the object ({own}) does not match the name on the URL ({name})");
        return Err(Status::bad_request(message));
    }
    let given = text(&wanted, "/metadata/resourceVersion");
    if !given.is_empty() && given != text(&object, "/metadata/resourceVersion") {
        return Err(Status::modified(&aim.kind.plural, &aim.kind.gk.group, name));
    }
    let replicas = wanted.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(0);
    if replicas < 0 {
        let error = FieldError::invalid("spec.replicas", &replicas.into(), "must be greater than or equal to 0");
        return Err(Status::invalid("Scale", "autoscaling", name, &[error]));
    }
    let mut parent = json!({});
    let mut place = &mut parent;
    for part in paths(aim).spec.split('/').filter(|p| !p.is_empty()) {
        place[part] = json!({});
        place = &mut place[part];
    }
    *place = replicas.into();
    let patch = if applied {
        parent["apiVersion"] = aim.kind.api_version(&aim.version().name).into();
        parent["kind"] = aim.kind.gk.kind.clone().into();
        parent["metadata"] = json!({"name": name});
        Patch::Apply(parent)
    } else {
        Patch::Merge(parent)
    };
    let (stored, _) = server.patch(aim, name, &patch, &mut Vec::new())?;
    Ok(ApiResponse::json(200, &scale(aim, &stored)?))
}

/// POST to a subresource.
pub fn post(server: &mut ApiServer, aim: &Aim, name: &str, body: &Value) -> Result<ApiResponse, Status> {
    match aim.subresource.as_str() {
        "binding" => bind(server, aim, name, body),
        "eviction" => evict(server, aim, name, body),
        _ => Err(Status::method_not_allowed()),
    }
}

fn created() -> ApiResponse {
    ApiResponse::json(
        201,
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}),
    )
}

fn bind(server: &mut ApiServer, aim: &Aim, name: &str, body: &Value) -> Result<ApiResponse, Status> {
    let pod = stored(server, aim, name)?;
    let node = text(body, "/target/name");
    if node.is_empty() {
        let error = FieldError::required("target.name", "");
        return Err(Status::invalid("Binding", "", name, &[error]));
    }
    let conflict = |why: &str| Err(Status::conflict("pods/binding", "", name, why));
    if pod.pointer("/metadata/deletionTimestamp").is_some() {
        return conflict(&format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let current = text(&pod, "/spec/nodeName");
    if !current.is_empty() {
        return conflict(&format!("pod {name} is already assigned to node {current:?}"));
    }
    let mut object = (*pod).clone();
    object["spec"]["nodeName"] = node.into();
    let now = super::schema::decode::time_text(aim.now, false);
    let scheduled = json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null,
        "lastTransitionTime": now});
    let conditions = object["status"].as_object_mut().map(|s| s.entry("conditions").or_insert_with(|| json!([])));
    if let Some(conditions) = conditions {
        if conditions.is_null() {
            *conditions = json!([]);
        }
        if let Some(list) = conditions.as_array_mut() {
            list.retain(|c| text(c, "/type") != "PodScheduled");
            list.push(scheduled);
        }
    }
    if !aim.options.dry_run {
        server.store.put(&aim.kind.gk, &aim.namespace, name, object);
        server.after_write(aim.now);
    }
    Ok(created())
}

/// Evicts a pod unless a PodDisruptionBudget forbids it (`pkg/registry/core/pod/storage/eviction.go`).
fn evict(server: &mut ApiServer, aim: &Aim, name: &str, body: &Value) -> Result<ApiResponse, Status> {
    let pod = stored(server, aim, name)?;
    let unprotected = matches!(text(&pod, "/status/phase"), "Pending" | "Succeeded" | "Failed")
        || pod.pointer("/metadata/deletionTimestamp").is_some();
    let gk = Gk::new("policy", "PodDisruptionBudget");
    let budgets: Vec<Arc<Value>> = server
        .store()
        .list(&gk, Some(&aim.namespace))
        .into_iter()
        .filter(|b| b.pointer("/spec/selector").is_some_and(|s| LabelSelector::from_object(s).matches(&pod)))
        .cloned()
        .collect();
    if budgets.len() > 1 && !unprotected {
        return Err(Status::internal(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        ));
    }
    if let Some(budget) = budgets.first().filter(|_| !unprotected) {
        let allowed = budget.pointer("/status/disruptionsAllowed").and_then(Value::as_i64).unwrap_or(0);
        let title = text(budget, "/metadata/name").to_owned();
        if allowed <= 0 {
            let mut status = Status::new(
                429,
                "TooManyRequests",
                "Cannot evict pod as it would violate the pod's disruption budget.",
            );
            let number = |p: &str| budget.pointer(p).and_then(Value::as_i64).unwrap_or(0);
            let message = format!(
                "The disruption budget {title} needs {} healthy pods and has {} currently",
                number("/status/desiredHealthy"),
                number("/status/currentHealthy")
            );
            status.details = Some(json!({"causes": [{"reason": "DisruptionBudget", "message": message}]}));
            return Err(status);
        }
        if !aim.options.dry_run {
            let mut object = (**budget).clone();
            object["status"]["disruptionsAllowed"] = (allowed - 1).into();
            let now = super::schema::decode::time_text(aim.now, false);
            object["status"]["disruptedPods"][name] = now.into();
            server.store.put(&gk, &aim.namespace, &title, object);
        }
    }
    let options = DeleteOptions {
        grace: body.pointer("/deleteOptions/gracePeriodSeconds").and_then(Value::as_i64),
        dry_run: aim.options.dry_run,
        ..DeleteOptions::default()
    };
    let mut plain = aim.clone();
    plain.subresource.clear();
    server.delete(&plain, name, &options)?;
    Ok(created())
}

/// Reviews: the one user of the cluster may do everything.
pub fn review(target: &Target, request: &ApiRequest) -> Result<Option<ApiResponse>, Status> {
    let status = match (target.group.as_str(), target.version.as_str(), target.resource.as_str()) {
        ("authorization.k8s.io", "v1", "selfsubjectaccessreviews") => json!({"allowed": true}),
        ("authorization.k8s.io", "v1", "selfsubjectrulesreviews") => json!({"incomplete": false,
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}),
        ("authentication.k8s.io", "v1", "selfsubjectreviews") => {
            json!({"userInfo": {"username": "driftless", "groups": ["system:masters", "system:authenticated"]}})
        }
        _ => return Ok(None),
    };
    if request.method != "POST" || target.name.is_some() {
        return Err(Status::method_not_allowed());
    }
    let (mut object, _) = body(request)?;
    if !object.is_object() {
        return Err(Status::bad_request("the body is no object"));
    }
    object["status"] = status;
    Ok(Some(ApiResponse::json(201, &object)))
}
