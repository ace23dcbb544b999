//! What can be wrong with a configuration, and where.

use crate::object::Problem;

/// One mistake, with its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{fault}", place(.file, *.line))]
pub struct ConfigError {
    /// The file as it was named; empty for a mistake in flags.
    pub file: String,
    /// Line, from 1.
    pub line: Option<u32>,
    /// What is wrong.
    pub fault: Fault,
}

fn place(file: &str, line: Option<u32>) -> String {
    match line {
        _ if file.is_empty() => String::new(),
        Some(line) => format!("{file}:{line}: "),
        None => format!("{file}: "),
    }
}

/// What is wrong. No variant repeats a value that could be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not TOML.
    #[error("this is not TOML: {0}")]
    Syntax(String),
    /// The file is longer than a configuration can be.
    #[error("the file is larger than {0} bytes")]
    TooLarge(usize),
    /// A key that means nothing.
    #[error("unknown key `{key}`; did you mean `{near}`?")]
    MisspeltKey {
        /// As written.
        key: String,
        /// The known key that it resembles.
        near: String,
    },
    /// A key that means nothing and resembles none.
    #[error("unknown key `{key}`; {table} takes {known}")]
    UnknownKey {
        /// As written.
        key: String,
        /// Where it stands: `[[app]]`.
        table: String,
        /// The keys known there.
        known: String,
    },
    /// A secret in the file.
    #[error("`{key}` would put a secret into the file; name where it is kept instead: {instead}")]
    SecretInFile {
        /// The key it was given in.
        key: String,
        /// How to name it.
        instead: String,
    },
    /// A value of another type.
    #[error("`{key}` must be {expected}, not {found}")]
    WrongType {
        /// The key.
        key: String,
        /// What it takes.
        expected: String,
        /// What was given.
        found: String,
    },
    /// `[app]` where `[[app]]` is meant.
    #[error("there can be several of `{key}`: write its header with double brackets, like `[[{key}]]`")]
    SingleBrackets {
        /// The key.
        key: String,
    },
    /// A required key is missing.
    #[error("{table} needs `{key}`")]
    Missing {
        /// The table: `[[app]]`.
        table: String,
        /// The key.
        key: String,
    },
    /// A word that is none of the known ones.
    #[error("`{key}` must be one of {allowed}, not \"{value}\"")]
    NotOneOf {
        /// The key.
        key: String,
        /// As written.
        value: String,
        /// The known ones.
        allowed: String,
    },
    /// A text that does not have the form it needs.
    #[error("`{key}`: {why}")]
    Invalid {
        /// The key.
        key: String,
        /// What is wrong, and how it is written.
        why: String,
    },
    /// A name that is used twice.
    #[error("{what} `{name}` is defined twice, first in line {first}")]
    Duplicate {
        /// `app`, `cluster`, `repository`.
        what: &'static str,
        /// The name.
        name: String,
        /// Line of the first definition.
        first: u32,
    },
    /// A reference to something that is not defined.
    #[error("there is no {what} `{name}`; {known}")]
    NoSuch {
        /// `app`, `cluster`, `repository`.
        what: &'static str,
        /// The name as written.
        name: String,
        /// `did you mean …?` or `defined are: …`.
        known: String,
    },
    /// Options that exclude or need each other.
    #[error("{0}")]
    Conflict(String),
    /// Apps that wait for each other.
    #[error("`depends_on` goes in a circle: {0}")]
    Cycle(String),
}

impl Fault {
    fn hint(&self) -> &'static str {
        match self {
            Self::SecretInFile { .. } => {
                "Remove the line, revoke the secret if the file was ever committed, and set the variable or file named."
            }
            Self::Cycle(_) => "Remove one of these `depends_on`.",
            _ => "Correct the file; manifests/driftless.schema.json describes every option.",
        }
    }
}

impl From<ConfigError> for Problem {
    fn from(error: ConfigError) -> Self {
        let hint = if error.file.is_empty() { "see `--help`" } else { error.fault.hint() };
        let problem = Self::new("InvalidConfiguration", error.fault.to_string()).hint(hint);
        match error.line {
            Some(line) if !error.file.is_empty() => problem.at(error.file, line),
            _ => problem,
        }
    }
}
