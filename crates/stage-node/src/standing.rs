use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use stage_route::{Route, State};
use stage_signal::{Advert, Failure, Gate, NodeState, Reason};

/// What the node says of itself to its peers, and whether it takes their work.
pub(crate) struct Standing {
    route: Route,
    load: AtomicU32,
    stopping: AtomicBool,
}

impl Standing {
    pub(crate) fn new(route: Route) -> Self {
        Self { route, load: AtomicU32::new(0), stopping: AtomicBool::new(false) }
    }

    /// Messages that wait or run, per VM.
    pub(crate) fn set_load(&self, load: f32) {
        self.load.store(load.to_bits(), Ordering::Relaxed);
    }

    /// From here on the node takes no work of others.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

impl Gate for Standing {
    fn admit(&self) -> Result<(), Failure> {
        if self.is_stopping() {
            return Err(Failure::new(Reason::Stopping, "the node is stopping"));
        }
        self.route
            .admit_remote()
            .map_err(|refused| Failure::new(Reason::Refused, refused.to_string()))
    }

    fn advert(&self) -> Advert {
        let (state, utilisation) = self.route.standing();
        Advert {
            state: if self.is_stopping() { NodeState::Leaving } else { to_node_state(state) },
            load: f32::from_bits(self.load.load(Ordering::Relaxed)),
            utilisation: utilisation as f32,
        }
    }
}

fn to_node_state(state: State) -> NodeState {
    match state {
        State::Joined => NodeState::Joined,
        State::Held => NodeState::Held,
        State::Draining => NodeState::Draining,
        State::Isolated => NodeState::Isolated,
        State::Probing => NodeState::Probing,
    }
}
