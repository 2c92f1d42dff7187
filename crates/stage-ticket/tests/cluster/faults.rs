//! Rounds of random faults: at no moment more holders than permits, no permit and no waiter lost.

use std::time::{Duration, Instant};

use stage_ticket::{AcquireError, RemoteConfig, RemoteTickets};

use super::etcd::Etcd;
use super::network::{Network, Place, runs_elsewhere};
use super::{Running, child, free_port, intervals, monotonic, signal};

/// How many rounds there are unless `STAGE_TICKET_ROUNDS` says otherwise.
const ROUNDS: usize = 5;
const AUTHORITY: Duration = Duration::from_millis(1000);
const HOLDERS: u64 = 3;

#[derive(Debug, Clone, Copy)]
enum Fault {
    KillCoordinator,
    StopCoordinator,
    /// Only from etcd: its nodes still reach it.
    CutCoordinator,
    /// From the coordinator, which still reaches etcd.
    CutNodes,
    KillHolder,
    StopHolder,
    StopEtcdLeader,
    /// With what it has on its disk.
    RestartEtcdLeader,
}

const FAULTS: [Fault; 8] = [
    Fault::CutCoordinator,
    Fault::StopCoordinator,
    Fault::CutNodes,
    Fault::StopHolder,
    Fault::RestartEtcdLeader,
    Fault::StopEtcdLeader,
    Fault::KillHolder,
    Fault::KillCoordinator,
];

/// One etcd, two who may coordinate, three nodes that hold, and what they wrote down.
struct World {
    network: Network,
    store: Place,
    etcd: Etcd,
    members: Vec<Member>,
    holders: Vec<Holder>,
    logs: tempfile::TempDir,
    started: u64,
    seed: u64,
}

/// One who may coordinate.
struct Member {
    process: Running,
    place: Place,
    address: String,
    endpoints: Vec<String>,
}

struct Holder {
    process: Running,
    place: Place,
    number: u64,
}

#[tokio::test]
async fn no_fault_ever_makes_more_holders_than_permits_or_loses_a_permit_or_a_waiter() {
    if runs_elsewhere(
        "faults::no_fault_ever_makes_more_holders_than_permits_or_loses_a_permit_or_a_waiter",
    ) {
        return;
    }
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let rounds = number("STAGE_TICKET_ROUNDS").unwrap_or(ROUNDS as u64) as usize;
    let seed = number("STAGE_TICKET_SEED").unwrap_or(11);
    println!("STAGE_TICKET_SEED={seed} STAGE_TICKET_ROUNDS={rounds}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut world = World::start(seed).await;
    world.progress(monotonic(), "start").await;
    for round in 0..rounds {
        // The first rounds go through all faults, those first that no other test has.
        let fault = FAULTS.get(round).copied().unwrap_or(FAULTS[random.usize(..FAULTS.len())]);
        tokio::time::sleep(Duration::from_millis(random.u64(0..200))).await;
        let took = world.suffer(fault, &mut random).await;
        println!("round {round}: {fault:?}, every task was served after {took:?}");
    }
    world.holders.clear();
    let intervals = intervals::read(world.logs.path());
    let most = intervals::most_at_once(&intervals);
    println!("{} tickets, at most {most} at once, {} permits", intervals.len(), child::LIMIT);
    let crowd = intervals::crowd(&intervals, child::LIMIT);
    assert!(most <= child::LIMIT, "{crowd}");
    world.every_permit_is_there().await;
}

impl World {
    async fn start(seed: u64) -> Self {
        let mut network = Network::start();
        let store = network.place();
        let etcd = Etcd::start_at(Some(store.clone())).await;
        let members = (0..2).map(|_| Member::start(network.place(), &etcd)).collect();
        let (holders, logs) = (Vec::new(), tempfile::tempdir().unwrap());
        let mut world = Self { network, store, etcd, members, holders, logs, started: 0, seed };
        for _ in 0..HOLDERS {
            let place = world.network.place();
            let holder = world.new_holder(place);
            world.holders.push(holder);
        }
        world
    }

    fn addresses(&self) -> Vec<String> {
        self.members.iter().map(|member| member.address.clone()).collect()
    }

    fn new_holder(&mut self, place: Place) -> Holder {
        self.started += 1;
        let log = self.logs.path().join(self.started.to_string());
        let seed = self.seed * 1000 + self.started;
        let process = child::holder(&place, &log, seed, &self.addresses());
        Holder { process, place, number: self.started }
    }

    /// Waits until every task of every holder has been given another ticket, and tells how long it took.
    async fn progress(&self, since: u64, after: &str) -> Duration {
        let start = Instant::now();
        for holder in &self.holders {
            let log = self.logs.path().join(holder.number.to_string());
            while intervals::served_after(&log, since).len() < child::TASKS as usize {
                assert!(
                    start.elapsed() < Duration::from_secs(30),
                    "a waiter is lost after {after}"
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        start.elapsed()
    }

    /// Nobody holds anything any more: all permits can be had at once, and not one more.
    async fn every_permit_is_there(&self) {
        let tickets = RemoteTickets::connect(RemoteConfig::new(self.addresses())).unwrap();
        let mut held = Vec::new();
        for _ in 0..child::LIMIT {
            held.push(tickets.acquire("db").auto_extend(Duration::from_secs(60)).await.unwrap());
        }
        assert!(held.iter().all(|ticket| ticket.deadline().is_some()));
        let busy = loop {
            match tickets.try_acquire("db").await {
                // The coordinator is aside for a moment.
                Err(AcquireError::Unreachable { .. }) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                end => break end.unwrap_err(),
            }
        };
        assert!(matches!(busy, AcquireError::Busy { .. }), "{busy}");
    }

    async fn coordinator(&self) -> usize {
        let leader = self.etcd.coordinator().await;
        self.addresses().iter().position(|a| Some(a) == leader.as_ref()).unwrap_or(0)
    }

    /// Does the damage, waits for what follows, and repairs it; how long it took until all were served.
    async fn suffer(&mut self, fault: Fault, random: &mut fastrand::Rng) -> Duration {
        let at = match fault {
            Fault::KillHolder | Fault::StopHolder => random.usize(..self.holders.len()),
            Fault::StopEtcdLeader | Fault::RestartEtcdLeader => self.etcd.leader().await,
            _ => self.coordinator().await,
        };
        let after = format!("{fault:?}");
        match fault {
            Fault::KillCoordinator => self.members[at].restart(),
            Fault::StopCoordinator => stopped(&self.members[at].process, AUTHORITY * 2).await,
            Fault::CutCoordinator => {
                self.members[at].place.cut(&self.store);
                tokio::time::sleep(AUTHORITY).await;
                // While it is cut off, another one serves.
                let took = self.progress(monotonic(), &after).await;
                self.members[at].place.mend(&self.store);
                return took;
            }
            Fault::CutNodes => {
                let member = &self.members[at].place;
                self.holders.iter().for_each(|holder| member.cut(&holder.place));
                tokio::time::sleep(AUTHORITY * random.u32(1..5) / 2).await;
                self.holders.iter().for_each(|holder| member.mend(&holder.place));
            }
            Fault::KillHolder => self.holders[at] = self.new_holder(self.holders[at].place.clone()),
            Fault::StopHolder => stopped(&self.holders[at].process, AUTHORITY * 3 / 2).await,
            Fault::StopEtcdLeader => stopped(&self.etcd.members[at], AUTHORITY * 3 / 2).await,
            Fault::RestartEtcdLeader => {
                self.etcd.members[at].end();
                tokio::time::sleep(AUTHORITY * random.u32(0..3) / 2).await;
                self.etcd.restart(at);
            }
        }
        self.progress(monotonic(), &after).await
    }
}

impl Member {
    fn start(place: Place, etcd: &Etcd) -> Self {
        let address = format!("{}:{}", place.address, free_port());
        let endpoints = etcd.endpoints.clone();
        let process = child::coordinator(Some(&place), &address, &endpoints, AUTHORITY);
        Self { process, place, address, endpoints }
    }

    fn restart(&mut self) {
        self.process.end();
        let Self { place, address, endpoints, .. } = &*self;
        self.process = child::coordinator(Some(place), address, endpoints, AUTHORITY);
    }
}

async fn stopped(process: &Running, time: Duration) {
    signal(&process.0, "-STOP");
    tokio::time::sleep(time).await;
    signal(&process.0, "-CONT");
}
