//! One `ssh` process per conversation, as libgit2's smart transport wants it: a stream to write to and to read from.
//!
//! Invariants: every wait has a bound, since a watchdog kills the process when the call is over, cancelled or silent for
//! too long, which ends the read or write that hangs; no process outlives its conversation, also not one that `ssh`
//! started for a jump host; what is kept of standard error has a bound.

use super::super::error::{GitError, plain};
use super::super::session::Session;
use super::address::SshAddress;
use super::error::{SshError, understood};
use super::settings::{SshOptions, arguments, config_text};
use crate::object::Digest;
use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream};
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Between two looks at the limits.
const LOOK: Duration = Duration::from_millis(50);
/// Between two looks at whether the process has ended.
const END_POLL: Duration = Duration::from_millis(2);
/// For a process to end by itself once the conversation is over.
const GRACE: Duration = Duration::from_secs(2);
/// Most that is kept of standard error.
const MAX_SAID: usize = 16 * 1024;

/// A repository behind SSH.
pub(in super::super) struct Remote {
    program: PathBuf,
    address: SshAddress,
    jump: Option<String>,
    config: PathBuf,
}

impl Remote {
    /// The repository at this address; the configuration of `ssh` is put into `dir`.
    pub(in super::super) fn new(
        program: &Path,
        address: &SshAddress,
        options: Option<&SshOptions>,
        dir: &Path,
    ) -> Result<Arc<Self>, GitError> {
        let text = config_text(options)?;
        let config = dir.join(format!("ssh-{}.conf", Digest::of_bytes(text.as_bytes()).short(16)));
        put(&config, &text)
            .map_err(|error| GitError::Cache { path: config.display().to_string(), message: error.to_string() })?;
        let jump = options.and_then(|options| options.jump.clone());
        Ok(Arc::new(Self { program: program.to_owned(), address: address.clone(), jump, config }))
    }

    fn command(&self, service: &str) -> Result<Command, SshError> {
        let mut command = Command::new(&self.program);
        command.args(arguments(&self.config, self.jump.as_deref(), &self.address, service)?);
        command.env("LC_ALL", "C").env("SSH_ASKPASS_REQUIRE", "never").env_remove("SSH_ASKPASS");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own, so that what it starts for a jump host ends with it.
        command.process_group(0);
        end_with_us(&mut command);
        Ok(command)
    }
}

/// Has the kernel end it where this process is killed while the host says nothing. The signal comes with the end of the
/// calling thread, which is the one that the conversation is held on.
#[cfg(target_os = "linux")]
fn end_with_us(command: &mut Command) {
    #[expect(
        unsafe_code,
        reason = "between fork and exec; the call is async-signal-safe and touches no memory of ours"
    )]
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
}

/// Elsewhere the end of its input ends it, as soon as the host says something.
#[cfg(not(target_os = "linux"))]
fn end_with_us(_: &mut Command) {}

/// Writes a file whose name says its content; several processes may do so at once.
fn put(file: &Path, text: &str) -> io::Result<()> {
    if fs::read_to_string(file).is_ok_and(|found| found == text) {
        return Ok(());
    }
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir)?;
    }
    let fresh = file.with_extension(format!("new-{}-{:?}", std::process::id(), thread::current().id()));
    fs::write(&fresh, text)?;
    fs::rename(&fresh, file)
}

/// What libgit2 holds: starts conversations for the session of the call that it was made in.
pub(in super::super) struct Subtransport {
    session: Arc<Session>,
    host: Arc<Remote>,
}

impl Subtransport {
    /// For libgit2's smart transport.
    pub(in super::super) fn new(session: Arc<Session>, host: Arc<Remote>) -> Self {
        Self { session, host }
    }

    fn start(&self, service: &str) -> Result<Conversation, io::Error> {
        self.session.check()?;
        let mut command = self.host.command(service).map_err(|error| self.session.fail(error.into()))?;
        let child = command.spawn().map_err(|error| {
            let program = self.host.program.display().to_string();
            self.session.fail(SshError::Missing { program, message: error.to_string() }.into())
        })?;
        Ok(Conversation::new(Arc::clone(&self.session), child))
    }
}

impl SmartSubtransport for Subtransport {
    fn action(&self, _url: &str, service: Service) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        // libgit2 goes on with the stream that it got for the listing.
        let service = match service {
            Service::UploadPackLs | Service::UploadPack => "git-upload-pack",
            Service::ReceivePackLs | Service::ReceivePack => "git-receive-pack",
        };
        let conversation = self.start(service).map_err(|error| git2::Error::from_str(&error.to_string()))?;
        Ok(Box::new(conversation))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

/// The process, and since when somebody waits for it.
struct Shared {
    child: Mutex<Child>,
    waiting: Mutex<Option<Instant>>,
    said: Mutex<Vec<u8>>,
}

impl Shared {
    fn child(&self) -> std::sync::MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its end, if it comes within `patience`.
    fn end(&self, patience: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + patience;
        loop {
            if let Ok(Some(status)) = self.child().try_wait() {
                return Some(status);
            }
            if Instant::now() >= until {
                return None;
            }
            thread::sleep(END_POLL);
        }
    }

    /// Ends it and what it started.
    fn kill(&self) {
        let mut child = self.child();
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        #[expect(
            unsafe_code,
            reason = "std signals no groups; the leader is ours and not waited for yet, so it exists"
        )]
        unsafe {
            libc::kill(-child.id().cast_signed(), libc::SIGKILL);
        }
        let _ = child.kill();
        let _ = child.wait();
    }

    fn is_silent(&self, longest: Duration) -> bool {
        let waiting = *self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.is_some_and(|since| since.elapsed() > longest)
    }
}

/// A running `ssh`.
struct Conversation {
    session: Arc<Session>,
    shared: Arc<Shared>,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    /// Something was received, and it was Git's.
    greeted: bool,
    /// Dropped to end the watchdog.
    stop: Option<Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Conversation {
    fn new(session: Arc<Session>, mut child: Child) -> Self {
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let shared =
            Arc::new(Shared { child: Mutex::new(child), waiting: Mutex::new(None), said: Mutex::new(Vec::new()) });
        let (stop, stopped) = channel();
        let (watched, limits) = (Arc::clone(&shared), Arc::clone(&session));
        let mut threads = vec![thread::spawn(move || watch(&watched, &limits, &stopped))];
        if let Some(stderr) = stderr {
            let heard = Arc::clone(&shared);
            threads.push(thread::spawn(move || listen(&heard, stderr)));
        }
        Self { session, shared, stdin, stdout, greeted: false, stop: Some(stop), threads }
    }

    /// Reads or writes, with the watchdog counting.
    fn waiting<T>(&mut self, act: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        let set = |shared: &Shared, at| *shared.waiting.lock().unwrap_or_else(PoisonError::into_inner) = at;
        set(&self.shared, Some(Instant::now()));
        let result = act(self);
        set(&self.shared, None);
        result
    }

    /// What it means that the process closed its side.
    fn closed(&mut self) -> io::Result<usize> {
        self.session.check()?;
        self.stdin = None;
        let Some(status) = self.shared.end(GRACE) else {
            self.shared.kill();
            return Err(self.session.broken(false, "the connection broke"));
        };
        // Killed by the watchdog: that has said why.
        self.session.check()?;
        if status.success() {
            return Ok(0);
        }
        self.finish_listening();
        let said = self.shared.said.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let error = understood(&self.session.shown, &String::from_utf8_lossy(&said), status.code());
        Err(self.session.fail(error))
    }

    /// Every message of Git's begins with its length, four hexadecimal digits; a greeting for people does not.
    fn greet(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.greeted && !bytes.iter().take(4).all(u8::is_ascii_hexdigit) {
            let said = plain(String::from_utf8_lossy(bytes).lines().next().unwrap_or_default());
            let message = format!("the host says {said:?} instead of speaking Git");
            return Err(self
                .session
                .fail(SshError::Refused { repository: self.session.shown.clone(), message }.into()));
        }
        self.greeted = true;
        Ok(())
    }

    /// The process has ended: what it said comes to its end, unless something else holds its standard error.
    fn finish_listening(&self) {
        let until = Instant::now() + GRACE;
        while self.threads.get(1).is_some_and(|thread| !thread.is_finished()) && Instant::now() < until {
            thread::sleep(END_POLL);
        }
    }
}

/// Kills the process once the call is over, cancelled, or silent for too long.
fn watch(shared: &Shared, session: &Session, stopped: &Receiver<()>) {
    while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        if shared.is_silent(session.bounds.idle) {
            let _ = session.broken(true, "");
        } else if session.check().is_ok() {
            continue;
        }
        shared.kill();
        return;
    }
}

/// Keeps the beginning of what it says, and reads the rest so that it is not held up.
fn listen(shared: &Shared, mut stderr: ChildStderr) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stderr.read(&mut buffer) {
        let mut said = shared.said.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MAX_SAID.saturating_sub(said.len()).min(count);
        said.extend_from_slice(&buffer[..room]);
    }
}

impl Read for Conversation {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.session.check()?;
        let read = |own: &mut Self| own.stdout.as_mut().map_or(Ok(0), |stdout| stdout.read(buffer));
        match self.waiting(read) {
            Ok(0) => self.closed(),
            Ok(count) => self.greet(&buffer[..count]).and_then(|()| self.session.count(count)).map(|()| count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => Err(self.session.broken(false, &error.to_string())),
        }
    }
}

impl Write for Conversation {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.session.check()?;
        let write = |own: &mut Self| own.stdin.as_mut().map_or(Ok(0), |stdin| stdin.write(bytes));
        match self.waiting(write) {
            Ok(count @ 1..) => Ok(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            // It reads no more: it has ended, and says why.
            _ => match self.closed() {
                Ok(_) => Err(self.session.broken(false, "the host ended the conversation")),
                Err(error) => Err(error),
            },
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        // The end of its input ends it.
        self.stdin = None;
        self.stdout = None;
        let patience = if self.session.is_over() { Duration::ZERO } else { GRACE };
        if self.shared.end(patience).is_none() {
            self.shared.kill();
        }
        self.stop = None;
        for thread in self.threads.drain(..).take(1) {
            let _ = thread.join();
        }
    }
}
