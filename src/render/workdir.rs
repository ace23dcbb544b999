//! A private copy of the directories a build needs, removed whatever happens.
//!
//! It is removed when it is dropped: also on an error, a panic or a cancelled future. What a killed process left behind
//! is removed by the next one that starts here.
//!
//! Invariant: every file in it is in the source tree; a link is written only if it leads to a directory of the tree,
//! and then as a relative path inside the copy.

use crate::source::tree::{Entry, SourceTree, Target};
use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::{Duration, SystemTime};

/// Most bytes of a copy.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// Most files of a copy.
const MAX_FILES: usize = 20_000;
/// Name of every copy: this, the process id, a random number.
const PREFIX: &str = "driftless-render-";
/// Leftovers younger than this may belong to a process that is not visible from here (another container).
const STALE: Duration = Duration::from_secs(3600);

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub(super) enum WorkdirError {
    /// Too much.
    #[error("the app's directories hold more than {MAX_FILES} files or {MAX_BYTES} bytes")]
    TooLarge,
    /// The disk says no.
    #[error("a private directory in {dir:?} cannot be written: {error}")]
    Io { dir: PathBuf, error: io::Error },
}

/// The copy.
pub(super) struct Workdir {
    root: PathBuf,
}

impl Workdir {
    /// Copies `roots` (files, or directories and all below them). `replaced` is a file to be written with another content.
    pub fn new(
        tree: &SourceTree,
        roots: &BTreeSet<String>,
        replaced: Option<(&str, &[u8])>,
    ) -> Result<Self, WorkdirError> {
        static SWEEP: Once = Once::new();
        let parent = std::env::temp_dir();
        SWEEP.call_once(|| sweep(&parent));
        let name = format!("{PREFIX}{}-{:016x}", std::process::id(), rand::random::<u64>());
        let workdir = Self { root: parent.join(name) };
        let failed = |error| WorkdirError::Io { dir: parent.clone(), error };
        // Fails if it is there already: nobody can put it there first.
        std::fs::DirBuilder::new().mode(0o700).create(&workdir.root).map_err(failed)?;
        make_dir(&workdir.tree()).map_err(failed)?;
        make_dir(&workdir.home()).map_err(failed)?;
        let (mut files, mut bytes) = (0_usize, 0_usize);
        let mut written: BTreeSet<&str> = BTreeSet::new();
        for root in roots {
            let file = tree.entries.get_key_value(root).map(|(path, entry)| (path.as_str(), entry));
            if file.is_none() {
                make_dir(&workdir.tree().join(root)).map_err(failed)?;
            }
            for (path, entry) in file.into_iter().chain(tree.under(root)) {
                if !written.insert(path) {
                    continue;
                }
                files += 1;
                bytes += workdir.write(tree, path, entry, replaced).map_err(failed)?;
                if files > MAX_FILES || bytes > MAX_BYTES {
                    return Err(WorkdirError::TooLarge);
                }
            }
        }
        Ok(workdir)
    }

    /// Where the copied tree is.
    pub fn tree(&self) -> PathBuf {
        self.root.join("tree")
    }

    /// An empty directory to be used as home and path.
    pub fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    /// All of it.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn write(
        &self,
        tree: &SourceTree,
        path: &str,
        entry: &Entry,
        replaced: Option<(&str, &[u8])>,
    ) -> io::Result<usize> {
        let to = self.tree().join(path);
        let content: &[u8] = match (entry, replaced) {
            (_, Some((file, content))) if file == path => content,
            (Entry::File(content), _) => content,
            (Entry::Symlink(_), _) => match tree.resolve(path) {
                Ok(Target::File(_, content)) => content,
                Ok(Target::Directory(dir)) => {
                    make_dir(to.parent().unwrap_or(&self.root))?;
                    let up = "../".repeat(path.matches('/').count());
                    symlink(format!("{up}{dir}"), &to)?;
                    return Ok(0);
                }
                // It leads out or nowhere: it is not there for the build either.
                Err(_) => return Ok(0),
            },
            (Entry::Submodule | Entry::Oversized(_), _) => return Ok(0),
        };
        make_dir(to.parent().unwrap_or(&self.root))?;
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&to)?;
        io::Write::write_all(&mut file, content)?;
        Ok(content.len())
    }
}

impl Drop for Workdir {
    fn drop(&mut self) {
        // `remove_dir_all` does not follow links.
        if let Err(error) = std::fs::remove_dir_all(&self.root)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(dir = %self.root.display(), %error, "a temporary directory could not be removed");
        }
    }
}

fn make_dir(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Removes copies of processes that are no more.
fn sweep(parent: &Path) {
    if !Path::new("/proc/self").exists() {
        return;
    }
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|rest| rest.split('-').next());
        let Some(pid) = pid.and_then(|pid| pid.parse::<u32>().ok()) else { continue };
        let old = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|time| SystemTime::now().duration_since(time).is_ok_and(|age| age > STALE));
        if old && !Path::new("/proc").join(pid.to_string()).exists() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::tree::Revision;

    #[test]
    fn it_is_a_copy_and_it_goes_away() {
        let link = |target: &str| Entry::Symlink(target.into());
        let file = |text: &str| Entry::File(text.as_bytes().into());
        let entries = [
            ("app/kustomization.yaml", file("a")),
            ("app/sub/link.yaml", link("../../other/x.yaml")),
            ("app/sub/dir", link("../../base")),
            ("app/out", link("../../../etc/passwd")),
            ("app/abs", link("/etc/passwd")),
            ("base/b.yaml", file("b")),
            ("other/x.yaml", file("x")),
        ];
        let entries = entries.map(|(path, entry)| (path.to_owned(), entry));
        let tree = SourceTree::new(Revision::parse(&"0".repeat(40)).unwrap(), entries).unwrap();
        let roots = BTreeSet::from(["app".to_owned(), "base".to_owned()]);
        let workdir = Workdir::new(&tree, &roots, Some(("app/kustomization.yaml", b"changed"))).unwrap();
        let read = |path: &str| std::fs::read_to_string(workdir.tree().join(path)).ok();
        assert_eq!(read("app/kustomization.yaml").as_deref(), Some("changed"));
        assert_eq!(read("app/sub/link.yaml").as_deref(), Some("x"));
        assert_eq!(read("app/sub/dir/b.yaml").as_deref(), Some("b"));
        for absent in ["app/out", "app/abs", "other/x.yaml"] {
            assert!(!workdir.tree().join(absent).exists(), "{absent}");
        }
        let root = workdir.root().to_owned();
        assert!(root.exists());
        let panicked = std::panic::catch_unwind(move || {
            let _held = workdir;
            panic!("on purpose");
        });
        assert!(panicked.is_err() && !root.exists());
    }
}
