//! The kinds that the simulated components read and write, with the version that they write them in.

use crate::object::Gk;
use std::sync::LazyLock;

/// A kind: its group and kind, made once.
pub type Kind = LazyLock<Gk>;

macro_rules! kinds {
    ($($name:ident = $group:literal $version:literal $kind:literal;)*) => {
        $(
            #[doc = concat!("`", $kind, "`.")]
            pub static $name: Kind = LazyLock::new(|| Gk::new($group, $kind));
        )*

        /// `apps/v1`, `v1`, …: what an object of this kind has as its `apiVersion`; empty for a kind not known here.
        pub fn api_version(gk: &Gk) -> &'static str {
            match (gk.group.as_str(), gk.kind.as_str()) {
                $(($group, $kind) => if $group.is_empty() { $version } else { concat!($group, "/", $version) },)*
                _ => "",
            }
        }
    };
}

kinds! {
    POD = "" "v1" "Pod";
    NODE = "" "v1" "Node";
    NAMESPACE = "" "v1" "Namespace";
    SERVICE = "" "v1" "Service";
    SERVICE_ACCOUNT = "" "v1" "ServiceAccount";
    CONFIG_MAP = "" "v1" "ConfigMap";
    SECRET = "" "v1" "Secret";
    ENDPOINTS = "" "v1" "Endpoints";
    EVENT = "" "v1" "Event";
    RESOURCE_QUOTA = "" "v1" "ResourceQuota";
    PERSISTENT_VOLUME = "" "v1" "PersistentVolume";
    PERSISTENT_VOLUME_CLAIM = "" "v1" "PersistentVolumeClaim";
    DEPLOYMENT = "apps" "v1" "Deployment";
    REPLICA_SET = "apps" "v1" "ReplicaSet";
    STATEFUL_SET = "apps" "v1" "StatefulSet";
    DAEMON_SET = "apps" "v1" "DaemonSet";
    CONTROLLER_REVISION = "apps" "v1" "ControllerRevision";
    API_SERVICE = "apiregistration.k8s.io" "v1" "APIService";
    JOB = "batch" "v1" "Job";
    CRON_JOB = "batch" "v1" "CronJob";
    ENDPOINT_SLICE = "discovery.k8s.io" "v1" "EndpointSlice";
    LEASE = "coordination.k8s.io" "v1" "Lease";
    STORAGE_CLASS = "storage.k8s.io" "v1" "StorageClass";
    POD_DISRUPTION_BUDGET = "policy" "v1" "PodDisruptionBudget";
    HORIZONTAL_POD_AUTOSCALER = "autoscaling" "v2" "HorizontalPodAutoscaler";
}
