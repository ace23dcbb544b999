//! API versions that Kubernetes has removed, and what to write instead.
//!
//! Source: <https://kubernetes.io/docs/reference/using-api/deprecation-guide/>.

/// Servers older than 1.this are not asked about: what they removed is an error before any cluster is asked.
pub const OLDEST_SERVER: u32 = 30;

/// A removed API version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removed {
    /// Minor version of the first server without it.
    pub in_minor: u32,
    /// What to write instead.
    pub instead: &'static str,
}

/// API version, kinds (empty: all of that version), minor version that removed it, replacement.
type Row = (&'static str, &'static [&'static str], u32, &'static str);

const APPS: &[&str] = &["DaemonSet", "Deployment", "ReplicaSet", "StatefulSet", "ControllerRevision"];

const REMOVED: &[Row] = &[
    ("extensions/v1beta1", &["DaemonSet", "Deployment", "ReplicaSet"], 16, "apps/v1"),
    ("extensions/v1beta1", &["NetworkPolicy"], 16, "networking.k8s.io/v1"),
    ("extensions/v1beta1", &["PodSecurityPolicy"], 16, "the Pod Security labels on the Namespace"),
    ("extensions/v1beta1", &["Ingress"], 22, "networking.k8s.io/v1"),
    ("apps/v1beta1", APPS, 16, "apps/v1"),
    ("apps/v1beta2", APPS, 16, "apps/v1"),
    (
        "admissionregistration.k8s.io/v1beta1",
        &["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"],
        22,
        "admissionregistration.k8s.io/v1",
    ),
    ("apiextensions.k8s.io/v1beta1", &[], 22, "apiextensions.k8s.io/v1"),
    ("apiregistration.k8s.io/v1beta1", &[], 22, "apiregistration.k8s.io/v1"),
    ("authentication.k8s.io/v1beta1", &["TokenReview"], 22, "authentication.k8s.io/v1"),
    ("authorization.k8s.io/v1beta1", &[], 22, "authorization.k8s.io/v1"),
    ("certificates.k8s.io/v1beta1", &["CertificateSigningRequest"], 22, "certificates.k8s.io/v1"),
    ("coordination.k8s.io/v1beta1", &["Lease"], 22, "coordination.k8s.io/v1"),
    ("networking.k8s.io/v1beta1", &["Ingress", "IngressClass"], 22, "networking.k8s.io/v1"),
    ("rbac.authorization.k8s.io/v1alpha1", &[], 23, "rbac.authorization.k8s.io/v1"),
    ("rbac.authorization.k8s.io/v1beta1", &[], 22, "rbac.authorization.k8s.io/v1"),
    ("scheduling.k8s.io/v1beta1", &["PriorityClass"], 22, "scheduling.k8s.io/v1"),
    ("storage.k8s.io/v1beta1", &["CSIDriver", "CSINode", "StorageClass", "VolumeAttachment"], 22, "storage.k8s.io/v1"),
    ("batch/v2alpha1", &["CronJob"], 21, "batch/v1"),
    ("batch/v1beta1", &["CronJob"], 25, "batch/v1"),
    ("discovery.k8s.io/v1beta1", &["EndpointSlice"], 25, "discovery.k8s.io/v1"),
    ("events.k8s.io/v1beta1", &["Event"], 25, "events.k8s.io/v1"),
    ("autoscaling/v2beta1", &["HorizontalPodAutoscaler"], 25, "autoscaling/v2"),
    ("policy/v1beta1", &["PodDisruptionBudget"], 25, "policy/v1"),
    ("policy/v1beta1", &["PodSecurityPolicy"], 25, "the Pod Security labels on the Namespace"),
    ("node.k8s.io/v1beta1", &["RuntimeClass"], 25, "node.k8s.io/v1"),
    ("autoscaling/v2beta2", &["HorizontalPodAutoscaler"], 26, "autoscaling/v2"),
    ("flowcontrol.apiserver.k8s.io/v1alpha1", &[], 21, "flowcontrol.apiserver.k8s.io/v1"),
    ("flowcontrol.apiserver.k8s.io/v1beta1", &[], 26, "flowcontrol.apiserver.k8s.io/v1"),
    ("flowcontrol.apiserver.k8s.io/v1beta2", &[], 29, "flowcontrol.apiserver.k8s.io/v1"),
    ("flowcontrol.apiserver.k8s.io/v1beta3", &[], 32, "flowcontrol.apiserver.k8s.io/v1"),
    ("storage.k8s.io/v1beta1", &["CSIStorageCapacity"], 27, "storage.k8s.io/v1"),
];

/// The removal of this kind at this version, if there was one.
pub fn removed(api_version: &str, kind: &str) -> Option<Removed> {
    REMOVED
        .iter()
        .find(|(version, kinds, ..)| *version == api_version && (kinds.is_empty() || kinds.contains(&kind)))
        .map(|(_, _, in_minor, instead)| Removed { in_minor: *in_minor, instead })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows() {
        let instead = |version, kind| removed(version, kind).map(|r| r.instead);
        assert_eq!(instead("extensions/v1beta1", "Ingress"), Some("networking.k8s.io/v1"));
        assert_eq!(
            instead("apiextensions.k8s.io/v1beta1", "CustomResourceDefinition"),
            Some("apiextensions.k8s.io/v1")
        );
        // Groups whose v1beta1 came back with other kinds.
        assert_eq!(instead("networking.k8s.io/v1beta1", "ServiceCIDR"), None);
        assert_eq!(instead("storage.k8s.io/v1beta1", "VolumeAttributesClass"), None);
        assert_eq!(instead("coordination.k8s.io/v1beta1", "LeaseCandidate"), None);
        assert_eq!(instead("apps/v1", "Deployment"), None);
    }
}
