//! A policy's expressions, compiled.
//!
//! In: `spec` of a policy. Out: a [`Policy`] without bindings, or what is wrong with it, all of it in one run.

use super::document::{NamedExpression, ParamKind, PolicySpec};
use super::error::PolicyError;
use super::expression::{Expression, Names, Variable};
use super::fields::Faults;
use super::lines::{FieldLines, field_source};
use super::set::{Policy, ValidationRule};
use super::types::{DYN, UNKNOWN};
use crate::object::Source;

/// Expressions in one policy. Far above anything in use; a bound on what one file can cost.
const MAX_EXPRESSIONS: usize = 500;

/// Compiles the expressions of one policy and collects what is wrong with them.
pub(super) struct Compiler<'a> {
    at: &'a Source,
    lines: FieldLines<'a>,
    policy: &'a str,
    /// Expressions may read `params`.
    params: bool,
    /// What is wrong with expressions, so that one run tells all of it.
    pub errors: Vec<PolicyError>,
    count: usize,
}

impl<'a> Compiler<'a> {
    /// For the policy of this name.
    pub(super) fn new(at: &'a Source, lines: FieldLines<'a>, policy: &'a str, params: bool) -> Self {
        Self { at, lines, policy, params, errors: Vec::new(), count: 0 }
    }

    /// Where a field of `spec` is, as far as it is known.
    fn at(&self, field: &str) -> Source {
        field_source(self.at, self.lines, &format!("spec.{field}"))
    }

    fn malformed(&self, field: &str, message: impl std::fmt::Display) -> PolicyError {
        let message = if field.is_empty() { message.to_string() } else { format!("spec.{field}: {message}") };
        PolicyError::Malformed { at: self.at(field), name: self.policy.into(), message }
    }

    /// Compiles it; bindings and parameters come later.
    pub(super) fn policy(&mut self, spec: PolicySpec) -> Result<Policy, PolicyError> {
        if spec.param_kind.as_ref().is_some_and(ParamKind::is_secret) {
            let what = "a Secret as paramKind, whose values could reach a message,".into();
            return Err(PolicyError::Unsupported { at: self.at("paramKind"), policy: self.policy.into(), what });
        }
        let faults = Faults::of_policy(self.policy, &spec).0;
        self.errors.extend(faults.into_iter().map(|(field, why)| self.malformed(&field, why)).collect::<Vec<_>>());
        let constraints = spec.match_constraints.unwrap_or_default();
        let match_conditions = self.named("matchConditions", &spec.match_conditions, None, &["bool"])?;
        let variables = self.variables(&spec.variables)?;
        let (variables, known) = variables;
        let names = Some(known.as_slice());
        let mut validations = Vec::new();
        for (index, rule) in spec.validations.into_iter().enumerate() {
            let field = format!("validations[{index}]");
            let expression = self.typed(&format!("{field}.expression"), &rule.expression, names, &["bool"])?;
            let message_expression = match &rule.message_expression {
                Some(text) => self.typed(&format!("{field}.messageExpression"), text, names, &["string"])?,
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
            at: self.at.clone(),
            built_in: false,
            constraints,
            match_conditions,
            variables,
            validations,
            audit_annotations: self.named("auditAnnotations", &annotations, names, &["string", "null_type"])?,
            failure_policy: spec.failure_policy,
            param_kind: spec.param_kind,
            params: Vec::new(),
            params_namespaced: None,
            bindings: Vec::new(),
        })
    }

    /// Each variable may read those before it.
    #[expect(clippy::type_complexity, reason = "two lists of one origin")]
    fn variables(
        &mut self,
        variables: &[NamedExpression],
    ) -> Result<(Vec<(String, Expression)>, Vec<Variable>), PolicyError> {
        let mut known: Vec<Variable> = Vec::new();
        let mut compiled = Vec::new();
        for variable in variables {
            let field = format!("variables[{}]", variable.name);
            let expression = self.expression(&field, &variable.expression, Some(&known))?;
            let kind = expression.as_ref().map_or(UNKNOWN, |expression| expression.kind.stored());
            compiled.extend(expression.map(|expression| (variable.name.clone(), expression)));
            known.push(Variable { name: variable.name.clone(), kind });
        }
        Ok((compiled, known))
    }

    fn named(
        &mut self,
        list: &str,
        expressions: &[NamedExpression],
        variables: Option<&[Variable]>,
        wanted: &[&str],
    ) -> Result<Vec<(String, Expression)>, PolicyError> {
        let mut compiled = Vec::new();
        for named in expressions {
            let expression = self.typed(&format!("{list}[{}]", named.name), &named.expression, variables, wanted)?;
            compiled.extend(expression.map(|expression| (named.name.clone(), expression)));
        }
        Ok(compiled)
    }

    /// An expression whose value has to be of a type, as the API server asks before it takes the policy.
    fn typed(
        &mut self,
        field: &str,
        source: &str,
        variables: Option<&[Variable]>,
        wanted: &[&str],
    ) -> Result<Option<Expression>, PolicyError> {
        let expression = self.expression(field, source, variables)?;
        let found = expression.as_ref().map_or(UNKNOWN, |expression| expression.kind.clone());
        if found == UNKNOWN || wanted.contains(&found.name()) {
            return Ok(expression);
        }
        let (first, all) = (wanted.first().copied().unwrap_or_default(), wanted.join(" or "));
        let message = if found == DYN {
            format!("it must evaluate to {all}, and could be anything; write {first}({})", source.trim())
        } else {
            format!("it must evaluate to {all}, and is of type {found}")
        };
        self.error(field, message);
        Ok(None)
    }

    /// The expression, or `None` and the error kept, so that one run tells all that is wrong.
    fn expression(
        &mut self,
        field: &str,
        source: &str,
        variables: Option<&[Variable]>,
    ) -> Result<Option<Expression>, PolicyError> {
        self.count += 1;
        if self.count > MAX_EXPRESSIONS {
            return Err(self.malformed("", format!("it has more than {MAX_EXPRESSIONS} expressions")));
        }
        if source.trim().is_empty() {
            self.error(field, "it is empty".into());
            return Ok(None);
        }
        match Expression::compile(source, Names { variables, params: self.params }) {
            Ok(mut expression) => {
                expression.line = (self.lines)(self.at, &format!("spec.{field}"));
                Ok(Some(expression))
            }
            Err(message) => {
                self.error(field, message);
                Ok(None)
            }
        }
    }
}

impl Compiler<'_> {
    fn error(&mut self, field: &str, message: String) {
        let (at, policy) = (self.at(field), self.policy.to_owned());
        self.errors.push(PolicyError::Expression { at, policy, field: format!("spec.{field}"), message });
    }
}
