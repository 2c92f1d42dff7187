//! Many machines: one of them coordinates at a time, and another takes over when it falls silent.
//!
//! Grants live in the leader's memory and in the holders'; etcd holds one record of who leads and
//! the list of nodes. A grant writes nothing there.

mod driver;
mod leadership;
mod record;
mod store;

use std::future::Future;
use std::time::Duration;

use stage_proto::ticket::v1::ticket_service_server::TicketServiceServer;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;

pub use leadership::{Leadership, Step, Terms, Write};
pub use record::{Record, RecordError};

use crate::serve::{Server, ServerConfig, Service};
use crate::{ConfigError, RemoteConfig, RemoteConfigError, RemoteTickets, Time, local};
use driver::Driver;
use store::Store;

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

/// What a member is in its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// It gives out the tickets.
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
    standing: watch::Receiver<Standing>,
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
        let server = Server::following(config.server.clone())?;
        if config.address.contains(char::is_whitespace) {
            return Err(RemoteConfigError::Address { address: config.address }.into());
        }
        let address = config.address.clone();
        let following = Standing::Following { leader: String::new() };
        let (known, standing) = watch::channel(following);
        let (stop, stopped) = watch::channel(false);
        let office = server.office().clone();
        tokio::spawn(driver(config, office, known).run(stopped));
        Ok(Self { server, address, standing, stop })
    }

    /// Connects this process, as a node, to whoever leads. Call it once and clone the handle: each
    /// node is written down, and a takeover waits for those that do not answer.
    ///
    /// # Errors
    ///
    /// [`RemoteConfigError`] for an address that is none, or without a tokio runtime.
    pub fn tickets(&self) -> Result<RemoteTickets, RemoteConfigError> {
        RemoteTickets::connect(RemoteConfig::new([self.address.clone()]))
    }

    /// What this member is, and becomes from now on.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Takes part no longer. If it led, it issues nothing more from here on and hands over: the next member leads
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

fn driver(
    config: ClusterConfig,
    office: std::sync::Arc<crate::serve::Office>,
    standing: watch::Sender<Standing>,
) -> Driver {
    let rules = &config.server.tickets.rules;
    let terms = Terms {
        address: config.address.clone(),
        incarnation: fastrand::u64(..),
        authority: config.authority,
        grant: rules.grant,
        first_epoch: config.server.tickets.epoch.unwrap_or_else(local::epoch_of_today),
        drift: rules.drift,
    };
    let patience = config.authority / 8;
    Driver {
        leadership: Leadership::new(terms),
        store: Store::new(config.endpoints.clone(), &config.prefix, patience),
        office,
        config,
        origin: Instant::now(),
        standing,
        hub: None,
        won: None,
        uncertain: true,
        until: Time::ZERO,
        aside: false,
    }
}
