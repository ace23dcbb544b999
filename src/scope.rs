//! The scope: what the apps of one repository want from a cluster, so that an object that moves between two of them is
//! never deleted, and none is claimed twice. Pure.

use crate::app::App;
use crate::inventory::StoredParent;
use crate::live::kinds::Kinds;
use crate::object::{Gk, Manifest, ObjectKey, Problem};
use crate::plan::Sibling;
use crate::plan::autoscaler::target;
use crate::policy::labels_of;
use crate::reconcile::held;
use crate::render::Rendered;
use crate::render::namespaces::{Definitions, defined_here, resolve_namespaces};
use crate::source::Revision;
use std::collections::{BTreeMap, BTreeSet};
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
    /// What the apps' CRDs define.
    pub definitions: Definitions,
    /// Workloads that are scaled by autoscalers, with the autoscaler's app.
    scaled: BTreeMap<ObjectKey, String>,
    /// The Namespaces that the apps want, with their labels: policies may read them before they are written.
    pub namespaces: Namespaces,
}

/// Labels by namespace.
pub type Namespaces = BTreeMap<String, BTreeMap<String, String>>;

/// The neighbours of one app.
#[derive(Debug, Clone, Default)]
pub struct OneSide {
    /// What the others want, with the app's name.
    pub wants: BTreeMap<ObjectKey, String>,
    /// The others by ApplySet id.
    pub siblings: BTreeMap<String, Sibling>,
    /// Why prunes wait, if they do.
    pub prunes_wait: Option<String>,
    /// Workloads that the others' autoscalers scale.
    pub scaled: BTreeSet<ObjectKey>,
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
        for rendered in members.iter().filter_map(|member| member.rendered.as_ref().as_ref().ok()) {
            out.definitions.extend(defined_here(&rendered.objects));
        }
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
                    if let Ok(resolved) =
                        resolve_namespaces(rendered.objects.clone(), kinds, namespace, &out.definitions)
                    {
                        for object in &resolved.objects {
                            if object.key().is("", "Namespace") {
                                out.namespaces.insert(object.name().to_owned(), labels_of(Some(object.value())));
                            }
                            out.claims.entry(object.key()).or_default().push(app.name.clone());
                            if let Some(workload) = target(&object.key(), object.value()) {
                                out.scaled.insert(workload, app.name.clone());
                            }
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
            scaled: self.scaled.iter().filter(|(_, by)| *by != app).map(|(key, _)| key.clone()).collect(),
            prunes_wait: self.waits.iter().find(|(by, _)| *by != app).map(|(_, why)| why.clone()),
        }
    }
}

/// What apps need of each other without saying so: the one that holds a Namespace which is `missing` in the cluster, or
/// the CRD of a kind that is not served, comes before those that use it. What an app says itself counts more: nothing is
/// inferred against it. Pairs of (app, the app that comes first).
pub fn inferred_dependencies(
    members: &[Member],
    kinds: &Kinds,
    default_namespace: &str,
    missing: &BTreeSet<String>,
) -> Vec<(String, String)> {
    let provided = providers(members);
    let mut known: BTreeMap<String, BTreeSet<String>> =
        members.iter().map(|m| (m.app.name.clone(), m.app.depends_on.iter().cloned().collect())).collect();
    let mut out = Vec::new();
    for (app, need) in needs(members, default_namespace) {
        let open = match &need {
            Need::Namespace(name) => missing.contains(name),
            Need::Kind(gk) => kinds.get(gk).is_none(),
        };
        let Some(first) = provided.get(&need).filter(|first| open && **first != app) else { continue };
        let there = known.get(&app).is_some_and(|before| before.contains(first));
        if !there && !leads_to(&known, first, &app) {
            known.entry(app.clone()).or_default().insert(first.clone());
            out.push((app, first.clone()));
        }
    }
    out
}

/// Namespaces that one app holds and another one uses.
pub fn shared_namespaces(members: &[Member], default_namespace: &str) -> BTreeSet<String> {
    let provided = providers(members);
    let needs = needs(members, default_namespace).into_iter();
    needs
        .filter(|(app, need)| provided.get(need).is_some_and(|first| first != app))
        .filter_map(|(_, need)| match need {
            Need::Namespace(name) => Some(name),
            Need::Kind(_) => None,
        })
        .collect()
}

/// What an app's objects cannot be without.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    Namespace(String),
    Kind(Gk),
}

fn rendered(members: &[Member]) -> impl Iterator<Item = (&App, &Rendered)> {
    members.iter().filter_map(|member| Some((&*member.app, member.rendered.as_ref().as_ref().ok()?)))
}

fn providers(members: &[Member]) -> BTreeMap<Need, String> {
    let mut out = BTreeMap::new();
    for (app, rendered) in rendered(members) {
        for gk in defined_here(&rendered.objects).into_keys() {
            out.entry(Need::Kind(gk)).or_insert_with(|| app.name.clone());
        }
        for object in rendered.objects.iter().filter(|object| object.key().is("", "Namespace")) {
            out.entry(Need::Namespace(object.name().to_owned())).or_insert_with(|| app.name.clone());
        }
    }
    out
}

fn needs(members: &[Member], default_namespace: &str) -> BTreeSet<(String, Need)> {
    let mut out = BTreeSet::new();
    for (app, rendered) in rendered(members) {
        let fallback = app.namespace.as_deref().unwrap_or(default_namespace);
        for object in &rendered.objects {
            out.insert((app.name.clone(), Need::Kind(object.gvk().gk())));
            out.insert((app.name.clone(), Need::Namespace(object.namespace().unwrap_or(fallback).to_owned())));
        }
    }
    out
}

/// True if `from` comes after `to` already.
fn leads_to(known: &BTreeMap<String, BTreeSet<String>>, from: &str, to: &str) -> bool {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(at) = open.pop() {
        if at == to {
            return true;
        }
        if seen.insert(at) {
            open.extend(known.get(at).into_iter().flatten().map(String::as_str));
        }
    }
    false
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

    fn stored(app: &str, object: &ObjectKey) -> StoredParent {
        let text = String::new;
        let identity = Identity { instance: text(), repository: text(), path_root: text(), app: app.into() };
        let mut parent = Parent::new(identity, "shop");
        parent.members.push(Owned {
            object: object.with_version("v1"),
            uid: None,
            desired: None,
            owned: None,
            done: false,
        });
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
