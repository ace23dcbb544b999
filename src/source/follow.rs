//! Follows a repository of this machine: calls back when its branches (or its notes) may have moved.
//!
//! In: the directory, and what to look at. Out: calls from a thread of its own, at most [`SETTLE`] after Git's own
//! rename. Git writes references by lock file and rename, so that a rename is the event; `*.lock` files, logs, objects
//! and reads wake nobody, and our own notes wake no follower of branches.
//!
//! Guarantees: a change is seen also when events are lost, unsupported (network file systems) or used up
//! (`fs.inotify.max_user_watches`), when `git gc` packs references, and when the directory is removed and made again: a
//! cheap look at the files' own state happens every [`LOOK`]. A call may come without a change; a change never comes
//! without a call.

use super::error::GitError;
use git2::Repository;
use notify::event::{EventKind, ModifyKind};
use notify::{Event, RecursiveMode, Watcher};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// Events closer together than this become one call.
const SETTLE: Duration = Duration::from_millis(3);
/// Between two looks at the files themselves, where events work.
const LOOK: Duration = Duration::from_secs(1);
/// The same where events do not work.
const LOOK_WITHOUT_EVENTS: Duration = Duration::from_millis(200);
/// After a directory appeared: what was written into it before it was watched made no event.
const AFTER_DIRECTORY: [Duration; 3] =
    [Duration::from_millis(5), Duration::from_millis(25), Duration::from_millis(100)];
/// Most reference files that one look compares.
const MAX_FILES: usize = 20_000;

/// What to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// Branches and `HEAD`.
    Branches,
    /// `refs/notes`.
    Notes,
}

impl Watched {
    fn directory(self) -> &'static str {
        match self {
            Self::Branches => "refs/heads",
            Self::Notes => "refs/notes",
        }
    }

    /// True if a change of this file (relative to the Git directory) may move what is watched.
    fn concerns(self, file: &Path) -> bool {
        if file.extension().is_some_and(|extension| extension == "lock") {
            return false;
        }
        let head = self == Self::Branches && file == Path::new("HEAD");
        head || file == Path::new("packed-refs") || file.starts_with(self.directory())
    }
}

/// A running follower. Dropping it ends its thread.
#[derive(Debug)]
pub struct Follower {
    wake: Sender<Signal>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Signal {
    /// Something may have moved.
    Changed,
    /// A directory appeared below a watched one.
    Directory,
    Stop,
}

impl Follower {
    /// Starts to follow the repository at `path` (a work tree, a linked work tree, or a bare repository). `changed` must
    /// be quick: send on a channel.
    ///
    /// # Errors
    /// If there is no repository at `path` now, or no thread can be started.
    pub fn start(path: &Path, watched: Watched, changed: impl Fn() + Send + 'static) -> Result<Self, GitError> {
        let places = Places::find(path)?;
        let (wake, signals) = mpsc::channel();
        let mut run =
            Run { path: path.to_owned(), watched, places, wake: wake.clone(), watcher: None, state: State::default() };
        run.rearm();
        let body = move || run.follow(&signals, &changed);
        let thread = std::thread::Builder::new().name("follow-git".to_owned()).spawn(body);
        let thread = thread
            .map_err(|error| GitError::Git { repository: path.display().to_string(), message: error.to_string() })?;
        Ok(Self { wake, thread: Some(thread) })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.wake.send(Signal::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The directories of a repository: one, but for linked work trees, which have their own `HEAD`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Places {
    git_dir: PathBuf,
    common_dir: PathBuf,
}

impl Places {
    fn find(path: &Path) -> Result<Self, GitError> {
        let shown = path.display().to_string();
        let repo = Repository::open(path).map_err(|error| match error.code() {
            git2::ErrorCode::NotFound => GitError::NotARepository { path: shown.clone(), inside: None },
            _ => GitError::from_git2(&shown, &error),
        })?;
        // Events carry real paths; a link on the way here would make them look foreign.
        let real = |dir: &Path| fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
        Ok(Self { git_dir: real(repo.path()), common_dir: real(repo.commondir()) })
    }

    /// A path relative to the Git directory that it is in.
    fn relative<'a>(&self, path: &'a Path) -> Option<&'a Path> {
        path.strip_prefix(&self.git_dir).or_else(|_| path.strip_prefix(&self.common_dir)).ok()
    }
}

/// What the files themselves say: a change of any of it is a change.
#[derive(Debug, Default, PartialEq, Eq)]
struct State {
    /// By path: modification time, length, and inode (a directory that was made again has another).
    files: BTreeMap<PathBuf, (Option<SystemTime>, u64, u64)>,
}

impl State {
    fn read(places: &Places, watched: Watched) -> Self {
        let mut state = Self::default();
        for file in [places.git_dir.join("HEAD"), places.common_dir.join("packed-refs"), places.common_dir.join("refs")]
        {
            state.note(file);
        }
        let mut todo = vec![places.common_dir.join(watched.directory())];
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
                if state.files.len() >= MAX_FILES {
                    return state;
                }
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => todo.push(entry.path()),
                    Ok(_) if !entry.file_name().to_string_lossy().ends_with(".lock") => state.note(entry.path()),
                    _ => {}
                }
            }
        }
        state
    }

    fn note(&mut self, path: PathBuf) {
        if let Ok(metadata) = fs::metadata(&path) {
            // A directory's own time changes with every lock file in it.
            let time = metadata.modified().ok().filter(|_| metadata.is_file());
            let length = if metadata.is_file() { metadata.len() } else { 0 };
            self.files.insert(path, (time, length, inode(&metadata)));
        }
    }
}

#[cfg(unix)]
fn inode(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &fs::Metadata) -> u64 {
    0
}

struct Run {
    path: PathBuf,
    watched: Watched,
    places: Places,
    wake: Sender<Signal>,
    watcher: Option<notify::RecommendedWatcher>,
    state: State,
}

impl Run {
    fn follow(mut self, signals: &Receiver<Signal>, changed: &dyn Fn()) {
        let mut again: Vec<Instant> = Vec::new();
        let mut look_at = Instant::now() + self.look();
        loop {
            let next = again.iter().copied().chain([look_at]).min().unwrap_or(look_at);
            match signals.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(signal) => {
                    let (stop, directory) = settle(signals);
                    if stop {
                        return;
                    }
                    if directory || matches!(signal, Signal::Directory) {
                        again.extend(AFTER_DIRECTORY.iter().map(|after| Instant::now() + *after));
                    }
                    changed();
                }
                Err(RecvTimeoutError::Timeout) => {
                    let now = Instant::now();
                    let due = again.len();
                    again.retain(|at| *at > now);
                    let mut call = again.len() < due;
                    if now >= look_at {
                        call |= self.look_now();
                        look_at = Instant::now() + self.look();
                    }
                    if call {
                        changed();
                    }
                }
            }
        }
    }

    fn look(&self) -> Duration {
        if self.watcher.is_some() { LOOK } else { LOOK_WITHOUT_EVENTS }
    }

    /// Compares the files with the last look. Watches anew what was replaced.
    fn look_now(&mut self) -> bool {
        let refs = |places: &Places| fs::metadata(places.common_dir.join("refs")).map(|metadata| inode(&metadata)).ok();
        let before = self.state.files.get(&self.places.common_dir.join("refs")).map(|(_, _, inode)| *inode);
        let moved = refs(&self.places) != before;
        if moved && let Ok(places) = Places::find(&self.path) {
            self.places = places;
            self.rearm();
            return true;
        }
        let state = State::read(&self.places, self.watched);
        let differs = state != self.state;
        self.state = state;
        differs
    }

    /// Watches the directories, and takes down their present state. Without events the looks remain.
    fn rearm(&mut self) {
        self.watcher = self.watch().inspect_err(|error| {
            tracing::warn!(repository = %self.path.display(), %error, "no file events: looking every 200 ms instead");
        }).ok();
        self.state = State::read(&self.places, self.watched);
    }

    fn watch(&self) -> notify::Result<notify::RecommendedWatcher> {
        let (places, watched, wake) = (self.places.clone(), self.watched, self.wake.clone());
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if let Some(signal) = signal(&places, watched, event) {
                let _ = wake.send(signal);
            }
        })?;
        watcher.watch(&self.places.common_dir, RecursiveMode::NonRecursive)?;
        watcher.watch(&self.places.common_dir.join("refs"), RecursiveMode::Recursive)?;
        if self.places.git_dir != self.places.common_dir {
            watcher.watch(&self.places.git_dir, RecursiveMode::NonRecursive)?;
        }
        Ok(watcher)
    }
}

/// Takes what else arrives within [`SETTLE`] of the first event. Out: whether to stop, and whether a directory appeared.
fn settle(signals: &Receiver<Signal>) -> (bool, bool) {
    let end = Instant::now() + SETTLE;
    let mut directory = false;
    loop {
        match signals.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return (true, directory),
            Ok(Signal::Directory) => directory = true,
            Ok(Signal::Changed) => {}
            Err(RecvTimeoutError::Timeout) => return (false, directory),
        }
        if Instant::now() >= end {
            return (false, directory);
        }
    }
}

/// What an event means for us, if anything.
fn signal(places: &Places, watched: Watched, event: notify::Result<Event>) -> Option<Signal> {
    // An error is mostly an overflow of the queue: whatever was lost may have been ours.
    let Ok(event) = event else { return Some(Signal::Changed) };
    if event.need_rescan() {
        return Some(Signal::Changed);
    }
    let writes = match event.kind {
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(_)) => false,
        EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Other => true,
    };
    let concerned = |path: &PathBuf| places.relative(path).is_some_and(|file| watched.concerns(file));
    let mut ours = event.paths.iter().filter(|path| concerned(path)).peekable();
    if !writes || ours.peek().is_none() {
        return None;
    }
    let directory = event.kind.is_create() && ours.any(|path| path.is_dir());
    Some(if directory { Signal::Directory } else { Signal::Changed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::TestRepo;

    #[test]
    fn what_concerns_whom() {
        let cases = [
            ("refs/heads/main", true, false),
            ("refs/heads/a/b", true, false),
            ("refs/heads/main.lock", false, false),
            ("HEAD", true, false),
            ("HEAD.lock", false, false),
            ("packed-refs", true, true),
            ("packed-refs.lock", false, false),
            ("refs/notes/driftless", false, true),
            ("refs/tags/v1", false, false),
            ("index", false, false),
            ("FETCH_HEAD", false, false),
        ];
        for (file, branches, notes) in cases {
            assert_eq!(Watched::Branches.concerns(Path::new(file)), branches, "{file}");
            assert_eq!(Watched::Notes.concerns(Path::new(file)), notes, "{file}");
        }
    }

    #[test]
    fn which_events_wake() {
        use notify::event::{AccessKind, AccessMode, CreateKind, MetadataKind, RemoveKind, RenameMode};
        let dir = PathBuf::from("/r/.git");
        let places = Places { git_dir: dir.clone(), common_dir: dir };
        let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        let cases = [
            (renamed, "/r/.git/refs/heads/main", true),
            (renamed, "/r/.git/packed-refs", true),
            (renamed, "/r/.git/HEAD", true),
            (EventKind::Remove(RemoveKind::File), "/r/.git/refs/heads/main", true),
            (EventKind::Create(CreateKind::Folder), "/r/.git/refs/heads/a", true),
            (EventKind::Create(CreateKind::File), "/r/.git/refs/heads/main.lock", false),
            (EventKind::Access(AccessKind::Close(AccessMode::Read)), "/r/.git/refs/heads/main", false),
            (EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any)), "/r/.git/refs/heads/main", false),
            (renamed, "/r/.git/refs/notes/driftless", false),
            (renamed, "/r/.git/index", false),
            (renamed, "/elsewhere/refs/heads/main", false),
        ];
        for (kind, path, wakes) in cases {
            let event = Event::new(kind).add_path(path.into());
            assert_eq!(signal(&places, Watched::Branches, Ok(event)).is_some(), wakes, "{kind:?} {path}");
        }
        let lost = Err(notify::Error::generic("queue overflow"));
        assert!(signal(&places, Watched::Branches, lost).is_some());
    }

    fn follow(repo: &TestRepo, watched: Watched) -> (Follower, Receiver<()>) {
        let (sender, receiver) = mpsc::channel();
        let follower = Follower::start(repo.path(), watched, move || {
            let _ = sender.send(());
        })
        .unwrap();
        (follower, receiver)
    }

    fn drain(calls: &Receiver<()>) {
        while calls.recv_timeout(Duration::from_millis(150)).is_ok() {}
    }

    /// Generous for a busy machine; that it is events that wake, and which, is the table above.
    const SOON: Duration = Duration::from_secs(5);

    #[test]
    fn commits_branches_and_packing_are_seen_notes_are_not() {
        let repo = TestRepo::new();
        repo.commit("a", &[("f", "1")]);
        let (_follower, calls) = follow(&repo, Watched::Branches);
        let sees = |what: &str, act: &dyn Fn()| {
            drain(&calls);
            act();
            assert!(calls.recv_timeout(SOON).is_ok(), "{what}");
        };
        sees("a commit", &|| drop(repo.commit("b", &[("f", "2")])));
        sees("a branch in a new directory", &|| drop(repo.git(&["branch", "feature/deep/one"])));
        sees("a branch moved there", &|| drop(repo.git(&["branch", "-f", "feature/deep/one", "HEAD~1"])));
        sees("packed references", &|| drop(repo.git(&["pack-refs", "--all"])));
        sees("a packed branch deleted", &|| drop(repo.git(&["branch", "-D", "feature/deep/one"])));
        drain(&calls);
        repo.git(&["notes", "--ref=driftless", "add", "-m", "x"]);
        repo.git(&["tag", "v1"]);
        assert!(calls.recv_timeout(Duration::from_millis(300)).is_err(), "notes and tags wake nobody");
    }

    #[test]
    fn followers_of_notes() {
        let repo = TestRepo::new();
        repo.commit("a", &[("f", "1")]);
        let (_follower, calls) = follow(&repo, Watched::Notes);
        drain(&calls);
        repo.git(&["notes", "--ref=driftless", "add", "-m", "x"]);
        assert!(calls.recv_timeout(SOON).is_ok());
    }

    #[test]
    fn a_directory_that_is_made_again_is_followed_again() {
        let repo = TestRepo::new();
        repo.commit("a", &[("f", "1")]);
        let (_follower, calls) = follow(&repo, Watched::Branches);
        drain(&calls);
        fs::remove_dir_all(repo.path()).unwrap();
        repo.init_again();
        repo.commit("b", &[("f", "2")]);
        assert!(calls.recv_timeout(Duration::from_secs(5)).is_ok());
        // The look that finds the new directory comes within a second; from then on events work again.
        std::thread::sleep(LOOK + Duration::from_millis(300));
        drain(&calls);
        repo.commit("c", &[("f", "3")]);
        assert!(calls.recv_timeout(SOON).is_ok());
    }

    #[test]
    fn it_ends_when_dropped() {
        let repo = TestRepo::new();
        let (follower, _calls) = follow(&repo, Watched::Branches);
        drop(follower);
        assert!(matches!(
            Follower::start(Path::new("/nonexistent"), Watched::Branches, || {}),
            Err(GitError::NotARepository { .. })
        ));
    }
}
