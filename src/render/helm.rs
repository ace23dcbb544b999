//! A chart to objects: the real Helm, as a process, on a private copy of the chart and its values files.
//!
//! In: the tree, the chart's directory, which values files. Out: the objects that `helm template` prints, hooks and CRDs
//! included and test hooks left out, each with the template it comes from.
//!
//! Guarantees: nothing is fetched (dependencies lie in the chart's `charts`); no path leaves the tree; no cluster is
//! asked (`lookup` finds nothing, as in every `helm template`); a chart that renders differently twice is an error that
//! names the field, since it would never be in sync. It runs without the caller's environment and within limits
//! (`process`).

use super::discover::join;
use super::fault::{ManifestError, ManifestFault};
use super::kustomize::names_secret;
use super::manifest::{Manifests, Strangers};
use super::process::{self, ProcessError, Tools};
use super::rendered::AppSource;
use super::stderr::{HELM_WORDS, message};
use super::workdir::Workdir;
use super::yaml::{Document, parse_yaml};
use crate::source::tree::{SourceTree, Target};
use regex::Regex;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;

/// Longest release name (`helm.sh/helm` `pkg/chart/common`: 53, so that names made from it stay labels).
const MAX_RELEASE: usize = 53;

const NO_TOOL: &str = "`helm` is not on the PATH, and this app is a Helm chart: install it where driftless runs";

/// How a chart is rendered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HelmSource {
    /// Release name; `None`: the app's name.
    pub release: Option<String>,
    /// Values files, the last one wins: relative to the app's directory, or with a leading `/` to the repository's root.
    pub values: Vec<String>,
}

/// Renders the chart whose `Chart.yaml` is `file`, in the directory `dir`. Errors are in the answer.
pub(super) async fn render(tree: &SourceTree, dir: &str, file: &str, app: &AppSource, tools: &Tools) -> Manifests {
    let mut manifests = Manifests::default();
    let chart = Chart { tree, dir, file, name: chart_name(tree, file) };
    match chart.template(app, tools).await {
        Ok(output) => chart.read(&output, &mut manifests),
        Err(mut errors) => manifests.errors.append(&mut errors),
    }
    manifests
}

struct Chart<'a> {
    tree: &'a SourceTree,
    dir: &'a str,
    file: &'a str,
    /// As `Chart.yaml` has it: Helm's messages begin their paths with it.
    name: Option<String>,
}

fn chart_name(tree: &SourceTree, file: &str) -> Option<String> {
    let documents = parse_yaml(tree.file(file).ok()?).documents;
    documents.first()?.root.get("name")?.value.as_str().map(str::to_owned)
}

impl Chart<'_> {
    fn fault(&self, fault: ManifestFault) -> ManifestError {
        ManifestError::new(self.file, 1, fault)
    }

    /// What `helm template` prints, twice the same.
    async fn template(&self, app: &AppSource, tools: &Tools) -> Result<Vec<u8>, Vec<ManifestError>> {
        let one = |message: String| vec![self.fault(ManifestFault::Helm(message))];
        let program = tools.helm.as_deref().ok_or_else(|| one(NO_TOOL.to_owned()))?;
        let values = self.values(&app.helm.values)?;
        let release = app.helm.release.as_deref().unwrap_or(&app.name);
        if release.len() > MAX_RELEASE {
            let text = format!("{release:?} is too long for a release: at most {MAX_RELEASE} characters");
            return Err(one(format!("{text}; set `helm.release`")));
        }
        let mut roots = BTreeSet::from([self.dir.to_owned()]);
        roots.extend(values.iter().cloned());
        let workdir = Workdir::new(self.tree, &roots, None).map_err(|error| one(error.to_string()))?;
        let args = self.arguments(release, &app.namespace, &values);
        let has_secrets = roots.iter().any(|root| may_hold_secrets(self.tree, root));
        // Both at once: what differs between them is made at random, or from the time.
        let (first, second) =
            tokio::join!(process::run(tools, program, &args, &workdir), process::run(tools, program, &args, &workdir));
        let told = |error| self.told(error, program, &workdir, has_secrets);
        let (first, second) = (first.map_err(told)?, second.map_err(told)?);
        match difference(&first, &second) {
            None => Ok(first),
            Some((object, line)) => {
                let (file, line) = self.sources(&first).remove(&line).unwrap_or((self.file.to_owned(), 1));
                Err(vec![ManifestError::new(&file, line, ManifestFault::HelmUnstable(object))])
            }
        }
    }

    fn arguments(&self, release: &str, namespace: &str, values: &[String]) -> Vec<OsString> {
        let local = |path: &str| OsString::from(if path.is_empty() { "./".to_owned() } else { format!("./{path}") });
        let mut args: Vec<OsString> = ["template", release].map(OsString::from).into();
        args.push(local(self.dir));
        args.extend(["--include-crds", "--skip-tests", "--namespace"].map(OsString::from));
        args.push(if namespace.is_empty() { "default" } else { namespace }.into());
        for file in values {
            args.extend(["--values".into(), local(file)]);
        }
        args
    }

    /// The values files' own paths.
    fn values(&self, paths: &[String]) -> Result<Vec<String>, Vec<ManifestError>> {
        let resolved = paths.iter().map(|path| {
            let from = match path.strip_prefix('/') {
                Some(rooted) => rooted.to_owned(),
                None => join(self.dir, path),
            };
            match self.tree.resolve(&from) {
                Ok(Target::File(own, _)) => Ok(own),
                Ok(Target::Directory(_)) => Err(format!("the values file {path:?} is a directory")),
                Err(error) => Err(format!("the values file {path:?} cannot be read: {error}")),
            }
        });
        let (good, bad): (Vec<_>, Vec<_>) = resolved.partition(Result::is_ok);
        let errors: Vec<ManifestError> =
            bad.into_iter().filter_map(Result::err).map(|text| self.fault(ManifestFault::Helm(text))).collect();
        if errors.is_empty() { Ok(good.into_iter().flatten().collect()) } else { Err(errors) }
    }

    /// Helm's refusal for a person, at the template and line that it names.
    fn told(&self, error: ProcessError, program: &Path, workdir: &Workdir, has_secrets: bool) -> Vec<ManifestError> {
        let ProcessError::Failed { status, stderr } = error else {
            return vec![self.fault(ManifestFault::Helm(error.to_string()))];
        };
        let text = self.with_own_paths(&String::from_utf8_lossy(&stderr));
        let (file, line) = self.place(&text).unwrap_or((self.file.to_owned(), 1));
        let words = has_secrets.then_some(HELM_WORDS);
        let text = message(text.as_bytes(), status, workdir, self.dir, words);
        tracing::debug!(?program, chart = self.dir, "helm refused a chart");
        vec![ManifestError::new(&file, line, ManifestFault::Helm(format!("helm: {text}")))]
    }

    /// Helm begins paths with the chart's name; the repository has its directory.
    fn with_own_paths(&self, text: &str) -> String {
        let Some(name) = &self.name else { return text.to_owned() };
        let prefix = if self.dir.is_empty() { String::new() } else { format!("{}/", self.dir) };
        match Regex::new(&format!(r"(^|[\s(]){}/((?:templates|charts|crds)/)", regex::escape(name))) {
            Ok(path) => path.replace_all(text, format!("${{1}}{}${{2}}", prefix.replace('$', "$$"))).into_owned(),
            Err(_) => text.to_owned(),
        }
    }

    /// The first file of the repository, with its line, in a text.
    fn place(&self, text: &str) -> Option<(String, u32)> {
        let path = Regex::new(r"([A-Za-z0-9_./-]+\.[A-Za-z0-9]+)(?::(\d+))?").ok()?;
        path.captures_iter(text).find_map(|found| {
            let file = found.get(1)?.as_str();
            self.tree.file(file).ok()?;
            Some((file.to_owned(), found.get(2).and_then(|line| line.as_str().parse().ok()).unwrap_or(1)))
        })
    }

    fn read(&self, output: &[u8], manifests: &mut Manifests) {
        let mut sources = self.sources(output);
        let parsed = parse_yaml(output);
        // The output's own lines mean nothing to anyone.
        let own = (self.file.to_owned(), 1);
        for error in parsed.errors {
            let (file, line) = sources.range(..=error.line).next_back().map_or(&own, |(_, place)| place);
            manifests.errors.push(ManifestError::new(file, *line, error.fault.into()));
        }
        for Document { line, root } in parsed.documents {
            let (file, line) = sources.remove(&line).unwrap_or_else(|| own.clone());
            let document = Document { line, root: root.at_line(line) };
            manifests.read(&file, vec![document], Vec::new(), Strangers::Refuse);
        }
    }

    /// By the output's line of each document: the template, and the line in it where an object of that kind begins.
    fn sources(&self, output: &[u8]) -> BTreeMap<u32, (String, u32)> {
        let text = String::from_utf8_lossy(output);
        let headers: Vec<(u32, &str)> = (1_u32..)
            .zip(text.lines())
            .filter_map(|(number, line)| Some((number, line.strip_prefix("# Source: ")?.trim())))
            .collect();
        let mut seen: BTreeMap<(String, String), usize> = BTreeMap::new();
        let mut out = BTreeMap::new();
        for document in parse_yaml(output).documents {
            let header = headers.iter().rev().find(|(number, _)| *number < document.line);
            let own = header.and_then(|(_, path)| {
                let path = path.split_once('/').map_or(*path, |(_, rest)| rest);
                let path = join(self.dir, path);
                self.tree.file(&path).ok().map(|content| (path, content))
            });
            let Some((path, content)) = own else { continue };
            let kind = document.root.get("kind").and_then(|kind| kind.value.as_str()).unwrap_or_default().to_owned();
            let nth = seen.entry((path.clone(), kind.clone())).or_insert(0);
            let line = line_of_kind(content, &kind, *nth);
            *nth += 1;
            out.insert(document.line, (path, line));
        }
        out
    }
}

/// The line of the `nth` object of a kind in a template, or of the last one there is; 1 if the kind is not written there.
fn line_of_kind(template: &[u8], kind: &str, nth: usize) -> u32 {
    let text = String::from_utf8_lossy(template);
    let lines = (1_u32..).zip(text.lines());
    let of_kind: Vec<u32> = lines
        .filter(|(_, line)| line.strip_prefix("kind:").is_some_and(|rest| rest.trim().trim_matches('"') == kind))
        .map(|(number, _)| number)
        .collect();
    of_kind.get(nth).or(of_kind.last()).copied().unwrap_or(1)
}

fn may_hold_secrets(tree: &SourceTree, root: &str) -> bool {
    let below = tree.under(root).any(|(path, _)| tree.file(path).is_ok_and(|content| names_secret(content)));
    // Values are not marked: whatever they hold may be what a Secret is made from.
    below || tree.entry(root).is_some()
}

/// What differs between two outputs of one chart: the object and the field, and the object's line in the first.
fn difference(first: &[u8], second: &[u8]) -> Option<(String, u32)> {
    if first == second {
        return None;
    }
    let name = |value: &Value| {
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        format!("{} {}", text("/kind"), text("/metadata/name"))
    };
    let read = |bytes: &[u8]| -> Vec<(u32, Value)> {
        parse_yaml(bytes).documents.into_iter().map(|document| (document.line, document.root.into_value())).collect()
    };
    let (first, second) = (read(first), read(second));
    for ((line, a), (_, b)) in first.iter().zip(&second) {
        if let Some(path) = first_path(a, b) {
            return Some((format!("{} at `{path}`", name(a)), *line));
        }
    }
    let (longer, shorter) = if first.len() > second.len() { (&first, &second) } else { (&second, &first) };
    longer.get(shorter.len()).map(|(line, value)| (format!("{} is there only sometimes", name(value)), *line))
}

/// The first path at which two values differ. No value is told: it may be a Secret's.
fn first_path(a: &Value, b: &Value) -> Option<String> {
    match (a, b) {
        (Value::Object(left), Value::Object(right)) => {
            let names: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            names.into_iter().find_map(|name| {
                let below = first_path(left.get(name).unwrap_or(&Value::Null), right.get(name).unwrap_or(&Value::Null));
                below.map(|rest| format!(".{name}{rest}"))
            })
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            left.iter().zip(right).enumerate().find_map(|(i, (x, y))| Some(format!("[{i}]{}", first_path(x, y)?)))
        }
        (a, b) => (a != b).then(String::new),
    }
}

#[cfg(test)]
#[path = "helm_tests.rs"]
mod tests;
