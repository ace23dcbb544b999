//! Loading: what is accepted, and what is told of the rest.

use super::*;
use crate::policy::Request;
use serde_json::{Value, json};

fn at(line: u32, object: Value) -> Desired {
    Desired { object, source: Source { file: "p.yaml".into(), line } }
}

fn policy(spec: &Value) -> Desired {
    let mut full = json!({"matchConstraints": {"resourceRules": [{"apiGroups": ["*"], "apiVersions": ["*"],
        "operations": ["CREATE"], "resources": ["*"]}]}, "validations": [{"expression": "true"}]});
    full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    at(
        1,
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": POLICY, "metadata": {"name": "p"}, "spec": full}),
    )
}

fn binding(spec: &Value) -> Desired {
    at(
        9,
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": BINDING, "metadata": {"name": "b"}, "spec": spec}),
    )
}

fn with_ref(reference: &Value) -> Desired {
    let mut reference = reference.clone();
    reference["parameterNotFoundAction"] = json!("Deny");
    binding(&json!({"policyName": "p", "validationActions": ["Deny"], "paramRef": reference}))
}

fn config_map(name: &str, namespace: Option<&str>) -> Desired {
    let mut metadata = json!({"name": name, "labels": {"of": name}});
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
    }
    at(20, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"max": name}}))
}

fn deny() -> Desired {
    binding(&json!({"policyName": "p", "validationActions": ["Deny"]}))
}

#[test]
fn builtin_loads() {
    assert_eq!(PolicySet::builtin().names().collect::<Vec<_>>(), ["no-latest-image", "untagged-image"]);
    assert_eq!(PolicySet::builtin().and(PolicySet::builtin()).names().count(), 4);
}

#[test]
fn faults_are_told() {
    let cases: Vec<(&str, Vec<Desired>)> = vec![
        ("has no binding", vec![policy(&json!({}))]),
        ("names the policy p", vec![deny()]),
        ("defined twice", vec![policy(&json!({})), policy(&json!({})), deny()]),
        ("unknown field `validation`", vec![policy(&json!({"validation": []})), deny()]),
        ("a Secret as paramKind", vec![policy(&json!({"paramKind": {"apiVersion": "v1", "kind": "Secret"}})), deny()]),
        ("name and selector exclude", vec![policy(&json!({})), with_ref(&json!({"name": "a", "selector": {}}))]),
        ("one of name and selector", vec![policy(&json!({})), with_ref(&json!({}))]),
        ("is no policy", vec![policy(&json!({})), deny(), config_map("a", Some("shop"))]),
        (
            "metadata.namespace is missing",
            vec![
                policy(&json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}})),
                deny(),
                config_map("a", None),
            ],
        ),
        ("params is not defined", vec![policy(&json!({"validations": [{"expression": "params == null"}]})), deny()]),
        ("no function nope()", vec![policy(&json!({"validations": [{"expression": "nope()"}]})), deny()]),
        (
            "validations[1].messageExpression",
            vec![
                policy(
                    &json!({"validations": [{"expression": "true"}, {"expression": "true", "messageExpression": "x"}]}),
                ),
                deny(),
            ],
        ),
        (
            "variables.b is not defined before",
            vec![
                policy(
                    &json!({"variables": [{"name": "a", "expression": "variables.b"}, {"name": "b", "expression": "1"}]}),
                ),
                deny(),
            ],
        ),
        (
            "variables cannot be used in a match condition",
            vec![
                policy(
                    &json!({"variables": [{"name": "a", "expression": "1"}], "matchConditions": [{"name": "m", "expression": "variables.a == 1"}]}),
                ),
                deny(),
            ],
        ),
        ("it would judge nothing", vec![policy(&json!({"matchConstraints": {}})), deny()]),
        ("neither validations nor", vec![policy(&json!({"validations": []})), deny()]),
        (
            "at least one of Deny",
            vec![policy(&json!({})), binding(&json!({"policyName": "p", "validationActions": []}))],
        ),
        ("is no policy", vec![at(1, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}))]),
        (
            "is no policy",
            vec![at(
                1,
                json!({"apiVersion": "admissionregistration.k8s.io/v1alpha1", "kind": POLICY, "metadata": {"name": "x"}}),
            )],
        ),
    ];
    for (part, documents) in cases {
        let errors = PolicySet::load(&documents).expect_err(part);
        let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(text.len(), 1, "{part}: {text:?}");
        assert!(text[0].contains(part), "{part}: {text:?}");
    }
    assert!(PolicySet::load(&[policy(&json!({})), deny()]).is_ok());
}

/// What a policy with parameters says of a request in a namespace.
fn judged(reference: &Value, failure: &str, namespace: Option<&str>, params: &[Desired]) -> Vec<String> {
    let spec = json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}, "failurePolicy": failure,
        "validations": [{"expression": "params == null", "messageExpression": "'max ' + params.data.max"}]});
    let mut documents = vec![policy(&spec), with_ref(reference)];
    documents.extend_from_slice(params);
    let object = json!({"metadata": {"name": "x"}});
    let request = Request { operation: "CREATE", namespace, object: Some(&object), ..Request::default() };
    let verdicts = PolicySet::load(&documents).unwrap().review(&request);
    verdicts.into_iter().map(|verdict| format!("{} {}", verdict.effect.as_str(), verdict.message)).collect()
}

#[test]
fn parameters_are_found_by_namespace_and_name_or_labels() {
    let params = [config_map("a", Some("shop")), config_map("b", Some("shop")), config_map("a", Some("other"))];
    let missing = "the policy could not be evaluated: failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction";
    for (reference, namespace, expected) in [
        (json!({"name": "a"}), Some("shop"), vec!["deny max a".to_owned()]),
        (json!({"name": "b", "namespace": "shop"}), Some("other"), vec!["deny max b".to_owned()]),
        (json!({"selector": {}}), Some("shop"), vec!["deny max a".to_owned(), "deny max b".to_owned()]),
        (json!({"selector": {"matchLabels": {"of": "b"}}}), Some("shop"), vec!["deny max b".to_owned()]),
        (json!({"name": "b"}), Some("other"), vec![format!("deny {missing}")]),
    ] {
        assert_eq!(judged(&reference, "Fail", namespace, &params), expected, "{reference}");
    }
    let cluster_scoped = judged(&json!({"name": "a"}), "Fail", None, &params);
    assert!(cluster_scoped[0].contains("cannot use namespaced paramRef"), "{cluster_scoped:?}");
    let ignored = judged(&json!({"name": "b"}), "Ignore", Some("other"), &params);
    assert_eq!(ignored, [format!("audit {missing}; failurePolicy is Ignore")]);
}

#[test]
fn only_what_depends_on_labels_of_namespaces_asks_for_them() {
    let reads = |spec: &Value| PolicySet::load(&[policy(spec), deny()]).unwrap().reads_namespaces();
    assert!(!PolicySet::builtin().reads_namespaces());
    assert!(reads(&json!({"validations": [{"expression": "namespaceObject.metadata.labels.a == 'b'"}]})));
    for (label, expected) in [("kubernetes.io/metadata.name", false), ("environment", true)] {
        let mut constraints = json!({"namespaceSelector": {"matchLabels": {label: "x"}}});
        constraints["resourceRules"] =
            json!([{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}]);
        assert_eq!(reads(&json!({"matchConstraints": constraints})), expected, "{label}");
    }
}

#[test]
fn a_policy_that_would_never_be_asked_is_no_policy() {
    for (operations, expected) in [
        (json!(["UPDATE"]), false),
        (json!(["DELETE", "CONNECT"]), false),
        (json!(["CREATE", "UPDATE"]), true),
        (json!(["*"]), true),
    ] {
        let rules = json!([{"apiGroups": ["*"], "apiVersions": ["*"], "operations": operations, "resources": ["*"]}]);
        let spec = json!({"matchConstraints": {"resourceRules": rules}, "validations": [{"expression": "true"}]});
        assert_eq!(PolicySet::load(&[policy(&spec), deny()]).is_ok(), expected, "{operations}");
    }
}
