//! Parameters: objects beside the policies that an expression reads as `params`.
//!
//! In: what a policy (`paramKind`) and a binding (`paramRef`) ask for, and the objects of that kind among the policy
//! files. Out: the parameters with which a request is judged, one judgement each, as
//! k8s.io/apiserver/pkg/admission/plugin/policy/generic/policy_dispatcher.go (`CollectParams`) has it.
//!
//! They come from the policy files only, never from what is judged: a change cannot bring its own parameters.

use super::document::{NotFound, ParamKind, ParamRef};
use super::matching::labels_of;
use super::resources::builtin_resource;
use super::review::Request;
use super::set::Policy;
use super::value::{TooLarge, to_cel};
use crate::object::{Desired, Gk, Manifest};
use cel::common::value::Val;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One parameter.
#[derive(Debug)]
pub(super) struct Param {
    namespace: Option<String>,
    name: String,
    labels: BTreeMap<String, String>,
    /// As expressions see it.
    pub value: Box<dyn Val>,
}

impl ParamKind {
    fn gk(&self) -> Gk {
        let group = self.api_version.rsplit_once('/').map_or("", |(group, _)| group);
        Gk::new(group, &self.kind)
    }

    /// True for a Secret.
    pub(super) fn is_secret(&self) -> bool {
        self.gk().is("", "Secret")
    }

    /// True if an object is of this kind.
    pub(super) fn is_of(&self, object: &Desired) -> bool {
        let gvk = object.gvk();
        gvk.api_version() == self.api_version && gvk.kind == self.kind
    }

    /// Namespaced or not; `None` where only the cluster knows.
    pub(super) fn namespaced(&self) -> Option<bool> {
        builtin_resource(&self.gk()).map(|resource| resource.namespaced)
    }
}

impl Param {
    /// A parameter for expressions.
    pub(super) fn of(object: &Desired) -> Result<Self, TooLarge> {
        Ok(Self {
            namespace: object.namespace().map(str::to_owned),
            name: object.name().to_owned(),
            labels: labels_of(Some(&object.object)),
            value: to_cel(&object.object)?,
        })
    }
}

/// The parameters that a request is judged with under a binding: `None` stands for `params == null`.
pub(super) fn collect(
    policy: &Policy,
    wanted: Option<&ParamRef>,
    request: &Request<'_>,
) -> Result<Vec<Option<Arc<Param>>>, String> {
    let (Some(kind), Some(wanted)) = (&policy.param_kind, wanted) else { return Ok(vec![None]) };
    let all = &policy.params;
    let known = policy.params_namespaced.or_else(|| kind.namespaced());
    let namespaced = known.unwrap_or_else(|| all.iter().any(|param| param.namespace.is_some()));
    let namespace = match (&wanted.namespace, namespaced) {
        (Some(_), false) if known == Some(false) => {
            return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".into());
        }
        (Some(namespace), _) => Some(namespace.as_str()),
        (None, false) => None,
        (None, true) => Some(
            request
                .namespace
                .ok_or("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources")?,
        ),
    };
    let asked = |param: &&Arc<Param>| {
        param.namespace.as_deref() == namespace
            && wanted.name.as_ref().is_none_or(|name| *name == param.name)
            && wanted.selector.as_ref().is_none_or(|selector| selector.matches(&param.labels, &|_| true))
    };
    let found: Vec<Option<Arc<Param>>> = all.iter().filter(asked).cloned().map(Some).collect();
    if found.is_empty() && wanted.parameter_not_found_action == NotFound::Deny {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".into());
    }
    Ok(found)
}
