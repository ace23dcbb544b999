//! driftless's policy evaluator, the embedded cluster and a real API server, asked the same: `policy_agreement*.yaml` is
//! the table.
//!
//! In: policies with bindings and parameters, and objects. Each policy is installed, bound to a namespace and to the
//! objects that carry its name, and each object is created, replaced or deleted as a dry-run. Out: verdict, message and
//! warnings have to be those of [`judge_writes`], and those that the table says. The words of run-time errors are not compared, except for the
//! key that is missing: the server quotes values there, driftless does not.

use super::cluster::Cluster;
use crate::support::control_plane;
use driftless::object::{Desired, Live, Manifest, Source};
use driftless::plan::Write;
use driftless::plan::change::PolicyFinding;
use driftless::policy::{Facts, PolicySet, evaluate, judge_writes};
use serde::Deserialize;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::Path;

const API: &str = "admissionregistration.k8s.io/v1";
/// How driftless begins what could not be evaluated.
const UNCLEAR: &str = "the policy could not be evaluated: ";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Row {
    name: String,
    spec: Value,
    #[serde(default)]
    binding: Value,
    #[serde(default)]
    params: Vec<Value>,
    #[serde(default)]
    cases: Vec<Case>,
    refused: Option<String>,
    refused_here: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Case {
    #[serde(default)]
    data: Value,
    object: Option<Value>,
    /// Data of the object that is there already.
    old: Option<Value>,
    old_object: Option<Value>,
    #[serde(default)]
    delete: bool,
    says: String,
}

/// What was said of an object.
#[derive(Debug, Default, PartialEq)]
struct Said {
    denied: Option<String>,
    warned: Vec<String>,
}

impl Said {
    /// As the table writes it.
    fn fits(&self, says: &str) -> bool {
        let (kind, part) = says.split_once(':').map_or((says, ""), |(kind, part)| (kind, part.trim_start()));
        let starts = |text: &String| text.trim_start().starts_with(part);
        match kind {
            "allowed" => *self == Self::default(),
            "denied" => self.denied.as_ref().is_some_and(|text| starts(text) && !text.starts_with("error: ")),
            "error" => self.denied.as_ref().is_some_and(|text| text.starts_with("error: ") && text.contains(part)),
            "warned" => self.denied.is_none() && self.warned.iter().any(starts),
            "warned-error" => {
                self.denied.is_none() && self.warned.iter().any(|t| t.starts_with("error: ") && t.contains(part))
            }
            other => panic!("{other} is no verdict of the table"),
        }
    }
}

/// A message without what the two word differently: of a run-time error only the missing key is left.
fn plain(message: &str) -> String {
    let failed = message.contains("resulted in error: ") || message.starts_with(UNCLEAR);
    let failed = failed || message.starts_with("the audit annotation ");
    let message = message.strip_prefix(UNCLEAR).unwrap_or(message);
    // Where the policy is, driftless says besides.
    let message = message.split("; see table.yaml:").next().unwrap_or_default();
    if !failed || message.starts_with("failed to configure") {
        return message.trim().to_owned();
    }
    let key = message.find("no such key: ").and_then(|at| message.get(at..)).unwrap_or_default();
    format!("error: {}", key.split(';').next().unwrap_or_default())
}

fn ours(findings: &[PolicyFinding]) -> Said {
    let of = |action: &str| -> Vec<String> {
        findings.iter().filter(|f| f.action == action).map(|f| plain(&f.message)).collect()
    };
    Said { denied: of("deny").into_iter().next(), warned: of("warn") }
}

fn theirs(stderr: &str) -> Said {
    let after = |line: &str, mark: &str| line.find(mark).and_then(|at| line.get(at + mark.len()..)).map(plain);
    let warning = |line: &str| {
        let text = line.strip_prefix("Warning: Validation failed for ValidatingAdmissionPolicy ")?;
        after(text, "': ").map(|text| text.trim().to_owned())
    };
    let mut warned: Vec<String> = stderr.lines().filter_map(warning).collect();
    // One broken variable fails every validation that reads it: driftless tells it once.
    warned.dedup();
    Said { denied: after(stderr.trim_end(), " denied request: "), warned }
}

fn desired(object: Value) -> Desired {
    Desired { object, source: Source { file: "table.yaml".into(), line: 1 } }
}

fn list(items: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

impl Row {
    /// Parameters, policy and binding, in the order in which they are created.
    fn documents(&self, namespace: &str) -> Vec<Value> {
        let mut spec = json!({"matchConstraints": {"resourceRules": [
            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE", "DELETE"], "resources": ["configmaps"]},
            {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE", "DELETE"], "resources": ["deployments"]}]}});
        spec.as_object_mut().unwrap().extend(self.spec.as_object().unwrap().clone());
        let name = format!("{namespace}-{}", self.name);
        let mut binding = json!({"policyName": name, "validationActions": ["Deny"], "matchResources": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "objectSelector": {"matchLabels": {"row": self.name}}}});
        binding.as_object_mut().unwrap().extend(self.binding.as_object().cloned().unwrap_or_default());
        let document = |kind: &str, spec: Value| json!({"apiVersion": API, "kind": kind, "metadata": {"name": name}, "spec": spec});
        let mut all = self.params.clone();
        all.push(document("ValidatingAdmissionPolicy", spec));
        all.push(document("ValidatingAdmissionPolicyBinding", binding));
        all
    }

    fn object(&self, case: &Case, namespace: &str) -> Value {
        self.whole(case, case.object.as_ref(), &case.data, namespace)
    }

    /// The object that is there before.
    fn old(&self, case: &Case, namespace: &str) -> Option<Value> {
        let data = case.old.clone().unwrap_or_default();
        let given = case.old.is_some() || case.old_object.is_some();
        given.then(|| self.whole(case, case.old_object.as_ref(), &data, namespace))
    }

    fn whole(&self, case: &Case, object: Option<&Value>, data: &Value, namespace: &str) -> Value {
        // What exists has a name of its own.
        let number = self.cases.iter().position(|other| std::ptr::eq(other, case)).filter(|_| case.old.is_some());
        let name = number.map_or_else(|| "c".to_owned(), |number| format!("{}-{number}", self.name));
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
        let mut object = object.cloned().unwrap_or(map);
        let (kind, cluster_wide) = (object["kind"].clone(), ["Namespace", "ValidatingAdmissionPolicyBinding"]);
        if !cluster_wide.iter().any(|known| kind == *known) {
            object["metadata"]["namespace"] = json!(namespace);
        }
        object["metadata"]["labels"] = json!({"row": self.name});
        object
    }
}

fn load(documents: Vec<Value>) -> Result<PolicySet, String> {
    let documents: Vec<Desired> = documents.into_iter().map(desired).collect();
    PolicySet::load(&documents).map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

fn rows(namespace: &str) -> Vec<Row> {
    let read = |text: &str| -> Vec<Row> { serde_saphyr::from_str(&text.replace("NAMESPACE", namespace)).unwrap() };
    let mut all = read(include_str!("policy_agreement.yaml"));
    all.extend(read(include_str!("policy_agreement_bindings.yaml")));
    all.extend(read(include_str!("policy_agreement_operations.yaml")));
    all.extend(read(include_str!("policy_agreement_matching.yaml")));
    all.extend(read(include_str!("policy_agreement_refusals.yaml")));
    all
}

/// What the API server says of creating an object.
fn create(cluster: &Cluster, object: &Value) -> String {
    dry_run(cluster, &["create", "--validate=false", "--field-manager=driftless"], object)
}

fn dry_run(cluster: &Cluster, verb: &[&str], object: &Value) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), object.to_string()).unwrap();
    let output = cluster.command().args(verb).args(["--dry-run=server", "-f"]).arg(file.path()).output();
    String::from_utf8_lossy(&output.unwrap().stderr).into_owned()
}

/// What both sides say of a case.
fn asked(
    cluster: &Cluster,
    set: &PolicySet,
    row: &Row,
    case: &Case,
    (namespace, facts): (&str, &Facts),
) -> (Vec<PolicyFinding>, String) {
    let Some(old) = row.old(case, namespace) else {
        let object = row.object(case, namespace);
        return (evaluate(set, &[desired(object.clone())], facts), create(cluster, &object));
    };
    let (kind, name) = (old["kind"].as_str().unwrap(), old["metadata"]["name"].as_str().unwrap());
    let live = Live(cluster.object(namespace, &format!("{kind}/{name}")));
    if case.delete {
        let write = Write::delete(live.object_ref(), None, &live);
        let stderr = dry_run(cluster, &["delete"], &old);
        return (judge_writes(set, &[write], facts), stderr);
    }
    let new = desired(row.object(case, namespace));
    let stderr = dry_run(cluster, &["replace", "--validate=false", "--field-manager=driftless"], &new.object);
    (judge_writes(set, &[Write::update(&new, Cow::Borrowed(&new.object), &live)], facts), stderr)
}

/// The kinds of parameters that are custom resources, served.
fn define(cluster: &Cluster) {
    let crd = |plural: &str, kind: &str, scope: &str| {
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.agreement.example")},
            "spec": {"group": "agreement.example", "scope": scope, "names": {"plural": plural, "kind": kind},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object",
                    "properties": {"spec": {"type": "object", "properties": {"max": {"type": "integer"}}}}}}}]}})
    };
    install(cluster, &[crd("limits", "Limit", "Namespaced"), crd("clusterlimits", "ClusterLimit", "Cluster")]).unwrap();
    for plural in ["limits", "clusterlimits"] {
        cluster.kubectl(&format!("wait --for=condition=Established --timeout=60s crd/{plural}.agreement.example"));
        cluster.eventually("the kind", || cluster.succeeds(&format!("get {plural}.agreement.example")));
    }
}

/// Installs documents that the API server has to take, or tells why it does not.
fn install(cluster: &Cluster, documents: &[Value]) -> Result<(), String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), list(documents)).unwrap();
    let output = cluster.command().args(["create", "-f"]).arg(file.path()).output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// A row, installed: driftless's set of it. `Err` where either side takes what it should not, or refuses what it should take.
fn taken(cluster: &Cluster, row: &Row, namespace: &str) -> Result<Option<PolicySet>, String> {
    let documents = row.documents(namespace);
    let set = load(documents.clone());
    let server = if row.refused_here.is_some() { Ok(()) } else { install(cluster, &documents) };
    match (&row.refused, &row.refused_here, set, server) {
        (None, None, Ok(set), Ok(())) => Ok(Some(set)),
        (Some(part), None, Err(why), Err(_)) if why.contains(part) => Ok(None),
        (None, Some(part), Err(why), _) if why.contains(part) => Ok(None),
        (.., set, server) => Err(format!("{}: ours {:?}, theirs {server:?}", row.name, set.err())),
    }
}

/// A last policy that refuses everything of its name: when it is in effect, so are those before it.
fn wait_until_in_effect(cluster: &Cluster, namespace: &str) {
    let row = Row {
        name: "sentinel".into(),
        spec: json!({"validations": [{"expression": "false", "message": "in effect"}]}),
        binding: Value::Null,
        params: Vec::new(),
        cases: vec![Case {
            data: Value::Null,
            object: None,
            old: None,
            old_object: None,
            delete: false,
            says: String::new(),
        }],
        refused: None,
        refused_here: None,
    };
    install(cluster, &row.documents(namespace)).unwrap();
    let object = row.object(&row.cases[0], namespace);
    cluster.eventually("the policies to be in effect", || create(cluster, &object).contains("in effect"));
}

/// Puts the whole table to a cluster. `unjudged` says why a cluster may refuse a policy that the table has taken.
fn agrees(cluster: &Cluster, unjudged: Option<&str>) {
    let namespace = cluster.namespace("agreement");
    cluster.kubectl(&format!("label namespace {namespace} environment=production"));
    let labels = [("environment".to_owned(), "production".to_owned())].into();
    let facts = Facts { namespaces: [(namespace.clone(), labels)].into(), ..Facts::default() };
    define(cluster);
    let (mut wrong, mut pairs, mut sets) = (String::new(), 0, Vec::new());
    let rows = rows(&namespace);
    // Before a policy could refuse them.
    let existing: Vec<Value> =
        rows.iter().flat_map(|row| row.cases.iter().filter_map(|case| row.old(case, &namespace))).collect();
    install(cluster, &existing).unwrap();
    for row in rows {
        // Nobody there reads an audit log.
        if unjudged.is_some() && !row.spec["auditAnnotations"].is_null() {
            continue;
        }
        match taken(cluster, &row, &namespace) {
            Ok(set) => sets.push((row, set)),
            Err(why) if unjudged.is_some_and(|part| why.contains(part)) => {}
            Err(why) => writeln!(wrong, "{why}").unwrap(),
        }
    }
    wait_until_in_effect(cluster, &namespace);
    for (row, set) in &sets {
        pairs += usize::from(set.is_none());
        for case in &row.cases {
            let (found, stderr) = asked(cluster, set.as_ref().unwrap(), row, case, (&namespace, &facts));
            let (ours, theirs) = (ours(&found), theirs(&stderr));
            pairs += 1;
            if ours != theirs || !theirs.fits(&case.says) {
                let (name, says, data) = (&row.name, &case.says, &case.data);
                writeln!(
                    wrong,
                    "{name} {data}\n  table  {says}\n  ours   {ours:?}\n  theirs {theirs:?}\n  {found:?}\n  {stderr}"
                )
                .unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "of {pairs} pairs:\n{wrong}");
    assert!(pairs >= 230, "{pairs}");
}

#[test]
fn the_evaluator_agrees_with_the_api_server() {
    let Some(cluster) = Cluster::real() else { return control_plane::skip() };
    agrees(cluster, None);
}

#[test]
fn the_evaluator_agrees_with_the_embedded_cluster() {
    let Some(cluster) = Cluster::embedded() else { return control_plane::skip() };
    agrees(cluster, Some("the embedded cluster cannot enforce it"));
}

/// Every case of every shipped policy, as far as the server gets to ask policies: many are not complete objects.
#[test]
fn the_shipped_policies_judge_as_the_api_server_does() {
    let Some(cluster) = Cluster::real() else { return control_plane::skip() };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let read = |path: &Path| -> Vec<Value> {
        let text = std::fs::read_to_string(path).unwrap();
        text.split("\n---\n").map(|part| serde_saphyr::from_str(part).unwrap()).collect()
    };
    let files = |folder: &Path| -> Vec<_> {
        let mut all: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        all.sort();
        all
    };
    let (mut cases, mut namespaces) = (Vec::new(), std::collections::BTreeSet::new());
    for policy in files(&folder).into_iter().filter(|path| path.is_dir()) {
        let name = policy.file_name().unwrap().to_str().unwrap().to_owned();
        let documents = read(&policy.join("policy.yaml"));
        let set = load(documents.clone()).unwrap();
        // As it is shipped, except that it concerns the objects of its cases only.
        let mut narrowed = documents;
        for document in narrowed.iter_mut().filter(|document| document["kind"] == "ValidatingAdmissionPolicyBinding") {
            document["spec"]["matchResources"] = json!({"objectSelector": {"matchLabels": {"shipped": name}}});
        }
        install(cluster, &narrowed).unwrap_or_else(|why| panic!("{name}: {why}"));
        for file in files(&policy.join("testdata")).into_iter().filter(|path| path.extension().unwrap() == "yaml") {
            for mut object in read(&file) {
                let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default").to_owned();
                if object["kind"] == "Namespace" {
                    namespaces.insert((object["metadata"]["name"].as_str().unwrap().to_owned(), true));
                    continue;
                }
                let (kind, cluster_wide) = (object["kind"].clone(), ["Namespace", "ValidatingAdmissionPolicyBinding"]);
                if !cluster_wide.iter().any(|known| kind == *known) {
                    object["metadata"]["namespace"] = json!(namespace);
                }
                object["metadata"]["labels"] = json!({"shipped": name});
                let _ = file.ends_with("labelled.yaml") || namespaces.insert((namespace, false));
                cases.push((file.clone(), set.clone(), object));
            }
        }
    }
    for (namespace, production) in &namespaces {
        if !cluster.succeeds(&format!("get namespace {namespace}")) {
            cluster.kubectl(&format!("create namespace {namespace}"));
        }
        if *production {
            cluster.kubectl(&format!("label namespace {namespace} environment=production"));
        }
    }
    let production = [("environment".to_owned(), "production".to_owned())].into();
    let facts = Facts { namespaces: [("shop".to_owned(), production)].into(), ..Facts::default() };
    wait_until_in_effect(cluster, "shop");
    let (mut wrong, mut compared) = (String::new(), 0);
    for (file, set, object) in cases {
        let found = evaluate(&set, &[desired(object.clone())], &facts);
        let stderr = create(cluster, &object);
        let asked = stderr.contains(" denied request: ");
        if !asked
            && ["is invalid: ", "cannot be handled", "unable to decode"].iter().any(|fault| stderr.contains(fault))
        {
            continue;
        }
        compared += 1;
        let (mine, theirs) = (ours(&found), theirs(&stderr));
        if mine != theirs {
            let name = desired(object).name().to_owned();
            writeln!(wrong, "{} {name}\n  ours   {mine:?}\n  theirs {theirs:?}\n  {stderr}", file.display()).unwrap();
        }
    }
    assert!(wrong.is_empty(), "of {compared}:\n{wrong}");
    assert!(compared >= 60, "{compared}");
}
