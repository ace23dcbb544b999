//! Does a policy (or its binding) concern an object? `matchConstraints` and `matchResources`.
//!
//! Source: k8s.io/apiserver/pkg/admission/plugin/policy/matching/matching.go and webhook/predicates/rules/rules.go.

use super::document::{GROUP, MatchPolicy, MatchResources, ResourceRule};
use super::review::Request;
use crate::object::null;
use crate::scheme::autoscaler;
use std::collections::BTreeMap;

/// The label that every namespace carries with its own name.
pub(super) const NAME_LABEL: &str = "kubernetes.io/metadata.name";

impl MatchResources {
    /// True if it depends on labels of namespaces other than their name.
    pub(super) fn reads_namespaces(&self) -> bool {
        self.namespace_selector.as_ref().is_some_and(|selector| selector.keys().any(|key| key != NAME_LABEL))
    }

    /// True if the request is concerned. `rules_required` is true for a policy (no rule, no match) and false for a
    /// binding (no rule, no narrowing).
    pub(super) fn concerns(&self, request: &Request<'_>, rules_required: bool) -> bool {
        // No policy judges policies (`isPolicyResource` in plugin/policy/generic/plugin.go).
        if request.group == GROUP && POLICY_RESOURCES.contains(&request.resource) {
            return false;
        }
        let included = (!rules_required && self.resource_rules.is_empty()) || self.version(request).is_some();
        let excluded = versions_of(request, self.match_policy)
            .any(|version| self.exclude_resource_rules.iter().any(|rule| rule.concerns(request, version)));
        included
            && !excluded
            && self.namespace_selected(request)
            && self.object_selector.as_ref().is_none_or(|selector| {
                // A side that is not there is not selected, whatever the selector asks (webhook/predicates/object).
                let mut sides = [request.object, request.old_object].into_iter().flatten();
                selector.is_empty() || sides.any(|side| selector.matches(&labels_of(Some(side)), &|_| true))
            })
    }

    /// The version of the object that the rules are about: the request's own, else another one of the same resource
    /// (`matchPolicy: Equivalent`); `None` if they are not about it.
    pub(super) fn version(&self, request: &Request<'_>) -> Option<&'static str> {
        versions_of(request, self.match_policy)
            .find(|version| self.resource_rules.iter().any(|rule| rule.concerns(request, version)))
    }

    fn namespace_selected(&self, request: &Request<'_>) -> bool {
        let Some(selector) = &self.namespace_selector else { return true };
        if request.is_namespace() {
            return selector.matches(&labels_of(request.object.or(request.old_object)), &|_| true);
        }
        let Some(namespace) = request.namespace else { return true };
        match request.namespace_labels {
            Some(labels) => {
                let mut labels = labels.clone();
                labels.insert(NAME_LABEL.into(), namespace.into());
                selector.matches(&labels, &|_| true)
            }
            None => {
                let labels = [(NAME_LABEL.to_owned(), namespace.to_owned())].into();
                selector.matches(&labels, &|key| key == NAME_LABEL)
            }
        }
    }
}

impl ResourceRule {
    fn concerns(&self, request: &Request<'_>, version: &str) -> bool {
        let has = |list: &[String], want: &str| list.iter().any(|item| item == "*" || item == want);
        has(&self.operations, request.operation)
            && has(&self.api_groups, request.group)
            && (version == ANY || has(&self.api_versions, if version == OWN { request.version } else { version }))
            && self.resources.iter().any(|pattern| resource_matches(pattern, request))
            && (self.resource_names.is_empty() || self.resource_names.iter().any(|name| name == request.name))
            && match self.scope.as_deref() {
                // A namespace is never in one, though its requests carry its name.
                Some("Cluster") => request.is_namespace() || request.namespace.is_none(),
                Some("Namespaced") => !request.is_namespace() && request.namespace.is_some(),
                _ => true,
            }
    }
}

/// What policies are made of.
const POLICY_RESOURCES: [&str; 4] = [
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
];

/// The version of whatever is not built in: which of them a definition serves is not known here, so that each of them
/// stands for all.
pub(super) const ANY: &str = "";
/// The request's own version.
pub(super) const OWN: &str = ".";

/// The versions in which a request's object can be looked at, its own first.
fn versions_of(request: &Request<'_>, policy: MatchPolicy) -> impl Iterator<Item = &'static str> {
    let own = std::iter::once(OWN);
    let others: &'static [&'static str] = if policy == MatchPolicy::Exact {
        &[]
    } else if request.group == "autoscaling" && request.resource == "horizontalpodautoscalers" {
        &autoscaler::VERSIONS
    } else if null::is_built_in(request.group) {
        &[]
    } else {
        &[ANY]
    };
    own.chain(others.iter().copied())
}

/// `*`, `*/*`, `pods`, `pods/*`, `*/scale`, `pods/status`.
fn resource_matches(pattern: &str, request: &Request<'_>) -> bool {
    let (resource, subresource) = pattern.split_once('/').unwrap_or((pattern, ""));
    // `pods/*` is also the object itself, whatever the documentation says.
    (resource == "*" || resource == request.resource) && (subresource == "*" || subresource == request.subresource)
}

/// The labels of an object.
pub fn labels_of(object: Option<&serde_json::Value>) -> BTreeMap<String, String> {
    let labels = object.and_then(|object| object.pointer("/metadata/labels")).and_then(serde_json::Value::as_object);
    labels.into_iter().flatten().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rules(value: &serde_json::Value) -> MatchResources {
        serde_json::from_value(value.clone()).unwrap()
    }

    fn rule(resource: &str) -> serde_json::Value {
        json!({"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": [resource]})
    }

    #[test]
    fn resource_patterns() {
        let object = json!({"metadata": {"labels": {"a": "b"}}});
        let request = Request {
            operation: "CREATE",
            group: "apps",
            version: "v1",
            kind: "Deployment",
            resource: "deployments",
            name: "web",
            namespace: Some("shop"),
            object: Some(&object),
            ..Request::default()
        };
        for (pattern, expected) in [
            ("deployments", true),
            ("*", true),
            ("*/*", true),
            ("deployments/*", true),
            ("deployments/scale", false),
            ("statefulsets", false),
        ] {
            let constraints = rules(&json!({"resourceRules": [rule(pattern)]}));
            assert_eq!(constraints.concerns(&request, true), expected, "{pattern}");
        }
        let scale = Request { subresource: "scale", ..request.clone() };
        assert!(rules(&json!({"resourceRules": [rule("*/scale")]})).concerns(&scale, true));
        assert!(!rules(&json!({"resourceRules": [rule("*")]})).concerns(&scale, true));
        for (extra, expected) in [
            (json!({"excludeResourceRules": [rule("deployments")]}), false),
            (json!({"objectSelector": {"matchLabels": {"a": "b"}}}), true),
            (json!({"objectSelector": {"matchLabels": {"a": "c"}}}), false),
            (json!({"namespaceSelector": {"matchLabels": {NAME_LABEL: "shop"}}}), true),
            (json!({"namespaceSelector": {"matchLabels": {NAME_LABEL: "other"}}}), false),
            (json!({"namespaceSelector": {"matchLabels": {"team": "unknown here"}}}), true),
            (json!({"matchPolicy": "Exact"}), true),
        ] {
            let mut all = json!({"resourceRules": [rule("deployments")]});
            all.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            assert_eq!(rules(&all).concerns(&request, true), expected, "{extra}");
        }
        assert!(!MatchResources::default().concerns(&request, true));
        assert!(MatchResources::default().concerns(&request, false));
        let beta = Request { version: "v1beta1", ..request.clone() };
        assert!(!rules(&json!({"resourceRules": [rule("*")]})).concerns(&beta, true), "served in one version only");
        let custom = Request { group: "example.org", version: "v1beta1", ..request };
        let of = |policy: &str| {
            let rule = json!({"apiGroups": ["*"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["*"]});
            rules(&json!({"resourceRules": [rule], "matchPolicy": policy}))
        };
        assert!(of("Equivalent").concerns(&custom, true));
        assert!(!of("Exact").concerns(&custom, true));
    }
}
