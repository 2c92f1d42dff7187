//! A gRPC stream that answers each frame with one, and nothing else: the least that a request over
//! gRPC can take.

use std::pin::Pin;

use futures_util::{Stream, StreamExt as _};
use stage_proto::ticket::v1 as proto;
use stage_proto::ticket::v1::ticket_service_client::TicketServiceClient;
use stage_proto::ticket::v1::ticket_service_server::{TicketService, TicketServiceServer};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

struct Echo;

type Frames = Pin<Box<dyn Stream<Item = Result<proto::ServerFrame, Status>> + Send>>;

#[tonic::async_trait]
impl TicketService for Echo {
    type AttachStream = Frames;

    async fn attach(
        &self,
        request: Request<Streaming<proto::ClientFrame>>,
    ) -> Result<Response<Frames>, Status> {
        let answers = request.into_inner().map(|frame| frame.map(|_| answer()));
        Ok(Response::new(Box::pin(answers)))
    }

    async fn set_category(
        &self,
        _: Request<proto::SetCategoryRequest>,
    ) -> Result<Response<proto::SetCategoryResponse>, Status> {
        Err(Status::unimplemented("only echoes"))
    }

    async fn close_category(
        &self,
        _: Request<proto::CloseCategoryRequest>,
    ) -> Result<Response<proto::CloseCategoryResponse>, Status> {
        Err(Status::unimplemented("only echoes"))
    }

    async fn broadcast(
        &self,
        _: Request<proto::BroadcastRequest>,
    ) -> Result<Response<proto::BroadcastResponse>, Status> {
        Err(Status::unimplemented("only echoes"))
    }

    async fn list_categories(
        &self,
        _: Request<proto::ListCategoriesRequest>,
    ) -> Result<Response<proto::ListCategoriesResponse>, Status> {
        Err(Status::unimplemented("only echoes"))
    }
}

/// A frame of the size of a grant.
fn answer() -> proto::ServerFrame {
    let token = Some(proto::Token { category: 1, slot: 1, epoch: 1 << 40, sequence: 1 << 20 });
    let grants = vec![proto::Grant { count: 1, token, expires_ns: 1 }];
    proto::ServerFrame { grants, ..Default::default() }
}

pub(crate) struct PingPong {
    frames: mpsc::Sender<proto::ClientFrame>,
    answers: Streaming<proto::ServerFrame>,
}

impl PingPong {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(TicketServiceServer::new(Echo))
                .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true))),
        );
        let mut client = TicketServiceClient::connect(format!("http://{address}")).await.unwrap();
        let (frames, sent) = mpsc::channel(16);
        let answers = client.attach(ReceiverStream::new(sent)).await.unwrap().into_inner();
        Self { frames, answers }
    }

    pub(crate) async fn ping(&mut self) {
        let requests = vec![proto::Request { count: 1, category: 1, waits: true }];
        let frame = proto::ClientFrame { requests, ..Default::default() };
        self.frames.send(frame).await.unwrap();
        self.answers.message().await.unwrap().unwrap();
    }
}
