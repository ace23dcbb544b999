//! Policies against rendered objects.

use super::matching::{ANY, OWN};
use super::params::{Param, collect};
use super::resources::Facts;
use super::review::{Effect, Judgement, Request, Subject, Verdict};
use super::set::{Policy, PolicySet};
use super::value::TooLarge;
use super::worker::{Job, TIME_LIMIT, judge_all};
use crate::object::{Desired, null};
use crate::plan::Write;
use crate::plan::change::PolicyFinding;
use crate::scheme::{self, autoscaler};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What every policy says about every object it concerns, each judged as if it were created: without a cluster nothing
/// else is known. In the order of the objects, then of the policies.
pub fn evaluate(policies: &PolicySet, objects: &[Desired], facts: &Facts) -> Vec<PolicyFinding> {
    let writes: Vec<Write<'_>> = objects.iter().map(Write::create).collect();
    judge_writes(policies, &writes, facts)
}

/// What every policy says about every write it concerns, in the order of the writes, then of the policies.
pub fn judge_writes(policies: &PolicySet, writes: &[Write<'_>], facts: &Facts) -> Vec<PolicyFinding> {
    let asked: Vec<Asked<'_>> = writes.iter().map(|write| Asked::new(write, facts)).collect();
    let requests: Vec<Request<'_>> = asked.iter().map(|asked| asked.request(facts)).collect();
    let verdicts = policies.judge(&requests);
    let mut findings = Vec::new();
    for (write, verdicts) in writes.iter().zip(verdicts) {
        findings.extend(verdicts.into_iter().map(|verdict| {
            // What is no longer in Git has no place there: the rule that speaks of it has one.
            let at = write.source.unwrap_or(&verdict.at);
            PolicyFinding {
                policy: verdict.policy,
                action: verdict.effect.as_str().to_owned(),
                message: verdict.message,
                object: write.object.clone(),
                file: at.file.clone(),
                line: at.line,
                operation: write.operation().as_str().to_owned(),
                server: false,
            }
        }));
    }
    findings
}

/// A write with the texts that a request borrows.
struct Asked<'a> {
    write: &'a Write<'a>,
    /// As the API server would read it: a policy there never meets a null in a built-in kind.
    content: Option<Cow<'a, Value>>,
    resource: String,
    namespace: Option<&'a str>,
}

impl<'a> Asked<'a> {
    fn new(write: &'a Write<'a>, facts: &Facts) -> Self {
        let object = &write.object;
        let resource = facts.resource(&object.gvk().gk(), object.namespace.is_some());
        let namespace = if resource.namespaced { Some(object.namespace.as_deref().unwrap_or("default")) } else { None };
        let content = write.new.as_deref().map(|new| {
            // What no server has answered has the form and the defaults that a server would give it.
            let read = |new| scheme::read(&object.gvk(), new).and_then(Result::ok);
            let read = write.unread.then(|| read(new)).flatten();
            let mut content = read.map_or(Cow::Borrowed(new), Cow::Owned);
            if null::is_built_in(&object.group) && null::is_anywhere(&content) {
                null::strip(content.to_mut());
            }
            content
        });
        Self { write, content, resource: resource.plural, namespace }
    }

    fn request<'s>(&'s self, facts: &'s Facts) -> Request<'s> {
        let object = &self.write.object;
        // The path of its requests has the name where others have the namespace.
        let own = (object.group.is_empty() && object.kind == "Namespace").then_some(object.name.as_str());
        Request {
            operation: self.write.operation().as_str(),
            group: &object.group,
            version: &object.version,
            asked_version: None,
            kind: &object.kind,
            resource: &self.resource,
            subresource: "",
            name: &object.name,
            namespace: self.namespace.or(own),
            object: self.content.as_deref(),
            old_object: self.write.old,
            namespace_labels: self.namespace.and_then(|namespace| facts.namespaces.get(namespace)),
            user: facts.user.as_ref(),
        }
    }
}

impl PolicySet {
    /// True if a policy's `matchConstraints` are about the request, whatever its bindings say.
    pub fn concerns(&self, request: &Request<'_>) -> bool {
        self.policies.iter().any(|policy| policy.constraints.concerns(request, true))
    }

    /// What the policies say about one request.
    pub fn review(&self, request: &Request<'_>) -> Vec<Verdict> {
        self.judge(std::slice::from_ref(request)).pop().unwrap_or_default()
    }

    /// What the policies say about each request.
    fn judge(&self, requests: &[Request<'_>]) -> Vec<Vec<Verdict>> {
        let mut verdicts: Vec<Vec<Verdict>> = requests.iter().map(|_| Vec::new()).collect();
        let mut jobs = Vec::new();
        let mut owners: Vec<(usize, Effect)> = Vec::new();
        for (request, (position, out)) in requests.iter().zip(verdicts.iter_mut().enumerate()) {
            let policies = self.policies.iter().enumerate();
            let concerned: Vec<(usize, &Arc<Policy>, Calls)> =
                policies.filter_map(|(index, policy)| Some((index, policy, policy.calls(request)?))).collect();
            if concerned.is_empty() {
                continue;
            }
            let own = Subject::of(request).map(Arc::new);
            // The same in another version, for policies that are about that one.
            let mut converted: BTreeMap<&'static str, Result<Arc<Subject>, TooLarge>> = BTreeMap::new();
            for (index, policy, calls) in concerned {
                let subject = match policy.constraints.version(request) {
                    Some(version) if version != OWN && version != ANY => {
                        converted.entry(version).or_insert_with(|| in_version(request, version).map(Arc::new)).clone()
                    }
                    _ => own.clone(),
                };
                for fault in calls.faults {
                    out.extend(Judgement::failed(fault).verdicts(policy, Effect::Deny));
                }
                for (params, effect) in calls.with {
                    match &subject {
                        Ok(subject) => {
                            let (policy, subject) = (Arc::clone(policy), Arc::clone(subject));
                            jobs.push(Job { policy, index, subject, params });
                            owners.push((position, effect));
                        }
                        Err(error) => out.extend(Judgement::failed(error.to_string()).verdicts(policy, effect)),
                    }
                }
            }
        }
        let policies: Vec<Arc<Policy>> = jobs.iter().map(|job| Arc::clone(&job.policy)).collect();
        let judged = judge_all(jobs, TIME_LIMIT);
        for ((judgement, policy), (position, effect)) in judged.into_iter().zip(policies).zip(owners) {
            if let Some(out) = verdicts.get_mut(position) {
                out.extend(judgement.verdicts(&policy, effect));
            }
        }
        verdicts
    }
}

/// A request in another version of its kind.
fn in_version(request: &Request<'_>, version: &'static str) -> Result<Subject, TooLarge> {
    let api_version = format!("{}/{version}", request.group);
    let form = |object: &Value| {
        let mut object = object.clone();
        autoscaler::convert(&mut object, request.version, version);
        if let Some(map) = object.as_object_mut() {
            map.insert("apiVersion".to_owned(), api_version.as_str().into());
        }
        object
    };
    let (object, old) = (request.object.map(form), request.old_object.map(form));
    Subject::of(&Request {
        version,
        asked_version: Some(request.version),
        object: object.as_ref(),
        old_object: old.as_ref(),
        ..request.clone()
    })
}

/// With what a policy judges one request.
#[derive(Debug, Default)]
struct Calls {
    /// Each parameter once, with the strongest action among the bindings that give it.
    with: Vec<(Option<Arc<Param>>, Effect)>,
    /// Why a binding could not be asked. It refuses, whatever its action is, unless the policy ignores failures.
    faults: Vec<String>,
}

impl Policy {
    /// What the bindings that concern a request ask for; `None` if the policy does not judge it.
    fn calls(&self, request: &Request<'_>) -> Option<Calls> {
        if !self.constraints.concerns(request, true) {
            return None;
        }
        let mut calls = Calls::default();
        for binding in &self.bindings {
            if !binding.resources.as_ref().is_none_or(|resources| resources.concerns(request, false)) {
                continue;
            }
            let effect = Effect::from(binding.action);
            match collect(self, binding.param_ref.as_ref(), request) {
                Ok(params) => params.into_iter().for_each(|param| calls.add(param, effect)),
                Err(fault) => calls.faults.push(format!("failed to configure binding: {fault}")),
            }
        }
        Some(calls).filter(|calls| !calls.with.is_empty() || !calls.faults.is_empty())
    }
}

impl Calls {
    fn add(&mut self, params: Option<Arc<Param>>, effect: Effect) {
        let same = |known: &Option<Arc<Param>>| match (known, &params) {
            (Some(known), Some(params)) => Arc::ptr_eq(known, params),
            (None, None) => true,
            _ => false,
        };
        match self.with.iter_mut().find(|(known, _)| same(known)) {
            Some((_, known)) => *known = effect.max(*known),
            None => self.with.push((params, effect)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{Live, Manifest, Source};
    use crate::policy::{Denied, admit};
    use serde_json::json;
    use std::path::Path;

    fn at(object: Value) -> Desired {
        Desired { object, source: Source { file: "app/a.yaml".into(), line: 7 } }
    }

    fn set(spec: &Value, action: &str) -> PolicySet {
        let mut full = json!({"matchConstraints": {"resourceRules": [{"apiGroups": ["*"], "apiVersions": ["*"],
            "operations": ["CREATE"], "resources": ["*"]}]}});
        full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let api = "admissionregistration.k8s.io/v1";
        let documents = [
            json!({"apiVersion": api, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "p"}, "spec": full}),
            json!({"apiVersion": api, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": "b"},
                "spec": {"policyName": "p", "validationActions": [action]}}),
        ];
        let nowhere = |object| Desired { object, source: Source { file: String::new(), line: 0 } };
        PolicySet::load(&documents.map(nowhere)).unwrap()
    }

    fn config_map() -> Desired {
        at(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "shop", "labels": {"a": "b"}}, "data": {"k": "v"}}),
        )
    }

    fn told(spec: &Value, object: &Desired) -> Vec<(String, String)> {
        evaluate(&set(spec, "Deny"), std::slice::from_ref(object), &Facts::default())
            .into_iter()
            .map(|finding| (finding.action, finding.message))
            .collect()
    }

    fn one(action: &str, message: &str) -> Vec<(String, String)> {
        vec![(action.to_owned(), message.to_owned())]
    }

    #[test]
    fn messages() {
        let object = config_map();
        for (validation, message) in [
            (json!({"expression": "false", "message": "no"}), "no"),
            (json!({"expression": "object.data.k == 'x'"}), "failed expression: object.data.k == 'x'"),
            (json!({"expression": "false", "message": "no", "messageExpression": "'k is ' + object.data.k"}), "k is v"),
            (json!({"expression": "false", "message": "no", "messageExpression": "string(object.data.missing)"}), "no"),
            (json!({"expression": "false", "message": "no", "messageExpression": "'a\\nb'"}), "no"),
            (json!({"expression": "object.missing == 1"}), "the policy could not be evaluated: no such key: missing"),
            (
                json!({"expression": "object.data.k > 1"}),
                "the policy could not be evaluated: found no matching overload for '_>_' applied to '(string, int)'",
            ),
            (json!({"expression": "object.data.k + 1 == 2"}), "the policy could not be evaluated: no such overload"),
            (
                json!({"expression": "object.data.k.reverse() == []"}),
                "the policy could not be evaluated: found no matching overload for 'reverse' applied to '(string)'",
            ),
        ] {
            assert_eq!(told(&json!({"validations": [validation]}), &object), one("deny", message), "{validation}");
        }
    }

    #[test]
    fn environment_of_expressions() {
        for expression in [
            "request.operation == 'CREATE' && request.name == 'c' && request.namespace == 'shop' && request.kind.kind == 'ConfigMap'",
            "request.resource.resource == 'configmaps' && oldObject == null && request.dryRun == false",
            "namespaceObject.metadata.labels['kubernetes.io/metadata.name'] == 'shop' && namespaceObject.metadata.name == 'shop'",
            "variables.two == 2 && variables.one == 1 && [1].all(variables, variables == 1)",
            "true || variables.broken == 1",
        ] {
            let spec = json!({"validations": [{"expression": expression}], "variables": [{"name": "one", "expression": "1"},
                {"name": "two", "expression": "variables.one + 1"}, {"name": "broken", "expression": "object.nope"}]});
            assert_eq!(told(&spec, &config_map()), vec![], "{expression}");
        }
        let spec = json!({"validations": [{"expression": "variables.b == 1"}], "variables": [{"name": "b", "expression": "object.nope"}]});
        assert_eq!(told(&spec, &config_map()), one("deny", "the policy could not be evaluated: no such key: nope"));
    }

    #[test]
    fn conditions_and_failure_policy() {
        let object = config_map();
        let spec = |condition: &str, failure: &str| {
            json!({"validations": [{"expression": "false", "message": "no"}], "failurePolicy": failure,
            "matchConditions": [{"name": "m", "expression": condition}]})
        };
        assert_eq!(told(&spec("true", "Fail"), &object), one("deny", "no"));
        assert_eq!(told(&spec("false", "Fail"), &object), vec![]);
        assert_eq!(
            told(&spec("object.nope == 1", "Fail"), &object),
            one("deny", "the policy could not be evaluated: match condition m: no such key: nope")
        );
        assert_eq!(
            told(&spec("object.nope == 1", "Ignore"), &object),
            one(
                "audit",
                "the policy could not be evaluated: match condition m: no such key: nope; failurePolicy is Ignore"
            )
        );
        let notes = json!({"auditAnnotations": [{"key": "who", "valueExpression": "string(object.metadata.name)"}, {"key": "no", "valueExpression": "''"}]});
        assert_eq!(told(&notes, &object), one("audit", "who: c"));
    }

    #[test]
    fn warnings_admit_and_refusals_do_not() {
        let spec = json!({"validations": [{"expression": "false", "message": "no"}]});
        let object = config_map();
        let writes = [Write::create(&object), Write::create(&object)];
        let warned = admit(&writes[..1], &set(&spec, "Warn"), &Facts::default()).unwrap();
        assert_eq!(warned[0].action, "warn");
        let denied = admit(&writes, &set(&spec, "Deny"), &Facts::default()).unwrap_err();
        assert_eq!(denied.to_string(), "refused by policy p: ConfigMap shop/c: no (and 1 more)");
        let problem = crate::object::Problem::from(Denied { findings: denied.findings });
        assert_eq!((problem.file.as_deref(), problem.line), (Some("app/a.yaml"), Some(7)));
    }

    /// A policy on all operations that says what it sees.
    fn seen(spec: &Value, write: &Write<'_>) -> Vec<PolicyFinding> {
        let mut full = json!({"matchConstraints": {"resourceRules": [{"apiGroups": ["*"], "apiVersions": ["*"],
            "operations": ["CREATE", "UPDATE", "DELETE"], "resources": ["*"]}]}});
        full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        judge_writes(&set(&full, "Deny"), std::slice::from_ref(write), &Facts::default())
    }

    #[test]
    fn a_write_is_judged_as_what_it_is() {
        let (object, live) = (config_map(), Live(config_map().object));
        let spec = json!({"validations": [{"expression": "false", "messageExpression":
            "request.operation + (object == null ? ' - ' : ' ' + object.data.k + ' ') + (oldObject == null ? '-' : oldObject.data.k)"}]});
        let mut new = object.object.clone();
        new["data"]["k"] = json!("w");
        for (write, said, file) in [
            (Write::create(&object), "CREATE v -", "app/a.yaml"),
            (Write::update(&object, Cow::Borrowed(&new), &live), "UPDATE w v", "app/a.yaml"),
            (Write::delete(object.object_ref(), None, &live), "DELETE - v", ""),
        ] {
            let found = seen(&spec, &write);
            assert_eq!((found[0].message.as_str(), found[0].file.as_str()), (said, file));
            assert_eq!(found[0].operation, write.operation().as_str());
        }
    }

    #[test]
    fn a_side_that_is_not_there_is_not_selected() {
        let (object, live) = (config_map(), Live(config_map().object));
        let rules = json!([{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}]);
        for (selector, expected) in [
            (json!({"matchExpressions": [{"key": "none", "operator": "DoesNotExist"}]}), 1),
            (json!({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}), 0),
            (json!({"matchLabels": {"a": "b"}}), 1),
            (json!({}), 1),
        ] {
            let constraints = json!({"resourceRules": rules, "objectSelector": selector});
            let spec = json!({"matchConstraints": constraints, "validations": [{"expression": "false"}]});
            let found = seen(&spec, &Write::delete(object.object_ref(), None, &live));
            assert_eq!(found.len(), expected, "{selector}");
        }
    }

    #[test]
    fn values_of_a_live_secret_are_not_told_either() {
        let secret = |value: &str| {
            at(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": value}}))
        };
        let (new, live) = (secret("bmV3dmFsdWU="), Live(secret("aHVudGVyMg==").object));
        let spec = json!({"validations": [
            {"expression": "object != null && object.data.k == oldObject.data.k",
                "messageExpression": "'was ' + oldObject.data.k + variables.v"},
            {"expression": "oldObject.data.k < 5"},
            {"expression": "oldObject.data[oldObject.data.k] == ''"}],
            "variables": [{"name": "v", "expression": "oldObject.data.k"}],
            "auditAnnotations": [{"key": "a", "valueExpression": "string(oldObject.data.k)"}]});
        for write in
            [Write::update(&new, Cow::Borrowed(&new.object), &live), Write::delete(new.object_ref(), None, &live)]
        {
            let found = seen(&spec, &write);
            assert_eq!(found.len(), 4, "{found:?}");
            let text = format!("{found:?}");
            assert!(!text.contains("aHVudGVyMg") && !text.contains("bmV3dmFsdWU"), "{text}");
        }
    }

    /// As a server would read it, where none has answered: with its defaults, quantities in one form, no `stringData`.
    #[test]
    fn a_creation_is_judged_with_its_defaults() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "shop"},
            "spec": {"containers": [{"name": "a", "image": "x", "resources": {"limits": {"cpu": "1000m"}}}]}});
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": "v"}});
        let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
        let newer = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "shop"},
            "spec": {"newer": 1, "containers": [{"name": "a", "image": "x"}]}});
        for (object, expression) in [
            (&pod, "object.spec.containers.all(c, c.resources.requests.cpu == '1' && c.imagePullPolicy == 'Always')"),
            (&pod, "object.spec.restartPolicy == 'Always' && object.spec.terminationGracePeriodSeconds == 30"),
            (&secret, "!has(object.stringData) && object.data.k == 'dg==' && object.type == 'Opaque'"),
            (&space, "object.metadata.labels['kubernetes.io/metadata.name'] == 'shop'"),
            (&newer, "object.spec.newer == 1 && object.spec.dnsPolicy == 'ClusterFirst'"),
        ] {
            let spec = json!({"validations": [{"expression": expression}]});
            assert_eq!(told(&spec, &at(object.clone())), vec![], "{expression}");
        }
    }

    #[test]
    fn who_asks_is_who_the_cluster_says() {
        let spec = json!({"validations": [{"expression": "false", "messageExpression": "request.userInfo.username"}]});
        assert_eq!(told(&spec, &config_map()), one("deny", "system:serviceaccount:driftless:driftless"));
        let facts = Facts { user: Some(json!({"username": "jo"})), ..Facts::default() };
        let found = evaluate(&set(&spec, "Deny"), &[config_map()], &facts);
        assert_eq!(found[0].message, "jo");
    }

    #[test]
    fn values_of_a_secret_are_not_told() {
        let secret = at(
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "aHVudGVyMg=="}, "stringData": {"t": "hunter3"}}),
        );
        let spec = json!({"validations": [
            {"expression": "object.data.t == 'x'", "messageExpression": "'it is ' + object.data.t + variables.v"},
            {"expression": "sign(quantity(object.data.t)) == 1"},
            {"expression": "object.data.t < 5"},
            {"expression": "object.data[object.data.t] == ''"}],
            "variables": [{"name": "v", "expression": "object.data.k"}],
            "auditAnnotations": [{"key": "a", "valueExpression": "string(object.data.t)"}]});
        let found = told(&spec, &secret);
        assert_eq!(found.len(), 5, "{found:?}");
        let text = format!("{found:?}");
        assert!(!text.contains("hunter") && !text.contains("aHVudGVyM"), "{text}");
    }

    #[test]
    fn what_takes_too_long_or_is_too_large_is_refused() {
        let slow = set(
            &json!({"validations": [{"expression":
            "object.l.all(a, object.l.all(b, object.l.all(c, object.l.all(d, a + b + c + d >= 0))))"}]}),
            "Deny",
        );
        let object = json!({"l": (0..2000).collect::<Vec<_>>()});
        let request = Request { operation: "CREATE", object: Some(&object), ..Request::default() };
        let subject = Arc::new(Subject::of(&request).unwrap());
        let quick = set(&json!({"validations": [{"expression": "true"}]}), "Deny");
        let job = |set: &PolicySet, index| Job {
            policy: Arc::clone(&set.policies[0]),
            index,
            subject: Arc::clone(&subject),
            params: None,
        };
        let jobs = vec![job(&quick, 0), job(&slow, 1), job(&quick, 0), job(&slow, 1), job(&quick, 0)];
        let judged = judge_all(jobs, std::time::Duration::from_millis(200));
        let failed: Vec<bool> = judged.iter().map(|judgement| !judgement.errors.is_empty()).collect();
        assert_eq!(failed, [false, true, false, true, false]);
        assert!(judged[3].errors[0].0.contains("given up on another object"));

        let huge =
            at(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "l": vec![0; 20_001]}));
        let found = told(&json!({"validations": [{"expression": "true"}]}), &huge);
        assert!(found[0].0 == "deny" && found[0].1.contains("20000 elements"), "{found:?}");
    }

    #[test]
    fn what_a_policy_does_not_concern_passes() {
        let found = evaluate(&PolicySet::builtin(), &[config_map()], &Facts::default());
        assert_eq!(found, vec![]);
    }

    #[test]
    fn what_a_controller_filled_is_no_plain_secret_of_git() {
        let mut rules = documents(&Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/no-plain-secrets/policy.yaml"));
        rules.iter_mut().for_each(|document| document.source.file.clear());
        let set = PolicySet::load(&rules).unwrap();
        let secret =
            |data: Value| at(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": data}));
        let (empty, live) = (secret(json!({})), Live(secret(json!({"filled": "eA=="})).object));
        for (new, expected) in [
            (json!({"filled": "eA=="}), 0),
            (json!({"filled": "eQ=="}), 1),
            (json!({"filled": "eA==", "more": "eA=="}), 1),
        ] {
            let new = secret(new).object;
            let write = Write::update(&empty, Cow::Borrowed(&new), &live);
            assert_eq!(judge_writes(&set, &[write], &Facts::default()).len(), expected, "{new}");
        }
    }

    fn documents(file: &Path) -> Vec<Desired> {
        let text = std::fs::read_to_string(file).unwrap();
        text.split("\n---\n").map(|part| at(serde_saphyr::from_str(part).unwrap())).collect()
    }

    /// `policies/NAME/testdata/CASE.yaml` and what the policy says of it in `CASE.expected`, a line per finding.
    #[test]
    fn testdata_of_the_policies() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
        let entries = |dir: &Path| -> Vec<_> {
            let mut all: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
            all.sort();
            all
        };
        let mut wrong = Vec::new();
        for policy in entries(&root).into_iter().filter(|path| path.is_dir()) {
            let name = policy.file_name().unwrap().to_str().unwrap().to_owned();
            let mut rules = documents(&policy.join("policy.yaml"));
            rules.iter_mut().for_each(|document| document.source.file.clear());
            let set = PolicySet::load(&rules).unwrap_or_else(|e| panic!("{name}: {e:?}"));
            assert_eq!(set.names().collect::<Vec<_>>(), [name.as_str()]);
            let inputs =
                entries(&policy.join("testdata")).into_iter().filter(|path| path.extension().unwrap() == "yaml");
            let mut cases = 0;
            for input in inputs {
                let objects = documents(&input);
                let facts = Facts::default().with_manifests(&objects);
                let said: String = evaluate(&set, &objects, &facts)
                    .iter()
                    .map(|finding| format!("{} {}: {}\n", finding.action, finding.object, finding.message))
                    .collect();
                let expected = std::fs::read_to_string(input.with_extension("expected")).unwrap_or_default();
                if said != expected {
                    wrong.push(format!("{}\n{said}expected:\n{expected}", input.display()));
                }
                cases += 1;
            }
            assert!(cases >= 3, "{name} has too few cases");
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
