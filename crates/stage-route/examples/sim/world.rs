//! The simulated mesh: an exact event queue, no clock, every random number from one seed.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use fastrand::Rng;
use stage_route::{Peer, State, WINDOW};

use crate::policy::{Policy, Seen};
use crate::report::Report;
use crate::scenario::Scenario;

/// Seconds of a worker that a refusal at the door costs: it is made before the body is decoded.
const REFUSAL: f64 = 5e-6;

/// Windows of a second.
const SECOND: usize = 10;

/// How long a message may take, from its sending to its end, to be of use.
pub(crate) const DEADLINE: f64 = 0.2;

#[derive(Clone, Copy, Debug)]
struct Message {
    sent: f64,
    queued: f64,
    /// The node that sent it, if that is another.
    peer: Option<usize>,
    refused_by: Option<usize>,
    /// Seconds of a worker at full speed.
    cost: f64,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Local(usize),
    Remote,
    Whale(usize, f64),
    Done { node: usize, message: Message, busy: f64 },
    Window(usize),
    Heard { by: usize, of: usize, said: Said },
}

#[derive(Clone, Copy, Debug)]
struct Said {
    at: f64,
    state: State,
    utilisation: f64,
    load: usize,
}

struct Node {
    policy: Box<dyn Policy>,
    queue: VecDeque<Message>,
    running: usize,
    /// Time of a worker that refusals have cost.
    debt: f64,
    was_idle: bool,
    shortest: Option<f64>,
    waits: (f64, u64),
    busy: f64,
    /// Seconds of work that came in each of the last windows, the newest last.
    came: VecDeque<f64>,
    /// The busy share of its workers, smoothed as a meter does.
    share: f64,
    ended: (u64, u64),
    /// Messages that ended in a window, and those of peers among them, smoothed as the driver does.
    rates: (f64, f64),
    /// What it heard of each node, and when it heard first that that one had left.
    heard: Vec<(Said, Option<f64>)>,
}

pub(crate) struct World<'a> {
    scenario: &'a Scenario,
    now: f64,
    order: u64,
    events: BinaryHeap<Reverse<(u64, u64)>>,
    /// The events by their order; the heap holds only when and which.
    pending: std::collections::HashMap<u64, Event>,
    nodes: Vec<Node>,
    rng: Rng,
    report: Report,
}

impl Node {
    /// The part of the messages that peers sent.
    fn peer_share(&mut self, peers: u64, ended: u64) -> f64 {
        self.rates.0 += (ended as f64 - self.rates.0) * 0.25;
        self.rates.1 += (peers as f64 - self.rates.1) * 0.25;
        self.rates.1 / self.rates.0.max(1e-3)
    }
}

impl<'a> World<'a> {
    /// Runs a scenario to its end.
    pub(crate) fn run(
        scenario: &'a Scenario,
        seed: u64,
        policy: &dyn Fn(usize) -> Box<dyn Policy>,
    ) -> Report {
        let said = Said { at: 0.0, state: State::Joined, utilisation: 0.0, load: 0 };
        let node = |n| Node {
            policy: policy(n),
            queue: VecDeque::new(),
            running: 0,
            debt: 0.0,
            was_idle: true,
            shortest: None,
            waits: (0.0, 0),
            busy: 0.0,
            came: VecDeque::from([0.0; SECOND]),
            share: 0.0,
            ended: (0, 0),
            rates: (0.0, 0.0),
            heard: vec![(said, None); scenario.nodes],
        };
        let mut world = Self {
            scenario,
            now: 0.0,
            order: 0,
            events: BinaryHeap::new(),
            pending: std::collections::HashMap::new(),
            nodes: (0..scenario.nodes).map(node).collect(),
            rng: Rng::with_seed(seed),
            report: Report::new(scenario),
        };
        world.start();
        while let Some(Reverse((at, which))) = world.events.pop() {
            world.now = at as f64 / 1e9;
            if world.now >= scenario.seconds {
                break;
            }
            if let Some(event) = world.pending.remove(&which) {
                world.handle(event);
            }
        }
        world.report
    }

    fn start(&mut self) {
        self.at(0.0, Event::Remote);
        for whale in &self.scenario.whales {
            self.at(whale.at, Event::Whale(whale.node, whale.factor));
        }
        for n in 0..self.scenario.nodes {
            self.at(0.0, Event::Local(n));
            // Nodes do not decide in step.
            let offset = 1.0 + n as f64 / self.scenario.nodes as f64;
            self.at(WINDOW.as_secs_f64() * offset, Event::Window(n));
        }
    }

    fn at(&mut self, delay: f64, event: Event) {
        self.order += 1;
        let at = ((self.now + delay) * 1e9) as u64;
        self.events.push(Reverse((at, self.order)));
        self.pending.insert(self.order, event);
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Local(n) => self.local(n),
            Event::Remote => self.remote(),
            Event::Whale(n, factor) => {
                let message = self.message(None);
                self.enqueue(n, Message { cost: message.cost * factor, ..message });
            }
            Event::Done { node, message, busy } => self.done(node, message, busy),
            Event::Window(n) => self.window(n),
            Event::Heard { by, of, said } => {
                let (last, left) = &mut self.nodes[by].heard[of];
                // Links keep order: what is overtaken counts as lost.
                if said.at < last.at {
                    return;
                }
                *last = said;
                *left = (!said.state.is_joined()).then(|| left.unwrap_or(self.now));
            }
        }
    }

    fn message(&mut self, peer: Option<usize>) -> Message {
        let cost = self.scenario.service(&mut self.rng);
        Message { sent: self.now, queued: self.now, peer, refused_by: None, cost }
    }

    fn local(&mut self, n: usize) {
        let rate = self.scenario.local_rate(n, self.now);
        if rate > 0.0 {
            for _ in 0..self.scenario.burst {
                let message = self.message(None);
                self.enqueue(n, message);
            }
        }
        let delay = self.next(rate / self.scenario.burst as f64);
        self.at(delay, Event::Local(n));
    }

    fn remote(&mut self) {
        let rate = self.scenario.peer_rate(self.now);
        if rate > 0.0 {
            self.report.offered(self.now);
            let sender = self.rng.usize(..self.scenario.nodes);
            let message = self.message(Some(sender));
            self.send(sender, message);
        }
        let delay = self.next(rate);
        self.at(delay, Event::Remote);
    }

    /// Time to the next arrival of a Poisson process; with no load, when to look again.
    fn next(&mut self, rate: f64) -> f64 {
        if rate > 0.0 { (-(1.0 - self.rng.f64()).ln() / rate).min(1.0) } else { 0.05 }
    }

    /// Two random choices among the nodes that are known to take work, the less loaded.
    fn send(&mut self, sender: usize, message: Message) {
        let takes = |n: usize| {
            let state = self.nodes[sender].heard[n].0.state;
            n != sender
                && Some(n) != message.refused_by
                && !matches!(state, State::Draining | State::Isolated)
        };
        let choices: Vec<usize> = (0..self.scenario.nodes).filter(|n| takes(*n)).collect();
        if choices.is_empty() {
            return;
        }
        let (a, b) = (self.rng.choice(&choices), self.rng.choice(&choices));
        let load = |n: &&usize| self.nodes[sender].heard[**n].0.load;
        let Some(to) = [a, b].into_iter().flatten().min_by_key(load).copied() else { return };
        let (now, node) = (self.now, &mut self.nodes[to]);
        if node.policy.admit(now, node.queue.len() + node.running) {
            return self.enqueue(to, message);
        }
        node.debt += REFUSAL;
        self.again(to, message);
    }

    /// A refused message is sent once more, to another node.
    fn again(&mut self, by: usize, message: Message) {
        if let (None, Some(sender)) = (message.refused_by, message.peer) {
            self.send(sender, Message { refused_by: Some(by), ..message });
        }
    }

    fn enqueue(&mut self, n: usize, message: Message) {
        let node = &mut self.nodes[n];
        node.queue.push_back(Message { queued: self.now, ..message });
        if let Some(came) = node.came.back_mut() {
            *came += message.cost * self.scenario.slowness(n, self.now);
        }
        self.serve(n);
    }

    fn serve(&mut self, n: usize) {
        while self.nodes[n].running < self.scenario.workers {
            let node = &mut self.nodes[n];
            let Some(message) = node.queue.pop_front() else {
                node.was_idle = true;
                return;
            };
            let waited = self.now - message.queued;
            node.shortest = Some(node.shortest.map_or(waited, |least: f64| least.min(waited)));
            node.waits = (node.waits.0 + waited, node.waits.1 + 1);
            if message.peer.is_some() && !node.policy.starts(self.now, waited) {
                node.debt += self.scenario.late_refusal;
                self.again(n, message);
                continue;
            }
            let busy = message.cost * self.scenario.slowness(n, self.now);
            let node = &mut self.nodes[n];
            node.running += 1;
            let delay = busy + std::mem::take(&mut node.debt);
            self.at(delay, Event::Done { node: n, message, busy });
        }
    }

    fn done(&mut self, n: usize, message: Message, busy: f64) {
        let node = &mut self.nodes[n];
        node.running -= 1;
        node.busy += busy;
        node.ended.0 += 1;
        node.ended.1 += u64::from(message.peer.is_some());
        node.policy.finished(self.now - message.queued, node.queue.len() + node.running);
        self.report.ended(n, message.peer.is_some(), message.sent, self.now);
        self.serve(n);
    }

    fn window(&mut self, n: usize) {
        self.at(WINDOW.as_secs_f64(), Event::Window(n));
        let random = self.rng.f64();
        let (now, workers) = (self.now, self.scenario.workers);
        let node = &mut self.nodes[n];
        let is_idle = node.queue.is_empty() && node.running < workers;
        let head = node.queue.front().map_or(0.0, |head| now - head.queued);
        let idle = std::mem::replace(&mut node.was_idle, is_idle) || is_idle;
        let shortest = node.shortest.take().unwrap_or(head);
        let (waits, started) = std::mem::take(&mut node.waits);
        let (messages, peers) = std::mem::take(&mut node.ended);
        let available = WINDOW.as_secs_f64() * workers as f64;
        node.share += (node.busy / available - node.share) * 0.25;
        let seen = Seen {
            now: Duration::from_secs_f64(now),
            delay: if idle { 0.0 } else { shortest },
            mean_wait: if started > 0 { waits / started as f64 } else { head },
            busy: std::mem::take(&mut node.busy),
            messages,
            waiting: node.queue.len() as u64,
            running: node.running as u64,
            peer_share: node.peer_share(peers, messages),
            utilisation: node.share.min(1.0),
            peers: peers_of(n, &node.heard, now),
            random,
        };
        let before = node.policy.state();
        node.policy.window(&seen);
        let after = node.policy.state();
        let said = Said {
            at: now,
            state: node.policy.advert(),
            utilisation: seen.utilisation,
            load: node.queue.len() + node.running,
        };
        let load = node.came.iter().sum::<f64>() / (SECOND as f64 * available);
        node.came.pop_front();
        node.came.push_back(0.0);
        self.report.window(n, now, (before, after), node.policy.baseline(), load);
        self.gossip(n, said);
    }

    fn gossip(&mut self, of: usize, said: Said) {
        for by in (0..self.scenario.nodes).filter(|by| *by != of) {
            if let Some(delay) = self.scenario.gossip_delay(&mut self.rng, self.now) {
                self.at(delay, Event::Heard { by, of, said });
            }
        }
    }
}

fn peers_of(own: usize, heard: &[(Said, Option<f64>)], now: f64) -> Vec<Peer> {
    let others = heard.iter().enumerate().filter(|(n, _)| *n != own);
    let peer = |(n, (said, left)): (usize, &(Said, Option<f64>))| Peer {
        name: format!("n{n:02}"),
        state: said.state,
        utilisation: said.utilisation,
        age: Duration::from_secs_f64(now - said.at),
        left_ago: left.map(|left| Duration::from_secs_f64(now - left)),
    };
    others.map(peer).collect()
}
