//! What a call costs beside sqlx alone: 64 queries for one row at a time, over PostgreSQL.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench that cannot go on has failed"
)]

#[path = "../tests/databases/servers.rs"]
#[allow(dead_code, reason = "the tests use all of it")]
mod servers;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use sqlx::postgres::PgPoolOptions;
use stage_db::{Config, Param, Pool};
use tokio::runtime::{Handle, Runtime};

use servers::Server;

const AT_ONCE: i64 = 64;
const CONNECTIONS: u32 = 16;
const SQL: &str = "SELECT id, name FROM accounts WHERE id = $1";

fn one_row(c: &mut Criterion) {
    let tokio = Runtime::new().unwrap();
    let server = tokio.block_on(Server::postgres(&["max_connections=60"]));
    let (ours, bare) = tokio.block_on(async {
        let config = Config { connections: CONNECTIONS, ..server.config() };
        let ours = Pool::new(config, None, Handle::current());
        let create = "CREATE TABLE accounts AS SELECT id::bigint, 'user' || id AS name FROM generate_series(0, 9999) AS id";
        ours.query(create, vec![]).await.unwrap();
        ours.query("ALTER TABLE accounts ADD PRIMARY KEY (id)", vec![]).await.unwrap();
        let options = || PgPoolOptions::new().max_connections(CONNECTIONS);
        let careful = options().connect(&server.address()).await.unwrap();
        let bare = options().test_before_acquire(false).connect(&server.address()).await.unwrap();
        (ours, [("sqlx", careful), ("sqlx without tests of connections", bare)])
    });
    let mut group = c.benchmark_group("64 queries for one row");
    group.throughput(Throughput::Elements(AT_ONCE as u64));
    let sql: Arc<str> = SQL.into();
    group.bench_function("stage", |b| {
        b.iter(|| {
            let one = |id| ours.query(Arc::clone(&sql), vec![Param::Int(id)]);
            tokio.block_on(async { black_box(join_all((0..AT_ONCE).map(one)).await) })
        });
    });
    for (name, pool) in bare {
        group.bench_function(name, |b| {
            b.iter(|| {
                let one = |id: i64| {
                    let pool = pool.clone();
                    tokio::spawn(async move {
                        let query = sqlx::query_as::<_, (i64, String)>(SQL).bind(id);
                        query.fetch_one(&pool).await.unwrap()
                    })
                };
                tokio.block_on(async { black_box(join_all((0..AT_ONCE).map(one)).await) })
            });
        });
    }
    group.finish();
}

criterion_group!(benches, one_row);
criterion_main!(benches);
