use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use stage_value::Value;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};
use tracing::Span;

use crate::link::Place;
use crate::stats::{Counters, count};
use crate::step::record_end;
use crate::{Failure, Reason};

/// How a signal ended at one stage.
pub type Outcome = Result<Vec<Value>, Failure>;

/// The ends of a signal, one per addressed stage.
///
/// Dropping it before all have come means that nobody waits: the handlers are told so.
pub struct Outcomes {
    waiting: Vec<Waiting>,
    deadline: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    counters: Arc<Counters>,
}

enum Waiting {
    Ended(Outcome),
    Open { receiver: oneshot::Receiver<Outcome>, place: Option<Arc<Place>> },
}

impl Outcomes {
    pub(crate) fn new(deadline: Option<Instant>, counters: Arc<Counters>) -> Self {
        Self { waiting: Vec::with_capacity(1), deadline, timer: None, counters }
    }

    /// Adds a stage of this node, whose end comes through the promise.
    pub(crate) fn promise(&mut self, span: Span) -> Promise {
        self.open(None, span)
    }

    /// Adds a stage of another node; the place is where its end is waited for.
    pub(crate) fn promise_from(&mut self, place: Arc<Place>, span: Span) -> Promise {
        self.open(Some(place), span)
    }

    fn open(&mut self, place: Option<Arc<Place>>, span: Span) -> Promise {
        count(&self.counters.sent);
        let (sender, receiver) = oneshot::channel();
        self.waiting.push(Waiting::Open { receiver, place });
        Promise { sender, span, counters: Arc::clone(&self.counters) }
    }

    /// Adds a stage that could not be reached.
    pub(crate) fn failed(&mut self, failure: Failure) {
        let outcome = Err(failure);
        count(&self.counters.sent);
        self.counters.ended(&outcome);
        self.waiting.push(Waiting::Ended(outcome));
    }

    /// How many ends are still to come.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether all ends have come.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next end, in the order in which they come; `None` after the last one.
    ///
    /// When the deadline passes, every stage that is still open ends with
    /// [`Reason::Deadline`]. Cancel-safe. O(stages still open) per end.
    pub async fn next(&mut self) -> Option<Outcome> {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Outcome>> {
        if self.waiting.is_empty() {
            return Poll::Ready(None);
        }
        for index in 0..self.waiting.len() {
            if let Poll::Ready(outcome) = self.waiting[index].poll(context) {
                self.waiting.remove(index);
                return Poll::Ready(Some(outcome));
            }
        }
        if self.poll_deadline(context).is_pending() {
            return Poll::Pending;
        }
        self.waiting.pop().into_iter().for_each(Waiting::withdraw);
        let outcome = Err(Failure::new(Reason::Deadline, "no answer before the deadline"));
        self.counters.ended(&outcome);
        Poll::Ready(Some(outcome))
    }

    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        timer.as_mut().poll(context)
    }
}

impl Waiting {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Outcome> {
        match self {
            Self::Ended(outcome) => Poll::Ready(std::mem::replace(outcome, Ok(Vec::new()))),
            Self::Open { receiver, .. } => Pin::new(receiver).poll(context).map(|outcome| {
                outcome.unwrap_or_else(|_| Err(Failure::new(Reason::LinkLost, "the node is gone")))
            }),
        }
    }

    /// Nobody waits any more; a local handler learns it from the receiver that is dropped.
    fn withdraw(self) {
        if let Self::Open { receiver, place } = self {
            drop(receiver);
            if let Some(place) = place {
                place.withdraw();
            }
        }
    }
}

impl Drop for Outcomes {
    fn drop(&mut self) {
        for waiting in self.waiting.drain(..) {
            if matches!(waiting, Waiting::Open { .. }) {
                count(&self.counters.withdrawn);
            }
            waiting.withdraw();
        }
    }
}

/// The other end of one stage's place in [`Outcomes`].
pub(crate) struct Promise {
    sender: oneshot::Sender<Outcome>,
    /// Lasts until the end is known.
    span: Span,
    counters: Arc<Counters>,
}

impl Promise {
    /// Gives the end to whoever waits for it.
    pub(crate) fn keep(self, outcome: Outcome) {
        record_end(&self.span, &outcome);
        if !self.sender.is_closed() {
            self.counters.ended(&outcome);
        }
        // A receiver that is gone no longer wants to know.
        drop(self.sender.send(outcome));
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.sender.is_closed()
    }

    /// Waits until nobody wants to know the end.
    pub(crate) async fn abandoned(&mut self) {
        self.sender.closed().await;
    }
}
