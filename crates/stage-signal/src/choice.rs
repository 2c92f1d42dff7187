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

/// Chooses a node: of the candidates in the mesh the less loaded of two random ones; of this node's own (`here`) if it
/// carries the stage and is joined, and they all are past their limits; if none is in the mesh, this node whatever its
/// standing; else one that refuses for certain. O(candidates).
///
/// What is held or probing is chosen like what is joined, and refuses at its door what it has no room for. If those
/// that are joined were preferred, all would send to the same few until these are held in turn, and the others would have
/// nothing to do meanwhile.
///
/// What comes home is never refused. If a node that is past its limit itself brought home what it sends as soon as its
/// peers are past theirs, nobody would shed any of it, and an overload of all would end in a collapse of all.
///
/// Two random choices spread nearly as evenly as asking all nodes, and unlike "the least loaded"
/// they do not send everybody to one node while its figures are old (Mitzenmacher, "The Power of
/// Two Choices in Randomized Load Balancing", 2001).
pub(crate) fn choose(
    candidates: &[Candidate],
    here: Option<NodeState>,
    rng: &mut fastrand::Rng,
) -> Choice {
    let is_any_joined = candidates.iter().any(|candidate| candidate.state == NodeState::Joined);
    if here == Some(NodeState::Joined) && !is_any_joined {
        return Choice::Here;
    }
    let mut peer = |wanted| less_loaded_of_two(candidates, |rank| rank == wanted, rng);
    match (peer(0), here) {
        (Some(index), _) => Choice::Peer(index),
        (None, Some(_)) => Choice::Here,
        (None, None) => peer(1).map_or(Choice::Nowhere, Choice::Peer),
    }
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
    here: Option<NodeState>,
    rng: &mut fastrand::Rng,
) -> Choice {
    let takes = |candidate: &Candidate| match here {
        Some(NodeState::Joined) => candidate.state == NodeState::Joined,
        _ => rank(candidate.state) == Some(0),
    };
    if here.is_some() && !candidates.iter().any(takes) {
        return Choice::Here;
    }
    less_loaded_of_two(candidates, |_| true, rng).map_or(Choice::Nowhere, Choice::Peer)
}

/// The order in which standings are tried; a node that is leaving is never asked.
fn rank(state: NodeState) -> Option<u8> {
    match state {
        NodeState::Joined | NodeState::Held | NodeState::Probing => Some(0),
        NodeState::Draining | NodeState::Isolated => Some(1),
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
            here in prop::option::of(any_node()),
            seed: u64,
        ) {
            let here = here.map(|node| node.state);
            let best = nodes.iter().filter_map(|node| rank(node.state)).min();
            let is_any_joined = nodes.iter().any(|node| node.state == NodeState::Joined);
            match choose(&nodes, here, &mut fastrand::Rng::with_seed(seed)) {
                Choice::Peer(index) => {
                    prop_assert_eq!(rank(nodes[index].state), best);
                    prop_assert!(here != Some(NodeState::Joined) || is_any_joined);
                    prop_assert!(here.is_none() || best == Some(0));
                }
                Choice::Here if here == Some(NodeState::Joined) => prop_assert!(!is_any_joined),
                Choice::Here => prop_assert!(here.is_some() && best != Some(0)),
                Choice::Nowhere => prop_assert!(here.is_none() && best.is_none()),
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
            let choice = choose(&nodes, Some(NodeState::Joined), &mut fastrand::Rng::with_seed(seed));
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
            match choose_any(&nodes, here, &mut fastrand::Rng::with_seed(seed)) {
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
            let Choice::Peer(index) = choose_any(&nodes, Some(NodeState::Joined), &mut rng) else {
                panic!("no peer")
            };
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
            let Choice::Peer(index) = choose(&nodes, Some(NodeState::Joined), &mut rng) else {
                panic!("no peer")
            };
            hits[index] += 1;
        }
        assert!(hits.iter().all(|hits| (800..1200).contains(hits)), "{hits:?}");
    }

    #[test]
    fn with_equal_loads_the_node_that_owes_fewer_answers_is_chosen() {
        let nodes = [node(NodeState::Joined, 1.0, 9), node(NodeState::Joined, 1.0, 2)];
        for seed in 0..32 {
            let choice =
                choose(&nodes, Some(NodeState::Joined), &mut fastrand::Rng::with_seed(seed));
            assert_eq!(choice, Choice::Peer(1));
        }
    }
}
