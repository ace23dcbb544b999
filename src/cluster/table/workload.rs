//! The cells of Jobs and autoscalers.

use super::render::human;
use super::value::{born, condition, list, number, plain, text};
use jiff::Timestamp;
use serde_json::{Value, json};

/// The cells of a Job, up to its age.
pub fn job(o: &Value, now: Timestamp) -> Vec<Value> {
    let succeeded = number(o, "/status/succeeded");
    let completions = match (o.pointer("/spec/completions").and_then(Value::as_i64), number(o, "/spec/parallelism")) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, many) if many > 1 => format!("{succeeded}/1 of {many}"),
        (None, _) => format!("{succeeded}/1"),
    };
    let is = |kind: &str| condition(o, kind).is_some_and(|c| text(c, "/status") == "True");
    let status = if is("Complete") {
        "Complete"
    } else if is("Failed") {
        "Failed"
    } else if o.pointer("/metadata/deletionTimestamp").is_some() {
        "Terminating"
    } else {
        ["Suspended", "FailureTarget", "SuccessCriteriaMet"].into_iter().find(|kind| is(kind)).unwrap_or("Running")
    };
    let time = |pointer: &str| text(o, pointer).parse::<Timestamp>().ok();
    let duration = time("/status/startTime").map_or_else(String::new, |start| {
        let end = time("/status/completionTime").unwrap_or(now);
        human((end - start).total(jiff::Unit::Second).unwrap_or(0.0))
    });
    vec![json!(text(o, "/metadata/name")), json!(status), json!(completions), json!(duration), json!(born(o, now))]
}

/// A metric's present value and its target.
fn metric(spec: &Value, status: Option<&Value>) -> String {
    let (source, named) = match text(spec, "/type") {
        "Resource" => ("resource", true),
        "ContainerResource" => ("containerResource", true),
        "Pods" => ("pods", false),
        "Object" => ("object", false),
        "External" => ("external", false),
        _ => return "<unknown type>".to_owned(),
    };
    let target = spec.pointer(&format!("/{source}/target")).cloned().unwrap_or_default();
    let current = |key: &str| status.and_then(|s| s.pointer(&format!("/{source}/current/{key}"))).map(plain);
    let unknown = || "<unknown>".to_owned();
    let shown = if let Some(average) = target.get("averageValue") {
        let suffix = if matches!(source, "external" | "object") { " (avg)" } else { "" };
        format!("{}/{}{suffix}", current("averageValue").unwrap_or_else(unknown), plain(average))
    } else if named {
        let wanted = target.get("averageUtilization").map_or_else(|| "<auto>".to_owned(), |v| format!("{}%", plain(v)));
        format!("{}/{wanted}", current("averageUtilization").map_or_else(unknown, |v| format!("{v}%")))
    } else {
        format!("{}/{}", current("value").unwrap_or_else(unknown), target.get("value").map(plain).unwrap_or_default())
    };
    if named { format!("{}: {shown}", text(spec, &format!("/{source}/name"))) } else { shown }
}

/// The cells of a HorizontalPodAutoscaler.
pub fn autoscaler(o: &Value, now: Timestamp) -> Vec<Value> {
    let specs = list(o, "/spec/metrics");
    let statuses = list(o, "/status/currentMetrics");
    let shown: Vec<String> = specs.iter().enumerate().map(|(i, spec)| metric(spec, statuses.get(i))).collect();
    let metrics = match shown.len() {
        0 => "<none>".to_owned(),
        n if n > 2 => format!("{} + {} more...", shown[..2].join(", "), n - 2),
        _ => shown.join(", "),
    };
    let min = o.pointer("/spec/minReplicas").map_or_else(|| "<unset>".to_owned(), plain);
    vec![
        json!(text(o, "/metadata/name")),
        json!(format!("{}/{}", text(o, "/spec/scaleTargetRef/kind"), text(o, "/spec/scaleTargetRef/name"))),
        json!(metrics),
        json!(min),
        json!(number(o, "/spec/maxReplicas")),
        json!(number(o, "/status/currentReplicas")),
        json!(born(o, now)),
    ]
}
