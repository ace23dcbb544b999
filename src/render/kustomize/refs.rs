//! What a kustomization reaches, read before anything runs. Pure.
//!
//! Kustomize takes URLs in almost every field that names a file (`fileLoader.Load` in sigs.k8s.io/kustomize
//! `api/internal/loader` fetches `http://` and `https://`; `git.NewRepoSpecFromURL` clones the rest). All of them are
//! refused here, so that rendering depends on the revision alone. The process has no `git` and no way to a proxy
//! besides, in case a form is not known here.

use crate::render::discover::{KUSTOMIZATION_FILES, join};
use crate::render::fault::{ManifestError, ManifestFault};
use crate::render::yaml::{Content, Node, parse_yaml};
use crate::source::tree::{SourceTree, Target};
use std::collections::BTreeSet;

/// Most kustomizations that one may reach.
const MAX_KUSTOMIZATIONS: usize = 500;

/// What the build needs and may say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reach {
    /// Directories of kustomizations: each may read what is in it and below.
    pub roots: BTreeSet<String>,
    /// True if a Secret may be among the content, and an error text may quote it.
    pub has_secrets: bool,
    /// True if a file already has the annotation that tells where an object comes from.
    pub mentions_origin: bool,
}

/// Fields that hold text, never a path.
const TEXT_FIELDS: [&str; 17] = [
    "apiversion",
    "kind",
    "metadata",
    "namespace",
    "nameprefix",
    "namesuffix",
    "commonlabels",
    "commonannotations",
    "labels",
    "images",
    "replicas",
    "vars",
    "buildmetadata",
    "sortoptions",
    "generatoroptions",
    "inventory",
    "imagetags",
];

/// Fields of a plugin's configuration, a generator or a patch that name files.
const PATH_KEYS: [&str; 5] = ["path", "paths", "files", "envs", "env"];

/// Reads the kustomization in `dir` and all that it refers to.
///
/// # Errors
/// Every reference that leads nowhere or out of the repository, and every kustomization that cannot be read.
pub(super) fn reach(tree: &SourceTree, dir: &str) -> Result<Reach, Vec<ManifestError>> {
    let mut scan =
        Scan { tree, reach: Reach::default(), open: vec![dir.to_owned()], errors: Vec::new(), file: String::new() };
    while let Some(dir) = scan.open.pop() {
        if scan.reach.roots.len() >= MAX_KUSTOMIZATIONS {
            scan.refuse(1, "more than 500 kustomizations are reached");
            break;
        }
        if scan.reach.roots.insert(dir.clone()) {
            scan.kustomization(&dir);
        }
    }
    if scan.errors.is_empty() { Ok(scan.reach) } else { Err(scan.errors) }
}

struct Scan<'t> {
    tree: &'t SourceTree,
    reach: Reach,
    open: Vec<String>,
    errors: Vec<ManifestError>,
    /// The file being read.
    file: String,
}

impl Scan<'_> {
    fn refuse(&mut self, line: u32, why: impl Into<String>) {
        self.errors.push(ManifestError::new(&self.file, line, ManifestFault::KustomizeReference(why.into())));
    }

    fn kustomization(&mut self, dir: &str) {
        let names: Vec<&str> =
            KUSTOMIZATION_FILES.into_iter().filter(|name| self.tree.entry(&join(dir, name)).is_some()).collect();
        let Some(name) = names.first() else { return };
        self.file = join(dir, name);
        if names.len() > 1 {
            self.refuse(1, format!("the directory has several kustomization files: {}", names.join(", ")));
        }
        self.content_flags(dir);
        let file = self.file.clone();
        for root in self.documents(&file) {
            self.fields(dir, &root);
        }
    }

    /// What lies in the directory decides how careful error texts must be.
    fn content_flags(&mut self, dir: &str) {
        let tree = self.tree;
        for (path, _) in tree.under(dir) {
            if self.reach.has_secrets && self.reach.mentions_origin {
                return;
            }
            let Ok(content) = tree.file(path) else { continue };
            self.reach.has_secrets |= names_secret(content);
            self.reach.mentions_origin |= contains(content, b"config.kubernetes.io/origin");
        }
    }

    /// The documents of a file; what cannot be read is an error.
    fn documents(&mut self, file: &str) -> Vec<Node> {
        match self.tree.file(file) {
            Ok(content) => {
                let parsed = parse_yaml(content);
                let errors = parsed.errors.into_iter().map(|e| ManifestError::new(file, e.line, e.fault.into()));
                self.errors.extend(errors);
                parsed.documents.into_iter().map(|document| document.root).collect()
            }
            Err(error) => {
                self.errors.push(ManifestError::new(file, 1, ManifestFault::File(error.to_string())));
                Vec::new()
            }
        }
    }

    fn fields(&mut self, dir: &str, root: &Node) {
        let Content::Map(fields) = &root.content else {
            self.errors.push(ManifestError::new(&self.file, root.line, ManifestFault::NoMapping(root.kind_word())));
            return;
        };
        for (key, field) in fields {
            // Go's JSON reader matches field names without case, also across Unicode (`reſources`).
            if !key.is_ascii() {
                let short: String = key.chars().take(40).collect();
                self.errors.push(ManifestError::new(&self.file, field.line, ManifestFault::KustomizeField(short)));
                continue;
            }
            match key.to_ascii_lowercase().as_str() {
                name if TEXT_FIELDS.contains(&name) => {}
                name if name.starts_with("helm") => {
                    let fault = ManifestFault::KustomizeField(key.clone());
                    self.errors.push(ManifestError::new(&self.file, field.line, fault));
                }
                "resources" | "bases" | "components" => self.references(dir, &field.value),
                "generators" | "transformers" | "validators" => self.plugins(dir, &field.value),
                "patchesstrategicmerge" => self.patch_files(&field.value),
                _ => self.paths(&field.value, false),
            }
        }
    }

    fn references(&mut self, dir: &str, list: &Node) {
        let Content::List(items) = &list.content else { return };
        for item in items {
            let Some(text) = item.as_str() else { continue };
            self.reference(dir, item.line, text);
        }
    }

    /// A file or directory that must be in the repository.
    fn reference(&mut self, dir: &str, line: u32, text: &str) -> Option<String> {
        if looks_remote(text) {
            // The text may hold a token: it is not repeated.
            self.refuse(line, "this refers to something outside of the repository, which is not fetched");
            return None;
        }
        let short: String = text.chars().take(200).collect();
        if text.starts_with('/') {
            self.refuse(line, format!("{short:?} is an absolute path; it must be relative to this file"));
            return None;
        }
        match self.tree.resolve(&join(dir, text)) {
            Ok(Target::File(path, content)) => {
                self.reach.has_secrets |= names_secret(content);
                Some(path)
            }
            Ok(Target::Directory(path)) => {
                if KUSTOMIZATION_FILES.iter().any(|name| self.tree.entry(&join(&path, name)).is_some()) {
                    self.open.push(path);
                } else {
                    self.refuse(line, format!("{short:?} is a directory without a kustomization.yaml"));
                }
                None
            }
            Err(error) => {
                self.refuse(line, format!("{short:?} cannot be read: {error}"));
                None
            }
        }
    }

    /// Configurations of built-in generators and transformers, inline or in files.
    fn plugins(&mut self, dir: &str, list: &Node) {
        let Content::List(items) = &list.content else { return };
        for item in items {
            let Some(text) = item.as_str() else {
                self.paths(item, false);
                continue;
            };
            if text.contains('\n') {
                for document in parse_yaml(text.as_bytes()).documents {
                    self.paths(&document.root.at_line(item.line), false);
                }
            } else if let Some(file) = self.reference(dir, item.line, text) {
                let here = std::mem::replace(&mut self.file, file.clone());
                for root in self.documents(&file) {
                    self.paths(&root, false);
                }
                self.file = here;
            }
        }
    }

    /// Patches, in files or inline.
    fn patch_files(&mut self, list: &Node) {
        let Content::List(items) = &list.content else { return };
        for item in items {
            if item.as_str().is_some_and(|text| !text.contains('\n') && is_url(text)) {
                self.refuse(item.line, "this is fetched from the network, which is not done");
            }
        }
    }

    /// Refuses URLs where a file is named. `named` is true below a field that names files.
    fn paths(&mut self, node: &Node, named: bool) {
        match &node.content {
            Content::String(text) if named => {
                let path = text.split_once('=').map_or(text.as_str(), |(_, path)| path);
                if is_url(text) || is_url(path) {
                    self.refuse(node.line, "this is fetched from the network, which is not done");
                }
            }
            Content::List(items) => items.iter().for_each(|item| self.paths(item, named || is_url_item(item))),
            Content::Map(fields) => {
                for (key, field) in fields {
                    let lower = key.to_ascii_lowercase();
                    let helm = lower == "kind" && field.value.as_str().is_some_and(|kind| kind.starts_with("Helm"));
                    if helm || lower == "exec" || lower == "container" {
                        let fault = ManifestFault::KustomizeField(if helm { "Helm".into() } else { lower.clone() });
                        self.errors.push(ManifestError::new(&self.file, field.line, fault));
                    }
                    self.paths(&field.value, PATH_KEYS.contains(&lower.as_str()));
                }
            }
            _ => {}
        }
    }
}

/// An item of a list of files (`crds`, `configurations`) that is a URL.
fn is_url_item(item: &Node) -> bool {
    item.as_str().is_some_and(|text| !text.contains('\n') && is_url(text))
}

fn is_url(text: &str) -> bool {
    let lower = text.trim_start().get(..8).unwrap_or(text).to_ascii_lowercase();
    lower.starts_with("http:") || lower.starts_with("https:")
}

/// Everything that `git.NewRepoSpecFromURL` might take for a repository.
fn looks_remote(text: &str) -> bool {
    let lower = text.trim().to_ascii_lowercase();
    lower.contains("://")
        || lower.contains("?ref=")
        || lower.contains("?version=")
        || lower.contains(".git/")
        || lower.ends_with(".git")
        || lower.contains("_git/")
        || ["git@", "git::", "github.com", "file:", "ssh:"].iter().any(|prefix| lower.starts_with(prefix))
        // scp-like `host:path`, `user@host:path`
        || lower.split('/').next().is_some_and(|first| first.contains(':'))
}

/// The word `Secret` by itself (not `imagePullSecrets`), or a generator of them.
pub(in crate::render) fn names_secret(content: &[u8]) -> bool {
    let word = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let alone = |at: usize| !word(at.checked_sub(1).and_then(|i| content.get(i))) && !word(content.get(at + 6));
    content.windows(6).enumerate().any(|(at, window)| window == b"Secret" && alone(at))
        || contains(&content.to_ascii_lowercase(), b"secretgenerator")
}

fn contains(content: &[u8], word: &[u8]) -> bool {
    content.windows(word.len()).any(|window| window == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(files: &[(&str, &str)]) -> Result<Reach, Vec<(String, u32, String)>> {
        let tree = SourceTree::from_files(files.iter().copied()).unwrap();
        reach(&tree, "app")
            .map_err(|errors| errors.into_iter().map(|e| (e.file.clone(), e.line, e.fault.to_string())).collect())
    }

    #[test]
    fn what_is_reached() {
        let reach = scan(&[
            ("app/kustomization.yaml", "resources:\n- ../base\n- cm.yaml\ncomponents: [../parts/a]\n"),
            ("app/cm.yaml", "kind: ConfigMap"),
            ("base/Kustomization", "bases: [../deep]\n"),
            ("deep/kustomization.yml", "secretGenerator: [{name: x, literals: [a=https://x]}]\n"),
            (
                "parts/a/kustomization.yaml",
                "kind: Component\npatches:\n- patch: |\n    url: https://x\n  path: p.yaml\n",
            ),
            ("other/kustomization.yaml", ""),
        ])
        .unwrap();
        assert_eq!(reach.roots.into_iter().collect::<Vec<_>>(), ["app", "base", "deep", "parts/a"]);
        assert!(reach.has_secrets && !reach.mentions_origin);
    }

    #[test]
    fn secrets_are_noticed() {
        for (text, expected) in [
            ("kind: Secret\n", true),
            ("{kind: \"Secret\"}", true),
            ("SecretGenerator: []", true),
            ("Secret", true),
            ("imagePullSecrets: []", false),
            ("kind: ExternalSecret\nsecretKeyRef: x", false),
        ] {
            assert_eq!(names_secret(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn circles_end() {
        let files =
            [("app/kustomization.yaml", "resources: [../b]\n"), ("b/kustomization.yaml", "resources: [../app]\n")];
        assert_eq!(scan(&files).unwrap().roots.len(), 2);
    }

    #[test]
    fn what_leads_out_is_refused() {
        for (text, line, part) in [
            ("resources:\n- https://github.com/a/b?ref=v1\n", 2, "outside"),
            ("resources: [github.com/a/b]\n", 1, "outside"),
            ("Resources: [git@github.com:a/b.git]\n", 1, "outside"),
            ("resources: [\"git::https://x/y\"]\n", 1, "outside"),
            ("bases: [example.com:a/b]\n", 1, "outside"),
            ("components: [ssh://x/y]\n", 1, "outside"),
            ("resources: [/etc]\n", 1, "absolute"),
            ("resources: [../../x]\n", 1, "leads out"),
            ("resources: [nope.yaml]\n", 1, "does not exist"),
            ("resources: [sub]\n", 1, "without a kustomization"),
            ("resources: [example.com/a/b]\n", 1, "does not exist"),
            ("patchesStrategicMerge:\n- https://x/y.yaml\n", 2, "network"),
            ("patches:\n- path: https://x/y.yaml\n", 2, "network"),
            ("crds: [http://x/y]\n", 1, "network"),
            ("openapi: {path: https://x}\n", 1, "network"),
            ("configMapGenerator:\n- name: x\n  files:\n  - a=https://x/y\n", 4, "network"),
            ("configMapGenerator:\n- name: x\n  envs: [https://x/y]\n", 3, "network"),
            ("helmCharts: [{name: x}]\n", 1, "helmCharts"),
            ("re\u{17f}ources: [x]\n", 1, "not supported"),
            ("generators:\n- |\n  kind: HelmChartInflationGenerator\n", 3, "Helm"),
            ("transformers:\n- |\n  kind: PatchTransformer\n  path: https://x\n", 3, "network"),
            ("transformers: [t.yaml]\n", 3, "network"),
            ("- a\n", 1, "a list"),
            ("resources: [\n", 1, "not valid YAML"),
        ] {
            let files = [
                ("app/kustomization.yaml", text),
                ("app/sub/x.yaml", ""),
                ("app/t.yaml", "kind: ConfigMapGenerator\nname: x\nfiles: [https://x/y]\n"),
            ];
            let errors = scan(&files).unwrap_err();
            assert!(errors.iter().any(|(_, at, message)| *at == line && message.contains(part)), "{text}: {errors:?}");
        }
        let hidden = scan(&[("app/kustomization.yaml", "resources: [https://user:hunter2@x/y]\n")]).unwrap_err();
        assert!(!format!("{hidden:?}").contains("hunter2"));
    }

    #[test]
    fn every_bad_reference_is_named() {
        let errors = scan(&[
            ("app/kustomization.yaml", "resources:\n- a\n- ../base\n- b\n"),
            ("base/kustomization.yaml", "resources: [c]\n"),
        ])
        .unwrap_err();
        let places: Vec<_> = errors.iter().map(|(file, line, _)| (file.as_str(), *line)).collect();
        assert_eq!(
            places,
            [("app/kustomization.yaml", 2), ("app/kustomization.yaml", 4), ("base/kustomization.yaml", 1)]
        );
    }
}
