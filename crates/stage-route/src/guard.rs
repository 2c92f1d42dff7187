use std::time::Duration;

use crate::{State, Tuning};

/// What a peer says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Peer {
    /// Its name, which orders nodes that leave or rejoin at the same time.
    pub name: String,
    /// Its standing, as its [`View::advert`](crate::View::advert) says.
    pub state: State,
    /// Busy share of the workers of its busiest queue, 0 to 1.
    pub utilisation: f64,
    /// How old that is, as far as known.
    pub age: Duration,
    /// How long ago it left, if it is not joined and the time is known.
    pub left_ago: Option<Duration>,
}

/// What is older is not counted on: its node may have left since. A node says that it is held six
/// windows before it leaves; so late, two that would leave at once still hear of each other.
const FRESH: Duration = Duration::from_millis(300);

/// Whether the others can do without the node `own`, or why not. `own_load` is the busy share that
/// peers' messages cause here.
///
/// Without it, a node that leaves moves its load to the next, which leaves in turn, until nobody is
/// left: overload becomes an outage.
///
/// Several nodes may ask in the same window. Each has said for several windows that it is held, and
/// each counts the held peers of a lower name as gone: the one of the highest name among those that
/// leave has then counted all the others, so the floor holds for any set of them.
pub(crate) fn may_leave(
    tuning: &Tuning,
    own: &str,
    peers: &[Peer],
    own_load: f64,
) -> Result<(), &'static str> {
    let joined = || peers.iter().filter(|peer| peer.state.is_joined() && peer.age <= FRESH);
    let staying =
        || joined().filter(|peer| peer.state == State::Joined || peer.name.as_str() > own);
    if staying().count() < needed(tuning, peers) || joined().next().is_none() {
        return Err("too few others are joined");
    }
    if peers.iter().any(|peer| peer.left_ago.is_some_and(|ago| ago < tuning.apart)) {
        return Err("another node has just left");
    }
    let load: f64 = joined().map(|peer| peer.utilisation).sum::<f64>() + own_load;
    // A load that is no number is none that they could carry.
    if load.is_nan() || load > tuning.fill * joined().count() as f64 {
        return Err("the others cannot carry its load");
    }
    Ok(())
}

/// Whether a node that has left must come back at once: too few are joined, and of those that left
/// its name is among the first.
pub(crate) fn must_rejoin(tuning: &Tuning, own: &str, peers: &[Peer]) -> bool {
    let joined = peers.iter().filter(|peer| peer.state.is_joined()).count();
    let missing = needed(tuning, peers).saturating_sub(joined);
    let before = peers.iter().filter(|peer| !peer.state.is_joined() && peer.name.as_str() < own);
    before.count() < missing
}

/// How many of the live nodes, this one included, must be joined.
fn needed(tuning: &Tuning, peers: &[Peer]) -> usize {
    // At most a million nodes: exact.
    (tuning.floor * (peers.len() + 1) as f64).ceil() as usize
}
