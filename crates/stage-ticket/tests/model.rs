//! The coordinator agrees with a naive model on every command, whatever happens in whatever order.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what is wrong by panicking"
)]

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use stage_ticket::coordinator::{Command, Coordinator, Event, NodeId, RequestId};
use stage_ticket::{CategoryId, CategoryName, Limit, Refusal, Rules, Stamp, Time, Token};

const NAMES: [&str; 2] = ["db", "login"];
const MAX_WAITERS: usize = 4;
const GRANT: Duration = Duration::from_millis(1000);

/// What a run is made of. Numbers pick among what there is, modulo its count.
#[derive(Debug, Clone)]
enum Step {
    Request { node: u64, category: usize, waits: bool },
    Repeat(usize),
    Cancel(usize),
    Release(usize),
    Extend(usize, u64),
    Wait(u64),
    Set { category: usize, limit: i64, close_after: Option<u64> },
    Close(usize),
    Vanish(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let request = (0..3_u64, 0..2_usize, prop::bool::weighted(0.8));
    let limit = prop_oneof![4 => 1..4_i64, 1 => -2..0_i64];
    let set = (0..2_usize, limit, prop::option::weighted(0.2, 0..3000_u64));
    prop_oneof![
        8 => request.prop_map(|(node, category, waits)| Step::Request { node, category, waits }),
        1 => any::<usize>().prop_map(Step::Repeat),
        2 => any::<usize>().prop_map(Step::Cancel),
        4 => any::<usize>().prop_map(Step::Release),
        2 => (any::<usize>(), 0..5000_u64).prop_map(|(of, by)| Step::Extend(of, by)),
        3 => (0..1500_u64).prop_map(Step::Wait),
        1 => set.prop_map(|(category, limit, close_after)| {
            Step::Set { category, limit, close_after }
        }),
        1 => (0..2_usize).prop_map(Step::Close),
        1 => (0..3_u64).prop_map(Step::Vanish),
    ]
}

/// What the requester hears.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Granted(RequestId),
    Waits(RequestId),
    Refused(RequestId, Refusal),
    Lost(RequestId),
    Extended(Time),
    NotExtended,
}

#[derive(Debug, Default)]
struct Naive {
    limit: i64,
    closes_at: Option<Time>,
    holders: Vec<(RequestId, Time, Option<Token>)>,
    queue: VecDeque<RequestId>,
}

impl Naive {
    fn permits(&self) -> usize {
        self.limit.unsigned_abs() as usize
    }

    fn request(&mut self, now: Time, request: RequestId, waits: bool, heard: &mut Vec<Heard>) {
        if self.closes_at.is_some_and(|at| at <= now) {
            heard.push(Heard::Refused(request, Refusal::Closed));
        } else if self.holders.len() < self.permits() && self.queue.is_empty() {
            self.grant(now, request, heard);
        } else if !waits || self.limit < 0 {
            heard.push(Heard::Refused(request, Refusal::Busy));
        } else if self.queue.len() == MAX_WAITERS {
            heard.push(Heard::Refused(request, Refusal::QueueFull));
        } else {
            self.queue.push_back(request);
            heard.push(Heard::Waits(request));
        }
    }

    fn grant(&mut self, now: Time, request: RequestId, heard: &mut Vec<Heard>) {
        self.holders.push((request, now.after(GRANT), None));
        heard.push(Heard::Granted(request));
    }

    /// Everything that follows from the state by itself.
    fn settle(&mut self, now: Time, heard: &mut Vec<Heard>) {
        self.holders.sort_by_key(|(_, expires, token)| (*expires, token.map(|token| token.slot)));
        for (request, _, _) in self.holders.extract_if(.., |(_, expires, _)| *expires <= now) {
            heard.push(Heard::Lost(request));
        }
        let closed = self.closes_at.is_some_and(|at| at <= now);
        if closed || self.limit < 0 {
            let refusal = if closed { Refusal::Closed } else { Refusal::Busy };
            heard.extend(self.queue.drain(..).map(|request| Heard::Refused(request, refusal)));
        }
        while self.holders.len() < self.permits()
            && let Some(request) = self.queue.pop_front()
        {
            self.grant(now, request, heard);
        }
    }

    fn extend(&mut self, until: Time, token: Token) -> Heard {
        match self.holders.iter_mut().find(|(_, _, held)| *held == Some(token)) {
            None => Heard::NotExtended,
            Some((_, expires, _)) => {
                *expires = until.max(*expires);
                Heard::Extended(*expires)
            }
        }
    }

    fn forget(&mut self, request: RequestId) {
        self.queue.retain(|waiting| *waiting != request);
        self.holders.retain(|(holding, _, _)| *holding != request);
    }
}

struct Run {
    coordinator: Coordinator,
    naive: [Naive; 2],
    now: Time,
    counts: BTreeMap<NodeId, u64>,
    incarnations: [u64; 3],
    requests: Vec<(RequestId, usize)>,
    tokens: Vec<Token>,
    newest: BTreeMap<(CategoryId, u32), Stamp>,
}

impl Run {
    fn new() -> Self {
        let rules = Rules { grant: GRANT, max_waiters: MAX_WAITERS as u32, ..Rules::default() };
        let mut run = Self {
            coordinator: Coordinator::new(rules, 1),
            naive: [Naive::default(), Naive::default()],
            now: Time(1),
            counts: BTreeMap::new(),
            incarnations: [0; 3],
            requests: Vec::new(),
            tokens: Vec::new(),
            newest: BTreeMap::new(),
        };
        for category in 0..2 {
            let set = Step::Set { category, limit: 2, close_after: None };
            let event = run.expect(&set, &mut Vec::new()).unwrap();
            run.coordinator.step(run.now, event, &mut Vec::new());
        }
        run
    }

    fn node(&self, node: u64) -> NodeId {
        NodeId(node + 10 * self.incarnations[node as usize])
    }

    fn take(&mut self, step: &Step) {
        let mut expected = Vec::new();
        let Some(event) = self.expect(step, &mut expected) else { return };
        let mut commands = Vec::new();
        self.coordinator.step(self.now, event, &mut commands);
        let heard: Vec<Heard> = commands.iter().map(|command| self.hear(command)).collect();
        assert_eq!(heard, expected, "after {step:?}");
        for (category, naive) in NAMES.iter().zip(&self.naive) {
            let view = self.coordinator.category(CategoryId::of(category)).unwrap();
            assert_eq!(view.holder_count() as usize, naive.holders.len());
            let waiting: Vec<RequestId> = view.waiters().map(|(request, _)| request).collect();
            assert_eq!(waiting, naive.queue.iter().copied().collect::<Vec<_>>());
        }
    }

    /// Does a step in the naive model; returns the event that it is for the coordinator.
    fn expect(&mut self, step: &Step, heard: &mut Vec<Heard>) -> Option<Event> {
        let now = self.now;
        let pick = |at: usize, len: usize| (len > 0).then(|| at % len);
        Some(match *step {
            Step::Request { node, category, waits } => {
                let node = self.node(node);
                let count = self.counts.entry(node).or_default();
                *count += 1;
                let request = RequestId { node, count: *count };
                self.requests.push((request, category));
                self.naive[category].request(now, request, waits, heard);
                Event::Requested { request, category: CategoryId::of(NAMES[category]), waits }
            }
            Step::Repeat(at) => {
                let (request, category) = self.requests[pick(at, self.requests.len())?];
                heard.push(self.heard_again(request, category)?);
                Event::Requested { request, category: CategoryId::of(NAMES[category]), waits: true }
            }
            Step::Cancel(at) => {
                let (request, category) = self.requests[pick(at, self.requests.len())?];
                self.naive[category].forget(request);
                self.naive[category].settle(now, heard);
                Event::Cancelled { request }
            }
            Step::Release(at) => {
                let token = self.tokens[pick(at, self.tokens.len())?];
                let naive = self.naive_of(token);
                naive.holders.retain(|(_, _, held)| *held != Some(token));
                naive.settle(now, heard);
                Event::Released { token }
            }
            Step::Extend(at, by) => {
                let token = self.tokens[pick(at, self.tokens.len())?];
                let by = Duration::from_millis(by);
                heard.push(self.naive_of(token).extend(now.after(by), token));
                Event::ExtensionRequested { token, by }
            }
            Step::Wait(ms) => {
                self.now = now.after(Duration::from_millis(ms));
                self.settle_all(heard);
                Event::TimePassed
            }
            Step::Set { category, limit, close_after } => {
                let close_after = close_after.map(Duration::from_millis);
                self.naive[category].limit = limit;
                self.naive[category].closes_at = close_after.map(|after| now.after(after));
                self.naive[category].settle(now, heard);
                let name = CategoryName::try_new(NAMES[category]).unwrap();
                Event::Set { name, limit: Limit::try_new(limit).unwrap(), close_after }
            }
            Step::Close(category) => {
                self.naive[category].closes_at = Some(Time::ZERO);
                self.naive[category].settle(now, heard);
                Event::Closed { category: CategoryId::of(NAMES[category]) }
            }
            Step::Vanish(node) => {
                let gone = self.node(node);
                self.incarnations[node as usize] += 1;
                for naive in &mut self.naive {
                    naive.queue.retain(|waiting| waiting.node != gone);
                }
                Event::Vanished { node: gone }
            }
        })
    }

    /// What a request that comes again hears; a node that vanished is not heard any more.
    fn heard_again(&self, request: RequestId, category: usize) -> Option<Heard> {
        if !(0..3).any(|node| self.node(node) == request.node) {
            return None;
        }
        let naive = &self.naive[category];
        Some(if naive.queue.contains(&request) {
            Heard::Waits(request)
        } else if naive.holders.iter().any(|(holding, _, _)| *holding == request) {
            Heard::Granted(request)
        } else {
            Heard::Refused(request, Refusal::Finished)
        })
    }

    fn settle_all(&mut self, heard: &mut Vec<Heard>) {
        let mut by_id: Vec<_> = NAMES.iter().zip(&mut self.naive).collect();
        by_id.sort_by_key(|(name, _)| CategoryId::of(name));
        for (_, naive) in by_id {
            naive.settle(self.now, heard);
        }
    }

    fn naive_of(&mut self, token: Token) -> &mut Naive {
        let at = NAMES.iter().position(|name| CategoryId::of(name) == token.category);
        &mut self.naive[at.unwrap()]
    }

    fn hear(&mut self, command: &Command) -> Heard {
        match *command {
            Command::Grant { request, token, .. } => {
                self.granted(request, token);
                Heard::Granted(request)
            }
            Command::Enqueue { request, .. } => Heard::Waits(request),
            Command::Refuse { request, refusal } => Heard::Refused(request, refusal),
            Command::Revoke { request, .. } => Heard::Lost(request),
            Command::Extend { expires, .. } => Heard::Extended(expires),
            Command::RefuseExtension { .. } => Heard::NotExtended,
            ref other => panic!("unexpected {other:?}"),
        }
    }

    /// A grant's slot is below the limit and empty, and its stamp is above the slot's earlier ones.
    fn granted(&mut self, request: RequestId, token: Token) {
        let naive = self.naive_of(token);
        for (holding, _, held) in &mut naive.holders {
            if *holding == request && held.replace(token).is_some_and(|held| held == token) {
                return; // A repeated answer.
            }
        }
        assert!((token.slot as usize) < naive.permits(), "slot {} past the limit", token.slot);
        let in_slot = |(_, _, held): &&(_, _, Option<Token>)| {
            held.is_some_and(|held| held.slot == token.slot)
        };
        assert_eq!(naive.holders.iter().filter(in_slot).count(), 1, "a slot with two holders");
        let newest = self.newest.insert((token.category, token.slot), token.stamp);
        assert!(newest.is_none_or(|newest| newest < token.stamp), "a token that does not rise");
        self.tokens.push(token);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_coordinator_agrees_with_the_naive_model(steps in prop::collection::vec(step(), 1..120)) {
        let mut run = Run::new();
        for step in &steps {
            run.take(step);
        }
        for _ in 0..50 {
            run.take(&Step::Wait(5001));
        }
        prop_assert_eq!(run.coordinator.next_timeout(), None);
        prop_assert!(run.naive.iter().all(|naive| naive.holders.is_empty()));
        prop_assert!(run.naive.iter().all(|naive| naive.queue.is_empty()));
    }
}
