//! The kinds that the API server serves: the built-in ones as a table, and those of CustomResourceDefinitions.
//!
//! In: the table below, and CRDs as they are established or deleted. Out: a [`Kind`] by group and plural, or by group and
//! kind. The table's facts are those of `kubectl api-resources` of a real 1.36 server; what the strategies of
//! `pkg/registry` do per kind (generations, unconditional updates, create on update) stands beside them.

use crate::object::{FieldSet, Gk, PathElement};
use crate::scheme::{TypeId, Types};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

/// How `metadata.generation` moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// Not kept.
    None,
    /// Counts changes of everything but metadata and status.
    Spec,
    /// Counts changes of the spec and of annotations (Deployments).
    SpecAndAnnotations,
}

/// A version of a kind.
#[derive(Debug, Clone)]
pub struct Version {
    /// `v1`.
    pub name: String,
    /// Its type; `None` for objects without a schema.
    pub root: Option<TypeId>,
    /// Whether requests may use it.
    pub served: bool,
    /// Printer columns of a custom resource.
    pub columns: Vec<Value>,
    /// The OpenAPI schema of a custom resource.
    pub schema: Option<Arc<Value>>,
    /// Paths of the scale subresource of a custom resource.
    pub scale: Option<Value>,
    /// Whether the version has a status subresource.
    pub status: bool,
}

/// A kind that is served.
#[derive(Debug, Clone)]
pub struct Kind {
    /// Group and kind.
    pub gk: Gk,
    /// Name in URLs.
    pub plural: String,
    /// Singular name.
    pub singular: String,
    /// False for cluster-scoped kinds.
    pub namespaced: bool,
    /// Short names.
    pub short_names: Vec<String>,
    /// Categories, such as `all`.
    pub categories: Vec<String>,
    /// Versions, the preferred first.
    pub versions: Vec<Version>,
    /// Index of the version that is stored.
    pub storage: usize,
    /// Subresources, sorted.
    pub subresources: Vec<&'static str>,
    /// How the generation moves.
    pub generation: Generation,
    /// A PUT without resourceVersion is accepted.
    pub unconditional_update: bool,
    /// A PUT of an object that is not there creates it.
    pub create_on_update: bool,
    /// The arena of the types.
    pub types: TypesRef,
    /// True for custom resources.
    pub custom: bool,
    /// Reset by writes to the main resource.
    pub reset_main: FieldSet,
    /// Reset by writes to the status.
    pub reset_status: FieldSet,
}

/// The arena that a kind's types live in.
#[derive(Debug, Clone)]
pub enum TypesRef {
    /// The table of the built-in kinds.
    Builtin,
    /// Types of one CustomResourceDefinition.
    Custom(Arc<Types>),
}

impl TypesRef {
    /// The arena.
    pub fn get(&self) -> &Types {
        match self {
            Self::Builtin => Types::builtin(),
            Self::Custom(types) => types,
        }
    }
}

impl Kind {
    /// `apps/v1` of one of its versions.
    pub fn api_version(&self, version: &str) -> String {
        if self.gk.group.is_empty() { version.to_owned() } else { format!("{}/{version}", self.gk.group) }
    }

    /// The version of that name.
    pub fn version(&self, name: &str) -> Option<&Version> {
        self.versions.iter().find(|v| v.name == name)
    }

    /// The version in which objects are stored.
    pub fn storage_version(&self) -> &Version {
        &self.versions[self.storage.min(self.versions.len().saturating_sub(1))]
    }

    /// True if there is such a subresource in the version.
    pub fn has_subresource(&self, version: &Version, name: &str) -> bool {
        if self.custom {
            return (name == "status" && version.status) || (name == "scale" && version.scale.is_some());
        }
        self.subresources.contains(&name)
    }

    /// True if this is `kind` of `group`.
    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.gk.is(group, kind)
    }
}

/// A set of plain field paths.
pub fn field_set(paths: &[&str]) -> FieldSet {
    let mut set = FieldSet::default();
    for path in paths {
        let elements: Vec<PathElement> = path.split('.').map(|p| PathElement::Field(p.to_owned())).collect();
        set.insert(&elements);
    }
    set
}

/// `group versions kind plural short-names scope categories subresources flags`; `-` for nothing. Versions: preferred
/// first, the one with `*` is stored. Scope: N or C. Flags: g generation, a generation with annotations, c create on
/// update, u no unconditional update.
const TABLE: &str = "
- v1 ConfigMap configmaps cm N - - -
- v1 Endpoints endpoints ep N - - c
- v1 Event events ev N - - c
- v1 LimitRange limitranges limits N - - c
- v1 Namespace namespaces ns C - finalize,status -
- v1 Node nodes no C - status -
- v1 PersistentVolumeClaim persistentvolumeclaims pvc N - status -
- v1 PersistentVolume persistentvolumes pv C - status -
- v1 Pod pods po N all binding,eviction,log,status g
- v1 PodTemplate podtemplates - N - - g
- v1 ReplicationController replicationcontrollers rc N all scale,status g
- v1 ResourceQuota resourcequotas quota N - status -
- v1 Secret secrets - N - - -
- v1 ServiceAccount serviceaccounts sa N - - -
- v1 Service services svc N all status c
admissionregistration.k8s.io v1 MutatingAdmissionPolicy mutatingadmissionpolicies - C api-extensions - gu
admissionregistration.k8s.io v1 MutatingAdmissionPolicyBinding mutatingadmissionpolicybindings - C api-extensions - gu
admissionregistration.k8s.io v1 MutatingWebhookConfiguration mutatingwebhookconfigurations - C api-extensions - gu
admissionregistration.k8s.io v1 ValidatingAdmissionPolicy validatingadmissionpolicies - C api-extensions status gu
admissionregistration.k8s.io v1 ValidatingAdmissionPolicyBinding validatingadmissionpolicybindings - C api-extensions - gu
admissionregistration.k8s.io v1 ValidatingWebhookConfiguration validatingwebhookconfigurations - C api-extensions - gu
apiextensions.k8s.io v1 CustomResourceDefinition customresourcedefinitions crd,crds C api-extensions status gu
apiregistration.k8s.io v1 APIService apiservices - C api-extensions status u
apps v1 ControllerRevision controllerrevisions - N - - -
apps v1 DaemonSet daemonsets ds N all status g
apps v1 Deployment deployments deploy N all scale,status a
apps v1 ReplicaSet replicasets rs N all scale,status g
apps v1 StatefulSet statefulsets sts N all scale,status g
autoscaling v2*,v1 HorizontalPodAutoscaler horizontalpodautoscalers hpa N all status -
batch v1 CronJob cronjobs cj N all status g
batch v1 Job jobs - N all status g
coordination.k8s.io v1 Lease leases - N - - cu
discovery.k8s.io v1 EndpointSlice endpointslices - N - - g
events.k8s.io v1 Event events ev N - - c
networking.k8s.io v1 IngressClass ingressclasses - C - - g
networking.k8s.io v1 Ingress ingresses ing N - status g
networking.k8s.io v1 NetworkPolicy networkpolicies netpol N - - g
policy v1 PodDisruptionBudget poddisruptionbudgets pdb N - status gu
rbac.authorization.k8s.io v1 ClusterRoleBinding clusterrolebindings - C - - c
rbac.authorization.k8s.io v1 ClusterRole clusterroles - C - - c
rbac.authorization.k8s.io v1 RoleBinding rolebindings - N - - c
rbac.authorization.k8s.io v1 Role roles - N - - c
scheduling.k8s.io v1 PriorityClass priorityclasses pc C - - g
storage.k8s.io v1 CSIDriver csidrivers - C - - u
storage.k8s.io v1 CSINode csinodes - C - - u
storage.k8s.io v1 StorageClass storageclasses sc C - - -
";

/// The name in the type table of a kind.
pub fn type_name(api_version: &str, kind: &str) -> String {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    format!("{}.{version}.{kind}", crate::scheme::package(group))
}

fn parse(line: &str) -> Option<Kind> {
    let words: Vec<&str> = line.split(' ').collect();
    let [group, versions, kind, plural, short, scope, categories, subresources, flags] = words.as_slice() else {
        return None;
    };
    let list = |text: &str| -> Vec<String> {
        if text == "-" { Vec::new() } else { text.split(',').map(str::to_owned).collect() }
    };
    let group = if *group == "-" { "" } else { group };
    let subresources: Vec<&'static str> = ["binding", "eviction", "finalize", "log", "scale", "status"]
        .into_iter()
        .filter(|name| subresources.split(',').any(|s| s == *name))
        .collect();
    let status = subresources.contains(&"status");
    let mut storage = 0;
    let versions: Vec<Version> = versions
        .split(',')
        .enumerate()
        .map(|(i, name)| {
            if name.ends_with('*') {
                storage = i;
            }
            let name = name.trim_end_matches('*').to_owned();
            let root = Types::builtin().named(&format!("{}.{name}.{kind}", crate::scheme::package(group)));
            let (columns, schema, scale) = (Vec::new(), None, None);
            Version { name, root, served: true, columns, schema, scale, status }
        })
        .collect();
    let mut reset_status = field_set(&["spec"]);
    match *kind {
        "Deployment" => reset_status = field_set(&["spec", "metadata.labels"]),
        "Pod" => reset_status = field_set(&["spec", "metadata.deletionTimestamp", "metadata.ownerReferences"]),
        "CustomResourceDefinition" | "APIService" => reset_status = field_set(&["spec", "metadata"]),
        _ => {}
    }
    Some(Kind {
        gk: Gk::new(group, *kind),
        plural: (*plural).to_owned(),
        singular: kind.to_lowercase(),
        namespaced: *scope == "N",
        short_names: list(short),
        categories: list(categories),
        versions,
        storage,
        subresources,
        generation: if flags.contains('a') {
            Generation::SpecAndAnnotations
        } else if flags.contains('g') {
            Generation::Spec
        } else {
            Generation::None
        },
        unconditional_update: !flags.contains('u'),
        create_on_update: flags.contains('c'),
        types: TypesRef::Builtin,
        custom: false,
        reset_main: if status { field_set(&["status"]) } else { FieldSet::default() },
        reset_status,
    })
}

/// All kinds, by name.
#[derive(Debug, Clone, Default)]
pub struct Kinds {
    by_plural: BTreeMap<(String, String), Arc<Kind>>,
    by_gk: HashMap<Gk, Arc<Kind>>,
}

impl Kinds {
    /// The built-in kinds.
    pub fn builtin() -> Self {
        Self::table().clone()
    }

    fn table() -> &'static Self {
        static BUILTIN: OnceLock<Kinds> = OnceLock::new();
        BUILTIN.get_or_init(|| {
            let mut kinds = Self::default();
            for kind in TABLE.lines().filter_map(parse) {
                kinds.insert(kind);
            }
            kinds
        })
    }

    /// Whether there are no others than the built-in kinds.
    pub fn is_builtin(&self) -> bool {
        let table = Self::table();
        self.by_plural.len() == table.by_plural.len()
            && self.iter().zip(table.iter()).all(|(one, other)| Arc::ptr_eq(one, other))
    }

    /// Adds or replaces a kind.
    pub fn insert(&mut self, kind: Kind) {
        let kind = Arc::new(kind);
        self.by_plural.insert((kind.gk.group.clone(), kind.plural.clone()), Arc::clone(&kind));
        self.by_gk.insert(kind.gk.clone(), kind);
    }

    /// Removes a custom kind.
    pub fn remove(&mut self, group: &str, plural: &str) {
        if let Some(kind) = self.by_plural.remove(&(group.to_owned(), plural.to_owned())) {
            self.by_gk.remove(&kind.gk);
        }
    }

    /// By group and plural.
    pub fn by_plural(&self, group: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.by_plural.get(&(group.to_owned(), plural.to_owned()))
    }

    /// By group and kind.
    pub fn by_gk(&self, gk: &Gk) -> Option<&Arc<Kind>> {
        self.by_gk.get(gk)
    }

    /// All, sorted by group and plural.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.by_plural.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_the_table_has_types() {
        let kinds = Kinds::builtin();
        assert_eq!(kinds.iter().count(), TABLE.lines().filter(|line| !line.is_empty()).count());
        for kind in kinds.iter() {
            for version in &kind.versions {
                assert!(version.root.is_some(), "{} {}", kind.gk, version.name);
            }
        }
        assert!(kinds.by_plural("apps", "deployments").unwrap().subresources.contains(&"scale"));
    }
}
