//! Five processes, their scripts and configurations, and what they say while a plan is carried out.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tempfile::TempDir;

use crate::outcome::Outcome;
use crate::plan::{NODES, Plan, Step};
use crate::processor::{self, SHARE};

/// The program of a node.
const NODE: &str = env!("CARGO_BIN_EXE_stage-node");

/// Processor time of a message.
const COST: Duration = Duration::from_micros(2500);

/// A message is of use if it ends within so many of its costs.
const DEADLINE: f64 = 40.0;

/// What a node with the usual `#route` takes for too long a wait here, which a rival with a threshold gets too, in costs.
const THRESHOLD: f64 = 6.0;

/// How long nodes have to start and to link.
const START: Duration = Duration::from_secs(3);

/// The thread of the stage that is loaded.
const STAGE: &str = "work";

const SCRIPTS: [(&str, &str); 4] = [
    ("work.lua", include_str!("work.lua")),
    ("rival.lua", include_str!("rival.lua")),
    ("send.lua", include_str!("send.lua")),
    ("calibrate.lua", include_str!("calibrate.lua")),
];

/// What all runs have in common.
pub(crate) struct Setting {
    rounds_per_ms: f64,
}

impl Setting {
    /// Measures every core of the machine while all of them are busy, as they are in a run, and goes by the slowest.
    pub(crate) fn new() -> Result<Self> {
        let folder = scripts()?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let start = |_| {
            let mut command = Command::new(NODE);
            command.arg("run").arg(folder.path().join("calibrate.lua"));
            Ok(Process(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?))
        };
        let mut processes = (0..cores).map(start).collect::<Result<Vec<_>>>()?;
        let rounds = processes.iter_mut().map(|process| {
            let stdout = process.0.stdout.take().context("no output")?;
            let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
            let rounds = lines.find_map(|line| line.strip_prefix("ROUNDS ")?.parse().ok());
            rounds.context("the calibration said nothing")
        });
        let rounds = rounds.collect::<Result<Vec<f64>>>()?;
        Ok(Self { rounds_per_ms: rounds.into_iter().fold(f64::INFINITY, f64::min) })
    }

    /// How long a message takes on a node that has nothing else to do.
    pub(crate) fn cost() -> f64 {
        COST.as_secs_f64() / SHARE
    }

    pub(crate) fn shows(&self) -> String {
        format!(
            "{NODES} nodes, {SHARE} of a core each, messages of {:.0} ms (exponential): {:.0} a second each; {:.0} rounds a millisecond",
            Self::cost() * 1000.0,
            1.0 / Self::cost(),
            self.rounds_per_ms
        )
    }

    /// How many messages a second the nodes could take of their peers in these seconds.
    pub(crate) fn spare(&self, plan: &Plan, outcome: &Outcome, from: f64, to: f64) -> f64 {
        let own = (NODES as f64 - plan.spare()) / Self::cost();
        outcome.capacity(from, to, self.rounds()) - own
    }

    /// Rounds of a message, as a rule.
    fn rounds(&self) -> f64 {
        self.rounds_per_ms * COST.as_secs_f64() * 1000.0
    }

    /// Carries out a plan.
    pub(crate) fn run(&self, plan: &Plan, seed: u64) -> Result<Outcome> {
        let (lines, heard) = channel();
        let start = SystemTime::now() + START;
        let begin = Instant::now() + START;
        let cluster = Cluster::start(self, plan, seed, start, &lines)?;
        drop(lines);
        let mut outcome = Outcome::new(plan, begin);
        cluster.follow(plan, begin, &heard, &mut outcome)?;
        Ok(outcome)
    }
}

fn scripts() -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    for (name, text) in SCRIPTS {
        std::fs::write(folder.path().join(name), text)?;
    }
    Ok(folder)
}

/// A process that ends with its owner.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A line that a node wrote.
pub(crate) struct Line {
    pub(crate) node: usize,
    pub(crate) at: Instant,
    pub(crate) text: String,
}

struct Cluster {
    nodes: Vec<Process>,
    _folder: TempDir,
}

impl Cluster {
    fn start(
        setting: &Setting,
        plan: &Plan,
        seed: u64,
        start: SystemTime,
        lines: &Sender<Line>,
    ) -> Result<Self> {
        let folder = scripts()?;
        let addresses = free_addresses()?;
        let mut nodes = vec![];
        for (node, address) in addresses.iter().enumerate() {
            let config = json!({
                "#node": { "name": format!("n{node}"), "listen": address },
                "#cluster": addresses,
                "#startup": [{ "stage": "work", "script": "work.lua" }, { "stage": "send", "script": "send.lua" }],
                "#threads": 1,
                "#route": plan.route,
                "%plan": settings(setting, plan, node, seed, start)?,
            });
            let file = folder.path().join(format!("n{node}.json"));
            std::fs::write(&file, config.to_string())?;
            nodes.push(spawn(&file, node, lines)?);
        }
        Ok(Self { nodes, _folder: folder })
    }

    /// Slows nodes as planned, and hears them until each has said all.
    fn follow(
        &self,
        plan: &Plan,
        begin: Instant,
        heard: &Receiver<Line>,
        outcome: &mut Outcome,
    ) -> Result<()> {
        let mut changes = vec![];
        for node in 0..NODES {
            changes.push((begin - START / 2, node, SHARE));
        }
        for slow in &plan.slow {
            let when = |seconds| begin + Duration::from_secs_f64(seconds);
            changes.push((when(slow.from), slow.node, SHARE / slow.factor));
            changes.push((when(slow.to), slow.node, SHARE));
        }
        changes.sort_by_key(|change| std::cmp::Reverse(change.0));
        let end = begin + Duration::from_secs_f64(plan.seconds + plan.rest) + START * 4;
        let mut second = begin;
        while !outcome.is_complete() {
            if second <= Instant::now() {
                let time = |node: &Process| {
                    let process = node.0.id();
                    let thread = processor::thread_of(process, STAGE)?;
                    processor::time_of(process, thread)
                };
                outcome.computed(self.nodes.iter().filter_map(time).sum());
                second += Duration::from_secs(1);
                continue;
            }
            if let Some((_, node, share)) = changes.pop_if(|change| change.0 <= Instant::now()) {
                let process = self.nodes[node].0.id();
                let thread = processor::thread_of(process, STAGE);
                processor::reserve(thread.context("a node has no such stage")?, share)?;
                continue;
            }
            ensure!(Instant::now() < end, "a node did not tell what it has done");
            let next = changes.last().map_or(second, |change| change.0.min(second));
            if let Ok(line) = heard.recv_timeout(next.saturating_duration_since(Instant::now())) {
                outcome.hear(&line)?;
            }
        }
        Ok(())
    }
}

fn settings(
    setting: &Setting,
    plan: &Plan,
    node: usize,
    seed: u64,
    start: SystemTime,
) -> Result<serde_json::Value> {
    let capacity = 1.0 / Setting::cost();
    let steps = |steps: &[Step], unit: f64| -> Vec<_> {
        steps.iter().map(|step| json!({ "from": step.from, "rate": step.load * unit })).collect()
    };
    Ok(json!({
        "start": start.duration_since(UNIX_EPOCH)?.as_secs_f64(),
        "seconds": plan.seconds,
        "rest": plan.rest,
        "seed": seed * 100 + node as u64,
        "rounds": setting.rounds(),
        "deadline": DEADLINE * Setting::cost(),
        "threshold": THRESHOLD * Setting::cost(),
        "rival": plan.rival,
        "own": steps(&plan.own_of(node), capacity),
        "peer": steps(&plan.peer, capacity * plan.spare() / NODES as f64),
        "burst": plan.burst,
        "heavy": plan.heavy,
        "whale": plan.whale.filter(|_| node == 0),
    }))
}

fn spawn(config: &Path, node: usize, lines: &Sender<Line>) -> Result<Process> {
    let mut command = Command::new(NODE);
    command.arg("run").arg("--config").arg(config).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let process = Process(child);
    pass_on(stdout.context("no output")?, node, lines.clone());
    pass_on(stderr.context("no log")?, node, lines.clone());
    Ok(process)
}

fn pass_on(stream: impl Read + Send + 'static, node: usize, lines: Sender<Line>) {
    std::thread::spawn(move || {
        for text in BufReader::new(stream).lines().map_while(Result::ok) {
            if lines.send(Line { node, at: Instant::now(), text }).is_err() {
                return;
            }
        }
    });
}

fn free_addresses() -> Result<Vec<String>> {
    // All are held until the last is found: no two are equal.
    let listeners: Vec<_> =
        (0..NODES).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    listeners.iter().map(|listener| Ok(listener.local_addr()?.to_string())).collect()
}
