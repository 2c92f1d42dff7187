//! The way in for programs that are no node; it needs nothing else of this crate.
//!
//! [`Client`] sends one signal and waits for its end. [`ClientSession`] is one stream for many
//! signals, on which stages signal the client as well.

mod desk;
mod session;

use std::sync::Arc;
use std::time::Duration;

use stage_proto::signal::v1 as proto;
use stage_proto::signal::v1::signal_response::Outcome;
use stage_proto::signal::v1::signal_service_client::SignalServiceClient;
use stage_value::{Limits, Value, ValueError};
use tokio::time::timeout as within;
use tonic::transport::{Channel, Endpoint};

use crate::plain::{from_plain, to_plain};
use crate::{Failure, Tls, Trace};

pub use session::{ClientEvent, ClientEvents, ClientSession};

/// How much longer than the signal's own deadline the answer may travel.
const GRACE: Duration = Duration::from_secs(1);

/// How often an idle connection is probed, and how long the answer may take.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(5));

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);

/// A connection to a node. Cloning it shares the connection.
#[derive(Clone, Debug)]
pub struct Client {
    service: SignalServiceClient<Channel>,
    address: String,
    trace: Option<Trace>,
    idempotent: bool,
}

/// Why a client's signal has no results.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No node answers there.
    #[error("no node can be reached at {address}: {why}")]
    Connect {
        /// Where it was tried.
        address: String,
        /// What happened.
        why: String,
    },
    /// A value that cannot travel.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The signal failed.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The connection broke or the answer makes no sense; whether the handler ran is unknown.
    #[error("the node at {address} did not answer as it should: {why}")]
    Answer {
        /// Which node.
        address: String,
        /// What happened.
        why: String,
    },
}

impl Client {
    /// Connects to the node at `HOST:PORT`.
    ///
    /// # Errors
    /// [`ClientError::Connect`] if nothing listens there or it is no `HOST:PORT`.
    pub async fn connect(address: &str) -> Result<Self, ClientError> {
        Self::connect_by(address, None).await
    }

    /// Connects to the node at `HOST:PORT`, which the certificate that it shows must name, and
    /// shows an own one.
    ///
    /// # Errors
    /// [`ClientError::Connect`] if nothing listens there or the certificate is not accepted.
    pub async fn connect_tls(address: &str, tls: &Arc<Tls>) -> Result<Self, ClientError> {
        Self::connect_by(address, Some(tls)).await
    }

    async fn connect_by(address: &str, tls: Option<&Arc<Tls>>) -> Result<Self, ClientError> {
        let failed = |why: String| ClientError::Connect { address: address.to_owned(), why };
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| failed(crate::dial::chain(&error)))?
            .tcp_nodelay(true)
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(KEEP_ALIVE.0)
            .keep_alive_timeout(KEEP_ALIVE.1)
            .keep_alive_while_idle(true);
        let channel = match tls {
            Some(tls) => tls.channel(&endpoint, address).await,
            None => endpoint.connect().await.map_err(|error| crate::dial::chain(&error)),
        };
        let channel = channel.map_err(failed)?;
        let service = SignalServiceClient::new(channel)
            .max_decoding_message_size(Limits::DEFAULT.bytes + (1 << 20));
        Ok(Self { service, address: address.to_owned(), trace: None, idempotent: false })
    }

    /// The same connection, whose signals are sent by this step of a trace.
    #[must_use]
    pub fn traced(self, trace: Trace) -> Self {
        Self { trace: Some(trace), ..self }
    }

    /// The same connection, whose signals may run twice without harm: the node sends one once more if the
    /// link to the node that had it breaks.
    #[must_use]
    pub fn idempotent(self) -> Self {
        Self { idempotent: true, ..self }
    }

    /// Sends a signal such as `"lobby:join"` and waits for what its handler returns.
    ///
    /// With a scope (`"*lobby:join"`) each result is the list of one stage's results.
    ///
    /// # Errors
    /// [`ClientError::Failed`] says why the node has no results for it.
    pub async fn signal(
        &self,
        address: &str,
        args: Vec<Value>,
        timeout: Duration,
    ) -> Result<Vec<Value>, ClientError> {
        let request = self.request(address, &args, timeout)?;
        let mut service = self.service.clone();
        let response = within(timeout.saturating_add(GRACE), service.signal(request))
            .await
            .map_err(|_| self.odd("no answer before the deadline".into()))?
            .map_err(|status| self.odd(crate::dial::chain(&status)))?;
        match response.into_inner().outcome {
            Some(Outcome::Results(results)) => {
                Ok(from_plain("results", results.values, Limits::DEFAULT)?)
            }
            Some(Outcome::Failure(failure)) => Err(Failure::from_proto(failure).into()),
            None => Err(self.odd("the response holds no outcome".into())),
        }
    }

    fn request(
        &self,
        address: &str,
        args: &[Value],
        timeout: Duration,
    ) -> Result<proto::SignalRequest, ClientError> {
        Ok(proto::SignalRequest {
            address: address.to_owned(),
            args: to_plain("args", args)?,
            timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(1),
            traceparent: self.trace.map_or_else(String::new, |trace| trace.to_string()),
            idempotent: self.idempotent,
        })
    }

    fn odd(&self, why: String) -> ClientError {
        ClientError::Answer { address: self.address.clone(), why }
    }
}
