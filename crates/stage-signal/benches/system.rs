//! Signals between two processes on loopback, beside what else carries them: raw tonic calls, a raw tonic
//! stream that batches, NATS, and for what is bound by waking threads a raw TCP echo as the floor.
//!
//! All of them use the allocator that a node uses.
//!
//! The bench starts itself once more as the far process, and the NATS server, which must be installed
//! (Debian: `nats-server`).

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench fails by panicking"
)]

#[path = "../tests/node/authority.rs"]
mod authority;
#[path = "system/far.rs"]
mod far;
#[path = "system/near.rs"]
mod near;
#[path = "system/raw.rs"]
mod raw;

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use near::{Caller, Callers};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// Bytes of the arguments of a usual message.
const BODY: usize = 128;
const IN_FLIGHT: u64 = 64;
const MEGABYTE: usize = 1_000_000;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    if far::is_meant() {
        return far::serve();
    }
    let runtime = Runtime::new().unwrap();
    let callers = runtime.block_on(Callers::connect());
    let mut criterion = Criterion::default().configure_from_args();
    asks(&mut criterion, &runtime, &callers);
    one_way(&mut criterion, &runtime, &callers);
    alone(&mut criterion, &runtime, &callers);
    large(&mut criterion, &runtime, &callers);
    processor_time(&mut criterion, &runtime, &callers);
    criterion.final_summary();
}

/// Asks with 64 in flight.
fn asks(criterion: &mut Criterion, runtime: &Runtime, callers: &Callers) {
    let mut group = criterion.benchmark_group("two processes: 64 asks in flight");
    group.throughput(Throughput::Elements(1));
    for (name, caller) in [
        ("stage", &callers.stage),
        ("raw tonic stream", &callers.stream),
        ("raw tonic unary", &callers.unary),
        ("nats", &callers.nats),
    ] {
        measure(&mut group, runtime, name, caller, |runtime, caller, count| {
            timed(|| in_flight(runtime, caller, count, IN_FLIGHT, BODY))
        });
    }
    group.finish();
}

/// Messages without results, as fast as they are taken.
fn one_way(criterion: &mut Criterion, runtime: &Runtime, callers: &Callers) {
    let mut group = criterion.benchmark_group("two processes: one way");
    group.throughput(Throughput::Elements(1));
    for (name, caller) in [("stage", &callers.stage), ("raw tonic stream", &callers.stream)] {
        measure(&mut group, runtime, name, caller, |runtime, caller, count| {
            timed(|| runtime.block_on(caller.pour(count)))
        });
    }
    group.finish();
}

/// One ask at a time, which is mostly the waking of idle threads.
fn alone(criterion: &mut Criterion, runtime: &Runtime, callers: &Callers) {
    let mut group = criterion.benchmark_group("two processes: a lone ask");
    for (name, caller) in [
        ("stage", &callers.stage),
        ("raw tonic stream", &callers.stream),
        ("raw tonic unary", &callers.unary),
        ("nats", &callers.nats),
        ("raw TCP echo", &callers.tcp),
    ] {
        measure(&mut group, runtime, name, caller, |runtime, caller, count| {
            timed(|| in_flight(runtime, caller, count, 1, BODY))
        });
    }
    group.finish();
}

/// A megabyte there and back, four at a time.
fn large(criterion: &mut Criterion, runtime: &Runtime, callers: &Callers) {
    let mut group = criterion.benchmark_group("two processes: a megabyte");
    group.throughput(Throughput::Bytes(MEGABYTE as u64));
    for (name, caller) in [("stage", &callers.stage), ("raw tonic unary", &callers.unary)] {
        measure(&mut group, runtime, name, caller, |runtime, caller, count| {
            timed(|| in_flight(runtime, caller, count, 4, MEGABYTE))
        });
    }
    group.finish();
}

/// Processor time of both processes for an ask with 64 in flight.
fn processor_time(criterion: &mut Criterion, runtime: &Runtime, callers: &Callers) {
    let mut group = criterion.benchmark_group("two processes: processor time of an ask");
    for (name, caller) in [("stage", &callers.encrypted), ("stage without TLS", &callers.stage)] {
        measure(&mut group, runtime, name, caller, |runtime, caller, count| {
            let before = callers.processor_time();
            in_flight(runtime, caller, count, IN_FLIGHT, BODY);
            callers.processor_time() - before
        });
    }
    group.finish();
}

fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    runtime: &Runtime,
    name: &str,
    caller: &Arc<Caller>,
    run: impl Fn(&Runtime, &Arc<Caller>, u64) -> Duration,
) {
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|count| run(runtime, caller, count));
    });
}

fn timed(run: impl FnOnce()) -> Duration {
    let start = Instant::now();
    run();
    start.elapsed()
}

/// Makes `count` calls, so many at a time.
fn in_flight(runtime: &Runtime, caller: &Arc<Caller>, count: u64, width: u64, size: usize) {
    runtime.block_on(async {
        let mut workers = JoinSet::new();
        for worker in 0..width {
            let (caller, own) =
                (Arc::clone(caller), count / width + u64::from(worker < count % width));
            workers.spawn(async move {
                for _ in 0..own {
                    caller.ask(size).await;
                }
            });
        }
        workers.join_all().await;
    });
}
