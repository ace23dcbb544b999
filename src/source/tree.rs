//! A repository's content at one revision, as data. Pure.
//!
//! In: what the Git side read from the object database, or pairs in a test. Out: files by path, symbolic links followed
//! inside the tree only.
//!
//! Invariants: every path is relative, with `/`, without `.`, `..`, `.git` or empty components, and no entry lies below
//! another entry; a link never leads out of the tree, whatever its target says; counts and sizes are bounded, so that a
//! hostile repository costs an error and not the process.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Most entries that a tree may have.
pub const MAX_ENTRIES: usize = 200_000;
/// Most bytes that one file may have to be held in memory; a larger one is [`Entry::Oversized`].
pub const MAX_FILE_BYTES: u64 = 32 * 1024 * 1024;
/// Most bytes that all held files may have together.
pub const MAX_TREE_BYTES: u64 = 512 * 1024 * 1024;
/// Longest path, in bytes (Linux `PATH_MAX`).
pub const MAX_PATH_BYTES: usize = 4096;
/// Most links followed for one path (Linux `MAXSYMLINKS`).
pub const MAX_LINKS: usize = 40;

/// A commit id: 40 (SHA-1) or 64 (SHA-256) lower-case hex digits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(String);

impl Revision {
    /// A commit id from its text; upper case is accepted and lowered.
    ///
    /// # Errors
    /// If it is not 40 or 64 hex digits.
    pub fn parse(text: &str) -> Result<Self, TreeError> {
        if (text.len() == 40 || text.len() == 64) && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(TreeError::NoRevision(text.chars().take(80).collect()))
        }
    }

    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first `n` digits.
    pub fn short(&self, n: usize) -> &str {
        self.0.get(..n).unwrap_or(&self.0)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Revision({})", self.0)
    }
}

/// What lies at a path. Its `Debug` form shows sizes, never content: a file may hold a Secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Entry {
    /// A file's content.
    File(Arc<[u8]>),
    /// A symbolic link's target, as written.
    Symlink(String),
    /// A submodule: its content is another repository's and is not read.
    Submodule,
    /// A file of more than [`MAX_FILE_BYTES`], of this many bytes: its content is not held.
    Oversized(u64),
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(bytes) => write!(f, "File({} bytes)", bytes.len()),
            Self::Symlink(target) => write!(f, "Symlink({target:?})"),
            Self::Submodule => f.write_str("Submodule"),
            Self::Oversized(size) => write!(f, "Oversized({size} bytes)"),
        }
    }
}

/// What is wrong with a tree or with a path in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// Not a commit id.
    #[error("{0:?} is not a commit id (40 or 64 hex digits)")]
    NoRevision(String),
    /// A path that is absolute, too long, or has a `.`, `..`, `.git` or empty component.
    #[error("{0:?} is not a path inside a repository")]
    BadPath(String),
    /// An entry below a file, link or submodule, or one path twice.
    #[error("{0:?} is both a file and a directory, or there twice")]
    Clash(String),
    /// Too many entries.
    #[error("the repository has more than {MAX_ENTRIES} files")]
    TooManyEntries,
    /// Too many bytes.
    #[error("the repository's files are larger than {MAX_TREE_BYTES} bytes together")]
    TooLarge,
    /// Nothing there.
    #[error("{0:?} does not exist in this revision")]
    NotFound(String),
    /// A directory where a file is needed.
    #[error("{0:?} is a directory")]
    IsDirectory(String),
    /// A link that leads out of the repository.
    #[error("{path:?} is a link to {target:?}, which leads out of the repository")]
    Escapes {
        /// The link.
        path: String,
        /// Its target, as written.
        target: String,
    },
    /// Links that lead to each other, or too many of them.
    #[error("{0:?} is a link in a circle, or one of more than {MAX_LINKS} links")]
    LinkLoop(String),
    /// A file inside a submodule.
    #[error("{0:?} lies in a submodule, which is not read")]
    InSubmodule(String),
    /// A file that is too large to be read.
    #[error("{path:?} has {size} bytes, more than the {MAX_FILE_BYTES} that are read")]
    Oversized {
        /// The file.
        path: String,
        /// Its size in bytes.
        size: u64,
    },
}

/// Where a path leads once its links are followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target<'a> {
    /// A file: its own path and content.
    File(String, &'a Arc<[u8]>),
    /// A directory: its own path (empty for the root).
    Directory(String),
}

/// A repository's content at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceTree {
    /// The commit.
    pub revision: Revision,
    /// By path, with `/` and without a leading one. Use the constructors: they check the paths.
    pub entries: BTreeMap<String, Entry>,
}

impl SourceTree {
    /// A tree from its entries.
    ///
    /// # Errors
    /// If a path is not a clean relative one, if two entries clash, or if a limit is passed.
    pub fn new(revision: Revision, entries: impl IntoIterator<Item = (String, Entry)>) -> Result<Self, TreeError> {
        let mut map: BTreeMap<String, Entry> = BTreeMap::new();
        let mut bytes = 0_u64;
        for (path, entry) in entries {
            check_path(&path)?;
            let entry = match entry {
                Entry::File(content) if content.len() as u64 > MAX_FILE_BYTES => Entry::Oversized(content.len() as u64),
                other => other,
            };
            if let Entry::File(content) = &entry {
                bytes = bytes.saturating_add(content.len() as u64);
            }
            if bytes > MAX_TREE_BYTES {
                return Err(TreeError::TooLarge);
            }
            if map.len() >= MAX_ENTRIES {
                return Err(TreeError::TooManyEntries);
            }
            if map.contains_key(&path) {
                return Err(TreeError::Clash(path));
            }
            map.insert(path, entry);
        }
        let tree = Self { revision, entries: map };
        match tree.entries.keys().find(|path| tree.is_dir(path)) {
            Some(path) => Err(TreeError::Clash(path.clone())),
            None => Ok(tree),
        }
    }

    /// A tree of plain files, at the revision `0000…`: for tests and for content that no commit holds.
    ///
    /// # Errors
    /// As [`SourceTree::new`].
    pub fn from_files<P: Into<String>, C: AsRef<[u8]>>(
        files: impl IntoIterator<Item = (P, C)>,
    ) -> Result<Self, TreeError> {
        let entries = files.into_iter().map(|(path, content)| (path.into(), Entry::File(content.as_ref().into())));
        Self::new(Revision("0".repeat(40)), entries)
    }

    /// The entry at exactly this path, no link followed.
    pub fn entry(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// True if something lies below this path (the empty path is the root, which is always a directory). No link is
    /// followed.
    pub fn is_dir(&self, path: &str) -> bool {
        path.is_empty() || self.under(path).next().is_some()
    }

    /// Every entry below a directory, at any depth, sorted by path, with whole paths. No link is followed. The empty
    /// path is the root.
    pub fn under<'a>(&'a self, dir: &str) -> impl Iterator<Item = (&'a str, &'a Entry)> + use<'a> {
        let prefix = if dir.is_empty() { String::new() } else { format!("{}/", dir.trim_end_matches('/')) };
        self.entries
            .range(prefix.clone()..)
            .take_while(move |(path, _)| path.starts_with(&prefix))
            .map(|(path, entry)| (path.as_str(), entry))
    }

    /// The content of the file at this path; links are followed inside the tree.
    ///
    /// # Errors
    /// If there is no file, or a link on the way leads out of the tree or in a circle.
    pub fn file(&self, path: &str) -> Result<&Arc<[u8]>, TreeError> {
        match self.resolve(path)? {
            Target::File(_, content) => Ok(content),
            Target::Directory(_) => Err(TreeError::IsDirectory(path.to_owned())),
        }
    }

    /// Where a path leads. `.` and `..` are understood, in the path and in links; neither can leave the tree.
    ///
    /// # Errors
    /// As [`SourceTree::file`].
    pub fn resolve(&self, path: &str) -> Result<Target<'_>, TreeError> {
        let not_found = || TreeError::NotFound(path.to_owned());
        // Components still to walk, the next one last.
        let mut todo: Vec<String> = split_reversed(path);
        let mut at: Vec<String> = Vec::new();
        let mut links = 0;
        while let Some(component) = todo.pop() {
            match component.as_str() {
                "" | "." => continue,
                ".." => {
                    let left = at.pop();
                    left.ok_or_else(|| TreeError::Escapes { path: path.to_owned(), target: path.to_owned() })?;
                    continue;
                }
                _ => at.push(component),
            }
            let here = at.join("/");
            match self.entries.get(&here) {
                None if self.is_dir(&here) => {}
                None => return Err(not_found()),
                Some(Entry::Symlink(target)) => {
                    links += 1;
                    if links > MAX_LINKS || target.len() > MAX_PATH_BYTES || todo.len() > MAX_PATH_BYTES {
                        return Err(TreeError::LinkLoop(path.to_owned()));
                    }
                    at.pop();
                    if leads_out(&at, target) {
                        return Err(TreeError::Escapes { path: here, target: target.clone() });
                    }
                    todo.extend(split_reversed(target));
                }
                Some(Entry::File(content)) if todo.iter().all(String::is_empty) => {
                    return Ok(Target::File(here, content));
                }
                Some(Entry::File(_)) => return Err(not_found()),
                Some(Entry::Submodule) => return Err(TreeError::InSubmodule(path.to_owned())),
                Some(Entry::Oversized(size)) => {
                    return Err(TreeError::Oversized { path: here, size: *size });
                }
            }
        }
        Ok(Target::Directory(at.join("/")))
    }
}

/// True if a link's target is absolute or climbs above the root, seen from the directory that holds the link. What
/// climbs by way of another link is caught while walking.
fn leads_out(dir: &[String], target: &str) -> bool {
    let mut depth = dir.len();
    target.starts_with('/')
        || target.split('/').any(|component| match component {
            "" | "." => false,
            ".." if depth == 0 => true,
            ".." => {
                depth -= 1;
                false
            }
            _ => {
                depth += 1;
                false
            }
        })
}

fn split_reversed(path: &str) -> Vec<String> {
    path.split('/').rev().map(str::to_owned).collect()
}

/// Git itself refuses such paths on checkout (`verify_path` in git's read-cache.c); a hand-made tree object can hold them.
fn check_path(path: &str) -> Result<(), TreeError> {
    let bad_component = |component: &str| {
        component.is_empty() || component == "." || component == ".." || component.eq_ignore_ascii_case(".git")
    };
    if path.len() > MAX_PATH_BYTES || path.contains('\0') || path.split('/').any(bad_component) {
        return Err(TreeError::BadPath(path.chars().take(200).collect()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(entries: &[(&str, Entry)]) -> SourceTree {
        let entries = entries.iter().map(|(path, entry)| ((*path).to_owned(), entry.clone()));
        SourceTree::new(Revision::parse(&"a".repeat(40)).unwrap(), entries).unwrap()
    }

    fn text(content: &str) -> Entry {
        Entry::File(content.as_bytes().into())
    }

    fn link(target: &str) -> Entry {
        Entry::Symlink(target.into())
    }

    #[test]
    fn revisions() {
        assert_eq!(Revision::parse(&"AB".repeat(20)).unwrap().short(7), "abababa");
        assert!(Revision::parse(&"0".repeat(64)).is_ok());
        for bad in ["", "main", "g123", &"0".repeat(41)] {
            assert!(Revision::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn links_are_followed_inside_the_tree_only() {
        let tree = tree(&[
            ("base/a.yaml", text("a")),
            ("prod/a.yaml", link("../base/a.yaml")),
            ("prod/dir", link("../base")),
            ("prod/twice.yaml", link("dir/a.yaml")),
            ("prod/out", link("../../etc/passwd")),
            ("prod/abs", link("/etc/passwd")),
            ("prod/through", link("dir/../../../etc/passwd")),
            ("loop/a", link("b")),
            ("loop/b", link("a")),
            ("dangling", link("nowhere")),
            ("sub", Entry::Submodule),
            ("big", Entry::Oversized(1 << 40)),
        ]);
        for path in ["base/a.yaml", "prod/a.yaml", "prod/dir/a.yaml", "prod/twice.yaml", "prod/../base/./a.yaml"] {
            assert_eq!(tree.file(path).map(|c| c.to_vec()), Ok(b"a".to_vec()), "{path}");
        }
        assert_eq!(tree.resolve("prod/dir"), Ok(Target::Directory("base".into())));
        assert_eq!(tree.resolve(""), Ok(Target::Directory(String::new())));
        for path in ["prod/out", "prod/abs", "prod/through", "../x"] {
            assert!(matches!(tree.file(path), Err(TreeError::Escapes { .. })), "{path}: {:?}", tree.file(path));
        }
        assert!(matches!(tree.file("loop/a"), Err(TreeError::LinkLoop(_))));
        assert!(matches!(tree.file("dangling"), Err(TreeError::NotFound(_))));
        assert!(matches!(tree.file("base/a.yaml/x"), Err(TreeError::NotFound(_))));
        assert!(matches!(tree.file("base"), Err(TreeError::IsDirectory(_))));
        assert!(matches!(tree.file("sub/x"), Err(TreeError::InSubmodule(_))));
        assert!(matches!(tree.file("big"), Err(TreeError::Oversized { .. })));
    }

    #[test]
    fn a_chain_of_doubling_links_ends() {
        let mut entries: Vec<(String, Entry)> =
            (0..60).map(|i| (format!("l{i}"), link(&format!("l{0}/l{0}", i + 1)))).collect();
        entries.push(("l60".into(), text("x")));
        let tree = SourceTree::new(Revision::parse(&"0".repeat(40)).unwrap(), entries).unwrap();
        assert!(matches!(tree.file("l0"), Err(TreeError::LinkLoop(_))));
    }

    #[test]
    fn under_a_directory() {
        let tree = tree(&[("a/x", text("")), ("a/b/y", text("")), ("ab/z", text("")), ("a.yaml", text(""))]);
        let paths = |dir: &str| tree.under(dir).map(|(path, _)| path.to_owned()).collect::<Vec<_>>();
        assert_eq!(paths("a"), ["a/b/y", "a/x"]);
        assert_eq!(paths(""), ["a.yaml", "a/b/y", "a/x", "ab/z"]);
        assert!(tree.is_dir("a/b") && !tree.is_dir("a/x") && !tree.is_dir("c"));
    }

    #[test]
    fn bad_trees_are_refused() {
        for path in ["", "/a", "a//b", "../a", "a/./b", "a/.git/config", "a/.GIT/x", "a\0b", "a/"] {
            assert!(matches!(SourceTree::from_files([(path, "")]), Err(TreeError::BadPath(_))), "{path:?}");
        }
        assert!(matches!(SourceTree::from_files([("a", ""), ("a/b", "")]), Err(TreeError::Clash(_))));
        assert!(matches!(SourceTree::from_files([("a", ""), ("a", "")]), Err(TreeError::Clash(_))));
    }

    #[test]
    fn debug_shows_no_content() {
        let tree = tree(&[("secret.yaml", text("hunter2"))]);
        assert!(!format!("{tree:?}").contains("hunter2"));
    }
}
