//! How many instructions the decision who runs next costs.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::exit,
    missing_docs,
    reason = "a bench says what is wrong by panicking, and gungraun's main function exits"
)]

use std::hint::black_box;

use gungraun::{library_benchmark, library_benchmark_group, main};
use std::time::Instant;

use stage_submit::{End, Limits, Options, Scheduler};

const JOBS: u64 = 1000;

fn scheduler() -> (Scheduler<u64>, Instant) {
    (Scheduler::new(Limits::default()), Instant::now())
}

/// Submits and runs jobs of the keys that `key` gives them.
fn through((mut scheduler, now): (Scheduler<u64>, Instant), key: impl Fn(u64) -> i64) -> u64 {
    for job in 0..JOBS {
        scheduler.submit(now, black_box(key(job)), Options::default(), job).unwrap();
    }
    let mut ran = 0;
    let mut granted = scheduler.next(now);
    while let Some(grant) = granted {
        ran += grant.job;
        granted = scheduler.finish(now, grant.run, End::Done).or_else(|| scheduler.next(now));
    }
    ran
}

#[library_benchmark]
#[bench::thousand(scheduler())]
fn jobs_of_one_key(scheduler: (Scheduler<u64>, Instant)) -> u64 {
    through(scheduler, |_| 7)
}

#[library_benchmark]
#[bench::thousand(scheduler())]
fn jobs_of_a_key_each(scheduler: (Scheduler<u64>, Instant)) -> u64 {
    through(scheduler, |job| 1 + i64::try_from(job).unwrap())
}

library_benchmark_group!(name = submit, benchmarks = [jobs_of_one_key, jobs_of_a_key_each]);
main!(library_benchmark_groups = submit);
