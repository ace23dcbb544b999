//! One policy against one object.
//!
//! In: a [`Request`], as the API server would put it to an admission plugin. Out: what the policy says. Order as in
//! k8s.io/apiserver/pkg/admission/plugin/policy/validating/validator.go: match conditions, then variables in their
//! order, then every validation, then audit annotations.

use super::document::{FailurePolicy, ValidationAction};
use super::environment::environment;
use super::expression::{Expression, VARIABLES};
use super::message;
use super::nothing::{NAME as NULL, NOTHING, Nothing};
use super::params::Param;
use super::resources::assumed_user;
use super::set::{Policy, ValidationRule};
use super::value::{TooLarge, to_cel};
use crate::object::Source;
use cel::common::types::{CelBool, CelString};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use cel::{Context, ExecutionError};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What is asked to be written.
#[derive(Debug, Clone, Default)]
pub struct Request<'a> {
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    pub operation: &'a str,
    /// API group.
    pub group: &'a str,
    /// API version of the object, as it is judged.
    pub version: &'a str,
    /// API version that was asked for, where it is another one (`matchPolicy: Equivalent`).
    pub asked_version: Option<&'a str>,
    /// Kind.
    pub kind: &'a str,
    /// Plural resource name.
    pub resource: &'a str,
    /// Subresource; empty for the object itself.
    pub subresource: &'a str,
    /// Name; empty where the server makes one.
    pub name: &'a str,
    /// Namespace; `None` for cluster-scoped objects, but for a Namespace that a request names in its path: its own name.
    pub namespace: Option<&'a str>,
    /// The object as it would be.
    pub object: Option<&'a Value>,
    /// The object as it is.
    pub old_object: Option<&'a Value>,
    /// Labels of the namespace, where they are known.
    pub namespace_labels: Option<&'a BTreeMap<String, String>>,
    /// `userInfo` of the request; [`assumed_user`] where it is not known.
    pub user: Option<&'a Value>,
}

impl Request<'_> {
    /// True for Namespaces.
    pub fn is_namespace(&self) -> bool {
        self.group.is_empty() && self.resource == "namespaces"
    }
}

/// What a verdict leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Recorded.
    Audit,
    /// Told.
    Warn,
    /// Refused.
    Deny,
}

impl Effect {
    /// As findings spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Warn => "warn",
            Self::Deny => "deny",
        }
    }
}

impl From<ValidationAction> for Effect {
    fn from(action: ValidationAction) -> Self {
        match action {
            ValidationAction::Audit => Self::Audit,
            ValidationAction::Warn => Self::Warn,
            ValidationAction::Deny => Self::Deny,
        }
    }
}

/// What one policy says about one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Name of the policy.
    pub policy: String,
    /// What it leads to.
    pub effect: Effect,
    /// For a person.
    pub message: String,
    /// Where the policy is.
    pub at: Source,
}

/// What came out of evaluating a policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Judgement {
    /// Messages of validations that do not hold.
    pub violations: Vec<String>,
    /// What could not be evaluated, and the line of the policy's expression.
    pub errors: Vec<(String, Option<u32>)>,
    /// Audit annotations.
    pub notes: Vec<String>,
    /// Audit annotations that could not be made.
    pub note_errors: Vec<String>,
}

impl Judgement {
    /// A judgement that could not be made.
    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self { errors: vec![(message.into(), None)], ..Self::default() }
    }

    /// The verdicts it leads to under a binding's strongest action.
    pub(super) fn verdicts(self, policy: &Policy, effect: Effect) -> Vec<Verdict> {
        let at = || policy.at.clone();
        let verdict = |effect, message| Verdict { policy: policy.name.clone(), effect, message, at: at() };
        let on_error = if policy.failure_policy == FailurePolicy::Ignore { Effect::Audit } else { effect };
        let violations = self.violations.into_iter().map(|message| verdict(effect, message));
        let errors = self.errors.into_iter().map(|(message, line)| {
            let place = policy.place(line);
            let ending = if policy.failure_policy == FailurePolicy::Ignore { "; failurePolicy is Ignore" } else { "" };
            verdict(on_error, format!("the policy could not be evaluated: {message}{place}{ending}"))
        });
        let notes = self.notes.into_iter().map(|message| verdict(Effect::Audit, message));
        // What cannot be recorded refuses, whatever the binding's action is (dispatcher.go).
        let failing = if policy.failure_policy == FailurePolicy::Ignore { Effect::Audit } else { Effect::Deny };
        let note_errors = self.note_errors.into_iter().map(|message| verdict(failing, message));
        violations.chain(errors).chain(notes).chain(note_errors).collect()
    }
}

/// A request in CEL's terms, with nothing borrowed, so that a worker can own it.
#[derive(Debug)]
pub(super) struct Subject {
    inputs: Inputs,
    /// For a Secret: the same without its values, from which messages are made.
    shown: Option<Inputs>,
}

impl Subject {
    /// The request in CEL's terms; an error if it is larger than what is evaluated.
    pub(super) fn of(request: &Request<'_>) -> Result<Self, TooLarge> {
        let secret = request.group.is_empty() && request.kind == "Secret";
        let inputs = Inputs::of(request, request.object, request.old_object)?;
        let shown = if secret {
            let object = request.object.map(message::without_secret_values);
            let old = request.old_object.map(message::without_secret_values);
            Some(Inputs::of(request, object.as_ref(), old.as_ref())?)
        } else {
            None
        };
        Ok(Self { inputs, shown })
    }

    fn explain(&self, error: &ExecutionError) -> String {
        if self.shown.is_some() { message::explain_for_secret(error) } else { message::explain(error) }
    }
}

/// The roots that expressions see.
#[derive(Debug)]
struct Inputs {
    object: Box<dyn Val>,
    old_object: Box<dyn Val>,
    request: Box<dyn Val>,
    namespace_object: Box<dyn Val>,
}

/// The same with a binding's parameter.
struct Roots<'v> {
    inputs: &'v Inputs,
    params: Option<&'v Param>,
}

impl VariableResolver for Roots<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        Some(CowVal::Borrowed(match variable {
            "object" => self.inputs.object.as_ref(),
            "oldObject" => self.inputs.old_object.as_ref(),
            "request" => self.inputs.request.as_ref(),
            "namespaceObject" => self.inputs.namespace_object.as_ref(),
            "params" => self.params.map_or(&NOTHING, |param| param.value.as_ref()),
            NULL => &NOTHING,
            _ => return None,
        }))
    }
}

impl Inputs {
    fn of(request: &Request<'_>, object: Option<&Value>, old: Option<&Value>) -> Result<Self, TooLarge> {
        Ok(Self {
            object: to_cel(object.unwrap_or(&Value::Null))?,
            old_object: to_cel(old.unwrap_or(&Value::Null))?,
            request: to_cel(&request_value(request))?,
            namespace_object: to_cel(&namespace_value(request))?,
        })
    }
}

/// `request`: k8s.io/api/admission/v1 `AdmissionRequest` without the objects.
fn request_value(request: &Request<'_>) -> Value {
    let kind = json!({"group": request.group, "version": request.version, "kind": request.kind});
    let resource = json!({"group": request.group, "version": request.version, "resource": request.resource});
    let asked = request.asked_version.unwrap_or(request.version);
    let asked_kind = json!({"group": request.group, "version": asked, "kind": request.kind});
    let asked_resource = json!({"group": request.group, "version": asked, "resource": request.resource});
    let user = request.user.cloned().unwrap_or_else(assumed_user);
    let mut value = json!({
        "kind": kind, "resource": resource, "requestKind": asked_kind, "requestResource": asked_resource,
        "name": request.name, "operation": request.operation, "userInfo": user, "dryRun": false, "options": {},
    });
    if let Some(map) = value.as_object_mut() {
        if let Some(namespace) = request.namespace {
            map.insert("namespace".into(), namespace.into());
        }
        if !request.subresource.is_empty() {
            map.insert("subResource".into(), request.subresource.into());
        }
    }
    value
}

/// `namespaceObject`: what is known of the namespace.
fn namespace_value(request: &Request<'_>) -> Value {
    let Some(namespace) = request.namespace.filter(|_| !request.is_namespace()) else { return Value::Null };
    let mut labels = request.namespace_labels.cloned().unwrap_or_default();
    labels.insert(super::matching::NAME_LABEL.into(), namespace.into());
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}})
}

/// A context with a policy's variables evaluated, and what went wrong with those that could not be.
struct Scope<'v> {
    context: Context<'v, 'v>,
    failed: BTreeMap<String, ExecutionError>,
}

impl<'v> Scope<'v> {
    fn bare(inputs: &'v Roots<'v>) -> Option<Self> {
        let mut context = Context::with_env(environment()?);
        context.set_variable_resolver(inputs);
        Some(Self { context, failed: BTreeMap::new() })
    }

    /// Variables are evaluated in order, each of them once. One that fails is an error only where it is read: CEL has no
    /// side effects, so that this is what lazy evaluation would give.
    fn with_variables(inputs: &'v Roots<'v>, policy: &Policy) -> Option<Self> {
        let mut scope = Self::bare(inputs)?;
        for (name, expression) in &policy.variables {
            #[expect(clippy::redundant_closure_for_method_calls, reason = "the path is not general over lifetimes")]
            let value = scope.evaluate(expression, |value| value.into_owned());
            match value {
                Ok(value) => scope.context.add_variable_as_val(format!("{VARIABLES}.{name}"), value),
                Err(error) => {
                    scope.failed.insert(name.clone(), error);
                }
            }
        }
        Some(scope)
    }

    fn evaluate<T>(
        &self,
        expression: &Expression,
        read: impl FnOnce(CowVal<'_, 'v>) -> T,
    ) -> Result<T, ExecutionError> {
        match expression.evaluate(&self.context) {
            Ok(value) => Ok(read(value)),
            // A variable that failed is not bound: tell why it failed, not that it is missing.
            Err(ExecutionError::UndeclaredReference(name)) if name.as_str() == VARIABLES => {
                let cause = expression.reads.iter().find_map(|read| self.failed.get(read));
                Err(cause.cloned().unwrap_or(ExecutionError::UndeclaredReference(name)))
            }
            Err(error) => Err(error),
        }
    }

    fn holds(&self, expression: &Expression) -> Result<bool, ExecutionError> {
        let outcome = self.evaluate(expression, |value| {
            value.downcast_ref::<CelBool>().map(|b| *b.inner()).ok_or_else(|| value.get_type().name().to_owned())
        })?;
        outcome.map_err(|got| ExecutionError::function_error("policy", format!("the result is a {got}, not a bool")))
    }

    /// An audit annotation: a text, or null for none.
    fn note(&self, expression: &Expression) -> Result<Option<String>, ExecutionError> {
        let outcome = self.evaluate(expression, |value| {
            if value.downcast_ref::<Nothing>().is_some() {
                return Ok(None);
            }
            let text = value.downcast_ref::<CelString>().map(|text| Some(text.inner().trim().to_owned()));
            text.ok_or_else(|| value.get_type().name().to_owned())
        })?;
        let text = outcome.map_err(|got| {
            ExecutionError::function_error("policy", format!("the result is a {got}, neither a string nor null"))
        })?;
        Ok(text.filter(|text| !text.is_empty()))
    }

    fn text(&self, expression: &Expression) -> Option<String> {
        self.evaluate(expression, |value| value.downcast_ref::<CelString>().map(|s| s.inner().to_owned()))
            .ok()
            .flatten()
    }
}

impl Policy {
    /// Where in the policy's file to look for what could not be evaluated; nothing where there is no file.
    fn place(&self, line: Option<u32>) -> String {
        match self.at.file.as_str() {
            _ if self.built_in => format!("; {} comes with driftless", self.name),
            "" => String::new(),
            file => format!("; see {file}:{}", line.unwrap_or(self.at.line)),
        }
    }

    /// Evaluates the policy. It never blocks, but takes as long as its expressions do: see `worker`.
    pub(super) fn judge(&self, subject: &Subject, params: Option<&Param>) -> Judgement {
        let roots = Roots { inputs: &subject.inputs, params };
        let shown = subject.shown.as_ref().map(|inputs| Roots { inputs, params });
        let Some(bare) = Scope::bare(&roots) else {
            return Judgement::failed("the expression environment could not be built");
        };
        let mut unclear = Vec::new();
        for (name, condition) in &self.match_conditions {
            match bare.holds(condition) {
                Ok(true) => {}
                // One condition that is false exempts the object, whatever the others would say (matcher.go).
                Ok(false) => return Judgement::default(),
                Err(error) => {
                    unclear.push((format!("match condition {name}: {}", subject.explain(&error)), condition.line));
                }
            }
        }
        if !unclear.is_empty() {
            return Judgement { errors: unclear, ..Judgement::default() };
        }
        let Some(scope) = Scope::with_variables(&roots, self) else { return Judgement::default() };
        // Messages about a Secret are made from a copy without its values.
        let shown = shown.as_ref().and_then(|inputs| Scope::with_variables(inputs, self));
        let speaker = shown.as_ref().unwrap_or(&scope);
        let mut judgement = Judgement::default();
        for rule in &self.validations {
            match scope.holds(&rule.expression) {
                Ok(true) => {}
                Ok(false) => judgement.violations.push(violation(rule, speaker)),
                Err(error) => judgement.errors.push((subject.explain(&error), rule.expression.line)),
            }
        }
        // One broken variable fails every validation that reads it: told once.
        judgement.errors.dedup_by(|(second, _), (first, _)| second == first);
        for (key, expression) in &self.audit_annotations {
            match speaker.note(expression) {
                Ok(None) => {}
                Ok(Some(text)) => judgement.notes.push(format!("{key}: {}", message::one_line(&text))),
                Err(error) => {
                    let why = subject.explain(&error);
                    judgement.note_errors.push(format!("the audit annotation {key} could not be made: {why}"));
                }
            }
        }
        judgement
    }
}

/// `messageExpression` if it gives a usable text, else `message`, else the expression (validator.go).
fn violation(rule: &ValidationRule, scope: &Scope<'_>) -> String {
    rule.message_expression
        .as_ref()
        .and_then(|expression| scope.text(expression))
        .filter(|text| message::usable(text))
        .or_else(|| rule.message.clone())
        .map_or_else(
            || format!("failed expression: {}", message::one_line(&rule.expression.source)),
            |text| message::one_line(&text),
        )
}
