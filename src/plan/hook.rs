//! Hooks as users of Argo CD and Helm know them: objects that run once per sync, before, during or after it, on its
//! failure, or when the app goes. Pure.
//!
//! `argocd.argoproj.io/hook` counts before `helm.sh/hook`, as in Argo CD. A hook is no member of the app: it is neither
//! compared with live state nor repaired. What it came to is kept in the app's inventory, so that it never runs twice for
//! one sync. Sources: argo-cd `docs/user-guide/resource_hooks.md`, helm.sh/docs/topics/charts_hooks.

use super::wave::{problem, wave};
use crate::inventory::HookRecord;
pub use crate::inventory::Phase;
use crate::object::{Desired, Manifest, ObjectKey, Problem};
use std::collections::BTreeSet;

/// Argo CD's annotation: phases, comma-separated.
pub const ARGO: &str = "argocd.argoproj.io/hook";
/// Argo CD's deletion policies.
pub const ARGO_DELETE: &str = "argocd.argoproj.io/hook-delete-policy";
/// Helm's annotation: events, comma-separated.
pub const HELM: &str = "helm.sh/hook";
/// Helm's deletion policies.
pub const HELM_DELETE: &str = "helm.sh/hook-delete-policy";
/// Helm's order within an event.
pub const HELM_WEIGHT: &str = "helm.sh/hook-weight";
/// On a running hook: for which sync it runs.
pub const RUN: &str = "driftless.dev/hook-run";
/// Keeps a finished hook (or one that its TTL removes) until its result was recorded.
pub const FINALIZER: &str = "driftless.dev/hook";

/// When a hook's object is deleted again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Deletion {
    /// Once it succeeded.
    pub on_success: bool,
    /// Once it failed.
    pub on_failure: bool,
}

/// What an object's annotations say of it as a hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// When it runs; empty: never (a test, or `Skip`).
    pub phases: BTreeSet<Phase>,
    /// Order within a phase.
    pub weight: i32,
    /// Hooks of one weight run one after the other, by kind and name (Helm's way).
    pub ordered: bool,
    /// When its object goes.
    pub deletion: Deletion,
}

/// A hook of this app.
#[derive(Debug, Clone, PartialEq)]
pub struct HookObject {
    /// Its key.
    pub key: ObjectKey,
    /// The object.
    pub desired: Desired,
    /// As annotated.
    pub hook: Hook,
}

/// The objects that are synced, and the hooks among them. `installed` is true once the app was applied in whole: Helm
/// tells an upgrade from an installation.
///
/// # Errors
/// Every hook whose annotations make no sense.
pub fn split(objects: Vec<Desired>, installed: bool) -> Result<(Vec<Desired>, Vec<HookObject>), Vec<Problem>> {
    let (mut plain, mut hooks, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    for desired in objects {
        match hook(&desired, installed) {
            Ok(None) => plain.push(desired),
            Ok(Some(hook)) => hooks.push(HookObject { key: desired.key(), desired, hook }),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok((plain, hooks)) } else { Err(problems) }
}

/// True if the annotations make an object a hook, whatever they say.
pub fn is_hook(object: &impl Manifest) -> bool {
    [ARGO, HELM].iter().any(|name| object.annotation(name).is_some())
}

/// An object's hook annotations; `None` if it has none.
///
/// # Errors
/// A phase, policy or weight that is not known: it must not be passed over silently.
pub fn hook(desired: &Desired, installed: bool) -> Result<Option<Hook>, Problem> {
    if let Some(text) = desired.annotation(ARGO) {
        let mut phases = BTreeSet::new();
        for word in words(text) {
            phases.extend(argo_phase(desired, word)?);
        }
        let deletion = deletion(desired, ARGO_DELETE, ["HookSucceeded", "HookFailed", "BeforeHookCreation"])?;
        return Ok(Some(Hook { phases, weight: wave(desired)?, ordered: false, deletion }));
    }
    let Some(text) = desired.annotation(HELM) else { return Ok(None) };
    let mut phases = BTreeSet::new();
    for word in words(text) {
        phases.extend(helm_phase(desired, word, installed)?);
    }
    let deletion = deletion(desired, HELM_DELETE, ["hook-succeeded", "hook-failed", "before-hook-creation"])?;
    let weight = desired.annotation(HELM_WEIGHT).unwrap_or("0").trim();
    let weight = weight.parse().map_err(|_| {
        bad(desired, HELM_WEIGHT, weight).hint("a weight is a whole number such as -5, 0 or 10, in quotes")
    })?;
    Ok(Some(Hook { phases, weight, ordered: true, deletion }))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty())
}

fn argo_phase(desired: &Desired, word: &str) -> Result<Option<Phase>, Problem> {
    Ok(Some(match word {
        "PreSync" => Phase::Before,
        "Sync" => Phase::During,
        "PostSync" => Phase::After,
        "SyncFail" => Phase::OnFailure,
        "PreDelete" => Phase::BeforeDelete,
        "PostDelete" => Phase::AfterDelete,
        "Skip" => return Ok(None),
        _ => {
            return Err(bad(desired, ARGO, word)
                .hint("PreSync, Sync, PostSync, SyncFail, PreDelete, PostDelete and Skip are known"));
        }
    }))
}

fn helm_phase(desired: &Desired, word: &str, installed: bool) -> Result<Option<Phase>, Problem> {
    let phase = match word {
        "pre-install" => (!installed).then_some(Phase::Before),
        "post-install" => (!installed).then_some(Phase::After),
        "pre-upgrade" => installed.then_some(Phase::Before),
        "post-upgrade" => installed.then_some(Phase::After),
        "pre-delete" => Some(Phase::BeforeDelete),
        "post-delete" => Some(Phase::AfterDelete),
        // A rollback runs no hooks here; tests are for `helm test`; Helm 2's.
        "pre-rollback" | "post-rollback" | "test" | "test-success" | "test-failure" | "crd-install" => None,
        _ => {
            return Err(bad(desired, HELM, word)
                .hint("pre- and post- with install, upgrade, delete and rollback, and test are known"));
        }
    };
    Ok(phase)
}

fn deletion(desired: &Desired, annotation: &str, [ok, failed, before]: [&str; 3]) -> Result<Deletion, Problem> {
    let mut out = Deletion::default();
    for word in words(desired.annotation(annotation).unwrap_or_default()) {
        match word {
            word if word == ok => out.on_success = true,
            word if word == failed => out.on_failure = true,
            // What is there from an earlier sync has to go in any case: a Job does not run again.
            word if word == before => {}
            word => return Err(bad(desired, annotation, word).hint(format!("{ok}, {failed} and {before} are known"))),
        }
    }
    Ok(out)
}

fn bad(desired: &Desired, annotation: &str, word: &str) -> Problem {
    problem(desired, "InvalidHook", format!("the annotation `{annotation}` has `{word}`, which is not known"))
}

/// The hooks of a phase in the groups that run one after the other; within a group at once. Those that are `done` are
/// left out.
pub fn groups<'h>(hooks: &'h [HookObject], phase: Phase, done: &[HookRecord]) -> Vec<Vec<&'h HookObject>> {
    let mut open: Vec<&HookObject> = hooks
        .iter()
        .filter(|hook| hook.hook.phases.contains(&phase))
        .filter(|hook| !done.iter().any(|record| record.is_of(&hook.key, phase)))
        .collect();
    let rank = |hook: &HookObject| {
        let alone = hook.hook.ordered.then(|| (super::order::kind_rank(&hook.key), hook.key.clone()));
        (hook.hook.weight, alone)
    };
    open.sort_by_cached_key(|hook| (rank(hook), hook.key.clone()));
    let mut out: Vec<Vec<&HookObject>> = Vec::new();
    for hook in open {
        match out.last_mut() {
            Some(group) if rank(group[0]) == rank(hook) => group.push(hook),
            _ => out.push(vec![hook]),
        }
    }
    out
}

/// Keys of hooks: what an app has as a hook is not pruned as a member that it was.
pub fn keys(hooks: &[HookObject]) -> BTreeSet<ObjectKey> {
    hooks.iter().map(|hook| hook.key.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Source;
    use serde_json::{Value, json};

    fn job(name: &str, annotations: &Value) -> Desired {
        Desired {
            object: json!({"apiVersion": "batch/v1", "kind": "Job",
                "metadata": {"name": name, "namespace": "shop", "annotations": annotations}}),
            source: Source { file: "f.yaml".into(), line: 3 },
        }
    }

    #[test]
    fn annotations() {
        let phases = |annotations: Value, installed: bool| {
            let hook = hook(&job("a", &annotations), installed).unwrap();
            hook.map(|hook| hook.phases.into_iter().collect::<Vec<_>>())
        };
        for (annotations, installed, expected) in [
            (json!({}), true, None),
            (json!({ARGO: "PreSync"}), true, Some(vec![Phase::Before])),
            (json!({ARGO: "Sync, PostSync"}), true, Some(vec![Phase::During, Phase::After])),
            (json!({ARGO: "SyncFail", HELM: "test"}), true, Some(vec![Phase::OnFailure])),
            (json!({ARGO: "Skip"}), true, Some(vec![])),
            (json!({HELM: "pre-install,pre-upgrade"}), true, Some(vec![Phase::Before])),
            (json!({HELM: "pre-install,pre-upgrade"}), false, Some(vec![Phase::Before])),
            (json!({HELM: "post-install"}), true, Some(vec![])),
            (json!({HELM: "post-install"}), false, Some(vec![Phase::After])),
            (json!({HELM: "test"}), false, Some(vec![])),
            (json!({HELM: "pre-delete,post-delete"}), true, Some(vec![Phase::BeforeDelete, Phase::AfterDelete])),
        ] {
            assert_eq!(phases(annotations.clone(), installed), expected, "{annotations} {installed}");
        }
        for bad in [
            json!({ARGO: "presync"}),
            json!({HELM: "pre-sync"}),
            json!({HELM: "test", HELM_WEIGHT: "x"}),
            json!({HELM: "test", HELM_DELETE: "HookSucceeded"}),
        ] {
            let problem = hook(&job("a", &bad), true).unwrap_err();
            assert_eq!((problem.reason.as_str(), problem.line), ("InvalidHook", Some(3)), "{bad}");
        }
    }

    #[test]
    fn order_within_a_phase() {
        let hooks: Vec<HookObject> = [
            job("c", &json!({HELM: "pre-upgrade", HELM_WEIGHT: "-5"})),
            job("b", &json!({HELM: "pre-upgrade"})),
            job("a", &json!({HELM: "pre-upgrade"})),
            job("e", &json!({ARGO: "PreSync", "argocd.argoproj.io/sync-wave": "2"})),
            job("d", &json!({ARGO: "PreSync", "argocd.argoproj.io/sync-wave": "2"})),
            job("f", &json!({ARGO: "PostSync"})),
        ]
        .into_iter()
        .map(|desired| HookObject { key: desired.key(), hook: hook(&desired, true).unwrap().unwrap(), desired })
        .collect();
        let names = |done: &[HookRecord]| -> Vec<Vec<String>> {
            groups(&hooks, Phase::Before, done)
                .into_iter()
                .map(|group| group.into_iter().map(|hook| hook.desired.name().to_owned()).collect())
                .collect()
        };
        assert_eq!(names(&[]), [vec!["c"], vec!["a"], vec!["b"], vec!["d", "e"]]);
        let done = HookRecord {
            object: hooks[0].desired.object_ref(),
            phase: Phase::Before,
            run: "1".into(),
            uid: "u".into(),
            succeeded: true,
            message: String::new(),
        };
        assert_eq!(names(&[done])[0], ["a"]);
    }
}
