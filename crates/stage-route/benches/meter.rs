//! What measuring costs per message, beside two bare clock reads.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use stage_route::{Config, Controller, Input, Route};

fn meter(c: &mut Criterion) {
    let route = Route::new("a", Config::default());
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

/// A window is decided once for all its messages.
fn decide(c: &mut Criterion) {
    let mut controller = Controller::new("a", Config::default(), Duration::from_millis(1));
    c.benchmark_group("decide one window").bench_function("stage", |b| {
        b.iter(|| controller.step(black_box(&Input::default())));
    });
}

criterion_group!(benches, meter, decide);
criterion_main!(benches);
