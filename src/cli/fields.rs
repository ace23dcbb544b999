//! What `check` says of fields: the faults that [`Strict`] finds, in words, at the line of the field.
//!
//! In: the objects of one app and the files that they stand in. Out: a problem for each fault. No value is quoted.

use crate::cluster::server::GIT_VERSION;
use crate::cluster::strict::{Fault, Strict};
use crate::object::{Desired, FieldPath, Gvk, Manifest, PathElement, Problem, Scalar, Source};
use crate::render::yaml::{Content, Document, Node, parse_yaml};
use crate::source::SourceTree;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Faults of fields told of one object; more would hide the first.
const MAX_FAULTS: usize = 20;

const BY_DEFINITION: &str = "by the CustomResourceDefinition in this repository";

/// Adds what is wrong with the fields of one app's objects. Kinds that are not known here are added to `strangers`.
pub(super) fn field_problems(
    strict: &Strict,
    objects: &[Desired],
    trees: &[Arc<SourceTree>],
    strangers: &mut BTreeSet<Gvk>,
    out: &mut Vec<Problem>,
) {
    for object in objects {
        let gvk = object.gvk();
        let Some(faults) = strict.faults(&gvk, &object.object) else {
            strangers.insert(gvk);
            continue;
        };
        if faults.is_empty() {
            continue;
        }
        let files = trees.iter().filter_map(|tree| tree.file(&object.source.file).ok());
        let read: Vec<Vec<Document>> = files.map(|bytes| parse_yaml(bytes).documents).collect();
        let told = out.len();
        for fault in faults.into_iter().take(MAX_FAULTS) {
            let line = line_of(&read, object, fault.path()).unwrap_or(object.source.line);
            if let Some(known) = out[..told].iter_mut().find(|problem| says_twice(problem, object, &fault)) {
                // The checks by kind have the better words, and know the object's line alone.
                known.line = Some(line);
                continue;
            }
            let reason = if matches!(fault, Fault::NotServed { .. }) { "VersionNotServed" } else { "InvalidObject" };
            let problem = Problem::new(reason, words(&fault)).at(&object.source.file, line);
            out.push(problem.about(object.object_ref()).hint(hint(&fault, is_custom(&gvk))));
        }
    }
}

/// True where the checks by kind have found the same already, in their words.
fn says_twice(problem: &Problem, object: &Desired, fault: &Fault) -> bool {
    let place = bare(problem.message.split_once(": ").map_or("", |(place, _)| place));
    let begins = |path: &FieldPath| place == bare(&path.to_string()) || place == bare(&by_name(path, &object.object));
    let same = match fault {
        Fault::Unknown { .. } | Fault::Rule { .. } | Fault::NotServed { .. } => false,
        Fault::WrongType { path, .. } => begins(path),
        Fault::Duplicate { path, .. } => {
            let list = FieldPath(path.0[..path.0.len().saturating_sub(1)].to_vec());
            problem.message.contains("is used twice") && begins(&list)
        }
    };
    same && problem.object.as_ref() == Some(&object.object_ref())
}

/// A path as the checks by kind write it: elements by their name, where they have one.
fn by_name(path: &FieldPath, object: &Value) -> String {
    let mut at = Some(object);
    let mut out = FieldPath::default();
    for element in &path.0 {
        at = at.and_then(|value| element.step(value));
        let name = at.and_then(|value| value.get("name")).filter(|_| matches!(element, PathElement::Index(_)));
        out = out.child(match name {
            Some(name) => PathElement::Key(vec![("name".to_owned(), Scalar::from(name))]),
            None => element.clone(),
        });
    }
    out.to_string()
}

/// A path without its punctuation: `.data["a"]` and `.data.a` are one.
fn bare(path: &str) -> String {
    path.chars().filter(|c| !matches!(c, '.' | '[' | ']' | '"')).collect()
}

/// Custom kinds are judged by what the repository says, and need no word about the table's age.
fn is_custom(gvk: &Gvk) -> bool {
    gvk.group.contains('.') && !gvk.group.ends_with(".k8s.io")
}

fn words(fault: &Fault) -> String {
    match fault {
        Fault::Unknown { path, .. } => format!("{path}: unknown field"),
        Fault::WrongType { path, wanted, found } => match *found {
            // Of the right type, and not of the right form.
            "a text" if wanted.contains("text") || wanted.starts_with("a quantity") || wanted.starts_with("a time") => {
                format!("{path}: must be {wanted}")
            }
            found => format!("{path}: must be {wanted}, not {found}"),
        },
        Fault::Duplicate { path, key, first } => format!("{path}: element {first} has the key {key} already"),
        Fault::Rule { path, wanted } => format!("{path}: {wanted}"),
        Fault::NotServed { path, served } => {
            let served = if served.is_empty() { "no version of it".to_owned() } else { served.join(", ") };
            format!("{path}: the CustomResourceDefinition in this repository does not serve it; it serves {served}")
        }
    }
}

fn hint(fault: &Fault, custom: bool) -> String {
    let near = match fault {
        Fault::Unknown { near, .. } => near,
        Fault::WrongType { wanted: "a text", found: "a number" | "a boolean", .. } => {
            return "quote it: YAML reads it as another type".to_owned();
        }
        Fault::WrongType { found: "a text", wanted, .. } if wanted.contains("number") || *wanted == "true or false" => {
            return "remove the quotes".to_owned();
        }
        Fault::Rule { .. } => return BY_DEFINITION.to_owned(),
        Fault::NotServed { served, .. } => {
            let serve = || "let the definition serve it".to_owned();
            return served.first().map_or_else(serve, |first| format!("write apiVersion: {first}"));
        }
        Fault::WrongType { .. } => return "the API server cannot read the object as it is".to_owned(),
        Fault::Duplicate { .. } => return "keep one of the two; an apply refuses both".to_owned(),
    };
    let first = near
        .as_ref()
        .map_or_else(|| "take it out, or put it where it belongs".to_owned(), |name| format!("did you mean `{name}`?"));
    if custom {
        return format!("{first} ({BY_DEFINITION})");
    }
    format!("{first} (by the fields of Kubernetes {}; `plan` asks the cluster)", kubernetes())
}

/// The version whose fields are known here: `1.36`.
pub(super) fn kubernetes() -> &'static str {
    let version = GIT_VERSION.trim_start_matches('v');
    version.rsplit_once('.').map_or(version, |(minor, _)| minor)
}

/// The line of a field in the file that its object stands in, or of what it is missing in; `None` where the file is no plain manifest (a template, a
/// patch), or the field comes from elsewhere.
fn line_of(read: &[Vec<Document>], object: &Desired, path: &FieldPath) -> Option<u32> {
    read.iter().find_map(|documents| {
        let root = documents.iter().find_map(|document| root_at(&document.root, document.line, &object.source))?;
        let is =
            |key: &str| root.get(key).and_then(|f| f.value.as_str()) == object.object.get(key).and_then(|v| v.as_str());
        if !is("apiVersion") || !is("kind") {
            return None;
        }
        let mut at = (root, first_line(root));
        for element in &path.0 {
            let next = match (element, &at.0.content) {
                (PathElement::Field(name), Content::Map(fields)) => fields.get(name).map(|f| (&f.value, f.line)),
                (PathElement::Index(i), Content::List(items)) => items.get(*i).map(|item| (item, first_line(item))),
                _ => None,
            };
            let Some(next) = next else { break };
            at = next;
        }
        Some(at.1)
    })
}

/// The object that begins at the source's line: a document, or an item of a list.
fn root_at<'n>(node: &'n Node, line: u32, source: &Source) -> Option<&'n Node> {
    if line == source.line && node.get("items").is_none() {
        return Some(node);
    }
    match node.get("items").map(|field| &field.value.content) {
        Some(Content::List(items)) => items.iter().find_map(|item| root_at(item, first_line(item), source)),
        _ => None,
    }
}

fn first_line(node: &Node) -> u32 {
    match &node.content {
        Content::Map(fields) => fields.first().map_or(node.line, |(_, field)| field.line),
        _ => node.line,
    }
}
