use std::time::Duration;

use crate::State;

/// What a peer says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Peer {
    /// Its name, which orders nodes that rejoin.
    pub name: String,
    /// Its standing.
    pub state: State,
    /// Busy share of its workers, 0 to 1.
    pub utilisation: f64,
    /// How long ago it left, if it is not joined and the time is known.
    pub left_ago: Option<Duration>,
}

/// The busy share up to which peers may be filled by what a leaving node no longer takes.
const FILL: f64 = 0.9;

/// Two nodes do not leave within two rounds of gossip: the second could not know of the first.
const APART: Duration = Duration::from_millis(200);

/// Whether the others can do without this node, or why not.
///
/// Without it, a node that leaves moves its load to the next, which leaves in turn, until nobody is
/// left: overload becomes an outage.
pub(crate) fn may_leave(peers: &[Peer], own_utilisation: f64) -> Result<(), &'static str> {
    let joined: Vec<_> = peers.iter().filter(|peer| peer.state.is_joined()).collect();
    if joined.len() < needed(peers.len() + 1) {
        return Err("too few others are joined");
    }
    if peers.iter().any(|peer| peer.left_ago.is_some_and(|ago| ago < APART)) {
        return Err("another node has just left");
    }
    let load: f64 = joined.iter().map(|peer| peer.utilisation).sum::<f64>() + own_utilisation;
    if load > FILL * joined.len() as f64 {
        return Err("the others cannot carry its load");
    }
    Ok(())
}

/// Whether a node that has left must come back at once: too few are joined, and of those that left
/// its name is the first.
pub(crate) fn must_rejoin(own: &str, peers: &[Peer]) -> bool {
    let joined = peers.iter().filter(|peer| peer.state.is_joined()).count();
    let missing = needed(peers.len() + 1).saturating_sub(joined);
    let before = peers.iter().filter(|peer| !peer.state.is_joined() && peer.name.as_str() < own);
    before.count() < missing
}

/// How many of so many live nodes must be joined: half, rounded up.
fn needed(nodes: usize) -> usize {
    nodes.div_ceil(2)
}
