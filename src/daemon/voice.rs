//! One place where statuses are heard, with its outbox and the thread that sends.
//!
//! Guarantees: what is said is on disk before it is sent; a host that is down, or that does not let us in, delays its own
//! reports and nothing else; that it does not let us in is told once, and once more when it does again.

use crate::hosts::Host;
use crate::object::Digest;
use crate::report::{Note, Outbox, Reporter as _};
use crate::server::Metrics;
use jiff::Timestamp;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Reports that may wait.
const CAPACITY: usize = 10_000;
/// How long a shutdown waits for reports to be sent.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// A host with its outbox.
pub(super) struct Voice {
    outbox: Arc<Outbox>,
    wake: Option<Sender<()>>,
    sender: Option<JoinHandle<()>>,
}

impl Voice {
    /// Takes up what an earlier process left, and begins to send.
    pub(super) fn open(host: Host, repository: &str, identity: &str, dir: &Path, metrics: &Arc<Metrics>) -> Self {
        let place = dir.join(Digest::of_bytes(host.place(identity).as_bytes()).short(16));
        let outbox = Arc::new(Outbox::open(&place, CAPACITY).unwrap_or_else(|error| {
            tracing::warn!(%error, "reports are kept in memory only");
            Outbox::in_memory(CAPACITY)
        }));
        let (wake, woken) = channel::<()>();
        let (queue, metrics, repository) = (outbox.clone(), metrics.clone(), repository.to_owned());
        let sender = std::thread::spawn(move || {
            let mut denied = false;
            loop {
                let pass = queue.send_due(&host, Timestamp::now(), rand::random());
                for failure in &pass.failed {
                    // Told once, not every ten minutes for days.
                    if !(pass.denied && denied) {
                        tracing::warn!(host = host.name(), failure, "a status was not written; it is tried again");
                    }
                }
                for (note, error) in &pass.refused {
                    tracing::error!(host = host.name(), revision = note.revision.short(7), %error, "a status is not taken");
                }
                if pass.denied && !denied {
                    tracing::error!(host = host.name(), repository, "statuses wait until somebody mends this");
                }
                if denied && pass.sent > 0 {
                    tracing::info!(host = host.name(), repository, "statuses are taken again");
                }
                denied = pass.denied || (denied && pass.sent == 0);
                metrics.reports(&repository, host.name(), queue.len(), denied);
                let pause =
                    pass.next.map(|next| Duration::try_from(next.duration_since(Timestamp::now())).unwrap_or_default());
                match woken.recv_timeout(pause.unwrap_or(Duration::from_secs(3600))) {
                    Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => {
                        queue.flush(&host, LAST_WORDS);
                        return;
                    }
                }
            }
        });
        let _ = wake.send(());
        Self { outbox, wake: Some(wake), sender: Some(sender) }
    }

    /// Says something.
    pub(super) fn say(&self, note: Note) {
        if let Err(error) = self.outbox.enqueue(note) {
            tracing::error!(%error, "a status is kept in memory only");
        }
        if let Some(wake) = &self.wake {
            let _ = wake.send(());
        }
    }

    /// What waits to be sent.
    pub(super) fn waiting(&self) -> Vec<Note> {
        self.outbox.waiting()
    }

    /// How much waits.
    pub(super) fn len(&self) -> usize {
        self.outbox.len()
    }
}

impl Drop for Voice {
    fn drop(&mut self) {
        drop(self.wake.take());
        if let Some(sender) = self.sender.take() {
            let _ = sender.join();
        }
    }
}
