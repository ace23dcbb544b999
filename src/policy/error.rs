//! What can be wrong with a policy file. Every error names the file, the line and the policy, because the person who
//! reads it may not have written it.

use crate::object::{Problem, Source};

/// Why a set of policies was not loaded. None of it is loaded then: half a policy set is no protection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A document that is neither a policy nor a binding.
    #[error("{kind} is no policy")]
    NotAPolicy {
        /// Where.
        at: Source,
        /// `apiVersion` and kind as written.
        kind: String,
    },
    /// The document does not have the shape of its kind.
    #[error("{name}: {message}")]
    Malformed {
        /// Where.
        at: Source,
        /// Name of the policy or binding.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// An expression that does not compile or names something unknown.
    #[error("{policy}: {field}: {message}")]
    Expression {
        /// Where.
        at: Source,
        /// Name of the policy.
        policy: String,
        /// Which expression, such as `spec.validations[0].expression`.
        field: String,
        /// What is wrong with it.
        message: String,
    },
    /// Something that Kubernetes has and this evaluator has not.
    #[error("{policy}: {what} is not supported")]
    Unsupported {
        /// Where.
        at: Source,
        /// Name of the policy or binding.
        policy: String,
        /// What.
        what: String,
    },
    /// A policy that no binding puts into effect.
    #[error("policy {policy} has no binding, so that it would judge nothing")]
    NoBinding {
        /// Where.
        at: Source,
        /// Name of the policy.
        policy: String,
    },
    /// A binding of a policy that is not there.
    #[error("binding {binding} names the policy {policy}, which is not among the policies loaded")]
    NoPolicy {
        /// Where.
        at: Source,
        /// Name of the binding.
        binding: String,
        /// The policy it names.
        policy: String,
    },
    /// Two documents of one kind and name.
    #[error("{name} is defined twice; the other one is at {}:{}", other.file, other.line)]
    Duplicate {
        /// Where.
        at: Source,
        /// Name of the policy or binding.
        name: String,
        /// The first one.
        other: Source,
    },
}

impl PolicyError {
    /// Where the error is.
    pub fn at(&self) -> &Source {
        match self {
            Self::NotAPolicy { at, .. }
            | Self::Malformed { at, .. }
            | Self::Expression { at, .. }
            | Self::Unsupported { at, .. }
            | Self::NoBinding { at, .. }
            | Self::NoPolicy { at, .. }
            | Self::Duplicate { at, .. } => at,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::NotAPolicy { .. } => {
                "Keep only ValidatingAdmissionPolicy and ValidatingAdmissionPolicyBinding (admissionregistration.k8s.io/v1) \
                 in the policy paths."
                    .into()
            }
            Self::Malformed { .. } => {
                "See `kubectl explain validatingadmissionpolicy.spec` for the fields and their types.".into()
            }
            Self::Expression { .. } => {
                "Correct the CEL expression; see kubernetes.io/docs/reference/using-api/cel for what it may use.".into()
            }
            Self::Unsupported { .. } => {
                "Rewrite the policy without it, or install it in the cluster and take it out of the policy paths.".into()
            }
            Self::NoBinding { policy, .. } => format!(
                "Add a ValidatingAdmissionPolicyBinding with policyName: {policy} and validationActions: [Deny] (or [Warn])."
            ),
            Self::NoPolicy { .. } => "Correct spec.policyName, or add the policy to the policy paths.".into(),
            Self::Duplicate { .. } => "Remove or rename one of them.".into(),
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::NotAPolicy { .. } => "NotAPolicy",
            Self::Malformed { .. } => "MalformedPolicy",
            Self::Expression { .. } => "PolicyExpression",
            Self::Unsupported { .. } => "PolicyUnsupported",
            Self::NoBinding { .. } => "PolicyWithoutBinding",
            Self::NoPolicy { .. } => "BindingWithoutPolicy",
            Self::Duplicate { .. } => "DuplicatePolicy",
        }
    }
}

impl From<PolicyError> for Problem {
    fn from(error: PolicyError) -> Self {
        let at = error.at().clone();
        Self::new(error.reason(), error.to_string()).at(at.file, at.line).hint(error.hint())
    }
}
