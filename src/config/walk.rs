//! Checks a document against the JSON Schema of the file's types, and reports everything at once with lines: unknown
//! keys, secrets, missing keys, wrong types, wrong words, wrong forms. serde would stop at the first.

use super::error::Fault;
use super::format;
use super::lines::Lines;
use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// All that is wrong in a document, with its line.
pub fn check(schema: &Value, document: &DeTable<'_>, lines: &Lines<'_>) -> Vec<(u32, Fault)> {
    let mut walk = Walk { schema, lines, faults: Vec::new() };
    walk.table(schema, document, "the file", 1);
    walk.faults
}

struct Walk<'a> {
    schema: &'a Value,
    lines: &'a Lines<'a>,
    faults: Vec<(u32, Fault)>,
}

impl<'a> Walk<'a> {
    fn table(&mut self, schema: &'a Value, table: &DeTable<'_>, shown: &str, line: u32) {
        let Some(known) = schema.get("properties").and_then(Value::as_object) else { return };
        for (key, value) in table {
            let at = self.lines.of(key.span().start);
            match known.get(key.get_ref().as_ref()) {
                Some(expected) => self.value(expected, value, key.get_ref(), at),
                None => self.faults.push((at, unknown(key.get_ref(), known, shown))),
            }
        }
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        for key in required.filter(|key| !table.iter().any(|(present, _)| present.get_ref() == key)) {
            self.faults.push((line, Fault::Missing { table: shown.to_owned(), key: key.to_owned() }));
        }
    }

    fn value(&mut self, schema: &'a Value, value: &Spanned<DeValue<'_>>, key: &str, line: u32) {
        let forms = self.forms(schema);
        let found = kind(value.get_ref());
        let Some(form) = forms.iter().copied().find(|form| accepts(form, found)) else {
            if found == "object" && forms.iter().any(|form| self.is_list_of_tables(form)) {
                return self.faults.push((line, Fault::SingleBrackets { key: key.to_owned() }));
            }
            let expected = forms.iter().map(|form| describe(form)).collect::<Vec<_>>().join(" or ");
            let found = article(found).to_owned();
            self.faults.push((line, Fault::WrongType { key: key.to_owned(), expected, found }));
            return;
        };
        match value.get_ref() {
            DeValue::Table(table) => self.table(form, table, &format!("`{key}`"), line),
            DeValue::Array(items) => self.items(form, &items[..], key, line),
            DeValue::String(text) => self.text(&forms, form, text, key, line),
            _ => {}
        }
    }

    fn items(&mut self, form: &'a Value, items: &[Spanned<DeValue<'_>>], key: &str, line: u32) {
        if items.is_empty() && form.get("minItems").and_then(Value::as_u64).unwrap_or(0) > 0 {
            self.faults.push((line, Fault::Invalid { key: key.to_owned(), why: "it must not be empty".to_owned() }));
        }
        let Some(inner) = form.get("items") else { return };
        for item in items {
            let at = self.lines.of(item.span().start);
            match item.get_ref() {
                DeValue::Table(table) => {
                    for form in self.forms(inner) {
                        self.table(form, table, &format!("[[{key}]]"), at);
                    }
                }
                _ => self.value(inner, item, key, at),
            }
        }
    }

    fn text(&mut self, forms: &[&'a Value], form: &'a Value, text: &str, key: &str, line: u32) {
        let words: Vec<&str> = forms.iter().flat_map(|form| words(form)).collect();
        if !words.is_empty() && !words.contains(&text) {
            let value: String = text.chars().filter(|c| !c.is_control()).take(60).collect();
            let allowed = words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
            self.faults.push((line, Fault::NotOneOf { key: key.to_owned(), value, allowed }));
        }
        let format = form.get("format").and_then(Value::as_str).unwrap_or_default();
        if let Err(why) = format::check(format, text) {
            self.faults.push((line, Fault::Invalid { key: key.to_owned(), why }));
        }
    }

    fn is_list_of_tables(&self, form: &'a Value) -> bool {
        form.get("items").is_some_and(|inner| self.forms(inner).iter().any(|inner| accepts(inner, "object")))
    }

    /// The alternatives of a schema, references followed, `null` left out (TOML has none).
    fn forms(&self, schema: &'a Value) -> Vec<&'a Value> {
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let target = reference.strip_prefix('#').and_then(|pointer| self.schema.pointer(pointer));
            return target.map(|target| self.forms(target)).unwrap_or_default();
        }
        let alternatives = ["anyOf", "oneOf"].iter().find_map(|word| schema.get(*word)?.as_array());
        match alternatives {
            Some(alternatives) => alternatives
                .iter()
                .filter(|form| form.get("type").and_then(Value::as_str) != Some("null"))
                .flat_map(|form| self.forms(form))
                .collect(),
            None => vec![schema],
        }
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "string",
        DeValue::Integer(_) => "integer",
        DeValue::Float(_) => "number",
        DeValue::Boolean(_) => "boolean",
        DeValue::Datetime(_) => "date",
        DeValue::Array(_) => "array",
        DeValue::Table(_) => "object",
    }
}

fn types(form: &Value) -> Vec<&str> {
    match form.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).filter(|t| *t != "null").collect(),
        _ => Vec::new(),
    }
}

fn accepts(form: &Value, found: &str) -> bool {
    let types = types(form);
    types.is_empty() || types.contains(&found)
}

fn article(kind: &str) -> &str {
    match kind {
        "string" => "a text",
        "integer" => "a whole number",
        "number" => "a number with a fraction",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a table",
        "date" => "a date",
        other => other,
    }
}

fn describe(form: &Value) -> String {
    let example = form.pointer("/examples/0").and_then(Value::as_str);
    let named = types(form).into_iter().map(article).collect::<Vec<_>>().join(" or ");
    match example {
        Some(example) => format!("{named} like \"{example}\""),
        None => named,
    }
}

/// The words that a schema allows: `enum`, or `const` where each word has a description.
fn words(form: &Value) -> Vec<&str> {
    let several = form.get("enum").and_then(Value::as_array).into_iter().flatten();
    several.chain(form.get("const")).filter_map(Value::as_str).collect()
}

/// Keys under which people put secrets.
const SECRETS: [&str; 10] = [
    "token",
    "password",
    "passwd",
    "secret",
    "private_key",
    "ssh_key",
    "api_key",
    "access_token",
    "client_secret",
    "passphrase",
];

fn unknown(key: &str, known: &Map<String, Value>, table: &str) -> Fault {
    let has = |name: &str| known.contains_key(name);
    if SECRETS.contains(&key.to_ascii_lowercase().as_str()) {
        let instead = if has("token_env") {
            Some("`token_env = \"NAME_OF_VARIABLE\"` or `token_file = \"/path/to/file\"`")
        } else if has("secret_env") {
            Some("`secret_env = \"NAME_OF_VARIABLE\"` or `secret_file = \"/path/to/file\"`")
        } else if has("auth") {
            Some("`auth = { token_env = \"NAME_OF_VARIABLE\" }` or `auth = { token_file = \"/path/to/file\" }`")
        } else {
            None
        };
        if let Some(instead) = instead {
            return Fault::SecretInFile { key: key.to_owned(), instead: instead.to_owned() };
        }
    }
    let shown: String = key.chars().filter(|c| !c.is_control()).take(60).collect();
    match nearest(key, known.keys().map(String::as_str)) {
        Some(near) => Fault::MisspeltKey { key: shown, near: near.to_owned() },
        None => {
            let known = known.keys().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
            Fault::UnknownKey { key: shown, table: table.to_owned(), known }
        }
    }
}

/// The known word that a person most likely meant.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_ascii_lowercase().replace('-', "_");
    let farthest = (written.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&written, &word.replace('-', "_")), word))
        .filter(|(distance, _)| *distance <= farthest)
        .min()
        .map(|(_, word)| word)
}
