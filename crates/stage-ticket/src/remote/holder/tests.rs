#![allow(clippy::unwrap_used, reason = "a test says what is wrong by panicking")]

use super::*;
use crate::Shard;

const MS: u64 = 1_000_000;

fn hello(epoch: u64, sent: Time, server: Time) -> proto::ServerHello {
    proto::ServerHello {
        protocol_version: VERSION,
        leads: true,
        epoch,
        echo: Some(proto::HeartbeatEcho { sent_ns: sent.0, server_ns: server.0 }),
        grant_ns: 1000 * MS,
        max_grant_ns: 5000 * MS,
        ..proto::ServerHello::default()
    }
}

fn holder() -> Holder {
    Holder::new(NodeId(7), Drift { ppm: 0 }, 8)
}

fn grant(count: u64, epoch: u64, expires: Time) -> proto::ServerFrame {
    let token =
        Some(proto::Token { category: CategoryId::of("db").0, slot: 0, epoch, sequence: 1 });
    let grants = vec![proto::Grant { count, token, expires_ns: expires.0 }];
    proto::ServerFrame { grants, ..proto::ServerFrame::default() }
}

#[test]
fn a_promise_to_a_later_epoch_is_kept() {
    let mut holder = holder();
    holder.attach(Time(0), &hello(5, Time(0), Time(0))).unwrap();
    holder.detach();
    let past = holder.attach(Time(1), &hello(4, Time(0), Time(0)));
    assert_eq!(past.unwrap_err(), HelloError::Past { epoch: 4, promised: 5 });
    assert_eq!(holder.hello(Time(2), "", Shard::WHOLE).hello.unwrap().promised, 5);
    holder.attach(Time(3), &hello(5, Time(0), Time(0))).unwrap();
}

#[test]
fn a_grant_that_was_long_under_way_ends_with_the_coordinators_and_not_after() {
    let mut holder = holder();
    let name = holder.resolve("db").unwrap();
    // The answer took 300 ms: the coordinator's 9000 ms may have been this node's 100 ms.
    holder.attach(Time(400 * MS), &hello(1, Time(100 * MS), Time(9000 * MS))).unwrap();
    let count = holder.request(&name, true).unwrap();
    holder.receive(Time(900 * MS), grant(count, 1, Time(10_000 * MS))).unwrap();
    let [Outcome::Granted { token, .. }] = holder.outcomes()[..] else { unreachable!() };
    assert_eq!(holder.deadline(token), Some(Time(1100 * MS)));
    holder.time_passed(Time(1100 * MS));
    assert_eq!(holder.outcomes(), [Outcome::Lost { token }]);
    // One that comes after its end is not taken, and given back.
    let count = holder.request(&name, true).unwrap();
    holder.receive(Time(1200 * MS), grant(count, 1, Time(10_100 * MS))).unwrap();
    assert_eq!(holder.outcomes(), [Outcome::TooLate { count }]);
    assert_eq!(holder.take_frame().unwrap().cancels, [count]);
}

#[test]
fn a_report_holds_what_is_held_and_waited_for_and_nothing_that_is_over() {
    let mut holder = holder();
    let name = holder.resolve("db").unwrap();
    holder.attach(Time(0), &hello(1, Time(0), Time(0))).unwrap();
    let held = holder.request(&name, true).unwrap();
    let waiting = holder.request(&name, true).unwrap();
    let impatient = holder.request(&name, false).unwrap();
    let over = holder.request(&name, true).unwrap();
    holder.receive(Time(0), grant(held, 1, Time(1000 * MS))).unwrap();
    let arrival = Some(proto::Stamp { epoch: 1, sequence: 9 });
    let enqueued = vec![proto::Enqueued { count: waiting, arrival }];
    let frame = proto::ServerFrame { enqueued, ..proto::ServerFrame::default() };
    holder.receive(Time(0), frame).unwrap();
    holder.outcomes();
    holder.detach();
    let cut = [Outcome::Cut { count: impatient }, Outcome::ExtensionsCut];
    assert_eq!(holder.outcomes(), cut);
    holder.cancel(over);
    let report =
        holder.attach(Time(400 * MS), &hello(2, Time(0), Time(0))).unwrap().report.unwrap();
    let grants: Vec<_> = report.grants.iter().map(|g| (g.count, g.remaining_ns)).collect();
    assert_eq!(grants, [(held, 600 * MS)]);
    let waiters: Vec<_> = report.waiters.iter().map(|w| (w.count, w.arrival)).collect();
    assert_eq!(waiters, [(waiting, arrival)]);
}

#[test]
fn past_the_bound_nothing_is_asked_for() {
    let mut holder = holder();
    let name = holder.resolve("db").unwrap();
    for _ in 0..8 {
        holder.request(&name, true).unwrap();
    }
    assert_eq!(holder.request(&name, true), Err(NotSent::Full));
    holder.cancel(1);
    holder.request(&name, true).unwrap();
}

#[test]
fn a_burst_is_sent_in_frames_of_bounded_size_without_losing_any() {
    let mut holder = Holder::new(NodeId(7), Drift { ppm: 0 }, 1 << 16);
    let name = holder.resolve("db").unwrap();
    holder.attach(Time(0), &hello(1, Time(0), Time(0))).unwrap();
    for _ in 0..20_000 {
        holder.request(&name, true).unwrap();
    }
    holder.cancel(20_000);
    let mut counts = Vec::new();
    while let Some(frame) = holder.take_frame() {
        assert!(frame.requests.len() <= 8192);
        counts.extend(frame.requests.iter().map(|request| request.count));
        assert!(frame.cancels.is_empty() || counts.len() == 20_000);
    }
    assert_eq!(counts, (1..=20_000).collect::<Vec<_>>());
}

#[test]
fn a_grant_that_was_extended_too_late_for_its_holder_is_given_back() {
    let mut holder = holder();
    let name = holder.resolve("db").unwrap();
    holder.attach(Time(0), &hello(1, Time(0), Time(0))).unwrap();
    let count = holder.request(&name, true).unwrap();
    holder.receive(Time(0), grant(count, 1, Time(1000 * MS))).unwrap();
    let [Outcome::Granted { token, .. }] = holder.outcomes()[..] else { unreachable!() };
    let extension = holder.extend(token, Duration::from_secs(5)).unwrap();
    holder.take_frame();
    holder.time_passed(Time(1000 * MS));
    assert_eq!(holder.outcomes(), [Outcome::Lost { token }]);
    let token = Some(wire::token_message(token));
    let answer = proto::Extended { token, expires_ns: 5999 * MS, count: extension };
    let frame = proto::ServerFrame { extended: vec![answer], ..Default::default() };
    holder.receive(Time(1001 * MS), frame).unwrap();
    assert_eq!(holder.outcomes(), []);
    let sent = holder.take_frame().map(|frame| frame.releases);
    assert_eq!(sent, Some(token.into_iter().collect()));
}
