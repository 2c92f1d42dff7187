//! The life of a node in the mesh: what runs beside each other, and how it ends.

use std::sync::Arc;
use std::time::Duration;

use stage_proto::signal::v1::ByeReason;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::mesh::Shared;
use crate::{discovery, serve, tls};

/// How long connections may take to close once no link uses them.
const CLOSING: Duration = Duration::from_millis(200);

pub(crate) async fn run(
    shared: Arc<Shared>,
    listener: Option<TcpListener>,
    shutdown: impl Future<Output = ()>,
) {
    let end = End(Arc::clone(&shared));
    let mut tasks = JoinSet::new();
    tasks.spawn(gossip(Arc::clone(&shared)));
    tasks.spawn(discovery::run(Arc::clone(&shared)));
    let mut listings = discovery::list(&shared);
    if let Some(tls) = &shared.config.tls {
        tasks.spawn(tls::watch(Arc::clone(&shared), Arc::clone(tls)));
    }
    let mut server = JoinSet::new();
    if let Some(listener) = listener {
        server.spawn(serve::serve(Arc::clone(&shared), listener));
    }
    shutdown.await;
    shared.stop();
    for link in shared.peers.all() {
        link.retire(ByeReason::Stopping, "the node is stopping");
    }
    shared.peers.refresh();
    if timeout(shared.config.drain, shared.peers.all_gone()).await.is_err() {
        tracing::warn!("stopping though some signals have not ended");
    }
    drop(end);
    drop(timeout(CLOSING, async { while listings.join_next().await.is_some() {} }).await);
    drop(timeout(CLOSING, server.join_next()).await);
}

/// Tells the peers when this node's state or load has changed, and every other time that it has not: who hears
/// nothing new for three rounds counts what it knows as too old to rely on.
async fn gossip(shared: Arc<Shared>) {
    let mut ticks = interval(shared.config.gossip);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for still_holds in [false, true].into_iter().cycle() {
        ticks.tick().await;
        let advert = shared.advert();
        shared.peers.all().iter().for_each(|link| link.tell_advert(advert, still_holds));
    }
}

/// Ends all links when the node's run ends, even if it is dropped in the middle.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.stop();
        for link in self.0.peers.all() {
            self.0.lose(&link, "this node has stopped");
        }
    }
}
