//! Scenario files: the load, what goes wrong, and the ranges that the outcome must be in.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use fastrand::Rng;
use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// What it shows.
    pub(crate) shows: String,
    pub(crate) nodes: usize,
    pub(crate) workers: usize,
    pub(crate) service: Service,
    pub(crate) seconds: f64,
    /// Messages that arrive at once from a local source.
    #[serde(default = "one")]
    pub(crate) burst: usize,
    /// Local load per node, as a share of its capacity.
    pub(crate) local: Vec<Load>,
    /// Load that peers send, as a share of what local load leaves of all capacity.
    pub(crate) peer: Vec<Load>,
    #[serde(default)]
    pub(crate) slow: Vec<Slow>,
    #[serde(default)]
    pub(crate) whales: Vec<Whale>,
    #[serde(default)]
    pub(crate) gossip: Gossip,
    #[serde(default = "eight")]
    pub(crate) route: f64,
    /// Seconds of a worker that a refusal of a message that was decoded and queued costs.
    #[serde(default = "fifty_micros")]
    pub(crate) late_refusal: f64,
    /// From when to when goodput and local latency are measured, in seconds.
    pub(crate) measure: [f64; 2],
    #[serde(default)]
    pub(crate) expect: BTreeMap<String, [f64; 2]>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Service {
    pub(crate) kind: Kind,
    pub(crate) mean_ms: f64,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Constant,
    Exponential,
    /// Pareto of shape 1.6, capped at 100 means: a few messages carry most of the work.
    Heavy,
}

/// A load that holds until the next of the same node.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Load {
    pub(crate) from: f64,
    pub(crate) load: f64,
    /// All nodes, if none is given.
    pub(crate) node: Option<usize>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Slow {
    pub(crate) node: usize,
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) factor: f64,
}

/// One message that costs so many times the usual.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Whale {
    pub(crate) node: usize,
    pub(crate) at: f64,
    pub(crate) factor: f64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gossip {
    /// The most that a report is late; each is by chance, so they also overtake each other.
    #[serde(default)]
    pub(crate) late: f64,
    /// The share of reports that never come.
    #[serde(default)]
    pub(crate) lost: f64,
    /// From when to when no report is heard at all.
    #[serde(default)]
    pub(crate) silent: Vec<[f64; 2]>,
}

fn one() -> usize {
    1
}

fn fifty_micros() -> f64 {
    50e-6
}

fn eight() -> f64 {
    8.0
}

impl Scenario {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).context("a scenario file")
    }

    /// What a message costs when calm, in seconds.
    pub(crate) fn cost(&self) -> f64 {
        self.service.mean_ms / 1000.0
    }

    fn capacity(&self) -> f64 {
        self.workers as f64 / self.cost()
    }

    pub(crate) fn local_rate(&self, node: usize, now: f64) -> f64 {
        let of = |load: &&Load| load.from <= now && load.node.is_none_or(|of| of == node);
        self.local.iter().rev().find(of).map_or(0.0, |load| load.load) * self.capacity()
    }

    /// Of what the first local loads leave: surges do not change what peers send.
    pub(crate) fn peer_rate(&self, now: f64) -> f64 {
        let load = self.peer.iter().rev().find(|load| load.from <= now);
        let calm: f64 = (0..self.nodes).map(|node| self.local_rate(node, 0.0)).sum();
        let spare = self.capacity() * self.nodes as f64 - calm;
        load.map_or(0.0, |load| load.load) * spare
    }

    pub(crate) fn slowness(&self, node: usize, now: f64) -> f64 {
        let slow = |slow: &&Slow| slow.node == node && (slow.from..slow.to).contains(&now);
        self.slow.iter().find(slow).map_or(1.0, |slow| slow.factor)
    }

    pub(crate) fn service(&self, rng: &mut Rng) -> f64 {
        let uniform = 1.0 - rng.f64();
        self.cost()
            * match self.service.kind {
                Kind::Constant => 1.0,
                Kind::Exponential => -uniform.ln(),
                Kind::Heavy => (0.375 * uniform.powf(-1.0 / 1.6)).min(100.0),
            }
    }

    /// When a report comes, if it does.
    pub(crate) fn gossip_delay(&self, rng: &mut Rng, now: f64) -> Option<f64> {
        let is_silent = self.gossip.silent.iter().any(|[from, to]| (*from..*to).contains(&now));
        let is_lost = rng.f64() < self.gossip.lost || is_silent;
        (!is_lost).then(|| 0.001 + self.gossip.late * rng.f64())
    }
}
