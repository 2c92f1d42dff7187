//! Model checking of a takeover with the real coordinators and clock maps.
//!
//! Two nodes, a category with one permit, a leader that may be slow, deposed or cut off at any
//! moment, and one that takes over whenever it likes. Messages are delayed without bound, arrive in
//! any order or never. Every interleaving up to the last tick is visited; at each moment at most
//! one node may believe that it holds the permit. Then the protocol is broken on purpose, one rule
//! at a time, and the checker must find the two holders.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test says what is wrong by panicking"
)]

use std::collections::BTreeSet;
use std::time::Duration;

use stage_ticket::coordinator::{
    Command, Coordinator, Event, NodeId, Report, ReportedCategory, ReportedGrant, ReportedWaiter,
    RequestId, takeover_wait,
};
use stage_ticket::{
    CategoryId, CategoryName, ClockMap, Drift, Limit, Rules, Stamp, Time, Token, Unlisted,
};
use stateright::{Checker, HasDiscoveries, Model, Property};

const NODES: u64 = 2;
const AUTHORITY: Duration = Duration::from_nanos(2);
const GRANT: Duration = Duration::from_nanos(2);
const LAST_TICK: Time = Time(5);
const EXACT: Drift = Drift { ppm: 0 };

/// The rule that is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    Nothing,
    /// The new coordinator neither asks nor waits.
    NoLearning,
    /// It waits for the longest grant alone, not for the old authority to end before it.
    WaitsForGrantsOnly,
    /// A node reports, and goes on taking grants from the old coordinator.
    NoPromise,
    /// A node counts a grant from its receipt.
    DeadlineFromReceipt,
    /// The new coordinator hears the reports and forgets what is in them.
    ReportsIgnored,
    /// The old coordinator does not stop when its authority ends.
    EndlessAuthority,
}

#[derive(Debug, Clone)]
struct Takeover {
    broken: Broken,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    now: Time,
    /// The leadership record: the epoch that may renew its authority.
    record: u64,
    coordinators: Vec<Coordinator>,
    nodes: Vec<Node>,
    messages: BTreeSet<Message>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Node {
    promised: u64,
    requested: u64,
    waits: bool,
    extended: bool,
    held: Option<(Token, Time)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Message {
    Request { epoch: u64, node: u64, count: u64 },
    Extend { epoch: u64, token: Token },
    Release { epoch: u64, token: Token },
    Granted { epoch: u64, node: u64, count: u64, token: Token, expires: Time },
    Extended { epoch: u64, node: u64, token: Token, expires: Time },
    AskReport { node: u64 },
    Report { node: u64, held: Option<(Token, Duration)>, waits: bool, count: u64 },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Action {
    Tick,
    Renew,
    TakeOver,
    Wake { epoch: u64 },
    Request { node: u64 },
    Extend { node: u64 },
    Release { node: u64 },
    Deliver(Message),
}

fn name() -> CategoryName {
    CategoryName::try_new("db").unwrap()
}

fn rules() -> Rules {
    Rules {
        unlisted: Unlisted::Refuse,
        grant: GRANT,
        max_grant: GRANT,
        drift: EXACT,
        ..Rules::default()
    }
}

impl World {
    fn step(&mut self, epoch: u64, event: Event) {
        let mut commands = Vec::new();
        let coordinator = &mut self.coordinators[epoch as usize - 1];
        coordinator.step(self.now, event, &mut commands);
        for command in commands {
            match command {
                Command::Grant { request, token, expires } => {
                    let RequestId { node: NodeId(node), count } = request;
                    let granted = Message::Granted { epoch, node, count, token, expires };
                    self.messages.insert(granted);
                }
                Command::Extend { token, expires } => {
                    let holds = |node: &Node| node.held.is_some_and(|held| held.0 == token);
                    if let Some(node) = (0..).zip(&self.nodes).find(|(_, node)| holds(node)) {
                        let node = node.0;
                        self.messages.insert(Message::Extended { epoch, node, token, expires });
                    }
                }
                _ => {}
            }
        }
    }

    /// Drops what makes no difference any more, so that fewer states are left to visit: grants
    /// that come after their node's promise or their deadline, and a deposed coordinator whose
    /// authority is over, with all that is sent to it.
    fn forget_what_is_over(&mut self, broken: Broken) {
        let now = self.now;
        for node in &mut self.nodes {
            node.held = node.held.filter(|(_, until)| now < *until);
        }
        let nodes = &self.nodes;
        let deposed = self.record == 2 && !self.coordinators[0].may_issue(now);
        if deposed {
            self.coordinators[0] = Coordinator::recovering(rules(), 1, BTreeSet::new(), Time::ZERO);
        }
        self.messages.retain(|message| match message {
            Message::Granted { epoch, node, expires, .. }
            | Message::Extended { epoch, node, expires, .. } => {
                let in_time = now < *expires || broken == Broken::DeadlineFromReceipt;
                in_time && *epoch >= nodes[*node as usize].promised
            }
            Message::Request { epoch, .. }
            | Message::Extend { epoch, .. }
            | Message::Release { epoch, .. } => !(deposed && *epoch == 1),
            Message::AskReport { .. } | Message::Report { .. } => true,
        });
    }

    fn believers(&self) -> usize {
        self.nodes.iter().filter(|node| node.believes(self.now)).count()
    }

    fn deliver(&mut self, broken: Broken, message: Message) {
        match message {
            Message::Request { epoch, node, count } => {
                let request = RequestId { node: NodeId(node), count };
                let category = name().id();
                self.step(epoch, Event::Requested { request, category, waits: true });
            }
            Message::Extend { epoch, token } => {
                self.step(epoch, Event::ExtensionRequested { token, by: GRANT });
            }
            Message::Release { epoch, token } => self.step(epoch, Event::Released { token }),
            Message::Granted { epoch, node, count, token, expires } => {
                let now = self.now;
                let node = &mut self.nodes[node as usize];
                if epoch >= node.promised && node.waits && count == node.requested {
                    node.waits = false;
                    node.held = Some((token, node.local(broken, now, expires)));
                }
            }
            Message::Extended { epoch, node, token, expires } => {
                let now = self.now;
                let node = &mut self.nodes[node as usize];
                if epoch >= node.promised && node.held.is_some_and(|held| held.0 == token) {
                    node.held = Some((token, node.local(broken, now, expires)));
                }
            }
            Message::AskReport { node } => self.report(broken, node),
            Message::Report { node, held, waits, count } => {
                let held = held.filter(|_| broken != Broken::ReportsIgnored);
                self.step(
                    2,
                    Event::Reported {
                        node: NodeId(node),
                        report: report(node, held, waits, count),
                    },
                );
            }
        }
    }

    fn report(&mut self, broken: Broken, at: u64) {
        let now = self.now;
        let node = &mut self.nodes[at as usize];
        if broken != Broken::NoPromise {
            node.promised = 2;
        }
        let held = node.held.filter(|_| node.believes(now));
        let held = held.map(|(token, until)| (token, until.since(now)));
        let (waits, count) = (node.waits, node.requested);
        self.messages.insert(Message::Report { node: at, held, waits, count });
    }

    fn take_over(&mut self, broken: Broken) {
        self.record = 2;
        let wait = match broken {
            Broken::WaitsForGrantsOnly => GRANT,
            _ => takeover_wait(AUTHORITY, GRANT, EXACT),
        };
        let nodes: BTreeSet<NodeId> = (0..NODES).map(NodeId).collect();
        let until = self.now.after(wait);
        self.coordinators.push(match broken {
            Broken::NoLearning => Coordinator::new(rules(), 2),
            _ => Coordinator::recovering(rules(), 2, nodes, until),
        });
        self.step(2, Event::Set { name: name(), limit: Limit::ONE, close_after: None });
        self.step(2, Event::AuthorityExtended { until: Time::NEVER });
        self.messages.extend((0..NODES).map(|node| Message::AskReport { node }));
    }
}

impl Node {
    fn believes(&self, now: Time) -> bool {
        self.held.is_some_and(|(_, until)| now < until)
    }

    /// The clocks are the same here, and a heartbeat at the start of time has said so.
    fn local(&self, broken: Broken, now: Time, expires: Time) -> Time {
        if broken == Broken::DeadlineFromReceipt {
            return now.after(GRANT);
        }
        let mut clock = ClockMap::new(EXACT);
        clock.observe(Time::ZERO, Time::ZERO);
        clock.local(expires).unwrap()
    }
}

fn report(node: u64, held: Option<(Token, Duration)>, waits: bool, count: u64) -> Report {
    let request = RequestId { node: NodeId(node), count };
    let unset = Stamp { epoch: 0, sequence: 0 };
    Report {
        categories: vec![ReportedCategory {
            name: name(),
            limit: Limit::ONE,
            version: unset,
            closes_in: None,
        }],
        grants: held
            .map(|(token, remaining)| ReportedGrant { request, token, remaining })
            .into_iter()
            .collect(),
        waiters: waits
            .then(|| ReportedWaiter { request, category: CategoryId::of("db"), arrival: None })
            .into_iter()
            .collect(),
    }
}

impl Model for Takeover {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let mut world = World {
            now: Time::ZERO,
            record: 1,
            coordinators: vec![Coordinator::recovering(rules(), 1, BTreeSet::new(), Time::ZERO)],
            nodes: vec![Node { promised: 1, ..Node::default() }; NODES as usize],
            messages: BTreeSet::new(),
        };
        let until = match self.broken {
            Broken::EndlessAuthority => Time::NEVER,
            _ => Time::ZERO.after(AUTHORITY),
        };
        world.step(1, Event::Set { name: name(), limit: Limit::ONE, close_after: None });
        world.step(1, Event::AuthorityExtended { until });
        vec![world]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.now < LAST_TICK {
            actions.push(Action::Tick);
        }
        if world.record == 1 {
            actions.extend([Action::TakeOver, Action::Renew]);
        }
        for epoch in 1..=world.coordinators.len() as u64 {
            let timeout = world.coordinators[epoch as usize - 1].next_timeout();
            if timeout.is_some_and(|at| at <= world.now) {
                actions.push(Action::Wake { epoch });
            }
        }
        for (at, node) in (0..).zip(&world.nodes) {
            if node.believes(world.now) {
                actions.push(Action::Release { node: at });
                if at == 0 && !node.extended {
                    actions.push(Action::Extend { node: at });
                }
            } else if node.requested == 0 {
                actions.push(Action::Request { node: at });
            }
        }
        actions.extend(world.messages.iter().copied().map(Action::Deliver));
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut world = last.clone();
        match action {
            Action::Tick => world.now.0 += 1,
            Action::Renew => {
                let until = world.now.after(AUTHORITY);
                world.step(1, Event::AuthorityExtended { until });
            }
            Action::TakeOver => world.take_over(self.broken),
            Action::Wake { epoch } => world.step(epoch, Event::TimePassed),
            Action::Request { node } => {
                let sender = &mut world.nodes[node as usize];
                sender.requested += 1;
                sender.waits = true;
                let (epoch, count) = (sender.promised, sender.requested);
                world.messages.insert(Message::Request { epoch, node, count });
            }
            Action::Extend { node } => {
                let sender = &mut world.nodes[node as usize];
                sender.extended = true;
                let (token, _) = sender.held?;
                let epoch = sender.promised;
                world.messages.insert(Message::Extend { epoch, token });
            }
            Action::Release { node } => {
                let sender = &mut world.nodes[node as usize];
                let (token, _) = sender.held.take()?;
                let epoch = sender.promised;
                world.messages.insert(Message::Release { epoch, token });
            }
            Action::Deliver(message) => {
                world.messages.remove(&message);
                world.deliver(self.broken, message);
            }
        }
        world.forget_what_is_over(self.broken);
        (world != *last).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties =
            vec![Property::<Self>::always(ONE_HOLDER, |_, world| world.believers() <= 1)];
        if self.broken == Broken::Nothing {
            properties.push(Property::<Self>::sometimes(NEW_GRANT, |_, world| {
                let of_the_new = |held: (Token, Time)| held.0.stamp.epoch == 2;
                world.nodes.iter().any(|node| node.held.is_some_and(of_the_new))
            }));
            properties.push(Property::<Self>::sometimes(KEPT_GRANT, |_, world| {
                let kept = |node: &Node| {
                    node.promised == 2 && node.held.is_some_and(|held| held.0.stamp.epoch == 1)
                };
                world.nodes.iter().any(kept) && world.coordinators[1].may_issue(world.now)
            }));
        }
        properties
    }
}

const ONE_HOLDER: &str = "at most one node believes that it holds the permit";
const NEW_GRANT: &str = "the new coordinator grants";
const KEPT_GRANT: &str = "a holder keeps its grant under the new coordinator";

#[test]
fn no_interleaving_of_a_takeover_gives_the_permit_twice() {
    let checker = Takeover { broken: Broken::Nothing }.checker().threads(2).spawn_bfs().join();
    println!("{} states", checker.unique_state_count());
    checker.assert_properties();
}

fn finds_two_holders(broken: Broken) {
    let checker = Takeover { broken }
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_dfs()
        .join();
    let path = checker.assert_any_discovery(ONE_HOLDER);
    println!("{broken:?}: {:#?}", path.into_actions());
}

#[test]
fn a_takeover_that_neither_asks_nor_waits_fails() {
    finds_two_holders(Broken::NoLearning);
}

#[test]
fn a_takeover_that_waits_for_the_longest_grant_alone_fails() {
    finds_two_holders(Broken::WaitsForGrantsOnly);
}

#[test]
fn reports_without_a_promise_fail() {
    finds_two_holders(Broken::NoPromise);
}

#[test]
fn deadlines_counted_from_receipt_fail() {
    finds_two_holders(Broken::DeadlineFromReceipt);
}

#[test]
fn reports_that_are_heard_and_forgotten_fail() {
    finds_two_holders(Broken::ReportsIgnored);
}

#[test]
fn an_authority_that_does_not_end_fails() {
    finds_two_holders(Broken::EndlessAuthority);
}
