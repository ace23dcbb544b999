//! What is asked of a remote: its references, its objects, and, for notes, a push.
//!
//! In: a [`Session`] and the mirror that receives. Out: the remote's [`Listing`]; references of the mirror that follow
//! it. Branches live under `refs/remotes/origin/` in the mirror, so that nothing here ever touches `refs/notes/`.

use super::error::{GitError, plain};
use super::session::{PRIVATE_URL, Session};
use super::tree::Revision;
use git2::{
    AutotagOption, Direction, FetchOptions, Oid, PushOptions, Remote, RemoteCallbacks, RemoteConnection, Repository,
};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most references that a remote may have.
const MAX_REFS: usize = 500_000;

/// What a remote says it has.
#[derive(Debug, Clone, Default)]
pub(super) struct Listing {
    /// Every reference by its full name, `HEAD` and peeled tags left out.
    pub refs: BTreeMap<String, Oid>,
    /// The default branch's full name.
    pub default: Option<String>,
    /// The commit that `HEAD` is at.
    pub head: Option<Oid>,
}

impl Listing {
    fn of(connection: &RemoteConnection<'_, '_, '_>) -> Result<Self, git2::Error> {
        let mut listing = Self::default();
        for head in connection.list()?.iter().take(MAX_REFS) {
            match head.name() {
                "HEAD" => {
                    listing.head = Some(head.oid());
                    listing.default = head.symref_target().map(str::to_owned);
                }
                peeled if peeled.ends_with("^{}") => {}
                name => {
                    listing.refs.insert(name.to_owned(), head.oid());
                }
            }
        }
        // Servers before git 1.8.4.3 do not say where HEAD points to: the branch at the same commit, `main` first.
        if let (None, Some(head)) = (&listing.default, listing.head) {
            let first = ["refs/heads/main", "refs/heads/master"]
                .into_iter()
                .find(|name| listing.refs.get(*name) == Some(&head));
            let any = || listing.branches().find(|(_, oid)| *oid == head).map(|(name, _)| format!("refs/heads/{name}"));
            listing.default = first.map(str::to_owned).or_else(any);
        }
        Ok(listing)
    }

    /// Branch names, without `refs/heads/`, and their commits.
    pub(super) fn branches(&self) -> impl Iterator<Item = (&str, Oid)> {
        self.refs.iter().filter_map(|(name, oid)| Some((name.strip_prefix("refs/heads/")?, *oid)))
    }
}

/// The reference of the mirror in which a remote's reference is kept. Tags keep their name.
pub(super) fn local_name(remote_ref: &str) -> String {
    match (remote_ref.strip_prefix("refs/heads/"), remote_ref.strip_prefix("refs/tags/")) {
        (Some(branch), _) => format!("refs/remotes/origin/{branch}"),
        (None, Some(tag)) => format!("refs/tags/{tag}"),
        (None, None) => format!("refs/driftless/{}", remote_ref.trim_start_matches("refs/")),
    }
}

/// The remote's references: one request.
pub(super) fn list(session: &Arc<Session>) -> Result<Listing, GitError> {
    session.run(|| {
        let mut remote = Remote::create_detached(PRIVATE_URL)?;
        let connection = remote.connect_auth(Direction::Fetch, None, None)?;
        Listing::of(&connection)
    })
}

/// Brings the references that `wanted` chooses into the mirror: one request if nothing is new.
///
/// `wanted` sees the listing and answers with full names of the remote; what it fails with is passed on.
pub(super) fn fetch(
    session: &Arc<Session>,
    repo: &Repository,
    wanted: impl FnOnce(&Listing) -> Result<Vec<String>, GitError>,
) -> Result<Listing, GitError> {
    let refused = RefCell::new(None);
    let result = session.run(|| {
        let mut remote = repo.remote_anonymous(PRIVATE_URL)?;
        let mut connection = remote.connect_auth(Direction::Fetch, None, None)?;
        let listing = Listing::of(&connection)?;
        let names = match wanted(&listing) {
            Ok(names) => names,
            Err(error) => {
                refused.replace(Some(error));
                return Err(git2::Error::from_str("refused"));
            }
        };
        let chosen: Vec<(&String, Oid)> =
            names.iter().filter_map(|name| Some((name, *listing.refs.get(name)?))).collect();
        let odb = repo.odb()?;
        let missing: Vec<String> = chosen
            .iter()
            .filter(|(_, oid)| !odb.exists(*oid))
            .map(|(name, _)| format!("+{name}:{}", local_name(name)))
            .collect();
        if !missing.is_empty() {
            let mut callbacks = RemoteCallbacks::new();
            callbacks.transfer_progress(|_| !session.is_over());
            let mut options = FetchOptions::new();
            options.remote_callbacks(callbacks).download_tags(AutotagOption::None).update_fetchhead(false);
            connection.remote().download(&missing, Some(&mut options))?;
        }
        forget_deleted(repo, &listing)?;
        for (name, oid) in chosen {
            repo.reference(&local_name(name), oid, true, "fetch")?;
        }
        Ok(listing)
    });
    match refused.into_inner() {
        Some(error) => Err(error),
        None => result,
    }
}

/// Drops our copies of branches that the remote no longer has: `a` would be in the way of `a/b`. Their commits stay.
fn forget_deleted(repo: &Repository, listing: &Listing) -> Result<(), git2::Error> {
    for reference in repo.references_glob("refs/remotes/origin/*")? {
        let mut reference = reference?;
        let name = reference.name().unwrap_or_default().to_owned();
        let branch = name.trim_start_matches("refs/remotes/origin/");
        if branch != "HEAD" && !listing.refs.contains_key(&format!("refs/heads/{branch}")) {
            reference.delete()?;
        }
    }
    Ok(())
}

/// What became of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// The remote has it.
    Done,
    /// Someone else was faster: fetch, merge and push again.
    Behind,
}

/// Pushes one reference of the mirror to the same name, never with force.
pub(super) fn push(session: &Arc<Session>, repo: &Repository, name: &str, shown: &str) -> Result<Pushed, GitError> {
    let refusal: RefCell<Option<String>> = RefCell::new(None);
    let result = session.run(|| {
        let mut remote = repo.remote_anonymous(PRIVATE_URL)?;
        let mut callbacks = RemoteCallbacks::new();
        callbacks.push_update_reference(|_, status| {
            refusal.replace(status.map(plain));
            Ok(())
        });
        let mut options = PushOptions::new();
        options.remote_callbacks(callbacks);
        match remote.push(&[format!("{name}:{name}")], Some(&mut options)) {
            Err(error) if error.code() == git2::ErrorCode::NotFastForward => Ok(Pushed::Behind),
            other => other.map(|()| Pushed::Done),
        }
    })?;
    match refusal.into_inner() {
        None => Ok(result),
        // "fetch first", "non-fast-forward", "failed to update ref", "cannot lock ref": all mean that the remote moved.
        Some(status)
            if ["fetch first", "fast-forward", "lock", "failed to update"].iter().any(|w| status.contains(w)) =>
        {
            Ok(Pushed::Behind)
        }
        Some(message) => Err(GitError::PushRefused { repository: shown.to_owned(), message }),
    }
}

/// A commit id as a [`Revision`].
pub(super) fn revision(oid: Oid) -> Result<Revision, GitError> {
    Ok(Revision::parse(&oid.to_string())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_references_are_kept() {
        assert_eq!(local_name("refs/heads/a/b"), "refs/remotes/origin/a/b");
        assert_eq!(local_name("refs/tags/v1"), "refs/tags/v1");
        assert_eq!(local_name("refs/pull/5/head"), "refs/driftless/pull/5/head");
        assert_eq!(local_name("refs/notes/driftless"), "refs/driftless/notes/driftless");
    }
}
