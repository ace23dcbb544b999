//! Policies, loaded: documents checked, expressions compiled, bindings attached.

use super::document::{
    BINDING, BindingSpec, Document, FailurePolicy, GROUP, MatchResources, NamedExpression, POLICY, PolicySpec,
    ValidationAction,
};
use super::error::PolicyError;
use super::expression::Expression;
use crate::object::{Desired, Manifest, Source};
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// Policies that come with driftless.
const BUILTIN: &[(&str, &str)] = &[
    ("policies/no-latest-image/policy.yaml", include_str!("../../policies/no-latest-image/policy.yaml")),
    ("policies/untagged-image/policy.yaml", include_str!("../../policies/untagged-image/policy.yaml")),
];

/// Expressions in one policy. Far above anything in use; a bound on what one file can cost.
const MAX_EXPRESSIONS: usize = 500;

/// Reasons that a validation may give to HTTP clients (`metav1.StatusReason`).
const REASONS: [&str; 4] = ["Unauthorized", "Forbidden", "Invalid", "RequestEntityTooLarge"];

/// Policies that can be evaluated. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct PolicySet {
    pub(super) policies: Vec<Arc<Policy>>,
}

/// One policy with the bindings that put it into effect.
#[derive(Debug)]
pub(super) struct Policy {
    pub name: String,
    pub constraints: MatchResources,
    pub match_conditions: Vec<(String, Expression)>,
    pub variables: Vec<(String, Expression)>,
    pub validations: Vec<ValidationRule>,
    pub audit_annotations: Vec<(String, Expression)>,
    pub failure_policy: FailurePolicy,
    pub bindings: Vec<Binding>,
}

/// One validation, compiled.
#[derive(Debug)]
pub(super) struct ValidationRule {
    pub expression: Expression,
    pub message: Option<String>,
    pub message_expression: Option<Expression>,
}

/// One binding.
#[derive(Debug)]
pub(super) struct Binding {
    pub resources: Option<MatchResources>,
    /// The strongest of its actions.
    pub action: ValidationAction,
}

impl PolicySet {
    /// The policies that come with driftless, each with the binding beside it.
    pub fn builtin() -> Self {
        let mut documents = Vec::new();
        for (file, text) in BUILTIN {
            let mut line = 1;
            for part in text.split("\n---\n") {
                let source = Source { file: (*file).to_owned(), line };
                line += u32::try_from(part.lines().count() + 1).unwrap_or(u32::MAX);
                documents.extend(serde_saphyr::from_str(part).ok().map(|object| Desired { object, source }));
            }
        }
        // They are compiled in and loaded by a test of this module.
        Self::load(&documents).unwrap_or_default()
    }

    /// Loads policies and bindings. Every fault of every document is told; with one fault nothing is loaded.
    pub fn load(documents: &[Desired]) -> Result<Self, Vec<PolicyError>> {
        let mut loader = Loader::default();
        for document in documents {
            loader.document(document);
        }
        loader.finish().map(|policies| Self { policies: policies.into_iter().map(Arc::new).collect() })
    }

    /// The policies of both sets. Names may repeat: both judge.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.policies.extend(other.policies);
        self
    }

    /// Names of the policies, in the order they were loaded.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.policies.iter().map(|policy| policy.name.as_str())
    }

    /// True if there is no policy.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }
}

/// Collects documents and faults.
#[derive(Default)]
struct Loader {
    policies: Vec<(Source, Policy)>,
    bindings: Vec<(Source, String, BindingSpec)>,
    /// Policies that some binding names, a faulty one included.
    bound: Vec<String>,
    errors: Vec<PolicyError>,
}

impl Loader {
    fn document(&mut self, document: &Desired) {
        let gvk = document.gvk();
        let at = document.source.clone();
        let name = document.name().to_owned();
        let served = gvk.group == GROUP && gvk.version == "v1";
        let outcome = match gvk.kind.as_str() {
            POLICY if served => self.policy(document),
            BINDING if served => self.binding(document),
            _ => Err(PolicyError::NotAPolicy { at: at.clone(), kind: gvk.to_string() }),
        };
        if let Err(error) = outcome {
            self.errors.push(error);
        }
        if name.is_empty() {
            self.errors.push(PolicyError::Malformed {
                at,
                name: "(no name)".into(),
                message: "metadata.name is missing".into(),
            });
        }
    }

    fn policy(&mut self, document: &Desired) -> Result<(), PolicyError> {
        let spec: PolicySpec = spec_of(document)?;
        let (at, name) = (document.source.clone(), document.name().to_owned());
        if let Some((other, _)) = self.policies.iter().find(|(_, policy)| policy.name == name) {
            return Err(PolicyError::Duplicate { at, name, other: other.clone() });
        }
        let mut compiler = Compiler { at: &at, policy: &name, errors: Vec::new(), count: 0 };
        let policy = compiler.policy(spec)?;
        self.errors.append(&mut compiler.errors);
        self.policies.push((at, policy));
        Ok(())
    }

    fn binding(&mut self, document: &Desired) -> Result<(), PolicyError> {
        let spec: BindingSpec = spec_of(document)?;
        self.bound.push(spec.policy_name.clone());
        let (at, name) = (document.source.clone(), document.name().to_owned());
        if let Some((other, ..)) = self.bindings.iter().find(|(_, other, _)| *other == name) {
            return Err(PolicyError::Duplicate { at, name, other: other.clone() });
        }
        if spec.param_ref.is_some() {
            return Err(PolicyError::Unsupported { at, policy: name, what: "paramRef".into() });
        }
        if spec.validation_actions.is_empty() {
            let message = "spec.validationActions needs at least one of Deny, Warn, Audit".into();
            return Err(PolicyError::Malformed { at, name, message });
        }
        if let Some(message) = spec.match_resources.as_ref().and_then(MatchResources::fault) {
            return Err(PolicyError::Malformed { at, name, message: format!("spec.matchResources: {message}") });
        }
        self.bindings.push((at, name, spec));
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Policy>, Vec<PolicyError>> {
        // A policy that failed to load is not missing: its binding is no second error.
        let broken: Vec<String> = self.errors.iter().filter_map(policy_of).collect();
        for (at, name, spec) in self.bindings {
            let Some((_, policy)) = self.policies.iter_mut().find(|(_, policy)| policy.name == spec.policy_name) else {
                if !broken.contains(&spec.policy_name) {
                    self.errors.push(PolicyError::NoPolicy { at, binding: name, policy: spec.policy_name });
                }
                continue;
            };
            let action = spec.validation_actions.iter().copied().max().unwrap_or(ValidationAction::Deny);
            policy.bindings.push(Binding { resources: spec.match_resources, action });
        }
        for (at, policy) in &self.policies {
            if !self.bound.contains(&policy.name) {
                self.errors.push(PolicyError::NoBinding { at: at.clone(), policy: policy.name.clone() });
            }
        }
        if self.errors.is_empty() {
            Ok(self.policies.into_iter().map(|(_, policy)| policy).collect())
        } else {
            self.errors.sort_by_key(|error| (error.at().file.clone(), error.at().line));
            Err(self.errors)
        }
    }
}

/// The policy that an error is about.
fn policy_of(error: &PolicyError) -> Option<String> {
    match error {
        PolicyError::Malformed { name, .. } | PolicyError::Duplicate { name, .. } => Some(name.clone()),
        PolicyError::Expression { policy, .. } | PolicyError::Unsupported { policy, .. } => Some(policy.clone()),
        PolicyError::NotAPolicy { .. } | PolicyError::NoBinding { .. } | PolicyError::NoPolicy { .. } => None,
    }
}

fn spec_of<S: DeserializeOwned>(document: &Desired) -> Result<S, PolicyError> {
    serde_json::from_value::<Document<S>>(document.object.clone()).map(|document| document.spec).map_err(|error| {
        PolicyError::Malformed {
            at: document.source.clone(),
            name: document.name().to_owned(),
            message: error.to_string(),
        }
    })
}

/// Compiles the expressions of one policy and collects what is wrong with them.
struct Compiler<'a> {
    at: &'a Source,
    policy: &'a str,
    errors: Vec<PolicyError>,
    count: usize,
}

impl Compiler<'_> {
    fn policy(&mut self, spec: PolicySpec) -> Result<Policy, PolicyError> {
        let malformed =
            |message: String| PolicyError::Malformed { at: self.at.clone(), name: self.policy.into(), message };
        if spec.param_kind.is_some() {
            let what = "paramKind".into();
            return Err(PolicyError::Unsupported { at: self.at.clone(), policy: self.policy.into(), what });
        }
        let constraints = spec.match_constraints.unwrap_or_default();
        if constraints.resource_rules.is_empty() {
            return Err(malformed("spec.matchConstraints.resourceRules is empty: it would judge nothing".into()));
        }
        if let Some(message) = constraints.fault() {
            return Err(malformed(format!("spec.matchConstraints: {message}")));
        }
        if spec.validations.is_empty() && spec.audit_annotations.is_empty() {
            return Err(malformed("there are neither validations nor auditAnnotations".into()));
        }
        let match_conditions = self.named("matchConditions", &spec.match_conditions, None)?;
        let variables = self.variables(&spec.variables)?;
        let names: Vec<String> = spec.variables.iter().map(|variable| variable.name.clone()).collect();
        let names = Some(names.as_slice());
        let mut validations = Vec::new();
        for (index, rule) in spec.validations.into_iter().enumerate() {
            let field = format!("validations[{index}]");
            if let Some(reason) = rule.reason.as_deref().filter(|reason| !REASONS.contains(reason)) {
                let message = format!("spec.{field}.reason: {reason:?} is not one of {}", REASONS.join(", "));
                return Err(PolicyError::Malformed { at: self.at.clone(), name: self.policy.into(), message });
            }
            let expression = self.expression(&format!("{field}.expression"), &rule.expression, names)?;
            let message_expression = match &rule.message_expression {
                Some(text) => self.expression(&format!("{field}.messageExpression"), text, names)?,
                None => None,
            };
            validations.extend(expression.map(|expression| ValidationRule {
                expression,
                message: rule.message.filter(|text| !text.trim().is_empty()),
                message_expression,
            }));
        }
        let annotations: Vec<NamedExpression> = spec
            .audit_annotations
            .into_iter()
            .map(|annotation| NamedExpression { name: annotation.key, expression: annotation.value_expression })
            .collect();
        Ok(Policy {
            name: self.policy.to_owned(),
            constraints,
            match_conditions,
            variables,
            validations,
            audit_annotations: self.named("auditAnnotations", &annotations, names)?,
            failure_policy: spec.failure_policy,
            bindings: Vec::new(),
        })
    }

    /// Each variable may read those before it.
    fn variables(&mut self, variables: &[NamedExpression]) -> Result<Vec<(String, Expression)>, PolicyError> {
        let mut names: Vec<String> = Vec::new();
        let mut compiled = Vec::new();
        for variable in variables {
            let field = format!("variables[{}]", variable.name);
            if !is_identifier(&variable.name) || names.contains(&variable.name) {
                let message = format!("spec.{field}: the name must be a CEL identifier and occur once");
                return Err(PolicyError::Malformed { at: self.at.clone(), name: self.policy.into(), message });
            }
            let expression = self.expression(&field, &variable.expression, Some(&names))?;
            compiled.extend(expression.map(|expression| (variable.name.clone(), expression)));
            names.push(variable.name.clone());
        }
        Ok(compiled)
    }

    fn named(
        &mut self,
        list: &str,
        expressions: &[NamedExpression],
        variables: Option<&[String]>,
    ) -> Result<Vec<(String, Expression)>, PolicyError> {
        let mut compiled = Vec::new();
        for named in expressions {
            let expression = self.expression(&format!("{list}[{}]", named.name), &named.expression, variables)?;
            compiled.extend(expression.map(|expression| (named.name.clone(), expression)));
        }
        Ok(compiled)
    }

    /// The expression, or `None` and the error kept, so that one run tells all that is wrong.
    fn expression(
        &mut self,
        field: &str,
        source: &str,
        variables: Option<&[String]>,
    ) -> Result<Option<Expression>, PolicyError> {
        self.count += 1;
        if self.count > MAX_EXPRESSIONS {
            let message = format!("it has more than {MAX_EXPRESSIONS} expressions");
            return Err(PolicyError::Malformed { at: self.at.clone(), name: self.policy.into(), message });
        }
        match Expression::compile(source, variables) {
            Ok(expression) => Ok(Some(expression)),
            Err(message) => {
                self.errors.push(PolicyError::Expression {
                    at: self.at.clone(),
                    policy: self.policy.to_owned(),
                    field: format!("spec.{field}"),
                    message,
                });
                Ok(None)
            }
        }
    }
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;
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
            (
                "paramKind is not supported",
                vec![policy(&json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}})), deny()],
            ),
            (
                "paramRef is not supported",
                vec![
                    policy(&json!({})),
                    binding(&json!({"policyName": "p", "validationActions": ["Deny"], "paramRef": {}})),
                ],
            ),
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
}
