//! Many machines: one of them coordinates at a time, and another takes over when it falls silent.
//!
//! Grants live in the leader's memory and in the holders'; etcd holds one record of who leads and
//! the list of nodes. A grant writes nothing there.
//!
//! With more than one [shard](crate::Shards) each has a leader, a record and nodes of its own, and the categories are
//! spread over them. How many there are is written down too, as the [`Layout`], so that members that are configured
//! otherwise never count beside the others.

mod driver;
mod layout;
mod leadership;
mod member;
mod record;
mod share;
mod store;

use std::future::Future;
use std::time::Duration;

use stage_proto::ticket::v1::ticket_service_server::TicketServiceServer;
use tokio::net::TcpListener;
use tokio::sync::watch;

pub use layout::{Entry, Layout, LayoutError, Survey, Verdict};
pub use leadership::{Leadership, Step, Terms, Write};
pub use record::{Record, RecordError};

use crate::serve::{Server, ServerConfig, Service};
use crate::{ConfigError, RemoteConfig, RemoteConfigError, RemoteTickets, Shards};

/// How a member takes part in its cluster.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// The members of etcd (`host:port`).
    pub endpoints: Vec<String>,
    /// Where the cluster's keys are: members with one prefix are one cluster.
    pub prefix: String,
    /// Where this member listens, as the others reach it (`host:port`, without spaces).
    pub address: String,
    /// How long one write of the record lets the leader issue (D). A takeover after the leader's
    /// death takes that long and a little more.
    pub authority: Duration,
    /// Over how many leaders the categories are spread. A member with another number than the others takes no part
    /// until they have all stopped; then the cluster counts as it says.
    pub shards: Shards,
    /// Categories, rules and bounds. All members should have the same.
    pub server: ServerConfig,
}

impl ClusterConfig {
    /// A member that listens at `address`, with an authority of three seconds.
    pub fn new(
        endpoints: impl IntoIterator<Item = impl Into<String>>,
        address: impl Into<String>,
    ) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            prefix: "/stage/ticket".to_owned(),
            address: address.into(),
            authority: Duration::from_secs(3),
            shards: Shards::ONE,
            server: ServerConfig::default(),
        }
    }
}

/// Why a member cannot take part as configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The categories, rules or bounds do not fit.
    #[error(transparent)]
    Server(#[from] ConfigError),
    /// The address is none.
    #[error(transparent)]
    Address(#[from] RemoteConfigError),
    /// There is nowhere to find etcd.
    #[error("no endpoint of etcd, write host:port")]
    NoEndpoint,
    /// The authority is too short for a store to be asked a few times within it.
    #[error("an authority of {authority:?} is too short, use at least 100 ms")]
    Authority {
        /// What was given.
        authority: Duration,
    },
}

/// What a member is in a shard of its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// It gives out the tickets of the shard.
    Leading {
        /// The epoch of its grants.
        epoch: u64,
    },
    /// Another one does.
    Following {
        /// Where that one listens; empty if nobody is known to lead.
        leader: String,
    },
}

/// One member of a cluster: it serves nodes while it leads, and otherwise tells them who does.
///
/// Dropping it ends its part as [`retire`](Self::retire) does, if the runtime lives on.
#[derive(Debug)]
pub struct Member {
    server: Server,
    address: String,
    shards: Shards,
    standings: Vec<watch::Receiver<Standing>>,
    stop: watch::Sender<bool>,
}

impl Member {
    /// Starts to take part. Serve its [`service`](Self::service) or [`serve`](Self::serve) it.
    ///
    /// # Errors
    ///
    /// [`ClusterError`] for what is wrong with the configuration, or without a tokio runtime.
    pub fn start(config: ClusterConfig) -> Result<Self, ClusterError> {
        if config.endpoints.is_empty() {
            return Err(ClusterError::NoEndpoint);
        }
        if config.authority < Duration::from_millis(100) {
            return Err(ClusterError::Authority { authority: config.authority });
        }
        let server = Server::following(config.server.clone(), config.shards)?;
        if config.address.contains(char::is_whitespace) {
            return Err(RemoteConfigError::Address { address: config.address }.into());
        }
        let (address, shards) = (config.address.clone(), config.shards);
        let (stop, stopped) = watch::channel(false);
        let standings = member::start(&config, server.offices(), &stopped);
        Ok(Self { server, address, shards, standings, stop })
    }

    /// Connects this process, as a node, to whoever leads. Call it once and clone the handle: each
    /// node is written down, and a takeover waits for those that do not answer.
    ///
    /// # Errors
    ///
    /// [`RemoteConfigError`] for an address that is none, or without a tokio runtime.
    pub fn tickets(&self) -> Result<RemoteTickets, RemoteConfigError> {
        let mut config = RemoteConfig::new([self.address.clone()]);
        config.shards = self.shards;
        RemoteTickets::connect(config)
    }

    /// What this member is in each shard, and becomes from now on.
    #[must_use]
    pub fn standings(&self) -> Vec<watch::Receiver<Standing>> {
        self.standings.clone()
    }

    /// Takes part no longer. What it led, it issues nothing more of from here on and hands over: the next member leads
    /// as soon as it sees that. Resolves when that is written, or etcd does not answer.
    pub async fn retire(&self) {
        self.stop.send_replace(true);
        self.stop.closed().await;
    }

    /// The calls to be served at the member's address, for a program that serves others there.
    #[must_use]
    pub fn service(&self) -> TicketServiceServer<Service> {
        self.server.service()
    }

    /// Serves a listener until `shutdown` resolves; then the member takes part no longer.
    ///
    /// # Errors
    ///
    /// [`tonic::transport::Error`] when the listener fails.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), tonic::transport::Error> {
        let stopping = async {
            shutdown.await;
            self.retire().await;
        };
        self.server.serve(listener, stopping).await
    }
}
