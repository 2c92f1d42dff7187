//! What a run is judged by.

use std::collections::BTreeMap;

use stage_route::{State, WINDOW};

use crate::scenario::Scenario;
use crate::world::DEADLINE;

pub(crate) struct Report {
    measure: [f64; 2],
    /// Messages of peers that were sent, and that ended in time, per second of their sending.
    pub(crate) seconds: Vec<(u64, u64)>,
    /// Latencies of local messages of node 0 that were sent while it was measured.
    local: Vec<f64>,
    /// Of these, the ones that were sent while it was away.
    local_away: Vec<f64>,
    joined: Vec<bool>,
    least_joined: usize,
    /// When which node left, and the work that had come to it in the second before, as a share of what it can do.
    pub(crate) leaves: Vec<(f64, usize, f64)>,
    back: Vec<(f64, usize)>,
    baselines: Vec<f64>,
    /// The standing of node 0, window by window.
    pub(crate) states: Vec<State>,
}

impl Report {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self {
            measure: scenario.measure,
            seconds: vec![(0, 0); scenario.seconds.ceil() as usize],
            local: vec![],
            local_away: vec![],
            joined: vec![true; scenario.nodes],
            least_joined: scenario.nodes,
            leaves: vec![],
            back: vec![],
            baselines: vec![0.0; scenario.nodes],
            states: vec![],
        }
    }

    pub(crate) fn offered(&mut self, now: f64) {
        self.seconds[now as usize].0 += 1;
    }

    pub(crate) fn ended(&mut self, node: usize, is_of_peer: bool, sent: f64, now: f64) {
        if is_of_peer {
            self.seconds[sent as usize].1 += u64::from(now - sent <= DEADLINE);
        } else if node == 0 && (self.measure[0]..self.measure[1]).contains(&sent) {
            self.local.push(now - sent);
            if self.states.get(window_of(sent)) == Some(&State::Isolated) {
                self.local_away.push(now - sent);
            }
        }
    }

    pub(crate) fn window(
        &mut self,
        n: usize,
        now: f64,
        (before, after): (State, State),
        cost: f64,
        load: f64,
    ) {
        let is_out = |state| matches!(state, State::Draining | State::Isolated);
        if is_out(after) && !is_out(before) {
            self.leaves.push((now, n, load));
        }
        if after == State::Joined && before != State::Joined {
            self.back.push((now, n));
        }
        self.joined[n] = after.is_joined();
        let joined = self.joined.iter().filter(|is_joined| **is_joined).count();
        self.least_joined = self.least_joined.min(joined);
        self.baselines[n] = cost;
        if n == 0 {
            self.states.push(after);
        }
    }

    /// Messages of peers that were sent and that ended in time, per second of their sending.
    fn rates(&self, from: f64, to: f64) -> (f64, f64) {
        let seconds = self.seconds.get(from as usize..to as usize).unwrap_or_default();
        let rate = |count: u64| count as f64 / seconds.len().max(1) as f64;
        let sent = seconds.iter().map(|second| second.0).sum();
        (rate(sent), rate(seconds.iter().map(|second| second.1).sum()))
    }

    /// Every figure that a scenario file may expect, by its name.
    pub(crate) fn figures(&mut self, scenario: &Scenario) -> BTreeMap<&'static str, f64> {
        let [from, to] = self.measure;
        let (p99, p99_away) = (p99(&mut self.local), p99(&mut self.local_away));
        let measured = self.states.get(window_of(from)..window_of(to)).unwrap_or_default();
        let away = measured.iter().filter(|state| **state == State::Isolated).count();
        let (sent, good) = self.rates(from, to);
        let (sent_after, good_after) = self.rates(to + 5.0, scenario.seconds - 1.0);
        let first = self.leaves.first().map_or(f64::INFINITY, |(at, ..)| *at);
        let back = self.back.last().map_or(f64::INFINITY, |(at, _)| *at);
        let spare = scenario.peer_rate(from) / load_at(scenario, from);
        BTreeMap::from([
            ("goodput", good / spare),
            ("served", good / sent.max(1e-9)),
            ("served_at_end", good_after / sent_after.max(1e-9)),
            ("local_p99_ms", p99 * 1000.0),
            ("local_p99_away_ms", p99_away * 1000.0),
            ("share_away", away as f64 / measured.len().max(1) as f64),
            ("least_joined", self.least_joined as f64),
            ("leaves", self.leaves.len() as f64),
            ("left_at", first),
            ("back_at", back),
            ("baseline_of_0", self.baselines[0] / scenario.cost()),
        ])
    }
}

fn p99(latencies: &mut [f64]) -> f64 {
    latencies.sort_by(f64::total_cmp);
    latencies.get(latencies.len() * 99 / 100).copied().unwrap_or_default()
}

/// Which window a moment lies in.
fn window_of(at: f64) -> usize {
    (at / WINDOW.as_secs_f64()) as usize
}

fn load_at(scenario: &Scenario, now: f64) -> f64 {
    let load = scenario.peer.iter().rev().find(|load| load.from <= now);
    load.map_or(1.0, |load| load.load).max(1e-9)
}
