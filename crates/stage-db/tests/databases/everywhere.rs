//! What holds on every database.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use stage_db::{Admission, Config, Error, Gate, Param, Permit, Pool};
use stage_value::Value;
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::servers::{Server, config};

/// A database and how its places for parameters are written.
struct Place {
    config: Config,
    numbered: bool,
    /// Keeps the database there.
    _held: Held,
}

enum Held {
    Folder(#[expect(dead_code, reason = "held for its drop")] TempDir),
    Server(#[expect(dead_code, reason = "held for its drop")] Server),
}

async fn places() -> Vec<Place> {
    let folder = TempDir::new().unwrap();
    let file = Config {
        wait: Duration::from_secs(5),
        ..Config::new("sqlite:test.db", folder.path()).unwrap()
    };
    let (postgres, mariadb) = tokio::join!(Server::postgres(&[]), Server::mariadb());
    vec![
        Place { config: file, numbered: true, _held: Held::Folder(folder) },
        Place { config: postgres.config(), numbered: true, _held: Held::Server(postgres) },
        Place { config: mariadb.config(), numbered: false, _held: Held::Server(mariadb) },
    ]
}

impl Place {
    fn pool(&self, change: impl FnOnce(&mut Config)) -> Pool {
        let mut config = self.config.clone();
        change(&mut config);
        Pool::new(config, None, Handle::current())
    }

    /// A statement with `?` as this database writes it.
    fn sql(&self, sql: &str) -> String {
        let mut parts = sql.split('?');
        let mut text = parts.next().unwrap_or_default().to_owned();
        for (at, part) in (1..).zip(parts) {
            text += &if self.numbered { format!("${at}") } else { "?".to_owned() };
            text += part;
        }
        text
    }
}

async fn ints(pool: &Pool, sql: &str) -> Vec<i64> {
    let rows = pool.query(sql, vec![]).await.unwrap();
    rows.rows.iter().map(|row| row[0].as_int().unwrap()).collect()
}

fn text(text: &str) -> Param {
    Param::from(Value::from(text))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_argument_is_ever_read_as_sql() {
    let attacks = [
        "'; DROP TABLE people; --",
        "\" OR \"\"=\"",
        "' OR '1'='1",
        "\\'; DELETE FROM people; #",
        "1); DELETE FROM people; --",
        "%' UNION SELECT name FROM people --",
        "$1",
        "?",
        "/*",
        "x'00'",
        "한국어 \u{1F600}",
    ];
    for place in places().await {
        let pool = place.pool(|_| {});
        pool.query("CREATE TABLE people (id BIGINT PRIMARY KEY, name TEXT)", vec![]).await.unwrap();
        let insert = place.sql("INSERT INTO people (id, name) VALUES (?, ?)");
        for (id, attack) in (0..).zip(attacks) {
            let done =
                pool.query(insert.as_str(), vec![Param::Int(id), text(attack)]).await.unwrap();
            assert_eq!(done.affected, 1);
            let select = place.sql("SELECT id, name FROM people WHERE name = ?");
            let found = pool.query(select, vec![text(attack)]).await.unwrap();
            assert_eq!(found.rows, [vec![Value::Int(id), Value::from(attack)]]);
            let like = place.sql("SELECT id FROM people WHERE id = ?");
            // As a number it is an error or finds nothing; it is never a statement.
            if let Ok(found) = pool.query(like, vec![text(attack)]).await {
                assert!(found.rows.len() <= 1);
            }
        }
        assert_eq!(ints(&pool, "SELECT count(*) AS n FROM people").await, [attacks.len() as i64]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_takes_effect_whole_or_not_at_all() {
    for place in places().await {
        let pool = place.pool(|_| {});
        pool.query("CREATE TABLE t (id BIGINT PRIMARY KEY)", vec![]).await.unwrap();
        let insert = place.sql("INSERT INTO t VALUES (?)");
        let add = |id| (insert.clone(), vec![Param::Int(id)]);

        let committed = pool.begin().await.unwrap();
        for id in [1, 2] {
            let (sql, params) = add(id);
            committed.query(sql, params).await.unwrap();
        }
        committed.commit().await.unwrap();
        assert_eq!(committed.commit().await, Err(Error::TransactionOver));
        let late = committed.query("SELECT 1 AS one", vec![]).await;
        assert_eq!(late, Err(Error::TransactionOver));

        let rolled_back = pool.begin().await.unwrap();
        let (sql, params) = add(3);
        rolled_back.query(sql, params).await.unwrap();
        rolled_back.roll_back().await.unwrap();

        let dropped = pool.begin().await.unwrap();
        let (sql, params) = add(4);
        dropped.query(sql, params).await.unwrap();
        drop(dropped);

        let failed = pool.begin().await.unwrap();
        let (sql, params) = add(5);
        failed.query(sql, params).await.unwrap();
        let (sql, params) = add(1);
        let taken = failed.query(sql.clone(), params).await.unwrap_err();
        assert_eq!((taken.kind(), taken.sqlstate().map(|it| &it[..2])), ("unique", Some("23")));
        // What follows is refused with the reason, and so is the commit.
        assert_eq!(failed.query(sql, vec![Param::Int(6)]).await, Err(taken.clone()));
        assert_eq!(failed.commit().await, Err(taken));

        let (sql, params) = add(7);
        pool.query(sql, params).await.unwrap();
        assert_eq!(ints(&pool, "SELECT id FROM t ORDER BY id").await, [1, 2, 7]);
        assert_eq!(pool.stats().transactions, 4);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_a_connection_waits_so_long_and_no_longer() {
    for place in places().await {
        let pool = place.pool(|config| {
            (config.connections, config.waiting) = (1, 2);
            config.wait = Duration::from_millis(300);
        });
        let held = pool.begin().await.unwrap();
        let (one, two) = (pool.clone(), pool.clone());
        let waits = [one, two]
            .map(|pool| tokio::spawn(async move { pool.query("SELECT 1 AS one", vec![]).await }));
        while pool.stats().waiting < 2 {
            tokio::task::yield_now().await;
        }
        let third = pool.query("SELECT 1 AS one", vec![]).await;
        assert_eq!(third, Err(Error::QueueFull { limit: 2 }));
        for waited in waits {
            let waited = waited.await.unwrap();
            assert_eq!(waited, Err(Error::Busy { waited: Duration::from_millis(300) }));
        }
        held.roll_back().await.unwrap();
        assert_eq!(ints(&pool, "SELECT 1 AS one").await, [1]);
        assert_eq!(pool.stats().refused, 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_past_its_bounds_is_refused_and_a_stream_takes_any_number_of_rows() {
    let numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) SELECT i FROM n";
    for place in places().await {
        let pool = place.pool(|config| (config.rows, config.bytes) = (100, 4096));
        assert_eq!(pool.query(numbers, vec![]).await, Err(Error::TooManyRows { limit: 100 }));
        let mut stream = pool.stream(numbers, vec![]).await.unwrap();
        assert_eq!(stream.columns().len(), 1);
        let mut sum = 0;
        while let Some(row) = stream.next().await.unwrap() {
            sum += row[0].as_int().unwrap();
        }
        assert_eq!(sum, 900 * 901 / 2);

        let large = text(&"x".repeat(5000));
        let echo =
            place.sql(if place.numbered { "SELECT CAST(? AS TEXT) AS t" } else { "SELECT ? AS t" });
        let refused = Err(Error::TooLarge { limit: 4096 });
        assert_eq!(pool.query(echo.as_str(), vec![large.clone()]).await, refused);
        let mut stream = pool.stream(echo, vec![large]).await.unwrap();
        assert_eq!(stream.next().await, Err(Error::TooLarge { limit: 4096 }));

        // One that is not read to its end gives its connection up.
        for _ in 0..20 {
            let mut stream = pool.stream(numbers, vec![]).await.unwrap();
            stream.next().await.unwrap();
        }
        assert_eq!(ints(&pool, "SELECT 1 AS one").await, [1]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_calls_are_refused_with_what_is_wrong() {
    for place in places().await {
        let pool = place.pool(|_| {});
        let two = place.sql("SELECT CAST(? AS CHAR(9)) AS a, CAST(? AS CHAR(9)) AS b");
        let one = pool.query(two, vec![Param::Int(1)]).await;
        assert_eq!(one, Err(Error::Parameters { wanted: 2, given: 1 }));
        let twice = pool.query("SELECT 1 AS a, 2 AS a", vec![]).await.unwrap_err();
        assert!(matches!(twice, Error::Column { column, .. } if column == "a"));
        for sql in ["BEGIN", "-- x\ncommit", "ROLLBACK TO x"] {
            let refused = pool.query(sql, vec![]).await.unwrap_err();
            assert!(matches!(refused, Error::TransactionStatement { .. }), "{sql}: {refused}");
        }
        let wrong = pool.query("SELEC 1", vec![]).await.unwrap_err();
        assert_eq!(wrong.kind(), "database", "{wrong}");
        assert_eq!(pool.query("", vec![]).await.map(|it| it.rows.len()).unwrap_or(0), 0);
        assert_eq!(ints(&pool, "SELECT 1 AS one").await, [1]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_leaves_neither_its_place_nor_its_connection_behind() {
    for place in places().await {
        let pool = place.pool(|config| config.connections = 1);
        let held = pool.begin().await.unwrap();
        let waits = tokio::spawn({
            let pool = pool.clone();
            async move { pool.query("SELECT 1 AS one", vec![]).await }
        });
        while pool.stats().waiting < 1 {
            tokio::task::yield_now().await;
        }
        waits.abort();
        while pool.stats().waiting > 0 {
            tokio::task::yield_now().await;
        }
        drop(held);
        assert_eq!(ints(&pool, "SELECT 1 AS one").await, [1]);
        assert_eq!(pool.stats().statements, 1);
    }
}

/// Permits of a semaphore, with the most that were out at a time.
struct Counted {
    permits: Arc<Semaphore>,
    out: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

struct Out(
    #[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit,
    Arc<AtomicUsize>,
);

impl Permit for Out {
    fn is_held(&self) -> bool {
        true
    }

    fn ended(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::pending())
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Gate for Counted {
    fn admit(&self) -> Admission {
        let (permits, out, most) = (self.permits.clone(), self.out.clone(), self.most.clone());
        Box::pin(async move {
            let permit = permits.acquire_owned().await.map_err(|error| error.to_string())?;
            most.fetch_max(out.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            Ok(Box::new(Out(permit, out)) as Box<dyn Permit>)
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pools_behind_one_gate_share_its_permits_and_each_gets_its_turn() {
    for place in places().await {
        let gate = Arc::new(Counted {
            permits: Arc::new(Semaphore::new(2)),
            out: Arc::default(),
            most: Arc::default(),
        });
        let pools: Vec<Pool> = (0..3)
            .map(|_| {
                let config = Config {
                    connections: 2,
                    wait: Duration::from_secs(10),
                    idle: Duration::from_millis(50),
                    lifetime: Duration::from_millis(100),
                    ..place.config.clone()
                };
                Pool::new(config, Some(gate.clone()), Handle::current())
            })
            .collect();
        let calls: Vec<_> = (0..120)
            .map(|at| {
                let pool = pools[at % 3].clone();
                tokio::spawn(async move { pool.query("SELECT 1 AS one", vec![]).await })
            })
            .collect();
        for call in calls {
            call.await.unwrap().unwrap();
        }
        assert_eq!(gate.most.load(Ordering::SeqCst), 2);
        // Idle connections give their permits back by themselves.
        while gate.out.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[test]
fn an_address_that_names_no_database_is_refused_without_showing_its_password() {
    for (address, says) in [
        ("", "no kind of database"),
        ("oracle://x", "'oracle' is no kind of database"),
        ("postgres://u:secret@host:notaport/x", "address of the database is wrong"),
        ("mysql://u:secret@[::1/x", "address of the database is wrong"),
        ("sqlite:x.db?mode=never", "address of the database is wrong"),
    ] {
        let error = Config::new(address, Path::new("")).unwrap_err().to_string();
        assert!(error.contains(says) && !error.contains("secret"), "{address}: {error}");
    }
    assert_eq!(config("sqlite::memory:").database.file(), None);
    let file = Config::new("sqlite:a.db", Path::new("/srv")).unwrap().database.file();
    assert_eq!(file.as_deref(), Some(Path::new("/srv/a.db")));
}
