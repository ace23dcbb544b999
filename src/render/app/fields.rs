//! Reading a mapping field by field, strictly: each fault with its line, unknown fields named with those there are.

use crate::render::fault::{ManifestError, ManifestFault};
use crate::render::yaml::{Content, Field, Node};
use indexmap::IndexMap;

/// Where faults are gathered.
pub(super) struct Faults<'a> {
    pub file: &'a str,
    pub errors: Vec<ManifestError>,
}

impl Faults<'_> {
    pub fn push(&mut self, line: u32, fault: ManifestFault) {
        self.errors.push(ManifestError::new(self.file, line, fault));
    }

    pub fn bad(&mut self, line: u32, field: &str, why: impl Into<String>) {
        self.push(line, ManifestFault::BadValue { field: field.to_owned(), why: why.into() });
    }

    pub fn wrong(&mut self, field: &str, expected: &'static str, node: &Node) {
        let fault = ManifestFault::WrongType { field: field.to_owned(), expected, found: node.kind_word() };
        self.push(node.line, fault);
    }
}

/// A mapping being read.
pub(super) struct Reader<'n> {
    path: String,
    line: u32,
    fields: Option<&'n IndexMap<String, Field>>,
}

impl<'n> Reader<'n> {
    /// A mapping with these fields and no others. `null` counts as empty.
    pub fn new(faults: &mut Faults<'_>, path: &str, node: &'n Node, known: &[&str]) -> Self {
        let fields = match &node.content {
            Content::Map(fields) => Some(fields),
            Content::Null => None,
            _ => {
                faults.wrong(if path.is_empty() { "the document" } else { path }, "a mapping", node);
                None
            }
        };
        let reader = Self { path: path.to_owned(), line: node.line, fields };
        for (key, field) in fields.into_iter().flatten() {
            if !known.contains(&key.as_str()) {
                let field_path = reader.path_of(&key.chars().take(80).collect::<String>());
                faults.push(field.line, ManifestFault::UnknownField { field: field_path, known: known.join(", ") });
            }
        }
        reader
    }

    pub fn line(&self) -> u32 {
        self.line
    }

    pub fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// A field that is there and not null, with its line.
    pub fn get(&self, key: &str) -> Option<(u32, &'n Node)> {
        let field = self.fields?.get(key)?;
        (field.value.content != Content::Null).then_some((field.line, &field.value))
    }

    pub fn text(&self, faults: &mut Faults<'_>, key: &str) -> Option<(u32, &'n str)> {
        let (line, node) = self.get(key)?;
        let text = node.as_str();
        if text.is_none() {
            faults.wrong(&self.path_of(key), "text", node);
        }
        Some((line, text?))
    }

    pub fn integer(&self, faults: &mut Faults<'_>, key: &str, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
        let (line, node) = self.get(key)?;
        let number = match &node.content {
            Content::Number(n) => n.as_i64(),
            _ => None,
        };
        let Some(number) = number else {
            faults.wrong(&self.path_of(key), "a whole number", node);
            return None;
        };
        if !range.contains(&number) {
            let why = format!("must be {} to {}, and is {number}", range.start(), range.end());
            faults.bad(line, &self.path_of(key), why);
            return None;
        }
        Some(number)
    }

    pub fn list(&self, faults: &mut Faults<'_>, key: &str) -> &'n [Node] {
        match self.get(key).map(|(_, node)| node) {
            None => &[],
            Some(Node { content: Content::List(items), .. }) => items,
            Some(node) => {
                faults.wrong(&self.path_of(key), "a list", node);
                &[]
            }
        }
    }

    /// A mapping of text to text.
    pub fn texts(&self, faults: &mut Faults<'_>, key: &str) -> Vec<(u32, &'n str, &'n str)> {
        let entries = match self.get(key).map(|(_, node)| node) {
            None => return Vec::new(),
            Some(Node { content: Content::Map(entries), .. }) => entries,
            Some(node) => {
                faults.wrong(&self.path_of(key), "a mapping", node);
                return Vec::new();
            }
        };
        let mut texts = Vec::with_capacity(entries.len());
        for (name, field) in entries {
            match field.value.as_str() {
                Some(text) => texts.push((field.line, name.as_str(), text)),
                None => {
                    let short: String = name.chars().take(80).collect();
                    faults.wrong(&format!("{}[{short:?}]", self.path_of(key)), "text", &field.value);
                }
            }
        }
        texts
    }
}
