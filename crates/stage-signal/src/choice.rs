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
    if let Some(index) = less_loaded_of_two(candidates, |rank| rank == 0, rng) {
        return Choice::Peer(index);
    }
    if is_here {
        return Choice::Here;
    }
    (1..=2)
        .find_map(|wanted| less_loaded_of_two(candidates, |rank| rank == wanted, rng))
        .map_or(Choice::Nowhere, Choice::Peer)
}

/// Whether fewer than half of the nodes that carry the stage, this one (`here`) included if it does, are in
/// the mesh.
///
/// Nodes guard that half of them stay, so what this node knows must then be old, or a fault of all
/// at once; and the few that are left must not get the work of all. Envoy calls this the panic
/// threshold and has it at half as well. A node that is held has not left. O(candidates).
pub(crate) fn is_panic(candidates: &[Candidate], here: Option<NodeState>) -> bool {
    let is_in = |state: NodeState| matches!(state, NodeState::Joined | NodeState::Held);
    let states = || candidates.iter().map(|candidate| candidate.state).chain(here);
    states().filter(|state| is_in(*state)).count() * 2 < states().count()
}

/// Chooses in a panic: as [`choose`] does, but whatever the candidates' standing, unless they stop for good. A node
/// that refuses costs one retry, which does not panic. O(candidates).
pub(crate) fn choose_any(
    candidates: &[Candidate],
    is_here: bool,
    rng: &mut fastrand::Rng,
) -> Choice {
    let is_any_joined = candidates.iter().any(|candidate| candidate.state == NodeState::Joined);
    if is_here && !is_any_joined {
        return Choice::Here;
    }
    less_loaded_of_two(candidates, |_| true, rng).map_or(Choice::Nowhere, Choice::Peer)
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

fn less_loaded_of_two(
    candidates: &[Candidate],
    is_wanted: impl Fn(u8) -> bool,
    rng: &mut fastrand::Rng,
) -> Option<usize> {
    let equals = || {
        let all = candidates.iter().enumerate();
        all.filter(|(_, candidate)| rank(candidate.state).is_some_and(&is_wanted))
    };
    let count = equals().count();
    let first = rng.usize(0..count.max(1));
    let other = rng.usize(0..count.saturating_sub(1).max(1));
    let second = if other >= first { other + 1 } else { other };
    let (a, b) = (equals().nth(first)?, equals().nth(second));
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

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn a_panic_is_fewer_than_half_and_spares_only_those_that_stop(
            nodes in prop::collection::vec(any_node(), 0..6),
            here in prop::option::of(any_node()),
            seed: u64,
        ) {
            let here = here.map(|node| node.state);
            let states: Vec<_> = nodes.iter().map(|node| node.state).chain(here).collect();
            let out = states.iter().filter(|state| !["joined", "held"].contains(&state.as_str()));
            prop_assert_eq!(is_panic(&nodes, here), out.count() > states.len() / 2);
            let joined = nodes.iter().filter(|node| node.state == NodeState::Joined).count();
            match choose_any(&nodes, here.is_some(), &mut fastrand::Rng::with_seed(seed)) {
                Choice::Peer(index) => prop_assert_ne!(nodes[index].state, NodeState::Leaving),
                Choice::Here => prop_assert!(here.is_some() && joined == 0),
                Choice::Nowhere => {
                    prop_assert!(nodes.iter().all(|node| node.state == NodeState::Leaving));
                }
            }
        }
    }

    #[test]
    fn in_a_panic_the_few_that_are_joined_get_their_share_and_no_more() {
        let mut nodes = [node(NodeState::Isolated, 0.0, 0); 4];
        nodes[0].state = NodeState::Joined;
        let mut rng = fastrand::Rng::with_seed(7);
        let mut hits = [0; 4];
        for _ in 0..4000 {
            let Choice::Peer(index) = choose_any(&nodes, true, &mut rng) else { panic!("no peer") };
            hits[index] += 1;
        }
        assert!(hits.iter().all(|hits| (800..1200).contains(hits)), "{hits:?}");
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
