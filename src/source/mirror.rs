//! The directory of a bare mirror: made, locked, cleaned after a crash, and made anew when it is damaged.
//!
//! Invariants: only the holder of the lock file writes; the mirror is a cache, so that throwing it away loses nothing;
//! readers open it for each call and so survive its replacement.

use super::error::GitError;
use super::url::RepoUrl;
use crate::object::Digest;
use git2::{Repository, RepositoryInitOptions, RepositoryOpenFlags};
use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Between two looks at a lock that another process holds.
const LOCK_POLL: Duration = Duration::from_millis(20);

/// Where a mirror lies.
#[derive(Debug, Clone)]
pub(super) struct MirrorDir {
    path: PathBuf,
    lock: PathBuf,
}

/// Held while the mirror is written; released on drop, also when the process is killed (`flock(2)`).
pub(super) struct MirrorLock(#[expect(dead_code, reason = "held for its lock")] File);

impl MirrorDir {
    /// The place of this repository's mirror: `NAME-DIGEST.git`.
    pub(super) fn new(cache_dir: &Path, url: &RepoUrl) -> Self {
        let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' };
        let name: String = url.name().chars().take(40).map(safe).collect();
        let stem = format!("{name}-{}", Digest::of_bytes(url.to_string().as_bytes()).short(16));
        Self { path: cache_dir.join(format!("{stem}.git")), lock: cache_dir.join(format!("{stem}.lock")) }
    }

    /// The bare repository.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The cache directory.
    pub(super) fn parent(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    fn unusable(&self, error: &std::io::Error) -> GitError {
        GitError::Cache { path: self.path.display().to_string(), message: error.to_string() }
    }

    /// Waits for the lock, until `patience` is over or `cancel` is set.
    pub(super) fn lock(&self, patience: Duration, cancel: &AtomicBool) -> Result<MirrorLock, GitError> {
        if let Some(parent) = self.lock.parent() {
            fs::create_dir_all(parent).map_err(|error| self.unusable(&error))?;
        }
        let options = File::options().create(true).truncate(false).write(true).open(&self.lock);
        let file = options.map_err(|error| self.unusable(&error))?;
        let deadline = Instant::now() + patience;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(MirrorLock(file)),
                Err(TryLockError::Error(error)) => return Err(self.unusable(&error)),
                Err(TryLockError::WouldBlock) if cancel.load(Ordering::Relaxed) => {
                    return Err(GitError::Cancelled { repository: self.path.display().to_string() });
                }
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                    return Err(GitError::TimedOut { repository: self.lock.display().to_string() });
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_POLL),
            }
        }
    }

    /// Opens the mirror for reading.
    pub(super) fn open(&self) -> Result<Repository, git2::Error> {
        let flags = RepositoryOpenFlags::NO_SEARCH | RepositoryOpenFlags::BARE | RepositoryOpenFlags::NO_DOTGIT;
        Repository::open_ext(&self.path, flags, &[] as &[&OsStr])
    }

    /// Opens the mirror for writing, cleans up after a process that was killed, and makes it if it is not there or
    /// cannot be opened.
    pub(super) fn open_or_create(&self, lock: &MirrorLock) -> Result<Repository, GitError> {
        self.remove_leftovers();
        match self.open() {
            Ok(repo) => Ok(repo),
            Err(_) => self.recreate(lock),
        }
    }

    /// Puts an empty mirror in the place of what is there.
    pub(super) fn recreate(&self, _lock: &MirrorLock) -> Result<Repository, GitError> {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let beside = |word: &str| self.path.with_extension(format!("{word}-{}-{serial}", std::process::id()));
        let (fresh, old) = (beside("new"), beside("old"));
        let mut options = RepositoryInitOptions::new();
        options.bare(true).mkpath(true).no_reinit(true).external_template(false);
        let made = Repository::init_opts(&fresh, &options);
        made.map_err(|error| GitError::Cache {
            path: fresh.display().to_string(),
            message: error.message().to_owned(),
        })?;
        if self.path.exists() {
            fs::rename(&self.path, &old).map_err(|error| self.unusable(&error))?;
        }
        fs::rename(&fresh, &self.path).map_err(|error| self.unusable(&error))?;
        // Only space is lost if this fails; the next holder of the lock tries again.
        let _ = fs::remove_dir_all(&old);
        self.open().map_err(|error| GitError::from_git2(&self.path.display().to_string(), &error))
    }

    /// Removes what a killed process left: half-written packs, lock files of references, and mirrors half replaced. The
    /// lock is held, so that nobody is using them.
    fn remove_leftovers(&self) {
        remove_files(&self.path.join("objects/pack"), 0, &|name| {
            name.starts_with("pack_git2_") || name.starts_with("tmp_")
        });
        remove_files(&self.path, 0, &is_lock_file);
        remove_files(&self.path.join("refs"), 6, &is_lock_file);
        remove_dirs(&self.path.join("objects"), &|name| name.starts_with("tmp_"));
        let (Some(parent), Some(stem)) = (self.path.parent(), self.path.file_stem().and_then(OsStr::to_str)) else {
            return;
        };
        remove_dirs(parent, &|name| {
            name.strip_prefix(stem).is_some_and(|rest| rest.starts_with(".new-") || rest.starts_with(".old-"))
        });
    }
}

/// Removes directories directly below one, by name.
fn remove_dirs(dir: &Path, wanted: &dyn Fn(&str) -> bool) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_dir && entry.file_name().to_str().is_some_and(wanted) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn is_lock_file(name: &str) -> bool {
    name.ends_with(".lock")
}

/// Removes files of a directory, and of directories below it down to `depth`, by name. Errors only leave them there.
fn remove_files(dir: &Path, depth: usize, wanted: &dyn Fn(&str) -> bool) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && depth > 0 {
            remove_files(&entry.path(), depth - 1, wanted);
        } else if kind.is_file() && entry.file_name().to_str().is_some_and(wanted) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir() -> (tempfile::TempDir, MirrorDir) {
        let temp = tempfile::tempdir().unwrap();
        let url = RepoUrl::parse("https://h/we ird/../näme.git").unwrap();
        let mirror = MirrorDir::new(temp.path(), &url);
        (temp, mirror)
    }

    #[test]
    fn names_are_safe_and_distinct() {
        let (_temp, mirror) = dir();
        let name = mirror.path().file_name().unwrap().to_str().unwrap().to_owned();
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)), "{name}");
        let other = MirrorDir::new(Path::new("/c"), &RepoUrl::parse("https://other/n.git").unwrap());
        assert_ne!(mirror.path().file_name(), other.path().file_name());
    }

    #[test]
    fn one_writer_at_a_time() {
        let (_temp, mirror) = dir();
        let never = AtomicBool::new(false);
        let held = mirror.lock(Duration::ZERO, &never).unwrap();
        assert!(matches!(mirror.lock(Duration::ZERO, &never), Err(GitError::TimedOut { .. })));
        assert!(matches!(mirror.lock(Duration::from_secs(9), &AtomicBool::new(true)), Err(GitError::Cancelled { .. })));
        drop(held);
        assert!(mirror.lock(Duration::ZERO, &never).is_ok());
    }

    #[test]
    fn leftovers_of_a_killed_process_are_removed() {
        let (_temp, mirror) = dir();
        let lock = mirror.lock(Duration::ZERO, &AtomicBool::new(false)).unwrap();
        mirror.open_or_create(&lock).unwrap();
        let leftovers = ["refs/remotes/origin/main.lock", "packed-refs.lock", "objects/pack/pack_git2_1234"];
        for file in leftovers {
            let path = mirror.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        fs::create_dir(mirror.path().with_extension("old-1-1")).unwrap();
        mirror.open_or_create(&lock).unwrap();
        assert!(leftovers.iter().all(|file| !mirror.path().join(file).exists()));
        assert!(!mirror.path().with_extension("old-1-1").exists());
    }

    #[test]
    fn a_damaged_directory_is_replaced() {
        let (_temp, mirror) = dir();
        let lock = mirror.lock(Duration::ZERO, &AtomicBool::new(false)).unwrap();
        mirror.open_or_create(&lock).unwrap();
        fs::write(mirror.path().join("HEAD"), "\0\0").unwrap();
        fs::remove_dir_all(mirror.path().join("objects")).unwrap();
        assert!(mirror.open_or_create(&lock).unwrap().is_bare());
    }
}
