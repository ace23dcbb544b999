//! Reads a commit's tree from the object database. Never a checkout: no file is written, no hook or filter is run.
//!
//! In: a repository and a commit. Out: a [`SourceTree`]. Counts, sizes and depth are bounded while reading, so that a
//! tree made to explode (directories that hold one another many times over) ends in an error early.

use super::error::{GitError, plain};
use super::tree::{self, Entry, Revision, SourceTree, TreeError};
use git2::{ObjectType, Odb, Oid, Repository};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Mode of a symbolic link in a tree object.
const MODE_LINK: i32 = 0o120_000;
/// Longest link target, in bytes (Linux `PATH_MAX`).
const MAX_LINK_BYTES: usize = 4096;

/// True if this is what Git LFS leaves in the place of a file
/// (<https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md>).
pub fn is_lfs_pointer(content: &[u8]) -> bool {
    content.len() < 1024 && content.starts_with(b"version https://git-lfs.github.com/spec/")
}

/// The whole tree of a commit, or what lies below `root`; paths are relative to the repository in both cases.
pub(super) fn read_tree(
    repo: &Repository,
    shown: &str,
    revision: &Revision,
    root: Option<&str>,
) -> Result<SourceTree, GitError> {
    let fail = |error: git2::Error| GitError::from_git2(shown, &error);
    let oid = Oid::from_str(revision.as_str()).map_err(fail)?;
    let commit = repo.find_commit(oid).map_err(fail)?;
    read_tree_object(repo, shown, revision, commit.tree_id(), root)
}

/// As [`read_tree`], for a tree that need not be a commit's.
pub(super) fn read_tree_object(
    repo: &Repository,
    shown: &str,
    revision: &Revision,
    tree: Oid,
    root: Option<&str>,
) -> Result<SourceTree, GitError> {
    let fail = |error: git2::Error| GitError::from_git2(shown, &error);
    let root = root.map(|path| path.trim_matches('/')).filter(|path| !path.is_empty() && *path != ".");
    let start = match root {
        None => tree,
        Some(path) => directory_at(repo, tree, path).map_err(fail)?.ok_or_else(|| GitError::PathNotFound {
            path: path.to_owned(),
            revision: revision.short(9).to_owned(),
            existing: directories(repo, tree),
        })?,
    };
    let odb = repo.odb().map_err(fail)?;
    let mut reader = Reader { repo, odb, entries: BTreeMap::new(), bytes: 0, directories: 0 };
    reader.read(root.unwrap_or_default(), start).map_err(|stop| match stop {
        Stop::Git(error) => GitError::from_git2(shown, &error),
        Stop::Error(error) => error,
    })?;
    Ok(SourceTree::new(revision.clone(), reader.entries)?)
}

fn directory_at(repo: &Repository, tree: Oid, path: &str) -> Result<Option<Oid>, git2::Error> {
    if path.split('/').any(|component| matches!(component, "" | "." | "..")) {
        return Ok(None);
    }
    let found = repo.find_tree(tree)?.get_path(std::path::Path::new(path));
    match found {
        Ok(entry) => Ok((entry.kind() == Some(ObjectType::Tree)).then(|| entry.id())),
        Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn directories(repo: &Repository, tree: Oid) -> Vec<String> {
    let Ok(tree) = repo.find_tree(tree) else { return Vec::new() };
    let trees = tree.iter().filter(|entry| entry.kind() == Some(ObjectType::Tree));
    trees.filter_map(|entry| entry.name().ok().map(plain)).collect()
}

enum Stop {
    Git(git2::Error),
    Error(GitError),
}

impl From<git2::Error> for Stop {
    fn from(error: git2::Error) -> Self {
        Self::Git(error)
    }
}

impl From<TreeError> for Stop {
    fn from(error: TreeError) -> Self {
        Self::Error(error.into())
    }
}

struct Reader<'a> {
    repo: &'a Repository,
    odb: Odb<'a>,
    entries: BTreeMap<String, Entry>,
    bytes: u64,
    directories: usize,
}

impl Reader<'_> {
    fn read(&mut self, prefix: &str, start: Oid) -> Result<(), Stop> {
        let mut todo = vec![(prefix.to_owned(), start)];
        while let Some((prefix, oid)) = todo.pop() {
            self.directories += 1;
            if self.directories > tree::MAX_ENTRIES {
                return Err(TreeError::TooManyEntries.into());
            }
            for item in &self.repo.find_tree(oid)? {
                let name = String::from_utf8_lossy(item.name_bytes());
                let path = if prefix.is_empty() { name.into_owned() } else { format!("{prefix}/{name}") };
                if path.len() > tree::MAX_PATH_BYTES {
                    return Err(TreeError::BadPath(path.chars().take(200).collect()).into());
                }
                let entry = match item.kind() {
                    Some(ObjectType::Tree) => {
                        todo.push((path, item.id()));
                        continue;
                    }
                    Some(ObjectType::Commit) => Entry::Submodule,
                    _ if item.filemode_raw() == MODE_LINK => self.link(&path, item.id())?,
                    _ => self.file(&path, item.id())?,
                };
                self.insert(path, entry)?;
            }
        }
        Ok(())
    }

    fn insert(&mut self, path: String, entry: Entry) -> Result<(), Stop> {
        if self.entries.len() >= tree::MAX_ENTRIES {
            return Err(TreeError::TooManyEntries.into());
        }
        // Names that are no UTF-8 are shown with U+FFFD and can come out equal: the first one stays, the other is told
        // apart, and neither hides a file that has a proper name.
        let mut name = path;
        while name.contains('\u{fffd}') && self.entries.contains_key(&name) {
            name.push('\u{fffd}');
        }
        if self.entries.insert(name.clone(), entry).is_some() {
            return Err(TreeError::Clash(name).into());
        }
        Ok(())
    }

    fn link(&self, path: &str, oid: Oid) -> Result<Entry, Stop> {
        let (size, _) = self.odb.read_header(oid)?;
        if size > MAX_LINK_BYTES {
            return Err(TreeError::BadPath(path.to_owned()).into());
        }
        Ok(Entry::Symlink(String::from_utf8_lossy(self.odb.read(oid)?.data()).into_owned()))
    }

    fn file(&mut self, path: &str, oid: Oid) -> Result<Entry, Stop> {
        let (size, _) = self.odb.read_header(oid)?;
        let size = size as u64;
        if size > tree::MAX_FILE_BYTES {
            return Ok(Entry::Oversized(size));
        }
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > tree::MAX_TREE_BYTES {
            return Err(TreeError::TooLarge.into());
        }
        let object = self.odb.read(oid)?;
        let content = object.data();
        if is_lfs_pointer(content) && is_manifest(path) {
            return Err(Stop::Error(GitError::LfsPointer { path: path.to_owned() }));
        }
        Ok(Entry::File(Arc::from(content)))
    }
}

/// Files that are manifests by their name. JSON is left out: large JSON data in LFS is common, JSON manifests are not.
fn is_manifest(path: &str) -> bool {
    let extension = path.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map(|(_, extension)| extension);
    extension.is_some_and(|extension| extension.eq_ignore_ascii_case("yaml") || extension.eq_ignore_ascii_case("yml"))
}
