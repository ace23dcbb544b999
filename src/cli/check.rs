//! `driftless check`: what can be said of every app without a cluster.
//!
//! In: every app, rendered. Out: what schemas, policies and other apps have against it. Fields are judged by the table of
//! built-in kinds that the embedded cluster serves, and by the CustomResourceDefinitions of the same repository.

use super::args::{Check, Output};
use super::exit::Exit;
use super::output::{print_json, print_problems, print_text, stopped};
use super::render::everything;
use super::setup::Setup;
use crate::cluster::server::GIT_VERSION;
use crate::cluster::strict::{Fault, Strict};
use crate::object::{Desired, FieldPath, Gvk, Manifest, ObjectKey, PathElement, Problem, Source, counted};
use crate::plan::change::PolicyFinding;
use crate::policy::{Facts, evaluate, schema};
use crate::render::yaml::{Content, Document, Node, parse_yaml};
use crate::scope::Member;
use crate::source::SourceTree;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Faults of fields told of one object; more would hide the first.
const MAX_FAULTS: usize = 20;

/// Adds what is wrong with the fields of one app's objects. Kinds that are not known here are added to `strangers`.
fn field_problems(
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
            if out[..told].iter().any(|problem| says_twice(problem, object, &fault)) {
                continue;
            }
            let line = line_of(&read, object, fault.path()).unwrap_or(object.source.line);
            let problem = Problem::new("InvalidObject", words(&fault)).at(&object.source.file, line);
            out.push(problem.about(object.object_ref()).hint(hint(&fault, is_custom(&gvk))));
        }
    }
}

/// True where the checks by kind have found the same already, in their words.
fn says_twice(problem: &Problem, object: &Desired, fault: &Fault) -> bool {
    let begins = |path: &FieldPath| problem.message.starts_with(&path.to_string());
    let same = match fault {
        Fault::Unknown { .. } => false,
        Fault::WrongType { path, .. } => begins(path),
        Fault::Duplicate { path, .. } => {
            let list = FieldPath(path.0[..path.0.len().saturating_sub(1)].to_vec());
            problem.message.contains("is used twice") && begins(&list)
        }
    };
    same && problem.object.as_ref() == Some(&object.object_ref())
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
        Fault::WrongType { .. } => return "the API server cannot read the object as it is".to_owned(),
        Fault::Duplicate { .. } => return "keep one of the two; an apply refuses both".to_owned(),
    };
    let first = near
        .as_ref()
        .map_or_else(|| "take it out, or put it where it belongs".to_owned(), |name| format!("did you mean `{name}`?"));
    if custom {
        return format!("{first} (by the CustomResourceDefinition in this repository)");
    }
    format!("{first} (by the fields of Kubernetes {}; `plan` asks the cluster)", kubernetes())
}

/// The version whose fields are known here: `1.36`.
fn kubernetes() -> &'static str {
    let version = GIT_VERSION.trim_start_matches('v');
    version.rsplit_once('.').map_or(version, |(minor, _)| minor)
}

/// The line of a field in the file that its object stands in; `None` where the file is no plain manifest (a template, a
/// patch), or the field comes from elsewhere.
fn line_of(read: &[Vec<Document>], object: &Desired, path: &FieldPath) -> Option<u32> {
    read.iter().find_map(|documents| {
        let root = documents.iter().find_map(|document| root_at(&document.root, document.line, &object.source))?;
        let is =
            |key: &str| root.get(key).and_then(|f| f.value.as_str()) == object.object.get(key).and_then(|v| v.as_str());
        if !is("apiVersion") || !is("kind") {
            return None;
        }
        let mut at = (root, root.line);
        for element in &path.0 {
            at = match (element, &at.0.content) {
                (PathElement::Field(name), Content::Map(fields)) => fields.get(name).map(|f| (&f.value, f.line))?,
                (PathElement::Index(i), Content::List(items)) => items.get(*i).map(|item| (item, item.line))?,
                _ => return None,
            };
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

/// Objects that two apps of one cluster claim: the second one would be refused.
fn claimed_twice(members: &[Member]) -> BTreeMap<String, Vec<Problem>> {
    let mut owners: BTreeMap<(String, ObjectKey), String> = BTreeMap::new();
    let mut out: BTreeMap<String, Vec<Problem>> = BTreeMap::new();
    for member in members {
        let app = &member.app;
        for object in member.rendered.iter().flat_map(|rendered| &rendered.objects) {
            let mut key = object.key();
            key.namespace.get_or_insert_with(|| app.namespace.clone().unwrap_or_else(|| "default".to_owned()));
            match owners.get(&(app.cluster.clone(), key.clone())) {
                Some(first) if *first != app.name => {
                    let text = format!("{} is in app `{first}` too", object.key());
                    let problem = Problem::new("OwnedByAnother", text)
                        .at(&object.source.file, object.source.line)
                        .about(object.object_ref())
                        .hint("remove it from one of the two");
                    out.entry(app.name.clone()).or_default().push(problem);
                }
                Some(_) => {}
                None => {
                    owners.insert((app.cluster.clone(), key), app.name.clone());
                }
            }
        }
    }
    out
}

/// `driftless check`: exit 0 if everything would pass, 4 if only policies refuse, 1 otherwise.
///
/// # Errors
/// What stops every app.
pub async fn check(args: &Check) -> Result<Exit, Vec<Problem>> {
    let found = async {
        let setup = Setup::new(&args.common).await?;
        everything(&setup, args.revision.as_deref()).await
    };
    let all = match found.await {
        Ok(found) => found,
        Err(problems) => {
            let nothing = json!({"apps": [], "ok": false, "error": problems.first()});
            return stopped(problems, args.output == Output::Json, &nothing);
        }
    };
    let mut notes: Vec<Problem> = all.policies.iter().flat_map(|set| set.notes(true)).collect();
    notes.extend(all.passed_over);
    if args.output == Output::Text {
        notes.iter().for_each(|note| print_text(&format!("warning: {note}\n")));
    }
    let members = &all.members;
    let objects = members.iter().flat_map(|member| member.rendered.iter().flat_map(|rendered| &rendered.objects));
    let strict = Strict::with_definitions(objects.map(|object| &object.object));
    let mut strangers = BTreeSet::new();
    let mut claimed = claimed_twice(members);
    let mut exit = Exit::Done;
    let mut apps = Vec::new();
    for member in members {
        let mut problems = Vec::new();
        let mut warnings = Vec::new();
        let mut findings: Vec<PolicyFinding> = Vec::new();
        let mut count = 0;
        match member.rendered.as_ref() {
            Ok(rendered) => {
                count = rendered.objects.len();
                warnings.clone_from(&rendered.warnings);
                problems.extend(schema::check(&rendered.objects));
                field_problems(&strict, &rendered.objects, &all.trees, &mut strangers, &mut problems);
                // Namespaces of one app have the objects of others in them.
                let same = members.iter().filter(|other| other.app.cluster == member.app.cluster);
                let all_objects = same.filter_map(|other| other.rendered.as_ref().as_ref().ok());
                let facts = all_objects.fold(Facts::default(), |facts, other| facts.with_manifests(&other.objects));
                for set in &all.policies {
                    findings.extend(evaluate(set, &rendered.objects, &facts));
                }
            }
            Err(found) => problems.clone_from(found),
        }
        if !problems.is_empty() {
            exit = exit.max(Exit::Error);
        }
        let twice = claimed.remove(&member.app.name).unwrap_or_default();
        if !twice.is_empty() {
            exit = exit.max(Exit::Refused);
        }
        problems.extend(twice);
        if findings.iter().any(|f| f.action == "deny") {
            exit = exit.max(Exit::Refused);
        }
        if args.output == Output::Text {
            tell(&member.app.name, count, &problems, &warnings, &findings);
        }
        apps.push(json!({"name": member.app.name, "objects": count, "errors": problems, "warnings": warnings, "policy": findings}));
    }
    let unknown: Vec<String> = strangers.iter().map(|gvk| format!("{} ({})", gvk.kind, gvk.api_version())).collect();
    match args.output {
        Output::Json => print_json(&json!({"apps": apps, "ok": exit == Exit::Done, "kubernetes": kubernetes(),
            "unchecked": unknown, "warnings": notes, "error": null})),
        Output::Text if !unknown.is_empty() => {
            let text = "fields not checked, since Kubernetes and this repository define no such kind";
            print_text(&format!("{text}: {}; `plan` asks the cluster\n", unknown.join(", ")));
        }
        Output::Text => {}
    }
    Ok(exit)
}

fn tell(app: &str, count: usize, problems: &[Problem], warnings: &[Problem], findings: &[PolicyFinding]) {
    let verdict = if problems.is_empty() && !findings.iter().any(|f| f.action == "deny") { "ok" } else { "not ok" };
    print_text(&format!("{app}: {}, {verdict}\n", counted(count, "object")));
    for warning in warnings {
        print_text(&format!("  warning: {warning}\n"));
    }
    for finding in findings {
        let at = format!("{}:{}", finding.file, finding.line);
        print_text(&format!(
            "  {} {at}: {}: policy {}: {}\n",
            finding.action,
            finding.subject(),
            finding.policy,
            finding.message
        ));
    }
    print_problems(problems);
}
