//! The phrases that every output shares: counts, actions, places.
//!
//! Texts from outside (messages, names, reasons) pass [`clean`] before they reach a terminal.

use crate::object::Problem;
pub(super) use crate::object::counted as plural;
use crate::plan::change::{Action, AppPlan, Change, PolicyFinding};
use std::collections::{BTreeMap, BTreeSet};

/// Every action in the order of carrying out, with the verb used in counts and whether it is one.
const ACTIONS: [(Action, &str); 7] = [
    (Action::Create, "create"),
    (Action::Adopt, "adopt"),
    (Action::Update, "update"),
    (Action::Replace, "replace"),
    (Action::Scale, "scale"),
    (Action::Rollout, "roll out"),
    (Action::Prune, "prune"),
];

/// An action as the JSON output spells it.
pub(super) fn action_word(action: Action) -> &'static str {
    match action {
        Action::Create => "create",
        Action::Adopt => "adopt",
        Action::Update => "update",
        Action::Replace => "replace",
        Action::Scale => "scale",
        Action::Rollout => "rollout",
        Action::Prune => "prune",
        Action::None => "none",
    }
}

/// The actions of a change: `scale, rollout`.
pub(super) fn actions(change: &Change) -> String {
    change.actions.iter().map(|action| action_word(*action)).collect::<Vec<_>>().join(", ")
}

/// The sign before a change.
pub(super) fn symbol(change: &Change) -> &'static str {
    match change.actions.last() {
        Some(Action::Create) => "+",
        Some(Action::Prune) => "-",
        Some(Action::Replace) => "±",
        Some(Action::Adopt) => "»",
        Some(Action::None) | None => " ",
        Some(Action::Update | Action::Scale | Action::Rollout) => "~",
    }
}

/// How many objects each action concerns, over some changes.
pub(super) fn count<'a>(changes: impl IntoIterator<Item = &'a Change>) -> BTreeMap<Action, usize> {
    let mut counts = BTreeMap::new();
    for change in changes {
        for action in &change.actions {
            *counts.entry(*action).or_insert(0) += 1;
        }
    }
    counts.remove(&Action::None);
    counts
}

/// `2 to create, 1 to scale, 1 to roll out (3 pods restart: image)`; `nothing to do` where there is nothing. `restarts`
/// is what [`restarts`] says.
pub fn counts(counts: &BTreeMap<Action, usize>, restarts: Option<&str>) -> String {
    let parts: Vec<String> = ACTIONS
        .iter()
        .filter_map(|(action, verb)| {
            let n = counts.get(action).filter(|n| **n > 0)?;
            let note = restarts.filter(|_| *action == Action::Rollout).map(|note| format!(" ({note})"));
            Some(format!("{n} to {verb}{}", note.unwrap_or_default()))
        })
        .collect();
    if parts.is_empty() { "nothing to do".into() } else { parts.join(", ") }
}

/// What restarts, and because of what: `3 pods restart: image`. `pods` tells how many pods run under a change's object,
/// where that is known.
pub(super) fn restarts(plan: &AppPlan, pods: &dyn Fn(&Change) -> Option<u64>) -> Option<String> {
    let restarting: Vec<&Change> = plan.changes.iter().filter(|change| change.restarts).collect();
    if restarting.is_empty() {
        return None;
    }
    let known: Option<u64> = restarting.iter().map(|change| pods(change)).sum();
    let who = match known {
        Some(1) => "1 pod restarts".to_owned(),
        Some(n) => format!("{n} pods restart"),
        None => "pods restart".to_owned(),
    };
    let mut causes: Vec<String> = Vec::new();
    for cause in
        restarting.iter().flat_map(|change| change.fields.iter()).filter_map(|field| template_field(&field.path))
    {
        if !causes.contains(&cause) {
            causes.push(cause);
        }
    }
    let shown = causes.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    Some(match causes.len() {
        0 => who,
        1..=3 => format!("{who}: {shown}"),
        n => format!("{who}: {shown} and {} more", n - 3),
    })
}

/// The last one of the findings shown that refuses, where they say all that the app's error says, and with its place: then
/// the error is shown as its hint alone, after that one.
pub(super) fn refusal_shown(error: Option<&Problem>, shown: &[PolicyFinding]) -> Option<usize> {
    error.filter(|error| error.reason == "PolicyDenied")?;
    shown.iter().rposition(|finding| finding.action == "deny")
}

/// How an app's plan stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// All of it would be carried out.
    Whole,
    /// Its deletions wait for an approval.
    Waits,
    /// What is wrong is left as it is, the rest is carried out.
    InPart,
    /// Nothing is carried out.
    Blocked,
}

/// How an app's plan stands.
pub(super) fn standing(plan: &AppPlan) -> Standing {
    match &plan.error {
        None => Standing::Whole,
        Some(_) if plan.blocked => Standing::Blocked,
        // These hold only deletions back: the rest of the plan is carried out.
        Some(error) if matches!(error.reason.as_str(), "PruneLimit" | "ForeignContents" | "DataLoss") => {
            Standing::Waits
        }
        Some(_) => Standing::InPart,
    }
}

/// What an app's plan comes to, after its name. `restarts` is what [`restarts`] says.
pub(super) fn headline(plan: &AppPlan, restarts: Option<&str>) -> String {
    let counts = counts(&count(&plan.changes), restarts);
    match standing(plan) {
        Standing::Whole => counts,
        Standing::Waits => format!("{counts}; deletions wait for approval"),
        Standing::InPart => format!("{counts}; the rest cannot be planned"),
        Standing::Blocked if plan.changes.is_empty() => "cannot be planned".to_owned(),
        Standing::Blocked => "cannot be planned: nothing of it is done, this would follow".to_owned(),
    }
}

/// The word that says what changes in a pod template: `image` of `.spec.template.spec.containers[name="a"].image`.
fn template_field(path: &str) -> Option<String> {
    let inner = path.split_once(".template.")?.1;
    let rest = inner.strip_prefix("spec.").or_else(|| inner.strip_prefix("metadata.")).unwrap_or(inner);
    let words: Vec<&str> = rest.split(['.', '[']).filter(|word| !word.is_empty()).collect();
    let first = words.first()?;
    if !first.to_ascii_lowercase().ends_with("containers") {
        return Some(clean(first));
    }
    let after = rest.split_once("].").map(|(_, after)| after)?;
    after.split(['.', '[']).next().map(clean)
}

/// `web/deploy.yaml:12`.
pub(super) fn place(file: &str, line: u32) -> String {
    format!("{}:{line}", clean(file))
}

/// True where these are on several clusters: then each of them says on which.
pub(super) fn are_on_several<'a>(clusters: impl IntoIterator<Item = &'a str>) -> bool {
    clusters.into_iter().collect::<BTreeSet<_>>().len() > 1
}

/// ` (cluster prod)` after an app's name, where there are several.
pub(super) fn on_cluster(cluster: &str, several: bool) -> String {
    if several { format!(" (cluster {})", clean(cluster)) } else { String::new() }
}

/// A revision, short: as long as in Git's own texts.
pub(super) fn short_revision(revision: Option<&str>) -> String {
    revision.map_or_else(|| "-".to_owned(), |revision| clean(&revision.chars().take(7).collect::<String>()))
}

/// A problem with its place and object, and its hint.
pub(super) fn problem(problem: &Problem) -> (String, Option<String>) {
    (clean(&problem.to_string()), problem.hint.as_deref().map(clean))
}

/// One line that cannot act on a terminal: control and direction-changing characters become `\u{fffd}`.
pub(super) fn clean(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .map(|c| match c {
            '\n' | '\r' | '\t' => ' ',
            c if hidden(c) => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// Milliseconds for a person: `480 ms`, `2.3 s`, `4 min 5 s`.
pub(super) fn duration(ms: u64) -> String {
    match ms {
        0..=999 => format!("{ms} ms"),
        1000..=59_999 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        for (path, word) in [
            (".spec.template.spec.containers[name=\"main\"].image", Some("image")),
            (".spec.template.spec.initContainers[name=\"a.b\"].env[name=\"X\"].value", Some("env")),
            (".spec.template.metadata.annotations[\"a/b\"]", Some("annotations")),
            (".spec.jobTemplate.spec.template.spec.volumes[name=\"v\"]", Some("volumes")),
            (".spec.template.spec.containers[name=\"new\"]", None),
            (".spec.replicas", None),
        ] {
            assert_eq!(template_field(path).as_deref(), word, "{path}");
        }
        assert_eq!(duration(999), "999 ms");
        assert_eq!(duration(2345), "2.3 s");
        assert_eq!(duration(245_000), "4 min 5 s");
        assert_eq!(clean("a\u{1b}[31mb\nc\u{202e}"), "a\u{fffd}[31mb c\u{fffd}");
        assert_eq!(counts(&BTreeMap::new(), None), "nothing to do");
    }
}
