//! One cluster as the engine uses it: eyes ([`Eyes`]), memory ([`Parents`]), the kinds it serves, and the key of keyed
//! digests. Everything that a sync needs and that outlives a sync.

use crate::apply::parents::Parents;
use crate::health::wait::Doctor;
use crate::inventory::Holder;
use crate::inventory::identity::{ID, PART_OF};
use crate::live::cache::{Cache, Selection};
use crate::live::client::{ApiError, Call, Client, Target};
use crate::live::discovery::discover;
use crate::live::kinds::Kinds;
use crate::live::observe::Eyes;
use http::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::{OnceCell, RwLock};

/// A connected cluster. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    /// The API.
    pub client: Client,
    /// What is seen of it.
    pub eyes: Eyes,
    /// Inventories and locks.
    pub parents: Parents,
    /// Health, with what has to be read for it.
    pub doctor: Doctor,
    /// The instance's parents as they change; watched by the daemon.
    pub memory: Cache,
    kinds: Arc<RwLock<Option<Arc<Kinds>>>>,
    digest_key: Arc<OnceCell<Vec<u8>>>,
    user: Arc<OnceCell<Value>>,
}

impl Engine {
    /// Connects. `keep_watching` is the daemon's way: kinds that are needed once are watched from then on.
    ///
    /// # Errors
    /// [`ApiError::Config`] with what is wrong about the kubeconfig.
    pub async fn connect(
        name: &str,
        target: &Target,
        instance_namespace: &str,
        me: Holder,
        keep_watching: bool,
    ) -> Result<Self, ApiError> {
        Ok(Self::over(Client::connect(name, target).await?, instance_namespace, me, keep_watching))
    }

    /// The same over a client that is prepared already.
    pub fn over(client: Client, instance_namespace: &str, me: Holder, keep_watching: bool) -> Self {
        let labelled = Selection { labels: PART_OF.to_owned(), ..Selection::default() };
        let members = Cache::new(client.clone(), labelled);
        let autoscalers = Cache::with_pulse(client.clone(), Selection::default(), members.pulse());
        Self {
            eyes: Eyes { client: client.clone(), members: members.clone(), autoscalers, keep_watching },
            parents: Parents::new(client.clone(), instance_namespace, me),
            doctor: Doctor::new(client.clone(), members),
            memory: Cache::new(client.clone(), parents_of(instance_namespace)),
            kinds: Arc::default(),
            digest_key: Arc::default(),
            user: Arc::default(),
            client,
        }
    }

    /// The kinds that the cluster serves, as last discovered.
    ///
    /// # Errors
    /// When they were never discovered and cannot be now.
    pub async fn kinds(&self) -> Result<Arc<Kinds>, ApiError> {
        if let Some(kinds) = self.kinds.read().await.clone() {
            return Ok(kinds);
        }
        self.rediscover().await
    }

    /// Asks again: after a CRD or an APIService was applied, and when a kind is missing.
    ///
    /// # Errors
    /// When discovery fails; what was known stays.
    pub async fn rediscover(&self) -> Result<Arc<Kinds>, ApiError> {
        let kinds = Arc::new(discover(&self.client).await?);
        *self.kinds.write().await = Some(kinds.clone());
        Ok(kinds)
    }

    /// The key of digests that cover a Secret; created in the cluster at first use.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn digest_key(&self) -> Result<&[u8], ApiError> {
        self.digest_key.get_or_try_init(|| self.parents.digest_key()).await.map(Vec::as_slice)
    }

    /// `userInfo` of this process's requests, as the API server knows it; asked once.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn user(&self) -> Result<&Value, ApiError> {
        let ask = || async {
            let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
            let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews".to_owned();
            let call = Call { method: Method::POST, body: Some(body), ..Call::get(path) };
            let answer = self.client.send_patiently(&call).await?;
            Ok(answer.body.pointer("/status/userInfo").cloned().unwrap_or(Value::Null))
        };
        self.user.get_or_try_init(ask).await
    }

    /// The key for a command that writes nothing: the cluster's, or a random one that nobody else knows.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn digest_key_or_random(&self) -> Result<Vec<u8>, ApiError> {
        let random = || rand::random::<[u8; 32]>().to_vec();
        Ok(self.parents.existing_digest_key().await?.unwrap_or_else(random))
    }
}

/// The ConfigMaps that are ApplySet parents.
fn parents_of(namespace: &str) -> Selection {
    Selection { namespace: Some(namespace.to_owned()), labels: ID.to_owned(), ..Selection::default() }
}
