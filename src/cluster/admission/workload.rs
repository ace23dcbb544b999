//! Validation of the kinds that run pods, and of what stands around them.
//! Source: k8s.io/kubernetes/pkg/apis/{apps,batch,autoscaling,policy,networking}/validation/validation.go.

use super::metadata;
use super::pod::{self, list, non_negative, one_of, text};
use crate::cluster::selectors::LabelSelector;
use crate::cluster::status::FieldError;
use serde_json::{Map, Value, json};

/// Checks selector and template of Deployment, ReplicaSet, StatefulSet and DaemonSet.
pub fn selected_template(kind: &str, value: &Value, errors: &mut Vec<FieldError>) {
    let Some(spec) = value.get("spec") else { return };
    non_negative(spec, "replicas", "spec", errors);
    non_negative(spec, "minReadySeconds", "spec", errors);
    non_negative(spec, "revisionHistoryLimit", "spec", errors);
    let selector = spec.get("selector").filter(|s| !s.is_null());
    let empty = |s: &Value| {
        s.as_object().is_none_or(|m| {
            m.values().all(|v| v.as_object().is_some_and(Map::is_empty) || v.as_array().is_some_and(Vec::is_empty))
        })
    };
    match selector {
        None => errors.push(FieldError::required("spec.selector", "")),
        Some(selector) => {
            metadata::label_selector(selector, "spec.selector", errors);
            if empty(selector) {
                let text = format!("empty selector is invalid for {}", kind.to_lowercase());
                errors.push(FieldError::invalid("spec.selector", selector, &text));
            }
        }
    }
    let none = Value::Object(Map::new());
    let template = spec.get("template").unwrap_or(&none);
    let labels = template.pointer("/metadata/labels");
    let sound = errors.iter().all(|e| !e.field.starts_with("spec.selector."));
    if let (Some(selector), false) = (selector, sound) {
        errors.push(FieldError::invalid("spec.selector", selector, "invalid label selector"));
        return;
    }
    let matches = selector.is_some_and(|s| LabelSelector::from_object(s).matches_labels(labels));
    if !matches {
        let shown = labels.cloned().unwrap_or(Value::Null);
        let text = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid("spec.template.metadata.labels", &shown, text));
    }
    pod::template(template, "spec.template", errors);
    let policy = template.pointer("/spec/restartPolicy").and_then(Value::as_str).unwrap_or("Always");
    if policy != "Always" && matches!(policy, "OnFailure" | "Never") {
        let field = "spec.template.spec.restartPolicy";
        errors.push(FieldError::not_supported(field, &policy.into(), &["Always"]));
    }
    if template.pointer("/spec/activeDeadlineSeconds").is_some() {
        let text = "activeDeadlineSeconds in ReplicaSet is not Supported";
        errors.push(FieldError::forbidden("spec.template.spec.activeDeadlineSeconds", text));
    }
}

fn amount(value: Option<&Value>) -> Option<i64> {
    match value {
        Some(Value::Number(n)) => n.as_i64(),
        Some(Value::String(s)) => s.trim_end_matches('%').parse().ok(),
        _ => None,
    }
}

fn int_or_percent(value: Option<&Value>, field: &str, errors: &mut Vec<FieldError>) {
    match value {
        Some(Value::String(s)) => {
            let digits = s.strip_suffix('%').unwrap_or("x");
            if digits.is_empty() || !digits.chars().all(|c| c.is_ascii_digit()) {
                let text = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%', or '93%', regex used for validation is '[0-9]+%')";
                errors.push(FieldError::invalid(field, &s.as_str().into(), text));
            }
        }
        Some(Value::Number(n)) if n.as_i64().is_some_and(|n| n < 0) => {
            let value = Value::Number(n.clone());
            errors.push(FieldError::invalid(field, &value, "must be greater than or equal to 0"));
        }
        _ => {}
    }
}

fn not_over_hundred(value: Option<&Value>, field: &str, errors: &mut Vec<FieldError>) {
    if let Some(Value::String(s)) = value
        && amount(value).is_some_and(|n| n > 100)
    {
        errors.push(FieldError::invalid(field, &s.as_str().into(), "must not be greater than 100%"));
    }
}

/// Checks a Deployment.
pub fn deployment(value: &Value, errors: &mut Vec<FieldError>) {
    selected_template("Deployment", value, errors);
    let Some(spec) = value.get("spec") else { return };
    let strategy = spec.get("strategy").cloned().unwrap_or_default();
    let rolling = strategy.get("rollingUpdate");
    match text(&strategy, "type") {
        "Recreate" if rolling.is_some() => {
            let text = "may not be specified when strategy `type` is 'Recreate'";
            errors.push(FieldError::forbidden("spec.strategy.rollingUpdate", text));
        }
        "RollingUpdate" => {
            let (unavailable, surge) =
                (rolling.and_then(|r| r.get("maxUnavailable")), rolling.and_then(|r| r.get("maxSurge")));
            let at = "spec.strategy.rollingUpdate";
            int_or_percent(unavailable, &format!("{at}.maxUnavailable"), errors);
            int_or_percent(surge, &format!("{at}.maxSurge"), errors);
            if amount(unavailable) == Some(0) && amount(surge) == Some(0) {
                let shown = unavailable.cloned().unwrap_or_default();
                let text = "may not be 0 when `maxSurge` is 0";
                errors.push(FieldError::invalid(format!("{at}.maxUnavailable"), &shown, text));
            }
            not_over_hundred(unavailable, &format!("{at}.maxUnavailable"), errors);
        }
        "Recreate" => {}
        _ => errors.push(FieldError::not_supported("spec.strategy", &strategy, &["Recreate", "RollingUpdate"])),
    }
    let number = |key: &str| spec.get(key).and_then(Value::as_i64);
    if let Some(deadline) = number("progressDeadlineSeconds") {
        non_negative(spec, "progressDeadlineSeconds", "spec", errors);
        if deadline <= number("minReadySeconds").unwrap_or(0) {
            let text = "must be greater than minReadySeconds";
            errors.push(FieldError::invalid("spec.progressDeadlineSeconds", &deadline.into(), text));
        }
    }
}

/// Checks a StatefulSet.
pub fn stateful_set(value: &Value, errors: &mut Vec<FieldError>) {
    let Some(spec) = value.get("spec") else { return };
    one_of(spec, "podManagementPolicy", "spec.podManagementPolicy", &["OrderedReady", "Parallel"], errors);
    let strategy = spec.get("updateStrategy").cloned().unwrap_or_default();
    if !matches!(text(&strategy, "type"), "RollingUpdate" | "OnDelete") {
        let shown = text(&strategy, "type");
        let text = "must be 'RollingUpdate' or 'OnDelete'";
        errors.push(FieldError::invalid("spec.updateStrategy", &shown.into(), text));
    }
    selected_template("StatefulSet", value, errors);
}

/// Checks a DaemonSet.
pub fn daemon_set(value: &Value, errors: &mut Vec<FieldError>) {
    selected_template("DaemonSet", value, errors);
    let Some(strategy) = value.pointer("/spec/updateStrategy") else { return };
    let allowed = ["OnDelete", "RollingUpdate"];
    one_of(strategy, "type", "spec.updateStrategy.type", &allowed, errors);
}

/// Checks the spec of a Job, its own or a CronJob's.
pub fn job_spec(spec: &Value, at: &str, errors: &mut Vec<FieldError>) {
    for key in ["parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"] {
        non_negative(spec, key, at, errors);
    }
    if let Some(template) = spec.get("template") {
        pod::template(template, &format!("{at}.template"), errors);
        let policy = template.pointer("/spec/restartPolicy").and_then(Value::as_str).unwrap_or("Always");
        if !matches!(policy, "OnFailure" | "Never") {
            let field = format!("{at}.template.spec.restartPolicy");
            errors.push(if policy == "Always" {
                FieldError::required(field, "valid values: \"OnFailure\", \"Never\"")
            } else {
                FieldError::not_supported(field, &policy.into(), &["Never", "OnFailure"])
            });
        }
    }
}

/// Checks a Job.
pub fn job(value: &Value, errors: &mut Vec<FieldError>) {
    let Some(spec) = value.get("spec") else { return };
    job_spec(spec, "spec", errors);
    let labels = spec.pointer("/template/metadata/labels");
    if let Some(selector) = spec.get("selector")
        && !LabelSelector::from_object(selector).matches_labels(labels)
    {
        let shown = labels.cloned().unwrap_or(Value::Null);
        let text = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid("spec.template.metadata.labels", &shown, text));
    }
}

/// Checks a CronJob.
pub fn cron_job(value: &Value, errors: &mut Vec<FieldError>) {
    let Some(spec) = value.get("spec") else { return };
    let schedule = text(spec, "schedule");
    if schedule.is_empty() {
        errors.push(FieldError::required("spec.schedule", ""));
    } else {
        let plain = schedule.starts_with('@');
        let fields = schedule.split_whitespace().count();
        if !plain && fields != 5 {
            let text = format!(
                "expected exactly 5 fields, found {fields}: [{}]",
                schedule.split_whitespace().collect::<Vec<_>>().join(" ")
            );
            errors.push(FieldError::invalid("spec.schedule", &schedule.into(), &text));
        } else if !plain && let Err(why) = schedule.parse::<croner::Cron>() {
            errors.push(FieldError::invalid("spec.schedule", &schedule.into(), &why.to_string()));
        }
    }
    let zone = text(spec, "timeZone");
    if !zone.is_empty() && jiff::tz::TimeZone::get(zone).is_err() {
        errors.push(FieldError::invalid("spec.timeZone", &zone.into(), &format!("unknown time zone {zone}")));
    }
    one_of(spec, "concurrencyPolicy", "spec.concurrencyPolicy", &["Allow", "Forbid", "Replace"], errors);
    for key in ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        non_negative(spec, key, "spec", errors);
    }
    if let Some(job) = spec.pointer("/jobTemplate/spec") {
        job_spec(job, "spec.jobTemplate.spec", errors);
    }
}

/// Checks a HorizontalPodAutoscaler (`autoscaling/v2`).
pub fn autoscaler(value: &Value, errors: &mut Vec<FieldError>) {
    let Some(spec) = value.get("spec") else { return };
    let number = |key: &str| spec.get(key).and_then(Value::as_i64);
    let (min, max) = (number("minReplicas"), number("maxReplicas").unwrap_or(0));
    if let Some(min) = min
        && min < 1
    {
        errors.push(FieldError::invalid("spec.minReplicas", &min.into(), "must be greater than or equal to 1"));
    }
    if max < 1 {
        errors.push(FieldError::required("spec.maxReplicas", "must be set and greater than 0"));
    }
    if let Some(min) = min
        && max < min
    {
        let text = "must be greater than or equal to `minReplicas`";
        errors.push(FieldError::invalid("spec.maxReplicas", &max.into(), text));
    }
    let target = spec.get("scaleTargetRef").cloned().unwrap_or_default();
    for key in ["kind", "name"] {
        if text(&target, key).is_empty() {
            errors.push(FieldError::required(format!("spec.scaleTargetRef.{key}"), ""));
        }
    }
    if !text(&target, "apiVersion").contains('/') {
        let field = "spec.scaleTargetRef.apiVersion";
        errors.push(FieldError::invalid(
            field,
            &text(&target, "apiVersion").into(),
            "apiVersion must specify API group",
        ));
    }
}

/// Checks a PodDisruptionBudget.
pub fn disruption_budget(value: &Value, errors: &mut Vec<FieldError>) {
    let Some(spec) = value.get("spec") else { return };
    let (min, max) = (spec.get("minAvailable"), spec.get("maxUnavailable"));
    if min.is_some() && max.is_some() {
        // Errors show the internal struct.
        let shown = json!({"MinAvailable": min, "Selector": spec.get("selector"), "MaxUnavailable": max,
            "UnhealthyPodEvictionPolicy": spec.get("unhealthyPodEvictionPolicy")});
        errors.push(FieldError::invalid("spec", &shown, "minAvailable and maxUnavailable cannot be both set"));
    }
    for (key, found) in [("minAvailable", min), ("maxUnavailable", max)] {
        int_or_percent(found, &format!("spec.{key}"), errors);
        not_over_hundred(found, &format!("spec.{key}"), errors);
    }
    if let Some(selector) = spec.get("selector") {
        metadata::label_selector(selector, "spec.selector", errors);
    }
}

/// Checks an Ingress.
pub fn ingress(value: &Value, errors: &mut Vec<FieldError>) {
    let Some(spec) = value.get("spec") else { return };
    let rules = list(spec, "rules");
    if rules.is_empty() && spec.get("defaultBackend").is_none() {
        let text = "either `defaultBackend` or `rules` must be specified";
        errors.push(FieldError::invalid("spec", &Value::Null, text));
    }
    if let Some(backend) = spec.get("defaultBackend") {
        ingress_backend(backend, "spec.defaultBackend", errors);
    }
    for (i, rule) in rules.iter().enumerate() {
        let host = text(rule, "host");
        let bare = host.strip_prefix("*.").unwrap_or(host);
        if !bare.is_empty() {
            let wrong = metadata::dns_subdomain(bare);
            errors.extend(wrong.iter().map(|e| FieldError::invalid(format!("spec.rules[{i}].host"), &host.into(), e)));
        }
        let Some(http) = rule.get("http") else { continue };
        let paths = list(http, "paths");
        if paths.is_empty() {
            errors.push(FieldError::required(format!("spec.rules[{i}].http.paths"), ""));
        }
        for (j, path) in paths.iter().enumerate() {
            let at = format!("spec.rules[{i}].http.paths[{j}]");
            let (kind, found) = (text(path, "pathType"), text(path, "path"));
            match kind {
                "" => errors.push(FieldError::required(format!("{at}.pathType"), "pathType must be specified")),
                "Exact" | "Prefix" if !found.starts_with('/') => {
                    errors.push(FieldError::invalid(format!("{at}.path"), &found.into(), "must be an absolute path"));
                }
                "Exact" | "Prefix" | "ImplementationSpecific" => {}
                other => errors.push(FieldError::not_supported(
                    format!("{at}.pathType"),
                    &other.into(),
                    &["Exact", "ImplementationSpecific", "Prefix"],
                )),
            }
            let none = Value::Object(Map::new());
            ingress_backend(path.get("backend").unwrap_or(&none), &format!("{at}.backend"), errors);
        }
    }
}

fn ingress_backend(backend: &Value, at: &str, errors: &mut Vec<FieldError>) {
    let (service, resource) = (backend.get("service"), backend.get("resource"));
    match (service, resource) {
        (None, None) => errors.push(FieldError::required(at, "must specify either service or resource backend")),
        (Some(_), Some(_)) => {
            errors.push(FieldError::invalid(at, &"".into(), "cannot set both resource and service backends"));
        }
        (Some(service), None) => {
            if text(service, "name").is_empty() {
                errors.push(FieldError::required(format!("{at}.service.name"), ""));
            }
            let port = service.get("port").cloned().unwrap_or_default();
            let (name, number) = (!text(&port, "name").is_empty(), port.get("number").is_some());
            if !name && !number {
                errors.push(FieldError::required(at, "port name or number is required"));
            } else if name && number {
                errors.push(FieldError::invalid(at, &"".into(), "cannot set both port name & port number"));
            }
        }
        (None, Some(_)) => {}
    }
}
