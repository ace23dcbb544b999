//! `metadata.managedFields`: reading and writing it, and the managers that stand around the updater.
//!
//! Order of the parts as in k8s.io/apimachinery/pkg/util/managedfields/internal/fieldmanager.go: version check, last-applied
//! annotation, start of tracking, cap on update managers, manager identity, timestamps, stripped metadata, updater.

use super::typed;
use super::updater::{Conflict, Managers, Owner, UpdateError, Updater, VersionedSet, Versions};
use crate::cluster::status::Status;
use crate::object::{FieldSet, PathElement};
use crate::scheme::decode::{self, time_text};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// The annotation in which client-side apply keeps what it applied.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// More update managers than this are merged into one (`DefaultMaxUpdateManagers`).
const MAX_UPDATE_MANAGERS: usize = 10;

/// Why a write cannot be tracked or merged.
#[derive(Debug, Clone, PartialEq)]
pub enum ManagerError {
    /// Fields of others: 409.
    Conflicts(Vec<Conflict>),
    /// Anything else, as the status that the real server gives.
    Status(Box<Status>),
}

/// The owned sets of an object with their times.
#[derive(Debug, Clone, Default)]
struct Managed {
    fields: Managers,
    times: BTreeMap<Owner, String>,
}

/// The field manager of one kind, at one version and subresource.
pub struct FieldManager<'a> {
    /// Types and conversions.
    pub versions: &'a dyn Versions,
    /// `apps/v1`.
    pub version: &'a str,
    /// Kind, for messages.
    pub kind: &'a str,
    /// Subresource, or empty.
    pub subresource: &'a str,
    /// Custom resources have no structs that are always there.
    pub custom: bool,
}

/// Parameters of an apply.
#[derive(Debug, Clone, Copy)]
pub struct ApplyOptions<'a> {
    /// Field manager.
    pub manager: &'a str,
    /// Take fields over from others.
    pub force: bool,
    /// Time of the operation.
    pub now: Timestamp,
}

impl FieldManager<'_> {
    fn updater(&self) -> Updater<'_> {
        Updater { versions: self.versions, version: self.version }
    }

    /// The object that a create is compared with.
    fn empty(&self) -> Value {
        match self.versions.root(self.version) {
            Some(root) if !self.custom => {
                let mut object = decode::empty(self.versions.types(), root);
                object["apiVersion"] = self.version.into();
                object["kind"] = self.kind.into();
                object
            }
            _ => json!({"apiVersion": self.version, "kind": self.kind}),
        }
    }

    /// After a create (`live` is `None`), update or patch: writes `managedFields` of the new object.
    pub fn update(&self, live: Option<&Value>, new: &mut Value, manager: &str, now: Timestamp) {
        let from_request = new.pointer("/metadata/managedFields");
        let live_managed =
            || decode_entries(live.and_then(|l| l.pointer("/metadata/managedFields"))).unwrap_or_default();
        let managed = if !self.subresource.is_empty() {
            live_managed()
        } else if is_reset(from_request) {
            Managed::default()
        } else {
            match decode_entries(from_request) {
                Ok(managed) if !managed.fields.is_empty() => managed,
                _ => live_managed(),
            }
        };
        take_managed_fields(new);
        let is_create = live.is_none_or(|l| l.pointer("/metadata/uid").is_none());
        if managed.fields.is_empty() && !is_create {
            // Nobody tracks this object: it starts with the first apply (`skipNonAppliedManager`).
            return;
        }
        let empty;
        // The live object keeps its managedFields: nobody owns them, so that their absence in the new one means nothing.
        let live = if let Some(live) = live {
            live
        } else {
            empty = self.empty();
            &empty
        };
        let managed = self.track(live, new, managed, manager, now);
        write_entries(new, &managed);
    }

    fn track(&self, live: &Value, new: &Value, mut managed: Managed, manager: &str, now: Timestamp) -> Managed {
        self.updater().update(live, new, &mut managed.fields, &Owner::Current);
        strip(&mut managed.fields, &Owner::Current);
        if let Some(mut current) = managed.fields.remove(&Owner::Current) {
            let owner = Owner::Update {
                manager: manager.to_owned(),
                version: self.version.to_owned(),
                subresource: self.subresource.to_owned(),
            };
            if let Some(before) = managed.fields.get(&owner) {
                current.set = current.set.union(&before.set);
            }
            managed.fields.insert(owner.clone(), current);
            if self.subresource == "scale" {
                // The real server loses the time on the way from Scale to its parent (`ScaleHandler.ToParent`).
                managed.times.remove(&owner);
            } else {
                managed.times.insert(owner, time_text(now, false));
            }
        }
        cap(&mut managed);
        managed
    }

    /// A server-side apply. `live` is `None` where the object does not exist. Out: the object to store, before
    /// defaulting.
    pub fn apply(&self, live: Option<&Value>, patch: &Value, options: ApplyOptions<'_>) -> Result<Value, ManagerError> {
        self.check_patch(patch)?;
        let mut live_object = live.cloned().unwrap_or_else(|| self.empty());
        let entries = live_object.pointer("/metadata/managedFields");
        let mut managed = decode_entries(entries)
            .map_err(|e| status(Status::plain_error(format!("failed to decode managed fields: {e}"))))?;
        take_managed_fields(&mut live_object);
        if managed.fields.is_empty() && live.is_some() {
            managed = self.track(&self.empty(), &live_object, managed, "before-first-apply", options.now);
        }
        let result = self.merged(&live_object, patch, &managed, options, options.force);
        let (mut object, managed) = match result {
            Err(ManagerError::Conflicts(conflicts)) if options.manager == "kubectl" => {
                let rest = self.not_last_applied(&live_object, conflicts);
                if !rest.is_empty() {
                    return Err(ManagerError::Conflicts(rest));
                }
                self.merged(&live_object, patch, &managed, options, true)?
            }
            other => other?,
        };
        if options.manager == "kubectl" {
            sync_last_applied(&mut object, patch);
        }
        write_entries(&mut object, &managed);
        Ok(object)
    }

    fn check_patch(&self, patch: &Value) -> Result<(), ManagerError> {
        let text = |key: &str| patch.get(key).and_then(Value::as_str).unwrap_or_default();
        if text("apiVersion") != self.version || text("kind") != self.kind {
            let gvk = group_version_kind(text("apiVersion"), text("kind"));
            return Err(status(Status::bad_request(format!("invalid object type: {gvk}"))));
        }
        if patch.pointer("/metadata/managedFields").is_some_and(|v| !v.is_null()) {
            return Err(status(Status::bad_request("metadata.managedFields must be nil")));
        }
        let Some(root) = self.versions.root(self.version) else { return Ok(()) };
        typed::validate(self.versions.types(), root, patch, false).map_err(|why| {
            let part = |key: &str| {
                let text = patch.pointer(key).and_then(Value::as_str).unwrap_or_default();
                text.to_owned()
            };
            let gvk = group_version_kind(self.version, self.kind);
            let what = format!("{}/{}; {gvk}", part("/metadata/namespace"), part("/metadata/name"));
            status(Status::plain_error(format!("failed to create typed patch object ({what}): {why}")))
        })
    }

    fn merged(
        &self,
        live: &Value,
        patch: &Value,
        managed: &Managed,
        options: ApplyOptions<'_>,
        force: bool,
    ) -> Result<(Value, Managed), ManagerError> {
        let owner = Owner::Apply { manager: options.manager.to_owned(), subresource: self.subresource.to_owned() };
        let mut managed = managed.clone();
        let merged = self.updater().apply(live, patch, &mut managed.fields, &owner, force).map_err(|e| match e {
            UpdateError::Conflicts(conflicts) => ManagerError::Conflicts(conflicts),
            UpdateError::Typed(text) => status(Status::plain_error(text)),
        })?;
        strip(&mut managed.fields, &owner);
        if merged.is_some() {
            managed.times.insert(owner, time_text(options.now, false));
        }
        Ok((merged.unwrap_or_else(|| live.clone()), managed))
    }

    /// Conflicts with what client-side apply wrote are none for kubectl: its annotation says that it was the author.
    fn not_last_applied(&self, live: &Value, conflicts: Vec<Conflict>) -> Vec<Conflict> {
        let Some(allowed) = self.last_applied_set(live) else { return conflicts };
        conflicts.into_iter().filter(|c| !allowed.contains(&c.path.0)).collect()
    }

    fn last_applied_set(&self, live: &Value) -> Option<FieldSet> {
        let text = live.pointer("/metadata/annotations")?.get(LAST_APPLIED)?.as_str()?;
        let applied: Value = serde_json::from_str(text).ok()?;
        if applied.get("apiVersion")?.as_str()? != self.version {
            return None;
        }
        let (types, root) = (self.versions.types(), self.versions.root(self.version)?);
        typed::validate(types, root, &applied, false).ok()?;
        let comparison = typed::compare(types, root, &applied, live);
        let set = typed::to_field_set(types, root, &applied);
        Some(set.difference(&comparison.modified).difference(&comparison.added).difference(&comparison.removed))
    }
}

/// `apps/v1, Kind=Deployment`, `/v1, Kind=ConfigMap`.
pub fn group_version_kind(api_version: &str, kind: &str) -> String {
    let slash = if api_version.contains('/') { "" } else { "/" };
    format!("{slash}{api_version}, Kind={kind}")
}

fn status(status: Status) -> ManagerError {
    ManagerError::Status(Box::new(status))
}

fn take_managed_fields(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("managedFields");
    }
}

/// `[]` or `[{}]` clears all ownership.
fn is_reset(entries: Option<&Value>) -> bool {
    match entries.and_then(Value::as_array).map(Vec::as_slice) {
        Some([]) => true,
        Some([one]) => one.as_object().is_some_and(|map| {
            map.values().all(|v| v.is_null() || v.as_str() == Some("")) // Go writes empty fields of an empty entry
        }),
        _ => false,
    }
}

fn decode_entries(entries: Option<&Value>) -> Result<Managed, String> {
    let mut managed = Managed::default();
    let entries = entries.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for (i, entry) in entries.iter().enumerate() {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (manager, version, subresource) = (text("manager"), text("apiVersion"), text("subresource"));
        let owner = match text("operation").as_str() {
            "Apply" => Owner::Apply { manager, subresource },
            "Update" => Owner::Update { manager, version: version.clone(), subresource },
            _ => return Err("operation must be `Apply` or `Update`".into()),
        };
        if version.is_empty() {
            return Err("apiVersion must not be empty".into());
        }
        match text("fieldsType").as_str() {
            "FieldsV1" => {}
            "" => return Err(format!("missing fieldsType in managed fields entry {i}")),
            other => return Err(format!("invalid fieldsType {other:?} in managed fields entry {i}")),
        }
        let set = entry.get("fieldsV1").map(FieldSet::parse).unwrap_or_default();
        if let Some(time) = entry.get("time").and_then(Value::as_str) {
            managed.times.insert(owner.clone(), time.to_owned());
        }
        managed.fields.insert(owner, VersionedSet { set, version });
    }
    Ok(managed)
}

fn write_entries(object: &mut Value, managed: &Managed) {
    let mut entries: Vec<(bool, String, String, String, String, Value)> = Vec::with_capacity(managed.fields.len());
    for (owner, owned) in &managed.fields {
        let (operation, manager, subresource) = match owner {
            Owner::Current => continue,
            Owner::Apply { manager, subresource } => ("Apply", manager, subresource),
            Owner::Update { manager, subresource, .. } => ("Update", manager, subresource),
        };
        let time = managed.times.get(owner).cloned();
        let mut entry = Map::new();
        if !manager.is_empty() {
            entry.insert("manager".into(), manager.clone().into());
        }
        entry.insert("operation".into(), operation.into());
        entry.insert("apiVersion".into(), owned.version.clone().into());
        if let Some(time) = &time {
            entry.insert("time".into(), time.clone().into());
        }
        entry.insert("fieldsType".into(), "FieldsV1".into());
        entry.insert("fieldsV1".into(), owned.set.to_fields_v1());
        if !subresource.is_empty() {
            entry.insert("subresource".into(), subresource.clone().into());
        }
        entries.push((
            operation == "Update",
            time.unwrap_or_default(),
            manager.clone(),
            owned.version.clone(),
            subresource.clone(),
            Value::Object(entry),
        ));
    }
    entries.sort_by(|a, b| (a.0, &a.1, &a.2, &a.3, &a.4).cmp(&(b.0, &b.1, &b.2, &b.3, &b.4)));
    let list: Vec<Value> = entries.into_iter().map(|entry| entry.5).collect();
    let Some(map) = object.as_object_mut() else { return };
    let metadata = map.entry("metadata").or_insert_with(|| json!({}));
    if let Some(metadata) = metadata.as_object_mut()
        && !list.is_empty()
    {
        metadata.insert("managedFields".into(), Value::Array(list));
    }
}

/// Fields that nobody owns (`stripMetaManager`).
fn strip(managers: &mut Managers, owner: &Owner) {
    static STRIPPED: OnceLock<FieldSet> = OnceLock::new();
    let stripped = STRIPPED.get_or_init(|| {
        let mut set = FieldSet::default();
        for path in [
            &["apiVersion"][..],
            &["kind"],
            &["metadata"],
            &["metadata", "name"],
            &["metadata", "namespace"],
            &["metadata", "creationTimestamp"],
            &["metadata", "selfLink"],
            &["metadata", "uid"],
            &["metadata", "clusterName"],
            &["metadata", "generation"],
            &["metadata", "managedFields"],
            &["metadata", "resourceVersion"],
        ] {
            let elements: Vec<PathElement> = path.iter().map(|p| PathElement::Field((*p).to_owned())).collect();
            set.insert(&elements);
        }
        set
    });
    if let Some(owned) = managers.get_mut(owner) {
        owned.set = owned.set.difference(stripped);
        if owned.set.is_empty() {
            managers.remove(owner);
        }
    }
}

/// Merges the oldest update managers of a version into `ancient-changes` once there are too many.
fn cap(managed: &mut Managed) {
    let mut updaters: Vec<Owner> =
        managed.fields.keys().filter(|o| matches!(o, Owner::Update { .. })).cloned().collect();
    if updaters.len() <= MAX_UPDATE_MANAGERS {
        return;
    }
    updaters.sort_by(|a, b| (managed.times.get(a), a).cmp(&(managed.times.get(b), b)));
    let mut length = updaters.len();
    let mut first_of: BTreeMap<String, Owner> = BTreeMap::new();
    for owner in updaters {
        if length <= MAX_UPDATE_MANAGERS {
            return;
        }
        let Some(owned) = managed.fields.get(&owner).cloned() else { continue };
        let bucket = Owner::Update {
            manager: "ancient-changes".into(),
            version: owned.version.clone(),
            subresource: String::new(),
        };
        let Some(first) = first_of.get(&owned.version) else {
            first_of.insert(owned.version.clone(), owner);
            continue;
        };
        if !managed.fields.contains_key(&bucket)
            && let Some(set) = managed.fields.remove(first)
        {
            managed.fields.insert(bucket.clone(), set);
        }
        if let Some(into) = managed.fields.get_mut(&bucket) {
            into.set = into.set.union(&owned.set);
        }
        managed.fields.remove(&owner);
        length -= 1;
        if let Some(time) = managed.times.get(&owner).cloned() {
            managed.times.insert(bucket, time);
        }
    }
}

fn sync_last_applied(object: &mut Value, patch: &Value) {
    let annotations = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    let Some(annotations) =
        annotations.filter(|a| a.get(LAST_APPLIED).and_then(Value::as_str).is_some_and(|t| !t.is_empty()))
    else {
        return;
    };
    let mut applied = patch.clone();
    if let Some(own) = applied.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        own.shift_remove(LAST_APPLIED);
    }
    annotations.insert(LAST_APPLIED.into(), format!("{}\n", sorted(&applied)).into());
}

/// With keys in order, as Go writes maps.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(&String, &Value)> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            Value::Object(entries.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

/// The 409 of a conflict, with a cause per field (`conflict.go`).
pub fn conflict_status(conflicts: &[Conflict]) -> Status {
    // By manager and operation, as Go sorts the identifiers.
    let mut conflicts = conflicts.to_vec();
    conflicts.sort_by(|a, b| identifier(&a.owner).cmp(&identifier(&b.owner)));
    let causes: Vec<Value> = conflicts
        .iter()
        .map(|c| {
            json!({"reason": "FieldManagerConflict", "message": format!("conflict with {}", printed(&c.owner)),
                   "field": typed::go_path(&c.path.0)})
        })
        .collect();
    let message = if let [one] = conflicts.as_slice() {
        format!("Apply failed with 1 conflict: conflict with {}: {}", printed(&one.owner), typed::go_path(&one.path.0))
    } else {
        let mut lines = Vec::new();
        let mut last: Option<&Owner> = None;
        for conflict in &conflicts {
            if last.replace(&conflict.owner) != Some(&conflict.owner) {
                lines.push(format!("conflicts with {}:", printed(&conflict.owner)));
            }
            lines.push(format!("- {}", typed::go_path(&conflict.path.0)));
        }
        format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
    };
    Status { details: Some(json!({"causes": causes})), ..Status::new(409, "Conflict", message) }
}

fn identifier(owner: &Owner) -> (&str, &str, &str, &str) {
    match owner {
        Owner::Current => ("", "", "", ""),
        Owner::Apply { manager, subresource } => (manager, "Apply", "", subresource),
        Owner::Update { manager, version, subresource } => (manager, "Update", version, subresource),
    }
}

fn printed(owner: &Owner) -> String {
    let with = |manager: &str, subresource: &str| {
        if subresource.is_empty() {
            format!("{manager:?}")
        } else {
            format!("{manager:?} with subresource {subresource:?}")
        }
    };
    match owner {
        Owner::Current => "\"current-operation\"".to_owned(),
        Owner::Apply { manager, subresource } => with(manager, subresource),
        Owner::Update { manager, version, subresource } => format!("{} using {version}", with(manager, subresource)),
    }
}
