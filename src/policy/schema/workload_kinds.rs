//! Pods, and the kinds that make, scale or protect them.

use super::faults::Faults;
use super::{metadata, pod, volumes};
use serde_json::Value;

/// Checks a Pod.
pub(super) fn pod(value: &Value, faults: &mut Faults<'_>) {
    pod::spec(value.get("spec"), ".spec", &[], faults);
}

/// Checks a Deployment, StatefulSet, DaemonSet or ReplicaSet.
pub(super) fn controller(kind: &str, value: &Value, faults: &mut Faults<'_>) {
    let Some(spec) = value.get("spec").filter(|spec| spec.is_object()) else {
        faults.add(".spec", "is required", "Add selector and template.");
        return;
    };
    if kind != "DaemonSet" {
        faults.integer(spec.get("replicas"), ".spec.replicas", 0, i64::from(i32::MAX));
    }
    let template = spec.get("template");
    let labels = template.and_then(|template| template.pointer("/metadata/labels"));
    metadata::labels(labels, ".spec.template.metadata.labels", faults);
    selector(spec.get("selector"), labels, faults);
    let mut claims = Vec::new();
    for (index, claim) in faults.list(spec.get("volumeClaimTemplates"), ".spec.volumeClaimTemplates").iter().enumerate()
    {
        claims.extend(claim.pointer("/metadata/name").and_then(Value::as_str));
        volumes::claim(claim.get("spec"), &format!(".spec.volumeClaimTemplates[{index}].spec"), faults);
    }
    let pod_spec = template.and_then(|template| template.get("spec"));
    pod::spec(pod_spec, ".spec.template.spec", &claims, faults);
    let restart = pod_spec.and_then(|spec| spec.get("restartPolicy")).and_then(Value::as_str);
    if matches!(restart, Some("Never" | "OnFailure")) {
        let message = format!("only Always is possible in a {kind}");
        faults.add(".spec.template.spec.restartPolicy", message, "Remove restartPolicy, or use a Job.");
    }
}

/// A selector must be there and select what the template makes.
fn selector(selector: Option<&Value>, labels: Option<&Value>, faults: &mut Faults<'_>) {
    let path = ".spec.selector";
    let Some(selector) = selector.filter(|selector| selector.is_object()) else {
        faults.add(path, "is required", "Select the labels of the template with matchLabels.");
        return;
    };
    let wanted = metadata::entries(selector.get("matchLabels"), ".spec.selector.matchLabels", faults);
    let expressions = faults.list(selector.get("matchExpressions"), ".spec.selector.matchExpressions");
    if wanted.is_empty() && expressions.is_empty() {
        faults.add(path, "is empty", "Select the labels of the template with matchLabels.");
        return;
    }
    metadata::labels(selector.get("matchLabels"), ".spec.selector.matchLabels", faults);
    let have = |key: &str| labels.and_then(|labels| labels.get(key));
    if let Some((key, _)) = wanted.into_iter().find(|(key, value)| have(key) != Some(*value)) {
        let message = format!("does not match the template's labels: {key:?} differs or is missing there");
        faults.add(path, message, "Make .spec.selector.matchLabels a part of .spec.template.metadata.labels.");
    }
}

/// Checks the spec of a Job, or of a CronJob's template.
pub(super) fn job(spec: Option<&Value>, path: &str, faults: &mut Faults<'_>) {
    let template = format!("{path}.template.spec");
    let pod_spec = spec.and_then(|spec| spec.pointer("/template/spec"));
    pod::spec(pod_spec, &template, &[], faults);
    let Some(pod_spec) = pod_spec else { return };
    let restart = pod_spec.get("restartPolicy");
    if matches!(restart.and_then(Value::as_str), None | Some("Always")) && restart.is_none_or(Value::is_string) {
        let message = "a Job needs Never or OnFailure";
        faults.add(&format!("{template}.restartPolicy"), message, "Set restartPolicy: Never (or OnFailure).");
    }
    let spec = spec.unwrap_or(&Value::Null);
    for field in ["completions", "parallelism", "backoffLimit", "ttlSecondsAfterFinished"] {
        faults.integer(spec.get(field), &format!("{path}.{field}"), 0, i64::from(i32::MAX));
    }
}

/// Checks a CronJob.
pub(super) fn cron_job(value: &Value, faults: &mut Faults<'_>) {
    let spec = value.get("spec").unwrap_or(&Value::Null);
    if let Some(schedule) = faults.required_text(spec.get("schedule"), ".spec.schedule") {
        if schedule.contains("TZ=") {
            faults.add(".spec.schedule", "must not hold a time zone", "Use .spec.timeZone.");
        } else if !schedule.starts_with('@') && schedule.split_whitespace().count() != 5 {
            let hint = "Write minute, hour, day of month, month, day of week; or @daily and the like.";
            faults.add(".spec.schedule", format!("{schedule:?} does not have five fields"), hint);
        }
    }
    faults.one_of(spec.get("concurrencyPolicy"), ".spec.concurrencyPolicy", &["Allow", "Forbid", "Replace"]);
    job(spec.pointer("/jobTemplate/spec"), ".spec.jobTemplate.spec", faults);
}

/// Checks a HorizontalPodAutoscaler.
pub(super) fn autoscaler(value: &Value, faults: &mut Faults<'_>) {
    let spec = value.get("spec").unwrap_or(&Value::Null);
    for field in ["kind", "name"] {
        let pointer = format!("/scaleTargetRef/{field}");
        faults.required_text(spec.pointer(&pointer), &format!(".spec.scaleTargetRef.{field}"));
    }
    if spec.get("maxReplicas").is_none_or(Value::is_null) {
        faults.add(".spec.maxReplicas", "is required", "Set the largest number of replicas.");
    }
    let max = faults.integer(spec.get("maxReplicas"), ".spec.maxReplicas", 1, i64::from(i32::MAX));
    let min = faults.integer(spec.get("minReplicas"), ".spec.minReplicas", 0, i64::from(i32::MAX));
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        faults.add(".spec.minReplicas", "is more than maxReplicas", "Raise maxReplicas or lower minReplicas.");
    }
}

/// Checks a PodDisruptionBudget.
pub(super) fn disruption_budget(value: &Value, faults: &mut Faults<'_>) {
    let set = |field: &str| value.get("spec").and_then(|spec| spec.get(field)).is_some_and(|value| !value.is_null());
    if set("minAvailable") && set("maxUnavailable") {
        faults.add(".spec", "only one of minAvailable and maxUnavailable is possible", "Keep one of them.");
    }
}
