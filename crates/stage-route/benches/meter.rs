//! What measuring costs per message, beside two bare clock reads.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use stage_route::{Config, Route};

fn meter(c: &mut Criterion) {
    let route = Route::new("a", Config::default(), 2);
    let meter = route.meter("stage");
    let mut group = c.benchmark_group("meter one message");
    group.bench_function("stage", |b| {
        b.iter(|| {
            let arrival = meter.arrived();
            meter.started(arrival);
            meter.finished(black_box(Duration::from_micros(10)));
        });
    });
    group.bench_function("two clock reads", |b| {
        b.iter(|| (black_box(Instant::now()), black_box(Instant::now())));
    });
    group.bench_function("stage/admit_remote", |b| b.iter(|| route.admit_remote().is_ok()));
    group.finish();
}

criterion_group!(benches, meter);
criterion_main!(benches);
