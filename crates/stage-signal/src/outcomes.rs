use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use stage_value::Value;
use tokio::time::{Instant, Sleep, sleep_until};
use tracing::Span;

use crate::slot::{Place, Promise, Slot};
use crate::stats::{Counters, count};
use crate::{Failure, Reason};

/// How a signal ended at one stage.
pub type Outcome = Result<Vec<Value>, Failure>;

/// The ends of a signal, one per addressed stage.
///
/// Dropping it before all have come means that nobody waits: the handlers are told so.
pub struct Outcomes {
    /// The first stage, which mostly is the only one, and the others.
    first: Option<Waiting>,
    others: Vec<Waiting>,
    deadline: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    counters: Arc<Counters>,
}

enum Waiting {
    Ended(Outcome),
    /// With the place where the signal was put, if that is a link.
    Open(Arc<Slot>, Option<Place>),
}

impl Outcomes {
    pub(crate) fn new(deadline: Option<Instant>, counters: Arc<Counters>) -> Self {
        Self { first: None, others: Vec::new(), deadline, timer: None, counters }
    }

    /// Adds a stage, whose end comes through the promise.
    pub(crate) fn promise(&mut self, span: Span) -> Promise {
        count(&self.counters.sent);
        let (slot, promise) = Slot::new(span);
        self.add(Waiting::Open(slot, None));
        promise
    }

    /// The stage that was added last waits at a link.
    pub(crate) fn wait_at(&mut self, at: Option<Place>) {
        if let Some(Waiting::Open(_, place)) = self.others.last_mut().or(self.first.as_mut()) {
            *place = at;
        }
    }

    /// Adds a stage that could not be reached.
    pub(crate) fn failed(&mut self, failure: Failure) {
        count(&self.counters.sent);
        self.add(Waiting::Ended(Err(failure)));
    }

    fn add(&mut self, waiting: Waiting) {
        match &self.first {
            None if self.others.is_empty() => self.first = Some(waiting),
            _ => self.others.push(waiting),
        }
    }

    /// How many ends are still to come.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.others.len()
    }

    /// Whether all ends have come.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next end, in the order in which they come; `None` after the last one.
    ///
    /// When the deadline passes, every stage that is still open ends with
    /// [`Reason::Deadline`]. Cancel-safe. O(stages still open) per end.
    pub async fn next(&mut self) -> Option<Outcome> {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Outcome>> {
        if self.is_empty() {
            return Poll::Ready(None);
        }
        // A link keeps the deadlines of what it carries, all with one timer.
        let mut is_kept = true;
        if let Some(first) = &mut self.first {
            match first.poll(context) {
                Ok(outcome) => {
                    self.first = None;
                    self.counters.ended(&outcome);
                    return Poll::Ready(Some(outcome));
                }
                Err(at_link) => is_kept &= at_link,
            }
        }
        for index in 0..self.others.len() {
            match self.others[index].poll(context) {
                Ok(outcome) => {
                    self.others.remove(index);
                    self.counters.ended(&outcome);
                    return Poll::Ready(Some(outcome));
                }
                Err(at_link) => is_kept &= at_link,
            }
        }
        if is_kept || self.poll_deadline(context).is_pending() {
            return Poll::Pending;
        }
        self.others.pop().or_else(|| self.first.take()).into_iter().for_each(Waiting::withdraw);
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
    fn poll(&mut self, context: &mut Context<'_>) -> Result<Outcome, bool> {
        match self {
            Self::Ended(outcome) => Ok(std::mem::replace(outcome, Ok(Vec::new()))),
            Self::Open(slot, place) => slot.poll(place.is_some(), context),
        }
    }

    /// Nobody waits any more.
    fn withdraw(self) {
        if let Self::Open(slot, place) = self {
            slot.withdraw();
            place.inspect(|(link, id)| link.withdraw(*id));
        }
    }
}

impl Drop for Outcomes {
    fn drop(&mut self) {
        for waiting in self.first.take().into_iter().chain(self.others.drain(..)) {
            count(&self.counters.withdrawn);
            waiting.withdraw();
        }
    }
}
