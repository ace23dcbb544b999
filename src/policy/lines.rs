//! At which line a field of a policy file is: known to whoever read the file, and asked for where something is wrong.

use crate::object::Source;

/// The line of a field in the document at a place, where somebody knows it. The field is a path such as
/// `spec.validations[0].expression` or `spec.variables[tag]` (an item by its `name` or `key`); `*.NAME` is the first field
/// of that name, wherever it is. Of a field that is not there the line is that of the nearest one above it.
pub type FieldLines<'a> = &'a dyn Fn(&Source, &str) -> Option<u32>;

/// Nobody knows.
pub(super) fn unknown(_: &Source, _: &str) -> Option<u32> {
    None
}

/// Where a field is: its own line, else its document's.
pub(super) fn field_source(document: &Source, lines: FieldLines<'_>, field: &str) -> Source {
    let line = lines(document, field).unwrap_or(document.line);
    Source { file: document.file.clone(), line }
}
