//! Writes: create, update, patch, apply and delete of one object, from the decoded request to the store.
//!
//! In: a request's target, options and object. Out: the stored object, or the refusal. The order of the steps is that of
//! k8s.io/apiserver/pkg/endpoints/handlers/{create,update,patch,delete}.go and pkg/registry/generic/registry/store.go:
//! decode, default, field manager, mutating admission, strategy, validation, storage.

use super::admission::{metadata, mutate, prepare, quota, service, unsupported, validate, warn};
use super::aim::{Aim, KindVersions, Patch};
use super::convert;
use super::custom;
use super::fieldmanager::managed::{conflict_status, group_version_kind};
use super::fieldmanager::{ApplyOptions, FieldManager, ManagerError};
use super::form::{conform, conform_changed, metadata_of, set_text, settled, stored_version, text};
use super::kinds::Kind;
use super::patch::{self, strategic::go_text};
use super::request::FieldValidation;
use super::rules;
use super::server::ApiServer;
use super::status::{FieldError, Status};
use crate::object::Gk;
use crate::scheme::decode::time_text;
use crate::scheme::defaults;
use serde_json::{Value, json};
use std::sync::Arc;

impl ApiServer {
    fn with_manager<T>(&self, aim: &Aim, run: impl FnOnce(&FieldManager<'_>) -> T) -> T {
        let reset = if aim.subresource == "status" { &aim.kind.reset_status } else { &aim.kind.reset_main };
        let versions = KindVersions { kind: &aim.kind, reset };
        let version = aim.api_version();
        run(&FieldManager {
            versions: &versions,
            version: &version,
            kind: &aim.kind.gk.kind,
            subresource: &aim.subresource,
            custom: aim.kind.custom,
        })
    }

    /// The namespace must be there, and not on its way out (`NamespaceLifecycle`).
    fn check_namespace(&self, aim: &Aim, name: &str) -> Result<(), Status> {
        if !aim.kind.namespaced {
            return Ok(());
        }
        let namespace = self.store.get(&Gk::new("", "Namespace"), "", &aim.namespace);
        let Some(namespace) = namespace else { return Err(Status::not_found("namespaces", "", &aim.namespace)) };
        let terminating = namespace.pointer("/metadata/deletionTimestamp").is_some();
        if terminating {
            let why =
                format!("unable to create new content in namespace {} because it is being terminated", aim.namespace);
            let mut status = Status::forbidden(&aim.kind.plural, &aim.kind.gk.group, name, &why);
            if let Some(details) = status.details.as_mut() {
                let message = format!("namespace {} is being terminated", aim.namespace);
                details["causes"] =
                    json!([{"reason": "NamespaceTerminating", "message": message, "field": "metadata.namespace"}]);
            }
            return Err(status);
        }
        Ok(())
    }

    fn place(aim: &Aim, object: &mut Value) -> Result<(), Status> {
        let own = text(object, "/metadata/namespace").to_owned();
        if !own.is_empty() && !aim.namespace.is_empty() && own != aim.namespace {
            let message = "the namespace of the provided object does not match the namespace sent on the request";
            return Err(Status::bad_request(message));
        }
        set_text(object, "namespace", &aim.namespace);
        Ok(())
    }

    /// Creates an object that was decoded.
    pub(super) fn create(&mut self, aim: &Aim, mut object: Value) -> Result<Arc<Value>, Status> {
        Self::place(aim, &mut object)?;
        if !text(&object, "/metadata/resourceVersion").is_empty() {
            return Err(Status::plain_error("resourceVersion should not be set on objects to be created"));
        }
        let manager = aim.options.manager.as_str();
        self.with_manager(aim, |m| m.update(None, &mut object, manager, aim.now));
        self.store_new(aim, object)
    }

    /// Stores a new object whose managed fields are settled.
    fn store_new(&mut self, aim: &Aim, object: Value) -> Result<Arc<Value>, Status> {
        let mut object = convert::to_storage(&aim.kind, &aim.version().name, object);
        let kind = &aim.kind;
        let now = time_text(aim.now, false);
        let uid = self.random.uid();
        if let Some(metadata) = metadata_of(&mut object) {
            metadata.insert("uid".into(), uid.clone().into());
            metadata.insert("creationTimestamp".into(), now.clone().into());
            for key in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion"] {
                metadata.shift_remove(key);
            }
        }
        let prefix = text(&object, "/metadata/generateName").to_owned();
        let generated = text(&object, "/metadata/name").is_empty() && !prefix.is_empty();
        if generated {
            // Names have room for five random letters (`SimpleNameGenerator`, 63 characters).
            let head: String = prefix.chars().take(58).collect();
            let name = format!("{head}{}", self.random.suffix(5));
            set_text(&mut object, "name", &name);
        }
        let name = text(&object, "/metadata/name").to_owned();
        self.check_namespace(aim, &name)?;
        let suffix = if kind.is("", "Pod") { self.random.suffix(5) } else { String::new() };
        mutate::create(kind, &mut object, &self.store, &suffix)?;
        prepare::create(kind, &mut object, &uid, &now);
        if kind.is("", "Service") {
            let others = self.store.list(&kind.gk, None);
            let mut errors = Vec::new();
            // Allocation needs a sound type and ports; what is wrong with them is told together with the rest.
            service::validate(&object, &mut errors);
            if errors.is_empty() {
                service::allocate(&mut object, &others)?;
            }
        }
        let mut object = settled(aim, object)?;
        if kind.is("batch", "Job") {
            // Read back, a Job without labels has those that its template was given.
            defaults::apply(&kind.gk, &stored_version(kind).name, &mut object);
        }
        let mut errors = validate::create(kind, &object);
        custom_errors(kind, &object, None, &mut errors);
        if !errors.is_empty() {
            return Err(aim.invalid(&name, &errors));
        }
        unsupported::check(kind, &object)?;
        self.notes.extend(unsupported::warnings(kind, &object, None));
        self.review(aim, "CREATE", Some(&object), None)?;
        quota::check(kind, &object, &self.store)?;
        if let Some(existing) = self.store.get(aim.stored_as(), &aim.namespace, &name) {
            let mut status = Status::already_exists(&kind.plural, &kind.gk.group, &name);
            if existing.pointer("/metadata/deletionTimestamp").is_some() {
                status.message = format!("object is being deleted: {}", status.message);
            }
            return Err(status);
        }
        if aim.options.dry_run {
            return Ok(Arc::new(object));
        }
        self.notes.extend(warn::create(kind, &object));
        let stored = self.store.put(aim.stored_as(), &aim.namespace, &name, object);
        self.after_write(aim.now);
        Ok(stored)
    }

    /// PUT.
    pub(super) fn update(&mut self, aim: &Aim, name: &str, mut object: Value) -> Result<(Arc<Value>, bool), Status> {
        if text(&object, "/metadata/name").is_empty() {
            set_text(&mut object, "name", name);
        }
        if text(&object, "/metadata/name") != name {
            let message = format!(
                "the name of the object ({}) does not match the name on the URL ({name})",
                text(&object, "/metadata/name")
            );
            return Err(Status::bad_request(message));
        }
        Self::place(aim, &mut object)?;
        let Some(live) = self.live(aim, name) else {
            if aim.kind.create_on_update && aim.subresource.is_empty() {
                if !text(&object, "/metadata/uid").is_empty() {
                    let uid = text(&object, "/metadata/uid");
                    let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: ");
                    return Err(Status::conflict(&aim.kind.plural, &aim.kind.gk.group, name, &why));
                }
                set_text(&mut object, "resourceVersion", "");
                return self.create(aim, object).map(|o| (o, true));
            }
            return Err(aim.not_found(name));
        };
        let (uid, own) = (text(&object, "/metadata/uid"), text(&live, "/metadata/uid"));
        if !uid.is_empty() && uid != own {
            let key = format!("/registry/{}/{}/{name}", aim.kind.plural, aim.namespace).replace("//", "/");
            let why = format!(
                "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {own}"
            );
            return Err(Status::conflict(&aim.kind.plural, &aim.kind.gk.group, name, &why));
        }
        let versioned = convert::from_storage(&aim.kind, &aim.version().name, &live);
        let manager = aim.options.manager.as_str();
        self.with_manager(aim, |m| m.update(Some(&versioned), &mut object, manager, aim.now));
        self.store_changed(aim, name, &live, object).map(|o| (o, false))
    }

    pub(super) fn live(&self, aim: &Aim, name: &str) -> Option<Arc<Value>> {
        self.store.get(aim.stored_as(), &aim.namespace, name).cloned()
    }

    /// PATCH. The flag says whether an apply created the object.
    pub(super) fn patch(
        &mut self,
        aim: &Aim,
        name: &str,
        patch: &Patch,
        warnings: &mut Vec<String>,
    ) -> Result<(Arc<Value>, bool), Status> {
        let live = self.live(aim, name);
        if let Patch::Apply(config) = patch {
            return self.apply(aim, name, live.as_ref(), config);
        }
        let Some(live) = live else { return Err(aim.not_found(name)) };
        let versioned = convert::from_storage(&aim.kind, &aim.version().name, &live);
        let mut object = (*versioned).clone();
        match patch {
            Patch::Json(operations) => {
                patch::json::apply(&mut object, operations).map_err(|_| rejected_patch())?;
            }
            Patch::Merge(patch) => patch::json::merge(&mut object, patch),
            Patch::Strategic(patch) => {
                let root = aim.version().root.ok_or_else(Status::method_not_allowed)?;
                object =
                    patch::strategic::apply(aim.kind.types.get(), root, &object, patch).map_err(Status::plain_error)?;
            }
            Patch::Apply(_) => {}
        }
        let wrong = |shown: &Value, why: &str| {
            let text = match patch {
                Patch::Strategic(patch) => go_text(patch),
                _ => shown.to_string(),
            };
            let error = FieldError::invalid("patch", &text.into(), why);
            Status::invalid("", "", "", &[error])
        };
        let (mut object, unknown) =
            conform_changed(&aim.kind, aim.version(), object, &versioned).map_err(|(object, e)| wrong(&object, &e))?;
        if !unknown.is_empty() {
            match aim.options.validation {
                FieldValidation::Strict => {
                    let why = format!("strict decoding error: {}", unknown.join(", "));
                    return Err(wrong(&object, &why));
                }
                FieldValidation::Warn => warnings.extend(unknown),
                FieldValidation::Ignore => {}
            }
        }
        Self::place(aim, &mut object)?;
        if text(&object, "/metadata/name") != name {
            let message = format!(
                "the name of the object ({}) does not match the name on the URL ({name})",
                text(&object, "/metadata/name")
            );
            return Err(Status::bad_request(message));
        }
        let manager = aim.options.manager.as_str();
        self.with_manager(aim, |m| m.update(Some(&versioned), &mut object, manager, aim.now));
        self.store_changed(aim, name, &live, object).map(|o| (o, false))
    }

    fn apply(
        &mut self,
        aim: &Aim,
        name: &str,
        live: Option<&Arc<Value>>,
        config: &Value,
    ) -> Result<(Arc<Value>, bool), Status> {
        if live.is_none() && !aim.subresource.is_empty() {
            return Err(aim.not_found(name));
        }
        let versioned = live.map(|l| convert::from_storage(&aim.kind, &aim.version().name, l));
        let options = ApplyOptions { manager: &aim.options.manager, force: aim.options.force, now: aim.now };
        let merged = self.with_manager(aim, |m| m.apply(versioned.as_deref(), config, options));
        let merged = merged.map_err(|e| match e {
            ManagerError::Conflicts(conflicts) => conflict_status(&conflicts),
            ManagerError::Status(status) => *status,
        })?;
        let (mut object, _) = conform(&aim.kind, aim.version(), &merged).map_err(|e| {
            let what = format!("/{name}; {}", group_version_kind(&aim.api_version(), &aim.kind.gk.kind));
            Status::plain_error(format!("failed to convert new object ({what}) to proper version: {e}"))
        })?;
        for key in ["apiVersion", "kind"] {
            object[key] = merged.get(key).cloned().unwrap_or_default();
        }
        if live.is_none() && !text(&object, "/metadata/uid").is_empty() {
            let why = format!(
                "uid mismatch: the provided object specified uid {}, and no existing object was found",
                text(&object, "/metadata/uid")
            );
            return Err(Status::conflict(&aim.kind.plural, &aim.kind.gk.group, name, &why));
        }
        Self::place(aim, &mut object)?;
        let own = text(&object, "/metadata/name").to_owned();
        if own.is_empty() {
            set_text(&mut object, "name", name);
            defaults::apply(&aim.kind.gk, &aim.version().name, &mut object);
        } else if own != name {
            let message = format!("the name of the object ({own}) does not match the name on the URL ({name})");
            return Err(Status::bad_request(message));
        }
        match live {
            None => self.store_new(aim, object).map(|o| (o, true)),
            Some(live) => self.store_changed(aim, name, live, object).map(|o| (o, false)),
        }
    }

    /// Stores a changed object whose managed fields are settled (`Store.Update`).
    fn store_changed(&mut self, aim: &Aim, name: &str, live: &Arc<Value>, object: Value) -> Result<Arc<Value>, Status> {
        let kind = &aim.kind;
        let mut object = convert::to_storage(kind, &aim.version().name, object);
        let (given, current) = (text(&object, "/metadata/resourceVersion"), text(live, "/metadata/resourceVersion"));
        if given.is_empty() || given == "0" {
            if !kind.unconditional_update && aim.subresource.is_empty() {
                let error =
                    FieldError::invalid("metadata.resourceVersion", &0.into(), "must be specified for an update");
                return Err(Status::invalid(&kind.plural, &kind.gk.group, name, &[error]));
            }
        } else if given != current {
            if given.parse::<u64>().is_err() {
                let message = format!("strconv.ParseUint: parsing {given:?}: invalid syntax");
                return Err(Status::plain_error(message));
            }
            return Err(Status::modified(&kind.plural, &kind.gk.group, name));
        }
        set_text(&mut object, "resourceVersion", current);
        keep_metadata(&mut object, live);
        match aim.subresource.as_str() {
            "status" => prepare::update_status(kind, &mut object, live),
            "finalize" => prepare::finalize(&mut object, live),
            _ => prepare::update(kind, &mut object, live),
        }
        if kind.is("", "Service") && aim.subresource.is_empty() {
            self.reallocate(&mut object, live)?;
        }
        // Nothing changed but perhaps times of ownership: nothing is written.
        let Some(object) = changed(object, live) else {
            // Admission comes before it is seen that nothing changes.
            self.review(aim, "UPDATE", Some(live), Some(live))?;
            return Ok(Arc::clone(live));
        };
        let mut errors = Vec::new();
        if aim.subresource.is_empty() || aim.subresource == "scale" {
            errors = validate::update(kind, &object, live);
        } else {
            metadata::update(kind, &object, live, &mut errors);
        }
        custom_errors(kind, &object, Some(live), &mut errors);
        if !errors.is_empty() {
            return Err(aim.invalid(name, &errors));
        }
        if aim.subresource.is_empty() {
            unsupported::check(kind, &object)?;
            self.notes.extend(unsupported::warnings(kind, &object, Some(live)));
        }
        self.review(aim, "UPDATE", Some(&object), Some(live))?;
        if aim.options.dry_run {
            return Ok(Arc::new(object));
        }
        if emptied(kind, &object, live) {
            // Watchers only see it go; who took the last finalizer away gets what it asked for.
            self.store.remove(aim.stored_as(), &aim.namespace, name);
            self.after_write(aim.now);
            return Ok(Arc::new(object));
        }
        let stored = self.store.put(aim.stored_as(), &aim.namespace, name, object);
        self.after_write(aim.now);
        Ok(stored)
    }

    fn reallocate(&self, object: &mut Value, live: &Value) -> Result<(), Status> {
        service::keep_allocated(object, live);
        let gk = Gk::new("", "Service");
        let uid = text(live, "/metadata/uid");
        let others: Vec<&Arc<Value>> =
            self.store.list(&gk, None).into_iter().filter(|s| text(s, "/metadata/uid") != uid).collect();
        let mut errors = Vec::new();
        service::validate(object, &mut errors);
        service::validate_update(object, live, &mut errors);
        if errors.is_empty() {
            service::allocate(object, &others)?;
        }
        Ok(())
    }
}

/// What the real server says of a JSON patch that does not apply.
pub(super) fn rejected_patch() -> Status {
    let mut status = Status::new(422, "Invalid", "the server rejected our request due to an error in our request");
    status.details = Some(json!({}));
    status
}

fn custom_errors(kind: &Kind, object: &Value, live: Option<&Value>, errors: &mut Vec<FieldError>) {
    if let Some(schema) = &kind.storage_version().schema {
        errors.extend(custom::validate(object, schema));
        rules::validate(object, live, schema, errors);
    }
}

/// What an update can never change (`BeforeUpdate`).
fn keep_metadata(object: &mut Value, live: &Value) {
    let live_metadata = live.get("metadata").cloned().unwrap_or_default();
    let Some(metadata) = metadata_of(object) else { return };
    if metadata.get("uid").and_then(Value::as_str).is_none_or(str::is_empty)
        && let Some(uid) = live_metadata.get("uid")
    {
        metadata.insert("uid".into(), uid.clone());
    }
    for key in ["creationTimestamp", "deletionTimestamp"] {
        match live_metadata.get(key) {
            Some(value) => metadata.insert(key.into(), value.clone()),
            None => metadata.shift_remove(key),
        };
    }
    if let Some(grace) = live_metadata.get("deletionGracePeriodSeconds") {
        metadata.entry("deletionGracePeriodSeconds").or_insert_with(|| grace.clone());
    } else {
        metadata.shift_remove("deletionGracePeriodSeconds");
    }
}

/// `None` if nothing changed but times of ownership (`IgnoreManagedFieldsTimestampsTransformer`).
fn changed(mut object: Value, live: &Value) -> Option<Value> {
    if object == *live {
        return None;
    }
    let (now, before) = (object.pointer("/metadata/managedFields"), live.pointer("/metadata/managedFields"));
    let timeless = |entries: Option<&Value>| -> Vec<Value> {
        let mut list = entries.and_then(Value::as_array).cloned().unwrap_or_default();
        for entry in &mut list {
            if let Some(map) = entry.as_object_mut() {
                map.shift_remove("time");
            }
        }
        list
    };
    if now != before && timeless(now) == timeless(before) {
        let restored = before.cloned();
        let mut same = object.clone();
        if let Some(metadata) = metadata_of(&mut same) {
            match restored {
                Some(value) => metadata.insert("managedFields".into(), value),
                None => metadata.shift_remove("managedFields"),
            };
        }
        if same == *live {
            return None;
        }
    }
    // Ownership that was cleared leaves no empty list behind.
    if object.pointer("/metadata/managedFields").and_then(Value::as_array).is_some_and(Vec::is_empty)
        && let Some(metadata) = metadata_of(&mut object)
    {
        metadata.shift_remove("managedFields");
    }
    Some(object)
}

/// The texts of a list at a JSON pointer.
pub(super) fn strings(object: &Value, pointer: &str) -> Vec<String> {
    let items = object.pointer(pointer).and_then(Value::as_array);
    items.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The last finalizer went: the object goes (`ShouldDeleteDuringUpdate`).
fn emptied(kind: &Kind, object: &Value, live: &Value) -> bool {
    if live.pointer("/metadata/deletionTimestamp").is_none() || !strings(object, "/metadata/finalizers").is_empty() {
        return false;
    }
    if kind.is("", "Namespace") {
        return strings(object, "/spec/finalizers").is_empty();
    }
    let grace = object.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0);
    grace == 0
}
