//! Among equals: which kind comes first. Edges and waves decide before this does.

use crate::object::ObjectKey;

/// Install order. What others lean on comes first; kinds that are not listed (custom resources) come before the last group.
const ORDER: [(&str, &str); 37] = [
    ("", "Namespace"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ("scheduling.k8s.io", "PriorityClass"),
    ("node.k8s.io", "RuntimeClass"),
    ("storage.k8s.io", "StorageClass"),
    ("networking.k8s.io", "NetworkPolicy"),
    ("", "ResourceQuota"),
    ("", "LimitRange"),
    ("", "ServiceAccount"),
    ("rbac.authorization.k8s.io", "ClusterRole"),
    ("rbac.authorization.k8s.io", "Role"),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io", "RoleBinding"),
    ("", "Secret"),
    ("", "ConfigMap"),
    ("", "PersistentVolume"),
    ("", "PersistentVolumeClaim"),
    ("", "Service"),
    ("apps", "DaemonSet"),
    ("apps", "StatefulSet"),
    ("apps", "Deployment"),
    ("apps", "ReplicaSet"),
    ("", "ReplicationController"),
    ("", "Pod"),
    ("batch", "Job"),
    ("batch", "CronJob"),
    ("networking.k8s.io", "IngressClass"),
    ("networking.k8s.io", "Ingress"),
    ("autoscaling", "HorizontalPodAutoscaler"),
    ("keda.sh", "ScaledObject"),
    ("policy", "PodDisruptionBudget"),
    ("apiregistration.k8s.io", "APIService"),
    ("", ""),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
];

/// Rank of a kind: lower comes first.
pub fn kind_rank(key: &ObjectKey) -> usize {
    let place = |group: &str, kind: &str| ORDER.iter().position(|(g, k)| *g == group && *k == kind);
    place(&key.group, &key.kind).or_else(|| place("", "")).unwrap_or(ORDER.len())
}

/// True for a webhook configuration: applied last, removed first.
pub fn is_webhook(key: &ObjectKey) -> bool {
    key.group == "admissionregistration.k8s.io" && key.kind.ends_with("WebhookConfiguration")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Gk;

    #[test]
    fn what_others_lean_on_comes_first() {
        let rank = |group: &str, kind: &str| kind_rank(&ObjectKey::new(&Gk::new(group, kind), None, "x"));
        assert!(rank("", "Namespace") < rank("", "ConfigMap"));
        assert!(rank("", "Service") < rank("apps", "Deployment"));
        assert!(rank("apps", "Deployment") < rank("example.com", "Widget"));
        assert!(rank("example.com", "Widget") < rank("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"));
    }
}
