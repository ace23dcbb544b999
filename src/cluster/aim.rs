//! What a write is aimed at: kind, version, place, time and parameters. Pure data, and the kind as the field manager sees it.

use super::convert;
use super::fieldmanager::Versions;
use super::kinds::{Kind, Version};
use super::request::WriteOptions;
use super::status::{FieldError, Status};
use crate::object::{FieldSet, Gk};
use crate::scheme::{TypeId, Types};
use jiff::Timestamp;
use serde_json::Value;
use std::borrow::Cow;
use std::sync::Arc;

/// What a write is aimed at.
#[derive(Debug, Clone)]
pub struct Aim {
    /// The kind.
    pub kind: Arc<Kind>,
    /// Index of the version in the kind.
    pub version: usize,
    /// Namespace; empty for cluster-scoped kinds.
    pub namespace: String,
    /// The path of the request names the object: it is not one to the list.
    pub named: bool,
    /// Subresource, or empty.
    pub subresource: String,
    /// Time of the request.
    pub now: Timestamp,
    /// Parameters.
    pub options: WriteOptions,
}

impl Aim {
    /// The version of the request.
    pub fn version(&self) -> &Version {
        &self.kind.versions[self.version.min(self.kind.versions.len().saturating_sub(1))]
    }

    /// `apps/v1`.
    pub fn api_version(&self) -> String {
        self.kind.api_version(&self.version().name)
    }

    /// Under which kind objects are stored.
    pub fn stored_as(&self) -> &Gk {
        convert::stored_as(&self.kind)
    }

    /// 404 for an object of the kind.
    pub fn not_found(&self, name: &str) -> Status {
        Status::not_found(&self.kind.plural, &self.kind.gk.group, name)
    }

    /// 422 for an object of the kind.
    pub fn invalid(&self, name: &str, errors: &[FieldError]) -> Status {
        Status::invalid(&self.kind.gk.kind, &self.kind.gk.group, name, errors)
    }
}

/// Types and conversions for the field manager.
pub struct KindVersions<'a> {
    /// The kind.
    pub kind: &'a Kind,
    /// Fields that the endpoint resets.
    pub reset: &'a FieldSet,
}

impl KindVersions<'_> {
    fn short<'v>(&self, version: &'v str) -> &'v str {
        version.rsplit('/').next().unwrap_or(version)
    }
}

impl Versions for KindVersions<'_> {
    fn types(&self) -> &Types {
        self.kind.types.get()
    }

    fn root(&self, version: &str) -> Option<TypeId> {
        let short = self.short(version);
        if self.kind.api_version(short) != version {
            return None;
        }
        self.kind.version(short)?.root
    }

    fn convert<'v>(&self, object: &'v Value, from: &str, to: &str) -> Option<Cow<'v, Value>> {
        Some(convert::between(self.kind, object, self.short(from), self.short(to)))
    }

    fn reset_fields(&self) -> &FieldSet {
        self.reset
    }
}

/// A patch, decoded as far as its media type says.
#[derive(Debug, Clone)]
pub enum Patch {
    /// RFC 6902.
    Json(Vec<Value>),
    /// RFC 7396.
    Merge(Value),
    /// Strategic merge.
    Strategic(Value),
    /// Server-side apply.
    Apply(Value),
}

/// Options of a deletion.
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    /// `gracePeriodSeconds`.
    pub grace: Option<i64>,
    /// `propagationPolicy`.
    pub propagation: Option<String>,
    /// Precondition on the uid.
    pub uid: Option<String>,
    /// Precondition on the resourceVersion.
    pub version: Option<String>,
    /// Nothing is stored.
    pub dry_run: bool,
}
