//! Scenarios of the in-process tickets, under virtual time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test says what is wrong by panicking"
)]

use std::time::Duration;

use stage_ticket::{AcquireError, Config, ConfigError, ExtendError, Fence, LimitError, Tickets};
use tokio::time::{Instant, advance, sleep, timeout};

fn tickets(config: Config) -> Tickets {
    Tickets::new(config).expect("a good configuration")
}

const SOON: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn waiters_are_granted_in_the_order_of_their_calls_not_of_their_polls() {
    let tickets = tickets(Config::default().category("db", 1));
    let first = tickets.acquire("db").await.unwrap();
    let mut second = tickets.acquire("db");
    let third = tickets.acquire("db");

    let third = tokio::spawn(third);
    sleep(SOON).await;
    assert!(timeout(SOON, &mut second).await.is_err());
    drop(first);
    let second = second.await.unwrap();
    assert!(!third.is_finished());
    second.release();
    assert!(third.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn dropping_the_future_gives_up_the_place_and_a_grant_nobody_picked_up() {
    let tickets = tickets(Config::default().category("db", 1));
    let first = tickets.acquire("db").await.unwrap();
    let abandoned = tickets.acquire("db");
    let granted_unseen = tickets.acquire("db");
    let last = tickets.acquire("db");

    drop(abandoned);
    drop(first);
    drop(granted_unseen);
    assert!(timeout(SOON, last).await.unwrap().is_ok());
    assert_eq!(tickets.stats()[0].holders, 0);
    assert_eq!(tickets.stats()[0].waiters, 0);
}

#[tokio::test(start_paused = true)]
async fn an_unextended_ticket_expires_after_a_second_and_its_holder_is_told() {
    let tickets = tickets(Config::default().category("db", 1));
    let start = Instant::now();
    let late = tickets.acquire("db").await.unwrap();
    let next = tickets.acquire("db");

    late.lost().await;
    let next = next.await.unwrap();
    let waited = start.elapsed();
    assert!(waited >= Duration::from_secs(1) && waited < Duration::from_millis(1010), "{waited:?}");
    assert_eq!(late.deadline(), None);
    assert_eq!(late.extend(Duration::from_secs(1)), Err(ExtendError::NotHeld));
    assert_eq!(tickets.stats()[0].totals.expired, 1);

    let mut fence = Fence::new(10);
    fence.admit(late.token()).unwrap();
    fence.admit(next.token()).unwrap();
    assert!(fence.admit(late.token()).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_late_release_never_frees_the_next_holders_permit() {
    let tickets = tickets(Config::default().category("db", 1));
    let late = tickets.acquire("db").await.unwrap();
    let next = tickets.acquire("db").await.unwrap();
    drop(late);
    assert!(tickets.try_acquire("db").is_err());
    assert!(next.deadline().is_some());
}

#[tokio::test(start_paused = true)]
async fn an_extension_moves_the_deadline_and_never_shortens_it() {
    let tickets = tickets(Config::default().category("db", 1));
    let ticket = tickets.acquire("db").await.unwrap();
    let until = ticket.extend(Duration::from_secs(10)).unwrap();
    assert_eq!(until, Instant::now() + Duration::from_secs(10));
    assert_eq!(ticket.extend(Duration::from_secs(2)).unwrap(), until);
    advance(Duration::from_secs(9)).await;
    assert!(tickets.try_acquire("db").is_err());
    advance(Duration::from_secs(1)).await;
    assert!(tickets.try_acquire("db").is_ok());
    let day = Duration::from_secs(86_400);
    let ticket = tickets.acquire("db").await.unwrap();
    assert!(matches!(ticket.extend(day), Err(ExtendError::TooLong { .. })));
}

#[tokio::test(start_paused = true)]
async fn an_auto_extended_ticket_lives_to_its_total_and_no_longer() {
    let tickets = tickets(Config::default().category("db", 1));
    let start = Instant::now();
    let ticket = tickets.acquire("db").auto_extend(Duration::from_secs(30)).await.unwrap();
    assert!(ticket.deadline().unwrap() <= start + Duration::from_secs(1));
    ticket.lost().await;
    let lived = start.elapsed();
    assert!(lived >= Duration::from_secs(30) && lived < Duration::from_millis(30_010), "{lived:?}");
}

#[tokio::test(start_paused = true)]
async fn a_negative_limit_refuses_the_next_instead_of_queueing_it() {
    let tickets = tickets(Config::default().category("login", -2));
    let one = tickets.acquire("login").await.unwrap();
    let _two = tickets.acquire("login").await.unwrap();
    let refused = tickets.acquire("login").await.unwrap_err();
    assert_eq!(refused.to_string(), "all 2 permits of login are out");
    drop(one);
    assert!(tickets.acquire("login").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_first_use_makes_a_category_of_one_unless_only_listed_ones_exist() {
    let open = tickets(Config::default());
    let _held = open.try_acquire("anything").unwrap();
    assert!(matches!(open.try_acquire("anything"), Err(AcquireError::Busy { .. })));

    let listed = tickets(Config::default().category("login", 2).only_listed());
    let error = listed.acquire("logn").await.unwrap_err();
    assert_eq!(error.to_string(), "unknown ticket category logn, did you mean login?");
}

#[tokio::test(start_paused = true)]
async fn lowering_a_limit_drains_and_raising_it_grants() {
    let tickets = tickets(Config::default().category("db", 3));
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(tickets.acquire("db").await.unwrap());
    }
    tickets.set_category("db", 1, None).unwrap();
    assert!(held.iter().all(|ticket| ticket.deadline().is_some()));
    let waiter = tickets.acquire("db");
    held.pop();
    held.pop();
    assert_eq!(tickets.stats()[0].waiters, 1);
    tickets.set_category("db", 2, None).unwrap();
    let waiter = timeout(SOON, waiter).await.unwrap().unwrap();
    assert_ne!(waiter.token().slot, held[0].token().slot);
}

#[tokio::test(start_paused = true)]
async fn a_category_closes_after_its_time_tells_its_waiters_and_opens_when_set_again() {
    let tickets = tickets(Config::default().category("db", 1));
    tickets.set_category("db", 1, Some(Duration::from_millis(500))).unwrap();
    let held = tickets.acquire("db").await.unwrap();
    let waiter = tickets.acquire("db");
    let start = Instant::now();
    assert!(matches!(waiter.await, Err(AcquireError::Closed { .. })));
    assert!(start.elapsed() < Duration::from_millis(510));
    assert!(held.deadline().is_some());
    assert!(matches!(tickets.try_acquire("db"), Err(AcquireError::Closed { .. })));
    tickets.set_category("db", 2, None).unwrap();
    assert!(tickets.try_acquire("db").is_ok());
    tickets.close("db");
    assert!(matches!(tickets.acquire("db").await, Err(AcquireError::Closed { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_broadcast_reaches_every_holder_that_listens() {
    let tickets = tickets(Config::default().category("db", 2));
    let (one, two) = (tickets.acquire("db").await.unwrap(), tickets.acquire("db").await.unwrap());
    let mut heard = one.notices();
    assert_eq!(tickets.broadcast("db", b"hurry"), 2);
    assert_eq!(heard.next().await.as_deref(), Some(&b"hurry"[..]));
    drop(one);
    assert_eq!(heard.next().await, None);
    assert_eq!(tickets.holders("db").len(), 1);
    assert_eq!(tickets.holders("db")[0].token, two.token());
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_expired_before_it_was_looked_at_is_no_ticket() {
    let tickets = tickets(Config::default().category("db", 1));
    let forgotten = tickets.acquire("db");
    advance(Duration::from_secs(2)).await;
    assert!(matches!(forgotten.await, Err(AcquireError::TooLate { .. })));
    assert!(tickets.try_acquire("db").is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_at_once() {
    let mut config = Config::default().category("db", 1);
    config.rules.max_waiters = 1;
    let tickets = tickets(config);
    let _held = tickets.acquire("db").await.unwrap();
    let _waiter = tickets.acquire("db");
    let error = tickets.acquire("db").await.unwrap_err();
    assert!(matches!(error, AcquireError::QueueFull { max: 1, .. }));
}

#[tokio::test(start_paused = true)]
async fn a_closed_category_at_rest_makes_room_for_a_new_one() {
    let mut config = Config::default();
    config.rules.max_categories = 2;
    let tickets = tickets(config);
    for name in ["a", "b"] {
        drop(tickets.acquire(name).await.unwrap());
    }
    assert!(matches!(tickets.acquire("c").await, Err(AcquireError::TooManyCategories { .. })));
    tickets.close("a");
    assert!(tickets.acquire("c").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn bad_names_and_limits_are_refused_with_what_to_do() {
    let tickets = tickets(Config::default());
    let long = "x".repeat(1 << 20);
    let error = tickets.acquire(&long).await.unwrap_err();
    assert_eq!(error.to_string(), "a category name of 1048576 bytes is too long, use at most 255");
    let error = tickets.set_category("db", 0, None).unwrap_err();
    assert!(matches!(error, ConfigError::Limit { source: LimitError::Zero, .. }));
    let error = tickets.set_category("db", 1 << 40, None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "category db: a limit of 1099511627776 is too large, use at most 1048576"
    );
    assert!(tickets.set_category("db", i64::MIN, None).is_err());
}

#[test]
fn without_a_runtime_there_are_no_tickets() {
    assert_eq!(Tickets::new(Config::default()).unwrap_err(), ConfigError::NoRuntime);
}
