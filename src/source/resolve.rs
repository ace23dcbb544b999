//! From what a person types (`main`, `v1.2`, `3fa9c21`, `HEAD~1`, `origin/main`) to a commit.
//!
//! The order is git's (gitrevisions(7)): a whole id, then `refs/X`, a tag, a branch, a remote's branch, and last the
//! beginning of an id.

use super::error::GitError;
use super::remote;
use super::tree::Revision;
use git2::{ErrorCode, Oid, Repository};

/// Longest text that is looked up.
const MAX_SPEC_BYTES: usize = 1024;

/// Finds a commit in what this repository has now; `Ok(None)` if nothing has that name.
///
/// In a `mirror` the remote's branches and `HEAD` lie below `refs/remotes/origin/`.
pub(super) fn lookup(repo: &Repository, shown: &str, spec: &str, mirror: bool) -> Result<Option<Revision>, GitError> {
    let (name, suffix) = split(spec);
    if spec.len() > MAX_SPEC_BYTES || name.is_empty() || spec.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Ok(None);
    }
    let found = match whole_id(repo, name).or_else(|| reference(repo, name, mirror)) {
        Some(oid) => Some(oid),
        None => beginning(repo, shown, name)?,
    };
    let Some(oid) = found else { return Ok(None) };
    let object = match repo.revparse_single(&format!("{oid}{suffix}^{{commit}}")) {
        Ok(object) => object,
        Err(error) if matches!(error.code(), ErrorCode::NotFound | ErrorCode::InvalidSpec | ErrorCode::Peel) => {
            return Ok(None);
        }
        Err(error) => return Err(GitError::from_git2(shown, &error)),
    };
    remote::revision(object.id()).map(Some)
}

/// True if what the text names can change: anything but a whole commit id.
pub(super) fn is_name(spec: &str) -> bool {
    let (name, _) = split(spec);
    Revision::parse(name).is_err()
}

/// `HEAD~2` into `HEAD` and `~2`. Of the suffixes only `~` and `^` are understood, and no braces.
fn split(spec: &str) -> (&str, &str) {
    let at = spec.find(['~', '^']).unwrap_or(spec.len());
    let (name, suffix) = spec.split_at(at);
    let simple = suffix.bytes().all(|b| matches!(b, b'~' | b'^') || b.is_ascii_digit());
    if simple && !name.contains("@{") { (name, suffix) } else { ("", "") }
}

fn whole_id(repo: &Repository, name: &str) -> Option<Oid> {
    let revision = Revision::parse(name).ok()?;
    let oid = Oid::from_str(revision.as_str()).ok()?;
    repo.find_object(oid, None).ok().map(|object| object.id())
}

fn reference(repo: &Repository, name: &str, mirror: bool) -> Option<Oid> {
    let name = if name == "@" { "HEAD" } else { name };
    let head = if mirror { "refs/remotes/origin/HEAD" } else { "HEAD" };
    let plain = name.strip_prefix("refs/heads/").unwrap_or(name);
    let candidates = match name {
        "HEAD" | "origin/HEAD" if mirror => vec![head.to_owned()],
        "HEAD" => vec![head.to_owned()],
        _ => vec![
            name.to_owned(),
            format!("refs/{name}"),
            format!("refs/tags/{name}"),
            format!("refs/heads/{name}"),
            format!("refs/remotes/{name}"),
            format!("refs/remotes/origin/{plain}"),
            format!("refs/driftless/{}", name.trim_start_matches("refs/")),
        ],
    };
    candidates
        .iter()
        .filter(|name| *name == "HEAD" || (name.starts_with("refs/") && git2::Reference::is_valid_name(name)))
        .find_map(|name| repo.find_reference(name).ok()?.peel(git2::ObjectType::Any).ok().map(|object| object.id()))
}

fn beginning(repo: &Repository, shown: &str, name: &str) -> Result<Option<Oid>, GitError> {
    if !(4..40).contains(&name.len()) || !name.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(None);
    }
    match repo.revparse_single(&format!("{}^{{commit}}", name.to_ascii_lowercase())) {
        Ok(object) => Ok(Some(object.id())),
        Err(error) if error.code() == ErrorCode::Ambiguous => {
            Err(GitError::Ambiguous { repository: shown.to_owned(), spec: name.to_owned() })
        }
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes() {
        let cases = [
            ("main", ("main", "")),
            ("HEAD~2", ("HEAD", "~2")),
            ("v1^^", ("v1", "^^")),
            ("v1^{tree}", ("", "")),
            ("main@{1}", ("", "")),
            ("main^/x", ("", "")),
        ];
        for (spec, expected) in cases {
            assert_eq!(split(spec), expected, "{spec}");
        }
        assert!(is_name("main") && is_name("3fa9c21") && !is_name(&"a".repeat(40)));
    }
}
