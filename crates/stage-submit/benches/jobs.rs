//! What a job costs: against a bare `tokio::spawn`, and against what one would write instead to run
//! jobs one at a time per key, an actor per key or a map of mutexes.
//!
//! Everything runs on a runtime with two workers. A job is a handful of instructions, so that the
//! figures are what scheduling costs.

#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use dashmap::DashMap;
use kameo::Actor;
use kameo::actor::Spawn as _;
use kameo::message::{Context, Message};
use stage_submit::{Limits, Submitter};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Mutex, Notify, Semaphore};

const JOBS: u64 = 10_000;
const PRODUCERS: u64 = 64;

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn submitter(runtime: &Runtime) -> Submitter {
    let limits = Limits::default().per_key(usize::MAX).total(usize::MAX);
    Submitter::on(runtime.handle(), limits)
}

async fn job(number: u64) -> u64 {
    black_box(number)
}

/// Runs `round` once per iteration inside a task of the runtime, and times it there.
fn timed<F>(runtime: &Runtime, iterations: u64, round: impl Fn() -> F) -> Duration
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut spent = Duration::ZERO;
    for _ in 0..iterations {
        let round = round();
        let task = runtime.spawn(async move {
            let began = Instant::now();
            round.await;
            began.elapsed()
        });
        spent += runtime.block_on(task).unwrap();
    }
    spent
}

/// Jobs that never meet: the price over a bare task.
fn apart(c: &mut Criterion) {
    let runtime = runtime();
    let submitter = submitter(&runtime);
    let mut group = c.benchmark_group("jobs of a key each");
    group.throughput(Throughput::Elements(JOBS));
    group.bench_function("tokio::spawn", |b| {
        b.iter_custom(|n| {
            timed(&runtime, n, || async {
                let tasks: Vec<_> = (0..JOBS).map(|n| tokio::spawn(job(n))).collect();
                for task in tasks {
                    task.await.unwrap();
                }
            })
        });
    });
    for (name, distinct) in [("stage, key 0", 0), ("stage", 1)] {
        group.bench_function(name, |b| {
            b.iter_custom(|n| {
                timed(&runtime, n, || {
                    let submitter = submitter.clone();
                    async move {
                        let submit = |n| {
                            let key = (n as i64 + 1) * distinct;
                            submitter.submit(key, job(n)).unwrap()
                        };
                        let handles: Vec<_> = (0..JOBS).map(submit).collect();
                        for handle in handles {
                            handle.await.unwrap();
                        }
                    }
                })
            });
        });
    }
    group.finish();
}

#[derive(Actor)]
struct KeyActor;

struct Job(Pin<Box<dyn Future<Output = u64> + Send>>);

impl Message<Job> for KeyActor {
    type Reply = u64;

    async fn handle(&mut self, job: Job, _: &mut Context<Self, Self::Reply>) -> u64 {
        job.0.await
    }
}

type Locks = Arc<DashMap<i64, Arc<Mutex<()>>>>;

async fn locked(locks: Locks, key: i64, work: impl Future<Output = u64>) -> u64 {
    let lock = Arc::clone(&locks.entry(key).or_default());
    let _guard = lock.lock().await;
    work.await
}

/// A job that gives way once while it holds its key, as one that asks a database does.
async fn asking(number: u64) -> u64 {
    tokio::task::yield_now().await;
    black_box(number)
}

/// Runs 64 producers, each with its share of the jobs. `start` starts a window of jobs and awaits
/// all their results.
async fn producers<F>(rounds: u64, start: impl Fn() -> F + Clone + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let produce = || {
        let start = start.clone();
        tokio::spawn(async move {
            for _ in 0..rounds {
                start().await;
            }
        })
    };
    let tasks: Vec<_> = (0..PRODUCERS).map(|_| produce()).collect();
    for task in tasks {
        task.await.unwrap();
    }
}

/// All jobs have one key. `window` is how many jobs a producer has under way at a time.
fn hot(c: &mut Criterion) {
    hot_with(c, "one busy key, jobs at once", job);
    hot_with(c, "one busy key, jobs that wait", asking);
}

fn hot_with<W>(c: &mut Criterion, name: &str, work: fn(u64) -> W)
where
    W: Future<Output = u64> + Send + 'static,
{
    let runtime = runtime();
    let mut group = c.benchmark_group(name);
    for window in [1, 16] {
        let rounds = JOBS / PRODUCERS / window;
        group.throughput(Throughput::Elements(rounds * window * PRODUCERS));
        let submitter = submitter(&runtime);
        let submit = move || {
            let submitter = submitter.clone();
            async move {
                let submit = |n| submitter.submit(7, work(n)).unwrap();
                let handles: Vec<_> = (0..window).map(submit).collect();
                for handle in handles {
                    handle.await.unwrap();
                }
            }
        };
        group.bench_function(BenchmarkId::new("stage", window), |b| {
            b.iter_custom(|n| timed(&runtime, n, || producers(rounds, submit.clone())));
        });
        let locks = Locks::default();
        let lock = move || {
            let locks = Arc::clone(&locks);
            async move {
                let start = |n| tokio::spawn(locked(Arc::clone(&locks), 7, work(n)));
                let tasks: Vec<_> = (0..window).map(start).collect();
                for task in tasks {
                    task.await.unwrap();
                }
            }
        };
        group.bench_function(BenchmarkId::new("a map of mutexes", window), |b| {
            b.iter_custom(|n| timed(&runtime, n, || producers(rounds, lock.clone())));
        });
        if window == 1 {
            in_place(&mut group, &runtime, rounds, work);
        }
        let _inside = runtime.enter();
        let actor = KeyActor::spawn_with_mailbox(KeyActor, kameo::mailbox::unbounded());
        let ask = move || {
            let actor = actor.clone();
            async move {
                let mut replies = Vec::new();
                for n in 0..window {
                    let asked = actor.ask(Job(Box::pin(work(n))));
                    replies.push(asked.enqueue().await.unwrap());
                }
                for reply in replies {
                    reply.await.unwrap();
                }
            }
        };
        group.bench_function(BenchmarkId::new("a kameo actor", window), |b| {
            b.iter_custom(|n| timed(&runtime, n, || producers(rounds, ask.clone())));
        });
    }
    group.finish();
}

/// What one at a time can do without: each producer waits for the key and runs its job in its own task,
/// with no task for the job, no bound and no handle.
fn in_place<W>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    runtime: &Runtime,
    rounds: u64,
    work: fn(u64) -> W,
) where
    W: Future<Output = u64> + Send + 'static,
{
    let locks = Locks::default();
    let lock = move || {
        let locks = Arc::clone(&locks);
        async move {
            black_box(locked(locks, 7, work(0)).await);
        }
    };
    group.bench_function(BenchmarkId::new("mutexes, in place", 1), |b| {
        b.iter_custom(|n| timed(runtime, n, || producers(rounds, lock.clone())));
    });
}

/// One key with more and more jobs in its queue behind one that holds it: the price of a job, from
/// submission to end.
fn depth(c: &mut Criterion) {
    let runtime = runtime();
    let submitter = submitter(&runtime);
    let mut group = c.benchmark_group("one key, by its waiters");
    for waiters in [64, 5_000, 100_000, 1_000_000] {
        // The same number of jobs for every depth, in as many rounds as it takes.
        let rounds = (200_000 / waiters).max(1);
        group.throughput(Throughput::Elements(waiters * rounds));
        group.bench_function(BenchmarkId::new("stage", waiters), |b| {
            b.iter_custom(|n| {
                timed(&runtime, n, || {
                    let submitter = submitter.clone();
                    async move {
                        for _ in 0..rounds {
                            let gate = Arc::new(Semaphore::new(0));
                            let closed = Arc::clone(&gate);
                            let head = async move { drop(closed.acquire().await) };
                            submitter.submit(7, head).unwrap().detach();
                            for n in 1..waiters {
                                submitter.submit(7, job(n)).unwrap().detach();
                            }
                            let last = submitter.submit(7, job(0)).unwrap();
                            gate.add_permits(1);
                            last.await.unwrap();
                        }
                    }
                })
            });
        });
        group.bench_function(BenchmarkId::new("a map of mutexes", waiters), |b| {
            b.iter_custom(|n| {
                timed(&runtime, n, || async move {
                    let locks = Locks::default();
                    for _ in 0..rounds {
                        let lock = Arc::clone(&locks.entry(7).or_default());
                        let head = lock.lock().await;
                        let left = Arc::new(AtomicU64::new(waiters));
                        let done = Arc::new(Notify::new());
                        for n in 0..waiters {
                            let (locks, left) = (Arc::clone(&locks), Arc::clone(&left));
                            let done = Arc::clone(&done);
                            tokio::spawn(async move {
                                locked(locks, 7, job(n)).await;
                                if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                                    done.notify_one();
                                }
                            });
                        }
                        drop(head);
                        done.notified().await;
                    }
                })
            });
        });
    }
    group.finish();
}

/// How long jobs of quiet keys wait for their start, as the 99th percentile and not as a time per
/// round: alone, and while one key is stuck with slow jobs.
fn mixed(c: &mut Criterion) {
    let runtime = runtime();
    let mut group = c.benchmark_group("p99 of the wait beside a slow key");
    for (name, slow_share) in [("without it", 0), ("stage", 100)] {
        group.bench_function(name, |b| {
            b.iter_custom(|n| {
                let rounds = n.min(3);
                let waits = (0..rounds).map(|_| quiet_wait_p99(&runtime, slow_share));
                let sum: Duration = waits.sum();
                sum * u32::try_from(n).unwrap() / u32::try_from(rounds).unwrap()
            });
        });
    }
    group.finish();
}

/// 20,000 jobs over 100,000 keys in bursts of 100, and, unless `slow_share` is zero, one in
/// `slow_share` more on one key whose jobs sleep for 10 ms.
fn quiet_wait_p99(runtime: &Runtime, slow_share: u64) -> Duration {
    let submitter = submitter(runtime);
    let task = runtime.spawn(async move {
        let mut waits = Vec::new();
        for round in 0..200 {
            let mut handles = Vec::new();
            for n in 0..100 {
                let number = round * 100 + n;
                if slow_share > 0 && number % slow_share == 0 {
                    let slow = tokio::time::sleep(Duration::from_millis(10));
                    submitter.submit(-1, slow).unwrap().detach();
                }
                let key = number.wrapping_mul(2_654_435_761) % 100_000 + 1;
                let submitted = Instant::now();
                let started = async move { submitted.elapsed() };
                handles.push(submitter.submit(key as i64, started).unwrap());
            }
            for handle in handles {
                waits.push(handle.await.unwrap());
            }
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        submitter.cancel_key(-1);
        waits.sort_unstable();
        waits[waits.len() * 99 / 100]
    });
    runtime.block_on(task).unwrap()
}

criterion_group!(benches, apart, hot, depth, mixed);
criterion_main!(benches);
