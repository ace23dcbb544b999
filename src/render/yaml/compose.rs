//! Parser events to a tree of values with lines: aliases, merge keys, duplicate keys, budgets.

use super::scalar::{Scalar, ScalarTag, resolve};
use super::{Content, Document, Fault, Field, MAX_ALIAS_BYTES, MAX_DEPTH, MAX_NODES, Node, YamlError};
use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, Span, Tag};
use indexmap::IndexMap;
use indexmap::map::Entry;
use std::collections::HashMap;

/// Reads one document's text (more than one where the parser sees more). `first_line` is the file's line of the
/// text's first character.
pub(super) fn compose(text: &str, first_line: u32) -> Result<Vec<Document>, YamlError> {
    let mut composer = Composer::new(first_line);
    for next in Parser::new_from_str_with_options(text, options()) {
        match next {
            Ok((event, span)) => composer.event(&event, span)?,
            Err(error) => {
                let fault = match error.kind() {
                    ErrorKind::RecursionLimitExceeded => Fault::TooDeep,
                    kind => Fault::Syntax(kind.to_string()),
                };
                return Err(YamlError::new(composer.line(error.marker().line()), fault));
            }
        }
    }
    Ok(composer.documents)
}

fn options() -> granit_parser::Options {
    let mut options = granit_parser::options! { flow_nesting_limit: MAX_DEPTH, block_nesting_limit: MAX_DEPTH };
    options.set_emit_comments(false);
    options
}

/// An anchored value and what a copy of it costs.
struct Anchored {
    node: Node,
    height: usize,
    nodes: usize,
    bytes: usize,
}

/// A value that is complete, with its size, and whether it may be a merge key.
struct Done {
    node: Node,
    /// The scalar, where it is one: a key is made of it.
    scalar: Option<Scalar>,
    is_merge: bool,
    height: usize,
    nodes: usize,
    bytes: usize,
}

/// A list or mapping that is not complete yet.
struct Open {
    line: u32,
    anchor: usize,
    kind: OpenKind,
    height: usize,
    nodes: usize,
    bytes: usize,
}

enum OpenKind {
    List(Vec<Node>),
    Map { fields: IndexMap<String, Slot>, key: Option<Key> },
}

/// A mapping's entry while it is read: a merged one may be written over.
struct Slot {
    field: Field,
    explicit: bool,
}

enum Key {
    Name(String, u32),
    Merge,
}

struct Composer {
    first_line: u32,
    stack: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    nodes: usize,
    alias_bytes: usize,
    documents: Vec<Document>,
}

impl Composer {
    fn new(first_line: u32) -> Self {
        Self { first_line, stack: Vec::new(), anchors: HashMap::new(), nodes: 0, alias_bytes: 0, documents: Vec::new() }
    }

    /// The file's line of a line in this text.
    fn line(&self, in_text: usize) -> u32 {
        u32::try_from(in_text).unwrap_or(1).saturating_sub(1).saturating_add(self.first_line)
    }

    fn event(&mut self, event: &Event<'_>, span: Span) -> Result<(), YamlError> {
        let line = self.line(span.start.line());
        let at = |fault| YamlError::new(line, fault);
        match event {
            Event::DocumentStart(..) => self.anchors.clear(),
            Event::Scalar(text, style, anchor, tag) => {
                let tag = scalar_tag(*style, tag.as_deref()).map_err(at)?;
                let is_merge = tag.is_none() || (tag == Some(ScalarTag::Implicit) && text == "<<");
                let scalar = resolve(tag.unwrap_or(ScalarTag::Str), text).map_err(at)?;
                let done = Done {
                    node: Node { line, content: Content::Null },
                    scalar: Some(scalar),
                    is_merge,
                    height: 0,
                    nodes: 1,
                    bytes: text.len(),
                };
                self.count(1).map_err(at)?;
                self.complete(done, *anchor, line)?;
            }
            Event::SequenceStart(_, anchor, _) => self.open(line, *anchor, OpenKind::List(Vec::new()))?,
            Event::MappingStart(_, anchor, _) => {
                self.open(line, *anchor, OpenKind::Map { fields: IndexMap::new(), key: None })?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close()?,
            Event::Alias(id) => self.alias(*id, line)?,
            Event::UnresolvedAlias(_) => return Err(at(Fault::Syntax(ErrorKind::UnknownAnchor.to_string()))),
            _ => {}
        }
        Ok(())
    }

    fn count(&mut self, nodes: usize) -> Result<(), Fault> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES { Err(Fault::TooManyNodes) } else { Ok(()) }
    }

    /// Counts a copy that an anchor or alias makes.
    fn count_copy(&mut self, nodes: usize, bytes: usize) -> Result<(), Fault> {
        self.alias_bytes = self.alias_bytes.saturating_add(bytes);
        if self.alias_bytes > MAX_ALIAS_BYTES { Err(Fault::TooManyNodes) } else { self.count(nodes) }
    }

    fn open(&mut self, line: u32, anchor: usize, kind: OpenKind) -> Result<(), YamlError> {
        if self.stack.len() >= MAX_DEPTH {
            return Err(YamlError::new(line, Fault::TooDeep));
        }
        self.count(1).map_err(|fault| YamlError::new(line, fault))?;
        self.stack.push(Open { line, anchor, kind, height: 0, nodes: 1, bytes: 0 });
        Ok(())
    }

    fn close(&mut self) -> Result<(), YamlError> {
        let Some(open) = self.stack.pop() else { return Ok(()) };
        let content = match open.kind {
            OpenKind::List(items) => Content::List(items),
            OpenKind::Map { fields, .. } => {
                Content::Map(fields.into_iter().map(|(key, entry)| (key, entry.field)).collect())
            }
        };
        let done = Done {
            node: Node { line: open.line, content },
            scalar: None,
            is_merge: false,
            height: open.height + 1,
            nodes: open.nodes,
            bytes: open.bytes,
        };
        self.complete(done, open.anchor, open.line)
    }

    fn alias(&mut self, id: usize, line: u32) -> Result<(), YamlError> {
        let at = |fault| YamlError::new(line, fault);
        if self.stack.iter().any(|open| open.anchor == id) {
            return Err(at(Fault::Cycle));
        }
        let Some(anchored) = self.anchors.get(&id) else {
            return Err(at(Fault::Syntax(ErrorKind::UnknownAnchor.to_string())));
        };
        let (height, nodes, bytes) = (anchored.height, anchored.nodes, anchored.bytes);
        if self.stack.len() + height > MAX_DEPTH {
            return Err(at(Fault::TooDeep));
        }
        self.count_copy(nodes, bytes).map_err(at)?;
        let Some(anchored) = self.anchors.get(&id) else { return Ok(()) };
        let node = anchored.node.clone();
        let done = Done { scalar: None, is_merge: false, node, height, nodes, bytes };
        self.place(done, line)
    }

    /// A value is complete: it is remembered where it has an anchor, and put where it belongs.
    fn complete(&mut self, mut done: Done, anchor: usize, line: u32) -> Result<(), YamlError> {
        let at = |fault| YamlError::new(line, fault);
        let in_key = matches!(self.stack.last(), Some(Open { kind: OpenKind::Map { key: None, .. }, .. }));
        if let Some(scalar) = done.scalar.take() {
            if in_key && anchor == 0 {
                done.scalar = Some(scalar);
            } else {
                done.node.content = scalar.into_content().map_err(at)?;
            }
        }
        if anchor != 0 {
            self.count_copy(done.nodes, done.bytes).map_err(at)?;
            let (height, nodes, bytes) = (done.height, done.nodes, done.bytes);
            self.anchors.insert(anchor, Anchored { node: done.node.clone(), height, nodes, bytes });
        }
        self.place(done, line)
    }

    fn place(&mut self, done: Done, line: u32) -> Result<(), YamlError> {
        let Some(open) = self.stack.last_mut() else {
            let first_key = match &done.node.content {
                Content::Map(fields) => fields.first().map(|(_, field)| field.line),
                _ => None,
            };
            let line = first_key.unwrap_or(done.node.line);
            self.documents.push(Document { line, root: done.node });
            return Ok(());
        };
        open.height = open.height.max(done.height);
        open.nodes = open.nodes.saturating_add(done.nodes);
        open.bytes = open.bytes.saturating_add(done.bytes);
        match &mut open.kind {
            OpenKind::List(items) => items.push(done.node),
            OpenKind::Map { fields, key } => match key.take() {
                None => *key = Some(read_key(done, line)?),
                Some(Key::Merge) => merge(fields, done.node)?,
                Some(Key::Name(name, key_line)) => insert(fields, name, key_line, done.node)?,
            },
        }
        Ok(())
    }
}

fn read_key(done: Done, line: u32) -> Result<Key, YamlError> {
    let at = |fault| YamlError::new(line, fault);
    if done.is_merge {
        return Ok(Key::Merge);
    }
    let scalar = match (done.scalar, done.node.content) {
        (Some(scalar), _) => scalar,
        (None, Content::String(text)) => Scalar::String(text),
        (None, Content::Bool(b)) => Scalar::Bool(b),
        (None, Content::Number(n)) => match n.as_i64() {
            Some(n) => Scalar::Int(n),
            None => Scalar::Float(n.as_f64().unwrap_or(f64::NAN)),
        },
        (None, Content::Null) => Scalar::Null,
        (None, Content::List(_)) => return Err(at(Fault::BadKey("a list"))),
        (None, Content::Map(_)) => return Err(at(Fault::BadKey("a mapping"))),
    };
    Ok(Key::Name(scalar.into_key().map_err(at)?, line))
}

fn insert(fields: &mut IndexMap<String, Slot>, name: String, line: u32, value: Node) -> Result<(), YamlError> {
    let entry = Slot { field: Field { line, value }, explicit: true };
    match fields.entry(name) {
        Entry::Vacant(vacant) => {
            vacant.insert(entry);
        }
        Entry::Occupied(occupied) if occupied.get().explicit => {
            let first = occupied.get().field.line;
            let key = occupied.key().clone();
            return Err(YamlError::new(line, Fault::DuplicateKey { key, first, second: line }));
        }
        Entry::Occupied(mut occupied) => {
            occupied.insert(entry);
        }
    }
    Ok(())
}

/// Merges as go.yaml.in/yaml/v2 does: a merge writes over what stands before it in the mapping, what stands after it
/// writes over the merge, and in a list of mappings the first one wins.
fn merge(fields: &mut IndexMap<String, Slot>, node: Node) -> Result<(), YamlError> {
    let bad = |line| YamlError::new(line, Fault::BadMerge);
    let maps = match node.content {
        Content::Map(map) => vec![map],
        Content::List(items) => items
            .into_iter()
            .rev()
            .map(|item| match item.content {
                Content::Map(map) => Ok(map),
                _ => Err(bad(item.line)),
            })
            .collect::<Result<_, _>>()?,
        _ => return Err(bad(node.line)),
    };
    for (key, field) in maps.into_iter().flatten() {
        let explicit = fields.get(&key).is_some_and(|entry| entry.explicit);
        fields.insert(key, Slot { field, explicit });
    }
    Ok(())
}

/// `None` is `!!merge`.
fn scalar_tag(style: ScalarStyle, tag: Option<&Tag>) -> Result<Option<ScalarTag>, Fault> {
    let Some(tag) = tag else {
        return Ok(Some(if style == ScalarStyle::Plain { ScalarTag::Implicit } else { ScalarTag::Str }));
    };
    let Some(core) = tag.suffix_in_namespace("tag:yaml.org,2002:") else {
        // `!` alone and an application's own tags: text.
        return Ok(Some(ScalarTag::Str));
    };
    Ok(Some(match core.as_ref() {
        "bool" => ScalarTag::Bool,
        "int" => ScalarTag::Int,
        "float" => ScalarTag::Float,
        "null" => ScalarTag::Null,
        "timestamp" => ScalarTag::Timestamp,
        "binary" => ScalarTag::Binary,
        "merge" => return Ok(None),
        _ => ScalarTag::Str,
    }))
}
