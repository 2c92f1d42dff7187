//! What a node may do about overload: ours and the rivals, behind one face.

use std::time::Duration;

use stage_route::{Config, Controller, Input, Peer, State, Tuning, View, WINDOW};

use crate::rivals;

/// What a node sees in a window; times in seconds.
pub(crate) struct Seen {
    pub(crate) now: Duration,
    pub(crate) delay: f64,
    pub(crate) mean_wait: f64,
    pub(crate) busy: f64,
    pub(crate) messages: u64,
    pub(crate) waiting: u64,
    pub(crate) running: u64,
    pub(crate) peer_share: f64,
    pub(crate) utilisation: f64,
    pub(crate) peers: Vec<Peer>,
    pub(crate) random: f64,
}

pub(crate) trait Policy {
    /// Whether a message of a peer may come in, with so many that wait or run.
    fn admit(&mut self, _now: f64, _inside: usize) -> bool {
        !matches!(self.state(), State::Draining | State::Isolated)
    }

    /// Whether a message of a peer that waited so long is started.
    fn starts(&mut self, _now: f64, _waited: f64) -> bool {
        true
    }

    /// A message ended after so long, with so many that still wait or run.
    fn finished(&mut self, _latency: f64, _inside: usize) {}

    fn window(&mut self, _seen: &Seen) {}

    fn state(&self) -> State {
        State::Joined
    }

    fn advert(&self) -> State {
        self.state()
    }

    fn baseline(&self) -> f64 {
        0.0
    }
}

/// Builds the policy of a node. `cost` is what a message costs when calm, in seconds; all get it.
pub(crate) fn build(name: &str, tuning: Tuning, node: usize, cost: f64) -> Box<dyn Policy> {
    let threshold = tuning.sensitivity * cost;
    match name {
        "none" => Box::new(rivals::Nothing),
        "ewma" => Box::new(rivals::Ewma::new(threshold)),
        "literal" => Box::new(rivals::Literal::new(threshold)),
        "dagor" => Box::new(rivals::Dagor::new()),
        "codel" => Box::new(rivals::Codel::default()),
        "gradient2" => Box::new(rivals::Gradient::new()),
        _ => Box::new(Stage::new(tuning, node, cost)),
    }
}

struct Stage {
    controller: Controller,
    view: View,
    fraction: f64,
}

impl Stage {
    fn new(tuning: Tuning, node: usize, cost: f64) -> Self {
        let config = Config::tuned(tuning).unwrap_or_default();
        let seed = Duration::from_secs_f64(cost);
        let mut controller = Controller::new(format!("n{node:02}"), config, seed);
        let view = controller.step(&Input::default());
        Self { controller, view, fraction: 0.0 }
    }
}

impl Policy for Stage {
    fn admit(&mut self, _: f64, _: usize) -> bool {
        self.fraction += self.view.credit;
        let is_whole = self.fraction >= 1.0;
        self.fraction -= f64::from(u8::from(is_whole));
        is_whole
    }

    fn starts(&mut self, _: f64, waited: f64) -> bool {
        self.view.late.is_none_or(|late| waited <= late.as_secs_f64())
    }

    fn window(&mut self, seen: &Seen) {
        self.view = self.controller.step(&Input {
            now: seen.now,
            window: WINDOW,
            delay: Duration::from_secs_f64(seen.delay),
            slowest: "stage",
            busy: Duration::from_secs_f64(seen.busy),
            messages: seen.messages,
            waiting: seen.waiting,
            running: seen.running,
            peer_share: seen.peer_share,
            utilisation: seen.utilisation,
            peers: &seen.peers,
            random: seen.random,
        });
    }

    fn state(&self) -> State {
        self.view.state
    }

    fn advert(&self) -> State {
        self.view.advert()
    }

    fn baseline(&self) -> f64 {
        self.view.baseline.as_secs_f64()
    }
}
