//! Which directories are apps, when no configuration says so. Pure.
//!
//! In: a tree, the path root, the repository's name. Out: the topmost directories that hold manifests, a kustomization
//! file or a `Chart.yaml`, sorted by path; each owns all below it.
//!
//! A YAML file without `apiVersion` and `kind` makes no app. Directories that start with a dot are skipped, and links
//! are not walked into ([`links_passed_over`] names them). A Kustomize component (`kind: Component`) is no app: it means
//! nothing by itself. A file that cannot be read makes an app if it looks like a manifest, or cannot be looked into: an
//! app must not vanish because of a typing error, or of an editor's encoding.

use super::manifest::is_dns_label;
use super::yaml::{parse_json, parse_yaml, readable};
use crate::object::Problem;
use crate::source::tree::{Entry, SourceTree, Target, TreeError};
use std::collections::BTreeMap;

/// The names a kustomization file can have.
pub const KUSTOMIZATION_FILES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];
/// The file that makes a directory a Helm chart.
pub const CHART_FILE: &str = "Chart.yaml";
/// Most links to directories that are told of.
const MAX_LINKS_TOLD: usize = 20;
/// Most apps in one scope.
pub const MAX_APPS: usize = 10_000;

/// An app that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppDir {
    /// Its name: a DNS label.
    pub name: String,
    /// Its directory, relative to the repository's root; empty for the root itself.
    pub path: String,
}

/// Why there is no list of apps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiscoverError {
    /// The path root is not there, or no directory.
    #[error("the path {path:?} cannot be used: {why}")]
    BadRoot {
        /// The path root.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// Two directories get one name.
    #[error("the directories {first:?} and {second:?} would both be the app {name:?}")]
    SameName {
        /// The name.
        name: String,
        /// One directory.
        first: String,
        /// The other.
        second: String,
    },
    /// A directory whose name cannot be an app's.
    #[error(
        "the directory {path:?} gives no app name: at most 63 letters, digits and `-`, with a letter or digit at both ends"
    )]
    BadName {
        /// The directory.
        path: String,
    },
    /// Too many apps.
    #[error("there are more than {MAX_APPS} apps")]
    TooMany,
}

impl From<DiscoverError> for Problem {
    fn from(error: DiscoverError) -> Self {
        let (reason, hint) = match &error {
            DiscoverError::BadRoot { .. } => ("BadPath", "check --path"),
            DiscoverError::SameName { .. } => ("SameAppName", "rename one of them, or name the apps in driftless.toml"),
            DiscoverError::BadName { .. } => ("BadAppName", "rename it, or name the app in driftless.toml"),
            DiscoverError::TooMany => ("TooManyApps", "choose a smaller --path"),
        };
        Self::new(reason, error.to_string()).hint(hint)
    }
}

/// Finds the apps below `path_root` (empty for the repository's root). `repository_name` names the root itself.
///
/// # Errors
/// If the path root is no directory, or the names do not work out.
pub fn discover_apps(tree: &SourceTree, path_root: &str, repository_name: &str) -> Result<Vec<AppDir>, DiscoverError> {
    let bad_root = |why: String| DiscoverError::BadRoot { path: path_root.to_owned(), why };
    let root = match tree.resolve(path_root).map_err(|error| bad_root(error.to_string()))? {
        Target::Directory(path) => path,
        Target::File(..) => return Err(bad_root("it is a file".into())),
    };
    let mut found = Vec::new();
    walk(tree, &root, &mut found, |_| {})?;
    found.sort_unstable();
    let mut by_name: BTreeMap<String, String> = BTreeMap::new();
    let mut apps = Vec::with_capacity(found.len());
    for path in found {
        let name = app_name(&root, &path, repository_name)?;
        if let Some(first) = by_name.insert(name.clone(), path.clone()) {
            return Err(DiscoverError::SameName { name, first, second: path });
        }
        apps.push(AppDir { name, path });
    }
    Ok(apps)
}

/// Links to directories of manifests outside of every app: they are not followed, and what nobody names is missed.
pub fn links_passed_over(tree: &SourceTree, path_root: &str) -> Vec<Problem> {
    let Ok(Target::Directory(root)) = tree.resolve(path_root) else { return Vec::new() };
    let mut links = Vec::new();
    // Whoever finds the apps tells what is wrong with them.
    let _ = walk(tree, &root, &mut Vec::new(), |link| links.push(link));
    let leads_to_apps = |link: &String| {
        let Ok(Target::Directory(target)) = tree.resolve(link) else { return false };
        let mut apps = Vec::new();
        walk(tree, &target, &mut apps, |_| {}).is_err() || !apps.is_empty()
    };
    let told = links.into_iter().take(MAX_LINKS_TOLD).filter(leads_to_apps);
    told.map(|link| {
        Problem::new("NotFollowed", "what a link to a directory leads to is not read")
            .at(link, 1)
            .hint("make it a directory of its own; a `kustomization.yaml` in it may refer to the other one")
    })
    .collect()
}

/// What a directory is.
enum Verdict {
    App,
    Component,
    Plain,
}

/// Walks without recursion: a hostile tree may be thousands of directories deep. Links outside of every app go to `link`.
fn walk(
    tree: &SourceTree,
    root: &str,
    found: &mut Vec<String>,
    mut link: impl FnMut(String),
) -> Result<(), DiscoverError> {
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        let (files, dirs) = children(tree, &dir);
        match verdict(tree, &dir, &files) {
            Verdict::App => {
                if found.len() >= MAX_APPS {
                    return Err(DiscoverError::TooMany);
                }
                found.push(dir);
            }
            Verdict::Component => {}
            Verdict::Plain => {
                let paths = files.iter().map(|name| join(&dir, name));
                paths.filter(|path| matches!(tree.entry(path), Some(Entry::Symlink(_)))).for_each(&mut link);
                open.extend(dirs.into_iter().map(|name| join(&dir, &name)));
            }
        }
    }
    Ok(())
}

/// Names of the files and of the directories directly in `dir`, those with a leading dot left out.
fn children(tree: &SourceTree, dir: &str) -> (Vec<String>, Vec<String>) {
    let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
    let (mut files, mut dirs): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let mut from = prefix.clone();
    while let Some((path, entry)) = tree.entries.range(from.clone()..).next() {
        let Some(relative) = path.strip_prefix(&prefix) else { break };
        match relative.split_once('/') {
            // The byte after `/`: the next entry that is not below this directory.
            Some((name, _)) => {
                if !name.starts_with('.') {
                    dirs.push(name.to_owned());
                }
                from = format!("{prefix}{name}0");
            }
            None => {
                if !relative.starts_with('.') && !matches!(entry, Entry::Submodule) {
                    files.push(relative.to_owned());
                }
                from = format!("{path}\0");
            }
        }
    }
    (files, dirs)
}

fn verdict(tree: &SourceTree, dir: &str, files: &[String]) -> Verdict {
    let kustomization = files.iter().find(|name| KUSTOMIZATION_FILES.contains(&name.as_str()));
    if let Some(name) = kustomization {
        let component = tree.file(&join(dir, name)).is_ok_and(|content| {
            let documents = parse_yaml(content).documents;
            documents.iter().any(|d| d.root.get("kind").and_then(|kind| kind.value.as_str()) == Some("Component"))
        });
        return if component { Verdict::Component } else { Verdict::App };
    }
    let makes_app = |name: &String| {
        name == CHART_FILE
            || (is_manifest_name(&name.to_ascii_lowercase())
                && match tree.file(&join(dir, name)) {
                    Ok(content) => holds_manifest(name, content),
                    Err(error) => matches!(error, TreeError::Oversized { .. }),
                })
    };
    if files.iter().any(makes_app) { Verdict::App } else { Verdict::Plain }
}

/// True for the names of files that are read for manifests: as kubectl has them, in lower case.
pub(super) fn is_manifest_name(name: &str) -> bool {
    [".yaml", ".yml", ".json"].iter().any(|extension| name.ends_with(extension) && name.len() > extension.len())
}

pub(super) fn holds_manifest(name: &str, content: &[u8]) -> bool {
    // Nearly every manifest is recognised by two lines, without parsing it.
    let mut lines = content.split(|b| *b == b'\n');
    let starts = |prefix: &'static [u8]| move |line: &[u8]| line.starts_with(prefix);
    if lines.clone().any(starts(b"apiVersion:")) && lines.any(starts(b"kind:")) {
        return true;
    }
    let Some(text) = readable(content) else {
        // Of text in 16 bits the zeros are left. What is no text at all (encrypted, a picture) makes no new app; one that is
        // known and says nothing any more is refused elsewhere.
        let plain: Vec<u8> = content.iter().copied().filter(|byte| *byte != 0).collect();
        let mentions = |word: &[u8]| plain.windows(word.len()).any(|window| window == word);
        return mentions(b"apiVersion") && mentions(b"kind");
    };
    let content = text.as_bytes();
    let mentions = |word: &[u8]| content.windows(word.len()).any(|window| window == word);
    if !mentions(b"apiVersion") || !mentions(b"kind") {
        return false;
    }
    let content = text.trim_start_matches('\u{feff}').as_bytes();
    let parsed = if name.to_ascii_lowercase().ends_with(".json") { parse_json(content) } else { parse_yaml(content) };
    parsed.documents.iter().any(|d| d.root.get("apiVersion").is_some() && d.root.get("kind").is_some())
}

fn app_name(root: &str, path: &str, repository_name: &str) -> Result<String, DiscoverError> {
    let relative = path.strip_prefix(root).unwrap_or(path).trim_start_matches('/');
    let raw = if relative.is_empty() { repository_name } else { relative };
    let mapped = |c: char| match c {
        '/' | '_' | '.' | ' ' => '-',
        c => c.to_ascii_lowercase(),
    };
    let name: String = raw.chars().map(mapped).collect();
    let name = name.trim_matches('-').to_owned();
    if is_dns_label(&name) { Ok(name) } else { Err(DiscoverError::BadName { path: raw.chars().take(200).collect() }) }
}

pub(super) fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::tree::Revision;

    const OBJECT: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n";

    fn found(files: &[(&str, &str)], root: &str) -> Result<Vec<(String, String)>, DiscoverError> {
        let tree = SourceTree::from_files(files.iter().copied()).unwrap();
        Ok(discover_apps(&tree, root, "My.Repo")?.into_iter().map(|app| (app.name, app.path)).collect())
    }

    fn names(files: &[(&str, &str)], root: &str) -> Vec<String> {
        found(files, root).unwrap().into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn topmost_directories_own_all_below() {
        let files = [
            ("README.md", "x"),
            ("apps/README.md", "x"),
            ("apps/web/a.yaml", OBJECT),
            ("apps/web/sub/b.yaml", OBJECT),
            ("apps/db/base/kustomization.yaml", "resources: []"),
            ("apps/chart/Chart.yaml", "name: x"),
            ("apps/chart/templates/a.yaml", "{{ x }}"),
            ("apps/docs/values.yaml", "a: 1"),
            ("apps/.hidden/a.yaml", OBJECT),
            ("apps/json/a.json", "{\"apiVersion\": \"v1\", \"kind\": \"List\"}"),
            ("apps/list/a.yml", "- apiVersion: v1\n  kind: x\n"),
            ("apps/flow/a.yml", "{apiVersion: v1, kind: x}"),
            ("apps/broken/a.yml", "apiVersion: v1\nkind: ConfigMap\nmetadata: [\n"),
            ("apps/part/kustomization.yaml", "kind: Component\n"),
            ("apps/part/patch.yaml", OBJECT),
            ("apps/web.old/a.yaml", OBJECT),
            ("apps/capitals/A.YAML", OBJECT),
            (".github/workflows/a.yaml", OBJECT),
        ];
        let expected = ["broken", "capitals", "chart", "db-base", "flow", "json", "web", "web-old"];
        assert_eq!(names(&files, "apps"), expected);
        assert_eq!(names(&files, "apps/"), expected);
        assert_eq!(names(&files, ""), expected.map(|name| format!("apps-{name}")));
        assert_eq!(found(&files, "apps/web").unwrap(), [("my-repo".into(), "apps/web".into())]);
    }

    #[test]
    fn manifests_at_the_root_make_one_app() {
        let files = [("a.yaml", OBJECT), ("web/a.yaml", OBJECT)];
        assert_eq!(found(&files, "").unwrap(), [("my-repo".into(), String::new())]);
        assert!(names(&[("README.md", "x"), ("values.yaml", "a: 1")], "").is_empty());
    }

    #[test]
    fn names_that_do_not_work() {
        let error = found(&[("a-b/x.yaml", OBJECT), ("a/b/x.yaml", OBJECT)], "").unwrap_err();
        let message = error.to_string();
        assert!(message.contains("\"a-b\"") && message.contains("\"a/b\""), "{message}");
        assert!(matches!(found(&[("Ünï/x.yaml", OBJECT)], ""), Err(DiscoverError::BadName { .. })));
        assert!(matches!(found(&[(&"a".repeat(64), "")], "nope"), Err(DiscoverError::BadRoot { .. })));
        assert!(matches!(found(&[("a.yaml", OBJECT)], "a.yaml"), Err(DiscoverError::BadRoot { .. })));
        assert!(matches!(found(&[("a.yaml", OBJECT)], "../x"), Err(DiscoverError::BadRoot { .. })));
        let long = format!("{}/{}/x.yaml", "a".repeat(40), "b".repeat(40));
        assert!(matches!(found(&[(&long, OBJECT)], ""), Err(DiscoverError::BadName { .. })));
        assert_eq!(names(&[("_My App_/x.yaml", OBJECT)], ""), ["my-app"]);
    }

    #[test]
    fn links_are_files_but_never_directories_to_walk() {
        let entries = [
            ("base/a.txt", Entry::File(OBJECT.as_bytes().into())),
            ("web/a.yaml", Entry::Symlink("../base/a.txt".into())),
            ("dir", Entry::Symlink("web".into())),
            ("out/a.yaml", Entry::Symlink("/etc/passwd".into())),
            ("sub", Entry::Submodule),
        ];
        let entries = entries.map(|(path, entry)| (path.to_owned(), entry));
        let tree = SourceTree::new(Revision::parse(&"0".repeat(40)).unwrap(), entries).unwrap();
        let apps = discover_apps(&tree, "", "r").unwrap();
        assert_eq!(apps, [AppDir { name: "web".into(), path: "web".into() }]);
        assert_eq!(discover_apps(&tree, "dir", "r").unwrap()[0].path, "web");
        let passed_over = links_passed_over(&tree, "");
        assert_eq!(passed_over.iter().map(|p| p.file.as_deref()).collect::<Vec<_>>(), [Some("dir")]);
    }

    #[test]
    fn what_cannot_be_read_does_not_vanish() {
        let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        let files = [
            ("a/marked.yaml", utf16(&format!("\u{feff}{OBJECT}"))),
            ("b/bare.yaml", utf16(OBJECT)),
            ("c/flow.json", utf16("\u{feff}{\"apiVersion\": \"v1\", \"kind\": \"x\"}")),
            ("d/latin.yaml", b"{apiVersion: v1, kind: x} # gr\xfcn".to_vec()),
            ("e/crypt.yaml", b"\0GITCRYPT\0\xf3\x80".to_vec()),
            ("f/values.yaml", utf16("\u{feff}size: 1")),
            ("g/values.yaml", b"size: 1 # gr\xfcn".to_vec()),
        ];
        let entries = files.map(|(path, content)| (path.to_owned(), Entry::File(content.into())));
        let tree = SourceTree::new(Revision::parse(&"0".repeat(40)).unwrap(), entries).unwrap();
        let apps = discover_apps(&tree, "", "r").unwrap();
        assert_eq!(apps.iter().map(|app| app.name.as_str()).collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    }

    #[test]
    fn deep_trees_are_walked() {
        let deep = format!("{}x.yaml", "a/".repeat(1000));
        assert!(matches!(found(&[(&deep, OBJECT)], ""), Err(DiscoverError::BadName { .. })));
    }
}
