//! Tickets over one connection, with a Redis semaphore and a bare gRPC stream beside them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a benchmark says what is wrong by panicking"
)]

mod bare;
mod redis;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use stage_ticket::{RemoteConfig, RemoteTickets, Rules, Server, ServerConfig};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

const CLIENTS: usize = 64;
const LIMIT: i64 = 10;

fn server(runtime: &Runtime) -> SocketAddr {
    let _inside = runtime.enter();
    let mut config = ServerConfig::default().fresh();
    config.tickets.rules.max_waiters = Rules::default().max_waiters;
    let many = 1 << 16;
    let config = config.category("db", LIMIT).category("free", many).category("lone", 1);
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::new(config).unwrap();
    runtime.spawn(async move { server.serve(listener, std::future::pending()).await });
    address
}

/// `grants` tickets, taken and dropped by tasks that do nothing else.
async fn contend(tickets: &RemoteTickets, category: &'static str, grants: u64) -> Duration {
    let start = Instant::now();
    let each = grants.div_ceil(CLIENTS as u64);
    let tasks: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let tickets = tickets.clone();
            tokio::spawn(async move {
                for _ in 0..each {
                    drop(tickets.acquire(category).await.unwrap());
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    start.elapsed().mul_f64(grants as f64 / (each * CLIENTS as u64) as f64)
}

/// `grants` tickets in batches that are asked for together: no task waits for its own answer.
async fn pipeline(tickets: &RemoteTickets, grants: u64) -> Duration {
    let start = Instant::now();
    let mut left = grants;
    while left > 0 {
        let batch = left.min(2048);
        let requests: Vec<_> = (0..batch).map(|_| tickets.acquire("free")).collect();
        for request in requests {
            drop(request.await.unwrap());
        }
        left -= batch;
    }
    start.elapsed()
}

fn grants(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let address = server(&runtime);
    let inside = runtime.enter();
    let tickets = RemoteTickets::connect(RemoteConfig::new([address.to_string()])).unwrap();
    drop(inside);
    drop(runtime.block_on(tickets.acquire("db")).unwrap());
    let redis = redis::Redis::start(&runtime);
    let mut group = criterion.benchmark_group("64 clients, a permit each");
    group.throughput(Throughput::Elements(1));
    group.bench_function("stage", |bench| {
        bench.iter_custom(|grants| runtime.block_on(contend(&tickets, "free", grants)));
    });
    group.bench_function("a Redis script", |bench| {
        bench.iter_custom(|grants| runtime.block_on(redis.contend(CLIENTS, CLIENTS, grants)));
    });
    group.bench_function("stage, one pipelined", |bench| {
        bench.iter_custom(|grants| runtime.block_on(pipeline(&tickets, grants)));
    });
    group.finish();
    let mut group = criterion.benchmark_group("64 clients, 10 permits");
    group.throughput(Throughput::Elements(1));
    group.bench_function("stage", |bench| {
        bench.iter_custom(|grants| runtime.block_on(contend(&tickets, "db", grants)));
    });
    group.bench_function("a Redis script", |bench| {
        let limit = usize::try_from(LIMIT).unwrap();
        bench.iter_custom(|grants| runtime.block_on(redis.contend(CLIENTS, limit, grants)));
    });
    group.finish();
}

fn lone(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let address = server(&runtime);
    let inside = runtime.enter();
    let tickets = RemoteTickets::connect(RemoteConfig::new([address.to_string()])).unwrap();
    drop(inside);
    drop(runtime.block_on(tickets.acquire("lone")).unwrap());
    let mut group = criterion.benchmark_group("a lone grant");
    group.bench_function("stage", |bench| {
        bench.iter_custom(|rounds| {
            runtime.block_on(async {
                let start = Instant::now();
                for _ in 0..rounds {
                    drop(tickets.acquire("free").await.unwrap());
                }
                start.elapsed()
            })
        });
    });
    let mut bare = runtime.block_on(bare::PingPong::start());
    group.bench_function("a bare gRPC stream", |bench| {
        bench.iter_custom(|rounds| {
            runtime.block_on(async {
                let start = Instant::now();
                for _ in 0..rounds {
                    bare.ping().await;
                }
                start.elapsed()
            })
        });
    });
    group.finish();
}

criterion_group!(benches, grants, lone);
criterion_main!(benches);
