//! `require_plan`: what a sync takes away must have been in the plan that somebody saw before the merge.
//!
//! In: a plan, and the plans that pull requests were shown with, as the daemon keeps them in the app's inventory: out of
//! reach of whoever opens a pull request. Out: the hold, where the plan deletes or replaces what none of them did.
//!
//! Which pull requests a revision brings is told by content (the app renders to what the planned merge rendered to: a
//! squash or a rebase leaves no other trace) and by history (a planned head is among the commits that are new). Of one
//! head that another one contains only the latter's plan counts: it is the newer word.

use super::{HowTo, Wanted};
use crate::inventory::{Hold, Parent, Removal, Review};
use crate::plan::{Planned, StepKind};
use crate::source::Revision;
use crate::workspace::off_thread;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// New commits that are looked through for planned heads.
const COMMITS: usize = 5_000;

/// The hold on this plan, if it takes away what no reviewed plan did and nobody approved.
pub(super) async fn unreviewed(
    planned: &Planned,
    parent: &Parent,
    wanted: &Wanted<'_>,
    orders: &HowTo<'_>,
) -> Option<Hold> {
    if !wanted.app.require_plan || orders.despite_hold {
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
    let mut brought: Vec<&Review> =
        parent.reviews.iter().filter(|review| review.digest == wanted.rendered.digest).collect();
    open.retain(|removal, _| !brought.iter().any(|review| review.removes.contains(removal)));
    if open.is_empty() {
        return None;
    }
    let merged = merged(parent, wanted.revision, orders).await;
    open.retain(|removal, _| !merged.iter().any(|review| review.removes.contains(removal)));
    brought.extend(merged);
    if open.is_empty() {
        return None;
    }
    Some(Hold {
        revision: revision.to_owned(),
        digest: Some(wanted.rendered.digest.clone()),
        reason: reason(&open.keys().collect::<Vec<_>>(), &brought, &wanted.app.name),
        since: Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        waits: open.into_values().collect(),
    })
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

/// The reviews whose heads are new with this revision.
async fn merged<'a>(parent: &'a Parent, revision: &Revision, orders: &HowTo<'_>) -> Vec<&'a Review> {
    let Some(mirror) = orders.history.filter(|_| !parent.reviews.is_empty()) else { return Vec::new() };
    let (mirror, to) = (mirror.clone(), revision.clone());
    let from = parent.revision.as_deref().and_then(|text| Revision::parse(text).ok());
    let heads: Vec<Revision> = parent.reviews.iter().filter_map(|review| Revision::parse(&review.head).ok()).collect();
    let found = off_thread(move || {
        let new: BTreeSet<String> =
            mirror.since(from.as_ref(), &to, COMMITS)?.iter().map(ToString::to_string).collect();
        let new: Vec<Revision> = heads.into_iter().filter(|head| new.contains(head.as_str())).collect();
        let older =
            |one: &Revision| new.iter().any(|other| other != one && mirror.is_ancestor(one, other).unwrap_or(false));
        Ok(new.iter().filter(|head| !older(head)).map(ToString::to_string).collect::<BTreeSet<String>>())
    });
    match found.await {
        Ok(heads) => parent.reviews.iter().filter(|review| heads.contains(&review.head)).collect(),
        Err(problem) => {
            tracing::warn!(%problem, "which pull requests this revision brings cannot be read");
            Vec::new()
        }
    }
}

/// Why, for a person: what would go, and which plan did not have it.
fn reason(open: &[&Removal], brought: &[&Review], app: &str) -> String {
    let named: Vec<String> = open
        .iter()
        .take(3)
        .map(|removal| format!("{} would be {}", removal.object, if removal.replaced { "replaced" } else { "deleted" }))
        .collect();
    let more = open.len().saturating_sub(named.len());
    let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
    let pulls: BTreeSet<u64> = brought.iter().map(|review| review.pull).collect();
    let pulls = pulls.iter().map(|pull| format!("#{pull}")).collect::<Vec<_>>().join(", ");
    let why = match pulls.as_str() {
        "" => "without a reviewed plan".to_owned(),
        pulls => format!("unlike in the reviewed plan of {pulls}"),
    };
    // The command first: hosts cut what is long.
    format!("waits for `driftless approve {app}` (see `driftless plan`): {why} {}{more}", named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::Identity;
    use crate::object::{Digest, Gk, ObjectKey};

    fn removal(name: &str, replaced: bool) -> Removal {
        Removal { object: ObjectKey::new(&Gk::new("", "ConfigMap"), Some("shop"), name).with_version("v1"), replaced }
    }

    fn review(pull: u64, removes: Vec<Removal>) -> Review {
        Review { pull, head: "a".repeat(40), digest: Digest::of_bytes(b"x"), removes }
    }

    #[test]
    fn the_words_name_the_objects_and_the_plan() {
        let (one, two) = (removal("a", false), removal("b", true));
        assert_eq!(
            reason(&[&one], &[], "web"),
            "waits for `driftless approve web` (see `driftless plan`): without a reviewed plan ConfigMap shop/a would be deleted"
        );
        let plan = review(7, Vec::new());
        let said = reason(&[&one, &two, &one, &two], &[&plan], "web");
        assert!(said.contains("ConfigMap shop/b would be replaced") && said.contains("(and 1 more)"), "{said}");
        assert!(said.contains("unlike in the reviewed plan of #7"), "{said}");
    }

    #[test]
    fn a_pull_request_has_one_review_and_the_newest_are_kept() {
        let text = String::new;
        let identity = Identity { instance: text(), repository: text(), path_root: text(), app: text() };
        let mut parent = Parent::new(identity, "a");
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
}
