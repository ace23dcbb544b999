//! What is shipped for Kubernetes, judged by Kubernetes: the policies' verdicts and CEL's semantics are the API server's,
//! and the manifests install.

use crate::support::control_plane::{self, ControlPlane};
use driftless::config::Config;
use driftless::object::{Desired, Manifest, Source};
use driftless::policy::{Facts, PolicySet, evaluate, schema};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const API: &str = "admissionregistration.k8s.io/v1";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn desired(object: Value) -> Desired {
    Desired { object, source: Source { file: "test.yaml".into(), line: 1 } }
}

fn documents(yaml: &str) -> Vec<Value> {
    yaml.split("\n---\n").map(|part| serde_saphyr::from_str(part).unwrap()).collect()
}

fn list(items: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

/// Binds a policy to one namespace, so that tests do not disturb each other.
fn only_in(namespace: &str, policy: &str) -> Value {
    json!({"apiVersion": API, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": policy},
        "spec": {"policyName": policy, "validationActions": ["Deny"], "matchResources": {"namespaceSelector":
            {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}}})
}

/// Server-side dry-run creation of several objects; what was said of each that was not admitted.
fn refused(cluster: &ControlPlane, namespace: &str, objects: &[Value]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), list(objects)).unwrap();
    let path = file.path().to_str().unwrap();
    let output = cluster.kubectl(["-n", namespace, "create", "--dry-run=server", "-f", path]);
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A new policy takes effect some seconds after it was created.
fn wait_until_refused(cluster: &ControlPlane, namespace: &str, object: &Value, part: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !refused(cluster, namespace, std::slice::from_ref(object)).contains(part) {
        assert!(Instant::now() < deadline, "the policy is not in effect");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The policy bound to a namespace, as the server has it and as we have it.
fn install(cluster: &ControlPlane, namespace: &str, policy: &Value) -> PolicySet {
    let name = policy["metadata"]["name"].as_str().unwrap();
    let both = [policy.clone(), only_in(namespace, name)];
    cluster.kubectl_input(["create"], &list(&both));
    let both: Vec<Desired> = both.into_iter().map(desired).collect();
    PolicySet::load(&both).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn pod_spec(image: &str) -> Value {
    json!({"restartPolicy": "Never", "initContainers": [{"name": "init", "image": image}], "containers": [{"name": "main", "image": "web:1"}]})
}

/// Every kind that the policy judges, with an image.
fn workloads(number: usize, image: &str) -> Vec<Value> {
    let labels = json!({"app": "x"});
    let mut restarting = pod_spec(image);
    restarting["restartPolicy"] = json!("Always");
    let template = |spec: &Value| json!({"metadata": {"labels": labels}, "spec": spec});
    let mut all = vec![
        json!({"apiVersion": "v1", "kind": "Pod", "spec": pod_spec(image)}),
        json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": template(&pod_spec(image))}}),
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "spec": {"schedule": "@daily", "jobTemplate": {"spec": {"template": template(&pod_spec(image))}}}}),
    ];
    for kind in ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"] {
        all.push(json!({"apiVersion": "apps/v1", "kind": kind, "spec": {"selector": {"matchLabels": labels}, "template": template(&restarting)}}));
    }
    for object in &mut all {
        object["metadata"] = json!({"name": format!("image-{number}")});
    }
    all
}

/// The shipped policies say of every kind and image what the API server says of it.
#[test]
fn the_image_policies_judge_as_the_api_server_does() {
    let Some(cluster) = ControlPlane::shared() else { return control_plane::skip() };
    let images = [
        "nginx",
        "nginx:latest",
        "nginx:1",
        "r:5000/a",
        "r:5000/a:1",
        "r:5000/a:latest",
        "a/latest:latest-1",
        "nginx@sha256:0000000000000000000000000000000000000000000000000000000000000000",
    ];
    for (policy, sample, says) in
        [("no-latest-image", 1, "the tag latest: "), ("untagged-image", 0, "no tag, which means latest: ")]
    {
        let namespace = cluster.namespace(policy);
        let text = std::fs::read_to_string(root().join(format!("policies/{policy}/policy.yaml"))).unwrap();
        let mut policy = documents(&text).remove(0);
        policy["metadata"]["name"] = json!(namespace);
        let ours = install(cluster, &namespace, &policy);
        let objects: Vec<Value> = images.iter().enumerate().flat_map(|(n, image)| workloads(n, image)).collect();
        wait_until_refused(cluster, &namespace, &objects[sample * 7], says);
        let said = refused(cluster, &namespace, &objects);
        let denied: usize =
            objects.into_iter().map(|object| usize::from(judged_alike(&namespace, object, &ours, &said))).sum();
        assert_eq!(denied, 2 * 7, "{namespace}");
    }
}

/// True if the object is refused: here as there, and in the same words.
fn judged_alike(namespace: &str, object: Value, ours: &PolicySet, said: &str) -> bool {
    let mut object = desired(object);
    object.object["metadata"]["namespace"] = json!(namespace);
    let findings = evaluate(ours, std::slice::from_ref(&object), &Facts::default());
    let resource = driftless::policy::builtin_resource(&object.gvk().gk()).unwrap().plural;
    let group = object.gvk().group;
    let full = if group.is_empty() { resource } else { format!("{resource}.{group}") };
    let start = format!("{full} \"{}\" is forbidden:", object.name());
    let theirs = said.lines().find(|line| line.contains(&start));
    assert_eq!(!findings.is_empty(), theirs.is_some(), "{}: {findings:?}\n{said}", object.object);
    if let (Some(finding), Some(theirs)) = (findings.first(), theirs) {
        assert!(theirs.ends_with(&format!("denied request: {}", finding.message)), "{finding:?}\n{theirs}");
    }
    theirs.is_some()
}

/// Expressions that are true for [`subject`], there and here. What the server does not compile it says when the policy
/// is created.
const TRUE: &[&str] = &[
    "object.metadata.annotations['a.b/c'] == 'yes'",
    "dyn(3) == 3.0",
    "int(object.data.three) - 5 == -2",
    "object.metadata.generation == 1 || true",
    "!has(object.spec) && !has(object.metadata.missing) && has(object.data.three)",
    "!has(object.metadata.finalizers) || object.metadata.finalizers.size() == 0",
    "object.?spec.?missing.orValue('d') == 'd'",
    "object.metadata.?annotations[?'a.b/c'].orValue('') == 'yes'",
    "object.?metadata.?finalizers.hasValue() == false",
    "optional.none().or(optional.of(1)).value() == 1",
    "object.?data.?missing.optMap(v, v + '!').orValue('none') == 'none'",
    "'a.b/c' in object.metadata.annotations",
    "[1, 2, 3].all(i, i > 0) && [1, 2].exists(i, i == 2) && [1, 2].exists_one(i, i == 2)",
    "[1, 2].map(i, i * 2) == [2, 4] && [1, 2].filter(i, i > 1) == [2] && [1, 2].map(i, i > 1, i) == [2]",
    "object.metadata.annotations.all(k, k.size() > 0) && object.data.exists(k, object.data[k] == '3')",
    "object.missing == 1 || true",
    "!(false && object.missing == 1)",
    "'a-b-c'.split('-').join('+') == 'a+b+c' && 'ABC'.lowerAscii() == 'abc' && 'abc'.upperAscii() == 'ABC'",
    "'a:b:c'.lastIndexOf(':') == 3 && 'abc'.indexOf('b') == 1 && 'abc'.charAt(1) == 'b' && ' x '.trim() == 'x'",
    "'abcd'.substring(1, 3) == 'bc' && 'aaa'.replace('a', 'b', 2) == 'bba' && 'a'.matches('^[a-z]$')",
    "'%s has %d'.format(['web', 3]) == 'web has 3'",
    "'a@b'.contains('@') && 'abc'.startsWith('a') && 'abc'.endsWith('c') && size('abc') == 3 && 'ä'.size() == 1",
    "[1, 2, 3].isSorted() && ![2, 1].isSorted() && [1, 2, 3].sum() == 6 && [3, 1].min() == 1 && [3, 1].max() == 3",
    "[1, 2, 1].indexOf(1) == 0 && [1, 2, 1].lastIndexOf(1) == 2 && [1].indexOf(5) == -1",
    "'a1b22'.find('[0-9]+') == '1' && 'a1b22'.findAll('[0-9]+') == ['1', '22'] && 'a1b2'.findAll('[0-9]', 1) == ['1'] && 'abc'.find('x') == ''",
    "quantity('1Gi').isGreaterThan(quantity('500Mi')) && quantity('1000m').compareTo(quantity('1')) == 0",
    "isQuantity('1.5Gi') && !isQuantity('x') && quantity('2').add(1).asInteger() == 3 && sign(quantity('1m')) == 1",
    "quantity('1') == quantity('1000m') && quantity('500m').asApproximateFloat() == 0.5 && !quantity('1m').isInteger()",
    "quantity('3').sub(quantity('1')).isLessThan(quantity('3'))",
    "sets.contains([1, 2], [2]) && sets.equivalent([1, 1], [1]) && sets.intersects([1], [1, 2]) && !sets.contains([1], [2])",
    "url('https://u@example.com:80/a?x=1').getHost() == 'example.com:80' && !isURL('a b') && isURL('/a') && !isURL('../a')",
    "url('https://[::1]:80/p').getHostname() == '::1' && url('https://[::1]:80/p').getPort() == '80'",
    "url('https://e.com/a%20b?x=1&x=b%20c').getQuery() == {'x': ['1', 'b c']} && url('HTTPS://e.com/p').getScheme() == 'https'",
    "url('https://e.com/a%20b').getEscapedPath() == '/a%20b'",
    "ip('10.0.0.1').family() == 4 && isIP('::1') && !isIP('10.0.0.01') && ip('127.0.0.1').isLoopback() && !isIP('::ffff:1.2.3.4')",
    "ip('10.0.0.1').isGlobalUnicast() && ip('224.0.0.1').isLinkLocalMulticast() && ip('169.254.0.1').isLinkLocalUnicast() && ip('::').isUnspecified()",
    "cidr('10.0.0.0/8').containsIP('10.1.2.3') && !cidr('10.0.0.0/8').containsIP(ip('11.0.0.1'))",
    "cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8')",
    "string(cidr('10.0.0.0/8').ip()) == '10.0.0.0' && cidr('0.0.0.0/0').prefixLength() == 0 && ip.isCanonical('::1') && isCIDR('::/0')",
    "duration('1h').getMinutes() == 60 && timestamp('2024-01-01T00:00:00Z').getFullYear() == 2024",
    "type(object.data.three) == string && int('3') == 3 && string(3) == '3' && double(3) == 3.0",
    "uint(1) == 1u && bytes('a') == b'a' && [1] + [2] == [1, 2] && 7 / 2 == 3 && -7 % 3 == -1",
    "[3, 1, 2].sort() == [1, 2, 3]",
    "[[1], [2]].flatten() == [1, 2]",
    "[1, 1].distinct() == [1]",
    "lists.range(2) == [0, 1]",
    "[1, 2].reverse() == [2, 1]",
    "[1, 2, 3].slice(1, 2) == [2]",
    "['bb', 'a'].sortBy(e, e.size()) == ['a', 'bb']",
    "strings.quote('a') == '\"a\"'",
    "optional.ofNonZeroValue('').hasValue() == false",
    "dyn(1) == 1 && bool('true')",
    "variables.three == 3 && variables.next == 4",
    "request.operation == 'CREATE' && request.kind.kind == 'ConfigMap' && request.resource.resource == 'configmaps'",
    "request.name == object.metadata.name && request.namespace == object.metadata.namespace && oldObject == null",
    "namespaceObject.metadata.name == object.metadata.namespace",
    "namespaceObject.metadata.labels['kubernetes.io/metadata.name'] == object.metadata.namespace",
];

/// Expressions that fail, there and here, although they compile.
const FAILING: &[&str] = &[
    "object.missing == 1",
    "[1][5] == 1",
    "int(object.data.three) / 0 == 1",
    "sign(quantity(object.data.text)) == 0",
    "object.data.three < 5",
    "optional.none().value() == 1",
];

fn subject(namespace: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "subject", "namespace": namespace,
        "annotations": {"a.b/c": "yes", "n": "3"}}, "data": {"three": "3", "text": "text"}})
}

fn policy(name: &str, expressions: &[&str]) -> Value {
    let validations: Vec<Value> = expressions.iter().map(|text| json!({"expression": text, "message": text})).collect();
    json!({"apiVersion": API, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name}, "spec": {
        "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}]},
        "matchConditions": [{"name": "subject", "expression": "object.metadata.name == 'subject'"}],
        "variables": [{"name": "three", "expression": "int(object.data.three)"}, {"name": "next", "expression": "variables.three + 1"}],
        "validations": validations}})
}

#[test]
fn expressions_mean_what_they_mean_to_the_api_server() {
    let Some(cluster) = ControlPlane::shared() else { return control_plane::skip() };
    let namespace = cluster.namespace("cel");
    let object = subject(&namespace);
    let ours = |set: &PolicySet| evaluate(set, &[desired(object.clone())], &Facts::default());

    // A last rule that does not hold shows that the policy is in effect.
    let mut rules = TRUE.to_vec();
    rules.push("'in effect' == ''");
    let set = install(cluster, &namespace, &policy(&namespace, &rules));
    wait_until_refused(cluster, &namespace, &object, "denied request");
    let theirs = refused(cluster, &namespace, std::slice::from_ref(&object));
    assert!(theirs.contains("'in effect' == ''"), "{theirs}");
    let said: Vec<String> = ours(&set).into_iter().map(|finding| finding.message).collect();
    assert_eq!(said, ["'in effect' == ''"]);

    // Each failing rule for a name of its own, so that nothing else refuses it.
    let failing: Vec<(Value, PolicySet)> = (0..)
        .zip(FAILING)
        .map(|(n, rule)| {
            let name = format!("{namespace}-{n}");
            let mut rules = policy(&name, &[rule]);
            rules["spec"]["matchConditions"][0]["expression"] = json!(format!("object.metadata.name == '{name}'"));
            let mut object = object.clone();
            object["metadata"]["name"] = json!(name);
            (object, install(cluster, &namespace, &rules))
        })
        .collect();
    for (object, set) in failing {
        wait_until_refused(cluster, &namespace, &object, "resulted in error");
        let said = evaluate(&set, &[desired(object)], &Facts::default());
        assert!(said.len() == 1 && said[0].message.starts_with("the policy could not be evaluated"), "{said:?}");
    }
}

#[test]
fn manifests_install_and_the_configuration_in_them_is_valid() {
    let text = std::fs::read_to_string(root().join("manifests/driftless.toml")).unwrap();
    Config::parse(&text, "driftless.toml").unwrap_or_else(|errors| panic!("{errors:?}"));

    let Some(cluster) = ControlPlane::shared() else { return control_plane::skip() };
    let namespace = cluster.namespace("install");
    // The base in a namespace of this test's own, as somebody's overlay would have it. Kustomize takes bases by relative
    // path only, so the overlay stands beside a copy.
    let scratch = tempfile::tempdir().unwrap();
    let (base, overlay) = (scratch.path().join("manifests"), scratch.path().join("overlay"));
    std::fs::create_dir(&base).unwrap();
    std::fs::create_dir(&overlay).unwrap();
    for file in std::fs::read_dir(root().join("manifests")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), base.join(file.file_name())).unwrap();
    }
    std::fs::write(
        overlay.join("kustomization.yaml"),
        format!("namespace: {namespace}\nnamePrefix: {namespace}-\nresources: [../manifests]\n"),
    )
    .unwrap();
    let output = Command::new(cluster.binary("kubectl")).arg("kustomize").arg(&overlay).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let yaml = String::from_utf8(output.stdout).unwrap();
    let objects: Vec<Value> = documents(&yaml).into_iter().filter(|object| object["kind"] != "Namespace").collect();
    let rendered: Vec<Desired> = objects.iter().cloned().map(desired).collect();
    assert_eq!(schema::check(&rendered), vec![]);
    assert_eq!(evaluate(&PolicySet::builtin(), &rendered, &Facts::default()), vec![]);
    let said =
        cluster.kubectl_input(["apply", "--server-side", "--dry-run=server", "--validate=strict"], &list(&objects));
    assert_eq!(said.lines().count(), 8, "{said}");
}

/// What the schema checks call a fault, and how: pointer and value set in a good object, or removed (`None`).
fn broken(namespace: &str) -> Vec<Value> {
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}}, "spec": {
                "containers": [{"name": "main", "image": "web:1", "ports": [{"containerPort": 80, "name": "http"}],
                    "env": [{"name": "A", "value": "1"}], "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                    "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": 1, "memory": "1Gi"}},
                    "livenessProbe": {"httpGet": {"path": "/", "port": "http"}}}],
                "volumes": [{"name": "tmp", "emptyDir": {}}]}}}});
    let container = |field: &str| format!("/spec/template/spec/containers/0{field}");
    let role = "rbac.authorization.k8s.io/v1";
    let role_ref = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"});
    let spec = |api: &str, kind: &str, spec: Value| json!({"apiVersion": api, "kind": kind, "metadata": {"name": "x"}, "spec": spec});
    let job = json!({"template": {"spec": {"containers": [{"name": "a", "image": "b"}]}}});
    let path = |path: Value| spec("networking.k8s.io/v1", "Ingress", json!({"rules": [{"http": {"paths": [path]}}]}));
    let backend = json!({"service": {"name": "a", "port": {"number": 80}}});
    let mut all: Vec<Value> = [
        ("/metadata/name".to_owned(), json!("Web_1")),
        ("/metadata/labels".into(), json!({"a": true})),
        ("/metadata/labels".into(), json!({"a": "x y"})),
        ("/metadata/annotations".into(), json!({"a b": "x"})),
        ("/spec/replicas".into(), json!("2")),
        ("/spec/replicas".into(), json!(-1)),
        ("/spec/selector".into(), json!(null)),
        ("/spec/selector".into(), json!({})),
        ("/spec/template/metadata/labels".into(), json!({"app": "x"})),
        ("/spec/template/spec/restartPolicy".into(), json!("Never")),
        ("/spec/template/spec/containers".into(), json!([])),
        ("/spec/template/spec/volumes".into(), json!([])),
        ("/spec/template/spec/volumes".into(), json!([{"name": "tmp", "emptyDir": {}, "hostPath": {"path": "/"}}])),
        (
            "/spec/template/spec/volumes".into(),
            json!([{"name": "tmp", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]),
        ),
        ("/spec/template/spec/volumes/0/name".into(), json!("a.b")),
        ("/spec/template/spec/initContainers".into(), json!([{"name": "main", "image": "x"}])),
        (container("/name"), json!("a.b")),
        (container("/image"), json!(null)),
        (container("/imagePullPolicy"), json!("always")),
        (container("/ports/0/containerPort"), json!(70000)),
        (container("/ports/0/containerPort"), json!("80")),
        (container("/ports/0/name"), json!("UPPER")),
        (container("/ports/0/protocol"), json!("tcp")),
        (container("/ports"), json!([{"name": "http", "containerPort": 1}, {"name": "http", "containerPort": 2}])),
        (container("/env/0/value"), json!(1)),
        (container("/env/0/name"), json!("A=B")),
        (container("/env/0/valueFrom"), json!({"fieldRef": {"fieldPath": "metadata.name"}})),
        (container("/resources/limits/memory"), json!("1GB")),
        (container("/resources/limits/memory"), json!(-1)),
        (container("/resources/requests/cpu"), json!("2")),
        (container("/livenessProbe"), json!({"periodSeconds": 1})),
        (container("/livenessProbe/httpGet/port"), json!("not a port")),
        (container("/volumeMounts/0/mountPath"), json!(null)),
        (container("/volumeMounts"), json!([{"name": "tmp", "mountPath": "/a"}, {"name": "tmp", "mountPath": "/a"}])),
    ]
    .into_iter()
    .map(|(pointer, value)| {
        let mut object = deployment.clone();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        object.pointer_mut(parent).unwrap()[field] = value;
        object
    })
    .collect();
    all.extend([
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a.b"}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "data": {"x": "hunter2!"}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "stringData": {"x y": "z"}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": 1}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "1"}, "binaryData": {"x": "AA=="}}),
        json!({"apiVersion": role, "kind": "RoleBinding", "metadata": {"name": "a"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role"}}),
        json!({"apiVersion": role, "kind": "ClusterRoleBinding", "metadata": {"name": "a"}, "roleRef": role_ref, "subjects": [{"kind": "ServiceAccount", "name": "a"}]}),
        json!({"apiVersion": role, "kind": "Role", "metadata": {"name": "a"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": []}]}),
        json!({"apiVersion": role, "kind": "Role", "metadata": {"name": "a"}, "rules": [{"resources": ["pods"], "verbs": ["get"]}]}),
        json!({"apiVersion": role, "kind": "ClusterRoleBinding", "metadata": {"name": "a"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "x"}}),
        spec("v1", "Service", json!({"ports": [{"port": 80}, {"port": 81, "name": "b"}]})),
        spec("v1", "Service", json!({"ports": []})),
        spec("v1", "Service", json!({"ports": [{"port": 0}]})),
        spec("v1", "Service", json!({"type": "ExternalName"})),
        spec("v1", "Service", json!({"ports": [{"port": 80, "name": "A"}]})),
        spec("v1", "Service", json!({"ports": [{"port": 80, "targetPort": "x--y"}]})),
        spec("batch/v1", "Job", job.clone()),
        spec("batch/v1", "CronJob", json!({"schedule": "* * *", "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "b"}]}}}}})),
        spec("batch/v1", "CronJob", json!({"schedule": "@daily", "jobTemplate": {"spec": job}})),
        path(json!({"path": "/", "backend": backend})),
        path(json!({"path": "x", "pathType": "Prefix", "backend": backend})),
        path(json!({"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "a", "port": {}}}})),
        path(json!({"path": "/", "pathType": "Prefix"})),
        spec("networking.k8s.io/v1", "Ingress", json!({})),
        spec("autoscaling/v2", "HorizontalPodAutoscaler", json!({"minReplicas": 5, "maxReplicas": 2, "scaleTargetRef": {"kind": "Deployment", "name": "a"}})),
        spec("autoscaling/v2", "HorizontalPodAutoscaler", json!({"maxReplicas": 2})),
        spec("policy/v1", "PodDisruptionBudget", json!({"minAvailable": 1, "maxUnavailable": 1})),
        spec("v1", "PersistentVolumeClaim", json!({"accessModes": ["ReadWriteOnce"]})),
        spec("v1", "PersistentVolumeClaim", json!({"resources": {"requests": {"storage": "1Gi"}}})),
        spec("v1", "PersistentVolumeClaim", json!({"accessModes": ["readwriteonce"], "resources": {"requests": {"storage": "1Gi"}}})),
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "c".repeat(53)}, "spec": {"schedule": "@daily",
            "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "b"}]}}}}}}),
    ]);
    for object in &mut all {
        if object["kind"] != "Namespace" && object["kind"] != "ClusterRoleBinding" {
            object["metadata"]["namespace"] = json!(namespace);
        }
    }
    all
}

/// What is called a fault without a cluster is refused with one: no false alarm.
#[test]
fn what_the_schema_checks_refuse_the_api_server_refuses() {
    let Some(cluster) = ControlPlane::shared() else { return control_plane::skip() };
    let namespace = cluster.namespace("schema");
    let mut wrong = Vec::new();
    for object in broken(&namespace) {
        if schema::check(&[desired(object.clone())]).is_empty() {
            wrong.push(format!("found nothing in {object}"));
        }
        let said = refused(cluster, &namespace, std::slice::from_ref(&object));
        if !said.to_lowercase().contains("error") && !said.contains("invalid") && !said.contains("Invalid") {
            wrong.push(format!("the server takes {object}: {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
