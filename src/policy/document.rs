//! The documents as they are written: `ValidatingAdmissionPolicy` and its binding, strictly read.
//!
//! Source: k8s.io/api/admissionregistration/v1/types.go. An unknown field is an error: a typo in a policy must not
//! make it weaker.

use super::selector::LabelSelector;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The API group of both kinds.
pub(super) const GROUP: &str = "admissionregistration.k8s.io";
/// The kind of a policy.
pub(super) const POLICY: &str = "ValidatingAdmissionPolicy";
/// The kind of a binding.
pub(super) const BINDING: &str = "ValidatingAdmissionPolicyBinding";

/// Either document; `metadata` and `status` are not judged.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "named only so that any other top-level field is refused")]
pub(super) struct Document<S> {
    pub api_version: String,
    pub kind: String,
    #[serde(default)]
    pub metadata: Value,
    pub spec: S,
    #[serde(default)]
    pub status: Value,
}

/// `spec` of a policy.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PolicySpec {
    #[serde(default)]
    pub param_kind: Option<ParamKind>,
    #[serde(default)]
    pub match_constraints: Option<MatchResources>,
    #[serde(default)]
    pub validations: Vec<Validation>,
    #[serde(default)]
    pub failure_policy: FailurePolicy,
    #[serde(default)]
    pub audit_annotations: Vec<AuditAnnotation>,
    #[serde(default)]
    pub match_conditions: Vec<NamedExpression>,
    #[serde(default)]
    pub variables: Vec<NamedExpression>,
}

/// `spec` of a binding.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct BindingSpec {
    pub policy_name: String,
    #[serde(default)]
    pub param_ref: Option<ParamRef>,
    #[serde(default)]
    pub match_resources: Option<MatchResources>,
    pub validation_actions: Vec<ValidationAction>,
}

/// Of which kind a policy's parameters are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ParamKind {
    #[serde(default)]
    pub api_version: String,
    #[serde(default)]
    pub kind: String,
}

/// Which parameters a binding gives to its policy.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ParamRef {
    #[serde(default, deserialize_with = "filled")]
    pub name: Option<String>,
    /// Unset: the namespace of the object that is judged.
    #[serde(default, deserialize_with = "filled")]
    pub namespace: Option<String>,
    #[serde(default)]
    pub selector: Option<LabelSelector>,
    pub parameter_not_found_action: NotFound,
}

/// What it leads to that no parameter is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum NotFound {
    Allow,
    Deny,
}

/// What a violation leads to, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) enum ValidationAction {
    Audit,
    Warn,
    Deny,
}

/// What an evaluation error leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub(super) enum FailurePolicy {
    #[default]
    Fail,
    Ignore,
}

/// Which objects.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct MatchResources {
    #[serde(default)]
    pub namespace_selector: Option<LabelSelector>,
    #[serde(default)]
    pub object_selector: Option<LabelSelector>,
    #[serde(default)]
    pub resource_rules: Vec<ResourceRule>,
    #[serde(default)]
    pub exclude_resource_rules: Vec<ResourceRule>,
    #[serde(default)]
    pub match_policy: MatchPolicy,
}

/// Whether another version of a resource matches too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub(super) enum MatchPolicy {
    Exact,
    #[default]
    Equivalent,
}

/// `NamedRuleWithOperations`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ResourceRule {
    #[serde(default)]
    pub resource_names: Vec<String>,
    #[serde(default)]
    pub operations: Vec<String>,
    #[serde(default)]
    pub api_groups: Vec<String>,
    #[serde(default)]
    pub api_versions: Vec<String>,
    #[serde(default)]
    pub resources: Vec<String>,
    #[serde(default)]
    pub scope: Option<String>,
}

/// One validation.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Validation {
    pub expression: String,
    #[serde(default)]
    pub message: Option<String>,
    #[serde(default, deserialize_with = "filled")]
    pub message_expression: Option<String>,
    #[serde(default)]
    pub reason: Option<String>,
}

/// One audit annotation.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AuditAnnotation {
    pub key: String,
    pub value_expression: String,
}

/// A variable or a match condition.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NamedExpression {
    #[serde(default)]
    pub name: String,
    pub expression: String,
}

/// A text that is not set where it is empty: the API server cannot tell one from the other.
fn filled<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty()))
}
