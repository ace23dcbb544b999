//! Deletion: preconditions, grace, finalizers, and what is left for controllers to do. Pure.
//! Source: k8s.io/apiserver/pkg/registry/{rest/delete.go,generic/registry/store.go}.

use super::admission::{prepare, warn};
use super::aim::{Aim, DeleteOptions};
use super::crd;
use super::form::{metadata_of, text};
use super::kinds::Kind;
use super::server::ApiServer;
use super::status::Status;
use super::write::strings;
use crate::scheme::decode::time_text;
use jiff::Timestamp;
use serde_json::Value;
use std::sync::Arc;

/// Namespaces that stay (`NamespaceLifecycle`).
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

impl ApiServer {
    /// DELETE. The flag says whether the object is gone.
    pub(super) fn delete(
        &mut self,
        aim: &Aim,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<(Arc<Value>, bool), Status> {
        let kind = Arc::clone(&aim.kind);
        let Some(live) = self.live(aim, name) else { return Err(aim.not_found(name)) };
        self.notes.extend(warn::delete(&kind, options.propagation.as_deref()));
        check_preconditions(&kind, name, &live, options)?;
        if kind.is("", "Namespace") && IMMORTAL.contains(&name) {
            return Err(Status::forbidden(&kind.plural, &kind.gk.group, name, "this namespace may not be deleted"));
        }
        self.review(aim, "DELETE", None, Some(&live))?;
        let mut object = (*live).clone();
        let graceful = match grace(&kind, &object, options, aim.now) {
            Grace::Pending => return Ok((live, false)),
            Grace::None => None,
            Grace::Seconds(seconds, until) => {
                if let Some(metadata) = metadata_of(&mut object) {
                    metadata.insert("deletionTimestamp".into(), time_text(until, false).into());
                    metadata.insert("deletionGracePeriodSeconds".into(), seconds.into());
                }
                if live.pointer("/metadata/deletionTimestamp").is_none()
                    && let Some(generation) = prepare::generation(&object)
                {
                    prepare::set_generation(&mut object, Some(generation + 1));
                }
                Some(seconds)
            }
        };
        let before = strings(&object, "/metadata/finalizers");
        let finalizers = finalizers(&kind, &before, options);
        if let Some(metadata) = metadata_of(&mut object)
            && before != finalizers
        {
            if finalizers.is_empty() {
                metadata.shift_remove("finalizers");
            } else {
                metadata.insert("finalizers".into(), finalizers.clone().into());
            }
        }
        let namespace_content = kind.is("", "Namespace") && !strings(&object, "/spec/finalizers").is_empty();
        let definition = kind.is("apiextensions.k8s.io", "CustomResourceDefinition");
        let definition = definition && object.pointer("/metadata/deletionTimestamp").is_none();
        let stays =
            definition || graceful.is_some_and(|seconds| seconds != 0) || !finalizers.is_empty() || namespace_content;
        if stays {
            if object.pointer("/metadata/deletionTimestamp").is_none() {
                mark_deleting(&kind, &mut object, aim.now);
            }
            if options.dry_run {
                return Ok((Arc::new(object), false));
            }
            if object == *live {
                return Ok((live, false));
            }
            let stored = self.store.put(aim.stored_as(), &aim.namespace, name, object);
            self.after_write(aim.now);
            return Ok((stored, false));
        }
        if options.dry_run {
            return Ok((Arc::new(object), true));
        }
        if graceful.is_some() {
            // Watchers see the end announced before it comes.
            self.store.put(aim.stored_as(), &aim.namespace, name, object);
        }
        let gone = self.store.remove(aim.stored_as(), &aim.namespace, name).ok_or_else(|| aim.not_found(name))?;
        self.after_write(aim.now);
        Ok((gone, true))
    }
}

fn check_preconditions(kind: &Kind, name: &str, live: &Value, options: &DeleteOptions) -> Result<(), Status> {
    let conflict = |why: &str| Err(Status::conflict(&kind.gk.kind, &kind.gk.group, name, why));
    let (uid, version) = (text(live, "/metadata/uid"), text(live, "/metadata/resourceVersion"));
    if let Some(wanted) = &options.uid
        && wanted != uid
    {
        return conflict(&format!(
            "the UID in the precondition ({wanted}) does not match the UID in record ({uid}). The object might have been deleted and then recreated"
        ));
    }
    if let Some(wanted) = &options.version
        && wanted != version
    {
        return conflict(&format!(
            "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({version}). The object might have been modified"
        ));
    }
    Ok(())
}

enum Grace {
    /// The kind is deleted at once.
    None,
    /// A graceful deletion is under way already.
    Pending,
    /// The object stays for so long, until then.
    Seconds(i64, Timestamp),
}

/// Only pods are deleted gracefully (`BeforeDelete`, `podStrategy.CheckGracefulDelete`).
fn grace(kind: &Kind, object: &Value, options: &DeleteOptions, now: Timestamp) -> Grace {
    if !kind.is("", "Pod") {
        return Grace::None;
    }
    let asked = options.grace.map(|seconds| if seconds < 0 { 1 } else { seconds });
    let after =
        |from: Timestamp, seconds: i64| from.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(from);
    if let Some(until) = object.pointer("/metadata/deletionTimestamp").and_then(Value::as_str) {
        let current = object.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0);
        if current == 0 {
            return Grace::None;
        }
        return match asked {
            Some(seconds) if seconds < current => {
                let until: Timestamp = until.parse().unwrap_or(now);
                let earlier = after(after(until, -current), seconds);
                if earlier < now { Grace::Seconds(seconds.min(1), now) } else { Grace::Seconds(seconds, earlier) }
            }
            _ => Grace::Pending,
        };
    }
    let own = object.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0);
    let finished = matches!(text(object, "/status/phase"), "Failed" | "Succeeded");
    let seconds = if text(object, "/spec/nodeName").is_empty() || finished { 0 } else { asked.unwrap_or(own) };
    let seconds = if seconds < 0 { 1 } else { seconds };
    Grace::Seconds(seconds, after(now, seconds))
}

/// Finalizers by which the garbage collector learns how to treat dependents.
fn finalizers(kind: &Kind, before: &[String], options: &DeleteOptions) -> Vec<String> {
    const ORPHAN: &str = "orphan";
    const FOREGROUND: &str = "foregroundDeletion";
    let has = |name: &str| before.iter().any(|f| f == name);
    let (orphan, foreground) = match options.propagation.as_deref() {
        Some("Orphan") => (true, false),
        Some("Foreground") => (false, true),
        Some(_) => (false, false),
        None if has(ORPHAN) => (true, false),
        None if has(FOREGROUND) => (false, true),
        // For compatibility, Jobs leave their pods behind unless asked (`jobStrategy.DefaultGarbageCollectionPolicy`).
        None => (kind.is("batch", "Job"), false),
    };
    if kind.gk.kind == "Event" {
        return before.to_vec();
    }
    let mut out: Vec<String> = before.iter().filter(|f| *f != ORPHAN && *f != FOREGROUND).cloned().collect();
    if orphan {
        out.push(ORPHAN.to_owned());
    }
    if foreground {
        out.push(FOREGROUND.to_owned());
    }
    out
}

/// `markAsDeleting`.
fn mark_deleting(kind: &Kind, object: &mut Value, now: Timestamp) {
    if kind.is("apiextensions.k8s.io", "CustomResourceDefinition") {
        return crd::mark_deleting(object, &time_text(now, false));
    }
    if let Some(generation) = prepare::generation(object)
        && generation > 0
    {
        prepare::set_generation(object, Some(generation + 1));
    }
    let namespace = kind.is("", "Namespace");
    if let Some(metadata) = metadata_of(object) {
        metadata.insert("deletionTimestamp".into(), time_text(now, false).into());
        if !namespace {
            metadata.insert("deletionGracePeriodSeconds".into(), 0.into());
        }
    }
    if namespace {
        object["status"]["phase"] = "Terminating".into();
    }
}
