//! Apps: their directories, clusters and settings; names, dependencies and circles among them.

use super::error::Fault;
use super::file::{AppEntry, DefaultsEntry, HelmEntry, IgnoreEntry, Settings};
use super::format;
use super::lines::{Step, Step::Index, Step::Key};
use super::model::{App, AppPaths, AppRef, ApplyMode, Config, Helm, IgnoreRule, OnFailure};
use super::resolve::{Resolver, add_found_apps, only};
use std::collections::BTreeMap;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(300);

impl Resolver<'_> {
    /// Adds every app of the file, and those that are found.
    pub(super) fn apps(&mut self, config: &mut Config, entries: Vec<AppEntry>, defaults: &DefaultsEntry) {
        let known = Known {
            repositories: config.repositories.iter().map(|repository| repository.name.clone()).collect(),
            clusters: config.clusters.iter().map(|cluster| cluster.name.clone()).collect(),
        };
        let at = |key| [Key("defaults"), Key(key)];
        let repository =
            self.reference(&at("repository"), "repository", defaults.repository.clone(), &known.repositories);
        let clusters =
            self.cluster_names(&[Key("defaults")], defaults.cluster.clone(), defaults.clusters.clone(), &known);
        let fallback = Fallback { repository, clusters, settings: &defaults.settings };
        let before = self.faults.len();
        for (index, entry) in entries.into_iter().enumerate() {
            if let Some(app) = self.app(index, entry, &known, &fallback) {
                config.apps.push(app);
            }
        }
        if self.faults.len() == before {
            // Indices of apps and entries agree only where every entry became an app.
            self.app_names(config);
            self.dependencies(config);
        }
        let clusters = fallback.clusters.clone().or_else(|| only(&known.clusters).map(|one| vec![one]));
        match clusters {
            Some(clusters) => add_found_apps(config, fallback.settings, &clusters),
            None if config.repositories.iter().all(|r| config.apps.iter().any(|a| a.repository == r.name)) => {}
            None if self.faults.is_empty() => self.conflict(
                &[Key("repository")],
                format!(
                    "`[defaults]` needs `cluster` or `clusters`, as there are several: {}",
                    known.clusters.join(", ")
                ),
            ),
            None => {}
        }
    }

    pub(super) fn reference(
        &mut self,
        at: &[Step<'_>],
        what: &'static str,
        name: Option<String>,
        all: &[String],
    ) -> Option<String> {
        name.filter(|name| self.known(at, what, name, all))
    }

    /// The clusters that an entry names; `None` if it names none.
    fn cluster_names(
        &mut self,
        at: &[Step<'_>],
        one: Option<String>,
        several: Option<Vec<String>>,
        known: &Known,
    ) -> Option<Vec<String>> {
        let below = |key| [at, &[Key(key)]].concat();
        match (one, several) {
            (Some(_), Some(_)) => {
                self.conflict(&below("clusters"), "give either `cluster` or `clusters`, not both");
                None
            }
            (Some(one), None) => {
                self.reference(&below("cluster"), "cluster", Some(one), &known.clusters).map(|one| vec![one])
            }
            (None, Some(several)) if several.is_empty() => {
                self.conflict(&below("clusters"), "`clusters` names none");
                None
            }
            (None, Some(several)) => {
                let mut names = Vec::new();
                for (index, name) in several.into_iter().enumerate() {
                    let at = [&below("clusters")[..], &[Index(index)]].concat();
                    if self.known(&at, "cluster", &name, &known.clusters) && !names.contains(&name) {
                        names.push(name);
                    }
                }
                Some(names)
            }
            (None, None) => None,
        }
    }

    fn app(&mut self, index: usize, entry: AppEntry, known: &Known, fallback: &Fallback<'_>) -> Option<App> {
        let at = [Key("app"), Index(index)];
        let below = |key| [Key("app"), Index(index), Key(key)];
        let shown =
            entry.name.clone().or_else(|| entry.path.clone()).or_else(|| entry.glob.clone()).unwrap_or_default();
        let before = self.faults.len();
        let paths = self.paths(index, &entry, &shown);
        let given = self.reference(&below("repository"), "repository", entry.repository.clone(), &known.repositories);
        let repository = given.or_else(|| fallback.repository.clone()).or_else(|| only(&known.repositories));
        let clusters = self.cluster_names(&at, entry.cluster, entry.clusters, known);
        let clusters =
            clusters.or_else(|| fallback.clusters.clone()).or_else(|| only(&known.clusters).map(|one| vec![one]));
        if self.faults.len() > before {
            return None;
        }
        if repository.is_none() {
            let all = known.repositories.join(", ");
            self.conflict(&at, format!("app `{shown}` needs `repository`, as there are several: {all}"));
        }
        if clusters.is_none() {
            let all = known.clusters.join(", ");
            self.conflict(&at, format!("app `{shown}` needs `cluster` or `clusters`, as there are several: {all}"));
        }
        let mut app = app(entry.name, repository?, paths?, clusters?, &entry.settings, fallback.settings);
        let key = if matches!(app.paths, AppPaths::Glob(_)) { "glob" } else { "path" };
        app.line = Some(self.lines.at(&below(key)));
        app.depends_on = entry.depends_on.iter().map(|name| reference(name, &app.repository)).collect();
        Some(app)
    }

    fn paths(&mut self, index: usize, entry: &AppEntry, shown: &str) -> Option<AppPaths> {
        let below = |key| [Key("app"), Index(index), Key(key)];
        match (&entry.path, &entry.glob) {
            (Some(_), Some(_)) => {
                self.conflict(&below("glob"), "an app has either `path` or `glob`, not both");
                None
            }
            (None, None) => {
                self.conflict(&[Key("app"), Index(index)], format!("app `{shown}` needs `path` or `glob`"));
                None
            }
            (None, Some(_)) if entry.name.is_some() => {
                self.conflict(&below("name"), "`name` cannot be given with `glob`: each app is named by its path");
                None
            }
            (None, Some(glob)) => Some(AppPaths::Glob(glob.clone())),
            (Some(path), None) => format::relative_path(path).ok().map(AppPaths::Directory),
        }
    }

    /// Names are unique within a repository: two repositories share nothing.
    fn app_names(&mut self, config: &Config) {
        let mut seen: BTreeMap<AppRef, u32> = BTreeMap::new();
        for (index, app) in config.apps.iter().enumerate() {
            let Some(own) = own_name(app) else { continue };
            let key = if app.name.is_some() { "name" } else { "path" };
            let line = self.lines.at(&[Key("app"), Index(index), Key(key)]);
            match seen.get(&own) {
                Some(first) => {
                    self.faults.push((line, Fault::Duplicate { what: "app", name: own.name, first: *first }));
                }
                None => {
                    seen.insert(own, line);
                }
            }
        }
    }

    fn dependencies(&mut self, config: &Config) {
        let names: Vec<AppRef> = config.apps.iter().filter_map(own_name).collect();
        for (index, app) in config.apps.iter().enumerate() {
            for (position, wanted) in app.depends_on.iter().enumerate() {
                let at = [Key("app"), Index(index), Key("depends_on"), Index(position)];
                let repositories: Vec<String> = config.repositories.iter().map(|r| r.name.clone()).collect();
                if !self.known(&at, "repository", &wanted.repository, &repositories) {
                    continue;
                }
                // Where apps are found in the tree, their names are not known yet.
                let mut there = config.apps.iter().filter(|other| other.repository == wanted.repository).peekable();
                let open = there.peek().is_none() || there.any(|other| own_name(other).is_none());
                if !open && !names.contains(wanted) {
                    let same = names.iter().filter(|name| name.repository == wanted.repository);
                    let same: Vec<String> = same.map(|name| name.name.clone()).collect();
                    self.known(&at, "app", &wanted.name, &same);
                }
            }
        }
        self.circles(config, &names);
    }

    /// Follows every chain once; each circle is reported at its first member.
    fn circles(&mut self, config: &Config, names: &[AppRef]) {
        let several = config.repositories.len() > 1;
        let shown =
            |name: &AppRef| if several { format!("{}/{}", name.repository, name.name) } else { name.name.clone() };
        let next = |name: &AppRef| {
            let app = config.apps.iter().find(|app| own_name(app).as_ref() == Some(name));
            app.map(|app| app.depends_on.clone()).unwrap_or_default()
        };
        let mut done: Vec<AppRef> = Vec::new();
        for start in names {
            // Depth first, with the path so far beside each step.
            let mut todo = vec![vec![start.clone()]];
            let mut visited = done.clone();
            while let Some(path) = todo.pop() {
                let Some(last) = path.last() else { continue };
                for wanted in next(last) {
                    if wanted == *start {
                        let circle: Vec<String> = path.iter().chain([start]).map(&shown).collect();
                        let index = config.apps.iter().position(|app| own_name(app).as_ref() == Some(start));
                        let at = [Key("app"), Index(index.unwrap_or(0)), Key("depends_on")];
                        self.fault(&at, Fault::Cycle(circle.join(" → ")));
                        done.extend(path.iter().cloned());
                    } else if !visited.contains(&wanted) {
                        visited.push(wanted.clone());
                        todo.push([path.clone(), vec![wanted]].concat());
                    }
                }
            }
            done.push(start.clone());
        }
    }
}

struct Known {
    repositories: Vec<String>,
    clusters: Vec<String>,
}

struct Fallback<'a> {
    repository: Option<String>,
    clusters: Option<Vec<String>>,
    settings: &'a Settings,
}

/// `name` of the same repository, or `repository/name`.
fn reference(name: &str, repository: &str) -> AppRef {
    let (repository, name) = name.split_once('/').unwrap_or((repository, name));
    AppRef { repository: repository.to_owned(), name: name.to_owned() }
}

/// The name of an entry that stands for one app: as given, else its path with `-` for `/` (a root's is its repository's).
fn own_name(app: &App) -> Option<AppRef> {
    let AppPaths::Directory(path) = &app.paths else { return None };
    let by_path = || if path.is_empty() { app.repository.clone() } else { path.replace('/', "-") };
    Some(AppRef { repository: app.repository.clone(), name: app.name.clone().unwrap_or_else(by_path) })
}

/// An app with its settings, else those of `[defaults]`, else the built-in ones.
pub(super) fn app(
    name: Option<String>,
    repository: String,
    paths: AppPaths,
    clusters: Vec<String>,
    own: &Settings,
    defaults: &Settings,
) -> App {
    App {
        name,
        repository,
        paths,
        clusters,
        namespace: own.namespace.clone().or_else(|| defaults.namespace.clone()),
        create_namespace: own.create_namespace.or(defaults.create_namespace).unwrap_or(false),
        depends_on: Vec::new(),
        prune: own.prune.or(defaults.prune).unwrap_or(true),
        prune_limit: own.prune_limit.or(defaults.prune_limit),
        require_plan: own.require_plan.or(defaults.require_plan).unwrap_or(false),
        self_heal: own.self_heal.or(defaults.self_heal).unwrap_or(true),
        timeout: own.timeout.or(defaults.timeout).map_or(TIMEOUT, |timeout| timeout.0),
        on_failure: own.on_failure.or(defaults.on_failure).unwrap_or(OnFailure::Rollback),
        apply: own.apply.or(defaults.apply).unwrap_or(ApplyMode::AllOrNothing),
        ignore: defaults.ignore.iter().chain(&own.ignore).map(ignore_rule).collect(),
        ignore_files: defaults.ignore_files.iter().chain(&own.ignore_files).cloned().collect(),
        wait_for_address: own
            .wait_for_address
            .clone()
            .or_else(|| defaults.wait_for_address.clone())
            .unwrap_or_default(),
        helm: own.helm.as_ref().or(defaults.helm.as_ref()).map(helm).unwrap_or_default(),
        line: None,
    }
}

fn helm(entry: &HelmEntry) -> Helm {
    Helm { release: entry.release.clone(), values: entry.values.clone() }
}

fn ignore_rule(entry: &IgnoreEntry) -> IgnoreRule {
    IgnoreRule {
        group: entry.group.clone(),
        kind: entry.kind.clone(),
        namespace: entry.namespace.clone(),
        name: entry.name.clone(),
        pointers: entry.pointers.clone(),
    }
}
