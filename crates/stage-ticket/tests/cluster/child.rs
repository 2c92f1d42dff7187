//! The processes that the tests start: this very test program with another task.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stage_ticket::cluster::{ClusterConfig, Member};
use stage_ticket::{RemoteConfig, RemoteTickets};
use tokio::net::TcpListener;

use super::network::Place;
use super::{Running, monotonic, program};

const TASK: &str = "STAGE_TICKET_TASK";
/// How many may hold at once.
pub(crate) const LIMIT: usize = 2;

/// A member of the cluster that may coordinate.
pub(crate) fn coordinator(
    place: Option<&Place>,
    address: &str,
    endpoints: &[String],
    authority: Duration,
) -> Running {
    let authority = authority.as_millis();
    start(place, &format!("coordinator {address} {authority} {}", endpoints.join(" ")))
}

/// How many tasks of a holder take turns.
pub(crate) const TASKS: u64 = 3;

/// A node whose tasks take tickets again and again and write down when they believe in them.
pub(crate) fn holder(place: &Place, log: &Path, seed: u64, addresses: &[String]) -> Running {
    start(Some(place), &format!("holder {} {seed} {}", log.display(), addresses.join(" ")))
}

fn start(place: Option<&Place>, task: &str) -> Running {
    let own = std::env::current_exe().unwrap();
    let child = program(place, own.to_str().unwrap())
        .args(["--exact", "child::does_the_task_that_another_test_gave_it", "--nocapture"])
        .env(TASK, task)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    Running(child.unwrap())
}

#[test]
fn does_the_task_that_another_test_gave_it() {
    let Ok(task) = std::env::var(TASK) else { return };
    let words: Vec<String> = task.split(' ').map(str::to_owned).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match words[0].as_str() {
        "coordinator" => runtime.block_on(coordinate(&words[1], &words[2], &words[3..])),
        _ => runtime.block_on(hold(&words[1], &words[2], &words[3..])),
    }
}

async fn coordinate(address: &str, authority: &str, endpoints: &[String]) {
    let mut config = ClusterConfig::new(endpoints, address);
    config.authority = Duration::from_millis(authority.parse().unwrap());
    config.server = config.server.category("db", i64::try_from(LIMIT).unwrap());
    // Longer than the authority of the rounds: a grant of a dead coordinator outlives the silence
    // after which another takes over.
    config.server.tickets.rules.grant = Duration::from_millis(1800);
    // Nodes that are stopped or cut off for long are struck off the list, and come back.
    config.server.absence = Duration::from_millis(1000);
    let member = Member::start(config).unwrap();
    let listener = TcpListener::bind(address).await.unwrap();
    member.serve(listener, std::future::pending()).await.unwrap();
}

async fn hold(log: &str, seed: &str, addresses: &[String]) {
    let tickets = RemoteTickets::connect(RemoteConfig::new(addresses)).unwrap();
    let log = OpenOptions::new().create(true).append(true).open(log).unwrap();
    let log = Arc::new(Mutex::new(log));
    let seed: u64 = seed.parse().unwrap();
    let tasks = (0..TASKS).map(|at| {
        let random = fastrand::Rng::with_seed(seed * 10 + at);
        tokio::spawn(take_turns(at, tickets.clone(), log.clone(), random))
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

async fn take_turns(
    task: u64,
    tickets: RemoteTickets,
    log: Arc<Mutex<File>>,
    mut random: fastrand::Rng,
) {
    loop {
        // Whoever is refused or comes too late is told so, and asks again.
        let Ok(ticket) = tickets.acquire("db").auto_extend(Duration::from_secs(2)).await else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let mut turns = random.u32(1..8);
        if random.u8(..) < 5 {
            turns = 700;
        }
        for _ in 0..turns {
            // The moment is read first: if the ticket lives after it, it lived then.
            let now = monotonic();
            if ticket.deadline().is_none() {
                break;
            }
            // One write, so that a process that is killed leaves whole lines.
            let line = format!("{} {now} {task}\n", ticket.id());
            log.lock().unwrap().write_all(line.as_bytes()).unwrap();
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }
}
