//! `require_plan`: what a sync takes away must have been in the plan that somebody saw before the merge.
//!
//! In: a plan, and the plans that pull requests were shown with, as the daemon keeps them in the app's inventory: out of
//! reach of whoever opens a pull request. Out: the hold, where the plan deletes or replaces what none of them did.
//!
//! Only the plan of a pull request that was merged counts, and only with the merge that is synced: the host is asked where
//! each stands whose plan has what would go, and what it says of a merge is kept beside the plan. A host that does not
//! answer, and a pull request that is not merged, keep the hold; it is judged anew with each sync.

use super::merges::{Answers, MOST, Ties, ask};
use super::{History, HowTo, Wanted, hold_on};
use crate::inventory::{Hold, Parent, Removal, Review, Standing};
use crate::plan::{Planned, StepKind};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Pauses before a pull request that is open still is asked about again: a host moves the branch first, and notes after
/// that that it was merged.
const GRACE: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// A hold that a sync of a plan would meet.
#[derive(Debug, Clone, PartialEq)]
pub struct Unreviewed {
    /// The hold.
    pub hold: Hold,
    /// Why, without what to do about it.
    pub why: String,
    /// What nobody saw, with the uids that would go.
    pub removals: BTreeMap<Removal, String>,
}

/// The hold on this plan, if it takes away what no merged review did and nobody approved. What the host says of merges is
/// kept in the inventory.
pub(super) async fn unreviewed(
    planned: &Planned,
    parent: &mut Parent,
    wanted: &Wanted<'_>,
    orders: &HowTo<'_>,
) -> Option<Hold> {
    if orders.despite_hold {
        return None;
    }
    let judge = Judge { wanted, history: orders.history };
    let mut pauses = GRACE.iter();
    loop {
        let found = judge.judge(planned, parent).await?;
        let open = found.hold.asked.values().any(|standing| *standing == Standing::Open);
        let Some(pause) = pauses.next().filter(|_| open) else { return Some(found.hold) };
        tokio::select! {
            () = tokio::time::sleep(*pause) => {}
            () = orders.cancel.cancelled() => return Some(found.hold),
        }
    }
}

/// The hold that a sync of this plan would meet, as things stand now. Keeps nothing.
pub async fn foresee_hold(
    planned: &Planned,
    parent: &Parent,
    wanted: &Wanted<'_>,
    history: History<'_>,
) -> Option<Unreviewed> {
    let judge = Judge { wanted, history: Some(history) };
    judge.judge(planned, &mut parent.clone()).await
}

struct Judge<'a> {
    wanted: &'a Wanted<'a>,
    history: Option<History<'a>>,
}

impl Judge<'_> {
    /// Judges the plan by what is known, and by what the host says of what is not.
    async fn judge(&self, planned: &Planned, parent: &mut Parent) -> Option<Unreviewed> {
        let wanted = self.wanted;
        // Content that is held for it stays so, also where the setting went with the commit that is held.
        let held = hold_on(parent, &wanted.rendered.digest, wanted.revision).is_some_and(Hold::is_unreviewed);
        if !wanted.app.require_plan && !held {
            return None;
        }
        let mut open = removals(planned);
        let revision = wanted.revision.as_str();
        let approved: BTreeSet<&String> =
            parent.approvals.iter().filter(|a| a.revision == revision).flat_map(|a| &a.uids).collect();
        open.retain(|_, uid| !approved.contains(uid));
        if open.is_empty() {
            return None;
        }
        let ties = Ties::read(parent, wanted, self.history).await;
        settle(&mut open, parent, &ties);
        let would_lift = |review: &Review| review.removes.iter().any(|removal| open.contains_key(removal));
        let unasked = || parent.reviews.iter().filter(|review| review.merged.is_none());
        let awaited: BTreeSet<u64> = unasked().filter(|r| would_lift(r)).map(|r| r.pull).take(MOST).collect();
        // What is synced may be the merge of another one too, which is to be named then: its head alone may as well have
        // been pushed.
        let alike = unasked().filter(|r| !would_lift(r) && ties.looks_like(r)).map(|r| r.pull);
        let asked: Vec<u64> = awaited.iter().rev().copied().chain(alike).take(MOST).collect();
        let mut answers = match asked.as_slice() {
            [] => Answers::default(),
            some => ask(self.history.and_then(|history| history.host), some).await,
        };
        for review in &mut parent.reviews {
            if let Some(Standing::Merged(merge)) = answers.standings.get(&review.pull) {
                review.merged = Some(merge.clone());
            }
        }
        answers.standings.retain(|pull, _| awaited.contains(pull));
        settle(&mut open, parent, &ties);
        if open.is_empty() {
            return None;
        }
        let known = parent.hold.as_ref().filter(|hold| hold.digest.as_ref() == Some(&wanted.rendered.digest));
        let known = known.filter(|hold| hold.is_unreviewed());
        let now = || Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let since = known.map_or_else(now, |hold| hold.since.clone());
        // Of the commit that brought the content: later ones that change nothing write nothing.
        let first = known.map_or(revision, |hold| &hold.revision).to_owned();
        // The objects and the command first: hosts cut what is long.
        let (app, no_plan) = (&wanted.app.name, why(&open, parent, &ties, &answers));
        let hold = Hold {
            revision: first,
            digest: Some(wanted.rendered.digest.clone()),
            reason: format!("{}; waits for `driftless approve {app}`: {no_plan}", named(&open, 2)),
            since,
            waits: open.values().cloned().collect(),
            asked: answers.standings,
        };
        Some(Unreviewed { hold, why: reason(&open, &no_plan), removals: open })
    }
}

/// Takes off what the plan of a merge that is synced has.
fn settle(open: &mut BTreeMap<Removal, String>, parent: &Parent, ties: &Ties) {
    let merged = parent.reviews.iter().filter_map(|review| Some((review, review.merged.as_ref()?)));
    let brought: Vec<&Review> = merged.filter(|(review, merge)| ties.brings(review, merge)).map(|(r, _)| r).collect();
    open.retain(|removal, _| !brought.iter().any(|review| review.removes.contains(removal)));
}

/// What a plan takes away, with the uids that go.
fn removals(planned: &Planned) -> BTreeMap<Removal, String> {
    let gone = planned.graph.steps.iter().filter_map(|step| {
        let (uid, replaced) = match &step.kind {
            StepKind::Delete { uid } => (uid, false),
            StepKind::Replace { uid, .. } => (uid, true),
            _ => return None,
        };
        Some((Removal { object: step.object.clone()?, replaced }, uid.clone()))
    });
    gone.collect()
}

/// Why no plan allows it: those that have some of it and do not count, else the one that is synced and has it not.
fn why(open: &BTreeMap<Removal, String>, parent: &Parent, ties: &Ties, answers: &Answers) -> String {
    let mut said = Vec::new();
    let has = |review: &&Review| review.removes.iter().any(|removal| open.contains_key(removal));
    for review in parent.reviews.iter().filter(has) {
        let pull = review.pull;
        let all = open.keys().all(|removal| review.removes.contains(removal));
        let words = format!("pull request #{pull} has {}", if all { "this plan" } else { "a part of this plan" });
        said.push(match (&review.merged, answers.standings.get(&pull), &answers.failure) {
            (Some(merge), ..) => {
                let commit: String = merge.commit.iter().flat_map(|commit| commit.chars()).take(7).collect();
                let commit = if commit.is_empty() { commit } else { format!(" as {commit}") };
                format!("{words}, but was merged{commit}, which is not new here")
            }
            (None, Some(Standing::Open), _) => format!("{words} but is not merged"),
            (None, Some(Standing::Closed), _) => {
                format!("{words} but was closed without a merge")
            }
            (None, _, Some(failure)) => {
                format!("{words}, but whether it is merged cannot be asked ({failure})")
            }
            (None, ..) => format!("{words}, but the host was not asked about it"),
        });
    }
    if !said.is_empty() {
        let more = said.len().saturating_sub(2);
        said.truncate(2);
        return said.join("; ") + &if more == 0 { String::new() } else { format!(" (and {more} more)") };
    }
    // One that is not merged brought nothing, also where its head was pushed past it.
    let brought = |review: &&Review| review.merged.as_ref().is_some_and(|merge| ties.brings(review, merge));
    let pulls: BTreeSet<u64> = parent.reviews.iter().filter(brought).map(|review| review.pull).collect();
    match pulls.iter().map(|pull| format!("#{pull}")).collect::<Vec<_>>().join(", ").as_str() {
        "" => "without a reviewed plan".to_owned(),
        pulls => format!("unlike in the reviewed plan of {pulls}"),
    }
}

/// Why, for a person: which plan did not have it, and what would go.
fn reason(open: &BTreeMap<Removal, String>, why: &str) -> String {
    format!("{why}: {}", named(open, 3))
}

/// `ConfigMap shop/a would be deleted, ConfigMap shop/b would be deleted (and 2 more)`.
fn named(open: &BTreeMap<Removal, String>, most: usize) -> String {
    let named: Vec<String> = open
        .keys()
        .take(most)
        .map(|removal| format!("{} would be {}", removal.object, if removal.replaced { "replaced" } else { "deleted" }))
        .collect();
    let more = open.len().saturating_sub(named.len());
    let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
    format!("{}{more}", named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::{Identity, Merge};
    use crate::object::{Digest, Gk, ObjectKey};

    fn removal(name: &str, replaced: bool) -> Removal {
        Removal { object: ObjectKey::new(&Gk::new("", "ConfigMap"), Some("shop"), name).with_version("v1"), replaced }
    }

    fn review(pull: u64, removes: Vec<Removal>) -> Review {
        Review { pull, head: "a".repeat(40), digest: Digest::of_bytes(b"x"), removes, merged: None }
    }

    fn parent() -> Parent {
        let text = String::new;
        Parent::new(Identity { instance: text(), repository: text(), path_root: text(), app: text() }, "a")
    }

    #[test]
    fn the_words_name_the_objects_and_the_plan() {
        let one = BTreeMap::from([(removal("a", false), "1".to_owned())]);
        assert_eq!(
            reason(&one, "without a reviewed plan"),
            "without a reviewed plan: ConfigMap shop/a would be deleted"
        );
        let many: BTreeMap<Removal, String> =
            ["a", "b", "c", "d"].map(|name| (removal(name, true), name.to_owned())).into();
        let said = reason(&many, "x");
        assert!(said.contains("ConfigMap shop/b would be replaced") && said.contains("(and 1 more)"), "{said}");
    }

    #[test]
    fn a_pull_request_that_is_not_merged_is_not_why() {
        let one = BTreeMap::from([(removal("a", false), "1".to_owned())]);
        let mut parent = parent();
        // Its head was pushed directly; it is open still.
        parent.review(29, Some(review(29, vec![removal("other", false)])));
        let ties = Ties::of_head(&"a".repeat(40));
        let said = |parent: &Parent| why(&one, parent, &ties, &Answers::default());
        assert_eq!(said(&parent), "without a reviewed plan");
        parent.reviews[0].merged = Some(Merge::default());
        assert_eq!(said(&parent), "unlike in the reviewed plan of #29");
    }

    #[test]
    fn a_pull_request_has_one_review_and_the_newest_are_kept() {
        let mut parent = parent();
        for pull in 0..60 {
            parent.review(pull, Some(review(pull, Vec::new())));
        }
        parent.review(59, Some(review(59, vec![removal("a", false)])));
        assert_eq!((parent.reviews.len(), parent.reviews[0].removes.len()), (40, 1));
        parent.review(59, None);
        assert_eq!((parent.reviews.len(), parent.reviews[0].pull), (39, 58));
        let many = |n: usize| (0..n).map(|i| removal(&i.to_string(), false)).collect();
        parent.review(70, Some(review(70, many(2_000))));
        assert!(parent.reviews.iter().all(|review| review.pull != 70), "more than an inventory holds");
        parent.review(71, Some(review(71, many(900))));
        parent.review(72, Some(review(72, many(900))));
        assert!(parent.reviews[0].pull == 72 && parent.reviews.iter().all(|r| r.pull != 71), "the newest stays");
    }

    #[test]
    fn a_merged_plan_stays_as_it_was_merged() {
        let mut parent = parent();
        parent.review(7, Some(Review { merged: Some(Merge::default()), ..review(7, vec![removal("a", false)]) }));
        parent.review(7, Some(review(7, Vec::new())));
        parent.review(7, None);
        assert_eq!(parent.reviews.len(), 1);
        assert!(parent.reviews[0].merged.is_some() && parent.reviews[0].removes.len() == 1);
    }
}
