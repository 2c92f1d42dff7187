//! What tools of any language ask a gRPC port: whether it is well, and what it serves.

use stage_proto::DESCRIPTORS;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::ServingStatus;

/// The services that health tells of; the empty name is the whole node.
const SERVICES: [&str; 2] = ["", "stage.signal.v1.SignalService"];

/// Adds health (`grpc.health.v1`) and reflection (`grpc.reflection.v1` and `v1alpha`). When the node stops, it no
/// longer counts as serving.
pub(super) fn add(routes: Routes, stopping: &CancellationToken) -> Routes {
    let (reporter, health) = tonic_health::server::health_reporter();
    let stopping = stopping.clone();
    tokio::spawn(async move {
        for service in SERVICES {
            reporter.set_service_status(service, ServingStatus::Serving).await;
        }
        stopping.cancelled().await;
        for service in SERVICES {
            reporter.set_service_status(service, ServingStatus::NotServing).await;
        }
    });
    let routes = routes.add_service(health);
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
    };
    match (builder().build_v1(), builder().build_v1alpha()) {
        (Ok(v1), Ok(alpha)) => routes.add_service(v1).add_service(alpha),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "the node's port has no reflection");
            routes
        }
    }
}
