//! Edges against waves, and cycles.

use super::edge::{Edge, Strength};

/// Positions of objects that wait for each other, in a circle (the first is not repeated).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cycle(pub Vec<usize>);

/// Waves that count: a Namespace or CRD is as early as the earliest object that needs it.
pub fn effective_waves(edges: &[Edge], waves: &[i32]) -> Vec<i32> {
    let mut out = waves.to_vec();
    // A custom resource needs both; a CRD needs no namespace: one pass settles it.
    for edge in edges.iter().filter(|edge| edge.strength == Strength::Hard) {
        if let (Some(from), Some(to)) = (waves.get(edge.from), out.get_mut(edge.to)) {
            *to = (*to).min(*from);
        }
    }
    out
}

/// Drops the guesses that waves overrule, and those that a person's word overrules.
///
/// # Errors
/// The members of a cycle.
pub fn consistent(edges: &[Edge], waves: &[i32]) -> Result<Vec<Edge>, Cycle> {
    let wave = |i: usize| waves.get(i).copied().unwrap_or_default();
    let mut out = Vec::with_capacity(edges.len());
    for edge in edges {
        let against = wave(edge.to) > wave(edge.from);
        match edge.strength {
            Strength::Soft if against => {}
            Strength::Firm if against => return Err(Cycle(vec![edge.from, edge.to])),
            _ => out.push(edge.clone()),
        }
    }
    match find(waves.len(), &out) {
        None => Ok(out),
        Some(cycle) => Err(cycle),
    }
}

/// Some cycle, if there is one: always the same for the same edges.
pub fn find(count: usize, edges: &[Edge]) -> Option<Cycle> {
    let mut next: Vec<Vec<usize>> = vec![Vec::new(); count];
    for edge in edges {
        next.get_mut(edge.from)?.push(edge.to);
    }
    // 0 unseen, 1 on the path, 2 done.
    let mut state = vec![0_u8; count];
    for start in 0..count {
        if state[start] != 0 {
            continue;
        }
        let mut path = vec![(start, 0_usize)];
        state[start] = 1;
        while let Some((node, at)) = path.last_mut() {
            let Some(&to) = next[*node].get(*at) else {
                state[*node] = 2;
                path.pop();
                continue;
            };
            *at += 1;
            match state.get(to) {
                Some(0) => {
                    state[to] = 1;
                    path.push((to, 0));
                }
                Some(1) => {
                    let members = path.iter().map(|(node, _)| *node).skip_while(|node| *node != to);
                    return Some(Cycle(members.collect()));
                }
                _ => {}
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(from: usize, to: usize, strength: Strength) -> Edge {
        Edge { from, to, why: "", strength, while_written: false }
    }

    #[test]
    fn cycles_and_waves() {
        use Strength::{Firm, Hard, Soft};
        let ring = [edge(0, 1, Soft), edge(1, 2, Firm), edge(2, 0, Soft), edge(3, 0, Soft)];
        assert_eq!(consistent(&ring, &[0; 4]), Err(Cycle(vec![0, 1, 2])));
        assert_eq!(consistent(&ring[..2], &[0; 4]).map(|edges| edges.len()), Ok(2));
        assert_eq!(consistent(&[edge(0, 1, Soft)], &[0, 1]), Ok(vec![]), "waves overrule a guess");
        assert_eq!(consistent(&[edge(0, 1, Firm)], &[0, 1]), Err(Cycle(vec![0, 1])));
        assert_eq!(effective_waves(&[edge(0, 1, Hard)], &[-1, 5]), [-1, -1]);
    }
}
