//! The scope: what the apps of one repository want from a cluster, so that an object that moves between two of them is
//! never deleted, and none is claimed twice. Pure.

use crate::app::App;
use crate::inventory::StoredParent;
use crate::live::kinds::Kinds;
use crate::object::{Manifest, ObjectKey, Problem};
use crate::plan::Sibling;
use crate::reconcile::held;
use crate::render::Rendered;
use crate::render::namespaces::resolve_namespaces;
use crate::source::Revision;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One app with what it became.
#[derive(Clone)]
pub struct Member {
    /// The app.
    pub app: Arc<App>,
    /// Its manifests, or why there are none.
    pub rendered: Arc<Result<Rendered, Vec<Problem>>>,
}

/// What planning has to know of an app's neighbours.
#[derive(Debug, Clone, Default)]
pub struct Neighbours {
    /// Which apps want which object: those that have it first, then by name. More than one is a conflict, which planning
    /// decides.
    claims: BTreeMap<ObjectKey, Vec<String>>,
    /// Every app by its ApplySet id.
    apps: BTreeMap<String, Sibling>,
    /// Why unclaimed prunes wait, by the app that is the reason.
    waits: BTreeMap<String, String>,
}

/// The neighbours of one app.
#[derive(Debug, Clone, Default)]
pub struct OneSide {
    /// What the others want, with the app's name.
    pub wants: BTreeMap<ObjectKey, String>,
    /// The others by ApplySet id.
    pub siblings: BTreeMap<String, Sibling>,
    /// Why prunes wait, if they do.
    pub prunes_wait: Option<String>,
}

impl Neighbours {
    /// The apps of a scope on one cluster, with their inventories.
    pub fn new(
        members: &[Member],
        parents: &[StoredParent],
        kinds: &Kinds,
        default_namespace: &str,
        parents_namespace: &str,
        revision: &Revision,
    ) -> Self {
        let mut out = Self::default();
        for member in members {
            let app = &member.app;
            let parent = parents.iter().map(|p| &p.parent).find(|p| p.identity == app.identity);
            let mut settled = false;
            match member.rendered.as_ref() {
                Err(_) => {
                    out.waits.insert(app.name.clone(), format!("app `{}` does not render", app.name));
                }
                Ok(rendered) => {
                    let namespace = app.namespace.as_deref().unwrap_or(default_namespace);
                    // Kinds that are not served yet are the app's own to report; its claims are what can be told.
                    if let Ok(resolved) = resolve_namespaces(rendered.objects.clone(), kinds, namespace) {
                        for object in &resolved.objects {
                            out.claims.entry(object.key()).or_default().push(app.name.clone());
                        }
                    }
                    let halted = parent.and_then(|parent| match parent.suspended {
                        true => Some("is suspended"),
                        false => held(parent, &rendered.digest, revision).map(|_| "is held"),
                    });
                    settled = halted.is_none();
                    if let Some(why) = halted {
                        out.waits.insert(app.name.clone(), format!("app `{}` {why}", app.name));
                    }
                }
            }
            out.apps.insert(app.identity.applyset_id(parents_namespace), Sibling { app: app.name.clone(), settled });
        }
        out.put_owners_first(parents);
        // Apps that are gone from Git want nothing: their objects are free to move.
        for parent in parents {
            let id = parent.parent.identity.applyset_id(parents_namespace);
            out.apps.entry(id).or_insert_with(|| Sibling { app: parent.parent.identity.app.clone(), settled: true });
        }
        out
    }

    fn put_owners_first(&mut self, parents: &[StoredParent]) {
        for (key, apps) in self.claims.iter_mut().filter(|(_, apps)| apps.len() > 1) {
            let has = |app: &String| {
                parents
                    .iter()
                    .map(|p| &p.parent)
                    .any(|p| p.identity.app == *app && p.members.iter().any(|m| m.object.key() == *key))
            };
            apps.sort_by_key(|app| (!has(app), app.clone()));
        }
    }

    /// The neighbours as `app` sees them.
    pub fn of(&self, app: &str) -> OneSide {
        OneSide {
            wants: self
                .claims
                .iter()
                .filter_map(|(key, apps)| Some((key.clone(), apps.iter().find(|by| *by != app)?.clone())))
                .collect(),
            siblings: self.apps.iter().filter(|(_, s)| s.app != app).map(|(id, s)| (id.clone(), s.clone())).collect(),
            prunes_wait: self.waits.iter().find(|(by, _)| *by != app).map(|(_, why)| why.clone()),
        }
    }
}

/// Inventories whose app is no more in Git.
pub fn removed<'a>(members: &[Member], parents: &'a [StoredParent]) -> Vec<&'a StoredParent> {
    let known = |parent: &&StoredParent| !members.iter().any(|m| m.app.identity == parent.parent.identity);
    parents.iter().filter(known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::{Identity, Member as Owned, Parent};
    use crate::object::Gk;

    fn stored(app: &str, object: &ObjectKey) -> StoredParent {
        let text = String::new;
        let identity = Identity { instance: text(), repository: text(), path_root: text(), app: app.into() };
        let mut parent = Parent::new(identity, "shop");
        parent.members.push(Owned { object: object.with_version("v1"), uid: None, desired: None, owned: None });
        StoredParent { parent, lock: None, request: None, resource_version: None }
    }

    #[test]
    fn every_claim_is_told_and_the_owner_s_first() {
        let key = ObjectKey::new(&Gk::new("", "ConfigMap"), Some("shop"), "x");
        let mut neighbours = Neighbours::default();
        neighbours.claims.insert(key.clone(), vec!["a".into(), "b".into(), "c".into()]);
        neighbours.put_owners_first(&[stored("c", &key)]);
        assert_eq!(neighbours.of("a").wants[&key], "c");
        assert_eq!(neighbours.of("b").wants[&key], "c");
        assert_eq!(neighbours.of("c").wants[&key], "a");
        neighbours.claims.insert(key.clone(), vec!["a".into()]);
        assert!(neighbours.of("a").wants.is_empty());
    }
}
