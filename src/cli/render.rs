//! `driftless render` and `driftless check`: what needs no cluster.

use super::args::{Check, Output, Render};
use super::exit::Exit;
use super::output::{print_json, print_problems, print_text, stopped};
use super::setup::{Setup, no_apps};
use crate::object::{Desired, Manifest, ObjectKey, Problem};
use crate::plan::change::PolicyFinding;
use crate::policy::{Facts, evaluate, schema};
use crate::report::yaml_text::yaml_text;
use crate::scope::Member;
use crate::workspace::{policies_of, render_apps};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Digests are not shown here, so that any key will do.
const NO_KEY: &[u8] = b"render";

/// `driftless render`.
///
/// # Errors
/// What stops every app.
pub async fn render(args: &Render) -> Result<Exit, Vec<Problem>> {
    let mut members = rendered(&Setup::new(&args.common).await?, args.revision.as_deref()).await?.0;
    let known: Vec<&str> = members.iter().map(|m| m.app.name.as_str()).collect();
    let hint = format!("its apps are: {}", known.join(", "));
    let unknown: Vec<Problem> = args
        .apps
        .iter()
        .filter(|name| !members.iter().any(|m| m.app.name == **name))
        .map(|name| {
            Problem::new("NoSuchApp", format!("there is no app {name:?} in this repository")).hint(hint.clone())
        })
        .collect();
    if !unknown.is_empty() {
        return Err(unknown);
    }
    members.retain(|m| args.apps.is_empty() || args.apps.contains(&m.app.name));
    let mut exit = Exit::Done;
    let mut items = Vec::new();
    for member in &members {
        match member.rendered.as_ref() {
            Ok(rendered) => {
                for object in &rendered.objects {
                    let value = if args.show_secrets { object.object.clone() } else { hidden(object) };
                    if args.output == Output::Text {
                        print_text(&format!(
                            "---\n# {} {}:{}\n{}",
                            member.app.name,
                            object.source.file,
                            object.source.line,
                            yaml_text(Some(&value))
                        ));
                    }
                    items.push(value);
                }
            }
            Err(problems) => {
                exit = Exit::Error;
                print_problems(problems);
            }
        }
    }
    if args.output == Output::Json {
        print_json(&json!({"apiVersion": "v1", "kind": "List", "items": items}));
    }
    Ok(exit)
}

/// A Secret's values are placeholders.
fn hidden(object: &Desired) -> Value {
    let mut value = object.object.clone();
    if object.key().is("", "Secret") {
        for field in ["data", "stringData"] {
            if let Some(map) = value.get_mut(field).and_then(Value::as_object_mut) {
                map.values_mut().for_each(|v| *v = Value::String("(hidden; --show-secrets shows it)".into()));
            }
        }
        if let Some(annotations) = value.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
            annotations.shift_remove("kubectl.kubernetes.io/last-applied-configuration");
        }
    }
    value
}

async fn rendered(
    setup: &Setup,
    revision: Option<&str>,
) -> Result<(Vec<Member>, Vec<crate::policy::PolicySet>), Vec<Problem>> {
    let mut members = Vec::new();
    let mut policies = Vec::new();
    for origin in &setup.origins {
        let revision = origin.resolve(revision).await.map_err(|p| vec![p])?;
        let tip = origin.tip(&revision).await.map_err(|p| vec![p])?;
        policies.push(policies_of(&setup.config, &tip.tree, &setup.tools).await?);
        let mut apps = origin.apps(&setup.config, &tip.tree)?;
        // What an app renders to does not depend on its cluster.
        apps.dedup_by(|a, b| a.name == b.name);
        let namespace = |app: &crate::app::App| app.namespace.clone().unwrap_or_else(|| "default".to_owned());
        members.extend(render_apps(apps, &tip.tree, &setup.tools, namespace, NO_KEY).await);
    }
    if members.is_empty() { Err(vec![no_apps(setup)]) } else { Ok((members, policies)) }
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
        rendered(&setup, args.revision.as_deref()).await
    };
    let (members, policies) = match found.await {
        Ok(found) => found,
        Err(problems) => {
            let nothing = json!({"apps": [], "ok": false, "error": problems.first()});
            return stopped(problems, args.output == Output::Json, &nothing);
        }
    };
    let notes: Vec<Problem> = policies.iter().flat_map(|set| set.notes(true)).collect();
    if args.output == Output::Text {
        notes.iter().for_each(|note| print_text(&format!("warning: {note}\n")));
    }
    let mut claimed = claimed_twice(&members);
    let mut exit = Exit::Done;
    let mut apps = Vec::new();
    for member in &members {
        let mut problems = Vec::new();
        let mut warnings = Vec::new();
        let mut findings: Vec<PolicyFinding> = Vec::new();
        let mut count = 0;
        match member.rendered.as_ref() {
            Ok(rendered) => {
                count = rendered.objects.len();
                warnings.clone_from(&rendered.warnings);
                problems.extend(schema::check(&rendered.objects));
                let facts = Facts::default().with_manifests(&rendered.objects);
                for set in &policies {
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
    if args.output == Output::Json {
        print_json(&json!({"apps": apps, "ok": exit == Exit::Done, "warnings": notes, "error": null}));
    }
    Ok(exit)
}

fn tell(app: &str, count: usize, problems: &[Problem], warnings: &[Problem], findings: &[PolicyFinding]) {
    let verdict = if problems.is_empty() && !findings.iter().any(|f| f.action == "deny") { "ok" } else { "not ok" };
    print_text(&format!("{app}: {count} objects, {verdict}\n"));
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
