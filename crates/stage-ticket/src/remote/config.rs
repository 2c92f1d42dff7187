use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use crate::wire::NodeNameError;
use crate::{Drift, Shards};

/// Opens connections to a coordinator in another way than by plain TCP, say encrypted.
#[derive(Clone)]
pub struct Connector(Arc<Open>);

type Open = dyn Fn(Endpoint, String) -> Opening + Send + Sync;
type Opening = Pin<Box<dyn Future<Output = Result<Channel, String>> + Send>>;

impl Connector {
    /// `open` connects an endpoint to an address (`host:port`), or says why that cannot be.
    pub fn new<F>(open: impl Fn(Endpoint, String) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Channel, String>> + Send + 'static,
    {
        Self(Arc::new(move |endpoint, address| Box::pin(open(endpoint, address))))
    }

    pub(super) fn open(&self, endpoint: Endpoint, address: &str) -> Opening {
        (self.0)(endpoint, address.to_owned())
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

/// How a node reaches its coordinator.
#[derive(Debug, Clone)]
pub struct RemoteConfig {
    /// Where the coordinator may listen (`host:port`). A server that does not lead says who does.
    pub addresses: Vec<String>,
    /// What people call this node, for listings: at most 255 bytes without control characters. May be empty.
    pub name: String,
    /// Over how many coordinators the categories are spread: the number that these have.
    pub shards: Shards,
    /// The most requests that may wait or hold, of each shard.
    pub max_requests: usize,
    /// The longest pause between two attempts to connect; the first is a fortieth of it.
    pub max_pause: Duration,
    /// How long an attempt to connect may take.
    pub patience: Duration,
    /// How far this node's clock and the coordinator's may run apart.
    pub drift: Drift,
    /// How connections are opened; `None`: by plain TCP.
    pub connector: Option<Connector>,
}

impl RemoteConfig {
    /// A node that looks for its coordinator at these addresses.
    pub fn new(addresses: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            addresses: addresses.into_iter().map(Into::into).collect(),
            name: String::new(),
            shards: Shards::ONE,
            max_requests: 1 << 16,
            max_pause: Duration::from_millis(400),
            patience: Duration::from_secs(1),
            drift: Drift::NTP,
            connector: None,
        }
    }
}

/// Why a node cannot look for a coordinator as configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteConfigError {
    /// There is nowhere to look.
    #[error("no address of a coordinator")]
    NoAddress,
    /// An address is none.
    #[error("{address} is no address, write host:port")]
    Address {
        /// What was given.
        address: String,
    },
    /// The node's name cannot be listed.
    #[error(transparent)]
    Name(#[from] NodeNameError),
    /// The connection runs on a tokio runtime.
    #[error("no tokio runtime: call this within one")]
    NoRuntime,
}
