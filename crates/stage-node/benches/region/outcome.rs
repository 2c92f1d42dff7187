//! What five nodes said of a run.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::cluster::Line;
use crate::plan::{NODES, Plan};
use crate::processor::SHARE;

/// What a node tells at the end of what it sent: per second of the plan.
#[derive(Clone, Default, Deserialize)]
struct Sent {
    sent: Vec<f64>,
    good: Vec<f64>,
    lost: Vec<f64>,
    /// What the node took a message to cost, in milliseconds.
    costs: Vec<f64>,
}

/// What a node tells at the end of what it did.
#[derive(Clone, Deserialize)]
struct Own {
    /// Local messages: when each was to come, and how long it took.
    took: Vec<(f64, f64)>,
    /// Rounds of the loop that messages are made of, per second of the plan.
    rounds: Vec<f64>,
}

pub(crate) struct Outcome {
    begin: Instant,
    seconds: f64,
    sent: Vec<Option<Sent>>,
    own: Vec<Option<Own>>,
    /// How long the loaded threads of all nodes had computed at the begin of each second.
    computed: Vec<Duration>,
    /// When which node changed its standing, from what to what.
    changes: Vec<(f64, usize, String, String)>,
}

impl Outcome {
    pub(crate) fn new(plan: &Plan, begin: Instant) -> Self {
        Self {
            begin,
            seconds: plan.seconds,
            sent: vec![None; NODES],
            own: vec![None; NODES],
            computed: vec![],
            changes: vec![],
        }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.sent.iter().all(Option::is_some) && self.own.iter().all(Option::is_some)
    }

    pub(crate) fn hear(&mut self, line: &Line) -> Result<()> {
        let Line { node, at, text } = line;
        if let Some(sent) = text.strip_prefix("SENT ") {
            self.sent[*node] = Some(serde_json::from_str(sent)?);
        } else if let Some(own) = text.strip_prefix("OWN ") {
            self.own[*node] = Some(serde_json::from_str(own)?);
        } else if let Some((_, change)) = text.split_once("route from=") {
            let mut words = change.split([' ', '=']);
            let from = words.next().context("a change from nothing")?.to_owned();
            let to = words.nth(1).context("a change to nothing")?.to_owned();
            let when = at.saturating_duration_since(self.begin).as_secs_f64();
            if std::env::var_os("REGION_TRACE").is_some() {
                eprintln!("{when:7.2} n{node} {text}");
            }
            self.changes.push((when, *node, from, to));
        } else if text.contains("ERROR") {
            eprintln!("n{node}: {text}");
        }
        Ok(())
    }

    /// Messages a second that peers sent, and that came back in time, of those sent in these seconds.
    pub(crate) fn rates(&self, from: f64, to: f64) -> (f64, f64) {
        let sum = |of: fn(&Sent) -> &Vec<f64>| -> f64 {
            let seconds = |sent: &Sent| of(sent)[from as usize..to as usize].iter().sum::<f64>();
            self.sent.iter().flatten().map(seconds).sum()
        };
        (sum(|sent| &sent.sent) / (to - from), sum(|sent| &sent.good) / (to - from))
    }

    /// Another second begins, and the loaded threads have computed for so long.
    pub(crate) fn computed(&mut self, time: Duration) {
        self.computed.push(time);
    }

    /// How many messages of so many rounds each the nodes' share of the processor was worth a second, in these seconds, by
    /// what it did in the time that they computed: what else runs on a machine makes it slower from one second to the next.
    pub(crate) fn capacity(&self, from: f64, to: f64, rounds: f64) -> f64 {
        let (from, to) = (from as usize, to as usize);
        let done = |own: &Own| own.rounds[from..to].iter().sum::<f64>();
        let done: f64 = self.own.iter().flatten().map(done).sum();
        let at = |second: usize| self.computed.get(second).copied().unwrap_or_default();
        let computed = at(to).saturating_sub(at(from)).as_secs_f64();
        done / computed * SHARE * NODES as f64 / rounds
    }

    /// Messages of a node's own that came in these seconds: the time within which 99 of 100 ended.
    pub(crate) fn own_p99(&self, node: usize, from: f64, to: f64) -> f64 {
        let own = self.own[node].iter().flat_map(|own| &own.took);
        let within = own.filter(|(planned, _)| (from..to).contains(planned));
        let mut took: Vec<_> = within.map(|(_, took)| *took).collect();
        took.sort_by(f64::total_cmp);
        took.get(took.len() * 99 / 100).copied().unwrap_or(f64::NAN)
    }

    /// When the node left, each time.
    pub(crate) fn leaves(&self, node: usize) -> Vec<f64> {
        let is_leave = |(_, of, from, to): &&(f64, usize, String, String)| {
            *of == node && is_joined(from) && !is_joined(to)
                || *of == node && from == "probing" && to == "draining"
        };
        self.changes.iter().filter(is_leave).map(|(at, ..)| *at).collect()
    }

    pub(crate) fn all_leaves(&self) -> usize {
        (0..NODES).map(|node| self.leaves(node).len()).sum()
    }

    /// When the node was last back, after a time.
    pub(crate) fn back(&self, node: usize) -> Option<f64> {
        let is_back =
            |(_, of, _, to): &&(f64, usize, String, String)| *of == node && to == "joined";
        self.changes.iter().filter(is_back).map(|(at, ..)| *at).next_back()
    }

    /// The least that were joined at a time.
    pub(crate) fn least_joined(&self) -> usize {
        let mut joined = [true; NODES];
        let after = |(_, node, _, to): &(f64, usize, String, String)| {
            joined[*node] = is_joined(to);
            joined.iter().filter(|is_joined| **is_joined).count()
        };
        self.changes.iter().map(after).min().unwrap_or(NODES)
    }

    /// What a node took a message to cost at a second, in milliseconds.
    pub(crate) fn cost(&self, node: usize, second: usize) -> f64 {
        let costs = self.sent[node].as_ref().map(|sent| &sent.costs);
        costs.and_then(|costs| costs.get(second)).copied().unwrap_or(f64::NAN)
    }

    /// A line a second, for whoever looks closer.
    pub(crate) fn print_seconds(&self) {
        for second in 0..self.seconds as usize {
            let of = |of: fn(&Sent) -> &Vec<f64>| -> f64 {
                self.sent.iter().flatten().map(|sent| of(sent)[second]).sum()
            };
            let (sent, good, lost) = (of(|it| &it.sent), of(|it| &it.good), of(|it| &it.lost));
            let costs: Vec<_> =
                (0..NODES).map(|node| format!("{:.1}", self.cost(node, second))).collect();
            eprintln!(
                "{second:3} s  sent {sent:5} good {good:5} lost {lost:5}  B {}",
                costs.join(" ")
            );
        }
    }
}

fn is_joined(state: &str) -> bool {
    matches!(state, "joined" | "held")
}
