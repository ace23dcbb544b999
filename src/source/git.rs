//! Git as a source: heads, commits and trees of one repository.
//!
//! In: an address, and a cache directory for what is remote. Out: revisions and [`SourceTree`]s.
//!
//! A repository of this machine is read in place: its object database is the mirror, so that a push is seen at once and
//! nothing is copied. A remote one has a bare mirror below the cache directory, shared by processes.
//!
//! Invariants: a branch that is missing is an error and never an empty tree; nothing is ever checked out; a damaged
//! mirror is made anew without anyone's help; the network is used by `heads`, `ls_remote_head`, `fetch`, `resolve` of a
//! name, and by reading a commit only if the mirror does not have it. Every call blocks: async code uses
//! `spawn_blocking`.

use super::error::GitError;
use super::http;
use super::local::{choose, local_head, local_listing, open_local, short, uncommitted};
use super::merge::{self, Merge};
use super::mirror::{MirrorDir, MirrorLock};
pub(crate) use super::remote::Pushed;
use super::remote::{self, Listing};
use super::session::{Bounds, Channel, Session};
use super::ssh::{self, SshOptions};
use super::tree::{Revision, SourceTree};
use super::url::{Credentials, RepoUrl};
use super::{odb, packs, resolve};
use git2::{ErrorCode, Oid, Repository, Sort};
use jiff::Timestamp;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Longest subject line that is kept, in characters.
const MAX_SUBJECT: usize = 500;
/// Commits of a branch that are looked through for where a file went.
const LOOK_BACK: usize = 200;
/// Most commits that one call returns.
const MAX_COMMITS: usize = 10_000;

/// How a repository is reached.
#[derive(Debug, Clone)]
pub struct GitOptions {
    /// Credentials for HTTP; those written in the address are used if there are none here.
    pub auth: Option<Credentials>,
    /// Roots to trust besides the system's, in PEM.
    pub ca_file: Option<PathBuf>,
    /// Settings of `ssh`; without them the user's own ones hold, as with `git`.
    pub ssh: Option<SshOptions>,
    /// OpenSSH's client, by name or path.
    pub ssh_program: PathBuf,
    /// Allows `http://` to other machines than this one.
    pub insecure_http: bool,
    /// Longest silence of a remote. Default one minute.
    pub idle_timeout: Duration,
    /// Longest single call. Default ten minutes.
    pub total_timeout: Duration,
    /// Most bytes received by one call. Default 2 GiB.
    pub max_bytes: u64,
    /// Set it to make calls under way end soon.
    pub cancel: Arc<AtomicBool>,
}

impl Default for GitOptions {
    fn default() -> Self {
        Self {
            auth: None,
            ca_file: None,
            ssh: None,
            ssh_program: PathBuf::from("ssh"),
            insecure_http: false,
            idle_timeout: Duration::from_secs(60),
            total_timeout: Duration::from_secs(600),
            max_bytes: 2 << 30,
            cancel: Arc::default(),
        }
    }
}

/// A branch and the commit that it is at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The branch without `refs/heads/`; `None` where `HEAD` is at no branch.
    pub branch: Option<String>,
    /// Its commit.
    pub revision: Revision,
}

/// What a fetch found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The branch, as in [`Head`].
    pub branch: Option<String>,
    /// Its commit, which can be read now.
    pub revision: Revision,
    /// True if the commit seen before is not among its ancestors: the branch was rewritten.
    pub forced: bool,
}

/// A commit, as a log shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitInfo {
    /// Its id.
    pub revision: Revision,
    /// First line of its message.
    pub subject: String,
    /// When it was committed.
    pub time: Timestamp,
    /// The author's name.
    pub author: String,
}

/// What to do with the mirror once a reference of the remote (where it is there) was fetched; true to push it back.
type ExchangeRef<'a> = &'a dyn Fn(&Repository, Option<Oid>) -> Result<bool, GitError>;

#[derive(Debug, Clone)]
enum Place {
    Local(PathBuf),
    Mirror(MirrorDir),
}

/// One repository. Cheap to clone; clones share what they have seen.
#[derive(Debug, Clone)]
pub struct GitMirror {
    url: RepoUrl,
    place: Place,
    options: Arc<GitOptions>,
    shown: Arc<str>,
    /// Last commit seen of each branch of a local repository, to tell a rewritten branch.
    seen: Arc<Mutex<HashMap<String, Oid>>>,
}

impl GitMirror {
    /// A repository with default options. Does not use the network.
    ///
    /// # Errors
    /// If a local repository is not there or not readable, or if an address must not be used.
    pub fn open(url: &RepoUrl, cache_dir: &Path) -> Result<Self, GitError> {
        Self::open_with(url, cache_dir, GitOptions::default())
    }

    /// A repository. Does not use the network.
    ///
    /// # Errors
    /// As [`GitMirror::open`].
    pub fn open_with(url: &RepoUrl, cache_dir: &Path, options: GitOptions) -> Result<Self, GitError> {
        let place = match (url.as_path(), url.as_http()) {
            (Some(path), _) => Place::Local(path.to_owned()),
            (None, Some(http)) if http.scheme() == "http" && !http::is_loopback(http) && !options.insecure_http => {
                return Err(GitError::PlainHttp { repository: url.to_string() });
            }
            (None, _) => Place::Mirror(MirrorDir::new(cache_dir, url)),
        };
        let shown: Arc<str> = Arc::from(url.to_string());
        let mirror = Self { url: url.clone(), place, options: Arc::new(options), shown, seen: Arc::default() };
        if let Place::Local(path) = &mirror.place {
            open_local(path)?;
        }
        Ok(mirror)
    }

    /// The address.
    pub fn url(&self) -> &RepoUrl {
        &self.url
    }

    /// The directory whose references are to be watched; `None` for a remote repository.
    pub fn local_path(&self) -> Option<&Path> {
        match &self.place {
            Place::Local(path) => Some(path),
            Place::Mirror(_) => None,
        }
    }

    /// How many files of a local work tree are changed and not committed, and the commit that they differ from; `None`
    /// where that cannot be said: of a remote repository, a bare one, a branch that is not checked out.
    pub fn uncommitted(&self, branch: Option<&str>) -> Option<(usize, Revision)> {
        let repo = open_local(self.local_path()?).ok()?;
        let (files, commit) = uncommitted(&repo, branch)?;
        Some((files, remote::revision(commit).ok()?))
    }

    /// Every branch and its commit, sorted by name. One round trip.
    ///
    /// # Errors
    /// If the repository cannot be reached or read.
    pub fn branches(&self) -> Result<Vec<Head>, GitError> {
        let listing = self.listing()?;
        let heads = listing
            .branches()
            .map(|(name, oid)| Ok(Head { branch: Some(name.to_owned()), revision: remote::revision(oid)? }));
        heads.collect()
    }

    /// The commit that a branch (`None`: the default one; also a full name such as `refs/pull/5/head`) is at now. One
    /// round trip, and nothing is downloaded.
    ///
    /// # Errors
    /// [`GitError::BranchNotFound`] and [`GitError::EmptyRepository`] besides failures to reach it.
    pub fn ls_remote_head(&self, branch: Option<&str>) -> Result<Head, GitError> {
        if let Place::Local(path) = &self.place {
            return local_head(&open_local(path)?, &self.shown, branch);
        }
        let listing = self.listing()?;
        let (name, oid) = choose(&listing, &self.shown, branch)?;
        Ok(Head { branch: short(&name), revision: remote::revision(oid)? })
    }

    /// The default branch, as it was known when the repository was last looked at.
    pub fn default_branch(&self) -> Option<String> {
        let repo = self.repository().ok()?;
        let name = if self.local_path().is_some() { "HEAD" } else { "refs/remotes/origin/HEAD" };
        let head = repo.find_reference(name).ok()?;
        let target = head.symbolic_target().ok().flatten()?.to_owned();
        let branch = target.strip_prefix("refs/heads/").or_else(|| target.strip_prefix("refs/remotes/origin/"));
        branch.map(str::to_owned)
    }

    /// Brings a branch's commits here and says where it is. Costs one round trip if it has not moved.
    ///
    /// # Errors
    /// As [`GitMirror::ls_remote_head`].
    pub fn fetch(&self, branch: Option<&str>) -> Result<Fetched, GitError> {
        match &self.place {
            Place::Local(path) => self.see(&open_local(path)?, branch),
            Place::Mirror(dir) => self.fetch_branch(dir, branch),
        }
    }

    fn see(&self, repo: &Repository, branch: Option<&str>) -> Result<Fetched, GitError> {
        let head = local_head(repo, &self.shown, branch)?;
        let oid = self.oid(&head.revision)?;
        let key = head.branch.clone().unwrap_or_default();
        let before = self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(key, oid);
        let forced = before.is_some_and(|before| !continues(repo, before, oid));
        Ok(Fetched { branch: head.branch, revision: head.revision, forced })
    }

    fn fetch_branch(&self, dir: &MirrorDir, branch: Option<&str>) -> Result<Fetched, GitError> {
        self.with_mirror(dir, |repo| {
            let mut before = None;
            let mut chosen = None;
            let listing = remote::fetch(&self.session()?, repo, |listing| {
                let (name, oid) = choose(listing, &self.shown, branch)?;
                before = repo.refname_to_id(&remote::local_name(&name)).ok();
                chosen = Some((name.clone(), oid));
                Ok(vec![name])
            })?;
            remember_default(repo, &listing);
            let (name, oid) = chosen.ok_or_else(|| GitError::EmptyRepository { repository: self.shown.to_string() })?;
            repo.find_commit(oid).map_err(|error| self.git_error(&error))?;
            let forced = before.is_some_and(|before| !continues(repo, before, oid));
            Ok(Fetched { branch: short(&name), revision: remote::revision(oid)?, forced })
        })
    }

    /// Runs a writer on the mirror, under its lock. What fails inside Git is tried again, and then once more on a new
    /// mirror; what the host or the network did is passed on.
    fn with_mirror<T>(&self, dir: &MirrorDir, run: impl Fn(&Repository) -> Result<T, GitError>) -> Result<T, GitError> {
        let lock = dir.lock(self.options.total_timeout, &self.options.cancel)?;
        self.with_locked(dir, &lock, &run)
    }

    fn with_locked<T>(
        &self,
        dir: &MirrorDir,
        lock: &MirrorLock,
        run: &dyn Fn(&Repository) -> Result<T, GitError>,
    ) -> Result<T, GitError> {
        let inside_git = |error: &GitError| matches!(error, GitError::Damaged { .. } | GitError::Git { .. });
        for _ in 0..2 {
            let repo = dir.open_or_create(lock)?;
            match run(&repo) {
                Err(error) if inside_git(&error) => {}
                Err(error) => return Err(error),
                Ok(done) => {
                    if let Err(error) = packs::consolidate(&repo) {
                        tracing::warn!(repository = %self.shown, error = error.message(), "packs stay as they are");
                    }
                    return Ok(done);
                }
            }
        }
        tracing::warn!(repository = %self.shown, mirror = %dir.path().display(), "the mirror is damaged and is made anew");
        run(&dir.recreate(lock)?)
    }

    /// Every branch and tag of the remote, brought here.
    fn fetch_all(&self, dir: &MirrorDir, extra: Option<&str>) -> Result<(), GitError> {
        self.with_mirror(dir, |repo| {
            let listing = remote::fetch(&self.session()?, repo, |listing| {
                let ours = |name: &&String| name.starts_with("refs/heads/") || name.starts_with("refs/tags/");
                let extra = extra.filter(|name| listing.refs.contains_key(*name)).map(str::to_owned);
                Ok(listing.refs.keys().filter(ours).cloned().chain(extra).collect())
            })?;
            remember_default(repo, &listing);
            Ok(())
        })
    }

    /// A commit by branch, tag, id, beginning of an id, `HEAD`, `origin/BRANCH`, each also with `~N` and `^`. For a
    /// remote repository names mean what they mean there now.
    ///
    /// # Errors
    /// [`GitError::RevisionNotFound`] and [`GitError::Ambiguous`] besides failures to reach it.
    pub fn resolve(&self, spec: &str) -> Result<Revision, GitError> {
        let spec = spec.trim();
        let unknown =
            || GitError::RevisionNotFound { repository: self.shown.to_string(), spec: super::error::plain(spec) };
        match &self.place {
            Place::Local(path) => resolve::lookup(&open_local(path)?, &self.shown, spec, false)?.ok_or_else(unknown),
            Place::Mirror(dir) => {
                if !resolve::is_name(spec)
                    && let Ok(repo) = dir.open()
                    && let Some(found) = resolve::lookup(&repo, &self.shown, spec, true)?
                {
                    return Ok(found);
                }
                let full = if spec.starts_with("refs/") { spec.to_owned() } else { format!("refs/{spec}") };
                self.fetch_all(dir, Some(&full))?;
                resolve::lookup(&self.repository()?, &self.shown, spec, true)?.ok_or_else(unknown)
            }
        }
    }

    /// A commit as it was known when the repository was last reached; `None` spec: the branch's head. Asks nobody.
    pub fn known(&self, spec: Option<&str>, branch: Option<&str>) -> Option<Revision> {
        let Place::Mirror(dir) = &self.place else { return None };
        let repo = dir.open().ok()?;
        if let Some(spec) = spec {
            return resolve::lookup(&repo, &self.shown, spec.trim(), true).ok().flatten();
        }
        let branch = branch.map(str::to_owned).or_else(|| self.default_branch())?;
        let full = if branch.starts_with("refs/") { branch } else { format!("refs/heads/{branch}") };
        remote::revision(repo.refname_to_id(&remote::local_name(&full)).ok()?).ok()
    }

    /// The content at a commit: the whole tree, or what lies below `path_root`, with paths from the repository's root.
    ///
    /// # Errors
    /// If the commit or the path is not there, or if the tree passes a limit.
    pub fn tree(&self, revision: &Revision, path_root: Option<&str>) -> Result<SourceTree, GitError> {
        self.reading(revision, |repo| odb::read_tree(repo, &self.shown, revision, path_root))
    }

    /// The last `n` commits from a revision on, newest first.
    ///
    /// # Errors
    /// If the revision is not there.
    pub fn commits(&self, from: &Revision, n: usize) -> Result<Vec<CommitInfo>, GitError> {
        self.reading(from, |repo| {
            let walk = || -> Result<Vec<git2::Commit<'_>>, git2::Error> {
                let mut walk = repo.revwalk()?;
                walk.set_sorting(Sort::TIME | Sort::TOPOLOGICAL)?;
                walk.push(Oid::from_str(from.as_str())?)?;
                walk.take(n.min(MAX_COMMITS)).map(|oid| repo.find_commit(oid?)).collect()
            };
            let commits = walk().map_err(|error| self.git_error(&error))?;
            commits.iter().map(commit_info).collect()
        })
    }

    /// The newest commit that took a file away from a branch's history, among its last ones: by first parents.
    ///
    /// # Errors
    /// If the revision is not there.
    pub fn removed(&self, head: &Revision, file: &str) -> Result<Option<Revision>, GitError> {
        self.reading(head, |repo| {
            let find = || -> Result<Option<Oid>, git2::Error> {
                let has = |commit: &git2::Commit<'_>| -> Result<bool, git2::Error> {
                    Ok(commit.tree()?.get_path(Path::new(file)).is_ok())
                };
                let mut commit = repo.find_commit(Oid::from_str(head.as_str())?)?;
                for _ in 0..LOOK_BACK {
                    if has(&commit)? {
                        return Ok(None);
                    }
                    let Ok(parent) = commit.parent(0) else { return Ok(None) };
                    if has(&parent)? {
                        return Ok(Some(commit.id()));
                    }
                    commit = parent;
                }
                Ok(None)
            };
            find().map_err(|error| self.git_error(&error))?.map(remote::revision).transpose()
        })
    }

    /// One commit.
    ///
    /// # Errors
    /// If the revision is not there.
    pub fn commit(&self, revision: &Revision) -> Result<CommitInfo, GitError> {
        self.reading(revision, |repo| {
            let commit = repo.find_commit(self.oid(revision)?).map_err(|error| self.git_error(&error))?;
            commit_info(&commit)
        })
    }

    /// True if `ancestor` is `revision` or one of its ancestors.
    ///
    /// # Errors
    /// If one of them is not there.
    pub fn is_ancestor(&self, ancestor: &Revision, revision: &Revision) -> Result<bool, GitError> {
        self.reading(revision, |repo| {
            let (one, two) = (self.oid(ancestor)?, self.oid(revision)?);
            Ok(one == two || repo.graph_descendant_of(two, one).map_err(|error| self.git_error(&error))?)
        })
    }

    /// The commits that `to` has and `from` has not, newest first, up to `most` of them.
    ///
    /// # Errors
    /// If one of them is not there.
    pub fn since(&self, from: Option<&Revision>, to: &Revision, most: usize) -> Result<Vec<Revision>, GitError> {
        self.reading(to, |repo| {
            let failed = |error: git2::Error| self.git_error(&error);
            let mut walk = repo.revwalk().map_err(failed)?;
            walk.push(self.oid(to)?).map_err(failed)?;
            if let Some(from) = from {
                walk.hide(self.oid(from)?).map_err(failed)?;
            }
            let found = walk.take(most).map(|oid| oid.map_err(failed)).collect::<Result<Vec<Oid>, _>>()?;
            Ok(found.iter().filter_map(|oid| Revision::parse(&oid.to_string()).ok()).collect())
        })
    }

    /// The best common ancestor of two commits, if they share any history.
    ///
    /// # Errors
    /// If one of them is not there.
    pub fn merge_base(&self, one: &Revision, two: &Revision) -> Result<Option<Revision>, GitError> {
        self.reading(one, |repo| merge::merge_base(repo, &self.shown, self.oid(one)?, self.oid(two)?))
    }

    /// What merging `head` into `base` comes to, worked out in memory.
    ///
    /// # Errors
    /// If one of them is not there, or if the merged tree passes a limit.
    pub fn merge(&self, base: &Revision, head: &Revision, path_root: Option<&str>) -> Result<Merge, GitError> {
        self.reading(head, |repo| merge::merge(repo, &self.shown, self.oid(base)?, self.oid(head)?, path_root))
    }

    /// Runs a reader; where a mirror turns out to be damaged or to lack the commit, brings it up to date and runs it
    /// once more.
    fn reading<T>(&self, revision: &Revision, run: impl Fn(&Repository) -> Result<T, GitError>) -> Result<T, GitError> {
        let dir = match &self.place {
            Place::Local(_) => return run(&self.repository()?).map_err(|error| self.missing(error, revision)),
            Place::Mirror(dir) => dir,
        };
        let worth_a_fetch = |error: &GitError| {
            matches!(error, GitError::Damaged { .. } | GitError::Git { .. } | GitError::EmptyRepository { .. })
        };
        match self.repository().and_then(|repo| run(&repo)) {
            Err(error) if worth_a_fetch(&error) => {}
            result => return result,
        }
        self.fetch_all(dir, None)?;
        match self.repository().and_then(|repo| run(&repo)) {
            Err(error) if worth_a_fetch(&error) => {}
            result => return result,
        }
        // The branches are here and still it cannot be read: either the commit is on none of them, or an object of it
        // is damaged. A new mirror tells which.
        let lock = dir.lock(self.options.total_timeout, &self.options.cancel)?;
        if let Ok(done) = self.repository().and_then(|repo| run(&repo)) {
            return Ok(done);
        }
        let known =
            self.repository().is_ok_and(|repo| self.oid(revision).is_ok_and(|oid| repo.find_commit(oid).is_ok()));
        if known {
            dir.recreate(&lock)?;
        }
        drop(lock);
        if known {
            self.fetch_all(dir, None)?;
        }
        self.repository().and_then(|repo| run(&repo)).map_err(|error| self.missing(error, revision))
    }

    /// Says which commit it was that is not there.
    fn missing(&self, error: GitError, revision: &Revision) -> GitError {
        let absent = || {
            let repo = self.repository().ok()?;
            let oid = self.oid(revision).ok()?;
            Some(repo.find_commit(oid).is_err_and(|error| error.code() == ErrorCode::NotFound))
        };
        match error {
            GitError::Damaged { .. } if absent() == Some(true) => {
                GitError::RevisionNotFound { repository: self.shown.to_string(), spec: revision.to_string() }
            }
            other => other,
        }
    }

    fn oid(&self, revision: &Revision) -> Result<Oid, GitError> {
        Oid::from_str(revision.as_str()).map_err(|error| self.git_error(&error))
    }

    fn git_error(&self, error: &git2::Error) -> GitError {
        GitError::from_git2(&self.shown, error)
    }

    /// A handle of its own on what is here now.
    pub(crate) fn repository(&self) -> Result<Repository, GitError> {
        match &self.place {
            Place::Local(path) => open_local(path),
            Place::Mirror(dir) => dir.open().map_err(|error| match error.code() {
                ErrorCode::NotFound => GitError::EmptyRepository { repository: self.shown.to_string() },
                _ => self.git_error(&error),
            }),
        }
    }

    /// How the repository is reached.
    fn channel(&self) -> Result<Channel, GitError> {
        let options = &self.options;
        if let (Some(address), Place::Mirror(dir)) = (self.url.as_ssh(), &self.place) {
            let host = ssh::Remote::new(&options.ssh_program, address, options.ssh.as_ref(), dir.parent())?;
            return Ok(Channel::Ssh(host));
        }
        let url = self.url.as_http().ok_or_else(|| GitError::InvalidUrl {
            url: self.shown.to_string(),
            why: "it is not a remote repository".to_owned(),
        })?;
        let client = http::client(url, options.ca_file.as_deref())?;
        let auth = match &options.auth {
            None => self.url.embedded_auth().cloned(),
            Some(credentials) => Some(
                credentials
                    .read()
                    .map_err(|message| GitError::Credentials { repository: self.shown.to_string(), message })?,
            ),
        };
        Ok(Channel::Http(http::Remote::new(client, url, auth)))
    }

    fn session(&self) -> Result<Arc<Session>, GitError> {
        let bounds = Bounds {
            idle: self.options.idle_timeout,
            total: self.options.total_timeout,
            bytes: self.options.max_bytes,
            cancel: Arc::clone(&self.options.cancel),
        };
        Ok(Session::new(self.shown.to_string(), self.channel()?, bounds))
    }

    fn listing(&self) -> Result<Listing, GitError> {
        match &self.place {
            Place::Mirror(_) => remote::list(&self.session()?),
            Place::Local(path) => {
                let repo = open_local(path)?;
                local_listing(&repo).map_err(|error| self.git_error(&error))
            }
        }
    }

    /// Fetches one reference of a remote into its private place in the mirror, then runs `run` and, if that asks for it,
    /// pushes `name` back, all under the mirror's lock. For notes.
    pub(crate) fn exchange_ref(&self, name: &str, run: ExchangeRef<'_>) -> Result<Pushed, GitError> {
        let Place::Mirror(dir) = &self.place else {
            run(&self.repository()?, None)?;
            return Ok(Pushed::Done);
        };
        self.with_mirror(dir, |repo| {
            let listing = remote::fetch(&self.session()?, repo, |_| Ok(vec![name.to_owned()]))?;
            match run(repo, listing.refs.get(name).copied())? {
                true => remote::push(&self.session()?, repo, name, &self.shown),
                false => Ok(Pushed::Done),
            }
        })
    }
}

/// Keeps the remote's default branch as `refs/remotes/origin/HEAD`, for `HEAD` and for reading without the network.
fn remember_default(repo: &Repository, listing: &Listing) {
    if let Some(default) = &listing.default {
        // A symbolic reference to a branch that is not here yet is fine: it is resolved when it is used.
        let _ = repo.reference_symbolic("refs/remotes/origin/HEAD", &remote::local_name(default), true, "fetch");
    }
}

fn continues(repo: &Repository, before: Oid, now: Oid) -> bool {
    before == now || repo.graph_descendant_of(now, before).unwrap_or(false)
}

fn commit_info(commit: &git2::Commit<'_>) -> Result<CommitInfo, GitError> {
    let message = String::from_utf8_lossy(commit.message_bytes()).into_owned();
    let subject = message.trim_start().lines().next().unwrap_or_default();
    let seconds = commit.time().seconds();
    Ok(CommitInfo {
        revision: remote::revision(commit.id())?,
        subject: subject.chars().filter(|c| !c.is_control()).take(MAX_SUBJECT).collect(),
        time: Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH),
        author: super::error::plain(&String::from_utf8_lossy(commit.author().name_bytes())),
    })
}

#[cfg(test)]
#[path = "git_tests.rs"]
mod tests;
