//! Documents to objects: what every Kubernetes object must have, lists taken apart, what only a server writes left out.
//!
//! In: the documents of one file. Out: [`Desired`] objects with their lines, warnings, and every fault. Namespaces stay
//! as written: whether a kind has one is known once a cluster was asked (see `namespaces`).

use super::app;
use super::fault::{ManifestError, ManifestFault};
use super::removed::{OLDEST_SERVER, removed};
use super::yaml::{Content, Document, Node, YamlError};
use crate::object::{Desired, Digest, Gvk, Manifest, ObjectKey, Problem, Source};
use crate::plan::hook;
use indexmap::IndexMap;
use serde_json::Value;
use std::collections::HashMap;

/// What one file, or several, gave.
#[derive(Default)]
pub struct Manifests {
    /// Objects in the order they were read.
    pub objects: Vec<Desired>,
    /// Things to know that stop nothing.
    pub warnings: Vec<Problem>,
    /// Everything that is wrong.
    pub errors: Vec<ManifestError>,
}

/// What to do with a document that has neither `apiVersion` nor `kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strangers {
    /// It is an error: in a YAML file, a forgotten line must not look like a removal.
    Refuse,
    /// It is skipped: JSON files are used for much else.
    Skip,
}

impl Manifests {
    /// Adds a file's documents and its YAML errors.
    pub fn read(&mut self, file: &str, documents: Vec<Document>, errors: Vec<YamlError>, strangers: Strangers) {
        let faults = errors.into_iter().map(|error| ManifestError::new(file, error.line, error.fault.into()));
        self.errors.extend(faults);
        for document in documents {
            if strangers == Strangers::Skip && is_stranger(&document.root) {
                self.warnings
                    .push(Problem::new("SkippedFile", "skipped: it is no Kubernetes object").at(file, document.line));
                continue;
            }
            self.object(file, document.line, document.root);
        }
    }

    /// Adds one object, or a list's items.
    fn object(&mut self, file: &str, line: u32, root: Node) {
        match list_items(root) {
            Ok((api_version, kind, items)) => {
                for mut item in items {
                    let item_line = first_key_line(&item);
                    fill_item(&mut item, &api_version, &kind);
                    self.object(file, item_line, item);
                }
            }
            Err(root) => match self.checked(file, line, root) {
                Ok(Some(object)) => self.objects.push(object),
                Ok(None) => {}
                Err(mut errors) => self.errors.append(&mut errors),
            },
        }
    }

    fn checked(&mut self, file: &str, line: u32, mut root: Node) -> Result<Option<Desired>, Vec<ManifestError>> {
        name_hook(&mut root);
        let one = |fault| vec![ManifestError::new(file, line, fault)];
        let gvk = gvk(&root).map_err(one)?;
        if gvk.group == app::GROUP {
            let objects = app::expand(file, &gvk, &root)?;
            self.objects.extend(objects);
            return Ok(None);
        }
        if gvk.group == "kustomize.config.k8s.io" {
            return Err(one(ManifestFault::NestedKustomization));
        }
        let faults = metadata_faults(&gvk, &root);
        let source = Source { file: file.to_owned(), line };
        if !faults.is_empty() {
            let object = Desired { object: root.into_value(), source }.object_ref();
            let named = |(at, fault)| {
                let error = ManifestError::new(file, at, fault);
                if object.name.is_empty() { error } else { error.about(object.clone()) }
            };
            return Err(faults.into_iter().map(named).collect());
        }
        let mut desired = Desired { object: root.into_value(), source };
        self.check_version(&gvk, &desired)?;
        self.strip(&mut desired);
        Ok(Some(desired))
    }

    fn check_version(&mut self, gvk: &Gvk, desired: &Desired) -> Result<(), Vec<ManifestError>> {
        let Some(found) = removed(&gvk.api_version(), &gvk.kind) else { return Ok(()) };
        let fault = ManifestFault::RemovedApi {
            version: gvk.api_version(),
            kind: gvk.kind.clone(),
            removed: found.in_minor,
            instead: found.instead,
        };
        let Source { file, line } = &desired.source;
        let error = ManifestError::new(file, *line, fault).about(desired.object_ref());
        if found.in_minor < OLDEST_SERVER {
            return Err(vec![error]);
        }
        self.warnings.push(error.into());
        Ok(())
    }

    /// Leaves out what only a server writes: applying it would be refused, or would claim to own it.
    fn strip(&mut self, desired: &mut Desired) {
        let mut dropped: Vec<&str> = Vec::new();
        if let Value::Object(root) = &mut desired.object {
            if let Some(status) = root.shift_remove("status")
                && !is_hollow(&status)
            {
                dropped.push("status");
            }
            if let Some(Value::Object(metadata)) = root.get_mut("metadata") {
                for field in SERVER_FIELDS {
                    if metadata.shift_remove(field).is_some_and(|value| !is_hollow(&value)) {
                        dropped.push(field);
                    }
                }
                if metadata.get("namespace").is_some_and(is_hollow) {
                    metadata.shift_remove("namespace");
                }
                if let Some(Value::Object(annotations)) = metadata.get_mut("annotations")
                    && annotations.shift_remove(LAST_APPLIED).is_some()
                {
                    dropped.push("the annotation kubectl.kubernetes.io/last-applied-configuration");
                }
            }
        }
        if !dropped.is_empty() {
            let message = format!("ignored, since only the server writes it: {}", dropped.join(", "));
            let hint = "remove it from the file; `kubectl get -o yaml` adds it";
            let problem = Problem::new("ServerFields", message).hint(hint).about(desired.object_ref());
            self.warnings.push(problem.at(&desired.source.file, desired.source.line));
        }
    }
}

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const SERVER_FIELDS: [&str; 8] = [
    "managedFields",
    "creationTimestamp",
    "uid",
    "resourceVersion",
    "selfLink",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

/// Every pair of objects with one identity. Objects without a namespace count as in `default_namespace`.
pub fn duplicates(objects: &[Desired], default_namespace: &str) -> Vec<ManifestError> {
    let mut seen: HashMap<ObjectKey, &Source> = HashMap::with_capacity(objects.len());
    let mut errors = Vec::new();
    for object in objects {
        let mut key = object.key();
        key.namespace.get_or_insert_with(|| default_namespace.to_owned());
        match seen.get(&key) {
            None => {
                seen.insert(key, &object.source);
            }
            Some(first) => {
                let fault = ManifestFault::Duplicate { file: first.file.clone(), line: first.line };
                let error = ManifestError::new(&object.source.file, object.source.line, fault);
                errors.push(error.about(object.object_ref()));
            }
        }
    }
    errors
}

fn is_stranger(root: &Node) -> bool {
    root.get("apiVersion").is_none() && root.get("kind").is_none()
}

/// Nothing, or only nothing inside: generators write such fields (`creationTimestamp: null`, a CRD's empty `status`).
fn is_hollow(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(is_hollow),
        _ => false,
    }
}

fn first_key_line(node: &Node) -> u32 {
    match &node.content {
        Content::Map(fields) => fields.first().map_or(node.line, |(_, field)| field.line),
        _ => node.line,
    }
}

/// Takes a list apart: `List`, or any `…List` with `items` and without a name (`meta.IsListType` of apimachinery asks
/// for `items` only). What is no list comes back.
fn list_items(root: Node) -> Result<(String, String, Vec<Node>), Node> {
    let text = |key: &str| root.get(key).and_then(|field| field.value.as_str()).unwrap_or_default().to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let named = root.get("metadata").is_some_and(|metadata| metadata.value.get("name").is_some());
    let has_items = root.get("items").is_some_and(|items| matches!(items.value.content, Content::List(_)));
    if api_version.is_empty() || !kind.ends_with("List") || named || !has_items {
        return Err(root);
    }
    let Content::Map(mut fields) = root.content else { return Err(root) };
    match fields.swap_remove("items").map(|field| field.value.content) {
        Some(Content::List(items)) => Ok((api_version, kind, items)),
        _ => Ok((api_version, kind, Vec::new())),
    }
}

/// The items of a typed list (`ConfigMapList`) may leave their type out (`unstructured.decodeToList`).
fn fill_item(item: &mut Node, api_version: &str, list_kind: &str) {
    let kind = list_kind.strip_suffix("List").unwrap_or_default();
    let line = item.line;
    if kind.is_empty() || !is_stranger(item) {
        return;
    }
    if let Content::Map(fields) = &mut item.content {
        let text =
            |text: &str| super::yaml::Field { line, value: Node { line, content: Content::String(text.to_owned()) } };
        fields.insert("apiVersion".into(), text(api_version));
        fields.insert("kind".into(), text(kind));
    }
}

fn gvk(root: &Node) -> Result<Gvk, ManifestFault> {
    if !matches!(root.content, Content::Map(_)) {
        return Err(ManifestFault::NoMapping(root.kind_word()));
    }
    if is_stranger(root) {
        return Err(ManifestFault::NoObject);
    }
    let text = |field: &'static str| match root.get(field).map(|f| &f.value) {
        None => Err(ManifestFault::Missing(field)),
        Some(value) => match value.as_str() {
            Some("") => Err(ManifestFault::Missing(field)),
            Some(text) => Ok(text),
            None => Err(wrong_type(field, "text", value)),
        },
    };
    let (api_version, kind) = (text("apiVersion")?, text("kind")?);
    let parts: Vec<&str> = api_version.split('/').collect();
    if parts.len() > 2 || parts.iter().any(|part| part.is_empty() || part.contains(char::is_whitespace)) {
        return Err(ManifestFault::BadApiVersion(short(api_version)));
    }
    Ok(Gvk::from_api_version(api_version, kind))
}

fn wrong_type(field: &str, expected: &'static str, value: &Node) -> ManifestFault {
    ManifestFault::WrongType { field: field.to_owned(), expected, found: value.kind_word() }
}

/// Everything that is wrong with the metadata, with lines.
fn metadata_faults(gvk: &Gvk, root: &Node) -> Vec<(u32, ManifestFault)> {
    let line = first_key_line(root);
    let Some(metadata) = root.get("metadata") else { return vec![(line, ManifestFault::Missing("metadata.name"))] };
    let Content::Map(fields) = &metadata.value.content else {
        return vec![(metadata.line, wrong_type("metadata", "a mapping", &metadata.value))];
    };
    let mut faults = Vec::new();
    match fields.get("name").map(|f| (f.line, &f.value)) {
        Some((at, value)) => match value.as_str() {
            Some(name) => faults.extend(name_fault(gvk, name).map(|fault| (at, fault))),
            None => faults.push((at, wrong_type("metadata.name", "text", value))),
        },
        None => faults.push(match fields.get("generateName") {
            Some(field) => (field.line, ManifestFault::GenerateName),
            None => (metadata.line, ManifestFault::Missing("metadata.name")),
        }),
    }
    if let Some(field) = fields.get("namespace") {
        match &field.value.content {
            Content::Null => {}
            Content::String(name) if name.is_empty() || is_dns_label(name) => {}
            Content::String(name) => faults.push((field.line, bad_name(name, "namespace", DNS_LABEL))),
            _ => faults.push((field.line, wrong_type("metadata.namespace", "text", &field.value))),
        }
    }
    for name in ["labels", "annotations"] {
        faults.extend(text_map_faults(fields, name));
    }
    faults
}

/// A hook runs once per sync, so that `generateName` means something for it: it is named by its content, and what an
/// earlier sync left under that name goes first.
fn name_hook(root: &mut Node) {
    let Some(found) = root.get("metadata").map(|field| &field.value) else { return };
    if found.get("name").is_some() {
        return;
    }
    let annotations = found.get("annotations").map(|field| &field.value);
    let annotated = |name: &&str| annotations.is_some_and(|annotations| annotations.get(name).is_some());
    let prefix = found.get("generateName").and_then(|field| field.value.as_str());
    let (Some(prefix), true) = (prefix, [hook::ARGO, hook::HELM].iter().any(annotated)) else { return };
    let name = format!("{prefix}{}", Digest::of_value(&root.clone().into_value()).short(6));
    if let Content::Map(fields) = &mut root.content
        && let Some(Content::Map(metadata)) = fields.get_mut("metadata").map(|field| &mut field.value.content)
        && let Some(mut field) = metadata.shift_remove("generateName")
    {
        field.value.content = Content::String(name);
        metadata.insert("name".to_owned(), field);
    }
}

fn text_map_faults(metadata: &IndexMap<String, super::yaml::Field>, name: &str) -> Vec<(u32, ManifestFault)> {
    let Some(field) = metadata.get(name) else { return Vec::new() };
    match &field.value.content {
        Content::Null => Vec::new(),
        Content::Map(entries) => entries
            .iter()
            .filter(|(_, entry)| !matches!(entry.value.content, Content::String(_) | Content::Null))
            .map(|(key, entry)| {
                let path = format!("metadata.{name}[{:?}]", short(key));
                (entry.line, wrong_type(&path, "text", &entry.value))
            })
            .collect(),
        _ => vec![(field.line, wrong_type(&format!("metadata.{name}"), "a mapping", &field.value))],
    }
}

const DNS_LABEL: &str = "at most 63 lower-case letters, digits and `-`, with a letter or digit at both ends";
const DNS_SUBDOMAIN: &str =
    "at most 253 lower-case letters, digits, `-` and `.`, with a letter or digit at both ends of each part";
const PATH_SEGMENT: &str = "at most 253 characters, not `.` or `..`, without `/` and `%`";

fn bad_name(name: &str, what: &'static str, why: &'static str) -> ManifestFault {
    ManifestFault::BadName { name: short(name), what, why }
}

fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

/// The rules of k8s.io/apimachinery `pkg/api/validation` (names of built-in kinds) and `pkg/api/validation/path` (all).
fn name_fault(gvk: &Gvk, name: &str) -> Option<ManifestFault> {
    if name.is_empty() {
        return Some(ManifestFault::Missing("metadata.name"));
    }
    // RBAC names may be `system:node`; IPAddress names are addresses; other groups may be served by anything.
    let built_in = !gvk.group.contains('.') || gvk.group.ends_with(".k8s.io");
    let path_only = !built_in || gvk.group == "rbac.authorization.k8s.io" || gvk.kind == "IPAddress";
    if path_only {
        let bad = name == "." || name == ".." || name.contains(['/', '%']) || name.len() > 253;
        return bad.then(|| bad_name(name, "name", PATH_SEGMENT));
    }
    if gvk.group.is_empty() && gvk.kind == "Namespace" {
        return (!is_dns_label(name)).then(|| bad_name(name, "name", DNS_LABEL));
    }
    let subdomain = name.len() <= 253 && name.split('.').all(|part| is_dns_part(part, 253));
    (!subdomain).then(|| bad_name(name, "name", DNS_SUBDOMAIN))
}

/// RFC 1123 label.
pub(super) fn is_dns_label(text: &str) -> bool {
    is_dns_part(text, 63)
}

fn is_dns_part(text: &str, most: usize) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.len() <= most && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
