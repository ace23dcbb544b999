//! Keeps a scope's lease, and says whether it is ours.

use crate::apply::lease::{LIFETIME, Leadership, RENEW_EVERY, ScopeLease};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often a lease that is another's is tried.
const TRY_EVERY: Duration = Duration::from_secs(2);

/// Until when the lease is ours, by this process's clock; `None` while it is not. A process that was paused finds the time
/// passed before anybody tells it so.
pub type Leads = Option<Instant>;

/// True while the lease is ours.
pub fn leads(until: Leads) -> bool {
    until.is_some_and(|until| Instant::now() < until)
}

/// Takes and renews the lease until `shutdown`, then gives it back.
pub fn lead(lease: ScopeLease, shutdown: CancellationToken) -> (watch::Receiver<Leads>, tokio::task::JoinHandle<()>) {
    // Not renewed for as long as others wait: it may be theirs by now, whatever the API server last said.
    let lifetime = Duration::try_from(LIFETIME).unwrap_or_default().saturating_sub(TRY_EVERY);
    let (tell, told) = watch::channel(None);
    let task = tokio::spawn(async move {
        let mut named = None;
        loop {
            let asked = Instant::now();
            let pause = match lease.acquire().await {
                Ok(Leadership::Ours) => {
                    tell.send_replace(Some(asked + lifetime));
                    RENEW_EVERY
                }
                Ok(Leadership::Theirs(holder)) => {
                    if named.as_ref() != Some(&holder) {
                        tracing::info!(%holder, "another daemon leads this scope; standing by");
                        named = Some(holder);
                    }
                    tell.send_if_modified(|until| until.take().is_some());
                    TRY_EVERY
                }
                Err(error) => {
                    tracing::warn!(%error, "the scope's lease cannot be renewed");
                    TRY_EVERY
                }
            };
            if !leads(*tell.borrow()) {
                tell.send_if_modified(|until| until.take().is_some());
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.cancelled() => break,
            }
        }
        if leads(*tell.borrow()) {
            let _ = lease.release().await;
        }
    });
    (told, task)
}
