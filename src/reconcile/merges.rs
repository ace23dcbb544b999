//! Which pull requests a revision brings: the host says what was merged, and the history what of that is new.
//!
//! In: the plans that pull requests were shown with, and the history. Out: where each stands, and whether its merge is
//! part of what is synced. Asks the host for a bounded number of pull requests, the newest plans first, and stops at the
//! first one that it does not answer for. Writes nothing.

use super::{History, Wanted};
use crate::inventory::{Merge, Parent, Review, Standing};
use crate::report::host::wire::HostClient;
use crate::source::Revision;
use crate::workspace::off_thread;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// New commits that are looked through for merges.
const COMMITS: usize = 5_000;
/// Pull requests that the host is asked about at once.
pub(super) const MOST: usize = 10;

/// Longest wait for the answers together: a newer revision waits meanwhile.
const PATIENCE: Duration = Duration::from_secs(15);

/// What the host said.
#[derive(Default)]
pub struct Answers {
    /// By number.
    pub standings: BTreeMap<u64, Standing>,
    /// Why it did not say more.
    pub failure: Option<String>,
}

/// Asks where these pull requests stand.
pub async fn ask(host: Option<&Arc<HostClient>>, pulls: &[u64]) -> Answers {
    let mut out = Answers { standings: pulls.iter().map(|pull| (*pull, Standing::Unknown)).collect(), failure: None };
    let Some(client) = host.cloned() else {
        out.failure = Some("no [[report]] names a host to ask".to_owned());
        return out;
    };
    let pulls = pulls.to_vec();
    let asked = off_thread(move || {
        let mut found = Vec::new();
        for pull in pulls.into_iter().take(MOST) {
            match client.standing(pull) {
                Ok(standing) => found.push((pull, standing)),
                Err(error) => return Ok((found, Some(error.message))),
            }
        }
        Ok((found, None))
    });
    let (found, failure) = match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(answered)) => answered,
        Ok(Err(problem)) => (Vec::new(), Some(problem.message)),
        Err(_) => (Vec::new(), Some(format!("it did not answer in {} s", PATIENCE.as_secs()))),
    };
    out.standings.extend(found);
    out.failure = failure;
    out
}

/// What tells whether a merge is part of what is synced.
pub(super) struct Ties {
    /// The commits that are new with the revision.
    new: BTreeSet<String>,
    /// Heads that are new, and that no other new head contains: the newest word of each.
    heads: BTreeSet<String>,
    /// The content was applied in whole before: this is a repair, and nothing is new.
    repair: bool,
    digest: crate::object::Digest,
}

impl Ties {
    /// Reads the history between what was applied last and the revision.
    pub(super) async fn read(parent: &Parent, wanted: &Wanted<'_>, history: Option<History<'_>>) -> Self {
        let digest = wanted.rendered.digest.clone();
        let repair = parent.digest.as_ref() == Some(&digest);
        let mut out = Self { new: BTreeSet::new(), heads: BTreeSet::new(), repair, digest };
        let Some(history) = history.filter(|_| !parent.reviews.is_empty()) else { return out };
        let (mirror, to) = (history.mirror.clone(), wanted.revision.clone());
        let from = parent.revision.as_deref().and_then(|text| Revision::parse(text).ok());
        let heads: Vec<Revision> =
            parent.reviews.iter().filter_map(|review| Revision::parse(&review.head).ok()).collect();
        let found = off_thread(move || {
            let new: BTreeSet<String> =
                mirror.since(from.as_ref(), &to, COMMITS)?.iter().map(ToString::to_string).collect();
            let heads: Vec<Revision> = heads.into_iter().filter(|head| new.contains(head.as_str())).collect();
            let older = |one: &Revision| {
                heads.iter().any(|other| other != one && mirror.is_ancestor(one, other).unwrap_or(false))
            };
            let heads = heads.iter().filter(|head| !older(head)).map(ToString::to_string).collect();
            Ok((new, heads))
        });
        match found.await {
            Ok((new, heads)) => (out.new, out.heads) = (new, heads),
            Err(problem) => tracing::warn!(%problem, "which pull requests this revision brings cannot be read"),
        }
        out
    }

    /// True if this merge is what is synced. One that was applied before allows nothing any more: else whoever brings an
    /// object back could delete it past everybody. A host that does not say which commit it became leaves only the
    /// planned head, and the content.
    pub(super) fn brings(&self, review: &Review, merge: &Merge) -> bool {
        match &merge.commit {
            Some(commit) => self.has(commit) || (self.repair && review.digest == self.digest),
            None => self.looks_like(review),
        }
    }

    /// True if the revision has this pull request's head, or its content.
    pub(super) fn looks_like(&self, review: &Review) -> bool {
        review.digest == self.digest || self.heads.contains(&review.head)
    }

    /// True for a new commit, by its id or the beginning of it.
    fn has(&self, commit: &str) -> bool {
        self.new.range(commit.to_owned()..).next().is_some_and(|found| found.starts_with(commit))
    }
}

#[cfg(test)]
impl Ties {
    /// A revision that is nothing but this head.
    pub(super) fn of_head(head: &str) -> Self {
        let new = BTreeSet::from([head.to_owned()]);
        Self { heads: new.clone(), new, repair: false, digest: crate::object::Digest::of_bytes(b"now") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Digest;

    #[test]
    fn a_merge_counts_where_it_is_new() {
        let digest = |text: &str| Digest::of_bytes(text.as_bytes());
        let (new, old) = ("ab".repeat(20), "cd".repeat(20));
        let mut ties = Ties {
            new: BTreeSet::from(["aa".repeat(20), new.clone()]),
            heads: BTreeSet::new(),
            repair: false,
            digest: digest("now"),
        };
        let review = |head: &str, content: &str| Review {
            pull: 7,
            head: head.to_owned(),
            digest: digest(content),
            removes: Vec::new(),
            merged: None,
        };
        let merge = |commit: Option<&str>| Merge { commit: commit.map(str::to_owned) };
        let other = review(&"1".repeat(40), "else");
        assert!(ties.brings(&other, &merge(Some(&new))), "a squash onto a base that moved");
        assert!(ties.brings(&other, &merge(Some(&new[..12]))), "Bitbucket Cloud says the beginning");
        assert!(!ties.brings(&other, &merge(Some(&old))) && !ties.brings(&other, &merge(None)));
        let same = review(&"1".repeat(40), "now");
        assert!(!ties.brings(&same, &merge(Some(&old))), "the same content again, past the merge that had it");
        assert!(ties.brings(&same, &merge(None)));
        ties.repair = true;
        assert!(ties.brings(&same, &merge(Some(&old))) && !ties.brings(&other, &merge(Some(&old))));
        ties.heads.insert("1".repeat(40));
        assert!(ties.brings(&other, &merge(None)));
    }
}
