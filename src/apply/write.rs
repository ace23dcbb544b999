//! The requests that write: server-side apply, delete, and the few plain writes of driftless's own objects.
//!
//! Rules of Kubernetes behind them (tried on 1.36): a server-side apply under one manager is not protected against
//! itself, hence the app's lock; an observed uid in the body makes a recreated object a 409; a dry-run goes through
//! validation and admission and persists nothing.

use crate::live::client::{Answer, ApiError, Call, Client};
use crate::live::kinds::Kind;
use crate::object::{Live, ObjectKey};
use http::Method;
use serde_json::{Value, json};

/// Field manager of everything that comes from Git.
pub const MANAGER: &str = "driftless";
/// Field manager that takes over the live value of a field that Git no longer sets but the cluster owns.
pub const HANDOVER: &str = "driftless-handover";

/// How a server-side apply is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApplyMode {
    /// Field manager.
    pub manager: &'static str,
    /// Take fields over from other managers.
    pub force: bool,
    /// Validate and admit, persist nothing.
    pub dry_run: bool,
}

/// What a write came back with.
#[derive(Debug, Clone)]
pub struct Written {
    /// The object as the server has it now.
    pub live: Live,
    /// `Warning` headers.
    pub warnings: Vec<String>,
}

impl From<Answer> for Written {
    fn from(answer: Answer) -> Self {
        Self { live: Live(answer.body), warnings: answer.warnings }
    }
}

/// Server-side apply of `body`. Idempotent, so that a lost answer is simply asked for again.
///
/// # Errors
/// The API server's refusal (409 with the conflicting managers, 422 with the fields), or no answer.
pub async fn apply(
    client: &Client,
    kind: &Kind,
    version: &str,
    key: &ObjectKey,
    body: &Value,
    mode: ApplyMode,
) -> Result<Written, ApiError> {
    let mut call = Call::get(kind.object_path(version, key.namespace.as_deref(), &key.name))
        .with("fieldManager", mode.manager)
        .with("force", if mode.force { "true" } else { "false" })
        .with("fieldValidation", "Strict");
    if mode.dry_run {
        call = call.with("dryRun", "All");
    }
    call.method = Method::PATCH;
    call.content_type = "application/apply-patch+yaml";
    call.body = Some(body.clone());
    client.send_patiently(&call).await.map(Written::from)
}

/// A JSON patch (RFC 6902): used to rewrite `managedFields` at adoption, with a test of `resourceVersion` in it.
///
/// # Errors
/// As the API server says; a failed test is 422 or 409 and means "plan anew".
pub async fn json_patch(
    client: &Client,
    kind: &Kind,
    version: &str,
    key: &ObjectKey,
    patch: &Value,
) -> Result<Written, ApiError> {
    let mut call =
        Call::get(kind.object_path(version, key.namespace.as_deref(), &key.name)).with("fieldManager", MANAGER);
    call.method = Method::PATCH;
    call.content_type = "application/json-patch+json";
    call.body = Some(patch.clone());
    client.send_patiently(&call).await.map(Written::from)
}

/// A dry-run create: does the server accept this as a new object? `AlreadyExists` comes after validation and means yes;
/// what was sent is then the answer.
///
/// # Errors
/// The API server's refusal.
pub async fn dry_run_create(client: &Client, kind: &Kind, version: &str, body: &Value) -> Result<Written, ApiError> {
    let namespace = body.pointer("/metadata/namespace").and_then(Value::as_str);
    let mut call = dry_run(Call::get(kind.collection_path(version, namespace)), body);
    call.method = Method::POST;
    match client.send_patiently(&call).await {
        Ok(answer) => Ok(answer.into()),
        Err(error) if error.is_already_exists() => Ok(Written { live: Live(body.clone()), warnings: Vec::new() }),
        Err(error) => Err(error),
    }
}

/// A dry-run PUT: what would this object become?
///
/// # Errors
/// The API server's refusal.
pub async fn dry_run_update(
    client: &Client,
    kind: &Kind,
    version: &str,
    key: &ObjectKey,
    body: &Value,
) -> Result<Written, ApiError> {
    let mut call = dry_run(Call::get(kind.object_path(version, key.namespace.as_deref(), &key.name)), body);
    call.method = Method::PUT;
    client.send_patiently(&call).await.map(Written::from)
}

fn dry_run(call: Call, body: &Value) -> Call {
    let call = call.with("fieldManager", MANAGER).with("fieldValidation", "Strict").with("dryRun", "All");
    Call { body: Some(body.clone()), ..call }
}

/// How dependants are treated by a delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// The object stays until its dependants are gone.
    Foreground,
    /// Dependants are left alone.
    Orphan,
}

/// Which object a deletion is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Precondition<'a> {
    /// The uid that was seen.
    pub uid: &'a str,
    /// As it was seen: whose it is may have changed since.
    pub resource_version: Option<&'a str>,
}

/// Deletes an object if it still is what was seen. Gone already counts as done.
///
/// # Errors
/// The API server's refusal; 409 where the uid is another one, or the object has changed.
pub async fn delete(
    client: &Client,
    kind: &Kind,
    version: &str,
    key: &ObjectKey,
    this: Precondition<'_>,
    propagation: Propagation,
) -> Result<(), ApiError> {
    let mut options = json!({
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "preconditions": {"uid": this.uid},
        "propagationPolicy": match propagation {
            Propagation::Foreground => "Foreground",
            Propagation::Orphan => "Orphan",
        },
    });
    if let Some(version) = this.resource_version {
        options["preconditions"]["resourceVersion"] = version.into();
    }
    let mut call = Call::get(kind.object_path(version, key.namespace.as_deref(), &key.name));
    call.method = Method::DELETE;
    call.body = Some(options);
    match client.send_patiently(&call).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Creates one of driftless's own objects. Sent once: a lost answer is found out by reading.
///
/// # Errors
/// As the API server says; `AlreadyExists` where another process was faster.
pub async fn create_own(client: &Client, collection: &str, object: &Value) -> Result<Written, ApiError> {
    let mut call = Call::get(collection).with("fieldManager", MANAGER);
    call.method = Method::POST;
    call.body = Some(object.clone());
    client.send(&call).await.map(Written::from)
}

/// Deletes one of driftless's own objects if it is still as it was read. Gone already counts as done.
///
/// # Errors
/// 409 where another process wrote in between; else as the API server says.
pub async fn delete_own(client: &Client, path: &str, resource_version: &str) -> Result<(), ApiError> {
    let mut call = Call::get(path);
    call.method = Method::DELETE;
    call.body = Some(json!({"apiVersion": "v1", "kind": "DeleteOptions",
        "preconditions": {"resourceVersion": resource_version}}));
    match client.send_patiently(&call).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

/// Replaces one of driftless's own objects: a compare-and-swap on its `metadata.resourceVersion`.
///
/// # Errors
/// 409 where another process wrote in between; else as the API server says.
pub async fn replace_own(client: &Client, path: &str, object: &Value) -> Result<Written, ApiError> {
    let mut call = Call::get(path).with("fieldManager", MANAGER);
    call.method = Method::PUT;
    call.body = Some(object.clone());
    client.send(&call).await.map(Written::from)
}
