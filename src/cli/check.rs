//! `driftless check`: what can be said of every app without a cluster.
//!
//! In: every app, rendered. Out: what schemas, policies and other apps have against it. Fields are judged by the table of
//! built-in kinds that the embedded cluster serves, and by the CustomResourceDefinitions of the same repository.

use super::args::{Check, Output};
use super::exit::Exit;
use super::fields::{field_problems, kubernetes};
use super::output::{print_json, print_problems, print_text, stopped};
use super::render::{all_known, everything};
use super::setup::Setup;
use crate::cluster::strict::Strict;
use crate::object::{Desired, Manifest, ObjectKey, Problem, counted};
use crate::plan::change::PolicyFinding;
use crate::policy::{Facts, evaluate, schema};
use crate::render::namespaces::leave_out_namespace;
use crate::scope::Member;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// What the apps of each cluster say of it: Namespaces of one app have the objects of others in them.
fn facts_by_cluster(members: &[Member]) -> BTreeMap<&str, Facts> {
    let mut out: BTreeMap<&str, Facts> = BTreeMap::new();
    for member in members {
        let known = out.entry(&member.app.cluster).or_default();
        for rendered in member.rendered.iter() {
            *known = std::mem::take(known).with_manifests(&rendered.objects);
        }
    }
    out
}

/// As a plan does it: an object of a kind without namespaces is written without the one that stands there.
fn leave_out_namespaces(strict: &Strict, objects: &mut [Desired]) -> Vec<Problem> {
    let mut warnings = Vec::new();
    for object in objects.iter_mut().filter(|object| strict.is_cluster_scoped(&object.gvk().gk())) {
        warnings.extend(leave_out_namespace(object));
    }
    warnings
}

/// Objects that two apps of one cluster claim: the second one would be refused. `last` come after all others: it is told
/// of them.
fn claimed_twice(members: &[Member], last: &[String]) -> BTreeMap<String, Vec<Problem>> {
    let mut owners: BTreeMap<(String, ObjectKey), String> = BTreeMap::new();
    let mut out: BTreeMap<String, Vec<Problem>> = BTreeMap::new();
    let (last, first): (Vec<&Member>, Vec<&Member>) = members.iter().partition(|m| last.contains(&m.app.name));
    for member in first.into_iter().chain(last) {
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
        let all = everything(&setup, args.revision.as_deref(), args.output).await?;
        all_known(&args.apps, &all.members).map(|()| all)
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
    let strict = Strict::with_definitions(all.objects.iter().flatten().map(|object| &object.object));
    let mut strangers = BTreeSet::new();
    let mut claimed = claimed_twice(members, &args.apps);
    let mut exit = Exit::Done;
    let mut apps = Vec::new();
    // All of them are looked at together, and those that are named are told of.
    let facts = facts_by_cluster(members);
    let named = |member: &Member| args.apps.is_empty() || args.apps.contains(&member.app.name);
    for (member, mut objects) in members.iter().zip(all.objects).filter(|(member, _)| named(member)) {
        // What cannot be read does not hide what is wrong with the rest.
        let (mut problems, mut warnings) = match member.rendered.as_ref() {
            Ok(rendered) => (Vec::new(), rendered.warnings.clone()),
            Err(problems) => (problems.clone(), Vec::new()),
        };
        let count = objects.len();
        warnings.extend(leave_out_namespaces(&strict, &mut objects));
        problems.extend(schema::check(&objects));
        field_problems(&strict, &objects, &all.trees, &mut strangers, &mut problems);
        let shared = facts.get(member.app.cluster.as_str()).cloned().unwrap_or_default();
        // An app of which not everything can be read is not among those.
        let facts = if member.rendered.is_ok() { shared } else { shared.with_manifests(&objects) };
        let findings: Vec<PolicyFinding> =
            all.policies.iter().flat_map(|set| evaluate(set, &objects, &facts)).collect();
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
