//! The controller: scenarios, and properties over any load.

#![allow(clippy::panic, reason = "a scenario that never gets there has failed")]

use std::time::Duration;

use proptest::prelude::*;
use stage_route::{Config, Controller, Input, Peer, State, Tuning, View, WINDOW};

struct Simulation {
    controller: Controller,
    windows: u32,
    peers: Vec<Peer>,
    running: u64,
    waiting: u64,
}

impl Simulation {
    fn new(peers: usize) -> Self {
        let peer = |n| Peer {
            name: format!("n{n}"),
            state: State::Joined,
            utilisation: 0.2,
            age: Duration::ZERO,
            left_ago: None,
        };
        Self {
            controller: Controller::new("m", Config::default(), Duration::from_millis(1)),
            windows: 0,
            running: 0,
            waiting: 0,
            peers: (0..peers).map(peer).collect(),
        }
    }

    fn window(&mut self, delay_ms: u64, busy: f64) -> View {
        self.windows += 1;
        let peers = self.peers.clone();
        self.controller.step(&Input {
            window: WINDOW,
            now: WINDOW * self.windows,
            delay: Duration::from_millis(delay_ms),
            slowest: "stage",
            busy: WINDOW.mul_f64(busy * 2.0),
            messages: 20,
            running: self.running,
            waiting: self.waiting,
            peer_share: 1.0,
            utilisation: busy,
            peers: &peers,
            random: 0.5,
        })
    }

    /// Repeats a window until the state changes; how many it took.
    fn until(&mut self, state: State, delay_ms: u64, busy: f64) -> u32 {
        (1..2000)
            .find(|_| self.window(delay_ms, busy).state == state)
            .unwrap_or_else(|| panic!("never {state}"))
    }
}

#[test]
fn one_long_message_a_second_does_not_keep_a_node_away() {
    let mut node = Simulation::new(2);
    node.until(State::Draining, 50, 0.5);
    node.until(State::Isolated, 50, 0.5);
    // A share smoothed as a meter does it: three windows' worth of work that ends in every tenth.
    let mut share = 0.3f64;
    let is_back = (0..600).any(|window| {
        let busy = if window % 10 == 0 { 3.0 } else { 0.0 };
        share += (busy - share) * 0.25;
        node.window(0, share.min(1.0)).state == State::Joined
    });
    assert!(is_back, "away for a minute with a third of its time used");
}

#[test]
fn a_node_that_is_well_used_from_its_first_second_on_learns_what_its_messages_cost() {
    let mut node = Simulation::new(2);
    let costs: Vec<_> = (0..20).map(|_| node.window(0, 0.9).baseline).collect();
    assert!(costs[19] > Duration::from_millis(5), "{costs:?}");
    // From then on only calm windows tell.
    let view = node.window(0, 0.9);
    let later = (0..200).map(|_| node.window(0, 1.0)).last();
    assert_eq!(later.map(|later| later.baseline), Some(view.baseline));
}

#[test]
fn a_delayed_node_leaves_after_a_second_and_comes_back_when_calm() {
    let mut node = Simulation::new(2);
    assert_eq!(node.until(State::Draining, 50, 0.5), 10);
    assert!(node.until(State::Isolated, 50, 0.5) <= 10);
    let away = node.until(State::Probing, 0, 0.2);
    assert!((15..=26).contains(&away), "{away} windows away");
    assert_eq!(node.until(State::Joined, 0, 0.2), 12);
}

#[test]
fn a_node_that_would_stay_if_it_were_joined_does_not_probe_for_ever() {
    let mut node = Simulation::new(2);
    node.until(State::Draining, 50, 0.5);
    node.until(State::Probing, 0, 0.2);
    let is_joined = [50, 0, 0]
        .into_iter()
        .cycle()
        .take(60)
        .any(|delay| node.window(delay, 0.2).state == State::Joined);
    assert!(is_joined, "one bad window in three keeps it probing");
}

#[test]
fn a_held_node_tells_why_it_stays_now_and_not_why_it_stayed_at_first() {
    let mut node = Simulation::new(0);
    node.until(State::Held, 20, 0.5);
    assert!(node.window(20, 0.5).reason.ends_with("the delay is not severe"));
    assert!(node.window(50, 0.5).reason.ends_with("too few others are joined"));
}

#[test]
fn what_is_no_number_lets_no_node_leave() {
    let mut node = Simulation::new(2);
    node.peers[0].utilisation = f64::NAN;
    for _ in 0..100 {
        let view = node.window(50, 0.5);
        assert!(view.state.is_joined(), "{view:?}");
    }
    let input = Input { utilisation: f64::NAN, ..Input::default() };
    assert_eq!(node.controller.step(&input).utilisation, 1.0);
}

#[test]
fn times_that_no_clock_can_count_are_the_longest_there_are() {
    let config = Config::default();
    assert_eq!(config.threshold(Duration::MAX), Duration::MAX);
    let mut controller = Controller::new("a", config, Duration::MAX);
    for _ in 0..20 {
        let now = Duration::MAX;
        let busy = Duration::MAX;
        let (messages, waiting) = (u64::MAX, u64::MAX);
        let input = Input { now, busy, messages, waiting, ..Input::default() };
        controller.step(&input);
    }
}

#[test]
fn a_node_that_is_delayed_by_little_sheds_and_leaves_when_that_does_not_help() {
    let mut node = Simulation::new(2);
    // The threshold is 8 ms.
    assert_eq!(node.until(State::Held, 20, 0.5), 10);
    for _ in 0..100 {
        let view = node.window(20, 0.5);
        assert_eq!((view.state, view.leaves), (State::Held, 0));
    }
    assert_eq!(node.until(State::Draining, 24, 0.5), 1);
}

#[test]
fn a_node_whose_queues_get_shorter_stays() {
    let mut node = Simulation::new(2);
    for waiting in (0..300).rev() {
        node.waiting = waiting;
        assert!(node.window(50, 0.5).state.is_joined());
    }
    node.until(State::Draining, 50, 0.5);
}

#[test]
fn a_burst_that_drains_is_no_overload() {
    let mut node = Simulation::new(2);
    for _ in 0..100 {
        for delay in [50, 50, 50, 0, 0, 0] {
            assert_eq!(node.window(delay, 0.5).state, State::Joined);
        }
    }
}

#[test]
fn a_node_alone_is_held_and_sheds_but_never_leaves() {
    let mut node = Simulation::new(0);
    node.until(State::Held, 50, 1.0);
    let mut last = 1.0;
    for _ in 0..200 {
        let view = node.window(50, 1.0);
        assert_eq!(view.state, State::Held);
        assert!(view.credit <= last && view.credit >= 0.02);
        last = view.credit;
    }
    assert!(last < 0.03);
    node.until(State::Joined, 0, 0.1);
}

#[test]
fn a_node_stays_when_the_others_cannot_carry_its_load() {
    let mut node = Simulation::new(2);
    node.peers.iter_mut().for_each(|peer| peer.utilisation = 0.7);
    node.until(State::Held, 50, 1.0);
    node.peers.iter_mut().for_each(|peer| peer.utilisation = 0.1);
    node.until(State::Draining, 50, 1.0);
}

#[test]
fn a_node_that_has_become_slow_counts_what_it_does_as_what_it_would_cost_the_others() {
    let mut node = Simulation::new(2);
    (0..20).for_each(|_| _ = node.window(0, 0.2));
    node.peers.iter_mut().for_each(|peer| peer.utilisation = 0.7);
    // Each message keeps it busy five times as long.
    assert_eq!(node.until(State::Draining, 50, 1.0), 10);
}

#[test]
fn a_node_does_not_leave_right_behind_another() {
    let mut node = Simulation::new(4);
    node.peers[0].state = State::Draining;
    node.peers[0].left_ago = Some(Duration::from_millis(100));
    node.until(State::Held, 50, 0.5);
}

#[test]
fn a_node_does_not_count_on_peers_of_which_it_heard_nothing_of_late() {
    let mut node = Simulation::new(4);
    node.peers.iter_mut().for_each(|peer| peer.age = Duration::from_secs(1));
    node.until(State::Held, 50, 0.5);
    node.peers.iter_mut().for_each(|peer| peer.age = Duration::from_millis(100));
    node.until(State::Draining, 50, 0.5);
}

#[test]
fn each_failure_doubles_the_time_away() {
    let mut node = Simulation::new(2);
    let mut before = 0;
    for _ in 0..4 {
        node.until(State::Draining, 50, 0.5);
        node.until(State::Isolated, 50, 0.5);
        let away = node.until(State::Probing, 0, 0.2);
        assert!(away > before, "{away} after {before}");
        before = away;
    }
}

#[test]
fn an_isolated_node_returns_at_once_when_too_few_are_joined() {
    let mut node = Simulation::new(2);
    node.until(State::Draining, 50, 0.5);
    node.until(State::Isolated, 50, 0.5);
    node.peers.iter_mut().for_each(|peer| peer.state = State::Isolated);
    // Of the three, "m" comes first by name.
    assert_eq!(node.window(50, 0.5).state, State::Held);
}

#[test]
fn a_smaller_sensitivity_means_a_smaller_threshold() {
    let threshold =
        |sensitivity| Config::try_new(sensitivity).unwrap().threshold(Duration::from_millis(2));
    assert_eq!(threshold(8.0), Duration::from_millis(16));
    assert_eq!(threshold(0.5), Duration::from_millis(2));
    for bad in [-1.0, f64::NAN, f64::INFINITY, 1e9] {
        assert!(Config::try_new(bad).is_err(), "{bad}");
    }
}

#[test]
fn sensitivity_zero_never_leaves() {
    let config = Config::try_new(0.0).unwrap();
    let mut controller = Controller::new("m", config, Duration::from_millis(1));
    for n in 0..100u32 {
        let delay = Duration::from_secs(10);
        let view = controller.step(&Input { now: WINDOW * n, delay, ..Input::default() });
        assert_eq!((view.state, view.credit), (State::Joined, 1.0));
    }
}

#[test]
fn the_baseline_learns_when_calm_and_is_frozen_when_not() {
    let mut node = Simulation::new(2);
    let seed = node.window(0, 0.0).baseline;
    let mut learned = seed;
    for _ in 0..200 {
        learned = node.window(0, 0.5).baseline;
    }
    assert!(learned > seed * 2, "{learned:?}");
    for _ in 0..200 {
        node.window(100, 1.0);
    }
    assert_eq!(node.window(100, 1.0).baseline, learned);
}

#[test]
fn what_ran_before_the_node_was_calm_does_not_teach_it_a_cost() {
    let mut node = Simulation::new(0);
    node.until(State::Held, 50, 1.0);
    let seed = node.window(0, 0.5).baseline;
    // Twenty messages end per window; a hundred still run as the node joins again.
    node.running = 100;
    node.until(State::Joined, 0, 0.5);
    let taught = (1..20).find(|_| node.window(0, 0.5).baseline != seed);
    assert_eq!(taught, Some(5));
}

#[test]
fn an_hour_of_overload_is_forgotten_as_fast_as_a_minute_of_it() {
    let recovery = |windows| {
        let mut node = Simulation::new(0);
        for _ in 0..windows {
            node.window(50, 1.0);
        }
        node.until(State::Joined, 0, 0.1)
    };
    assert_eq!(recovery(36_000), recovery(600));
}

#[test]
fn of_nodes_that_would_leave_too_few_behind_the_first_by_name_stays_to_ask_first() {
    let mut node = Simulation::new(3);
    // Of four, two must stay. "m" counts the held "a" and "b" as gone, so only "c" would be left.
    for (peer, name) in node.peers.iter_mut().zip(["a", "b", "c"]) {
        name.clone_into(&mut peer.name);
    }
    node.peers[0].state = State::Held;
    node.peers[1].state = State::Held;
    node.until(State::Held, 50, 0.5);
    node.peers[0].name = "x".to_owned();
    node.until(State::Draining, 50, 0.5);
}

#[test]
fn a_node_tells_its_peers_before_it_asks_to_leave() {
    let mut node = Simulation::new(2);
    let told: Vec<_> = (0..9).map(|_| node.window(50, 0.5).advert()).collect();
    assert_eq!(told[..3], [State::Joined; 3]);
    assert_eq!(told[3..], [State::Held; 6]);
}

#[test]
fn every_part_can_be_tuned_within_its_range() {
    let tuned = |tuning| Config::tuned(tuning).map_err(|error| error.to_string());
    assert_eq!(tuned(Tuning::default()), Ok(Config::default()));
    let bad = Tuning { patience: 0, ..Tuning::default() };
    assert_eq!(tuned(bad).unwrap_err(), "patience must be from 1 to 1000, not 0");
}

/// A mesh of controllers that hear of each other some windows late, or not at all for a while.
struct Mesh {
    nodes: Vec<Controller>,
    told: Vec<Vec<Peer>>,
    left: Vec<Vec<Option<Duration>>>,
    windows: u32,
}

impl Mesh {
    fn new(nodes: usize) -> Self {
        let node = |n| Controller::new(format!("n{n}"), Config::default(), WINDOW / 100);
        Self {
            nodes: (0..nodes).map(node).collect(),
            told: vec![],
            left: vec![vec![None; nodes]; nodes],
            windows: 0,
        }
    }

    /// How many are joined after a window with these delays, of which gossip of so many windows ago
    /// is heard.
    fn window(&mut self, delays: &[u64], late: usize) -> usize {
        self.windows += 1;
        let now = WINDOW * self.windows;
        let heard = self.told.len().checked_sub(1 + late).map(|at| self.told[at].clone());
        let heard = heard.unwrap_or_else(|| (0..self.nodes.len()).map(unheard).collect());
        let mut told = vec![];
        for (n, node) in self.nodes.iter_mut().enumerate() {
            let mut peers = heard.clone();
            for (peer, left) in peers.iter_mut().zip(&mut self.left[n]) {
                *left = (!peer.state.is_joined()).then(|| left.unwrap_or(now));
                peer.left_ago = left.map(|left| now - left);
            }
            peers.remove(n);
            let delay = Duration::from_millis(delays[n % delays.len()]);
            let input = Input { now, delay, peers: &peers, random: 0.5, ..Input::default() };
            let view = node.step(&input);
            told.push((view.state.is_joined(), Peer { state: view.advert(), ..unheard(n) }));
        }
        self.told.push(told.iter().map(|(_, peer)| peer.clone()).collect());
        told.iter().filter(|(is_joined, _)| *is_joined).count()
    }
}

fn unheard(n: usize) -> Peer {
    Peer {
        name: format!("n{n}"),
        state: State::Joined,
        utilisation: 0.2,
        age: Duration::ZERO,
        left_ago: None,
    }
}

proptest! {
    #[test]
    fn half_of_the_nodes_stay_joined_whatever_the_delays(
        nodes in 1usize..9,
        late in 0usize..3,
        delays in proptest::collection::vec(
            (1usize..40, proptest::collection::vec(prop_oneof![Just(0u64), Just(50)], 9)), 1..12),
    ) {
        let mut mesh = Mesh::new(nodes);
        for (windows, delays) in delays {
            for _ in 0..windows {
                prop_assert!(mesh.window(&delays, late) >= nodes.div_ceil(2));
            }
        }
    }

    #[test]
    fn half_of_the_nodes_are_back_a_second_after_lost_gossip(
        nodes in 1usize..9,
        lost in 1usize..20,
        delays in proptest::collection::vec(prop_oneof![Just(0u64), Just(50)], 9),
    ) {
        let mut mesh = Mesh::new(nodes);
        // What was last heard gets older with every window.
        for age in 0..lost {
            mesh.window(&delays, age);
        }
        for _ in 0..9 {
            mesh.window(&delays, 0);
        }
        for _ in 0..100 {
            prop_assert!(mesh.window(&delays, 0) >= nodes.div_ceil(2));
        }
    }

    #[test]
    fn no_load_leaves_a_node_out_forever(
        load in proptest::collection::vec((0u64..100, 0.0f64..1.0), 0..300),
        peers in 0usize..5,
    ) {
        let mut node = Simulation::new(peers);
        for (delay, busy) in load {
            let view = node.window(delay, busy);
            prop_assert!((0.0..=1.0).contains(&view.credit));
            if peers == 0 {
                prop_assert!(view.state.is_joined(), "a node alone must stay");
            }
        }
        let mut calm = 0;
        while node.window(0, 0.1).state != State::Joined {
            calm += 1;
            prop_assert!(calm < 600, "not back after a minute of calm");
        }
    }
}
