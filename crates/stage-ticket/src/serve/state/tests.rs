//! Which nodes are written down, against a store of the test's own.

#![allow(clippy::unwrap_used, reason = "a test says what is wrong by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use stage_proto::ticket::v1 as proto;
use tokio::sync::oneshot;

use super::{Seat, State};
use crate::coordinator::{Coordinator, Event, NodeId, Report, ReportedGrant, RequestId};
use crate::serve::{ServerConfig, Wanted, Wants, introduce};
use crate::{CategoryId, Drift, Shard, Stamp, Time, Token};

const NODES: u64 = 4;
/// Of these the predecessor wrote down all, and the first may hold a grant of it.
const OLD: u64 = 3;
/// Shorter than a grant.
const ABSENCE: Duration = Duration::from_millis(50);
const GRANT: Duration = Duration::from_millis(500);
/// When the grants of the predecessor are over: later than a node counts as gone.
const OVER: Time = Time(400_000_000);

#[derive(Debug, Clone)]
enum Act {
    Arrive(u64),
    /// All that it takes to be given a grant, which would seldom come together by chance.
    Join(u64),
    Break(u64),
    Report(u64),
    Request(u64),
    Goodbye(u64),
    /// The authority ends.
    Dismiss,
    BeginWrite,
    /// The write arrived or not, and so did its answer.
    EndWrite {
        arrived: bool,
        answered: bool,
    },
    Pass(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let node = || 1..=NODES;
    prop_oneof![
        3 => node().prop_map(Act::Arrive),
        2 => node().prop_map(Act::Join),
        2 => node().prop_map(Act::Break),
        2 => node().prop_map(Act::Report),
        2 => node().prop_map(Act::Request),
        1 => node().prop_map(Act::Goodbye),
        1 => Just(Act::Dismiss),
        3 => Just(Act::BeginWrite),
        3 => (any::<bool>(), any::<bool>())
            .prop_map(|(arrived, answered)| Act::EndWrite { arrived, answered: arrived && answered }),
        4 => (1..120_u64).prop_map(Act::Pass),
    ]
}

/// The coordinator's side, the store, and the connections of the nodes.
struct World {
    now: Time,
    state: State,
    store: BTreeSet<NodeId>,
    write: Option<Wanted>,
    waiting: BTreeMap<u64, oneshot::Receiver<()>>,
    seats: BTreeMap<u64, Seat>,
    /// Streams that were sent away and whose readers have not seen it.
    ending: Vec<Seat>,
    reported: BTreeSet<u64>,
    /// The first node has told nobody of what it holds of the predecessor.
    untold: bool,
    counts: u64,
}

impl World {
    fn new() -> Self {
        let mut config = ServerConfig::default().category("db", 2);
        config.absence = ABSENCE;
        config.tickets.rules.grant = GRANT;
        config.tickets.rules.drift = Drift { ppm: 0 };
        let store: BTreeSet<_> = (1..=OLD).map(NodeId).collect();
        let rules = config.tickets.rules.clone();
        let mut coordinator = Coordinator::recovering(rules, 2, store.clone(), OVER);
        introduce(&mut coordinator, Shard::WHOLE, &config).unwrap();
        let wants = Wants::of_cluster(store.clone(), GRANT);
        let mut state = State::new(coordinator, Shard::WHOLE, &config, wants);
        state.expect(Time::ZERO, store.iter().copied());
        state.step(Time::ZERO, Event::AuthorityExtended { until: Time::NEVER });
        let (now, write) = (Time::ZERO, None);
        let (waiting, seats, reported) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self {
            now,
            state,
            store,
            write,
            waiting,
            seats,
            ending: Vec::new(),
            reported,
            untold: true,
            counts: 1,
        }
    }

    /// A grant that the first node has of the predecessor, as long as it lives.
    fn inherited(&self) -> Option<ReportedGrant> {
        let stamp = Stamp { epoch: 1, sequence: 1 };
        let token = Token { category: CategoryId::of("db"), slot: 0, stamp };
        let request = RequestId { node: NodeId(1), count: 1 };
        let remaining = OVER.since(self.now);
        (self.untold && !remaining.is_zero()).then_some(ReportedGrant { request, token, remaining })
    }

    fn seat(&mut self, node: u64) {
        match self.state.wants.arrived(NodeId(node)) {
            Some(written) => drop(self.waiting.insert(node, written)),
            None => {
                let (seat, _) = self.state.attach(NodeId(node), "".into()).unwrap();
                self.reported.remove(&node);
                self.seats.insert(node, seat);
            }
        }
    }

    fn act(&mut self, act: &Act) {
        let now = self.now;
        match *act {
            Act::Arrive(node) => self.seat(node),
            Act::Join(node) => {
                self.act(&Act::EndWrite { arrived: true, answered: true });
                for act in [
                    Act::Arrive(node),
                    Act::BeginWrite,
                    Act::EndWrite { arrived: true, answered: true },
                    Act::Report(node),
                    Act::Request(node),
                ] {
                    self.act(&act);
                }
            }
            Act::Break(node) => {
                self.waiting.remove(&node);
                if let Some(seat) = self.seats.remove(&node) {
                    self.state.detach(now, seat);
                }
            }
            Act::Report(node) => {
                let Some(seat) = self.seats.get(&node) else { return };
                let inherited = self.inherited().filter(|_| node == 1);
                let report =
                    Report { grants: inherited.into_iter().collect(), ..Report::default() };
                self.state.report(now, *seat, report, &[]).unwrap();
                self.untold &= node != 1;
                self.reported.insert(node);
            }
            Act::Request(node) => self.request(node, false),
            Act::Goodbye(node) => self.request(node, true),
            Act::Dismiss => {
                self.state.dismiss(now);
                self.ending.extend(std::mem::take(&mut self.seats).into_values());
            }
            Act::BeginWrite => {
                if self.write.is_none() {
                    self.write = Some(self.state.wanted());
                }
            }
            Act::EndWrite { arrived, answered } => self.end_write(arrived, answered),
            Act::Pass(millis) => {
                if let Some(seat) = self.ending.pop() {
                    self.state.detach(now, seat);
                }
                self.now = now.after(Duration::from_millis(millis));
                self.state.time_passed(self.now);
            }
        }
    }

    /// What a node sends that has reported: a request, or that it leaves for good.
    fn request(&mut self, node: u64, goodbye: bool) {
        let Some(seat) = self.seats.get(&node).filter(|_| self.reported.contains(&node)) else {
            return;
        };
        self.counts += 1;
        let category = CategoryId::of("db").0;
        let request = proto::Request { count: self.counts, category, waits: true };
        let requests = if goodbye { Vec::new() } else { vec![request] };
        // A node says good-bye only once it holds nothing.
        let cancels = if goodbye { (1..=self.counts).collect() } else { Vec::new() };
        let frame = proto::ClientFrame { requests, cancels, goodbye, ..Default::default() };
        self.state.frame(self.now, *seat, frame).unwrap();
        if goodbye {
            self.seats.remove(&node);
        }
    }

    fn end_write(&mut self, arrived: bool, answered: bool) {
        let Some(wanted) = self.write.take() else { return };
        if arrived {
            self.store.extend(&wanted.arriving);
            self.store.retain(|node| !wanted.leaving.contains(node));
        }
        if !answered {
            return self.state.wants.failed(&wanted);
        }
        self.state.written(self.now, &wanted, GRANT);
        let heard: Vec<u64> = self
            .waiting
            .iter_mut()
            .filter_map(|(node, written)| written.try_recv().ok().map(|()| *node))
            .collect();
        for node in heard {
            self.waiting.remove(&node);
            self.seat(node);
        }
    }

    /// Who may believe in a grant, or be given one.
    fn concerned(&self) -> BTreeSet<NodeId> {
        let live = |node: &NodeId| self.state.coordinator.live_request_count(*node) > 0;
        let unknown = self.inherited().is_some();
        let holders = (1..=NODES).map(NodeId).filter(live);
        let seated = self.seats.keys().map(|node| NodeId(*node));
        holders.chain(seated).chain(unknown.then_some(NodeId(1))).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whoever_may_hold_a_grant_is_written_down_and_whoever_is_gone_is_struck_off(
        acts in prop::collection::vec(act(), 1..60)
    ) {
        let mut world = World::new();
        for act in &acts {
            world.act(act);
            let missing: Vec<_> = world.concerned().difference(&world.store).copied().collect();
            prop_assert!(missing.is_empty(), "after {act:?}: {missing:?} not in {:?}", world.store);
        }
        for node in 1..=NODES {
            world.act(&Act::Break(node));
        }
        world.act(&Act::EndWrite { arrived: false, answered: false });
        // The first pass is to the end of what is known and unknown, the others for what is written then.
        for _ in 0..3 {
            world.act(&Act::Pass(900));
            world.act(&Act::BeginWrite);
            world.act(&Act::EndWrite { arrived: true, answered: true });
        }
        prop_assert!(world.store.is_empty(), "{:?} stay forever", world.store);
    }
}

#[test]
fn an_extension_that_waits_for_the_store_is_answered_by_its_own_count() {
    let mut world = World::new();
    for node in 1..=OLD {
        world.act(&Act::Join(node));
    }
    let seat = world.seats[&1];
    let granted = world.state.take(seat).unwrap().unwrap().grants;
    let extension = |count, by: Duration| {
        let token = granted[0].token;
        proto::Extend { token, by_ns: by.as_nanos() as u64, count }
    };
    let extensions = vec![extension(7, 2 * GRANT), extension(8, GRANT)];
    let frame = proto::ClientFrame { extensions, ..Default::default() };
    world.state.frame(world.now, seat, frame).unwrap();
    let answered = |state: &mut State| {
        let frame = state.take(seat).unwrap().unwrap_or_default();
        frame.extended.iter().map(|extended| extended.count).collect::<Vec<_>>()
    };
    assert_eq!(answered(&mut world.state), [8]);
    let wanted = world.state.wanted();
    world.state.written(world.now, &wanted, 2 * GRANT);
    assert_eq!(answered(&mut world.state), [7]);
}
