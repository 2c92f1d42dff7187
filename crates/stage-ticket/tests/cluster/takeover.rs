//! How long a takeover takes.

use std::time::{Duration, Instant};

use stage_ticket::{RemoteConfig, RemoteTickets};

use super::etcd::Etcd;
use super::{child, free_port};

#[tokio::test]
async fn after_the_coordinators_death_the_next_grant_comes_when_its_authority_is_over_and_all_nodes_have_reported()
 {
    let authority = Duration::from_secs(3);
    let etcd = Etcd::start().await;
    let addresses: Vec<String> = (0..2).map(|_| format!("127.0.0.1:{}", free_port())).collect();
    let mut members: Vec<_> = addresses
        .iter()
        .map(|address| child::coordinator(address, address, &etcd.endpoints, authority))
        .collect();
    let connect = || RemoteTickets::connect(RemoteConfig::new(&addresses)).unwrap();
    let (a, b) = (connect(), connect());
    drop(a.acquire("db").await.unwrap());
    drop(b.acquire("db").await.unwrap());
    let leader = etcd.coordinator().await.unwrap();
    let at = addresses.iter().position(|address| *address == leader).unwrap();
    let killed = Instant::now();
    members[at].0.kill().unwrap();
    // A grant of the old coordinator may still come; the next one is of the new one.
    let first = loop {
        if let Ok(ticket) = a.acquire("db").await
            && etcd.coordinator().await.is_some_and(|now| now != leader)
        {
            break ticket;
        }
    };
    let took = killed.elapsed();
    println!("first new grant {took:?} after kill -9, D = {authority:?}: {}", first.token());
    // Had it waited for old grants to end instead of for reports, it would have taken longer: a grant
    // of these coordinators runs for 1.8 s.
    assert!(took < authority + Duration::from_millis(1700), "{took:?}");
    drop(b.acquire("db").await.unwrap());
}
