use std::task::{Context, Poll};

use stage_signal::{Failure, Reason, Responder};
use stage_value::Value;
use tokio::sync::oneshot;

/// How a call ends for whoever waits for it.
pub(crate) type Outcome = Result<Vec<Value>, Failure>;

/// Who waits for the end of a run. Dropped without an answer, it tells them that the node stops.
pub(crate) struct Caller(Option<Channel>);

enum Channel {
    /// The sender of a message.
    Sender(Responder),
    /// Code of this process.
    Waiting(oneshot::Sender<Outcome>),
}

impl Caller {
    /// The sender of a message.
    pub(crate) fn sender(responder: Responder) -> Self {
        Self(Some(Channel::Sender(responder)))
    }

    /// Whoever has the other end.
    pub(crate) fn waiting() -> (Self, oneshot::Receiver<Outcome>) {
        let (sender, outcome) = oneshot::channel();
        (Self(Some(Channel::Waiting(sender))), outcome)
    }

    pub(crate) fn answer(mut self, outcome: Outcome) {
        if let Some(channel) = self.0.take() {
            channel.answer(outcome);
        }
    }

    /// Whether nobody waits any more.
    pub(crate) fn is_gone(&self) -> bool {
        match &self.0 {
            Some(Channel::Sender(responder)) => responder.is_cancelled(),
            Some(Channel::Waiting(sender)) => sender.is_closed(),
            None => true,
        }
    }

    /// Ready once nobody waits any more.
    pub(crate) fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Some(Channel::Sender(responder)) => responder.poll_cancelled(context),
            Some(Channel::Waiting(sender)) => sender.poll_closed(context),
            None => Poll::Ready(()),
        }
    }
}

impl Channel {
    fn answer(self, outcome: Outcome) {
        match (self, outcome) {
            (Self::Sender(responder), Ok(results)) => responder.reply(results),
            (Self::Sender(responder), Err(failure)) => responder.fail(failure),
            // A caller that has gone away wants no outcome.
            (Self::Waiting(sender), outcome) => drop(sender.send(outcome)),
        }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        // A sender that is gone hears by itself whether it gave up or its deadline has passed.
        if !self.is_gone() {
            let stopping = Failure::new(Reason::Stopping, "the node is stopping");
            if let Some(channel) = self.0.take() {
                channel.answer(Err(stopping));
            }
        }
    }
}
