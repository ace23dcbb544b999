//! Where an outbox keeps its notes: one small file each, or memory only.
//!
//! A file is written beside its place and renamed into it, so that a process killed at any point leaves a whole note or
//! none; what a lost disk cache tears all the same is skipped when the directory is read.

use super::status::Note;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const SUFFIX: &str = "json";
/// Largest file that is read as a note.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// A directory of notes, held by one process.
#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
    _lock: File,
}

/// What a directory held.
pub(super) struct Found {
    /// Notes by number, in order.
    pub notes: Vec<(u64, Note)>,
    /// Files that were no notes, and are gone now.
    pub damaged: usize,
}

/// Why a directory cannot be used.
pub(super) enum Unusable {
    /// Another process has it.
    InUse,
    /// The file system says no.
    Io(io::Error),
}

impl Store {
    /// Takes the directory and reads what a former process left in it.
    pub(super) fn open(dir: &Path) -> Result<(Self, Found), Unusable> {
        fs::create_dir_all(dir).map_err(Unusable::Io)?;
        let lock = File::options().create(true).truncate(false).write(true).open(dir.join("lock"));
        let lock = lock.map_err(Unusable::Io)?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => Unusable::InUse,
            fs::TryLockError::Error(error) => Unusable::Io(error),
        })?;
        let store = Self { dir: dir.to_owned(), _lock: lock };
        let found = store.read_all().map_err(Unusable::Io)?;
        Ok((store, found))
    }

    fn read_all(&self) -> io::Result<Found> {
        let mut found = Found { notes: Vec::new(), damaged: 0 };
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let number = path.file_stem().and_then(OsStr::to_str).and_then(|stem| stem.parse().ok());
            match (path.extension().and_then(OsStr::to_str), number) {
                (Some(SUFFIX), Some(number)) => match read(&path, MAX_FILE_BYTES) {
                    Some(note) => found.notes.push((number, note)),
                    None => {
                        found.damaged += 1;
                        fs::remove_file(&path)?;
                    }
                },
                (Some("tmp"), _) => fs::remove_file(&path)?,
                _ => {}
            }
        }
        found.notes.sort_by_key(|(number, _)| *number);
        Ok(found)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:020}.{SUFFIX}"))
    }

    /// Keeps a note.
    pub(super) fn put(&self, number: u64, note: &Note) -> io::Result<()> {
        write(&self.path(number), note)
    }

    /// Forgets a note; one that is not there is fine.
    pub(super) fn remove(&self, number: u64) -> io::Result<()> {
        remove(&self.path(number))
    }
}

/// Writes a value beside its place (`.tmp` instead of its extension), and renames it into it.
pub(super) fn write(place: &Path, value: &impl Serialize) -> io::Result<()> {
    let beside = place.with_extension("tmp");
    let mut file = File::create(&beside)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    file.sync_data()?;
    fs::rename(&beside, place)
}

/// Removes a file; one that is not there is fine.
pub(super) fn remove(place: &Path) -> io::Result<()> {
    match fs::remove_file(place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What [`write`] wrote, if it is whole and no larger than `most` bytes.
pub(super) fn read<T: DeserializeOwned>(place: &Path, most: u64) -> Option<T> {
    if fs::metadata(place).ok()?.len() > most {
        return None;
    }
    serde_json::from_slice(&fs::read(place).ok()?).ok()
}
