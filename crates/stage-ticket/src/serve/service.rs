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
use crate::{CategoryId, CategoryName, ConfigError, Shards, local, wire};

/// The calls of `stage.ticket.v1.TicketService`.
#[derive(Debug)]
pub struct Service {
    /// One for each shard.
    offices: Arc<[Arc<Office>]>,
    patience: Duration,
}

type Frames = Pin<Box<dyn Stream<Item = Result<proto::ServerFrame, Status>> + Send>>;

impl Service {
    pub(super) fn new(offices: Arc<[Arc<Office>]>, patience: Duration) -> Self {
        Self { offices, patience }
    }

    /// Who counts a category.
    fn counting(&self, category: CategoryId) -> Result<Arc<Hub>, Status> {
        let shards = u32::try_from(self.offices.len()).unwrap_or(u32::MAX);
        let shards = Shards::try_new(shards).unwrap_or_default();
        self.hub(wire::shard_message(shards.of(category)))
    }

    fn hub(&self, shard: Option<proto::Shard>) -> Result<Arc<Hub>, Status> {
        match session::office(&self.offices, shard)?.standing() {
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
        let frames = session::open(&self.offices, request.into_inner(), self.patience).await?;
        Ok(Response::new(Box::pin(frames)))
    }

    async fn set_category(
        &self,
        request: Request<proto::SetCategoryRequest>,
    ) -> Result<Response<proto::SetCategoryResponse>, Status> {
        let proto::SetCategoryRequest { name, limit, close_after_ms } = request.into_inner();
        let (name, limit) = local::category(&name, limit).map_err(|error| malformed(&error))?;
        self.counting(name.id())?.set_category(
            &name,
            limit,
            close_after_ms.map(Duration::from_millis),
        )?;
        Ok(Response::new(proto::SetCategoryResponse {}))
    }

    async fn close_category(
        &self,
        request: Request<proto::CloseCategoryRequest>,
    ) -> Result<Response<proto::CloseCategoryResponse>, Status> {
        let category = id(&request.into_inner().name)?;
        self.counting(category)?.close_category(category);
        Ok(Response::new(proto::CloseCategoryResponse {}))
    }

    async fn broadcast(
        &self,
        request: Request<proto::BroadcastRequest>,
    ) -> Result<Response<proto::BroadcastResponse>, Status> {
        let proto::BroadcastRequest { category, message } = request.into_inner();
        message_fits(&message).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let category = id(&category)?;
        let holders = self.counting(category)?.broadcast(category, &message);
        Ok(Response::new(proto::BroadcastResponse { holders }))
    }

    async fn list_categories(
        &self,
        request: Request<proto::ListCategoriesRequest>,
    ) -> Result<Response<proto::ListCategoriesResponse>, Status> {
        let proto::ListCategoriesRequest { holders, shard } = request.into_inner();
        let categories = self.hub(shard)?.list(holders);
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
