//! What is applied for a desired object, and the digests by which an unchanged one is recognised without asking.
//!
//! In: a desired object and its live one. Out: the object as it is sent (our label added; what is the cluster's to set
//! taken out) and, where a field that we own is taken out, the apply by which `driftless-handover` keeps its live value:
//! dropping an owned field from an apply deletes it (rule 9).
//!
//! Invariant: the same Git content and the same set of left-alone fields give the same body, byte for byte.

use super::ignore::{Left, left_alone, take_out};
use super::input::{IgnoreRule, LAST_APPLIED, MANAGER, PART_OF, is_secret};
use super::owned::{extract, fields_where, handed_over, inside_atomic, ours, select};
use crate::object::{Desired, Digest, FieldSet, Live, Manifest, ObjectKey, null};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// What is applied for one object.
#[derive(Clone, PartialEq)]
pub struct Body {
    /// The object as it is to stay, without `metadata.uid`.
    pub value: Value,
    /// What a create sends first, where Git has a value for a field that is left alone afterwards.
    pub initial: Option<Value>,
    /// The fields that were left out.
    pub left: Vec<Left>,
    /// The object before anything was left out.
    whole: Value,
}

/// Metadata that the server sets. It comes to Git by exports (`kubectl get -o yaml`) and must not be applied:
/// `managedFields` is refused, a stale `resourceVersion` or `uid` is a conflict for ever.
const SERVER_METADATA: [&str; 8] = [
    "creationTimestamp",
    "resourceVersion",
    "uid",
    "generation",
    "managedFields",
    "selfLink",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

/// Builds what is applied. `live` comes with the fields that we own, or are about to take over.
pub fn build(
    desired: &Desired,
    key: &ObjectKey,
    live: Option<(&Live, &FieldSet)>,
    autoscaled: bool,
    rules: &[IgnoreRule],
    applyset_id: &str,
) -> Body {
    let whole = canonical(desired, key, applyset_id);
    let left = left_alone(&whole, key, autoscaled, rules);
    let mut value = whole.clone();
    // From the back, so that positions in lists stay true.
    let mut order: Vec<&Left> = left.iter().collect();
    order.sort_by(|a, b| b.tokens.cmp(&a.tokens));
    for field in &order {
        let atomic = live.filter(|(live, owned)| inside_atomic(owned, &[&whole, live.value()], &field.tokens));
        match atomic {
            // Part of a value that can only be owned as one: Git's whole with the live part in it.
            Some((live, _)) => substitute(&mut value, live.value(), &field.tokens),
            None => drop(take_out(&mut value, &field.tokens)),
        }
    }
    let mut initial = whole.clone();
    for field in order.iter().filter(|field| !field.initial) {
        take_out(&mut initial, &field.tokens);
    }
    let initial = (initial != value).then_some(initial);
    Body { value, initial, left, whole }
}

/// What is created for a hook: Git's object with our label. The executor adds for which sync it runs.
pub fn hook(desired: &Desired, applyset_id: &str) -> Value {
    canonical(desired, &desired.key(), applyset_id)
}

/// Git's object without what only the server sets, with our label.
fn canonical(desired: &Desired, key: &ObjectKey, applyset_id: &str) -> Value {
    let mut value = desired.object.clone();
    if null::is_built_in(&key.group) {
        null::strip(&mut value);
        if let Some(map) = value.as_object_mut() {
            map.shift_remove("status");
        }
    }
    if is_secret(key) {
        merge_string_data(&mut value);
    }
    let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) else { return value };
    for field in SERVER_METADATA {
        metadata.shift_remove(field);
    }
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.shift_remove(LAST_APPLIED);
    }
    let labels = metadata.entry("labels").or_insert_with(|| Value::Object(Map::new()));
    if labels.is_null() {
        *labels = Value::Object(Map::new());
    }
    if let Some(labels) = labels.as_object_mut() {
        labels.insert(PART_OF.to_owned(), Value::String(applyset_id.to_owned()));
    }
    value
}

/// `stringData` is write-only: the server moves it into `data` after the apply, so that a key removed from it would stay
/// live for ever. Moved here, it is owned where it lives.
fn merge_string_data(secret: &mut Value) {
    let Some(map) = secret.as_object_mut() else { return };
    let Some(Value::Object(text)) = map.shift_remove("stringData") else { return };
    let data = map.entry("data").or_insert_with(|| Value::Object(Map::new()));
    if !data.is_object() {
        *data = Value::Object(Map::new());
    }
    let Some(data) = data.as_object_mut() else { return };
    for (name, value) in text {
        let encoded = match value {
            Value::String(text) => Value::String(STANDARD.encode(text)),
            // Not a string: the server's to refuse.
            other => other,
        };
        data.insert(name, encoded);
    }
}

fn substitute(value: &mut Value, live: &Value, tokens: &[String]) {
    let pointer: String = tokens.iter().map(|t| format!("/{}", t.replace('~', "~0").replace('/', "~1"))).collect();
    match (live.pointer(&pointer), value.pointer_mut(&pointer)) {
        (Some(theirs), Some(slot)) => *slot = theirs.clone(),
        (None, Some(_)) => drop(take_out(value, tokens)),
        (Some(theirs), None) => {
            let (parent, last) = pointer.rsplit_once('/').unwrap_or(("", ""));
            let name = last.replace("~1", "/").replace("~0", "~");
            if let Some(map) = value.pointer_mut(parent).and_then(Value::as_object_mut) {
                map.insert(name, theirs.clone());
            }
        }
        (None, None) => {}
    }
}

impl Body {
    /// The body for an object that exists: with the observed uid, so that one recreated by someone else is a 409.
    pub fn observed(&self, live: &Live) -> Value {
        with_uid(&self.value, live)
    }

    /// The apply by which `driftless-handover` keeps the live values of fields that we own (or are about to take over by
    /// migration from `managers`) and no longer apply. `None` if there is nothing to keep.
    pub fn handover(&self, live: &Live, managers: &[String]) -> Option<Value> {
        let before = ours(live.value()).union(&super::adopt::migrating(live, managers));
        let kept_by_others = fields_where(live.value(), |manager, operation, main| {
            let taken = main && managers.iter().any(|name| name == manager);
            !(taken || main && manager == MANAGER && operation == "Apply")
        });
        let shapes = [&self.whole, live.value()];
        let dropped = self
            .left
            .iter()
            .filter(|field| !inside_atomic(&before, &shapes, &field.tokens))
            .map(|field| select(&before, &shapes, &field.tokens))
            .fold(FieldSet::default(), |set, part| set.union(&part));
        let needed = dropped.difference(&kept_by_others);
        if needed.is_empty() {
            return None;
        }
        self.handover_of(&needed.union(&handed_over(live.value())), live)
    }

    /// The handover after a create, from what the create sent.
    pub fn first_handover(&self) -> Option<Value> {
        let initial = self.initial.as_ref()?;
        let mut rest = initial.clone();
        let mut out = head(initial);
        for field in self.left.iter().filter(|field| field.initial) {
            if let Some(taken) = take_out(&mut rest, &field.tokens) {
                put(&mut out, initial, &field.tokens, taken);
            }
        }
        Some(out)
    }

    fn handover_of(&self, set: &FieldSet, live: &Live) -> Option<Value> {
        let Some(Value::Object(fields)) = extract(set, live.value()) else { return None };
        let mut out = with_uid(&head(&self.value), live);
        for (name, value) in fields {
            match (out.get_mut(&name).and_then(Value::as_object_mut), value) {
                (Some(slot), Value::Object(more)) => slot.extend(more),
                (_, value) => out[name] = value,
            }
        }
        Some(out)
    }
}

/// Puts a value where `shape` has it. Elements of lists on the way are reduced to what names them.
fn put(out: &mut Value, shape: &Value, tokens: &[String], value: Value) {
    let Some((token, rest)) = tokens.split_first() else {
        *out = value;
        return;
    };
    if let (Some(items), Ok(position)) = (shape.as_array(), token.parse::<usize>()) {
        let Some(item) = items.get(position) else { return };
        if !out.is_array() {
            *out = json!([]);
        }
        let mut named = match super::diff::list_key(items, items) {
            Some(names) => names.iter().filter_map(|n| Some(((*n).to_owned(), item.get(n)?.clone()))).collect(),
            None => Map::new(),
        }
        .into();
        put(&mut named, item, rest, value);
        if let Some(list) = out.as_array_mut() {
            list.push(named);
        }
        return;
    }
    let Some(next) = shape.get(token) else { return };
    if !out.is_object() {
        *out = json!({});
    }
    if let Some(map) = out.as_object_mut() {
        put(map.entry(token.clone()).or_insert(Value::Null), next, rest, value);
    }
}

/// `apiVersion`, `kind`, name and namespace of an object.
pub fn head(value: &Value) -> Value {
    let mut metadata = Map::new();
    for name in ["name", "namespace"] {
        if let Some(text) = value.get("metadata").and_then(|m| m.get(name)) {
            metadata.insert(name.to_owned(), text.clone());
        }
    }
    let text = |name: &str| value.get(name).cloned().unwrap_or_default();
    json!({"apiVersion": text("apiVersion"), "kind": text("kind"), "metadata": metadata})
}

/// The same with the uid of the live object.
pub fn with_uid(value: &Value, live: &Live) -> Value {
    let mut out = value.clone();
    if let (Some(metadata), Some(uid)) = (out.get_mut("metadata").and_then(Value::as_object_mut), live.uid()) {
        metadata.insert("uid".to_owned(), Value::String(uid.to_owned()));
    }
    out
}

/// The step's body in which our part of the pod template is still what it is live: a first write that only scales.
pub fn scale_part(body: &Value, live: &Live, managers: &[String]) -> Value {
    let owned = ours(live.value()).union(&super::adopt::migrating(live, managers));
    let template = ["spec".to_owned(), "template".to_owned()];
    let current = extract(&select(&owned, &[live.value()], &template), live.value());
    let current = current.as_ref().and_then(|value| value.pointer("/spec/template")).cloned();
    let mut out = body.clone();
    if let Some(spec) = out.get_mut("spec").and_then(Value::as_object_mut) {
        match current {
            Some(template) => spec.insert("template".to_owned(), template),
            None => spec.shift_remove("template"),
        };
    }
    out
}

/// Digest of what is applied (without `metadata.uid`). Keyed for a Secret.
pub fn desired_digest(body: &Value, key: &ObjectKey, secret_key: &[u8]) -> Digest {
    let mut body = body.clone();
    if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("uid");
    }
    digest(&body, key, secret_key)
}

/// Digest of our owned fields at their live values. Keyed for a Secret.
pub fn owned_digest(live: &Live, key: &ObjectKey, secret_key: &[u8]) -> Digest {
    digest(&ours(live.value()).project(live.value()), key, secret_key)
}

fn digest(value: &Value, key: &ObjectKey, secret_key: &[u8]) -> Digest {
    let digest = if is_secret(key) { Digest::of_value_keyed(value, secret_key) } else { Digest::of_value(value) };
    // 128 bits tell the objects of one app apart; an inventory of thousands has to fit into one ConfigMap.
    digest.shortened(32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{Gk, Source};

    fn desired(object: Value) -> Desired {
        Desired { object, source: Source { file: "a.yaml".into(), line: 1 } }
    }

    fn deployment(spec: &Value) -> Desired {
        desired(json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop", "resourceVersion": "1", "creationTimestamp": null},
            "spec": spec, "status": {"x": 1}}))
    }

    fn live(fields: &Value, more: &[Value]) -> Live {
        let mut entries =
            vec![json!({"manager": "driftless", "operation": "Apply", "apiVersion": "apps/v1", "fieldsV1": fields})];
        entries.extend_from_slice(more);
        Live(json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop", "uid": "u1", "managedFields": entries},
            "spec": {"replicas": 7, "paused": false}}))
    }

    fn of(desired: &Desired, live: Option<&Live>, autoscaled: bool) -> Body {
        let owned = live.map(|live| ours(live.value())).unwrap_or_default();
        build(desired, &desired.key(), live.map(|live| (live, &owned)), autoscaled, &[], "id")
    }

    #[test]
    fn exported_noise_is_not_applied() {
        let body = of(&deployment(&json!({"replicas": 2, "selector": null})), None, false);
        assert_eq!(
            body.value,
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop",
                "labels": {PART_OF: "id"}}, "spec": {"replicas": 2}})
        );
        assert!(body.initial.is_none());
    }

    #[test]
    fn string_data_is_owned_where_it_lives() {
        let secret = desired(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "a"},
            "data": {"a": "b2xk", "b": "Yg=="}, "stringData": {"a": "new"}}));
        let body = of(&secret, None, false);
        assert_eq!(body.value["data"], json!({"a": "bmV3", "b": "Yg=="}));
        assert!(body.value.get("stringData").is_none());
    }

    #[test]
    fn replicas_under_an_autoscaler_are_handed_over_once() {
        let git = deployment(&json!({"replicas": 2, "paused": false}));
        let owned = json!({"f:spec": {"f:replicas": {}, "f:paused": {}}});
        let body = of(&git, Some(&live(&owned, &[])), true);
        assert_eq!(body.value["spec"], json!({"paused": false}));
        assert_eq!(body.initial.as_ref().unwrap()["spec"]["replicas"], json!(2));
        assert_eq!(
            body.handover(&live(&owned, &[]), &[]),
            Some(json!({"apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "web", "namespace": "shop", "uid": "u1"}, "spec": {"replicas": 7}})),
            "the live number stays"
        );
        let scaled = json!({"manager": "kube-controller-manager", "operation": "Update", "subresource": "scale",
            "fieldsV1": {"f:spec": {"f:replicas": {}}}});
        assert_eq!(body.handover(&live(&owned, &[scaled]), &[]), None, "the autoscaler holds it already");
        assert_eq!(body.handover(&live(&json!({"f:spec": {"f:paused": {}}}), &[]), &[]), None);
    }

    #[test]
    fn git_without_a_number_hands_over_too() {
        let body = of(&deployment(&json!({"paused": false})), None, true);
        let owned = json!({"f:spec": {"f:replicas": {}}});
        assert_eq!(body.handover(&live(&owned, &[]), &[]).unwrap()["spec"]["replicas"], json!(7));
        assert!(body.initial.is_none());
    }

    #[test]
    fn ignored_fields_in_lists_are_created_and_then_left() {
        let git = deployment(&json!({"template": {"spec": {"containers": [{"name": "a", "image": "a:1"}]}}}));
        let rule = IgnoreRule { pointers: vec!["/spec/template/spec/containers/0/image".into()], ..Default::default() };
        let body = build(&git, &git.key(), None, false, &[rule], "id");
        assert_eq!(body.value["spec"]["template"]["spec"]["containers"], json!([{"name": "a"}]));
        let first = body.first_handover().unwrap();
        assert_eq!(first["spec"]["template"]["spec"]["containers"], json!([{"name": "a", "image": "a:1"}]));
        assert_eq!(first["metadata"], json!({"name": "web", "namespace": "shop"}));
    }

    #[test]
    fn a_part_of_an_atomic_value_keeps_its_live_text() {
        let git = desired(
            json!({"apiVersion": "x.io/v1", "kind": "X", "metadata": {"name": "x"}, "spec": {"list": [{"v": 1}, {"v": 2}]}}),
        );
        let live =
            Live(json!({"metadata": {"name": "x", "managedFields": [{"manager": "driftless", "operation": "Apply",
            "fieldsV1": {"f:spec": {"f:list": {}}}}]}, "spec": {"list": [{"v": 1}, {"v": 9}]}}));
        let rule = IgnoreRule { pointers: vec!["/spec/list/1/v".into()], ..Default::default() };
        let body = build(&git, &git.key(), Some((&live, &ours(live.value()))), false, &[rule], "id");
        assert_eq!(body.value["spec"]["list"], json!([{"v": 1}, {"v": 9}]));
    }

    #[test]
    fn digests_of_secrets_are_keyed() {
        let key = ObjectKey::new(&Gk::new("", "Secret"), Some("a"), "s");
        let map = ObjectKey::new(&Gk::new("", "ConfigMap"), Some("a"), "s");
        let body = json!({"metadata": {"uid": "1"}, "data": {"a": "b"}});
        let other = json!({"metadata": {"uid": "2"}, "data": {"a": "b"}});
        assert_ne!(desired_digest(&body, &key, b"1"), desired_digest(&body, &key, b"2"));
        assert_eq!(desired_digest(&body, &map, b"1"), desired_digest(&other, &map, b"2"));
    }

    #[test]
    fn the_scale_part_keeps_the_live_template() {
        let owned = json!({"f:spec": {"f:replicas": {}, "f:template": {"f:image": {}}}});
        let mut current = live(&owned, &[]);
        current.0["spec"]["template"] = json!({"image": "a:1", "defaulted": true});
        let body = json!({"spec": {"replicas": 5, "template": {"image": "a:2"}}});
        assert_eq!(scale_part(&body, &current, &[]), json!({"spec": {"replicas": 5, "template": {"image": "a:1"}}}));
    }
}
