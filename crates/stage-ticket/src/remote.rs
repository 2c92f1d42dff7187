//! Tickets of a coordinator elsewhere: one connection for the whole process, or one for each shard.

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

use futures_util::future::join_all;
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

use crate::{AcquireError, CategoryId, CategoryStats, Shards, Token, wire};
use shared::Shared;

/// The tickets of one node, given out by a coordinator elsewhere. Clones are handles to the same
/// connection.
///
/// All requests of a shard share one stream; what is asked for while a frame is being written goes into the
/// next one. A broken connection is made anew, after a pause that grows and is never the same for
/// all; then the node asserts again what it holds and waits for. Tickets live on meanwhile, until
/// their deadlines. When the last handle and the last ticket are dropped the node says good-bye.
#[derive(Debug, Clone)]
pub struct RemoteTickets {
    /// One for each shard.
    clients: Arc<[Arc<Client>]>,
    shards: Shards,
}

/// How many revocations a listener may be behind before it misses the oldest.
const REVOCATIONS_KEPT: usize = 1024;

/// What handles and tickets of one shard hold on to. The connection ends when it is dropped.
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
        let (shards, config) = (config.shards, Arc::new(config));
        let revocations = broadcast::Sender::new(REVOCATIONS_KEPT);
        let client = |shard| {
            let shared = Arc::new(Shared::new(config.clone(), shard, revocations.clone()));
            runtime.spawn(connection::run(shared.clone()));
            let timed = shared.clone();
            runtime.spawn(async move { timed.run_timer().await });
            Arc::new(Client { shared })
        };
        Ok(Self { clients: shards.all().map(client).collect(), shards })
    }

    /// The connection to whoever counts a category.
    fn of(&self, category: &str) -> &Arc<Client> {
        let only = self.shards == Shards::ONE;
        let shard = if only { 0 } else { self.shards.of(CategoryId::of(category)).index() };
        &self.clients[shard as usize]
    }

    /// Asks for a place in the queue of `category`, now, and returns the future of the ticket.
    /// Without a connection the request waits for one.
    ///
    /// # Errors
    ///
    /// The future's [`AcquireError`] says why there is no ticket.
    pub fn acquire(&self, category: &str) -> RemoteAcquire {
        RemoteAcquire::request(self.of(category), category, true)
    }

    /// A ticket if a permit is free and nobody waits for it.
    ///
    /// # Errors
    ///
    /// [`AcquireError::Busy`] if not, [`AcquireError::Unreachable`] without a connection, or
    /// another [`AcquireError`].
    pub async fn try_acquire(&self, category: &str) -> Result<RemoteTicket, AcquireError> {
        RemoteAcquire::request(self.of(category), category, false).await
    }

    /// Whether each shard has a coordinator, and what happens to that from now on. There is one shard unless
    /// [`RemoteConfig::shards`] says otherwise.
    #[must_use]
    pub fn statuses(&self) -> Vec<watch::Receiver<Status>> {
        self.clients.iter().map(|client| client.shared.status.subscribe()).collect()
    }

    /// The grants of this node that end without their holder's doing, from now on.
    #[must_use]
    pub fn revocations(&self) -> Revocations {
        Revocations { tokens: self.clients[0].shared.revocations.subscribe() }
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
        self.of(name).calls()?.set_category(request).await?;
        Ok(())
    }

    /// Grants nothing more in a category, and tells those who wait. Holders may finish.
    ///
    /// # Errors
    ///
    /// [`CallError`] for a bad name and without a connection.
    pub async fn close(&self, category: &str) -> Result<(), CallError> {
        let request = proto::CloseCategoryRequest { name: category.to_owned() };
        self.of(category).calls()?.close_category(request).await?;
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
        Ok(self.of(category).calls()?.broadcast(request).await?.into_inner().holders)
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
    /// first. A coordinator lists at most 1000 of a category and 10,000 in all. Of several shards, those whose
    /// coordinator cannot be asked are left out; [`statuses`](Self::statuses) tells which.
    ///
    /// # Errors
    ///
    /// [`CallError`] if no coordinator can be asked.
    pub async fn stats_with_holders(&self, most: usize) -> Result<Vec<CategoryStats>, CallError> {
        let holders = u32::try_from(most).unwrap_or(u32::MAX);
        let asked = self.clients.iter().map(|client| client.list(holders));
        let (mut listed, mut failed) = (Vec::new(), Vec::new());
        for answer in join_all(asked).await {
            match answer {
                Ok(categories) => listed.push(categories),
                Err(error) => failed.push(error),
            }
        }
        match failed.pop() {
            Some(error) if listed.is_empty() => return Err(error),
            _ => {}
        }
        let mut all = listed.concat();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Says good-bye: the coordinator forgets the node at once instead of when it has been absent for long, and
    /// so need not ask for its report should it take over. Requests that wait are cut off, later ones are
    /// refused; what is held should be released before. Resolves when the coordinator has heard it, or
    /// cannot be reached.
    pub async fn leave(&self) {
        join_all(self.clients.iter().map(|client| client.leave())).await;
    }
}

impl Client {
    async fn leave(&self) {
        self.shared.close();
        let heard = self.shared.closing.closed();
        if tokio::time::timeout(self.shared.config.patience, heard).await.is_err() {
            tracing::debug!("the ticket coordinator did not hear the good-bye");
        }
    }

    async fn list(&self, holders: u32) -> Result<Vec<CategoryStats>, CallError> {
        let shard = wire::shard_message(self.shared.shard);
        let request = proto::ListCategoriesRequest { holders, shard };
        let listed = self.calls()?.list_categories(request).await?;
        listed.into_inner().categories.iter().map(call::stats).collect()
    }

    fn calls(&self) -> Result<TicketServiceClient<Channel>, CallError> {
        self.shared.with(|state, _| state.client.clone()).ok_or(CallError::Unreachable)
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
