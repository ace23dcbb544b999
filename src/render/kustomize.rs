//! A kustomization to objects: the real Kustomize, as a process, on a private copy of what it needs.
//!
//! In: the tree and the app's kustomization. Out: the objects that `kustomize build` prints, unchanged, each with the
//! file and line it comes from as far as Kustomize tells.
//!
//! Guarantees: what a kustomization reaches is read first, and what leads out of the repository is refused before
//! anything runs (`refs`); the process sees only a copy of what it reaches, which is removed whatever happens; it runs
//! without the caller's environment, without `git`, plugins, functions and Helm (they need flags that are not given),
//! within limits of time, memory and output, and its whole process group ends with it (`process`).

mod origin;
mod refs;

pub(super) use refs::names_secret;

use super::fault::{ManifestError, ManifestFault};
use super::manifest::{Manifests, Strangers};
use super::process::{self, Kustomizer, ProcessError, Tools};
use super::stderr::{KUSTOMIZE_WORDS, message};
use super::workdir::Workdir;
use super::yaml::parse_yaml;
use crate::source::tree::SourceTree;
use std::ffi::OsString;

const NO_TOOL: &str =
    "neither `kustomize` nor `kubectl` is on the PATH, and this app is a kustomization: install one of them";

/// Builds the kustomization `file` in the directory `dir`. Errors are in the answer.
pub(super) async fn render(tree: &SourceTree, dir: &str, file: &str, tools: &Tools) -> Manifests {
    let mut manifests = Manifests::default();
    match build(tree, dir, file, tools).await {
        Ok(built) => {
            let mut origins = origin::Origins::new(tree, dir, file, built.traced);
            let parsed = parse_yaml(&built.output);
            // The output's own lines mean nothing to anyone.
            let relined = parsed.errors.into_iter().map(|error| ManifestError::new(file, 1, error.fault.into()));
            manifests.errors.extend(relined);
            for document in parsed.documents {
                let (source, document) = origins.locate(document);
                manifests.read(&source, vec![document], Vec::new(), Strangers::Refuse);
            }
        }
        Err(mut errors) => manifests.errors.append(&mut errors),
    }
    manifests
}

struct Built {
    output: Vec<u8>,
    /// True if origin annotations were asked for by us, and have to be taken out again.
    traced: bool,
}

async fn build(tree: &SourceTree, dir: &str, file: &str, tools: &Tools) -> Result<Built, Vec<ManifestError>> {
    let reach = refs::reach(tree, dir)?;
    let one = |message: String| vec![ManifestError::new(file, 1, ManifestFault::Kustomize(message))];
    let traced = if reach.mentions_origin { None } else { origin::with_trace(tree, file) };
    let (program, verb) = match &tools.kustomizer {
        Some(Kustomizer::Kustomize(program)) => (program, "build"),
        Some(Kustomizer::Kubectl(program)) => (program, "kustomize"),
        None => return Err(one(NO_TOOL.to_owned())),
    };
    let workdir = Workdir::new(tree, &reach.roots, traced.as_ref().map(|text| (file, text.as_slice())))
        .map_err(|error| one(error.to_string()))?;
    let mut target = OsString::from("./");
    target.push(dir);
    let output = process::run(tools, program, &[verb.into(), target], &workdir).await.map_err(|error| match error {
        ProcessError::Failed { status, stderr } => {
            let words = reach.has_secrets.then_some(KUSTOMIZE_WORDS);
            one(format!("kustomize: {}", message(&stderr, status, &workdir, dir, words)))
        }
        error => one(error.to_string()),
    })?;
    Ok(Built { output, traced: traced.is_some() })
}

#[cfg(test)]
mod tests;
