//! Defaults of the built-in kinds, as the real server sets them when it decodes an object.
//! Source: k8s.io/kubernetes/pkg/apis/{core,apps,batch,networking,rbac,scheduling,storage,policy}/v1/defaults.go and
//! pkg/apis/autoscaling/{v1,v2}/defaults.go. Scalar defaults that OpenAPI states (a port's protocol) come from the type table.

use crate::object::Gk;
use serde_json::{Map, Value, json};

type Object = Map<String, Value>;

/// Counts the changes of a DaemonSet's template.
pub const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// Sets a field that is absent or null.
fn set(map: &mut Object, key: &str, value: impl Into<Value>) {
    match map.get_mut(key) {
        None => {
            map.insert(key.to_owned(), value.into());
        }
        Some(present) if present.is_null() => *present = value.into(),
        Some(_) => {}
    }
}

/// The same, where an empty string counts as absent.
fn set_text(map: &mut Object, key: &str, value: &str) {
    if map.get(key).and_then(Value::as_str).is_none_or(str::is_empty) {
        map.insert(key.to_owned(), value.into());
    }
}

fn object<'v>(value: &'v mut Value, key: &str) -> Option<&'v mut Object> {
    value.get_mut(key).and_then(Value::as_object_mut)
}

/// The map under a key, created where it is absent.
fn ensure<'m>(map: &'m mut Object, key: &str) -> Option<&'m mut Object> {
    let place = map.entry(key.to_owned()).or_insert(Value::Null);
    if place.is_null() {
        *place = json!({});
    }
    place.as_object_mut()
}

fn items<'m>(map: &'m mut Object, key: &str) -> impl Iterator<Item = &'m mut Object> {
    map.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

/// Sets the defaults of a kind at a version.
pub fn apply(gk: &Gk, version: &str, value: &mut Value) {
    match (gk.group.as_str(), gk.kind.as_str()) {
        ("", "Pod") => pod(value),
        ("", "PodTemplate") => {
            if let Some(template) = value.get_mut("template") {
                pod_template(template);
            }
        }
        ("", "Service") => service(value),
        ("", "Secret") => {
            if let Some(map) = value.as_object_mut() {
                set_text(map, "type", "Opaque");
            }
        }
        ("", "Namespace") => namespace(value),
        ("", "Node") => node(value),
        ("", "PersistentVolume") => persistent_volume(value),
        ("", "PersistentVolumeClaim") => {
            claim(value);
            if let Some(status) = value.as_object_mut().and_then(|m| ensure(m, "status")) {
                set_text(status, "phase", "Pending");
            }
        }
        ("", "LimitRange") => limit_range(value),
        ("", "Endpoints") => {
            for subset in value.as_object_mut().into_iter().flat_map(|m| items(m, "subsets")) {
                items(subset, "ports").for_each(|port| set_text(port, "protocol", "TCP"));
            }
        }
        ("apps", "Deployment") => deployment(value),
        ("apps", "ReplicaSet") => replica_set(value),
        ("apps", "StatefulSet") => stateful_set(value),
        ("apps", "DaemonSet") => daemon_set(value),
        ("batch", "Job") => job(value),
        ("batch", "CronJob") => cron_job(value),
        ("autoscaling", _) => autoscaler(version, value),
        ("networking.k8s.io", "NetworkPolicy") => network_policy(value),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => binding(value),
        ("scheduling.k8s.io", "PriorityClass") => {
            if let Some(map) = value.as_object_mut() {
                set_text(map, "preemptionPolicy", "PreemptLowerPriority");
            }
        }
        ("storage.k8s.io", "StorageClass") => {
            if let Some(map) = value.as_object_mut() {
                set_text(map, "reclaimPolicy", "Delete");
                set_text(map, "volumeBindingMode", "Immediate");
            }
        }
        ("discovery.k8s.io", "EndpointSlice") => {
            for port in value.as_object_mut().into_iter().flat_map(|m| items(m, "ports")) {
                set(port, "name", "");
                set_text(port, "protocol", "TCP");
            }
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => custom_resource_definition(value),
        ("apiregistration.k8s.io", "APIService") => {
            if let Some(service) = value.get_mut("spec").and_then(|s| object(s, "service")) {
                set(service, "port", 443);
            }
        }
        ("admissionregistration.k8s.io", _) => webhooks(value),
        _ => {}
    }
}

fn spec(value: &mut Value) -> Option<&mut Object> {
    object(value, "spec")
}

/// The tag by which the pull policy is chosen (`parsers.ParseImageName`): `latest` where there is neither tag nor digest.
fn pulls_always(image: &str) -> bool {
    if image.is_empty() || image.contains('@') {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

fn container(container: &mut Object) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default().to_owned();
    set_text(container, "imagePullPolicy", if pulls_always(&image) { "Always" } else { "IfNotPresent" });
    set_text(container, "terminationMessagePath", "/dev/termination-log");
    set_text(container, "terminationMessagePolicy", "File");
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get_mut(probe).and_then(Value::as_object_mut) else { continue };
        for (key, value) in
            [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
        {
            set(probe, key, value);
        }
        handler(probe);
        if let Some(grpc) = probe.get_mut("grpc").and_then(Value::as_object_mut) {
            set(grpc, "service", "");
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(hook) = container.get_mut("lifecycle").and_then(|l| object(l, hook)) {
            handler(hook);
        }
    }
    for env in items(container, "env") {
        if let Some(field) = env.get_mut("valueFrom").and_then(|v| object(v, "fieldRef")) {
            set_text(field, "apiVersion", "v1");
        }
    }
    round_resources(container);
}

fn handler(map: &mut Object) {
    if let Some(http) = map.get_mut("httpGet").and_then(Value::as_object_mut) {
        set_text(http, "path", "/");
        set_text(http, "scheme", "HTTP");
    }
}

/// Resource amounts are rounded up to thousandths (`SetDefaults_ResourceList`).
fn round_resources(container: &mut Object) {
    let Some(resources) = container.get_mut("resources").and_then(Value::as_object_mut) else { return };
    for list in ["limits", "requests"] {
        for amount in resources.get_mut(list).and_then(Value::as_object_mut).into_iter().flat_map(|m| m.values_mut()) {
            let fine = amount.as_str().is_some_and(|text| text.ends_with(['n', 'u']));
            if fine && let Some(quantity) = crate::object::quantity::Quantity::from_value(amount) {
                let text = format!("{}m", quantity.milli);
                *amount = super::quantity::canonical(&text).unwrap_or(text).into();
            }
        }
    }
}

fn volume(volume: &mut Object) {
    if volume.keys().all(|key| key == "name") {
        volume.insert("emptyDir".into(), json!({}));
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        let Some(map) = volume.get_mut(source).and_then(Value::as_object_mut) else { continue };
        set(map, "defaultMode", 420);
        let downward = source == "downwardAPI";
        if downward {
            items(map, "items").for_each(downward_item);
        }
        for projection in items(map, "sources") {
            if let Some(token) = projection.get_mut("serviceAccountToken").and_then(Value::as_object_mut) {
                set(token, "expirationSeconds", 3600);
            }
            if let Some(api) = projection.get_mut("downwardAPI").and_then(Value::as_object_mut) {
                items(api, "items").for_each(downward_item);
            }
        }
    }
    if let Some(host) = volume.get_mut("hostPath").and_then(Value::as_object_mut) {
        set(host, "type", "");
    }
    if let Some(iscsi) = volume.get_mut("iscsi").and_then(Value::as_object_mut) {
        set_text(iscsi, "iscsiInterface", "default");
    }
    if let Some(claim_template) = volume.get_mut("ephemeral").and_then(|e| e.get_mut("volumeClaimTemplate")) {
        claim(claim_template);
    }
    if let Some(image) = volume.get_mut("image").and_then(Value::as_object_mut) {
        let reference = image.get("reference").and_then(Value::as_str).unwrap_or_default().to_owned();
        set_text(image, "pullPolicy", if pulls_always(&reference) { "Always" } else { "IfNotPresent" });
    }
}

fn downward_item(item: &mut Object) {
    if let Some(field) = item.get_mut("fieldRef").and_then(Value::as_object_mut) {
        set_text(field, "apiVersion", "v1");
    }
}

fn pod_spec(spec: &mut Object) {
    set_text(spec, "dnsPolicy", "ClusterFirst");
    set_text(spec, "restartPolicy", "Always");
    set(spec, "securityContext", json!({}));
    set(spec, "terminationGracePeriodSeconds", 30);
    set_text(spec, "schedulerName", "default-scheduler");
    // The deprecated twin is kept equal (`Convert_v1_PodSpec_To_core_PodSpec`).
    if let Some(account) = spec.get("serviceAccountName").and_then(Value::as_str).map(str::to_owned) {
        spec.insert("serviceAccount".into(), account.into());
    } else if let Some(account) = spec.get("serviceAccount").and_then(Value::as_str).map(str::to_owned) {
        spec.insert("serviceAccountName".into(), account.into());
    }
    items(spec, "volumes").for_each(volume);
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        items(spec, list).for_each(container);
    }
    for constraint in items(spec, "topologySpreadConstraints") {
        set_text(constraint, "whenUnsatisfiable", "DoNotSchedule");
    }
}

/// Defaults of a pod template: the spec's, without those that only pods get.
pub fn pod_template(template: &mut Value) {
    if let Some(spec) = spec(template) {
        pod_spec(spec);
    }
}

fn host_ports(spec: &mut Object) {
    for list in ["containers", "initContainers"] {
        for container in items(spec, list) {
            for port in items(container, "ports") {
                if let Some(number) = port.get("containerPort").cloned() {
                    set(port, "hostPort", number);
                }
            }
        }
    }
}

fn pod(value: &mut Value) {
    let Some(spec) = spec(value) else { return };
    for list in ["containers", "initContainers"] {
        for container in items(spec, list) {
            let Some(resources) = container.get_mut("resources").and_then(Value::as_object_mut) else { continue };
            let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else { continue };
            if let Some(requests) = ensure(resources, "requests") {
                limits.into_iter().for_each(|(name, amount)| set(requests, &name, amount));
            }
        }
    }
    set(spec, "enableServiceLinks", true);
    if spec.get("hostNetwork") == Some(&Value::Bool(true)) {
        host_ports(spec);
    }
    pod_spec(spec);
}

fn template_of(spec: &mut Object) {
    if let Some(template) = spec.get_mut("template") {
        pod_template(template);
    }
}

fn deployment(value: &mut Value) {
    let Some(spec) = spec(value) else { return };
    set(spec, "replicas", 1);
    if let Some(strategy) = ensure(spec, "strategy") {
        set_text(strategy, "type", "RollingUpdate");
        if strategy.get("type").and_then(Value::as_str) == Some("RollingUpdate")
            && let Some(rolling) = ensure(strategy, "rollingUpdate")
        {
            set(rolling, "maxUnavailable", "25%");
            set(rolling, "maxSurge", "25%");
        }
    }
    set(spec, "revisionHistoryLimit", 10);
    set(spec, "progressDeadlineSeconds", 600);
    template_of(spec);
}

fn replica_set(value: &mut Value) {
    let Some(spec) = spec(value) else { return };
    set(spec, "replicas", 1);
    template_of(spec);
}

fn stateful_set(value: &mut Value) {
    let Some(spec) = spec(value) else { return };
    set_text(spec, "podManagementPolicy", "OrderedReady");
    if let Some(strategy) = ensure(spec, "updateStrategy") {
        if strategy.get("type").and_then(Value::as_str).is_none_or(str::is_empty) {
            strategy.insert("type".into(), "RollingUpdate".into());
            set(strategy, "rollingUpdate", json!({}));
        }
        let rolling = strategy.get("type").and_then(Value::as_str) == Some("RollingUpdate");
        if rolling && let Some(rolling) = strategy.get_mut("rollingUpdate").and_then(Value::as_object_mut) {
            set(rolling, "partition", 0);
        }
    }
    if let Some(policy) = ensure(spec, "persistentVolumeClaimRetentionPolicy") {
        set_text(policy, "whenDeleted", "Retain");
        set_text(policy, "whenScaled", "Retain");
    }
    set(spec, "replicas", 1);
    set(spec, "revisionHistoryLimit", 10);
    template_of(spec);
    for template in spec.get_mut("volumeClaimTemplates").and_then(Value::as_array_mut).into_iter().flatten() {
        claim(template);
        if let Some(map) = template.as_object_mut() {
            set(map, "apiVersion", "v1");
            set(map, "kind", "PersistentVolumeClaim");
            if let Some(status) = ensure(map, "status") {
                set_text(status, "phase", "Pending");
            }
        }
    }
}

fn daemon_set(value: &mut Value) {
    let Some(spec) = spec(value) else { return };
    if let Some(strategy) = ensure(spec, "updateStrategy") {
        set_text(strategy, "type", "RollingUpdate");
        if strategy.get("type").and_then(Value::as_str) == Some("RollingUpdate")
            && let Some(rolling) = ensure(strategy, "rollingUpdate")
        {
            set(rolling, "maxUnavailable", 1);
            set(rolling, "maxSurge", 0);
        }
    }
    set(spec, "revisionHistoryLimit", 10);
    template_of(spec);
    // The conversion keeps here what extensions/v1beta1 had as `spec.templateGeneration`.
    if let Some(annotations) = object(value, "metadata").and_then(|m| ensure(m, "annotations")) {
        set_text(annotations, TEMPLATE_GENERATION, "0");
    }
}

fn job_spec(spec: &mut Object) {
    if !spec.contains_key("completions") && !spec.contains_key("parallelism") {
        set(spec, "completions", 1);
    }
    set(spec, "parallelism", 1);
    let limit = if spec.contains_key("backoffLimitPerIndex") { i32::MAX } else { 6 };
    set(spec, "backoffLimit", limit);
    set_text(spec, "completionMode", "NonIndexed");
    set(spec, "suspend", false);
    let policy = if spec.contains_key("podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
    set_text(spec, "podReplacementPolicy", policy);
    set(spec, "manualSelector", false);
    if let Some(policy) = spec.get_mut("podFailurePolicy").and_then(Value::as_object_mut) {
        for rule in items(policy, "rules") {
            items(rule, "onPodConditions").for_each(|condition| set_text(condition, "status", "True"));
        }
    }
    template_of(spec);
}

fn job(value: &mut Value) {
    if let Some(spec) = spec(value) {
        job_spec(spec);
    }
    // A Job without labels takes those of its template.
    let labels = value.pointer("/spec/template/metadata/labels").filter(|l| l.is_object()).cloned();
    if let (Some(labels), Some(metadata)) = (labels, object(value, "metadata")) {
        let empty = metadata.get("labels").and_then(Value::as_object).is_none_or(Map::is_empty);
        if empty {
            metadata.insert("labels".into(), labels);
        }
    }
}

fn cron_job(value: &mut Value) {
    let Some(spec) = spec(value) else { return };
    set_text(spec, "concurrencyPolicy", "Allow");
    set(spec, "suspend", false);
    set(spec, "successfulJobsHistoryLimit", 3);
    set(spec, "failedJobsHistoryLimit", 1);
    // The Job inside gets only its pod template's defaults here; the rest comes when the Job is created.
    if let Some(template) = spec.get_mut("jobTemplate").and_then(|t| t.get_mut("spec")).and_then(Value::as_object_mut) {
        template_of(template);
        if let Some(policy) = template.get_mut("podFailurePolicy").and_then(Value::as_object_mut) {
            for rule in items(policy, "rules") {
                items(rule, "onPodConditions").for_each(|condition| set_text(condition, "status", "True"));
            }
        }
    }
}

fn service(value: &mut Value) {
    let Some(spec) = spec(value) else { return };
    let text = |spec: &Object, key: &str| spec.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    set_text(spec, "sessionAffinity", "None");
    match text(spec, "sessionAffinity").as_str() {
        "None" => {
            spec.shift_remove("sessionAffinityConfig");
        }
        "ClientIP" => {
            if let Some(client) = ensure(spec, "sessionAffinityConfig").and_then(|c| ensure(c, "clientIP")) {
                set(client, "timeoutSeconds", 10_800);
            }
        }
        _ => {}
    }
    set_text(spec, "type", "ClusterIP");
    let ty = text(spec, "type");
    for port in items(spec, "ports") {
        set_text(port, "protocol", "TCP");
        let unset = match port.get("targetPort") {
            None | Some(Value::Null) => true,
            Some(Value::Number(n)) => n.as_i64() == Some(0),
            Some(Value::String(s)) => s.is_empty(),
            Some(_) => false,
        };
        if unset && let Some(number) = port.get("port").cloned() {
            port.insert("targetPort".into(), number);
        }
    }
    let external_ips = spec.get("externalIPs").and_then(Value::as_array).is_some_and(|ips| !ips.is_empty());
    if matches!(ty.as_str(), "NodePort" | "LoadBalancer") || (ty == "ClusterIP" && external_ips) {
        set_text(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(ty.as_str(), "NodePort" | "LoadBalancer" | "ClusterIP") {
        set_text(spec, "internalTrafficPolicy", "Cluster");
    }
    if ty == "LoadBalancer" {
        set(spec, "allocateLoadBalancerNodePorts", true);
        let ingress = value.pointer_mut("/status/loadBalancer/ingress").and_then(Value::as_array_mut);
        for entry in ingress.into_iter().flatten().filter_map(Value::as_object_mut) {
            if entry.contains_key("ip") {
                set_text(entry, "ipMode", "VIP");
            }
        }
    }
}

fn namespace(value: &mut Value) {
    let name = value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    if !name.is_empty()
        && let Some(labels) = object(value, "metadata").and_then(|m| ensure(m, "labels"))
    {
        labels.insert("kubernetes.io/metadata.name".into(), name.into());
    }
    if let Some(status) = value.as_object_mut().and_then(|m| ensure(m, "status")) {
        set_text(status, "phase", "Active");
    }
}

fn node(value: &mut Value) {
    // The two fields are one; either fills the other (`Convert_v1_NodeSpec_To_core_NodeSpec`).
    if let Some(spec) = spec(value) {
        if let Some(range) = spec.get("podCIDR").cloned() {
            set(spec, "podCIDRs", json!([range]));
        } else if let Some(range) = spec.get("podCIDRs").and_then(|c| c.get(0)).cloned() {
            set(spec, "podCIDR", range);
        }
    }
    if let Some(status) = object(value, "status")
        && let Some(capacity) = status.get("capacity").cloned()
    {
        set(status, "allocatable", capacity);
    }
}

fn persistent_volume(value: &mut Value) {
    if let Some(spec) = spec(value) {
        set_text(spec, "persistentVolumeReclaimPolicy", "Retain");
        set_text(spec, "volumeMode", "Filesystem");
        if let Some(host) = spec.get_mut("hostPath").and_then(Value::as_object_mut) {
            set(host, "type", "");
        }
    }
    if let Some(status) = value.as_object_mut().and_then(|m| ensure(m, "status")) {
        set_text(status, "phase", "Pending");
    }
}

fn claim(value: &mut Value) {
    if let Some(spec) = spec(value) {
        set_text(spec, "volumeMode", "Filesystem");
    }
}

fn limit_range(value: &mut Value) {
    let Some(spec) = spec(value) else { return };
    for item in items(spec, "limits") {
        if item.get("type").and_then(Value::as_str) != Some("Container") {
            continue;
        }
        let of = |item: &Object, key: &str| item.get(key).and_then(Value::as_object).cloned().unwrap_or_default();
        let (mut default, mut request) = (of(item, "default"), of(item, "defaultRequest"));
        of(item, "max").into_iter().for_each(|(k, v)| set(&mut default, &k, v));
        default.iter().for_each(|(k, v)| set(&mut request, k, v.clone()));
        of(item, "min").into_iter().for_each(|(k, v)| set(&mut request, &k, v));
        for (key, map) in [("default", default), ("defaultRequest", request)] {
            if !map.is_empty() {
                item.insert(key.into(), Value::Object(map));
            }
        }
    }
}

fn autoscaler(version: &str, value: &mut Value) {
    let Some(spec) = spec(value) else { return };
    set(spec, "minReplicas", 1);
    if version == "v1" {
        return;
    }
    if spec.get("metrics").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        spec.insert(
            "metrics".into(),
            json!([{"type": "Resource", "resource": {"name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": 80}}}]),
        );
    }
    let Some(behavior) = spec.get_mut("behavior").and_then(Value::as_object_mut) else { return };
    if let Some(up) = ensure(behavior, "scaleUp") {
        set(up, "stabilizationWindowSeconds", 0);
        set_text(up, "selectPolicy", "Max");
        set(
            up,
            "policies",
            json!([{"type": "Pods", "value": 4, "periodSeconds": 15},
                                    {"type": "Percent", "value": 100, "periodSeconds": 15}]),
        );
    }
    if let Some(down) = ensure(behavior, "scaleDown") {
        set_text(down, "selectPolicy", "Max");
        set(down, "policies", json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]));
    }
}

fn network_policy(value: &mut Value) {
    let Some(spec) = spec(value) else { return };
    for direction in ["ingress", "egress"] {
        for rule in items(spec, direction) {
            items(rule, "ports").for_each(|port| set_text(port, "protocol", "TCP"));
        }
    }
    if spec.get("policyTypes").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        let egress = spec.get("egress").and_then(Value::as_array).is_some_and(|e| !e.is_empty());
        let types = if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
        spec.insert("policyTypes".into(), types);
    }
}

fn binding(value: &mut Value) {
    let Some(map) = value.as_object_mut() else { return };
    if let Some(role) = map.get_mut("roleRef").and_then(Value::as_object_mut) {
        set_text(role, "apiGroup", "rbac.authorization.k8s.io");
    }
    for subject in items(map, "subjects") {
        if matches!(subject.get("kind").and_then(Value::as_str), Some("User" | "Group")) {
            set_text(subject, "apiGroup", "rbac.authorization.k8s.io");
        }
    }
}

fn custom_resource_definition(value: &mut Value) {
    let Some(spec) = spec(value) else { return };
    if let Some(names) = spec.get_mut("names").and_then(Value::as_object_mut) {
        let kind = names.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
        set_text(names, "singular", &kind.to_lowercase());
        if !kind.is_empty() {
            set_text(names, "listKind", &format!("{kind}List"));
        }
    }
    if let Some(conversion) = ensure(spec, "conversion") {
        set_text(conversion, "strategy", "None");
    }
}

fn webhooks(value: &mut Value) {
    let Some(map) = value.as_object_mut() else { return };
    for hook in items(map, "webhooks") {
        set_text(hook, "failurePolicy", "Fail");
        set_text(hook, "matchPolicy", "Equivalent");
        set(hook, "namespaceSelector", json!({}));
        set(hook, "objectSelector", json!({}));
        set(hook, "timeoutSeconds", 10);
        if let Some(service) = hook.get_mut("clientConfig").and_then(|c| object(c, "service")) {
            set(service, "port", 443);
        }
        for rule in items(hook, "rules") {
            set_text(rule, "scope", "*");
        }
    }
    if let Some(spec) = map.get_mut("spec").and_then(Value::as_object_mut) {
        if spec.contains_key("validations") {
            set_text(spec, "failurePolicy", "Fail");
        }
        if let Some(matching) = spec.get_mut("matchConstraints").and_then(Value::as_object_mut) {
            set_text(matching, "matchPolicy", "Equivalent");
            set(matching, "namespaceSelector", json!({}));
            set(matching, "objectSelector", json!({}));
            for rule in items(matching, "resourceRules") {
                set_text(rule, "scope", "*");
            }
        }
    }
    let mutating = map.get("kind").and_then(Value::as_str) == Some("MutatingWebhookConfiguration");
    for hook in items(map, "webhooks").filter(|_| mutating) {
        set_text(hook, "reinvocationPolicy", "Never");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pull_policy_follows_the_tag() {
        for (image, always) in [
            ("web", true),
            ("web:latest", true),
            ("web:1", false),
            ("localhost:5000/web", true),
            ("localhost:5000/web:1", false),
            ("web@sha256:0", false),
            ("", false),
        ] {
            assert_eq!(pulls_always(image), always, "{image}");
        }
    }
}
