//! What kinds a cluster serves, as discovery said. Pure data.

use crate::object::{Gk, Gvk};
use crate::policy::{Facts, Resource};
use std::collections::BTreeMap;

/// One kind that the cluster serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// Group, preferred version, kind.
    pub gvk: Gvk,
    /// All served versions.
    pub versions: Vec<String>,
    /// Resource name in URLs, such as `deployments`.
    pub plural: String,
    /// False for cluster-scoped kinds.
    pub namespaced: bool,
    /// True if it can be listed and watched.
    pub listable: bool,
}

/// The kinds of a cluster.
#[derive(Debug, Clone, Default)]
pub struct Kinds {
    /// By group and kind.
    pub by_gk: BTreeMap<Gk, Kind>,
    /// Groups whose discovery failed (an APIService without endpoints), with what was said. Their kinds are unknown,
    /// not absent.
    pub broken: BTreeMap<String, String>,
}

impl Kinds {
    /// The kind, if it is served.
    pub fn get(&self, gk: &Gk) -> Option<&Kind> {
        self.by_gk.get(gk)
    }
}

impl From<&Kinds> for Facts {
    /// What policies need to know of the cluster's kinds.
    fn from(kinds: &Kinds) -> Self {
        let resource = |kind: &Kind| Resource { plural: kind.plural.clone(), namespaced: kind.namespaced };
        Self {
            resources: kinds.by_gk.iter().map(|(gk, kind)| (gk.clone(), resource(kind))).collect(),
            ..Self::default()
        }
    }
}

impl Kind {
    /// URL path of the collection: cluster-wide for `None`, else of one namespace.
    pub fn collection_path(&self, version: &str, namespace: Option<&str>) -> String {
        let group = &self.gvk.group;
        let root = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        match namespace {
            Some(namespace) if self.namespaced => format!("{root}/namespaces/{namespace}/{}", self.plural),
            _ => format!("{root}/{}", self.plural),
        }
    }

    /// URL path of one object.
    pub fn object_path(&self, version: &str, namespace: Option<&str>, name: &str) -> String {
        format!("{}/{name}", self.collection_path(version, namespace))
    }

    /// `version` if it is served, else the preferred one.
    pub fn version_or_preferred<'a>(&'a self, version: &'a str) -> &'a str {
        if self.versions.iter().any(|v| v == version) { version } else { &self.gvk.version }
    }
}
