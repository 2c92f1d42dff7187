//! Which node gets a signal for a stage: a pure function of what the nodes say.

use crate::NodeState;

/// A linked node that carries the stage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Candidate {
    /// Its standing.
    pub(crate) state: NodeState,
    /// What it says it has to do.
    pub(crate) load: f32,
    /// What this node has sent it and not heard the end of: newer than what it says.
    pub(crate) unfinished: usize,
}

/// The node of choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The candidate at this index.
    Peer(usize),
    /// This node.
    Here,
    /// There is none.
    Nowhere,
}

/// Chooses a node: of the joined candidates the less loaded of two random ones; if there is
/// none, this node if it carries the stage; then a candidate that may refuse. O(candidates).
///
/// Two random choices spread nearly as evenly as asking all nodes, and unlike "the least loaded"
/// they do not send everybody to one node while its figures are old (Mitzenmacher, "The Power of
/// Two Choices in Randomized Load Balancing", 2001).
pub(crate) fn choose(candidates: &[Candidate], is_here: bool, rng: &mut fastrand::Rng) -> Choice {
    let standing = |wanted: u8| {
        let all = candidates.iter().enumerate();
        all.filter(move |(_, candidate)| rank(candidate.state) == Some(wanted))
    };
    if let Some(index) = less_loaded_of_two(standing(0), rng) {
        return Choice::Peer(index);
    }
    if is_here {
        return Choice::Here;
    }
    (1..=2)
        .find_map(|rank| less_loaded_of_two(standing(rank), rng))
        .map_or(Choice::Nowhere, Choice::Peer)
}

/// The order in which standings are tried; a node that is leaving is never asked.
fn rank(state: NodeState) -> Option<u8> {
    match state {
        NodeState::Joined => Some(0),
        NodeState::Held | NodeState::Probing => Some(1),
        NodeState::Draining | NodeState::Isolated => Some(2),
        NodeState::Leaving => None,
    }
}

fn less_loaded_of_two<'a>(
    candidates: impl Iterator<Item = (usize, &'a Candidate)> + Clone,
    rng: &mut fastrand::Rng,
) -> Option<usize> {
    let count = candidates.clone().count();
    let first = rng.usize(0..count.max(1));
    let other = rng.usize(0..count.saturating_sub(1).max(1));
    let second = if other >= first { other + 1 } else { other };
    let nth = |index: usize| candidates.clone().nth(index);
    let (a, b) = (nth(first)?, nth(second));
    let weight = |candidate: &Candidate| (candidate.load, candidate.unfinished);
    match b {
        Some(b) if weight(b.1) < weight(a.1) => Some(b.0),
        _ => Some(a.0),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn node(state: NodeState, load: f32, unfinished: usize) -> Candidate {
        Candidate { state, load, unfinished }
    }

    fn any_node() -> impl Strategy<Value = Candidate> {
        let states = prop::sample::select(vec![
            NodeState::Joined,
            NodeState::Held,
            NodeState::Draining,
            NodeState::Isolated,
            NodeState::Probing,
            NodeState::Leaving,
        ]);
        (states, 0..4u8, 0..3usize).prop_map(|(state, load, n)| node(state, load.into(), n))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn the_choice_keeps_the_order_of_standings(
            nodes in prop::collection::vec(any_node(), 0..6),
            is_here: bool,
            seed: u64,
        ) {
            let joined = nodes.iter().filter(|node| node.state == NodeState::Joined);
            let (joined, all) = (joined.count(), nodes.len());
            let leaving = nodes.iter().filter(|node| node.state == NodeState::Leaving).count();
            match choose(&nodes, is_here, &mut fastrand::Rng::with_seed(seed)) {
                Choice::Peer(index) if joined > 0 => {
                    prop_assert_eq!(nodes[index].state, NodeState::Joined);
                }
                Choice::Peer(index) => {
                    prop_assert!(!is_here && nodes[index].state != NodeState::Leaving);
                }
                Choice::Here => prop_assert!(is_here && joined == 0),
                Choice::Nowhere => prop_assert!(!is_here && leaving == all),
            }
        }

        #[test]
        fn of_several_joined_nodes_the_most_loaded_is_never_chosen(
            loads in prop::collection::vec(0..100u8, 1..6),
            seed: u64,
        ) {
            let heaviest = f32::from(*loads.iter().max().unwrap()) + 1.0;
            let mut nodes: Vec<_> =
                loads.iter().map(|load| node(NodeState::Joined, (*load).into(), 0)).collect();
            nodes.push(node(NodeState::Joined, heaviest, 0));
            let choice = choose(&nodes, true, &mut fastrand::Rng::with_seed(seed));
            prop_assert_ne!(choice, Choice::Peer(nodes.len() - 1));
        }
    }

    #[test]
    fn equal_nodes_share_the_work() {
        let nodes = [node(NodeState::Joined, 0.0, 0); 4];
        let mut rng = fastrand::Rng::with_seed(7);
        let mut hits = [0; 4];
        for _ in 0..4000 {
            let Choice::Peer(index) = choose(&nodes, true, &mut rng) else { panic!("no peer") };
            hits[index] += 1;
        }
        assert!(hits.iter().all(|hits| (800..1200).contains(hits)), "{hits:?}");
    }

    #[test]
    fn with_equal_loads_the_node_that_owes_fewer_answers_is_chosen() {
        let nodes = [node(NodeState::Joined, 1.0, 9), node(NodeState::Joined, 1.0, 2)];
        for seed in 0..32 {
            let choice = choose(&nodes, true, &mut fastrand::Rng::with_seed(seed));
            assert_eq!(choice, Choice::Peer(1));
        }
    }
}
