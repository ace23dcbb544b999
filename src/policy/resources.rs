//! What is known of a cluster's resources while judging: which resource a kind is, and the labels of namespaces.
//!
//! Rules name resources (`deployments`), manifests name kinds (`Deployment`). With a cluster the caller hands over what
//! discovery said; without one the built-in kinds and the CRDs among the manifests are enough for most repositories.

use crate::object::{Desired, Gk, Manifest};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The resource that a kind is served as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Plural name in URLs, such as `deployments`.
    pub plural: String,
    /// False for cluster-scoped kinds.
    pub namespaced: bool,
}

/// What is known of the cluster.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Resource by kind, from discovery. What is missing here is looked up in the built-in table.
    pub resources: BTreeMap<Gk, Resource>,
    /// Labels by namespace, where they are known. A namespace that is missing has unknown labels, which exempt
    /// nothing from a policy.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// `userInfo` of the requests, as the cluster's SelfSubjectReview tells it. Without it requests are judged as those
    /// of [`assumed_user`].
    pub user: Option<Value>,
}

/// `userInfo` where no cluster was asked: the service account that `manifests/` gives to the daemon.
pub fn assumed_user() -> Value {
    json!({
        "username": "system:serviceaccount:driftless:driftless",
        "groups": ["system:serviceaccounts", "system:serviceaccounts:driftless", "system:authenticated"],
    })
}

impl Facts {
    /// Adds what the manifests themselves say: resources of their CRDs, labels of their Namespaces.
    #[must_use]
    pub fn with_manifests(mut self, objects: &[Desired]) -> Self {
        for object in objects {
            let gvk = object.gvk();
            if gvk.gk().is("apiextensions.k8s.io", "CustomResourceDefinition") {
                self.learn_crd(object);
            } else if gvk.gk().is("", "Namespace") {
                let labels = super::matching::labels_of(Some(&object.object));
                self.namespaces.entry(object.name().to_owned()).or_default().extend(labels);
            }
        }
        self
    }

    fn learn_crd(&mut self, crd: &Desired) {
        let text = |pointer: &str| crd.at(pointer).and_then(Value::as_str);
        if let (Some(group), Some(kind), Some(plural)) =
            (text("/spec/group"), text("/spec/names/kind"), text("/spec/names/plural"))
        {
            let resource = Resource { plural: plural.into(), namespaced: text("/spec/scope") != Some("Cluster") };
            self.resources.entry(Gk::new(group, kind)).or_insert(resource);
        }
    }

    /// The resource of a kind: as discovered, else built in, else guessed from the kind's name.
    pub fn resource(&self, gk: &Gk, has_namespace: bool) -> Resource {
        self.resources
            .get(gk)
            .cloned()
            .or_else(|| builtin_resource(gk))
            .unwrap_or_else(|| Resource { plural: guess_plural(&gk.kind), namespaced: has_namespace })
    }
}

/// `meta.UnsafeGuessKindToResource` (k8s.io/apimachinery/pkg/api/meta/restmapper.go).
fn guess_plural(kind: &str) -> String {
    let singular = kind.to_ascii_lowercase();
    if singular.ends_with('s') || singular.ends_with("ch") || singular.ends_with('x') {
        format!("{singular}es")
    } else if let Some(stem) = singular.strip_suffix('y') {
        format!("{stem}ies")
    } else {
        format!("{singular}s")
    }
}

/// The resource of a kind that Kubernetes itself serves; `None` for any other.
pub fn builtin_resource(gk: &Gk) -> Option<Resource> {
    let (_, kinds) = BUILTIN.iter().find(|(group, _)| *group == gk.group)?;
    let (_, plural, namespaced) = kinds.iter().find(|(kind, _, _)| *kind == gk.kind)?;
    Some(Resource { plural: (*plural).to_owned(), namespaced: *namespaced })
}

type Kinds = &'static [(&'static str, &'static str, bool)];

/// By group: kind, plural, namespaced. Kubernetes 1.36.
const BUILTIN: &[(&str, Kinds)] = &[
    (
        "",
        &[
            ("Binding", "bindings", true),
            ("ConfigMap", "configmaps", true),
            ("Endpoints", "endpoints", true),
            ("Event", "events", true),
            ("LimitRange", "limitranges", true),
            ("Namespace", "namespaces", false),
            ("Node", "nodes", false),
            ("PersistentVolume", "persistentvolumes", false),
            ("PersistentVolumeClaim", "persistentvolumeclaims", true),
            ("Pod", "pods", true),
            ("PodTemplate", "podtemplates", true),
            ("ReplicationController", "replicationcontrollers", true),
            ("ResourceQuota", "resourcequotas", true),
            ("Secret", "secrets", true),
            ("Service", "services", true),
            ("ServiceAccount", "serviceaccounts", true),
        ],
    ),
    (
        "admissionregistration.k8s.io",
        &[
            ("MutatingAdmissionPolicy", "mutatingadmissionpolicies", false),
            ("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings", false),
            ("MutatingWebhookConfiguration", "mutatingwebhookconfigurations", false),
            ("ValidatingAdmissionPolicy", "validatingadmissionpolicies", false),
            ("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", false),
            ("ValidatingWebhookConfiguration", "validatingwebhookconfigurations", false),
        ],
    ),
    ("apiextensions.k8s.io", &[("CustomResourceDefinition", "customresourcedefinitions", false)]),
    ("apiregistration.k8s.io", &[("APIService", "apiservices", false)]),
    (
        "apps",
        &[
            ("ControllerRevision", "controllerrevisions", true),
            ("DaemonSet", "daemonsets", true),
            ("Deployment", "deployments", true),
            ("ReplicaSet", "replicasets", true),
            ("StatefulSet", "statefulsets", true),
        ],
    ),
    ("autoscaling", &[("HorizontalPodAutoscaler", "horizontalpodautoscalers", true)]),
    ("batch", &[("CronJob", "cronjobs", true), ("Job", "jobs", true)]),
    (
        "certificates.k8s.io",
        &[
            ("CertificateSigningRequest", "certificatesigningrequests", false),
            ("ClusterTrustBundle", "clustertrustbundles", false),
        ],
    ),
    ("coordination.k8s.io", &[("Lease", "leases", true)]),
    ("discovery.k8s.io", &[("EndpointSlice", "endpointslices", true)]),
    ("events.k8s.io", &[("Event", "events", true)]),
    (
        "flowcontrol.apiserver.k8s.io",
        &[("FlowSchema", "flowschemas", false), ("PriorityLevelConfiguration", "prioritylevelconfigurations", false)],
    ),
    (
        "networking.k8s.io",
        &[
            ("IPAddress", "ipaddresses", false),
            ("Ingress", "ingresses", true),
            ("IngressClass", "ingressclasses", false),
            ("NetworkPolicy", "networkpolicies", true),
            ("ServiceCIDR", "servicecidrs", false),
        ],
    ),
    ("node.k8s.io", &[("RuntimeClass", "runtimeclasses", false)]),
    ("policy", &[("PodDisruptionBudget", "poddisruptionbudgets", true)]),
    (
        "rbac.authorization.k8s.io",
        &[
            ("ClusterRole", "clusterroles", false),
            ("ClusterRoleBinding", "clusterrolebindings", false),
            ("Role", "roles", true),
            ("RoleBinding", "rolebindings", true),
        ],
    ),
    (
        "resource.k8s.io",
        &[
            ("DeviceClass", "deviceclasses", false),
            ("ResourceClaim", "resourceclaims", true),
            ("ResourceClaimTemplate", "resourceclaimtemplates", true),
            ("ResourceSlice", "resourceslices", false),
        ],
    ),
    ("scheduling.k8s.io", &[("PriorityClass", "priorityclasses", false)]),
    (
        "storage.k8s.io",
        &[
            ("CSIDriver", "csidrivers", false),
            ("CSINode", "csinodes", false),
            ("CSIStorageCapacity", "csistoragecapacities", true),
            ("StorageClass", "storageclasses", false),
            ("VolumeAttachment", "volumeattachments", false),
            ("VolumeAttributesClass", "volumeattributesclasses", false),
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Source;

    #[test]
    fn built_in_learned_and_guessed() {
        let crd = Desired {
            object: json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": "foos.x.io"},
                "spec": {"group": "x.io", "scope": "Cluster", "names": {"kind": "Foo", "plural": "foozes"}}}),
            source: Source { file: "crd.yaml".into(), line: 1 },
        };
        let facts = Facts::default().with_manifests(&[crd]);
        let plural = |group: &str, kind: &str| facts.resource(&Gk::new(group, kind), true).plural;
        assert_eq!(plural("networking.k8s.io", "NetworkPolicy"), "networkpolicies");
        assert_eq!(plural("x.io", "Foo"), "foozes");
        assert_eq!(plural("y.io", "Proxy"), "proxies");
        assert_eq!(plural("y.io", "Gateway"), "gatewaies", "as Kubernetes guesses, wrong as it is");
        assert!(!facts.resource(&Gk::new("x.io", "Foo"), true).namespaced);
        assert_eq!(builtin_resource(&Gk::new("apps", "Pod")), None);
    }
}
