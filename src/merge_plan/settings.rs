//! What a pull request does to `driftless.toml`. It is planned by the base's; what its own would change is told, as far
//! as it moves or takes away apps, and a file that would stop every app is an error.

use super::Ground;
use crate::app::App;
use crate::config::Config;
use crate::object::Problem;
use crate::source::SourceTree;
use crate::workspace::{CONFIG_FILE, Origin};
use std::collections::BTreeMap;

/// What the plan does not show.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// For whoever reads the plan.
    pub notices: Vec<String>,
    /// Apps that are elsewhere, or not there, by the merge's own file: what that deletes is in no plan.
    pub unplanned: Option<String>,
}

/// Compares the files, where it is the base's that counts now (and none outside of the repository).
///
/// # Errors
/// What is wrong with the merge's file.
pub(super) fn compare(ground: Ground<'_>, base: &SourceTree, merge: &SourceTree) -> Result<Settings, Vec<Problem>> {
    if base.entry(CONFIG_FILE) == merge.entry(CONFIG_FILE) {
        return Ok(Settings::default());
    }
    let mut out = Settings {
        notices: vec![format!("it changes {CONFIG_FILE}: its own counts once it is merged")],
        unplanned: None,
    };
    let read =
        |tree: &SourceTree| Some(Config::parse(&String::from_utf8_lossy(tree.file(CONFIG_FILE).ok()?), CONFIG_FILE));
    let old = match read(base) {
        // A base that is at fault itself: what counts is what was read last.
        Some(Err(_)) => ground.config.clone(),
        Some(Ok(old)) if old.apps == ground.config.apps => old,
        // A file outside of the repository counts, or none.
        _ => return Ok(out),
    };
    let Some(new) = read(merge) else {
        let text = format!("{CONFIG_FILE} is gone, and with it policies, guards and every setting of the apps");
        out.notices.push(text.clone());
        out.unplanned = Some(text);
        return Ok(out);
    };
    let new = new.map_err(|errors| errors.into_iter().map(Problem::from).collect::<Vec<_>>())?;
    let (before, after) = (apps(ground.origin, &old, merge), apps(ground.origin, &new, merge)?);
    let (moved, unguarded) = differences(&before.unwrap_or_default(), &after);
    if !unguarded.is_empty() {
        out.notices.push(format!("it switches `require_plan` off for {}", unguarded.join(", ")));
    }
    let off: Vec<String> = old
        .policy
        .paths
        .iter()
        .filter(|path| !new.policy.paths.contains(path))
        .map(|path| format!("`{path}`"))
        .collect();
    if !off.is_empty() {
        out.notices.push(format!("it switches the policies in {} off", off.join(", ")));
    }
    if !moved.is_empty() {
        let moved = moved.join("; ");
        out.notices.push(format!("what {CONFIG_FILE} moves is not planned here: {moved}"));
        out.unplanned = Some(format!("{CONFIG_FILE} moves what is not planned: {moved}"));
    }
    Ok(out)
}

/// The apps of a tree, by a file.
fn apps(origin: &Origin, config: &Config, tree: &SourceTree) -> Result<Vec<App>, Vec<Problem>> {
    let mut origin = origin.clone();
    if let Some(own) = config.repositories.first() {
        let url = std::mem::take(&mut origin.repository.url);
        origin.repository = own.clone();
        origin.repository.url = url;
    }
    origin.apps(config, tree)
}

/// Apps that are elsewhere or not there any more, in words, and apps whose deletions need no review any more.
fn differences(before: &[App], after: &[App]) -> (Vec<String>, Vec<String>) {
    let by_name = |apps: &[App]| -> BTreeMap<(String, String), App> {
        apps.iter().map(|app| ((app.name.clone(), app.cluster.clone()), app.clone())).collect()
    };
    let after = by_name(after);
    let (mut moved, mut unguarded) = (Vec::new(), Vec::new());
    for ((name, cluster), old) in by_name(before) {
        let Some(new) = after.get(&(name.clone(), cluster.clone())) else {
            moved.push(format!("{name} is no app of cluster {cluster} any more"));
            continue;
        };
        let place = |app: &App| app.namespace.clone().unwrap_or_else(|| "the cluster's default".to_owned());
        if old.namespace != new.namespace {
            moved.push(format!("{name}: namespace {} → {}", place(&old), place(new)));
        } else if old.identity != new.identity {
            moved.push(format!("{name} is another app by its instance or `path`"));
        }
        if old.require_plan && !new.require_plan {
            unguarded.push(name);
        }
    }
    (moved, unguarded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Flags;
    use crate::inventory::Identity;

    fn apps(names: &[(&str, Option<&str>, bool)]) -> Vec<App> {
        let config = Config::from_flags(&Flags { repo: ".".into(), ..Flags::default() }).unwrap();
        let entry = &config.apps[0];
        let of = |(name, namespace, require_plan): &(&str, Option<&str>, bool)| App {
            name: (*name).to_owned(),
            path: String::new(),
            cluster: "c".into(),
            identity: Identity {
                instance: "i".into(),
                repository: "r".into(),
                path_root: String::new(),
                app: (*name).into(),
            },
            namespace: namespace.map(str::to_owned),
            plan: crate::plan::PlanOptions::default(),
            timeout: entry.timeout,
            on_failure: entry.on_failure,
            self_heal: true,
            require_plan: *require_plan,
            ignore_files: Vec::new(),
            helm: crate::render::HelmSource::default(),
            depends_on: Vec::new(),
        };
        names.iter().map(of).collect()
    }

    #[test]
    fn what_moves_and_what_is_guarded_no_more() {
        let before = apps(&[("web", Some("a"), true), ("api", None, true), ("old", None, false)]);
        let after = apps(&[("web", Some("b"), false), ("api", None, true), ("new", None, false)]);
        let (moved, unguarded) = differences(&before, &after);
        assert_eq!(moved, ["old is no app of cluster c any more", "web: namespace a → b"]);
        assert_eq!(unguarded, ["web"]);
        assert_eq!(differences(&before, &before), (Vec::new(), Vec::new()));
    }
}
