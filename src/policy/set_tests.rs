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

fn named(name: &str) -> Desired {
    let mut named = policy(&json!({}));
    named.object["metadata"]["name"] = json!(name);
    named
}

fn deny_for(name: &str) -> Desired {
    binding(&json!({"policyName": name, "validationActions": ["Deny"]}))
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
fn a_policy_of_ones_own_is_named_by_its_place_and_a_builtin_one_by_its_name() {
    let object = json!({"kind": "Pod", "metadata": {"name": "x"}, "spec": {"containers": [{"name": "a", "image": 1}]}});
    let request =
        Request { operation: "CREATE", version: "v1", resource: "pods", object: Some(&object), ..Request::default() };
    let said = PolicySet::builtin().review(&request).remove(0).message;
    assert!(said.ends_with("; no-latest-image comes with driftless"), "{said}");
}

#[test]
fn faults_are_told() {
    let cases: Vec<(&str, Vec<Desired>)> = vec![
        ("has no binding", vec![policy(&json!({}))]),
        ("names the policy p", vec![deny()]),
        ("defined twice", vec![policy(&json!({})), policy(&json!({})), deny()]),
        ("unknown field `validation`", vec![policy(&json!({"validation": []})), deny()]),
        ("metadata.name", vec![named("P_1"), deny_for("P_1")]),
        (
            "validations[0].expression: it is empty",
            vec![policy(&json!({"validations": [{"expression": " "}]})), deny()],
        ),
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
        (
            "may not be used together",
            vec![policy(&json!({})), binding(&json!({"policyName": "p", "validationActions": ["Warn", "Deny"]}))],
        ),
        (
            "it is there twice",
            vec![policy(&json!({})), binding(&json!({"policyName": "p", "validationActions": ["Audit", "Audit"]}))],
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
    let missing = "the policy could not be evaluated: failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction; see p.yaml:1";
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
fn a_policy_on_any_operation_is_one() {
    for operations in [json!(["UPDATE"]), json!(["DELETE", "CONNECT"]), json!(["CREATE", "UPDATE"]), json!(["*"])] {
        let rules = json!([{"apiGroups": ["*"], "apiVersions": ["*"], "operations": operations, "resources": ["*"]}]);
        let spec = json!({"matchConstraints": {"resourceRules": rules}, "validations": [{"expression": "true"}]});
        assert!(PolicySet::load(&[policy(&spec), deny()]).is_ok(), "{operations}");
    }
}

#[test]
fn a_fault_is_told_at_its_field() {
    // As if every field stood at the line that its path is long.
    let lines = |_: &Source, field: &str| u32::try_from(field.len()).ok();
    for (field, documents) in [
        ("spec.validations[0].expression", vec![policy(&json!({"validations": [{"expression": "nope()"}]})), deny()]),
        (
            "spec.validations[0].reason",
            vec![policy(&json!({"validations": [{"expression": "true", "reason": "No"}]})), deny()],
        ),
        ("*.validation", vec![policy(&json!({"validation": []})), deny()]),
        (
            "spec.matchConstraints.resourceRules[0].operations",
            vec![
                policy(&json!({"matchConstraints": {"resourceRules": [
                    {"apiGroups": [""], "apiVersions": ["*"], "operations": ["*", "CREATE"], "resources": ["*"]}]}})),
                deny(),
            ],
        ),
        (
            "spec.validationActions",
            vec![policy(&json!({})), binding(&json!({"policyName": "p", "validationActions": ["Deny", "Warn"]}))],
        ),
        (
            "spec.validationActions[1]",
            vec![policy(&json!({})), binding(&json!({"policyName": "p", "validationActions": ["Deny", "Deny"]}))],
        ),
    ] {
        let errors = PolicySet::load_with_lines(&documents, &lines).unwrap_err();
        assert_eq!((errors.len(), errors[0].at().line as usize), (1, field.len()), "{field}: {errors:?}");
    }
}

#[test]
fn what_could_not_be_evaluated_names_the_line_of_the_policy() {
    let lines = |_: &Source, field: &str| (field == "spec.validations[1].expression").then_some(33);
    let spec = json!({"validations": [{"expression": "true"}, {"expression": "object.nope == 1"}]});
    let set = PolicySet::load_with_lines(&[policy(&spec), deny()], &lines).unwrap();
    let object = json!({"metadata": {"name": "x"}});
    let request = Request { operation: "CREATE", object: Some(&object), ..Request::default() };
    let said = set.review(&request).remove(0).message;
    assert_eq!(said, "the policy could not be evaluated: no such key: nope; see p.yaml:33");
}

#[test]
fn what_an_api_server_takes_and_does_nothing_with_is_noted() {
    let params = json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "validations": [{"expression": "params.data.max == ''"}]});
    let user = json!({"validations": [{"expression": "request.userInfo.username == 'x'"}]});
    for (spec, binding, without, part) in [
        (&params, deny(), false, "params is null in policy p"),
        (&json!({}), with_ref(&json!({"name": "a"})), false, "spec.paramRef does nothing"),
        (&user, deny(), true, "reads request.userInfo"),
        (&user, deny(), false, ""),
        (&params, with_ref(&json!({"name": "a"})), true, ""),
    ] {
        let notes = PolicySet::load(&[policy(spec), binding]).unwrap().notes(without);
        let text = notes.iter().map(ToString::to_string).collect::<String>();
        assert!(notes.len() == usize::from(!part.is_empty()) && text.contains(part), "{part}: {text}");
    }
}

#[test]
fn null_is_as_if_it_were_not_there() {
    let spec = json!({"failurePolicy": null, "paramKind": null, "variables": null, "auditAnnotations": null,
        "matchConditions": [{"name": "a", "expression": "true"}],
        "validations": [{"expression": "false", "message": null, "messageExpression": null, "reason": null}]});
    let reference = json!({"policyName": "p", "validationActions": ["Deny"], "paramRef": null, "matchResources":
        {"namespaceSelector": null, "objectSelector": {"matchLabels": null}, "matchPolicy": null, "resourceRules": null}});
    let set = PolicySet::load(&[policy(&spec), binding(&reference)]).unwrap();
    let object = json!({"metadata": {"name": "x"}});
    let request = Request { operation: "CREATE", object: Some(&object), ..Request::default() };
    assert_eq!(set.review(&request).remove(0).effect.as_str(), "deny");
    let empty = json!({"name": "", "namespace": "", "selector": {}});
    assert!(PolicySet::load(&[policy(&json!({})), with_ref(&empty)]).is_ok(), "an empty text is not set");
}

#[test]
fn what_cannot_select_is_an_error_and_no_silent_pass() {
    let nothing = json!({"matchExpressions": [{"key": "a", "operator": "In", "values": []}]});
    let bound = binding(&json!({"policyName": "p", "validationActions": ["Deny"],
        "matchResources": {"objectSelector": nothing, "namespaceSelector": {"matchLabels": {"a b": "c"}}}}));
    let errors = PolicySet::load(&[policy(&json!({})), bound]).unwrap_err();
    let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert!(
        said[0].starts_with("b: spec.matchResources.namespaceSelector.matchLabels: \"a b\": name part"),
        "{said:?}"
    );
    assert!(said[1].contains("spec.matchResources.objectSelector.matchExpressions[0].values: it is empty"), "{said:?}");
}
