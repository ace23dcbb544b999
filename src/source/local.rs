//! A repository of this machine, read in place, and the choice of a branch in either kind.

use super::error::GitError;
use super::git::Head;
use super::remote::{self, Listing};
use git2::{ErrorCode, Oid, Repository, RepositoryOpenFlags, StatusOptions};
use std::ffi::OsStr;
use std::path::Path;

/// Opens the repository in exactly this directory.
pub(super) fn open_local(path: &Path) -> Result<Repository, GitError> {
    Repository::open_ext(path, RepositoryOpenFlags::NO_SEARCH, &[] as &[&OsStr]).map_err(|error| {
        let shown = path.display().to_string();
        if error.code() != ErrorCode::NotFound {
            return GitError::from_git2(&shown, &error);
        }
        let around = Repository::discover(path).ok();
        let inside = around
            .and_then(|repo| Some(repo.workdir().unwrap_or(repo.path()).to_str()?.trim_end_matches('/').to_owned()));
        GitError::NotARepository { path: shown, inside }
    })
}

/// Most files of a work tree that are compared with its commit: whoever has more waits for no count.
const MAX_COMPARED: usize = 20_000;

/// How many files of the work tree are not as its last commit has them, and that commit; ignored ones and submodules are
/// not looked at. `None` where there is no work tree, where the branch is not the one checked out, and where it cannot be
/// told fast.
pub(super) fn uncommitted(repo: &Repository, branch: Option<&str>) -> Option<(usize, Oid)> {
    repo.workdir()?;
    let head = repo.head().ok()?;
    let at = head.peel_to_commit().ok()?.id();
    if branch.is_some_and(|branch| head.name().ok() != Some(&full_name(branch))) {
        return None;
    }
    if repo.index().ok()?.len() > MAX_COMPARED {
        return None;
    }
    let mut options = StatusOptions::new();
    options.include_untracked(true).recurse_untracked_dirs(true).include_ignored(false).exclude_submodules(true);
    let changed = repo.statuses(Some(&mut options)).ok()?;
    Some((changed.len(), at))
}

/// A branch as a person calls it; other references keep their full name.
pub(super) fn short(name: &str) -> Option<String> {
    Some(name.strip_prefix("refs/heads/").unwrap_or(name).to_owned())
}

/// The full name of what a person calls a branch.
fn full_name(branch: &str) -> String {
    if branch.starts_with("refs/") { branch.to_owned() } else { format!("refs/heads/{branch}") }
}

/// The wanted branch of a remote's listing.
pub(super) fn choose(listing: &Listing, shown: &str, branch: Option<&str>) -> Result<(String, Oid), GitError> {
    if listing.refs.is_empty() {
        return Err(GitError::EmptyRepository { repository: shown.to_owned() });
    }
    let name = branch.map(full_name).or_else(|| listing.default.clone());
    let found = name.as_ref().and_then(|name| Some((name.clone(), *listing.refs.get(name)?)));
    found.ok_or_else(|| GitError::BranchNotFound {
        repository: shown.to_owned(),
        branch: branch.map(str::to_owned).or(name).unwrap_or_else(|| "HEAD".to_owned()),
        existing: listing.branches().map(|(name, _)| name.to_owned()).collect(),
    })
}

/// The branch (`None`: what `HEAD` is at) and its commit.
pub(super) fn local_head(repo: &Repository, shown: &str, branch: Option<&str>) -> Result<Head, GitError> {
    let fail = |error: git2::Error| GitError::from_git2(shown, &error);
    let found = match branch {
        None => repo.head(),
        // A checkout of something else, as CI has it, knows the branch as its remote had it (git's own rule, too).
        Some(branch) => repo
            .find_reference(&full_name(branch))
            .or_else(|error| repo.find_reference(&format!("refs/remotes/origin/{branch}")).map_err(|_| error)),
    };
    let reference = found.map_err(|error| {
        let missing = matches!(error.code(), ErrorCode::NotFound | ErrorCode::UnbornBranch | ErrorCode::InvalidSpec);
        let listing = if missing { local_listing(repo).unwrap_or_default() } else { return fail(error) };
        let wanted = branch.map(str::to_owned).or_else(|| listing.default.as_deref().and_then(short));
        match choose(&listing, shown, Some(wanted.as_deref().unwrap_or("HEAD"))) {
            Err(error) => error,
            Ok(_) => fail(error),
        }
    })?;
    let commit = reference.peel_to_commit().map_err(fail)?;
    let name = reference.name().ok().filter(|name| *name != "HEAD");
    let tracked = name.and_then(|name| name.strip_prefix("refs/remotes/origin/")).map(str::to_owned);
    Ok(Head { branch: tracked.or_else(|| name.and_then(short)), revision: remote::revision(commit.id())? })
}

/// What the repository has, as a remote would list it.
pub(super) fn local_listing(repo: &Repository) -> Result<Listing, git2::Error> {
    let mut listing = Listing::default();
    for reference in repo.references()? {
        let reference = reference?;
        if let (Ok(name), Some(oid)) = (reference.name(), reference.target()) {
            listing.refs.insert(name.to_owned(), oid);
        }
    }
    listing.default = repo.find_reference("HEAD")?.symbolic_target().ok().flatten().map(str::to_owned);
    listing.head = repo.refname_to_id("HEAD").ok();
    Ok(listing)
}
