use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::routing::{any, post};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use stage_signal::{Mesh, OutsideSignal};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::clients::{Clients, Known};
use crate::cors::{self, Page};
use crate::refusal::Refusal;
use crate::request::Asked;
use crate::stats::{Counters, count};
use crate::{Config, Stats, session, signal};

/// How long a connection of requests lasts; clients open another one. It bounds what those hold who never
/// read their response.
const LIFETIME: Duration = Duration::from_secs(300);

/// How long what is under way may take once a connection is to end.
const GRACE: Duration = Duration::from_secs(5);

/// The most bytes of the head of a request.
const HEAD_BYTES: usize = 16 << 10;

/// The door for HTTP and WebSocket clients of a node. Cloning gives the same one.
#[derive(Clone)]
pub struct Gateway {
    shared: Arc<Shared>,
}

/// What all connections work on.
pub(crate) struct Shared {
    pub(crate) mesh: Mesh,
    pub(crate) config: Config,
    pub(crate) counters: Counters,
    pub(crate) in_flight: Semaphore,
    pub(crate) stopping: watch::Sender<bool>,
    clients: Clients,
    started: Instant,
}

/// A connection's place among those that may be open; sessions keep it.
pub(crate) type Place = Arc<OwnedSemaphorePermit>;

impl Gateway {
    /// A gateway to the stages that a node reaches; [`Gateway::run`] opens it.
    #[must_use]
    pub fn new(mesh: Mesh, config: Config) -> Self {
        let shared = Shared {
            mesh,
            clients: Clients::new(config.clients.clone(), config.rate),
            in_flight: Semaphore::new(config.in_flight.min(Semaphore::MAX_PERMITS)),
            counters: Counters::default(),
            stopping: watch::Sender::new(false),
            started: Instant::now(),
            config,
        };
        Self { shared: Arc::new(shared) }
    }

    /// What has happened since the start.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.counters.view()
    }

    /// Serves until the shutdown ends; then requests under way have some seconds left, and sessions are closed.
    pub async fn run(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let router = Router::new()
            .route("/v1/signal/{address}", post(signal::post))
            .route("/v1/session", any(session::upgrade))
            .fallback(async || {
                Refusal::unknown(StatusCode::NOT_FOUND, "there is nothing at this path")
            })
            .method_not_allowed_fallback(async || {
                Refusal::unknown(StatusCode::METHOD_NOT_ALLOWED, "this path takes another method")
            })
            .layer(from_fn_with_state(Arc::clone(&self.shared), cors::answer))
            .with_state(Arc::clone(&self.shared));
        let most = self.shared.config.connections.min(Semaphore::MAX_PERMITS);
        let places = Arc::new(Semaphore::new(most));
        let accept = async {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => self.shared.admit(stream, &router, &places),
                    // Out of descriptors, most often: accepting again at once would spin.
                    Err(error) => {
                        tracing::warn!(%error, "the gateway cannot accept a connection");
                        sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        };
        tokio::select! { () = shutdown => {} () = accept => {} }
        self.shared.stopping.send_replace(true);
        let all = u32::try_from(most).unwrap_or(u32::MAX);
        drop(timeout(GRACE, places.acquire_many(all)).await);
    }
}

impl Shared {
    fn admit(self: &Arc<Self>, stream: TcpStream, router: &Router, places: &Arc<Semaphore>) {
        let Ok(place) = Arc::clone(places).try_acquire_owned() else {
            return count(&self.counters.turned_away);
        };
        let router = router.clone().layer(axum::Extension(Arc::new(place)));
        tokio::spawn(Arc::clone(self).serve(stream, router));
    }

    async fn serve(self: Arc<Self>, stream: TcpStream, router: Router) {
        drop(stream.set_nodelay(true));
        let mut builder = Builder::new(TokioExecutor::new()).http1_only();
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.config.read_timeout)
            .max_buf_size(HEAD_BYTES);
        let service = TowerToHyperService::new(router);
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            // Errors here are clients that went away or do not speak HTTP.
            _ = connection.as_mut() => return,
            () = sleep(LIFETIME) => {}
            () = self.stopped() => {}
        }
        connection.as_mut().graceful_shutdown();
        drop(timeout(GRACE.max(self.config.longest), connection).await);
    }

    /// Ends when the gateway is to stop.
    pub(crate) async fn stopped(&self) {
        drop(self.stopping.subscribe().wait_for(|stopping| *stopping).await);
    }

    /// Who sends these headers.
    pub(crate) fn authorise(&self, headers: &HeaderMap) -> Result<Arc<Known>, Refusal> {
        let page = cors::page(headers, &self.config.origins);
        if page == Page::Stranger {
            count(&self.counters.unauthorised);
            return Err(cors::refusal());
        }
        // A page that somebody happens to visit must not signal the stages of their machine.
        let fits = |known: &Arc<Known>| page != Page::Any || known.client.token.is_some();
        self.clients.find(shown_by(headers)).filter(fits).ok_or_else(|| {
            count(&self.counters.unauthorised);
            let help = "send the header 'Authorization: Bearer TOKEN' with a token of #gateway; \
                browsers offer the WebSocket protocols 'stage.v1' and 'bearer.TOKEN'";
            let detail = "no token, or one that is not known";
            Refusal::new(StatusCode::UNAUTHORIZED, "unauthorised", detail, help)
        })
    }

    /// Counts one signal of a client against its rate.
    pub(crate) fn take(&self, client: &Known) -> Result<(), Refusal> {
        count(&self.counters.signals);
        client.take(self.started.elapsed()).map_err(|wait| {
            count(&self.counters.limited);
            Refusal::too_often(wait)
        })
    }

    /// A signal as the mesh takes it.
    pub(crate) fn outside(&self, asked: Asked) -> OutsideSignal {
        OutsideSignal {
            address: asked.address,
            args: asked.args,
            timeout: asked.timeout.map(|timeout| timeout.min(self.config.longest)),
            idempotent: asked.idempotent,
            trace: None,
        }
    }
}

/// Whether a client may signal a stage.
pub(crate) fn permit(client: &Known, stage: &str) -> Result<(), Refusal> {
    if client.may_signal(stage) {
        return Ok(());
    }
    let detail = format!("client '{}' may not signal stage '{stage}'", client.client.name);
    let help = "ask who runs the node to add the stage to this client in #gateway";
    Err(Refusal::new(StatusCode::FORBIDDEN, "denied", detail, help))
}

/// The token in the headers; browsers can only name protocols when they open a WebSocket.
fn shown_by(headers: &HeaderMap) -> Option<&str> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        // An unreadable one is a wrong one, never none.
        return Some(value.to_str().ok().and_then(|it| it.strip_prefix("Bearer ")).unwrap_or(""));
    }
    let offered = headers.get(header::SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
    offered.split(',').find_map(|protocol| protocol.trim().strip_prefix("bearer."))
}
