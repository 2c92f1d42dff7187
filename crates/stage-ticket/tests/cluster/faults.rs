//! Rounds of random faults: at no moment more holders than permits, and always more grants.

use std::time::{Duration, Instant};

use super::etcd::Etcd;
use super::{Running, child, free_port, intervals, monotonic, signal};

/// How many rounds there are unless `STAGE_TICKET_ROUNDS` says otherwise.
const ROUNDS: usize = 5;
const AUTHORITY: Duration = Duration::from_millis(1000);
const HOLDERS: u64 = 3;

#[derive(Debug, Clone, Copy)]
enum Fault {
    KillCoordinator,
    StopCoordinator,
    KillHolder,
    StopHolder,
    KillEtcdLeader,
    StopEtcdLeader,
}

const FAULTS: [Fault; 6] = [
    Fault::KillCoordinator,
    Fault::StopCoordinator,
    Fault::StopHolder,
    Fault::StopEtcdLeader,
    Fault::KillHolder,
    Fault::KillEtcdLeader,
];

/// One etcd, two who may coordinate, three nodes that hold, and what they wrote down.
struct World {
    etcd: Etcd,
    addresses: Vec<String>,
    coordinators: Vec<Running>,
    holders: Vec<Running>,
    logs: tempfile::TempDir,
    started: u64,
    seed: u64,
}

#[tokio::test]
async fn no_fault_ever_makes_more_holders_than_permits_and_grants_go_on() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let rounds = number("STAGE_TICKET_ROUNDS").unwrap_or(ROUNDS as u64) as usize;
    let seed = number("STAGE_TICKET_SEED").unwrap_or(11);
    println!("STAGE_TICKET_SEED={seed} STAGE_TICKET_ROUNDS={rounds}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut world = World::start(seed).await;
    world.progress(monotonic(), "start").await;
    let mut etcd_was_killed = false;
    for round in 0..rounds {
        // The first rounds go through all faults, so that few rounds see them all.
        let mut fault = FAULTS.get(round).copied().unwrap_or(FAULTS[random.usize(..FAULTS.len())]);
        // Of the two that are left one may stand still, which stops etcd for a while.
        if etcd_was_killed && matches!(fault, Fault::KillEtcdLeader) {
            fault = Fault::StopEtcdLeader;
        }
        etcd_was_killed |= matches!(fault, Fault::KillEtcdLeader);
        tokio::time::sleep(Duration::from_millis(random.u64(0..200))).await;
        world.inflict(fault, &mut random).await;
        let took = world.progress(monotonic(), &format!("{fault:?}")).await;
        println!("round {round}: {fault:?}, next grants after {took:?}");
    }
    let intervals = intervals::read(world.logs.path());
    println!(
        "{} tickets, at most {} at once",
        intervals.len(),
        intervals::most_at_once(&intervals)
    );
    let crowd = intervals::crowd(&intervals, child::LIMIT);
    assert!(intervals::most_at_once(&intervals) <= child::LIMIT, "{crowd}");
}

impl World {
    async fn start(seed: u64) -> Self {
        let etcd = Etcd::start().await;
        let addresses: Vec<_> = (0..2).map(|_| format!("127.0.0.1:{}", free_port())).collect();
        let coordinators = addresses
            .iter()
            .map(|address| child::coordinator(address, &etcd.endpoints, AUTHORITY))
            .collect();
        let logs = tempfile::tempdir().unwrap();
        let (holders, started) = (Vec::new(), 0);
        let mut world = Self { etcd, addresses, coordinators, holders, logs, started, seed };
        for _ in 0..HOLDERS {
            let holder = world.new_holder();
            world.holders.push(holder);
        }
        world
    }

    fn new_holder(&mut self) -> Running {
        self.started += 1;
        let log = self.logs.path().join(self.started.to_string());
        child::holder(&log, self.seed * 1000 + self.started, &self.addresses)
    }

    /// Waits until tickets are granted again, and tells how long it took.
    async fn progress(&self, since: u64, after: &str) -> Duration {
        let start = Instant::now();
        while intervals::begun_after(&intervals::read(self.logs.path()), since) < 3 {
            assert!(start.elapsed() < Duration::from_secs(20), "no grants after {after}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        start.elapsed()
    }

    async fn coordinator(&self) -> usize {
        let leader = self.etcd.coordinator().await;
        self.addresses.iter().position(|a| Some(a) == leader.as_ref()).unwrap_or(0)
    }

    async fn inflict(&mut self, fault: Fault, random: &mut fastrand::Rng) {
        match fault {
            Fault::KillCoordinator => {
                let at = self.coordinator().await;
                self.coordinators[at].0.kill().unwrap();
                self.coordinators[at] =
                    child::coordinator(&self.addresses[at], &self.etcd.endpoints, AUTHORITY);
            }
            Fault::StopCoordinator => {
                let at = self.coordinator().await;
                stopped(&self.coordinators[at], AUTHORITY * 2).await;
            }
            Fault::KillHolder => {
                let at = random.usize(..self.holders.len());
                self.holders[at] = self.new_holder();
            }
            Fault::StopHolder => {
                let at = random.usize(..self.holders.len());
                stopped(&self.holders[at], AUTHORITY * 3 / 2).await;
            }
            Fault::KillEtcdLeader => {
                let at = self.etcd.leader().await;
                self.etcd.members[at].0.kill().unwrap();
            }
            Fault::StopEtcdLeader => {
                let at = self.etcd.leader().await;
                stopped(&self.etcd.members[at], AUTHORITY * 3 / 2).await;
            }
        }
    }
}

async fn stopped(process: &Running, time: Duration) {
    signal(&process.0, "-STOP");
    tokio::time::sleep(time).await;
    signal(&process.0, "-CONT");
}
