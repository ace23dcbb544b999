//! One app, from the source tree to objects with a digest.
//!
//! In: the tree of a revision, what the configuration says of the app, the tools that may be run. Out: [`Rendered`], or
//! everything that is wrong with the app at once.
//!
//! Invariants: nothing of the repository is executed; no path leaves the tree; the digest depends on what the app
//! renders to and on its namespace, not on file names, their order, or comments.

use super::discover::{CHART_FILE, KUSTOMIZATION_FILES, holds_manifest, is_manifest_name, join};
use super::fault::{ManifestError, ManifestFault};
use super::glob::Globs;
use super::helm::{self, HelmSource};
use super::kustomize;
use super::manifest::{Manifests, Strangers, duplicates};
use super::process::Tools;
use super::yaml::{parse_json, parse_yaml};
use crate::object::{Desired, Digest, Problem};
use crate::source::tree::{Entry, SourceTree, Target, TreeError};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Most problems told of one app.
const MAX_PROBLEMS: usize = 500;

/// What is to be rendered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AppSource {
    /// App name.
    pub name: String,
    /// Its directory, relative to the repository's root; empty for the root itself.
    pub path: String,
    /// Where objects without a namespace go.
    pub namespace: String,
    /// Files that are no manifests: patterns as in [`Globs`].
    pub ignore: Vec<String>,
    /// How a chart is rendered.
    pub helm: HelmSource,
}

/// What an app renders to.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// The objects, by file and line. Namespaces are as written (see [`super::namespaces`]).
    pub objects: Vec<Desired>,
    /// Digest of the objects and the namespace; keyed where a key was given.
    pub digest: Digest,
    /// Things to know that stop nothing.
    pub warnings: Vec<Problem>,
}

/// Everything that is wrong with an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderError {
    /// The app.
    pub app: String,
    /// What is wrong, by file and line; at least one.
    pub problems: Vec<Problem>,
}

/// One line per problem.
impl fmt::Display for RenderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the app {} cannot be rendered", self.app)?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n{problem}"))
    }
}

impl std::error::Error for RenderError {}

impl From<RenderError> for Problem {
    /// The first problem; how many more there are is said in its message.
    fn from(error: RenderError) -> Self {
        let others = error.problems.len().saturating_sub(1);
        let Some(mut first) = error.problems.into_iter().next() else {
            return Self::new("RenderFailed", format!("the app {} cannot be rendered", error.app));
        };
        if others > 0 {
            let plural = if others == 1 { "" } else { "s" };
            first.message = format!("{} (and {others} more problem{plural} in this app)", first.message);
        }
        first
    }
}

/// What kind of directory an app is.
enum Shape {
    Plain,
    Kustomization(String),
    Chart(String),
}

/// Renders an app. `key` makes the digest a keyed one: give it wherever the digest is stored or shown, since an app may
/// hold a Secret. Parsing is done in place: for large apps, call it where blocking for some milliseconds is fine.
///
/// # Errors
/// Every problem of the app, not only the first.
pub async fn render(
    tree: &SourceTree,
    app: &AppSource,
    tools: &Tools,
    key: Option<&[u8]>,
) -> Result<Rendered, RenderError> {
    let fail = |problems: Vec<Problem>| RenderError { app: app.name.clone(), problems };
    let dir = directory(tree, app).map_err(|problem| fail(vec![*problem]))?;
    let mut manifests = match shape(tree, &dir) {
        Shape::Plain => plain(tree, &dir, app).map_err(|problem| fail(vec![*problem]))?,
        Shape::Kustomization(file) => kustomize::render(tree, &dir, &file, tools).await,
        Shape::Chart(file) => helm::render(tree, &dir, &file, app, tools).await,
    };
    manifests.errors.extend(duplicates(&manifests.objects, &app.namespace));
    if !manifests.errors.is_empty() {
        let mut problems: Vec<Problem> = manifests.errors.into_iter().map(Problem::from).collect();
        problems.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        if problems.len() > MAX_PROBLEMS {
            let more = problems.len() - MAX_PROBLEMS;
            problems.truncate(MAX_PROBLEMS);
            problems.push(Problem::new("MoreProblems", format!("and {more} more problems in this app")));
        }
        return Err(fail(problems));
    }
    if manifests.objects.is_empty() {
        let message = format!("the directory {dir:?} holds no objects");
        manifests.warnings.push(Problem::new("EmptyApp", message).hint("check the app's path and its `ignore_files`"));
    }
    let digest = digest(&manifests.objects, &app.namespace, key);
    Ok(Rendered { objects: manifests.objects, digest, warnings: manifests.warnings })
}

/// The objects of an app's plain manifests that can be read, whatever is wrong with others: for a look at them, never to be
/// applied.
pub fn readable(tree: &SourceTree, app: &AppSource) -> Vec<Desired> {
    let Ok(dir) = directory(tree, app) else { return Vec::new() };
    match shape(tree, &dir) {
        Shape::Plain => plain(tree, &dir, app).map(|manifests| manifests.objects).unwrap_or_default(),
        // A tool's "no" is one for all.
        Shape::Kustomization(_) | Shape::Chart(_) => Vec::new(),
    }
}

/// The digest of an app's content: equal for equal objects in any order and any files.
pub fn digest(objects: &[Desired], namespace: &str, key: Option<&[u8]>) -> Digest {
    let one = |value: &Value| match key {
        Some(key) => Digest::of_value_keyed(value, key),
        None => Digest::of_value(value),
    };
    let mut parts: Vec<String> = objects.iter().map(|desired| one(&desired.object).as_str().to_owned()).collect();
    parts.sort_unstable();
    parts.push(namespace.to_owned());
    one(&Value::from(parts))
}

fn directory(tree: &SourceTree, app: &AppSource) -> Result<String, Box<Problem>> {
    let bad = |why: String| {
        let message = format!("the app's path {:?} cannot be used: {why}", app.path);
        Box::new(Problem::new("BadPath", message).hint("check the app's path"))
    };
    match tree.resolve(&app.path).map_err(|error| bad(error.to_string()))? {
        Target::Directory(path) => Ok(path),
        Target::File(..) => Err(bad("it is a file".into())),
    }
}

fn shape(tree: &SourceTree, dir: &str) -> Shape {
    let there = |name: &&str| tree.entry(&join(dir, name)).is_some();
    if let Some(name) = KUSTOMIZATION_FILES.iter().find(|name| there(name)) {
        return Shape::Kustomization(join(dir, name));
    }
    let chart = join(dir, CHART_FILE);
    if tree.entry(&chart).is_some() { Shape::Chart(chart) } else { Shape::Plain }
}

/// Reads every manifest file of a directory and all below it.
fn plain(tree: &SourceTree, dir: &str, app: &AppSource) -> Result<Manifests, Box<Problem>> {
    let globs = Globs::new(&app.ignore).map_err(|error| {
        Box::new(Problem::new("BadIgnore", error.to_string()).hint("correct the app's `ignore_files`"))
    })?;
    let skip = if dir.is_empty() { 0 } else { dir.len() + 1 };
    let mut manifests = Manifests::default();
    // Directories that something else than plain manifests lives in.
    let foreign = foreign_dirs(tree, dir, &globs, &mut manifests);
    let in_foreign = |path: &str| path.match_indices('/').any(|(at, _)| foreign.contains(path.get(..at).unwrap_or("")));
    for (path, entry) in tree.under(dir) {
        let relative = path.get(skip..).unwrap_or_default();
        let hidden = relative.split('/').any(|component| component.starts_with('.'));
        if hidden || in_foreign(path) || globs.is_match(relative) {
            continue;
        }
        if let Some(content) = content(tree, path, entry, &mut manifests) {
            read(path, content, &mut manifests);
        }
    }
    Ok(manifests)
}

/// Directories below `dir` that are charts or kustomizations; each is an error by itself, those inside another are not.
fn foreign_dirs(tree: &SourceTree, dir: &str, globs: &Globs, manifests: &mut Manifests) -> BTreeSet<String> {
    let skip = if dir.is_empty() { 0 } else { dir.len() + 1 };
    let mut foreign: BTreeMap<&str, (&str, ManifestFault)> = BTreeMap::new();
    for (path, _) in tree.under(dir) {
        let relative = path.get(skip..).unwrap_or_default();
        let (Some((parent, name)), true) = (path.rsplit_once('/'), relative.contains('/')) else { continue };
        let fault = match name {
            CHART_FILE => ManifestFault::NestedChart,
            name if KUSTOMIZATION_FILES.contains(&name) => ManifestFault::NestedKustomization,
            _ => continue,
        };
        if !globs.is_match(relative) && !relative.split('/').any(|component| component.starts_with('.')) {
            foreign.entry(parent).or_insert((path, fault));
        }
    }
    let outer = |dir: &str| !dir.match_indices('/').any(|(at, _)| foreign.contains_key(dir.get(..at).unwrap_or("")));
    let errors = foreign.iter().filter(|(dir, _)| outer(dir));
    manifests.errors.extend(errors.map(|(_, (path, fault))| ManifestError::new(path, 1, fault.clone())));
    foreign.into_keys().map(str::to_owned).collect()
}

/// A file's content, if it is to be read. What cannot be read and might matter is an error.
fn content<'t>(tree: &'t SourceTree, path: &str, entry: &'t Entry, manifests: &mut Manifests) -> Option<&'t [u8]> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let manifest = is_manifest_name(name);
    let warn = |manifests: &mut Manifests, what: &str| {
        manifests.warnings.push(Problem::new("NotFollowed", format!("{what} is not read")).at(path, 1));
    };
    match entry {
        Entry::File(content) if manifest => Some(content),
        Entry::Submodule => {
            warn(manifests, "a submodule");
            None
        }
        Entry::File(content) => {
            if is_manifest_name(&name.to_ascii_lowercase()) && holds_manifest(name, content) {
                let text = "this file is not read: a manifest's name ends in `.yaml`, `.yml` or `.json`, in lower case";
                manifests
                    .warnings
                    .push(Problem::new("NotRead", text).at(path, 1).hint("rename it; kubectl passes it over as well"));
            }
            None
        }
        Entry::Symlink(_) | Entry::Oversized(_) => match tree.file(path) {
            Ok(content) if manifest => Some(content),
            Err(TreeError::IsDirectory(_)) => {
                warn(manifests, "what a link to a directory leads to");
                None
            }
            Err(error) if manifest => {
                manifests.errors.push(ManifestError::new(path, 1, ManifestFault::File(error.to_string())));
                None
            }
            _ => None,
        },
    }
}

fn read(path: &str, content: &[u8], manifests: &mut Manifests) {
    let (parsed, strangers) = if path.ends_with(".json") {
        (parse_json(content), Strangers::Skip)
    } else {
        (parse_yaml(content), Strangers::Refuse)
    };
    manifests.read(path, parsed.documents, parsed.errors, strangers);
}

#[cfg(test)]
#[path = "rendered_tests.rs"]
mod tests;
