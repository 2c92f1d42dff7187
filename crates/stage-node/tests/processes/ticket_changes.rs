//! The coordinator of real nodes changes, is cut off, or is reached through TLS only.

use std::time::{Duration, Instant};

use crate::cut::Way;
use crate::harness::{Etcd, Folder, finish, stderr};
use crate::service_tickets::{Service, service_in};

/// One holder at a time, so that the tokens of those who come in can only rise.
const ONE: &str = r##""#ticket": { "gate": 1, "long": 1 },"##;

/// The epoch that a node is attached to, as its operator sees it; none while it has no coordinator.
fn epoch(service: &Service, index: usize) -> Option<u64> {
    let view = service.coordinator(index);
    let line = view.lines().find(|line| line.starts_with("coordinator")).unwrap();
    Some(line.split_once("epoch ")?.1.parse().unwrap())
}

/// The tokens in the order in which the judge let their holders in.
fn tokens(service: &mut Service) -> Vec<(u64, u64)> {
    let log = service.node(2).unread();
    assert!(!log.contains("TWICE"), "{log}");
    let tickets = log.lines().filter_map(|line| line.strip_prefix("IN ")?.split_once('-'));
    tickets.map(|(epoch, count)| (epoch.parse().unwrap(), count.parse().unwrap())).collect()
}

#[test]
fn a_coordinator_that_gets_sigterm_hands_over_without_waiting_for_its_authority_to_end() {
    let etcd = Etcd::start();
    // Whoever had to wait for the end of the authority would wait for a minute, longer than any test does.
    let sections = format!(
        r##"{ONE} "#etcd": {{ "endpoints": ["{}"], "authority_ms": 60000 }},"##,
        etcd.endpoint
    );
    let mut service = service_in(Folder::new(), |_| sections.clone(), |_, _| String::new());
    service.start_all();
    assert!(service.coordinator(0).contains("which is this node"));
    let first = epoch(&service, 2).unwrap();
    (0..3).for_each(|index| service.ask(index, 10));
    assert_eq!(service.most(30), 1);

    service.node(0).signal("TERM");
    service.node(0).wait_for_log("this member leads the tickets no longer");
    assert_eq!(service.take(0).end().0, Some(0));
    for index in [1, 2] {
        service.wait_for_view(index, &format!("epoch {}", first + 1));
    }
    let leads = |index: &usize| service.coordinator(*index).contains("which is this node");
    assert_eq!([1, 2].iter().filter(|index| leads(index)).count(), 1);
    service.signal(1, "start", &["9001", "9010"]);
    assert_eq!(service.most(40), 1);
    let tokens = tokens(&mut service);
    assert!(tokens.is_sorted() && tokens.last().unwrap().0 == first + 1, "{tokens:?}");
}

#[test]
fn with_tls_nodes_prove_who_they_are_to_the_coordinator_too() {
    let folder = Folder::new();
    let certs = folder.path().join("certs").to_str().unwrap().to_owned();
    for args in [&["init"][..], &["node", "a"], &["node", "b"], &["node", "c"], &["node", "web"]] {
        let output = finish(&[&["cert"], args, &["--dir", &certs]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let tls = |index: usize, _: &[String]| {
        let name = ["a", "b", "c"][index];
        format!(
            r#", "tls": {{ "cert": "certs/{name}.pem", "key": "certs/{name}.key", "ca": "certs/ca.pem" }}"#
        )
    };
    let mut service = service_in(folder, |_| ONE.to_owned(), tls);
    for (option, file) in [("--cert", "web.pem"), ("--key", "web.key"), ("--ca", "ca.pem")] {
        service.certificate.extend([option.to_owned(), format!("{certs}/{file}")]);
    }
    service.start_all();
    (0..3).for_each(|index| service.ask(index, 20));
    assert_eq!(service.most(60), 1);
    service.signal(1, "keep", &["60000"]);
    service.wait_for_view(2, "  b");

    // A program without a certificate gets neither a ticket nor an answer.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let why = runtime.block_on(async {
        let config = stage_ticket::RemoteConfig::new([service.address(0)]);
        let tickets = stage_ticket::RemoteTickets::connect(config).unwrap();
        let mut status = tickets.statuses().remove(0);
        let is_known = |status: &stage_ticket::Status| {
            !matches!(status, stage_ticket::Status::Connecting { why: None })
        };
        let known = status.wait_for(is_known).await.unwrap().clone();
        let stage_ticket::Status::Connecting { why: Some(why) } = known else {
            panic!("it is let in: {known:?}")
        };
        assert!(tickets.try_acquire("gate").await.is_err());
        why
    });
    assert!(!why.is_empty());
}

#[test]
fn a_coordinator_cut_off_from_etcd_serves_until_its_authority_ends_then_queues_and_recovers() {
    let etcd = Etcd::start();
    let ways: Vec<_> = (0..3).map(|_| Way::to(&etcd.endpoint)).collect();
    let sections = |index: usize| {
        format!(r##"{ONE} "#etcd": {{ "endpoints": ["{}"] }},"##, ways[index].address)
    };
    let mut service = service_in(Folder::new(), sections, |_, _| String::new());
    service.start_all();
    assert!(service.coordinator(0).contains("which is this node"));
    let first = epoch(&service, 2).unwrap();

    // Work is under way on all nodes while only the coordinator is cut off, and only from etcd.
    service.ask(1, 200);
    service.most(5);
    ways[0].cut();
    service.ask(2, 200);
    service.node(0).wait_for_log("the authority to issue has ended");
    for index in [1, 2] {
        service.wait_for_view(index, &format!("epoch {}", first + 1));
    }
    // It knows of no successor: what it asks for itself waits, and it says why.
    service.ask(0, 5);
    service.wait_for_view(0, "waiting here 5");
    let view = service.coordinator(0);
    assert!(view.contains("coordinator  none now") && view.contains("trouble"), "{view}");
    assert_eq!(service.most(400), 1);

    ways[0].mend();
    assert_eq!(service.most(405), 1);
    assert_eq!(epoch(&service, 0), Some(first + 1));
    let tokens = tokens(&mut service);
    // Both coordinators' holders are in the one log: the second one's never before the first one's.
    assert!(tokens.is_sorted(), "{tokens:?}");
    let after = tokens.iter().filter(|(epoch, _)| *epoch == first + 1).count();
    assert!(0 < after && after < tokens.len(), "{tokens:?}");
}

#[test]
fn nodes_spread_the_counting_and_go_on_when_one_of_them_is_killed() {
    let etcd = Etcd::start();
    let sections = format!(
        r##"{ONE} "#etcd": {{ "endpoints": ["{}"], "authority_ms": 1000, "ticket_shards": 8 }},"##,
        etcd.endpoint
    );
    let mut service = service_in(Folder::new(), |_| sections.clone(), |_, _| String::new());
    service.start_all();
    (0..3).for_each(|index| service.ask(index, 10));
    assert_eq!(service.most(30), 1);
    let view = service.coordinator(1);
    assert!(view.contains("elected through etcd under /stage in 8 shards"), "{view}");
    for at in 1..=8 {
        let line = format!("coordinator  {at} of 8: ");
        assert!(view.contains(&line), "{line:?} is not in:\n{view}");
    }
    // A node that started first counts all, and the others go on with what it counted.
    service.take(0).kill();
    service.signal(1, "start", &["9001", "9010"]);
    assert_eq!(service.most(40), 1);
    let other = |index: usize, at: usize| {
        let view = service.coordinator(index);
        view.lines()
            .any(|line| line.contains(&format!("{at} of 8: ")) && line.contains("this node"))
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while !(1..=8).all(|at| other(1, at) != other(2, at)) {
        assert!(Instant::now() < deadline, "{}", service.coordinator(1));
    }
}

#[test]
fn nodes_with_different_numbers_of_shards_grant_nothing_and_say_why() {
    let etcd = Etcd::start();
    let sections = |index: usize| {
        let shards = if index == 1 { 2 } else { 1 };
        format!(
            r##"{ONE} "#etcd": {{ "endpoints": ["{}"], "ticket_shards": {shards} }},"##,
            etcd.endpoint
        )
    };
    let mut service = service_in(Folder::new(), sections, |_, _| String::new());
    (0..3).for_each(|index| service.start(index));
    let line = service.node(0).wait_for_log("no tickets: ");
    assert!(line.contains("elected through etcd under /stage\""), "{line}");
    assert!(line.contains("elected through etcd under /stage in 2 shards\""), "{line}");
    service.ask(0, 1);
    let refused = service.node(0).wait_for("REFUSED");
    assert!(refused.contains("in 2 shards"), "{refused}");
}
