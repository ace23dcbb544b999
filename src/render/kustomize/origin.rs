//! Which file and line an object of a build comes from.
//!
//! Kustomize tells the file in the annotation `config.kubernetes.io/origin` if `buildMetadata` asks for it. We ask in
//! the private copy, and take the annotation out again: what is left is exactly the plain build. The line is found by
//! kind and name in that file.

use crate::render::discover::join;
use crate::render::yaml::{Content, Document, Node, parse_json, parse_yaml};
use crate::source::tree::{SourceTree, Target};
use std::collections::BTreeMap;

const ORIGIN: &str = "config.kubernetes.io/origin";

/// The kustomization with `buildMetadata: [originAnnotations]`, if it can be added safely: no such field yet, and the
/// result reads as the same mapping with one more field.
pub(super) fn with_trace(tree: &SourceTree, file: &str) -> Option<Vec<u8>> {
    let content = tree.file(file).ok()?;
    let mut text = content.to_vec();
    text.extend_from_slice(b"\nbuildMetadata: [originAnnotations]\n");
    let single = |bytes: &[u8]| {
        let parsed = parse_yaml(bytes);
        match <[Document; 1]>::try_from(parsed.documents) {
            Ok([document]) if parsed.errors.is_empty() => match document.root.content {
                Content::Map(fields) => Some(fields),
                _ => None,
            },
            _ => None,
        }
    };
    let before = single(content)?;
    let mut after = single(&text)?;
    after.shift_remove("buildMetadata")?;
    let asked = before.keys().any(|key| key.eq_ignore_ascii_case("buildMetadata"));
    (!asked && before == after).then_some(text)
}

/// Finds sources; files are read once.
pub(super) struct Origins<'t> {
    tree: &'t SourceTree,
    dir: &'t str,
    file: &'t str,
    traced: bool,
    files: BTreeMap<String, Vec<Known>>,
}

/// An object, or a generator's entry, in a file.
struct Known {
    kind: String,
    name: String,
    line: u32,
}

impl<'t> Origins<'t> {
    /// `traced` if the annotation is ours to remove.
    pub fn new(tree: &'t SourceTree, dir: &'t str, file: &'t str, traced: bool) -> Self {
        Self { tree, dir, file, traced, files: BTreeMap::new() }
    }

    /// The file, and the document with its line there.
    pub fn locate(&mut self, mut document: Document) -> (String, Document) {
        let annotation = self.annotation(&mut document.root);
        let text = |key: &str, node: &Node| node.get(key).and_then(|f| f.value.as_str()).unwrap_or_default().to_owned();
        let kind = text("kind", &document.root);
        let name = document.root.get("metadata").map(|m| text("name", &m.value)).unwrap_or_default();
        let (file, line) = annotation
            .and_then(|annotation| self.place(&annotation, &kind, &name))
            .unwrap_or_else(|| (self.file.to_owned(), 1));
        (file, Document { line, root: document.root.at_line(line) })
    }

    /// The annotation's text; taken out if we asked for it.
    fn annotation(&self, root: &mut Node) -> Option<String> {
        let Content::Map(fields) = &mut root.content else { return None };
        let Content::Map(metadata) = &mut fields.get_mut("metadata")?.value.content else { return None };
        let Content::Map(annotations) = &mut metadata.get_mut("annotations")?.value.content else { return None };
        let text = annotations.get(ORIGIN)?.value.as_str()?.to_owned();
        if self.traced {
            annotations.shift_remove(ORIGIN);
            if annotations.is_empty() {
                metadata.shift_remove("annotations");
            }
        }
        Some(text)
    }

    fn place(&mut self, annotation: &str, kind: &str, name: &str) -> Option<(String, u32)> {
        let field = |key: &str| annotation.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        let relative = field("path:").or_else(|| field("configuredIn:"))?;
        let Ok(Target::File(path, _)) = self.tree.resolve(&join(self.dir, relative)) else { return None };
        let tree = self.tree;
        let known = self.files.entry(path.clone()).or_insert_with(|| read(tree, &path));
        // Prefixes and suffixes may have been added: the longest name that is part of the object's wins.
        let line = known
            .iter()
            .filter(|known| known.kind == kind && name.contains(&known.name))
            .max_by_key(|known| (known.name.len(), std::cmp::Reverse(known.line)))
            .map_or(1, |known| known.line);
        Some((path, line))
    }
}

fn read(tree: &SourceTree, path: &str) -> Vec<Known> {
    let Ok(content) = tree.file(path) else { return Vec::new() };
    let parsed = if path.ends_with(".json") { parse_json(content) } else { parse_yaml(content) };
    let mut known = Vec::new();
    for document in &parsed.documents {
        let root = &document.root;
        let text = |node: &Node, key: &str| node.get(key).and_then(|f| f.value.as_str()).map(str::to_owned);
        let name = |node: &Node| node.get("metadata").and_then(|m| text(&m.value, "name"));
        if let (Some(kind), Some(name)) = (text(root, "kind"), name(root)) {
            known.push(Known { kind, name, line: document.line });
        }
        for (field, kind) in
            [("items", None), ("configMapGenerator", Some("ConfigMap")), ("secretGenerator", Some("Secret"))]
        {
            let Some(Content::List(items)) = root.get(field).map(|f| &f.value.content) else { continue };
            for item in items {
                let found = match kind {
                    Some(kind) => Some(kind.to_owned()).zip(text(item, "name")),
                    None => text(item, "kind").zip(name(item)),
                };
                known.extend(found.map(|(kind, name)| Known { kind, name, line: item.line }));
            }
        }
    }
    known
}
