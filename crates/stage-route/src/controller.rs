use std::time::Duration;

use crate::baseline::Baseline;
use crate::guard::{self, Peer};
use crate::{Config, State, View, WINDOW};

/// What a node saw in one window.
#[derive(Clone, Debug, Default)]
pub struct Input<'a> {
    /// Time since the start of the node.
    pub now: Duration,
    /// The largest delay of any of its queues, and that queue's name.
    pub delay: Duration,
    /// The name of that queue.
    pub slowest: &'a str,
    /// Time that handlers kept its workers busy.
    pub busy: Duration,
    /// Messages that were handled.
    pub messages: u64,
    /// Workers and instances that can be busy at once.
    pub workers: usize,
    /// What the live peers say of themselves.
    pub peers: &'a [Peer],
    /// A random number from 0 to 1, which spreads the returns of several nodes.
    pub random: f64,
}

/// Windows over the threshold before a node asks to leave.
const PATIENCE: u32 = 10;
/// The longest time to finish what was accepted.
const DRAIN: Duration = Duration::from_secs(1);
/// The first time away.
const HOLD: Duration = Duration::from_secs(2);
/// The longest time away, before spreading.
const HOLD_LONGEST: Duration = Duration::from_secs(32);
/// Calm windows before a node that is away may come back.
const CALM: u32 = 10;
/// Windows between the steps of probing.
const PROBE_STEP: u32 = 3;
/// The share of work that probing starts with.
const PROBE_START: f64 = 1.0 / 16.0;
/// The share of work that is never shed.
const CREDIT_FLOOR: f64 = 0.02;
/// How much of the shed work a window without overload wins back.
const CREDIT_STEP: f64 = 0.02;
/// Time joined that makes up for one earlier leave.
const FORGIVE: Duration = Duration::from_secs(30);

/// Decides once per window whether a node takes work of others.
///
/// A state machine: equal inputs give equal outputs. It has no clock; windows are [`WINDOW`] long.
#[derive(Clone, Debug)]
pub struct Controller {
    name: String,
    config: Config,
    baseline: Baseline,
    state: State,
    entered: Duration,
    over: u32,
    calm: u32,
    good: u32,
    credit: f64,
    away_until: Duration,
    failures: u32,
    forgiven_at: Duration,
    leaves: u64,
    reason: String,
}

impl Controller {
    /// A joined node. `seed` is what a message costs until the node has learned it.
    #[must_use]
    pub fn new(name: impl Into<String>, config: Config, seed: Duration) -> Self {
        Self {
            name: name.into(),
            config,
            baseline: Baseline::new(seed),
            state: State::Joined,
            entered: Duration::ZERO,
            over: 0,
            calm: 0,
            good: 0,
            credit: 1.0,
            away_until: Duration::ZERO,
            failures: 0,
            forgiven_at: Duration::ZERO,
            leaves: 0,
            reason: "started".to_owned(),
        }
    }

    /// Takes in a window and decides. O(peers).
    pub fn step(&mut self, input: &Input<'_>) -> View {
        let threshold = self.threshold();
        let utilisation = utilisation(input);
        if self.config.can_leave() {
            match self.state {
                State::Joined => self.joined(input, threshold, utilisation),
                State::Held => self.held(input, threshold, utilisation),
                State::Draining => self.draining(input),
                State::Isolated => self.isolated(input, threshold, utilisation),
                State::Probing => self.probing(input, threshold),
            }
        }
        self.learn(input, threshold, utilisation);
        self.view(input, utilisation)
    }

    /// The delay past which the node is in its critical region.
    #[must_use]
    pub fn threshold(&self) -> Duration {
        self.config.threshold(self.baseline.cost())
    }

    fn joined(&mut self, input: &Input<'_>, threshold: Duration, utilisation: f64) {
        self.forgive(input.now);
        self.count(input.delay > threshold);
        if self.over >= PATIENCE {
            self.leave_or_hold(input, threshold, utilisation);
        }
    }

    /// Sheds at the door; leaves as soon as the others can do without this node.
    fn held(&mut self, input: &Input<'_>, threshold: Duration, utilisation: f64) {
        let is_over = input.delay > threshold;
        self.count(is_over);
        if is_over {
            let excess = input.delay.as_secs_f64() / threshold.as_secs_f64() - 1.0;
            self.credit = (self.credit * (1.0 - 0.2 * excess).max(0.5)).max(CREDIT_FLOOR);
            if self.over >= PATIENCE && guard::may_leave(input.peers, utilisation).is_ok() {
                self.leave_or_hold(input, threshold, utilisation);
            }
            return;
        }
        self.credit = (self.credit + CREDIT_STEP).min(1.0);
        if self.credit >= 1.0 && self.over == 0 {
            self.enter(State::Joined, input.now, "its queues are short again".to_owned());
        }
    }

    fn leave_or_hold(&mut self, input: &Input<'_>, threshold: Duration, utilisation: f64) {
        let what = format!(
            "{} delayed messages by {:.1} ms, over {:.1} ms",
            input.slowest,
            input.delay.as_secs_f64() * 1000.0,
            threshold.as_secs_f64() * 1000.0
        );
        match guard::may_leave(input.peers, utilisation) {
            Ok(()) => {
                self.failures = (self.failures + 1).min(16);
                self.leaves += 1;
                self.enter(State::Draining, input.now, what);
            }
            Err(_) if self.state == State::Held => {}
            Err(why) => self.enter(State::Held, input.now, format!("{what}; it stays: {why}")),
        }
    }

    fn draining(&mut self, input: &Input<'_>) {
        let is_empty = input.delay.is_zero();
        if is_empty || input.now.saturating_sub(self.entered) >= DRAIN {
            let hold = HOLD.saturating_mul(1 << (self.failures - 1).min(8)).min(HOLD_LONGEST);
            self.away_until = input.now + hold.mul_f64(0.75 + input.random.clamp(0.0, 1.0) / 2.0);
            let reason = std::mem::take(&mut self.reason);
            self.enter(State::Isolated, input.now, reason);
        }
    }

    fn isolated(&mut self, input: &Input<'_>, threshold: Duration, utilisation: f64) {
        let is_calm = input.delay <= threshold / 2 && utilisation <= 0.7;
        self.calm = if is_calm { self.calm + 1 } else { 0 };
        if guard::must_rejoin(&self.name, input.peers) {
            self.enter(State::Held, input.now, "too few nodes were joined".to_owned());
            self.credit = CREDIT_FLOOR;
        } else if input.now >= self.away_until && self.calm >= CALM {
            self.enter(State::Probing, input.now, "it has been calm".to_owned());
            self.credit = PROBE_START;
        }
    }

    fn probing(&mut self, input: &Input<'_>, threshold: Duration) {
        self.count(input.delay > threshold);
        if self.over >= PROBE_STEP {
            self.failures = (self.failures + 1).min(16);
            self.leaves += 1;
            self.enter(State::Draining, input.now, "it was delayed again while probing".to_owned());
            return;
        }
        self.good = if input.delay <= threshold { self.good + 1 } else { 0 };
        if self.good >= PROBE_STEP {
            self.good = 0;
            self.credit *= 2.0;
        }
        if self.credit >= 1.0 {
            self.enter(State::Joined, input.now, "probing went well".to_owned());
        }
    }

    fn enter(&mut self, state: State, now: Duration, reason: String) {
        self.state = state;
        self.entered = now;
        self.forgiven_at = now;
        self.over = 0;
        self.calm = 0;
        self.good = 0;
        self.credit = 1.0;
        self.reason = reason;
    }

    fn count(&mut self, is_over: bool) {
        self.over = if is_over { self.over + 1 } else { self.over.saturating_sub(1) };
    }

    fn forgive(&mut self, now: Duration) {
        if now.saturating_sub(self.forgiven_at) >= FORGIVE {
            self.forgiven_at = now;
            self.failures = self.failures.saturating_sub(1);
        }
    }

    /// Only a calm window tells what a message costs: under load the cost includes the load.
    fn learn(&mut self, input: &Input<'_>, threshold: Duration, utilisation: f64) {
        if self.state == State::Joined && input.delay < threshold / 10 && utilisation < 0.8 {
            self.baseline.learn(input.busy, input.messages);
        }
    }

    fn view(&self, input: &Input<'_>, utilisation: f64) -> View {
        let credit = match self.state {
            State::Draining | State::Isolated => 0.0,
            _ => self.credit,
        };
        View {
            state: self.state,
            since: input.now.saturating_sub(self.entered),
            threshold: self.threshold(),
            baseline: self.baseline.cost(),
            delay: input.delay,
            slowest: if input.delay.is_zero() { String::new() } else { input.slowest.to_owned() },
            utilisation,
            credit,
            leaves: self.leaves,
            reason: self.reason.clone(),
        }
    }
}

fn utilisation(input: &Input<'_>) -> f64 {
    let available = WINDOW.as_secs_f64() * input.workers.max(1) as f64;
    (input.busy.as_secs_f64() / available).clamp(0.0, 1.0)
}
