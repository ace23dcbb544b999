//! What an API server asks of the fields of a policy and of its binding before it takes them; expressions are
//! `compiler`'s.
//!
//! In: `spec`, read. Out: every field that is not as it has to be, and why. Source:
//! k8s.io/kubernetes/pkg/apis/admissionregistration/validation/validation.go and
//! k8s.io/apimachinery/pkg/apis/meta/v1/validation. A policy that a server would refuse must not judge here: it would be
//! in force in one place only.

use super::document::{
    AuditAnnotation, BindingSpec, MatchResources, NamedExpression, ParamKind, ParamRef, PolicySpec, ResourceRule,
    ValidationAction,
};
use super::library::format;
use super::selector::{LabelSelector, Operator, Requirement};
use crate::object::null;
use serde_json::Value;

/// Reasons that a validation may give to HTTP clients. The type's own documentation names `Unauthorized` too, which the
/// server refuses.
const REASONS: [&str; 3] = ["Forbidden", "Invalid", "RequestEntityTooLarge"];

/// The operations that a rule may name.
const OPERATIONS: [&str; 5] = ["CREATE", "UPDATE", "DELETE", "CONNECT", "*"];

/// The scopes that a rule may name.
const SCOPES: [&str; 3] = ["*", "Cluster", "Namespaced"];

const MAX_MATCH_CONDITIONS: usize = 64;
const MAX_AUDIT_ANNOTATIONS: usize = 20;
const MAX_VALUE_EXPRESSION: usize = 5 * 1024;

/// Words that are no CEL identifiers, though they look like some.
pub const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// What is wrong: the field below `spec`, and why.
#[derive(Debug, Default)]
pub(super) struct Faults(pub Vec<(String, String)>);

impl Faults {
    /// What is wrong with a policy of a name.
    pub(super) fn of_policy(name: &str, spec: &PolicySpec) -> Self {
        let mut faults = Self::default();
        if let Some(kind) = &spec.param_kind {
            faults.param_kind(kind);
        }
        match &spec.match_constraints {
            Some(constraints) if !constraints.resource_rules.is_empty() => {
                faults.match_resources("matchConstraints", constraints);
            }
            _ => faults.add("matchConstraints.resourceRules", "it is empty: it would judge nothing"),
        }
        faults.match_conditions(&spec.match_conditions);
        faults.variables(&spec.variables);
        if spec.validations.is_empty() && spec.audit_annotations.is_empty() {
            faults.add("", "there are neither validations nor auditAnnotations");
        }
        for (index, rule) in spec.validations.iter().enumerate() {
            let field = format!("validations[{index}]");
            if let Some(message) = &rule.message {
                faults.message(&format!("{field}.message"), message);
            }
            if let Some(reason) = rule.reason.as_deref().filter(|reason| !REASONS.contains(reason)) {
                faults.add(&format!("{field}.reason"), format!("{reason:?} is not one of {}", REASONS.join(", ")));
            }
        }
        faults.audit_annotations(name, &spec.audit_annotations);
        faults
    }

    /// What is wrong with a binding.
    pub(super) fn of_binding(spec: &BindingSpec) -> Self {
        let mut faults = Self::default();
        if let Some(reference) = &spec.param_ref {
            faults.param_ref(reference);
        }
        if let Some(resources) = &spec.match_resources {
            faults.match_resources("matchResources", resources);
        }
        let actions = &spec.validation_actions;
        if actions.is_empty() {
            faults.add("validationActions", "at least one of Deny, Warn, Audit is needed");
        }
        faults.doubled("validationActions", "", actions);
        if actions.contains(&ValidationAction::Deny) && actions.contains(&ValidationAction::Warn) {
            faults.add("validationActions", "Deny and Warn may not be used together: an API server refuses it");
        }
        faults
    }

    /// What is wrong with the `spec` of a binding as it is stored; nothing where it cannot be read.
    fn of_stored_binding(spec: &Value) -> Self {
        let mut spec = spec.clone();
        null::strip(&mut spec);
        serde_json::from_value(spec).map(|spec| Self::of_binding(&spec)).unwrap_or_default()
    }

    fn add(&mut self, field: &str, why: impl Into<String>) {
        self.0.push((field.to_owned(), why.into()));
    }

    /// What a format asks of a text, in Kubernetes' words.
    fn format(&mut self, field: &str, format: &str, text: &str) {
        let faults = format::faults(format, text);
        if !faults.is_empty() {
            self.add(field, format!("{text:?}: {}", faults.join(", ")));
        }
    }

    /// Items that were there before. `below` is what leads from an item to what it is called by.
    fn doubled<T: PartialEq>(&mut self, list: &str, below: &str, items: &[T]) {
        for (index, item) in items.iter().enumerate() {
            if items.iter().take(index).any(|other| other == item) {
                self.add(&format!("{list}[{index}]{below}"), "it is there twice");
            }
        }
    }

    fn message(&mut self, field: &str, message: &str) {
        if message.trim().is_empty() && !message.is_empty() {
            self.add(field, "it is blank; leave it out, or say something");
        } else if message.trim().contains(['\n', '\r']) {
            self.add(field, "it must not contain line breaks; `>-` folds a text of several lines into one");
        }
    }

    fn match_conditions(&mut self, conditions: &[NamedExpression]) {
        if conditions.len() > MAX_MATCH_CONDITIONS {
            self.add(
                "matchConditions",
                format!("there are {}, at most {MAX_MATCH_CONDITIONS} may be", conditions.len()),
            );
        }
        for (index, condition) in conditions.iter().enumerate() {
            self.name_of("matchConditions", index, condition, |faults, field, name| {
                faults.format(field, "qualifiedName", name);
            });
        }
        self.doubled_names("matchConditions", conditions);
    }

    fn variables(&mut self, variables: &[NamedExpression]) {
        for (index, variable) in variables.iter().enumerate() {
            self.name_of("variables", index, variable, |faults, field, name| {
                if !is_identifier(name) {
                    faults.add(field, format!("{name:?}: the name must be a CEL identifier"));
                }
            });
        }
        self.doubled_names("variables", variables);
    }

    fn name_of(&mut self, list: &str, index: usize, item: &NamedExpression, check: impl Fn(&mut Self, &str, &str)) {
        let field = format!("{list}[{index}].name");
        match item.name.trim() {
            "" => self.add(&field, "it is missing"),
            _ => check(self, &field, &item.name),
        }
    }

    fn doubled_names(&mut self, list: &str, items: &[NamedExpression]) {
        // Without names they are told as such, and not as having one name.
        let names: Vec<&str> = items.iter().map(|item| item.name.as_str()).collect();
        if !names.contains(&"") {
            self.doubled(list, ".name", &names);
        }
    }

    fn audit_annotations(&mut self, policy: &str, annotations: &[AuditAnnotation]) {
        if annotations.len() > MAX_AUDIT_ANNOTATIONS {
            let text = format!("there are {}, at most {MAX_AUDIT_ANNOTATIONS} may be", annotations.len());
            self.add("auditAnnotations", text);
        }
        for (index, annotation) in annotations.iter().enumerate() {
            let field = format!("auditAnnotations[{index}]");
            self.format(&format!("{field}.key"), "qualifiedName", &format!("{policy}/{}", annotation.key));
            if annotation.value_expression.trim().len() > MAX_VALUE_EXPRESSION {
                let text = format!("it must not exceed {MAX_VALUE_EXPRESSION} bytes in length");
                self.add(&format!("{field}.valueExpression"), text);
            }
        }
        let keys: Vec<&str> = annotations.iter().map(|annotation| annotation.key.as_str()).collect();
        self.doubled("auditAnnotations", ".key", &keys);
    }

    fn param_kind(&mut self, kind: &ParamKind) {
        let field = "paramKind.apiVersion";
        match kind.api_version.split('/').collect::<Vec<_>>().as_slice() {
            [""] => self.add(field, "it is missing"),
            [version] => self.format(field, "dns1035Label", version),
            [group, version] => {
                if !group.is_empty() {
                    self.format(field, "dns1123Subdomain", group);
                }
                self.format(field, "dns1035Label", version);
            }
            _ => self.add(field, format!("{:?} is not GROUP/VERSION", kind.api_version)),
        }
        if kind.kind.is_empty() {
            self.add("paramKind.kind", "it is missing");
        } else {
            self.format("paramKind.kind", "dns1035Label", &kind.kind.to_lowercase());
        }
    }

    fn param_ref(&mut self, reference: &ParamRef) {
        match (&reference.name, &reference.selector) {
            (Some(_), Some(_)) => self.add("paramRef", "name and selector exclude each other"),
            (None, None) => self.add("paramRef", "one of name and selector is needed"),
            (Some(name), None) => self.path_segment("paramRef.name", name),
            (None, Some(selector)) => self.selector("paramRef.selector", selector),
        }
    }

    fn path_segment(&mut self, field: &str, name: &str) {
        if name == "." || name == ".." || name.contains(['/', '%']) {
            self.add(field, format!("{name:?} must not be `.` or `..`, nor contain `/` or `%`"));
        }
    }

    fn match_resources(&mut self, field: &str, resources: &MatchResources) {
        for (name, selector) in
            [("namespaceSelector", &resources.namespace_selector), ("objectSelector", &resources.object_selector)]
        {
            if let Some(selector) = selector {
                self.selector(&format!("{field}.{name}"), selector);
            }
        }
        for (name, rules) in
            [("resourceRules", &resources.resource_rules), ("excludeResourceRules", &resources.exclude_resource_rules)]
        {
            for (index, rule) in rules.iter().enumerate() {
                self.rule(&format!("{field}.{name}[{index}]"), rule);
            }
        }
    }

    fn selector(&mut self, field: &str, selector: &LabelSelector) {
        for (key, value) in &selector.match_labels {
            let field = format!("{field}.matchLabels");
            self.format(&field, "qualifiedName", key);
            self.format(&field, "labelValue", value);
        }
        for (index, requirement) in selector.match_expressions.iter().enumerate() {
            self.requirement(&format!("{field}.matchExpressions[{index}]"), requirement);
        }
    }

    fn requirement(&mut self, field: &str, requirement: &Requirement) {
        let values = format!("{field}.values");
        match (requirement.operator, requirement.values.is_empty()) {
            (Operator::In | Operator::NotIn, true) => {
                self.add(&values, "it is empty: In and NotIn need at least one value");
            }
            (Operator::Exists | Operator::DoesNotExist, false) => {
                self.add(&values, "Exists and DoesNotExist take no values");
            }
            _ => {}
        }
        self.format(&format!("{field}.key"), "qualifiedName", &requirement.key);
        for (index, value) in requirement.values.iter().enumerate() {
            self.format(&format!("{values}[{index}]"), "labelValue", value);
        }
    }

    fn rule(&mut self, field: &str, rule: &ResourceRule) {
        for (index, name) in rule.resource_names.iter().enumerate() {
            self.path_segment(&format!("{field}.resourceNames[{index}]"), name);
        }
        self.doubled(&format!("{field}.resourceNames"), "", &rule.resource_names);
        for (name, list) in [
            ("apiGroups", &rule.api_groups),
            ("apiVersions", &rule.api_versions),
            ("resources", &rule.resources),
            ("operations", &rule.operations),
        ] {
            let field = format!("{field}.{name}");
            if list.is_empty() {
                self.add(&field, format!("a resource rule without {name} matches nothing"));
            }
            if name != "resources" && list.len() > 1 && list.iter().any(|item| item == "*") {
                self.add(&field, "`*` is all of them: nothing may stand beside it");
            }
            // The core group has an empty name.
            let empty = list.iter().position(String::is_empty).filter(|_| name != "apiGroups");
            if let Some(index) = empty.filter(|_| name != "operations") {
                self.add(&format!("{field}[{index}]"), "it is empty");
            }
        }
        for (index, operation) in rule.operations.iter().enumerate() {
            if !OPERATIONS.contains(&operation.as_str()) {
                let text = format!("unknown operation {operation:?}; use CREATE, UPDATE, DELETE, CONNECT or *");
                self.add(&format!("{field}.operations[{index}]"), text);
            }
        }
        self.resources(&format!("{field}.resources"), &rule.resources);
        if let Some(scope) = rule.scope.as_deref().filter(|scope| !SCOPES.contains(scope)) {
            self.add(&format!("{field}.scope"), format!("unknown scope {scope:?}; use Cluster, Namespaced or *"));
        }
    }

    /// `validateResources`: what one pattern says already may not be said by another. The order counts, as it does there.
    fn resources(&mut self, field: &str, resources: &[String]) {
        let (mut all_of, mut in_all): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
        // As the server has it: only the last one without a subresource counts.
        let mut plain = false;
        for (index, pattern) in resources.iter().enumerate().filter(|(_, pattern)| !pattern.is_empty()) {
            let Some((resource, subresource)) = pattern.split_once('/') else {
                plain = pattern != "*";
                continue;
            };
            let field = format!("{field}[{index}]");
            if all_of.contains(&resource) {
                self.add(&field, format!("`{resource}/*` is there already, which says the same as `{pattern}`"));
            }
            if in_all.contains(&subresource) {
                self.add(&field, format!("`*/{subresource}` is there already, which says the same as `{pattern}`"));
            }
            if subresource == "*" {
                all_of.push(resource);
            }
            if resource == "*" {
                in_all.push(subresource);
            }
        }
        if resources.len() > 1 && resources.iter().any(|pattern| pattern == "*/*") {
            self.add(field, "`*/*` is all of them: nothing may stand beside it");
        }
        if plain && resources.iter().any(|pattern| pattern == "*") {
            self.add(field, "`*` is every resource: only subresources may stand beside it");
        }
    }
}

/// What an API server refuses in the `spec` of a binding: the field below it, and why.
pub fn binding_faults(spec: &Value) -> Vec<(String, String)> {
    Faults::of_stored_binding(spec).0
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !RESERVED.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rule() -> Value {
        json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]})
    }

    /// A spec with one field changed, which a path of field names and indexes leads to.
    fn told(pointer: &str, value: &Value) -> Vec<String> {
        let expression = "object.data.a == ''";
        let mut spec = json!({
            "matchConstraints": {"resourceRules": [rule()]}, "validations": [{"expression": expression}],
            "matchConditions": [{"name": "a", "expression": expression}, {"name": "b", "expression": expression}],
            "variables": [{"name": "a", "expression": "1"}, {"name": "b", "expression": "1"}],
            "auditAnnotations": [{"key": "a", "valueExpression": "'x'"}, {"key": "b", "valueExpression": "'x'"}],
        });
        let (above, last) = pointer.rsplit_once('/').unwrap();
        match spec.pointer_mut(above).unwrap() {
            Value::Object(map) => drop(map.insert(last.to_owned(), value.clone())),
            list => list[last.parse::<usize>().unwrap()] = value.clone(),
        }
        let spec: PolicySpec = serde_json::from_value(spec).unwrap();
        Faults::of_policy("p", &spec).0.into_iter().map(|(field, why)| format!("{field}: {why}")).collect()
    }

    fn in_rule(name: &str, list: &Value) -> Vec<String> {
        told(&format!("/matchConstraints/resourceRules/0/{name}"), list)
    }

    fn selecting(value: &Value) -> Vec<String> {
        told("/matchConstraints/objectSelector", value)
    }

    fn requiring(operator: &str, values: &Value) -> Vec<String> {
        selecting(&json!({"matchExpressions": [{"key": "a", "operator": operator, "values": values}]}))
    }

    #[test]
    fn what_a_server_refuses_is_told_with_its_field() {
        for (field, told) in [
            ("validations[0].message", told("/validations/0/message", &json!("  "))),
            ("validations[0].message", told("/validations/0/message", &json!("a\nb"))),
            ("validations[0].reason", told("/validations/0/reason", &json!("Unauthorized"))),
            ("paramKind.kind", told("/paramKind", &json!({"apiVersion": "v1"}))),
            ("paramKind.kind", told("/paramKind", &json!({"apiVersion": "v1", "kind": "A_b"}))),
            ("paramKind.apiVersion", told("/paramKind", &json!({"kind": "A"}))),
            ("paramKind.apiVersion", told("/paramKind", &json!({"apiVersion": "ConfigMap", "kind": "A"}))),
            ("paramKind.apiVersion", told("/paramKind", &json!({"apiVersion": "a/b/c", "kind": "A"}))),
            ("matchConditions[0].name", told("/matchConditions/0/name", &json!(""))),
            ("matchConditions[0].name", told("/matchConditions/0/name", &json!("x y"))),
            ("matchConditions[1].name", told("/matchConditions/1/name", &json!("a"))),
            ("variables[1].name", told("/variables/1/name", &json!("a"))),
            ("variables[1].name", told("/variables/1/name", &json!("a-b"))),
            ("variables[1].name", told("/variables/1/name", &json!("in"))),
            ("auditAnnotations[0].key", told("/auditAnnotations/0/key", &json!("k k"))),
            ("auditAnnotations[0].key", told("/auditAnnotations/0/key", &json!("k".repeat(64)))),
            ("auditAnnotations[1].key", told("/auditAnnotations/1/key", &json!("a"))),
            (
                "auditAnnotations[0].valueExpression",
                told("/auditAnnotations/0/valueExpression", &json!("1+".repeat(2600))),
            ),
            ("matchConstraints.resourceRules", told("/matchConstraints/resourceRules", &json!([]))),
            ("matchConstraints.resourceRules[0].operations", in_rule("operations", &json!(["*", "CREATE"]))),
            ("matchConstraints.resourceRules[0].operations[0]", in_rule("operations", &json!(["CRAETE"]))),
            ("matchConstraints.resourceRules[0].resources", in_rule("resources", &json!([]))),
            ("matchConstraints.resourceRules[0].resources", in_rule("resources", &json!(["*", "pods"]))),
            ("matchConstraints.resourceRules[0].resources", in_rule("resources", &json!(["configmaps", "*/*"]))),
            ("matchConstraints.resourceRules[0].resources[1]", in_rule("resources", &json!(["pods/*", "pods/log"]))),
            ("matchConstraints.resourceRules[0].resources[0]", in_rule("resources", &json!([""]))),
            ("matchConstraints.resourceRules[0].apiGroups", in_rule("apiGroups", &json!(["*", ""]))),
            ("matchConstraints.resourceRules[0].apiVersions", in_rule("apiVersions", &json!(["*", "v1"]))),
            ("matchConstraints.resourceRules[0].scope", in_rule("scope", &json!("namespaced"))),
            ("matchConstraints.resourceRules[0].resourceNames[1]", in_rule("resourceNames", &json!(["a", "a"]))),
            ("matchConstraints.resourceRules[0].resourceNames[0]", in_rule("resourceNames", &json!(["a/b"]))),
            ("matchConstraints.objectSelector.matchExpressions[0].values", requiring("In", &json!([]))),
            ("matchConstraints.objectSelector.matchExpressions[0].values", requiring("NotIn", &json!([]))),
            ("matchConstraints.objectSelector.matchExpressions[0].values", requiring("Exists", &json!(["b"]))),
            ("matchConstraints.objectSelector.matchExpressions[0].values[1]", requiring("In", &json!(["b", "b c"]))),
            ("matchConstraints.objectSelector.matchLabels", selecting(&json!({"matchLabels": {"a b": "c"}}))),
            ("matchConstraints.objectSelector.matchLabels", selecting(&json!({"matchLabels": {"a": "b c"}}))),
        ] {
            assert!(told.len() == 1 && told[0].starts_with(&format!("{field}: ")), "{field}: {told:?}");
        }
        let many = |n: usize| (0..n).map(|i| json!({"name": format!("c{i}"), "expression": "true"})).collect::<Value>();
        assert!(told("/matchConditions", &many(64)).is_empty());
        assert_eq!(told("/matchConditions", &many(65)), ["matchConditions: there are 65, at most 64 may be"]);
        let notes = (0..21).map(|i| json!({"key": format!("k{i}"), "valueExpression": "'x'"})).collect::<Value>();
        assert_eq!(told("/auditAnnotations", &notes), ["auditAnnotations: there are 21, at most 20 may be"]);
    }

    #[test]
    fn what_a_server_takes_is_taken() {
        for told in [
            told("/validations/0/message", &json!("one line\n")),
            told("/validations/0/message", &json!("")),
            told("/validations/0/reason", &json!("Invalid")),
            told("/paramKind", &json!({"apiVersion": "rules.example.com/v1", "kind": "ReplicaLimit"})),
            told("/matchConditions/0/name", &json!("example.com/a.b_C")),
            told("/auditAnnotations/0/key", &json!("k".repeat(63))),
            in_rule("resources", &json!(["*", "pods/status", "*/scale"])),
            in_rule("resources", &json!(["pods", "*"])),
            in_rule("apiGroups", &json!(["", "apps"])),
            requiring("Exists", &json!([])),
            selecting(&json!({"matchLabels": {"example.com/a": ""}})),
        ] {
            // `pods` before `*` is refused by name, and not if `*` comes last: so the server has it.
            assert!(told.is_empty(), "{told:?}");
        }
    }
}
