use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::oneshot;

use super::error::AcquireError;
use super::shared::Shared;
use super::state::Answer;
use super::ticket::Ticket;
use crate::{CategoryName, Limit, Refusal};

/// The future of a [`Ticket`], made by [`Tickets::acquire`](crate::Tickets::acquire).
///
/// Its place in the queue was taken when it was made, before its first poll. Dropping it gives the
/// place up, and a grant that nobody has picked up.
#[derive(Debug)]
#[must_use = "dropping it gives up the place in the queue"]
pub struct Acquire {
    place: Place,
    extended_for: Option<Duration>,
}

#[derive(Debug)]
enum Place {
    Waiting(Waiter),
    Granted(Ticket),
    Refused(AcquireError),
    Left,
}

impl Acquire {
    /// Has the ticket extended by itself until `total` after it is picked up, see
    /// [`Ticket::auto_extend`].
    pub fn auto_extend(mut self, total: Duration) -> Self {
        self.extended_for = Some(total);
        self
    }

    pub(super) fn request(shared: &Arc<Shared>, text: &str) -> Self {
        let answer = shared.with(|state, now, effects| {
            let (name, id) = state.resolve(now, text, effects)?;
            Ok((name, state.request(now, id, effects)))
        });
        let shared = shared.clone();
        let place = match answer {
            Ok((name, Err((count, answer)))) => {
                Place::Waiting(Waiter { count, answer, owner: Some((shared, name)) })
            }
            Ok((name, Ok(answer))) => Place::answered(shared, name, answer),
            Err(error) => Place::Refused(error),
        };
        Self { place, extended_for: None }
    }
}

impl Future for Acquire {
    type Output = Result<Ticket, AcquireError>;

    /// Stays pending when polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Place::Waiting(waiter) = &mut self.place {
            self.place = ready!(waiter.poll(context));
        }
        match std::mem::replace(&mut self.place, Place::Left) {
            Place::Granted(ticket) => Poll::Ready(ticket.picked_up(self.extended_for)),
            Place::Refused(error) => Poll::Ready(Err(error)),
            Place::Waiting(_) | Place::Left => Poll::Pending,
        }
    }
}

impl Place {
    fn answered(shared: Arc<Shared>, name: CategoryName, answer: Answer) -> Self {
        match answer {
            Answer::Granted(token) => Self::Granted(Ticket::new(shared, name, token)),
            Answer::Refused(refusal) => Self::Refused(refused(&shared, name, refusal)),
        }
    }
}

/// A place in the queue. Dropped before it was answered, it is given up.
#[derive(Debug)]
struct Waiter {
    count: u64,
    answer: oneshot::Receiver<Answer>,
    owner: Option<(Arc<Shared>, CategoryName)>,
}

impl Waiter {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Place> {
        // The sender lives as long as the request does, in the state that the owner keeps alive.
        let answer = ready!(Pin::new(&mut self.answer).poll(context));
        Poll::Ready(match (answer, self.owner.take()) {
            (Ok(answer), Some((shared, name))) => Place::answered(shared, name, answer),
            _ => Place::Left,
        })
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if let Some((shared, _)) = &self.owner {
            shared.with(|state, now, effects| state.cancel(now, self.count, effects));
        }
    }
}

/// A ticket without waiting.
pub(super) fn try_acquire(shared: &Arc<Shared>, text: &str) -> Result<Ticket, AcquireError> {
    let (name, answer) = shared.with(|state, now, effects| {
        let (name, id) = state.resolve(now, text, effects)?;
        Ok::<_, AcquireError>((name, state.try_request(now, id, effects)))
    })?;
    match answer {
        Answer::Granted(token) => Ok(Ticket::new(shared.clone(), name, token)),
        Answer::Refused(refusal) => Err(refused(shared, name, refusal)),
    }
}

fn refused(shared: &Shared, category: CategoryName, refusal: Refusal) -> AcquireError {
    match refusal {
        Refusal::Busy => {
            let limit = shared.limit(&category).unwrap_or(Limit::ONE);
            AcquireError::Busy { category, limit }
        }
        Refusal::QueueFull => AcquireError::QueueFull { category, max: shared.rules().max_waiters },
        Refusal::Closed => AcquireError::Closed { category },
        refusal => AcquireError::Refused { category, refusal },
    }
}
