//! Policies, loaded: documents checked, expressions compiled, bindings attached.

use super::compiler::Compiler;
use super::document::{
    BINDING, BindingSpec, Document, FailurePolicy, GROUP, MatchResources, POLICY, ParamKind, ParamRef, PolicySpec,
    ValidationAction,
};
use super::error::PolicyError;
use super::expression::Expression;
use super::params::Param;
use crate::object::{Desired, Manifest, Source};
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// Policies that come with driftless.
const BUILTIN: &[(&str, &str)] = &[
    ("policies/no-latest-image/policy.yaml", include_str!("../../policies/no-latest-image/policy.yaml")),
    ("policies/untagged-image/policy.yaml", include_str!("../../policies/untagged-image/policy.yaml")),
];

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
    pub param_kind: Option<ParamKind>,
    /// The objects of that kind among the policy files.
    pub params: Vec<Arc<Param>>,
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
    pub param_ref: Option<ParamRef>,
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

    /// True if a verdict may depend on the labels of a namespace: then [`super::Facts`] should know them.
    pub fn reads_namespaces(&self) -> bool {
        self.policies.iter().any(|policy| policy.reads_namespaces())
    }

    /// True if there is no policy.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }
}

impl Policy {
    fn reads_namespaces(&self) -> bool {
        let bindings = self.bindings.iter().filter_map(|binding| binding.resources.as_ref());
        let expressions = self.variables.iter().chain(&self.audit_annotations).map(|(_, expression)| expression);
        let rules = self.validations.iter().flat_map(|rule| [Some(&rule.expression), rule.message_expression.as_ref()]);
        let mut all = expressions.chain(rules.flatten());
        bindings.chain([&self.constraints]).any(MatchResources::reads_namespaces)
            || all.any(|expression| expression.source.contains("namespaceObject"))
    }
}

/// Collects documents and faults.
#[derive(Default)]
struct Loader {
    policies: Vec<(Source, Policy)>,
    bindings: Vec<(Source, String, BindingSpec)>,
    /// Policies that some binding names, a faulty one included.
    bound: Vec<String>,
    /// What policies want as parameters, faulty ones included.
    param_kinds: Vec<ParamKind>,
    /// What is neither a policy nor a binding: parameters, or a mistake.
    others: Vec<Desired>,
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
            _ => {
                self.others.push(document.clone());
                Ok(())
            }
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
        self.param_kinds.extend(spec.param_kind.clone());
        if let Some((other, _)) = self.policies.iter().find(|(_, policy)| policy.name == name) {
            return Err(PolicyError::Duplicate { at, name, other: other.clone() });
        }
        let mut compiler = Compiler::new(&at, &name, spec.param_kind.is_some());
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
        if let Some(fault) = spec.param_ref.as_ref().and_then(ParamRef::fault) {
            return Err(PolicyError::Malformed { at, name, message: format!("spec.paramRef: {fault}") });
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

    /// Gives each policy the objects that may be its parameters.
    fn parameters(&mut self) {
        for object in std::mem::take(&mut self.others) {
            let at = object.source.clone();
            let Some(kind) = self.param_kinds.iter().find(|kind| kind.is_of(&object)) else {
                self.errors.push(PolicyError::NotAPolicy { at, kind: object.gvk().to_string() });
                continue;
            };
            let malformed =
                |message: String| PolicyError::Malformed { at: at.clone(), name: object.name().to_owned(), message };
            if kind.namespaced() == Some(true) && object.namespace().is_none() {
                let message = "metadata.namespace is missing: a parameter is looked up by it".into();
                self.errors.push(malformed(message));
                continue;
            }
            match Param::of(&object).map(Arc::new) {
                Ok(param) => {
                    let of_kind = |policy: &Policy| policy.param_kind.as_ref().is_some_and(|kind| kind.is_of(&object));
                    let takers = self.policies.iter_mut().map(|(_, policy)| policy).filter(|policy| of_kind(policy));
                    takers.for_each(|policy| policy.params.push(Arc::clone(&param)));
                }
                Err(error) => self.errors.push(malformed(error.to_string())),
            }
        }
    }

    fn finish(mut self) -> Result<Vec<Policy>, Vec<PolicyError>> {
        self.parameters();
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
            policy.bindings.push(Binding { resources: spec.match_resources, action, param_ref: spec.param_ref });
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

#[cfg(test)]
#[path = "set_tests.rs"]
mod tests;
