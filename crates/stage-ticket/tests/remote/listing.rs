//! What operators are told of those who hold and wait.

use std::time::Duration;

use stage_ticket::{RemoteConfig, RemoteConfigError, RemoteTickets};

use super::{Running, attached, config};

fn named(server: &Running, name: &str) -> Result<RemoteTickets, RemoteConfigError> {
    let mut config = RemoteConfig::new([server.address.to_string()]);
    name.clone_into(&mut config.name);
    RemoteTickets::connect(config)
}

#[tokio::test]
async fn holders_are_listed_by_node_and_slot_with_their_time_left_the_oldest_first() {
    let server = Running::start(config()).await;
    let (a, b) = (named(&server, "a").unwrap(), named(&server, "b").unwrap());
    let older = a.acquire("pair").await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let newer = b.acquire("pair").await.unwrap();
    let _waiting = b.acquire("pair");
    while b.stats().await.unwrap().iter().all(|category| category.waiters == 0) {}
    tokio::time::sleep(Duration::from_millis(5)).await;

    let listed = |all: Vec<stage_ticket::CategoryStats>| {
        all.into_iter().find(|category| category.name.as_str() == "pair").unwrap()
    };
    let pair = listed(a.stats_with_holders(9).await.unwrap());
    assert!(pair.waiting.unwrap() >= Duration::from_millis(5), "{pair:?}");
    let holders: Vec<_> =
        pair.listed.iter().map(|holder| (holder.node.as_str(), holder.token)).collect();
    assert_eq!(holders, [("a", older.token()), ("b", newer.token())]);
    assert_eq!([older.token().slot, newer.token().slot], [0, 1]);
    let (first, second) = (&pair.listed[0], &pair.listed[1]);
    assert!(first.age > second.age && first.remaining < second.remaining, "{pair:?}");
    assert!(second.remaining <= Duration::from_secs(60));

    // No more than were asked for; none unless they are.
    let pair = listed(a.stats_with_holders(1).await.unwrap());
    assert_eq!(pair.listed.iter().map(|holder| holder.token).collect::<Vec<_>>(), [older.token()]);
    assert!(listed(a.stats().await.unwrap()).listed.is_empty());
    older.release();
    // The one that waited has it now, and nobody waits.
    while listed(a.stats().await.unwrap()).waiting.is_some() {}
}

#[tokio::test]
async fn a_node_without_a_name_is_listed_by_its_number_and_one_that_garbles_terminals_is_refused() {
    let server = Running::start(config()).await;
    let tickets = server.tickets();
    let _held = tickets.acquire("db").await.unwrap();
    attached(&tickets).await;
    let all = tickets.stats_with_holders(1).await.unwrap();
    let node = &all.iter().find(|category| category.name.as_str() == "db").unwrap().listed[0].node;
    assert!(node.len() == 16 && u64::from_str_radix(node, 16).is_ok(), "{node}");
    for name in ["a\u{1b}[2J", &"n".repeat(256)] {
        let refused = named(&server, name).unwrap_err();
        assert!(matches!(refused, RemoteConfigError::Name(_)), "{refused}");
    }
}
