//! The four scores. In: fractions or amounts. Out: a number; never NaN, never infinite, never negative.
//!
//! f, g and i are harmonic: `1 / Σ (1/xᵢ)`. The smallest part dominates, one part of zero makes the whole zero, and
//! one part more never raises the score. Invariant: the result is at most the smallest part.

/// `1 / Σ (1/xᵢ)`. Zero where any part is zero, negative or no number; `None` where there are no parts.
fn harmonic(parts: &[f64]) -> Option<f64> {
    if parts.is_empty() {
        return None;
    }
    if parts.iter().any(|part| !part.is_finite() || *part <= 0.0) {
        return Some(0.0);
    }
    let sum: f64 = parts.iter().map(|part| part.recip()).sum();
    // Parts so small that their reciprocals overflow are zero for every purpose.
    Some(if sum.is_finite() { sum.recip() } else { 0.0 })
}

/// At most 1 each. What is no number stays none (`f64::min` would make it 1).
fn bounded(parts: &[f64]) -> Vec<f64> {
    parts.iter().map(|part| if *part > 1.0 { 1.0 } else { *part }).collect()
}

/// f: the score of a node for a pod. `free` is the free fraction (0 to 1) of each resource after placement: the
/// scarcest one dominates. No resource at all leaves everything free: 1. Full in any: 0.
pub fn node(free: &[f64]) -> f64 {
    harmonic(&bounded(free)).unwrap_or(1.0)
}

/// g: the score of a cluster for an app, from the score of the node that each of its pods would get. The cluster with
/// the highest one wins a placement. An app without pods fits everywhere: 1. A pod that fits nowhere scores 0, and so
/// does the cluster.
///
/// More pods lower it: compare clusters for the same app, not apps with each other.
pub fn cluster(nodes: &[f64]) -> f64 {
    harmonic(nodes).unwrap_or(1.0)
}

/// h: the allocation ratio `r / s`, requested over supplied, in the same unit. 1 is full, above 1 overcommitted.
/// Nothing requested of nothing is 0; something requested of nothing is 1: there is no room, and no way to say how far
/// beyond.
pub fn allocation(requested: f64, supplied: f64) -> f64 {
    if !requested.is_finite() || requested <= 0.0 {
        0.0
    } else if !supplied.is_finite() || supplied <= 0.0 {
        1.0
    } else {
        requested / supplied
    }
}

/// i: the monitoring score of an app, from the ready fraction (0 to 1) of each of its workloads, divided by its value
/// at full readiness (`1/n`), so that 1 means all ready. No workload: 1. One workload with nothing ready: 0.
pub fn monitoring(ready: &[f64]) -> f64 {
    harmonic(&bounded(ready)).map_or(1.0, |score| (score * ready.len() as f64).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn node_scores() {
        assert!(close(node(&[]), 1.0));
        assert!(close(node(&[0.5]), 0.5));
        assert!(close(node(&[0.5, 0.5]), 0.25));
        assert!(close(node(&[1.0, 0.1]), 1.0 / 11.0));
        assert!(close(node(&[0.9, 0.0]), 0.0));
        assert!(close(node(&[0.9, -0.1]), 0.0));
        assert!(close(node(&[0.9, f64::NAN]), 0.0));
        assert!(close(node(&[f64::MIN_POSITIVE / 4.0]), 0.0));
        assert!(close(node(&[7.0]), 1.0));
    }

    #[test]
    fn a_balanced_node_beats_a_lopsided_one() {
        assert!(node(&[0.5, 0.5]) > node(&[0.9, 0.1]));
    }

    #[test]
    fn cluster_scores() {
        assert!(close(cluster(&[]), 1.0));
        assert!(close(cluster(&[0.25]), 0.25));
        assert!(close(cluster(&[0.25, 0.25]), 0.125));
        assert!(close(cluster(&[0.5, 0.0]), 0.0));
    }

    #[test]
    fn allocation_ratios() {
        for (requested, supplied, expected) in
            [(0.0, 4.0, 0.0), (1.0, 4.0, 0.25), (4.0, 4.0, 1.0), (6.0, 4.0, 1.5), (0.0, 0.0, 0.0), (1.0, 0.0, 1.0)]
        {
            assert!(close(allocation(requested, supplied), expected), "{requested}/{supplied}");
        }
        assert!(close(allocation(f64::NAN, 1.0), 0.0));
    }

    #[test]
    fn monitoring_scores() {
        assert!(close(monitoring(&[]), 1.0));
        assert!(close(monitoring(&[1.0, 1.0, 1.0]), 1.0));
        assert!(close(monitoring(&[1.0, 0.0]), 0.0));
        assert!(close(monitoring(&[0.5]), 0.5));
        assert!(close(monitoring(&[1.0, 0.5]), 2.0 / 3.0));
    }

    proptest! {
        #[test]
        fn scores_are_bounded(parts in prop::collection::vec(0.0..=1.0f64, 1..8)) {
            let least = parts.iter().copied().fold(1.0, f64::min);
            for score in [node(&parts), cluster(&parts)] {
                prop_assert!(score >= 0.0 && score <= least + 1e-12);
            }
            let score = monitoring(&parts);
            prop_assert!((0.0..=1.0).contains(&score));
        }

        #[test]
        fn more_headroom_is_never_worse(parts in prop::collection::vec(0.0..=1.0f64, 1..8), at in 0usize..8, more in 0.0..=1.0f64) {
            let mut better = parts.clone();
            let at = at % better.len();
            better[at] = better[at].max(more);
            prop_assert!(node(&better) >= node(&parts) - 1e-12);
            prop_assert!(cluster(&better) >= cluster(&parts) - 1e-12);
            prop_assert!(monitoring(&better) >= monitoring(&parts) - 1e-12);
        }

        #[test]
        fn order_does_not_matter(parts in prop::collection::vec(0.0..=1.0f64, 1..8)) {
            let mut reversed = parts.clone();
            reversed.reverse();
            prop_assert!((node(&parts) - node(&reversed)).abs() < 1e-9);
            prop_assert!((monitoring(&parts) - monitoring(&reversed)).abs() < 1e-9);
        }

        #[test]
        fn one_pod_more_never_raises_a_cluster(parts in prop::collection::vec(0.0..=1.0f64, 0..8), one in 0.0..=1.0f64) {
            let mut more = parts.clone();
            more.push(one);
            prop_assert!(cluster(&more) <= cluster(&parts) + 1e-12);
        }
    }
}
