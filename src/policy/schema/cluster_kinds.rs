//! ConfigMaps, Secrets, roles and their bindings, custom resource definitions.

use super::faults::Faults;
use super::{metadata, names};
use base64::Engine as _;
use serde_json::Value;

/// Data of one ConfigMap or Secret, in bytes (`MaxSecretSize`).
const MAX_DATA: usize = 1 << 20;

const RBAC: &str = "rbac.authorization.k8s.io";

/// Checks a ConfigMap.
pub(super) fn config_map(value: &Value, faults: &mut Faults<'_>) {
    let mut size = 0;
    for (key, text) in metadata::entries(value.get("data"), ".data", faults) {
        data_key(key, ".data", faults);
        size += faults.text(Some(text), &format!(".data[{key:?}]")).map_or(0, str::len);
        if value.get("binaryData").and_then(|binary| binary.get(key)).is_some() {
            faults.add(".data", format!("the key {key:?} is both in data and binaryData"), "Keep one of them.");
        }
    }
    size += base64_map(value, "binaryData", faults);
    data_size(size, faults);
}

/// Checks a Secret. No message quotes a value.
pub(super) fn secret(value: &Value, faults: &mut Faults<'_>) {
    let mut size = base64_map(value, "data", faults);
    for (key, text) in metadata::entries(value.get("stringData"), ".stringData", faults) {
        data_key(key, ".stringData", faults);
        size += faults.text(Some(text), &format!(".stringData[{key:?}]")).map_or(0, str::len);
    }
    data_size(size, faults);
}

/// Checks a map of base64 texts; the bytes in it.
fn base64_map(value: &Value, field: &str, faults: &mut Faults<'_>) -> usize {
    let path = format!(".{field}");
    let mut size = 0;
    for (key, encoded) in metadata::entries(value.get(field), &path, faults) {
        data_key(key, &path, faults);
        let at = format!("{path}[{key:?}]");
        let Some(encoded) = faults.text(Some(encoded), &at) else { continue };
        // Go's decoder skips line breaks.
        let plain: String = encoded.chars().filter(|c| *c != '\n' && *c != '\r').collect();
        match base64::engine::general_purpose::STANDARD.decode(plain) {
            Ok(bytes) => size += bytes.len(),
            Err(_) => faults.add(
                &at,
                "is not valid base64",
                "Encode it, or put the plain text into stringData (in a Secret) or data.",
            ),
        }
    }
    size
}

fn data_key(key: &str, path: &str, faults: &mut Faults<'_>) {
    if !names::is_config_key(key) {
        let message = format!("{key:?} is no valid key: letters, digits, `-`, `_` and `.`, at most 253 characters");
        faults.add(path, message, "Rename the key.");
    }
}

fn data_size(size: usize, faults: &mut Faults<'_>) {
    if size > MAX_DATA {
        faults.add(".data", format!("has {size} bytes, the limit is {MAX_DATA}"), "Split it, or keep it elsewhere.");
    }
}

/// Checks a Role or ClusterRole.
pub(super) fn role(value: &Value, faults: &mut Faults<'_>) {
    for (index, rule) in faults.list(value.get("rules"), ".rules").iter().enumerate() {
        let at = format!(".rules[{index}]");
        if faults.list(rule.get("verbs"), &format!("{at}.verbs")).is_empty() {
            faults.add(&format!("{at}.verbs"), "at least one verb is required", "Name verbs such as get, list, watch.");
        }
        if !faults.list(rule.get("nonResourceURLs"), &format!("{at}.nonResourceURLs")).is_empty() {
            continue;
        }
        for field in ["apiGroups", "resources"] {
            if faults.list(rule.get(field), &format!("{at}.{field}")).is_empty() {
                let hint = if field == "apiGroups" {
                    "Use [\"\"] for the core group."
                } else {
                    "Name resources such as pods."
                };
                faults.add(&format!("{at}.{field}"), "is required for resources", hint);
            }
        }
    }
}

/// Checks a RoleBinding or ClusterRoleBinding.
pub(super) fn role_binding(kind: &str, value: &Value, faults: &mut Faults<'_>) {
    let role = value.get("roleRef").unwrap_or(&Value::Null);
    faults.one_of(role.get("apiGroup"), ".roleRef.apiGroup", &[RBAC]);
    faults.required_text(role.get("name"), ".roleRef.name");
    if let Some(role_kind) = faults.required_text(role.get("kind"), ".roleRef.kind") {
        if kind == "ClusterRoleBinding" && role_kind != "ClusterRole" {
            let message = "a ClusterRoleBinding grants a ClusterRole";
            faults.add(".roleRef.kind", message, "Use kind: ClusterRole, or a RoleBinding.");
        } else {
            faults.one_of(role.get("kind"), ".roleRef.kind", &["Role", "ClusterRole"]);
        }
    }
    for (index, subject) in faults.list(value.get("subjects"), ".subjects").iter().enumerate() {
        let at = format!(".subjects[{index}]");
        faults.required_text(subject.get("name"), &format!("{at}.name"));
        if faults.required_text(subject.get("kind"), &format!("{at}.kind")).is_none() {
            continue;
        }
        faults.one_of(subject.get("kind"), &format!("{at}.kind"), &["User", "Group", "ServiceAccount"]);
        if subject.get("kind").and_then(Value::as_str) == Some("ServiceAccount") {
            // In a RoleBinding the API server takes it without, for its own namespace.
            if kind == "ClusterRoleBinding" {
                faults.required_text(subject.get("namespace"), &format!("{at}.namespace"));
            }
            faults.one_of(subject.get("apiGroup"), &format!("{at}.apiGroup"), &[""]);
        }
    }
}

/// Checks a CustomResourceDefinition.
pub(super) fn definition(value: &Value, faults: &mut Faults<'_>) {
    let spec = value.get("spec").unwrap_or(&Value::Null);
    let group = faults.required_text(spec.get("group"), ".spec.group");
    let plural = faults.required_text(spec.pointer("/names/plural"), ".spec.names.plural");
    faults.required_text(spec.pointer("/names/kind"), ".spec.names.kind");
    if faults.required_text(spec.get("scope"), ".spec.scope").is_some() {
        faults.one_of(spec.get("scope"), ".spec.scope", &["Namespaced", "Cluster"]);
    }
    let name = value.pointer("/metadata/name").and_then(Value::as_str);
    if let (Some(group), Some(plural), Some(name)) = (group, plural, name)
        && name != format!("{plural}.{group}")
    {
        faults.add(".metadata.name", format!("must be `{plural}.{group}`"), "Rename it: plural, dot, group.");
    }
    let versions = faults.list(spec.get("versions"), ".spec.versions");
    let stored =
        versions.iter().filter(|version| version.get("storage").and_then(Value::as_bool) == Some(true)).count();
    if stored != 1 {
        faults.add(".spec.versions", format!("{stored} versions have storage: true"), "Exactly one version is stored.");
    }
    for (index, version) in versions.iter().enumerate() {
        let at = format!(".spec.versions[{index}]");
        faults.required_text(version.get("name"), &format!("{at}.name"));
        if version.get("schema").is_none_or(Value::is_null) {
            faults.add(&format!("{at}.schema"), "is required", "Add schema.openAPIV3Schema.");
        }
    }
}
