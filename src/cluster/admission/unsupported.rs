//! What this cluster cannot bring about is refused when it is written: accepted and ignored, it would make every later
//! answer wrong.

use crate::cluster::kinds::Kind;
use crate::cluster::status::Status;
use crate::cluster::{policies, rules};
use serde_json::Value;

/// Refuses an object whose effect this cluster does not have.
pub fn check(kind: &Kind, object: &Value) -> Result<(), Status> {
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let refuse = |why: String| Err(Status::forbidden(&kind.plural, &kind.gk.group, name, &why));
    match (kind.gk.group.as_str(), kind.gk.kind.as_str()) {
        ("", "ReplicationController") => {
            refuse("the embedded cluster runs no ReplicationControllers; use a Deployment".into())
        }
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration") => {
            // A webhook without rules is never called, by a real server either.
            let called = |hook: &&Value| hook["rules"].as_array().is_some_and(|rules| !rules.is_empty());
            match object["webhooks"].as_array().into_iter().flatten().find(called) {
                Some(hook) => {
                    let hook = hook["name"].as_str().unwrap_or_default();
                    refuse(format!("the embedded cluster calls no webhooks, so that {hook:?} would be ignored"))
                }
                None => Ok(()),
            }
        }
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy" | "MutatingAdmissionPolicyBinding") => {
            refuse("the embedded cluster carries out no mutating admission policies".into())
        }
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy" | "ValidatingAdmissionPolicyBinding") => {
            let errors = policies::faults(object);
            if errors.is_empty() {
                return Ok(());
            }
            Err(Status::invalid(&kind.gk.kind, &kind.gk.group, name, &errors))
        }
        _ => Ok(()),
    }
}

/// What is accepted and not carried out, where that is news.
pub fn warnings(kind: &Kind, object: &Value, before: Option<&Value>) -> Vec<String> {
    if !kind.is("apiextensions.k8s.io", "CustomResourceDefinition")
        || before.is_some_and(|b| b["spec"] == object["spec"])
    {
        return Vec::new();
    }
    rules::warnings(object)
}
