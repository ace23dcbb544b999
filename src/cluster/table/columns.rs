//! Which columns each built-in kind has.

/// `group kind: column, column…`; a column is `Name`, `Name:type`, and ends with `!` where only wide output shows it.
const TABLE: &str = "
/ConfigMap: Name, Data, Age
/Endpoints: Name, Endpoints, Age
/Event: Last Seen, Type, Reason, Object, Subobject!, Source!, Message, First Seen!, Count!, Name!
/Namespace: Name, Status, Age
/Node: Name, Status, Roles, Age, Version, Internal-IP!, External-IP!, OS-Image!, Kernel-Version!, Container-Runtime!
/PersistentVolumeClaim: Name, Status, Volume, Capacity, Access Modes, StorageClass, VolumeAttributesClass, Age, VolumeMode!
/PersistentVolume: Name, Capacity, Access Modes, Reclaim Policy, Status, Claim, StorageClass, VolumeAttributesClass, Reason, Age, VolumeMode!
/Pod: Name, Ready, Status, Restarts, Age, IP!, Node!, Nominated Node!, Readiness Gates!
/PodTemplate: Name, Containers, Images, Pod Labels
/ReplicationController: Name, Desired:integer, Current:integer, Ready:integer, Age, Containers!, Images!, Selector!
/ResourceQuota: Name, Request, Limit, Age
/Secret: Name, Type, Data, Age
/ServiceAccount: Name, Age
/Service: Name, Type, Cluster-IP, External-IP, Port(s), Age, Selector!
apps/ControllerRevision: Name, Controller, Revision, Age
apps/DaemonSet: Name, Desired:integer, Current:integer, Ready:integer, Up-to-date:integer, Available:integer, Node Selector, Age, Containers!, Images!, Selector!
apps/Deployment: Name, Ready, Up-to-date, Available, Age, Containers!, Images!, Selector!
apps/ReplicaSet: Name, Desired:integer, Current:integer, Ready:integer, Age, Containers!, Images!, Selector!
apps/StatefulSet: Name, Ready, Age, Containers!, Images!
autoscaling/HorizontalPodAutoscaler: Name, Reference, Targets, MinPods, MaxPods, Replicas, Age
batch/CronJob: Name, Schedule, Timezone, Suspend:boolean, Active:integer, Last Schedule, Age, Containers!, Images!, Selector!
batch/Job: Name, Status, Completions, Duration, Age, Containers!, Images!, Selector!
coordination.k8s.io/Lease: Name, Holder, Age
discovery.k8s.io/EndpointSlice: Name, AddressType, Ports, Endpoints, Age
events.k8s.io/Event: Last Seen, Type, Reason, Object, Subobject!, Source!, Message, First Seen!, Count!, Name!
networking.k8s.io/IngressClass: Name, Controller, Parameters, Age
networking.k8s.io/Ingress: Name, Class, Hosts, Address, Ports, Age
networking.k8s.io/NetworkPolicy: Name, Pod-Selector, Age
policy/PodDisruptionBudget: Name, Min Available, Max Unavailable, Allowed Disruptions:integer, Age
rbac.authorization.k8s.io/ClusterRoleBinding: Name, Role, Age, Users!, Groups!, ServiceAccounts!
rbac.authorization.k8s.io/RoleBinding: Name, Role, Age, Users!, Groups!, ServiceAccounts!
scheduling.k8s.io/PriorityClass: Name, Value:integer, Global-Default:boolean, Age, PreemptionPolicy
storage.k8s.io/CSIDriver: Name, AttachRequired:boolean, PodInfoOnMount:boolean, StorageCapacity:boolean, TokenRequests, RequiresRepublish:boolean, Modes, Age
storage.k8s.io/CSINode: Name, Drivers:integer, Age
storage.k8s.io/StorageClass: Name, Provisioner, ReclaimPolicy, VolumeBindingMode, AllowVolumeExpansion, Age
apiregistration.k8s.io/APIService: Name, Service, Available, Age
admissionregistration.k8s.io/MutatingAdmissionPolicy: Name, Mutations:integer, ParamKind, Age
admissionregistration.k8s.io/MutatingAdmissionPolicyBinding: Name, PolicyName, ParamRef, Age
admissionregistration.k8s.io/MutatingWebhookConfiguration: Name, Webhooks:integer, Age
admissionregistration.k8s.io/ValidatingAdmissionPolicy: Name, Validations:integer, ParamKind, Age
admissionregistration.k8s.io/ValidatingAdmissionPolicyBinding: Name, PolicyName, ParamRef, Age
admissionregistration.k8s.io/ValidatingWebhookConfiguration: Name, Webhooks:integer, Age
";

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its heading.
    pub name: String,
    /// Its type, such as `string`.
    pub kind: String,
    /// 1 where only wide output shows it.
    pub priority: i64,
    /// What it means.
    pub description: String,
}

/// The columns of a kind; kinds without columns of their own show their name and when they were created.
pub fn columns(group: &str, kind: &str) -> Vec<Column> {
    let wanted = format!("{group}/{kind}: ");
    let text = TABLE.lines().find_map(|line| line.strip_prefix(&wanted)).unwrap_or("Name, Created At:date");
    text.split(", ")
        .map(|column| {
            let (column, priority) = column.strip_suffix('!').map_or((column, 0), |c| (c, 1));
            let (name, kind) = column.split_once(':').unwrap_or((column, "string"));
            Column { name: name.to_owned(), kind: kind.to_owned(), priority, description: String::new() }
        })
        .collect()
}
