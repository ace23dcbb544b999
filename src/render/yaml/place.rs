//! Where a field is: its line, found by a path, for messages about a document that was read.

use super::{Content, Document, Node};

impl Node {
    /// The line of the field that a path leads to, such as `spec.validations[0].expression` or `spec.variables[tag]` (an
    /// item by its `name` or `key`), or of the nearest field above it that is there. `*.NAME`: the first field of that
    /// name. `None` if not even the first step is there.
    pub fn line_of(&self, path: &str) -> Option<u32> {
        if let Some(name) = path.strip_prefix("*.") {
            return self.first(name);
        }
        let (mut here, mut line) = (self, None);
        for step in steps(path) {
            let Some((at, next)) = here.step(step) else { break };
            (here, line) = (next, Some(at));
        }
        line
    }

    fn step(&self, step: Step<'_>) -> Option<(u32, &Self)> {
        match (&self.content, step) {
            (Content::Map(fields), Step::Field(name)) => fields.get(name).map(|field| (field.line, &field.value)),
            (Content::List(items), Step::Item(which)) => {
                let named = |item: &&Self| {
                    ["name", "key"].iter().any(|id| item.get(id).and_then(|f| f.value.as_str()) == Some(which))
                };
                let item = which.parse().ok().and_then(|i: usize| items.get(i));
                item.or_else(|| items.iter().find(named)).map(|item| (item.line, item))
            }
            _ => None,
        }
    }

    fn first(&self, name: &str) -> Option<u32> {
        match &self.content {
            Content::Map(fields) => {
                let own = fields.get(name).map(|field| field.line);
                own.or_else(|| fields.values().find_map(|field| field.value.first(name)))
            }
            Content::List(items) => items.iter().find_map(|item| item.first(name)),
            _ => None,
        }
    }
}

/// The line of a field in the document that begins at a line, or in the list's item that does.
pub fn line_of(documents: &[Document], begins: u32, path: &str) -> Option<u32> {
    let document = documents.iter().rfind(|document| document.line <= begins)?;
    if document.line == begins {
        return document.root.line_of(path);
    }
    let items = document.root.get("items")?;
    let Content::List(items) = &items.value.content else { return None };
    items.iter().rfind(|item| item.line <= begins)?.line_of(path)
}

#[derive(Clone, Copy)]
enum Step<'p> {
    Field(&'p str),
    Item(&'p str),
}

/// `a.b[c]` in its parts.
fn steps(path: &str) -> impl Iterator<Item = Step<'_>> {
    path.split('.').flat_map(|part| {
        let (field, rest) = part.split_once('[').map_or((part, ""), |(field, rest)| (field, rest));
        let items = rest.split('[').filter(|item| !item.is_empty()).map(|item| Step::Item(item.trim_end_matches(']')));
        std::iter::once(Step::Field(field)).chain(items)
    })
}

#[cfg(test)]
mod tests {
    use super::super::parse_yaml;
    use super::line_of;

    #[test]
    fn lines_of_fields() {
        let text = "a: 1\n---\nkind: P\nspec:\n  rules:\n  - ops: [A]\n    x: 1\n  variables:\n  - name: v\n    expression: |-\n      1\n      + 1\n  - expression: x\n    name: w\n";
        let documents = parse_yaml(text.as_bytes()).documents;
        for (path, line) in [
            ("spec", Some(4)),
            ("spec.rules[0].x", Some(7)),
            ("spec.rules[0].ops[1]", Some(6)),
            ("spec.variables[v].expression", Some(10)),
            ("spec.variables[w].nothing", Some(13)),
            ("spec.nothing.at.all", Some(4)),
            ("nothing", None),
            ("*.x", Some(7)),
        ] {
            assert_eq!(line_of(&documents, 3, path), line, "{path}");
        }
    }
}
