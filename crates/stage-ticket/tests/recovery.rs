//! Scenarios of a coordinator that takes over, or hears a node again.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by panicking")]

use std::collections::BTreeSet;
use std::time::Duration;

use stage_ticket::coordinator::{
    Arrival, Command, Coordinator, Event, NodeId, Phase, Report, ReportedCategory, ReportedGrant,
    ReportedWaiter, RequestId,
};
use stage_ticket::{
    CategoryId, CategoryName, ExtensionRefusal, Limit, Refusal, Rules, Stamp, Time, Token,
};

const SECOND: Duration = Duration::from_secs(1);
const UNTIL: Time = Time(10_000_000_000);

fn db() -> CategoryId {
    CategoryId::of("db")
}

fn category(limit: i64, version: u64) -> ReportedCategory {
    ReportedCategory {
        name: CategoryName::try_new("db").unwrap(),
        limit: Limit::try_new(limit).unwrap(),
        version: Stamp { epoch: 1, sequence: version },
        closes_in: None,
    }
}

fn request(node: u64, count: u64) -> RequestId {
    RequestId { node: NodeId(node), count }
}

fn old(slot: u32, sequence: u64) -> Token {
    Token { category: db(), slot, stamp: Stamp { epoch: 1, sequence } }
}

fn held(node: u64, count: u64, token: Token) -> ReportedGrant {
    ReportedGrant { request: request(node, count), token, remaining: SECOND }
}

fn waiter(node: u64, count: u64, number: u64) -> ReportedWaiter {
    let arrival = Some(Arrival { epoch: 1, number });
    ReportedWaiter { request: request(node, count), category: db(), arrival }
}

fn reported(node: u64, grants: Vec<ReportedGrant>, waiters: Vec<ReportedWaiter>) -> Event {
    let report = Report { categories: vec![category(1, 1)], grants, waiters };
    Event::Reported { node: NodeId(node), report }
}

/// A coordinator of epoch 2 that awaits nodes 1 and 2.
fn recovering() -> Coordinator {
    let awaited = BTreeSet::from([NodeId(1), NodeId(2)]);
    let mut coordinator = Coordinator::recovering(Rules::default(), 2, awaited, UNTIL);
    let until = Time::NEVER;
    assert_eq!(step(&mut coordinator, Time::ZERO, Event::AuthorityExtended { until }), []);
    coordinator
}

fn step(coordinator: &mut Coordinator, now: Time, event: Event) -> Vec<Command> {
    let mut commands = Vec::new();
    coordinator.step(now, event, &mut commands);
    commands
}

fn described(coordinator: &Coordinator) -> ReportedCategory {
    let view = coordinator.category(db()).unwrap();
    ReportedCategory {
        name: view.name().clone(),
        limit: view.limit(),
        version: view.version(),
        closes_in: view.closes_at().map(|at| at.since(Time::ZERO)),
    }
}

fn granted(commands: &[Command]) -> Vec<RequestId> {
    let grants = commands.iter().filter_map(|command| match command {
        Command::Grant { request, .. } => Some(*request),
        _ => None,
    });
    grants.collect()
}

#[test]
fn waiters_keep_their_order_across_a_takeover_whoever_reports_first() {
    let mut new = recovering();
    let waiters = vec![waiter(2, 1, 2), waiter(2, 2, 4)];
    assert!(granted(&step(&mut new, Time(1), reported(2, vec![], waiters))).is_empty());
    let newcomer = Event::Requested { request: request(2, 3), category: db(), waits: true };
    assert!(granted(&step(&mut new, Time(2), newcomer)).is_empty());
    let waiters = vec![waiter(1, 1, 1), waiter(1, 2, 3)];
    let mut order = granted(&step(&mut new, Time(3), reported(1, vec![], waiters)));
    for _ in 0..4 {
        let token = new.category(db()).unwrap().holders().next().unwrap().token;
        order.extend(granted(&step(&mut new, Time(4), Event::Released { token })));
    }
    assert_eq!(order, [request(1, 1), request(2, 1), request(1, 2), request(2, 2), request(2, 3)]);
}

#[test]
fn a_reported_holder_keeps_its_token_and_can_release_it() {
    let mut new = recovering();
    step(&mut new, Time(1), reported(1, vec![held(1, 1, old(0, 7))], vec![]));
    step(&mut new, Time(1), reported(2, vec![], vec![waiter(2, 1, 5)]));
    assert_eq!(new.phase(), &Phase::Serving);
    let next = step(&mut new, Time(2), Event::Released { token: old(0, 7) });
    let [Command::Grant { token, .. }] = next[..] else { panic!("{next:?}") };
    assert_eq!((token.slot, token.stamp.epoch), (0, 2));
}

#[test]
fn nothing_is_issued_until_all_reported_or_everything_old_is_over() {
    let mut new = recovering();
    step(&mut new, Time(1), reported(1, vec![], vec![waiter(1, 1, 1)]));
    assert_eq!(new.next_timeout(), Some(UNTIL));
    assert!(step(&mut new, Time(UNTIL.0 - 1), Event::TimePassed).is_empty());
    let commands = step(&mut new, UNTIL, Event::TimePassed);
    assert_eq!(granted(&commands), [request(1, 1)]);
    // The other node comes too late: what it holds has expired.
    let late = step(&mut new, UNTIL, reported(2, vec![held(2, 1, old(0, 3))], vec![]));
    assert_eq!(late, [Command::Revoke { request: request(2, 1), token: old(0, 3) }]);
}

#[test]
fn a_recovering_coordinator_extends_nothing() {
    let mut new = recovering();
    step(&mut new, Time(1), reported(1, vec![held(1, 1, old(0, 7))], vec![]));
    let refused =
        step(&mut new, Time(2), Event::ExtensionRequested { token: old(0, 7), by: 2 * SECOND });
    let refusal = ExtensionRefusal::NoAuthority;
    assert_eq!(refused, [Command::RefuseExtension { token: old(0, 7), refusal }]);
}

#[test]
fn of_two_reports_for_a_slot_the_newer_grant_counts() {
    for order in [[1, 2], [2, 1]] {
        let mut new = recovering();
        let mut revoked = Vec::new();
        for node in order {
            let token = old(0, node);
            revoked.extend(step(
                &mut new,
                Time(1),
                reported(node, vec![held(node, 1, token)], vec![]),
            ));
        }
        assert_eq!(revoked, [Command::Revoke { request: request(1, 1), token: old(0, 1) }]);
        assert_eq!(new.category(db()).unwrap().holder_count(), 1);
        assert!(new.deadline(old(0, 2)).is_some());
    }
}

#[test]
fn the_newest_setting_of_a_category_survives_the_takeover() {
    let mut new = recovering();
    for (node, version, limit) in [(1, 5, 3), (2, 4, 1)] {
        let mut report = Report { categories: vec![category(limit, version)], ..Report::default() };
        report.grants.push(held(node, 1, old(node as u32 - 1, node)));
        step(&mut new, Time(1), Event::Reported { node: NodeId(node), report });
    }
    assert_eq!(new.category(db()).unwrap().limit(), Limit::try_new(3).unwrap());
    let third = Event::Requested { request: request(1, 2), category: db(), waits: false };
    let commands = step(&mut new, Time(2), third);
    let [Command::Grant { token, .. }] = commands[..] else { panic!("{commands:?}") };
    assert_eq!(token.slot, 2);
}

#[test]
fn a_closed_category_stays_closed_at_a_takeover_whoever_reports_first() {
    let mut first = Coordinator::new(Rules::default(), 1);
    step(&mut first, Time::ZERO, Event::Used { name: category(1, 1).name });
    let open = described(&first);
    step(&mut first, Time::ZERO, Event::Closed { category: db() });
    let closed = described(&first);
    assert!(closed.version > open.version);
    for order in [[&open, &closed], [&closed, &open]] {
        let mut new = recovering();
        for (node, known) in (1..).zip(order) {
            let report = Report { categories: vec![known.clone()], ..Report::default() };
            step(&mut new, Time(1), Event::Reported { node: NodeId(node), report });
        }
        assert!(new.category(db()).unwrap().is_closed(Time(1)));
        let event = Event::Requested { request: request(1, 1), category: db(), waits: true };
        let refused = Command::Refuse { request: request(1, 1), refusal: Refusal::Closed };
        assert_eq!(step(&mut new, Time(2), event), [refused]);
    }
}

#[test]
fn of_two_reports_of_when_a_category_closes_the_earlier_counts() {
    for order in [[1, 2], [2, 1]] {
        let mut new = recovering();
        for node in order {
            let closes_in = Some(node as u32 * SECOND);
            let categories = vec![ReportedCategory { closes_in, ..category(1, 1) }];
            let report = Report { categories, ..Report::default() };
            step(&mut new, Time::ZERO, Event::Reported { node: NodeId(node), report });
        }
        assert_eq!(new.category(db()).unwrap().closes_at(), Some(Time::ZERO.after(SECOND)));
    }
}

#[test]
fn a_grant_of_the_highest_slot_is_kept_though_the_limit_was_lowered() {
    let mut new = recovering();
    let far = old(Limit::MAX - 1, 1);
    step(&mut new, Time(1), reported(1, vec![held(1, 1, far)], vec![]));
    step(&mut new, Time(1), reported(2, vec![], vec![waiter(2, 1, 5)]));
    assert!(new.deadline(far).is_some());
    let next = step(&mut new, Time(2), Event::Released { token: far });
    let [Command::Grant { token, .. }] = next[..] else { panic!("{next:?}") };
    assert_eq!(token.slot, 0);
}

/// How long a takeover takes in which each node waits with these arrivals, or holds these slots.
fn takeover(waits: &[Vec<u64>], holds: &[Vec<u32>]) -> Duration {
    let nodes = (1..=waits.len().max(holds.len()) as u64).map(NodeId);
    let mut new = Coordinator::recovering(Rules::default(), 2, nodes.collect(), UNTIL);
    let waits = (1..).zip(waits).map(|(node, arrivals)| {
        let waiters = (1..).zip(arrivals).map(|(count, number)| waiter(node, count, *number));
        reported(node, vec![], waiters.collect())
    });
    let holds = (1..).zip(holds).map(|(node, slots)| {
        let grants = (1..).zip(slots).map(|(count, slot)| held(node, count, old(*slot, count)));
        let categories = vec![category(i64::from(Limit::MAX), 1)];
        let report = Report { categories, grants: grants.collect(), waiters: vec![] };
        Event::Reported { node: NodeId(node), report }
    });
    let reports: Vec<Event> = waits.chain(holds).collect();
    let start = computed();
    for report in reports {
        step(&mut new, Time(1), report);
    }
    assert_eq!(new.phase(), &Phase::Serving);
    computed() - start
}

/// How long this thread has computed: what else the machine does is no part of it.
fn computed() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap())
}

#[test]
fn a_takeover_takes_no_longer_however_those_who_wait_and_hold_are_mixed() {
    let (nodes, each) = (10, 5000);
    let sorted: Vec<_> =
        (0..nodes).map(|node| (node * each..(node + 1) * each).collect()).collect();
    let mixed: Vec<_> =
        (0..nodes).map(|node| (0..each).map(|place| place * nodes + node).collect()).collect();
    let slots: Vec<u32> = (0..40_000).collect();
    let one_by_one = takeover(&sorted, &[]);
    let bound = 8 * one_by_one;
    for took in [takeover(&mixed, &[]), takeover(&[], &[slots])] {
        assert!(took < bound, "{took:?}, one after the other {one_by_one:?}");
    }
}

#[test]
fn a_forged_grant_of_a_huge_slot_or_of_the_future_is_revoked_without_taking_memory() {
    let mut new = recovering();
    let future = Token { stamp: Stamp { epoch: 2, sequence: 1 }, ..old(0, 1) };
    let forged = [old(u32::MAX, 1), future, Token { category: CategoryId(5), ..old(0, 1) }];
    let grants = forged.map(|token| held(1, 1, token)).to_vec();
    let commands = step(&mut new, Time(1), reported(1, grants, vec![]));
    assert_eq!(commands, forged.map(|token| Command::Revoke { request: request(1, 1), token }));
    // A node speaks for itself only.
    let foreign = reported(1, vec![held(2, 1, old(0, 1))], vec![]);
    assert!(step(&mut new, Time(1), foreign).is_empty());
    assert_eq!(new.category(db()).unwrap().holder_count(), 0);
}

#[test]
fn without_authority_requests_queue_and_holders_keep_what_they_have() {
    let mut coordinator = Coordinator::recovering(Rules::default(), 1, BTreeSet::new(), Time::ZERO);
    let until = Time(5_000_000);
    step(&mut coordinator, Time(1), Event::AuthorityExtended { until });
    step(&mut coordinator, Time(1), reported(1, vec![], vec![]));
    let ask = |count, waits| Event::Requested { request: request(1, count), category: db(), waits };
    let first = step(&mut coordinator, Time(2), ask(1, true));
    let [Command::Grant { token, .. }] = first[..] else { panic!("{first:?}") };
    step(&mut coordinator, until, Event::Released { token });
    let queued = step(&mut coordinator, until, ask(2, true));
    assert!(matches!(queued[..], [Command::Enqueue { .. }]), "{queued:?}");
    let refused = step(&mut coordinator, until, ask(3, false));
    let refusal = Refusal::NoAuthority;
    assert_eq!(refused, [Command::Refuse { request: request(1, 3), refusal }]);
    let more = Event::AuthorityExtended { until: Time::NEVER };
    assert_eq!(granted(&step(&mut coordinator, until, more)), [request(1, 2)]);
}

#[test]
fn a_vanished_node_leaves_the_queue_but_its_grant_stays_until_it_expires() {
    let mut coordinator = Coordinator::new(Rules::default(), 1);
    step(&mut coordinator, Time::ZERO, reported(1, vec![], vec![]));
    let ask = |node| Event::Requested { request: request(node, 1), category: db(), waits: true };
    for node in 1..=3 {
        step(&mut coordinator, Time::ZERO, ask(node));
    }
    for node in [1, 2] {
        assert!(step(&mut coordinator, Time(1), Event::Vanished { node: NodeId(node) }).is_empty());
    }
    assert!(granted(&step(&mut coordinator, Time(999_999_999), Event::TimePassed)).is_empty());
    let commands = step(&mut coordinator, Time(1_000_000_000), Event::TimePassed);
    assert_eq!(granted(&commands), [request(3, 1)]);
}
