//! gRPC over connections that are encrypted here.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};
use tower_service::Service;

use super::{Certified, Tls};
use crate::dial::chain;
use crate::discovery::Target;
use crate::link::lock;

impl Tls {
    /// Connects an endpoint to `HOST:PORT`, which the certificate shown there must name. When the
    /// connection breaks, the channel makes a new one.
    ///
    /// # Errors
    /// What went wrong, in words: nobody listens there, or the certificate is not accepted.
    pub async fn channel(
        self: &Arc<Self>,
        endpoint: &Endpoint,
        address: &str,
    ) -> Result<Channel, String> {
        let connector = Connector::new(self, Target::new(address), false);
        endpoint.connect_with_connector(connector).await.map_err(|error| chain(&error))
    }

    /// A channel that is one connection, and who answered there: when it breaks, nobody else can
    /// take that place.
    pub(crate) async fn channel_once(
        self: &Arc<Self>,
        endpoint: &Endpoint,
        target: &Target,
    ) -> Result<(Channel, Certified), String> {
        let connector = Connector::new(self, target.clone(), true);
        let answered = Arc::clone(&connector.answered);
        let channel =
            endpoint.connect_with_connector(connector).await.map_err(|error| chain(&error))?;
        let certified = lock(&answered).take().ok_or("the connection is gone")?;
        Ok((channel, certified))
    }
}

/// Connects to one address, as tonic asks for it.
struct Connector {
    tls: Arc<Tls>,
    target: Target,
    answered: Arc<Mutex<Option<Certified>>>,
    is_once: bool,
    is_used: AtomicBool,
}

impl Connector {
    fn new(tls: &Arc<Tls>, target: Target, is_once: bool) -> Self {
        let tls = Arc::clone(tls);
        Self { tls, target, answered: Arc::default(), is_once, is_used: false.into() }
    }
}

type Encrypted = TokioIo<TlsStream<TcpStream>>;

impl Service<Uri> for Connector {
    type Response = Encrypted;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let is_over = self.is_used.swap(true, Ordering::Relaxed) && self.is_once;
        let (tls, target) = (Arc::clone(&self.tls), self.target.clone());
        let answered = Arc::clone(&self.answered);
        Box::pin(async move {
            if is_over {
                return Err(io::Error::other("the connection broke"));
            }
            let stream = TcpStream::connect(&*target.address).await?;
            stream.set_nodelay(true)?;
            let (stream, certified) =
                tls.connect(stream, &target.host).await.map_err(io::Error::other)?;
            *lock(&answered) = Some(certified);
            Ok(TokioIo::new(stream))
        })
    }
}
