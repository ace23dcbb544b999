//! Where a working copy comes from: its remote `origin`. A clone and what it was cloned from are one repository, so that
//! `driftless sync` in a clone and the daemon on the server speak of the same apps.
//!
//! In: a directory. Out: the address, as far as one is configured; credentials in it are set apart. Nothing is fetched.

use super::local::open_local;
use super::url::{RepoUrl, is_scp_like};
use std::path::Path;

/// Clones of clones that are followed.
const DEPTH: usize = 5;

/// The repository that a working copy was cloned from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// What two spellings of it have in common, as [`RepoUrl::identity`].
    pub identity: String,
    /// Its own name.
    pub name: String,
    /// Its address, where driftless can read it.
    pub url: Option<RepoUrl>,
}

/// The upstream of a working copy; `None` for a bare repository, and for one without a remote `origin`.
pub fn upstream(path: &Path) -> Option<Upstream> {
    let mut found: Option<Upstream> = None;
    let mut at = path.to_owned();
    for _ in 0..DEPTH {
        let Some(next) = origin(&at) else { break };
        let further = next.url.as_ref().and_then(RepoUrl::as_path).map(Path::to_owned);
        found = Some(next);
        match further.filter(|further| *further != at) {
            Some(further) => at = further,
            None => break,
        }
    }
    found
}

fn origin(path: &Path) -> Option<Upstream> {
    let repo = open_local(path).ok()?;
    let work = repo.workdir()?.to_owned();
    let remote = repo.find_remote("origin").ok()?;
    let text = remote.url().ok()?.trim().to_owned();
    let url = match text.contains("://") || is_scp_like(&text) {
        true => RepoUrl::parse(&text).ok()?,
        false => RepoUrl::local(&work.join(&text)).ok()?,
    };
    Some(Upstream { identity: url.identity(), name: url.name(), url: Some(url) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use git2::Repository;

    fn clone_of(dir: &Path, name: &str, origin: Option<&str>) -> std::path::PathBuf {
        let path = dir.join(name);
        let repo = Repository::init(&path).unwrap();
        if let Some(origin) = origin {
            repo.remote("origin", origin).unwrap();
        }
        path
    }

    #[test]
    fn clones_are_what_they_were_cloned_from() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path();
        Repository::init_bare(dir.join("team.git")).unwrap();
        let team = dir.join("team").display().to_string();
        let by_path = clone_of(dir, "a", Some(&dir.join("team.git").display().to_string()));
        let by_url = clone_of(dir, "b", Some(&format!("file://{}", dir.join("team.git").display())));
        let relative = clone_of(dir, "c", Some("../team.git"));
        let of_clone = clone_of(dir, "d", Some("../a"));
        for path in [by_path, by_url, relative, of_clone] {
            let found = upstream(&path).unwrap();
            assert_eq!((found.identity.as_str(), found.name.as_str()), (team.as_str(), "team"), "{}", path.display());
        }
        assert_eq!(upstream(&dir.join("team.git")), None);
        assert_eq!(upstream(&clone_of(dir, "e", None)), None);
        let itself = clone_of(dir, "f", Some("."));
        assert!(upstream(&itself).is_some(), "it ends");
    }

    #[test]
    fn ssh_and_https_are_one_repository() {
        let temp = tempfile::tempdir().unwrap();
        let spellings = [
            "git@git.example:team/apps.git",
            "ssh://git@git.example:22/team/apps",
            "https://user:secret@git.example/team/apps.git",
        ];
        for (i, text) in spellings.iter().enumerate() {
            let found = upstream(&clone_of(temp.path(), &i.to_string(), Some(text))).unwrap();
            assert_eq!(found.identity, "https://git.example/team/apps", "{text}");
            assert!(!format!("{found:?}").contains("secret"));
        }
    }
}
