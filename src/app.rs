//! An app as everything after the configuration sees it: a directory, a cluster, an identity and its settings. Pure.

use crate::config::{self, AppPaths, Config, OnFailure, Repository};
use crate::inventory::Identity;
use crate::object::Problem;
use crate::plan::{IgnoreRule, PlanOptions, PruneLimit};
use crate::render::HelmSource;
use crate::render::discover::{discover_apps, links_passed_over};
use crate::render::glob::Globs;
use crate::source::SourceTree;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// One app on one cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct App {
    /// Name.
    pub name: String,
    /// Directory, relative to the repository's root; empty for the root.
    pub path: String,
    /// Cluster name.
    pub cluster: String,
    /// Whose it is.
    pub identity: Identity,
    /// Namespace of objects that name none; `None`: the cluster's default one.
    pub namespace: Option<String>,
    /// What planning obeys.
    pub plan: PlanOptions,
    /// Time to become healthy.
    pub timeout: Duration,
    /// What to do when it does not.
    pub on_failure: OnFailure,
    /// Repair drift.
    pub self_heal: bool,
    /// Delete and replace only what the plan of a pull request showed.
    pub require_plan: bool,
    /// Files that are no manifests.
    pub ignore_files: Vec<String>,
    /// How a chart is rendered.
    pub helm: HelmSource,
    /// Apps that come first.
    pub depends_on: Vec<String>,
}

impl App {
    /// The same app with nothing in Git any more: everything it owns is pruned.
    #[must_use]
    pub fn removed(mut self) -> Self {
        self.plan.app_removed = true;
        self
    }
}

/// The apps of a repository at one tree.
///
/// # Errors
/// Every directory that is missing, every name that is used twice, every glob that cannot be read.
pub fn apps_of(
    config: &Config,
    repository: &Repository,
    repository_identity: &str,
    repository_name: &str,
    tree: &SourceTree,
) -> Result<Vec<App>, Vec<Problem>> {
    let mut found: BTreeMap<(String, String), App> = BTreeMap::new();
    let mut problems = Vec::new();
    for entry in config.apps.iter().filter(|app| app.repository == repository.name) {
        match directories(entry, repository, repository_name, (tree, &config.policy.paths)) {
            Ok(directories) => {
                for (name, path) in directories {
                    for cluster in &entry.clusters {
                        let app = app(config, repository, repository_identity, entry, &name, &path, cluster);
                        let known = found.entry((name.clone(), cluster.clone())).or_insert_with(|| app.clone());
                        if known.path != app.path {
                            problems.push(same_name(&name, &known.path, &path));
                        }
                    }
                }
            }
            Err(problem) => problems.push(match entry.line.filter(|_| !config.file.is_empty()) {
                Some(line) => problem.at(&config.file, line),
                None => problem,
            }),
        }
    }
    let apps: Vec<App> = found.into_values().collect();
    problems.extend(bad_dependencies(&apps));
    if problems.is_empty() { Ok(apps) } else { Err(problems) }
}

/// Dependencies on apps that are not there, and circles: what a file alone cannot tell where apps are found in the tree.
fn bad_dependencies(apps: &[App]) -> Vec<Problem> {
    let names: BTreeSet<&str> = apps.iter().map(|app| app.name.as_str()).collect();
    let mut problems: BTreeMap<String, Problem> = BTreeMap::new();
    for app in apps {
        for wanted in app.depends_on.iter().filter(|wanted| !names.contains(wanted.as_str())) {
            let text = format!("app {:?} depends on {wanted:?}, and there is no such app", app.name);
            let known: Vec<&str> = names.iter().copied().collect();
            let problem = Problem::new("UnknownDependency", text).hint(format!("the apps are: {}", known.join(", ")));
            problems.entry(format!("{}/{wanted}", app.name)).or_insert(problem);
        }
        if let Some(circle) = circle_from(apps, &app.name) {
            let mut members = circle.clone();
            members.sort();
            members.dedup();
            let text = format!("these apps wait for each other: {}", circle.join(" → "));
            let problem = Problem::new("DependencyCycle", text).hint("remove one of the depends_on");
            problems.entry(members.join(" ")).or_insert(problem);
        }
    }
    problems.into_values().collect()
}

/// The way from an app along `depends_on` back to itself.
fn circle_from(apps: &[App], start: &str) -> Option<Vec<String>> {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut open: Vec<Vec<&str>> = vec![vec![start]];
    while let Some(path) = open.pop() {
        let last = path.last().copied().unwrap_or_default();
        for next in apps.iter().filter(|app| app.name == last).flat_map(|app| &app.depends_on) {
            if next == start {
                return Some(path.iter().copied().chain([start]).map(str::to_owned).collect());
            }
            if seen.insert(next) {
                open.push([path.as_slice(), &[next.as_str()]].concat());
            }
        }
    }
    None
}

/// An app that is in the inventory and no more in Git: settings of its repository's first entry.
pub fn removed_app(
    config: &Config,
    repository: &Repository,
    identity: &Identity,
    namespace: &str,
    cluster: &str,
) -> Option<App> {
    let entry = config.apps.iter().find(|app| app.repository == repository.name)?;
    let mut app = app(config, repository, &identity.repository, entry, &identity.app, "", cluster);
    app.namespace = Some(namespace.to_owned());
    app.identity = identity.clone();
    // Which entry was its own is not known any more: one that wants a plan keeps it from going unseen.
    app.require_plan = config.apps.iter().any(|entry| entry.repository == repository.name && entry.require_plan);
    Some(app.removed())
}

/// An app that is found by its content and was not found: its directory is still there, so that it is no order to delete
/// it (a file that was emptied, renamed or encrypted; a misspelt `apiVersion`). `None` if it is gone, if another app has
/// the directory or a part of it, or if apps are not found by their content.
pub fn emptied_app(
    config: &Config,
    repository: &Repository,
    (identity, namespace, path): (&Identity, &str, &str),
    cluster: &str,
    tree: &SourceTree,
    others: &[&str],
) -> Option<App> {
    let mut entries = config.apps.iter().filter(|app| app.repository == repository.name);
    let entry = entries.find(|app| app.paths == AppPaths::Discover)?;
    let inside = |inner: &str, outer: &str| {
        outer.is_empty() || inner == outer || inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
    };
    let taken = others.iter().any(|other| inside(other, path) || inside(path, other));
    if taken || !is_directory(tree, path) || !inside(path, &repository.path) {
        return None;
    }
    let mut app = app(config, repository, &identity.repository, entry, &identity.app, path, cluster);
    app.namespace = Some(namespace.to_owned());
    app.identity = identity.clone();
    Some(app)
}

/// What is passed over where apps are found by their content, and might have been meant as one.
pub fn passed_over(config: &Config, repository: &Repository, tree: &SourceTree) -> Vec<Problem> {
    let mut entries = config.apps.iter().filter(|app| app.repository == repository.name);
    let found = entries.any(|app| app.paths == AppPaths::Discover);
    if found { links_passed_over(tree, &repository.path) } else { Vec::new() }
}

fn same_name(name: &str, one: &str, two: &str) -> Problem {
    Problem::new("SameAppName", format!("the directories {one:?} and {two:?} would both be the app {name:?}"))
        .hint("give one of them a `name` of its own in driftless.toml")
}

/// The directories that an entry stands for, with the names of their apps.
fn directories(
    entry: &config::App,
    repository: &Repository,
    repository_name: &str,
    (tree, policies): (&SourceTree, &[String]),
) -> Result<Vec<(String, String)>, Problem> {
    // What judges apps is none, unless an entry says so.
    let judges = |path: &str| policies.iter().any(|dir| path == dir || path.starts_with(&format!("{dir}/")));
    let below = |path: &str| match (repository.path.as_str(), path) {
        ("", path) => path.to_owned(),
        (root, "") => root.to_owned(),
        (root, path) => format!("{root}/{path}"),
    };
    match &entry.paths {
        AppPaths::Discover => discover_apps(tree, &repository.path, repository_name)
            .map(|apps| apps.into_iter().filter(|app| !judges(&app.path)).map(|app| (app.name, app.path)).collect())
            .map_err(Problem::from),
        AppPaths::Directory(path) => {
            let whole = below(path);
            if !is_directory(tree, &whole) {
                return Err(not_there(path, &whole, repository, tree));
            }
            let path = whole;
            Ok(vec![(entry.name.clone().unwrap_or_else(|| name_of(&path, repository, repository_name)), path)])
        }
        AppPaths::Glob(pattern) => {
            let globs = Globs::new(&[below(pattern)])
                .map_err(|e| Problem::new("BadGlob", format!("the glob {pattern:?} cannot be used: {e}")))?;
            let mut matching: Vec<String> = Vec::new();
            for dir in all_directories(tree).into_iter().filter(|dir| globs.is_match(dir)) {
                // An app owns all below it. Sorted, a directory comes before what is in it.
                let owned =
                    matching.iter().any(|top| dir.strip_prefix(top.as_str()).is_some_and(|r| r.starts_with('/')));
                if !owned {
                    matching.push(dir);
                }
            }
            if matching.is_empty() {
                let whole = below(pattern);
                let text =
                    format!("the glob {whole:?} matches no directory of the repository{}", below_root(repository));
                return Err(Problem::new("PathNotFound", text)
                    .hint("correct it; to delete its apps, remove the entry while other apps remain"));
            }
            Ok(matching.into_iter().map(|dir| (name_of(&dir, repository, repository_name), dir)).collect())
        }
    }
}

/// Says what an entry's path is below, where that is not the root.
fn below_root(repository: &Repository) -> String {
    match repository.path.as_str() {
        "" => String::new(),
        root => format!(" (an app's `path` and `glob` are below the repository's `path`, {root:?})"),
    }
}

/// A directory that an entry names and the tree does not have.
fn not_there(path: &str, whole: &str, repository: &Repository, tree: &SourceTree) -> Problem {
    let text = format!("the directory {whole:?} is not in the repository{}", below_root(repository));
    // Written from the root by mistake.
    let short = path.strip_prefix(repository.path.as_str()).and_then(|rest| rest.strip_prefix('/'));
    let hint = match short.filter(|_| !repository.path.is_empty() && is_directory(tree, path)) {
        Some(short) => format!("write `path = {short:?}`"),
        None => "correct the app's `path`; to delete an app, remove its entry while other apps remain".to_owned(),
    };
    Problem::new("PathNotFound", text).hint(hint)
}

/// An app is named by its path below the repository's `path`, with `-` for `/`.
fn name_of(path: &str, repository: &Repository, repository_name: &str) -> String {
    let root = repository.path.as_str();
    let relative = path.strip_prefix(root).unwrap_or(path).trim_start_matches('/');
    if relative.is_empty() {
        let last = root.rsplit('/').next().filter(|l| !l.is_empty());
        return last.unwrap_or(repository_name).to_owned();
    }
    relative.replace('/', "-")
}

fn is_directory(tree: &SourceTree, path: &str) -> bool {
    path.is_empty() || tree.entries.keys().any(|file| file.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')))
}

fn all_directories(tree: &SourceTree) -> Vec<String> {
    let mut all = BTreeSet::new();
    for file in tree.entries.keys() {
        let mut rest = file.as_str();
        while let Some((parent, _)) = rest.rsplit_once('/') {
            if parent.split('/').any(|part| part.starts_with('.')) || !all.insert(parent.to_owned()) {
                break;
            }
            rest = parent;
        }
    }
    all.into_iter().collect()
}

fn app(
    config: &Config,
    repository: &Repository,
    repository_identity: &str,
    entry: &config::App,
    name: &str,
    path: &str,
    cluster: &str,
) -> App {
    let limit = match &entry.prune_limit {
        None => PruneLimit::Percent(50),
        Some(config::PruneLimit::Count(count)) => PruneLimit::Count(usize::try_from(*count).unwrap_or(usize::MAX)),
        Some(config::PruneLimit::Percent(percent)) => PruneLimit::Percent(u32::from(*percent)),
    };
    let ignore = entry.ignore.iter().map(|rule| IgnoreRule {
        group: rule.group.clone(),
        kind: rule.kind.clone(),
        namespace: rule.namespace.clone(),
        name: rule.name.clone(),
        pointers: rule.pointers.clone(),
    });
    App {
        name: name.to_owned(),
        path: path.to_owned(),
        cluster: cluster.to_owned(),
        identity: Identity {
            instance: config.instance.name.clone(),
            repository: repository_identity.to_owned(),
            path_root: repository.path.clone(),
            app: name.to_owned(),
        },
        namespace: entry.namespace.clone(),
        plan: PlanOptions {
            prune: entry.prune,
            prune_limit: limit,
            ignore: ignore.collect(),
            self_heal: entry.self_heal,
            create_namespace: entry.create_namespace,
            best_effort: entry.apply == config::ApplyMode::BestEffort,
            ..PlanOptions::default()
        },
        timeout: entry.timeout,
        on_failure: entry.on_failure,
        self_heal: entry.self_heal,
        require_plan: entry.require_plan,
        ignore_files: entry.ignore_files.clone(),
        helm: HelmSource { release: entry.helm.release.clone(), values: entry.helm.values.clone() },
        depends_on: entry
            .depends_on
            .iter()
            .filter(|r| r.repository == repository.name)
            .map(|r| r.name.clone())
            .collect(),
    }
}
