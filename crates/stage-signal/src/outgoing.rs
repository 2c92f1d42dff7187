use std::sync::Arc;
use std::time::Duration;

use stage_value::{Id, MessageId, Value};

use crate::Trace;

/// A signal to send.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Which stages get it.
    pub destination: Destination,
    /// Which handler there.
    pub message: MessageId,
    /// What it is called with. Moved, not encoded, if the stage is on this node.
    pub args: Vec<Value>,
    /// The stage that sends.
    pub origin_stage: Arc<str>,
    /// Whether the results should travel back; the end is always reported.
    pub wants_results: bool,
    /// Whether running it twice does no harm. Then, and only then, it is sent once more to another node if the
    /// link breaks while it is unknown whether it ran. Without meaning for [`Destination::Every`] and its like, whose
    /// nodes all have it already.
    pub idempotent: bool,
    /// How long to wait for the end; `None` waits for as long as the link lives.
    pub timeout: Option<Duration>,
    /// The step of a trace that sends it, if somebody traces.
    pub trace: Option<Trace>,
}

/// The stages that a signal is for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Destination {
    /// A stage of this node and no other.
    Local(Id),
    /// The stage on the best node: of the other joined nodes that carry it, the less loaded of
    /// two at random; this node only if there is none.
    Stage(Id),
    /// The stage on every node that carries it, this one included.
    Every(Id),
    /// The stage on every node of this node's host group, this one included.
    Group(Id),
    /// The stage on every other node.
    Others(Id),
}

impl Destination {
    /// The stage that is addressed.
    #[must_use]
    pub fn stage(&self) -> &Id {
        match self {
            Self::Local(stage)
            | Self::Stage(stage)
            | Self::Every(stage)
            | Self::Group(stage)
            | Self::Others(stage) => stage,
        }
    }
}
