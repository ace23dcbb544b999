//! Bodies of requests: objects, patches and deletion options, by media type. Pure.

use super::aim::{Aim, DeleteOptions, Patch};
use super::kinds::Kind;
use super::request::{ApiRequest, FieldValidation};
use super::schema::protobuf;
use super::status::{FieldError, Status};
use crate::scheme::decode;
use serde_json::{Value, json};

/// Reads the body of a create or update.
pub fn body(request: &ApiRequest) -> Result<(Value, Vec<String>), Status> {
    let parsed = match request.media_type() {
        "application/json" | "" => decode::parse_json(&request.body),
        "application/yaml" | "text/yaml" => decode::parse_yaml(&request.body),
        "application/vnd.kubernetes.protobuf" => {
            let find = |api_version: &str, kind: &str| {
                let meta = kind == "DeleteOptions";
                Some(if meta { "meta.v1.DeleteOptions".to_owned() } else { super::kinds::type_name(api_version, kind) })
            };
            protobuf::parse(&request.body, find).map(|object| (object, Vec::new()))
        }
        _ => {
            return Err(Status::new(
                415,
                "UnsupportedMediaType",
                "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf",
            ));
        }
    };
    parsed.map_err(|e| {
        let e = if e.starts_with("EOF") { "unexpected end of JSON input".to_owned() } else { e };
        Status::bad_request(format!("couldn't get version/kind; json parse error: {e}"))
    })
}

/// Reads the body of a patch by its media type.
pub fn patch_body(kind: &Kind, request: &ApiRequest) -> Result<(Patch, Vec<String>), Status> {
    let json = |request: &ApiRequest| {
        decode::parse_json(&request.body).map_err(|e| Status::bad_request(format!("error decoding patch: {e}")))
    };
    Ok(match request.media_type() {
        "application/json-patch+json" => {
            let (value, duplicates) = json(request)?;
            let Value::Array(operations) = value else {
                return Err(Status::bad_request(
                    "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
                ));
            };
            if operations.len() > super::patch::json::MAX_OPERATIONS {
                let message = format!(
                    "The allowed maximum operations in a JSON patch is {}, got {}",
                    super::patch::json::MAX_OPERATIONS,
                    operations.len()
                );
                return Err(Status::new(413, "RequestEntityTooLarge", message));
            }
            (Patch::Json(operations), duplicates)
        }
        "application/merge-patch+json" => {
            let (value, duplicates) = json(request)?;
            (Patch::Merge(value), duplicates)
        }
        "application/strategic-merge-patch+json" if !kind.custom => {
            let (value, duplicates) = json(request)?;
            (Patch::Strategic(value), duplicates)
        }
        "application/apply-patch+yaml" => {
            let read = decode::parse_yaml(&request.body);
            let (value, duplicates) = read
                .map_err(|e| Status::bad_request(format!("error decoding YAML: error converting YAML to JSON: {e}")))?;
            (Patch::Apply(value), duplicates)
        }
        media => {
            if media == "application/strategic-merge-patch+json" {
                let message = "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
                return Err(Status::new(415, "UnsupportedMediaType", message));
            }
            let mut status = Status::new(415, "UnsupportedMediaType", "415: Unsupported Media Type");
            status.details = Some(json!({}));
            return Err(status);
        }
    })
}

/// Keys that a patch has twice: an error, a warning or nothing, as asked.
pub fn strict_duplicates(
    aim: &Aim,
    patch: &Patch,
    duplicates: Vec<String>,
    warnings: &mut Vec<String>,
) -> Result<(), Status> {
    if duplicates.is_empty() {
        return Ok(());
    }
    match aim.options.validation {
        FieldValidation::Strict => {
            let head =
                if matches!(patch, Patch::Apply(_)) { "error strict decoding YAML" } else { "strict decoding error" };
            Err(Status::bad_request(format!("{head}: {}", duplicates.join(", "))))
        }
        FieldValidation::Warn => {
            warnings.extend(duplicates);
            Ok(())
        }
        FieldValidation::Ignore => Ok(()),
    }
}

/// Reads the options of a deletion from the query and the body.
pub fn delete_options(request: &ApiRequest) -> Result<DeleteOptions, Status> {
    let mut options = DeleteOptions {
        grace: request.param("gracePeriodSeconds").and_then(|v| v.parse().ok()),
        propagation: request.param("propagationPolicy").map(str::to_owned),
        dry_run: request.param("dryRun") == Some("All"),
        ..DeleteOptions::default()
    };
    if let Some(orphan) = request.param("orphanDependents") {
        options.propagation = Some(if orphan == "true" { "Orphan" } else { "Background" }.to_owned());
    }
    if !request.body.is_empty() {
        let (body, _) = body(request)?;
        let text = |p: &str| body.pointer(p).and_then(Value::as_str).map(str::to_owned);
        options.grace = body.get("gracePeriodSeconds").and_then(Value::as_i64).or(options.grace);
        options.propagation = text("/propagationPolicy").or(options.propagation);
        if let Some(orphan) = body.get("orphanDependents").and_then(Value::as_bool) {
            options.propagation = Some(if orphan { "Orphan" } else { "Background" }.to_owned());
        }
        options.uid = text("/preconditions/uid");
        options.version = text("/preconditions/resourceVersion");
        options.dry_run |= body.get("dryRun").and_then(Value::as_array).is_some_and(|d| d.iter().any(|v| v == "All"));
    }
    if let Some(policy) = &options.propagation
        && !matches!(policy.as_str(), "Background" | "Foreground" | "Orphan")
    {
        let allowed = ["Foreground", "Background", "Orphan", "nil"];
        let error = FieldError::not_supported("propagationPolicy", &policy.as_str().into(), &allowed);
        return Err(Status::invalid("DeleteOptions", "meta.k8s.io", "", &[error]));
    }
    Ok(options)
}
