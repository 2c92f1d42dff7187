use std::fmt;
use std::time::Duration;

/// A node's standing in the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// It takes work of others.
    Joined,
    /// It is past its threshold, but its leaving would only move the load: it sheds at the door.
    Held,
    /// It refuses new work of others and finishes what it accepted.
    Draining,
    /// It works on its own queue only.
    Isolated,
    /// It takes a little work of others to see whether it can take all.
    Probing,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Joined, Self::Held, Self::Draining, Self::Isolated, Self::Probing];

    /// The name that people see.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Held => "held",
            Self::Draining => "draining",
            Self::Isolated => "isolated",
            Self::Probing => "probing",
        }
    }

    /// Whether the node counts as part of the mesh.
    #[must_use]
    pub fn is_joined(self) -> bool {
        matches!(self, Self::Joined | Self::Held)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a node knows of its own delay.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Its standing.
    pub state: State,
    /// How long it has been in that state, up to the last window.
    pub since: Duration,
    /// The delay past which it is in its critical region.
    pub threshold: Duration,
    /// What one message costs when the node is calm.
    pub baseline: Duration,
    /// The delay of its slowest queue in the last window.
    pub delay: Duration,
    /// The queue that had it; empty if none was delayed.
    pub slowest: String,
    /// Busy share of the workers of its busiest queue, 0 to 1.
    pub utilisation: f64,
    /// How many workers computed in the last window, on average, as far as their messages have ended.
    pub computing: f64,
    /// The share of others' work that it takes, 0 to 1.
    pub credit: f64,
    /// A message of a peer that waited longer is refused where it would be started; `None` while
    /// all are finished, as long as the node is not delayed, and until it has learned what its own
    /// messages cost.
    pub late: Option<Duration>,
    /// Whether it is past a third of its patience.
    pub is_asking: bool,
    /// Leaves that are not made up for yet: each doubles the time away.
    pub failures: u32,
    /// How often it has left.
    pub leaves: u64,
    /// Why it is in its state.
    pub reason: String,
}

impl View {
    /// The standing to tell peers: a joined node says that it is held as soon as it may ask to leave
    /// soon, so that nodes which ask in the same window know of each other.
    #[must_use]
    pub fn advert(&self) -> State {
        match self.state {
            State::Joined if self.is_asking => State::Held,
            state => state,
        }
    }
}
