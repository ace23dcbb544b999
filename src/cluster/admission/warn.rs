//! Warnings: what is accepted but will surprise. Source: `WarningsOnCreate` of the strategies, pkg/api/pod/warnings.go.

use super::pod::{list, text};
use crate::cluster::kinds::Kind;
use serde_json::Value;

/// Warnings about a new object.
pub fn create(kind: &Kind, object: &Value) -> Vec<String> {
    let mut out = Vec::new();
    match kind.gk.kind.as_str() {
        "Pod" => pod_spec(object.get("spec"), "spec", &mut out),
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" => {
            pod_spec(object.pointer("/spec/template/spec"), "spec.template.spec", &mut out);
        }
        "CronJob" => {
            let at = "spec.jobTemplate.spec.template.spec";
            pod_spec(object.pointer("/spec/jobTemplate/spec/template/spec"), at, &mut out);
        }
        "Service" if object.pointer("/spec/externalIPs").is_some() => {
            out.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned());
        }
        _ => {}
    }
    out
}

fn pod_spec(spec: Option<&Value>, at: &str, out: &mut Vec<String>) {
    let Some(spec) = spec else { return };
    for key in ["initContainers", "containers"] {
        for (i, container) in list(spec, key).iter().enumerate() {
            let mut seen: Vec<&str> = Vec::new();
            for (j, env) in list(container, "env").iter().enumerate() {
                let name = text(env, "name");
                if seen.contains(&name) {
                    out.push(format!(
                        "{at}.{key}[{i}].env[{j}]: hides previous definition of {name:?}, which may be dropped when using apply"
                    ));
                }
                seen.push(name);
            }
        }
    }
}

/// Warnings about a deletion.
pub fn delete(kind: &Kind, propagation: Option<&str>) -> Option<String> {
    (kind.is("batch", "Job") && propagation.is_none()).then(|| {
        "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning".to_owned()
    })
}
