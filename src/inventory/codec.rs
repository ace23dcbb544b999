//! The parent as a ConfigMap and back.
//!
//! `data.app` says whose it is, `data.state` what happened, `data.members` what it owns (one member per line, so that
//! `kubectl get -o yaml` stays readable; in `binaryData`, compressed, where there are so many that a ConfigMap's 1 MiB
//! would not hold them: about 10,000 fit). The lock and a request from the command line are annotations: they change
//! without touching the rest. Reading is strict about identity and lenient about unknown fields: a newer driftless may
//! have written them.

use super::identity::{ADDITIONAL_NAMESPACES, CONTAINS_GROUP_KINDS, ID, TOOLING, TOOLING_VALUE};
use super::lock::Lock;
use super::parent::{Approval, Hold, HookRecord, Identity, Member, Parent, Review, SyncRecord};
use crate::object::{Digest, Live, Manifest, Problem};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};

/// Annotation with the lock.
pub const LOCK: &str = "driftless.dev/lock";
/// Annotation with a request from the command line to the daemon.
pub const REQUEST: &str = "driftless.dev/request";
/// Key of the members in `binaryData` where they are compressed with gzip.
const PACKED: &str = "members.gz";
/// Members of more bytes than this are compressed.
const READABLE: usize = 400_000;
/// Members of more bytes than this are not unpacked.
const UNPACKED: u64 = 64 << 20;
/// Syncs kept in the history.
pub const HISTORY: usize = 10;

/// A wish that the command line leaves for a live daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Unique id, repeated in the answer.
    pub id: String,
    /// Revision to sync; `None` for the branch's head.
    pub revision: Option<String>,
    /// The daemon's answer, once there is one: the sync's outcome as JSON.
    #[serde(default)]
    pub answer: Option<Value>,
    /// The branch's head as the command line saw it: a daemon that is there already need not look again.
    #[serde(default)]
    pub head: Option<String>,
}

/// A parent as read: its content, its lock, and what a compare-and-swap needs.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredParent {
    /// Content.
    pub parent: Parent,
    /// Lock, if one is written.
    pub lock: Option<Lock>,
    /// Request, if one is written.
    pub request: Option<Request>,
    /// `metadata.resourceVersion`; `None` if it is not in the cluster yet.
    pub resource_version: Option<String>,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct State {
    digest: Option<Digest>,
    revision: Option<String>,
    hold: Option<Hold>,
    suspended: bool,
    syncs: Vec<SyncRecord>,
    approvals: Vec<Approval>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hooks: Vec<HookRecord>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    delete_hooks: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reviews: Vec<Review>,
}

#[derive(Serialize, Deserialize)]
struct App {
    #[serde(flatten)]
    identity: Identity,
    namespace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

/// The ConfigMap that stores a parent.
pub fn encode(stored: &StoredParent, parent_namespace: &str) -> Value {
    let Parent { identity, namespace, members, digest, revision, hold, suspended, syncs, .. } = &stored.parent;
    let kinds: BTreeSet<String> = members.iter().map(|m| m.object.key().gk().to_string()).collect();
    let namespaces: BTreeSet<&str> =
        members.iter().filter_map(|m| m.object.namespace.as_deref()).filter(|ns| *ns != parent_namespace).collect();
    let mut annotations = json!({
        TOOLING: TOOLING_VALUE,
        CONTAINS_GROUP_KINDS: kinds.into_iter().collect::<Vec<_>>().join(","),
        ADDITIONAL_NAMESPACES: namespaces.into_iter().collect::<Vec<_>>().join(","),
    });
    if let Some(lock) = &stored.lock {
        annotations[LOCK] = text(lock);
    }
    if let Some(request) = &stored.request {
        annotations[REQUEST] = text(request);
    }
    let state = State {
        digest: digest.clone(),
        revision: revision.clone(),
        hold: hold.clone(),
        suspended: *suspended,
        syncs: syncs.iter().take(HISTORY).cloned().collect(),
        approvals: stored.parent.approvals.clone(),
        hooks: stored.parent.hooks.clone(),
        delete_hooks: stored.parent.delete_hooks.clone(),
        reviews: stored.parent.reviews.clone(),
    };
    let lines: Vec<String> = members.iter().map(|m| json!(m).to_string()).collect();
    let lines = lines.join("\n");
    let mut metadata = json!({
        "name": identity.parent_name(),
        "namespace": parent_namespace,
        "labels": {
            ID: identity.applyset_id(parent_namespace),
            "app.kubernetes.io/managed-by": "driftless",
            "driftless.dev/scope": identity.scope_name(),
        },
        "annotations": annotations,
    });
    if let Some(version) = &stored.resource_version {
        metadata["resourceVersion"] = json!(version);
    }
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {
            "app": text(&App { identity: identity.clone(), namespace: namespace.clone(), path: stored.parent.path.clone() }),
            "state": text(&state),
        },
    });
    match Some(&lines).filter(|lines| lines.len() > READABLE).and_then(|lines| compress(lines)) {
        Some(packed) => object["binaryData"] = json!({ PACKED: STANDARD.encode(packed) }),
        None => object["data"]["members"] = Value::String(lines),
    }
    object
}

/// Gzip. A `Vec` takes every write, so that `None` does not happen.
fn compress(lines: &str) -> Option<Vec<u8>> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(lines.as_bytes()).ok()?;
    packer.finish().ok()
}

fn unpack(object: &Live, packed: &str) -> Result<String, Problem> {
    let bad = |cause: String| unreadable(object, &cause, PACKED);
    let packed = STANDARD.decode(packed).map_err(|e| bad(e.to_string()))?;
    let mut lines = String::new();
    let mut reader = GzDecoder::new(packed.as_slice()).take(UNPACKED);
    reader.read_to_string(&mut lines).map_err(|e| bad(e.to_string()))?;
    if lines.len() as u64 >= UNPACKED { Err(bad("it is too large".to_owned())) } else { Ok(lines) }
}

fn text<T: Serialize>(value: &T) -> Value {
    Value::String(json!(value).to_string())
}

/// Reads a parent back.
///
/// # Errors
/// A problem that names the ConfigMap when its content is not what driftless writes. Nothing is guessed: an inventory
/// that cannot be read must not look like an empty one.
pub fn decode(object: &Live) -> Result<StoredParent, Problem> {
    let data = |key: &str| {
        object.at(&format!("/data/{key}")).and_then(Value::as_str).ok_or_else(|| unreadable(object, "missing", key))
    };
    let app: App = serde_json::from_str(data("app")?).map_err(|e| unreadable(object, &e.to_string(), "app"))?;
    let state: State = serde_json::from_str(data("state")?).map_err(|e| unreadable(object, &e.to_string(), "state"))?;
    let packed = object.at(&format!("/binaryData/{PACKED}")).and_then(Value::as_str);
    let members = match packed {
        Some(packed) => unpack(object, packed)?,
        None => data("members")?.to_owned(),
    };
    let members = members
        .lines()
        .map(|line| serde_json::from_str::<Member>(line).map_err(|e| unreadable(object, &e.to_string(), "members")))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(StoredParent {
        parent: Parent {
            identity: app.identity,
            namespace: app.namespace,
            path: app.path,
            members,
            digest: state.digest,
            revision: state.revision,
            hold: state.hold,
            suspended: state.suspended,
            syncs: state.syncs,
            approvals: state.approvals,
            hooks: state.hooks,
            delete_hooks: state.delete_hooks,
            reviews: state.reviews,
        },
        // A lock or request that cannot be read is as good as none: both are retaken or rewritten.
        lock: object.annotation(LOCK).and_then(|text| serde_json::from_str(text).ok()),
        request: object.annotation(REQUEST).and_then(|text| serde_json::from_str(text).ok()),
        resource_version: object.resource_version().map(str::to_owned),
    })
}

fn unreadable(object: &Live, cause: &str, key: &str) -> Problem {
    Problem::new("UnreadableInventory", format!("data.{key} of the app's inventory cannot be read: {cause}"))
        .about(object.object_ref())
        .hint(
            "restore the ConfigMap from a backup, or delete it: the next sync adopts what is there and prunes nothing",
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::ObjectRef;

    fn sample() -> StoredParent {
        let object = ObjectRef {
            group: "apps".into(),
            version: "v1".into(),
            kind: "Deployment".into(),
            namespace: Some("shop".into()),
            name: "web".into(),
        };
        let identity = Identity {
            instance: "driftless".into(),
            repository: "/srv/a.git".into(),
            path_root: String::new(),
            app: "web".into(),
        };
        let mut parent = Parent::new(identity, "shop");
        parent.members.push(Member { object, uid: Some("u1".into()), desired: None, owned: None, done: false });
        StoredParent { parent, lock: None, request: None, resource_version: Some("7".into()) }
    }

    #[test]
    fn round_trip() {
        let stored = sample();
        let object = Live(encode(&stored, "driftless"));
        assert_eq!(decode(&object).unwrap(), stored);
        assert_eq!(object.annotation(CONTAINS_GROUP_KINDS), Some("Deployment.apps"));
        assert_eq!(object.annotation(ADDITIONAL_NAMESPACES), Some("shop"));
    }

    /// etcd's limit and the API server's on a ConfigMap (`MaxSecretSize`, 1 MiB over data and binaryData).
    #[test]
    fn ten_thousand_members_fit_and_come_back() {
        let mut stored = sample();
        let template = stored.parent.members[0].clone();
        let digest = |i: u64, part: &str| Some(Digest::of_value(&json!([i, part])).shortened(32));
        stored.parent.members = (0..10_000_u64)
            .map(|i| {
                let mut member = template.clone();
                member.object.name = format!("component-{i:05}");
                let hex = Digest::of_value(&json!(i)).to_string();
                let groups = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32]];
                (member.uid, member.desired, member.owned) = (Some(groups.join("-")), digest(i, "d"), digest(i, "o"));
                member
            })
            .collect();
        let object = encode(&stored, "driftless");
        let text = |key: &str| object["data"][key].as_str().map_or(0, str::len);
        let packed = STANDARD.decode(object["binaryData"][PACKED].as_str().unwrap()).unwrap().len();
        assert!(packed + text("app") + text("state") < 1 << 20, "{packed}");
        assert_eq!(text("members"), 0);
        assert_eq!(decode(&Live(object)).unwrap(), stored);
    }

    #[test]
    fn damage_is_an_error_and_never_an_empty_inventory() {
        let mut object = encode(&sample(), "driftless");
        object["data"]["members"] = json!("{\"object\":");
        assert_eq!(decode(&Live(object.clone())).unwrap_err().reason, "UnreadableInventory");
        object["data"] = json!({});
        assert!(decode(&Live(object)).is_err());
    }
}
