//! `driftless render`: what an app becomes. Needs no cluster.

use super::args::{Output, Render};
use super::exit::Exit;
use super::output::{print_json, print_problems, print_text};
use super::setup::{Setup, no_apps};
use super::uncommitted;
use crate::object::{Desired, Manifest, Problem};
use crate::plan::redact::is_open_in_a_secret;
use crate::policy::PolicySet;
use crate::render::rendered::readable;
use crate::report::yaml_text::yaml_text;
use crate::scope::Member;
use crate::source::SourceTree;
use crate::workspace::{policies_of, render_apps, source_of};
use serde_json::{Value, json};
use std::sync::Arc;

/// Digests are not shown here, so that any key will do.
const NO_KEY: &[u8] = b"render";

/// `driftless render`.
///
/// # Errors
/// What stops every app.
pub async fn render(args: &Render) -> Result<Exit, Vec<Problem>> {
    let Everything { mut members, passed_over, .. } =
        everything(&Setup::new(&args.common).await?, args.revision.as_deref(), args.output).await?;
    passed_over.iter().for_each(|note| eprintln!("warning: {note}"));
    all_known(&args.apps, &members)?;
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

/// Names that are no apps, with those that are.
pub(super) fn all_known(names: &[String], members: &[Member]) -> Result<(), Vec<Problem>> {
    let known: Vec<&str> = members.iter().map(|m| m.app.name.as_str()).collect();
    let hint = format!("its apps are: {}", known.join(", "));
    let unknown = names.iter().filter(|name| !known.contains(&name.as_str())).map(|name| {
        Problem::new("NoSuchApp", format!("there is no app {name:?} in this repository")).hint(hint.clone())
    });
    let unknown: Vec<Problem> = unknown.collect();
    if unknown.is_empty() { Ok(()) } else { Err(unknown) }
}

/// A Secret's values are placeholders.
fn hidden(object: &Desired) -> Value {
    let mut value = object.object.clone();
    if object.key().is("", "Secret") {
        let hide = |value: &mut Value| *value = Value::String("(hidden; --show-secrets shows it)".into());
        // Also of a field that is misspelt, or put where it does not belong.
        let fields = value.as_object_mut().into_iter().flat_map(|fields| fields.iter_mut());
        for (_, value) in fields.filter(|(name, _)| !is_open_in_a_secret(name)) {
            match value {
                Value::Object(map) => map.values_mut().for_each(hide),
                Value::Null => {}
                other => hide(other),
            }
        }
        if let Some(annotations) = value.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
            annotations.shift_remove("kubectl.kubernetes.io/last-applied-configuration");
        }
    }
    value
}

/// Everything of some revision, rendered without a cluster.
#[derive(Default)]
pub(super) struct Everything {
    /// Every app, once.
    pub members: Vec<Member>,
    /// The objects of each: of one with faults those that can be read.
    pub objects: Vec<Vec<Desired>>,
    /// The policies of every repository.
    pub policies: Vec<PolicySet>,
    /// What was passed over while apps were looked for.
    pub passed_over: Vec<Problem>,
    /// The repositories' files.
    pub trees: Vec<Arc<SourceTree>>,
}

/// Renders every app of a revision. As text, it is said what is not part of it yet.
pub(super) async fn everything(
    setup: &Setup,
    revision: Option<&str>,
    output: Output,
) -> Result<Everything, Vec<Problem>> {
    let mut all = Everything::default();
    for origin in &setup.origins {
        if output == Output::Text {
            uncommitted::tell(origin, revision).await;
        }
        let revision = origin.resolve(revision).await.map_err(|p| vec![p])?;
        let tip = origin.tip(&revision).await.map_err(|p| vec![p])?;
        all.policies.push(policies_of(&setup.config, &tip.tree, &setup.tools).await?);
        let mut apps = origin.apps(&setup.config, &tip.tree)?;
        // What an app renders to does not depend on its cluster.
        apps.dedup_by(|a, b| a.name == b.name);
        let namespace = |app: &crate::app::App| app.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let members = render_apps(apps, &tip.tree, &setup.tools, namespace, NO_KEY).await;
        all.objects.extend(members.iter().map(|member| match member.rendered.as_ref() {
            Ok(rendered) => rendered.objects.clone(),
            Err(_) => readable(&tip.tree, &source_of(&member.app, namespace(&member.app))),
        }));
        all.members.extend(members);
        all.passed_over.extend(origin.passed_over(&setup.config, &tip.tree));
        all.trees.push(tip.tree);
    }
    if all.members.is_empty() { Err(vec![no_apps(setup)]) } else { Ok(all) }
}
