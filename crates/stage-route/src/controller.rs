use std::collections::VecDeque;
use std::time::Duration;

use crate::baseline::Baseline;
use crate::config::times;
use crate::guard::{self, Peer};
use crate::{Config, State, Tuning, View, WINDOW};

/// What a node saw in one window.
#[derive(Clone, Debug, Default)]
pub struct Input<'a> {
    /// Time since the start of the node.
    pub now: Duration,
    /// Time since the window before, if that is longer than one: the node may come late to a window.
    pub window: Duration,
    /// The largest delay of any of its queues, and that queue's name.
    pub delay: Duration,
    /// The name of that queue.
    pub slowest: &'a str,
    /// Time that handlers kept its workers busy.
    pub busy: Duration,
    /// Messages that were handled.
    pub messages: u64,
    /// Messages that wait in that queue as the window ends.
    pub waiting: u64,
    /// Messages that are being handled as the window ends.
    pub running: u64,
    /// The busy share of the busiest of its queues' workers, 0 to 1: what fills first is what a node cannot give more of.
    pub utilisation: f64,
    /// The share of the busy time that messages of peers caused, 0 to 1.
    pub peer_share: f64,
    /// What the live peers say of themselves.
    pub peers: &'a [Peer],
    /// A random number from 0 to 1, which spreads the returns of several nodes.
    pub random: f64,
}

/// Calm windows before a node that is away may come back.
const CALM: u32 = 10;
/// Windows between the steps of probing.
const PROBE_STEP: u32 = 3;
/// How much of the shed work a window without overload wins back.
const CREDIT_STEP: f64 = 0.02;
/// Failures that still make the time away longer.
const MOST_FAILURES: u32 = 16;

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
    /// The busy shares of the last windows away, as many as make a calm.
    shares: VecDeque<f64>,
    good: u32,
    /// Messages still running that were started in an earlier state: what they cost says nothing
    /// of a calm machine.
    stale: u64,
    /// How many messages waited at the end of each of the last windows, as many as the patience has.
    waiting: VecDeque<u64>,
    recent: Recent,
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
            shares: VecDeque::new(),
            good: 0,
            stale: 0,
            waiting: VecDeque::new(),
            recent: Recent::default(),
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
        let utilisation = share(input.utilisation);
        self.recent.add(input.busy, input.messages);
        let before = self.state;
        if self.config.can_leave() {
            match self.state {
                State::Joined => self.joined(input, threshold, utilisation),
                State::Held => self.held(input, threshold, utilisation),
                State::Draining => self.draining(input),
                State::Isolated => self.isolated(input, threshold, utilisation),
                State::Probing => self.probing(input, threshold),
            }
        }
        self.remember(input.waiting);
        if self.state == before {
            self.learn(input, threshold, utilisation);
        } else {
            self.stale = input.running;
        }
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
        if self.over < self.tuning().patience {
            return;
        }
        let what = excuse(input, threshold);
        match self.may_leave(input, threshold, utilisation) {
            Ok(()) => self.leave(input.now, what),
            Err(why) => self.enter(State::Held, input.now, stays(&what, why)),
        }
    }

    /// Sheds at the door; leaves as soon as the others can do without this node.
    fn held(&mut self, input: &Input<'_>, threshold: Duration, utilisation: f64) {
        let is_over = input.delay > threshold;
        self.count(is_over);
        if !is_over {
            self.credit = (self.credit + CREDIT_STEP).min(1.0);
            if self.credit >= 1.0 && self.over == 0 {
                self.enter(State::Joined, input.now, "its queues are short again".to_owned());
            }
            return;
        }
        let excess = input.delay.as_secs_f64() / threshold.as_secs_f64() - 1.0;
        let shed = self.credit * (1.0 - 0.2 * excess).max(0.5);
        self.credit = shed.max(self.tuning().credit_floor);
        if self.over < self.tuning().patience {
            return;
        }
        let what = excuse(input, threshold);
        match self.may_leave(input, threshold, utilisation) {
            Ok(()) => self.leave(input.now, what),
            Err(why) => self.reason = stays(&what, why),
        }
    }

    /// A delay that is little over the threshold may be chance, and what is shed at the door may mend it.
    fn may_leave(
        &self,
        input: &Input<'_>,
        threshold: Duration,
        utilisation: f64,
    ) -> Result<(), &'static str> {
        if input.delay < times(threshold, self.tuning().severe) {
            return Err("the delay is not severe");
        }
        let before = self.waiting.front().copied().unwrap_or_default();
        if self.tuning().rising && input.waiting < before {
            return Err("its queues get shorter");
        }
        // A node that has become slow does for peers what would keep others busy for a part of that time.
        let peer_load = utilisation * share(input.peer_share) * self.pace();
        guard::may_leave(self.tuning(), &self.name, input.peers, peer_load)
    }

    /// How fast messages are done of late, of how fast they were when the node was calm; 1 if that is not known yet.
    fn pace(&self) -> f64 {
        if self.baseline.is_own() { self.recent.pace(self.baseline.cost()) } else { 1.0 }
    }

    fn leave(&mut self, now: Duration, reason: String) {
        self.failures = (self.failures + 1).min(MOST_FAILURES);
        self.leaves += 1;
        self.enter(State::Draining, now, reason);
    }

    fn draining(&mut self, input: &Input<'_>) {
        if self.rejoins_at_once(input) {
            return;
        }
        let is_empty = input.delay.is_zero();
        if is_empty || input.now.saturating_sub(self.entered) >= self.tuning().drain {
            let away = self.tuning().away(self.failures, input.random);
            self.away_until = input.now.saturating_add(away);
            let reason = std::mem::take(&mut self.reason);
            self.enter(State::Isolated, input.now, reason);
        }
    }

    fn isolated(&mut self, input: &Input<'_>, threshold: Duration, utilisation: f64) {
        if self.rejoins_at_once(input) {
            return;
        }
        let is_calm = input.delay <= threshold / 2;
        self.calm = if is_calm { self.calm + 1 } else { 0 };
        if self.shares.len() >= CALM as usize {
            self.shares.pop_front();
        }
        self.shares.push_back(utilisation);
        // One long message now and then counts where it ends, and may be all that the node has to do.
        let mean = self.shares.iter().sum::<f64>() / self.shares.len() as f64;
        let has_room = mean <= 0.5 || self.shares.iter().all(|share| *share <= 0.7);
        if input.now >= self.away_until && self.calm >= CALM && has_room {
            self.enter(State::Probing, input.now, "it has been calm".to_owned());
            self.credit = self.tuning().probe_start;
        }
    }

    fn probing(&mut self, input: &Input<'_>, threshold: Duration) {
        if self.rejoins_at_once(input) {
            return;
        }
        let is_over = input.delay > threshold;
        self.count(is_over);
        if self.over >= PROBE_STEP {
            self.leave(input.now, "it was delayed again while probing".to_owned());
            return;
        }
        // A bad window among them takes none of them away, or a node that would stay if it were joined could probe for ever.
        self.good += u32::from(!is_over);
        if self.good >= PROBE_STEP {
            self.good = 0;
            self.credit *= 2.0;
        }
        if self.credit >= 1.0 {
            self.enter(State::Joined, input.now, "probing went well".to_owned());
        }
    }

    /// Too few nodes are joined, as gossip that was late or lost tells now: this one comes back and
    /// sheds.
    fn rejoins_at_once(&mut self, input: &Input<'_>) -> bool {
        if !guard::must_rejoin(self.tuning(), &self.name, input.peers) {
            return false;
        }
        self.enter(State::Held, input.now, "too few nodes were joined".to_owned());
        self.credit = self.tuning().credit_floor;
        true
    }

    fn tuning(&self) -> &Tuning {
        self.config.tuning()
    }

    fn enter(&mut self, state: State, now: Duration, reason: String) {
        self.state = state;
        self.entered = now;
        self.forgiven_at = now;
        if state != State::Held {
            self.over = 0;
        }
        self.calm = 0;
        self.shares.clear();
        self.good = 0;
        self.credit = 1.0;
        self.reason = reason;
    }

    /// Windows over the threshold less those under it, up to the patience: an overload of hours is
    /// forgotten as fast as one of seconds.
    fn count(&mut self, is_over: bool) {
        let counted = if is_over { self.over + 1 } else { self.over.saturating_sub(1) };
        self.over = counted.min(self.tuning().patience.max(PROBE_STEP));
    }

    fn forgive(&mut self, now: Duration) {
        if now.saturating_sub(self.forgiven_at) >= self.tuning().forgive {
            self.forgiven_at = now;
            self.failures = self.failures.saturating_sub(1);
        }
    }

    /// Whether messages that waited for too long are refused. Not before the node knows what its messages
    /// cost, and not for one burst: a refused message may find no better node.
    fn refuses_late(&self, credit: f64) -> bool {
        self.config.can_leave() && credit > 0.0 && self.over > 0 && self.baseline.is_own()
    }

    fn remember(&mut self, waiting: u64) {
        if self.waiting.len() >= self.tuning().patience as usize {
            self.waiting.pop_front();
        }
        self.waiting.push_back(waiting);
    }

    /// Only a calm window tells what a message costs: under load the cost includes the load.
    fn learn(&mut self, input: &Input<'_>, threshold: Duration, utilisation: f64) {
        self.stale = self.stale.saturating_sub(input.messages).min(input.running);
        let is_trusted = self.state == State::Joined
            && self.stale == 0
            && input.delay < threshold / 10
            // A node that is well used from its first second on would otherwise never learn what its messages cost.
            && (utilisation < 0.8 || !self.baseline.is_own());
        if !is_trusted {
            self.baseline.forget_window();
        } else if self.tuning().learn {
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
            computing: input.busy.as_secs_f64() / input.window.max(WINDOW).as_secs_f64(),
            credit,
            late: self.refuses_late(credit).then(|| times(self.threshold(), self.tuning().late)),
            is_asking: self.over > self.tuning().patience / 3,
            failures: self.failures,
            leaves: self.leaves,
            reason: self.reason.clone(),
        }
    }
}

/// What messages cost of late.
#[derive(Clone, Debug, Default)]
struct Recent {
    busy: f64,
    messages: f64,
}

impl Recent {
    fn add(&mut self, busy: Duration, messages: u64) {
        const GAIN: f64 = 0.25;
        self.busy += (busy.as_secs_f64() - self.busy) * GAIN;
        self.messages += (messages as f64 - self.messages) * GAIN;
    }

    /// How fast it works, of how fast it did when it was calm; 1 at most.
    fn pace(&self, calm: Duration) -> f64 {
        let pace = calm.as_secs_f64() * self.messages / self.busy;
        if pace.is_nan() { 1.0 } else { pace.min(1.0) }
    }
}

fn stays(what: &str, why: &str) -> String {
    format!("{what}; it stays: {why}")
}

/// A share from 0 to 1; what is no number counts as all of it, so that nothing is founded on it.
fn share(given: f64) -> f64 {
    if given.is_nan() { 1.0 } else { given.clamp(0.0, 1.0) }
}

fn excuse(input: &Input<'_>, threshold: Duration) -> String {
    format!(
        "{} delayed messages by {:.1} ms, over {:.1} ms",
        input.slowest,
        input.delay.as_secs_f64() * 1000.0,
        threshold.as_secs_f64() * 1000.0
    )
}
