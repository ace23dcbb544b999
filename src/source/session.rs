//! One call to one remote repository: its limits, and what libgit2 is told to reach it by.
//!
//! In: a [`Channel`] (HTTP or SSH) and [`Bounds`]. Out: the result of libgit2 calls, and on failure a [`GitError`] that says
//! what the host did: libgit2 keeps only a text.
//!
//! libgit2 asks a process-wide factory for its transports and tells it nothing but the remote's address. So the address
//! is a constant of a private scheme, and the session of the current call lies in a thread-local: libgit2 runs
//! transports on the calling thread. A private scheme also keeps `url.*.insteadOf` of someone's configuration out.

use super::error::{GitError, plain};
use super::{http, ssh};
use git2::transport::Transport;
use std::cell::RefCell;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The one address that libgit2 is given.
pub(super) const PRIVATE_URL: &str = "driftless://session/";
const PRIVATE_SCHEME: &str = "driftless";

/// Bounds of one call.
#[derive(Debug, Clone)]
pub(super) struct Bounds {
    /// Longest silence.
    pub idle: Duration,
    /// Longest call.
    pub total: Duration,
    /// Most bytes received.
    pub bytes: u64,
    /// Set when the process shuts down.
    pub cancel: Arc<AtomicBool>,
}

/// How the remote is reached.
pub(super) enum Channel {
    /// Smart HTTP: a request for each step.
    Http(Arc<http::Remote>),
    /// An OpenSSH process: one conversation.
    Ssh(Arc<ssh::Remote>),
}

/// One call to one remote repository.
pub(super) struct Session {
    /// The address as it may be shown.
    pub(super) shown: String,
    channel: Channel,
    /// Its limits.
    pub(super) bounds: Bounds,
    deadline: Instant,
    received: AtomicU64,
    /// What happened, in our words.
    failure: Mutex<Option<GitError>>,
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<Session>>> = const { RefCell::new(None) };
}

/// Puts the former session back, also on unwind.
struct Restore(Option<Arc<Session>>);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.with(|current| current.replace(self.0.take()));
    }
}

impl Session {
    /// A session; its time starts to run now.
    pub(super) fn new(shown: String, channel: Channel, bounds: Bounds) -> Arc<Self> {
        let deadline = Instant::now() + bounds.total;
        Arc::new(Self { shown, channel, bounds, deadline, received: AtomicU64::new(0), failure: Mutex::new(None) })
    }

    /// Runs libgit2 calls whose remote is [`PRIVATE_URL`] against this session.
    pub(super) fn run<T>(self: &Arc<Self>, call: impl FnOnce() -> Result<T, git2::Error>) -> Result<T, GitError> {
        register()?;
        let _restore = Restore(CURRENT.with(|current| current.replace(Some(Arc::clone(self)))));
        let result = call();
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        result.map_err(|error| failure.unwrap_or_else(|| GitError::from_git2(&self.shown, &error)))
    }

    /// True once the call must end.
    pub(super) fn is_over(&self) -> bool {
        self.bounds.cancel.load(Ordering::Relaxed) || Instant::now() >= self.deadline
    }

    /// Remembers what happened; what happened first counts.
    pub(super) fn fail(&self, error: GitError) -> io::Error {
        let text = error.to_string();
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(error);
        io::Error::other(text)
    }

    /// An error once a limit is passed.
    pub(super) fn check(&self) -> io::Result<()> {
        let repository = || self.shown.clone();
        if self.bounds.cancel.load(Ordering::Relaxed) {
            return Err(self.fail(GitError::Cancelled { repository: repository() }));
        }
        if Instant::now() >= self.deadline {
            return Err(self.fail(GitError::TimedOut { repository: repository() }));
        }
        if self.received.load(Ordering::Relaxed) > self.bounds.bytes {
            return Err(self.fail(GitError::TooLarge { repository: repository(), limit: self.bounds.bytes }));
        }
        Ok(())
    }

    /// A connection that was lost.
    pub(super) fn broken(&self, timed_out: bool, message: &str) -> io::Error {
        let repository = self.shown.clone();
        self.fail(if timed_out {
            GitError::TimedOut { repository }
        } else if message.contains("certificate") {
            GitError::Untrusted { repository, message: plain(message) }
        } else {
            GitError::Unreachable { repository, message: plain(message) }
        })
    }

    /// Counts what was received.
    pub(super) fn count(&self, bytes: usize) -> io::Result<()> {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        self.check()
    }

    /// What is left of the call's time.
    pub(super) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

fn register() -> Result<(), GitError> {
    static REGISTERED: OnceLock<Result<(), String>> = OnceLock::new();
    let outcome = REGISTERED.get_or_init(|| {
        #[expect(unsafe_code, reason = "must not run beside other registrations: the OnceLock is the only caller")]
        let registered = unsafe {
            git2::transport::register(PRIVATE_SCHEME, |remote| {
                let session = CURRENT.with(|current| current.borrow().clone());
                let session =
                    session.ok_or_else(|| git2::Error::from_str("no session: a remote used outside of one"))?;
                match &session.channel {
                    Channel::Http(host) => {
                        let host = Arc::clone(host);
                        Transport::smart(remote, true, http::Subtransport::new(session, host))
                    }
                    Channel::Ssh(host) => {
                        let host = Arc::clone(host);
                        Transport::smart(remote, false, ssh::Subtransport::new(session, host))
                    }
                }
            })
        };
        registered.map_err(|error| error.message().to_owned())
    });
    outcome.clone().map_err(|message| GitError::Git { repository: "libgit2".to_owned(), message })
}
