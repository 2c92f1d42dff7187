//! What peers that do not behave get.

use stage_proto::ticket::v1 as proto;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Code;

use super::peer::{Peer, hello, request};
use super::{Running, config};

#[tokio::test]
async fn a_request_that_comes_twice_is_one_request() {
    let server = Running::start(config()).await;
    let mut peer = Peer::attach(server.address, 1).await;
    let category = stage_ticket::CategoryId::of("db").0;
    let twice = proto::Request { count: 1, category, waits: true };
    peer.send(proto::ClientFrame {
        uses: vec!["db".into()],
        requests: vec![twice, twice],
        ..Default::default()
    })
    .await;
    let grants = peer.answer().await.unwrap().grants;
    assert_eq!(grants.len(), 2);
    assert_eq!(grants[0], grants[1]);
    let token = grants[0].token;
    peer.send(proto::ClientFrame {
        releases: token.into_iter().collect(),
        requests: vec![twice],
        ..Default::default()
    })
    .await;
    let refused = peer.answer().await.unwrap().refused;
    assert_eq!(refused[0].reason(), proto::Refusal::Finished);
}

#[tokio::test]
async fn a_second_stream_of_a_node_replaces_the_first_and_keeps_what_it_reports() {
    let server = Running::start(config()).await;
    let mut old = Peer::attach(server.address, 1).await;
    old.send(request("db", 1)).await;
    let grant = old.answer().await.unwrap().grants[0];
    let mut new = Peer::greet(server.address, hello(1)).await.unwrap();
    let reported = proto::ReportedGrant { count: 1, token: grant.token, remaining_ns: 1 << 30 };
    let report = Some(proto::Report { grants: vec![reported], ..Default::default() });
    new.send(proto::ClientFrame { report, ..Default::default() }).await;
    assert_eq!(old.end().await.code(), Code::Aborted);
    let extensions = vec![proto::Extend { token: grant.token, by_ns: 1 << 30, count: 1 }];
    new.send(proto::ClientFrame { extensions, ..Default::default() }).await;
    assert_eq!(new.answer().await.unwrap().extended.len(), 1);
}

#[tokio::test]
async fn what_a_node_does_not_report_it_does_not_hold() {
    let server = Running::start(config()).await;
    let mut old = Peer::attach(server.address, 1).await;
    old.send(request("db", 1)).await;
    old.answer().await.unwrap();
    let mut new = Peer::attach(server.address, 1).await;
    new.send(request("db", 2)).await;
    assert_eq!(new.answer().await.unwrap().grants[0].count, 2);
}

#[tokio::test]
async fn nobody_extends_or_releases_what_it_does_not_hold() {
    let server = Running::start(config()).await;
    let mut holder = Peer::attach(server.address, 1).await;
    holder.send(request("db", 1)).await;
    let token = holder.answer().await.unwrap().grants[0].token.unwrap();
    let mut thief = Peer::attach(server.address, 2).await;
    let forged = [
        token,
        proto::Token { sequence: token.sequence + 1, ..token },
        proto::Token { slot: u32::MAX, ..token },
        proto::Token { category: 5, ..token },
    ];
    let extensions =
        forged.map(|token| proto::Extend { token: Some(token), by_ns: 1 << 30, count: 1 });
    thief
        .send(proto::ClientFrame {
            extensions: extensions.to_vec(),
            releases: forged.to_vec(),
            ..Default::default()
        })
        .await;
    let refused = thief.answer().await.unwrap().refused_extensions;
    assert_eq!(refused.len(), 4);
    assert!(refused.iter().all(|r| r.reason() == proto::ExtensionRefusal::NotHeld));
    // A report that claims somebody else's grant changes nothing either.
    let liar = Peer::greet(server.address, hello(2)).await.unwrap();
    let claim = proto::ReportedGrant { count: 9, token: Some(token), remaining_ns: 1 << 40 };
    let report = Some(proto::Report { grants: vec![claim], ..Default::default() });
    liar.send(proto::ClientFrame { report, ..Default::default() }).await;
    liar.send(proto::ClientFrame { releases: vec![token], ..Default::default() }).await;
    let extensions = vec![proto::Extend { token: Some(token), by_ns: 1 << 30, count: 1 }];
    holder.send(proto::ClientFrame { extensions, ..Default::default() }).await;
    assert_eq!(holder.answer().await.unwrap().extended.len(), 1);
}

#[tokio::test]
async fn a_name_of_a_megabyte_ends_the_stream_that_sent_it() {
    let server = Running::start(config()).await;
    let mut peer = Peer::attach(server.address, 1).await;
    peer.send(proto::ClientFrame { uses: vec!["x".repeat(1 << 20)], ..Default::default() }).await;
    assert_ne!(peer.end().await.code(), Code::Ok);
    let mut peer = Peer::attach(server.address, 2).await;
    peer.send(request("db", 1)).await;
    assert_eq!(peer.answer().await.unwrap().grants.len(), 1);
}

#[tokio::test]
async fn a_node_has_as_many_requests_as_it_may_and_no_more() {
    let mut config = config();
    config.node_requests = 3;
    let server = Running::start(config).await;
    let mut peer = Peer::attach(server.address, 1).await;
    assert_eq!(peer.hello.node_requests, 3);
    let category = stage_ticket::CategoryId::of("db").0;
    let requests = (1..=5).map(|count| proto::Request { count, category, waits: true });
    let requests = requests.collect();
    peer.send(proto::ClientFrame { uses: vec!["db".into()], requests, ..Default::default() }).await;
    let answer = peer.answer().await.unwrap();
    assert_eq!((answer.grants.len(), answer.enqueued.len(), answer.refused.len()), (1, 2, 2));
    assert!(answer.refused.iter().all(|r| r.reason() == proto::Refusal::QueueFull));
}

#[tokio::test]
async fn a_stream_that_does_not_begin_as_it_should_is_refused() {
    let server = Running::start(config()).await;
    let empty = Peer::greet(server.address, proto::ClientFrame::default()).await.err().unwrap();
    assert_eq!(empty.code(), Code::InvalidArgument);
    let mut newer = hello(1);
    newer.hello.as_mut().unwrap().protocol_version = 2;
    let newer = Peer::greet(server.address, newer).await.err().unwrap();
    assert_eq!(newer.code(), Code::FailedPrecondition);
    let mut ahead = hello(1);
    ahead.hello.as_mut().unwrap().promised = u64::MAX;
    assert!(!Peer::greet(server.address, ahead).await.unwrap().hello.leads);
    let mut without_report = Peer::greet(server.address, hello(1)).await.unwrap();
    without_report.send(request("db", 1)).await;
    assert_ne!(without_report.end().await.code(), Code::Ok);
    assert!(Peer::greet(server.address, hello(0)).await.is_err());
}

#[tokio::test]
async fn random_bytes_on_the_port_end_their_connection_and_nothing_else() {
    let server = Running::start(config()).await;
    let mut random = fastrand::Rng::with_seed(6);
    for length in [1, 100, 10_000] {
        let mut connection = TcpStream::connect(server.address).await.unwrap();
        let bytes: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
        // The server may close before it has read them all.
        let _ = connection.write_all(&bytes).await;
        let _ = connection.shutdown().await;
        let _ = connection.read_to_end(&mut Vec::new()).await;
    }
    let tickets = server.tickets();
    drop(tickets.acquire("db").await.unwrap());
}

#[tokio::test]
async fn a_node_that_counts_on_another_number_of_shards_is_told_both() {
    let server = Running::start(config()).await;
    let of = |index, count| {
        let mut first = hello(1);
        first.hello.as_mut().unwrap().shard = Some(proto::Shard { index, count });
        first
    };
    let refused = Peer::greet(server.address, of(1, 4)).await.err().unwrap();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("in 1 shards, not 4"), "{refused}");
    for (index, count) in [(4, 4), (0, 0), (0, u32::MAX)] {
        let refused = Peer::greet(server.address, of(index, count)).await.err().unwrap();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
    assert!(Peer::greet(server.address, of(0, 1)).await.unwrap().hello.leads);
}
