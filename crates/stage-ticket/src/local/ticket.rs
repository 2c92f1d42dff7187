use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::time::Instant;

use super::error::{AcquireError, ExtendError};
use super::shared::Shared;
use crate::{CategoryName, ExtensionRefusal, Stamp, Token};

/// One grant. Dropping it frees the permit, however the holder ends.
///
/// A ticket is for the configured length (one second) unless it is extended. After its deadline the
/// permit goes to the next waiter even if this value still lives, so work that may take longer
/// stops when [`lost`](Ticket::lost) resolves, or sends the [`token`](Ticket::token) along with
/// whatever it does to a resource that keeps a [`Fence`](crate::Fence).
#[derive(Debug)]
#[must_use = "dropping a ticket frees its permit"]
pub struct Ticket {
    shared: Arc<Shared>,
    category: CategoryName,
    token: Token,
}

impl Ticket {
    pub(super) fn new(shared: Arc<Shared>, category: CategoryName, token: Token) -> Self {
        Self { shared, category, token }
    }

    /// Hands a grant to its requester, unless it is over and its permit was given on.
    pub(super) fn picked_up(self, extended_for: Option<Duration>) -> Result<Self, AcquireError> {
        if self.shared.may_be_revoked(self.token) && self.deadline().is_none() {
            return Err(AcquireError::TooLate { category: self.category.clone() });
        }
        if let Some(total) = extended_for {
            self.auto_extend(total);
        }
        Ok(self)
    }

    /// Names this grant among all grants of all categories; its text form is `epoch-sequence`.
    #[must_use]
    pub fn id(&self) -> Stamp {
        self.token.stamp
    }

    /// What a resource checks before it lets the holder act.
    #[must_use]
    pub fn token(&self) -> Token {
        self.token
    }

    /// The category.
    #[must_use]
    pub fn category(&self) -> &CategoryName {
        &self.category
    }

    /// When the ticket ends, as of now; `None` if it is over.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let alive = self.shared.with(|state, now, _| {
            state.coordinator.deadline(self.token).filter(|expires| now < *expires)
        });
        alive.map(|expires| self.shared.instant(expires))
    }

    /// Keeps the ticket until `by` from now, and returns its deadline. It is never shortened.
    ///
    /// # Errors
    ///
    /// [`ExtendError::NotHeld`] when it is over already, [`ExtendError::TooLong`] past
    /// [`Rules::max_grant`](crate::Rules::max_grant).
    pub fn extend(&self, by: Duration) -> Result<Instant, ExtendError> {
        let extended =
            self.shared.with(|state, now, effects| state.extend(now, self.token, by, effects));
        match extended {
            Ok(expires) => Ok(self.shared.instant(expires)),
            Err(ExtensionRefusal::NotHeld) => Err(ExtendError::NotHeld),
            Err(ExtensionRefusal::TooLong) => {
                Err(ExtendError::TooLong { by, max: self.shared.rules().max_grant })
            }
            Err(refusal) => Err(ExtendError::Refused { refusal }),
        }
    }

    /// Has the ticket extended, a grant's length at a time, until `total` from now. A later call
    /// replaces an earlier one; an end that is already reached is not taken back.
    pub fn auto_extend(&self, total: Duration) {
        self.shared.with(|state, now, effects| {
            state.renew(self.token, now.after(total), effects);
        });
    }

    /// Resolves when the ticket is over: it expired, or was released. Does not borrow the ticket,
    /// so it can run beside the work it is to stop.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut notices = self.notices();
        async move { while notices.next().await.is_some() {} }
    }

    /// The messages to the holders of the category from now on.
    #[must_use]
    pub fn notices(&self) -> Notices {
        Notices { messages: self.shared.with(|state, _, _| state.watch(self.token)) }
    }

    /// Frees the permit; the same as dropping the ticket.
    pub fn release(self) {}
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.shared.with(|state, now, effects| state.release(now, self.token, effects));
    }
}

/// The messages to the holders of a category, as one of them hears them.
#[derive(Debug)]
pub struct Notices {
    pub(crate) messages: broadcast::Receiver<Arc<[u8]>>,
}

impl Notices {
    /// The next message; `None` when the ticket is over. Whoever is more than 16 messages behind
    /// misses the oldest.
    pub async fn next(&mut self) -> Option<Arc<[u8]>> {
        loop {
            match self.messages.recv().await {
                Ok(message) => return Some(message),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}
