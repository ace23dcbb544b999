//! What can be wrong with what a repository says, and where: one error type for everything that is rendered.
//!
//! No fault holds a value of an object except names, namespaces and keys.

use super::yaml::Fault;
use crate::object::{ObjectRef, Problem};

/// One thing that is wrong, at one place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {fault}")]
pub struct ManifestError {
    /// File, relative to the repository's root.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// The object, as far as it is known.
    pub object: Option<ObjectRef>,
    /// What is wrong.
    pub fault: ManifestFault,
}

impl ManifestError {
    /// A fault at a place.
    pub fn new(file: &str, line: u32, fault: ManifestFault) -> Self {
        Self { file: file.to_owned(), line, object: None, fault }
    }

    /// Adds the object.
    #[must_use]
    pub fn about(mut self, object: ObjectRef) -> Self {
        self.object = Some(object);
        self
    }
}

/// What can be wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestFault {
    /// The file could not be read as YAML or JSON.
    #[error(transparent)]
    Yaml(#[from] Fault),
    /// The file itself: a link that leads out, a missing target, too large.
    #[error("{0}")]
    File(String),
    /// A document that is no mapping.
    #[error("a Kubernetes object is a mapping, and this is {0}")]
    NoMapping(&'static str),
    /// Neither `apiVersion` nor `kind`.
    #[error("this is not a Kubernetes object: it has neither `apiVersion` nor `kind`")]
    NoObject,
    /// A required field is missing.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A field of a wrong type.
    #[error("`{field}` must be {expected}, and this is {found}")]
    WrongType {
        /// Its path.
        field: String,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// `generateName` without a name.
    #[error(
        "`metadata.generateName` makes a new object each time it is applied, so that it cannot be kept equal to Git"
    )]
    GenerateName,
    /// A name the API server would refuse.
    #[error("{name:?} cannot be a {what}: {why}")]
    BadName {
        /// The name, shortened.
        name: String,
        /// `name` or `namespace`.
        what: &'static str,
        /// The rule.
        why: &'static str,
    },
    /// An `apiVersion` with more than one slash, or empty parts.
    #[error("{0:?} is not an API version: `v1` and `apps/v1` are")]
    BadApiVersion(String),
    /// The same object twice in one app.
    #[error("this object is there twice in this app: also at {file}:{line}")]
    Duplicate {
        /// File of the first.
        file: String,
        /// Line of the first.
        line: u32,
    },
    /// An API version that no supported server serves.
    #[error("{version} {kind} was removed in Kubernetes 1.{removed}")]
    RemovedApi {
        /// The API version.
        version: String,
        /// The kind.
        kind: String,
        /// Minor version of the first server without it.
        removed: u32,
        /// What to write instead.
        instead: &'static str,
    },
    /// A Kustomization among plain manifests.
    #[error("a Kustomization inside an app of plain manifests is not built")]
    NestedKustomization,
    /// A Helm chart among plain manifests.
    #[error("a Helm chart inside an app of plain manifests is not rendered")]
    NestedChart,
    /// Helm said no, or could not be run.
    #[error("{0}")]
    Helm(String),
    /// A chart that renders to something else each time: the field that differs.
    #[error("the chart renders differently each time: {0}")]
    HelmUnstable(String),
    /// A field that the App shorthand does not have.
    #[error("unknown field `{field}`; known here: {known}")]
    UnknownField {
        /// Its path.
        field: String,
        /// The fields there are.
        known: String,
    },
    /// A value of the App shorthand that makes no sense.
    #[error("`{field}` {why}")]
    BadValue {
        /// Its path.
        field: String,
        /// The rule.
        why: String,
    },
    /// A reference of a Kustomization that leads out of the repository, or nowhere.
    #[error("{0}")]
    KustomizeReference(String),
    /// A field of a Kustomization that is not supported.
    #[error("`{0}` is not supported")]
    KustomizeField(String),
    /// Kustomize said no, or could not be run.
    #[error("{0}")]
    Kustomize(String),
}

impl ManifestFault {
    /// A stable word for scripts.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Yaml(_) => "InvalidYaml",
            Self::File(_) => "UnreadableFile",
            Self::NoMapping(_) | Self::NoObject => "NotAnObject",
            Self::Missing(_) | Self::WrongType { .. } | Self::BadApiVersion(_) => "InvalidObject",
            Self::GenerateName => "GenerateName",
            Self::BadName { .. } => "InvalidName",
            Self::Duplicate { .. } => "DuplicateObject",
            Self::RemovedApi { .. } => "RemovedApi",
            Self::NestedKustomization => "NestedKustomization",
            Self::NestedChart => "NestedChart",
            Self::Helm(_) => "HelmFailed",
            Self::HelmUnstable(_) => "HelmUnstable",
            Self::UnknownField { .. } | Self::BadValue { .. } => "InvalidApp",
            Self::KustomizeReference(_) => "KustomizeReference",
            Self::KustomizeField(_) => "KustomizeUnsupported",
            Self::Kustomize(_) => "KustomizeFailed",
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Yaml(Fault::DuplicateKey { .. }) => "keep one of the two; kubectl would silently take the last one",
            Self::Yaml(Fault::NotUtf8(_)) => {
                "save it as UTF-8, or name it in the app's `ignore_files` if it is no manifest"
            }
            Self::Yaml(Fault::Syntax(_)) => "if this file is a template, render it to plain YAML first, or ignore it",
            Self::NoMapping(_) | Self::NoObject => {
                "add apiVersion and kind, or name the file in the app's `ignore_files` if it is no manifest"
            }
            Self::GenerateName => "give it a fixed metadata.name",
            Self::Missing("metadata.name") => "give it a metadata.name",
            Self::WrongType { expected: "text", found: "a number" | "a boolean", .. } => "put it in quotes",
            Self::Duplicate { .. } => "remove one of the two",
            Self::RemovedApi { instead, .. } => {
                return Some(format!(
                    "write {instead} instead; fields may have moved: see the Kubernetes deprecation guide"
                ));
            }
            Self::NestedKustomization => {
                "make its directory an app of its own, or move the plain manifests above it into a directory"
            }
            Self::NestedChart => "make its directory an app of its own, or name it in the app's `ignore_files`",
            Self::Helm(text) if text.contains("missing in charts") => {
                "run `helm dependency build` in the chart, and commit its `charts` directory"
            }
            Self::Helm(_) => "`helm template` with the app's values shows the same",
            Self::HelmUnstable(_) => {
                "what is made at random (`randAlphaNum`, `genCA`, `now`, …) has to be given as a value, or ignored"
            }
            Self::Kustomize(_) => "`kustomize build` of the app's directory shows the same",
            Self::KustomizeReference(_) => "copy what it refers to into this repository",
            _ => return None,
        };
        Some(text.to_owned())
    }
}

impl From<ManifestError> for Problem {
    fn from(error: ManifestError) -> Self {
        let problem = Self::new(error.fault.reason(), error.fault.to_string()).at(error.file, error.line);
        let problem = match error.object {
            Some(object) => problem.about(object),
            None => problem,
        };
        match error.fault.hint() {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    }
}
