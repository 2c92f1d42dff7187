use std::fmt;

use stage_proto::signal::v1 as proto;

use crate::Failure;

/// Decides on remote work and tells what the peers hear of this node.
///
/// Local signals do not pass it. Both calls are made often and from network tasks: they must be
/// cheap and must not block.
pub trait Gate: Send + Sync {
    /// Whether a remote signal may come in, asked before its arguments are decoded.
    ///
    /// # Errors
    /// The failure that the sender gets; [`Reason::Refused`](crate::Reason::Refused) lets it
    /// try another node.
    fn admit(&self) -> Result<(), Failure>;

    /// What this node says of itself.
    fn advert(&self) -> Advert;
}

/// What a node says of itself on every frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Advert {
    /// Whether it takes work of others.
    pub state: NodeState,
    /// Messages that wait or run, per worker.
    pub load: f32,
    /// Busy share of its workers, 0 to 1.
    pub utilisation: f32,
}

/// A node's standing in the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NodeState {
    /// It takes work.
    Joined,
    /// It sheds what is too much at its door but has not left.
    Held,
    /// It takes no more work and finishes what it has.
    Draining,
    /// It works on its own queue only.
    Isolated,
    /// It tries whether it can take work again.
    Probing,
    /// It stops for good.
    Leaving,
}

impl NodeState {
    const ALL: [Self; 6] =
        [Self::Joined, Self::Held, Self::Draining, Self::Isolated, Self::Probing, Self::Leaving];

    /// The name that people see.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Held => "held",
            Self::Draining => "draining",
            Self::Isolated => "isolated",
            Self::Probing => "probing",
            Self::Leaving => "leaving",
        }
    }

    fn to_proto(self) -> proto::NodeState {
        match self {
            Self::Joined => proto::NodeState::Joined,
            Self::Held => proto::NodeState::Held,
            Self::Draining => proto::NodeState::Draining,
            Self::Isolated => proto::NodeState::Isolated,
            Self::Probing => proto::NodeState::Probing,
            Self::Leaving => proto::NodeState::Leaving,
        }
    }

    fn from_proto(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.to_proto() as i32 == number)
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Advert {
    /// A node that takes work and has none.
    pub const IDLE: Self = Self { state: NodeState::Joined, load: 0.0, utilisation: 0.0 };

    pub(crate) fn to_proto(self) -> proto::Advert {
        proto::Advert {
            state: self.state.to_proto().into(),
            load: self.load,
            utilisation: self.utilisation,
        }
    }

    /// What a peer says, made safe to compare. A state that this version does not know counts
    /// as isolated: such a peer gets no work.
    pub(crate) fn from_proto(advert: proto::Advert) -> Self {
        let load = if advert.load.is_finite() { advert.load.max(0.0) } else { f32::MAX };
        let busy = if advert.utilisation.is_nan() { 1.0 } else { advert.utilisation };
        Self {
            state: NodeState::from_proto(advert.state).unwrap_or(NodeState::Isolated),
            load,
            utilisation: busy.clamp(0.0, 1.0),
        }
    }
}

/// A gate that admits everything and says that the node is joined and idle.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenGate;

impl Gate for OpenGate {
    fn admit(&self) -> Result<(), Failure> {
        Ok(())
    }

    fn advert(&self) -> Advert {
        Advert::IDLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_survives_the_wire() {
        for state in NodeState::ALL {
            let advert = Advert { state, load: 2.5, utilisation: 0.5 };
            assert_eq!(Advert::from_proto(advert.to_proto()), advert);
        }
    }

    #[test]
    fn a_hostile_advert_cannot_attract_work() {
        let advert = proto::Advert { state: 77, load: f32::NAN, utilisation: -3.0 };
        let heard = Advert::from_proto(advert);
        assert_eq!(heard.state, NodeState::Isolated);
        assert_eq!((heard.load, heard.utilisation), (f32::MAX, 0.0));
        let negative = proto::Advert { state: 1, load: -9.0, utilisation: f32::NAN };
        assert_eq!(Advert::from_proto(negative).load, 0.0);
    }
}
