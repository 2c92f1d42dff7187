//! What the peers say of themselves, as the route control needs it.

use std::collections::HashMap;
use std::time::Duration;

use stage_route::{Peer, State};
use stage_signal::PeerView;
use tokio::time::Instant;

/// Remembers when peers left.
#[derive(Default)]
pub(crate) struct Gossip {
    left: HashMap<String, Instant>,
}

impl Gossip {
    /// The live peers.
    pub(crate) fn peers(&mut self, views: &[PeerView], now: Instant) -> Vec<Peer> {
        let live: Vec<_> = views.iter().filter_map(|view| Some((view, state_of(view)?))).collect();
        self.left.retain(|name, _| {
            live.iter().any(|(view, state)| *view.name == **name && !state.is_joined())
        });
        live.into_iter().map(|(view, state)| self.peer(view, state, now)).collect()
    }

    fn peer(&mut self, view: &PeerView, state: State, now: Instant) -> Peer {
        let left_ago: Option<Duration> = (!state.is_joined())
            .then(|| now - *self.left.entry(view.name.to_string()).or_insert(now));
        Peer {
            name: view.name.to_string(),
            state,
            utilisation: view.utilisation.into(),
            age: view.age,
            left_ago,
        }
    }
}

/// The standing of a live peer; one that is not linked, or stops for good, is none.
fn state_of(view: &PeerView) -> Option<State> {
    let states = [State::Joined, State::Held, State::Draining, State::Isolated, State::Probing];
    states.into_iter().find(|state| state.as_str() == view.state)
}
