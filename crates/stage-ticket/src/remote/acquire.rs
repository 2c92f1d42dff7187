use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::oneshot;

use super::Client;
use super::holder::NotSent;
use super::shared::{Answer, refusal_error};
use super::ticket::RemoteTicket;
use crate::{AcquireError, CategoryName};

/// The future of a [`RemoteTicket`], made by
/// [`RemoteTickets::acquire`](crate::RemoteTickets::acquire).
///
/// The request is on its way when this is made, before its first poll. Dropping it gives the place
/// in the queue up, and a grant that nobody has picked up.
#[derive(Debug)]
#[must_use = "dropping it gives up the place in the queue"]
pub struct RemoteAcquire {
    place: Place,
    extended_for: Option<Duration>,
}

#[derive(Debug)]
enum Place {
    Waiting(Waiter),
    Refused(AcquireError),
    Left,
}

/// A request. Dropped before its grant was picked up, it is given up.
#[derive(Debug)]
struct Waiter {
    count: u64,
    answer: oneshot::Receiver<Answer>,
    name: CategoryName,
    client: Option<Arc<Client>>,
}

impl RemoteAcquire {
    /// Has the ticket extended by itself until `total` after it is picked up, see
    /// [`RemoteTicket::auto_extend`].
    pub fn auto_extend(mut self, total: Duration) -> Self {
        self.extended_for = Some(total);
        self
    }

    pub(super) fn request(client: &Arc<Client>, text: &str, waits: bool) -> Self {
        let max = client.shared.config.max_requests;
        let place = client.shared.with(|state, _| {
            let name = match state.holder.resolve(text) {
                Ok(name) => name,
                Err(error) => return Place::Refused(error.into()),
            };
            match state.request(&name, waits) {
                Ok((count, answer)) => {
                    Place::Waiting(Waiter { count, answer, name, client: Some(client.clone()) })
                }
                Err(NotSent::Full) => {
                    Place::Refused(AcquireError::TooManyRequests { category: name, max })
                }
                Err(NotSent::NotAttached | NotSent::NotHeld) => {
                    Place::Refused(AcquireError::Unreachable { category: name })
                }
            }
        });
        Self { place, extended_for: None }
    }
}

impl Future for RemoteAcquire {
    type Output = Result<RemoteTicket, AcquireError>;

    /// Stays pending when polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let extended_for = self.extended_for;
        match &mut self.place {
            Place::Waiting(waiter) => {
                let answered = ready!(waiter.poll(context, extended_for));
                self.place = Place::Left;
                Poll::Ready(answered)
            }
            Place::Refused(_) => match std::mem::replace(&mut self.place, Place::Left) {
                Place::Refused(error) => Poll::Ready(Err(error)),
                Place::Waiting(_) | Place::Left => Poll::Pending,
            },
            Place::Left => Poll::Pending,
        }
    }
}

impl Waiter {
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        extended_for: Option<Duration>,
    ) -> Poll<Result<RemoteTicket, AcquireError>> {
        let answer = ready!(Pin::new(&mut self.answer).poll(context));
        let name = self.name.clone();
        let Some(client) = self.client.take() else { return Poll::Pending };
        let max = client.shared.config.max_requests;
        Poll::Ready(match answer {
            Ok(Answer::Granted(granted)) => {
                let lives = client.shared.surely_lives(&granted);
                RemoteTicket::new(client, name, granted.token).picked_up(lives, extended_for)
            }
            Ok(answer) => Err(refusal_error(name, answer, max)),
            // The sender lives as long as the request does.
            Err(_) => Err(AcquireError::TooLate { category: name }),
        })
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if let Some(client) = &self.client {
            client.shared.with(|state, _| state.cancel(self.count));
        }
    }
}
