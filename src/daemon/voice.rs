//! One place where statuses are heard, with its outbox and the thread that sends.
//!
//! Guarantees: what is said is on disk before it is sent; a host that is down, or that does not let us in, delays its own
//! reports and nothing else; that it does not let us in is told once, and once more when it does again.

use crate::hosts::Host;
use crate::object::Digest;
use crate::report::letters::{Letter, Letters};
use crate::report::outbox::Pass;
use crate::report::{Denials, Ledger, Note, Outbox, Reporter as _};
use crate::server::Metrics;
use crate::source::Revision;
use jiff::Timestamp;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Reports that may wait.
const CAPACITY: usize = 10_000;
/// Commits of which is asked at once what was said.
const TOGETHER: usize = crate::hosts::ASKED;
/// How long a shutdown waits for reports to be sent.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// A host with its outbox.
pub(super) struct Voice {
    host: Host,
    outbox: Arc<Outbox>,
    /// Comments of pull requests, where the host has those.
    letters: Option<Arc<Letters>>,
    wake: Option<Sender<()>>,
    sender: Option<JoinHandle<()>>,
}

impl Voice {
    /// Takes up what an earlier process left, and begins to send.
    pub(super) fn open(
        host: Host,
        repository: &str,
        identity: &str,
        dir: &Path,
        told: (&Arc<Metrics>, &Denials),
    ) -> Self {
        let place = dir.join(Digest::of_bytes(host.place(identity).as_bytes()).short(16));
        let outbox = Arc::new(Outbox::open(&place, CAPACITY).unwrap_or_else(|error| {
            tracing::warn!(%error, "reports are kept in memory only");
            Outbox::in_memory(CAPACITY)
        }));
        let letters = matches!(host, Host::Remote(_)).then(|| Arc::new(letters(&outbox, &place)));
        let (wake, woken) = channel::<()>();
        let carrier = Carrier {
            left: outbox.revisions(),
            outbox: outbox.clone(),
            letters: letters.clone(),
            host: host.clone(),
            repository: repository.to_owned(),
            metrics: told.0.clone(),
            denials: told.1.clone(),
            denied: false,
        };
        let sender = std::thread::spawn(move || carrier.run(&woken));
        let _ = wake.send(());
        Self { host, outbox, letters, wake: Some(wake), sender: Some(sender) }
    }

    /// Where it is heard.
    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    /// True where pull requests have comments.
    pub(super) fn writes_comments(&self) -> bool {
        self.letters.is_some()
    }

    /// Writes a pull request's comment.
    pub(super) fn write(&self, letter: Letter) {
        let Some(letters) = &self.letters else { return };
        if let Err(error) = letters.put(letter) {
            tracing::error!(%error, "a comment is kept in memory only");
        }
        if let Some(wake) = &self.wake {
            let _ = wake.send(());
        }
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

/// Comments lie beside the statuses, in the directory that is locked by then.
fn letters(outbox: &Outbox, place: &Path) -> Letters {
    if !outbox.is_durable() {
        return Letters::in_memory();
    }
    Letters::open(&place.join("comments"), Timestamp::now()).unwrap_or_else(|error| {
        tracing::warn!(%error, "comments are kept in memory only");
        Letters::in_memory()
    })
}

/// What the thread that sends has.
struct Carrier {
    outbox: Arc<Outbox>,
    letters: Option<Arc<Letters>>,
    host: Host,
    repository: String,
    metrics: Arc<Metrics>,
    denials: Denials,
    /// Revisions of which an earlier process left something unsent, and of which nobody has looked yet what the host has.
    left: HashSet<Revision>,
    /// The host lets nothing in.
    denied: bool,
}

impl Carrier {
    /// Sends until nobody can say anything any more, and then what is left, as far as it goes in a short time.
    fn run(mut self, woken: &Receiver<()>) {
        loop {
            self.settle_left();
            // A plan's comment before its status: whoever sees that it is done looks for it.
            let next_letter = self.deliver();
            let pass = self.outbox.send_due(&self.host, Timestamp::now(), rand::random());
            self.tell(&pass);
            let next = [pass.next, next_letter].into_iter().flatten().min();
            let pause = next.map(|next| Duration::try_from(next.duration_since(Timestamp::now())).unwrap_or_default());
            match woken.recv_timeout(pause.unwrap_or(Duration::from_secs(3600))) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.deliver();
                    self.outbox.flush(&self.host, LAST_WORDS);
                    return;
                }
            }
        }
    }

    /// Another daemon may have led since, and said what was left here: that is not said twice.
    fn settle_left(&mut self) {
        let waiting = self.outbox.revisions();
        self.left.retain(|revision| waiting.contains(revision));
        let left: Vec<Revision> = self.left.iter().cloned().collect();
        for some in left.chunks(TOGETHER) {
            // Where it does not answer, nothing is sent either.
            let Ok(said) = self.host.said(some) else { return };
            let said = Ledger::from_notes(said.iter());
            self.left.retain(|revision| !some.contains(revision));
            let dropped = self.outbox.drop_said(&|revision, context| said.state(revision, context));
            if dropped > 0 {
                tracing::info!(host = self.host.name(), dropped, "statuses that were left unsent were said since");
            }
        }
    }

    fn tell(&mut self, pass: &Pass) {
        let (host, repository) = (self.host.name(), &self.repository);
        for failure in &pass.failed {
            // Told once, not every ten minutes for days.
            if !(pass.denied && self.denied) {
                tracing::warn!(host, failure, "a status was not written; it is tried again");
            }
        }
        for (note, error) in &pass.refused {
            tracing::error!(host, revision = note.revision.short(7), %error, "a status is not taken");
        }
        if pass.denied && !self.denied {
            tracing::error!(host, repository, "statuses wait until somebody mends this");
        }
        if self.denied && pass.sent > 0 {
            tracing::info!(host, repository, "statuses are taken again");
        }
        let denied = pass.denied || (self.denied && pass.sent == 0);
        self.metrics.reports(repository, host, self.outbox.len(), denied);
        match pass.failed.first().filter(|_| pass.denied) {
            Some(failure) => self.denials.set(host, Some(failure)),
            None if !denied => self.denials.set(host, None),
            None => {}
        }
        self.denied = denied;
    }

    /// Writes the comments that are due; when the next one is.
    fn deliver(&self) -> Option<Timestamp> {
        let (Some(letters), Host::Remote(client)) = (&self.letters, &self.host) else { return None };
        let send = |letter: &Letter| client.comment(letter.pull, &letter.mark, &letter.text).map(drop);
        let delivery = letters.send_due(&send, Timestamp::now(), rand::random());
        for (pull, failure) in &delivery.failed {
            tracing::warn!(host = client.name(), pull, failure, "a comment was not written; it is tried again");
        }
        for (pull, failure) in &delivery.given_up {
            tracing::error!(host = client.name(), pull, failure, "a comment is given up");
        }
        delivery.next
    }
}
