//! Whose is it? And what it takes to make an object ours that somebody else made.
//!
//! Ownership is read from the object's ApplySet label and from the inventory (by uid). Adoption takes over the fields of
//! the managers by which people deployed before (`kubectl`, Helm, Flux, Argo CD), as client-go's `csaupgrade` does: their
//! entries in `managedFields` become ours, so that a field dropped from Git is dropped live.

use super::input::{MANAGER, PART_OF, PlanInput};
use super::owned::{entry_head, fields_where};
use crate::inventory::Member;
use crate::live::snapshot::Presence;
use crate::object::{FieldSet, Live, Manifest, ObjectKey, PathElement, Problem};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Managers by which tools and people write what they mean to deploy. Not among them: `kubectl-rollout` and
/// `kubectl-scale`, which operate rather than deploy.
const DEPLOYERS: [&str; 24] = [
    "kubectl-client-side-apply",
    "kubectl",
    "kubectl-create",
    "kubectl-replace",
    "kubectl-edit",
    "kubectl-patch",
    "kubectl-set",
    "kubectl-run",
    "kubectl-expose",
    "kubectl-autoscale",
    "kubectl-annotate",
    "kubectl-label",
    "kubectl-last-applied",
    "helm",
    "Helm",
    "helm-controller",
    "kustomize-controller",
    "flux",
    "flux-client-side-apply",
    "argocd-controller",
    "argocd-application-controller",
    "argocd",
    "kapp",
    "before-first-apply",
];

/// Set by `kubectl rollout restart`. Dropping it would restart the pods.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// How a desired object stands in the cluster.
#[derive(Clone)]
pub enum Standing<'a> {
    /// It could not be asked.
    Unknown(Problem),
    /// It is not there.
    Absent,
    /// It is being deleted: waited out, never applied to.
    Terminating(&'a Live),
    /// It is ours.
    Ours(&'a Live),
    /// It is there, and nobody's, or another app's of the scope that no longer wants it.
    Adoptable {
        /// The object.
        live: &'a Live,
        /// The app that it moves from.
        from: Option<String>,
    },
    /// It is somebody else's: who.
    Theirs(String),
}

impl<'a> Standing<'a> {
    /// The live object that would be written to.
    pub fn live(&self) -> Option<&'a Live> {
        match self {
            Self::Ours(live) | Self::Adoptable { live, .. } => Some(live),
            _ => None,
        }
    }
}

/// Decides how a desired object stands.
pub fn standing<'a>(input: &PlanInput<'a>, key: &ObjectKey, member: Option<&Member>) -> Standing<'a> {
    let live: &'a Live = match input.snapshot.objects.get(key) {
        None => {
            let text = format!("{key} was not looked up, so nothing is done to it");
            return Standing::Unknown(Problem::new("Unknown", text));
        }
        Some(Presence::Unknown(problem)) => return Standing::Unknown(problem.clone()),
        Some(Presence::Absent) => {
            return match input.other_apps.get(key) {
                Some(other) if first_claim_is_theirs(input, other) => Standing::Theirs(format!("app `{other}`")),
                _ => Standing::Absent,
            };
        }
        Some(Presence::Present(live)) => live,
    };
    let ours_by_uid = member.is_some_and(|m| m.uid.as_deref().is_none_or(|uid| live.uid() == Some(uid)));
    let label = live.label(PART_OF).filter(|id| !id.is_empty());
    let known = match label {
        Some(id) if id == input.applyset_id => ours_by_uid,
        Some(id) => match theirs(input, key, id) {
            Some(owner) => return Standing::Theirs(owner),
            None => false,
        },
        None => member.is_some_and(|m| m.uid.is_some()) && ours_by_uid,
    };
    if let Some(other) = input.other_apps.get(key)
        && !known
        && first_claim_is_theirs(input, other)
    {
        return Standing::Theirs(format!("app `{other}`"));
    }
    if live.is_terminating() {
        return Standing::Terminating(live);
    }
    if known {
        return Standing::Ours(live);
    }
    let from = label.and_then(|id| input.siblings.get(id)).map(|sibling| sibling.app.clone());
    Standing::Adoptable { live, from }
}

/// Two apps want an object that neither has: the first by name gets it, on every run and every replica.
fn first_claim_is_theirs(input: &PlanInput<'_>, other: &str) -> bool {
    other < input.app
}

/// The owner that another ApplySet's label stands for; `None` if it is an app of our scope that lets the object go.
fn theirs(input: &PlanInput<'_>, key: &ObjectKey, id: &str) -> Option<String> {
    match input.siblings.get(id) {
        Some(sibling) if sibling.settled && input.other_apps.get(key) != Some(&sibling.app) => None,
        Some(sibling) => Some(format!("app `{}`", sibling.app)),
        None => Some(format!("ApplySet `{id}`")),
    }
}

/// The managers of an object whose fields adoption takes over.
pub fn deployers(live: &Live) -> Vec<String> {
    let names: BTreeSet<&str> = live
        .managed_fields()
        .iter()
        .map(entry_head)
        .filter(|(manager, _, main)| *main && DEPLOYERS.contains(manager))
        .map(|(manager, ..)| manager)
        .collect();
    names.into_iter().map(str::to_owned).collect()
}

/// The fields that a migration from `managers` makes ours.
pub fn migrating(live: &Live, managers: &[String]) -> FieldSet {
    let set = fields_where(live.value(), |manager, _, main| main && managers.iter().any(|name| name == manager));
    set.difference(&restarted_at())
}

fn restarted_at() -> FieldSet {
    let mut set = FieldSet::default();
    let path: Vec<PathElement> = ["spec", "template", "metadata", "annotations", RESTARTED_AT]
        .into_iter()
        .map(|name| PathElement::Field(name.to_owned()))
        .collect();
    set.insert(&path);
    set
}

/// The JSON patch that makes the entries of `managers` ours, or `None` if they have none. It names the resourceVersion it
/// was made from (by `replace`, which makes a stale one a 409 rather than a 422): after a 409 read the object again and
/// call this again.
///
/// As in client-go's `csaupgrade`: the fields join our entry, if there is one, or else the first of theirs becomes ours;
/// fields of entries in another API version cannot be joined, and their entries are removed.
pub fn migrate_managed_fields(live: &Live, managers: &[String]) -> Option<Value> {
    let taken = |entry: &&Value| {
        let (manager, _, main) = entry_head(entry);
        main && managers.iter().any(|name| name == manager)
    };
    let entries = live.managed_fields();
    let first = entries.iter().find(taken)?;
    let is_ours = |entry: &Value| entry_head(entry) == (MANAGER, "Apply", true);
    let base = entries.iter().find(|entry| is_ours(entry)).unwrap_or(first);
    let version = base.get("apiVersion");
    let fields = |entry: &Value| entry.get("fieldsV1").map(FieldSet::parse).unwrap_or_default();
    let joined = entries
        .iter()
        .filter(|entry| taken(entry) && entry.get("apiVersion") == version)
        .fold(fields(base).difference(&restarted_at()), |set, entry| {
            set.union(&fields(entry).difference(&restarted_at()))
        });
    let mut own = base.clone();
    own["manager"] = json!(MANAGER);
    own["operation"] = json!("Apply");
    own["fieldsV1"] = joined.to_fields_v1();
    let mut out = vec![own];
    for entry in entries.iter().filter(|entry| !is_ours(entry)) {
        if !taken(&entry) {
            out.push(entry.clone());
            continue;
        }
        // What stays theirs: the mark of a restart.
        let rest = fields(entry).intersection(&restarted_at());
        if !rest.is_empty() {
            let mut entry = entry.clone();
            entry["fieldsV1"] = rest.to_fields_v1();
            out.push(entry);
        }
    }
    Some(json!([
        {"op": "replace", "path": "/metadata/managedFields", "value": out},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": live.resource_version().unwrap_or_default()},
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(manager: &str, operation: &str, fields: &Value) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": "apps/v1", "fieldsType": "FieldsV1",
            "time": "2026-01-01T00:00:00Z", "fieldsV1": fields})
    }

    fn live(entries: &[Value]) -> Live {
        Live(json!({"metadata": {"name": "a", "resourceVersion": "7", "managedFields": entries}}))
    }

    #[test]
    fn deployers_become_us_and_others_stay() {
        let mut status = entry("kubectl", "Update", &json!({"f:status": {"f:x": {}}}));
        status["subresource"] = json!("status");
        let live = live(&[
            entry("kubectl-client-side-apply", "Update", &json!({"f:spec": {"f:a": {}}})),
            entry("helm", "Apply", &json!({"f:spec": {"f:b": {}}})),
            entry("kube-controller-manager", "Update", &json!({"f:spec": {"f:c": {}}})),
            status.clone(),
        ]);
        let managers = deployers(&live);
        assert_eq!(managers, ["helm", "kubectl-client-side-apply"]);
        let patch = migrate_managed_fields(&live, &managers).unwrap();
        assert_eq!(patch[1]["value"], json!("7"));
        let entries = patch[0]["value"].as_array().unwrap();
        assert_eq!(entries.len(), 3);
        assert_eq!(entries[0]["manager"], json!("driftless"));
        assert_eq!(entries[0]["operation"], json!("Apply"));
        assert_eq!(entries[0]["fieldsV1"], json!({"f:spec": {"f:a": {}, "f:b": {}}}));
        assert_eq!(entries[2], status);
        assert!(migrate_managed_fields(&live, &["argocd-controller".into()]).is_none());
    }

    #[test]
    fn a_restart_by_hand_is_not_undone() {
        let annotations = json!({"f:spec": {"f:template": {"f:metadata": {"f:annotations":
            {format!("f:{RESTARTED_AT}"): {}, "f:mine": {}}}}}});
        let live = live(&[entry("kubectl", "Update", &annotations)]);
        assert!(!migrating(&live, &["kubectl".into()]).paths().iter().any(|p| p.to_string().contains("restartedAt")));
        let patch = migrate_managed_fields(&live, &["kubectl".into()]).unwrap();
        let entries = patch[0]["value"].as_array().unwrap();
        assert_eq!(entries.len(), 2, "{patch}");
        assert_eq!(entries[1]["manager"], json!("kubectl"));
        assert!(!entries[0].to_string().contains("restartedAt"));
    }

    #[test]
    fn our_own_entry_is_joined_and_other_versions_are_dropped() {
        let mut old = entry("helm", "Update", &json!({"f:spec": {"f:z": {}}}));
        old["apiVersion"] = json!("apps/v1beta1");
        let live = live(&[
            old,
            entry("driftless", "Apply", &json!({"f:spec": {"f:a": {}}})),
            entry("kubectl", "Update", &json!({"f:spec": {"f:b": {}}})),
        ]);
        let patch = migrate_managed_fields(&live, &deployers(&live)).unwrap();
        let entries = patch[0]["value"].as_array().unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0]["fieldsV1"], json!({"f:spec": {"f:a": {}, "f:b": {}}}));
    }
}
