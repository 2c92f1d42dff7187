//! A TCP relay that can be cut, so that a connection ends without either end's doing.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    open: Arc<watch::Sender<u64>>,
    refuses: Arc<watch::Sender<bool>>,
}

impl Relay {
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let open = Arc::new(watch::Sender::new(0));
        let refuses = Arc::new(watch::Sender::new(false));
        let (cuts, closed) = (open.clone(), refuses.clone());
        tokio::spawn(async move {
            while let Ok((inbound, _)) = listener.accept().await {
                if *closed.borrow() {
                    continue;
                }
                tokio::spawn(carry(inbound, target, cuts.subscribe()));
            }
        });
        Self { address, open, refuses }
    }

    /// Ends all connections there are.
    pub(crate) fn cut(&self) {
        self.open.send_modify(|cuts| *cuts += 1);
    }

    /// Ends all connections and takes no new ones until told otherwise.
    pub(crate) fn refuse(&self, refuses: bool) {
        self.refuses.send_replace(refuses);
        if refuses {
            self.cut();
        }
    }
}

async fn carry(mut inbound: TcpStream, target: SocketAddr, mut cuts: watch::Receiver<u64>) {
    let Ok(mut outbound) = TcpStream::connect(target).await else { return };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut inbound, &mut outbound) => {}
        _ = cuts.changed() => {}
    }
}
