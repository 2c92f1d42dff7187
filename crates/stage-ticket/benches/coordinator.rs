//! The pure coordinator alone: acquire and release, with no, few and a million waiters.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench says what is wrong by panicking")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use stage_ticket::coordinator::{Command, Coordinator, Event, NodeId, RequestId};
use stage_ticket::{CategoryId, CategoryName, Limit, Rules, Time, Token};

struct Bench {
    coordinator: Coordinator,
    commands: Vec<Command>,
    category: CategoryId,
    count: u64,
    now: Time,
}

impl Bench {
    fn new(limit: i64) -> Self {
        let name = CategoryName::try_new("bench").unwrap();
        let category = name.id();
        let mut coordinator = Coordinator::new(Rules::default(), 1);
        let mut commands = Vec::new();
        let limit = Limit::try_new(limit).unwrap();
        coordinator.step(Time::ZERO, Event::Set { name, limit, close_after: None }, &mut commands);
        Self { coordinator, commands, category, count: 0, now: Time::ZERO }
    }

    fn request(&mut self) {
        self.count += 1;
        self.now.0 += 100;
        let request = RequestId { node: NodeId(0), count: self.count };
        let event = Event::Requested { request, category: self.category, waits: true };
        self.coordinator.step(self.now, event, &mut self.commands);
    }

    fn granted(&mut self) -> Token {
        match self.commands.drain(..).next_back() {
            Some(Command::Grant { token, .. }) => token,
            other => panic!("no grant but {other:?}"),
        }
    }

    fn release(&mut self, token: Token) {
        self.coordinator.step(self.now, Event::Released { token }, &mut self.commands);
    }
}

fn acquire_and_release(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("coordinator");
    group.throughput(Throughput::Elements(1));
    let mut bench = Bench::new(1);
    group.bench_function("acquire+release", |b| {
        b.iter(|| {
            bench.request();
            let token = bench.granted();
            bench.release(black_box(token));
        });
    });
    for waiters in [10, 1_000_000] {
        let mut bench = Bench::new(1);
        bench.request();
        let mut token = bench.granted();
        for _ in 0..waiters {
            bench.request();
        }
        bench.commands.clear();
        group.bench_function(BenchmarkId::new("queue+release", waiters), |b| {
            b.iter(|| {
                bench.request();
                bench.commands.clear();
                bench.release(black_box(token));
                token = bench.granted();
            });
        });
    }
    group.finish();
}

criterion_group!(benches, acquire_and_release);
criterion_main!(benches);
