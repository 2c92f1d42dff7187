use std::fmt;
use std::sync::Arc;

use stage_value::{MessageId, Value};
use tokio::time::Instant;

use crate::{Responder, Trace};

/// One instance of a stage on this node: where its messages go.
pub trait Inbox: Send + Sync {
    /// Takes a message. Called from any thread; must not block.
    ///
    /// # Errors
    /// Gives the message back if the inbox is full. The sender is told that it was not started.
    #[expect(clippy::result_large_err, reason = "a full inbox gives back what it was handed")]
    fn deliver(&self, delivery: Delivery) -> Result<(), Delivery>;

    /// Messages that wait or run, for spreading over the instances of a stage.
    fn load(&self) -> usize;
}

/// A message for a handler of this node.
pub struct Delivery {
    /// Which handler.
    pub message: MessageId,
    /// What it is called with.
    pub args: Vec<Value>,
    /// Who sent it.
    pub origin: Origin,
    /// When the sender stops waiting.
    pub deadline: Option<Instant>,
    /// When it reached this node.
    pub received: Instant,
    /// Whether it came from another node or an outside client.
    pub remote: bool,
    /// Whether the sender wants what the handler returns; otherwise only that it ended.
    pub wants_results: bool,
    /// The step of a trace that it belongs to, if somebody traces: its own span's, else the sender's.
    pub trace: Option<Trace>,
    /// How the end of the handler is reported.
    pub responder: Responder,
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("message", &self.message)
            .field("args", &self.args)
            .field("origin", &self.origin)
            .field("remote", &self.remote)
            .finish_non_exhaustive()
    }
}

/// The sender of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its node; empty for an outside client.
    pub node: Arc<str>,
    /// Its stage; empty for an outside client.
    pub stage: Arc<str>,
}
