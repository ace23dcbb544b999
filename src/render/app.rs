//! The App shorthand (`driftless.dev/v1alpha1`, kind `App`): five lines are a working app.
//!
//! ```yaml
//! apiVersion: driftless.dev/v1alpha1
//! kind: App
//! metadata: {name: web}
//! spec:
//!   image: nginx:1.29
//! ```
//!
//! In: the document with its lines. Out: ServiceAccount, Service, Deployment, HorizontalPodAutoscaler and
//! PodDisruptionBudget as needed, each exactly as a strict API server takes it; or every fault, with its line. Pure.
//!
//! Fields of `spec`, and what holds when they are left out:
//!
//! | field | default |
//! |---|---|
//! | `image` | required |
//! | `replicas` | 1; not together with `autoscale` |
//! | `autoscale: {min, max, cpu}` | none; `min` 1, `max` required, `cpu` `"70%"` of the request, so that `resources.cpu` is required |
//! | `resources: {cpu, memory}` | none; they are requests, no limits are set |
//! | `ports: [{name, port}]` | none, and then no Service; the name of a single port is `http` |
//! | `env: {K: v}` | none |
//! | `probes: {liveness, readiness}` or `none` | `/healthz` and `/ready` on the first port, where there is one; each may be `none` |
//! | `rollout: {maxSurge, maxUnavailable}` | 1 and 0: never fewer pods than promised |
//!
//! Two replicas or more (`autoscale.min` likewise) get a PodDisruptionBudget of `maxUnavailable: 1`, which never blocks
//! a drain. Labels and annotations of the App go to every object, labels and `sim.driftless.dev/…` annotations to the pods too.
//! Pods get `allowPrivilegeEscalation: false`, seccomp `RuntimeDefault` and no API token: what ordinary images
//! need not.

mod fields;
mod objects;
mod spec;

use super::fault::{ManifestError, ManifestFault};
use super::yaml::Node;
use crate::object::{Desired, Gvk, Source};

/// The API group of the shorthand.
pub const GROUP: &str = "driftless.dev";

/// Turns the shorthand into objects.
///
/// # Errors
/// Everything that is wrong with it, each with its line.
pub fn expand(file: &str, gvk: &Gvk, root: &Node) -> Result<Vec<Desired>, Vec<ManifestError>> {
    let line = root.get("apiVersion").map_or(root.line, |field| field.line.min(root.line));
    if gvk.version != "v1alpha1" || gvk.kind != "App" {
        let why = format!("is {gvk}; the only one there is, is driftless.dev/v1alpha1 App");
        let fault = ManifestFault::BadValue { field: "kind".into(), why };
        return Err(vec![ManifestError::new(file, line, fault)]);
    }
    let app = spec::App::read(file, line, gvk, root)?;
    let source = Source { file: file.to_owned(), line };
    let desired = |object| Desired { object, source: source.clone() };
    Ok(objects::objects(&app).into_iter().map(desired).collect())
}

#[cfg(test)]
mod tests;
