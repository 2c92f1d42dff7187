//! A tower service under route control.
#![cfg(feature = "tower")]

use std::convert::Infallible;
use std::time::Duration;

use stage_route::{Config, Route, RouteLayer, ServiceError, State, WINDOW};
use tower::util::BoxCloneService;
use tower::{ServiceBuilder, ServiceExt, service_fn};

async fn windows(route: &Route, count: u32) {
    route.clone().run(tokio::time::sleep(WINDOW * count + WINDOW / 2)).await;
}

fn slow(route: &Route, workers: usize) -> BoxCloneService<u32, u32, ServiceError<Infallible>> {
    let service = service_fn(|request: u32| async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok::<_, Infallible>(request + 1)
    });
    let layer = RouteLayer::new(route, "api", workers);
    BoxCloneService::new(ServiceBuilder::new().layer(layer).service(service))
}

#[tokio::test(start_paused = true)]
async fn a_request_passes_through_a_joined_node() {
    let route = Route::new("a", Config::default());
    assert_eq!(slow(&route, 1).oneshot(1).await.unwrap(), 2);
    windows(&route, 1).await;
    assert_eq!(route.view().state, State::Joined);
}

#[tokio::test(start_paused = true)]
async fn no_more_requests_are_inside_than_there_are_workers() {
    let route = Route::new("a", Config::never());
    let service = slow(&route, 2);
    let begin = tokio::time::Instant::now();
    let calls = (0..6).map(|n| tokio::spawn(service.clone().oneshot(n)));
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
    assert_eq!(begin.elapsed().as_millis() / 50, 3);
}

#[tokio::test(start_paused = true)]
async fn an_overloaded_node_refuses_with_its_state_before_the_service_sees_it() {
    let route = Route::new("a", Config::try_new(0.001).unwrap());
    let service = slow(&route, 1);
    let stuck = route.meter("stuck");
    let _message = stuck.arrived();
    // Real time passes in the meter; the windows are virtual.
    std::thread::sleep(Duration::from_millis(10));
    windows(&route, 40).await;
    assert_eq!(route.view().state, State::Held);
    let mut refused = None;
    for _ in 0..10 {
        refused = refused.or(service.clone().oneshot(1).await.err());
    }
    let refused = refused.unwrap();
    assert!(refused.is_not_started());
    assert_eq!(refused.to_string(), "node a is held");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waited_for_too_long_is_not_started() {
    let route = Route::new("a", Config::try_new(0.001).unwrap());
    let meter = route.meter("other");
    for _ in 0..4 {
        for _ in 0..5 {
            meter.started(meter.arrived());
            meter.finished(Duration::ZERO);
        }
        windows(&route, 1).await;
    }
    let service = slow(&route, 1);
    let inside = tokio::spawn(service.clone().oneshot(1));
    let waiting = tokio::spawn(service.clone().oneshot(1));
    tokio::task::yield_now().await;
    windows(&route, 0).await;
    std::thread::sleep(Duration::from_millis(10));
    windows(&route, 0).await;
    inside.await.unwrap().unwrap();
    let late = waiting.await.unwrap().unwrap_err();
    assert!(matches!(late, ServiceError::Late(_)), "{late}");
    assert!(late.is_not_started());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_leaves_the_queue() {
    let route = Route::new("a", Config::default());
    let service = slow(&route, 1);
    let inside = tokio::spawn(service.clone().oneshot(1));
    let waiting = tokio::spawn(service.clone().oneshot(1));
    tokio::task::yield_now().await;
    waiting.abort();
    inside.abort();
    assert!(waiting.await.is_err() && inside.await.is_err());
    std::thread::sleep(Duration::from_millis(5));
    windows(&route, 2).await;
    assert_eq!(route.view().delay, Duration::ZERO);
}
