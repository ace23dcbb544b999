//! From places in the text to line numbers.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One step into a document.
#[derive(Debug, Clone, Copy)]
pub enum Step<'a> {
    /// A key of a table.
    Key(&'a str),
    /// An element of a list.
    Index(usize),
}

/// A parsed document with the lines of its text.
#[derive(Debug)]
pub struct Lines<'a> {
    starts: Vec<usize>,
    document: &'a DeTable<'a>,
}

impl<'a> Lines<'a> {
    /// Counts the lines of `text`, of which `document` was parsed.
    pub fn new(text: &str, document: &'a DeTable<'a>) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { starts: std::iter::once(0).chain(breaks).collect(), document }
    }

    /// The line that a byte offset lies in, from 1.
    pub fn of(&self, offset: usize) -> u32 {
        u32::try_from(self.starts.partition_point(|start| *start <= offset)).unwrap_or(u32::MAX)
    }

    /// The line of the deepest part of a path that exists: a missing key is reported at its table.
    pub fn at(&self, path: &[Step<'_>]) -> u32 {
        let mut line = 1;
        let mut table = Some(self.document);
        let mut array: Option<&[Spanned<DeValue<'_>>]> = None;
        for step in path {
            let found = match (step, table, array) {
                (Step::Key(name), Some(table), _) => {
                    table.iter().find(|(key, _)| key.get_ref() == name).map(|(key, value)| (key.span().start, value))
                }
                (Step::Index(index), _, Some(items)) => items.get(*index).map(|item| (item.span().start, item)),
                _ => None,
            };
            let Some((start, value)) = found else { return line };
            line = self.of(start);
            table = value.get_ref().as_table();
            array = value.get_ref().as_array().map(|array| &array[..]);
        }
        line
    }
}
