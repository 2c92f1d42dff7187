//! Nodes whose network delays, stalls and is cut, and which are killed, restarted and refuse work, by a
//! seed: every signal ends, and none is started twice.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "so a test fails")]

#[path = "node/nodes.rs"]
mod nodes;
#[path = "node/relay.rs"]
mod relay;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nodes::{Node, fast, forever, until};
use relay::Relay;
use stage_signal::{Config, Outcome, Outcomes, Outgoing};
use stage_value::Value;

const STEPS: usize = 150;

/// Signals of one step: few enough to be looked at, many enough that each fault hits some.
const SIGNALS: i64 = 8;

/// A receiver behind a network of its own. Its lives follow one another at the same address.
struct Place {
    name: &'static str,
    relay: Relay,
    node: Option<Node>,
    started: Vec<i64>,
}

/// Settings with which a stalled peer is given up within the storm.
fn quick(peers: &[&str]) -> Config {
    let heartbeat = Duration::from_millis(20);
    Config { heartbeat, silence: Duration::from_millis(150), ..fast(peers) }
}

impl Place {
    fn new(name: &'static str) -> Self {
        let node = Node::start(name, quick(&[]));
        Self { name, relay: Relay::to(&node.address), node: Some(node), started: Vec::new() }
    }

    fn restart(&mut self) {
        let node = self.node.take().unwrap();
        let address = node.address.clone();
        let seen = node.notes_after_death();
        self.started.extend(seen);
        self.node = Some(Node::start_at(self.name, &address, quick(&[])));
    }

    /// One fault, or the end of one.
    fn suffer(&mut self, rng: &mut fastrand::Rng) {
        match rng.u8(0..12) {
            0 => self.relay.cut(),
            1 => self.relay.stall(true),
            2..=4 => self.relay.stall(false),
            5 => self.relay.delay(Duration::from_millis(rng.u64(0..30))),
            6 => self.relay.delay(Duration::ZERO),
            7 => self.refuse(true),
            8 | 9 => self.refuse(false),
            10 if rng.u8(0..4) == 0 => self.restart(),
            _ => {}
        }
    }

    fn refuse(&self, is_refusing: bool) {
        self.node.as_ref().unwrap().refuse.store(is_refusing, Ordering::Relaxed);
    }

    fn calm(&self) {
        self.relay.stall(false);
        self.relay.delay(Duration::ZERO);
        self.refuse(false);
    }
}

fn note(number: i64) -> Outgoing {
    Outgoing { args: vec![Value::Int(number)], ..forever("note") }
}

/// Lets a storm pass over signals without a deadline; how each ended, and how often it started.
fn storm(seed: u64) -> BTreeMap<i64, (Outcome, usize)> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut places = [Place::new("b"), Place::new("c")];
    let peers: Vec<&str> = places.iter().map(|place| place.relay.address.as_str()).collect();
    let a = Node::start("a", quick(&peers));
    until("all are linked", || a.linked() == ["b", "c"]);
    let mut waiting: Vec<(i64, Outcomes)> = Vec::new();
    for step in 0..STEPS {
        for place in &mut places {
            place.suffer(&mut rng);
        }
        let first = i64::try_from(step).unwrap() * SIGNALS;
        waiting.extend((first..first + SIGNALS).map(|number| (number, a.send(note(number)))));
        std::thread::sleep(Duration::from_millis(10));
    }
    places.iter().for_each(Place::calm);
    let ends: Vec<(i64, Outcome)> = a.block_on(async {
        let mut ends = Vec::new();
        for (number, mut outcomes) in waiting {
            let end = tokio::time::timeout(Duration::from_secs(20), outcomes.next()).await;
            ends.push((number, end.expect("a signal has no end").unwrap()));
        }
        ends
    });
    let mut started = a.notes();
    for place in &mut places {
        started.append(&mut place.started);
        started.extend(place.node.take().unwrap().notes_after_death());
    }
    let count = |number: i64| started.iter().filter(|other| **other == number).count();
    ends.into_iter().map(|(number, end)| (number, (end, count(number)))).collect()
}

fn check(seed: u64) {
    let ends = storm(seed);
    assert_eq!(ends.len(), STEPS * usize::try_from(SIGNALS).unwrap());
    let (mut done, mut failed) = (0, BTreeMap::new());
    for (number, (end, starts)) in ends {
        match end {
            Ok(_) => {
                assert_eq!(starts, 1, "seed {seed}: signal {number} has results");
                done += 1;
            }
            Err(failure) => {
                let most = usize::from(!failure.reason.is_not_started());
                assert!(starts <= most, "seed {seed}: {number} started {starts} times: {failure}");
                *failed.entry(failure.reason).or_insert(0) += 1;
            }
        }
    }
    // A storm in which nothing is lost, or nothing arrives, would show nothing.
    assert!(done > STEPS && failed.values().sum::<usize>() > 0, "seed {seed}: {done}, {failed:?}");
}

#[test]
fn every_signal_ends_and_none_starts_twice_in_a_first_storm() {
    check(1);
}

#[test]
fn every_signal_ends_and_none_starts_twice_in_a_second_storm() {
    check(2);
}

#[test]
fn every_signal_ends_and_none_starts_twice_in_a_third_storm() {
    check(3);
}
