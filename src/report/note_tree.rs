//! The tree below `refs/notes/…`: which blob is which commit's note.
//!
//! Git reads notes at any fan-out (`notes.c`, `load_subtree`): `abcd…`, `ab/cd…`, `ab/cd/…`. We read all three and write
//! `ab/cd…`: a flat tree of thousands of commits would be written anew, whole, with each status.

use crate::source::Revision;
use git2::{Error, ErrorCode, ObjectType, Oid, Repository, Tree};
use std::collections::BTreeMap;
use std::path::Path;

const MODE_FILE: i32 = 0o100_644;
const MODE_TREE: i32 = 0o040_000;
/// Longest note that is read.
const MAX_NOTE_BYTES: usize = 16 * 1024 * 1024;

/// Where a commit's note may lie.
fn paths(revision: &Revision) -> Vec<String> {
    let id = revision.as_str();
    match (id.get(..2), id.get(2..4), id.get(2..), id.get(4..)) {
        (Some(one), Some(two), Some(after_one), Some(after_two)) => {
            vec![format!("{one}/{after_one}"), id.to_owned(), format!("{one}/{two}/{after_two}")]
        }
        _ => Vec::new(),
    }
}

/// The text of a commit's note; empty if it has none.
pub(super) fn read(repo: &Repository, tree: Option<&Tree<'_>>, revision: &Revision) -> Result<String, Error> {
    let Some(tree) = tree else { return Ok(String::new()) };
    for path in paths(revision) {
        match tree.get_path(Path::new(&path)) {
            Ok(entry) if entry.kind() == Some(ObjectType::Blob) => return blob(repo, entry.id()),
            Ok(_) => {}
            Err(error) if error.code() == ErrorCode::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(String::new())
}

/// A note's text; one that is too large or no text reads as empty.
pub(super) fn blob(repo: &Repository, id: Oid) -> Result<String, Error> {
    let (size, _) = repo.odb()?.read_header(id)?;
    if size > MAX_NOTE_BYTES {
        return Ok(String::new());
    }
    Ok(String::from_utf8_lossy(repo.find_blob(id)?.content()).into_owned())
}

/// The tree with these notes put in the place of those commits' former ones.
pub(super) fn write(repo: &Repository, tree: Option<&Tree<'_>>, notes: &BTreeMap<Revision, Oid>) -> Result<Oid, Error> {
    let mut by_directory: BTreeMap<&str, Vec<(&Revision, Oid)>> = BTreeMap::new();
    for (revision, note) in notes {
        by_directory.entry(revision.as_str().get(..2).unwrap_or_default()).or_default().push((revision, *note));
    }
    let mut top = repo.treebuilder(tree)?;
    for (directory, notes) in by_directory {
        let old = subtree(repo, tree, directory)?;
        let mut below = repo.treebuilder(old.as_ref())?;
        for (revision, note) in notes {
            let id = revision.as_str();
            below.insert(id.get(2..).unwrap_or_default(), note, MODE_FILE)?;
            if top.get(id)?.is_some() {
                top.remove(id)?;
            }
            remove_deeper(repo, old.as_ref(), &mut below, id)?;
        }
        top.insert(directory, below.write()?, MODE_TREE)?;
    }
    top.write()
}

fn subtree<'a>(repo: &'a Repository, tree: Option<&Tree<'_>>, name: &str) -> Result<Option<Tree<'a>>, Error> {
    let entry = tree.and_then(|tree| tree.get_name(name)).filter(|entry| entry.kind() == Some(ObjectType::Tree));
    entry.map(|entry| repo.find_tree(entry.id())).transpose()
}

/// Removes `ab/cd/rest`, so that no commit has two notes.
fn remove_deeper(
    repo: &Repository,
    old: Option<&Tree<'_>>,
    below: &mut git2::TreeBuilder<'_>,
    id: &str,
) -> Result<(), Error> {
    let (second, rest) = (id.get(2..4).unwrap_or_default(), id.get(4..).unwrap_or_default());
    let Some(deeper) = subtree(repo, old, second)? else { return Ok(()) };
    if deeper.get_name(rest).is_none() {
        return Ok(());
    }
    let mut builder = repo.treebuilder(Some(&deeper))?;
    builder.remove(rest)?;
    if builder.is_empty() { below.remove(second) } else { below.insert(second, builder.write()?, MODE_TREE).map(drop) }
}

/// Every note, by commit. Entries that are no notes (git allows them) are not among these, and stay in the tree.
pub(super) fn all(repo: &Repository, tree: &Tree<'_>) -> Result<BTreeMap<Revision, Oid>, Error> {
    let mut notes = BTreeMap::new();
    let mut todo = vec![(String::new(), tree.id())];
    while let Some((prefix, id)) = todo.pop() {
        for entry in &repo.find_tree(id)? {
            let Ok(name) = entry.name() else { continue };
            let path = format!("{prefix}{name}");
            match entry.kind() {
                Some(ObjectType::Tree) if path.len() <= 4 => todo.push((path, entry.id())),
                Some(ObjectType::Blob) => {
                    if let Ok(revision) = Revision::parse(&path) {
                        notes.insert(revision, entry.id());
                    }
                }
                _ => {}
            }
        }
    }
    Ok(notes)
}
