//! The composition of a node from its parts.

mod durable;
mod parts;
mod start;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stage_gateway::Gateway;
use stage_lua::{Databases, Event, Runtime};
use stage_route::{Route, View, WINDOW};
use stage_signal::Mesh;
use stage_snapshot::{Periodic, Store};
use stage_submit::Submitter;
use stage_value::{Id, Value};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::admin;
use crate::config::Token;
use crate::gossip::Gossip;
use crate::history::{Change, History};
use crate::standing::Standing;
use crate::tickets::Counting;

pub(crate) use parts::{embedded, test_node};
pub use start::StartError;
pub(crate) use start::start_stages;

/// A node whose scripts have started and that is ready to serve.
pub struct Node {
    shared: Arc<Shared>,
    listener: Option<TcpListener>,
    admin: Option<(TcpListener, Option<Token>)>,
    gateway: Option<(TcpListener, Gateway)>,
    drain: Duration,
}

/// What the parts of a running node share.
pub(crate) struct Shared {
    pub(crate) name: Id,
    pub(crate) stages: Vec<Id>,
    pub(crate) mesh: Mesh,
    pub(crate) submitter: Submitter,
    pub(crate) tickets: Counting,
    pub(crate) route: Route,
    pub(crate) runtime: Runtime,
    pub(crate) standing: Arc<Standing>,
    pub(crate) variables: Arc<Store<Value>>,
    pub(crate) gateway: Option<Gateway>,
    #[cfg_attr(
        not(feature = "db"),
        expect(dead_code, reason = "there are none without the feature")
    )]
    pub(crate) databases: Databases,
    pub(crate) history: Mutex<History>,
    pub(crate) begun: Instant,
    saving: Mutex<Option<Periodic>>,
}

impl Node {
    /// Where it takes signals of other nodes and clients.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Where its operator's surface is.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(|(listener, _)| listener.local_addr().ok())
    }

    /// Where browsers and curl reach it.
    #[must_use]
    pub fn gateway_address(&self) -> Option<SocketAddr> {
        self.gateway.as_ref().and_then(|(listener, _)| listener.local_addr().ok())
    }

    /// Serves until the shutdown ends, then drains and stops.
    ///
    /// Returns how much work was cut off: what did not end within the time to drain.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> usize {
        let Self { shared, listener, admin, gateway, drain } = self;
        let (stop, stopped) = watch::channel(false);
        let mesh = tokio::spawn(shared.mesh.clone().run(listener, ended(stopped.clone())));
        let route = tokio::spawn(shared.route.clone().run(ended(stopped.clone())));
        let watching = tokio::spawn(watch_route(Arc::clone(&shared), shared.route.subscribe()));
        let gossip = tokio::spawn(gossip(Arc::clone(&shared)));
        let counting = Arc::clone(&shared);
        let counting = tokio::spawn(async move { counting.tickets.watch().await });
        let admin = admin.map(|(listener, token)| {
            let until = ended(stopped.clone());
            tokio::spawn(admin::serve(listener, token, Arc::clone(&shared), until))
        });
        let gateway = gateway
            .map(|(listener, gateway)| tokio::spawn(gateway.run(listener, ended(stopped.clone()))));
        shutdown.await;

        shared.standing.stop();
        let cut = drained(&shared, drain).await;
        watching.abort();
        gossip.abort();
        counting.abort();
        shared.tickets.leave().await;
        stop.send_replace(true);
        for task in [Some(mesh), Some(route), admin, gateway].into_iter().flatten() {
            if let Err(error) = task.await {
                tracing::error!(%error, "a part of the node failed");
            }
        }
        let stuck = shared.runtime.stop(Duration::from_secs(1)).await;
        if stuck > 0 {
            tracing::warn!(threads = stuck, "scripts that never wait were left running");
        }
        save(&shared).await;
        cut
    }
}

/// Saves the shared variables for the last time, now that no script runs any more.
async fn save(shared: &Shared) {
    let saving = shared.saving.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Err(error) = tokio::task::spawn_blocking(move || drop(saving)).await {
        tracing::error!(%error, "the shared variables are not saved");
    }
}

async fn ended(mut stopped: watch::Receiver<bool>) {
    // A sender that is gone has stopped as well.
    drop(stopped.wait_for(|stopped| *stopped).await);
}

/// Waits until nothing waits or runs, at most for the given time; how much is left then.
async fn drained(shared: &Shared, within: Duration) -> usize {
    let deadline = Instant::now() + within;
    loop {
        let left = unfinished(shared);
        if left == 0 || Instant::now() >= deadline {
            return left;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Messages, jobs and ticket requests that have not ended.
fn unfinished(shared: &Shared) -> usize {
    let queues: usize =
        shared.runtime.queues().iter().map(|view| view.waiting + view.running).sum();
    queues + shared.submitter.stats().waiting as usize + shared.tickets.desk().waiting()
}

/// Remembers every window, and tells the scripts when the node's standing in the mesh changes.
async fn watch_route(shared: Arc<Shared>, mut views: watch::Receiver<View>) {
    while views.changed().await.is_ok() {
        let view = views.borrow_and_update().clone();
        let (at, now) = (shared.begun.elapsed(), Instant::now().into_std());
        let change =
            shared.history.lock().unwrap_or_else(PoisonError::into_inner).add(&view, at, now);
        let Some(Change { from, to, reason, .. }) = change else { continue };
        tracing::warn!(%from, %to, %reason, "route");
        let args = [from.as_str(), to.as_str(), &reason].map(Value::from).to_vec();
        shared.runtime.tell(&Event { name: "route:state".into(), args });
    }
}

/// Exchanges standing and load with the peers, once per window.
async fn gossip(shared: Arc<Shared>) {
    let mut gossip = Gossip::default();
    loop {
        let queues = shared.runtime.queues();
        let vms: usize = queues.iter().map(|view| view.vms).sum();
        let work: usize = queues.iter().map(|view| view.waiting + view.running).sum();
        shared.standing.set_load(work as f32 / vms.max(1) as f32);
        let peers = shared.mesh.peers();
        shared.tickets.compare(shared.name.as_str(), &peers);
        shared.route.set_peers(gossip.peers(&peers, Instant::now()));
        tokio::time::sleep(WINDOW).await;
    }
}
