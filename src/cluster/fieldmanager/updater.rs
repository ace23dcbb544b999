//! Who owns what after a write: a port of structured-merge-diff `merge/update.go`.
//!
//! In: the live and the new (or applied) object, and the owned sets so far. Out: the merged object, the owned sets, or
//! the conflicts. Owned sets are kept in the API version in which they were written; [`Versions`] converts between them.

use super::typed::{self, Comparison};
use crate::object::{FieldPath, FieldSet};
use crate::scheme::{TypeId, Types};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Types and conversions of one kind, by API version (`apps/v1`).
pub trait Versions {
    /// The arena of all versions' types.
    fn types(&self) -> &Types;
    /// The type of the kind in a version; `None` if the version is not served any more.
    fn root(&self, version: &str) -> Option<TypeId>;
    /// The object in another version.
    fn convert<'v>(&self, object: &'v Value, from: &str, to: &str) -> Option<Cow<'v, Value>>;
    /// Fields that writes through this endpoint reset, and that nobody comes to own through it.
    fn reset_fields(&self) -> &FieldSet;
}

/// Who owns a set: what identifies an entry of `managedFields`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// The operation under way (`current-operation`); never stored.
    Current,
    /// A server-side apply.
    Apply {
        /// Field manager.
        manager: String,
        /// Subresource, or empty.
        subresource: String,
    },
    /// Any other write.
    Update {
        /// Field manager.
        manager: String,
        /// API version of the request.
        version: String,
        /// Subresource, or empty.
        subresource: String,
    },
}

/// A set of fields in an API version.
#[derive(Debug, Clone, PartialEq)]
pub struct VersionedSet {
    /// The fields.
    pub set: FieldSet,
    /// API version.
    pub version: String,
}

/// Owned sets by owner.
pub type Managers = BTreeMap<Owner, VersionedSet>;

/// A field that somebody else owns with another value.
#[derive(Debug, Clone, PartialEq)]
pub struct Conflict {
    /// Who.
    pub owner: Owner,
    /// Which field.
    pub path: FieldPath,
}

/// Why an apply failed.
#[derive(Debug, Clone, PartialEq)]
pub enum UpdateError {
    /// Fields of others.
    Conflicts(Vec<Conflict>),
    /// The value does not fit its type.
    Typed(String),
}

/// The updater of one kind at one version.
pub struct Updater<'a> {
    /// Types and conversions.
    pub versions: &'a dyn Versions,
    /// The version of the request and of all objects passed in.
    pub version: &'a str,
}

impl Updater<'_> {
    fn root(&self) -> TypeId {
        self.versions.root(self.version).unwrap_or_else(|| self.versions.types().deduced())
    }

    fn compared(&self, old: &Value, new: &Value, version: &str) -> Option<Comparison> {
        let types = self.versions.types();
        let root = self.versions.root(version)?;
        let comparison = if version == self.version {
            typed::compare(types, root, old, new)
        } else {
            let old = self.versions.convert(old, self.version, version)?;
            let new = self.versions.convert(new, self.version, version)?;
            typed::compare(types, root, &old, &new)
        };
        Some(comparison.without(self.versions.reset_fields()))
    }

    fn take_over(
        &self,
        old: &Value,
        new: &Value,
        managers: &mut Managers,
        workflow: &Owner,
        force: bool,
    ) -> Result<Comparison, UpdateError> {
        let own = self.compared(old, new, self.version).unwrap_or_default();
        let mut conflicts: Vec<(Owner, FieldSet)> = Vec::new();
        let mut removed: Vec<(Owner, FieldSet)> = Vec::new();
        let mut obsolete: Vec<Owner> = Vec::new();
        let taken = own.modified.union(&own.added);
        for (owner, owned) in managers.iter().filter(|(owner, _)| *owner != workflow) {
            let (other_taken, gone) = if owned.version == self.version {
                (Cow::Borrowed(&taken), Cow::Borrowed(&own.removed))
            } else if let Some(comparison) = self.compared(old, new, &owned.version) {
                (Cow::Owned(comparison.modified.union(&comparison.added)), Cow::Owned(comparison.removed))
            } else {
                obsolete.push(owner.clone());
                continue;
            };
            let conflict = owned.set.intersection(&other_taken);
            if !conflict.is_empty() {
                conflicts.push((owner.clone(), conflict));
            }
            if !gone.is_empty() {
                removed.push((owner.clone(), gone.into_owned()));
            }
        }
        for owner in obsolete {
            managers.remove(&owner);
        }
        if !force && !conflicts.is_empty() {
            let list = conflicts
                .iter()
                .flat_map(|(owner, set)| set.paths().into_iter().map(|path| Conflict { owner: owner.clone(), path }));
            return Err(UpdateError::Conflicts(list.collect()));
        }
        for (owner, set) in conflicts.into_iter().chain(removed) {
            if let Some(owned) = managers.get_mut(&owner) {
                owned.set = owned.set.difference(&set);
            }
        }
        managers.retain(|_, owned| !owned.set.is_empty());
        Ok(own)
    }

    /// After a create, update or patch: what changed belongs to `owner`.
    pub fn update(&self, live: &Value, new: &Value, managers: &mut Managers, owner: &Owner) {
        let Ok(comparison) = self.take_over(live, new, managers, owner, true) else { return };
        let before = managers.remove(owner).map(|owned| owned.set).unwrap_or_default();
        let set = before.difference(&comparison.removed).union(&comparison.modified).union(&comparison.added);
        let set = typed::recursive_difference(&set, self.versions.reset_fields());
        if !set.is_empty() {
            managers.insert(owner.clone(), VersionedSet { set, version: self.version.to_owned() });
        }
    }

    /// A server-side apply. `None` as the object means that nothing changes.
    pub fn apply(
        &self,
        live: &Value,
        config: &Value,
        managers: &mut Managers,
        owner: &Owner,
        force: bool,
    ) -> Result<Option<Value>, UpdateError> {
        let types = self.versions.types();
        let merged = typed::merge(types, self.root(), live, config)
            .map_err(|e| UpdateError::Typed(format!("failed to merge config: {e}")))?;
        let set = typed::to_field_set(types, self.root(), config);
        let set = typed::recursive_difference(&set, self.versions.reset_fields());
        let last = managers.insert(owner.clone(), VersionedSet { set, version: self.version.to_owned() });
        let new = self.prune(merged, managers, last.as_ref());
        self.take_over(live, &new, managers, owner, force)?;
        Ok((*live != new).then_some(new))
    }

    /// Removes what this owner applied before, does not apply now, and nobody else owns.
    fn prune(&self, merged: Value, managers: &Managers, last: Option<&VersionedSet>) -> Value {
        let Some(last) = last.filter(|last| !last.set.is_empty()) else { return merged };
        let types = self.versions.types();
        let version = last.version.as_str();
        let Some(root) = self.versions.root(version) else { return merged };
        let Some(converted) = self.versions.convert(&merged, self.version, version) else { return merged };
        let converted = converted.into_owned();
        let named = |set: &FieldSet| typed::ensure_named_fields_are_members(types, Some(root), set);
        let pruned = typed::remove_items(types, root, &converted, &named(&last.set));
        let pruned = self.add_back_owned(&converted, pruned, version, managers);
        // Only what this owner owned before may go: items that nobody owns, or that updates own, come back.
        let pruned_set = named(&typed::to_field_set(types, root, &pruned));
        let merged_set = named(&typed::to_field_set(types, root, &converted));
        let gone = merged_set.difference(&pruned_set).intersection(&named(&last.set));
        let result = typed::remove_items(types, root, &converted, &gone);
        self.versions.convert(&result, version, self.version).map_or(merged, Cow::into_owned)
    }

    fn add_back_owned(&self, merged: &Value, pruned: Value, version: &str, managers: &Managers) -> Value {
        let mut by_version: BTreeMap<&str, FieldSet> = BTreeMap::new();
        for owned in managers.values() {
            let set = by_version.entry(owned.version.as_str()).or_default();
            *set = set.union(&owned.set);
        }
        // The pruned version first: its fields may be needed for the conversions of the others.
        let first = by_version.remove(version).map(|set| (version, set));
        let (mut merged, mut pruned, mut at) = (merged.clone(), pruned, version.to_owned());
        for (target, managed) in first.into_iter().chain(by_version) {
            let types = self.versions.types();
            let Some(root) = self.versions.root(target) else { continue };
            let converted = (
                self.versions.convert(&merged, &at, target).map(Cow::into_owned),
                self.versions.convert(&pruned, &at, target).map(Cow::into_owned),
            );
            let (Some(in_merged), Some(in_pruned)) = converted else { continue };
            let named = |set: &FieldSet| typed::ensure_named_fields_are_members(types, Some(root), set);
            let merged_set = named(&typed::to_field_set(types, root, &in_merged));
            let pruned_set = named(&typed::to_field_set(types, root, &in_pruned));
            let gone = merged_set.difference(&pruned_set.union(&named(&managed)));
            pruned = typed::remove_items(types, root, &in_merged, &gone);
            merged = in_merged;
            target.clone_into(&mut at);
        }
        self.versions.convert(&pruned, &at, version).map_or(pruned.clone(), Cow::into_owned)
    }
}
