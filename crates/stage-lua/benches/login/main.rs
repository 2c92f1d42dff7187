//! Logins of 10,000 users over PostgreSQL while one in a hundred runs a transaction of a second: with a lock
//! held across the query, with a lock for each user, and with STAGE; each without those transactions as well.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench that cannot go on has failed"
)]
#![allow(clippy::print_stdout, reason = "it shows what it measured")]

mod load;
#[path = "../../../stage-db/tests/databases/servers.rs"]
#[allow(dead_code, reason = "the tests of stage-db use all of it")]
mod servers;
mod ways;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use stage_db::{Config, Pool};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use xtask_measured::{Asked, Measured, Unit};

use load::{Load, Outcome, run};
use servers::Server;
use ways::{GlobalLock, LockPerUser, Service, Stage};

/// Connections to the database.
const CONNECTIONS: u32 = 16;

/// How many of them STAGE gives to the slow transactions.
const SHARE: i32 = 10;

/// Arrivals in a second. A hundredth of them take a connection for a second each: half of the connections are
/// enough for those of the first, and all of them are too few for those of the second.
const RATES: [f64; 2] = [800.0, 1600.0];

/// How often the connections in use are counted.
const LOOK: Duration = Duration::from_millis(20);

/// The connections that do something for somebody, beside the one that asks.
const IN_USE: &str = "SELECT count(*) FROM pg_stat_activity \
    WHERE backend_type = 'client backend' AND state <> 'idle' AND pid <> pg_backend_pid()";

const WAYS: [&str; 3] = ["stage", "lock per user", "global lock"];

/// What is measured at a time.
#[derive(Clone, Copy)]
struct Case {
    rate: f64,
    way: &'static str,
    /// Whether one in a hundred runs a transaction of a second.
    slow: bool,
}

impl Case {
    fn all() -> impl Iterator<Item = Self> {
        let ways = || WAYS.into_iter().flat_map(|way| [(way, false), (way, true)]);
        let at = move |rate| ways().map(move |(way, slow)| Self { rate, way, slow });
        RATES.into_iter().flat_map(at)
    }

    fn id(self) -> String {
        format!("login at {} per s {}/{}", self.rate, self.beside(), self.way)
    }

    fn beside(self) -> &'static str {
        if self.slow { "beside slow transactions" } else { "alone" }
    }
}

#[tokio::main]
async fn main() {
    let asked = Asked::of_process();
    let cases = asked.chosen(Case::all(), |case| case.id());
    if cases.is_empty() {
        return;
    }
    let time = Duration::from_secs(if asked.is_quick() { 4 } else { 15 });
    let server = Server::postgres(&["max_connections=250", "synchronous_commit=off"]).await;
    let admin = server.pool();
    let create = "CREATE TABLE accounts AS SELECT id::bigint, 1000::bigint AS coins FROM generate_series(0, 9999) AS id";
    admin.query(create, vec![]).await.unwrap();
    admin.query("ALTER TABLE accounts ADD PRIMARY KEY (id)", vec![]).await.unwrap();

    println!(
        "| arrivals/s | way | slow transactions | p50 | p99 | p99 of the middle part | p99.9 | logins/s in 1 s | not done | most connections in use |"
    );
    println!("|---:|---|---|---:|---:|---:|---:|---:|---:|---:|");
    for case in cases {
        until_idle(&admin).await;
        let paid_before = paid(&admin).await;
        let load = Load { users: 10_000, rate: case.rate, time, slow: case.slow };
        let config = Config { connections: CONNECTIONS, waiting: 1_000_000, ..server.config() };
        let pool = Pool::new(config, None, Handle::current());
        let service = service(case.way, pool.clone()).await;
        // Connections, plans and sessions of a service that has run for a while.
        open_all(&pool).await;
        let warm = Load { time: Duration::from_millis(500), slow: false, ..load };
        run(&service, warm).await;
        let most = MostInUse::watch(admin.clone());
        let outcome = run(&service, load).await;
        let most_in_use = most.end();
        let has_paid = paid(&admin).await > paid_before;
        assert_eq!(has_paid, case.slow, "{}: whether transactions took place", case.id());
        show(case, &outcome, most_in_use);
        keep(case, &outcome, most_in_use);
    }
}

/// How many connections to the database are in use at most, as far as the database tells who asks now and then.
struct MostInUse {
    watching: JoinHandle<()>,
    most: Arc<AtomicI64>,
}

impl MostInUse {
    fn watch(admin: Pool) -> Self {
        let most = Arc::new(AtomicI64::new(0));
        let seen = Arc::clone(&most);
        let watching = tokio::spawn(async move {
            loop {
                seen.fetch_max(number(&admin, IN_USE).await, Ordering::Relaxed);
                tokio::time::sleep(LOOK).await;
            }
        });
        Self { watching, most }
    }

    fn end(self) -> i64 {
        assert!(!self.watching.is_finished(), "whoever counts connections goes on counting");
        self.watching.abort();
        self.most.load(Ordering::Relaxed)
    }
}

/// Waits until nothing of the case before is at work.
async fn until_idle(admin: &Pool) {
    while number(admin, IN_USE).await > 0 {
        tokio::time::sleep(LOOK).await;
    }
}

/// What all users have paid so far.
async fn paid(admin: &Pool) -> i64 {
    number(admin, "SELECT sum(1000 - coins)::bigint AS paid FROM accounts").await
}

async fn number(admin: &Pool, sql: &str) -> i64 {
    admin.query(sql, vec![]).await.unwrap().rows[0][0].as_int().unwrap()
}

/// Has all connections of a pool in use at once.
async fn open_all(pool: &Pool) {
    let busy = (0..CONNECTIONS).map(|_| {
        let pool = pool.clone();
        tokio::spawn(async move { pool.query("SELECT 1 FROM pg_sleep(0.2)", vec![]).await })
    });
    for busy in busy.collect::<Vec<_>>() {
        busy.await.unwrap().unwrap();
    }
}

async fn service(way: &str, pool: Pool) -> Arc<dyn Service> {
    match way {
        "stage" => Arc::new(Stage::start(pool, CONNECTIONS as i32, SHARE).await),
        "lock per user" => Arc::new(LockPerUser { pool, locks: dashmap::DashMap::new() }),
        _ => Arc::new(GlobalLock { pool, sessions: tokio::sync::Mutex::default() }),
    }
}

fn show(case: Case, outcome: &Outcome, most_in_use: i64) {
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let slow = if case.slow { "1 %" } else { "none" };
    println!(
        "| {} | {} | {slow} | {:.2} ms | {:.2} ms | {:.2} ms | {:.2} ms | {:.0} | {} | {most_in_use} |",
        case.rate,
        case.way,
        ms(outcome.all.percentile(50.0)),
        ms(outcome.all.percentile(99.0)),
        ms(outcome.percentile_of_the_middle_part(99.0)),
        ms(outcome.all.percentile(99.9)),
        outcome.goodput(),
        outcome.all.unfinished,
    );
}

/// Leaves the results for whoever reads those of all benches.
fn keep(case: Case, outcome: &Outcome, most_in_use: i64) {
    let times = [
        ("p50", outcome.all.percentile(50.0)),
        ("p99", outcome.all.percentile(99.0)),
        ("p99.9", outcome.all.percentile(99.9)),
        ("p99 of the middle half second", outcome.percentile_of_the_middle_part(99.0)),
        ("done within 1 s", outcome.time_per_useful()),
    ];
    for (what, time) in times {
        leave(case, what, Unit::Time, time.as_nanos() as f64);
    }
    leave(case, "connections in use", Unit::Things("connections"), most_in_use as f64);
}

fn leave(case: Case, what: &str, unit: Unit, value: f64) {
    let group = format!("login {what} at {} per s {}", case.rate, case.beside());
    Measured { group: &group, by: case.way, unit, value }.keep().unwrap();
}
