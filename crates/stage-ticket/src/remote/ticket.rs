use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Client;
use super::holder::NotSent;
use crate::{AcquireError, CategoryName, ExtendError, Notices, Stamp, Token};

/// One grant of a coordinator elsewhere. Dropping it frees the permit.
///
/// The deadline is on this node's clock and never later than the coordinator's own, however long
/// the grant was under way. A broken connection does not end a ticket: it lives until its deadline,
/// and a new connection asserts it again.
#[derive(Debug)]
#[must_use = "dropping a ticket frees its permit"]
pub struct RemoteTicket {
    client: Arc<Client>,
    category: CategoryName,
    token: Token,
}

impl RemoteTicket {
    pub(super) fn new(client: Arc<Client>, category: CategoryName, token: Token) -> Self {
        Self { client, category, token }
    }

    /// Hands a grant to its requester, unless it is over.
    pub(super) fn picked_up(
        self,
        surely_lives: bool,
        extended_for: Option<Duration>,
    ) -> Result<Self, AcquireError> {
        if !surely_lives && self.deadline().is_none() {
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
        let shared = &self.client.shared;
        let deadline = shared.with(|state, now| {
            state.holder.deadline(self.token).filter(|deadline| now < *deadline)
        });
        deadline.map(|deadline| shared.instant(deadline))
    }

    /// Keeps the ticket until `by` after the coordinator hears it, and returns its deadline. It is
    /// never shortened.
    ///
    /// # Errors
    ///
    /// [`ExtendError::NotHeld`] when it is over already, [`ExtendError::TooLong`] past the longest
    /// that the coordinator allows, [`ExtendError::Unreachable`] without a connection.
    pub async fn extend(&self, by: Duration) -> Result<Instant, ExtendError> {
        let shared = &self.client.shared;
        let answer = shared.with(|state, _| {
            let max = state.holder.max_grant;
            if by > max {
                return Err(ExtendError::TooLong { by, max });
            }
            state.extend(self.token, by).map_err(|why| match why {
                NotSent::NotHeld => ExtendError::NotHeld,
                NotSent::NotAttached | NotSent::Full => ExtendError::Unreachable,
            })
        })?;
        // The sender is dropped when the ticket is over.
        let expires = answer.await.unwrap_or(Err(ExtendError::NotHeld))?;
        Ok(shared.instant(expires))
    }

    /// Has the ticket extended, a grant's length at a time, until `total` from now. A later call
    /// replaces an earlier one.
    pub fn auto_extend(&self, total: Duration) {
        let shared = &self.client.shared;
        shared.with(|state, now| state.holder.renew(self.token, now.after(total)));
    }

    /// Resolves when the ticket is over: it expired, was revoked, or was released. Does not borrow
    /// the ticket, so it can run beside the work it is to stop.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut notices = self.notices();
        async move { while notices.next().await.is_some() {} }
    }

    /// The messages to the holders of the category from now on.
    #[must_use]
    pub fn notices(&self) -> Notices {
        let messages = self.client.shared.with(|state, _| state.watch(self.token));
        Notices { messages }
    }

    /// Frees the permit; the same as dropping the ticket.
    pub fn release(self) {}
}

impl Drop for RemoteTicket {
    fn drop(&mut self) {
        self.client.shared.with(|state, _| state.release(self.token));
    }
}
