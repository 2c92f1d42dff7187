//! What outlives a connection, and what does not.

use std::time::Duration;

use stage_ticket::{AcquireError, ExtendError};

use super::relay::Relay;
use super::{Running, attached, config, connect, detached};

#[tokio::test]
async fn a_ticket_outlives_its_connection_and_is_asserted_again() {
    let server = Running::start(config()).await;
    let relay = Relay::to(server.address).await;
    let (shaky, steady) = (connect(relay.address), server.tickets());
    let held = shaky.acquire("db").await.unwrap();
    let token = held.token();
    attached(&steady).await;
    let waiting = steady.acquire("db");
    relay.refuse(true);
    detached(&shaky).await;
    assert!(held.deadline().is_some());
    assert_eq!(held.extend(Duration::from_secs(1)).await, Err(ExtendError::Unreachable));
    // A closed connection is no proof that the holder stopped.
    let busy = steady.try_acquire("db").await.unwrap_err();
    assert!(matches!(busy, AcquireError::Busy { .. }), "{busy}");
    relay.refuse(false);
    attached(&shaky).await;
    held.extend(Duration::from_secs(60)).await.unwrap();
    assert_eq!(held.token(), token);
    held.release();
    drop(waiting.await.unwrap());
}

#[tokio::test]
async fn a_release_without_a_connection_takes_effect_with_the_next_one() {
    let server = Running::start(config()).await;
    let relay = Relay::to(server.address).await;
    let (shaky, steady) = (connect(relay.address), server.tickets());
    let held = shaky.acquire("db").await.unwrap();
    attached(&steady).await;
    let waiting = steady.acquire("db");
    relay.refuse(true);
    detached(&shaky).await;
    drop(held);
    relay.refuse(false);
    // The grant lasts a minute: only the report of the node that is back can end it.
    drop(waiting.await.unwrap());
}

#[tokio::test]
async fn a_waiter_keeps_its_place_over_a_broken_connection() {
    let server = Running::start(config()).await;
    let relay = Relay::to(server.address).await;
    let (shaky, steady) = (connect(relay.address), server.tickets());
    let held = steady.acquire("db").await.unwrap();
    attached(&shaky).await;
    let first = shaky.acquire("db");
    while steady.stats().await.unwrap().iter().all(|category| category.waiters == 0) {}
    relay.cut();
    let second = steady.acquire("db");
    drop(held);
    let first = first.await.unwrap();
    assert_eq!(first.token().stamp.sequence, 2);
    drop(first);
    assert_eq!(second.await.unwrap().token().stamp.sequence, 3);
}

#[tokio::test]
async fn requests_made_without_a_connection_are_served_when_there_is_one() {
    let server = Running::start(config()).await;
    let relay = Relay::to(server.address).await;
    relay.refuse(true);
    let tickets = connect(relay.address);
    let (one, two) = (tickets.acquire("pair"), tickets.acquire("new at run time"));
    relay.refuse(false);
    drop(one.await.unwrap());
    drop(two.await.unwrap());
}

#[tokio::test]
async fn a_holder_that_is_gone_frees_its_permit_by_expiry_and_not_before() {
    let mut config = config();
    config.tickets.rules.grant = Duration::from_millis(300);
    let server = Running::start(config).await;
    let relay = Relay::to(server.address).await;
    let (shaky, steady) = (connect(relay.address), server.tickets());
    let held = shaky.acquire("db").await.unwrap();
    let mut revocations = shaky.revocations();
    attached(&steady).await;
    relay.refuse(true);
    let next = steady.acquire("db").await.unwrap();
    assert!(next.deadline().is_some());
    // By then the old holder knows, though nobody could tell it.
    assert_eq!(held.deadline(), None);
    assert_eq!(revocations.next().await, Some(held.token()));
    held.lost().await;
    assert_eq!(held.extend(Duration::from_secs(1)).await, Err(ExtendError::NotHeld));
    drop(held);
}

#[tokio::test]
async fn a_ticket_that_extends_itself_lives_longer_than_a_grant() {
    let mut config = config();
    config.tickets.rules.grant = Duration::from_secs(1);
    let server = Running::start(config).await;
    let tickets = server.tickets();
    let held = tickets.acquire("db").auto_extend(Duration::from_secs(30)).await.unwrap();
    let first = held.deadline().unwrap();
    tokio::time::sleep_until(first + Duration::from_millis(1500)).await;
    assert!(held.deadline().is_some_and(|deadline| deadline > first));
}

#[tokio::test]
async fn a_server_that_starts_again_learns_what_is_held_before_it_issues() {
    let mut config = config();
    config.tickets.epoch = Some(7);
    let server = Running::start(config.clone()).await;
    let (a, b) = (server.tickets(), server.tickets());
    let held = a.acquire("db").await.unwrap();
    let paused = b.acquire("db");
    attached(&b).await;
    let address = server.address.to_string();
    server.stop().await;
    detached(&a).await;
    config.tickets.epoch = Some(8);
    config.earlier = Some(Duration::from_secs(2));
    let _server = Running::start_on(config, &address).await;
    assert_eq!(attached(&a).await, 8);
    let refused = a.try_acquire("pair").await.unwrap_err();
    assert!(matches!(refused, AcquireError::Refused { .. }), "{refused}");
    held.release();
    let next = paused.await.unwrap();
    assert_eq!(next.token().stamp.epoch, 8);
}

#[tokio::test]
async fn a_node_takes_no_grants_of_an_epoch_older_than_its_last() {
    let mut config = config();
    config.tickets.epoch = Some(9);
    let server = Running::start(config.clone()).await;
    let tickets = server.tickets();
    attached(&tickets).await;
    let address = server.address.to_string();
    server.stop().await;
    detached(&tickets).await;
    config.tickets.epoch = Some(8);
    let stale = Running::start_on(config.clone(), &address).await;
    let mut status = tickets.statuses().remove(0);
    status.mark_unchanged();
    let waiting = tickets.acquire("db");
    status.changed().await.unwrap();
    stale.stop().await;
    config.tickets.epoch = Some(10);
    let _server = Running::start_on(config, &address).await;
    assert_eq!(waiting.await.unwrap().token().stamp.epoch, 10);
}

#[tokio::test]
async fn a_node_that_takes_leave_loses_its_places_at_once_and_asks_for_nothing_more() {
    let server = Running::start(config()).await;
    let (leaver, steady) = (server.tickets(), server.tickets());
    let held = steady.acquire("db").await.unwrap();
    attached(&leaver).await;
    let waiting = leaver.acquire("db");
    while steady.stats().await.unwrap().iter().all(|category| category.waiters == 0) {}
    leaver.leave().await;
    let cut = waiting.await.unwrap_err();
    assert!(matches!(cut, AcquireError::Unreachable { .. }), "{cut}");
    let late = leaver.acquire("db").await.unwrap_err();
    assert!(matches!(late, AcquireError::Unreachable { .. }), "{late}");
    // An absent node would keep its place for ten seconds.
    assert!(steady.stats().await.unwrap().iter().all(|category| category.waiters == 0));
    drop(held);
}

#[tokio::test]
async fn a_ticket_that_is_held_when_its_node_takes_leave_ends_at_its_deadline() {
    let mut config = config();
    config.tickets.rules.grant = Duration::from_secs(1);
    let server = Running::start(config).await;
    let tickets = server.tickets();
    let held = tickets.acquire("db").await.unwrap();
    tickets.leave().await;
    assert!(held.deadline().is_some());
    tokio::time::timeout(Duration::from_secs(10), held.lost()).await.unwrap();
    assert_eq!(held.deadline(), None);
}
