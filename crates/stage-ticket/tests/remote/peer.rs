//! A node that sends what it likes, frame by frame.

use std::net::SocketAddr;

use stage_proto::ticket::v1 as proto;
use stage_proto::ticket::v1::ticket_service_client::TicketServiceClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

pub(crate) struct Peer {
    pub(crate) hello: proto::ServerHello,
    frames: mpsc::Sender<proto::ClientFrame>,
    answers: Streaming<proto::ServerFrame>,
}

pub(crate) fn hello(node: u64) -> proto::ClientFrame {
    let hello = proto::ClientHello { protocol_version: 1, node, ..Default::default() };
    proto::ClientFrame { hello: Some(hello), ..Default::default() }
}

impl Peer {
    /// Says hello and reports nothing.
    pub(crate) async fn attach(address: SocketAddr, node: u64) -> Self {
        let peer = Self::greet(address, hello(node)).await.unwrap();
        let report = Some(proto::Report::default());
        peer.send(proto::ClientFrame { report, ..Default::default() }).await;
        peer
    }

    pub(crate) async fn greet(
        address: SocketAddr,
        first: proto::ClientFrame,
    ) -> Result<Self, Status> {
        let mut client = TicketServiceClient::connect(format!("http://{address}")).await.unwrap();
        let (frames, sent) = mpsc::channel(16);
        frames.send(first).await.unwrap();
        let mut answers = client.attach(ReceiverStream::new(sent)).await?.into_inner();
        let hello = answers.message().await?.unwrap().hello.unwrap();
        Ok(Self { hello, frames, answers })
    }

    pub(crate) async fn send(&self, frame: proto::ClientFrame) {
        self.frames.send(frame).await.unwrap();
    }

    /// The next frame that is more than a description of a category.
    pub(crate) async fn answer(&mut self) -> Result<proto::ServerFrame, Status> {
        loop {
            let mut frame = self.answers.message().await?.unwrap_or_default();
            frame.categories.clear();
            if frame != proto::ServerFrame::default() {
                return Ok(frame);
            }
        }
    }

    /// How the server ends the stream.
    pub(crate) async fn end(&mut self) -> Status {
        loop {
            match self.answers.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return Status::ok("ended"),
                Err(status) => return status,
            }
        }
    }
}

/// Asks for a ticket of `name`.
pub(crate) fn request(name: &str, count: u64) -> proto::ClientFrame {
    let category = stage_ticket::CategoryId::of(name).0;
    proto::ClientFrame {
        uses: vec![name.to_owned()],
        requests: vec![proto::Request { count, category, waits: true }],
        ..Default::default()
    }
}
