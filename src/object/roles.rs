//! The roles an object can play: as rendered from Git, as the server has it, as the server says it would become.

use super::gvk::Gvk;
use super::key::{ObjectKey, ObjectRef};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where in the repository an object comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Source {
    /// Path of the file, relative to the repository's root, with `/`.
    pub file: String,
    /// Line of the document's first key, from 1.
    pub line: u32,
}

/// What every object can tell about itself, whatever its role. The accessors never panic on odd JSON.
pub trait Manifest {
    /// The whole object.
    fn value(&self) -> &Value;

    /// Group, version and kind from `apiVersion` and `kind`; empty strings where they are missing.
    fn gvk(&self) -> Gvk {
        let text = |key: &str| self.value().get(key).and_then(Value::as_str).unwrap_or_default();
        Gvk::from_api_version(text("apiVersion"), text("kind"))
    }

    /// `metadata.name`, or the empty string.
    fn name(&self) -> &str {
        self.metadata("name").unwrap_or_default()
    }

    /// `metadata.namespace`.
    fn namespace(&self) -> Option<&str> {
        self.metadata("namespace").filter(|ns| !ns.is_empty())
    }

    /// A text field of the metadata, such as `uid`.
    fn metadata(&self, field: &str) -> Option<&str> {
        self.value().get("metadata")?.get(field)?.as_str()
    }

    /// `metadata.uid`.
    fn uid(&self) -> Option<&str> {
        self.metadata("uid")
    }

    /// A label's value.
    fn label(&self, name: &str) -> Option<&str> {
        self.value().get("metadata")?.get("labels")?.get(name)?.as_str()
    }

    /// An annotation's value.
    fn annotation(&self, name: &str) -> Option<&str> {
        self.value().get("metadata")?.get("annotations")?.get(name)?.as_str()
    }

    /// A value by JSON pointer.
    fn at(&self, pointer: &str) -> Option<&Value> {
        self.value().pointer(pointer)
    }

    /// Identity.
    fn key(&self) -> ObjectKey {
        ObjectKey::new(&self.gvk().gk(), self.namespace(), self.name())
    }

    /// Identity with version.
    fn object_ref(&self) -> ObjectRef {
        self.key().with_version(&self.gvk().version)
    }
}

/// An object as rendered from Git.
#[derive(Debug, Clone, PartialEq)]
pub struct Desired {
    /// The object. Its namespace is resolved once discovery has said whether the kind has one.
    pub object: Value,
    /// Where it comes from.
    pub source: Source,
}

/// An object as the API server returns it.
#[derive(Debug, Clone, PartialEq)]
pub struct Live(pub Value);

/// What the API server answered to a dry-run: what the object would become.
#[derive(Debug, Clone, PartialEq)]
pub struct DryRun(pub Value);

impl Manifest for Desired {
    fn value(&self) -> &Value {
        &self.object
    }
}

impl Manifest for Live {
    fn value(&self) -> &Value {
        &self.0
    }
}

impl Manifest for DryRun {
    fn value(&self) -> &Value {
        &self.0
    }
}

impl Live {
    /// `metadata.resourceVersion`.
    pub fn resource_version(&self) -> Option<&str> {
        self.metadata("resourceVersion")
    }

    /// True once a deletion has been asked for.
    pub fn is_terminating(&self) -> bool {
        self.metadata("deletionTimestamp").is_some()
    }

    /// `metadata.generation`, 0 where the kind has none.
    pub fn generation(&self) -> i64 {
        self.at("/metadata/generation").and_then(Value::as_i64).unwrap_or(0)
    }

    /// `metadata.managedFields`, empty where there are none.
    pub fn managed_fields(&self) -> &[Value] {
        self.at("/metadata/managedFields").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// The controlling owner's uid, if any.
    pub fn controller_uid(&self) -> Option<&str> {
        let owners = self.at("/metadata/ownerReferences")?.as_array()?;
        let controller = owners.iter().find(|o| o.get("controller").and_then(Value::as_bool) == Some(true))?;
        controller.get("uid")?.as_str()
    }
}
