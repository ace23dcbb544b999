//! ValidatingAdmissionPolicies that are stored, put into effect. Pure.
//!
//! In: a request about to be carried out. Out: nothing, warnings, or the refusal in the real server's words.
//! Source: k8s.io/apiserver/pkg/admission/plugin/policy/validating/{dispatcher,validator}.go. The verdicts themselves are
//! [`crate::policy`]'s; what that cannot judge is refused when a policy or binding is written ([`faults`]). Parameters are
//! the objects that are stored when a request is judged, as generic/policy_dispatcher.go (`CollectParams`) has it.

use super::aim::Aim;
use super::convert;
use super::kinds::{Kind, Kinds};
use super::server::ApiServer;
use super::status::{FieldError, Status};
use super::store::Store;
use super::subresource;
use crate::object::{Desired, Gk, Source};
use crate::policy::{self, Effect, PolicySet, Request};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

const GROUP: &str = "admissionregistration.k8s.io";
/// How [`crate::policy`] begins what could not be evaluated.
const UNCLEAR: &str = "the policy could not be evaluated: ";

/// A validation's expression, and the reason that its refusal gives.
#[derive(Debug)]
struct Rule {
    expression: String,
    reason: &'static str,
}

/// Of which kind the parameters of a policy are, and as of when they are known.
#[derive(Debug, Clone)]
struct Params {
    gk: Gk,
    version: String,
    /// Versions of that kind's objects, and of the CustomResourceDefinitions.
    seen: Option<(u64, u64)>,
    /// Why there can be none.
    fault: Option<String>,
}

impl Params {
    /// What `spec.paramKind` names.
    fn of(spec: &Value) -> Option<Self> {
        let kind = spec.get("paramKind").filter(|kind| !kind.is_null())?;
        let api_version = kind["apiVersion"].as_str().unwrap_or_default();
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let gk = Gk::new(group, kind["kind"].as_str().unwrap_or_default());
        Some(Self { gk, version: version.to_owned(), seen: None, fault: None })
    }
}

/// A policy under one binding.
#[derive(Debug, Clone)]
struct Bound {
    policy: String,
    binding: String,
    /// Versions that the policy names and wants to see others in; empty where it takes each as it is.
    versions: Vec<String>,
    /// One policy for each validation, named by its position: the verdicts tell which it was.
    set: PolicySet,
    rules: Arc<Vec<Rule>>,
    /// Names and expressions of its match conditions.
    conditions: Arc<Vec<(String, String)>>,
    params: Option<Params>,
    /// Its `failurePolicy` is `Ignore`.
    ignores: bool,
}

/// Policies in effect, as of a version of each of the two kinds.
#[derive(Debug, Default)]
pub struct Policies {
    seen: (u64, u64),
    bound: Arc<Vec<Bound>>,
}

/// What is wrong with a policy or a binding, or cannot be enforced about it: the fields, and why.
pub fn faults(object: &Value) -> Vec<FieldError> {
    let spec = &object["spec"];
    let missing = |field: &str, why: &str| vec![FieldError::forbidden(field, &format!("{UNENFORCEABLE}: {why}"))];
    if object["kind"] == "ValidatingAdmissionPolicyBinding" {
        return binding_faults(spec);
    }
    let none = |field: &str| spec[field].as_array().is_none_or(Vec::is_empty);
    if none("validations") && none("auditAnnotations") {
        let required =
            |field| FieldError::required(field, "validations or auditAnnotations must contain at least one item");
        return ["spec.validations", "spec.auditAnnotations"].map(required).into();
    }
    let unknown = texts(spec).into_iter().find_map(|text| unknown_input(&text));
    if let Some(input) = unknown {
        return missing("spec", &format!("{input} is not known here"));
    }
    let binding = json!({"metadata": {"name": "b"}, "spec": {"validationActions": ["Deny"]}});
    Bound::new(object, &binding).err().map(|why| missing("spec", &why)).unwrap_or_default()
}

const UNENFORCEABLE: &str = "the embedded cluster cannot enforce it";

/// `validateValidatingAdmissionPolicyBindingSpec` in k8s.io/kubernetes/pkg/apis/admissionregistration/validation.
fn binding_faults(spec: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let reference = &spec["paramRef"];
    if !reference.is_null() {
        let (named, selects) = (!text(&reference["name"]).is_empty(), !reference["selector"].is_null());
        if named && selects {
            for field in ["spec.paramRef.name", "spec.paramRef.selector"] {
                errors.push(FieldError::forbidden(field, "name and selector are mutually exclusive"));
            }
        }
        if !named && !selects {
            errors.push(FieldError::required("spec.paramRef", "one of name or selector must be specified"));
        }
        match &reference["parameterNotFoundAction"] {
            action if text(action).is_empty() => {
                errors.push(FieldError::required("spec.paramRef.parameterNotFoundAction", ""));
            }
            action if !["Allow", "Deny"].contains(&text(action)) => {
                let field = "spec.paramRef.parameterNotFoundAction";
                errors.push(FieldError::not_supported(field, action, &["Deny", "Allow"]));
            }
            _ => {}
        }
    }
    let actions: Vec<&Value> = spec["validationActions"].as_array().into_iter().flatten().collect();
    for (i, action) in actions.iter().enumerate() {
        let field = format!("spec.validationActions[{i}]");
        if !["Audit", "Deny", "Warn"].contains(&text(action)) {
            errors.push(FieldError::not_supported(field.as_str(), action, &["Audit", "Deny", "Warn"]));
        }
        if actions[..i].contains(action) {
            errors.push(FieldError::duplicate(field, action));
        }
    }
    let has = |name: &str| actions.iter().any(|action| *action == name);
    if has("Deny") && has("Warn") {
        let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API \
                   response and headers serves no purpose)";
        errors.push(FieldError::invalid("spec.validationActions", &spec["validationActions"], why));
    }
    if actions.is_empty() {
        errors.push(FieldError::required("spec.validationActions", "at least one validation action is required"));
    }
    let more = if errors.is_empty() { policy::binding_faults(spec) } else { Vec::new() };
    errors.extend(more.into_iter().map(|(field, why)| FieldError::forbidden(format!("spec.{field}"), &why)));
    errors
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Every text in a value.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(map) => map.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

/// What an expression reads that a review here does not have: of the namespace only name and labels are known.
fn unknown_input(expression: &str) -> Option<&'static str> {
    let known = |rest: &str| {
        let rest: String = rest.chars().filter(|c| *c != '?').collect();
        [".metadata.labels", ".metadata.name"].iter().any(|field| rest.starts_with(field))
            || rest.trim_start().starts_with("==")
            || rest.trim_start().starts_with("!=")
    };
    if expression.match_indices("namespaceObject").any(|(at, word)| !known(&expression[at + word.len()..])) {
        return Some("of namespaceObject, anything but name and labels");
    }
    ["request.dryRun", "request.options"].into_iter().find(|input| expression.contains(input))
}

impl Bound {
    fn new(policy: &Value, binding: &Value) -> Result<Self, String> {
        let name_of = |object: &Value| text(&object["metadata"]["name"]).to_owned();
        let document = |kind: &str, name: &str, spec: Value| Desired {
            object: json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": {"name": name}, "spec": spec}),
            source: Source { file: String::new(), line: 0 },
        };
        let mut spec = policy["spec"].clone();
        let validations = spec["validations"].as_array().cloned().unwrap_or_default();
        let mut documents = Vec::new();
        let mut rules = Vec::new();
        if let Some(spec) = spec.as_object_mut() {
            // Nobody here reads an audit log.
            spec.shift_remove("auditAnnotations");
        }
        for (position, validation) in validations.iter().enumerate() {
            let name = position.to_string();
            let mut one = spec.clone();
            one["validations"] = json!([validation]);
            documents.push(document("ValidatingAdmissionPolicy", &name, one));
            let mut bind = binding["spec"].clone();
            bind["policyName"] = json!(name);
            documents.push(document("ValidatingAdmissionPolicyBinding", &name, bind));
            let expression = validation["expression"].as_str().unwrap_or_default().trim().to_owned();
            rules.push(Rule { expression, reason: reason(validation["reason"].as_str().unwrap_or_default()) });
        }
        let set = PolicySet::load(&documents)
            .map_err(|errors| errors.first().map(|e| told(&e.to_string())).unwrap_or_default())?;
        let named = spec["matchConstraints"]["resourceRules"].as_array().into_iter().flatten();
        let versions: Vec<String> = named
            .flat_map(|rule| rule["apiVersions"].as_array().cloned().unwrap_or_default())
            .filter_map(|version| version.as_str().map(str::to_owned))
            .collect();
        let exact = spec["matchConstraints"]["matchPolicy"] == "Exact";
        let versions = if exact || versions.iter().any(|v| v == "*") { Vec::new() } else { versions };
        let (policy, binding) = (name_of(policy), name_of(binding));
        let ignores = spec["failurePolicy"] == "Ignore";
        let conditions = spec["matchConditions"].as_array().into_iter().flatten();
        let condition = |c: &Value| (text(&c["name"]).to_owned(), text(&c["expression"]).trim().to_owned());
        let conditions = Arc::new(conditions.map(condition).collect());
        let (rules, params) = (Arc::new(rules), Params::of(&spec));
        Ok(Self { policy, binding, versions, set, rules, conditions, params, ignores })
    }

    /// Reads the parameters anew where they may have changed.
    fn read_params(&mut self, store: &Store, kinds: &Kinds) {
        let Some(params) = &mut self.params else { return };
        let crds = Gk::new("apiextensions.k8s.io", "CustomResourceDefinition");
        let seen = Some((store.changed(&params.gk), store.changed(&crds)));
        if params.seen == seen {
            return;
        }
        params.seen = seen;
        params.fault = None;
        let version = &params.version;
        let served = |kind: &&Kind| kind.version(version).is_some_and(|version| version.served);
        let Some(kind) = kinds.by_gk(&params.gk).map(Arc::as_ref).filter(served) else {
            // `%v` of a GroupVersionKind, as the real server prints it.
            let named = format!("{}/{version}, Kind={}", params.gk.group, params.gk.kind);
            let why = format!("failed to configure policy: failed to find resource referenced by paramKind: '{named}'");
            params.fault = Some(why);
            return;
        };
        let source = Source { file: String::new(), line: 0 };
        let desired = |object: &Arc<Value>| Desired {
            object: convert::from_storage(kind, version, object).into_owned(),
            source: source.clone(),
        };
        let objects: Vec<Desired> = store.list(&params.gk, None).into_iter().map(desired).collect();
        match self.set.with_params(&objects, Some(kind.namespaced)) {
            Ok(set) => self.set = set,
            Err(why) => params.fault = Some(format!("failed to configure binding: {why}")),
        }
    }

    /// Why it cannot be asked about a request that it is about.
    fn fault(&self, request: &Request<'_>) -> Option<&str> {
        let fault = self.params.as_ref()?.fault.as_deref()?;
        (!self.ignores && self.set.concerns(request)).then_some(fault)
    }

    /// In which version of a kind the policy wants to see objects (`matchPolicy: Equivalent`).
    fn version<'k>(&self, kind: &'k Kind, asked: &'k str) -> &'k str {
        if self.versions.is_empty() || self.versions.iter().any(|v| v == asked) {
            return asked;
        }
        let equal = kind.versions.iter().find(|v| v.served && self.versions.contains(&v.name));
        equal.map_or(asked, |version| &version.name)
    }

    /// What it says, as (effect, message, reason), in the order of the validations.
    fn judge(&self, request: &Request<'_>) -> Vec<(Effect, String, &'static str)> {
        let mut said = Vec::new();
        for verdict in self.set.review(request) {
            let Some(rule) = verdict.policy.parse::<usize>().ok().and_then(|number| self.rules.get(number)) else {
                continue;
            };
            let failed =
                |expression: &str, error: &str| format!("expression '{expression}' resulted in error: {error}");
            let (message, reason) = match verdict.message.strip_prefix(UNCLEAR) {
                Some(fault) if fault.starts_with("failed to configure ") => (fault.to_owned(), reason("")),
                Some(error) => match self.condition(error) {
                    Some((expression, error)) => (failed(expression, error), reason("")),
                    None => (failed(&rule.expression, error), rule.reason),
                },
                None => (verdict.message, rule.reason),
            };
            said.push((verdict.effect, message, reason));
        }
        // Each validation is a policy here: what went wrong before them is told once.
        said.dedup();
        said
    }

    /// The match condition that an error is about, and the error.
    fn condition<'s>(&'s self, error: &'s str) -> Option<(&'s str, &'s str)> {
        let (name, error) = error.strip_prefix("match condition ")?.split_once(": ")?;
        let (_, expression) = self.conditions.iter().find(|(known, _)| known == name)?;
        Some((expression, error))
    }
}

/// A fault without the number that a validation has as a policy's name.
fn told(error: &str) -> String {
    let (number, rest) = error.split_once(": ").unwrap_or(("", error));
    match number.parse::<usize>() {
        Ok(number) => rest.replacen("validations[0]", &format!("validations[{number}]"), 1),
        Err(_) => error.to_owned(),
    }
}

fn reason(text: &str) -> &'static str {
    match text {
        "Unauthorized" => "Unauthorized",
        "Forbidden" => "Forbidden",
        "RequestEntityTooLarge" => "RequestEntityTooLarge",
        _ => "Invalid",
    }
}

/// `reasonToCode`.
fn code(reason: &str) -> u16 {
    match reason {
        "Unauthorized" => 401,
        "Forbidden" => 403,
        "RequestEntityTooLarge" => 413,
        _ => 422,
    }
}

impl ApiServer {
    fn policies(&mut self) -> Arc<Vec<Bound>> {
        let gk = |kind: &str| Gk::new(GROUP, kind);
        let (policies, bindings) = (gk("ValidatingAdmissionPolicy"), gk("ValidatingAdmissionPolicyBinding"));
        let seen = (self.store.changed(&policies), self.store.changed(&bindings));
        if seen != self.policies.seen {
            let bound = self.store.list(&bindings, None).into_iter().filter_map(|binding| {
                let policy = self.store.get(&policies, "", binding["spec"]["policyName"].as_str()?)?;
                // What does not load was refused when it was written.
                Bound::new(policy, binding).ok()
            });
            let bound = Arc::new(bound.collect());
            self.policies = Policies { seen, bound };
        }
        if self.policies.bound.iter().any(|bound| bound.params.is_some()) {
            for bound in Arc::make_mut(&mut self.policies.bound) {
                bound.read_params(&self.store, &self.kinds);
            }
        }
        Arc::clone(&self.policies.bound)
    }

    /// Puts a write to the policies in effect. `object` and `old` are in the form that is stored.
    pub(super) fn review(
        &mut self,
        aim: &Aim,
        operation: &'static str,
        object: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        // Policies do not judge what they are made of.
        if aim.kind.gk.group == GROUP {
            return Ok(());
        }
        let policies = self.policies();
        if policies.is_empty() {
            return Ok(());
        }
        let name = [object, old].into_iter().flatten().find_map(|o| o["metadata"]["name"].as_str()).unwrap_or_default();
        let labels = self.namespace_labels(aim);
        let user = self.user();
        let mut denied = None;
        for bound in policies.iter() {
            let version = bound.version(&aim.kind, &aim.version().name);
            let form = |object: &Value| -> Option<Value> {
                if aim.subresource == "scale" {
                    return subresource::scale(aim, object).ok();
                }
                Some(convert::from_storage(&aim.kind, version, object).into_owned())
            };
            let (object, old) = (object.and_then(form), old.and_then(form));
            // A Namespace is in none; its requests carry its name all the same, unless they are to its list.
            let own = (aim.named && aim.kind.is("", "Namespace")).then_some(name);
            let request = Request {
                operation,
                group: &aim.kind.gk.group,
                version,
                asked_version: Some(&aim.version().name),
                kind: if aim.subresource == "scale" { "Scale" } else { &aim.kind.gk.kind },
                resource: &aim.kind.plural,
                subresource: &aim.subresource,
                name,
                namespace: aim.kind.namespaced.then_some(aim.namespace.as_str()).or(own),
                object: object.as_ref(),
                old_object: old.as_ref(),
                namespace_labels: labels.as_ref(),
                user: Some(&user),
            };
            if let Some(fault) = bound.fault(&request) {
                let whose = format!("ValidatingAdmissionPolicy '{}'", bound.policy);
                denied.get_or_insert((format!("{whose} denied request: {fault}"), reason("")));
                continue;
            }
            for (effect, message, reason) in bound.judge(&request) {
                let whose = format!("ValidatingAdmissionPolicy '{}' with binding '{}'", bound.policy, bound.binding);
                match effect {
                    Effect::Audit => {}
                    Effect::Warn => self.notes.push(format!("Validation failed for {whose}: {message}")),
                    Effect::Deny => {
                        denied.get_or_insert((format!("{whose} denied request: {message}"), reason));
                    }
                }
            }
        }
        let Some((message, reason)) = denied else { return Ok(()) };
        let mut status = Status::forbidden(&aim.kind.plural, &aim.kind.gk.group, name, &message);
        (status.reason, status.code) = (reason, code(reason));
        if let Some(details) = status.details.as_mut() {
            details["causes"] = json!([{"message": message}]);
        }
        Err(status)
    }

    fn namespace_labels(&self, aim: &Aim) -> Option<BTreeMap<String, String>> {
        let namespace = self.store.get(&Gk::new("", "Namespace"), "", &aim.namespace)?;
        let labels = namespace.pointer("/metadata/labels").and_then(Value::as_object);
        let texts = labels.into_iter().flatten().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())));
        Some(texts.collect())
    }

    /// `request.userInfo`: the one user, or the component that acts.
    fn user(&self) -> Value {
        match self.acting {
            None => json!({"username": subresource::USER, "groups": ["system:masters", "system:authenticated"]}),
            Some("kubelet") => json!({"username": "system:node", "groups": ["system:nodes", "system:authenticated"]}),
            Some(actor) => json!({"username": format!("system:{actor}"), "groups": ["system:authenticated"]}),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::request::ApiRequest;
    use crate::cluster::server::Answer;
    use crate::cluster::view::{CONTROLLER_MANAGER, Write};
    use jiff::Timestamp;

    fn send(server: &mut ApiServer, method: &str, path: &str, body: &Value) -> (u16, String, Vec<String>) {
        let mut request = ApiRequest::new(method, path, body.to_string().into_bytes());
        request.content_type = "application/json".into();
        if method == "PATCH" {
            request.content_type = "application/apply-patch+yaml".into();
        }
        let Answer::Response(response) = server.handle(&request, Timestamp::UNIX_EPOCH) else { panic!("a watch") };
        let message = response.value()["message"].as_str().unwrap_or_default().to_owned();
        (response.status, message, response.warnings)
    }

    fn with_policy(policy: &Value, actions: &Value) -> ApiServer {
        let mut server = ApiServer::new(1, Timestamp::UNIX_EPOCH);
        let mut spec = json!({"matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
            "operations": ["CREATE", "UPDATE", "DELETE"], "resources": ["configmaps"]}]}});
        spec.as_object_mut().unwrap().extend(policy.as_object().unwrap().clone());
        let (group, kind) = ("/apis/admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy");
        let api = "admissionregistration.k8s.io/v1";
        let policy = json!({"apiVersion": api, "kind": kind, "metadata": {"name": "p"}, "spec": spec});
        let made = send(&mut server, "POST", &format!("{group}/validatingadmissionpolicies"), &policy);
        assert_eq!(made.0, 201, "{made:?}");
        let binding = json!({"apiVersion": api, "kind": format!("{kind}Binding"), "metadata": {"name": "b"},
            "spec": {"policyName": "p", "validationActions": actions, "matchResources":
                {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}}});
        let made = send(&mut server, "POST", &format!("{group}/validatingadmissionpolicybindings"), &binding);
        assert_eq!(made.0, 201, "{made:?}");
        server
    }

    const MAPS: &str = "/api/v1/namespaces/default/configmaps";

    fn map(data: &Value) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data})
    }

    #[test]
    fn a_policy_refuses_in_the_words_of_the_real_server() {
        let mut server = with_policy(
            &json!({"validations": [
                {"expression": "oldObject != null || !has(object.data.bad)", "message": "no bad data"},
                {"expression": "object == null || object.data.?worse.orValue('') == ''",
                    "messageExpression": "'worse is ' + object.data.worse", "reason": "Forbidden"},
                {"expression": "object == null || object.data.err != 'y'"}]}),
            &json!(["Deny"]),
        );
        let whose = "configmaps \"c\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: ";
        for (data, code, said) in [
            (json!({"bad": "x", "err": "n"}), 422, "no bad data"),
            (json!({"worse": "x", "err": "n"}), 403, "worse is x"),
            (json!({"err": "y"}), 422, "failed expression: object == null || object.data.err != 'y'"),
            (
                json!({"x": "y"}),
                422,
                "expression 'object == null || object.data.err != 'y'' resulted in error: no such key: err",
            ),
        ] {
            let expected = (code, format!("{whose}{said}"), vec![]);
            assert_eq!(send(&mut server, "POST", &format!("{MAPS}?dryRun=All"), &map(&data)), expected);
            assert_eq!(send(&mut server, "POST", MAPS, &map(&data)), expected);
            let apply = format!("{MAPS}/c?fieldManager=m");
            assert_eq!(send(&mut server, "PATCH", &apply, &map(&data)), expected);
        }
        assert_eq!(send(&mut server, "POST", MAPS, &map(&json!({"err": "n"}))).0, 201);
        // An update is judged with the old object; another namespace is not concerned; a controller is.
        assert_eq!(send(&mut server, "PUT", &format!("{MAPS}/c"), &map(&json!({"err": "n", "bad": "x"}))).0, 200);
        assert_eq!(send(&mut server, "PUT", &format!("{MAPS}/c"), &map(&json!({"err": "y"}))).0, 422);
        let elsewhere = "/api/v1/namespaces/kube-public/configmaps";
        assert_eq!(send(&mut server, "POST", elsewhere, &map(&json!({"err": "y"}))).0, 201);
        let mut object = map(&json!({"err": "y"}));
        object["metadata"] = json!({"name": "d", "namespace": "default"});
        let refused = server.carry_out(&Write::Create { object }, CONTROLLER_MANAGER, Timestamp::UNIX_EPOCH);
        assert_eq!(refused.unwrap_err().code, 422);
        assert_eq!(send(&mut server, "DELETE", &format!("{MAPS}/c"), &Value::Null).0, 200);
        // Without the binding it has no effect.
        let bindings = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/b";
        assert_eq!(send(&mut server, "DELETE", bindings, &Value::Null).0, 200);
        assert_eq!(send(&mut server, "POST", MAPS, &map(&json!({"err": "y"}))).0, 201);
    }

    #[test]
    fn a_policy_may_warn_or_say_nothing_and_conditions_exempt() {
        let validations = json!([{"expression": "object == null || object.data.k == 'v'"}]);
        let mut server = with_policy(&json!({"validations": validations}), &json!(["Warn", "Audit"]));
        let (code, _, warnings) = send(&mut server, "POST", MAPS, &map(&json!({"k": "w"})));
        let said = "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': failed expression: object == null || object.data.k == 'v'";
        assert_eq!((code, warnings), (201, vec![said.to_owned()]));
        let mut server = with_policy(&json!({"validations": validations}), &json!(["Audit"]));
        assert_eq!(send(&mut server, "POST", MAPS, &map(&json!({"k": "w"}))), (201, String::new(), vec![]));
        let ignoring = json!({"validations": validations, "failurePolicy": "Ignore"});
        let mut server = with_policy(&ignoring, &json!(["Deny"]));
        assert_eq!(send(&mut server, "POST", MAPS, &map(&json!({"j": "w"}))).0, 201);
        let exempting = json!({"validations": validations,
            "matchConditions": [{"name": "m", "expression": "request.userInfo.username != 'driftless'"}]});
        let mut server = with_policy(&exempting, &json!(["Deny"]));
        assert_eq!(send(&mut server, "POST", MAPS, &map(&json!({"k": "w"}))).0, 201);
    }

    #[test]
    fn what_cannot_be_enforced_is_refused() {
        let mut server = ApiServer::new(1, Timestamp::UNIX_EPOCH);
        let api = "admissionregistration.k8s.io/v1";
        let rules = json!([{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}]);
        let policy = |more: &Value| {
            let mut spec =
                json!({"matchConstraints": {"resourceRules": rules}, "validations": [{"expression": "true"}]});
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"apiVersion": api, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "p"}, "spec": spec})
        };
        let expression = |text: &str| policy(&json!({"validations": [{"expression": "true"}, {"expression": text}]}));
        let hook = |kind: &str| {
            json!({"apiVersion": api, "kind": kind, "metadata": {"name": "h"}, "webhooks": [{"name": "a.b.c",
            "clientConfig": {"url": "https://127.0.0.1:1/x"}, "rules": rules, "sideEffects": "None", "admissionReviewVersions": ["v1"]}]})
        };
        let mutating = json!({"apiVersion": api, "kind": "MutatingAdmissionPolicy", "metadata": {"name": "m"},
            "spec": {"reinvocationPolicy": "Never"}});
        let binding = |actions: &Value, reference: &Value| {
            json!({"apiVersion": api, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": "b"},
                "spec": {"policyName": "p", "validationActions": actions, "paramRef": reference}})
        };
        for (plural, object, code, said) in [
            (
                "validatingadmissionpolicies",
                policy(&json!({"paramKind": {"apiVersion": "v1", "kind": "Secret"}})),
                422,
                "a Secret as paramKind",
            ),
            (
                "validatingadmissionpolicies",
                expression("nope()"),
                422,
                "spec.validations[1].expression: there is no function nope()",
            ),
            (
                "validatingadmissionpolicies",
                expression("namespaceObject.metadata.annotations.x == ''"),
                422,
                "namespaceObject",
            ),
            (
                "validatingadmissionpolicybindings",
                binding(&json!(["Deny"]), &json!({"name": "x", "selector": {}, "parameterNotFoundAction": "Deny"})),
                422,
                "spec.paramRef.name: Forbidden: name and selector are mutually exclusive",
            ),
            (
                "validatingadmissionpolicybindings",
                binding(&json!(["Warn", "Deny"]), &Value::Null),
                422,
                "must not contain both Deny and Warn",
            ),
            ("validatingadmissionpolicybindings", binding(&json!([]), &Value::Null), 422, "spec.validationActions"),
            ("validatingwebhookconfigurations", hook("ValidatingWebhookConfiguration"), 403, "calls no webhooks"),
            ("mutatingwebhookconfigurations", hook("MutatingWebhookConfiguration"), 403, "\"a.b.c\" would be ignored"),
            ("mutatingadmissionpolicies", mutating, 403, "no mutating admission policies"),
        ] {
            let (got, message, _) = send(&mut server, "POST", &format!("/apis/{api}/{plural}"), &object);
            assert!(got == code && message.contains(said), "{object}: {got} {message}");
        }
        let known = expression("namespaceObject == null || namespaceObject.metadata.labels.x == 'y'");
        assert_eq!(send(&mut server, "POST", &format!("/apis/{api}/validatingadmissionpolicies"), &known).0, 201);
    }
}
