//! The one YAML and JSON reader: a file's bytes to documents, each value with its line.
//!
//! In: bytes of a `.yaml`, `.yml` or `.json` file, hostile until parsed. Out: [`Document`]s and every [`YamlError`] of
//! the file; one bad document does not hide the errors of the next.
//!
//! Invariant: a document that is accepted is what kubectl would send for it. The oracle is the decoder that kubectl uses
//! (k8s.io/apimachinery `pkg/util/yaml`, sigs.k8s.io/yaml, go.yaml.in/yaml/v2): YAML 1.1 booleans, `0644` is 420, `<<`
//! merges, `1.0` is 1, keys that are no strings become strings. Stricter than kubectl on purpose: a duplicate key is an
//! error, and so is what would be sent as something else (`!!binary` that is no UTF-8).
//!
//! Limits: file size, documents, nodes (aliases expanded), nesting. Errors never quote a value: it may be a Secret's.

mod compose;
mod encoding;
mod json;
mod place;
mod scalar;
mod split;

pub use encoding::{Encoding, readable};
pub use place::line_of;

use indexmap::IndexMap;
use serde_json::{Map, Number, Value};

/// Most bytes that one file may have.
pub const MAX_FILE_BYTES: usize = 16 * 1024 * 1024;
/// Most documents in one file.
pub const MAX_DOCUMENTS: usize = 20_000;
/// Deepest nesting of lists and mappings.
pub const MAX_DEPTH: usize = 100;
/// Most values in one document, keys included, aliases expanded.
pub const MAX_NODES: usize = 500_000;
/// Most bytes of text that a document's anchors and aliases may copy.
pub const MAX_ALIAS_BYTES: usize = 16 * 1024 * 1024;

/// One document of a file.
#[derive(Clone, PartialEq)]
pub struct Document {
    /// Line of its first key, from 1.
    pub line: u32,
    /// Its content.
    pub root: Node,
}

/// A value and where it is.
#[derive(Clone, PartialEq)]
pub struct Node {
    /// Line, from 1. Of an alias, the line of what it stands for.
    pub line: u32,
    /// The value.
    pub content: Content,
}

/// A value. No `Debug`: it may be a Secret's.
#[derive(Clone, PartialEq)]
pub enum Content {
    /// `null`, `~`, or nothing at all.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer or a float.
    Number(Number),
    /// Text.
    String(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order it was written.
    Map(IndexMap<String, Field>),
}

/// A mapping's entry: the key's line and the value.
#[derive(Clone, PartialEq)]
pub struct Field {
    /// Line of the key, from 1.
    pub line: u32,
    /// The value.
    pub value: Node,
}

impl Node {
    /// As JSON, without lines.
    pub fn into_value(self) -> Value {
        match self.content {
            Content::Null => Value::Null,
            Content::Bool(b) => Value::Bool(b),
            Content::Number(n) => Value::Number(n),
            Content::String(s) => Value::String(s),
            Content::List(items) => Value::Array(items.into_iter().map(Self::into_value).collect()),
            Content::Map(fields) => {
                let mut map = Map::with_capacity(fields.len());
                map.extend(fields.into_iter().map(|(key, field)| (key, field.value.into_value())));
                Value::Object(map)
            }
        }
    }

    /// The same value, all of it at one line: for what a tool made, whose own lines mean nothing to anyone.
    #[must_use]
    pub fn at_line(self, line: u32) -> Self {
        let content = match self.content {
            Content::List(items) => Content::List(items.into_iter().map(|item| item.at_line(line)).collect()),
            Content::Map(fields) => {
                let moved = |(key, field): (String, Field)| (key, Field { line, value: field.value.at_line(line) });
                Content::Map(fields.into_iter().map(moved).collect())
            }
            other => other,
        };
        Self { line, content }
    }

    /// True if it is the same JSON, wherever it stands; floats may differ in the last digit, where serde_json is inexact.
    fn same_value(&self, other: &Self) -> bool {
        match (&self.content, &other.content) {
            (Content::List(a), Content::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same_value(b)),
            (Content::Map(a), Content::Map(b)) => {
                let same =
                    |(key, field): (&String, &Field)| b.get(key).is_some_and(|o| o.value.same_value(&field.value));
                a.len() == b.len() && a.iter().all(same)
            }
            (Content::Number(a), Content::Number(b)) => {
                a == b || matches!((a.as_f64(), b.as_f64()), (Some(a), Some(b)) if (a - b).abs() <= a.abs() * 1e-15)
            }
            (a, b) => a == b,
        }
    }

    /// A mapping's field.
    pub fn get(&self, key: &str) -> Option<&Field> {
        match &self.content {
            Content::Map(fields) => fields.get(key),
            _ => None,
        }
    }

    /// The text, if it is text.
    pub fn as_str(&self) -> Option<&str> {
        match &self.content {
            Content::String(text) => Some(text),
            _ => None,
        }
    }

    /// What it is, in a word, for messages: never the value.
    pub fn kind_word(&self) -> &'static str {
        match self.content {
            Content::Null => "null",
            Content::Bool(_) => "a boolean",
            Content::Number(_) => "a number",
            Content::String(_) => "text",
            Content::List(_) => "a list",
            Content::Map(_) => "a mapping",
        }
    }
}

/// What is wrong with a file, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct YamlError {
    /// Line, from 1.
    pub line: u32,
    /// What is wrong.
    pub fault: Fault,
}

/// What can be wrong with a file. None of them quotes a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The YAML grammar is violated.
    #[error("not valid YAML: {0}")]
    Syntax(String),
    /// The JSON grammar is violated.
    #[error("not valid JSON: {0}")]
    JsonSyntax(String),
    /// A byte that is no UTF-8, or a file in another encoding, if it looks like one.
    #[error("the file is not UTF-8 text{}", .0.map(|looks| format!("; it looks like {looks}")).unwrap_or_default())]
    NotUtf8(Option<Encoding>),
    /// A character that YAML forbids.
    #[error("the character U+{0:04X} is not allowed in YAML")]
    ControlCharacter(u32),
    /// `---` with something stuck to it.
    #[error(
        "a line that starts with `---` separates documents: a space or the end of the line must follow the three dashes"
    )]
    BadSeparator,
    /// A key twice in one mapping.
    #[error("the key {key:?} is there twice: in line {first} and in line {second}")]
    DuplicateKey {
        /// The key.
        key: String,
        /// Line of the first.
        first: u32,
        /// Line of the second.
        second: u32,
    },
    /// A key that cannot become text.
    #[error("{0} cannot be a mapping's key")]
    BadKey(&'static str),
    /// `<<` with something else than mappings.
    #[error("`<<` merges a mapping or a list of mappings, and this is neither")]
    BadMerge,
    /// `.inf` or `.nan`, which JSON does not know.
    #[error("infinity and not-a-number cannot be sent to a cluster")]
    NotFinite,
    /// A value that does not fit its tag.
    #[error("the value does not fit its tag `{0}`")]
    BadTag(&'static str),
    /// `!!binary` content that is no text.
    #[error(
        "the content of `!!binary` is not UTF-8 text; a Secret's `data` and a ConfigMap's `binaryData` take base64 as it is, without the tag"
    )]
    BinaryNotText,
    /// An anchor that holds itself.
    #[error("an anchor contains itself")]
    Cycle,
    /// Too deep.
    #[error("lists and mappings are nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// Too many values, or aliases that multiply.
    #[error("the document has more than {MAX_NODES} values, or its aliases expand to too much")]
    TooManyNodes,
    /// Too many documents.
    #[error("the file has more than {MAX_DOCUMENTS} documents")]
    TooManyDocuments,
    /// Too many bytes.
    #[error("the file has {0} bytes, more than {MAX_FILE_BYTES}")]
    TooLarge(usize),
}

impl YamlError {
    fn new(line: u32, fault: Fault) -> Self {
        Self { line, fault }
    }
}

/// What a file holds.
#[derive(Default)]
pub struct Parsed {
    /// Documents that could be read, in order, empty ones left out.
    pub documents: Vec<Document>,
    /// Everything that is wrong, in order.
    pub errors: Vec<YamlError>,
}

/// Reads a YAML file: any number of documents.
pub fn parse_yaml(bytes: &[u8]) -> Parsed {
    let text = match checked_text(bytes) {
        Ok(text) => text,
        Err(error) => return Parsed { documents: Vec::new(), errors: vec![error] },
    };
    // kubectl takes a file that starts like JSON for a stream of JSON documents, if it is one (`YAMLOrJSONDecoder`).
    if text.trim_start().starts_with('{') {
        let parsed = json::documents(text);
        if parsed.errors.is_empty() {
            return parsed;
        }
    }
    let (chunks, mut errors) = split::documents(text);
    let mut documents = Vec::new();
    for chunk in chunks {
        match compose::compose(chunk.text, chunk.line) {
            Ok(mut found) => documents.append(&mut found),
            Err(error) => errors.push(error),
        }
    }
    documents.retain(|document| document.root.content != Content::Null);
    errors.sort_by_key(|error| error.line);
    Parsed { documents, errors }
}

/// Reads a JSON file: any number of documents one after the other.
pub fn parse_json(bytes: &[u8]) -> Parsed {
    match checked_text(bytes) {
        Ok(text) => json::documents(text),
        Err(error) => Parsed { documents: Vec::new(), errors: vec![error] },
    }
}

/// Size, encoding and characters; a byte-order mark is left out.
fn checked_text(bytes: &[u8]) -> Result<&str, YamlError> {
    if bytes.len() > MAX_FILE_BYTES {
        return Err(YamlError::new(1, Fault::TooLarge(bytes.len())));
    }
    let line_at = |offset: usize| line_number(bytes.get(..offset).unwrap_or_default());
    // First: UTF-16 without a mark is UTF-8 with a zero beside each letter.
    if let Some(encoding) = encoding::guess(bytes) {
        return Err(YamlError::new(1, Fault::NotUtf8(Some(encoding))));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| YamlError::new(line_at(error.valid_up_to()), Fault::NotUtf8(None)))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match text.char_indices().find(|(_, c)| !is_printable(*c)) {
        Some((at, c)) => Err(YamlError::new(line_at(at), Fault::ControlCharacter(u32::from(c)))),
        None => Ok(text),
    }
}

/// YAML's `c-printable`, as libyaml's reader checks it.
fn is_printable(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// The line, from 1, of what follows `before`.
fn line_number(before: &[u8]) -> u32 {
    u32::try_from(before.iter().filter(|b| **b == b'\n').count()).unwrap_or(u32::MAX - 1) + 1
}

#[cfg(test)]
mod tests;
