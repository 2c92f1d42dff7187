use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;

use super::error::AcquireError;
use super::shared::Shared;
use super::state::Answer;
use super::ticket::Ticket;
use crate::{CategoryName, Limit, Refusal, Time, Token};

/// The future of a [`Ticket`], made by [`Tickets::acquire`](crate::Tickets::acquire).
///
/// Its place in the queue was taken when it was made, before its first poll. Dropping it gives the
/// place up, and a grant that nobody has picked up.
#[derive(Debug)]
#[must_use = "dropping it gives up the place in the queue"]
pub struct Acquire {
    shared: Arc<Shared>,
    place: Place,
    extended_for: Option<Duration>,
}

#[derive(Debug)]
enum Place {
    Waiting(CategoryName, u64, oneshot::Receiver<Answer>),
    Granted(CategoryName, Token, Time),
    Refused(AcquireError),
    Left,
}

impl Place {
    fn answered(shared: &Shared, name: CategoryName, answer: Answer) -> Self {
        match answer {
            Answer::Granted(token, expires) => Self::Granted(name, token, expires),
            Answer::Refused(refusal) => Self::Refused(refused(shared, name, refusal)),
        }
    }
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
        let place = match answer {
            Ok((name, Err((count, answer)))) => Place::Waiting(name, count, answer),
            Ok((name, Ok(answer))) => Place::answered(shared, name, answer),
            Err(error) => Place::Refused(error),
        };
        Self { shared: shared.clone(), place, extended_for: None }
    }

    /// Turns a grant into a ticket, unless it is over: then its permit was or will be given on.
    fn pick_up(
        &self,
        name: CategoryName,
        token: Token,
        expires: Time,
    ) -> Result<Ticket, AcquireError> {
        let ticket = Ticket::new(self.shared.clone(), name.clone(), token);
        if expires <= self.shared.now() {
            return Err(AcquireError::TooLate { category: name });
        }
        if let Some(total) = self.extended_for {
            ticket.auto_extend(total);
        }
        Ok(ticket)
    }
}

impl Future for Acquire {
    type Output = Result<Ticket, AcquireError>;

    /// Stays pending when polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Place::Waiting(name, _, answer) = &mut self.place {
            // A coordinator that is gone will not answer; it lives as long as this future does.
            let Ok(answer) = std::task::ready!(Pin::new(answer).poll(context)) else {
                return Poll::Pending;
            };
            let name = name.clone();
            self.place = Place::answered(&self.shared, name, answer);
        }
        match std::mem::replace(&mut self.place, Place::Left) {
            Place::Granted(name, token, expires) => Poll::Ready(self.pick_up(name, token, expires)),
            Place::Refused(error) => Poll::Ready(Err(error)),
            Place::Waiting(..) | Place::Left => Poll::Pending,
        }
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        match &self.place {
            Place::Waiting(_, count, _) => {
                self.shared.with(|state, now, effects| state.cancel(now, *count, effects));
            }
            Place::Granted(_, token, _) => {
                self.shared.with(|state, now, effects| state.release(now, *token, effects));
            }
            Place::Refused(_) | Place::Left => {}
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
        Answer::Granted(token, _) => Ok(Ticket::new(shared.clone(), name, token)),
        Answer::Refused(refusal) => Err(refused(shared, name, refusal)),
    }
}

fn refused(shared: &Shared, category: CategoryName, refusal: Refusal) -> AcquireError {
    match refusal {
        Refusal::Busy => {
            let limit = shared.limit(&category).unwrap_or(Limit::ONE);
            AcquireError::Busy { category, limit }
        }
        Refusal::QueueFull => AcquireError::QueueFull { category, max: shared.max_waiters() },
        Refusal::Closed => AcquireError::Closed { category },
        refusal => AcquireError::Refused { category, refusal },
    }
}
