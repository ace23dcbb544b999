//! Differential tests against kubectl's decoder, and hostile input.

use super::*;
use proptest::prelude::*;
use std::time::{Duration, Instant};

/// `[input, outputs]` a line, recorded from k8s.io/apimachinery v0.36 (`pkg/util/yaml`, then `util/json`); an output is
/// JSON, or `ERROR`.
const ORACLE: &str = include_str!("oracle.jsonl");

/// Inputs that are answered differently on purpose.
const STRICTER: [&str; 8] = [
    // Duplicate keys: kubectl's last one wins silently.
    "a: 1\na: 2\n",
    "a:\n  b: 1\n  b: 2\n",
    "1: a\n\"1\": b\n",
    "{a: 1, a: 2}\n",
    // kubectl sends replacement characters.
    "a: !!binary gIGC\n",
    // kubectl sends an empty list.
    "[]: x\n",
    // go-yaml takes these for line ends (YAML 1.1); they are content (YAML 1.2), like in every current editor.
    "a: x\u{85}y\n",
    "a: x\u{2028}y\n",
];

/// Inputs that kubectl refuses or cuts off, and that mean something by YAML 1.2: refusing them helps nobody.
const MORE_LENIENT: [(&str, &str); 9] = [
    ("v: \"\\/\"\n", r#"[{"v":"/"}]"#),
    ("v: \"\\ud83d\\ude00\"\n", r#"[{"v":"😀"}]"#),
    ("v: !!timestamp x\n", r#"[{"v":"x"}]"#),
    ("a: |\n  \tx\n", r#"[{"a":"\tx\n"}]"#),
    ("--- {a: 1}\n", r#"[{"a":1}]"#),
    ("a: 1\n...\nb: 2\n", r#"[{"a":1},{"b":2}]"#),
    ("%YAML 1.1\n---\na: 1\n", r#"[{"a":1}]"#),
    ("%YAML 1.2\n---\na: yes\n", r#"[{"a":true}]"#),
    ("%TAG !e! tag:example.com,2000:\n---\na: !e!x 12\n", r#"[{"a":"12"}]"#),
];

fn values(parsed: Parsed) -> Vec<Value> {
    parsed.documents.into_iter().map(|document| document.root.into_value()).collect()
}

/// Numbers that the server cannot tell apart are equal: `1e19` and `10000000000000000000`.
fn normal(value: Value) -> Value {
    match value {
        Value::Number(n) if !n.is_i64() => n.as_f64().map_or(Value::Null, Value::from),
        Value::Array(items) => items.into_iter().map(normal).collect(),
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, normal(value))).collect(),
        other => other,
    }
}

#[test]
fn as_kubectl_reads_it() {
    let mut wrong = Vec::new();
    for line in ORACLE.lines() {
        let (input, outputs): (String, Vec<String>) = serde_json::from_str(line).unwrap();
        if STRICTER.contains(&input.as_str()) || MORE_LENIENT.iter().any(|(text, _)| *text == input) {
            continue;
        }
        let parsed = parse_yaml(input.as_bytes());
        let refused = outputs.iter().any(|output| output == "ERROR");
        let agrees = if refused {
            !parsed.errors.is_empty()
        } else {
            let expected: Vec<Value> = outputs.iter().map(|o| normal(serde_json::from_str(o).unwrap())).collect();
            parsed.errors.is_empty() && values(parsed).into_iter().map(normal).collect::<Vec<_>>() == expected
        };
        if !agrees {
            wrong.push(input);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn on_purpose_not_as_kubectl_reads_it() {
    for input in &STRICTER[..6] {
        assert_eq!(parse_yaml(input.as_bytes()).errors.len(), 1, "{input:?}");
    }
    for (input, expected) in MORE_LENIENT {
        let parsed = parse_yaml(input.as_bytes());
        assert_eq!(parsed.errors, [], "{input:?}");
        assert_eq!(Value::from(values(parsed)), serde_json::from_str::<Value>(expected).unwrap(), "{input:?}");
    }
}

fn errors(text: &str) -> Vec<(u32, String)> {
    parse_yaml(text.as_bytes()).errors.into_iter().map(|e| (e.line, e.fault.to_string())).collect()
}

#[test]
fn lines() {
    let text =
        "# comment\n\n---\n# more\na: 1\nb:\n  - x: 1\n---\n\n\nc: 2\n...\n%YAML 1.1\n---\nd: |\n  --- no\n---\n\n";
    let parsed = parse_yaml(text.as_bytes());
    assert_eq!(parsed.documents.iter().map(|d| d.line).collect::<Vec<_>>(), [5, 11, 15]);
    let list = &parsed.documents[0].root.get("b").unwrap().value;
    assert_eq!(list.line, 7);
    let json = "{\n \"a\": [\n  {\"b\": 1},\n  {\"c\":\n 2}]}\n\n{\"x\":\t{\"y\": 1}}";
    let parsed = parse_json(json.as_bytes());
    assert_eq!(parsed.documents.iter().map(|d| d.line).collect::<Vec<_>>(), [2, 7]);
    assert_eq!(parsed.documents[0].root.get("a").unwrap().value.line, 2);
}

#[test]
fn one_bad_document_is_one_error() {
    let text = "a: 1\n---\nb: [\n---\nc: 3\n---\nd: 1\nd: 2\n-----\ne: 1\n---\nf: 'hunter2\n";
    let parsed = parse_yaml(text.as_bytes());
    assert_eq!(parsed.errors.iter().map(|e| e.line).collect::<Vec<_>>(), [3, 8, 9, 12]);
    assert_eq!(values(parsed).len(), 3);
    assert!(errors(text).iter().all(|(_, text)| !text.contains("hunter2")));
    let (line, message) = &errors("m:\n  k: 1\n  x: 2\n  k: 3\n")[0];
    assert_eq!(*line, 4);
    assert!(message.contains("line 2") && message.contains("line 4"), "{message}");
}

#[test]
fn json_files() {
    let read = |text: &str| parse_json(text.as_bytes());
    assert_eq!(
        values(read("{\"a\":1}{\"b\":1.0}\n[1]")),
        [serde_json::json!({"a": 1}), serde_json::json!({"b": 1}), serde_json::json!([1])]
    );
    assert_eq!(values(read("{\"a\": \"\\ud83d\\ude00 \\/ yes\", \"b\": yes}")).len(), 0);
    assert_eq!(read("").errors, []);
    let error = &read("{\n\"a\": {\n\"k\": 1,\n\"k\": 2}}").errors[0];
    assert_eq!(error.fault, Fault::DuplicateKey { key: "k".into(), first: 3, second: 4 });
    for bad in ["{a: 1}", "{\"a\": 1,}", "{\"a\": 1} x", "{\"password\": \"hunter2", "nul", "{\"hunter2\" 1}"] {
        let parsed = read(bad);
        assert_eq!(parsed.errors.len(), 1, "{bad}");
        assert!(!parsed.errors[0].to_string().contains("hunter2"), "{bad}: {}", parsed.errors[0]);
    }
    assert_eq!(read(&"[".repeat(300)).errors[0].fault, Fault::TooDeep);
    assert_eq!(read(&format!("{}1{}", "[".repeat(110), "]".repeat(110))).errors[0].fault, Fault::TooDeep);
}

#[test]
fn encodings() {
    assert_eq!(values(parse_yaml(b"\xef\xbb\xbfa: 1\n")).len(), 1);
    assert_eq!(parse_yaml(b"a: 1\nb: \xff\n").errors, [YamlError::new(2, Fault::NotUtf8(None))]);
    assert_eq!(parse_yaml(b"\xff\xfea\0:\0 \0").errors[0].fault, Fault::NotUtf8(Some(Encoding::Utf16Le)));
    assert_eq!(parse_yaml(b"a: 1\nb: \x1b[31m\n").errors, [YamlError::new(2, Fault::ControlCharacter(0x1b))]);
}

/// Not a benchmark: what is refused must be refused without doing the work, and that is a matter of 1000 times.
fn quickly(what: &str, text: &str) -> Parsed {
    let start = Instant::now();
    let parsed = parse_yaml(text.as_bytes());
    assert!(start.elapsed() < Duration::from_secs(20), "{what} took {:?}", start.elapsed());
    parsed
}

#[test]
fn bombs_are_refused_fast() {
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..20 {
        let aliases = vec![format!("*a{}", i - 1); 10].join(", ");
        laughs.push_str(&format!("a{i}: &a{i} [{aliases}]\n"));
    }
    assert_eq!(quickly("laughs", &laughs).errors[0].fault, Fault::TooManyNodes);
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), vec!["*a"; 100].join(","));
    assert_eq!(quickly("long text", &long).errors[0].fault, Fault::TooManyNodes);
    let nested_anchors: String = (0..90).map(|i| format!("{}k{i}: &a{i}\n", " ".repeat(i))).collect();
    assert_eq!(quickly("anchors", &nested_anchors).errors, []);
    for (what, text) in [
        ("[", "[".repeat(200_000)),
        ("{", "{a: ".repeat(50_000)),
        ("- ", "- ".repeat(50_000)),
        ("? ", "? ".repeat(50_000)),
        ("in a field", format!("a: {}", "[".repeat(200_000))),
    ] {
        assert_eq!(quickly(what, &text).errors[0].fault, Fault::TooDeep, "{what}");
    }
    let deep: String = (0..120).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
    assert_eq!(quickly("deep", &deep).errors[0].fault, Fault::TooDeep);
    let deep_by_alias =
        format!("a: &a {}1{}\nb: {}*a{}\n", "[".repeat(60), "]".repeat(60), "[".repeat(60), "]".repeat(60));
    assert_eq!(quickly("deep by alias", &deep_by_alias).errors[0].fault, Fault::TooDeep);
    assert_eq!(quickly("large", &" ".repeat(MAX_FILE_BYTES + 1)).errors[0].fault, Fault::TooLarge(MAX_FILE_BYTES + 1));
    assert_eq!(quickly("documents", &"---\na: 1\n".repeat(MAX_DOCUMENTS + 2)).errors[0].fault, Fault::TooManyDocuments);
    assert_eq!(quickly("values", &"- \n".repeat(MAX_NODES + 2)).errors[0].fault, Fault::TooManyNodes);
}

#[test]
fn ten_thousand_documents() {
    let one = |i: usize| format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c{i}\ndata:\n  k: v\n");
    let text: String = (0..10_000).map(one).collect();
    let parsed = quickly("10,000 documents", &text);
    assert_eq!((parsed.documents.len(), parsed.errors.len()), (10_000, 0));
    assert_eq!(parsed.documents[9_999].line, 9_999 * 7 + 2);
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e6..1e6_f64).prop_map(|f| Value::from(f + 0.5)),
        "[ -~\u{e9}\u{1f600}]{0,12}".prop_map(Value::from),
        "(yes|no|0[0-9]{2}|~|<<|1e3|---|[0-9.:-]{1,8})".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map("[ -~]{0,8}", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Block style with every string quoted.
fn to_yaml(value: &Value, indent: usize, out: &mut String) {
    let pad = "  ".repeat(indent);
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                out.push_str(&format!("\n{pad}{}:", Value::from(key.as_str())));
                to_yaml(value, indent + 1, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                out.push_str(&format!("\n{pad}-"));
                to_yaml(item, indent + 1, out);
            }
        }
        scalar => out.push_str(&format!(" {scalar}")),
    }
}

proptest! {
    #[test]
    fn yaml_of_json_reads_back(value in json_value()) {
        let mut yaml = String::from("v:");
        to_yaml(&value, 1, &mut yaml);
        let parsed = parse_yaml(yaml.as_bytes());
        prop_assert_eq!(&parsed.errors, &[]);
        prop_assert_eq!(&values(parsed)[0]["v"], &value);
        let json = serde_json::json!({"v": value});
        prop_assert_eq!(&values(parse_json(json.to_string().as_bytes()))[0], &json);
        prop_assert_eq!(&values(parse_yaml(json.to_string().as_bytes()))[0], &json);
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[-a&*!|>'\"%@:#?,{}\\[\\]<~.0 \n\t]{0,120}") {
        let _ = parse_yaml(&bytes);
        let _ = parse_json(&bytes);
        let _ = parse_yaml(text.as_bytes());
        let _ = parse_json(text.as_bytes());
    }
}
