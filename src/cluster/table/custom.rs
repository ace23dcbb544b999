//! Columns of custom resources: `additionalPrinterColumns`, with the part of JSONPath that definitions use.
//! Source: k8s.io/apiextensions-apiserver/pkg/registry/customresource/tableconvertor/tableconvertor.go.

use super::columns::Column;
use super::render::age;
use jiff::Timestamp;
use serde_json::Value;

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The columns of a version. Without columns of its own a custom resource shows its age.
pub fn columns(defined: &[Value]) -> Vec<Column> {
    let column = |name: &str, kind: &str, priority, description: &str| Column {
        name: name.to_owned(),
        kind: kind.to_owned(),
        priority,
        description: description.to_owned(),
    };
    let mut out = vec![column("Name", "string", 0, "")];
    if defined.is_empty() {
        out.push(column("Age", "date", 0, ""));
    }
    out.extend(defined.iter().map(|d| {
        let priority = d.get("priority").and_then(Value::as_i64).unwrap_or(0);
        column(text(d, "name"), text(d, "type"), priority, text(d, "description"))
    }));
    out
}

/// The cells of an object.
pub fn cells(object: &Value, defined: &[Value], now: Timestamp) -> Vec<Value> {
    let mut out = vec![object["metadata"]["name"].clone()];
    if defined.is_empty() {
        out.push(age(text(&object["metadata"], "creationTimestamp"), now).into());
    }
    out.extend(defined.iter().map(|d| {
        let found = evaluate(object, text(d, "jsonPath"));
        let Some(first) = found.first() else { return Value::Null };
        match text(d, "type") {
            "date" => age(first.as_str().unwrap_or_default(), now).into(),
            "string" => found.iter().map(|v| plain(v)).collect::<Vec<_>>().join(",").into(),
            _ => (*first).clone(),
        }
    }));
    out
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        other => other.to_string(),
    }
}

/// Values at a path such as `.status.conditions[?(@.type=="Ready")].status`.
fn evaluate<'v>(object: &'v Value, path: &str) -> Vec<&'v Value> {
    let mut found = vec![object];
    for step in steps(path) {
        found = found.into_iter().flat_map(|value| take(value, &step)).collect();
    }
    found.retain(|v| !v.is_null());
    found
}

enum Step {
    Field(String),
    Index(i64),
    All,
    Where(Vec<String>, String),
}

fn steps(path: &str) -> Vec<Step> {
    let mut out = Vec::new();
    let mut rest = path.trim().trim_start_matches('{').trim_end_matches('}').trim_start_matches('$');
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let Some(end) = inner.find(']') else { return out };
            out.push(bracket(&inner[..end]));
            rest = &inner[end + 1..];
            continue;
        }
        rest = rest.strip_prefix('.').unwrap_or(rest);
        let mut name = String::new();
        let mut chars = rest.char_indices().peekable();
        let mut end = rest.len();
        while let Some((i, c)) = chars.next() {
            match c {
                '\\' => {
                    if let Some((_, next)) = chars.next() {
                        name.push(next);
                    }
                }
                '.' | '[' => {
                    end = i;
                    break;
                }
                other => name.push(other),
            }
        }
        if !name.is_empty() {
            out.push(if name == "*" { Step::All } else { Step::Field(name) });
        } else if end == 0 && !rest.starts_with('[') {
            return out;
        }
        rest = &rest[end..];
    }
    out
}

fn bracket(inner: &str) -> Step {
    if inner == "*" {
        return Step::All;
    }
    if let Some(condition) = inner.strip_prefix("?(@").and_then(|c| c.strip_suffix(')'))
        && let Some((path, value)) = condition.split_once("==")
    {
        let fields = path.trim().trim_start_matches('.').split('.').map(str::to_owned).collect();
        return Step::Where(fields, value.trim().trim_matches(['"', '\'']).to_owned());
    }
    match inner.parse() {
        Ok(index) => Step::Index(index),
        Err(_) => Step::Field(inner.trim_matches(['"', '\'']).to_owned()),
    }
}

fn take<'v>(value: &'v Value, step: &Step) -> Vec<&'v Value> {
    match (step, value) {
        (Step::Field(name), Value::Object(map)) => map.get(name).into_iter().collect(),
        (Step::All, Value::Array(items)) => items.iter().collect(),
        (Step::All, Value::Object(map)) => map.values().collect(),
        (Step::Index(i), Value::Array(items)) => {
            let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
            let index = if *i < 0 { length + i } else { *i };
            usize::try_from(index).ok().and_then(|i| items.get(i)).into_iter().collect()
        }
        (Step::Where(fields, wanted), Value::Array(items)) => items
            .iter()
            .filter(|item| {
                let found = fields.iter().try_fold(*item, |value, field| value.get(field));
                found.is_some_and(|v| plain(v) == *wanted)
            })
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths() {
        let object = json!({"spec": {"a.b": 1, "list": [{"n": "x"}, {"n": "y"}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        for (path, expected) in [
            (".spec.a\\.b", json!([1])),
            (".spec.list[0].n", json!(["x"])),
            (".spec.list[*].n", json!(["x", "y"])),
            (".status.conditions[?(@.type==\"Ready\")].status", json!(["True"])),
            (".status.conditions[?(@.type=='Other')].status", json!([])),
            (".missing.path", json!([])),
            (".", json!([object])),
        ] {
            assert_eq!(json!(evaluate(&object, path)), expected, "{path}");
        }
    }
}
