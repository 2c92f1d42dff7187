//! A cluster whose members live on.

use std::time::Duration;

use stage_ticket::cluster::{ClusterConfig, Member, Standing};
use stage_ticket::{AcquireError, ExtendError, RemoteTickets, Status};
use tokio::net::TcpListener;

use super::etcd::Etcd;
use super::signal;

async fn member(etcd: &Etcd, authority: Duration) -> (Member, RemoteTickets) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut config = ClusterConfig::new(&etcd.endpoints, &address);
    config.authority = authority;
    config.server = config.server.category("db", 1);
    let member = Member::start(config).unwrap();
    let service = member.service();
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(tonic::transport::server::TcpIncoming::from(listener)),
    );
    let tickets = member.tickets().unwrap();
    (member, tickets)
}

#[tokio::test]
async fn a_grant_writes_nothing_into_etcd_and_a_longer_one_is_written_down_first() {
    let etcd = Etcd::start().await;
    let (member, tickets) = member(&etcd, Duration::from_secs(60)).await;
    drop(tickets.acquire("db").await.unwrap());
    assert!(matches!(*member.standings().remove(0).borrow(), Standing::Leading { .. }));
    let before = etcd.revision().await;
    for _ in 0..500 {
        let ticket = tickets.acquire("db").await.unwrap();
        ticket.extend(Duration::from_secs(1)).await.unwrap();
    }
    assert_eq!(etcd.revision().await, before);
    let ticket = tickets.acquire("db").await.unwrap();
    ticket.extend(Duration::from_secs(5)).await.unwrap();
    assert_eq!(etcd.revision().await, before + 1);
    // It is written down for the next ones too.
    ticket.extend(Duration::from_secs(4)).await.unwrap();
    assert_eq!(etcd.revision().await, before + 1);
    let too_long = ticket.extend(Duration::from_secs(11)).await.unwrap_err();
    assert!(matches!(too_long, ExtendError::TooLong { .. }), "{too_long}");
}

#[tokio::test]
async fn one_member_leads_and_a_node_of_another_is_sent_to_it() {
    let etcd = Etcd::start().await;
    let authority = Duration::from_secs(2);
    let (one, _) = member(&etcd, authority).await;
    let mut standing = one.standings().remove(0);
    standing.wait_for(|standing| matches!(standing, Standing::Leading { .. })).await.unwrap();
    let (two, tickets) = member(&etcd, authority).await;
    let ticket = tickets.acquire("db").await.unwrap();
    let Standing::Leading { epoch } = *standing.borrow() else { panic!("it led") };
    assert_eq!(ticket.token().stamp.epoch, epoch);
    assert!(matches!(*two.standings().remove(0).borrow(), Standing::Following { .. }));
}

#[tokio::test]
async fn without_etcd_the_leader_serves_until_its_authority_ends_and_recovers_by_itself() {
    let etcd = Etcd::start().await;
    let (member, tickets) = member(&etcd, Duration::from_secs(1)).await;
    let held = tickets.acquire("db").auto_extend(Duration::from_secs(60)).await.unwrap();
    for member in &etcd.members {
        signal(&member.0, "-STOP");
    }
    let mut status = tickets.statuses().remove(0);
    let is_away = |status: &Status| matches!(status, Status::Connecting { why: Some(_) });
    status.wait_for(is_away).await.unwrap();
    // What could not be extended ends at its deadline, and nobody else gets it.
    held.lost().await;
    let refused = tickets.try_acquire("db").await.unwrap_err();
    assert!(matches!(refused, AcquireError::Unreachable { .. }), "{refused}");
    let waiting = tickets.acquire("db");
    // Whoever asks the member hears that it gives out nothing now.
    let nobody = Standing::Following { leader: String::new() };
    assert_eq!(*member.standings().remove(0).borrow(), nobody);
    for member in &etcd.members {
        signal(&member.0, "-CONT");
    }
    let next = waiting.await.unwrap();
    assert_eq!(next.token().stamp.epoch, held.token().stamp.epoch);
    assert!(next.token() > held.token());
    assert!(matches!(*member.standings().remove(0).borrow(), Standing::Leading { .. }));
}

#[tokio::test]
async fn a_leader_that_stops_hands_over_at_once_with_its_holders_and_waiters() {
    let etcd = Etcd::start().await;
    // Whoever had to wait for the end of the authority would wait for a minute.
    let authority = Duration::from_secs(60);
    let (one, own) = member(&etcd, authority).await;
    let mut standing = one.standings().remove(0);
    standing.wait_for(|standing| matches!(standing, Standing::Leading { .. })).await.unwrap();
    let (two, tickets) = member(&etcd, authority).await;
    let held = tickets.acquire("db").auto_extend(Duration::from_secs(60)).await.unwrap();
    let waiting = tickets.acquire("db");
    // One that leaves while it is written down may stay so, and would be waited for.
    own.statuses()
        .remove(0)
        .wait_for(|status| matches!(status, Status::Attached { .. }))
        .await
        .unwrap();
    let late = own.acquire("db");
    own.leave().await;
    assert!(late.await.is_err());
    one.retire().await;
    let mut standing = two.standings().remove(0);
    standing.wait_for(|standing| matches!(standing, Standing::Leading { .. })).await.unwrap();
    // The new leader has learned who holds before it issues.
    tickets
        .statuses()
        .remove(0)
        .wait_for(|status| matches!(status, Status::Attached { .. }))
        .await
        .unwrap();
    let busy = tickets.try_acquire("db").await.unwrap_err();
    assert!(matches!(busy, AcquireError::Busy { .. }), "{busy}");
    let token = held.token();
    held.release();
    let next = waiting.await.unwrap();
    assert_eq!(next.token().stamp.epoch, token.stamp.epoch + 1);
}
