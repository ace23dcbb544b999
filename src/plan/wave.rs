//! Explicit order: waves and dependencies from annotations.

use crate::object::{Desired, Gk, Manifest, ObjectKey, Problem};
use serde_json::Value;

/// Our wave annotation; it counts before Argo CD's.
pub const WAVE: &str = "driftless.dev/wave";
/// Argo CD's.
pub const SYNC_WAVE: &str = "argocd.argoproj.io/sync-wave";
/// Dependencies (sigs.k8s.io/cli-utils, `pkg/object/dependson`).
pub const DEPENDS_ON: &str = "config.kubernetes.io/depends-on";

/// Wave of an object, 0 by default.
///
/// # Errors
/// A value that is no whole number of 32 bits.
pub fn wave(desired: &Desired) -> Result<i32, Problem> {
    let Some((name, text)) = wave_text(desired.value()) else { return Ok(0) };
    text.trim().parse().map_err(|_| {
        problem(desired, "InvalidWave", format!("the annotation `{name}` is `{text}`, which is no whole number"))
            .hint("a wave is a number such as -1, 0 or 10, in quotes")
    })
}

/// Wave of a live object that goes; 0 where it cannot be read.
pub fn wave_of_live(object: &Value) -> i32 {
    wave_text(object).and_then(|(_, text)| text.trim().parse().ok()).unwrap_or(0)
}

fn wave_text(object: &Value) -> Option<(&'static str, &str)> {
    let annotations = object.get("metadata")?.get("annotations")?;
    [WAVE, SYNC_WAVE].into_iter().find_map(|name| Some((name, annotations.get(name)?.as_str()?)))
}

/// Objects named by `config.kubernetes.io/depends-on`.
///
/// # Errors
/// A reference that is neither `group/Kind/name` nor `group/namespaces/namespace/Kind/name`.
pub fn depends_on(desired: &Desired) -> Result<Vec<ObjectKey>, Problem> {
    let Some(text) = desired.annotation(DEPENDS_ON) else { return Ok(Vec::new()) };
    text.split(',').map(|part| reference(part.trim()).ok_or_else(|| bad_reference(desired, part.trim()))).collect()
}

fn reference(text: &str) -> Option<ObjectKey> {
    let parts: Vec<&str> = text.split('/').collect();
    let (group, namespace, kind, name) = match parts.as_slice() {
        [group, kind, name] => (*group, None, *kind, *name),
        [group, "namespaces", namespace, kind, name] if !namespace.is_empty() => {
            (*group, Some(*namespace), *kind, *name)
        }
        _ => return None,
    };
    (!kind.is_empty() && !name.is_empty()).then(|| ObjectKey::new(&Gk::new(group, kind), namespace, name))
}

fn bad_reference(desired: &Desired, text: &str) -> Problem {
    problem(desired, "InvalidDependency", format!("the annotation `{DEPENDS_ON}` names `{text}`, which is no object"))
        .hint("write `apps/namespaces/shop/Deployment/web`, `/namespaces/shop/ConfigMap/web` or `/Namespace/shop`")
}

/// A problem at the object's place in the repository.
pub fn problem(desired: &Desired, reason: &str, message: String) -> Problem {
    Problem::new(reason, message).at(&desired.source.file, desired.source.line).about(desired.object_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Source;
    use serde_json::json;

    fn with(annotations: &Value) -> Desired {
        Desired {
            object: json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "annotations": annotations}}),
            source: Source { file: "f.yaml".into(), line: 3 },
        }
    }

    #[test]
    fn waves() {
        for (annotations, expected) in [
            (json!({}), Some(0)),
            (json!({SYNC_WAVE: "-5"}), Some(-5)),
            (json!({SYNC_WAVE: "1", WAVE: "2"}), Some(2)),
            (json!({WAVE: "x"}), None),
            (json!({WAVE: "99999999999"}), None),
        ] {
            let got = wave(&with(&annotations));
            assert_eq!(got.as_ref().ok(), expected.as_ref(), "{annotations}");
            if let Err(problem) = got {
                assert_eq!((problem.file.as_deref(), problem.line), (Some("f.yaml"), Some(3)));
            }
        }
    }

    #[test]
    fn references() {
        let of = |text: &str| depends_on(&with(&json!({DEPENDS_ON: text})));
        assert_eq!(
            of("apps/namespaces/shop/Deployment/db, /Namespace/shop").unwrap(),
            [
                ObjectKey::new(&Gk::new("apps", "Deployment"), Some("shop"), "db"),
                ObjectKey::new(&Gk::new("", "Namespace"), None, "shop")
            ]
        );
        for bad in ["", "web", "apps/namespaces//Deployment/x", "a/b/c/d", "apps/Deployment/"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
