//! Label selectors and field selectors of list, watch and deletecollection requests.
//! Source: k8s.io/apimachinery/pkg/labels/selector.go, pkg/fields/selector.go, and the field label conversions of each kind.

use super::kinds::Kind;
use serde_json::Value;

/// One requirement on a label.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    NotExists(String),
    Greater(String, i64),
    Less(String, i64),
}

/// A label selector in text form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

impl LabelSelector {
    /// Reads `app=web,tier!=x,env in (a,b),!old`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut requirements = Vec::new();
        for part in split_top(text) {
            let part = part.trim();
            if part.is_empty() {
                continue;
            }
            requirements.push(requirement(part)?);
        }
        Ok(Self(requirements))
    }

    /// Reads `metav1.LabelSelector`. An empty selector matches everything.
    pub fn from_object(selector: &Value) -> Self {
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let mut out = Vec::new();
        for (key, value) in selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            out.push(Requirement::In(key.clone(), vec![text(value)]));
        }
        for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let key = expression.get("key").map(text).unwrap_or_default();
            let values: Vec<String> =
                expression.get("values").and_then(Value::as_array).into_iter().flatten().map(text).collect();
            out.push(match expression.get("operator").and_then(Value::as_str) {
                Some("NotIn") => Requirement::NotIn(key, values),
                Some("Exists") => Requirement::Exists(key),
                Some("DoesNotExist") => Requirement::NotExists(key),
                _ => Requirement::In(key, values),
            });
        }
        Self(out)
    }

    /// True if nothing is required.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if the object's labels satisfy every requirement.
    pub fn matches(&self, object: &Value) -> bool {
        self.matches_labels(object.pointer("/metadata/labels"))
    }

    /// The same for a map of labels.
    pub fn matches_labels(&self, labels: Option<&Value>) -> bool {
        let get = |key: &str| labels.and_then(|l| l.get(key)).and_then(Value::as_str);
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => get(key).is_some_and(|v| values.iter().any(|w| w == v)),
            Requirement::NotIn(key, values) => get(key).is_none_or(|v| values.iter().all(|w| w != v)),
            Requirement::Exists(key) => get(key).is_some(),
            Requirement::NotExists(key) => get(key).is_none(),
            Requirement::Greater(key, n) => get(key).and_then(|v| v.parse::<i64>().ok()).is_some_and(|v| v > *n),
            Requirement::Less(key, n) => get(key).and_then(|v| v.parse::<i64>().ok()).is_some_and(|v| v < *n),
        })
    }
}

/// Splits at commas outside parentheses.
fn split_top(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut out) = (0_i32, 0, Vec::new());
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                out.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    out.push(&text[start..]);
    out
}

fn requirement(part: &str) -> Result<Requirement, String> {
    let bad = || format!("found '{part}', expected: identifier");
    let key = |text: &str| -> Result<String, String> {
        let text = text.trim();
        let ok =
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'));
        if ok { Ok(text.to_owned()) } else { Err(bad()) }
    };
    let value = |text: &str| -> Result<String, String> {
        let text = text.trim();
        if let Some(operator) = text.chars().next().filter(|c| matches!(c, '=' | '!' | '<' | '>')) {
            return Err(format!("found '{operator}', expected: identifier"));
        }
        let ok = text.len() <= 63 && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        if ok {
            Ok(text.to_owned())
        } else {
            Err(format!(
                "values[0][{text}]: Invalid value: {text:?}: a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
            ))
        }
    };
    if let Some(rest) = part.strip_prefix('!') {
        return Ok(Requirement::NotExists(key(rest)?));
    }
    if let Some(open) = part.find('(') {
        let inner = part[open + 1..].strip_suffix(')').ok_or_else(bad)?;
        let values = inner.split(',').map(value).collect::<Result<Vec<_>, _>>()?;
        let mut words = part[..open].split_whitespace();
        return match (words.next(), words.next(), words.next()) {
            (Some(k), Some("in"), None) => Ok(Requirement::In(key(k)?, values)),
            (Some(k), Some("notin"), None) => Ok(Requirement::NotIn(key(k)?, values)),
            _ => Err(bad()),
        };
    }
    if let Some((k, v)) = part.split_once("!=") {
        return Ok(Requirement::NotIn(key(k)?, vec![value(v)?]));
    }
    if let Some((k, v)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Ok(Requirement::In(key(k)?, vec![value(v)?]));
    }
    if let Some((k, v)) = part.split_once('>') {
        return Ok(Requirement::Greater(key(k)?, v.trim().parse().map_err(|_| bad())?));
    }
    if let Some((k, v)) = part.split_once('<') {
        return Ok(Requirement::Less(key(k)?, v.trim().parse().map_err(|_| bad())?));
    }
    Ok(Requirement::Exists(key(part)?))
}

/// A field selector: JSON pointer, wanted value, and whether equal or not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector(Vec<(String, String, bool)>);

impl FieldSelector {
    /// Reads `metadata.name=a,status.phase!=Running` for a kind; labels that the kind does not know are refused.
    pub fn parse(text: &str, kind: &Kind) -> Result<Self, String> {
        let mut out = Vec::new();
        for part in text.split(',').filter(|p| !p.is_empty()) {
            let (key, value, equal) = if let Some((k, v)) = part.split_once("!=") {
                (k, v, false)
            } else if let Some((k, v)) = part.split_once("==").or_else(|| part.split_once('=')) {
                (k, v, true)
            } else {
                return Err(format!("invalid selector: '{part}'; can't understand '{part}'"));
            };
            let Some(pointer) = pointer(kind, key) else {
                return Err(if kind.is("", "Pod") || kind.is("", "Node") || kind.is("", "Event") {
                    format!("field label not supported: {key}")
                } else {
                    format!("{key:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
                });
            };
            out.push((pointer, value.to_owned(), equal));
        }
        Ok(Self(out))
    }

    /// True if nothing is required.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one name that is asked for, if it is.
    pub fn name(&self) -> Option<&str> {
        self.0.iter().find(|(p, _, equal)| p == "/metadata/name" && *equal).map(|(_, v, _)| v.as_str())
    }

    /// True if the object fits.
    pub fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|(pointer, wanted, equal)| {
            let found = match object.pointer(pointer) {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Null) | None => String::new(),
                Some(Value::Bool(b)) => b.to_string(),
                Some(other) => other.to_string(),
            };
            (found == *wanted) == *equal
        })
    }
}

fn pointer(kind: &Kind, label: &str) -> Option<String> {
    let known: &[&str] = match (kind.gk.group.as_str(), kind.gk.kind.as_str()) {
        ("", "Pod") => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        ("", "Node") => &["spec.unschedulable"],
        ("", "Namespace") => &["status.phase"],
        ("", "Secret") => &["type"],
        ("", "Service") => &["spec.clusterIP", "spec.type"],
        ("apps", "ReplicaSet") => &["status.replicas"],
        ("batch", "Job") => &["status.successful"],
        ("", "Event") => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        ("events.k8s.io", "Event") => &[
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "type",
        ],
        _ => &[],
    };
    if matches!(label, "metadata.name" | "metadata.namespace") {
        return Some(format!("/{}", label.replace('.', "/")));
    }
    if label == "source" {
        return Some("/source/component".into());
    }
    if label == "status.successful" {
        return Some("/status/succeeded".into());
    }
    known.contains(&label).then(|| format!("/{}", label.replace('.', "/")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn label_selectors() {
        let object = json!({"metadata": {"labels": {"app": "web", "n": "5"}}});
        for (text, expected) in [
            ("", true),
            ("app=web", true),
            ("app==web,n", true),
            ("app!=web", false),
            ("other!=x", true),
            ("app in (a, web)", true),
            ("app notin (a,b)", true),
            ("!app", false),
            ("!other", true),
            ("n>4", true),
            ("n<4", false),
        ] {
            assert_eq!(LabelSelector::parse(text).unwrap().matches(&object), expected, "{text}");
        }
        assert!(LabelSelector::parse("a b").is_err());
        let selector =
            json!({"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]});
        assert!(LabelSelector::from_object(&selector).matches(&object));
    }
}
