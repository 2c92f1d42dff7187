use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tower_layer::Layer;
use tower_service::Service;

use crate::{Arrival, Late, Meter, Refused, Route};

/// Puts a tower service under route control: every request is taken for work of others.
///
/// At most so many requests are inside the service at once; what waits for that is the queue that
/// is measured. Refusals come before the service sees the request, so a client may send it to
/// another node.
#[derive(Clone)]
pub struct RouteLayer {
    route: Route,
    meter: Meter,
    permits: Arc<Semaphore>,
}

/// A service under route control; made by [`RouteLayer`].
#[derive(Clone)]
pub struct RouteService<S> {
    layer: RouteLayer,
    inner: S,
}

/// Why a request has no response.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError<E> {
    /// The node takes no more work of others; the request was not started.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The request waited for too long; it was not started.
    #[error(transparent)]
    Late(#[from] Late),
    /// The service itself failed.
    #[error("the service failed")]
    Service(#[source] E),
}

impl<E> ServiceError<E> {
    /// Whether the service has not seen the request: it is safe to send to another node.
    #[must_use]
    pub fn is_not_started(&self) -> bool {
        !matches!(self, Self::Service(_))
    }
}

impl RouteLayer {
    /// Control by `route`, with a queue of that name before `workers` requests at once: about the
    /// number of cores for requests that compute, more for those that wait.
    #[must_use]
    pub fn new(route: &Route, queue: &str, workers: usize) -> Self {
        let workers = workers.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            meter: route.meter_of(queue, workers),
            route: route.clone(),
            permits: Arc::new(Semaphore::new(workers)),
        }
    }
}

impl<S> Layer<S> for RouteLayer {
    type Service = RouteService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RouteService { layer: self.clone(), inner }
    }
}

impl<S, Request> Service<Request> for RouteService<S>
where
    S: Service<Request> + Clone + Send + 'static,
    S::Future: Send,
    Request: Send + 'static,
{
    type Response = S::Response;
    type Error = ServiceError<S::Error>;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context).map_err(ServiceError::Service)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if let Err(refused) = self.layer.route.admit_remote() {
            return Box::pin(async move { Err(refused.into()) });
        }
        // The one that is ready serves this request; its clone gets ready for the next.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let RouteLayer { meter, permits, .. } = self.layer.clone();
        let mut waiting = Waiting { arrival: Some(meter.arrived()), meter };
        Box::pin(async move {
            // The semaphore is never closed.
            let _permit = permits.acquire().await;
            let running = waiting.start()?;
            let timed =
                Timed { running, future: Box::pin(async move { inner.call(request).await }) };
            timed.await.map_err(ServiceError::Service)
        })
    }
}

/// A request in the queue; a client that goes away takes it out.
struct Waiting {
    meter: Meter,
    arrival: Option<Arrival>,
}

impl Waiting {
    fn start(&mut self) -> Result<Running, Late> {
        if let Some(arrival) = self.arrival.take() {
            self.meter.started_for_peer(arrival)?;
        }
        Ok(Running { meter: self.meter.clone(), busy: Duration::ZERO })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(arrival) = self.arrival.take() {
            self.meter.dropped(arrival);
        }
    }
}

/// A request in the service; it ends when this is dropped.
struct Running {
    meter: Meter,
    busy: Duration,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.meter.finished(self.busy);
    }
}

/// Adds up the time in which the future keeps its thread.
struct Timed<F> {
    running: Running,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Timed<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let begin = Instant::now();
        let polled = self.future.as_mut().poll(context);
        self.running.busy += begin.elapsed();
        polled
    }
}
