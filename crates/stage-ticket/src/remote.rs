//! Tickets of a coordinator elsewhere: one connection for the whole process.

mod acquire;
mod call;
mod config;
mod connection;
mod dial;
mod holder;
mod shared;
mod status;
mod ticket;

use std::sync::Arc;
use std::time::Duration;

use stage_proto::ticket::v1 as proto;
use stage_proto::ticket::v1::ticket_service_client::TicketServiceClient;
use tokio::sync::{broadcast, watch};
use tonic::transport::{Channel, Endpoint};

pub use acquire::RemoteAcquire;
pub use call::CallError;
pub(crate) use call::message_fits;
pub use config::{Connector, RemoteConfig, RemoteConfigError};
pub use status::Status;
pub use ticket::RemoteTicket;

use crate::{AcquireError, CategoryStats, Token, wire};
use shared::Shared;

/// The tickets of one node, given out by a coordinator elsewhere. Clones are handles to the same
/// connection.
///
/// All requests share one stream; what is asked for while a frame is being written goes into the
/// next one. A broken connection is made anew, after a pause that grows and is never the same for
/// all; then the node asserts again what it holds and waits for. Tickets live on meanwhile, until
/// their deadlines. When the last handle and the last ticket are dropped the node says good-bye.
#[derive(Debug, Clone)]
pub struct RemoteTickets {
    client: Arc<Client>,
}

/// What handles and tickets hold on to. The connection ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Client {
    shared: Arc<Shared>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl RemoteTickets {
    /// Starts to connect. Requests may be made at once; they wait for the connection.
    ///
    /// # Errors
    ///
    /// [`RemoteConfigError`] for what is wrong with the addresses, or without a tokio runtime.
    pub fn connect(config: RemoteConfig) -> Result<Self, RemoteConfigError> {
        if config.addresses.is_empty() {
            return Err(RemoteConfigError::NoAddress);
        }
        wire::node_name(&config.name)?;
        for address in &config.addresses {
            let endpoint = Endpoint::from_shared(format!("http://{address}"));
            if endpoint.is_err() || !address.contains(':') {
                return Err(RemoteConfigError::Address { address: address.clone() });
            }
        }
        let runtime =
            tokio::runtime::Handle::try_current().map_err(|_| RemoteConfigError::NoRuntime)?;
        let shared = Arc::new(Shared::new(config));
        runtime.spawn(connection::run(shared.clone()));
        let timed = shared.clone();
        runtime.spawn(async move { timed.run_timer().await });
        Ok(Self { client: Arc::new(Client { shared }) })
    }

    /// Asks for a place in the queue of `category`, now, and returns the future of the ticket.
    /// Without a connection the request waits for one.
    ///
    /// # Errors
    ///
    /// The future's [`AcquireError`] says why there is no ticket.
    pub fn acquire(&self, category: &str) -> RemoteAcquire {
        RemoteAcquire::request(&self.client, category, true)
    }

    /// A ticket if a permit is free and nobody waits for it.
    ///
    /// # Errors
    ///
    /// [`AcquireError::Busy`] if not, [`AcquireError::Unreachable`] without a connection, or
    /// another [`AcquireError`].
    pub async fn try_acquire(&self, category: &str) -> Result<RemoteTicket, AcquireError> {
        RemoteAcquire::request(&self.client, category, false).await
    }

    /// Whether there is a coordinator, and what happens to that from now on.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.client.shared.status.subscribe()
    }

    /// The grants of this node that end without their holder's doing, from now on.
    #[must_use]
    pub fn revocations(&self) -> Revocations {
        Revocations { tokens: self.client.shared.revocations.subscribe() }
    }

    /// Makes or alters a category, see [`Tickets::set_category`](crate::Tickets::set_category).
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
        let millis = |after: Duration| u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        let close_after_ms = close_after.map(millis);
        let request = proto::SetCategoryRequest { name: name.to_owned(), limit, close_after_ms };
        self.calls()?.set_category(request).await?;
        Ok(())
    }

    /// Grants nothing more in a category, and tells those who wait. Holders may finish.
    ///
    /// # Errors
    ///
    /// [`CallError`] for a bad name and without a connection.
    pub async fn close(&self, category: &str) -> Result<(), CallError> {
        let request = proto::CloseCategoryRequest { name: category.to_owned() };
        self.calls()?.close_category(request).await?;
        Ok(())
    }

    /// Sends a message of at most 65,536 bytes to all who hold a ticket of a category and listen to
    /// its [notices](RemoteTicket::notices); returns how many hold one.
    ///
    /// # Errors
    ///
    /// [`CallError::MessageTooLong`], and another [`CallError`] for a bad name and without a connection.
    pub async fn broadcast(&self, category: &str, message: &[u8]) -> Result<u32, CallError> {
        message_fits(message)?;
        let message = bytes::Bytes::copy_from_slice(message);
        let request = proto::BroadcastRequest { category: category.to_owned(), message };
        Ok(self.calls()?.broadcast(request).await?.into_inner().holders)
    }

    /// Every category as it stands, by name.
    ///
    /// # Errors
    ///
    /// [`CallError`] without a connection.
    pub async fn stats(&self) -> Result<Vec<CategoryStats>, CallError> {
        self.stats_with_holders(0).await
    }

    /// Every category as it stands, by name, each with at most so many of its holders, the oldest
    /// first. The coordinator lists at most 1000 of a category and 10,000 in all.
    ///
    /// # Errors
    ///
    /// [`CallError`] without a connection.
    pub async fn stats_with_holders(&self, most: usize) -> Result<Vec<CategoryStats>, CallError> {
        let holders = u32::try_from(most).unwrap_or(u32::MAX);
        let listed =
            self.calls()?.list_categories(proto::ListCategoriesRequest { holders }).await?;
        listed.into_inner().categories.iter().map(call::stats).collect()
    }

    /// Says good-bye: the coordinator forgets the node at once instead of when it has been absent for long, and
    /// so need not ask for its report should it take over. Requests that wait are cut off, later ones are
    /// refused; what is held should be released before. Resolves when the coordinator has heard it, or
    /// cannot be reached.
    pub async fn leave(&self) {
        let shared = &self.client.shared;
        shared.close();
        let heard = shared.closing.closed();
        if tokio::time::timeout(shared.config.patience, heard).await.is_err() {
            tracing::debug!("the ticket coordinator did not hear the good-bye");
        }
    }

    fn calls(&self) -> Result<TicketServiceClient<Channel>, CallError> {
        self.client.shared.with(|state, _| state.client.clone()).ok_or(CallError::Unreachable)
    }
}

/// The grants of a node that end without their holder's doing.
#[derive(Debug)]
pub struct Revocations {
    tokens: broadcast::Receiver<Token>,
}

impl Revocations {
    /// The next one; `None` when the node has closed. Whoever is more than 1024 behind misses the
    /// oldest.
    pub async fn next(&mut self) -> Option<Token> {
        loop {
            match self.tokens.recv().await {
                Ok(token) => return Some(token),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}
