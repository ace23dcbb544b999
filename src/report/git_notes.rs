//! Statuses as Git notes at `refs/notes/driftless`: they need no host, and `git log --notes=driftless` shows them.
//!
//! In: notes. Out: a commit on the notes' reference, one JSON line per status below each commit. A local repository is
//! written in place. A remote one: its notes are fetched apart from the mirror's references, merged, pushed, and pushed
//! again if someone was faster.
//!
//! Guarantees: concurrent writers (threads, processes, other machines) lose nothing: the reference moves only from the
//! value that was read, and merges keep every line of both sides. Writing the same note twice adds it once. Nothing
//! here looks at the commits that notes are about, so that a rewritten branch does no harm.
//!
//! Caveat: the `git notes` command moves the reference without comparing it with what it read (`commit_notes` in git's
//! builtin/notes.c), so that what is written while it runs can be lost, by it.

use super::note_lines;
use super::note_tree;
use super::outbox::{Reporter, SendError};
use super::status::Note;
use crate::source::error::GitError;
use crate::source::git::Pushed;
use crate::source::{GitMirror, Revision};
use git2::{ErrorCode, Oid, Repository, Signature, Tree};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The reference.
pub const NOTES_REF: &str = "refs/notes/driftless";
/// How long writers in each other's way are waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// A lock file older than this was left by a process that was killed: nobody holds one for longer than a moment.
const STALE_LOCK: Duration = Duration::from_secs(60);
/// How often a push that came too late is made again.
const PUSHES: usize = 8;

/// The notes of one repository.
#[derive(Debug, Clone)]
pub struct GitNotes {
    mirror: GitMirror,
}

impl GitNotes {
    /// The notes of a repository. For a remote one every write is a push: opt in to that.
    pub fn new(mirror: GitMirror) -> Self {
        Self { mirror }
    }

    /// Writes notes, all in one commit; returns once they are in the repository (for a remote one: pushed).
    ///
    /// # Errors
    /// If the repository cannot be reached or written. Writing the same notes again is safe.
    pub fn append(&self, notes: &[Note]) -> Result<(), GitError> {
        if notes.is_empty() {
            return Ok(());
        }
        if self.mirror.local_path().is_some() {
            let repo = self.mirror.repository()?;
            return self.git(append_to(&repo, notes));
        }
        for attempt in 0..PUSHES {
            let pushed = self.mirror.exchange_ref(NOTES_REF, &|repo, theirs| {
                self.git(merge_in(repo, theirs))?;
                self.git(append_to(repo, notes))?;
                Ok(tip(repo) != theirs)
            })?;
            if pushed == Pushed::Done {
                return Ok(());
            }
            pause(attempt);
        }
        let message = format!("{NOTES_REF} moved {PUSHES} times while it was pushed");
        Err(GitError::PushRefused { repository: self.mirror.url().to_string(), message })
    }

    /// For a remote repository: brings its notes here, beside those that were not pushed yet. Else nothing.
    ///
    /// # Errors
    /// If the repository cannot be reached.
    pub fn refresh(&self) -> Result<(), GitError> {
        if self.mirror.local_path().is_some() {
            return Ok(());
        }
        self.mirror.exchange_ref(NOTES_REF, &|repo, theirs| self.git(merge_in(repo, theirs)).map(|()| false)).map(drop)
    }

    /// The notes of a commit, in the order they were said. None is an empty list.
    ///
    /// # Errors
    /// If the repository cannot be read.
    pub fn read(&self, revision: &Revision) -> Result<Vec<Note>, GitError> {
        Ok(self.read_many(std::slice::from_ref(revision))?.into_values().next().unwrap_or_default())
    }

    /// The same for several commits at once.
    ///
    /// # Errors
    /// If the repository cannot be read.
    pub fn read_many(&self, revisions: &[Revision]) -> Result<BTreeMap<Revision, Vec<Note>>, GitError> {
        let repo = match self.mirror.repository() {
            Err(GitError::EmptyRepository { .. }) => return Ok(BTreeMap::new()),
            other => other?,
        };
        let read = || -> Result<BTreeMap<Revision, Vec<Note>>, git2::Error> {
            let tree = tree_of(&repo, tip(&repo))?;
            let note = |revision: &Revision| {
                Ok((revision.clone(), note_lines::parse(&note_tree::read(&repo, tree.as_ref(), revision)?)))
            };
            revisions.iter().map(note).collect()
        };
        self.git(read())
    }

    fn git<T>(&self, result: Result<T, git2::Error>) -> Result<T, GitError> {
        result.map_err(|error| GitError::from_git2(&self.mirror.url().to_string(), &error))
    }
}

impl Reporter for GitNotes {
    fn name(&self) -> &str {
        "git-notes"
    }

    fn send(&self, note: &Note) -> Result<(), SendError> {
        // Nothing is given up: a repository that refuses today may take it tomorrow, and the queue is bounded.
        self.append(std::slice::from_ref(note)).map_err(|error| match &error {
            GitError::Http { retry_after: Some(seconds), .. } => {
                SendError::transient(error.to_string()).after(Duration::from_secs(*seconds))
            }
            _ => SendError::transient(error.to_string()),
        })
    }
}

/// The commit that the notes are at.
fn tip(repo: &Repository) -> Option<Oid> {
    repo.refname_to_id(NOTES_REF).ok()
}

fn tree_of(repo: &Repository, commit: Option<Oid>) -> Result<Option<Tree<'_>>, git2::Error> {
    commit.map(|commit| repo.find_commit(commit)?.tree()).transpose()
}

/// Adds notes on top of what is there, as often as it takes.
fn append_to(repo: &Repository, notes: &[Note]) -> Result<(), git2::Error> {
    let mut by_revision: BTreeMap<&Revision, Vec<Note>> = BTreeMap::new();
    for note in notes {
        by_revision.entry(&note.revision).or_default().push(note.clone());
    }
    let deadline = Instant::now() + PATIENCE;
    let mut attempt = 0;
    loop {
        match try_append(repo, &by_revision) {
            Err(error) if matches!(error.code(), ErrorCode::Modified | ErrorCode::Locked) => {
                if Instant::now() >= deadline {
                    return Err(error);
                }
                if error.code() == ErrorCode::Locked {
                    remove_stale_lock(repo);
                }
                pause(attempt);
                attempt += 1;
            }
            result => return result,
        }
    }
}

fn try_append(repo: &Repository, notes: &BTreeMap<&Revision, Vec<Note>>) -> Result<(), git2::Error> {
    let before = tip(repo);
    let tree = tree_of(repo, before)?;
    let mut changed = BTreeMap::new();
    for (revision, notes) in notes {
        let old = note_tree::read(repo, tree.as_ref(), revision)?;
        let new = note_lines::append(&old, notes);
        if new != old {
            changed.insert((*revision).clone(), repo.blob(new.as_bytes())?);
        }
    }
    if changed.is_empty() {
        return Ok(());
    }
    let tree = note_tree::write(repo, tree.as_ref(), &changed)?;
    let subject = match (changed.len(), changed.keys().next()) {
        (1, Some(revision)) => format!("driftless: status of {}", revision.short(9)),
        (count, _) => format!("driftless: status of {count} commits"),
    };
    commit(repo, tree, &subject, before, &before.into_iter().collect::<Vec<_>>())
}

/// Commits a notes tree and moves the reference, if it still is at `before`.
fn commit(
    repo: &Repository,
    tree: Oid,
    subject: &str,
    before: Option<Oid>,
    parents: &[Oid],
) -> Result<(), git2::Error> {
    let who = Signature::now("driftless", "driftless@localhost")?;
    let tree = repo.find_tree(tree)?;
    let parents: Vec<git2::Commit<'_>> = parents.iter().map(|id| repo.find_commit(*id)).collect::<Result<_, _>>()?;
    let parents: Vec<&git2::Commit<'_>> = parents.iter().collect();
    let id = repo.commit(None, &who, &who, subject, &tree, &parents)?;
    // All zeros stand for a reference that is not there yet; libgit2 compares under the reference's lock file, which is
    // git's own.
    repo.reference_matching(NOTES_REF, id, true, before.unwrap_or(Oid::ZERO_SHA1), subject).map(drop)
}

/// Brings a remote's notes together with ours. Lines of either side are kept.
fn merge_in(repo: &Repository, theirs: Option<Oid>) -> Result<(), git2::Error> {
    let Some(theirs) = theirs else { return Ok(()) };
    let ours = tip(repo);
    let before = ours.unwrap_or(Oid::ZERO_SHA1);
    let Some(ours) = ours else {
        return repo.reference_matching(NOTES_REF, theirs, true, before, "driftless: notes fetched").map(drop);
    };
    if ours == theirs || repo.graph_descendant_of(ours, theirs)? {
        return Ok(());
    }
    if repo.graph_descendant_of(theirs, ours)? {
        return repo.reference_matching(NOTES_REF, theirs, true, before, "driftless: notes fetched").map(drop);
    }
    let (our_tree, their_tree) = (repo.find_commit(ours)?.tree()?, repo.find_commit(theirs)?.tree()?);
    let our_notes = note_tree::all(repo, &our_tree)?;
    let their_notes = note_tree::all(repo, &their_tree)?;
    let mut changed = BTreeMap::new();
    for (revision, mine) in our_notes.iter().filter(|(revision, mine)| their_notes.get(revision) != Some(mine)) {
        let merged = match their_notes.get(revision) {
            None => *mine,
            Some(other) => {
                let text = note_lines::union(&note_tree::blob(repo, *mine)?, &note_tree::blob(repo, *other)?);
                repo.blob(text.as_bytes())?
            }
        };
        changed.insert(revision.clone(), merged);
    }
    let tree = note_tree::write(repo, Some(&their_tree), &changed)?;
    commit(repo, tree, "driftless: notes merged", Some(ours), &[theirs, ours])
}

/// A short wait by chance, longer with each attempt.
fn pause(attempt: usize) {
    let bound = 2_u64 << attempt.min(4);
    std::thread::sleep(Duration::from_micros(rand::random_range(500..bound * 1000)));
}

fn remove_stale_lock(repo: &Repository) {
    let path: PathBuf = repo.commondir().join(format!("{NOTES_REF}.lock"));
    let modified = std::fs::metadata(&path).and_then(|metadata| metadata.modified());
    let age = modified.ok().and_then(|modified| modified.elapsed().ok());
    if age.is_some_and(|age| age > STALE_LOCK) {
        tracing::warn!(lock = %path.display(), "removed a lock that a killed process left");
        // Someone else may have removed it first.
        let _ = std::fs::remove_file(&path);
    }
}

#[cfg(test)]
#[path = "git_notes_tests.rs"]
mod tests;
