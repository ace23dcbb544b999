//! JSON values as YAML for people: block style, deterministic, in the order in which Kubernetes manifests are read.
//!
//! In: any JSON value. Out: text that parses back to the same value. Invariant: nothing in it can act on a terminal or
//! hide from a reader: control and direction-changing characters are escaped.

use serde_json::{Map, Value};
use std::cmp::Ordering;

/// Keys that come first, in this order, wherever they stand; then the rest by name; `status` last.
const FIRST: [&str; 6] = ["apiVersion", "kind", "metadata", "name", "namespace", "labels"];

/// The value as a YAML document, ending with a line break. An absent value is an empty text.
pub fn yaml_text(value: Option<&Value>) -> String {
    let mut out = String::new();
    if let Some(value) = value {
        match value {
            Value::Object(map) if !map.is_empty() => block_map(map, 0, &mut out),
            Value::Array(items) if !items.is_empty() => block_list(items, 0, &mut out),
            scalar => {
                // Indented: a line that begins with `---` would end the document.
                inline(scalar, 1, &mut out);
                out.push('\n');
            }
        }
    }
    out
}

fn rank(key: &str) -> usize {
    if key == "status" { FIRST.len() + 1 } else { FIRST.iter().position(|first| *first == key).unwrap_or(FIRST.len()) }
}

fn order(a: &str, b: &str) -> Ordering {
    rank(a).cmp(&rank(b)).then_with(|| a.cmp(b))
}

fn indent(depth: usize, out: &mut String) {
    (0..depth).for_each(|_| out.push_str("  "));
}

fn block_map(map: &Map<String, Value>, depth: usize, out: &mut String) {
    let mut entries: Vec<(&String, &Value)> = map.iter().collect();
    entries.sort_by(|(a, _), (b, _)| order(a, b));
    for (position, (key, value)) in entries.into_iter().enumerate() {
        // The first key of a list's element stands on the line of its dash.
        if position > 0 || !out.ends_with("- ") {
            indent(depth, out);
        }
        out.push_str(&scalar(key));
        out.push(':');
        match value {
            Value::Object(map) if !map.is_empty() => {
                out.push('\n');
                block_map(map, depth + 1, out);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                // Kubernetes' style: the dashes under the key, not further in.
                block_list(items, depth, out);
            }
            other => {
                out.push(' ');
                inline(other, depth + 1, out);
                out.push('\n');
            }
        }
    }
}

fn block_list(items: &[Value], depth: usize, out: &mut String) {
    for item in items {
        if !out.ends_with("- ") {
            indent(depth, out);
        }
        out.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => block_map(map, depth + 1, out),
            Value::Array(items) if !items.is_empty() => block_list(items, depth + 1, out),
            other => {
                inline(other, depth + 1, out);
                out.push('\n');
            }
        }
    }
}

/// A value that begins on the current line; `depth` is that of lines below it.
fn inline(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        Value::String(text) if is_literal(text) => literal(text, depth, out),
        Value::String(text) => out.push_str(&scalar(text)),
        other => out.push_str(&other.to_string()),
    }
}

/// True if a text is shown as lines: it has several, and none that a block could not hold as it is.
fn is_literal(text: &str) -> bool {
    let lines = text.trim_end_matches('\n');
    lines.contains('\n')
        && !text.starts_with([' ', '\n'])
        && lines.chars().all(|c| c == '\n' || is_shown(c))
        && !lines
            .lines()
            .any(|line| line.ends_with(' ') || line.starts_with('\t') || line.trim().is_empty() && !line.is_empty())
}

fn literal(text: &str, depth: usize, out: &mut String) {
    let lines = text.trim_end_matches('\n');
    let ending = text.len() - lines.len();
    out.push_str(match ending {
        0 => "|-",
        1 => "|",
        _ => "|+",
    });
    for line in lines.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            indent(depth, out);
            out.push_str(line);
        }
    }
    (1..ending).for_each(|_| out.push('\n'));
}

/// True if a character is what it looks like.
fn is_shown(c: char) -> bool {
    let invisible = matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{ffff}');
    !c.is_control() && !invisible && c != '\u{85}'
}

/// A text on one line, quoted if YAML would read it as something else.
fn scalar(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { quoted(text) }
}

fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 11] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n", ".inf", ".nan"];
    let starts_well =
        text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '_' || (c == '.' && text.len() > 1));
    starts_well
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "/_.-+:@=%$,;()<>^~\\ ".contains(c))
        && !text.contains(": ")
        && !text.ends_with([':', ' '])
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
        // `.5` and the like are numbers.
        && !text.strip_prefix('.').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        && text != "..."
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if is_shown(c) => out.push(c),
            c if u32::from(c) > 0xffff => out.push_str(&format!("\\U{:08x}", u32::from(c))),
            c => out.push_str(&format!("\\u{:04x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn looks_like_a_manifest() {
        let value = json!({"status": {}, "spec": {"b": [], "containers": [{"image": "web:1", "name": "main", "args": ["-v", "on", "1"]}],
            "nested": [["a", ["b"]], {}]}, "kind": "X", "apiVersion": "v1",
            "metadata": {"annotations": {"a.b/c": "x: y"}, "name": "sample"}, "data": {"f": "a\n  b\n\nc\n", "g": "a\nb", "h": "a\n\n", "e": "\u{1b}[31m"}});
        insta::assert_snapshot!(yaml_text(Some(&value)), @r#"
        apiVersion: v1
        kind: X
        metadata:
          name: sample
          annotations:
            a.b/c: "x: y"
        data:
          e: "\u001b[31m"
          f: |
            a
              b

            c
          g: |-
            a
            b
          h: "a\n\n"
        spec:
          b: []
          containers:
          - name: main
            args:
            - "-v"
            - "on"
            - "1"
            image: web:1
          nested:
          - - a
            - - b
          - {}
        status: {}
        "#);
        assert_eq!(yaml_text(None), "");
    }

    #[test]
    fn texts_that_yaml_would_read_as_something_else_are_quoted() {
        for text in [
            "",
            "1",
            "0x1",
            "true",
            "Yes",
            "null",
            "~",
            "- a",
            "a: b",
            "a #b",
            "#a",
            "*a",
            "&a",
            "!a",
            "a ",
            " a",
            "1.5",
            ".5",
            "1e3",
            "a\u{202e}b",
            "@a",
            "`a",
            "'a",
            "a:",
            "...",
            "---",
            "?",
            ".",
            "12:30",
        ] {
            assert!(scalar(text).starts_with('"'), "{text}");
        }
        for text in ["a", "web:1", "/healthz", "apps/v1", "a b", "image@sha256:00", "a.b/c", "./x"] {
            assert_eq!(scalar(text), text);
        }
    }

    #[test]
    fn a_document_of_lines_holds_what_looks_like_the_end_of_one() {
        assert_eq!(yaml_text(Some(&json!("#\n---"))), "|-\n  #\n  ---\n");
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            ".*",
            "[a-z:# \n-]{0,20}",
            "[ \n\t|>a]{0,12}",
            Just("true".to_owned()),
            Just("0644".to_owned()),
            Just("1_000".to_owned()),
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((text.clone(), inner), 0..4)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn parses_back(value in any_value()) {
            let text = yaml_text(Some(&value));
            let parsed: Value = serde_saphyr::from_str(&text).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
            prop_assert_eq!(parsed, value, "{}", text);
        }
    }
}
