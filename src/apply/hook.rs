//! A hook, run to its end once for one sync.
//!
//! Guarantees: the object carries for which sync it runs, so that a sync that goes on after a crash waits for the run
//! that is under way instead of starting another; its finalizer keeps it, whatever its TTL, until its result was
//! recorded: absent means that it never ran. What an earlier sync left is waited for while it still runs, and then goes.

use super::step::{Hands, Patience, Place, StepError};
use super::write::{self, Written};
use crate::health::Health;
use crate::live::client::{ApiError, Call, Client};
use crate::live::observe::get;
use crate::object::{Live, Manifest, ObjectKey};
use crate::plan::Payload;
use crate::plan::hook::{Deletion, FINALIZER, RUN, is_hook};
use crate::plan::podspec::references;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A hook of a kind whose watch is broken, or that lost its label, is asked for so often.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Creations tried where another process was faster.
const TRIES: usize = 3;
/// Lines of a failed pod's log that are told.
const LOG_LINES: &str = "10";
/// Bytes of a log that are read.
const LOG_BYTES: &str = "4096";
/// Characters of it that are told.
const LOG_TOLD: usize = 1000;

/// Shorter values of a Secret are not looked for in a log: `true` or `1` is in every one.
const SHORTEST_SECRET: usize = 5;

/// How a run stands.
enum Run {
    /// Not ended.
    Going,
    /// Ended well.
    Succeeded,
    /// Ended badly: why.
    Failed(String),
}

impl Hands<'_> {
    /// Runs a hook to its end.
    pub(super) async fn hook(
        &self,
        at: &Place<'_>,
        body: &Payload,
        patience: &Patience<'_>,
    ) -> Result<Written, StepError> {
        let mut made = None;
        for _ in 0..TRIES {
            match get(&self.engine.client, at.kind, at.version, &at.key).await? {
                Some(live) if live.annotation(RUN) == Some(self.run) => {
                    made = Some(Written { live, warnings: Vec::new() });
                    break;
                }
                Some(live) => self.clear(at, live, patience).await?,
                None => {}
            }
            match self.create(at, body).await {
                Ok(written) => {
                    made = Some(written);
                    break;
                }
                // Somebody was faster, or the answer was lost: what is there tells.
                Err(error) if error.is_already_exists() || matches!(error, ApiError::Unreachable { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let Some(written) = made else {
            return Err(StepError::Hook {
                uid: None,
                message: "it could not be created: something makes it anew".into(),
            });
        };
        let live = self.ended(at, written.live, patience).await?;
        Ok(Written { live, warnings: written.warnings })
    }

    async fn create(&self, at: &Place<'_>, body: &Payload) -> Result<Written, ApiError> {
        let mut body = body.0.clone();
        body["metadata"]["annotations"][RUN] = json!(self.run);
        if runs(&at.key) {
            let finalizers = body["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
            body["metadata"]["finalizers"] = finalizers.into_iter().chain([json!(FINALIZER)]).collect();
        }
        let collection = at.kind.collection_path(at.version, at.key.namespace.as_deref());
        let written = write::create_own(&self.engine.client, &collection, &body).await?;
        self.engine.eyes.members.absorb(&std::sync::Arc::new(written.live.clone()));
        Ok(written)
    }

    /// Removes what is there from an earlier sync, or another tool's run of the same hook. One that still runs is given
    /// half of the time that is left: a migration is not cut off because a newer commit arrived.
    async fn clear(&self, at: &Place<'_>, live: Live, patience: &Patience<'_>) -> Result<(), StepError> {
        if !is_hook(&live) && live.annotation(RUN).is_none() {
            let message =
                "an object of this name is there and is no hook: rename the hook, or remove the object".into();
            return Err(StepError::Hook { uid: None, message });
        }
        let uid = live.uid().unwrap_or_default().to_owned();
        let left = match self.has_begun(at, &live).await {
            true => patience.deadline.saturating_duration_since(Instant::now()),
            // Nothing of it runs, an image that cannot be pulled perhaps: nothing is cut off.
            false => Duration::ZERO,
        };
        let half = Patience { deadline: Instant::now() + left / 2, cancel: patience.cancel };
        match self.ended(at, live, &half).await {
            Ok(_) | Err(StepError::Hook { .. }) => {}
            Err(error) => return Err(error),
        }
        self.let_go(at, &uid).await?;
        self.delete(at, &uid, patience).await
    }

    /// True unless no container of a Job's pods ever began.
    async fn has_begun(&self, at: &Place<'_>, live: &Live) -> bool {
        let Some(namespace) = at.key.namespace.as_deref().filter(|_| live.key().is("batch", "Job")) else {
            return true;
        };
        let Some(pod) = newest_pod(&self.engine.client, namespace, &at.key).await else { return true };
        container_statuses(&pod).any(|status| {
            let began =
                |state: &str| status[state].get("running").is_some() || status[state].get("terminated").is_some();
            began("state") || began("lastState")
        })
    }

    /// Waits until a run has ended.
    async fn ended(&self, at: &Place<'_>, mut live: Live, patience: &Patience<'_>) -> Result<Live, StepError> {
        let uid = live.uid().unwrap_or_default().to_owned();
        let failed = |message: String| StepError::Hook { uid: Some(uid.clone()), message };
        let mut pulse = self.engine.eyes.members.changes();
        loop {
            pulse.borrow_and_update();
            match self.run_of(&live) {
                Run::Succeeded => return Ok(live),
                Run::Failed(why) => {
                    let pod = self.pod(at, &live).await;
                    return Err(failed(self.with_log(at, &live, pod, why).await));
                }
                Run::Going if Instant::now() >= patience.deadline => {
                    let pod = self.pod(at, &live).await;
                    let why = self.unfinished(at, pod.as_ref());
                    return Err(failed(self.with_log(at, &live, pod, why).await));
                }
                Run::Going => {}
            }
            let limit = patience.deadline.min(Instant::now() + LOOK_AGAIN);
            let known = live.resource_version().map(str::to_owned);
            loop {
                let news = || {
                    let seen = self.engine.eyes.members.find(&at.key).filter(|seen| seen.uid() == Some(&uid));
                    seen.filter(|seen| seen.resource_version() != known.as_deref())
                };
                if let Some(seen) = news() {
                    live = (*seen).clone();
                    break;
                }
                tokio::select! {
                    _ = pulse.changed() => continue,
                    () = tokio::time::sleep_until(limit.into()) => {}
                    () = patience.cancel.cancelled() => return Err(StepError::Cancelled),
                }
                let found = get(&self.engine.client, at.kind, at.version, &at.key).await?;
                match found.filter(|found| found.uid() == Some(&uid)) {
                    Some(found) => live = found,
                    None => return Err(failed("it was deleted while it ran".into())),
                }
                break;
            }
        }
    }

    fn run_of(&self, live: &Live) -> Run {
        let text = |pointer: &str| live.at(pointer).and_then(Value::as_str).unwrap_or_default();
        let key = live.key();
        if key.is("batch", "Job") {
            let conditions = live.at("/status/conditions").and_then(Value::as_array).into_iter().flatten();
            let of = |kind: &str| {
                conditions.clone().find(|c| c["type"] == kind && c["status"] == "True").map(|condition| {
                    let part = |name: &str| condition[name].as_str().unwrap_or_default();
                    format!("{}: {}", part("reason"), part("message"))
                })
            };
            return match (of("Complete"), of("Failed")) {
                (Some(_), _) => Run::Succeeded,
                (_, Some(why)) => Run::Failed(why),
                _ => Run::Going,
            };
        }
        if key.is("", "Pod") {
            return match text("/status/phase") {
                "Succeeded" => Run::Succeeded,
                "Failed" => {
                    Run::Failed(format!("{} {}", text("/status/reason"), text("/status/message")).trim().into())
                }
                _ => Run::Going,
            };
        }
        match self.engine.doctor.assess(live, Timestamp::now()).health {
            Health::Progressing => Run::Going,
            Health::Degraded => Run::Failed("it is Degraded".into()),
            _ => Run::Succeeded,
        }
    }

    /// The pod of a run: itself, or a Job's newest one.
    async fn pod(&self, at: &Place<'_>, live: &Live) -> Option<Value> {
        match at.key.kind.as_str() {
            "Pod" => Some(live.value().clone()),
            "Job" => newest_pod(&self.engine.client, at.key.namespace.as_deref()?, &at.key).await,
            _ => None,
        }
    }

    /// Why a run has not ended by now: what its pod says of itself.
    fn unfinished(&self, at: &Place<'_>, pod: Option<&Value>) -> String {
        let late = "it did not end in time".to_owned();
        if !runs(&at.key) {
            return late;
        }
        let Some(mut pod) = pod.cloned() else { return format!("{late}: it has no pod") };
        // Items of a list do not say what they are.
        pod["apiVersion"] = "v1".into();
        pod["kind"] = "Pod".into();
        let pod = Live(pod);
        let assessment = self.engine.doctor.assess(&pod, Timestamp::now());
        match assessment.message.as_str() {
            "" => late,
            message => format!("{late}; pod {} is {}: {message}", pod.key().name, assessment.health),
        }
    }

    /// The failure with the last lines of its pod's log.
    async fn with_log(&self, at: &Place<'_>, live: &Live, pod: Option<Value>, why: String) -> String {
        let why = if why.is_empty() { "it failed".to_owned() } else { why };
        match self.last_lines(at, live, &pod.unwrap_or_default()).await {
            Some((pod, log)) => format!("{why}; the last lines of pod {pod}: {log}"),
            None => why,
        }
    }

    async fn last_lines(&self, at: &Place<'_>, live: &Live, pod: &Value) -> Option<(String, String)> {
        let client = &self.engine.client;
        let namespace = at.key.namespace.as_deref()?;
        let name = pod.pointer("/metadata/name")?.as_str()?.to_owned();
        let container = failed_container(pod)?;
        let call = Call::get(format!("/api/v1/namespaces/{namespace}/pods/{name}/log"))
            .with("container", container)
            .with("tailLines", LOG_LINES)
            .with("limitBytes", LOG_BYTES);
        let mut log = client.text(&call).await.ok()?;
        for value in self.secret_values(at, live).await {
            log = log.replace(&value, "***");
        }
        let clean: String = log.trim().chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
        let start = clean.char_indices().rev().nth(LOG_TOLD).map_or(0, |(at, _)| at);
        let told = clean.get(start..).unwrap_or_default().replace('\n', " | ");
        (!told.is_empty()).then_some((name, told))
    }

    /// Values of the Secrets that its pods use: a log that repeats one must not carry it on.
    async fn secret_values(&self, at: &Place<'_>, live: &Live) -> Vec<String> {
        let mut out = Vec::new();
        let used = references(&at.key, live.value());
        for secret in used.iter().filter(|key| key.is("", "Secret")) {
            let namespace = secret.namespace.as_deref().unwrap_or_default();
            let call = Call::get(format!("/api/v1/namespaces/{namespace}/secrets/{}", secret.name));
            let Ok(found) = self.engine.client.send(&call).await else { continue };
            let data = found.body.get("data").and_then(Value::as_object).into_iter().flatten();
            let texts = data.filter_map(|(_, value)| String::from_utf8(STANDARD.decode(value.as_str()?).ok()?).ok());
            out.extend(texts.map(|text| text.trim().to_owned()).filter(|text| text.len() >= SHORTEST_SECRET));
        }
        // The longest first: one may be a part of another.
        out.sort_by_key(|value| std::cmp::Reverse(value.len()));
        out
    }

    /// After its result was recorded: the object may go, and does where its policy says so.
    pub(super) async fn end_hook(
        &self,
        at: &Place<'_>,
        uid: &str,
        succeeded: bool,
        deletion: Deletion,
    ) -> Result<(), StepError> {
        self.let_go(at, uid).await?;
        if if succeeded { deletion.on_success } else { deletion.on_failure } {
            let client = &self.engine.client;
            let this = write::Precondition { uid, resource_version: None };
            write::delete(client, at.kind, at.version, &at.key, this, write::Propagation::Foreground).await?;
            self.engine.eyes.members.forget(&at.key, Some(uid));
        }
        Ok(())
    }

    /// Takes our finalizer off.
    async fn let_go(&self, at: &Place<'_>, uid: &str) -> Result<(), StepError> {
        for _ in 0..TRIES {
            let found = get(&self.engine.client, at.kind, at.version, &at.key).await?;
            let Some(live) = found.filter(|live| live.uid() == Some(uid)) else { return Ok(()) };
            let finalizers = live.at("/metadata/finalizers").and_then(Value::as_array).cloned().unwrap_or_default();
            let Some(place) = finalizers.iter().position(|name| name == FINALIZER) else { return Ok(()) };
            let path = format!("/metadata/finalizers/{place}");
            let patch = json!([
                {"op": "test", "path": "/metadata/uid", "value": uid},
                {"op": "test", "path": path, "value": FINALIZER},
                {"op": "remove", "path": path},
            ]);
            match write::json_patch(&self.engine.client, at.kind, at.version, &at.key, &patch).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_not_found() => return Ok(()),
                // The list changed meanwhile: looked at again.
                Err(error) if error.is_conflict() || error.code() == Some(422) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Kinds that end, and that a controller may remove afterwards.
fn runs(key: &ObjectKey) -> bool {
    key.is("batch", "Job") || key.is("", "Pod")
}

async fn newest_pod(client: &Client, namespace: &str, job: &ObjectKey) -> Option<Value> {
    let call = Call::get(format!("/api/v1/namespaces/{namespace}/pods"))
        .with("labelSelector", format!("job-name={}", job.name))
        .with("limit", "50");
    let mut list = client.send_patiently(&call).await.ok()?.body;
    let items = list.get_mut("items")?.as_array_mut()?;
    let created = |pod: &Value| pod.pointer("/metadata/creationTimestamp").and_then(Value::as_str).map(str::to_owned);
    items.sort_by_key(created);
    items.pop()
}

fn container_statuses(pod: &Value) -> impl Iterator<Item = &Value> {
    let of = |name| pod.get("status")?.get(name)?.as_array();
    ["initContainerStatuses", "containerStatuses"].into_iter().filter_map(of).flatten()
}

/// The container that failed, or the first one.
fn failed_container(pod: &Value) -> Option<String> {
    let code = |status: &Value| {
        let exit = |state: &str| status.pointer(&format!("/{state}/terminated/exitCode")).and_then(Value::as_i64);
        exit("state").or_else(|| exit("lastState")).unwrap_or(0)
    };
    let failed = container_statuses(pod).find(|status| code(status) != 0);
    let first = pod.pointer("/spec/containers/0");
    Some(failed.or(first)?.get("name")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_container_that_failed_is_asked() {
        let status = |name: &str, code: i64| json!({"name": name, "state": {"terminated": {"exitCode": code}}});
        let pod = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]},
            "status": {"containerStatuses": [status("a", 0), status("b", 3)]}});
        assert_eq!(failed_container(&pod).as_deref(), Some("b"));
        assert_eq!(failed_container(&json!({"spec": {"containers": [{"name": "a"}]}})).as_deref(), Some("a"));
    }
}
