//! Apps that depend on each other: who stands on whom, and who is held because another one is.

use crate::app::App;
use crate::apply::parents::ParentError;
use crate::engine::Engine;
use crate::reconcile::{Held, default_namespace, held};
use crate::scope::Member;
use crate::source::Revision;
use std::collections::BTreeSet;

/// The members that depend on an app, directly or through others, nearest first.
pub fn standing_on<'a>(members: &'a [Member], app: &str) -> Vec<&'a Member> {
    let mut below = BTreeSet::from([app]);
    let mut out: Vec<&Member> = Vec::new();
    loop {
        let known = below.clone();
        let stands = |m: &&Member| {
            let app = &m.app;
            !known.contains(app.name.as_str()) && app.depends_on.iter().any(|first| known.contains(first.as_str()))
        };
        let next: Vec<&Member> = members.iter().filter(stands).collect();
        if next.is_empty() {
            return out;
        }
        below.extend(next.iter().map(|m| m.app.name.as_str()));
        out.extend(next);
    }
}

/// Why an app is held: one that it depends on, directly or through others, is held at this revision and runs something
/// else. In: the apps of the cluster, as they are at the revision.
///
/// # Errors
/// When the inventory of one of them cannot be read.
pub async fn held_with(
    engine: &Engine,
    members: &[Member],
    app: &App,
    revision: &Revision,
) -> Result<Option<Held>, ParentError> {
    let mut look: Vec<&str> = app.depends_on.iter().map(String::as_str).collect();
    let mut seen = BTreeSet::from([app.name.as_str()]);
    while let Some(name) = look.pop() {
        let Some(member) = members.iter().find(|m| m.app.name == name).filter(|_| seen.insert(name)) else { continue };
        look.extend(member.app.depends_on.iter().map(String::as_str));
        let Ok(rendered) = member.rendered.as_ref() else { continue };
        let parent = engine.parents.load(&member.app.identity, &default_namespace(engine, &member.app)).await?.parent;
        let runs_else = parent.digest.as_ref().is_some_and(|digest| *digest != rendered.digest);
        if let Some(held) = held(&parent, &rendered.digest, revision).filter(|_| runs_else) {
            let why = format!("held with app `{name}`, which it depends on: {}", held.why);
            return Ok(Some(Held { why, ..held }));
        }
    }
    Ok(None)
}
