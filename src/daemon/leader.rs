//! Keeps a scope's lease, and says whether it is ours.

use crate::apply::lease::{LIFETIME, Leadership, RENEW_EVERY, ScopeLease};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often a lease that is another's is tried.
const TRY_EVERY: Duration = Duration::from_secs(2);

/// Takes and renews the lease until `shutdown`, then gives it back. True while it is ours.
pub fn lead(lease: ScopeLease, shutdown: CancellationToken) -> (watch::Receiver<bool>, tokio::task::JoinHandle<()>) {
    let (tell, told) = watch::channel(false);
    let task = tokio::spawn(async move {
        let mut renewed: Option<Instant> = None;
        let mut named = None;
        loop {
            let pause = match lease.acquire().await {
                Ok(Leadership::Ours) => {
                    renewed = Some(Instant::now());
                    tell.send_if_modified(|ours| !std::mem::replace(ours, true));
                    RENEW_EVERY
                }
                Ok(Leadership::Theirs(holder)) => {
                    if named.as_ref() != Some(&holder) {
                        tracing::info!(%holder, "another daemon leads this scope; standing by");
                        named = Some(holder);
                    }
                    tell.send_if_modified(|ours| std::mem::replace(ours, false));
                    TRY_EVERY
                }
                Err(error) => {
                    tracing::warn!(%error, "the scope's lease cannot be renewed");
                    TRY_EVERY
                }
            };
            // Not renewed for as long as others wait: it may be theirs by now, whatever the API server last said.
            let lifetime = Duration::try_from(LIFETIME).unwrap_or_default();
            if renewed.is_some_and(|at| at.elapsed() + TRY_EVERY >= lifetime) {
                tell.send_if_modified(|ours| std::mem::replace(ours, false));
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.cancelled() => break,
            }
        }
        if *tell.borrow() {
            let _ = lease.release().await;
        }
    });
    (told, task)
}
