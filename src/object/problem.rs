//! The one shape in which something wrong is told to a person or a script.

use super::key::ObjectRef;
use serde::{Deserialize, Serialize};
use std::fmt;

/// `{"reason","message","file","line","object","hint"}`: what is wrong, where, and what to do next.
///
/// Each module has its own error enum and turns it into a `Problem` at its edge, where the hint is still known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A stable CamelCase word for scripts, such as `InvalidYaml`.
    pub reason: String,
    /// What happened, for a person, in one or two sentences. Never holds a Secret's value.
    pub message: String,
    /// File in the repository, relative to its root.
    pub file: Option<String>,
    /// Line in that file, from 1.
    pub line: Option<u32>,
    /// The object it is about.
    pub object: Option<ObjectRef>,
    /// What to do next.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem with neither place nor hint.
    pub fn new(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason: reason.into(), message: message.into(), file: None, line: None, object: None, hint: None }
    }

    /// A task that ended without a result. What it ended with is not told: a panic may quote what was being handled, which
    /// may be a Secret.
    pub fn lost(what: &str) -> Self {
        Self::new("InternalError", format!("{what} ended unexpectedly"))
            .hint("this is a bug of driftless; standard error names the place in its source")
    }

    /// Adds the file and line.
    #[must_use]
    pub fn at(mut self, file: impl Into<String>, line: u32) -> Self {
        self.file = Some(file.into());
        self.line = Some(line);
        self
    }

    /// Adds the object.
    #[must_use]
    pub fn about(mut self, object: ObjectRef) -> Self {
        self.object = Some(object);
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// One line: `web/deploy.yaml:12: Deployment shop/web: message`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            match self.line {
                Some(line) => write!(f, "{file}:{line}: ")?,
                None => write!(f, "{file}: ")?,
            }
        }
        // Some messages begin with the object by themselves, so that they read well where they stand alone.
        if let Some(object) = self.object.as_ref().map(ToString::to_string)
            && !self.message.starts_with(&object)
        {
            write!(f, "{object}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}
