//! The API server as controllers meet it: a view of all objects, and writes without HTTP. Pure.

use super::aim::{Aim, DeleteOptions, Patch};
use super::form::{decoded, text};
use super::request::{FieldValidation, WriteOptions};
use super::server::ApiServer;
use super::status::Status;
use super::subresource;
use super::view::{API_SERVER, CONTROLLER_MANAGER, KUBELET, Refusal, SCHEDULER, View, Write};
use crate::object::Gk;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

impl ApiServer {
    /// Carries out what a controller asked for, under its field manager. Out: the name of what was created; else empty.
    pub fn carry_out(&mut self, write: &Write, actor: &str, now: Timestamp) -> Result<String, Refusal> {
        let before = self.acting.replace(component(actor));
        let outcome = self.carried_out(write, actor, now);
        self.acting = before;
        outcome.map_err(|status| Refusal {
            code: status.code,
            reason: status.reason.to_owned(),
            message: status.message,
        })
    }

    fn carried_out(&mut self, write: &Write, actor: &str, now: Timestamp) -> Result<String, Status> {
        let options = WriteOptions {
            dry_run: false,
            manager: actor.to_owned(),
            validation: FieldValidation::Ignore,
            force: false,
        };
        match write {
            Write::Create { object } => {
                let aim = self.aim_at(object, "", options, now)?;
                let object = decoded(&aim, object, Vec::new(), &mut Vec::new())?;
                self.create(&aim, object).map(|made| text(&made, "/metadata/name").to_owned())
            }
            Write::Update { object } | Write::UpdateStatus { object } => {
                let subresource = if matches!(write, Write::UpdateStatus { .. }) { "status" } else { "" };
                let aim = self.aim_at(object, subresource, options, now)?;
                let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
                let object = decoded(&aim, object, Vec::new(), &mut Vec::new())?;
                self.update(&aim, &name, object).map(|_| String::new())
            }
            Write::MergePatch { gk, namespace, name, patch, subresource } => {
                let subresource = subresource.as_deref().unwrap_or_default();
                let aim = self.aim_for(gk, namespace.as_deref(), subresource, options, now)?;
                self.patch(&aim, name, &Patch::Merge(patch.clone()), &mut Vec::new()).map(|_| String::new())
            }
            Write::Delete { gk, namespace, name, uid, propagation, grace_seconds } => {
                let aim = self.aim_for(gk, namespace.as_deref(), "", options, now)?;
                let options = DeleteOptions {
                    grace: *grace_seconds,
                    propagation: propagation.clone(),
                    uid: uid.clone(),
                    ..DeleteOptions::default()
                };
                self.delete(&aim, name, &options).map(|_| String::new())
            }
            Write::Bind { namespace, pod, node } => {
                let aim = self.aim_for(&Gk::new("", "Pod"), Some(namespace), "binding", options, now)?;
                let body = json!({"target": {"kind": "Node", "name": node}});
                subresource::post(self, &aim, pod, &body).map(|_| String::new())
            }
        }
    }

    fn aim_at(&self, object: &Value, subresource: &str, options: WriteOptions, now: Timestamp) -> Result<Aim, Status> {
        let text = |p: &str| object.pointer(p).and_then(Value::as_str).unwrap_or_default();
        let (group, version) = text("/apiVersion").split_once('/').unwrap_or(("", text("/apiVersion")));
        let gk = Gk::new(group, text("/kind"));
        let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str);
        let mut aim = self.aim_for(&gk, namespace, subresource, options, now)?;
        let found = aim.kind.versions.iter().position(|v| v.name == version);
        aim.version = found.ok_or_else(Status::no_such_path)?;
        Ok(aim)
    }

    fn aim_for(
        &self,
        gk: &Gk,
        namespace: Option<&str>,
        subresource: &str,
        options: WriteOptions,
        now: Timestamp,
    ) -> Result<Aim, Status> {
        let kind = Arc::clone(self.kinds.by_gk(gk).ok_or_else(Status::no_such_path)?);
        let version = kind.storage;
        Ok(Aim {
            namespace: if kind.namespaced { namespace.unwrap_or("default").to_owned() } else { String::new() },
            kind,
            version,
            named: false,
            subresource: subresource.to_owned(),
            now,
            options,
        })
    }
}

/// A component by its field manager.
fn component(actor: &str) -> &'static str {
    let known = [CONTROLLER_MANAGER, SCHEDULER, KUBELET];
    known.into_iter().find(|component| *component == actor).unwrap_or(API_SERVER)
}

impl View for ApiServer {
    fn get(&self, gk: &Gk, namespace: Option<&str>, name: &str) -> Option<Arc<Value>> {
        self.store.get(gk, namespace.unwrap_or_default(), name).cloned()
    }

    fn list(&self, gk: &Gk, namespace: Option<&str>) -> Vec<Arc<Value>> {
        self.store.list(gk, namespace).into_iter().cloned().collect()
    }

    fn kinds(&self) -> Vec<Gk> {
        self.store.kinds()
    }

    fn version(&self, gk: &Gk) -> Option<u64> {
        Some(self.store.changed(gk))
    }
}
