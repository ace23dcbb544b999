//! Label selectors (`metav1.LabelSelector`) and plain label maps.

use super::meta::{items, text};
use serde_json::Value;

/// True if the selector selects these labels. A missing selector selects nothing, an empty one everything.
pub fn selects(selector: &Value, labels: &Value) -> bool {
    if selector.is_null() {
        return false;
    }
    map_selects(&selector["matchLabels"], labels)
        && items(&selector["matchExpressions"]).iter().all(|e| expression(e, labels))
}

/// True if every pair of the map is among the labels (a Service's selector, a node selector).
pub fn map_selects(map: &Value, labels: &Value) -> bool {
    map.as_object().is_none_or(|map| map.iter().all(|(key, value)| labels.get(key) == Some(value)))
}

/// One requirement: `In`, `NotIn`, `Exists`, `DoesNotExist`, and for nodes `Gt` and `Lt`.
pub fn expression(expression: &Value, labels: &Value) -> bool {
    let found = labels.get(text(&expression["key"])).and_then(Value::as_str);
    let values = items(&expression["values"]);
    let listed = found.is_some_and(|label| values.iter().any(|v| v == label));
    let number = |value: Option<&str>| value.and_then(|v| v.parse::<i64>().ok());
    let bound = number(values.first().and_then(Value::as_str));
    match text(&expression["operator"]) {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => found.is_some(),
        "DoesNotExist" => found.is_none(),
        "Gt" => matches!((number(found), bound), (Some(label), Some(bound)) if label > bound),
        "Lt" => matches!((number(found), bound), (Some(label), Some(bound)) if label < bound),
        _ => false,
    }
}

/// `k=v,k in (a,b)`: as a scale subresource writes it (`labels.Selector.String`).
pub fn to_text(selector: &Value) -> String {
    let mut parts: Vec<(String, String)> = selector["matchLabels"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), format!("{key}={}", text(value))))
        .collect();
    for expression in items(&selector["matchExpressions"]) {
        let key = text(&expression["key"]);
        let values: Vec<&str> = items(&expression["values"]).iter().map(text).collect();
        let part = match text(&expression["operator"]) {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        };
        parts.push((key.to_owned(), part));
    }
    parts.sort();
    parts.into_iter().map(|(_, part)| part).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors() {
        let labels = json!({"app": "web", "tier": "front", "cores": "8"});
        for (selector, expected) in [
            (json!(null), false),
            (json!({}), true),
            (json!({"matchLabels": {"app": "web"}}), true),
            (json!({"matchLabels": {"app": "db"}}), false),
            (json!({"matchExpressions": [{"key": "tier", "operator": "In", "values": ["front", "back"]}]}), true),
            (json!({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["front"]}]}), false),
            (json!({"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]}), true),
            (json!({"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["4"]}]}), true),
            (json!({"matchExpressions": [{"key": "cores", "operator": "Lt", "values": ["4"]}]}), false),
        ] {
            assert_eq!(selects(&selector, &labels), expected, "{selector}");
        }
        assert_eq!(to_text(&json!({"matchLabels": {"b": "2", "a": "1"}})), "a=1,b=2");
    }
}
