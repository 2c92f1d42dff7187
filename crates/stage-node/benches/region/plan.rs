//! What happens in a run: the load of each node, what goes wrong, and when.

use anyhow::{Context, Result};
use serde_json::json;

/// Nodes of a run.
pub(crate) const NODES: usize = 5;

/// A load from some second on.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    pub(crate) from: f64,
    pub(crate) load: f64,
    /// All nodes, if none is given.
    pub(crate) node: Option<usize>,
}

/// A node whose processor is slower for a time.
#[derive(Clone, Copy)]
pub(crate) struct Slow {
    pub(crate) node: usize,
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) factor: f64,
}

#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) seconds: f64,
    /// How long nodes wait at the end for what they have not done.
    pub(crate) rest: f64,
    /// `#route` of every node.
    pub(crate) route: serde_json::Value,
    /// Who decides in the stage's script instead.
    pub(crate) rival: Option<&'static str>,
    /// Local load per node, as a share of its capacity.
    pub(crate) own: Vec<Step>,
    /// What peers send, as a share of what the first local loads leave of all capacity.
    pub(crate) peer: Vec<Step>,
    pub(crate) slow: Vec<Slow>,
    /// Local messages that come at once.
    pub(crate) burst: usize,
    /// A few messages carry most of the work.
    pub(crate) heavy: bool,
    /// When one message of fifty times the usual cost comes to the first node.
    pub(crate) whale: Option<f64>,
}

pub(crate) fn at(from: f64, load: f64) -> Step {
    Step { from, load, node: None }
}

pub(crate) fn at_first(from: f64, load: f64) -> Step {
    Step { from, load, node: Some(0) }
}

impl Plan {
    pub(crate) fn new(seconds: f64, own: Vec<Step>, peer: Vec<Step>) -> Self {
        Self {
            seconds,
            rest: 2.0,
            route: json!(8),
            rival: None,
            own,
            peer,
            slow: vec![],
            burst: 1,
            heavy: false,
            whale: None,
        }
    }

    pub(crate) fn under(&self, policy: Policy) -> Self {
        Self { route: policy.route(), rival: policy.rival(), ..self.clone() }
    }

    /// Messages a second that peers can be given while local load is as at first, in units of one node's capacity.
    pub(crate) fn spare(&self) -> f64 {
        let own = |node| self.own_of(node).first().map_or(0.0, |step| step.load);
        NODES as f64 - (0..NODES).map(own).sum::<f64>()
    }

    /// The local load of a node, in order of time.
    pub(crate) fn own_of(&self, node: usize) -> Vec<Step> {
        let is_meant = |step: &Step| step.node.is_none_or(|of| of == node);
        self.own.iter().copied().filter(is_meant).collect()
    }
}

/// What the nodes do about overload.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    Stage,
    None,
    /// Out as soon as one window is over the threshold; no guard, no shedding, no time away beyond a calm second.
    Literal,
    /// Those that decide in the stage's script, see `rival.lua`.
    Ewma,
    Dagor,
    Codel,
    Gradient2,
}

impl Policy {
    pub(crate) const ALL: [Self; 7] = [
        Self::Stage,
        Self::None,
        Self::Ewma,
        Self::Literal,
        Self::Dagor,
        Self::Codel,
        Self::Gradient2,
    ];

    pub(crate) fn named(name: &str) -> Result<Self> {
        let policy = Self::ALL.into_iter().find(|policy| policy.name() == name);
        let known = Self::ALL.map(Self::name).join(", ");
        policy.with_context(|| format!("there is no policy {name}; there are {known}"))
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stage => "stage",
            Self::None => "none",
            Self::Literal => "literal",
            Self::Ewma => "ewma",
            Self::Dagor => "dagor",
            Self::Codel => "codel",
            Self::Gradient2 => "gradient2",
        }
    }

    fn rival(self) -> Option<&'static str> {
        match self {
            Self::Stage | Self::None | Self::Literal => None,
            Self::Ewma | Self::Dagor | Self::Codel | Self::Gradient2 => Some(self.name()),
        }
    }

    fn route(self) -> serde_json::Value {
        match self {
            Self::Stage => json!(8),
            Self::Literal => json!({
                "patience": 1, "severe": 1, "rising": false, "floor": 0, "fill": 1000, "apart_ms": 0, "drain_ms": 0, "hold_ms": 0,
                "hold_longest_ms": 0, "jitter": 0, "probe_start": 1, "credit_floor": 1, "late": 1e9,
            }),
            _ => json!(false),
        }
    }
}
