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

/// A simulated pod writes no log: says so. What a real one's node would refuse, is refused.
fn log(pod: &Value, request: &ApiRequest) -> Result<ApiResponse, Status> {
    let containers = |list: &str| -> Vec<&str> {
        let found = pod.pointer(&format!("/spec/{list}")).and_then(Value::as_array);
        found.into_iter().flatten().map(|c| text(c, "/name")).collect()
    };
    let (names, first) = (containers("containers"), containers("initContainers"));
    let name = text(pod, "/metadata/name");
    let container = match (request.param("container"), names.as_slice()) {
        (Some(wanted), _) if names.contains(&wanted) || first.contains(&wanted) => wanted,
        (Some(wanted), _) => {
            return Err(Status::bad_request(format!("container {wanted} is not valid for pod {name}")));
        }
        (None, [one]) if first.is_empty() => one,
        (None, _) => {
            let mut message =
                format!("a container name must be specified for pod {name}, choose one of: [{}]", names.join(" "));
            if !first.is_empty() {
                message += &format!(" or one of the init containers: [{}]", first.join(" "));
            }
            return Err(Status::bad_request(message));
        }
    };
    // There is no node yet to ask (`LogLocation`).
    if text(pod, "/spec/nodeName").is_empty() {
        return Ok(ApiResponse::text(200, ""));
    }
    unstarted(pod, name, container, request.flag("previous"))?;
    Ok(ApiResponse::text(200, &format!("container {container} of pod {name} is simulated and writes no log\n")))
}

/// What a container's node says when there is no log yet (`validateContainerLogStatus` of the kubelet).
fn unstarted(pod: &Value, name: &str, container: &str, previous: bool) -> Result<(), Status> {
    let refuse = |message: String| Err(Status::bad_request(message));
    let lists = ["initContainerStatuses", "containerStatuses"];
    let mut statuses = lists.iter().flat_map(|list| pod["status"][list].as_array().into_iter().flatten());
    let Some(status) = statuses.find(|status| status["name"] == container) else {
        return refuse(format!("container {container:?} in pod {name:?} is not available"));
    };
    let before = !status["lastState"]["terminated"].is_null();
    if previous && !before {
        return refuse(format!("previous terminated container {container:?} in pod {name:?} not found"));
    }
    let waiting = &status["state"]["waiting"];
    if before || waiting.is_null() {
        return Ok(());
    }
    let why = match waiting["reason"].as_str().unwrap_or_default() {
        "ErrImagePull" => "image can't be pulled",
        "ImagePullBackOff" => "trying and failing to pull image",
        other => other,
    };
    refuse(format!("container {container:?} in pod {name:?} is waiting to start: {why}"))
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

/// The Scale of an object.
pub(super) fn scale(aim: &Aim, object: &Value) -> Result<Value, Status> {
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
    let now = crate::scheme::decode::time_text(aim.now, false);
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
            let now = crate::scheme::decode::time_text(aim.now, false);
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

/// There is nobody else here to be.
pub fn refuse_impersonation(request: &ApiRequest) -> Result<(), Status> {
    let Some((header, value)) = request.impersonated.first() else { return Ok(()) };
    let user = request.impersonated.iter().find(|(header, _)| header == "impersonate-user");
    let (resource, name) = match user {
        Some((_, user)) => ("users", user),
        None => (header.as_str(), value),
    };
    let why = format!(
        "User \"{USER}\" cannot impersonate resource {resource:?} in API group \"\" at the cluster scope: \
         the embedded cluster has one user, who may do everything"
    );
    Err(Status::forbidden(resource, "", name, &why))
}

/// The one user.
pub const USER: &str = "driftless";

/// The status of a review of what somebody may do: known of the one user only.
fn access(spec: &Value) -> Result<Value, Status> {
    let user = text(spec, "/user");
    let groups = spec.pointer("/groups").and_then(Value::as_array);
    if user == USER || groups.into_iter().flatten().any(|group| group == "system:masters") {
        return Ok(json!({"allowed": true}));
    }
    let why =
        format!("the embedded cluster has no authorizer that knows what {user:?} may do: its one user is {USER:?}");
    Err(Status::forbidden("subjectaccessreviews", "authorization.k8s.io", "", &why))
}

/// Reviews: the one user of the cluster may do everything.
pub fn review(target: &Target, request: &ApiRequest) -> Result<Option<ApiResponse>, Status> {
    let status = match (target.group.as_str(), target.version.as_str(), target.resource.as_str()) {
        ("authorization.k8s.io", "v1", "selfsubjectaccessreviews") => json!({"allowed": true}),
        ("authorization.k8s.io", "v1", "subjectaccessreviews" | "localsubjectaccessreviews") => Value::Null,
        ("authorization.k8s.io", "v1", "selfsubjectrulesreviews") => json!({"incomplete": false,
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}),
        ("authentication.k8s.io", "v1", "selfsubjectreviews") => {
            json!({"userInfo": {"username": USER, "groups": ["system:masters", "system:authenticated"]}})
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
    object["status"] = if status.is_null() { access(&object["spec"])? } else { status };
    Ok(Some(ApiResponse::json(201, &object)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::server::Answer;
    use crate::cluster::view::{SCHEDULER, Write};
    use jiff::Timestamp;

    fn send(server: &mut ApiServer, request: &ApiRequest) -> (u16, Value, String) {
        let Answer::Response(response) = server.handle(request, Timestamp::UNIX_EPOCH) else { panic!("a watch") };
        (response.status, response.value(), String::from_utf8_lossy(&response.body).into_owned())
    }

    #[test]
    fn nobody_else_can_be_asked_for() {
        let mut server = ApiServer::new(1, Timestamp::UNIX_EPOCH);
        let mut request = ApiRequest::new("GET", "/api/v1/pods", Vec::new());
        request.impersonated =
            vec![("impersonate-group".into(), "g".into()), ("impersonate-user".into(), "jane".into())];
        let (code, status, _) = send(&mut server, &request);
        let message = status["message"].as_str().unwrap();
        assert!(
            code == 403 && message.starts_with("users \"jane\" is forbidden: User \"driftless\" cannot"),
            "{message}"
        );
        let mut review = |plural: &str, spec: Value| {
            let body = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "Review", "spec": spec});
            let path = format!("/apis/authorization.k8s.io/v1/{plural}");
            let (code, answer, _) = send(&mut server, &ApiRequest::new("POST", &path, body.to_string().into_bytes()));
            (code, answer["status"]["allowed"] == true)
        };
        assert_eq!(review("selfsubjectaccessreviews", json!({})), (201, true));
        assert_eq!(review("subjectaccessreviews", json!({"user": "driftless"})), (201, true));
        assert_eq!(review("subjectaccessreviews", json!({"user": "x", "groups": ["system:masters"]})), (201, true));
        assert_eq!(review("subjectaccessreviews", json!({"user": "jane", "groups": ["g"]})), (403, false));
        assert_eq!(review("namespaces/default/localsubjectaccessreviews", json!({"user": "jane"})), (403, false));
    }

    #[test]
    fn namespaces_of_the_system_stay() {
        let mut server = ApiServer::new(1, Timestamp::UNIX_EPOCH);
        for name in ["default", "kube-system", "kube-public"] {
            let (code, status, _) =
                send(&mut server, &ApiRequest::new("DELETE", &format!("/api/v1/namespaces/{name}"), Vec::new()));
            let message = format!("namespaces {name:?} is forbidden: this namespace may not be deleted");
            assert_eq!((code, status["message"].as_str()), (403, Some(message.as_str())));
        }
        let other = ApiRequest::new("DELETE", "/api/v1/namespaces/kube-node-lease", Vec::new());
        assert_eq!(send(&mut server, &other).0, 200);
    }

    #[test]
    fn replication_controllers_are_none() {
        let mut server = ApiServer::new(1, Timestamp::UNIX_EPOCH);
        let path = "/api/v1/namespaces/default/replicationcontrollers";
        let (code, list, _) = send(&mut server, &ApiRequest::new("GET", path, Vec::new()));
        assert_eq!((code, &list["items"]), (200, &json!([])));
        let body = json!({"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "x"},
            "spec": {"selector": {"a": "b"}, "template": {"metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
        let (code, status, _) = send(&mut server, &ApiRequest::new("POST", path, body.to_string().into_bytes()));
        assert!(code == 403 && status["message"].as_str().unwrap().contains("use a Deployment"), "{status}");
    }

    #[test]
    fn a_container_that_has_not_started_has_no_log() {
        let mut server = ApiServer::new(1, Timestamp::UNIX_EPOCH);
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default"},
            "spec": {"containers": [{"name": "main", "image": "i"}], "initContainers": [{"name": "first", "image": "i"}]}});
        let now = Timestamp::UNIX_EPOCH;
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "default"}});
        server.carry_out(&Write::Create { object: account }, "kubectl", now).unwrap();
        server.carry_out(&Write::Create { object: pod }, "kubectl", now).unwrap();
        let log = |server: &mut ApiServer, query: &str| {
            let path = format!("/api/v1/namespaces/default/pods/p/log{query}");
            let (code, status, text) = send(server, &ApiRequest::new("GET", &path, Vec::new()));
            (code, status["message"].as_str().map_or(text, str::to_owned))
        };
        let choose = "a container name must be specified for pod p, choose one of: [main] or one of the init containers: [first]";
        assert_eq!(log(&mut server, ""), (400, choose.into()));
        assert_eq!(log(&mut server, "?container=main"), (200, String::new()));
        let bind = Write::Bind { namespace: "default".into(), pod: "p".into(), node: "n".into() };
        server.carry_out(&bind, SCHEDULER, now).unwrap();
        let unavailable = "container \"main\" in pod \"p\" is not available";
        assert_eq!(log(&mut server, "?container=main"), (400, unavailable.into()));
        for (state, last, previous, expected) in [
            ("ContainerCreating", json!({}), "", Some("is waiting to start: ContainerCreating")),
            ("ErrImagePull", json!({}), "", Some("is waiting to start: image can't be pulled")),
            ("ImagePullBackOff", json!({}), "", Some("is waiting to start: trying and failing to pull image")),
            ("CrashLoopBackOff", json!({"terminated": {"exitCode": 1}}), "", None),
        ] {
            let status = json!({"name": "main", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"waiting": {"reason": state}}, "lastState": last});
            let write = Write::MergePatch {
                gk: Gk::new("", "Pod"),
                namespace: Some("default".into()),
                name: "p".into(),
                patch: json!({"status": {"containerStatuses": [status]}}),
                subresource: Some("status".into()),
            };
            server.carry_out(&write, "kubelet", now).unwrap();
            let (code, said) = log(&mut server, &format!("?container=main{previous}"));
            match expected {
                Some(why) => assert_eq!((code, said), (400, format!("container \"main\" in pod \"p\" {why}"))),
                None => assert_eq!(code, 200, "{said}"),
            }
        }
    }
}
