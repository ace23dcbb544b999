//! Reading and writing ApplySet parents, and the lock in them.
//!
//! Guarantees: a parent is written by compare-and-swap on its `resourceVersion`, so two processes never overwrite each
//! other; the lock is taken in the same write that announces new members (write-ahead). A write whose answer was lost
//! is looked up before it is called failed.

use super::write::{create_own, delete_own, replace_own};
use crate::inventory::codec::{decode, encode};
use crate::inventory::identity::ID;
use crate::inventory::lock::{self, Claim};
use crate::inventory::{Holder, Identity, Parent, StoredParent};
use crate::live::client::{ApiError, Call, Client};
use crate::object::{Live, Problem};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

/// Secret with the random key of digests that cover Secrets.
const KEY_SECRET: &str = "driftless-digest-key";
/// Label by which the parents of one scope are listed.
const SCOPE: &str = "driftless.dev/scope";

/// Why a parent could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ParentError {
    /// The API server said no, or nothing.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(Box<Problem>),
    /// Another process wrote it meanwhile.
    #[error("the app's inventory was changed by another process at the same moment")]
    Conflict,
    /// It is another app's.
    #[error("the inventory {name} belongs to app {app} of {repository}")]
    Mismatch {
        /// ConfigMap.
        name: String,
        /// Its app.
        app: String,
        /// Its repository.
        repository: String,
    },
    /// Another process holds the lock.
    #[error("{0} is syncing this app")]
    Locked(Holder),
}

impl From<ParentError> for Problem {
    fn from(error: ParentError) -> Self {
        match error {
            ParentError::Api(error) => error.problem(),
            ParentError::Unreadable(problem) => *problem,
            ParentError::Conflict => Self::new("Conflict", error.to_string()).hint("run the command again"),
            ParentError::Mismatch { .. } => Self::new("OwnedByAnother", error.to_string())
                .hint("give one of the two instances another [instance] name"),
            ParentError::Locked(_) => Self::new("Locked", error.to_string()).hint("wait for it to end, then run again"),
        }
    }
}

/// The parents of one instance in one cluster.
#[derive(Clone, Debug)]
pub struct Parents {
    client: Client,
    namespace: Arc<str>,
    me: Arc<Holder>,
}

impl Parents {
    /// Parents kept in `namespace`, locked as `me`.
    pub fn new(client: Client, namespace: &str, me: Holder) -> Self {
        Self { client, namespace: namespace.into(), me: Arc::new(me) }
    }

    /// The namespace they are kept in.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Who locks.
    pub fn me(&self) -> &Holder {
        &self.me
    }

    fn collection(&self, plural: &str) -> String {
        format!("/api/v1/namespaces/{}/{plural}", self.namespace)
    }

    /// Reads an app's parent; one that was never written is empty and has no `resource_version`.
    ///
    /// # Errors
    /// [`ParentError::Mismatch`] where the name is taken by another identity; else as named.
    pub async fn load(&self, identity: &Identity, default_namespace: &str) -> Result<StoredParent, ParentError> {
        let path = format!("{}/{}", self.collection("configmaps"), identity.parent_name());
        let stored = match self.client.send_patiently(&Call::get(path)).await {
            Ok(answer) => decode(&Live(answer.body)).map_err(|p| ParentError::Unreadable(Box::new(p)))?,
            Err(error) if error.is_not_found() => StoredParent {
                parent: Parent::new(identity.clone(), default_namespace),
                lock: None,
                request: None,
                resource_version: None,
            },
            Err(error) => return Err(error.into()),
        };
        if stored.parent.identity != *identity {
            return Err(ParentError::Mismatch {
                name: identity.parent_name(),
                app: stored.parent.identity.app.clone(),
                repository: stored.parent.identity.repository,
            });
        }
        Ok(stored)
    }

    /// Reads an app's parent past any cache.
    ///
    /// # Errors
    /// As [`Parents::load`].
    pub async fn reload(&self, identity: &Identity, default_namespace: &str) -> Result<StoredParent, ParentError> {
        self.load(identity, default_namespace).await
    }

    /// Reads every parent of a scope.
    ///
    /// # Errors
    /// As named; one unreadable parent fails the whole, since what it owns is unknown.
    pub async fn load_scope(&self, scope_name: &str) -> Result<Vec<StoredParent>, ParentError> {
        let call = Call::get(self.collection("configmaps")).with("labelSelector", format!("{SCOPE}={scope_name}"));
        let answer = self.client.send_patiently(&call).await?;
        let items = answer.body.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        items
            .into_iter()
            .map(|mut item| {
                if let Value::Object(map) = &mut item {
                    map.insert("apiVersion".into(), "v1".into());
                    map.insert("kind".into(), "ConfigMap".into());
                }
                decode(&Live(item)).map_err(|p| ParentError::Unreadable(Box::new(p)))
            })
            .collect()
    }

    /// Whose an ApplySet id is, if it is one of this instance's namespace.
    pub async fn owner_of(&self, applyset_id: &str) -> Option<Identity> {
        let call = Call::get(self.collection("configmaps")).with("labelSelector", format!("{ID}={applyset_id}"));
        let mut answer = self.client.send_patiently(&call).await.ok()?;
        let mut item = answer.body.pointer_mut("/items/0")?.take();
        if let Value::Object(map) = &mut item {
            map.insert("apiVersion".into(), "v1".into());
            map.insert("kind".into(), "ConfigMap".into());
        }
        decode(&Live(item)).ok().map(|stored| stored.parent.identity)
    }

    /// Writes a parent by compare-and-swap and remembers its new version.
    ///
    /// # Errors
    /// [`ParentError::Conflict`] where another process was faster.
    pub async fn save(&self, stored: &mut StoredParent) -> Result<(), ParentError> {
        let object = encode(stored, &self.namespace);
        let mut attempt = 0;
        loop {
            let sent = match &stored.resource_version {
                None => self.create(&object).await,
                Some(_) => {
                    let path = format!("{}/{}", self.collection("configmaps"), stored.parent.identity.parent_name());
                    replace_own(&self.client, &path, &object).await
                }
            };
            let error = match sent {
                Ok(written) => {
                    stored.resource_version = written.live.resource_version().map(str::to_owned);
                    return Ok(());
                }
                Err(error) => error,
            };
            if error.is_conflict() || (error.is_not_found() && stored.resource_version.is_some()) {
                // After a lost answer the conflict may be with ourselves.
                return if attempt > 0 { self.recognise(stored).await } else { Err(ParentError::Conflict) };
            }
            let Some(pause) = crate::live::retry::pause_after(&error, attempt, rand::random()) else {
                return Err(error.into());
            };
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    /// Deletes the parent of an app that is gone and owns nothing any more, if nobody wrote it meanwhile.
    ///
    /// # Errors
    /// [`ParentError::Conflict`] where another process was faster.
    pub async fn delete(&self, stored: &StoredParent) -> Result<(), ParentError> {
        let Some(version) = &stored.resource_version else { return Ok(()) };
        let path = format!("{}/{}", self.collection("configmaps"), stored.parent.identity.parent_name());
        match delete_own(&self.client, &path, version).await {
            Err(error) if error.is_conflict() => Err(ParentError::Conflict),
            other => Ok(other?),
        }
    }

    async fn create(&self, object: &Value) -> Result<super::write::Written, ApiError> {
        match create_own(&self.client, &self.collection("configmaps"), object).await {
            Err(error) if error.is_not_found() => {
                self.create_namespace().await?;
                create_own(&self.client, &self.collection("configmaps"), object).await
            }
            other => other,
        }
    }

    async fn recognise(&self, stored: &mut StoredParent) -> Result<(), ParentError> {
        let there = self.load(&stored.parent.identity, &stored.parent.namespace).await?;
        if there.parent == stored.parent && there.lock == stored.lock && there.request == stored.request {
            stored.resource_version = there.resource_version;
            return Ok(());
        }
        Err(ParentError::Conflict)
    }

    /// Creates the instance's namespace; one that is there already is fine.
    ///
    /// # Errors
    /// As the API server says.
    pub(super) async fn create_namespace(&self) -> Result<(), ApiError> {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": &*self.namespace,
            "labels": {"app.kubernetes.io/managed-by": "driftless"}}});
        match create_own(&self.client, "/api/v1/namespaces", &namespace).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_already_exists() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Puts our lock into `stored` (not yet written), if it may be taken.
    ///
    /// # Errors
    /// [`ParentError::Locked`] with the holder to wait for.
    pub fn claim(&self, stored: &mut StoredParent) -> Result<(), ParentError> {
        let now = Timestamp::now();
        match lock::claim(stored.lock.as_ref(), &self.me, now, is_dead) {
            Claim::Wait(holder) => Err(ParentError::Locked(holder)),
            Claim::Take => {
                stored.lock = Some(lock::taken(&self.me, now));
                Ok(())
            }
        }
    }

    /// The key of digests that cover a Secret's content; created at first use.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn digest_key(&self) -> Result<Vec<u8>, ApiError> {
        let path = format!("{}/{KEY_SECRET}", self.collection("secrets"));
        for _ in 0..3 {
            match self.client.send_patiently(&Call::get(&path)).await {
                Ok(answer) => {
                    let text = answer.body.pointer("/data/key").and_then(Value::as_str).unwrap_or_default();
                    return STANDARD.decode(text).ok().filter(|key| key.len() >= 16).ok_or_else(|| {
                        ApiError::Config(format!("Secret {}/{KEY_SECRET} holds no usable key", self.namespace))
                    });
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
            let key: [u8; 32] = rand::random();
            let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
                "metadata": {"name": KEY_SECRET, "namespace": &*self.namespace,
                    "labels": {"app.kubernetes.io/managed-by": "driftless"}},
                "data": {"key": STANDARD.encode(key)}});
            match create_own(&self.client, &self.collection("secrets"), &secret).await {
                Ok(_) => return Ok(key.to_vec()),
                Err(error) if error.is_not_found() => self.create_namespace().await?,
                Err(error) if error.is_already_exists() => {}
                Err(error) => return Err(error),
            }
        }
        Err(ApiError::Config(format!("namespace {} cannot be written", self.namespace)))
    }

    /// The key, if there is one yet: what a command that only reads may use.
    ///
    /// # Errors
    /// As the API server says; `Ok(None)` where nothing was synced yet.
    pub async fn existing_digest_key(&self) -> Result<Option<Vec<u8>>, ApiError> {
        let path = format!("{}/{KEY_SECRET}", self.collection("secrets"));
        match self.client.send_patiently(&Call::get(&path)).await {
            Ok(_) => self.digest_key().await.map(Some),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// True if the holder ran on this host and is no more.
pub fn is_dead(holder: &Holder) -> bool {
    holder.host == host_name() && holder.pid != std::process::id() && !process_exists(holder.pid)
}

/// A holder for this process.
pub fn this_process(role: &str) -> Holder {
    let unique: u64 = rand::random();
    Holder { id: format!("{role}-{unique:016x}"), host: host_name(), pid: std::process::id(), role: role.to_owned() }
}

fn host_name() -> String {
    // The boot id tells containers of one image name on different hosts apart from a restart on the same one.
    let read = |path: &str| std::fs::read_to_string(path).map(|s| s.trim().to_owned()).unwrap_or_default();
    let name = std::env::var("HOSTNAME").ok().filter(|n| !n.is_empty()).unwrap_or_else(|| read("/etc/hostname"));
    let boot: String = read("/proc/sys/kernel/random/boot_id").chars().take(8).collect();
    format!("{name}/{boot}")
}

fn process_exists(pid: u32) -> bool {
    // Where there is no /proc nothing is known, and the lock has to run out by itself.
    !std::path::Path::new("/proc/self").exists() || std::path::Path::new(&format!("/proc/{pid}")).exists()
}
