//! Tickets in one process beside tokio's semaphore, which has no leases, tokens or names.
#![allow(clippy::unwrap_used, reason = "a bench says what is wrong by panicking")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use stage_ticket::{Config, Tickets};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

const TASKS: u64 = 64;
const LIMIT: u32 = 10;

fn in_process(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let _inside = runtime.enter();
    let config = Config::default().category("bench", i64::from(LIMIT));
    let tickets = Tickets::new(config).unwrap();
    let semaphore = Arc::new(Semaphore::new(LIMIT as usize));
    // Held over a yield, all 64 tasks compete and most of them wait; else hardly any does.
    for (name, yields) in [("64 tasks, short", false), ("64 tasks, held over a yield", true)] {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(1));
        group.bench_function("stage", |b| {
            b.iter_custom(|rounds| {
                run(&runtime, rounds, |turns| {
                    let tickets = tickets.clone();
                    async move {
                        for _ in 0..turns {
                            let _ticket = tickets.acquire("bench").await.unwrap();
                            hold(yields).await;
                        }
                    }
                })
            });
        });
        group.bench_function("tokio semaphore", |b| {
            b.iter_custom(|rounds| {
                run(&runtime, rounds, |turns| {
                    let semaphore = semaphore.clone();
                    async move {
                        for _ in 0..turns {
                            let _permit = semaphore.acquire().await.unwrap();
                            hold(yields).await;
                        }
                    }
                })
            });
        });
        group.finish();
    }
}

async fn hold(yields: bool) {
    if yields {
        tokio::task::yield_now().await;
    }
}

/// Runs `rounds` of turns, spread over the tasks, and returns how long it took.
fn run<F>(runtime: &Runtime, rounds: u64, task: impl Fn(u64) -> F) -> Duration
where
    F: Future<Output = ()> + Send + 'static,
{
    runtime.block_on(async {
        let start = Instant::now();
        let turns = (0..TASKS).map(|task| rounds / TASKS + u64::from(task < rounds % TASKS));
        let tasks: Vec<_> = turns.map(|turns| tokio::spawn(task(turns))).collect();
        for task in tasks {
            task.await.unwrap();
        }
        start.elapsed()
    })
}

criterion_group!(benches, in_process);
criterion_main!(benches);
