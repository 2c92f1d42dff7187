//! The coordinator behind a port: one multiplexed stream for each node.

mod config;
mod hub;
mod office;
mod outbox;
mod service;
mod session;
mod state;
mod wants;

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use stage_proto::ticket::v1::ticket_service_server::TicketServiceServer;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tonic::transport::server::TcpIncoming;

pub use config::ServerConfig;
pub(crate) use hub::Hub;
pub(crate) use office::{Office, Standing};
pub use service::Service;
#[cfg(feature = "etcd")]
pub(crate) use wants::Wanted;
pub(crate) use wants::Wants;

#[cfg(feature = "etcd")]
use crate::Shards;
use crate::coordinator::{Coordinator, Event, NodeId, Report, ReportedCategory, takeover_wait};
use crate::{ConfigError, Shard, Stamp, Time, local};

/// No node has this number. An awaited node of this number never reports, so what it is awaited
/// for lasts as long as it may.
pub(crate) const NOBODY: NodeId = NodeId(0);

/// A coordinator for many nodes, the only one they have.
///
/// Its tickets live in its memory. When it starts again it issues nothing until every grant of its
/// earlier run is over ([`ServerConfig::earlier`]); nodes that come back meanwhile keep what they
/// hold and their places in the queues.
#[derive(Debug, Clone)]
pub struct Server {
    /// One for each shard.
    offices: Arc<[Arc<Office>]>,
    config: ServerConfig,
}

impl Server {
    /// Starts a coordinator with the categories of `config`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for what is wrong with the configuration, or without a tokio runtime.
    pub fn new(config: ServerConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        tokio::runtime::Handle::try_current().map_err(|_| ConfigError::NoRuntime)?;
        let rules = config.tickets.rules.clone();
        let earlier = config.earlier.unwrap_or(rules.max_grant);
        let until = Time::ZERO.after(takeover_wait(Duration::ZERO, earlier, rules.drift));
        let awaited = if earlier.is_zero() { BTreeSet::new() } else { BTreeSet::from([NOBODY]) };
        let epoch = config.tickets.epoch.unwrap_or_else(local::epoch_of_today);
        let mut coordinator = Coordinator::recovering(rules, epoch, awaited, until);
        introduce(&mut coordinator, Shard::WHOLE, &config)?;
        let wants = Wants::nothing();
        let hub = Hub::start(coordinator, Shard::WHOLE, &config, wants, Instant::now());
        hub.extend_authority(Time::NEVER);
        let office = Arc::new(Office::new(Standing::Leading(hub)));
        Ok(Self { offices: Arc::new([office]), config })
    }

    #[cfg(feature = "etcd")]
    pub(crate) fn following(config: ServerConfig, shards: Shards) -> Result<Self, ConfigError> {
        config.validate()?;
        let office = |_| Arc::new(Office::new(Standing::Following { leader: String::new() }));
        Ok(Self { offices: shards.all().map(office).collect(), config })
    }

    #[cfg(feature = "etcd")]
    pub(crate) fn offices(&self) -> &[Arc<Office>] {
        &self.offices
    }

    /// Ends all streams and gives out nothing more. Nodes keep what they hold until its deadline.
    pub fn close(&self) {
        for office in &*self.offices {
            office.stand(Standing::Following { leader: String::new() });
        }
    }

    /// The calls to be served, for a program that serves others on the same port.
    #[must_use]
    pub fn service(&self) -> TicketServiceServer<Service> {
        let service = Service::new(self.offices.clone(), self.config.silence);
        TicketServiceServer::new(service)
            .max_decoding_message_size(self.config.frame_bytes as usize)
            .max_encoding_message_size(usize::MAX)
    }

    /// Serves a listener until `shutdown` resolves; then the streams end, and the nodes keep what
    /// they hold until its deadline.
    ///
    /// # Errors
    ///
    /// [`tonic::transport::Error`] when the listener fails.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), tonic::transport::Error> {
        let stopped = async {
            shutdown.await;
            // Open streams would hold the server up.
            self.close();
        };
        tonic::transport::Server::builder()
            .max_concurrent_streams(CALLS)
            .add_service(self.service())
            .serve_with_incoming_shutdown(
                TcpIncoming::from(listener).with_nodelay(Some(true)),
                stopped,
            )
            .await
    }
}

/// The most calls that one connection may have open.
const CALLS: u32 = 64;

/// Makes the listed categories of a shard, as settings older than any that was made at run time.
pub(crate) fn introduce(
    coordinator: &mut Coordinator,
    shard: Shard,
    config: &ServerConfig,
) -> Result<(), ConfigError> {
    let version = Stamp { epoch: 0, sequence: 1 };
    let listed = config.tickets.validated()?.into_iter();
    let listed = listed.filter(|(name, _)| shard.owns(name.id()));
    let categories = listed
        .map(|(name, limit)| ReportedCategory { name, limit, version, closes_in: None })
        .collect();
    let report = Report { categories, ..Report::default() };
    // There is room for all of them, and nobody to tell.
    let mut commands = Vec::new();
    coordinator.step(Time::ZERO, Event::Reported { node: NodeId(u64::MAX), report }, &mut commands);
    Ok(())
}
