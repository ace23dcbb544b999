//! What a Namespace or a CRD holds that is not one app's: asked before it may be pruned, since deleting it deletes that.

use super::client::{ApiError, Call, Client};
use super::kinds::{Kind, Kinds};
use crate::inventory::identity::PART_OF;
use crate::object::{Gk, Live, Manifest, ObjectKey};
use futures::future::try_join_all;
use serde_json::Value;

/// Objects of one list are looked through up to this many: one foreign object is enough to refuse.
const LOOK_AT: &str = "100";

/// Objects in the Namespace, or instances of the CRD, that do not carry `applyset_id`.
///
/// Left out: what every namespace has by itself (its default ServiceAccount and root certificate), events, and what a
/// controller made for another object.
///
/// # Errors
/// Any list that fails: unknown contents are not no contents.
pub async fn contents(
    client: &Client,
    kinds: &Kinds,
    doomed: &ObjectKey,
    applyset_id: &str,
) -> Result<Vec<ObjectKey>, ApiError> {
    let lists: Vec<(&Kind, Option<&str>)> = if doomed.is("", "Namespace") {
        let inside = kinds.by_gk.values().filter(|kind| kind.namespaced && kind.listable && !is_noise(&kind.gvk.gk()));
        inside.map(|kind| (kind, Some(doomed.name.as_str()))).collect()
    } else {
        // A CRD is named `<plural>.<group>`.
        let defined = kinds.by_gk.values().filter(|kind| format!("{}.{}", kind.plural, kind.gvk.group) == doomed.name);
        defined.map(|kind| (kind, None)).collect()
    };
    let found = try_join_all(lists.into_iter().map(|(kind, namespace)| list(client, kind, namespace))).await?;
    let foreign = found.into_iter().flatten().filter(|live| is_foreign(live, applyset_id));
    Ok(foreign.map(|live| live.key()).collect())
}

fn is_noise(gk: &Gk) -> bool {
    gk.kind == "Event" || gk.is("coordination.k8s.io", "Lease") || gk.is("metrics.k8s.io", "PodMetrics")
}

fn is_foreign(live: &Live, applyset_id: &str) -> bool {
    let by_itself = matches!(
        (live.gvk().kind.as_str(), live.name()),
        ("ServiceAccount", "default") | ("ConfigMap", "kube-root-ca.crt" | "openshift-service-ca.crt")
    );
    let controlled = live.controller_uid().is_some();
    // The endpoints controllers copy a Service's labels: what they made is told by theirs.
    let copied = matches!(live.gvk().kind.as_str(), "Endpoints" | "EndpointSlice");
    live.label(PART_OF) != Some(applyset_id) && !by_itself && !controlled && !copied
}

async fn list(client: &Client, kind: &Kind, namespace: Option<&str>) -> Result<Vec<Live>, ApiError> {
    let version = &kind.gvk.version;
    let call = Call::get(kind.collection_path(version, namespace)).with("limit", LOOK_AT);
    let answer = client.send_patiently(&call).await?;
    let items = answer.body.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    Ok(items
        .into_iter()
        .map(|mut item| {
            if let Value::Object(map) = &mut item {
                map.insert("apiVersion".into(), kind.gvk.api_version().into());
                map.insert("kind".into(), kind.gvk.kind.clone().into());
            }
            Live(item)
        })
        .collect())
}
