//! Policies, loaded: documents checked, expressions compiled, bindings attached.

use super::compiler::Compiler;
use super::document::{
    BINDING, BindingSpec, Document, FailurePolicy, GROUP, MatchResources, POLICY, ParamKind, ParamRef, PolicySpec,
    ValidationAction,
};
use super::error::PolicyError;
use super::expression::Expression;
use super::fields::Faults;
use super::library::format;
use super::lines::{FieldLines, field_source, unknown};
use super::params::Param;
use super::resources::assumed_user;
use crate::object::{Desired, Manifest, Problem, Source, null};
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
#[derive(Debug, Clone)]
pub(super) struct Policy {
    pub name: String,
    /// Where it is.
    pub at: Source,
    /// It comes with driftless: the user has no file of it.
    pub built_in: bool,
    pub constraints: MatchResources,
    pub match_conditions: Vec<(String, Expression)>,
    pub variables: Vec<(String, Expression)>,
    pub validations: Vec<ValidationRule>,
    pub audit_annotations: Vec<(String, Expression)>,
    pub failure_policy: FailurePolicy,
    pub param_kind: Option<ParamKind>,
    /// The objects of that kind among the policy files.
    pub params: Vec<Arc<Param>>,
    /// Whether that kind is namespaced, where somebody said so.
    pub params_namespaced: Option<bool>,
    pub bindings: Vec<Binding>,
}

/// One validation, compiled.
#[derive(Debug, Clone)]
pub(super) struct ValidationRule {
    pub expression: Expression,
    pub message: Option<String>,
    pub message_expression: Option<Expression>,
}

/// One binding.
#[derive(Debug, Clone)]
pub(super) struct Binding {
    pub name: String,
    /// Where it is.
    pub at: Source,
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
        let mut set = Self::load(&documents).unwrap_or_default();
        set.policies.iter_mut().filter_map(Arc::get_mut).for_each(|policy| policy.built_in = true);
        set
    }

    /// Loads policies and bindings. Every fault of every document is told; with one fault nothing is loaded.
    ///
    /// # Errors
    /// Every fault of every document.
    pub fn load(documents: &[Desired]) -> Result<Self, Vec<PolicyError>> {
        Self::load_with_lines(documents, &unknown)
    }

    /// The same, where the lines of fields are known: faults are told at them.
    ///
    /// # Errors
    /// Every fault of every document.
    pub fn load_with_lines(documents: &[Desired], lines: FieldLines<'_>) -> Result<Self, Vec<PolicyError>> {
        let mut loader = Loader::new(lines);
        for document in documents {
            loader.document(document);
        }
        loader.finish().map(|policies| Self { policies: policies.into_iter().map(Arc::new).collect() })
    }

    /// The same policies with other objects as parameters: those of each policy's `paramKind`. `namespaced` says whether
    /// that kind is; `None` where it is not known.
    ///
    /// # Errors
    /// Why an object cannot be a parameter.
    pub fn with_params(&self, objects: &[Desired], namespaced: Option<bool>) -> Result<Self, String> {
        let policies = self.policies.iter().map(|policy| {
            let mut policy = Policy::clone(policy);
            let kind = policy.param_kind.as_ref();
            let params = objects.iter().filter(|object| kind.is_some_and(|kind| kind.is_of(object)));
            policy.params = params.map(|object| Param::of(object).map(Arc::new)).collect::<Result<_, _>>()?;
            policy.params_namespaced = namespaced;
            Ok(Arc::new(policy))
        });
        let policies: Result<_, super::value::TooLarge> = policies.collect();
        policies.map(|policies| Self { policies }).map_err(|error| error.to_string())
    }

    /// What is worth knowing of policies that are taken all the same, as an API server takes them: a `paramRef` that
    /// does nothing, parameters that are never there. With `without_cluster` also what can only be assumed then.
    pub fn notes(&self, without_cluster: bool) -> Vec<Problem> {
        self.policies.iter().flat_map(|policy| policy.notes(without_cluster)).collect()
    }

    /// True if a verdict may depend on who asks: then [`super::Facts`] should know it.
    pub fn reads_user(&self) -> bool {
        self.policies.iter().any(|policy| policy.mentions("userInfo"))
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
    fn expressions(&self) -> impl Iterator<Item = &Expression> {
        let named = self.match_conditions.iter().chain(&self.variables).chain(&self.audit_annotations);
        let rules = self.validations.iter().flat_map(|rule| [Some(&rule.expression), rule.message_expression.as_ref()]);
        named.map(|(_, expression)| expression).chain(rules.flatten())
    }

    fn mentions(&self, word: &str) -> bool {
        self.expressions().any(|expression| expression.source.contains(word))
    }

    fn reads_namespaces(&self) -> bool {
        let bindings = self.bindings.iter().filter_map(|binding| binding.resources.as_ref());
        bindings.chain([&self.constraints]).any(MatchResources::reads_namespaces) || self.mentions("namespaceObject")
    }

    fn notes(&self, without_cluster: bool) -> Vec<Problem> {
        let name = &self.name;
        let note = |at: &Source, text: String| Problem::new("PolicyNote", text).at(at.file.clone(), at.line);
        let mut out = Vec::new();
        for binding in &self.bindings {
            match (&self.param_kind, &binding.param_ref) {
                (None, Some(_)) => {
                    let text = format!("{}: spec.paramRef does nothing: policy {name} has no paramKind", binding.name);
                    out.push(note(&binding.at, text).hint("take it off, or give the policy a paramKind"));
                }
                (Some(_), None) if self.mentions("params") => {
                    let text = format!("{}: there is no spec.paramRef: params is null in policy {name}", binding.name);
                    out.push(note(&binding.at, text).hint("name the parameters in spec.paramRef"));
                }
                _ => {}
            }
        }
        if without_cluster && self.reads_namespaces() {
            let text =
                format!("{name}: it reads labels of namespaces: known are those of Namespaces in this repository");
            out.push(note(&self.at, text).hint("`plan` and `sync` read the others in the cluster"));
        }
        if without_cluster && self.mentions("userInfo") {
            let user = assumed_user();
            let user = user["username"].as_str().unwrap_or_default();
            let text = format!("{name}: it reads request.userInfo, which only a cluster tells: judged as {user}");
            out.push(note(&self.at, text).hint("`plan` and `sync` ask the cluster who they are"));
        }
        out
    }
}

/// Collects documents and faults.
struct Loader<'l> {
    lines: FieldLines<'l>,
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

impl<'l> Loader<'l> {
    fn new(lines: FieldLines<'l>) -> Self {
        let (policies, bindings, bound) = (Vec::new(), Vec::new(), Vec::new());
        let (param_kinds, others, errors) = (Vec::new(), Vec::new(), Vec::new());
        Self { lines, policies, bindings, bound, param_kinds, others, errors }
    }

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
        let malformed = |name: &str, message: String| PolicyError::Malformed { at, name: name.into(), message };
        if name.is_empty() {
            self.errors.push(malformed("(no name)", "metadata.name is missing".into()));
        } else if served && let [why, ..] = format::faults("dns1123Subdomain", &name).as_slice() {
            self.errors.push(malformed(&name, format!("metadata.name: {why}")));
        }
    }

    fn policy(&mut self, document: &Desired) -> Result<(), PolicyError> {
        let spec: PolicySpec = spec_of(document, self.lines)?;
        let (at, name) = (document.source.clone(), document.name().to_owned());
        self.param_kinds.extend(spec.param_kind.clone());
        if let Some((other, _)) = self.policies.iter().find(|(_, policy)| policy.name == name) {
            return Err(PolicyError::Duplicate { at, name, other: other.clone() });
        }
        let mut compiler = Compiler::new(&at, self.lines, &name, spec.param_kind.is_some());
        let policy = compiler.policy(spec)?;
        self.errors.append(&mut compiler.errors);
        self.policies.push((at, policy));
        Ok(())
    }

    fn binding(&mut self, document: &Desired) -> Result<(), PolicyError> {
        let spec: BindingSpec = spec_of(document, self.lines)?;
        self.bound.push(spec.policy_name.clone());
        let (at, name) = (document.source.clone(), document.name().to_owned());
        if let Some((other, ..)) = self.bindings.iter().find(|(_, other, _)| *other == name) {
            return Err(PolicyError::Duplicate { at, name, other: other.clone() });
        }
        for (field, why) in Faults::of_binding(&spec).0 {
            let (at, name) = (field_source(&at, self.lines, &format!("spec.{field}")), name.clone());
            self.errors.push(PolicyError::Malformed { at, name, message: format!("spec.{field}: {why}") });
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
            let (resources, param_ref) = (spec.match_resources, spec.param_ref);
            policy.bindings.push(Binding { name, at, resources, action, param_ref });
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

fn spec_of<S: DeserializeOwned>(document: &Desired, lines: FieldLines<'_>) -> Result<S, PolicyError> {
    let mut object = document.object.clone();
    // To an API server null is the same as nothing at all.
    null::strip(&mut object);
    serde_json::from_value::<Document<S>>(object).map(|document| document.spec).map_err(|error| {
        let message = error.to_string();
        let unknown = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
        let field = unknown.map_or_else(|| "spec".to_owned(), |name| format!("*.{name}"));
        let at = field_source(&document.source, lines, &field);
        PolicyError::Malformed { at, name: document.name().to_owned(), message }
    })
}

#[cfg(test)]
#[path = "set_tests.rs"]
mod tests;
