//! The categories are spread over several coordinators, and each is counted by one of them.

use std::time::Duration;

use stage_proto::ticket::v1 as proto;
use stage_proto::ticket::v1::ticket_service_client::TicketServiceClient;
use stage_ticket::cluster::{ClusterConfig, Member, Standing};
use stage_ticket::{AcquireError, CategoryId, RemoteTickets, Shards, Status};
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;

use super::cut::Way;
use super::etcd::Etcd;

/// So long that a grant would be over long before its end.
const LONG: Duration = Duration::from_secs(16);
const CATEGORIES: usize = 40;

struct Counting {
    member: Member,
    tickets: RemoteTickets,
    address: String,
}

impl Counting {
    async fn start(endpoints: &[String], shards: u32, authority: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut config = ClusterConfig::new(endpoints, &address);
        config.authority = authority;
        config.shards = Shards::try_new(shards).unwrap();
        config.server = config.server.category("db", 1);
        let member = Member::start(config).unwrap();
        let service = member.service();
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpIncoming::from(listener)),
        );
        let tickets = member.tickets().unwrap();
        Self { member, tickets, address }
    }

    /// The epochs of the shards that it leads, by their index.
    fn led(&self) -> Vec<Option<u64>> {
        let epoch = |standing: &Standing| match standing {
            Standing::Leading { epoch } => Some(*epoch),
            _ => None,
        };
        self.member.standings().iter().map(|standing| epoch(&standing.borrow())).collect()
    }

    async fn is_attached_everywhere(&self) {
        for mut status in self.tickets.statuses() {
            status.wait_for(|status| matches!(status, Status::Attached { .. })).await.unwrap();
        }
    }
}

fn category(number: usize) -> String {
    format!("category {number}")
}

fn shard(shards: u32, category: &str) -> usize {
    Shards::try_new(shards).unwrap().of(CategoryId::of(category)).index() as usize
}

#[tokio::test]
async fn members_share_the_shards_and_each_category_is_counted_by_one_of_them() {
    let etcd = Etcd::start().await;
    let one = Counting::start(&etcd.endpoints, 4, LONG).await;
    let two = Counting::start(&etcd.endpoints, 4, LONG).await;
    one.is_attached_everywhere().await;
    two.is_attached_everywhere().await;
    let (led_by_one, led_by_two) = (one.led(), two.led());
    assert!(led_by_one.iter().zip(&led_by_two).all(|(one, two)| one.is_some() != two.is_some()));
    // Whoever leads one lets the other go first.
    assert!(led_by_one.iter().flatten().count() >= 1 && led_by_two.iter().flatten().count() >= 1);
    let mut held = Vec::new();
    for number in 0..CATEGORIES {
        let name = category(number);
        let ticket = one.tickets.acquire(&name).auto_extend(LONG).await.unwrap();
        let at = shard(4, &name);
        assert_eq!(Some(ticket.token().stamp.epoch), led_by_one[at].or(led_by_two[at]));
        let busy = two.tickets.try_acquire(&name).await.unwrap_err();
        assert!(matches!(busy, AcquireError::Busy { .. }), "{busy}");
        held.push(ticket);
    }
    let stats = two.tickets.stats().await.unwrap();
    let names: Vec<_> = stats.iter().map(|stats| stats.name.to_string()).collect();
    let mut expected: Vec<_> = (0..CATEGORIES).map(category).chain(["db".to_owned()]).collect();
    expected.sort();
    assert_eq!(names, expected);
    assert_eq!(stats.iter().map(|stats| stats.holders as usize).sum::<usize>(), CATEGORIES);
    let notices: Vec<_> = held.iter().map(stage_ticket::RemoteTicket::notices).collect();
    for (number, mut notices) in notices.into_iter().enumerate() {
        assert_eq!(two.tickets.broadcast(&category(number), b"end").await, Ok(1));
        assert_eq!(notices.next().await.as_deref(), Some(&b"end"[..]));
    }
    one.tickets.set_category("category 0", 2, None).await.unwrap();
    drop(two.tickets.acquire("category 0").await.unwrap());
}

#[tokio::test]
async fn the_shards_of_a_member_that_stops_go_on_elsewhere_and_the_others_do_not_notice() {
    let etcd = Etcd::start().await;
    let one = Counting::start(&etcd.endpoints, 3, LONG).await;
    let two = Counting::start(&etcd.endpoints, 3, LONG).await;
    one.is_attached_everywhere().await;
    two.is_attached_everywhere().await;
    let (kept, lost) = (two.led(), one.led());
    let mut held = Vec::new();
    for number in 0..CATEGORIES {
        held.push(two.tickets.acquire(&category(number)).auto_extend(LONG).await.unwrap());
    }
    one.tickets.leave().await;
    one.member.retire().await;
    for mut standing in two.member.standings() {
        standing.wait_for(|standing| matches!(standing, Standing::Leading { .. })).await.unwrap();
    }
    for (at, epoch) in two.led().into_iter().enumerate() {
        assert_eq!(epoch, kept[at].or(lost[at].map(|epoch| epoch + 1)));
    }
    two.is_attached_everywhere().await;
    // Whether its coordinator is new or not, who holds a ticket holds it still.
    for (number, ticket) in held.into_iter().enumerate() {
        let busy = two.tickets.try_acquire(&category(number)).await.unwrap_err();
        assert!(matches!(busy, AcquireError::Busy { .. }), "{busy}");
        assert!(ticket.deadline().is_some());
        ticket.release();
        drop(two.tickets.acquire(&category(number)).await.unwrap());
    }
}

#[tokio::test]
async fn a_node_that_seeks_a_category_in_another_shard_than_its_own_is_sent_away() {
    let etcd = Etcd::start().await;
    let one = Counting::start(&etcd.endpoints, 2, LONG).await;
    one.is_attached_everywhere().await;
    let wrong = 1 - u32::try_from(shard(2, "db")).unwrap();
    let hello = proto::ClientHello {
        protocol_version: 1,
        node: 9,
        shard: Some(proto::Shard { index: wrong, count: 2 }),
        ..Default::default()
    };
    let first = proto::ClientFrame { hello: Some(hello), ..Default::default() };
    let report = Some(proto::Report::default());
    let second = proto::ClientFrame { report, uses: vec!["db".into()], ..Default::default() };
    let frames = tokio_stream::iter([first, second]);
    let url = format!("http://{}", one.address);
    let mut client = TicketServiceClient::connect(url).await.unwrap();
    let mut answers = client.attach(frames).await.unwrap().into_inner();
    assert!(answers.message().await.unwrap().unwrap().hello.unwrap().leads);
    let ended = answers.message().await.unwrap_err();
    assert_eq!(ended.code(), tonic::Code::Aborted, "{ended}");
    // Nothing was made of it.
    let stats = one.tickets.stats().await.unwrap();
    assert_eq!(stats.iter().filter(|stats| stats.name.as_str() == "db").count(), 1);
}

#[tokio::test]
async fn a_member_with_another_number_of_shards_counts_once_nothing_of_the_others_is_held() {
    let etcd = Etcd::start().await;
    let authority = Duration::from_secs(3);
    let ways: Vec<_> = etcd.endpoints.iter().map(|endpoint| Way::to(endpoint)).collect();
    let through: Vec<_> = ways.iter().map(|way| way.address.clone()).collect();
    let one = Counting::start(&through, 2, authority).await;
    let held = one.tickets.acquire("db").auto_extend(LONG).await.unwrap();
    let two = Counting::start(&etcd.endpoints, 1, authority).await;
    let waiting = two.tickets.acquire("db");
    let refused = two.tickets.try_acquire("db").await.unwrap_err();
    assert!(matches!(refused, AcquireError::Unreachable { .. }), "{refused}");
    assert!(held.deadline().is_some());
    // The first one cannot be seen any more, and may live on.
    ways.iter().for_each(Way::cut);
    let next = waiting.await.unwrap();
    assert!(held.deadline().is_none());
    assert!(next.token().stamp.epoch > held.token().stamp.epoch);
    // It is back, and may not count beside the others, until they stop.
    ways.iter().for_each(Way::mend);
    let waiting = one.tickets.acquire("db");
    tokio::time::sleep(authority).await;
    assert_eq!(one.led(), [None, None]);
    let epoch = next.token().stamp.epoch;
    drop(next);
    two.tickets.leave().await;
    two.member.retire().await;
    assert!(waiting.await.unwrap().token().stamp.epoch > epoch);
}
