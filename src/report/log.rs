//! Commits with the statuses each one got: `{"commits":[{"revision","subject","statuses":[NOTE]}]}`.

use super::git_notes::GitNotes;
use super::status::Note;
use crate::source::{CommitInfo, GitError, GitMirror, Revision};
use serde::Serialize;
use std::collections::BTreeMap;

/// A log, newest commit first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Log {
    /// The commits.
    pub commits: Vec<LogCommit>,
}

/// One commit of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogCommit {
    /// Its id.
    pub revision: String,
    /// First line of its message.
    pub subject: String,
    /// What was said about it, oldest first.
    pub statuses: Vec<Note>,
}

impl Log {
    /// Puts commits and notes together.
    pub fn of(commits: &[CommitInfo], notes: &BTreeMap<Revision, Vec<Note>>) -> Self {
        let commit = |commit: &CommitInfo| LogCommit {
            revision: commit.revision.to_string(),
            subject: commit.subject.clone(),
            statuses: notes.get(&commit.revision).cloned().unwrap_or_default(),
        };
        Self { commits: commits.iter().map(commit).collect() }
    }

    /// Reads the last `n` commits from a revision on, with the notes that are here (see [`GitNotes::refresh`]), and those
    /// of the repository that this one is a clone of.
    ///
    /// # Errors
    /// If the revision or the notes cannot be read.
    pub fn read(mirror: &GitMirror, upstream: Option<&GitMirror>, from: &Revision, n: usize) -> Result<Self, GitError> {
        let commits = mirror.commits(from, n)?;
        let revisions: Vec<Revision> = commits.iter().map(|commit| commit.revision.clone()).collect();
        let mut notes = GitNotes::new(mirror.clone()).read_many(&revisions)?;
        for theirs in upstream.into_iter().filter_map(|there| GitNotes::new(there.clone()).read_many(&revisions).ok()) {
            for (revision, said) in theirs {
                let ours = notes.entry(revision).or_default();
                let fresh: Vec<Note> = said.into_iter().filter(|note| !ours.contains(note)).collect();
                ours.extend(fresh);
                ours.sort_by_key(|note| note.time);
            }
        }
        Ok(Self::of(&commits, &notes))
    }
}
