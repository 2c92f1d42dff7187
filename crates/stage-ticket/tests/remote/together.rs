//! What nodes that behave see.

use std::collections::BTreeSet;
use std::time::Duration;

use stage_ticket::{
    AcquireError, AnyTickets, CallError, Config, ExtendError, Fence, Limit, Tickets,
};

use super::{Running, attached, config};

#[tokio::test]
async fn two_nodes_share_one_limit_and_are_served_in_order() {
    let server = Running::start(config()).await;
    let (a, b) = (server.tickets(), server.tickets());
    let held = a.acquire("db").await.unwrap();
    attached(&b).await;
    let first = b.acquire("db");
    // The list shows that the first request has arrived before the second is made.
    while b.stats().await.unwrap().iter().all(|category| category.waiters == 0) {}
    let second = a.acquire("db");
    let token = held.token();
    held.release();
    let next = first.await.unwrap();
    assert!(next.token() > token);
    drop(next);
    let last = second.await.unwrap();
    assert_eq!(last.token().stamp.sequence, 3);
}

#[tokio::test]
async fn tokens_of_many_requests_are_unique_and_a_fence_admits_them() {
    let server = Running::start(config()).await;
    let (a, b) = (server.tickets(), server.tickets());
    let mut fence = Fence::new(8);
    let mut seen = BTreeSet::new();
    for _ in 0..50 {
        let (one, two) = tokio::join!(a.acquire("pair"), b.acquire("pair"));
        for ticket in [one.unwrap(), two.unwrap()] {
            fence.admit(ticket.token()).unwrap();
            assert!(seen.insert(ticket.id()));
        }
    }
    assert_eq!(seen.len(), 100);
}

#[tokio::test]
async fn a_request_that_would_not_wait_is_refused_at_once() {
    let server = Running::start(config()).await;
    let tickets = server.tickets();
    let unconnected = tickets.try_acquire("db").await.unwrap_err();
    assert!(matches!(unconnected, AcquireError::Unreachable { .. }), "{unconnected}");
    attached(&tickets).await;
    let held = tickets.try_acquire("db").await.unwrap();
    let busy = tickets.try_acquire("db").await.unwrap_err();
    assert!(matches!(busy, AcquireError::Busy { .. }), "{busy}");
    drop(held);
    drop(tickets.try_acquire("db").await.unwrap());
    // A negative limit refuses those who would wait.
    let _once = tickets.acquire("once").await.unwrap();
    let busy = tickets.acquire("once").await.unwrap_err();
    let AcquireError::Busy { limit, .. } = busy else { panic!("{busy}") };
    assert_eq!(limit, Limit::try_new(-1).unwrap());
}

#[tokio::test]
async fn an_extension_moves_the_deadline_and_a_longer_one_than_allowed_is_refused() {
    let mut config = config();
    config.tickets.rules.grant = Duration::from_secs(20);
    let server = Running::start(config).await;
    let tickets = server.tickets();
    let ticket = tickets.acquire("db").await.unwrap();
    let before = ticket.deadline().unwrap();
    let after = ticket.extend(Duration::from_secs(50)).await.unwrap();
    assert!(after > before + Duration::from_secs(20));
    assert_eq!(ticket.deadline(), Some(after));
    let too_long = ticket.extend(Duration::from_secs(61)).await.unwrap_err();
    assert!(matches!(too_long, ExtendError::TooLong { .. }), "{too_long}");
    // It is never shortened.
    let same = ticket.extend(Duration::from_secs(1)).await.unwrap();
    assert!(same >= after);
}

#[tokio::test]
async fn a_broadcast_reaches_the_holders_of_the_category_and_nobody_else() {
    let server = Running::start(config()).await;
    let (a, b) = (server.tickets(), server.tickets());
    let (one, two) = tokio::join!(a.acquire("pair"), b.acquire("pair"));
    let other = b.acquire("db").await.unwrap();
    let (one, two) = (one.unwrap(), two.unwrap());
    let (mut of_one, mut of_two, mut of_other) = (one.notices(), two.notices(), other.notices());
    assert_eq!(a.broadcast("pair", b"stop").await.unwrap(), 2);
    assert_eq!(of_one.next().await.as_deref(), Some(&b"stop"[..]));
    assert_eq!(of_two.next().await.as_deref(), Some(&b"stop"[..]));
    drop(other);
    assert_eq!(of_other.next().await, None);
    assert_eq!(a.broadcast("nobody holds this", b"").await.unwrap(), 0);
    // The longest that may be arrives whole; a longer one is an error of the caller's.
    let (most, bytes) = (1 << 16, (1 << 16) + 1);
    assert_eq!(a.broadcast("pair", &vec![7; most]).await.unwrap(), 2);
    assert_eq!(of_two.next().await.map(|message| message.len()), Some(most));
    let too_long = CallError::MessageTooLong { bytes, most };
    assert_eq!(a.broadcast("pair", &vec![7; bytes]).await.unwrap_err(), too_long);
    let here = AnyTickets::from(Tickets::new(Config::default().category("pair", 2)).unwrap());
    assert_eq!(here.broadcast("pair", &vec![7; bytes]).await.unwrap_err(), too_long);
}

#[tokio::test]
async fn a_category_changes_at_run_time_and_closing_it_tells_those_who_wait() {
    let server = Running::start(config()).await;
    let (a, b) = (server.tickets(), server.tickets());
    let _held = a.acquire("db").await.unwrap();
    let waiting = b.acquire("db");
    attached(&b).await;
    a.set_category("db", 2, None).await.unwrap();
    let granted = waiting.await.unwrap();
    let waiting = b.acquire("db");
    a.close("db").await.unwrap();
    let closed = waiting.await.unwrap_err();
    assert!(matches!(closed, AcquireError::Closed { .. }), "{closed}");
    assert!(granted.deadline().is_some());
    let stats = b.stats().await.unwrap();
    let db = stats.iter().find(|category| category.name.as_str() == "db").unwrap();
    assert!(db.closed);
    assert_eq!((db.holders, db.waiters, db.totals.granted), (2, 0, 2));
}

#[tokio::test]
async fn bad_categories_are_told_to_whoever_names_them() {
    let mut config = config();
    config.tickets = config.tickets.only_listed();
    let server = Running::start(config).await;
    let tickets = server.tickets();
    let unknown = tickets.acquire("dbb").await.unwrap_err();
    assert!(matches!(unknown, AcquireError::UnknownCategory { .. }), "{unknown}");
    let long = tickets.acquire(&"x".repeat(1 << 20)).await.unwrap_err();
    assert!(matches!(long, AcquireError::Name(_)), "{long}");
    for limit in [0, 1 << 40, i64::MIN] {
        let refused = tickets.set_category("db", limit, None).await.unwrap_err();
        assert!(matches!(refused, CallError::Refused { .. }), "{limit}: {refused}");
    }
    // An operator makes the category, and the next use of it finds it.
    tickets.set_category("dbb", 1, None).await.unwrap();
    drop(tickets.acquire("dbb").await.unwrap());
}

#[tokio::test]
async fn a_dropped_future_gives_up_its_place_and_a_grant_that_crossed_it() {
    let server = Running::start(config()).await;
    let tickets = server.tickets();
    attached(&tickets).await;
    let held = tickets.acquire("db").await.unwrap();
    let gives_up = tickets.acquire("db");
    let patient = tickets.acquire("db");
    drop(gives_up);
    drop(held);
    drop(patient.await.unwrap());
    for _ in 0..20 {
        drop(tickets.acquire("db"));
    }
    drop(tickets.acquire("db").await.unwrap());
}

#[tokio::test]
async fn one_handle_does_the_same_with_tickets_of_this_process_and_of_another() {
    let server = Running::start(config()).await;
    let remote = server.tickets();
    attached(&remote).await;
    let local = Tickets::new(Config::default().category("db", 1)).unwrap();
    for tickets in [AnyTickets::from(local), AnyTickets::from(remote)] {
        let held = tickets.acquire("db").auto_extend(Duration::from_secs(5)).await.unwrap();
        let busy = tickets.try_acquire("db").await.unwrap_err();
        assert!(matches!(busy, AcquireError::Busy { .. }), "{busy}");
        assert_eq!(held.extend(Duration::from_secs(9)).await.ok(), held.deadline());
        let mut notices = held.notices();
        assert_eq!(tickets.broadcast("db", b"hear").await.unwrap(), 1);
        assert_eq!(notices.next().await.as_deref(), Some(&b"hear"[..]));
        let waiting = tickets.acquire("db");
        tickets.close("db").await.unwrap();
        assert!(matches!(waiting.await, Err(AcquireError::Closed { .. })));
        let lost = held.lost();
        held.release();
        lost.await;
        tickets.set_category("db", 1, None).await.unwrap();
        assert!(tickets.set_category("db", 0, None).await.is_err());
        drop(tickets.try_acquire("db").await.unwrap());
        assert_eq!(tickets.stats().await.unwrap().iter().map(|c| c.holders).sum::<u32>(), 0);
    }
}
