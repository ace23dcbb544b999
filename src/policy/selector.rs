//! Label selectors, as `metav1.LabelSelector` (k8s.io/apimachinery/pkg/apis/meta/v1/types.go).

use serde::Deserialize;
use std::collections::BTreeMap;

/// A label selector. Empty selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct LabelSelector {
    #[serde(default)]
    pub match_labels: BTreeMap<String, String>,
    #[serde(default)]
    pub match_expressions: Vec<Requirement>,
}

/// One requirement of `matchExpressions`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Requirement {
    pub key: String,
    pub operator: Operator,
    #[serde(default)]
    pub values: Vec<String>,
}

/// Operators of `matchExpressions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl LabelSelector {
    /// True if it selects everything.
    pub(super) fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }

    /// The labels it asks for.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        let expressions = self.match_expressions.iter().map(|requirement| requirement.key.as_str());
        self.match_labels.keys().map(String::as_str).chain(expressions)
    }

    /// True if `labels` satisfy every requirement. With `known` a label that is absent from `labels` and for which
    /// `known` is false counts as satisfying: what is not known must not exempt an object from a policy.
    pub(super) fn matches(&self, labels: &BTreeMap<String, String>, known: &dyn Fn(&str) -> bool) -> bool {
        let plain = self.match_labels.iter().all(|(key, want)| match labels.get(key) {
            Some(have) => have == want,
            None => !known(key),
        });
        plain && self.match_expressions.iter().all(|requirement| requirement.matches(labels, known))
    }
}

impl Requirement {
    fn matches(&self, labels: &BTreeMap<String, String>, known: &dyn Fn(&str) -> bool) -> bool {
        let have = labels.get(&self.key);
        if have.is_none() && !known(&self.key) {
            return true;
        }
        match self.operator {
            Operator::In => have.is_some_and(|value| self.values.contains(value)),
            Operator::NotIn => have.is_none_or(|value| !self.values.contains(value)),
            Operator::Exists => have.is_some(),
            Operator::DoesNotExist => have.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn requirements() {
        let labels: BTreeMap<String, String> = [("env".to_owned(), "prod".to_owned())].into();
        for (selector, expected) in [
            (json!({}), true),
            (json!({"matchLabels": {"env": "prod"}}), true),
            (json!({"matchLabels": {"env": "dev"}}), false),
            (json!({"matchLabels": {"tier": "x"}}), false),
            (json!({"matchExpressions": [{"key": "env", "operator": "In", "values": ["prod", "x"]}]}), true),
            (json!({"matchExpressions": [{"key": "env", "operator": "NotIn", "values": ["prod"]}]}), false),
            (json!({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["x"]}]}), true),
            (json!({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}), false),
            (json!({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}), true),
        ] {
            let parsed: LabelSelector = serde_json::from_value(selector.clone()).unwrap();
            assert_eq!(parsed.matches(&labels, &|_| true), expected, "{selector}");
        }
        let unknown: LabelSelector = serde_json::from_value(json!({"matchLabels": {"tier": "x"}})).unwrap();
        assert!(unknown.matches(&labels, &|_| false), "an unknown label exempts nothing");
    }
}
