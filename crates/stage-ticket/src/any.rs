//! One handle for tickets of this process, of a coordinator elsewhere, or of a cluster.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use crate::remote::message_fits;
use crate::{
    Acquire, AcquireError, CallError, CategoryName, CategoryStats, ExtendError, Notices,
    RemoteAcquire, RemoteTicket, RemoteTickets, Stamp, Ticket, Tickets, Token,
};

/// Tickets, wherever their coordinator is: a program is written once and configured later.
///
/// A member of a cluster is a remote node too, see `cluster::Member::tickets`.
#[derive(Debug, Clone)]
pub enum AnyTickets {
    /// The coordinator is in this process.
    Local(Tickets),
    /// It is elsewhere, or may be.
    Remote(RemoteTickets),
}

impl From<Tickets> for AnyTickets {
    fn from(tickets: Tickets) -> Self {
        Self::Local(tickets)
    }
}

impl From<RemoteTickets> for AnyTickets {
    fn from(tickets: RemoteTickets) -> Self {
        Self::Remote(tickets)
    }
}

impl AnyTickets {
    /// Takes a place in the queue of `category`, now, and returns the future of the ticket.
    ///
    /// # Errors
    ///
    /// The future's [`AcquireError`] says why there is no ticket.
    pub fn acquire(&self, category: &str) -> AnyAcquire {
        match self {
            Self::Local(tickets) => AnyAcquire::Local(tickets.acquire(category)),
            Self::Remote(tickets) => AnyAcquire::Remote(tickets.acquire(category)),
        }
    }

    /// A ticket if a permit is free and nobody waits for it.
    ///
    /// # Errors
    ///
    /// [`AcquireError::Busy`] if not, or another [`AcquireError`].
    pub async fn try_acquire(&self, category: &str) -> Result<AnyTicket, AcquireError> {
        match self {
            Self::Local(tickets) => tickets.try_acquire(category).map(AnyTicket::Local),
            Self::Remote(tickets) => tickets.try_acquire(category).await.map(AnyTicket::Remote),
        }
    }

    /// Makes or alters a category, see [`Tickets::set_category`].
    ///
    /// # Errors
    ///
    /// [`CallError`] for a bad name or limit, when there is no room, and without a connection.
    pub async fn set_category(
        &self,
        name: &str,
        limit: i64,
        close_after: Option<Duration>,
    ) -> Result<(), CallError> {
        match self {
            Self::Local(tickets) => tickets
                .set_category(name, limit, close_after)
                .map_err(|error| CallError::Refused { why: error.to_string() }),
            Self::Remote(tickets) => tickets.set_category(name, limit, close_after).await,
        }
    }

    /// Grants nothing more in a category, and tells those who wait. Holders may finish.
    ///
    /// # Errors
    ///
    /// [`CallError`] for a bad name and without a connection, of a remote coordinator only.
    pub async fn close(&self, category: &str) -> Result<(), CallError> {
        match self {
            Self::Local(tickets) => {
                tickets.close(category);
                Ok(())
            }
            Self::Remote(tickets) => tickets.close(category).await,
        }
    }

    /// Sends a message to all who hold a ticket of a category and listen to its
    /// [notices](AnyTicket::notices); returns how many hold one.
    ///
    /// # Errors
    ///
    /// [`CallError::MessageTooLong`] above 65,536 bytes; another [`CallError`] for a bad name and
    /// without a connection, of a remote coordinator only.
    pub async fn broadcast(&self, category: &str, message: &[u8]) -> Result<u32, CallError> {
        message_fits(message)?;
        match self {
            Self::Local(tickets) => Ok(tickets.broadcast(category, message)),
            Self::Remote(tickets) => tickets.broadcast(category, message).await,
        }
    }

    /// Every category as it stands, by name.
    ///
    /// # Errors
    ///
    /// [`CallError`] without a connection, of a remote coordinator only.
    pub async fn stats(&self) -> Result<Vec<CategoryStats>, CallError> {
        match self {
            Self::Local(tickets) => Ok(tickets.stats()),
            Self::Remote(tickets) => tickets.stats().await,
        }
    }

    /// Every category as it stands, by name, each with at most so many of its holders, the oldest
    /// first. A remote coordinator lists at most 1000 of a category and 10,000 in all.
    ///
    /// # Errors
    ///
    /// [`CallError`] without a connection, of a remote coordinator only.
    pub async fn stats_with_holders(&self, most: usize) -> Result<Vec<CategoryStats>, CallError> {
        match self {
            Self::Local(tickets) => Ok(tickets.stats_with_holders(most)),
            Self::Remote(tickets) => tickets.stats_with_holders(most).await,
        }
    }
}

/// The future of an [`AnyTicket`], made by [`AnyTickets::acquire`]. Dropping it gives up the place
/// in the queue, and a grant that nobody has picked up.
#[derive(Debug)]
#[must_use = "dropping it gives up the place in the queue"]
pub enum AnyAcquire {
    /// Of this process.
    Local(Acquire),
    /// Of a coordinator elsewhere.
    Remote(RemoteAcquire),
}

impl AnyAcquire {
    /// Has the ticket extended by itself until `total` after it is picked up.
    pub fn auto_extend(self, total: Duration) -> Self {
        match self {
            Self::Local(acquire) => Self::Local(acquire.auto_extend(total)),
            Self::Remote(acquire) => Self::Remote(acquire.auto_extend(total)),
        }
    }
}

impl Future for AnyAcquire {
    type Output = Result<AnyTicket, AcquireError>;

    /// Stays pending when polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Local(acquire) => {
                Pin::new(acquire).poll(context).map(|ticket| ticket.map(AnyTicket::Local))
            }
            Self::Remote(acquire) => {
                Pin::new(acquire).poll(context).map(|ticket| ticket.map(AnyTicket::Remote))
            }
        }
    }
}

/// One grant, wherever its coordinator is. Dropping it frees the permit.
#[derive(Debug)]
#[must_use = "dropping a ticket frees its permit"]
pub enum AnyTicket {
    /// Of this process.
    Local(Ticket),
    /// Of a coordinator elsewhere.
    Remote(RemoteTicket),
}

impl AnyTicket {
    /// Names this grant among all grants of all categories; its text form is `epoch-sequence`.
    #[must_use]
    pub fn id(&self) -> Stamp {
        self.token().stamp
    }

    /// What a resource checks before it lets the holder act.
    #[must_use]
    pub fn token(&self) -> Token {
        match self {
            Self::Local(ticket) => ticket.token(),
            Self::Remote(ticket) => ticket.token(),
        }
    }

    /// The category.
    #[must_use]
    pub fn category(&self) -> &CategoryName {
        match self {
            Self::Local(ticket) => ticket.category(),
            Self::Remote(ticket) => ticket.category(),
        }
    }

    /// When the ticket ends, as of now; `None` if it is over.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Local(ticket) => ticket.deadline(),
            Self::Remote(ticket) => ticket.deadline(),
        }
    }

    /// Keeps the ticket until `by` from now, and returns its deadline. It is never shortened.
    ///
    /// # Errors
    ///
    /// [`ExtendError`], see [`Ticket::extend`] and [`RemoteTicket::extend`].
    pub async fn extend(&self, by: Duration) -> Result<Instant, ExtendError> {
        match self {
            Self::Local(ticket) => ticket.extend(by),
            Self::Remote(ticket) => ticket.extend(by).await,
        }
    }

    /// Has the ticket extended, a grant's length at a time, until `total` from now.
    pub fn auto_extend(&self, total: Duration) {
        match self {
            Self::Local(ticket) => ticket.auto_extend(total),
            Self::Remote(ticket) => ticket.auto_extend(total),
        }
    }

    /// Resolves when the ticket is over. Does not borrow the ticket.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut notices = self.notices();
        async move { while notices.next().await.is_some() {} }
    }

    /// The messages to the holders of the category from now on.
    #[must_use]
    pub fn notices(&self) -> Notices {
        match self {
            Self::Local(ticket) => ticket.notices(),
            Self::Remote(ticket) => ticket.notices(),
        }
    }

    /// Frees the permit; the same as dropping the ticket.
    pub fn release(self) {}
}
