//! Deletions that a merge must not take for renames.
//!
//! In: the trees of a merge. Out: the same trees without the files that are deleted on one side, or on both, and are no
//! rename to Git. Git takes a file for renamed where half of it is the same (`DEFAULT_RENAME_SCORE`, diffcore.h), measured
//! in bytes of equal lines (`diffcore_count_changes`, diffcore-delta.c). libgit2 compares sets of lines: short files that
//! have `apiVersion:` and the like in common are renames to it, and their deletion becomes a conflict.

use git2::build::TreeUpdateBuilder;
use git2::{Delta, Error, Oid, Repository, Tree};
use std::collections::{BTreeMap, BTreeSet};

/// Percent of a file that is the same after a rename.
const ENOUGH: usize = 50;
/// Files on either side that are compared; beyond that libgit2's own judgement stands. (Who opens a pull request chooses
/// how many there are.)
const MOST: usize = 100;
/// Bytes of a file that is compared.
const LARGEST: usize = 256 * 1024;
/// Longest line that is compared as one, as in Git.
const CHUNK: usize = 64;

/// What one side of a merge does to the files of the ancestor.
struct Side {
    /// Changed or deleted.
    touched: BTreeSet<String>,
    /// Deleted, and renamed to nothing.
    gone: BTreeSet<String>,
}

/// The trees of a merge (the ancestor's, and both sides') without what is deleted for good.
pub(super) fn without_deleted<'r>(repo: &'r Repository, trees: [&Tree<'r>; 3]) -> Result<[Tree<'r>; 3], Error> {
    let [ancestor, ours, theirs] = trees;
    let sides = [side(repo, ancestor, ours)?, side(repo, ancestor, theirs)?];
    let mut doomed: [BTreeSet<&String>; 3] = Default::default();
    for (at, side) in sides.iter().enumerate() {
        let other = &sides[1 - at];
        for path in &side.gone {
            let untouched = !other.touched.contains(path);
            // Where the other side changes it, that is a conflict.
            if untouched || other.gone.contains(path) {
                doomed[0].insert(path);
            }
            if untouched {
                doomed[2 - at].insert(path);
            }
        }
    }
    let mut out = Vec::with_capacity(3);
    for (tree, doomed) in trees.into_iter().zip(doomed) {
        out.push(without(repo, tree, &doomed)?);
    }
    <[Tree<'r>; 3]>::try_from(out).map_err(|_| Error::from_str("a merge has three trees"))
}

fn without<'r>(repo: &'r Repository, tree: &Tree<'r>, doomed: &BTreeSet<&String>) -> Result<Tree<'r>, Error> {
    if doomed.is_empty() {
        return Ok(tree.clone());
    }
    let mut update = TreeUpdateBuilder::new();
    for path in doomed {
        update.remove(path.as_str());
    }
    repo.find_tree(update.create_updated(repo, tree)?)
}

fn side(repo: &Repository, from: &Tree<'_>, to: &Tree<'_>) -> Result<Side, Error> {
    let diff = repo.diff_tree_to_tree(Some(from), Some(to), None)?;
    let (mut touched, mut gone, mut new) = (BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
    for delta in diff.deltas() {
        if delta.status() == Delta::Added {
            new.insert(delta.new_file().id());
            continue;
        }
        let Some(path) = delta.old_file().path_bytes().and_then(|path| std::str::from_utf8(path).ok()) else {
            continue;
        };
        touched.insert(path.to_owned());
        if delta.status() == Delta::Deleted {
            gone.insert(path.to_owned(), delta.old_file().id());
        }
    }
    if gone.len() > MOST || new.len() > MOST {
        gone.clear();
    }
    let odb = repo.odb()?;
    let size = |id: &Oid| odb.read_header(*id).map_or(0, |(size, _)| size);
    let new: Vec<(Oid, usize)> = new.into_iter().map(|id| (id, size(&id))).collect();
    let is_renamed = |old: &Oid| {
        let before = size(old);
        new.iter().any(|(new, after)| {
            let (smaller, larger) = (before.min(*after), before.max(*after));
            let near = smaller * 100 >= larger * ENOUGH;
            // What is too large to look into may be one.
            new == old || (near && (larger > LARGEST || are_similar(repo, *old, *new)))
        })
    };
    gone.retain(|_, old| !is_renamed(old));
    Ok(Side { touched, gone: gone.into_keys().collect() })
}

/// What is no file (a submodule) is like nothing.
fn are_similar(repo: &Repository, one: Oid, other: Oid) -> bool {
    let both = repo.find_blob(one).and_then(|one| Ok((one, repo.find_blob(other)?)));
    both.is_ok_and(|(one, other)| similarity(one.content(), other.content()) >= ENOUGH)
}

/// How much of the larger one of two files both have, in percent.
fn similarity(one: &[u8], other: &[u8]) -> usize {
    let (smaller, larger) = (one.len().min(other.len()), one.len().max(other.len()));
    if larger == 0 || smaller * 100 < larger * ENOUGH {
        return 0;
    }
    let (ours, theirs) = (chunks(one), chunks(other));
    let both = ours.iter().filter_map(|(chunk, n)| Some(chunk.len() * n.min(theirs.get(chunk)?)));
    both.sum::<usize>() * 100 / larger
}

/// The lines, long ones in pieces, and how often each is there.
fn chunks(text: &[u8]) -> BTreeMap<&[u8], usize> {
    let mut out = BTreeMap::new();
    for chunk in text.split_inclusive(|byte| *byte == b'\n').flat_map(|line| line.chunks(CHUNK)) {
        *out.entry(chunk).or_insert(0) += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_it_has_to_be_the_same() {
        let text = |lines: &[&str]| lines.join("\n") + "\n";
        let one = text(&["aaaaaaaaaa", "bbbbbbbbbb", "cccccccccc", "dddddddddd"]);
        assert_eq!(similarity(one.as_bytes(), one.as_bytes()), 100);
        let edited = text(&["aaaaaaaaaa", "bbbbbbbbbb", "cccccccccc", "xxxxxxxxxx"]);
        assert_eq!(similarity(one.as_bytes(), edited.as_bytes()), 75);
        // Two of three lines, and few of the bytes.
        let short = |name: &str, data: &str| text(&["apiVersion: v1", "kind: ConfigMap", &format!("{name}: {data}")]);
        let (ca, other) = (short("ca", &"q".repeat(60)), short("zzz", &"r".repeat(60)));
        assert!(similarity(ca.as_bytes(), other.as_bytes()) < ENOUGH);
        assert_eq!((similarity(b"", b""), similarity(b"a\n", &[b'a'; 500])), (0, 0));
    }
}
