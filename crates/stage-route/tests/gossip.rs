//! Controllers that hear of each other over a network that delays, loses and parts, with simulated time.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use stage_route::{Config, Controller, Input, Peer, State, WINDOW};
use turmoil::net::UdpSocket;
use turmoil::{Builder, Sim};

const NODES: usize = 5;
const FLOOR: usize = NODES.div_ceil(2);
const PORT: u16 = 7000;
const SEEDS: u64 = 6;

/// Windows in which any node may be overloaded, and those after them in which none is.
const STORM: u32 = 600;
const CALM: u32 = 900;

/// What all nodes do, as nobody in the network sees it.
struct Truth {
    states: RefCell<[State; NODES]>,
    leaves: Cell<usize>,
}

/// What has come of a run.
#[derive(Default)]
struct Outcome {
    leaves: usize,
    /// For how long at most fewer nodes were joined than should be.
    longest_gap: Duration,
}

impl Truth {
    fn new() -> Rc<Self> {
        Rc::new(Self { states: RefCell::new([State::Joined; NODES]), leaves: Cell::new(0) })
    }

    fn note(&self, node: usize, state: State) {
        let before = std::mem::replace(&mut self.states.borrow_mut()[node], state);
        let left = before.is_joined() && !state.is_joined();
        self.leaves.set(self.leaves.get() + usize::from(left));
    }

    fn joined(&self) -> usize {
        self.states.borrow().iter().filter(|state| state.is_joined()).count()
    }
}

/// What a node last heard of another: what it said, when, when that came, and when it was first heard to be away. As in
/// a node, what came late counts as new.
#[derive(Clone)]
struct Heard {
    state: State,
    said: Duration,
    came: Duration,
    left: Option<Duration>,
}

const STATES: [State; 5] =
    [State::Joined, State::Held, State::Draining, State::Isolated, State::Probing];

fn spoken(node: usize, state: State, now: Duration) -> Vec<u8> {
    let state = STATES.iter().position(|of| *of == state).unwrap_or_default();
    let millis = u32::try_from(now.as_millis()).unwrap_or(u32::MAX).to_be_bytes();
    [&[node as u8, state as u8], &millis[..]].concat()
}

fn hear(heard: &mut [Heard], said: &[u8], now: Duration) {
    let [node, state, millis @ ..] = said else { return };
    let Ok(millis) = <[u8; 4]>::try_from(millis) else { return };
    let said = Duration::from_millis(u32::from_be_bytes(millis).into());
    let heard = &mut heard[usize::from(*node)];
    if said >= heard.said {
        let state = STATES[usize::from(*state)];
        let left = (!state.is_joined()).then(|| heard.left.unwrap_or(now));
        *heard = Heard { state, said, came: now, left };
    }
}

fn name(node: usize) -> String {
    format!("n{node}")
}

/// A node: decides every window by what it has heard, and tells the others.
async fn node(own: usize, seed: u64, truth: Rc<Truth>) -> turmoil::Result {
    let socket = UdpSocket::bind(("0.0.0.0", PORT)).await?;
    let mut rng = Rng::with_seed(seed * NODES as u64 + own as u64);
    let mut controller = Controller::new(name(own), Config::default(), WINDOW / 100);
    let never = Duration::ZERO;
    let silent = Heard { state: State::Joined, said: never, came: never, left: None };
    let mut heard = vec![silent; NODES];
    let mut is_overloaded = false;
    // Nodes do not decide in step.
    tokio::time::sleep(WINDOW * own as u32 / NODES as u32).await;
    for window in 1.. {
        tokio::time::sleep(WINDOW).await;
        let now = WINDOW * window;
        let mut said = [0; 6];
        while let Ok((length, _)) = socket.try_recv_from(&mut said) {
            hear(&mut heard, &said[..length], now);
        }
        // Half of all surges come to every node at once.
        let is_common = seed.is_multiple_of(2) && window % 150 < 60;
        is_overloaded ^= rng.u8(..30) == 0;
        let is_delayed = window <= STORM && (is_overloaded || is_common);
        let others = heard.iter().enumerate().filter(|(node, _)| *node != own);
        let peers: Vec<_> = others
            .map(|(node, heard)| Peer {
                name: name(node),
                state: heard.state,
                utilisation: 0.2,
                age: now.saturating_sub(heard.came),
                left_ago: heard.left.map(|left| now.saturating_sub(left)),
            })
            .collect();
        let view = controller.step(&Input {
            window: WINDOW,
            now,
            delay: Duration::from_millis(if is_delayed { 50 } else { 0 }),
            slowest: "stage",
            utilisation: 0.2,
            peers: &peers,
            random: rng.f64(),
            ..Input::default()
        });
        truth.note(own, view.state);
        for other in (0..NODES).filter(|other| *other != own) {
            socket.send_to(&spoken(own, view.advert(), now), (name(other), PORT)).await?;
        }
    }
    Ok(())
}

/// Runs a network of nodes through the storm and the calm after it.
fn run(seed: u64, network: &mut Builder, trouble: impl Fn(&mut Sim<'_>, u32)) -> Outcome {
    const TICKS: u32 = 5;
    let truth = Truth::new();
    let mut sim = network
        .rng_seed(seed)
        .tick_duration(WINDOW / TICKS)
        .simulation_duration(WINDOW * (STORM + CALM) * 2)
        .udp_capacity(4096)
        .build();
    for of in 0..NODES {
        let truth = Rc::clone(&truth);
        sim.host(name(of), move || node(of, seed, Rc::clone(&truth)));
    }
    let (mut gap, mut longest) = (0, 0);
    for tick in 0..(STORM + CALM) * TICKS {
        trouble(&mut sim, tick / TICKS);
        sim.step().unwrap();
        gap = if truth.joined() < FLOOR { gap + 1 } else { 0 };
        longest = gap.max(longest);
    }
    assert_eq!(*truth.states.borrow(), [State::Joined; NODES], "seed {seed}: not all are back");
    Outcome { leaves: truth.leaves.get(), longest_gap: WINDOW / TICKS * longest }
}

/// The leaves with all seeds, and the longest gap with any. A network in which nobody leaves would show nothing.
fn run_all(network: fn() -> Builder, trouble: impl Fn(u64, &mut Sim<'_>, u32)) -> Outcome {
    (1..=SEEDS).fold(Outcome::default(), |all, seed| {
        let one = run(seed, &mut network(), |sim, window| trouble(seed, sim, window));
        let longest_gap = all.longest_gap.max(one.longest_gap);
        Outcome { leaves: all.leaves + one.leaves, longest_gap }
    })
}

fn in_time() -> Builder {
    let mut network = Builder::new();
    network.min_message_latency(Duration::from_millis(1)).max_message_latency(WINDOW);
    network
}

#[test]
fn half_of_the_nodes_stay_joined_when_gossip_comes_in_time() {
    let Outcome { leaves, longest_gap } = run_all(in_time, |_, _, _| {});
    assert!(leaves > 30, "{leaves}");
    assert_eq!(longest_gap, Duration::ZERO);
}

#[test]
fn half_of_the_nodes_are_joined_again_within_a_second_of_late_gossip() {
    const LATEST: Duration = Duration::from_secs(2);
    let late = || {
        let mut network = Builder::new();
        network.max_message_latency(LATEST);
        network
    };
    let Outcome { leaves, longest_gap } = run_all(late, |_, _, _| {});
    assert!(leaves > 30, "{leaves}");
    assert!(longest_gap <= LATEST + Duration::from_secs(1), "{longest_gap:?}");
}

#[test]
fn half_of_the_nodes_stay_joined_when_links_fail_and_come_back() {
    let failing = || {
        let mut network = in_time();
        network.fail_rate(0.2).repair_rate(0.1);
        network
    };
    let Outcome { leaves, longest_gap } = run_all(failing, |_, _, _| {});
    assert!(leaves > 30, "{leaves}");
    assert_eq!(longest_gap, Duration::ZERO);
}

#[test]
fn half_of_the_nodes_stay_joined_when_the_network_parts_for_two_seconds_at_a_time() {
    let parts = |seed: u64, sim: &mut Sim<'_>, window: u32| {
        let is_parted = window <= STORM && window % 50 < 20;
        let cut = 1 + (seed as usize + window as usize / 50) % (NODES - 1);
        for one in 0..cut {
            for other in cut..NODES {
                if is_parted {
                    sim.partition(name(one), name(other));
                } else {
                    sim.repair(name(one), name(other));
                }
            }
        }
    };
    let Outcome { leaves, longest_gap } = run_all(in_time, parts);
    assert!(leaves > 30, "{leaves}");
    assert_eq!(longest_gap, Duration::ZERO);
}
