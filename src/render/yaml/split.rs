//! A file's text to the texts of its documents, so that one bad document is one error.
//!
//! YAML forbids `---` and `...` at the start of a line inside any scalar (YAML 1.2.2, 9.1.2, `c-forbidden`), so that
//! cutting by lines is exact. kubectl's own splitter does the same (`YAMLReader` in k8s.io/apimachinery
//! `pkg/util/yaml/decoder.go`), but takes a directive for a document; here it stays with the document it belongs to.

use super::{Fault, MAX_DOCUMENTS, YamlError};

/// The text of one document, with its `---` line.
pub(super) struct Chunk<'a> {
    /// The text.
    pub text: &'a str,
    /// Line of its first character in the file, from 1.
    pub line: u32,
}

/// Cuts the text into documents.
pub(super) fn documents(text: &str) -> (Vec<Chunk<'_>>, Vec<YamlError>) {
    let mut cutter =
        Cutter { text, chunks: Vec::new(), errors: Vec::new(), start: 0, start_line: 1, prefix: Prefix::Blank };
    let mut offset = 0;
    let mut line_number = 1_u32;
    for line in text.split_inclusive('\n') {
        let end = offset + line.len();
        cutter.line(line, offset, end, line_number);
        if cutter.chunks.len() > MAX_DOCUMENTS {
            cutter.errors.push(YamlError::new(line_number, Fault::TooManyDocuments));
            return (Vec::new(), cutter.errors);
        }
        offset = end;
        line_number = line_number.saturating_add(1);
    }
    cutter.cut(text.len(), line_number, text.len());
    (cutter.chunks, cutter.errors)
}

/// What the current chunk holds so far.
#[derive(Clone, Copy, PartialEq)]
enum Prefix {
    /// Blank lines and comments only.
    Blank,
    /// Directives besides: the next `---` belongs to them.
    Directives,
    /// Content.
    Content,
}

struct Cutter<'a> {
    text: &'a str,
    chunks: Vec<Chunk<'a>>,
    errors: Vec<YamlError>,
    start: usize,
    start_line: u32,
    prefix: Prefix,
}

impl Cutter<'_> {
    fn line(&mut self, line: &str, offset: usize, end: usize, number: u32) {
        let line = line.strip_prefix('\u{feff}').filter(|_| self.prefix == Prefix::Blank).unwrap_or(line);
        if let Some(rest) = line.strip_prefix("---") {
            if is_separated(rest) {
                if self.prefix != Prefix::Directives {
                    self.cut(offset, number, offset);
                }
                self.prefix = Prefix::Content;
            } else {
                self.errors.push(YamlError::new(number, Fault::BadSeparator));
                self.cut(offset, number + 1, end);
            }
        } else if line.strip_prefix("...").is_some_and(is_separated) {
            self.cut(end, number + 1, end);
        } else if self.prefix != Prefix::Content {
            let trimmed = line.trim_start_matches([' ', '\t']);
            if line.starts_with('%') {
                self.prefix = Prefix::Directives;
            } else if !trimmed.trim_end().is_empty() && !trimmed.starts_with('#') {
                self.prefix = Prefix::Content;
            }
        }
    }

    /// Ends the current chunk at `end`; the next one starts at `next`.
    fn cut(&mut self, end: usize, next_line: u32, next: usize) {
        if self.prefix != Prefix::Blank
            && let Some(text) = self.text.get(self.start..end)
        {
            self.chunks.push(Chunk { text, line: self.start_line });
        }
        self.start = next;
        self.start_line = next_line;
        self.prefix = Prefix::Blank;
    }
}

fn is_separated(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n'])
}
