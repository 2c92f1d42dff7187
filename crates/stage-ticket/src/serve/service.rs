use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use stage_proto::ticket::v1 as proto;
use stage_proto::ticket::v1::ticket_service_server::TicketService;
use tonic::{Request, Response, Status, Streaming};

use super::hub::Hub;
use super::office::{Office, Standing};
use super::session;
use crate::remote::message_fits;
use crate::{CategoryId, CategoryName, ConfigError, local};

/// The calls of `stage.ticket.v1.TicketService`.
#[derive(Debug)]
pub struct Service {
    office: Arc<Office>,
    patience: Duration,
}

type Frames = Pin<Box<dyn Stream<Item = Result<proto::ServerFrame, Status>> + Send>>;

impl Service {
    pub(super) fn new(office: Arc<Office>, patience: Duration) -> Self {
        Self { office, patience }
    }

    fn hub(&self) -> Result<Arc<Hub>, Status> {
        match self.office.standing() {
            Standing::Leading(hub) => Ok(hub),
            Standing::Following { leader } if leader.is_empty() => {
                Err(Status::unavailable("nobody is known to lead, try again"))
            }
            Standing::Following { leader } => {
                Err(Status::failed_precondition(format!("this server does not lead, ask {leader}")))
            }
        }
    }
}

#[tonic::async_trait]
impl TicketService for Service {
    type AttachStream = Frames;

    async fn attach(
        &self,
        request: Request<Streaming<proto::ClientFrame>>,
    ) -> Result<Response<Frames>, Status> {
        let frames = session::open(&self.office, request.into_inner(), self.patience).await?;
        Ok(Response::new(Box::pin(frames)))
    }

    async fn set_category(
        &self,
        request: Request<proto::SetCategoryRequest>,
    ) -> Result<Response<proto::SetCategoryResponse>, Status> {
        let proto::SetCategoryRequest { name, limit, close_after_ms } = request.into_inner();
        let (name, limit) = local::category(&name, limit).map_err(|error| malformed(&error))?;
        self.hub()?.set_category(&name, limit, close_after_ms.map(Duration::from_millis))?;
        Ok(Response::new(proto::SetCategoryResponse {}))
    }

    async fn close_category(
        &self,
        request: Request<proto::CloseCategoryRequest>,
    ) -> Result<Response<proto::CloseCategoryResponse>, Status> {
        self.hub()?.close_category(id(&request.into_inner().name)?);
        Ok(Response::new(proto::CloseCategoryResponse {}))
    }

    async fn broadcast(
        &self,
        request: Request<proto::BroadcastRequest>,
    ) -> Result<Response<proto::BroadcastResponse>, Status> {
        let proto::BroadcastRequest { category, message } = request.into_inner();
        message_fits(&message).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let holders = self.hub()?.broadcast(id(&category)?, &message);
        Ok(Response::new(proto::BroadcastResponse { holders }))
    }

    async fn list_categories(
        &self,
        request: Request<proto::ListCategoriesRequest>,
    ) -> Result<Response<proto::ListCategoriesResponse>, Status> {
        let categories = self.hub()?.list(request.into_inner().holders);
        Ok(Response::new(proto::ListCategoriesResponse { categories }))
    }
}

fn id(name: &str) -> Result<CategoryId, Status> {
    let name = CategoryName::try_new(name).map_err(|error| malformed(&error.into()))?;
    Ok(name.id())
}

fn malformed(error: &ConfigError) -> Status {
    Status::invalid_argument(error.to_string())
}
