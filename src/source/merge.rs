//! What a pull request would be once merged: merged in memory, nothing is written to any repository.
//!
//! In: two commits. Out: the merged tree, or the paths in conflict. Rules are libgit2's recursive merge, with the renames
//! that `git merge` sees.

use super::error::{GitError, plain};
use super::odb;
use super::remote;
use super::renames::without_deleted;
use super::tree::{Revision, SourceTree};
use git2::{Commit, Index, MergeOptions, Oid, Repository};

/// Most paths in conflict that are named.
const MAX_CONFLICTS: usize = 100;
/// In front of every other object database of the repository, so that new objects stay in memory.
const FIRST: i32 = 1000;

/// A merge of `head` into `base`.
#[derive(Debug, Clone, PartialEq)]
pub struct Merge {
    /// The best common ancestor; `None` for histories that share nothing.
    pub ancestor: Option<Revision>,
    /// What comes out.
    pub merged: Merged,
}

/// What a merge comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Merged {
    /// The merged content; it carries the head's revision.
    Clean(SourceTree),
    /// Paths that both sides changed in ways that do not go together; at most 100.
    Conflicts(Vec<String>),
}

/// The best common ancestor of two commits.
pub(super) fn merge_base(repo: &Repository, shown: &str, one: Oid, two: Oid) -> Result<Option<Revision>, GitError> {
    match repo.merge_base(one, two) {
        Ok(oid) => remote::revision(oid).map(Some),
        Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(None),
        Err(error) => Err(GitError::from_git2(shown, &error)),
    }
}

/// Merges in memory. `repo` must be the caller's own handle: it is unfit for other writes afterwards.
pub(super) fn merge(
    repo: &Repository,
    shown: &str,
    base: Oid,
    head: Oid,
    root: Option<&str>,
) -> Result<Merge, GitError> {
    let fail = |error: git2::Error| GitError::from_git2(shown, &error);
    let ancestor = merge_base(repo, shown, base, head)?;
    let memory = repo.odb().map_err(fail)?;
    let _objects = memory.add_new_mempack_backend(FIRST).map_err(fail)?;
    let mut options = MergeOptions::new();
    options.find_renames(true).recursion_limit(8);
    let (ours, theirs) = (repo.find_commit(base).map_err(fail)?, repo.find_commit(head).map_err(fail)?);
    let mut index = merged(repo, &ours, &theirs, &options).map_err(fail)?;
    if index.has_conflicts() {
        let merged = Merged::Conflicts(conflicts(&index).map_err(fail)?);
        return Ok(Merge { ancestor, merged });
    }
    let tree = index.write_tree_to(repo).map_err(fail)?;
    let tree = odb::read_tree_object(repo, shown, &remote::revision(head)?, tree, root)?;
    Ok(Merge { ancestor, merged: Merged::Clean(tree) })
}

fn merged(
    repo: &Repository,
    ours: &Commit<'_>,
    theirs: &Commit<'_>,
    options: &MergeOptions,
) -> Result<Index, git2::Error> {
    let bases = repo.merge_bases(ours.id(), theirs.id());
    let [base] = bases.as_ref().map_or(&[][..], |bases| &bases[..]) else {
        // Several, which are merged first, or none.
        return repo.merge_commits(ours, theirs, Some(options));
    };
    let trees = [&repo.find_commit(*base)?.tree()?, &ours.tree()?, &theirs.tree()?];
    let [base, ours, theirs] = without_deleted(repo, trees)?;
    repo.merge_trees(&base, &ours, &theirs, Some(options))
}

fn conflicts(index: &Index) -> Result<Vec<String>, git2::Error> {
    let mut paths = Vec::new();
    for conflict in index.conflicts()?.take(MAX_CONFLICTS) {
        let conflict = conflict?;
        let sides = [conflict.our, conflict.their, conflict.ancestor];
        if let Some(entry) = sides.into_iter().flatten().next() {
            paths.push(plain(&String::from_utf8_lossy(&entry.path)));
        }
    }
    paths.sort();
    paths.dedup();
    Ok(paths)
}
