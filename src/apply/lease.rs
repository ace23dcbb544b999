//! Who is the daemon of a scope: a `coordination.k8s.io/v1` Lease, as leader election does it.
//!
//! A lease is not a fence: a paused holder may wake up after it lost it. Every write therefore also goes through the
//! app's lock and the uid preconditions; the lease keeps two daemons from working against each other all day, and tells
//! the command line that a daemon is alive.

use super::parents::{Parents, is_dead};
use super::write::{create_own, replace_own};
use crate::inventory::Holder;
use crate::live::client::{ApiError, Call, Client};
use crate::report::Denials;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Without renewal for so long, a lease is free.
pub const LIFETIME: SignedDuration = SignedDuration::from_secs(15);
/// How often the holder renews.
pub const RENEW_EVERY: std::time::Duration = std::time::Duration::from_secs(5);

/// What became of a try to take or renew a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leadership {
    /// It is ours until it is renewed or runs out.
    Ours,
    /// Somebody else's; their name for messages.
    Theirs(Holder),
}

/// The lease of one scope.
#[derive(Debug, Clone)]
pub struct ScopeLease {
    client: Client,
    path: String,
    collection: String,
    name: String,
    namespace: String,
    me: Holder,
    parents: Parents,
    /// Told beside the lease.
    denials: Denials,
}

/// The annotation that says, as JSON, which hosts let no reports of the holder in.
const DENIALS: &str = "driftless.dev/reports-denied";

impl ScopeLease {
    /// The lease named `scope_name`, beside the parents.
    pub fn new(client: Client, parents: &Parents, scope_name: &str) -> Self {
        let collection = format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", parents.namespace());
        Self {
            client,
            path: format!("{collection}/{scope_name}"),
            collection,
            name: scope_name.to_owned(),
            namespace: parents.namespace().to_owned(),
            me: parents.me().clone(),
            parents: parents.clone(),
            denials: Denials::default(),
        }
    }

    /// The same, which says with each renewal which hosts let no reports in.
    #[must_use]
    pub fn telling(mut self, denials: Denials) -> Self {
        self.denials = denials;
        self
    }

    /// The hosts that let no reports of the daemon in that leads the scope, with what they said. Reads only.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn denials(&self) -> Result<BTreeMap<String, String>, ApiError> {
        let Some(lease) = self.read().await? else { return Ok(BTreeMap::new()) };
        let told = lease.pointer("/metadata/annotations").and_then(|all| all.get(DENIALS)).and_then(Value::as_str);
        let live = holder_of(&lease, Timestamp::now()).is_some_and(|holder| !is_dead(&holder));
        Ok(told.filter(|_| live).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default())
    }

    /// The live holder that is not us, if there is one. Reads only.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn other_holder(&self) -> Result<Option<Holder>, ApiError> {
        let found = self.read().await?;
        Ok(found.and_then(|lease| holder_of(&lease, Timestamp::now())).filter(|h| h.id != self.me.id && !is_dead(h)))
    }

    /// Takes or renews the lease.
    ///
    /// # Errors
    /// As the API server says. A lost race is [`Leadership::Theirs`] at the next try, not an error.
    pub async fn acquire(&self) -> Result<Leadership, ApiError> {
        for _ in 0..4 {
            let now = Timestamp::now();
            let found = self.read().await?;
            if let Some(holder) = found.as_ref().and_then(|lease| holder_of(lease, now))
                && holder.id != self.me.id
                && !is_dead(&holder)
            {
                return Ok(Leadership::Theirs(holder));
            }
            let written = match &found {
                Some(lease) => {
                    let version = lease.pointer("/metadata/resourceVersion").and_then(Value::as_str);
                    replace_own(&self.client, &self.path, &self.object(now, version)).await
                }
                None => create_own(&self.client, &self.collection, &self.object(now, None)).await,
            };
            match written {
                Ok(_) => return Ok(Leadership::Ours),
                Err(error) if error.is_conflict() => {}
                Err(error) if error.is_not_found() => self.parents.create_namespace().await?,
                Err(error) => return Err(error),
            }
        }
        Err(ApiError::Config(format!("the lease {} is written by several processes at once", self.name)))
    }

    /// Gives the lease back, so that a successor need not wait.
    ///
    /// # Errors
    /// As the API server says; the lease then runs out by itself.
    pub async fn release(&self) -> Result<(), ApiError> {
        let Some(mut lease) = self.read().await? else { return Ok(()) };
        if holder_of(&lease, Timestamp::now()).is_none_or(|holder| holder.id != self.me.id) {
            return Ok(());
        }
        lease["spec"] = json!({});
        replace_own(&self.client, &self.path, &lease).await.map(|_| ())
    }

    async fn read(&self) -> Result<Option<Value>, ApiError> {
        match self.client.send_patiently(&Call::get(&self.path)).await {
            Ok(answer) => Ok(Some(answer.body)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn object(&self, now: Timestamp, version: Option<&str>) -> Value {
        let mut lease = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self.name, "namespace": self.namespace,
                "labels": {"app.kubernetes.io/managed-by": "driftless"}},
            "spec": {
                "holderIdentity": json!(self.me).to_string(),
                "leaseDurationSeconds": LIFETIME.as_secs(),
                "renewTime": format!("{now:.6}"),
            },
        });
        let denials = self.denials.all();
        if !denials.is_empty() {
            lease["metadata"]["annotations"] = json!({DENIALS: json!(denials).to_string()});
        }
        if let Some(version) = version {
            lease["metadata"]["resourceVersion"] = json!(version);
        }
        lease
    }
}

/// The holder, unless the lease is free or ran out.
fn holder_of(lease: &Value, now: Timestamp) -> Option<Holder> {
    let holder: Holder = serde_json::from_str(lease.pointer("/spec/holderIdentity")?.as_str()?).ok()?;
    let renewed: Timestamp = lease.pointer("/spec/renewTime")?.as_str()?.parse().ok()?;
    (renewed + LIFETIME > now).then_some(holder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_runs_out() {
        let holder = Holder { id: "a".into(), host: "h".into(), pid: 1, role: "daemon".into() };
        let now = Timestamp::UNIX_EPOCH;
        let lease = json!({"spec": {"holderIdentity": json!(holder).to_string(), "renewTime": format!("{now:.6}")}});
        assert_eq!(holder_of(&lease, now), Some(holder));
        assert_eq!(holder_of(&lease, now + LIFETIME), None);
        assert_eq!(holder_of(&json!({"spec": {}}), now), None);
    }
}
