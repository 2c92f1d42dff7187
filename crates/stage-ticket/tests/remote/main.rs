//! Tickets over real sockets on loopback.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by panicking")]

mod hostile;
mod lasting;
mod listing;
mod peer;
mod relay;
mod together;

use std::net::SocketAddr;
use std::time::Duration;

use stage_ticket::{RemoteConfig, RemoteTickets, Rules, Server, ServerConfig, Status};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A server on a port of its own, until it is stopped or dropped.
struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

impl Running {
    async fn start(config: ServerConfig) -> Self {
        Self::start_on(config, "127.0.0.1:0").await
    }

    async fn start_on(config: ServerConfig, address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::new(config).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(async move {
            server
                .serve(listener, async {
                    // A sender that is dropped stops the server as well.
                    let _ = stopped.await;
                })
                .await
                .unwrap();
        });
        Self { address, stop, served }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.served.await.unwrap();
    }

    fn tickets(&self) -> RemoteTickets {
        connect(self.address)
    }
}

fn connect(address: SocketAddr) -> RemoteTickets {
    RemoteTickets::connect(RemoteConfig::new([address.to_string()])).unwrap()
}

async fn attached(tickets: &RemoteTickets) -> u64 {
    let mut status = tickets.statuses().remove(0);
    let status = status.wait_for(|status| matches!(status, Status::Attached { .. })).await;
    match &*status.unwrap() {
        Status::Attached { epoch, .. } => *epoch,
        status => panic!("{status:?}"),
    }
}

async fn detached(tickets: &RemoteTickets) {
    let mut status = tickets.statuses().remove(0);
    let is_gone = |status: &Status| matches!(status, Status::Connecting { why: Some(_) });
    status.wait_for(is_gone).await.unwrap();
}

/// A server with nothing to recover, whose grants last long enough not to matter.
fn config() -> ServerConfig {
    let mut config = ServerConfig::default().fresh();
    let minute = Duration::from_secs(60);
    config.tickets.rules = Rules { grant: minute, max_grant: minute, ..Rules::default() };
    config.category("db", 1).category("pair", 2).category("once", -1)
}
