//! JSON files: documents one after the other, duplicate keys refused.
//!
//! serde_json's own nesting limit (128) lies above [`MAX_DEPTH`].

use super::compose::compose;
use super::scalar::float_content;
use super::{
    Content, Document, Fault, Field, MAX_DEPTH, MAX_DOCUMENTS, MAX_NODES, Node, Parsed, YamlError, line_number,
};
use indexmap::IndexMap;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use std::cell::Cell;
use std::fmt;

/// Reads every document. The first error ends it: what follows a broken document cannot be told apart from it.
pub(super) fn documents(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let mut offset = 0;
    while let Some(rest) = text.get(offset..) {
        let start = offset + rest.len() - rest.trim_start().len();
        let Some(rest) = text.get(start..).filter(|rest| !rest.is_empty()) else { break };
        let line = line_number(text.get(..start).unwrap_or_default().as_bytes());
        if parsed.documents.len() >= MAX_DOCUMENTS {
            parsed.errors.push(YamlError::new(line, Fault::TooManyDocuments));
            break;
        }
        match document(rest, line) {
            Ok((root, used)) => {
                offset = start + used.max(1);
                if root.content != Content::Null {
                    let text = rest.get(..used).unwrap_or_default();
                    parsed.documents.push(with_lines(text, Document { line, root }));
                }
            }
            Err(error) => {
                parsed.errors.push(error);
                break;
            }
        }
    }
    parsed
}

fn document(rest: &str, line: u32) -> Result<(Node, usize), YamlError> {
    let fault = Cell::new(None);
    let nodes = Cell::new(0);
    let seed = Seed { line, depth: 0, nodes: &nodes, fault: &fault };
    let mut deserializer = serde_json::Deserializer::from_str(rest);
    let node = seed.deserialize(&mut deserializer).map_err(|error| {
        let at = line.saturating_add(u32::try_from(error.line()).unwrap_or(1)).saturating_sub(1);
        match fault.take() {
            // The YAML reader knows where the first one is.
            Some(Fault::DuplicateKey { key, .. }) => match compose(rest, line) {
                Err(error @ YamlError { fault: Fault::DuplicateKey { .. }, .. }) => error,
                _ => YamlError::new(at, Fault::DuplicateKey { key, first: at, second: at }),
            },
            Some(fault) => YamlError::new(at, fault),
            None => YamlError::new(at, syntax(&error)),
        }
    })?;
    // The stream's offset is only reachable through an iterator; `()` is never read from it.
    let used = deserializer.into_iter::<serde::de::IgnoredAny>().byte_offset();
    Ok((node, used))
}

/// JSON is YAML, and the YAML reader knows lines: its answer is taken where it says the same.
fn with_lines(text: &str, document: Document) -> Document {
    let Ok([found]) = compose(text, document.line).map(<[Document; 1]>::try_from).unwrap_or_else(|_| Err(Vec::new()))
    else {
        return document;
    };
    if found.root.same_value(&document.root) { found } else { document }
}

/// The grammar's complaint without what stood there: serde_json names values only in type errors, which a reader of any
/// type does not raise.
fn syntax(error: &serde_json::Error) -> Fault {
    let text = error.to_string();
    let message = text.split(" at line ").next().unwrap_or_default();
    if message.contains("recursion limit") { Fault::TooDeep } else { Fault::JsonSyntax(message.to_owned()) }
}

#[derive(Clone, Copy)]
struct Seed<'a> {
    line: u32,
    depth: usize,
    nodes: &'a Cell<usize>,
    fault: &'a Cell<Option<Fault>>,
}

impl Seed<'_> {
    fn fail<E: serde::de::Error>(self, fault: Fault) -> E {
        self.fault.set(Some(fault));
        E::custom("refused")
    }

    fn node(self, content: Content) -> Node {
        Node { line: self.line, content }
    }

    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            Err(self.fail(Fault::TooDeep))
        } else {
            Ok(Self { depth: self.depth + 1, ..self })
        }
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        self.nodes.set(self.nodes.get() + 1);
        if self.nodes.get() > MAX_NODES {
            return Err(self.fail(Fault::TooManyNodes));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(self.node(Content::Null))
    }

    fn visit_bool<E>(self, b: bool) -> Result<Node, E> {
        Ok(self.node(Content::Bool(b)))
    }

    fn visit_i64<E>(self, n: i64) -> Result<Node, E> {
        Ok(self.node(Content::Number(n.into())))
    }

    fn visit_u64<E: serde::de::Error>(self, n: u64) -> Result<Node, E> {
        match i64::try_from(n) {
            Ok(n) => self.visit_i64(n),
            #[expect(
                clippy::cast_precision_loss,
                reason = "apimachinery's util/json reads what is no int64 as float64"
            )]
            Err(_) => self.visit_f64(n as f64),
        }
    }

    fn visit_f64<E: serde::de::Error>(self, f: f64) -> Result<Node, E> {
        float_content(f).map(|content| self.node(content)).map_err(|fault| self.fail(fault))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(self.node(Content::String(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let deeper = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(deeper)? {
            items.push(item);
        }
        Ok(self.node(Content::List(items)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let deeper = self.deeper()?;
        let mut fields = IndexMap::new();
        while let Some(key) = access.next_key::<String>()? {
            if fields.contains_key(&key) {
                return Err(self.fail(Fault::DuplicateKey { key, first: 0, second: 0 }));
            }
            let value = access.next_value_seed(deeper)?;
            fields.insert(key, Field { line: self.line, value });
        }
        Ok(self.node(Content::Map(fields)))
    }
}
