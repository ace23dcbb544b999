//! How a simulated pod behaves: its probes and restart policy, and the annotations of its template.
//!
//! Annotations (durations such as `500ms`, `5s`, `1m30s`, or plain seconds):
//! - `sim.driftless.dev/ready-after`: ready that long after its containers start, at the earliest
//! - `sim.driftless.dev/crash-after`: its containers exit with code 1 that long after each start
//! - `sim.driftless.dev/never-ready`: `true`: its readiness probe never succeeds
//! - `sim.driftless.dev/complete-after`: how long it runs where its restart policy lets it end (300 ms otherwise)
//! - `sim.driftless.dev/stop-after`: how long it takes to stop, at most its grace period (100 to 300 ms otherwise)

use super::super::controllers::meta::{annotation, int, text, uid};
use crate::object::Digest;
use serde_json::Value;

/// Longest duration that an annotation can ask for, in milliseconds: a year.
const LONGEST: i64 = 365 * 86_400_000;

/// What a pod's annotations ask for, in milliseconds.
pub struct Behaviour {
    /// Ready no earlier than this after a start.
    pub ready_after: i64,
    /// Ends with an error this long after each start.
    pub crash_after: Option<i64>,
    /// Never becomes ready.
    pub never_ready: bool,
    /// Ends well this long after its start; `None` if it runs for ever.
    pub complete_after: Option<i64>,
    /// Takes this long to stop.
    pub stop_after: i64,
    /// 0 to 175 in steps of 25, always the same for the same pod: pods that start together are spread a little, and
    /// still share their moments.
    pub jitter: i64,
}

impl Behaviour {
    /// Reads a pod.
    pub fn of(pod: &Value) -> Self {
        let duration = |name: &str| annotation(pod, &format!("sim.driftless.dev/{name}")).and_then(parse_duration);
        let jitter = jitter(uid(pod));
        let ends = matches!(text(&pod["spec"]["restartPolicy"]), "Never" | "OnFailure");
        Self {
            ready_after: duration("ready-after").unwrap_or(0),
            crash_after: duration("crash-after").map(|after| after.max(1)),
            never_ready: annotation(pod, "sim.driftless.dev/never-ready").is_some_and(|value| value != "false"),
            complete_after: ends.then(|| duration("complete-after").unwrap_or(300 + jitter)),
            stop_after: duration("stop-after").unwrap_or(100 + jitter),
            jitter,
        }
    }

    /// When a container that starts at 0 is ready, in milliseconds; `None` if never. Probes succeed at once: their
    /// delays are what is honoured.
    pub fn ready_delay(&self, container: &Value) -> Option<i64> {
        if self.never_ready {
            return None;
        }
        let probes = first_success(&container["readinessProbe"]).max(Self::startup_delay(container));
        Some(probes.max(self.ready_after))
    }

    /// When its startup probe has succeeded, in milliseconds after its start.
    pub fn startup_delay(container: &Value) -> i64 {
        first_success(&container["startupProbe"])
    }
}

/// When a probe has succeeded often enough: the first one after the initial delay, the others a period apart.
fn first_success(probe: &Value) -> i64 {
    if !probe.is_object() {
        return 0;
    }
    let period = probe["periodSeconds"].as_i64().unwrap_or(10).clamp(1, 86_400);
    let successes = probe["successThreshold"].as_i64().unwrap_or(1).clamp(1, 1000);
    int(&probe["initialDelaySeconds"]).clamp(0, 86_400) * 1000 + (successes - 1) * period * 1000
}

/// Spreads pods a little, the same way every time.
fn jitter(uid: &str) -> i64 {
    let digest = Digest::of_bytes(uid.as_bytes());
    i64::from_str_radix(digest.short(4), 16).unwrap_or(0) % 8 * 25
}

/// `1h2m3s`, `500ms`, `2.5s` or a number of seconds, in milliseconds.
pub fn parse_duration(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return bounded(seconds * 1000.0);
    }
    let (mut rest, mut total) = (text, 0.0);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, tail) = rest.split_at(end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        total += number.parse::<f64>().ok()?
            * match unit {
                "ms" => 1.0,
                "s" => 1000.0,
                "m" => 60_000.0,
                "h" => 3_600_000.0,
                _ => return None,
            };
        rest = tail;
    }
    if text.is_empty() { None } else { bounded(total) }
}

fn bounded(millis: f64) -> Option<i64> {
    (millis.is_finite() && millis >= 0.0).then(|| (millis as i64).min(LONGEST))
}

/// Go's way to write whole seconds: `10s`, `1m20s`, `5m0s`.
pub fn go_seconds(seconds: i64) -> String {
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m{}s", seconds / 60, seconds % 60) }
}

/// Why an image cannot be pulled, in containerd's words; `None` if it can: a tag that holds `bad`, or a registry
/// under the domain `.invalid` (RFC 2606: it never exists).
pub fn pull_error(image: &str) -> Option<String> {
    let (path, _) = image.split_once('@').unwrap_or((image, ""));
    let (name, tag) = match path.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (path, "latest"),
    };
    let (registry, repository) = match name.split_once('/') {
        Some((host, rest)) if host.contains('.') || host.contains(':') || host == "localhost" => {
            (host, rest.to_owned())
        }
        Some(_) => ("docker.io", name.to_owned()),
        None => ("docker.io", format!("library/{name}")),
    };
    let reference = format!("{registry}/{repository}:{tag}");
    let failed =
        format!("failed to pull and unpack image \"{reference}\": failed to resolve reference \"{reference}\"");
    let host = registry.split(':').next().unwrap_or_default();
    if host.ends_with(".invalid") {
        let url = format!("https://{registry}/v2/{repository}/manifests/{tag}");
        Some(format!("{failed}: failed to do request: Head \"{url}\": dial tcp: lookup {host}: no such host"))
    } else if tag.contains("bad") {
        Some(format!("{failed}: {reference}: not found"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn durations() {
        for (text, expected) in [
            ("5s", Some(5000)),
            ("500ms", Some(500)),
            ("1m30s", Some(90_000)),
            ("1.5s", Some(1500)),
            ("7", Some(7000)),
            ("", None),
            ("s", None),
            ("5x", None),
            ("-5s", None),
            ("1e300", Some(LONGEST)),
            ("NaN", None),
        ] {
            assert_eq!(parse_duration(text), expected, "{text:?}");
        }
        assert_eq!([go_seconds(10), go_seconds(80), go_seconds(300)], ["10s", "1m20s", "5m0s"]);
    }

    #[test]
    fn images() {
        for (image, pulls) in [
            ("web", true),
            ("web:1", true),
            ("web:bad", false),
            ("web:1-bad2", false),
            ("bad/web:1", true),
            ("registry.invalid/web:1", false),
            ("registry.invalid:5000/web", false),
            ("localhost:5000/bad", true),
            ("web:1@sha256:abc", true),
        ] {
            assert_eq!(pull_error(image).is_none(), pulls, "{image}");
        }
        assert_eq!(
            pull_error("web:bad").as_deref(),
            Some(
                "failed to pull and unpack image \"docker.io/library/web:bad\": failed to resolve reference \
                 \"docker.io/library/web:bad\": docker.io/library/web:bad: not found"
            )
        );
    }

    #[test]
    fn probes() {
        let behaviour = |annotations: Value| Behaviour::of(&json!({"metadata": {"annotations": annotations}}));
        let container =
            json!({"readinessProbe": {"initialDelaySeconds": 3, "periodSeconds": 2, "successThreshold": 2}});
        assert_eq!(behaviour(json!({})).ready_delay(&container), Some(5000));
        assert_eq!(behaviour(json!({"sim.driftless.dev/ready-after": "8s"})).ready_delay(&container), Some(8000));
        assert_eq!(behaviour(json!({"sim.driftless.dev/never-ready": "true"})).ready_delay(&container), None);
        let startup = json!({"startupProbe": {"initialDelaySeconds": 4}, "readinessProbe": {}});
        assert_eq!(behaviour(json!({})).ready_delay(&startup), Some(4000));
    }
}
