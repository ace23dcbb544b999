//! Names derived from an app's identity: the parent's name, the ApplySet id, the scope.
//!
//! KEP-3659: the id is `applyset-<base64(sha256(<name>.<namespace>.<kind>.<group>))>-v1`, URL-safe base64 without
//! padding, of the parent object.

use super::parent::Identity;
use crate::object::Digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// Label of an ApplySet's members.
pub const PART_OF: &str = "applyset.kubernetes.io/part-of";
/// Label of an ApplySet's parent.
pub const ID: &str = "applyset.kubernetes.io/id";
/// Annotation of a parent: who manages it.
pub const TOOLING: &str = "applyset.kubernetes.io/tooling";
/// Annotation of a parent: group-kinds of its members, sorted, comma-separated.
pub const CONTAINS_GROUP_KINDS: &str = "applyset.kubernetes.io/contains-group-kinds";
/// Annotation of a parent: namespaces of its members besides its own.
pub const ADDITIONAL_NAMESPACES: &str = "applyset.kubernetes.io/additional-namespaces";
/// Value of [`TOOLING`].
pub const TOOLING_VALUE: &str = concat!("driftless/v", env!("CARGO_PKG_VERSION"));

impl Identity {
    /// Name of the parent ConfigMap: readable, and unique by a hash over the whole identity.
    pub fn parent_name(&self) -> String {
        let readable: String = self.app.chars().take(180).collect();
        format!("driftless-{readable}-{}", self.digest().short(10))
    }

    /// Name of what is kept once per scope (the revision seen, the daemon's lease).
    pub fn scope_name(&self) -> String {
        scope_name(&self.instance, &self.repository, &self.path_root)
    }

    /// The ApplySet id of the parent in `parent_namespace`: the value of [`PART_OF`] on members.
    pub fn applyset_id(&self, parent_namespace: &str) -> String {
        applyset_id(&self.parent_name(), parent_namespace)
    }

    fn digest(&self) -> Digest {
        let parts = [&self.instance, &self.repository, &self.path_root, &self.app];
        Digest::of_bytes(parts.map(String::as_str).join("\0").as_bytes())
    }
}

/// Name of what is kept once per (instance, repository, path root).
pub fn scope_name(instance: &str, repository: &str, path_root: &str) -> String {
    let digest = Digest::of_bytes([instance, repository, path_root].join("\0").as_bytes());
    format!("driftless-scope-{}", digest.short(10))
}

/// The ApplySet id of a ConfigMap parent.
pub fn applyset_id(parent_name: &str, parent_namespace: &str) -> String {
    let hash = Sha256::digest(format!("{parent_name}.{parent_namespace}.ConfigMap.").as_bytes());
    format!("applyset-{}-v1", URL_SAFE_NO_PAD.encode(hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(repository: &str, app: &str) -> Identity {
        Identity {
            instance: "driftless".into(),
            repository: repository.into(),
            path_root: String::new(),
            app: app.into(),
        }
    }

    #[test]
    fn two_repositories_share_nothing() {
        let (a, b) = (identity("/srv/a.git", "web"), identity("/srv/b.git", "web"));
        assert_ne!(a.parent_name(), b.parent_name());
        assert_ne!(a.applyset_id("driftless"), b.applyset_id("driftless"));
        assert_ne!(a.scope_name(), b.scope_name());
        assert_eq!(a.scope_name(), identity("/srv/a.git", "api").scope_name());
    }

    #[test]
    fn ids_are_label_values() {
        let id = identity("/srv/a.git", "web").applyset_id("driftless");
        assert!(id.len() <= 63 && id.starts_with("applyset-") && id.ends_with("-v1"), "{id}");
    }
}
