//! What `db` costs a handler: 64 handlers that ask PostgreSQL for one row each, beside as many tasks of Rust
//! that ask by the same pool, and by sqlx alone.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench that cannot go on has failed"
)]

#[path = "../../stage-db/tests/databases/servers.rs"]
#[allow(dead_code, reason = "the tests of stage-db use all of it")]
mod servers;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use sqlx::postgres::{PgPool, PgPoolOptions};
use stage_db::{Config, Param, Pool};
use stage_lua::{Databases, Options, Output, Parts, Runtime, Script};
use stage_signal::{Destination, Identity, Mesh, OpenGate, Outgoing};
use stage_value::Value;
use tokio::runtime::Handle;

use servers::Server;

const AT_ONCE: i64 = 64;
const CONNECTIONS: u32 = 16;
const SQL: &str = "SELECT id, name FROM accounts WHERE id = $1";

const SCRIPT: &str = r#"
stage.waitfor("one", function(id)
    return db.main:one("SELECT id, name FROM accounts WHERE id = $1", id).name
end)
"#;

async fn prepare(server: &Server) -> (Pool, PgPool) {
    let config = Config { connections: CONNECTIONS, ..server.config() };
    let pool = Pool::new(config, None, Handle::current());
    let create = "CREATE TABLE accounts AS SELECT id::bigint, 'user' || id AS name FROM generate_series(0, 9999) AS id";
    pool.query(create, vec![]).await.unwrap();
    pool.query("ALTER TABLE accounts ADD PRIMARY KEY (id)", vec![]).await.unwrap();
    let options = PgPoolOptions::new().max_connections(CONNECTIONS).test_before_acquire(false);
    (pool, options.connect(&server.address()).await.unwrap())
}

async fn start(pool: Pool) -> (Mesh, Runtime) {
    let identity = Identity { name: "a".into(), group: "a".into(), address: None, incarnation: 1 };
    let mesh = Mesh::new(identity, stage_signal::Config::default(), Arc::new(OpenGate)).unwrap();
    let parts = Parts {
        node: "a".into(),
        mesh: mesh.clone(),
        submitter: stage_submit::Submitter::new(stage_submit::Limits::default()),
        tickets: stage_lua::TicketDesk::new(
            stage_ticket::Tickets::new(stage_ticket::Config::default()).unwrap(),
        ),
        databases: Databases::default().with("main", pool),
        shared: Arc::default(),
        route: stage_route::Route::new("a", stage_route::Config::never()),
        output: Output::new(std::io::sink()),
    };
    let runtime = Runtime::new(Options::default(), parts).unwrap();
    let script = Script::of_text("bench.lua", SCRIPT);
    runtime.start_stage(&"stage".parse().unwrap(), &script, 1).await.unwrap();
    (mesh, runtime)
}

fn asked(mesh: &Mesh, id: i64) -> impl Future<Output = Value> {
    let mut outcomes = mesh.send(Outgoing {
        destination: Destination::Stage("stage".parse().unwrap()),
        message: "one".parse().unwrap(),
        args: vec![Value::Int(id)],
        origin_stage: "bench".into(),
        wants_results: true,
        idempotent: false,
        timeout: None,
        trace: None,
    });
    async move { outcomes.next().await.unwrap().unwrap().remove(0) }
}

fn one_row(c: &mut Criterion) {
    let tokio = tokio::runtime::Runtime::new().unwrap();
    let server = tokio.block_on(Server::postgres(&["max_connections=60"]));
    let (pool, bare) = tokio.block_on(prepare(&server));
    let (mesh, _runtime) = tokio.block_on(start(pool.clone()));
    let mut group = c.benchmark_group("64 handlers and one row each");
    group.throughput(Throughput::Elements(AT_ONCE as u64));
    group.bench_function("stage", |b| {
        b.iter(|| {
            tokio.block_on(async {
                black_box(join_all((0..AT_ONCE).map(|id| asked(&mesh, id))).await)
            })
        });
    });
    group.bench_function("the pool from Rust", |b| {
        b.iter(|| {
            let one = |id| pool.query(SQL, vec![Param::Int(id)]);
            tokio.block_on(async { black_box(join_all((0..AT_ONCE).map(one)).await) })
        });
    });
    group.bench_function("sqlx from Rust", |b| {
        b.iter(|| {
            let one = |id: i64| {
                let bare = bare.clone();
                tokio::spawn(async move {
                    let query = sqlx::query_as::<_, (i64, String)>(SQL).bind(id);
                    query.fetch_one(&bare).await.unwrap()
                })
            };
            tokio.block_on(async { black_box(join_all((0..AT_ONCE).map(one)).await) })
        });
    });
    group.finish();
}

criterion_group!(benches, one_row);
criterion_main!(benches);
